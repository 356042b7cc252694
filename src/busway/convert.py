"""Turns plain decoded values into what annotations ask for, by msgspec. Knows annotations, and no bytes.

Of fields, lists, maps and numbers msgspec says what fits and where something does not. What it leaves open is
here: dataclasses are made by their own constructors, enums may have values of several types, and a union may
be of all that CBOR tells apart, which JSON does not. A field that is missing takes its default and one that
nobody knows is ignored, so that senders and receivers of different age understand each other.
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
import re
import types
import typing
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from busway.classes import (
    Mismatch,
    aliased,
    field_names,
    is_ndarray,
    is_own_dataclass,
    is_record,
    is_struct,
    label_of,
)

_LISTED_MAX = 8  # members of an Enum that a sentence names
_DETAIL_SIZE_MAX = 200  # characters of what others wrote (keys, texts of exceptions) in one sentence

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


class Converter:
    """From plain values to what an annotation asks for, such as `float`, `list[Point]` or a dataclass."""

    __slots__ = ("_kind", "_native")

    def __init__(self, annotation: Any) -> None:
        """Looks at the annotation and at every class that it mentions.

        Raises:
            NameError: an annotation mentions a name that is not defined, perhaps not yet.
            TypeError: an annotation that cannot be checked on arrival; the sentence names the field.
        """
        try:
            self._kind = _Builder().build(annotation)
        except RecursionError:
            label = label_of(annotation)
            raise TypeError(f"{label}: an annotation refers to itself; only a dataclass may") from None
        self._native = annotation if _is_native(annotation, set()) else None

    def convert(self, value: Any, *, sets: bool = True, making: bool = True) -> Any:
        """The wanted value of a plain one that arrived. Raises Mismatch if it does not fit.

        Args:
            value: the plain value.
            sets: whether there may be sets in it, which msgspec alone would also take for lists.
            making: False to check only: no class of this program's own is called to make instances.
        """
        if self._native is not None and not sets:
            try:
                return msgspec.convert(value, self._native, builtin_types=CBOR_NATIVE)
            except (ValueError, TypeError, NameError):
                pass  # the slower way has better sentences, and knows classes inside functions and InitVar
        return _convert(value, self._kind, _arriving if making else _checking)


# What msgspec does as a whole, and quickly --------------------

_NATIVE = {int, float, str, bool, bytes, type(None), Any}
_NATIVE |= {datetime.datetime, datetime.date, datetime.timedelta, uuid.UUID}


def _is_native(annotation: Any, looked_at: set[type]) -> bool:
    """Whether msgspec alone takes the same values for an annotation, sets aside, and makes the same of it."""
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin in _COLLECTIONS and _COLLECTIONS[origin][1] is not _LIST:
        return False
    if origin in _COLLECTIONS or origin in _MAPPINGS:
        return all(member is ... or _is_native(member, looked_at) for member in arguments)
    if origin is typing.Union or origin is types.UnionType:
        optional = len(arguments) == 2 and type(None) in arguments
        return optional and all(_is_native(member, looked_at) for member in arguments)
    if not isinstance(annotation, type):
        return False
    if annotation in _NATIVE or is_struct(annotation):
        return True
    if issubclass(annotation, enum.Enum):
        return {type(member.value) for member in annotation} in ({int}, {str})
    return annotation in looked_at or _is_plain(annotation, looked_at)


def is_native(annotation: Any) -> bool:
    """Whether msgspec alone makes the values of an annotation, of a dataclass by setting its fields."""
    return _is_native(annotation, set())


def _is_plain(cls: Any, looked_at: set[type]) -> bool:
    """Whether a class is a dataclass of native fields, of which instances are made by setting these."""
    if not is_own_dataclass(cls) or not cls.__dataclass_params__.init or hasattr(cls, "__post_init__"):
        return False
    if cls.__new__ is not object.__new__ or not (
        cls.__dataclass_params__.frozen or cls.__setattr__ is object.__setattr__
    ):
        return False
    looked_at.add(cls)
    hints = typing.get_type_hints(cls, localns={cls.__name__: cls}, include_extras=True)
    fields = dataclasses.fields(cls)
    return all(field.init and _is_native(hints[field.name], looked_at) for field in fields)


# Between msgspec and the rest --------------------

Hook = Callable[[Any, Any], Any]


class _Own(type):
    """Types of which msgspec leaves the values to their `convert(value, hook)`."""

    convert: Hook
    # True of whatever `convert` gave, of which msgspec asks it, and no frame of Python.
    __instancecheck__ = staticmethod(id)  # type: ignore[assignment]


def _own(convert: Callable[[Any, Hook], Any]) -> _Own:
    return _Own("Own", (), {"convert": staticmethod(convert)})


def _arriving(kind: Any, value: Any) -> Any:
    return kind.convert(value, _arriving) if type(kind) is _Own else value


def _checking(kind: Any, value: Any) -> Any:
    """As `_arriving`, but makes no instances of dataclasses."""
    return kind.convert(value, _checking) if type(kind) is _Own else value


def _convert(value: Any, kind: Any, hook: Hook) -> Any:
    if type(kind) is _Own:
        return kind.convert(value, hook)
    try:
        return msgspec.convert(value, kind, builtin_types=CBOR_NATIVE, dec_hook=hook)
    except msgspec.ValidationError as error:
        raise _mismatch(error) from error.__cause__


_IN_PYTHON = {
    "object": "map",
    "array": "list",
    "null": "None",
    "uuid": "UUID",
    "decimal": "Decimal",
    "duration": "timedelta",
}


def _mismatch(error: msgspec.ValidationError) -> Mismatch:
    """From "Expected `array`, got `str` - at `$.points`", or the same around a Mismatch of `_Own.convert`."""
    text, inner = str(error), error.__cause__
    if isinstance(inner, Mismatch):
        return Mismatch(inner.text, _path(text[len(inner.text) :]) + inner.path)
    sentence, _, place = text.partition(" - at ")
    if sentence.startswith("Object missing required field"):
        name = sentence.split("`")[1]
        return Mismatch("the field is missing and has no default", f"{_path(place)}.{name}")
    if sentence == "Number out of range":
        sentence = "expected float, got an int too large for one"
    elif sentence.startswith("Expected"):
        sentence = re.sub(r"\w+", lambda word: _IN_PYTHON.get(word[0], word[0]), sentence)
        sentence = sentence.replace("Expected `map", "Expected `a map of fields")
    words = sentence[:1].lower() + sentence[1:].replace("`", "")
    return Mismatch(_shortened(words), _path(place))


def _path(place: str) -> str:
    """From "`$.points[3]`", or of a key of a map, which msgspec does not show: "`key` in `$.points`"."""
    path = _shortened(place.partition("$")[2].rstrip("`"))
    return f"{path} (a key)" if "`key` in" in place else path


def _expected(label: str, value: Any) -> Mismatch:
    return Mismatch(f"expected {label}, got {label_of(type(value))}")


def _shortened(text: str) -> str:
    return text if len(text) <= _DETAIL_SIZE_MAX else text[:_DETAIL_SIZE_MAX] + "…"


# Single values --------------------


def _decimal(value: Any, _hook: Hook) -> decimal.Decimal:
    if type(value) is decimal.Decimal:
        return value
    # CBOR has no decimal infinity or NaN: they travel as floats.
    if type(value) is float and not math.isfinite(value):
        return decimal.Decimal(value)
    raise _expected("Decimal", value)


def _array(value: Any, _hook: Hook) -> array.array[Any]:
    if isinstance(value, array.array):
        return value
    # Of numpy, whose arrays travel with their shape: as `array.array` if that can hold it.
    if is_ndarray(type(value)) and value.ndim == 1 and value.dtype.char in _TYPECODES:
        native = value.astype(value.dtype.newbyteorder("="))
        return array.array(value.dtype.char, native.tobytes())
    raise _expected("array", value)


def _ndarray(annotation: Any) -> _Own:
    """Takes numpy's arrays, of `NDArray[numpy.float32]` those of float32, and `array.array` as such."""
    _shape, dtype = typing.get_args(annotation) or (Any, Any)
    (wanted,) = typing.get_args(dtype) or (Any,)
    kind = wanted if isinstance(wanted, type) and wanted is not Any else object

    def convert(value: Any, _hook: Hook) -> Any:
        if isinstance(value, array.array):
            import numpy

            value = numpy.asarray(value)
        if not is_ndarray(type(value)):
            raise _expected("numpy.ndarray", value)
        if not issubclass(value.dtype.type, kind):
            raise Mismatch(f"expected an array of {kind.__name__}, got one of {value.dtype}")
        return value

    return _own(convert)


