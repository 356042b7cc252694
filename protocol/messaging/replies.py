"""Answers that come back: replies, errors, the parts of streams, credit, what a trace finds, each matched
with what this node has outstanding.

Knows nothing of how a message found its way.
"""

from busway.protocol import outcomes
from busway.protocol.messaging.carried import Carried
from busway.protocol.messaging.correspondent import talk
from busway.protocol.messaging.events import UndeliverableEvent
from busway.protocol.messaging.flows import LAUNCHED, NEXT, SENT, Pending
from busway.protocol.messaging.part_things import WaitingParts
from busway.protocol.messaging.sides import SenderSide
from busway.protocol.outcomes import Outcome
from busway.protocol.routing.peers import Peer
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, uuid_of
from busway.protocol.wire.fields import lenient_text
from busway.protocol.wire.messages import Frame, RoutingHeader, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.aside import Beside
    from busway.protocol.link.face import LinkFace


def refusal(label: str, node_id: bytes) -> str:
    """The sentence for what the policy of that node does not allow."""
    who = ("%s %s" % (label, "".join(["%02x" % byte for byte in node_id[:4]]))).strip()
    return "the policy of %s does not allow it; `busway policy explain` there says why" % who


class Answers:
    """Correlates what others answer; late, unknown, cancelled and forged answers end here."""

    def __init__(self, origin: SenderSide) -> None:
        self._origin = origin
        self.waiting: "dict[int, WaitingParts]" = {}  # of requests with parts that have brought things

    def tell_window(self, pending: Pending, now: int) -> None:
        """PART_CREDIT: the server may send as many parts as the program has room for."""
        pending.window_told = now
        peer = pending.peer
        assert peer is not None
        out = signal(codes.PART_CREDIT, peer.key, b"", pending.consumed + pending.window, pending.id)
        if pending.out.lane() != codes.NORMAL:
            out.mark(pending.out.lane())
        if peer is self._origin.me:
            self._origin.receiving.signal_came(None, self._origin.me, out, now)
        elif peer.hop is not None:  # else its way is lost: it is told again
            peer.hop.answer(out)

    def pending_of(self, peer: Peer, id: int) -> "Pending | None":
        """The pending message that an answer belongs to: late, unknown, cancelled and forged ones end
        here.
        """
        pending = self._origin.pending.get(id)
        if pending is None or pending.state != SENT or pending.peer is not peer:
            if id <= codes.ID_MAX:  # else of a question about values
                self._origin.counters["unknown_reply"] += 1
            return None
        return pending

    def _stream_of(self, peer: Peer, id: int) -> "Pending | None":
        """The same for PART and END: who did not ask for parts is sent none, and still waits."""
        pending = self.pending_of(peer, id)
        if pending is not None and not pending.window:
            self._origin.counters["unknown_reply"] += 1
            return None
        return pending

    def came(self, peer: Peer, frame: Frame, now: int, link: "LinkFace | None" = None) -> None:
        """An answer came, over `link` if not from here, of `peer` or, in its name, of a node on the way."""
        kind = frame.kind
        if kind == codes.REPLY:
            self._reply(peer, frame, now)
        elif kind == codes.PART:
            self._part(peer, frame, now, link)
        elif kind == codes.ERROR:
            self._error(peer, frame, now)
        elif frame.signal == codes.END:
            self._end(peer, frame.id, frame.number & 0xFFFF, now)
        elif frame.signal == codes.CREDIT:
            self.credit(peer, frame.endpoint, frame.number, now)
        elif frame.signal == codes.UNDELIVERABLE:
            self._undelivered(peer, frame.endpoint, frame.number, frame.code, now)
        else:
            self._traced(peer, frame)

    def _of_value(self, peer: Peer, frame: Frame, now: int) -> None:
        """The answer to no request of ours; late ones to a question mean nothing."""
        if frame.id > codes.ID_MAX:
            self._origin.value_answered(peer, frame, now)

    def _reply(self, peer: Peer, frame: Frame, now: int) -> None:
        pending = self.pending_of(peer, frame.id)
        if pending is None:
            self._of_value(peer, frame, now)
        else:
            taken = pending.out.kind == codes.CONFIRM
            outcome = self._origin.finish(pending, outcomes.TAKEN if taken else outcomes.REPLIED)
            _fill(outcome, frame)

    def _error(self, peer: Peer, frame: Frame, now: int) -> None:
        code = frame.code
        pending = self.pending_of(peer, frame.id)
        if pending is not None:
            status = outcomes.UNDELIVERED if code <= codes.REASON_LAST else outcomes.FAILED
            text = lenient_text(frame.payload)
            if code == codes.NO_PERMISSION:  # whose policy it is, this side can say
                text = text or refusal(peer.label, peer.node_id)
            self._origin.finish(pending, status, code, text)
            if code == codes.NO_ENDPOINT:
                self._origin.lookups.refused(peer, uuid_of(pending.out.endpoint), now)
        else:
            self._of_value(peer, frame, now)

    def credit(self, peer: Peer, address: Address, limit: int, now: int) -> None:
        """CREDIT came: an absolute limit, so one that repeats or is older changes nothing."""
        flow = talk(peer).out_flows.get(address)
        if flow is None:
            return
        gain = (limit - flow.limit) & 0xFFFF
        if 0 < gain < 0x8000:
            flow.limit += gain
            flow.certain()
            self._origin.resume(flow, now)

    def _undelivered(self, peer: Peer, address: Address, seq: int, reason: int, now: int) -> None:
        """UNDELIVERABLE came: tell the program, with the number widened again."""
        flow = talk(peer).out_flows.get(address)
        uuid = uuid_of(address)
        if flow is None:
            if not self._origin.value_undelivered(peer, address, seq, reason):
                self._origin.counters["unknown_reply"] += 1
            return
        wide = flow.sent - ((flow.sent - seq) & 0xFFFF)
        if wide < 1:  # never sent
            self._origin.counters["unknown_reply"] += 1
            return
        self._origin.counters["undeliverable"] += 1
        self._origin.host.emit(UndeliverableEvent(uuid, peer.node_id, wide, reason))
        if reason == codes.NO_ENDPOINT:
            self._origin.lookups.refused(peer, uuid, now)

    def _part(self, peer: Peer, frame: Frame, now: int, link: "LinkFace | None") -> None:
        """A part that is not the next, or beyond the window, ends the stream."""
        pending = self._stream_of(peer, frame.id)
        if pending is None:
            return
        room = pending.next_part - pending.consumed < pending.window
        if frame.number & 0xFFFF != pending.next_part & 0xFFFF or not room:
            self._lose_part(pending, codes.PART_LOST, now)
            return
        things = frame.things()
        if things is not None and not self._origin.receiving.pool.has_room(things.count, _beside(link)):
            self._lose_part(pending, codes.FILES_FULL, now)
            return
        pending.next_part += 1
        pending.link = link
        self._extend(pending, now)
        outcome = outcomes.Outcome(frame.id, outcomes.PARTIAL)
        _fill(outcome, frame)
        if things is not None and things.count:
            self._hold(pending, outcome, things.count, link)
        self._origin.host.emit(outcome)

    def _hold(self, pending: Pending, outcome: Outcome, count: int, link: "LinkFace | None") -> None:
        """The things of a part count until the program has read it, or wants none any more."""
        waiting = self.waiting.get(pending.id)
        if waiting is None:
            waiting = self.waiting[pending.id] = WaitingParts(pending.consumed)
        brought: Carried = outcome.beside
        brought.hold(count, waiting, self._origin.receiving.pool, _beside(link))
        waiting.add(pending.next_part - 1, brought)

    def forget(self, token: int) -> None:
        """Nobody reads the parts of that request any more."""
        waiting = self.waiting.pop(token, None)
        if waiting is not None:
            waiting.drop()

    def _lose_part(self, pending: Pending, reason: int, now: int) -> None:
        self._origin.call_off(pending, now)
        self._origin.finish(pending, outcomes.UNDELIVERED, reason)

    def _extend(self, pending: Pending, now: int) -> None:
        """A stream's timeout counts from its last part, or from when the program had read that."""
        pending.expires = now + pending.timeout_ms
        self._origin.timers.arm(pending, pending.expires)

    def _end(self, peer: Peer, id: int, parts: int, now: int) -> None:
        """A count that differs means that parts are missing."""
        pending = self._stream_of(peer, id)
        if pending is None:
            return
        if parts != pending.next_part & 0xFFFF:
            self._lose_part(pending, codes.PART_LOST, now)
        else:
            self._origin.finish(pending, outcomes.ENDED)

    def consume_part(self, token: int, now: int) -> None:
        """The program took a part: let the server send on when half of the window is used."""
        waiting = self.waiting.get(token) if self.waiting else None
        brought = waiting is not None and waiting.read()
        pending = self._origin.pending.get(token)
        if pending is None and waiting is not None and not waiting.holding:
            self.forget(token)
        if pending is None or pending.consumed >= pending.next_part:
            return
        pending.consumed += 1
        if pending.consumed == pending.next_part:
            self._extend(pending, now)  # from here on it waits for the server
        if brought or pending.consumed % max(1, pending.window // 2) == 0:
            self.tell_window(pending, now)

    # Traces

    def trace(self, node_id: bytes, hops: int, timeout_ms: int, now: int) -> int:
        """TRACE, which may pass `hops` nodes."""
        origin = self._origin
        peer = origin.routes.peers.get(node_id)
        hop = None if peer is None else peer.hop
        peer = origin.me if peer is None else peer
        out = signal(codes.TRACE, peer.key)
        pending = origin.open(out)
        if hop is None:
            origin.finish(pending, outcomes.UNDELIVERED, codes.NO_ROUTE)
            return pending.id
        pending.state = NEXT[pending.state, LAUNCHED]
        pending.expires = now + timeout_ms
        origin.timers.arm(pending, pending.expires)
        out.route = RoutingHeader(b"", codes.PROCESS, hops)
        hop.enqueue(out)
        return pending.id

    def _traced(self, peer: Peer, frame: Frame) -> None:
        """Of the node where the hops ended."""
        origin = self._origin
        pending = origin.pending.get(frame.id)
        if pending is None or pending.out.signal != codes.TRACE:
            origin.counters["unknown_reply"] += 1
            return
        outcome = origin.finish(pending, outcomes.TRACED)
        outcome.payload = frame.payload
        outcome.node_id = peer.node_id


def _beside(link: "LinkFace | None") -> "Beside | None":
    return None if link is None else link.beside


def _fill(outcome: Outcome, frame: Frame) -> None:
    outcome.payload = frame.payload
    outcome.format = frame.format
    outcome.type_id = frame.type_id
    if frame.options is not None and frame.options.things is not None:
        outcome.beside = Carried(frame.options.things)
        if frame.format == codes.RAW and type(frame.payload) is memoryview:
            outcome.payload = bytes(frame.payload)  # others are decoded from the view
