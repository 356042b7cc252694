"""A leaf that sleeps: what is meant for it waits at its router, bounded, and each message has its outcome."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import FullError, Link, Node, codes, events
from busway.protocol.leaf.frames import Message
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.leaf.sleeping import announce
from busway.protocol.leaf.state import Receiver
from busway.protocol.link.queue import OVERHEAD
from busway.protocol.wire.messages import signal

from .leaves import Cord, LeafNet
from .pairs import E, Entropy, F, G, Pair

KINDS: dict[str, dict[str, Any]] = {
    "stream": {},
    "serial": {"sort": "packet"},
    "packets": {"sort": "packet", "mtu": 20},
}
HOUR = 3_600_000


class SleepNet(LeafNet):
    """A leaf whose router `m` has a neighbour `n`; while it is asleep nothing that is written reaches it."""

    def __init__(self, kind: str = "serial") -> None:
        super().__init__("mn")
        self.cord.cut()
        self.options = {"keepalive_ms": 5000, **KINDS[kind]}
        self.asleep = False
        self.whispered = 0  # bytes that were written to a sleeper
        self.far = self.nodes[1]
        self.lay(self.leaf)

    def lay(self, leaf: Leaf, ms: int = 1500) -> None:
        self.leaf = leaf
        self.cord = self.plug(leaf, self.router, **self.options)
        self.run(ms)

    def reset(self, leaf: Leaf) -> Any:
        """Another program on the same line: the router notices only by its new session."""
        former = self.cord.other
        self.cords.clear()
        self.asleep = False
        self.leaf = leaf
        line = leaf.connection(Link(codes.LOCALNET, True, via="cord", **self.options), self.now)
        self.cord = Cord(self, leaf, line, self.router, former)
        self.cords.append(self.cord)
        self.run(500)
        there = self.router.connection(Link(codes.LOCALNET, via="cord", **self.options), self.now)
        self.cord.other = there
        self.run(3000)
        return former

    def run(self, ms: int, step: int = 10) -> None:
        for _ in range(0, ms, step):
            self.now += step
            self.fire()
            self.step()
            for cord in list(self.cords):
                self.turn(cord)
            self.step()

    def turn(self, cord: Cord) -> None:
        here, there = cord.connection, cord.other
        for _ in range(20):
            back = there.data_to_send(200, self.now)
            if self.asleep:
                self.whispered += len(back)
                break
            data = here.data_to_send(200, self.now)
            self.hear(cord.leaf, cord.leaf.take_events())
            if data:
                self.note(self.router, there.receive_data(data, self.now))
            if back:
                self.hear(cord.leaf, here.receive_data(back, self.now))
            if not data and not back:
                break
        if not self.asleep:
            self.hear(cord.leaf, cord.leaf.handle_timer(self.now))
            if here.done:
                cord.cut()

    def nap(self, ms: int) -> None:
        announce(self.cord.connection, ms, self.now)
        self.run(500)
        self.asleep = True
        self.cord.connection.sleeping = b""

    def wake(self, *receivers: Receiver) -> list[Message]:
        """Returns what the program takes in the 3 seconds that follow."""
        self.asleep = False
        announce(self.cord.connection, 0, self.now)
        return self.work(*receivers)

    def work(self, *receivers: Receiver, ms: int = 3000) -> list[Message]:
        found = []
        for _ in range(0, ms, 20):
            self.run(20)
            for receiver in receivers:
                found += self.taken(receiver, self.leaf)
        return found

    def fates(self, node: Node, tokens: list[int]) -> list[list[tuple[int, int]]]:
        return [[(event.status, event.code) for event in self.outcomes(node, token)] for token in tokens]


def links_of(net: SleepNet) -> list[dict[str, Any]]:
    rows: Any = net.router.report(net.now)["links"]
    found: list[dict[str, Any]] = rows
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", [0, 1], ids=["its router", "another node"])
@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_what_is_meant_for_a_sleeper_reaches_it_when_it_wakes(kind: str, which: int) -> None:
    net = SleepNet(kind)
    sent = net.leaf.register(E, codes.UNICAST)
    heard = net.leaf.register(F, codes.BROADCAST)
    asked = net.leaf.register(G, codes.ANYCAST)
    net.run(500)
    node = net.nodes[which]
    net.nap(60_000)
    for number in range(3):
        assert node.send(E, b"%d" % number, net.now) == 0
        node.publish(F, b"news %d" % number, net.now)
    confirmed = node.send(E, b"3", net.now, confirm=True, timeout_ms=100_000)
    question = node.request(G, b"?", net.now, timeout_ms=100_000)
    impatient = node.request(G, b"now?", net.now, timeout_ms=10_000)
    net.run(20_000)
    (link,) = [one for one in links_of(net) if one["peer"] == net.leaf.node_id]
    assert 39_000 < link["asleep_ms"] < 40_000
    assert link["queued_bytes"] > 7 * OVERHEAD
    net.run(40_000)
    assert net.whispered == 0
    assert net.fates(node, [confirmed, question]) == [[], []]
    assert net.fates(node, [impatient]) == [[(events.TIMED_OUT, codes.EXPIRED)]]
    assert net.cord.other.state == codes.OPEN

    assert [message.payload for message in net.wake(sent)] == [b"0", b"1", b"2", b"3"]
    assert {link["asleep_ms"] for link in links_of(net)} == {-1}
    assert [message.payload for message in net.taken(heard)] == [b"news 0", b"news 1", b"news 2"]
    for request in net.taken(asked):
        assert request.payload == b"?"
        net.leaf.respond(request, b"!", net.now)
    net.run(20_000)
    assert net.fates(node, [confirmed, question]) == [[(events.TAKEN, 0)], [(events.REPLIED, 0)]]
    assert net.cord.connection.state == net.cord.other.state == codes.OPEN
    assert net.seen(kind=events.UNDELIVERABLE) == []


@pytest.mark.parametrize("which", [0, 1], ids=["its router", "another node"])
def test_what_does_not_fit_waits_at_its_sender_or_is_refused_there(which: int) -> None:
    net = SleepNet()
    receiver = net.leaf.register(E, codes.UNICAST)
    net.run(500)
    node = net.nodes[which]
    net.nap(HOUR)
    tokens = [node.send(E, b"%d" % number, net.now) for number in range(8)]
    assert [token == 0 for token in tokens] == [True] * 4 + [False] * 4  # the credit of a pair that begins
    with pytest.raises(FullError, match="credit"):
        node.send(E, b"more", net.now, wait=False)
    late = node.send(E, b"late", net.now, confirm=True)
    unwanted = node.request(E, b"unwanted", net.now, timeout_ms=HOUR)
    net.run(31_000)
    assert net.fates(node, tokens[4:]) == [[]] * 4
    assert net.fates(node, [late]) == [[(events.UNDELIVERED, codes.EXPIRED)]]
    node.cancel(unwanted, net.now)
    assert [message.payload for message in net.wake(receiver)] == [b"%d" % number for number in range(8)]
    assert net.fates(node, tokens[4:]) == [[(events.ACCEPTED, 0)]] * 4


def test_broadcasts_beyond_their_queue_are_missed_and_that_shows() -> None:
    net = SleepNet()
    net.leaf.queue_size_max = 65536
    receiver = net.leaf.register(E, codes.BROADCAST, queue_max=200)
    net.run(500)
    net.nap(60_000)
    for _ in range(200):
        net.far.publish(E, bytes(100), net.now)
    net.run(1000)
    waiting = len(net.cord.other.outbox.broadcasts)
    assert waiting * (100 + 32) <= codes.PACKET_BROADCAST_SIZE_MAX + 132
    assert net.router.origin.counters["broadcast_dropped"] == 199 - waiting
    woken = [message.missed for message in net.wake(receiver)]
    assert woken == [0] * waiting + [199 - waiting]  # and the newest, which was kept
    net.far.publish(E, b"next", net.now)
    net.run(1000)
    assert [(message.payload, message.missed) for message in net.taken(receiver)] == [(b"next", 0)]


def test_a_full_mailbox_refuses_and_each_sender_is_told() -> None:
    net = SleepNet()
    receiver = net.leaf.register(E, codes.UNICAST)
    net.run(500)
    net.nap(HOUR)
    assert net.far.send(E, b"first", net.now) == 0
    net.run(100)
    outbox = net.cord.other.outbox
    outbox.transit.size += codes.TRANSIT_SIZE_MAX  # as if others had sent so much
    assert net.far.send(E, b"plain", net.now) == 0
    confirmed = net.far.send(E, b"confirmed", net.now, confirm=True, timeout_ms=HOUR)
    asked = net.far.request(E, b"asked", net.now, timeout_ms=HOUR)
    net.run(100)
    full = [(events.UNDELIVERED, codes.QUEUE_FULL)]
    assert net.fates(net.far, [confirmed, asked]) == [full, full]
    assert [event.reason for event in net.seen(net.far, events.UNDELIVERABLE)] == [codes.QUEUE_FULL]
    outbox.transit.size -= codes.TRANSIT_SIZE_MAX
    assert [message.payload for message in net.wake(receiver)] == [b"first"]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_those_who_wait_for_credit_do_not_fill_the_mailbox_with_questions() -> None:
    net = SleepNet()
    receivers = [net.leaf.register(uuid, codes.UNICAST, queue_max=16) for uuid in (E, F)]
    net.run(500)
    net.nap(2 * HOUR)
    for node in net.nodes:
        for uuid in (E, F):
            for number in range(6):
                node.send(uuid, b"%d" % number, net.now)
    net.run(1000)
    outbox = net.cord.other.outbox
    before = (len(outbox.queue), outbox.transit.size, len(outbox.answers))
    net.run(2 * HOUR, 500)
    assert (len(outbox.queue), outbox.transit.size, len(outbox.answers)) == before
    got = net.wake(*receivers)
    for node in net.nodes:
        for uuid in (E, F):
            mine = [m.payload for m in got if (m.source, m.endpoint) == (node.node_id, uuid)]
            assert mine == [b"%d" % number for number in range(6)]


def test_a_sleeper_is_not_cut_off_for_what_it_cannot_read() -> None:
    net = SleepNet()
    net.nap(60_000)
    there = net.cord.other
    for _ in range(codes.ANSWERS_MAX + 1):
        there.answer(signal(codes.CREDIT, there.peer.key, F))
    net.run(1000)
    assert len(there.outbox.answers) == codes.ANSWERS_MAX >> 1
    assert net.router.forwarder.counters["unroutable"] == codes.ANSWERS_MAX // 2 + 1
    assert there.dropped_answers == codes.ANSWERS_MAX // 2 + 1
    net.wake()
    assert net.cord.other.state == codes.OPEN


@pytest.mark.parametrize("kind", KINDS)
def test_the_announcement_goes_behind_all_that_waits_and_again_behind_what_comes_of_itself(
    kind: str,
) -> None:
    net = SleepNet(kind)
    receiver = net.router.register(E, codes.BROADCAST)
    net.run(500)
    for _ in range(3):
        net.leaf.publish(E, bytes(100), net.now)
    announce(net.cord.connection, 30_000, net.now)
    net.run(500)
    assert len(net.drain(net.router, receiver)) == 3
    assert net.cord.other.asleep_until > net.now
    net.leaf.publish(E, b"an afterthought", net.now)
    net.run(500)
    assert len(net.drain(net.router, receiver)) == 1
    assert net.cord.other.asleep_until > net.now
    net.cord.connection.sleeping = b""
    net.leaf.publish(E, b"awake", net.now)
    net.run(500)
    assert len(net.drain(net.router, receiver)) == 1
    assert net.cord.other.asleep_until == -1


@pytest.mark.parametrize("kind", KINDS)
def test_who_wakes_early_notices_soon_that_its_router_is_gone(kind: str) -> None:
    net = SleepNet(kind)
    net.nap(HOUR)
    net.run(1000)
    net.wake()
    former = net.cord.connection
    net.cords.clear()
    for _ in range(40):
        net.now += 500
        former.data_to_send(200, net.now)
        net.hear(net.leaf, net.leaf.handle_timer(net.now))
    assert former.close_code == codes.SILENT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_who_never_wakes_is_given_up_and_all_that_waited_is_answered(kind: str) -> None:
    net = SleepNet(kind)
    net.leaf.register(E, codes.UNICAST)
    net.run(500)
    net.nap(60_000)
    tokens = [node.send(E, b"c", net.now, confirm=True, timeout_ms=HOUR) for node in (net.router, net.far)]
    for node in (net.router, net.far):
        assert node.send(E, b"plain", net.now) == 0
    net.run(59_000)
    assert [event.code for event in net.closings(net.cord.other)] == []
    net.run(20_000)
    assert [event.code for event in net.closings(net.cord.other)] == [codes.SILENT]
    assert net.fates(net.router, tokens[:1]) == [[(events.UNDELIVERED, codes.NO_ROUTE)]]
    assert net.fates(net.far, tokens[1:]) == [[(events.UNKNOWN, codes.NO_ROUTE)]]  # it left that node
    for node in (net.router, net.far):
        assert [event.reason for event in net.seen(node, events.UNDELIVERABLE)] == [codes.NO_ROUTE]


@pytest.mark.parametrize("kind", KINDS)
def test_who_closes_does_not_wait_for_a_sleeper(kind: str) -> None:
    net = SleepNet(kind)
    net.leaf.register(E, codes.UNICAST)
    net.run(500)
    net.nap(HOUR)
    token = net.far.send(E, b"c", net.now, confirm=True, timeout_ms=HOUR)
    assert net.far.send(E, b"plain", net.now) == 0
    net.run(100)
    there = net.cord.other
    net.router.close(net.now)
    net.run(codes.LINGER_MS + 100)
    assert there.done
    assert net.fates(net.far, [token]) == [[(events.UNKNOWN, codes.NO_ROUTE)]]
    assert [event.reason for event in net.seen(net.far, events.UNDELIVERABLE)] == [codes.NO_ROUTE]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("kind", KINDS)
def test_a_link_that_does_not_outlive_the_sleep_takes_its_mail_with_it_and_each_sender_is_told(
    kind: str,
) -> None:
    net = SleepNet(kind)
    receiver = net.leaf.register(E, codes.UNICAST)
    net.run(500)
    net.nap(HOUR)
    token = net.router.send(E, b"c", net.now, confirm=True, timeout_ms=HOUR)
    assert net.far.send(E, b"plain", net.now) == 0
    net.run(100)
    net.asleep = False
    net.cord.cut()
    net.run(codes.ROUTE_LOSS_GRACE_MS + 1000)
    assert net.fates(net.router, [token]) == [[(events.UNDELIVERED, codes.NO_ROUTE)]]
    assert [event.reason for event in net.seen(net.far, events.UNDELIVERABLE)] == [codes.NO_ROUTE]
    waiting = net.far.send(E, b"patient", net.now, ttl_ms=HOUR)
    net.lay(net.leaf)  # its RAM was kept: the same incarnation
    assert [message.payload for message in net.taken(receiver)] == [b"patient"]
    assert net.fates(net.far, [waiting]) == [[(events.ACCEPTED, 0)]]


# Deep sleep: the board forgets all, and starts anew


def again(net: SleepNet) -> Leaf:
    """The same board, after a reset."""
    return net.add_leaf("x", entropy=Entropy(500 + len(net.leaf_log)))


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("kind", ["serial", "packets"])
def test_who_announces_a_sleep_and_forgets_all_in_it_has_lost_its_mail_and_each_sender_is_told(
    kind: str,
) -> None:
    net = SleepNet(kind)
    net.leaf.register(E, codes.UNICAST)
    net.run(500)
    net.nap(60_000)
    tokens = []
    for node in (net.router, net.far):
        assert node.send(E, b"plain", net.now) == 0
        tokens.append(node.send(E, b"confirmed", net.now, confirm=True, timeout_ms=HOUR))
        tokens.append(node.request(E, b"asked", net.now, timeout_ms=HOUR))
    net.run(30_000)
    assert net.router.routes.peers[net.leaf.node_id].key == net.leaf.key

    leaf = again(net)
    receiver = leaf.register(E, codes.UNICAST)
    former = net.reset(leaf)
    assert [event.code for event in net.closings(former)] == [codes.RESTARTED]
    for which, node in enumerate((net.router, net.far)):
        confirmed, asked = net.fates(node, tokens[2 * which : 2 * which + 2])
        if node is net.router:
            assert (confirmed, asked) == ([(events.UNDELIVERED, codes.NO_ROUTE)],) * 2
        else:
            assert confirmed == [(events.UNKNOWN, codes.NO_ROUTE)]
            assert asked == [(events.UNDELIVERED, codes.LOST_AFTER_SENDING)]
        assert [event.reason for event in net.seen(node, events.UNDELIVERABLE)] == [codes.NO_ROUTE]
    assert net.taken(receiver) == []
    assert net.far.send(E, b"to the new one", net.now) == 0
    net.run(500)
    assert [message.payload for message in net.taken(receiver)] == [b"to the new one"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_for_who_says_goodbye_before_a_deep_sleep_messages_with_ttl_wait_at_their_senders(
    kind: str,
) -> None:
    net = SleepNet(kind)
    net.leaf.register(E, codes.UNICAST)
    net.run(500)
    net.leaf.close(net.now)
    net.run(3000)
    assert not net.cords
    tokens: dict[Node, list[int]] = {}
    for node in (net.router, net.far):
        hasty = node.send(E, b"hasty", net.now)
        net.run(100)
        assert net.fates(node, [hasty]) == [[(events.UNDELIVERED, codes.NO_ENDPOINT)]]
        tokens[node] = [
            node.send(E, b"%d" % number, net.now, confirm=True, ttl_ms=HOUR, timeout_ms=HOUR)
            for number in range(6)
        ]
    net.run(HOUR // 2, 500)
    leaf = again(net)
    receiver = leaf.register(E, codes.UNICAST, queue_max=16)
    net.lay(leaf, 0)
    got = net.work(receiver)
    for node in (net.router, net.far):
        assert [m.payload for m in got if m.source == node.node_id] == [b"%d" % n for n in range(6)]
        assert net.fates(node, tokens[node]) == [[(events.TAKEN, 0)]] * 6


# A stream


def test_a_stream_is_left_alone_while_its_peer_sleeps_and_goes_on_when_it_is_heard() -> None:
    pair = Pair(keepalive_ms=1000)
    receiver = pair.a.register(E, codes.UNICAST)
    pair.pump()
    pair.ca.sleep(20_000, pair.now)
    pair.pump()
    pair.b.send(E, b"later", pair.now)
    assert pair.cb.data_to_send(999, pair.now) == b""
    pair.cable.block(pair.a)
    pair.advance(10_000)
    pair.cable.block(pair.a, False)
    pair.ca.sleep(0, pair.now)
    pair.pump()
    assert [message.payload for message in pair.drain(pair.a, receiver)] == [b"later"]
    pair.advance(5000)
    assert pair.ca.state == pair.cb.state == codes.OPEN
    pair.cable.block(pair.a)
    pair.advance(8000)
    assert pair.cb.close_code == codes.SILENT  # counted from when it was heard last
