"""Messages that may be lost rather than keep others waiting."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Limits, codes
from busway.protocol.packet.packets import DATA, LOSSY
from busway.protocol.wire.aliases import AliasWriter
from busway.protocol.wire.fields import frame
from busway.protocol.wire.messages import Frame, Options, RoutingHeader
from tests.protocol.lines import Line, layer_of
from tests.protocol.pairs import E, F, G, Net, Pair


def best_effort(destination: bytes, number: int, payload: bytes) -> Frame:
    frame = Frame(codes.SEND, destination, F, number, payload, codes.RAW, b"")
    frame.options = Options()
    frame.options.best_effort = True
    return frame


def ready(seed: int = 4, **options: Any) -> tuple[Line, Any]:
    """A leaf `a` that publishes to `b` and whose aliases are known there."""
    line = Line(seed=seed, **options)
    receiver = line.b.register(E, codes.BROADCAST)
    for _ in range(60):
        line.run(100)
        if all(side.connection.synced for side in line.sides):
            break
    line.run(300)
    publish(line, b"first")
    line.run(1500)
    assert [message.payload for message in line.drain(1, receiver)] == [b"first"]
    return line, receiver


def publish(line: Line, payload: bytes, uuid: bytes = E, **options: Any) -> int:
    return line.a.publish(uuid, payload, line.now, best_effort=True, **options)


def kinds(line: Line) -> list[int]:
    """The packets that side a writes now, as kinds of packet."""
    found = []
    while packet := line.sides[0].connection.data_to_send(line.mtu, line.now):
        found.append(packet[0] & 0xC0)
    return found


@pytest.mark.parametrize("leaf", [False, True])
def test_the_first_binds_and_the_next_travel_alone(leaf: bool) -> None:
    line, receiver = ready(mtu=64, leaf=leaf)
    publish(line, b"second")
    assert kinds(line) == [LOSSY]
    assert line.sides[0].connection.outbox.broadcasts.size == 0
    publish(line, b"third")
    line.run(100)
    (message,) = line.drain(1, receiver)
    assert (message.payload, message.missed) == (b"third", 1)  # nobody repeated the second


@pytest.mark.parametrize(
    ("realm", "header"),
    [(codes.LOCALNET, "90 01 0003"), (codes.GLOBAL, "94 05 0300 040103 01 0003")],
)
def test_one_that_travels_alone_says_how_far_it_may_get(realm: int, header: str) -> None:
    line, receiver = ready(mtu=64)
    publish(line, b"bound", realm=realm)
    line.run(1500)
    publish(line, b"alone", realm=realm)
    packet = line.sides[0].connection.data_to_send(line.mtu, line.now)
    assert packet[0] & 0xC0 == LOSSY
    assert packet[2:-2] == bytes.fromhex(header) + b"alone"
    line.sides[1].connection.receive_data(packet, line.now)
    assert [message.payload for message in line.drain(1, receiver)] == [b"bound", b"alone"]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_losses_show_in_the_numbers_and_nothing_is_repeated() -> None:
    line, receiver = ready(mtu=64)
    line.loss = 0.3
    before = layer_of(line.sides[0].connection)
    assert before is not None
    resent = before.resent
    got, missed = [], 0
    for number in range(200):
        publish(line, b"%d" % number)
        line.run(20)
        for message in line.drain(1, receiver):
            got.append(int(message.payload))
            missed += message.missed
    assert got == sorted(set(got))
    assert 100 < len(got) < 180
    assert missed == got[-1] + 1 - len(got)
    assert before.resent <= resent + 4  # a keepalive perhaps


def test_it_never_overtakes_one_of_its_pair() -> None:
    line, receiver = ready(mtu=64)
    line.a.publish(E, b"repeated", line.now)
    publish(line, b"behind it")
    assert kinds(line) == [DATA]
    line.run(1500)
    assert [message.payload for message in line.drain(1, receiver)] == [b"repeated", b"behind it"]
    publish(line, b"alone")
    assert kinds(line) == [LOSSY]


def test_a_large_one_is_cut_and_repeated() -> None:
    line, receiver = ready(mtu=64)
    publish(line, b"x" * 100)
    publish(line, b"y" * 600)
    publish(line, b"small")
    assert LOSSY not in kinds(line)
    line.run(2000)
    sizes = [len(message.payload) for message in line.drain(1, receiver)]
    assert sizes == [100, 600, 5]
    publish(line, b"alone")
    assert kinds(line) == [LOSSY]


def test_a_type_is_told_first_too() -> None:
    line, receiver = ready(mtu=64)
    for wanted in (DATA, LOSSY):
        line.a.publish(E, b"\xf5", line.now, codes.TYPED, F, best_effort=True)
        assert kinds(line) == [wanted]
        line.run(1000)
    assert [message.type_id for message in line.drain(1, receiver)] == [F]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_it_never_overtakes_one_of_its_pair_that_is_of_another_type() -> None:
    line, receiver = ready(mtu=64)
    for kind in (F, F, G, G):
        line.a.publish(E, b"\xf5", line.now, codes.TYPED, kind, best_effort=True)
        line.run(1000)
    line.drain(1, receiver)
    line.a.publish(E, b"\xf4", line.now, codes.TYPED, F)
    line.a.publish(E, b"\xf5", line.now, codes.TYPED, G, best_effort=True)
    assert LOSSY not in kinds(line)
    line.run(1500)
    assert [message.payload for message in line.drain(1, receiver)] == [b"\xf4", b"\xf5"]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_it_never_overtakes_a_request_of_its_pair() -> None:
    line, _ = ready(mtu=64)
    receiver = line.b.register(F, codes.ANYCAST)
    line.run(3000)
    peer = line.a.routes.peers[b"b" * 16]
    flow = line.a.origin.flow(peer, F, 16, line.now)
    for wanted in (DATA, LOSSY):
        out = best_effort(peer.key, 0, b"alone")
        assert line.a.origin.go(flow, out, line.now)
        assert kinds(line) == [wanted]
        line.run(1000)
    line.a.request(F, b"asked", line.now, node_id=b"b" * 16)
    out = best_effort(peer.key, 0, b"behind")
    assert line.a.origin.go(flow, out, line.now)
    assert LOSSY not in kinds(line)
    line.run(1500)
    assert [message.payload for message in line.drain(1, receiver)][-2:] == [b"asked", b"behind"]


def test_a_busy_link_misses_it_and_nobody_waits() -> None:
    line, _ = ready(mtu=64)
    first = line.sides[0].connection
    for number in range(100):
        assert publish(line, b"%050d" % number) == 0
    assert line.a.origin.counters["best_effort_dropped"] > 80
    assert first.outbox.broadcasts.size <= codes.BEST_EFFORT_SIZE_MAX + 100


def test_a_sleeping_peer_misses_it() -> None:
    line, _ = ready(mtu=64)
    layer = layer_of(line.sides[0].connection)
    assert layer is not None
    layer.pause(True)
    assert publish(line, b"not now") == 0
    assert line.a.origin.counters["best_effort_dropped"] == 1


def test_behind_those_that_wait_it_is_dropped() -> None:
    net = Pair()
    net.b.register(E, codes.BROADCAST)
    net.pump()
    net.cable.block(net.a)
    large = bytes(codes.BROADCAST_SIZE_MAX)
    assert net.a.publish(E, large, net.now) == 0
    assert net.a.publish(E, b"x", net.now, best_effort=True) == 0  # missed, with a number
    assert net.a.origin.counters["best_effort_dropped"] == 1
    assert net.a.publish(E, b"waits", net.now) > 0
    assert net.a.publish(E, b"y", net.now, best_effort=True) == 0
    assert net.a.origin.counters["best_effort_dropped"] == 2


def test_on_a_stream_it_is_an_ordinary_message_that_keeps_its_class() -> None:
    net = Net()
    a, b, c = (net.node(letter, transit=True) for letter in "abc")
    net.link(a, b)
    cable = net.link(b, c)
    receiver = c.register(E, codes.BROADCAST)
    net.pump()
    net.advance(3000)
    before = len(cable.ends[0].sent)
    for number in range(3):
        a.publish(E, b"%d" % number, net.now, best_effort=True)
        net.pump()
    assert [message.payload for message in net.drain(c, receiver)] == [b"0", b"1", b"2"]
    tail = bytes(cable.ends[0].sent[before:])
    assert tail.count(b"\x02\x03\x00") == 3  # the option, passed on


def test_what_is_passed_on_travels_alone_as_well() -> None:
    line, receiver = ready(mtu=64)
    second = line.sides[0].connection
    outbox = second.outbox
    peer = line.a.routes.peers[b"b" * 16]
    for wanted in (1, 0):
        out = best_effort(peer.key, 1, b"hop")
        out.route = RoutingHeader(b"c" * 20, codes.LOCALNET, 7)
        size = len(outbox._pins)
        assert second.forward(out)
        found = kinds(line)
        assert found == [DATA if wanted else LOSSY]
        assert len(outbox._pins) - size == wanted
        line.run(1000)
    assert line.drain(1, receiver) == []


def test_numbers_that_are_kept_are_not_given_away() -> None:
    writer = AliasWriter(4)
    assert writer.pin(E)
    assert writer.pin(E)
    writer.write(E)
    assert writer.pin(F)
    writer.write(F)
    assert not writer.pin(b"third")  # half of them
    for number in range(20):
        writer.write(b"%016d" % number)
    assert writer.numbers[E] == 1
    assert writer.numbers[F] == 2
    assert len(writer.numbers) == 4


@pytest.mark.parametrize("aliases", [1, 2, 3])
def test_without_numbers_to_spare_all_is_repeated(aliases: int) -> None:
    limits = Limits(aliases_max=aliases)
    line = Line(mtu=64)
    line.a.limits = limits
    line.sides[0].connect(line.now)
    line.b.register(E, codes.BROADCAST)
    line.run(3000)
    for at in range(2):
        line.a.publish(E, b"\xf5", line.now, codes.TYPED, F, best_effort=True)
        found = kinds(line)
        assert found == [DATA], at
        line.run(1000)


def test_pairs_that_travel_alone_are_few() -> None:
    line, _ = ready(mtu=64)
    outbox = line.sides[0].connection.outbox
    outbox._pins = dict(outbox._pins)
    for number in range(codes.PINS_MAX):
        outbox._pins[b"%d" % number] = True
        if len(outbox._pins) == codes.PINS_MAX:
            break
    line.b.register(F, codes.BROADCAST)
    line.run(1000)
    for _ in range(2):
        publish(line, b"x", F)
        assert kinds(line) == [DATA]
        line.run(1000)


def test_nodes_without_numbers_to_spare() -> None:
    line, _ = ready(mtu=64)
    outbox = line.sides[0].connection.outbox
    outbox.nodes._max = outbox.nodes._first
    peer = line.a.routes.peers[b"b" * 16]
    out = best_effort(peer.key, 1, b"hop")
    out.route = RoutingHeader(b"c" * 20, codes.LOCALNET, 7)
    size = len(outbox._pins)
    assert line.sides[0].connection.forward(out)
    assert kinds(line) == [DATA]
    assert len(outbox._pins) == size


@pytest.mark.parametrize(
    "body",
    [b"", b"\x04\x01", b"\xa0\x01", bytes((codes.MESSAGE | 0x30,))],
    ids=["empty", "PING", "CONFIRM", "REQUEST"],
)
@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_other_frames_that_come_alone_are_skipped(body: bytes) -> None:
    line, _ = ready(mtu=64)
    layer = layer_of(line.sides[1].connection)
    assert layer is not None
    layer.offer(body)
    line.run(50)
    assert line.sides[0].connection.skipped_frames == 1
    assert line.sides[0].connection.state == codes.OPEN


def test_a_frame_that_comes_alone_and_breaks_the_format_ends_the_link() -> None:
    line, _ = ready(mtu=64)
    first, second = (side.connection for side in line.sides)
    assert layer_of(second) is not None
    layer_of(second).offer(b"\x90\x07")
    layer_of(second).offer(b"\x90\x07")
    for _ in range(2):
        first.receive_data(second.data_to_send(64, line.now), line.now)
    assert first.close_code == codes.UNKNOWN_ALIAS


def test_what_comes_alone_before_the_link_is_open_is_skipped() -> None:
    line, _ = ready(mtu=64)
    first, second = (side.connection for side in line.sides)
    assert layer_of(second) is not None
    first.waits_for = second
    layer_of(second).offer(frame(b"\x90")[1:])
    line.run(20)
    assert first.skipped_frames == 1
