"""Questions for holders behind links that push no directory: between routers, and by those beyond."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from busway.protocol import codes, events

from .helpers import assert_settled, verdicts
from .nets import (
    ANYCAST,
    BROADCAST,
    GLOBAL,
    LOCALNET,
    UNICAST,
    Liar,
    Mesh,
    chain,
    id_of,
)
from .pairs import E, F

NOBODY = [(events.UNDELIVERED, codes.NO_ENDPOINT)]


def slow(letters: str = "abcd", at: str = "bc") -> Mesh:
    """A chain in which one link is slow."""
    net = Mesh()
    net.add(letters)
    for first, second in pairwise(letters):
        net.join(first + second, lookups=first + second == at)
    net.pump()
    return net


def asked(net: Mesh, letter: str, pair: str, which: int = codes.WHO) -> int:
    """How often a node wrote WHO (or another signal) to a link."""
    return len([body for body in net.frames(letter, pair, 0xF0) if body[1] == which]) + len(
        [body for body in net.frames(letter, pair, 0xF8) if which in body[3:9]]
    )


def test_over_a_slow_link_go_routes_and_no_directory() -> None:
    net = slow()
    for letter in "abcd":
        net[letter].register(letter.encode() * 4 + b"-endpoint--x", ANYCAST)
        assert net.reaches(letter) == "".join(other for other in "abcd" if other != letter)
    net.pump()
    assert net.frames("b", "bc", codes.DIRECTORY) == net.frames("c", "bc", codes.DIRECTORY) == []
    assert net.frames("a", "ab", codes.DIRECTORY) != []


def test_the_routers_at_its_ends_can_be_asked_and_the_others_know() -> None:
    net = slow()
    assert net.holders("a", codes.LOOKUP) == "b"
    assert net.holders("d", codes.LOOKUP) == "c"
    assert bytes.fromhex("8d8801094ecc5a92a513202a1e0b94a0") == codes.LOOKUP
    net.cable["bc"].cut()
    net.pump()
    assert net.holders("a", codes.LOOKUP) == net.holders("d", codes.LOOKUP) == ""


@pytest.mark.parametrize(("source", "holder"), [("b", "c"), ("b", "d"), ("a", "c"), ("a", "d"), ("d", "a")])
def test_an_endpoint_beyond_a_slow_link_is_found_when_it_is_needed(source: str, holder: str) -> None:
    net = slow()
    receiver = net[holder].register(E, UNICAST, name="pump")
    net.pump()
    assert net.holders(source, E) == ""
    token = net[source].send(E, b"x", net.now, confirm=True)
    net.pump()
    assert net.holders(source, E) == holder
    assert net[source].directory.known(E)[0].name == "pump"
    assert net.payloads(holder, receiver) == [b"x"]
    net.pump()
    assert verdicts(net, net[source], token) == [(events.TAKEN, 0)]
    assert_settled(net)


def test_a_holder_that_is_told_again_is_still_there() -> None:
    net = slow()
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    net["b"].send(E, b"first", net.now)
    net.pump()
    assert net.holders("b", E) == "c"
    net["d"].register(E, ANYCAST, cost=1000)
    net.pump()
    assert net.holders("b", E) == "cd"  # c is told with d, once more
    assert net.seen(net["b"], events.ENDPOINT_DOWN) == []
    net["b"].send(E, b"second", net.now)
    net.pump()
    assert net.payloads("c", receiver) == [b"first", b"second"]


def test_a_line_knows_better_than_what_was_told_when_asked() -> None:
    net = slow()
    net["d"].register(E, ANYCAST)
    net.pump()
    net["b"].send(E, b"x", net.now)
    net.pump()
    assert net.holders("b", E) == "d"
    net.join("bd", cost=1)  # a fast way: the line comes
    net.pump()
    net["c"].register(E, ANYCAST)
    net.pump()
    assert net.holders("b", E) == "cd"
    net["b"].lookups.refused(net.see("b", "d"), E, net.now)
    assert net.holders("b", E) == "cd"


def test_a_broadcast_crosses_a_slow_link_though_somebody_nearer_has_subscribed() -> None:
    net = slow("abc", "bc")
    receivers = {letter: net[letter].register(E, BROADCAST) for letter in "abc"}
    net.pump()
    net["b"].deregister(receivers.pop("b"), net.now)
    net.pump()
    for source in "abc":
        net[source].publish(E, source.encode(), net.now)
        net.pump()
        net.advance(3000)
    for letter, receiver in receivers.items():
        assert net.payloads(letter, receiver) == [b"a", b"b", b"c"]


def test_over_two_slow_links() -> None:
    net = Mesh()
    net.add("abcdef")
    net.join("ab cd ef")
    net.join("bc de", lookups=True)
    net.pump()
    receiver = net["f"].register(E, UNICAST)
    net.pump()
    net["a"].send(E, b"x", net.now)
    net.advance(100)
    assert net.payloads("f", receiver) == [b"x"]


def test_nobody_has_it_is_known_at_once_when_all_have_answered() -> None:
    net = slow()
    token = net["a"].send(E, b"x", net.now, confirm=True)
    net.pump()
    assert verdicts(net, net["a"], token) == NOBODY
    assert_settled(net)


def test_without_an_answer_it_is_known_after_two_seconds() -> None:
    net = slow()
    net.cable["bc"].block(net["c"])
    token = net["a"].send(E, b"x", net.now, confirm=True)
    net.pump()
    net.advance(codes.SYNC_MS - 1)
    assert verdicts(net, net["a"], token) == []
    net.advance(2)
    assert verdicts(net, net["a"], token) == NOBODY
    assert net["a"].lookups.queries == net["b"].lookups.queries == {}
    assert_settled(net)


def test_many_messages_ask_once() -> None:
    net = slow()
    receiver = net["d"].register(E, UNICAST)
    net.pump()
    for number in range(20):
        net["b"].send(E, b"%d" % number, net.now)
        net["a"].send(E, b"%d" % number, net.now)
    net.pump()
    assert asked(net, "b", "bc") == 1
    assert asked(net, "a", "ab") == 1
    got = len(net.payloads("d", receiver))
    for _ in range(20):
        net.pump()
        got += len(net.payloads("d", receiver))
    assert got == 40


def test_several_neighbours_that_ask_at_once_are_answered_by_one_question() -> None:
    net = slow()
    net.add("xyz")
    net.join("xb yb zb")
    net["d"].register(E, UNICAST)
    net.pump()
    tokens = {letter: net[letter].send(E, b"", net.now, confirm=True) for letter in "axyz"}
    net.pump()
    assert asked(net, "b", "bc") == 1
    assert all(net.holders(letter, E) == "d" for letter in "axyz")
    assert len(tokens) == 4


def test_who_waits_with_a_ttl_hears_of_it_when_it_appears_at_the_other_end() -> None:
    net = slow()
    token = net["b"].send(E, b"x", net.now, ttl_ms=60_000)
    net.advance(5000)
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    assert net.payloads("c", receiver) == [b"x"]
    assert [o.status for o in net.outcomes(net["b"], token)] == [events.ACCEPTED]


def crowd_out(net: Mesh, letter: str) -> None:
    """Ask for so much else that what was asked for before is not told of any more."""
    for number in range(codes.WATCHES_MAX):
        net[letter].lookups.ask(b"%016d" % number, net.now)
    net.pump()


def waits(net: Mesh, source: str, **options: Any) -> int:
    """A message of that node that waits for E, which nobody has; what could be asked has answered."""
    token = net[source].send(E, b"x", net.now, ttl_ms=60_000, **options)
    net.advance(5000)
    assert net.outcomes(net[source], token) == []
    return token


def assert_goes(net: Mesh, source: str, holder: str, token: int) -> None:
    """Now that `holder` has E, the message arrives without waiting for anything more."""
    receiver = net[holder].register(E, UNICAST)
    net.pump()
    assert net.payloads(holder, receiver) == [b"x"]
    assert [o.status for o in net.outcomes(net[source], token)] == [events.ACCEPTED]
    assert_settled(net)


@pytest.mark.parametrize(
    ("letters", "at"), [("abcd", "cd"), ("abcde", "cd"), ("abcdef", "cd"), ("abcde", "bc")]
)
def test_who_waits_far_from_the_slow_link_hears_of_it_too(letters: str, at: str) -> None:
    net = slow(letters, at)
    token = waits(net, "a")
    assert_goes(net, "a", letters[-1], token)


def test_who_waits_beyond_two_slow_links_hears_of_it() -> None:
    net = Mesh()
    net.add("abcdefg")
    for pair in ("ab", "bc", "cd", "de", "ef", "fg"):
        net.join(pair, lookups=pair in ("bc", "ef"))
    net.pump()
    token = waits(net, "a")
    assert_goes(net, "a", "g", token)


def test_a_leaf_that_waits_far_from_the_slow_link_hears_of_it() -> None:
    net = slow("abcd", "cd")
    net.leaf("l", "a")
    net.pump()
    token = waits(net, "l")
    assert_goes(net, "l", "d", token)


def test_who_waits_asks_those_behind_a_slow_link_that_comes_later() -> None:
    net = slow("abc", "")
    net.add("d")
    receiver = net["d"].register(E, UNICAST)
    tokens = {letter: waits(net, letter) for letter in "abc"}
    net.join("cd", lookups=True)
    net.pump()
    assert sorted(net.payloads("d", receiver)) == [b"x"] * 3
    for letter, token in tokens.items():
        assert [o.status for o in net.outcomes(net[letter], token)] == [events.ACCEPTED]


def test_a_leaf_that_waits_hears_of_what_is_behind_a_slow_link_that_comes_later() -> None:
    net = slow("abc", "")
    net.add("d")
    net.leaf("m", "a")
    receiver = net["d"].register(E, UNICAST)
    net.pump()
    token = waits(net, "m")
    net.join("cd", lookups=True)
    net.pump()
    assert net.payloads("d", receiver) == [b"x"]
    assert [o.status for o in net.outcomes(net["m"], token)] == [events.ACCEPTED]


def test_far_askers_are_told_of_changes_and_forgotten_when_they_go() -> None:
    net = slow("abcde", "de")
    first = net["e"].register(E, ANYCAST)
    net.pump()
    for letter in "ab":
        net[letter].send(E, b"", net.now)
        net.pump()
        assert net.holders(letter, E) == "e"
    net["e"].deregister(first, net.now)
    net.pump()
    assert net.holders("a", E) == net.holders("b", E) == ""
    net["e"].register(E, ANYCAST)
    net.pump()
    assert net.holders("a", E) == net.holders("b", E) == "e"
    far = net["d"].lookups._far
    assert [key[:16] for key in far] == [id_of("a"), id_of("b")]
    net.cable["ab"].cut()
    net.advance(5 * codes.ROUTE_LOSS_GRACE_MS)
    assert [key[:16] for key in far] == [id_of("b")]
    net.cable["bc"].cut()
    net.advance(5 * codes.ROUTE_LOSS_GRACE_MS)
    assert (far, net["d"].lookups._far_size, net["d"].lookups._askers) == ({}, 0, {})


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_what_far_askers_asked_for_is_remembered_within_bounds() -> None:
    net = slow("abcd", "cd")
    crowd_out(net, "a")
    crowd_out(net, "b")
    token = net["a"].send(E, b"x", net.now, ttl_ms=60_000)
    net.pump()
    assert net["c"].lookups._far_size == codes.WATCHES_MAX
    assert_goes(net, "a", "d", token)


def test_what_is_written_to_a_far_asker_is_the_latest_only() -> None:
    net = slow("abcd", "cd")
    token = waits(net, "a")
    net.cable["bc"].block(net["c"])
    for _ in range(20):
        net["d"].deregister(net["d"].register(E, UNICAST), net.now)
        net.pump()
    net.cable["bc"].block(net["c"], False)
    before = asked(net, "c", "bc", codes.HAVE)
    assert_goes(net, "a", "d", token)
    assert asked(net, "c", "bc", codes.HAVE) - before <= 2


def test_a_message_for_a_certain_node_waits_for_it_beyond_a_slow_link_too() -> None:
    net = slow("abcd", "cd")
    net.add("e")
    receiver = net["e"].register(E, ANYCAST)
    token = waits(net, "a", node_id=id_of("e"))
    net.join("de")
    net.pump()
    assert net.payloads("e", receiver) == [b"x"]
    assert [o.status for o in net.outcomes(net["a"], token)] == [events.ACCEPTED]


def test_a_router_that_comes_later_with_a_slow_link_is_asked() -> None:
    net = chain("ab")
    net.leaf("m", "a")
    net.add("cd")
    net.join("cd", lookups=True)
    net.pump()
    receiver = net["d"].register(E, UNICAST)
    tokens = {letter: waits(net, letter) for letter in "am"}
    net.join("bc")
    net.pump()
    assert net.payloads("d", receiver) == [b"x"] * 2
    for letter, token in tokens.items():
        assert [o.status for o in net.outcomes(net[letter], token)] == [events.ACCEPTED]


def test_no_more_is_asked_for_at_once_than_the_bound_says() -> None:
    net = chain("ab")
    Liar(net, net["b"], lookups=True)
    lookups = net["b"].lookups
    assert all(lookups.ask(b"%016d" % number, net.now) for number in range(codes.QUERIES_MAX))
    assert not lookups.ask(E, net.now)
    net.advance(codes.SYNC_MS)
    assert lookups.ask(E, net.now)


def test_a_second_slow_link_to_whom_is_asked_already_asks_nothing_again() -> None:
    net = slow("ab", "ab")
    net.advance(codes.SYNC_MS)  # else it would not be asked again anyway
    net.cable["ab"].block(net["b"])
    waiting = net["a"].send(E, b"x", net.now, ttl_ms=60_000)
    net.join("ba", lookups=True)
    net.pump()
    assert asked(net, "a", "ab") + asked(net, "a", "ba") == 1
    net.cable["ab"].block(net["b"], False)
    assert_goes(net, "a", "b", waiting)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_new_slow_link_is_not_flooded_with_questions() -> None:
    net = chain("ab")
    for number in range(codes.WATCHES_MAX + 50):
        net["a"].send(b"%016d" % number, b"x", net.now, ttl_ms=60_000)
    liar = Liar(net, net["b"], lookups=True)
    for number in range(codes.WATCHES_MAX + 50):
        net["b"].send(b"%016d" % number, b"x", net.now, ttl_ms=60_000)
    net.pump()
    asked_for = [body for body in liar.hear() if body[:2] == bytes((0xF0, codes.WHO))]
    assert len(asked_for) == codes.WATCHES_MAX + 50
    other = Liar(net, net["b"], "y", lookups=True)
    assert len([body for body in other.hear() if body[:2] == bytes((0xF0, codes.WHO))]) == codes.WATCHES_MAX


def test_who_has_asked_over_a_slow_link_is_told_of_changes() -> None:
    net = slow()
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    net["b"].send(E, b"", net.now)
    net.pump()
    net["c"].deregister(receiver, net.now)
    net.pump()
    assert net.holders("b", E) == ""


def test_what_a_far_router_said_is_forgotten_when_it_is_refused() -> None:
    net = slow()
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    net["a"].send(E, b"", net.now)
    net.pump()
    assert net.holders("a", E) == "c"
    net["c"].deregister(receiver, net.now)
    net.pump()
    token = net["a"].send(E, b"", net.now, confirm=True)
    net.pump()
    assert [status for status, _ in verdicts(net, net["a"], token)] == [events.UNDELIVERED]
    assert net.holders("a", E) == ""


def test_the_empty_answer_of_one_router_leaves_what_another_said() -> None:
    net = Mesh()
    net.add("abcxy")
    net.join("ab ac")
    net.join("bx cy", lookups=True)
    net["x"].register(E, ANYCAST)
    net.pump()
    for first, second in (("b", "c"), ("c", "b")):
        pair = "a" + second
        net.cable[pair].block(net[second])
        net["a"].origin.forget_target(E)
        net["a"].send(E, b"", net.now, ttl_ms=1500)
        net.pump()
        net.cable[pair].block(net[second], False)
        net.pump()
        assert net.holders("a", E) == "x", first


def test_an_answer_that_comes_too_late_still_helps() -> None:
    net = slow("abc")
    net["c"].register(E, ANYCAST)
    net.pump()
    net.cable["bc"].block(net["c"])
    net["b"].send(E, b"x", net.now, ttl_ms=10_000)
    net.advance(codes.SYNC_MS + 500)
    assert net["b"].lookups.queries == {}
    net.cable["bc"].block(net["c"], False)
    net.pump()
    assert net.holders("b", E) == "c"


def test_when_the_slow_link_ends_its_questions_are_over() -> None:
    net = slow()
    net.cable["bc"].block(net["c"])
    token = net["a"].send(E, b"x", net.now, confirm=True)
    mine = net["b"].send(F, b"x", net.now, confirm=True)
    net.pump()
    assert verdicts(net, net["b"], mine) == []
    net.cable["bc"].cut()
    net.advance(codes.ROUTE_LOSS_GRACE_MS)
    assert verdicts(net, net["b"], mine) == NOBODY
    assert verdicts(net, net["a"], token) == NOBODY
    assert_settled(net)


def test_a_leaf_asks_through_its_router_behind_a_slow_link() -> None:
    net = slow("abc")
    net.leaf("x", "a")
    net.leaf("y", "c")
    receiver = net["y"].register(E, UNICAST)
    net.pump()
    net["x"].send(E, b"x", net.now)
    net.pump()
    assert net.payloads("y", receiver) == [b"x"]
    nobody = net["x"].send(F, b"x", net.now, confirm=True)
    net.advance(codes.SYNC_MS + 500)
    assert verdicts(net, net["x"], nobody) == NOBODY


@pytest.mark.parametrize("realm", [LOCALNET, GLOBAL])
def test_a_lookup_respects_realms(realm: int) -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab", lookups=True, realm=GLOBAL)
    net.join("bc")
    net["b"].register(E, UNICAST, realm)
    net["c"].register(F, UNICAST, realm)
    net.pump()
    for uuid in (E, F):
        token = net["a"].send(uuid, b"x", net.now, confirm=True)
        net.pump()
        assert (verdicts(net, net["a"], token) == NOBODY) is (realm == LOCALNET)
    assert net.holders("a", E) == ("b" if realm == GLOBAL else "")
    assert net.holders("a", F) == ("c" if realm == GLOBAL else "")


def test_a_node_beyond_a_slow_link_is_found_by_its_id() -> None:
    net = slow()
    token = net["a"].locate(id_of("d"), net.now)
    net.pump()
    assert [(o.status, o.node_id) for o in net.outcomes(net["a"], token)] == [(events.TRACED, id_of("d"))]


def test_subscribers_beyond_a_slow_link_are_found() -> None:
    net = slow()
    receiver = net["d"].register(E, BROADCAST)
    other = net["c"].register(E, BROADCAST)
    net.pump()
    for number in range(3):
        net["a"].publish(E, b"%d" % number, net.now)
        net.advance(6000)
    for at, its in (("c", other), ("d", receiver)):
        assert net.payloads(at, its)[-1:] == [b"2"]
