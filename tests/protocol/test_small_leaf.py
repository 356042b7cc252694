"""The leaf for small boards against real routers: what it tells, what it is asked, and its queues."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.protocol import (
    ClosedError,
    FullError,
    Link,
    codes,
    events,
)
from busway.protocol.wire.fields import frame, varint

from .leaves import LeafNet
from .pairs import E, F, G, bodies

UNICAST, ANYCAST, BROADCAST = codes.UNICAST, codes.ANYCAST, codes.BROADCAST
OPENED = [events.LINK_OPEN]


def serving(net: LeafNet, uuid: bytes = E, kind: int = ANYCAST, **options: Any) -> Any:
    receiver = net.leaf.register(uuid, kind, **options)
    net.settle()
    return receiver


def holding(net: LeafNet, uuid: bytes = F, kind: int = UNICAST, at: int = -1, **options: Any) -> Any:
    receiver = net.nodes[at].register(uuid, kind, **options)
    net.settle()
    return receiver


def payloads(messages: list[Any]) -> list[object]:
    return [message.payload for message in messages]


# What it tells


def test_its_endpoints_are_seen_everywhere_with_their_names() -> None:
    net = LeafNet("mn")
    serving(net, E, name="lab/pump", cost=7, queue_max=4)
    serving(net, F, BROADCAST, realm=codes.GLOBAL)
    entries = {entry.uuid: entry for entry in net.nodes[1].entries()}
    assert (entries[E].name, entries[E].cost, entries[E].credit) == ("lab/pump", 7, 2)
    assert (entries[F].kind, entries[F].realm) == (BROADCAST, codes.GLOBAL)
    net.leaf.deregister(net.leaf.receivers[0], net.now)
    net.settle()
    assert [entry.uuid for entry in net.nodes[1].entries()] == [F]


def test_a_line_of_many_endpoints_takes_several_frames() -> None:
    net = LeafNet("m")
    for number in range(20):
        net.leaf.register(b"endpoint%08d" % number, ANYCAST, name=f"a name of some length {number}")
    net.settle()
    assert len(net.router.entries()) == 20
    assert all(len(body) <= 256 for body in bodies(net.cord.sent))


def test_what_is_narrower_than_the_link_is_not_told() -> None:
    net = LeafNet("m")
    serving(net, E, realm=codes.USERSPACE)
    assert net.router.entries() == []


def test_joining_costs_forty_bytes_and_twenty_for_each_endpoint() -> None:
    net = LeafNet("m")
    for number in range(10):
        net.leaf.register(b"endpoint%08d" % number, ANYCAST)
    net.settle()
    assert sum(len(body) + 1 for body in bodies(net.cord.sent)[1:]) <= 40 + 10 * 20


# Requests to it


def test_a_request_is_answered() -> None:
    net = LeafNet("mn")
    receiver = serving(net)
    for node in net.nodes:  # over one hop, and over two
        token = node.request(E, b"?", net.now)
        net.settle()
        (asked,) = net.taken(receiver)
        assert (asked.payload, asked.source, asked.endpoint) == (b"?", node.node_id, E)
        wanted = [asked.wants_answer]
        net.leaf.respond(asked, b"!", net.now)
        assert [*wanted, asked.wants_answer] == [True, False]
        net.leaf.respond(asked, b"twice", net.now)
        net.settle()
        assert [(o.status, o.payload) for o in net.outcomes(node, token)] == [(events.REPLIED, b"!")]


def test_an_error_and_a_reply_that_is_too_large() -> None:
    net = LeafNet("m")
    receiver = serving(net)
    for code, text in ((300, "dry"), (64, "x" * 2000)):
        token = net.router.request(E, b"?", net.now)
        net.settle()
        net.leaf.respond_error(net.taken(receiver)[0], code, text, net.now)
        net.settle()
        (outcome,) = net.outcomes(net.router, token)
        assert (outcome.status, outcome.code) == (events.FAILED, code)
        assert outcome.text == (text if len(text) < 1000 else "")
    token = net.router.request(E, b"?", net.now)
    net.settle()
    net.leaf.respond(net.taken(receiver)[0], b"x" * 1025, net.now)
    net.settle()
    assert [(o.status, o.code) for o in net.outcomes(net.router, token)] == [
        (events.UNDELIVERED, codes.MESSAGE_TOO_LARGE)
    ]


def test_large_messages_are_cut_both_ways() -> None:
    net = LeafNet("m")
    receiver = serving(net)
    token = net.router.request(E, b"q" * 1024, net.now)
    net.settle(random.Random(1))
    (asked,) = net.taken(receiver)
    net.leaf.respond(asked, b"r" * 1000, net.now)
    net.settle(random.Random(2))
    assert asked.payload == b"q" * 1024
    assert [o.payload for o in net.outcomes(net.router, token)] == [b"r" * 1000]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("size", [0, 1, *range(140, 148), *range(225, 260), 511, 512, 513, 1023, 1024])
def test_messages_of_every_size_about_a_frame_s(size: int) -> None:
    net = LeafNet("mn")
    receiver = serving(net)
    far = holding(net)
    token = net.nodes[1].request(E, b"q" * size, net.now)
    net.leaf.send(F, b"s" * size, net.now)
    net.settle()
    (asked,) = net.taken(receiver)
    net.leaf.respond(asked, b"r" * size, net.now)
    net.settle()
    assert asked.payload == b"q" * size
    assert [o.payload for o in net.outcomes(net.nodes[1], token)] == [b"r" * size]
    assert payloads(net.drain(net.nodes[1], far)) == [b"s" * size]
    assert all(len(body) <= 256 for body in bodies(net.cord.sent))


def test_a_confirmed_send_is_confirmed_by_taking() -> None:
    net = LeafNet("m")
    receiver = serving(net, kind=UNICAST)
    token = net.router.send(E, b"x", net.now, confirm=True)
    net.settle()
    assert net.outcomes(net.router, token) == []
    assert payloads(net.taken(receiver)) == [b"x"]
    net.settle()
    assert [o.status for o in net.outcomes(net.router, token)] == [events.TAKEN]


def test_a_deadline_passes_and_a_cancel_comes() -> None:
    net = LeafNet("m")
    receiver = serving(net)
    net.router.request(E, b"1", net.now, timeout_ms=1000)
    net.router.request(E, b"2", net.now, timeout_ms=1000)
    token = net.router.request(E, b"3", net.now, timeout_ms=9000)
    net.settle()
    net.leaf.take(receiver, net.now)
    net.router.cancel(token, net.now)
    net.settle()
    net.pass_time(2000)
    assert len(net.heard(events.REQUEST_CANCELLED)) == 1  # the one that was taken
    assert net.taken(receiver) == []
    assert net.leaf.next_deadline() is None


def test_an_id_used_again_ends_the_former_request() -> None:
    net = LeafNet("m")
    receiver = serving(net)
    token = net.router.request(E, b"1", net.now)
    net.settle()
    first = net.leaf.take(receiver, net.now)
    wire = b"\xb0\x00\x01" + E + b"\x00\x09" + varint(token) + b"\x80\x20" + b"again"
    net.hear(net.leaf, net.cord.connection.receive_data(frame(wire), net.now))
    assert [event.request for event in net.heard(events.REQUEST_CANCELLED)] == [first]
    assert payloads(net.taken(receiver)) == [b"again"]


def test_what_nobody_has_here_is_answered_so() -> None:
    net = LeafNet("m")
    receiver = serving(net, E, BROADCAST)
    serving(net, F)
    for uuid, kind, payload, wanted in (
        (G, codes.SEND, b"\0\1", codes.NO_ENDPOINT),
        (E, codes.SEND, b"\0\1", codes.WRONG_KIND),
        (F, codes.PUBLISH, b"\0\1", 0),
        (G, codes.REQUEST, b"\0\1\1\1", codes.NO_ENDPOINT),
    ):
        before = len(net.cord.sent)
        wire = bytes((0x80 | kind << 4, 0, 1)) + uuid + payload
        net.cord.connection.receive_data(frame(wire), net.now)
        answer = net.cord.connection.data_to_send(999, net.now)
        assert len(net.cord.sent) == before
        assert (bodies(answer)[-1][-1] if answer else 0) == wanted
    assert net.taken(receiver) == []


def test_late_messages_are_refused_and_gaps_counted() -> None:
    net = LeafNet("m")
    receiver = serving(net)
    feed = net.cord.connection.receive_data
    for number in (5, 8, 8, 7):
        feed(frame(b"\x80\x00\x01" + E + bytes((0, number)) + b"%d" % number), net.now)
    taken = net.taken(receiver)
    assert [(message.seq, message.payload, message.missed) for message in taken] == [
        (5, b"5", 0),
        (8, b"8", 2),
    ]
    assert net.leaf.counters["late"] == 2
    assert net.leaf.counters["missed"] == 2


def test_in_a_new_session_a_neighbour_may_start_anew() -> None:
    net = LeafNet("m")
    receiver = serving(net)
    net.cord.connection.receive_data(frame(b"\x80\x00\x01" + E + b"\x00\x09a"), net.now)
    net.cord.cut()
    net.cord = net.plug(net.leaf, net.router)
    net.settle()
    net.cord.connection.receive_data(frame(b"\x80\x00\x01" + E + b"\x00\x02b"), net.now)
    assert payloads(net.taken(receiver)) == [b"a", b"b"]


# Queues


def test_a_full_queue_refuses_and_credit_keeps_senders_within() -> None:
    net = LeafNet("m")
    receiver = serving(net, kind=UNICAST, queue_max=4)
    for number in range(20):
        net.router.send(E, b"%d" % number, net.now)
    net.settle()
    assert len(receiver.queue) <= 4
    got = []
    for _ in range(20):
        got += payloads(net.taken(receiver))
        net.settle()
    assert got == [b"%d" % number for number in range(20)]
    assert net.leaf.counters["refused"] == 0


def test_what_comes_beyond_the_queue_is_refused() -> None:
    net = LeafNet("m")
    receiver = serving(net, queue_max=2)
    for number in range(4):
        net.cord.connection.receive_data(frame(b"\x80\x00\x01" + E + bytes((0, number + 1))), net.now)
    assert len(receiver.queue) == 2
    assert net.leaf.counters["refused"] == 2
    assert len(bodies(net.cord.connection.data_to_send(999, net.now))) == 3  # two refusals, and credit


def test_bytes_are_bounded_over_all_queues_and_one_always_fits() -> None:
    net = LeafNet("m", queue_size_max=100)
    receivers = [serving(net, uuid) for uuid in (E, F)]
    for uuid in (E, F, E):
        net.cord.connection.receive_data(frame(b"\x80\x00\x01" + uuid + b"\x00\x01" + b"x" * 90), net.now)
    assert [len(receiver.queue) for receiver in receivers] == [1, 1]


def test_a_broadcast_takes_the_place_of_the_oldest() -> None:
    net = LeafNet("m")
    receiver = serving(net, E, BROADCAST, queue_max=2)
    for number in range(5):
        net.router.publish(E, b"%d" % number, net.now)
    net.settle()
    assert payloads(net.taken(receiver)) == [b"3", b"4"]
    assert net.leaf.counters["dropped"] == 3


def test_a_receiver_that_is_closed_answers_for_what_it_has() -> None:
    net = LeafNet("m")
    receiver = serving(net)
    echo = serving(net, F, BROADCAST)
    tokens = [net.router.request(E, b"1", net.now), net.router.send(E, b"2", net.now, confirm=True)]
    plain = net.router.send(E, b"3", net.now)
    late = net.router.request(E, b"4", net.now, timeout_ms=10)
    net.router.publish(F, b"5", net.now)
    net.settle()
    net.pass_time(50)
    net.leaf.deregister(receiver, net.now)
    net.leaf.deregister(receiver, net.now)
    net.leaf.deregister(echo, net.now)
    net.settle()
    for token in tokens:
        assert [o.code for o in net.outcomes(net.router, token)] == [codes.RECEIVER_CLOSED]
    assert plain == 0
    assert [event.reason for event in net.seen(net.router, events.UNDELIVERABLE)] == [codes.RECEIVER_CLOSED]
    assert [o.status for o in net.outcomes(net.router, late)] == [events.TIMED_OUT]
    with pytest.raises(ClosedError):
        net.leaf.take(receiver, net.now)


def test_who_does_not_read_answers_gets_no_more_of_them_and_then_is_cut_off() -> None:
    net = LeafNet("m")
    receiver = serving(net, queue_max=30)
    for number in range(20):
        wire = b"\xb0\x00\x01" + E + bytes((0, number + 1, number + 1)) + b"\x80\x20"
        net.cord.connection.receive_data(frame(wire), net.now)
    taken = 0
    while (message := net.leaf.take(receiver, net.now)) is not None:
        net.leaf.respond(message, b"", net.now)
        taken += 1
    assert taken == 8
    net.leaf.take_events()
    for _ in range(8):
        net.cord.connection.data_to_send(8, net.now)
    assert [event.receiver for event in net.leaf.take_events()] == [receiver]  # it may go on
    for number in range(80):
        net.cord.connection.receive_data(frame(b"\x80\x00\x01" + G + bytes((0, number))), net.now)
    assert net.cord.connection.close_code == codes.NOT_READING
    net.cord.connection.cut_off(net.now, codes.TOO_LARGE, "once more")
    assert net.cord.connection.close_code == codes.NOT_READING


def test_who_asks_for_traces_without_reading_is_cut_off_too() -> None:
    net = LeafNet("m")
    for number in range(80):
        net.cord.connection.receive_data(frame(b"\xf0\x0b" + varint(number + 1)), net.now)
    assert net.cord.connection.close_code == codes.NOT_READING


# Anything at all


@given(st.binary(max_size=200), st.booleans())
def test_noise_never_raises(noise: bytes, opened: bool) -> None:
    net = LeafNet("m")
    receiver = net.leaf.register(E, ANYCAST)
    connection = net.cord.connection
    if not opened:
        net.cord.cut()
        connection = net.leaf.connection(Link(), net.now)
    for start in range(0, len(noise), 7):
        for event in connection.receive_data(noise[start : start + 7], net.now):
            assert event.kind in range(1, 14)
    net.leaf.handle_timer(net.now + 100_000)
    net.taken(receiver)
    connection.data_to_send(65536, net.now)


@given(st.lists(st.tuples(st.integers(0x80, 0xFF), st.binary(max_size=40)), max_size=12))
def test_random_messages_never_raise_and_stay_bounded(wires: list[tuple[int, bytes]]) -> None:
    net = LeafNet("m")
    receivers = [net.leaf.register(E, ANYCAST), net.leaf.register(F, BROADCAST)]
    connection = net.cord.connection
    connection.receive_data(frame(b"\x80\x00\x01" + E + b"\x00\x01"), net.now)
    connection.receive_data(frame(b"\x90\x00\x02" + F + b"\x00\x01"), net.now)
    for head, body in wires:
        connection.receive_data(frame(bytes((head,)) + body), net.now)
    assert len(net.leaf._in) <= 16
    assert all(len(receiver.queue) <= 8 for receiver in receivers)


@given(st.integers(0, 2**32))
def test_random_lives(seed: int) -> None:
    """Random actions at a leaf and two routers, cables cut and plugged: one outcome each, in order,
    nothing twice."""
    rng = random.Random(seed)
    net = LeafNet("mn")
    near = net.leaf.register(E, UNICAST)
    far = net.nodes[1].register(F, UNICAST, queue_max=6)
    asked, tokens = [0, 0], []
    got_near: list[int] = []
    got_far: list[int] = []
    for _ in range(40):
        action = rng.randrange(8)
        if action < 2:
            try:
                kind = net.leaf.request if rng.random() < 0.5 else net.leaf.send
                tokens.append(
                    kind(F, b"%d" % asked[0], net.now, ttl_ms=rng.choice([0, 3000]), timeout_ms=5000)
                )
                asked[0] += 1
            except FullError:
                pass
        elif action < 4:
            net.nodes[1].request(E, b"%d" % asked[1], net.now, timeout_ms=4000, ttl_ms=2000)
            asked[1] += 1
        elif action == 4 and net.cords and rng.random() < 0.3:
            net.cords[0].cut()
        elif action == 5 and not net.cords:
            net.cord = net.plug(net.leaf, net.router)
        elif action == 6:
            net.pass_time(rng.choice([10, 500, 3000]))
        for message in net.taken(near):
            got_near.append(int(message.payload))
            net.leaf.respond(message, b"ok", net.now)
        for other in net.drain(net.nodes[1], far):
            got_far.append(int(other.payload))
            if hasattr(other, "id") and rng.random() < 0.8:
                net.nodes[1].respond(other, b"ok", net.now)
        if rng.random() < 0.7:
            net.settle(rng)
    if not net.cords:
        net.plug(net.leaf, net.router)
    for _ in range(8):
        net.pass_time(2000)
        for message in net.taken(near):
            got_near.append(int(message.payload))
            net.leaf.respond(message, b"ok", net.now)
        got_far += [int(other.payload) for other in net.drain(net.nodes[1], far)]
    assert got_near == sorted(set(got_near))
    assert got_far == sorted(set(got_far))
    for token in tokens:
        assert len(net.verdicts(token)) == 1
    assert (net.leaf._pending, net.leaf._items, net.leaf._serving) == ([], [], [])
