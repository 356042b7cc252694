"""The cost of a board's sleep, on the line, in time, and in its router's memory. In virtual time.

Usage: python -m benchmarks.sleeping

A router and a leaf at a serial line without errors, 9600 and 115200 baud. The leaf announces an hour; 4
confirmed messages of 64 bytes come for it meanwhile, which is the credit of a sender that begins; it wakes
and takes them as they come. Then the memory of 1,000 messages that wait.
"""

from __future__ import annotations

import random
import tracemalloc

from busway.protocol import Link, Node, codes, events
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.leaf.packets import PacketLeafConnection

HOUR_MS = 3_600_000
PAYLOAD = bytes(64)
MANY = 250  # endpoints, of 4 messages each


class Line:
    """A router and a leaf, joined; `run` lets time pass in steps of a millisecond."""

    def __init__(self, baud: int, endpoints: int) -> None:
        self.now = 1000
        self.baud = baud
        self.router = Node(b"r" * 16, entropy=random.Random(1).randbytes)
        self.leaf = Leaf(b"l" * 16, entropy=random.Random(2).randbytes, queue_size_max=1 << 20)
        self.names = [b"endpoint" + b"%08d" % number for number in range(endpoints)]
        self.receivers = [self.leaf.register(name, codes.UNICAST) for name in self.names]
        self.theirs = self.router.connection(Link(codes.LOCALNET, sort="packet"), self.now)
        ours = self.leaf.connection(Link(codes.LOCALNET, True, sort="packet", window=8), self.now)
        assert isinstance(ours, PacketLeafConnection)
        self.ours = ours
        self.bytes = [0, 0]  # from the router, from the leaf
        self.wires = [bytearray(), bytearray()]
        self.room = [0.0, 0.0]
        self.outcomes = 0
        self.asleep = False

    def run(self, ms: int) -> None:
        for _ in range(ms):
            self.now += 1
            self.outcomes += len([e for e in self.router.handle_timer(self.now) if e.kind == events.OUTCOME])
            self._carry(0, self.theirs.data_to_send(128, self.now) if len(self.wires[0]) < 128 else b"")
            if not self.asleep:
                self.leaf.handle_timer(self.now)
                self._carry(1, self.ours.data_to_send(128, self.now) if len(self.wires[1]) < 128 else b"")
                for receiver in self.receivers:
                    self.leaf.take(receiver, self.now)

    def _carry(self, which: int, data: bytes) -> None:
        wire = self.wires[which]
        wire += data
        self.bytes[which] += len(data)
        self.room[which] = min(self.room[which] + self.baud / 10_000, 16.0)
        size = int(self.room[which])
        self.room[which] -= size
        came = bytes(wire[:size])
        del wire[:size]
        if not came:
            return
        if which == 0:
            self.ours.receive_data(came, self.now)
        else:
            happened = self.theirs.receive_data(came, self.now)
            self.outcomes += len([event for event in happened if event.kind == events.OUTCOME])

    def fall_asleep(self) -> int:
        """Returns how long it took until the router was known to have heard it, ms."""
        begun = self.now
        self.ours.sleep(HOUR_MS, self.now)
        while self.ours.wants_write or not self.ours.packets.settled():
            self.run(1)
        self.asleep = True
        self.ours.sleeping = b""
        return self.now - begun


def nap(baud: int) -> str:
    line = Line(baud, 4)
    line.run(5000)
    before = sum(line.bytes)
    fell = line.fall_asleep()
    announced = sum(line.bytes) - before
    for _ in range(4):
        line.router.send(line.names[0], PAYLOAD, line.now, confirm=True, timeout_ms=2 * HOUR_MS)
    line.run(1000)
    before = sum(line.bytes)
    line.run(HOUR_MS - 2000)
    silent = sum(line.bytes) - before
    assert (line.theirs.state, line.outcomes) == (codes.OPEN, 0)
    line.asleep = False
    woke = line.now
    line.ours.sleep(0, line.now)
    while line.outcomes < 4:
        line.run(1)
    return f"{announced:12} {fell:10} {silent:14} {line.now - woke:22}"


def memory() -> float:
    line = Line(115200, MANY)
    line.run(20_000)
    line.fall_asleep()
    payloads = [bytes(64) + b"%d" % number for number in range(4 * MANY)]  # each its own
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number, payload in enumerate(payloads):
        assert line.router.send(line.names[number % MANY], payload, line.now) == 0
    after, _ = tracemalloc.get_traced_memory()
    return (after - before) / len(payloads)


def main() -> None:
    print("  baud   announcement, bytes and ms   an hour, bytes   4 taken and confirmed, ms")
    for baud in (9600, 115200):
        print(f"{baud:6} {nap(baud)}", flush=True)
    print(f"memory of the router for each message that waits, its payload aside: {memory():.0f} bytes")


if __name__ == "__main__":
    main()
