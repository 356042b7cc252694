"""The figures as plain text: a line a second, the summary, the verdict. Knows not where they come from."""

from __future__ import annotations

from busway import about
from busway.demo.figures import OUTCOMES, Figures, RoundTrips, Tally
from busway.demo.messages import Readings

KILL_DURATION_S = 5.0  # a shorter run need not see the victim come back


def warmest(readings: Readings) -> str:
    """The highest temperature, or that there is none: normal on a virtual machine."""
    return f"{max(readings.celsius.values()):.0f} °C" if readings.celsius else "no sensors"


def board_text(figures: Figures) -> str:
    """The last words of the board: its relay, its tank, its temperature."""
    told = figures.board
    if told is None:
        return "nothing yet"
    pump = "on" if told.get("on") else "off"
    return f"pump {pump}, {'water' if told.get('water') else 'no water'}, {told.get('celsius')} °C"


def plain_line(figures: Figures) -> str:
    """One line on where the run stands, for logs and pipes."""
    rate = sum(traffic.rate for traffic in figures.traffic.values())
    median, p99 = figures.requests.get("demo/sum", Tally()).round_trips.quantiles(0.5, 0.99)
    parts = [
        f"{figures.age:5.1f} s",
        f"{len(figures.nodes)} nodes",
        f"{rate:,.0f} messages/s",
        f"round trip {median * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms",
        _outcomes(figures),
        f"{figures.came.total()} joined, {figures.went.total()} left, {figures.kills} killed",
        _machine(figures.readings),
    ]
    return "  ".join(parts)


def _outcomes(figures: Figures) -> str:
    counts = figures.outcomes()
    return ", ".join(f"{counts[name]:,} {name}" for name in OUTCOMES)


def _machine(readings: Readings | None) -> str:
    if readings is None:
        return "no readings yet"
    return (
        f"cpu {readings.cpu_percent:.0f} %, load {readings.load[0]:.2f}, "
        f"memory {readings.memory_percent:.0f} %, {warmest(readings)}"
    )


def summary(figures: Figures, bus_name: str) -> str:
    """Counts and measurements of the whole run."""
    messages = sum(traffic.total for traffic in figures.traffic.values())
    outcomes = figures.outcomes().total()
    lines = [
        f'Busway demo on bus "{bus_name}": {figures.age:.1f} s, up to {figures.nodes_max} nodes at a time',
        f"  running     {about.line()}",
        f"  messages    {messages:,} taken by receivers, {messages / figures.age:,.0f} a second",
        f"  readings    {figures.readings_count:,} came here, {figures.readings_missed:,} were missed",
        *(
            [f"  board       {figures.board_count:,} states, {board_text(figures)}"]
            if figures.board_expected
            else []
        ),
        f"  requests    {figures.asked():,} asked, {outcomes:,} outcomes",
        f"  outcomes    {_outcomes(figures)}",
        *(_round_trip(name, tally.round_trips) for name, tally in sorted(figures.requests.items())),
        f"  visitor     {_visits(figures)}",
        f"  WebSocket   {figures.remote_readings:,} readings, {figures.remote_answers:,} answers came by it",
        f"  victim      killed {figures.kills} times, came back {figures.returns} times{_delay(figures)}",
    ]
    return "\n".join(lines)


def _round_trip(endpoint: str, times: RoundTrips) -> str:
    median, p99 = times.quantiles(0.5, 0.99)
    figures = "  ".join(
        f"{name} {seconds * 1000:.2f} ms"
        for name, seconds in (("min", times.least), ("median", median), ("p99", p99))
    )
    return f"  round trip  {endpoint:<21}{figures}  of {times.count:,}"


def _visits(figures: Figures) -> str:
    return (
        f"came {figures.came['visitor']} times, left {figures.went['visitor']} times; "
        f"{figures.visits} reports, {figures.visits_replied} of {figures.visits_asked} answers right"
    )


def _delay(figures: Figures) -> str:
    count = figures.returns
    return f", {figures.returns_s / count:.2f} s after the kill on average" if count else ""


def missing(figures: Figures, duration: float) -> list[str]:
    """Tells what a run of `duration` seconds should have shown and did not: no sentence if all went well."""
    unsettled = figures.asked() - figures.outcomes().total()
    many = "no" if unsettled > 0 else "more than one"
    odd = [f"{abs(unsettled):,} requests had {many} outcome"] if unsettled else []
    return figures.complaints + odd + unseen(figures, duration)


def unseen(figures: Figures, duration: float) -> list[str]:
    """Tells what a run of `duration` seconds is to show and has not shown yet."""
    checks = {
        "no readings arrived": figures.readings_count > 0,
        "no request was answered": figures.outcomes()["replied"] > 0,
        "no readings arrived over the WebSocket": figures.remote_readings > 0,
        "no request was answered over the WebSocket": figures.remote_answers > 0,
        "the visitor did not come and go": figures.came["visitor"] > 0 and figures.went["visitor"] > 0,
        "no report of the visitor came": figures.visits > 0,
    }
    if duration >= KILL_DURATION_S:
        checks["the victim was not killed"] = figures.kills > 0
        checks["the victim did not come back after kill -9"] = figures.returns > 0
    if figures.board_expected and duration >= KILL_DURATION_S:
        checks["nothing came from the board"] = figures.board_count > 0
        checks["the board answered no request"] = _answered(figures, "lab/pump") > 0
    return [sentence for sentence, holds in checks.items() if not holds]


def _answered(figures: Figures, endpoint: str) -> int:
    outcomes = figures.requests.get(endpoint, Tally()).outcomes
    return outcomes["replied"] + outcomes["error"]
