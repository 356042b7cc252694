"""Order, credit and backpressure of a pair; what becomes of one that is idle."""

from __future__ import annotations

from itertools import pairwise

import pytest

from busway.protocol import FullError, Limits, codes, events
from busway.protocol.messaging.correspondent import talk
from tests.protocol.helpers import A, B, assert_settled, fill, payloads
from tests.protocol.pairs import E, F, Net, Pair


def test_a_sender_waits_for_credit_and_nothing_is_lost_or_reordered() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST, queue_max=8)
    net.pump()
    tokens = fill(net, net.a, E, 500)
    assert tokens[:4] == [0] * 4
    assert all(tokens[4:])
    got: list[object] = []
    while len(got) < 500:
        net.pump()
        taken = payloads(net.drain(net.b, receiver))
        assert taken, "the sender stands still"
        got += taken
    assert got == [b"%d" % number for number in range(500)]
    net.pump()
    assert [o.token for o in net.seen(net.a, events.OUTCOME)] == tokens[4:]
    assert {o.status for o in net.seen(net.a, events.OUTCOME)} == {events.ACCEPTED}
    assert_settled(net)


def test_without_waiting_a_lack_of_credit_is_an_error_that_changes_nothing() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST, queue_max=8)
    net.pump()
    for number in range(4):
        net.a.send(E, b"%d" % number, net.now, wait=False)
    with pytest.raises(FullError):
        net.a.send(E, b"4", net.now, wait=False)
    with pytest.raises(FullError):
        net.a.request(E, b"4", net.now, wait=False)
    assert net.a.origin.pending == {}
    net.pump()
    net.drain(net.b, receiver)
    net.pump()
    assert net.a.send(E, b"4", net.now, wait=False) == 0
    net.pump()
    assert payloads(net.drain(net.b, receiver)) == [b"4"]
    assert net.b.receiving.counters["missed"] == 0


def test_a_link_that_does_not_drain_blocks_only_its_own_senders() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    slow = b.register(E, codes.UNICAST, size_max=1 << 30)
    quick = c.register(F, codes.UNICAST, size_max=1 << 30)
    net.pump()
    for node, endpoint, receiver in ((b, E, slow), (c, F, quick)):  # earn credit first
        for _ in range(20):
            a.send(endpoint, b"x", net.now)
            net.pump()
            net.drain(node, receiver)
            net.pump()
    net.cables[0].block(a)
    big = b"x" * 100_000
    accepted = 0
    while a.send(E, big, net.now) == 0:
        accepted += 1
    assert accepted == 11  # one MiB, then it waits
    assert a.send(F, big, net.now) == 0
    net.pump()
    assert len(net.drain(c, quick)) == 1
    with pytest.raises(FullError):
        a.send(E, big, net.now, wait=False)
    net.cables[0].block(a, False)
    net.pump()
    assert len(net.drain(b, slow)) == accepted + 1
    assert_settled(net)


def test_flows_that_wait_for_one_link_take_turns() -> None:
    net = Pair()
    uuids = [bytes([number]) * 16 for number in range(1, 6)]
    receivers = [net.b.register(uuid, codes.UNICAST, size_max=1 << 30) for uuid in uuids]
    net.pump()
    for _ in range(5):  # earn credit
        for uuid, receiver in zip(uuids, receivers, strict=True):
            fill(net, net.a, uuid, 4)
            net.pump()
            net.drain(net.b, receiver)
            net.pump()
    before = [receiver.taken for receiver in receivers]
    net.cable.block(net.a)
    for uuid in uuids:  # the first one to come fills the link, then all wait
        for _ in range(60):
            net.a.send(uuid, b"x" * 60_000, net.now)
    net.cable.block(net.a, False)
    for _ in range(100):
        net.step(size=131072)
    halfway = [len(receiver.queue) for receiver in receivers]
    assert 150 < sum(halfway) < 250
    assert min(halfway) > 20, halfway
    net.pump()
    for receiver in receivers:
        net.drain(net.b, receiver)
    assert [receiver.taken - taken for receiver, taken in zip(receivers, before, strict=True)] == [60] * 5


