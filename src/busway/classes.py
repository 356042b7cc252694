"""Classes whose instances travel and the annotations of their fields, as far as that takes no msgspec."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

_LABELS: dict[Any, str] = {dict: "map", list: "list", type(None): "None"}


class Mismatch(ValueError):
    """A value does not fit. Never leaves `busway.payloads`; it becomes a PayloadError."""

    def __init__(self, text: str, path: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.path = path

    def describe(self, root: str) -> str:
        """The sentence with the path to the place: "Reading.points[3].x: expected float, got str"."""
        return f"{root}{self.path}: {self.text}"


def is_struct(cls: type) -> bool:
    """Whether the class is a msgspec Struct; found out without importing msgspec."""
    return isinstance(getattr(cls, "__struct_fields__", None), tuple)


def is_ndarray(cls: Any) -> bool:
    """Whether the class is numpy's of arrays; found out without importing numpy."""
    return isinstance(cls, type) and cls.__module__ == "numpy" and cls.__qualname__ == "ndarray"


def is_own_dataclass(cls: type) -> bool:
    """Whether the class itself, and not merely a base of it, was made a dataclass."""
    return "__dataclass_fields__" in cls.__dict__


def is_record(kind: Any) -> bool:
    """Whether it is a dataclass or a msgspec Struct: a class whose instances travel as maps of fields."""
    return isinstance(kind, type) and (is_own_dataclass(kind) or is_struct(kind))


@lru_cache(maxsize=1024)
def field_names(cls: Any) -> tuple[str, ...]:
    """The fields of a dataclass that travel: those its constructor takes."""
    import dataclasses  # slow, and whoever has none does not wait for it

    return tuple(field.name for field in dataclasses.fields(cls) if field.init)


def label_of(annotation: Any) -> str:
    """An annotation as people write it."""
    if annotation in _LABELS:
        return _LABELS[annotation]
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def aliased(annotation: Any) -> Any:
    """The annotation that a NewType, or the `type X = ...` of Python 3.12, stands for; None for any other."""
    return getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)


def members_of(annotation: Any) -> Iterable[Any]:
    """The types that an annotation names: the members of a union, of `Annotated` what is annotated, of an
    alias what it stands for; of any other the annotation itself.
    """
    inner = aliased(annotation)
    origin = typing.get_origin(annotation)
    if inner is not None:
        yield from members_of(inner)
    elif origin is typing.Annotated:
        yield from members_of(annotation.__origin__)
    elif origin is typing.Union or origin is types.UnionType:
        for member in typing.get_args(annotation):
            yield from members_of(member)
    else:
        yield annotation


@lru_cache(maxsize=1024)
def record_fields(cls: Any) -> tuple[tuple[str, frozenset[type]], ...]:
    """The fields of a dataclass or Struct that hold records or containers of them, with the classes that the
    annotation names. None where an annotation cannot be resolved, which the receiver is told of.
    """
    hints = _hints(cls)
    names: Iterable[str] = getattr(cls, "__struct_fields__", ()) if is_struct(cls) else field_names(cls)
    found = ((name, frozenset(_records_in(hints[name]))) for name in names if name in hints)
    return tuple((name, records) for name, records in found if records)


@lru_cache(maxsize=1024)
def untyped_fields(cls: Any) -> tuple[str, ...]:
    """The fields of a Struct of which the annotation leaves something open."""
    return tuple(name for name, hint in _hints(cls).items() if _leaves_open(hint))


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, localns={cls.__name__: cls})
    except (NameError, TypeError):
        return {}


def _records_in(annotation: Any) -> Iterable[type]:
    if is_record(annotation):
        yield annotation
    for part in _parts(annotation):
        yield from _records_in(part)


def _leaves_open(annotation: Any) -> bool:
    open_ended = annotation in (Any, object) or isinstance(annotation, typing.TypeVar)
    return open_ended or any(map(_leaves_open, _parts(annotation)))


def _parts(annotation: Any) -> tuple[Any, ...]:
    inner = aliased(annotation)
    return typing.get_args(annotation) if inner is None else (inner,)
