"""Endpoints registered at this node: their receivers, queues, queue policies, and what each origin may send.

Knows no link and writes nothing: credit that falls due, and what a policy throws out, receiving.py tells.

Flow control (docs/protocol.md, section 7.1). What must hold: all that origins may have under way and queued
fits the queue, so that what keeps to its limit is not refused; and no origin stays blocked while its messages
are read.

Why the first holds: `raise_limit` gives an origin no more than the windows of the others leave of half the
queue. The other half is for what was promised unasked: the opening credit of those who come, one message for
each; and three quarters of it for those who find that others, who do not send, hold more than their part
(`_spare`, `_least`). Why the second does: a limit is an absolute number that only rises, so a CREDIT that is
lost, doubled or late does no harm, the next one says it all; it is told when half a window is used up, and to
who asks (PROBE), and a blocked origin asks until it is told. What a PROBE counts and has not come by then is
lost, and held against nobody.

Limits that are absolute: RFC 9000, section 4.1, of QUIC. Windows that share one buffer by use: H. T. Kung, T.
Blackwell, A. Chapman, Credit-based flow control for ATM networks (SIGCOMM 1994). test_endpoints.py and
test_flows.py hold both.
"""

from busway.protocol.fifo import Fifo
from busway.protocol.link.face import Intake, LinkFace
from busway.protocol.messaging.carried import Brought, Carrier, Holder
from busway.protocol.messaging.latest import Latest
from busway.protocol.messaging.payload import shown
from busway.protocol.messaging.ranks import Ranks
from busway.protocol.messaging.shares import Share
from busway.protocol.outcomes import MESSAGES, Event
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address
from busway.protocol.wire.fields import u16, varint
from busway.protocol.wire.messages import Frame, signal
from busway.protocol.wire.runs import count_run, payload_bytes, run_payloads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from busway.protocol.routing.mesh import Mesh
    from busway.protocol.routing.peers import Peer
    from busway.protocol.wire.aliases import AliasWriter

_NEVER: "Final" = -(1 << 60)  # is left of a window: who publishes has none
_SPARE_MIN: "Final" = 64  # messages of a budget from which on half as much again may be promised
_PLAIN: "Final" = 1 << codes.MAY_SEND | 1 << codes.MAY_PUBLISH


class Message(Carrier):
    """One message in a receiver's queue.

    `payload` is bytes in `format` (an object for OBJECT), `type_id` the message type's uuid or b"", `seq`
    counts the origin's messages to this endpoint, `missed` those that got lost just before this one,
    `arrived` when it came, in ms.
    """

    __slots__ = ("arrived", "error", "flow", "format", "missed", "seal", "seq", "type_id")

    seal: "Any"  # the adapter's, of a message that came sealed; others have none, and pay nothing for that

    def __init__(
        self, flow: "InFlow", seq: int, payload: object, format: int, type_id: bytes, missed: int, now: int
    ) -> None:
        self.flow = flow
        self.seq = seq
        self.payload = payload
        self.format = format
        self.type_id = type_id
        self.missed = missed
        self.arrived = now
        self.error: "Any" = None  # the adapter's: why the payload could not be decoded

    @classmethod
    def __class_getitem__(cls, _payload: object) -> object:
        """`Message[Reading]` in an annotation: only type checkers tell it from `Message`."""
        return cls

    def __repr__(self) -> str:
        return "<%s %d to %s from %s: %s>" % (
            self._noun(),
            self.seq,
            repr(self.name) if self.name else self.endpoint.hex(),
            repr(self.source_label) if self.source_label else self.source.hex(),
            "unreadable" if self.error is not None else shown(self.payload),
        )

    def _noun(self) -> str:
        return "message"

    @property
    def source(self) -> bytes:
        """The sending node's id, 16 bytes."""
        return self.flow.peer.node_id

    @property
    def endpoint(self) -> bytes:
        """The uuid it was sent to, 16 bytes."""
        return self.flow.endpoint.uuid

    @property
    def endpoint_name(self) -> str:
        """The endpoint's name; "" for one that was registered by its uuid alone."""
        return self.flow.endpoint.name

    @property
    def name(self) -> str:
        """The name under which it was published, which an endpoint whose name is a pattern has for each
        message; else the endpoint's own.
        """
        return self.flow.endpoint.name

    @property
    def retained(self) -> bool:
        """Whether it was published before this receiver was there, as the last value of its name."""
        return False

    @property
    def last_word(self) -> bool:
        """Whether its sender had left it for the case that it goes without goodbye."""
        return False

    @property
    def priority(self) -> str:
        """The priority that it was sent with: "low", "normal", "high" or "urgent"."""
        return codes.PRIORITY_NAMES[self.flow.lane() & 3]

    @property
    def source_label(self) -> str:
        """The label of the program that sent it, as far as it is known now; else ""."""
        return self.flow.peer.label

    @property
    def verified(self) -> "str | None":
        """The key that sealed it for this node: its name here, or its text. None of a plain message."""
        seal = getattr(self, "seal", None)
        return None if seal is None else seal.verified

    @property
    def received_at(self) -> float:
        """When it arrived at this node, in seconds of the node's clock; in programs that is
        `time.monotonic()`.
        """
        return self.arrived / 1000


