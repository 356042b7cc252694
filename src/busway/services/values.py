"""Values as annotations want them, and as they travel: the arguments of a call, a result, an error's fields.

What is checked, and how, is convert.py's to say; this knows where the short way is enough.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import enum
import types
import typing
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Union

import msgspec

from busway.classes import Mismatch, is_own_dataclass, is_struct, label_of, members_of
from busway.convert import CBOR_NATIVE, Converter, is_native
from busway.messages import declaration_of
from busway.payloads import plain

_ATOMS: set[Any] = {int, float, str, bytes, bool, type(None), None}
_ATOMS |= {datetime.datetime, datetime.date, datetime.timedelta, uuid.UUID}

# How much is to be done until a value of an annotation can travel.
_AS_IS = 0  # nothing
_FLAT = 1  # records of atoms, and enums: msgspec makes maps and numbers of them
_DEEP = 2  # all else: as payloads.py does it

Field = tuple[str, Any, Callable[[], Any] | None]
"""A name, an annotation, and what makes the default, if there is one."""
Kinds = dict[str, frozenset[type]]
"""The types of values that need no closer look, by name."""


class Shape:
    """Named values with their annotations. Plain ones are those that travel, wanted ones those that functions
    take and give.

    Most are numbers and texts of just the types that the annotations say: these are seen at a glance.
    """

    __slots__ = (
        "_converter",
        "_depth",
        "_kinds",
        "_records",
        "_sets",
        "label",
        "names",
        "record",
        "required",
    )

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
        self._kinds: Kinds = {name: _kinds_of(annotation) for name, annotation, _ in given}
        self._depth = max((_depth(annotation) for _, annotation, _ in given), default=_AS_IS)
        self._sets = any(_has_members(annotation) for _, annotation, _ in given)
        self._records = [(name, found) for name, kind, _ in given if (found := _record_in(kind)) is not None]

    def pack(self, values: dict[str, Any]) -> dict[str, Any]:
        """The plain values of wanted ones. Raises TypeError, naming the place, if one does not fit."""
        kinds = self._kinds
        for name, value in values.items():
            if type(value) not in kinds[name]:
                return self._pack(values)
        return values

    def unpack(self, values: dict[str, Any]) -> dict[str, Any]:
        """The wanted values of plain ones, of the names that were given. Raises Mismatch."""
        kinds = self._kinds
        for name, value in values.items():
            if type(value) not in kinds[name]:
                return self._unpack(values)
        return values if self.required <= values.keys() else self._unpack(values)

    def _pack(self, values: dict[str, Any]) -> dict[str, Any]:
        try:
            if self._depth == _AS_IS:
                found = values
            elif self._are_exact(values) and self._depth == _FLAT:
                found = msgspec.to_builtins(values, builtin_types=CBOR_NATIVE)
            else:
                absent = dict.fromkeys(self.names - values.keys())  # a stub may not know their defaults
                known = plain(self.record(**values, **absent))
                found = {name: known[name] for name in values}
            self._converter.convert(found, sets=self._sets, making=False)
        except Mismatch as mismatch:
            raise TypeError(self.complaint(mismatch)) from None
        except msgspec.MsgspecError as error:
            raise TypeError(f"{self.label}: {error}") from None
        return found

    def _unpack(self, values: dict[str, Any]) -> dict[str, Any]:
        found = self._converter.convert(values, sets=self._sets).__dict__
        return {name: found[name] for name in values}

    def complaint(self, mismatch: Mismatch) -> str:
        """The sentence for people."""
        return mismatch.describe(self.label)

    def _are_exact(self, values: dict[str, Any]) -> bool:
        """Whether records are of just the classes that the annotations name. Of an heir payloads.py says why
        it does not travel; raises Mismatch for what is none.
        """
        exact = True
        for name, record in self._records:
            value = values.get(name)
            if value is not None and type(value) is not record:
                if not isinstance(value, record):
                    text = f"expected {record.__qualname__}, got {label_of(type(value))}"
                    raise Mismatch(text, f".{name}")
                exact = False
        return exact


class Single:
    """One value: a result, a part of one, or a signal's.

    Where the annotation is a union of several message types (`busway.message`) an instance of one travels
    with its type, by which it is told apart; all else travels as plain values.
    """

    __slots__ = ("_declared", "_fields", "_kinds", "_record", "_shape", "annotation")

    def __init__(self, label: str, annotation: Any) -> None:
        """As `Shape`."""
        self.annotation = annotation
        members = tuple(members_of(annotation))
        declared = [member for member in members if isinstance(member, type) and declaration_of(member)]
        self._declared = frozenset(declared) if len(declared) > 1 else frozenset()
        if self._declared:
            annotation = Union[tuple(member for member in members if member not in declared) or (_Nothing,)]  # noqa: UP007
        self._shape = _Alone(label, [("value", annotation, None)])
        self._kinds = _kinds_of(annotation)
        self._record = _record_in(annotation)
        self._fields = _flat_fields(self._record)

    def pack(self, value: Any) -> Any:
        """The value that travels for a wanted one. Raises TypeError, naming the place, if it does not fit."""
        kind = type(value)
        if kind in self._kinds:
            return value
        fields = self._fields
        if fields is None or kind is not self._record:
            return value if kind in self._declared else self._shape.pack({"value": value})["value"]
        found = {}
        for name, kinds in fields.items():
            found[name] = member = getattr(value, name)
            if type(member) not in kinds:
                return self._shape.pack({"value": value})["value"]
        return found

    def unpack(self, value: Any) -> Any:
        """The wanted value of what came. Raises Mismatch."""
        if type(value) in self._kinds:
            return value
        fields = self._fields
        if fields is None or type(value) is not dict or len(value) != len(fields):
            return self._unpack(value)
        for name, member in value.items():
            if type(member) not in fields.get(name, ()):
                return self._unpack(value)
        return self._record(**value)

    def _unpack(self, value: Any) -> Any:
        if type(value) in self._declared or (self._record is not None and type(value) is self._record):
            return value  # it came with its type
        return self._shape.unpack({"value": value})["value"]

    def complaint(self, mismatch: Mismatch) -> str:
        """The sentence for people."""
        return self._shape.complaint(mismatch)


class _Nothing(enum.Enum):
    """No value at all is one of it."""


class _Alone(Shape):
    """The same with a name, which nobody is told."""

    __slots__ = ()

    def complaint(self, mismatch: Mismatch) -> str:
        return Mismatch(mismatch.text, mismatch.path.removeprefix(".value")).describe(self.label)


def _kinds_of(annotation: Any) -> frozenset[type]:
    """The types of which a value needs no closer look."""
    inner = _optional(annotation)
    if inner is not None:
        return _kinds_of(inner) and _kinds_of(inner) | {type(None)}
    if not _hashable(annotation) or annotation not in _ATOMS:
        return frozenset()
    return frozenset({type(None) if annotation is None else annotation})


def _flat_fields(record: Any) -> Kinds | None:
    """The types of a dataclass's fields, where each needs no closer look, and its constructor does nothing
    but set them; None of any other.
    """
    if record is None or not is_own_dataclass(record) or not is_native(record):
        return None
    hints = typing.get_type_hints(record, localns={record.__name__: record}, include_extras=True)
    fields = {field.name: _kinds_of(hints[field.name]) for field in dataclasses.fields(record)}
    return fields if all(fields.values()) else None


def default_of(field: dataclasses.Field[Any]) -> Any:
    """A function that makes the default of a dataclass's field; None if it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory
    if field.default is dataclasses.MISSING:
        return None
    return lambda: field.default


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
    """The annotation that `None` may stand for besides; None for any other."""
    arguments = typing.get_args(annotation)
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    if not is_union or len(arguments) != 2 or type(None) not in arguments:
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
