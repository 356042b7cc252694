"""The tables of docs/performance.md and README.md, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.bench.bars import COST, SPEED, Judged, Kept, hold, judge
from benchmarks.bench.cases import BULK, SIZES, size_of
from benchmarks.bench.report import middle_of, number, spread
from benchmarks.bench.variants import VARIANTS, title_of

MICRO = 1e6
NOTHING = "Nothing of this is recorded yet: `make bench-full` measures it."
Result = dict[str, Any]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Markdown. Rows with nothing but their first cell are left out; without any a sentence says so."""
    heads = list(head)
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = list(row)
        if any(cells[1:]):
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else NOTHING


def rate(seconds: float) -> str:
    """Messages a second, to three places."""
    value = 1 / seconds
    digits = max(0, len(str(int(value))) - 3)
    return f"{round(value / 10**digits) * 10**digits:,}/s"


def ratio(one: Judged) -> str:
    return f"{one.ratio:.2f} ({one.low:.2f} to {one.high:.2f})"


def answer(reached: bool | None) -> str:
    return {True: "yes", False: "**no**", None: ""}[reached]


def bars(result: Result) -> str:
    """Each bar: the ratio of both cores, what was to be reached, and whether it was."""
    rows: dict[str, list[str]] = {}
    for one in judge(result):
        row = rows.setdefault(one.bar.title, [one.bar.title, "", "", "", "", "", "", ""])
        against = VARIANTS[one.reference.partition("@")[0]].title
        label = one.reference.partition("@")[2]
        row[1] = {"direct": "direct", "1": "one endpoint"}.get(label, against)
        _fill(row, one.core, ratio(one), one.wanted, one.bar.aim, one.reached, one.bar.kind)
    head = ("Measured", "Against", "Compiled", "Bar (aim)", "Reached", "Pure", "Bar", "Reached")
    return table(head, rows.values())


def _fill(
    row: list[str],
    core: str,
    measured: str,
    wanted: float | None,
    aim: float | None,
    reached: bool | None,
    kind: str,
) -> None:
    sign = "≥" if kind == SPEED else "≤"
    bar = "" if wanted is None else f"{sign} {wanted:g}"
    if core == "compiled":
        row[2:5] = [measured, bar + (f" ({aim:g})" if aim is not None else ""), answer(reached)]
    else:
        row[5:8] = [measured, bar, answer(reached)]


def limits(result: Result) -> str:
    """Each figure that may not be more than its bar."""
    rows: dict[str, list[str]] = {}
    for one in hold(result):
        row = rows.setdefault(one.limit.title, [one.limit.title, "", "", "", "", "", ""])
        unit = f" {one.limit.unit}".rstrip()
        _fill_limit(row, one, f"{number(one.value)}{unit} ({number(one.low)} to {number(one.high)})")
    head = ("Measured", "Compiled", "Bar (aim)", "Reached", "Pure", "Bar", "Reached")
    return table(head, rows.values())


def _fill_limit(row: list[str], one: Kept, measured: str) -> None:
    spare = ["", *row]
    _fill(spare, one.core, measured, one.wanted, one.limit.aim, one.reached, COST)
    row[:] = spare[1:]


