"""busway.payloads: what goes in comes out, and nothing that arrives raises anything but PayloadError."""

from __future__ import annotations

import array
import collections
import ctypes
import datetime
import decimal
import email.message
import email.mime.text
import enum
import io
import ipaddress
import math
import re
import subprocess
import sys
import uuid
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cbor2
import msgspec
import numpy
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import busway
from busway.messages import message
from busway.payloads import (
    CBOR,
    DEPTH_MAX,
    INTEGER_SIZE_MAX,
    RAW,
    TYPED,
    TYPED_AS_ENDPOINT,
    PayloadError,
    UnknownType,
    accepted_types,
    decode,
    encode,
)
from tests.rigs.effort import effort

NOBODY = uuid.UUID(int=0)
ELSEWHERE = b"e" * 16
SOURCE = Path(__file__).parents[2] / "src"


class Mode(enum.Enum):
    HEAT = "heat"
    COOL = "cool"


@dataclass(frozen=True)
class Spot:
    x: float
    y: float


@message("0b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2e", name="lab/readings")
@dataclass(slots=True, kw_only=True)
class Reading:
    celsius: float
    mode: Mode = Mode.HEAT
    spots: list[Spot] = field(default_factory=list)
    raw: bytes | None = None
    tags: dict[str, int] = field(default_factory=dict)
    pair: tuple[int, str] = (0, "")
    quality: Literal["good", "bad"] = "good"
    when: datetime.datetime | None = None
    device: uuid.UUID = NOBODY


@message("1b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2e")
class Command(msgspec.Struct, frozen=True):
    rpm: int
    when: datetime.datetime | None = None
    blob: bytes = b""
    device: uuid.UUID = uuid.UUID(int=0)
    spot: Spot | None = None


@message("2b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2e")
@dataclass
class Nothing:
    pass


@dataclass
class Undeclared:
    x: int = 1


READING = uuid.UUID("0b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2e").bytes
COMMAND = uuid.UUID("1b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2e").bytes


def trip(value: object, accept: tuple[type, ...] | None = None, endpoint: bytes = ELSEWHERE) -> Any:
    return decode(*encode(value, endpoint), endpoint, accept)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


# Formats --------------------


class Own(bytes):
    """Bytes that stay what they are."""

    def __bytes__(self) -> bytes:
        return self


@pytest.mark.parametrize(
    "value", [b"ab", bytearray(b"ab"), memoryview(b"ab"), memoryview(b"axbx")[::2], Own(b"ab")]
)
def test_bytes_travel_raw(value: Any) -> None:
    payload, format, type_id = encode(value, ELSEWHERE)
    assert (payload, format, type_id) == (b"ab", RAW, b"")
    assert type(payload) is bytes
    assert decode(payload, format, type_id, ELSEWHERE, None) == b"ab"


def test_bytes_are_not_copied() -> None:
    value = b"x" * 1000
    assert encode(value, ELSEWHERE)[0] is value
    assert decode(value, RAW, b"", ELSEWHERE, None) is value


def test_a_message_to_its_own_endpoint_carries_no_type() -> None:
    assert encode(Reading(celsius=1.0), READING)[1:] == (TYPED_AS_ENDPOINT, b"")
    assert encode(Reading(celsius=1.0), ELSEWHERE)[1:] == (TYPED, READING)
    assert encode(Command(1), COMMAND)[1:] == (TYPED_AS_ENDPOINT, b"")
    assert encode({"celsius": 1.0}, READING)[1:] == (CBOR, b"")


def test_a_message_is_a_map_of_its_fields() -> None:
    payload = encode(Reading(celsius=1.0, spots=[Spot(1.0, 2.0)]), READING)[0]
    plain = cbor2.loads(payload)
    assert plain["celsius"] == 1.0
    assert plain["mode"] == "heat"
    assert plain["spots"] == [{"x": 1.0, "y": 2.0}]
    assert encode(Nothing(), ELSEWHERE)[0] == b"\xa0"


# Round trips --------------------

integers = st.integers(-(256**INTEGER_SIZE_MAX) + 1, 256**INTEGER_SIZE_MAX - 1) | st.integers()
instants = st.datetimes(
    timezones=st.sampled_from([datetime.UTC, datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))])
)
scalars = (
    st.none()
    | st.booleans()
    | integers
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False, allow_infinity=False).filter(
        lambda value: len(value.as_tuple().digits) < 2400
    )
    | st.uuids()
    | instants
    | st.dates()
    | st.fractions()
    | st.ip_addresses()
)
whole = st.integers(-(2**64), 2**64 - 1)
keys = whole | st.text() | st.binary() | st.uuids() | st.dates() | st.ip_addresses()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.sets(whole | st.text()),
    max_leaves=20,
)


@given(values)
def test_values_come_out_as_they_went_in(value: Any) -> None:
    assume(not isinstance(value, bytes))
    payload, format, type_id = encode(value, ELSEWHERE)
    assert (format, type_id) == (CBOR, b"")
    found = decode(payload, format, type_id, ELSEWHERE, None)
    assert found == value
    assert type(found) is type(value)


