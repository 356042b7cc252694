"""The nodes within reach, as links, routes and directory lines come and go: which peer is there, over which
link, with which endpoints.

Between the rules (router.py), the bytes (advertising.py) and the host's conversations. Knows no frame.
"""

from busway.protocol.errors import Refusal
from busway.protocol.link.queue import is_express
from busway.protocol.outcomes import NODE_CHANGED, NODE_DOWN
from busway.protocol.routing.advertising import adverts
from busway.protocol.routing.belief import note_nearer
from busway.protocol.routing.children import Child
from busway.protocol.routing.events import DuplicateNodeEvent, NodeEvent
from busway.protocol.routing.fabric import GatewayLookups
from busway.protocol.routing.forwarding import Forwarder
from busway.protocol.routing.host import RoutingHost
from busway.protocol.routing.lines import Lines
from busway.protocol.routing.names import Names
from busway.protocol.routing.pattern_lookups import PatternLookups
from busway.protocol.routing.peers import Entry, Peer, nearest
from busway.protocol.routing.router import Neighbour, Route, Router
from busway.protocol.routing.selections import Selections
from busway.protocol.routing.selects import Selects
from busway.protocol.routing.topology import Topology
from busway.protocol.timers import Timers
from busway.protocol.wire import codes
from busway.protocol.wire.hello import Hello
from busway.protocol.wire.messages import Frame, has_things

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Sequence

    from busway.protocol.link.face import LinkFace

_NO_BOUND: "Final" = 0x7FFFFFFF


