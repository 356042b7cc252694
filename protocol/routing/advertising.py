"""Advertisements of nodes and endpoints between two neighbours: ROUTES, SYNC and DIRECTORY frames, one object
for each link (sections 4 and 10).

Which routes are told is decided in router.py, what becomes of nodes and entries in mesh.py. Everything is
written from the state as it is then, never from a queue.
"""

from busway.protocol.errors import Refusal
from busway.protocol.link.face import LinkFace
from busway.protocol.routing.children import Child
from busway.protocol.routing.damping import CALM_MS
from busway.protocol.routing.directory import may_announce
from busway.protocol.routing.distances import INFINITE
from busway.protocol.routing.grouped import Grouped
from busway.protocol.routing.lines import PARTIAL, Lines, Telling
from busway.protocol.routing.peers import Entry, Line, Peer
from busway.protocol.routing.router import DEPARTED, NOTHING, PARENT, WIDE, Neighbour, Route
from busway.protocol.routing.topology import Topology
from busway.protocol.wire import codes
from busway.protocol.wire.aliases import AliasWriter, node_reader
from busway.protocol.wire.entries import read_route
from busway.protocol.wire.fields import Reader, frame, text8, u16, varint
from busway.protocol.wire.lines import LABEL, read_entry, read_line
from busway.protocol.wire.traits import read_traits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.wire.messages import HaveFrame

_LEAF: "Final" = 0x10
_MORE: "Final" = 0x20

_KEPT_MAX: "Final" = 131072  # bytes of the lines of a leaf that wait until its link leads to it
_KEPT_OVERHEAD: "Final" = 48  # what each of its frames counts for besides its bytes
_NODE_SIZE: "Final" = 1 + 3 + codes.KEY_SIZE  # of a node's number that is being bound
_EARLY_MAX: "Final" = 1024  # sources of messages that a link has been told of, and has not written yet
_UNACKED_MAX: "Final" = 0x8000  # withdrawals, beyond which no message adds one: ACK counts modulo 65536


def adverts(link: LinkFace) -> "Advertiser":
    """The advertisements of a link."""
    news = link.news
    assert isinstance(news, Advertiser)
    return news


def is_leaf(link: LinkFace) -> bool:
    """Whether the other side of a link came as a leaf."""
    return adverts(link).neighbour.leaf


def is_fabric(link: "LinkFace | None") -> bool:
    """Whether a link leads to a gateway beyond the fabric (fabric.py)."""
    return link is not None and adverts(link).neighbour.shown is not None


def show(mesh: Topology, link: "LinkFace | None", key: bytes) -> None:
    """A node on our side is in touch with what is beyond that link: a gateway there has to know the way."""
    if link is not None:
        neighbour = adverts(link).neighbour
        route = mesh.router.routes.get(key)
        if neighbour.shown is not None and route is not None:
            mesh.router.show(neighbour, route)


def introduce(mesh: Topology, link: LinkFace, key: bytes) -> bool:
    """Something of a node goes out over a link: who reads it there has heard of that node by then, also if
    it is gone before anything is written, or was before it came here. False: too many have to be told of.
    """
    told = adverts(link)
    route = mesh.router.routes.get(key)
    if route is not None and route in told.neighbour.told:
        return True
    return told.tell_early(key, route)


# As long as there is nothing in them: an empty dict takes 64 bytes, and there are many. Never changed.
_NO_KEYS: "dict[bytes, bool]" = {}
_NO_ROUTES: "dict[Route, bool]" = {}
_NONE_RETRACTED: "dict[bytes, int]" = {}
_NONE_EARLY: "dict[bytes, int]" = {}
_NONE_SHOWN: "dict[bytes, tuple[int, int]]" = {}
_NONE_WATCHED: "dict[bytes, HaveFrame | None]" = {}
_NOTHING_KEPT: "list[bytes]" = []


