"""Messages of other nodes on their way through this one (section 5.4), and broadcasts along the trees of
their sources (section 11).

Knows routes and links, but neither this node's endpoints nor what a message means.
"""

from busway.protocol.link.batch import Branch, Passing
from busway.protocol.link.queue import weight_of
from busway.protocol.routing.advertising import adverts, introduce, is_leaf, show
from busway.protocol.routing.belief import believes, may_pass_on
from busway.protocol.routing.grouped import Grouped
from busway.protocol.routing.peers import Peer
from busway.protocol.routing.topology import Topology
from busway.protocol.wire import codes
from busway.protocol.wire.address import uuid_of
from busway.protocol.wire.fields import clip_text, text8, varint
from busway.protocol.wire.messages import Frame, RoutingHeader, TreeFrame, has_things, note_several, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.link.face import LinkFace
    from busway.protocol.routing.router import Route

_FAR_SIGNALS = (
    codes.CANCEL,
    codes.CREDIT,
    codes.PROBE,
    codes.PART_CREDIT,
    codes.UNDELIVERABLE,
    codes.END,
    codes.WHO,
    codes.HAVE,
    codes.TRACE,
    codes.TRACED,
    codes.SELECT,
    codes.SELECTED,
    codes.HAVE_PART,
)
_PATIENCE: "Final" = 64  # broadcasts that come in spite of a PRUNE before it is sent again


class TreeBranch(Branch):
    """As long as nothing has changed of the trees."""

    __slots__ = ("_counters", "_epoch", "_mesh")

    def __init__(
        self,
        frame: Frame,
        root: bytes,
        route: RoutingHeader,
        links: "list[LinkFace]",
        growing: "dict[bytes, Passing]",
        mesh: Topology,
        counters: "dict[str, int]",
    ) -> None:
        super().__init__(frame, root, route, links, growing)
        self._mesh = mesh
        self._epoch = mesh.epoch
        self._counters = counters

    def holds(self) -> bool:
        return self._epoch == self._mesh.epoch

    def passed(self, count: int) -> None:
        self._counters["forwarded"] += count * len(self.links)


