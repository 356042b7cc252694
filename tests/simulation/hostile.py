"""A quiet mesh of innocent nodes, and hostile peers that speak the whole protocol to it: judged all the time,
and once they have left.

`run(seed)` plays one life; the same seed plays the same. What must hold, whatever they say:

- Nothing is raised, no link between innocent nodes ends, every innocent node sees every other one.
- What is private stays so: no payload is written to a link wider than its realm, and none that came from a
  wider link arrives at an endpoint.
- What passes between innocent nodes that are neighbours, or that have a way narrower than the links of the
  hostile ones, is answered by the right one; where all hostile peers are leaves, so is everything. (A hostile
  router may say that it leads to nodes farther off: docs/security.md.)
- What hostile bytes cost is bounded: in lines of code that are run, in memory, in bytes written to the links
  between innocent nodes.
- When they have left, all is as if they had never been there.
"""

from __future__ import annotations

import gc
import random
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from busway.protocol import EndpointTakenError, Node, Receiver, Request, WrongKindError, codes, events
from busway.protocol.wire.fields import frame
from busway.protocol.wire.runs import FEATURE
from tests.protocol.nets import GLOBAL, LOCALNET, USERSPACE, Liar
from tests.protocol.pairs import Cable, Entropy, Net, node_of
from tests.rigs.steps import steps
from tests.simulation.mouth import Mouth, Spy

ROUTERS = "abcdefg"
LINKS = (  # between which, realm, cost, whether lookups hold
    ("ab", USERSPACE, 1, False),
    ("bc", LOCALNET, 16, False),
    ("cd", USERSPACE, 1, False),
    ("ce", LOCALNET, 16, False),
    ("eb", LOCALNET, 16, False),
    ("ef", GLOBAL, 32, False),
    ("dg", LOCALNET, 512, True),
    ("xb", USERSPACE, 1, False),
    ("ye", LOCALNET, 16, False),
)
LEAVES = "xy"
LATE = (("he", LOCALNET, 16, False), ("ih", LOCALNET, 16, False))  # they join while the others are there
STEPS = 60
TIMEOUT_MS = 5000
HEALED_MS = 300_000  # longer than anything is remembered
# What one hostile byte may cost each of the innocent nodes, or of the links between them; so much is free.
WORK_MAX, WORK_FREE = 50, 10_000  # lines of the core that are run
MEMORY_MAX, MEMORY_FREE = 30, 50_000  # bytes that are kept while the hostile peers are there
LEFT_MAX = 8  # ... and once they have gone: the numbers that links gave to nodes
SPREAD_MAX, SPREAD_FREE = 0.8, 20_000  # bytes that are written


@dataclass
class Verdict:
    """The result of a life."""

    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    cpu: float = (
        0.0  # s of processor time for what hostile peers said; judged by nobody here, as machines differ
    )


class Hostile:
    """One hostile peer: a link to an innocent node, and what it says over it."""

    def __init__(self, life: Life, victim: Node, realm: int, leaf: bool, lookups: bool, key: bytes) -> None:
        self.victim = victim
        self.realm = realm
        self.leaf = leaf
        self.said = 0  # bytes
        self.reads = life.random.random() < 0.8
        options: dict[str, Any] = {"incarnation": key[1:], "leaf": leaf, "lookups": lookups, "hears": False}
        name = life.random.choice(("ipc", "tcp:z", "link bc", ""))
        self.liar = Liar(
            life.net, victim, key[:1].decode("latin-1"), realm=realm, via=name, features=FEATURE, **options
        )
        mark = b"evil%d" % realm
        self.mouth = Mouth(life.random, life.spy, self.liar.key, victim.me.key, leaf, mark)

    @property
    def alive(self) -> bool:
        return self.liar.connection.state == codes.OPEN

    def say(self) -> int:
        """One batch of what it says; returns its bytes."""
        data = b"".join(frame(body) for body in self.mouth.batch())
        net, connection = self.liar.net, self.liar.connection
        net.note(node_of(connection), connection.receive_data(data, net.now))
        self.said += len(data)
        return len(data)

    def hear(self) -> None:
        """Read what was written to it, as far as it reads."""
        if self.reads:
            self.mouth.heard(self.liar.hear())


