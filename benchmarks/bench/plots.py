"""Plots of docs/performance.md, drawn with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot

from benchmarks.bench.bars import SPEED, judge
from benchmarks.bench.cases import BULK, SIZES, size_of
from benchmarks.bench.report import middle_of, spread
from benchmarks.bench.tables import arm_of
from benchmarks.bench.variants import VARIANTS

NAMES = ("performance-one-way.png", "performance-round-trip.png", "performance-bars.png")
OURS = {"compiled": "#1f5fa8", "pure": "#7aa6d8"}
LINES = {
    "busway-asyncio-compiled": ("Busway, compiled", OURS["compiled"], "-"),
    "busway-asyncio-pure": ("Busway, pure", OURS["pure"], "-"),
    f"busway-asyncio-compiled@{BULK}": ("Busway, compiled, in bulk", OURS["compiled"], "--"),
    f"busway-asyncio-pure@{BULK}": ("Busway, pure, in bulk", OURS["pure"], "--"),
    "pyzmq": ("pyzmq", "#c0392b", "-"),
    "zenoh": ("zenoh", "#d68910", "-"),
    "socket": ("raw socket", "#7f8c8d", ":"),
}


def draw(result: dict[str, Any], folder: Path, fingerprint: str) -> list[Path]:
    """Writes all plots, each with the fingerprint of its figures in it; returns their paths."""
    made = []
    for name, plot in zip(NAMES, (one_way, round_trip, bars), strict=True):
        figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
        plot(result, axes)
        figure.savefig(folder / name, dpi=96, metadata={"Software": None, "Comment": fingerprint})
        pyplot.close(figure)
        made.append(folder / name)
    return made


def one_way(result: dict[str, Any], axes: Any) -> None:
    """Messages a second by size."""
    for key, (title, colour, style) in LINES.items():
        arms = {size: arm_of(result, f"way-{size}", key) for size in SIZES}
        points = [
            (size, 1 / middle_of(arm["rounds"], "wall")) for size, arm in arms.items() if arm is not None
        ]
        if points:
            axes.loglog(*zip(*points, strict=True), style, marker="o", color=colour, label=title)
    axes.set_xticks(SIZES, [size_of(size) for size in SIZES])
    axes.minorticks_off()
    axes.set(title="One way between two programs", ylabel="messages a second")
    axes.grid(alpha=0.3)
    axes.legend()


def round_trip(result: dict[str, Any], axes: Any) -> None:
    """Times with their range."""
    shown: dict[str, list[float]] = {}
    for key, variant in VARIANTS.items():
        arm = arm_of(result, "trip-asyncio", key) or arm_of(result, "trip-blocking", key)
        if arm is not None:
            shown[variant.title] = [one["wall"] * 1e6 for one in arm["rounds"]]
    figures = [spread(values) for values in shown.values()]
    middles = [middle for middle, _, _ in figures]
    ranges = [[m - low for m, low, _ in figures], [high - m for m, _, high in figures]]
    colours = [_colour(title) for title in shown]
    axes.barh(list(shown), middles, xerr=ranges, color=colours, error_kw={"ecolor": "#333333"})
    axes.invert_yaxis()
    axes.set(title="Round trip of 16 bytes: median and range", xlabel="µs")
    axes.grid(axis="x", alpha=0.3)


def _colour(title: str) -> str:
    if not title.startswith("Busway"):
        return "#b0b0b0"
    return OURS["pure" if title.endswith("pure") else "compiled"]


def bars(result: dict[str, Any], axes: Any) -> None:
    """How many times as fast as the other, with its bar: to the right of 1 Busway is faster."""
    judged = [one for one in judge(result) if one.wanted is not None]
    for place, one in enumerate(judged):
        values = [one.ratio, one.wanted or 1.0]
        value, bar = values if one.bar.kind == SPEED else [1 / each for each in values]
        axes.barh(place, value, color=OURS[one.core])
        axes.plot([bar, bar], [place - 0.4, place + 0.4], color="#c0392b")
    axes.set_yticks(range(len(judged)), [f"{one.bar.title}, {one.core}" for one in judged], fontsize=7)
    axes.invert_yaxis()
    axes.axvline(1, color="#333333", linewidth=0.8)
    axes.set(title="Times as fast as what it is compared to; red: the bar")
    axes.grid(axis="x", alpha=0.3)
