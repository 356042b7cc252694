"""Directory lines on their way over several hops: versions, what is left out, what is told again, realms."""

from __future__ import annotations

import pytest

from busway.protocol import Limits, Receiver, codes, events
from busway.protocol.wire.fields import varint

from .nets import (
    ANYCAST,
    BROADCAST,
    GLOBAL,
    LOCALNET,
    SELF,
    UNICAST,
    USERSPACE,
    YOU,
    Liar,
    Mesh,
    bind,
    chain,
    directory,
    entry,
    key,
    parent,
    retract,
    ring,
    routes,
    stranger,
    update,
)
from .pairs import E, F, G

X3 = bind(3, key("x"))


def uuid(number: int) -> bytes:
    return b"endpoint%08d" % number


def lines(net: Mesh, letter: str, other: str) -> list[int]:
    return [line.version for line in net.see(letter, other).lines[1:]]


def test_endpoints_come_and_go_over_several_hops() -> None:
    net = chain("abcd")
    receiver = net["d"].register(E, ANYCAST, name="pump", cost=7)
    net["d"].register(F, BROADCAST, GLOBAL)
    net.pump()
    [found] = net["a"].directory.known(E)
    assert (found.kind, found.name, found.cost, found.realm) == (ANYCAST, "pump", 7, LOCALNET)
    assert net["a"].directory.known(F)[0].kind == BROADCAST
    net["d"].deregister(receiver, net.now)
    net.pump()
    assert [net.holders(letter, E) for letter in "abc"] == ["", "", ""]
    assert [net.holders(letter, F) for letter in "abc"] == ["d", "d", "d"]
    kinds = [event.kind for event in net.seen(net["a"]) if isinstance(event, events.EndpointEvent)]
    assert kinds == [events.ENDPOINT_UP, events.ENDPOINT_UP, events.ENDPOINT_DOWN]


def test_only_what_has_changed_is_told() -> None:
    net = chain("abcd")
    for number in range(100):
        net["d"].register(uuid(number), ANYCAST)
    net.pump()
    before = [len(net.sent_by(*pair)) for pair in (("d", "cd"), ("c", "bc"), ("b", "ab"))]
    net["d"].register(E, ANYCAST)
    net.pump()
    after = [len(net.sent_by(*pair)) for pair in (("d", "cd"), ("c", "bc"), ("b", "ab"))]
    assert all(there - here <= 30 for here, there in zip(before, after, strict=True))
    assert lines(net, "a", "d") == [0, 101, 0]


def test_a_table_entry_costs_thirty_bytes_at_the_most() -> None:
    net = chain("ab")
    net.add("c")
    before = len(net.sent_by("b", "ab"))
    net.join("bc")
    net.pump()
    told = net.frames("b", "ab", codes.ROUTES)[-1]
    assert len(told) <= 30
    assert before < len(net.sent_by("b", "ab"))


@pytest.mark.parametrize("realm", [USERSPACE, LOCALNET, GLOBAL])
def test_a_line_crosses_no_link_wider_than_its_realm(realm: int) -> None:
    net = Mesh()
    net.add("abcd")
    net.join("ab", realm=USERSPACE)
    net.join("bc", realm=LOCALNET)
    net.join("cd", realm=GLOBAL)
    net.pump()
    net["a"].register(E, UNICAST, realm)
    net["d"].register(F, UNICAST, realm)
    net.pump()
    assert [net.holders(letter, E) for letter in "bcd"] == [
        "a",
        "a" if realm >= LOCALNET else "",
        "a" if realm >= GLOBAL else "",
    ]
    assert [net.holders(letter, F) for letter in "cba"] == ["d" if realm >= GLOBAL else ""] * 3
    for letter, pair in (("b", "bc"), ("c", "cd")):
        crossed = net.cable[pair].a.realm
        assert (E in net.sent_by(letter, pair)) is (realm >= crossed)


def test_lines_too_narrow_for_a_wider_way_are_dropped_and_come_back_with_the_narrow_one() -> None:
    net = Mesh()
    net.add("abcd")
    net.join("bc")
    net.join("cd")
    net.join("bd", realm=GLOBAL)
    net.join("ab")
    net.pump()
    net["d"].register(E, UNICAST, LOCALNET)
    net["d"].register(F, UNICAST, GLOBAL)
    net.pump()
    assert net.holders("a", E) == net.holders("a", F) == "d"
    for round in range(3):
        net.cable["cd"].cut()
        net.advance(3000)
        assert net.hop("b", "d") == "d"
        assert [net.holders(letter, E) for letter in "abc"] == ["", "", ""], round
        assert [net.holders(letter, F) for letter in "abc"] == ["d", "d", "d"]
        net["d"].register(uuid(round), ANYCAST, LOCALNET)
        net.join("cd")
        net.advance(3000)
        assert net.hop("b", "d") == "c"
        assert [net.holders(letter, E) for letter in "abc"] == ["d", "d", "d"], round
        assert [net.holders(letter, uuid(round)) for letter in "abc"] == ["d", "d", "d"]


