"""Memory that threads and processes share, and the lock of those that write into it. Knows no messages.

Anonymous memory is a `memfd` on Linux and an unlinked temporary file elsewhere, mapped by the standard
library's mmap. The lock is `flock`, which the kernel gives back when its holder is killed; each process has
an open file of its own for it, and its threads share a lock besides.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

_UNITS = {"B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def size_of(size: int | str) -> int:
    """A number of bytes, from itself or from a text such as "64 MiB" or "1 kB".

    Raises:
        ValueError: no such size, or none above 0.
    """
    found = size
    if isinstance(size, str):
        digits = size.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
        unit = _UNITS.get(size[len(digits) :].strip().upper() or "B")
        if unit is None or not digits.replace(".", "", 1).isdecimal():
            raise ValueError(f"a size is a number of bytes or a text such as '64 MiB', got {size!r}")
        found = int(float(digits) * unit)
    if not isinstance(found, int) or found <= 0:
        raise ValueError(f"a size is a number of bytes above 0, got {size!r}")
    return found


def rounded(size: int, unit: int) -> int:
    """The least multiple of `unit` that is no less."""
    return -(-size // unit) * unit


class Memory(Protocol):
    """A map, and how to open what is below it once more."""

    map: mmap.mmap

    def opened(self) -> int:
        """A descriptor with an open file description of its own."""


class Shared:
    """Anonymous memory, zero at first: inherited by processes that are forked, handed to those spawned."""

    def __init__(self, size: int, descriptor: int | None = None) -> None:
        self._path = ""
        if descriptor is None:
            descriptor = self._made()
            os.ftruncate(descriptor, size)
        self._size = size
        self._descriptor = descriptor
        self.map = mmap.mmap(descriptor, size)
        self._finish = weakref.finalize(self, _drop, descriptor, self._path, os.getpid())

    def _made(self) -> int:
        if hasattr(os, "memfd_create"):
            return os.memfd_create("busway", os.MFD_CLOEXEC)
        descriptor, self._path = tempfile.mkstemp(prefix="busway-")
        return descriptor

    def opened(self) -> int:
        """A descriptor with an open file description of its own."""
        return os.open(self._path or f"/proc/self/fd/{self._descriptor}", os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        """Gives the memory back, once nobody has a view into it any more."""
        close_map(self.map)
        self._finish()

    def __reduce__(self) -> Any:
        """For processes that are being spawned; refused elsewhere by multiprocessing."""
        from multiprocessing.reduction import DupFd

        return _received, (self._size, DupFd(self._descriptor))


def _received(size: int, handed: Any) -> Shared:
    return Shared(size, handed.detach())


def _drop(descriptor: int, path: str, owner: int) -> None:
    os.close(descriptor)
    if path and os.getpid() == owner:
        os.unlink(path)


def close_map(mapped: mmap.mmap) -> None:
    """Unmaps it, or leaves that to the garbage collector while somebody has a view into it."""
    try:
        mapped.close()
    except BufferError:
        pass


_locks: weakref.WeakSet[WriteLock] = weakref.WeakSet()


class WriteLock:
    """One writer at a time, among threads and, if `shared`, among processes. Who is killed loses it."""

    def __init__(self, opened: Callable[[], int], *, shared: bool) -> None:
        self.shared = shared
        self._opened = opened
        self._threads = threading.Lock()
        self._descriptor = opened() if shared else -1
        _locks.add(self)

    def share(self) -> None:
        """From now on among processes."""
        if not self.shared:
            self._descriptor = self._opened()
            self.shared = True

    def renew(self) -> None:
        """In a process that was forked: the threads are not here, and the parent's file is the parent's."""
        self._threads = threading.Lock()
        if self.shared:
            os.close(self._descriptor)  # which does not unlock: the parent has it open
            self._descriptor = self._opened()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        _locks.discard(self)

    def __enter__(self) -> None:
        self._threads.acquire()
        if self.shared:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            except BaseException:
                self._threads.release()
                raise

    def __exit__(self, *_: object) -> None:
        try:
            if self.shared:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        finally:
            self._threads.release()


def _renew_all() -> None:
    for lock in list(_locks):
        lock.renew()


os.register_at_fork(after_in_child=_renew_all)
