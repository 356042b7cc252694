"""The other nodes as this one sees them: identity, links, next hop, endpoints. Which way leads to them is
decided in router.py; what is said with them is another room's, which makes more of each (messaging/).
"""

from busway.protocol.link.face import LinkFace, Remote
from busway.protocol.routing.damping import CALM_MS
from busway.protocol.routing.router import Route
from busway.protocol.wire import codes
from busway.protocol.wire.entries import write_entry
from busway.protocol.wire.messages import Frame
from busway.protocol.wire.traits import fit_traits, write_traits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Whether a line is being told anew, with the version that it has, and has turned out to be another.
NOT_ANEW: "Final" = 0
AS_BEFORE: "Final" = 1
ALTERED: "Final" = 2


# One number for all: each would be 32 bytes of its own.
_CALM: "Final" = -CALM_MS
_BEFORE: "Final" = -codes.BELIEF_MS


class Entry:
    """One endpoint of one node; kind 0 in a line's memory of what was withdrawn."""

    __slots__ = (
        "cost",
        "credit",
        "former",
        "kind",
        "link",
        "name",
        "order",
        "peer",
        "place",
        "realm",
        "traits",
        "turned",
        "uuid",
        "version",
    )

    def __init__(
        self,
        peer: "Peer",
        uuid: bytes,
        kind: int,
        realm: int,
        credit: int = codes.OPENING_CREDIT,
        cost: int = 0,
        name: str = "",
        traits: bytes = b"",
    ) -> None:
        self.peer = peer
        self.uuid = uuid
        self.kind = kind
        self.realm = realm
        self.credit = credit
        self.cost = cost
        self.name = name
        self.traits = traits  # labels and a last word, as wire/traits.py packs them
        self.version = 0
        self.order = 0  # counts those that came to be known
        self.place = 0  # among those of one uuid
        self.link: "LinkFace | None" = None  # over which it was told
        # When it changed first, of the last changes close behind each other, ms, and in 8 bits behind that
        # how many followed: there may be very many entries, and few change.
        self.turned = _CALM << 8
        self.former: "Former | None" = None  # the name that it had before, by which others may see it

    def __repr__(self) -> str:
        return "<endpoint %s, %s, %s, at %r>" % (
            repr(self.name) if self.name else self.uuid.hex(),
            codes.KIND_NAMES[self.kind] or "withdrawn",
            codes.REALM_NAMES[self.realm],
            self.peer.label,
        )

    def differs(self, other: "Entry") -> bool:
        """Whether another word on the same endpoint of the same node says something that people see."""
        return (
            self.kind != other.kind
            or self.realm != other.realm
            or self.cost != other.cost
            or self.name != other.name
            or self.traits != other.traits
        )

    def is_other(self, other: "Entry") -> bool:
        """Whether another word on the same endpoint of the same node says anything else."""
        return self.differs(other) or self.credit != other.credit

    def follow(self, former: "Entry", now: int) -> int:
        """This is told where the other was. Returns how many changes came within a second behind the first;
        0 if it is none.
        """
        changed = (self.kind or former.kind) and self.is_other(former)
        self.turned = former.turned
        if not changed:
            return 0
        if now - (former.turned >> 8) >= CALM_MS:
            self.turned = now << 8
        else:
            self.turned += former.turned & 0xFF < 0xFF
        return self.turned & 0xFF

    def encode(self, room: int, traits: bool) -> bytes:
        """As it stands in a DIRECTORY frame (section 4) that has `room` bytes for it; with its `traits`, if
        the other side knows what they are, as far as they find a place.
        """
        if not self.kind:
            return b"\0" + self.uuid
        data = write_entry(self.kind, self.uuid, self.credit, self.cost, self.name)
        if not traits or not self.traits:
            return data
        extension = write_traits(fit_traits(self.traits, room - len(data)))
        return write_entry(self.kind, self.uuid, self.credit, self.cost, self.name, extension)


class Former:
    """A name that an endpoint had, until it got another by this version."""

    __slots__ = ("name", "version")

    def __init__(self, name: str, version: int) -> None:
        self.name = name
        self.version = version


_JUDGED_MAX: "Final" = 8  # ways by which a guard has looked at one line

# As long as there is nothing in them: an empty dict takes 64 bytes, and there are many. Never changed.
_NO_ENTRIES: "dict[bytes, Entry]" = {}
_NOT_JUDGED: "dict[int, tuple[int, int]]" = {}


