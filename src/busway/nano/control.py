"""The page on which workers say how they are, and are told to stop. Shared like the bus.

What is there is written in one piece: `pack_into` writes zeros first, which another process may read.
"""

from __future__ import annotations

import mmap
from struct import Struct
from typing import Literal, NamedTuple, get_args

from busway.nano.memory import Shared, rounded

State = Literal["starting", "running", "ended", "failed", "died"]
_STATES: tuple[State, ...] = get_args(State)

_WORD = Struct("Q")
_WORKER = Struct("IIQQ")  # state, size of the text, process, messages missed
_COUNTERS = Struct("QQQQ")
_STARTED_AT, _TEXT_AT = 32, 64
_WORKER_SIZE, _PART_SIZE = 512, 32
_BEGIN = 64


class Counters(NamedTuple):
    """The counts of a handler."""

    handled: int
    """Messages for which it was called."""
    errors: int
    """Calls that raised; what they had emitted was dropped."""
    emitted: int
    """Messages that it emitted."""
    unrouted: int
    """Messages that it emitted and no route takes from it."""


class WorkerInfo(NamedTuple):
    """The state of a worker."""

    state: State
    """`died`: its process ended without a word, as when it was killed."""
    pid: int
    """Its process."""
    missed: int
    """Messages that it could not have: it was lapped, or a file is damaged."""
    reason: str
    """Why it failed; "" if it did not."""


class Control:
    """One word to stop all, a row for each worker and one for each handler.

    Args:
        workers: how many.
        parts: how many handlers.
    """

    def __init__(self, workers: int, parts: int) -> None:
        self._workers = workers
        self._memory = Shared(rounded(_BEGIN + workers * _WORKER_SIZE + parts * _PART_SIZE, mmap.PAGESIZE))
        self._map = self._memory.map

    def __getstate__(self) -> tuple[int, Shared]:
        return self._workers, self._memory

    def __setstate__(self, state: tuple[int, Shared]) -> None:
        self._workers, self._memory = state
        self._map = self._memory.map

    def stop(self) -> None:
        """All are to end."""
        self._map[0] = 1

    def stopping(self) -> bool:
        """Whether all are to end."""
        return self._map[0] != 0

    def say(self, worker: int, state: State, pid: int, missed: int, reason: str = "") -> None:
        """How a worker is."""
        text = reason.encode(errors="replace")[: _WORKER_SIZE - _TEXT_AT]
        at = _BEGIN + worker * _WORKER_SIZE
        self._map[at + _TEXT_AT : at + _TEXT_AT + len(text)] = text
        self._map[at : at + _WORKER.size] = _WORKER.pack(_STATES.index(state), len(text), pid, missed)
        if state == "running":
            self._map[at + _STARTED_AT] = 1

    def started(self, worker: int) -> bool:
        """Whether it has ever been running."""
        return self._map[_BEGIN + worker * _WORKER_SIZE + _STARTED_AT] != 0

    def worker(self, worker: int) -> WorkerInfo:
        """How a worker said that it is."""
        at = _BEGIN + worker * _WORKER_SIZE
        state, size, pid, missed = _WORKER.unpack_from(self._map, at)
        text = self._map[at + _TEXT_AT : at + _TEXT_AT + size].decode(errors="replace")
        return WorkerInfo(_STATES[state], pid, missed, text)

    def count(self, part: int, counters: Counters) -> None:
        """Notes what a handler has done."""
        at = self._part(part)
        self._map[at : at + _PART_SIZE] = _COUNTERS.pack(*counters)

    def counters(self, part: int) -> Counters:
        """The counts that a handler noted."""
        return Counters(*_COUNTERS.unpack_from(self._map, self._part(part)))

    def _part(self, part: int) -> int:
        return _BEGIN + self._workers * _WORKER_SIZE + part * _PART_SIZE
