"""Lies that outlived the liar, or reached farther than its word: each was found by the hostile peers of
tests/simulation/hostile.py.
"""

from __future__ import annotations

import pytest

from busway.protocol import Guard, codes, events

from .nets import (
    ANYCAST,
    GLOBAL,
    LOCALNET,
    SELF,
    UNICAST,
    USERSPACE,
    Liar,
    Mesh,
    alias,
    bind,
    chain,
    directory,
    entry,
    id_of,
    key,
    message,
    parent,
    retract,
    routes,
    seqreq,
    signal,
    u16,
    update,
)
from .pairs import E, F

# The short way of messages that are passed on


def test_a_message_that_may_pass_no_more_nodes_never_goes_the_short_way() -> None:
    """Before, the second of its kind went on with -2 of them, which no byte holds: writing it raised."""
    net = chain("abc")
    liar = Liar(net, net["b"])
    c = bind(3, net["c"].me.key)
    liar.say(message(codes.SEND, 4, 0, c, alias(1, E) + u16(1)))
    for number in (2, 3, 4):
        liar.say(message(codes.SEND, 4, 0, b"\x03", b"\x01" + u16(number) + b"payload"))
    net.pump()
    assert net["b"].forwarder.counters["unroutable"] == 4


def test_the_short_way_counts_nodes_as_the_long_one_does() -> None:
    net = chain("abcd")
    liar = Liar(net, net["b"])
    receiver = net["d"].register(E, UNICAST)
    net.pump()
    liar.say(message(codes.SEND, 4, 9, bind(3, net["d"].me.key), alias(1, E) + u16(1)))
    for number in (2, 3, 4):
        liar.say(message(codes.SEND, 4, 9, b"\x03", b"\x01" + u16(number) + b"payload"))
    net.pump()
    assert len(net.drain(net["d"], receiver)) == 4
    hops = [body[2] for body in net.frames("b", "bc", 0x88)]
    assert hops == [8, 8, 8, 8]


def test_who_passes_nothing_on_does_not_do_it_the_short_way_either() -> None:
    net = Mesh()
    net.add("ac")
    net.add("b", transit=False)
    net.join("ab bc")
    net.pump()
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    liar = Liar(net, net["b"])
    liar.say(message(codes.SEND, 4, 9, bind(3, net["c"].me.key), alias(1, E) + u16(1)))
    for number in (2, 3, 4):
        liar.say(message(codes.SEND, 4, 9, b"\x03", b"\x01" + u16(number) + b"payload"))
    net.pump()
    assert net.frames("b", "bc", 0x88) == []
    assert net.drain(net["c"], receiver) == []


# What a neighbour is


def test_nobody_else_makes_a_leaf_of_a_neighbour_by_a_nearer_way() -> None:
    """Before, its router told it the ends of nodes as a leaf is told them, uncounted, and it acknowledged
    more than was sent: the link between the two ended.
    """
    net = Mesh()
    net.add("bfc")
    net.join("bf", realm=GLOBAL)
    net.join("bc")
    net.pump()
    liar = Liar(net, net["b"])
    f = bind(3, net["f"].me.key)
    liar.say(routes(update(f, 0, 1)))
    net.pump()
    assert net.hop("b", "f") == "z"
    liar.say(directory(varint3(), GLOBAL, 0, 9, flags=0x10, label="leaf"))
    net.pump()
    assert not net.see("b", "f").leaf
    net.cable["bc"].cut()
    net.advance(3000)
    liar.leave()
    net.advance(3000)
    assert net.cable["bf"].a.state == net.cable["bf"].b.state == codes.OPEN
    assert net.closings(net.cable["bf"].a) == []


def varint3() -> bytes:
    return b"\x03"


def test_a_node_is_on_its_link_what_it_says_there_whatever_others_said_before() -> None:
    """A router whose id was told as a leaf's, by a nearer way, joins as a router."""
    net = Mesh()
    net.add("bf")
    net.pump()
    liar = Liar(net, net["b"])
    liar.say(routes(update(bind(3, net["f"].me.key), 0, 1)))
    liar.say(directory(b"\x03", GLOBAL, 0, 9, flags=0x10, label="leaf"))
    assert net.see("b", "f").leaf
    net.join("bf", realm=GLOBAL)
    net.pump()
    net.add("g")
    net.join("fg", realm=GLOBAL)
    net.pump()
    assert "g" in net.reaches("b")


