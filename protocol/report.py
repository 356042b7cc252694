"""The state of a node in plain values (ints, strings, bytes, lists, dicts): what the introspection endpoint
answers.
"""

from busway.protocol.exchange import Exchange
from busway.protocol.link.connection import Connection
from busway.protocol.messaging.correspondent import talk
from busway.protocol.messaging.endpoints import Endpoint
from busway.protocol.routing.advertising import adverts
from busway.protocol.routing.mesh import Mesh
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.wire import codes
from busway.protocol.wire.traits import labels_of


def report(node: Exchange, now: int) -> "dict[str, object]":
    """See docs/protocol.md, section 9."""
    supplements = node.supplements
    mesh = node.mesh
    me = node.me
    origin = node.origin
    node.close_batches()
    counters = dict(mesh.counters)
    counters.update(mesh.router.counters)
    counters.update(mesh.forwarder.counters)
    counters.update(mesh.lookups.counters)
    counters.update(origin.counters)
    counters.update(node.receiving.counters)
    published = origin.publisher.counts()
    seen = mesh.directory.all()
    return {
        "node": me.node_id,
        "incarnation": me.incarnation,
        "label": me.label,
        "bus": node.bus,
        "leaf": me.leaf,
        "transit": mesh.router.transit,
        "links": [_link(node, connection, now) for connection in node.connections],
        "dialled": [] if supplements.dialled is None else supplements.dialled(),
        "endpoints": [_endpoint(endpoint) for endpoint in node.receiving.endpoints.values()],
        "published": [_published(node, uuid, published[uuid]) for uuid in published],
        "seen": [_entry(entry) for entry in seen],
        "nodes": [_node(mesh, peer) for peer in mesh.routes.peers.values() if peer.hop is not None],
        "counters": counters,
        "guarded": mesh.gate.guard is not None,
        "incoming_refused_ms": now - supplements.refused_at if supplements.refused_at >= 0 else -1,
        "outstanding": len(origin.pending),
        "things": node.receiving.pool.held,
        "memory": {} if supplements.memory is None else supplements.memory(),
    }


def _link(node: Exchange, connection: Connection, now: int) -> "dict[str, object]":
    peer = connection.peer
    row: "dict[str, object]" = {
        "peer": peer.node_id if peer is not None else b"",
        "label": peer.label if peer is not None else "",
        "leaf": peer.leaf if peer is not None else False,
        "state": codes.STATE_NAMES[connection.state],
        "realm": codes.REALM_NAMES[connection.realm],
        "medium": connection.link.medium,
        "address": connection.link.address,
        "via": connection.via,
        "dialled": connection.link.dialled,
        "cost": connection.cost,
        "lookups": connection.lookups,
        "rtt_ms": connection.rtt_ms,
        "age_ms": now - connection.opened_at if connection.opened_at >= 0 else -1,
        "silent_ms": now - connection.last_read,
        "keepalive_ms": connection.keepalive_ms,
        "bytes_in": connection.bytes_in,
        "bytes_out": connection.bytes_out,
        "asleep_ms": max(0, connection.asleep_until - now) if connection.asleep_until >= 0 else -1,
        "queued_bytes": connection.queued_bytes(),
        "forwarded": connection.transit.passed,
        "skipped_frames": connection.skipped_frames,
        "dropped_answers": connection.dropped_answers,
        "over": adverts(connection).neighbour.over,
        "aside": connection.aside_on,
        "things": 0 if connection.beside is None else connection.beside.held,
    }
    protection_of = node.supplements.protection_of
    if protection_of is not None:
        row.update(protection_of(connection))
    return row


def _node(mesh: Mesh, peer: Peer) -> "dict[str, object]":
    route = peer.route
    hop = peer.hop.peer if peer.hop is not None else None
    children = []
    if route is not None:
        for neighbour in mesh.router.neighbours:
            if route in neighbour.children:
                children.append(neighbour.link.peer.node_id)
    return {
        "node": peer.node_id,
        "incarnation": peer.incarnation,
        "label": peer.label,
        "leaf": peer.leaf,
        "via": hop.node_id if hop is not None else b"",
        "realm": codes.REALM_NAMES[peer.metric >> 14],
        "cost": peer.metric & 0x3FFF,
        "seqno": route.distance >> 16 if route is not None and route.distance >= 0 else 0,
        "offers": len(route.offers) if route is not None else 0,
        "children": children,
        "missed": sum([flow.missed + flow.bridged for flow in talk(peer).in_flows.values()]),
        "versions": [line.version for line in peer.lines[1:]],
    }


def _endpoint(endpoint: Endpoint) -> "dict[str, object]":
    receivers = endpoint.receivers
    row: "dict[str, object]" = {
        "endpoint": endpoint.uuid,
        "name": endpoint.name,
        "kind": codes.KIND_NAMES[endpoint.kind],
        "realm": codes.REALM_NAMES[endpoint.realm],
        "cost": endpoint.cost,
        "receivers": len(receivers),
        "origins": len(endpoint.active),
        "queued": endpoint.queued(),
        "taken": sum([receiver.taken for receiver in receivers]),
        "dropped": sum([receiver.dropped for receiver in receivers]),
        "refused": sum([receiver.refused for receiver in receivers]),
    }
    return _labelled(row, endpoint.traits)


def _published(node: Exchange, uuid: bytes, sent: int) -> "dict[str, object]":
    entries = node.directory.known(uuid)
    name = entries[0].name if entries else ""
    name_of = node.supplements.name_of
    if uuid in node.receiving.endpoints:
        name = node.receiving.endpoints[uuid].name
    elif not name and name_of is not None:
        name = name_of(uuid)
    return {"endpoint": uuid, "name": name, "sent": sent}


def _entry(entry: Entry) -> "dict[str, object]":
    row: "dict[str, object]" = {
        "endpoint": entry.uuid,
        "name": entry.name,
        "kind": codes.KIND_NAMES[entry.kind],
        "realm": codes.REALM_NAMES[entry.realm],
        "node": entry.peer.node_id,
    }
    return _labelled(row, entry.traits)


def _labelled(row: "dict[str, object]", traits: bytes) -> "dict[str, object]":
    """A row about an endpoint, with its labels, if it has some."""
    labels = labels_of(traits)
    if labels:
        row["labels"] = [label.decode() for label in labels]
    return row
