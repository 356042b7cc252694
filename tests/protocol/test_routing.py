"""Each rule of docs/routing.md by itself: routers told by hand, and small networks run until they rest."""

from __future__ import annotations

import re

import pytest

from busway.protocol import codes
from busway.protocol.routing.router import (
    INFINITE,
    NOTHING,
    PARENT,
    WIDE,
    Child,
    Neighbour,
    Route,
    Router,
    better,
    extend,
    newer,
)
from busway.protocol.timers import Timers
from tests.rigs.tree import ROOT

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


# Distances --------------------


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [(1, 0, True), (0, 1, False), (5, 5, False), (0, 65535, True), (32767, 0, True), (32768, 0, False)],
)
def test_sequence_numbers_go_round(one: int, two: int, expected: bool) -> None:
    assert newer(one, two) is expected


def test_a_distance_is_better_with_a_newer_number_or_a_smaller_metric() -> None:
    assert better(at(7, 500), NOTHING)
    assert better(at(7, 10), at(7, 11))
    assert not better(at(7, 11), at(7, 11))
    assert not better(at(7, 12), at(7, 11))
    assert better(at(8, 500), at(7, 11))
    assert not better(at(6, 1), at(7, 11))
    assert better(at(0, 500), at(65535, 11))


def test_a_metric_is_the_widest_realm_then_the_sum_of_costs() -> None:
    assert extend(0, USERSPACE, 1) == metric(USERSPACE, 1)
    assert extend(metric(USERSPACE, 1), GLOBAL, 32) == metric(GLOBAL, 33)
    assert extend(metric(GLOBAL, 33), LOCALNET, 16) == metric(GLOBAL, 49)


def test_a_metric_always_grows_and_ends_at_infinity() -> None:
    assert extend(metric(GLOBAL, 100), USERSPACE, 1) > metric(GLOBAL, 100)
    assert extend(metric(GLOBAL, 0x3FFD), USERSPACE, 1) == metric(GLOBAL, 0x3FFE)
    assert extend(metric(GLOBAL, 0x3FFE), USERSPACE, 1) == INFINITE
    assert extend(INFINITE, USERSPACE, 1) == INFINITE


# What is told (rules 3, 8, 11) --------------------


def test_a_router_tells_a_new_neighbour_itself_and_all_it_reaches() -> None:
    a = Host("a")
    a.hears(a.meet("b"), "far", at(3, metric(USERSPACE, 5)))
    c = a.meet("c")
    assert a.touched[-1] is c
    assert a.tells(c) == {"a": 0, "far": at(3, metric(USERSPACE, 6))}
    assert a.tells(c) == {}


def test_the_next_hop_is_told_that_it_is_the_parent() -> None:
    a = Host("a")
    b = a.meet("b")
    a.hears(b, "far", at(0, 5))
    assert a.tells(b) == {"far": PARENT, "a": 0}
    assert b.withdrawn == 1


def test_a_neighbour_is_never_told_of_itself() -> None:
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    a.hears(c, "b", at(0, 5))
    assert a.route("b").via is c
    assert a.tells(b) == {"a": 0}


def test_withdrawals_go_first_then_the_nearest() -> None:
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    a.hears(b, "gone", at(0, 1))
    a.tells(c)
    a.hears(b, "far", at(0, 9))
    a.hears(b, "near", at(0, 2))
    a.hears(b, "neat", at(0, 2))
    a.loses(b, "gone")
    assert list(a.tells(c).items()) == [
        ("gone", NOTHING),
        ("near", at(0, metric(USERSPACE, 3))),
        ("neat", at(0, metric(USERSPACE, 3))),
        ("far", at(0, metric(USERSPACE, 10))),
    ]


def test_what_changes_and_changes_back_is_not_told() -> None:
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    a.hears(b, "far", at(0, 5))
    a.tells(c)
    a.hears(b, "far", at(0, 8))
    assert list(c.dirty) == [a.route("far")]
    a.hears(b, "far", at(0, 5))
    assert not c.dirty
    assert a.tells(c) == {}


def test_a_node_that_does_not_forward_offers_only_itself_and_its_leaves() -> None:
    a = Host("a", transit=False)
    b, c = a.meet("b"), a.meet("c")
    a.meet("leaf", leaf=True, cost=256)
    a.hears(b, "far", at(0, 5))
    assert a.tells(c) == {"a": 0, "leaf": at(0, metric(USERSPACE, 256))}
    assert a.tells(b) == {"far": PARENT, "a": 0, "leaf": at(0, metric(USERSPACE, 256))}