def churn(net: Mesh, letter: str, count: int, first: int = 0) -> None:
    """Endpoints that come and are withdrawn, so that the line forgets which."""
    node = net[letter]
    for number in range(first, first + count):
        node.deregister(node.register(uuid(number), ANYCAST), net.now)


def test_what_was_withdrawn_too_long_ago_to_be_remembered_is_found_missing() -> None:
    net = chain("abcd")
    stale = [net["d"].register(uuid(1000 + number), ANYCAST) for number in range(10)]
    net["d"].register(E, ANYCAST)
    net.pump()
    net.cable["cd"].block(net["d"])
    for receiver in stale:
        net["d"].deregister(receiver, net.now)
    churn(net, "d", 200)
    net["d"].register(F, ANYCAST)
    net.cable["cd"].block(net["d"], False)
    net.pump()
    for letter in "abc":
        assert {entry.uuid for entry in net[letter].entries()} == {E, F}
        assert len(net.see(letter, "d").lines[LOCALNET].gone) <= codes.TOMBSTONES_MAX


def test_a_line_of_many_frames_comes_whole() -> None:
    net = Mesh()
    net.add("abc", limits=Limits(frame_size_max=256))
    net.join("ab bc")
    receivers = [net["c"].register(uuid(number), ANYCAST, name=f"name-{number}") for number in range(300)]
    net.pump(size=100, split=33)
    assert len(net["a"].entries()) == 300
    assert len(net.frames("b", "ab", codes.DIRECTORY)) > 30
    net["c"].deregister(receivers[7], net.now)
    net.pump()
    assert len(net["a"].entries()) == 299
    assert net.holders("a", uuid(7)) == ""


def test_a_line_whose_link_ends_in_the_midst_of_its_frames_is_completed_by_another() -> None:
    net = Mesh()
    net.add("abcd", limits=Limits(frame_size_max=256))
    net.join("bc cd")
    for number in range(100):
        net["d"].register(uuid(number), ANYCAST)
    net.pump()
    net.join("ab")
    while len(net["a"].entries()) < 20:
        net.step(size=100)
    seen = len(net["a"].entries())
    net.cable["ab"].cut()
    net.join("ac")
    net.pump()
    assert seen < 100
    assert len(net["a"].entries()) == 100
    assert lines(net, "a", "d")[1] == 100


def test_a_new_parent_tells_all_for_the_former_one_may_have_lied() -> None:
    net = ring("abcd")
    receivers: list[Receiver] = [net["c"].register(uuid(number), ANYCAST) for number in range(50)]
    net.pump()
    old = net.hop("a", "c")
    new = "d" if old == "b" else "b"
    down, up = ("bc", "da") if old == "b" else ("cd", "ab")
    before = len(net.sent_by(new, up))
    net.cable[down].cut()
    net["c"].deregister(receivers[3], net.now)
    net["c"].register(E, ANYCAST)
    net.pump()
    assert net.hop("a", "c") == new
    assert net.holders("a", E) == "c"
    assert net.holders("a", uuid(3)) == ""
    assert len(net["a"].entries()) == 50
    assert 50 * 17 < len(net.sent_by(new, up)) - before < 50 * 17 + 200


def test_a_new_parent_that_learned_the_line_whole_takes_back_what_it_never_knew() -> None:
    """b has the line of d from its version 0 on, after E was withdrawn: it knows of no withdrawal."""
    net = Mesh()
    net.add("abcd")
    net.join("ac cd")
    net.pump()
    stale = net["d"].register(E, ANYCAST)
    net["d"].register(F, ANYCAST)
    net.pump()
    net.cable["ac"].block(net["c"])
    net["d"].deregister(stale, net.now)
    net["d"].register(G, ANYCAST)
    net.join("bd")
    net.pump()
    assert net.holders("a", E) == "d"
    net.join("ab")
    net.pump()
    net.cable["ac"].cut()
    net.advance(2000)
    assert net.hop("a", "d") == "b"
    assert {entry.uuid for entry in net["a"].entries()} == {F, G}


