"""Arrays of numbers as CBOR carries them (RFC 8746). Knows buffers and tags, no messages.

`array.array`, and whatever else lends a buffer of numbers of one dimension, go out as one string of bytes
with a tag that says what is in it (a typed array); they arrive as `array.array`. numpy's arrays, and buffers
of several dimensions, go out with their shape around that (tag 40) and arrive as numpy's arrays.

Those with a shape never pass through cbor2, which would copy them several times: where one stands, cbor2 gets
a placeholder, and what it stands for is put in its place (`pieces`) or taken from there (`cut`) here. So
elements are copied once when they are sent, and not at all where they arrive: what the program gets is a
view of the payload that came.
"""

from __future__ import annotations

import functools
import math
import os
import struct
import sys
from array import array
from typing import Any

from busway import bounds

FIRST_TAG = 64
LAST_TAG = 87
SHAPE_TAG = 40
TRUTHS_TAG = 46512
"""Around a typed array of bytes that are 0 or 1: they are truth values. One of Busway's own, as the next."""
COMPLEX_TAG = 46513
"""Around a typed array of floats, of which each two are the real and imaginary part of a number."""

DIMENSIONS_MAX = 32
ALIGNMENT = 16  # bytes: more than any element needs; 64 made no operation of numpy faster
_ALIGNED_MIN = 1024  # bytes of elements: smaller ones are copied where they arrive, if need be

_LITTLE = 4  # added to a tag below where the least significant byte comes first
_TAGS = {64: "B", 65: "H", 66: "I", 67: "Q", 72: "b", 73: "h", 74: "i", 75: "q", 80: "e", 81: "f", 82: "d"}
_RESERVED = (
    76  # 68, in its place, is bytes of which a sum stops at 255: as 64, but for the sender's arithmetic
)
_SORTS = dict.fromkeys("BHILQN", "B") | dict.fromkeys("bhilqn", "b") | dict.fromkeys("efd", "f")
_BY_SORT = {(_SORTS[code], struct.calcsize(code)): tag for tag, code in _TAGS.items()}
SHAPE_HEAD = b"\xd8\x28"  # tag 40, always in these two bytes
_PLACE_SIZE = 16
_PLACE = SHAPE_HEAD + b"\x50" + os.urandom(12)  # and four bytes: which one. No other process knows it
_GLANCE = 1024  # items of a large payload that are looked at one by one before it is searched for arrays
SMALL = 1 << 16
"""Bytes of a payload that is searched for arrays as a whole before its items are looked at."""


def is_bytes(view: memoryview) -> bool:
    """Whether a buffer is bytes, and no array of anything wider."""
    return view.format in ("B", "c") and view.ndim == 1


def tag_of(view: memoryview) -> int:
    """The tag that says what the elements of a buffer are. Raises TypeError with what to send instead."""
    format = view.format
    order, code = ("@", format) if len(format) == 1 else (format[0], format[1:])
    tag = _BY_SORT.get((_SORTS.get(code, ""), view.itemsize)) if order in "@=<>" else None
    if tag is None:
        raise TypeError(
            f"cannot send an array with elements of format {format!r}: send whole numbers, float16, "
            "float32 or float64, or a list of the elements (array.tolist())"
        )
    little = order == "<" or (order in "@=" and sys.byteorder == "little")
    return tag + (_LITTLE if little and view.itemsize > 1 else 0)


def decode_array(tag: int, value: Any) -> Any:
    """The `array.array` of a tagged string of bytes; None for a tag without a meaning here (float128, and the
    reserved one). Raises ValueError.
    """
    code = _TAGS.get(tag & ~_LITTLE)
    if code is None or tag == _RESERVED:
        return None
    if type(value) is not bytes:
        raise ValueError("the elements of an array must be bytes")
    little = bool(tag & _LITTLE)
    size = struct.calcsize(code)
    if len(value) % size:
        raise ValueError(f"an array of {size}-byte elements in {len(value)} bytes")
    if code == "e":
        return array("f", struct.unpack(f"{'<' if little else '>'}{len(value) // 2}e", value))
    found = array(code, value)
    if size > 1 and little != (sys.byteorder == "little"):
        found.byteswap()
    return found


