"""Busway with many endpoints in one program, to which another sends in turn.

One task takes from all of them, in the order in which they are sent to: what is compared is the bus, not how
an event loop wakes tasks.
"""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.bench.proof import Job, found
from benchmarks.bench.systems.busway_asyncio import Member

NAME = "bench/turn/"


class Near(Member):
    """Registers more endpoints as they are asked for."""

    async def open(self) -> None:
        await super().open()
        self.receivers = [self.bus.register(f"{NAME}0")]

    async def grow(self, job: Job) -> None:
        for number in range(len(self.receivers), job.others):
            self.receivers.append(self.bus.register(f"{NAME}{number}"))
            if number % 100 == 0:
                await asyncio.sleep(0)

    async def turn(self, job: Job) -> dict[str, Any]:
        receivers, others, reader = self.receivers, job.others, job.reader()
        for number in range(job.count):
            message = await receivers[number % others].receive()
            if reader is not None:
                reader(message.payload)
        return found(reader)


class Far(Member):
    async def grow(self, job: Job) -> None:
        """Until it knows all endpoints."""
        await self.know(NAME, job.others)

    async def turn(self, job: Job) -> None:
        names, send = [f"{NAME}{number}" for number in range(job.others)], self.bus.send
        for number, payload in enumerate(job.payloads()):
            await send(names[number % job.others], payload)
