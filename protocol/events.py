"""What happened, as the core tells its caller. Plain objects with an int `kind`; dispatch on that, not on the
type.
"""

from busway.protocol.outcomes import (
    ACCEPTED,
    CANCELLED,
    DUPLICATE_NODE,
    ENDED,
    ENDPOINT_DOWN,
    ENDPOINT_UP,
    FAILED,
    LINK_CLOSED,
    LINK_OPEN,
    LINK_STATE,
    LOG,
    MESSAGES,
    NODE_CHANGED,
    NODE_DOWN,
    NODE_UP,
    OUTCOME,
    PARTIAL,
    RECEIVER_ASKED,
    RECEIVER_TAKEN,
    REPLIED,
    REQUEST_CANCELLED,
    TAKEN,
    TIMED_OUT,
    TRACED,
    UNDELIVERABLE,
    UNDELIVERED,
    UNKNOWN,
    Event,
    Outcome,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.connection import Connection
    from busway.protocol.messaging.endpoints import Receiver, Request
    from busway.protocol.routing.peers import Entry, Peer

__all__ = [
    "ACCEPTED",
    "CANCELLED",
    "DUPLICATE_NODE",
    "ENDED",
    "ENDPOINT_DOWN",
    "ENDPOINT_UP",
    "FAILED",
    "LINK_CLOSED",
    "LINK_OPEN",
    "LINK_STATE",
    "LOG",
    "MESSAGES",
    "NODE_CHANGED",
    "NODE_DOWN",
    "NODE_UP",
    "OUTCOME",
    "PARTIAL",
    "RECEIVER_ASKED",
    "RECEIVER_TAKEN",
    "REPLIED",
    "REQUEST_CANCELLED",
    "TAKEN",
    "TIMED_OUT",
    "TRACED",
    "UNDELIVERABLE",
    "UNDELIVERED",
    "UNKNOWN",
    "DuplicateNodeEvent",
    "EndpointEvent",
    "Event",
    "LinkEvent",
    "LogEvent",
    "MessagesEvent",
    "NodeEvent",
    "Outcome",
    "ReceiverEvent",
    "RequestEvent",
    "UndeliverableEvent",
]


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


class NodeEvent(Event):
    """NODE_UP, NODE_DOWN: a node became reachable, or is so no longer. NODE_CHANGED: of one that is, its
    label, or that it is a leaf, has become known.
    """

    __slots__ = ("peer",)

    def __init__(self, kind: int, peer: "Peer") -> None:
        self.kind = kind
        self.peer = peer


class EndpointEvent(Event):
    """ENDPOINT_UP, ENDPOINT_DOWN: an endpoint, this node's own too, appeared, changed or was withdrawn."""

    __slots__ = ("entry",)

    def __init__(self, kind: int, entry: "Entry") -> None:
        self.kind = kind
        self.entry = entry


class MessagesEvent(Event):
    """MESSAGES: a receiver's queue is no longer empty; take until `take` returns None."""

    __slots__ = ("receiver",)

    def __init__(self, receiver: "Receiver") -> None:
        self.kind = MESSAGES
        self.receiver = receiver


class DuplicateNodeEvent(Event):
    """DUPLICATE_NODE: two live nodes have the same id, such as two machines from one disk image."""

    __slots__ = ("node_id",)

    def __init__(self, node_id: bytes) -> None:
        self.kind = DUPLICATE_NODE
        self.node_id = node_id


class LogEvent(Event):
    """LOG: what the board at the other end of a packet link printed, or logged; bytes, cut anywhere."""

    __slots__ = ("connection", "text")

    def __init__(self, connection: "Connection", text: bytes) -> None:
        self.kind = LOG
        self.connection = connection
        self.text = text


class UndeliverableEvent(Event):
    """UNDELIVERABLE: a plain send that had been accepted failed later; `reason` says why."""

    __slots__ = ("endpoint", "node_id", "reason", "seq")

    def __init__(self, endpoint: bytes, node_id: bytes, seq: int, reason: int) -> None:
        self.kind = UNDELIVERABLE
        self.endpoint = endpoint
        self.node_id = node_id
        self.seq = seq
        self.reason = reason

    def __repr__(self) -> str:
        return "<undeliverable: message %d to %r at node %r, reason %d>" % (
            self.seq,
            self.endpoint,
            self.node_id,
            self.reason,
        )


class RequestEvent(Event):
    """REQUEST_CANCELLED: its origin no longer wants an answer, is gone, or the deadline passed."""

    __slots__ = ("request",)

    def __init__(self, request: "Request") -> None:
        self.kind = REQUEST_CANCELLED
        self.request = request


class ReceiverEvent(Event):
    """RECEIVER_TAKEN: another node keeps the name; what is queued can still be taken, then no more comes.
    RECEIVER_ASKED: for the first time a receiver that answers nothing was sent a request.
    """

    __slots__ = ("receiver",)

    def __init__(self, receiver: "Receiver", kind: int = RECEIVER_TAKEN) -> None:
        self.kind = kind
        self.receiver = receiver
