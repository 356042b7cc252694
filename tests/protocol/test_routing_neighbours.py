"""Rules 5 to 7 of docs/routing.md: what is forgotten and when, sessions and leaves."""

from __future__ import annotations

import pytest

from busway.protocol import codes
from busway.protocol.routing.router import (
    NOTHING,
    WIDE,
    Neighbour,
    Route,
)

from .routers import GLOBAL, LOCALNET, USERSPACE, Host, at, child, key, metric, starving

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