def test_what_comes_out_differently() -> None:
    pair = namedtuple("pair", "a b")
    assert trip((1, 2)) == [1, 2]
    assert trip(pair(1, 2)) == [1, 2]
    assert trip(OrderedDict(a=1)) == {"a": 1}
    assert trip(Mode.COOL) == "cool"
    assert trip([bytearray(b"a")]) == [b"a"]
    assert trip([Reading(celsius=1.0)])[0]["celsius"] == 1.0
    assert trip({"command": Command(3)})["command"]["rpm"] == 3
    assert trip(decimal.Decimal("Infinity")) == math.inf
    assert math.isnan(trip(math.nan))
    assert trip(cbor2.CBORTag(4000, [1])) == cbor2.CBORTag(4000, (1,))


# Whatever a program may hand over: it arrives as what guarantees.md says, or the sender has an error ------


def arrived(value: Any) -> Any:
    """The value that arrives, as docs/guarantees.md says."""
    if isinstance(value, enum.Enum):
        return arrived(value.value)
    if isinstance(value, (bytearray, bytes)):
        return bytes(value)
    if isinstance(value, decimal.Decimal) and not value.is_finite():
        return float(value)
    if isinstance(value, collections.abc.Mapping):
        return {key_arrived(key): arrived(element) for key, element in value.items()}
    if isinstance(value, collections.abc.Set):
        return {key_arrived(member) for member in value}
    if isinstance(value, memoryview):
        return value.tobytes()
    if isinstance(value, (array.array, str)):
        return value
    return [arrived(element) for element in value] if isinstance(value, collections.abc.Sequence) else value


def key_arrived(key: Any) -> Any:
    """Where a value stands as a key or in a set, lists are tuples."""
    plain = arrived(key)
    if isinstance(plain, list):
        return tuple(key_arrived(element) for element in key)
    return frozenset(plain) if isinstance(plain, set) else plain


def same(one: Any, other: Any) -> bool:
    """Equal, and of one type; NaN is NaN, and instants are compared with their offsets."""
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, (list, tuple)) and type(one) is type(other):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (set, frozenset)) and type(one) is type(other) and "nan" in repr(one):
        return len(one) == len(other)  # of which Python finds none again
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = zip(one.items(), other.items(), strict=False)
        return len(one) == len(other) and all(same(list(a), list(b)) for a, b in pairs)
    if isinstance(one, datetime.datetime) and isinstance(other, datetime.datetime):
        offsets = one.utcoffset() == other.utcoffset()
        return offsets and one.replace(tzinfo=None, fold=0) == other.replace(tzinfo=None, fold=0)
    if isinstance(one, (int, float, str)) and not isinstance(other, bool) and not isinstance(one, bool):
        return isinstance(one, type(other)) and bool(one == other)  # of a subclass the value arrives
    return type(one) is type(other) and bool(one == other)


class Text(str):
    __slots__ = ()


class Count(int):
    pass


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Colour(enum.StrEnum):
    RED = "red"


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


Pair = namedtuple("Pair", "a b")

odd_scalars = (
    st.floats()
    | st.decimals(allow_nan=False)
    | st.just(decimal.Decimal("NaN"))
    | st.datetimes(timezones=st.timezones(no_cache=True) | st.none(), allow_imaginary=False)
    | st.times()
    | st.timedeltas()
    | st.ip_addresses().map(lambda address: ipaddress.ip_interface((address, 8)))
    | st.ip_addresses().map(lambda address: ipaddress.ip_network((address, address.max_prefixlen)))
    | st.text().map(Text)
    | st.integers().map(Count)
    | st.sampled_from([*Level, *Colour, *Mode, Rights.READ | Rights.WRITE])
    | st.sampled_from([cbor2.undefined, cbor2.CBORSimpleValue(99), 1j, re.compile("a"), object(), ...])
    | st.integers(0, 300).map(lambda power: -(256 ** (power * 4)))
)
buffers: st.SearchStrategy[Any] = (
    st.binary().map(bytearray)
    | st.binary().map(lambda data: memoryview(data))
    | st.lists(st.floats(width=32, allow_nan=False)).map(lambda numbers: array.array("f", numbers))
    | st.lists(st.integers(-(2**15), 2**15 - 1)).map(lambda numbers: array.array("h", numbers))
)
odd_keys = keys | odd_scalars | st.tuples(odd_scalars, st.frozensets(keys))
odd_values = st.recursive(
    scalars | odd_scalars | buffers,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(collections.deque)
        | st.tuples(inner, inner)
        | st.builds(Pair, inner, inner)
        | st.dictionaries(odd_keys, inner)
        | st.dictionaries(odd_keys, inner).map(OrderedDict)
        | st.sets(odd_keys)
        | st.frozensets(odd_keys)
    ),
    max_leaves=8,
)


