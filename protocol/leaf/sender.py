"""The messages of a small leaf: whom each goes to, whether it may go now, and what becomes of it.

The lower half of `Leaf` (leaf.py), which adds what comes in. Knows its link only as something that asks
for the next.
"""

from busway.protocol import outcomes
from busway.protocol.errors import ClosedError, FullError, LocalError, Refusal, WrongKindError
from busway.protocol.leaf.frames import NEVER, OVER, SENT, WAITING, Message
from busway.protocol.leaf.link import LeafConnection, LeafHost
from busway.protocol.leaf.state import Event, Flow, Receiver, Target
from busway.protocol.wire import codes
from busway.protocol.wire.entries import read_holder
from busway.protocol.wire.fields import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Final, Sequence


_PAST_SIZE: "Final" = 640  # bytes, 10 for each pair
CAST = "that endpoint is of kind broadcast or used so: publish"


class LeafOrigin(LeafHost):
    """The sending side of a leaf; its arguments are those of `Leaf`."""

    closed = False
    _sessions = 0
    _queued_size = 0
    _sync_due = False
    patterned = False  # an endpoint of ours is that of a pattern
    lasts = b""  # which last values came: values.py
    selections: "Sequence[Any]" = ()  # what selectors mean: selecting.py

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
        check_id(node_id)
        if not 1 <= len(bus.encode()) <= codes.TEXT_SIZE_MAX or len(label.encode()) > codes.TEXT_SIZE_MAX:
            raise LocalError("bus has 1 to 64 bytes of UTF-8, label 64 at most")
        if pending_max < 1 or peers_max < 1 or queue_size_max < 1:
            raise LocalError("all maxima are at least 1")
        self.bus = bus
        self.label = label
        self.limits = limits
        self.key = node_id + entropy(codes.INCARNATION_SIZE)
        self.link = None
        self.write_pending = False
        self.ranked = False
        self.queue_size_max = queue_size_max
        self.pending_max = pending_max
        self.peers_max = peers_max
        self.receivers: "list[Receiver]" = []
        self._lost: "list[Receiver]" = []  # whose names others keep
        self.counters = {
            "late": 0,
            "refused": 0,
            "dropped": 0,
            "missed": 0,
            "unknown_reply": 0,
            "misrouted": 0,
        }
        self._entropy = entropy
        self._events: "list[Event]" = []
        self._versions = [0, 0, 0, 0]  # of our lines, by realm
        self._told = [0, 0, 0, 0]  # what the router has of them
        self._items: "list[Message]" = []  # messages that have not been written, in order
        self._pending: "list[Message]" = []  # those that somebody waits for, written or not
        self.answers: "list[Message]" = []
        self._serving: "list[Message]" = []  # requests without an answer
        self._targets: "dict[bytes, Target]" = {}
        self._out: "list[Flow]" = []  # the one that was used last is the last
        self._past = b""  # of those that were forgotten: tag and last number, the latest first
        self._in: "list[Flow]" = []
        self._casts: "dict[bytes, int]" = {}  # the last number of what we publish
        self._pruned: "list[bytes]" = []  # of these nobody wants any, now

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
        format: "int | bytes" = codes.RAW,
        *,
        confirm: bool = False,
        ttl_ms: int = 0,
        timeout_ms: int = 30000,
        priority: "int | str" = codes.NORMAL,
    ) -> int:
        """Send to a unicast or anycast endpoint. Returns a token whose Outcome will come: ACCEPTED when
        it was written, or UNDELIVERED; with `confirm` TAKEN, UNDELIVERED or UNKNOWN within `timeout_ms`.
        `priority` LOW to URGENT, or "low" to "urgent": a higher one passes lower ones; a router that knows
        none has it as NORMAL.
        Raises FullError when `pending_max` messages are under way, WrongKindError, LocalError.
        """
        kind = codes.CONFIRM if confirm else codes.SEND
        return self.submit(kind, endpoint, payload, now, format, ttl_ms, timeout_ms, priority)

    def request(
        self,
        endpoint: bytes,
        payload: bytes,
        now: int,
        format: "int | bytes" = codes.RAW,
        *,
        ttl_ms: int = 0,
        timeout_ms: int = 30000,
        priority: "int | str" = codes.NORMAL,
    ) -> int:
        """Ask a unicast or anycast endpoint for one reply. Returns a token; exactly one terminal Outcome
        comes within `timeout_ms`.
        """
        return self.submit(codes.REQUEST, endpoint, payload, now, format, ttl_ms, timeout_ms, priority)

    def submit(
        self,
        kind: int,
        endpoint: bytes,
        payload: bytes,
        now: int,
        format: "int | bytes",
        ttl_ms: int,
        timeout_ms: int,
        priority: "int | str" = codes.NORMAL,
    ) -> int:
        """The common part of `send` and `request`; `kind` is SEND, CONFIRM or REQUEST."""
        self._check_message(endpoint, payload, format)
        if not 0 <= ttl_ms <= 0x7FFFFFFF or not 0 <= timeout_ms <= 0x7FFFFFFF:
            raise LocalError("ttl_ms and timeout_ms are 0 to 2147483647")
        lane = self.lane_of(priority)
        if self._receiver(endpoint) is not None:
            raise LocalError("this leaf serves that itself: call its handler")
        if endpoint in self._casts:
            raise WrongKindError(CAST)
        if len(self._pending) >= self.pending_max:
            raise FullError("wait for an outcome: pending_max")
        target = self._target(endpoint)
        if target.cast:
            raise WrongKindError(CAST)
        item = Message(kind, endpoint, payload, format)
        item.lane = lane
        item.patience = now + max(ttl_ms, codes.SYNC_MS)
        item.has_ttl = ttl_ms > 0
        if target.known and target.flow is None and not ttl_ms:
            item.patience = now  # nobody has it: said at the next turn
        return self.launch(item, -1 if kind == codes.SEND else now + timeout_ms)

    def launch(self, item: Message, expires: int) -> int:
        """A new message, behind the others, -1: which does not expire. Returns its token."""
        item.id = int.from_bytes(self._entropy(4), "big") & codes.ID_MAX  # which nobody can guess
        while not item.id or self._find(item.id) is not None:
            item.id = item.id % codes.ID_MAX + 1
        item.state = WAITING
        if expires >= 0:
            item.expires = expires
        self._add(self._items, item)
        try:
            self._pending.append(item)
        except MemoryError:  # none of it, then
            self._items.remove(item)
            raise
        self.write_pending = True
        return item.id

    def cancel(self, token: int, now: int) -> None:
        """Give up a send or request. Its Outcome is CANCELLED, unless it is over already."""
        item = self._find(token)
        if item is not None:
            self._end_item(item, outcomes.CANCELLED)

    def _find(self, token: int) -> "Message | None":
        for item in self._pending:
            if item.id == token:
                return item
        return None

    # What is to be written

    def next_item(self, link: "LeafConnection", now: int) -> "Message | None":
        """The next that may be written now, numbered; None if there is nothing. Answers go first."""
        answers = self.answers
        if answers:
            if len(answers) == self.pending_max:  # those who could not take may go on
                for receiver in self.receivers:
                    if receiver.queue:
                        self.note(outcomes.MESSAGES).receiver = receiver
            return answers.pop(0)
        for flow in self._in:
            if flow.due:
                flow.due = False
                self._signal(codes.CREDIT, flow.key, 0, flow.limit, flow.endpoint)
                return answers.pop()
        for item in self._items:
            if item.kind == codes.PUBLISH or self.may_go(item, link, now):
                self._items.remove(item)
                return item
        self.write_pending = False
        return None

    def may_go(self, item: Message, link: "LeafConnection | None", now: int) -> bool:
        """Whether a message has somebody to go to, and credit; if so it goes."""
        flow: "Flow | None"
        if item.where is not None:
            flow = item.where.flow(self, item)
        else:
            target = self._targets[item.endpoint]
            flow = target.flow
            if flow is not None and item.lane != codes.NORMAL:
                from busway.protocol.leaf.priorities import flow_of

                flow = flow_of(self, item, target, flow, link)
        if flow is None:
            return False
        if flow.last >= flow.limit:
            flow.probe_at = min(flow.probe_at, now + (1 if flow.in_doubt else flow.probe_ms))
            return False
        self._flow(self._out, flow.key, flow.endpoint)
        flow.last += 1
        flow.probe_ms = codes.PROBE_MS
        flow.in_doubt = False
        item.key = flow.key
        item.endpoint = flow.endpoint[: codes.ID_SIZE]
        item.number = flow.last
        item.patience = NEVER
        item.state = SENT
        if item.kind == codes.SEND:
            self._finish(item, outcomes.ACCEPTED)
        return True

    def _add(self, items: "list[Message]", item: Message) -> None:
        """To what waits, behind all that is not lower."""
        if item.lane != codes.NORMAL or self.ranked:
            from busway.protocol.leaf.priorities import put_in_order

            self.ranked = True
            put_in_order(items, item)
        else:
            items.append(item)

    def _target(self, uuid: bytes) -> Target:
        """The target for an endpoint; the router is asked for one that is new."""
        target = self._targets.get(uuid)
        if target is None:
            if len(self._targets) >= self.peers_max:
                self._forget_target()
            target = self._targets[uuid] = Target()
        if not target.asked and self.online():
            target.asked = True
            self._signal(codes.WHO, b"", 0, 0, uuid)
        return target

    def _forget_target(self) -> None:
        wanted: "list[bytes]" = []  # a list comprehension would be a function more on a board
        for item in self._pending:
            wanted.append(item.endpoint)
        for receiver in self.receivers:
            wanted.append(receiver.uuid)
        for uuid in self._targets:
            if uuid not in wanted:
                del self._targets[uuid]
                return
        raise FullError("messages to as many endpoints as it may remember are under way: peers_max")

    def _watch(self, receiver: Receiver) -> None:
        """A unicast name may be held by another node, too: the router says so."""
        target = self._targets.get(receiver.uuid)
        if receiver.kind == codes.UNICAST and (target is not None or len(self._targets) < self.peers_max):
            if target is not None:
                target.asked = target.known = False  # what was said of others was not kept
            self._target(receiver.uuid)

    def _flow(self, flows: "list[Flow]", key: bytes, uuid: bytes) -> "Flow | None":
        """The pair, which has been used just now, if there is one."""
        for flow in flows:
            if flow.key == key and flow.endpoint == uuid:
                flows.remove(flow)
                flows.append(flow)
                return flow
        return None

    def _new_flow(self, flows: "list[Flow]", key: bytes, uuid: bytes, last: int) -> Flow:
        """Another pair; of too many the one is forgotten that was not used for longest."""
        if len(flows) >= self.peers_max:
            idle = flows.pop(0)
            if flows is self._out:
                self._note_past(idle)
            for target in self._targets.values():
                if target.flow is idle:
                    target.flow = None
                    target.asked = target.known = False
        flow = Flow(key, uuid, last)
        flows.append(flow)
        return flow

    def _note_past(self, flow: Flow) -> None:
        """A pair of ours is forgotten, but not by its destination, which refuses numbers that come again."""
        number = flow.last & 0xFFFF
        self._past = (_tag(flow.key, flow.endpoint) + number.to_bytes(2, "big") + self._past)[:_PAST_SIZE]

    def _past_number(self, key: bytes, uuid: bytes) -> int:
        """The last number of a pair that was forgotten; 0 of one that is new."""
        for place in range(0, len(self._past), 10):
            if self._past[place : place + 8] == _tag(key, uuid):
                return self._past[place + 8] << 8 | self._past[place + 9]
        return 0

    # Outcomes

    def note(self, kind: int, code: int = 0, text: str = "") -> Event:
        """Something happened."""
        event = Event(kind, code, text)
        self._events.append(event)
        return event

    def _finish(self, item: Message, status: int, code: int = 0, text: str = "") -> Event:
        """The one terminal outcome of a message that somebody waits for."""
        event = Event(outcomes.OUTCOME, code, text)
        event.token = item.id
        event.status = status
        if item.where is not None:
            item.where.finished(item, event)
        self._events.append(event)  # without memory for that, nothing has changed yet
        if item.state == WAITING:
            self._items.remove(item)
        item.state = OVER
        self._pending.remove(item)
        return event

    def _lose(self, item: Message, code: int) -> None:
        """No answer will come; whether a confirmed message was taken is then not known."""
        unknown = item.state == SENT and item.kind == codes.CONFIRM
        if unknown and code == codes.LOST_AFTER_SENDING:
            code = codes.NO_ROUTE
        self._finish(item, outcomes.UNKNOWN if unknown else outcomes.UNDELIVERED, code)

    def _end_item(self, item: Message, status: int, code: int = 0) -> None:
        """Given up here: CANCEL goes the same way as the request and behind it."""
        if item.state == SENT and item.kind == codes.REQUEST:
            self._signal(codes.CANCEL, item.key, item.id).lane = item.lane
        self._finish(item, status, code)

    def _due(self, now: int) -> None:
        """Does all that is due for what we send."""
        for item in list(self._pending):
            if item.expires <= now:
                if item.kind == codes.REQUEST:
                    self._end_item(item, outcomes.TIMED_OUT, codes.EXPIRED)
                else:
                    self._lose(item, codes.EXPIRED)
            elif item.patience <= now:
                # Nobody is known to have the endpoint, and the time to find one is over.
                item.patience = NEVER
                if item.where is not None:
                    item.where.overdue(self, item, now)
                elif self._targets[item.endpoint].flow is None:
                    self._finish(
                        item, outcomes.UNDELIVERED, codes.NO_ENDPOINT if self.online() else codes.NO_ROUTE
                    )
        for flow in self._out:
            if flow.probe_at <= now:  # a blocked flow asks, as long as something waits for it
                flow.probe_at = NEVER
                waits = False
                for item in self._items:
                    waits = waits or item.address() == flow.endpoint or item.where is not None
                if waits and flow.last >= flow.limit and self.online():
                    self._signal(codes.PROBE, flow.key, 0, flow.last, flow.endpoint)
                    if not flow.in_doubt:
                        flow.probe_ms = min(flow.probe_ms * 2, codes.PROBE_MAX_MS)
                    flow.in_doubt = False
                    flow.probe_at = now + flow.probe_ms

    def _refused(self, uuid: bytes, key: bytes) -> None:
        """A node that was said to have an endpoint has it no longer; the router will say who has."""
        for selection in self.selections:
            selection.gone(self, key, uuid)
        target = self._targets.get(uuid)
        if target is not None and target.flow is not None and target.flow.key == key:
            self._leave(target, uuid)
            target.asked = target.known = False

    def _leave(self, target: Target, uuid: bytes) -> None:
        """A holder is gone: what waits for its credit needs another."""
        target.flow = None
        for item in self._items:
            if item.endpoint == uuid:
                item.lost = True

    # Lookups

    def _have(self, link: "LeafConnection", uuid: bytes, reader: Reader, asked: bool, crossed: int) -> None:
        """Takes the answer to who has an endpoint: the nearest of those that agree with the first."""
        best = (b"", 0, 0, 0, 0)  # key, score, kind, credit, realm
        count = 0
        receiver = self._receiver(uuid)
        for other in self._lost:
            if other.uuid == uuid:
                receiver = other
        rival = False
        while reader.left():
            count += 1
            if count > codes.HOLDERS_MAX:
                raise Refusal(codes.MALFORMED, "more than 16 holders")
            key, _, kind, realm, metric, credit, cost, _, _ = read_holder(reader, link.nodes_in)
            widest = metric >> 14
            if not kind or key == self.key or realm < max(widest, crossed):
                continue
            score = (metric & 0x3FFF) + cost + (widest << 20)
            if receiver is not None and realm == receiver.realm:
                rival = rival or kind == codes.UNICAST or kind != receiver.kind
            if not best[2] or (kind == best[2] and kind != codes.UNICAST and score < best[1]):
                best = (key, score, kind, credit, realm)
        target = self._targets.get(uuid)
        if target is None or not asked:
            return
        key, _, kind, credit, realm = best
        if receiver is not None and (rival or receiver.lost):
            from busway.protocol.leaf.names import settle_name

            settle_name(self, receiver, rival, not target.known)
        target.asked = target.known = True
        former = target.flow
        if former is not None:
            self._leave(target, uuid)
        target.cast = kind == codes.BROADCAST
        self.write_pending = True
        if (receiver is None or receiver.lost) and kind and kind != codes.BROADCAST:
            flow = self._flow(self._out, key, uuid)
            if flow is None:
                flow = self._new_flow(self._out, key, uuid, self._past_number(key, uuid))
            target.flow = flow
            target.credit = credit
            flow.realm = realm
            if flow is not former:
                flow.limit = max(flow.limit, flow.last + credit)
            flow.in_doubt = True
            flow.probe_ms = codes.PROBE_MS
            return
        reason = codes.WRONG_KIND if kind else codes.NO_ENDPOINT
        for item in list(self._items):
            if item.endpoint == uuid and item.kind != codes.PUBLISH and (kind or not item.has_ttl):
                self._finish(item, outcomes.UNDELIVERED, codes.NO_ROUTE if item.lost else reason)

    # What both sides need

    def online(self) -> bool:
        """Whether a session with the router is open."""
        return self.link is not None and self.link.state == codes.OPEN

    def _receiver(self, uuid: bytes) -> "Receiver | None":
        for receiver in self.receivers:
            if receiver.uuid == uuid:
                return receiver
        return None

    def _withdraw(self, receiver: Receiver) -> None:
        receiver.closed = True
        self.receivers.remove(receiver)
        target = self._targets.get(receiver.uuid)
        if target is not None:
            target.asked = target.known = False  # who else has it was not kept
        for flow in list(self._in):
            if flow.endpoint.startswith(receiver.uuid):
                self._in.remove(flow)
        self._versions[receiver.realm] += 1
        self.write_pending = True

    def queue_answer(self, key: bytes, id: int, item: Message) -> Message:
        """Answers go first, and are bounded: who does not read them is cut off (at the next turn)."""
        item.key = key
        item.id = id
        self.answers.append(item)
        self.write_pending = True
        return item

    def _signal(self, signal: int, key: bytes, id: int, number: int = 0, endpoint: bytes = b"") -> Message:
        """`endpoint` may have a lane byte behind it."""
        item = Message(codes.SIGNAL, endpoint[: codes.ID_SIZE])
        if len(endpoint) > codes.ID_SIZE:
            item.lane = endpoint[codes.ID_SIZE]
        item.signal = signal
        item.number = number
        return self.queue_answer(key, id, item)

    def exceeds(self, payload: bytes) -> bool:
        return len(payload) > (self.limits[1] if self.link is None else self.link.message_size_max)

    def lane_of(self, priority: "int | str") -> int:
        """The number of a priority, which may have come by its name. Raises LocalError."""
        if priority == codes.NORMAL or priority == "normal":
            return codes.NORMAL
        from busway.protocol.leaf.priorities import number_of

        return number_of(priority)

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError("this node is closed")

    def _check_message(self, endpoint: bytes, payload: bytes, format: "int | bytes") -> None:
        self._check_open()
        check_id(endpoint)
        self.check_payload(payload, format)
        if self.exceeds(payload):
            raise LocalError("%d bytes exceed message_size_max" % len(payload))

    def check_payload(self, payload: bytes, format: "int | bytes") -> None:
        if isinstance(format, bytes):
            check_id(format)
            format = codes.TYPED_AS_ENDPOINT
        if type(payload) is not bytes or not codes.RAW <= format <= codes.TYPED_AS_ENDPOINT:
            raise LocalError(
                "a payload is bytes, its format RAW, CBOR, TYPED_AS_ENDPOINT or the uuid of a message type"
            )


def check_id(value: bytes) -> None:
    if type(value) is not bytes or len(value) != codes.ID_SIZE:
        raise LocalError("an id is 16 bytes")


def _tag(key: bytes, uuid: bytes) -> bytes:
    """A pair in short: both parts are random."""
    return key[codes.ID_SIZE :] + uuid[:3] + (uuid[codes.ID_SIZE :] or uuid[3:4])
