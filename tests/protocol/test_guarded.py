"""Links in which somebody has a say: judged by who comes, counted, left unread."""

from __future__ import annotations

import random
from typing import Any

import pytest

from busway.protocol import Connection, Link, codes, events
from busway.protocol.errors import Refusal
from busway.protocol.link.meter import Meter
from busway.protocol.packet.guarded import GuardedConnection, GuardedPacketConnection, guarded
from busway.protocol.wire.fields import frame
from tests.rigs.effort import effort

from .lines import Line
from .pairs import Cable, E, Net, guard

MESSAGES = [frame(b"\x80\x01\x00\x01" + bytes(size)) for size in (0, 3, 123, 124, 20_000)]
OTHERS = [frame(b"\x04\x07"), frame(b"\x07\x00" + bytes(200)), frame(b"\x41")]


def test_messages_are_counted_wherever_the_stream_is_cut() -> None:
    rng = random.Random(7)
    stream = b"".join(rng.choices(MESSAGES + OTHERS, k=100))
    whole = Meter()
    whole.take(stream)
    again = Meter()
    pos = 0
    while pos < len(stream):
        step = rng.choice((1, 1, 2, 300, 5000))
        again.take(stream[pos : pos + step])
        pos += step
    expected = Meter()
    for each in MESSAGES:
        expected.take(each)
    assert expected.messages == len(MESSAGES)
    assert again.messages == whole.messages > 20


@pytest.mark.parametrize("wrong", [b"\x00", b"\xff\xff\xff\xff\xff\x00\x80"])
def test_what_is_no_frame_ends_the_count_and_is_cheap(wrong: bytes) -> None:
    meter = Meter()
    meter.take(MESSAGES[0] + wrong + MESSAGES[0])
    assert meter.messages == 1
    meter.take(MESSAGES[0])
    assert meter.messages == 1
    assert effort(lambda: Meter().take(b"\xff" * 1_000_000)) < 0.1


def joined(**options: Any) -> tuple[Net, Connection, GuardedConnection]:
    """Two nodes; the second, b, counts."""
    net = Net()
    a, b = net.node("a"), net.node("b")
    options = {"realm": codes.LOCALNET, "via": "x", **options}
    theirs = {key: value() if key == "security" else value for key, value in options.items()}
    ours = {key: value() if key == "security" else value for key, value in options.items()}
    near = a.connection(Link(dialled=True, **ours), net.now)
    far = b.connection(Link(dialled=False, **theirs), net.now, guarded)
    assert isinstance(far, GuardedConnection)
    far.count()
    net.cables.append(Cable(net, near, far))
    net.pump()
    assert far.state == codes.OPEN
    return net, near, far


def counted(connection: Connection) -> int:
    """The messages that a link has counted."""
    assert isinstance(connection, (GuardedConnection, GuardedPacketConnection))
    return connection.count().messages


def test_it_counts_from_within_a_piece_of_a_large_message_on() -> None:
    net = Net()
    a, b = net.node("a"), net.node("b")
    near = a.connection(Link(codes.LOCALNET, True, via="x"), net.now)
    far = b.connection(Link(codes.LOCALNET, False, via="x"), net.now, guarded)
    net.cables.append(Cable(net, near, far))
    b.register(E, codes.UNICAST)
    net.pump()
    for size in (200_000, 9, 9):
        a.send(E, b"\x80" * size, net.now)  # as if each byte began a message
    data = near.data_to_send(1 << 20, net.now)
    far.receive_data(data[:80_000], net.now)
    before = counted(far)
    far.receive_data(data[80_000:], net.now)
    assert (before, counted(far)) == (0, 2)


