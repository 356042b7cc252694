"""Links between processes of one user on Windows: named pipes, pipe://NAME, with what unix.py has elsewhere.

A pipe's name tells the user, the bus and the node, and lives as long as the process that made it; so nothing
is left behind, nothing is swept, and who is there is found by listing all pipes.

    busway-USER-BUS-NODE     hashes of the user's SID and the bus name, 16 digits each; the node's id, 32

Pipes cannot be waited on together with sockets. So two threads for each link carry the bytes between its
pipe and a socket pair, whose other end is the channel. All system calls are in windows_pipes.py.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import socket
import sys
import threading
from collections import deque
from typing import Any, Final, Protocol
from weakref import WeakSet

from busway.drivers.channel import READ_SIZE
from busway.drivers.sockets import SocketChannel
from busway.drivers.unix import NODE_ID_SIZE, NODES_MAX, Peer, check_node_id, full, running_already

_SCHEME: Final = "pipe://"
_PREFIX: Final = "busway"
_DIGITS: Final = 16
_INCOMING_MAX: Final = 64  # who connected and was not accepted yet
_JOIN_S: Final = 2.0

Handle = Any  # the system's own


class System(Protocol):
    """Windows, as this driver needs it. Handles are opened for both directions and may be used by a thread
    for each. OSErrors as Python knows them.
    """

    def user(self) -> str:
        """The SID of the user of this process."""

    def names(self) -> list[str]:
        """The names of all pipes of this machine."""

    def create(self, name: str, *, first: bool) -> Handle:
        """A place where one can connect, for this user only. With `first` FileExistsError if there is one of
        that name.
        """

    def wait_for_client(self, handle: Handle) -> None:
        """Blocks until one has connected. OSError when `cancel` was called."""

    def open(self, name: str) -> Handle:
        """Connects. FileNotFoundError, BlockingIOError if all places are taken, PermissionError."""

    def peer_user(self, handle: Handle, *, server: bool) -> str:
        """The SID of the user of the process at the other end; `server` tells which end we are."""

    def read(self, handle: Handle, size: int) -> bytes:
        """Blocks; b"" is the end. OSError if it failed or `cancel` was called."""

    def write(self, handle: Handle, data: bytes) -> int:
        """Blocks; how many bytes were taken. OSError if it failed or `cancel` was called."""

    def cancel(self, handle: Handle) -> None:
        """Ends what other threads wait for on it, now and later."""

    def close(self, handle: Handle) -> None:
        """Close; all that was written can still be read by the other end."""


def available() -> bool:
    """Whether this system has named pipes."""
    return sys.platform == "win32"


def the_system() -> System:
    """Windows itself. Raises NotImplementedError elsewhere."""
    if not available():
        raise NotImplementedError("no named pipes on this system: use ipc:// (Unix sockets)")
    from busway.drivers.windows_pipes import Windows

    return Windows()


# ---- who is there


def pipe_name(system: System, bus: str, node_id: bytes) -> str:
    """The name of a node's pipe. Raises ValueError for a node id of another size."""
    check_node_id(node_id)
    return f"{_stem(system, bus)}{node_id.hex()}"


def _stem(system: System, bus: str) -> str:
    return f"{_PREFIX}-{_digest(system.user())}-{_digest(bus)}-"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def peers(bus: str, *, system: System | None = None) -> list[Peer]:
    """The nodes of this user with a pipe on this bus, the caller's own included, sorted. Raises OSError."""
    system = system or the_system()
    stem = _stem(system, bus)
    found = []
    for name in system.names():
        node_id = _node_id_of(name, stem)
        if node_id is not None:
            found.append(Peer(name, node_id))
    return sorted(set(found))


def _node_id_of(name: str, stem: str) -> bytes | None:
    digits = name.removeprefix(stem)
    if not name.startswith(stem) or len(digits) != 2 * NODE_ID_SIZE:
        return None
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None


def is_dead(path: str) -> bool:
    """Never: a pipe goes with its program."""
    return False


def sweep(bus: str) -> list[Peer]:
    """Nothing: a pipe ends with its process. For the same face as unix.py."""
    return []


# ---- channels


class PipeChannel(SocketChannel):
    """A connected named pipe between two processes of this user."""

    realm = "userspace"

    def __init__(self, system: System, handle: Handle, address: str, *, dialled: bool) -> None:
        near, far = socket.socketpair()
        super().__init__(near, address, via="ipc", dialled=dialled)
        self._carrier = _Carrier(system, handle, far)

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        data = super().read(size_max)
        if data == b"" and self._carrier.failure is not None:
            raise OSError(errno.ECONNRESET, f"{self.address}: {self._carrier.failure}")
        return data


