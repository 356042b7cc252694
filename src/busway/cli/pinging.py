"""`busway ping`: round trips to a node, measured by asking its introspection endpoint."""

from __future__ import annotations

import asyncio
import math
import time

import click

from busway.adapters.asyncio import AsyncBus
from busway.adapters.records import NodeInfo
from busway.cli import completing, failures, output, session
from busway.cli.failures import Failure
from busway.cli.options import Examples, Place, interval_option, joins, json_option, timeout_option
from busway.cli.survey import OTHER_VERSION, SILENT, survey
from busway.errors import BusError, Undeliverable
from busway.protocol import codes

_LOOK_S = 0.2  # for the question who else is there


class Tally:
    """Counts and times of one run; times in ms."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.asked = 0
        self.times: list[float] = []

    @property
    def lost_percent(self) -> float:
        return 100 * (self.asked - len(self.times)) / self.asked if self.asked else 0.0

    def summary(self) -> dict[str, float]:
        """min, avg, max and mdev, the standard deviation as ping(8) has it; {} without replies."""
        times = self.times
        if not times:
            return {}
        mean = sum(times) / len(times)
        deviation = math.sqrt(sum((each - mean) ** 2 for each in times) / len(times))
        return {"min_ms": min(times), "avg_ms": mean, "max_ms": max(times), "mdev_ms": deviation}

    def status(self) -> int:
        return failures.OK if self.times else failures.UNKNOWN


@click.command(cls=Examples)
@click.argument("target", metavar="NODE|ENDPOINT", shell_complete=completing.either)
@click.option(
    "-c", "--count", type=click.IntRange(min=1), metavar="N", help="Stop after N requests.  [default: never]"
)
@interval_option(0, "Seconds from one request to the next.")
@timeout_option(2.0, "How long to wait for each reply, in seconds.")
@json_option("One JSON document a line for each request, and one with the statistics.")
@joins
def ping(place: Place, target: str, count: int | None, interval: float, timeout: float, as_json: bool) -> int:
    """Examples:
      busway ping readings                 a node by its label, or the beginning of it
      busway ping 3f2a                     or by the beginning of its id
      busway ping lab/pump -c 10 -i 0.1    the nodes that hold an endpoint, in turn
      busway ping readings -c 5 --json | tail -n 1

    What is measured is a request to the node's introspection endpoint, so it answers whatever the program
    does unless it is stopped or busy. Exit status 0 if a reply came, 3 if none, 1 if there is no such node.
    """
    tally = Tally()

    async def job(bus: AsyncBus) -> int:
        targets = await _targets(bus, target)
        if not as_json:
            shown = ", ".join(output.node_text(node.id, node.label) for node in targets)
            output.say(f"PING {output.printable(target)} ({shown}) on bus {place.bus!r}")
        tally.began = time.monotonic()
        try:
            await _ping(bus, targets, tally, count, interval, timeout, as_json)
        finally:
            _conclude(target, tally, as_json)
        return tally.status()

    status = session.run(place, "ping", job, endless=count is None)
    return tally.status() if status == failures.OK else status


async def _targets(bus: AsyncBus, target: str) -> list[NodeInfo]:
    """The nodes to ask. A stopped program is told apart from one that is not there."""
    there = session.others(bus)
    try:
        held = session.holders(bus, target)
    except ValueError:
        held = []
    found = [node for node in there if node.id in held] or session.matching(target, there)
    if len(found) > 1 and not held:
        session.one_node(bus, target)  # raises: which one?
    if found:
        return found
    silent = {each.id: each for each in await survey(bus, _LOOK_S) if each.answer in (SILENT, OTHER_VERSION)}
    if matching := session.matching(target, [each.info for each in silent.values()]):
        reason = silent[matching[0].id].reason
        why = reason or "is there and does not answer: is its program stopped, or busy?"
        raise Failure(failures.UNKNOWN, f"node {target} {why}")
    raise Failure(
        failures.NEGATIVE,
        f"no node or endpoint matches {target!r}; `busway nodes` and `busway endpoints` list them",
        "NO_NODE",
    )


async def _ping(
    bus: AsyncBus,
    targets: list[NodeInfo],
    tally: Tally,
    count: int | None,
    interval: float,
    timeout: float,
    as_json: bool,
) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while count is None or tally.asked < count:
        await asyncio.sleep(max(0.0, due - loop.time()))
        due = max(due + interval, loop.time())
        node = targets[tally.asked % len(targets)]
        tally.asked += 1
        spent_ms = await _round_trip(bus, node, timeout)
        if spent_ms is not None:
            tally.times.append(spent_ms)
        _tell(node, tally.asked, spent_ms, as_json)
        if spent_ms is None and all(node.id not in {each.id for each in bus.nodes()} for node in targets):
            raise Failure(
                failures.NEGATIVE, f"{output.node_text(node.id, node.label)} has left the bus", "NO_ROUTE"
            )


async def _round_trip(bus: AsyncBus, node: NodeInfo, timeout: float) -> float | None:
    """Milliseconds; None without an answer. That the node keeps its state to itself is an answer, too."""
    began = time.perf_counter()
    try:
        await bus.request(codes.INTROSPECTION, None, node=node.id, timeout=timeout)
    except BusError as error:
        if not isinstance(error, Undeliverable) or error.reason != codes.NO_ENDPOINT:
            return None
    return (time.perf_counter() - began) * 1000


def _tell(node: NodeInfo, number: int, spent_ms: float | None, as_json: bool) -> None:
    if as_json:
        rounded = None if spent_ms is None else round(spent_ms, 3)
        output.say_json(
            {"seq": number, "node": output.uuid_text(node.id), "label": node.label, "ms": rounded}
        )
        return
    time_text = click.style("no answer", fg="red") if spent_ms is None else f"time={spent_ms:.3f} ms"
    output.say(f"{output.node_text(node.id, node.label)}: seq={number} {time_text}")


def _conclude(target: str, tally: Tally, as_json: bool) -> None:
    summary = tally.summary()
    if as_json:
        counts = {
            "asked": tally.asked,
            "replied": len(tally.times),
            "lost_percent": round(tally.lost_percent, 1),
        }
        output.say_json(counts | {name: round(value, 3) for name, value in summary.items()})
        return
    spent = (time.monotonic() - tally.began) * 1000
    output.say(f"\n--- {output.printable(target)} ping statistics ---")
    replies, lost = len(tally.times), f"{tally.lost_percent:.0f} % lost"
    output.say(f"{tally.asked} requests, {replies} replies, {lost}, time {spent:.0f} ms")
    if summary:
        output.say(
            "round trip min/avg/max/mdev = " + "/".join(f"{value:.3f}" for value in summary.values()) + " ms"
        )
