"""Links between one user's programs on one machine, which find each other in a directory, without a master.

Knows locks and sockets; not who should connect to whom, and of the directories what unix_places.py says. A
node's own files are in one of them, others' in any.

    DIRECTORY/BUS/NODE.lock   held with flock while the node lives; the kernel lets go when its process dies
    DIRECTORY/BUS/NODE.tmp    the socket until it listens: connecting is refused as if it were dead
    DIRECTORY/BUS/NODE.sock   the socket, ready

Whoever creates or removes files of a node holds that node's lock, and the lock file goes last. So a lock
counts only if its file is still the one in the directory: else a sweeper removed it between opening and
locking.

Whoever clears the directory away (the end of a login session, a cleaner of /tmp) hides the programs in it
from those that come later. So a program looks now and then whether its files are still there, and puts them
back: with the lock it holds, or with a new one, in the directory that is then the right one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from busway.drivers import descriptors, unix_places
from busway.drivers.channel import READ_SIZE
from busway.drivers.descriptors import CLOEXEC, CUT, SPACE, Descriptor, owned
from busway.drivers.sockets import SEND_FLAGS, SocketChannel, SocketListener
from busway.drivers.unix_places import bus_path, check_private, make_private, raise_with_way_out

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NODES_MAX: Final = 256  # of one bus on one machine: every node has a link to every other one
PATH_SIZE_MAX: Final = 99  # bytes; sun_path has 104 on BSD and macOS, 108 on Linux

_BACKLOG: Final = 512
# What the system keeps of one that writes faster than the other side reads, bytes: with its own 208 KiB both
# take four turns to a message of 1 MiB, with this one. No more: what lies there can be passed by nothing.
_SEND_SIZE: Final = 524288
NODE_ID_SIZE: Final = 16
_MAKING_S: Final = 5.0  # a lock without a socket is no dead node's for so long
_LOCK_TRIES: Final = 40
_LOCK_RETRY_S: Final = 0.005  # a sweeper holds a lock for less than that
# The sticky bit keeps cleaners from taking away what lay in /tmp for days (XDG Base Directory Specification).
_FILE_MODE: Final = 0o1600


class Peer(NamedTuple):
    """A node that has, or had, a socket: `path` to dial and its 16-byte id."""

    path: str
    node_id: bytes


def check_node_id(node_id: bytes) -> None:
    """Raises ValueError."""
    if len(node_id) != NODE_ID_SIZE:
        raise ValueError(f"a node id has {NODE_ID_SIZE} bytes, not {len(node_id)}")


def running_already(bus: str, node_id: bytes) -> FileExistsError:
    """The error of a second program with this node id."""
    text = f"node {node_id.hex()} is running already on bus {bus!r}: end it, or start with another node id"
    return FileExistsError(text)


def full(bus: str) -> OSError:
    """The error of one node more than NODES_MAX."""
    text = f"bus {bus!r} has {NODES_MAX} nodes on this machine, and no more can join: use another bus name"
    return OSError(errno.EUSERS, text)


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
    """The directory where this program's socket goes, made if need be: the first of `unix_places.places()`.

    Raises PermissionError if it is not private, ValueError for a BUSWAY_DIR that cannot be, OSError.
    """
    path = directories()[0]
    make_private(path)
    return path


def directories() -> list[str]:
    """All directories that are looked into, whether they are there or not. Raises ValueError."""
    _check_available()
    return unix_places.places()


def bus_directory(bus: str) -> str:
    """The directory of a bus in `socket_directory()`, made if need be. Raises as that does."""
    path = bus_path(socket_directory(), bus)
    make_private(path)
    return path


def _check_length(path: str) -> None:
    size = len(os.fsencode(path))
    if size > PATH_SIZE_MAX:
        raise ValueError(
            f"the socket's path has {size} bytes and may have {PATH_SIZE_MAX}:"
            f" set BUSWAY_DIR to a shorter directory ({path})"
        )


# ---- who is there


def peers(bus: str) -> list[Peer]:
    """The nodes with a socket on this bus, dead ones and the caller's own included, sorted by node id.

    Makes nothing: without a directory there is nobody. Raises PermissionError, ValueError, OSError as
    `bus_directory` does.
    """
    return [Peer(path + ".sock", node_id) for path, node_id in _stems(bus, ".sock")]


def is_dead(path: str) -> bool:
    """Whether the node with this socket is dead: its lock is there and can be taken.

    Without a lock file nobody can tell: someone cleared it away, and its owner may live. Raises OSError.
    """
    try:
        return not _holds(path.removesuffix(".sock"))
    except FileNotFoundError:
        return False


def living(path: str) -> list[str]:
    """The sockets in a bus's directory whose owners hold their locks. Raises OSError."""
    stems = [os.path.join(path, name[:-5]) for name in sorted(os.listdir(path)) if _node_id_of(name, ".lock")]
    return [stem + ".sock" for stem in stems if _is_held(stem)]


