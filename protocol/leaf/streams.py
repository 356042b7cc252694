"""Streaming replies of a small leaf (docs/protocol.md, section 7): parts as its asker has room, and the end.

Only boards that stream load it. Knows the leaf's answers; not where the parts come from.
"""

from busway.protocol.errors import LocalError
from busway.protocol.leaf.frames import Message
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def respond_part(
    leaf: "Any", request: Message, payload: bytes, now: int, format: "int | bytes" = codes.RAW
) -> bool:
    """One part of a streaming reply. False: its asker, or this leaf's queue, has no room for it now; offer it
    again later. One that the link does not take ends the request with an error.

    Raises LocalError if the asker wants one reply.
    """
    leaf.check_payload(payload, format)
    if not request.window:
        raise LocalError("the origin asked for one reply, not a stream: use respond")
    if not request.wants_answer:
        return True  # nobody waits for it
    if leaf.exceeds(payload):
        leaf.respond_error(request, codes.MESSAGE_TOO_LARGE, "the part is too large", now)
        return True
    if request.parts >= request.window or len(leaf.answers) >= leaf.pending_max:
        return False
    item = Message(codes.PART, b"", payload, format)
    item.number = request.parts & 0xFFFF
    item.lane = request.lane
    leaf.queue_answer(request.key, request.id, item)
    request.parts += 1
    request.expires = now + max(request.timeout_ms, codes.STREAM_PATIENCE_MS)
    return True


def respond_end(leaf: "Any", request: Message) -> None:
    """The end of a streaming reply, behind its parts."""
    if request.wants_answer:
        item = Message(codes.SIGNAL)
        item.signal = codes.END
        item.number = request.parts & 0xFFFF
        leaf.conclude(request, item)


def give_credit(request: Message, limit: int, now: int) -> None:
    """PART_CREDIT came: its origin has room for parts with an index below `limit`, modulo 65536."""
    gain = (limit - request.window) & 0xFFFF
    if 0 < gain < 0x8000:
        request.window += gain
        request.moved_at = now
    if now - request.moved_at < codes.STREAM_STALL_MS:
        request.expires = max(request.expires, now + codes.STREAM_PATIENCE_MS)