class Line:
    """The endpoints of one node in one realm, with the version of each: what came after a version can be told
    by itself.
    """

    __slots__ = (
        "advertisers",
        "altered",
        "denied",
        "entries",
        "floor",
        "gone",
        "judged",
        "partial",
        "shape",
        "version",
        "whole_from",
    )

    def __init__(self) -> None:
        self.version = 0
        self.advertisers: "tuple[bytes, ...]" = ()  # the neighbours that told what is in it
        self.whole_from: "LinkFace | None" = None  # over which the whole of it is being told
        self.entries = _NO_ENTRIES  # by version
        self.gone = _NO_ENTRIES  # withdrawn of late, by version
        self.floor = 0  # from before this version withdrawals have been forgotten
        self.denied = _NO_ENTRIES  # that a guard does not let in, and may let in later
        self.partial = False  # who told it has left something out
        self.shape = 0  # another number whenever it holds something else
        self.altered = NOT_ANEW
        self.judged = _NOT_JUDGED  # by way, of which guard and shape

    def let_in(self, entry: Entry) -> None:
        """Add an endpoint as the newest."""
        if not self.entries:
            self.entries = {}
        self.entries[entry.uuid] = entry

    def deny(self, entry: Entry) -> None:
        """Keep an endpoint that a guard does not let in."""
        if not self.denied:
            self.denied = {}
        self.denied[entry.uuid] = entry

    def judge(self, way: int, stamp: "tuple[int, int]") -> None:
        """A guard has looked at all of it, by this way."""
        if not self.judged or len(self.judged) >= _JUDGED_MAX:
            self.judged = {}
        self.judged[way] = stamp

    def put(self, entry: Entry, guarded: bool) -> None:
        """Add, replace or (kind 0) withdraw an endpoint. With a guard, who may see it follows from its name;
        so the one that it had is remembered. As many that were withdrawn are remembered as there are left,
        else who is told but once a second would be told all of a long line.
        """
        gone = self.gone.pop(entry.uuid, None)
        former = self.entries.pop(entry.uuid, gone)
        if former is not None:
            if not entry.kind:
                entry.name = former.name
            if guarded:
                self._note_name(entry, former)
        if entry.kind:
            self.let_in(entry)
            return
        if not self.gone:
            self.gone = {}
        self.gone[entry.uuid] = entry
        while len(self.gone) > max(codes.TOMBSTONES_MAX, len(self.entries)):
            oldest = next(iter(self.gone.values()))
            self.floor = max(self.floor, oldest.version)
            del self.gone[oldest.uuid]

    def _note_name(self, entry: Entry, former: Entry) -> None:
        """The name before the last is forgotten: whoever was told of that one is told the whole line."""
        if entry.name == former.name:
            entry.former = former.former
            return
        if former.former is not None:
            self.floor = max(self.floor, former.former.version)
        entry.former = Former(former.name, entry.version)

    def is_cut(self, link: "LinkFace") -> bool:
        """Whether another link has told the beginning of it, and no more."""
        return not self.version and bool(self.entries) and self.whole_from is not link

    def is_empty(self) -> bool:
        """Whether there is nothing to forget of it."""
        return not (self.version or self.entries or self.denied)

    def since(self, base: int) -> "list[Entry]":
        """The changes after version `base`, in order; everything there is, if that is not known any more."""
        if 0 < base and base >= self.floor:
            changed = _after(self.entries, base) + _after(self.gone, base)
        else:
            changed = list(self.entries.values())
        changed.sort(key=lambda entry: entry.version)
        return changed


def _after(entries: "dict[bytes, Entry]", base: int) -> "list[Entry]":
    """The endpoints of a later version than `base`, which stand last: who tells one of many has not all of
    them looked at.
    """
    found: "list[Entry]" = []
    for entry in reversed(list(entries.values())):
        if entry.version <= base:
            break
        found.append(entry)
    return found


NO_LINE: "Final" = Line()  # everybody's, as long as nothing has been told: stays empty


def nearest(links: "list[LinkFace]") -> "LinkFace | None":
    """The best of some links; the first among equals."""
    best: "LinkFace | None" = None
    for link in links:
        if best is None or link.distance() < best.distance():
            best = link
    return best


class PeerKeeper:
    """The keeper of the nodes, who is told that one's time is up."""

    def give_up(self, peer: "Peer", now: int) -> None:
        """No other way was found in time."""
        raise NotImplementedError


