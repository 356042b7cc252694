"""The answer of a small leaf to TRACE (docs/protocol.md, section 7). Loaded when somebody asks."""

from busway.protocol.leaf.frames import Message
from busway.protocol.wire import codes
from busway.protocol.wire.fields import text8, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def answer_trace(leaf: "Any", link: "Any", asked: Message) -> None:
    """Tell of the link by which it came, and of this leaf."""
    item = Message(codes.SIGNAL)
    item.signal = codes.TRACED
    item.payload = bytes((link.realm,)) + varint(link.link.cost) + text8(link.link.medium) + text8(leaf.label)
    leaf.queue_answer(asked.key, asked.id, item)
