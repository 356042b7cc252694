"""Links between one user's programs on one machine, which find each other in a directory, without a master.

Knows directories, locks and sockets; not who should connect to whom.

    DIRECTORY/BUS/NODE.lock   held with flock while the node lives; the kernel lets go when its process dies
    DIRECTORY/BUS/NODE.tmp    the socket until it listens: connecting is refused as if it were dead
    DIRECTORY/BUS/NODE.sock   the socket, ready

Whoever creates or removes files of a node holds that node's lock, and the lock file goes last. So a lock
counts only if its file is still the one in the directory: else a sweeper removed it between opening and
locking.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import struct
import sys
import time
from typing import Final, NamedTuple

from busway.drivers.sockets import SocketChannel, SocketListener

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NODES_MAX: Final = 256  # of one bus on one machine: every node has a link to every other one
PATH_SIZE_MAX: Final = 99  # bytes; sun_path has 104 on BSD and macOS, 108 on Linux

_BACKLOG: Final = 512
_NODE_ID_SIZE: Final = 16
_LOCK_TRIES: Final = 40
_LOCK_RETRY_S: Final = 0.005  # a sweeper holds a lock for less than that
# The sticky bit keeps cleaners from taking away what lay in /tmp for days (XDG Base Directory Specification).
_FILE_MODE: Final = 0o1600


class Peer(NamedTuple):
    """A node that has, or had, a socket: `path` to dial and its 16-byte id."""

    path: str
    node_id: bytes


def available() -> bool:
    """Whether this system has Unix sockets, file locks and a way to ask who is at the other end."""
    return (
        fcntl is not None
        and hasattr(socket, "AF_UNIX")
        and sys.platform.startswith(("linux", "darwin", "freebsd"))
    )


def _check_available() -> None:
    if not available():
        raise NotImplementedError("no Unix sockets with file locks on this system: use tcp://127.0.0.1:PORT")


# ---- where the sockets are


def socket_directory() -> str:
    """The directory of this user's sockets, made if need be.

    It is BUSWAY_DIR, else /run/user/UID/busway if /run/user/UID is ours, else /tmp/busway-UID.
    Raises PermissionError if it is not private, ValueError for a BUSWAY_DIR that cannot be, OSError.
    """
    path = _locate()
    _make_private(path)
    return path


def bus_directory(bus: str, *, directory: str | None = None) -> str:
    """The directory of a bus in `directory` or `socket_directory()`, made if need be. Raises as that does."""
    parent = directory or _locate()
    _make_private(parent)
    path = _bus_path(parent, bus)
    _make_private(path)
    return path


def _locate() -> str:
    _check_available()
    chosen = os.environ.get("BUSWAY_DIR", "")
    if chosen and not os.path.isabs(chosen):
        raise ValueError(
            f"BUSWAY_DIR must be an absolute path, not {chosen!r}: programs start in different directories"
        )
    if chosen:
        return os.path.normpath(chosen)
    uid = os.geteuid()
    runtime = f"/run/user/{uid}"
    try:
        found = os.lstat(runtime)
    except OSError:
        return f"/tmp/busway-{uid}"
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == uid
    return f"{runtime}/busway" if ours else f"/tmp/busway-{uid}"


def _bus_path(parent: str, bus: str) -> str:
    return os.path.join(parent, hashlib.sha256(bus.encode()).hexdigest()[:16])


def _make_private(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError as error:
        parent = os.path.dirname(path)
        raise FileNotFoundError(
            f"{parent} does not exist: make it, or set BUSWAY_DIR to another directory"
        ) from error
    _check_private(path)


def _check_private(path: str) -> None:
    """Raises PermissionError, with a way out, if others could put sockets there; FileNotFoundError."""
    found = os.lstat(path)
    uid = os.geteuid()
    elsewhere = "or set BUSWAY_DIR to a directory of your own"
    if stat.S_ISLNK(found.st_mode):
        raise PermissionError(f"{path} is a symbolic link to {os.readlink(path)!r}: remove it, {elsewhere}")
    if not stat.S_ISDIR(found.st_mode):
        raise PermissionError(f"{path} is not a directory: remove it, {elsewhere}")
    if found.st_uid != uid:
        raise PermissionError(
            f"{path} belongs to user {found.st_uid} and you are user {uid}: have it removed, {elsewhere}"
        )
    if stat.S_IMODE(found.st_mode) & 0o777 != 0o700:
        mode = stat.S_IMODE(found.st_mode)
        raise PermissionError(
            f"{path} has mode {mode:04o}, expected 0700: run `chmod 700 {path}`, {elsewhere}"
        )


def _check_length(path: str) -> None:
    size = len(os.fsencode(path))
    if size > PATH_SIZE_MAX:
        raise ValueError(
            f"the socket's path has {size} bytes and may have {PATH_SIZE_MAX}:"
            f" set BUSWAY_DIR to a shorter directory ({path})"
        )


# ---- who is there


def peers(bus: str, *, directory: str | None = None) -> list[Peer]:
    """The nodes with a socket on this bus, dead ones and the caller's own included, sorted by node id.

    Makes nothing: without a directory there is nobody. Raises PermissionError, ValueError, OSError as
    `bus_directory` does.
    """
    return [Peer(path + ".sock", node_id) for path, node_id in _stems(bus, directory, ".sock")]


def is_dead(path: str) -> bool:
    """Whether the node with this socket is dead: its lock is there and can be taken.

    Without a lock file nobody can tell: someone cleared it away, and its owner may live. Raises OSError.
    """
    try:
        lock = _open_file(path.removesuffix(".sock") + ".lock")
    except FileNotFoundError:
        return False
    try:
        return _try_lock(lock, exclusive=False)
    finally:
        os.close(lock)


def sweep(bus: str, *, directory: str | None = None) -> list[Peer]:
    """Removes the files of dead nodes, and of nothing else; returns whose. Many programs may sweep at once.

    Raises PermissionError, ValueError, OSError as `bus_directory` does.
    """
    stems = _stems(bus, directory, ".lock")
    return [Peer(stem + ".sock", node_id) for stem, node_id in stems if _sweep_one(stem)]


def _sweep_one(stem: str) -> bool:
    try:
        lock = _open_file(stem + ".lock")
    except FileNotFoundError:
        return False
    try:
        if not _try_lock(lock, exclusive=True) or not _is_at(lock, stem + ".lock"):
            return False
        return _leave(stem)
    finally:
        os.close(lock)


def _stems(bus: str, directory: str | None, suffix: str) -> list[tuple[str, bytes]]:
    parent = directory or _locate()
    path = _bus_path(parent, bus)
    try:
        _check_private(parent)
        _check_private(path)
        names = sorted(os.listdir(path))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        node_id = _node_id_of(name, suffix)
        if node_id is not None:
            found.append((os.path.join(path, name.removesuffix(suffix)), node_id))
    return found


def _node_id_of(name: str, suffix: str) -> bytes | None:
    if not name.endswith(suffix) or len(name) != 2 * _NODE_ID_SIZE + len(suffix):
        return None
    try:
        return bytes.fromhex(name.removesuffix(suffix))
    except ValueError:
        return None


# ---- locks: flock belongs to the open file, so copies in forked children are closed, never unlocked


def _open_file(path: str, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)


def _try_lock(lock: int, *, exclusive: bool) -> bool:
    try:
        fcntl.flock(lock, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(lock: int, path: str) -> bool:
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(lock), there)


def _take_lock(bus: str, node_id: bytes, directory: str | None) -> tuple[int, str]:
    """The held lock's descriptor and the stem of the node's files. FileExistsError: the node runs."""
    parent = directory or _locate()
    stem = os.path.join(_bus_path(parent, bus), node_id.hex())
    _check_length(stem + ".sock")
    _make_private(parent)
    for attempt in range(_LOCK_TRIES):
        if attempt:
            time.sleep(_LOCK_RETRY_S)
        try:
            _make_private(os.path.dirname(stem))
            lock = _open_file(stem + ".lock", os.O_CREAT)
        except FileNotFoundError:
            continue  # the last node of the bus left, and took the directory along
        if _try_lock(lock, exclusive=True) and _is_at(lock, stem + ".lock"):
            return lock, stem
        os.close(lock)
    raise FileExistsError(
        f"node {node_id.hex()} is running already on bus {bus!r}: end it, or start with another node id"
    )


def _leave(stem: str) -> bool:
    """With the lock held, removes a node's files; returns whether all went.

    The lock file goes last, for without it another may own these names; and not at all if a socket stays,
    for then nobody could tell that it is dead.
    """
    for suffix in (".tmp", ".sock", ".lock"):
        try:
            os.unlink(stem + suffix)
        except FileNotFoundError:
            pass
        except OSError:
            return False  # something else has this name; it must not keep others from joining
    try:
        os.rmdir(os.path.dirname(stem))
    except OSError:
        pass  # others are there
    return True


# ---- whose process is at the other end


def peer_uid(sock: socket.socket) -> int:
    """The user id that the process at the other end had when it connected, or listened. Raises OSError."""
    if hasattr(socket, "SO_PEERCRED"):
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack("=iII", credentials)[1])  # struct ucred: pid, uid, gid
    # macOS and FreeBSD, unix(4): level 0, LOCAL_PEERCRED; struct xucred: version, uid, groups
    return int(struct.unpack_from("=II", sock.getsockopt(0, 1, 128))[1])


def _objection(sock: socket.socket, uid: int) -> str:
    """Why the process at the other end is refused; "" if it is not."""
    try:
        theirs = peer_uid(sock)
    except OSError as error:
        return f"the system does not say whose process is at the other end ({error})"
    return "" if theirs == uid else f"the process at the other end is of user {theirs}, expected user {uid}"


# ---- channels and listeners


class UnixChannel(SocketChannel):
    """A connected Unix socket between two processes of this user."""

    __slots__ = ()

    realm = "userspace"

    def __init__(self, sock: socket.socket, address: str, *, dialled: bool) -> None:
        super().__init__(sock, address, via="ipc", dialled=dialled)


class UnixListener(SocketListener):
    """A node's socket in the directory of its bus, from `open()`."""

    __slots__ = ("_lock", "_stem", "_uid")

    def __init__(self, sock: socket.socket, lock: int, stem: str) -> None:
        super().__init__(sock, f"ipc://{stem}.sock")
        self._lock = lock
        self._stem = stem
        self._uid = os.geteuid()

    @classmethod
    def open(cls, bus: str, node_id: bytes, *, directory: str | None = None) -> UnixListener:
        """Makes the node's socket and puts it where others find it. List `peers()` only after this: of two
        nodes that start together at least one then sees the other.

        Args: `node_id` 16 bytes; `directory` instead of `socket_directory()`.
        Raises FileExistsError if that node is running, PermissionError if the directory is not private,
        ValueError for a node id or a path of the wrong length, OSError, also when the bus has NODES_MAX nodes
        already.
        """
        if len(node_id) != _NODE_ID_SIZE:
            raise ValueError(f"a node id has {_NODE_ID_SIZE} bytes, not {len(node_id)}")
        _check_available()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            lock, stem = _take_lock(bus, node_id, directory)
            try:
                _check_room(bus, directory)
                _publish(sock, lock, stem)
                return cls(sock, lock, stem)
            except BaseException:
                _leave(stem)
                os.close(lock)
                raise
        except BaseException:
            sock.close()
            raise

    @property
    def path(self) -> str:
        """The socket's path, for `dial` and `is_dead`."""
        return self._stem + ".sock"

    def accept(self) -> UnixChannel | None:
        sock = self._next_comer()
        if sock is None:
            return None
        if _objection(sock, self._uid):
            self.refused += 1
            sock.close()
            return None
        return UnixChannel(sock, self.url, dialled=False)

    def close(self) -> None:
        # Not in a forked child, and not if the files were cleared away and are another's by now.
        if self._lock >= 0 and self._pid == os.getpid() and _is_at(self._lock, self._stem + ".lock"):
            _leave(self._stem)
        self.abandon()

    def abandon(self) -> None:
        super().abandon()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