class InFlow(Intake):
    """The messages of one origin to one of our endpoints: the last number, and the limit we gave."""

    __slots__ = (
        "active",
        "bridged",
        "counted",
        "endpoint",
        "ends_here",
        "far",
        "half",
        "judged",
        "last_used",
        "limit",
        "missed",
        "peer",
        "queued",
        "received",
        "session",
        "share",
        "short",
        "verdicts",
    )

    def __init__(self, peer: "Peer", endpoint: "Endpoint", received: int, now: int) -> None:
        self.peer = peer
        self.endpoint = endpoint
        self.received = received
        self.limit = received + endpoint.opening
        self.queued = 0
        # Of the window, at the least: when so little is left it is raised.
        self.half = endpoint.opening >> 1 if endpoint.kind != codes.BROADCAST else _NEVER
        self.last_used = now
        self.credit_due = False
        self.far = False  # its messages come over other nodes
        self.active = False  # counts among those who share the queue
        self.share: "Share | None" = None  # its link's, while it does
        self.counted = 0  # what it may have under way and queued, as far as that counts there
        self.session: "LinkFace | None" = None  # that brought the last one
        self.short: "LinkFace | None" = None  # the same, if plain ones that it brings need no decision
        self.judged: "LinkFace | None" = None  # over which a guard has let messages in, if there is one
        self.verdicts = 0  # ... as bits: codes.MAY_CALL, MAY_SEND, MAY_PUBLISH
        self.ends_here = -1  # the epoch (routing/topology.py) in which its broadcasts go to no other node
        self.bridged = 0  # numbers that a probe passed over: `missed` of the next message
        self.missed = 0  # of all messages so far

    def address(self) -> Address:
        """The address that they were sent to."""
        return self.endpoint.uuid

    def lane(self) -> int:
        """Their lane byte."""
        return codes.NORMAL

    def has_credit(self) -> bool:
        """Whether its origin waits for credit: not who publishes."""
        return self.endpoint.kind != codes.BROADCAST

    def credit(self) -> Frame:
        return signal(codes.CREDIT, self.peer.key, self.endpoint.uuid, self.limit)

    def short_credit(self, aliases: "AliasWriter", direct: bytes) -> bytes:
        number = aliases.numbers.get(self.endpoint.uuid, 0) if self.peer.key == direct else 0
        if not number:
            return b""
        told = bytes((codes.MESSAGE | codes.SIGNAL << 4, codes.CREDIT)) + varint(number) + u16(self.limit)
        return bytes((len(told),)) + told

    def came_by(self, link: "LinkFace | None", guarded: bool) -> None:
        """A message, or a probe, came over that link."""
        self.session = link
        plain = not guarded or (self.judged is link and self.verdicts & _PLAIN != 0)
        self.short = link if plain else None

    def _receiver(self, link: LinkFace, prefix: bytes) -> "Receiver | None":
        """Where a run that comes over that link, with `prefix` before its numbers, may go without a
        decision.
        """
        endpoint = self.endpoint
        receivers = endpoint.receivers
        if not self.active or len(receivers) != 1 or self.short is not link or self.bridged:
            return None
        receiver = receivers[0]
        if not receiver.plain or receiver.policy == codes.LATEST or endpoint.realm < link.realm:
            return None
        if (prefix[0] & 0x10 != 0) != (endpoint.kind == codes.BROADCAST):
            return None
        if endpoint.kind == codes.BROADCAST and self.ends_here != endpoint.host.mesh.epoch:
            return None  # it may have to be passed on
        if prefix[0] & codes.HEAD_ROUTED and endpoint.realm < prefix[1] & 3:
            return None
        return receiver

    def take_run(
        self, link: LinkFace, data: bytes, pos: int, at: int, stop: int, end: int, prefix: bytes, now: int
    ) -> int:
        receiver = self._receiver(link, prefix)
        if receiver is None:
            return pos
        empty = not receiver.queue.items
        before = self.received
        behind = stop + at - pos  # where the next one's number is if it is much the same
        if data[behind - len(prefix) : behind] != prefix:
            pos = _read_one(data, pos, at, stop, prefix[0] & 3, self, receiver, now)
        else:
            pos = _read_run(data, pos, end, link.frame_max, prefix, self, receiver, now)
        if self.received > before:
            self.endpoint.host.noted_run(self, receiver, self.received - before, empty, now)
        return pos

    def take_together(self, link: LinkFace, data: bytes, at: int, stop: int, prefix: bytes, now: int) -> bool:
        receiver = self._receiver(link, prefix)
        seq = self.received + 1
        if receiver is None or data[at + 1] != seq & 0xFF or data[at] != seq >> 8 & 0xFF:
            return False
        count = count_run(data, at + 2, stop)
        size = payload_bytes(data, at + 2, stop, count)
        queue = receiver.queue
        waiting = len(queue.items) - queue.head
        if waiting + count > receiver.queue_max or receiver.size + size > receiver.size_max:
            return False
        payloads = run_payloads(data, at + 2, stop, count)
        format = prefix[0] & 3
        append = queue.items.append
        for payload in payloads:
            append(Message(self, seq, payload, format, b"", 0, now))
            seq += 1
        self.queued += count
        self.received = seq - 1
        receiver.size += size
        if size > self.endpoint.message_size:  # else none of them is larger
            self.endpoint.message_size = max(
                self.endpoint.message_size, max([len(payload) for payload in payloads])
            )
        self.endpoint.host.noted_run(self, receiver, count, not waiting, now)
        return True


