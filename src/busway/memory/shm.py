"""The same on systems without memfd and seals, such as macOS: shm_open(3), its name given up at once.

Nobody can tell there when a region is held by nobody any more, so each is used once; and what others sent
cannot be kept from being cut short by them. No test has run on such a system: the functions are tried on
Linux.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from busway.drivers.descriptors import Descriptor

REUSES: Final = False


def missing() -> str:
    """The thing that this system lacks, for people; "" if nothing."""
    try:
        # Of the standard library, as multiprocessing.shared_memory uses it.
        import _posixshmem  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        return "this system has no shm_open"
    return ""


def make(size: int) -> int:
    """As of memfd.py."""
    import _posixshmem

    name = f"/busway-{os.urandom(8).hex()}"  # macOS takes 31 characters
    fd: int = _posixshmem.shm_open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode=0o600)
    try:
        _posixshmem.shm_unlink(name)
        os.set_inheritable(fd, False)
        os.ftruncate(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


def freeze(fd: int) -> None:
    """Raises OSError: there is no such thing here."""
    raise OSError(errno.ENOTSUP, "this system cannot keep others from writing in what was shared with them")


def is_frozen(_fd: int) -> bool:
    """Nothing is."""
    return False


def check(fd: int) -> tuple[int, object]:
    """As of memfd.py, but for seals. Raises ValueError."""
    try:
        found = os.fstat(fd)
    except OSError as error:
        raise ValueError(f"a descriptor that came as shared memory is none: {error}") from None
    return found.st_size, (found.st_dev, found.st_ino, found.st_ctime_ns, found.st_size)


def check_pages(_fd: int) -> None:
    """Nothing more can be asked."""


def has_holes(_fd: int) -> bool:
    """Nobody says."""
    return False


def reopen(fd: int, *, writable: bool) -> int:
    """As of memfd.py; it can be written in in any case. Raises OSError."""
    return os.dup(fd)


def lease(fd: int, *, writable: bool) -> Descriptor:
    """As of memfd.py. Raises OSError."""
    return Descriptor(os.dup(fd))


def lease_like(fd: int) -> Descriptor:
    """As of memfd.py. Raises OSError."""
    return Descriptor(os.dup(fd))


def is_held(_fd: int) -> bool:
    """It may be."""
    return True
