"""Hooks: methods of an object that whoever hosts it calls, for messages, at times, at its start and its end.

Says which there are; runs none.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from busway.adapters.arguments import KINDS, REALMS, check_limit, check_seconds, choice
from busway.adapters.literal import id_of, id_of_subscribed
from busway.errors import LiteralName
from busway.services.contracts import HOOK_MARK

if TYPE_CHECKING:
    from busway.adapters.typed import Kind, Realm, Target

F = TypeVar("F", bound=Callable[..., Any])


class On(NamedTuple):
    """For the messages of an endpoint; `options` are those of the bus's `serve`, its realm perhaps None."""

    endpoint: Any
    options: dict[str, Any]


class Every(NamedTuple):
    """Again and again, `seconds` apart, the first time after as long, or at once."""

    seconds: float
    at_once: bool


def on(
    endpoint: Target,
    *,
    kind: Kind = "broadcast",
    realm: Realm | None = None,
    types: Any = None,
    limit: int = 1,
    queue: int = 4096,
    cost: int = 0,
    labels: Iterable[str] = (),
    gone: Any = None,
    sealed: bool = False,
) -> Callable[[F], F]:
    """A method that is called with each message of an endpoint, as long as a bus hosts its object.

    Args:
        endpoint: a name, a UUID, a message class, or a pattern of names, as "lab/**", of what is published.
        kind: "broadcast" for what is published; "unicast" or "anycast" for what is sent and asked: a request
            is answered with what the method returns, as by a handler of `bus.serve`.
        limit: how many of its messages are worked on at once. With 1 they come one after the other, in order.
        realm: from how far it is reached, by default as far as `host` says of the object.
        types, queue, cost, labels, gone, sealed: as of `bus.register`.

    Raises:
        ValueError, TypeError: what is no endpoint, kind or realm, or a limit that is none.
    """
    if inspect.isfunction(endpoint):
        raise TypeError('on takes an endpoint first: write @busway.on("lab/it") above the method')
    choice("kind", kind, KINDS)
    if realm is not None:
        choice("realm", realm, REALMS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LiteralName)  # that is told when it is hosted
        (id_of_subscribed if kind == "broadcast" else id_of)(endpoint)
    options: dict[str, Any] = {"kind": kind, "realm": realm, "types": types, "limit": check_limit(limit)}
    options |= {"queue": queue, "cost": cost, "labels": tuple(labels), "gone": gone, "sealed": sealed}
    return _marking("on", On(endpoint, options))


def every(seconds: float, *, at_once: bool = False) -> Callable[[F], F]:
    """A method that is called again and again, as long as a bus hosts its object.

    The times are multiples of `seconds` from the object's start on, so they do not drift. While one call
    lasts no other begins: times that pass meanwhile are left out and counted (`Hosted.skipped`).

    Args:
        seconds: from one time to the next, at least 0.001.
        at_once: the first time is the start itself, and not `seconds` later.

    Raises:
        ValueError: no such number of seconds.
        TypeError: none is given, as when it stands above a method without brackets.
    """
    if inspect.isfunction(cast(Any, seconds)):
        raise TypeError("every takes the seconds first: write @busway.every(1.0) above the method")
    if check_seconds("seconds", seconds) < 0.001:
        raise ValueError(f"seconds must be at least 0.001, not {seconds!r}")
    return _marking("every", Every(float(seconds), at_once))


def _marking(word: str, mark: On | Every) -> Callable[[F], F]:
    """A decorator that adds to what a function says of when it is called."""

    def marked(function: F) -> F:
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"@busway.{word}(...) stands above a method, not {function!r}")
        held = cast(Any, function)
        setattr(held, HOOK_MARK, [mark, *getattr(held, HOOK_MARK, ())])
        return function

    return marked


class Timer(NamedTuple):
    """A method that is called at times."""

    function: Callable[[], Any]
    every: Every

    @property
    def name(self) -> str:
        """The method's name, for people."""
        return str(getattr(self.function, "__name__", "a timer"))

    def next_time(self, number: int, passed: float) -> int:
        """The number of the next time, once time `number` has come and `passed` seconds since the start are
        over: that after it, or the first that is not past.
        """
        return max(number + 1, math.ceil(passed / self.every.seconds))


class Hooks:
    """The hooks of one object: `on_start(bus)`, `on_run(bus)` and `on_stop()`, None for those that it has
    not; `endpoints` and `timers` in the order of its class.

    Raises TypeError for a hook that cannot be called.
    """

    def __init__(self, obj: Any) -> None:
        self.on_start = _named(obj, "on_start", "the bus")
        self.on_run = _named(obj, "on_run", "the bus")
        self.on_stop = _named(obj, "on_stop")
        self.endpoints: list[tuple[Callable[[Any], Any], On]] = []
        self.timers: list[Timer] = []
        for name, marks in _marks(type(obj)).items():
            function = getattr(obj, name)
            for mark in marks:
                if isinstance(mark, On):
                    _check_taking(obj, name, function, "the message")
                    self.endpoints.append((function, mark))
                else:
                    _check_taking(obj, name, function)
                    self.timers.append(Timer(function, mark))

    def __bool__(self) -> bool:
        return bool(self.on_start or self.on_run or self.endpoints or self.timers)

    def functions(self) -> list[Callable[..., Any]]:
        """All of them."""
        named = [self.on_start, self.on_run, self.on_stop]
        marked = [function for function, _ in self.endpoints] + [timer.function for timer in self.timers]
        return [function for function in named if function is not None] + marked


def _named(obj: Any, name: str, *given: str) -> Callable[..., Any] | None:
    found = getattr(obj, name, None)
    if found is not None and not callable(found):
        raise TypeError(f"{type(obj).__qualname__}.{name} must be a method, not {found!r}")
    if found is not None:
        _check_taking(obj, name, found, *given)
    return cast("Callable[..., Any] | None", found)


def _check_taking(obj: Any, name: str, function: Callable[..., Any], *given: str) -> None:
    """Raises TypeError for a method that cannot be called with what it will be given."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # one in C may have none
    try:
        signature.bind(*given)
    except TypeError as error:
        told = " and ".join(given) or "nothing"
        raise TypeError(f"{type(obj).__qualname__}.{name}() is called with {told}: {error}") from None


def _marks(cls: type) -> dict[str, list[On | Every]]:
    """The marked methods of a class. One that a class below defines anew is still what it was above, unless
    that says otherwise, or sets it to None.
    """
    found: dict[str, list[On | Every]] = {}
    for each in reversed(cls.__mro__):
        for name, value in vars(each).items():
            marks = getattr(value, HOOK_MARK, None)
            if isinstance(marks, list):
                found[name] = marks
            elif value is None:
                found.pop(name, None)
    return found


def is_coroutine(function: Any) -> bool:
    """Whether a function wants a loop: a coroutine function, or an async generator function."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