def _enum(cls: type[enum.Enum]) -> _Own:
    kinds = {type(member.value) for member in cls}
    if issubclass(cls, enum.Flag):
        kinds.add(int)
    if not kinds <= {int, float, str, bytes, bool, type(None)}:
        raise TypeError(f"the values of {cls.__qualname__} must be numbers, str, bytes, bool or None")
    label = f"a value of {cls.__qualname__}"
    if len(cls) <= _LISTED_MAX and not issubclass(cls, enum.Flag):
        label += f" ({', '.join(repr(member.value) for member in cls)})"

    def convert(value: Any, hook: Hook) -> Any:
        # The type is compared first because True == 1 == 1.0.
        if type(value) in kinds:
            with contextlib.suppress(Exception):  # its _missing_ is the user's own code
                return cls(value)
        raise _expected(label, value)

    return _own(convert)


def _literal(choices: Iterable[Any]) -> _Own:
    wanted = {}
    for choice in choices:
        plain = choice.value if isinstance(choice, enum.Enum) else choice
        wanted[type(plain), plain] = choice
    label = "one of " + ", ".join(repr(choice) for choice in wanted.values())

    def convert(value: Any, hook: Hook) -> Any:
        if type(value) in (int, str, bytes, bool, type(None)) and (type(value), value) in wanted:
            return wanted[type(value), value]
        raise _expected(label, value)

    return _own(convert)


