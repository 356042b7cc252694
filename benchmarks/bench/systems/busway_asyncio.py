"""Busway's asyncio interface. Both sides find each other by themselves, over a Unix socket."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Any

import busway
from benchmarks.bench.proof import Job, found
from benchmarks.bench.systems.roles import AsyncRole
from busway import about

WAY, TRIP, FEED = "bench/way", "bench/trip", "bench/feed"
FOUND_S, KNOWN_S = 10.0, 60.0
FED_S = 60.0  # a round of copies takes a third of a second


class Member(AsyncRole):
    """A program on the bus."""

    bus: busway.AsyncBus

    async def open(self) -> None:
        self.bus = await self.stack.enter_async_context(busway.AsyncBus("bench"))

    def about(self) -> str:
        return about.line()

    async def know(self, name: str, count: int) -> None:
        """Until there are so many endpoints whose names begin with this."""
        async with asyncio.timeout(KNOWN_S):
            while sum(one.name.startswith(name) for one in self.bus.endpoints()) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # to look after each change would be quadratic


class Near(Member):
    """Takes what is sent, and answers."""

    async def open(self) -> None:
        await super().open()
        self.receiver = self.bus.register(WAY)
        self.bus.serve(TRIP, self._echo)

    def _echo(self, request: busway.Request) -> object:
        return request.payload

    async def way(self, job: Job) -> dict[str, Any]:
        receive, reader = self.receiver.receive, job.reader()
        if reader is None:
            for _ in range(job.count):
                await receive()
        else:
            for _ in range(job.count):
                reader((await receive()).payload)
        return found(reader)

    async def bulk(self, job: Job) -> dict[str, Any]:
        receive_many, reader = self.receiver.receive_many, job.reader()
        left = job.count
        while left:
            messages = await receive_many(min(job.batch, left))
            left -= len(messages)
            if reader is not None:
                for message in messages:
                    reader(message.payload)
        return found(reader)

    async def trip(self, job: Job) -> None:
        """It answers whenever it is asked."""

    trips = trip


class Far(Member):
    """Sends, and asks."""

    async def open(self) -> None:
        await super().open()
        await self.bus.request(TRIP, bytes(16), ttl=FOUND_S)

    async def way(self, job: Job) -> None:
        send = self.bus.send
        for payload in job.payloads():
            await send(WAY, payload)

    async def bulk(self, job: Job) -> None:
        send_many, payloads = self.bus.send_many, job.payloads()
        while batch := list(islice(payloads, job.batch)):
            await send_many(WAY, batch)

    async def trip(self, job: Job) -> dict[str, Any]:
        request, reader, watch = self.bus.request, job.reader(), job.watch()
        for payload in job.payloads():
            reply = await request(TRIP, payload)
            if reader is not None:
                reader(reply)
            if watch is not None:
                watch.lap()
        return found(reader, watch)

    async def trips(self, job: Job) -> dict[str, Any]:
        """Round trips of which `job.others` are under way at any time; each task looks at its own."""
        payloads, request, came = job.payloads(), self.bus.request, [0]

        async def ask() -> None:
            for payload in payloads:
                if await request(TRIP, payload) != payload:
                    raise ValueError("an answer is not that of its own question")
                came[0] += 1

        await asyncio.gather(*(ask() for _ in range(job.others)))
        return {"came": came[0]}


class Subscriber(Member):
    """One of many that get a copy of all that is published."""

    async def open(self) -> None:
        await super().open()
        self.receiver = self.bus.subscribe(FEED)

    async def feed(self, job: Job) -> dict[str, Any]:
        receive, reader = self.receiver.receive, job.reader()
        try:
            async with asyncio.timeout(FED_S):  # else it would wait for what was missed
                if reader is None:
                    for _ in range(job.count):
                        await receive()
                else:
                    for _ in range(job.count):
                        reader((await receive()).payload)
        except TimeoutError:
            raise ValueError(f"not all of {job.count} copies came within {FED_S:.0f} s") from None
        return found(reader)


class Publisher(Member):
    async def meet(self, job: Job) -> None:
        """Until it knows all subscribers."""
        await self.know(FEED, job.others)

    async def feed(self, job: Job) -> None:
        publish = self.bus.publish
        for payload in job.payloads():
            await publish(FEED, payload)
