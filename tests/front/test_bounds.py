"""What CBOR from others may make of memory and time: items by the million, keys that were chosen to meet."""

from __future__ import annotations

import datetime
import decimal
import functools
import ipaddress
import tracemalloc
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from busway import message
from busway.bounds import ALIKE_MAX, ITEMS_MAX, NUMBERS_MAX, check
from busway.payloads import CBOR, TYPED, PayloadError, decode, encode
from busway.replies import reply_type
from tests.rigs.effort import effort
from tests.rigs.steps import steps

ELSEWHERE = b"e" * 16


@message("7b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2e")
@dataclass
class Anything:
    found: Any = None


def outcome(payload: bytes) -> Any:
    """The result: a value, or the error."""
    try:
        return decode(payload, CBOR, b"", ELSEWHERE, None)
    except PayloadError as error:
        return error


def _head(major: int, number: int) -> bytes:
    return bytes([major << 5 | 26]) + number.to_bytes(4, "big")


def cheap(payload: bytes, sentence: str) -> None:
    """Whatever way it comes, it is refused before it is built, for less work than a fair decoding of it."""
    field = b"\xa1\x65found" + payload
    type_id = uuid.UUID("7b0c7c4e-6f0e-4b5c-9d0a-1f3a5c7e9b2e").bytes
    ways: list[Callable[[], Any]] = [
        lambda: decode(payload, CBOR, b"", ELSEWHERE, None),
        lambda: decode(field, TYPED, type_id, b"", None),
        lambda: reply_type(object).decode(payload, CBOR, b""),
    ]

    def read() -> None:
        for way in ways:
            with pytest.raises(PayloadError, match=sentence):
                way()

    if len(payload) < 1000:
        read()
    else:
        assert effort(read) < 3 + len(payload) / 30_000


# The number of items --------------------

ITEMS: dict[str, bytes] = {
    "empty maps": b"\xa0",
    "empty lists": b"\x80",
    "empty sets": b"\xd9\x01\x02\x80",
    "short texts": b"\x62ab",
    "numbers": b"\x19\x30\x39",
    "lists that hold one": b"\x81\xf6",
    "maps that hold one": b"\xa1\x60\xf6",
}


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS.keys())
def test_more_items_than_a_million_are_refused_and_take_no_memory(item: bytes) -> None:
    count = 2**24 // len(item) - 2
    payload = _head(4, count) + item * count
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError, match="more than 1,048,576 items"):
            decode(payload, CBOR, b"", ELSEWHERE, None)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("head", [b"\x9f", b"\x82\x98\x40" + bytes(64) + _head(4, 2**20)])
def test_items_are_counted_where_no_head_says_how_many(head: bytes) -> None:
    cheap(head + b"\xa0" * (2**24 - 100), "more than 1,048,576 items")


