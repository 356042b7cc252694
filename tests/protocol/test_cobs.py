"""Zeros out of a packet, and its checksums."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.protocol.packet.cobs import crc16, crc16_by_table, decode, encode

KNOWN = [  # of the paper and of Wikipedia's article on it
    ("", "01"),
    ("00", "0101"),
    ("0000", "010101"),
    ("11 22 00 33", "03 11 22 02 33"),
    ("11 22 33 44", "05 11 22 33 44"),
    ("11 00 00 00", "02 11 01 01 01"),
    ("01" * 254, "ff" + "01" * 254),
    ("00" + "01" * 254, "01 ff" + "01" * 254),
    ("01" * 255, "ff" + "01" * 254 + "02 01"),
    ("01" * 254 + "00", "ff" + "01" * 254 + "01 01"),
    ("01" * 508, ("ff" + "01" * 254) * 2),
]


@pytest.mark.parametrize(("plain", "coded"), KNOWN)
def test_known(plain: str, coded: str) -> None:
    assert encode(bytes.fromhex(plain)).hex() == coded.replace(" ", "")
    assert decode(bytes.fromhex(coded)) == bytes.fromhex(plain)


@given(st.binary(max_size=700) | st.lists(st.sampled_from([b"\0", b"\1" * 253, b"x"])).map(b"".join))
def test_comes_back_with_a_byte_in_254_more(data: bytes) -> None:
    coded = encode(data)
    assert 0 not in coded
    assert len(coded) <= len(data) + 1 + len(data) // 254
    assert decode(coded) == data


@pytest.mark.parametrize("wrong", [b"\x03\x11", b"\xff" + b"x" * 100, b"\x02\x11\x05", b"\x01\x00"])
def test_what_is_none(wrong: bytes) -> None:
    assert decode(wrong) == b""


@given(st.binary(max_size=64), st.binary(max_size=64), st.integers(0, 0xFFFF))
def test_checksums(one: bytes, other: bytes, value: int) -> None:
    assert crc16(one, value) == crc16_by_table(one, value)
    assert crc16(other, crc16(one, value)) == crc16(one + other, value)


def test_checksum_of_the_catalogue() -> None:
    """CRC-16/IBM-3740 of Greg Cook's catalogue."""
    assert crc16_by_table(b"123456789", 0xFFFF) == 0x29B1