class _Carrier:
    """Two threads between a pipe and the far end of a socket pair. Ends when both have.

    Only reading tells how the pipe ended: what the other end said before is still to be read when writing
    fails already.
    """

    def __init__(self, system: System, handle: Handle, far: socket.socket) -> None:
        self.failure: Exception | None = None
        self._system = system
        self._handle = handle
        self._far = far
        self._lock = threading.Lock()
        self._left = 2
        # Daemons, for they wait in the system; the exit hook ends and joins them.
        self.threads = [
            threading.Thread(target=work, name="busway-pipe", daemon=True)
            for work in (self._from_pipe, self._to_pipe)
        ]
        _carriers.add(self)
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """At the program's end: nothing waits any longer."""
        self._shut()
        self._system.cancel(self._handle)

    def _from_pipe(self) -> None:
        try:
            while data := self._system.read(self._handle, READ_SIZE):
                self._far.sendall(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, who reads the near end is told
            self.failure = error
        self._shut()
        self._end()

    def _to_pipe(self) -> None:
        broken = False
        while data := self._take():
            try:
                while data and not broken:
                    data = data[self._system.write(self._handle, data) :]
            except Exception:  # noqa: BLE001 - as above
                broken = True
        self._system.cancel(self._handle)  # the near end is closed
        self._end()

    def _take(self) -> bytes:
        try:
            return self._far.recv(READ_SIZE)
        except OSError:
            return b""

    def _shut(self) -> None:
        with contextlib.suppress(OSError):  # gone already
            self._far.shutdown(socket.SHUT_RDWR)

    def _end(self) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._system.close(self._handle)
            self._far.close()


_carriers: WeakSet[_Carrier] = WeakSet()


def _stop_all() -> None:
    carriers = list(_carriers)
    for carrier in carriers:
        if any(thread.is_alive() for thread in carrier.threads):
            carrier.stop()
    for carrier in carriers:
        for thread in carrier.threads:
            thread.join(_JOIN_S)


atexit.register(_stop_all)


# ---- listeners


class PipeListener:
    """A node's pipe, from `open()`. A thread waits for those who connect."""

    def __init__(self, system: System, name: str, first: Handle) -> None:
        self.url = _SCHEME + name
        self.refused = 0
        self._system = system
        self.path = name  # for `dial`
        self._waiting = first
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._incoming: deque[Handle] = deque()
        self._closed = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="busway-pipes", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, bus: str, node_id: bytes, *, system: System | None = None) -> PipeListener:
        """Makes the node's pipe, which others find at once. List `peers()` only after this.

        Raises FileExistsError if that node is running, ValueError for a node id of the wrong length, OSError,
        also when the bus has NODES_MAX nodes already.
        """
        system = system or the_system()
        name = pipe_name(system, bus, node_id)
        if len(peers(bus, system=system)) >= NODES_MAX:
            raise full(bus)
        try:
            return cls(system, name, system.create(name, first=True))
        except FileExistsError as error:
            raise running_already(bus, node_id) from error

    def fileno(self) -> int:
        return self._near.fileno()

    def in_place(self) -> bool:
        """Whether others find it: a pipe's name is there as long as the pipe."""
        return True

    def restore(self) -> None:
        """Nothing to put back. For the same face as unix.py."""

    def accept(self) -> PipeChannel | None:
        try:
            if not self._near.recv(1) and not self._closed:
                raise OSError(errno.EIO, f"{self.url}: {self._failure or 'the pipe has ended'}")
        except BlockingIOError:
            return None
        if not self._incoming:
            return None
        handle = self._incoming.popleft()
        if not _is_ours(self._system, handle, server=True):
            self.refused += 1
            self._system.close(handle)
            return None
        return PipeChannel(self._system, handle, self.url, dialled=False)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._system.cancel(self._waiting)
        self._thread.join(_JOIN_S)
        while self._incoming:
            self._system.close(self._incoming.popleft())
        self._near.close()
        self._far.close()

    def abandon(self) -> None:
        self._near.close()  # Windows does not fork

    def _run(self) -> None:
        try:
            while not self._closed:
                self._system.wait_for_client(self._waiting)
                # The next place first: there is never a moment when nobody can connect.
                client, self._waiting = self._waiting, self._system.create(self.path, first=False)
                self._take(client)
        except Exception as error:  # noqa: BLE001 - `accept` tells it
            self._failure = error
        finally:
            self._system.close(self._waiting)
            if not self._closed:
                self._far.close()  # the listener becomes readable, and `accept` says why

    def _take(self, client: Handle) -> None:
        if len(self._incoming) >= _INCOMING_MAX:
            self.refused += 1
            self._system.close(client)
            return
        self._incoming.append(client)
        self._far.send(b"\0")


Listener = PipeListener


def _is_ours(system: System, handle: Handle, *, server: bool) -> bool:
    try:
        return system.peer_user(handle, server=server) == system.user()
    except OSError:
        return False


def parse(url: str) -> str:
    """The pipe's name of a URL pipe://NAME. Raises ValueError."""
    name = url.removeprefix(_SCHEME)
    if not url.startswith(_SCHEME) or not name or "\\" in name or "/" in name or len(name) > 240:
        raise ValueError(f"expected pipe://NAME, a name without / and \\, not {url!r}")
    return name


def candidates(url: str) -> list[str]:
    """The one name to dial for `url`. Raises ValueError."""
    return [parse(url)]


def dial(path: str, url: str = "", *, system: System | None = None) -> PipeChannel:
    """Connects to a node's pipe; there is nothing to wait for.

    Args: `url` as every driver takes it; it is not needed.
    Raises BlockingIOError if all its places are taken (try again soon), FileNotFoundError if it is gone,
    PermissionError if the process there is another user's, OSError.
    """
    system = system or the_system()
    handle = system.open(path)
    if not _is_ours(system, handle, server=False):
        system.close(handle)
        raise PermissionError(errno.EACCES, f"{_SCHEME}{path}: the process there is another user's")
    return PipeChannel(system, handle, _SCHEME + path, dialled=True)
