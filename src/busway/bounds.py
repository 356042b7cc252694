"""Bounds what CBOR from others may make of a program's memory and time. Reads heads of items; builds nothing.

An item takes one byte on the wire and up to 200 in memory, so their number is bounded. And to put n keys of
one hash into a dict takes n * n comparisons: 300 kB of them kept a program busy for 20 s. Python draws the
hashes of texts and bytes anew in each process, but those of numbers, and of what is made of numbers, follow
from the value. Large integers, decimals and UUIDs can be chosen to have one hash (2**61 - 1 more has the
same), and lists can be made so that comparing two of them takes long. So keys are scalars only. Plain numbers
of different hashes can still be chosen to meet in one place of the table, which is why only some thousands
may be in one map, but for numbers that follow each other.
"""

from __future__ import annotations

from typing import Final

ITEMS_MAX: Final = 1 << 20
"""Items in one value: every number, text, list, map, key and tag is one."""

NUMBERS_MAX: Final = 4096
"""Keys of one map, or members of a set, that are neither texts nor bytes nor one more than the one before."""

ALIKE_MAX: Final = 64
"""UUIDs of one hash as keys of one map; nobody has so many by chance."""

_DEPTH_MAX: Final = 256  # far more than is taken
_RUN_MIN: Final = 16
_SET: Final = 258
_UUID: Final = 37
# Datetimes, UUIDs, IP addresses, dates: RFC 8949, 9562, 9164 and what came before it, RFC 8943.
_KEY_TAGS: Final = frozenset((0, 1, 37, 52, 54, 100, 260, 261, 1004))
_HASH_MODULUS: Final = (1 << 61) - 1  # of numbers in CPython
_BREAK: Final = 0xFF
_EMPTY: Final = b"\x80\xa0"  # a list and a map: by the million they are the dearest to read as what they are
_ONE_BYTE: Final = bytes([*range(24), *range(32, 56), *range(224, 248)])  # integers and simple values
_WIDTHS: Final = {0xF8: 2, 0xF9: 3, 0xFA: 5, 0xFB: 9} | {
    head | 24 + power: 1 + (1 << power) for head in (0, 32) for power in range(4)
}
# By the first byte of an item how long it is, if that says it; else 0.
SIZES: Final = bytes(
    1
    if head in _ONE_BYTE
    else 1 + (head & 31)
    if head >> 5 in (2, 3) and head & 31 < 24
    else _WIDTHS.get(head, 0)
    for head in range(256)
)
_TOO_MANY: Final = f"there are more than {ITEMS_MAX:,} items in it"
_TAKEN: Final = "texts, bytes, numbers of at most 64 bits, bools, None, dates, UUIDs and IP addresses"
_NO_KEYS, _MEMBERS, _PAIRS, _INSIDE_KEY = range(4)  # which items of one that is open are keys


class _Open:
    """A map, array, tag or string in pieces that is being read."""

    __slots__ = ("apart", "every", "hashes", "last", "left", "many", "tag")

    def __init__(self, left: int, every: int = _NO_KEYS, tag: int = -1) -> None:
        self.left = left  # items to come; below 0 for as many as come
        self.every = every
        self.tag = tag
        keys = left >> 1 if every == _PAIRS else left
        self.many = every in (_MEMBERS, _PAIRS) and not 0 <= keys <= ALIKE_MAX
        self.last = -1  # the number that was the last key
        self.apart = 0
        self.hashes: dict[int, int] = {}


def check(payload: bytes) -> int:
    """Raises ValueError for more than a program should build.

    Returns where the value ends; -1 if it is malformed somewhere, which is left to the decoder: up to there
    it does no harm.
    """
    at = count = 0
    size = len(payload)
    sizes = SIZES
    opened = [_Open(1)]
    now = opened[0]
    while at < size and len(opened) < _DEPTH_MAX:
        count += 1
        first = payload[at]
        item = sizes[first]
        if item:
            if now.many:
                _note_key(opened, payload, at, at + item)
            at += item
            now.left -= 1
        elif first in _EMPTY and now.every == _NO_KEYS and now.tag != _SET:
            at += 1
            now.left -= 1
        elif first == _BREAK and now.left < 0:
            at += 1
            now.left = 0
        else:
            at, skipped = _read_head(payload, at, opened)
            if at < 0:
                return -1
            count += skipped
            now = opened[-1]
        if count > ITEMS_MAX:
            raise ValueError(_TOO_MANY)
        while not now.left:
            opened.pop()
            if not opened:
                return at if at <= size else -1
            now = opened[-1]
            now.left -= 1
    return -1


