"""The network as this node knows it, for all of its parts that deal with routes: data, and the few things
that they ask of the part above (mesh.py).
"""

from busway.protocol.link.face import LinkFace
from busway.protocol.routing.directory import Directory
from busway.protocol.routing.guard import Gate
from busway.protocol.routing.host import RoutingHost
from busway.protocol.routing.peers import Entry, Peer, PeerKeeper, Routes
from busway.protocol.routing.router import Route, Router
from busway.protocol.timers import Call, Timers
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence


class Topology(PeerKeeper):
    """The nodes within reach, and what they have."""

    router: Router

    def __init__(
        self, host: RoutingHost, me: Peer, timers: Timers, connections: "Sequence[LinkFace]"
    ) -> None:
        self.host = host
        self.me = me
        self.leaf = me.leaf
        self.timers = timers
        self.routes = Routes()
        self.directory = Directory(self._note_patterns)
        self.connections = connections
        self.uplink: "LinkFace | None" = None  # of a leaf: where everything goes
        self.fresh: "dict[LinkFace, bool]" = {}  # those whose first directory exchange is not over
        self._sync_timer = Call(self.check_syncing)
        self.leaving = False  # this node is closing
        self.fabric = False  # it is a gateway: what nobody here has is asked for beyond (fabric.py)
        self.epoch = 0  # counts the changes that may concern where broadcasts go
        self.counters = {
            "narrow_entry": 0,
            "builtin_entry": 0,
            "entries_over": 0,
            "lines_held": 0,
            "name_conflicts": 0,
            "links_opened": 0,
            "links_refused": 0,
            "links_lost": 0,
            "unfinished": 0,
            "beyond_realm": 0,
            "denied": 0,
            "entries_denied": 0,
            "patterns_over": 0,
        }
        self.gate = Gate(host, self.counters)

    def _note_patterns(self, teller: object, count: int) -> None:
        """So many patterns of a link, or of this node, that mean a name get nothing of it."""
        self.counters["patterns_over"] += count
        if isinstance(teller, LinkFace):
            self.gate.exceeded(teller, codes.QUOTA_PATTERNS)

    def own(self, uuid: bytes) -> "Entry | None":
        """The entry that others are told of an endpoint of ours."""
        if uuid == codes.LOOKUP:
            return None  # which nobody sends to
        for line in self.me.lines:
            entry = line.entries.get(uuid)
            if entry is not None:
                return entry
        return None

    def peer_on(self, route: Route) -> "Peer | None":
        """The node that a route leads to, unless another incarnation of it counts."""
        owner = route.owner
        assert owner is None or isinstance(owner, Peer)
        return owner

    def check_syncing(self, now: int) -> None:
        """Look whether a link's first directory exchange is not over. One that is not open counts only if we
        dialled it: else a stranger who says nothing would keep everyone waiting. The first that counts ends
        the search, for hundreds may be opening at once.
        """
        syncing = False
        again = -1
        for connection in self.fresh:
            if connection.waits_for_peer:
                continue
            if connection.opened_at < 0:
                syncing = connection.link.dialled
            elif now - connection.opened_at < codes.SYNC_PATIENCE_MS:
                syncing = True
                again = connection.opened_at + codes.SYNC_PATIENCE_MS
            if syncing:
                break
        if again < 0:
            self.timers.disarm(self._sync_timer)
        elif self._sync_timer.deadline < 0:
            self.timers.arm(self._sync_timer, again)
        self.host.syncing(syncing, now)

    def synced(self, connection: LinkFace, now: int) -> None:
        """A link's first directory exchange is over."""
        connection.synced = True
        self.fresh.pop(connection, None)
        self.check_syncing(now)

    # Of the part above

    def peer_of(self, key: bytes, now: int) -> Peer:
        """The node that a message names. One that cannot be reached is remembered for a while; a leaf reaches
        everyone through its router.
        """
        raise NotImplementedError

    def lines_left(self, peer: Peer, now: int) -> None:
        """Nobody tells a node's lines here any more."""
        raise NotImplementedError

    def entry_announced(self, entry: Entry, now: int) -> None:
        """Another node has an endpoint."""
        raise NotImplementedError

    def entry_withdrawn(self, peer: Peer, uuid: bytes, now: int) -> None:
        """... or has it no longer."""
        raise NotImplementedError

    def learn(self, peer: Peer, label: str, leaf: bool, now: int) -> None:
        """A node's HELLO, or a line of its, says who it is. The way to it may have been known before."""
        raise NotImplementedError

    def node_gone(self, key: bytes, parted: bool, now: int) -> None:
        """A leaf's router says that a node cannot be reached any more; `parted`: it has said goodbye."""
        raise NotImplementedError

    def part(self, route: Route, now: int) -> None:
        """A neighbour says that a source has said goodbye."""
        raise NotImplementedError

    def note_farewell(self, key: bytes, realm: int, now: int) -> None:
        """The same of one that cannot be reached; who says so is behind a link of that realm."""
        raise NotImplementedError

    def adopted(self, connection: LinkFace, route: Route, now: int) -> None:
        """A neighbour reaches a source through us."""
        raise NotImplementedError
