"""Queues of receivers, their policies, and the credit that origins share."""

from __future__ import annotations

import pytest

from busway.protocol import FullError, Node, codes, events
from busway.protocol.messaging.correspondent import talk
from tests.protocol.helpers import A, B, assert_settled, fill, payloads
from tests.protocol.pairs import E, Entropy, F, Net, Pair

# Queues and their policies


def test_refuse_keeps_what_it_has() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST, queue_max=3)
    net.pump()
    fill(net, net.a, E, 4)
    net.pump()
    assert payloads(net.drain(net.b, receiver)) == [b"0", b"1", b"2"]
    assert (receiver.refused, receiver.dropped) == (1, 0)
    assert net.b.receiving.counters["refused"] == 1


def test_drop_newest_shows_its_losses_on_the_next_that_is_queued() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST, queue_max=2, policy=codes.DROP_NEWEST)
    net.pump()
    fill(net, net.a, E, 4)
    net.pump()
    assert [(m.payload, m.missed) for m in net.drain(net.b, receiver)] == [(b"0", 0), (b"1", 0)]
    net.pump()
    net.a.send(E, b"next", net.now)
    net.advance(2000)
    assert [(m.payload, m.missed) for m in net.drain(net.b, receiver)] == [(b"next", 2)]
    assert receiver.dropped == net.b.receiving.counters["dropped"] == 2
    assert [event.reason for event in net.seen(net.a, events.UNDELIVERABLE)] == [codes.DROPPED] * 2


def test_drop_oldest_shows_its_losses_on_the_next_that_is_taken() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.BROADCAST, queue_max=2)
    net.pump()
    for number in range(5):
        net.a.publish(E, b"%d" % number, net.now)
    net.pump()
    assert [(m.payload, m.missed) for m in net.drain(net.b, receiver)] == [(b"3", 3), (b"4", 0)]
    assert receiver.dropped == 3
    assert net.seen(net.a, events.UNDELIVERABLE) == []  # a publish has nobody who waits for it


def test_a_queue_is_bounded_in_bytes_but_takes_one_of_any_size() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST, size_max=100)
    net.pump()
    for size in (200, 1):
        net.a.send(E, bytes(size), net.now)
    net.pump()
    assert [len(m.payload) for m in net.drain(net.b, receiver)] == [200]
    net.pump()
    assert receiver.refused == 1
    for size in (60, 40, 1):
        net.a.send(E, bytes(size), net.now)
    net.pump()
    assert receiver.size == sum(len(m.payload) for m in receiver.queue.items[receiver.queue.head :]) <= 100


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("policy", [codes.REFUSE, codes.DROP_OLDEST, codes.DROP_NEWEST])
def test_every_message_is_queued_or_accounted_for(policy: int) -> None:
    net = Net()
    nodes = net.mesh("abcde")
    receiver = nodes[0].register(E, codes.UNICAST, queue_max=5, policy=policy)
    net.pump()
    got = []
    for number in range(200):
        for node in nodes[1:]:
            if node.origin.direct.get(E) is None or number < 4:
                node.send(E, b"%d" % number, net.now)
            else:
                try:
                    node.send(E, b"%d" % number, net.now, wait=False)
                except FullError:
                    continue
        net.pump()
        if number % 3 == 0:
            message = nodes[0].take(receiver, net.now)
            if message is not None:
                got.append(message)
    net.advance(120_000)
    got += net.drain(nodes[0], receiver)
    told = net.seen(kind=events.UNDELIVERABLE)
    for node in nodes[1:]:
        flow = talk(node.routes.peers[A]).out_flows[E]
        mine = [message.seq for message in got if message.source == node.node_id]
        lost = [event.seq for event in net.seen(node, events.UNDELIVERABLE)]
        assert mine == sorted(mine)
        assert sorted(mine + lost) == list(range(1, flow.sent + 1))
        missed = sum(message.missed for message in got if message.source == node.node_id)
        if policy == codes.DROP_OLDEST:
            assert missed == len(lost)
    assert {event.reason for event in told} <= {codes.QUEUE_FULL if policy == codes.REFUSE else codes.DROPPED}