class Forwarder:
    """Messages and broadcasts that a node passes on."""

    def __init__(self, mesh: Topology) -> None:
        self._mesh = mesh
        self.counters = {"forwarded": 0, "unroutable": 0, "misrouted": 0, "unbelieved": 0, "pruned": 0}
        self._growing: "dict[bytes, Passing]" = {}  # batches that may take more, by source and endpoint
        self._held = 0  # bytes of the messages that wait for a way
        self._pruned: "dict[bytes, tuple[LinkFace, int]]" = {}  # source and uuid: told whom, how many came
        self._groups = Grouped()  # ... the keys of these
        self._patterns = 0  # as they were when leaves were told last that they may publish
        self._of_leaves = Grouped()  # ... and of those that leaves were told

    # Messages for one node

    def pass_on(self, connection: "LinkFace", source: bytes, frame: Frame, now: int) -> None:
        """A message that names another node as its destination."""
        mesh = self._mesh
        if frame.kind == codes.SIGNAL and frame.signal not in _FAR_SIGNALS:
            connection.skipped_frames += 1  # for a neighbour, or unknown: what it says cannot be told anew
            return
        if not self._is_passed_on(connection, source, frame, now):
            self.counters["unbelieved"] += 1
            if source == mesh.me.key:
                self._return(frame, now)
            return
        hops = frame.hops()
        frame.route = RoutingHeader(source, max(frame.realm(), connection.realm), hops - 1)
        peer = mesh.routes.peers.get(frame.destination[: codes.ID_SIZE])
        if peer is None or peer.key != frame.destination or not self.may_pass(connection, peer):
            self._fail(frame, frame.route, codes.NO_ROUTE, now)
        elif hops:
            if mesh.fabric:
                show(mesh, peer.hop, source)
            reason = self._hand_on(frame, peer)
            if reason:
                self._fail(frame, frame.route, reason, now)
            elif peer.hop is not None:
                self.counters["forwarded"] += 1
        elif frame.signal == codes.TRACE:
            self.traced(connection, source, frame.id, now)
        else:
            self._fail(frame, frame.route, codes.NO_ROUTE, now)

    def _is_passed_on(self, connection: "LinkFace", source: bytes, frame: Frame, now: int) -> bool:
        """Whether a neighbour may pass on what it says is of that source. Of our own, which has come back, it
        speaks as the destination would: it may say that there is no way. For a leaf of ours, which believes
        us, we look as for ourselves.
        """
        mesh = self._mesh
        destination = frame.destination
        peer = adverts(connection).peer
        if peer is None or source == peer.key:
            return True
        if source == mesh.me.key:
            return destination == peer.key or believes(mesh, connection, destination, frame.realm(), now)
        leaf = self.leaf_realm(destination)
        if leaf:
            return believes(mesh, connection, source, frame.realm(), now, leaf)
        return mesh.leaf or may_pass_on(mesh, connection, source, now)

    def leaf_realm(self, key: bytes) -> int:
        """The realm of the link to a leaf of ours, 0 for other nodes."""
        peer = self._mesh.routes.find(key)
        hop = None if peer is None else peer.hop
        return (
            0 if peer is None or hop is None or not (hop in peer.connections and is_leaf(hop)) else hop.realm
        )

    def _return(self, frame: Frame, now: int) -> None:
        """A message that says it is ours came back over a link whose word does not count: it goes nowhere,
        and if it may be ours we hear so.
        """
        peer = self._mesh.routes.find(frame.destination)
        if peer is not None and peer.came_back(frame.endpoint, frame.id):
            route = RoutingHeader(self._mesh.me.key, frame.realm(), 0)
            self._fail(frame, route, codes.NO_ROUTE, now)

    def give_up(self, connection: "LinkFace", source: bytes, frame: Frame, now: int) -> None:
        """A message for another node, of which not all came: its sender is told that there was no room."""
        if self._is_passed_on(connection, source, frame, now):
            route = RoutingHeader(source, max(frame.realm(), connection.realm), 0)
            self._fail(frame, route, codes.QUEUE_FULL, now)

    def _hand_on(self, frame: Frame, peer: "Peer | None") -> int:
        """To the next link, or to those that wait for a way. Returns 0, or why not."""
        hop = None if peer is None else peer.hop
        if hop is None:
            return 0 if peer is not None and self.hold(frame, peer) else codes.NO_ROUTE
        if not hop.addressing and frame.lane() != codes.NORMAL:
            return codes.NO_PRIORITIES
        if has_things(frame) and not hop.aside_on:
            return codes.NO_FILES
        if len(frame.payload) > hop.limits.message_size_max:
            if frame.kind != codes.ERROR:
                return codes.MESSAGE_TOO_LARGE
            frame.payload = b""  # the code counts, the sentence is for people
        told = introduce(self._mesh, hop, frame.source())
        return 0 if told and hop.forward(frame) else codes.QUEUE_FULL

    def may_pass(self, connection: "LinkFace", peer: "Peer") -> bool:
        """Rule 8: without transit a node forwards for its own leaves only."""
        if self._mesh.router.transit:
            return True
        hop = peer.hop
        ours = hop is not None and hop in peer.connections and is_leaf(hop)
        return not self._mesh.leaf and (ours or is_leaf(connection))

    def again(self, frame: Frame, now: int) -> None:
        """A message of another node whose link has ended before it was written."""
        assert frame.route is not None
        if frame.kind == codes.PUBLISH:
            return  # the tree is another now
        reason = self._hand_on(frame, self._mesh.routes.find(frame.destination))
        if reason:
            self._fail(frame, frame.route, reason, now)

    def hold(self, frame: Frame, peer: "Peer") -> bool:
        """Keep a message, ours or another's, for a node whose way is lost while another may be found. False:
        not that, or too many.
        """
        size = weight_of(frame)
        if not peer.reachable or peer.hop is not None or self._held + size > codes.HELD_SIZE_MAX:
            return False
        peer.held.append(frame)
        self._held += size
        return True

    def take_held(self, peer: "Peer", now: int) -> "list[Frame]":
        """There is a way again, or no hope of one: others' messages go on, or fail; our own are returned."""
        ours: "list[Frame]" = []
        held = peer.held
        peer.held = []
        for frame in held:
            self._held -= weight_of(frame)
            if frame.route is None:
                ours.append(frame)
            else:
                self.again(frame, now)
        return ours

    def _fail(self, frame: Frame, route: RoutingHeader, reason: int, now: int) -> None:
        """Tell who waits for it, in the name of the other side."""
        self.counters["unroutable"] += 1
        kind = frame.kind
        if kind in (codes.REPLY, codes.PART) or (kind == codes.SIGNAL and frame.signal == codes.END):
            self._answer(frame.destination, route.source, codes.ERROR, frame, reason, now)
        elif kind in (codes.CONFIRM, codes.REQUEST):
            self._answer(route.source, frame.destination, codes.ERROR, frame, reason, now)
        elif kind == codes.SEND:
            self._answer(route.source, frame.destination, codes.SIGNAL, frame, reason, now)

    def _answer(self, to: bytes, name: bytes, kind: int, failed: Frame, reason: int, now: int) -> None:
        number = failed.number & 0xFFFF
        answer = Frame(kind, to, failed.endpoint, number, b"", codes.RAW, b"")
        answer.code = reason
        if failed.lane() != codes.NORMAL:
            answer.mark(failed.lane())
        if kind == codes.ERROR:
            answer.id = failed.id
        else:
            answer.signal = codes.UNDELIVERABLE
        answer.route = RoutingHeader(name, failed.realm(), codes.HOPS_MAX)
        if to == self._mesh.me.key:  # ours had come back
            self._mesh.host.answered(self._mesh.peer_of(name, now), answer, now)
            return
        hop = self._mesh.peer_of(to, now).hop
        if hop is not None:
            hop.forward(answer)  # behind what came before it

    def traced(self, connection: "LinkFace", source: bytes, id: int, now: int) -> None:
        """Say to the one who traces by which link it came here."""
        mesh = self._mesh
        peer = mesh.peer_of(source, now)
        if peer.hop is None:
            return
        room = peer.hop.limits.frame_size_max - codes.HEADER_SIZE_MAX - 5  # all but the texts takes 5 at most
        medium = clip_text(connection.link.medium, min(room, codes.TEXT_SIZE_MAX))
        label = clip_text(mesh.me.label, min(room - len(medium.encode()), codes.TEXT_SIZE_MAX))
        payload = bytes((connection.realm,)) + varint(connection.cost) + text8(medium) + text8(label)
        answer = signal(codes.TRACED, peer.key, b"", 0, id)
        answer.payload = payload
        peer.hop.answer(answer)

    # Broadcasts

    def root_of(self, connection: "LinkFace", source: "Peer", named: bytes) -> "Peer | None":
        """The node whose tree a broadcast follows, if it is taken from this link: that of the node it names,
        this node for our leaves, else the source.
        """
        peer = adverts(connection).peer
        if self._mesh.leaf:
            return source  # from any router: the numbers tell copies of a second one
        if is_leaf(connection):
            return self._mesh.me
        root = self._mesh.routes.find(named) if named else source
        if root is None or root.route is None or root.route.via is None:
            return root if root is peer else None
        via: "LinkFace" = root.route.via.link
        return (
            root if adverts(via).peer is peer else None
        )  # by whichever of its links: the numbers tell copies

    def former_root_of(self, connection: "LinkFace", source: "Peer", named: bytes, now: int) -> "Peer | None":
        """The same of a tree that has just ended: what was on its way comes behind the news of that."""
        root = self._mesh.routes.find(named) if named else source
        if root is None or (root.route is not None and root.route.via is not None):
            return None
        ended = adverts(connection).retracted.get(root.key, -codes.BELIEF_MS)
        return root if now - ended < codes.BELIEF_MS else None

    def links_for(self, root: "Peer", source: "Peer", uuid: bytes) -> "list[LinkFace]":
        """The links that a broadcast of `source` takes from here, along the tree of `root`."""
        mesh = self._mesh
        if mesh.leaf:
            uplink = mesh.uplink
            if source is not mesh.me or uplink is None or source.key + uuid in adverts(uplink).pruned.keys:
                return []
            return [uplink]
        widest = mesh.directory.widest(uuid, source)
        if not widest and self._is_anyone_unseen():
            widest = codes.GLOBAL
        route = root.route
        if route is None:  # of a tree that has ended
            route = mesh.router.routes.get(root.key)
        found: "list[LinkFace]" = []
        if route is None or not widest:
            return found
        for neighbour in mesh.router.neighbours:
            link: "LinkFace" = neighbour.link
            peer = adverts(link).peer
            if link.realm > widest or route.via is neighbour or peer is source or peer is None:
                continue
            if neighbour.leaf:
                if uuid in peer.entries and link is peer.hop:
                    found.append(link)
            elif route in neighbour.children:
                if self._is_wanted(link, root, uuid):
                    found.append(link)
        return found

    def _is_anyone_unseen(self) -> bool:
        """Whether subscribers may be behind a slow link, of ours or of another node, and unknown here."""
        mesh = self._mesh
        return mesh.directory.is_known(codes.LOOKUP) or codes.LOOKUP in mesh.me.lines[codes.GLOBAL].entries

    def _is_wanted(self, link: "LinkFace", root: "Peer", uuid: bytes) -> bool:
        told = adverts(link)
        assert told.peer is not None
        if uuid in told.peer.entries:
            return True
        if told.neighbour.stub:
            return False
        return root.key + uuid not in told.pruned.keys

    def permitted(self, links: "list[LinkFace]", uuid: bytes, name: str) -> "list[LinkFace]":
        """Of the links that a copy for a pattern is to take those behind which somebody may have it who has
        subscribed by it: others are asked of the name, too.
        """
        if self._mesh.gate.guard is None:
            return links
        return [link for link in links if self._is_permitted(link, uuid, name)]

    def _is_permitted(self, link: "LinkFace", uuid: bytes, name: str) -> bool:
        permits = self._mesh.gate.permits
        told = adverts(link)
        peer = told.peer
        assert peer is not None
        own = peer.entries.get(uuid)
        if own is not None and permits(link, peer.node_id, codes.MAY_SUBSCRIBE, b"", name, own.realm):
            return True
        if told.neighbour.leaf or told.neighbour.stub:
            return False
        for entry in self._mesh.directory.known(uuid)[: codes.HOLDERS_SEEN_MAX]:
            other = entry.peer
            if other.hop is None or other.connections:  # a neighbour gets it over its own link
                continue
            if permits(other.hop, other.node_id, codes.MAY_SUBSCRIBE, b"", name, entry.realm):
                return True
        return False

    def spread(
        self,
        connection: "LinkFace",
        root: "Peer",
        source: "Peer",
        frame: Frame,
        wanted: bool,
        now: int,
    ) -> bool:
        """A broadcast came from the parent of its tree: pass it on, or say that nobody here wants it
        (`wanted`: this node does). Returns whether it went on.
        """
        before = self._growing.get(source.key + frame.endpoint)
        if before is not None:
            before.close()  # what comes now goes behind it
        hops = frame.hops()
        uuid = uuid_of(frame.endpoint)
        links = self.links_for(root, source, uuid) if hops else []
        reach = max(frame.reach(), connection.realm)
        if not links and not wanted:
            if root is self._mesh.me:
                self._prune(connection, source, uuid)
            elif root.reachable:  # else its tree has ended
                self._prune(connection, root, uuid)
            return False
        route = RoutingHeader(source.key, max(frame.realm(), connection.realm), hops - 1)
        links = [link for link in links if link.realm <= reach]
        if frame.options is not None and frame.options.name:
            links = self.permitted(links, uuid, frame.options.name)
        self._show(links, root, source)
        if frame.options is not None and (wanted or len(links) > 1):
            note_several(frame)
        for link in links:
            out = Frame(
                codes.PUBLISH,
                b"" if root.key == source.key else root.key,
                frame.endpoint,
                frame.number,
                frame.payload,
                frame.format,
                frame.type_id,
            )
            out.options = frame.options
            out.route = route
            self.counters["forwarded"] += 1
            link.broadcast(out)
        return bool(links)

    def _show(self, links: "list[LinkFace]", root: "Peer", source: "Peer") -> None:
        """Gateways beyond the fabric believe what is of a node that they know the way to, and so do others:
        who said PARENT has heard of the root, and need not have heard of a source that is another.
        """
        if self._mesh.fabric:
            for link in links:
                show(self._mesh, link, source.key)
        if root is not source:
            for link in links:
                introduce(self._mesh, link, source.key)

    def branch(
        self, connection: "LinkFace", source: "Peer", frame: Frame, came: "RoutingHeader | None"
    ) -> "Branch | None":
        """The way that a broadcast has just taken which came so, for those that follow it; None if it has
        ended here.
        """
        root = self.root_of(connection, source, b"")
        hops = codes.HOPS_MAX if came is None else came.hops
        if root is None or not hops:
            return None
        realm = connection.realm if came is None else max(came.realm, connection.realm)
        reach = max(codes.LOCALNET, realm)
        links = [link for link in self.links_for(root, source, frame.endpoint) if link.realm <= reach]
        if not links:
            return None
        self._show(links, root, source)
        route = RoutingHeader(source.key, realm, hops - 1)
        named = b"" if root.key == source.key else root.key
        return TreeBranch(frame, named, route, links, self._growing, self._mesh, self.counters)

    def close_batches(self) -> None:
        """None takes more."""
        for batch in list(self._growing.values()):
            batch.close()

    def _prune(self, connection: "LinkFace", source: "Peer", uuid: bytes) -> None:
        key = source.key + uuid
        told = self._pruned.get(key)
        count = 0 if told is None or told[0] is not connection else told[1] + 1
        if not count % _PATIENCE:
            self.counters["pruned"] += 1
            self._signal(connection, codes.PRUNE, source.key, uuid)
        if told is not None and told[0] is not connection and told[0].state == codes.OPEN:
            self._signal(told[0], codes.GRAFT, source.key, uuid)  # a former parent, which may be it again
        if told is None and len(self._pruned) >= codes.PRUNES_MAX:
            self._graft(next(iter(self._pruned)))
        self._pruned[key] = (connection, count)
        self._groups.add(key)
        if is_leaf(connection):
            self._of_leaves.add(key)
        else:
            self._of_leaves.remove(key)

    def _signal(self, connection: "LinkFace", which: int, source: bytes, uuid: bytes) -> None:
        peer = connection.peer
        assert peer is not None
        connection.answer(TreeFrame(which, peer.key, uuid, source))

    def tree_signal_came(self, connection: "LinkFace", frame: TreeFrame) -> None:
        """PRUNE or GRAFT came, of the neighbour."""
        self._mesh.epoch += 1
        key = frame.node + frame.endpoint
        if frame.signal == codes.PRUNE:
            adverts(connection).prune(key)
            return
        adverts(connection).pruned.remove(key)
        self._graft(key)
        if frame.node == self._mesh.me.key:
            self._graft_leaves(frame.endpoint)

    def subscribed(self, uuid: bytes) -> None:
        """There is a new subscriber here, or somewhere."""
        self._mesh.epoch += 1
        for key in self._groups.of_uuid(uuid):
            self._graft(key)
        changes = self._mesh.directory.patterns.changes
        if self._patterns != changes:  # what a leaf publishes may be meant by a new one
            self._patterns = changes
            self._graft_leaves(b"")

    def child_added(self, connection: "LinkFace", route: "Route") -> None:
        """A neighbour reaches a source through us: it has not said what it does not want, and what nobody
        wanted here, it may want.
        """
        self._mesh.epoch += 1
        told = adverts(connection)
        for key in told.pruned.of_source(route.key):
            told.pruned.remove(key)
        for key in self._groups.of_source(route.key):
            self._graft(key)
        if route is self._mesh.me.route:
            self._graft_leaves(b"")

    def _graft_leaves(self, uuid: bytes) -> None:
        """Broadcasts of our leaves go down our own tree."""
        for key in self._of_leaves.of_uuid(uuid) if uuid else list(self._of_leaves.keys):
            self._graft(key)

    def _drop(self, key: bytes) -> "tuple[LinkFace, int] | None":
        """Of a broadcast that somebody was told not to send: no longer."""
        told = self._pruned.pop(key, None)
        if told is not None:
            self._groups.remove(key)
            self._of_leaves.remove(key)
        return told

    def _graft(self, key: bytes) -> None:
        told = self._drop(key)
        if told is not None and told[0].state == codes.OPEN:
            size = codes.KEY_SIZE
            self._signal(told[0], codes.GRAFT, key[:size], key[size:])

    def source_lost(self, peer: "Peer") -> None:
        """There is no tree of that source any more."""
        self._mesh.epoch += 1
        for key in self._groups.of_source(peer.key):
            self._drop(key)
