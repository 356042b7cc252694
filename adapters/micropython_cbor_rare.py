"""CBOR that boards seldom meet, loaded when they do: integers beyond 64 bits, short floats, cut texts.

The rest of micropython_cbor.py; raises ValueError as that does.
"""

from struct import unpack

from busway.adapters.micropython_cbor import _argument, _head, _read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_BIG_SIZE_MAX: "Final" = 64  # bytes of an integer beyond 64 bits


def _write_big(out: bytearray, major: int, value: int) -> None:
    """A tag and the integer's bytes; `major` 0x20 for one below zero, then `value` is -1 less it."""
    digits = []
    while value:
        digits.append(value & 0xFF)
        value >>= 8
    if len(digits) > _BIG_SIZE_MAX:
        raise ValueError("an integer of more than %d bytes" % _BIG_SIZE_MAX)
    digits.reverse()
    out.append(0xC3 if major else 0xC2)
    _head(out, 0x40, len(digits))
    out.extend(bytes(digits))


def _read_rare(data: bytes, pos: int, major: int, value: int) -> "tuple[object, int]":
    """Behind the head: `value` is its argument, of major type 7 its low 5 bits."""
    if major == 6:
        return _big(data, pos, value)
    if major == 7:
        return _float(data, pos, value)
    return _endless(data, pos, major)


def _big(data: bytes, pos: int, tag: int) -> "tuple[int, int]":
    """The integer behind tag 2 or 3."""
    if tag != 2 and tag != 3:
        raise ValueError("a tag that boards do not know: %d" % tag)
    raw, pos = _read(data, pos, 0)
    if not isinstance(raw, bytes) or len(raw) > _BIG_SIZE_MAX:
        raise ValueError("an integer that is none, or of more than %d bytes" % _BIG_SIZE_MAX)
    value = 0
    for byte in raw:
        value = value << 8 | byte
    return (value if tag == 2 else -1 - value), pos


def _endless(data: bytes, pos: int, major: int) -> "tuple[object, int]":
    """Bytes or a text whose pieces stand before a break."""
    parts = bytearray()
    while data[pos] != 0xFF:
        if data[pos] >> 5 != major or data[pos] & 31 == 31:
            raise ValueError("a piece of another kind")
        piece, pos = _read(data, pos, 0)
        parts.extend(piece if isinstance(piece, bytes) else str(piece).encode())
    return (bytes(parts) if major == 2 else bytes(parts).decode()), pos + 1


def _float(data: bytes, pos: int, info: int) -> "tuple[object, int]":
    """A float of 2, 4 or 8 bytes."""
    if not 25 <= info <= 27:
        raise ValueError("a simple value that boards do not know: %d" % info)
    raw, stop = _argument(data, pos, info)
    if info == 26:
        return unpack(">f", data[pos:stop])[0], stop
    return _half(raw), stop


def _half(raw: int) -> float:
    sign = -1.0 if raw & 0x8000 else 1.0
    exponent = raw >> 10 & 31
    fraction = raw & 0x3FF
    if exponent == 31:
        return float("nan") if fraction else sign * float("inf")
    if not exponent:
        return sign * fraction * 2.0**-24
    return sign * (1024 + fraction) * 2.0 ** (exponent - 25)