class Peer(Remote):
    """A node in one incarnation. Its timer runs while its way is lost and may be found again."""

    __slots__ = (
        "connections",
        "entries",
        "held",
        "judged",
        "judged_at",
        "keeper",
        "labelled_by",
        "left",
        "lines",
        "metric",
        "moved_at",
        "moves",
        "heard_by",
        "nearer_at",
        "parted",
        "reachable",
        "route",
        "turned_at",
        "turns",
        "waits",
    )

    def __init__(
        self, keeper: PeerKeeper, node_id: bytes, incarnation: bytes, label: str = "", leaf: bool = False
    ) -> None:
        super().__init__(node_id, incarnation, label, leaf)
        self.keeper = keeper
        self.reachable = False
        self.left = 0  # when it became unreachable, ms
        self.parted = False  # it had said goodbye then
        self.waits = False  # its way is lost, and a neighbour may find another
        self.route: "Route | None" = None
        self.connections: "list[LinkFace]" = []  # the links that join it with this node
        self.metric = 0  # of the way to it, the last known
        self.nearer_at = _BEFORE  # when a nearer way came while there was one, ms
        self.heard_by = 0  # the widest realm by which it was heard before that
        self.lines = [NO_LINE] * 4  # by realm; what changes one asks for it by `line`
        self.entries: "dict[bytes, Entry]" = {}
        self.held: "list[Frame]" = []  # messages that wait for a way, ours and others'
        self.moved_at = _BEFORE  # since when the neighbours that led to it one after the other count
        self.moves = 0
        self.judged_at = _CALM  # since when the ways count by which a guard looked at its lines
        self.judged = 0
        self.labelled_by = b""  # the neighbour that told its label, if the node did not itself
        self.turned_at = _CALM  # when its label changed first, of the last changes close behind each other
        self.turns = 0  # ... and how many followed

    def __repr__(self) -> str:
        return "<node %r %s%s>" % (self.label, self.node_id.hex(), ", a leaf" if self.leaf else "")

    def fire(self, now: int) -> None:
        self.keeper.give_up(self, now)

    def line(self, realm: int) -> Line:
        """That of a realm, to be changed."""
        line = self.lines[realm]
        if line is NO_LINE:
            line = self.lines[realm] = Line()
        return line

    def direct(self) -> "LinkFace | None":
        """The best of the links that join it with this node. One that drains stays until it is closed, so
        that order is kept.
        """
        hop = self.hop
        if hop is not None and hop.state == codes.CLOSING and hop in self.connections:
            return hop
        return nearest(self.connections)

    # What another room adds

    def has_numbers(self) -> bool:
        """Whether messages were counted, in either direction: their numbers go on if it returns."""
        raise NotImplementedError

    def expects_us(self) -> bool:
        """Whether it has numbers of ours in mind."""
        raise NotImplementedError

    def forget_received(self) -> None:
        """It has forgotten what it sent us."""

    def is_needed(self) -> bool:
        """Whether something is under way with it."""
        raise NotImplementedError

    def keep_to(self, links: "list[LinkFace | None]") -> None:
        """No other link leads to it any more."""

    def leave(self, link: "LinkFace") -> None:
        """The way by that link, to a neighbour, is another now: it may lead back to us, or end in a link
        over which the node does not believe us. What went by it leaves it, unless it is the next hop.
        """

    def came_back(self, endpoint: bytes, id: int) -> bool:
        """A message came that says it is ours to it. Whether that may be so: one with that id is under way,
        or those to that endpoint went by another link than the next hop, as no more will.
        """
        raise NotImplementedError


class Routes:
    """The nodes that can be reached, by node id, and those that could until recently."""

    def __init__(self) -> None:
        self.peers: "dict[bytes, Peer]" = {}
        self.departed: "dict[bytes, Peer]" = {}  # by node and incarnation: their numbers go on if they return

    def find(self, key: bytes) -> "Peer | None":
        """The peer of that identity, reachable or recently so."""
        peer = self.peers.get(key[: codes.ID_SIZE])
        if peer is not None and peer.key == key:
            return peer
        return self.departed.get(key)

    def arrive(self, peer: Peer) -> None:
        """A node can be reached now."""
        self.departed.pop(peer.key, None)
        self.peers[peer.node_id] = peer

    def depart(self, peer: Peer, now: int) -> None:
        """A node can be reached no longer."""
        if self.peers.get(peer.node_id) is peer:
            del self.peers[peer.node_id]
        peer.left = now
        if peer.has_numbers():
            self.remember(peer)

    def remember(self, peer: Peer) -> None:
        """Keep the numbers of a node that cannot be reached."""
        if len(self.departed) >= codes.DEPARTED_MAX:
            self._evict()
        self.departed[peer.key] = peer

    def _evict(self) -> None:
        """Make room: rather a node that we sent nothing to, for it expects no number of us."""
        victim = next(iter(self.departed))
        for key, peer in self.departed.items():
            if not peer.expects_us():
                victim = key
                break
        del self.departed[victim]

    def sweep(self, now: int) -> None:
        """Forget those who left so long ago that they have forgotten us (section 7.1)."""
        for key, peer in list(self.departed.items()):
            if now - peer.left >= codes.FLOW_FORGET_OUT_MS:
                del self.departed[key]
            elif now - peer.left >= codes.FLOW_FORGET_IN_MS:
                peer.forget_received()  # before it starts anew at 1, or its messages would be late