def plain_number(value: Any) -> Any:
    """A number of numpy as Python's own; the value itself if it is none. numpy is not imported for it."""
    if not _is_of_numpy(value, "generic"):
        return value
    item = value.item()
    if _is_of_numpy(item, "generic"):  # longdouble, of which Python has none
        raise TypeError(f"cannot send a {type(value).__name__}: send float(value)")
    return item


def buffer_of(value: Any) -> memoryview | None:
    """The buffer that a value lends to read; None for one that lends nothing."""
    try:
        return memoryview(value)
    except (TypeError, ValueError, BufferError):
        return None


def is_array(value: Any) -> bool:
    """Whether a value that is no `array.array` or memoryview has to be sent as an array."""
    if _is_of_numpy(value, "ndarray"):
        return True
    return not _is_of_numpy(value, "generic") and buffer_of(value) is not None


def _is_of_numpy(value: Any, name: str) -> bool:
    kind = getattr(sys.modules.get("numpy"), name, None)
    return kind is not None and isinstance(value, kind)


# Arrays with a shape --------------------


class Grid:
    """An array and its shape: elements row by row, in a buffer that is not copied."""

    __slots__ = ("data", "shape", "tag", "wrap")

    def __init__(self, tag: int, wrap: int, shape: tuple[int, ...], data: memoryview) -> None:
        self.tag = tag  # of the typed array
        self.wrap = wrap  # TRUTHS_TAG or COMPLEX_TAG around it; 0: neither
        self.shape = shape
        self.data = data  # bytes

    def head(self, at: int) -> bytes:
        """The bytes before the elements, if they begin `at` bytes after the payload's beginning."""
        size = len(self.data)
        spare = -at % ALIGNMENT if size >= _ALIGNED_MIN else -1
        return _head(spare, self.wrap, self.tag, self.shape, size)

    def value(self) -> Any:
        """The array as programs get it: one of numpy that cannot be written, or without numpy an
        `array.array` or memoryview. Raises ValueError.
        """
        size = struct.calcsize(_TAGS[self.tag & ~_LITTLE]) * (2 if self.wrap == COMPLEX_TAG else 1)
        if math.prod(self.shape) * size != len(self.data):
            raise ValueError(f"an array of shape {self.shape} in {len(self.data)} bytes")
        try:
            import numpy
        except ImportError:
            return self._without_numpy()
        return self._with(numpy)

    def _with(self, numpy: Any) -> Any:
        order = "<" if self.tag & _LITTLE else ">"
        if self.wrap == TRUTHS_TAG and type(self.data.obj) is not bytes:
            self.data = memoryview(bytes(self.data))  # others may see it, and change it once it is checked
        found = numpy.ndarray(self.shape, order + _DTYPES[self.wrap, self.tag & ~_LITTLE], self.data)
        if self.wrap == TRUTHS_TAG and found.view("u1").max(initial=0) > 1:
            raise ValueError(_NO_TRUTHS)
        if not found.flags.aligned:
            found = found.copy()
        found.flags.writeable = False
        return found

    def _without_numpy(self) -> Any:
        elements = decode_array(self.tag, bytes(self.data))
        if self.wrap == TRUTHS_TAG and elements.tobytes().translate(None, b"\x00\x01"):
            raise ValueError(_NO_TRUTHS)
        shape = (*self.shape, 2) if self.wrap == COMPLEX_TAG else self.shape
        if not elements or (len(shape) == 1 and self.wrap != TRUTHS_TAG):
            return elements  # no view has a dimension of 0
        code: Any = "?" if self.wrap == TRUTHS_TAG else elements.typecode
        return memoryview(elements.tobytes()).cast(code, shape)


_NO_TRUTHS = "an array of truth values has others than 0 and 1"
_NUMPY_SORTS = {"B": "u", "b": "i", "f": "f"}
_DTYPES = {
    **{(0, tag): f"{_NUMPY_SORTS[sort]}{size}" for (sort, size), tag in _BY_SORT.items()},
    (TRUTHS_TAG, 64): "?",
    (COMPLEX_TAG, 81): "c8",
    (COMPLEX_TAG, 82): "c16",
}
_BY_DTYPE = {dtype: key for key, dtype in _DTYPES.items()} | {"b1": (TRUTHS_TAG, 64)}


