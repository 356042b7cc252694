"""Memory of a block around what a program sees of it: there a payload is put together, with the elements of
an array where they are.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Final

from busway.memory.pool import Use

MARGIN: Final = 4096
"""Bytes before, and behind, what the program sees: all else that a payload may have."""


class Room:
    """A block whose bytes from `begin` to `end` a program has, the rest being for one payload. Any thread may
    call it.
    """

    __slots__ = ("_filled", "_lock", "_pid", "begin", "end", "use")

    def __init__(self, use: Use, size: int) -> None:
        self.use = use
        self.begin = MARGIN
        self.end = MARGIN + size
        self._filled = False
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def fill(self, at: int, pieces: Sequence[bytes | memoryview], number: int) -> None:
        """Write the pieces of a payload that begins at `at`, but for the one of that number, which is there;
        once, for it may be looked at from then on. Nothing is written where the program's bytes are, nor in a
        child of the process, for these pages are its parent's as well.
        """
        begin = at + sum(map(len, pieces[:number]))
        if (begin, begin + len(pieces[number])) != (self.begin, self.end) or os.getpid() != self._pid:
            return
        with self._lock:
            if self._filled:
                return
            self._filled = True
            view = self.use.block.mapping.view()
            for each, piece in enumerate(pieces):
                if each != number:
                    view[at : at + len(piece)] = piece
                at += len(piece)