class Life:
    """One life of the mesh, from its seed."""

    def __init__(self, seed: int, watched: float = 0.05) -> None:
        self.random = random.Random(seed)
        self.watched = watched  # of what is said: how much is counted in lines
        self.net = Net()
        self.spy = Spy()
        self.verdict = Verdict()
        self.named: dict[str, Node] = {}
        self.cables: dict[str, Cable] = {}
        self.receivers: list[tuple[Node, Receiver]] = []
        self.answered: dict[bytes, int] = {}  # the questions that were asked, by payload: their realm
        self.hostile: list[Hostile] = []
        self.gone: list[Hostile] = []  # their links have ended
        self.roles = self.random.choice(("leaf", "router", "router", "any"))
        self.realms = self.random.choice(((LOCALNET,), (GLOBAL,), (LOCALNET, GLOBAL), (1, 2, 3)))
        self.said = 0  # bytes of hostile peers
        self.spread = 0  # bytes that were written between innocent nodes meanwhile
        self.calls = 0
        self._sent: Counter[int] = Counter()  # what the ends of cables had sent when they were looked at
        self._build()

    # The mesh

    def _build(self) -> None:
        for letter in ROUTERS + LEAVES:
            self._add(letter, letter in LEAVES)
        for link in LINKS:
            self._join(*link)
        self.net.pump()
        for letter in ROUTERS + LEAVES:
            self._furnish(letter)
        self._betray()
        self.net.advance(2 * codes.RACE_MS)
        self._watch()
        self.weight = self._weigh()

    def _add(self, letter: str, leaf: bool) -> None:
        entropy = Entropy(ord(letter))
        node = self.net.node(letter, leaf=leaf, transit=None if leaf else True, entropy=entropy)
        self.named[letter] = node

    def _join(self, pair: str, realm: int, cost: int, lookups: bool) -> None:
        one, other = self.named[pair[0]], self.named[pair[1]]
        options: dict[str, Any] = {"realm": realm, "cost": cost, "lookups": lookups}
        self.cables[pair] = self.net.link(one, other, via="link " + pair, **options)

    def _furnish(self, letter: str) -> None:
        """What a program has: an endpoint of its own of each realm, and subscriptions."""
        node = self.named[letter]
        for realm in (codes.PROCESS, USERSPACE, LOCALNET, GLOBAL):
            uuid = _own(letter, realm)
            self.receivers.append((node, node.register(uuid, codes.UNICAST, realm)))
            self.spy.uuids.append(uuid)
            if realm != codes.PROCESS:
                self._subscribe(node, realm)

    def _subscribe(self, node: Node, realm: int) -> None:
        try:
            self.receivers.append((node, node.register(_news(realm), codes.BROADCAST, realm)))
        except EndpointTakenError:
            pass  # who comes late cannot know that a hostile peer's was there later than the others'

    def _betray(self) -> None:
        """All nodes and endpoints become known to the hostile ones."""
        self.spy.keys = [node.me.key for node in self.named.values()]
        self.spy.uuids += [_news(realm) for realm in (USERSPACE, LOCALNET, GLOBAL)]

    def reach(self, start: Node) -> dict[Node, int]:
        """The other innocent nodes, with the widest realm that the narrowest way to them crosses."""
        best, work = {start: 0}, [start]
        while work:
            node = work.pop(0)
            if node.leaf and node is not start:
                continue
            for cable in self.cables.values():
                for a, b in ((cable.a, cable.b), (cable.b, cable.a)):
                    widest = max(best[node], cable.a.realm)
                    if node_of(a) is node and widest < best.get(node_of(b), 9):
                        best[node_of(b)] = widest
                        work.append(node_of(b))
        del best[start]
        return best

    # What hostile peers do

    def _come(self) -> None:
        """One more: a stranger, or one who says that it is an innocent node which is nearer than its link."""
        victim = self.random.choice(list(self.named.values()))
        leaf = self.roles == "leaf" or (self.roles == "any" and self.random.random() < 0.5)
        realm = self.random.choice(self.realms)
        if victim.leaf:
            victim = self.named["b"]
        letter = self.random.choice("0123456789")
        near = [node for node, far in self.reach(victim).items() if far < realm]
        if near and self.random.random() < 0.1:
            letter = self.random.choice(near).node_id[:1].decode()
        key = letter.encode() + self.random.randbytes(4)
        one = Hostile(self, victim, realm, leaf, self.random.random() < 0.2, key)
        self.hostile.append(one)
        self.verdict.counts["hostile links"] += 1

    def _attack(self) -> None:
        """One of them says something, and all that follows from it happens."""
        if not self.hostile or (len(self.hostile) < 4 and self.random.random() < 0.1):
            self._come()
        one = self.random.choice(self.hostile)
        if self.random.random() < self.watched:
            done: list[int] = []
            work = steps(lambda: done.append(self._say(one)), "/protocol/")
            self._weigh_work(work, done[0], one)
        else:
            self._say(one)
        if self.random.random() < 0.02:
            one.liar.leave()
        self._bury()

    def _bury(self) -> None:
        self.gone += [one for one in self.hostile if not one.alive]
        self.hostile = [one for one in self.hostile if one.alive]

    def _say(self, one: Hostile) -> int:
        before = time.process_time()
        said = one.say()
        self.said += said
        self.net.pump()
        self.verdict.cpu += time.process_time() - before
        for other in self.hostile:
            other.hear()
        return said

    def _weigh_work(self, work: int, said: int, one: Hostile) -> None:
        # What a link has told is taken back when it ends: then all that was said over it counts.
        said += sum(other.said for other in self.hostile if not other.alive)
        self.verdict.counts["lines"] += work
        self.verdict.counts["lines' bytes"] += said
        if work > (WORK_MAX * said + WORK_FREE) * len(self.named):
            kinds = Counter(body[:1].hex() for body in one.mouth.last)
            self._fault(f"{said} bytes ({kinds}) cost {work} lines")

    def _fault(self, text: str) -> None:
        if text not in self.verdict.faults:
            self.verdict.faults.append(text)

    # What programs do

    def take(self) -> None:
        """Programs take what has come, and answer what is asked."""
        for node, receiver in self.receivers:
            while (message := node.take(receiver, self.net.now)) is not None:
                self._judge_message(node, receiver, message)
                if isinstance(message, Request) and not message.confirm:
                    payload = b"%d of " % max(receiver.endpoint.realm, 1) + node.node_id
                    if message.stream is not None:
                        node.respond_part(message, b"secret" + payload, self.net.now)
                    else:
                        node.respond(message, b"secret" + payload, self.net.now)

    def _judge_message(self, node: Node, receiver: Receiver, message: Any) -> None:
        payload = bytes(message.payload)
        self.verdict.counts["messages"] += 1
        if not payload.startswith(b"evil"):
            return
        realm = payload[4] - 48
        where = f"{node.label}'s endpoint of realm {receiver.endpoint.realm}"
        if receiver.endpoint.realm < realm:
            self._fault(f"{where} got what came over a link of realm {realm}")
        source = next((one for one in self.named.values() if one.node_id == message.source), None)
        if source is not None and self._is_safe(node, source, realm):
            self._fault(f"{where} takes what a link of realm {realm} brought for {source.label}'s")

    def _is_safe(self, one: Node, other: Node, realm: int) -> bool:
        """Whether what passes between two cannot be another's, whose link has that realm: they are neighbours
        over one that is as narrow, or have a way that is narrower.
        """
        if one is other:
            return True
        direct = [
            cable.a.realm
            for cable in self.cables.values()
            if {one, other} == {node_of(cable.a), node_of(cable.b)}
        ]
        return self.reach(one)[other] < realm or (bool(direct) and min(direct) <= realm)

    def _is_protected(self, one: Node, other: Node) -> bool:
        """Whether nothing that hostile peers may say keeps one from asking the other."""
        if self.named["g"] in (one, other) and self.named["d"] not in (one, other):
            return False  # behind a slow link: who asks by the same link as a hostile one shares its lookups
        return self.roles == "leaf" or self._is_safe(one, other, min(self.realms))

    def _call(self) -> None:
        """Somebody asks another one's endpoint, by its name or at its node."""
        caller, holder = self.random.sample(list(self.named.values()), 2)
        realm = self.random.choice((USERSPACE, LOCALNET, GLOBAL))
        far = self.reach(caller)[holder]
        self._ask(caller, holder, realm, self._is_protected(caller, holder) and far <= realm, far <= realm)

    def _ask(self, caller: Node, holder: Node, realm: int, safe: bool, open_: bool) -> None:
        self.calls += 1
        # Of several holders of a name the nearest counts, on one machine that of the narrowest realm; over a
        # slow link it is asked for only if nobody is known to have it.
        least = min(self.realms)
        near = self.reach(caller)[holder] <= least and (least > USERSPACE or realm == USERSPACE)
        near = near and self.named["g"] not in (caller, holder)
        by_node = not near or self.random.random() < 0.5
        safe = safe and (near or not caller.leaf or not self.hostile)  # a leaf is told of those that count
        node_id = holder.node_id if by_node else b""
        uuid = _own(holder.label.lower(), realm)
        # A name that it does not see may be another's for it, and who names a node is refused there.
        payload = b"secret%d: %d" % (realm if open_ else GLOBAL, self.calls)
        try:
            token = caller.request(
                uuid, payload, self.net.now, node_id=node_id, ttl_ms=2000, timeout_ms=TIMEOUT_MS
            )
        except WrongKindError as error:
            if safe:
                self._fault(f"{caller.label} asks {holder.label}'s endpoint of realm {realm}: {error}")
            return
        outcome: events.Outcome | None = None
        until = self.net.now + 2 * TIMEOUT_MS
        while outcome is None and self.net.now <= until:
            if self.hostile and self.random.random() < 0.3:
                self.said += self.random.choice(self.hostile).say()
                self._bury()
            self.net.pump()
            self.take()
            self.net.pump()
            outcome = next(iter(self.net.outcomes(caller, token)), None)
            if outcome is None:
                self.net.advance(500)
        self._judge_call(caller, holder, realm, outcome, safe, open_)

    def _judge_call(
        self, caller: Node, holder: Node, realm: int, outcome: events.Outcome | None, safe: bool, open_: bool
    ) -> None:
        what = f"{caller.label} asks {holder.label}'s endpoint of realm {realm}"
        if outcome is None:
            self._fault(what + ": no outcome")
            return
        answer = b"secret%d of " % realm + holder.node_id
        right = outcome.status == events.REPLIED and outcome.payload == answer
        self.verdict.counts["calls that were answered" if right else "calls that were not"] += 1
        if safe and not right:
            self._fault(f"{what}: status {outcome.status}, code {outcome.code}, {outcome.payload!r}")
        if not open_ and right:
            self._fault(what + ": answered, though it is not for it")

    def _publish(self) -> None:
        node, realm = self.random.choice(list(self.named.values())), self.random.choice((1, 2, 3))
        try:
            node.publish(_news(realm), b"secret%d: news" % realm, self.net.now, realm=realm)
        except WrongKindError:
            if _news(realm) in node.receiving.endpoints and node.label not in "HIG":
                raise  # those know no better
        self.net.pump()
        self.take()

    def _grow(self) -> None:
        """Two more innocent nodes come while all this goes on: a chain, whose end is no neighbour of e."""
        for letter in "hi":
            self._add(letter, False)
        for link in LATE:
            self._join(*link)
        self.net.pump()
        for letter in "hi":
            self._furnish(letter)
        self.net.advance(2000)
        late = [self.named["h"], self.named["i"]]
        self._look_who_is_there(late)  # of whom the hostile ones have not heard yet
        self._betray()

    # The judgement

    def step(self) -> None:
        chance = self.random.random()
        if chance < 0.6:
            before = self._written()
            self._attack()
            if chance < 0.1:
                self.net.advance(self.random.choice((10, 600, 3000, 12_000)))
            self.take()
            self.net.pump()
            self.spread += self._written() - before
        elif chance < 0.9:
            self._call()
        else:
            self._publish()
        self._watch()

    def _written(self) -> int:
        return sum(end.connection.bytes_out for cable in self.cables.values() for end in cable.ends)

    def _watch(self) -> None:
        """What must hold at every moment."""
        ends = {end.connection for cable in self.cables.values() for end in cable.ends}
        for node, event in self.net.log:
            if not isinstance(event, events.LinkEvent) or event.kind != events.LINK_CLOSED:
                continue
            if event.connection in ends:
                self._fault(f"{node.label}: a link between innocent nodes ended: {event.code} {event.text}")
        self.net.log.clear()
        self.net._fresh.clear()
        for cable in self.cables.values():
            for end in cable.ends:
                self._look_for_secrets(bytes(end.sent), cable.a.realm)
                end.sent.clear()
        for one in self.hostile + self.gone:
            self._look_for_secrets(bytes(one.mouth.overheard), one.liar.connection.realm)
            one.mouth.overheard.clear()
        self.gone.clear()
        self._look_who_is_there([])

    def _look_for_secrets(self, data: bytes, realm: int) -> None:
        for secret in range(1, realm):
            if b"secret%d" % secret in data:
                self._fault(f"a secret of realm {secret} was written to a link of realm {realm}")

    def _look_who_is_there(self, late: list[Node]) -> None:
        """Those who may be spoken of by others are lost for a moment; the late ones are not."""
        for node in self.named.values():
            if not node.leaf:
                there = {peer.node_id for peer in node.peers()}
                for other in self.reach(node):
                    if other.node_id not in there and (other in late or self._is_protected(node, other)):
                        self._fault(f"{node.label} does not see {other.label}")

    def _weigh(self) -> int:
        return weigh(list(self.named.values()))

    def leave(self) -> None:
        """The hostile ones go; what they have left behind is forgotten after a while."""
        self._weigh_memory()
        for one in self.hostile:
            one.liar.leave()
        self.hostile = []
        for _ in range(HEALED_MS // 5000):
            self.net.advance(5000)
            self.take()
            self.net.pump()
        self._watch()

    def _weigh_memory(self) -> None:
        grown = self._weigh() - self.weight
        nodes = len(self.named)
        self.verdict.counts["memory"] += grown
        self.verdict.counts["said"] += self.said
        self.verdict.counts["spread"] += self.spread
        if grown > (MEMORY_MAX * self.said + MEMORY_FREE) * nodes:
            self._fault(f"{self.said} hostile bytes made {nodes} nodes larger by {grown} bytes")
        if self.spread > (SPREAD_MAX * self.said + SPREAD_FREE) * len(self.cables):
            self._fault(f"{self.said} hostile bytes became {self.spread} on {len(self.cables)} links")

    def judge(self) -> None:
        """All is as if they had never been there."""
        left = self._weigh() - self.weight
        self.verdict.counts["memory left"] += left
        if left > (LEFT_MAX * self.said + MEMORY_FREE) * len(self.named):
            self._fault(f"{self.said} hostile bytes have left {left} behind in {len(self.named)} nodes")
        for caller in self.named.values():
            for holder, far in self.reach(caller).items():
                for realm in (USERSPACE, LOCALNET, GLOBAL):
                    self._ask(caller, holder, realm, far <= realm, far <= realm)
        self._watch()
        for node in self.named.values():
            if not node.leaf:
                self._judge_what_is_seen(node)

    def _judge_what_is_seen(self, node: Node) -> None:
        near = self.reach(node)
        seen = {(entry.uuid, entry.peer.node_id) for entry in node.entries() if entry.uuid != codes.LOOKUP}
        there = {
            (uuid, other.node_id)
            for other, realm in near.items()
            for uuid, endpoint in other.receiving.endpoints.items()
            if endpoint.realm >= realm
        }
        far = self.named["g"].node_id  # over a slow link all is asked for
        there = {(uuid, other) for uuid, other in there if node.node_id != far != other}
        seen = {(uuid, other) for uuid, other in seen if node.node_id != far != other}
        if seen - there or there - seen:
            self._fault(f"{node.label} sees {seen - there} that is not there, and not {there - seen} that is")
        told = node is not self.named["g"]  # which is told no labels
        peers = {(peer.node_id, told and peer.leaf, peer.label if told else "") for peer in node.peers()}
        others = {(other.node_id, told and other.leaf, other.label if told else "") for other in near}
        if peers != others:
            self._fault(f"{node.label} sees {peers - others} instead of {others - peers}")


def _own(letter: str, realm: int) -> bytes:
    return b"%s's %-12s" % (letter.encode(), codes.REALM_NAMES[realm].encode())


def _news(realm: int) -> bytes:
    return b"news %-11s" % codes.REALM_NAMES[realm].encode()


_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, CodeType, FrameType, MethodType)


_KEPT = (
    "builtins",
    "collections",
    "busway.protocol",
)  # and nothing of what runs a node: loops, sockets, threads


def weigh(roots: list[Any]) -> int:
    """The bytes of all objects of the core that some lead to, each counted once."""
    seen: set[int] = set()
    work, size = list(roots), 0
    while work:
        one = work.pop()
        if id(one) in seen or isinstance(one, _SHARED) or not type(one).__module__.startswith(_KEPT):
            continue
        seen.add(id(one))
        size += sys.getsizeof(one)
        work += gc.get_referents(one)
    return size


def run(seed: int, count: int = STEPS, watched: float = 0.05) -> Verdict:
    """A life with `count` steps while hostile peers are there."""
    life = Life(seed, watched)
    try:
        for number in range(count):
            life.step()
            if number == count // 2:
                life._grow()
            if life.verdict.faults:
                return life.verdict
        life.leave()
        life.judge()
    except Exception:  # noqa: BLE001 - whatever it is, it is the finding
        life.verdict.faults.append(traceback.format_exc())
    return life.verdict
