"""nats-py and a nats-server, over TCP on the loopback, which is what that server has."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import nats
from nats.aio.msg import Msg

from benchmarks.bench.brokers import nats_url, version_of
from benchmarks.bench.proof import Job, found
from benchmarks.bench.systems.roles import AsyncRole

WAY, TRIP, FEED = "bench.way", "bench.trip", "bench.feed"


class _Client(AsyncRole):
    async def open(self) -> None:
        self.client = await nats.connect(nats_url(self.place))
        self.stack.push_async_callback(self.client.close)

    def about(self) -> str:
        return f"nats-py {importlib.metadata.version('nats-py')}, {version_of('nats-server')}"


class Near(_Client):
    """Takes what is sent, and answers."""

    async def open(self) -> None:
        await super().open()
        self.messages = (await self.client.subscribe(WAY)).messages
        await self.client.subscribe(TRIP, cb=self._echo)
        await self.client.flush()
        await self.client.flush()  # its first PING may have gone before what was to be written

    async def _echo(self, message: Msg) -> None:
        await message.respond(message.data)

    async def way(self, job: Job) -> dict[str, Any]:
        reader, left = job.reader(), job.count
        async for message in self.messages:
            if reader is not None:
                reader(message.data)
            left -= 1
            if not left:
                break
        return found(reader)

    async def trip(self, job: Job) -> None:
        """It answers whenever it is asked."""


class Far(_Client):
    """Sends, and asks."""

    async def way(self, job: Job) -> None:
        publish = self.client.publish
        for payload in job.payloads():
            await publish(WAY, payload)
        await self.client.flush()

    async def trip(self, job: Job) -> dict[str, Any]:
        request, reader, watch = self.client.request, job.reader(), job.watch()
        for payload in job.payloads():
            reply = await request(TRIP, payload)
            if reader is not None:
                reader(reply.data)
            if watch is not None:
                watch.lap()
        return found(reader, watch)


class Subscriber(_Client):
    """One of many that get a copy of all that is published."""

    async def open(self) -> None:
        await super().open()
        self.messages = (await self.client.subscribe(FEED)).messages
        await self.client.flush()

    way = Near.way
    feed = way


class Publisher(_Client):
    async def meet(self, job: Job) -> None:
        """All subscribers have flushed: the server knows them."""

    async def feed(self, job: Job) -> None:
        publish = self.client.publish
        for payload in job.payloads():
            await publish(FEED, payload)
        await self.client.flush()
