"""Streaming replies of the small leaf, asked for by a router: credit, the end, cancelling, and types."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import LocalError, codes, events
from busway.protocol.leaf.frames import Message
from busway.protocol.leaf.streams import respond_end, respond_part
from busway.protocol.wire.fields import frame, u16, varint

from .leaves import LeafNet
from .pairs import E, F
from .test_small_leaf import holding, payloads, serving

TYPE = b"a type's own id."


def asked(net: LeafNet, window: int = 4, at: int = 0) -> tuple[int, Message]:
    """A request for a stream, by a node, and as it has come to the leaf."""
    receiver = serving(net)
    token = net.nodes[at].request(E, b"?", net.now, window=window)
    net.settle()
    (request,) = net.taken(receiver)
    return token, request


def came(net: LeafNet, token: int, at: int = 0) -> list[Any]:
    return [
        (outcome.status, outcome.code or outcome.payload) for outcome in net.outcomes(net.nodes[at], token)
    ]


@pytest.mark.parametrize("at", [0, 1])
def test_parts_come_in_order_as_there_is_room_and_then_the_end(at: int) -> None:
    net = LeafNet("mn")
    token, request = asked(net, 4, at)
    given = 0
    for _ in range(40):
        while given < 10 and respond_part(net.leaf, request, b"%d" % given, net.now):
            given += 1
        net.settle()
        assert given <= 4 + 2 * (len(came(net, token, at)) // 2)
        for _ in range(len(came(net, token, at))):
            net.nodes[at].consume_part(token, net.now)
        net.settle()
        if given == 10:
            break
    respond_end(net.leaf, request)
    net.settle()
    respond_end(net.leaf, request)  # twice is once
    assert respond_part(net.leaf, request, b"late", net.now)
    net.settle()
    parts = [(events.PARTIAL, b"%d" % number) for number in range(10)]
    assert came(net, token, at) == [*parts, (events.ENDED, b"")]


def test_parts_that_wait_to_be_written_are_bounded() -> None:
    net = LeafNet("m", pending_max=2)
    _, request = asked(net, 16)
    assert [respond_part(net.leaf, request, b"x", net.now) for _ in range(3)] == [True, True, False]


def test_who_wants_one_reply_gets_no_parts() -> None:
    net = LeafNet("m")
    _, request = asked(net, 0)
    with pytest.raises(LocalError, match="not a stream"):
        respond_part(net.leaf, request, b"x", net.now)


def test_a_part_that_the_link_does_not_take_ends_the_stream() -> None:
    net = LeafNet("m")
    token, request = asked(net)
    assert respond_part(net.leaf, request, b"x" * 1025, net.now)
    net.settle()
    assert came(net, token) == [(events.UNDELIVERED, codes.MESSAGE_TOO_LARGE)]


def test_a_stream_that_is_cancelled_ends() -> None:
    net = LeafNet("m")
    token, request = asked(net)
    assert respond_part(net.leaf, request, b"x", net.now)
    net.router.cancel(token, net.now)
    net.settle()
    assert [event.request for event in net.heard(events.REQUEST_CANCELLED)] == [request]
    assert respond_part(net.leaf, request, b"y", net.now)
    net.settle()
    assert not net.leaf.answers


def test_a_slow_reader_keeps_its_stream_by_saying_that_it_is_there() -> None:
    """A request has 30 s; one whose parts wait for its asker's program is not late."""
    net = LeafNet("m")
    token, request = asked(net, 1)
    assert respond_part(net.leaf, request, b"x", net.now)
    for _ in range(5):
        net.pass_time(29_000)
        assert not respond_part(net.leaf, request, b"y", net.now)
    net.router.consume_part(token, net.now)
    net.settle()
    assert respond_part(net.leaf, request, b"y", net.now)
    respond_end(net.leaf, request)
    net.router.consume_part(token, net.now)
    net.settle()
    assert came(net, token) == [(events.PARTIAL, b"x"), (events.PARTIAL, b"y"), (events.ENDED, b"")]


def test_room_that_was_told_is_not_taken_back() -> None:
    net = LeafNet("m")
    _, request = asked(net, 4)
    for limit in (2, 0xFFFF):
        body = b"\xf0\x04" + varint(request.id) + u16(limit)
        net.cord.connection.receive_data(frame(body), net.now)
        assert request.window == 4


def test_a_type_of_its_own_travels_both_ways() -> None:
    """As the endpoint's own (format 2), and named (format 3); in replies and parts as well."""
    net = LeafNet("m")
    far = holding(net, F)
    for type_id in (TYPE, F):
        net.leaf.send(F, b"typed", net.now, type_id)
    net.settle()
    first, second = net.drain(net.router, far)
    assert (first.format, first.type_id) == (codes.TYPED, TYPE)
    assert second.format == codes.TYPED_AS_ENDPOINT
    assert payloads([first, second]) == [b"typed"] * 2
    token, request = asked(net)
    respond_part(net.leaf, request, b"part", net.now, TYPE)
    respond_end(net.leaf, request)
    net.settle()
    assert next((o.format, o.type_id) for o in net.outcomes(net.router, token)) == (codes.TYPED, TYPE)
    for wrong in (b"short", codes.TYPED):
        with pytest.raises(LocalError):
            net.leaf.send(F, b"typed", net.now, wrong)
