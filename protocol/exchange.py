"""Where the rooms of the core meet: made here, each is told of the others only what its host's face says.

What comes over a link goes to where it belongs, and what happens becomes an event. The face for programs is
node.py.
"""

from busway.protocol import events
from busway.protocol.errors import Refusal
from busway.protocol.link.connection import Connection
from busway.protocol.link.face import Intake, LinkFace, News
from busway.protocol.link.fast import Path
from busway.protocol.messaging.correspondent import Correspondent, talk
from busway.protocol.messaging.endpoints import InFlow
from busway.protocol.messaging.ids import Ids
from busway.protocol.messaging.last_words import give_last_word
from busway.protocol.messaging.receiving import Receiving
from busway.protocol.messaging.sender import Origin
from busway.protocol.routing.advertising import Advertiser, adverts, introduce, is_leaf, show
from busway.protocol.routing.belief import believes, is_near, may_pass_on, tells_of
from busway.protocol.routing.departures import Departures
from busway.protocol.routing.host import RoutingHost
from busway.protocol.routing.mesh import Mesh
from busway.protocol.routing.peers import Entry, Peer, PeerKeeper
from busway.protocol.timers import Call
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, is_selector, uuid_of
from busway.protocol.wire.hello import Hello
from busway.protocol.wire.messages import Frame, HaveFrame, RoutingHeader, SelectedSignal, TreeFrame
from busway.protocol.wire.traits import without_gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


# Signals about messages of ours, and about those to us.
_ANSWERS = (codes.CREDIT, codes.UNDELIVERABLE, codes.END, codes.TRACED)
_OF_ORIGIN = (codes.PROBE, codes.CANCEL, codes.PART_CREDIT)


class Supplements:
    """Additions of an adapter to the node's report (section 9); None: nothing is added.

    In an object of its own: CPython has a quick way to the attributes of an instance with 30 at the most, and
    a node has nearly as many.
    """

    __slots__ = ("audit", "dialled", "memory", "name_of", "protection_of", "refused_at")

    def __init__(self) -> None:
        # The name by which this program calls an endpoint that it publishes to.
        self.name_of: "Callable[[bytes], str] | None" = None
        # One map for each link that it dials again when it is lost.
        self.dialled: "Callable[[], list[dict[str, object]]] | None" = None
        # What the other side of a link has proved.
        self.protection_of: "Callable[[Connection], dict[str, object]] | None" = None
        # The latest of what matters to security.
        self.audit: "Callable[[], list[dict[str, object]]] | None" = None
        # The memory that it shares with others of its machine, and sees of theirs.
        self.memory: "Callable[[], dict[str, object]] | None" = None
        self.refused_at = -1  # when a connection to a listener of this program was refused last


