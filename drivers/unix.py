"""Unix sockets, and how this machine's nodes of one bus and user find each other without a master.

A node's socket stands in the bus's directory under its node id, beside a lock file whose flock it holds while it lives. The socket is renamed into place
only when it listens, so whoever sees it can connect. Knows nothing of the protocol.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
import struct
from dataclasses import dataclass

from busway.drivers.channel import SocketChannel, SocketListener

try:
    import fcntl
except ImportError:  # Windows has named pipes instead
    fcntl = None  # type: ignore[assignment]

PATH_SIZE_MAX = 100
_BACKLOG = 512
_SOCKET = ".sock"
_LOCK = ".lock"
_TEMPORARY = ".tmp"
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """A socket found in a bus's directory."""

    path: str
    node_id: bytes


def available() -> bool:
    """Whether this platform has what local sockets need."""
    return fcntl is not None and hasattr(socket, "AF_UNIX")


def socket_directory() -> str:
    """Where this user's sockets are: $BUSWAY_DIR, else /run/user/UID/busway, else /tmp/busway-UID. Not created here."""
    override = os.environ.get("BUSWAY_DIR")
    if override:
        return override
    runtime = f"/run/user/{os.getuid()}"
    with contextlib.suppress(OSError):
        if os.stat(runtime).st_uid == os.getuid():
            return f"{runtime}/busway"
    return f"/tmp/busway-{os.getuid()}"


def bus_directory(bus: str) -> str:
    """The directory of one bus, made and checked. Raises PermissionError if it or its parent is not private to us."""
    parent = socket_directory()
    path = os.path.join(parent, hashlib.sha256(bus.encode()).hexdigest()[:16])
    for folder in (parent, path):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        _check_private(folder)
    return path


def _check_private(path: str) -> None:
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise PermissionError(
            f"{path} must be a directory, not a link or file: remove it, or set BUSWAY_DIR"
        )
    if found.st_uid != os.getuid():
        raise PermissionError(
            f"{path} belongs to user {found.st_uid}, not to you ({os.getuid()}): set BUSWAY_DIR to a directory of your own"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(
            f"{path} has mode {stat.S_IMODE(found.st_mode):04o}: others must not look in; run chmod 700 {path}"
        )


def _credentials(sock: socket.socket) -> int:
    """The user id of the process at the other end."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


def same_user(sock: socket.socket, uid: int | None = None) -> bool:
    """Whether the other end of a connected socket runs as this user (or as `uid`)."""
    return _credentials(sock) == (os.getuid() if uid is None else uid)


def _channel(sock: socket.socket, path: str, dialled: bool) -> SocketChannel:
    return SocketChannel(sock, realm="userspace", address=f"ipc://{path}", via="ipc", dialled=dialled)


class UnixListener(SocketListener):
    """A node's own socket. Made by `open`."""

    def __init__(self, sock: socket.socket, path: str, lock: int) -> None:
        super().__init__(sock, f"ipc://{path}")
        self._path = path
        self._lock = lock

    @classmethod
    def open(cls, bus: str, node_id: bytes, *, directory: str | None = None) -> UnixListener:
        """Bind, listen, then appear. Raises PermissionError for an unsafe directory, OSError if this node id is in use or a path too long."""
        folder = bus_directory(bus) if directory is None else directory
        stem = os.path.join(folder, node_id.hex())
        path = stem + _SOCKET
        if len(os.fsencode(path)) > PATH_SIZE_MAX:
            raise OSError(
                f"the socket's path {path} is longer than {PATH_SIZE_MAX} bytes: set BUSWAY_DIR to a shorter directory"
            )
        lock = _take_lock(stem + _LOCK)
        if lock < 0:
            raise OSError(f"node id {node_id.hex()} is in use by another process: give each node its own")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(stem + _TEMPORARY)
            sock.bind(stem + _TEMPORARY)
            sock.listen(_BACKLOG)
            os.rename(stem + _TEMPORARY, path)
        except BaseException:
            sock.close()
            os.close(lock)
            raise
        return cls(sock, path, lock)

    def _welcome(self, sock: socket.socket, address: object) -> SocketChannel | None:
        try:
            return _channel(sock, self._path, False) if same_user(sock) else None
        except OSError:
            return None

    def close(self) -> None:
        """Disappear, then stop listening. Twice is once."""
        if self._lock >= 0:
            _remove(self._path)
            os.close(self._lock)
            self._lock = -1
        super().close()

    def abandon(self) -> None:
        """In a forked child: the socket and its lock are the parent's; only our descriptors go."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        super().abandon()


def peers(bus: str) -> list[Peer]:
    """The sockets in a bus's directory, by node id; ours may be among them."""
    folder = bus_directory(bus)
    found = []
    for name in sorted(os.listdir(folder)):
        if name.endswith(_SOCKET):
            with contextlib.suppress(ValueError):
                found.append(Peer(os.path.join(folder, name), bytes.fromhex(name.removesuffix(_SOCKET))))
    return found


def dial(path: str) -> SocketChannel:
    """Connect to a node's socket.

    Raises BlockingIOError if its backlog is full (try again), ConnectionRefusedError or FileNotFoundError if it is gone, PermissionError if another
    user's process holds it.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(path)
        if not same_user(sock):
            raise PermissionError(f"{path} is held by a process of another user")
        return _channel(sock, path, True)
    except BaseException:
        sock.close()
        raise


def is_dead(path: str) -> bool:
    """Whether the owner of a socket is gone: only then can its lock be taken."""
    lock = _take_lock(path.removesuffix(_SOCKET) + _LOCK, create=False)
    if lock >= 0:
        os.close(lock)
    return lock >= 0 or not os.path.exists(path.removesuffix(_SOCKET) + _LOCK)


def sweep(bus: str) -> int:
    """Remove what dead nodes left behind; returns how many. The lock is held meanwhile, so a node that starts anew under that id is safe."""
    removed = 0
    for peer in peers(bus):
        lock = _take_lock(peer.path.removesuffix(_SOCKET) + _LOCK)
        if lock >= 0:
            _remove(peer.path)
            os.close(lock)
            removed += 1
    return removed


def _take_lock(path: str, create: bool = True) -> int:
    """A descriptor that holds the lock, -1 if somebody else does.

    Its file may have been removed between open and flock: then what we locked is no longer what others see, and we try again.
    """
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
        except FileNotFoundError:
            return -1
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_ino == os.stat(path).st_ino:
                return lock
        except BlockingIOError:
            os.close(lock)
            return -1
        except FileNotFoundError:
            pass
        os.close(lock)


def _remove(path: str) -> None:
    """A socket and its lock file, while the lock is held."""
    for name in (path, path.removesuffix(_SOCKET) + _TEMPORARY, path.removesuffix(_SOCKET) + _LOCK):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
