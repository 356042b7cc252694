"""The origin's side of broadcasts: a copy to each link that leads to subscribers, a count where one is
full.

Plain ones wait in batches that the links share (link/batch.py): one more costs the same however many links
there are. A batch takes no more as soon as anything differs: where its messages go, how, or that they have to
wait.
"""

from busway.protocol import outcomes
from busway.protocol.errors import FullError, WrongKindError
from busway.protocol.link import batch
from busway.protocol.link.face import LinkFace, Outlet, Waiter
from busway.protocol.link.queue import OVERHEAD, SendQueue
from busway.protocol.messaging.flows import LAUNCHED, NEXT, PARKED, UNLIMITED, WAITING, OutFlow, Pending
from busway.protocol.messaging.sides import SenderSide
from busway.protocol.routing.directory import Directory
from busway.protocol.wire import codes
from busway.protocol.wire.address import address_of, uuid_of
from busway.protocol.wire.messages import Frame, note_several, with_name


class PublishFlow(OutFlow):
    """The numbers of one endpoint's broadcasts, and what waits for room on a link."""

    __slots__ = ("publisher",)

    def __init__(self, publisher: "Publisher", origin: SenderSide, endpoint: bytes, now: int) -> None:
        super().__init__(origin, origin.me, endpoint, UNLIMITED, now)
        self.publisher = publisher

    def is_announced(self, directory: Directory) -> bool:
        return directory.is_known(uuid_of(self.endpoint))

    def resume(self, now: int, most: int = codes.OUTSTANDING_MAX) -> None:
        self.publisher.resume(self, now)


class Spread(batch.Batch):
    """A batch of ours."""

    __slots__ = ("_growing", "epoch", "flow", "local", "others")

    def __init__(self, growing: "dict[bytes, Spread]", flow: OutFlow, format: int, epoch: int) -> None:
        super().__init__(flow.endpoint, format, flow.sent)
        self._growing = growing
        self.flow = flow
        self.epoch = epoch  # in which it goes where it does
        self.local = False  # to our own receivers, too
        self.others: "list[Outlet]" = []  # the links that take each message by itself
        growing[flow.endpoint] = self

    def closed(self) -> None:
        del self._growing[self.endpoint]


class Fan(Outlet):
    """The patterns that mean a name, as a link that the copies for them take."""

    __slots__ = ("_publisher", "name", "patterns", "realm")

    def __init__(self, publisher: "Publisher", name: str, patterns: "list[bytes]", realm: int) -> None:
        self.deadline = -1
        self.broadcasts = SendQueue()  # nothing waits here
        self.broadcast_size_max = 0  # so it is asked each time
        self.flush_wanted = False
        self.lagging = False
        self._publisher = publisher
        self.name = name
        self.patterns = patterns
        self.realm = realm

    def _links(self) -> "list[Outlet]":
        """The links of all these patterns."""
        links: "dict[Outlet, bool]" = {}
        for uuid in self.patterns:
            for link in self._publisher.links_of_pattern(uuid, self.realm):
                links[link] = True
        return list(links)

    def _full(self) -> "list[Outlet]":
        """The ones that have no room."""
        return _full(self._links())

    def has_broadcast_room_for(self, frame: Frame) -> bool:
        return all([link.has_broadcast_room_for(frame) for link in self._links()])

    def make_room(self, frame: Frame) -> bool:
        full = [link for link in self._links() if not link.make_room(frame)]
        self.lagging = all([link.lagging for link in full])
        return not full

    def has_broadcast_room(self) -> bool:
        full = self._full()
        self.lagging = all([link.lagging for link in full])
        return not full

    def fire(self, now: int) -> None:
        """It waits for no time."""

    def takes_batches(self) -> bool:
        return False

    def await_broadcast_room(self, waiter: Waiter) -> None:
        for link in self._full():
            link.await_broadcast_room(waiter)

    def lag(self) -> None:
        for link in self._full():
            link.lag()

    def broadcast(self, frame: Frame) -> None:
        self._publisher.copy(self, frame, self._publisher.flows[frame.endpoint].last_used)


