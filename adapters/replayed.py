"""Which numbers of sealed messages came already: each is taken once. Knows no keys and no messages."""

from __future__ import annotations

from typing import Any

WINDOWS_MAX = 16384
_LOOK_MS = 1000
SEEN_MAX = 1024
"""Numbers that are kept of one sender and endpoint, where several receivers share it; what is older is taken
for one that came before.
"""
SEEN_ALL = 65536
"""... of all, roughly: where windows are more than that is enough for each keeps fewer, but _SEEN_MIN."""
_SEEN_MIN = 32


class _Window:
    __slots__ = ("floor", "seen", "until")

    def __init__(self) -> None:
        self.floor = 0
        self.seen: dict[int, None] = {}
        self.until = 0


class Windows:
    """Numbers that came, by sender, its run, and endpoint, in bounded memory. A window is forgotten when all
    that it has seen would be refused for its deadline, and never before: where there is no room, nothing new
    is taken.
    """

    def __init__(self) -> None:
        self._windows: dict[Any, _Window] = {}
        self._of: dict[Any, int] = {}  # how many each sender has
        self._looked_at = -_LOOK_MS
        self._forgotten = -1  # the latest `until` of one that was forgotten, ms

    def __len__(self) -> int:
        return len(self._windows)

    def take(
        self, where: tuple[bytes, Any, Any], number: int, until: int, arrived: int, now: int, in_order: bool
    ) -> bool:
        """Whether a message is the first with its number, and with `in_order` later than all that came.

        Args: `where` says whose it is: sender, run, endpoint; one that arrives later than `until` is refused
        without this; it `arrived` before or `now`, all in ms.
        """
        window = self._windows.get(where)
        if window is None:
            # One that has waited in a queue since then may have been seen by a window that is forgotten.
            if not self._has_room(where[0], now) or arrived <= self._forgotten:
                return False
            window = self._windows[where] = _Window()
            self._of[where[0]] = self._of.get(where[0], 0) + 1
        if (
            number <= window.floor
            or number in window.seen
            or (in_order and number < max(window.seen, default=0))
        ):
            return False
        window.until = max(window.until, until)
        window.seen[number] = None
        most = min(SEEN_MAX, max(_SEEN_MIN, SEEN_ALL // len(self._windows)))
        while len(window.seen) > (0 if in_order else most):
            oldest = min(window.seen)
            del window.seen[oldest]
            window.floor = oldest
        return True

    def _has_room(self, sender: bytes, now: int) -> bool:
        share = self._of.get(sender, 0)
        if (
            len(self._windows) >= WINDOWS_MAX or share >= WINDOWS_MAX // 4
        ) and now >= self._looked_at + _LOOK_MS:
            self._looked_at = now
            self._forget(now)
        return len(self._windows) < WINDOWS_MAX and self._of.get(sender, 0) < WINDOWS_MAX // 4

    def _forget(self, now: int) -> None:
        for where, window in list(self._windows.items()):
            if window.until < now:
                self._forgotten = max(self._forgotten, window.until)
                del self._windows[where]
                self._of[where[0]] -= 1
                if not self._of[where[0]]:
                    del self._of[where[0]]
