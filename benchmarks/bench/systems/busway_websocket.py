"""Busway over a WebSocket link on the loopback, encrypted as all links beyond one machine's sockets are."""

from __future__ import annotations

from pathlib import Path

import busway
from benchmarks.bench.systems import busway_asyncio
from benchmarks.bench.systems.busway_asyncio import FOUND_S, TRIP, WAY
from benchmarks.bench.systems.busway_lines import address_in


class Near(busway_asyncio.Near):
    """Listens, takes what is sent, and answers."""

    async def open(self) -> None:
        self.bus = await self.stack.enter_async_context(busway.AsyncBus("bench", ipc=False))
        self.receiver = self.bus.register(WAY, realm="global")
        self.bus.serve(TRIP, self._echo, realm="global")
        listener = await self.bus.listen("ws://127.0.0.1:0")
        Path(self.place, "near").write_text(listener.url)  # noqa: ASYNC240 - it is about to wait for the other


class Far(busway_asyncio.Far):
    async def open(self) -> None:
        self.bus = await self.stack.enter_async_context(busway.AsyncBus("bench", ipc=False))
        await self.bus.connect(address_in(self.place, "near"))
        await self.bus.request(TRIP, bytes(16), ttl=FOUND_S)
