"""A serial line for tests: a pty, of which the test holds the board's end. Knows no driver."""

import os
import select
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager

_BOUND_S = 20


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
        """What came to the board: exactly so many bytes, within 20 s."""
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
