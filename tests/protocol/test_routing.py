"""Rules 1 to 4, 8 and 11 of docs/routing.md, each by itself: routers told by hand."""

from __future__ import annotations

import pytest

from busway.protocol import codes
from busway.protocol.routing.distances import INFINITE, better, extend, newer
from busway.protocol.routing.router import NOTHING, PARENT, WIDE

from .routers import GLOBAL, LOCALNET, USERSPACE, Host, at, child, key, metric, starving

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


@pytest.mark.parametrize(
    ("offer", "wanted"),
    [(10 - 0x4000, 10), (10 - 0x4001, 9), (9 - 0x8000, 0xC009), (9 + 0x7FFF, 10), (11, 10)],
)
def test_only_a_number_that_is_far_ahead_is_asked_for_in_strides(offer: int, wanted: int) -> None:
    a = Host("a")
    b, c, d = a.meet("b"), a.meet("c"), a.meet("d")
    a.hears(b, "far", at(9, metric(USERSPACE, 5)))
    a.tells(c)
    a.hears(b, "far", at(9, metric(USERSPACE, 50)))
    a.hears(c, "far", at(9, metric(USERSPACE, 10)))  # better, and not feasible
    a.hears(d, "far", at(offer & 0xFFFF, metric(USERSPACE, 200)))
    for neighbour in (b, c, d):
        a.asks(neighbour)
    a.timers.fire(codes.SEQREQ_MS)
    assert a.asks(d) == {"far": wanted & 0xFFFF | WIDE}
    assert a.asks(c) == {"far": 10 | WIDE}


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
