"""A large message on its way out over one link, piece by piece. Data, no rules: outbox.py has those."""

from busway.protocol.fifo import Fifo
from busway.protocol.link.queue import lane_of
from busway.protocol.wire.messages import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Partial:
    """A large message under way in pieces; what follows in its lane waits in `held`, with its queue. As long
    as others are large there, too, each takes over what waits behind the one before, instead of all being
    moved each time.
    """

    __slots__ = ("held", "lane", "large", "number", "out", "payload", "pos")

    def __init__(self, number: int, out: Frame, payload: "Any") -> None:
        self.number = number
        self.out = out
        self.lane = lane_of(out)
        self.payload: "Any" = payload
        self.pos = 0
        self.held = Fifo()  # (queue, frame)
        self.large = 0  # of those in `held`

    def is_written(self) -> bool:
        """Whether nothing of it is left."""
        return self.pos >= len(self.payload)
