"""Messages to another endpoint each time: the same promises as to one, and not much more work."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busway.protocol import Message, Receiver, codes, events
from busway.protocol.errors import Refusal
from busway.protocol.link.fast import read_credit
from busway.protocol.messaging.correspondent import talk
from busway.protocol.wire.aliases import AliasTable, AliasWriter
from busway.protocol.wire.fields import Reader
from busway.protocol.wire.messages import read_frame, write_header
from tests.rigs.steps import steps

from .helpers import B, payloads
from .pairs import Pair

MANY, BURST = 16, 128
CREDIT = codes.MESSAGE | codes.SIGNAL << 4


def in_turn(count: int, *, runs: bool = True) -> tuple[Pair, list[bytes], list[Receiver]]:
    """Node a has sent to `count` endpoints of b long enough for their windows to have grown."""
    net = Pair(runs=runs)
    names = [b"endpoint" + number.to_bytes(8, "big") for number in range(count)]
    receivers = [net.b.register(name, codes.UNICAST) for name in names]
    net.pump()
    for burst in (1, 2, 4, 8, 16, 32, 64, 128):
        for name, receiver in zip(names, receivers, strict=True):
            for _ in range(burst):
                net.a.send(name, b"x" * 16, net.now)
            net.pump()
            net.drain(net.b, receiver)
    net.pump()
    return net, names, receivers


def burst_steps(count: int, *, runs: bool = False) -> float:
    """Lines that one message of a burst to so many endpoints in turn costs, on both sides."""
    net, names, receivers = in_turn(count, runs=runs)

    def burst() -> None:
        for number in range(BURST):
            assert net.a.post(names[number % count], b"x" * 16, net.now)
        data = net.ca.data_to_send(1 << 20, net.now)
        net.cb.receive_data(data, net.now)
        for number in range(BURST):
            assert net.b.take(receivers[number % count], net.now) is not None

    return steps(burst, "/protocol/") / BURST


def test_a_message_to_another_each_time_costs_not_twice_the_lines() -> None:
    one, many = burst_steps(1), burst_steps(MANY)
    assert many < one * 2.2, (one, many)


def test_messages_in_one_frame_cost_a_sixth_less() -> None:
    alone, together = burst_steps(1), burst_steps(1, runs=True)
    if alone < BURST / 16:
        pytest.skip("compiled, nobody sees its lines")
    assert together < alone * 5 / 6, (alone, together)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_message_to_another_each_time_costs_no_more_where_others_might_travel_together() -> None:
    alone, together = burst_steps(MANY), burst_steps(MANY, runs=True)
    assert together < alone * 1.02, (alone, together)


SENT = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["post", "post", "post", "many", "cbor", "confirm", "pump", "some"]),
    ),
    max_size=60,
)


@given(SENT, st.sampled_from([3, 17, 4096]))
@settings(max_examples=40)
def test_the_numbers_of_each_go_on_whatever_is_sent_in_between(
    sent: list[tuple[int, str]], size: int
) -> None:
    net, names, receivers = in_turn(3)
    expected: list[list[bytes]] = [[], [], []]
    for number, (which, what) in enumerate(sent):
        name, payload = names[which], b"%d" % number * (number % 5)
        if what == "pump":
            net.pump(size=size)
        elif what == "some":
            net.cb.receive_data(net.ca.data_to_send(size, net.now), net.now)
        elif what == "many":
            assert net.a.send_many(name, [payload, payload], net.now) == 2
            expected[which] += [payload, payload]
        else:
            if what == "confirm":
                net.a.send(name, payload, net.now, confirm=True)
            else:
                assert net.a.post(name, payload, net.now, codes.CBOR if what == "cbor" else codes.RAW)
            expected[which].append(payload)
    net.pump(size=size)
    for which, receiver in enumerate(receivers):
        got: list[Message] = net.drain(net.b, receiver)
        assert payloads(got) == expected[which]
        assert [message.missed for message in got] == [0] * len(got)
        first = got[0].seq if got else 0
        assert [message.seq for message in got] == list(range(first, first + len(got)))


def test_what_waits_on_a_link_that_ends_goes_on_in_order_over_the_next() -> None:
    net, names, receivers = in_turn(2)
    flow = talk(net.a.routes.peers[B]).out_flows[names[0]]
    before = flow.run
    assert before is not None
    net.link(net.a, net.b)
    net.pump()
    net.ca.fail(codes.GOODBYE, "", net.now)
    assert flow.link() is not net.ca
    assert flow.run is None, "its number and its prefix are of the former link"
    net.pump()
    for number in range(4):
        net.a.send(names[number % 2], b"%d" % number, net.now)
    net.pump()
    assert [payloads(net.drain(net.b, receiver)) for receiver in receivers] == [[b"0", b"2"], [b"1", b"3"]]


# Credit


def bound(count: int) -> tuple[AliasWriter, AliasTable]:
    writer, table = AliasWriter(codes.ALIASES_MAX), AliasTable(codes.ALIASES_MAX)
    for number in range(count):
        data = writer.write(number.to_bytes(16, "big"))
        table.read(Reader(data, 0, len(data)))
    return writer, table


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("before", [0, 126, 127, 5000])
def test_credit_is_written_the_same_both_ways(before: int) -> None:
    net, names, _ = in_turn(1)
    [flow] = [flow for peer in net.b.routes.peers.values() for flow in talk(peer).in_flows.values()]
    writer, _ = bound(before)
    assert flow.short_credit(writer, flow.peer.key) == b"", "nothing is bound"
    writer.write(names[0])
    assert flow.short_credit(writer, b"another") == b""
    header = write_header(flow.credit(), writer, AliasWriter(8, (b"", flow.peer.key)), flow.peer.key, net.now)
    assert flow.short_credit(writer, flow.peer.key) == bytes((len(header),)) + header


@pytest.mark.parametrize(
    "alias", [b"\0", b"\1", b"\x7f", b"\x80\1", b"\x81\0", b"\x81\1", b"\xff\x7f", b"\x82\1"]
)
@pytest.mark.parametrize("rest", [b"", b"\1", b"\1\2", b"\1\2\3", b"\x80\2\3"])
def test_credit_is_read_the_same_both_ways(alias: bytes, rest: bytes) -> None:
    _, table = bound(200)
    data = alias + rest
    short = read_credit(data, 0, len(data), table)
    if short is None:
        return
    reader = Reader(bytes((codes.CREDIT,)) + data, 0, len(data) + 1)
    try:
        long = read_frame(CREDIT, reader, table, table, 0)
    except Refusal:  # the short way takes nothing that is refused
        raise AssertionError(data) from None
    assert (short.kind, short.signal) == (long.kind, long.signal)
    assert (short.endpoint, short.number) == (long.endpoint, long.number)


@pytest.mark.parametrize("data", [b"\1\1\2", b"\x81\1\1\2"])
def test_usual_credit_goes_the_short_way(data: bytes) -> None:
    _, table = bound(200)
    frame = read_credit(data, 0, len(data), table)
    assert frame is not None
    assert frame.number == 0x0102


# Events


def test_who_looks_by_himself_is_told_nothing() -> None:
    net, names, receivers = in_turn(1)
    receivers[0].told = False
    net.fresh(net.b)
    net.a.send(names[0], b"x", net.now)
    net.pump()
    assert not net.seen(net.b, events.MESSAGES) or not [
        event for event in net.fresh(net.b) if event.kind == events.MESSAGES
    ]
    assert payloads(net.drain(net.b, receivers[0])) == [b"x"]
