"""A program: a node of the bus behind a peripheral of the virtual radio, with a link to each central.

python -m tests.rigs.ble.board PORT NAME ATT_MTU

board/echo     answers with what it was asked
board/log      takes what is sent, [central, number, ...]
board/report   answers, to a central's number, which were taken, and how many twice or out of order

With BUSWAY_TOKEN a central has to know that.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from bumble.device import Connection
from bumble.transport import open_transport

import busway
from busway.drivers.channel import READ_SIZE
from tests.rigs.ble.peripheral import Peripheral

OUTBOX_MAX = 8  # as a board's radio stack has a few buffers


class GattChannel:
    """A central's packets as a channel that pushes: both run on one loop."""

    sort = "packet"
    realm = "localnet"
    via = ""
    dialled = False

    def __init__(self, peripheral: Peripheral, central: Connection) -> None:
        self.mtu = central.att_mtu - 3
        self.address = f"ble://{central.peer_address}".partition("/P")[0]
        self.on_readable: Callable[[], object] | None = None
        self.on_writable: Callable[[], object] | None = None
        self.inbox: deque[bytes] = deque()
        self.outbox: deque[bytes] = deque()
        self.gone = False
        self._refused = False
        self._peripheral = peripheral
        self._central = central
        self._work = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._notify())

    def fileno(self) -> int:
        return -1

    def connected(self) -> bool:
        return True

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        if self.inbox:
            return self.inbox.popleft()
        if self.gone:
            raise ConnectionResetError(f"{self.address}: the central has left")
        return None

    def write(self, data: bytes | memoryview) -> int:
        if self.gone:
            raise ConnectionResetError(f"{self.address}: the central has left")
        assert len(data) <= self.mtu
        if len(self.outbox) >= OUTBOX_MAX:
            self._refused = True
            return 0
        self.outbox.append(bytes(data))
        self._work.set()
        return len(data)

    def push(self, packet: bytes = b"") -> None:
        """A packet came; without one, the central has left."""
        if packet:
            self.inbox.append(packet)
        else:
            self.gone = True
        if self.on_readable is not None:
            self.on_readable()

    async def _notify(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self.outbox:
                await self._peripheral.notify(self._central, self.outbox.popleft())
                await asyncio.sleep(0)
            if self._refused and self.on_writable is not None:
                self._refused = False
                self.on_writable()

    def close(self) -> None:
        self._task.cancel()
        self.gone = True

    def abandon(self) -> None:
        self.close()


class Links:
    """A link of the bus for each central that subscribes."""

    def __init__(self, bus: busway.AsyncBus, peripheral: Peripheral) -> None:
        self.channels: dict[Connection, GattChannel] = {}
        self._bus = bus
        self._peripheral = peripheral
        peripheral.on_central = self.come
        peripheral.on_packet = self.packet
        peripheral.on_gone = self.gone

    def come(self, central: Connection) -> None:
        self.gone(central)
        self.channels[central] = GattChannel(self._peripheral, central)
        self._bus.attach(self.channels[central], os.environ.get("BUSWAY_TOKEN"))

    def packet(self, central: Connection, packet: bytes) -> None:
        if central in self.channels:
            self.channels[central].push(packet)

    def gone(self, central: Connection) -> None:
        channel = self.channels.pop(central, None)
        if channel is not None:
            channel.push()


class Log:
    """All that came from one central."""

    def __init__(self) -> None:
        self.taken: set[int] = set()
        self.twice = 0
        self.disordered = 0
        self.last = -1

    def take(self, number: int) -> None:
        self.twice += number in self.taken
        self.disordered += number < self.last
        self.last = number
        self.taken.add(number)

    def report(self) -> dict[str, Any]:
        return {"taken": sorted(self.taken), "twice": self.twice, "disordered": self.disordered}


async def serve(bus: busway.AsyncBus) -> None:
    """Never returns."""
    logs: dict[int, Log] = {}

    async def echo(request: Any) -> Any:
        return request.payload

    async def report(request: Any) -> Any:
        return logs.setdefault(request.payload, Log()).report()

    bus.serve("board/echo", echo)
    bus.serve("board/report", report)
    async with bus.register("board/log") as messages:
        async for message in messages:
            payload: Any = message.payload
            central, number, *_ = payload
            logs.setdefault(central, Log()).take(number)


async def advertise(bus: busway.AsyncBus, port: int, name: str) -> Peripheral:
    """Lets centrals join `bus`, for as long as the process lives."""
    transport = await open_transport(f"tcp-client:127.0.0.1:{port}")
    peripheral = Peripheral(transport, port, name, 247)
    Links(bus, peripheral)
    await peripheral.start()
    return peripheral


async def main(port: int, name: str, att_mtu: int) -> None:
    async with await open_transport(f"tcp-client:127.0.0.1:{port}") as transport:
        peripheral = Peripheral(transport, port, name, att_mtu)
        async with busway.AsyncBus(os.environ.get("BUSWAY_BUS", "default"), ipc=False, label=name) as bus:
            Links(bus, peripheral)
            await peripheral.start()
            print("up", flush=True)
            serving = asyncio.create_task(serve(bus))
            await transport.source.wait_for_termination()
            serving.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
