"""Whole nodes on links that take time: a few random lives, and large or hostile scenes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from busway.protocol import Node, codes, events
from tests.protocol.nets import ANYCAST, BROADCAST, GLOBAL, LOCALNET, USERSPACE
from tests.protocol.pairs import E, Entropy, F, Net
from tests.simulation.nodes import run


@pytest.mark.parametrize("seed", range(3))
def test_a_mesh_on_slow_links_keeps_its_promises(seed: int) -> None:
    verdict = run(seed, 40)
    assert verdict.faults == [], f"seed {seed}"
    assert verdict.counts["instants"] > 500


def test_the_judge_sees_loops_on_slow_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("busway.protocol.routing.router.better", lambda a, b: True)
    assert any("loop" in fault for seed in range(4) for fault in run(seed, 40).faults)


def test_two_machines_joined_by_one_link_are_one_bus_and_a_second_link_is_no_storm() -> None:
    net = Net()
    one, other = net.mesh("abcd", transit=True), net.mesh("wxyz", transit=True)
    receiver = other[3].register(E, BROADCAST, LOCALNET)
    first = net.link(one[0], other[0], realm=LOCALNET, via="tcp:1", medium="tcp")
    net.pump()
    assert all(len(node.peers()) == 7 for node in net.nodes)
    second = net.link(one[1], other[1], realm=LOCALNET, via="tcp:2", medium="tcp")
    net.pump()
    net.advance(5000)
    for copies in (2, 1):  # the first goes down the whole tree, which then is pruned
        before = [sum(len(end.sent) for end in cable.ends) for cable in (first, second)]
        one[3].publish(E, bytes(1000), net.now)
        net.pump()
        after = [sum(len(end.sent) for end in cable.ends) for cable in (first, second)]
        crossed = [(late - early) // 1000 for early, late in zip(before, after, strict=True)]
        assert [len(message.payload) for message in net.drain(other[3], receiver)] == [1000]
        assert max(crossed) == 1
        assert sum(crossed) <= copies
    first.cut()
    net.pump()
    one[3].publish(E, b"still there", net.now)
    net.pump()
    assert [message.payload for message in net.drain(other[3], receiver)] == [b"still there"]


def test_a_dear_inner_link_is_taken_for_what_may_not_leave() -> None:
    net = Net()
    one, other = net.node("a", transit=True), net.node("b", transit=True)
    net.link(one, other, realm=GLOBAL, via="ws:1", cost=1)
    dear = net.link(one, other, realm=LOCALNET, via="tcp:1", cost=500)
    receiver = other.register(E, ANYCAST, LOCALNET)
    hidden = other.register(F, ANYCAST, USERSPACE)
    net.pump()
    one.send(E, bytes(500), net.now)
    token = one.send(F, b"not for you", net.now, node_id=other.node_id, confirm=True)
    net.pump()
    assert len(net.drain(other, receiver)) == 1
    assert len(dear.ends[0].sent) > 500
    assert not net.drain(other, hidden)
    assert [outcome.status for outcome in net.outcomes(one, token)] == [events.UNDELIVERED]


def _node(net: Net, number: int, **options: Any) -> Node:
    node = Node(number.to_bytes(16, "big"), entropy=Entropy(number), **options)
    net.nodes.append(node)
    return node


def test_in_a_hundred_nodes_each_subscriber_gets_one_copy_and_a_link_carries_one_at_the_most() -> None:
    rng = random.Random(1)
    net = Net()
    routers = [_node(net, number, transit=True) for number in range(80)]
    for number in range(1, 80):
        net.link(routers[number], routers[rng.randrange(number)], realm=LOCALNET, via=f"tree {number}")
    for number in range(40):
        one, other = rng.sample(routers, 2)
        net.link(one, other, realm=LOCALNET, via=f"loop {number}")
    leaves = [_node(net, number, leaf=True) for number in range(80, 100)]
    for leaf in leaves:
        net.link(leaf, rng.choice(routers), realm=LOCALNET, via="leaf")
    net.pump()
    subscribers = rng.sample(routers, 15) + leaves[:5]
    receivers = [(node, node.register(E, BROADCAST, LOCALNET)) for node in subscribers]
    net.advance(3000)
    source = next(node for node in routers if node not in subscribers)
    for turn in range(3):  # the first finds out who wants it
        before = {end: len(end.sent) for cable in net.cables for end in cable.ends}
        source.publish(E, bytes(1000), net.now)
        net.pump()
        assert [len(net.drain(*each)) for each in receivers] == [1] * 20, turn
        net.advance(3000)
        copies = [sum(len(end.sent) - before[end] for end in cable.ends) // 1000 for cable in net.cables]
        assert max(copies) == 1, turn
        assert turn == 0 or sum(copies) < 80, "nothing goes to subtrees without subscribers"
    assert all(connection.state == codes.OPEN for node in net.nodes for connection in node.connections)
