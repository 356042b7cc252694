"""An open WebSocket, sans-IO: bytes of the socket in, bytes of the stream out, and back (RFC 6455; wsproto).

Knows no socket, no TLS and no HTTP. Messages are only wrapping here: their bounds mean nothing, and their
bytes are handed on as they arrive, so that a message of any length takes no memory.

Binary messages of one frame, which is what this side sends, go a short way here; all other frames, and all
that is not as it should be, are wsproto's, which takes 37 µs for a frame of 64 KiB and 110 more to mask it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Final

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

from busway.drivers.websocket_masks import masker

SEND_SIZE_MAX: Final = 65536  # of what is written as one buffer, the bytes that one message carries at most
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

_BINARY: Final = 0x82  # the first byte of a binary message of one frame; its reserved bits are 0
_MASKED: Final = 0x80
_CONTROL: Final = 0x08
_FINAL: Final = 0x80


class Frames:
    """One side of an open WebSocket.

    pending: there is more to take, with `receive_data(b"")`, before anything else is read.
    closed: code and reason of the other side's Close, in its own words; None before.
    left: this side has sent its Close, and no message may follow; left_first: before the other did.
    fault: code and reason with which this side ended it, for what the other did wrong; None if it did not.
    """

    def __init__(self, *, client: bool) -> None:
        self._wire = Connection(ConnectionType.CLIENT if client else ConnectionType.SERVER)
        self._client = client
        self._mask_bit = _MASKED if client else 0
        self._mask = masker()
        self._kept = b""  # what came beyond FRAMES_MAX frames
        self._head = b""  # of a frame, as far as it has come
        self._told = 0  # bytes of it that wsproto has had
        self._short = False  # the frame goes the short way
        self._left = 0  # bytes of the frame's payload that are to come
        self._key = b""  # it is masked with, from the next byte on
        self._continued = False  # a message of several frames has begun
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
        if self._kept:
            data, self._kept = self._kept + data, b""
        parts: list[bytes] = []
        pos, end, left = 0, len(data), FRAMES_MAX
        while pos < end and not self.ended:
            if self._left:
                pos = self._take_payload(data, pos, parts)
            elif left:
                pos = self._take_head(data, pos, parts)
                left -= not self._head
            else:
                self._kept = data[pos:]
                self.pending = True
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _take_head(self, data: bytes, pos: int, parts: list[bytes]) -> int:
        """More of a frame's header; returns where that ends in `data`."""
        head = self._head
        stop = pos + _size_of(head) - len(head)
        head += data[pos:stop]
        stop = min(stop, len(data))
        self._head = head
        if len(head) < 2:
            return stop
        if len(head) == 2:  # enough to tell what it is
            masked = head[1] >= _MASKED
            self._short = head[0] == _BINARY and not self._continued and masked is not self._client
        if self._short and not _is_proper(head):
            self._short = False
        if not self._short:
            told, self._told = self._told, len(head)
            self._tell(head[told:], parts)
        if len(head) == _size_of(head):
            self._begin(head)
        return stop

    def _begin(self, head: bytes) -> None:
        """A frame with this header."""
        self._head = b""
        self._told = 0
        self._left = _length_of(head)
        self._key = head[-4:] if head[1] >= _MASKED else b""
        if not head[0] & _CONTROL:
            self._continued = head[0] < _FINAL
        if self._short and not self._left:
            self._count(0, True, True)

    def _take_payload(self, data: bytes, pos: int, parts: list[bytes]) -> int:
        """More of a frame's payload; returns where that ends in `data`."""
        stop = min(len(data), pos + self._left)
        size = stop - pos
        self._left -= size
        if not self._short:
            self._tell(data[pos:stop], parts)
            return stop
        key = self._key
        if key:
            parts.append(self._mask(memoryview(data)[pos:stop], key))
            turn = size & 3
            self._key = key[turn:] + key[:turn]
        else:
            parts.append(data[pos:stop])
        self._count(size, not self._left, not self._left)
        return stop

    def _tell(self, data: bytes, parts: list[bytes]) -> None:
        """More of a frame that is wsproto's."""
        self._wire.receive_data(data)
        for event in self._wire.events():
            if self._take(event, parts):
                return

    def _take(self, event: Event, parts: list[bytes]) -> bool:
        """Whether that was the end."""
        if isinstance(event, BytesMessage):
            if event.data:
                parts.append(bytes(event.data))
            self._count(len(event.data), event.frame_finished, event.message_finished)
        elif isinstance(event, TextMessage):
            self._fail(UNSUPPORTED, "expected binary messages, not text")
        elif isinstance(event, Ping) and not self.left:
            # RFC 6455, 5.5.3: of several pings only the last need be answered, so a flood takes no memory.
            self._pong = bytes(self._wire.send(event.response()))
        elif isinstance(event, CloseConnection):
            self._take_close(event)
        return self.ended

    def _count(self, size: int, frame_finished: bool, message_finished: bool) -> None:
        self._size += size
        self._fragments += frame_finished
        if self._size > MESSAGE_SIZE_MAX:
            self._fail(TOO_BIG, f"a message may have {MESSAGE_SIZE_MAX} bytes")
        elif self._fragments > FRAGMENTS_MAX:
            self._fail(POLICY, f"a message may have {FRAGMENTS_MAX} fragments")
        elif message_finished:
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

    def send(self, buffers: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
        """One message with what is in `buffers`, to be written in order. Not once `left`."""
        size = sum(map(len, buffers))
        if size < 126:
            head = bytes((_BINARY, self._mask_bit | size))
        elif size < 65536:
            head = struct.pack("!BBH", _BINARY, self._mask_bit | 126, size)
        else:
            head = struct.pack("!BBQ", _BINARY, self._mask_bit | 127, size)
        if not self._client:
            return [head, *buffers]
        key = os.urandom(4)
        return [head + key, self._mask(buffers[0] if len(buffers) == 1 else b"".join(buffers), key)]

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


def _size_of(head: bytes) -> int:
    """The bytes of a header that begins so; of one of which too little has come, what tells more."""
    if len(head) < 2:
        return 2
    length = head[1] & 0x7F
    return 2 + (0 if length < 126 else 2 if length == 126 else 8) + (4 if head[1] >= _MASKED else 0)


def _length_of(head: bytes) -> int:
    """The length of the payload behind a whole header."""
    length = head[1] & 0x7F
    if length < 126:
        return length
    return int.from_bytes(head[2:4] if length == 126 else head[2:10], "big")


def _is_proper(head: bytes) -> bool:
    """Whether the length is as short as it can be, as it must be, as far as it has come."""
    length = head[1] & 0x7F
    if length < 126:
        return True
    if length == 126:
        return len(head) < 4 or _length_of(head) > 125
    return len(head) < 10 or (_length_of(head) > 0xFFFF and head[2] < 0x80)
