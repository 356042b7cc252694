"""Many messages in one call: the same messages as one by one, with every promise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busway.protocol import ClosedError, Limits, Message, Receiver, Request, codes, events
from busway.protocol.link.queue import Run
from busway.protocol.messaging.correspondent import talk
from busway.protocol.messaging.flows import OutFlow
from busway.protocol.wire.messages import Frame
from tests.protocol.helpers import B, assert_settled, payloads, verdicts
from tests.protocol.nets import Mesh, chain
from tests.protocol.pairs import E, F, Net, Pair, bodies


def ready(count: int = 1, **options: Any) -> tuple[Pair, Receiver, OutFlow]:
    """Node a knows a receiver at b, has sent it one message, and may send `count` more."""
    net = Pair(**options)
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    net.a.send(E, b"first", net.now)
    net.pump()
    assert payloads(net.drain(net.b, receiver)) == [b"first"]
    flow = talk(net.a.routes.peers[B]).out_flows[E]
    flow.limit = flow.sent + count
    return net, receiver, flow


# Sending


def test_as_many_go_as_have_credit() -> None:
    net, receiver, _ = ready(5)
    assert net.a.send_many(E, [b"%d" % number for number in range(9)], net.now, codes.CBOR) == 5
    assert net.a.send_many(E, [b"9"], net.now) == 0
    net.pump()
    got = net.drain(net.b, receiver)
    assert payloads(got) == [b"0", b"1", b"2", b"3", b"4"]
    assert [(message.seq, message.format, message.missed) for message in got] == [
        (number, codes.CBOR, 0) for number in range(2, 7)
    ]
    assert_settled(net)


def test_as_many_go_as_the_link_has_room_for() -> None:
    net, receiver, _ = ready(1000)
    net.cable.block(net.a)
    size = codes.QUEUE_SIZE_MAX // 4
    assert net.a.send_many(E, [bytes(size)] * 9, net.now) == 4  # what is one beyond is let in whole, as ever
    assert net.ca.queue.size == 4 * (size + 32)
    net.cable.block(net.a, False)
    net.pump()
    assert net.ca.queue.size == 0
    assert [len(message.payload) for message in net.drain(net.b, receiver)] == [size] * 4


@pytest.mark.parametrize("odd", ["text", bytearray(b"x"), None, bytes(1001)])
def test_what_needs_more_than_that_is_left_with_all_behind_it(odd: object) -> None:
    net, receiver, _ = ready(9, limits=Limits(message_size_max=1000))
    assert net.a.send_many(E, [b"a", b"b", odd, b"c"], net.now) == 2
    assert net.a.send_many(E, [odd], net.now) == 0
    net.pump()
    assert payloads(net.drain(net.b, receiver)) == [b"a", b"b"]


def test_nothing_goes_where_each_needs_more() -> None:
    net, receiver, flow = ready(0)
    token = net.a.send(E, b"waits", net.now)
    flow.limit += 5
    assert net.a.send_many(E, [b"would overtake it"], net.now) == 0
    net.a.register(F, codes.UNICAST)
    assert net.a.send_many(F, [b"to itself"], net.now) == 0
    assert net.a.send_many(b"nobody has this.", [b"x"], net.now) == 0
    net.a.cancel(token, net.now)
    for format in (codes.TYPED, codes.OBJECT, -1):
        assert net.a.send_many(E, [b"x"], net.now, format) == 0
    assert net.a.send_many(E, [], net.now) == 0
    assert net.a.send_many(E, [b"x"], net.now) == 1
    net.pump()
    assert payloads(net.drain(net.b, receiver)) == [b"x"]
    net.a.close(net.now)
    assert net.a.send_many(E, [b"late"], net.now) == 0


def test_nothing_goes_without_a_way() -> None:
    net, _, _ = ready(9)
    net.ca.state = codes.CLOSED  # its end is just being told
    assert net.a.send_many(E, [b"x"], net.now) == 0


def test_one_of_several_holders_is_chosen_for_each() -> None:
    net = Net()
    nodes = net.mesh("abc")
    for node in nodes[1:]:
        node.register(E, codes.ANYCAST)
    net.pump()
    nodes[0].send(E, b"x", net.now)
    assert nodes[0].send_many(E, [b"x"], net.now) == 0


def test_what_was_accepted_and_is_lost_with_the_link_is_told_each() -> None:
    net, _, _ = ready(3)
    net.cable.block(net.a)
    assert net.a.send_many(E, [b"1", b"2", b"3"], net.now) == 3
    net.cable.cut()
    net.pump()
    assert [event.seq for event in net.seen(net.a, events.UNDELIVERABLE)] == [2, 3, 4]
    assert net.a.report(net.now)["counters"]["undeliverable"] == 3  # type: ignore[index]


# Taking


def test_taken_at_once_is_what_is_there_and_no_more_than_asked() -> None:
    net, receiver, _ = ready(100)
    assert net.b.take_many(receiver, 10) == []
    net.a.send_many(E, [b"%d" % number for number in range(100)], net.now)
    net.pump()
    assert net.b.take_many(receiver, 0) == net.b.take_many(receiver, -1) == []
    got = net.b.take_many(receiver, 30) + net.b.take_many(receiver, 1) + net.b.take_many(receiver, 500)
    assert payloads(got) == [b"%d" % number for number in range(100)]
    assert (receiver.size, len(receiver.queue), receiver.taken) == (0, 0, 101)
    net.b.deregister(receiver, net.now)
    with pytest.raises(ClosedError):
        net.b.take_many(receiver, 5)


def test_requests_among_them_are_taken_as_ever() -> None:
    net, receiver, _ = ready(100)
    net.a.send_many(E, [b"1", b"2"], net.now)
    over = net.a.request(E, b"given up", net.now)
    asked = net.a.request(E, b"3", net.now)
    confirmed = net.a.send(E, b"4", net.now, confirm=True)
    net.a.send_many(E, [b"5", b"6"], net.now)
    net.pump()
    net.a.cancel(over, net.now)
    net.pump()
    got = net.b.take_many(receiver, 50)
    assert payloads(got) == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert isinstance(got[2], Request)
    net.b.respond(got[2], b"answer", net.now)
    net.pump()
    assert verdicts(net, net.a, confirmed) == [(events.TAKEN, 0)]
    assert verdicts(net, net.a, asked) == [(events.REPLIED, 0)]
    last = net.a.request(E, b"given up", net.now)
    net.pump()
    net.a.cancel(last, net.now)
    net.pump()
    assert net.b.take_many(receiver, 5) == []
    assert_settled(net)


def test_messages_of_several_are_taken_at_once_and_each_gets_its_credit() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    receiver = c.register(E, codes.UNICAST)
    net.pump()
    for number in range(4):
        for node in (a, b):
            node.send(E, b"%d" % number, net.now)
        net.pump()
    got = c.take_many(receiver, 100)
    assert payloads(got) == [b"0", b"0", b"1", b"1", b"2", b"2", b"3", b"3"]
    assert (receiver.size, receiver.taken) == (0, 8)
    net.pump()
    for node in (a, b):
        flow = talk(node.routes.peers[c.node_id]).out_flows[E]
        assert flow.limit - flow.sent >= codes.OPENING_CREDIT
    assert all(flow.queued == 0 for flow in receiver.endpoint.active)


def test_credit_comes_back_for_what_is_taken_at_once() -> None:
    net, receiver, _ = ready(4)
    sent = 0
    for _ in range(40):
        sent += net.a.send_many(E, [b"x"] * 100, net.now)
        net.pump()
        net.b.take_many(receiver, 1000)
        net.pump()
    assert sent > 3000


def test_to_oneself_taking_lets_go_what_waits() -> None:
    net = Pair()
    receiver = net.a.register(E, codes.UNICAST, queue_max=8)
    tokens = [net.a.send(E, b"%d" % number, net.now) for number in range(60)]
    got: list[Message] = []
    while batch := net.a.take_many(receiver, 5):
        got += batch
    assert payloads(got) == [b"%d" % number for number in range(60)]
    assert all(net.a.origin.pending.get(token) is None for token in tokens if token)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "request", "confirm", "take"]),
        st.sampled_from("abc"),
        st.integers(1, 9),
    ),
    max_size=40,
)


def act(steps: list[tuple[str, str, int]], kind: int, policy: int, many: bool) -> list[object]:
    """All that a receiver at c hands out, and what its node counts."""
    net = Net()
    nodes = {node.label.lower(): node for node in net.mesh("abc")}
    c = nodes["c"]
    receiver = c.register(E, kind, queue_max=6, policy=policy)
    net.pump()
    for node in nodes.values() if kind != codes.BROADCAST else ():
        node.send(E, b"first", net.now)
        net.pump()
        flow = talk(node.routes.peers.get(c.node_id, node.me)).out_flows[E]
        flow.limit = 1 << 30  # when credit comes may differ, so all have as much as they want
    net.drain(c, receiver)
    got: list[object] = []
    for step, who, count in [*steps, ("take", "a", 100)]:
        for number in range(count if step != "take" else 0):
            payload = b"%d" % (number * count)
            if kind == codes.BROADCAST:
                nodes[who].publish(E, payload, net.now)
            elif step == "request":
                nodes[who].request(E, payload, net.now)
            else:
                nodes[who].send(E, payload, net.now, confirm=step == "confirm")
        net.pump()
        if step == "take":
            taken = c.take_many(receiver, count) if many else []
            while not many and len(taken) < count:
                message = c.take(receiver, net.now)
                if message is None:
                    break
                taken.append(message)
            got += [(type(each), each.source, each.seq, each.payload, each.missed) for each in taken]
            net.pump()
    counters = {**c.receiving.counters}
    assert receiver.size == sum(len(each.payload) for each in receiver.queue.items)
    return [*got, counters, receiver.dropped, receiver.refused, receiver.taken]


@given(STEPS)
@pytest.mark.parametrize(
    ("kind", "policy"),
    [
        (codes.UNICAST, codes.REFUSE),
        (codes.ANYCAST, codes.DROP_OLDEST),
        (codes.UNICAST, codes.DROP_NEWEST),
        (codes.BROADCAST, codes.DROP_OLDEST),
        (codes.BROADCAST, codes.LATEST),
    ],
)
@settings(max_examples=12)
def test_taken_at_once_is_what_is_taken_one_by_one(
    kind: int, policy: int, steps: list[tuple[str, str, int]]
) -> None:
    one, many = act(steps, kind, policy, False), act(steps, kind, policy, True)
    assert one == many


# One, if it goes at once


def test_one_is_posted_if_it_goes_at_once_and_else_nothing_is_done() -> None:
    net, receiver, flow = ready(2, limits=Limits(message_size_max=1000))
    assert net.a.post(E, b"a", net.now)
    assert not net.a.post(E, bytes(1001), net.now)
    net.ca.queue.size += codes.QUEUE_SIZE_MAX
    assert not net.a.post(E, b"no room", net.now)
    net.ca.queue.size -= codes.QUEUE_SIZE_MAX
    flow.hop = None  # as when the way is looked for anew
    assert net.a.post(E, b"b", net.now, codes.CBOR)
    assert not net.a.post(E, b"no credit", net.now)
    token = net.a.send(E, b"waits", net.now)
    flow.limit += 5
    assert not net.a.post(E, b"would overtake it", net.now)
    net.a.cancel(token, net.now)
    assert not net.a.post(F, b"nobody has this", net.now)
    net.pump()
    got = net.drain(net.b, receiver)
    assert [(message.seq, message.payload, message.format) for message in got] == [
        (2, b"a", codes.RAW),
        (3, b"b", codes.CBOR),
    ]
    assert_settled(net)
    net.a.close(net.now)
    assert not net.a.post(E, b"closed", net.now)


# What waits in a run


def test_what_is_sent_one_by_one_and_at_once_is_one_run() -> None:
    net, receiver, _ = ready(100)
    queue = net.ca.queue
    net.a.send(E, b"0", net.now)
    assert net.a.send_many(E, [b"1", b"2"], net.now) == 2
    net.a.send(E, b"3", net.now)
    assert [type(item) for item in queue.items] == [Run, bytes, bytes, bytes, bytes]
    net.a.send(E, b"4", net.now, codes.CBOR)
    net.a.request(E, b"5", net.now)
    assert net.a.send_many(E, [b"6"], net.now) == 1
    net.a.send(E, b"7", net.now)
    assert net.a.send_many(E, [b"8"], net.now, codes.CBOR) == 1
    kinds = [Run, bytes, Frame, Run, bytes, bytes, Run, bytes]
    assert [type(item) for item in queue.items[5:]] == kinds
    net.pump(size=7)
    got = net.drain(net.b, receiver)
    assert payloads(got) == [b"%d" % number for number in range(9)]
    assert [message.seq for message in got] == list(range(2, 11))
    assert (queue.size, len(queue)) == (0, 0)


def test_of_a_run_that_is_not_written_to_its_end_the_rest_is_told_as_lost() -> None:
    net, receiver, _ = ready(100)
    net.a.send_many(E, [b"x" * 60] * 50, net.now)
    data = net.ca.data_to_send(1000, net.now)
    net.cb.receive_data(data, net.now)
    taken = len(net.drain(net.b, receiver))
    assert 0 < taken < 50
    net.cable.cut()
    net.pump()
    told = [event.seq for event in net.seen(net.a, events.UNDELIVERABLE)]
    assert told == list(range(52 - len(told), 52))
    assert taken + len(told) in (49, 50)  # one may be on its way
    assert net.ca.queue.size == 0


def test_flows_in_turn_stay_in_turn() -> None:
    net, _, _ = ready(100)
    net.b.register(F, codes.UNICAST)
    net.pump()
    net.a.send(F, b"first", net.now)
    net.pump()
    end = net.cable.end(net.ca)
    end.sent.clear()
    for number in range(6):
        net.a.send(F if number % 2 else E, b"%d" % number, net.now)
        if number == 3:
            net.step(size=20)  # what was begun does not let the later ones of its flow pass the other's
    net.pump(size=5)
    assert [body[-1:] for body in bodies(end.sent) if body[0] >= codes.MESSAGE] == [
        b"%d" % number for number in range(6)
    ]


RUNS = st.lists(
    st.tuples(
        st.sampled_from("eeeefr"), st.integers(1, 12), st.sampled_from([0, 1, 16, 300, 20_000, 70_000])
    ),
    min_size=1,
    max_size=12,
)


@given(RUNS, st.sampled_from([64, 1000, 65536]), st.booleans())
@settings(max_examples=25)
def test_runs_mean_what_single_messages_mean(steps: list[tuple[str, int, int]], size: int, far: bool) -> None:
    """The same traffic sent at once and one by one: the same messages, in the same order, of each flow."""
    got = [carried(steps, size, far, many) for many in (False, True)]
    assert got[0] == got[1]


def carried(steps: list[tuple[str, int, int]], size: int, far: bool, many: bool) -> list[object]:
    net = chain("abc") if far else chain("ab")
    last = net["c" if far else "b"]
    receivers = [last.register(uuid, codes.UNICAST, size_max=1 << 26) for uuid in (E, F)]
    net.pump()
    a = net["a"]
    for _ in range(2):
        for uuid in (E, F):
            a.send(uuid, b"first", net.now)
        net.pump()
    for which, count, length in steps:
        payloads: list[object] = [bytes([number]) * length for number in range(count)]
        if which == "r":
            a.send(E, b"confirmed", net.now, confirm=True)
            continue
        uuid = E if which == "e" else F
        sent = a.send_many(uuid, payloads, net.now) if many else 0
        for payload in payloads[sent:]:
            a.send(uuid, payload, net.now)
        net.step(size)
    taken: list[list[object]] = [[], []]
    for _ in range(30):
        net.pump(size)
        for had, receiver in zip(taken, receivers, strict=True):
            had += [(each.seq, each.payload, each.missed) for each in net.drain(last, receiver)]
    assert_settled(net)
    return [*taken, a.report(net.now)["counters"]]


@pytest.mark.parametrize("many", [False, True])
def test_who_comes_back_to_a_link_goes_on_with_the_numbers_of_the_other(many: bool) -> None:
    """The first link still holds messages of before, whose numbers the later ones do not follow."""
    net = Mesh()
    net.add("abcd")
    net.join("ab ac bd cd")
    net.pump()
    a, d = net["a"], net["d"]
    net.cable["ac"].a.set_cost(1000, net.now)
    receiver = d.register(E, codes.UNICAST)
    net.advance(4000)
    a.send(E, b"0", net.now)
    net.pump()
    flow = talk(net.see("a", "d")).out_flows[E]

    def send(*texts: bytes) -> None:
        flow.limit = flow.sent + 9
        if many:
            assert a.send(E, texts[0], net.now) == 0  # perhaps the long way
            assert a.send_many(E, list(texts[1:]), net.now) == len(texts) - 1
        else:
            assert [a.send(E, text, net.now) for text in texts] == [0] * len(texts)

    def hop() -> object:
        return flow.hop

    def cost(of_c: int) -> None:
        net.cable["ac"].a.set_cost(of_c, net.now)
        net.advance(4000)

    net.cable["ab"].block(a)
    cost(1)  # the way by c is better, yet the flow stays
    send(b"1", b"2")
    assert hop() is net.cable["ab"].a
    net.cable["bd"].cut()
    net.advance(4000)
    assert hop() is None
    send(b"3")
    assert hop() is net.cable["ac"].a
    net.join("bd", via="tcp:again")
    net.advance(4000)
    cost(1000)  # the way by b is better, yet the flow stays
    send(b"4", b"5")
    assert hop() is net.cable["ac"].a
    net.cable["cd"].cut()
    net.advance(4000)
    assert hop() is None
    send(b"6", b"7")
    assert hop() is net.cable["ab"].a
    net.cable["ab"].block(a, False)
    net.pump()
    seqs = [message.seq for message in net.drain(d, receiver)]
    assert seqs[-2:] == [7, 8]
    assert flow.sent == 8
