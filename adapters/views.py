"""The core's nodes, endpoints, links, ways and events as users see them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from busway.adapters.frozen import replace
from busway.adapters.literal import id_of, text_of
from busway.adapters.protecting import Protection
from busway.adapters.records import Change, EndpointInfo, Hop, LinkInfo, NodeInfo, RouteInfo
from busway.adapters.results import error_of
from busway.errors import PayloadError, Undeliverable
from busway.names import ascii_safe
from busway.protocol import Connection, Node, Peer, codes, errors, events
from busway.protocol.messaging.endpoints import Endpoint
from busway.protocol.routing.peers import Entry
from busway.protocol.wire.fields import Reader
from busway.protocol.wire.traits import labels_of

# How links end that nobody has to hear of.
ORDERLY = (codes.GOODBYE, codes.DUPLICATE_LINK, codes.REPLACED)
_STATES = {
    codes.SECURING: "connecting",
    codes.GREETING: "connecting",
    codes.OPEN: "connected",
    codes.CLOSING: "closing",
    codes.CLOSED: "closed",
}
_UNKNOWN = Protection()
_CHANGES = {
    events.LINK_OPEN: "link-up",
    events.LINK_STATE: "link-state",
    events.LINK_CLOSED: "link-down",
    events.NODE_UP: "node-up",
    events.NODE_CHANGED: "node-changed",
    events.NODE_DOWN: "node-down",
    events.ENDPOINT_UP: "endpoint-up",
    events.ENDPOINT_DOWN: "endpoint-down",
    events.DUPLICATE_NODE: "duplicate-node",
}


def node_info(peer: Peer, me: bool = False) -> NodeInfo:
    return NodeInfo(peer.node_id, peer.label, peer.leaf, me)


def link_info(connection: Connection) -> LinkInfo:
    peer = connection.peer
    proved = protection(connection)
    return LinkInfo(
        peer.node_id if peer is not None else b"",
        peer.label if peer is not None else "",
        _STATES[connection.state],
        codes.REALM_NAMES[connection.realm],
        connection.link.address,
        connection.rtt_ms / 1000 if connection.rtt_ms >= 0 else None,
        connection.bytes_in,
        connection.bytes_out,
        id=getattr(connection.tag, "id", 0),
        protection=proved.how,
        trusted=proved.trusted,
        key=proved.key,
    )


def protection(connection: Connection) -> Protection:
    """The proof of the other side of a connection; that of one which was given up is not known."""
    found: Protection = getattr(connection.tag, "protection", _UNKNOWN)
    return found


def protection_row(connection: Connection) -> dict[str, object]:
    """The same for the introspection endpoint (docs/protocol.md, section 9)."""
    proved = protection(connection)
    row: dict[str, object] = {"protection": proved.how, "trusted": proved.trusted, "key": proved.key}
    client = getattr(connection.tag, "client", None)
    return row if client is None else row | {"client": client.row()}


def listed_link(connection: Connection) -> LinkInfo:
    """A connection as `links()` lists it: one that was dialled as the link that heals."""
    owner = getattr(connection.tag, "owner", None)
    if owner is None or owner.runner is not connection.tag:
        return link_info(connection)
    info: LinkInfo = owner.info()
    return info


def endpoint_info(found: Endpoint | Entry, node_id: bytes) -> EndpointInfo:
    kind, realm = codes.KIND_NAMES[found.kind], codes.REALM_NAMES[found.realm]
    labels = tuple(label.decode() for label in labels_of(found.traits)) if found.traits else ()
    return EndpointInfo(found.uuid, found.name, kind, realm, node_id, labels)


def change_of(event: events.Event) -> Change | None:
    """An event of the core as users see it; None for one that is not about links, nodes and endpoints."""
    what = _CHANGES.get(event.kind, "")
    if isinstance(event, events.LinkEvent):
        ended = event.kind == events.LINK_CLOSED
        info = link_info(event.connection) if ended else listed_link(event.connection)
        return Change(what, info, event.code, ascii_safe(event.text))
    if isinstance(event, events.NodeEvent):
        text = "" if event.kind != events.NODE_DOWN else "goodbye" if event.goodbye else "lost"
        return Change(what, node_info(event.peer), text=text)
    if isinstance(event, events.EndpointEvent):
        entry = event.entry
        if event.former is not None:
            what = "endpoint-changed"
        return Change(what, endpoint_info(entry, entry.peer.node_id)) if entry.uuid != codes.LOOKUP else None
    if isinstance(event, events.DuplicateNodeEvent):
        return Change(what, NodeInfo(event.node_id, "", False))
    return None


def all_nodes(node: Node) -> list[NodeInfo]:
    """This node first, then those that can be reached."""
    return [node_info(node.me, True)] + [node_info(peer) for peer in node.peers()]


def all_endpoints(node: Node) -> list[EndpointInfo]:
    """This node's own endpoints first, the built-in one left out, then the others'."""
    mine = [each for each in node.endpoints() if each.uuid != codes.INTROSPECTION]
    theirs = [each for each in node.entries() if each.uuid != codes.LOOKUP]
    found = [endpoint_info(each, node.node_id) for each in mine]
    return found + [endpoint_info(each, each.peer.node_id) for each in theirs]


def all_routes(node: Node) -> list[RouteInfo]:
    """The ways to all nodes that can be reached."""
    found = []
    for peer in node.peers():
        route, hop = peer.route, peer.hop
        found.append(
            RouteInfo(
                peer.node_id,
                peer.label,
                peer.leaf,
                hop.peer.node_id if hop is not None and hop.peer is not None else b"",
                codes.REALM_NAMES[peer.metric >> 14],
                peer.metric & 0x3FFF,
                route.distance >> 16 if route is not None and route.distance >= 0 else 0,
                len(route.offers) if route is not None else 0,
            )
        )
    return found


def tracing(
    node: Node, wanted: Any, timeout_ms: int, clock: Callable[[], int]
) -> Generator[int, events.Outcome, list[Hop]]:
    """The steps of a trace: yields tokens, takes their outcomes, returns the nodes on the way.

    Args: `clock` gives ns. Raises RequestTimeout, Undeliverable.
    """
    outcome = yield node.locate(id_of(wanted), clock() // 1_000_000, timeout_ms=timeout_ms)
    if outcome.status != events.TRACED:
        raise error_of(outcome, wanted)
    target = outcome.node_id
    hops: list[Hop] = []
    while target != node.node_id and not (hops and hops[-1].node == target):
        if len(hops) > codes.HOPS_MAX:
            raise Undeliverable(codes.NO_ROUTE, "the way has more than 256 hops", text_of(wanted))
        started = clock()
        outcome = yield node.trace(target, len(hops), started // 1_000_000, timeout_ms=timeout_ms)
        if outcome.status != events.TRACED:
            raise error_of(outcome, wanted)
        hops.append(_as_seen_here(node, hop_of(outcome, (clock() - started) / 1e9)))
    return hops


def _as_seen_here(node: Node, hop: Hop) -> Hop:
    """A leaf next door knows less about the link than this side, which chose it and reckons with its cost."""
    peer = node.routes.peers.get(hop.node)
    link = None if peer is None or not peer.leaf else peer.hop
    if link is None or link.peer is not peer:
        return hop
    return replace(
        hop, realm=codes.REALM_NAMES[link.realm], cost=link.cost, medium=link.link.medium or hop.medium
    )


def hop_of(outcome: events.Outcome, rtt: float) -> Hop:
    """The finding of one step of a trace. Raises PayloadError for what is not the payload of TRACED."""
    payload = outcome.payload
    assert isinstance(payload, bytes)
    reader = Reader(payload, 0, len(payload))
    try:
        realm, cost, medium, label = reader.u8(), reader.varint(), reader.text8(), reader.text8()
        return Hop(outcome.node_id, label, codes.REALM_NAMES[realm], cost, medium, rtt)
    except (errors.Refusal, IndexError) as error:
        raise PayloadError(f"node {outcome.node_id.hex()} answered a trace with nonsense: {error}") from None