def test_a_child_that_comes_back_is_told_what_it_missed() -> None:
    net = ring("abcd")
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    for round in range(4):
        net.cable["bc"].cut()
        net.advance(2000)
        net["c"].deregister(receiver, net.now)
        net.join("bc")
        net.pump()
        receiver = net["c"].register(E, ANYCAST)
        net["c"].register(uuid(round), ANYCAST)
        net.advance(2000)
        for letter in "abd":
            assert {entry.uuid for entry in net[letter].entries()} == {E, *map(uuid, range(round + 1))}
            assert lines(net, letter, "c") == lines(net, "b", "c")


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_flapping_net_leaves_every_directory_as_it_should_be() -> None:
    import random

    for seed in range(8):
        rng = random.Random(seed)
        net = ring("abcdef")
        net.join("ad", realm=GLOBAL)
        net.pump()
        own: dict[str, dict[bytes, Receiver]] = {letter: {} for letter in "abcdef"}
        for _ in range(60):
            what = rng.random()
            if what < 0.5:
                letter, which = rng.choice("abcdef"), uuid(rng.randint(0, 5))
                if which in own[letter]:
                    net[letter].deregister(own[letter].pop(which), net.now)
                else:
                    realm = LOCALNET if which < uuid(3) else GLOBAL
                    own[letter][which] = net[letter].register(which, ANYCAST, realm)
            elif what < 0.8:
                pair = rng.choice(list(net.cable))
                if net.cable[pair].a.state == codes.OPEN:
                    net.cable[pair].cut()
                elif net.cable[pair].a.state == codes.CLOSED:
                    net.join(pair, realm=GLOBAL if pair == "ad" else LOCALNET)
            elif what < 0.9:
                net.step()
            else:
                net.advance(rng.randint(1, 900))
        for pair in net.cable:
            if net.cable[pair].a.state == codes.CLOSED:
                net.join(pair, realm=GLOBAL if pair == "ad" else LOCALNET)
        net.pump()
        net.advance(120_000)
        for letter in "abcdef":
            wanted = {
                which: {o for o in "abcdef" if o != letter and which in own[o]}
                for which in map(uuid, range(6))
            }
            got = {which: set(net.holders(letter, which)) for which in map(uuid, range(6))}
            assert got == wanted, (seed, letter)
            for other in net.reaches(letter):
                mine = [line.version for line in net[other].me.lines[2:]]
                assert lines(net, letter, other)[1:] == mine, (seed, letter, other)


# The label


def test_a_label_travels_once_and_also_with_nothing_to_tell() -> None:
    net = chain("abcd")
    assert net.see("a", "d").label == "D"
    net["d"].register(E, ANYCAST)
    net.pump()
    named = [body for body in net.frames("b", "ab", codes.DIRECTORY) if body[1] & 4]
    assert len(named) == 2
    assert bytes(net.sent_by("b", "ab")).count(b"\x01D") == 1
    assert not net.see("a", "d").leaf


def test_a_label_that_changes_again_goes_on_too() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    liar.say(routes(update(X3, 0, 1)))
    for label in ("one", "two", "three"):
        liar.say(directory(varint(3), GLOBAL, 0, 0, label=label))
        net.pump()
        assert net.see("b", "x").label == label
        assert net.see("a", "x").label == label


def test_a_label_that_changes_with_the_line_s_news_is_told_once() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    liar.say(routes(update(X3, 0, 1)), directory(varint(3), GLOBAL, 0, 1, entry(2, E), label="one"))
    net.pump()
    liar.say(directory(varint(3), GLOBAL, 1, 2, entry(2, F), label="two"))
    net.pump()
    assert (net.see("a", "x").label, net.holders("a", F)) == ("two", "x")
    assert bytes(net.sent_by("b", "ab")).count(b"\x03two") == 1


# By hand


def told(liar: Liar) -> list[bytes]:
    return liar.heard(codes.DIRECTORY)


def test_a_gap_is_asked_for_again_with_the_versions_that_are_there() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    liar.say(routes(update(X3, 0, 1)))
    liar.hear()
    liar.say(directory(varint(3), LOCALNET, 0, 3, entry(2, E), label="X"))
    assert net.holders("b", E) == "x"
    liar.say(directory(varint(3), LOCALNET, 4, 5, entry(2, F)))
    assert net.holders("b", F) == ""
    [again] = liar.heard(codes.ROUTES)
    assert again[0:2] == bytes((codes.ROUTES, codes.PARENT_WITH))
    assert again[-2:] == b"\x03\x00"
    liar.say(directory(varint(3), LOCALNET, 3, 5, entry(2, F), entry(0, E)))
    assert (net.holders("b", E), net.holders("b", F)) == ("", "x")
    assert liar.heard(codes.ROUTES) == []


