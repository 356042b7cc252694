"""A small leaf and priorities: what comes with one is of a pair of its own, and so is the answer."""

from __future__ import annotations

import pytest

from busway.protocol import LocalError, codes, events
from busway.protocol.leaf.frames import Message
from busway.protocol.leaf.priorities import put_in_order
from busway.protocol.leaf.streams import respond_end, respond_part
from busway.protocol.wire.address import address_of
from busway.protocol.wire.messages import Frame

from .leaves import LeafNet
from .pairs import E, F, bodies

OTHERS = [codes.LOW, codes.HIGH, codes.URGENT]


def test_each_priority_counts_for_itself_and_has_credit_of_its_own() -> None:
    net = LeafNet("ab")
    receiver = net.leaf.register(E, codes.UNICAST)
    net.settle()
    sent: dict[int, list[bytes]] = {priority: [] for priority in range(4)}
    taken: dict[int, list[bytes]] = {priority: [] for priority in range(4)}
    for number in range(100):
        priority = number * 7 % 4
        sent[priority].append(b"%d" % number)
        net.nodes[1].send(E, b"%d" % number, net.now, priority=priority)
        net.settle()
        while (message := net.leaf.take(receiver, net.now)) is not None:
            assert message.missed == 0
            taken[message.lane].append(message.payload)
        net.settle()
    assert taken == sent


@pytest.mark.parametrize("priority", OTHERS)
@pytest.mark.parametrize("what", ["reply", "error", "parts"])
def test_an_answer_has_the_priority_of_its_request(priority: int, what: str) -> None:
    net = LeafNet()
    receiver = net.leaf.register(E, codes.ANYCAST)
    net.settle()
    window = 4 if what == "parts" else 0
    token = net.router.request(E, b"ask", net.now, window=window, priority=priority)
    net.settle()
    request = net.leaf.take(receiver, net.now)
    assert request is not None
    mark = len(net.cord.sent)
    if what == "reply":
        net.leaf.respond(request, b"answer", net.now)
    elif what == "error":
        net.leaf.respond_error(request, 300, "broken", net.now)
    else:
        assert respond_part(net.leaf, request, b"part", net.now)
        respond_end(net.leaf, request)
    net.settle()
    statuses = {"reply": events.REPLIED, "error": events.FAILED, "parts": events.ENDED}
    assert [outcome.status for outcome in net.outcomes(net.router, token)][-1] == statuses[what]
    assert bytes((5, 1, priority)) in net.cord.sent[mark:]


def test_what_is_not_taken_is_told_of_its_own_number() -> None:
    net = LeafNet()
    receiver = net.leaf.register(E, codes.UNICAST)
    net.settle()
    for priority in (codes.NORMAL, codes.HIGH, codes.HIGH):
        net.router.send(E, b"x", net.now, priority=priority)
    token = net.router.send(E, b"x", net.now, priority=codes.HIGH, confirm=True)
    net.settle()
    net.leaf.deregister(receiver, net.now)
    net.settle()
    assert sorted(event.seq for event in net.seen(net.router, events.UNDELIVERABLE)) == [1, 1, 2]
    assert [outcome.code for outcome in net.outcomes(net.router, token)] == [codes.RECEIVER_CLOSED]


def test_a_value_that_is_sent_anew_is_taken_by_a_subscriber() -> None:
    net = LeafNet()
    receiver = net.leaf.register(E, codes.BROADCAST)
    net.settle()
    lane = codes.REPLAY | codes.NORMAL
    for number in range(9):
        out = Frame(codes.SEND, b"", address_of(E, lane), 0, b"%d" % number, codes.RAW, b"")
        out.mark(lane)
        net.router.origin.submit(out, net.leaf.node_id, 0, -1, True, net.now)
        net.settle()
        message = net.leaf.take(receiver, net.now)
        assert message is not None
        assert message.payload == b"%d" % number
    net.settle()


def test_a_blocked_pair_asks_and_is_told() -> None:
    net = LeafNet()
    receiver = net.leaf.register(E, codes.UNICAST, queue_max=2)
    net.settle()
    tokens = [net.router.send(E, b"%d" % number, net.now, priority=codes.HIGH) for number in range(5)]
    net.settle()
    net.pass_time(5000)
    found = []
    for _ in range(8):
        while (message := net.leaf.take(receiver, net.now)) is not None:
            found.append(message.payload)
        net.pass_time(2000)
    assert found == [b"%d" % number for number in range(5)]
    assert tokens[0] == 0


