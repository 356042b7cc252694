"""The cost of calling a method over that of asking with the same payload: processor time of both programs.

Usage: python -m benchmarks.services [--rounds 40] [--calls 2000]

Two programs over IPC. One hosts a contract and serves a plain endpoint beside it, the other asks each in
turn, in rounds that follow each other: `await pump.set_speed(300, ramp=0.5)`, and `await bus.request(...)`
with the very same bytes, answered by a coroutine handler that gives the very same bytes. Printed are
microseconds of each side, and the median of what a round costs over the round before it, with its quartiles:
what others do on the machine meanwhile is in both.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import busway

SERVICE, BARE, SPENT = "bench/pump", "bench/bare", "bench/spent"


@dataclass
class Status:
    """The result of a call."""

    rpm: int
    ramp: float


@busway.service(SERVICE, version=1)
class Pump:
    """The contract and the server."""

    async def set_speed(self, rpm: int, *, ramp: float = 0.0) -> Status:
        """Set the speed."""
        return Status(rpm, ramp)


async def bare(request: busway.Request[Any]) -> dict[str, Any]:
    """The same answer, by hand."""
    given = request.payload[1]
    return {"rpm": given["rpm"], "ramp": given["ramp"]}


async def serve(bus_name: str) -> None:
    """The program that answers, until it is ended."""
    async with busway.AsyncBus(bus_name) as bus:
        bus.host(Pump())
        bus.serve(BARE, bare)
        bus.serve(SPENT, lambda _: time.process_time())
        await asyncio.Event().wait()


Spent = tuple[float, float]


async def spent(bus: busway.AsyncBus) -> Spent:
    """Processor seconds so far, of this program and of the other."""
    theirs = await bus.request(SPENT, ttl=10.0)
    return time.process_time(), theirs


async def turn(bus: busway.AsyncBus, call: Callable[[], Awaitable[Any]], calls: int) -> Spent:
    """Microseconds of a call, on both sides."""
    before = await spent(bus)
    for _ in range(calls):
        await call()
    after = await spent(bus)
    mine, theirs = ((late - early) / calls * 1e6 for early, late in zip(before, after, strict=True))
    return mine, theirs


async def measure(bus_name: str, rounds: int, calls: int) -> None:
    """The program that asks; prints what came of it."""
    async with busway.AsyncBus(bus_name) as bus:
        pump = bus.client(Pump)

        def called() -> Awaitable[Status]:
            return pump.set_speed(300, ramp=0.5)

        def asked() -> Awaitable[Any]:
            return bus.request(BARE, ["set_speed", {"rpm": 300, "ramp": 0.5}])

        await spent(bus)
        assert await called() == Status(300, 0.5)
        assert await asked() == {"rpm": 300, "ramp": 0.5}
        found: dict[str, list[Spent]] = {"request": [], "call": []}
        for _ in range(rounds):
            found["request"].append(await turn(bus, asked, calls))
            found["call"].append(await turn(bus, called, calls))
    show(found)


def show(found: dict[str, list[Spent]]) -> None:
    """A line for each way, and the ratio."""
    print("way", "us of who asks", "us of who answers", "us together", sep="\t")
    for way, turns in found.items():
        mine, theirs = (statistics.median(side) for side in zip(*turns, strict=True))
        together = statistics.median(map(sum, turns))
        print(way, f"{mine:.1f}", f"{theirs:.1f}", f"{together:.1f}", sep="\t")
    ratios = [sum(call) / sum(ask) for call, ask in zip(found["call"], found["request"], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    print(f"call over request\t{statistics.median(ratios):.3f}\t({low:.3f} to {high:.3f})", flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40, help="at least 2")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--serve", metavar="BUS", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.serve:
        asyncio.run(serve(words.serve))
        return
    with tempfile.TemporaryDirectory(prefix="bw-") as directory:
        name = directory.rpartition("-")[2]
        with subprocess.Popen([sys.executable, "-m", "benchmarks.services", "--serve", name]) as server:
            try:
                asyncio.run(measure(name, words.rounds, words.calls))
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
