"""What a driver gives: a channel, which is one open link, and a listener. Knows nothing of what the bytes mean."""

from __future__ import annotations

import contextlib
import socket
from typing import Protocol

READ_SIZE = 262144


class Channel(Protocol):
    """One open link, never blocking.

    `sort` is "stream", "message" or "packet"; `realm` the default of this sort of link; `mtu` in bytes, 0 for none; `address` is
    for people; `via` is the dialler's name for the address ("" at the side that was dialled, "ipc" at both ends of local sockets).
    """

    sort: str
    realm: str
    mtu: int
    address: str
    via: str
    dialled: bool

    def fileno(self) -> int:
        """What to wait on; -1 if the channel pushes instead (`on_readable`, `on_writable`)."""
        ...

    def connected(self) -> bool:
        """False while a connect is under way: wait for writability and ask again. Raises OSError if it failed."""
        ...

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        """What has arrived, None if nothing has, b"" at the end. Raises OSError on failure."""
        ...

    def write(self, data: bytes | memoryview) -> int:
        """How many bytes were taken, 0 if busy. Raises OSError on failure."""
        ...

    def close(self) -> None:
        """End the link. Twice is once."""
        ...

    def abandon(self) -> None:
        """In a forked child: close our copy of the descriptor, without any effect on the parent's link."""
        ...


class SocketChannel:
    """A stream socket as a channel."""

    sort = "stream"
    mtu = 0

    def __init__(self, sock: socket.socket, *, realm: str, address: str, via: str, dialled: bool) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._connected = not dialled
        self.realm = realm
        self.address = address
        self.via = via
        self.dialled = dialled

    def fileno(self) -> int:
        return self._socket.fileno()

    def connected(self) -> bool:
        """See Channel."""
        if not self._connected:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, f"connecting to {self.address} failed: {_reason(code)}")
            try:
                self._socket.getpeername()
            except OSError:
                return False
            self._connected = True
        return True

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        try:
            return self._socket.recv(size_max)
        except BlockingIOError:
            return None

    def write(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        self._socket.close()

    def abandon(self) -> None:
        """See Channel. close(2) alone leaves the parent's connection as it is."""
        self._socket.close()


class SocketListener:
    """A listening stream socket; subclasses say what becomes of who comes."""

    def __init__(self, sock: socket.socket, url: str) -> None:
        sock.setblocking(False)
        self._socket = sock
        self.url = url
        self.refused = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> SocketChannel | None:
        """The next comer, None if nobody waits."""
        while True:
            try:
                sock, address = self._socket.accept()
            except BlockingIOError:
                return None
            except ConnectionAbortedError:
                continue
            channel = self._welcome(sock, address)
            if channel is not None:
                return channel
            self.refused += 1
            with contextlib.suppress(OSError):
                sock.close()

    def _welcome(self, sock: socket.socket, address: object) -> SocketChannel | None:
        raise NotImplementedError

    def close(self) -> None:
        """Stop listening. Twice is once."""
        self._socket.close()

    def abandon(self) -> None:
        """In a forked child: close our copy of the descriptor only."""
        self._socket.close()


def _reason(code: int) -> str:
    import os

    return os.strerror(code)
