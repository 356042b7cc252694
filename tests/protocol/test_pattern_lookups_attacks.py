"""What a peer cannot gain by questions for patterns, and for much else besides: an exception, or the work and
the lines of others.
"""

from __future__ import annotations

import pytest

from busway.protocol import codes
from busway.protocol.routing.pattern_lookups import PatternLookups
from busway.protocol.wire.hello import ADDRESSING
from tests.protocol.nets import (
    ANYCAST,
    BROADCAST,
    GLOBAL,
    LOCALNET,
    Liar,
    Mesh,
    alias,
    bind,
    directory,
    key,
    routes,
    signal,
    stranger,
    u16,
    update,
)
from tests.protocol.test_pattern_lookups import patterns_at, told_by_hand
from tests.protocol.test_publishing_patterns import id_of, subscribe
from tests.rigs.effort import calls_of


def asks_for(liar: Liar, *numbers: int) -> None:
    """WHO for endpoints that nobody has."""
    for number in numbers:
        liar.say(signal(codes.WHO, alias(number + 1, b"%016d" % number)))


@pytest.mark.parametrize("spared", [1024, 1])
def test_patterns_outlive_too_many_questions_and_go_when_they_are_told_no_more(
    monkeypatch: pytest.MonkeyPatch, spared: int
) -> None:
    monkeypatch.setattr("busway.protocol.routing.lookups._SPARED_MAX", spared)
    net, liar = told_by_hand("lab/*", "hall/*")
    monkeypatch.setattr(codes, "ENTRIES_MAX", 8)
    other = Liar(net, net["a"], "y", lookups=True)
    asks_for(other, *range(20))
    assert patterns_at(net, "a") == ["hall/*", "lab/*"]
    assert len(net["a"].lookups.told) == 8
    for number in range(20):
        liar.say(signal(codes.HAVE, alias(number + 1, b"%016d" % number)))
    net.advance(codes.SYNC_MS)
    other.say(signal(codes.WHO, alias(60, codes.PATTERNS)))
    liar.say(signal(codes.HAVE, alias(60, codes.PATTERNS)))  # it has none any more
    assert (liar.error, other.error) == (-1, -1)
    assert patterns_at(net, "a") == [] or spared == 1


