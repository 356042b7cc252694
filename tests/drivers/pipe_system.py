"""A system with named pipes where there is no Windows: Unix sockets in a directory."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from pathlib import Path


class Place:
    """A handle: a place to connect at, then the connection."""

    def __init__(self, sock: socket.socket | None = None, listener: socket.socket | None = None) -> None:
        self.sock = sock
        self.listener = listener
        self.cancelled = threading.Event()
        self.wake, self.alarm = socket.socketpair()


class UnixSystem:
    """See `busway.drivers.named_pipe.System`. `user` is who asks, `strangers` the names that another owns."""

    def __init__(self, directory: Path, user: str = "S-1-5-21-1") -> None:
        self.directory = directory
        self.me = user
        self.owners: dict[str, str] = {}
        self.opened = 0
        self.closed = 0
        self._listeners: dict[str, tuple[socket.socket, list[Place]]] = {}
        self._lock = threading.Lock()

    def user(self) -> str:
        return self.me

    def names(self) -> list[str]:
        return [*os.listdir(self.directory), "InitShutdown", "busway-mojo.1"]

    def create(self, name: str, *, first: bool) -> Place:
        with self._lock:
            if first:
                listener = socket.socket(socket.AF_UNIX)
                try:
                    listener.bind(str(self.directory / name))
                except OSError as error:
                    listener.close()
                    if error.errno == errno.EADDRINUSE:
                        raise FileExistsError(errno.EEXIST, "there is one") from None
                    raise
                listener.listen(8)
                self._listeners[name] = (listener, [])
            listener, places = self._listeners[name]
            places.append(Place(listener=listener))
            self.opened += 1
            return places[-1]

    def wait_for_client(self, handle: Place) -> None:
        assert handle.listener is not None
        ready = select.select([handle.listener, handle.wake], [], [])[0]
        if handle.wake in ready:
            raise OSError(errno.ECANCELED, "cancelled")
        handle.sock = handle.listener.accept()[0]

    def open(self, name: str) -> Place:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(str(self.directory / name))
        except BaseException:
            sock.close()
            raise
        self.opened += 1
        return Place(sock)

    def peer_user(self, handle: Place, *, server: bool) -> str:
        return self.owners.get("client" if server else "server", self.me)

    def read(self, handle: Place, size: int) -> bytes:
        assert handle.sock is not None
        ready = select.select([handle.sock, handle.wake], [], [])[0]
        if handle.wake in ready:
            raise OSError(errno.ECANCELED, "cancelled")
        try:
            return handle.sock.recv(size)
        except ConnectionResetError:  # the other end closed with bytes unread; pipes tell only that it closed
            return handle.sock.recv(size)

    def write(self, handle: Place, data: bytes) -> int:
        assert handle.sock is not None
        while True:
            readable, writable, _ = select.select([handle.wake], [handle.sock], [])
            if readable:
                raise OSError(errno.ECANCELED, "cancelled")
            if writable:
                return handle.sock.send(data[:4096], socket.MSG_DONTWAIT)

    def cancel(self, handle: Place) -> None:
        if not handle.cancelled.is_set():
            handle.cancelled.set()
            try:
                handle.alarm.send(b"\0")
            except OSError:
                pass  # closed

    def close(self, handle: Place) -> None:
        self.closed += 1
        if handle.sock is not None:
            handle.sock.close()
        handle.wake.close()
        handle.alarm.close()
        with self._lock:
            for name, (listener, places) in list(self._listeners.items()):
                if handle in places:
                    places.remove(handle)
                    if not places:  # the last place of a name takes the name along
                        listener.close()
                        (self.directory / name).unlink(missing_ok=True)  # the test's folder may be gone
                        del self._listeners[name]
