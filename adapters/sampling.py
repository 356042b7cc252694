"""Keeps those who may cause lines of a log without end from filling it. Knows no log and no clock."""

from __future__ import annotations

from typing import Final

BURST: Final = 10  # lines at once
EVERY_MS: Final = 6000  # ... and after them one for each
SOURCES_MAX: Final = 64


class Sampler:
    """Says which of many alike are told: `burst` at once, then one each `every_ms`, with how many were
    not.
    """

    def __init__(self, burst: int = BURST, every_ms: int = EVERY_MS) -> None:
        self._burst = self._room = burst
        self._every_ms = every_ms
        self._since_ms = 0
        self._left_out = 0

    def take(self, now_ms: int) -> str | None:
        """One more; None if it is not to be told, else what is to be said behind it, "" for most."""
        earned = (now_ms - self._since_ms) // self._every_ms
        if earned > 0:
            self._room = min(self._burst, self._room + earned)
            self._since_ms += earned * self._every_ms
        if not self._room:
            self._left_out += 1
            return None
        self._room -= 1
        count, self._left_out = self._left_out, 0
        return f" ({count:,} more like it were not told)" if count else ""


class FairSampler:
    """The same of many alike that several cause: of all together `burst` at once and one each `every_ms`, of
    these of each source a fifth at once, and then a tenth. So one that floods leaves room for the others.

    It remembers SOURCES_MAX of them: who has more of them has what all have together, and no more.
    """

    def __init__(self, burst: int, every_ms: int) -> None:
        self._burst = burst
        self._every_ms = every_ms
        self._all = Sampler(burst, every_ms)
        self._each: dict[str, Sampler] = {}

    def take(self, source: str, now_ms: int) -> bool:
        """One more, of that source ("": of whichever, who share what all have); whether it is to be told."""
        if not source:
            return self._all.take(now_ms) is not None
        sampler = self._each.pop(source, None) or Sampler(self._burst // 5, 10 * self._every_ms)
        self._each[source] = sampler
        if len(self._each) > SOURCES_MAX:
            del self._each[next(iter(self._each))]  # the one that has been quiet for longest
        return sampler.take(now_ms) is not None and self._all.take(now_ms) is not None
