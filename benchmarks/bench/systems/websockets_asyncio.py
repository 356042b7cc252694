"""PyPI's websockets alone, without a bus: a server and a client, nothing compressed."""

from __future__ import annotations

import asyncio
import importlib.metadata
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.bench.proof import Job, found
from benchmarks.bench.systems.busway_lines import address_in
from benchmarks.bench.systems.roles import AsyncRole


def about() -> str:
    return f"websockets {importlib.metadata.version('websockets')}"


class Near(AsyncRole):
    """Takes what is sent, and answers."""

    async def open(self) -> None:
        self.came = asyncio.Event()
        serving = serve(self._met, "127.0.0.1", 0, compression=None, max_size=None)
        server = await self.stack.enter_async_context(serving)
        port = next(iter(server.sockets)).getsockname()[1]
        Path(self.place, "near").write_text(f"ws://127.0.0.1:{port}")  # noqa: ASYNC240 - as above

    def about(self) -> str:
        return about()

    async def _met(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.came.set()
        await connection.wait_closed()

    async def way(self, job: Job) -> dict[str, Any]:
        await self.came.wait()
        receive, reader = self.connection.recv, job.reader()
        for _ in range(job.count):
            payload = await receive(decode=False)
            if reader is not None:
                reader(payload)
        return found(reader)

    async def trip(self, job: Job) -> None:
        await self.came.wait()
        for _ in range(job.count):
            await self.connection.send(await self.connection.recv(decode=False))


class Far(AsyncRole):
    """Sends, and asks."""

    async def open(self) -> None:
        opening = connect(address_in(self.place, "near"), compression=None, max_size=None)
        self.connection = await self.stack.enter_async_context(opening)

    def about(self) -> str:
        return about()

    async def way(self, job: Job) -> None:
        for payload in job.payloads():
            await self.connection.send(payload)

    async def trip(self, job: Job) -> dict[str, Any]:
        reader, watch = job.reader(), job.watch()
        for payload in job.payloads():
            await self.connection.send(payload)
            reply = await self.connection.recv(decode=False)
            if reader is not None:
                reader(reply)
            if watch is not None:
                watch.lap()
        return found(reader, watch)