def grid_of(value: Any) -> Grid | None:
    """An array of numpy, or a buffer of other than one dimension, as it is sent; None for any other buffer.

    Raises:
        TypeError: with what to send instead.
    """
    if _is_of_numpy(value, "ndarray"):
        _check_dimensions(value.ndim)
        return _grid_of_numpy(value)
    view = memoryview(value)
    if view.ndim == 1:
        return None
    _check_dimensions(view.ndim)
    truths = view.format in ("?", "@?")
    tag, wrap = (64, TRUTHS_TAG) if truths else (tag_of(view), 0)
    try:
        data = view.cast("B")
    except (TypeError, ValueError):  # in pieces, of the other order of bytes, or with a dimension of 0
        data = memoryview(view.tobytes())
    return Grid(tag, wrap, tuple(view.shape or ()), data)


def _check_dimensions(count: int) -> None:
    if count > DIMENSIONS_MAX:
        raise TypeError(f"cannot send an array of {count} dimensions: at most {DIMENSIONS_MAX} are taken")


def _grid_of_numpy(value: Any) -> Grid:
    import numpy

    if isinstance(value, numpy.ma.MaskedArray):
        raise TypeError("cannot send a masked array: send array.filled(), or the data and the mask")
    dtype = value.dtype
    wrap, tag = _BY_DTYPE.get(f"{dtype.kind}{dtype.itemsize}", (0, 0))
    if not tag:
        raise TypeError(
            f"cannot send an array of dtype {dtype}: send whole numbers, truth values, float16, float32, "
            "float64, complex64 or complex128 (array.astype), or a list of the elements (array.tolist())"
        )
    if dtype.newbyteorder("<") == dtype and tag not in (64, 72):
        tag += _LITTLE
    elements = numpy.ascontiguousarray(value).reshape(-1)
    return Grid(tag, wrap, value.shape, elements.view("u1").data)


@functools.lru_cache(256)
def _head(spare: int, wrap: int, tag: int, shape: tuple[int, ...], size: int) -> bytes:
    """From tag 40 to the length of the string of elements.

    Args:
        spare: by how many bytes it is longer than a multiple of ALIGNMENT, so that what follows is aligned:
            some numbers are written wider than they need to be. -1: as short as may be.
    """
    items = [(4, 2), (4, len(shape)), *((0, length) for length in shape)]
    items += [(6, found) for found in (wrap, tag) if found]
    items.append((2, size))
    widths = [_width(number) for _, number in items]
    least = len(SHAPE_HEAD) + len(items) + sum(widths)
    widths = _widened(widths, (spare - least) % ALIGNMENT if spare >= 0 else 0)
    return SHAPE_HEAD + b"".join(map(_item_head, items, widths))


def _item_head(item: tuple[int, int], width: int) -> bytes:
    major, number = item
    if not width:
        return bytes([major << 5 | number])
    return bytes([major << 5 | 23 + width.bit_length()]) + number.to_bytes(width, "big")


_WIDTHS = (0, 1, 2, 4, 8)  # bytes of a number behind the first byte of an item


def _width(number: int) -> int:
    return 0 if number < 24 else next(width for width in _WIDTHS[1:] if not number >> 8 * width)


def _widened(widths: list[int], more: int) -> list[int]:
    """Widths none of which is smaller, with a sum that is larger by `more`."""
    ways: dict[int, list[int]] = {0: []}
    for width in widths:
        ways = {
            total + wide - width: [*taken, wide]
            for total, taken in ways.items()
            for wide in _WIDTHS
            if wide >= width and total + wide - width <= more
        }
    return ways.get(more, widths)


# What stands for them while cbor2 is at work --------------------


def place(grids: list[Grid], grid: Grid) -> bytes:
    """Puts one more into the list. Returns the bytes that stand for it, to be encoded with SHAPE_TAG."""
    grids.append(grid)
    return _PLACE[len(SHAPE_HEAD) + 1 :] + (len(grids) - 1).to_bytes(4, "big")


def placed(grids: list[Grid], value: object) -> Grid | None:
    """The array that bytes behind SHAPE_TAG stand for; None if they are not ours."""
    if type(value) is not bytes or len(value) != _PLACE_SIZE or value[:12] != _PLACE[-12:]:
        return None
    return grids[int.from_bytes(value[12:], "big")]


