"""An open WebSocket, sans-IO: bytes of the socket in, bytes of the stream out, and back (RFC 6455; wsproto).

Knows no socket, no TLS and no HTTP. Messages are only wrapping here: their bounds mean nothing, and their
bytes are handed on as they arrive, so that a message of any length takes no memory.
"""

from __future__ import annotations

from typing import Final

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

# What one message carries at most. wsproto takes 5 to 9 µs for any message and 1.1 µs more for each KiB to
# mask or unmask; beyond 64 KiB twice that, for the memory (`python -m benchmarks.websocket`).
SEND_SIZE_MAX: Final = 65536
MESSAGE_SIZE_MAX: Final = 16 << 20  # bytes of one message that is let in
FRAGMENTS_MAX: Final = 1024  # of one message that is let in
# Frames that are taken at once, then others have their turn: 64 KiB may hold 32,000 of them, at 10 µs each.
FRAMES_MAX: Final = 256

NORMAL: Final = 1000  # RFC 6455, 7.4.1
GOING_AWAY: Final = 1001
UNSUPPORTED: Final = 1003
NO_STATUS: Final = 1005
POLICY: Final = 1008
TOO_BIG: Final = 1009


class Frames:
    """One side of an open WebSocket.

    pending: there is more to take, with `receive_data(b"")`, before anything else is read.
    closed: code and reason of the other side's Close, in its own words; None before.
    left: this side has sent its Close, and no message may follow; left_first: before the other did.
    fault: code and reason with which this side ended it, for what the other did wrong; None if it did not.
    """

    def __init__(self, *, client: bool) -> None:
        self._wire = Connection(ConnectionType.CLIENT if client else ConnectionType.SERVER)
        self._size = 0  # bytes of the message that is coming in
        self._fragments = 0
        self._pong: bytes | None = None
        self._out = b""
        self.pending = False
        self.left = False
        self.left_first = False
        self.closed: tuple[int, str] | None = None
        self.fault: tuple[int, str] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        return self.closed is not None or self.fault is not None

    def receive_data(self, data: bytes) -> bytes:
        """Takes what the socket gave, FRAMES_MAX frames of it; returns what they carried for the stream.

        Never raises for what came.
        """
        self.pending = False
        if self.ended:
            return b""  # RFC 6455, 5.5.1 and 7.1.7: nothing after a Close counts
        self._wire.receive_data(data)
        parts: list[bytes] = []
        left = FRAMES_MAX
        for event in self._wire.events():
            left -= 1
            if self._take(event, parts):
                break
            if not left:
                self.pending = True
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _take(self, event: Event, parts: list[bytes]) -> bool:
        """Whether that was the end."""
        if isinstance(event, BytesMessage):
            if event.data:
                parts.append(bytes(event.data))
            self._count(event)
        elif isinstance(event, TextMessage):
            self._fail(UNSUPPORTED, "expected binary messages, not text")
        elif isinstance(event, Ping) and not self.left:
            # RFC 6455, 5.5.3: of several pings only the last need be answered, so a flood takes no memory.
            self._pong = bytes(self._wire.send(event.response()))
        elif isinstance(event, CloseConnection):
            self._take_close(event)
        return self.ended

    def _count(self, event: BytesMessage) -> None:
        self._size += len(event.data)
        self._fragments += event.frame_finished
        if self._size > MESSAGE_SIZE_MAX:
            self._fail(TOO_BIG, f"a message may have {MESSAGE_SIZE_MAX} bytes")
        elif self._fragments > FRAGMENTS_MAX:
            self._fail(POLICY, f"a message may have {FRAGMENTS_MAX} fragments")
        elif event.message_finished:
            self._size = self._fragments = 0

    def _take_close(self, event: CloseConnection) -> None:
        """A Close that came, or wsproto's verdict that what came is no WebSocket."""
        if self._wire.state not in (ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED):
            self._fail(int(event.code), event.reason or "")
            return
        self.closed = (int(event.code), event.reason or "")
        if self._wire.state is ConnectionState.REMOTE_CLOSING:
            self.left = True
            self._out += bytes(self._wire.send(event.response()))

    def _fail(self, code: int, reason: str) -> None:
        self.fault = (code, reason)
        self._out += self.close(code, reason)

    def send(self, data: bytes | memoryview) -> bytes | bytearray:
        """One message, of SEND_SIZE_MAX bytes at most: the caller cuts. Not once `left`."""
        return self._wire.send(BytesMessage(data))  # type: ignore[arg-type]  # wsproto copies it at once

    def close(self, code: int, reason: str = "") -> bytes:
        """This side's Close, once; b"" from then on."""
        if self.left:
            return b""
        self.left = True
        self.left_first = not self.ended
        return bytes(self._wire.send(CloseConnection(code, reason)))

    def control_to_send(self) -> bytes:
        """The bytes that are to be written unasked: a pong, a Close, or b""."""
        if self._pong is None and not self._out:
            return b""
        pong = b"" if self._pong is None or self.ended else self._pong
        out = pong + self._out
        self._pong, self._out = None, b""
        return out
