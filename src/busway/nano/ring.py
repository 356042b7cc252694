"""Buses in memory that begin anew at their end: RingBus, and BlockingBus, whose writers wait for readers.

Nothing of them outlives the program. The oldest block goes first; `head` is moved past it before it is
written over, which is how a reader knows that it came too late.
"""

from __future__ import annotations

import mmap
import os
import time
from struct import Struct
from typing import Any

from busway.nano import blocks
from busway.nano.blocks import BLOCK, DATA_AT, HEADER, State
from busway.nano.log import Log
from busway.nano.memory import Shared, WriteLock, rounded, size_of
from busway.nano.reading import Reader
from busway.nano.waiting import Bell, SleepBell, bell

_ROOM_NAP_S = 0.01
_LIVING_S = 0.2  # between two looks at whether a reader that is waited for lives
_RING = 1
_LAP_MIN = 4096
_ROW = Struct("QQQ")  # process, and twice what it has no need of any more


class RingBus(Log):
    """A ring of fixed size: writers never wait, and a reader that is too slow is told how many it missed.

    Args:
        size: bytes of the ring, or a text such as "1 MiB"; rounded up to 4096. A message has at most a
            quarter of it.

    Raises:
        ValueError: no size.

    Readers look for messages at intervals of 50 µs that grow to 3 ms while nothing comes.
    """

    def __init__(self, size: int | str = "1 MiB") -> None:
        self._begin(Shared(DATA_AT + rounded(size_of(size), _LAP_MIN)), shared=False)
        self.key = int.from_bytes(os.urandom(8), "little") | 1 << 63
        blocks.PREFIX.pack_into(self.map, 0, blocks.MAGIC, blocks.VERSION, _RING, self.key, self.lap)
        blocks.pack_state(self.map, blocks.STATES_AT, 0, 0, 0)

    def _begin(self, memory: Shared, *, shared: bool) -> None:
        self._memory = memory
        self.map: mmap.mmap = memory.map
        self.lap = len(memory.map) - DATA_AT
        self.lock = WriteLock(memory.opened, shared=shared)
        self.kinds: list[tuple[str, str]] = []
        self.sources: list[str] = []
        self._view = memoryview(memory.map)
        self.bell: Bell = self._bell(shared)
        self._closed = False
        self.summed = not blocks.ORDERED

    def _bell(self, shared: bool) -> Bell:
        return SleepBell()

    @property
    def block_max(self) -> int:
        """The most bytes of messages, with what stands before each, in one block."""
        return self.lap // 4 - BLOCK

    def place(self, position: int) -> tuple[mmap.mmap, int]:
        """The map that has a position, and the offset in it."""
        return self.map, DATA_AT + position % self.lap

    def view(self, position: int) -> tuple[memoryview, int]:
        """The same, as a view of the whole map."""
        return self._view, DATA_AT + position % self.lap

    def make_room(self, state: State, end: int, waited: float) -> int:
        """The head that leaves room up to `end`."""
        head = state.head
        while end - head > self.lap and head < state.tail:
            head = self._behind(head, state.tail)
        return head

    def _behind(self, head: int, tail: int) -> int:
        """Where the block after that at `head` begins."""
        left = self.lap - head % self.lap
        if left < BLOCK:
            return head + left
        stamp, _, _, size, count, _, done, _, _ = HEADER.unpack_from(self.map, DATA_AT + head % self.lap)
        if stamp != head ^ self.key:
            return tail  # overwritten by somebody who should not: all that is there goes
        return int(head + BLOCK + (done if count == blocks.PAD else size))

    def wait_for_room(self, end: int, reader: Reader | None, waited: float) -> float:
        """Never asked: there is always room."""
        return waited

    def resync(self, position: int) -> tuple[int, int]:
        """The middle of what there is: at its oldest block a slow reader would be too late again at once."""
        state = self.state()
        for _ in range(8):
            state = self.state()
            here, goal = state.head, (state.head + state.tail) // 2
            while here < state.tail and (block := self.read(here, state.tail)) is not None:
                if here >= goal and block.messages:
                    return here, block.first
                here = block.end
        return state.tail, state.total

    def share(self) -> None:
        """From now on several processes use it: called before they are started."""
        self.lock.share()
        self.bell = self._bell(True)

    def close(self) -> None:
        """Lets go of the memory. Twice is once."""
        if not self._closed:
            self._closed = True
            self.bell.close()
            self.lock.close()
            self._view.release()
            self._memory.close()

    def __reduce__(self) -> Any:
        """For processes that are spawned."""
        return _joined, (type(self), self._memory, self._settings(), self.kinds, self.sources)

    def _settings(self) -> dict[str, Any]:
        return {}


