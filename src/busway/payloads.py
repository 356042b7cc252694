"""Payloads: bytes, CBOR values, message types. Knows formats and types, not nodes or frames.

The four formats are those of docs/protocol.md section 5.
"""

from __future__ import annotations

import enum
import re
import sys
from array import array
from collections import UserString
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from busway import bounds
from busway.arrays import (
    SHAPE_TAG,
    Grid,
    cut,
    grid_of,
    is_array,
    is_bytes,
    pieces,
    place,
    plain_number,
    tag_of,
)
from busway.cbor import DEPTH_MAX, INTEGER_SIZE_MAX, TAG_DURATION, load_cbor, loads
from busway.classes import (
    Mismatch,
    field_names,
    is_ndarray,
    is_own_dataclass,
    is_record,
    is_struct,
    record_fields,
    untyped_fields,
)
from busway.errors import PayloadError, UnknownType
from busway.messages import (
    Declaration,
    accepted_types,
    declaration_by_id,
    declaration_of,
    message,
)
from busway.names import uuid_text

if TYPE_CHECKING:
    import datetime

    from busway.convert import Converter

__all__ = [
    "CBOR",
    "DEPTH_MAX",
    "INTEGER_SIZE_MAX",
    "RAW",
    "TYPED",
    "TYPED_AS_ENDPOINT",
    "PayloadError",
    "UnknownType",
    "accepted_types",
    "converted",
    "decode",
    "encode",
    "encode_pieces",
    "encode_shared",
    "message",
]

RAW = 0
CBOR = 1
TYPED_AS_ENDPOINT = 2
TYPED = 3

SEALED = bytes.fromhex("cad3b8aeac8d571ebdd23115dde1740e")  # endpoint_id("busway/sealed")
"""The message type of a sealed payload, 16 bytes: one of busway's own (sealing.py)."""

_REASON_SIZE_MAX = 400  # characters
_SENDABLE = (
    "a payload is bytes, what CBOR carries (None, bool, int, float, str, bytes, list, tuple, dict, set, "
    "datetime with time zone, date, timedelta, Decimal, Fraction, UUID, IP addresses, array.array, Enum "
    "values), or an instance of a class declared with @busway.message"
)
_SEALED = "it is sealed, and this bus can open nothing: give it key= and seal="
_SET_HEAD = b"\xd9\x01\x02"  # tag 258
# How an integer of more than INTEGER_SIZE_MAX bytes begins: its tag, and a string with a length of 2, 4 or 8.
_LONG_INTEGERS = tuple(bytes((tag, length)) for tag in (0xC2, 0xC3) for length in (0x59, 0x5A, 0x5B))


def encode(value: object, endpoint: bytes) -> tuple[bytes, int, bytes]:
    """Turns what a program sends into a payload.

    Args:
        value: bytes (also bytearray, memoryview), an instance of a declared message type, or anything CBOR
            carries. Declared instances and Enum members may also stand inside other values: as maps and
            values. What arrives equals what was sent, but for the differences that docs/guarantees.md lists;
            what cannot arrive so is refused here.
        endpoint: the 16-byte UUID it is sent to.

    Returns:
        (payload, format, type_id): type_id is 16 bytes with format TYPED and b"" otherwise.

    Raises:
        TypeError: there is something inside that cannot be sent; the sentence names its type. Or a field of a
            declared instance that its annotation does not take; the sentence names class and field.
        ValueError: a value of a proper type that cannot be sent: nested deeper than DEPTH_MAX, containing
            itself, a datetime without time zone, text that UTF-8 cannot carry, an integer of more than
            INTEGER_SIZE_MAX bytes, two keys that would arrive as one.
    """
    kind = type(value)
    if kind is bytes:
        return cast(bytes, value), RAW, b""
    if kind is dict or kind is list:
        body, grids = _dumps(value, _plain_inside_value)
        return b"".join(pieces(body, grids)) if grids else body, CBOR, b""
    parts, format, type_id = encode_pieces(value, endpoint)
    return b"".join(parts), format, type_id  # never of a class of the program's