def test_a_blocked_sender_probes_after_its_credit_was_lost() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST, queue_max=8)
    net.pump()
    fill(net, net.a, E, 5)
    net.pump()
    net.drain(net.b, receiver)
    flow = talk(net.b.routes.peers[A]).in_flows[E]
    assert flow.credit_due
    net.cb.outbox.credits()  # the frame is lost
    net.pump()
    assert net.drain(net.b, receiver) == []
    net.advance(codes.PROBE_MS - 1)
    assert net.drain(net.b, receiver) == []
    net.advance(1)
    assert payloads(net.drain(net.b, receiver)) == [b"4"]
    assert net.a.origin.counters["probes"] == 1
    assert_settled(net)


def test_probes_come_at_doubling_intervals_up_to_30_seconds() -> None:
    net = Pair()
    net.b.register(E, codes.UNICAST, queue_max=8)
    net.pump()
    fill(net, net.a, E, 5)
    times = []
    start = net.now
    for _ in range(200_000 // 500):
        before = net.a.origin.counters["probes"]
        net.advance(500)
        if net.a.origin.counters["probes"] > before:
            times.append(net.now - start)
    assert times[:6] == [1000, 3000, 7000, 15000, 31000, 61000]
    assert {late - early for early, late in pairwise(times[5:])} == {30000}


def test_a_probe_makes_good_for_messages_that_were_lost() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST, queue_max=8)
    net.pump()
    net.a.send(E, b"0", net.now)
    net.pump()
    fill(net, net.a, E, 3)
    net.ca.outbox.leftovers()  # lost on the way, all three
    token = net.a.send(E, b"after", net.now)
    net.advance(codes.PROBE_MS)
    assert [o.status for o in net.outcomes(net.a, token)] == [events.ACCEPTED]
    first, after = net.drain(net.b, receiver)
    assert (first.missed, after.missed) == (0, 3)
    assert net.b.receiving.counters["missed"] == 3
    assert after.seq == 5


def test_a_gap_is_shown_to_the_receiver() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    fill(net, net.a, E, 1)
    net.pump()
    fill(net, net.a, E, 2)
    net.ca.outbox.leftovers()
    fill(net, net.a, E, 1)
    net.pump()
    assert [message.missed for message in net.drain(net.b, receiver)] == [0, 2]
    assert net.b.receiving.counters["missed"] == 2


def test_credit_that_repeats_or_is_old_changes_nothing() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    for _ in range(20):
        fill(net, net.a, E, 4)
        net.pump()
        net.drain(net.b, receiver)
        net.pump()
    flow = talk(net.a.routes.peers[B]).out_flows[E]
    limit = flow.limit
    for told in (limit, limit - 1, limit - 30000):
        net.a.origin.answers.credit(flow.peer, E, told & 0xFFFF, net.now)
        assert flow.limit == limit
    net.a.origin.answers.credit(flow.peer, E, (limit + 1) & 0xFFFF, net.now)
    assert flow.limit == limit + 1


def test_numbers_go_on_past_16_bits() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    for _ in range(2):
        fill(net, net.a, E, 4)
        net.pump()
        net.drain(net.b, receiver)
        net.pump()
    out = talk(net.a.routes.peers[B]).out_flows[E]
    into = talk(net.b.routes.peers[A]).in_flows[E]
    shift = 3 * 65536 - 10 - out.sent
    for number in range(2):  # both sides as if that many messages had passed
        out.sent += shift // 2 if number else shift - shift // 2
    out.limit += shift
    into.received += shift
    into.limit += shift
    got = []
    for number in range(50):
        net.a.send(E, b"%d" % number, net.now)
        net.pump()
        got += [(message.payload, message.missed) for message in net.drain(net.b, receiver)]
        net.pump()
    assert got == [(b"%d" % number, 0) for number in range(50)]
    assert net.b.receiving.counters["late"] == 0


