"""A node of the bus: many connections, one set of endpoints, one face for adapters and for programs without
one.
"""

from busway.protocol import events
from busway.protocol.answering import Answering
from busway.protocol.checks import check_id, check_time, policy_of
from busway.protocol.errors import ClosedError, LocalError
from busway.protocol.link.connection import Connection
from busway.protocol.link.link import Link
from busway.protocol.link.queue import OVERHEAD, Run
from busway.protocol.messaging.endpoints import Endpoint, Message, Receiver
from busway.protocol.retaining import bring, rank
from busway.protocol.routing.guard import Guard
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, is_selector, sought
from busway.protocol.wire.hello import Limits
from busway.protocol.wire.messages import Frame, Options
from busway.protocol.wire.traits import pack_traits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Final, Iterable, Sequence

    from busway.protocol.link.face import LinkHost

    Make = Callable[[LinkHost, Link, bytes, Limits, int], Connection]

# The commonest on the way of every message, as names of this module's own.
_CLOSED: "Final" = codes.CLOSED
_LOCALNET: "Final" = codes.LOCALNET
_NORMAL: "Final" = codes.NORMAL
_PUBLISH: "Final" = codes.PUBLISH
_QUEUE_SIZE_MAX: "Final" = codes.QUEUE_SIZE_MAX


