"""A program: the air, one org.bluez for each central on a D-Bus of its own, and places for peripherals.

    python -m tests.rigs.ble.bluez PERIPHERALS BUS_ADDRESS...

Prints the ports where peripherals attach, HCI over TCP, then obeys lines on its standard input:

    loss 0.1     loses that part of all write commands and notifications, at random
    mute         loses everything, as when a wall comes between; "unmute" ends that
    busy 3       refuses the next 3 writes, as a radio without buffers does
    drop         ends all connections, as a supervision timeout does
    end of file  ends the program
"""

from __future__ import annotations

import asyncio
import logging
import random
import select
import socket
import sys
from collections.abc import Callable
from typing import Any

from bumble.controller import Controller
from bumble.core import UUID, AdvertisingData, PhysicalTransport
from bumble.device import Advertisement, Connection, Device, Peer
from bumble.gatt_client import CharacteristicProxy
from bumble.hci import HCI_CONNECTION_FAILED_TO_BE_ESTABLISHED_ERROR, Address
from bumble.host import Host
from bumble.link import LocalLink
from bumble.ll import AdvertisingPdu, ConnectInd
from bumble.transport.common import AsyncPipeSink, StreamPacketSink, StreamPacketSource
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

ADAPTER = "org.bluez.Adapter1"
DEVICE = "org.bluez.Device1"
SERVICE = "org.bluez.GattService1"
CHARACTERISTIC = "org.bluez.GattCharacteristic1"
MANAGER = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
HCI = "/org/bluez/hci0"

ATT_MTU = 247
WRITE_COMMAND = 0x52
NOTIFICATION = 0x1B
NO_REPLY_EXPECTED = 1
ESTABLISH_S = 0.1  # six connection intervals (Bluetooth Core, Vol 6, Part B, 4.5.2)
FLAGS = {"read": 0x02, "write-without-response": 0x04, "write": 0x08, "notify": 0x10}


