"""A reader's place on a bus: takes blocks in order, sleeps until there are some, and says how far it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from busway.nano import blocks
from busway.nano.blocks import Block, Cursor
from busway.nano.errors import Damaged, Lapped, Missed
from busway.nano.waiting import NAP_MAX_S

if TYPE_CHECKING:
    from busway.nano.log import Log

TAKE_MAX = 256 << 10
"""Bytes of blocks that are taken at a time, one block at least."""

_LOOKS = 60  # at a block that is not whole, in 60 ms, before it is taken for damaged
ASIDE_LAPS = 16
"""How many times the size of a ring a reader sets aside for itself while it waits for room to write."""


class Reader:
    """Made by `attach`. Not to be shared between threads; a process that is forked may take it over.

    Args:
        log: its bus.
        row: where its cursor stands; -1: nowhere.
        position: where it begins.
        expected: the number of the message there, None if it is not known.
        done: how many messages of the block there were handled before.
        turn: of its cursor.
    """

    def __init__(
        self, log: Log, row: int, position: int, expected: int | None, *, done: int = 0, turn: int = 0
    ) -> None:
        self.log = log
        self.row = row
        self.position = position
        self.done = done
        self.as_view = False  # whether blocks are the bus's own memory
        self.hurried: Callable[[], bool] = bool  # whether it is not to wait for room any more
        self._expected = expected
        self._turn = turn
        self._at = blocks.READERS_AT + blocks.READER_SIZE * row
        self._pid = os.getpid()  # the process that the row says it is of; 0: closed
        self._aside: list[Block] = []
        self._aside_size = 0
        self._lost: Missed | None = None  # behind what was set aside

    def take(self, end: int = -1) -> list[Block]:
        """The next blocks, of TAKE_MAX bytes about; none if there are none.

        Args:
            end: what begins at or behind this position is left for later.

        Raises:
            Lapped, Damaged: some are lost. The next call goes on behind them.
        """
        if self._aside:
            found, self._aside, self._aside_size = self._aside, [], 0
            return found
        if self._lost is not None:
            error, self._lost = self._lost, None
            raise error
        found = self._taken(end)
        if found and not self.as_view:
            self._free(self.position)
        return found

    def _taken(self, end: int) -> list[Block]:
        found: list[Block] = []
        if not self.log.grown(self.position):
            return found
        state = self.log.state()
        if self.position < state.head:
            raise self._lapped()
        tail = state.tail if end < 0 else min(end, state.tail)
        size = 0
        while self.position < tail and size < TAKE_MAX:
            block = self.log.read(self.position, tail, as_view=self.as_view)
            if block is None:
                if found:
                    break
                block = self._look_again(tail)
            size += block.end - block.position
            self.position = block.end
            if block.messages:
                self._expected = block.first + block.messages
                found.append(block)
        return found

    def _look_again(self, tail: int) -> Block:
        """At a block that is not whole: it may be seen too early, be overwritten, or be damaged."""
        for _ in range(_LOOKS):
            if self.position < self.log.state().head:
                raise self._lapped()
            block = self.log.read(self.position, tail, as_view=self.as_view)
            if block is not None:
                return block
            time.sleep(0.001)
        where = self.position
        missed = self._move()
        raise Damaged(missed, self.position, f"the bytes {where} to {self.position} are damaged")

    def _lapped(self) -> Lapped:
        missed = self._move()
        return Lapped(missed, self.position, "the writers came round first; read faster or enlarge the ring")

    def _move(self) -> int:
        """Goes on where there is something. Returns how many messages were passed over."""
        self.position, first = self.log.resync(self.position)
        missed = first - self._expected if self._expected is not None else 0
        self._expected, self.done = first, 0
        self._free(self.position)
        return missed

    def whole(self, block: Block) -> bool:
        """Whether a block that was handed out as a view still is what it was."""
        if self.log.keeps:
            return True
        if self.log.state().head > block.position:
            return False
        return not self.log.summed or self.log.read(block.position, block.end, as_view=True) is not None

    def wait(self, timeout: float) -> bool:
        """Sleeps until there is something to take, `timeout` seconds at most. Returns whether there is."""
        if self._aside or self._lost or self._comes():
            return True
        bell = self.log.bell
        flag = blocks.ASLEEP_AT + self.row
        end = time.monotonic() + timeout
        times = 0
        while True:
            seen = bell.value()
            if self._comes():
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            if self.row >= 0:
                self.log.map[flag] = 1
            bell.wait(seen, min(left, NAP_MAX_S), times)
            if self.row >= 0:
                self.log.map[flag] = 0
            times += 1

    def _comes(self) -> bool:
        """Whether there is something to take. A writer that was killed may have left half a number."""
        return self.log.grown(self.position) and self.log.state().tail > self.position

    def keep(self, position: int, done: int = 0, as_of: int = -1) -> None:
        """Says how far it is: all before `position` is handled, and `done` messages of the block there.

        Args:
            position: of a block.
            done: of its messages.
            as_of: the end of what this reader wrote itself, -1 if it knows of none after `position`.
        """
        self._turn = (self._turn + 1) & 0xFFFFFFFF
        cursor = Cursor(position, done, max(position, as_of), self._turn)
        blocks.pack_cursor(self.log.map, self._at, cursor)
        if self.as_view:
            self._free(position)

    def kept(self) -> int:
        """The position before which all is handled."""
        found = blocks.cursor_of(self.log.map, self._at)
        return 0 if found is None else found.position

    def _free(self, position: int) -> None:
        """Lets writers have what lies before a position."""
        if self.row >= 0:
            words = (position, position ^ blocks.FLIPPED)
            blocks.PAIR.pack_into(self.log.map, self._at + blocks.FREED_AT, *words)
            self.log.freed(position)

    def set_aside(self) -> bool:
        """Takes what waits for it into memory of its own, so that there is room. False: nothing more fits."""
        if self.row < 0 or self.as_view or self._lost or self._aside_size > ASIDE_LAPS * self.log.lap:
            return False
        try:
            found = self._taken(-1)
        except Missed as error:
            self._lost = error
            return False
        self._aside += found
        self._aside_size += sum(block.end - block.position for block in found)
        if found:
            self._free(self.position)
        return bool(found)

    def adopt(self, pid: int) -> None:
        """Says which process reads by this name from now on: told by that one, by this one, or by both."""
        if self.row >= 0:
            with self.log.lock:
                if self.log.process_at(self.row) == self._pid:
                    self.log.occupy(self.row, pid)
        self._pid = pid

    def close(self) -> None:
        """Nobody reads by this name any more; where it was is kept. Who has the name by now keeps it."""
        if self.row >= 0 and self._pid and self.log.process_at(self.row) == self._pid:
            self.log.occupy(self.row, 0)
            self.log.freed(blocks.FLIPPED)
        self._pid = 0
