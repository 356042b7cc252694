"""All events, as the core tells its caller what happened. Plain objects with an int `kind`; dispatch on that,
not on the type.
"""

from busway.protocol.messaging.endpoints import MessagesEvent as MessagesEvent
from busway.protocol.messaging.events import ReceiverEvent as ReceiverEvent
from busway.protocol.messaging.events import RequestEvent as RequestEvent
from busway.protocol.messaging.events import UndeliverableEvent as UndeliverableEvent
from busway.protocol.outcomes import *  # noqa: F403, the numbers
from busway.protocol.outcomes import LOG, Event
from busway.protocol.outcomes import Outcome as Outcome
from busway.protocol.routing.events import DuplicateNodeEvent as DuplicateNodeEvent
from busway.protocol.routing.events import EndpointEvent as EndpointEvent
from busway.protocol.routing.events import NodeEvent as NodeEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.connection import Connection


class LinkEvent(Event):
    """LINK_OPEN, or LINK_CLOSED with the numbered error, its sentence, and whether the peer was the one who
    said so. LINK_STATE: its `state` has become AUTHENTICATING or CLOSING.
    """

    __slots__ = ("by_peer", "code", "connection", "text")

    def __init__(
        self, kind: int, connection: "Connection", code: int = 0, text: str = "", by_peer: bool = False
    ) -> None:
        self.kind = kind
        self.connection = connection
        self.code = code
        self.text = text
        self.by_peer = by_peer


class LogEvent(Event):
    """LOG: what the board at the other end of a packet link printed, or logged; bytes, cut anywhere."""

    __slots__ = ("connection", "text")

    def __init__(self, connection: "Connection", text: bytes) -> None:
        self.kind = LOG
        self.connection = connection
        self.text = text