# What it sends


def test_it_sends_with_priority_and_higher_ones_go_first() -> None:
    net = LeafNet("ab", pending_max=16)
    receiver = net.nodes[1].register(E, codes.UNICAST)
    net.settle()
    net.leaf.send(E, b"first", net.now)
    net.settle()
    for priority in range(4):
        for number in range(2):
            net.leaf.send(E, b"%d%d" % (priority, number), net.now, priority=priority)
    written = []
    while (item := net.leaf.next_item(net.cord.connection, net.now)) is not None:  # as its link takes them
        if item.kind == codes.SEND:
            written.append(item.payload)
    assert written == [b"30", b"31", b"20", b"21", b"10", b"11", b"00", b"01"]
    assert [m.payload for m in net.drain(net.nodes[1], receiver)] == [b"first"]


def test_what_it_sends_arrives_each_priority_in_order() -> None:
    net = LeafNet("ab", pending_max=4)
    receiver = net.nodes[1].register(E, codes.UNICAST)
    net.settle()
    sent: dict[str, list[bytes]] = {name: [] for name in codes.PRIORITY_NAMES}
    taken: dict[str, list[object]] = {name: [] for name in codes.PRIORITY_NAMES}
    for number in range(80):
        priority = number * 7 % 4
        sent[codes.PRIORITY_NAMES[priority]].append(b"%d" % number)
        net.leaf.send(E, b"%d" % number, net.now, ttl_ms=1000, priority=priority)
        net.settle()
        net.pass_time(2000)
        for message in net.drain(net.nodes[1], receiver):
            assert message.missed == 0
            taken[message.priority].append(message.payload)
        net.settle()
    assert taken == sent


def test_it_asks_and_publishes_with_priority() -> None:
    net = LeafNet("ab")
    asked = net.nodes[1].register(E, codes.ANYCAST)
    news = net.nodes[1].register(b"n" * 16, codes.BROADCAST)
    net.settle()
    token = net.leaf.request(E, b"ask", net.now, priority=codes.HIGH)
    net.leaf.publish(b"n" * 16, b"news", net.now, priority=codes.LOW)
    net.settle()
    [request] = net.drain(net.nodes[1], asked)
    assert request.priority == "high"
    net.nodes[1].respond(request, b"answer", net.now)
    net.settle()
    assert [e.payload for leaf, e in net.leaf_log if e.token == token] == [b"answer"]
    assert [m.priority for m in net.drain(net.nodes[1], news)] == ["low"]
    again = net.leaf.request(E, b"ask", net.now, priority=codes.URGENT)
    net.settle()
    net.leaf.cancel(again, net.now)
    net.settle()
    assert net.seen(net.nodes[1], events.REQUEST_CANCELLED) or not net.drain(net.nodes[1], asked)


def test_a_higher_one_passes_between_the_pieces_of_a_large_one() -> None:
    net = LeafNet("ab", limits=(256, 8192, 16, 1))
    receiver = net.nodes[1].register(E, codes.UNICAST)
    net.settle()
    for priority in (codes.NORMAL, codes.URGENT):
        net.leaf.send(E, b"x", net.now, priority=priority)
    net.settle()
    net.drain(net.nodes[1], receiver)
    net.leaf.send(E, bytes(4096), net.now)
    first = net.cord.connection.data_to_send(300, net.now)
    assert first
    net.leaf.send(E, b"stop", net.now, priority=codes.URGENT)
    net.leaf.send(E, b"behind", net.now)
    net.note(net.router, net.cord.other.receive_data(first, net.now))
    net.settle()
    assert [len(m.payload) for m in net.drain(net.nodes[1], receiver)] == [4, 4096, 6]


