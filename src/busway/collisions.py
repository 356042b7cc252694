"""Refuses CBOR whose maps and sets have many keys of one hash. Reads CBOR's structure, and decodes only keys.

To put n keys of one hash into a dict takes n * n comparisons: 300 kB of them kept a program busy for 20 s.
Python draws the hashes of texts and bytes anew in each process, but those of numbers and of what is made of
numbers follow from the value (`hash(-1) == hash(-2)`, and 2**61 - 1 more has the same hash), so whoever wants
to can choose such keys. Plain numbers are too small for more than a few; so only keys that are tagged (large
integers, decimals, UUIDs) or arrays and maps are looked at, and only in payloads that have room for enough.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

ALIKE_MAX: Final = 256
"""Keys of one hash in one map or set; nobody has so many by chance."""

_SIZE_MIN: Final = 16384  # bytes of a payload; the keys that fit in fewer do no harm
_DEPTH_MAX: Final = 256  # far more than is taken
_RUN_MIN: Final = 16
_SET: Final = 258
_BREAK: Final = 0xFF
# The heads of maps and sets with more than 255 members, or of as many as come.
_LARGE: Final = re.compile(rb"\xb9[^\x00]|[\xba\xbb\xbf]|\x01\x02[\x99\x9a\x9b\x9f]")
_ONE_BYTE: Final = bytes([*range(24), *range(32, 56), *range(224, 248)])  # integers and simple values
_WIDTHS: Final = {0xF8: 2, 0xF9: 3, 0xFA: 5, 0xFB: 9} | {
    head | 24 + power: 1 + (1 << power) for head in (0, 32) for power in range(4)
}
# By the first byte of an item how long it is, if that says it; else 0.
_SIZES: Final = bytes(
    1
    if head in _ONE_BYTE
    else 1 + (head & 31)
    if head >> 5 in (2, 3) and head & 31 < 24
    else _WIDTHS.get(head, 0)
    for head in range(256)
)


class _Open:
    """A map, array, tag or string in pieces that is being read."""

    __slots__ = ("every", "keys", "left", "start", "tag")

    def __init__(self, start: int, left: int, every: int = 0, tag: int = -1) -> None:
        self.start = start
        self.left = left  # items to come; below 0 for as many as come
        self.every = every  # which items are keys: 0 none, 1 all, 2 every other
        self.tag = tag
        self.keys: list[bytes] = []


def check(payload: bytes, load: Callable[[bytes], Any]) -> None:
    """Raises ValueError for more than ALIKE_MAX keys of one hash. What is malformed is left to the decoder.

    Args: `load` decodes one item.
    """
    if len(payload) < _SIZE_MIN or not _LARGE.search(payload):
        return
    opened = [_Open(0, 1)]
    _walk(payload, opened, load)
    for each in reversed(opened):  # malformed from there on: so far the decoder would come, too
        _check_keys(each.keys, load)


def _walk(data: bytes, opened: list[_Open], load: Callable[[bytes], Any]) -> None:
    """Reads one item; what stays in `opened` was not complete."""
    at = 0
    size = len(data)
    sizes = _SIZES
    now = opened[-1]
    while at < size and len(opened) < _DEPTH_MAX:
        item = sizes[data[at]]
        if item:
            at += item
            now.left -= 1
        elif data[at] == _BREAK and now.left < 0:
            at += 1
            now.left = 0
        else:
            at = _read_head(data, at, opened)
            if at < 0:
                return
            now = opened[-1]
        while not now.left:
            opened.pop()
            _check_keys(now.keys, load)
            if not opened:
                return
            start, now = now.start, opened[-1]
            if now.every == 1 or (now.every == 2 and not now.left & 1):
                now.keys.append(data[start:at])
            now.left -= 1


def _read_head(data: bytes, at: int, opened: list[_Open]) -> int:
    """Begins something that is not over with its first byte; returns where its content is, or for a string
    where it ends; -1 if it cannot be.
    """
    start = at
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    number = low
    if 24 <= low < 28:
        at += 1 << low - 24
        number = int.from_bytes(data[start + 1 : at], "big")
    elif low >= 28 and (low != 31 or major in (0, 1, 6, 7)):
        return -1
    number = -1 if low == 31 else number
    if major in (2, 3) and number >= 0:
        opened[-1].left -= 1
        return at + number
    if major == 5:
        opened.append(_Open(start, 2 * number, 2))  # -2: as many as come, and the first is a key
    elif major == 6:
        opened.append(_Open(start, 1, 0, number))
    else:
        opened.append(_Open(start, number, 1 if opened[-1].tag == _SET and major == 4 else 0))
        at = _skip_run(data, at, opened[-1])
    return at


def _skip_run(data: bytes, at: int, items: _Open) -> int:
    """Past the members of an array of nothing but numbers of one width: most large ones are."""
    count = items.left
    if not _RUN_MIN <= count <= len(data) - at:
        return at
    width = _WIDTHS.get(data[at], 1)
    end = at + count * width
    if width == 1:
        same = not data[at:end].translate(None, _ONE_BYTE)
    else:
        same = end <= len(data) and data[at:end:width].count(data[at]) == count
    if same:
        items.left = 0
        return end
    return at


def _check_keys(keys: list[bytes], load: Callable[[bytes], Any]) -> None:
    if len(keys) <= ALIKE_MAX:
        return
    hashes: Counter[int] = Counter()
    for key in keys:
        try:
            hashes.update(map(hash, load(b"\xa1" + key + b"\xf6")))
        except Exception:  # noqa: BLE001 - the decoder comes no further, and says why
            break
    most = max(hashes.values(), default=0)
    if most > ALIKE_MAX:
        raise ValueError(f"{most:,} keys of one map have the same hash; at most {ALIKE_MAX} are taken")
