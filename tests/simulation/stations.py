"""Speakers over a line of lines.py: a Node, or a bare layer that carries a stream; and the life of a
conversation of confirmed messages, with its verdict.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Protocol

from busway.protocol import Connection, FullError, Link, LocalError, Node, codes, events
from tests.protocol.pairs import E, Entropy
from tests.simulation.lines import Line, Sort


class Layer(Protocol):
    """A reliable stream over a line: PacketLayer, or one of arq.py."""

    def receive(self, data: bytes, now: int) -> bytes: ...

    def write(self, source: Callable[[int, int], bytes], size_max: int, now: int) -> bytes: ...

    def deadline(self) -> int: ...

    def handle_timer(self, now: int) -> None: ...


_PERIOD = bytes(number * 31 >> 3 & 255 for number in range(2048))


def _stream(start: int, size: int) -> bytes:
    """What a station says, from byte `start` on: it comes again after 2,048 bytes."""
    start %= len(_PERIOD)
    return (_PERIOD * (1 + (start + size) // len(_PERIOD)))[start : start + size]


class LayerStation:
    """A layer whose source is a stream of `record`, without end unless `count` says so."""

    def __init__(self, layer: Layer, record: int = 0, count: int = 1 << 60) -> None:
        self.layer = layer
        self.record = record
        self.left = record * count
        self.said = 0
        self.got = 0
        self.faults = 0
        self.arrivals: list[tuple[int, int]] = []  # ms, bytes so far

    def _source(self, size_max: int, now: int) -> bytes:
        size = min(size_max, self.left)
        data = _stream(self.said, size)
        self.said += size
        self.left -= size
        return data

    def incoming(self, data: bytes, now: int) -> None:
        stream = self.layer.receive(data, now)
        if stream:
            first = self.got
            self.faults += stream != _stream(first, len(stream))
            self.got += len(stream)
            self.arrivals.append((now, self.got))

    def outgoing(self, size_max: int, now: int) -> bytes:
        return self.layer.write(self._source, size_max, now)

    def deadline(self) -> int:
        return self.layer.deadline()

    def fire(self, now: int) -> None:
        self.layer.handle_timer(now)


class NodeStation:
    """A Node whose one link is the line; when the link has ended another one begins at once."""

    def __init__(self, node: Node, sort: Sort, dialled: bool, now: int, **options: Any) -> None:
        self.node = node
        self.options = {"sort": "packet", "mtu": sort.mtu, "via": "line", "dialled": dialled, **options}
        self.closings: Counter[int] = Counter()
        self.on_event: Callable[[events.Event], None] = lambda event: None
        self.connection: Connection = self._connect(now)

    def _connect(self, now: int) -> Connection:
        return self.node.connection(Link(codes.LOCALNET, **self.options), now)

    def note(self, happened: list[events.Event]) -> None:
        for event in happened:
            if isinstance(event, events.LinkEvent) and event.kind == events.LINK_CLOSED:
                self.closings[event.code] += 1
            self.on_event(event)

    def incoming(self, data: bytes, now: int) -> None:
        self.note(self.connection.receive_data(data, now))

    def outgoing(self, size_max: int, now: int) -> bytes:
        wanted = self.connection.wants_write
        data = self.connection.data_to_send(size_max, now)
        assert wanted or not data, "there was something to write, but wants_write did not say so"
        self.note(self.node.take_events())
        if not data and self.connection.done:
            self.connection = self._connect(now)
            data = self.connection.data_to_send(size_max, now)
        return data

    def deadline(self) -> int:
        due = self.node.next_deadline()
        return -1 if due is None else due

    def fire(self, now: int) -> None:
        self.note(self.node.handle_timer(now))


class Talk:
    """Node 0 sends numbered confirmed messages to node 1, which takes them; both may be reset.

    Args: `size` bytes of a payload; `window` messages without verdict at once; `timeout_ms` of each.
    """

    def __init__(
        self,
        seed: int,
        sort: Sort,
        *,
        size: int = 64,
        window: int = 32,
        timeout_ms: int = 30_000,
        both: bool = False,
        **options: Any,
    ) -> None:
        self.seed = seed
        self.random = random.Random(f"talk {seed}")
        self.line = Line(seed, sort)
        self.options = options
        self.size = size
        self.window = window
        self.timeout_ms = timeout_ms
        self.both = both
        self.born = 1000 * seed
        self.stations: list[NodeStation] = []
        self.receivers: list[Any] = [None, None]
        self.count = [0, 0]  # messages of each node so far, over all its lives
        self.open: list[dict[int, int]] = [{}, {}]  # number by token
        self.verdicts: list[dict[int, int]] = [{}, {}]
        self.taken: list[dict[int, int]] = [{}, {}]  # of the messages of each node: when, by number
        self.last = [0, 0]
        self.lost_tokens: Counter[int] = Counter()  # of each node: sent in a life that ended
        self.faults: list[str] = []
        self.resets = 0
        for which in (0, 1):
            self.stations.append(self._birth(which))
        for which in (0, 1):
            self.line.attach(which, self.stations[which])

    def _birth(self, which: int) -> NodeStation:
        self.born += 1
        letter = b"ab"[which : which + 1]
        node = Node(letter * 16, entropy=Entropy(self.born))
        self.receivers[which] = node.register(E if which else b"\1" * 16, codes.UNICAST, queue_max=4096)
        station = NodeStation(node, self.line.sort, which == 0, self.line.now, **self.options)
        station.on_event = lambda event: self._event(which, station, event)
        return station

    def reset(self, which: int) -> None:
        self.resets += 1
        self.lost_tokens[which] += len(self.open[which])
        self.open[which] = {}
        self.stations[which].on_event = lambda event: None
        self.stations[which] = self._birth(which)
        self.line.reset(which, self.stations[which])

    def _fault(self, text: str) -> None:
        self.faults.append(f"seed {self.seed}, {self.line.now} ms: {text}")

    def _event(self, which: int, station: NodeStation, event: events.Event) -> None:
        if isinstance(event, events.Outcome):
            if event.status == events.ACCEPTED:
                return
            number = self.open[which].pop(event.token, None)
            if number is None:
                self._fault(f"an outcome {event.status} of a message without one due")
                return
            self.verdicts[which][number] = event.status
        elif isinstance(event, events.MessagesEvent):
            self._take(which, station)

    def _take(self, which: int, station: NodeStation) -> None:
        origin = 1 - which
        while (message := station.node.take(self.receivers[which], self.line.now)) is not None:
            assert isinstance(message.payload, bytes)
            number = int.from_bytes(message.payload[:8], "big")
            if number in self.taken[origin]:
                self._fault(f"message {number} of {origin} twice")
            elif number < self.last[origin]:
                self._fault(f"message {number} of {origin} after {self.last[origin]}")
            if len(message.payload) != self.size or any(message.payload[8:]):
                self._fault(f"message {number} is damaged")
            self.taken[origin][number] = self.line.now
            self.last[origin] = number

    def say(self, limit: int) -> None:
        """Send as much as the window allows, up to message `limit` of each."""
        for which in (0, 1) if self.both else (0,):
            station = self.stations[which]
            before = self.count[which]
            while self.count[which] < limit and len(self.open[which]) < self.window:
                payload = (self.count[which] + 1).to_bytes(8, "big") + bytes(self.size - 8)
                try:
                    token = station.node.send(
                        b"\1" * 16 if which else E,
                        payload,
                        self.line.now,
                        confirm=True,
                        ttl_ms=self.timeout_ms,
                        timeout_ms=self.timeout_ms,
                    )
                except (FullError, LocalError):
                    break
                self.count[which] += 1
                self.open[which][token] = self.count[which]
            if self.count[which] != before:
                station.note(station.node.take_events())
                self.line.serve(which)

    def play(self, count: int, *, reset_every_ms: int = 0, patience_ms: int = 120_000) -> None:
        """`count` messages; none may be silent for longer than `patience_ms`."""
        next_reset = self.line.now + self._pause(reset_every_ms) if reset_every_ms else 1 << 60
        stuck_since, before = self.line.now, -1
        while True:
            self.say(count)
            total = sum(map(len, self.verdicts)) + sum(self.lost_tokens.values())
            if total != before:
                before, stuck_since = total, self.line.now
            if all(self.count[w] == count and not self.open[w] for w in ((0, 1) if self.both else (0,))):
                break
            if self.line.now - stuck_since > patience_ms:
                self._fault(f"nothing moves for {patience_ms} ms: {len(self.open[0])} without a verdict")
                return
            done = sum(map(len, self.verdicts))
            self.line.run(
                min(1000, max(0, next_reset - self.line.now)),
                lambda done=done: sum(map(len, self.verdicts)) != done,  # type: ignore[misc]
            )
            if self.line.now >= next_reset:
                self.reset(self.random.randrange(2))
                next_reset = self.line.now + self._pause(reset_every_ms)
        self._judge()

    def _pause(self, mean_ms: int) -> int:
        return 200 + int(self.random.expovariate(1 / mean_ms))

    def _judge(self) -> None:
        for which in (0, 1):
            for number, status in self.verdicts[which].items():
                here = number in self.taken[which]
                if status == events.TAKEN and not here:
                    self._fault(f"message {number} of {which} has the verdict taken, but was lost")
                if status == events.UNDELIVERED and here:
                    self._fault(f"message {number} of {which} was taken, its verdict is not taken")

    def tally(self) -> dict[str, int]:
        """Verdicts by their names."""
        names = {events.TAKEN: "taken", events.UNDELIVERED: "not taken", events.UNKNOWN: "unknown"}
        counts: Counter[str] = Counter()
        for verdicts in self.verdicts:
            counts.update(names.get(status, f"status {status}") for status in verdicts.values())
        counts["sender reset"] += sum(self.lost_tokens.values())
        return dict(counts)


def stall(arrivals: list[tuple[int, int]], at: int) -> int:
    """How long after `at` the next bytes came, ms."""
    later = deque(when for when, _ in arrivals if when >= at)
    return later[0] - at if later else -1
