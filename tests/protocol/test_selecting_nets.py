"""Selectors in random nets: at rest they mean what a naive evaluation over all that there is finds; while
nodes, links and endpoints come and go each message has one verdict, and no receiver gets it twice.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from busway.protocol import Receiver, codes, events
from busway.protocol.wire.selectors import AND, NOT, OR

from .helpers import verdicts
from .nets import ANYCAST, BROADCAST, GLOBAL, LOCALNET, UNICAST, USERSPACE, Mesh, id_of
from .test_selecting import where

LABELS = ("renderer", "codec", "spare", "gpu")
NAMES = ("render/1", "render/2/low", "codec/1", "a/b/c", "")
PATTERNS = ("render/*", "**", "render/**", "**/1", "a/b/c")
REALMS = (codes.PROCESS, USERSPACE, LOCALNET, GLOBAL)

Tree = Any  # a label, a pattern ("=..."), or (operator, parts)


def tree(rng: random.Random, depth: int = 3) -> Tree:
    """A random expression."""
    kind = rng.random()
    if depth == 0 or kind < 0.3:
        return rng.choice(LABELS) if rng.random() < 0.7 else "=" + rng.choice(PATTERNS)
    if kind < 0.5:
        return (NOT, tree(rng, depth - 1))
    return (rng.choice((AND, OR)), tree(rng, depth - 1), tree(rng, depth - 1))


def postfix(expression: Tree) -> list[str | int]:
    if isinstance(expression, str):
        return [expression]
    return [*itertools.chain(*map(postfix, expression[1:])), expression[0]]


def fits_naively(pattern: str, name: str) -> bool:
    """All ways to share the levels out."""

    def fits(left: list[str], levels: list[str]) -> bool:
        if not left:
            return not levels
        if left[0] == "**":
            return any(fits(left[1:], levels[taken:]) for taken in range(len(levels) + 1))
        return bool(levels) and left[0] in ("*", levels[0]) and fits(left[1:], levels[1:])

    return name != "" and fits(pattern.split("/"), name.split("/"))


def means(expression: Tree, labels: set[str], name: str) -> bool:
    if isinstance(expression, str):
        return fits_naively(expression[1:], name) if expression.startswith("=") else expression in labels
    results = [means(part, labels, name) for part in expression[1:]]
    return {AND: all(results), OR: any(results), NOT: not results[0]}[expression[0]]


class World:
    """A random net, and the truth about it."""

    def __init__(self, seed: int, slow: float) -> None:
        self.rng = rng = random.Random(seed)
        self.realms = (USERSPACE, LOCALNET, LOCALNET, GLOBAL)
        self.net = net = Mesh()
        self.routers = "abcdefg"[: rng.randint(2, 7)]
        self.links: dict[str, int] = {}
        net.add(self.routers)
        for at in range(1, len(self.routers)):
            self._join(self.routers[rng.randrange(at)] + self.routers[at], slow)
        for _ in range(rng.randint(0, 3)):
            pair = "".join(rng.sample(self.routers, 2))
            if pair not in self.links and pair[::-1] not in self.links:
                self._join(pair, slow)
        self.leaves = "xy"[: rng.randint(0, 2)]
        for letter in self.leaves:
            router = rng.choice(self.routers)
            realm = rng.choice((USERSPACE, LOCALNET, GLOBAL))
            net.leaf(letter, router, realm=realm)
            self.links[letter + router] = realm
        self.letters = self.routers + self.leaves
        self.endpoints: dict[bytes, tuple[str, int, int, set[str], str, Receiver]] = {}
        for number in range(rng.randint(3, 20)):
            self.register(number)
        net.pump()
        net.advance(5_000)

    def _join(self, pair: str, slow: float) -> None:
        realm = self.rng.choice(self.realms)
        self.net.join(pair, realm=realm, lookups=self.rng.random() < slow)
        self.links[pair] = realm

    def register(self, number: int) -> None:
        rng = self.rng
        uuid = number.to_bytes(2, "big") * 8
        kind, realm = rng.choice((UNICAST, ANYCAST, BROADCAST)), rng.choice(REALMS)
        letter = rng.choice(self.letters)
        labels = {label for label in LABELS if rng.random() < 0.4}
        name = rng.choice(NAMES)
        receiver = self.net[letter].register(uuid, kind, realm, name=name, labels=labels)
        self.endpoints[uuid] = (letter, kind, realm, labels, name, receiver)

    def realm_between(self, one: str, other: str) -> int:
        """The widest realm that has to be crossed on the narrowest way."""
        for realm in REALMS:
            reached = {one}
            for _ in self.letters:
                for pair, width in self.links.items():
                    if width <= realm and reached & set(pair):
                        through = (reached & set(pair)) - ({*self.leaves} - {one})
                        reached |= set(pair) if through else set()
            if other in reached:
                return realm
        raise AssertionError("the net is not connected")

    def truth(self, letter: str, expression: Tree) -> set[tuple[bytes, bytes]]:
        return {
            (uuid, id_of(at))
            for uuid, (at, kind, realm, labels, name, _) in self.endpoints.items()
            if kind != BROADCAST
            and means(expression, labels, name)
            and (at == letter or realm >= max(USERSPACE, self.realm_between(letter, at)))
        }


def all_meant(net: Mesh, letter: str, selector: bytes) -> set[tuple[bytes, bytes]]:
    token = net[letter].locate(selector, net.now, timeout_ms=20_000)
    net.pump()
    net.advance(5_000)
    assert len(verdicts(net, net[letter], token)) == 1
    found = net[letter].matches(selector)
    assert len(found) == len(set(found))
    return set(found)


def check_at_rest(world: World) -> None:
    net, rng = world.net, world.rng
    for _ in range(4):
        letter, expression = rng.choice(world.letters), tree(rng)
        selector = where(*postfix(expression))
        wanted = world.truth(letter, expression)
        assert all_meant(net, letter, selector) == wanted
        payload = b"copy %d" % rng.randrange(1 << 30)
        tokens = [net[letter].send(uuid, payload, net.now, node_id=at, confirm=True) for uuid, at in wanted]
        one = net[letter].request(selector, payload, net.now)
        net.pump()
        got = [
            uuid
            for uuid, (at, *_, receiver) in world.endpoints.items()
            for message in net.drain(net[at], receiver)
            if message.payload == payload
        ]
        net.pump()
        for token in tokens:
            assert verdicts(net, net[letter], token) == [(events.TAKEN, 0)]
        assert sorted(set(got)) == sorted(uuid for uuid, _ in wanted)
        assert len(got) == len(wanted) + bool(wanted)
        if not wanted:
            assert verdicts(net, net[letter], one) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
        net.advance(codes.SELECT_MS)


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("slow", [0.0, 0.4, 1.0])
def test_at_rest_all_that_are_meant_are_those_of_a_naive_evaluation(seed: int, slow: float) -> None:
    check_at_rest(World(seed, slow))


class Churn:
    """A world in which everything comes and goes, and what is sent meanwhile."""

    def __init__(self, seed: int, slow: float) -> None:
        self.world = World(seed, slow)
        self.rng, self.net = self.world.rng, self.world.net
        self.registered: list[tuple[str, Receiver]] = [
            (at, receiver) for at, *_, receiver in self.world.endpoints.values()
        ]
        self.tokens: list[tuple[str, int, bytes]] = []
        self.got: list[bytes] = []
        self.number = 1000

    def step(self) -> None:
        rng = self.rng
        what = rng.random()
        if what < 0.5:
            self.send()
        elif what < 0.62:
            self.number += 1
            self.world.register(self.number)
            at, *_, receiver = self.world.endpoints[self.number.to_bytes(2, "big") * 8]
            self.registered.append((at, receiver))
        elif what < 0.7 and self.registered:
            at, receiver = self.registered.pop(rng.randrange(len(self.registered)))
            self.drain(at, receiver)
            self.net[at].deregister(receiver, self.net.now)
        elif what < 0.76:
            self.cut(rng.choice([pair for pair in self.net.cable if pair[0] in self.world.routers]))
        elif what < 0.88:
            self.net.advance(rng.choice((1, 50, 700, 3_000)))
        else:
            self.net.pump()
        for at, receiver in self.registered:
            if rng.random() < 0.3:
                self.drain(at, receiver)

    def cut(self, pair: str) -> None:
        cable = self.net.cable[pair]
        if cable.a.state == codes.OPEN:
            cable.cut()
        else:
            self.net.join(pair, realm=self.world.links[pair])

    def send(self) -> None:
        rng, net = self.rng, self.net
        letter = rng.choice(self.world.letters)
        selector = where(*postfix(tree(rng)), without_own=rng.random() < 0.3)
        targets = [(selector, b"")]
        if rng.random() < 0.5:
            targets = [(uuid, at) for uuid, at in net[letter].matches(selector)]
        for target, at in targets:
            payload = b"%d" % len(self.tokens)
            ttl_ms = rng.choice((0, 0, 2_000)) if not at else 0
            options: dict[str, Any] = {"node_id": at, "ttl_ms": ttl_ms, "confirm": True, "timeout_ms": 10_000}
            self.tokens.append((letter, net[letter].send(target, payload, net.now, **options), payload))

    def drain(self, at: str, receiver: Receiver) -> None:
        if not receiver.closed:
            self.got += [message.payload for message in self.net.drain(self.net[at], receiver)]


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("slow", [0.0, 0.4])
def test_under_churn_each_message_has_one_verdict_and_nobody_gets_one_twice(seed: int, slow: float) -> None:
    churn = Churn(seed, slow)
    for _ in range(150):
        churn.step()
    for _ in range(20):
        churn.net.advance(1_000)
        for at, receiver in churn.registered:
            churn.drain(at, receiver)
    assert len(churn.got) == len(set(churn.got))
    for letter, token, payload in churn.tokens:
        ((status, _),) = verdicts(churn.net, churn.net[letter], token)
        if status == events.TAKEN:
            assert payload in churn.got
        else:
            assert status in (events.UNDELIVERED, events.UNKNOWN)
            assert status == events.UNKNOWN or payload not in churn.got
    assert len(churn.tokens) > 30
    assert churn.got
