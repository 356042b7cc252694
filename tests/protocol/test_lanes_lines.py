"""Priorities on a line of 9600 baud, in virtual time: how long an urgent message takes behind others."""

from __future__ import annotations

from typing import Any

import pytest

from busway.drivers.serial import _AHEAD_MAX, _PACKET_SIZE
from busway.protocol import Receiver, codes
from tests.protocol.lines import Line, Side
from tests.protocol.pairs import E, F

BAUD = 9600
PACKET_MS = _PACKET_SIZE * 10_000 / BAUD


class Slow(Line):
    """A line that is given what the driver of serial lines gives it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(baud=BAUD, lookups=True, **options)
        self.receivers: list[Receiver] = []
        for uuid in (E, F):
            self.receivers.append(self.b.register(uuid, codes.UNICAST, queue_max=1000))
        self.run(3000)
        for uuid in (E, F):
            for priority in range(4):
                for _ in range(12):
                    self.a.send(uuid, b"warm", self.now, ttl_ms=5000, priority=priority)
            for _ in range(6):
                self.run(500)
                self.take()

    def _bytes(self, side: Side, other: Side) -> bool:
        moved = False
        while side.connection.wants_write and len(side.wire) <= _AHEAD_MAX:
            side.wire += side.connection.data_to_send(_AHEAD_MAX + _PACKET_SIZE - len(side.wire), self.now)
            moved = True
        side.carry = min(side.carry + self.baud / 10000, 100.0)
        size = int(side.carry)
        side.carry -= size
        data = bytes(side.wire[:size])
        side.wire[:size] = b""
        if data:
            self._take(other, data)
        return bool(data or side.wire) or moved

    def take(self) -> list[Any]:
        return [message for receiver in self.receivers for message in self.drain(1, receiver)]

    def until(self, payload: bytes, most_ms: int = 10_000) -> int:
        """How long it takes until that comes, ms."""
        begun = self.now
        while self.now - begun < most_ms:
            self.run(1)
            if any(message.payload == payload for message in self.take()):
                return self.now - begun
        raise AssertionError("it never comes")


LOGS = {
    "one of 4 KiB": [bytes(4096)],
    "lines of 64 bytes": [bytes(64)] * 64,
    "of 100 bytes, whole": [bytes(100)] * 40,
    "of 130 bytes": [bytes(130)] * 32,
    "of 200 bytes": [bytes(200)] * 20,
}


@pytest.mark.no_cover
@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("same", [True, False])
def test_an_urgent_message_arrives_within_three_packet_times(log: str, same: bool) -> None:
    waits = []
    for pause in range(0, 600, 53):
        line = Slow(seed=pause)
        for payload in LOGS[log]:
            line.a.send(E, payload, line.now)
        line.run(300 + pause)
        assert line.sides[0].connection.queued_bytes() > 0 or line.sides[0].connection.outbox.in_pieces()
        line.a.send(E if same else F, b"u" * 16, line.now, priority=codes.URGENT)
        waits.append(line.until(b"u" * 16))
    assert max(waits) <= 3 * PACKET_MS, sorted(waits)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_with_normal_priority_it_waits_for_all_of_them() -> None:
    line = Slow()
    for payload in LOGS["lines of 64 bytes"]:
        line.a.send(E, payload, line.now)
    line.run(300)
    line.a.send(E, b"u" * 16, line.now)
    assert line.until(b"u" * 16) > 20 * PACKET_MS


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_the_log_arrives_whole_all_the_same() -> None:
    line = Slow()
    line.a.send(E, bytes(4096), line.now)
    line.run(300)
    for number in range(10):
        line.a.send(E, b"%d" % number, line.now, priority=codes.URGENT)
    line.run(10_000)
    assert [len(message.payload) for message in line.take()] == [1] * 10 + [4096]


def test_the_line_is_never_idle_meanwhile() -> None:
    line = Slow()
    for _ in range(4):
        line.a.send(E, bytes(4096), line.now)
    begun = line.now
    while sum(len(message.payload) for message in line.take()) < 4096 or line.now - begun > 60_000:
        line.run(10)
    # 4096 bytes in frames of 256 and packets of 128, with acknowledgements the other way.
    assert line.now - begun < 4096 * 1.25 * 10_000 / BAUD


class Air(Line):
    """A radio between packets: each side hands it those that it may have under way, and one arrives every
    10 ms.
    """

    def __init__(self, window: int) -> None:
        super().__init__(mtu=244, window=window)
        self.came = 0  # packets at the second side
        self.receiver = self.b.register(E, codes.UNICAST, queue_max=1000)
        self.run(3000)
        for _ in range(20):
            for priority in (codes.NORMAL, codes.URGENT):
                self.a.send(E, b"warm", self.now, ttl_ms=5000, priority=priority)
            self.run(500)
            self.drain(1, self.receiver)

    def _packets(self, side: Side, other: Side) -> bool:
        while packet := side.connection.data_to_send(self.mtu, self.now):
            side.packets.append((self.now, packet))
        if side.packets and self.now % 10 == 0:
            self.came += side is self.sides[0]
            self._take(other, side.packets.pop(0)[1])
        return bool(side.packets)


@pytest.mark.parametrize("window", [8, 31])
def test_on_the_air_an_urgent_message_comes_behind_what_is_under_way(window: int) -> None:
    air = Air(window)
    air.a.send(E, bytes(40_000), air.now)
    air.run(300)
    before = air.came
    air.a.send(E, b"u" * 16, air.now, priority=codes.URGENT)
    while not any(message.payload == b"u" * 16 for message in air.drain(1, air.receiver)):
        air.run(10)
        assert air.came <= before + window + 2
    assert air.sides[0].connection.outbox.in_pieces()
