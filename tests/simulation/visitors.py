"""Lives on slow links, in which programs come for a moment, say something and end: nobody is to remember
them for long, and what they said comes once, in order, and only as theirs.
"""

from __future__ import annotations

from busway.protocol import FullError, Node, WrongKindError, codes
from busway.protocol.routing.advertising import adverts
from tests.protocol.pairs import Entropy, node_of
from tests.simulation.everyone import UUIDS, Verdict
from tests.simulation.nodes import KEEPALIVE_MS, TimedLife

STEPS = 40
VISITS = 0.4  # in each step
ENDPOINTS = 20  # tried at the beginning


class VisitedLife(TimedLife):
    """A life with visitors: routers, programs that pass nothing on, and leaves."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.visitors: list[Node] = []

    @property
    def everybody(self) -> list[Node]:
        return self.nodes + self.visitors

    def visit(self) -> None:
        """One comes over one link or two, and says something when it has heard of something, or later."""
        rng = self.random
        number = 1_000_000 + self.verdict.counts["visits"]
        self.verdict.counts["visits"] += 1
        leaf = rng.random() < 0.3
        visitor = Node(
            number.to_bytes(16, "big"),
            label=f"visitor {number}",
            leaf=leaf,
            transit=None if leaf else rng.random() < 0.5,
            entropy=Entropy(1_000_000 * self.seed + number),
        )
        self.net.nodes.append(visitor)
        self.visitors.append(visitor)
        for router in rng.sample(self.routers, 1 if leaf else rng.choice((1, 1, 2))):
            self.links += 1
            realm = rng.choice((codes.USERSPACE, codes.LOCALNET))
            via = f"link {self.links}"
            self.net.link(visitor, router, realm=realm, via=via, cost=1, keepalive_ms=KEEPALIVE_MS)
        self.net.advance(rng.choice((1, 5, 50, 200)))
        for _ in range(rng.randrange(8)):
            self._speak(visitor)
        self.net.advance(rng.choice((0, 0, 0, 5, 200)))
        self.leave(visitor)

    def _speak(self, visitor: Node) -> None:
        there = [uuid for receivers in self.receivers.values() for uuid in receivers]
        uuid, now = self.random.choice(there or UUIDS), self.net.now
        self.numbers[visitor, uuid] += 1
        payload = f"{visitor.me.key.hex()}:{self.numbers[visitor, uuid]}:".encode()
        payload += bytes(self.random.choice((0, 10, 5000)))
        try:
            how = self.random.randrange(3)
            if how == 0:
                visitor.send(uuid, payload, now)
            elif how == 1:
                visitor.send(uuid, payload, now, confirm=True, timeout_ms=5000)
            else:
                visitor.publish(uuid, payload, now, realm=codes.LOCALNET)
        except (WrongKindError, FullError):
            return
        self.verdict.counts["said"] += 1

    def leave(self, visitor: Node) -> None:
        """It says goodbye, or its process dies."""
        if self.random.random() < 0.8:
            visitor.close(self.net.now)
            return
        for cable in self.net.cables:
            if visitor in (node_of(cable.a), node_of(cable.b)):
                cable.cut()

    def step(self) -> None:
        if self.random.random() < VISITS:
            self.visit()
        super().step()
        self.bury()

    def bury(self) -> None:
        """Those whose links are gone have ended."""
        there = {node_of(end.connection) for cable in self.net.cables for end in cable.ends}
        for visitor in [each for each in self.visitors if each not in there]:
            self.visitors.remove(visitor)
            self.net.nodes.remove(visitor)
            self.observers.pop(visitor, None)

    def settle(self) -> None:
        self.net.advance(10_000)
        for cable in list(self.net.cables):
            if {node_of(cable.a), node_of(cable.b)} & set(self.visitors):
                cable.cut()
        self.net.advance(1000)
        self.bury()
        super().settle()
        self.net.advance(60_000)

    def judge(self) -> None:
        fault = self.verdict.faults.append
        known = {node.me.key for node in self.nodes}
        for node in self.routers:
            if extra := node.mesh.router.routes.keys() - known:
                fault(f"{node.label} remembers the way to {len(extra)} that are gone")
            if any(key[: codes.KEY_SIZE] not in known for key in node.forwarder._pruned):
                fault(f"{node.label} has a PRUNE of a tree that has ended")
            for connection in node.connections:
                told = adverts(connection)
                left = (told._early, told.retracted, told.neighbour.marks, told.neighbour.marked)
                if any(left):
                    fault(f"{node.label} has left of those who are gone: {left}")
            self.verdict.counts["unbelieved"] += node.forwarder.counters["unbelieved"]
            self.verdict.counts["misrouted"] += node.forwarder.counters["misrouted"]
        super().judge()


def run(seed: int, steps: int = STEPS) -> Verdict:
    """A life of `steps` steps, and its judgement."""
    life = VisitedLife(seed)
    for index, node in enumerate(life.routers[1:], 1):
        life.link(node, life.routers[life.random.randrange(index)], life.random.choice((1, 1, 2, 3)))
    for leaf in life.leaves:
        life.uplink(leaf)
    for _ in range(ENDPOINTS):
        life.register()
    life.net.advance(1000)
    for _ in range(steps):
        life.step()
        if life.verdict.faults:
            return life.verdict
    life.settle()
    life.judge()
    return life.verdict
