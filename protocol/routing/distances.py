"""Distances of ways: how they compare, and grow over a link (docs/routing.md, rule 1).

A distance is one int: the source's sequence number in bits 16-31, the metric in bits 0-15.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

INFINITE: "Final" = 0xFFFF  # the metric of no route
COST_MAX: "Final" = 0x3FFF


def newer(a: int, b: int) -> bool:
    """Whether sequence number `a` is newer than `b` (RFC 1982)."""
    return 0 < (a - b) & 0xFFFF < 0x8000


def better(a: int, b: int) -> bool:
    """Whether distance `a` is strictly better than `b`: a newer number, or the same and a smaller metric."""
    if b < 0:
        return True
    if a >> 16 == b >> 16:
        return a & 0xFFFF < b & 0xFFFF
    return newer(a >> 16, b >> 16)


def extend(metric: int, realm: int, cost: int) -> int:
    """A neighbour's metric seen over a link: the widest realm of the path (two bits), then the sum of costs.
    Strictly larger than `metric`.
    """
    total = (metric & COST_MAX) + cost
    if metric == INFINITE or total >= COST_MAX:
        return INFINITE
    return max(metric >> 14, realm) << 14 | total