class Naming(Outlet):
    """The link of a leaf, as long as its router has not been told the name of an endpoint."""

    __slots__ = ("_link", "_name", "_publisher", "_uuid")

    def __init__(self, publisher: "Publisher", link: LinkFace, uuid: bytes, name: str) -> None:
        self.deadline = -1
        self.broadcasts = link.broadcasts
        self.broadcast_size_max = link.broadcast_size_max
        self.flush_wanted = False
        self.lagging = link.lagging
        self._publisher = publisher
        self._link = link
        self._uuid = uuid
        self._name = name

    def has_broadcast_room(self) -> bool:
        self.lagging = self._link.lagging
        return self._link.has_broadcast_room()

    def has_broadcast_room_for(self, frame: Frame) -> bool:
        return self._link.has_broadcast_room_for(frame)

    def make_room(self, frame: Frame) -> bool:
        self.lagging = self._link.lagging
        return self._link.make_room(frame)

    def fire(self, now: int) -> None:
        """It waits for no time."""

    def takes_batches(self) -> bool:
        return False

    def await_broadcast_room(self, waiter: Waiter) -> None:
        self._link.await_broadcast_room(waiter)

    def lag(self) -> None:
        self._link.lag()

    def broadcast(self, frame: Frame) -> None:
        """Say the name with all that is published until one has been written that gave it a number."""
        if self._link.has_named(self._uuid):
            self._publisher.told_name(self._uuid)
        else:
            frame.options = with_name(frame.options, self._name)
        self._link.broadcast(frame)