def arm_of(result: Result, case: str, key: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = result["cases"].get(case, {}).get("arms", {}).get(key)
    return found


def figure(result: Result, case: str, key: str, unit: str) -> str:
    """An arm's median; "" if it was not measured."""
    arm = arm_of(result, case, key)
    if arm is None:
        return ""
    wall = middle_of(arm["rounds"], "wall")
    return rate(wall) if unit == "rate" else f"{wall * MICRO:.0f} µs"


ONE_WAY = {
    "busway-asyncio-compiled": "Busway asyncio, compiled",
    "busway-asyncio-pure": "Busway asyncio, pure",
    "busway-threads-compiled": "Busway threads, compiled",
    "busway-threads-pure": "Busway threads, pure",
    "pyzmq": "pyzmq",
    "pyzmq-asyncio": "pyzmq asyncio",
    "zenoh": "zenoh",
    "nats": "nats-py and nats-server",
    "dbus": "dbus-fast and dbus-daemon",
    "socket": "raw socket",
}


def one_way(result: Result) -> str:
    rows = []
    for key, title in ONE_WAY.items():
        rows.append([title, *(figure(result, f"way-{size}", key, "rate") for size in SIZES)])
        if key in ("busway-asyncio-compiled", "busway-asyncio-pure", "socket"):
            in_bulk = [figure(result, f"way-{size}", f"{key}@{BULK}", "rate") for size in SIZES]
            rows.append([f"{title}, in bulk", *in_bulk])
    return table(["One way", *(size_of(size) for size in SIZES)], rows)


def cpu(result: Result) -> str:
    """Processor time of each message at each side."""
    rows = []
    for key, title in ONE_WAY.items():
        cells = []
        for size in (64, 1024, 16384):
            arm = arm_of(result, f"way-{size}", key)
            cells.append("" if arm is None else sides(arm))
        rows.append([title, *cells])
    head = ("µs of processor time: sender, receiver", *(size_of(size) for size in (64, 1024, 16384)))
    return table(head, rows)


def sides(arm: dict[str, Any]) -> str:
    """Sender, receiver, and what is between."""
    found = [middle_of(arm["rounds"], side) * MICRO for side in ("far", "near", "other")]
    text = f"{found[0]:.1f}, {found[1]:.1f}"
    return f"{text}; broker {found[2]:.1f}" if found[2] else text


def round_trips(result: Result) -> str:
    rows = []
    for key, variant in VARIANTS.items():
        cells = []
        for case in ("trip-asyncio", "trip-blocking"):
            arm = arm_of(result, case, key)
            if arm is None:
                cells.append("")
                continue
            middle, low, high = spread([one["wall"] * MICRO for one in arm["rounds"]])
            cells.append(f"{middle:.0f} µs ({low:.0f} to {high:.0f})")
        many = figure(result, "trips", key, "rate")
        arm = arm_of(result, "trip-asyncio", key) or arm_of(result, "trip-blocking", key)
        rows.append([variant.title, cells[0] or cells[1], many, sides(arm) if arm else ""])
    head = (
        "Round trip, 16 B",
        "Time (range)",
        "32 under way",
        "µs of processor: who asks, who answers",
    )
    return table(head, rows)


def latencies(result: Result) -> str:
    """p50 and p99, with nothing else running and with one busy program for each core."""
    rows = []
    for key, variant in VARIANTS.items():
        cells = []
        for case in ("latency", "latency-load"):
            arm = arm_of(result, case, key)
            figures = [] if arm is None else [middle_of(arm["rounds"], what) for what in ("p50", "p99")]
            cells += [f"{seconds * MICRO:.0f} µs" for seconds in figures] or ["", ""]
        rows.append([variant.title, *cells])
    head = ("Round trip, 16 B", "idle p50", "idle p99", "under load p50", "under load p99")
    return table(head, rows)


def many(result: Result) -> str:
    """Fan-out, many to one, bridge, endpoints, WebSocket, each with all that were measured."""
    rows = []
    for case in result["cases"]:
        if case.partition("-")[0] not in ("fan", "many", "bridge", "endpoints", "ws"):
            continue
        for key, arm in result["cases"][case]["arms"].items():
            title = VARIANTS[arm["variant"]].title + (f", {arm['label']}" if arm["label"] else "")
            rows.append(
                [result["cases"][case]["title"], title, figure(result, case, key, "rate"), sides(arm)]
            )
    return table(("Measured", "By", "Rate", "µs of processor each: sender, receivers together"), rows)


def pinned(result: Result) -> str:
    """Headline cases on one core, on a core for each side, and as the system wants it."""
    rows = []
    for case, told in result["cases"].items():
        if not case.startswith("pin-"):
            continue
        found: dict[str, dict[str, str]] = {}
        for key, arm in told["arms"].items():
            found.setdefault(arm["variant"], {})[arm["label"]] = figure(result, case, key, told["unit"])
        for variant, cells in found.items():
            shown = [cells.get(label, "") for label in ("one core", "a core each", "free")]
            rows.append([told["title"], VARIANTS[variant].title, *shown])
    return table(("Measured", "By", "one core for both", "a core for each", "not pinned"), rows)


def environment(result: Result) -> str:
    """The machine of each run."""
    lines = []
    for name, run in zip(("make bench", "make bench-full"), result["runs"], strict=False):
        told, settings = run["environment"], run["settings"]
        parts = [
            told["date"],
            f"{run['took_s'] / 60:.0f} min",
            told["processor"],
            f"{told['cores']} cores",
            f"{told['memory_mib'] / 1024:.0f} GiB",
            told["system"],
            told["python"],
            f"load before {told['load_before']:.1f}",
            f"{settings['rounds']} rounds of {settings['seconds']:.2g} s",
            f"{run['slow']} of all {run['rounds']} while the machine was slow",
            *(f"{package} {version}" for package, version in told["packages"].items()),
        ]
        lines.append(f"- `{name}`: {', '.join(parts)}")
        for key, why in {**run["absent"], **run["failed"]}.items():
            lines.append(f"- left out: {title_of(key)}: {why.splitlines()[0]}")
    return "\n".join(lines)


def headline(result: Result) -> str:
    """The few rows of the README."""
    wanted = (
        "one way, 16 B",
        "one way, 1 KiB",
        "one way, 16 KiB",
        "round trip asyncio, time",
        "fan-out to 50, copies",
    )
    rows: dict[str, list[str]] = {}
    for one in judge(result):
        if one.bar.title in wanted:
            row = rows.setdefault(one.bar.title, [one.bar.title.replace(", time", ""), "", "", "", ""])
            unit = "rate" if one.bar.kind == SPEED else "time"
            arm = one.bar.arm.format(core=one.core)
            row[1] = f"{VARIANTS[one.reference].title}: {figure(result, one.bar.case, one.reference, unit)}"
            place = 2 if one.core == "compiled" else 3
            times = one.ratio if one.bar.kind == SPEED else 1 / one.ratio
            row[place] = f"{figure(result, one.bar.case, arm, unit)}: {times:.2f}"
    return table(
        ("Measured", "The best of others", "Busway compiled", "Busway pure"),
        (row[:4] for row in rows.values()),
    )


BLOCKS: dict[str, Callable[[Result], str]] = {
    "bars": bars,
    "limits": limits,
    "one-way": one_way,
    "cpu": cpu,
    "round-trips": round_trips,
    "latencies": latencies,
    "many": many,
    "pinned": pinned,
    "environment": environment,
    "headline": headline,
}
