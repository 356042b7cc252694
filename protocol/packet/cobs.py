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
    out = bytearray()  # a list of pieces would take a board many times as much memory
    pieces = data.split(b"\0")
    last = len(pieces) - 1
    for number, piece in enumerate(pieces):
        pos = 0
        size = len(piece)
        while size - pos >= 254:
            out.append(255)
            out.extend(piece[pos : pos + 254])
            pos += 254
        if (
            number < last or pos < size or not pos
        ):  # a full block at the very end needs no empty one behind it
            out.append(size - pos + 1)
            out.extend(piece[pos:])
    return bytes(out)


def decode(data: bytes) -> bytes:
    """The bytes that `encode` was given; b"" if `data`, which holds no zero, is no COBS."""
    out = bytearray()
    pos = 0
    end = len(data)
    while pos < end:
        code = data[pos]
        stop = pos + code
        if stop > end or not code:
            return b""
        out.extend(data[pos + 1 : stop])
        if code < 255 and stop < end:
            out.append(0)
        pos = stop
    return bytes(out)


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
