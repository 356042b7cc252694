"""What a peer cannot gain by questions for patterns, and for much else besides: an exception, or the work and
the lines of others.
"""

from __future__ import annotations

import pytest

from busway.protocol import codes
from busway.protocol.routing.pattern_lookups import PatternLookups
from tests.protocol.nets import (
    ANYCAST,
    GLOBAL,
    LOCALNET,
    Liar,
    Mesh,
    alias,
    bind,
    key,
    routes,
    signal,
    u16,
    update,
)
from tests.protocol.test_pattern_lookups import patterns_at, told_by_hand
from tests.protocol.test_publishing_patterns import subscribe
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
