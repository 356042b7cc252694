"""The nodes within reach, as links, routes and directory lines come and go: which peer is there, over which
link, with which endpoints.

Between the rules (routing.py), the bytes (advertising.py) and the conversation (origin.py, desk.py). Knows no
frame.
"""

from busway.protocol import events
from busway.protocol.errors import Refusal
from busway.protocol.link.lanes import is_express
from busway.protocol.routing.advertising import adverts
from busway.protocol.routing.directory import Entry, conflict
from busway.protocol.routing.lines import Lines
from busway.protocol.routing.peers import Peer
from busway.protocol.routing.router import Neighbour, Route, Router
from busway.protocol.timers import Timer
from busway.protocol.wire import codes
from busway.protocol.wire.hello import Hello
from busway.protocol.wire.messages import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.face import LinkFace
    from busway.protocol.node import Node


class DuplicateTimer(Timer):
    """Ends the older of two links if the dialler has not done it."""

    __slots__ = ("connection", "mesh")

    def __init__(self, mesh: "Mesh", connection: "LinkFace") -> None:
        self.deadline = -1
        self.mesh = mesh
        self.connection = connection

    def fire(self, now: int) -> None:
        old = self.connection
        peer = adverts(old).peer
        assert peer is not None
        for other in peer.connections:
            if other is not old and other.state == codes.OPEN and other.via == old.via:
                old.close(now, codes.REPLACED, "a newer session took over", drain=False)


