"""Parts of streaming replies that bring things: so many are under way or wait, and no more."""

from __future__ import annotations

from typing import Any

from busway.protocol import Request, codes, events
from busway.protocol.wire.things import LINK_MAX, STREAM_MAX

from .beside import Machine, held, things
from .nets import UNICAST
from .pairs import E, Net
from .test_things import verdicts


def asked(net: Any, server: Any, receiver: Any, count: int = 1, **options: Any) -> list[tuple[int, Request]]:
    """Streams that a asks for, as their server has them."""
    tokens = [net.a.request(E, b"?", net.now, **{"window": 64, **options}) for _ in range(count)]
    net.pump()
    return list(zip(tokens, net.drain(server, receiver), strict=True))


def streams(count: int = 1, **options: Any) -> tuple[Machine, list[tuple[int, Request]]]:
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    return net, asked(net, net.b, receiver, count, **options)


def sends(net: Machine, request: Request, count: int, parts: int = 100) -> int:
    """How many parts with so many things go at once; another waits, and is called off."""
    for number in range(parts):
        token = net.b.respond_part(request, b"x", net.now, things=things(*range(count)))
        if token:
            net.b.cancel(token, net.now)
            return number
        net.pump()
    return parts


def test_no_other_part_goes_until_some_of_many_things_are_read() -> None:
    for count, at_once in [(1, STREAM_MAX), (2, STREAM_MAX // 2), (31, 2), (64, 1)]:
        net, [(token, request)] = streams()
        assert sends(net, request, count) == at_once
        assert held(net.ca) == net.a.receiving.pool.held == at_once * count
        waiting = net.b.respond_part(request, b"y", net.now, things=things(*range(count)))
        net.pump()
        assert held(net.ca) == at_once * count
        net.a.consume_part(token, net.now)
        net.pump()
        assert [event.status for event in net.outcomes(net.b, waiting)] == [events.ACCEPTED]
        assert held(net.ca) == at_once * count
        for _ in range(at_once):
            net.a.consume_part(token, net.now)
        net.pump()
        assert held(net.ca) == net.a.receiving.pool.held == 0
        net.b.respond_end(request, net.now)
        net.pump()
        assert [event.status for event in net.outcomes(net.a, token)] == [events.PARTIAL] * (at_once + 1) + [
            events.ENDED
        ]
        assert not net.b.receiving.going
        net.a.cancel(token, net.now)
        assert not net.a.origin.answers.waiting


def test_parts_without_things_have_the_whole_window_between_them() -> None:
    net, [(token, request)] = streams()
    net.b.respond_part(request, b"x", net.now, things=things(*range(STREAM_MAX - 1)))
    for _ in range(62):
        assert net.b.respond_part(request, b"plain", net.now) == 0
    assert net.b.respond_part(request, b"x", net.now, things=things(1)) == 0
    assert (
        net.b.respond_part(request, b"plain", net.now) != 0
    )  # the window's end, and as many things as may be
    net.pump()
    for read in range(64):
        assert held(net.ca) == (STREAM_MAX if not read else 1)
        net.a.consume_part(token, net.now)
        net.pump()
    assert held(net.ca) == 0
    assert len(net.outcomes(net.a, token)) == 65
    assert net.b.respond_part(request, b"x", net.now) == 0


def test_whoever_sends_more_than_may_wait_ends_its_stream() -> None:
    count = LINK_MAX // 64
    net, found = streams(count + 1)
    for _, request in found:
        assert sends(net, request, 64, 1) == 1
    last, request = found[-1]
    assert verdicts(net, net.a, last) == [(events.UNDELIVERED, codes.FILES_FULL)]
    assert held(net.ca) == LINK_MAX
    assert request.state != 0
    assert net.seen(net.b, events.REQUEST_CANCELLED) != []
    net.b.respond_part(found[0][1], b"plain", net.now)
    net.pump()
    for token, _ in found[:-1]:
        assert [event.status for event in net.outcomes(net.a, token)][:1] == [events.PARTIAL]


def test_who_stops_reading_has_nothing_waiting() -> None:
    net, found = streams(3)
    for _, request in found:
        assert sends(net, request, 10, 2) == 2
    (cancelled, _), (ended, request), (open_still, _) = found
    net.a.cancel(cancelled, net.now)
    assert held(net.ca) == 40
    net.b.respond_end(request, net.now)
    net.pump()
    assert [event.status for event in net.outcomes(net.a, ended)][-1] == events.ENDED
    assert held(net.ca) == 40  # the program has yet to read them
    for _ in range(2):
        net.a.consume_part(ended, net.now)
    assert held(net.ca) == 20
    assert list(net.a.origin.answers.waiting) == [open_still]
    net.a.consume_part(ended, net.now)  # one too many
    net.a.cancel(ended, net.now)
    net.a.cancel(open_still, net.now)
    assert (held(net.ca), net.a.receiving.pool.held) == (0, 0)


def test_within_one_node_it_is_the_same() -> None:
    net = Net()
    node = net.node("a")
    receiver = node.register(E, UNICAST)
    token = node.request(E, b"?", net.now, window=64)
    [request] = net.drain(node, receiver)
    for number in range(STREAM_MAX // 2):
        assert node.respond_part(request, number.to_bytes(1, "big"), net.now, things=things(1, 2)) == 0
    assert node.respond_part(request, b"x", net.now) != 0
    assert node.receiving.pool.held == STREAM_MAX
    node.consume_part(token, net.now)
    assert node.receiving.pool.held == STREAM_MAX - 2
    net.pump()
    assert len(net.outcomes(node, token)) == STREAM_MAX // 2 + 1
