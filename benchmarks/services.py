"""The cost of calling a method over that of asking with the same payload: processor time of both programs.

Usage: python -m benchmarks.services [--threads] [--rounds 40] [--calls 500]

Two programs over IPC. One hosts a contract and serves a plain endpoint beside it, the other asks each in
turn, in rounds that follow each other: `await pump.set_speed(300, ramp=0.5)`, and `await bus.request(...)`
with the very same bytes, answered by a coroutine handler that gives the very same bytes. Printed are
microseconds of each side, and the median of what a round costs over the round before it, with its quartiles:
what others do on the machine meanwhile is in both. With --threads both are of `busway.Bus`.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import threading
import time
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


@busway.service(SERVICE, version=1)
class ThreadPump:
    """The same for threads."""

    def set_speed(self, rpm: int, *, ramp: float = 0.0) -> Status:
        """Set the speed."""
        return Status(rpm, ramp)


async def bare(request: busway.Request[Any]) -> dict[str, Any]:
    """The same answer, by hand."""
    given = request.payload[1]
    return {"rpm": given["rpm"], "ramp": given["ramp"]}


def blocking_bare(request: busway.Request[Any]) -> dict[str, Any]:
    """The same for threads."""
    given = request.payload[1]
    return {"rpm": given["rpm"], "ramp": given["ramp"]}


async def serve(bus_name: str) -> None:
    """The program that answers, until it is ended."""
    async with busway.AsyncBus(bus_name) as bus:
        bus.host(Pump())
        bus.serve(BARE, bare)
        bus.serve(SPENT, lambda _: time.process_time())
        await asyncio.Event().wait()


def serve_threads(bus_name: str) -> None:
    """The same for threads."""
    with busway.Bus(bus_name) as bus:
        bus.host(ThreadPump())
        bus.serve(BARE, blocking_bare)
        bus.serve(SPENT, lambda _: time.process_time())
        threading.Event().wait()


Spent = tuple[float, float]
ARGUMENTS = ["set_speed", {"rpm": 300, "ramp": 0.5}]


def each(before: Spent, after: Spent, calls: int) -> Spent:
    """Microseconds of a call, on both sides."""
    mine, theirs = ((late - early) / calls * 1e6 for early, late in zip(before, after, strict=True))
    return mine, theirs


async def measure(bus_name: str, rounds: int, calls: int) -> None:
    """The program that asks; prints what came of it."""
    async with busway.AsyncBus(bus_name) as bus:
        pump = bus.client(Pump)

        async def spent() -> Spent:
            theirs: float = await bus.request(SPENT, ttl=10.0)
            return time.process_time(), theirs

        await spent()
        found: dict[str, list[Spent]] = {"request": [], "call": []}
        for _ in range(rounds):
            began = await spent()
            for _ in range(calls):
                assert await bus.request(BARE, ARGUMENTS) is not None
            between = await spent()
            for _ in range(calls):
                assert await pump.set_speed(300, ramp=0.5) is not None
            found["request"].append(each(began, between, calls))
            found["call"].append(each(between, await spent(), calls))
    show(found)


def measure_threads(bus_name: str, rounds: int, calls: int) -> None:
    """The same for threads."""
    with busway.Bus(bus_name) as bus:
        pump = bus.client(ThreadPump)

        def spent() -> Spent:
            theirs: float = bus.request(SPENT, ttl=10.0)
            return time.process_time(), theirs

        spent()
        found: dict[str, list[Spent]] = {"request": [], "call": []}
        for _ in range(rounds):
            began = spent()
            for _ in range(calls):
                assert bus.request(BARE, ARGUMENTS) is not None
            between = spent()
            for _ in range(calls):
                assert pump.set_speed(300, ramp=0.5) is not None
            found["request"].append(each(began, between, calls))
            found["call"].append(each(between, spent(), calls))
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
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--threads", action="store_true", help="of busway.Bus, not of busway.AsyncBus")
    parser.add_argument("--serve", metavar="BUS", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.serve:
        serve_threads(words.serve) if words.threads else asyncio.run(serve(words.serve))
        return
    with tempfile.TemporaryDirectory(prefix="bw-") as directory:
        name = directory.rpartition("-")[2]
        command = [sys.executable, "-m", "benchmarks.services", "--serve", name]
        with subprocess.Popen([*command, *(["--threads"] if words.threads else [])]) as server:
            try:
                if words.threads:
                    measure_threads(name, words.rounds, words.calls)
                else:
                    asyncio.run(measure(name, words.rounds, words.calls))
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
