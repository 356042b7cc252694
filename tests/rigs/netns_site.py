"""Twelve programs on three machines whose gateways are joined by TCP in a triangle, under load; the gateway
that the traffic crosses is killed. What a test and a benchmark share; it judges nothing.

Machine one has a gateway, two servers and the client; two has two gateways, the second joined to machine
three only, and three servers; three has a gateway and two servers. The client asks a server of machine two.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import Counter
from dataclasses import dataclass

from .netns import Machine, machines
from .tree import ROOT

PORT = 7400
LOAD = 32  # requests under way at once
TIMEOUT_S = 20.0  # of each of them
PATIENCE_S = 60.0  # for a program to say that it is ready
PROGRAM = str(ROOT / "tests" / "rigs" / "netns_program.py")


@dataclass
class Outcome:
    """The result of a run."""

    asked: int
    kinds: Counter[str]
    gap_s: float  # longest time without an answer
    way_before: list[str]
    way_after: list[str]

    @property
    def silent(self) -> int:
        """Requests that nothing was heard of."""
        return self.asked - self.kinds.total()


class Site:
    """Programs, all of which end with the stack."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self.stack = stack

    async def start(self, machine: Machine, *words: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *machine.prefix(),
            *(sys.executable, PROGRAM, *words),
            env={**os.environ, **machine.environment(), "PYTHONPATH": str(ROOT / "src")},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self.stack.push_async_callback(_end, process)
        return process

    async def gateway(self, machine: Machine, port: int, *others: str) -> asyncio.subprocess.Process:
        process = await self.start(machine, "gateway", str(port), *others)
        await line(process, "joined")
        return process


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


async def line(process: asyncio.subprocess.Process, wanted: str) -> list[str]:
    """The rest of the next line that begins with that word."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        while words := (await process.stdout.readline()).decode().split():
            if words[0] == wanted:
                return words[1:]
    raise AssertionError(f"a program ended before it said {wanted!r}")


async def run(seconds: float, ttl: float = 0.0) -> Outcome:
    """Load for so long, with the kill in its middle; each request may wait `ttl` seconds for its endpoint."""
    with machines(3) as (one, two, three):
        async with contextlib.AsyncExitStack() as stack:
            site = Site(stack)
            url = {machine.name: f"tcp://{machine.address}:{PORT}" for machine in (one, two, three)}
            await site.gateway(one, PORT)
            crossed = await site.gateway(two, PORT, url[one.name])
            await site.gateway(three, PORT, url[one.name], url[two.name])
            await site.gateway(two, PORT + 1, url[three.name])
            places = (one, one, two, two, two, three, three)
            names = [f"service/{number}" for number in range(len(places))]
            servers = [await site.start(*pair) for pair in _commands(places, names)]
            for server in servers:
                await line(server, "serving")
            client = await site.start(one, "client", names[2], str(LOAD), str(TIMEOUT_S), str(ttl))
            return await _strike(client, crossed, seconds)


def _commands(places: tuple[Machine, ...], names: list[str]) -> list[tuple[Machine, str, str]]:
    return [(place, "server", name) for place, name in zip(places, names, strict=True)]


async def _strike(
    client: asyncio.subprocess.Process, crossed: asyncio.subprocess.Process, seconds: float
) -> Outcome:
    way_before = await line(client, "way")
    await asyncio.sleep(seconds / 2)
    crossed.kill()
    await asyncio.sleep(seconds / 2)
    assert client.stdin is not None
    client.stdin.write(b"end\n")
    way_after = await line(client, "way")
    asked, gap, *kinds = await line(client, "asked")
    return Outcome(int(asked), Counter(json.loads(" ".join(kinds))), float(gap), way_before, way_after)
