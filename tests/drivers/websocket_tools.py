"""Both ends of WebSocket links for tests: the driver's own, and a raw socket that says what it likes."""

from __future__ import annotations

import base64
import hashlib
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from busway.drivers import websocket
from busway.drivers.websocket import WebSocketChannel, WebSocketListener
from tests.drivers import waiting

_BOUND_S = 60


@contextmanager
def opened(
    listener: WebSocketListener, *, url: str = "", **options: Any
) -> Iterator[tuple[WebSocketChannel, WebSocketChannel]]:
    """Two ends of an open link. Raises what the dialler's `connected()` raises."""
    url = url or listener.url
    ours = websocket.dial(websocket.candidates(url)[0], url, **options)
    theirs: WebSocketChannel | None = None
    try:
        while not ours.connected() or theirs is None or not theirs.connected():
            if theirs is None:
                theirs = listener.accept()
            else:
                step(theirs)
        yield ours, theirs
    finally:
        ours.close()
        if theirs is not None:
            theirs.close()


def step(channel: WebSocketChannel) -> bool:
    """`connected()`; a failure is the other end's to tell."""
    try:
        return channel.connected()
    except OSError:
        channel.close()
        return True


def join(source: WebSocketChannel, target: WebSocketChannel, data: bytes) -> None:
    """Moves `data`, and checks it."""
    sent, received = 0, bytearray()

    def moved() -> bool:
        nonlocal sent
        if sent < len(data):
            sent += source.write(data[sent:])
        else:
            source.write(b"")
        received.extend(target.read() or b"")
        return len(received) >= len(data)

    waiting.until(moved, f"{len(data)} bytes")
    assert received == data


def settle(channel: WebSocketChannel) -> bytes:
    """Reads until the end, and returns b"" then; raises what `read()` raises."""
    while True:
        data = channel.read()
        if data == b"":
            return data
        if data is None:
            waiting.readable(channel)


# ---- raw


KEY = base64.b64encode(bytes(16)).decode()


def request_of(*headers: str, host: str = "127.0.0.1", request: str = "GET / HTTP/1.1") -> bytes:
    return "\r\n".join([request, f"Host: {host}", *headers, "", ""]).encode("latin-1")


def accept_of(key: bytes) -> bytes:
    """The answer of a server to a key (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Protocol: busway.2",
)


def answer_to(
    listener: WebSocketListener, *headers: str, host: str = "", request: str = ""
) -> tuple[int, str]:
    """Status and text of the answer to an upgrade with these headers besides, or to another `request`."""
    host = host or listener.url.removeprefix("ws://").partition("/")[0]
    usual = () if request else UPGRADE
    with Raw(listener) as raw:
        raw.say(request_of(*usual, *headers, host=host, request=request or "GET / HTTP/1.1"))
        return raw.answer()


def upgrade(listener: WebSocketListener) -> Raw:
    """A raw client whose WebSocket is open."""
    raw = Raw(listener)
    raw.say(request_of(*UPGRADE))
    assert raw.answer()[0] == 101
    return raw


def masked(first: int, payload: bytes, *, key: bytes | None = None, size: int = -1) -> bytes:
    """A client's frame; `size` is what its header says, if not the truth."""
    key = os.urandom(4) if key is None else key
    body = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return header(first, len(payload) if size < 0 else size, 0x80) + key + body


def header(first: int, size: int, mask: int = 0) -> bytes:
    if size < 126:
        return bytes((first, mask | size))
    if size < 65536:
        return struct.pack("!BBH", first, mask | 126, size)
    return struct.pack("!BBQ", first, mask | 127, size)


class Raw:
    """A socket to a listener, and the channel that the listener made of it."""

    def __init__(self, listener: WebSocketListener) -> None:
        host, _, port = listener.url.partition("://")[2].partition("/")[0].rpartition(":")
        self.sock = socket.create_connection((host.strip("[]"), int(port)))
        self.received = b""
        self.failure: OSError | None = None
        waiting.readable(listener)
        self._accepted = listener.accept()

    @property
    def channel(self) -> WebSocketChannel:
        assert self._accepted is not None
        return self._accepted

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()
        if self._accepted is not None:
            self._accepted.close()

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def turn(self) -> None:
        """Lets the listener's end go on with its opening."""
        if self._accepted is None or self.failure is not None:
            return
        try:
            self._accepted.connected()
        except OSError as error:
            self.failure = error
            self._accepted.close()

    def more(self) -> bool:
        """Takes what has come; False at the end."""
        while not select.select([self.sock], [], [], 0.001)[0]:
            self.turn()
        data = self.sock.recv(65536)
        self.received += data
        return data != b""

    def take(self, size: int) -> bytes:
        while len(self.received) < size:
            assert self.more(), f"the end after {len(self.received)} of {size} bytes: {self.received!r}"
        taken, self.received = self.received[:size], self.received[size:]
        return taken

    def answer(self) -> tuple[int, str]:
        """Status and text; of an upgrade only the headers."""
        while b"\r\n\r\n" not in self.received:
            if not self.more():
                return 0, self.received.decode("latin-1")
        status = int(self.received.split(b" ", 2)[1])
        if status == 101:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            return status, head.decode("latin-1")
        while self.more():
            pass
        return status, self.received.decode("latin-1")

    def frame(self) -> tuple[int, bytes]:
        """First byte and payload of the next frame of the listener."""
        first, size = self.take(2)
        if size == 126:
            size = struct.unpack("!H", self.take(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self.take(8))[0]
        return first, self.take(size)