class Air(LocalLink):
    """The air between the controllers, with losses that a radio's own retransmission did not make good."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.loss = 0.0
        self.muted = False
        self.random = random.Random(1)

    def send_acl_data(
        self,
        sender_controller: Controller,
        destination_address: Address,
        transport: PhysicalTransport,
        data: bytes,
    ) -> None:
        # Two bytes of length and two of channel, then ATT's operation (Bluetooth Core, Vol 3, Part A, 3.1).
        lossy = len(data) > 4 and data[4] in (WRITE_COMMAND, NOTIFICATION)
        if self.muted or (lossy and self.random.random() < self.loss):
            return
        super().send_acl_data(sender_controller, destination_address, transport, data)

    def send_advertising_pdu(self, sender_controller: Controller, packet: AdvertisingPdu) -> None:
        super().send_advertising_pdu(sender_controller, packet)
        if isinstance(packet, ConnectInd):
            asyncio.get_running_loop().call_soon(self._establish, sender_controller, packet)

    def _establish(self, central: Controller, packet: ConnectInd) -> None:
        """Of two centrals that answer one advertisement the peripheral takes one; the other must notice."""
        connection = central.le_connections.get(packet.advertiser_address)
        ours = [
            other.le_connections.get(packet.initiator_address)
            for other in self.controllers
            if other is not central
        ]
        if connection is not None and not any(ours):
            reason = HCI_CONNECTION_FAILED_TO_BE_ESTABLISHED_ERROR
            asyncio.get_running_loop().call_later(ESTABLISH_S, central.on_le_disconnected, connection, reason)


def uuid_text(uuid: UUID) -> str:
    if len(uuid.uuid_bytes) == 16:
        return uuid.to_hex_str("-").lower()
    return f"0000{int.from_bytes(uuid.uuid_bytes, 'little'):04x}-0000-1000-8000-00805f9b34fb"


def strings(*values: str) -> Variant:
    return Variant("as", list(values))


class BlueZ:
    """org.bluez as far as bleak's central needs it, over a controller of its own."""

    def __init__(self, device: Device, bus: MessageBus) -> None:
        self.device = device
        self.bus = bus
        self.objects: dict[str, dict[str, dict[str, Variant]]] = {HCI: {ADAPTER: adapter_properties()}}
        self.connections: dict[str, Connection] = {}
        self.characteristics: dict[str, CharacteristicProxy[bytes]] = {}
        self.subscribers: dict[str, Callable[[bytes], None]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.busy = 0
        device.on("advertisement", self.on_advertisement)
        bus.add_message_handler(self.handle)

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # ---- signals

    def signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        # Until there is room: dbus-fast takes a full socket, as in a flood, for the end of its connection.
        assert self.bus._sock is not None
        select.select([], [self.bus._sock], [])
        self.bus.send(
            Message(
                path=path,
                interface=interface,
                member=member,
                message_type=MessageType.SIGNAL,
                signature=signature,
                body=body,
            )
        )

    def add(self, path: str, interface: str, properties: dict[str, Variant]) -> None:
        self.objects[path] = {interface: properties}
        self.signal("/", MANAGER, "InterfacesAdded", "oa{sa{sv}}", [path, self.objects[path]])

    def remove(self, path: str) -> None:
        interfaces = list(self.objects.pop(path))
        self.signal("/", MANAGER, "InterfacesRemoved", "oas", [path, interfaces])

    def change(self, path: str, interface: str, **properties: Variant) -> None:
        self.objects[path][interface].update(properties)
        self.signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, properties, []])

    # ---- the radio

    def on_advertisement(self, heard: Advertisement) -> None:
        address = str(heard.address).split("/")[0]
        path = f"{HCI}/dev_{address.replace(':', '_')}"
        told = {"RSSI": Variant("n", heard.rssi)}
        name = heard.data.get(AdvertisingData.Type.COMPLETE_LOCAL_NAME)
        if isinstance(name, str):
            told["Name"] = Variant("s", name)
        uuids = heard.data.get(AdvertisingData.Type.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS)
        if isinstance(uuids, list):
            told["UUIDs"] = strings(*(uuid_text(uuid) for uuid in uuids))
        if path in self.objects:
            self.change(path, DEVICE, **told)
        else:
            self.add(path, DEVICE, {**device_properties(address), **told})

    async def connect(self, path: str) -> None:
        address = self.objects[path][DEVICE]["Address"].value
        connection = await self.device.connect(Address(address))
        self.connections[path] = connection
        connection.on("disconnection", lambda _reason: self.on_disconnection(path))
        self.change(path, DEVICE, Connected=Variant("b", True))
        self.spawn(self.resolve(path, connection))

    async def resolve(self, path: str, connection: Connection) -> None:
        peer = Peer(connection)
        await peer.request_mtu(ATT_MTU)
        await peer.discover_services()
        for service in peer.services:
            above = f"{path}/service{service.handle:04x}"
            self.add(above, SERVICE, service_properties(uuid_text(service.uuid), path))
            await service.discover_characteristics()
            for found in service.characteristics:
                await found.discover_descriptors()
                below = f"{above}/char{found.handle:04x}"
                self.characteristics[below] = found
                self.add(below, CHARACTERISTIC, characteristic_properties(found, above, connection.att_mtu))
        self.change(path, DEVICE, ServicesResolved=Variant("b", True))

    def on_disconnection(self, path: str) -> None:
        del self.connections[path]
        self.change(path, DEVICE, ServicesResolved=Variant("b", False), Connected=Variant("b", False))
        for below in [other for other in self.objects if other.startswith(path + "/")]:
            self.remove(below)
            self.characteristics.pop(below, None)
            self.subscribers.pop(below, None)

    async def drop(self) -> None:
        for connection in list(self.connections.values()):
            await connection.disconnect()

    # ---- method calls

    def handle(self, message: Message) -> bool | None:
        if message.message_type != MessageType.METHOD_CALL:
            return None
        if message.path != "/" and not (message.path or "").startswith("/org/bluez"):
            return None
        self.spawn(self.answer(message))
        return True

    async def answer(self, message: Message) -> None:
        method = getattr(self, f"on_{message.member}", None)
        if method is None:
            reply = Message.new_error(
                message, "org.freedesktop.DBus.Error.UnknownMethod", str(message.member)
            )
        elif message.path not in self.objects and message.path != "/":
            reply = Message.new_error(message, "org.freedesktop.DBus.Error.UnknownObject", str(message.path))
        else:
            try:
                signature, body = await method(message.path, *message.body) or ("", [])
                reply = Message.new_method_return(message, signature, body)
            except Exception as error:  # noqa: BLE001 - whatever went wrong is told to the caller
                reply = Message.new_error(message, "org.bluez.Error.Failed", repr(error))
        if not message.flags.value & NO_REPLY_EXPECTED:
            await self.bus.send(reply)

    async def on_GetManagedObjects(self, _path: str) -> tuple[str, list[Any]]:
        return "a{oa{sa{sv}}}", [self.objects]

    async def on_GetAll(self, path: str, interface: str) -> tuple[str, list[Any]]:
        return "a{sv}", [self.objects[path][interface]]

    async def on_Get(self, path: str, interface: str, name: str) -> tuple[str, list[Any]]:
        return "v", [self.objects[path][interface][name]]

    async def on_SetDiscoveryFilter(self, _path: str, _filter: dict[str, Variant]) -> None:
        pass

    async def on_StartDiscovery(self, path: str) -> None:
        await self.device.start_scanning(filter_duplicates=False)
        self.change(path, ADAPTER, Discovering=Variant("b", True))

    async def on_StopDiscovery(self, path: str) -> None:
        await self.device.stop_scanning()
        self.change(path, ADAPTER, Discovering=Variant("b", False))

    async def on_Connect(self, path: str) -> None:
        await self.connect(path)

    async def on_Disconnect(self, path: str) -> None:
        if path in self.connections:
            await self.connections[path].disconnect()

    async def on_WriteValue(self, path: str, value: bytes, options: dict[str, Variant]) -> None:
        if self.busy:
            self.busy -= 1
            raise MemoryError("no buffers")
        kind = options.get("type")
        await self.characteristics[path].write_value(
            bytes(value), with_response=kind is None or kind.value != "command"
        )

    async def on_StartNotify(self, path: str) -> None:
        def notified(value: bytes) -> None:
            if path in self.objects:
                self.change(path, CHARACTERISTIC, Value=Variant("ay", bytes(value)))

        self.subscribers[path] = notified
        await self.characteristics[path].subscribe(notified)
        self.change(path, CHARACTERISTIC, Notifying=Variant("b", True))

    async def on_StopNotify(self, path: str) -> None:
        await self.characteristics[path].unsubscribe(self.subscribers.pop(path))
        self.change(path, CHARACTERISTIC, Notifying=Variant("b", False))


