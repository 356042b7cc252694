"""The origin's side of every message: whom it goes to, its number, whether it may go now, what becomes of it.

A message that may not go yet (nobody has the endpoint, no credit, no room on the link) waits here, in order
and bounded; the caller gets a token and, later, exactly one terminal Outcome. Knows a link as something with
room.

What must hold (docs/guarantees.md), and why it does:

One outcome. A message with a token is in `pending` from `open` to `finish`, which takes it out and is the
only way to OVER (the table in flows.py). In each state somebody ends it: UNRESOLVED the lookup or its time
(unresolved.py), WAITING credit, room, its time or the loss of the node (`resume`, `lose_peer`), SENT the
answer, the deadline or the loss of the node. So there is neither silence nor a second word.

At most once. The table launches a message once, and only then it gets its number; the receiver takes each
number of a pair once (receiving.py, `arrive`). 16 bits of it travel, compared as in RFC 1982: that is
unambiguous while fewer than 32,768 of a pair are under way, and WINDOW_MAX is half of that.

In order. What waits for one holder waits in one queue; a flow keeps its link while that stands, though a
better one has come (`OutFlow.link`); on a link and through other nodes nothing passes anything of its lane
(queue.py). What comes late over a former way is seen by its number and refused.
"""

from busway.protocol import outcomes
from busway.protocol.errors import FullError, WrongKindError
from busway.protocol.messaging.anycast import Crowd
from busway.protocol.messaging.correspondent import Correspondent, assign, release, talk
from busway.protocol.messaging.events import UndeliverableEvent
from busway.protocol.messaging.flows import (
    FINISHED,
    LAUNCHED,
    NEXT,
    PARKED,
    RECALLED,
    SENT,
    UNPLACED,
    UNRESOLVED,
    WAITING,
    MarkedFlow,
    OutFlow,
    Pending,
    Target,
)
from busway.protocol.messaging.ids import Ids
from busway.protocol.messaging.leaf_casts import LeafCasts
from busway.protocol.messaging.publisher import Publisher
from busway.protocol.messaging.replies import Answers
from busway.protocol.messaging.retained import Retained
from busway.protocol.messaging.selecting import SelectedFrame, Selecting
from busway.protocol.messaging.sides import SenderSide
from busway.protocol.messaging.unresolved import Unresolved
from busway.protocol.outcomes import Outcome
from busway.protocol.routing.host import RoutingHost
from busway.protocol.routing.mesh import Mesh
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.timers import Timers
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, is_selector, lane_at, sought, uuid_of
from busway.protocol.wire.messages import Frame, has_things, signal, signal_about

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.face import LinkFace


_ANSWERED = (outcomes.TAKEN, outcomes.REPLIED, outcomes.ENDED, outcomes.FAILED)