# Numbers that were told too far ahead


@pytest.mark.parametrize("ahead", [2, 0x3FFF, 0x4001, 0x7FFE, 0x7FFF])
def test_a_number_too_far_ahead_hides_no_node_for_longer_than_seconds(ahead: int) -> None:
    """c is behind b; z says that it leads there, with a number that c has not reached, and then that it does
    not. Before, c came up to it by one for each question, of which there was one in 32 s.
    """
    net = chain("abcd")
    net.advance(1000)
    liar = Liar(net, net["b"])
    d = bind(3, net["d"].me.key)
    liar.say(routes(update(d, ahead, 0)))
    net.pump()
    assert net.hop("b", "d") == "z"
    liar.say(routes(retract(b"\x03")))
    net.advance(20_000)
    assert net.hop("b", "d") == "c"
    assert net.hop("a", "d") == "b"


def test_one_number_after_the_other_is_told_ahead_and_all_is_well_in_the_end() -> None:
    net = chain("abcd")
    liar = Liar(net, net["b"])
    d = bind(3, net["d"].me.key)
    liar.say(routes(update(d, 1, 0)))
    for number in range(0, 0x20000, 0x7FFF):
        liar.say(routes(update(b"\x03", number & 0xFFFF, 0)))
        net.pump()
    liar.leave()
    net.advance(30_000)
    assert net.hop("b", "d") == "c"


def test_a_number_rises_by_much_only_once_a_second() -> None:
    """Else a neighbour that does not read for a moment would take the newest for an old one."""
    net = chain("ab")
    liar = Liar(net, net["b"])
    me = net["b"].mesh.router.me
    for _ in range(3):
        liar.say(routes(seqreq(b"\x02", (me.distance >> 16) + 0x7000 & 0xFFFF)))
    assert me.distance >> 16 == 0x4000 + 2
    net.advance(codes.SEQREQ_MS)
    liar.say(routes(seqreq(b"\x02", (me.distance >> 16) + 0x10 & 0xFFFF)))
    assert me.distance >> 16 == 0x4000 + 2 + 0x10


# Lines


def lied(version: int) -> tuple[Mesh, Liar]:
    """c is behind b, and has E and F; z leads there for less, and says that it has G only."""
    net = Mesh()
    net.add("abc")
    net.join("ab")
    net.join("bc", realm=GLOBAL)
    net.pump()
    net["c"].register(E, ANYCAST, GLOBAL)
    net["c"].register(F, ANYCAST, GLOBAL)
    net.pump()
    liar = Liar(net, net["b"])
    liar.say(routes(update(bind(3, net["c"].me.key), 0, 1)))
    net.pump()
    liar.say(directory(b"\x03", GLOBAL, 0, 1, entry(UNICAST, b"no such endpoint")))
    if version > 1:
        liar.say(directory(b"\x03", GLOBAL, 1, version))
    net.pump()
    assert net.holders("a", b"no such endpoint") == "c"
    assert net.holders("a", E) == ""
    return net, liar


@pytest.mark.parametrize("version", [1, 2, 7])
@pytest.mark.parametrize("leaves", [False, True])
def test_lines_are_told_anew_by_who_leads_there_after_a_liar(version: int, leaves: bool) -> None:
    """Before, that was so only for a version above all: of one that the line had, or has, the lie stayed."""
    net, liar = lied(version)
    if leaves:
        liar.leave()
    else:
        liar.say(routes(retract(b"\x03")))
    net.advance(3000)
    for letter in "ab":
        assert net.holders(letter, b"no such endpoint") == ""
        assert net.holders(letter, E) == net.holders(letter, F) == "c"
        assert net.see(letter, "c").label == "C"


def test_a_lie_that_an_honest_node_has_passed_on_goes_too() -> None:
    """a has it from b, which has it from z; then a finds another way to c, that never heard of it."""
    net, liar = lied(2)
    net.add("d")
    net.join("ad dc", realm=LOCALNET)
    liar.leave()
    net.advance(3000)
    for letter in "abd":
        assert net.holders(letter, b"no such endpoint") == ""
        assert net.holders(letter, E) == "c"


