"""The other nodes as this one sees them: identity, links, next hop, endpoints, and the conversation in both
directions. Which way leads to them is decided in routing.py.
"""

from busway.protocol.link.face import Remote
from busway.protocol.routing.directory import Line
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.face import LinkFace
    from busway.protocol.messaging.endpoints import InFlow, Request
    from busway.protocol.messaging.flows import OutFlow
    from busway.protocol.routing.directory import Entry
    from busway.protocol.routing.mesh import Mesh
    from busway.protocol.routing.router import Route
    from busway.protocol.wire.messages import Frame


class Peer(Remote):
    """A node in one incarnation. Its timer runs while its way is lost and may be found again."""

    __slots__ = (
        "connections",
        "detained",
        "entries",
        "in_flows",
        "left",
        "lines",
        "mesh",
        "metric",
        "out_flows",
        "patient",
        "route",
        "serving",
        "stalled",
    )

    def __init__(self, node_id: bytes, incarnation: bytes, label: str, leaf: bool) -> None:
        super().__init__(node_id, incarnation, label, leaf)
        self.left = 0  # when it became unreachable, ms
        self.patient = False  # its way is lost, and a neighbour may find another
        self.mesh: "Mesh | None" = None  # while it can be reached
        self.route: "Route | None" = None
        self.connections: "list[LinkFace]" = []  # the links that join it with this node
        self.metric = 0  # of the way to it, the last known
        self.lines = [Line(), Line(), Line(), Line()]  # by realm; the first, PROCESS, stays empty
        self.entries: "dict[bytes, Entry]" = {}
        self.out_flows: "dict[bytes, OutFlow]" = {}
        self.in_flows: "dict[bytes, InFlow]" = {}
        self.stalled: "list[OutFlow]" = []  # flows that wait for a way
        self.detained: "list[Frame]" = []  # messages that wait for one, ours and others'
        self.serving: "dict[int, Request]" = {}  # its requests that we have not answered yet, by id

    def __repr__(self) -> str:
        return "<node %r %s%s>" % (self.label, self.node_id.hex(), ", a leaf" if self.leaf else "")

    def fire(self, now: int) -> None:
        assert self.mesh is not None
        self.mesh.give_up(self, now)

    def direct(self) -> "LinkFace | None":
        """The best of the links that join it with this node. One that drains stays until it is closed, so
        that order is kept.
        """
        hop = self.hop
        if hop is not None and hop.state == codes.CLOSING and hop in self.connections:
            return hop
        best: "LinkFace | None" = None
        for connection in self.connections:
            if best is None or connection.distance() < best.distance():
                best = connection
        return best


class Routes:
    """The nodes that can be reached, by node id, and those that could until recently."""

    __slots__ = ("departed", "peers")

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
        if peer.out_flows or peer.in_flows:
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
            if not peer.out_flows:
                victim = key
                break
        del self.departed[victim]

    def sweep(self, now: int) -> None:
        """Forget those who left so long ago that they have forgotten us (section 7.1)."""
        for key, peer in list(self.departed.items()):
            if now - peer.left >= codes.FLOW_FORGET_OUT_MS:
                del self.departed[key]
            elif now - peer.left >= codes.FLOW_FORGET_IN_MS:
                peer.in_flows = {}  # before it starts anew at 1, or its messages would be late
