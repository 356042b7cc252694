"""What a program more costs those who are there: no more for each of its links, however many there are."""

from __future__ import annotations

import pytest

from busway.protocol import Node, codes, events
from tests.rigs.steps import steps

from .nets import UNICAST, USERSPACE, chain
from .pairs import E, Entropy, F, Net

MORE_MAX = 1.4  # times the lines for each link, with four times as many


def programs(count: int) -> tuple[Net, Node, list[Node]]:
    """A node that dials many at once, each of which has an endpoint; nothing has been said yet."""
    net = Net()
    others = [Node(bytes([9, number]) * 8, entropy=Entropy(number), label="other") for number in range(count)]
    net.nodes += others
    for number, node in enumerate(others):
        node.register(number.to_bytes(16, "big"), codes.UNICAST)
    return net, net.node("a"), others


def join(net: Net, one: Node, others: list[Node]) -> None:
    for other in others:
        net.link(one, other, via="ipc")
    net.pump()


def test_a_join_costs_the_same_for_each_link_however_many_open_at_once() -> None:
    costs = []
    for count in (32, 128):
        net, one, others = programs(count)
        costs.append(steps(lambda: join(net, one, others), "/protocol/") / count)  # noqa: B023 - at once
        assert len(one.peers()) == count
    assert costs[1] < costs[0] * MORE_MAX


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_leaving_costs_the_same_for_each_link_however_many_there_are() -> None:
    costs = []
    for count in (32, 128):
        net, one, others = programs(count)
        join(net, one, others)

        def leave() -> None:
            for other in others:  # noqa: B023 - at once
                other.close(net.now)  # noqa: B023
            net.pump()  # noqa: B023

        costs.append(steps(leave, "/protocol/") / count)
        assert not one.peers()
    assert costs[1] < costs[0] * MORE_MAX


def test_who_leaves_withdraws_no_endpoint_where_the_goodbye_comes_at_once() -> None:
    net = chain("ab", realm=USERSPACE)
    a, b = net["a"], net["b"]
    a.register(E, UNICAST)
    net.pump()
    told = len(net.frames("a", "ab", codes.DIRECTORY))
    a.close(net.now)
    net.pump()
    assert len(net.frames("a", "ab", codes.DIRECTORY)) == told
    assert len(net.seen(b, events.ENDPOINT_DOWN)) == len(net.seen(b, events.NODE_DOWN)) == 1
    assert not b.directory.all()


def test_who_has_much_to_write_before_its_goodbye_withdraws_its_endpoints_first() -> None:
    net = chain("ab", realm=USERSPACE)
    a, b = net["a"], net["b"]
    a.register(E, UNICAST)
    receiver = b.register(F, UNICAST)
    net.pump()
    told = len(net.frames("a", "ab", codes.DIRECTORY))
    net.cable["ab"].block(a)
    a.send(F, bytes(100_000), net.now)
    a.close(net.now)
    net.cable["ab"].block(a, False)
    net.pump(size=1000)
    assert len(net.frames("a", "ab", codes.DIRECTORY)) == told + 1
    assert [len(payload) for payload in net.payloads("b", receiver)] == [100_000]
    assert not b.peers()
