"""Queues of what waits to be written on a link, with the bytes that it counts for, and the lanes in them
(docs/protocol.md, section 5.5): within a lane nothing passes anything, else anything may.

Each lane lies in one queue, which keeps its order by itself: it is asked for only where that could be lost.
"""

from busway.protocol.fifo import Fifo
from busway.protocol.wire import codes
from busway.protocol.wire.fields import varint
from busway.protocol.wire.messages import Frame

OVERHEAD = 32  # what a queued message counts for besides its payload, bytes
_ENDS_MAX = codes.ANSWERS_MAX >> 1  # errors and signals that wait among the messages of others


class SendQueue(Fifo):
    """Messages in order. Its parts are looked at directly where every message passes."""

    __slots__ = ("growing", "size")

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self.growing = 0  # batches (batch.py) that count as full, and may not be

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


# Lanes

# Signals that hold whatever comes before or after them: an absolute number, a question, its answer, news of
# one message. They wait for nobody, so that no queue that is full ever keeps the credit that would empty it.
EXPRESS = (
    codes.CREDIT,
    codes.PART_CREDIT,
    codes.UNDELIVERABLE,
    codes.WHO,
    codes.HAVE,
    codes.PRUNE,
    codes.GRAFT,
    codes.TRACE,
    codes.TRACED,
)


def is_express(frame: Frame) -> bool:
    """Whether it goes before all messages. What is not, is said of the messages before it."""
    return frame.kind == codes.SIGNAL and frame.signal in EXPRESS


def lane_of(frame: Frame) -> bytes:
    """Names the lane: source, destination, and the endpoint or the request that is answered. That of a CANCEL
    that is passed on, which names no endpoint, is the beginning of all from its source to its destination.
    """
    ends = frame.source() + (frame.destination or frame.source())
    ends_stream = frame.kind == codes.SIGNAL and frame.signal == codes.END
    if frame.kind in (codes.REPLY, codes.PART, codes.ERROR) or ends_stream:
        return ends + varint(frame.id)
    return ends + frame.endpoint