@given(odd_values)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_everything_arrives_as_was_sent_or_is_refused(value: Any) -> None:
    try:
        payload, format, type_id = encode(value, ELSEWHERE)
    except (TypeError, ValueError) as error:
        assert "send" in str(error) or "sent" in str(error)  # noqa: PT017 - it is one of two outcomes
        return
    found = decode(payload, format, type_id, ELSEWHERE, None)
    assert same(arrived(value), found), (value, found)


# Arrays --------------------


@pytest.mark.parametrize("typecode", "bBhHiIlLqQfd")
@pytest.mark.parametrize("numbers", [[], [1, 2, 3], [100]])
def test_an_array_arrives_as_an_array(typecode: str, numbers: list[int]) -> None:
    value = array.array(typecode, numbers)
    for sent in (value, memoryview(value) if typecode != "B" else value):
        found = trip(sent)
        assert type(found) is array.array
        assert found == value
        assert found.itemsize == value.itemsize
    assert trip({"data": [value]}) == {"data": [value]}


def test_bytes_inside_a_value_arrive_as_bytes_whatever_held_them() -> None:
    assert trip({"data": memoryview(b"abc")}) == {"data": b"abc"}
    assert trip([bytearray(b"abc"), memoryview(b"axbx")[::2]]) == [b"abc", b"ab"]
    assert trip(memoryview(array.array("i", [1, 2]))[::2]) == array.array("i", [1])


def test_whatever_lends_a_buffer_of_numbers_is_an_array() -> None:
    assert trip([(ctypes.c_int16 * 2)(1, -2)]) == [array.array("h", [1, -2])]


@pytest.mark.parametrize(
    "number",
    [numpy.float32(1.5), numpy.float64(1.5), numpy.int8(-3), numpy.uint64(2**64 - 1), numpy.bool_(True)],
)
def test_numbers_of_numpy_arrive_as_numbers(number: Any) -> None:
    for found in (trip(number), trip({"a": [number]})["a"][0]):
        assert found == number.item()
        assert type(found) is type(number.item())


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        ("d84043010203", array.array("B", [1, 2, 3])),
        ("d84443010203", array.array("B", [1, 2, 3])),
        ("d8414401020304", array.array("H", [0x0102, 0x0304])),
        ("d8454402010403", array.array("H", [0x0102, 0x0304])),
        ("d84841ff", array.array("b", [-1])),
        ("d850423e00", array.array("f", [1.5])),
        ("d85544 0000c03f", array.array("f", [1.5])),
        ("d8524 83ff8000000000000".replace(" ", ""), array.array("d", [1.5])),
        ("d84c4101", cbor2.CBORTag(76, b"\x01")),
    ],
)
def test_arrays_as_others_write_them(payload: str, value: Any) -> None:
    assert decode(bytes.fromhex(payload), CBOR, b"", ELSEWHERE, None) == value


@pytest.mark.parametrize(
    "payload", ["d84143010203", "d84001", "d8526161", "d903ea01", "d903eaa10161 31", "d903eaa0"]
)
def test_arrays_and_durations_that_are_none(payload: str) -> None:
    with pytest.raises(PayloadError, match=r"array|duration"):
        decode(bytes.fromhex(payload), CBOR, b"", ELSEWHERE, None)


def test_a_duration_beyond_what_python_knows_is_an_error_and_no_exception() -> None:
    with pytest.raises(PayloadError):
        decode(cbor2.dumps(cbor2.CBORTag(1002, {1: 2**62})), CBOR, b"", ELSEWHERE, None)


readings = st.builds(
    Reading,
    celsius=st.floats(allow_nan=False),
    mode=st.sampled_from(Mode),
    spots=st.lists(st.builds(Spot, x=st.floats(allow_nan=False), y=st.floats(allow_nan=False)), max_size=3),
    raw=st.none() | st.binary(),
    tags=st.dictionaries(st.text(), st.integers(), max_size=3),
    pair=st.tuples(st.integers(), st.text()),
    quality=st.sampled_from(["good", "bad"]),
    when=st.none() | instants,
    device=st.uuids(),
)
commands = st.builds(
    Command,
    rpm=st.integers(-(2**63), 2**63 - 1),
    when=st.none() | instants,
    blob=st.binary(),
    device=st.uuids(),
    spot=st.none() | st.builds(Spot, x=st.floats(allow_nan=False), y=st.floats(allow_nan=False)),
)


@given(readings | commands, st.sampled_from([READING, COMMAND, ELSEWHERE]), st.booleans())
def test_messages_come_out_as_they_went_in(value: Any, endpoint: bytes, declared: bool) -> None:
    found = trip(value, (Reading, Command) if declared else None, endpoint)
    assert type(found) is type(value)
    assert found == value


# What a receiver gets --------------------


def test_several_types_on_one_receiver() -> None:
    accept = accepted_types([Reading, Command])
    assert trip(Reading(celsius=1.0), accept) == Reading(celsius=1.0)
    assert trip(Command(1), accept) == Command(1)


