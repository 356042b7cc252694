"""`busway monitor`: the bus as it lives: a screen with tables, or without a terminal one line a look."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from busway.adapters.asyncio import AsyncBus
from busway.cli import failures, output, session
from busway.cli.boardlog import follow
from busway.cli.options import (
    Examples,
    Place,
    interval_option,
    joins,
    json_option,
    node_option,
    refuse_beside,
    timeout_option,
)
from busway.cli.rates import Rates, View
from busway.cli.survey import chosen, survey
from busway.drivers.extras import missing

if TYPE_CHECKING:
    from busway.cli.monitor_screen import MonitorApp

    Watch = Callable[[Callable[[View], None]], Coroutine[Any, Any, None]]

_BUSIEST = 3  # endpoints that a plain line names


@click.command(cls=Examples)
@interval_option(0.1, "Seconds from one look to the next.")
@click.option(
    "-c", "--count", type=click.IntRange(min=1), metavar="N", help="Leave after N looks, or lines of --log."
)
@node_option("Only these nodes: a label, or the beginning of an id or label.")
@click.option("--log", "logs", is_flag=True, help="Show what boards print, line by line, instead.")
@timeout_option(
    None,
    "How long to wait for the nodes' answers, in seconds; with --log: leave after so many."
    "  [default: the interval, at most 2; with --log never]",
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
    """Examples:
      busway monitor
      busway monitor -i 5 >> bus.log
      busway monitor --json -c 2 -i 1 | tail -n 1 | jq .messages_per_s
      busway monitor --log -n lab-pump          what that board prints, its boot messages included

    Every node is asked each interval. Messages count where they are taken: one that is published to three
    subscribers counts three times, and as SENT once, also if nobody subscribes. The first interval has no
    rates yet.

    On a terminal two tables, the busiest first (needs textual, the extra "monitor"):
      q, Ctrl-C  quit                  s  sort by the next column; or click on its title
      /          only names with this  r  the other way round
      Escape     show all again        Tab  the other table; arrows, Page Up and Down scroll
      Space      pause
    ANSWER is ok, or why a node tells no state, as `busway nodes` has it in full: beyond (introspection's
    realm), leaf (a board, say), not reached, no answer, version (another one).
    Elsewhere a line for each interval; Ctrl-C ends it. With --log and --timeout exit status 3 means that the
    time passed before -c lines (without -c: before any) had come.
    """
    if logs:
        refuse_beside("--log", "interval")
    patience = min(interval, 2.0) if timeout is None else timeout
    screen = None if logs or as_json or not _has_screen() else _screen()

    async def job(bus: AsyncBus) -> int:
        if logs:
            return await follow(bus, node, count, timeout, as_json)

        def watch(show: Callable[[View], None]) -> Coroutine[Any, Any, None]:
            return _watch(bus, node, interval, count, patience, show)

        if screen is not None:
            await _show_screen(screen, place.bus, watch)
        else:
            await watch(lambda view: output.say_json(document(view)) if as_json else output.say(line(view)))
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
    loop = asyncio.get_running_loop()
    rates = Rates()
    due = loop.time()
    looks = 0
    while count is None or looks < count:
        await asyncio.sleep(max(0.0, due - loop.time()))
        due = max(due + interval, loop.time())
        found = chosen(await survey(bus, patience), wanted)
        show(rates.view(bus, found, loop.time()))
        looks += 1


def _has_screen() -> bool:
    """Whether somebody looks at a terminal that can show one."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _screen() -> type[MonitorApp]:
    try:
        from busway.cli.monitor_screen import MonitorApp
    except ModuleNotFoundError:
        sentence = missing("the screen of `busway monitor` needs", "monitor")
        raise failures.Failure(
            failures.MISSING, f"{sentence}; `busway monitor | cat` and --json do without"
        ) from None
    return MonitorApp


async def _show_screen(screen: type[MonitorApp], bus: str, watch: Watch) -> None:
    app = screen(bus, watch)
    await app.run_async()
    if app.failure is not None:
        raise app.failure


def document(view: View) -> dict[str, Any]:
    """A view for scripts."""
    nodes = [asdict(node) | {"id": output.uuid_text(node.id)} for node in view.nodes]
    endpoints = [asdict(found) | {"id": output.uuid_text(found.id)} for found in view.endpoints]
    return {
        "time": round(time.time(), 3),
        "messages_per_s": round(view.rate, 3),
        "published_per_s": round(view.sent_rate, 3),
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
        output.counted(view.held, "endpoint"),
        *view.rates,
        *([f"{silent} silent"] if silent else []),
        ", ".join(
            f"{output.printable(found.name) or found.id.hex()[:8]} {found.rate:,.0f}/s" for found in busiest
        ),
    ]
    return "  ".join(parts).rstrip()