class Publisher:
    """Numbers and spreads what this node publishes."""

    def __init__(self, origin: SenderSide) -> None:
        self._origin = origin
        self.flows: "dict[bytes, OutFlow]" = {}
        self.growing: "dict[bytes, Spread]" = {}  # the batches that may take more, by endpoint
        self.unheard: "dict[bytes, OutFlow]" = {}  # what nobody had subscribed to, counted for people
        self._epoch = -1
        # By realm and endpoint, as long as nothing changes.
        self._links: "list[dict[bytes, list[Outlet]]]" = [{}, {}, {}, {}]
        self._meant: "dict[bytes, list[bytes]]" = {}  # by uuid of a name: those of the patterns that mean it
        self._meant_changes = 0  # as of these patterns

    def publish(self, out: Frame, realm: int, wait: bool, patience_ms: int, now: int) -> int:
        """Give every link within `realm` that leads to subscribers, and our own, a copy. Returns 0, or a
        token if it has to wait.
        """
        address = out.endpoint
        uuid = address if len(address) == codes.ID_SIZE else uuid_of(address)
        target = self._origin.targets.get(uuid) or self._origin.target(uuid, now)
        if target is None:
            if not self._origin.me.leaf:
                self._origin.lookups.ask_for_subscribers(uuid, now)
                self._seek_patterns(uuid, now)
                if not self._patterns_of(uuid):
                    self._note_unheard(uuid, now)
                    return 0
        elif target.kind != codes.BROADCAST:
            raise WrongKindError(
                "this endpoint is of kind %s: use send or request" % codes.KIND_NAMES[target.kind]
            )
        flow = self.flows.get(address)
        if flow is None:
            if target is not None and not self._origin.me.leaf:
                self._origin.lookups.ask_gateways(uuid, now)
            self._seek_patterns(uuid, now)
            flow = self.flows[address] = PublishFlow(self, self._origin, address, now)
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
            for address, flow in flows.items():
                uuid = uuid_of(address)
                counts[uuid] = counts.get(uuid, 0) + flow.sent
        return counts

    def _seek_patterns(self, uuid: bytes, now: int) -> None:
        """Ask behind slow links for patterns that may mean a name."""
        patterns = self._origin.lookups.patterns
        if not patterns.wanted and self._origin.host.name_of(uuid):
            patterns.want(now)

    def _patterns_of(self, uuid: bytes) -> "list[bytes]":
        """The patterns that mean the name of an endpoint, by uuid."""
        patterns = self._origin.directory.patterns
        if not patterns.size:
            return []
        if self._meant_changes != patterns.changes or len(self._meant) >= codes.ENTRIES_MAX:
            self._meant_changes = patterns.changes
            self._meant = {}
        found = self._meant.get(uuid)
        if found is None:
            meant = patterns.find(self._origin.host.name_of(uuid))
            found = self._meant[uuid] = [each for each in meant if each != uuid]
        return found

    def _fan(self, uuid: bytes, realm: int) -> "list[Outlet]":
        """Besides the links of a name what leads to the patterns that mean it, if there are any."""
        patterns = self._patterns_of(uuid)
        return [Fan(self, self._origin.host.name_of(uuid), patterns, realm)] if patterns else []

    def links_for(self, uuid: bytes, realm: int) -> "list[Outlet]":
        """Where broadcasts to an endpoint go that may get to that realm."""
        if uuid in self._origin.receiving.process_only:
            return self._fan(uuid, codes.PROCESS)  # what is meant for it are objects, which cannot leave
        if self._epoch != self._origin.mesh.epoch:
            self._epoch = self._origin.mesh.epoch
            self._links = [{}, {}, {}, {}]
        links = self._links[realm].get(uuid)
        if links is None:
            me = self._origin.me
            found = self._origin.forwarder.links_for(me, me, uuid)
            links = self._fan(uuid, realm)
            name = self._origin.host.name_of(uuid) if me.leaf else ""
            for link in found:
                if link.realm <= realm:
                    links.append(Naming(self, link, uuid, name) if name else link)
            self._links[realm][uuid] = links
        return links

    def links_of_pattern(self, uuid: bytes, realm: int) -> "list[Outlet]":
        """The links for a pattern. Somebody may say of an endpoint with a name that it is one, too: what is
        meant by that name it does not lead to.
        """
        links = self.links_for(uuid, realm)
        return links[1:] if links and isinstance(links[0], Fan) else links

    def _links_to(self, uuid: bytes, fan: "Fan") -> "list[Outlet]":
        """Where the copies for a pattern go of what is published under that name."""
        if self._origin.me.leaf:
            return []  # its router sees to those of others
        links = self.links_of_pattern(uuid, fan.realm)
        if self._origin.mesh.gate.guard is None:
            return links
        found: "list[LinkFace]" = [link for link in links if isinstance(link, LinkFace)]
        permitted: "list[Outlet]" = list(self._origin.forwarder.permitted(found, uuid, fan.name))
        return permitted

    def told_name(self, uuid: bytes) -> None:
        """The router knows the name of an endpoint now."""
        for links in self._links:
            links.pop(uuid, None)

    def copy(self, fan: "Fan", out: Frame, now: int) -> None:
        """Give each pattern that means the name of a broadcast one of its own, with a number of its own."""
        receiving = self._origin.receiving
        named = with_name(out.options, fan.name)
        format, type_id = out.format, out.type_id
        if format == codes.TYPED_AS_ENDPOINT:
            format, type_id = codes.TYPED, uuid_of(out.endpoint)
        for uuid in fan.patterns:
            if format == codes.OBJECT and uuid not in receiving.process_only:
                continue
            address = address_of(uuid, out.lane())
            flow = self.flows.get(address)
            if flow is None:
                flow = self.flows[address] = PublishFlow(self, self._origin, address, now)
            flow.sent += 1
            flow.last_used = now
            copy = Frame(codes.PUBLISH, b"", address, flow.sent, out.payload, format, type_id)
            copy.options = named
            self._give(copy, self._links_to(uuid, fan), uuid in receiving.endpoints, now)

    def add(self, spread: Spread, payload: bytes, type_id: bytes, patience_ms: int, now: int) -> bool:
        """The short way of a plain message, as long as nothing has changed since the one before. False: it
        has, or it may have to wait.
        """
        size = spread.size + len(payload) + OVERHEAD
        if size > batch.SIZE_MAX or spread.epoch != self._origin.mesh.epoch:
            return False
        others = spread.others
        if others:
            full = _full(others)
            if not spread.grows or (full and _waits(full, patience_ms, False)):
                return False
        flow = spread.flow
        flow.sent += 1
        flow.last_used = now
        spread.payloads.append(payload)
        spread.size = size
        if others or spread.local:
            out = Frame(codes.PUBLISH, b"", spread.endpoint, flow.sent, payload, spread.format, type_id)
            self._give(out, others, spread.local, now)
        return True

    def close_batches(self) -> None:
        """None takes more."""
        for spread in list(self.growing.values()):
            spread.close()

    def _spread(self, flow: OutFlow, out: Frame, realm: int, patience_ms: int, now: int) -> bool:
        """One copy to each link; False if it has to wait for room."""
        address = out.endpoint
        uuid = address if len(address) == codes.ID_SIZE else uuid_of(address)
        local = uuid in self._origin.receiving.endpoints
        links = self.links_for(uuid, realm)
        before = self.growing.get(address)
        if before is not None:
            before.close()  # what comes now goes behind it
        if links and not out.is_best_effort():
            full = _full(links) if out.options is None else links
            if full:
                full = [link for link in full if not link.make_room(out)]
            if full and _waits(full, patience_ms, len(full) == len(links) and not local):
                return False
        flow.sent += 1
        flow.last_used = now
        out.number = flow.sent
        shared = len(links) > 1 or (links and links[0].broadcasts.items)
        if shared and out.options is None and out.format < codes.TYPED:
            links = self._share(flow, out, links, local)
        self._give(out, links, local, now)
        return True

    def _share(self, flow: OutFlow, out: Frame, links: "list[Outlet]", local: bool) -> "list[Outlet]":
        """Begin a batch for as many of the links as take one. Returns the others."""
        payload: bytes = out.payload
        size = len(payload) + OVERHEAD
        sharing = [link for link in links if link.takes_batches()] if size <= batch.SIZE_MAX else []
        if not sharing:
            return links
        spread = Spread(self.growing, flow, out.format, self._epoch)
        spread.payloads.append(payload)
        spread.size = size
        for link in sharing:
            spread.join(link)
        spread.local = local
        if len(sharing) < len(links):
            spread.others = [link for link in links if link not in sharing]
        return spread.others

    def _give(self, out: Frame, links: "list[Outlet]", local: bool, now: int) -> None:
        """Each a copy of its own."""
        if out.options is not None and len(links) > 1:
            note_several(out)
        for link in links:
            link.broadcast(out)
        if local:
            self._origin.receiving.arrive_local(out, now)

    def _await_room(self, flow: OutFlow) -> None:
        first: Pending = flow.waiting.peek()
        for link in self.links_for(uuid_of(flow.endpoint), first.realm):
            if not link.has_broadcast_room_for(first.out):
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
        for link in self.links_for(uuid_of(flow.endpoint), pending.realm):
            if not link.has_broadcast_room_for(pending.out):
                link.lag()
        self.resume(flow, now)
        if pending.state == WAITING:  # behind one with more patience
            self._origin.timers.arm(pending, now + pending.patience_ms)


def _full(links: "list[Outlet]") -> "list[Outlet]":
    """The links that have no room."""
    return [
        link
        for link in links
        if link.broadcasts.size >= link.broadcast_size_max and not link.has_broadcast_room()
    ]


def _waits(full: "list[Outlet]", patience_ms: int, nobody_else: bool) -> bool:
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