def test_transit_is_told_when_it_begins_and_when_it_ends() -> None:
    a = Host("a", transit=False)
    b, c = a.meet("b"), a.meet("c")
    a.hears(b, "far", at(0, 5))
    a.tells(c)
    a.router.set_transit(False)
    assert a.tells(c) == {}
    a.router.set_transit(True)
    assert a.tells(c) == {"far": at(0, metric(USERSPACE, 6))}
    a.router.set_transit(False)
    assert a.tells(c) == {"far": NOTHING}


def test_a_child_is_known_until_it_says_something_else() -> None:
    a = Host("a")
    b = a.meet("b")
    a.tells(b)
    one = child()
    a.router.adopt(b, a.router.me, one, 0)
    assert b.children == {a.router.me: one}
    a.router.update(b, a.router.me, at(0, 1), 0)
    assert b.children == {}
    a.router.adopt(b, a.router.me, child(), 0)
    a.router.withdraw(b, a.router.me, 0)
    assert b.children == {}
    assert b.processed == 3
    assert a.router.routes[key("a")] is a.router.me


# Choosing (rules 1 and 2) --------------------


def test_the_better_way_is_taken_and_a_tie_changes_nothing() -> None:
    a = Host("a")
    b, c, d = a.meet("b"), a.meet("c"), a.meet("d")
    route = a.hears(b, "far", at(0, 9), 4)
    a.hears(c, "far", at(0, 5), 5)
    assert route.via is c
    a.hears(d, "far", at(0, 5), 6)
    assert route.via is c
    assert a.changes == [("far", 4), ("far", 5)]
    assert a.router.counters["route_changes"] == 2


def test_a_dear_way_inside_a_realm_beats_a_cheap_one_outside() -> None:
    a = Host("a")
    wide, narrow = a.meet("b", cost=1, realm=GLOBAL), a.meet("c", cost=512, realm=LOCALNET)
    route = a.hears(wide, "far", at(0, 0))
    a.hears(narrow, "far", at(0, 0))
    assert route.via is narrow


def test_only_what_is_better_than_ever_told_may_be_switched_to() -> None:
    a = Host("a")
    b, c, d = a.meet("b"), a.meet("c"), a.meet("d")
    route = a.hears(b, "far", at(0, 5))
    assert route.feasible == NOTHING
    a.tells(d)
    assert route.feasible == at(0, metric(USERSPACE, 6))
    a.hears(c, "far", at(0, metric(USERSPACE, 6)))
    a.loses(b, "far")
    assert a.route("far").via is None
    assert a.tells(d) == {"far": NOTHING}
    a.hears(c, "far", at(0, metric(USERSPACE, 5)))
    assert a.route("far").via is c
    assert a.tells(d) == {"far": at(0, metric(USERSPACE, 6))}


def test_feasibility_counts_what_was_told_not_what_was_thought() -> None:
    a = Host("a")
    b, c, d = a.meet("b"), a.meet("c"), a.meet("d")
    route = a.hears(b, "far", at(0, 5))
    a.hears(b, "far", at(0, 9))  # before anything was written
    a.tells(d)
    assert route.feasible == at(0, metric(USERSPACE, 10))
    a.hears(c, "far", at(0, metric(USERSPACE, 8)))
    assert route.via is c


def test_it_stays_with_a_next_hop_whose_metric_rose_and_never_takes_the_told_back() -> None:
    a = Host("a")
    b, d = a.meet("b"), a.meet("d")
    route = a.hears(b, "far", at(0, 5))
    a.tells(d)
    a.hears(b, "far", at(0, 900))
    assert route.via is b
    assert a.tells(d) == {"far": at(0, metric(USERSPACE, 901))}
    assert route.feasible == at(0, metric(USERSPACE, 6))


def test_a_new_cost_counts_at_once() -> None:
    a = Host("a")
    b, c = a.meet("b"), a.meet("c", cost=3)
    route = a.hears(b, "far", at(0, 5))
    a.hears(c, "far", at(0, 5))
    other = a.hears(c, "other", at(0, 5))
    a.router.set_cost(b, 16, 7)
    assert (route.via, a.changes[-1]) == (c, ("far", 7))
    assert other.distance == at(0, metric(USERSPACE, 8))
    a.router.set_cost(c, 0x3FFE, 8)
    assert (route.via, other.via) == (b, None)


def test_a_way_of_infinite_metric_is_none() -> None:
    a = Host("a")
    b = a.meet("b")
    route = a.hears(b, "far", at(0, metric(USERSPACE, 0x3FFE)))
    assert (route.via, route.distance) == (None, NOTHING)
    a.hears(b, "far", at(0, 5))
    assert route.via is b
    a.hears(b, "far", at(0, metric(GLOBAL, 0x3FFE)))
    assert route.via is None


