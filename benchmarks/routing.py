"""The cost of routing: bytes, virtual time and processor time of networks of real Routers, in one process.

Usage: python -m benchmarks.routing [--nodes N] [--seed S]
       python -m benchmarks.routing --instants N [--seed S]

The first measures cold convergence, one link failure and one restart of a node on several shapes, with the
sizes of the wire format; all links cost 1 and take 1 ms. The second plays random lives until so many instants
were checked, and ends at the first loop, unreached pair or route that is not the fixed point at rest.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from busway.protocol import codes
from busway.protocol.wire.aliases import node_writer
from busway.protocol.wire.fields import varint
from tests.simulation import life
from tests.simulation.control import ACK, ASK, UPDATE, End, Entry, Leaf, Net, Pace

PACE = Pace(delay=1000, jitter=0, patience=0, whole=True)
FRAME_SIZE_MAX = 65536
GROWTH = (10, 30, 100, 300, 1000)
Shape = list[tuple[int, int]]


# Networks --------------------


def line(count: int, _: random.Random) -> Shape:
    return [(node, node + 1) for node in range(count - 1)]


def ring(count: int, _: random.Random) -> Shape:
    return [(node, (node + 1) % count) for node in range(count)]


def grid(count: int, _: random.Random) -> Shape:
    wide = round(count**0.5)
    across = [(node, node + 1) for node in range(count - 1) if (node + 1) % wide]
    return across + [(node, node + wide) for node in range(count - wide)]


def scattered(count: int, rng: random.Random) -> Shape:
    """Random, connected, of average degree 4."""
    edges = {(rng.randrange(node), node) for node in range(1, count)}
    while len(edges) < min(2 * count, count * (count - 1) // 2):
        one, two = sorted(rng.sample(range(count), 2))
        edges.add((one, two))
    return sorted(edges)


# Sizes --------------------


def size_of(end: End, entries: list[Entry]) -> int:
    """Bytes of these entries in ROUTES frames, with node numbers bound as they are first used."""
    if end.sizes is None:
        assert end.peer is not None
        end.sizes = node_writer(end.host.key, end.peer.host.key, codes.ROUTES_MAX)
    total, body = 0, 1
    for kind, key, _ in entries:
        size = 3 if kind == ACK else 1 + len(end.sizes.write(key))
        size += 4 if kind == UPDATE else 2 if kind == ASK else 0
        if body + size > FRAME_SIZE_MAX:
            total += len(varint(body)) + body
            body = 1
        body += size
    return total + len(varint(body)) + body


class Bench(Net):
    """Without the search for loops, whose time is not the routers'."""

    def check(self) -> None:
        self.instants += 1
        for host, route in self.moved:
            if route.via is not None and route.key not in host.reached:
                host.reached.add(route.key)
                self.gained_at = self.now
            elif route.via is None:
                host.reached.discard(route.key)
        self.moved = []


class Figures(NamedTuple):
    """The cost of one change. Times in virtual ms, but `cpu_ms`: of this processor, for each node."""

    bytes_total: int
    bytes_link: float  # mean of the directed links
    bytes_most: int
    reached_ms: float
    rest_ms: float
    entries: int
    cpu_ms: float


