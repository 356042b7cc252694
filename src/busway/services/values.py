"""Values as annotations want them, and as they travel: the arguments of a call, a result, an error's fields.

What is checked, and how, is convert.py's to say; this knows where the short way is enough.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import enum
import typing
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from busway.classes import Mismatch, is_own_dataclass, is_struct, label_of
from busway.convert import CBOR_NATIVE, Converter
from busway.payloads import plain

_ATOMS: set[Any] = {int, float, str, bytes, bool, type(None), None}
_ATOMS |= {datetime.datetime, datetime.date, datetime.timedelta, uuid.UUID}

# How much is to be done until a value of an annotation can travel.
_AS_IS = 0  # nothing
_FLAT = 1  # records of atoms, and enums: msgspec makes maps and numbers of them
_DEEP = 2  # all else: as payloads.py does it

Field = tuple[str, Any, Callable[[], Any] | None]
"""A name, an annotation, and what makes the default, if there is one."""


class Shape:
    """Named values with their annotations. Plain ones are those that travel, wanted ones those that functions
    take and give.
    """

    __slots__ = ("_converter", "_depth", "_flat", "_sets", "label", "names", "record", "required")

    def __init__(self, label: str, fields: Iterable[Field]) -> None:
        """Looks at the annotations. Raises TypeError for one that cannot be checked, NameError for one that
        cannot be resolved.
        """
        given = list(fields)
        self.label = label
        self.names = frozenset(name for name, _, _ in given)
        self.required = frozenset(name for name, _, default in given if default is None)
        self.record: Any = dataclasses.make_dataclass(
            "".join(c if c.isidentifier() else "_" for c in label) or "_",
            [(name, annotation, _field(default)) for name, annotation, default in given],
            kw_only=True,
        )
        self._converter = Converter(self.record)
        self._depth = max((_depth(annotation) for _, annotation, _ in given), default=_AS_IS)
        self._sets = any(_has_members(annotation) for _, annotation, _ in given)
        flat = {name: record for name, annotation, _ in given if (record := _record_in(annotation))}
        self._flat = tuple(flat.items())

    def pack(self, values: dict[str, Any]) -> dict[str, Any]:
        """The plain values of wanted ones. Raises TypeError, naming the place, if one does not fit."""
        try:
            if self._depth == _AS_IS:
                self._converter.convert(values, sets=self._sets, making=False)
                return values
            if self._depth == _FLAT and self._has_no_heirs(values):
                found = msgspec.to_builtins(values, builtin_types=CBOR_NATIVE)
            else:
                known = plain(self.record(**values))
                found = {name: known[name] for name in values}
            self._converter.convert(found, making=False)
        except Mismatch as mismatch:
            raise TypeError(self.complaint(mismatch)) from None
        except msgspec.MsgspecError as error:
            raise TypeError(f"{self.label}: {error}") from None
        return typing.cast(dict[str, Any], found)

    def unpack(self, values: Any) -> dict[str, Any]:
        """The wanted values of plain ones, as keyword arguments. Raises Mismatch."""
        found: dict[str, Any] = self._converter.convert(values, sets=self._sets).__dict__
        return found

    def complaint(self, mismatch: Mismatch) -> str:
        """The sentence for people."""
        return mismatch.describe(self.label)

    def _has_no_heirs(self, values: dict[str, Any]) -> bool:
        """Whether records are of just the class that the annotation names; of an heir payloads.py says
        why it does not travel.
        """
        for name, record in self._flat:
            value = values.get(name)
            if value is not None and type(value) is not record:
                return False
        return True


class Single(Shape):
    """One value without a name: a result, or a part of one."""

    __slots__ = ()

    def __init__(self, label: str, annotation: Any) -> None:
        super().__init__(label, [("value", annotation, None)])

    def pack_one(self, value: Any) -> Any:
        """As `pack`."""
        return self.pack({"value": value})["value"]

    def unpack_one(self, value: Any) -> Any:
        """As `unpack`."""
        return self.unpack({"value": value})["value"]

    def complaint(self, mismatch: Mismatch) -> str:
        return Mismatch(mismatch.text, mismatch.path.removeprefix(".value")).describe(self.label)


def _field(default: Callable[[], Any] | None) -> Any:
    return dataclasses.field() if default is None else dataclasses.field(default_factory=default)


def _depth(annotation: Any) -> int:
    if annotation in (Any, object) or _is_atom(annotation):
        return _AS_IS
    record = _record_in(annotation)
    if record is not None and _is_flat(record):
        return _FLAT
    member = _optional(annotation) or annotation
    if isinstance(member, type) and issubclass(member, enum.Enum):
        return _FLAT
    return _DEEP


def _is_atom(annotation: Any) -> bool:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (list, tuple, dict, collections.abc.Sequence, collections.abc.Mapping):
        return all(member is ... or _is_atom(member) for member in arguments)
    inner = _optional(annotation)
    return _is_atom(inner) if inner is not None else _hashable(annotation) and annotation in _ATOMS


def _hashable(annotation: Any) -> bool:
    try:
        hash(annotation)
    except TypeError:
        return False
    return True


def _optional(annotation: Any) -> Any:
    """What may be None besides; None for anything else."""
    arguments = typing.get_args(annotation)
    if len(arguments) != 2 or type(None) not in arguments:
        return None
    if label_of(annotation).startswith(("tuple", "dict", "Annotated")):
        return None
    return next(member for member in arguments if member is not type(None))


def _record_in(annotation: Any) -> Any:
    """The record class that is wanted, or may be; None for any other annotation."""
    found = _optional(annotation) or annotation
    return found if isinstance(found, type) and (is_own_dataclass(found) or is_struct(found)) else None


def _is_flat(record: Any) -> bool:
    hints = typing.get_type_hints(record, localns={record.__name__: record}, include_extras=True)
    names = (
        record.__struct_fields__ if is_struct(record) else [each.name for each in dataclasses.fields(record)]
    )
    return all(name in hints and _is_atom(hints[name]) for name in names)


def _has_members(annotation: Any) -> bool:
    """Whether it wants lists, of which sets have to be told apart."""
    if typing.get_origin(annotation) or annotation in (list, tuple, Any, object):
        inner = _optional(annotation)
        return _has_members(inner) if inner is not None else True
    record = _record_in(annotation)
    return record is not None and any(map(_has_members, typing.get_type_hints(record).values()))