def adapter_properties() -> dict[str, Variant]:
    return {
        "Address": Variant("s", "F0:00:00:00:00:01"),
        "Powered": Variant("b", True),
        "Discovering": Variant("b", False),
        "UUIDs": strings(),
        "Roles": strings("central", "peripheral"),
    }


def device_properties(address: str) -> dict[str, Variant]:
    no = Variant("b", False)
    return {
        "Address": Variant("s", address),
        "AddressType": Variant("s", "random"),
        "Alias": Variant("s", address.replace(":", "-")),
        "Adapter": Variant("o", HCI),
        "Connected": no,
        "Paired": no,
        "Bonded": no,
        "Trusted": no,
        "Blocked": no,
        "LegacyPairing": no,
        "ServicesResolved": no,
        "UUIDs": strings(),
    }


def service_properties(uuid: str, path: str) -> dict[str, Variant]:
    return {
        "UUID": Variant("s", uuid),
        "Device": Variant("o", path),
        "Primary": Variant("b", True),
        "Includes": Variant("ao", []),
    }


def characteristic_properties(found: CharacteristicProxy[bytes], above: str, mtu: int) -> dict[str, Variant]:
    flags = [name for name, bit in FLAGS.items() if found.properties & bit]
    return {
        "UUID": Variant("s", uuid_text(found.uuid)),
        "Service": Variant("o", above),
        "Value": Variant("ay", b""),
        "Notifying": Variant("b", False),
        "Flags": strings(*flags),
        "MTU": Variant("q", mtu),
    }


async def central(air: Air, number: int, bus_address: str) -> BlueZ:
    """A controller and the org.bluez above it, on its own D-Bus."""
    address = f"F0:00:00:00:01:{number:02X}"
    controller = Controller(f"central {number}", link=air, public_address=address)
    device = Device(address=Address(address), host=Host(controller, AsyncPipeSink(controller)))
    await device.power_on()
    bus = await MessageBus(bus_address=bus_address).connect()
    served = BlueZ(device, bus)
    await bus.request_name("org.bluez")
    return served


class Attached(StreamPacketSource):
    """A peripheral's program, and the power of its controller: that falls silent when the program dies, and
    tells no central.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.controller = controller
        self.set_packet_sink(controller)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.controller.host = self.host = StreamPacketSink(transport)

    def connection_lost(self, error: Exception | None) -> None:
        controller = self.controller
        if controller.host is not self.host:
            return  # another program is there already
        controller.host = None
        controller.le_legacy_advertiser.stop()
        for advertising in controller.advertising_sets.values():
            advertising.stop()
        controller.advertising_sets.clear()
        controller.le_connections.clear()


async def place(air: Air, number: int) -> int:
    """A controller that waits for a peripheral's host on the port returned."""
    controller = Controller(f"peripheral {number}", link=air, public_address=f"F0:00:00:00:02:{number:02X}")
    # With its protocol named, asyncio switches off the delay of small writes, 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    await asyncio.get_running_loop().create_server(lambda: Attached(controller), sock=listening)
    return int(listening.getsockname()[1])


async def obey(line: str, air: Air, centrals: list[BlueZ]) -> None:
    word, _, rest = line.strip().partition(" ")
    if word == "loss":
        air.loss = float(rest)
    elif word in ("mute", "unmute"):
        air.muted = word == "mute"
    for served in centrals:
        if word == "busy":
            served.busy = int(rest)
        elif word == "drop":
            await served.drop()
    print("done", flush=True)


async def main(peripherals: int, buses: list[str]) -> None:
    logging.getLogger("bumble").setLevel(logging.CRITICAL)  # what is on its way when a link is dropped
    air = Air()
    centrals = [await central(air, number, bus) for number, bus in enumerate(buses)]
    ports = [await place(air, number) for number in range(peripherals)]
    print(*ports, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await obey(line, air, centrals)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
