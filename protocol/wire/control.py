"""The outside of frames, and CLOSE, the one that every state knows (docs/protocol.md, sections 2 and 3)."""

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader, clip_text, frame, lenient_text, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_FIRST = (codes.HELLO, codes.HANDSHAKE)  # both begin with the magic


def length_end(data: bytes, pos: int, end: int) -> int:
    """Where the length at `pos` ends, 0 if its end has not come yet; no further than 5 bytes."""
    stop = min(end, pos + 5)
    for at in range(pos, stop):
        if data[at] < 0x80:
            return at + 1
    return stop if stop == pos + 5 else 0


def refuse_length(length: int, size_max: int) -> "NoReturn":
    """Raise the Refusal of a frame that is empty or longer than was agreed."""
    if not length:
        raise Refusal(codes.MALFORMED, "a frame of length 0")
    raise Refusal(codes.TOO_LARGE, "a frame of %d bytes, but %d were agreed" % (length, size_max))


def is_unknown(head: int) -> bool:
    """Whether no control frame has this head."""
    return (not head or codes.SYNC < head < codes.MESSAGE) and head != codes.SLEEP


def is_strange(start: bytes) -> bool:
    """Whether no link begins with a frame that begins so, 5 bytes at most."""
    if not start:
        return False
    return is_unknown(start[0]) or (start[0] in _FIRST and not codes.MAGIC.startswith(start[1:5]))


def write_close(code: int, text: str) -> bytes:
    """A whole CLOSE frame; the text is cut to what one may have."""
    raw = clip_text(text, codes.CLOSE_TEXT_SIZE_MAX).encode()
    return frame(bytes((codes.CLOSE,)) + varint(code) + raw)


def is_close(body: bytes) -> bool:
    """Whether these bytes are a CLOSE, and no record that begins like one, as one in 256 does: those are not
    UTF-8 behind that.
    """
    if body[0] != codes.CLOSE:
        return False
    try:
        body[1:].decode()  # the code, too: all are below 128
    except (UnicodeError, ValueError):
        return False
    return True


def read_close(reader: Reader) -> "tuple[int, str]":
    """Code and text of a CLOSE, behind its head. Raises Refusal."""
    code = reader.varint()
    return code, clip_text(lenient_text(reader.rest()), codes.CLOSE_TEXT_SIZE_MAX)
