"""A network of buses in memory, for tests of programs that use Busway: no socket, no process, no machine.

    async with busway.testing.Network() as network:
        pump, panel = await network.bus("pump"), await network.bus("panel")
        await network.link(pump, panel, delay=0.01, realm="localnet")
        pump.serve("lab/pump", lambda request: {"ok": True})
        assert await panel.request("lab/pump", ttl=1) == {"ok": True}
        network.cut(pump, panel)              # and network.heal(pump, panel)

    busway.testing.run(main())                # as asyncio.run, but all waiting takes no time

The buses are ordinary ones: what they do here they do on real links. Nothing of it is needed in a program.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from busway.adapters.asyncio import AsyncBus
from busway.adapters.links import LinkRunner
from busway.adapters.typed import Realm
from busway.drivers.memory import Pair, pair
from busway.jumping import JumpingLoop, Stalled, run

__all__ = ["JumpingLoop", "Network", "Stalled", "run"]


@dataclass
class _Line:
    """A link between two buses: how it is, and while it stands the pair of channels that carries it."""

    ends: tuple[AsyncBus, AsyncBus]
    name: str
    delay: float
    realm: Realm
    cost: int
    capacity: int
    pair: Pair | None = None
    runners: tuple[LinkRunner, LinkRunner] | None = None

    def joins(self, one: AsyncBus, other: AsyncBus) -> bool:
        return set(self.ends) == {one, other}


class Network:
    """Buses and links in memory, under the running event loop. Leaving it closes them all."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._lines: list[_Line] = []
        self.buses: list[AsyncBus] = []

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def bus(self, label: str = "", *, name: str = "default", **options: Any) -> AsyncBus:
        """A new bus, joined to nobody yet. `options` are those of `AsyncBus`, as `leaf` and `transit`."""
        bus = AsyncBus(name, ipc=False, label=label or f"bus {len(self.buses) + 1}", **options)
        self.buses.append(bus)
        return await self._stack.enter_async_context(bus)

    async def link(
        self,
        one: AsyncBus,
        other: AsyncBus,
        *,
        delay: float = 0.0,
        realm: Realm = "userspace",
        cost: int = 1,
        capacity: int = 65536,
    ) -> None:
        """Join two buses, `one` being the dialler; returns when each knows what the other has.

        Args: `delay` seconds that bytes take in each direction; `realm` and `cost` (1 to 16382) of the link;
        `capacity` bytes under way before a writer has to wait. Two buses may have several links. Raises
        ValueError, LinkRefused.
        """
        for bus in (one, other):
            if not isinstance(bus, AsyncBus):
                raise TypeError(f"a link joins two buses, as `network.bus(label)` makes them, not {bus!r}")
        if one is other:
            raise ValueError("a link joins two different buses")
        line = _Line((one, other), f"link {len(self._lines) + 1}", delay, realm, cost, capacity)
        await self._open(line)
        self._lines.append(line)

    async def _open(self, line: _Line) -> None:
        loop = asyncio.get_running_loop()
        line.pair = pair(
            delay_ms=round(line.delay * 1000),
            realm=line.realm,
            name=line.name,
            capacity=line.capacity,
            clock=loop,
        )
        one, other = line.ends
        line.runners = (
            one.attach(line.pair.a, realm=line.realm, cost=line.cost),
            other.attach(line.pair.b, realm=line.realm, cost=line.cost),
        )
        await asyncio.gather(*(asyncio.shield(runner.ready) for runner in line.runners))

    def _between(self, one: AsyncBus, other: AsyncBus) -> list[_Line]:
        lines = [line for line in self._lines if line.joins(one, other)]
        if not lines:
            raise ValueError("these two buses have no link: join them with link()")
        return lines

    def cut(self, one: AsyncBus, other: AsyncBus) -> None:
        """Cut all links between two buses: what is on its way is lost, and both sides see the end."""
        for line in self._between(one, other):
            if line.pair is not None and line.runners is not None:
                line.pair.fail()
                for runner in line.runners:
                    runner.close()
                line.pair = line.runners = None

    async def heal(self, one: AsyncBus, other: AsyncBus) -> None:
        """Join two buses again by the links that were cut; returns when they know of each other."""
        for line in self._between(one, other):
            if line.pair is None:
                await self._open(line)

    async def settle(self, seconds: float = 0.05) -> None:
        """Wait until nothing has been written on any link for `seconds`."""
        before = -1
        while (written := self._written()) != before:
            before = written
            await asyncio.sleep(seconds)

    def _written(self) -> int:
        return sum(connection.bytes_out for bus in self.buses for connection in bus.node.connections)