# Idle pairs


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("idle_ms", [30_000, 65_000, 95_000, 125_000, 185_000, 245_000, 300_000, 1_000_000])
def test_a_pair_that_was_idle_goes_on_without_loss(idle_ms: int) -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    for _ in range(30):
        fill(net, net.a, E, 4)
        net.pump()
        net.drain(net.b, receiver)
        net.pump()
    net.advance(idle_ms)
    fill(net, net.a, E, 100)
    got = []
    for _ in range(20):
        net.advance(1000)
        got += net.drain(net.b, receiver)
    assert payloads(got) == [b"%d" % number for number in range(100)]
    assert net.b.receiving.counters["late"] == net.b.receiving.counters["missed"] == 0
    assert_settled(net)


def test_an_idle_origin_falls_back_to_its_opening_credit() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    for _ in range(10):
        fill(net, net.a, E, 4)
        net.pump()
        net.drain(net.b, receiver)
        net.pump()
    flow = talk(net.a.routes.peers[B]).out_flows[E]
    assert flow.limit > flow.sent + 4
    net.advance(codes.FLOW_FALLBACK_MS + codes.SWEEP_MS)
    assert flow.limit == flow.sent + 4


def test_a_flow_in_use_is_left_alone_by_the_sweep() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST, queue_max=8)
    net.pump()
    fill(net, net.a, E, 9)
    net.pump()
    net.advance(300_000)
    flow = talk(net.a.routes.peers[B]).out_flows[E]
    assert len(flow.waiting) == 5
    got = []
    for _ in range(3):
        got += payloads(net.drain(net.b, receiver))
        net.advance(60_000)
    assert got == [b"%d" % number for number in range(9)]


# A neighbour that was stopped, or asleep: it cannot tell how long


class Stopped:
    """Node b is stopped with ten messages of a unread; node a lives on for ten minutes."""

    def __init__(self, kind: int, *, gone: bool) -> None:
        self.net = net = Pair()
        self.kind = kind
        self.receiver = net.b.register(E, kind)
        net.pump()
        self.put(range(10))
        net.drain(net.b, self.receiver)
        net.pump()
        for number in range(10, 20):
            self.send(number)
        cable = net.cable
        cable.end(net.cb).inbox += net.ca.data_to_send(1 << 20, net.now)
        net.cables, net.nodes = [], [net.a]
        if gone:  # a gives the link up
            cable.end(net.ca).unplugged = True
            net.note(net.a, net.ca.receive_eof(net.now))
        net.advance(600_000)
        net.cables, net.nodes = [cable], [net.a, net.b]

    def send(self, number: int) -> None:
        send = self.net.a.publish if self.kind == codes.BROADCAST else self.net.a.send
        send(E, b"%d" % number, self.net.now)

    def put(self, numbers: range) -> None:
        for number in numbers:
            self.send(number)
            self.net.pump()


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("kind", [codes.UNICAST, codes.BROADCAST])
def test_what_comes_after_a_long_stop_is_not_late(kind: int, gone: bool) -> None:
    case = Stopped(kind, gone=gone)
    net = case.net
    net.pump()  # b wakes and reads
    if gone:
        net.link(net.a, net.b)
        net.pump()
    case.put(range(20, 40))
    net.advance(1000)
    got = net.drain(net.b, case.receiver)
    assert payloads(got) == [b"%d" % number for number in range(10, 40)]
    assert [message.missed for message in got] == [0] * 30
    assert net.b.receiving.counters["late"] == 0