class Measurement:
    """One network from its cold start on."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self.net = Bench(seed, sizes=size_of)
        count = 1 + max(max(edge) for edge in shape)
        self.hosts = [self.net.start(name, seqno=0) for name in range(count)]
        self.shape = shape

    def cold(self) -> Figures:
        def begin() -> None:
            for one, two in self.shape:
                self._join(one, two)

        return self._measure(begin)

    def failure(self, edge: tuple[int, int]) -> Figures:
        (link,) = [link for link in self.net.links if {end.host.name for end in link.ends} == set(edge)]

        def fail() -> None:
            for end in list(link.ends):
                self.net.close(end)

        return self._measure(fail)

    def restart(self, name: int) -> Figures:
        def again() -> None:
            old = self.net.crash(name)
            peers = [end for link in self.net.links for end in link.ends if end.peer and end.peer.host is old]
            for end in peers:
                self.net.close(end)
            self.hosts[name] = self.net.start(name, seqno=0)
            for end in peers:
                self._join(name, end.host.name)

        return self._measure(again)

    def leaf_joins(self, name: int) -> Figures:
        leaf = self.net.leaves[0] = Leaf(100_000, self.net.key(100_000))
        return self._measure(lambda: self.net.attach(leaf, self.hosts[name], cost=1))

    def leaf_leaves(self) -> Figures:
        end = self.net.leaves.pop(0).end
        assert end is not None
        return self._measure(lambda: self.net.close(end))

    def idle(self) -> int:
        """Bytes in an hour."""
        before = self._sent()
        self.net.run_until(self.net.now + 3_600_000_000)
        return sum(self._sent()) - sum(before)

    def _join(self, one: int, two: int) -> None:
        self.net.join(self.hosts[one], self.hosts[two], PACE)

    def _sent(self) -> list[int]:
        return [end.sent for link in self.net.links for end in link.ends]

    def _measure(self, change: Callable[[], object]) -> Figures:
        net = self.net
        before = {end: end.sent for link in net.links for end in link.ends}
        began, entries, cpu = net.now, net.entries, time.process_time()
        net.gained_at = began
        change()
        last = began
        read = net.entries
        while net.step():
            if net.entries > read:
                read = net.entries
                last = net.now
        cpu = time.process_time() - cpu
        sent = [end.sent - before.get(end, 0) for link in net.links for end in link.ends if end.peer]
        return Figures(
            sum(sent),
            sum(sent) / len(sent),
            max(sent),
            (net.gained_at - began) / 1000,
            (last - began) / 1000,
            net.entries - entries,
            cpu * 1000 / len(self.hosts),
        )


# Reports --------------------


def show(title: str, figures: Figures, extra: str = "") -> None:
    print(
        f"{title:<34}{figures.bytes_total:>12,}{figures.bytes_link:>10,.1f}{figures.bytes_most:>9,}"
        f"{figures.reached_ms:>9,.0f}{figures.rest_ms:>8,.0f}{figures.entries:>11,}{figures.cpu_ms:>9.2f}{extra}",
        flush=True,
    )


def report(name: str, shape: Shape, seed: int) -> None:
    gc.collect()  # the network before, or its end would be counted here
    measurement = Measurement(shape, seed)
    cold = measurement.cold()
    sources, links = len(measurement.hosts), 2 * len(shape)
    show(f"{name}: cold", cold, f"   {cold.bytes_total / sources / links:.1f} a source and link")
    rng = random.Random(seed)
    show("   one link fails", measurement.failure(rng.choice(shape[len(shape) // 3 :])))
    show("   one node restarts", measurement.restart(rng.randrange(sources)))
    print(f"   one hour idle: {measurement.idle()} B", flush=True)


def machine(seed: int) -> None:
    """Fifty programs that know each other and forward nothing, and one that does, to two other machines."""
    gc.collect()
    local = [(one, two) for two in range(51) for one in range(two)]
    measurement = Measurement([*local, (50, 51), (50, 52), (51, 52)], seed)
    for host in measurement.hosts[:50]:
        host.router.transit = False
    show("50 programs and a gateway: cold", measurement.cold())
    show("   a command joins as a leaf", measurement.leaf_joins(7))
    show("   and leaves", measurement.leaf_leaves())
    print(f"   one hour idle: {measurement.idle()} B", flush=True)


def measure(nodes: int, seed: int) -> None:
    print(
        f"{'':<34}{'bytes':>12}{'a link':>10}{'most':>9}"
        f"{'reached':>9}{'rest':>8}{'entries':>11}{'CPU ms':>9}\n{'ms':>74}{'ms':>8}{'a node':>20}"
    )
    for count in GROWTH:
        if count < nodes:
            report(f"random, {count} nodes", scattered(count, random.Random(seed)), seed)
    report(f"random, {nodes} nodes", scattered(nodes, random.Random(seed)), seed)
    report(f"grid, {nodes} nodes", grid(nodes, random.Random(seed)), seed)
    few = min(nodes, 200)
    report(f"line, {few} nodes", line(few, random.Random(seed)), seed)
    report(f"ring, {few} nodes", ring(few, random.Random(seed)), seed)
    machine(seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"at most {peak:,.0f} MiB for all nodes of a network together")


def count_instants(wanted: int, seed: int) -> None:
    """Raises AssertionError, which names the seed, at the first fault."""
    began = time.monotonic()
    instants = entries = lives = nodes = 0
    while instants < wanted:
        net = life.play(seed + lives, events=60 if lives % 10 else 600)
        instants += net.instants
        entries += net.entries
        nodes += len(net.hosts)
        lives += 1
    print(
        f"seeds {seed} to {seed + lives - 1}: {lives:,} lives, {instants:,} instants checked, "
        f"{entries:,} entries read, {time.monotonic() - began:,.0f} s\n"
        f"0 loops; at rest 0 unreached pairs and all routes of {nodes:,} nodes at the fixed point"
    )


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--nodes", type=int, default=1000, help="of the largest networks (default 1000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--instants", type=int, help="check so many instants instead")
    options = parser.parse_args()
    if options.instants:
        count_instants(options.instants, options.seed)
    else:
        measure(options.nodes, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