def test_half_a_line_goes_with_the_realm_that_it_was_told_in() -> None:
    """z, of this machine, begins to tell a private line of c, and leaves. Before, what it had told stayed."""
    net = chain("bc")
    liar = Liar(net, net["b"], realm=USERSPACE)
    liar.say(routes(update(bind(3, net["c"].me.key), 0, 1)))
    liar.say(directory(b"\x03", USERSPACE, 0, 1, entry(UNICAST, E), flags=0x20))  # there is more
    assert net.holders("b", E) == "c"
    liar.leave()
    net.advance(3000)
    assert net.holders("b", E) == ""


def test_an_endpoint_that_was_told_of_another_realm_as_well_stays_when_that_goes() -> None:
    net = Mesh()
    net.add("bc")
    net.join("bc", realm=GLOBAL)
    net.pump()
    net["c"].register(E, ANYCAST, GLOBAL)
    net.pump()
    liar = Liar(net, net["b"])
    liar.say(routes(update(bind(3, net["c"].me.key), 0, 1)))
    liar.say(directory(b"\x03", LOCALNET, 0, 1, entry(ANYCAST, E)))
    assert [one.realm for one in net["b"].directory.known(E)] == [LOCALNET]
    liar.leave()
    net.advance(3000)
    assert [one.realm for one in net["b"].directory.known(E)] == [GLOBAL]


# Lookups


def test_what_somebody_answered_is_forgotten_when_it_leaves() -> None:
    net = chain("abc")
    liar = Liar(net, net["b"])
    liar.say(routes(parent(b"\x02")), directory(SELF, GLOBAL, 0, 1, entry(ANYCAST, codes.LOOKUP)))
    net["b"].lookups.ask(E, net.now)
    liar.say(signal(codes.HAVE, alias(1, E) + b"\x0d" + bind(3, net["c"].me.key) + u16(1)))
    assert net.holders("b", E) == "c"
    liar.leave()
    net.advance(3000)
    assert net.holders("b", E) == ""
    assert (net["b"].lookups.told, net["b"].lookups.answered_by) == ({}, {})


def test_what_another_answered_as_well_stays() -> None:
    net = chain("abc")
    liars = [Liar(net, net["b"], letter) for letter in "yz"]
    for liar in liars:
        liar.say(routes(parent(b"\x02")), directory(SELF, GLOBAL, 0, 1, entry(ANYCAST, codes.LOOKUP)))
    net["b"].lookups.ask(E, net.now)
    for liar in liars:
        liar.say(signal(codes.HAVE, alias(1, E) + b"\x0d" + bind(3, net["c"].me.key) + u16(1)))
    liars[0].leave()
    net.advance(3000)
    assert net.holders("b", E) == "c"


# Names


def test_a_name_is_nobodys_because_he_calls_it_narrower() -> None:
    """b holds it for all, z for the local network only. Before, z got what was meant for b."""
    net = chain("ab")
    receiver = net["b"].register(E, UNICAST, GLOBAL)
    net.pump()
    liar = Liar(net, net["a"])
    liar.say(routes(parent(b"\x02")), directory(SELF, LOCALNET, 0, 1, entry(UNICAST, E)))
    assert net.holders("a", E) == "bz"
    net["a"].send(E, b"x", net.now)
    net.pump()
    assert net.payloads("b", receiver) == [b"x"]
    assert net.seen(net["a"], events.UNDELIVERABLE) == []
    assert id_of("z") in net["a"].routes.peers


def test_an_answer_about_a_node_whose_lines_are_known_is_none() -> None:
    """Before, two honest nodes that had asked each other kept a liar's answer alive when it had gone."""
    net = chain("abc")
    net["c"].register(F, ANYCAST)
    net.pump()
    liar = Liar(net, net["b"])
    liar.say(routes(parent(b"\x02")), directory(SELF, GLOBAL, 0, 1, entry(ANYCAST, codes.LOOKUP)))
    net["b"].lookups.ask(E, net.now)
    liar.say(signal(codes.HAVE, alias(1, E) + b"\x0d" + bind(3, net["c"].me.key) + u16(1)))
    assert net.holders("b", E) == ""
    assert net.holders("b", F) == "c"