def _only(came: tuple[type, ...], label: str, kind: Any) -> _Own:
    """Takes these types only: msgspec makes lists of sets and sets of lists."""

    def convert(value: Any, hook: Hook) -> Any:
        if type(value) in came:
            return _convert(value, kind, hook)
        raise _expected(label, value)

    return _own(convert)


_CHECKABLE = (
    "int, float, str, bytes, bool, None, list, tuple, dict, set, Sequence, Mapping, Optional, Union, "
    "Literal, an Enum, a dataclass, datetime, date, timedelta, UUID, Decimal, Fraction, an IP address, "
    "array.array, numpy.ndarray or Any"
)
_TYPECODES = frozenset("bBhHiIlLqQfd")
_SINGLE: dict[Any, Any] = {
    **{kind: kind for kind in (*_NATIVE, complex)},
    array.array: _own(_array),
    None: type(None),
    object: Any,
    decimal.Decimal: _own(_decimal),
}
# Known by their names: who annotates with one has imported it, nobody else pays for that.
_RARE = {"fractions.Fraction"} | {
    f"ipaddress.IPv{version}{kind}" for version in (4, 6) for kind in ("Address", "Network", "Interface")
}


# Containers --------------------

_LIST = ((list, tuple), "list")  # tuples where they stand as keys or members of sets
_SET = ((set, frozenset), "set")
_COLLECTIONS: dict[Any, tuple[Any, tuple[tuple[type, ...], str]]] = {
    list: (list, _LIST),
    tuple: (tuple, _LIST),
    set: (set, _SET),
    frozenset: (frozenset, _SET),
    collections.abc.Sequence: (list, _LIST),
    collections.abc.MutableSequence: (list, _LIST),
    collections.abc.Set: (set, _SET),
    collections.abc.MutableSet: (set, _SET),
}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def _mapping(key: Any, member: Any) -> _Own:
    """Goes through maps itself: msgspec asks no `_Own` about keys that are str, and names no keys."""

    def convert(value: Any, hook: Hook) -> Any:
        if not isinstance(value, collections.abc.Mapping):
            raise _expected("map", value)
        done = {}
        for came, element in value.items():
            try:
                done[_convert(came, key, hook)] = _convert(element, member, hook)
            except Mismatch as mismatch:
                raise Mismatch(mismatch.text, f"[{_shortened(repr(came))}]{mismatch.path}") from mismatch
        return done

    return _own(convert)


def _first_of(kinds: list[Any], label: str) -> _Own:
    def convert(value: Any, hook: Hook) -> Any:
        for kind in kinds:
            with contextlib.suppress(ValueError):
                return _convert(value, kind, hook)
        raise Mismatch(f"expected {label}, got {label_of(type(value))} that fits none of them")

    return _own(convert)


def _refuse_ambiguous(members: tuple[Any, ...]) -> None:
    # On the wire a record is a map and a tuple a list: two members of one shape could not be told apart, and
    # trying both at every level of a nested value would cost exponential time.
    shapes = [shape for shape in map(_shape, members) if shape]
    for shape in set(shapes):
        if shapes.count(shape) > 1:
            alike = " and ".join(label_of(member) for member in members if _shape(member) == shape)
            raise TypeError(f"{alike} are each a {shape} on the wire and cannot be told apart in a union")


def _shape(member: Any) -> str:
    while typing.get_origin(member) is typing.Annotated or aliased(member) is not None:
        member = aliased(member) or typing.get_args(member)[0]
    origin = typing.get_origin(member) or member
    if origin in _COLLECTIONS:
        return _COLLECTIONS[origin][1][1]
    return "map" if origin in _MAPPINGS or is_record(origin) else ""