def _is_key(now: _Open) -> bool:
    """Whether the item that comes is one."""
    return now.every in (_MEMBERS, _INSIDE_KEY) or (now.every == _PAIRS and not now.left & 1)


def _read_head(data: bytes, at: int, opened: list[_Open]) -> tuple[int, int]:
    """Begins something that is not over with its first byte.

    Returns where its content is, or for a string where it ends, and how many items it has passed; -1 for
    where if it cannot be. Raises ValueError for what may not be a key.
    """
    start, now = at, opened[-1]
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    number = low
    if 24 <= low < 28:
        at += 1 << low - 24
        if at > len(data):
            return -1, 0  # cut
        number = int.from_bytes(data[start + 1 : at], "big")
    elif low >= 28 and (low != 31 or major in (0, 1, 6, 7)):
        return -1, 0
    number = -1 if low == 31 else number
    if number > ITEMS_MAX and major in (4, 5):
        raise ValueError(_TOO_MANY)
    key = _is_key(now)
    if key and major >= 4 and (major != 6 or now.every == _INSIDE_KEY or number not in _KEY_TAGS):
        raise ValueError(f"{_named(major, number)} as a key or in a set: {_TAKEN} may be there")
    if now.tag == _SET and major != 4:
        raise ValueError("a set must be a list of members")
    if major in (2, 3) and number >= 0:
        if now.many:
            _note_key(opened, data, start, at + number)
        now.left -= 1
        return at + number, 0
    if major == 5:
        opened.append(_Open(2 * number, _PAIRS))  # -2: as many as come, and the first is a key
    elif major == 6:
        opened.append(_Open(1, _INSIDE_KEY if key else _NO_KEYS, number))
        if now.many and key:
            _note_apart(now)
            opened[-1].many = number == _UUID
    else:
        opened.append(_Open(number, _MEMBERS if now.tag == _SET and major == 4 else _NO_KEYS))
        return _skip_run(data, at, opened[-1])
    return at, 0


def _named(major: int, tag: int) -> str:
    if major != 6:
        return "a map" if major == 5 else "a list"
    return {2: "a large integer", 3: "a large integer", 4: "a decimal", _SET: "a set"}.get(tag, f"tag {tag}")


def _skip_run(data: bytes, at: int, items: _Open) -> tuple[int, int]:
    """Past the members of an array of nothing but numbers of one width: most large ones are."""
    count = items.left
    if items.every or not _RUN_MIN <= count <= len(data) - at:
        return at, 0
    width = _WIDTHS.get(data[at], 1)
    end = at + count * width
    if width == 1:
        same = not data[at:end].translate(None, _ONE_BYTE)
    else:
        same = end <= len(data) and data[at:end:width].count(data[at]) == count
    if same:
        items.left = 0
        return end, count
    return at, 0


# Keys of large maps --------------------


def _note_key(opened: list[_Open], data: bytes, at: int, end: int) -> None:
    """A scalar, in a map or set of many, or in a UUID that is a key there."""
    now = opened[-1]
    major = data[at] >> 5
    if now.every == _INSIDE_KEY:
        _note_uuid(opened[-2].hashes, data[end - 16 : end])
    elif major in (2, 3) or not _is_key(now):
        return
    elif major == 7:
        _note_apart(now)
    else:
        number = int.from_bytes(data[at + 1 : end], "big") if end > at + 1 else data[at] & 31
        number = number if major == 0 else -1 - number
        if number != now.last + 1:
            _note_apart(now)
        now.last = number


def _note_apart(now: _Open) -> None:
    now.apart += 1
    if now.apart > NUMBERS_MAX:
        raise ValueError(
            f"more than {NUMBERS_MAX:,} keys of one map or members of one set are neither texts nor bytes nor"
            " numbers that follow each other: a list of pairs may be as long as you like"
        )


def _note_uuid(hashes: dict[int, int], digits: bytes) -> None:
    found = int.from_bytes(digits, "big") % _HASH_MODULUS
    hashes[found] = hashes.get(found, 0) + 1
    if hashes[found] > ALIKE_MAX:
        raise ValueError(f"more than {ALIKE_MAX} UUIDs that are keys of one map have the same hash")
