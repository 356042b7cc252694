"""How one user's programs find each other: directories, locks and sockets (section 13.3)."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
import stat
import struct
import time
from pathlib import Path
from typing import Final

_NODES_MAX: Final = 256
_PATH_SIZE_MAX: Final = 99
_SPARE: Final = re.compile(r"-[0-9a-f]{16}\Z")
_SOCKET: Final = re.compile(r"[0-9a-f]{32}\.sock")


def places() -> list[Path]:
    """Where sockets may be; the own one goes to the first."""
    uid = os.geteuid()
    chosen = os.environ.get("BUSWAY_DIR", "")
    if chosen:
        return [Path(chosen)]
    run, tmp = Path(f"/run/user/{uid}"), Path(f"/tmp/busway-{uid}")
    try:
        found = run.lstat()
        usable = stat.S_ISDIR(found.st_mode) and found.st_uid == uid and os.access(run, os.W_OK | os.X_OK)
    except OSError:
        usable = False
    spare = [path for path in sorted(tmp.parent.glob(f"{tmp.name}-*")) if _SPARE.search(path.name)]
    spare = [path for path in spare if is_private(path)]
    shared = [tmp, *spare]
    if (tmp.is_symlink() or tmp.exists()) and tmp.lstat().st_uid != uid:
        shared = spare or [tmp.with_name(f"{tmp.name}-{os.urandom(8).hex()}")]
    return [run / "busway", *shared] if usable else [*shared, run / "busway"]


def directory_of(place: Path, bus: str) -> Path:
    return place / hashlib.sha256(bus.encode()).hexdigest()[:16]


def is_private(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o777 == 0o700


def others(bus: str, node: str) -> list[Path]:
    """The sockets of all nodes of the bus but this one."""
    found: list[Path] = []
    for place in places():
        directory = directory_of(place, bus)
        if is_private(place) and is_private(directory):
            found += [path for path in sorted(directory.iterdir()) if _SOCKET.fullmatch(path.name)]
    return [path for path in found if path.stem != node]


def dial(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(path))
        check_user(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def check_user(sock: socket.socket) -> None:
    uid = struct.unpack("=iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    if uid != os.geteuid():
        raise PermissionError(f"the other end is user {uid}'s")


def _same(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.lstat())
    except OSError:
        return False


def _try_lock(path: Path, *, make: bool, shared: bool = False) -> int:
    """The descriptor of the lock, -1 if another holds it. FileNotFoundError."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if make else 0)
    lock = os.open(path, flags, 0o600)
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return -1
    if _same(lock, path):
        return lock
    os.close(lock)
    return -1


def is_dead(path: Path) -> bool:
    """Whether the node with this socket is dead. Without its lock nobody can tell."""
    try:
        lock = _try_lock(path.with_suffix(".lock"), make=False, shared=True)
    except FileNotFoundError:
        return False
    if lock >= 0:
        os.close(lock)
    return lock >= 0


def remove(stem: Path) -> None:
    """With the lock held."""
    for suffix in (".tmp", ".sock", ".lock"):
        try:
            stem.with_suffix(suffix).unlink()
        except FileNotFoundError:
            pass
    try:
        stem.parent.rmdir()
    except OSError:
        pass  # others are there


def sweep(bus: str) -> None:
    """Removes what dead nodes left behind."""
    for path in others(bus, ""):
        try:
            lock = _try_lock(path.with_suffix(".lock"), make=False)
        except FileNotFoundError:
            continue
        if lock >= 0:
            remove(path.with_suffix(""))
            os.close(lock)


class Seat:
    """A node's own socket, where others find it."""

    def __init__(self, bus: str, node: str) -> None:
        self.bus = bus
        self.node = node
        self._take()

    def _take(self) -> None:
        self.lock, self.stem = self._lock()
        count = len(others(self.bus, self.node))
        if count >= _NODES_MAX:
            sweep(self.bus)
            if len(others(self.bus, self.node)) >= _NODES_MAX:
                remove(self.stem)
                raise OSError(f"the bus has {_NODES_MAX} nodes")
        self._listen()

    def _lock(self) -> tuple[int, Path]:
        place, *rest = places()
        stem = directory_of(place, self.bus) / self.node
        if len(os.fsencode(f"{stem}.sock")) > _PATH_SIZE_MAX:
            raise ValueError(f"the path of {stem}.sock is too long")
        for _ in range(40):
            for directory in (place, stem.parent):
                directory.mkdir(mode=0o700, exist_ok=True)
                if not is_private(directory):
                    raise PermissionError(f"{directory} is not private")
            try:
                lock = _try_lock(stem.with_suffix(".lock"), make=True)
            except FileNotFoundError:
                lock = -1
            if lock >= 0:
                break
            time.sleep(0.005)
        else:
            raise FileExistsError(f"node {self.node} runs already")
        for other in rest:
            twin = directory_of(other, self.bus) / f"{self.node}.lock"
            if is_private(other) and twin.exists() and not is_dead(twin):
                remove(stem)
                raise FileExistsError(f"node {self.node} runs already in {other}")
        return lock, stem

    def _listen(self) -> None:
        os.fchmod(self.lock, 0o1600)
        self.stem.with_suffix(".tmp").unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.stem.with_suffix(".tmp")))
        self.stem.with_suffix(".tmp").chmod(0o1600)
        self.listener.listen(64)
        found = self.stem.with_suffix(".tmp").lstat()
        self.inode = (found.st_dev, found.st_ino)
        self.stem.with_suffix(".tmp").rename(self.stem.with_suffix(".sock"))

    def look_after(self) -> bool:
        """Every 5 s: puts back what was cleared away. Returns whether that was so; then look for others."""
        held = _same(self.lock, self.stem.with_suffix(".lock"))
        try:
            found = self.stem.with_suffix(".sock").lstat()
            if held and (found.st_dev, found.st_ino) == self.inode:
                return False
        except OSError:
            pass
        former = self.listener
        if held:
            self._listen()
        else:
            lock = self.lock
            self._take()
            os.close(lock)
        former.close()
        return True

    def accept(self) -> socket.socket:
        sock, _ = self.listener.accept()
        check_user(sock)
        return sock

    def close(self) -> None:
        if _same(self.lock, self.stem.with_suffix(".lock")):
            remove(self.stem)
        self.listener.close()
        os.close(self.lock)