def test_as_many_items_as_may_be_are_taken_and_no_more() -> None:
    value = [[1] * (ITEMS_MAX // 2 - 2), ["a"] * (ITEMS_MAX // 2 - 2), "x"]
    payload, format, type_id = encode(value, ELSEWHERE)
    assert decode(payload, format, type_id, ELSEWHERE, None) == value
    value.append("y")
    with pytest.raises(ValueError, match="cannot be sent: there are more than 1,048,576 items in it"):
        encode(value, ELSEWHERE)
    with pytest.raises(PayloadError, match="more than 1,048,576 items"):
        decode(cbor2.dumps(value), CBOR, b"", ELSEWHERE, None)


def test_a_list_that_says_it_holds_more_is_refused_at_its_head() -> None:
    payload = b"\x9a\xff\xff\xff\xff" + b"\x62ab" * 400_000
    assert effort(lambda: outcome(payload)) < 0.1
    assert "more than 1,048,576 items" in str(outcome(payload))


def test_empty_lists_and_maps_take_no_more_work_than_other_items() -> None:
    """Each was opened and closed as one that holds something."""
    none, *empty = (
        steps(lambda item=item: check(b"\x9f" + item * 5000 + b"\xff"), "busway/bounds.py")  # type: ignore[misc]
        for item in (b"\xf6", b"\x80", b"\xa0")
    )
    assert max(empty) < 1.5 * none


def test_a_second_value_behind_the_first_is_not_built() -> None:
    count = 2**24 - 10
    payload = b"\xf6" + _head(4, count) + b"\xa0" * count
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError, match="more bytes after the value"):
            decode(payload, CBOR, b"", ELSEWHERE, None)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


# Keys and members of sets --------------------

MODULUS = 2**61 - 1  # of Python's hashes of numbers
REFUSED: dict[str, Callable[[int], bytes]] = {
    "a large integer": lambda n: b"\xc2\x4c" + (MODULUS * (n + 9)).to_bytes(12, "big"),
    "a large integer, below zero": lambda n: b"\xc3\x4c" + (MODULUS * (n + 9) - 1).to_bytes(12, "big"),
    "a large integer, with a long head": lambda n: b"\xd9\x00\x02\x42" + n.to_bytes(2, "big"),
    "a decimal": lambda n: b"\xc4\x82\x00\xc2\x4c" + (MODULUS * (n + 9)).to_bytes(12, "big"),
    "a list": lambda n: b"\x8e" + bytes(0x20 | n >> bit & 1 for bit in range(14)),
    "a list, with a map": lambda n: b"\x81\xa1\x00\x8e" + bytes(0x20 | n >> bit & 1 for bit in range(14)),
    "a list, without end": lambda n: b"\x9f" + bytes(0x20 | n >> bit & 1 for bit in range(14)) + b"\xff",
    "a map": lambda n: b"\xa1\x19" + n.to_bytes(2, "big") + b"\xf6",
    "a set": lambda n: b"\xd9\x01\x02\x81\x19" + n.to_bytes(2, "big"),
    "tag 30": lambda n: b"\xd8\x1e\x82\x19" + n.to_bytes(2, "big") + b"\x19\xff\xfe",
    "tag 1002": lambda n: b"\xd9\x03\xea\xa1\x01\x19" + n.to_bytes(2, "big"),
    "tag 4711": lambda n: b"\xd9\x12\x67\x19" + n.to_bytes(2, "big"),
    "a large integer, in a tag": lambda n: b"\xc1\xc2\x42" + n.to_bytes(2, "big"),
    "a list, in a tag": lambda n: b"\xd8\x34\x82\x18\x18\x43\x01" + n.to_bytes(2, "big"),
}
PLACES: dict[str, Callable[[list[bytes]], bytes]] = {
    "map": lambda keys: _head(5, len(keys)) + b"\xf6".join([*keys, b""]),
    "map without end": lambda keys: b"\xbf" + b"\xf6".join([*keys, b"\xff"]),
    "set": lambda keys: b"\xd9\x01\x02" + _head(4, len(keys)) + b"".join(keys),
    "set without end": lambda keys: b"\xda\x00\x00\x01\x02\x9f" + b"".join(keys) + b"\xff",
    "map in a list": lambda keys: b"\x82\x61x" + PLACES["map"](keys),
    "map behind numbers": lambda keys: (
        b"\x82\x98\x40" + b"\xfb\xba\xba\xba\xba\xba\xba\xba\xba" * 64 + PLACES["map"](keys)
    ),
    "map behind a text in pieces": lambda keys: b"\x82\x7f\x61a\x61b\xff" + PLACES["map"](keys),
    "map that is cut": lambda keys: _head(5, 1 + len(keys)) + b"\xf6".join([*keys, b""]),
    "set that is cut": lambda keys: b"\xd9\x01\x02" + _head(4, 1 + len(keys)) + b"".join(keys),
    "map in a map": lambda keys: b"\xa1\x60" + PLACES["map"](keys),
}


@functools.cache
def refused(sort: str, count: int) -> list[bytes]:
    return [REFUSED[sort](number) for number in range(count)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("sort", REFUSED)
@pytest.mark.parametrize("count", [1, 4000])
def test_keys_are_no_large_integers_and_nothing_that_holds_others(sort: str, place: str, count: int) -> None:
    payload = PLACES[place](refused(sort, count))
    cheap(payload, f"{sort.partition(',')[0]} as a key or in a set:")


def test_sets_within_sets_cost_no_more_than_their_bytes() -> None:
    """Of each level all that is inside was hashed, and decoded, again."""
    alike = [b"\xc2\x4c" + (MODULUS * (n + 9)).to_bytes(12, "big") for n in range(256)]
    payload = b"\x00"
    for _ in range(60):
        payload = b"\xd9\x01\x02\x99\x01\x01" + b"".join(alike) + payload
    cheap(payload, "a large integer as a key or in a set")


SCALARS: list[Any] = [
    *("text", b"bytes", 0, -1, 2**64 - 1, -(2**64), 1.5, float("inf"), True, None),
    uuid.UUID(int=5),
    datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
    ipaddress.ip_address("::1"),
    ipaddress.ip_address("127.0.0.1"),
]


@pytest.mark.parametrize("key", SCALARS, ids=repr)
def test_single_values_may_be_keys_and_members_of_sets(key: Any) -> None:
    for value in ({key: [key]}, {key}, {"a": {"b": {key: {key: 1}}}}):
        payload, format, type_id = encode(value, ELSEWHERE)
        assert decode(payload, format, type_id, ELSEWHERE, None) == value


KEYS: list[tuple[Any, str]] = [
    (2**64, "a large integer"),
    (-(2**64) - 1, "a large integer"),
    ((1, 2), "a list"),
    (frozenset({1}), "a set"),
    (decimal.Decimal("1.5"), "a decimal"),
    (Fraction(1, 3), "tag 30"),
    (datetime.timedelta(1), "tag 1002"),
    (ipaddress.ip_network("10.0.0.0/8"), "a list"),
]


@pytest.mark.parametrize(("key", "words"), KEYS, ids=repr)
def test_what_nobody_takes_as_a_key_is_refused_at_the_sender(key: Any, words: str) -> None:
    sentence = f"cannot be sent: {words} as a key or in a set: texts, bytes, numbers of at most 64 bits"
    for value in ({key: 1}, {key}, {"a": {key: 1}}, [{key}], {"a": 1, key: 2}):
        with pytest.raises(ValueError, match=sentence):
            encode(value, ELSEWHERE)


def test_a_set_is_a_list_and_nothing_else() -> None:
    numbers = b"".join(number.to_bytes(8, "big") for number in range(5000))
    for inner in (b"\xd8\x43\x59" + len(numbers).to_bytes(2, "big") + numbers, b"\xa1\x01\x02", b"\x5f\xff"):
        assert "a set must be a list of members" in str(outcome(b"\xd9\x01\x02" + inner))


# Numbers that meet in one place of the table --------------------


def sparse(count: int) -> list[int]:
    return [number * 0x9E3779B97F4A7C15 & 2**61 - 1 for number in range(count)]


@pytest.mark.parametrize("place", [place for place in PLACES if "cut" not in place])
def test_only_some_thousands_of_numbers_that_do_not_follow_each_other_are_keys(place: str) -> None:
    keys = [cbor2.dumps(number) for number in sparse(NUMBERS_MAX + 2)]
    assert not isinstance(outcome(PLACES[place](keys[1:-1])), PayloadError)
    cheap(PLACES[place](keys[1:]), "more than 4,096 keys of one map or members of one set are neither")


def test_as_many_numbers_as_one_likes_may_follow_each_other() -> None:
    values: list[Any] = [
        dict.fromkeys(range(-5, 50_000), 1.5),
        set(range(50_000)),
        {**dict.fromkeys(range(1000, 9000), ""), **dict.fromkeys(sparse(NUMBERS_MAX - 9), None), "a": 1},
    ]
    for value in values:
        payload, format, type_id = encode(value, ELSEWHERE)
        assert decode(payload, format, type_id, ELSEWHERE, None) == value


def test_the_sender_of_too_many_numbers_is_told() -> None:
    for value in (dict.fromkeys(sparse(5000), 1), [set(sparse(5000))], {float(n): 1 for n in range(5000)}):
        with pytest.raises(
            ValueError, match=r"cannot be sent: more than 4,096 keys of one map .* a list of pairs"
        ):
            encode(value, ELSEWHERE)


def test_uuids_of_one_hash_are_refused() -> None:
    alike = [b"\xd8\x25\x50" + (MODULUS * n).to_bytes(16, "big") for n in range(ALIKE_MAX + 1)]
    for place in ("map", "map without end", "set", "set without end"):
        assert not isinstance(outcome(PLACES[place](alike[1:])), PayloadError)
        cheap(PLACES[place](alike), "more than 64 UUIDs that are keys of one map have the same hash")


@pytest.mark.parametrize(
    "value",
    [
        {uuid.UUID(int=n << 60 | n): [n] * 3 for n in range(4000)},
        {n: {"a": [1.5] * 40, "b": "\N{MICRO SIGN}" * 9, "c": b"\xbf" * 9, "d": -n} for n in range(3000)},
        [[float(n), n, -n, None, True, 2**40 + n, "x" * n] for n in range(300)],
        [[1.5, 2] * 200, list(range(24)) * 20, [], {}, {"a" * n: [] for n in range(300)}],
        [[decimal.Decimal(n) / 7, 2**64 + n, Fraction(n, 3), {n % 7}] for n in range(3000)],
        {f"{n}": {b"%d" % n: {n: n}} for n in range(30_000)},
    ],
    ids=[str(n) for n in range(6)],
)
def test_large_values_of_all_sorts_are_taken(value: Any) -> None:
    payload, format, type_id = encode(value, ELSEWHERE)
    assert decode(payload, format, type_id, ELSEWHERE, None) == value
    assert check(payload) == len(payload)


ALL = b"\x82" + cbor2.dumps(dict.fromkeys(range(5000), "a"))


def loads(payload: bytes) -> Any:
    """By cbor2 alone, but that regular expressions (tag 35) and MIME messages (36) stay tags, whatever is in
    them: `decode` promises that."""
    kept = {tag: lambda value, _, tag=tag: cbor2.CBORTag(tag, value) for tag in (35, 36)}
    return cbor2.loads(payload, allow_duplicate_keys=False, semantic_decoders=kept)


@given(st.binary(max_size=40), st.integers(0, 5000))
@example(b"\xba\x10", 0)  # the number of a map's pairs is cut
@example(b"\x9a\x00\x10", 0)  # a list of more than there may be, and it is cut
@example(b"\xd8$K\x00\x00\x00\x00", 0)  # a MIME message that is none, and nobody looks
@example(b"\xd8@\x00", 0)  # an array of no bytes
@example(b"\xd8AA\x00", 0)  # an array that ends inside an element
@example(b"\xd9\x03\xea\x00", 0)  # a duration of no parts
def test_what_is_cut_or_followed_is_the_decoders_to_tell(junk: bytes, cut: int) -> None:
    payload = (ALL + junk)[: 30_000 - cut] + junk
    try:
        loads(payload)
        good = True
    except Exception:  # noqa: BLE001 - any will do
        good = False
    found = outcome(payload)
    assert good or isinstance(found, PayloadError)
    if good and isinstance(found, PayloadError):
        told = ("more bytes", "reference", "integer", "as a key", "a set must", "an array", "tag 1002")
        assert any(words in str(found) for words in told)


@given(st.binary(max_size=60))
@example(b"\xd8$A\x00")
def test_what_has_an_end_ends_where_the_decoder_says(payload: bytes) -> None:
    try:
        end = check(payload)
    except ValueError:
        return
    if end >= 0 and not isinstance(outcome(payload[:end]), PayloadError):
        loads(payload[:end])
        with pytest.raises(Exception):  # noqa: B017 - whatever it is called
            loads(payload[: end - 1])
