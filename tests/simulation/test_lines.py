"""Bad lines: nothing is lost without a verdict, nothing comes twice or out of order, and all goes on."""

from __future__ import annotations

import pytest

from busway.protocol.packet import packets
from busway.protocol.packet.cobs import decode, encode
from busway.protocol.packet.packets import PacketLayer
from tests.protocol.lines import layer_of
from tests.simulation.arq import GoBackN, StopAndWait
from tests.simulation.lines import Line, Sort, Trouble, radio, uart
from tests.simulation.stations import Layer, LayerStation, Talk

BAD = Trouble(ber=1e-4, burst=2e-5, noise=2e-5, double=5e-4, cut=5e-4)
AIR = Trouble(loss=0.03, double=0.01, late=0.05)


def layers(name: str) -> tuple[Layer, Layer]:
    if name == "busway":
        return PacketLayer(b"aaaa", 0, 31, 1_000_000), PacketLayer(b"bbbb", 0, 31, 1_000_000)
    make = GoBackN if name == "go-back-n" else StopAndWait
    return make(), make()


def goodput(name: str, sort: Sort, seconds: int, seed: int = 1) -> float:
    """Of what the rate leaves with 78 bytes on the line for 64 of payload, which the stream carries in 69."""
    line = Line(seed, sort)
    ours, theirs = (
        LayerStation(layer, 69, count) for layer, count in zip(layers(name), (1 << 40, 0), strict=True)
    )
    line.attach(0, ours)
    line.attach(1, theirs)
    line.run(seconds * 1000)
    assert not theirs.faults
    return theirs.got / 69 * 78 / (seconds * 1e6 / sort.byte_us)


@pytest.mark.parametrize("baud", [9600, 115200])
def test_goodput_on_a_clean_line_and_a_bad_one(baud: int) -> None:
    assert goodput("busway", uart(baud), 15) > 0.9
    assert goodput("busway", uart(baud, Trouble(ber=1e-4)), 30) > 0.8


def test_textbook_links_work_and_are_slower() -> None:
    bad = uart(115200, Trouble(ber=1e-4))
    ours = goodput("busway", bad, 15)
    assert 0.5 < goodput("go-back-n", bad, 15) < ours
    assert 0.3 < goodput("stop-and-wait", bad, 15) < ours


@pytest.mark.parametrize("window", [1, 8])
@pytest.mark.parametrize("baud", [9600, 115200])
def test_nothing_is_sent_twice_on_a_clean_line(baud: int, window: int) -> None:
    talk = Talk(2, uart(baud), window=window)
    talk.play(100)
    layers = [layer_of(station.connection) for station in talk.stations]
    assert [layer.resent for layer in layers if layer is not None] == [0, 0]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("baud", [9600, 115200])
def test_confirmed_messages_on_a_bad_line_all_arrive(baud: int, seed: int) -> None:
    talk = Talk(seed, uart(baud, BAD))
    talk.play(600)
    assert talk.faults == []
    assert talk.tally() == {"taken": 600, "sender reset": 0}


@pytest.mark.parametrize("seed", range(4))
def test_boards_that_reset_on_a_bad_line(seed: int) -> None:
    talk = Talk(seed, uart(115200, BAD), both=True)
    talk.play(1000, reset_every_ms=2000)
    assert talk.faults == []
    assert talk.resets > 1
    assert talk.tally()["taken"] > 1500


@pytest.mark.parametrize("seed", range(2))
def test_large_messages_in_packets_of_20_bytes_that_get_lost_and_overtake_each_other(seed: int) -> None:
    talk = Talk(seed, radio(20, AIR), size=4096, window=4)
    talk.play(20)
    assert talk.faults == []
    assert talk.tally() == {"taken": 20, "sender reset": 0}


def test_a_radio_whose_peers_reset() -> None:
    talk = Talk(3, radio(247, AIR), size=400, both=True)
    talk.play(400, reset_every_ms=1000)
    assert talk.faults == []
    assert talk.resets


def test_after_a_burst_the_line_goes_on_at_once() -> None:
    sort = uart(115200, Trouble(burst=1e-4))
    line = Line(1, sort)
    ours, theirs = (
        LayerStation(layer, 69, count) for layer, count in zip(layers("busway"), (1 << 40, 0), strict=True)
    )
    line.attach(0, ours)
    line.attach(1, theirs)
    line.run(60_000)
    bursts = line.ways[0].burst_ended_ms
    assert len(bursts) > 20
    times = sorted(
        next(when for when, _ in theirs.arrivals if when > end) - end
        for end in bursts
        if end < line.now - 2000
    )
    assert times[len(times) // 2] < 100
    assert times[-1] < 1000


def test_a_zero_too_many_is_damage() -> None:
    """A bit flipped in a delimiter makes the packet end with one: no checksum may overlook that."""
    for size in range(1, 120):
        ours, theirs = layers("busway")
        assert isinstance(theirs, PacketLayer)
        for _ in range(3):
            theirs.receive(ours.write(lambda n, now: b"", 500, 0), 0)
            ours.receive(theirs.write(lambda n, now: b"", 500, 0), 0)
        packet = decode(ours.write(lambda n, now, size=size: bytes(range(size)), 136, 0).split(b"\0")[1])  # type: ignore[misc]
        assert len(packet) > size
        for spoilt in (packet + b"\0", packet + b"\0\0", b"\0" + packet):
            assert theirs.receive(b"\0" + encode(spoilt) + b"\0", 0) == b"", size
        assert theirs.damaged == 3, size
        assert theirs.receive(b"\0" + encode(packet) + b"\0", 0) == bytes(range(size))


def test_the_judge_sees_a_layer_that_hands_on_what_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        packets, "_checksum", lambda packet, seq, ack, seeds: bytes(2 if len(packet) <= 32 else 4)
    )
    monkeypatch.setattr(packets, "decode", lambda chunk, real=decode: _unchecked(real(chunk)))
    faults = [goodput_faults(seed) for seed in range(2)]
    assert all(faults)


def _unchecked(packet: bytes) -> bytes:
    if packet[:1] == b"\1" or len(packet) < 4:
        return packet
    size = 2 if len(packet) <= 34 else 4
    return packet[:-size] + bytes(size)


def goodput_faults(seed: int) -> int:
    line = Line(seed, uart(9600, BAD))
    ours, theirs = (
        LayerStation(layer, 69, count) for layer, count in zip(layers("busway"), (1 << 40, 0), strict=True)
    )
    line.attach(0, ours)
    line.attach(1, theirs)
    line.run(30_000)
    return theirs.faults