class Joiner(Protocol):
    """A place where the pieces of a payload become one."""

    def join_pieces(self, pieces: Sequence[bytes | memoryview], /) -> bytes | memoryview: ...


def encode_shared(value: object, endpoint: bytes, joiner: Joiner) -> tuple[bytes | memoryview, int, bytes]:
    """As `encode`, but what would have to be copied goes where the joiner wants it."""
    kind = type(value)
    if kind is bytes:
        return cast(bytes, value), RAW, b""
    if kind is dict or kind is list:
        body, grids = _dumps(value, _plain_inside_value)
        return joiner.join_pieces(pieces(body, grids)) if grids else body, CBOR, b""
    parts, format, type_id = encode_pieces(value, endpoint)
    if len(parts) == 1 and type(parts[0]) is bytes:
        return parts[0], format, type_id
    return joiner.join_pieces(parts), format, type_id


def encode_pieces(value: object, endpoint: bytes) -> tuple[list[bytes | memoryview], int, bytes]:
    """As `encode`, but what a large array or buffer holds is not copied.

    Returns:
        (pieces, format, type_id): the payload is the pieces one after the other. Views among them, of
        bytes, are of what the program has, and may change with it: whoever keeps them copies them now.
        The elements of an array with a shape begin at a multiple of arrays.ALIGNMENT bytes.
    """
    declaration = declaration_of(type(value))
    if declaration is None:
        if isinstance(value, (bytes, bytearray)) or (isinstance(value, memoryview) and is_bytes(value)):
            view = memoryview(value)
            return [view if view.c_contiguous else view.tobytes()], RAW, b""
        if is_ndarray(type(value)) and (grid := grid_of(value)):
            return [grid.head(0), grid.data], CBOR, b""  # without cbor2
        return pieces(*_dumps(value, _plain_inside_value)), CBOR, b""
    body, grids = _dumps(_map_of(value), _plain_inside_message)
    _refuse_misfit(body, grids, declaration)
    if declaration.type_id == endpoint:
        return pieces(body, grids), TYPED_AS_ENDPOINT, b""
    return pieces(body, grids), TYPED, declaration.type_id


def decode(
    payload: bytes | memoryview, format: int, type_id: bytes, endpoint: bytes, accept: tuple[type, ...] | None
) -> Any:
    """Turns a payload that arrived into what the receiving program gets.

    A receiver that declared no types (`accept` None) gets everything: bytes, plain values, an instance of any
    message type declared in this process, and the plain value of a type that is not. One that declared types
    gets instances of these and nothing else: another type is `UnknownType`, which the caller skips and
    counts; bytes (unless `bytes` is among the accepted) and untyped values are `PayloadError`s, which the
    receiver sees.

    Limits are DEPTH_MAX levels, bounds.ITEMS_MAX items, integers of INTEGER_SIZE_MAX bytes, no key twice in a
    map, scalars only as keys and in sets (bounds.py), and no references between parts of a value (tags 25 and
    29), so that what comes out, and the work, is in proportion to what came in.
    Regular expressions and MIME messages, which others may send, arrive as `cbor2.CBORTag`: to compile what
    a stranger sent is the receiver's choice.

    Args:
        payload: the bytes as they came. Arrays with a shape in it become views of it, without a copy.
        format: RAW, CBOR, TYPED_AS_ENDPOINT or TYPED.
        type_id: the message type's UUID with format TYPED, 16 bytes; ignored otherwise.
        endpoint: the UUID it was sent to, 16 bytes.
        accept: what `accepted_types` gave.

    Raises:
        UnknownType: a message type the receiver did not declare.
        PayloadError: everything else that can be wrong with it. There is no other exception.
    """
    try:
        return _decode(payload, format, endpoint if format == TYPED_AS_ENDPOINT else type_id, accept)
    except PayloadError:
        raise
    except Exception as error:
        raise PayloadError(_reason(error), bytes(payload)) from error