class Exchange(RoutingHost):
    """A node without its face: links, routing, and both sides of messaging."""

    def __init__(
        self,
        node_id: bytes,
        incarnation: bytes,
        bus: str,
        label: str,
        leaf: bool,
        transit: "bool | None",
        wake: "Callable[[], None] | None",
        entropy: "Callable[[int], bytes]",
    ) -> None:
        super().__init__(bus, wake)
        self.me = Correspondent(PeerKeeper(), node_id, incarnation, label, leaf)
        self.identity = self.me
        self.connections: "list[Connection]" = []
        self.supplements = Supplements()
        self._cut_off: "list[Connection]" = []
        self._sweep = Call(self.sweep)
        self._arrival = Call(self._let_go)
        self.mesh = Mesh(self, self.me, self.timers, self.connections, transit)
        self.routes = self.mesh.routes
        self.directory = self.mesh.directory
        self.counters = self.mesh.counters
        self.forwarder = self.mesh.forwarder
        self.lookups = self.mesh.lookups
        self.departures = Departures(self.timers, self._endpoint_gone)
        self.sought: "dict[Address, bool]" = {}  # endpoints and selectors whose holders the program watches
        self.origin = Origin(self, self.me, self.mesh, self.timers, Ids(entropy))
        self.receiving = Receiving(self, self.origin)
        self.origin.receiving = self.receiving

    # The host of its connections (link/face.py)

    def cut_off(self, link: LinkFace) -> None:
        assert isinstance(link, Connection)
        if link not in self._cut_off:
            self._cut_off.append(link)
            self.timers.arm(link, 0)

    def news_of(self, link: LinkFace) -> News:
        return Advertiser(link, self.mesh, self.mesh.lines)

    def link_state_changed(self, link: LinkFace) -> None:
        assert isinstance(link, Connection)
        self.emit(events.LinkEvent(events.LINK_STATE, link))

    def link_opened(self, link: LinkFace, hello: Hello, now: int) -> None:
        self.mesh.link_opened(link, hello, now)

    def link_joined(self, link: LinkFace, peer: Peer) -> None:
        assert isinstance(link, Connection)
        link.intakes = talk(peer).in_flows
        self.emit(events.LinkEvent(events.LINK_OPEN, link))

    def link_closed(self, link: LinkFace, opened: bool, by_peer: bool, now: int) -> None:
        self.mesh.link_closed(link, opened, by_peer, now)

    def link_ended(self, link: LinkFace, by_peer: bool) -> None:
        assert isinstance(link, Connection)
        self.connections.remove(link)
        self.origin.leaf_casts.ended(link)
        self.origin.retained.link_ended(link)
        self.receiving.link_ended(link)
        self.receiving.handlers.look_again()  # who waited for others of it
        self.emit(events.LinkEvent(events.LINK_CLOSED, link, link.close_code, link.close_text, by_peer))

    def cost_changed(self, link: LinkFace, now: int) -> None:
        self.mesh.cost_changed(link, now)

    def peer_answered(self, link: LinkFace, now: int) -> None:
        self.mesh.check_syncing(now)

    def log_came(self, link: LinkFace, text: bytes) -> None:
        assert isinstance(link, Connection)
        self.emit(events.LogEvent(link, text))

    def undeliverable(self, frame: Frame, reason: int) -> None:
        self.origin.undeliverable(frame, reason)

    def credit_lost(self, intake: Intake) -> None:
        """A link has ended that was to tell its limit."""
        assert isinstance(intake, InFlow)
        self.receiving.send_credit(intake)

    def published(self, endpoint: bytes) -> int:
        flow = self.origin.publisher.flows.get(endpoint)
        return -1 if flow is None else flow.sent

    def close_batches(self) -> None:
        self.origin.publisher.close_batches()
        self.forwarder.close_batches()

    def count(self, name: str) -> None:
        counters = self.origin.counters if name in self.origin.counters else self.forwarder.counters
        counters[name] += 1

    def meaning_of(self, link: LinkFace, frame: Frame, route: "RoutingHeader | None") -> object:
        peer = link.peer
        assert peer is not None
        if frame.kind == codes.PUBLISH:
            return self._meaning_of_broadcast(link, talk(peer), frame, route)
        assert route is not None
        source = route.source or peer.key
        if source != peer.key and not self.me.leaf and not tells_of(self.mesh, link, source):
            return None
        if not frame.destination or frame.destination == self.me.key:
            origin = self.routes.find(source)
            return None if origin is None else talk(origin).in_flows.get(frame.endpoint)
        to = self.routes.peers.get(frame.destination[: codes.ID_SIZE])
        if to is None or to.key != frame.destination or to.hop is None or not route.hops:
            return None
        if source == self.me.key or not self.forwarder.may_pass(link, to):
            return None
        leaf = self.forwarder.leaf_realm(to.key)
        origin = self.routes.find(source)
        if leaf and (origin is None or not is_near(self.mesh, link, origin, route.realm, leaf)):
            return None  # each is looked at
        if self.mesh.fabric:
            show(self.mesh, to.hop, source)
        if not introduce(self.mesh, to.hop, source):
            return None
        return Path(to, to.hop, frame, RoutingHeader(source, max(route.realm, link.realm), route.hops - 1))

    def _meaning_of_broadcast(
        self, link: LinkFace, peer: Correspondent, frame: Frame, route: "RoutingHeader | None"
    ) -> object:
        """One whose root is not its source is looked at each time: who names it has to be believed."""
        source: "Peer | None" = peer
        if route is not None and route.source and route.source != peer.key:
            source = self.routes.find(route.source)
        if source is None or source is self.me or frame.destination:
            return None
        if not self.me.leaf and is_leaf(link) and self.origin.leaf_casts.patterns_of(link, frame.endpoint):
            return None
        if frame.endpoint in self.receiving.endpoints:
            return talk(source).in_flows.get(frame.endpoint)
        return None if self.me.leaf else self.forwarder.branch(link, source, frame, route)

    def frame_came(self, link: LinkFace, frame: Frame, now: int) -> None:
        """On its way to another node, to the receiver side what is for our endpoints, to the sender side what
        answers us.
        """
        peer = link.peer
        assert isinstance(peer, Correspondent)
        route = frame.route
        source = peer.key if route is None else route.source or peer.key
        kind = frame.kind
        if source != peer.key and is_leaf(link):
            raise Refusal(codes.MALFORMED, "a leaf sent a message of another node")
        if frame.destination and frame.destination != self.me.key and kind != codes.PUBLISH:
            self.forwarder.pass_on(link, source, frame, now)
            return
        if source == self.me.key:
            self.forwarder.counters["misrouted"] += 1
            return  # ours, come back
        if source != peer.key:
            if not self._is_of(link, source, frame, now):
                self.forwarder.counters["unbelieved"] += 1
                return
            peer = talk(self.mesh.peer_of(source, now))
        if kind == codes.PUBLISH:
            self._broadcast_came(link, peer, frame, now)
        elif kind <= codes.REQUEST:
            self.receiving.arrive(link, peer, frame, now)
        elif kind < codes.SIGNAL or frame.signal in _ANSWERS:
            if kind < codes.SIGNAL or _is_within(peer, frame, max(link.realm, frame.realm())):
                self.origin.answers.came(peer, frame, now, link)
        elif frame.signal in _OF_ORIGIN:
            self.receiving.signal_came(link, peer, frame, now)
        else:
            self._signal_came(link, peer, frame, now)

    def _is_of(self, link: LinkFace, source: bytes, frame: Frame, now: int) -> bool:
        """Whether a message that another node has passed on is of that source. A flow may stay on its link
        though a nearer way has come (flows.py), so what goes on as it has begun is believed, too.
        """
        if frame.kind == codes.PUBLISH and not frame.destination:
            return True  # its tree tells (root_of)
        if believes(self.mesh, link, source, frame.realm(), now):
            return True
        peer = self.routes.find(source)
        if peer is None or not may_pass_on(self.mesh, link, source, now):
            return False
        if frame.kind <= codes.REQUEST or frame.signal == codes.PROBE:
            flow = talk(peer).in_flows.get(frame.endpoint)
            return flow is not None and flow.session is link
        if frame.signal == codes.CANCEL:
            request = talk(peer).serving.get(frame.id)
            return request is not None and request.flow.session is link
        pending = self.origin.pending.get(frame.id)
        return pending is not None and pending.peer is peer and pending.link is link

    def frame_given_up(self, link: LinkFace, frame: Frame, now: int) -> None:
        """As if there had been no room for it: who waits for it hears so."""
        peer = link.peer
        assert peer is not None
        self.counters["unfinished"] += 1
        self.mesh.gate.exceeded(link, codes.QUOTA_UNFINISHED)
        source = frame.source() or peer.key
        kind = frame.kind
        if frame.destination and frame.destination != self.me.key and kind != codes.PUBLISH:
            self.forwarder.give_up(link, source, frame, now)
        elif source == self.me.key or (source != peer.key and not self._is_of(link, source, frame, now)):
            return
        elif kind <= codes.REQUEST:
            origin = self.mesh.peer_of(source, now)
            self.receiving.refuse(origin, kind, frame.endpoint, frame.number, frame.id, codes.QUEUE_FULL)
        else:
            frame.kind = codes.ERROR
            frame.code = codes.QUEUE_FULL
            self.origin.answers.came(self.mesh.peer_of(source, now), frame, now, link)

    def _broadcast_came(self, link: LinkFace, source: Correspondent, frame: Frame, now: int) -> None:
        """From the parent of its tree it is passed on and taken, from others it is not."""
        forwarder = self.forwarder
        root = forwarder.root_of(link, source, frame.destination)
        if root is None:
            root = forwarder.former_root_of(link, source, frame.destination, now)
        if root is None:
            forwarder.counters["misrouted"] += 1
            return
        if link.realm > frame.reach() and frame.options is not None and frame.options.reach:
            self.counters["beyond_realm"] += 1  # it has left the realm that it was meant for
            return
        address = frame.endpoint
        uuid = address if len(address) == codes.ID_SIZE else uuid_of(address)
        wanted = uuid in self.receiving.endpoints
        patterns = self.origin.leaf_casts.came(link, frame, now) if not self.me.leaf and is_leaf(link) else []
        meant = wanted or bool(patterns)
        spread = not self.me.leaf and forwarder.spread(link, root, source, frame, meant, now)
        if wanted and (self.receiving.patterns or frame.options is not None):
            wanted = self.receiving.is_meant(frame)
        if wanted:
            self._take_broadcast(link, source, frame, now)
            flow = source.in_flows.get(frame.endpoint)
            goes_on = frame.destination or frame.options is not None or spread or patterns
            if flow is not None and not goes_on:
                flow.ends_here = self.mesh.epoch
        for pattern in patterns:
            self._copy_cast(link, source, frame, pattern, now)

    def _take_broadcast(self, link: LinkFace, source: Correspondent, frame: Frame, now: int) -> None:
        options = frame.options
        if options is not None and options.name and frame.destination:
            self.receiving.follow_root(source, frame)
        if options is not None and options.retain:
            self.receiving.arrive_retained(link, source, frame, now)
        else:
            self.receiving.arrive(link, source, frame, now)

    def _copy_cast(self, link: LinkFace, leaf: Correspondent, frame: Frame, pattern: bytes, now: int) -> None:
        """A pattern gets what a leaf of ours has published."""
        name = self.origin.leaf_casts.name_of(link, uuid_of(frame.endpoint))
        copy = self.origin.leaf_casts.copy(self.me.key, leaf, frame, pattern, name)
        self.forwarder.spread(link, self.me, leaf, copy, True, now)
        if pattern in self.receiving.endpoints:
            self._take_broadcast(link, leaf, copy, now)

    def _signal_came(self, link: LinkFace, peer: Correspondent, frame: Frame, now: int) -> None:
        signal = frame.signal
        if signal == codes.WHO:
            called = "" if frame.options is None else frame.options.name
            self.lookups.who(link, peer, frame.endpoint, max(link.realm, frame.realm()), now, called)
        elif isinstance(frame, HaveFrame):
            name = self.lookups.name_of(peer)
            if signal == codes.HAVE:
                self.lookups.have(link, peer, frame, now)
            elif name in self.lookups.answered_by:
                self.lookups.parts.keep(name, frame, max(link.realm, frame.realm()))
        elif signal == codes.SELECT:
            self.mesh.selects.asked(link, peer, frame, now)
        elif isinstance(frame, SelectedSignal):
            self.mesh.selects.selected(link, peer, frame, now)
        elif signal == codes.TRACE:
            self.forwarder.traced(link, peer.key, frame.id, now)
        elif isinstance(frame, TreeFrame) and peer is link.peer:
            self.forwarder.tree_signal_came(link, frame)
        else:
            link.skipped_frames += 1

    # The host of routing (routing/host.py)

    def name_of(self, uuid: bytes) -> str:
        name_of = self.supplements.name_of
        name = "" if name_of is None else name_of(uuid)
        return name or self.origin.leaf_casts.called(uuid)

    def make_peer(self, node_id: bytes, incarnation: bytes) -> Peer:
        return Correspondent(self.mesh, node_id, incarnation)

    def node_up(self, peer: Peer, now: int) -> None:
        self.departures.returned(peer, now)
        self.emit(events.NodeEvent(events.NODE_UP, peer))
        self.origin.unresolved.settle(codes.INTROSPECTION, now)  # every node has it and none announces it
        self.receiving.credit_again(peer, now)
        self.receiving.returned(now)
        self.origin.may_go_on(peer, now)

    def node_down(self, peer: Peer, unsent: "list[Frame]", now: int) -> None:
        talk(peer).stalled = []
        self.receiving.lose_peer(peer)
        self.receiving.lasts.doubt(peer.key)
        self.origin.lose_peer(peer, unsent, now)

    def node_missing(self, peer: Peer, seen: bool, now: int) -> None:
        if not self.mesh.leaving:
            self.departures.lost(peer, seen, now)

    def node_parted(self, key: bytes, realm: int, now: int) -> bool:
        return self.departures.parted(key, realm, now)

    def way_changed(self, peer: Peer, lost: bool, now: int) -> None:
        if lost:
            self.receiving.credit_again(peer, now)
        for flow in list(talk(peer).out_flows.values()):
            self.origin.resume(flow, now)
        self.receiving.way_changed(peer)
        for inflow in talk(peer).in_flows.values():
            if inflow.endpoint.kind == codes.BROADCAST:
                inflow.session = inflow.short = (
                    None  # its next message is looked at: it comes from the new parent or not
                )
        self.origin.may_go_on(peer, now)
        self.origin.retained.way_changed(peer, now)

    def ways_cost(self, entries: "dict[bytes, Entry]", moved: bool, now: int) -> None:
        self.origin.forget_targets(entries)
        for entry in entries.values() if moved and self.origin.retained.newest else ():
            if entry.kind == codes.BROADCAST:
                self.origin.retained.subscribed(entry, now)  # what may not go farther gets there, or not

    def endpoint_up(self, entry: Entry, known: "Entry | None", now: int) -> None:
        if known is None:
            self.departures.announced(entry)
        if known is None or known.differs(entry):
            self.emit(events.EndpointEvent(events.ENDPOINT_UP, entry, former=known))
        self.origin.announced(entry.peer, entry.uuid, entry.credit, known is None, now)
        if entry.kind == codes.BROADCAST and (known is None or known.version != entry.version):
            self.origin.retained.subscribed(entry, now)  # it may have been closed and be there again
        elif known is not None and known.kind != entry.kind:
            self.origin.retained.withdrawn(entry)
        self.mesh.selections.announced(entry)
        self.origin.unresolved.settle_selectors(now)

    def endpoint_down(self, entry: Entry, now: int) -> None:
        how = events.WITHDRAWN
        if not entry.peer.reachable:
            how = events.SAID_GOODBYE if entry.peer.parted else events.LOST
        self.emit(events.EndpointEvent(events.ENDPOINT_DOWN, entry, how))
        if how == events.LOST and not self.mesh.leaving:
            if entry.traits and not self._may_leave_word(entry):
                entry.traits = without_gone(entry.traits)
            self.departures.keep(entry, now)
        self.origin.retained.withdrawn(entry)
        self.origin.withdrawn(entry.peer, entry.uuid, now)
        self.mesh.selections.withdrawn(entry)
        self.origin.unresolved.settle_selectors(now)  # another one may count now

    def _endpoint_gone(self, entry: Entry, how: int, now: int) -> None:
        """It is known now how an endpoint has gone whose node had disappeared."""
        if how == events.LOST:
            give_last_word(self.receiving, entry, now)
        if self.departures.watched:
            self.emit(events.EndpointEvent(events.ENDPOINT_GONE, entry, how))

    def _may_leave_word(self, entry: Entry) -> bool:
        """Whether a node could have published to its endpoint's name: asked while its link is still known."""
        link = entry.link
        realm = max(codes.LOCALNET, entry.peer.metric >> 14)
        gate = self.mesh.gate
        return link is None or gate.permits(
            link, entry.peer.node_id, codes.MAY_PUBLISH, entry.uuid, entry.name, realm
        )

    def own_entries(self) -> "list[Entry]":
        """The endpoints of this node, but for the built-in one, as others are told of them."""
        entries: "list[Entry]" = []
        for endpoint in self.receiving.endpoints.values():
            if endpoint.uuid != codes.INTROSPECTION:
                entries.append(self.receiving.entry_of(endpoint))
        return entries

    def name_lost(self, uuid: bytes, now: int) -> None:
        self.receiving.yield_name(uuid, now)

    def name_free(self, uuid: bytes, now: int) -> None:
        self.receiving.regain_name(uuid, now)

    def looked_up(self, uuid: bytes, now: int) -> None:
        self.origin.unresolved.looked_up(uuid, now)
        if uuid in self.sought:
            self.emit(events.Event(events.SYNCED))

    def holds(self, uuid: bytes) -> bool:
        return uuid in self.receiving.endpoints

    def wanted(self) -> "list[bytes]":
        waiting = self.origin.unresolved.waiting
        return [uuid_of(address) for address in list(waiting) + list(self.sought) if not is_selector(address)]

    def kept(self) -> "list[bytes]":
        return list(self.origin.retained.values)

    def ask_again(self, now: int) -> None:
        self.origin.unresolved.ask_again(now)
        for address in self.sought:
            self.lookups.ask(address, now)

    def syncing(self, syncing: bool, now: int) -> None:
        if self.departures.watched and self.origin.syncing and not syncing:
            self.emit(events.Event(events.SYNCED))
        self.origin.syncing = syncing
        if not syncing:
            self.origin.unresolved.synced(now)

    def turned_away(self, hop: LinkFace, frame: Frame, reason: int) -> None:
        self.origin.turned_away(hop, frame, reason)

    def answered(self, peer: Peer, answer: Frame, now: int) -> None:
        self.origin.answers.came(peer, answer, now)

    # Time that passes

    def sweep(self, now: int) -> None:
        """Once in a while: what has been idle for long is forgotten."""
        self.origin.sweep(now)
        self.receiving.sweep(now)
        self.routes.sweep(now)
        self.mesh.report_duplicates(now)
        for link in self.connections:
            adverts(link).forget_retracted(now)
            link.exceeded = 0  # it may be told anew
        if self.routes.peers or self.routes.departed or self.receiving.has_flows():
            self.timers.arm(self._sweep, now + codes.SWEEP_MS)

    def _let_go(self, now: int) -> None:
        """At the next turn, for `register` is not told the time: what waited for an endpoint of our own."""
        for uuid in list(self.origin.arrived):
            self.origin.unresolved.settle(uuid, now)

    def arm_sweep(self, now: int) -> None:
        if self._sweep.deadline < 0:
            self.timers.arm(self._sweep, now + codes.SWEEP_MS)


def _is_within(peer: Correspondent, frame: Frame, realm: int) -> bool:
    """Whether a signal about a message of ours has crossed no realm that its endpoint is not in. One with an
    id belongs to a request, whose answers need no such check.
    """
    entry = peer.entries.get(uuid_of(frame.endpoint)) if frame.endpoint else None
    return entry is None or entry.realm >= realm
