"""A board's Bluetooth: advertises Busway's service and passes packets, over a host attached to the virtual
radio. As a program it sends back what it gets, and for each packet "flood N" N numbered packets.

    python -m tests.rigs.ble.peripheral PORT NAME ATT_MTU
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from bumble import data_types
from bumble.core import UUID, AdvertisingData
from bumble.device import Connection, Device, DeviceConfiguration
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.hci import Address
from bumble.transport import open_transport
from bumble.transport.common import Transport

from busway.drivers.ble_radio import RX, SERVICE, TX

ADVERTISING_MS = 50


class Peripheral:
    """The GATT server. `on_central` is called with each central that subscribes, `on_packet` with what it
    writes, `on_gone` when it has left.

    name: at most 8 bytes, for an advertisement has 31, and the virtual controllers answer no scan requests,
        which would bring a longer one.
    """

    def __init__(self, transport: Transport, port: int, name: str, att_mtu: int) -> None:
        # A board keeps its address when it starts again, unlike the port of this run.
        digest = sum(name.encode()) & 0xFF
        self.device = Device.from_config_with_hci(
            DeviceConfiguration(
                name=name,
                address=Address(f"F0:F1:F2:F3:F4:{digest:02X}"),
                advertising_interval_min=ADVERTISING_MS,
                advertising_interval_max=ADVERTISING_MS,
            ),
            transport.source,
            transport.sink,
        )
        self.on_central: Callable[[Connection], object] = _nothing
        self.on_packet: Callable[[Connection, bytes], object] = _nothing
        self.on_gone: Callable[[Connection], object] = _nothing
        self.device.gatt_server.max_mtu = att_mtu
        rights = Characteristic.Properties
        rx: Characteristic[bytes] = Characteristic(
            RX.upper(),
            rights.WRITE_WITHOUT_RESPONSE,
            Characteristic.Permissions.WRITEABLE,
            CharacteristicValue(write=lambda central, value: self.on_packet(central, value)),
        )
        self.tx: Characteristic[bytes] = Characteristic(
            TX.upper(), rights.NOTIFY, Characteristic.Permissions.READABLE, b""
        )
        self.tx.on("subscription", self._on_subscription)
        self.device.add_service(Service(SERVICE.upper(), [rx, self.tx]))
        self.device.on("connection", self._on_connection)
        self._silent = asyncio.Event()
        self._advertising: asyncio.Task[None] | None = None
        self.device.advertising_data = bytes(
            AdvertisingData(
                [
                    data_types.Flags(AdvertisingData.Flags.LE_GENERAL_DISCOVERABLE_MODE),
                    data_types.CompleteListOf128BitServiceUUIDs([UUID(SERVICE)]),
                    data_types.CompleteLocalName(name),
                ]
            )
        )

    async def start(self) -> None:
        await self.device.power_on()
        self._silent.set()
        self._advertising = asyncio.create_task(self._advertise())

    async def _advertise(self) -> None:
        """Always: a connection ends the advertisement, and others may connect as well."""
        while await self._silent.wait():
            self._silent.clear()
            await self.device.start_advertising()

    def _on_connection(self, central: Connection) -> None:
        central.on("disconnection", lambda _reason: self.on_gone(central))
        self._silent.set()

    def _on_subscription(self, central: Connection, notify: bool, _indicate: bool) -> None:
        if notify:
            self.on_central(central)

    async def notify(self, central: Connection, packet: bytes) -> None:
        """Sends a packet of at most the MTU less 3 bytes."""
        await self.device.notify_subscriber(central, self.tx, packet)


def _nothing(*_: object) -> None:
    pass


async def echo(peripheral: Peripheral, central: Connection, packet: bytes) -> None:
    if not packet.startswith(b"flood "):
        await peripheral.notify(central, packet)
        return
    for number in range(int(packet[6:])):
        await peripheral.notify(central, b"%d" % number)


async def main(port: int, name: str, att_mtu: int) -> None:
    async with await open_transport(f"tcp-client:127.0.0.1:{port}") as transport:
        peripheral = Peripheral(transport, port, name, att_mtu)
        peripheral.on_packet = lambda central, packet: echo(peripheral, central, packet)
        await peripheral.start()
        print("up", flush=True)
        await transport.source.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
