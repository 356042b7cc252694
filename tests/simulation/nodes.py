"""Whole nodes over links that take time, in virtual time, all from one seed. Knows no bytes of the protocol.

A link here has a delay, a jitter that keeps the order, a bandwidth, and stalls (what is lost on a stream is
only late); it ends with what is on its way, or at one end only, and the other end finds out by keepalive.
A process may stop: it neither reads nor writes, and then its clock has jumped. After every instant it is
looked whether next hops lead in a circle. Links that lose, double and reorder belong into `Wire.put`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from busway.protocol import Node
from tests.protocol.pairs import Cable, End, Net, node_of
from tests.simulation.everyone import Life, Verdict
from tests.simulation.observer import observe

INSTANTS_MAX = 100_000  # of one pump: more means that the nodes never fall quiet
BACKLOG_MS = 20  # a driver takes no more from a node while so much waits for the line
KEEPALIVE_MS = 1000
STEPS = 120


class Pace(NamedTuple):
    """How fast one direction of a link is."""

    delay_ms: int
    jitter_ms: int
    bytes_per_ms: int
    stalls: float  # how often a piece has to be sent again


PACES = (Pace(0, 0, 10_000, 0.0), Pace(1, 2, 1000, 0.01), Pace(10, 10, 200, 0.02), Pace(40, 80, 50, 0.05))


def up_to(most: int, rng: random.Random) -> int:
    """The number that `rng.randint(1, most)` draws, at less cost."""
    bits = most.bit_length()
    while (drawn := rng.getrandbits(bits)) >= most:
        pass
    return drawn + 1


class Wire:
    """One direction of a link: pieces of bytes, with the time at which they arrive."""

    def __init__(self, pace: Pace, rng: random.Random) -> None:
        self.pace = pace
        self.random = rng
        self.calm = False
        self.least = min(16, BACKLOG_MS * pace.bytes_per_ms)  # bytes of room that are worth a call
        self.pieces: deque[tuple[int, bytes]] = deque()
        self.free_at = 0  # when the last byte has left, in bytes of the line's time

    def room(self, now: int) -> int:
        """How many bytes the driver would take now: none, until it is worth while."""
        line = now * self.pace.bytes_per_ms
        room = line + BACKLOG_MS * self.pace.bytes_per_ms - self.free_at
        return room if room >= self.least else 0

    def ready_at(self) -> int:
        """When there is room again, ms."""
        waiting = BACKLOG_MS * self.pace.bytes_per_ms
        return -((waiting - self.least - self.free_at) // self.pace.bytes_per_ms)

    def put(self, data: bytes, now: int) -> None:
        self.free_at = max(self.free_at, now * self.pace.bytes_per_ms) + len(data)
        at = self.free_at // self.pace.bytes_per_ms + self.pace.delay_ms
        if not self.calm:
            at += self.random.randint(0, self.pace.jitter_ms)
            if self.random.random() < self.pace.stalls:
                at += self.random.choice((200, 400, 1500))
        if self.pieces:
            at = max(at, self.pieces[-1][0])
        self.pieces.append((at, data))

    def take(self, now: int) -> bytes:
        """Bytes that have arrived: at most one piece, which is as much as one read gives."""
        if self.pieces and self.pieces[0][0] <= now:
            return self.pieces.popleft()[1]
        return b""


class Timed(Net):
    """A Net whose bytes take time. `pump` lets time pass until nothing is on its way."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.random = rng
        self.wires: dict[End, Wire] = {}  # towards each end
        self.dead: set[Cable] = set()  # cables that carry nothing more, noticed or not
        self.wakes: dict[Node, int] = {}  # processes that are stopped
        self.calm = False  # no jitter, no stalls, whole pieces: for the judgement
        self.instants = 0
        self.observe: Callable[[], None] = lambda: None

    def wire(self, cable: Cable, end: End) -> Wire:
        if end not in self.wires:
            pace = self.random.choice(PACES)
            for each in cable.ends:
                self.wires[each] = Wire(pace, self.random)
        return self.wires[end]

    def halve(self, cable: Cable) -> None:
        """The link dies; one end sees it, the other has to find out."""
        self.dead.add(cable)
        end = self.random.choice(cable.ends)
        end.unplugged = end.eof_seen = True
        self.note(node_of(end.connection), end.connection.receive_eof(self.now))

    def stop(self, node: Node, ms: int) -> None:
        """The process stands still for so long."""
        self.wakes[node] = max(self.now + ms, self.wakes.get(node, 0))

    def asleep(self, node: Node) -> bool:
        return self.wakes.get(node, 0) > self.now

    def step(self, size: int = 65536, split: int = 0, *, rng: random.Random | None = None) -> bool:
        """One turn of every end at this instant; False if nothing moved."""
        return bool(self._turn(size, split, set(self.nodes), in_vain=True))

    def _turn(self, size: int, split: int, written_to: set[Node], *, in_vain: bool = False) -> set[Node]:
        """One turn of the ends of the nodes that something has happened to. Returns at which something moved
        now: only there, and beyond their links, can more follow at this instant.

        Args: `in_vain`: those are asked, too, that say they have nothing to write.
        """
        moved: set[Node] = set()
        for cable in list(self.cables):
            a, b = cable.ends
            one, other = node_of(cable.a), node_of(cable.b)
            if one not in written_to and other not in written_to:
                continue
            if self._send(cable, a, b, size, in_vain) | self._receive(cable, a, b, split):
                moved.add(one)
            if self._send(cable, b, a, size, in_vain) | self._receive(cable, b, a, split):
                moved.add(other)
            if a.unplugged and b.unplugged:
                self.cables.remove(cable)
                self.dead.discard(cable)
                for end in cable.ends:
                    self.wires.pop(end, None)
        return moved

    def _send(self, cable: Cable, here: End, there: End, size: int, in_vain: bool) -> bool:
        connection = here.connection
        if here.unplugged or (self.wakes and self.asleep(node_of(connection))):
            return False
        wanted = connection.wants_write
        if not wanted and not in_vain and not connection.done:
            return False
        wire = self.wires.get(there) or self.wire(cable, there)
        room = min(size, wire.room(self.now))
        if not room:
            return False
        if not self.calm:
            room = up_to(room, self.random)
        data = connection.data_to_send(room, self.now)
        assert wanted or not data, "there was something to write, but wants_write did not say so"
        assert len(data) <= room, "data_to_send gave more than it was asked for"
        if data and cable not in self.dead:
            wire.calm = self.calm
            wire.put(data, self.now)
        if connection.done:
            here.unplugged = True
            return True
        return bool(data)

    def _receive(self, cable: Cable, here: End, there: End, split: int) -> bool:
        if here.unplugged or cable in self.dead:
            return False
        wire = self.wires.get(here) or self.wire(cable, here)
        ended = there.unplugged and not here.eof_seen
        if not ended and not (wire.pieces and wire.pieces[0][0] <= self.now):
            return False
        node = node_of(here.connection)
        if self.wakes and self.asleep(node):
            return False
        data = wire.take(self.now)
        pos = 0
        while pos < len(data):
            most = split or len(data)
            stop = pos + (most if self.calm else up_to(most, self.random))
            self.note(node, here.connection.receive_data(data[pos:stop], self.now))
            pos = stop
        if ended and not wire.pieces:
            here.eof_seen = True
            self.note(node, here.connection.receive_eof(self.now))
            return True
        return bool(data)

    def next_time(self, *, timers: bool = True) -> int:
        """The next instant at which something can happen, -1: never."""
        times = [wake for wake in self.wakes.values() if wake > self.now]
        for cable in self.cables:
            if cable not in self.dead:
                times += [self._next_on(cable, end) for end in cable.ends]
        if timers:
            for node in self.nodes:
                due = node.next_deadline()
                if due is not None:
                    times.append(max(due, self.now, self.wakes.get(node, 0)))
        return min((time for time in times if time >= 0), default=-1)

    def _next_on(self, cable: Cable, end: End) -> int:
        wire = self.wires.get(end) or self.wire(cable, end)
        peer = cable.ends[0] if end is cable.ends[1] else cable.ends[1]
        if wire.pieces and not end.unplugged:
            return max(wire.pieces[0][0], self.now + 1, self.wakes.get(node_of(end.connection), 0))
        if peer.connection.wants_write and not peer.unplugged:
            return max(self.now + 1, wire.ready_at(), self.wakes.get(node_of(peer.connection), 0))
        return -1

    def fire(self) -> None:
        for node in self.nodes:
            due = node.next_deadline()
            if due is not None and due <= self.now and not self.asleep(node):
                self.note(node, node.handle_timer(self.now))

    def instant(self, *, in_vain: bool = False) -> None:
        """All that can happen now."""
        self.fire()
        written_to = self._turn(65536, 0, set(self.nodes), in_vain=in_vain)
        while written_to:
            written_to = self._turn(65536, 0, written_to)
        self.instants += 1
        self.observe()

    def pump(self, size: int = 65536, split: int = 0, *, rng: random.Random | None = None) -> None:
        for _ in range(INSTANTS_MAX):
            self.instant()
            if self.next_time(timers=False) < 0:
                return
            self.now = max(self.now, self.next_time())
        raise AssertionError("the nodes never fall quiet")

    def advance(self, ms: int, *, pump: bool = True) -> None:
        until = self.now + ms
        while True:
            self.instant()
            at = self.next_time()
            if not 0 <= at <= until:
                break
            self.now = max(at, self.now)
        self.now = until
        self.instant(in_vain=True)


