"""The limit with asyncio: its own streams over a Unix socket, and frames with their length before them."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from benchmarks.bench.proof import Job, found
from benchmarks.bench.systems.raw_blocking import LENGTH
from benchmarks.bench.systems.roles import AsyncRole


class _Streams(AsyncRole):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read(self) -> bytes:
        (size,) = LENGTH.unpack(await self.reader.readexactly(LENGTH.size))
        return await self.reader.readexactly(size)

    def use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.stack.callback(writer.close)


class Near(_Streams):
    """Takes what is sent, and answers."""

    async def open(self) -> None:
        self.came = asyncio.Event()
        server = await asyncio.start_unix_server(self._met, os.path.join(self.place, "raw"))
        self.stack.callback(server.close)

    def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.use(reader, writer)
        self.came.set()

    async def way(self, job: Job) -> dict[str, Any]:
        await self.came.wait()
        reader = job.reader()
        for _ in range(job.count):
            payload = await self.read()
            if reader is not None:
                reader(payload)
        return found(reader)

    async def trip(self, job: Job) -> None:
        await self.came.wait()
        for _ in range(job.count):
            payload = await self.read()
            self.writer.write(LENGTH.pack(len(payload)) + payload)
            await self.writer.drain()


class Far(_Streams):
    """Sends, and asks."""

    async def open(self) -> None:
        self.use(*await asyncio.open_unix_connection(os.path.join(self.place, "raw")))

    async def way(self, job: Job) -> None:
        for payload in job.payloads():
            self.writer.write(LENGTH.pack(len(payload)) + payload)
            await self.writer.drain()

    async def trip(self, job: Job) -> dict[str, Any]:
        reader, watch = job.reader(), job.watch()
        for payload in job.payloads():
            self.writer.write(LENGTH.pack(len(payload)) + payload)
            await self.writer.drain()
            reply = await self.read()
            if reader is not None:
                reader(reply)
            if watch is not None:
                watch.lap()
        return found(reader, watch)
