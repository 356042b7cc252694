"""The order in which a name's addresses are tried: a state machine without clock, socket or loop (RFC 8305).

Times are seconds of any origin and are given; an address is known by its number in the list. What is done
about it is attempts.py's.
"""

from __future__ import annotations

from collections import deque


class Race:
    """The candidates of one attempt, best first.

    Args: `count` of them; `stagger` seconds after which the next is started beside those that have not
    answered yet (RFC 8305, section 5), 0 for one after the other.
    """

    def __init__(self, count: int, stagger: float) -> None:
        self._stagger = stagger
        self._waiting = deque(range(count))
        self._running: set[int] = set()
        self._next_at = 0.0

    @property
    def over(self) -> bool:
        """Whether all have failed."""
        return not self._waiting and not self._running

    def is_running(self, number: int) -> bool:
        return number in self._running

    def next_in(self, now: float) -> float:
        """Seconds until the next one is to be started; 0 for now, -1 for not until one has failed."""
        if not self._waiting:
            return -1.0
        if not self._running:
            return 0.0
        return max(0.0, self._next_at - now) if self._stagger else -1.0

    def start(self, now: float) -> int:
        """The number of the one that is tried from now on."""
        number = self._waiting.popleft()
        self._running.add(number)
        self._next_at = now + self._stagger
        return number

    def failed(self, number: int, now: float) -> None:
        """It is out; the next one need not wait any longer."""
        self._running.discard(number)
        self._next_at = now

    def won(self, number: int) -> list[int]:
        """It is connected. The others that were under way are no longer, and come first if it turns out to be
        no good: their numbers.
        """
        self._running.discard(number)
        others = sorted(self._running)
        self._running.clear()
        self._waiting.extendleft(reversed(others))
        return others