def test_an_answer_that_brings_on_one_question_too_many_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names one to ask, who is asked for what waits: then the endpoint that it is about is forgotten."""
    net = Mesh()
    net.add("a")
    liar, other = Liar(net, net["a"], lookups=True), Liar(net, net["a"], "y", lookups=True)
    liar.say(routes(update(bind(5, key("x")), 1, 1)))
    net["a"].seek(b"s" * 16, net.now)
    monkeypatch.setattr(codes, "ENTRIES_MAX", 2)
    other.say(signal(codes.WHO, alias(1, codes.LOOKUP)))
    asks_for(other, 7)
    assert list(net["a"].lookups.told) == [codes.LOOKUP, b"%016d" % 7]
    holder = bytes((ANYCAST | GLOBAL << 2,)) + bind(5, key("x")) + u16(3)
    liar.say(signal(codes.HAVE, alias(60, codes.LOOKUP) + holder))
    assert [entry.peer.key for entry in net["a"].entries()] == [key("x")]
    assert b"s" * 16 in net["a"].lookups.told
    assert liar.error == -1


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_who_asks_for_patterns_again_and_again_costs_little_and_is_told_all() -> None:
    net = Mesh()
    net.add("a")
    for number in range(256):
        subscribe(net["a"], f"{number}/*")
    liar = Liar(net, net["a"], lookups=True)
    liar.hear()
    heard: list[bytes] = []

    def ask() -> None:
        for _ in range(100):
            liar.say(signal(codes.WHO, alias(1, codes.PATTERNS)))
            heard.extend(liar.hear())

    ask()
    assert len(heard) <= 17 * 257
    assert calls_of(ask, 1) < 100 * 500
    heard.clear()
    net.advance(codes.SYNC_MS)
    heard += liar.hear()
    assert len(heard) == 257  # once more, for it has asked since


def test_many_that_ask_at_once_are_told_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("busway.protocol.routing.pattern_lookups._TURN_MAX", 1)
    monkeypatch.setattr(codes, "WATCHES_MAX", 2)
    net = Mesh()
    net.add("axcde")
    net.join("xa cx dx ex")
    net.pump()
    subscribe(net["a"], "lab/*")
    patterns = net["a"].lookups.patterns
    assert isinstance(patterns, PatternLookups)

    def told() -> str:
        return "".join(key[:1].decode() for key, asker in patterns.askers.items() if asker.told)

    seen = ""
    for letter in "dcex":
        net["a"].lookups.who(net.cable["xa"].b, net.see("a", letter), codes.PATTERNS, LOCALNET, net.now)
        seen += told()
    assert seen == "dd"  # then it is forgotten, and so is c, which waited
    for seen in ("e", "ex", "ex"):
        net.advance(codes.SYNC_MS)
        assert told() == seen


OWNER = stranger(999)


def _told_of(askers: int, count: int) -> tuple[Mesh, Liar, Liar]:
    """A node that is told of patterns of one far away, by the first neighbour, and tells those who have asked
    behind the second.
    """
    net = Mesh()
    net.add("a")
    owner = Liar(net, net["a"], "y")
    other = Liar(net, net["a"], "x", lookups=True, features=ADDRESSING)
    owner.say(routes(update(bind(5, OWNER), 1, 1)))
    for number in range(count):
        name = f"{number}/*".encode()
        entry = bytes((BROADCAST | 0x40,)) + id_of(name.decode()) + bytes((len(name),)) + name
        owner.say(directory(bind(5, OWNER), LOCALNET, number, number + 1, entry))
    for number in range(askers):
        other.say(routes(update(bind(5 + number, stranger(number)), 1, 1)))
        peer = net["a"].routes.find(stranger(number))
        assert peer is not None
        net["a"].lookups.who(other.connection, peer, codes.PATTERNS, LOCALNET, net.now)
    other.hear()
    net.advance(codes.SYNC_MS)  # the time in which the second might know of some itself
    return net, owner, other


def _said(net: Mesh) -> set[int]:
    """As how far away those who have asked were told the owner to be."""
    patterns = net["a"].lookups.patterns
    assert isinstance(patterns, PatternLookups)
    told = [answer for asker in patterns.askers.values() for answer in asker.told.values()]
    return {metric for answer in told for _, metric in answer.said if answer.written}


def test_a_way_that_changes_again_and_again_fills_no_lines_of_others() -> None:
    net, owner, other = _told_of(8, 64)
    assert len(other.hear()) == 8 * 65
    net.advance(codes.SYNC_MS)
    heard = 0
    for turn in range(100):
        owner.say(routes(update(bind(5, OWNER), 1, 2 + turn)))
        heard += len(other.hear())
    other.say(routes(update(bind(5, stranger(0)), 1, 2)))  # the way to who has asked
    assert 4096 <= heard < 4096 + 64 + 100
    peer = net["a"].routes.find(OWNER)
    assert peer is not None
    assert _said(net)
    assert _said(net) != {peer.metric}
    net.advance(codes.SYNC_MS)
    assert len(other.hear()) >= 8 * 64
    assert _said(net) == {peer.metric}
    net.advance(codes.SYNC_MS)
    assert other.hear() == []


def test_what_there_was_no_room_for_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many have asked behind one link, which takes little at a time."""
    monkeypatch.setattr(codes, "ANSWERS_MAX", 16)
    net, owner, other = _told_of(4, 8)
    heard = other.hear()
    assert sum(b"/*" in body for body in heard) == 8
    for _ in range(4):
        net.advance(codes.SYNC_MS)
        heard += other.hear()
    assert sum(b"/*" in body for body in heard) == 4 * 8
    owner.say(directory(bind(5, OWNER), LOCALNET, 8, 9, b"\0" + id_of("7/*")))
    assert len(other.hear()) == 4
    assert (owner.error, other.error) == (-1, -1)
