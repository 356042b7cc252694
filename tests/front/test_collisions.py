"""Keys that were chosen to have one hash, which would keep a program busy for minutes."""

from __future__ import annotations

import decimal
import uuid
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.payloads import CBOR, PayloadError, decode, encode

ELSEWHERE = b"e" * 16


def outcome(payload: bytes) -> Any:
    """The result: a value, or the error."""
    try:
        return decode(payload, CBOR, b"", ELSEWHERE, None)
    except PayloadError as error:
        return error


def _head(major: int, number: int) -> bytes:
    return bytes([major << 5 | 26]) + number.to_bytes(4, "big")


MODULUS = 2**61 - 1  # of Python's hashes of numbers
ALIKE: dict[str, Callable[[int], bytes]] = {
    "integers": lambda n: b"\xc2\x4c" + (MODULUS * (n + 9)).to_bytes(12, "big"),
    "negative": lambda n: b"\xc3\x4c" + (MODULUS * (n + 9) - 1).to_bytes(12, "big"),
    "UUIDs": lambda n: b"\xd8\x25\x50" + (MODULUS * n).to_bytes(16, "big"),
    "decimals": lambda n: b"\xc4\x82\x00\xc2\x4c" + (MODULUS * (n + 9)).to_bytes(12, "big"),
    "lists": lambda n: b"\x8e" + bytes(0x20 | n >> bit & 1 for bit in range(14)),
    "maps in lists": lambda n: b"\x81\xa1\x00\x8e" + bytes(0x20 | n >> bit & 1 for bit in range(14)),
    "lists without end": lambda n: b"\x9f" + bytes(0x20 | n >> bit & 1 for bit in range(14)) + b"\xff",
}
PLACES: dict[str, Callable[[list[bytes]], bytes]] = {
    "map": lambda keys: _head(5, len(keys)) + b"\xf6".join([*keys, b""]),
    "map without end": lambda keys: b"\xbf" + b"\xf6".join([*keys, b"\xff"]),
    "set": lambda keys: b"\xd9\x01\x02" + _head(4, len(keys)) + b"".join(keys),
    "set without end": lambda keys: b"\xda\x00\x00\x01\x02\x9f" + b"".join(keys) + b"\xff",
    "map in a list": lambda keys: b"\x82\x61x" + _head(5, len(keys)) + b"\xf6".join([*keys, b""]),
    "map behind numbers": lambda keys: (
        b"\x82\x98\x40"
        + b"\xfb\xba\xba\xba\xba\xba\xba\xba\xba" * 64
        + _head(5, len(keys))
        + b"\xf6".join([*keys, b""])
    ),
    "map behind a text in pieces": lambda keys: b"\x82\x7f\x61a\x61b\xff" + PLACES["map"](keys),
    "map that is cut": lambda keys: _head(5, 1 + len(keys)) + b"\xf6".join([*keys, b""]),
    "set that is cut": lambda keys: b"\xd9\x01\x02" + _head(4, 1 + len(keys)) + b"".join(keys),
    "key of a map": lambda keys: b"\xa1\xd9\x01\x02" + _head(4, len(keys)) + b"".join(keys) + b"\xf6",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("sort", ALIKE)
def test_keys_that_were_chosen_to_have_one_hash_are_refused(sort: str, place: str) -> None:
    keys = [ALIKE[sort](number) for number in range(4000)]
    with pytest.raises(PayloadError, match="4,000 keys of one map have the same hash; at most 256 are taken"):
        decode(PLACES[place](keys), CBOR, b"", ELSEWHERE, None)


@pytest.mark.parametrize("place", ["map", "set", "map in a list", "key of a map"])
@pytest.mark.parametrize("sort", ALIKE)
def test_a_few_keys_of_one_hash_are_taken(sort: str, place: str) -> None:
    keys = [ALIKE[sort](number) for number in range(256)]
    decode(PLACES[place](keys), CBOR, b"", ELSEWHERE, None)


@pytest.mark.parametrize(
    "value",
    [
        {(x, y): x * y for x in range(-60, 60) for y in range(-60, 60)},
        {uuid.UUID(int=n << 60 | n): [n] * 3 for n in range(5000)},
        {decimal.Decimal(n) / 7: {"a": n} for n in range(3000)},
        {2**64 + n for n in range(5000)},
        {n: {"a": [1.5] * 40, "b": "\N{MICRO SIGN}" * 9, "c": b"\xbf" * 9, "d": -n} for n in range(3000)},
        [[float(n), n, -n, None, True, 2**40 + n, "x" * n] for n in range(300)],
        {frozenset({n, "a"}): [[n] * 30, [-1000] * 30, [10**10] * 30, [1.0] * 30] for n in range(1000)},
        [[1.5, 2] * 200, list(range(24)) * 20, [], {}, {"a" * n: [] for n in range(300)}],
    ],
    ids=[str(n) for n in range(8)],
)
def test_large_maps_of_all_sorts_of_keys_are_taken(value: Any) -> None:
    payload, format, type_id = encode(value, ELSEWHERE)
    assert decode(payload, format, type_id, ELSEWHERE, None) == value


@given(st.binary(max_size=40), st.integers(0, 5000))
def test_what_is_cut_or_followed_is_the_decoders_to_tell(junk: bytes, cut: int) -> None:
    payload = (b"\x82" + cbor2.dumps({(n, "a"): n for n in range(5000)}) + junk)[: 40_000 - cut] + junk
    try:
        cbor2.loads(payload, allow_duplicate_keys=False)
        good = True
    except Exception:  # noqa: BLE001 - any will do
        good = False
    found = outcome(payload)
    assert "hash" not in str(found) if isinstance(found, PayloadError) else good
    if good and isinstance(found, PayloadError):
        assert "more bytes" in str(found) or "reference" in str(found) or "integer" in str(found)
