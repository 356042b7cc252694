"""Payloads of boards, and what became of a message, as their programs see them. Knows no loop."""

from busway.adapters.micropython_cbor import dumps, loads
from busway.protocol import codes, events
from busway.protocol.leaf.state import Event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class RemoteError(Exception):
    """The other program answered with an error, or nobody did: `code` and `text`. A handler raises it to
    answer so."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__("error %d: %s" % (code, text))
        self.code = code
        self.text = text


class Outcome:
    """The outcome of a send or request: `ok`, the reply in `payload`, else `code` and `text`. Of one to a
    selector: `node`, the id of who it was for, and `left`, how many more outcomes come."""

    def __init__(self, event: Event) -> None:
        self.status = event.status
        self.ok = event.status in (events.ACCEPTED, events.TAKEN, events.REPLIED)
        self.code = event.code
        self.text = event.text
        self.node = event.node[: codes.ID_SIZE]
        self.left = event.left
        self.payload: "Any" = None
        if event.status == events.REPLIED:
            try:
                self.payload = decode(event.payload, event.format)
            except (ValueError, MemoryError) as error:
                self.ok = False
                self.code = codes.UNREADABLE
                self.text = str(error)


def describe(error: Exception) -> "tuple[int, str]":
    """The text that the asker hears of an exception in a handler."""
    if isinstance(error, RemoteError):
        return error.code, error.text
    return codes.HANDLER_FAILED, "%s: %s" % (type(error).__name__, error)


def decode(payload: bytes, format: int) -> "Any":
    """A payload that came: bytes, or the value of its CBOR. Raises ValueError."""
    return payload if format == codes.RAW else loads(payload)


def encode(value: "Any") -> "tuple[bytes, Any]":
    """A payload to be sent, and its format or the uuid of its type."""
    if hasattr(value, "typed"):  # see micropython_types.py
        return value.typed()  # type: ignore[no-any-return]
    if isinstance(value, (bytes, bytearray)):
        return bytes(value), codes.RAW
    return dumps(value), codes.CBOR
