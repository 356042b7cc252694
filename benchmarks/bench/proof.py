"""Proof that all messages of a round came, in order: what each carries, and the digest of who took them.

The numbers begin at one that only the sender is told, so a receiver that counts wrongly, or does not look,
cannot know the digest.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

MASK = (1 << 64) - 1
NUMBER_SIZE = 8
LANE = 1 << 32
_FACTOR = 6364136223846793005


def digest_of(seed: int, count: int) -> int:
    """The `Reader.digest` after `count` messages of that seed have come in order."""
    digest = 0
    for number in range(seed, seed + count):
        digest = (digest * _FACTOR + number + 1) & MASK
    return digest


class Job:
    """The work of one round, as a worker is told it.

    Args:
        count: messages, or round trips.
        size: of each payload, in bytes; at least 8.
        seed: the first number; -1: the payload is always the same, and nothing is looked at.
        batch: messages of one bulk call.
        others: of what there are several: targets, subscribers, or requests under way.
    """

    def __init__(
        self, count: int, size: int = 16, seed: int = -1, batch: int = 256, others: int = 1, **rest: object
    ) -> None:
        self.count, self.size, self.seed, self.batch, self.others = count, size, seed, batch, others
        self.rest = rest

    def payloads(self) -> Iterator[bytes]:
        """The payloads of all its messages."""
        if self.seed < 0:
            return itertools.repeat(bytes(self.size), self.count)
        fill = bytes(self.size - NUMBER_SIZE)
        numbers = range(self.seed, self.seed + self.count)
        return (number.to_bytes(NUMBER_SIZE, "little") + fill for number in numbers)

    def reader(self) -> Reader | None:
        """Looks at each message that comes; None if nothing is to be looked at."""
        if self.seed == -1:
            return None
        return Lanes(self.size) if self.rest.get("lanes") else Reader(self.size)

    def watch(self) -> Stopwatch | None:
        """Takes the time of each round trip, where that is asked for."""
        return Stopwatch() if self.rest.get("times") else None


class Stopwatch:
    """Times of single round trips."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.times: list[float] = []

    def lap(self) -> None:
        """From the lap before, or from its beginning, until now."""
        now = time.perf_counter()
        self.times.append(now - self._last)
        self._last = now

    def figures(self) -> dict[str, float]:
        """Median and 99th percentile, in seconds."""
        self.times.sort()
        count = len(self.times)
        return {"p50": self.times[count // 2], "p99": self.times[min(count - 1, count * 99 // 100)]}


class Reader:
    """Folds what comes into a digest. Raises ValueError if something is missing, twice, or out of order."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._last = -1
        self.digest = 0

    def __call__(self, payload: bytes | memoryview) -> None:
        if len(payload) != self._size:
            raise ValueError(f"a message has {len(payload)} bytes, expected {self._size}")
        number = int.from_bytes(payload[:NUMBER_SIZE], "little")
        if self._last not in (-1, number - 1):
            raise ValueError(f"a message is {number - self._last:+d} after the one before, expected +1")
        self._last = number
        self.digest = (self.digest * _FACTOR + number + 1) & MASK


class Lanes(Reader):
    """The same for what several send: the numbers of each are in order, far from those of the others."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._readers: dict[int, Reader] = {}

    def __call__(self, payload: bytes | memoryview) -> None:
        lane = int.from_bytes(payload[:NUMBER_SIZE], "little") // LANE
        reader = self._readers.get(lane)
        if reader is None:
            reader = self._readers[lane] = Reader(self._size)
        reader(payload)
        self.digest = sum(one.digest for one in self._readers.values()) & MASK


def lane_seed(seed: int, number: int) -> int:
    """Where the numbers of one of several begin."""
    return (seed // LANE + number) * LANE


def found(reader: Reader | None, watch: Stopwatch | None = None) -> dict[str, Any]:
    """A worker's result: what it can prove, and the times that it took."""
    told: dict[str, Any] = {} if reader is None else {"digest": reader.digest}
    return told if watch is None else {**told, "figures": watch.figures()}


def take(count: int, receive: Callable[[], bytes | memoryview], reader: Reader | None) -> dict[str, Any]:
    """Receives so many messages, one call each."""
    if reader is None:
        for _ in range(count):
            receive()
    else:
        for _ in range(count):
            reader(receive())
    return found(reader)
