"""The live view in a terminal, or a plain line a second elsewhere. Knows the figures, not their origin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from busway.demo.figures import OUTCOMES, Figures, Tally
from busway.demo.report import board_text, plain_line, warmest

DRAW_S = 0.5
LINE_S = 1.0
_NODES_SIZE, _REQUESTS_SIZE = 11, 9  # rows
_GIB = 2**30


def shower(console: Console, bus_name: str) -> Callable[[Figures], Coroutine[Any, Any, None]]:
    """Shows the figures on this console until it is cancelled."""
    screen = console.is_terminal and not console.is_dumb_terminal

    async def show(figures: Figures) -> None:
        await (_draw(console, bus_name, figures) if screen else _print_lines(bus_name, figures))

    return show


async def _print_lines(bus_name: str, figures: Figures) -> None:
    print(f"From another terminal: busway nodes --bus {bus_name}", flush=True)
    print(f"In a browser: {figures.page}", flush=True)
    while True:
        await asyncio.sleep(LINE_S)
        print(plain_line(figures), flush=True)


async def _draw(console: Console, bus_name: str, figures: Figures) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            figures.draws += 1
            live.update(screen_of(figures, bus_name), refresh=True)
            await asyncio.sleep(DRAW_S)


def screen_of(figures: Figures, bus_name: str) -> Layout:
    """The whole screen."""
    screen = Layout()
    screen.split_column(
        Layout(_head(figures, bus_name), size=3),
        Layout(name="top", size=_NODES_SIZE),
        Layout(name="middle", minimum_size=8),
        Layout(
            _panel("Requests of this process, round trips in ms", _requests(figures)), size=_REQUESTS_SIZE
        ),
    )
    screen["top"].split_row(
        Layout(_panel("Nodes", _nodes(figures)), ratio=3),
        Layout(_panel("This machine, as published", _machine(figures)), ratio=2),
    )
    screen["middle"].split_row(
        Layout(_panel("Endpoints", _endpoints(figures)), ratio=3),
        Layout(_panel("Lately", _notes(figures)), ratio=2),
    )
    return screen


def _panel(title: str, body: RenderableType) -> Panel:
    return Panel(body, title=f"[bold]{title}[/]", title_align="left", border_style="dim")


def _table(*columns: str, left: Iterable[int] = (0,)) -> Table:
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="dim")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number in left else "right", no_wrap=True)
    return table


def _head(figures: Figures, bus_name: str) -> Table:
    head = Table.grid(expand=True)
    head.add_column()
    head.add_column(justify="right")
    head.add_row(
        Text.assemble(
            (" Busway demo ", "bold reverse"), f'  bus "{bus_name}"  ', (_age(figures.age), "bold")
        ),
        Text.assemble(("Ctrl-C", "bold"), " ends it "),
    )
    head.add_row(
        Text.assemble(" From another terminal: ", (f"busway nodes --bus {bus_name}", "cyan")),
        Text(f"joined {figures.came.total()}  left {figures.went.total()}  killed {figures.kills} "),
    )
    head.add_row(
        Text.assemble(" In a browser: ", (figures.page, "cyan")),
        Text(f"{figures.remote_readings:,} readings over ws:// "),
    )
    return head


def _nodes(figures: Figures) -> Table:
    table = _table("node", "id", "up since", "for", "links", left=(0, 1))
    for node, seen in sorted(figures.nodes.items(), key=lambda item: item[1].since):
        name = Text.assemble(seen.label, (" (this one)" if seen.me else "", "dim"))
        since = time.strftime("%H:%M:%S", time.localtime(seen.since))
        table.add_row(name, node.hex()[:8], since, _age(time.time() - seen.since), str(seen.links or ""))
    return table


def _age(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _machine(figures: Figures) -> RenderableType:
    readings = figures.readings
    if readings is None:
        return Text("nothing yet", "dim")
    table = Table.grid(expand=True, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(ratio=1)
    table.add_row("cpu", _bar(readings.cpu_percent))
    table.add_row("memory", _bar(readings.memory_percent))
    table.add_row("", f"of {readings.memory_size / _GIB:.1f} GiB")
    table.add_row("load", "  ".join(f"{load:.2f}" for load in readings.load))
    table.add_row("warmest", warmest(readings))
    table.add_row("readings", f"{figures.readings_count:,}, {figures.readings_missed:,} missed")
    if figures.board_expected:
        table.add_row("board", board_text(figures))
    return table


def _bar(percent: float) -> Table:
    row = Table.grid(expand=True, padding=(0, 1, 0, 0))
    row.add_column(width=6, justify="right")
    row.add_column(ratio=1)
    row.add_row(f"{percent:.0f} %", ProgressBar(total=100, completed=percent))
    return row


def _endpoints(figures: Figures) -> Table:
    table = _table("endpoint", "kind", "held by", "msg/s", "total", left=(0, 1, 2))
    for name, traffic in sorted(figures.traffic.items()):
        table.add_row(
            name,
            traffic.kind,
            ", ".join(sorted(traffic.holders)) or Text("nobody now", "red"),
            f"{traffic.rate:,.0f}",
            f"{traffic.total:,}",
        )
    return table


def _requests(figures: Figures) -> Table:
    table = _table("to", "asked", *OUTCOMES, "min", "median", "p99")
    for name, tally in sorted(figures.requests.items()):
        table.add_row(name, f"{tally.asked:,}", *_outcomes(tally), *_times(tally))
    return table


def _outcomes(tally: Tally) -> list[Text]:
    good = ("replied",)
    return [
        Text(
            f"{tally.outcomes[name]:,}",
            "green" if name in good else "yellow" if tally.outcomes[name] else "dim",
        )
        for name in OUTCOMES
    ]


def _times(tally: Tally) -> list[str]:
    times = tally.round_trips
    return [f"{seconds * 1000:.2f}" for seconds in (times.least, *times.quantiles(0.5, 0.99))]


def _notes(figures: Figures) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for when, sentence in reversed(figures.notes):
        style = "red" if "kill" in sentence else "green" if sentence.endswith("joined") else ""
        table.add_row(Text(time.strftime("%H:%M:%S", time.localtime(when)), "dim"), Text(sentence, style))
    return table
