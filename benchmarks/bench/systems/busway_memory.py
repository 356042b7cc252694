"""Busway programs that tell how much memory they have: those that grow or learn, and many leaves in one."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import busway
from benchmarks.bench.proof import Job
from benchmarks.bench.systems.busway_asyncio import Member

NAME = "bench/many/"
REST_S = 1.0


def private() -> int:
    """Bytes in memory that this process has for itself alone (Linux)."""
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private"))


class Hub(Member):
    """A program, which may register endpoints and wait for those of others."""

    async def open(self) -> None:
        await super().open()
        self.kept: list[object] = []

    async def look(self, job: Job) -> dict[str, int]:
        await asyncio.sleep(REST_S)
        return {"private": private(), "links": len(self.bus.links())}

    async def register(self, job: Job) -> None:
        """So many more."""
        for _ in range(job.count):
            self.kept.append(self.bus.register(f"{NAME}{len(self.kept)}"))
            if len(self.kept) % 100 == 0:
                await asyncio.sleep(0)

    async def learn(self, job: Job) -> None:
        await self.know(NAME, job.count)


class Leaves(Member):
    """Leaves, each with one link to the program that is there; no other node."""

    async def open(self) -> None:
        """None yet."""

    async def join(self, job: Job) -> None:
        for _ in range(job.count):
            await self.stack.enter_async_context(busway.AsyncBus("bench", leaf=True))