class Mesh(Topology):
    """The nodes within reach, and what they have, with all that happens to them."""

    def __init__(
        self,
        host: RoutingHost,
        me: Peer,
        timers: Timers,
        connections: "Sequence[LinkFace]",
        transit: "bool | None",
    ) -> None:
        super().__init__(host, me, timers, connections)
        self.transit = transit  # None: once there are links of two media (rule 8)
        self.router = Router(me.key, timers, self.route_changed, self.route_touched, self.route_forgotten)
        self.router.transit = transit is True
        self.router.me.owner = me
        me.route = self.router.me
        self.lines = Lines(self)
        self.forwarder = Forwarder(self)
        self.names = Names(self)
        self.selections = Selections(self, host)
        self.lookups = GatewayLookups(self, self.names)
        self.lookups.patterns = PatternLookups(self, self.lookups)
        self.selects = Selects(self, self.lookups, self.selections)
        self._incarnations: "dict[bytes, dict[Route, bool]]" = {}  # the routes with a way, by node id
        self._goodbye: "Peer | None" = None  # it has just said that it leaves
        self._media: "dict[str, int]" = {}  # of the links with routers: how many
        self._leaves = 0  # links with leaves
        self._slow = 0  # links with routers that have lookups
        self._waiting: "dict[LinkFace, list[LinkFace]]" = {}  # links that are read on when another has ended
        self._stub = transit is not True  # this node passes nothing on, and says so
        self._doubles: "dict[bytes, int]" = {}  # node ids of which there are two: since when, ms
        self._reported: "dict[bytes, bool]" = {}  # those of them that have been told
        self._unsent: "dict[bytes, list[Frame]]" = {}  # what a link that ends has left, by destination

    # Links

    def link_opened(self, connection: "LinkFace", hello: Hello, now: int) -> None:
        """A handshake is over: the link joins its peer's others, or takes their place."""
        former = self.routes.peers.get(hello.key[: codes.ID_SIZE])
        if former is not None and former.key != hello.key:
            if former.metric >> 14 < connection.realm:
                connection.opened_at = -1
                connection.fail(codes.REPLACED, "a node nearer than this link has that id, and keeps it", now)
                return
            for old in list(former.connections):
                old.fail(codes.REPLACED, "a newer incarnation of this node took over", now)
        self.epoch += 1
        self.counters["links_opened"] += 1
        connection.number = self.counters["links_opened"]
        self.host.arm_sweep(now)  # also for a node that only receives
        peer = self._peer(hello.key)
        told = peer.reachable and peer.label and peer.metric >> 14 < connection.realm
        if not told:  # by a nearer way
            self.learn(peer, hello.label, hello.leaf, now)
        connection.peer = peer
        self._resolve_duplicate(peer, connection, hello.dialled, now)
        if peer.reachable and not peer.connections:
            note_nearer(self, peer, now)
        peer.connections.append(connection)
        if connection.number == 1 and connection.link.dialled and not self.leaf:
            self.names.joined(now)
        self.names.opened(now)
        self.host.link_joined(connection, peer)
        self._select_next_hop(peer, now)
        self._open_session(connection, peer, hello.leaf, now)
        self._follow_transit()
        self.check_syncing(now)

    def _open_session(self, connection: "LinkFace", peer: Peer, leaf: bool, now: int) -> None:
        advertiser = adverts(connection)
        advertiser.open(peer, leaf, 3 if self.leaf or leaf else 1)
        if self.gate.guard is not None:
            self._bound(connection)
        neighbour = advertiser.neighbour
        if self.leaf:
            self.uplink = self._best_uplink()
            neighbour.children[self.router.me] = Child(
                [0, 0, 0, 0], True
            )  # it tells its lines without being asked
            advertiser.note_lines(self.router.me)
            self.host.ask_again(now)
            self.lookups.watch_all()
        else:
            route = self.router.route(peer.key)
            route.owner = peer
            peer.route = route
            if route.via is not None:  # known before, though another incarnation had its id: it counts now
                self._select_next_hop(peer, now)
                self.lines.say_again(peer)
                self.lines.changed(peer)
            self.router.open(neighbour, peer.key, now)
            self._count_neighbour(neighbour, 1)
            self._follow_lookups()
            if connection.lookups and not leaf:
                self.lookups.met(peer, now)
            for entry in peer.entries.values():
                if leaf and entry.kind == codes.BROADCAST:
                    self.forwarder.subscribed(entry.uuid)
            if self._stub:
                advertiser.note_stub(True)
        connection.touch()

    def _best_uplink(self) -> "LinkFace | None":
        return nearest([connection for connection in self.connections if connection.state == codes.OPEN])

    def _follow_transit(self) -> None:
        """Rule 8: a program that has links of two media joins what would otherwise be apart."""
        if self.transit is None and not self.leaf:
            self.router.set_transit(len(self._media) > 1)
        stub = not (self.router.transit or self._leaves)
        if stub != self._stub and not self.leaf:
            self._stub = stub
            for neighbour in self.router.neighbours:
                if not neighbour.leaf:
                    adverts(neighbour.link).note_stub(stub)

    def _follow_lookups(self) -> None:
        """A router with a slow link, or a gateway, is asked for what is behind it (section 4.3)."""
        wanted = self._slow > 0 or self.fabric
        line = self.me.lines[codes.GLOBAL]
        if wanted != (codes.LOOKUP in line.entries):
            self.lines.put_own(Entry(self.me, codes.LOOKUP, codes.ANYCAST if wanted else 0, codes.GLOBAL))

    def set_fabric(self, fabric: bool, now: int) -> None:
        """Whether this node is a gateway (fabric.py)."""
        self.fabric = fabric
        self._follow_lookups()
        if fabric:
            self.lookups.begin(now)

    def _count_neighbour(self, neighbour: Neighbour, step: int) -> None:
        """A neighbour came (1) or went (-1): of what sort those are that there are."""
        if neighbour.leaf:
            self._leaves += step
            return
        self._slow += step if neighbour.slow else 0
        medium = neighbour.link.link.medium
        count = self._media[medium] = self._media.get(medium, 0) + step
        if not count:
            del self._media[medium]

    def _resolve_duplicate(self, peer: Peer, connection: "LinkFace", peer_dialled: bool, now: int) -> None:
        """Section 3.5: of two links over one address one stays. What `via` says is the other side's word, so
        it is none against a link of another realm.
        """
        for old in list(peer.connections):
            if old.via != connection.via or old.realm != connection.realm or old.state != codes.OPEN:
                continue
            if old.link.dialled == connection.link.dialled:
                self._wait_for(connection, old)
                if connection.link.dialled:
                    old.close(now, codes.REPLACED, "a newer session took over", drain=False)
                else:
                    self._await_end(old, now)
            elif connection.link.dialled == (self.me.node_id < peer.node_id):
                self._wait_for(connection, old)
                old.close(now, codes.DUPLICATE_LINK, "another link to this node stays", drain=False)
            else:
                self._wait_for(old, connection)
                connection.close(now, codes.DUPLICATE_LINK, "another link to this node stays", drain=False)

    def _wait_for(self, connection: "LinkFace", other: "LinkFace") -> None:
        connection.waits_for = other
        self._waiting.setdefault(other, []).append(connection)

    def _await_end(self, old: "LinkFace", now: int) -> None:
        self.timers.call_at(now + codes.CLOSING_MS, lambda at: self._end_older(old, at))

    def _end_older(self, old: "LinkFace", now: int) -> None:
        """The older of two links, if the dialler has not done it."""
        peer = adverts(old).peer
        assert peer is not None
        for other in peer.connections:
            same = other.via == old.via and other.realm == old.realm
            if other is not old and other.state == codes.OPEN and same:
                old.close(now, codes.REPLACED, "a newer session took over", drain=False)

    def link_closed(self, connection: "LinkFace", opened: bool, by_peer: bool, now: int) -> None:
        """A link ended: what it had not written goes another way, or its senders hear of it."""
        self.epoch += 1
        self.counters["links_lost" if opened else "links_refused"] += 1
        self.host.link_ended(connection, by_peer)
        self.fresh.pop(connection, None)
        self.lookups.watchers.pop(connection, None)
        self.gate.ended(connection)
        self.directory.told_max.pop(connection, None)
        peer = adverts(connection).peer
        if peer is not None:
            self._leave_link(peer, connection, by_peer, now)
        connection.resume_broadcasts(now)
        for other in self._waiting.pop(connection, []):
            if other.waits_for is connection:
                other.catch_up(now)
        self.check_syncing(now)

    def _leave_link(self, peer: Peer, connection: "LinkFace", by_peer: bool, now: int) -> None:
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
            route = self._note_end(peer, connection, by_peer, now)
            self.router.close(adverts(connection).neighbour, now)
            if route.via is not None:
                self.router.goodbyes.has_way(route, False)
            self._count_neighbour(adverts(connection).neighbour, -1)
            self._goodbye = None
            self._follow_transit()
            self._follow_lookups()
        self._reconsider(peer, now)
        for intake in credits:
            self.host.credit_lost(intake)
        unsent = self._unsent
        self._unsent = {}
        for outs in unsent.values():  # for nodes that can still be reached
            self._move(outs)
        for waiter in connection.waiters():  # replies, too
            waiter.resume(now)
        if peer.hop is not None and peer.hop in peer.connections:
            for out in broadcasts:
                if peer.hop.realm > out.reach():
                    continue
                if has_things(out):
                    peer.hop.broadcast(out)  # which looks whether it takes them
                else:
                    peer.hop.enqueue_broadcast(out)
            for out in connection.backlogged():
                if peer.hop.realm <= out.reach():
                    peer.hop.broadcast(out)
        for out in transit:
            self.forwarder.again(out, now)

    def _note_end(self, peer: Peer, connection: "LinkFace", by_peer: bool, now: int) -> Route:
        """Note whether the node at the other end of a link has said goodbye with its end, or is lost with it,
        unless another way leads there. Returns its route.
        """
        route = adverts(connection).neighbour.route
        assert route is not None
        if by_peer and connection.close_code == codes.GOODBYE:
            self.router.part(route, now)
        elif not peer.connections:
            self.router.goodbyes.see_lost(route, now)
        return route

    def cost_changed(self, connection: "LinkFace", now: int) -> None:
        """A link costs something else now."""
        if not self.leaf:
            self.router.set_cost(adverts(connection).neighbour, connection.cost, now)
        peer = adverts(connection).peer
        assert peer is not None
        self._reconsider(peer, now)

    def _lose_uplink(self, connection: "LinkFace", now: int) -> None:
        self.uplink = self._best_uplink()
        for peer in list(self.routes.peers.values()):
            if peer.hop is connection:
                self._reconsider(peer, now)

    def _move(self, outs: "list[Frame]") -> None:
        """Messages of ours take their new way."""
        for out in outs:
            peer = self.routes.find(out.destination)
            hop = None if peer is None else peer.hop
            if hop is None:
                if peer is None or not self.forwarder.hold(out, peer):
                    self.host.undeliverable(out, codes.NO_ROUTE)
            elif is_express(out):
                hop.answer(out)
            elif len(out.payload) > hop.limits.message_size_max:
                self.host.turned_away(hop, out, codes.MESSAGE_TOO_LARGE)
            elif has_things(out) and not hop.aside_on:
                self.host.turned_away(hop, out, codes.NO_FILES)
            else:
                hop.enqueue(out)

    # Nodes

    def _peer(self, key: bytes) -> Peer:
        """The record of a node, made if it is new."""
        peer = self.routes.find(key)
        if peer is None:
            peer = self.host.make_peer(key[: codes.ID_SIZE], key[codes.ID_SIZE :])
        return peer

    def learn(self, peer: Peer, label: str, leaf: bool, now: int) -> None:
        """A node's HELLO, or a line of its, says who it is. The way to it may have been known before."""
        if peer.label == label and peer.leaf == leaf:
            return
        peer.label = label
        peer.leaf = leaf
        if peer.reachable:
            self.host.emit(NodeEvent(NODE_CHANGED, peer))
            self.lines.relabelled(peer, now)

    def peer_of(self, key: bytes, now: int) -> Peer:
        """The node that a message names. One that cannot be reached is remembered for a while; a leaf reaches
        everyone through its router.
        """
        peer = self._peer(key)
        if self.leaf and not peer.reachable and self._best_hop(peer) is not None:
            if len(self.routes.peers) >= codes.ROUTES_MAX:
                self._forget_one(now)
            self._select_next_hop(peer, now)
        elif self.routes.find(key) is None:  # also what comes to a leaf over a link that is closing
            peer.left = now
            self.routes.remember(peer)
        return peer

    def _forget_one(self, now: int) -> None:
        """Make room in a leaf, which is not told of the end of nodes whose numbers were given to others."""
        for peer in self.routes.peers.values():
            if not peer.connections and not peer.is_needed():
                self._lose(peer, now)
                return
        raise Refusal(codes.TOO_MANY, "more than 16384 nodes")

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

    def _select_next_hop(self, peer: Peer, now: int) -> None:
        """A node can be reached, or over another link, or its way costs something else."""
        hop = self._best_hop(peer)
        assert hop is not None
        route = peer.route
        metric = hop.distance() if route is None or route.distance < 0 else route.distance & 0xFFFF
        news = metric != peer.metric
        changed = news or hop is not peer.hop
        narrower = metric >> 14 < peer.metric >> 14
        moved = metric >> 14 != peer.metric >> 14
        if narrower and peer.reachable:
            note_nearer(self, peer, now)
        peer.metric = metric
        self.timers.disarm(peer)
        if not peer.reachable:
            peer.reachable = True
            peer.hop = hop
            self._replace(peer, now)
            self.host.node_up(peer, now)
        elif hop is not peer.hop:
            lost = peer.hop is None
            peer.hop = hop
            self._move(self.forwarder.take_held(peer, now))
            self._change_hop(peer, lost, now)
            self.lines.say_anew(peer, now)
            self.lines.doubt(peer, now)
            if self.gate.guard is not None or self.gate.changes:
                self._judge_way(peer, now)
        elif moved and self.gate.guard is not None:
            self._judge_way(peer, now)
        if news:
            self.lines.drop_lines(peer, metric >> 14, now)
            if narrower:
                self.lines.say_again(peer)  # lines that came too early were not taken
            self.host.ways_cost(peer.entries, moved, now)
        if changed:
            self.lookups.reconsider(peer, now)
            self.lookups.patterns.way_changed(peer, now)

    def _replace(self, peer: Peer, now: int) -> None:
        """Of two incarnations of one node the one that a session was opened with last counts."""
        former = self.routes.peers.get(peer.node_id)
        self.routes.arrive(peer)
        if former is not None:
            if former.route is not None:
                former.route.owner = None
            self._lose(former, now, former.route is not None and self._said_goodbye(former.route, now))

    def _said_goodbye(self, route: Route, now: int) -> bool:
        """Whether a source that is gone for certain had said goodbye, though some still offer a way to it."""
        return self.router.goodbyes.count(route, now)

    def _change_hop(self, peer: Peer, lost: bool, now: int) -> None:
        """The flows stay on their link as long as that leads to the node (flows.py); what waits may go on,
        behind what the former link has left.
        """
        self._loosen(peer)
        self._move(self._unsent.pop(peer.key, []))
        self.host.way_changed(peer, lost, now)
        self.lookups.patterns.moved(peer, now)
        self.epoch += 1

    def _loosen(self, peer: Peer) -> None:
        """No flow stays on a link that does not lead to the node any more."""
        links: "list[LinkFace | None]" = [peer.hop, self.uplink]
        links += peer.connections
        if peer.route is not None:
            links += [neighbour.link for neighbour in peer.route.offers]
        peer.keep_to(links)

    def _reconsider(self, peer: Peer, now: int) -> None:
        """A link or way of a node is gone: another one, or hope for one, or none."""
        if not peer.reachable:
            return
        hop = self._best_hop(peer)
        if hop is not None:
            self._select_next_hop(peer, now)
            return
        if peer.hop is not None:
            peer.hop = None
            peer.keep_to([])
        if peer.deadline < 0:
            peer.waits = peer is not self._goodbye and self._is_anyone_looking(peer)
        if (not peer.waits and (peer.route is None or not peer.route.offers)) or self._has_parted(peer, now):
            self._lose(peer, now)
        elif peer.deadline < 0:
            self.timers.arm(peer, now + codes.ROUTE_LOSS_GRACE_MS)

    def _has_parted(self, peer: Peer, now: int) -> bool:
        return peer.route is not None and self.router.has_parted(peer.route, now)

    def _is_anyone_looking(self, peer: Peer) -> bool:
        """A neighbour that came through us may find another way and then offer it."""
        return any([peer.route in neighbour.children for neighbour in self.router.neighbours])

    def give_up(self, peer: Peer, now: int) -> None:
        """No other way was found in time."""
        if peer.hop is None:
            self._lose(peer, now)

    def node_gone(self, key: bytes, parted: bool, now: int) -> None:
        """A leaf's router says that a node cannot be reached any more; `parted`: it has said goodbye."""
        peer = self.routes.find(key)
        if peer is not None and peer.reachable and not peer.connections:
            self._lose(peer, now, parted)
        elif parted:
            self.note_farewell(key, codes.PROCESS, now)

    def part(self, route: Route, now: int) -> None:
        """A neighbour says that a source has said goodbye. As far as we know it may have been lost."""
        self.router.part(route, now)
        peer = self.peer_on(route)
        if peer is not None and peer.reachable and route.via is None:
            self._reconsider(peer, now)
        self._note_parted(route, now)

    def _note_parted(self, route: Route, now: int) -> None:
        if self.router.has_parted(route, now):
            self.note_farewell(route.key, codes.PROCESS, now)

    def note_farewell(self, key: bytes, realm: int, now: int) -> None:
        if self.host.node_parted(key, realm, now):
            self._tell_leaves(key, True)

    def _tell_leaves(self, key: bytes, parted: bool) -> None:
        for neighbour in self.router.neighbours:
            if neighbour.leaf:
                adverts(neighbour.link).note_gone(key, parted)

    def _lose(self, peer: Peer, now: int, parted: bool = False) -> None:
        """A node is gone, with all its endpoints; `parted`: it said goodbye, as is known in another way."""
        self.timers.disarm(peer)
        peer.parted = parted or self._has_parted(peer, now)
        peer.reachable = False
        peer.hop = None
        self.routes.depart(peer, now)
        if peer.parted:
            self.host.node_parted(peer.key, codes.PROCESS, now)
        else:
            seen = peer.route is not None and self.router.goodbyes.is_seen_lost(peer.route)
            self.host.node_missing(peer, seen, now)
        self.lines.lost(peer, now)
        self.lookups.doubt(peer)
        for uuid in list(peer.entries):  # a leaf's: it has looked them up
            self.entry_withdrawn(peer, uuid, now)
        unsent = self.forwarder.take_held(peer, now) + self._unsent.pop(peer.key, [])
        self.host.node_down(peer, unsent, now)
        self.forwarder.source_lost(peer)
        self.lookups.peer_lost(peer, now)
        self._tell_leaves(peer.key, peer.parted)
        self.host.emit(NodeEvent(NODE_DOWN, peer))
        self._bring_up_other(peer.node_id, now)

    def _bring_up_other(self, node_id: bytes, now: int) -> None:
        """Another incarnation may have been there all the time."""
        if node_id in self.routes.peers:
            return
        for route in self._incarnations.get(node_id, {}):
            self._appear(route, now)
            return

    # What a guard says

    def guard_changed(self, now: int) -> None:
        """Look again at what others have told, and were told."""
        self.gate.changed()
        for connection in self.connections:
            if connection.opened_at >= 0:
                self._bound(connection)
        for peer in list(self.routes.peers.values()):
            self._judge(peer, now)
        self.lines.look_again()
        self.lookups.look_again(now)

    def _judge(self, peer: Peer, now: int) -> None:
        self.lines.judge(peer, now)
        self.lookups.judge(peer, now)

    def _judge_way(self, peer: Peer, now: int) -> None:
        if self.lines.judge_way(peer, now):
            self.lookups.judge(peer, now)

    def _bound(self, connection: "LinkFace") -> None:
        """How much a link may bring."""
        neighbour = adverts(connection).neighbour
        neighbour.offered_max = self.gate.bound(connection, codes.QUOTA_ROUTES, codes.ROUTES_LINK_MAX)
        most = self.gate.bound(connection, codes.QUOTA_ENTRIES, codes.ENTRIES_LINK_MAX)
        self.directory.told_max[connection] = most
        connection.bound_unfinished(self.gate.bound(connection, codes.QUOTA_UNFINISHED, _NO_BOUND))
        handlers = self.gate.bound(connection, codes.QUOTA_HANDLERS, _NO_BOUND)
        if handlers < _NO_BOUND:
            self.gate.handlers_max[connection] = handlers
        else:
            self.gate.handlers_max.pop(connection, None)

    # The router's news

    def route_touched(self, neighbour: Neighbour) -> None:
        adverts(neighbour.link).note()

    def route_forgotten(self, route: Route) -> None:
        peer = self.peer_on(route)
        if peer is not None and peer.route is route:
            peer.route = None
        for neighbour in self.router.neighbours if self.fabric else ():
            if neighbour.shown is not None:
                neighbour.shown.pop(route, None)

    def route_changed(self, route: Route, now: int) -> None:
        self.epoch += 1
        self._index(route)
        peer = self.peer_on(route)
        if route.via is None:
            if peer is not None:
                self._reconsider(peer, now)
            self._note_parted(route, now)
        elif peer is not None and peer.reachable:
            self._select_next_hop(peer, now)
            self._loosen(peer)
        else:
            self._appear(route, now)

    def _index(self, route: Route) -> None:
        """Keep the list of each node's incarnations that are within reach."""
        node_id = route.key[: codes.ID_SIZE]
        routes = self._incarnations.setdefault(node_id, {})
        if route.via is not None:
            routes[route] = True
        else:
            routes.pop(route, None)
        if not routes:
            del self._incarnations[node_id]

    def _appear(self, route: Route, now: int) -> None:
        """There is a way to a node that could not be reached. Our own id is a former life of ours, or a copy
        of it. What is told of another incarnation of a node displaces none that a way as narrow leads to: the
        neighbours of one that is gone say so. One that a wider way leads to may be anybody's invention.
        """
        node_id = route.key[: codes.ID_SIZE]
        other = self.routes.peers.get(node_id)
        if node_id == self.me.node_id:
            return
        if other is not None and other.key != route.key:
            if other.connections or (route.distance & 0xFFFF) >> 14 >= other.metric >> 14:
                return
        peer = self._peer(route.key)
        peer.route = route
        route.owner = peer
        self._select_next_hop(peer, now)
        self.lines.say_again(peer)  # what was told while the other one counted was not taken

    def report_duplicates(self, now: int) -> None:
        """Two live incarnations of one node id (rule 6)."""
        doubles = self._doubles
        reported = self._reported
        self._doubles = {}
        self._reported = {}
        for node_id, routes in self._incarnations.items():
            if len(routes) + (1 if node_id == self.me.node_id else 0) > 1:
                since = self._doubles[node_id] = doubles.get(node_id, now)
                if now - since < codes.DUPLICATE_MS:
                    continue
                self._reported[node_id] = True
                if node_id not in reported:
                    self.host.emit(DuplicateNodeEvent(node_id))

    def adopted(self, connection: "LinkFace", route: Route, now: int) -> None:
        """A neighbour reaches a source through us: it gets its lines, and its broadcasts. Those that wait on
        another link to it come here, or they would be overtaken; and by none of its links does it lead to the
        source but through us.
        """
        peer = self.peer_on(route)
        child = adverts(connection).peer
        assert child is not None
        for other in child.connections:
            if peer is not None and other is not connection:
                peer.leave(other)
                for out in other.take_broadcasts(b"" if peer is self.me else peer.key):
                    if connection.realm <= out.reach():
                        connection.enqueue_broadcast(out)
        if peer is not None:
            self.lines.asked(peer, route, adverts(connection), now)
        self.forwarder.child_added(connection, route)

    # Endpoints

    def lines_left(self, peer: Peer, now: int) -> None:
        """Nobody tells a node's lines here any more."""
        self.lookups.reconsider(peer, now)

    def entry_announced(self, entry: Entry, now: int) -> None:
        """Another node has an endpoint."""
        mine = self.own(entry.uuid)
        known = entry.peer.entries.get(entry.uuid)
        self.directory.add(entry)
        self.epoch += 1
        if mine is not None:
            self.names.contest(mine, entry, known, now)
        self.host.endpoint_up(entry, known, now)
        if entry.kind == codes.BROADCAST and (known is None or entry.peer.leaf):
            self.forwarder.subscribed(entry.uuid)  # a leaf may have come here with what was known already
        if known is not None and known.differs(entry):
            self.host.name_free(entry.uuid, now)
        if known is None or known.differs(entry) or known.credit != entry.credit:
            self.lookups.changed(entry.uuid, now)  # else two that asked each other would tell it for ever
        if entry.uuid == codes.LOOKUP and known is None:
            self.lookups.met(entry.peer, now)

    def entry_withdrawn(self, peer: Peer, uuid: bytes, now: int) -> None:
        entry = self.directory.remove(peer, uuid)
        if entry is not None:
            self.host.endpoint_down(entry, now)
            self.epoch += 1
            self.lookups.changed(uuid, now)
            self.host.name_free(uuid, now)
