"""Broadcasts that a full queue has no room for: the newest is kept, losses are told when a burst ends, and a
publish waits a little for those that read.
"""

from __future__ import annotations

import pytest

from busway.protocol import FullError, Limits, LocalError, Node, Receiver, codes, events
from busway.protocol.messaging.endpoints import InFlow
from busway.protocol.messaging.leaving import replace
from tests.protocol.helpers import assert_settled, payloads
from tests.protocol.nets import Mesh
from tests.protocol.pairs import E, F, G, Net, Pair, node_of

BIG = 100_000  # bytes, of which a link's broadcast queue takes 11
PATIENCE = 500


class Fork(Net):
    """`a` publishes, `b` is slow, `c` reads at once."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = self.mesh("abc")
        self.slow = self.b.register(E, codes.BROADCAST)
        self.quick = self.c.register(E, codes.BROADCAST)
        self.pump()
        self.cables[0].block(self.a)

    def burst(self, count: int, size: int = BIG) -> None:
        for number in range(count):
            assert self.a.publish(E, b"%03d" % number + bytes(size - 3), self.now) == 0
            self.pump()

    def unblock(self) -> None:
        self.cables[0].block(self.a, False)
        self.pump()


def passed_on(count: int) -> tuple[Mesh, Receiver]:
    """a and d have published so much, which b has for c; c reads nothing."""
    net = Mesh()
    net.add("abcd")
    net.join("ab bc db")
    net.pump()
    slow = net["c"].register(E, codes.BROADCAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    for number in range(count):
        for source in "ad":
            net[source].publish(E, b"%s%02d" % (source.encode(), number) + bytes(BIG), net.now)
            net.pump()
    return net, slow


def fates(net: Fork, tokens: list[int]) -> list[list[int]]:
    return [[outcome.status for outcome in net.outcomes(net.a, token)] for token in tokens]


def summary(net: Net, node: Node, receiver: Receiver) -> list[tuple[bytes, int]]:
    return [(message.payload[:3], message.missed) for message in net.drain(node, receiver)]


def test_after_a_burst_a_slow_subscriber_has_the_last_value_and_hears_what_it_missed() -> None:
    net = Fork()
    net.burst(30)
    net.unblock()
    got = summary(net, net.b, net.slow)
    assert got[:11] == [(b"%03d" % number, 0) for number in range(11)]
    assert got[11:] == [(b"029", 18)]
    assert net.a.origin.counters["broadcast_dropped"] == 18
    assert len(net.drain(net.c, net.quick)) == 30


def test_what_is_kept_goes_before_what_comes_when_there_is_room_again() -> None:
    net = Fork()
    net.burst(12)
    # Room, but the queue is not low yet.
    net.cables[0].ends[1].inbox += net.cables[0].a.data_to_send(200_000, net.now)
    net.burst(1)
    net.unblock()
    assert [payload for payload, _ in summary(net, net.b, net.slow)][-2:] == [b"011", b"000"]
    assert net.a.origin.counters["broadcast_dropped"] == 0


def test_the_newest_of_each_endpoint_is_kept_within_the_bound_of_a_queue() -> None:
    """Of three endpoints with 500,000 bytes each one gives way: what it lost is told all the same."""
    net = Fork()
    receivers = {}
    for endpoint in (F, G):
        receivers[endpoint] = net.b.register(endpoint, codes.BROADCAST)
        net.c.register(endpoint, codes.BROADCAST)
    net.pump()
    net.burst(11)
    backlog = net.cables[0].a.backlog
    for endpoint in (E, F, G):
        net.a.publish(endpoint, bytes(500_000), net.now)
    assert backlog.size <= codes.BROADCAST_SIZE_MAX
    assert len(backlog.kept) == 2
    net.unblock()
    assert (backlog.size, backlog.kept) == (0, {})
    assert len(net.drain(net.b, net.slow)) == 11
    assert net.slow.missed() == 1
    assert [len(net.drain(net.b, receiver)) for receiver in receivers.values()] == [1, 1]
    net.a.publish(E, b"next", net.now)
    net.pump()
    assert [message.missed for message in net.drain(net.b, net.slow)] == [1]
    assert net.slow.missed() == 0


def test_a_publish_too_large_for_a_link_is_told_at_once() -> None:
    net = Pair(b_node={"limits": Limits(message_size_max=100)})
    theirs = net.b.register(E, codes.BROADCAST)
    net.pump()
    net.a.publish(E, b"small", net.now)
    net.a.publish(E, bytes(101), net.now)
    net.pump()
    assert len(net.drain(net.b, theirs)) == 1
    assert theirs.missed() == 1


def test_a_best_effort_copy_is_not_kept_and_its_loss_is_told() -> None:
    net = Fork()
    net.burst(11)
    net.a.publish(E, b"lost", net.now, best_effort=True)
    assert net.cables[0].a.backlog.kept == {}
    net.unblock()
    assert len(net.drain(net.b, net.slow)) == 11
    assert net.slow.missed() == 1


def test_what_is_kept_moves_to_another_link_of_the_same_node() -> None:
    net = Fork()
    net.link(net.a, net.b, via="tcp://h:1", realm=codes.LOCALNET)
    net.pump()
    net.burst(13)
    net.cables[0].cut()
    net.pump()
    assert summary(net, net.b, net.slow)[-1] == (b"012", 1)


def test_what_is_kept_for_a_narrow_realm_does_not_move_to_a_wider_link() -> None:
    net = Fork()  # USERSPACE
    net.link(net.a, net.b, via="tcp://h:1", realm=codes.LOCALNET)
    near, far = [net.b.register(endpoint, codes.BROADCAST) for endpoint in (F, G)]
    for endpoint in (F, G):
        net.c.register(endpoint, codes.BROADCAST)  # else the publisher waits
    net.pump()
    net.burst(11)
    net.a.publish(F, b"near", net.now, realm=codes.USERSPACE)
    net.a.publish(G, b"far", net.now)
    assert len(net.cables[0].a.backlog.kept) == 2
    net.cables[0].cut()
    net.pump()
    assert payloads(net.drain(net.b, near)) == []
    assert payloads(net.drain(net.b, far)) == [b"far"]
    assert net.b.counters["beyond_realm"] == 0  # it was not even sent


def test_what_is_kept_follows_the_tree_to_another_link() -> None:
    net = Fork()
    net.burst(12)
    assert net.cables[0].a.take_broadcasts(net.b.me.key) == []
    kept = net.cables[0].a.take_broadcasts(b"")
    assert [out.payload[:3] for out in kept][-1:] == [b"011"]
    assert net.cables[0].a.backlog.size == 0


def test_what_is_kept_of_another_tree_stays() -> None:
    net, slow = passed_on(12)
    backlog = net.cable["bc"].a.backlog
    assert [out.payload[:3] for out in backlog.take_all(net["a"].me.key)] == [b"a11"]
    net.cable["bc"].block(net["b"], False)
    net.pump()
    got = [payload for payload, _ in summary(net, net["c"], slow)]
    assert b"d11" in got
    assert b"a11" not in got
    assert (backlog.size, backlog.kept) == (0, {})


def test_a_node_in_between_keeps_the_newest_of_each_source() -> None:
    net, slow = passed_on(20)
    net.cable["bc"].block(net["b"], False)
    net.pump()
    last = {}
    for message in net.drain(net["c"], slow):
        last[message.source[:1]] = bytes(message.payload[:3])
    assert last == {b"a": b"a19", b"d": b"d19"}


def test_many_that_are_kept_go_on_as_there_is_room() -> None:
    net = Fork()
    topics = [b"topic-%010d" % number for number in range(40)]
    receivers = [net.b.register(topic, codes.BROADCAST) for topic in topics]
    for topic in topics:
        net.c.register(topic, codes.BROADCAST)
    net.pump()
    net.burst(11)
    for topic in topics:
        net.a.publish(topic, bytes(26_000), net.now)
    backlog = net.cables[0].a.backlog
    assert len(backlog.kept) == 40
    end = net.cables[0].ends[1]
    while len(backlog.kept) == 40:  # until the queue is low, and has room for most of them
        end.inbox += net.cables[0].a.data_to_send(50_000, net.now)
    assert 0 < len(backlog.kept) < 40
    net.unblock()
    assert [len(net.drain(net.b, receiver)) for receiver in receivers] == [1] * 40


def test_a_broadcast_of_others_that_is_too_large_for_a_link_is_no_loss_of_ours() -> None:
    net = Mesh()
    net.add("ab")
    net.add("c", limits=Limits(message_size_max=100))
    net.join("ab bc")
    net.pump()
    receiver = net["c"].register(E, codes.BROADCAST)
    net.pump()
    net["b"].publish(E, b"ours", net.now)
    net["a"].publish(E, bytes(101), net.now)
    net.pump()
    assert net["b"].origin.counters["broadcast_dropped"] == 1
    assert net.payloads("c", receiver) == [b"ours"]
    assert receiver.missed() == 0


# Waiting


def test_a_publish_waits_for_a_link_that_reads() -> None:
    net = Fork()
    net.burst(11)
    token = net.a.publish(E, b"012", net.now, patience_ms=PATIENCE)
    assert token
    with pytest.raises(FullError):
        net.a.publish(E, b"013", net.now, patience_ms=PATIENCE, wait=False)
    assert len(net.drain(net.c, net.quick)) == 11  # nobody has it before there is room for all
    net.unblock()
    assert fates(net, [token]) == [[events.ACCEPTED]]
    assert summary(net, net.b, net.slow)[-1] == (b"012", 0)
    assert net.a.origin.counters["broadcast_dropped"] == 0
    assert_settled(net)


def test_a_link_that_does_not_read_holds_a_publisher_up_once() -> None:
    net = Fork()
    net.burst(11)
    tokens = [net.a.publish(E, b"%03d" % number, net.now, patience_ms=PATIENCE) for number in range(3)]
    assert all(tokens)
    net.advance(PATIENCE - 1)
    assert fates(net, tokens) == [[], [], []]
    net.advance(1)
    assert fates(net, tokens) == [[events.ACCEPTED]] * 3
    assert net.a.publish(E, b"003", net.now, patience_ms=PATIENCE) == 0  # it is known to lag
    net.pump()
    assert payloads(net.drain(net.c, net.quick))[11:] == [b"000", b"001", b"002", b"003"]
    net.unblock()
    assert summary(net, net.b, net.slow)[-1] == (b"003", 3)
    net.cables[0].block(net.a)  # it has caught up: it is waited for again
    net.burst(11)
    assert net.a.publish(E, b"004", net.now, patience_ms=PATIENCE)


def test_a_publish_that_wants_no_loss_waits_as_long_as_it_takes() -> None:
    net = Fork()
    net.burst(11)
    first = net.a.publish(E, b"one", net.now, patience_ms=-1)
    behind = net.a.publish(E, b"two", net.now, patience_ms=PATIENCE)
    net.advance(60_000)
    assert fates(net, [first, behind]) == [[], []]
    net.unblock()
    assert fates(net, [first, behind]) == [[events.ACCEPTED]] * 2
    assert [payload for payload, _ in summary(net, net.b, net.slow)][-2:] == [b"one", b"two"]


def test_what_waited_behind_another_has_its_own_patience() -> None:
    net = Fork()
    net.burst(11)
    first = net.a.publish(E, b"one", net.now, patience_ms=-1)
    behind = net.a.publish(E, b"two", net.now, patience_ms=PATIENCE)
    net.advance(PATIENCE)
    assert fates(net, [first, behind]) == [[], []]
    net.a.cancel(first, net.now)
    net.advance(PATIENCE)
    assert fates(net, [first, behind]) == [[events.CANCELLED], [events.ACCEPTED]]


def test_patience_is_a_time() -> None:
    net = Fork()
    for patience in (-2, 1 << 31):
        with pytest.raises(LocalError, match="patience_ms must be"):
            net.a.publish(E, b"x", net.now, patience_ms=patience)


# Policies


@pytest.mark.parametrize("policy", [codes.REFUSE, codes.DROP_NEWEST])
def test_what_a_subscriber_has_no_room_for_is_seen(policy: int) -> None:
    net = Pair()
    receiver = net.b.register(E, codes.BROADCAST, queue_max=2, policy=policy)
    net.pump()
    for number in range(10):
        net.a.publish(E, b"%d" % number, net.now)
    net.pump()
    assert (receiver.dropped, receiver.missed()) == (8, 8)
    assert payloads(net.drain(net.b, receiver)) == [b"0", b"1"]
    assert receiver.missed() == 8  # the burst is over, and nothing has shown it yet
    net.a.publish(E, b"next", net.now)
    net.pump()
    assert [message.missed for message in net.drain(net.b, receiver)] == [8]
    assert receiver.missed() == 0


def test_latest_keeps_the_newest_of_each_origin() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    receiver = c.register(E, codes.BROADCAST, policy=codes.LATEST)
    net.pump()
    for number in range(5):
        for node in (a, b):
            node.publish(E, b"%d" % number * (number + 1), net.now)
        net.pump()
    c.publish(E, b"own", net.now)
    got = net.drain(c, receiver)
    assert [(message.source[:1], message.payload, message.missed) for message in got] == [
        (b"a", b"44444", 4),
        (b"b", b"44444", 4),
        (b"c", b"own", 0),
    ]
    assert (receiver.dropped, receiver.size) == (8, 0)
    a.publish(E, b"5", net.now)
    net.pump()
    assert [(message.payload, message.missed) for message in net.drain(c, receiver)] == [(b"5", 0)]


def test_latest_is_bounded_and_forgets_who_is_gone() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    d = net.node("d")
    net.link(d, c)
    receiver = c.register(E, codes.BROADCAST, queue_max=2, policy=codes.LATEST)
    net.pump()
    for node in (a, b, d, a):
        node.publish(E, node.label.encode(), net.now)
        net.pump()
    assert receiver.missed() == 1  # d found two others waiting
    assert [(message.payload, message.missed) for message in net.drain(c, receiver)] == [(b"A", 1), (b"B", 0)]
    a.publish(E, b"last", net.now)
    net.pump()
    for cable in net.cables:
        if a in (node_of(cable.a), node_of(cable.b)):
            cable.cut()
    assert receiver.latest is not None
    assert all(isinstance(flow, InFlow) and flow.active for flow in receiver.latest.places)
    assert payloads(net.drain(c, receiver)) == [b"last"]


def test_latest_of_a_node_without_a_way_here_is_queued_like_any() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.BROADCAST, policy=codes.LATEST)
    net.pump()
    net.a.publish(E, b"1", net.now)
    net.pump()
    assert receiver.latest is not None
    [flow] = receiver.latest.places
    assert isinstance(flow, InFlow)
    receiver.endpoint.deactivate(flow)
    assert receiver.latest.places == {}
    message = receiver.queue.peek()
    assert not replace(receiver, message, 1)
    assert receiver.latest.places == {}


def test_the_newest_is_dated_when_it_came() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.BROADCAST, policy=codes.LATEST)
    net.pump()
    for payload in (b"1", b"2"):
        net.now += 500
        net.a.publish(E, payload, net.now)
        net.pump()
    [message] = net.drain(net.b, receiver)
    assert (message.payload, message.received_at) == (b"2", net.now / 1000)
