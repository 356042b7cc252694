"""The leaf for small boards against real routers: what it sends, takes, asks and answers, and that all of
it is bounded."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.protocol import (
    ClosedError,
    EndpointTakenError,
    FullError,
    Link,
    LocalError,
    WrongKindError,
    codes,
    events,
)
from busway.protocol.leaf.frames import Message, write_message
from busway.protocol.leaf.keyed import Secret
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.leaf.link import LeafConnection
from busway.protocol.leaf.state import Target
from busway.protocol.wire.aliases import AliasTable
from busway.protocol.wire.fields import frame, lenient_text, varint

from .board_crypto import Crypto
from .leaves import LeafNet
from .pairs import E, Entropy, F, G, bodies, guard

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


# What it sends


def test_sends_find_their_receiver_and_credit_flows() -> None:
    net = LeafNet("mn")
    receiver = holding(net)
    got, statuses = [], []
    for number in range(50):
        token = net.leaf.send(F, b"%d" % number, net.now)
        net.settle()
        got += payloads(net.drain(net.nodes[-1], receiver))
        net.settle()
        statuses += net.verdicts(token)
    assert got == [b"%d" % number for number in range(50)]
    assert statuses == [(events.ACCEPTED, 0)] * 50


def test_without_credit_it_waits_probes_and_goes_on() -> None:
    net = LeafNet("m")
    receiver = holding(net, queue_max=8)
    for number in range(8):
        net.leaf.send(F, b"%d" % number, net.now)
    net.settle()
    net.pass_time(10_000)
    waiting = len(net.leaf._items)
    assert 0 < waiting < 8
    while len(net.leaf._pending) < 8:
        net.leaf.send(F, b"", net.now)
    with pytest.raises(FullError):
        net.leaf.send(F, b"", net.now)
    got = []
    for _ in range(20):
        got += payloads(net.drain(net.router, receiver))
        net.pass_time(1000)
    assert got[:8] == [b"%d" % number for number in range(8)]


def test_who_is_told_of_a_holder_without_credit_asks_soon_and_then_in_seconds() -> None:
    net = LeafNet("mn")
    holding(net, F, ANYCAST, 0, queue_max=8)
    for number in range(8):
        net.leaf.send(F, b"%d" % number, net.now)
    net.settle()
    assert net.leaf._items  # there is no credit for more
    holding(net, F, ANYCAST, cost=100)  # so the leaf is told again who has it
    before = len(net.cord.sent)
    net.pass_time(10_000)
    probes = [body for body in bodies(net.cord.sent[before:]) if body[:2] == bytes((0xF0, codes.PROBE))]
    assert len(probes) == 4  # after 1 ms, and then 1, 2 and 4 s


def test_verdicts_of_confirmed_sends() -> None:
    net = LeafNet("mn")
    receiver = holding(net)
    tokens = [net.leaf.send(F, b"x", net.now, confirm=True) for _ in range(2)]
    net.settle()
    net.nodes[-1].take(receiver, net.now)
    net.settle()
    net.nodes[-1].deregister(receiver, net.now)
    net.settle()
    assert [net.verdicts(token) for token in tokens] == [
        [(events.TAKEN, 0)],
        [(events.UNDELIVERED, codes.RECEIVER_CLOSED)],
    ]
    token = net.leaf.send(F, b"x", net.now, confirm=True)
    net.pass_time(1)
    assert net.verdicts(token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]


def test_a_request_has_exactly_one_outcome() -> None:
    net = LeafNet("mn")
    receiver = holding(net)
    far = net.nodes[-1]
    replied, failed, slow, gone = [net.leaf.request(F, b"%d" % n, net.now, timeout_ms=1000) for n in range(4)]
    net.settle()
    asked: list[Any] = net.drain(far, receiver)
    far.respond(asked[0], b"!", net.now)
    far.respond_error(asked[1], 300, "dry", net.now)
    net.leaf.cancel(gone, net.now)
    net.leaf.cancel(gone, net.now)
    net.settle()
    net.pass_time(2000)
    far.respond(asked[2], b"late", net.now)
    net.settle()
    assert net.verdicts(replied) == [(events.REPLIED, 0)]
    assert net.verdicts(failed) == [(events.FAILED, 300)]
    assert net.verdicts(slow) == [(events.TIMED_OUT, codes.EXPIRED)]
    assert net.verdicts(gone) == [(events.CANCELLED, 0)]
    assert len(net.seen(far, events.REQUEST_CANCELLED)) == 2


def test_what_nobody_has_fails_or_waits() -> None:
    net = LeafNet("mn")
    token = net.leaf.send(F, b"1", net.now)
    patient = net.leaf.send(F, b"2", net.now, ttl_ms=60_000)
    net.settle()
    assert net.verdicts(token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    again = net.leaf.send(F, b"3", net.now)
    assert net.leaf.next_deadline() == net.now
    net.pass_time(10)
    assert net.verdicts(again) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    net.pass_time(5000)
    receiver = holding(net)
    net.pass_time(1000)
    assert payloads(net.drain(net.nodes[-1], receiver)) == [b"2"]
    assert net.verdicts(patient) == [(events.ACCEPTED, 0)]
    never = net.leaf.request(G, b"", net.now, ttl_ms=3000)
    net.pass_time(4000)
    assert net.verdicts(never) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]


def test_a_broadcast_endpoint_takes_no_send() -> None:
    net = LeafNet("m")
    holding(net, F, BROADCAST)
    token = net.leaf.send(F, b"", net.now)
    net.settle()
    assert net.verdicts(token) == [(events.UNDELIVERED, codes.WRONG_KIND)]


def test_the_nearest_holder_and_in_a_conflict_the_first() -> None:
    net = LeafNet("mno")
    near, far = holding(net, F, ANYCAST, 0), holding(net, F, ANYCAST, 2)
    net.leaf.send(F, b"", net.now)
    net.settle()
    assert (len(near.queue), len(far.queue)) == (1, 0)
    leaf, link = net.leaf, net.cord.connection
    leaf.send(G, b"", net.now)
    net.cord.connection.data_to_send(999, net.now)
    n, o = b"n" * 16 + b"1234", b"o" * 16 + b"1234"
    wire = b"\xf0\x08\x00\x05" + G
    wire += b"\x49\x00\x0a" + o + b"\0\x01\x01n" + b"\x79\x00\x0b" + n + b"\0\x05\x02\x03\x01n"
    wire += b"\x05\x01\xff\xff" + b"\x00\x01\0\0"
    link.receive_data(frame(wire), net.now)
    flow = leaf._targets[G].flow
    assert flow is not None
    assert (flow.key, flow.limit) == (o, 4)
    leaf.send(b"H" * 16, b"", net.now)
    link.receive_data(frame(b"\xf0\x08\x00\x06" + b"H" * 16 + b"\x0a\x0a\0\x01" + b"\x0a\x0b\0\x05"), net.now)
    flow = leaf._targets[b"H" * 16].flow
    assert flow is not None
    assert flow.key == o


def test_an_answer_of_no_endpoint_makes_it_ask_again() -> None:
    net = LeafNet("m")
    receiver = holding(net)
    net.leaf.send(F, b"", net.now)
    net.settle()
    net.router.deregister(receiver, net.now)
    net.settle()
    assert [event.code for event in net.heard(events.UNDELIVERABLE)] == [codes.RECEIVER_CLOSED]
    feed = net.cord.connection.receive_data
    alias = b"\x00\x07" + F
    net.leaf._targets[F].flow = net.leaf._out[0]
    net.hear(net.leaf, feed(frame(b"\xf0\x05" + alias + b"\0\x01\x01"), net.now))
    assert net.leaf._targets[F].flow is None
    feed(frame(b"\xf0\x05" + alias + b"\0\x09\x01"), net.now)  # never sent
    feed(frame(b"\xf0\x05\x00\x08" + G + b"\0\x01\x01"), net.now)  # to whom nothing was sent
    feed(frame(b"\xf0\x02" + alias + b"\0\x00"), net.now)  # an old limit
    feed(frame(b"\xc0\x63"), net.now)  # a reply that nobody waits for
    assert net.leaf.counters["unknown_reply"] == 3
    assert [event.code for event in net.heard(events.UNDELIVERABLE)] == [5, 1]


def test_publishing_reaches_subscribers_and_itself() -> None:
    net = LeafNet("mn")
    far = holding(net, F, BROADCAST)
    own = serving(net, F, BROADCAST)
    for number in range(3):
        assert net.leaf.publish(F, b"%d" % number, net.now, codes.CBOR) == 0
        net.settle()
    assert payloads(net.drain(net.nodes[-1], far)) == [b"0", b"1", b"2"]
    assert [(m.payload, m.source, m.format) for m in net.taken(own)] == [
        (b"%d" % n, net.leaf.node_id, codes.CBOR) for n in range(3)
    ]


def test_what_nobody_wants_is_not_written_until_somebody_does() -> None:
    net = LeafNet("mn")
    for _ in range(3):
        net.leaf.publish(F, b"x", net.now)
        net.settle()
    before = len(net.cord.sent)
    net.leaf.publish(F, b"x", net.now)
    net.settle()
    assert len(net.cord.sent) == before
    (alias,) = [number for number, id in enumerate(net.cord.connection.aliases_in.ids) if id == F]
    net.cord.connection.receive_data(frame(b"\xf0\x09" + bytes((alias, 2))), net.now)
    assert net.leaf._pruned == [F]  # said twice
    far = holding(net, F, BROADCAST)
    net.leaf.publish(F, b"y", net.now)
    net.settle()
    assert payloads(net.drain(net.nodes[-1], far)) == [b"y"]
    feed = net.cord.connection.receive_data
    feed(frame(b"\xf0\x0a\x00\x09" + G + b"\x02"), net.now)  # GRAFT of what was not pruned
    feed(frame(b"\xf0\x09\x09\x02"), net.now)  # PRUNE of what was never published
    assert net.leaf._pruned == []
    feed(frame(b"\xf8\x08\xff\x00\x03" + b"o" * 20 + b"\x09\x09\x02"), net.now)
    assert net.cord.connection.skipped_frames == 1


def test_publishing_too_fast_is_refused() -> None:
    net = LeafNet("m")
    holding(net, F, BROADCAST)
    for _ in range(8):
        net.leaf.publish(F, b"", net.now)
    with pytest.raises(FullError, match="wait to be written"):
        net.leaf.publish(F, b"", net.now)
    net.settle()
    net.leaf.publish(F, b"", net.now)


def test_a_publish_that_is_refused_is_missed_by_who_listens() -> None:
    net = LeafNet("mn")
    far = holding(net, F, BROADCAST)
    for _ in range(8):
        net.leaf.publish(F, b"", net.now)
    for _ in range(3):
        with pytest.raises(FullError):
            net.leaf.publish(F, b"", net.now)
    net.settle()
    net.leaf.publish(F, b"", net.now)
    net.settle()
    got = net.drain(net.nodes[-1], far)
    assert [message.missed for message in got] == [0] * 8 + [3]
    (board,) = [row for row in net.nodes[-1].report(net.now)["nodes"] if row["node"] == net.leaf.node_id]  # type: ignore[attr-defined]
    assert board["missed"] == 3


def test_each_endpoint_has_a_place_however_many_others_publish() -> None:
    net = LeafNet("m", pending_max=2)
    uuids = [b"endpoint%08d" % number for number in range(5)]
    heard = [holding(net, uuid, BROADCAST) for uuid in uuids]
    for round in range(3):
        for uuid in uuids:  # in the same order each time
            net.leaf.publish(uuid, b"%d" % round, net.now)
        with pytest.raises(FullError):
            net.leaf.publish(uuids[0], b"again", net.now)
        net.settle()
    for receiver in heard:
        assert payloads(net.drain(net.nodes[-1], receiver)) == [b"0", b"1", b"2"]


def test_best_effort_is_marked_and_lost_rather_than_refused() -> None:
    net = LeafNet("mn")
    far = holding(net, F, BROADCAST)
    for number in range(10):
        net.leaf.publish(F, b"%d" % number, net.now, best_effort=True)
    net.settle()
    net.leaf.publish(F, b"l" * 500, net.now, best_effort=True)
    net.settle()
    got = net.drain(net.nodes[-1], far)
    assert payloads(got) == [b"%d" % number for number in range(8)] + [b"l" * 500]
    assert got[-1].missed == 2
    marked = [body for body in bodies(net.cord.sent) if body[0] & 0xF4 == 0x94]
    assert [body[1:4] for body in marked] == [b"\x02\x03\x00"] * 8 + [b"\x09\x03\x00"]


def test_a_trace_finds_it() -> None:
    net = LeafNet("mn")
    token = net.nodes[-1].trace(net.leaf.node_id, 255, net.now)
    net.settle()
    (outcome,) = net.outcomes(net.nodes[-1], token)
    assert (outcome.status, outcome.node_id) == (events.TRACED, net.leaf.node_id)


def test_asked_who_has_something_it_says_nobody() -> None:
    net = LeafNet("m")
    net.cord.connection.receive_data(frame(b"\xf0\x07\x00\x01" + G), net.now)
    (answer,) = bodies(net.cord.connection.data_to_send(99, net.now))
    assert answer[:2] == b"\xf0\x08"


# Conflicts


@pytest.mark.parametrize("letter", ["a", "z"])
def test_a_unicast_name_that_another_held_before_is_given_up_until_it_goes(letter: str) -> None:
    net = LeafNet("m")
    other = net.node(letter)
    link = net.link(other, net.router)
    taken = other.register(E, UNICAST)
    net.settle()
    receiver = serving(net, E, UNICAST)
    assert [event.receiver for event in net.heard(events.RECEIVER_TAKEN)] == [receiver]
    assert net.leaf.take(receiver, net.now) is None
    token = net.leaf.send(E, b"x", net.now)
    net.settle()
    assert (payloads(net.drain(other, taken)), net.verdicts(token)) == ([b"x"], [(events.ACCEPTED, 0)])
    with pytest.raises(EndpointTakenError):
        net.leaf.register(E, ANYCAST)
    link.cut()
    net.pass_time(1000)
    assert [event.receiver for event in net.heard(events.RECEIVER_BACK)] == [receiver]
    net.router.send(E, b"y", net.now)
    net.settle()
    message = net.leaf.take(receiver, net.now)
    assert message is not None
    assert message.payload == b"y"


def test_who_comes_later_gives_it_up_itself() -> None:
    net = LeafNet("m")
    receiver = serving(net, E, UNICAST)
    net.pass_time(codes.RACE_MS)
    other = net.node("a")
    link = net.link(other, net.router)
    taken = other.register(E, UNICAST)
    net.settle()
    assert not receiver.lost
    assert taken.endpoint.yielded
    link.cut()
    assert not taken.endpoint.yielded


@pytest.mark.parametrize("gone", [False, True])
def test_a_name_that_was_lost_is_asked_for_again_in_the_next_session(gone: bool) -> None:
    net = LeafNet("m")
    taken = net.router.register(E, UNICAST)
    receiver = serving(net, E, UNICAST)
    assert receiver.lost
    net.cord.cut()
    net.pass_time(1000)
    assert receiver.lost
    if gone:
        net.router.deregister(taken, net.now)
    net.plug(net.leaf, net.router)
    net.pass_time(1000)
    assert receiver.lost is not gone
    assert len(net.heard(events.RECEIVER_TAKEN)) == 2 - gone
    net.router.send(E, b"x", net.now)
    net.settle()
    assert payloads(net.taken(receiver) if gone else net.drain(net.router, taken)) == [b"x"]
    net.leaf.close(net.now)
    assert receiver.closed


# Links that end


def test_a_session_that_ends_settles_what_was_under_way() -> None:
    net = LeafNet("mn")
    receiver = serving(net)
    holding(net)
    request = net.leaf.request(F, b"1", net.now)
    confirmed = net.leaf.send(F, b"2", net.now, confirm=True)
    net.settle()
    served = net.router.request(E, b"3", net.now)
    net.settle()
    asked = net.leaf.take(receiver, net.now)
    assert asked is not None
    unsent = net.leaf.send(G, b"4", net.now)
    patient = net.leaf.send(F, b"5", net.now, ttl_ms=50_000)
    net.leaf.publish(b"P" * 16, b"gone", net.now)
    net.cord.cut()
    net.leaf.respond(asked, b"late", net.now)
    net.pass_time(3000)
    assert net.verdicts(request) == [(events.UNDELIVERED, codes.LOST_AFTER_SENDING)]
    assert net.verdicts(confirmed) == [(events.UNKNOWN, codes.NO_ROUTE)]
    assert net.verdicts(unsent) == [(events.UNDELIVERED, codes.NO_ROUTE)]
    assert net.verdicts(patient) == []
    assert [event.request for event in net.heard(events.REQUEST_CANCELLED)] == [asked]
    assert [o.code for o in net.outcomes(net.router, served)] == [codes.LOST_AFTER_SENDING]
    net.cord = net.plug(net.leaf, net.router)
    net.settle()
    assert net.verdicts(patient) == [(events.ACCEPTED, 0)]
    assert [event.kind for event in net.heard(events.LINK_CLOSED) + net.heard(events.LINK_OPEN)] == [2, 1, 1]
    token = net.router.request(E, b"again", net.now)
    net.settle()
    net.leaf.respond(net.taken(receiver)[0], b"yes", net.now)
    net.settle()
    assert [o.payload for o in net.outcomes(net.router, token)] == [b"yes"]


def test_a_node_that_goes_settles_what_it_had() -> None:
    net = LeafNet("m")
    far = net.node("n")
    cable = net.link(far, net.router)
    receiver = serving(net)
    far.register(F, UNICAST)
    net.settle()
    tokens = [net.leaf.request(F, b"", net.now), net.leaf.send(F, b"", net.now, confirm=True)]
    far.request(E, b"", net.now)
    net.settle()
    net.leaf.take(receiver, net.now)
    cable.cut()
    net.settle()
    net.pass_time(1000)
    assert [net.verdicts(token)[0][0] for token in tokens] == [events.UNDELIVERED, events.UNKNOWN]
    assert len(net.heard(events.REQUEST_CANCELLED)) == 1


def test_a_router_that_started_anew_is_another_node() -> None:
    net = LeafNet("m")
    holding(net)
    net.leaf.send(F, b"", net.now)
    net.settle()
    net.cord.cut()
    again = net.node("m")
    receiver = again.register(F, UNICAST)
    net.plug(net.leaf, again)
    net.settle()
    net.leaf.send(F, b"new", net.now)
    net.settle()
    assert payloads(net.drain(again, receiver)) == [b"new"]
    assert [flow.key for flow in net.leaf._out] == [again.me.key]


def test_closing_says_goodbye_behind_what_is_queued() -> None:
    net = LeafNet("m")
    receiver = holding(net)
    net.leaf.send(F, b"last", net.now)
    waiting = net.leaf.request(F, b"?", net.now)
    net.settle()
    unsent = net.leaf.send(G, b"", net.now, confirm=True)
    net.leaf.publish(b"P" * 16, b"", net.now)
    net.leaf.close(net.now)
    net.leaf.close(net.now)
    assert net.cord.connection.wants_write
    net.settle()
    assert payloads(net.drain(net.router, receiver))[0] == b"last"
    assert net.verdicts(waiting) == [(events.UNDELIVERED, codes.BUS_CLOSED)]
    assert net.verdicts(unsent) == [(events.UNDELIVERED, codes.BUS_CLOSED)]
    assert net.cord.connection.done
    assert [event.code for event in net.heard(events.LINK_CLOSED)] == [codes.GOODBYE]
    with pytest.raises(ClosedError):
        net.leaf.send(F, b"", net.now)


def test_without_a_link_nothing_is_written_and_close_is_quiet() -> None:
    leaf = Leaf(b"x" * 16, entropy=Entropy(1))
    leaf.publish(E, b"", 0)
    token = leaf.send(F, b"", 0)
    assert leaf.next_deadline() == codes.SYNC_MS
    leaf.handle_timer(1000)
    assert [(event.token, event.code) for event in leaf.handle_timer(2000)] == [(token, codes.NO_ROUTE)]
    leaf.close(2000)
    assert leaf.take_events() == []


def test_the_router_says_goodbye() -> None:
    net = LeafNet("m")
    net.router.close(net.now)
    net.settle()
    (event,) = net.heard(events.LINK_CLOSED)
    assert (event.code, event.by_peer, event.text) == (codes.GOODBYE, True, "the node is closing")
    assert net.cord.connection.done


def test_both_say_goodbye_at_once() -> None:
    net = LeafNet("m")
    net.cord.connection.close(net.now)
    net.hear(net.leaf, net.cord.connection.receive_data(b"\x02\x03\x00", net.now))
    assert net.cord.connection.data_to_send(99, net.now)[-3:] == b"\x02\x03\x00"
    assert net.cord.connection.done


def test_a_peer_that_does_not_answer_goodbye_is_left() -> None:
    for eof in (True, False):
        net = LeafNet("m")
        net.cord.blocked = True
        net.cord.connection.close(net.now, codes.REPLACED, "another")
        net.cord.connection.data_to_send(99, net.now)
        if eof:
            net.hear(net.leaf, net.cord.connection.receive_eof(net.now))
            net.hear(net.leaf, net.cord.connection.receive_eof(net.now))
        else:
            net.hear(net.leaf, net.leaf.handle_timer(net.now + 2000))
        assert [event.code for event in net.heard(events.LINK_CLOSED)] == [codes.REPLACED]


# The handshake


def lone(link: Link | None = None, **options: Any) -> LeafConnection:
    leaf = Leaf(b"x" * 16, entropy=Entropy(1), **options)
    return leaf.connection(link or Link(dialled=True, keepalive_ms=1000), 0)


def test_no_hello_in_time_and_close_before_hello() -> None:
    connection = lone()
    leaf = connection.leaf
    assert isinstance(leaf, Leaf)
    assert leaf.next_deadline() == codes.HELLO_TIMEOUT_MS
    leaf.handle_timer(codes.HELLO_TIMEOUT_MS)
    assert connection.close_code == codes.HELLO_TIMEOUT
    assert not connection.done
    assert connection.wants_write
    assert b"no HELLO" in connection.data_to_send(999, 5000)
    connection = lone()
    connection.close(0, codes.GOODBYE, "never mind")
    connection.close(0)
    assert connection.close_code == codes.GOODBYE
    connection.leaf.take_events()
    assert connection.receive_data(b"more", 0) == []


def keyed(token: str) -> Secret:
    return Secret(Crypto(), Entropy(9), b"", token.encode())


def test_tokens() -> None:
    for mine, theirs, code in (("a", "a", -1), ("a", "b", codes.TOKEN), (None, "a", codes.TOKEN)):
        net = LeafNet("m")
        net.cord.cut()
        security = keyed(mine) if mine else None
        cord = net.plug(net.leaf, net.router, leaf_options={"security": security}, security=guard(theirs))
        net.settle()
        if code < 0:
            assert cord.connection.state == codes.OPEN
        else:
            assert code in (cord.connection.close_code, cord.other.close_code)


def test_keepalive() -> None:
    net = LeafNet("m")
    net.cord.cut()
    cord = net.cord = net.plug(net.leaf, net.router, keepalive_ms=1000)
    net.settle()
    net.pass_time(5000)
    assert cord.connection.state == codes.OPEN
    assert cord.connection.rtt_ms == 0
    cord.connection.receive_data(b"\x02\x05\x09", net.now)  # a PONG that nobody waits for
    connection = cord.connection
    net.cords.remove(cord)
    for _ in range(9):
        net.now += 500
        net.leaf.handle_timer(net.now)
        connection.data_to_send(999, net.now)
    assert connection.close_code == codes.SILENT


def test_it_announces_its_sleep() -> None:
    net = LeafNet("m")
    net.cord.connection.sleep(60_000, net.now)
    net.settle()
    assert net.cord.other.asleep_until == net.now + 60_000
    net.cord.cut()
    net.cord.connection.sleep(1, net.now)
    assert not net.cord.connection.wants_write


def test_of_many_pings_the_last_is_answered() -> None:
    net = LeafNet("m")
    net.cord.connection.receive_data(b"\x02\x04\x01\x02\x04\x02", net.now)
    assert net.cord.connection.wants_write
    assert net.cord.connection.data_to_send(99, net.now) == b"\x02\x05\x02"
    net.cord.connection.close(net.now)
    net.cord.connection.data_to_send(99, net.now)
    net.cord.connection.receive_data(b"\x02\x04\x03", net.now)
    assert net.cord.connection.data_to_send(99, net.now) == b""  # CLOSE was the last


# Limits and misuse


def test_pairs_are_forgotten_when_there_are_too_many() -> None:
    net = LeafNet("m", peers_max=2)
    receiver = serving(net)
    uuids = [b"endpoint%08d" % number for number in range(5)]
    for uuid in uuids:
        holding(net, uuid)
    for _ in range(3):
        for uuid in uuids:
            token = net.leaf.send(uuid, b"x", net.now)
            net.settle()
            net.pass_time(1)
            assert net.verdicts(token) == [(events.ACCEPTED, 0)]
    assert (len(net.leaf._targets), len(net.leaf._out)) == (2, 2)
    feed = net.cord.connection.receive_data
    for number in range(5):
        feed(
            frame(b"\x88\x08\xff\x00\x03" + bytes((number,)) * 20 + b"\x00\x01" + E + b"\x00\x01"),
            net.now + number,
        )
    assert len(net.leaf._in) == 2
    assert len(net.taken(receiver)) == 5


def test_pair_that_was_forgotten_goes_on_with_its_numbers() -> None:
    """Its destination remembers it for minutes, and refuses numbers that it has had as OVERTAKEN."""
    net = LeafNet("mn", peers_max=2)
    far = net.nodes[1]
    receivers = {bytes((number,)) * 16: 0 for number in range(70)}
    made = {uuid: far.register(uuid, UNICAST, codes.LOCALNET) for uuid in receivers}
    net.settle()

    def turn(uuid: bytes) -> int:
        token = net.leaf.send(uuid, b"x", net.now, confirm=True)
        net.settle()
        message = far.take(made[uuid], net.now)
        net.settle()
        ((status, code),) = net.verdicts(token)
        if message is not None:
            assert (status, message.missed) == (events.TAKEN, 0)
        return code

    few = list(receivers)[:3]
    assert [turn(uuid) for _ in range(5) for uuid in few] == [0] * 15
    assert [turn(uuid) for uuid in receivers] == [0] * 70
    assert len(net.leaf._past) == 640
    assert turn(few[0]) == codes.OVERTAKEN  # after so many others
    net.pass_time(codes.FLOW_FORGET_IN_MS)
    assert turn(few[0]) == 0


def test_more_targets_at_once_than_it_remembers_are_refused() -> None:
    net = LeafNet("m", peers_max=2)
    serving(net, E, UNICAST)
    net.leaf.send(F, b"", net.now, ttl_ms=9000)
    with pytest.raises(FullError, match="peers_max"):
        net.leaf.send(b"H" * 16, b"", net.now)
    net.leaf.publish(b"1" * 16, b"", net.now)
    net.leaf.publish(b"2" * 16, b"", net.now)
    with pytest.raises(LocalError, match="peers_max") as raised:
        net.leaf.publish(b"3" * 16, b"", net.now)
    assert not isinstance(raised.value, FullError)  # which would say: try again
    assert serving(net, b"K" * 16, UNICAST) in net.leaf.receivers  # who else has it is not asked then


def test_misuse_changes_nothing() -> None:
    entropy = Entropy(1)
    for wrong in (
        {"node_id": b"x"},
        {"bus": ""},
        {"label": "x" * 65},
        {"pending_max": 0},
    ):
        with pytest.raises(LocalError):
            Leaf(**{"node_id": b"x" * 16, "entropy": entropy, **wrong})  # type: ignore[arg-type]
    net = LeafNet("m")
    leaf = net.leaf
    with pytest.raises(LocalError, match="one link"):
        leaf.connection(Link(), 0)
    for options in ({"kind": 4}, {"realm": 0}, {"name": "x" * 65}, {"cost": -1}, {"queue_max": 1}):
        with pytest.raises(LocalError):
            leaf.register(**{"endpoint": E, "kind": UNICAST, **options})  # type: ignore[arg-type]
    receiver = serving(net)
    with pytest.raises(EndpointTakenError):
        leaf.register(E, ANYCAST)
    with pytest.raises(LocalError, match="itself"):
        leaf.send(E, b"", 0)
    with pytest.raises(WrongKindError):
        leaf.publish(E, b"", 0)
    for payload, format in ((bytearray(1), 0), (b"", 3), (b"x" * 1025, 0)):
        with pytest.raises((LocalError, TypeError)):  # compiled, the type is checked first
            leaf.send(F, payload, 0, format)  # type: ignore[arg-type]
    with pytest.raises(LocalError):
        leaf.send(F, b"", 0, ttl_ms=-1)
    leaf.publish(G, b"", net.now)
    with pytest.raises(WrongKindError):
        leaf.send(G, b"", 0)
    holding(net)
    leaf.send(F, b"", net.now)
    net.settle()
    with pytest.raises(WrongKindError):
        leaf.publish(F, b"", 0)
    net.router.request(E, b"", net.now)
    net.settle()
    with pytest.raises(LocalError, match="error code"):
        leaf.respond_error(net.taken(receiver)[0], 0, "", 0)


def test_texts_of_peers() -> None:
    assert lenient_text(b"gr\xc3\xbcn") == "grün"
    assert lenient_text(b"\xffa\x01") == "?a?"


def test_numbers_are_used_again() -> None:
    writer = AliasTable(2, (), 1)
    assert [writer.write(id) for id in (b"a", b"b", b"a", b"c", b"a")] == [
        b"\0\x01a",
        b"\0\x02b",
        b"\x01",
        b"\0\x01c",
        b"\0\x02a",
    ]
    item = Message(codes.SIGNAL)
    item.signal = codes.CANCEL
    item.id = 300
    assert write_message(item, writer, writer, b"", 0, False) == b"\xf0\x01\xac\x02"


# The rarer turns


def feed(net: LeafNet, *wires: bytes) -> None:
    for wire in wires:
        net.hear(net.leaf, net.cord.connection.receive_data(frame(wire), net.now))


def written(net: LeafNet) -> list[bytes]:
    return bodies(net.cord.connection.data_to_send(65536, net.now))


def test_what_is_not_for_it_is_counted() -> None:
    net = LeafNet("m")
    other = b"\x00\x03" + b"o" * 20
    feed(
        net,
        b"\xf8\x08\xff\x02\x01\x05",  # CANCEL, from itself
        b"\x88\x04\xff" + other + b"\x00\x01" + E + b"\x00\x01",
        b"\xc8\x04\xff\x03\x05",
    )
    assert net.leaf.counters["misrouted"] == 3


def test_what_concerns_streams_is_read_and_let_be() -> None:
    net = LeafNet("m")
    feed(net, b"\xf0\x04\x05\x00\x01", b"\xf0\x06\x05\x00\x01")
    assert net.cord.connection.state == codes.OPEN
    assert written(net) == []


def test_probes_are_answered_with_credit_and_tell_what_was_lost() -> None:
    net = LeafNet("m")
    serving(net)
    topic = serving(net, F, BROADCAST)
    alias = b"\x00\x01" + E
    feed(net, b"\xf0\x03\x00\x02" + G + b"\x00\x01")
    assert written(net) == []
    feed(net, b"\x80" + alias + b"\x00\x03", b"\xf0\x03\x01\x00\x05")
    (credit,) = written(net)
    assert credit[:3] == b"\xf0\x02\x00"
    assert net.leaf.counters["missed"] == 2
    feed(net, b"\xf0\x03\x01\x00\x02")  # of the same session: late
    assert len(written(net)) == 1
    net.leaf._in[0].session = 0
    feed(net, b"\xf0\x03\x01\x00\x02")  # of a new one: its origin has started anew
    assert net.leaf._in[0].last == 2
    feed(net, b"\xf0\x03\x00\x02" + F + b"\xff\xff")
    assert [flow.last for flow in net.leaf._in if flow.endpoint == topic.uuid] == [0xFFFF]


def test_verdicts_that_do_not_come() -> None:
    net = LeafNet("m")
    holding(net)
    sent = net.leaf.send(F, b"", net.now, confirm=True, timeout_ms=1000)
    unsent = net.leaf.send(G, b"", net.now, confirm=True, timeout_ms=1000, ttl_ms=9000)
    waiting = net.leaf.request(G, b"", net.now, ttl_ms=9000)
    net.settle()
    net.leaf.cancel(waiting, net.now)
    net.pass_time(3000)
    assert net.verdicts(sent) == [(events.UNKNOWN, codes.EXPIRED)]
    assert net.verdicts(unsent) == [(events.UNDELIVERED, codes.EXPIRED)]
    assert net.verdicts(waiting) == [(events.CANCELLED, 0)]


def test_an_error_of_no_endpoint_makes_it_ask_again() -> None:
    net = LeafNet("m")
    holding(net)
    token = net.leaf.request(F, b"", net.now)
    net.settle()
    feed(net, b"\xe0" + varint(token) + b"\x01")
    assert net.verdicts(token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert not net.leaf._targets[F].known
    net.leaf.send(F, b"", net.now)
    assert written(net)[0][:2] == b"\xf0\x07"
    feed(net, b"\xf0\x05\x00\x07" + F + b"\0\x01\x01")
    del net.leaf._targets[F]
    feed(net, b"\xf0\x05\x07\0\x01\x01")
    assert len(net.heard(events.UNDELIVERABLE)) == 2


def test_a_node_that_goes_leaves_the_others_alone() -> None:
    net = LeafNet("m")
    serving(net)
    holding(net, F)
    holding(net, G)
    token = net.leaf.request(F, b"", net.now)
    net.leaf.send(b"H" * 16, b"", net.now, ttl_ms=5000)
    net.router.request(E, b"", net.now)
    net.settle()
    net.leaf.node_gone(b"o" * 20, net.now)
    assert net.verdicts(token) == []
    assert len(net.leaf._serving) == 1
    assert net.leaf._targets[F].flow is not None


def test_many_answers_and_a_broken_link_that_was_closing() -> None:
    net = LeafNet("m")
    serving(net)
    for number in range(20):
        feed(net, b"\x80\x00\x01" + G + bytes((0, number)))
    assert len(written(net)) == 20
    net.leaf.close(net.now)
    assert written(net)[-1][0] == codes.CLOSE
    feed(net, b"\x0f")
    assert net.cord.connection.close_code == codes.UNKNOWN_FRAME
    assert written(net) == []  # CLOSE was the last


def test_a_link_that_is_used_is_not_pinged() -> None:
    net = LeafNet("m")
    net.cord.cut()
    net.cord = net.plug(net.leaf, net.router, keepalive_ms=1000)
    net.settle()
    net.now += 600
    feed(net, b"\x41\0")
    net.now += 400
    net.leaf.handle_timer(net.now)
    assert written(net) == []
    assert net.leaf.next_deadline() == net.now + 600
    feed(net, b"\xa0\x00\x01" + E + b"\0\x01\x01\x00")
    assert net.cord.connection.close_code == codes.MALFORMED


def test_the_least_recently_heard_pair_is_forgotten_first() -> None:
    net = LeafNet("m", peers_max=2)
    receiver = serving(net)
    for key in (b"1", b"2", b"1", b"3"):
        wire = b"\x88\x08\xff\x00\x03" + key * 20 + b"\x00\x01" + E + b"\x00\x01"
        net.cord.connection.receive_data(frame(wire), net.now)
    assert [flow.key[:1] for flow in net.leaf._in] == [b"1", b"3"]
    for uuid in (F, G, b"H" * 16):
        holding(net, uuid)
    for uuid in (F, G, F, b"H" * 16):
        net.leaf.send(uuid, b"", net.now)
        net.settle()
    assert [flow.endpoint for flow in net.leaf._out] == [F, b"H" * 16]
    assert len(net.taken(receiver)) == 3
    target = net.leaf._targets[F] = Target()
    target.flow = net.leaf._out[0]
    net.leaf._new_flow(net.leaf._out, b"l" * 20, uuid, 0)
    assert target.flow is None


def test_an_origin_that_counts_anew_after_a_long_pause_is_heard() -> None:
    """It forgets a pair that it has not used for a while, and a leaf tells nobody that it does."""
    net = LeafNet("m")
    receiver = serving(net, E, BROADCAST)

    def hear(number: int) -> None:
        wire = b"\x98\x08\xff\x00\x03" + b"1" * 20 + b"\x00\x01" + E + bytes((0, number))
        net.cord.connection.receive_data(frame(wire), net.now)

    hear(9)
    net.now += codes.FLOW_FORGET_IN_MS - 1
    hear(1)
    assert (len(net.taken(receiver)), net.leaf.counters["late"]) == (1, 1)
    net.now += 1
    hear(1)
    hear(2)
    assert (len(net.taken(receiver)), net.leaf.counters["late"]) == (2, 1)


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
