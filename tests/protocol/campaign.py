"""A random life of a few nodes, judged after every step by what a sender may rely on.

`run(seed)` plays one; the same seed plays the same. Nodes join, leave, close, are killed and come back; links
are cut, doubled, blocked and read in pieces of any size; time passes; programs send, ask, stream, publish,
cancel, and take their time to read. Knows the node's public face, and looks inside it only to check bounds.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from busway.protocol import (
    ClosedError,
    FullError,
    Limits,
    LocalError,
    Message,
    Node,
    Receiver,
    Request,
    codes,
    events,
)
from busway.protocol.messaging.correspondent import talk
from tests.protocol.pairs import Cable, Entropy, Net, node_of

LETTERS = "abcdef"
UUIDS = {
    b"unicast endpoint": codes.UNICAST,
    b"unicast  another": codes.UNICAST,
    b"anycast endpoint": codes.ANYCAST,
    b"broadcasts to all": codes.BROADCAST,
}
UUIDS = {uuid[:16]: kind for uuid, kind in UUIDS.items()}
LIMITS = Limits(frame_size_max=2000, message_size_max=400_000)
NOT_TAKEN = (events.UNDELIVERED,)  # with these codes it may have been taken all the same:
MAYBE_TAKEN = (codes.LOST_AFTER_SENDING, codes.PART_LOST, codes.BUS_CLOSED, codes.UNREADABLE)


class Sent:
    """One send, request or publish, and what became of it."""

    def __init__(self, node: Node, kind: str, uuid: bytes, payload: bytes) -> None:
        self.node = node
        self.kind = kind
        self.uuid = uuid
        self.payload = payload
        self.token = 0
        self.status = 0  # of its terminal outcome
        self.code = 0
        self.parts = 0
        self.taken = 0


class Spied(Node):
    """Notes at once which incarnation of a node bad news is about: the event only tells the node."""

    news: list[tuple[bytes, bytes, bytes, int]]

    def emit(self, event: events.Event) -> None:
        if isinstance(event, events.UndeliverableEvent):
            peer = self.routes.peers.get(event.node_id) or self.routes.departed.get(event.node_id) or self.me
            self.news.append((self.me.incarnation, peer.incarnation, event.endpoint, event.seq))
        super().emit(event)


class World(Net):
    """The nodes, what they sent, and what their programs took."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = random.Random(seed)
        self.seed = seed
        self.calm = seed % 4 == 0  # no link or node is lost: then nothing may be lost at all
        self.long = seed % 4 == 3  # minutes pass
        # Two nodes may have links of different sorts. Then a signal may be lost with one of them though the
        # node is not, and a cancelled stream waits for its reader for two minutes.
        self.double = seed % 4 == 1
        self.letters = LETTERS[: self.rng.randint(3, len(LETTERS))]
        self.up: dict[str, Node] = {}
        self.starts = 0
        self.sent: dict[bytes, Sent] = {}
        self.tokens: dict[tuple[Node, int], Sent] = {}
        self.answers: dict[tuple[Node, int], int] = {}  # tokens of replies and parts: their statuses so far
        self.receivers: list[tuple[Node, Receiver]] = []
        self.orders: dict[tuple[Receiver, Node], int] = {}
        self.work: list[tuple[Node, Request]] = []
        self.lost_news: list[tuple[bytes, bytes, bytes, int]] = []  # like the keys of `places`
        self.places: dict[tuple[bytes, bytes, bytes, int], Sent] = {}

    # Nodes and links

    def start(self, letter: str) -> None:
        self.starts += 1
        node = Spied(
            letter.encode() * 16,
            entropy=Entropy(self.seed * 1000 + self.starts),
            label=letter.upper(),
            limits=LIMITS,
            encode=lambda report: b"report",
        )
        node.news = self.lost_news
        self.nodes.append(node)
        for other in self.up.values():
            self.join(node, other)
        self.up[letter] = node

    def join(self, node: Node, other: Node) -> None:
        via = "tcp" if self.double and self.rng.random() < 0.3 else "ipc"
        ends = (node, other) if self.rng.random() < 0.5 else (other, node)
        self.link(*ends, via=via, realm=codes.USERSPACE if via == "ipc" else codes.LOCALNET)

    def kill(self, letter: str) -> None:
        """Its program is gone, without a word."""
        node = self.up.pop(letter)
        self.nodes.remove(node)
        self.receivers = [(holder, receiver) for holder, receiver in self.receivers if holder is not node]
        self.work = [(holder, request) for holder, request in self.work if holder is not node]
        for cable in self.cables:
            for here, there in (cable.ends, cable.ends[::-1]):
                if node_of(here.connection) is node:
                    here.unplugged = here.eof_seen = True
                    here.inbox.clear()
                    if self.rng.random() < 0.5:
                        there.inbox.clear()  # else what it wrote last still arrives

    def live(self, cable: Cable) -> bool:
        return not all(end.unplugged for end in cable.ends)

    # Programs

    def payload(self, node: Node) -> bytes:
        number = len(self.sent)
        size = self.rng.choice([0, 0, 0, 10, 100, 1500, 2500, self.rng.choice([10_000, 300_000])])
        return b"%d:%s:%d " % (number, node.label.encode(), self.starts) + bytes(size)

    def issue(self, node: Node, kind: str) -> None:
        choices = [u for u, k in UUIDS.items() if (k == codes.BROADCAST) == (kind == "publish")]
        uuid = self.rng.choice(choices)
        sent = Sent(node, kind, uuid, self.payload(node))
        try:
            sent.token = self.submit(node, sent)
        except (FullError, LocalError):
            return
        self.sent[sent.payload] = sent
        if sent.token:
            assert (node, sent.token) not in self.tokens or self.tokens[node, sent.token].status
            self.tokens[node, sent.token] = sent
        if sent.kind != "plain":
            assert sent.token or kind == "publish"

    def submit(self, node: Node, sent: Sent) -> int:
        rng = self.rng
        if sent.kind == "publish":
            return node.publish(sent.uuid, sent.payload, self.now, wait=rng.random() < 0.9)
        options: dict[str, Any] = {}
        if rng.random() < 0.2:
            options["ttl_ms"] = rng.choice([1, 500, 5000])
        if rng.random() < 0.1:
            options["wait"] = False
        if UUIDS[sent.uuid] == codes.ANYCAST and rng.random() < 0.2:
            options["node_id"] = rng.choice(self.letters).encode() * 16
        if sent.kind != "plain":
            options["timeout_ms"] = rng.choice([0, 10, 1000, 30_000, 30_000])
        if sent.kind in ("plain", "confirm"):
            return node.send(sent.uuid, sent.payload, self.now, confirm=sent.kind == "confirm", **options)
        if sent.kind == "stream":
            options["window"] = rng.choice([1, 2, 10])
        return node.request(sent.uuid, sent.payload, self.now, **options)

    def register(self, node: Node) -> None:
        uuid = self.rng.choice(list(UUIDS))
        kind = UUIDS[uuid] if self.calm or self.rng.random() < 0.95 else codes.ANYCAST
        policy = codes.REFUSE if self.calm and kind != codes.BROADCAST else -1
        if not self.calm:
            policy = self.rng.choice([-1, codes.REFUSE, codes.DROP_OLDEST, codes.DROP_NEWEST])
        try:
            receiver = node.register(
                uuid,
                kind,
                queue_max=self.rng.choice([2, 8, 100]),
                size_max=self.rng.choice([5000, 1 << 20]),
                policy=policy,
            )
        except LocalError:
            return
        self.receivers.append((node, receiver))

    def take(self, node: Node, receiver: Receiver, most: int) -> None:
        for _ in range(most):
            try:
                message = node.take(receiver, self.now)
            except ClosedError:
                return
            if message is None:
                return
            self.judge_delivery(node, receiver, message)
            if isinstance(message, Request) and not message.confirm:
                self.work.append((node, message))

    def answer(self, node: Node, request: Request) -> bool:
        """Some of the work on a request; True if it is done."""
        rng = self.rng
        if request.stream is not None and rng.random() < 0.7:
            if not len(request.stream.waiting):
                self.note_answer(node, node.respond_part(request, b"part", self.now))
            return False
        if request.stream is not None and len(request.stream.waiting):
            return False
        try:
            if rng.random() < 0.3:
                token = node.respond_error(request, rng.choice([9, 64, 300]), "no", self.now)
            elif request.stream is not None:
                token = node.respond_end(request, self.now)
            else:
                token = node.respond(request, bytes(rng.choice([0, 10, 3000, 100_000])), self.now)
        except FullError:
            return False
        self.note_answer(node, token)
        return True

    def note_answer(self, node: Node, token: int) -> None:
        if token:
            assert (node, token) not in self.answers
            self.answers[node, token] = 0

    def consume(self) -> None:
        for (node, token), sent in self.tokens.items():
            if sent.parts and node in self.nodes and self.rng.random() < 0.5:
                node.consume_part(token, self.now)
                sent.parts -= 1

    # Judgement

    def judge_delivery(self, node: Node, receiver: Receiver, message: Message) -> None:
        assert isinstance(message.payload, bytes)
        sent = self.sent[message.payload]  # whole, and never changed
        assert message.endpoint == sent.uuid
        assert message.source == sent.node.node_id
        if sent.kind != "publish":
            sent.taken += 1
            assert sent.taken == 1, "delivered twice"
        number = int(message.payload.split(b":")[0])
        if UUIDS[sent.uuid] != codes.ANYCAST:
            assert number > self.orders.get((receiver, sent.node), -1), "out of order, or twice"
        self.orders[receiver, sent.node] = number
        self.places[sent.node.me.incarnation, node.me.incarnation, sent.uuid, message.seq] = sent

    def collect(self) -> None:
        """Fetch and judge what happened."""
        for node in self.nodes:
            self.note(node, node.take_events())
        for node, event in self.log:
            if isinstance(event, events.Outcome):
                self.judge_outcome(node, event)
            elif isinstance(event, events.ReceiverEvent):
                assert event.kind in (events.RECEIVER_TAKEN, events.RECEIVER_BACK)
            elif isinstance(event, events.RequestEvent):
                self.work = [
                    (holder, request) for holder, request in self.work if request is not event.request
                ]
        self.log.clear()

    def judge_outcome(self, node: Node, outcome: events.Outcome) -> None:
        key = (node, outcome.token)
        if key in self.answers and (key not in self.tokens or self.tokens[key].status):
            assert self.answers[key] == 0, "two outcomes for an answer"
            assert outcome.status != events.PARTIAL
            self.answers[key] = outcome.status
            return
        sent = self.tokens[key]
        assert not sent.status, "an outcome after the last"
        if outcome.status == events.PARTIAL:
            assert sent.kind == "stream"
            sent.parts += 1
            return
        allowed = {
            "plain": (events.ACCEPTED, events.UNDELIVERED, events.CANCELLED),
            "publish": (events.ACCEPTED, events.UNDELIVERED, events.CANCELLED),
            "confirm": (events.TAKEN, events.UNDELIVERED, events.UNKNOWN, events.CANCELLED),
        }.get(
            sent.kind,
            (
                events.REPLIED,
                events.ENDED,
                events.FAILED,
                events.UNDELIVERED,
                events.TIMED_OUT,
                events.CANCELLED,
            ),
        )
        assert outcome.status in allowed
        if outcome.status == events.TAKEN:
            assert sent.taken == 1, "confirmed, but not taken"
        sent.status, sent.code = outcome.status, outcome.code

    def judge_bounds(self) -> None:
        for node in self.nodes:
            assert len(node.origin.pending) <= codes.OUTSTANDING_MAX
            for connection in node.connections:
                outbox = connection.outbox
                assert (
                    0 <= outbox.queue.size <= 3 * codes.QUEUE_SIZE_MAX
                )  # what moved here from another link, too
                assert 0 <= outbox.broadcasts.size <= 3 * codes.BROADCAST_SIZE_MAX
                assert len(connection.inbox.assemblies) <= LIMITS.partials_max
        for _, receiver in self.receivers:
            assert len(receiver.queue) <= receiver.queue_max
            assert receiver.size <= receiver.size_max or len(receiver.queue) == 1

    # Steps

    def one_of(self, nodes: list[Node]) -> Node:
        return self.rng.choice(nodes)

    def act(self) -> None:
        """One random thing."""
        rng = self.rng
        nodes = list(self.up.values())
        if not nodes:
            self.start(rng.choice(self.letters))
            return
        actions: list[tuple[int, Callable[[], object]]] = [
            (20, lambda: self.issue(self.one_of(nodes), "plain")),
            (8, lambda: self.issue(self.one_of(nodes), "confirm")),
            (10, lambda: self.issue(self.one_of(nodes), "request")),
            (5, lambda: self.issue(self.one_of(nodes), "stream")),
            (8, lambda: self.issue(self.one_of(nodes), "publish")),
            (4, lambda: self.cancel_some()),
            (6, lambda: self.register(self.one_of(nodes))),
            (20, lambda: self.read_some()),
            (20, lambda: self.work_some()),
            (8, lambda: self.consume()),
            (50, lambda: self.step(rng.choice([1, 500, 20_000, 65536]), rng.choice([1, 50, 0, 0]), rng=rng)),
            (4, lambda: self.block_some()),
            (4, lambda: self.advance(rng.choice([1, 10, 100, 1000]), pump=False)),
        ]
        if not self.calm:
            actions += [
                (2, lambda: self.deregister_some()),
                (2, lambda: self.cut_some()),
                (4, lambda: self.link_some(nodes)),
                (1, lambda: self.leave(rng.choice(list(self.up)))),
                (4, lambda: self.come_back()),
            ]
        if self.long:
            actions.append(
                (1, lambda: self.advance(rng.choice([20_000, 70_000, 100_000, 250_000]), pump=False))
            )
        rng.choices([action for _, action in actions], [weight for weight, _ in actions])[0]()

    def cancel_some(self) -> None:
        open_tokens = [key for key, sent in self.tokens.items() if not sent.status and key[0] in self.nodes]
        if open_tokens:
            node, token = self.rng.choice(open_tokens)
            node.cancel(token, self.now)

    def read_some(self) -> None:
        if self.receivers:
            node, receiver = self.rng.choice(self.receivers)
            self.take(node, receiver, self.rng.choice([1, 3, 1000]))

    def work_some(self) -> None:
        if self.work:
            item = self.rng.choice(self.work)
            if self.answer(*item) and item in self.work:
                self.work.remove(item)

    def block_some(self) -> None:
        for cable in self.cables:
            for end in cable.ends:
                if self.rng.random() < 0.3:
                    end.writable = self.rng.random() < 0.6

    def deregister_some(self) -> None:
        if self.receivers:
            item = self.rng.choice(self.receivers)
            self.receivers.remove(item)
            item[0].deregister(item[1], self.now)

    def cut_some(self) -> None:
        live = [cable for cable in self.cables if self.live(cable)]
        if live:
            self.rng.choice(live).cut()
        self.cables = [cable for cable in self.cables if self.live(cable)]

    def link_some(self, nodes: list[Node]) -> None:
        if len(nodes) > 1:
            self.join(*self.rng.sample(nodes, 2))

    def leave(self, letter: str) -> None:
        if self.rng.random() < 0.5:
            self.kill(letter)
            return
        node = self.up.pop(letter)
        node.close(self.now)
        self.receivers = [(holder, receiver) for holder, receiver in self.receivers if holder is not node]

    def come_back(self) -> None:
        away = [letter for letter in self.letters if letter not in self.up]
        if away:
            self.start(self.rng.choice(away))

    # The whole

    def play(self, steps: int) -> None:
        for letter in self.letters:
            self.start(letter)
        for _ in range(2 * len(self.letters)):
            self.register(self.one_of(self.nodes))
        for _ in range(steps):
            self.act()
            self.collect()
            self.judge_bounds()
        self.finish()
        self.judge_end()

    def finish(self) -> None:
        """Nobody does anything new; everybody reads what there is and answers what was asked."""
        for _ in range(60):
            for cable in self.cables:
                for end in cable.ends:
                    end.writable = True
            self.step(rng=None)
            self.pump()
            self.collect()
            for node, receiver in list(self.receivers):
                self.take(node, receiver, 100_000)
            for item in list(self.work):
                while item in self.work:
                    if item[1].stream is not None and len(item[1].stream.waiting):
                        break
                    if self.answer(*item):
                        self.work.remove(item)
            for _ in range(20):
                self.consume()
            self.collect()
            self.advance(1000)
            self.collect()
            self.judge_bounds()

    def judge_end(self) -> None:
        for (node, _), sent in self.tokens.items():
            if node in self.nodes:
                assert sent.status, f"{sent.kind} never ended"
        for (node, _), status in self.answers.items():
            assert status or node not in self.nodes or self.double, "an answer never ended"
        for sent in self.sent.values():
            self.judge_taken(sent)
        for node in self.nodes:
            assert node.origin.unresolved.waiting == {}
            self.judge_directory(node)
            for connection in node.connections:
                assert not len(connection._room_waiters)
                assert connection._broadcast_waiters == []
                assert connection.outbox.queue.size == connection.outbox.broadcasts.size == 0
            for peer in [node.me, *node.routes.peers.values(), *node.routes.departed.values()]:
                assert self.double or talk(peer).serving == {}
                assert all(not len(flow.waiting) for flow in talk(peer).out_flows.values())
        if not self.long:
            self.judge_news()
        if self.calm:
            self.judge_calm()

    def judge_directory(self, node: Node) -> None:
        """Everybody knows what each neighbour has: no more, no less."""
        there = {other.me.incarnation: other for other in self.nodes}
        for peer in node.peers():
            realm = min(connection.realm for connection in peer.connections)
            told = [e.uuid for e in there[peer.incarnation].endpoints() if e.realm >= realm]
            assert sorted(peer.entries) == sorted(uuid for uuid in told if uuid != codes.INTROSPECTION)

    def judge_taken(self, sent: Sent) -> None:
        if sent.kind in ("plain", "publish"):
            return
        if sent.status == events.UNDELIVERED and sent.code not in MAYBE_TAKEN:
            assert not sent.taken, "told as not delivered, but it was"
        if sent.status in (events.REPLIED, events.ENDED, events.FAILED, events.TAKEN):
            assert sent.taken == 1

    def judge_news(self) -> None:
        """Checks that nothing told as undeliverable was taken."""
        for place in self.lost_news:
            if place[0] != place[1]:  # a node's own numbers start anew with each of its endpoints
                sent = self.places.get(place)
                assert sent is None or sent.kind == "publish"

    def judge_calm(self) -> None:
        """No link was lost: every plain send was taken, or its sender was told."""
        lost = sum(
            1 for sent in self.sent.values() if sent.kind == "plain" and self.went(sent) and not sent.taken
        )
        assert lost == len(self.lost_news)
        for node in self.nodes:
            assert node.receiving.counters["late"] == 0

    def went(self, sent: Sent) -> bool:
        return not sent.token or sent.status == events.ACCEPTED


def run(seed: int, steps: int = 500) -> World:
    """One life; raises AssertionError at the first thing that is not as promised."""
    world = World(seed)
    try:
        world.play(steps)
    except BaseException:
        print(f"campaign seed {seed}, steps {steps}, at {world.now - 1_000_000} ms")
        raise
    return world