def test_anycast_receivers_of_one_node_share_and_broadcast_ones_each_get_a_copy() -> None:
    net = Pair()
    shared = [net.b.register(E, codes.ANYCAST) for _ in range(3)]
    copies = [net.b.register(F, codes.BROADCAST) for _ in range(3)]
    net.pump()
    for number in range(3):
        net.a.send(E, b"%d" % number, net.now)
        net.a.publish(F, b"%d" % number, net.now)
    net.pump()
    assert [len(receiver.queue) for receiver in shared] == [1, 1, 1]
    assert [payloads(net.drain(net.b, receiver)) for receiver in copies] == [[b"0", b"1", b"2"]] * 3
    assert sorted(p for r in shared for p in payloads(net.drain(net.b, r)) if isinstance(p, bytes)) == [
        b"0",
        b"1",
        b"2",
    ]
    net.b.deregister(shared[0], net.now)
    net.b.deregister(copies[0], net.now)
    net.pump()
    net.a.send(E, b"x", net.now)
    net.a.publish(F, b"y", net.now)
    net.pump()
    assert [len(receiver.queue) for receiver in shared[1:] + copies[1:]] == [1, 0, 1, 1]


def test_receivers_that_remain_take_over_the_credit_of_one_that_closed() -> None:
    net = Pair()
    going = net.b.register(E, codes.ANYCAST, queue_max=8)
    net.pump()
    fill(net, net.a, E, 8)
    net.pump()
    staying = net.b.register(E, codes.ANYCAST, queue_max=8)
    net.b.deregister(going, net.now)
    net.pump()
    assert len(net.drain(net.b, staying)) == 4
    assert len(net.seen(net.a, events.UNDELIVERABLE)) == 4


def test_a_queue_that_was_empty_is_told_once() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    fill(net, net.a, E, 3)
    net.pump()
    assert [event.receiver for event in net.fresh(net.b, events.MESSAGES)] == [receiver]
    fill(net, net.a, E, 1)
    net.pump()
    assert net.fresh(net.b, events.MESSAGES) == []
    net.drain(net.b, receiver)
    net.pump()
    fill(net, net.a, E, 1)
    net.pump()
    assert len(net.fresh(net.b, events.MESSAGES)) == 1


# Credit that origins share


def spread(numbers: dict[bytes, list[int]]) -> tuple[int, int]:
    shares = [len(mine) for mine in numbers.values()]
    return min(shares), max(shares)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_200_senders_to_one_slow_receiver_stay_within_its_budget_and_nobody_starves() -> None:
    net = Net()
    hub = net.node("h")
    receiver = hub.register(E, codes.UNICAST, queue_max=1000)
    senders = []
    for number in range(200):
        senders.append(Node(number.to_bytes(16, "big"), entropy=Entropy(number + 2), label="sender"))
        net.nodes.append(senders[-1])
        net.link(senders[-1], hub)
    net.pump()
    for node in senders:
        fill(net, node, E, 30)
    got: dict[bytes, list[int]] = {node.node_id: [] for node in senders}
    most = 0
    for turn in range(1000):  # seven messages a turn
        net.step()
        most = max(most, len(receiver.queue))
        for _ in range(7):
            message = hub.take(receiver, net.now)
            if message is not None:
                assert isinstance(message.payload, bytes)
                got[message.source].append(int(message.payload))
        if turn == 450:
            least, largest = spread(got)
            assert least >= 10
            assert largest - least <= 10
    assert spread(got) == (30, 30)
    assert all(numbers == list(range(30)) for numbers in got.values())
    assert most <= 500 + 200 * codes.OPENING_CREDIT  # half its queue shared, and what each may begin with
    assert (receiver.refused, receiver.dropped) == (0, 0)
    assert_settled(net)


