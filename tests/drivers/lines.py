"""A serial line for tests: a pty, of which the test holds the board's end. Knows no driver."""

import os
import select
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager

_BOUND_S = 60


class Line:
    """A pty: `device` is what the driver opens, the methods are what a board does at the other end."""

    def __init__(self) -> None:
        self.board, self._kept = os.openpty()
        os.set_blocking(self.board, False)
        tty.setraw(self._kept)  # a line echoes nothing, also while nobody has opened it
        self.device = os.ttyname(self._kept)
        self.url = f"serial://{self.device}"

    def say(self, data: bytes) -> None:
        """The board sends."""
        while data:
            assert select.select([], [self.board], [], _BOUND_S)[1]
            data = data[os.write(self.board, data) :]

    def hear(self, size: int) -> bytes:
        """The bytes that came to the board: exactly so many bytes, within 20 s."""
        data = b""
        end = time.monotonic() + _BOUND_S
        while len(data) < size:
            assert select.select([self.board], [], [], max(0.0, end - time.monotonic()))[0], data
            data += os.read(self.board, size - len(data))
        return data

    def unplug(self) -> None:
        """Pull the cable: the port is gone."""
        for fd in (self._kept, self.board):
            if fd >= 0:
                os.close(fd)
        self._kept = self.board = -1


@contextmanager
def line() -> Iterator[Line]:
    """A line for the duration of a with statement."""
    made = Line()
    try:
        yield made
    finally:
        made.unplug()


@contextmanager
def crossed() -> Iterator[tuple[Line, Line]]:
    """Two lines with their boards' ends joined, as by a cable: a driver can be at both ends."""
    with line() as one, line() as two:
        over = threading.Event()
        cable = threading.Thread(target=_carry, args=(one, two, over), name="cable")
        cable.start()
        try:
            yield one, two
        finally:
            over.set()
            cable.join(_BOUND_S)


def _carry(one: Line, two: Line, over: threading.Event) -> None:
    """Bytes that nobody reads stay in the line, as with a handshake."""
    held = {one.board: b"", two.board: b""}
    other = {one.board: two.board, two.board: one.board}
    while not over.is_set():
        reads = [fd for fd in held if not held[fd]]
        writes = [other[fd] for fd in held if held[fd]]
        readable, writable, _ = select.select(reads, writes, [], 0.05)
        for fd in readable:
            held[fd] = os.read(fd, 4096)
        for fd in writable:
            held[other[fd]] = held[other[fd]][os.write(fd, held[other[fd]]) :]
