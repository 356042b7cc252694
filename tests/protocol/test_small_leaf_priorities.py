"""A small leaf and priorities: what comes with one is of a pair of its own, and so is the answer."""

from __future__ import annotations

import pytest

from busway.protocol import codes, events
from busway.protocol.leaf.streams import respond_end, respond_part
from busway.protocol.wire.address import address_of
from busway.protocol.wire.messages import Frame

from .leaves import LeafNet
from .pairs import E

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
