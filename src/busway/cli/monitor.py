"""`busway monitor`: the bus as it lives: a screen that is redrawn, or without a terminal one line a look."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from busway.cli import failures, output
from busway.cli.options import Examples, Place, joins, json_option, node_option, timeout_option

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from busway.adapters.asyncio import AsyncBus
    from busway.cli.rates import View

_BUSIEST = 3  # endpoints that a plain line names

_EXAMPLES = """\
Examples:
  busway monitor
  busway monitor -i 5 >> bus.log
  busway monitor --json -c 2 -i 1 | tail -n 1 | jq .messages_per_s
  busway monitor --log -n lab-pump          what that board prints, its boot messages included

Every node is asked each interval. Messages count where they are taken: one that is published to three
subscribers counts three times. The first interval has no rates yet. Ctrl-C ends it."""


@click.command(cls=Examples, epilog=_EXAMPLES)
@click.option(
    "-i",
    "--interval",
    type=click.FloatRange(min=0.1, max=86_400),
    default=1.0,
    show_default=True,
    metavar="S",
    help="Seconds from one look to the next.",
)
@click.option(
    "-c", "--count", type=click.IntRange(min=1), metavar="N", help="Leave after N looks, or lines of --log."
)
@node_option("Only these nodes: a label, or the beginning of an id or label.")
@click.option("--log", "logs", is_flag=True, help="Show what boards print, line by line, instead.")
@timeout_option(
    None, "How long to wait for the nodes' answers, in seconds.  [default: the interval, at most 2]"
)
@json_option("One JSON document a line for each interval.")
@joins
def monitor(
    place: Place,
    interval: float,
    count: int | None,
    node: str,
    logs: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Show nodes, endpoints and message rates, live."""
    from busway.cli import session

    patience = min(interval, 2.0) if timeout is None else timeout

    async def job(bus: AsyncBus) -> int:
        if logs:
            from busway.cli.boardlog import follow

            await follow(bus, node, count, as_json)
            return failures.OK
        with _screen(place.bus, as_json) as show:
            await _watch(bus, node, interval, count, patience, show)
        return failures.OK

    # Not as a leaf: those who come later have to find it.
    return session.run(place, "monitor", job, leaf=False, endless=count is None)


async def _watch(
    bus: AsyncBus,
    wanted: str,
    interval: float,
    count: int | None,
    patience: float,
    show: Callable[[View], None],
) -> None:
    import asyncio

    from busway.cli.rates import Rates
    from busway.cli.session import matching
    from busway.cli.survey import survey

    loop = asyncio.get_running_loop()
    rates = Rates()
    due = loop.time()
    looks = 0
    while count is None or looks < count:
        await asyncio.sleep(max(0.0, due - loop.time()))
        due = max(due + interval, loop.time())
        found = await survey(bus, patience)
        if wanted:
            chosen = matching(wanted, [each.info for each in found])
            found = [each for each in found if each.info in chosen]
        show(rates.view(bus, found, loop.time()))
        looks += 1


@contextlib.contextmanager
def _screen(bus: str, as_json: bool) -> Iterator[Callable[[View], None]]:
    """What to show a view with: JSON lines, a rich screen, or plain lines."""
    if as_json:
        yield lambda view: output.say_json(document(view))
        return
    if not sys.stdout.isatty():
        yield lambda view: output.say(line(view))
        return
    from rich.live import Live

    with Live(screen=True, auto_refresh=False) as live:
        yield lambda view: live.update(_drawn(bus, view), refresh=True)


def document(view: View) -> dict[str, Any]:
    """A view for scripts."""
    nodes = [asdict(node) | {"id": output.uuid_text(node.id)} for node in view.nodes]
    endpoints = [asdict(found) | {"id": output.uuid_text(found.id)} for found in view.endpoints]
    return {
        "time": round(time.time(), 3),
        "messages_per_s": round(view.rate, 3),
        "nodes": [_rounded(node) for node in nodes],
        "endpoints": [_rounded(found) for found in endpoints],
    }


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}


def line(view: View) -> str:
    """A view in one line, for logs: the busiest endpoints by name."""
    busiest = sorted(
        (found for found in view.endpoints if found.rate), key=lambda found: found.rate or 0, reverse=True
    )[:_BUSIEST]
    silent = sum(node.answer == "no answer" for node in view.nodes)
    parts = [
        output.clock_text(),
        output.counted(len(view.nodes), "node"),
        output.counted(len(view.endpoints), "endpoint"),
        f"{view.rate:,.0f} messages/s",
        *([f"{silent} silent"] if silent else []),
        ", ".join(
            f"{output.printable(found.name) or found.id.hex()[:8]} {found.rate:,.0f}/s" for found in busiest
        ),
    ]
    return "  ".join(parts).rstrip()


# The screen


def _drawn(bus: str, view: View) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    head = Text(
        f"bus {output.printable(bus)}  {output.counted(len(view.nodes), 'node')}  "
        f"{output.counted(len(view.endpoints), 'endpoint')}  "
        f"{view.rate:,.0f} messages/s  {time.strftime('%H:%M:%S')}  Ctrl-C ends",
        style="bold",
    )
    return Group(head, Text(), _node_table(view), Text(), _endpoint_table(view))


def _table(*columns: str) -> Table:
    """Columns whose name begins with ">" hold numbers."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            column.lstrip(">"), justify="right" if column.startswith(">") else "left", no_wrap=True
        )
    return table


def _node_table(view: View) -> Table:
    from rich.text import Text

    table = _table(
        "NODE", "ID", "ANSWER", ">LINKS", ">ENDPOINTS", ">OUTSTANDING", ">TAKEN/S", ">IN/S", ">OUT/S"
    )
    for node in view.nodes:
        table.add_row(
            Text(output.printable(node.label) or "?"),
            node.id.hex()[:8],
            Text(node.answer, style="green" if node.answer == "ok" else "red"),
            *(_count(value) for value in (node.links, node.endpoints, node.outstanding)),
            _rate(node.messages_rate),
            *(
                "-" if value is None else output.size_text(value)
                for value in (node.bytes_in_rate, node.bytes_out_rate)
            ),
        )
    return table


def _endpoint_table(view: View) -> Table:
    from rich.text import Text

    table = _table("ENDPOINT", "KIND", "HOLDERS", ">QUEUED", ">TAKEN", ">DROPPED", ">TAKEN/S")
    for found in view.endpoints:
        table.add_row(
            Text(output.printable(found.name) or output.uuid_text(found.id), style="cyan"),
            found.kind,
            Text(output.printable(", ".join(found.holders))),
            *(_count(value) for value in (found.queued, found.taken, found.dropped)),
            _rate(found.rate),
        )
    return table


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
