"""What a leaf remembers: endpoints, messages, and the pairs it sends to or hears from. Data, no rules."""

from busway.protocol import codes
from busway.protocol.leaf_frames import Header
from busway.protocol.wire import text8, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.leaf_link import LeafConnection

# States of a message of ours, and of one that wants an answer.
WAITING: "Final" = 0
SENT: "Final" = 1  # or taken
OVER: "Final" = 2


class Event:
    """What happened; `kind` and `status` are those of events.py. Fields that a kind does not have stay empty.

    LINK_OPEN, LINK_CLOSED: connection, code, text, by_peer. MESSAGES, RECEIVER_TAKEN: receiver. OUTCOME:
    token, status, code, text, payload, format. UNDELIVERABLE: endpoint, code (the reason).
    REQUEST_CANCELLED: request.
    """

    def __init__(self, kind: int, code: int = 0, text: str = "") -> None:
        self.kind = kind
        self.code = code
        self.text = text
        self.token = 0
        self.status = 0
        self.payload = b""
        self.format = 0
        self.endpoint = b""
        self.by_peer = False
        self.connection: "LeafConnection | None" = None
        self.receiver: "Receiver | None" = None
        self.request: "Message | None" = None


class Receiver:
    """One endpoint of this leaf and its queue."""

    def __init__(self, uuid: bytes, kind: int, realm: int, name: str, cost: int, queue_max: int) -> None:
        self.uuid = uuid
        self.kind = kind
        self.realm = realm
        self.name = name
        self.cost = cost
        self.queue_max = queue_max
        self.queue: "list[Message]" = []
        self.closed = False

    def credit(self) -> int:
        """What an origin may send before it has heard of us: half the queue, 4 at most."""
        return min(codes.OPENING_CREDIT, max(1, self.queue_max // 2))

    def encode(self) -> bytes:
        """The directory entry."""
        head = self.kind
        tail = b""
        if self.credit() != codes.OPENING_CREDIT:
            head |= 0x10
            tail = varint(self.credit())
        if self.cost:
            head |= 0x20
            tail += varint(self.cost)
        if self.name:
            head |= 0x40
            tail += text8(self.name)
        return bytes((head,)) + self.uuid + tail


class Message:
    """A message that came; with `wants_answer` a request: `Leaf.respond` and its sisters end it."""

    def __init__(self, receiver: Receiver, flow: "InFlow", header: Header, payload: bytes) -> None:
        self.receiver = receiver
        self.flow = flow
        self.payload = payload
        self.format = header.format
        self.type_id = header.type_id
        self.seq = flow.received
        self.missed = 0
        self.id = header.id
        self.confirm = header.kind == codes.CONFIRM
        self.timeout_ms = header.timeout_ms
        self.expires = 0
        self.state = WAITING if header.id else OVER

    @property
    def source(self) -> bytes:
        """The sending node's id, 16 bytes."""
        return self.flow.key[: codes.ID_SIZE]

    @property
    def endpoint(self) -> bytes:
        """The uuid it was sent to, 16 bytes."""
        return self.receiver.uuid

    @property
    def wants_answer(self) -> bool:
        """A request that nobody has answered yet."""
        return self.state != OVER and not self.confirm


class InFlow:
    """What one origin sends to one of our endpoints."""

    def __init__(self, key: bytes, receiver: Receiver, received: int, now: int) -> None:
        self.key = key
        self.receiver = receiver
        self.received = received
        self.limit = received + receiver.credit()
        self.queued = 0
        self.due = False  # its limit is to be told
        self.session = 0
        self.last_used = now


class OutFlow:
    """What we send to one endpoint at one node."""

    def __init__(self, key: bytes, endpoint: bytes) -> None:
        self.key = key
        self.endpoint = endpoint
        self.sent = 0
        self.limit = 0
        self.opening = codes.OPENING_CREDIT
        self.last_used = 0
        self.probe_at = -1  # ms; -1: not blocked
        self.probe_ms = codes.PROBE_MS


class Target:
    """What is known of an endpoint that we send to."""

    def __init__(self) -> None:
        self.asked = False  # in this session
        self.known = False  # the router has answered in this session
        self.flow: "OutFlow | None" = None
