"""Nodes joined by a line that damages, in virtual time. Knows no socket and no real time.

line = Line(seed=1, ber=1e-4, baud=9600)
line.run(1000)                     # ms; both sides write what the line carries
line.reset(1)                      # the second node starts anew
"""

from __future__ import annotations

import random
from typing import Any

from busway.protocol import Connection, Link, Node, codes, events
from busway.protocol.packet.connection import PacketConnection
from busway.protocol.packet.packets import PacketLayer
from tests.protocol.pairs import START, Entropy

_AHEAD = 96  # bytes that a driver keeps in the kernel


def layer_of(connection: Connection) -> PacketLayer:
    """The packets that a link's stream travels in."""
    assert isinstance(connection, PacketConnection)
    return connection._layer


class Side:
    """One node, its connection, and what is on its way from it."""

    def __init__(self, node: Node, options: dict[str, Any], now: int) -> None:
        self.node = node
        self.options = options
        self.events: list[events.Event] = []
        self.wire = bytearray()  # mtu 0
        self.packets: list[tuple[int, bytes]] = []  # due, packet
        self.carry = 0.0
        self.deaf = False
        self.connect(now)

    def connect(self, now: int) -> None:
        self.connection: Connection = self.node.connection(Link(codes.LOCALNET, **self.options), now)


class Line:
    """Two nodes and what joins them.

    `loss`, `double` and `late` are probabilities of a packet (mtu > 0), `ber` of a bit, `burst` of a byte to
    begin a burst of noise (mtu 0). `echo`: each side hears what it has written, too. `own` has options of
    each side's link, beside those of both.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        mtu: int = 0,
        baud: int = 115200,
        ber: float = 0,
        burst: float = 0,
        loss: float = 0,
        double: float = 0,
        late: float = 0,
        leaf: bool = False,
        echo: bool = False,
        ids: tuple[bytes, bytes] = (b"a" * 16, b"b" * 16),
        own: tuple[dict[str, Any], dict[str, Any]] = ({}, {}),
        **options: Any,
    ) -> None:
        self.now = START
        self.mtu = mtu
        self.baud = baud
        self.ber = ber
        self.burst = burst
        self.loss = loss
        self.double = double
        self.late = late
        self.echo = echo
        self.random = random.Random(seed)
        self.born = seed * 1000
        options = {"sort": "packet", "mtu": mtu, "via": "line", **options}
        self.sides = [
            self._side(ids[0], leaf, {"dialled": True, **options, **own[0]}),
            self._side(ids[1], False, {"dialled": False, **options, **own[1]}),
        ]

    def _side(self, node_id: bytes, leaf: bool, options: dict[str, Any]) -> Side:
        self.born += 1
        return Side(Node(node_id, entropy=Entropy(self.born), leaf=leaf), options, self.now)

    @property
    def a(self) -> Node:
        return self.sides[0].node

    @property
    def b(self) -> Node:
        return self.sides[1].node

    def reset(self, which: int) -> None:
        """A board's reset: all it knew is gone, what is on the line is not."""
        side = self.sides[which]
        self.born += 1
        side.node = Node(side.node.node_id, entropy=Entropy(self.born), leaf=side.node.leaf)
        side.connect(self.now)

    def run(self, ms: int) -> None:
        """Let time pass; what nothing happens in, at once."""
        until = self.now + ms
        while self.now < until:
            self.now += 1
            moved = False
            for side, other in (self.sides, self.sides[::-1]):
                due = side.node.next_deadline()
                if due is not None and due <= self.now:
                    side.events += side.node.handle_timer(self.now)
                moved = (self._packets if self.mtu else self._bytes)(side, other) or moved
                if side.connection.done and not side.node.closed:
                    side.connect(self.now)
                    moved = True
            if not moved:
                self._skip(until)

    def _skip(self, until: int) -> None:
        """To the millisecond before the next timer, or packet that arrives."""
        times = [due for side in self.sides if (due := side.node.next_deadline()) is not None]
        times += [due for side in self.sides for due, _ in side.packets]
        ms = min([*times, until]) - 1 - self.now
        if ms > 0:
            self.now += ms
            for side in self.sides:
                side.carry = min(side.carry + ms * self.baud / 10000, 100.0) % 1

    def _take(self, side: Side, data: bytes) -> None:
        for hearer in self.sides if self.echo else [side]:
            if not hearer.deaf:
                hearer.events += hearer.connection.receive_data(data, self.now)

    def _bytes(self, side: Side, other: Side) -> bool:
        """Whether there was something on the line."""
        if len(side.wire) < _AHEAD:
            side.wire += side.connection.data_to_send(_AHEAD, self.now)
        side.carry = min(side.carry + self.baud / 10000, 100.0)
        size = int(side.carry)
        side.carry -= size
        data = bytearray(side.wire[:size])
        side.wire[:size] = b""
        for at in range(len(data) if self.ber or self.burst else 0):
            if self.random.random() < self.ber * 8:
                data[at] ^= 1 << self.random.randrange(8)
            if self.random.random() < self.burst:
                noise = self.random.randbytes(self.random.randrange(40))
                data[at : at + self.random.randrange(40)] = noise
                break
        if data:
            self._take(other, bytes(data))
        return bool(data or side.wire)

    def _packets(self, side: Side, other: Side) -> bool:
        """Whether there was something to write, or to read."""
        wrote = False
        for _ in range(4):
            packet = side.connection.data_to_send(self.mtu, self.now)
            assert len(packet) <= self.mtu
            if packet:
                wrote = True
                for _ in range(2 if self.random.random() < self.double else 1):
                    if self.random.random() >= self.loss:
                        wait = self.random.randrange(20) if self.random.random() < self.late else 2
                        side.packets.append((self.now + wait, packet))
        due = [packet for at, packet in side.packets if at <= self.now]
        side.packets = [one for one in side.packets if one[0] > self.now]
        for packet in due:
            self._take(other, packet)
        return wrote or bool(due)

    def seen(self, which: int, kind: int) -> list[Any]:
        """The events of one side."""
        return [event for event in self.sides[which].events if event.kind == kind]

    def drain(self, which: int, receiver: Any) -> list[Any]:
        """All that a receiver of that side has."""
        taken = []
        while receiver.queue.items:
            taken.append(self.sides[which].node.take(receiver, self.now))
        return taken
