"""Endpoints and nodes with numbers of two bytes: the short ways take them as the long ones do, and a message
costs the same however many endpoints are sent to in turn."""

from __future__ import annotations

import pytest

from busway.protocol import Receiver, codes, events
from busway.protocol.link.fast import write_plain, write_run
from busway.protocol.link.queue import OVERHEAD, SendQueue
from busway.protocol.wire.aliases import AliasWriter
from busway.protocol.wire.fields import frame, varint
from busway.protocol.wire.messages import Frame, write_header
from tests.rigs.steps import steps

from .pairs import START, E, Net, Pair

ME, PEER = b"\1" * 20, b"\2" * 20
ALIASES = (1, 127, 128, 16383)
NODES = (3, 127, 128, 16384)


def endpoint(number: int) -> bytes:
    return number.to_bytes(16, "big")


def node(number: int) -> bytes:
    return number.to_bytes(20, "big")


@pytest.fixture(scope="module")
def writers() -> tuple[AliasWriter, AliasWriter]:
    """All numbers are bound."""
    aliases, nodes = AliasWriter(codes.ALIASES_MAX), AliasWriter(codes.ROUTES_MAX, (ME, PEER))
    for number in range(1, codes.ALIASES_MAX + 1):
        aliases.write(endpoint(number))
    for number in range(3, codes.ROUTES_MAX + 1):
        nodes.write(node(number))
    return aliases, nodes


@pytest.mark.parametrize("destination", [PEER, *map(node, NODES)])
def test_plain_messages_are_written_the_same(
    writers: tuple[AliasWriter, AliasWriter], destination: bytes
) -> None:
    queue, parts, expected = SendQueue(), list[bytes](), b""
    for number in ALIASES:
        for size in (0, 118, 122, 123, 124, 16378, 16380):
            kind = codes.PUBLISH if size == 122 else codes.SEND
            out = Frame(kind, destination, endpoint(number), 0x1_2345, bytes(size), codes.CBOR, b"")
            queue.add(out)
            if kind == codes.PUBLISH:
                out = Frame(kind, PEER, endpoint(number), 0x1_2345, bytes(size), codes.CBOR, b"")
            header = write_header(out, *writers, PEER, START)
            expected += varint(len(header) + size) + header + bytes(size)
    assert write_plain(queue, parts, 7, 1 << 24, 65536, *writers, PEER) == 7 + len(expected)
    assert b"".join(parts) == expected
    assert (queue.size, queue.items) == (0, [])


@pytest.mark.parametrize("destination", [PEER, *map(node, NODES)])
def test_a_run_is_written_the_same(writers: tuple[AliasWriter, AliasWriter], destination: bytes) -> None:
    queue, parts, expected = SendQueue(), list[bytes](), b""
    sizes = (0, 0, 118, 122, 123, 123, 124, 16378, 16380)
    payloads = [bytes(size) for size in sizes]
    for number in ALIASES:
        first = 0x1_00FA  # so that both bytes of it change
        size = sum(sizes) + len(sizes) * OVERHEAD
        queue.extend(object(), destination, endpoint(number), first, codes.CBOR, list(payloads), size)
        for seq, payload in enumerate(payloads, first):
            out = Frame(codes.SEND, destination, endpoint(number), seq, payload, codes.CBOR, b"")
            header = write_header(out, *writers, PEER, START)
            expected += varint(len(header) + len(payload)) + header + payload
    written = 0
    while queue.items:
        before = len(parts)
        written += write_run(queue, parts, 0, 20_000, 65536, *writers, PEER, False)
        assert len(parts) > before
    assert b"".join(parts) == expected
    assert written == len(expected)
    assert queue.size == 0


def test_a_run_stops_before_a_node_or_an_endpoint_without_a_number(
    writers: tuple[AliasWriter, AliasWriter],
) -> None:
    for destination, place in ((node(1), endpoint(1)), (PEER, E)):
        queue, parts = SendQueue(), list[bytes]()
        queue.add(Frame(codes.SEND, destination, place, 1, b"x", codes.CBOR, b""))
        assert write_plain(queue, parts, 0, 1 << 24, 65536, *writers, PEER) == 0
        assert len(queue.items) == 1
        queue.pop()
        queue.extend(None, destination, place, 1, codes.CBOR, [b"x"], 1 + OVERHEAD)
        assert write_run(queue, parts, 0, 1 << 24, 65536, *writers, PEER, True) == 0
        assert len(queue.items) == 2


def opened() -> tuple[Pair, Receiver]:
    """A link whose reader knows E by number 129."""
    pair = Pair()
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    data = frame(b"\x80\x00" + varint(129) + E + b"\x00\x01")
    pair.cb.receive_data(data, pair.now)
    assert pair.cb.state == codes.OPEN
    return pair, receiver


@pytest.mark.parametrize("alias", [b"\x81\x01", b"\x81\x81\x00"])
def test_a_number_is_read_by_the_bytes_that_it_has(alias: bytes) -> None:
    """In three bytes, the last of them zero, it is the same number."""
    pair, receiver = opened()
    for seq in (2, 3):
        pair.cb.receive_data(frame(b"\x80" + alias + seq.to_bytes(2, "big") + b"payload"), pair.now)
    found = [(message.seq, message.payload) for message in receiver.queue.drain()]
    assert found == [(1, b""), (2, b"payload"), (3, b"payload")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\x80\x82\x01\x00\x01", codes.UNKNOWN_ALIAS),
        (b"\x80\xff\x7f\x00\x01", codes.UNKNOWN_ALIAS),
        (b"\x80\xff\xff\x01\x00\x01", codes.UNKNOWN_ALIAS),
        (b"\x80\x81", codes.MALFORMED),
        (b"\x80\x81\x01\x00", codes.MALFORMED),
    ],
)
def test_a_number_that_was_not_bound_or_is_cut_off_ends_the_link(body: bytes, code: int) -> None:
    pair, receiver = opened()
    found = pair.cb.receive_data(frame(body) + frame(b"\x80\x81\x01\x00\x02more"), pair.now)
    assert pair.cb.state == codes.CLOSED
    assert [event.code for event in found if isinstance(event, events.LinkEvent)] == [code]
    assert len(receiver.queue.drain()) == 1


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_message_costs_the_same_however_many_endpoints_are_sent_to_in_turn() -> None:
    costs = []
    for count in (1, 400):
        net = Net()
        a, b = net.node("a"), net.node("b")
        net.link(a, b)
        receivers = [b.register(endpoint(number), codes.UNICAST) for number in range(1, count + 1)]
        net.pump()

        def turn(times: int) -> None:
            for _ in range(times):
                for number, receiver in enumerate(receivers, 1):  # noqa: B023 - at once
                    a.send(endpoint(number), b"x", net.now)  # noqa: B023
                    net.pump()  # noqa: B023
                    assert b.take(receiver, net.now) is not None  # noqa: B023

        turn(20 if count == 1 else 2)  # numbers and credit
        times = 400 if count == 1 else 1
        costs.append(steps(lambda: turn(times), "/protocol/") / 400)  # noqa: B023 - at once
    assert costs[1] < costs[0] * 1.2
