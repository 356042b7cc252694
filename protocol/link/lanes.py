"""What may pass what on one link (docs/protocol.md, section 5.5): within a lane nothing, else anything.

Asked only where order could be lost: each lane lies in one queue, which keeps it by itself.
"""

from busway.protocol.wire import codes
from busway.protocol.wire.fields import varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.messaging.flows import Outgoing

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


def is_express(out: "Outgoing") -> bool:
    """Whether it goes before all messages. What is not, is said of the messages before it."""
    return out.kind == codes.SIGNAL and out.extra in EXPRESS


def lane_of(out: "Outgoing") -> bytes:
    """Names the lane: source, destination, and the endpoint or the request that is answered. That of a CANCEL
    that is passed on, which names no endpoint, is the beginning of all from its source to its destination.
    """
    source = b"" if out.transit is None else out.transit.source
    ends = source + out.peer.key
    ends_stream = out.kind == codes.SIGNAL and out.extra == codes.END
    if out.kind in (codes.REPLY, codes.PART, codes.ERROR) or ends_stream:
        return ends + varint(out.id)
    return ends + out.endpoint