def _joined(
    kind: type[RingBus],
    memory: Shared,
    settings: dict[str, Any],
    kinds: list[tuple[str, str]],
    sources: list[str],
) -> RingBus:
    ring = kind.__new__(kind)
    vars(ring).update(settings)
    ring._begin(memory, shared=True)
    _, _, _, ring.key, _ = blocks.PREFIX.unpack_from(memory.map, 0)
    ring.kinds, ring.sources = kinds, sources
    return ring


class BlockingBus(RingBus):
    """A ring whose readers sleep until there is something, and whose writers wait for the slowest reader.

    So nothing is lost while everybody keeps up within `patience`. A worker that has to wait for room takes
    what waits for itself out of the ring meanwhile, up to 16 times its size, so that workers that emit to
    each other do not stand still.

    Args:
        size: as of RingBus.
        patience: seconds that a writer waits; then the slowest reader is lapped, and told so.

    Raises:
        ValueError: no size, or no time.
    """

    def __init__(self, size: int | str = "1 MiB", *, patience: float = 10.0) -> None:
        if not patience >= 0:
            raise ValueError(f"patience is a number of seconds, 0 or more, got {patience!r}")
        self._patience = patience
        super().__init__(size)

    def _settings(self) -> dict[str, Any]:
        return {"_patience": self._patience}

    def _bell(self, shared: bool) -> Bell:
        self._floor = 0  # no reader needs what lies before
        self._room = bell(self.map, blocks.ROOM_AT, shared=shared)
        return bell(self.map, blocks.BELL_AT, shared=shared)

    def make_room(self, state: State, end: int, waited: float) -> int:
        """The head that leaves room up to `end`; -1 while a reader still needs some of that."""
        if end - self._floor > self.lap and waited < self._patience:
            self._floor = self._slowest(state.tail)[0]
            if end - self._floor > self.lap:
                return -1
        return super().make_room(state, end, waited)

    def _slowest(self, tail: int) -> tuple[int, int]:
        """The position from which on all has to stay, and the row of the reader that needs it; -1: none."""
        found = (tail, -1)
        for row in range(blocks.READERS_MAX):
            at = blocks.READERS_AT + blocks.READER_SIZE * row
            pid, position, flipped = _ROW.unpack_from(self.map, at + blocks.PID_AT)
            if position ^ flipped != blocks.FLIPPED:
                position = self._floor  # it is being written: it was no less before
            if pid and position < found[0]:
                found = (position, row)
        return found

    def wait_for_room(self, end: int, reader: Reader | None, waited: float) -> float:
        """Waits a moment. Returns for how many seconds it did, with those before."""
        if reader is not None and reader.hurried():
            return self._patience
        _, row = self._slowest(self.state().tail)
        if reader is not None and row == reader.row >= 0:
            return waited if reader.set_aside() else self._patience
        began = time.monotonic()
        # Half of the ring, if there is so much: not for each block that a reader has taken.
        wanted = min(end - self.lap // 2, self.state().tail)
        blocks.WORD.pack_into(self.map, blocks.WANTED_AT, wanted)
        seen = self._room.value()
        if reader is not None and reader.set_aside():
            return waited
        if end - self._slowest(self.state().tail)[0] > self.lap:
            self._room.wait(seen, _ROOM_NAP_S, 0)
        found = waited + time.monotonic() - began
        if int(found / _LIVING_S) != int(waited / _LIVING_S):
            self._forget_dead(row)
        return found

    def _forget_dead(self, row: int) -> None:
        """Nobody waits for a reader whose process was killed."""
        with self.lock:
            if row >= 0 and row not in {living for living, _, pid in self.rows() if pid}:
                self.occupy(row, 0)

    def freed(self, position: int) -> None:
        """A reader needs nothing before a position any more: wakes writers that wait for that."""
        (wanted,) = blocks.WORD.unpack_from(self.map, blocks.WANTED_AT)
        if wanted and position >= wanted:
            blocks.WORD.pack_into(self.map, blocks.WANTED_AT, 0)
            self._room.touch(self._room.value() + 1)
            self._room.ring()

    def close(self) -> None:
        """Lets go of the memory. Twice is once."""
        if not self._closed:
            self._room.close()
        super().close()
