"""The memory of a leaf: endpoints, and the pairs it sends to or hears from. Data, no rules."""

from busway.protocol.wire import codes
from busway.protocol.wire.entries import write_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from busway.protocol.leaf.frames import Message


class Event:
    """An event; `kind` and `status` are those of outcomes.py. What a kind does not have is empty.

    LINK_OPEN, LINK_CLOSED: connection, code, text, by_peer. MESSAGES, RECEIVER_TAKEN, RECEIVER_BACK:
    receiver. OUTCOME: token, status, code, text, payload, format; of a message to a selector endpoint, node
    (with its incarnation), and left, how many more come for this token. UNDELIVERABLE: endpoint, code (the
    reason). REQUEST_CANCELLED: request.
    """

    token = 0
    status = 0
    payload = b""
    format = 0
    endpoint = b""
    node = b""
    left = 0
    by_peer = False
    connection: "Any" = None  # a LeafConnection
    receiver: "Receiver | None" = None
    request: "Message | None" = None

    def __init__(self, kind: int, code: int = 0, text: str = "") -> None:
        self.kind = kind
        self.code = code
        self.text = text


class Receiver:
    """One endpoint of this leaf and its queue."""

    closed = False
    lost = False  # another node keeps the name

    labels = b""  # as they travel

    def __init__(self, uuid: bytes, kind: int, realm: int, name: str, cost: int, queue_max: int) -> None:
        self.uuid = uuid
        self.kind = kind
        self.realm = realm
        self.name = name
        self.cost = cost
        self.queue_max = queue_max
        self.credit = min(codes.OPENING_CREDIT, queue_max // 2)  # for an origin that has not heard of us
        self.queue: "list[Message]" = []

    def encode(self, head: int, place: bytes, labels: bool = False) -> bytes:
        """As an entry of DIRECTORY, or with more in its `head` as a holder of HAVE; with its `labels`, if the
        other side knows what they are.
        """
        told = self.labels if labels else b""
        return write_entry(head | self.kind, place, self.credit, self.cost, self.name, told)


class Flow:
    """The messages that one origin sends to one of our endpoints, or we send to one endpoint at one node.
    `endpoint` has their lane byte behind it, if it is not the usual one.
    """

    limit = 0  # the highest number that may be sent
    # Of one that comes in
    queued = 0
    due = False  # its limit is to be told
    session = 0
    heard_at = 0  # ms
    # Of one that goes out
    realm = 0  # of the endpoint
    probe_at = 1 << 62  # ms; NEVER: not blocked
    probe_ms = codes.PROBE_MS  # until it asks, when it is blocked
    in_doubt = False  # the destination may have a lower limit in mind: it is asked at once

    def __init__(self, key: bytes, endpoint: bytes, last: int = 0) -> None:
        self.key = key
        self.endpoint = endpoint
        self.last = last  # the number of the last message

    def has_credit(self, receiver: Receiver) -> bool:
        """Whether its origin waits for credit, as its messages come to that receiver: not who publishes."""
        replays = len(self.endpoint) > codes.ID_SIZE and self.endpoint[codes.ID_SIZE] & codes.REPLAY
        return receiver.kind != codes.BROADCAST or replays != 0


class Target:
    """All that is known of an endpoint that we send to."""

    asked = False  # in this session
    known = False  # the router has answered in this session
    cast = False  # ... that it is of kind broadcast
    credit = 0  # of who has not sent to its holder yet
    flow: "Flow | None" = None