def test_an_old_change_is_not_taken_twice() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    liar.say(directory(SELF, LOCALNET, 0, 1, entry(2, E)))
    liar.say(directory(SELF, LOCALNET, 1, 2, entry(0, E)))
    liar.say(directory(SELF, LOCALNET, 1, 2, entry(2, E)))
    assert net.holders("b", E) == ""
    liar.say(directory(SELF, LOCALNET, 0, 2, entry(2, E)))  # but the whole line is: the former may be a lie
    assert net.holders("b", E) == "z"


def test_a_whole_line_takes_the_place_of_what_was_there() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    liar.say(directory(SELF, LOCALNET, 0, 2, entry(2, E), entry(2, F)))
    liar.say(directory(SELF, LOCALNET, 0, 5, entry(2, F), flags=0x20))
    assert net.holders("b", E) == "z"
    liar.say(directory(SELF, LOCALNET, 0, 5, entry(2, G)))
    assert [net.holders("b", which) for which in (E, F, G)] == ["", "z", "z"]
    net.pump()
    assert [net.holders("a", which) for which in (E, F, G)] == ["", "z", "z"]


def test_a_change_of_several_frames_counts_with_its_last() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    liar.say(directory(SELF, LOCALNET, 0, 2, entry(2, E), flags=0x20))
    assert net.see("b", "z").lines[LOCALNET].version == 0
    assert net.holders("a", E) == ""
    liar.say(directory(SELF, LOCALNET, 0, 2, entry(2, F)))
    net.pump()
    assert net.holders("a", E) == net.holders("a", F) == "z"


def test_a_child_is_told_from_the_versions_that_it_names() -> None:
    net = chain("ab")
    receiver = net["a"].register(E, ANYCAST)
    net["a"].register(F, ANYCAST)
    net["a"].register(G, ANYCAST, GLOBAL)
    net.pump()
    liar = Liar(net, net["b"])
    a = bind(3, net["a"].me.key)
    liar.hear()
    liar.say(routes(parent(a, 2, 1)))
    assert told(liar) == []
    net["a"].deregister(receiver, net.now)
    net.pump()
    [change] = told(liar)
    assert entry(0, E) in change
    assert F not in change
    assert G not in change
    liar.say(routes(parent(varint(3), 1, 0)))
    both = b"".join(told(liar))
    assert [which in both for which in (E, F, G)] == [False, True, True]


def test_a_neighbour_that_is_no_child_is_told_nothing() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    liar.hear()
    net["b"].register(E, ANYCAST)
    net["a"].register(F, ANYCAST)
    net.pump()
    assert told(liar) == []
    liar.say(routes(parent(YOU)))
    assert E in b"".join(told(liar))
    liar.say(routes(retract(YOU)))
    net["b"].register(G, ANYCAST)
    assert told(liar) == []


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_the_news_of_a_busy_link_is_told_in_parts_and_at_last_whole() -> None:
    net = Mesh()
    net.add("ab")
    for number in range(400):
        net["a"].register(uuid(number), ANYCAST)
    net.join("ab")
    net.add("cdefgh")
    net.join("ac ad ae af ag ah")
    net.pump(size=50)
    assert net.reaches("b") == "acdefgh"
    assert len(net["b"].entries()) == 400


def test_who_takes_back_by_parent_what_nobody_else_offers_ends_nothing() -> None:
    """The source is forgotten before its line would be told."""
    net = Mesh()
    net.add("a")
    liar = Liar(net, net["a"])
    liar.say(routes(update(bind(9, stranger(1)), 1, 1)))
    assert len(net["a"].peers()) == 2
    liar.say(routes(parent(bytes((9,)))))
    assert liar.error == -1
    assert len(net["a"].peers()) == 1


def test_who_has_the_lines_of_a_node_and_not_its_label_is_told_both() -> None:
    net = Mesh()
    net.add("b")
    near, far = Liar(net, net["b"], "m"), Liar(net, net["b"], "n")
    near.say(routes(update(X3, 1, 5)))
    far.say(routes(update(X3, 1, 500)))
    near.hear()
    near.say(directory(varint(3), LOCALNET, 0, 1, entry(UNICAST, E)))
    assert (net.see("b", "x").label, net.holders("b", E)) == ("", "x")
    near.say(routes(retract(varint(3))))
    near.say(routes(update(varint(3), 2, 5)))
    net.pump()
    [news] = near.heard(codes.ROUTES)
    assert news[:3] == routes(parent(varint(3)))
    near.say(directory(varint(3), LOCALNET, 0, 1, entry(UNICAST, E), label="X"))
    assert net.see("b", "x").label == "X"
    near.say(routes(retract(varint(3))))
    near.say(routes(update(varint(3), 3, 5)))
    net.pump()
    [news] = near.heard(codes.ROUTES)
    assert news[:2] == bytes((codes.ROUTES, codes.PARENT_WITH))