def test_a_type_that_the_receiver_did_not_declare() -> None:
    payload, format, type_id = encode(Command(1), ELSEWHERE)
    with pytest.raises(UnknownType, match="expected Reading, got the message type 1b0c7c4e-6f0e") as caught:
        decode(payload, format, type_id, ELSEWHERE, (Reading,))
    assert caught.value.payload == payload
    assert caught.value.type_id == COMMAND
    with pytest.raises(UnknownType, match="expected nothing"):
        decode(payload, format, type_id, ELSEWHERE, ())


def test_a_type_unknown_to_the_program() -> None:
    payload = cbor2.dumps({"x": 1})
    assert decode(payload, TYPED, b"u" * 16, ELSEWHERE, None) == {"x": 1}
    assert decode(payload, TYPED_AS_ENDPOINT, b"", ELSEWHERE, None) == {"x": 1}
    for format, type_id in ((TYPED, b"u" * 16), (TYPED, b""), (TYPED_AS_ENDPOINT, b"")):
        with pytest.raises(UnknownType):
            decode(payload, format, type_id, ELSEWHERE, (Reading,))


def test_untyped_payloads_at_a_receiver_with_types() -> None:
    with pytest.raises(PayloadError, match="expected Reading or Command, got a value without a type"):
        trip({"celsius": 1.0}, (Reading, Command))
    with pytest.raises(PayloadError, match="expected Reading, got bytes without a type"):
        trip(b"raw", (Reading,))
    assert trip(b"raw", (Reading, bytes)) == b"raw"
    with pytest.raises(PayloadError, match="expected Reading or bytes, got a value"):
        trip("text", (Reading, bytes))


@pytest.mark.parametrize(
    ("type_id", "plain", "sentence"),
    [
        (READING, {"celsius": "hot"}, "Reading.celsius: expected float, got str"),
        (READING, {}, "Reading.celsius: the field is missing and has no default"),
        (READING, [1], "Reading: expected a map of fields, got list"),
        (
            READING,
            {"celsius": 1, "spots": [{"x": 1, "y": 2}, {"x": 1}]},
            "Reading.spots[1].y: the field is missing and has no default",
        ),
        (COMMAND, {"rpm": "fast"}, "Command.rpm: expected int, got str"),
        (COMMAND, {"rpm": 1, "blob": "YQ=="}, "Command.blob: expected bytes, got str"),
        (COMMAND, {}, "Command.rpm: the field is missing and has no default"),
    ],
)
@pytest.mark.parametrize("accept", [None, (Reading, Command)])
def test_what_does_not_fit_says_where(
    type_id: bytes, plain: object, sentence: str, accept: tuple[type, ...] | None
) -> None:
    payload = cbor2.dumps(plain)
    with pytest.raises(PayloadError) as caught:
        decode(payload, TYPED, type_id, ELSEWHERE, accept)
    assert caught.value.reason == sentence
    assert caught.value.payload == payload
    assert not isinstance(caught.value, UnknownType)


def test_fields_of_newer_and_older_senders() -> None:
    newer = cbor2.dumps({"celsius": 20, "unheard_of": [1]})
    assert decode(newer, TYPED, READING, ELSEWHERE, None) == Reading(celsius=20.0)


def test_a_receiver_from_before_a_reload_gets_its_own_class() -> None:
    def reading() -> type:
        @message("3b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2e")
        @dataclass
        class Reloaded:
            x: int

        return Reloaded

    earlier, later = reading(), reading()
    assert type(trip(later(1), (earlier,))) is earlier
    assert type(trip(earlier(1), (later,))) is later
    assert type(trip(earlier(1))) is later


# Hostile bytes --------------------

HUGE = b"\xc2\x5a\x00\x10\x00\x00" + b"\xff" * 0x100000
NASTY = {
    "nothing": b"",
    "cut short": b"\x82\x01",
    "a cut string": b"\x44ab",
    "bytes after the value": b"\x01\x01",
    "a break": b"\xff",
    "too deep": b"\x81" * (DEPTH_MAX + 1) + b"\x01",
    "very deep": b"\x81" * 1_000_000 + b"\x01",
    "tags very deep": b"\xc1" * 1_000_000 + b"\x01",
    "a list without end": b"\x9b" + b"\x7f" * 8,
    "a string without end": b"\x5b" + b"\x7f" * 8,
    "a value that contains itself": b"\xd8\x1c\x81\xd8\x1d\x00",
    "string references": b"\xd9\x01\x00\x82\x63abc\xd8\x19\x00",
    "a huge integer": HUGE,
    "a huge negative integer": b"\xc3" + HUGE[1:],
    "an integer one byte too long": b"\xc2\x59\x04\x01" + b"\xff" * (INTEGER_SIZE_MAX + 1),
    "a large integer that is none": b"\xc2\x01",
    "a huge decimal": b"\xc4\x82\x01" + HUGE,
    "a huge fraction": b"\xd8\x1e\x82" + HUGE + HUGE,
    "division by zero": b"\xd8\x1e\x82\x01\x00",
    "a fraction from text": b"\xd8\x1e\x81\x691e9999999",
    "an exponent beyond all": b"\xc5\x82\x1b" + b"\x7f" * 8 + b"\x01",
    "a time beyond all": b"\xc1\xfb\x7f\xef" + b"\xff" * 6,
    "no time": b"\xc0\x61a",
    "no uuid": b"\xd8\x25\x41a",
    "no address": b"\xd9\x01\x04\x41a",
    "no text": b"\x61\xff",
    "a key twice": b"\xa2\x01\x01\x01\x02",
    "two keys that are equal": b"\xa2\x01\x01\xf5\x02",
}


