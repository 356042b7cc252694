"""What a guard is asked about endpoints that are asked for, by leaves and over slow links, and how a change
of what it says reaches those who asked.
"""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import codes, events

from .helpers import verdicts
from .nets import ANYCAST, BROADCAST, LOCALNET, UNICAST, Liar, Mesh, alias, chain, id_of, signal
from .pairs import E, F
from .rules import Rules
from .test_guard_entries import SEE, SERVE, SUBSCRIBE, denials, reload

NOBODY = [(events.UNDELIVERED, codes.NO_ENDPOINT)]


def slow() -> Mesh:
    """a - b = c - d, the link in the middle with lookups."""
    net = Mesh()
    net.add("abcd")
    net.join("ab cd")
    net.join("bc", lookups=True)
    net.pump()
    return net


def ask(net: Mesh, letter: str, uuid: bytes) -> list[Any]:
    """Send there, waiting a while for a holder; what came of it."""
    token = net[letter].send(uuid, b"x", net.now, confirm=True, timeout_ms=10_000)
    net.pump()
    net.advance(3000)
    for node in net.nodes:
        for endpoint in node.endpoints():
            for receiver in endpoint.receivers:
                net.drain(node, receiver)
    net.pump()
    return verdicts(net, net[letter], token)


TAKEN = [(events.TAKEN, 0)]


def test_who_asks_is_not_told_what_it_may_not_see() -> None:
    net = chain("abm")
    net.leaf("x", "m")
    rules = Rules(net, "m")
    net["a"].register(E, UNICAST, name="lab/x")
    net["m"].register(F, UNICAST)
    net.pump()
    rules.deny = [(id_of("x"), SEE, b"")]
    assert ask(net, "x", E) == ask(net, "x", F) == NOBODY
    assert denials(net, "m") == [(id_of("x"), SEE, E), (id_of("x"), SEE, F)]
    [event, _] = net.seen(net["m"], events.DENIED)
    assert (event.link, event.name, event.realm) == (net.cable["xm"].b, "lab/x", LOCALNET)
    assert net["m"].counters["denied"] == 2
    assert ask(net, "a", F) == ask(net, "b", F) == TAKEN
    reload(net, rules, "m")
    assert ask(net, "x", E) == ask(net, "x", F) == TAKEN


def test_a_reload_tells_those_who_asked() -> None:
    net = chain("am")
    leaf = net.leaf("x", "m")
    rules = Rules(net, "m")
    net["a"].register(E, ANYCAST)
    net["m"].register(E, ANYCAST)
    net.pump()
    assert ask(net, "x", E) == TAKEN
    assert net.holders("x", E) == "am"
    for _ in range(2):
        reload(net, rules, "m", (id_of("x"), SEE, E))
        assert net.holders("x", E) == ""
        reload(net, rules, "m")
        assert net.holders("x", E) == "am"
    assert leaf.connections


def test_a_node_farther_off_that_asked_is_told_too() -> None:
    net = Mesh()
    net.add("axbcd")
    net.join("ax xb cd")
    net.join("bc", lookups=True)
    net.pump()
    rules = Rules(net, "c")
    net["d"].register(E, ANYCAST)
    net.pump()
    assert ask(net, "a", E) == TAKEN
    reload(net, rules, "c", (id_of("b"), SEE, E))
    assert net.holders("b", E) == net.holders("a", E) == ""
    reload(net, rules, "c")
    assert net.holders("b", E) == net.holders("a", E) == "d"
    rules = Rules(net, "b")
    reload(net, rules, "b", (id_of("a"), SEE, E))
    assert (net.holders("b", E), net.holders("a", E)) == ("d", "")
    reload(net, rules, "b")
    assert (net.holders("b", E), net.holders("a", E)) == ("d", "d")


@pytest.mark.parametrize(("kind", "what"), [(ANYCAST, SERVE), (BROADCAST, SUBSCRIBE)])
def test_a_holder_that_is_denied_is_not_taken_and_asked_for_again(kind: int, what: int) -> None:
    """In both directions, over the slow link and at a leaf."""
    net = slow()
    rules = Rules(net, "b")
    rules.deny = [(id_of("d"), what, E)]
    net["d"].register(E, kind)
    net.pump()
    if kind == BROADCAST:
        net["b"].publish(E, b"x", net.now)
        net.pump()
    else:
        assert ask(net, "b", E) == NOBODY
    assert net.holders("b", E) == ""
    assert denials(net, "b") == [(id_of("d"), what, E)]
    [event] = net.seen(net["b"], events.DENIED)
    assert event.link is net.cable["bc"].a
    for _ in range(2):
        reload(net, rules, "b")
        assert net.holders("b", E) == "d"
        reload(net, rules, "b", (id_of("d"), what, E))
        assert net.holders("b", E) == ""
    net["b"].guard = None
    net["b"].guard_changed(net.now)
    net.pump()
    assert net.holders("b", E) == "d"
    assert net["b"].lookups._denied_size == 0
    assert net["b"].lookups._denied == {}


