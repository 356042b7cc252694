"""Primitives: what is written is read back, in the fewest bytes, and never past the end of a frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.protocol import codes
from busway.protocol.errors import Refusal
from busway.protocol.wire.fields import Reader, clip_text, text, text8, varint

U32_MAX = 0xFFFFFFFF


def read(data: bytes) -> Reader:
    return Reader(data, 0, len(data))


def refusal(call: object, *arguments: object) -> Refusal:
    assert callable(call)
    with pytest.raises(Refusal) as caught:
        call(*arguments)
    return caught.value


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (16383, "ff7f"),
        (16384, "808001"),
        (2097151, "ffff7f"),
        (2097152, "80808001"),
        (268435455, "ffffff7f"),
        (268435456, "8080808001"),
        (U32_MAX, "ffffffff0f"),
    ],
)
def test_varint_at_the_edges_of_its_sizes(value: int, raw: str) -> None:
    assert varint(value).hex() == raw
    assert read(bytes.fromhex(raw)).varint() == value


@given(st.integers(0, U32_MAX), st.binary(max_size=4))
def test_varint_is_read_back_and_stops_where_it_ends(value: int, behind: bytes) -> None:
    reader = read(varint(value) + behind)
    assert reader.varint() == value
    assert reader.rest() == behind


def test_varint_may_be_padded_to_five_bytes() -> None:
    assert read(bytes.fromhex("8100")).varint() == 1
    assert read(bytes.fromhex("8180808000")).varint() == 1


@pytest.mark.parametrize("raw", ["ffffffff10", "ffffffff7f", "808080808000", "ffffffffff0f", "8080808080"])
def test_varint_too_long_or_too_large_is_malformed(raw: str) -> None:
    assert refusal(read(bytes.fromhex(raw)).varint).code == codes.MALFORMED


@pytest.mark.parametrize("raw", ["", "80", "ffffffff"])
def test_varint_that_the_frame_cuts_off_is_malformed(raw: str) -> None:
    assert refusal(read(bytes.fromhex(raw)).varint).code == codes.MALFORMED


def test_numbers_are_big_endian() -> None:
    reader = read(bytes(range(1, 8)))
    assert (reader.u8(), reader.u16(), reader.u16(), reader.left()) == (1, 0x0203, 0x0405, 2)


@pytest.mark.parametrize("name", ["u8", "u16"])
def test_a_number_is_not_read_past_the_frame_although_bytes_follow(name: str) -> None:
    size = int(name[1:]) // 8
    data = bytes(16)
    getattr(Reader(data, 3, 3 + size), name)()
    reader = Reader(data, 3, 3 + size - 1)
    assert refusal(getattr(reader, name)).code == codes.MALFORMED
    assert reader.pos == 3  # nothing was consumed


def test_take_and_rest_stay_inside_the_frame() -> None:
    reader = Reader(b"0123456789", 2, 6)
    assert reader.take(0) == b""
    assert reader.take(1) == b"2"
    assert reader.left() == 3
    assert refusal(reader.take, 4).code == codes.MALFORMED
    assert reader.rest() == b"345"
    assert reader.rest() == b""
    assert reader.left() == 0


def test_text8_takes_64_bytes_and_no_more() -> None:
    longest = "ä" * 32
    assert read(text8(longest)).text8() == longest
    assert refusal(read(b"\x41" + b"x" * 65).text8).code == codes.MALFORMED
    assert refusal(read(b"\x03ab").text8).code == codes.MALFORMED


@given(st.text(max_size=16))
def test_text8_is_read_back(value: str) -> None:
    raw = text8(value)
    assert raw[0] == len(raw) - 1
    assert read(raw).text8() == value


@pytest.mark.parametrize("raw", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_text_that_is_not_utf8_is_malformed(raw: bytes) -> None:
    assert refusal(text, raw).code == codes.MALFORMED


@pytest.mark.parametrize(
    ("value", "size_max", "clipped"),
    [
        ("", 0, ""),
        ("abc", 3, "abc"),
        ("abcd", 3, "abc"),
        ("aä", 2, "a"),  # ä has 2 bytes: half of it is left out
        ("aä", 3, "aä"),
        ("😀x", 3, ""),
        ("😀x", 4, "😀"),
    ],
)
def test_clip_text_cuts_between_characters(value: str, size_max: int, clipped: str) -> None:
    assert clip_text(value, size_max) == clipped


@given(st.text(max_size=40), st.integers(0, 64))
def test_clip_text_keeps_as_much_as_fits(value: str, size_max: int) -> None:
    clipped = clip_text(value, size_max)
    assert value.startswith(clipped)
    assert len(clipped.encode()) <= size_max
    if clipped != value:
        assert len(value[: len(clipped) + 1].encode()) > size_max