class Node(Answering):
    """One participant of a bus.

    Args: `node_id` 16 bytes; `bus` the bus name, 1 to 64 bytes of UTF-8; `entropy` gives n random bytes
    (`os.urandom`); `label` tells people which program this is; `leaf` for a short-lived or small participant
    that has one link and never forwards; `transit` whether it forwards for others, None: once it has links of
    two media; `limits` of every link; `wake` is called when there may be something new for
    `connections_to_flush` or `take_events`; `encode` turns the answer of the introspection endpoint into CBOR
    bytes (`cbor2.dumps`), None: it is not served. All times are integers in ms of one clock of any origin,
    not negative. Raises LocalError for misuse.
    """

    def __init__(
        self,
        node_id: bytes,
        *,
        entropy: "Callable[[int], bytes]",
        bus: str = "default",
        label: str = "",
        leaf: bool = False,
        limits: "Limits | None" = None,
        transit: "bool | None" = None,
        encode: "Callable[[object], bytes] | None" = None,
        wake: "Callable[[], None] | None" = None,
    ) -> None:
        check_id("node_id", node_id)
        if leaf and transit:
            raise LocalError("a leaf never forwards: leave transit out")
        if not 1 <= len(bus.encode()) <= codes.TEXT_SIZE_MAX:
            raise LocalError("a bus name must have 1 to 64 bytes of UTF-8, not %d" % len(bus.encode()))
        if len(label.encode()) > codes.TEXT_SIZE_MAX:
            raise LocalError("a label must have at most 64 bytes of UTF-8")
        incarnation = entropy(codes.INCARNATION_SIZE)
        super().__init__(node_id, incarnation, bus, label, leaf, transit, wake, entropy)
        self.label = label
        self.leaf = leaf
        self.limits = limits if limits is not None else Limits()
        self.unfinished.size_max = max(codes.UNFINISHED_SIZE_MAX, 2 * self.limits.message_size_max)
        self.closed = False
        self._entropy = entropy
        self._encode = encode
        if encode is not None:
            self.receiving.register_builtin(self._introspect)

    def __repr__(self) -> str:
        return "<node %r %s on bus %r, links: %d%s>" % (
            self.label,
            self.node_id.hex(),
            self.bus,
            len(self.connections),
            ", closed" if self.closed else "",
        )

    @property
    def node_id(self) -> bytes:
        """This node's id, 16 bytes."""
        return self.me.node_id

    # Permissions

    @property
    def guard(self) -> "Guard | None":
        """The guard that says what others may do here, and how much; None: whatever their realm lets them.
        Set it before there are links, else call `guard_changed` behind it.
        """
        return self.mesh.gate.guard

    @guard.setter
    def guard(self, guard: "Guard | None") -> None:
        if guard is not None and not isinstance(guard, Guard):
            raise LocalError("guard must be a Guard or None, not %r" % (guard,))
        self.mesh.gate.guard = guard

    def guard_changed(self, now: int) -> None:
        """The guard may say something else from now on, or is another: what has been let in and told is
        looked at again. No link ends by that.
        """
        self.receiving.guard_changed()
        self.mesh.guard_changed(now)
        self.receiving.look_for_denied()
        self.origin.retained.guard_changed(now)

    # Links

    def note_refused(self, now: int) -> None:
        """A connection to a listener of this program was refused, for what somebody has to mend."""
        self.counters["incoming_refused"] = self.counters.get("incoming_refused", 0) + 1
        self.supplements.refused_at = now

    def connection(self, link: Link, now: int, make: "Make | None" = None) -> Connection:
        """A state machine for a new link; its HELLO is ready to be written. More than LINKS_MAX links are
        refused at once. Beyond the machine it is LINKS_RESERVED fewer: however many come from there, programs
        of this machine find a place. `make` makes another sort of it (packet/guarded.py).
        """
        self._check_open()
        if make is not None or link.sort == "packet":
            connection = self._other_connection(link, now, make)
        else:
            connection = Connection(self, link, self.limits, now)
        self.connections.append(connection)
        self.mesh.fresh[connection] = True
        self.mesh.check_syncing(now)
        if len(self.connections) > codes.LINKS_MAX - codes.LINKS_RESERVED:
            self._refuse_excess(connection, now)
        return connection

    def _other_connection(self, link: Link, now: int, make: "Make | None") -> Connection:
        """One over packets, which only who has such a link loads, or of another sort."""
        from busway.protocol.packet.connection import PacketConnection
        from busway.protocol.packet.packets import NONCE_SIZE

        nonce = self._entropy(NONCE_SIZE) if link.sort == "packet" else b""
        if make is not None:
            return make(self, link, nonce, self.limits, now)
        return PacketConnection(self, link, nonce, self.limits, now)

    def _refuse_excess(self, connection: Connection, now: int) -> None:
        held, most, whose = len(self.connections), codes.LINKS_MAX, ""
        if connection.link.realm > codes.USERSPACE:
            held = len([each for each in self.connections if each.link.realm > codes.USERSPACE])
            most, whose = codes.LINKS_MAX - codes.LINKS_RESERVED, " beyond its machine"
        if held > most:
            text = "this node holds %d links%s, as many as it may" % (most, whose)
            connection.fail(codes.MESH_FULL, text, now)

    def connections_to_flush(self) -> "list[Connection]":
        """The connections that have something to write since the last call."""
        flush = self._flush
        if flush:
            self._flush = []
        return flush

    def next_deadline(self) -> "int | None":
        """When `handle_timer` is due, in ms; None if nothing is."""
        deadline = self.timers.next
        if deadline < 0:
            deadline = self.timers.next_deadline()
        return None if deadline < 0 else deadline

    def handle_timer(self, now: int) -> "list[events.Event]":
        """Do what is due at `now`."""
        for connection in self._cut_off:
            connection.fail(codes.NOT_READING, "the peer does not read what it asked for", now)
        self._cut_off = []
        self.timers.fire(now)
        return self.take_events()

    def close(self, now: int) -> None:
        """Say goodbye on every link once all that is queued has been written. What is outstanding ends with
        BUS_CLOSED.
        """
        if self.closed:
            return
        self.closed = self.mesh.leaving = True
        self.origin.close(all=False)  # before receivers of this node end, which is not why
        for endpoint in list(self.receiving.endpoints.values()):
            for receiver in list(endpoint.receivers):
                self.receiving.deregister(receiver, now)
        self.receiving.lose_peer(self.me)
        self.origin.close(all=True)
        self.timers.disarm(self._sweep)
        self.departures.end()
        for connection in list(self.connections):
            connection.close(now, codes.GOODBYE, "the node is closing")

    # Endpoints

    def register(
        self,
        endpoint: bytes,
        kind: int,
        realm: int = codes.LOCALNET,
        *,
        name: str = "",
        cost: int = 0,
        queue_max: int = 4096,
        size_max: int = 67108864,
        policy: int = -1,
        opening: int = codes.OPENING_CREDIT,
        labels: "Iterable[str]" = (),
        gone: bytes = b"",
    ) -> Receiver:
        """Register a receiver at `endpoint`, 16 bytes.

        Args: `kind` UNICAST, ANYCAST or BROADCAST; `realm` PROCESS to GLOBAL; `name` for people, at most 64
        bytes of UTF-8; `cost` 0 to 16383, the cheapest anycast holder is chosen; `queue_max` messages and
        `size_max` bytes bound its queue; `policy` REFUSE, DROP_OLDEST, DROP_NEWEST, -1: REFUSE, for BROADCAST
        DROP_OLDEST; for BROADCAST only LATEST: of each origin the newest. Nobody hears that a broadcast is
        refused, so there REFUSE is DROP_NEWEST, which counts it. `opening`, 1 to 4, credit of those who have
        not sent yet; below 4 it says that so many are worked on at once. `labels`, at most 8 of 1 to 32 bytes
        of UTF-8, say what it is; `gone` is its last word: the format in a byte, for TYPED the type's uuid,
        and at most 128 bytes of payload. Further receivers of one endpoint have the same. Raises
        EndpointTakenError, LocalError.
        """
        self._check_open()
        check_id("endpoint", endpoint)
        if not codes.UNICAST <= kind <= codes.BROADCAST:
            raise LocalError("kind must be UNICAST, ANYCAST or BROADCAST (1, 2, 3), not %r" % kind)
        if not codes.PROCESS <= realm <= codes.GLOBAL:
            raise LocalError("realm must be PROCESS, USERSPACE, LOCALNET or GLOBAL (0 to 3), not %r" % realm)
        if len(name.encode()) > codes.TEXT_SIZE_MAX:
            raise LocalError("a name must have at most 64 bytes of UTF-8")
        if not 0 <= cost <= 16383:
            raise LocalError("cost must be 0 to 16383, not %r" % cost)
        if queue_max < 2 or size_max < 1:
            raise LocalError("queue_max must be at least 2 messages, size_max at least 1 byte")
        if not 1 <= opening <= codes.OPENING_CREDIT:
            raise LocalError("opening must be 1 to 4 messages, not %r" % opening)
        if endpoint in (codes.INTROSPECTION, codes.LOOKUP, codes.PATTERNS):
            raise LocalError("every node answers that endpoint itself: choose another")
        policy = policy_of(policy, kind)
        traits = pack_traits(labels, gone) if labels or gone else b""
        made = Endpoint(self.receiving, endpoint, kind, realm, name, cost, opening, traits)
        receiver = self.receiving.register(made, queue_max, size_max, policy)
        if self.leaf and kind == codes.UNICAST and realm != codes.PROCESS:
            self.lookups.watch(endpoint)
        unresolved = self.origin.unresolved
        awaited = [sought(address) for address in unresolved.selectors]
        if unresolved.is_awaited(endpoint):
            awaited.append(endpoint)
        for address in awaited:
            self.origin.arrived[address] = True
        if awaited:
            self.timers.arm(self._arrival, 0)
            if self._wake is not None:
                self._wake()
        return receiver

    def deregister(self, receiver: Receiver, now: int) -> None:
        """Close a receiver; what it has not taken is answered as RECEIVER_CLOSED. Twice is once."""
        self.receiving.deregister(receiver, now)

    def take(self, receiver: Receiver, now: int) -> "Message | None":
        """The oldest message in a receiver's queue, or None. Raises ClosedError when it is closed and
        empty.
        """
        message = self.receiving.take(receiver)
        if message is None and receiver.closed:
            raise ClosedError("this receiver is closed")
        return message

    def take_many(self, receiver: Receiver, most: int) -> "list[Message]":
        """The oldest messages in a receiver's queue, `most` at the most, in order; [] if there is none.
        Raises ClosedError when it is closed and empty.
        """
        taken = self.receiving.take_many(receiver, most)
        if not taken and receiver.closed:
            raise ClosedError("this receiver is closed")
        return taken

    # Sending

    def send(
        self,
        endpoint: Address,
        payload: object,
        now: int,
        format: int = codes.RAW,
        type_id: bytes = b"",
        *,
        node_id: bytes = b"",
        confirm: bool = False,
        ttl_ms: int = 0,
        timeout_ms: "int | None" = None,
        wait: bool = True,
        priority: int = codes.NORMAL,
        things: "Sequence[Any]" = (),
        regions: int = 0,
    ) -> int:
        """Send to a unicast or anycast endpoint.

        Returns 0 if the message was accepted for transport, else a token whose Outcome will come: ACCEPTED or
        UNDELIVERED; with `confirm` TAKEN, UNDELIVERED or UNKNOWN within `timeout_ms`. `node_id` picks the
        node; `ttl_ms` waits for the endpoint to appear. `timeout_ms` None: with `confirm` 30 s; a plain
        message waits for credit and room, as long as it takes. With `wait=False` a lack of credit or room
        raises FullError. `priority` LOW, NORMAL, HIGH or URGENT: a higher one passes lower ones on its way.
        `payload` is bytes, or a memoryview of bytes that nobody changes any more. `things`, at most 64, go
        beside it to programs of the same user on this machine, else it is UNDELIVERED with NO_FILES; the
        first `regions` of them are memory, the others files. Raises WrongKindError for a broadcast endpoint,
        LocalError.
        """
        usual = priority == _NORMAL and not (confirm or node_id or things)
        if usual and type(payload) is bytes and 0 <= format < 3:  # 3: TYPED
            if self.post(endpoint, payload, now, format):
                return 0
        check_time("ttl_ms", ttl_ms)
        if timeout_ms is None:
            timeout_ms = 30000 if confirm else -1
        else:
            check_time("timeout_ms", timeout_ms)
        kind = codes.CONFIRM if confirm else codes.SEND
        out = self.message(kind, endpoint, payload, format, type_id, node_id, now, things, regions)
        if priority != _NORMAL:
            rank(out, priority)
        return self.origin.submit(out, node_id, ttl_ms, timeout_ms, wait, now)

    def post(self, endpoint: Address, payload: bytes, now: int, format: int = codes.RAW) -> bool:
        """Send a plain message, if it can be accepted at once: the short way of `send`, which does what this
        cannot. `format` RAW, CBOR or TYPED_AS_ENDPOINT; `now` may be that of a moment ago. False: nothing is
        done.
        """
        flow = self.origin.direct.get(endpoint)
        if flow is None or flow.sent >= flow.limit or flow.waiting.items or self.closed:
            return False
        hop = flow.hop
        if hop is None or hop.state == _CLOSED:
            hop = flow.link()
        size = len(payload)
        if hop is None or size > hop.limits.message_size_max:
            return False
        queue = hop.queue
        if queue.size >= _QUEUE_SIZE_MAX:
            return False
        flow.sent = seq = flow.sent + 1
        flow.last_used = now
        items = queue.items
        run = queue.run
        if run is None or run.flow is not flow or run.format != format:
            run = None
        elif not items:
            run.number = seq
            items.append(run)
        elif type(items[-1]) is not bytes:
            run = None
        if run is None:
            run = flow.run  # others came in between: its numbers go on all the same
            if run is None or run.format != format:
                flow.run = run = Run(flow, flow.peer.key, endpoint, seq, format)
            queue.run = run
            items.append(run)
        items.append(payload)
        queue.size += size + OVERHEAD
        if not hop.flush_wanted:
            hop.flush_wanted = True
            self.note_flush(hop)
        return True

    def send_many(
        self, endpoint: Address, payloads: "list[object]", now: int, format: int = codes.RAW
    ) -> int:
        """Send as many of `payloads`, from the first on, as can be accepted at once as plain messages.

        Returns how many these are. The next one needs something more, so it goes by `send`, which says what
        is wrong with it if something is; 0 where each message needs more: at an endpoint of this node, at one
        of several holders, where messages wait for credit or room. `format` RAW, CBOR or TYPED_AS_ENDPOINT.
        """
        flow = self.origin.direct.get(endpoint)
        if flow is None or flow.waiting.items or self.closed or not 0 <= format < 3:
            return 0
        hop = flow.link()
        if hop is None:
            return 0
        queue = hop.queue
        size_max = hop.limits.message_size_max
        room = _QUEUE_SIZE_MAX - queue.size
        first = seq = flow.sent
        last = min(flow.limit, seq + len(payloads))
        total = 0
        while seq < last and total < room:
            payload = payloads[seq - first]
            if type(payload) is not bytes or len(payload) > size_max:
                break
            seq += 1
            total += len(payload) + OVERHEAD
        if seq > first:
            queue.extend(flow, flow.peer.key, endpoint, first + 1, format, payloads[: seq - first], total)
            flow.sent = seq
            flow.run = queue.run
            flow.last_used = now
            if not hop.flush_wanted:
                hop.touch()
        return seq - first

    def publish(
        self,
        endpoint: Address,
        payload: object,
        now: int,
        format: int = codes.RAW,
        type_id: bytes = b"",
        *,
        wait: bool = True,
        best_effort: bool = False,
        patience_ms: int = 0,
        realm: int = codes.LOCALNET,
        priority: int = codes.NORMAL,
        things: "Sequence[Any]" = (),
        regions: int = 0,
    ) -> int:
        """Give every subscriber of a broadcast endpoint a copy, as far as `realm`: beyond it none gets one.
        Nobody listening is no error.

        Returns 0, or a token whose Outcome ACCEPTED comes when it need not wait any more (`wait=False`:
        FullError instead). It waits while all links concerned are full; and up to `patience_ms` for each that
        is full, but for those that others have waited for in vain (-1: for all, as long as it takes; 0: for
        none). Then a link that is full misses it. `best_effort`: never waits; a link that loses packets does
        not repeat this, and misses it, with a count, when it is busy. `priority`, `things` and `regions` as
        for `send`; a link that takes no things misses it, with a count.
        """
        if not -1 <= patience_ms <= 0x7FFFFFFF:
            raise LocalError("patience_ms must be -1 to 2147483647 ms, not %r" % patience_ms)
        usual = priority == _NORMAL and realm == _LOCALNET and not (best_effort or things)
        if usual and type(payload) is bytes:
            if self.publish_on(endpoint, payload, now, format, type_id, patience_ms):
                return 0
        out = self.message(_PUBLISH, endpoint, payload, format, type_id, b"", now, things, regions)
        if best_effort or realm != _LOCALNET:
            if not codes.PROCESS <= realm <= codes.GLOBAL:
                raise LocalError(
                    "realm must be PROCESS, USERSPACE, LOCALNET or GLOBAL (0 to 3), not %r" % realm
                )
            out.options = out.options or Options()
            out.options.best_effort = best_effort
            out.options.reach = realm if realm != _LOCALNET else 0
        if priority != _NORMAL:
            rank(out, priority)
        return self.origin.publisher.publish(out, realm, wait, patience_ms, now)

    def publish_on(
        self,
        endpoint: Address,
        payload: bytes,
        now: int,
        format: int = codes.RAW,
        type_id: bytes = b"",
        patience_ms: int = -1,
    ) -> bool:
        """Publish a plain message as the one before it, if it can be accepted at once: the short way of
        `publish`, which does what this cannot. `now` may be that of a moment ago. False: nothing is done.
        """
        publisher = self.origin.publisher
        spread = publisher.growing.get(endpoint)
        if spread is None or format != spread.format or self.closed:
            return False
        return publisher.add(spread, payload, type_id, patience_ms, now)

    def request(
        self,
        endpoint: Address,
        payload: object,
        now: int,
        format: int = codes.RAW,
        type_id: bytes = b"",
        *,
        node_id: bytes = b"",
        ttl_ms: int = 0,
        timeout_ms: int = 30000,
        window: int = 0,
        wait: bool = True,
        priority: int = codes.NORMAL,
        things: "Sequence[Any]" = (),
        regions: int = 0,
    ) -> int:
        """Ask a unicast or anycast endpoint. Returns a token; exactly one terminal Outcome comes within
        `timeout_ms`.

        With `window`, 1 to 32767 parts, a streaming reply is wanted: PARTIAL outcomes (each to be confirmed
        with `consume_part`), then ENDED or another; the timeout then counts from the last part. `payload`,
        `things`, `regions` and `priority` as for `send`; the answer has the priority, too.
        """
        check_time("ttl_ms", ttl_ms)
        check_time("timeout_ms", timeout_ms)
        if not 0 <= window < 0x8000:
            raise LocalError("window must be 0 to 32767 parts, not %r" % window)
        out = self.message(codes.REQUEST, endpoint, payload, format, type_id, node_id, now, things, regions)
        if window:
            out.options = out.options or Options()
            out.options.window = window
        if priority != _NORMAL:
            rank(out, priority)
        return self.origin.submit(out, node_id, ttl_ms, timeout_ms, wait, now)

    def cancel(self, token: int, now: int) -> None:
        """Give up a send or request. Its Outcome is CANCELLED, unless it is over already."""
        self.origin.cancel(token, now)

    def locate(self, id: bytes, now: int, *, timeout_ms: int = 5000, ttl_ms: int = 0) -> int:
        """Find the node that a message to the endpoint `id` would go to, or that has this id, asking where
        that is needed; `ttl_ms` waits for it to appear. Of a selector find all that it means: `matches` says
        which.

        Returns a token; its Outcome is TRACED with the node's id, or UNDELIVERED.
        """
        self._check_open()
        if is_selector(id):
            self.origin.selecting.check(id)
        else:
            check_id("id", id)
        check_time("timeout_ms", timeout_ms)
        check_time("ttl_ms", ttl_ms)
        return self.origin.unresolved.locate(id, timeout_ms, ttl_ms, now)

    def matches(self, selector: Address) -> "list[tuple[bytes, bytes]]":
        """All that a selector means, as far as is known: uuid and node id of each, the cheapest first.
        `locate` asks who has to be asked.
        """
        self.origin.selecting.check(selector)
        return [(match.uuid, match.peer.node_id) for match in self.origin.selecting.matches(selector)]

    def trace(self, node_id: bytes, hops: int, now: int, *, timeout_ms: int = 5000) -> int:
        """Ask the node `hops` nodes on the way to `node_id` by which link a message came to it.

        Returns a token; its Outcome is TRACED, with that node and the payload of TRACED (docs/protocol.md,
        section 7), UNDELIVERED, or TIMED_OUT.
        """
        self._check_open()
        check_id("node_id", node_id)
        check_time("timeout_ms", timeout_ms)
        if not 0 <= hops <= codes.HOPS_MAX:
            raise LocalError("hops must be 0 to 255, not %r" % hops)
        return self.origin.answers.trace(node_id, hops, timeout_ms, now)

    def consume_part(self, token: int, now: int) -> None:
        """Say that the program has taken one part of a streaming reply."""
        self.origin.answers.consume_part(token, now)

    # Introspection

    def report(self, now: int) -> "dict[str, object]":
        """The state of this node in plain values: what its introspection endpoint answers (docs/protocol.md,
        section 9).
        """
        from busway.protocol.report import report  # few are ever asked

        return report(self, now)

    def _introspect(self, now: int, asked: object) -> bytes:
        """The answer to a request with the payload `asked`."""
        assert self._encode is not None
        found = self.report(now)
        audit = self.supplements.audit
        if asked == codes.ASK_AUDIT and audit is not None:
            found["audit"] = audit()
        return self._encode(found)

    # Checks

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError("this node is closed")

    def message(
        self,
        kind: int,
        endpoint: bytes,
        payload: object,
        format: int,
        type_id: bytes,
        node_id: bytes,
        now: int,
        things: "Sequence[Any]" = (),
        regions: int = 0,
    ) -> Frame:
        """A message that may be sent, as far as its caller says of it."""
        self._check_open()
        if type(endpoint) is not bytes or len(endpoint) != codes.ID_SIZE:
            if type(endpoint) is not bytes or not is_selector(endpoint):
                raise LocalError("endpoint must be 16 bytes")
            self._check_payload(payload, format, type_id)
            self.arm_sweep(now)
            selected = self.origin.selecting.message(kind, endpoint, payload, format, type_id, node_id, now)
            bring(selected, things, regions)
            return selected
        if node_id:
            check_id("node_id", node_id)
        here = format == codes.OBJECT and node_id in (b"", self.node_id)
        large = False
        if not here or endpoint not in self.receiving.process_only:
            large = self._check_payload(payload, format, type_id)
        if self._sweep.deadline < 0:
            self.arm_sweep(now)
        out = Frame(kind, b"", endpoint, 0, payload, format, type_id)
        if large or things or regions:
            bring(out, things, regions)
        return out

    # What people look at

    def peers(self) -> "list[Peer]":
        """The other nodes that can be reached now."""
        return list(self.routes.peers.values())

    def seek(self, endpoint: Address, now: int) -> None:
        """Ask for the holders of an endpoint where nobody tells without being asked, now and whenever there
        is somebody new to ask, and be told of changes; or for what a selector means, again and again.
        """
        self.sought[endpoint] = True
        if is_selector(endpoint):
            self.mesh.selects.follow(endpoint, now)
        else:
            self.lookups.ask(endpoint, now)

    def seek_only(self, endpoints: "list[Address]") -> None:
        """Of those that were sought no others matter any more."""
        self.sought = {address: True for address in self.sought if address in endpoints}
        self.mesh.selects.follow_only(endpoints)

    def knows_all(self, endpoint: Address = b"") -> bool:
        """Whether all links have told what there is, and nobody is being asked for that endpoint, or what a
        selector means; SYNCED says that it may be so now.
        """
        return not self.origin.syncing and not self.lookups.is_asking(endpoint)

    def watch_departures(self, watching: bool) -> None:
        """Whether to tell by ENDPOINT_GONE how the endpoints of nodes that are gone without a goodbye went in
        the end.
        """
        self.departures.watched = watching

    def entries(self) -> "list[Entry]":
        """The other nodes' endpoints that can be reached now."""
        return self.directory.all()

    def endpoints(self) -> "list[Endpoint]":
        """This node's own endpoints, the built-in one included."""
        return list(self.receiving.endpoints.values())
