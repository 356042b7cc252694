"""Every kind of message and signal between living nodes over standing links, in virtual time, from one seed:
nothing is lost, and nothing of a pair overtakes.

`run(seed)` plays one life. Routers in a tree, with leaves at its ends; links that are slow (9600 baud), late,
or packet lines that lose, damage and double; processes that stop for a while; programs that take late, so
that origins are blocked and probe. No link ends and no way changes: whatever is missing, late, refused or out
of order has been lost or overtaken by the nodes themselves.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from busway.protocol import FullError, Limits, Node, Receiver, Request, codes, events
from tests.simulation.everyone import Verdict
from tests.simulation.nodes import Pace, Timed, Wire

NEWS = b"news-of-everyone"
STEPS = 60
HOUR = 3_600_000  # ms: no deadline plays a part
SIZES = (0, 20, 300, 700, 2500)  # bytes of a payload; where frames are small, the larger ones go in pieces
PARTS = (1, 3, 12)
ENDINGS = {  # what the origin of a request hears last, by what its server does
    "reply": (events.REPLIED, 0),
    "error": (events.FAILED, 300),
    "end": (events.ENDED, 0),
    "fail": (events.FAILED, 301),
    "never": (events.CANCELLED, 0),
}
PACES = (
    Pace(0, 0, 1000, 0.0),
    Pace(5, 0, 1, 0.0),  # 9600 baud, nearly
    Pace(5, 0, 12, 0.0),
    Pace(60, 40, 100, 0.02),
)


class BadWire(Wire):
    """A line that loses, damages and doubles what is written to it."""

    def put(self, data: bytes, now: int) -> None:
        chance = self.random.random()
        if chance < 0.02:
            data = data[: self.random.randrange(len(data))]
        elif chance < 0.04:
            at = self.random.randrange(len(data))
            data = data[:at] + bytes((data[at] ^ 1 << self.random.randrange(8),)) + data[at + 1 :]
        elif chance < 0.05:
            data += data
        super().put(data, now)


@dataclass
class Asked:
    """A request of ours, and all that we have heard of it."""

    what: str  # what its server is to do: reply, error, end, fail (after the parts), never
    parts: int
    cancelled: bool = False
    heard: list[tuple[int, int]] = field(default_factory=list)  # status, and number of a part or code


@dataclass
class Stream:
    """A request that is being answered in parts."""

    node: Node
    request: Request
    asked: Asked
    sent: int = 0


class Order:
    """One life, from its seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.net = Timed(self.random)
        self.verdict = Verdict()
        self.nodes: list[Node] = []
        self.receivers: dict[Node, Receiver] = {}
        self.news: dict[Node, Receiver] = {}
        self.lazy: dict[Node, float] = {}  # how seldom a program looks
        self.numbers: Counter[tuple[Node, Node]] = Counter()  # messages from one to the other
        self.got: dict[tuple[Node, Node], list[int]] = defaultdict(list)
        self.heard: dict[tuple[Node, Node], list[int]] = defaultdict(list)  # of the news
        self.published: Counter[Node] = Counter()
        self.asked: dict[tuple[Node, int], Asked] = {}  # by its origin and token
        self.confirms: dict[tuple[Node, int], list[int]] = {}
        self.orders: dict[tuple[Node, Node, int], Asked] = {}  # by the number of the message
        self.streams: list[Stream] = []
        self.handed: dict[int, tuple[Request, Asked]] = {}  # to a program that never answers
        self.called_off: set[int] = set()  # of those, whose server has heard of it
        self._seen = 0
        self._build()

    # What there is

    def _build(self) -> None:
        rng = self.random
        limits = Limits(frame_size_max=rng.choice((256, 1024, 65536)), partials_max=rng.choice((1, 2, 4)))
        routers = [
            self.net.node(letter, transit=True, limits=limits) for letter in "abcde"[: rng.randint(3, 5)]
        ]
        leaves = [self.net.node(letter, leaf=True, limits=limits) for letter in "yz"[: rng.randint(0, 2)]]
        self.nodes = routers + leaves
        for index, node in enumerate(routers[1:], 1):
            self.link(node, routers[max(0, index - rng.choice((1, 1, 2)))])
        for leaf in leaves:
            self.link(leaf, rng.choice(routers))
        for number, node in enumerate(self.nodes):
            self.lazy[node] = rng.choice((0.0, 0.0, 0.5, 0.9))
            uuid = b"inbox-%02d--------" % number
            self.receivers[node] = node.register(uuid, codes.UNICAST, codes.GLOBAL, queue_max=64)
            self.news[node] = node.register(NEWS, codes.BROADCAST, codes.GLOBAL, queue_max=4096)
        self.net.advance(30_000)
        self._meet()
        for node in self.nodes:  # the first of the news may have to find out who wants it
            node.publish(NEWS, b"", self.net.now)
        self.net.advance(60_000)
        for node in self.nodes:
            self.net.drain(node, self.news[node])
            self.published[node] = 0

    def _meet(self) -> None:
        """Everybody looks up everybody: an answer over slow links may take longer than one lookup waits."""
        for _ in range(10):
            strangers = [
                (here, self._uuid(there))
                for here in self.nodes
                for there in self.nodes
                if here is not there and not here.directory.is_known(self._uuid(there))
            ]
            if not strangers:
                return
            for here, uuid in strangers:
                here.locate(uuid, self.net.now)
            self.net.advance(20_000)
        self.verdict.faults.append("the nodes do not find each other")

    def link(self, one: Node, other: Node) -> None:
        bad = self.random.random() < 0.3
        pace = Pace(3, 0, 12, 0.0) if bad else self.random.choice(PACES)
        cable = self.net.link(
            one,
            other,
            realm=codes.LOCALNET,
            via=f"link {len(self.net.cables)}",
            sort="packet" if bad else "stream",
            lookups=bad or pace.bytes_per_ms == 1,
            keepalive_ms=60_000,
        )
        for end in cable.ends:
            self.net.wires[end] = (BadWire if bad else Wire)(pace, self.random)

    # What happens

    def say(self) -> None:
        """One node says something to another, or to all."""
        rng = self.random
        here, there = rng.sample(self.nodes, 2)
        ways: tuple[Callable[[Node, Node], object], ...] = (
            self.send,
            self.confirm,
            lambda a, b: self.ask(a, b, "reply"),
            lambda a, b: self.ask(a, b, "error"),
            lambda a, b: self.ask(a, b, "end", rng.choice(PARTS)),
            lambda a, b: self.ask(a, b, "fail", rng.choice(PARTS)),
            self.cancel_at_once,
            self.publish,
        )
        way = rng.choice(ways)
        for _ in range(rng.choice((1, 1, 5, 20))):
            way(here, there)

    def _payload(self, here: Node, there: Node) -> bytes:
        self.numbers[here, there] += 1
        text = b"%s:%d:" % (here.node_id[:1], self.numbers[here, there])
        return text + bytes(self.random.choice(SIZES))

    def _uuid(self, node: Node) -> bytes:
        return self.receivers[node].endpoint.uuid

    def send(self, here: Node, there: Node) -> None:
        here.send(self._uuid(there), self._payload(here, there), self.net.now, ttl_ms=HOUR)

    def confirm(self, here: Node, there: Node) -> None:
        payload = self._payload(here, there)
        token = here.send(
            self._uuid(there), payload, self.net.now, confirm=True, timeout_ms=HOUR, ttl_ms=HOUR
        )
        self.confirms[here, token] = []

    def ask(self, here: Node, there: Node, what: str, parts: int = 0) -> int:
        payload = self._payload(here, there)
        window = self.random.choice((2, 16)) if parts else 0
        token = here.request(
            self._uuid(there), payload, self.net.now, timeout_ms=HOUR, ttl_ms=HOUR, window=window
        )
        asked = Asked(what, parts)
        self.asked[here, token] = asked
        self.orders[here, there, self.numbers[here, there]] = asked
        return token

    def cancel_at_once(self, here: Node, there: Node) -> None:
        """Perhaps not quite: its request may have gone, and be under way on any of the links."""
        token = self.ask(here, there, "never")
        if self.random.random() < 0.5:
            self.turn(self.random.choice((1, 20, 300)))
        self.asked[here, token].cancelled = True
        here.cancel(token, self.net.now)

    def publish(self, here: Node, there: Node) -> None:
        try:
            self.published[here] += 1
            here.publish(NEWS, b"%s:%d:" % (here.node_id[:1], self.published[here]), self.net.now)
        except FullError:
            self.published[here] -= 1

    def turn(self, ms: int) -> None:
        """Time passes, and programs look."""
        self.net.advance(ms)
        self.listen()
        for node in self.nodes:
            if not self.net.asleep(node) and self.random.random() >= self.lazy[node]:
                self.take(node)
        self.go_on()
        self.listen()

    def take(self, node: Node) -> None:
        """A program takes what has come, and does as it is told."""
        for message in self.net.drain(node, self.receivers[node]):
            here, number = self._origin_of(message.payload)
            self.got[node, here].append(number)
            self.verdict.counts["messages"] += 1
            if isinstance(message, Request) and not message.confirm:
                self._serve(node, message, self.orders[here, node, number])
        for message in self.net.drain(node, self.news[node]):
            here, number = self._origin_of(message.payload)
            self.heard[node, here].append(number)
            self.verdict.counts["news"] += 1

    def _origin_of(self, payload: bytes) -> tuple[Node, int]:
        name, number, _ = payload.split(b":", 2)
        return next(node for node in self.nodes if node.node_id[:1] == name), int(number)

    def _serve(self, node: Node, request: Request, asked: Asked) -> None:
        if asked.what == "reply":
            node.respond(request, bytes(self.random.choice(SIZES)), self.net.now)
        elif asked.what == "error":
            node.respond_error(request, 300, "no", self.net.now)
        elif asked.what == "never":
            self.handed[id(request)] = (request, asked)
        else:
            self.streams.append(Stream(node, request, asked))

    def go_on(self) -> None:
        """Parts, as long as there is credit and room; then the end."""
        for stream in list(self.streams):
            node, request, now = stream.node, stream.request, self.net.now
            if self.net.asleep(node):
                continue
            assert request.stream is not None
            while stream.sent < stream.asked.parts and not len(request.stream.waiting):
                node.respond_part(request, b"%d:" % stream.sent + bytes(self.random.choice(SIZES)), now)
                stream.sent += 1
            if stream.sent == stream.asked.parts and not len(request.stream.waiting):
                self.streams.remove(stream)
                if stream.asked.what == "end":
                    node.respond_end(request, now)
                else:
                    node.respond_error(request, 301, "broken", now)

    def listen(self) -> None:
        """The reports of the nodes."""
        for node in self.nodes:
            self.net.note(node, node.take_events())
        for node, event in self.net.log[self._seen :]:
            self._seen += 1
            if isinstance(event, events.Outcome):
                self._outcome(node, event)
            elif isinstance(event, events.RequestEvent):
                self.called_off.add(id(event.request))
            elif event.kind in (events.UNDELIVERABLE, events.LINK_CLOSED):
                self.verdict.faults.append(f"{node.label}: event {event.kind}: {vars_of(event)}")

    def _outcome(self, node: Node, outcome: events.Outcome) -> None:
        if (node, outcome.token) in self.confirms:
            self.confirms[node, outcome.token].append(outcome.status)
        asked = self.asked.get((node, outcome.token))
        if asked is None:
            return
        if outcome.status == events.PARTIAL:
            assert isinstance(outcome.payload, bytes)
            asked.heard.append((events.PARTIAL, int(outcome.payload.split(b":")[0])))
            node.consume_part(outcome.token, self.net.now)
        else:
            asked.heard.append((outcome.status, outcome.code))

    # The whole

    def play(self, steps: int) -> None:
        for _ in range(steps):
            self.say()
            if self.random.random() < 0.1:
                self.net.stop(self.random.choice(self.nodes), self.random.choice((300, 3000)))
            self.turn(self.random.choice((0, 1, 10, 100, 1000)))
        self.lazy = dict.fromkeys(self.nodes, 0.0)
        for _ in range(400):
            if not any(node.origin.pending for node in self.nodes) and self._quiet():
                break
            self.turn(2000)
        self.turn(40_000)
        self.judge()

    def _quiet(self) -> bool:
        return not any(
            end.connection.outbox.has_messages() for cable in self.net.cables for end in cable.ends
        )

    def judge(self) -> None:
        self.verdict.faults += self._faults()

    def _faults(self) -> Iterator[str]:
        for (here, there), count in self.numbers.items():
            never = {n for n in range(1, count + 1) if self._is_off(here, there, n)}
            got = self.got[there, here]
            wanted = [n for n in range(1, count + 1) if n not in never or n in got]
            if got != wanted:
                missing = [n for n in wanted if n not in got]
                yield f"{there.label} got of {here.label} not {missing}, of {count}, and in this order: {got}"
        for (here, _), asked in self.asked.items():
            yield from self._faults_of(here, asked)
        for (here, _), statuses in self.confirms.items():
            if statuses != [events.TAKEN]:
                yield f"{here.label}: a confirmed message ended as {statuses}"
        for request, asked in self.handed.values():
            if id(request) not in self.called_off:
                yield f"a cancelled request was handed out, and never called off: {request.seq}, {asked}"
        for here in self.nodes:
            for there in self.nodes:
                heard = self.heard[there, here]
                if here is not there and heard != list(range(1, self.published[here] + 1)):
                    yield f"{there.label} heard of {here.label}'s {self.published[here]} news {heard}"
            yield from self._counted(here)

    def _is_off(self, here: Node, there: Node, number: int) -> bool:
        asked = self.orders.get((here, there, number))
        return asked is not None and asked.cancelled

    def _faults_of(self, here: Node, asked: Asked) -> Iterator[str]:
        wanted = [(events.PARTIAL, number) for number in range(asked.parts)]
        if asked.heard != [*wanted, ENDINGS[asked.what]]:
            yield f"{here.label} asked for {asked.what} after {asked.parts} parts and heard {asked.heard}"

    def _counted(self, node: Node) -> Iterator[str]:
        for where, names in (
            (node.receiving.counters, ("late", "refused", "dropped", "no_endpoint", "expired")),
            (node.forwarder.counters, ("unroutable", "misrouted")),
            (node.origin.counters, ("timed_out", "broadcast_dropped", "signals_dropped")),
        ):
            for name in names:
                if where[name]:
                    yield f"{node.label} counts {where[name]} {name}"


def vars_of(event: events.Event) -> str:
    return " ".join(f"{name}={getattr(event, name, None)!r}" for name in ("reason", "seq", "code", "text"))


def run(seed: int, steps: int = STEPS) -> Verdict:
    """A life of `steps` steps, and its judgement."""
    life = Order(seed)
    life.play(steps)
    life.verdict.counts["instants"] = life.net.instants
    return life.verdict
