"""Turns plain decoded values into what a class's annotations ask for. Knows annotations, and no bytes.

A converter is a callable from plain value to wanted value that raises `Mismatch` if the value does not fit.
Converters are built once per message type. A field that is missing takes its default and one that nobody
knows is ignored, so that senders and receivers of different age understand each other.
"""

from __future__ import annotations

import array
import collections.abc
import contextlib
import dataclasses
import datetime
import decimal
import enum
import math
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Converter = Callable[[Any], Any]

_DETAIL_SIZE_MAX = 200  # characters of what others wrote (keys, texts of exceptions) in one sentence
_LABELS = {
    dict: "map",
    list: "list",
    type(None): "None",
}


class Mismatch(Exception):
    """Internal: a value does not fit. Never leaves `busway.payloads`; it becomes a PayloadError."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.path: list[str] = []  # innermost first

    def describe(self, root: str) -> str:
        """The sentence with the path to the place: "Reading.points[3].x: expected float, got str"."""
        return f"{root}{''.join(reversed(self.path))}: {self.text}"


def record_converter(cls: type) -> Converter:
    """Builds the converter of a dataclass and of every class its fields mention.

    Args:
        cls: a dataclass.

    Returns:
        The converter: from a map of fields to an instance.

    Raises:
        NameError: an annotation mentions a name that is not defined, perhaps not yet.
        TypeError: an annotation that cannot be checked on arrival; the sentence names the field.
    """
    try:
        return _Builder().record(cls)
    except RecursionError:
        raise TypeError(f"{cls.__qualname__}: an annotation refers to itself; only a dataclass may") from None


def value_converter(annotation: Any) -> Converter:
    """The converter of whatever an annotation may say, such as `float`, `list[Point]` or a dataclass.

    Raises:
        NameError, TypeError: as `record_converter`.
    """
    return _Builder().build(annotation)


def record_fields(cls: type) -> tuple[tuple[str, frozenset[type]], ...]:
    """The fields of a dataclass or Struct that hold records or containers of them, with the classes that the
    annotation names. None where an annotation cannot be resolved, which the receiver is told of.
    """
    try:
        hints = typing.get_type_hints(cls, localns={cls.__name__: cls})
    except (NameError, TypeError):
        return ()
    names: Iterable[str] = getattr(cls, "__struct_fields__", ()) if is_struct(cls) else field_names(cls)
    found = ((name, frozenset(_records_in(hints[name]))) for name in names if name in hints)
    return tuple((name, records) for name, records in found if records)


def _records_in(annotation: Any) -> Iterable[type]:
    inner = aliased(annotation)
    if inner is not None:
        yield from _records_in(inner)
    elif is_record(annotation):
        yield annotation
    else:
        for argument in typing.get_args(annotation):
            yield from _records_in(argument)


def untyped_fields(cls: type) -> tuple[str, ...]:
    """The fields of a Struct of which the annotation leaves something open."""
    try:
        hints = typing.get_type_hints(cls, localns={cls.__name__: cls})
    except (NameError, TypeError):
        return ()
    return tuple(name for name, hint in hints.items() if _leaves_open(hint))


def _leaves_open(annotation: Any) -> bool:
    inner = aliased(annotation)
    if inner is not None:
        return _leaves_open(inner)
    open_ended = annotation in (Any, object) or isinstance(annotation, typing.TypeVar)
    return open_ended or any(_leaves_open(argument) for argument in typing.get_args(annotation))


def is_record(kind: Any) -> bool:
    """Whether it is a dataclass or a msgspec Struct: a class whose instances travel as maps of fields."""
    return isinstance(kind, type) and (is_struct(kind) or is_own_dataclass(kind))


def label_of(annotation: Any) -> str:
    """An annotation as people write it."""
    return _label(annotation)


def field_names(cls: type) -> tuple[str, ...]:
    """The fields of a dataclass that travel: those its constructor takes."""
    return tuple(field.name for field in dataclasses.fields(cls) if field.init)


def is_struct(cls: type) -> bool:
    """Whether the class is a msgspec Struct; found out without importing msgspec."""
    return isinstance(getattr(cls, "__struct_fields__", None), tuple)


def is_own_dataclass(cls: type) -> bool:
    """Whether the class itself, and not merely a base of it, was made a dataclass."""
    return "__dataclass_fields__" in cls.__dict__


def struct_converter(cls: type) -> Converter:
    """The converter of a msgspec Struct: msgspec's own.

    Raises:
        NameError, TypeError: as `record_converter`, found by msgspec.
    """
    import msgspec

    with contextlib.suppress(msgspec.ValidationError):
        msgspec.convert(None, cls)  # looks at the annotations, which it otherwise does at the first message

    def convert(value: Any) -> Any:
        try:
            return msgspec.convert(value, cls, builtin_types=CBOR_NATIVE)
        except msgspec.ValidationError as error:
            raise _of_msgspec(str(error)) from None

    return convert


# What CBOR carries as such, so that msgspec neither wants it as text nor turns it into text.
CBOR_NATIVE = (
    bytes,
    bytearray,
    memoryview,
    datetime.datetime,
    datetime.date,
    datetime.timedelta,
    uuid.UUID,
    decimal.Decimal,
)


def _of_msgspec(text: str) -> Mismatch:
    # "Expected `float`, got `str` - at `$.celsius`"
    sentence, _, place = text.partition(" - at `$")
    mismatch = Mismatch(_shortened(sentence[:1].lower() + sentence[1:].replace("`", "")))
    mismatch.path.append(_shortened(place.rstrip("`")))
    return mismatch


def is_stamp(cls: type) -> bool:
    """Whether it is a date, address or the like, that CBOR has a form of its own for."""
    return cls in _STAMPS or f"{cls.__module__}.{cls.__qualname__}" in _RARE_STAMPS


# Scalars --------------------


def _exactly(kind: type) -> Converter:
    def convert(value: Any) -> Any:
        # Not isinstance: True is no int here, as a datetime is no date.
        if type(value) is kind:
            return value
        raise _expected(_label(kind), value)

    return convert


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise Mismatch("expected float, got an int too large for one") from None
    raise _expected("float", value)


def _decimal(value: Any) -> decimal.Decimal:
    if type(value) is decimal.Decimal:
        return value
    # CBOR has no decimal infinity or NaN: they travel as floats.
    if type(value) is float and not math.isfinite(value):
        return decimal.Decimal(value)
    raise _expected("Decimal", value)


def _anything(value: Any) -> Any:
    return value


_CHECKABLE = (
    "int, float, str, bytes, bool, None, list, tuple, dict, set, Sequence, Mapping, Optional, Union, "
    "Literal, an Enum, a dataclass, datetime, date, timedelta, UUID, Decimal, Fraction, an IP address, "
    "array.array or Any"
)
_STAMPS = (
    datetime.datetime,
    datetime.date,
    datetime.timedelta,
    uuid.UUID,
    array.array,
)
# Known by their names: who annotates with one has imported it, nobody else pays for that.
_RARE_STAMPS = {"fractions.Fraction"} | {
    f"ipaddress.IPv{version}{kind}" for version in (4, 6) for kind in ("Address", "Network", "Interface")
}
_SCALARS: dict[Any, Converter] = {
    Any: _anything,
    object: _anything,
    None: _exactly(type(None)),
    float: _float,
    decimal.Decimal: _decimal,
    **{kind: _exactly(kind) for kind in (int, str, bytes, bool, type(None), complex)},
}


def _enum(cls: type[enum.Enum]) -> Converter:
    kinds = {type(member.value) for member in cls}
    if issubclass(cls, enum.Flag):
        kinds.add(int)
    if not kinds <= {int, float, str, bytes, bool, type(None)}:
        raise TypeError(f"the values of {cls.__qualname__} must be numbers, str, bytes, bool or None")

    def convert(value: Any) -> Any:
        # The type is compared first because True == 1 == 1.0.
        if type(value) in kinds:
            with contextlib.suppress(Exception):  # its _missing_ is the user's own code
                return cls(value)
        raise _expected(f"a value of {cls.__qualname__}", value)

    return convert


def _literal(choices: Iterable[Any]) -> Converter:
    wanted = {}
    for choice in choices:
        plain = choice.value if isinstance(choice, enum.Enum) else choice
        wanted[type(plain), plain] = choice
    label = "one of " + ", ".join(repr(choice) for choice in wanted.values())

    def convert(value: Any) -> Any:
        if type(value) in (int, str, bytes, bool, type(None)):
            found = wanted.get((type(value), value), wanted)
            if found is not wanted:
                return found
        raise _expected(label, value)

    return convert


# Containers --------------------


def _sequence(
    make: Callable[[list[Any]], Any], label: str, came: tuple[type, ...], item: Converter
) -> Converter:
    def convert(value: Any) -> Any:
        if not isinstance(value, came):
            raise _expected(label, value)
        elements: Any = value
        done: list[Any] = []
        try:
            for element in elements:
                done.append(item(element))  # noqa: PERF401 - its length tells where it failed
        except Mismatch as mismatch:
            mismatch.path.append(f"[{len(done)}]")
            raise
        return make(done)

    return convert


def _fixed_tuple(items: tuple[Converter, ...]) -> Converter:
    def convert(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise _expected(f"a list of {len(items)}", value)
        if len(value) != len(items):
            raise Mismatch(f"expected a list of {len(items)}, got one of {len(value)}")
        done: list[Any] = []
        try:
            for item, element in zip(items, value, strict=True):
                done.append(item(element))
        except Mismatch as mismatch:
            mismatch.path.append(f"[{len(done)}]")
            raise
        return tuple(done)

    return convert


def _mapping(key: Converter, item: Converter) -> Converter:
    def convert(value: Any) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            raise _expected("map", value)
        done = {}
        for came, element in value.items():
            try:
                done[key(came)] = item(element)
            except Mismatch as mismatch:
                mismatch.path.append(f"[{_shortened(repr(came))}]")
                raise
        return done

    return convert


# CBOR arrays become tuples, and maps frozen ones, where they stand as keys or members of sets.
_SEQUENCES: dict[Any, tuple[Callable[[list[Any]], Any], str, tuple[type, ...]]] = {
    list: (list, "list", (list, tuple)),
    tuple: (tuple, "list", (list, tuple)),
    set: (set, "set", (set, frozenset)),
    frozenset: (frozenset, "set", (set, frozenset)),
    collections.abc.Sequence: (list, "list", (list, tuple)),
    collections.abc.MutableSequence: (list, "list", (list, tuple)),
    collections.abc.Set: (set, "set", (set, frozenset)),
    collections.abc.MutableSet: (set, "set", (set, frozenset)),
}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


# Everything else --------------------


class _Builder:
    """Builds the converters of one message type; remembers its records, since they may mention each other."""

    def __init__(self) -> None:
        self._records: dict[type, Converter] = {}

    def record(self, cls: type) -> Converter:
        if cls in self._records:
            return self._records[cls]
        fields: list[tuple[str, Converter, bool]] = []
        self._records[cls] = _record(cls, fields)  # before its fields, which may mention the class itself
        hints = typing.get_type_hints(cls, localns={cls.__name__: cls})
        _refuse_init_only(cls, hints)
        fields.extend(
            (field.name, self._field(cls, field.name, hints[field.name]), _required(field))
            for field in dataclasses.fields(cls)
            if field.init
        )
        return self._records[cls]

    def _field(self, cls: type, name: str, annotation: Any) -> Converter:
        try:
            return self.build(annotation)
        except TypeError as error:
            raise TypeError(f"{cls.__qualname__}.{name}: {error}") from None

    def build(self, annotation: Any) -> Converter:
        origin = typing.get_origin(annotation) or annotation
        if origin in _SEQUENCES:
            return self._sequence(annotation, origin)
        if origin in _MAPPINGS:
            key, item = typing.get_args(annotation) or (Any, Any)
            return _mapping(self.build(key), self.build(item))
        if origin is typing.Union or origin is types.UnionType:
            return self._union(typing.get_args(annotation))
        if origin is typing.Literal:
            return _literal(typing.get_args(annotation))
        if origin in (typing.Final, typing.Annotated):
            return self.build((typing.get_args(annotation) or (Any,))[0])
        return self._plain(annotation)

    def _plain(self, annotation: Any) -> Converter:
        inner = aliased(annotation)
        if inner is not None:
            return self.build(inner)
        if isinstance(annotation, type):
            if issubclass(annotation, enum.Enum):
                return _enum(annotation)
            if is_struct(annotation):
                return struct_converter(annotation)
            if is_own_dataclass(annotation):
                return self.record(annotation)
            if is_stamp(annotation):
                return _exactly(annotation)
        if annotation in _SCALARS:
            return _SCALARS[annotation]
        raise TypeError(f"{_label(annotation)} cannot be checked on arrival; use {_CHECKABLE}")

    def _sequence(self, annotation: Any, origin: Any) -> Converter:
        arguments = typing.get_args(annotation)
        bare = annotation is origin or annotation is typing.Tuple  # noqa: UP006 - users may write it
        if origin is tuple and not bare and arguments[1:] != (...,):
            return _fixed_tuple(tuple(self.build(argument) for argument in arguments))
        return _sequence(*_SEQUENCES[origin], self.build(arguments[0] if arguments else Any))

    def _union(self, members: tuple[Any, ...]) -> Converter:
        # float stands last: it takes an int too, which an int beside it must get first.
        ordered = sorted(members, key=lambda member: member is float)
        converters = [self.build(member) for member in ordered]
        _refuse_ambiguous(members)
        if type(None) in members and len(members) == 2:
            return _optional(next(c for c, m in zip(converters, ordered, strict=True) if m is not type(None)))
        return _first_of(converters, " | ".join(_label(member) for member in members))


def _record(cls: type, fields: list[tuple[str, Converter, bool]]) -> Converter:
    def convert(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _expected("a map of fields", value)
        given = {}
        for name, item, required in fields:
            if name in value:
                try:
                    given[name] = item(value[name])
                except Mismatch as mismatch:
                    mismatch.path.append(f".{name}")
                    raise
            elif required:
                raise _missing(name)
        return _constructed(cls, given)

    return convert


def _constructed(cls: type, given: dict[str, Any]) -> Any:
    try:
        return cls(**given)
    except Exception as error:  # the class's own __post_init__ may refuse with whatever it likes
        raise Mismatch(
            f"{cls.__qualname__} refused it: {type(error).__name__}: {_shortened(str(error))}"
        ) from error


def _missing(name: str) -> Mismatch:
    mismatch = Mismatch("the field is missing and has no default")
    mismatch.path.append(f".{name}")
    return mismatch


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _refuse_init_only(cls: type, hints: dict[str, Any]) -> None:
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar) and not hasattr(cls, name):
            raise TypeError(
                f"{cls.__qualname__}.{name}: an InitVar is not kept in the instance and cannot be sent; "
                "give it a default"
            )


def _optional(item: Converter) -> Converter:
    def convert(value: Any) -> Any:
        return None if value is None else item(value)

    return convert


def _first_of(converters: list[Converter], label: str) -> Converter:
    def convert(value: Any) -> Any:
        for converter in converters:
            try:
                return converter(value)
            except Mismatch:
                continue
        raise Mismatch(f"expected {label}, got {_kind(value)} that fits none of them")

    return convert


def _refuse_ambiguous(members: tuple[Any, ...]) -> None:
    # On the wire a record is a map and a tuple a list: two members of one shape could not be told apart, and
    # trying both at every level of a nested value would cost exponential time.
    shapes = [shape for shape in map(_shape, members) if shape]
    for shape in set(shapes):
        if shapes.count(shape) > 1:
            alike = " and ".join(_label(member) for member in members if _shape(member) == shape)
            raise TypeError(f"{alike} are each a {shape} on the wire and cannot be told apart in a union")


def _shape(member: Any) -> str:
    while typing.get_origin(member) is typing.Annotated or aliased(member) is not None:
        member = aliased(member) or typing.get_args(member)[0]
    origin = typing.get_origin(member) or member
    if origin in _SEQUENCES:
        return _SEQUENCES[origin][1]
    if isinstance(origin, type) and (origin in _MAPPINGS or is_own_dataclass(origin) or is_struct(origin)):
        return "map"
    return ""


def aliased(annotation: Any) -> Any:
    """What a NewType, or the `type X = ...` of Python 3.12, stands for; None for anything else."""
    return getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)


def _expected(label: str, value: Any) -> Mismatch:
    return Mismatch(f"expected {label}, got {_kind(value)}")


def _kind(value: Any) -> str:
    return _label(type(value))


def _label(annotation: Any) -> str:
    if annotation in _LABELS:
        return _LABELS[annotation]
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def _shortened(text: str) -> str:
    return text if len(text) <= _DETAIL_SIZE_MAX else text[:_DETAIL_SIZE_MAX] + "…"
