"""The lanes of one link: what may pass what (docs/protocol.md, section 5.5): within a lane nothing, else
anything.

Asked only where order could be lost: each lane lies in one queue, which keeps it by itself.
"""

from busway.protocol.wire import codes
from busway.protocol.wire.fields import varint
from busway.protocol.wire.messages import Frame

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
