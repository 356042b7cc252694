"""Fuzzes the packet layer; the same on CPython, compiled and on MicroPython: `run(seed, rounds)` gives a
checksum over all that was read and written, so that the implementations can be compared.
"""

import binascii

from busway.protocol.packet.texts import TextLayer


class Chance:
    """Numbers of a seed (Numerical Recipes' generator); every Python makes the same."""

    def __init__(self, seed: int) -> None:
        self.state = seed & 0xFFFFFFFF

    def below(self, limit: int) -> int:
        self.state = (self.state * 1664525 + 1013904223) & 0xFFFFFFFF
        return (self.state >> 8) % limit

    def bytes(self, size: int) -> bytes:
        return bytes([self.below(256) for _ in range(size)])


class Source:
    """An endless stream."""

    def __init__(self, chance: Chance) -> None:
        self.chance = chance

    def take(self, size: int, now: int) -> bytes:
        return self.chance.bytes(self.chance.below(size + 1)) if self.chance.below(3) else b""


class Side:
    """One layer, and what it said so far."""

    def __init__(self, chance: Chance, mtu: int, now: int) -> None:
        self.layer = TextLayer(chance.bytes(4), mtu, 1 + chance.below(31), now)
        self.source = Source(chance)
        self.check = 0

    def note(self, data: bytes) -> None:
        self.check = binascii.crc32(data, self.check) & 0xFFFFFFFF

    def read(self, data: bytes, now: int) -> None:
        layer = self.layer
        self.note(b"stream" + layer.receive(data, now))
        for frame in layer.frames:
            self.note(b"frame" + frame)
        for text in layer.texts:
            self.note(b"text" + text)
        layer.frames = []
        layer.texts = []
        counts = (layer.damaged, layer.duplicates, layer.resent, layer.log_dropped, layer.lossy_dropped)
        self.note(repr((counts, layer.restarted, layer.wrong_version)).encode())
        assert len(layer._early) < 32
        assert len(layer._former) <= 4
        assert len(layer._buffer) <= 136


def harmed(data: bytes, chance: Chance) -> bytes:
    """The packet after a bad line."""
    what = chance.below(12)
    at = chance.below(len(data))
    if what == 0:
        return b""
    if what == 1:
        return data[:at]
    if what == 2:
        return data + data
    if what == 3:
        return data[:at] + bytes((data[at] ^ 1 << chance.below(8),)) + data[at + 1 :]
    if what == 4:
        return chance.bytes(chance.below(60)) + data
    if what == 5:
        return b"a text in between\n\0" + data
    return data


def run(seed: int, rounds: int) -> str:
    """Two layers for so many rounds, now and then one that was reset."""
    chance = Chance(seed)
    mtu = (0, 20, 64)[chance.below(3)]
    now = 1000
    sides = [Side(chance, mtu, now), Side(chance, mtu, now)]
    check = 0
    for _ in range(rounds):
        now += chance.below(40)
        for at in (0, 1):
            side = sides[at]
            due = side.layer.deadline()
            if 0 <= due <= now:
                side.layer.handle_timer(now)
            if not chance.below(20):
                side.layer.offer(chance.bytes(chance.below(12)))
            if not chance.below(40):
                side.layer.log(b"log line")
            data = side.layer.write(side.source.take, 1 + chance.below(200) if mtu == 0 else mtu, now)
            side.note(data)
            if data:
                sides[1 - at].read(harmed(data, chance), now)
            if side.layer.restarted or not chance.below(400):
                check = binascii.crc32(repr(side.check).encode(), check) & 0xFFFFFFFF
                sides[at] = Side(chance, mtu, now)
    return f"{check:08x} {sides[0].check:08x} {sides[1].check:08x}"
