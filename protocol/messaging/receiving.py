"""The destination's side: registers endpoints, takes messages in, queues them, and answers for each one.

The counterpart of sender.py. Knows connections only as somewhere to put an answer.
"""

from busway.protocol.errors import EndpointTakenError, LocalError
from busway.protocol.messaging.admitting import is_new_session, is_replay, rank_all, start_anew
from busway.protocol.messaging.carried import Pool, dropped, released
from busway.protocol.messaging.correspondent import Correspondent, talk
from busway.protocol.messaging.endpoints import Endpoint, InFlow, Message, Receiver
from busway.protocol.messaging.events import ReceiverEvent, RequestEvent, UndeliverableEvent
from busway.protocol.messaging.flows import answers_flow
from busway.protocol.messaging.handlers import Handlers
from busway.protocol.messaging.lasts import Lasts
from busway.protocol.messaging.leaving import count_plain, give_way, left, note_lost, pull, replace
from busway.protocol.messaging.marked import MarkedMessage
from busway.protocol.messaging.payload import size_of
from busway.protocol.messaging.requests import DONE, TAKEN, Request
from busway.protocol.messaging.responding import error_of
from busway.protocol.messaging.sender import Origin
from busway.protocol.messaging.yielding import Yielding
from busway.protocol.outcomes import ENDPOINT_DOWN, ENDPOINT_UP, RECEIVER_ASKED
from busway.protocol.routing.events import EndpointEvent
from busway.protocol.routing.host import RoutingHost
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.timers import Call
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, addresses_of, lane_at, uuid_of
from busway.protocol.wire.messages import Frame, signal_about

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from busway.protocol.link.face import LinkFace


