"""The rule of whose word a message is: when a neighbour is believed to speak for another node.

Nothing proves a source, so it must fit what is known of ways. Whoever passes a node's messages on has told of
a way to it, or reaches it through us; and a node that sends to us goes by a way as narrow as there is, and
by its own session with us where no narrower way exists (router.py): what comes otherwise is somebody else's.
While ways change, what was so a moment ago still counts. Knows no frame.
"""

from busway.protocol.link.face import LinkFace
from busway.protocol.routing.advertising import adverts, is_leaf
from busway.protocol.routing.peers import Peer
from busway.protocol.routing.topology import Topology
from busway.protocol.wire import codes


def may_pass_on(mesh: Topology, link: LinkFace, source: bytes, now: int) -> bool:
    """Whether the neighbour at the other end may pass on messages of that node."""
    told = adverts(link)
    return (
        tells_of(mesh, link, source) or now - told.retracted.get(source, -codes.BELIEF_MS) < codes.BELIEF_MS
    )


def tells_of(mesh: Topology, link: LinkFace, source: bytes) -> bool:
    """Whether it tells of a way to the node now, or reaches it through us: costs may differ at the two ends
    of a link, so that there and back are different ways.
    """
    route = mesh.router.routes.get(source)
    neighbour = adverts(link).neighbour
    return route is not None and (neighbour in route.offers or route in neighbour.children)


def is_near(mesh: Topology, link: LinkFace, peer: Peer, crossed: int, leaf: int = codes.PROCESS) -> bool:
    """Whether what comes over a link, and has `crossed` that realm at the widest before, has crossed no wider
    one than what a node sends to us would, or to a leaf of ours whose link has the realm `leaf`.
    """
    nearest = heard_by(mesh, peer)
    if leaf:  # our session with the node is one way of several to the leaf, and need not be the cheapest
        nearest = max(peer.metric >> 14 if peer.reachable else codes.GLOBAL, leaf)
    return max(link.realm, crossed) <= nearest


def believes(
    mesh: Topology, link: LinkFace, source: bytes, crossed: int, now: int, leaf: int = codes.PROCESS
) -> bool:
    """Whether what comes over a link is of that node, which is not the neighbour itself; the others are those
    of `is_near`.
    """
    peer = mesh.routes.find(source)
    if peer is not None and not is_near(mesh, link, peer, crossed, leaf):
        if max(link.realm, crossed) > peer.heard_by or not 0 <= now - peer.nearer_at < codes.BELIEF_MS:
            return False
    return mesh.leaf or may_pass_on(mesh, link, source, now)


def heard_by(mesh: Topology, peer: Peer) -> int:
    """The widest realm of links by which what it sends would come from other neighbours: there is no nearer
    way than these, as its own session, if that is our way to it, or one within a narrower realm.
    """
    hop = peer.hop
    if hop is not None and hop in peer.connections:
        return (min(hop.realm, codes.LOCALNET) if is_leaf(hop) else hop.realm) - 1
    return codes.GLOBAL if mesh.leaf or not peer.reachable else peer.metric >> 14


def note_nearer(mesh: Topology, peer: Peer, now: int) -> None:
    """A nearer way comes, while there is one: what is under way by that counts for a moment, and nothing that
    would not have been heard before.
    """
    former = peer.heard_by if 0 <= now - peer.nearer_at < codes.BELIEF_MS else codes.PROCESS
    peer.heard_by = max(former, heard_by(mesh, peer))
    peer.nearer_at = now
