"""One queue of what waits to be written on a link, with the bytes that it counts for."""

from busway.protocol.fifo import Fifo
from busway.protocol.wire.messages import Frame

OVERHEAD = 32  # what a queued message counts for besides its payload, bytes


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