def test_an_update_with_infinite_metric_is_no_offer() -> None:
    a = Host("a")
    b = a.meet("b")
    route = a.hears(b, "far", at(0, 5))
    a.hears(b, "far", at(0, INFINITE))
    assert (route.offers, route.via) == ({}, None)
    assert b.processed == 0  # nobody counts it


# Sequence numbers (rule 4) --------------------


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


def test_a_node_without_a_feasible_way_asks_for_the_next_number() -> None:
    a, b, c, d, route = starving()
    assert [a.asks(neighbour) for neighbour in (b, c, d)] == [{}, {"far": 10}, {}]
    assert a.router.counters["seqno_requests"] == 1
    assert a.timers.next_deadline() == 100 + codes.SEQREQ_MS
    a.hears(c, "far", at(10, metric(USERSPACE, 700)), 200)
    assert route.via is c
    assert a.timers.next_deadline() == -1


def test_who_goes_on_starving_asks_everyone_ever_more_seldom() -> None:
    a, b, c, _, route = starving()
    a.asks(c)
    a.hears(b, "far", at(9, metric(USERSPACE, 900)), 150)
    assert (a.asks(b), a.asks(c)) == ({}, {"far": 10})  # there is another way
    a.hears(b, "far", at(9, metric(USERSPACE, 800)), 160)
    assert a.asks(b) == a.asks(c) == {}  # the request is on its way
    now, wait = 150, codes.SEQREQ_MS
    for _ in range(8):
        now += wait
        a.timers.fire(now - 1)
        assert a.asks(c) == {}
        a.timers.fire(now)
        assert a.asks(b) == a.asks(c) == {"far": 10 | WIDE}
        wait = min(wait * 2, codes.SEQREQ_MAX_MS)
    a.loses(b, "far")
    a.loses(c, "far")
    assert route.asked == NOTHING
    assert a.timers.next_deadline() == -1


def test_a_better_way_that_is_not_feasible_is_asked_for_too() -> None:
    a = Host("a")
    b, c, d = a.meet("b"), a.meet("c"), a.meet("d")
    route = a.hears(b, "far", at(65535, 5))
    a.tells(d)
    a.hears(b, "far", at(65535, 900))
    a.hears(c, "far", at(65535, metric(USERSPACE, 300)))
    assert route.via is b
    assert a.asks(b) == {"far": 0}  # towards the source, by the next hop
    a.hears(c, "far", at(0, metric(USERSPACE, 300)))
    assert route.via is c
    assert a.timers.next_deadline() == -1


def test_the_source_raises_its_number_once() -> None:
    a = Host("a", seqno=65535)
    b = a.meet("b")
    assert a.tells(b) == {"a": at(65535, 0)}
    a.router.request(b, a.router.me, 65535, 0)
    assert a.tells(b) == {}
    a.router.request(b, a.router.me, 0, 0)
    a.router.request(b, a.router.me, 0, 0)
    assert a.tells(b) == {"a": at(0, 0)}
    assert a.router.counters["seqno_raised"] == 1


def test_the_source_raises_its_number_at_most_64_times_a_second() -> None:
    a = Host("a")
    b = a.meet("b")
    for now, seconds in ((5000, 1), (5999, 1), (6000, 2), (6500, 2)):
        for _ in range(100):
            a.router.request(b, a.router.me, (a.router.me.distance >> 16) + 1, now)
        assert a.router.me.distance >> 16 == 64 * seconds


