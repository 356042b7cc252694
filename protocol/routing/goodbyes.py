"""Which sources have said goodbye of late, and which were seen to be lost: so that others can be told.

A goodbye counts for ten seconds: within these every way to its source goes, or it meant one link only.
"""

from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_SEEN_LOST: "Final" = -1 - codes.BELIEF_MS  # in place of when a goodbye was heard: there was none


class Goodbyes:
    """When each source has said goodbye, by its route."""

    __slots__ = ("heard",)

    def __init__(self) -> None:
        self.heard: "dict[object, int]" = {}

    def note(self, route: object, now: int) -> bool:
        """Its source has said goodbye. False: it was lost before our eyes, and nobody else's word counts."""
        if self.is_seen_lost(route):
            return False
        self.heard[route] = now
        return True

    def see_lost(self, route: object, now: int) -> None:
        """Our last session with its source is over, without a goodbye."""
        if not self.count(route, now):
            self.heard[route] = _SEEN_LOST

    def is_seen_lost(self, route: object) -> bool:
        """Whether our last session with its source was the last way to it, and ended without a goodbye."""
        return self.heard.get(route) == _SEEN_LOST

    def count(self, route: object, now: int) -> bool:
        """Whether its source has said goodbye of late."""
        return now - self.heard.get(route, _SEEN_LOST) < codes.BELIEF_MS

    def is_told(self, route: object) -> bool:
        """Whether its source has said goodbye, as far as is noted."""
        return self.heard.get(route, _SEEN_LOST) != _SEEN_LOST

    def has_way(self, route: object, first: bool) -> None:
        """It is there, by some way; `first`: there was none."""
        if first or self.is_seen_lost(route):
            self.heard.pop(route, None)

    def without_way(self, route: object, now: int) -> bool:
        """No way is left, nor an offer; whether its source has said goodbye. One long ago is forgotten."""
        if self.count(route, now):
            return True
        if self.is_told(route):
            del self.heard[route]
        return False

    def forget(self, route: object) -> None:
        """It is there again, or nobody remembers it."""
        self.heard.pop(route, None)
