"""The figures as lines for people."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.bench.bars import hold, judge


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


def number(value: float) -> str:
    """With as many places as tell something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def verdict(reached: bool | None) -> str:
    return {True: "reached", False: "NOT reached", None: ""}[reached]


def bar_lines(result: dict[str, Any], titles: dict[str, str]) -> Iterator[str]:
    """Each bar and limit with its median, its range round by round, and whether it is reached."""
    for one in judge(result):
        against = (
            f"against {titles[one.reference.partition('@')[0]]} {one.reference.partition('@')[2]}".rstrip()
        )
        measured = f"{one.ratio:.2f} ({one.low:.2f} to {one.high:.2f})"
        wanted = "" if one.wanted is None else f"bar {one.wanted:g}"
        figures = f"{one.core:<9} {measured:<24} {wanted:<9} {verdict(one.reached):<12}"
        yield f"{one.bar.title:<34} {figures} {against}"
    for each in hold(result):
        unit = each.limit.unit
        measured = f"{number(each.value)} {unit} ({number(each.low)} to {number(each.high)})"
        wanted = "" if each.wanted is None else f"bar {each.wanted:g} {unit}"
        yield f"{each.limit.title:<50} {each.core:<9} {measured:<26} {wanted:<12} {verdict(each.reached)}"
