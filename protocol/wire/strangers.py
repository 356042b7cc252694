"""Strangers that are no Busway, known by the first bytes that came, and what to tell people of it."""

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.control import is_strange

# How a TLS server complains of what is no TLS: its kind and version, then its length. As a frame of ours it
# is the beginning of a CLOSE whose text begins with the length's two bytes, which no text does.
_TLS_ALERT = b"\x15\x03"
_TLS_ALERT_SIZE = b"\x00\x02"


def check_stranger(data: bytes, start: int, end: int) -> None:
    """A first frame that is not all there yet: a stranger is refused now, not when its time is up."""
    if is_strange(data[start : min(end, start + 1 + len(codes.MAGIC))]):
        raise stranger(data, start)
    if data[start - 1 : start + 1] == _TLS_ALERT and data[start + 2 : min(end, start + 4)] == _TLS_ALERT_SIZE:
        text = "the other side speaks TLS: connect to wss:// instead, if that is meant"
        raise Refusal(codes.NOT_BUSWAY, text)


def stranger(data: bytes, start: int) -> Refusal:
    """The refusal of one who begins with a frame of this kind; its length stands before it."""
    text = "the other side does not speak Busway"
    if start > 0 and data[start - 1 : start + 4] == b"HTTP/":
        text = "the other side speaks HTTP: connect to ws:// or wss:// instead, if that is meant"
    return Refusal(codes.NOT_BUSWAY, text)
