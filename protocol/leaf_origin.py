"""What a small leaf sends: whom it goes to, whether it may go now, and what becomes of it.

The lower half of `Leaf` (leaf.py), which adds what comes in. Knows its link only as something that asks
for the next.
"""

from busway.protocol import codes, events
from busway.protocol.errors import ClosedError, FullError, LocalError, Refusal, WrongKindError
from busway.protocol.leaf_frames import Header, Item
from busway.protocol.leaf_state import OVER, SENT, WAITING, Event, InFlow, Message, OutFlow, Receiver, Target
from busway.protocol.wire import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from busway.protocol.leaf_link import LeafConnection


class LeafOrigin:
    """The sending side of a leaf; its arguments are those of `Leaf`."""

    def __init__(
        self,
        node_id: bytes,
        *,
        entropy: "Callable[[int], bytes]",
        bus: str = "default",
        label: str = "",
        limits: "tuple[int, int, int, int]" = (256, 1024, 16, 1),
        queue_size_max: int = 4096,
        pending_max: int = 8,
        peers_max: int = 16,
    ) -> None:
        check_id("node_id", node_id)
        if not 1 <= len(bus.encode()) <= codes.TEXT_SIZE_MAX:
            raise LocalError("a bus name must have 1 to 64 bytes of UTF-8")
        if len(label.encode()) > codes.TEXT_SIZE_MAX:
            raise LocalError("a label must have at most 64 bytes of UTF-8")
        if pending_max < 1 or peers_max < 1 or queue_size_max < 1:
            raise LocalError("pending_max, peers_max and queue_size_max must be at least 1")
        self.bus = bus
        self.label = label
        self.limits = limits
        self.key = node_id + entropy(codes.INCARNATION_SIZE)
        self.queue_size_max = queue_size_max
        self.pending_max = pending_max
        self.peers_max = peers_max
        self.link: "LeafConnection | None" = None
        self.receivers: "list[Receiver]" = []
        self.stirred = False  # there may be something to write
        self.closed = False
        self.counters = {"late": 0, "refused": 0, "dropped": 0, "missed": 0, "unknown_reply": 0, "strayed": 0}
        self._entropy = entropy
        self._events: "list[Event]" = []
        self._sessions = 0
        self._id = 0
        self._versions = [0, 0, 0, 0]  # of our lines, by realm
        self._told = [0, 0, 0, 0]  # what the router has of them
        self._queued_size = 0
        self._items: "list[Item]" = []  # messages that have not been written, in order
        self._pending: "list[Item]" = []  # those that somebody waits for, written or not
        self._answers: "list[Item]" = []
        self._serving: "list[Message]" = []  # requests without an answer
        self._targets: "dict[bytes, Target]" = {}
        self._out: "list[OutFlow]" = []
        self._in: "list[InFlow]" = []
        self._casts: "dict[bytes, int]" = {}  # the last number of what we publish
        self._pruned: "list[bytes]" = []  # of these nobody wants any, now
        self._sync_due = False

    @property
    def node_id(self) -> bytes:
        """This node's id, 16 bytes."""
        return self.key[: codes.ID_SIZE]

    # Sending

    def send(
        self,
        endpoint: bytes,
        payload: bytes,
        now: int,
        format: int = codes.RAW,
        *,
        confirm: bool = False,
        ttl_ms: int = 0,
        timeout_ms: int = 30000,
    ) -> int:
        """Send to a unicast or anycast endpoint. Returns a token whose Outcome will come: ACCEPTED when
        it was written, or UNDELIVERED; with `confirm` TAKEN, UNDELIVERED or UNKNOWN within `timeout_ms`.
        Raises FullError when `pending_max` messages are under way, WrongKindError, LocalError.
        """
        kind = codes.CONFIRM if confirm else codes.SEND
        return self._submit(kind, endpoint, payload, now, format, ttl_ms, timeout_ms)

    def request(
        self,
        endpoint: bytes,
        payload: bytes,
        now: int,
        format: int = codes.RAW,
        *,
        ttl_ms: int = 0,
        timeout_ms: int = 30000,
    ) -> int:
        """Ask a unicast or anycast endpoint for one reply. Returns a token; exactly one terminal Outcome
        comes within `timeout_ms`.
        """
        return self._submit(codes.REQUEST, endpoint, payload, now, format, ttl_ms, timeout_ms)

    def _submit(
        self,
        kind: int,
        endpoint: bytes,
        payload: bytes,
        now: int,
        format: int,
        ttl_ms: int,
        timeout_ms: int,
    ) -> int:
        self._check_message(endpoint, payload, format)
        if not 0 <= ttl_ms <= 0x7FFFFFFF or not 0 <= timeout_ms <= 0x7FFFFFFF:
            raise LocalError("ttl_ms and timeout_ms must be 0 to 2147483647 ms")
        if self._receiver(endpoint) is not None:
            raise LocalError("this leaf serves that endpoint itself: call its handler")
        if endpoint in self._casts:
            raise WrongKindError("this leaf publishes to that endpoint, it is of kind broadcast")
        if len(self._pending) >= self.pending_max:
            raise FullError("%d messages are under way: wait for an outcome" % self.pending_max)
        target = self._target(endpoint)
        item = Item(kind, endpoint, payload, format)
        self._id = self._id % codes.ID_MAX + 1
        item.id = self._id
        if kind != codes.SEND:
            item.expires = now + timeout_ms
        item.patience = now + max(ttl_ms, codes.SYNC_MS)
        item.code = ttl_ms
        if target.known and target.flow is None and not ttl_ms:
            item.patience = now  # nobody has it: said at the next turn
        self._pending.append(item)
        self._items.append(item)
        self.stirred = True
        return item.id

    def cancel(self, token: int, now: int) -> None:
        """Give up a send or request. Its Outcome is CANCELLED, unless it is over already."""
        item = self._find(token)
        if item is not None:
            self._call_off(item)
            self._finish(item, events.CANCELLED)

    def _find(self, token: int) -> "Item | None":
        for item in self._pending:
            if item.id == token:
                return item
        return None

    def _full(self) -> bool:
        waiting = 0
        for item in self._items:
            if item.kind == codes.PUBLISH:
                waiting += 1
        return waiting >= self.pending_max

    # What is to be written

    def next_item(self, link: "LeafConnection", now: int) -> "Item | None":
        """The next that may be written now, numbered; None if there is nothing. Answers go first."""
        if self._answers:
            if len(self._answers) < self.pending_max << 1:
                self._wake_receivers()
            return self._answers.pop(0)
        for flow in self._in:
            if flow.due:
                flow.due = False
                item = Item(codes.SIGNAL, flow.receiver.uuid, b"", codes.RAW)
                item.code = codes.CREDIT
                item.number = flow.limit
                item.key = flow.key
                return item
        for at in range(len(self._items)):
            item = self._items[at]
            if item.kind == codes.PUBLISH or self._may_go(item, at, now):
                self._items.pop(at)
                return item
        self.stirred = False
        return None

    def _may_go(self, item: Item, at: int, now: int) -> bool:
        """Whether a message has somebody to go to, credit, and none of its endpoint before it; if so it
        goes."""
        target = self._targets.get(item.endpoint)
        if target is None or target.flow is None or not target.known:
            return False
        flow = target.flow
        if flow.sent >= flow.limit:
            if flow.probe_at < 0:
                flow.probe_at = now + flow.probe_ms
            return False
        flow.sent += 1
        flow.last_used = now
        flow.probe_ms = codes.PROBE_MS
        item.key = flow.key
        item.number = flow.sent
        item.state = SENT
        if item.kind == codes.SEND:
            self._finish(item, events.ACCEPTED)
        return True

    def _target(self, uuid: bytes) -> Target:
        """What is known of an endpoint; the router is asked for one that is new."""
        target = self._targets.get(uuid)
        if target is None:
            if len(self._targets) >= self.peers_max:
                self._forget_target()
            target = self._targets[uuid] = Target()
        if not target.asked and self.link is not None and self.link.state == codes.OPEN:
            target.asked = True
            self._signal(codes.WHO, self.link.peer_key, 0, 0, uuid)
        return target

    def _forget_target(self) -> None:
        for uuid in self._targets:
            wanted = self._receiver(uuid) is not None
            for item in self._pending:
                wanted = wanted or item.endpoint == uuid
            if not wanted:
                del self._targets[uuid]
                return
        raise FullError("messages to %d endpoints are under way already (peers_max)" % self.peers_max)

    def _watch(self, receiver: Receiver) -> None:
        """A unicast name may be held by another node, too: the router says so."""
        if receiver.kind == codes.UNICAST and len(self._targets) < self.peers_max:
            self._target(receiver.uuid)

    def _out_flow(self, key: bytes, uuid: bytes, now: int) -> OutFlow:
        for flow in self._out:
            if flow.key == key and flow.endpoint == uuid:
                return flow
        if len(self._out) >= self.peers_max:
            idle = self._out[0]
            for flow in self._out:
                if flow.last_used < idle.last_used:
                    idle = flow
            for target in self._targets.values():
                if target.flow is idle:
                    target.flow = None
                    target.asked = target.known = False
            self._out.remove(idle)
        flow = OutFlow(key, uuid)
        flow.last_used = now
        self._out.append(flow)
        return flow

    # Outcomes

    def _finish(self, item: Item, status: int, code: int = 0, text: str = "") -> Event:
        """The one terminal outcome of a message that somebody waits for."""
        if item.state == WAITING and item in self._items:
            self._items.remove(item)
        item.state = OVER
        self._pending.remove(item)
        event = Event(events.OUTCOME, code, text)
        event.token = item.id
        event.status = status
        self._events.append(event)
        return event

    def _call_off(self, item: Item) -> None:
        """CANCEL, the same way as the request and behind it."""
        if item.state == SENT and item.kind == codes.REQUEST:
            self._signal(codes.CANCEL, item.key, item.id, 0)

    def _expired(self, item: Item, now: int) -> None:
        if item.kind == codes.REQUEST:
            self._call_off(item)
            self._finish(item, events.TIMED_OUT, codes.EXPIRED)
        else:
            status = events.UNKNOWN if item.state == SENT else events.UNDELIVERED
            self._finish(item, status, codes.EXPIRED)

    def _homeless(self, item: Item, now: int) -> None:
        """Nobody is known to have the endpoint, and the time to find one is over."""
        target = self._targets.get(item.endpoint)
        item.patience = -1
        if target is None or not target.known or target.flow is None:
            there = self.link is not None and self.link.state == codes.OPEN
            self._finish(item, events.UNDELIVERED, codes.NO_ENDPOINT if there else codes.NO_ROUTE)

    def _probe(self, flow: OutFlow, now: int) -> None:
        """A blocked flow asks, at doubling intervals, as long as something waits for it."""
        flow.probe_at = -1
        link = self.link
        waits = False
        for item in self._items:
            waits = waits or item.endpoint == flow.endpoint
        if waits and flow.sent >= flow.limit and link is not None and link.state == codes.OPEN:
            self._signal(codes.PROBE, flow.key, 0, flow.sent, flow.endpoint)
            flow.probe_ms = min(flow.probe_ms * 2, codes.PROBE_MAX_MS)
            flow.probe_at = now + flow.probe_ms

    def _refused(self, uuid: bytes, key: bytes) -> None:
        """A node that was said to have an endpoint has it no longer; the router will say who has."""
        target = self._targets.get(uuid)
        if target is not None and target.flow is not None and target.flow.key == key:
            target.flow = None
            target.asked = target.known = False

    def _about(self, flow: OutFlow, header: Header) -> None:
        if header.signal == codes.CREDIT:
            gain = (header.number - flow.limit) & 0xFFFF
            if 0 < gain < 0x8000:
                flow.limit += gain
                self.stirred = True
            return
        if ((flow.sent - header.number) & 0xFFFF) >= flow.sent:
            self.counters["unknown_reply"] += 1  # never sent
            return
        event = Event(events.UNDELIVERABLE, header.code)
        event.endpoint = flow.endpoint
        self._events.append(event)
        if header.code == codes.NO_ENDPOINT:
            self._refused(flow.endpoint, flow.key)

    # Lookups

    def _have(self, link: "LeafConnection", uuid: bytes, reader: Reader, now: int, asked: bool) -> None:
        """Who has an endpoint: the nearest, or of a unicast name the smallest node id."""
        best_key = b""
        best = -1
        best_kind = 0
        best_credit = 0
        count = 0
        while reader.left():
            head = reader.u8()
            count += 1
            if head & 0x80 or count > codes.HOLDERS_MAX:
                raise Refusal(codes.MALFORMED, "a holder with an unknown layout, or more than 16")
            key = link.nodes_in.read(reader)
            metric = reader.u16()
            credit = reader.varint() if head & 0x10 else codes.OPENING_CREDIT
            cost = min(reader.varint(), 0x3FFF) if head & 0x20 else 0
            if head & 0x40:
                reader.text8()
            kind = head & 3
            if not kind or key == self.key or head >> 2 & 3 < metric >> 14:
                continue
            score = ((metric >> 14) << 20) + (metric & 0x3FFF) + cost
            conflict = best >= 0 and (kind == codes.UNICAST or kind != best_kind)
            if best < 0 or (key < best_key if conflict else score < best):
                best_key, best, best_kind, best_credit = key, score, kind, credit
        target = self._targets.get(uuid)
        if asked and target is not None:
            self._located(uuid, target, best_key, best_kind, best_credit, now)

    def _located(self, uuid: bytes, target: Target, key: bytes, kind: int, credit: int, now: int) -> None:
        target.known = True
        target.flow = None
        self.stirred = True
        receiver = self._receiver(uuid)
        if receiver is not None:
            if key and key < self.key and (kind == codes.UNICAST or kind != receiver.kind):
                self._withdraw(receiver)
                event = Event(events.RECEIVER_TAKEN)
                event.receiver = receiver
                self._events.append(event)
        elif kind and kind != codes.BROADCAST:
            flow = target.flow = self._out_flow(key, uuid, now)
            flow.limit = max(flow.limit, flow.sent + credit)
            flow.probe_ms = 1  # the destination may have a lower one in mind
            return
        for item in list(self._items):
            if item.endpoint == uuid and item.kind != codes.PUBLISH and (kind or not item.code):
                reason = codes.WRONG_KIND if kind else codes.NO_ENDPOINT
                self._finish(item, events.UNDELIVERED, reason)

    # What both sides need

    def _receiver(self, uuid: bytes) -> "Receiver | None":
        for receiver in self.receivers:
            if receiver.uuid == uuid:
                return receiver
        return None

    def _withdraw(self, receiver: Receiver) -> None:
        receiver.closed = True
        self.receivers.remove(receiver)
        self._in = [flow for flow in self._in if flow.receiver is not receiver]
        self._versions[receiver.realm] += 1
        self.stirred = True

    def _answer(self, key: bytes, id: int, item: Item) -> None:
        """Answers go first, and are bounded: who does not read them is cut off (at the next turn)."""
        item.key = key
        item.id = id
        self._answers.append(item)
        self.stirred = True

    def _signal(self, signal: int, key: bytes, id: int, number: int, endpoint: bytes = b"") -> None:
        item = Item(codes.SIGNAL, endpoint, b"", codes.RAW)
        item.code = signal
        item.number = number
        self._answer(key, id, item)

    def _wake_receivers(self) -> None:
        """Answers have gone: those who could not take may go on."""
        if len(self._answers) == self.pending_max:
            for receiver in self.receivers:
                if receiver.queue:
                    self._tell(receiver)

    def _tell(self, receiver: Receiver) -> None:
        event = Event(events.MESSAGES)
        event.receiver = receiver
        self._events.append(event)

    def _exceeds(self, payload: bytes) -> bool:
        return len(payload) > (self.limits[1] if self.link is None else self.link.message_size_max)

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError("this node is closed")

    def _check_message(self, endpoint: bytes, payload: bytes, format: int) -> None:
        self._check_open()
        check_id("endpoint", endpoint)
        self._check_payload(payload, format)
        if self._exceeds(payload):
            raise LocalError("a payload of %d bytes exceeds message_size_max" % len(payload))

    def _check_payload(self, payload: bytes, format: int) -> None:
        if type(payload) is not bytes:
            raise LocalError("a payload must be bytes")
        if not codes.RAW <= format <= codes.TYPED_AS_ENDPOINT:
            raise LocalError("format must be RAW, CBOR or TYPED_AS_ENDPOINT (0, 1, 2), not %r" % format)


def lost(item: Item, sent: bool) -> int:
    return events.UNKNOWN if sent and item.kind == codes.CONFIRM else events.UNDELIVERED


def check_id(name: str, value: bytes) -> None:
    if type(value) is not bytes or len(value) != codes.ID_SIZE:
        raise LocalError("%s must be 16 bytes" % name)