def test_a_new_link_that_is_read_first_waits_for_what_the_old_one_brought() -> None:
    """Both wait to be read when b wakes, and it happens to look at the new one first."""
    case = Stopped(codes.UNICAST, gone=True)
    net = case.net
    old = net.cable
    new = net.link(net.a, net.b)
    net.cables = [new]
    net.pump()
    case.put(range(20, 30))
    net.cables = [old, new]
    net.pump()
    case.put(range(30, 40))
    net.advance(10_000)
    got = net.drain(net.b, case.receiver)
    assert payloads(got) == [b"%d" % number for number in range(10, 40)]
    assert net.b.receiving.counters["late"] == 0
    assert_settled(net)


def test_a_probe_over_a_new_link_starts_a_forgotten_pair_anew() -> None:
    case = Stopped(codes.UNICAST, gone=True)
    net = case.net
    net.pump()
    net.link(net.a, net.b)
    net.pump()
    for number in range(4):
        case.send(number)
    flow = talk(net.a.routes.peers[B]).out_flows[E]
    assert flow.sent == 4
    net.cables[-1].a.outbox.leftovers()  # lost
    case.send(4)
    net.advance(codes.PROBE_MS)
    got = net.drain(net.b, case.receiver)
    assert payloads(got)[-1] == b"4"
    assert net.b.receiving.counters["late"] == 0


def test_bursts_a_minute_apart_do_not_stand_still() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    for _ in range(5):
        fill(net, net.a, E, 100)
        net.advance(2)  # one for the probe
        assert payloads(net.drain(net.b, receiver)) == [b"%d" % number for number in range(100)]
        net.advance(95_000)


def test_a_probe_follows_the_messages_that_it_counts() -> None:
    """Also when the link was blocked for so long that the probe and they leave together."""
    net = Pair(limits=Limits(frame_size_max=2000))
    receiver = net.b.register(E, codes.UNICAST, queue_max=8)
    net.pump()
    net.cable.block(net.a)
    sizes = [10, 30_000, 10, 30_000, 10, 10]
    for size in sizes:
        net.a.send(E, bytes(size), net.now)
    net.advance(3500)
    assert net.a.origin.counters["probes"] == 2
    net.cable.block(net.a, False)
    net.pump()
    got = net.drain(net.b, receiver)
    net.pump()
    got += net.drain(net.b, receiver)
    assert [len(message.payload) for message in got] == sizes
    assert net.b.receiving.counters["late"] == net.b.receiving.counters["missed"] == 0


def test_a_probe_moves_to_another_link_with_the_messages_before_it() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST, queue_max=8)
    net.link(net.a, net.b, via="tcp://h:1", realm=codes.LOCALNET)
    net.pump()
    net.cable.block(net.a)
    fill(net, net.a, E, 5)
    net.advance(codes.PROBE_MS)
    net.cable.cut()
    net.pump()
    got = payloads(net.drain(net.b, receiver))
    net.pump()
    assert got + payloads(net.drain(net.b, receiver)) == [b"%d" % number for number in range(5)]
    assert net.b.receiving.counters["late"] == net.b.receiving.counters["missed"] == 0


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_large_queue_opens_no_larger_window_than_can_be_told() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST, queue_max=1_000_000, size_max=1 << 40)
    net.pump()
    sent = 0
    for _ in range(4):
        for _ in range(20_000):
            net.a.send(E, b"", net.now)
            sent += 1
        net.pump(1 << 20)
        assert talk(net.a.routes.peers[B]).out_flows[E].limit <= sent + codes.WINDOW_MAX
        net.drain(net.b, receiver)
        net.pump(1 << 20)
        net.drain(net.b, receiver)
    net.pump()
    net.drain(net.b, receiver)
    assert receiver.taken == sent


def test_what_a_second_link_tells_again_takes_no_credit_away() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    for _ in range(10):
        fill(net, net.a, E, 4)
        net.pump()
        net.drain(net.b, receiver)
        net.pump()
    flow = talk(net.a.routes.peers[B]).out_flows[E]
    credit = flow.limit - flow.sent
    assert credit > codes.OPENING_CREDIT
    net.link(net.a, net.b, via="tcp://h:1")
    net.pump()
    assert flow.limit - flow.sent == credit
