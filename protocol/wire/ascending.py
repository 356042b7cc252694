"""Ascending numbers, each as what it is more than the one before (docs/protocol.md, section 11.2)."""

from busway.protocol.errors import Refusal
from busway.protocol.wire.fields import Reader, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NUMBERS_MAX: "Final" = 1024  # that are read, or written, at once


def write_ascending(numbers: "list[int]") -> bytes:
    """Their bytes; the first counts from 0."""
    parts: "list[bytes]" = []
    former = 0
    for number in numbers:
        parts.append(varint(number - former))
        former = number
    return b"".join(parts)


def read_ascending(data: bytes) -> "list[int] | None":
    """The numbers; None if they are none, or too many: whoever sent them may be far away, so no link ends."""
    reader = Reader(data, 0, len(data))
    numbers: "list[int]" = []
    number = 0
    try:
        while reader.left():
            number += reader.varint()
            if len(numbers) > NUMBERS_MAX or number > 0x7FFFFFFF or (numbers and number <= numbers[-1]):
                return None
            numbers.append(number)
    except Refusal:
        return None
    return numbers
