"""Events about messages and requests, but for the commonest (endpoints.py)."""

from busway.protocol.messaging.endpoints import Receiver
from busway.protocol.messaging.requests import Request
from busway.protocol.outcomes import RECEIVER_TAKEN, REQUEST_CANCELLED, UNDELIVERABLE, Event


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

    def __init__(self, request: Request) -> None:
        self.kind = REQUEST_CANCELLED
        self.request = request


class ReceiverEvent(Event):
    """RECEIVER_TAKEN: another node keeps the name; what is queued can still be taken, then no more comes.
    RECEIVER_BACK: it is registered again, for the other has gone.
    RECEIVER_ASKED: for the first time a receiver that answers nothing was sent a request.
    """

    __slots__ = ("receiver",)

    def __init__(self, receiver: Receiver, kind: int = RECEIVER_TAKEN) -> None:
        self.kind = kind
        self.receiver = receiver
