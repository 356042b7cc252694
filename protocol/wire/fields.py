"""Primitives of the wire format: varints, short texts, aliases' binding form. Knows no frame and keeps no
state.
"""

from busway.protocol.errors import Refusal
from busway.protocol.wire.codes import MALFORMED, TEXT_SIZE_MAX


def varint(value: int) -> bytes:
    """`value`, 0 to 2^32 - 1, least significant seven bits first (docs/protocol.md, section 1)."""
    if value < 0x80:
        return bytes((value,))
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    if 0x200000 <= value < 0x10000000:  # the ids of requests
        return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14 & 0x7F | 0x80, value >> 21))
    out = []
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def u16(value: int) -> bytes:
    """The low 16 bits of `value`, most significant first."""
    return bytes((value >> 8 & 0xFF, value & 0xFF))


def frame(body: bytes) -> bytes:
    """A body with its length before it."""
    return varint(len(body)) + body


class Reader:
    """A cursor over one frame: every read is checked against the frame's end."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes, pos: int, end: int) -> None:
        self.data = data
        self.pos = pos
        self.end = end

    def u8(self) -> int:
        pos = self.pos
        if pos >= self.end:
            raise Refusal(MALFORMED, "a frame ends inside a field")
        self.pos = pos + 1
        return self.data[pos]

    def u16(self) -> int:
        pos = self.pos
        if pos + 2 > self.end:
            raise Refusal(MALFORMED, "a frame ends inside a field")
        self.pos = pos + 2
        return self.data[pos] << 8 | self.data[pos + 1]

    def varint(self) -> int:
        value = self.u8()
        if value < 0x80:
            return value
        value &= 0x7F
        shift = 7
        while shift < 35:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value > 0xFFFFFFFF:
                    break
                return value
            shift += 7
        raise Refusal(MALFORMED, "a varint is longer than 5 bytes or not below 2^32")

    def take(self, size: int) -> bytes:
        pos = self.pos
        stop = pos + size
        if stop > self.end:
            raise Refusal(MALFORMED, "a frame ends inside a field")
        self.pos = stop
        return self.data[pos:stop]

    def text8(self) -> str:
        size = self.u8()
        if size > TEXT_SIZE_MAX:
            raise Refusal(MALFORMED, "a text is longer than 64 bytes")
        return text(self.take(size))

    def rest(self) -> bytes:
        pos = self.pos
        self.pos = self.end
        return self.data[pos : self.end]

    def left(self) -> int:
        return self.end - self.pos


def text(raw: bytes) -> str:
    """UTF-8 of a peer; what is not UTF-8 breaks the format."""
    try:
        return raw.decode()
    except (UnicodeError, ValueError):  # MicroPython raises the one, CPython the other
        raise Refusal(MALFORMED, "a text is not UTF-8") from None


def lenient_text(raw: bytes) -> str:
    """Text for people, from a peer: bytes that are not UTF-8 are shown as question marks."""
    try:
        return raw.decode()
    except (UnicodeError, ValueError):
        shown = bytearray(raw)
        for at in range(len(shown)):
            if not 32 <= shown[at] < 127:
                shown[at] = 63
        return bytes(shown).decode()


def text8(value: str) -> bytes:
    """A short text with its length before it; the caller has checked that it fits."""
    raw = value.encode()
    return bytes((len(raw),)) + raw


def clip_text(value: str, size_max: int) -> str:
    """`value` cut to at most `size_max` bytes of UTF-8, between characters."""
    raw = value.encode()
    if len(raw) <= size_max:
        return value
    stop = size_max
    while raw[stop] & 0xC0 == 0x80:
        stop -= 1
    return raw[:stop].decode()