class Origin(SenderSide):
    """Resolves, numbers, holds back and follows up what this node sends."""

    def __init__(self, host: RoutingHost, me: Correspondent, mesh: Mesh, timers: Timers, ids: Ids) -> None:
        super().__init__(host, me, mesh, timers)
        self.unresolved = Unresolved(self)
        self.arrived = self.unresolved.arrived
        self.publisher = Publisher(self)
        self.retained = Retained(self, ids)
        self.leaf_casts = LeafCasts(self)
        self.answers = Answers(self)
        self.ids = ids
        self.crowds: "dict[Address, Crowd]" = {}  # of those with several equally cheap holders
        self.selecting = Selecting(self)

    # Resolution

    def forget_target(self, uuid: bytes) -> None:
        """The holders of an endpoint changed: resolve it anew, and let those go that waited for one."""
        if self.selecting.used:
            self.selecting.forget()
        if self.marked:
            for address in self.addresses(uuid):
                self._forget_address(address)
        else:
            self._forget_address(uuid)

    def _forget_address(self, address: Address) -> None:
        self.targets.pop(address, None)
        self.direct.pop(address, None)
        crowd = self.crowds.get(address)
        if crowd is not None:
            crowd.wake()

    def forget_targets(self, entries: "dict[bytes, Entry]") -> None:
        """The same of all these. Others may have told any number of them, so those in use here are gone
        through, if they are fewer.
        """
        if self.selecting.used:
            self.selecting.forget()
        used = list(self.targets) + list(self.crowds)
        for address in used if len(used) < len(entries) else list(entries):
            uuid = uuid_of(address)
            if uuid in entries:
                self.forget_target(uuid)

    def crowd(self, address: Address, now: int) -> "Crowd | None":
        """The holders of an endpoint, if there are several to choose from."""
        target = self.target(address, now)
        if target is None or len(target.flows) < 2:
            return None
        crowd = self.crowds.get(address)
        if crowd is None:
            crowd = self.crowds[address] = Crowd(self, address)
            if is_selector(address):
                self.selecting.crowds[address] = crowd
        crowd.adopt(target.flows)
        return crowd

    # Sending

    def ready(self, flow: OutFlow) -> bool:
        if flow.sent >= flow.limit:
            return isinstance(flow, MarkedFlow) and _is_refused(flow)
        hop = flow.hop
        if hop is None or hop.state == codes.CLOSED:
            hop = flow.link()
        if flow.peer is self.me or (hop is not None and hop.queue.size < codes.QUEUE_SIZE_MAX):
            return True
        return hop is not None and isinstance(flow, MarkedFlow) and hop.has_room_for(flow.lane)

    def go(self, flow: OutFlow, out: Frame, now: int) -> bool:
        """Transmit it, if nothing waits before it and the flow is ready."""
        if flow.waiting.items or not self.ready(flow):
            return False
        self.transmit(flow, out, now)
        return True

    def submit(self, out: Frame, node_id: bytes, ttl_ms: int, timeout_ms: int, wait: bool, now: int) -> int:
        """Send now, or park. Returns the token, 0 for a plain send that went; raises FullError,
        WrongKindError.
        """
        kind = out.kind
        address = out.endpoint
        if self.arrived and sought(address) in self.arrived:
            self.unresolved.settle(sought(address), now)  # those who waited go first
        flow = None if node_id else self.direct.get(address)
        if flow is None:
            flow = self.flow_for(address, node_id, now)
        crowd = None if node_id or flow is not None else self.crowd(address, now)
        if crowd is not None:
            flow = crowd.choose(out, now)
            goes = flow is not None
        else:
            goes = flow is not None and not flow.waiting.items and self.ready(flow)
        if not goes and not wait and (flow is not None or crowd is not None):
            raise FullError("the receiver's credit or the link's queue is used up: wait and send again")
        if kind == codes.SEND and goes and flow is not None and not has_things(out):
            out.destination = flow.peer.key
            out.endpoint = flow.endpoint  # of a selector it was not known before
            self.transmit(flow, out, now)
            return 0
        pending = self.open(out)
        pending.pinned = node_id
        if out.options is not None:
            pending.window = out.options.window
        if kind != codes.SEND:
            pending.timeout_ms = timeout_ms
            pending.expires = out.expires = now + timeout_ms
        elif timeout_ms >= 0:
            pending.expires = now + timeout_ms  # of the wait alone: what is accepted has no deadline
        if flow is None and crowd is not None:
            crowd.park(pending, now)
        elif flow is None:
            self.unresolved.park(pending, ttl_ms, now)
        elif goes:
            self.launch(flow, pending, now)
        else:
            self.park(flow, pending, now)
        return pending.id

    def carrying(self, flows: "list[OutFlow]", out: Frame) -> "list[OutFlow]":
        if not has_things(out):
            return flows
        return [flow for flow in flows if _may_carry(flow, out)] or flows

    def open(self, out: Frame) -> Pending:
        if len(self.pending) >= codes.OUTSTANDING_MAX:
            raise FullError("65536 sends and requests are outstanding: wait for some to end")
        id = self.ids.draw()
        while not id or id in self.pending:
            id = id % codes.ID_MAX + 1
        pending = self.pending[id] = Pending(self, id, out)
        out.id = id
        return pending

    def launch(self, flow: OutFlow, pending: Pending, now: int) -> None:
        pending.state = NEXT[pending.state, LAUNCHED]
        assign(pending, flow)
        pending.out.endpoint = flow.endpoint  # of a selector it was not known before
        if pending.out.kind == codes.CONFIRM or pending.out.kind == codes.REQUEST:
            flow.open += 1
            if pending.deadline < 0:
                self.timers.arm(pending, pending.expires)
            self.transmit(flow, pending.out, now)
        else:
            self.transmit(flow, pending.out, now)
            if pending.state == SENT:  # else it failed at once, and that was its outcome
                self.finish(pending, outcomes.ACCEPTED)

    def transmit(self, flow: OutFlow, out: Frame, now: int) -> None:
        """Number a message and hand it to its link, or to our own receivers. The flow is ready."""
        flow.sent += 1
        flow.run = None
        flow.last_used = now
        if out.kind <= codes.REQUEST:
            out.number = flow.sent
        elif out.kind == codes.PART:
            out.number = flow.sent - 1
        hop = flow.hop
        if hop is None:
            assert flow.peer is self.me  # by reference, without a link
            if out.kind <= codes.REQUEST:
                self.receiving.arrive_local(out, now)
            else:
                self.answers.came(self.me, out, now)
        elif len(out.payload) > hop.limits.message_size_max:
            flow.sent -= 1
            self.turned_away(hop, out, codes.MESSAGE_TOO_LARGE)
        elif out.options is not None and not may_go(flow.peer, hop, out):
            flow.sent -= 1
            self.turned_away(hop, out, codes.NO_FILES)
        else:
            hop.enqueue(out)

    def turned_away(self, hop: "LinkFace", out: Frame, reason: int) -> None:
        """The link that is left does not take that message: who waits for it hears so, here or there."""
        if out.kind <= codes.REQUEST:
            self.undeliverable(out, reason)
            return
        lane = out.lane()
        out.kind = codes.ERROR  # of the request that it was to answer
        out.code = reason
        out.options = None
        if lane != codes.NORMAL:
            out.mark(lane)
        out.payload = out.type_id = b""
        out.format = codes.RAW
        hop.enqueue(out)

    def park(self, flow: OutFlow, pending: Pending, now: int) -> None:
        """Hold a message until its flow has credit and its link room."""
        pending.state = NEXT[pending.state, PARKED]
        assign(pending, flow)
        flow.waiting.push(pending)
        if pending.expires >= 0 and pending.deadline < 0:
            self.timers.arm(pending, pending.expires)
        self.await_room(flow, now)

    def resume(self, flow: OutFlow, now: int, most: int = codes.OUTSTANDING_MAX) -> None:
        """Credit or room has come: let go what waited, in order, `most` messages at the most."""
        if flow.resuming:  # a message to ourselves freed credit: the loop that sent it goes on
            return
        flow.resuming = True
        while most and len(flow.waiting) and self.ready(flow):
            most -= 1
            pending: Pending = flow.waiting.pop()
            self.launch(flow, pending, now)
        flow.resuming = False
        if len(flow.waiting):
            self.await_room(flow, now)
        else:
            flow.certain()
            self.timers.disarm(flow)
        if self.crowds:
            crowd = self.crowds.get(flow.endpoint)
            if crowd is not None:
                crowd.pump(now)
            self.selecting.wake(flow)

    def probe(self, flow: OutFlow, now: int) -> None:
        """Blocked for long: ask the destination, in case credit or messages were lost, or counts differ."""
        crowd = self.crowds.get(flow.endpoint)
        waits = len(flow.waiting) or (crowd is not None and len(crowd.waiting))
        waits = waits or self.selecting.waits_for(flow)
        if not waits or flow.sent < flow.limit:
            return
        self.counters["probes"] += 1
        flow.probe_ms = codes.PROBE_MS if flow.in_doubt else min(flow.probe_ms * 2, codes.PROBE_MAX_MS)
        flow.in_doubt = False
        self.timers.arm(flow, now + flow.probe_ms)
        if flow.probe_ms > 2 * codes.PROBE_MS:
            flow.hop = None  # the last one was not answered: as in _doubt_way
        hop = flow.link()
        out = signal_about(codes.PROBE, flow.peer.key, flow.endpoint, flow.sent)
        if flow.peer is self.me:
            self.receiving.signal_came(None, self.me, out, now)
        elif hop is not None and hop.asleep_until < 0:  # a day's probes would pile up
            hop.enqueue(out)  # behind the messages that it counts

    def enter(self, flow: "OutFlow | None", pending: Pending, now: int) -> bool:
        """To its flow, or the crowd of those that may get it; it waits there if it must. False: there is
        none.
        """
        crowd = None if pending.pinned or flow is not None else self.crowd(pending.out.endpoint, now)
        if flow is None and crowd is None:
            return False
        self.timers.disarm(pending)  # of its waiting for an endpoint: its own time is set again
        if crowd is not None:
            crowd.park(pending, now)
            crowd.pump(now)
        else:
            assert flow is not None
            self.park(flow, pending, now)
            self.resume(flow, now)
        return True

    # Outcomes

    def finish(self, pending: Pending, status: int, code: int = 0, text: str = "") -> Outcome:
        """The one terminal outcome of a pending message."""
        if pending.state == WAITING and pending.flow is not None:
            self._leave_flow(pending.flow, pending)
        elif pending.state == WAITING:
            self.crowds[pending.out.endpoint].waiting.remove(pending)
        elif pending.state == SENT and codes.PUBLISH < pending.out.kind <= codes.REQUEST:
            self._finish_request(pending, status)
        elif pending.state == UNRESOLVED:
            self.unresolved.remove(pending)
        pending.state = NEXT[pending.state, FINISHED]
        self.timers.disarm(pending)
        self.pending.pop(pending.id, None)
        release(pending)
        outcome = Outcome(pending.id, status, code, text)
        self.host.emit(outcome)
        return outcome

    def _leave_flow(self, flow: OutFlow, pending: Pending) -> None:
        flow.waiting.remove(pending)
        if not len(flow.waiting) and flow in talk(flow.peer).stalled:
            talk(flow.peer).stalled.remove(flow)

    def _finish_request(self, pending: Pending, status: int) -> None:
        """One less is outstanding with a holder, which may be free for another now."""
        flow = pending.flow
        assert flow is not None
        flow.open -= 1
        if status in _ANSWERED:
            flow.done += 1
        if self.crowds:
            crowd = self.crowds.get(flow.endpoint)
            if crowd is not None:
                crowd.wake()
            self.selecting.wake(flow)

    def due(self, pending: Pending, now: int) -> None:
        """A pending message's time is up."""
        if pending.state == UNRESOLVED and (pending.expires < 0 or now < pending.expires or pending.has_ttl):
            self.unresolved.fail(pending)
        elif pending.window and pending.next_part != pending.consumed:
            pending.expires = now + codes.PROBE_MS  # the program has parts to read: the wait is its own
            self.timers.arm(pending, pending.expires)
            if now - pending.window_told >= codes.PROBE_MAX_MS:
                self.answers.tell_window(pending, now)
        elif pending.out.kind == codes.REQUEST:
            self.counters["timed_out"] += 1
            if pending.state == SENT:
                self.call_off(pending, now)
                self._doubt_way(pending)
            self.finish(pending, outcomes.TIMED_OUT, codes.EXPIRED)
        elif pending.out.kind == codes.PUBLISH:
            self.publisher.lose_patience(pending, now)
        elif pending.state == SENT:
            self._doubt_way(pending)
            traced = pending.out.kind == codes.SIGNAL
            self.finish(pending, outcomes.TIMED_OUT if traced else outcomes.UNKNOWN, codes.EXPIRED)
        else:
            self.finish(pending, outcomes.UNDELIVERED, codes.EXPIRED)

    @staticmethod
    def _doubt_way(pending: Pending) -> None:
        """Nothing came back: perhaps its way is no longer what the other side believes it to be. The next one
        goes by the nearest.
        """
        if pending.flow is not None:
            pending.flow.hop = None

    def cancel(self, token: int, now: int) -> None:
        """The caller no longer wants it; a token that is over is ignored."""
        if self.answers.waiting:
            self.answers.forget(token)
        pending = self.pending.get(token)
        if pending is None:
            return
        if pending.state == SENT and pending.out.kind == codes.REQUEST:
            self.call_off(pending, now)
        pending.out.cancelled = True
        things = pending.out.things()
        if things is not None:
            things.drop()  # also where it waits on its link
        self.finish(pending, outcomes.CANCELLED)

    def call_off(self, pending: Pending, now: int) -> None:
        """CANCEL, on the same way as the request and behind it."""
        assert pending.flow is not None
        hop = pending.flow.link()
        out = signal(codes.CANCEL, pending.out.destination, pending.out.endpoint, 0, pending.id)
        if len(out.endpoint) > codes.ID_SIZE:
            out.mark(lane_at(out.endpoint))
        if pending.peer is self.me:
            self.receiving.signal_came(None, self.me, out, now)
        elif hop is not None:  # else its way is lost
            hop.enqueue(out)

    def value_answered(self, peer: Peer, answer: Frame, now: int) -> None:
        self.retained.answered(peer, answer, now)

    def value_undelivered(self, peer: Peer, uuid: bytes, seq: int, reason: int) -> bool:
        return self.retained.undelivered(peer, uuid, seq, reason)

    def undeliverable(self, out: Frame, reason: int) -> None:
        """A message of ours that had been accepted will not arrive."""
        if out.kind <= codes.REQUEST:
            self.counters["undeliverable"] += 1
        pending = self.pending.get(out.id) if out.id else None
        if pending is not None and pending.out is out:
            late = reason == codes.EXPIRED and out.kind == codes.REQUEST
            self.finish(pending, outcomes.TIMED_OUT if late else outcomes.UNDELIVERED, reason)
        elif out.kind == codes.SEND and (out.options is None or not out.options.retain):
            node_id = out.destination[: codes.ID_SIZE]
            self.host.emit(UndeliverableEvent(uuid_of(out.endpoint), node_id, out.number, reason))

    # Nodes that go, time that passes

    def may_go_on(self, peer: Peer, now: int) -> None:
        """There is a way to a node: what waits for one takes it."""
        stalled = talk(peer).stalled
        talk(peer).stalled = []
        for flow in stalled:
            self.resume(flow, now)

    def lose_peer(self, peer: Peer, unsent: "list[Frame]", now: int) -> None:
        """A node is gone: what was not written failed, what waited finds another way, what was written is
        told as it is.
        """
        for out in unsent:
            if not isinstance(out, SelectedFrame) or not self._select_again(out, now):
                self.undeliverable(out, codes.NO_ROUTE)
        for flow in list(talk(peer).out_flows.values()):
            flow.limit = min(flow.limit, flow.sent)
            self._empty(flow, now)
        for pending in list(talk(peer).outstanding.values()):
            unknown = pending.out.kind == codes.CONFIRM
            ran = pending.out.kind == codes.REQUEST and pending.state == SENT
            reason = codes.LOST_AFTER_SENDING if ran else codes.NO_ROUTE
            self.finish(pending, outcomes.UNKNOWN if unknown else outcomes.UNDELIVERED, reason)

    def _select_again(self, out: SelectedFrame, now: int) -> bool:
        """Of a message to a selector nothing was written to a node that is gone: another one gets it, if
        there is one; of a plain send, which was accepted already, if it may go at once.
        """
        pending = self.pending.get(out.id) if out.id else None
        if pending is not None and pending.out is out:
            self.recall(pending)
            out.endpoint = out.selector
            self.reroute(pending, now)
            return True
        target = self.target(out.selector, now) if out.kind == codes.SEND else None
        for flow in [] if target is None else self.carrying(target.flows, out):
            if not len(flow.waiting) and self.ready(flow):
                out.destination = flow.peer.key
                out.endpoint = flow.endpoint
                self.transmit(flow, out, now)
                return True
        return False

    def recall(self, pending: Pending) -> None:
        """It was launched, and nothing of it written: it waits again."""
        pending.state = NEXT[pending.state, RECALLED]
        self._finish_request(pending, outcomes.UNDELIVERED)
        release(pending)

    def select(self, address: Address, now: int) -> "Target | None":
        return self.selecting.target(address, now)

    def withdrawn(self, peer: Peer, uuid: bytes, now: int) -> None:
        """An endpoint is gone from a node. Its numbers go on where they were if it comes back; at this node,
        where nothing is on its way, they start anew on both sides.
        """
        self.forget_target(uuid)
        flows = talk(peer).out_flows
        for address in self.addresses(uuid):
            flow = flows.get(address)
            if peer is self.me:
                flows.pop(address, None)
            if flow is not None:
                flow.limit = min(flow.limit, flow.sent)
                self._empty(flow, now)

    def announced(self, peer: Peer, uuid: bytes, credit: int, new: bool, now: int) -> None:
        """An endpoint appeared (`new`), or changed, or is told again over another link."""
        self.forget_target(uuid)
        for address in self.addresses(uuid) if new else ():
            flow = talk(peer).out_flows.get(address)
            if flow is not None:
                flow.opening = credit
                flow.limit = max(flow.limit, flow.sent + credit)  # CREDIT may have come before
                flow.in_doubt = True  # the destination may not know that we lost it
        self._leave_losers(uuid, now)
        self.unresolved.settle(uuid, now)

    def _leave_losers(self, uuid: bytes, now: int) -> None:
        """Messages that wait for a holder that lost a conflict go to the other now, before what is sent
        later.
        """
        if not self.directory.are_one(uuid):
            entries = self.directory.known(uuid)
            counting = self.directory.holders(uuid)
            for entry in [entry for entry in entries if entry not in counting]:
                for address in self.addresses(uuid):
                    flow = talk(entry.peer).out_flows.get(address)
                    if flow is not None:
                        self._empty(flow, now)

    def _empty(self, flow: OutFlow, now: int) -> None:
        self.timers.disarm(flow)
        flow.hop = None
        for item in flow.waiting.drain():
            self.reroute(item, now)

    def reroute(self, pending: Pending, now: int) -> None:
        pending.flow = None
        pending.state = NEXT[pending.state, UNPLACED]
        try:
            flow = self.flow_for(pending.out.endpoint, pending.pinned, now)
        except WrongKindError:
            flow = None
        abroad = flow is not None and flow.peer is not self.me
        if (abroad and pending.out.format == codes.OBJECT) or not self.enter(flow, pending, now):
            self.finish(pending, outcomes.UNDELIVERED, codes.NO_ROUTE)

    def sweep(self, now: int) -> None:
        """Idle pairs fall back to their opening credit; those whose endpoint is gone are forgotten."""
        self._sweep_flows(talk(self.me).out_flows, now)
        self._sweep_flows(self.publisher.flows, now)
        self._sweep_flows(self.publisher.unheard, now)
        for address, crowd in list(self.crowds.items()):
            if not len(crowd.waiting) and address not in self.targets:
                del self.crowds[address]
                self.selecting.crowds.pop(address, None)
        for peer in self.routes.peers.values():
            self._sweep_flows(talk(peer).out_flows, now)

    def _sweep_flows(self, flows: "dict[bytes, OutFlow]", now: int) -> None:
        for address, flow in list(flows.items()):
            idle = now - flow.last_used
            if len(flow.waiting) or idle < codes.BELIEF_MS:
                continue
            flow.hop = None  # nothing is under way that could be overtaken on the nearest way
            if idle < codes.FLOW_FALLBACK_MS:
                continue
            if flow.limit > flow.sent + flow.opening:
                flow.limit = flow.sent + flow.opening
                flow.in_doubt = True
            if idle >= codes.FLOW_FORGET_OUT_MS and not flow.is_announced(self.directory):
                del flows[address]
                self.forget_target(uuid_of(address))

    def close(self, all: bool) -> None:
        """Everything outstanding ends, once; without `all` only messages that wait for an endpoint."""
        for crowd in self.crowds.values():
            crowd.waiting.drain()
        for pending in list(self.pending.values()):
            if not all and (pending.state == SENT or pending.out.kind > codes.REQUEST):
                continue
            if pending.flow is not None:
                pending.flow.waiting.drain()  # all at once: one by one would take a second for each 30,000
            unknown = pending.out.kind == codes.CONFIRM and pending.state == SENT
            self.finish(pending, outcomes.UNKNOWN if unknown else outcomes.UNDELIVERED, codes.BUS_CLOSED)


def may_go(peer: Peer, hop: "LinkFace", out: Frame) -> bool:
    """Whether the things of a message, if it has any, get to a node by that link and stay on this machine."""
    return not has_things(out) or (hop.aside_on and peer.metric >> 14 <= codes.USERSPACE)


def _may_carry(flow: OutFlow, out: Frame) -> bool:
    """The same of a holder's flow, as far as is known: within this node, or while its way is lost, yes."""
    hop = flow.hop
    if hop is None or hop.state == codes.CLOSED:
        hop = flow.peer.hop
    return hop is None or may_go(flow.peer, hop, out)


def _is_refused(flow: MarkedFlow) -> bool:
    """Whether the link that leads there knows no priorities: it refuses at once what would wait for credit,
    of which nothing can be told over it.
    """
    hop = flow.link()
    return hop is not None and not hop.addressing
