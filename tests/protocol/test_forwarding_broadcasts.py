"""Broadcasts over several hops: one copy for each node, along the tree."""

from __future__ import annotations

import pytest

from busway.protocol import Limits, codes

from .nets import (
    BROADCAST,
    GLOBAL,
    LOCALNET,
    Liar,
    Mesh,
    alias,
    chain,
    grid,
    message,
    ring,
    u16,
)
from .pairs import E

# Broadcasts


def copies(net: Mesh, payload: bytes) -> dict[str, int]:
    """How many copies of a payload each cable has carried."""
    return {
        pair: sum(bytes(end.sent).count(payload) for end in cable.ends) for pair, cable in net.cable.items()
    }


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("shape", ["chain", "ring", "grid"])
def test_everyone_gets_one_copy_and_a_link_carries_one_at_the_most(shape: str) -> None:
    net = {"chain": chain("abcdef"), "ring": ring("abcdef"), "grid": grid(["abc", "def"])}[shape]
    receivers = {letter: net[letter].register(E, BROADCAST) for letter in "abcdef"}
    net.pump()
    for source in "acf":
        for number in range(3):
            payload = b"cast-%s-%d" % (source.encode(), number)
            net[source].publish(E, payload, net.now)
            net.pump()
            assert all(net.payloads(letter, r) == [payload] for letter, r in receivers.items())
            assert max(copies(net, payload).values()) == 1
            assert sum(copies(net, payload).values()) == 5
    assert all(node.forwarder.counters["misrouted"] == 0 for node in net.nodes)


def test_a_broadcast_crosses_no_link_wider_than_any_subscription() -> None:
    net = Mesh()
    net.add("abcd")
    net.join("ab")
    net.join("bc", realm=GLOBAL)
    net.join("cd")
    net.pump()
    inside = net["b"].register(E, BROADCAST, LOCALNET)
    outside = net["d"].register(E, BROADCAST, LOCALNET)
    net.pump()
    net["a"].publish(E, b"secret-1", net.now, realm=GLOBAL)
    net.pump()
    assert net.payloads("b", inside) == [b"secret-1"]
    assert copies(net, b"secret-1")["bc"] == 0
    wide = net["c"].register(E, BROADCAST, GLOBAL)
    net.pump()
    net["a"].publish(E, b"secret-2", net.now, realm=GLOBAL)
    net.pump()
    assert net.payloads("c", wide) == [b"secret-2"]
    assert net.payloads("d", outside) == []


def test_where_nobody_wants_it_the_tree_is_pruned_and_grafted_again() -> None:
    net = chain("abcdef")
    mine = net["b"].register(E, BROADCAST)
    net.pump()
    for number in range(4):
        net["a"].publish(E, b"number-%d" % number, net.now)
        net.pump()
    assert copies(net, b"number-0")["cd"] <= 1
    assert copies(net, b"number-3") == {"ab": 1, "bc": 0, "cd": 0, "de": 0, "ef": 0}
    receiver = net["f"].register(E, BROADCAST)
    net.pump()
    net["a"].publish(E, b"number-4", net.now)
    net.pump()
    assert net.payloads("f", receiver) == [b"number-4"]
    net["f"].deregister(receiver, net.now)
    net.pump()
    for number in range(5, 9):
        net["a"].publish(E, b"number-%d" % number, net.now)
        net.pump()
    assert copies(net, b"number-8") == {"ab": 1, "bc": 0, "cd": 0, "de": 0, "ef": 0}
    assert len(net.payloads("b", mine)) == 9


def test_with_no_subscriber_anywhere_nothing_is_written() -> None:
    net = chain("abc")
    net["a"].publish(E, b"to-nobody", net.now)
    net.pump()
    assert sum(copies(net, b"to-nobody").values()) == 0


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("round", range(3))
def test_broadcasts_follow_the_tree_when_it_changes(round: int) -> None:
    net = ring("abcdef")
    receivers = {letter: net[letter].register(E, BROADCAST) for letter in "bcdef"}
    net.pump()
    for pair in ("bc", "ef", "cd"):
        net["a"].publish(E, b"before-" + pair.encode(), net.now)
        net.pump()
        net.cable[pair].cut()
        net.advance(1000)
        net["a"].publish(E, b"broken-" + pair.encode(), net.now)
        net.pump()
        net.join(pair)
        net.advance(1000 * round)
        net["a"].publish(E, b"healed-" + pair.encode(), net.now)
        net.pump()
    net.advance(5000)
    net["a"].publish(E, b"at last", net.now)
    net.pump()
    for letter, receiver in receivers.items():
        got = net.payloads(letter, receiver)
        assert len(got) == len(set(got)), letter
        assert got[-1] == b"at last"
        assert sum(payload.startswith(b"broken") for payload in got) == 3, (letter, got)