class Receiving(Yielding):
    """Local endpoints and what arrives for them."""

    def __init__(self, host: RoutingHost, origin: Origin) -> None:
        self.host = host
        self.me = origin.me
        self.mesh = origin.mesh
        self.routes = origin.routes
        self.directory = origin.directory
        self.timers = origin.timers
        self.gate = origin.mesh.gate
        self.origin = origin
        self.retained = origin.retained
        self.lasts = Lasts()
        self.doubts = Call(self.look_for_doubts)
        self.denied, self.looked, self.roots = {}, {}, {}
        self.marked = False
        self.builtin: "Receiver | None" = None  # the introspection endpoint's
        self.introspect: "Callable[[int, object], bytes] | None" = None
        self.endpoints = {}
        self.process_only = {}
        self.subscribed = 0
        self.yielded = {}
        self.patterns, self.reply_flows, self.going = {}, {}, {}
        self.handlers = Handlers(host, self.gate)
        self.pool = Pool()
        self.counters = {
            "received": 0,
            "late": 0,
            "refused": 0,
            "dropped": 0,
            "no_endpoint": 0,
            "wrong_kind": 0,
            "expired": 0,
            "missed": 0,
            "misnamed": 0,
        }

    # Registration

    def register(self, endpoint: Endpoint, queue_max: int, size_max: int, policy: int) -> Receiver:
        """Add a receiver; the endpoint appears with its first. Raises EndpointTakenError."""
        uuid = endpoint.uuid
        known = self.endpoints.get(uuid)
        if known is not None:
            self._check_join(known, endpoint)
            endpoint = known
        else:
            self._check_free(uuid, endpoint.kind, endpoint.realm)
            self.endpoints[uuid] = endpoint
            if endpoint.kind == codes.BROADCAST:
                self.subscribe(endpoint)
            if endpoint.realm == codes.PROCESS:
                self.process_only[uuid] = True
            self.origin.forget_target(uuid)
            self.announce(endpoint)
        receiver = Receiver(endpoint, queue_max, size_max, policy)
        endpoint.receivers.append(receiver)
        if endpoint.kind == codes.BROADCAST:
            self.give_lasts(receiver)
        return receiver

    def _check_join(self, endpoint: Endpoint, other: Endpoint) -> None:
        if endpoint.kind != other.kind or other.kind == codes.UNICAST:
            raise EndpointTakenError(
                "this node has that endpoint already, of kind %s" % codes.KIND_NAMES[endpoint.kind]
            )
        if endpoint.realm != other.realm:
            raise LocalError(
                "this node has that endpoint with realm %s: use the same, or close it first"
                % codes.REALM_NAMES[endpoint.realm]
            )
        if endpoint.traits != other.traits:
            raise LocalError(
                "this node has that endpoint with other labels, or another last word: "
                "use the same, or close it first"
            )

    def _check_free(self, uuid: bytes, kind: int, realm: int) -> None:
        if len(self.endpoints) >= codes.ENTRIES_MAX:
            raise LocalError("16384 endpoints are registered: close some first")
        if realm == codes.PROCESS:
            return
        entry = self.directory.rival(uuid, kind, realm)
        if entry is not None:
            raise EndpointTakenError(
                "node %s (%s) has that endpoint, of kind %s"
                % (_short(entry.peer.node_id), entry.peer.label, codes.KIND_NAMES[entry.kind])
            )

    def deregister(self, receiver: Receiver, now: int) -> None:
        """Remove a receiver: what is still queued is answered as not taken. Twice is once."""
        if not receiver.closed:
            receiver.closed = True
            receivers = receiver.endpoint.receivers
            receivers.remove(receiver)
            if not receivers:
                self._end(receiver.endpoint, now)
        while len(receiver.queue):
            self.reject(pull(receiver), codes.RECEIVER_CLOSED)

    def _end(self, endpoint: Endpoint, now: int) -> None:
        """No program wants it any more."""
        if not endpoint.yielded:
            self.withdraw(endpoint, now)
        else:
            self.forget_yielded(endpoint)

    def withdraw(self, endpoint: Endpoint, now: int) -> None:
        uuid = endpoint.uuid
        del self.endpoints[uuid]
        if endpoint.kind == codes.BROADCAST:
            self.unsubscribe(endpoint)
            self.forget_lasts(uuid)
        self.process_only.pop(uuid, None)
        self.origin.forget_target(uuid)
        addresses = addresses_of(uuid) if self.marked else [uuid]
        for peer in self.all_peers() + list(self.routes.departed.values()):
            for address in addresses:
                talk(peer).in_flows.pop(address, None)
        self.announce(endpoint)
        self.origin.withdrawn(self.me, uuid, now)

    def announce(self, endpoint: Endpoint) -> None:
        """One of our own came or went; of the built-in one nobody hears."""
        uuid = endpoint.uuid
        if uuid == codes.INTROSPECTION:
            return
        mesh, entry = self.mesh, self.entry_of(endpoint)
        here = uuid in self.endpoints
        if here:
            mesh.selections.announced(entry)
        else:
            mesh.selections.withdrawn(entry)
        self.host.emit(EndpointEvent(ENDPOINT_UP if here else ENDPOINT_DOWN, entry))
        if entry.realm != codes.PROCESS:
            if here:
                mesh.names.registered(uuid)
            else:
                mesh.names.withdrawn(uuid)
            mesh.lines.put_own(entry if here else Entry(self.me, uuid, 0, entry.realm))
            mesh.lookups.changed(uuid, 0)
        mesh.forwarder.subscribed(uuid)

    def entry_of(self, endpoint: Endpoint) -> Entry:
        """An endpoint of ours as others are told of it."""
        kind, realm, opening, cost = endpoint.kind, endpoint.realm, endpoint.opening, endpoint.cost
        return Entry(self.me, endpoint.uuid, kind, realm, opening, cost, endpoint.name, endpoint.traits)

    def register_builtin(self, introspect: "Callable[[int, object], bytes]") -> None:
        """The introspection endpoint: USERSPACE, of kind anycast, never announced because every node has
        it.
        """
        endpoint = Endpoint(
            self, codes.INTROSPECTION, codes.ANYCAST, codes.USERSPACE, "busway/introspection", 0
        )
        self.introspect = introspect
        self.builtin = Receiver(endpoint, 64, 65536, codes.REFUSE)
        endpoint.receivers.append(self.builtin)
        self.endpoints[endpoint.uuid] = endpoint

    def answer_builtin(self, now: int) -> None:
        """Answers any request with the state of this node."""
        assert self.builtin is not None and self.introspect is not None
        message = self.take(self.builtin)
        if not isinstance(message, Request):
            return
        if self.origin.ready(self._reply_flow(message.flow.peer, now)):
            self.respond(message, self.introspect(now, message.payload), codes.CBOR, b"", now)
        else:  # who does not read the answers gets no more of them: nothing piles up here
            self.reject(message, codes.QUEUE_FULL)

    # Arrival

    def arrive_local(self, frame: Frame, now: int) -> None:
        """A message of this very node."""
        if frame.options is not None and frame.options.retain & codes.CLEARED:
            return  # of which no program is told
        flow = self.flow_from(self.me, frame.endpoint, frame.number, now)
        assert flow is not None  # what waits for an endpoint that closes is taken back
        if len(frame.endpoint) > codes.ID_SIZE:
            rank_all(flow.endpoint)
        flow.received = frame.number
        flow.last_used = now
        if frame.options is None:
            self.deliver(self._message_of(self.me, flow, frame, 0, now))
        else:
            self.deliver_with(self._message_of(self.me, flow, frame, 0, now), frame, None)

    def arrive(self, session: "LinkFace", peer: Correspondent, frame: Frame, now: int) -> None:
        """A message of another node, from one of our links."""
        kind = frame.kind
        address = frame.endpoint
        number = frame.number
        route = frame.route
        endpoint = self.endpoints.get(address) or self.marked_endpoint(address)
        if (
            endpoint is None
            or endpoint.realm < session.realm
            or (route is not None and endpoint.realm < route.realm)
        ):
            self.counters["no_endpoint"] += 1
            self.refuse(peer, kind, address, number, frame.id, codes.NO_ENDPOINT)
            return
        if (kind == codes.PUBLISH) != (endpoint.kind == codes.BROADCAST):
            if self.is_replayed(session, peer, endpoint, frame, now):
                return
            if not is_replay(frame, endpoint):
                self.counters["wrong_kind"] += 1
                reason = self.told(session, peer, endpoint, codes.WRONG_KIND)
                self.refuse(peer, kind, address, number, frame.id, reason)
                return
        guarded = self.gate.guard is not None
        if guarded and not self.admits(session, peer, endpoint, frame, now):
            reason = self.told(session, peer, endpoint, codes.NO_PERMISSION)
            self.refuse(peer, kind, address, number, frame.id, reason)
            return
        flow = self.flow_from(peer, address, number, now)
        assert flow is not None
        gap = (number - flow.received) & 0xFFFF
        if gap != 1:
            # One that is kept only for what is queued is as good as forgotten: its origin may have, too.
            anew = now - flow.last_used >= codes.FLOW_FORGET_IN_MS
            if not anew and not 0 < gap < 0x8000:
                if route is not None or not is_new_session(flow, session):
                    self.counters["late"] += 1
                    self.refuse(peer, kind, address, number, frame.id, codes.OVERTAKEN)
                    return
                anew = True
            if anew:
                start_anew(flow, number - 1)
                gap = 1
        if flow.short is not session:
            flow.came_by(session, guarded)
        flow.far = route is not None
        flow.received += gap
        flow.last_used = now
        missed = gap - 1 + flow.bridged
        flow.bridged = 0
        if missed:
            flow.missed += missed
            self.counters["missed"] += missed
        if frame.options is None:
            self.deliver(self._message_of(peer, flow, frame, missed, now))
        else:
            self.deliver_with(self._message_of(peer, flow, frame, missed, now), frame, session)

    def _message_of(self, peer: Correspondent, flow: InFlow, frame: Frame, missed: int, now: int) -> Message:
        """The message or request that a frame which continues `flow` makes."""
        if frame.kind <= codes.PUBLISH:
            options = frame.options
            if options is not None and (options.name or options.reach):
                marked = MarkedMessage(
                    flow, flow.received, frame.payload, frame.format, frame.type_id, missed, now
                )
                marked.mark(options.name, reach=options.reach)
                return marked
            return Message(flow, flow.received, frame.payload, frame.format, frame.type_id, missed, now)
        request = Request(flow, flow.received, frame.payload, frame.format, frame.type_id, missed, now)
        request.confirm = frame.kind == codes.CONFIRM
        request.id = frame.id
        request.expires = frame.expires
        request.timeout_ms = frame.expires - now
        options = frame.options
        if options is not None and options.window:
            request.stream = answers_flow(self.origin, peer, options.window, now, options.lane)
        old = peer.serving.get(frame.id)
        if old is not None:  # the origin used an id again: it has given up the former request
            self._drop_request(old)
        peer.serving[frame.id] = request
        request.timer = Call(lambda at: self.expire(request, at))
        self._arm(request, now)
        return request

    def deliver(self, message: Message) -> None:
        """Queue a message at its receiver, or apply the receiver's policy."""
        endpoint = message.flow.endpoint
        payload = message.payload
        size = len(payload) if type(payload) is bytes else size_of(payload)
        if size > endpoint.message_size:
            endpoint.message_size = size
        receivers = endpoint.receivers
        if len(receivers) == 1:
            self.put(receivers[0], message, size)
        elif endpoint.kind == codes.BROADCAST:
            if isinstance(message, MarkedMessage):
                for receiver in receivers:
                    self.put(receiver, message.copy(), size)
                return
            flow, seq, missed = message.flow, message.seq, message.missed
            for receiver in receivers:
                copy = Message(flow, seq, payload, message.format, message.type_id, missed, message.arrived)
                self.put(receiver, copy, size)
        else:
            self.put(endpoint.pick(), message, size)

    def put(self, receiver: Receiver, message: Message, size: int) -> None:
        if receiver.policy == codes.LATEST and replace(receiver, message, size):
            self.counters["received"] += 1
            self.counters["dropped"] += 1
            return
        empty = not receiver.queue.items
        if not receiver.put(message, size):
            if receiver.policy == codes.REFUSE:
                receiver.refused += 1
                self.counters["refused"] += 1
                self.reject(message, codes.QUEUE_FULL)
                return
            self.counters["dropped"] += 1
            while not receiver.put(message, size):
                victim = give_way(receiver, message) or message
                note_lost(receiver, victim)
                self.reject(victim, codes.DROPPED)
                if victim is message:
                    return
        self.counters["received"] += 1
        flow = message.flow
        if empty or receiver.waits:
            self._tell(receiver, flow.last_used)
        if flow.limit - flow.received <= flow.half:
            self._used(flow)

    # Answers

    def refuse(self, peer: Peer, kind: int, address: Address, seq: int, id: int, reason: int) -> None:
        """Tell the origin that a message is not taken. A publish has nobody who waits for that."""
        if kind == codes.PUBLISH:
            return
        if id:
            self._answer(peer, error_of(peer, id, reason, lane_at(address)))
            return
        out = signal_about(codes.UNDELIVERABLE, peer.key, address, seq)
        out.code = reason
        self._answer(peer, out)

    def reject(self, message: Message, reason: int) -> None:
        """A message that had been queued, or would have been, is not taken."""
        flow = message.flow
        released(message)
        if isinstance(message, Request):
            if message.state != DONE:  # else its origin no longer waits for an answer
                self._finish_request(message)
                self.refuse(flow.peer, codes.REQUEST, flow.address(), message.seq, message.id, reason)
        elif flow.has_credit():
            self.refuse(flow.peer, codes.SEND, flow.address(), message.seq, 0, reason)
        self._consumed(flow)

    def _answer(self, peer: Peer, out: Frame) -> None:
        if peer is not self.me:
            if peer.hop is not None:
                peer.hop.answer(out)
        elif out.kind == codes.SIGNAL:
            self.host.emit(UndeliverableEvent(uuid_of(out.endpoint), peer.node_id, out.number, out.code))
        else:
            self.origin.answers.came(peer, out, 0)

    def take(self, receiver: Receiver) -> "Message | None":
        """The oldest message of a receiver, None if there is none. A confirmed send is confirmed by this."""
        queue = receiver.queue
        while queue.items:
            items = queue.items
            head = queue.head
            message: Message = items[head]
            if head & 63 and head + 1 < len(items):  # as `pop`, which looks after the list now and then
                items[head] = None
                queue.head = head + 1
            else:
                queue.pop()
            payload = message.payload
            receiver.size -= len(payload) if type(payload) is bytes else size_of(payload)
            flow = message.flow
            flow.queued -= 1
            if not receiver.plain:
                message = left(receiver, message)
            if flow.limit - flow.received + flow.queued <= flow.half:
                self._consumed(flow)
            if isinstance(message, Request) and not self._take_request(message, receiver):
                continue
            receiver.taken += 1
            return message
        return None

    def take_many(self, receiver: Receiver, most: int) -> "list[Message]":
        """As `take`, up to `most` messages at once, in order; [] if there is none."""
        taken: "list[Message]" = []
        queue = receiver.queue
        while most > 0 and queue.items:
            count = count_plain(queue, most) if receiver.plain else 0
            if count < 2:
                message = self.take(receiver)
                if message is None:
                    break
                count = 1
                taken.append(message)
            else:
                run: "list[Message]" = queue.pop_many(count)
                taken = taken + run if taken else run
                self._took_plain(receiver, run)
            most -= count
        return taken

    def _took_plain(self, receiver: Receiver, taken: "list[Message]") -> None:
        """Plain messages have left a queue; none had anything lost before it to show."""
        receiver.taken += len(taken)
        flow = taken[0].flow
        count = size = 0
        for message in taken:
            if message.flow is not flow:
                receiver.size -= size
                self._took_run(flow, count)
                flow = message.flow
                count = size = 0
            payload = message.payload
            size += len(payload) if type(payload) is bytes else size_of(payload)
            count += 1
        receiver.size -= size
        self._took_run(flow, count)

    def _took_run(self, flow: InFlow, count: int) -> None:
        flow.queued -= count
        if flow.limit - flow.received + flow.queued <= flow.half:
            self._consumed(flow)

    def noted_run(self, flow: InFlow, receiver: Receiver, count: int, empty: bool, now: int) -> None:
        """A run of plain messages was queued by the short way."""
        flow.last_used = now
        self.counters["received"] += count
        if empty or receiver.waits:
            self._tell(receiver, now)
        if flow.limit - flow.received <= flow.half:
            self._used(flow)

    def _used(self, flow: InFlow) -> None:
        """An origin has used half of its window: a larger one, if the queue has room."""
        endpoint = flow.endpoint
        if endpoint.receivers and endpoint.raise_limit(flow, False):
            self.send_credit(flow)

    def _tell(self, receiver: Receiver, now: int) -> None:
        """A receiver's queue is no longer empty, or what came may be worked on before what waits."""
        if receiver is self.builtin:
            self.answer_builtin(now)
        elif receiver.told:
            self.host.emit(receiver.messages)

    def _take_request(self, request: Request, receiver: Receiver) -> bool:
        """False if it is no longer wanted."""
        if request.state == DONE:
            return False
        if not request.confirm:
            request.state = TAKEN
            if receiver.decline:
                self._decline(request, receiver)
            return True
        self._finish_request(request)
        peer = request.flow.peer
        out = Frame(codes.REPLY, peer.key, b"", 0, b"", codes.RAW, b"")
        out.id = request.id
        if request.flow.lane() != codes.NORMAL:
            out.mark(request.flow.lane())
        self._answer(peer, out)
        return True

    def _decline(self, request: Request, receiver: Receiver) -> None:
        """Nobody will answer: better that its origin hears so now than a timeout later."""
        self.respond_error(request, codes.WRONG_KIND, receiver.decline, request.flow.last_used)
        if not receiver.asked:
            receiver.asked = True
            self.host.emit(ReceiverEvent(receiver, RECEIVER_ASKED))

    def _consumed(self, flow: InFlow) -> None:
        """Raise the origin's limit, if what it has left is half used up."""
        if flow.limit - flow.received + flow.queued > flow.half:
            return
        if flow.endpoint.receivers and flow.endpoint.raise_limit(flow, True):
            self.send_credit(flow)

    def send_credit(self, flow: InFlow) -> None:
        """Tell the origin its limit as it stands when the frame is written."""
        if flow.peer is self.me:
            self.origin.answers.credit(self.me, flow.address(), flow.limit & 0xFFFF, flow.last_used)
        elif flow.peer.hop is not None:  # else its way is lost: it probes when there is another
            flow.peer.hop.credit(flow)

    def credit_again(self, peer: Peer, now: int) -> None:
        """A node can be reached again: who sent lately, and was heard while it could not be answered, may be
        blocked.
        """
        for flow in talk(peer).in_flows.values():
            if flow.endpoint.receivers and flow.has_credit() and now - flow.last_used < codes.PROBE_MS:
                if not flow.active:
                    flow.endpoint.activate(flow)
                flow.endpoint.raise_limit(flow, True)
                self.send_credit(flow)

    # Requests that end without an answer of ours

    def _drop_request(self, request: Request) -> None:
        """End a request that nobody waits for any more; a handler at work is told."""
        taken = request.state == TAKEN
        self._finish_request(request)
        if not taken:
            dropped(request)
        if request.stream is not None:
            self.abandon_parts(request.stream)
        if taken:
            self.host.emit(RequestEvent(request))

    def expire(self, request: Request, now: int) -> None:
        """The deadline passed. A stream that waits for its origin to read on is not late, as long as that
        says now and then that it is there, and reads something in the end.
        """
        stream = request.stream
        waits = False
        if stream is not None and request.state == TAKEN and stream.sent >= stream.limit:
            waits = now - stream.last_used < codes.STREAM_PATIENCE_MS
            stalled = now - request.moved_at >= codes.STREAM_STALL_MS
        else:
            stalled = False
        if not stalled and (waits or now < request.expires):
            if now >= request.expires:
                request.expires = now + max(codes.PROBE_MS, request.timeout_ms)
            self._arm(request, now)
            return
        self.counters["expired"] += 1
        self._drop_request(request)

    def signal_came(self, session: "LinkFace | None", peer: Correspondent, frame: Frame, now: int) -> None:
        realm = codes.PROCESS if session is None else max(session.realm, frame.realm())
        if not self._concerns(peer, frame, realm):
            return
        if frame.signal == codes.PROBE:
            self.probed(session, peer, frame.endpoint, frame.number, now)
        elif frame.signal == codes.CANCEL:
            self.cancelled(peer, frame.id)
        else:
            self.part_credit(peer, frame.id, frame.number, now)

    def _concerns(self, peer: Correspondent, frame: Frame, realm: int) -> bool:
        """Whether a signal that has crossed that realm is of an endpoint which can be reached so."""
        if frame.signal == codes.PROBE:
            endpoint = self.endpoints.get(uuid_of(frame.endpoint))
        else:
            request = peer.serving.get(frame.id)
            endpoint = None if request is None else request.flow.endpoint
        return endpoint is not None and endpoint.realm >= realm

    def cancelled(self, peer: Correspondent, id: int) -> None:
        """CANCEL came; for a request that is over already it means nothing."""
        request = peer.serving.get(id)
        if request is not None and not request.confirm:
            self._drop_request(request)

    def part_credit(self, peer: Correspondent, id: int, limit: int, now: int) -> None:
        """PART_CREDIT came: an absolute limit, like CREDIT."""
        request = peer.serving.get(id)
        if request is None or request.stream is None:
            return
        stream = request.stream
        stream.last_used = now
        going = self.going.get(stream) if self.going else None
        gain = (limit - (stream.limit if going is None else going.told)) & 0xFFFF
        if 0 < gain < 0x8000:
            if going is None:
                stream.limit += gain
            else:
                going.raise_limit(gain)
            request.moved_at = now
            request.expires = now + request.timeout_ms
            self._arm(request, now)
            self.origin.resume(request.stream, now)

    def probed(
        self, session: "LinkFace | None", peer: Correspondent, address: Address, sent: int, now: int
    ) -> None:
        """PROBE came: what of the origin's messages has not arrived by now is lost."""
        if session is not None and self.gate.guard is not None:
            endpoint = self.endpoints[uuid_of(address)]
            if self.is_denied(session, peer, endpoint):
                self.pass_over(session, peer, endpoint, address, sent, now)
                return
        flow = self.flow_from(peer, address, sent + 1, now)
        if flow is None:
            return
        gap = (sent - flow.received) & 0xFFFF
        broadcast = not flow.has_credit()
        if gap < 0x8000 or broadcast:
            flow.received += gap
            flow.bridged += gap
        elif is_new_session(flow, session):
            start_anew(flow, sent)
        flow.came_by(session, self.gate.guard is not None)
        flow.last_used = now
        if broadcast:
            return
        flow.endpoint.raise_limit(flow, True)
        self.send_credit(flow)

    # Nodes that go, time that passes

    def lose_peer(self, peer: Peer) -> None:
        """A node is gone: nobody waits for its requests. What it sent and is queued stays."""
        for request in list(talk(peer).serving.values()):
            if request.confirm:
                self._finish_confirm(request)
            else:
                self._drop_request(request)
        talk(peer).serving = {}
        for flow in talk(peer).in_flows.values():
            flow.endpoint.deactivate(flow)
            flow.limit = flow.received + flow.endpoint.opening  # what it starts from if it comes back
        self.forget_answers(peer)

    def _finish_confirm(self, request: Request) -> None:
        """Its origin has the verdict "unknown"; the message itself is as good as any."""
        assert request.timer is not None
        self.timers.disarm(request.timer)
        request.timer = None

    def sweep(self, now: int) -> None:
        """Idle origins give their window back, then are forgotten (section 7.1)."""
        for peer in self.all_peers():
            for address, flow in list(talk(peer).in_flows.items()):
                idle = now - flow.last_used
                if flow.queued or idle < codes.FLOW_RECLAIM_MS:
                    continue
                if flow.active:
                    flow.endpoint.deactivate(flow)
                    flow.limit = min(flow.limit, flow.received + flow.endpoint.opening)
                if idle >= codes.FLOW_FORGET_IN_MS:
                    del talk(peer).in_flows[address]

    def has_flows(self) -> bool:
        return any([peer.has_numbers() for peer in self.all_peers()])


def _short(node_id: bytes) -> str:
    return "".join(["%02x" % byte for byte in node_id[:4]])
