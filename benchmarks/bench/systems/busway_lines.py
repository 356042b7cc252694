"""Busway over chosen links: far dials near, or a bridge that has a link to near. All over Unix sockets."""

from __future__ import annotations

from pathlib import Path

import busway
from benchmarks.bench.systems import busway_asyncio
from benchmarks.bench.systems.busway_asyncio import FOUND_S, TRIP


def tell_address(bus: busway.AsyncBus, place: str, name: str) -> None:
    """Writes which socket leads to this node into the team's folder."""
    [socket] = Path(place).glob(f"b/*/{bus.id.hex()}.sock")
    Path(place, name).write_text(f"ipc://{socket}")


def address_in(place: str, name: str) -> str:
    return Path(place, name).read_text()


class Near(busway_asyncio.Near):
    async def open(self) -> None:
        await super().open()
        tell_address(self.bus, self.place, "near")


class Bridge(busway_asyncio.Member):
    """Forwards for others."""

    async def open(self) -> None:
        self.bus = await self.stack.enter_async_context(busway.AsyncBus("bench", transit=True))
        tell_address(self.bus, self.place, "bridge")


class Far(busway_asyncio.Far):
    """Has a link to one other node only."""

    to = "near"

    async def open(self) -> None:
        self.bus = await self.stack.enter_async_context(busway.AsyncBus("bench", ipc=False))
        await self.bus.connect(address_in(self.place, self.to))
        await self.bus.request(TRIP, bytes(16), ttl=FOUND_S)


class FarBehind(Far):
    to = "bridge"