@pytest.mark.parametrize("version", [1, 7])
def test_a_lie_about_a_realm_without_endpoints_goes_with_the_liar(version: int) -> None:
    """Before, it stayed with all: of a line that has always been empty nobody tells anything."""
    net = Mesh()
    net.add("abdc")
    net.join("ab bd dc")
    net.pump()
    net["c"].register(E, ANYCAST, GLOBAL)
    net.pump()
    liar = Liar(net, net["b"])
    liar.say(routes(update(bind(3, net["c"].me.key), 0, 0)))
    net.pump()
    assert net.hop("b", "c") == "z"
    liar.say(directory(b"\x03", LOCALNET, 0, version, entry(UNICAST, F)))
    net.pump()
    assert net.holders("a", F) == net.holders("b", F) == "c"
    liar.leave()
    net.pump()
    assert net.holders("b", F) == "c"  # as what is true would: not for long
    net.advance(codes.BELIEF_MS)
    for letter in "abd":
        assert net.holders(letter, F) == ""
        assert net.holders(letter, E) == "c"
    net["c"].register(F, ANYCAST, LOCALNET)
    net.pump()
    for letter in "abd":
        assert net.holders(letter, F) == "c"
        assert {one.kind for one in net[letter].entries() if one.uuid == F} == {ANYCAST}


def test_what_the_new_way_tells_stays() -> None:
    """The doubt is over when it is told anew, and begins again with each other way."""
    net = Mesh()
    net.add("abcd")
    net.join("ab bd ac cd")
    net.pump()
    for uuid, realm in ((E, LOCALNET), (F, GLOBAL)):
        net["d"].register(uuid, ANYCAST, realm)
    net.pump()
    lost = net.seen(net["a"], events.ENDPOINT_DOWN)
    for _ in range(3):
        hop = net.hop("a", "d")
        net.cable["a" + hop].cut()
        net.pump()
        assert net.hop("a", "d") not in ("", hop)
        net.join("a" + hop)
        net.advance(4_000)
    net.advance(2 * codes.BELIEF_MS)
    assert net.seen(net["a"], events.ENDPOINT_DOWN) == lost == []
    assert net.holders("a", E) == net.holders("a", F) == "d"


def test_each_way_has_its_time_to_tell() -> None:
    """Twice a way is lost, and the last one is busy for a while."""
    net = Mesh()
    net.add("abcde")
    net.join("ab be ac ce ad de")
    net["e"].register(E, ANYCAST)
    net.pump()
    assert net.hop("a", "e") == "b"
    net.cable["ab"].cut()
    net.pump()
    net.cable["ad"].block(net["d"])
    net.advance(codes.BELIEF_MS - 1000)
    net.cable["a" + net.hop("a", "e")].cut()
    net.pump()
    assert net.hop("a", "e") == "d"
    net.advance(5000)
    assert net.holders("a", E) == "e"
    net.cable["ad"].block(net["d"], False)
    net.advance(2 * codes.BELIEF_MS)
    assert net.seen(net["a"], events.ENDPOINT_DOWN) == []


def test_over_a_slow_line_nothing_is_told_anew_and_all_is_asked_for() -> None:
    net = Mesh()
    net.add("abcd")
    net.join("ab bd")
    net.join("ac", lookups=True, cost=300)
    net.join("cd")
    receiver = net["d"].register(E, ANYCAST)
    net.pump()
    assert net.hop("a", "d") == "b"
    net.cable["ab"].cut()
    net.advance(3 * codes.BELIEF_MS)
    assert net.hop("a", "d") == "c"
    assert net.holders("a", E) == ""
    net["a"].send(E, b"x", net.now)
    net.pump()
    assert net.payloads("d", receiver) == [b"x"]


def test_what_a_guard_keeps_of_an_untold_line_goes_too() -> None:
    net = chain("abdc")
    net["b"].guard = Guard(lambda link, node, what, uuid, name, realm: uuid != F, lambda link, which: -1)
    liar = Liar(net, net["b"])
    liar.say(routes(update(bind(3, net["c"].me.key), 0, 0)))
    liar.say(directory(b"\x03", LOCALNET, 0, 1, entry(UNICAST, F)))
    [denied] = [line for line in net.see("b", "c").lines if line.denied]
    liar.leave()
    net.advance(codes.BELIEF_MS)
    assert not denied.denied
    assert net["b"].directory.size == 0