# As long as there is nothing in them: an empty dict takes 64 bytes, and there are many. Never changed.
_NONE_ACTIVE: "dict[InFlow, bool]" = {}
_NONE_LOST: "dict[InFlow, int]" = {}
_NO_SHARES: "dict[LinkFace | None, Share]" = {}


class Receiver(Holder):
    """One queue of messages for one part of the program.

    `queue_max` messages and `size_max` bytes; what comes beyond meets `policy`.
    """

    __slots__ = (
        "asked",
        "closed",
        "decline",
        "dropped",
        "endpoint",
        "latest",
        "lost",
        "messages",
        "plain",
        "policy",
        "queue",
        "queue_max",
        "ranks",
        "refused",
        "size",
        "size_max",
        "tag",
        "taken",
        "told",
        "waits",
    )

    def __init__(self, endpoint: "Endpoint", queue_max: int, size_max: int, policy: int) -> None:
        self.endpoint = endpoint
        self.queue = Fifo()
        self.queue_max = queue_max
        self.size_max = size_max
        self.size = 0
        self.policy = policy
        self.dropped = 0
        self.refused = 0
        self.taken = 0
        self.closed = False
        self.holding = 0
        self.plain = True  # none of another priority or with things waits, nor is a dropped one to be shown
        self.ranks: "Ranks | None" = None  # as long as such wait
        # dropped by the policy, to be shown as `missed` of the origin's next
        self.lost = _NONE_LOST
        self.latest = Latest() if policy == codes.LATEST else None
        self.tag: object = None  # the adapter's
        self.messages = MessagesEvent(self)  # the same each time: it says nothing but whose
        self.decline = ""  # why its program answers no requests; "": it does
        self.asked = False  # although it declines
        self.waits = False  # what is queued may not be worked on now, what comes perhaps
        self.told = True  # its program wants the event that there is something; False: it looks by itself

    def __repr__(self) -> str:
        return "<receiver of %r, %d queued%s>" % (
            self.endpoint,
            len(self.queue),
            ", closed" if self.closed else "",
        )

    def has_room(self, size: int) -> bool:
        queued = len(self.queue.items) - self.queue.head
        return queued == 0 or (queued < self.queue_max and self.size + size <= self.size_max)

    def put(self, message: Message, size: int) -> bool:
        """Queue a message; False if there is no room."""
        if not self.has_room(size):
            return False
        if self.ranks is None:
            self.queue.items.append(message)
        else:
            self.ranks.add(message, message.flow.lane() & 3)
        self.size += size
        message.flow.queued += 1
        if not self.plain:
            self.show_lost(message, codes.DROP_NEWEST)
        return True

    def settle(self) -> None:
        """Messages that were lost have been shown, or need not be any more."""
        self.plain = self.ranks is None and not self.lost and not self.holding

    def show_lost(self, message: Message, policy: int) -> None:
        """Messages that the policy dropped are `missed` of the origin's next message: when that is queued, or
        when it is taken.
        """
        if self.lost and (self.policy == codes.DROP_OLDEST) == (policy == codes.DROP_OLDEST):
            message.missed += self.lost.pop(message.flow, 0)
        self.settle()

    def missed(self) -> int:
        """Messages that are known to be lost, and that no message has shown yet as its `missed`."""
        return sum(self.lost.values()) + sum([flow.bridged for flow in self.endpoint.active])