def test_one_without_credit_keeps_no_other_from_passing_a_large_one() -> None:
    net = LeafNet("ab", limits=(256, 8192, 16, 1))
    receiver = net.nodes[1].register(E, codes.UNICAST)
    full = net.nodes[1].register(F, codes.UNICAST, queue_max=8)
    net.settle()
    for uuid in (E, F):
        net.leaf.send(uuid, b"x", net.now, priority=codes.URGENT)
        net.settle()
    assert len(net.drain(net.nodes[1], receiver)) == len(net.drain(net.nodes[1], full)) == 1
    net.settle()
    for number in range(7):
        net.leaf.send(F, b"%d" % number, net.now, priority=codes.URGENT)
    net.settle()
    net.leaf.send(E, bytes(4096), net.now)
    first = net.cord.connection.data_to_send(300, net.now)
    net.leaf.send(E, b"stop", net.now, priority=codes.HIGH)
    net.note(net.router, net.cord.other.receive_data(first, net.now))
    net.settle()
    assert [len(m.payload) for m in net.drain(net.nodes[1], receiver)] == [4, 4096]
    found = []
    for _ in range(8):
        found += [m.payload for m in net.drain(net.nodes[1], full)]
        net.settle()
    assert found == [b"%d" % number for number in range(7)]


def test_on_a_slow_line_the_pieces_of_a_large_one_are_small() -> None:
    net = LeafNet("ab", limits=(codes.PACKET_FRAME_SIZE_SLOW, 8192, 16, 1))
    receiver = net.nodes[1].register(E, codes.UNICAST)
    net.settle()
    net.leaf.send(E, b"x", net.now)
    net.settle()
    net.leaf.send(E, bytes(2000), net.now)
    sent = b""
    while data := net.cord.connection.data_to_send(1, net.now):
        sent += data
        net.note(net.router, net.cord.other.receive_data(data, net.now))
    sizes = [len(body) - 2 for body in bodies(sent) if body[0] == codes.MORE]
    assert len(sizes) > 10
    assert max(sizes) == codes.PACKET_PIECE_SIZE_SLOW
    net.settle()
    assert [len(m.payload) for m in net.drain(net.nodes[1], receiver)] == [1, 2000]


def test_a_router_that_knows_none_has_it_as_normal() -> None:
    net = LeafNet("ab")
    net.cord.cut()
    net.settle()
    net.cord = net.plug(net.leaf, net.router, addressing=False)
    receiver = net.nodes[1].register(E, codes.UNICAST)
    net.settle()
    for priority in range(4):
        net.leaf.send(E, b"%d" % priority, net.now, ttl_ms=1000, priority=priority)
        net.settle()
    found = net.drain(net.nodes[1], receiver)
    assert [m.priority for m in found] == ["normal"] * 4
    assert [m.seq for m in found] == [1, 2, 3, 4]


def test_its_queue_is_served_and_drops_by_priority() -> None:
    net = LeafNet()
    receiver = net.leaf.register(E, codes.BROADCAST, queue_max=3)
    net.settle()
    for priority, payload in ((0, b"l1"), (1, b"n1"), (0, b"l2"), (3, b"u1"), (2, b"h1"), (0, b"l3")):
        net.router.publish(E, payload, net.now, priority=priority)
        net.settle()
    found = []
    while (message := net.leaf.take(receiver, net.now)) is not None:
        found.append(message.payload)
    assert found == [b"u1", b"h1", b"n1"]


def test_none_waits_for_ever() -> None:
    items: list[Message] = []
    low = Message(codes.SEND)
    low.lane = codes.LOW
    put_in_order(items, low)
    for _ in range(40):
        urgent = Message(codes.SEND)
        urgent.lane = codes.URGENT
        put_in_order(items, urgent)
    assert items.index(low) == 16


@pytest.mark.parametrize("number", range(4))
def test_a_priority_may_have_its_name(number: int) -> None:
    net = LeafNet()
    receiver = net.router.register(E, codes.UNICAST)
    net.settle()
    net.leaf.send(E, b"x", net.now, priority=codes.PRIORITY_NAMES[number])
    net.settle()
    message = net.router.take(receiver, net.now)
    assert message is not None
    assert message.flow.lane() & 3 == number


@pytest.mark.parametrize("priority", [-1, 4, "most"])
def test_others_are_no_priorities(priority: int | str) -> None:
    net = LeafNet()
    for call in (net.leaf.send, net.leaf.publish, net.leaf.request):
        with pytest.raises(LocalError, match="priority is one of low"):
            call(E, b"x", net.now, priority=priority)
