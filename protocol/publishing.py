"""The origin's side of broadcasts: a copy to each link with subscribers, a count where one is full."""

from busway.protocol import codes, events
from busway.protocol.endpoints import size_of
from busway.protocol.errors import FullError, WrongKindError
from busway.protocol.flows import SENT, UNLIMITED, WAITING, OutFlow, Outgoing, Pending, Target
from busway.protocol.routes import Peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.connection import Connection
    from busway.protocol.origin import Origin


class Publisher:
    """Numbers and spreads what this node publishes."""

    __slots__ = ("_origin", "flows")

    def __init__(self, origin: "Origin") -> None:
        self._origin = origin
        self.flows: "dict[bytes, OutFlow]" = {}

    def publish(self, uuid: bytes, payload: object, format: int, type_id: bytes, wait: bool, now: int) -> int:
        """Give every link with subscribers, and our own, a copy. Returns 0, or a token if all links are
        full.
        """
        target = self._origin.target(uuid, now)
        if target is None:
            return 0
        if target.kind != codes.BROADCAST:
            raise WrongKindError(
                "this endpoint is of kind %s: use send or request" % codes.KIND_NAMES[target.kind]
            )
        flow = self.flows.get(uuid)
        if flow is None:
            flow = self.flows[uuid] = OutFlow(self._origin, self._origin.me, uuid, UNLIMITED, now)
        out = Outgoing(codes.PUBLISH, self._origin.me, uuid, 0, payload, format, type_id)
        if not len(flow.waiting) and self._spread(target, flow, out, now):
            return 0
        if not wait:
            raise FullError("the broadcast queues of all links concerned are full: wait and publish again")
        pending = self._origin.open(out)
        pending.flow = flow
        pending.state = WAITING
        flow.waiting.push(pending)
        self._await_any(target, flow)
        return pending.id

    def _spread(self, target: Target, flow: OutFlow, out: Outgoing, now: int) -> bool:
        """One copy to each link that has room; False if none has and nobody here takes it."""
        assert self._origin.desk is not None
        local = out.endpoint in self._origin.desk.endpoints
        hops = [peer.cast_link(out.endpoint) for peer in target.peers]
        if hops and not local and not [hop for hop in hops if hop.has_broadcast_room()]:
            return False
        flow.sent += 1
        flow.last_used = now
        out.seq = flow.sent
        for at in range(len(hops)):
            self._spread_to(target.peers[at], hops[at], out)
        if local:
            self._origin.desk.arrive_local(out, now)
        return True

    def _spread_to(self, peer: Peer, hop: "Connection", out: Outgoing) -> None:
        """One subscriber's copy, or its loss with a count."""
        uuid = out.endpoint
        size = size_of(out.payload)
        if size > hop.limits.message_size_max or not hop.has_broadcast_room():
            self._origin.counters["broadcast_dropped"] += 1
            peer.skipped[uuid] = peer.skipped.get(uuid, 0) + 1
            return
        if peer.skipped and peer.skipped.pop(uuid, 0) >= codes.BRIDGE_MIN:
            bridge = Outgoing(codes.SIGNAL, self._origin.me, uuid, out.seq - 1, b"", codes.RAW, b"")
            bridge.extra = codes.PROBE
            hop.enqueue_broadcast(bridge)  # or so large a step would look like one back
        hop.enqueue_broadcast(out)

    def _await_any(self, target: Target, flow: OutFlow) -> None:
        for peer in target.peers:
            peer.cast_link(flow.endpoint).await_broadcast_room(flow)

    def resume(self, flow: OutFlow, now: int) -> None:
        """A link has room again for broadcasts."""
        target = self._origin.target(flow.endpoint, now)
        while len(flow.waiting):
            pending: Pending = flow.waiting.peek()
            if target is not None and target.kind == codes.BROADCAST:
                if not self._spread(target, flow, pending.out, now):
                    self._await_any(target, flow)
                    return
            flow.waiting.pop()
            pending.state = SENT
            self._origin.finish(pending, events.ACCEPTED)
