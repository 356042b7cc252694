"""Light frozen dataclasses beside real ones: the same to all who ask."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any

import pytest

import busway
from busway.adapters import frozen
from busway.classes import is_own_dataclass, is_record


def pair(**options: bool) -> tuple[Any, Any]:
    """The same class made light and real."""

    def plain() -> Any:
        class Reading:
            """What was read."""

            name: str
            celsius: float = 20.0
            ok: bool = True

            def __post_init__(self) -> None:
                if self.name == "wrong":
                    raise ValueError(self.name)

            @property
            def shown(self) -> str:
                return f"{self.name}: {self.celsius}"

        return Reading

    light = frozen.dataclass(frozen=True, slots=True, **options)(plain())
    return light, dataclasses.dataclass(frozen=True, slots=True, **options)(plain())


WAYS: list[tuple[tuple[object, ...], dict[str, object]]] = [
    (("a",), {}),
    (("a", 1.5), {"ok": False}),
    ((), {"name": "a", "celsius": 3.0}),
    ((), {}),
    (("a", 1.0, True, 4), {}),
    (("a",), {"name": "b"}),
    (("a",), {"unit": "K"}),
    ((), {"unit": "K"}),
    (("wrong",), {}),
]


def outcome(cls: Any, given: tuple[object, ...], by_name: dict[str, object]) -> object:
    try:
        made = cls(*given, **by_name)
    except (TypeError, ValueError) as error:
        return type(error)
    return repr(made), made.shown, made == cls(*given, **by_name), hash(made), dataclasses.astuple(made)


@pytest.mark.parametrize(("given", "by_name"), WAYS)
def test_makes_and_refuses_as_the_real_one(given: tuple[object, ...], by_name: dict[str, object]) -> None:
    light, real = pair()
    assert outcome(light, given, by_name) == outcome(real, given, by_name)


@pytest.mark.parametrize("cls", pair())
def test_cannot_be_changed(cls: Any) -> None:
    made = cls("a")
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'celsius'"):
        made.celsius = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'celsius'"):
        del made.celsius
    assert not hasattr(made, "__dict__")
    assert made.celsius == 20.0


@pytest.mark.parametrize("cls", pair())
def test_equals_only_its_own_kind(cls: Any) -> None:
    other = pair()[0]
    assert cls("a") != cls("b")
    assert cls("a") != other("a")
    assert cls("a") != ("a", 20.0, True)


@pytest.mark.parametrize("cls", pair())
def test_is_a_dataclass_to_all_who_ask(cls: Any) -> None:
    made = cls("a", ok=False)
    assert [dataclasses.is_dataclass(each) for each in (cls, made)] == [True, True]
    assert [(field.name, field.type) for field in dataclasses.fields(made)] == [
        ("name", "str"),
        ("celsius", "float"),
        ("ok", "bool"),
    ]
    assert dataclasses.asdict(made) == {"name": "a", "celsius": 20.0, "ok": False}
    assert dataclasses.replace(made, celsius=1.0) == cls("a", 1.0, False)
    assert copy.copy(made) == copy.deepcopy(made) == made
    assert is_own_dataclass(cls)
    assert is_record(cls)
    assert list(inspect.signature(cls).parameters) == ["name", "celsius", "ok"]
    match made:
        case cls(name, _, ok):
            assert (name, ok) == ("a", False)
        case _:
            pytest.fail("no match")


@pytest.mark.parametrize("cls", pair())
def test_may_be_the_base_of_a_dataclass(cls: Any) -> None:
    heir = dataclasses.make_dataclass("Heir", [("unit", "str", "K")], bases=(cls,), frozen=True)
    assert dataclasses.asdict(heir("a")) == {"name": "a", "celsius": 20.0, "ok": True, "unit": "K"}


def test_replaces_without_the_module() -> None:
    light, _ = pair()
    assert frozen.replace(light("a"), ok=False) == light("a", ok=False)


def test_shows_itself_as_its_class_says() -> None:
    node = busway.NodeInfo(bytes(16), "lab", leaf=True)
    assert repr(node).endswith("a leaf>")
    assert repr(busway.Retry(first=1)) == "Retry(first=1, factor=2.0, cap=30.0, jitter=0.5)"


@pytest.mark.parametrize("made", [busway.NodeInfo(bytes(16), "lab", leaf=True), busway.Retry(first=1)])
def test_travels_to_other_processes(made: object) -> None:
    assert pickle.loads(pickle.dumps(made)) == made


def test_only_what_it_can_make_is_asked_of_it() -> None:
    with pytest.raises(TypeError, match="only frozen dataclasses with slots"):
        frozen.dataclass(frozen=False, slots=True)