def test_a_child_that_pruned_and_left_gets_copies_again_when_it_returns_as_a_subscriber() -> None:
    net = ring("abcd")
    keeper = {letter: net[letter].register(E, BROADCAST) for letter in "bd"}
    net.pump()
    for _ in range(2):
        net["a"].publish(E, b"x", net.now)
        net.pump()
    parent = net.hop("c", "a")
    pair = "bc" if parent == "b" else "cd"
    net.cable[pair].cut()
    net.advance(2000)
    receiver = net["c"].register(E, BROADCAST)
    net.join(pair)
    net.advance(2000)
    net["a"].publish(E, b"after", net.now)
    net.pump()
    assert net.payloads("c", receiver) == [b"after"]
    assert all(net.payloads(letter, r)[-1] == b"after" for letter, r in keeper.items())


def test_large_broadcasts_are_cut_at_each_hop() -> None:
    net = Mesh()
    net.add("abcd", limits=Limits(frame_size_max=512))
    net.join("ab bc cd")
    net.pump()
    receivers = {letter: net[letter].register(E, BROADCAST) for letter in "bcd"}
    net.pump()
    net["a"].publish(E, b"large" * 2000, net.now)
    net["a"].publish(E, b"small", net.now)
    net.pump(size=700)
    assert all(net.payloads(letter, r) == [b"large" * 2000, b"small"] for letter, r in receivers.items())


def test_a_subscriber_that_does_not_read_holds_up_nobody() -> None:
    net = Mesh()
    net.add("abcd")
    net.join("ab bc bd")
    net.pump()
    fast, slow = net["c"].register(E, BROADCAST, queue_max=10_000), net["d"].register(E, BROADCAST)
    net.pump()
    net.cable["bd"].block(net["b"])
    for number in range(60):
        net["a"].publish(E, bytes((number,)) * 100_000, net.now)
        net.pump()
    assert len(net.payloads("c", fast)) == 60
    assert net["b"].origin.counters["broadcast_dropped"] > 0
    net.cable["bd"].block(net["b"], False)
    net.pump()
    taken = net.drain(net["d"], slow)
    assert 0 < len(taken) < 60
    assert taken[-1].payload[:1] == bytes((59,))  # the newest is kept, and tells what is missing
    assert taken[-1].missed == 60 - len(taken)
    net["a"].publish(E, b"next", net.now)
    net.pump()
    assert [message.missed for message in net.drain(net["d"], slow)] == [0]


def test_a_prune_that_is_not_heeded_is_said_again() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    liar.hear()
    said = []
    for number in range(130):
        liar.say(message(codes.PUBLISH, 0, 9, b"", (b"\x01" if number else alias(1, E)) + u16(number + 1)))
        said.append(sum(body[:2] == bytes((0xF0, codes.PRUNE)) for body in liar.hear()))
    assert [number for number, count in enumerate(said) if count] == [0, 64, 128]


def test_a_broadcast_whose_hops_are_over_goes_no_further() -> None:
    net = chain("abc")
    receivers = {letter: net[letter].register(E, BROADCAST) for letter in "bc"}
    net.pump()
    liar = Liar(net, net["b"])
    net.pump()
    liar.say(message(codes.PUBLISH, 0, 0, b"", alias(1, E) + u16(1) + b"0"))
    liar.say(message(codes.PUBLISH, 0, 1, b"", b"\x01" + u16(2) + b"1"))
    net.pump()
    assert net.payloads("b", receivers["b"]) == [b"0", b"1"]
    assert net.payloads("c", receivers["c"]) == [b"1"]