def test_it_counts_from_when_it_is_asked_to() -> None:
    """Also amid a frame; before that it costs nothing."""
    net = Net()
    a, b = net.node("a"), net.node("b")
    far = b.connection(Link(codes.LOCALNET, False), net.now, guarded)
    assert isinstance(far, GuardedConnection)
    net.cables.append(Cable(net, a.connection(Link(codes.LOCALNET, True, via="y"), net.now), far))
    net.pump()
    first = frame(b"\x80\x00\x01" + E + b"\x00\x01" + bytes(100))
    second = frame(b"\x80\x01\x00\x02" + bytes(100))
    far.waits_for = far
    far.receive_data(first, net.now)
    far.catch_up(net.now)
    far.receive_data(second[:50], net.now)
    assert far.meter is None
    assert counted(far) == 1  # the one that is coming in
    far.receive_data(second[50:] + second, net.now)
    assert counted(far) == 2
    assert far.state == codes.OPEN


@pytest.mark.parametrize("security", [None, guard])
def test_a_link_counts_what_comes(security: Any) -> None:
    net, _, far = joined(**({"security": security} if security else {}))
    a, b = net.nodes
    receiver = b.register(E, codes.UNICAST, codes.LOCALNET)
    net.pump()
    before = counted(far)
    for _ in range(100):
        a.send(E, b"x", net.now)
        net.pump(split=3)
        net.drain(b, receiver)
    assert counted(far) - before >= 100  # the questions for credit are messages, too
    a.send(E, bytes(200_000), net.now)
    net.pump()
    assert counted(far) - before < 110


def test_what_is_held_is_counted_once() -> None:
    """Behind a HELLO that displaces an older link the rest is put aside, and read again later."""
    net, near, far = joined()
    a, b = net.nodes
    receiver = b.register(E, codes.UNICAST, codes.LOCALNET)
    net.pump()
    ours = a.connection(Link(codes.LOCALNET, True, via="x"), net.now)
    theirs = b.connection(Link(codes.LOCALNET, False, via="x"), net.now, guarded)
    assert isinstance(theirs, GuardedConnection)
    assert counted(theirs) == 0
    hello = ours.data_to_send(1000, net.now)
    message = frame(b"\x80\x00\x01" + E + b"\x00\x01behind")
    theirs.receive_data(hello + message + message[:5], net.now)
    assert (theirs.waits_for, counted(theirs)) == (far, 0)
    theirs.receive_data(message[5:], net.now)
    assert counted(theirs) == 0
    far.receive_eof(net.now)
    assert counted(theirs) == 2
    assert [message.payload for message in net.drain(b, receiver)] == [b"behind"]
    assert near.state == codes.OPEN


def unread(net: Net, far: GuardedConnection, told: bool) -> None:
    """Let 20 s pass in which b does not read."""
    (cable,) = net.cables
    for _ in range(40):
        if told:
            far.unread(net.now)
        data = bytes(cable.end(far).inbox)
        cable.end(far).inbox.clear()
        net.advance(500, pump=False)
        there = far.data_to_send(65536, net.now)
        if there:
            net.note(net.nodes[0], cable.a.receive_data(there, net.now))
        cable.end(far).inbox += data + cable.a.data_to_send(65536, net.now)


def test_a_link_that_is_left_unread_stays() -> None:
    net, near, far = joined(keepalive_ms=1000)
    receiver = net.nodes[1].register(E, codes.UNICAST, codes.LOCALNET)
    net.pump()
    net.nodes[0].send(E, b"late", net.now)
    unread(net, far, told=True)
    assert (near.state, far.state) == (codes.OPEN, codes.OPEN)
    net.pump()
    assert [message.payload for message in net.drain(net.nodes[1], receiver)] == [b"late"]
    net.advance(20_000)
    assert (near.state, far.state) == (codes.OPEN, codes.OPEN)


def test_without_a_word_it_would_be_taken_for_dead() -> None:
    net, _, far = joined(keepalive_ms=1000)
    unread(net, far, told=False)
    assert far.close_code == codes.SILENT


def test_one_that_needs_no_keepalive_says_nothing() -> None:
    net, _, far = joined()
    net.advance(100_000)
    far.unread(net.now)
    assert not far.wants_write
    assert net.closings(far) == []


