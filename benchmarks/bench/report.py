"""The figures as lines for people."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, lowest, highest."""
    return statistics.median(values), min(values), max(values)


def middle_of(rounds: list[dict[str, Any]], what: str) -> float:
    return float(statistics.median([one[what] for one in rounds]))


def shown(unit: str, seconds: float) -> str:
    """A figure: of a message its rate, of a round trip its time."""
    if unit == "rate":
        return f"{1 / seconds:,.0f}/s"
    return f"{seconds * 1e6:.1f} us"


def lines_of(case: dict[str, Any], titles: dict[str, str]) -> Iterator[str]:
    """A case: each variant with its figure, its spread, and the processor time of each side."""
    yield case["title"]
    for arm in case["arms"].values():
        rounds = arm["rounds"]
        middle, low, high = spread([one["wall"] for one in rounds])
        first, last = (high, low) if case["unit"] == "rate" else (low, high)
        unit = case["unit"]
        sides = [f"{side} {middle_of(rounds, side) * 1e6:.2f}" for side in ("far", "near")]
        if any(one.get("other") for one in rounds):
            sides.append(f"between {middle_of(rounds, 'other') * 1e6:.2f}")
        noisy = sum(not one["calm"] for one in rounds)
        rest = f"   {noisy} of {len(rounds)} rounds on a slow machine" if noisy else ""
        figures = f"{shown(unit, middle):>14}  ({shown(unit, first)} to {shown(unit, last)})"
        name = f"{titles[arm['variant']]} {arm['label']}"
        yield f"  {name:<32} {figures:<50}  cpu us: {', '.join(sides)}{rest}"
