"""A node for microcontrollers: one link, to its router; no routes, no directory, everything bounded and
small.

`Leaf` has the face of `Node` where that makes sense. It asks its router who has an endpoint, and keeps
what must outlive a session: endpoints, numbers, what waits to be written. May not import what a router
needs.
"""

from busway.protocol import codes, events
from busway.protocol.errors import (
    ClosedError,
    EndpointTakenError,
    FullError,
    LocalError,
    Refusal,
    WrongKindError,
)
from busway.protocol.leaf_frames import Header, Item, frame, read_id
from busway.protocol.leaf_link import LeafConnection, lenient_text
from busway.protocol.leaf_origin import LeafOrigin, check_id, lost
from busway.protocol.leaf_state import OVER, SENT, WAITING, Event, InFlow, Message, Receiver
from busway.protocol.link import Link
from busway.protocol.wire import Reader, text8, varint

_ANSWERS_MAX = 64  # answers that wait to be written, before the peer is cut off
_PIECE = 24  # bytes that a queued message counts for besides its payload


class Leaf(LeafOrigin):
    """A small participant of a bus, with one link at a time.

    Args: `node_id` 16 bytes; `entropy` gives n random bytes; `bus` and `label` 64 bytes of UTF-8 at most;
    `limits` of the link (bytes of a frame, at least 128; bytes of a message; numbers in a table; cut
    messages at once); `queue_size_max` bytes of all messages that wait to be taken; `pending_max`
    messages of ours that may be under way; `peers_max` pairs of node and endpoint that are remembered, in
    either direction. Times are integers in ms of one clock, not negative. Raises LocalError for misuse.
    """

    # Links and time

    def connection(self, link: Link, now: int) -> LeafConnection:
        """A state machine for a new link; its HELLO is ready to be written. The one before must have
        ended."""
        self._check_open()
        if self.link is not None:
            raise LocalError("a leaf has one link: end the one before with receive_eof or close")
        self._sessions += 1
        nonce = self._entropy(codes.NONCE_SIZE)
        if link.sort == "packet":
            from busway.protocol.leaf_packets import PacketLeafConnection  # boards on streams do without

            self.link = PacketLeafConnection(self, link, nonce, now)
        else:
            self.link = LeafConnection(self, link, nonce, now)
        self.link.number = self._sessions
        return self.link

    def note(self, event: Event) -> None:
        """Something happened."""
        self._events.append(event)

    def take_events(self) -> "list[Event]":
        """What happened since the last call. `receive_data` and `handle_timer` return the same list."""
        happened = self._events
        if happened:
            self._events = []
        return happened

    def next_deadline(self) -> "int | None":
        """When `handle_timer` is due, in ms; None if nothing is."""
        due = -1 if self.link is None else self.link.next_deadline()
        for item in self._pending:
            due = _sooner(due, item.expires)
            if item.state == WAITING:
                due = _sooner(due, item.patience)
        for request in self._serving:
            due = _sooner(due, request.expires)
        for flow in self._out:
            due = _sooner(due, flow.probe_at)
        return None if due < 0 else due

    def handle_timer(self, now: int) -> "list[Event]":
        """Do what is due at `now`."""
        link = self.link
        if link is not None and 0 <= link.next_deadline() <= now:
            link.fire(now)
        for item in list(self._pending):
            if 0 <= item.expires <= now:
                self._expired(item, now)
            elif item.state == WAITING and 0 <= item.patience <= now:
                self._homeless(item, now)
        for request in list(self._serving):
            if request.expires <= now:
                self._drop(request)
        for flow in self._out:
            if 0 <= flow.probe_at <= now:
                self._probe(flow, now)
        return self.take_events()

    def close(self, now: int) -> None:
        """Say goodbye once all that is queued has been written. What is outstanding ends with BUS_CLOSED."""
        if self.closed:
            return
        for receiver in list(self.receivers):
            self.deregister(receiver, now)
        self.closed = True
        for item in list(self._pending):
            self._finish(item, lost(item, item.state == SENT), codes.BUS_CLOSED)
        if self.link is not None:
            self.link.close(now, codes.GOODBYE, "the node is closing")

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
    ) -> Receiver:
        """Register the one receiver of `endpoint`, 16 bytes; arguments as of `Node.register`."""
        self._check_open()
        check_id("endpoint", endpoint)
        if not codes.UNICAST <= kind <= codes.BROADCAST:
            raise LocalError("kind must be UNICAST, ANYCAST or BROADCAST (1, 2, 3), not %r" % kind)
        if not codes.USERSPACE <= realm <= codes.GLOBAL:
            raise LocalError("realm must be USERSPACE, LOCALNET or GLOBAL (1, 2, 3), not %r" % realm)
        if len(name.encode()) > codes.TEXT_SIZE_MAX or not 0 <= cost <= 16383 or queue_max < 2:
            raise LocalError("a name has at most 64 bytes, cost is 0 to 16383, queue_max at least 2")
        if self._receiver(endpoint) is not None:
            raise EndpointTakenError("this leaf has that endpoint already")
        receiver = Receiver(endpoint, kind, realm, name, cost, queue_max)
        self.receivers.append(receiver)
        self._versions[receiver.realm] += 1
        self.stirred = True
        self._watch(receiver)
        return receiver

    def deregister(self, receiver: Receiver, now: int) -> None:
        """Close a receiver; what it has not taken is answered as RECEIVER_CLOSED. Twice is once."""
        if not receiver.closed:
            self._withdraw(receiver)
        while receiver.queue:
            self._reject(self._pull(receiver), codes.RECEIVER_CLOSED)

    def take(self, receiver: Receiver, now: int) -> "Message | None":
        """The oldest message in a receiver's queue, or None; nothing while many answers wait to be written.

        Raises ClosedError when the receiver is closed and empty.
        """
        while receiver.queue and len(self._answers) < self.pending_max:
            message = self._pull(receiver)
            if message.id:
                if message.state == OVER:
                    continue  # nobody waits for it any more
                message.state = SENT
                if message.confirm:
                    self._conclude(message, Item(codes.REPLY, b"", b"", codes.RAW))
            self._raise_limit(message.flow)
            return message
        if receiver.closed and not receiver.queue:
            raise ClosedError("this receiver is closed")
        return None

    def _pull(self, receiver: Receiver) -> Message:
        message = receiver.queue.pop(0)
        self._queued_size -= len(message.payload) + _PIECE
        message.flow.queued -= 1
        return message

    # Publishing

    def publish(self, endpoint: bytes, payload: bytes, now: int, format: int = codes.RAW) -> int:
        """Give every subscriber of a broadcast endpoint a copy. Returns 0. Nobody listening, or no link
        now, is no error. Raises FullError when too much waits to be written.
        """
        self._check_message(endpoint, payload, format)
        number = self._casts.get(endpoint, 0) + 1
        if number == 1:
            if endpoint in self._targets and self._targets[endpoint].flow is not None:
                raise WrongKindError("this endpoint is not of kind broadcast: use send or request")
            if len(self._casts) >= self.peers_max:
                raise FullError("this leaf publishes to %d endpoints already (peers_max)" % self.peers_max)
        receiver = self._receiver(endpoint)
        if receiver is not None and receiver.kind != codes.BROADCAST:
            raise WrongKindError("this endpoint is not of kind broadcast: use send or request")
        link = self.link
        wanted = link is not None and link.state == codes.OPEN and endpoint not in self._pruned
        if wanted and self._full():
            raise FullError("%d messages wait to be written: publish again later" % len(self._items))
        self._casts[endpoint] = number
        item = Item(codes.PUBLISH, endpoint, payload, format)
        item.number = number
        if wanted:
            self._items.append(item)
            self.stirred = True
        if receiver is not None:
            header = Header(codes.PUBLISH, format)
            header.number = number & 0xFFFF
            self._deliver(receiver, self.key, header, payload, 0, now)
        return 0

    # Answering

    def respond(self, request: Message, payload: bytes, now: int, format: int = codes.RAW) -> int:
        """Reply. Returns 0. A request that is over is ignored; a reply that the link does not take is an
        error TOO_LARGE at the asker.
        """
        self._check_payload(payload, format)
        if self._exceeds(payload):
            return self.respond_error(request, codes.MESSAGE_TOO_LARGE, "the reply is too large", now)
        return self._conclude(request, Item(codes.REPLY, b"", payload, format))

    def respond_error(self, request: Message, code: int, text: str, now: int) -> int:
        """Answer with an error: `code` 256 and up is the application's own, HANDLER_FAILED (64) an
        exception."""
        if not 0 < code <= 0xFFFFFFFF:
            raise LocalError("an error code must be 1 to 4294967295, not %r" % code)
        item = Item(codes.ERROR, b"", text.encode(), codes.RAW)
        if self._exceeds(item.payload):
            item.payload = b""
        item.code = code
        return self._conclude(request, item)

    def _conclude(self, request: Message, item: Item) -> int:
        if request.state == SENT:
            self._end_request(request)
            self._answer(request.flow.key, request.id, item)
        return 0

    def _end_request(self, request: Message) -> None:
        request.state = OVER
        self._serving.remove(request)

    def _refuse(self, key: bytes, header: Header, reason: int) -> None:
        """Tell the origin that a message is not taken. A publish has nobody who waits for that."""
        if header.id:
            item = Item(codes.ERROR, b"", b"", codes.RAW)
            item.code = reason
            self._answer(key, header.id, item)
        elif header.kind == codes.SEND:
            self._signal(codes.UNDELIVERABLE, key, reason, header.number, header.endpoint)

    def _reject(self, message: Message, reason: int) -> None:
        """A message that was queued is not taken."""
        header = Header(codes.SEND, codes.RAW)
        header.endpoint = message.receiver.uuid
        header.number = message.seq
        header.id = message.id
        if message.id:
            if message.state == OVER:
                return
            self._end_request(message)
        if message.receiver.kind != codes.BROADCAST:
            self._refuse(message.flow.key, header, reason)

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
                        entry = receiver.encode()
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
        self._sync_due = True
        self.stirred = True
        for flow in list(self._out):
            if flow.key != link.peer_key and flow.key[: codes.ID_SIZE] == link.peer_key[: codes.ID_SIZE]:
                self._forget_node(flow.key, now)  # the router has started anew
        for item in self._items:
            self._target(item.endpoint)
        for receiver in self.receivers:
            self._watch(receiver)
        self._link_event(events.LINK_OPEN, link, False)

    def link_closed(self, link: LeafConnection, opened: bool, by_peer: bool, now: int) -> None:
        self.link = None
        self._answers = []
        for target in self._targets.values():
            target.asked = target.known = False
        for item in list(self._items):
            if item.kind == codes.PUBLISH:
                self._items.remove(item)
        for item in list(self._pending):
            if item.state == SENT:
                self._finish(item, lost(item, True), codes.LOST_AFTER_SENDING)
            elif item.code:
                item.patience = max(item.patience, now)
            else:
                item.patience = now + codes.SYNC_MS
        for request in list(self._serving):
            self._drop(request)
        for outflow in self._out:
            outflow.probe_at = -1
        for inflow in self._in:
            inflow.due = False
        self._link_event(events.LINK_CLOSED, link, by_peer)

    def _link_event(self, kind: int, link: LeafConnection, by_peer: bool) -> None:
        event = Event(kind, max(0, link.close_code), link.close_text)
        event.connection = link
        event.by_peer = by_peer
        self._events.append(event)

    def node_gone(self, key: bytes, now: int) -> None:
        """The router says that a node cannot be reached any more."""
        for item in list(self._pending):
            if item.state == SENT and item.key == key:
                self._finish(item, lost(item, True), codes.LOST_AFTER_SENDING)
        for request in list(self._serving):
            if request.flow.key == key:
                self._drop(request)
        for target in self._targets.values():
            if target.flow is not None and target.flow.key == key:
                target.flow = None

    def _forget_node(self, key: bytes, now: int) -> None:
        self.node_gone(key, now)
        self._out = [flow for flow in self._out if flow.key != key]

    def _drop(self, request: Message) -> None:
        """A request that nobody waits for any more; a handler at work is told."""
        taken = request.state == SENT and not request.confirm
        self._end_request(request)
        if taken:
            event = Event(events.REQUEST_CANCELLED)
            event.request = request
            self._events.append(event)

    # Arrival

    def arrive(self, link: LeafConnection, header: Header, reader: Reader, now: int) -> None:
        """A whole message; `reader` stands at its payload, or at the fields of a signal."""
        key = header.source or link.peer_key
        kind = header.kind
        if key == self.key or (header.destination not in (b"", self.key) and kind != codes.PUBLISH):
            if kind == codes.SIGNAL:
                self._read_signal(link, key, header, reader, now, False)
            self.counters["strayed"] += 1
        elif kind <= codes.REQUEST:
            self._take_in(link, key, header, reader.rest(), now)
        elif kind == codes.SIGNAL:
            self._read_signal(link, key, header, reader, now, True)
        else:
            self._answered(key, header, reader.rest(), now)

    def _take_in(self, link: LeafConnection, key: bytes, header: Header, payload: bytes, now: int) -> None:
        receiver = self._receiver(header.endpoint)
        if receiver is None or receiver.realm < max(link.realm, header.realm):
            self._refuse(key, header, codes.NO_ENDPOINT)
        elif (header.kind == codes.PUBLISH) != (receiver.kind == codes.BROADCAST):
            self._refuse(key, header, codes.WRONG_KIND)
        else:
            self._deliver(receiver, key, header, payload, link.number, now)
        if len(self._answers) > _ANSWERS_MAX:
            link.cut_off(now)

    def _in_flow(self, key: bytes, receiver: Receiver, number: int, now: int) -> InFlow:
        for flow in self._in:
            if flow.key == key and flow.receiver is receiver:
                return flow
        if len(self._in) >= self.peers_max:
            idle = self._in[0]
            for flow in self._in:
                if flow.last_used < idle.last_used:
                    idle = flow
            self._in.remove(idle)
        flow = InFlow(key, receiver, number - 1, now)
        self._in.append(flow)
        return flow

    def _deliver(
        self, receiver: Receiver, key: bytes, header: Header, payload: bytes, session: int, now: int
    ) -> None:
        flow = self._in_flow(key, receiver, header.number, now)
        gap = (header.number - flow.received) & 0xFFFF
        if not 0 < gap < 0x8000:
            if header.routed or flow.session == session:
                self.counters["late"] += 1
                self._refuse(key, header, codes.OVERTAKEN)
                return
            flow.received = header.number - 1  # between neighbours a session may start anew
            flow.limit = flow.received + receiver.credit()
            gap = 1
        flow.session = session
        flow.received += gap
        flow.last_used = now
        self.counters["missed"] += gap - 1
        message = Message(receiver, flow, header, payload)
        message.missed = gap - 1
        if self._make_room(receiver, len(payload)):
            self._enqueue(receiver, message, now)
        else:
            self.counters["refused"] += 1
            self._refuse(key, header, codes.QUEUE_FULL)
        self._raise_limit(flow)

    def _make_room(self, receiver: Receiver, size: int) -> bool:
        """Room for one more; a broadcast takes the place of the oldest."""
        queue = receiver.queue
        if receiver.kind == codes.BROADCAST:
            while queue and (len(queue) >= receiver.queue_max or not self._fits(size)):
                self._pull(receiver)
                self.counters["dropped"] += 1
        return not queue or (len(queue) < receiver.queue_max and self._fits(size))

    def _fits(self, size: int) -> bool:
        return self._queued_size + size + _PIECE <= self.queue_size_max

    def _enqueue(self, receiver: Receiver, message: Message, now: int) -> None:
        receiver.queue.append(message)
        message.flow.queued += 1
        self._queued_size += len(message.payload) + _PIECE
        if message.id:
            for old in self._serving:
                if old.id == message.id and old.flow.key == message.flow.key:
                    self._drop(old)  # the origin used an id again: it has given up the former request
                    break
            message.expires = now + message.timeout_ms
            self._serving.append(message)
        if len(receiver.queue) == 1:
            self._tell(receiver)

    def _raise_limit(self, flow: InFlow) -> None:
        """Let an origin send on: an even share of the queue, less what it has in it."""
        receiver = flow.receiver
        if receiver.kind == codes.BROADCAST or receiver.closed or flow not in self._in:
            return
        origins = 0
        for other in self._in:
            if other.receiver is receiver:
                origins += 1
        window = max(1, receiver.queue_max // origins)
        limit = flow.received - flow.queued + window
        if limit > flow.limit and flow.limit - flow.received <= window >> 1:
            flow.limit = limit
            flow.due = True
            self.stirred = True

    def _answered(self, key: bytes, header: Header, payload: bytes, now: int) -> None:
        """REPLY, PART or ERROR: late, unknown, cancelled and forged ones end here."""
        item = self._find(header.id)
        if item is None or item.state != SENT or item.key != key or header.kind == codes.PART:
            self.counters["unknown_reply"] += 1
        elif header.kind == codes.ERROR:
            code = header.code
            status = events.UNDELIVERED if code <= codes.REASON_LAST else events.FAILED
            self._finish(item, status, code, lenient_text(payload))
            if code == codes.NO_ENDPOINT:
                self._refused(item.endpoint, key)
        else:
            taken = item.kind == codes.CONFIRM
            event = self._finish(item, events.TAKEN if taken else events.REPLIED)
            event.payload = payload
            event.format = header.format

    # Signals

    def _read_signal(
        self, link: LeafConnection, key: bytes, header: Header, reader: Reader, now: int, mine: bool
    ) -> None:
        """`mine`: it is for this leaf; else it is read for its numbers only."""
        signal = header.signal
        if signal in (codes.CANCEL, codes.TRACE, codes.PART_CREDIT, codes.END):
            header.id = read_id(reader)
            if signal in (codes.PART_CREDIT, codes.END):
                header.number = reader.u16()
        elif signal == codes.TRACED:
            read_id(reader)
            return
        elif codes.CREDIT <= signal <= codes.GRAFT:
            header.endpoint = link.aliases_in.read(reader)
            if signal == codes.HAVE:
                self._have(link, header.endpoint, reader, now, mine and key == link.peer_key)
            elif signal >= codes.PRUNE:
                link.nodes_in.read(reader)
            elif signal != codes.WHO:
                header.number = reader.u16()
                if signal == codes.UNDELIVERABLE:
                    header.code = reader.u8()
        else:
            link.skipped_frames += 1
            return
        if reader.left():
            raise Refusal(codes.MALFORMED, "bytes behind a signal")
        if mine:
            self._signalled(link, key, header, now)

    def _signalled(self, link: LeafConnection, key: bytes, header: Header, now: int) -> None:
        signal = header.signal
        if signal == codes.CREDIT or signal == codes.UNDELIVERABLE:
            for flow in self._out:
                if flow.key == key and flow.endpoint == header.endpoint:
                    self._about(flow, header)
                    return
            self.counters["unknown_reply"] += 1
        elif signal == codes.PROBE:
            self._probed(link, key, header, now)
        elif signal == codes.CANCEL:
            for request in self._serving:
                if request.id == header.id and request.flow.key == key and not request.confirm:
                    self._drop(request)
                    return
        elif signal in (codes.PRUNE, codes.GRAFT):
            self._prune(link, key, header.endpoint, signal == codes.PRUNE)
        elif signal == codes.TRACE:
            item = Item(codes.SIGNAL, b"", b"", codes.RAW)
            item.code = codes.TRACED
            medium = text8(link.link.medium)
            item.payload = bytes((link.realm,)) + varint(link.link.cost) + medium + text8(self.label)
            self._answer(key, header.id, item)
        elif signal == codes.WHO:
            self._signal(codes.HAVE, key, 0, 0, header.endpoint)
        if len(self._answers) > _ANSWERS_MAX:
            link.cut_off(now)

    def _probed(self, link: LeafConnection, key: bytes, header: Header, now: int) -> None:
        """What of the origin's messages has not arrived by now is lost."""
        receiver = self._receiver(header.endpoint)
        if receiver is None:
            return
        flow = self._in_flow(key, receiver, header.number + 1, now)
        gap = (header.number - flow.received) & 0xFFFF
        if gap < 0x8000 or receiver.kind == codes.BROADCAST:
            flow.received += gap
            self.counters["missed"] += gap
        elif flow.session != link.number:
            flow.received = header.number
            flow.limit = flow.received
        flow.session = link.number
        flow.last_used = now
        if receiver.kind != codes.BROADCAST:
            self._raise_limit(flow)
            flow.due = True
            self.stirred = True

    def _prune(self, link: LeafConnection, key: bytes, uuid: bytes, wanted_no_more: bool) -> None:
        if key != link.peer_key:
            link.skipped_frames += 1
        elif not wanted_no_more:
            if uuid in self._pruned:
                self._pruned.remove(uuid)
        elif uuid in self._casts and uuid not in self._pruned:
            self._pruned.append(uuid)


def _sooner(due: int, at: int) -> int:
    return at if at >= 0 and (due < 0 or at < due) else due