class MessagesEvent(Event):
    """MESSAGES: a receiver's queue is no longer empty; take until `take` returns None."""

    __slots__ = ("receiver",)

    def __init__(self, receiver: "Receiver") -> None:
        self.kind = MESSAGES
        self.receiver = receiver


class EndpointHost:
    """The room that looks after endpoints."""

    mesh: "Mesh"

    def noted_run(self, flow: InFlow, receiver: Receiver, count: int, empty: bool, now: int) -> None:
        """A run of plain messages was queued by the short way; `empty`: the queue was."""
        raise NotImplementedError


class Endpoint(Brought):
    """One uuid registered at this node, with one receiver or several."""

    __slots__ = (
        "_promised",
        "active",
        "cost",
        "host",
        "kind",
        "message_size",
        "name",
        "opening",
        "realm",
        "receivers",
        "shares",
        "traits",
        "uuid",
        "yielded",
    )

    def __init__(
        self,
        host: EndpointHost,
        uuid: bytes,
        kind: int,
        realm: int,
        name: str,
        cost: int,
        opening: int = codes.OPENING_CREDIT,
        traits: bytes = b"",
    ) -> None:
        self.things = 0
        self.host = host
        self.uuid = uuid
        self.kind = kind
        self.realm = realm
        self.name = name
        self.cost = cost
        self.opening = opening  # credit of an origin of which nothing has been heard yet
        self.traits = traits  # labels and a last word, as wire/traits.py packs them
        self.receivers: "list[Receiver]" = []
        self.yielded = False  # another node keeps its name
        self.active = _NONE_ACTIVE
        self.shares = _NO_SHARES  # of the links that these come over
        self._promised = 0  # what all of them count
        self.message_size = 1  # of a large recent message, bytes: up at once, down slowly

    def __repr__(self) -> str:
        return "<endpoint %s, %s, %s>" % (
            repr(self.name) if self.name else self.uuid.hex(),
            codes.KIND_NAMES[self.kind],
            codes.REALM_NAMES[self.realm],
        )

    def queued(self) -> int:
        return sum([len(receiver.queue) for receiver in self.receivers])

    def pick(self) -> Receiver:
        """The receiver with the shortest queue; only anycast has several to choose from."""
        return min(self.receivers, key=lambda receiver: len(receiver.queue))

    def activate(self, flow: InFlow) -> None:
        """Count an origin among those who share the queue."""
        flow.active = True
        if not self.active:
            self.active = {}
        self.active[flow] = True
        share = self._enter(flow, flow.peer.hop if flow.session is None else flow.session)
        self._recount(flow, share, self._budget() // len(self.shares))

    def deactivate(self, flow: InFlow) -> None:
        """An origin is idle or gone: its share is free for the others."""
        if flow.active:
            flow.active = False
            del self.active[flow]
            self._leave(flow)
            for receiver in self.receivers:
                receiver.lost.pop(flow, None)
                receiver.settle()
                if receiver.latest is not None:
                    receiver.latest.forget(flow)

    def _enter(self, flow: InFlow, link: "LinkFace | None") -> Share:
        share = self.shares.get(link)
        if share is None:
            if not self.shares:
                self.shares = {}
            share = self.shares[link] = Share(link)
        share.flows += 1
        flow.share = share
        return share

    def _leave(self, flow: InFlow) -> None:
        share = flow.share
        assert share is not None
        self._promised -= flow.counted
        share.counted -= flow.counted
        flow.counted = 0
        flow.share = None
        share.flows -= 1
        if not share.flows:
            del self.shares[share.link]

    def _recount(self, flow: InFlow, share: Share, part: int) -> None:
        """Count what a flow may have under way and queued as long as its link's part has room for it: who
        invents origins takes nothing of the other links'. It counts until it is looked at again, which it is
        at the latest when half of it is used.
        """
        counted = flow.limit - flow.received + flow.queued
        room = part - share.counted + flow.counted
        if counted > room:
            counted = max(0, room)
        self._promised += counted - flow.counted
        share.counted += counted - flow.counted
        flow.counted = counted

    def _budget(self) -> int:
        """Messages that all origins together may have under way or queued: half the queue (section 7.1)."""
        queue_max = 0
        size_max = 0
        for receiver in self.receivers:
            queue_max += receiver.queue_max
            size_max += receiver.size_max
        budget = min(queue_max, size_max // self.message_size) // 2
        return min(budget, len(self.receivers) * self.waiting_max()) if self.things else budget

    def window(self, flow: InFlow) -> int:
        """An origin's window at the most: an even share of its link's, which has one of the budget."""
        share = flow.share
        assert share is not None
        return max(1, min(codes.WINDOW_MAX, self._budget() // len(self.shares) // share.flows))

    def raise_limit(self, flow: InFlow, taken: bool) -> bool:
        """Let an origin send on, because it has sent or, if `taken`, was read; True if its limit rose.

        Its window doubles as it is used, up to an even share of its link's part, and never beyond what the
        windows of the others leave: an origin that sends little holds little, and many that come at once stay
        within the queue. What has not been read yet may take up a quarter of the budget, for more may be
        coming; who gets no more for that keeps what it has, else many that send at once would have to grow
        from the opening credit again and again.
        """
        share = flow.share
        if share is None:
            return False  # its node is gone
        if flow.session is not None and share.link is not flow.session:
            self._leave(flow)
            share = self._enter(flow, flow.session)
        self.message_size -= self.message_size >> 4
        if self.things:
            self.things -= (self.things >> 4) + 1
        budget = self._budget()
        part = budget // len(self.shares)  # an even share for each link
        window = max(codes.OPENING_CREDIT, min(codes.WINDOW_MAX, flow.half * 4))
        window = min(window, max(1, part // share.flows))
        if flow.far:  # what is under way is in the queues of others
            most = codes.FAR_WINDOW_SIZE // self.message_size
            most = min(most, self.far_max()) if self.things else most
            window = min(window, max(codes.OPENING_CREDIT, most))
        others = self._promised - flow.counted
        left = (budget if taken else budget >> 2) - others
        if window > left:
            if taken and budget >= _SPARE_MIN:
                left = max(left, self._spare(flow, share, budget, part, others))
            window = max(left, min(window, self._least(taken, budget)))
        limit = flow.received - flow.queued + window
        rises = limit > flow.limit
        if rises:
            flow.half = window >> 1
            flow.limit = limit
        elif taken:
            flow.half = min(flow.half, window >> 1)
        self._recount(flow, share, part)
        return rises

    def _least(self, taken: bool, budget: int) -> int:
        """As much as an origin is given whatever the others hold: what it came with, while these are few."""
        few = taken and budget >= _SPARE_MIN and len(self.active) <= budget >> 5
        return self.opening if few else 1

    def _spare(self, flow: InFlow, share: Share, budget: int, part: int, others: int) -> int:
        """Room beyond what the windows of the others leave. Where links hold more than their part, because
        they were there first and do not send, the others have half as much again; and of a quarter beyond
        that each that comes has a quarter of what the ones before it left.
        """
        lacks = part - share.counted + flow.counted
        more = budget + (budget >> 1) - others
        return min(lacks, max(more, (more + (budget >> 2)) >> 2))


# Runs: the commonest thing on a busy link, plain messages of one flow with consecutive numbers. Read here in
# one loop, without a call for each frame.


def _read_one(
    data: bytes, pos: int, at: int, stop: int, format: int, flow: InFlow, receiver: Receiver, now: int
) -> int:
    """As `_read_run`, of the frame from `pos` to `stop` alone, whose number is at `at`."""
    seq = flow.received + 1
    body = stop - at - 2
    if (
        body < 0
        or data[at + 1] != seq & 0xFF
        or data[at] != seq >> 8 & 0xFF
        or receiver.size + body > receiver.size_max
        or len(receiver.queue.items) - receiver.queue.head >= receiver.queue_max
    ):
        return pos
    receiver.queue.items.append(Message(flow, seq, data[at + 2 : stop], format, b"", 0, now))
    flow.queued += 1
    flow.received = seq
    receiver.size += body
    if body > receiver.endpoint.message_size:
        receiver.endpoint.message_size = body
    return stop


def _read_run(
    data: bytes,
    pos: int,
    end: int,
    frame_max: int,
    prefix: bytes,
    flow: InFlow,
    receiver: Receiver,
    now: int,
) -> int:
    """Queue the frames from `pos` on that continue `flow`; returns where the first other one starts. `prefix`
    is all that stands before their number.
    """
    queue = receiver.queue
    items = queue.items
    before = len(prefix)
    head = prefix[0]
    alias = prefix[1]
    format = head & 3
    seq = flow.received
    last = seq + receiver.queue_max - len(items) + queue.head
    space = receiver.size_max - receiver.size
    size = 0
    largest = 0
    body = as_body = -1
    as_start = b""  # of the frame before, up to the low byte of its number, if the one before was as long
    as_size = 0
    while seq < last and pos + 5 <= end:
        if as_size:
            at = pos + as_size
            stop = at + body + 1
            low = seq + 1 & 0xFF  # 0: the byte before it is another, too
            if stop <= end and low and data[at] == low and data[pos:at] == as_start and size + body <= space:
                seq += 1
                size += body
                items.append(Message(flow, seq, data[at + 1 : stop], format, b"", 0, now))
                pos = stop
                continue
            as_size = 0
            body = -1
        length = data[pos]
        start = pos + 1
        if length >= 0x80:
            length = length & 0x7F | (data[start] & 0x7F) << 7
            if data[start] >= 0x80:
                start += 1
                if data[start] >= 0x80:
                    break
                length |= data[start] << 14
            start += 1
        stop = start + length
        at = start + before
        as_body = body
        body = stop - at - 2
        seq += 1
        if (
            stop > end
            or body < 0
            or length > frame_max
            or data[at + 1] != seq & 0xFF
            or data[at] != seq >> 8 & 0xFF
            or size + body > space
            or (data[start:at] != prefix if before > 2 else data[start + 1] != alias or data[start] != head)
        ):
            seq -= 1
            break
        size += body
        if body > largest:
            largest = body
        items.append(Message(flow, seq, data[at + 2 : stop], format, b"", 0, now))
        if body == as_body:
            as_start = data[pos : at + 1]
            as_size = at + 1 - pos
        pos = stop
    flow.queued += seq - flow.received
    flow.received = seq
    receiver.size += size
    if largest > receiver.endpoint.message_size:
        receiver.endpoint.message_size = largest
    return pos