def _is_held(stem: str) -> bool:
    """Whether a living program is seen to hold the lock of these files."""
    try:
        return _holds(stem)
    except OSError:
        return False


def _holds(stem: str) -> bool:
    """Whether a living program holds the lock of these files. Raises OSError if there is none to be seen."""
    lock = _open_file(stem + ".lock")
    try:
        return not _try_lock(lock, exclusive=False)
    finally:
        os.close(lock)


def sweep(bus: str) -> list[Peer]:
    """Removes the files of dead nodes, and of nothing else; returns whose. Many programs may sweep at once.

    Raises PermissionError, ValueError, OSError as `bus_directory` does.
    """
    return [Peer(stem + ".sock", node_id) for stem, node_id in _stems(bus, ".lock") if _sweep_one(stem)]


def _sweep_one(stem: str) -> bool:
    try:
        lock = _open_file(stem + ".lock")
    except OSError:
        return False  # gone; or no lock that we could hold, and it must not keep others from joining
    try:
        if _is_being_made(lock, stem):
            return False
        if not _try_lock(lock, exclusive=True) or not _is_at(lock, stem + ".lock"):
            return False
        return _leave(stem)
    finally:
        os.close(lock)


def _is_being_made(lock: int, stem: str) -> bool:
    """Whether a node may be about to take this lock of its own: hundreds that join would take it away from
    under each other.
    """
    age = time.time() - os.fstat(lock).st_mtime
    return 0 <= age < _MAKING_S and not os.path.lexists(stem + ".sock")


def _stems(bus: str, suffix: str) -> list[tuple[str, bytes]]:
    first, *others = directories()
    found = _stems_in(first, bus, suffix)
    for parent in others:
        with contextlib.suppress(OSError):  # not private, so nobody of ours is there
            found += _stems_in(parent, bus, suffix)
    return sorted(found, key=lambda each: each[1])


def _stems_in(parent: str, bus: str, suffix: str) -> list[tuple[str, bytes]]:
    path = bus_path(parent, bus)
    try:
        check_private(parent)
        check_private(path)
        names = os.listdir(path)
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        node_id = _node_id_of(name, suffix)
        if node_id is not None:
            found.append((os.path.join(path, name.removesuffix(suffix)), node_id))
    return found


def _node_id_of(name: str, suffix: str) -> bytes | None:
    if not name.endswith(suffix) or len(name) != 2 * NODE_ID_SIZE + len(suffix):
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
    except OSError:
        return False  # cleared away, or not to be seen any more
    return os.path.samestat(os.fstat(lock), there)


def _take_lock(bus: str, node_id: bytes) -> tuple[int, str]:
    """The held lock's descriptor and the stem of the node's files. FileExistsError: the node runs."""
    parent, *others = directories()
    stem = os.path.join(bus_path(parent, bus), node_id.hex())
    _check_length(stem + ".sock")
    for attempt in range(_LOCK_TRIES):
        if attempt:
            time.sleep(_LOCK_RETRY_S)
        make_private(parent)
        try:
            make_private(os.path.dirname(stem))
            lock = _open_file(stem + ".lock", os.O_CREAT)
        except FileNotFoundError:
            continue  # the last node of the bus left, and took the directory along
        if _try_lock(lock, exclusive=True) and _is_at(lock, stem + ".lock"):
            if not any(_runs_in(other, bus, node_id) for other in others):
                return lock, stem
            _leave(stem)
        os.close(lock)
    raise running_already(bus, node_id)


def _runs_in(parent: str, bus: str, node_id: bytes) -> bool:
    """Whether a node holds its lock in this place. One that is not private is not asked."""
    try:
        check_private(parent)
    except OSError:
        return False
    return _is_held(os.path.join(bus_path(parent, bus), node_id.hex()))


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
    with contextlib.suppress(OSError):  # others are there
        os.rmdir(os.path.dirname(stem))
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
    """The reason why the process at the other end is refused; "" if it is not."""
    try:
        theirs = peer_uid(sock)
    except OSError as error:
        return f"the system does not say whose process is at the other end ({error})"
    return "" if theirs == uid else f"the process at the other end is of user {theirs}, expected user {uid}"


