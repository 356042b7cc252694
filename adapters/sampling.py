"""Keeps those who may cause lines of a log without end from filling it. Knows no log and no clock."""

from __future__ import annotations

from typing import Final

BURST: Final = 10  # lines at once
EVERY_MS: Final = 6000  # ... and after them one for each


class Sampler:
    """Says which of many alike are told: BURST at once, then one each EVERY_MS, with how many were not."""

    def __init__(self) -> None:
        self._room = BURST
        self._since_ms = 0
        self._left_out = 0

    def take(self, now_ms: int) -> str | None:
        """One more; None if it is not to be told, else what is to be said behind it, "" for most."""
        earned = (now_ms - self._since_ms) // EVERY_MS
        if earned > 0:
            self._room = min(BURST, self._room + earned)
            self._since_ms += earned * EVERY_MS
        if not self._room:
            self._left_out += 1
            return None
        self._room -= 1
        count, self._left_out = self._left_out, 0
        return f" ({count:,} more like it were not told)" if count else ""