def test_packet_links_count_and_stay_too() -> None:
    line = Line(seed=3, keepalive_ms=1000)
    side = line.sides[1]
    side.connection.receive_eof(line.now)
    far = side.connection = side.node.connection(Link(codes.LOCALNET, **side.options), line.now, guarded)
    assert isinstance(far, GuardedPacketConnection)
    line.run(3000)
    assert far.state == codes.OPEN
    receiver = side.node.register(E, codes.UNICAST, codes.LOCALNET)
    topic = side.node.register(b"topic-id-16-byte", codes.BROADCAST, codes.LOCALNET)
    line.run(1000)
    near = line.sides[0].node
    far.waits_for = far
    near.send(E, b"x", line.now)
    near.publish(b"topic-id-16-byte", b"y", line.now, best_effort=True)
    line.run(500)
    far.catch_up(line.now)
    line.run(500)
    near.publish(b"topic-id-16-byte", b"y", line.now, best_effort=True)
    line.run(500)
    line.drain(1, receiver)
    line.drain(1, topic)
    assert far.meter is None
    before = counted(far)
    for _ in range(20):
        near.send(E, b"x", line.now)
        near.publish(b"topic-id-16-byte", b"y", line.now, best_effort=True)
        line.run(200)
    taken = [side.node.take(each, line.now) for each in (receiver, topic) for _ in range(len(each.queue))]
    assert counted(far) - before >= len(taken) >= 30
    far.waits_for = far  # as behind a HELLO that displaces an older link
    before = counted(far)
    near.send(E, b"held", line.now)
    line.run(200)
    assert (counted(far), len(receiver.queue)) == (before, 0)
    far.catch_up(line.now)
    assert (counted(far), len(receiver.queue)) == (before + 1, 1)
    far.unread(line.now)
    line.run(1000)
    assert far.state == codes.OPEN
    assert not [event for event in side.events if event.kind == events.LINK_CLOSED][1:]


# Who comes


@pytest.mark.parametrize("leaf", [False, True])
@pytest.mark.parametrize("role", [codes.ROLE_LEAF, codes.ROLE_ROUTER])
def test_who_comes_is_judged_by_who_it_is(leaf: bool, role: int) -> None:
    asked = []

    def accept(node_id: bytes, via: str) -> int:
        asked.append((node_id, via))
        return role

    net, near, far = offered(leaf, accept)
    net.pump()
    assert asked == [(b"a" * 16, "there")]
    may = leaf or role == codes.ROLE_ROUTER
    assert (far.state == codes.OPEN, far.role) == (may, role)
    assert near.close_code == (-1 if may else codes.NOT_A_ROUTER)


def offered(leaf: bool, accept: Any) -> tuple[Net, Connection, GuardedConnection]:
    """One that comes, and a link that asks this about it."""
    net = Net()
    a, b = net.node("a", leaf=leaf), net.node("b")
    near = a.connection(Link(dialled=True, via="there"), net.now)
    far = b.connection(Link(dialled=False), net.now, guarded)
    assert isinstance(far, GuardedConnection)
    far.accept = accept
    net.cables.append(Cable(net, near, far))
    return net, near, far


def test_who_is_not_welcome_hears_why() -> None:
    def accept(node_id: bytes, via: str) -> int:
        raise Refusal(codes.MESH_FULL, "that many and no more")

    net, near, far = offered(False, accept)
    net.pump()
    assert (near.close_code, near.close_text) == (codes.MESH_FULL, "that many and no more")
    assert far.opened_at < 0


def test_a_role_that_is_narrow_already_stays_so() -> None:
    net, near, far = offered(False, lambda node_id, via: codes.ROLE_ROUTER)
    far.role = codes.ROLE_LEAF
    net.pump()
    assert near.close_code == codes.NOT_A_ROUTER


def test_packet_links_are_judged_too() -> None:
    line = Line(seed=3)
    side = line.sides[1]
    side.connection.receive_eof(line.now)
    far = side.connection = side.node.connection(Link(codes.LOCALNET, **side.options), line.now, guarded)
    assert isinstance(far, GuardedPacketConnection)
    far.accept = lambda node_id, via: codes.ROLE_LEAF
    line.run(3000)
    assert codes.NOT_A_ROUTER in [event.code for event in line.seen(1, events.LINK_CLOSED)]
