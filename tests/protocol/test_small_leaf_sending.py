"""The small leaf as a sender: credit, outcomes, and holders in conflict."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import (
    EndpointTakenError,
    FullError,
    codes,
    events,
)
from busway.protocol.wire.fields import frame

from .leaves import LeafNet
from .pairs import E, F, G, bodies
from .test_small_leaf import ANYCAST, BROADCAST, UNICAST, holding, payloads, serving

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
