"""The bars: which figure is compared to which, what is to be reached, and whether it is."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.bench.cases import BULK, SIZES, size_of

SPEED, TIME, COST = (
    "speed",
    "time",
    "cost",
)  # of the reference: times as fast, of its time, of its processor time


class Bar:
    """A row of the table.

    Args:
        case: its key.
        title: for people.
        kind: SPEED, where more is better; TIME or COST, where less is.
        compiled: the arm that is judged, compiled.
        against: the arms of which the best is the reference; "{core}" is the core of the arm that is judged.
        bar: to be reached compiled.
        aim: hoped for compiled.
        pure: to be reached in pure Python; None if nothing is asked.
    """

    def __init__(
        self,
        case: str,
        title: str,
        kind: str,
        compiled: str,
        against: tuple[str, ...],
        bar: float | None,
        aim: float | None,
        pure: float | None,
    ) -> None:
        self.case, self.title, self.kind, self.arm, self.against = case, title, kind, compiled, against
        self.bars = {"compiled": bar, "pure": pure}
        self.aim = aim


class Judged:
    """A bar and what was measured of one core.

    Args:
        ratios: round by round.
        reference: the arm against which.
    """

    def __init__(self, bar: Bar, core: str, ratios: list[float], reference: str) -> None:
        self.bar, self.core, self.ratios, self.reference = bar, core, ratios, reference
        self.ratio, self.wanted = statistics.median(ratios), bar.bars[core]
        self.low, self.high = min(ratios), max(ratios)

    @property
    def reached(self) -> bool | None:
        """None where nothing is asked."""
        if self.wanted is None:
            return None
        return self.ratio >= self.wanted if self.bar.kind == SPEED else self.ratio <= self.wanted


class Limit:
    """A figure that may not be more.

    Args:
        key: in the result's `values`.
        unit: of the figure and of the limits.
        pure: the bar in pure Python; None if nothing is asked.
    """

    def __init__(
        self, key: str, title: str, unit: str, bar: float | None, aim: float | None, pure: float | None
    ) -> None:
        self.key, self.title, self.unit, self.aim = key, title, unit, aim
        self.bars = {"compiled": bar, "pure": pure}


BUSWAY = "busway-asyncio-{core}"


def _one_way() -> list[Bar]:
    best = ("pyzmq", "zenoh")
    rows = [
        Bar(f"way-{size}", f"one way, {size_of(size)}", SPEED, BUSWAY, best, 1.2, 1.5, 0.45)
        for size in SIZES[:4]
    ]
    rows += [
        Bar(
            f"way-{size}", f"one way in bulk, {size_of(size)}", SPEED, f"{BUSWAY}@{BULK}", best, 2.5, 3.0, 0.8
        )
        for size in SIZES[:4]
    ]
    return [
        *rows,
        Bar("way-16384", "one way, 16 KiB", SPEED, BUSWAY, ("pyzmq",), 2.5, 3.0, 1.2),
        Bar("way-1048576", "one way, 1 MiB", SPEED, BUSWAY, ("pyzmq",), 0.9, 1.2, 0.8),
    ]


BARS = (
    *_one_way(),
    Bar("trip-asyncio", "round trip asyncio, time", TIME, BUSWAY, ("pyzmq-asyncio",), 0.6, 0.5, 1.2),
    Bar(
        "trip-asyncio",
        "round trip uvloop, time",
        TIME,
        "busway-uvloop-{core}",
        ("pyzmq-uvloop",),
        None,
        None,
        None,
    ),
    Bar(
        "trip-blocking", "round trip blocking, time", TIME, "busway-threads-{core}", ("pyzmq",), 1.8, 1.0, 3.0
    ),
    Bar("fan-50", "fan-out to 50, copies", SPEED, BUSWAY, ("pyzmq",), 0.9, 1.2, 0.5),
    Bar(
        "bridge-1024",
        "through one bridge, 1 KiB",
        SPEED,
        f"{BUSWAY}@bridge",
        (f"{BUSWAY}@direct",),
        0.75,
        0.8,
        0.65,
    ),
    Bar(
        "endpoints",
        "10,000 endpoints in turn, cost",
        COST,
        f"{BUSWAY}@10000",
        (f"{BUSWAY}@1",),
        1.5,
        1.1,
        1.5,
    ),
    Bar("ws-65536", "WebSocket, 64 KiB", SPEED, "busway-ws-{core}", ("websockets",), 0.6, 1.0, 0.5),
)
LIMITS = (
    Limit("programs-turn-250", "250 programs in turn, cost of a message against one", "", 1.5, 1.1, 1.5),
    Limit("import", "import busway", "ms", 12, 10, 12),
    Limit("import-asyncbus", "import busway, with AsyncBus", "ms", 75, 60, 75),
    Limit("memory-link", "memory of an idle link", "KiB", 10, 8, None),
    Limit("memory-endpoint", "memory of an endpoint that another program has", "B", 500, 300, None),
    Limit("memory-program-250", "memory of a program, 250 joined", "MB", 24, 20, None),
    Limit("memory-endpoint-own", "memory of an endpoint with its receiver", "B", None, None, None),
    Limit("first-contact", "from the constructor to the first reply", "ms", None, None, None),
    Limit("join-all-250", "250 programs join, until all know all", "s", 10, None, None),
    Limit("join-one-2", "one program joins another", "ms", 50, None, None),
    Limit("join-one-250", "one program joins 250", "ms", 50, None, None),
    Limit("join-one-cpu-100", "... processor time of all, of 100", "ms", None, None, None),
    Limit("join-one-cpu-250", "... processor time of all, of 250", "ms", None, None, None),
    Limit("leave-all-250", "all 250 leave", "s", 5, None, None),
)


def _measure(kind: str, one: dict[str, Any]) -> float:
    return float(one["far"] + one["near"] + one["other"]) if kind == COST else float(one["wall"])


def _middle(kind: str, arm: dict[str, Any]) -> float:
    return statistics.median(_measure(kind, one) for one in arm["rounds"])


def judge(result: dict[str, Any]) -> list[Judged]:
    """All bars of which the result holds the figures, for each core."""
    judged = []
    for bar in BARS:
        arms = result["cases"].get(bar.case, {}).get("arms", {})
        for core in ("compiled", "pure"):
            mine = arms.get(bar.arm.format(core=core))
            others = {key: arms[key] for name in bar.against if (key := name.format(core=core)) in arms}
            if mine is None or not others:
                continue
            reference = min(others, key=lambda key: _middle(bar.kind, others[key]))
            pairs = zip(mine["rounds"], others[reference]["rounds"], strict=True)
            ratios = [_measure(bar.kind, a) / _measure(bar.kind, b) for a, b in pairs]
            if bar.kind == SPEED:
                ratios = [1 / ratio for ratio in ratios]
            judged.append(Judged(bar, core, ratios, reference))
    return judged


class Kept:
    """A limit and what was measured of one core."""

    def __init__(self, limit: Limit, core: str, values: list[float]) -> None:
        self.limit, self.core, self.wanted = limit, core, limit.bars[core]
        self.value, self.low, self.high = statistics.median(values), min(values), max(values)

    @property
    def reached(self) -> bool | None:
        """None where nothing is asked."""
        return None if self.wanted is None else self.value <= self.wanted


def hold(result: dict[str, Any]) -> list[Kept]:
    """All limits of which the result holds the figures, for each core."""
    values = result.get("values", {})
    return [
        Kept(limit, core, values[limit.key][core])
        for limit in LIMITS
        for core in ("compiled", "pure")
        if core in values.get(limit.key, {})
    ]
