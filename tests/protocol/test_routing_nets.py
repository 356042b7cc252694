"""Small networks of routers run until they rest, and what went wrong once."""

from __future__ import annotations

import re

import pytest

from busway.protocol import codes
from busway.protocol.routing.distances import INFINITE
from busway.protocol.routing.router import WIDE, Router
from tests.rigs.tree import ROOT

from .routers import GLOBAL, LOCALNET, USERSPACE, End, Host, Net, at, child, key, metric, starving, way

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
