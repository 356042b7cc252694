"""Buses in memory with a store between them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import busway
from busway.store.service import Service
from busway.testing import Network


class Lab:
    """A sender, a store and a receiver. The store can be ended, killed and begun anew."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.folder = folder
        self.sender: busway.AsyncBus
        self.receiver: busway.AsyncBus
        self.middle: busway.AsyncBus
        self.store: busway.Store
        self.options: dict[str, Any] = {}

    @property
    def service(self) -> Service:
        assert self.store._service is not None
        return self.store._service

    async def begin(self, **options: Any) -> None:
        """Begin a store at a node of its own."""
        self.options = options or self.options
        self.middle = await self.network.bus("store", transit=True)
        for bus in (self.sender, self.receiver):
            await self.network.link(bus, self.middle)
        self.store = busway.Store(self.middle, self.folder, **self.options)
        await self.store.open()

    async def end(self) -> None:
        """End it with its node."""
        await self.store.aclose()
        for bus in (self.sender, self.receiver):
            self.network.cut(bus, self.middle)
        await self.middle.close()

    async def again(self, **options: Any) -> None:
        """Another store, at another node, with what the last one has kept."""
        await self.end()
        await self.begin(**options)

    async def other(self, label: str) -> busway.AsyncBus:
        """Another program."""
        bus = await self.network.bus(label)
        await self.network.link(bus, self.middle)
        return bus


@contextlib.asynccontextmanager
async def lab(folder: Path, **options: Any) -> AsyncIterator[Lab]:
    async with Network() as network:
        made = Lab(network, folder)
        made.sender = await network.bus("sender")
        made.receiver = await network.bus("receiver")
        await made.begin(**options)
        try:
            yield made
        finally:
            await made.store.aclose()


async def taken(receiver: Any, count: int, timeout: float = 20.0) -> list[Any]:
    """So many payloads."""
    return [(await receiver.receive(timeout)).payload for _ in range(count)]


async def until(holds: Any) -> None:
    """Wait until something holds."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
