"""Open files that go with messages between programs of one user on one machine, and come with them.

Knows nothing of messages.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from itertools import islice
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from busway.drivers.descriptors import Descriptor, Sole

if TYPE_CHECKING:
    import socket

FILES_MAX: Final = 64  # of one message


class HasFileno(Protocol):
    """Anything that has a descriptor: open files, sockets, `File`."""

    def fileno(self) -> int: ...


class File(Sole):
    """One open file, socket, pipe or whatever else has a descriptor, which this object owns.

    `File(file)` copies the descriptor of an open file, a socket, another `File` or a number: both refer to
    the same open file, with one position and one set of flags, and each is closed by itself. Those in
    `message.files` refer to what the sender has open. Close them, use `with`, or let `open` or `socket` take
    them over; one that is dropped open is closed with a ResourceWarning. `copy` and `pickle` raise TypeError.

    Raises TypeError for what has no descriptor, ValueError for one that is closed or that the system hands
    over to nobody, OSError where no more descriptors are to be had.
    """

    __slots__ = ("__weakref__", "_descriptor")

    def __init__(self, file: int | HasFileno) -> None:
        self._descriptor = copied(file)

    @classmethod
    def owning(cls, descriptor: Descriptor) -> File:
        """One that owns this, which nobody else holds."""
        made = cls.__new__(cls)
        made._descriptor = descriptor
        return made

    def __repr__(self) -> str:
        return "<File, closed>" if self.closed else f"<File {self._descriptor.fd}>"

    def __enter__(self) -> File:
        self.fileno()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is None or descriptor.fd < 0:
            return
        try:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        finally:
            descriptor.close()

    @property
    def closed(self) -> bool:
        """Whether it owns nothing any more: closed, detached, or taken over by `open` or `socket`."""
        return self._descriptor.fd < 0

    def fileno(self) -> int:
        """The descriptor's number, for as long as this object is open. Raises ValueError once it is not."""
        if self._descriptor.fd < 0:
            raise ValueError(
                "this file is closed: its descriptor was closed, detached, or is another object's"
            )
        return self._descriptor.fd

    def detach(self) -> int:
        """The descriptor's number; the caller closes it from now on. Raises ValueError if it is closed."""
        self.fileno()
        return self._descriptor.detach()

    def close(self) -> None:
        """Close the descriptor. Twice is once."""
        self._descriptor.close()

    def open(self, mode: str = "rb", **options: Any) -> IO[Any]:
        """A file object, as `open(path, mode, **options)` gives, which owns the descriptor from then on.

        Nothing is truncated, and a position there is stays; the mode has to fit how the sender opened it.
        Raises what `open` raises, ValueError if it is closed; then this object keeps the descriptor.
        """
        self.fileno()
        return self._descriptor.file(mode, options)

    def socket(self) -> socket.socket:
        """A socket object, which owns the descriptor from then on; it blocks if the sender's does, for that
        is one flag of both. Raises OSError for what is no socket, ValueError if it is closed; then this
        object keeps the descriptor.
        """
        self.fileno()
        return self._descriptor.socket()


def copied(file: int | HasFileno) -> Descriptor:
    """A copy of the descriptor of a file. Raises as `File`."""
    number = _number(file)
    try:
        return Descriptor.of(number)
    except ValueError as error:
        raise ValueError(f"{file!r}: {error}") from None


def _number(file: Any) -> int:
    if isinstance(file, int) and not isinstance(file, bool):
        return file
    fileno = getattr(file, "fileno", None)
    if fileno is None or isinstance(file, type):
        is_path = isinstance(file, (str, bytes)) or hasattr(file, "__fspath__")
        raise TypeError(
            f"expected an open file, a socket, a busway.File or a descriptor's number, not {file!r:.60}"
            f" ({'open it first' if is_path else 'a busway.Region goes as regions=[region]'})"
        )
    try:
        fd = fileno()
    except io.UnsupportedOperation:
        raise TypeError(f"{file!r} has no descriptor: it is in memory only") from None
    if not isinstance(fd, int) or fd < 0:
        raise ValueError(f"{file!r} is closed")
    return fd


def given(files: Iterable[int | HasFileno]) -> tuple[Descriptor, ...]:
    """Copies of the descriptors of what a message is to carry, so that the caller may close its own at once.

    Raises TypeError, ValueError, OSError as `File`, and ValueError for more than FILES_MAX.
    """
    # An open file is iterable as well: its lines are.
    if isinstance(files, (str, bytes)) or hasattr(files, "fileno") or not isinstance(files, Iterable):
        raise TypeError(f"files= takes several, as in files=[file], not {files!r:.60}")
    wanted = list(islice(files, FILES_MAX + 1))
    if len(wanted) > FILES_MAX:
        raise ValueError(
            f"a message carries at most {FILES_MAX} files, not {len(wanted)} or more: send several"
        )
    return tuple(copied(each) for each in wanted)
