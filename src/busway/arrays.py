"""Arrays of numbers as CBOR carries them: typed arrays (RFC 8746). Knows buffers and tags, no messages.

`array.array`, numpy's arrays, and whatever else lends a buffer of numbers of one dimension go out as one
string of bytes with a tag that says what is in it; they arrive as `array.array`, of which numpy makes its
own without copying.
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import Any

FIRST_TAG = 64
LAST_TAG = 87

_LITTLE = 4  # added to a tag below where the least significant byte comes first
_TAGS = {64: "B", 65: "H", 66: "I", 67: "Q", 72: "b", 73: "h", 74: "i", 75: "q", 80: "e", 81: "f", 82: "d"}
_RESERVED = (
    76  # 68, in its place, is bytes of which a sum stops at 255: as 64, but for the sender's arithmetic
)
_SORTS = dict.fromkeys("BHILQN", "B") | dict.fromkeys("bhilqn", "b") | dict.fromkeys("efd", "f")
_BY_SORT = {(_SORTS[code], struct.calcsize(code)): tag for tag, code in _TAGS.items()}


def is_bytes(view: memoryview) -> bool:
    """Whether a buffer is bytes, and no array of anything wider."""
    return view.format in ("B", "c") and view.ndim == 1


def tag_of(view: memoryview) -> int:
    """The tag that says what a buffer holds. Raises TypeError with what to send instead."""
    format = view.format
    order, code = ("@", format) if len(format) == 1 else (format[0], format[1:])
    if view.ndim != 1:
        raise TypeError(
            f"cannot send an array of {view.ndim} dimensions: send its shape and its elements in one "
            "dimension (with numpy array.shape and array.ravel()), or array.tolist()"
        )
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
    numpy = sys.modules.get("numpy")
    generic = getattr(numpy, "generic", None)
    if generic is None or not isinstance(value, generic):
        return value
    item = value.item()
    if isinstance(item, generic):  # longdouble, of which Python has none
        raise TypeError(f"cannot send a {type(value).__name__}: send float(value)")
    return item


def buffer_of(value: Any) -> memoryview | None:
    """The buffer that a value lends to read; None for one that lends nothing."""
    try:
        return memoryview(value)
    except (TypeError, ValueError, BufferError):
        return None
