"""A random life of the control plane, drawn from one seed: what happens to a network, and what must hold.

Knows which changes there are and when the last of them is noticed; how they happen is in control.py.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

from busway.protocol import codes
from busway.protocol.routing.damping import CALM_MS
from busway.protocol.routing.router import Router
from tests.simulation.control import GLOBAL, LOCALNET, USERSPACE, Host, Leaf, Link, Net, Pace

COSTS = (1, 16, 32, 256, 512)
PACES = (
    Pace(),
    Pace(delay=0, jitter=500, patience=500),
    Pace(delay=20_000, jitter=20_000, patience=1_000),
    Pace(delay=500, jitter=50_000, patience=20_000),
)
SLOW = Pace(delay=1_000, jitter=0, patience=1_000, byte=300)
SECOND = 1_000_000
EVENTS_MAX = 400_000  # in one life: more would be no rest


class Life:
    """One network from its first link to the rest after its last change."""

    def __init__(self, seed: int, router_class: type[Router] = Router, events: int = 60) -> None:
        self.net = Net(seed, router_class)
        self.net.hasty = seed % 3 != 0  # the harder case for the rules
        self.rng = rng = self.net.rng
        self.events = events
        self.size = rng.choice((3, 4, 5, 8, 12, 16))
        self.seqno = rng.choice((0, 30_000, 65_530, 65_534, 65_535))
        self.paces = [rng.choice(PACES)] if rng.random() < 0.7 else [*PACES, SLOW]
        self.realms = rng.choice(((USERSPACE,), (USERSPACE, LOCALNET, GLOBAL)))
        self.costs = rng.choice(((1,), (16, 17), COSTS))
        self.forwarding = rng.choice((1.0, 1.0, 0.8))  # share of nodes that do
        self.notice = rng.choice((1_000, 50_000, 3 * SECOND))  # us until a dead link is noticed, at most
        self.gap = rng.choice((500, 10_000, 300_000, SECOND))  # us between two changes, on average
        self.last_change = 0
        self.manners = random.Random(seed)  # of its own: lives are the same with goodbyes as without

    # What happens

    def later(self, within: int, do: Callable[[Any], None], what: Any) -> None:
        """A change in a while; the last one begins the rest."""
        when = self.net.now + self.rng.randrange(within + 1)
        self.last_change = max(self.last_change, when)
        self.net.at(when, do, what)

    def start(self, name: int) -> None:
        if name in self.net.hosts:
            return
        host = self.net.start(name, self.seqno, self.rng.random() < self.forwarding)
        others = [other for other in self.net.hosts.values() if other is not host]
        for other in self.rng.sample(others, min(len(others), self.rng.choice((1, 1, 2, 3)))):
            self.join(host, other)

    def join(self, one: Host, two: Host) -> None:
        rng = self.rng
        former = [end for end in two.ends if end.peer and end.peer.host.name == one.name and end.peer.over]
        if rng.getrandbits(1):  # a newer incarnation or session ends the former one at once
            for end in former:
                self.net.close(end)
        if not (one.alive and two.alive):
            return
        pace = rng.choice(self.paces)
        lag = rng.choice((0, rng.randrange(1, pace.hop + 2)))
        self.last_change = max(self.last_change, self.net.now + lag)
        link = self.net.join(one, two, pace, rng.choice(self.costs), rng.choice(self.realms), lag)
        if rng.random() < 0.3:
            link.ends[0].neighbour.cost = rng.choice(self.costs)

    def link_up(self) -> None:
        if len(self.net.hosts) >= 2:
            self.join(*self.rng.sample(list(self.net.hosts.values()), 2))

    def link_down(self) -> None:
        links = [link for link in self.net.links if link.leaf is None and not link.severed]
        if links:
            self.cut(self.rng.choice(links))

    def cut(self, link: Link) -> None:
        ends = list(link.ends)
        self.rng.shuffle(ends)
        how = self.rng.randrange(3)
        if how == 0:  # both notice at once
            for end in ends:
                self.net.close(end)
        elif how == 1:  # one closes, the other reads what was on its way
            self.net.close(ends[0])
            self.later(ends[0].pace.hop, self.net.close_after_reading, ends[1])
        else:  # half-open: nothing arrives, and each notices in its own time
            self.net.sever(link)
            for end in ends:
                self.later(self.notice, self.net.close, end)

    def recost(self) -> None:
        ends = [end for link in self.net.links for end in link.ends if end.open]
        if ends:
            end = self.rng.choice(ends)
            self.net.set_cost(end, self.rng.choice(self.costs))
            if end.peer is not None and self.rng.getrandbits(1):
                self.net.set_cost(end.peer, end.neighbour.cost)

    def crash(self) -> None:
        """A node is gone; or it leaves, and says so."""
        host = self.net.crash(self.rng.choice(list(self.net.hosts)))
        close = self.net.close_after_reading
        if self.manners.getrandbits(1):
            close = self.net.part_after_reading
        for link in list(self.net.links):
            for end in link.ends:
                if end.peer is not None and end.peer.host is host and not end.over:
                    if self.rng.getrandbits(1):
                        self.net.sever(link)
                        self.later(self.notice, self.net.close, end)
                    else:
                        self.later(self.notice, close, end)
        self.later(self.rng.choice((0, self.gap, self.notice)), self.start, host.name)

    def transit(self) -> None:
        if self.forwarding < 1.0:
            host = self.rng.choice(list(self.net.hosts.values()))
            self.net.set_transit(host, not host.router.transit)

    def partition(self) -> None:
        """Between two halves nothing arrives for a while; or the links die."""
        half = {name for name in self.net.hosts if self.rng.getrandbits(1)}
        until = self.net.now + self.rng.randrange(1, self.notice + 2)
        dies = self.rng.getrandbits(1)
        for link in list(self.net.links):
            if link.leaf is None and len({end.host.name in half for end in link.ends}) == 2:
                if dies:
                    self.cut(link)
                else:
                    link.held_until = max(link.held_until, until)
                    self.last_change = max(self.last_change, until)

    def leaf_joins(self) -> None:
        name = 100 + len(self.net.names)
        self.net.leaves[name] = leaf = Leaf(name, self.net.key(name))
        self.attach(leaf)

    def leaf_moves(self) -> None:
        """To another router or the same one; its former router notices at once, or at some time."""
        if not self.net.leaves:
            self.leaf_joins()
            return
        leaf = self.rng.choice(list(self.net.leaves.values()))
        former = leaf.end
        leaf.end = None
        if former is not None and self.rng.getrandbits(1):
            self.net.close(former)
            former = None
        self.attach(leaf)
        if former is not None:
            self.later(self.notice, self.net.close, former)

    def leaf_leaves(self) -> None:
        if self.net.leaves:
            leaf = self.net.leaves.pop(self.rng.choice(list(self.net.leaves)))
            if leaf.end is not None:
                close = self.net.hear_goodbye if self.manners.getrandbits(1) else self.net.close
                self.later(self.notice, close, leaf.end)

    def attach(self, leaf: Leaf) -> None:
        host = self.rng.choice(list(self.net.hosts.values()))
        self.net.attach(leaf, host, self.rng.choice(self.costs), self.rng.choice(self.realms))

    # The whole

    def play(self) -> None:
        """Raises AssertionError, with the seed, where something does not hold."""
        for name in range(self.size):
            self.start(name)
        for _ in range(self.rng.randrange(self.size + 1)):
            self.link_up()
        changes = (
            *(self.link_up,) * 4,
            *(self.link_down,) * 4,
            *(self.recost,) * 4,
            *(self.crash,) * 1,
            *(self.transit,) * 1,
            *(self.partition,) * 1,
            *(self.leaf_moves,) * 2,
            *(self.leaf_leaves,) * 1,
        )
        for _ in range(self.events):
            self._run_until(self.net.now + int(self.rng.expovariate(1 / self.gap)))
            if len(self.net.hosts) > 1:
                self.rng.choice(changes)()
                self.net.check_limits(self.rng.choice(list(self.net.hosts.values())))
        self.rest()

    def _run_until(self, when: int) -> None:
        assert self.net.instants < EVENTS_MAX, f"seed {self.net.seed} finds no rest"
        self.net.run_until(when)

    def rest(self) -> None:
        """Let everything be noticed, then everything arrive; judge what is left."""
        net = self.net
        while self.last_change > net.now:
            self._run_until(self.last_change)
        net.gained_at = began = net.now
        for host, metrics in net.fixed_points().items():
            host.awaited = set(metrics)
        bound, held = self.bound(), self.held()
        while net.step():
            assert net.instants < EVENTS_MAX, f"seed {net.seed} finds no rest"
        net.check_rest()
        for host in net.hosts.values():
            net.check_limits(host)
        if bound >= 0 and self.held() > held:
            bound += self.diameter() * CALM_MS * 1000
        took = net.gained_at - began
        assert bound < 0 or took <= bound, f"seed {net.seed}: reachable after {took} us, bound {bound}"

    def held(self) -> int:
        """How often news of a way that changes again and again was to be held: then each node on the way may
        tell it a second later (docs/routing.md).
        """
        routers = [host.router for host in self.net.hosts.values()]
        return sum(router.counters["routes_held"] - len(router.damper.held) for router in routers)

    def bound(self) -> int:
        """Three times across the network and one retry, in us; -1 if links queue: then no hop has a bound."""
        paces = [end.pace for link in self.net.links for end in link.ends if end.peer]
        if any(pace.byte for pace in paces):
            return -1
        hop = max((pace.hop for pace in paces), default=0)
        return 3 * self.diameter() * hop + codes.SEQREQ_MS * 1000

    def diameter(self) -> int:
        """Hops between the two hosts that are farthest from each other, on ways that nodes forward."""
        return max((self._depth(host) for host in self.net.hosts.values()), default=0)

    @staticmethod
    def _depth(start: Host) -> int:
        depths = {start: 0}
        waiting = deque([start])
        while waiting:
            host = waiting.popleft()
            if host is not start and not host.router.transit:
                continue
            for end in host.ends:
                if end.peer is not None and end.peer.host not in depths:
                    depths[end.peer.host] = depths[host] + 1
                    waiting.append(end.peer.host)
        return max(depths.values())


def play(seed: int, router_class: type[Router] = Router, events: int = 60) -> Net:
    """One life; returns its network, at rest."""
    life = Life(seed, router_class, events)
    life.play()
    return life.net
