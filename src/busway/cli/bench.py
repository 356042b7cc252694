"""`busway bench`: throughput and latency of one link, bounded in time. Measures with the bus's own calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import click

import busway
from busway.adapters.asyncio import AsyncBus
from busway.adapters.dialled import DialledLink
from busway.cli import failures, output, session
from busway.cli.options import Accept, Examples, Place, joins, json_option, listens, refuse_beside

ECHO = "busway/bench/echo"
SINK = "busway/bench/sink"
_WARM_UP = 3  # requests that do not count: the first ones open credit and aliases
_UNDER_WAY = 64  # sends between two questions whether they have arrived
_FOUND_S = 3.0  # how long the far end's endpoints are waited for


@click.command(cls=Examples)
@click.argument("target", metavar="URL")
@click.option("--serve", is_flag=True, help="Listen at URL and answer, until interrupted.")
@listens
@click.option(
    "--size",
    "sizes",
    type=click.IntRange(0, 4_194_304),
    multiple=True,
    default=(16, 1024, 16384),
    show_default=True,
    metavar="BYTES",
    help="Payload; may be given several times.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 60),
    default=1.0,
    show_default=True,
    metavar="S",
    help="For each size, in each of both ways.",
)
@json_option("One JSON document.")
@joins
def bench(
    place: Place,
    target: str,
    serve: bool,
    accept: Accept,
    sizes: tuple[int, ...],
    seconds: float,
    as_json: bool,
) -> int:
    """Examples:
      busway bench --serve tcp://127.0.0.1:7000       at one end: answers until it is interrupted
      busway bench tcp://127.0.0.1:7000               at the other: measures for 2 seconds a size
      busway bench ws://lab:8765 --size 16 --size 65536 --seconds 5 --json

    Opens a link of its own to URL and measures that link: round trips one after the other (median and 99 %),
    and messages one way, confirmed by the far end at the end of each 64. Sizes are bytes of payload. Any
    other Busway program at the far end will do for round trips: the node answers them itself, which is shown
    as size 0.
    """
    accept.check((target,) if serve else ())
    if serve:
        refuse_beside("--serve", "sizes", "seconds")

    async def job(bus: AsyncBus) -> int:
        if serve:
            return await _serve(bus, target, place, accept, as_json)
        link = await session.connect(bus, target, place, retry=None)
        found = await Measurement(bus, link, seconds).run(sizes)
        _show(link, found, as_json)
        return failures.OK

    return session.run(place, "bench", job, leaf=False, endless=serve, alone=True, links=(target,))


async def _serve(bus: AsyncBus, url: str, place: Place, accept: Accept, as_json: bool) -> int:
    bus.serve(ECHO, _echo, realm="global")
    sink = bus.register(SINK, kind="anycast", realm="global")
    real = await session.listen(bus, url, place, accept)
    if as_json:
        output.say_json({"url": real})
    else:
        output.say(f"answering at {real}")
    async for _ in sink:
        pass
    await asyncio.Event().wait()
    raise AssertionError("it runs until it is interrupted")


async def _echo(request: Any) -> Any:
    return request.payload


class Measurement:
    """Measures one link, size by size."""

    def __init__(self, bus: AsyncBus, link: DialledLink, seconds: float) -> None:
        self._bus = bus
        self._peer = link.peer
        self._seconds = seconds

    async def run(self, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
        """A row for each size; if the far end does not serve, one of size 0: the steps of a trace."""
        if not await self._serves():
            return [{"size": 0} | await self._steps()]
        found = []
        for size in sizes:
            payload = bytes(size)
            row = {"size": size} | await self._round_trips(payload)
            found.append(row | await self._one_way(payload))
        return found

    async def _serves(self) -> bool:
        try:
            async with asyncio.timeout(_FOUND_S):
                await self._bus.request(ECHO, b"", node=self._peer)
        except (busway.Undeliverable, TimeoutError):
            return False
        return True

    async def _round_trips(self, payload: bytes) -> dict[str, Any]:
        async def once() -> float:
            began = time.perf_counter()
            await self._bus.request(ECHO, payload, node=self._peer)
            return time.perf_counter() - began

        return await self._repeat(once)

    async def _steps(self) -> dict[str, Any]:
        async def once() -> float:
            return (await self._bus.trace(ECHO, node=self._peer))[-1].rtt

        return await self._repeat(once)

    async def _repeat(self, once: Callable[[], Awaitable[float]]) -> dict[str, Any]:
        for _ in range(_WARM_UP):
            await once()
        taken: list[float] = []
        end = time.perf_counter() + self._seconds
        while time.perf_counter() < end or not taken:
            taken.append(await once())
        taken.sort()
        return {
            "round_trips": len(taken),
            "rtt_us": round(taken[len(taken) // 2] * 1e6, 1),
            "rtt_99_us": round(taken[len(taken) * 99 // 100] * 1e6, 1),
        }

    async def _one_way(self, payload: bytes) -> dict[str, Any]:
        sent = 0
        began = now = time.perf_counter()
        while now - began < self._seconds:
            for _ in range(_UNDER_WAY - 1):
                await self._bus.send(SINK, payload, node=self._peer)
            await self._bus.send(SINK, payload, node=self._peer, confirm=True)
            sent += _UNDER_WAY
            now = time.perf_counter()
        rate = sent / (now - began)
        return {"sent": sent, "per_second": round(rate), "bytes_per_second": round(rate * len(payload))}


def _show(link: DialledLink, found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        ends = {"url": link.url, "peer": output.uuid_text(link.peer), "label": link.label}
        output.say_json(ends | {"realm": link.realm, "sizes": found})
        return
    output.say(f"{link.url} to {output.node_text(link.peer, link.label)}")
    rows = [
        (
            row["size"],
            f"{row['rtt_us'] / 1000:.3f} ms",
            f"{row['rtt_99_us'] / 1000:.3f} ms",
            f"{row['per_second']:,}" if "per_second" in row else "-",
            output.size_text(row["bytes_per_second"]) + "/s" if "per_second" in row else "-",
        )
        for row in found
    ]
    output.table((">SIZE", ">RTT", ">RTT 99 %", ">MESSAGES/S", ">BYTES"), rows)
