"""`ws://` and `wss://` for boards on a network: the upgrade, and a stream of bytes in WebSocket messages (RFC
6455).

Loaded by boards that use it. Knows HTTP as far as an upgrade needs it; nothing of what travels.
"""

import os
from binascii import b2a_base64

from busway.adapters.micropython_net import dial, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

_HEADERS_MAX: "Final" = 2048  # bytes of the answer
_BINARY: "Final" = 0x82
_CLOSE: "Final" = 0x88
_PING: "Final" = 0x89
_PONG: "Final" = 0x8A


def websocket(
    url: str, tls: "Any" = None, entropy: "Callable[[int], bytes] | None" = None
) -> "Callable[[], Any]":
    """Opens `ws://HOST:PORT/PATH`, or `wss://` with `tls`, an ssl.SSLContext: a stream for
    `Loop(websocket(url), sort="stream", token=token, realm=3)`, opened again whenever it is lost. Raises
    ValueError at once for what is no such URL.
    """
    scheme, host, port, path = split(url, 443 if url.startswith("wss") else 80)
    if scheme not in ("ws", "wss") or (scheme == "wss") != (tls is not None):
        raise ValueError("expected ws://HOST:PORT, or wss://HOST:PORT with tls=ssl.SSLContext(...)")
    draw: "Any" = entropy or getattr(os, "urandom", None)
    if draw is None:
        from busway.adapters.micropython_entropy import urandom as draw
    return lambda: WebSocket(dial(host, port, tls), "%s:%d" % (host, port), path, draw)


class WebSocket:
    """A stream over an open socket: a write is one message, a read what has come of any."""

    def __init__(self, line: "Any", host: str, path: str, draw: "Callable[[int], bytes]") -> None:
        self.polled = line
        self._draw = draw
        self._in = b""  # of a head that is not whole
        self._need = 2  # bytes that it lacks
        self._left = 0  # bytes of a message that are still to come
        self._out = b""  # of a frame that the socket has not taken
        try:
            self._upgrade(host, path)
        except Exception:
            line.close()
            raise

    def _upgrade(self, host: str, path: str) -> None:
        key = b2a_base64(self._draw(16)).decode().strip()
        request = "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" % (
            path,
            host,
        )
        request += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n" % key
        request += "Sec-WebSocket-Protocol: busway.2\r\n\r\n"
        self._out = request.encode()
        while self._out:
            self._flush()
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            byte = self.polled.read(1)
            if not byte or len(answer) > _HEADERS_MAX:
                raise OSError("no answer to the upgrade")
            answer += byte
        status = answer.split(b"\r\n")[0].decode()
        if " 101" not in status:
            raise OSError("no WebSocket: " + status)

    def _flush(self) -> None:
        size = self.polled.write(self._out)
        if size:
            self._out = self._out[size:]

    def write(self, data: bytes) -> "int | None":
        """Takes all, or None while the former has not left."""
        if self._out:
            self._flush()
            if self._out:
                return None
        if data:
            self._frame(_BINARY, data)
        return len(data)

    def _frame(self, head: int, data: bytes) -> None:
        size = len(data)
        lengths = bytes((head, 0x80 | size)) if size < 126 else bytes((head, 0xFE, size >> 8, size & 0xFF))
        mask = self._draw(4)
        self._out += lengths + mask + bytes([byte ^ mask[at & 3] for at, byte in enumerate(data)])
        self._flush()

    def read(self, size: int) -> "bytes | None":
        """The bytes of messages that have come: at most `size`, None if none have, b"" at the end. Never more
        is read than is asked for: what lay here no poll would show.
        """
        if self._out:
            self._flush()
        while not self._left:
            came = self.polled.read(self._need)
            if not came:
                return came  # type: ignore[no-any-return]
            self._in += came
            if self._head():
                return b""
        data: "bytes | None" = self.polled.read(min(size, self._left))
        if data:
            self._left -= len(data)
        return data

    def _head(self) -> bool:
        """Reads a frame's head, and all of Ping, Pong and Close, once that is whole; True: it is over."""
        data = self._in
        start = 2
        size = 0
        if len(data) > 1:
            size = data[1]
            if size > 125:
                start = 4 if size == 126 else 10
                size = int.from_bytes(data[2:start], "big") if len(data) >= start else 0
        control = bool(data[0] & 8)
        self._need = start + (size if control else 0) - len(data)
        if self._need > 0:
            return False
        self._in = b""
        self._need = 2
        if data[0] & 0x0F not in (0, 2, 8, 9, 10) or data[1] & 0x80:
            raise OSError("a WebSocket frame that no server sends, or a text")
        if not control:
            self._left = size
        elif data[0] == _PING and not self._out:
            self._frame(_PONG, data[start:])
        return data[0] == _CLOSE

    def setblocking(self, flag: bool) -> None:
        """As the socket's."""
        self.polled.setblocking(flag)

    def close(self) -> None:
        """Ends it; the other side sees that the connection has ended."""
        self.polled.close()
