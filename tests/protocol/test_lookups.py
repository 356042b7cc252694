"""Questions for holders behind links that push no directory: between routers, and by those beyond."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from busway.protocol import Limits, codes, events
from busway.protocol.errors import LocalError
from tests.rigs.uncounted import uncounted

from .helpers import assert_settled, verdicts
from .nets import (
    ANYCAST,
    BROADCAST,
    GLOBAL,
    LOCALNET,
    SELF,
    UNICAST,
    YOU,
    Liar,
    Mesh,
    alias,
    bind,
    chain,
    directory,
    entry,
    id_of,
    key,
    parent,
    retract,
    routes,
    signal,
    u16,
    update,
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
    assert net[source].directory.by_uuid[E][0].name == "pump"
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


# By hand


def haves(liar: Liar) -> list[bytes]:
    return [body[2:] for body in liar.hear() if body[:2] == bytes((0xF0, codes.HAVE))]


def test_holders_come_nearest_first_with_all_that_is_known_of_them() -> None:
    net = chain("bc", cost=9)
    net["c"].register(E, ANYCAST, name="far")
    net["b"].register(E, ANYCAST, cost=300)
    net.pump()
    liar = Liar(net, net["b"], lookups=True)
    liar.say(signal(codes.WHO, alias(1, E)))
    [answer] = haves(liar)
    mine = b"\x2a" + SELF + u16(0) + b"\xac\x02"
    assert answer.startswith(alias(1, E) + mine)
    assert answer[len(alias(1, E) + mine)] == 0x4A
    assert answer.endswith(u16(LOCALNET << 14 | 9) + b"\x03far")


def test_what_is_written_to_a_watcher_is_the_latest_only() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)
    liar.say(signal(codes.WHO, alias(1, E)))
    liar.hear()
    for _ in range(50):
        net["b"].deregister(net["b"].register(E, ANYCAST), net.now)
    net["b"].register(E, ANYCAST)
    [answer] = haves(liar)
    assert answer == alias(1, E) + b"\x0a" + SELF + u16(0) or answer == b"\x01\x0a" + SELF + u16(0)
    net["b"].register(F, ANYCAST)
    assert haves(liar) == []


def test_an_asker_is_not_told_of_itself() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    liar.say(routes(parent(YOU)), directory(SELF, LOCALNET, 0, 1, entry(2, E)))
    liar.hear()
    liar.say(signal(codes.WHO, alias(1, E)), signal(codes.WHO, alias(2, id_of("z"))))
    assert haves(liar) == [alias(1, E), alias(2, id_of("z"))]


def test_the_answer_names_the_asker_s_own_endpoint_in_vain() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)
    token = net["b"].send(E, b"", net.now, confirm=True)
    liar.hear()
    liar.say(signal(codes.HAVE, alias(1, E) + b"\x0e" + YOU + u16(0) + b"\x0e" + bind(3, key("n")) + u16(0)))
    assert verdicts(net, net["b"], token) == NOBODY
    assert net.holders("b", E) == ""


def test_a_holder_whose_line_is_known_is_left_as_its_line_says() -> None:
    net = chain("abc")
    net["c"].register(E, ANYCAST, cost=3)
    net.pump()
    liar = Liar(net, net["b"], lookups=True)
    net["b"].lookups.ask(E, net.now)
    liar.hear()
    c = bind(3, net["c"].me.key)
    liar.say(signal(codes.HAVE, alias(1, E) + b"\x0a" + c + u16(0)))
    assert net["b"].directory.by_uuid[E][0].cost == 3
    liar.say(signal(codes.HAVE, b"\x01"))
    assert net.holders("b", E) == "c"


def test_a_second_answer_takes_back_what_the_first_said() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)
    liar.say(routes(update(bind(3, key("x")), 0, 1)))
    net["b"].send(E, b"", net.now, ttl_ms=9000)
    liar.hear()
    liar.say(signal(codes.HAVE, alias(1, E) + b"\x0a\x03" + u16(1)))
    assert net.holders("b", E) == "x"
    liar.say(signal(codes.HAVE, b"\x01"))
    assert net.holders("b", E) == ""


def test_a_router_that_asks_back_is_answered_at_once() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)
    net["b"].send(E, b"", net.now, ttl_ms=9000)
    liar.hear()
    liar.say(signal(codes.WHO, alias(1, E)))
    assert haves(liar) == [b"\x01"]  # the number that was bound by the question


# Rare turns


def test_what_a_far_router_said_is_dropped_when_the_holder_says_otherwise() -> None:
    net = Mesh()
    net.add("ambc")
    net.join("am mb")
    net.add("de")
    net.join("md")
    net.join("bc de", lookups=True)
    net.pump()
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    net["a"].send(E, b"1", net.now)
    net.pump()
    assert net.holders("a", E) == "c"
    crowd_out(net, "a")
    net["c"].deregister(receiver, net.now)
    net.pump()
    assert net.holders("a", E) == "c"
    token = net["a"].send(E, b"2", net.now, confirm=True)
    net.pump()
    assert [status for status, _ in verdicts(net, net["a"], token)] == [events.UNDELIVERED]
    assert net.holders("a", E) == ""
    assert net["a"].lookups.told[E] == {net["b"].me.key: [], net["d"].me.key: []}


def test_the_lookup_endpoint_itself_is_asked_of_nobody_far() -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab")
    slow_one = Liar(net, net["b"], lookups=True)
    net.pump()
    assert slow_one.error == -1
    assert not net["a"].lookups.ask(codes.LOOKUP, net.now)
    assert net["a"].lookups.ask(E, net.now)


def test_a_holder_narrower_than_its_way_is_not_taken() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True, realm=GLOBAL)
    net["b"].send(E, b"", net.now, ttl_ms=9000)
    liar.hear()
    liar.say(signal(codes.HAVE, alias(1, E) + b"\x0a" + SELF + u16(0)))
    assert net.holders("b", E) == ""


def test_news_of_a_holder_that_is_forgotten_is_no_harm() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)
    liar.say(routes(update(bind(3, key("x")), 0, 1)))
    net["b"].lookups.ask(E, net.now)
    liar.say(signal(codes.HAVE, alias(1, E) + b"\x0a\x03" + u16(1)))
    assert net.holders("b", E) == "x"
    liar.say(routes(update(b"\x03", 0, 0xFFFF)))
    net.advance(300_000)
    assert net["b"].routes.find(key("x")) is None
    liar.say(signal(codes.HAVE, b"\x01"))
    assert net["b"].lookups.told[E] == {liar.key: []}


def test_of_two_that_were_asked_one_may_be_lost() -> None:
    net = chain("ab")
    one, other = Liar(net, net["b"], "y", lookups=True), Liar(net, net["b"], "z", lookups=True)
    token = net["b"].send(E, b"", net.now, confirm=True)
    one.leave()
    net.advance(codes.ROUTE_LOSS_GRACE_MS)
    assert verdicts(net, net["b"], token) == []
    other.say(signal(codes.HAVE, alias(1, E)))
    assert verdicts(net, net["b"], token) == NOBODY


def test_what_was_asked_for_is_remembered_within_bounds() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)

    def ask(first: int, end: int) -> None:
        for number in range(first, end):
            uuid = b"%016d" % number
            if number % codes.QUERIES_MAX == 0:
                net.advance(codes.SYNC_MS)
                liar.hear()
            assert net["b"].lookups.ask(uuid, net.now)

    with uncounted():
        ask(0, codes.ENTRIES_MAX)
    ask(codes.ENTRIES_MAX, codes.ENTRIES_MAX + 50)
    assert len(net["b"].lookups.told) == codes.ENTRIES_MAX


def test_subscribers_are_looked_for_seldom_and_within_bounds() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)
    for number in range(codes.WATCHES_MAX + 50):
        net["b"].publish(b"%016d" % number, b"x", net.now)
        net["b"].publish(b"%016d" % number, b"y", net.now)
    questions = [body for body in liar.hear() if body[:2] == bytes((0xF0, codes.WHO))]
    assert len(questions) == codes.WATCHES_MAX + 50
    assert len(net["b"].lookups._asked) <= codes.WATCHES_MAX


def test_one_may_locate_oneself_and_the_holder_of_an_endpoint() -> None:
    net = chain("abc")
    net["c"].register(E, ANYCAST)
    net["c"].register(F, BROADCAST)
    net["a"].register(b"mine-mine-mine-m", BROADCAST)
    net.pump()
    for wanted, found in ((id_of("a"), "a"), (E, "c"), (F, "c"), (b"mine-mine-mine-m", "a")):
        token = net["a"].locate(wanted, net.now)
        net.note(net["a"], net["a"].take_events())
        assert [o.node_id for o in net.outcomes(net["a"], token)] == [id_of(found)]


def test_one_may_wait_for_what_is_to_be_located_to_appear() -> None:
    net = chain("abc")
    net.pump()
    tokens = [net["a"].locate(E, net.now, timeout_ms=9000, ttl_ms=ttl) for ttl in (3000, 8000)]
    net.advance(5000)
    assert [verdicts(net, net["a"], token) for token in tokens] == [
        [(events.UNDELIVERED, codes.NO_ENDPOINT)],
        [],
    ]
    net["c"].register(E, ANYCAST)
    net.pump()
    net.note(net["a"], net["a"].take_events())
    assert [o.node_id for o in net.outcomes(net["a"], tokens[1])] == [id_of("c")]
    with pytest.raises(LocalError, match="ttl_ms must be"):
        net["a"].locate(E, net.now, ttl_ms=-1)


@pytest.mark.parametrize(("size", "named"), [(codes.FRAME_SIZE_MIN, False), (176, True), (422, True)])
def test_an_answer_fits_the_frame_however_long_its_names(size: int, named: bool) -> None:
    """All that can be bound is bound in it, and all numbers are long: still no byte too much."""
    net = Mesh()
    net.add("a", limits=Limits(frame_size_max=size))
    net.add("bcdef")
    net.join("ab", lookups=True, realm=GLOBAL)
    net.join("bc bd be bf", realm=GLOBAL, cost=16000)
    for letter in "cdef":
        net[letter].register(E, ANYCAST, name=letter * 64, realm=GLOBAL, cost=16383)
    net.pump()
    token = net["a"].send(E, b"x", net.now, confirm=True, timeout_ms=700)
    net.advance(800)
    assert verdicts(net, net["a"], token)[0][0] in (events.TAKEN, events.UNKNOWN, events.UNDELIVERED)
    found = net["a"].directory.holders(E)
    assert 1 <= len(found) <= 4
    assert all(bool(entry.name) == named for entry in found)
    assert net.reaches("a") == "bcdef"


def test_who_cannot_be_reached_is_not_asked() -> None:
    net = chain("ab")
    peer = net.see("a", "b")
    peer.hop = None
    before = net.cable["ab"].a.queued_bytes()
    net["a"].lookups._send_who(peer, E)
    assert not net.cable["ab"].a.wants_write
    assert net.cable["ab"].a.queued_bytes() == before


def test_news_of_one_that_has_answered_does_not_end_the_wait_for_another() -> None:
    net = chain("ab")
    one, other = Liar(net, net["b"], "y", lookups=True), Liar(net, net["b"], "z", lookups=True)
    token = net["b"].send(E, b"", net.now, confirm=True)
    one.say(signal(codes.HAVE, alias(1, E)))
    one.say(signal(codes.HAVE, b"\x01"))
    assert verdicts(net, net["b"], token) == []
    assert list(net["b"].lookups.queries[E].waiting) == [other.key]
    other.say(signal(codes.HAVE, alias(1, E)))
    assert verdicts(net, net["b"], token) == NOBODY


def test_a_holder_that_was_asked_for_has_no_place_in_a_full_directory() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)
    for uuid, size in ((E, codes.DIRECTORY_MAX - 1), (F, codes.DIRECTORY_MAX)):
        net["b"].lookups.ask(uuid, net.now)
        net["b"].directory.size = size
        liar.say(signal(codes.HAVE, alias(1, uuid) + b"\x0a" + SELF + u16(0)))
    assert (net.holders("b", E), net.holders("b", F)) == ("z", "")
    assert net["b"].counters["entries_over"] == 1
    assert len(net.seen(net["b"], events.EXCEEDED)) == 1
    assert net["b"].lookups.told[F] == {liar.key: []}


def asks_as_far(uuid: bytes) -> bytes:
    """WHO of the node that a Liar has bound to 3."""
    return bytes((0xF8, 8, 9, 3, codes.WHO)) + alias(1, uuid)


def far_haves(liar: Liar) -> list[bytes]:
    """What was written as HAVE to that node, by whatever way."""
    return [body for body in liar.hear() if body[:2] == b"\xf8\x04" and body[4] == codes.HAVE]


def test_who_is_gone_when_its_question_comes_is_not_answered() -> None:
    net = chain("ab")
    net["b"].register(E, ANYCAST)
    liar = Liar(net, net["b"])
    liar.say(routes(update(bind(3, key("f")), 1, 1)))
    liar.say(routes(retract(b"\x03")))
    liar.hear()
    liar.say(asks_as_far(E))
    assert (far_haves(liar), liar.error) == ([], -1)
    assert net["b"].forwarder.counters["unbelieved"] == 0
    assert net["b"].lookups.counters["lookups_answered"] == 0


def test_whose_way_is_lost_for_a_while_is_neither_answered_nor_told_of_changes() -> None:
    net = chain("ab")
    first, second = Liar(net, net["b"], "y"), Liar(net, net["b"], "z")
    for liar in (first, second):
        liar.say(routes(update(bind(3, key("f")), 1, 1 if liar is first else 9)))
    second.say(routes(parent(b"\x03")))
    first.say(routes(retract(b"\x03")))
    assert net.see("b", "f").hop is None
    net["b"].register(E, ANYCAST)
    first.hear()
    second.hear()
    second.say(asks_as_far(E))
    assert (far_haves(first), far_haves(second), second.error) == ([], [], -1)
    assert net["b"].lookups.counters["lookups_answered"] == 1
    first.say(routes(update(b"\x03", 2, 1)))
    assert net.see("b", "f").hop is first.connection
    net["b"].register(E, ANYCAST, cost=9)
    assert (net["b"].lookups._far, far_haves(first)) == ({}, [])
    first.say(asks_as_far(E))
    assert len(far_haves(first)) == 1


def test_a_far_asker_that_asks_again_is_answered_again_and_remembered_once() -> None:
    net = chain("ab")
    receiver = net["b"].register(E, ANYCAST)
    liar = Liar(net, net["b"])
    liar.say(routes(update(bind(3, key("f")), 1, 1)))
    liar.hear()
    for _ in range(2):
        liar.say(asks_as_far(E))
        assert len(far_haves(liar)) == 1
    assert net["b"].lookups._far_size == 1
    net["b"].deregister(receiver, net.now)
    assert len(far_haves(liar)) == 1


def test_where_no_more_far_askers_can_be_remembered_the_next_is_only_answered() -> None:
    net = chain("ab")
    receivers = [net["b"].register(uuid, ANYCAST) for uuid in (E, F)]
    liar = Liar(net, net["b"])
    liar.say(routes(update(bind(3, key("f")), 1, 1)))
    net["b"].lookups._far_size = codes.ENTRIES_MAX - 1
    liar.hear()
    for uuid in (E, F):
        liar.say(asks_as_far(uuid))
        assert len(far_haves(liar)) == 1
    assert net["b"].lookups._far_size == codes.ENTRIES_MAX
    for receiver, told in zip(receivers, (1, 0), strict=True):
        net["b"].deregister(receiver, net.now)
        assert len(far_haves(liar)) == told
