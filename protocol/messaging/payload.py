"""Payloads as queues count them, and as they are shown. Knows no message."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_OBJECT_SIZE: "Final" = 64  # what an object passed by reference counts for in a queue's byte budget
_SHOWN_MAX: "Final" = 64  # characters of a payload in a repr


def size_of(payload: object) -> int:
    """Bytes that a payload counts for in queues."""
    return len(payload) if isinstance(payload, (bytes, memoryview)) else _OBJECT_SIZE


def shown(payload: object) -> str:
    """A payload as a repr has it: its beginning."""
    text = repr(payload[:_SHOWN_MAX] if isinstance(payload, (bytes, str)) else payload)
    cut = len(text) > _SHOWN_MAX + 3 or (isinstance(payload, (bytes, str)) and len(payload) > _SHOWN_MAX)
    return text[:_SHOWN_MAX] + "..." if cut else text
