"""Last words: who gets them, when, and when not."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import LocalError, Receiver, codes
from busway.protocol.routing.guard import Guard
from busway.protocol.wire.traits import pack_traits, without_gone

from .leaves import LeafNet
from .nets import ANYCAST, BROADCAST, GLOBAL, LOCALNET, USERSPACE, Mesh, chain, id_of
from .pairs import E

WORD = bytes((codes.RAW,)) + b"off"
LOST_MS = codes.LOST_MS + codes.ROUTE_LOSS_GRACE_MS


def holder(net: Mesh, letter: str = "a", kind: int = BROADCAST, realm: int = LOCALNET) -> Receiver:
    receiver = net[letter].register(E, kind, realm, name="lab/pump", gone=WORD)
    net.pump()
    return receiver


def lose(net: Mesh, pair: str = "ab") -> None:
    net.cable[pair].cut()
    net.pump()
    net.advance(LOST_MS)


def words(net: Mesh, letter: str, receiver: Receiver) -> list[Any]:
    messages = net.drain(net[letter], receiver)
    return [(each.payload, each.source[:1], each.last_word, each.name) for each in messages]


SAID = (b"off", b"a", True, "lab/pump")


def test_each_node_gives_it_to_its_own_subscribers_once() -> None:
    net = chain("abcd")
    holder(net)
    receivers = [(letter, net[letter].register(E, BROADCAST, name="lab/pump")) for letter in "bcd"]
    net.pump()
    net.cable["ab"].cut()
    net.advance(codes.LOST_MS - 1)
    assert [words(net, *each) for each in receivers] == [[], [], []]
    net.advance(codes.ROUTE_LOSS_GRACE_MS + 1)
    assert [words(net, *each) for each in receivers] == [[SAID]] * 3
    net.advance(60_000)
    assert [words(net, *each) for each in receivers] == [[], [], []]


def test_it_comes_behind_all_that_the_node_had_sent() -> None:
    net = chain("ab")
    holder(net)
    receiver = net["b"].register(E, BROADCAST, name="lab/pump")
    net.pump()
    net["a"].publish(E, b"on", net.now)
    net.pump()
    lose(net)
    assert words(net, "b", receiver) == [(b"on", b"a", False, "lab/pump"), SAID]


def test_patterns_get_it_under_its_name_whatever_the_kind() -> None:
    net = chain("ab")
    holder(net, kind=ANYCAST)
    by = [
        net["b"].register(id_of(letter), BROADCAST, name=name)
        for letter, name in (("x", "lab/*"), ("y", "**"), ("z", "far/**"))
    ]
    plain = net["b"].register(id_of("w"), BROADCAST, name="lab/other")
    net.pump()
    lose(net)
    assert [words(net, "b", each) for each in (*by, plain)] == [[SAID], [SAID], [], []]


def test_two_receivers_of_one_endpoint_get_one_each() -> None:
    net = chain("ab")
    holder(net)
    receivers = [net["b"].register(E, BROADCAST, name="lab/pump") for _ in range(2)]
    net.pump()
    lose(net)
    assert [words(net, "b", each) for each in receivers] == [[SAID]] * 2


def test_none_after_a_goodbye_or_a_withdrawal() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, BROADCAST, name="lab/pump")
    mine = holder(net)
    net["a"].deregister(mine, net.now)
    net.pump()
    lose(net)
    assert words(net, "c", receiver) == []
    net = chain("abc")
    receiver = net["c"].register(E, BROADCAST, name="lab/pump")
    holder(net)
    net["a"].close(net.now)
    net.pump()
    net.advance(LOST_MS)
    assert words(net, "c", receiver) == []


def test_none_when_the_node_is_reached_by_another_way() -> None:
    net = chain("abcd")
    holder(net)
    receiver = net["d"].register(E, BROADCAST, name="lab/pump")
    net.join("ad")
    net.pump()
    for pair in ("ad", "ab"):
        net.cable[pair].cut()
        net.pump()
        if pair == "ad":
            net.advance(5000)
            assert net.hop("d", "a") == "c"
        else:
            net.advance(1500)
            net.join("ac")
            net.pump()
    net.advance(60_000)
    assert words(net, "d", receiver) == []


def test_realms_hold() -> None:
    net = chain("abc", realm=LOCALNET)
    holder(net, realm=GLOBAL)
    receivers = [net["c"].register(E, BROADCAST, USERSPACE, name="lab/pump")]
    net.pump()
    lose(net)
    assert words(net, "c", receivers[0]) == [], "what it publishes does not come there, either"
    net = chain("ab", realm=USERSPACE, medium="ipc")
    net.add("c")
    net.join("bc", realm=GLOBAL)
    holder(net, realm=LOCALNET)
    receiver = net["c"].register(E, BROADCAST, GLOBAL, name="lab/pump")
    net.pump()
    lose(net)
    assert words(net, "c", receiver) == []


@pytest.mark.parametrize("allowed", [True, False])
def test_it_needs_the_right_to_publish_to_that_name(allowed: bool) -> None:
    net = chain("abc")
    net["c"].guard = Guard(
        lambda link, node_id, what, uuid, name, realm: what != codes.MAY_PUBLISH or allowed,
        lambda link, which: -1,
    )
    holder(net)
    receiver = net["c"].register(E, BROADCAST, name="lab/pump")
    net.pump()
    lose(net)
    assert words(net, "c", receiver) == [SAID] * allowed


def test_a_board_leaves_one_with_its_router() -> None:
    net = chain("bc")
    leaf = net.leaf("a", "b")
    leaf.register(E, ANYCAST, name="lab/pump", gone=WORD)
    receivers = [(letter, net[letter].register(id_of("x"), BROADCAST, name="lab/**")) for letter in "bc"]
    net.pump()
    lose(net)
    assert [words(net, *each) for each in receivers] == [[SAID]] * 2


def test_one_of_the_endpoints_own_type_has_that_type_by_a_pattern_too() -> None:
    net = chain("ab")
    word = bytes((codes.TYPED_AS_ENDPOINT,)) + b"\xa0"
    net["a"].register(E, BROADCAST, name="lab/pump", gone=word)
    named = net["b"].register(E, BROADCAST, name="lab/pump")
    family = net["b"].register(id_of("x"), BROADCAST, name="lab/*")
    net.pump()
    lose(net)
    [message] = net.drain(net["b"], named)
    assert (message.format, message.type_id) == (codes.TYPED_AS_ENDPOINT, b"")
    [message] = net.drain(net["b"], family)
    assert (message.format, message.type_id) == (codes.TYPED, E)


def test_one_of_an_endpoint_without_a_name_gets_to_nobody_by_a_pattern() -> None:
    net = chain("ab")
    net["a"].register(E, ANYCAST, gone=WORD)
    receiver = net["b"].register(id_of("x"), BROADCAST, name="**")
    net.pump()
    lose(net)
    assert words(net, "b", receiver) == []


def test_a_small_leaf_leaves_one_with_its_router() -> None:
    net = LeafNet("mn")
    net.leaf.register(E, ANYCAST, name="lab/pump", labels=["x"], gone=WORD)
    receiver = net.nodes[1].register(id_of("x"), BROADCAST, name="lab/**")
    net.settle()
    net.cord.cut()
    net.pass_time(LOST_MS)
    [message] = net.drain(net.nodes[1], receiver)
    assert (message.payload, message.source, message.last_word) == (b"off", net.leaf.node_id, True)
    with pytest.raises(LocalError, match="at most 128 bytes"):
        net.leaf.register(id_of("y"), ANYCAST, gone=bytes(130))


def test_a_typed_one_has_its_type() -> None:
    net = chain("ab")
    net["a"].register(E, BROADCAST, name="lab/pump", gone=bytes((codes.TYPED,)) + id_of("t") + b"\xa0")
    receiver = net["b"].register(E, BROADCAST, name="lab/pump")
    net.pump()
    lose(net)
    [message] = net.drain(net["b"], receiver)
    assert (message.type_id, message.payload, message.format) == (id_of("t"), b"\xa0", codes.TYPED)


def test_the_numbers_of_a_node_that_comes_back_go_on() -> None:
    net = chain("ab")
    net["a"].supplements.name_of = lambda uuid: "lab/pump" if uuid == E else ""
    holder(net)
    receiver = net["b"].register(id_of("x"), BROADCAST, name="lab/*")
    net.pump()
    lose(net)
    assert words(net, "b", receiver) == [SAID]
    net.join("ab")
    net.pump()
    net["a"].publish(E, b"on", net.now)
    net.pump()
    [message] = net.drain(net["b"], receiver)
    assert (message.payload, message.missed) == (b"on", 0)


def test_labels_are_left_when_a_last_word_is_taken_away() -> None:
    assert without_gone(pack_traits(["x"], WORD)) == pack_traits(["x"], b"")
    assert without_gone(pack_traits(["x"], b"")) == pack_traits(["x"], b"")