def test_a_leaf_with_a_guard_asks_its_router_again() -> None:
    net = chain("am")
    leaf = net.leaf("x", "m")
    rules = Rules(net, "x")
    rules.deny = [(id_of("a"), SERVE, E)]
    net["a"].register(E, ANYCAST)
    net.pump()
    assert ask(net, "x", E) == NOBODY
    reload(net, rules, "x")
    assert net.holders("x", E) == "a"
    reload(net, rules, "x", (b"", SERVE, b""))
    assert net.holders("x", E) == ""
    net.cable["xm"].cut()
    reload(net, rules, "x")  # there is nobody to ask
    assert net.holders("x", E) == ""
    assert leaf.lookups._denied == {}


def test_a_node_that_has_gone_is_not_remembered_as_denied() -> None:
    net = slow()
    rules = Rules(net, "b")
    rules.deny = [(b"", SERVE, b"")]
    net["d"].register(E, ANYCAST)
    net["d"].register(F, ANYCAST)
    net.pump()
    ask(net, "b", E)
    ask(net, "b", E)
    ask(net, "b", F)
    lookups = net["b"].lookups
    assert lookups._denied_size == 2
    net.cable["cd"].cut()
    net.advance(5000)
    assert (lookups._denied, lookups._denied_size) == ({}, 0)


def test_so_many_that_were_denied_are_remembered_and_no_more() -> None:
    net = slow()
    rules = Rules(net, "b")
    rules.deny = [(b"", SERVE, b"")]
    net["d"].register(E, ANYCAST)
    net.pump()
    lookups = net["b"].lookups
    lookups._denied_size = codes.ENTRIES_MAX
    ask(net, "b", E)
    assert lookups._denied == {}
    assert net["b"].counters["entries_denied"] == 1
    lookups._denied_size = codes.ENTRIES_MAX - 1
    ask(net, "b", E)
    assert len(lookups._denied) == 1


def test_over_another_link_what_a_node_is_said_to_have_is_asked_about_again() -> None:
    """b reaches c over two slow links, of which its policy says something else."""
    net = Mesh()
    net.add("bcd")
    net.join("bc", lookups=True, via="first")
    first = net.cable["bc"]
    net.join("bc", lookups=True, via="second", cost=9)
    second = net.cable["bc"]
    net.join("cd")
    net.pump()
    rules = Rules(net, "b")
    may = rules.may
    over = {E: first.a, F: second.a}
    rules.guard.may = lambda *asked: may(*asked) and (asked[2] != SERVE or over[asked[3]] is asked[0])
    net["d"].register(E, ANYCAST)
    net["d"].register(F, ANYCAST)
    net.pump()
    ask(net, "b", E)
    ask(net, "b", F)
    assert net.holders("b", E) + net.holders("b", F) == "d"
    first.cut()
    net.pump()
    net.advance(3000)
    assert net.holders("b", E) == ""
    assert net.holders("b", F) == "d"


def test_what_a_line_has_denied_no_answer_brings_in() -> None:
    """a leaf tells its line, and another node says the same in a HAVE."""
    net = Mesh()
    net.add("m")
    leaf = net.leaf("x", "m")
    rules = Rules(net, "m")
    rules.deny = [(id_of("x"), SERVE, E)]
    liar = Liar(net, net["m"], lookups=True)
    leaf.register(E, ANYCAST)
    net.pump()
    assert net["m"].lookups.ask(E, net.now)
    rules.deny = []
    holder = bytes((2 | 2 << 2,)) + b"\0\x03" + leaf.me.key + b"\0\0"
    liar.say(signal(codes.HAVE, alias(1, E) + holder))
    assert net.holders("m", E) == ""
    reload(net, rules, "m")
    assert net.holders("m", E) == "x"


@pytest.mark.parametrize("guarded", [True, False])
def test_what_was_denied_is_asked_for_again_when_the_way_is_back(guarded: bool) -> None:
    """The guard changes while the way to the holder, and to who said so, is lost."""
    net = Mesh()
    net.add("eabcd")
    net.join("ea cd")
    net.join("ab", via="first")
    net.join("bc", lookups=True)
    net.pump()
    rules = Rules(net, "a")
    rules.deny = [(b"", SERVE, E)]
    net["d"].register(E, ANYCAST)
    net.pump()
    assert ask(net, "a", E) == NOBODY
    net.cable["ab"].cut()
    assert net.see("a", "d").hop is None
    rules.deny = []
    if not guarded:
        net["a"].guard = None
    net["a"].guard_changed(net.now)
    net.join("ab", via="second")
    net.pump()
    assert net.hop("a", "d") == "b"
    assert net.holders("a", E) == "d"


def test_who_cannot_be_asked_is_not() -> None:
    net = slow()
    rules = Rules(net, "a")
    rules.deny = [(b"", SERVE, E)]
    net["d"].register(E, ANYCAST)
    net.pump()
    ask(net, "a", E)
    asked = net.see("a", "b")
    hop, asked.hop = asked.hop, None
    net["a"].lookups.judge(net.see("a", "d"), net.now)
    asked.hop = hop
    net.pump()
    assert net.holders("a", E) == ""
