"""Carriers of a link: TCP and Unix sockets, WebSocket, a serial line (sections 12 and 13).

A carrier has `fileno()`, `receive(now)`, which gives bytes of the stream and raises EOFError at its end,
`flush(out, now)`, which writes what it can of a bytearray, `pause(now)`, the seconds until it wants to be
flushed again, and `realm`, `via`.
"""

from __future__ import annotations

import os
import socket
import termios
import tty
import urllib.parse
from pathlib import Path
from typing import Final

import h11
import wsproto
from wsproto.events import BytesMessage, CloseConnection, Ping
from wsproto.utilities import generate_accept_token, generate_nonce

from tests.stranger import places
from tests.stranger.packets import PacketSession, fresh_nonce

_FOREVER: Final = 3600.0


class Refused(Exception):
    """The other side does not let us in, and says why."""


class SocketCarrier:
    """The bytes of section 2 as they are."""

    keepalive_ms = 5000

    def __init__(self, sock: socket.socket, realm: str, via: str, dialled: bool = True) -> None:
        self.sock = sock
        self.realm = realm
        self.via = via
        self.dialled = dialled
        self.lossy: list[bytes] = []

    def fileno(self) -> int:
        return self.sock.fileno()

    def receive(self, now: int) -> bytes:
        try:
            data = self.sock.recv(65536)
        except ConnectionError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        return data

    def flush(self, out: bytearray, now: int) -> None:
        self.sock.sendall(out)
        out.clear()

    def pause(self, now: int) -> float:
        return _FOREVER

    def close(self) -> None:
        self.sock.close()


class UnixCarrier(SocketCarrier):
    keepalive_ms = 0

    def __init__(self, sock: socket.socket, dialled: bool = True) -> None:
        super().__init__(sock, "USERSPACE", "ipc", dialled)


def tcp(url: str) -> SocketCarrier:
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname
    sock = socket.create_connection((parts.hostname, parts.port or 7660), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(None)
    return SocketCarrier(sock, "LOCALNET", url)


def unix(path: Path) -> UnixCarrier:
    return UnixCarrier(places.dial(path))


class WebSocketCarrier(SocketCarrier):
    """The bytes of section 2 in binary messages, whose ends mean nothing."""

    def __init__(self, sock: socket.socket, via: str, trailing: bytes) -> None:
        super().__init__(sock, "GLOBAL", via)
        self.frames = wsproto.connection.Connection(wsproto.ConnectionType.CLIENT, trailing_data=trailing)
        self._first = trailing
        self._ended = ""  # why nothing more comes: what came before it is read first

    def receive(self, now: int) -> bytes:
        if self._ended:
            raise EOFError(self._ended)
        if self._first:
            self._first = b""
            data = None
        else:
            data = super().receive(now)
        found = b""
        if data is not None:
            self.frames.receive_data(data)
        for event in self.frames.events():
            if isinstance(event, BytesMessage):
                found += bytes(event.data)
            elif isinstance(event, Ping):
                self.sock.sendall(self.frames.send(event.response()))
            elif isinstance(event, CloseConnection):
                self._ended = f"closed with {event.code}: {event.reason}"
        if self._ended and not found:
            raise EOFError(self._ended)
        return found

    def flush(self, out: bytearray, now: int) -> None:
        if out and not self._ended:
            self.sock.sendall(self.frames.send(BytesMessage(data=bytes(out))))
        out.clear()

    def close(self) -> None:
        try:
            self.sock.sendall(self.frames.send(CloseConnection(code=1000)))
        except (OSError, wsproto.utilities.LocalProtocolError):
            pass  # the other side has gone
        super().close()


def websocket(url: str) -> WebSocketCarrier:
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname
    sock = socket.create_connection((parts.hostname, parts.port or 80), 10)
    try:
        key = generate_nonce()
        headers = [
            ("Host", parts.netloc),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", key.decode()),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Protocol", "busway.2"),
        ]
        return WebSocketCarrier(sock, url, _upgrade(sock, key, parts.path or "/", headers))
    except BaseException:
        sock.close()
        raise


def _upgrade(sock: socket.socket, key: bytes, target: str, headers: list[tuple[str, str]]) -> bytes:
    """The bytes that came behind the answer."""
    http = h11.Connection(h11.CLIENT)
    sock.sendall(http.send(h11.Request(method="GET", target=target, headers=headers)) or b"")
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(sock.recv(4096))
    if not isinstance(event, h11.InformationalResponse) or event.status_code != 101:
        raise Refused(getattr(event, "status_code", 0))
    told = dict(event.headers)
    assert told[b"sec-websocket-accept"] == generate_accept_token(key)
    assert told[b"sec-websocket-protocol"] == b"busway.2"
    assert b"sec-websocket-extensions" not in told
    sock.settimeout(None)
    return http.trailing_data[0]


class SerialCarrier:
    """A packet link on a line of bytes: a terminal."""

    keepalive_ms = 5000
    realm = "LOCALNET"

    def __init__(self, fd: int, now: int, *, via: str = "", dialled: bool = False) -> None:
        """`fd` of a terminal. A board is dialled, and gives no `via`."""
        os.set_blocking(fd, False)
        tty.setraw(fd, termios.TCSANOW)
        self.fd = fd
        self.dialled = dialled
        self.via = via
        self.packets = PacketSession(fresh_nonce(), 0, now)
        self._line = b""

    @property
    def lossy(self) -> list[bytes]:
        return self.packets.lossy

    def fileno(self) -> int:
        return self.fd

    def receive(self, now: int) -> bytes:
        try:
            found = self.packets.receive(os.read(self.fd, 4096), now)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise EOFError from error
        if self.packets.restarted:
            raise EOFError("the other side has started anew")
        return found

    def flush(self, out: bytearray, now: int) -> None:
        def take(size: int) -> bytes:
            taken = bytes(out[:size])
            del out[:size]
            return taken

        if not self._line:
            self._line = b"".join(self.packets.write(take, now))
        try:
            self._line = self._line[os.write(self.fd, self._line) :]
        except BlockingIOError:
            pass

    def pause(self, now: int) -> float:
        return 0.005

    def close(self) -> None:
        os.close(self.fd)


Carrier = SocketCarrier | SerialCarrier
