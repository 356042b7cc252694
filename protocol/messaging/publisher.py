"""The origin's side of broadcasts: a copy to each link that leads to subscribers, a count where one is
full.
"""

from busway.protocol import outcomes
from busway.protocol.errors import FullError, WrongKindError
from busway.protocol.messaging.flows import LAUNCHED, NEXT, PARKED, UNLIMITED, WAITING, OutFlow, Pending
from busway.protocol.messaging.sides import SenderSide
from busway.protocol.routing.directory import Directory
from busway.protocol.wire import codes
from busway.protocol.wire.messages import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.face import LinkFace


class PublishFlow(OutFlow):
    """The numbers of one endpoint's broadcasts, and what waits for room on a link."""

    __slots__ = ("publisher",)

    def __init__(self, publisher: "Publisher", origin: SenderSide, endpoint: bytes, now: int) -> None:
        super().__init__(origin, origin.me, endpoint, UNLIMITED, now)
        self.publisher = publisher

    def is_announced(self, directory: Directory) -> bool:
        return self.endpoint in directory.by_uuid

    def resume(self, now: int, most: int = codes.OUTSTANDING_MAX) -> None:
        self.publisher.resume(self, now)


class Publisher:
    """Numbers and spreads what this node publishes."""

    def __init__(self, origin: SenderSide) -> None:
        self._origin = origin
        self.flows: "dict[bytes, OutFlow]" = {}
        self.unheard: "dict[bytes, OutFlow]" = {}  # what nobody had subscribed to, counted for people
        self._epoch = -1
        # By realm and endpoint, as long as nothing changes.
        self._links: "list[dict[bytes, list[LinkFace]]]" = [{}, {}, {}, {}]

    def publish(self, out: Frame, realm: int, wait: bool, patience_ms: int, now: int) -> int:
        """Give every link within `realm` that leads to subscribers, and our own, a copy. Returns 0, or a
        token if it has to wait.
        """
        uuid = out.endpoint
        target = self._origin.targets.get(uuid) or self._origin.target(uuid, now)
        if target is None:
            if not self._origin.me.leaf:
                self._origin.lookups.ask_for_subscribers(uuid, now)
                self._note_unheard(uuid, now)
                return 0
        elif target.kind != codes.BROADCAST:
            raise WrongKindError(
                "this endpoint is of kind %s: use send or request" % codes.KIND_NAMES[target.kind]
            )
        flow = self.flows.get(uuid)
        if flow is None:
            flow = self.flows[uuid] = PublishFlow(self, self._origin, uuid, now)
        if not flow.waiting.items and self._spread(flow, out, realm, patience_ms, now):
            return 0
        if out.is_best_effort():  # it would overtake what waits still
            self._origin.counters["best_effort_dropped"] += 1
            return 0
        if not wait:
            raise FullError("the broadcast queues of links concerned are full: wait and publish again")
        pending = self._origin.open(out)
        pending.flow = flow
        pending.state = NEXT[pending.state, PARKED]
        pending.patience_ms = patience_ms
        pending.realm = realm
        if patience_ms > 0:
            self._origin.timers.arm(pending, now + patience_ms)
        flow.waiting.push(pending)
        self._await_room(flow)
        return pending.id

    def _note_unheard(self, uuid: bytes, now: int) -> None:
        flow = self.unheard.get(uuid)
        if flow is None:
            if len(self.unheard) >= codes.PRUNES_MAX:
                del self.unheard[next(iter(self.unheard))]
            flow = self.unheard[uuid] = PublishFlow(self, self._origin, uuid, now)
        flow.sent += 1
        flow.last_used = now

    def counts(self) -> "dict[bytes, int]":
        """How many have been published to each endpoint of late."""
        counts: "dict[bytes, int]" = {}
        for flows in (self.unheard, self.flows):
            for uuid, flow in flows.items():
                counts[uuid] = counts.get(uuid, 0) + flow.sent
        return counts

    def _links_for(self, uuid: bytes, realm: int) -> "list[LinkFace]":
        if uuid in self._origin.receiving.process_only:
            return []  # what is meant for it are objects, which cannot leave
        if self._epoch != self._origin.mesh.epoch:
            self._epoch = self._origin.mesh.epoch
            self._links = [{}, {}, {}, {}]
        links = self._links[realm].get(uuid)
        if links is None:
            me = self._origin.me
            found = self._origin.forwarder.links_for(me, me, uuid)
            links = self._links[realm][uuid] = [link for link in found if link.realm <= realm]
        return links

    def _spread(self, flow: OutFlow, out: Frame, realm: int, patience_ms: int, now: int) -> bool:
        """One copy to each link; False if it has to wait for room."""
        local = out.endpoint in self._origin.receiving.endpoints
        links = self._links_for(out.endpoint, realm)
        if links and (out.options is None or not out.options.best_effort):
            full = [link for link in links if link.broadcasts.size >= link.broadcast_size_max]
            if full and _waits(full, patience_ms, len(full) == len(links) and not local):
                return False
        flow.sent += 1
        flow.last_used = now
        out.number = flow.sent
        for link in links:
            link.broadcast(out)
        if local:
            self._origin.receiving.arrive_local(out, now)
        return True

    def _await_room(self, flow: OutFlow) -> None:
        first: Pending = flow.waiting.peek()
        for link in self._links_for(flow.endpoint, first.realm):
            if not link.has_broadcast_room():
                link.await_broadcast_room(flow)

    def resume(self, flow: OutFlow, now: int) -> None:
        """A link has room again for broadcasts, or is gone, or is not waited for any longer."""
        while len(flow.waiting):
            pending: Pending = flow.waiting.peek()
            if not self._spread(flow, pending.out, pending.realm, pending.patience_ms, now):
                self._await_room(flow)
                return
            flow.waiting.pop()
            pending.state = NEXT[pending.state, LAUNCHED]
            self._origin.finish(pending, outcomes.ACCEPTED)

    def lose_patience(self, pending: Pending, now: int) -> None:
        """A publish has waited long enough: those links that are full still miss what comes, until their
        queue is low again.
        """
        flow = pending.flow
        assert flow is not None
        for link in self._links_for(flow.endpoint, pending.realm):
            if not link.has_broadcast_room():
                link.lagging = True
        self.resume(flow, now)
        if pending.state == WAITING:  # behind one with more patience
            self._origin.timers.arm(pending, now + pending.patience_ms)


def _waits(full: "list[LinkFace]", patience_ms: int, nobody_else: bool) -> bool:
    """Whether a publish waits for links that are full: if there is nobody else it is for, or they may have
    room within its patience.
    """
    if patience_ms < 0 or nobody_else:
        return True
    if patience_ms:
        for link in full:
            if not link.lagging:
                return True
    return False
