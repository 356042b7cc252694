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

_FLOAT = 16
_SIGNED = 8
_LITTLE = 4
_CLAMPED = 68  # bytes of which a sum stops at 255: only the sender's arithmetic differs
_UNSIGNED_CODES = "BHILQN"
_SIGNED_CODES = "bhilqn"
_FLOAT_CODES = "efd"
_SIZES = (1, 2, 4, 8)
_TYPECODES = {False: ("B", "H", "I", "Q"), True: ("b", "h", "i", "q")}


def is_bytes(view: memoryview) -> bool:
    """Whether a buffer is bytes, and no array of anything wider."""
    return view.format in ("B", "c") and view.ndim == 1


def tag_of(view: memoryview) -> int:
    """The tag that says what a buffer holds. Raises TypeError with what to send instead."""
    order, code = _format_of(view)
    if view.ndim != 1:
        raise TypeError(
            f"cannot send an array of {view.ndim} dimensions: send its shape and its elements in one "
            "dimension (with numpy array.shape and array.ravel()), or array.tolist()"
        )
    little = order == "<" or (order in "=@" and sys.byteorder == "little")
    if code in _FLOAT_CODES:
        return FIRST_TAG + _FLOAT + (_LITTLE if little else 0) + _FLOAT_CODES.index(code)
    signed = code in _SIGNED_CODES
    if not signed and code not in _UNSIGNED_CODES:
        raise TypeError(
            f"cannot send an array with elements of format {view.format!r}: send whole numbers, float16, "
            "float32 or float64, or a list of the elements (array.tolist())"
        )
    power = _SIZES.index(view.itemsize)
    return FIRST_TAG + (_SIGNED if signed else 0) + (_LITTLE if little and power else 0) + power


def _format_of(view: memoryview) -> tuple[str, str]:
    format = view.format
    return ("@", format) if len(format) == 1 else (format[0], format[1:])


def decode_array(tag: int, value: Any) -> Any:
    """The `array.array` of a tagged string of bytes; None for a tag without a meaning here (float128, and the
    reserved one). Raises ValueError.
    """
    if tag in (76, 83, 87):
        return None
    if type(value) is not bytes:
        raise ValueError("the elements of an array must be bytes")
    kind = tag - FIRST_TAG
    floats, signed, power = bool(kind & _FLOAT), bool(kind & _SIGNED), kind & 3
    little = bool(kind & _LITTLE) and tag != _CLAMPED
    size = 2 << power if floats else 1 << power if tag != _CLAMPED else 1
    if len(value) % size:
        raise ValueError(f"an array of {size}-byte elements in {len(value)} bytes")
    if floats and power == 0:
        return array("f", struct.unpack(f"{'<' if little else '>'}{len(value) // 2}e", value))
    found = array("fd"[power - 1] if floats else _TYPECODES[signed][size.bit_length() - 1], value)
    if little != (sys.byteorder == "little"):
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
