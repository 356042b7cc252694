"""Memory of an idle link and of an endpoint: in the core, counted by tracemalloc (the same each time);
and in whole programs, by what the system says.

Usage: python -m benchmarks.memory
"""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from busway.protocol import Connection, Link, Node, codes

NOW = 1000  # ms
WARM, LINKS, ENDPOINTS = 10, 50, 2000

Pair = tuple[Connection, Connection]


def grown(action: Callable[[], object]) -> int:
    """Bytes that are allocated and not freed by it."""
    gc.collect()
    tracemalloc.start(1)
    try:
        action()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def _node(number: int, leaf: bool = False) -> Node:
    return Node(number.to_bytes(2, "big") * 8, entropy=random.Random(7).randbytes, leaf=leaf)


def _join(left: Node, right: Node) -> Pair:
    return (
        left.connection(Link(codes.USERSPACE, True, via="ipc", medium="ipc"), NOW),
        right.connection(Link(codes.USERSPACE, False, via="ipc", medium="ipc"), NOW),
    )


def _pump(pairs: list[Pair], nodes: list[Node]) -> None:
    moved = True
    while moved:
        moved = False
        for pair in pairs:
            for source, target in (pair, pair[::-1]):
                data = source.data_to_send(1 << 20, NOW)
                if data:
                    target.receive_data(data, NOW)
                    moved = True
    for node in nodes:
        node.connections_to_flush()
        node.take_events()


def link() -> float:
    """Bytes for each end of a link between a router and a leaf, with what each keeps of the other."""
    hub = _node(1)
    leaves = [_node(2 + number, leaf=True) for number in range(WARM + LINKS)]
    pairs: list[Pair] = []

    def join(some: list[Node]) -> None:
        for leaf in some:
            pairs.append(_join(hub, leaf))
            _pump(pairs[-1:], [hub, leaf])
        _pump(pairs, [hub, *leaves])

    join(leaves[:WARM])
    return grown(lambda: join(leaves[WARM:])) / LINKS / 2


def endpoint() -> tuple[float, float]:
    """Bytes of an endpoint with its receiver, and of one that another node has."""
    a, b = _node(1), _node(2)
    pairs = [_join(a, b)]
    _pump(pairs, [a, b])
    kept: list[object] = []

    def register(count: int) -> None:
        for number in range(len(kept), len(kept) + count):
            kept.append(b.register(number.to_bytes(16, "big"), codes.UNICAST, name=f"lab/{number}"))
            b.take_events()

    register(WARM)
    _pump(pairs, [a, b])
    own = grown(lambda: register(ENDPOINTS))
    return own / ENDPOINTS, grown(lambda: _pump(pairs, [a, b])) / ENDPOINTS


def main() -> None:
    own, known = endpoint()
    print(f"core: end of an idle link {link():,.0f} B")
    print(f"core: endpoint with its receiver {own:,.0f} B, of another node {known:,.0f} B")
    from benchmarks.bench import memory

    found = memory.measure(Path(__file__).resolve().parents[1] / "src")
    for what, size in found.items():
        print(f"program: {what} {size:,.0f} B")


if __name__ == "__main__":
    main()