class TimedLife(Life):
    """A random life as everyone.py plays it, on links that take time, with ends that are noticed late and
    processes that stop.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        nodes = self.net.nodes
        self.net: Timed = Timed(self.random)
        self.net.nodes = nodes
        self.observers = observe(self.net, self.verdict.faults.append)
        self.net.observe = self.look

    def link(self, one: Node, other: Node, realm: int) -> None:
        self.links += 1
        cost = self.random.choice((1, 16, 32))
        via = f"link {self.links}"
        self.net.link(one, other, realm=realm, via=via, cost=cost, keepalive_ms=KEEPALIVE_MS)

    def halve(self) -> None:
        cables = [each for each in self.standing() if each not in self.net.dead]
        if cables:
            cable = self.random.choice(cables)
            self.net.halve(cable)
            for node in (node_of(cable.a), node_of(cable.b)):
                if node in self.leaves:
                    self.uplink(node)

    def stop(self) -> None:
        self.net.stop(self.random.choice(self.nodes), self.random.choice((50, 500, 5000)))

    def move(self) -> None:
        chance = self.random.random()
        if chance < 0.06:
            self.halve()
        elif chance < 0.12:
            self.stop()
        self.net.advance(self.random.choice((0, 1, 5, 20, 100)))

    def settle(self) -> None:
        self.net.advance(20_000)  # what died unseen is noticed
        self.relink()
        self.net.calm = True
        super().settle()

    def relink(self) -> None:
        """A leaf whose last link died unseen dials again, as its program would."""
        for leaf in self.leaves:
            if not any(leaf in (node_of(each.a), node_of(each.b)) for each in self.standing()):
                self.uplink(leaf)


def run(seed: int, steps: int = STEPS) -> Verdict:
    """A life of `steps` steps, and its judgement."""
    life = TimedLife(seed)
    for index, node in enumerate(life.routers[1:], 1):
        life.link(node, life.routers[life.random.randrange(index)], life.random.choice((1, 1, 2, 3)))
    for leaf in life.leaves:
        life.uplink(leaf)
    life.net.advance(1000)
    for _ in range(steps):
        life.step()
        if life.verdict.faults:
            return life.verdict
    life.settle()
    life.judge()
    life.verdict.counts["instants"] = life.net.instants
    return life.verdict
