"""The cost of news that one neighbour takes back again and again, for the links of a mesh, damped and not:
the table of docs/security.md, which benchmarks/hostile.py prints.
"""

from __future__ import annotations

from tests.protocol.flooding import CASES, LINKS, NODES, Flooded, way_moves
from tests.protocol.nets import ANYCAST


def undamped() -> Flooded:
    """A mesh that passes all news on at once, as before there was damping.py."""
    net = Flooded()
    for node in net.nodes:
        for damper in (node.mesh.router.damper, node.mesh.lines.damper):
            damper.calm_ms = 0
            damper.each_max = 1 << 30
    return net


def news(size: int) -> None:
    """News that one neighbour takes back again and again, each time when all know what it said before."""
    print(f"\n{len(NODES)} nodes, {LINKS} links: KB on all for {size / 1000:g} KB, and on each for each byte")
    print(f"{'':<40}{'at once':>10}{'':>8}{'damped':>10}")
    for title, frames in CASES.items():
        before = undamped().hear_out(frames(), size)
        now = Flooded().hear_out(frames(), size)
        shares = [spent / size / LINKS for spent in (before, now)]
        print(
            f"{title:<40}{before / 1000:10.0f}{shares[0]:8.2f}{now / 1000:10.0f}{shares[1]:8.2f}", flush=True
        )
    many = []
    for net in (undamped(), Flooded()):
        with_endpoints(net)
        many.append(net.hear_out(way_moves(net[NODES[-1]].me.key), size // 10))
    print(
        f"{'... to one with 1000 endpoints, a tenth':<40}"
        + "".join(f"{spent / 1000:10.0f}{spent * 10 / size / LINKS:8.2f}" for spent in many)
    )
    print()


def with_endpoints(net: Flooded) -> None:
    for number in range(1000):
        net[NODES[-1]].register(number.to_bytes(16, "big"), ANYCAST)
    net.flow()
