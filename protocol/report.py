"""The state of a node in plain values (ints, strings, bytes, lists, dicts): what the introspection endpoint
answers.
"""

from busway.protocol import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.connection import Connection
    from busway.protocol.directory import Entry
    from busway.protocol.endpoints import Endpoint
    from busway.protocol.node import Node


def report(node: "Node", now: int) -> "dict[str, object]":
    """See docs/protocol.md, section 9."""
    counters = dict(node.counters)
    counters.update(node.origin.counters)
    counters.update(node.desk.counters)
    return {
        "node": node.me.node_id,
        "incarnation": node.me.incarnation,
        "label": node.label,
        "bus": node.bus,
        "leaf": node.leaf,
        "links": [_link(connection, now) for connection in node.connections],
        "endpoints": [_endpoint(endpoint) for endpoint in node.endpoints()],
        "seen": [_entry(entry) for entry in node.entries()],
        "nodes": [
            {"node": peer.node_id, "label": peer.label, "leaf": peer.leaf}
            for peer in node.routes.peers.values()
        ],
        "counters": counters,
        "outstanding": len(node.origin.pending),
    }


def _link(connection: "Connection", now: int) -> "dict[str, object]":
    peer = connection.peer
    return {
        "peer": peer.node_id if peer is not None else b"",
        "label": peer.label if peer is not None else "",
        "state": codes.STATE_NAMES[connection.state],
        "realm": codes.REALM_NAMES[connection.realm],
        "address": connection.link.address,
        "via": connection.via,
        "dialled": connection.link.dialled,
        "cost": connection.cost,
        "rtt_ms": connection.rtt_ms,
        "age_ms": now - connection.opened_at if connection.opened_at >= 0 else -1,
        "silent_ms": now - connection.last_read,
        "keepalive_ms": connection.keepalive_ms,
        "bytes_in": connection.bytes_in,
        "bytes_out": connection.bytes_out,
        "queued_bytes": connection.outbox.queued_size + connection.outbox.broadcast_size,
        "skipped_frames": connection.skipped_frames,
    }


def _endpoint(endpoint: "Endpoint") -> "dict[str, object]":
    receivers = endpoint.receivers
    return {
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


def _entry(entry: "Entry") -> "dict[str, object]":
    return {
        "endpoint": entry.uuid,
        "name": entry.name,
        "kind": codes.KIND_NAMES[entry.kind],
        "realm": codes.REALM_NAMES[entry.realm],
        "node": entry.peer.node_id,
    }
