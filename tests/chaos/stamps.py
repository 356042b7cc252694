"""Payloads that tell whether they are still what was sent: a stamp, then noise that differs from payload to
payload at each place, with its checksum in the stamp.
"""

from __future__ import annotations

import random
import struct
import zlib
from typing import Final

_STAMP: Final = struct.Struct("<QQII8x")
_NOISE: Final = random.Random(16).randbytes(1 << 22)
SIZE_MIN: Final = _STAMP.size
SIZE_MAX: Final = 1 << 21


def write(target: memoryview, source: int, number: int) -> None:
    """Fill all of it."""
    rest = len(target) - SIZE_MIN
    start = (source * 7919 + number * 104729) % (len(_NOISE) - SIZE_MAX)
    body = memoryview(_NOISE)[start : start + rest]
    target[SIZE_MIN:] = body
    target[:SIZE_MIN] = _STAMP.pack(source, number, rest, zlib.crc32(body))


def make(size: int, source: int, number: int) -> bytes:
    made = bytearray(size)
    write(memoryview(made), source, number)
    return bytes(made)


def read(view: memoryview) -> tuple[int, int]:
    """The source and the number of a payload that is whole. Raises ValueError: it is not, or not any more."""
    source, number, rest, checksum = _STAMP.unpack(view[:SIZE_MIN])
    if len(view) - SIZE_MIN < rest:
        raise ValueError(f"{len(view)} bytes where {rest + SIZE_MIN} were sent")
    if zlib.crc32(view[SIZE_MIN : SIZE_MIN + rest]) != checksum:
        raise ValueError(f"number {number} of source {source} is not what was sent")
    return source, number
