"""Payloads in memory as their descriptions say where they lie, and as they are read where nothing is mapped:
also by a Python that cannot (it has no ctypes). Knows no link.

What comes from others is not trusted: a description is held against the size that the kernel tells.
"""

from __future__ import annotations

import os
from typing import Final

from busway.memory.system import system

PAYLOAD_SIZE_MAX: Final = (1 << 32) - 1
BEYOND: Final = "a payload of %d bytes from %d on came in shared memory of %d"

_VERSION: Final = 1
_PIECE: Final = 1 << 20
_TOO_LARGE: Final = "a payload of %d bytes came in shared memory, and at most %d are taken"
_STRANGE: Final = "a description of a payload in shared memory that cannot be read"


class TooLarge(ValueError):
    """A payload came that is larger than any may be."""


def read(description: bytes, fd: int, size_max: int) -> memoryview:
    """The payload that is described, copied. Raises ValueError if it is not what it says, TooLarge."""
    return copied(fd, *read_description(description, size_max))


def copied(fd: int, offset: int, size: int) -> memoryview:
    """All that a descriptor has there, by reading. Raises ValueError."""
    whole, _ = system.check(fd)
    if offset + size > whole:
        raise ValueError(BEYOND % (size, offset, whole))
    found = bytearray(size)
    at = 0
    while at < size:
        try:
            count = os.preadv(fd, [memoryview(found)[at : at + _PIECE]], offset + at)
        except OSError as error:
            raise ValueError(f"shared memory came that cannot be read: {error}") from None
        if not count:
            raise ValueError(BEYOND % (size, offset, offset + at))
        at += count
    return memoryview(found).toreadonly()


# Descriptions: a version, then where the payload begins and its size, least significant seven bits first


def describe(offset: int, size: int) -> bytes:
    """The description of a payload."""
    return bytes((_VERSION, *_septets(offset), *_septets(size)))


def _septets(value: int) -> list[int]:
    found = []
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return [*found, value]


def read_description(description: bytes, size_max: int) -> tuple[int, int]:
    """Where a payload begins, and how many bytes it has. Raises ValueError, TooLarge."""
    offset, size = _numbers(description)
    if size > size_max:
        raise TooLarge(_TOO_LARGE % (size, size_max))
    return offset, size


def _numbers(description: bytes) -> tuple[int, int]:
    """Raises ValueError."""
    numbers: list[int] = []
    value = shift = 0
    for byte in description[1:]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value = shift = 0
        elif shift > 56:
            raise ValueError(_STRANGE)
    if description[:1] != bytes((_VERSION,)) or len(numbers) != 2 or shift:
        raise ValueError(_STRANGE)
    return numbers[0], numbers[1]
