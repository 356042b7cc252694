"""Open descriptors on their way from program to program: what owns one, and how a Unix socket hands them over
beside its bytes (SCM_RIGHTS, unix(7)). Knows no protocol.

On other systems a channel that can do the same in another way has the same face (channel.DescriptorChannel),
and Descriptor there owns what that system has; CONTRIBUTING.md says what Windows would take.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Final, NoReturn

from busway.drivers.sockets import SEND_FLAGS

_ioctl: Callable[[int, int, bytes], bytes] | None = None
_outq = 0
with contextlib.suppress(ImportError, AttributeError):  # Windows has neither
    import fcntl
    import termios

    _ioctl, _outq = fcntl.ioctl, termios.TIOCOUTQ  # SIOCOUTQ, that of sockets, is the same number

AT_ONCE_MAX: Final = 253  # that the kernel hands over in one call: SCM_MAX_FD
TOO_MANY: Final = -1  # instead of the bytes that were taken

_SIZE: Final = array.array("i").itemsize
_RIGHTS: Final = getattr(socket, "SCM_RIGHTS", 0)
# For recvmsg: room, flags, and that of the flags it gives which says that the room was not enough.
SPACE: Final = socket.CMSG_SPACE(AT_ONCE_MAX * _SIZE) if hasattr(socket, "CMSG_SPACE") else 0
CLOEXEC: Final = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))  # macOS has none
CUT: Final = int(getattr(socket, "MSG_CTRUNC", 0))  # no member of an enum: its `&` takes as long as a read
_WRITE_MIN: Final = 512  # bytes that the smallest write counts for there: 768 on Linux 6


class Sole:
    """An object that owns something which is given back once, so there is no copy of it, and no pickle:
    both would be given back.
    """

    __slots__ = ()

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        name = type(self).__name__
        raise TypeError(f"a {name} cannot be copied or pickled: it is one program's, and closed once")


class Descriptor(Sole):
    """One open descriptor: closed, without a word, when nobody holds this any more. All that is done to one
    above the drivers is done here, but for shared memory.

    fd: its number; -1 once closed, or another object's.
    """

    __slots__ = ("__weakref__", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __repr__(self) -> str:
        return f"<descriptor {self.fd}>" if self.fd >= 0 else "<descriptor, closed>"

    def __del__(self, _close: Callable[[int], None] = os.close) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            try:
                _close(fd)
            except OSError:
                pass  # somebody else has closed it, by its number

    def close(self) -> None:
        """Close it now. Twice is once."""
        self.__del__()

    @classmethod
    def of(cls, number: int) -> Descriptor:
        """Another descriptor of the open file of that number. Raises ValueError: there is none, or one that
        the system hands over to nobody; OSError: no more are to be had.
        """
        try:
            made = cls(os.dup(number))
        except OverflowError:
            raise ValueError("there is no such descriptor") from None
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            raise ValueError(f"descriptor {number} is not open") from None
        if not passable(made.fd):
            made.close()  # now: the error's traceback would keep it
            raise ValueError("the system hands over no descriptor of this sort (io_uring)")
        return made

    def copy(self) -> Descriptor:
        """Another descriptor of the same open file. Raises OSError."""
        return Descriptor(os.dup(self.fd))

    def detach(self) -> int:
        """Its number, which the caller closes from now on."""
        fd, self.fd = self.fd, -1
        return fd

    def file(self, mode: str, options: Mapping[str, Any]) -> IO[Any]:
        """A file object, as `open` gives, which owns it from now on. Raises what `open` raises; then it stays
        as it is.
        """
        # Of a copy, which is the file object's from its first instant: `open` closes it wherever it fails.
        made = open(f"<descriptor {self.fd}>", mode, opener=lambda _path, _flags: os.dup(self.fd), **options)  # noqa: SIM115
        self.close()
        return made

    def socket(self) -> socket.socket:
        """A socket object, which owns it from now on, and blocks if it does. Raises OSError for what is no
        socket; then it stays as it is.
        """
        made = socket.socket(fileno=self.fd)
        made.setblocking(os.get_blocking(self.detach()))
        return made


def are_handed_over() -> bool:
    """Whether this system's Unix sockets hand over descriptors."""
    return bool(SPACE and _RIGHTS and hasattr(socket.socket, "recvmsg"))


def owned(ancillary: Sequence[tuple[int, int, bytes]], flags: int) -> list[Descriptor]:
    """The descriptors of what recvmsg gave. Raises OSError, EMFILE, if it could not give all: what exceeds
    the number that this process may have open is lost, and then the others are closed.
    """
    found = []
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == _RIGHTS:
            numbers = array.array("i", value[: len(value) // _SIZE * _SIZE])
            found += [Descriptor(fd) for fd in numbers]
    if flags & CUT:
        for each in found:
            each.close()  # now: the error's traceback would keep them
        raise _lost(len(found))
    if not CLOEXEC:
        for each in found:
            os.set_inheritable(each.fd, False)
    return found


def open_max() -> int:
    """How many descriptors this process may have open."""
    try:
        import resource
    except ImportError:  # Windows
        return 1 << 14
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 30 if most == resource.RLIM_INFINITY else most


def _lost(count: int) -> OSError:
    text = (
        f"files came that this program could not take, but for {count}: it may have {open_max()} descriptors"
        " open, and no more; raise that (ulimit -n), or close what is not needed"
    )
    return OSError(errno.EMFILE, text)


def send(sock: socket.socket, buffers: Sequence[Any], descriptors: Sequence[Descriptor]) -> int:
    """Hand these over with the first byte of the buffers; returns how many bytes were taken: with 0 nothing
    has left, and neither with TOO_MANY, where so many of this user's are on their way that no more may be
    (the other socket can take bytes all the same: try again in a moment).

    Raises OSError.
    """
    numbers = array.array("i", [each.fd for each in descriptors])
    try:
        return sock.sendmsg(buffers, [(socket.SOL_SOCKET, _RIGHTS, numbers)], SEND_FLAGS)
    except BlockingIOError:
        return 0
    except OSError as error:
        if error.errno == errno.ETOOMANYREFS:
            return TOO_MANY
        raise


def unread(sock: socket.socket) -> int:
    """How many of the last writes to this socket are still to be read, at the most: each takes some of the
    room for what is on its way (SIOCOUTQ, unix(7)). 0 where the system does not tell.
    """
    if _ioctl is None:
        return 0
    try:
        (size,) = struct.unpack("i", _ioctl(sock.fileno(), _outq, bytes(_SIZE)))
    except (OSError, ValueError):  # closed
        return 0
    return -(-int(size) // _WRITE_MIN)


def passable(fd: int) -> bool:
    """Whether the kernel hands over this descriptor: all but those of rings for input and output (io_uring).

    Raises OSError.
    """
    if os.fstat(fd).st_mode & 0o170000 or not are_handed_over():
        return True  # it has a type, as those of no ring have
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            ours.sendmsg([b"\0"], [(socket.SOL_SOCKET, _RIGHTS, array.array("i", [fd]))])
        except OSError as error:
            if error.errno == errno.EINVAL:
                return False
            raise
    return True