def test_a_request_goes_on_to_the_next_hop_once_in_a_while() -> None:
    a = Host("a")
    b, c, d = a.meet("b"), a.meet("c"), a.meet("d")
    route = a.hears(b, "far", at(9, 5))
    a.hears(c, "far", at(9, 7))
    a.router.request(d, route, 9, 0)
    assert a.asks(b) == {}  # it is told of 9 anyway
    a.router.request(d, route, 10, 1000)
    assert (a.asks(b), a.asks(c), a.asks(d)) == ({"far": 10}, {}, {})
    a.router.request(c, route, 10, 1000 + codes.SEQREQ_MS // 2 - 1)
    assert a.asks(b) == {}
    a.router.request(c, route, 11, 1000 + codes.SEQREQ_MS // 2 - 1)
    assert a.asks(b) == {"far": 11}
    a.router.request(c, route, 11, 1000 + codes.SEQREQ_MS)
    assert a.asks(b) == {"far": 11}


def test_a_request_never_goes_back_where_it_came_from() -> None:
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    route = a.hears(b, "far", at(9, 5))
    a.router.request(b, route, 10, 0)
    assert (a.asks(b), a.asks(c)) == ({}, {})  # nowhere to go
    a.hears(c, "far", at(9, metric(USERSPACE, 7)))
    a.router.request(b, route, 11, 0)
    assert (a.asks(b), a.asks(c)) == ({}, {"far": 11})


def test_a_request_goes_by_the_best_offer_feasible_or_not() -> None:
    a, b, c, d, route = starving()
    a.hears(d, "far", at(9, metric(USERSPACE, 600)), 100)
    a.asks(c)
    a.router.request(b, route, 10, 200)
    assert (a.asks(b), a.asks(c), a.asks(d)) == ({}, {}, {"far": 10})


def test_a_repeated_request_goes_to_all_who_offer() -> None:
    a = Host("a")
    b, c, d, e = a.meet("b"), a.meet("c"), a.meet("d"), a.meet("e")
    route = a.hears(b, "far", at(9, 5))
    a.hears(c, "far", at(9, 7))
    a.hears(d, "far", at(9, 7))
    a.router.request(d, route, 10 | WIDE, 0)
    assert [a.asks(n) for n in (b, c, d, e)] == [{"far": 10 | WIDE}, {"far": 10 | WIDE}, {}, {}]


# Forgetting (rule 5) --------------------


def test_a_route_is_forgotten_when_all_have_seen_its_withdrawal() -> None:
    a = Host("a")
    b, c, d = a.meet("b"), a.meet("c"), a.meet("d")
    route = a.hears(b, "far", at(0, 5))
    a.tells(c)
    a.tells(d)
    a.loses(b, "far")
    assert a.tells(c) == a.tells(d) == {"far": NOTHING}
    assert a.router.acknowledge(c, 1, 0)
    assert a.forgotten == []
    assert route.feasible != NOTHING
    assert a.router.acknowledge(d, 1, 0)
    assert a.forgotten == ["far"]
    assert key("far") not in a.router.routes
    assert a.router.fading == {}


def test_a_route_is_not_forgotten_before_its_withdrawal_is_written() -> None:
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    a.hears(b, "far", at(0, 5))
    a.tells(c)
    a.loses(b, "far")
    assert a.router.acknowledge(c, 0, 0)
    assert key("far") in a.router.routes


def test_acknowledgements_are_counted() -> None:
    """The first of two withdrawals of one route does not stand for the second."""
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    route = a.hears(b, "far", at(0, 5))
    a.tells(c)
    a.loses(b, "far")
    a.tells(c)
    a.hears(b, "far", at(0, 4))
    assert a.tells(c) == {"far": at(0, metric(USERSPACE, 5))}
    a.loses(b, "far")
    a.tells(c)
    assert a.router.acknowledge(c, 1, 0)
    assert route.feasible == at(0, metric(USERSPACE, 5))
    assert a.router.acknowledge(c, 2, 0)
    assert a.forgotten == ["far"]


def test_to_be_told_that_it_is_the_parent_is_to_be_told_a_withdrawal() -> None:
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    a.hears(b, "far", at(0, 5))
    a.tells(b)
    a.tells(c)
    a.router.close(c, 0)
    a.loses(b, "far")
    assert a.tells(b) == {"far": NOTHING}
    assert a.router.acknowledge(b, 1, 0)
    assert a.forgotten == ["c"]
    assert a.router.acknowledge(b, 2, 0)
    assert a.forgotten == ["c", "far"]


def test_acknowledgements_are_taken_modulo_65536_and_not_beyond_what_was_sent() -> None:
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    c.withdrawn = c.acked = 65535
    a.hears(b, "far", at(0, 5))
    a.tells(c)
    a.loses(b, "far")
    a.tells(c)
    assert not a.router.acknowledge(c, 1, 0)
    assert a.router.acknowledge(c, 65535, 0)
    assert a.forgotten == []
    assert a.router.acknowledge(c, 0, 0)
    assert a.forgotten == ["far"]
    assert c.acked == 65536


def test_a_route_that_someone_still_offers_is_kept() -> None:
    a, _, c, d, route = starving()
    a.tells(d)
    a.tells(c)
    a.router.acknowledge(c, c.withdrawn, 0)
    a.router.acknowledge(d, d.withdrawn, 0)
    assert a.router.routes[key("far")] is route
    a.loses(c, "far")
    assert a.forgotten == ["far"]


def test_a_withdrawal_of_what_nobody_knew_leaves_nothing() -> None:
    a = Host("a")
    b = a.meet("b")
    a.loses(b, "never")
    assert a.forgotten == ["never"]
    assert (b.processed, b.acks_due) == (1, True)
    assert list(a.router.routes) == [key("a"), key("b")]


def test_a_withdrawal_of_another_way_changes_nothing() -> None:
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    route = a.hears(b, "far", at(0, 5))
    a.loses(c, "far")
    assert route.via is b
    assert a.forgotten == []


def held() -> tuple[Host, Neighbour, Neighbour, Route]:
    """`a` had told `c` of a way by `b`; all know that it is gone since 100 ms."""
    a = Host("a", hold_ms=5000)
    b, c = a.meet("b"), a.meet("c")
    route = a.hears(b, "far", at(0, 5))
    a.tells(c)
    a.loses(b, "far", 50)
    a.tells(c)
    assert a.router.acknowledge(c, c.withdrawn, 100)
    return a, b, c, route


def test_what_was_told_is_remembered_for_a_while() -> None:
    a, _, _, _ = held()
    a.timers.fire(5099)
    assert a.forgotten == []
    a.timers.fire(5100)
    assert a.forgotten == ["far"]
    assert a.timers.next_deadline() == -1


def test_no_more_than_1024_are_held() -> None:
    a = Host("a", hold_ms=5000)
    b, c = a.meet("b"), a.meet("c")
    names = [f"n{number}" for number in range(1100)]
    for name in names:
        a.hears(b, name, at(0, 5))
    a.tells(c)
    for name in names:
        a.loses(b, name)
    a.tells(c)
    assert a.router.acknowledge(c, c.withdrawn, 0)
    assert len(a.router.fading) == 1024
    a.timers.fire(5000)
    assert len(a.forgotten) == 1100


def test_what_was_never_told_is_not() -> None:
    a = Host("a", hold_ms=5000)
    b = a.meet("b")
    a.hears(b, "far", at(0, 5))
    a.loses(b, "far")
    assert a.forgotten == ["far"]


def test_a_way_that_comes_back_meanwhile_is_kept() -> None:
    a, b, c, route = held()
    a.hears(b, "far", at(0, 5), 200)
    assert route.via is b
    assert a.timers.next_deadline() == -1
    a.tells(c)
    a.loses(b, "far", 300)
    a.timers.fire(5300)
    assert a.forgotten == []
    a.tells(c)
    assert a.router.acknowledge(c, c.withdrawn, 6000)
    a.timers.fire(11_000)
    assert a.forgotten == ["far"]


def test_a_way_that_is_not_feasible_meanwhile_is_asked_about() -> None:
    """A source that is gone never answers, and what runs round of it ends here."""
    a, b, _, route = held()
    a.hears(b, "far", at(0, metric(USERSPACE, 50)), 200)
    assert (route.via, a.asks(b)) == (None, {"far": 1})
    a.timers.fire(200 + codes.SEQREQ_MS)
    assert a.asks(b) == {"far": 1 | WIDE}
    a.loses(b, "far", 2000)
    assert a.timers.next_deadline() == 7000
    a.loses(b, "far", 3000)  # nothing new
    assert a.timers.next_deadline() == 7000


def test_what_is_being_told_when_the_while_is_over_is_kept() -> None:
    a, _, _, route = held()
    d = a.meet("d")
    d.children[route] = child()
    a.timers.fire(5100)
    assert a.forgotten == []
    a.loses(d, "far", 6000)
    a.timers.fire(11_000)
    assert a.forgotten == ["far"]


# Sessions (rule 6) --------------------


def test_the_end_of_a_session_ends_all_that_was_told_in_it() -> None:
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    route = a.hears(b, "far", at(0, 5))
    a.hears(b, "b", at(0, 0))
    a.tells(c)
    a.router.close(b, 3)
    assert (route.via, route.offers) == (None, {})
    assert a.tells(c) == {"b": NOTHING, "far": NOTHING}
    assert key("b") in a.router.routes
    a.router.close(c, 4)
    assert sorted(a.forgotten) == ["b", "c", "far"]
    assert a.router.routes == {key("a"): a.router.me}


def test_a_session_that_ends_without_an_offer_leaves_nothing() -> None:
    a = Host("a")
    a.router.close(a.meet("b"), 0)
    assert a.forgotten == ["b"]


def test_the_end_of_one_session_leaves_a_way_by_another() -> None:
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    a.hears(b, "b", at(0, 0))
    route = a.hears(c, "b", at(0, 1))
    a.router.close(b, 0)
    assert route.via is c
    assert a.forgotten == []


def test_a_new_session_is_told_everything_again() -> None:
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    a.hears(b, "far", at(0, 5))
    first = a.tells(c)
    a.router.close(c, 0)
    assert a.tells(a.meet("c")) == first


# Leaves (rule 7) --------------------


def test_a_leaf_is_told_nothing_and_its_router_originates_its_route() -> None:
    a = Host("a")
    b, leaf = a.meet("b"), a.meet("leaf", cost=512, realm=LOCALNET, leaf=True)
    a.hears(b, "far", at(0, 5))
    assert a.tells(leaf) == {}
    assert a.tells(b)["leaf"] == at(0, metric(LOCALNET, 512))
    assert a.route("leaf").via is leaf


def test_a_leaf_that_comes_back_gets_a_newer_number() -> None:
    a = Host("a")
    b = a.meet("b")
    leaf = a.meet("leaf", cost=16, leaf=True)
    a.tells(b)
    a.router.close(leaf, 0)
    assert a.tells(b) == {"leaf": NOTHING}
    again = a.meet("leaf", cost=512, leaf=True)
    assert a.tells(b) == {"leaf": at(1, metric(USERSPACE, 512))}
    assert a.route("leaf").via is again


def test_its_router_raises_the_number_of_a_leaf() -> None:
    a = Host("a")
    b = a.meet("b")
    a.meet("leaf", leaf=True)
    a.tells(b)
    a.router.request(b, a.route("leaf"), 0, 0)
    assert a.tells(b) == {}
    a.router.request(b, a.route("leaf"), 5, 0)
    assert a.tells(b) == {"leaf": at(5, metric(USERSPACE, 1))}
    assert a.router.counters["seqno_raised"] == 1


# A session with the source itself --------------------


@pytest.mark.parametrize("realm", [LOCALNET, GLOBAL])
@pytest.mark.parametrize("leaf", [False, True])
def test_a_session_with_the_source_wins_over_what_others_tell_of_it(realm: int, leaf: bool) -> None:
    """A dear link to a board, and a neighbour that claims to be nearer; even where it names a number that the
    board never had.
    """
    a = Host("a")
    liar = a.meet("liar", realm=LOCALNET)
    board = a.meet("board", realm=realm, cost=512, leaf=leaf)
    if not leaf:
        a.hears(board, "board", at(0, 0))
    for told in (at(0, 0), at(1, 0), at(9000, 0)):
        route = a.hears(liar, "board", told)
        assert (route.via is board) == (leaf or realm == LOCALNET)  # no way leaves a realm that needs not


def test_a_session_with_the_source_wins_whatever_number_was_told_before() -> None:
    a = Host("a")
    liar, b = a.meet("liar", realm=LOCALNET), a.meet("b", realm=LOCALNET)
    a.hears(liar, "s", at(9000, 0))
    assert a.tells(b)["s"] == at(9000, metric(LOCALNET, 1))
    source = a.meet("s", realm=LOCALNET, cost=512)
    route = a.hears(source, "s", at(3, 0))
    assert route.via is source
    assert a.tells(b) == {"s": at(3, metric(LOCALNET, 512))}


def test_a_way_on_this_machine_wins_over_a_session_from_beyond_it() -> None:
    a = Host("a")
    local = a.meet("local")
    route = a.hears(local, "s", at(0, 1))
    a.hears(a.meet("s", realm=LOCALNET), "s", at(0, 0))
    assert route.via is local
    leaf = a.hears(local, "leaf", at(0, 1))
    a.meet("leaf", realm=GLOBAL, leaf=True)
    assert leaf.via is local


# Together --------------------


def square() -> tuple[Net, list[Host], list[End]]:
    """a - b - c - d - a"""
    net = Net()
    hosts = [Host(name, seqno=65535) for name in "abcd"]
    ends = [net.join(hosts[i], hosts[(i + 1) % 4]) for i in range(4)]
    net.rest()
    return net, hosts, ends


def test_a_ring_breaks_and_heals() -> None:
    net, (a, b, c, d), (ab, _, cd, da) = square()
    assert (way(a, b), way(d, a), way(a, c) in ("abc", "adc")) == ("ab", "da", True)
    net.cut(ab)
    net.rest()
    assert (way(a, b), way(b, a)) == ("adcb", "bcda")
    net.cut(cd)
    net.rest()
    assert sorted(a.router.routes) == sorted(d.router.routes) == [key("a"), key("d")]
    assert sorted(b.router.routes) == sorted(c.router.routes) == [key("b"), key("c")]
    net.join(b, a)
    net.rest()
    assert way(c, d) == "cbad"
    net.cut(da)
    net.rest()
    assert sorted(a.router.routes) == [key(name) for name in "abc"]
    assert list(d.router.routes) == [key("d")]


def test_a_starving_ring_gets_its_number_from_the_source() -> None:
    net, (a, b, c, _), (_, bc, _, da) = square()
    for end in (bc, bc.peer):
        end.host.router.set_cost(end.neighbour, 500, net.now)
    net.rest()
    assert (way(a, c), way(b, c)) == ("adc", "bc")
    net.cut(da)
    net.rest()
    assert (way(a, c), way(c, a)) == ("abc", "cba")
    assert c.router.counters["seqno_raised"] > 0


def test_a_network_at_rest_is_silent() -> None:
    net, _, _ = square()
    assert net.rest() == 0


def test_the_page_of_the_rules_names_functions_that_exist() -> None:
    text = (ROOT / "docs/routing.md").read_text(encoding="utf-8")
    names = re.findall(r"`Router\.(\w+)`", text)
    assert len(names) > 20
    assert [name for name in names if not hasattr(Router, name)] == []


# What went wrong once --------------------


def test_a_router_never_asks_a_leaf_it_raises_the_number_itself() -> None:
    """A leaf that moved here while its former router still answered for it with newer numbers."""
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    leaf = a.meet("leaf", realm=LOCALNET, cost=512, leaf=True)
    route = a.hears(b, "leaf", at(7, metric(USERSPACE, 1)))
    assert route.via is b
    a.tells(c)
    a.loses(b, "leaf")
    assert a.asks(leaf) == {}
    assert a.route("leaf").via is leaf
    assert a.tells(c) == {"leaf": at(8, metric(LOCALNET, 512))}
    assert a.timers.next_deadline() == -1


def test_a_repeated_request_reaches_the_leaf_of_a_router_that_goes_another_way() -> None:
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    leaf = a.meet("leaf", realm=LOCALNET, cost=512, leaf=True)
    route = a.hears(b, "leaf", at(7, metric(USERSPACE, 1)))
    a.router.request(c, route, 9 | WIDE, 0)
    assert (a.asks(b), a.asks(leaf)) == ({"leaf": 9 | WIDE}, {})
    assert route.offers[leaf] == at(9, 0)
    a.router.request(c, route, 9 | WIDE, codes.SEQREQ_MS)
    assert route.offers[leaf] == at(9, 0)


def test_numbers_do_not_race_when_the_better_way_is_the_slower_one() -> None:
    """Each new number comes by the near way first and lowers FD: the far way, always one behind, is not
    asked for again before it had the time to catch up.
    """
    a = Host("a")
    near, far, d = a.meet("b", realm=GLOBAL), a.meet("c"), a.meet("d")
    route = a.hears(near, "s", at(0, 1))
    a.hears(far, "s", at(0, metric(USERSPACE, 9)))
    a.tells(d)
    a.hears(far, "s", at(0, metric(USERSPACE, 99)))
    a.loses(far, "s", 10)
    a.hears(far, "s", at(0, metric(USERSPACE, 99)), 20)
    assert route.via is near
    assert a.asks(near) == {"s": 1}
    a.tells(d)
    a.hears(near, "s", at(1, 1), 30)
    a.tells(d)
    a.hears(far, "s", at(0, metric(USERSPACE, 98)), 40)
    assert (a.asks(near), a.asks(far)) == ({}, {})
    a.timers.fire(20 + codes.SEQREQ_MS)
    assert a.asks(far) == {"s": 2 | WIDE}  # what is wanted now
    a.hears(far, "s", at(1, metric(USERSPACE, 99)), 40)
    assert a.route("s").via is far
    assert a.timers.next_deadline() == -1


def test_who_loses_its_way_asks_again_though_it_asked_for_a_better_one_before() -> None:
    a = Host("a")
    b, c, d = a.meet("b"), a.meet("c"), a.meet("d")
    a.hears(b, "far", at(9, 5))
    a.tells(d)
    a.hears(b, "far", at(9, 900))
    a.hears(c, "far", at(9, metric(USERSPACE, 300)))
    assert a.asks(b) == {"far": 10}
    for now in (1000, 3000, 7000, 15000):
        a.timers.fire(now)
    a.asks(b), a.asks(c)
    a.loses(b, "far", 15500)
    assert a.asks(c) == {"far": 10}
    assert a.timers.next_deadline() == 15500 + codes.SEQREQ_MS


def test_a_repeated_request_is_not_taken_for_the_first_one() -> None:
    a = Host("a")
    b, c, d = a.meet("b"), a.meet("c"), a.meet("d")
    route = a.hears(b, "far", at(9, 5))
    a.hears(c, "far", at(9, 7))
    a.router.request(d, route, 10, 0)
    assert (a.asks(b), a.asks(c)) == ({"far": 10}, {})
    a.router.request(d, route, 10 | WIDE, 1)
    assert (a.asks(b), a.asks(c)) == ({"far": 10 | WIDE}, {"far": 10 | WIDE})
    a.router.request(d, route, 10, 2)
    assert (a.asks(b), a.asks(c)) == ({}, {})


@pytest.mark.parametrize("counted", [True, False])
def test_a_request_for_a_route_that_was_removed_is_not_written(counted: bool) -> None:
    a, _, c, d, _ = starving()
    a.tells(d)
    a.tells(c)
    a.router.acknowledge(c, c.withdrawn, 0)
    a.router.acknowledge(d, d.withdrawn, 0)
    if counted:
        a.loses(c, "far")
    else:
        a.hears(c, "far", at(0, INFINITE))
    assert (a.forgotten, a.asks(c)) == (["far"], {})


def test_an_update_with_infinite_metric_leaves_nothing() -> None:
    a = Host("a")
    b = a.meet("b")
    a.hears(b, "far", at(0, INFINITE))
    a.hears(b, "away", at(0, 5))
    a.hears(b, "away", at(0, INFINITE))
    assert a.forgotten == ["far", "away"]


def test_a_child_of_what_nobody_knows_is_not_kept() -> None:
    a = Host("a")
    b = a.meet("b")
    a.router.adopt(b, a.router.route(key("never")), child(), 0)
    assert (b.children, a.forgotten) == ({}, ["never"])


def test_a_route_is_kept_until_its_children_have_said_that_they_have_left() -> None:
    """Else a child that finds its parent again before it spoke is nobody's child."""
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    route = a.hears(b, "far", at(0, 5))
    a.tells(c)
    one = child()
    a.router.adopt(c, route, one, 0)
    a.loses(b, "far")
    a.tells(c)
    a.router.acknowledge(c, 1, 0)
    assert a.forgotten == []
    a.hears(b, "far", at(0, 5))
    assert c.children == {route: one}
    a.loses(b, "far")
    a.loses(c, "far")
    assert a.forgotten == ["far"]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_what_was_told_long_ago_never_passes_for_new() -> None:
    """The source's numbers go round while this node has nobody to tell them to."""
    a = Host("a")
    b, c = a.meet("b"), a.meet("c")
    route = a.hears(b, "far", at(0, 5))
    a.tells(c)
    a.router.close(c, 0)
    for seqno in range(40_000):
        a.hears(b, "far", at(seqno, 5))
    d = a.meet("d")
    assert a.tells(d)["far"] == at(39_999, metric(USERSPACE, 6))
    assert route.feasible == at(39_999, metric(USERSPACE, 6))


@pytest.mark.parametrize("lost", ["after the request", "before the request"])
def test_a_request_whose_way_is_lost_goes_on_by_the_next(lost: str) -> None:
    """Of two that lose the same neighbour one asks the other, which has a feasible way a moment later."""
    host = Host("b")
    dead, spare, asker = host.meet("dead"), host.meet("spare"), host.meet("asker")
    route = host.hears(dead, "s", at(4, 1))
    host.tells(asker)
    if lost == "before the request":
        host.router.close(dead, 5)
    host.router.request(asker, route, 5, 10)
    if lost == "after the request":
        assert dead.requests == {route: 5}
        host.router.close(dead, 20)
    assert spare.requests == {}
    host.hears(spare, "s", at(4, 1), 30)
    assert route.via is spare
    assert spare.requests == {route: 5}


@pytest.mark.parametrize(("seqno", "now"), [(5, 30), (4, 30 + codes.SEQREQ_MS)])
def test_a_request_that_was_served_or_is_old_goes_no_further(seqno: int, now: int) -> None:
    host = Host("b")
    dead, spare, asker = host.meet("dead"), host.meet("spare"), host.meet("asker")
    route = host.hears(dead, "s", at(4, 1))
    host.tells(asker)
    host.router.request(asker, route, 5, 10)
    host.router.close(dead, 20)
    host.hears(spare, "s", at(seqno, 1), now)
    assert route.via is spare
    assert spare.requests == {}


def test_an_offer_without_room_leaves_the_way_that_there_is() -> None:
    host = Host("a")
    near, full = host.meet("b"), host.meet("c")
    host.hears(near, "x", at(0, 5))
    full.offered = codes.ROUTES_LINK_MAX
    route = host.hears(full, "x", at(0, 1))
    assert (route.via, list(route.offers), full.over) == (near, [near], 1)
    assert host.router.fading == {}
    assert host.forgotten == []
    host.hears(full, "y", at(0, 1))  # which nobody else offers
    assert key("y") not in host.router.routes
