"""How much of large messages that are coming in a node keeps, over all its links, and for how long.

What of them there is, each link knows (inbox.py).
"""

from busway.protocol.timers import Timer, Timers
from busway.protocol.wire import codes


class Pile:
    """The unfinished messages of one link."""

    __slots__ = ("size", "size_max")

    size: int  # bytes kept, with what they cost besides
    size_max: int  # ... and may be

    def drop_stalest(self, now: int) -> None:
        """Give up the one whose last piece came longest ago."""
        raise NotImplementedError

    def drop_stale(self, before: int, now: int) -> None:
        """Give up all whose last piece came before then."""
        raise NotImplementedError


class Buffers:
    """Buffers that large messages were put together in, kept for the next: new memory costs more than the
    copy into it. Of all that are kept, in use or not, there are SPARE_SIZE_MAX bytes at the most.
    """

    __slots__ = ("_idle", "size")

    def __init__(self) -> None:
        self._idle: "list[bytearray]" = []
        self.size = 0  # bytes of those that are kept, and of those that are in use and were

    def take(self) -> bytearray:
        """One of those that are kept; an empty one if there is none."""
        return self._idle.pop() if self._idle else bytearray()

    def give(self, buffer: bytearray, taken: int) -> None:
        """Somebody has done with a buffer, which he got with a size of `taken` bytes."""
        self.size -= taken
        if self.size + len(buffer) <= codes.SPARE_SIZE_MAX:
            self.size += len(buffer)
            self._idle.append(buffer)

    def clear(self) -> None:
        """Keep none of those that are not in use."""
        for buffer in self._idle:
            self.size -= len(buffer)
        self._idle = []


class Unfinished(Timer):
    """The unfinished messages of all links. Where they exceed `size_max` bytes, the link that has the most of
    them loses one: so nobody's flood takes the place of another link's message.
    """

    __slots__ = ("_piles", "_timers", "buffers", "size", "size_max")

    def __init__(self, timers: Timers) -> None:
        self.deadline = -1
        self._timers = timers
        self._piles: "dict[Pile, bool]" = {}
        self.size = 0
        self.size_max = codes.UNFINISHED_SIZE_MAX
        self.buffers = Buffers()

    def grown(self, pile: Pile, size: int, now: int) -> None:
        """So many bytes came to a link's; or, below 0, went."""
        self.size += size
        pile.size += size
        if not pile.size:
            self._piles.pop(pile, None)
            return
        self._piles[pile] = True
        while pile.size > pile.size_max:
            pile.drop_stalest(now)
        while self.size > self.size_max:
            largest = pile
            for other in self._piles:
                if other.size > largest.size:
                    largest = other
            largest.drop_stalest(now)
        if self.deadline < 0:
            self._timers.arm(self, now + codes.UNFINISHED_MS)

    def fire(self, now: int) -> None:
        """Give up what has not grown for long."""
        for pile in list(self._piles):
            pile.drop_stale(now - codes.UNFINISHED_MS, now)
        if self._piles:
            self._timers.arm(self, now + (codes.UNFINISHED_MS >> 1))
        else:
            self.buffers.clear()
