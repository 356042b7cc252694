"""Which nodes can be reached, and over which connection the next hop goes.

Here a node is reachable only as a direct neighbour. Routes over several hops find their place in `Peer.hop`:
a
destination keeps its flows and entries while its next hop changes.
"""

from busway.protocol import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.connection import Connection
    from busway.protocol.directory import Entry
    from busway.protocol.endpoints import InFlow, Request
    from busway.protocol.flows import OutFlow


class Peer:
    """A node as seen from here: its identity, links, next hop, endpoints, and the flows in both
    directions.
    """

    __slots__ = (
        "casts",
        "connections",
        "entries",
        "hop",
        "in_flows",
        "incarnation",
        "label",
        "leaf",
        "left",
        "node_id",
        "out_flows",
        "serving",
        "skipped",
    )

    def __init__(self, node_id: bytes, incarnation: bytes, label: str, leaf: bool) -> None:
        self.node_id = node_id
        self.incarnation = incarnation
        self.label = label
        self.leaf = leaf
        self.left = 0  # when its last link ended, ms
        self.connections: "list[Connection]" = []
        self.hop: "Connection | None" = None  # None: this node itself, or no route
        self.entries: "dict[bytes, Entry]" = {}
        self.casts: "dict[bytes, Connection]" = {}  # the links that broadcasts to it take, by uuid
        self.skipped: "dict[bytes, int]" = {}  # broadcasts in a row that its link had no room for, by uuid
        self.out_flows: "dict[bytes, OutFlow]" = {}
        self.in_flows: "dict[bytes, InFlow]" = {}
        self.serving: "dict[int, Request]" = {}  # its requests that we have not answered yet, by id

    def cast_link(self, uuid: bytes) -> "Connection":
        """The link that broadcasts of an endpoint take to this neighbour: the same as long as it stands, as
        for a flow (flows.py).
        """
        link = self.casts.get(uuid)
        if link is None or link.state == codes.CLOSED:
            assert self.hop is not None
            link = self.casts[uuid] = self.hop
        return link


class Routes:
    """The table of nodes, by node id."""

    __slots__ = ("departed", "peers")

    def __init__(self) -> None:
        self.peers: "dict[bytes, Peer]" = {}
        self.departed: "dict[bytes, Peer]" = {}  # gone, but their numbers must go on if they come back

    def recall(self, node_id: bytes, incarnation: bytes) -> "Peer | None":
        """The peer of that identity, reachable or recently so; a former incarnation is not it."""
        peer = self.peers.get(node_id) or self.departed.get(node_id)
        return peer if peer is not None and peer.incarnation == incarnation else None

    def attach(self, peer: Peer, connection: "Connection") -> None:
        """Add a link to a peer."""
        self.departed.pop(peer.node_id, None)
        self.peers[peer.node_id] = peer
        peer.connections.append(connection)
        self.choose_hop(peer)

    def detach(self, peer: Peer, connection: "Connection", now: int) -> bool:
        """Remove a link from a peer; True if that was its last and the peer is gone."""
        peer.connections.remove(connection)
        self.choose_hop(peer)
        if peer.connections:
            return False
        del self.peers[peer.node_id]
        peer.left = now
        if peer.out_flows or peer.in_flows:
            if len(self.departed) >= codes.DEPARTED_MAX:
                self._evict()
            self.departed[peer.node_id] = peer
        return True

    def _evict(self) -> None:
        """Make room: rather a node that we sent nothing to, for it expects no number of us."""
        victim = next(iter(self.departed))
        for node_id, peer in self.departed.items():
            if not peer.out_flows:
                victim = node_id
                break
        del self.departed[victim]

    def sweep(self, now: int) -> None:
        """Forget those who left so long ago that they have forgotten us (section 7.1)."""
        for node_id, peer in list(self.departed.items()):
            if now - peer.left >= codes.FLOW_FORGET_OUT_MS:
                del self.departed[node_id]
            elif now - peer.left >= codes.FLOW_FORGET_IN_MS:
                peer.in_flows = {}  # before it starts anew at 1, or its messages would be late

    def choose_hop(self, peer: Peer) -> None:
        """The narrowest realm first, then the cheapest. A link that drains keeps its peer until it is closed,
        so order is kept.
        """
        hop = peer.hop
        if hop is not None and hop.state == codes.CLOSING and hop in peer.connections:
            return
        best: "Connection | None" = None
        for connection in peer.connections:
            if best is None or connection.distance() < best.distance():
                best = connection
        peer.hop = best