# ---- channels and listeners


class UnixChannel(SocketChannel):
    """A connected Unix socket between two processes of this user. See `channel.DescriptorChannel`."""

    realm = "userspace"
    hands_over = descriptors.are_handed_over()

    def __init__(self, sock: socket.socket, address: str, *, dialled: bool) -> None:
        super().__init__(sock, address, via="ipc", dialled=dialled)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_SIZE)
        self.resting = 0
        self.handed_over = 0
        self._recvmsg = getattr(sock, "recvmsg", None)  # Windows has none
        self._came: Callable[[Sequence[Descriptor]], object] | None = None
        self._given: Callable[[], Sequence[Descriptor]] | None = None
        self._kept: Sequence[Descriptor] = ()  # until the byte that they belong to has left

    def carry(
        self, came: Callable[[Sequence[Descriptor]], object], given: Callable[[], Sequence[Descriptor]]
    ) -> None:
        self._came, self._given = came, given

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        if self._came is None or self._recvmsg is None:
            return SocketChannel.read(self, size_max)
        try:
            data, ancillary, flags, _ = self._recvmsg(size_max, SPACE, CLOEXEC)
        except BlockingIOError:
            return None
        if ancillary or flags & CUT:
            self._came(owned(ancillary, flags))
        return data  # type: ignore[no-any-return]

    def write(self, data: bytes | bytearray | memoryview) -> int:
        if self._given is not None and not self._kept:
            self._kept = self._given() or ()  # never a list that somebody goes on filling
        if self._kept:
            return self._hand_over([data])
        try:
            return self._send(data, SEND_FLAGS)
        except BlockingIOError:
            return 0

    def write_buffers(self, buffers: list[bytes | memoryview]) -> int:
        if self._given is not None and not self._kept:
            self._kept = self._given() or ()
        if self._kept:
            return self._hand_over(buffers)
        return SocketChannel.write_buffers(self, buffers)

    def _hand_over(self, buffers: Sequence[Any]) -> int:
        taken = descriptors.send(self._sock, buffers, self._kept)
        self.resting = self.resting + 1 if taken == descriptors.TOO_MANY else 0
        if taken > 0:
            self._kept = ()
            self.handed_over += 1
        return max(0, taken)

    def unread(self) -> int:
        return descriptors.unread(self._sock)

    def close(self) -> None:
        super().close()
        self._came = self._given = None
        self._kept = ()

    @property
    def uid(self) -> int:
        """The user at the other end. Raises OSError."""
        return peer_uid(self._sock)


class _Files(NamedTuple):
    """The files that a node has in the directory of its bus, and holds open."""

    sock: socket.socket
    lock: int
    stem: str
    inode: tuple[int, int]  # of the socket's file: device and number


