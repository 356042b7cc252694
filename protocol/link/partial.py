"""A large message on its way out over one link, piece by piece. The rules are in outbox.py."""

from busway.protocol.fifo import Fifo
from busway.protocol.link.queue import SendQueue, lane_of
from busway.protocol.wire.messages import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


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

    def take(self, queue: SendQueue, root: bytes, is_large: "Callable[[Frame], bool]") -> "list[Frame]":
        """Take out what waits behind it of a queue of broadcasts along the tree of `root`."""
        taken: "list[Frame]" = []
        for which, out in self.held.drain():
            if which is queue and out.root() == root:
                taken.append(out)
                self.large -= is_large(out)
            else:
                self.held.push((which, out))
        return taken


def held_of(queue: SendQueue, partials: "list[Partial]") -> "list[Frame]":
    """All of a queue that waits behind large messages: it counts there, but does not lie in it."""
    held: "list[Frame]" = []
    for partial in partials:
        behind = partial.held
        held.extend([out for which, out in behind.items[behind.head :] if which is queue])
    return held
