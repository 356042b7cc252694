"""Somebody on a line who knows packets, and changes what protected links say over it, in both directions:
what arrives is what was sent, once and in order, and the link heals.
"""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import codes, events
from busway.protocol.packet.packets import CRC16_SIZE_MAX, SYN, PacketLayer, _checksum, _resolve, seal_syn

from .lines import Line, Side, layer_of
from .pairs import AES, E, F, guard

PATTERNS = {
    "XXpsk3": codes.XXPSK3,
    "NNpsk0": codes.NNPSK0,
    "PSK-AES": codes.PSK_AES,
    "XXpsk3, AES": codes.XXPSK3 | AES,
    "NNpsk0, AES": codes.NNPSK0 | AES,
}
KINDS = ("flip", "drop", "repeat", "reorder", "splice", "truncate", "insert")
KEPT_MAX = 200


def resealed(packet: bytes, reader: PacketLayer) -> bytes:
    """A packet with the checksum that its reader wants; who hears both nonces can make it."""
    if packet[0] == SYN:
        return seal_syn(packet)
    seq = _resolve(packet[0] & 63, reader._expected) if packet[0] & 0xC0 == 0x40 else 0
    return packet + _checksum(packet, seq, _resolve(packet[1] & 63, reader._unacked), reader._inbound)


def bare(packet: bytes) -> bytes:
    """A packet without its checksum."""
    return packet[: -4 if packet[0] != SYN and len(packet) > CRC16_SIZE_MAX + 2 else -2]


class Tampered(Line):
    """A line on which somebody changes one packet in so many, of those kept from any session as well."""

    def __init__(self, every: int, **options: Any) -> None:
        super().__init__(**options)
        self.every = every
        self.kept: list[bytes] = []
        self.held: dict[int, list[bytes]] = {0: [], 1: []}
        self.done = dict.fromkeys(KINDS, 0)

    def _take(self, side: Side, data: bytes) -> None:
        if len(self.kept) < KEPT_MAX:
            self.kept.append(data)
        else:
            self.kept[self.random.randrange(KEPT_MAX)] = data
        held = self.held[self.sides.index(side)]
        packets = [data]
        reader = layer_of(side.connection)
        if self.every and not self.random.randrange(self.every):
            packets = self._changed(data, held, reader)
        elif held and not self.random.randrange(4):
            packets.append(held.pop())
        for packet in packets:
            super()._take(side, packet)

    def _changed(self, whole: bytes, held: list[bytes], reader: PacketLayer) -> list[bytes]:
        kind = self.random.choice(KINDS)
        self.done[kind] += 1
        if kind == "drop":
            return []
        if kind == "reorder":
            held.append(whole)
            return []
        if kind == "repeat":
            return [whole, self.random.choice((whole, *self.kept))]
        data = bare(whole)
        at = self.random.randrange(2, len(data) + 1)
        if kind == "flip":
            at = self.random.randrange(len(data))
            data = data[:at] + bytes((data[at] ^ 1 << self.random.randrange(8),)) + data[at + 1 :]
        elif kind == "truncate":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + self.random.randbytes(1) + data[at:]
        else:  # the head of one packet, the rest of another, of whatever session and side
            data = data[:at] + bare(self.random.choice(self.kept))[at:]
        return [resealed(data, reader)]


def talk(line: Tampered, count: int) -> tuple[list[int], list[int]]:
    """Numbers that each side has read, while each sends so many."""
    receivers = [line.a.register(F, codes.UNICAST), line.b.register(E, codes.UNICAST)]
    line.run(1000)
    read: tuple[list[int], list[int]] = ([], [])
    for number in range(count):
        for side, endpoint in ((line.a, E), (line.b, F)):
            side.send(endpoint, b"%08d" % number * 6, line.now, ttl_ms=60_000)
        line.run(60)
        collect(line, receivers, read)
    line.every = 0
    line.run(60_000)
    for side, endpoint in ((line.a, E), (line.b, F)):
        side.send(endpoint, b"%08d" % count * 6, line.now, ttl_ms=60_000)
    line.run(10_000)
    collect(line, receivers, read)
    return read


def collect(line: Line, receivers: list[Any], read: tuple[list[int], ...]) -> None:
    for which in (0, 1):
        for message in line.drain(which, receivers[which]):
            number = int(message.payload[:8])
            assert message.payload == b"%08d" % number * 6, "changed"
            read[which].append(number)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize("seed", range(2))
def test_what_arrives_is_what_was_sent_once_and_in_order(pattern: int, seed: int) -> None:
    line = Tampered(12, seed=seed, mtu=64, security=guard(first=pattern))
    for numbers in talk(line, 300):
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == 300  # the link stands again
    assert min(line.done.values()) > 0
    assert [side.connection.state for side in line.sides] == [codes.OPEN] * 2
    ended = [event.code for which in (0, 1) for event in line.seen(which, events.LINK_CLOSED)]
    assert codes.FORGED in ended
    assert codes.GOODBYE not in ended


def test_without_protection_it_is_seen() -> None:
    """Or the attacker would show nothing."""
    with pytest.raises(AssertionError, match="changed"):
        talk(Tampered(12, mtu=64), 300)