class UnixListener(SocketListener):
    """A node's socket in the directory of its bus, from `open()`."""

    def __init__(self, files: _Files, bus: str, node_id: bytes) -> None:
        super().__init__(files.sock, f"ipc://{files.stem}.sock")
        _, self._lock, self._stem, self._inode = files
        self._incoming: deque[socket.socket] = deque()  # at a socket that was put back since
        self._bus = bus
        self._node_id = node_id
        self._uid = os.geteuid()

    @classmethod
    def open(cls, bus: str, node_id: bytes) -> UnixListener:
        """Makes the node's socket and puts it where others find it. List `peers()` only after this: of two
        nodes that start together at least one then sees the other.

        Args: `node_id` 16 bytes.
        Raises FileExistsError if that node is running, PermissionError if the directory is not private,
        ValueError for a node id or a path of the wrong length, OSError, also when the bus has NODES_MAX nodes
        already.
        """
        check_node_id(node_id)
        files = _make_files(bus, node_id)
        try:
            return cls(files, bus, node_id)
        except BaseException:
            files.sock.close()
            _leave(files.stem)
            os.close(files.lock)
            raise

    def in_place(self) -> bool:
        """Whether others still find the socket, and can tell that its owner lives. Cheap: two lstat calls.

        So, too, where there is nothing to look after: once it is closed, and in a forked child.
        """
        if self._lock < 0 or self._pid != os.getpid():
            return True
        return _is_at(self._lock, self._stem + ".lock") and _inode(self._stem + ".sock") == self._inode

    def restore(self) -> None:
        """Puts the socket and its lock back where others find them, after `in_place()` was false.

        `fileno()` is another one afterwards, and `url` may be; call `accept()` then, for who had come to the
        former socket is kept. Others may have joined meanwhile without finding us: list `peers()` after this.
        Raises as `open` does, FileExistsError if another has taken this node's place; then nothing changes,
        and it may be tried again.
        """
        if os.geteuid() != self._uid:
            raise PermissionError(f"{self.path} was user {self._uid}'s, and this is user {os.geteuid()} now")
        lock = self._lock if _is_at(self._lock, self._stem + ".lock") else -1
        files = _make_files(self._bus, self._node_id, lock, self._stem)
        while (client := self._next_client()) is not None:
            self._incoming.append(client)
        self._sock.close()
        if files.lock != self._lock:
            os.close(self._lock)
        self._sock, self._lock, self._stem, self._inode = files
        self._sock.setblocking(False)
        self.url = f"ipc://{self.path}"

    @property
    def path(self) -> str:
        """The socket's path, for `dial` and `is_dead`."""
        return self._stem + ".sock"

    def accept(self) -> UnixChannel | None:
        sock = self._incoming.popleft() if self._incoming else self._next_client()
        if sock is None:
            return None
        if _objection(sock, self._uid):
            self.refused += 1
            sock.close()
            return None
        return UnixChannel(sock, self.url, dialled=False)

    def close(self) -> None:
        """Takes the files away and closes everything. Raises OSError if a file stays, everything closed all
        the same: it is then swept by who comes later and may.
        """
        try:
            if self._lock >= 0 and self._pid == os.getpid():  # not in a forked child
                self._remove()
        finally:
            self.abandon()

    def _remove(self) -> None:
        """Not if the files were cleared away, and what is there now is another's."""
        try:
            there = os.lstat(self._stem + ".lock")
        except (FileNotFoundError, NotADirectoryError):  # other errors are told: files may be left there
            return
        if os.path.samestat(os.fstat(self._lock), there) and not _leave(self._stem):
            raise OSError(errno.EACCES, f"{self.path} cannot be removed: a later program sweeps it")

    def abandon(self) -> None:
        super().abandon()
        while self._incoming:
            self._incoming.pop().close()
        lock, self._lock = getattr(self, "_lock", -1), -1
        if lock >= 0:
            os.close(lock)


Listener = UnixListener


def _make_files(bus: str, node_id: bytes, lock: int = -1, stem: str = "") -> _Files:
    """Publishes a socket; takes the node's lock for it, if `lock` is not one that is held, of `stem`."""
    _check_available()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if lock >= 0:
            return _Files(sock, lock, stem, _publish(sock, lock, stem))
        return _make_anew(sock, bus, node_id)
    except OSError as error:
        sock.close()
        raise_with_way_out(error, stem or directories()[0])
    except BaseException:
        sock.close()
        raise


def _make_anew(sock: socket.socket, bus: str, node_id: bytes) -> _Files:
    lock, stem = _take_lock(bus, node_id)
    try:
        _check_room(bus)
        return _Files(sock, lock, stem, _publish(sock, lock, stem))
    except BaseException:
        _leave(stem)
        os.close(lock)
        raise


def _check_room(bus: str) -> None:
    """Raises OSError if NODES_MAX others live already. The dead are swept only when it matters."""
    if len(peers(bus)) < NODES_MAX:
        return
    sweep(bus)
    if len(peers(bus)) >= NODES_MAX:
        raise full(bus)


def _publish(sock: socket.socket, lock: int, stem: str) -> tuple[int, int]:
    """With the lock held. The name appears only once connecting to it succeeds. Returns the file's inode."""
    os.fchmod(lock, _FILE_MODE)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(stem + ".tmp")  # of a predecessor that was killed right here
    sock.bind(stem + ".tmp")
    os.chmod(stem + ".tmp", _FILE_MODE)
    sock.listen(_BACKLOG)
    inode = _inode(stem + ".tmp")
    os.rename(stem + ".tmp", stem + ".sock")
    return inode


def _inode(path: str) -> tuple[int, int]:
    """Device and number of the file at a path; (0, 0) if there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def candidates(url: str) -> list[str]:
    """The socket's path of ipc:///path. Raises ValueError for anything else."""
    path = url.removeprefix("ipc://")
    if path == url or not path.startswith("/"):
        raise ValueError(f"expected ipc:///path of a node's socket, not {url!r}")
    return [path]


def dial(path: str, url: str = "") -> UnixChannel:
    """Connects to a node's socket; there is nothing to wait for. `url` is not needed here.

    Raises BlockingIOError if its queue of connections is full (try again soon), ConnectionRefusedError or
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