def plain(value: object) -> Any:
    """A value as receivers will get it that know none of its classes: records are maps, Enum members values.
    A record in it need not be declared. Raises as `encode`.
    """
    kind = type(value)
    whole = _map_of(value) if is_record(kind) else value
    return _readable(*_dumps(whole, _plain_inside_message))


def converted(payload: bytes | memoryview, format: int, converter: Converter, label: str) -> Any:
    """A payload as that converter makes it, of what people call `label`. Raises PayloadError alone."""
    grids: list[Grid] = []
    try:
        body = bytes(payload) if format == RAW else cut(payload, grids)
        value = body if format == RAW else load_cbor().loads(body, grids)
        return converter.convert(value, sets=_SET_HEAD in body)
    except Mismatch as mismatch:
        raise PayloadError(_shortened(mismatch.describe(label)), bytes(payload)) from mismatch
    except Exception as error:
        raise PayloadError(_reason(error), bytes(payload)) from error


# Decoding --------------------


def _decode(payload: bytes | memoryview, format: int, type_id: bytes, accept: tuple[type, ...] | None) -> Any:
    if format == RAW:
        if accept is None or bytes in accept:
            return bytes(payload)
        raise PayloadError(f"expected {_listed(accept)}, got bytes without a type", bytes(payload))
    if format == CBOR:
        if accept is None:
            return loads(payload)
        raise PayloadError(f"expected {_listed(accept)}, got a value without a type", bytes(payload))
    if format != TYPED_AS_ENDPOINT and format != TYPED:
        raise PayloadError(f"expected payload format 0 to 3, got {format}", bytes(payload))
    declaration = _wanted(type_id, accept, payload)
    if declaration is None:
        return loads(payload)
    return converted(payload, format, declaration.converter(), declaration.cls.__qualname__)


def _wanted(
    type_id: bytes, accept: tuple[type, ...] | None, payload: bytes | memoryview
) -> Declaration | None:
    latest = declaration_by_id(type_id)
    if latest is None and type_id == SEALED:
        raise PayloadError(_SEALED, bytes(payload))
    if accept is None or (latest is not None and latest.cls in accept):
        return latest
    for cls in accept:  # a receiver from before a reload holds the earlier class
        declaration = declaration_of(cls)
        if declaration is not None and declaration.type_id == type_id:
            return declaration
    shown = uuid_text(bytes(type_id)) if len(type_id) == 16 else f"of {len(type_id)} bytes"
    raise UnknownType(
        f"expected {_listed(accept)}, got the message type {shown}", bytes(payload), bytes(type_id)
    )


def _listed(accept: Iterable[type]) -> str:
    return " or ".join(cls.__qualname__ for cls in accept) or "nothing"


def _reason(error: Exception) -> str:
    text = f"{error}: {error.__cause__}" if error.__cause__ is not None else str(error)
    return _shortened(f"the payload cannot be read: {text or type(error).__name__}")


def _shortened(text: str) -> str:
    return text if len(text) <= _REASON_SIZE_MAX else text[:_REASON_SIZE_MAX] + "…"


# Encoding --------------------


def _dumps(value: object, default: Callable[[Any, Any], None]) -> tuple[bytes, list[Grid]]:
    """The CBOR of a value, and the arrays with a shape for which placeholders stand in it."""
    grids: list[Grid] = []
    cbor = load_cbor()
    odd = _look_through(value)
    try:
        if not odd:
            payload = cbor.dumps(value, default=default)
        else:  # arrays, of which cbor2 alone would make lists
            arrays = {*map(type, odd)} - {cbor.tag, _Keys}
            payload = cbor.dumps(
                value, default=default, encoders=dict.fromkeys(arrays, partial(_encode_buffer, grids))
            )
    except (cbor.error, UnicodeEncodeError) as error:
        raise ValueError(f"cannot be sent: {error}") from error
    if len(payload) > bounds.ITEMS_MAX or (odd and _Keys in map(type, odd)):
        _refuse_unbounded(payload)
    if (len(payload) > INTEGER_SIZE_MAX and any(head in payload for head in _LONG_INTEGERS)) or (
        odd and cbor.tag in map(type, odd)  # with a tag anything can be written
    ):
        _readable(payload, grids)
    return payload, grids


