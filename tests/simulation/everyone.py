"""A random life of a whole mesh, judged while it lasts and at rest: what a sender may rely on over many hops.

`run(seed)` plays one; the same seed plays the same. Ten routers and three leaves; links of all realms and
costs come and are cut in mid-frame, nodes die and come back with their memory lost, endpoints of all kinds
and realms come and go, programs send, ask, publish, confirm; bytes are written and read in pieces of any
size; time jumps. Links are streams: what packet links may do besides (lose, double, reorder) has its place
in `Life.link`.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

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
from busway.protocol.routing.router import Neighbour
from tests.protocol.pairs import Cable, Entropy, Net, node_of
from tests.simulation.observer import observe

ROUTERS = "abcdefghij"
LEAVES = "xyz"
UUIDS = [f"endpoint{number:02}".encode().ljust(16, b"_") for number in range(12)]
STEPS = 200
SIZES = (0, 10, 100, 70_000)  # bytes of a message, the last in pieces
REALMS = (codes.USERSPACE, codes.LOCALNET, codes.GLOBAL)
Hops = dict[Node, dict[bytes, Neighbour | None]]  # the next one to each source, by node and source
NEVER = 9  # wider than any realm


@dataclass
class Verdict:
    """The result of a life."""

    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Life:
    """One random life, from its seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.net = Net()
        self.verdict = Verdict()
        self.routers = [self.net.node(letter, transit=True) for letter in ROUTERS]
        self.leaves = [self.net.node(letter, leaf=True, label=letter.strip("z")) for letter in LEAVES]
        self.receivers: dict[Node, dict[bytes, Receiver]] = defaultdict(dict)
        self.got: dict[tuple[Node, bytes, str], list[int]] = defaultdict(list)
        self.numbers: Counter[tuple[Node, bytes]] = Counter()
        self.tokens: dict[tuple[Node, int], int] = {}  # outcomes that were seen of each
        self.rebirths = 0
        self.links = 0
        self._looked_at: tuple[Hops, dict[object, Node]] = ({}, {})
        self.observers = observe(self.net, self.verdict.faults.append)

    @property
    def nodes(self) -> list[Node]:
        return self.routers + self.leaves

    @property
    def everybody(self) -> list[Node]:
        """All whose ways are looked at, also of those that nothing else happens to."""
        return self.nodes

    # What happens

    def link(self, one: Node, other: Node, realm: int) -> None:
        self.links += 1
        cost = self.random.choice((1, 16, 32))
        self.net.link(one, other, realm=realm, via=f"link {self.links}", cost=cost)

    def uplink(self, leaf: Node) -> None:
        self.link(leaf, self.random.choice(self.routers), self.random.choice((1, 2)))

    def standing(self) -> list[Cable]:
        return [
            cable
            for cable in self.net.cables
            if cable.a.state == cable.b.state == codes.OPEN and not any(end.unplugged for end in cable.ends)
        ]

    def cut(self) -> None:
        cables = self.standing()
        if cables:
            cable = self.random.choice(cables)
            if self.random.random() < 0.3:
                self.random.choice((cable.a, cable.b)).close(self.net.now)
            else:
                cable.cut()
            for node in (node_of(cable.a), node_of(cable.b)):
                if node in self.leaves:
                    self.uplink(node)

    def join(self) -> None:
        one, other = self.random.sample(self.routers, 2)
        self.link(one, other, self.random.choice(REALMS))

    def restart(self) -> None:
        """A node dies, forgets everything, and is there again under its id, with the links that it had."""
        old = self.random.choice(self.routers)
        neighbours = []
        for cable in self.standing():
            if old in (node_of(cable.a), node_of(cable.b)):
                other = node_of(cable.b) if node_of(cable.a) is old else node_of(cable.a)
                neighbours.append((other, cable.a.realm))
        for cable in [each for each in self.net.cables if old in (node_of(each.a), node_of(each.b))]:
            cable.cut()
            self.net.cables.remove(cable)
        self.net.nodes.remove(old)
        self.receivers.pop(old, None)
        self.tokens = {key: count for key, count in self.tokens.items() if key[0] is not old}
        self.rebirths += 1
        letter = old.node_id[:1].decode()
        new = self.net.node(letter, transit=True, entropy=Entropy(1000 * self.seed + self.rebirths))
        self.routers[self.routers.index(old)] = new
        for other, realm in neighbours:
            self.link(other, new, realm)

    def register(self) -> None:
        node, uuid = self.random.choice(self.nodes), self.random.choice(UUIDS)
        kind, realm = self.random.choice((1, 2, 3)), self.random.choice(REALMS)
        if uuid not in self.receivers[node]:
            try:
                self.receivers[node][uuid] = node.register(
                    uuid, kind, realm, name=self.random.choice(("", "named"))
                )
            except (EndpointTakenError, LocalError):
                pass  # it is taken

    def deregister(self) -> None:
        node = self.random.choice(self.nodes)
        if self.receivers[node]:
            uuid = self.random.choice(list(self.receivers[node]))
            node.deregister(self.receivers[node].pop(uuid), self.net.now)

    def say(self) -> None:
        node, uuid = self.random.choice(self.nodes), self.random.choice(UUIDS)
        self.numbers[node, uuid] += 1
        text = f"{node.me.key.hex()}:{self.numbers[node, uuid]}:".encode()
        payload = text + bytes(self.random.choice(SIZES))
        now = self.net.now
        ways: list[Callable[[], int]] = [
            lambda: node.send(uuid, payload, now, ttl_ms=self.random.choice((0, 500))),
            lambda: node.send(uuid, payload, now, confirm=True, timeout_ms=5000),
            lambda: node.publish(uuid, payload, now, realm=self.random.choice(REALMS)),
            lambda: node.request(uuid, payload, now, timeout_ms=5000),
        ]
        try:
            token = self.random.choice(ways)()
        except (WrongKindError, FullError):
            return
        if token:
            self.tokens[node, token] = 0

    def move(self) -> None:
        """Bytes move: all of them, or some, in pieces."""
        if self.random.random() < 0.5:
            self.net.pump()
            return
        for _ in range(self.random.randrange(6)):
            self.net.step(self.random.choice((3, 20, 200, 5000)), self.random.choice((1, 7, 100, 5000)))

    def take(self) -> None:
        """Programs take what has come, and answer."""
        for node in self.nodes:
            for uuid, receiver in list(self.receivers[node].items()):
                self._take_from(node, uuid, receiver)

    def _take_from(self, node: Node, uuid: bytes, receiver: Receiver) -> None:
        while True:
            message = node.take(receiver, self.net.now)
            if message is None:
                return
            if isinstance(message, Request) and not message.confirm:
                node.respond(message, b"answer of " + node.node_id, self.net.now)
            assert isinstance(message.payload, bytes)
            origin, number, _ = message.payload.split(b":", 2)
            self.got[node, uuid, origin.decode()].append(int(number))
            self.verdict.counts["delivered"] += 1

    def step(self) -> None:
        chance = self.random.random()
        acts: list[tuple[float, Callable[[], None]]] = [
            (0.08, self.cut),
            (0.20, self.join),
            (0.22, self.restart),
            (0.32, self.register),
            (0.38, self.deregister),
            (0.80, self.say),
            (0.86, lambda: self.net.advance(self.random.choice((10, 100, 1000)))),
            (1.00, self.take),
        ]
        next(act for limit, act in acts if chance < limit)()
        if self.random.random() < 0.8:
            self.move()
        self.watch()

    def watch(self) -> None:
        """Checks all that must hold at any moment."""
        for node, event in self.net.log:
            if isinstance(event, events.Outcome) and (node, event.token) in self.tokens:
                self.tokens[node, event.token] += 1
        self.net.log.clear()
        self.net._fresh.clear()
        self.look()

    def look(self) -> None:
        """Follows the next hops from everywhere to everybody, over links that both ends still have."""
        beyond: dict[object, Node] = {}
        for cable in self.standing():
            beyond[cable.a], beyond[cable.b] = node_of(cable.b), node_of(cable.a)
        hops = {
            node: {key: route.via for key, route in node.mesh.router.routes.items()}
            for node in self.everybody
        }
        if (hops, beyond) == self._looked_at:
            return  # nothing has changed since
        self._looked_at = hops, beyond
        for source in hops:
            self._look_for_loops(source, hops, beyond)

    def _look_for_loops(self, source: Node, hops: Hops, beyond: dict[object, Node]) -> None:
        key = source.me.key
        safe = {source}
        for start in hops:
            if start in safe:
                continue
            path: list[Node] = []
            node: Node | None = start
            while node is not None and node not in safe:
                if node in path:
                    self.verdict.faults.append(f"a loop towards {source.label} from {start.label}")
                    return
                path.append(node)
                via = hops[node].get(key)
                node = None if via is None else beyond.get(via.link)
            safe.update(path)

    # The judgement at rest

    def settle(self) -> None:
        for _ in range(12):
            self.net.pump()
            self.take()
            self.net.pump()
            self.net.advance(3000)
            self.watch()
        self.net.advance(40_000)
        self.net.pump()
        self.watch()

    def reach(self) -> dict[Node, dict[Node, int]]:
        """For each node the others, with the widest realm that the narrowest way to them crosses."""
        ways: dict[Node, list[tuple[Node, int]]] = defaultdict(list)
        for cable in self.standing():
            ways[node_of(cable.a)].append((node_of(cable.b), cable.a.realm))
            ways[node_of(cable.b)].append((node_of(cable.a), cable.a.realm))
        found = {}
        for start in self.nodes:
            best = {start: 0}
            work = [start]
            while work:
                node = work.pop(0)
                if node in self.leaves and node is not start:
                    continue
                for other, realm in ways[node]:
                    widest = max(best[node], realm)
                    if widest < best.get(other, NEVER):
                        best[other] = widest
                        work.append(other)
            del best[start]
            found[start] = best
        return found

    def judge(self) -> None:
        fault = self.verdict.faults.append
        for (node, token), count in self.tokens.items():
            if count != 1:
                fault(f"{node.label}: {count} outcomes of {token}")
        for (node, uuid, origin), numbers in self.got.items():
            if numbers != sorted(set(numbers)):
                fault(f"{node.label} got {uuid!r} of {origin} out of order or twice: {numbers[:20]}")
        reach = self.reach()
        for node in self.routers:
            self._judge_router(node, reach[node])
        self._call_everyone(reach)
        self._publish_everywhere(reach)

    def _judge_router(self, node: Node, near: dict[Node, int]) -> None:
        fault = self.verdict.faults.append
        if {peer.node_id for peer in node.peers()} != {other.node_id for other in near}:
            fault(f"{node.label} reaches {len(node.peers())} nodes instead of {len(near)}")
        for peer in node.peers():
            other = next(each for each in self.nodes if each.node_id == peer.node_id)
            if (peer.label, peer.leaf) != (other.label, other.leaf):
                fault(f"{node.label} takes {other.label!r} for {peer.label!r}, leaf {peer.leaf}")
        seen = {(entry.uuid, entry.peer.node_id, entry.kind) for entry in node.entries()}
        there = {
            (uuid, other.node_id, endpoint.kind)
            for other, realm in near.items()
            for uuid, endpoint in other.receiving.endpoints.items()
            if endpoint.realm >= realm
        }
        if seen != there:
            fault(f"{node.label} sees {seen - there} that is not there, and not {there - seen} that is")
        if node.origin.pending:
            fault(f"{node.label} waits for {len(node.origin.pending)} outcomes for ever")

    def _kinds(self) -> dict[bytes, list[int]]:
        kinds: dict[bytes, list[int]] = defaultdict(list)
        for node in self.nodes:
            for uuid, endpoint in node.receiving.endpoints.items():
                kinds[uuid].append(endpoint.kind)
        return kinds

    def _call_everyone(self, reach: dict[Node, dict[Node, int]]) -> None:
        """Each endpoint answers from everywhere that its realm allows, and from nowhere else."""
        kinds = self._kinds()
        for caller in self.nodes:
            for holder, realm in reach[caller].items():
                for uuid in list(self.receivers[holder]):
                    endpoint = self.receivers[holder][uuid].endpoint
                    if endpoint.yielded:
                        continue
                    alone = len(set(kinds[uuid])) == 1 and (endpoint.kind != 1 or len(kinds[uuid]) == 1)
                    if endpoint.kind != codes.BROADCAST and alone:
                        answered = self._call(caller, holder, uuid)
                        if answered != (endpoint.realm >= realm):
                            what = f"{holder.label}'s {uuid!r} of realm {endpoint.realm} over realm {realm}"
                            self.verdict.faults.append(f"{caller.label} calls {what}: answered {answered}")

    def _call(self, caller: Node, holder: Node, uuid: bytes) -> bool:
        self.verdict.counts["calls"] += 1
        payload = f"{caller.me.key.hex()}:{10**9 + self.verdict.counts['calls']}:".encode()
        token = caller.request(uuid, payload, self.net.now, node_id=holder.node_id, timeout_ms=4000)
        for _ in range(12):
            self.net.pump()
            self.take()
            self.net.pump()
            for node, event in self.net.log:
                if node is caller and isinstance(event, events.Outcome) and event.token == token:
                    self.net.log.clear()
                    return event.status == events.REPLIED
            self.net.advance(500)
        self.verdict.faults.append(f"{caller.label}: a call without an outcome")
        return False

    def _publish_everywhere(self, reach: dict[Node, dict[Node, int]]) -> None:
        """A broadcast reaches all subscribers whom its realm and theirs allow, once each."""
        for uuid, kinds in self._kinds().items():
            if set(kinds) == {codes.BROADCAST}:
                for node in self.nodes:
                    self._publish(node, uuid, reach[node])

    def _publish(self, node: Node, uuid: bytes, near: dict[Node, int]) -> None:
        key, number = node.me.key.hex(), 0
        realm = self.random.choice(REALMS)
        for turn in (1, 2):  # the first may have to find out who wants it
            number = 2 * 10**9 + 10 * self.verdict.counts["publishes"] + turn
            node.publish(uuid, f"{key}:{number}:".encode(), self.net.now, realm=realm)
            self.net.pump()
            self.take()
            self.net.advance(2500)
            self.take()
        self.verdict.counts["publishes"] += 1
        got = sorted(
            other.label
            for other in self.nodes
            for heard in self.got.get((other, uuid, key), [])
            if heard == number
        )
        wanted = sorted(
            other.label
            for other in self.nodes
            if uuid in self.receivers[other]
            and uuid in other.receiving.endpoints  # else another node keeps the name
            and (other is node or near.get(other, NEVER) <= min(realm, other.receiving.endpoints[uuid].realm))
        )
        if got != wanted:
            self.verdict.faults.append(f"{node.label} publishes {uuid!r}: {got} instead of {wanted}")


def run(seed: int, steps: int = STEPS) -> Verdict:
    """A life of `steps` steps, and its judgement."""
    return play(Life(seed), steps)


def play(life: Life, steps: int) -> Verdict:
    """The same of one that has been made."""
    for index, node in enumerate(life.routers[1:], 1):
        life.link(node, life.routers[life.random.randrange(index)], life.random.choice((1, 1, 2, 3)))
    for leaf in life.leaves:
        life.uplink(leaf)
    life.net.pump()
    for _ in range(steps):
        life.step()
        if life.verdict.faults:
            return life.verdict
    life.settle()
    life.judge()
    return life.verdict
