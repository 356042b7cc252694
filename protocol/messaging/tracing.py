"""Where an endpoint or node is, and by which links a message gets there: what `locate` and `trace` ask.

The origin's side; who is asked answers in forwarding.py.
"""

from busway.protocol import outcomes
from busway.protocol.messaging.flows import LAUNCHED, NEXT, Pending
from busway.protocol.messaging.sides import SenderSide
from busway.protocol.routing.peers import Peer
from busway.protocol.wire import codes
from busway.protocol.wire.messages import RoutingHeader, signal


class Tracer:
    """Asks, and takes the answers."""

    __slots__ = ("_origin",)

    def __init__(self, origin: SenderSide) -> None:
        self._origin = origin

    def locate(self, id: bytes, timeout_ms: int, now: int) -> int:
        """The node that has an endpoint, or that id: known, or looked up as for a message."""
        origin = self._origin
        pending = origin.open(signal(0, b"", id))
        pending.expires = now + timeout_ms
        found = self.find(id, now)
        if found is not None:
            self.found(pending, found)
        else:
            origin.park_unresolved(pending, 0, now)
        return pending.id

    def find(self, id: bytes, now: int) -> "Peer | None":
        origin = self._origin
        if id == origin.me.node_id:
            return origin.me
        peer = origin.routes.peers.get(id)
        if peer is None:
            target = origin.target(id, now)
            if target is not None and target.flows:
                peer = target.flows[0].peer
            elif target is not None:
                entries = origin.directory.holders(id)
                peer = entries[0].peer if entries else origin.me
        return peer

    def found(self, pending: Pending, peer: Peer) -> None:
        origin = self._origin
        outcome = origin.finish(pending, outcomes.TRACED)
        outcome.node_id = peer.node_id

    def trace(self, node_id: bytes, hops: int, timeout_ms: int, now: int) -> int:
        """TRACE, which may pass `hops` nodes."""
        origin = self._origin
        peer = origin.routes.peers.get(node_id)
        hop = None if peer is None else peer.hop
        peer = origin.me if peer is None else peer
        out = signal(codes.TRACE, peer.key)
        pending = origin.open(out)
        if hop is None:
            origin.finish(pending, outcomes.UNDELIVERED, codes.NO_ROUTE)
            return pending.id
        pending.state = NEXT[pending.state, LAUNCHED]
        pending.expires = now + timeout_ms
        origin.timers.arm(pending, pending.expires)
        out.route = RoutingHeader(b"", codes.PROCESS, hops)
        hop.enqueue(out)
        return pending.id

    def traced(self, peer: Peer, id: int, payload: bytes) -> None:
        """TRACED came, of the node where the hops ended."""
        origin = self._origin
        pending = origin.pending.get(id)
        if pending is None or pending.out.signal != codes.TRACE:
            origin.counters["unknown_reply"] += 1
            return
        outcome = origin.finish(pending, outcomes.TRACED)
        outcome.payload = payload
        outcome.node_id = peer.node_id
