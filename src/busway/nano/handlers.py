"""Handlers: classes that take messages and emit messages, and know nobody. Finds what they take.

    class Lamp(nano.Handler):
        def handle(self, message: Switched, out: nano.Emit[Failed]) -> None: ...

`handle`, and every method whose name begins with `handle_`, takes the type that its first argument is
annotated with, or each type of a union.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from busway.nano.bridge import Endpoint

    T_contra = TypeVar("T_contra", contravariant=True, default=Any)
    Source: TypeAlias = "type[object] | Handler | Endpoint"
    Receivers: TypeAlias = "Source | tuple[Source, ...]"
else:
    from typing import TypeVar

    T_contra = TypeVar("T_contra", contravariant=True)
    Source = Receivers = Any

HOOKS = ("on_start", "on_loop", "on_stop")


class Emit(Protocol[T_contra]):
    """The way out: called with a message, it reaches whoever the routes say. In a test of a handler alone,
    the `append` of a list does as well.

    What a call of a handler emits leaves together when the call returns; if it raises, nothing leaves. A
    message that no route takes from this handler is counted as unrouted.
    """

    def __call__(self, message: T_contra, /) -> None:
        """Emits a message."""


class Route(NamedTuple):
    """From where, what, to whom. `Blink >> Switched >> (Lamp, Logger)` makes one."""

    source: Source
    message: Any
    receivers: tuple[Source, ...]


class Half(NamedTuple):
    """The first half of a route: `Blink >> Switched`."""

    source: Source
    message: Any

    def __rshift__(self, receivers: Receivers) -> Route:
        return Route(self.source, self.message, receivers if isinstance(receivers, tuple) else (receivers,))


class HandlerType(type):
    """Lets routes begin with a class of handlers."""

    def __rshift__(cls, message: Any) -> Half:
        return Half(cls, message)


class Handler(metaclass=HandlerType):
    """The base of handlers, for the sake of `>>` in routes. It has nothing else: without it, write
    `nano.Route(Blink, Switched, (Lamp, Logger))`.

    Methods that are called if they are there, each with `out` if it takes an argument:

    - `on_start(out)`: in the worker, before the first message. An exception ends the start.
    - `on_loop(out)`: again and again, between messages. It returns after how many seconds it is to be called
      again: 0 for at once, `math.inf` for never.
    - `on_stop(out)`: when the worker ends.
    - `on_missed(count)`: so many messages for this worker are lost, since it was too slow, or a file is
      damaged.
    """

    def __rshift__(self, message: Any) -> Half:
        return Half(self, message)


class Method(NamedTuple):
    """A method, and whether it wants `out`."""

    call: Callable[..., Any]
    with_out: bool


class Shape(NamedTuple):
    """All that an application knows of a handler."""

    takes: dict[Any, Method]
    hooks: dict[str, Method]
    emits: frozenset[Any] | None  # None: it does not say


def shape_of(handler: Any) -> Shape:
    """Looks at a handler's methods.

    Raises:
        TypeError: a method whose annotations cannot be used; the sentence names it.
    """
    takes: dict[Any, Method] = {}
    emits: set[Any] = set()
    told = True
    for name in dir(type(handler)):
        if name != "handle" and not name.startswith("handle_") and name not in HOOKS:
            continue
        function = getattr(handler, name)
        if not callable(function):
            continue
        label = f"{type(handler).__qualname__}.{name}"
        parameters = _parameters(function, label)
        hints = _hints(function, label)
        wanted = 0 if name in HOOKS else 1
        if not wanted <= len(parameters) <= wanted + 1:
            raise TypeError(f"{label} takes {'a message and ' if wanted else ''}perhaps `out`, nothing else")
        with_out = len(parameters) > wanted
        if with_out:
            said = _emitted(hints.get(parameters[wanted]))
            told = told and said is not None
            emits |= said or set()
        for kind in _members(hints.get(parameters[0]), label) if wanted else ():
            if kind in takes:
                raise TypeError(f"{label} takes {name_of(kind)}, which another method of it takes already")
            takes[kind] = Method(function, with_out)
    hooks = {}
    for name in HOOKS:
        if callable(function := getattr(handler, name, None)):
            hooks[name] = Method(function, bool(_parameters(function, name)))
    return Shape(takes, hooks, frozenset(emits) if told else None)


def _parameters(function: Callable[..., Any], label: str) -> list[str]:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{label} is a coroutine; handlers are plain functions, each worker has a thread")
    if inspect.isgeneratorfunction(function):
        raise TypeError(f"{label} is a generator; call `out` for each message")
    found = inspect.signature(function).parameters.values()
    if any(one.kind not in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in found):
        raise TypeError(f"{label} takes its arguments by position")
    return [one.name for one in found]


def _hints(function: Callable[..., Any], label: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError as error:
        raise TypeError(
            f"an annotation of {label} cannot be resolved: {error}; define what it mentions at the top level "
            "of the module"
        ) from None


def _members(hint: Any, label: str) -> tuple[Any, ...]:
    """The types of an annotation."""
    if hint is None or hint is Any:
        raise TypeError(
            f"{label} says by the annotation of its first argument which type it takes; there is none"
        )
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _emitted(hint: Any) -> set[Any] | None:
    """The types of `Emit[...]`; None where it does not say."""
    if typing.get_origin(hint) is not Emit:
        return None
    (inner,) = typing.get_args(hint)
    return None if inner is Any else set(_members(inner, "out"))


def name_of(kind: Any) -> str:
    """The name of a type of messages."""
    name = getattr(kind, "__qualname__", None) or str(kind)
    return str(name).rpartition("<locals>.")[2]