@pytest.mark.parametrize("payload", NASTY.values(), ids=NASTY.keys())
@pytest.mark.parametrize("format", [CBOR, TYPED, TYPED_AS_ENDPOINT])
def test_hostile_bytes_are_refused_in_no_time(payload: bytes, format: int) -> None:
    def read() -> None:
        with pytest.raises(PayloadError) as caught:
            decode(payload, format, READING, READING, None)
        refused.append(caught.value)

    refused: list[PayloadError] = []
    assert effort(read) < 5
    assert refused[0].payload == payload
    assert 10 < len(refused[0].reason) < 500


def test_limits_are_reached_and_not_passed() -> None:
    assert trip(nested(DEPTH_MAX)) == nested(DEPTH_MAX)
    largest = 256**INTEGER_SIZE_MAX - 1
    assert trip([largest, -largest]) == [largest, -largest]
    for beyond in (largest + 1, {"a": [-largest - 3]}):
        with pytest.raises(ValueError, match=f"nobody could read it.* at most {INTEGER_SIZE_MAX} are taken"):
            encode(beyond, ELSEWHERE)
        with pytest.raises(PayloadError, match=f"at most {INTEGER_SIZE_MAX} are taken"):
            decode(cbor2.dumps(beyond), CBOR, b"", ELSEWHERE, None)
    assert trip([b"\xc2\x59" * 1000]) == [b"\xc2\x59" * 1000]  # looks like one


def test_regular_expressions_are_not_compiled() -> None:
    assert decode(b"\xd8\x23\x61(", CBOR, b"", ELSEWHERE, None) == cbor2.CBORTag(35, "(")
    assert decode(b"\xd8\x24\x61a", CBOR, b"", ELSEWHERE, None) == cbor2.CBORTag(36, "a")


@pytest.mark.parametrize("format", [4, 7, -1, 255])
def test_formats_that_do_not_exist(format: int) -> None:
    with pytest.raises(PayloadError, match=f"format 0 to 3, got {format}"):
        decode(b"\x01", format, b"", ELSEWHERE, None)


def outcome(payload: bytes, format: int, type_id: bytes, accept: tuple[type, ...] | None) -> str:
    try:
        decode(payload, format, type_id, ELSEWHERE, accept)
    except UnknownType:
        return "unknown"
    except PayloadError:
        return "error"
    return "value"


accepts = st.sampled_from([None, (Reading,), (Command,), (Reading, Command, bytes), ()])
type_ids = st.sampled_from([READING, COMMAND, ELSEWHERE, b""]) | st.binary(max_size=20)


@given(st.binary(max_size=200), st.integers(-1, 8), type_ids, accepts)
@example(b"\xa1\x67celsius\xf9\x7e\x00", TYPED, READING, None)
def test_arbitrary_bytes_have_one_of_three_outcomes(
    payload: bytes, format: int, type_id: bytes, accept: tuple[type, ...] | None
) -> None:
    assert outcome(payload, format, type_id, accept) in ("value", "error", "unknown")


@given(values | readings | commands, st.data())
def test_damaged_payloads_have_one_of_three_outcomes(value: Any, data: st.DataObject) -> None:
    payload, format, type_id = encode(value, ELSEWHERE)
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(damaged) - 1, 0)))
        damaged[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=4))
    assert outcome(bytes(damaged), format, type_id, data.draw(accepts)) in ("value", "error", "unknown")


@given(values, st.sampled_from([READING, COMMAND]), st.booleans())
def test_any_value_as_a_field_has_one_of_three_outcomes(value: Any, type_id: bytes, whole: bool) -> None:
    names = ["celsius", "mode", "spots", "tags", "pair", "when", "device", "rpm", "blob", "spot"]
    plain = value if whole else dict.fromkeys(names, value)
    assert outcome(cbor2.dumps(plain), TYPED, type_id, None) in ("value", "error")


@given(values.filter(lambda value: not isinstance(value, bytes)), st.binary(min_size=1, max_size=30))
def test_nothing_may_follow_the_value(value: Any, more: bytes) -> None:
    payload = encode(value, ELSEWHERE)[0]
    assert outcome(payload + more, CBOR, b"", None) == "error"
    assert outcome(payload[:-1], CBOR, b"", None) == "error"


