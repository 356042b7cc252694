"""Hooks: what a class says of its methods, also by its bases, and what is refused at once."""

from __future__ import annotations

from typing import Any

import pytest

import busway
from busway.services.hooks import Every, Hooks, On, Timer


class Base:
    @busway.on("lab/a")
    @busway.on("lab/b", kind="anycast", limit=3)
    @busway.every(2)
    def first(self, message: Any = None) -> str:
        return "base"

    @busway.every(1.0, at_once=True)
    def second(self) -> str:
        return "base"

    @busway.on("lab/c")
    def third(self, message: Any) -> None: ...


class Derived(Base):
    def first(self, message: Any = None) -> str:
        return "derived"

    second = None  # type: ignore[assignment]

    @busway.on("lab/d")
    def third(self, message: Any) -> None: ...

    def on_stop(self) -> None: ...


def told(obj: Any) -> tuple[list[tuple[str, str]], list[tuple[str, Every]]]:
    hooks = Hooks(obj)
    endpoints = [(each.__name__, mark.endpoint) for each, mark in hooks.endpoints]
    return endpoints, [(timer.name, timer.every) for timer in hooks.timers]


def test_a_method_may_have_several_in_the_order_of_its_class() -> None:
    endpoints = [("first", "lab/a"), ("first", "lab/b"), ("third", "lab/c")]
    assert told(Base()) == (endpoints, [("first", Every(2.0, False)), ("second", Every(1.0, True))])
    hooks = Hooks(Base())
    assert [mark.options["limit"] for _, mark in hooks.endpoints] == [1, 3, 1]
    assert [mark.options["kind"] for _, mark in hooks.endpoints] == ["broadcast", "anycast", "broadcast"]
    assert (hooks.on_start, hooks.on_run, hooks.on_stop) == (None, None, None)
    assert hooks


def test_a_class_below_keeps_replaces_or_drops_them() -> None:
    endpoints = [("first", "lab/a"), ("first", "lab/b"), ("third", "lab/d")]
    assert told(Derived()) == (endpoints, [("first", Every(2.0, False))])
    hooks = Hooks(Derived())
    assert hooks.endpoints[0][0](None) == "derived"
    assert hooks.on_stop is not None
    assert len(hooks.functions()) == 5


def test_what_ends_only_has_nothing_to_run() -> None:
    class Ends:
        def on_stop(self) -> None: ...

    assert not Hooks(Ends())
    assert not Hooks(object())


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: busway.on("lab/**x"), ValueError, r"\*"),
        (lambda: busway.on("lab/*", kind="anycast"), ValueError, "pattern"),
        (lambda: busway.on(""), ValueError, "name"),
        (lambda: busway.on(5), TypeError, "an endpoint is a name"),  # type: ignore[arg-type]
        (lambda: busway.on(Base.third), TypeError, r'write @busway\.on\("lab/it"\) above'),  # type: ignore[arg-type]
        (lambda: busway.on("lab/a", kind="brodcast"), ValueError, "kind must be one of"),  # type: ignore[arg-type]
        (lambda: busway.on("lab/a", realm="lokal"), ValueError, "realm must be one of"),  # type: ignore[arg-type]
        (lambda: busway.every(Base.second), TypeError, r"write @busway\.every\(1\.0\) above"),  # type: ignore[arg-type]
        (lambda: busway.on("lab/a", limit=0), ValueError, "limit must be at least 1"),
        (lambda: busway.on("lab/a")(5), TypeError, r"@busway\.on\(\.\.\.\) stands above a method"),  # type: ignore[type-var]
        (lambda: busway.every(1.0)(int), TypeError, r"@busway\.every\(\.\.\.\) stands above a method"),
        (lambda: busway.every(0), ValueError, "seconds must be at least 0.001"),
        (lambda: busway.every(-1), ValueError, "seconds must be 0 to"),
        (lambda: busway.every("1"), ValueError, "seconds must be 0 to"),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_is_said_where_it_is_written(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


class Uncallable:
    """Each of its methods by itself cannot be called with what it will be given."""

    def on_start(self) -> None: ...

    def on_run(self) -> None: ...

    def on_stop(self, bus: Any) -> None: ...

    @busway.on("lab/a")
    def heard(self) -> None: ...

    @busway.every(1.0)
    def due(self, number: int) -> None: ...


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("on_start", "the bus"),
        ("on_run", "the bus"),
        ("on_stop", "nothing"),
        ("heard", "the message"),
        ("due", "nothing"),
    ],
)
def test_a_method_that_cannot_be_called_so_is_told_before_it_is(name: str, given: str) -> None:
    kind = type("Odd", (), {name: vars(Uncallable)[name]})
    with pytest.raises(TypeError, match=rf"^Odd\.{name}\(\) is called with {given}: (missing|too many)"):
        Hooks(kind())


def test_a_name_that_looks_like_another_systems_pattern_warns_when_it_is_hosted(recwarn: Any) -> None:
    busway.on("lab/#")
    assert not recwarn.list


@pytest.mark.parametrize(
    ("number", "passed", "following"),
    [(1, 0.5, 2), (1, 0.50001, 2), (1, 0.4999, 2), (1, 1.0, 2), (1, 1.1, 3), (0, 0.0, 1), (3, 9.75, 20)],
)
def test_the_next_time_is_the_first_that_is_not_past(number: int, passed: float, following: int) -> None:
    timer = Timer(lambda: None, Every(0.5, False))
    assert timer.next_time(number, passed) == following
    assert On("lab/a", {}).endpoint == "lab/a"