def pieces(body: bytes, grids: list[Grid]) -> list[bytes | memoryview]:
    """The parts of a payload, one after the other, in whose body placeholders stand for these arrays."""
    if not grids:
        return [body]
    found: list[bytes | memoryview] = []
    at = 0
    for number, between in enumerate(body.split(_PLACE)):
        if number:
            grid = grids[number - 1]
            head = grid.head(at)
            found += (head, grid.data)
            at += len(head) + len(grid.data)
            between = between[4:]
        found.append(between)
        at += len(between)
    return [piece for piece in found if piece]


def cut(payload: bytes | memoryview, grids: list[Grid]) -> bytes:
    """A payload with placeholders for the arrays with a shape in it, which come into the list: views of it.

    What is no such array, by docs/protocol.md section 5, is left as it is; so is what is malformed, and
    whatever comes after bounds.ITEMS_MAX items.
    """
    size = len(payload)
    if size <= SMALL and not _may_hold(payload, 0):
        return bytes(payload)
    parts: list[bytes | memoryview] = []
    at = count = done = 0
    while 0 <= at < size and count < bounds.ITEMS_MAX:
        count += 1
        if payload[at] == SHAPE_HEAD[0] and (found := _read(payload, at)):
            parts += (payload[done:at], _PLACE, len(grids).to_bytes(4, "big"))
            grids.append(found[0])
            at = done = found[1]
        else:
            at = _next(payload, at)
        if count == _GLANCE and not _may_hold(payload, max(at, 0)):
            break
    return b"".join((*parts, payload[done:])) if parts else bytes(payload)


def _may_hold(payload: bytes | memoryview, at: int) -> bool:
    """Whether an array may begin somewhere behind."""
    if isinstance(payload, memoryview):
        payload, at = bytes(payload[at:]), 0
    return payload.find(SHAPE_HEAD, at) >= 0


def _next(payload: bytes | memoryview, at: int) -> int:
    """Where the item after this one begins, which may be one in it; -1 for what cannot be."""
    size = bounds.SIZES[payload[at]]
    if size:
        return at + size
    major, number, end = _argument(payload, at)
    return end + max(number, 0) if end >= 0 and major in (2, 3) else end


def _argument(payload: bytes | memoryview, at: int) -> tuple[int, int, int]:
    """An item's major type, the number in its head (-1: up to a break), and where the head ends (-1: it
    cannot be).
    """
    first = payload[at] if at < len(payload) else 28
    major, low = first >> 5, first & 31
    if low < 24:
        return major, low, at + 1
    if low == 31 and major not in (0, 1, 6):
        return major, -1, at + 1
    end = at + 1 + (1 << (low & 3))
    if low > 27 or end > len(payload):
        return major, 0, -1
    return major, int.from_bytes(payload[at + 1 : end], "big"), end


def _read(payload: bytes | memoryview, at: int) -> tuple[Grid, int] | None:
    """The array with a shape that begins there, and where it ends; None if there is none."""
    if payload[at : at + 2] != SHAPE_HEAD:
        return None
    major, number, at = _argument(payload, at + 2)
    if major != 4 or number != 2:
        return None
    major, dimensions, at = _argument(payload, at)
    if at < 0 or major != 4 or not 0 <= dimensions <= DIMENSIONS_MAX:
        return None
    shape = []
    for _ in range(dimensions):
        major, number, at = _argument(payload, at)
        if at < 0 or major != 0:
            return None
        shape.append(number)
    return _read_elements(payload, at, tuple(shape))


def _read_elements(payload: bytes | memoryview, at: int, shape: tuple[int, ...]) -> tuple[Grid, int] | None:
    major, tag, at = _argument(payload, at)
    wrap = 0
    if tag in (TRUTHS_TAG, COMPLEX_TAG) and major == 6 and at >= 0:
        wrap = tag
        major, tag, at = _argument(payload, at)
    if at < 0 or major != 6 or (wrap, tag & ~_LITTLE) not in _DTYPES or tag == _RESERVED:
        return None
    major, size, at = _argument(payload, at)
    if at < 0 or major != 2 or not 0 <= size <= len(payload) - at:
        return None
    return Grid(tag, wrap, shape, memoryview(payload)[at : at + size]), at + size
