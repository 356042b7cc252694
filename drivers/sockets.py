"""Channels and listeners over stream sockets, for Unix sockets and TCP alike. Knows no address family."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import warnings

from busway.drivers.channel import READ_SIZE

# Commands in a pipeline give SIGPIPE back its default action: a peer that died must not end them.
SEND_FLAGS = getattr(socket, "MSG_NOSIGNAL", 0)
_sendmsg = getattr(socket.socket, "sendmsg", None)  # Windows has none
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
# Errors of the connection that was waiting, not of the listener (Linux accept(2), "Error handling").
_CLIENT_FAILED = (
    errno.ECONNABORTED,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EPROTO,
)


class SocketChannel:
    """A connected stream socket. See `busway.drivers.channel.Channel`."""

    sort = "stream"
    realm = "localnet"
    mtu = 0

    def __init__(self, sock: socket.socket, address: str, *, via: str, dialled: bool) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._recv = sock.recv
        self._send = sock.send
        self.address = address
        self.via = via
        self.dialled = dialled

    def fileno(self) -> int:
        return self._sock.fileno()

    def connected(self) -> bool:
        return True

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        try:
            return self._recv(size_max)
        except BlockingIOError:
            return None

    def write(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self._send(data, SEND_FLAGS)
        except BlockingIOError:
            return 0

    def write_buffers(self, buffers: list[bytes | memoryview]) -> int:
        """As `write` of all of them joined."""
        if _sendmsg is None:
            return self.write(b"".join(buffers))
        try:
            taken: int = _sendmsg(self._sock, buffers, (), SEND_FLAGS)
            return taken
        except BlockingIOError:
            return 0

    def end_writing(self) -> None:
        """The other side sees the end; what it still sends can be read."""
        with contextlib.suppress(OSError):  # gone already
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        # The peer has to see the end even if some forked child still holds a copy of the descriptor.
        with contextlib.suppress(OSError):  # not connected, or closed already
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def abandon(self) -> None:
        self._sock.close()


class SocketListener:
    """A listening stream socket that survives running out of descriptors. Subclasses make the channels.

    Raises OSError: from __init__ when no descriptor is left.
    """

    def __init__(self, sock: socket.socket, url: str) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._pid = os.getpid()
        self._spare = _open_spare()
        self.url = url
        self.refused = 0

    def __del__(self) -> None:
        """Dropped without close: descriptors that are bare numbers are closed by nobody else."""
        sock = getattr(self, "_sock", None)
        if sock is None or sock.fileno() < 0:
            return
        try:
            text = f"unclosed listener {getattr(self, 'url', '')}"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)
        finally:
            self.abandon()

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        self._sock.close()
        self._close_spare()

    def _next_client(self) -> socket.socket | None:
        """The socket of the next who connected. Raises OSError if the listener itself is broken."""
        try:
            return self._sock.accept()[0]
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _CLIENT_FAILED:
                return None
            if error.errno in _NO_DESCRIPTOR and self._spare >= 0:
                self._turn_away()
                return None
            raise

    def _turn_away(self) -> None:
        """With no descriptor left, let one go, so that it is told at once instead of waiting for ever.

        Else the listener would stay readable, and its loop would spin as long as the shortage lasts.
        """
        self._close_spare()
        with contextlib.suppress(OSError):  # gone meanwhile, or another thread took the descriptor
            self._sock.accept()[0].close()
            self.refused += 1
        with contextlib.suppress(OSError):  # the next shortage is raised
            self._spare = _open_spare()

    def _close_spare(self) -> None:
        spare, self._spare = getattr(self, "_spare", -1), -1
        if spare >= 0:
            os.close(spare)


def _open_spare() -> int:
    return os.open(os.devnull, os.O_RDONLY)