# Incarnations


def test_an_incarnation_that_was_told_first_from_afar_gives_way_to_one_that_is_nearer() -> None:
    """z, beyond this machine, says that it leads to c before c is there. Before, a believed it for ever."""
    net = chain("ab", realm=USERSPACE)
    liar = Liar(net, net["a"], realm=LOCALNET)
    liar.say(routes(update(bind(3, id_of("c") + b"fake"), 0, 0)))
    net.pump()
    assert net.see("a", "c").incarnation == net.see("b", "c").incarnation == b"fake"
    net.add("c")
    net.join("bc", realm=USERSPACE)
    net.pump()
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    assert net.see("a", "c").key == net.see("b", "c").key == net["c"].me.key
    net["a"].send(E, b"x", net.now)
    net.pump()
    assert net.payloads("c", receiver) == [b"x"]
    liar.say(routes(update(bind(4, id_of("c") + b"fak2"), 0, 0)))
    net.advance(60_000)
    assert net.see("a", "c").key == net["c"].me.key


def test_one_of_the_same_realm_is_believed_until_its_liar_leaves_and_told_to_people() -> None:
    """c has a session with b, which knows at once who it is; a, farther off, cannot tell."""
    net = chain("ab")
    liar = Liar(net, net["a"])
    liar.say(routes(update(bind(3, id_of("c") + b"fake"), 0, 0)))
    net.pump()
    net.add("c")
    net.join("bc")
    net.pump()
    assert net.see("b", "c").key == net["c"].me.key
    assert net.see("a", "c").incarnation == b"fake"
    net.advance(70_000)
    for letter in "abc":
        assert [event.node_id for event in net.seen(net[letter], events.DUPLICATE_NODE)] == [id_of("c")]
    liar.leave()
    net.advance(2 * codes.ROUTE_LOSS_GRACE_MS)
    assert net.see("a", "c").key == net["c"].me.key


def test_nothing_goes_while_another_way_is_sought() -> None:
    """x has no way when the time of the last one to tell is up; who leads to it next has time of its own."""
    net = Mesh()
    net.add("b")
    net.pump()
    y, z, q = (Liar(net, net["b"], letter) for letter in "yzq")
    x = bind(8, key("x"))
    y.say(routes(update(x, 1, 5)), directory(b"\x08", LOCALNET, 0, 1, entry(ANYCAST, E)))
    z.say(routes(update(x, 1, 1)))
    y.say(routes(retract(b"\x08")))
    q.say(routes(parent(x)))
    net.advance(codes.BELIEF_MS - 100)
    assert net.hop("b", "x") == "z"
    assert net.holders("b", E) == "x"
    z.say(routes(retract(b"\x08")))
    assert net.hop("b", "x") == ""
    net.advance(200)
    assert net.holders("b", E) == "x"
    y.say(routes(update(b"\x08", 2, 5)))
    assert net.hop("b", "x") == "y"
    assert net.holders("b", E) == "x"


def test_a_node_that_is_moved_now_and_again_is_believed_now_and_again() -> None:
    """z leads to c for a moment, some times in a row, every nine seconds, and lies about its lines. Before,
    nobody told them anew, for the way had never been the same for ten.
    """
    net = chain("abdc")
    net["c"].register(E, ANYCAST, GLOBAL)
    net.pump()
    liar = Liar(net, net["b"])
    node = bind(3, net["c"].me.key)
    route = net["b"].mesh.router.routes[net["c"].me.key]
    known = []
    for _ in range(4):
        for _ in range(3):
            liar.say(routes(update(node, route.distance >> 16, 0)))
            assert net.hop("b", "c") == "z"
            liar.say(
                directory(b"\x03", GLOBAL, 0, net.see("b", "c").lines[GLOBAL].version, entry(UNICAST, F))
            )
            assert net.holders("b", E) == ""
            liar.say(routes(retract(b"\x03")))
            net.pump()
            assert net.hop("b", "c") == "d"
            node = b"\x03"
        for _ in range(9):
            net.advance(1000)
            known.append((net.holders("a", E), net.holders("a", F)))
    assert known.count(("c", "")) > 9
