"""Events about nodes and their endpoints."""

from busway.protocol.link.face import LinkFace
from busway.protocol.outcomes import DENIED, DUPLICATE_NODE, EXCEEDED, FABRIC_ASKED, WITHDRAWN, Event
from busway.protocol.routing.peers import Entry, Peer


class NodeEvent(Event):
    """NODE_UP, NODE_DOWN: a node became reachable, or is so no longer; then `goodbye` says whether it said
    goodbye, as far as is known by then. NODE_CHANGED: of one that is reachable, its label, or that it is a
    leaf, has become known.
    """

    __slots__ = ("goodbye", "peer")

    def __init__(self, kind: int, peer: Peer) -> None:
        self.kind = kind
        self.peer = peer
        self.goodbye = peer.parted


class EndpointEvent(Event):
    """ENDPOINT_UP, ENDPOINT_DOWN: an endpoint, this node's own too, appeared or changed, or is gone. Of one
    that changed `former` is what it was; `how` it has gone is WITHDRAWN, SAID_GOODBYE or LOST.

    A node that seems lost may be there again at once, or have said goodbye: whoever watches
    (`Node.watch_departures`) is told by ENDPOINT_GONE how each of its endpoints has gone in the end, if it
    has.
    """

    __slots__ = ("entry", "former", "how")

    def __init__(self, kind: int, entry: Entry, how: int = WITHDRAWN, former: "Entry | None" = None) -> None:
        self.kind = kind
        self.entry = entry
        self.how = how
        self.former = former


class DuplicateNodeEvent(Event):
    """DUPLICATE_NODE: two live nodes have the same id, such as two machines from one disk image."""

    __slots__ = ("node_id",)

    def __init__(self, node_id: bytes) -> None:
        self.kind = DUPLICATE_NODE
        self.node_id = node_id


class DeniedEvent(Event):
    """DENIED: somebody may not do what it tried, `what` of MAY_SERVE to MAY_SEE, with an endpoint. For one
    link, node, action and endpoint it is told once, until the guard changes or much else was denied there.
    """

    __slots__ = ("link", "name", "node_id", "realm", "uuid", "what")

    def __init__(self, link: LinkFace, node_id: bytes, what: int, uuid: bytes, name: str, realm: int) -> None:
        self.kind = DENIED
        self.link = link
        self.node_id = node_id
        self.what = what
        self.uuid = uuid
        self.name = name
        self.realm = realm


class ExceededEvent(Event):
    """EXCEEDED: a link brought more than its share, `which` of QUOTA_ROUTES to QUOTA_PATTERNS: what was over
    is ignored, or waits (handlers). It is told once for each link and quota in a while (SWEEP_MS).
    """

    __slots__ = ("link", "which")

    def __init__(self, link: LinkFace, which: int) -> None:
        self.kind = EXCEEDED
        self.link = link
        self.which = which


class FabricEvent(Event):
    """FABRIC_ASKED: a node or endpoint is to be asked for beyond the fabric (routing/fabric.py); `name` is
    that of the endpoint, where it is known.
    """

    __slots__ = ("name", "uuid")

    def __init__(self, uuid: bytes, name: str) -> None:
        self.kind = FABRIC_ASKED
        self.uuid = uuid
        self.name = name