# Classes, and all of it --------------------


def _struct(cls: type) -> _Own:
    with contextlib.suppress(msgspec.ValidationError):
        msgspec.convert(None, cls)  # looks at the annotations, which it otherwise does at the first message

    def convert(value: Any, hook: Hook) -> Any:
        return _convert(value, cls, hook)

    return _own(convert)


def _constructed(cls: type, names: tuple[str, ...], made: Any) -> Any:
    given = {name: found for name in names if (found := getattr(made, name)) is not msgspec.UNSET}
    try:
        return cls(**given)
    except Exception as error:  # the class's own __post_init__ may refuse with whatever it likes
        raise Mismatch(
            f"{cls.__qualname__} refused it: {type(error).__name__}: {_shortened(str(error))}"
        ) from error


def _refuse_init_only(cls: type, hints: dict[str, Any]) -> None:
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar) and not hasattr(cls, name):
            raise TypeError(
                f"{cls.__qualname__}.{name}: an InitVar is not kept in the instance and cannot be sent; "
                "give it a default"
            )


class _Builder:
    """Builds what msgspec is asked for; remembers its records, since they may mention each other."""

    def __init__(self) -> None:
        self._records: dict[type, _Own] = {}

    def build(self, annotation: Any) -> Any:
        origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
        if origin in _COLLECTIONS:
            return self._collection(annotation, origin, arguments)
        if origin in _MAPPINGS:
            key, member = arguments or (Any, Any)
            return _mapping(self.build(key), self.build(member))
        if origin is typing.Union or origin is types.UnionType:
            return self._union(arguments)
        if origin is typing.Literal:
            return _literal(arguments)
        if origin in (typing.Final, typing.Annotated):
            return self.build((arguments or (Any,))[0])
        if is_ndarray(origin):
            return _ndarray(annotation)
        inner = aliased(annotation)
        return self.build(inner) if inner is not None else self._single(annotation)

    def _single(self, annotation: Any) -> Any:
        if isinstance(annotation, type):
            if issubclass(annotation, enum.Enum):
                return _enum(annotation)
            if is_struct(annotation):
                return _struct(annotation)
            if is_own_dataclass(annotation):
                return self._record(annotation)
            if f"{annotation.__module__}.{annotation.__qualname__}" in _RARE:
                return annotation
        if annotation in _SINGLE:
            return _SINGLE[annotation]
        raise TypeError(f"{label_of(annotation)} cannot be checked on arrival; use {_CHECKABLE}")

    def _collection(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> _Own:
        kind, came = _COLLECTIONS[origin]
        built = tuple(member if member is ... else self.build(member) for member in arguments)
        if origin is tuple and not built:
            return _only(*came, annotation)  # perhaps tuple[()]
        return _only(*came, kind[built] if built else kind)

    def _union(self, members: tuple[Any, ...]) -> Any:
        # float stands last: it takes an int too, which an int beside it must get first.
        ordered = sorted(members, key=lambda member: member is float)
        kinds = [self.build(member) for member in ordered]
        _refuse_ambiguous(members)
        if type(None) in members and len(members) == 2:
            return next(kind for kind in kinds if kind is not type(None)) | None
        return _first_of(kinds, " | ".join(label_of(member) for member in members))

    def _record(self, cls: type) -> _Own:
        if cls in self._records:
            return self._records[cls]
        names = field_names(cls)

        def convert(value: Any, hook: Hook) -> Any:
            made = _convert(value, shape, hook)
            return _constructed(cls, names, made) if hook is _arriving else made

        self._records[cls] = _own(convert)  # before its fields, which may mention the class itself
        hints = typing.get_type_hints(cls, localns={cls.__name__: cls})
        _refuse_init_only(cls, hints)
        shape = self._shape(cls, hints)
        return self._records[cls]

    def _shape(self, cls: type, hints: dict[str, Any]) -> Any:
        """The class's fields as a Struct, of which the constructor gets those that came."""
        kinds: list[Any] = []
        for field in dataclasses.fields(cls):
            if field.init:
                try:
                    kind = self.build(hints[field.name])
                except TypeError as error:
                    raise TypeError(f"{cls.__qualname__}.{field.name}: {error}") from None
                required = field.default is field.default_factory is dataclasses.MISSING
                kinds.append((field.name, kind) if required else (field.name, kind, msgspec.UNSET))
        return msgspec.defstruct(cls.__name__, kinds, kw_only=True)