def _refuse_unbounded(payload: bytes) -> None:
    try:
        bounds.check(payload)
    except ValueError as error:
        raise ValueError(f"cannot be sent: {error}") from None


def _readable(payload: bytes, grids: list[Grid]) -> Any:
    """The value that receivers will get. Raises ValueError if they could not."""
    try:
        return loads(payload, grids)
    except Exception as error:
        raise ValueError(f"cannot be sent, for nobody could read it: {_reason(error)}") from error


def _refuse_misfit(payload: bytes, grids: list[Grid], declaration: Declaration) -> None:
    """TypeError for a message that every receiver of its type would get as an error."""
    try:
        converter = declaration.converter()
    except TypeError:
        return  # the annotations cannot be resolved, or not yet: the receiver is told of that
    try:
        converter.convert(_readable(payload, grids), sets=_SET_HEAD in payload, making=False)
    except Mismatch as mismatch:
        where = mismatch.describe(declaration.cls.__qualname__)
        raise TypeError(_shortened(f"cannot send {where}")) from None


def _encode_buffer(grids: list[Grid], encoder: Any, value: Any) -> None:
    if isinstance(value, memoryview) and is_bytes(value):
        encoder.encode(value.tobytes())
        return
    tag = load_cbor().tag
    if grid := grid_of(value):
        encoder.encode(tag(SHAPE_TAG, place(grids, grid)))
    else:
        view = memoryview(value)
        encoder.encode(tag(tag_of(view), view.tobytes()))


def _plain_inside_value(encoder: Any, value: Any) -> None:
    if declaration_of(type(value)) is not None:
        encoder.encode(_map_of(value))
    elif isinstance(value, enum.Enum):
        encoder.encode(value.value)
    elif _is_a(value, "datetime", "timedelta"):
        _encode_duration(encoder, value)
    elif is_record(type(value)):
        raise TypeError(
            f"cannot send {_article(value)}: declare the class with "
            '@busway.message(name="lab/it"), or send the fields as a dict'
        )
    elif (number := plain_number(value)) is not value:
        _check_stamp(number)
        encoder.encode(number)
    else:
        raise TypeError(f"cannot send {_article(value)}: {_instead_of(value)}")


def _encode_duration(encoder: Any, value: datetime.timedelta) -> None:
    parts = {1: value.days * 86400 + value.seconds}
    if value.microseconds:
        parts[-6] = value.microseconds
    encoder.encode(load_cbor().tag(TAG_DURATION, parts))


def _instead_of(value: Any) -> str:
    """Advice what to send instead of a value that does not travel."""
    for kind, remedy in _REMEDIES.items():
        if isinstance(value, kind):
            return remedy
    if _is_a(value, "email.message", "Message"):
        return "send value.as_bytes()"
    if _is_a(value, "datetime", "time"):
        return "send value.isoformat(), a str"
    for module, name, remedy in _BESIDE:
        if _is_a(value, module, name):
            return remedy
    for module, name in _ARRIVING_AS:
        if _is_a(value, module, name):
            return f"it would arrive as a {name}; send one of these"
    return _SENDABLE


def _plain_inside_message(encoder: Any, value: Any) -> None:
    # What a field's annotation names needs no UUID of its own.
    if is_record(type(value)):
        encoder.encode(_map_of(value))
    else:
        _plain_inside_value(encoder, value)