class Advertiser(Telling):
    """The advertisements of one link in both directions."""

    __slots__ = (
        "_early",
        "_gone",
        "_news",
        "_shown",
        "_stages",
        "asked",
        "connection",
        "kept",
        "kept_size",
        "lines",
        "mesh",
        "pruned",
        "retracted",
        "watched",
    )

    def __init__(self, connection: LinkFace, mesh: Topology, lines: Lines) -> None:
        self.connection = connection
        self.lines = lines
        self.peer = None
        self.watched = _NONE_WATCHED  # what the peer asked for, and its last HAVE
        self.asked = _NO_KEYS  # node and uuid of what others asked for over this link
        self.pruned = Grouped()  # source and uuid of the broadcasts that it does not want
        self.retracted = _NONE_RETRACTED  # sources of which it tells no way any more: since when, ms
        self.kept = _NOTHING_KEPT  # a leaf's lines, while a nearer way than this link leads to it
        self.kept_size = 0
        self.mesh = mesh
        self.due = False
        self.neighbour = Neighbour(connection, 0, 0, False)
        self.reader = node_reader(b"", b"", codes.ROUTES_MAX)
        self.long = _NO_ROUTES
        self.long_at = -CALM_MS
        self._early = _NONE_EARLY  # told, still to be written: sources, and their distance or end
        self._stages = 0  # of SYNC that are to be written, as bits
        self._gone: "dict[bytes, bool]" = {}  # nodes a leaf is to hear the end of; whether they said goodbye
        # Lines, by node and realm, that the peer may see all of, as they were and the guard was.
        self._shown = _NONE_SHOWN
        self._news = _NO_ROUTES  # sources whose lines have news for this neighbour

    def open(self, peer: Peer, leaf: bool, stage: int) -> None:
        """The handshake is over; `leaf` is what the other side is on this link, whatever others say of it,
        `stage` the SYNC that this side begins with.
        """
        self.peer = peer
        connection = self.connection
        me = self.mesh.me.key
        self.neighbour = Neighbour(connection, connection.realm, connection.cost, leaf)
        self.neighbour.slow = connection.lookups
        if connection.link.fabric and not leaf and not self.mesh.leaf:
            self.neighbour.shown = {}
        self.neighbour.addressing = connection.addressing
        self.reader = node_reader(me, peer.key, connection.nodes_max())
        self._stages = 1 << stage
        self.due = True

    # Broadcasts

    def prune(self, key: bytes) -> None:
        """The peer does not want these broadcasts, of a source and uuid; the oldest too many is forgotten."""
        keys = self.pruned.keys
        if key not in keys and len(keys) >= codes.PRUNES_MAX:
            self.pruned.remove(next(iter(keys)))
        self.pruned.add(key)

    # Writing

    def note(self) -> None:
        """There is something to write."""
        self.due = True
        self.connection.touch()

    def tell_early(self, key: bytes, route: "Route | None") -> bool:
        """Write the way to a source as it is now, whatever becomes of it, if the peer is to know of it;
        if there is none any more, that it is gone: what comes from it is believed for a while, then. False:
        too much is to be written, or acknowledged, before that.
        """
        router = self.mesh.router
        neighbour = self.neighbour
        if neighbour.leaf or key in self._early:
            return True
        told = NOTHING if route is None else router.wish(neighbour, route)
        if told < 0 and route is not None and route.via is not None:
            return True
        if len(self._early) >= _EARLY_MAX:
            return False
        if told < 0 and neighbour.withdrawn - neighbour.acked >= _UNACKED_MAX:
            return False
        if not self._early:
            self._early = {}
        if route is None:
            neighbour.withdrawn += 1
            self._early[key] = NOTHING
        else:
            self._early[key] = router.tell(neighbour, route)
        self.note()
        return True

    def note_stub(self, stub: bool) -> None:
        """Say whether this node passes anything on (SYNC 4 and 5)."""
        self._stages = self._stages & ~0x30 | (0x10 if stub else 0x20)
        self.note()

    def note_lines(self, route: Route) -> None:
        """A source's lines have changed, or its child asked for them."""
        if (self, route) not in self.lines.late.held:
            if not self._news:
                self._news = {}
            self._news[route] = True
            self.note()

    def note_gone(self, key: bytes, parted: bool) -> None:
        """A node that the leaf at the other end has heard of cannot be reached any more; `parted`: it has
        said goodbye.
        """
        if key in self.connection.nodes.numbers or key in self.reader.ids:
            self._gone[key] = parted and self.connection.addressing
            self.note()

    def write(self, nodes: AliasWriter, parts: "list[bytes]", size: int, size_max: int) -> int:
        size = self._write(nodes, parts, size, size_max)
        neighbour = self.neighbour
        told = not (neighbour.dirty or neighbour.acks_due or neighbour.requests)
        self.due = not told or bool(self._early or self._stages or self._news or self._gone)
        return size

    def _write(self, nodes: AliasWriter, parts: "list[bytes]", size: int, size_max: int) -> int:
        size = self._write_routes(nodes, parts, size, size_max)
        if self.neighbour.dirty:
            return size
        size = self._write_syncs(parts, size, 2)
        for route in list(self._news):
            if size >= size_max:
                return size
            del self._news[route]
            size = self._write_node(route, parts, size)
        return self._write_syncs(parts, size, 5)

    def _write_syncs(self, parts: "list[bytes]", size: int, last: int) -> int:
        for stage in range(1, last + 1):
            if self._stages >> stage & 1:
                self._stages &= ~(1 << stage)
                parts.append(bytes((2, codes.SYNC, stage)))
                size += 3
        return size

    def _write_routes(self, nodes: AliasWriter, parts: "list[bytes]", size: int, size_max: int) -> int:
        neighbour = self.neighbour
        entries = self._early_entries(nodes, size_max - size) if self._early else []
        room = size_max - size - sum([len(entry) for entry in entries])
        for route in self.mesh.router.news(neighbour):
            if room <= 0:
                neighbour.make_dirty(route)
                continue
            entries.append(self._encode_route(route, nodes))
            room -= len(entries[-1])
        for route, wanted in neighbour.requests.items():
            kind = codes.SEQREQ_WIDE if wanted & WIDE else codes.SEQREQ
            entries.append(bytes((kind,)) + nodes.write(route.key) + u16(wanted))
        if neighbour.requests:
            neighbour.requests = {}
        for key, parted in self._gone.items():
            entries.append(bytes((codes.DEPARTED if parted else codes.RETRACT,)) + nodes.write(key))
        if self._gone:
            self._gone = {}
        if (
            neighbour.acks_due and not neighbour.dirty
        ):  # news first: who forgets a distance may need it for them
            neighbour.acks_due = False
            entries.append(bytes((codes.ACK,)) + u16(neighbour.processed))
        return self._pack(bytes((codes.ROUTES,)), entries, parts, size)

    def _early_entries(self, nodes: AliasWriter, room: int) -> "list[bytes]":
        """The ways that were told before they are written, as far as there is room."""
        entries: "list[bytes]" = []
        early = self._early
        while early and room > 0:
            key = next(iter(early))
            entries.append(_entry(nodes.write(key), early.pop(key)))
            room -= len(entries[-1])
        return entries

    def _pack(self, head: bytes, entries: "list[bytes]", parts: "list[bytes]", size: int) -> int:
        """Entries joined into as few frames as they fit in."""
        body = head
        for entry in entries:
            if len(body) + len(entry) > self.connection.limits.frame_size_max:
                size = _append(parts, size, body)
                body = head
            body += entry
        return _append(parts, size, body) if entries else size

    def _encode_route(self, route: Route, nodes: AliasWriter) -> bytes:
        told = self.mesh.router.tell(self.neighbour, route)
        node = nodes.write(route.key)
        if told != PARENT:
            return _entry(node, told)
        peer = self.mesh.peer_on(route)
        versions = [0, 0, 0]
        if peer is not None:
            for realm in range(self.connection.realm, codes.GLOBAL + 1):
                line = peer.lines[realm]
                versions[realm - 1] = 0 if line.partial else line.version  # another may tell more of it
            if self._is_doubted(peer):
                versions = []
        if not any(versions):
            return bytes((codes.PARENT,)) + node
        return bytes((codes.PARENT_WITH,)) + node + b"".join([varint(version) for version in versions])

    def _is_doubted(self, peer: Peer) -> bool:
        """Whether another neighbour's word is in what is known of a node, or its label is not known: then all
        is told anew, for that may have been a lie.
        """
        assert self.peer is not None
        if self.lines.moves_much(peer):
            return False
        if not (peer.label or peer.leaf or peer.connections):
            return True  # its lines came without its label, from who took that for known here
        mine = ((), (self.peer.key,))
        if peer.labelled_by and peer.labelled_by != self.peer.key:
            return True
        return any([line.advertisers not in mine for line in peer.lines])

    def _write_node(self, route: Route, parts: "list[bytes]", size: int) -> int:
        """The lines of a source, from the versions on that its child has; all of one of which it has a
        version that there is not, for somebody has lied to it. A leaf without a label has an empty one: what
        it is stands beside that.
        """
        child = self.neighbour.children.get(route)
        peer = self.mesh.peer_on(route)
        if child is None or peer is None or (self.neighbour.slow and not self.mesh.leaf):
            return size
        if not child.judged:
            self._judge(peer, child)
        for realm in range(self.connection.realm, codes.GLOBAL + 1):
            version = peer.lines[realm].version
            if 0 < version < child.versions[realm]:
                child.versions[realm] = 0
            if version > child.versions[realm]:
                size = self._write_line(peer, realm, child, parts, size)
        if not child.knows_label and (peer.label or peer.leaf):
            size = self._write_label(peer, child, parts, size)
        return size

    def _judge(self, peer: Peer, child: Child) -> None:
        """Tell a child as a whole the lines that are told it in part, now or before: somebody else may have
        told it what it has of them.
        """
        child.judged = True
        for realm in range(codes.USERSPACE, codes.GLOBAL + 1):
            line = peer.lines[realm]
            hides = child.hidden >> realm & 1 != 0 or line.partial or len(line.denied) > 0
            if hides or (self.mesh.gate.guard is not None and not self._shows_all(peer, realm)):
                child.versions[realm] = 0

    def _shows_all(self, peer: Peer, realm: int) -> bool:
        """Whether the neighbour may see all that a line holds, or has held of late. That it may is
        remembered, for it may say PARENT again and again.
        """
        line = peer.lines[realm]
        stamp = (self.mesh.gate.changes, line.shape)
        key = peer.key + bytes((realm,))
        if self._shown.get(key) == stamp:
            return True
        known = list(line.entries.values()) + list(line.gone.values())
        if not all([self._shows(entry) for entry in known]):
            return False
        if len(self._shown) >= codes.ROUTES_MAX:
            self._shown = {}
        if not self._shown:
            self._shown = {}
        self._shown[key] = stamp
        return True

    def _shows(self, entry: Entry, name: "str | None" = None) -> bool:
        """Whether the neighbour may see an endpoint, under its name, or if it had this `name`."""
        assert self.peer is not None
        return self.mesh.gate.shows(entry, self.connection, self.peer, name)

    def _visible(self, line: Line, realm: int, base: int, child: Child) -> "list[Entry]":
        """Entries of a line that have come after version `base`, as far as the neighbour may see them, and
        those it may see no more under their new names, as withdrawn; whether it is told only a part of the
        line is noted.
        """
        changed = line.since(base)
        if self.mesh.gate.guard is None:
            seen = changed
            hides = False
        else:
            seen = []
            hides = False
            for entry in changed:
                if self._shows(entry):
                    seen.append(entry)
                    continue
                hides = True
                former = entry.former
                if former is not None and 0 < base < former.version and self._shows(entry, former.name):
                    seen.append(Entry(entry.peer, entry.uuid, 0, realm))
        if hides:
            child.hidden |= 1 << realm
        elif not base:
            child.hidden &= ~(1 << realm)
        return seen

    def _write_label(self, peer: Peer, child: Child, parts: "list[bytes]", size: int) -> int:
        child.knows_label = True
        version = varint(child.versions[codes.GLOBAL])
        body = self._line_head(peer, codes.GLOBAL, LABEL) + text8(peer.label) + version + version
        return _append(parts, size, body)

    def _line_head(self, peer: Peer, realm: int, flags: int) -> bytes:
        if peer.leaf:
            flags |= _LEAF
        return bytes((codes.DIRECTORY, realm | flags)) + self.connection.nodes.write(peer.key)

    def _write_line(self, peer: Peer, realm: int, child: Child, parts: "list[bytes]", size: int) -> int:
        """The part of a line that the child lacks, in as many frames as it takes."""
        line: Line = peer.lines[realm]
        base = child.versions[realm]
        if base < line.floor:
            base = 0
        child.versions[realm] = line.version
        tail = varint(base) + varint(line.version)
        most = self.connection.limits.frame_size_max - len(tail) - 2 - _NODE_SIZE
        knows = self.connection.addressing
        entries = [entry.encode(most, knows) for entry in self._visible(line, realm, base, child)]
        partial = PARTIAL if line.partial or line.denied or child.hidden >> realm & 1 else 0
        at = 0
        first = True
        while first or at < len(entries):
            label = b""
            if not child.knows_label and (peer.label or peer.leaf):
                child.knows_label = True
                label = text8(peer.label)
            body = label + tail
            room = most - len(label)
            while at < len(entries) and len(entries[at]) <= room:
                body += entries[at]
                room -= len(entries[at])
                at += 1
            flags = partial | (LABEL if label else 0)
            if at < len(entries):
                flags |= _MORE
            size = _append(parts, size, self._line_head(peer, realm, flags) + body)
            first = False
        return size

    # Reading

    def read_routes(self, reader: Reader, now: int) -> None:
        router = self.mesh.router
        self.mesh.epoch += 1
        neighbour = self.neighbour
        over = neighbour.over
        while reader.left():
            kind, key, number, metric, versions = read_route(reader, self.reader)
            if kind != codes.ACK:
                self._take_route(kind, key, number, metric, versions, now)
            elif not router.acknowledge(neighbour, number, now):
                raise Refusal(codes.MALFORMED, "more acknowledged than was sent")
        if neighbour.over > over:
            self.mesh.gate.exceeded(self.connection, codes.QUOTA_ROUTES)

    def _take_route(
        self, kind: int, key: bytes, number: int, metric: int, versions: "list[int]", now: int
    ) -> None:
        router = self.mesh.router
        neighbour = self.neighbour
        if self.mesh.leaf or neighbour.leaf:
            if (kind == codes.RETRACT or kind == codes.DEPARTED) and self.mesh.leaf:
                self.mesh.node_gone(key, kind == codes.DEPARTED, now)
            return
        route = router.routes.get(key)
        if kind == codes.SEQREQ or kind == codes.SEQREQ_WIDE:
            if route is not None:
                router.request(neighbour, route, number | (WIDE if kind == codes.SEQREQ_WIDE else 0), now)
            return
        if route is None:
            if kind != codes.UPDATE:
                router.note_withdrawal(neighbour)  # of what had no room, or has been forgotten, or never told
                self._note_retracted(key, now)
                if kind == codes.DEPARTED:
                    self.mesh.note_farewell(key, self.connection.realm, now)
                return
            if metric == INFINITE:
                return
            route = router.route(key)
        ends = kind == codes.RETRACT or kind == codes.DEPARTED
        if ends or ((kind != codes.UPDATE or metric == INFINITE) and self._told_of(route)):
            self._note_retracted(key, now)
        if kind == codes.UPDATE:
            former = route.offers.get(neighbour, NOTHING)
            router.update(neighbour, route, number << 16 | metric, now)
            peer = self.mesh.peer_on(route)
            if peer is not None and former != route.offers.get(neighbour, NOTHING):
                peer.leave(self.connection)
        elif kind == codes.RETRACT:
            router.withdraw(neighbour, route, now)
        elif kind == codes.DEPARTED:
            if self._may_tell_goodbye(route):
                self.mesh.part(route, now)
            router.withdraw(neighbour, route, now)
        else:
            knows_label = kind == codes.PARENT_WITH or route is router.me  # HELLO has told ours
            router.adopt(neighbour, route, Child([0] + (versions or [0, 0, 0]), knows_label), now)
            self.mesh.adopted(self.connection, route, now)

    def _may_tell_goodbye(self, route: Route) -> bool:
        """Whether this neighbour's word counts that a source has said goodbye: not of one that we have a link
        with, nor if its own link is of a wider realm than the way to it was.
        """
        peer = self.mesh.peer_on(route)
        return peer is None or (not peer.connections and self.connection.realm <= peer.metric >> 14)

    def _told_of(self, route: Route) -> bool:
        """Whether this neighbour may have passed on what comes from a source: it told of a way to it, or
        reached it through us.
        """
        return self.neighbour in route.offers or route in self.neighbour.children

    def _note_retracted(self, key: bytes, now: int) -> None:
        """Note a source of which more that was passed on may come behind this; what else comes may not go
        unseen. Of too many the one that ended first is forgotten.
        """
        if not self.retracted:
            self.retracted = {}
        self.retracted.pop(key, None)
        if len(self.retracted) >= codes.ROUTES_LINK_MAX:
            del self.retracted[next(iter(self.retracted))]
        self.retracted[key] = now
        self.reader.epoch += 1  # the short ways of what comes from it are found anew

    def forget_retracted(self, now: int) -> None:
        """Forget what was long ago, and is of no use."""
        for key, since in list(self.retracted.items()):
            if now - since >= codes.BELIEF_MS:
                del self.retracted[key]

    def read_sync(self, reader: Reader, now: int) -> None:
        stage = reader.u8()
        if reader.left():
            raise Refusal(codes.MALFORMED, "bytes behind a SYNC")
        if stage == 1 or stage == 2:
            self._stages |= 2 << stage
            self.note()
        elif stage == 4 or stage == 5:
            self.neighbour.stub = stage == 4
            self.mesh.epoch += 1
        elif stage == 3 and not self.connection.synced:
            self.mesh.synced(self.connection, now)

    def read_directory(self, reader: Reader, now: int) -> None:
        start = reader.pos
        head, key, label, base, version = read_line(reader, self.reader)
        realm = head & 3
        peer = self.lines.accepts_line_from(self.connection, key)
        if peer is None and self.neighbour.leaf and reader.data[start + 1] == codes.SENDER:
            self._keep(reader.data[start : reader.end])
        if peer is not None and head & LABEL and not peer.connections:  # else it has said so itself
            self.mesh.learn(peer, label, head & _LEAF != 0, now)
            assert self.peer is not None
            peer.labelled_by = self.peer.key
        line: "Line | None" = None
        if peer is not None:
            line = self.lines.open_line(self.connection, peer, head, base, version)
        order = self.mesh.directory.next_order()  # one for all of them: each would take 32 bytes
        while reader.left():
            kind, uuid, credit, cost, name, extension = read_entry(reader)
            traits = read_traits(extension)
            if line is None or peer is None:
                continue
            if not may_announce(uuid, kind or codes.ANYCAST):
                self.mesh.counters["builtin_entry"] += 1
                continue
            entry = Entry(peer, uuid, kind, realm, credit, cost, name, traits)
            entry.version = version
            entry.order = order
            self.lines.take_entry(entry, line, self.connection, now)
        if line is not None and peer is not None:
            self._note_advertiser(line)
            if not head & _MORE:
                self.lines.close_line(peer, line, head, base, version, now)

    def _keep(self, body: bytes) -> None:
        """Keep what a leaf tells of itself over a link that it is not reached by: it tells that once, and is
        not asked for it again.
        """
        size = self.kept_size + len(body) + _KEPT_OVERHEAD
        if size > _KEPT_MAX:
            self.neighbour.over += 1
            return
        if not self.kept:
            self.kept = []
        self.kept.append(bytes(body))
        self.kept_size = size

    def take_kept(self, now: int) -> None:
        kept = self.kept
        self.kept = _NOTHING_KEPT
        self.kept_size = 0
        for body in kept:
            self.read_directory(Reader(body, 0, len(body)), now)

    def _note_advertiser(self, line: Line) -> None:
        """Something of it is the word of this neighbour, which comes last of those whose it is."""
        assert self.peer is not None
        key = self.peer.key
        if line.advertisers != (key,):
            line.advertisers = tuple([other for other in line.advertisers if other != key]) + (key,)


def _entry(node: bytes, told: int) -> bytes:
    """The entry of a distance, or of the end of a way."""
    if told < 0:
        return bytes((codes.DEPARTED if told == DEPARTED else codes.RETRACT,)) + node
    return bytes((codes.UPDATE,)) + node + u16(told >> 16) + u16(told)


def _append(parts: "list[bytes]", size: int, body: bytes) -> int:
    data = frame(body)
    parts.append(data)
    return size + len(data)