Listener = UnixListener


def _check_room(bus: str, directory: str | None) -> None:
    """Raises OSError if NODES_MAX others live already. The dead are swept only when it matters."""
    if len(peers(bus, directory=directory)) < NODES_MAX:
        return
    sweep(bus, directory=directory)
    if len(peers(bus, directory=directory)) >= NODES_MAX:
        raise OSError(
            errno.EUSERS,
            f"bus {bus!r} has {NODES_MAX} nodes on this machine, and no more can join: use another bus name",
        )


def _publish(sock: socket.socket, lock: int, stem: str) -> None:
    """With the lock held. The name appears only once connecting to it succeeds."""
    os.fchmod(lock, _FILE_MODE)
    try:
        os.unlink(stem + ".tmp")  # of a predecessor that was killed right here
    except FileNotFoundError:
        pass
    sock.bind(stem + ".tmp")
    os.chmod(stem + ".tmp", _FILE_MODE)
    sock.listen(_BACKLOG)
    os.rename(stem + ".tmp", stem + ".sock")


def candidates(url: str) -> list[str]:
    """The socket's path of ipc:///path. Raises ValueError for anything else."""
    path = url.removeprefix("ipc://")
    if path == url or not path.startswith("/"):
        raise ValueError(f"expected ipc:///path of a node's socket, not {url!r}")
    return [path]


def dial(path: str, url: str = "", *, token: str | None = None) -> UnixChannel:
    """Connects to a node's socket; there is nothing to wait for. `url` and `token` are not needed here.

    Raises BlockingIOError if its queue of comers is full (try again soon), ConnectionRefusedError or
    FileNotFoundError if it is gone, PermissionError if the process there is another user's, ValueError for a
    path that is too long, OSError.
    """
    _check_available()
    _check_length(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(path)
        objection = _objection(sock, os.geteuid())
        if objection:
            raise PermissionError(f"{path}: {objection}")
        return UnixChannel(sock, f"ipc://{path}", dialled=True)
    except BaseException:
        sock.close()
        raise