def _map_of(value: Any) -> Any:
    """The fields of a dataclass or Struct."""
    cls: Any = type(value)
    if record_fields(cls):
        _refuse_heirs(value)
    if is_own_dataclass(cls):
        return {name: getattr(value, name) for name in field_names(cls)}
    import msgspec

    from busway.convert import CBOR_NATIVE

    for name in untyped_fields(cls):
        _refuse_reshaped(getattr(value, name), f"{cls.__qualname__}.{name}")
    return msgspec.to_builtins(value, builtin_types=CBOR_NATIVE)


def _refuse_reshaped(value: Any, where: str) -> None:
    """TypeError for what msgspec would make something else of, where no annotation brings it back."""
    if isinstance(value, Set) or _is_a(value, "datetime", "time"):
        raise TypeError(
            f"cannot send {_article(value)} in {where}: it would arrive as "
            f"{'a list' if isinstance(value, Set) else 'a str'}; send that, or annotate the field"
        )
    if isinstance(value, Mapping):
        for element in value.values():
            _refuse_reshaped(element, where)
    elif isinstance(value, (list, tuple)):
        for element in value:
            _refuse_reshaped(element, where)


def _refuse_heirs(value: Any) -> None:
    """TypeError for an instance of a subclass where an annotation names its base: it would arrive as that."""
    cls: Any = type(value)
    for name, records in record_fields(cls):
        for found in _records_of(getattr(value, name)):
            kind = type(found)
            if kind not in records and issubclass(kind, tuple(records)):
                names = " or ".join(sorted(record.__qualname__ for record in records))
                raise TypeError(
                    f"cannot send {_article(found)} in {cls.__qualname__}.{name}: "
                    f"the annotation says {names}, "
                    "as which it would arrive, without what the subclass adds; name the subclass there"
                )
            if is_struct(kind):  # msgspec turns all of it into maps at once
                _refuse_heirs(found)


def _records_of(value: Any) -> Iterable[Any]:
    """The records that a field holds, in containers too; not what they hold themselves."""
    if is_record(type(value)):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _records_of(pair)
    elif isinstance(value, (Sequence, Set)) and not isinstance(value, (str, bytes, bytearray, memoryview)):
        for member in value:
            yield from _records_of(member)


def _article(value: object) -> str:
    return f"an instance of {type(value).__module__}.{type(value).__qualname__}"