# What cannot be sent --------------------


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def self_containing() -> Reading:
    reading = Reading(celsius=1.0)
    loop: Any = reading
    reading.celsius = loop
    return reading


class Other(enum.Enum):
    HEAT = "heat"


class Stamp(datetime.datetime):
    pass


class Bare(msgspec.Struct):
    x: int = 1


UNSENDABLE: list[tuple[Callable[[], object], type[Exception], str]] = [
    (object, TypeError, r"an instance of builtins\.object: a payload is bytes, what CBOR carries"),
    (lambda: {"a": [object()]}, TypeError, r"builtins\.object"),
    (lambda: {object(): 1}, TypeError, r"builtins\.object"),
    (lambda: print, TypeError, "builtin_function_or_method"),
    (lambda: Reading, TypeError, r"builtins\.type"),
    (Undeclared, TypeError, r"Undeclared: declare the class with @busway\.message"),
    (lambda: [Undeclared()], TypeError, r"Undeclared: declare the class with @busway\.message"),
    (Bare, TypeError, r"Bare: declare the class with @busway\.message"),
    (lambda: Reading(celsius=object()), TypeError, r"builtins\.object"),  # type: ignore[arg-type]
    (lambda: datetime.datetime(2024, 1, 1), ValueError, r"naive datetime 2024.*value\.astimezone\(\)"),
    (lambda: {"a": [datetime.datetime(2024, 1, 1)]}, ValueError, r"naive datetime 2024"),
    (lambda: re.compile("a+"), TypeError, r"re\.Pattern: send its pattern, a str"),
    (lambda: [re.compile("a+", re.IGNORECASE)], TypeError, r"re\.Pattern: send its pattern, a str"),
    (lambda: email.message.EmailMessage(), TypeError, r"send value\.as_bytes\(\)"),
    (lambda: [email.mime.text.MIMEText("hi")], TypeError, r"send value\.as_bytes\(\)"),
    (lambda: {"a": collections.UserString("ab")}, TypeError, r"UserString: send str\(value\)"),
    (lambda: busway.Registry(), TypeError, r"send the view of a region of it, registry\.take"),
    (lambda: busway.Region(1), TypeError, r"send its view, .*: regions=\[region\]"),
    (
        lambda: {"a": busway.Attached("x")},
        TypeError,
        "handlers answer so, send_many takes such; send its payload",
    ),
    (lambda: io.BytesIO(b"x"), TypeError, r"send what it reads, or .*: files=\[file\]"),
    (lambda: datetime.time(12, 30), TypeError, r"send value\.isoformat\(\)"),
    (lambda: decimal.Decimal("sNaN"), ValueError, "signalling NaN"),
    (lambda: {Mode.HEAT: 1, "heat": 2}, ValueError, "would both arrive as 'heat'"),
    (lambda: {Mode.HEAT, "heat"}, ValueError, "would both arrive as 'heat'"),
    (lambda: {(1, Mode.HEAT): 1, (1, "heat"): 2}, ValueError, "would both arrive as"),
    (lambda: {Mode.HEAT: 1, Other.HEAT: 2}, ValueError, "would both arrive as 'heat'"),
    (lambda: cbor2.CBORTag(25, 0), ValueError, "nobody could read it"),
    (lambda: [cbor2.CBORTag(2, "x")], ValueError, "nobody could read it"),
    (lambda: Stamp(2024, 1, 1, tzinfo=datetime.UTC), TypeError, "arrive as a datetime"),
    (lambda: array.array("u", "ab"), TypeError, "elements of format '[uw]'"),
    (lambda: numpy.zeros(2, numpy.longdouble), TypeError, r"dtype (float128|longdouble): .*array\.astype"),
    (lambda: [numpy.zeros(2, "M8[s]")], TypeError, r"dtype datetime64\[s\]: .*array\.tolist\(\)"),
    (lambda: {"a": numpy.array(["x"])}, TypeError, r"dtype <U1: .*array\.tolist\(\)"),
    (lambda: numpy.array([object()]), TypeError, r"dtype object: .*array\.tolist\(\)"),
    (lambda: numpy.ma.zeros(2), TypeError, r"masked array: send array\.filled\(\)"),
    (lambda: numpy.zeros((1,) * 33), TypeError, "of 33 dimensions: at most 32"),
    (lambda: memoryview(b"ab").cast("c", [2, 1]), TypeError, r"format 'c': .*array\.tolist\(\)"),
    (lambda: numpy.datetime64("2024-01-01T00:00:00"), ValueError, "naive datetime"),
    (lambda: numpy.longdouble(1.5), TypeError, r"longdouble: send float\(value\)"),
    (lambda: "\ud800", ValueError, "surrogates not allowed"),
    (cyclic, ValueError, "contains itself"),
    (self_containing, ValueError, "contains itself"),
    (lambda: nested(DEPTH_MAX + 1), ValueError, "nested deeper than 128 levels"),
    (lambda: nested(100_000), ValueError, "nested deeper than 128 levels"),
    (lambda: {(nested_tuple(200)): 1}, ValueError, "nested deeper"),
    (lambda: cbor2.CBORTag(9, nested(200)), ValueError, "nested deeper"),
    (lambda: OrderedDict(a=nested(200)), ValueError, "nested deeper"),
    (lambda: Command(nested(200)), ValueError, "nested deeper"),
    (lambda: [Command(nested(200))], ValueError, "nested deeper"),
]


