"""The bytes of a bus: a header, blocks, and words that are written by one and read by others.

    block     stamp, number of its first message, cursor, size, count, reader, done, checksum, 0; messages
    message   size, key; bytes, and zeros up to a multiple of 8

A block holds what one writer had to say at once. Its stamp is its own position under the key of the bus: the
stamp is written last, and with it the block is committed. The checksum covers the stamp, so that what stands
there from an earlier lap or a writer that was killed is no block. `reader`, `cursor` and `done` say, if the
writer is itself a reader, up to where it has read: both are committed by the same stamp.

Numbers that change are kept twice, each with a checksum, and written in turn: of two copies one is whole at
any instant, whoever is killed.

On x86 others see writes in their order. So there a block of a ring has no checksum: with its stamp all of it
is there, and it is whole if the ring's head, which is moved before anything is written over, is not past it
after it was copied. Where processors reorder writes (ARM), and in files everywhere, a block has a checksum:
one that is seen too early does not fit, and is looked at again.
"""

from __future__ import annotations

import platform
from mmap import mmap
from struct import Struct
from typing import NamedTuple
from zlib import crc32

MAGIC = b"busway.n"
VERSION = 1

# The header of the memory: what never changes, what changes, the table of readers, the schema of a file.
PREFIX = Struct("8sIIQQ")  # magic, version in this machine's byte order, kind, key, bytes of a lap or segment
STATES_AT = 64
BELL_AT = 128
ROOM_AT = 132
WANTED_AT = 136  # up to where a writer waits for readers; 0: none waits
ASLEEP_AT = 192
READERS_AT = 4096
READER_SIZE = 256
READERS_MAX = 64
SCHEMAS_AT = 24 << 10
SCHEMA_SIZE = 20 << 10
DATA_AT = 64 << 10  # a multiple of every machine's page

NAME_MAX = 64
PID_AT, FREED_AT, BEGAN_AT, CURSORS_AT = 64, 72, 88, 96  # within the row of a reader
AWAKE = bytes(READERS_MAX)

HEADER = Struct("QQQIIIIII")
BLOCK = HEADER.size
_FRONT = Struct("QQQIIII")  # what the checksum covers besides the messages
_BACK = Struct("II")
_FRONT_SIZE = _FRONT.size
WORD = Struct("Q")
PAIR = Struct("QQ")
PAD = 0xFFFFFFFF  # the count of a block that fills up the end of a lap or segment

MESSAGE = Struct("II")
MESSAGE_SIZE = MESSAGE.size
FILL = tuple(bytes(-size % 8) for size in range(8))

ORDERED = platform.machine() in ("x86_64", "AMD64", "i686")
"""Whether this processor shows writes in their order."""

FLIPPED = 0xFFFFFFFFFFFFFFFF
_STATE = Struct("QQQQ")
STATES = Struct("QQQQQQQQ")
_CURSOR = Struct("QQQII")
_CURSORS = Struct("QQQIIQQQII")
_THREE = Struct("QQQ")
_FOUR = Struct("QQQI")


class Block(NamedTuple):
    """A block that was read, and where."""

    position: int
    end: int
    first: int  # the number of its first message
    messages: int
    reader: int  # 1 + the row of the reader that wrote it; 0: it was none
    cursor: int
    done: int
    body: bytes | memoryview


class State(NamedTuple):
    """How far a bus is."""

    tail: int  # where the next block begins
    total: int  # messages that were written before it
    head: int  # where the oldest block begins
    slot: int  # which of both copies says so


class Cursor(NamedTuple):
    """How far a reader is: the block that it has not done with, and how many messages of it are done."""

    position: int
    done: int
    as_of: int  # the tail when this was written: what the reader wrote before it is taken into account
    turn: int


def header_of(
    stamp: int, first: int, cursor: int, body: bytes, count: int, reader: int, done: int, *, summed: bool
) -> bytes:
    """The header of a block, its stamp included, and a checksum if wanted."""
    front = _FRONT.pack(stamp, first, cursor, len(body), count, reader, done)
    return front + _BACK.pack(crc32(body, crc32(front)) if summed else 0, 0)


def fits(header: bytes, body: bytes | memoryview) -> bool:
    """Whether the checksum is that of header and messages."""
    (crc,) = _BACK.unpack_from(header, _FRONT_SIZE)[:1]
    return bool(crc32(body, crc32(header[:_FRONT_SIZE])) == crc)


def pack_state(buffer: mmap | bytearray, at: int, tail: int, total: int, head: int) -> None:
    """Writes one copy, in one piece: `pack_into` writes zeros first, and no block lies before a head of 0."""
    check = crc32(_THREE.pack(tail, total, head))
    buffer[at : at + _STATE.size] = _STATE.pack(tail, total, head, check)


def state_of(words: tuple[int, ...]) -> State | None:
    """The later of both copies that is whole; None if neither is, for it is being written."""
    best = None
    for slot in (0, 1):
        tail, total, head, check = words[4 * slot : 4 * slot + 4]
        if (best is None or (tail, head) > (best.tail, best.head)) and crc32(
            _THREE.pack(tail, total, head)
        ) == check:
            best = State(tail, total, head, slot)
    return best


def pack_cursor(buffer: object, row: int, cursor: Cursor) -> None:
    check = crc32(_FOUR.pack(*cursor))
    _CURSOR.pack_into(buffer, row + CURSORS_AT + 32 * (cursor.turn & 1), *cursor, check)  # type: ignore[arg-type]


def cursor_of(buffer: object, row: int) -> Cursor | None:
    """The later of both copies that is whole; None if there is none."""
    words = _CURSORS.unpack_from(buffer, row + CURSORS_AT)  # type: ignore[arg-type]
    best = None
    for one in (words[:5], words[5:]):
        if crc32(_FOUR.pack(*one[:4])) == one[4] and (
            best is None or (one[3] - best.turn) & 0xFFFFFFFF < 1 << 31
        ):
            best = Cursor(*one[:4])
    return best
