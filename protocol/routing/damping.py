"""News that repeats itself: told at once a few times, then once a second, as it is by then.

Whoever makes something come and go costs every link of the mesh some bytes each time; so what has changed
several times within a second waits for the next tick (RFC 8966, section 3.7.2, for a hold-down of triggered
updates; RFC 2439 and RFC 7196 for whom it is meant: the first changes, by which ways are sought and found,
are never late). To tell later is always safe: a slow link does that, too (docs/routing.md). Knows neither
routes nor endpoints.
"""

from busway.protocol.timers import Timer, Timers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Final

CALM_MS: "Final" = 1000  # what has not changed for so long is news again; and between two ticks
FREE: "Final" = 3  # changes of a thing in that time, behind the first, that are told at once, come what may
_ALL_MIN: "Final" = 128  # ... of those beyond it, of all things together, and ...
_ALL_EACH: "Final" = 1  # ... for each thing that there is


class Damper(Timer):
    """Holds news back. `release` is called with each thing that may be told again, and the time."""

    __slots__ = ("_all", "_all_at", "_release", "_timers", "calm_ms", "each_max", "held")

    def __init__(self, timers: Timers, each_max: int, release: "Callable[[Any, int], None]") -> None:
        self.deadline = -1
        self.calm_ms = CALM_MS
        self.each_max = each_max
        self.held: "dict[Any, bool]" = {}
        self._timers = timers
        self._release = release
        self._all = 0  # changes that were counted in the second that began then
        self._all_at = -CALM_MS

    def turn(self, what: "Any", turns: int, known: int, now: int) -> bool:
        """It has changed again, the `turns`th time (more than FREE) behind the first of its second; there are
        `known` of its kind. Whether it is held from now on.
        """
        if now - self._all_at >= self.calm_ms:
            self._all_at = now
            self._all = 0
        self._all += 1
        if turns <= self.each_max and self._all <= _ALL_MIN + _ALL_EACH * known:
            return False
        return self.hold(what, now)

    def hold(self, what: "Any", now: int) -> bool:
        """It is told at the next tick. Returns False if it was held already."""
        if what in self.held:
            return False
        self.held[what] = True
        if self.deadline < 0:
            self._timers.arm(self, now + self.calm_ms)
        return True

    def fire(self, now: int) -> None:
        held = self.held
        self.held = {}
        for what in held:
            self._release(what, now)
