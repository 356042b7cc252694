"""Streaming replies: parts, windows, lost parts, timeouts, cancellation."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Limits, Receiver, Request, codes, events
from tests.protocol.helpers import A, assert_settled, forge, parts_of, verdicts
from tests.protocol.pairs import E, Net, Pair


def stream(net: Pair, window: int = 4, **options: Any) -> tuple[int, Request, Receiver]:
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    token = net.a.request(E, b"q", net.now, window=window, **options)
    net.pump()
    request = net.b.take(receiver, net.now)
    assert isinstance(request, Request)
    return token, request, receiver


def test_parts_come_in_order_as_far_as_the_window_allows() -> None:
    net = Pair()
    token, request, _ = stream(net, window=4)
    tokens = [net.b.respond_part(request, b"%d" % number, net.now) for number in range(10)]
    assert tokens[:4] == [0] * 4
    assert all(tokens[4:])
    net.pump()
    assert parts_of(net, token) == [b"0", b"1", b"2", b"3"]
    for _ in range(10):
        net.a.consume_part(token, net.now)
        net.pump()
    assert parts_of(net, token) == [b"%d" % number for number in range(10)]
    assert [o.token for o in net.seen(net.b, events.OUTCOME)] == tokens[4:]
    net.b.respond_end(request, net.now)
    net.pump()
    assert [o.status for o in net.outcomes(net.a, token)] == [events.PARTIAL] * 10 + [events.ENDED]
    assert_settled(net)


def test_a_window_of_one_is_a_stream_too() -> None:
    net = Pair()
    token, request, _ = stream(net, window=1)
    for number in range(5):
        net.b.respond_part(request, b"%d" % number, net.now, codes.CBOR)
        net.pump()
        net.a.consume_part(token, net.now)
        net.a.consume_part(token, net.now)  # more than came: means nothing
        net.pump()
    net.b.respond_end(request, net.now)
    net.pump()
    assert parts_of(net, token) == [b"%d" % number for number in range(5)]
    assert {o.format for o in net.outcomes(net.a, token)[:5]} == {codes.CBOR}
    net.a.consume_part(token, net.now)  # it is over


def test_part_indices_go_round() -> None:
    net = Pair()
    token, request, _ = stream(net, window=1000)
    assert request.stream is not None
    pending = net.a.origin.pending[token]
    shift = 65530
    pending.next_part = pending.consumed = shift
    request.stream.sent = shift
    request.stream.limit = shift + 1000
    for number in range(20):
        net.b.respond_part(request, b"%d" % number, net.now)
    net.b.respond_end(request, net.now)
    net.pump()
    assert parts_of(net, token) == [b"%d" % number for number in range(20)]
    assert net.outcomes(net.a, token)[-1].status == events.ENDED


@pytest.mark.parametrize("index", [1, 65535])
def test_a_lost_part_ends_the_stream(index: int) -> None:
    net = Pair()
    token, request, _ = stream(net)
    forge(net.b, A, codes.PART, token, number=index, payload=b"x")
    net.pump()
    assert verdicts(net, net.a, token) == [(events.UNDELIVERED, codes.PART_LOST)]
    assert [event.request for event in net.seen(net.b, events.REQUEST_CANCELLED)] == [request]
    assert net.b.respond_part(request, b"x", net.now) == 0  # nobody wants it any more
    assert net.b.respond_end(request, net.now) == 0
    net.pump()
    assert_settled(net)


def test_parts_beyond_the_window_end_the_stream() -> None:
    net = Pair()
    token, _, _ = stream(net, window=2)
    for number in range(3):
        forge(net.b, A, codes.PART, token, number=number, payload=b"x")
    net.pump()
    assert [o.status for o in net.outcomes(net.a, token)] == [
        events.PARTIAL,
        events.PARTIAL,
        events.UNDELIVERED,
    ]


@pytest.mark.parametrize("count", [1, 3])
def test_an_end_with_another_count_means_that_parts_are_missing(count: int) -> None:
    net = Pair()
    token, request, _ = stream(net)
    net.b.respond_part(request, b"0", net.now)
    net.b.respond_part(request, b"1", net.now)
    forge(net.b, A, codes.SIGNAL, token, number=count, extra=codes.END)
    net.pump()
    last = net.outcomes(net.a, token)[-1]
    assert (last.status, last.code) == (events.UNDELIVERED, codes.PART_LOST)


def test_a_part_for_a_plain_request_is_none_of_it() -> None:
    net = Pair()
    net.b.register(E, codes.UNICAST)
    net.pump()
    token = net.a.request(E, b"q", net.now)
    net.pump()
    forge(net.b, A, codes.PART, token, payload=b"x")
    net.pump()
    assert verdicts(net, net.a, token) == []
    assert net.a.origin.counters["unknown_reply"] == 1
    forge(net.b, A, codes.REPLY, token, payload=b"r")
    net.pump()
    assert verdicts(net, net.a, token) == [(events.REPLIED, 0)]


def test_a_stream_may_be_answered_with_one_reply_or_an_error() -> None:
    for answer in ("reply", "error"):
        net = Pair()
        token, request, _ = stream(net)
        net.b.respond_part(request, b"0", net.now)
        if answer == "reply":
            net.b.respond(request, b"all", net.now)
        else:
            net.b.respond_error(request, codes.HANDLER_FAILED, "ValueError: x", net.now)
        net.pump()
        last = net.outcomes(net.a, token)[-1]
        assert last.status == (events.REPLIED if answer == "reply" else events.FAILED)
        assert_settled(net)


def test_a_streams_timeout_counts_from_its_last_part_and_not_while_the_program_reads() -> None:
    net = Pair()
    token, request, _ = stream(net, timeout_ms=1000)
    for number in range(3):
        net.advance(900)
        net.b.respond_part(request, b"%d" % number, net.now)
        net.pump()
    net.advance(10_000)  # the program has parts to read: the stream is not late
    assert [o.status for o in net.outcomes(net.a, token)] == [events.PARTIAL] * 3
    for _ in range(3):
        net.a.consume_part(token, net.now)
    net.advance(1100)
    assert net.outcomes(net.a, token)[-1].status == events.TIMED_OUT
    assert_settled(net)


def test_a_streams_timeout_begins_when_the_program_has_read_what_there_was() -> None:
    net = Pair()
    token, request, _ = stream(net, timeout_ms=1000)
    net.b.respond_part(request, b"0", net.now)
    net.pump()
    net.advance(codes.PROBE_MS * 3 - 50)
    net.a.consume_part(token, net.now)
    net.advance(900)
    assert [o.status for o in net.outcomes(net.a, token)] == [events.PARTIAL]
    net.advance(200)
    assert net.outcomes(net.a, token)[-1].status == events.TIMED_OUT
    assert_settled(net)


def test_cancelling_a_stream_stops_the_server() -> None:
    net = Pair()
    token, request, _ = stream(net, window=2)
    parked = [net.b.respond_part(request, b"x", net.now) for _ in range(4)][2:]
    net.pump()
    net.a.cancel(token, net.now)
    net.pump()
    assert [o.status for o in net.outcomes(net.a, token)] == [events.PARTIAL] * 2 + [events.CANCELLED]
    for one in parked:
        assert [o.status for o in net.outcomes(net.b, one)] == [events.CANCELLED]
    assert [event.request for event in net.seen(net.b, events.REQUEST_CANCELLED)] == [request]
    assert_settled(net)


def test_a_cancel_follows_a_large_request_that_is_being_written() -> None:
    net = Pair(limits=Limits(frame_size_max=1000))
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    token = net.a.request(E, bytes(50_000), net.now, window=1)
    net.step(size=5000)
    assert net.cb.inbox.assemblies
    net.a.cancel(token, net.now)
    net.pump()
    assert net.drain(net.b, receiver) == []
    assert verdicts(net, net.a, token) == [(events.CANCELLED, 0)]
    assert_settled(net)


def test_a_cancel_moves_to_another_link_behind_its_request() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.link(net.a, net.b, via="tcp://h:1", realm=codes.LOCALNET)
    net.pump()
    token = net.a.request(E, b"q", net.now, window=1)
    net.pump()
    assert net.b.take(receiver, net.now) is not None
    net.cable.block(net.a)
    net.a.cancel(token, net.now)
    net.cable.cut()
    net.pump()
    assert len(net.seen(net.b, events.REQUEST_CANCELLED)) == 1
    assert_settled(net)


def test_a_reader_that_takes_its_time_keeps_its_stream() -> None:
    net = Pair()
    token, request, _ = stream(net, window=2, timeout_ms=1000)
    for number in range(3):
        net.b.respond_part(request, b"%d" % number, net.now)
    net.pump()
    net.advance(1_000_000)
    assert parts_of(net, token) == [b"0", b"1"]
    net.a.consume_part(token, net.now)
    net.a.consume_part(token, net.now)
    net.pump()
    assert parts_of(net, token) == [b"0", b"1", b"2"]
    net.b.respond_end(request, net.now)
    net.pump()
    assert verdicts(net, net.a, token)[-1] == (events.ENDED, 0)


def test_a_node_that_takes_its_time_keeps_a_stream_of_its_own() -> None:
    net = Net()
    node = net.node("a")
    receiver = node.register(E, codes.UNICAST)
    token = node.request(E, b"q", net.now, window=1)
    request = node.take(receiver, net.now)
    assert isinstance(request, Request)
    node.respond_part(request, b"0", net.now)
    node.respond_part(request, b"1", net.now)
    net.advance(1_000_000)
    assert parts_of(net, token) == [b"0"]
    node.consume_part(token, net.now)
    net.advance(0)
    assert parts_of(net, token) == [b"0", b"1"]


def test_a_reader_of_whom_nothing_is_heard_loses_its_stream() -> None:
    """Its cancel was lost, with one of two links: its node is still there."""
    net = Pair()
    token, request, _ = stream(net, window=1)
    waiting = [net.b.respond_part(request, b"x", net.now) for _ in range(2)][1]
    net.pump()
    net.a.cancel(token, net.now)
    net.ca.outbox.leftovers()
    net.advance(codes.STREAM_PATIENCE_MS - 1)
    assert verdicts(net, net.b, waiting) == []
    net.advance(60_000)
    assert verdicts(net, net.b, waiting) == [(events.CANCELLED, 0)]
    assert [event.request for event in net.seen(net.b, events.REQUEST_CANCELLED)] == [request]
    assert_settled(net)


def test_a_stream_asked_for_in_no_time_does_not_keep_its_server_busy() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    net.a.request(E, b"q", net.now, window=1, timeout_ms=2)
    net.pump()
    request = net.b.take(receiver, net.now)
    assert isinstance(request, Request)
    for _ in range(2):
        net.b.respond_part(request, b"x", net.now)
    net.pump()
    rounds = 0
    start = net.now
    while net.now < start + 60_000:
        deadline = net.b.next_deadline()
        assert deadline is not None
        net.advance(max(1, deadline - net.now))
        rounds += 1
    assert rounds < 200


def test_the_end_of_a_stream_takes_the_way_of_its_parts() -> None:
    net = Pair(via="tcp://h:1", realm=codes.LOCALNET)
    token, request, _ = stream(net, window=10)
    net.b.respond_part(request, b"0", net.now)
    net.pump()
    net.link(net.a, net.b)  # a better link
    net.pump()
    net.cable.block(net.b)
    net.b.respond_part(request, b"1", net.now)
    net.b.respond_end(request, net.now)
    net.pump()
    net.cable.block(net.b, False)
    net.pump()
    assert parts_of(net, token) == [b"0", b"1"]
    assert verdicts(net, net.a, token)[-1] == (events.ENDED, 0)