# Subclasses where an annotation names the base --------------------


@dataclass(frozen=True)
class Spot3(Spot):
    z: float = 0.0


class Wheel(msgspec.Struct):
    size: int


class SpareWheel(Wheel):
    worn: bool = True


class Axle(msgspec.Struct):
    left: Wheel


@message("5b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2e")
@dataclass
class Drawing:
    spot: Spot | None = None
    spots: list[Spot] = field(default_factory=list)
    named: dict[str, tuple[Spot, ...]] = field(default_factory=dict)
    axle: Axle | None = None
    either: Any = None


@message("4b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2e")
class Car(msgspec.Struct):
    axles: list[Axle] = []
    spare: Wheel | None = None


HEIRS: list[tuple[Callable[[], object], str]] = [
    (lambda: Drawing(spot=Spot3(1.0, 2.0)), "Spot3 in Drawing.spot: the annotation says Spot,"),
    (lambda: Drawing(spots=[Spot(1.0, 2.0), Spot3(1.0, 2.0)]), "in Drawing.spots: the annotation says Spot,"),
    (lambda: Drawing(named={"a": (Spot3(1.0, 2.0),)}), "in Drawing.named: the annotation says Spot,"),
    (lambda: [Drawing(spot=Spot3(1.0, 2.0))], "in Drawing.spot: the annotation says Spot,"),
    (lambda: Drawing(axle=Axle(SpareWheel(1))), "SpareWheel in Axle.left: the annotation says Wheel,"),
    (lambda: Car(spare=SpareWheel(1)), "SpareWheel in Car.spare: the annotation says Wheel,"),
    (lambda: Car(axles=[Axle(SpareWheel(1))]), "SpareWheel in Axle.left: the annotation says Wheel,"),
    (lambda: Command(1, spot=Spot3(1.0, 2.0)), "Spot3 in Command.spot: the annotation says Spot,"),
]


@pytest.mark.parametrize(("make", "sentence"), HEIRS)
def test_what_a_subclass_adds_is_never_lost_in_silence(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(TypeError, match=re.escape(sentence)):
        encode(make(), ELSEWHERE)


@message("6b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2e")
class Loose(msgspec.Struct):
    anything: Any = None
    listed: list[Any] = []
    names: set[str] = set()
    at: datetime.time = datetime.time(0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Loose(anything={1}),
        lambda: Loose(listed=[{"a": (datetime.time(1),)}]),
        lambda: [Loose(anything=frozenset())],
    ],
)
def test_what_msgspec_would_reshape_is_refused_where_nothing_brings_it_back(
    make: Callable[[], object],
) -> None:
    with pytest.raises(TypeError, match=r"in Loose\.(anything|listed): it would arrive as a (list|str);"):
        encode(make(), ELSEWHERE)


def test_what_annotations_of_a_struct_name_arrives() -> None:
    loose = Loose(
        memoryview(b"a"), [bytearray(b"b"), {1: datetime.timedelta(1)}], {"x"}, datetime.time(12, 30)
    )
    found = trip(loose)
    assert (found.anything, found.listed) == (b"a", [b"b", {1: datetime.timedelta(1)}])
    assert (found.names, found.at) == ({"x"}, datetime.time(12, 30))
    assert trip([Loose(at=datetime.time(1))])[0]["at"] == "01:00:00"


def test_what_is_of_the_annotated_class_arrives() -> None:
    drawing = Drawing(Spot(1.0, 2.0), [Spot(3.0, 4.0)], {"a": (Spot(5.0, 6.0),)}, Axle(Wheel(7)))
    assert trip(drawing) == drawing
    assert trip(Car([Axle(Wheel(1))], Wheel(2))) == Car([Axle(Wheel(1))], Wheel(2))
    assert trip(Drawing(either=Spot3(1.0, 2.0))).either == {"x": 1.0, "y": 2.0, "z": 0.0}


def nested_tuple(depth: int) -> tuple[Any, ...]:
    value: tuple[Any, ...] = ()
    for _ in range(depth):
        value = (value,)
    return value


