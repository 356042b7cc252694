"""Subscriptions by pattern behind links on which no directory is pushed: who publishes asks for them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from busway.protocol import Receiver, codes
from busway.protocol.routing import pattern_lookups
from busway.protocol.routing.hearsay import Hearsay, Word
from busway.protocol.routing.pattern_lookups import PatternLookups
from busway.protocol.wire.fields import text8
from busway.protocol.wire.messages import Holder
from busway.protocol.wire.patterns import matches
from tests.protocol.nets import (
    ANYCAST,
    BROADCAST,
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
    signal,
    u16,
)
from tests.protocol.test_publishing_patterns import got, id_of, knows_names, publish, subscribe
from tests.rigs.effort import calls_of
from tests.rigs.uncounted import first_counted


def slow(letters: str = "ab", **options: Any) -> Mesh:
    net = chain(letters, lookups=True, **options)
    knows_names(*[net[letter] for letter in letters])
    return net


def sides() -> Mesh:
    """a and b on one side, x and y on the other, b and x joined by a link with lookups."""
    net = Mesh()
    net.add("abxy")
    net.join("ab xy")
    net.join("bx", lookups=True)
    net.pump()
    knows_names(*net.named.values())
    return net


def askers(net: Mesh, letter: str) -> str:
    """Those that a node tells of patterns."""
    patterns = net[letter].lookups.patterns
    assert isinstance(patterns, PatternLookups)
    return "".join(sorted(asker.peer.node_id[:1].decode() for asker in patterns.askers.values()))


def whos(net: Mesh, letter: str, pair: str) -> int:
    return len(
        [body for body in net.frames(letter, pair, codes.MESSAGE | codes.SIGNAL << 4) if body[1] == codes.WHO]
    )


def test_who_subscribes_later_by_a_pattern_gets_what_is_published_from_then_on() -> None:
    net = slow()
    publish(net, net["a"], "lab/1", b"1")
    net.pump()
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    for name, payload in (("lab/1", b"2"), ("hall", b"3"), ("lab/2", b"4")):
        publish(net, net["a"], name, payload)
        net.pump()
    assert got(net, net["b"], receiver) == [("lab/1", b"2"), ("lab/2", b"4")]
    net["b"].deregister(receiver, net.now)
    net.pump()
    assert (net["a"].directory.patterns.size, net["a"].lookups.told.get(id_of("lab/*"))) == (0, None)


def test_who_has_subscribed_before_gets_what_comes_after_the_first() -> None:
    net = sides()
    receiver = subscribe(net["y"], "lab/**")
    other = subscribe(net["x"], "lab/*")
    net.pump()
    publish(net, net["a"], "lab/1", b"1")
    net.pump()
    publish(net, net["a"], "lab/1", b"2")
    net.pump()
    assert got(net, net["y"], receiver) == got(net, net["x"], other) == [("lab/1", b"2")]


def test_over_several_slow_links_and_beside_a_subscriber_who_is_near() -> None:
    net = slow("abcd")
    near, far = subscribe(net["a"], "lab/*"), subscribe(net["d"], "lab/*")
    publish(net, net["a"], "lab/1")
    net.pump()
    publish(net, net["a"], "lab/1", b"2")
    net.pump()
    assert len(got(net, net["a"], near)) == 2
    assert got(net, net["d"], far)[-1] == ("lab/1", b"2")


def test_what_a_leaf_publishes_reaches_them_too() -> None:
    net = sides()
    leaf = net.leaf("l", "b")
    net.pump()
    knows_names(leaf)
    receiver = subscribe(net["y"], "lab/*")
    publish(net, leaf, "lab/1", b"1")
    net.pump()
    publish(net, leaf, "lab/1", b"2")
    net.pump()
    assert got(net, net["y"], receiver) == [("lab/1", b"2")]


def test_last_values_come_to_them() -> None:
    net = sides()
    net["a"].retain(id_of("lab/1"), b"kept", net.now)
    net.pump()
    receiver = subscribe(net["y"], "lab/*")
    net.pump()
    assert [(each.name, each.payload, each.retained) for each in net.drain(net["y"], receiver)] == [
        ("lab/1", b"kept", True)
    ]


@pytest.mark.parametrize("near", ["", "a", "b"])
def test_last_values_come_to_subscribers_by_name_whoever_is_nearer(near: str) -> None:
    net = sides()
    if near:
        subscribe(net[near], "lab/1")
        net.pump()
    net["a"].retain(id_of("lab/1"), b"kept", net.now)
    net.pump()
    receiver = subscribe(net["y"], "lab/1")
    net.pump()
    assert [(each.payload, each.retained) for each in net.drain(net["y"], receiver)] == [(b"kept", True)]
    net.add("z")
    late = subscribe(net["z"], "lab/1")
    net.join("bz", lookups=True)
    net.pump()
    net.advance(5000)
    assert [(each.payload, each.retained) for each in net.drain(net["z"], late)] == [(b"kept", True)]


def test_a_link_that_comes_later_is_asked() -> None:
    net = Mesh()
    net.add("abx")
    net.join("ab")
    net.pump()
    knows_names(net["a"])
    receiver = subscribe(net["x"], "lab/*")
    publish(net, net["a"], "lab/1")
    net.join("bx", lookups=True)
    net.pump()
    publish(net, net["a"], "lab/1", b"2")
    net.pump()
    assert got(net, net["x"], receiver) == [("lab/1", b"2")]
    net.cable["bx"].cut()
    net.pump()
    net.advance(1000)
    assert net["a"].directory.patterns.size == net["b"].directory.patterns.size == 0
    net.join("xb", lookups=True)
    net.pump()
    publish(net, net["a"], "lab/1", b"3")
    net.pump()
    assert got(net, net["x"], receiver) == [("lab/1", b"3")]


def test_who_publishes_nothing_by_name_asks_nothing() -> None:
    net = slow()
    net["a"].publish(b"n" * 16, b"x", net.now)
    net.pump()
    subscribe(net["b"], "lab/*")
    net.pump()
    assert whos(net, "a", "ab") == 1  # for the subscribers of that
    assert askers(net, "b") == ""


def test_it_is_asked_once_and_each_pattern_is_told_once() -> None:
    net = slow()
    for number in range(3):
        subscribe(net["b"], f"lab/{number}/*")
    for number in range(50):
        publish(net, net["a"], f"lab/{number % 5}/x")
        net.pump()
        net.advance(100)
    asked = [
        body for body in net.frames("a", "ab", codes.MESSAGE | codes.SIGNAL << 4) if codes.PATTERNS in body
    ]
    assert len(asked) == 1
    for number in range(3):
        told = [
            body
            for body in net.frames("b", "ab", codes.MESSAGE | codes.SIGNAL << 4)
            if body[1] == codes.HAVE and b"lab/%d/*" % number in body
        ]
        assert len(told) == 1


def test_both_sides_publish_and_none_tells_the_other_what_it_has_from_there() -> None:
    net = sides()
    subscribe(net["y"], "lab/*")
    for letter in "aybx":
        publish(net, net[letter], "lab/1")
        net.pump()
    back = [body for body in net.frames("b", "bx", codes.MESSAGE | codes.SIGNAL << 4) if b"lab/*" in body]
    assert back == []


def test_of_ways_that_are_equal_none_keeps_what_is_gone() -> None:
    net = Mesh()
    net.add("adxys")
    net.join("ad xy sx sy")
    net.join("ax dy", lookups=True)
    net.pump()
    knows_names(*net.named.values())
    receiver = subscribe(net["s"], "lab/*")
    for letter in "ad":
        publish(net, net[letter], "lab/1")
    net.pump()
    net.advance(5000)
    for letter in "ad":
        assert net.holders(letter, id_of("lab/*")) == "s"
    net["s"].deregister(receiver, net.now)
    net.pump()
    assert [net.holders(letter, id_of("lab/*")) for letter in "adxy"] == [""] * 4


@pytest.mark.parametrize(
    ("realm", "way", "comes"),
    [(USERSPACE, LOCALNET, False), (GLOBAL, GLOBAL, False), (USERSPACE, USERSPACE, True)],
)
def test_realms_hold(realm: int, way: int, comes: bool) -> None:
    net = slow(realm=way)
    receiver = subscribe(net["b"], "lab/*", realm)
    for payload in (b"1", b"2"):
        publish(net, net["a"], "lab/1", payload)
        net.pump()
    assert bool(got(net, net["b"], receiver)) == comes  # what is published gets to LOCALNET
    assert (net["a"].directory.patterns.size == 1) == (realm >= way)


def haves(*holders: bytes, uuid: bytes) -> bytes:
    return signal(codes.HAVE, alias(1, uuid) + b"".join(holders))


def broadcaster(net: Mesh, letter: str, name: str, metric: int = 0) -> bytes:
    """A holder of a broadcast endpoint in a HAVE."""
    head = BROADCAST | LOCALNET << 2 | 0x40
    return bytes((head,)) + bind(9, net[letter].me.key) + u16(metric) + text8(name)


def told_by_hand(*names: str) -> tuple[Mesh, Liar]:
    """a has a slow neighbour that it has asked for patterns, which has told of these, of its own."""
    net = Mesh()
    net.add("a")
    knows_names(net["a"])
    liar = Liar(net, net["a"], lookups=True)
    publish(net, net["a"], "lab/1")
    for number, name in enumerate(names):
        held = bytes((BROADCAST | LOCALNET << 2 | 0x40,)) + SELF + u16(0) + text8(name)
        liar.say(signal(codes.HAVE, alias(number % 100 + 1, id_of(name)) + held))
    return net, liar


def patterns_at(net: Mesh, letter: str) -> list[str]:
    return sorted(entry.name for entry in net[letter].entries() if "*" in entry.name)


def test_what_is_no_pattern_and_was_not_asked_for_does_not_count() -> None:
    net, liar = told_by_hand("lab/*", "hall", "lab*")
    assert [entry.name for entry in net["a"].entries() if entry.name] == ["lab/*"]
    unicast = bytes((UNICAST | LOCALNET << 2 | 0x40,)) + SELF + u16(0) + text8("lab/*")
    liar.say(signal(codes.HAVE, alias(1, id_of("lab/*")) + unicast))  # it was told as a pattern
    assert patterns_at(net, "a") == []
    silent = Liar(net, net["a"], "y")  # nobody asks it
    silent.say(signal(codes.HAVE, alias(1, id_of("hall/*")) + unicast))
    assert (patterns_at(net, "a"), silent.error) == ([], -1)


def test_one_tells_of_so_many_and_no_more() -> None:
    names = [f"{number}/*" for number in range(codes.PATTERNS_TOLD_MAX + 1)]
    net, liar = told_by_hand(*names)
    assert patterns_at(net, "a") == sorted(names[:-1])
    assert net["a"].lookups.counters["lookups_over"] == 1
    liar.say(signal(codes.HAVE, alias(1, id_of("0/*"))))
    held = bytes((BROADCAST | LOCALNET << 2 | 0x40,)) + SELF + u16(0) + text8(names[-1])
    liar.say(signal(codes.HAVE, alias(2, id_of(names[-1])) + held))
    assert patterns_at(net, "a") == sorted(names[1:])


def test_of_too_many_the_ones_known_longest_are_told_and_the_next_in_place_of_one_that_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codes, "PATTERNS_TOLD_MAX", 2)
    net = slow()
    first, *_ = [subscribe(net["b"], f"{number}/*") for number in range(4)]
    publish(net, net["a"], "lab/1")
    net.pump()
    assert patterns_at(net, "a") == ["0/*", "1/*"]
    net["b"].deregister(first, net.now)
    net.pump()
    assert patterns_at(net, "a") == ["1/*", "2/*"]
    subscribe(net["b"], "4/*")
    net.pump()
    assert patterns_at(net, "a") == ["1/*", "2/*"]


def test_of_too_many_who_ask_over_one_link_the_first_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "WATCHES_MAX", 1)
    net = Mesh()
    net.add("cabxd")
    net.join("ca ab db")
    net.join("bx", lookups=True)
    net.pump()
    knows_names(*net.named.values())
    for letter, known in (("a", "a"), ("d", "ad"), ("c", "cd"), ("a", "cd")):
        publish(net, net[letter], "lab/1")
        net.pump()
        assert askers(net, "b") == known
    assert askers(net, "x") == "b"
    net["b"].lookups.who(net.cable["db"].b, net.see("b", "d"), codes.PATTERNS, LOCALNET, net.now)
    assert askers(net, "b") == "cd"


def test_a_pattern_that_nobody_beyond_may_see_is_looked_at_and_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pattern_lookups, "_LOOKS_MAX", 3)
    net = slow()
    for number in range(4):
        subscribe(net["b"], f"{number}/*", USERSPACE)
    subscribe(net["b"], "lab/*")
    publish(net, net["a"], "lab/1")
    net.pump()
    assert patterns_at(net, "a") == []  # it is behind too many of these
    subscribe(net["b"], "hall/*")
    net.pump()
    assert patterns_at(net, "a") == ["hall/*"]


def test_one_that_asks_by_another_way_than_ours_is_told_nothing() -> None:
    net = slow()
    subscribe(net["b"], "lab/*")
    net.pump()
    peer = net.see("b", "a")
    net["b"].lookups.who(net.cable["ab"].b, peer, codes.PATTERNS, GLOBAL, net.now)
    assert askers(net, "b") == ""
    net["b"].lookups.patterns.answer(peer, net.now)
    net.pump()
    assert patterns_at(net, "a") == []


def test_an_entry_that_is_another_than_before_is_told_anew() -> None:
    net = slow()
    receiver = subscribe(net["b"], "lab/*", LOCALNET)
    publish(net, net["a"], "lab/1")
    net.pump()
    net["b"].deregister(receiver, net.now)
    subscribe(net["b"], "lab/*", GLOBAL)
    net.pump()
    [entry] = net["a"].directory.known(id_of("lab/*"))
    assert entry.realm == GLOBAL


def test_a_teller_that_is_reached_by_another_link_is_asked_again() -> None:
    net = Mesh()
    net.add("abx")
    net.join("ab bx")
    net.join("ax", lookups=True)
    net.pump()
    knows_names(net["a"])
    publish(net, net["a"], "lab/1")
    receiver = subscribe(net["x"], "lab/*")
    net.pump()
    net.cable["bx"].cut()
    net.pump()
    net.join("bx", lookups=True)
    net.pump()
    net.advance(20_000)
    publish(net, net["a"], "lab/1", b"2")
    net.pump()
    assert got(net, net["x"], receiver)[-1:] == [("lab/1", b"2")]


def test_what_was_told_before_there_was_a_way_counts_when_there_is_one() -> None:
    net = chain("ab")
    net.add("c")
    knows_names(net["a"])
    liar = Liar(net, net["a"], lookups=True)
    publish(net, net["a"], "lab/1")
    liar.say(haves(broadcaster(net, "c", "lab/*"), uuid=id_of("lab/*")))
    assert patterns_at(net, "a") == []
    net.join("bc", lookups=True)
    net.pump()
    assert net.holders("a", id_of("lab/*")) == "c"
    liar.say(haves(uuid=id_of("lab/*")))
    assert patterns_at(net, "a") == []


def test_words_that_do_not_count_are_bounded_and_go_with_who_said_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codes, "ENTRIES_MAX", 2)
    hearsay = Hearsay()
    link = chain("ab").cable["ab"].a
    words = [
        Word(name, b"u" * 16, Holder(key, BROADCAST, LOCALNET, 0), link, LOCALNET)
        for name, key in ((b"n", b"1"), (b"n", b"1"), (b"n", b"2"), (b"m", b"1"))
    ]
    for word in words:
        hearsay.note(word)
    assert hearsay.size == 2
    assert hearsay.take(b"1") == [words[1]]
    hearsay.note(words[3])
    hearsay.forget(b"n", b"u" * 16)
    assert (hearsay.size, hearsay.take(b"2"), hearsay.take(b"1")) == (1, [], [words[3]])
    assert hearsay.size == 0
    hearsay.forget(b"n", b"u" * 16)


def test_a_thousand_endpoints_that_come_and_go_cost_those_who_are_told_of_patterns_little() -> None:
    net = slow()
    publish(net, net["a"], "lab/1")
    net.pump()

    def register() -> None:
        for number in range(100):
            net["b"].register(b"%016d" % number, ANYCAST)

    asked = calls_of(register)
    other = slow()

    def register_there() -> None:
        for number in range(100):
            other["b"].register(b"%016d" % number, ANYCAST)

    assert asked <= calls_of(register_there) + 400


def test_what_has_changed_while_there_was_no_way_is_told_when_there_is_one_again() -> None:
    net = slow()
    subscribe(net["b"], "lab/*")
    publish(net, net["a"], "lab/1")
    net.pump()
    net.join("ab", lookups=True, via="tcp:other")
    net.pump()
    patterns = net["b"].lookups.patterns
    peer = net.see("b", "a")
    former, peer.hop = peer.hop, None
    subscribe(net["b"], "hall/*")
    peer.hop = former
    patterns.way_changed(peer, net.now)
    net.pump()
    assert patterns_at(net, "a") == ["hall/*", "lab/*"]


def test_who_is_new_is_asked_for_others_only() -> None:
    net = sides()
    publish(net, net["x"], "lab/1")
    net.pump()
    patterns = net["b"].lookups.patterns
    assert (askers(net, "b"), patterns.wanted) == ("x", False)
    assert not patterns.is_wanted_of(net.see("b", "x"), True)
    assert patterns.is_wanted_of(net.see("b", "a"), False)
    publish(net, net["a"], "lab/1")
    net.pump()
    assert patterns.is_wanted_of(net.see("b", "x"), True)
    assert patterns.is_wanted_of(net.see("x", "y"), True)


# At random

LEVELS = ("x", "y", "*", "**")
NAMES = ("x", "x/y", "y/x/y")


class World:
    """A random net of pushed and slow links, with leaves, whose links and subscriptions come and go."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.net = Mesh()
        self.routers = "abcdefg"[: rng.randint(2, 7)]
        self.net.add(self.routers)
        self.spare: list[str] = []
        for at in range(1, len(self.routers)):
            self._join(self.routers[rng.randrange(at)] + self.routers[at])
        for _ in range(rng.randint(0, 3)):
            pair = "".join(rng.sample(self.routers, 2))
            if pair not in self.net.cable and pair[::-1] not in self.net.cable:
                self._join(pair)
                self.spare.append(pair)
        self.leaves = "lm"[: rng.randint(0, 2)]
        for letter in self.leaves:
            self.net.leaf(letter, rng.choice(self.routers))
        self.letters = self.routers + self.leaves
        knows_names(*self.net.named.values())
        self.receivers: dict[tuple[str, str], Receiver] = {}

    def _join(self, pair: str) -> None:
        self.net.join(pair, lookups=self.rng.random() < 0.6)

    def change(self) -> None:
        rng, net = self.rng, self.net
        if self.receivers and rng.random() < 0.4:
            letter, pattern = rng.choice(list(self.receivers))
            net[letter].deregister(self.receivers.pop((letter, pattern)), net.now)
        elif self.spare and rng.random() < 0.4:
            pair = rng.choice(self.spare)
            if net.cable[pair].a.state == codes.OPEN:
                net.cable[pair].cut()
            else:
                self._join(pair)
        else:
            letter = rng.choice(self.letters)
            pattern = "/".join(rng.choice(LEVELS) for _ in range(rng.randint(1, 3)))
            if (letter, pattern) not in self.receivers:
                self.receivers[letter, pattern] = subscribe(net[letter], pattern)
        if rng.random() < 0.7:
            net.pump()
            net.advance(rng.choice((10, 1000)))

    def publish_all(self, mark: bytes) -> list[tuple[str, bytes]]:
        """Each node publishes to each name; what was, by its names."""
        sent = []
        for letter in self.letters:
            for name in NAMES:
                publish(self.net, self.net[letter], name, mark + letter.encode())
                sent.append((name, mark + letter.encode()))
        self.net.pump()
        return sent


@pytest.mark.parametrize("seed", first_counted(range(40), 2))
def test_at_rest_each_receiver_gets_what_its_pattern_means_once(seed: int) -> None:
    world = World(seed)
    net = world.net
    for turn in range(4):
        for _ in range(6):
            world.change()
        world.publish_all(b"-")
        net.advance(40_000)
        for (letter, _), receiver in world.receivers.items():
            net.drain(net[letter], receiver)
        sent = world.publish_all(b"%d" % turn)
        for letter in world.routers:
            for entry in net[letter].entries():
                holder = entry.peer.node_id[:1].decode()
                assert "*" not in entry.name or (holder, entry.name) in world.receivers, (seed, turn)
        for (letter, pattern), receiver in world.receivers.items():
            expected = [each for each in sent if matches(pattern, each[0])]
            assert sorted(got(net, net[letter], receiver)) == sorted(expected), (seed, turn, letter, pattern)
