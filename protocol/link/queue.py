"""Queues of what waits to be written on a link, with the bytes that it counts for."""

from busway.protocol.fifo import Fifo
from busway.protocol.wire import codes
from busway.protocol.wire.messages import Frame

OVERHEAD = 32  # what a queued message counts for besides its payload, bytes
_ENDS_MAX = codes.ANSWERS_MAX >> 1  # errors and signals that wait among the messages of others


class SendQueue(Fifo):
    """Messages in order. Its parts are looked at directly where every message passes."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def add(self, frame: Frame) -> None:
        """One more."""
        self.items.append(frame)
        self.size += len(frame.payload) + OVERHEAD


class TransitQueue(SendQueue):
    """Messages of others, and what ends them: Frames, and Parcels (fast.py)."""

    __slots__ = ("_ends", "passed")

    def __init__(self) -> None:
        super().__init__()
        self._ends = 0  # errors and signals in it
        self.passed = 0  # all that were ever queued here

    def offer(self, out: Frame) -> bool:
        """A message, or what is said of those before it. False if there is no room; what has no payload finds
        room beside the messages, for it ends what they began.
        """
        full = self.size + len(out.payload) + OVERHEAD > codes.TRANSIT_SIZE_MAX
        if out.kind < codes.ERROR:
            full = full and self.size > 0
        elif not out.payload or not full:
            full = self._ends >= _ENDS_MAX
        if full:
            return False
        self.count(out, 1)
        self.items.append(out)
        self.passed += 1
        return True

    def count(self, out: Frame, sign: int) -> None:
        """One more that waits here, or elsewhere in its place; or, with `sign` -1, one less."""
        self.size += sign * (len(out.payload) + OVERHEAD)
        if out.kind >= codes.ERROR:
            self._ends += sign

    def clear(self) -> None:
        """Nothing is counted any more."""
        self.size = self._ends = 0