@pytest.mark.parametrize(("make", "error", "sentence"), UNSENDABLE)
def test_what_cannot_be_sent(make: Callable[[], object], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        encode(make(), ELSEWHERE)


def test_a_value_shared_many_times_over_is_looked_at_once() -> None:
    # 2 ** 200 paths lead through it; walking each would never end.
    value: list[Any] = [1]
    for _ in range(200):
        value = [value, value]
    with pytest.raises(ValueError, match="nested deeper"):
        encode(value, ELSEWHERE)


# Imports --------------------


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(SOURCE)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_program_that_sends_bytes_imports_no_cbor() -> None:
    assert run(
        "import sys; from busway.payloads import decode, encode\n"
        "assert decode(*encode(b'a', b'e' * 16), b'e' * 16, None) == b'a'\n"
        "print('cbor2' in sys.modules, 'msgspec' in sys.modules)\n"
        "encode(1, b'e' * 16); print('cbor2' in sys.modules)"
    ).split() == ["False", "False", "True"]


def test_only_a_program_with_message_types_imports_msgspec() -> None:
    assert run(
        "import sys\n"
        "from dataclasses import dataclass\n"
        "from busway.payloads import decode, encode, message\n"
        "encode({'x': 1}, b'e' * 16); print('msgspec' in sys.modules)\n"
        "@message('4b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2e')\n"
        "@dataclass\n"
        "class R:\n"
        "    x: float\n"
        "print(decode(*encode(R(1), b'e' * 16), b'e' * 16, (R,)))\n"
    ).splitlines() == ["False", "R(x=1.0)"]


def test_a_cbor2_without_our_limits_is_refused() -> None:
    assert "cbor2 6.1 or later" in run(
        "import cbor2\n"
        "cbor2.loads = lambda data, *, tag_hook=None, object_hook=None: None  # as in cbor2 5\n"
        "from busway.payloads import encode\n"
        "try: encode(1, b'e' * 16)\n"
        "except ImportError as error: print(error)"
    )


class Grade(enum.Enum):
    GOOD = 1
    BAD = 2


class Bits(enum.IntFlag):
    ONE = 1
    TWO = 2


@dataclass
class Inner:
    x: float


@message("5a0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b01")
@dataclass
class Wide:
    """One field of each sort of annotation; each default fits."""

    whole: int = 1
    real: float = 1
    text: str = "t"
    raw: bytes = b"r"
    switch: bool = True
    maybe: int | None = None
    either: int | list[str] = 1
    listed: list[float] = field(default_factory=lambda: [1.0, 2])
    frozen: tuple[int, ...] = (1, 2)
    pair: tuple[int, str] = (1, "a")
    members: set[int] = field(default_factory=lambda: {1})
    table: dict[str, list[int]] = field(default_factory=lambda: {"a": [1]})
    grade: Grade = Grade.GOOD
    bits: Bits = Bits.ONE | Bits.TWO
    choice: Literal["a", 1] = "a"
    inner: Inner = field(default_factory=lambda: Inner(1))
    inners: dict[str, Inner] = field(default_factory=lambda: {"a": Inner(1.5)})
    when: datetime.datetime | None = None
    what: Any = None
    some: Sequence[int] = (1,)


MISFITS: dict[str, list[Any]] = {
    "whole": [True, 1.5, "1", None],
    "real": ["1", True, 1 << 1024],
    "text": [b"t", 1],
    "raw": ["r", [1]],
    "switch": [1],
    "maybe": ["1"],
    "either": ["1", [1]],
    "listed": [["1"], {1.0}, 1.0],
    "frozen": [(1, "2"), 1],
    "pair": [(1,), (1, 2), "ab"],
    "members": [[1], {"1"}],
    "table": [{1: [1]}, {"a": ["1"]}, []],
    "grade": [3, Bits.ONE | Bits.TWO],
    "bits": ["1"],
    "choice": ["b", 1.0],
    "inner": [Inner("1"), 1],  # type: ignore[arg-type]
    "inners": [{"a": Inner("1")}, {"a": None}],  # type: ignore[arg-type]
    "when": ["now"],
    "some": ["a", [None]],
}
FITS: dict[str, list[Any]] = {
    "whole": [Bits.ONE, 1 << 100],
    "real": [1.5, 7],
    "raw": [bytearray(b"r")],
    "either": [["a"]],
    "grade": [1],
    "listed": [(1, 2.5)],
    "pair": [[1, "a"]],
    "when": [datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)],
    "what": [{"a": 1}],
    "some": [[1, 2], range(3)],
}


@pytest.mark.parametrize("name", MISFITS)
def test_who_sends_a_misfit_is_told_class_and_field(name: str) -> None:
    for misfit in MISFITS[name]:
        with pytest.raises(TypeError, match=rf"^cannot send Wide\.{name}.*: expected "):
            encode(Wide(**{name: misfit}), b"")


@pytest.mark.parametrize("name", FITS)
def test_what_receivers_take_can_be_sent(name: str) -> None:
    for value in FITS[name]:
        sent = encode(Wide(**{name: value}), b"")
        assert isinstance(decode(*sent, b"", (Wide,)), Wide)
