"""The control plane of a network in virtual time: real Routers over links that lose nothing and keep order.

No bytes and no messages of programs: an entry on a link is what protocol/routing/router.py gave and takes.
The seed alone decides delays, interleavings and how much of what is due a link takes at once; so one seed is
one run.
After every single entry and event `check` looks for a loop, for any source.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from busway.protocol.routing.children import Child
from busway.protocol.routing.distances import INFINITE, extend
from busway.protocol.routing.router import DEPARTED, NOTHING, PARENT, Neighbour, Route, Router
from busway.protocol.timers import Timers

UPDATE, RETRACT, CHILD, ASK, ACK, FAREWELL = range(6)  # what an entry is
KINDS = {PARENT: CHILD, NOTHING: RETRACT, DEPARTED: FAREWELL}  # by what is told
Entry = tuple[int, bytes, int]
USERSPACE, LOCALNET, GLOBAL = 1, 2, 3


class LoopError(AssertionError):
    """Next hops lead in a circle."""


class Pace(NamedTuple):
    """How fast links are; all in microseconds."""

    delay: int = 2000
    jitter: int = 3000  # at most so much more, for each frame
    patience: int = 2000  # between having something to say and writing it, at most
    byte: int = 0  # for each byte on the line
    whole: bool = False  # all that is due at an instant goes into one frame; else the seed cuts it

    @property
    def hop(self) -> int:
        """The worst delay of a hop while nothing queues."""
        return self.delay + self.jitter + self.patience


class Host:
    """A node in one incarnation."""

    def __init__(self, net: Net, name: int, key: bytes, seqno: int) -> None:
        self.net = net
        self.name = name
        self.key = key
        self.timers = Timers()
        self.timer_at = -1
        self.router = net.router_class(key, self.timers, self._changed, _touched, _forgotten, seqno)
        if net.hasty:
            self.router.hold_ms = 0
        self.ends: list[End] = []
        self.reached: set[bytes] = set()  # sources with a next hop
        self.awaited: set[bytes] = set()  # sources that it can reach after the last change
        self.alive = True
        self.farewells: set[bytes] = set()  # sources that went, and have said goodbye as far as it knows

    def __repr__(self) -> str:
        return f"{self.name}.{int.from_bytes(self.key[16:], 'big')}"

    def _changed(self, route: Route, now: int) -> None:
        self.net.moved.append((self, route))
        self.note_farewell(route)

    def note_farewell(self, route: Route) -> None:
        if self.router.has_parted(route, self.net.now_ms):
            self.farewells.add(route.key)
            assert route.key in self.net.parted, (
                f"seed {self.net.seed}: {self} heard a goodbye that nobody said"
            )


def _touched(neighbour: Neighbour) -> None:
    end = neighbour.link
    assert isinstance(end, End)
    end.touch()


def _forgotten(route: Route) -> None:
    pass


class Leaf:
    """A node without routes, known by its one session."""

    def __init__(self, name: int, key: bytes) -> None:
        self.name = name
        self.key = key
        self.end: End | None = None  # its router's end of the present session

    def __repr__(self) -> str:
        return f"leaf {self.name}.{int.from_bytes(self.key[16:], 'big')}"


class End:
    """One end of a session: what the other end is to this host, and what is on its way from here."""

    __slots__ = (
        "busy_until",
        "flushing",
        "host",
        "last_arrival",
        "link",
        "neighbour",
        "open",
        "opens_at",
        "over",
        "pace",
        "peer",
        "queue",
        "sent",
        "sizes",
    )

    def __init__(self, link: Link, host: Host, neighbour: Neighbour, pace: Pace) -> None:
        self.link = link
        self.host = host
        self.neighbour = neighbour
        self.pace = pace
        self.peer: End | None = None  # a leaf has none
        self.open = False
        self.over = False
        self.opens_at = 0
        self.queue: deque[list[Entry]] = deque()  # frames on their way to the peer
        self.last_arrival = 0
        self.busy_until = 0
        self.flushing = False
        self.sent = 0  # bytes
        self.sizes: Any = None  # what a measurement keeps here

    def touch(self) -> None:
        if self.open and not self.flushing and self.peer is not None:
            net = self.host.net
            self.flushing = True
            patience = net.rng.randrange(self.pace.patience) if self.pace.patience else 0
            net.at(max(net.now, self.busy_until) + patience + self.pace.whole, net.flush, self)


class Link:
    """Two ends, or one and a leaf. `severed`: nothing arrives any more, though nobody may have noticed."""

    def __init__(self, leaf: Leaf | None = None) -> None:
        self.ends: list[End] = []
        self.leaf = leaf
        self.severed = False
        self.held_until = 0  # a partition that heals: what is on its way waits


class Net:
    """All hosts, links and what is to happen, in the order of time.

    Args: `seed` of everything random; `router_class` what is tested; `sizes` gives the bytes of a frame.
    """

    def __init__(
        self,
        seed: int,
        router_class: type[Router] = Router,
        sizes: Callable[[End, list[Entry]], int] | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.router_class = router_class
        self.sizes = sizes
        self.hasty = False  # nothing is held for a while before it is forgotten
        self.now = 0  # us
        self.agenda: list[tuple[int, float, int, Callable[[Any], None], Any]] = []
        self.serial = 0
        self.hosts: dict[int, Host] = {}  # those alive
        self.leaves: dict[int, Leaf] = {}
        self.links: list[Link] = []
        self.moved: list[tuple[Host, Route]] = []  # next hops that may have changed since the last check
        self.incarnations = 0
        self.instants = 0  # at which there was no loop
        self.entries = 0
        self.gained_at = 0  # when a node last found a way that it did not have and can have
        self.names: dict[bytes, str] = {}
        self.parted: set[bytes] = set()  # sources that have said goodbye on some link

    # Time

    def at(self, when: int, do: Callable[[Any], None], what: Any) -> None:
        """Events of the same instant happen in the order that the seed says."""
        self.serial += 1
        heapq.heappush(self.agenda, (when, self.rng.random(), self.serial, do, what))

    def step(self) -> bool:
        """One event. False: nothing is going to happen any more."""
        if not self.agenda:
            return False
        self.now, _, _, do, what = heapq.heappop(self.agenda)
        do(what)
        return True

    def run_until(self, when: int) -> None:
        while self.agenda and self.agenda[0][0] <= when:
            self.step()
        self.now = max(self.now, when)

    @property
    def now_ms(self) -> int:
        return self.now // 1000

    # Nodes and links

    def key(self, name: int) -> bytes:
        self.incarnations += 1
        key = name.to_bytes(16, "big") + self.incarnations.to_bytes(4, "big")
        self.names[key] = f"{name}.{self.incarnations}"
        return key

    def start(self, name: int, seqno: int = 65534, transit: bool = True) -> Host:
        assert name not in self.hosts
        host = self.hosts[name] = Host(self, name, self.key(name), seqno)
        host.router.transit = transit
        return host

    def crash(self, name: int) -> Host:
        """All that it knew is gone; the others have not noticed. Frames that it had written still arrive."""
        host = self.hosts.pop(name)
        host.alive = False
        for link in list(self.links):
            for end in link.ends:
                if end.host is host and not end.over:
                    self._drop(end)
        return host

    def join(
        self,
        one: Host,
        two: Host,
        pace: Pace = Pace(),  # noqa: B008 - an immutable default
        cost: int = 1,
        realm: int = USERSPACE,
        lag: int = 0,
    ) -> Link:
        """A session begins, at the second end up to `lag` us later than at the first."""
        link = Link()
        for host in (one, two):
            end = End(link, host, Neighbour(None, realm, cost, False), pace)
            end.neighbour.link = end
            end.neighbour.addressing = True
            end.opens_at = self.now
            link.ends.append(end)
        first, second = link.ends
        first.peer, second.peer = second, first
        second.opens_at += lag
        self.links.append(link)
        self._open(first)
        if lag:
            self.at(second.opens_at, self._open, second)
        else:
            self._open(second)
        return link

    def attach(self, leaf: Leaf, host: Host, cost: int = 256, realm: int = LOCALNET) -> Link:
        """A leaf begins a session with its router; what becomes of an older one is not said."""
        link = Link(leaf)
        end = End(link, host, Neighbour(None, realm, cost, True), Pace())
        end.neighbour.link = end
        link.ends.append(end)
        leaf.end = end
        self.links.append(link)
        end.open = True
        host.ends.append(end)
        host.router.open(end.neighbour, leaf.key, self.now_ms)
        self._done(host)
        return link

    def _open(self, end: End) -> None:
        host, peer = end.host, end.peer
        assert peer is not None
        if end.over or not host.alive:
            return
        end.open = True
        host.ends.append(end)
        host.router.open(end.neighbour, peer.host.key, self.now_ms)
        self._done(host)

    def _drop(self, end: End) -> None:
        if end.open:
            end.host.ends.remove(end)
        end.open = False
        end.over = True
        if all(each.over for each in end.link.ends):
            self.links.remove(end.link)

    def close(self, end: End) -> None:
        """This end notices that the session is over, if it has not yet."""
        self._end(end, False)

    def hear_goodbye(self, end: End) -> None:
        """The node at the other end has said goodbye, and no more."""
        self._end(end, True)

    def _end(self, end: End, goodbye: bool) -> None:
        if end.over:
            return
        was_open = end.open
        self._drop(end)
        if was_open:
            router, route = end.host.router, end.neighbour.route
            assert route is not None
            if goodbye:
                self.parted.add(route.key)
                router.part(route, self.now_ms)
            elif not any(other.neighbour.route is route for other in end.host.ends):
                router.goodbyes.see_lost(route, self.now_ms)
            end.host.router.close(end.neighbour, self.now_ms)
            self._done(end.host)

    def close_after_reading(self, end: End) -> None:
        """The other end closed: what it had written is read first."""
        if self._reads_on(end, self.close_after_reading):
            self.close(end)

    def part_after_reading(self, end: End) -> None:
        """The same, and the last that it had written is a goodbye. Nothing comes of that over a dead link."""
        if self._reads_on(end, self.part_after_reading):
            self._end(end, not end.link.severed)

    def _reads_on(self, end: End, then: Callable[[End], None]) -> bool:
        """Whether there is nothing more to be read; else that is looked at again."""
        if end.over:
            return False
        assert end.peer is not None
        if end.peer.queue and not end.link.severed:
            self.at(max(self.now, end.peer.last_arrival, end.link.held_until) + 1, then, end)
            return False
        return True

    def sever(self, link: Link) -> None:
        """Nothing arrives any more. Nobody notices by that."""
        link.severed = True
        for end in link.ends:
            end.queue.clear()

    def set_cost(self, end: End, cost: int) -> None:
        if end.open:
            end.host.router.set_cost(end.neighbour, cost, self.now_ms)
            self._done(end.host)

    def set_transit(self, host: Host, transit: bool) -> None:
        host.router.set_transit(transit)
        self._done(host)

    # Entries

    def flush(self, end: End) -> None:
        """Write what is due, or part of it."""
        end.flushing = False
        if not end.open:
            return
        entries = self._news(end)
        neighbour = end.neighbour
        if not neighbour.dirty or not self.rng.getrandbits(1):
            entries += [(ASK, route.key, wanted) for route, wanted in neighbour.requests.items()]
            neighbour.requests = {}
        if neighbour.acks_due:
            neighbour.acks_due = False
            first = not end.pace.whole and self.rng.getrandbits(1)
            entries.insert(0 if first else len(entries), (ACK, b"", neighbour.processed & 0xFFFF))
        if end.pace.whole:
            if entries:
                self._write(end, entries)
        else:
            for entry in entries:
                self._write(end, [entry])
        if neighbour.dirty or neighbour.requests:
            end.touch()

    def _news(self, end: End) -> list[Entry]:
        router, neighbour = end.host.router, end.neighbour
        routes = router.news(neighbour)
        count = len(routes)
        if not end.pace.whole and count > 1 and self.rng.random() < 0.3:
            count = self.rng.randrange(1, count)
        for route in routes[count:]:
            neighbour.make_dirty(route)
        entries: list[Entry] = []
        for route in routes[:count]:
            told = router.tell(neighbour, route)
            kind = UPDATE if told >= 0 else KINDS[told]
            entries.append((kind, route.key, told))
        return entries

    def _write(self, end: End, entries: list[Entry]) -> None:
        pace = end.pace
        size = self.sizes(end, entries) if self.sizes else 8 * len(entries)
        end.sent += size
        if end.link.severed:
            return
        assert end.peer is not None
        end.busy_until = max(self.now, end.busy_until) + size * pace.byte
        jitter = self.rng.randrange(pace.jitter) if pace.jitter else 0
        arrival = max(end.busy_until + pace.delay + jitter, end.last_arrival, end.peer.opens_at + 1)
        end.last_arrival = arrival
        end.queue.append(entries)
        self.at(arrival, self._arrive, end)

    def _arrive(self, sender: End) -> None:
        """The next frame of `sender` reaches its peer."""
        link, receiver = sender.link, sender.peer
        if not sender.queue or receiver is None:
            return
        if self.now < link.held_until:
            self.at(link.held_until, self._arrive, sender)
            return
        entries = sender.queue.popleft()
        for entry in entries:
            if receiver.open:
                self.entries += 1
                self._take(receiver, entry)
                self._done(receiver.host)

    def _take(self, end: End, entry: Entry) -> None:
        kind, key, value = entry
        router, neighbour, now = end.host.router, end.neighbour, self.now_ms
        if kind == UPDATE:
            router.update(neighbour, router.route(key), value, now)
        elif kind == RETRACT:
            router.withdraw(neighbour, router.route(key), now)
        elif kind == FAREWELL:
            self._take_farewell(end, key)
        elif kind == CHILD:
            router.adopt(neighbour, router.route(key), Child([0] * 4, False), now)
        elif kind == ACK:
            if not router.acknowledge(neighbour, value, now):
                raise AssertionError(f"{end.host} was acknowledged what it never sent")
        elif key in router.routes:
            router.request(neighbour, router.routes[key], value, now)

    def _take_farewell(self, end: End, key: bytes) -> None:
        router = end.host.router
        route = router.routes.get(key)
        if route is None:
            router.note_withdrawal(end.neighbour)  # it counted as lost, and has been forgotten
            end.host.farewells.add(key)
            return
        router.part(route, self.now_ms)
        router.withdraw(end.neighbour, route, self.now_ms)
        end.host.note_farewell(route)

    def _done(self, host: Host) -> None:
        """A host has done something: look at what changed, and set its alarm."""
        self.check()
        deadline = host.timers.next_deadline()
        if deadline >= 0 and (host.timer_at < 0 or deadline * 1000 < host.timer_at):
            host.timer_at = max(deadline * 1000, self.now)
            self.at(host.timer_at, self._ring, host)

    def _ring(self, host: Host) -> None:
        if host.alive and host.timer_at == self.now:
            host.timer_at = -1
            host.timers.fire(self.now_ms)
            self._done(host)

    # At every instant

    def check(self) -> None:
        """No loop: a new one would hold a next hop that has changed since the last check."""
        self.instants += 1
        if not self.moved:
            return
        for host, route in self.moved:
            if route.via is None:
                host.reached.discard(route.key)
            elif host.alive:
                self._walk(host, route)
                if route.key not in host.reached:
                    host.reached.add(route.key)
                    if route.key in host.awaited:
                        self.gained_at = self.now
        self.moved = []

    def _walk(self, start: Host, route: Route) -> None:
        key, steps, here = route.key, 0, start
        while True:
            via = route.via
            if via is None or via.leaf:
                return
            end = via.link
            assert isinstance(end, End)
            peer = end.peer
            assert peer is not None
            if not (end.open and peer.open):
                return
            here = peer.host
            steps += 1
            if here is start or steps > len(self.hosts):
                raise LoopError(
                    f"seed {self.seed}, {self.now} us: a loop at {start} towards {self.names[key]}"
                )
            if here.key == key:
                return
            found = here.router.routes.get(key)
            if found is None:
                return
            route = found

    # At rest

    def fixed_points(self) -> dict[Host, dict[bytes, int]]:
        """For every host the sources that it can reach, and the best metric of each."""
        keys = [host.key for host in self.hosts.values()] + [leaf.key for leaf in self.leaves.values()]
        points: dict[Host, dict[bytes, int]] = {host: {} for host in self.hosts.values()}
        for source in keys:
            for host, metric in self.fixed_point(source).items():
                points[host][source] = metric
        return points

    def fixed_point(self, source: bytes) -> dict[Host, int]:
        """The metric of every host that has a way to a source. Over and over each takes the best of what
        there is, until nothing changes: its own session with the source, and what its neighbours have.
        """
        best = {host: 0 for host in self.hosts.values() if host.key == source}
        direct = {host: self._direct(host, source) for host in self.hosts.values()}
        leaf = source in {leaf.key for leaf in self.leaves.values()}
        leads = {host for host, places in direct.items() if places and leaf}  # they offer it in any case
        while True:
            after = {host: 0 for host in best if host.key == source}
            for host in self.hosts.values():
                places = direct[host] + self._offered(host, best, leads)
                if host.key != source and places:
                    after[host] = min(places)[1]
            if after == best:
                return best
            best = after

    @staticmethod
    def _direct(host: Host, source: bytes) -> list[tuple[int, int]]:
        """Rank and metric of each session of a host with the source itself; one with a leaf counts as one
        that leaves the machine at the most.
        """
        places = []
        for end in host.ends:
            leaf = end.link.leaf
            if source in (leaf and leaf.key, end.peer and end.peer.host.key):
                metric = extend(0, end.neighbour.realm, end.neighbour.cost)
                realm = min(metric >> 14, LOCALNET) if leaf else metric >> 14
                if metric < INFINITE:
                    places.append((realm << 15 | metric & 0x3FFF, metric))
        return places

    @staticmethod
    def _offered(host: Host, best: dict[Host, int], leads: set[Host]) -> list[tuple[int, int]]:
        """Rank and metric of what others tell a host of the way that they have."""
        places = []
        for end in host.ends:
            peer = end.peer.host if end.peer is not None else None
            if peer is None or not best.get(peer):
                continue  # it has no way, or is the source
            if peer.router.transit or peer in leads:
                metric = extend(best[peer], end.neighbour.realm, end.neighbour.cost)
                if metric < INFINITE:
                    places.append((metric >> 14 << 15 | 0x4000 | metric & 0x3FFF, metric))
        return places

    def check_rest(self) -> None:
        """After the last change, with nothing on its way: all ways are the best, nothing stale is left."""
        for host, metrics in self.fixed_points().items():
            routes = host.router.routes.values()
            found = {route.key: route.distance & 0xFFFF for route in routes if route.distance >= 0}
            assert found == metrics, (
                f"seed {self.seed}: {host} has ways {self._named(found)}, should have {self._named(metrics)}"
            )
            self._check_sessions(host)

    def _named(self, metrics: dict[bytes, int]) -> dict[str, int]:
        return {self.names[key]: metric for key, metric in sorted(metrics.items())}

    def _check_sessions(self, host: Host) -> None:
        """Both ends know the same of each other, and nothing is waited for."""
        router, where = host.router, f"seed {self.seed}: {host}"
        for route in router.fading:  # what is left is too far away
            assert route.offers, where
            for neighbour, offer in route.offers.items():
                assert extend(offer & 0xFFFF, neighbour.realm, neighbour.cost) == INFINITE, where
        assert host.timers.next_deadline() < 0, where
        assert router.neighbours == [end.neighbour for end in host.ends], where
        for end in host.ends:
            mine = end.neighbour
            assert {**mine.dirty, **mine.requests, **mine.marks} == {}, where
            assert not mine.acks_due or mine.leaf, where
            if end.peer is None:
                continue
            other = end.peer.neighbour
            assert mine.acked == mine.withdrawn, where
            told = {route.key: value for route, value in mine.told.items()}
            offers = {
                key: route.offers[other]
                for key, route in end.peer.host.router.routes.items()
                if other in route.offers
            }
            assert {key: value for key, value in told.items() if value >= 0} == offers, where
            parents = {key for key, value in told.items() if value == PARENT}
            assert parents == {route.key for route in other.children}, where

    def check_limits(self, host: Host) -> None:
        """No table grows past the number of sources or neighbours, and none holds a removed route."""
        router = host.router
        known = set(map(id, router.routes.values()))
        assert len(known) <= self.incarnations
        assert set(map(id, router.fading)) <= known
        assert set(map(id, router.goodbyes.heard)) | set(map(id, router.owed)) <= known
        for owed in router.owed.values():
            assert set(owed) <= set(router.neighbours)
        for neighbour in router.neighbours:
            for name in ("told", "dirty", "requests", "marks", "children"):
                table = getattr(neighbour, name)
                assert set(map(id, table)) <= known, f"seed {self.seed}: {host} keeps a removed route: {name}"
            assert neighbour.withdrawn - neighbour.acked >= 0
            assert len(neighbour.marks) <= neighbour.withdrawn - neighbour.acked
        for route in router.routes.values():
            assert len(route.offers) <= len(router.neighbours)
            assert route.distance == NOTHING or route is router.me or route.via in route.offers
