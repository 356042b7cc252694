"""A node for microcontrollers: one link, to its router; no routes, no directory, everything bounded and
small.

`Leaf` has the face of `Node` where that makes sense. It asks its router who has an endpoint, and keeps
what must outlive a session: endpoints, numbers, what waits to be written. May not import what a router
needs.
"""

from busway.protocol import outcomes
from busway.protocol.errors import (
    ClosedError,
    EndpointTakenError,
    FullError,
    LocalError,
    Refusal,
    WrongKindError,
)
from busway.protocol.leaf.frames import NEVER, OVER, SENT, WAITING, Message
from busway.protocol.leaf.link import LeafConnection
from busway.protocol.leaf.sender import LeafOrigin, check_id
from busway.protocol.leaf.state import Event, Flow, Receiver, Target
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader, frame, lenient_text, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Iterable

_ANSWERS_MAX: "Final" = 64  # answers that wait to be written, before the peer is cut off
_HERE = bytes((codes.SENDER, 0, 0))  # a holder's place: the node that says so, at no distance
_PIECE: "Final" = 24  # bytes that a queued message counts for besides its payload


class Leaf(LeafOrigin):
    """A small participant of a bus, with one link at a time.

    Args: `node_id` 16 bytes; `entropy` gives n random bytes; `bus` and `label` 64 bytes of UTF-8 at most;
    `limits` of the link (bytes of a frame, at least 128; bytes of a message; numbers in a table; cut
    messages at once); `queue_size_max` bytes of all messages that wait to be taken; `pending_max`
    messages of ours that may be under way; `peers_max` pairs of node and endpoint that are remembered, in
    either direction. Times are integers in ms of one clock, not negative. Raises LocalError for misuse.
    """

    # Links and time

    def connection(self, link: "Any", now: int) -> LeafConnection:
        """A state machine for a new link, a Link or what has its attributes; its HELLO is ready to be
        written. The one before must have ended."""
        self._check_open()
        if self.link is not None:
            raise LocalError("one link at a time: end the one before")
        self._sessions += 1
        if link.sort == "packet":
            from busway.protocol.leaf.packets import PacketLeafConnection  # boards on streams do without

            connection: LeafConnection = PacketLeafConnection(self, link, self._entropy(4), now)
        else:
            connection = LeafConnection(self, link, now)
        connection.number = self._sessions
        self.link = connection
        return connection

    def take_events(self) -> "list[Event]":
        """All that happened since the last call. `receive_data` and `handle_timer` return the same list."""
        happened = self._events
        if happened:
            self._events = []
        return happened

    def next_deadline(self) -> "int | None":
        """When `handle_timer` is due, in ms; None if nothing is."""
        due = NEVER
        if self.link is not None and self.link.next_deadline() >= 0:
            due = self.link.next_deadline()
        for item in self._pending + self._serving:
            due = min(due, item.expires, item.patience)
        for flow in self._out:
            due = min(due, flow.probe_at)
        return None if due == NEVER else due

    def handle_timer(self, now: int) -> "list[Event]":
        """Do what is due at `now`."""
        if self.link is not None and 0 <= self.link.next_deadline() <= now:
            self.link.fire(now)
        self._due(now)
        for request in list(self._serving):
            if request.expires <= now:
                self._drop(request)
        return self.take_events()

    def close(self, now: int) -> None:
        """Say goodbye once all that is queued has been written. What is outstanding ends with BUS_CLOSED."""
        from busway.protocol.leaf.closing import close_leaf

        close_leaf(self, now)

    # Endpoints

    def register(
        self,
        endpoint: bytes,
        kind: int,
        realm: int = codes.LOCALNET,
        *,
        name: str = "",
        cost: int = 0,
        queue_max: int = 8,
        labels: "Iterable[str]" = (),
        gone: bytes = b"",
    ) -> Receiver:
        """Register the one receiver of `endpoint`, 16 bytes; arguments as of `Node.register`. Labels and a
        last word that do not fit a frame of its link with the rest are not told.
        """
        self._check_open()
        check_id(endpoint)
        if not codes.UNICAST <= kind <= codes.BROADCAST or not codes.USERSPACE <= realm <= codes.GLOBAL:
            raise LocalError("kind is UNICAST, ANYCAST or BROADCAST, realm USERSPACE, LOCALNET or GLOBAL")
        if len(name.encode()) > codes.TEXT_SIZE_MAX or not 0 <= cost <= 16383 or queue_max < 2:
            raise LocalError("name has 64 bytes at most, cost is 0 to 16383, queue_max at least 2")
        for receiver in self.receivers + self._lost:
            if receiver.uuid == endpoint:
                raise EndpointTakenError("this leaf has it already")
        if "*" in name:
            from busway.protocol.leaf.values import check_subscription

            check_subscription(self, kind, name)
        receiver = Receiver(endpoint, kind, realm, name, cost, queue_max)
        if labels or gone:
            from busway.protocol.leaf.traits import pack_traits

            receiver.labels = pack_traits(labels, gone)
        self.receivers.append(receiver)
        self._versions[receiver.realm] += 1
        self.write_pending = True
        self._watch(receiver)
        return receiver

    def deregister(self, receiver: Receiver, now: int) -> None:
        """Close a receiver; what it has not taken is answered as RECEIVER_CLOSED. Twice is once."""
        from busway.protocol.leaf.closing import close_receiver

        close_receiver(self, receiver)

    def take(self, receiver: Receiver, now: int) -> "Message | None":
        """The oldest message in a receiver's queue, or None; nothing while many answers wait to be written.

        Raises ClosedError when the receiver is closed and empty.
        """
        while receiver.queue and len(self.answers) < self.pending_max:
            message = self._pull(receiver)
            if message.id:
                if message.state == OVER:
                    continue  # nobody waits for it any more
                message.state = SENT
                if message.kind == codes.CONFIRM:
                    self.conclude(message, Message(codes.REPLY))
            self._raise_limit(message.flow, receiver)
            return message
        if receiver.closed and not receiver.queue:
            raise ClosedError("this receiver is closed")
        return None

    def _pull(self, receiver: Receiver, at: int = 0) -> Message:
        message = receiver.queue.pop(at)
        self._queued_size -= len(message.payload) + _PIECE
        message.flow.queued -= 1
        return message

    # Publishing

    def publish(
        self,
        endpoint: bytes,
        payload: bytes,
        now: int,
        format: "int | bytes" = codes.RAW,
        *,
        best_effort: bool = False,
        realm: int = codes.LOCALNET,
        priority: "int | str" = codes.NORMAL,
        name: str = "",
    ) -> int:
        """Give every subscriber of a broadcast endpoint within `realm` a copy. Returns 0. Nobody listening,
        or no link now, is no error. Raises FullError when another of this endpoint waits to be written, and
        `pending_max` of all: so each has a place, however many others write; subscribers hear of it by the
        `missed` of the next. With `best_effort` the message is lost then, here or on its way, rather than
        keep others waiting. `name`, that of the endpoint, is for who has subscribed by a pattern. Raises
        LocalError for one endpoint more than `peers_max`.
        """
        lane = self.lane_of(priority)
        self._check_message(endpoint, payload, format)
        target = self._targets.get(endpoint)
        receiver = self._receiver(endpoint)
        if (target is not None and target.flow is not None) or (
            receiver and receiver.kind != codes.BROADCAST
        ):
            raise WrongKindError("this endpoint is not of kind broadcast: use send or request")
        if endpoint not in self._casts and len(self._casts) >= self.peers_max:
            raise LocalError("this leaf publishes to as many endpoints as it may: peers_max")
        item = Message(codes.PUBLISH, endpoint, payload, format)
        link = self.link
        if lane != codes.NORMAL and link is not None and link.addressing:
            item.lane = lane
            self._casts.setdefault(endpoint, 0)  # by which it is known what it is
        address = item.address()
        item.number = self._casts[address] = self._casts.get(address, 0) + 1
        if self.online() and endpoint not in self._pruned and link is not None and link.realm <= realm:
            waiting = own = 0
            for other in self._items:
                if other.kind == codes.PUBLISH:
                    waiting += 1
                    own += other.address() == address
            item.best_effort = best_effort
            item.realm = realm
            item.name = name if link.addressing else ""
            if not own or waiting < self.pending_max:
                self._add(self._items, item)
                self.write_pending = True
            elif not best_effort:
                raise FullError("%d messages wait to be written: publish again later" % waiting)
        if receiver is not None or (self.patterned and name):
            from busway.protocol.leaf.values import give_own

            give_own(self, item, name, now)
        return 0

    # Answering

    def respond(self, request: Message, payload: bytes, now: int, format: "int | bytes" = codes.RAW) -> int:
        """Reply. Returns 0. A request that is over is ignored; a reply that the link does not take is an
        error TOO_LARGE at the asker.
        """
        self.check_payload(payload, format)
        if self.exceeds(payload):
            return self.respond_error(request, codes.MESSAGE_TOO_LARGE, "the reply is too large", now)
        return self.conclude(request, Message(codes.REPLY, b"", payload, format))

    def respond_error(self, request: Message, code: int, text: str, now: int) -> int:
        """Answer with an error: `code` 256 and up is the application's own, HANDLER_FAILED (64) an
        exception."""
        if not 0 < code <= 0xFFFFFFFF:
            raise LocalError("an error code is 1 to 4294967295")
        item = Message(codes.ERROR, b"", text.encode())
        if self.exceeds(item.payload):
            item.payload = b""
        item.code = code
        return self.conclude(request, item)

    def conclude(self, request: Message, item: Message) -> int:
        if request.state == SENT:
            self._end_request(request)
            item.lane = request.lane
            self.queue_answer(request.key, request.id, item)
        return 0

    def _end_request(self, request: Message) -> None:
        request.state = OVER
        self._serving.remove(request)

    def _refuse(self, message: Message, reason: int) -> None:
        """Tell the origin that a message is not taken. A publish has nobody who waits for that."""
        if message.id:
            item = self.queue_answer(message.key, message.id, Message(codes.ERROR))
            item.lane = message.lane
            item.code = reason
        elif message.kind == codes.SEND:
            self._signal(codes.UNDELIVERABLE, message.key, 0, message.number, message.address()).code = reason

    def write_lines(self, link: LeafConnection) -> bytes:
        """Frames with our endpoints, whole lines, as wide as the link; SYNC 3 behind the first."""
        data = b""
        for realm in range(link.realm, codes.GLOBAL + 1):
            if self._told[realm] != self._versions[realm]:
                self._told[realm] = self._versions[realm]
                tail = bytes((codes.SENDER, 0)) + varint(self._versions[realm])
                body = tail
                for receiver in self.receivers:
                    if receiver.realm == realm:
                        entry = receiver.encode(0, receiver.uuid, link.addressing)
                        if len(tail) + len(entry) + 2 > link.frame_size_max:
                            entry = receiver.encode(0, receiver.uuid)
                        if len(body) + len(entry) + 2 > link.frame_size_max:  # more frames follow
                            data += frame(bytes((codes.DIRECTORY, realm | 0x30)) + body)
                            body = tail
                        body += entry
                data += frame(bytes((codes.DIRECTORY, realm | 0x10)) + body)
        if self._sync_due:
            self._sync_due = False
            data += bytes((2, codes.SYNC, 3))
        return data

    # The link's doings

    def link_opened(self, link: LeafConnection, now: int) -> None:
        self._told = [0, 0, 0, 0]
        self._pruned = []
        if self._lost:
            from busway.protocol.leaf.names import regain

            for receiver in list(self._lost):
                regain(self, receiver)  # until the router says otherwise
        self._sync_due = self.write_pending = True
        for flow in list(self._out):
            if flow.key != link.peer_key and flow.key[: codes.ID_SIZE] == link.peer_key[: codes.ID_SIZE]:
                self.node_gone(flow.key, now)  # the router has started anew
                self._out.remove(flow)
        for item in self._items:
            if item.where is None:
                self._target(item.endpoint)
            else:
                item.where.selection.ask(self)
        for receiver in self.receivers:
            self._watch(receiver)
        self.note(outcomes.LINK_OPEN).connection = link

    def link_closed(self, link: LeafConnection, by_peer: bool, now: int) -> None:
        """Without memory for all of it, it may be called again until `link` is None."""
        self.answers = []
        for uuid in self._targets:
            self._targets[uuid] = Target()
        for item in list(self._items):
            if item.kind == codes.PUBLISH:
                self._items.remove(item)
        for item in list(self._pending):
            if item.state == SENT:
                self._lose(item, codes.LOST_AFTER_SENDING)
            elif item.has_ttl:
                item.patience = max(item.patience, now)
            else:
                item.patience = now + codes.SYNC_MS
        for request in list(self._serving):
            self._drop(request)
        for flow in self._out + self._in:
            flow.probe_at = NEVER
            flow.due = False
        event = self.note(outcomes.LINK_CLOSED, max(0, link.close_code), link.close_text)
        event.connection = link
        event.by_peer = by_peer
        self.link = None

    def node_gone(self, key: bytes, now: int) -> None:
        """The router says that a node cannot be reached any more."""
        for item in list(self._pending):
            if item.state == SENT and item.key == key:
                self._lose(item, codes.LOST_AFTER_SENDING)
        for request in list(self._serving):
            if request.key == key:
                self._drop(request)
        for selection in self.selections:
            selection.gone(self, key, b"")
        for uuid, target in self._targets.items():
            if target.flow is not None and target.flow.key == key:
                self._leave(target, uuid)

    def _drop(self, request: Message) -> None:
        """A request that nobody waits for any more; a handler at work is told."""
        taken = request.state == SENT
        self._end_request(request)
        if taken:
            self.note(outcomes.REQUEST_CANCELLED).request = request

    # Arrival

    def arrive(self, link: LeafConnection, message: Message, reader: Reader, now: int) -> None:
        """A whole message; `reader` stands at its payload, or at the fields of a signal."""
        key = message.key = message.key or link.peer_key
        kind = message.kind
        if link.peer_leaf and key != link.peer_key:
            raise Refusal(codes.MALFORMED, "a leaf sent a message of another node")
        mine = key != self.key and (message.destination in (b"", self.key) or kind == codes.PUBLISH)
        if kind == codes.SIGNAL:
            self._read_signal(link, message, reader, mine, now)
        if not mine:
            self.counters["misrouted"] += 1
        elif kind <= codes.REQUEST:
            message.payload = reader.rest()
            receiver = self._receiver(message.endpoint)
            if receiver is None or receiver.realm < max(link.realm, message.realm):
                self._refuse(message, codes.NO_ENDPOINT)
            elif message.retain or message.name or "*" in receiver.name:
                from busway.protocol.leaf.values import arrive_named

                arrive_named(self, link.number, receiver, message, now)
            elif (
                kind != codes.PUBLISH
                if receiver.kind == codes.BROADCAST
                and not (kind == codes.SEND and message.lane & codes.REPLAY)
                else kind == codes.PUBLISH
            ):
                self._refuse(message, codes.WRONG_KIND)
            else:
                self._deliver(receiver, message, link.number, now)
        elif kind != codes.SIGNAL:
            self._answered(message, reader.rest())
        if len(self.answers) > _ANSWERS_MAX:
            link.cut_off(now, codes.NOT_READING, "answers are not read")

    def _deliver(self, receiver: Receiver, message: Message, session: int, now: int) -> None:
        number = message.number
        flow = self._in_flow(message, receiver, number - 1)
        gap = (number - flow.last) & 0xFFFF
        if not 0 < gap < 0x8000:
            forgotten = now - flow.heard_at >= codes.FLOW_FORGET_IN_MS  # by its origin, perhaps
            if (message.routed or flow.session == session) and not forgotten:
                self.counters["late"] += 1
                self._refuse(message, codes.OVERTAKEN)
                return
            gap = 1  # between neighbours a session may start anew, too
            flow.limit = number - 1 + receiver.credit
            flow.last = number - 1
        flow.session = session
        flow.heard_at = now
        flow.last += gap
        message.seq = flow.last
        message.flow = flow
        message.receiver = receiver
        message.name = message.name or receiver.name
        if gap > 1:
            message.missed = gap - 1
            self.counters["missed"] += gap - 1
        if message.retain & codes.CLEARED:
            return  # it says that there is no last value any more
        # Room for one more: a broadcast takes the place of the oldest of the lowest.
        queue = receiver.queue
        while not self.has_room(receiver, message):
            if receiver.kind != codes.BROADCAST:
                self.counters["refused"] += 1
                self._refuse(message, codes.QUEUE_FULL)
                break
            self.counters["dropped"] += 1
            at = 0
            if self.ranked:
                from busway.protocol.leaf.priorities import lowest

                at = lowest(queue)
                if queue[at].lane & 3 > message.lane & 3:
                    break
            self._pull(receiver, at)
        else:
            self._enqueue(receiver, message, now)
        self._raise_limit(flow, receiver)

    def has_room(self, receiver: Receiver, message: Message) -> bool:
        """Whether a queue has room for one more, as all together have. An empty one always has."""
        size = self._queued_size + len(message.payload) + _PIECE
        return not receiver.queue or (
            len(receiver.queue) < receiver.queue_max and size <= self.queue_size_max
        )

    def _in_flow(self, message: Message, receiver: Receiver, last: int) -> Flow:
        address = message.address()
        flow = self._flow(self._in, message.key, address)
        if flow is None:
            flow = self._new_flow(self._in, message.key, address, last)
            flow.limit = last + receiver.credit
        return flow

    def _enqueue(self, receiver: Receiver, message: Message, now: int) -> None:
        self._add(receiver.queue, message)
        self._queued_size += len(message.payload) + _PIECE
        message.flow.queued += 1
        if message.id:
            for old in self._serving:
                if old.id == message.id and old.key == message.key:
                    self._drop(old)  # the origin used an id again: it has given up the former request
                    break
            if message.window:
                message.moved_at = now
            message.expires = now + message.timeout_ms
            message.state = WAITING
            self._serving.append(message)
        if len(receiver.queue) == 1:
            self.note(outcomes.MESSAGES).receiver = receiver

    def _raise_limit(self, flow: Flow, receiver: Receiver) -> None:
        """Let an origin send on: an even share of the queue, less what it has in it."""
        if flow.has_credit(receiver) and flow in self._in:
            origins = 0
            for other in self._in:
                origins += other.endpoint.startswith(receiver.uuid)
            window = max(1, receiver.queue_max // origins)
            limit = flow.last - flow.queued + window
            if limit > flow.limit and flow.limit - flow.last <= window >> 1:
                flow.limit = limit
                flow.due = self.write_pending = True

    def _answered(self, message: Message, payload: bytes) -> None:
        """REPLY, PART or ERROR: late, unknown, cancelled and forged ones end here."""
        item = self._find(message.id)
        code = message.code
        if item is None or item.state != SENT or item.key != message.key or message.kind == codes.PART:
            self.counters["unknown_reply"] += 1
        elif message.kind == codes.ERROR:
            status = outcomes.UNDELIVERED if code <= codes.REASON_LAST else outcomes.FAILED
            self._finish(item, status, code, lenient_text(payload))
            if code == codes.NO_ENDPOINT:
                self._refused(item.endpoint, item.key)
        else:
            event = self._finish(item, outcomes.TAKEN if item.kind == codes.CONFIRM else outcomes.REPLIED)
            event.payload = payload
            event.format = message.format

    # Signals

    def _read_signal(
        self, link: LeafConnection, message: Message, reader: Reader, mine: bool, now: int
    ) -> None:
        """`mine`: it is for this leaf; else it is read for its numbers only."""
        signal = message.signal
        key = message.key
        near = key == link.peer_key
        uuid = message.endpoint
        crossed = max(link.realm, message.realm)
        if signal == codes.SELECTED and self.selections:
            self.selections[0].take_answer(self, link, message, reader, mine and near, now)
            return
        if not signal or signal > codes.TRACED:
            link.skipped_frames += 1
            return
        if signal == codes.TRACED:
            return
        if signal == codes.HAVE:
            self._have(link, uuid, reader, mine and near, crossed)
        elif signal == codes.PRUNE or signal == codes.GRAFT:
            link.nodes_in.read(reader)
        if reader.left():
            raise Refusal(codes.MALFORMED, "bytes behind a signal")
        if not mine:
            return
        if signal == codes.CREDIT or signal == codes.UNDELIVERABLE:
            flow = self._flow(self._out, key, message.address())
            if flow is None or flow.realm >= crossed:
                self._about(flow, message)
        elif signal == codes.PROBE:
            self._probed(link, message, crossed)
        elif signal == codes.CANCEL or signal == codes.PART_CREDIT:
            for request in self._serving:
                mine = request.id == message.id and request.key == key and request.kind == codes.REQUEST
                if mine and request.receiver.realm >= crossed:
                    if signal == codes.CANCEL:
                        self._drop(request)
                    elif request.window:
                        from busway.protocol.leaf.streams import give_credit

                        give_credit(request, message.number, now)
                    break
        elif signal == codes.TRACE:
            from busway.protocol.leaf.tracing import answer_trace

            answer_trace(self, link, message)
        elif signal == codes.WHO:
            receiver = self._receiver(uuid)
            item = self._signal(codes.HAVE, key, 0, 0, uuid)
            if receiver is not None and receiver.realm >= crossed:
                item.payload = receiver.encode(receiver.realm << 2, _HERE)
        elif signal >= codes.PRUNE:
            if not near:
                link.skipped_frames += 1
            elif uuid in self._pruned:
                if signal == codes.GRAFT:
                    self._pruned.remove(uuid)
            elif uuid in self._casts and signal == codes.PRUNE:
                self._pruned.append(uuid)

    def _about(self, flow: "Flow | None", message: Message) -> None:
        """CREDIT, or UNDELIVERABLE, for what was sent."""
        number = message.number
        if flow is not None and message.signal == codes.CREDIT:
            gain = (number - flow.limit) & 0xFFFF
            if 0 < gain < 0x8000:
                flow.limit += gain
                self.write_pending = True
        elif flow is None or (flow.last - number) & 0xFFFF >= flow.last:
            self.counters["unknown_reply"] += 1  # never sent
        else:
            uuid = self.note(outcomes.UNDELIVERABLE, message.code).endpoint = message.endpoint
            if message.code == codes.NO_ENDPOINT:
                self._refused(uuid, flow.key)

    def _probed(self, link: LeafConnection, message: Message, crossed: int) -> None:
        """Counts as lost those of the origin's messages that have not arrived by now."""
        receiver = self._receiver(message.endpoint)
        if receiver is None or receiver.realm < crossed:
            return
        number = message.number
        flow = self._in_flow(message, receiver, number)
        gap = (number - flow.last) & 0xFFFF
        has_credit = flow.has_credit(receiver)
        if gap < 0x8000 or not has_credit:
            flow.last += gap
            self.counters["missed"] += gap
        elif flow.session != link.number:
            flow.last = flow.limit = number
        flow.session = link.number
        if has_credit:
            self._raise_limit(flow, receiver)
            flow.due = self.write_pending = True