def test_idle_origins_give_their_share_back() -> None:
    net = Net()
    nodes = net.mesh("abcde")
    receiver = nodes[0].register(E, codes.UNICAST, queue_max=80)
    net.pump()
    endpoint = receiver.endpoint
    for node in nodes[1:]:
        node.send(E, b"x", net.now)
    net.pump()
    net.drain(nodes[0], receiver)
    assert [endpoint.window(flow) for flow in endpoint.active] == [10] * 4
    net.advance(codes.FLOW_RECLAIM_MS + codes.SWEEP_MS)
    assert (endpoint.active, endpoint.shares) == ({}, {})
    assert talk(nodes[0].routes.peers[B]).in_flows
    net.advance(codes.FLOW_FORGET_IN_MS)
    assert talk(nodes[0].routes.peers[B]).in_flows == {}
    nodes[1].send(E, b"y", net.now)
    net.pump()
    assert payloads(net.drain(nodes[0], receiver)) == [b"y"]
    assert len(endpoint.active) == 1


def test_an_origin_that_comes_back_to_life_counts_again() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    fill(net, net.a, E, 1)
    net.pump()
    net.drain(net.b, receiver)
    net.advance(codes.FLOW_RECLAIM_MS + codes.SWEEP_MS)
    flow = talk(net.b.routes.peers[A]).in_flows[E]
    assert receiver.endpoint.active == {}
    fill(net, net.a, E, 1)
    net.pump()
    assert list(receiver.endpoint.active) == [flow]
    assert len(net.drain(net.b, receiver)) == 1


def test_what_is_queued_keeps_its_origin_in_mind() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    fill(net, net.a, E, 1)
    net.pump()
    net.advance(600_000)
    assert talk(net.b.routes.peers[A]).in_flows[E].active
    assert len(net.drain(net.b, receiver)) == 1


@pytest.mark.parametrize("kind", [codes.BROADCAST, codes.UNICAST])
def test_origin_that_counts_anew_after_a_pause_is_heard_though_its_former_messages_wait(kind: int) -> None:
    """A leaf forgets a pair that it has not used for a while, as it knows no directory."""
    net = Pair(a_node={"leaf": True})
    receiver = net.b.register(E, kind)
    net.pump()

    def say(payload: bytes) -> None:
        if kind == codes.BROADCAST:
            net.a.publish(E, payload, net.now)
        else:
            net.a.send(E, payload, net.now)

    for number in range(3):
        say(b"%d" % number)
    net.pump()
    net.advance(codes.FLOW_FORGET_OUT_MS + 2 * codes.SWEEP_MS)
    say(b"after")
    net.pump()
    assert payloads(net.drain(net.b, receiver)) == [b"0", b"1", b"2", b"after"]
    say(b"more")
    net.pump()
    assert [(each.payload, each.missed) for each in net.drain(net.b, receiver)] == [(b"more", 0)]


def test_a_node_alone_looks_after_its_own_pairs_for_a_while() -> None:
    net = Net()
    node = net.node("a")
    receiver = node.register(E, codes.UNICAST)
    node.send(E, b"x", net.now)
    net.drain(node, receiver)
    net.advance(codes.FLOW_FORGET_IN_MS)
    assert node.next_deadline() is not None
    net.advance(codes.FLOW_FORGET_OUT_MS)
    assert node.next_deadline() is None
    assert talk(node.me).in_flows == {}
    assert talk(node.me).out_flows == {}


def test_a_node_with_nothing_left_to_look_after_sets_no_timer() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    fill(net, net.a, E, 1)
    net.a.request(E, b"q", net.now, timeout_ms=10)
    net.pump()
    net.drain(net.b, receiver)
    net.cable.cut()
    net.advance(700_000)
    assert net.a.next_deadline() is None
    assert net.b.next_deadline() is None
    assert net.a.routes.departed == net.b.routes.departed == {}
