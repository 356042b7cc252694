"""Whom a message goes to: the cheapest holder, in turn, or the next one when that goes."""

from __future__ import annotations

from busway.protocol import codes, events
from tests.protocol.helpers import B, C, counts, fill, payloads
from tests.protocol.pairs import E, Net, Pair


def test_anycast_takes_the_cheapest_and_turns_among_equals() -> None:
    net = Net()
    a, b, c, d = net.mesh("abcd")
    holders = [
        (b, b.register(E, codes.ANYCAST, cost=5)),
        (c, c.register(E, codes.ANYCAST, cost=5)),
        (d, d.register(E, codes.ANYCAST, cost=6)),
    ]
    net.pump()
    for _ in range(6):
        a.send(E, b"x", net.now)
    net.pump()
    assert counts(net, holders) == [3, 3, 0]
    d.deregister(holders[2][1], net.now)
    net.pump()
    holders[2] = (d, d.register(E, codes.ANYCAST, cost=4))
    net.pump()
    for _ in range(3):
        a.send(E, b"x", net.now)
    net.pump()
    assert counts(net, holders) == [0, 0, 3]


def test_anycast_weighs_the_link_and_prefers_our_own() -> None:
    net = Net()
    a, b, c = net.node("a"), net.node("b"), net.node("c")
    holders = [(b, b.register(E, codes.ANYCAST)), (c, c.register(E, codes.ANYCAST))]
    net.link(a, b, cost=16)
    net.link(a, c, cost=1)
    net.pump()
    for _ in range(3):
        a.send(E, b"x", net.now)
    net.pump()
    assert counts(net, holders) == [0, 3]
    net.pump()
    holders.append((a, a.register(E, codes.ANYCAST, cost=1)))
    for _ in range(4):
        a.send(E, b"x", net.now)
    net.pump()
    assert counts(net, holders) == [0, 0, 4]  # the way to c costs no more, but leaves the program
    a.deregister(holders[2][1], net.now)
    holders[2] = (a, a.register(E, codes.ANYCAST))
    a.send(E, b"x", net.now)
    assert counts(net, holders) == [0, 0, 1]


def test_anycast_passes_over_holders_without_credit() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    holders = [(b, b.register(E, codes.ANYCAST)), (c, c.register(E, codes.ANYCAST))]
    net.pump()
    for _ in range(4):  # all of b's credit
        a.send(E, b"x", net.now, node_id=B)
    for _ in range(3):
        assert a.send(E, b"x", net.now) == 0
    net.pump()
    assert counts(net, holders) == [4, 3]


def test_what_waits_for_one_of_several_goes_to_whoever_is_free_first() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    holders = [(b, b.register(E, codes.ANYCAST, queue_max=8)), (c, c.register(E, codes.ANYCAST, queue_max=8))]
    net.pump()
    for _ in range(4):
        a.send(E, b"x", net.now, node_id=B)
        a.send(E, b"x", net.now, node_id=C)
    a.send(E, b"x", net.now, node_id=B)  # waits at b
    tokens = [a.send(E, b"y", net.now) for _ in range(4)]
    assert all(tokens)
    net.pump()
    assert payloads(net.drain(*holders[1])) == [b"x"] * 4
    net.pump()
    net.advance(20)  # b does not read: it is not waited for any longer
    net.pump()
    assert payloads(net.drain(*holders[1])) == [b"y"] * 4
    assert payloads(net.drain(*holders[0])) == [b"x"] * 4
    net.pump()
    assert counts(net, holders) == [1, 0]


def test_what_waits_for_credit_moves_to_another_holder_when_its_own_goes() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    gone = b.register(E, codes.ANYCAST, queue_max=8)
    net.pump()
    tokens = fill(net, a, E, 8)
    stays = c.register(E, codes.ANYCAST, queue_max=8)
    net.pump()
    b.deregister(gone, net.now)
    net.pump()
    assert payloads(net.drain(c, stays)) == [b"4", b"5", b"6", b"7"]
    assert [o.token for o in net.seen(a, events.OUTCOME)] == tokens[4:]
    assert [event.reason for event in net.seen(a, events.UNDELIVERABLE)] == [codes.RECEIVER_CLOSED] * 4


def test_what_waits_for_credit_comes_home_when_the_other_holder_goes() -> None:
    net = Pair()
    gone = net.b.register(E, codes.ANYCAST, queue_max=8)
    net.pump()
    fill(net, net.a, E, 8)
    mine = net.a.register(E, codes.ANYCAST, queue_max=8)
    net.b.deregister(gone, net.now)
    net.pump()
    assert payloads(net.drain(net.a, mine)) == [b"4", b"5", b"6", b"7"]


def test_what_waits_for_credit_fails_when_the_name_becomes_a_broadcast() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    gone = b.register(E, codes.ANYCAST, queue_max=8)
    net.pump()
    tokens = fill(net, a, E, 5)
    net.pump()
    net.cables[2].block(c)  # c does not tell b, which would refuse it
    net.cables[2].block(b)
    c.receiving.directory.remove(c.routes.peers[B], E)
    c.register(E, codes.BROADCAST)
    net.pump()
    b.deregister(gone, net.now)
    net.pump()
    assert [(o.status, o.code) for o in net.outcomes(a, tokens[4])] == [(events.UNDELIVERED, codes.NO_ROUTE)]


def test_costs_are_weighed_anew_when_a_link_goes() -> None:
    net = Net()
    a, b, c = net.node("a"), net.node("b"), net.node("c")
    holders = [(b, b.register(E, codes.ANYCAST)), (c, c.register(E, codes.ANYCAST))]
    cheap = net.link(a, b, via="ipc", cost=1)
    net.link(a, b, via="tcp://h:1", cost=50)
    net.link(a, c, cost=10)
    net.pump()
    a.send(E, b"x", net.now)
    net.pump()
    assert counts(net, holders) == [1, 0]
    cheap.cut()
    a.send(E, b"x", net.now)
    net.pump()
    assert counts(net, holders) == [0, 1]


def test_what_waits_for_the_loser_of_a_name_goes_before_what_comes_later() -> None:
    """Node a sees both holders for a while, and keeps to the one that it has known longer; then that one
    hears of the other, and yields.
    """
    net = Net()
    a, b, c = net.mesh("abc")
    for node in (b, c):
        net.cables[2].block(node)
    net.cables[0].block(b)
    loser = c.register(E, codes.UNICAST, queue_max=8)
    winner = b.register(E, codes.UNICAST)
    net.pump()
    fill(net, a, E, 6)
    pinned = a.send(E, b"pinned", net.now, node_id=C)
    net.cables[0].block(b, False)
    net.pump()
    a.send(E, b"later", net.now)
    net.pump()
    assert payloads(net.drain(b, winner)) == []
    for node in (b, c):
        net.cables[2].block(node, False)
    net.pump()
    assert not winner.closed
    assert payloads(net.drain(b, winner)) == [b"4", b"5", b"later"]
    assert [(event.status, event.code) for event in net.outcomes(a, pinned)] == [
        (events.UNDELIVERED, codes.NO_ROUTE)
    ]
    assert payloads(net.drain(c, loser)) == [b"0", b"1", b"2", b"3"]  # what had come before
