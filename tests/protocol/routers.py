"""Routers without their nodes, joined in memory: what tests of routing share."""

from __future__ import annotations

from busway.protocol.routing.children import Child
from busway.protocol.routing.router import (
    PARENT,
    Neighbour,
    Route,
    Router,
)
from busway.protocol.timers import Timers

USERSPACE, LOCALNET, GLOBAL = 1, 2, 3


def key(name: str) -> bytes:
    """Node id and incarnation."""
    return name.encode().ljust(20, b"-")


def at(seqno: int, metric: int) -> int:
    """A distance."""
    return seqno << 16 | metric


def metric(realm: int, cost: int) -> int:
    return realm << 14 | cost


def child() -> Child:
    return Child([0, 0, 0, 0], False)


class Host:
    """A router that notes what it tells its host."""

    def __init__(self, name: str, seqno: int = 0, transit: bool = True, hold_ms: int = 0) -> None:
        self.timers = Timers()
        self.changes: list[tuple[str, int]] = []
        self.touched: list[Neighbour] = []
        self.forgotten: list[str] = []
        self.router = Router(key(name), self.timers, self._changed, self.touched.append, self._forgot, seqno)
        self.router.transit = transit
        self.router.hold_ms = hold_ms
        self.name = name

    def _changed(self, route: Route, now: int) -> None:
        self.changes.append((self._name(route), now))

    def _forgot(self, route: Route) -> None:
        self.forgotten.append(self._name(route))

    @staticmethod
    def _name(route: Route) -> str:
        return route.key.decode().rstrip("-")

    def meet(self, name: str, cost: int = 1, realm: int = USERSPACE, leaf: bool = False) -> Neighbour:
        """A session with someone whose side the test plays."""
        neighbour = Neighbour(name, realm, cost, leaf)
        self.router.open(neighbour, key(name), 0)
        return neighbour

    def route(self, name: str) -> Route:
        return self.router.routes[key(name)]

    def hears(self, neighbour: Neighbour, name: str, distance: int, now: int = 0) -> Route:
        route = self.router.route(key(name))
        self.router.update(neighbour, route, distance, now)
        return route

    def loses(self, neighbour: Neighbour, name: str, now: int = 0) -> None:
        self.router.withdraw(neighbour, self.router.route(key(name)), now)

    def tells(self, neighbour: Neighbour) -> dict[str, int]:
        """The frames that it writes now."""
        return {
            self._name(route): self.router.tell(neighbour, route) for route in self.router.news(neighbour)
        }

    def asks(self, neighbour: Neighbour) -> dict[str, int]:
        requests = {self._name(route): wanted for route, wanted in neighbour.requests.items()}
        neighbour.requests = {}
        return requests


class End:
    """One end of a link between two hosts, and what is on its way from it."""

    def __init__(self, host: Host, cost: int, realm: int, leaf: bool) -> None:
        self.host = host
        self.neighbour = Neighbour(self, realm, cost, leaf)
        self.peer: End = self
        self.queue: list[tuple[bytes, str, int]] = []

    def write(self) -> None:
        neighbour, router = self.neighbour, self.host.router
        for route in router.news(neighbour):
            self.queue.append((route.key, "tell", router.tell(neighbour, route)))
        for route, wanted in neighbour.requests.items():
            self.queue.append((route.key, "ask", wanted))
        neighbour.requests = {}
        if neighbour.acks_due:
            neighbour.acks_due = False
            self.queue.append((b"", "ack", neighbour.processed & 0xFFFF))

    def read(self, now: int) -> None:
        source, what, value = self.peer.queue.pop(0)
        router, neighbour = self.host.router, self.neighbour
        if what == "ack":
            assert router.acknowledge(neighbour, value, now)
        elif what == "ask":
            router.request(neighbour, router.route(source), value, now)
        elif value >= 0:
            router.update(neighbour, router.route(source), value, now)
        elif value == PARENT:
            router.adopt(neighbour, router.route(source), child(), now)
        else:
            router.withdraw(neighbour, router.route(source), now)


class Net:
    """Hosts and links; everything written arrives at once, link by link."""

    def __init__(self) -> None:
        self.ends: list[End] = []
        self.now = 0

    def join(self, one: Host, two: Host, cost: int = 1, realm: int = USERSPACE) -> End:
        """Returns the end at `one`."""
        ends = [End(host, cost, realm, False) for host in (one, two)]
        ends[0].peer, ends[1].peer = ends[1], ends[0]
        for end in ends:
            end.host.router.open(end.neighbour, end.peer.host.router.me.key, self.now)
        self.ends += ends
        return ends[0]

    def cut(self, end: End) -> None:
        for side in (end, end.peer):
            self.ends.remove(side)
            side.host.router.close(side.neighbour, self.now)

    def rest(self) -> int:
        """Carry everything until nothing is on its way. Returns the number of entries."""
        count = 0
        while True:
            for end in self.ends:
                end.write()
            busy = [end for end in self.ends if end.peer.queue]
            if not busy:
                return count
            for end in busy:
                end.read(self.now)
                count += 1
                assert count < 10_000, "the network finds no rest"


def way(host: Host, to: Host) -> str:
    """The hosts on the way, by following next hops."""
    names, here = [host.name], host
    while here is not to:
        via = here.router.routes[to.router.me.key].via
        if via is None:
            return "".join(names) + "?"
        assert isinstance(via.link, End)
        here = via.link.peer.host
        assert here.name not in names, "a loop"
        names.append(here.name)
    return "".join(names)


def starving() -> tuple[Host, Neighbour, Neighbour, Neighbour, Route]:
    """`a` had told `d` of a way by `b`, which is gone; what `c` offers is not feasible."""
    a = Host("a")
    b, c, d = a.meet("b"), a.meet("c"), a.meet("d")
    a.hears(b, "far", at(9, 5))
    a.tells(d)
    a.tells(c)
    route = a.hears(c, "far", at(9, metric(USERSPACE, 700)))
    a.loses(b, "far", 100)
    assert route.via is None
    return a, b, c, d, route
