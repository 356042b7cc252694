"""Bytes of a packet: COBS, which frees it of zeros, and CRC-16. Pure functions; knows no packet's meaning.

Source: S. Cheshire, M. Baker, Consistent Overhead Byte Stuffing, IEEE/ACM Transactions on Networking 7(2)
(1999).
"""

import binascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


def encode(data: bytes) -> bytes:
    """`data` without zeros: one byte longer, and one more for each 254 bytes in a row that are not zero."""
    size = len(data)
    out = bytearray(size + 1 + size // 254)  # at once: a board has no room for it twice
    mark = 0  # of the block under way
    stop = 1
    pos = 0
    while True:
        at = data.find(b"\0", pos)
        end = size if at < 0 else at
        full = False
        while end - pos >= 254:
            out[mark] = 255
            out[stop : stop + 254] = data[pos : pos + 254]
            pos += 254
            mark = stop + 254
            stop = mark + 1
            full = True
        if at < 0 and full and pos == end:
            return bytes(memoryview(out)[:mark])  # a full block at the very end needs no empty one behind it
        out[mark] = end - pos + 1
        out[stop : stop + end - pos] = data[pos:end]
        stop += end - pos
        if at < 0:
            return bytes(memoryview(out)[:stop])
        pos = at + 1
        mark = stop
        stop += 1


def decode(data: bytes) -> bytes:
    """The bytes that `encode` was given; b"" if `data`, which holds no zero, is no COBS."""
    end = len(data)
    out = bytearray(end)
    size = 0
    pos = 0
    while pos < end:
        code = data[pos]
        stop = pos + code
        if stop > end or not code:
            return b""
        out[size : size + code - 1] = data[pos + 1 : stop]
        size += code - 1
        if code < 255 and stop < end:
            size += 1  # a zero, which is there
        pos = stop
    return bytes(memoryview(out)[:size])


_NIBBLES = (
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50A5, 0x60C6, 0x70E7,
    0x8108, 0x9129, 0xA14A, 0xB16B, 0xC18C, 0xD1AD, 0xE1CE, 0xF1EF,
)  # fmt: skip


def crc16_by_table(data: bytes, value: int) -> int:
    """CRC-16 with the polynomial 0x1021, most significant bit first, going on from `value`."""
    for byte in data:
        value = (value << 4 & 0xFFFF) ^ _NIBBLES[value >> 12 ^ byte >> 4]
        value = (value << 4 & 0xFFFF) ^ _NIBBLES[value >> 12 ^ byte & 15]
    return value


crc16: "Callable[[bytes, int], int]" = getattr(binascii, "crc_hqx", crc16_by_table)  # boards have no crc_hqx
