"""A random life of a whole mesh in which everything of addressing is used: names, labels, patterns,
priorities, last values, goodbyes, last words, presence. What everyone.py asks for holds as well.

Judged besides: order, and nothing twice, within each priority of a pair, by name and by pattern; a pattern
gets what it means, once, and each subscriber the last value of each publisher, once; who says goodbye is
taken for lost by nobody who could reach it, and leaves no last word; a last word is given once; and what
presence tells adds up to what there is.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from busway.adapters.ends import Items
from busway.adapters.presence import BasePresence
from busway.adapters.records import EndpointInfo
from busway.protocol import (
    EndpointTakenError,
    FullError,
    LocalError,
    Node,
    Receiver,
    Request,
    WrongKindError,
    codes,
    events,
)
from busway.protocol.wire.patterns import matches
from tests.protocol.pairs import Entropy, node_of
from tests.simulation.everyone import NEVER, REALMS, SIZES, UUIDS, Life, Verdict, play

NAMES = {uuid: f"lab/{index % 3}/{index}" for index, uuid in enumerate(UUIDS)}
PATTERNS = {
    pattern.encode().ljust(16, b"."): pattern
    for pattern in ("lab/**", "lab/*/3", "lab/1/*", "**", "**/4", "far/**")
}
LABELS = ((), (), ("spare",), ("spare", "renderer"))
PRIORITIES = (codes.NORMAL, codes.NORMAL, codes.NORMAL, codes.LOW, codes.HIGH, codes.URGENT)
KEPT = b"kept"
STEPS = 200


class Unread(Items):
    """What nobody waits for: it is read when the life says so."""

    def rouse(self) -> None:
        pass


class Place:
    """A node as presence knows its host."""

    def __init__(self, life: AddressedLife, node: Node) -> None:
        self.life = life
        self.node = node
        self.presences: Any = None

    def check(self) -> None:
        pass

    def call(self, function: Any) -> Any:
        return function()

    def now_ms(self) -> int:
        return self.life.net.now


class Reader:
    """Somebody who reads what presence tells, now and then."""

    def __init__(self, place: Place, wanted: str) -> None:
        self.node = place.node
        self.presence = BasePresence(None, place, Unread(), wanted)
        self.seen: dict[tuple[bytes, bytes], EndpointInfo] = {}

    def read(self, most: int) -> str:
        """A fault, "" if all is well."""
        due = self.presence._sightings
        for _ in range(min(most, len(due))):
            sighting = due.popleft()
            endpoint = sighting.endpoint
            if endpoint is None:
                continue
            key = (endpoint.node, endpoint.id)
            if (key in self.seen) != (sighting.what in ("departed", "changed")):
                return f"{self.node.label}: {sighting} of what was told before as {self.seen.get(key)}"
            if sighting.what == "departed":
                del self.seen[key]
            else:
                self.seen[key] = endpoint
        return ""

    def differs(self) -> str:
        """A difference between what it has been told and what there is."""
        fits = self.presence._meaning.fits
        entries = [*self.node.own_entries(), *self.node.entries()]
        there = {(entry.peer.node_id, entry.uuid): entry.name for entry in entries if fits(entry)}
        told = {key: endpoint.name for key, endpoint in self.seen.items()}
        return "" if told == there else f"{self.node.label}: presence told {told}, and there is {there}"


class AddressedLife(Life):
    """One random life, from its seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.places: dict[Node, Place] = {}
        self.readers: dict[Node, list[Reader]] = {}
        self.said_goodbye: dict[bytes, set[Node]] = {}  # by key, who could reach it then
        self.words: set[tuple[Node, bytes, bytes, str, int]] = set()  # that were given: to whom, and whose
        self.births: dict[bytes, int] = {}  # how often a node was found again, as each may be lost again
        self.kept: dict[tuple[Node, bytes], tuple[int, int]] = {}  # last values: number, and how far it gets
        self.values: dict[tuple[Receiver, str, str], list[int]] = defaultdict(list)  # that came, by receiver
        for node in self.nodes:
            self._equip(node)
        note = self.net.note

        def noted(node: Node, happened: list[events.Event]) -> None:
            note(node, happened)
            self.verdict.counts["events"] += len(happened)
            for event in happened:
                self._notice(node, event)

        self.net.note = noted  # type: ignore[method-assign]

    def _equip(self, node: Node) -> None:
        node.supplements.name_of = lambda uuid: NAMES.get(uuid, "")
        place = self.places[node] = Place(self, node)
        self.readers[node] = [Reader(place, wanted) for wanted in ("lab/**", "**", "lab/*/4")]

    def _notice(self, node: Node, event: events.Event) -> None:
        for reader in self.readers.get(node, ()):
            reader.presence._take(event)
        if isinstance(event, events.NodeEvent) and event.kind == events.NODE_UP:
            self.births[event.peer.key] = self.births.get(event.peer.key, 0) + 1
        if isinstance(event, events.EndpointEvent) and event.kind == events.ENDPOINT_GONE:
            self.verdict.counts[f"gone {event.how}"] += 1
            if event.how == events.LOST and node in self.said_goodbye.get(event.entry.peer.key, ()):
                self.verdict.faults.append(
                    f"{node.label} takes {event.entry.peer} for lost, which said goodbye"
                )

    # What happens

    def restart(self) -> None:
        if self.random.random() < 0.5:
            self.leave()
            return
        super().restart()
        self._forget_dead()

    def leave(self) -> None:
        """A node says goodbye, and another comes in its place."""
        self.net.pump()
        old = self.random.choice(self.routers)
        key = old.me.key
        found = [(node, node.routes.find(key)) for node in self.routers]  # leaves are told of few
        reached = {
            node for node, peer in found if peer is not None and peer.reachable and peer.hop is not None
        }
        neighbours = []
        for cable in self.standing():
            if old in (node_of(cable.a), node_of(cable.b)):
                other = node_of(cable.b) if node_of(cable.a) is old else node_of(cable.a)
                neighbours.append((other, cable.a.realm))
        old.close(self.net.now)
        self.net.pump()
        if not any(node.mesh.router.damper.held for node in self.routers):  # else news of it is late
            self.said_goodbye[key] = reached
        self.net.cables = [each for each in self.net.cables if old not in (node_of(each.a), node_of(each.b))]
        self.net.nodes.remove(old)
        self.receivers.pop(old, None)
        self.tokens = {at: count for at, count in self.tokens.items() if at[0] is not old}
        self.rebirths += 1
        letter = old.node_id[:1].decode()
        new = self.net.node(letter, transit=True, entropy=Entropy(1000 * self.seed + self.rebirths))
        self.routers[self.routers.index(old)] = new
        self._forget_dead()
        for other, realm in neighbours:
            self.link(other, new, realm)
        self.verdict.counts["goodbyes"] += 1

    def _forget_dead(self) -> None:
        for node in list(self.places):
            if node not in self.nodes:
                del self.places[node], self.readers[node]
        self.kept = {at: kept for at, kept in self.kept.items() if at[0] in self.nodes}
        for node in self.nodes:
            if node not in self.places:
                self._equip(node)

    def register(self) -> None:
        rng = self.random
        node, realm = rng.choice(self.nodes), rng.choice(REALMS)
        uuid, kind, gone = rng.choice(UUIDS), rng.choice((1, 2, 3)), b""
        if rng.random() < 0.3:
            uuid, kind = rng.choice(list(PATTERNS)), codes.BROADCAST
        elif rng.random() < 0.5:
            gone = b"\0last word"
        if uuid not in self.receivers[node]:
            name = {**NAMES, **PATTERNS}[uuid]
            try:
                self.receivers[node][uuid] = node.register(
                    uuid, kind, realm, name=name, labels=rng.choice(LABELS), gone=gone
                )
            except (EndpointTakenError, LocalError):
                pass  # it is taken

    def say(self) -> None:
        node, uuid = self.random.choice(self.nodes), self.random.choice(UUIDS)
        self.numbers[node, uuid] += 1
        text = f"{node.me.key.hex()}:{self.numbers[node, uuid]}:".encode()
        payload = text + bytes(self.random.choice(SIZES))
        now, priority = self.net.now, self.random.choice(PRIORITIES)
        if self.random.random() < 0.3:
            self._retain(node, uuid, text)
            return
        realm, ttl = self.random.choice(REALMS), self.random.choice((0, 500))
        ways = (
            lambda: node.send(uuid, payload, now, ttl_ms=ttl, priority=priority),
            lambda: node.send(uuid, payload, now, confirm=True, timeout_ms=5000, priority=priority),
            lambda: node.publish(uuid, payload, now, realm=realm, priority=priority),
            lambda: node.publish(uuid, payload, now, realm=realm, priority=priority),
            lambda: node.request(uuid, payload, now, timeout_ms=5000, priority=priority),
        )
        try:
            token = self.random.choice(ways)()
        except (WrongKindError, FullError):
            return
        if token:
            self.tokens[node, token] = 0

    def _retain(self, node: Node, uuid: bytes, payload: bytes) -> None:
        """A value is kept from now on, or no more."""
        realm = self.random.choice(REALMS)
        try:
            if self.random.random() < 0.2:
                node.clear(uuid, self.net.now, realm=codes.GLOBAL)
                self.kept.pop((node, uuid), None)
            else:
                node.retain(uuid, payload + KEPT, self.net.now, realm=realm)
                self.kept[node, uuid] = (self.numbers[node, uuid], realm)
        except (WrongKindError, FullError):
            pass

    def take(self) -> None:
        super().take()
        for readers in self.readers.values():
            for reader in readers:
                if fault := reader.read(self.random.choice((0, 1, 3, 100))):
                    self.verdict.faults.append(fault)

    def _take_from(self, node: Node, uuid: bytes, receiver: Receiver) -> None:
        while True:
            message = node.take(receiver, self.net.now)
            if message is None:
                return
            if message.last_word:
                self._hear_last_word(node, uuid, message)
                continue
            if isinstance(message, Request) and not message.confirm:
                node.respond(message, b"answer of " + node.node_id, self.net.now)
            assert isinstance(message.payload, bytes)
            origin, number, rest = message.payload.split(b":", 2)
            marks = "" if message.priority == "normal" else f" at priority {message.priority}"
            if uuid in PATTERNS:
                marks += f" to {message.name}"
                if not matches(PATTERNS[uuid], message.name):
                    self.verdict.faults.append(f"{node.label} got {message.name} by {PATTERNS[uuid]}")
            if not message.retained:
                self.got[node, uuid, origin.decode() + marks].append(int(number))
            if rest == KEPT:
                self._hear_value(self.values[receiver, origin.decode(), message.name], int(number), message)
            self.verdict.counts["delivered"] += 1

    def _hear_value(self, values: list[int], number: int, message: Any) -> None:
        self.verdict.counts["last values"] += message.retained
        if values and number <= values[-1]:
            self.verdict.faults.append(f"{number} of {message.name} came after {values}")
        values.append(number)

    def _hear_last_word(self, node: Node, uuid: bytes, message: Any) -> None:
        key = message.flow.peer.key
        self.verdict.counts["last words"] += 1
        if node in self.said_goodbye.get(key, ()):
            self.verdict.faults.append(f"{node.label} got the last word of one that had said goodbye")
        which = (node, uuid, key, message.name, self.births.get(key, 0))
        if which in self.words:
            self.verdict.faults.append(f"{node.label} got the last word of {message.flow.peer} twice")
        self.words.add(which)

    # The judgement at rest

    def judge(self) -> None:
        self._judge_last_values()
        self._judge_values_anew()
        super().judge()
        for readers in self.readers.values():
            for reader in readers:
                if fault := reader.read(1_000_000) or reader.differs():
                    self.verdict.faults.append(fault)

    def _judge_last_values(self) -> None:
        """Every subscriber within reach has what each router keeps."""
        reach, kinds = self.reach(), self._kinds()
        for (node, uuid), (number, realm) in self.kept.items():
            if node not in self.routers:
                continue  # a leaf hears of no subscribers
            for other in self.nodes:
                for at, receiver in self.receivers[other].items():
                    endpoint = receiver.endpoint
                    by_name = at == uuid and set(kinds[uuid]) == {codes.BROADCAST} and not endpoint.yielded
                    meant = by_name or (at in PATTERNS and matches(PATTERNS[at], NAMES[uuid]))
                    far = other is node or reach[node].get(other, NEVER) <= min(realm, endpoint.realm)
                    self.verdict.counts["values kept"] += meant and far
                    came = self.values.get((receiver, node.me.key.hex(), NAMES[uuid]), [])
                    if meant and far and number not in came:
                        what = f"{endpoint.name} at {other.label} has {came} of {NAMES[uuid]}"
                        self.verdict.faults.append(f"{node.label} keeps {number}: {what}")

    def _judge_values_anew(self) -> None:
        """Another receiver gets what routers still keep, and of those that can be reached nothing else."""
        reach = self.reach()
        for node in self.nodes:
            for receiver in self.receivers[node].values():
                endpoint = receiver.endpoint
                if endpoint.kind != codes.BROADCAST or endpoint.yielded:
                    continue
                anew = node.receiving.register(endpoint, 4096, 1 << 26, codes.DROP_OLDEST)
                while (message := node.take(anew, self.net.now)) is not None:
                    if message.retained and not message.last_word:
                        self._judge_anew(node, message, reach)
                node.deregister(anew, self.net.now)

    def _judge_anew(self, node: Node, message: Any, reach: dict[Node, dict[Node, int]]) -> None:
        origin, number, _ = message.payload.split(b":", 2)
        self.verdict.counts["values anew"] += 1
        for uuid, name in NAMES.items():
            for publisher in self.routers:
                known = publisher.me.key.hex() == origin.decode() and name == message.name
                if known and (publisher is node or self._is_seen(publisher, node, message, reach)):
                    kept = self.kept.get((publisher, uuid), (0, 0))[0]
                    if kept != int(number):
                        what = f"another at {node.label} gets {number!r} of {name}"
                        self.verdict.faults.append(f"{publisher.label} keeps {kept}: {what}")

    def _is_seen(self, publisher: Node, node: Node, message: Any, reach: dict[Node, dict[Node, int]]) -> bool:
        """Whether a publisher can tell a subscriber of its values. A leaf does not know that it cannot."""
        realm = reach[node].get(publisher, NEVER)
        return realm < NEVER and (node not in self.leaves or realm <= message.flow.endpoint.realm)

    def _kinds(self) -> dict[bytes, list[int]]:
        kinds = super()._kinds()
        for uuid in PATTERNS:
            kinds.pop(uuid, None)
        return kinds

    def _publish(self, node: Node, uuid: bytes, near: dict[Node, int]) -> None:
        """By name, and by the patterns that mean it."""
        number = 2 * 10**9 + 10 * self.verdict.counts["publishes"] + 2
        before = self.random.getstate()
        realm = self.random.choice(REALMS)
        self.random.setstate(before)  # as the base draws it
        super()._publish(node, uuid, near)
        origin = f"{node.me.key.hex()} to {NAMES[uuid]}"
        for pattern, text in PATTERNS.items():
            for other in self.nodes:
                endpoint = other.receiving.endpoints.get(pattern)
                if endpoint is None or pattern not in self.receivers[other]:
                    continue
                far = other is node or near.get(other, NEVER) <= min(realm, endpoint.realm)
                wanted = 1 if far and matches(text, NAMES[uuid]) else 0
                if self.got.get((other, pattern, origin), []).count(number) != wanted:
                    what = f"{node.label} publishes {NAMES[uuid]}"
                    self.verdict.faults.append(f"{what}: {text} at {other.label} wants it {wanted} times")


def run(seed: int, steps: int = STEPS) -> Verdict:
    """A life of `steps` steps, and its judgement."""
    return play(AddressedLife(seed), steps)
