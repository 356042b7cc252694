"""Things that go beside the bytes of a link between programs on one machine (docs/protocol.md, section 5.7):
those of one message, and the numbers and bounds of them all. Data, no rules.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Sequence

OPTION_THINGS: "Final" = 8
OPTION_SHARED: "Final" = 9
FEATURE: "Final" = 0x08  # of the features in HELLO: things are taken

SHARED_MIN: "Final" = 65536  # bytes of a payload from which on it may lie in memory that both sides see
DESCRIPTION_SIZE_MAX: "Final" = 64  # bytes that say where it lies
MESSAGE_MAX: "Final" = 64  # things of one message
BATCH_MAX: "Final" = 190  # ... that are handed over with one write: Linux takes 253
WAITING_MAX: "Final" = 317  # ... that have come and belong to no frame yet: one call's, and a message's
LINK_MAX: "Final" = 256  # ... of messages in receivers' queues that came over one link
NODE_MAX: "Final" = 1024  # ... over all of them
WEIGHT: "Final" = 4096  # bytes that one counts for in a queue of a link; of those passed on 8 times as many


class Things:
    """The things of one message: regions first, then files. `shared` is the description of the payload and
    the thing that holds it, where it lies in shared memory.
    """

    __slots__ = ("items", "region_count", "shared")

    def __init__(self, items: "Sequence[Any]" = (), region_count: int = 0) -> None:
        self.items: "tuple[Any, ...]" = tuple(items)
        self.region_count = region_count
        self.shared: "tuple[bytes, Any] | None" = None
