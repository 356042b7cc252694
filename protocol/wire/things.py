"""Things that go beside the bytes of a link between programs on one machine (docs/protocol.md, section 5.8):
those of one message, its two options, and the numbers and bounds of them all.

Knows no link; nodes of boards, which have no such links, do without this.
"""

from busway.protocol.errors import LocalError, Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Sequence

OPTION_THINGS: "Final" = 8
OPTION_SHARED: "Final" = 10
ASIDE: "Final" = 0x08  # of the features in HELLO: things are taken

SHARED_MIN: "Final" = 65536  # bytes of a payload from which on it may lie in memory that both sides see
DESCRIPTION_SIZE_MAX: "Final" = 64  # bytes that say where it lies
MESSAGE_MAX: "Final" = 64  # things of one message
BATCH_MAX: "Final" = 190  # ... that are handed over with one write: Linux takes 253
WAITING_MAX: "Final" = 317  # ... that have come and belong to no frame yet: one call's, and a message's
LINK_MAX: "Final" = 256  # ... of messages in receivers' queues that came over one link
FAR_MAX: "Final" = 16  # ... under way from one origin to one endpoint over several hops
NODE_MAX: "Final" = 1024  # ... over all of them, and from this node itself
STREAM_MAX: "Final" = 32  # ... in unread parts of one reply: then its server waits before it sends another
# Bytes that one counts for in the queues of a link, so that 256 fill it; what is passed on has more room.
WEIGHT: "Final" = codes.QUEUE_SIZE_MAX >> 8
TRANSIT_WEIGHT: "Final" = 32000

OPTION_SIZE: "Final" = 4  # of THINGS, with what stands before its value


class Things:
    """All that goes beside one message: regions first, then files, and where its payload lies.

    It may be of several frames, which carry the same message over several links.
    """

    __slots__ = ("count", "description", "items", "region_count", "several", "shared")

    def __init__(self, items: "Sequence[Any]" = (), region_count: int = 0) -> None:
        self.items: "tuple[Any, ...]" = tuple(items)
        self.region_count = region_count
        self.count = len(self.items)  # also when they have been dropped
        # The description of the payload and the thing that holds it, once it lies in shared memory.
        self.shared: "tuple[bytes, Any] | None" = None
        self.description = b""  # of a frame that is being read or written: its payload lies there
        self.several = False  # links get the message, or one and a receiver of this node

    def drop(self) -> None:
        """Nobody wants them any more."""
        self.items = ()
        self.shared = None


def beside(payload: "Any", items: "Sequence[Any]", region_count: int) -> "Things | None":
    """All that may go beside a message that is to be sent; None: nothing. Raises LocalError."""
    if items or region_count:
        if len(items) > MESSAGE_MAX:
            text = "a message may have %d files and regions, not %d: send several"
            raise LocalError(text % (MESSAGE_MAX, len(items)))
        if not 0 <= region_count <= len(items):
            raise LocalError("regions must be 0 to the number of things, not %r" % region_count)
        return Things(items, region_count)
    lies_aside = type(payload) is memoryview or (type(payload) is bytes and len(payload) >= SHARED_MIN)
    return Things() if lies_aside else None


def described(things: "Things | None", description: bytes) -> Things:
    """The same for a frame that says where its payload lies."""
    found = Things() if things is None else Things(things.items, things.region_count)
    found.description = description
    return found


# The options


def read_counts(value: Reader, things: "Things | None") -> Things:
    """THINGS: how many regions and files there are, in whose places stands None. Raises Refusal."""
    regions, files = (value.u8(), value.u8()) if value.left() == 2 else (0, 0)
    if not 1 <= regions + files <= MESSAGE_MAX or (things is not None and things.count):
        raise Refusal(codes.MALFORMED, "option THINGS has not 2 bytes, of 1 to 64 in all, or comes twice")
    found = Things((None,) * (regions + files), regions)
    if things is not None:
        found.description = things.description
    return found


def write_counts(things: "Things | None") -> "bytes | None":
    """The value of THINGS; None: there is none."""
    if things is None or not things.items:
        return None
    return bytes((things.region_count, len(things.items) - things.region_count))


def read_shared(value: Reader, things: "Things | None") -> Things:
    """SHARED: where the payload lies. Raises Refusal."""
    if not 0 < value.left() <= DESCRIPTION_SIZE_MAX or (things is not None and things.description):
        raise Refusal(codes.MALFORMED, "option SHARED has not 1 to 64 bytes, or comes twice")
    return described(things, value.take(value.left()))


def write_shared(things: "Things | None") -> "bytes | None":
    """The value of SHARED; None: there is none."""
    return things.description if things is not None and things.description else None