class Mesh:
    """Who can be reached, and what they have."""

    def __init__(self, node: "Node", transit: "bool | None") -> None:
        self.node = node
        self.me = node.me
        self.leaf = node.leaf
        self.transit = transit  # None: once there are links of two media (rule 8)
        self.router = Router(node.me.key, node.timers, self._changed, self._touched, self._forgotten)
        self.router.transit = transit is True
        self.router.me.owner = node.me
        self.lines = Lines(self)
        node.me.route = self.router.me
        self.counters = {"narrow_entry": 0, "links_opened": 0, "links_refused": 0, "links_lost": 0}
        self.uplink: "LinkFace | None" = None  # of a leaf: where everything goes
        self._incarnations: "dict[bytes, dict[Route, bool]]" = {}  # the routes with a way, by node id
        self._goodbye: "Peer | None" = None  # it has just said that it leaves
        self._stub = transit is not True  # this node passes nothing on, and says so
        self._doubles: "dict[bytes, int]" = {}  # node ids of which there are two: since when, -1 if reported
        self._unsent: "dict[bytes, list[Frame]]" = {}  # what a link that ends has left, by destination

    # Links

    def link_opened(self, connection: "LinkFace", hello: Hello, now: int) -> None:
        """A handshake is over: the link joins its peer's others, or takes their place."""
        node = self.node
        self.counters["links_opened"] += 1
        connection.number = self.counters["links_opened"]
        node.arm_sweep(now)  # also for a node that only receives
        former = node.routes.peers.get(hello.node_id)
        if former is not None and former.incarnation != hello.incarnation:
            for old in list(former.connections):
                old.fail(codes.REPLACED, "a newer incarnation of this node took over", now)
        peer = self._peer(hello.node_id + hello.incarnation)
        self.learn(peer, hello.label, hello.leaf)
        connection.peer = peer
        connection.intakes = peer.in_flows
        self._resolve_duplicate(peer, connection, hello.dialled, now)
        peer.connections.append(connection)
        node.link_joined(connection)
        self._take_up(peer, now)
        self._open_session(connection, peer, now)
        self._follow_transit()

    def _open_session(self, connection: "LinkFace", peer: Peer, now: int) -> None:
        advertiser = adverts(connection)
        if self.leaf or peer.leaf:
            advertiser.open(peer, 3)
        else:
            advertiser.open(peer, 1)
        neighbour = advertiser.neighbour
        if self.leaf:
            self.uplink = self._best_uplink()
            neighbour.children[self.router.me] = [1, 0, 0, 0]  # a leaf tells its lines without being asked
            advertiser.note_lines(self.router.me)
            self.node.origin.homeless.ask_again(now)
            self.node.lookups.watch_all()
        else:
            route = self.router.route(peer.key)
            route.owner = peer
            peer.route = route
            self.router.open(neighbour, peer.key, now)
            self._follow_lookups()
            if connection.lookups and not peer.leaf:
                self.node.lookups.met(peer, now)
            for entry in peer.entries.values():
                if peer.leaf and entry.kind == codes.BROADCAST:
                    self.node.forwarder.subscribed(entry.uuid)
            if self._stub:
                advertiser.note_stub(True)
        connection.touch()

    def _best_uplink(self) -> "LinkFace | None":
        best: "LinkFace | None" = None
        for connection in self.node.connections:
            if connection.state == codes.OPEN and (best is None or connection.distance() < best.distance()):
                best = connection
        return best

    def _follow_transit(self) -> None:
        """Rule 8: a program that has links of two media joins what would otherwise be apart."""
        if self.transit is None and not self.leaf:
            media = {
                neighbour.link.link.medium: True for neighbour in self.router.neighbours if not neighbour.leaf
            }
            self.router.set_transit(len(media) > 1)
        stub = not self.router.transit
        for neighbour in self.router.neighbours:
            if neighbour.leaf:
                stub = False
        if stub != self._stub and not self.leaf:
            self._stub = stub
            for neighbour in self.router.neighbours:
                if not neighbour.leaf:
                    adverts(neighbour.link).note_stub(stub)

    def _follow_lookups(self) -> None:
        """A router with a slow link is asked for what is behind it (section 4.3)."""
        wanted = False
        for neighbour in self.router.neighbours:
            if neighbour.slow and not neighbour.leaf:
                wanted = True
        line = self.me.lines[codes.GLOBAL]
        if wanted != (codes.LOOKUP in line.entries):
            self.lines.put_own(Entry(self.me, codes.LOOKUP, codes.ANYCAST if wanted else 0, codes.GLOBAL))

    def _resolve_duplicate(self, peer: Peer, connection: "LinkFace", peer_dialled: bool, now: int) -> None:
        """Section 3.5: of two links over one address one stays."""
        for old in list(peer.connections):
            if old.via != connection.via or old.state != codes.OPEN:
                continue
            if old.link.dialled == connection.link.dialled:
                connection.waits_for = old
                if connection.link.dialled:
                    old.close(now, codes.REPLACED, "a newer session took over", drain=False)
                else:
                    self.node.timers.arm(DuplicateTimer(self, old), now + codes.CLOSING_MS)
            elif connection.link.dialled == (self.me.node_id < peer.node_id):
                connection.waits_for = old
                old.close(now, codes.DUPLICATE_LINK, "another link to this node stays", drain=False)
            else:
                old.waits_for = connection
                connection.close(now, codes.DUPLICATE_LINK, "another link to this node stays", drain=False)

    def count_syncing(self, now: int) -> None:
        syncing = 0
        for connection in self.node.connections:
            if not connection.synced and not connection.waits_for_peer:
                syncing += 1
        self.node.origin.syncing = syncing
        if not syncing:
            self.node.origin.homeless.synced(now)

    def link_closed(self, connection: "LinkFace", opened: bool, by_peer: bool, now: int) -> None:
        """A link ended: what it had not written goes another way, or its senders hear of it."""
        node = self.node
        node.forwarder.epoch += 1
        self.counters["links_lost" if opened else "links_refused"] += 1
        node.link_ended(connection, by_peer)
        peer = adverts(connection).peer
        if peer is not None:
            self._leave_link(peer, connection, now)
        connection.resume_broadcasts(now)
        for other in list(node.connections):
            if other.waits_for is connection:
                other.catch_up(now)
        self.count_syncing(now)

    def _leave_link(self, peer: Peer, connection: "LinkFace", now: int) -> None:
        node = self.node
        transit: "list[Frame]" = []
        broadcasts: "list[Frame]" = []
        for out in connection.leftovers():
            if out.route is not None:
                transit.append(out)
            elif not out.destination:
                broadcasts.append(out)
            else:
                self._unsent.setdefault(out.destination, []).append(out)
        credits = connection.credits()
        peer.connections.remove(connection)
        if self.leaf:
            self._lose_uplink(connection, now)
        else:
            self._goodbye = peer if connection.close_code == codes.GOODBYE else None
            self.router.close(adverts(connection).neighbour, now)
            self._goodbye = None
            self._follow_transit()
            self._follow_lookups()
        self._reconsider(peer, now)
        for intake in credits:
            node.credit_lost(intake)
        self._move_unsent()
        for waiter in connection.waiters():  # replies, too
            waiter.resume(now)
        if peer.hop is not None and peer.hop in peer.connections:
            for out in broadcasts:
                peer.hop.enqueue_broadcast(out)
            for out in connection.backlogged():
                peer.hop.broadcast(out)
        for out in transit:
            node.forwarder.again(out, now)

    def cost_changed(self, connection: "LinkFace", now: int) -> None:
        """A link costs something else now."""
        if not self.leaf:
            self.router.set_cost(adverts(connection).neighbour, connection.cost, now)
        peer = adverts(connection).peer
        assert peer is not None
        self._reconsider(peer, now)

    def _lose_uplink(self, connection: "LinkFace", now: int) -> None:
        self.uplink = self._best_uplink()
        for peer in list(self.node.routes.peers.values()):
            if peer.hop is connection:
                self._reconsider(peer, now)

    def _move_unsent(self) -> None:
        """What was meant for nodes that can still be reached takes their new way."""
        unsent = self._unsent
        self._unsent = {}
        for outs in unsent.values():
            self._move(outs)

    def _move(self, outs: "list[Frame]") -> None:
        for out in outs:
            peer = self.node.routes.find(out.destination)
            hop = None if peer is None else peer.hop
            if hop is None:
                if peer is None or not self.node.forwarder.detain(out, peer):
                    self.node.origin.undeliverable(out, codes.NO_ROUTE)
            elif is_express(out):
                hop.answer(out)
            elif len(out.payload) > hop.limits.message_size_max:
                self.node.origin.too_large(hop, out)
            else:
                hop.enqueue(out)

    # Nodes

    def _peer(self, key: bytes) -> Peer:
        """The record of a node, made if it is new."""
        peer = self.node.routes.find(key)
        if peer is None:
            peer = Peer(key[: codes.ID_SIZE], key[codes.ID_SIZE :], "", False)
        return peer

    def learn(self, peer: Peer, label: str, leaf: bool) -> None:
        """A node's HELLO, or a line of its, says who it is. The way to it may have been known before."""
        if peer.label == label and peer.leaf == leaf:
            return
        peer.label = label
        peer.leaf = leaf
        if peer.mesh is not None:
            self.node.emit(events.NodeEvent(events.NODE_CHANGED, peer))
            self.lines.relabelled(peer)

    def peer_of(self, key: bytes, now: int) -> Peer:
        """The node that a message names. One that cannot be reached is remembered for a while; a leaf reaches
        everyone through its router.
        """
        peer = self._peer(key)
        if self.leaf and peer.mesh is None and self._best_hop(peer) is not None:
            if len(self.node.routes.peers) >= codes.ROUTES_MAX:
                self._forget_one(now)
            self._take_up(peer, now)
        elif self.node.routes.find(key) is None:  # also what comes to a leaf over a link that is closing
            peer.left = now
            self.node.routes.remember(peer)
        return peer

    def _forget_one(self, now: int) -> None:
        """Make room in a leaf, which is not told of the end of nodes whose numbers were given to others."""
        for peer in self.node.routes.peers.values():
            if not peer.connections and not peer.out_flows and not peer.serving:
                self._lose(peer, now)
                return
        raise Refusal(codes.TOO_MANY, "more than 16384 nodes")

    def peer_on(self, route: Route) -> "Peer | None":
        """The node that a route leads to, unless another incarnation of it counts."""
        owner = route.owner
        assert owner is None or isinstance(owner, Peer)
        return owner

    def _best_hop(self, peer: Peer) -> "LinkFace | None":
        route = peer.route
        if self.leaf:
            return peer.direct() or self.uplink
        if route is None or route.via is None:
            return peer.direct()
        via = route.via.link
        hop = peer.direct()
        if hop is not None and hop.state == codes.CLOSING and hop is peer.hop:
            return hop
        assert via is not None
        found: "LinkFace" = via
        return found

    def _take_up(self, peer: Peer, now: int) -> None:
        """A node can be reached, or over another link, or its way costs something else."""
        node = self.node
        hop = self._best_hop(peer)
        assert hop is not None
        route = peer.route
        metric = hop.distance() if route is None or route.distance < 0 else route.distance & 0xFFFF
        news = metric != peer.metric
        narrower = metric >> 14 < peer.metric >> 14
        peer.metric = metric
        node.timers.disarm(peer)
        if peer.mesh is None:
            peer.mesh = self
            peer.hop = hop
            self._replace(peer, now)
            node.emit(events.NodeEvent(events.NODE_UP, peer))
            node.origin.homeless.settle(codes.INTROSPECTION, now)  # every node has it and none announces it
            node.desk.credit_again(peer, now)
        elif hop is not peer.hop:
            lost = peer.hop is None
            peer.hop = hop
            if lost:
                node.desk.credit_again(peer, now)
            self._move(node.forwarder.take_detained(peer, now))
            self._change_hop(peer, now)
        if peer.stalled:
            stalled = peer.stalled
            peer.stalled = []
            for flow in stalled:
                node.origin.resume(flow, now)
        if news:
            self.lines.drop_lines(peer, metric >> 14, now)
            if narrower:
                self.lines.say_again(peer)  # lines that came too early were not taken
            for uuid in peer.entries:  # what they cost depends on the way
                node.origin.forget_target(uuid)

    def _replace(self, peer: Peer, now: int) -> None:
        """Of two incarnations of one node the one that appears last counts."""
        former = self.node.routes.peers.get(peer.node_id)
        self.node.routes.arrive(peer)
        if former is not None:
            if former.route is not None:
                former.route.owner = None
            self._lose(former, now)

    def _change_hop(self, peer: Peer, now: int) -> None:
        """The flows stay on their link as long as that leads to the node (flows.py); what waits may go on,
        behind what the former link has left.
        """
        self._loosen(peer)
        self._move(self._unsent.pop(peer.key, []))
        for flow in list(peer.out_flows.values()):
            self.node.origin.resume(flow, now)
        for inflow in peer.in_flows.values():
            if inflow.endpoint.kind == codes.BROADCAST:
                inflow.session = None  # its next message is looked at: it comes from the new parent or not
        self.node.forwarder.epoch += 1

    def _loosen(self, peer: Peer) -> None:
        """No flow stays on a link that does not lead to the node any more."""
        for flow in peer.out_flows.values():
            link = flow.hop
            if link is not None and link is not peer.hop and link not in peer.connections:
                if not self._leads(link, peer.route):
                    flow.hop = None

    def _leads(self, link: "LinkFace", route: "Route | None") -> bool:
        if self.leaf:
            return link is self.uplink
        return route is not None and adverts(link).neighbour in route.offers

    def _reconsider(self, peer: Peer, now: int) -> None:
        """A link or way of a node is gone: another one, or hope for one, or none."""
        if peer.mesh is None:
            return
        hop = self._best_hop(peer)
        if hop is not None:
            self._take_up(peer, now)
            return
        if peer.hop is not None:
            peer.hop = None
            for flow in peer.out_flows.values():
                flow.hop = None
        if peer.deadline < 0:
            peer.patient = peer is not self._goodbye and self._is_anyone_looking(peer)
        if not peer.patient and (peer.route is None or not peer.route.offers):
            self._lose(peer, now)
        elif peer.deadline < 0:
            self.node.timers.arm(peer, now + codes.STARVE_MS)

    def _is_anyone_looking(self, peer: Peer) -> bool:
        """A neighbour that came through us may find another way and then offer it."""
        for neighbour in self.router.neighbours:
            if peer.route in neighbour.children:
                return True
        return False

    def give_up(self, peer: Peer, now: int) -> None:
        """No other way was found in time."""
        if peer.hop is None:
            self._lose(peer, now)

    def node_gone(self, key: bytes, now: int) -> None:
        """A leaf's router says that a node cannot be reached any more."""
        peer = self.node.routes.find(key)
        if peer is not None and peer.mesh is not None and not peer.connections:
            self._lose(peer, now)

    def _lose(self, peer: Peer, now: int) -> None:
        """A node is gone, with all its endpoints."""
        node = self.node
        node.timers.disarm(peer)
        peer.mesh = None
        peer.hop = None
        peer.stalled = []
        node.routes.depart(peer, now)
        self.lines.drop_lines(peer, codes.GLOBAL + 1, now)
        for uuid in list(peer.entries):  # a leaf's: it has looked them up
            self.entry_withdrawn(peer, uuid, now)
        node.desk.lose_peer(peer)
        unsent = node.forwarder.take_detained(peer, now) + self._unsent.pop(peer.key, [])
        node.origin.lose_peer(peer, unsent, now)
        node.forwarder.source_lost(peer)
        node.lookups.peer_lost(peer, now)
        for connection in node.connections:
            if connection.peer is not None and connection.peer.leaf:
                adverts(connection).note_gone(peer.key)
        node.emit(events.NodeEvent(events.NODE_DOWN, peer))
        self._bring_up_other(peer.node_id, now)

    def _bring_up_other(self, node_id: bytes, now: int) -> None:
        """Another incarnation may have been there all the time."""
        if node_id in self.node.routes.peers:
            return
        for route in self._incarnations.get(node_id, {}):
            self._appear(route, now)
            return

    # The router's news

    def _touched(self, neighbour: Neighbour) -> None:
        neighbour.link.touch()

    def _forgotten(self, route: Route) -> None:
        peer = self.peer_on(route)
        if peer is not None and peer.route is route:
            peer.route = None

    def _changed(self, route: Route, now: int) -> None:
        came = self._index(route)
        peer = self.peer_on(route)
        if route.via is None:
            if peer is not None:
                self._reconsider(peer, now)
        elif peer is not None and peer.mesh is not None:
            self._take_up(peer, now)
            self._loosen(peer)
        elif came or route.key[: codes.ID_SIZE] not in self.node.routes.peers:
            self._appear(route, now)

    def _index(self, route: Route) -> bool:
        """Keep the list of each node's incarnations; True if this one has just come into reach."""
        node_id = route.key[: codes.ID_SIZE]
        routes = self._incarnations.setdefault(node_id, {})
        came = route.via is not None and route not in routes
        if came:
            routes[route] = True
        elif route.via is None:
            routes.pop(route, None)
        if not routes:
            del self._incarnations[node_id]
        return came

    def _appear(self, route: Route, now: int) -> None:
        """There is a way to a node that could not be reached. Our own id is a former life of ours, or a copy
        of it.
        """
        node_id = route.key[: codes.ID_SIZE]
        other = self.node.routes.peers.get(node_id)
        if node_id == self.me.node_id:
            return
        if other is not None and other.connections and other.key != route.key:
            return  # that one is a neighbour: it is certainly there
        peer = self._peer(route.key)
        peer.route = route
        route.owner = peer
        self._take_up(peer, now)
        self.lines.say_again(peer)  # what was told while the other one counted was not taken

    def report_duplicates(self, now: int) -> None:
        """Two live incarnations of one node id (rule 6)."""
        doubles = self._doubles
        self._doubles = {}
        for node_id, routes in self._incarnations.items():
            if len(routes) + (1 if node_id == self.me.node_id else 0) > 1:
                since = self._doubles[node_id] = doubles.get(node_id, now)
                if since >= 0 and now - since >= codes.DUPLICATE_MS:
                    self._doubles[node_id] = -1  # told once
                    self.node.emit(events.DuplicateNodeEvent(node_id))

    def adopted(self, connection: "LinkFace", route: Route, now: int) -> None:
        """A neighbour reaches a source through us: it gets its lines, and its broadcasts. Those that wait on
        another link to it come here, or they would be overtaken.
        """
        peer = self.peer_on(route)
        child = adverts(connection).peer
        assert child is not None
        for other in child.connections:
            if peer is not None and other is not connection:
                for out in other.take_broadcasts(b"" if peer is self.me else peer.key):
                    connection.enqueue_broadcast(out)
        adverts(connection).note_lines(route)
        connection.touch()
        self.node.forwarder.child_came(connection, route)

    # Endpoints of others

    def entry_announced(self, entry: Entry, now: int) -> None:
        """Another node has an endpoint; where it conflicts with one of ours, the smaller node id keeps the
        name.
        """
        node = self.node
        mine = node.desk.endpoints.get(entry.uuid)
        known = entry.peer.entries.get(entry.uuid)
        node.directory.add(entry)
        if mine is not None and mine.realm != codes.PROCESS and conflict(mine.kind, entry.kind):
            if entry.peer.node_id < self.me.node_id:
                node.desk.yield_name(entry.uuid, now)
        if (
            known is None
            or known.kind != entry.kind
            or known.realm != entry.realm
            or known.cost != entry.cost
            or known.name != entry.name
        ):
            node.emit(events.EndpointEvent(events.ENDPOINT_UP, entry))
        node.origin.announced(entry.peer, entry.uuid, entry.credit, known is None, now)
        if entry.kind == codes.BROADCAST and (known is None or entry.peer.leaf):
            node.forwarder.subscribed(entry.uuid)  # a leaf may have come here with what was known already
        node.lookups.changed(entry.uuid, now)
        if entry.uuid == codes.LOOKUP and known is None:
            node.lookups.met(entry.peer, now)

    def entry_withdrawn(self, peer: Peer, uuid: bytes, now: int) -> None:
        entry = self.node.directory.remove(peer, uuid)
        if entry is not None:
            self.node.emit(events.EndpointEvent(events.ENDPOINT_DOWN, entry))
            self.node.origin.withdrawn(peer, uuid, now)
            self.node.forwarder.epoch += 1
            self.node.lookups.changed(uuid, now)
