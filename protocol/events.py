"""All events, as the core tells its caller what happened. Plain objects with an int `kind`; dispatch on that,
not on the type.
"""

from busway.protocol.messaging.endpoints import MessagesEvent as MessagesEvent
from busway.protocol.messaging.events import ReceiverEvent as ReceiverEvent
from busway.protocol.messaging.events import RequestEvent as RequestEvent
from busway.protocol.messaging.events import UndeliverableEvent as UndeliverableEvent
from busway.protocol.outcomes import ACCEPTED as ACCEPTED
from busway.protocol.outcomes import CANCELLED as CANCELLED
from busway.protocol.outcomes import DENIED as DENIED
from busway.protocol.outcomes import DUPLICATE_NODE as DUPLICATE_NODE
from busway.protocol.outcomes import ENDED as ENDED
from busway.protocol.outcomes import ENDPOINT_DOWN as ENDPOINT_DOWN
from busway.protocol.outcomes import ENDPOINT_GONE as ENDPOINT_GONE
from busway.protocol.outcomes import ENDPOINT_UP as ENDPOINT_UP
from busway.protocol.outcomes import EXCEEDED as EXCEEDED
from busway.protocol.outcomes import FABRIC_ASKED as FABRIC_ASKED
from busway.protocol.outcomes import FAILED as FAILED
from busway.protocol.outcomes import LINK_CLOSED as LINK_CLOSED
from busway.protocol.outcomes import LINK_OPEN as LINK_OPEN
from busway.protocol.outcomes import LINK_STATE as LINK_STATE
from busway.protocol.outcomes import LOG as LOG
from busway.protocol.outcomes import LOST as LOST
from busway.protocol.outcomes import MESSAGES as MESSAGES
from busway.protocol.outcomes import NODE_CHANGED as NODE_CHANGED
from busway.protocol.outcomes import NODE_DOWN as NODE_DOWN
from busway.protocol.outcomes import NODE_UP as NODE_UP
from busway.protocol.outcomes import OUTCOME as OUTCOME
from busway.protocol.outcomes import PARTIAL as PARTIAL
from busway.protocol.outcomes import RECEIVER_ASKED as RECEIVER_ASKED
from busway.protocol.outcomes import RECEIVER_BACK as RECEIVER_BACK
from busway.protocol.outcomes import RECEIVER_TAKEN as RECEIVER_TAKEN
from busway.protocol.outcomes import REPLIED as REPLIED
from busway.protocol.outcomes import REQUEST_CANCELLED as REQUEST_CANCELLED
from busway.protocol.outcomes import SAID_GOODBYE as SAID_GOODBYE
from busway.protocol.outcomes import SYNCED as SYNCED
from busway.protocol.outcomes import TAKEN as TAKEN
from busway.protocol.outcomes import TIMED_OUT as TIMED_OUT
from busway.protocol.outcomes import TRACED as TRACED
from busway.protocol.outcomes import UNDELIVERABLE as UNDELIVERABLE
from busway.protocol.outcomes import UNDELIVERED as UNDELIVERED
from busway.protocol.outcomes import UNKNOWN as UNKNOWN
from busway.protocol.outcomes import WITHDRAWN as WITHDRAWN
from busway.protocol.outcomes import Event as Event
from busway.protocol.outcomes import Outcome as Outcome
from busway.protocol.routing.events import DeniedEvent as DeniedEvent
from busway.protocol.routing.events import DuplicateNodeEvent as DuplicateNodeEvent
from busway.protocol.routing.events import EndpointEvent as EndpointEvent
from busway.protocol.routing.events import ExceededEvent as ExceededEvent
from busway.protocol.routing.events import FabricEvent as FabricEvent
from busway.protocol.routing.events import NodeEvent as NodeEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.connection import Connection


class LinkEvent(Event):
    """LINK_OPEN, or LINK_CLOSED with the numbered error, its sentence, and whether the peer was the one who
    said so. LINK_STATE: its `state` has become GREETING, behind its handshake, or CLOSING.
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
