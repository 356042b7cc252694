"""A program: the Bluetooth chip of a board whose program runs on MicroPython with the module bluetooth.py.

    python -m tests.rigs.ble.chip PORT NAME ATT_MTU

Prints "up", then the port where the board's program attaches; that registers services and advertises as it
likes. NAME only makes the address. Both sides send lines of JSON; see `Chip` and bluetooth.py for the words.
"""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial
from typing import Any

from bumble.core import UUID
from bumble.device import Connection, Device, DeviceConfiguration
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.hci import Address
from bumble.transport import open_transport

from tests.rigs.ble.peripheral import ADVERTISING_MS

RIGHTS = Characteristic.Permissions.READABLE | Characteristic.Permissions.WRITEABLE


def uuid_of(text: str) -> UUID:
    """From hexadecimal digits, the least significant byte first."""
    return UUID.from_bytes(bytes.fromhex(text))


class Chip:
    """Does as the board's program says, and tells it what happens."""

    def __init__(self, device: Device, att_mtu: int) -> None:
        self.device = device
        self.att_mtu_max = att_mtu
        self.centrals: dict[int, Connection] = {}
        self.characteristics: dict[int, Characteristic[bytes]] = {}
        self.program: asyncio.StreamWriter | None = None
        device.on("connection", self.on_connection)

    def tell(self, *words: Any) -> None:
        if self.program is not None:
            self.program.write(json.dumps(words).encode() + b"\n")

    async def attached(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.program = writer
        while line := await reader.readline():
            word, *values = json.loads(line)
            await getattr(self, f"do_{word}")(*values)

    # ---- what the program says

    async def do_register(self, services: list[Any]) -> None:
        for uuid, told in services:
            made = []
            for each, flags in told:
                handle = len(self.characteristics) + 1
                made.append(self.characteristic(handle, each, flags))
                self.characteristics[handle] = made[-1]
            self.device.add_service(Service(uuid_of(uuid), made))

    def characteristic(self, handle: int, uuid: str, flags: int) -> Characteristic[bytes]:
        written = CharacteristicValue(read=lambda _: b"", write=partial(self.on_write, handle))
        return Characteristic(uuid_of(uuid), Characteristic.Properties(flags), RIGHTS, written)

    async def do_advertise(self, data: str, att_mtu: int) -> None:
        # In one, for the virtual controllers answer no scan requests.
        self.device.gatt_server.max_mtu = min(att_mtu, self.att_mtu_max)
        self.device.advertising_data = bytes.fromhex(data)
        await self.device.start_advertising()

    async def do_silence(self) -> None:
        await self.device.stop_advertising()

    async def do_notify(self, number: int, handle: int, value: str) -> None:
        central, data = self.centrals.get(number), bytes.fromhex(value)
        if central is not None:
            assert len(data) <= central.att_mtu - 3, "a real radio would cut it off"
            await self.device.notify_subscriber(central, self.characteristics[handle], data)
        self.tell("sent")

    async def do_disconnect(self, number: int) -> None:
        if number in self.centrals:
            await self.centrals[number].disconnect()

    # ---- what happens

    def on_connection(self, central: Connection) -> None:
        self.centrals[central.handle] = central
        self.tell("connect", central.handle, bytes(central.peer_address)[::-1].hex())
        central.on("disconnection", lambda _reason: self.on_disconnection(central.handle))
        central.on("connection_att_mtu_update", lambda: self.tell("mtu", central.handle, central.att_mtu))

    def on_disconnection(self, number: int) -> None:
        del self.centrals[number]
        self.tell("gone", number)

    def on_write(self, handle: int, central: Connection, value: bytes) -> None:
        self.tell("write", central.handle, handle, value.hex())


async def main(port: int, name: str, att_mtu: int) -> None:
    async with await open_transport(f"tcp-client:127.0.0.1:{port}") as transport:
        digest = sum(name.encode()) & 0xFF
        device = Device.from_config_with_hci(
            DeviceConfiguration(
                name=name,
                address=Address(f"F0:F1:F2:F3:F5:{digest:02X}"),
                advertising_interval_min=ADVERTISING_MS,
                advertising_interval_max=ADVERTISING_MS,
            ),
            transport.source,
            transport.sink,
        )
        await device.power_on()
        chip = Chip(device, att_mtu)
        server = await asyncio.start_server(chip.attached, "127.0.0.1", 0)
        print("up", server.sockets[0].getsockname()[1], sep="\n", flush=True)
        await transport.source.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