def _is_a(value: Any, module: str, name: str) -> bool:
    """Whether it is an instance of that class; found out without importing the module."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(value, kind)


_REMEDIES: dict[type, str] = {
    re.Pattern: "send its pattern, a str, and compile it where it arrives",
    UserString: "send str(value)",
}
_BESIDE = (  # what goes with a payload, but is none
    (
        "busway.memory.region",
        "Region",
        "send its view, or the region itself beside a payload: regions=[region]",
    ),
    ("busway.memory.registry", "Registry", "send the view of a region of it, registry.take(size).view"),
    ("busway.files", "File", "send it beside a payload: files=[file]"),
    (
        "busway.attached",
        "Attached",
        "handlers answer so, send_many takes such; send its payload, with files= and regions=",
    ),
    ("io", "IOBase", "send what it reads, or the open file itself beside a payload: files=[file]"),
    ("socket", "socket", "send it beside a payload: files=[socket]"),
)
_ARRIVING_AS = (("datetime", "datetime"), ("datetime", "date"), ("decimal", "Decimal"), ("uuid", "UUID"))
_MISREAD = (re.Pattern, UserString)  # cbor2 would send something for these
_TEXTS = frozenset((str, bytes))
_SCALARS = _TEXTS | {type(None), bool, int, float}


class _Keys:
    """Stands for keys, or members of sets, that are not all texts or bytes: receivers do not take any."""


_KEYS = _Keys()


def _look_through(value: object) -> list[Any]:
    """Looks at all that a value holds, before it is encoded.

    Returns what needs more care: the arrays and tags in it, and _KEYS.

    Raises:
        ValueError: nested deeper than DEPTH_MAX, which includes a value that contains itself; something that
            would arrive as something else.
        TypeError: something that has no counterpart in CBOR.
    """
    odd: list[Any] = []
    level = _children(value, odd)
    for _ in range(DEPTH_MAX):
        if not level:
            return odd
        # By identity, so that a value shared many times over is looked at once for each level.
        parents = {id(parent): parent for parent in level}
        level = [child for parent in parents.values() for child in _children(parent, odd)]
    raise ValueError(f"cannot be sent: it is nested deeper than {DEPTH_MAX} levels, or contains itself")


def _children(value: Any, odd: list[Any]) -> list[Any]:
    """The members of a value, scalars aside. Every encode is here, so the usual kinds come first."""
    kind = type(value)
    if kind is dict:
        if _TEXTS.issuperset(map(type, value)):
            return _compound(value.values())
        _look_at_keys(value, odd)
        return _compound((*value, *value.values()))
    if kind is list or kind is tuple:
        return _compound(value)
    return [] if kind in _SCALARS else _children_of_other(value, odd)


def _compound(members: Iterable[Any]) -> list[Any]:
    if _SCALARS.issuperset(map(type, members)):
        return []
    return [member for member in members if type(member) not in _SCALARS]


def _children_of_other(value: Any, odd: list[Any]) -> list[Any]:
    if isinstance(value, (str, bytes, bytearray)):
        return []
    if isinstance(value, (memoryview, array)):
        odd.append(value)
        return []
    if isinstance(value, Mapping):
        _look_at_keys(value, odd)
        return _compound((*value, *value.values()))
    if isinstance(value, _MISREAD) or _is_a(value, "email.message", "Message"):
        raise TypeError(f"cannot send {_article(value)}: {_instead_of(value)}")
    if isinstance(value, (Sequence, Set)):
        if isinstance(value, Set):
            _look_at_keys(value, odd)
        return _compound(list(value))
    return _children_of_rare(value, odd)


def _children_of_rare(value: Any, odd: list[Any]) -> list[Any]:
    kind: Any = type(value)
    if is_record(kind):
        names = kind.__struct_fields__ if is_struct(kind) else field_names(kind)
        return [getattr(value, name) for name in names]
    if isinstance(value, load_cbor().tag):
        odd.append(value)
        return [value.value]
    if isinstance(value, enum.Enum):
        return _compound((value.value,))
    if is_array(value):
        odd.append(value)
    else:
        _check_stamp(value)
    return []


def _check_stamp(value: Any) -> None:
    if _is_a(value, "datetime", "datetime") and value.utcoffset() is None:
        raise ValueError(
            f"cannot send the naive datetime {value}: no time zone says which instant it is; make it with "
            "datetime.now(timezone.utc), or give it this machine's zone with value.astimezone()"
        )
    if _is_a(value, "decimal", "Decimal") and value.is_snan():
        raise ValueError("cannot send a signalling NaN of decimal: send Decimal('NaN')")


def _look_at_keys(members: Iterable[Any], odd: list[Any]) -> None:
    """Keys, or members of a set. ValueError for those that differ here and would be one where they arrive:
    Enum members travel as their values.
    """
    if _TEXTS.issuperset(map(type, members)):
        return
    if _SCALARS.issuperset(map(type, members)):
        if not _few_small(members):
            odd.append(_KEYS)
        return
    odd.append(_KEYS)
    seen = set()
    for member in members:
        plain = _plain_key(member)
        if plain in seen:
            raise ValueError(f"cannot be sent: two keys or members would both arrive as {plain!r}")
        seen.add(plain)


def _few_small(keys: Any) -> bool:
    """Whether scalars are certainly taken as keys: a few, without large integers."""
    if len(keys) > bounds.ALIKE_MAX:
        return False
    return all(type(key) is not int or key.bit_length() <= 64 for key in keys)


def _plain_key(key: Any) -> Any:
    if isinstance(key, enum.Enum):
        return _plain_key(key.value)
    if isinstance(key, (list, tuple)):
        return tuple(map(_plain_key, key))
    return frozenset(map(_plain_key, key)) if isinstance(key, Set) else key
