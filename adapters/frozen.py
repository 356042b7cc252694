"""Frozen dataclasses that take next to nothing to make: what `dataclasses` compiles for each class, every
program would wait for at import. Whoever asks finds dataclasses; the real one is made when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

C = TypeVar("C", bound=type)
T = TypeVar("T")


def dataclass(*, frozen: bool, slots: bool, repr: bool = True) -> Callable[[C], C]:
    """As `dataclasses.dataclass` with `frozen` and `slots` true, for a class without bases, whose fields have
    plain defaults.
    """
    if not (frozen and slots):
        raise TypeError("only frozen dataclasses with slots are made here")

    def made(cls: C) -> C:
        names = tuple(cls.__annotations__)
        space = {name: value for name, value in vars(cls).items() if name not in (*names, *_OWN_SPACE)}
        space |= _methods(names, {name: vars(cls)[name] for name in names if name in vars(cls)})
        if not repr:
            space["__repr__"] = cls.__repr__
        space["__qualname__"] = cls.__qualname__
        space |= {name: _Asked(name, cls) for name in _ASKED}
        return type(cls)(cls.__name__, (), {**space, "__slots__": names, "__match_args__": names})

    return made


def replace(record: T, **changes: object) -> T:
    """As `dataclasses.replace`, for those made here."""
    found: T = record.__replace__(**changes)  # type: ignore[attr-defined]
    return found


_OWN_SPACE = ("__dict__", "__weakref__")  # of the class without slots
_ASKED = ("__dataclass_fields__", "__dataclass_params__", "__signature__")


class _Asked:
    """An attribute that the real dataclass has. `plain` is the class that it is made of, in place."""

    def __init__(self, name: str, plain: Any) -> None:
        self.name = name
        self.plain = plain

    def __get__(self, instance: object, owner: object) -> Any:
        import dataclasses

        if "__dataclass_fields__" not in vars(self.plain):
            dataclasses.dataclass(frozen=True)(self.plain)
        if self.name != "__signature__":
            return getattr(self.plain, self.name)
        import inspect

        return inspect.signature(self.plain)


def _methods(names: tuple[str, ...], defaults: dict[str, object]) -> dict[str, Any]:
    put, known = object.__setattr__, frozenset(names)

    def values(self: Any) -> tuple[object, ...]:
        return tuple([getattr(self, name) for name in names])

    def __init__(self: Any, *given: object, **by_name: object) -> None:
        if by_name or len(given) != len(names):
            found = {**defaults, **dict(zip(names, given, strict=False)), **by_name}
            if (
                len(given) > len(names)
                or found.keys() != known
                or not by_name.keys().isdisjoint(names[: len(given)])
            ):
                raise TypeError(f"{type(self).__name__} takes {', '.join(names)}; each once")
            given = tuple([found[name] for name in names])
        for name, value in zip(names, given, strict=True):
            put(self, name, value)
        check = getattr(self, "__post_init__", None)
        if check is not None:
            check()

    def __repr__(self: Any) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({fields})"

    def __eq__(self: Any, other: Any) -> bool:
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(values(self))

    def __setattr__(_self: Any, name: str, _value: object) -> None:
        raise _error()(f"cannot assign to field {name!r}")

    def __delattr__(_self: Any, name: str) -> None:
        raise _error()(f"cannot delete field {name!r}")

    def __getstate__(self: Any) -> list[object]:
        return list(values(self))

    def __setstate__(self: Any, state: list[object]) -> None:
        for name, value in zip(names, state, strict=True):
            put(self, name, value)

    def __replace__(self: Any, **changes: object) -> Any:
        return type(self)(**{**dict(zip(names, values(self), strict=True)), **changes})

    found = (
        __init__,
        __repr__,
        __eq__,
        __hash__,
        __setattr__,
        __delattr__,
        __getstate__,
        __setstate__,
        __replace__,
    )
    return {method.__name__: method for method in found}


def _error() -> Callable[[str], Exception]:
    from dataclasses import FrozenInstanceError

    return FrozenInstanceError
