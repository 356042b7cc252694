"""Memory in files without names, on Linux: memfd_create(2), seals, and leases, which are locks of open files.

A lease is how one who holds a region keeps it from being used anew: a read lock of the open file that it was
given (F_OFD_SETLK, fcntl(2)). The kernel drops it when the last descriptor of that open file, and the last
mapping made by it, are gone, wherever they are: in a program, in another that was killed, or on their way in
a socket. So there is no counter that could be wrong.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Final

from busway.drivers.descriptors import Descriptor

# Of include/uapi/linux/fcntl.h and memfd.h: not all versions of Python have names for them.
_SEAL_SEAL: Final = 0x01
_SEAL_SHRINK: Final = 0x02
_SEAL_GROW: Final = 0x04
_SEAL_WRITE: Final = 0x08
_SEAL_FUTURE_WRITE: Final = 0x10
_SIZE_SEALS: Final = _SEAL_SHRINK | _SEAL_GROW
_LARGE: Final = 1 << 24
_BLOCK: Final = 512  # bytes, in which stat(2) counts
_MFD_CLOEXEC: Final = 0x01
_MFD_ALLOW_SEALING: Final = 0x02
_MFD_NOEXEC_SEAL: Final = 0x08  # since Linux 6.3, where an administrator may ask for it
_F_ADD_SEALS: Final = 1033
_F_GET_SEALS: Final = 1034
_F_OFD_GETLK: Final = 36
_F_OFD_SETLK: Final = 37
_FLOCK: Final = "hhqqi4x"  # struct flock: type, whence, start, length (0: all), process
_SHORT: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)  # now, and not for ever
_HELD: Final = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
_ASKED: Final = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)

REUSES: Final = True
"""Whether it is known when nobody holds a region any more."""


def missing() -> str:
    """The thing that this system lacks, for people; "" if nothing."""
    if not hasattr(os, "memfd_create"):
        return "this Python has no os.memfd_create"
    if not os.path.exists("/proc/self/fd"):
        return "/proc is not mounted"
    try:
        fd = make(os.sysconf("SC_PAGE_SIZE"))
    except OSError as error:
        return "" if error.errno in _SHORT else f"there is no memory to be shared: {error}"
    try:
        freeze(fd)
        lease(fd, writable=False).close()
    except OSError as error:
        return "" if error.errno in _SHORT else f"memory cannot be shared safely: {error}"
    finally:
        os.close(fd)
    return ""


def make(size: int) -> int:
    """A descriptor of `size` bytes, all there and zero, of which none can be taken away again.

    Raises OSError: there is no memory or no descriptor left.
    """
    if size >= _LARGE:
        _check_room(size)
    try:
        fd = os.memfd_create("busway", _MFD_CLOEXEC | _MFD_ALLOW_SEALING | _MFD_NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fd = os.memfd_create("busway", _MFD_CLOEXEC | _MFD_ALLOW_SEALING)
    try:
        os.posix_fallocate(fd, 0, size)  # what was only promised, and is not there, would be a SIGBUS later
        fcntl.fcntl(fd, _F_ADD_SEALS, _SIZE_SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_room(size: int) -> None:
    """The kernel would rather end programs than refuse memory that it does not have. Raises OSError."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":") for line in file)
        left = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, LookupError, ValueError):
        return
    if size > left:
        raise OSError(errno.ENOMEM, f"{size} bytes of memory are wanted, and {left} are left")


def freeze(fd: int) -> None:
    """Let nobody write from now on who cannot yet: mappings that are there go on. Raises OSError."""
    fcntl.fcntl(fd, _F_ADD_SEALS, _SEAL_FUTURE_WRITE | _SEAL_SEAL)


def is_frozen(fd: int) -> bool:
    """Whether that was done, or this descriptor can only be read. Raises OSError."""
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        return True
    return bool(fcntl.fcntl(fd, _F_GET_SEALS) & (_SEAL_WRITE | _SEAL_FUTURE_WRITE))


def check(fd: int) -> tuple[int, object]:
    """Look at a descriptor that somebody else has sent: its size in bytes, which stays, and what it is known
    by as long as it is mapped.

    Raises ValueError for anything but sealed memory: reading it might end this program (SIGBUS).
    """
    try:
        # First, as the kernel answers it by itself: a file system in a program might never answer.
        seals = fcntl.fcntl(fd, _F_GET_SEALS)
        found = os.fstat(fd)
    except OSError as error:
        raise ValueError(f"a descriptor that came as shared memory is none: {error}") from None
    if not seals & _SEAL_SHRINK:
        raise ValueError("shared memory came without the seal against being cut short")
    # The number alone is given again once the kernel has counted to 2^32.
    return found.st_size, (found.st_dev, found.st_ino, found.st_ctime_ns, found.st_size)


def check_pages(fd: int) -> None:
    """The same for what has not been seen before: huge pages can be missing when they are first read.

    Raises ValueError.
    """
    if os.fstatvfs(fd).f_bsize != os.sysconf("SC_PAGE_SIZE"):
        raise ValueError("shared memory came in huge pages")


def has_holes(fd: int) -> bool:
    """Whether some of what somebody else has sent is not there yet: to write there takes memory, to read it
    in a mapping as well, and ends the program (SIGBUS) where none may be promised that is not there.
    """
    found = os.fstat(fd)
    return found.st_blocks * _BLOCK < found.st_size


def reopen(fd: int, *, writable: bool) -> int:
    """Another open file of the same memory, without any lock. Raises OSError."""
    return os.open(f"/proc/self/fd/{fd}", (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)


def lease(fd: int, *, writable: bool) -> Descriptor:
    """Another open file of the same memory, to be handed over: while it is open anywhere, it is held.

    Raises OSError.
    """
    found = Descriptor(reopen(fd, writable=writable))
    fcntl.fcntl(found.fd, _F_OFD_SETLK, _HELD)
    return found


def lease_like(fd: int) -> Descriptor:
    """One more of what is a lease itself, which can be written in as that can. Raises OSError, also for what
    is no memory: it may be anything that came as a region, and take its time to open.
    """
    fcntl.fcntl(fd, _F_GET_SEALS)
    return lease(fd, writable=fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR)


def is_held(fd: int) -> bool:
    """Whether anybody has a lease of the memory; `fd` has none itself. Raises OSError."""
    answer = fcntl.fcntl(fd, _F_OFD_GETLK, _ASKED)
    return int(struct.unpack_from("h", answer)[0]) != fcntl.F_UNLCK
