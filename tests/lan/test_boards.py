"""All boards that show up: at ptys, which stand in the system's list of ports, and by a virtual radio."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

import busway
from busway import Bus
from busway.adapters import opening
from busway.lan import boards
from tests.adapters.tools import until
from tests.drivers.lines import Line, line
from tests.rigs import aio
from tests.rigs.ble.radio import VirtualRadio
from tests.rigs.uarts import Uart

SILENCE_S = 1.0  # after which no board is taken to be there


_HOLD = "import sys; port = open(sys.argv[1], 'rb', 0); print('open', flush=True); sys.stdin.read()"


class Ports:
    """The serial ports of the machine, as pyserial lists them, and how often each was opened."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.there: list[ListPortInfo] = []
        self.opened: list[str] = []
        patch.setattr(list_ports, "comports", lambda: list(self.there))
        patch.setattr(boards, "LOOK_SERIAL_S", 0.05)
        patch.setattr(opening, "CONNECT_S", SILENCE_S)
        dial = opening.driver_of("serial:///port").dial

        def counted(device: str, url: str = "") -> Any:
            self.opened.append(device)
            return dial(device, url)

        patch.setattr("busway.drivers.serial.dial", counted)

    def plug_in(self, wire: Line, vid: int | None = 0x2E8A, serial_number: str = "") -> ListPortInfo:
        info = ListPortInfo(wire.device)
        info.vid, info.pid, info.serial_number = vid, 5, serial_number
        self.there.append(info)
        return info

    def unplug(self, info: ListPortInfo) -> None:
        self.there.remove(info)


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> Ports:
    return Ports(monkeypatch)


@pytest.fixture
def wire() -> Iterator[Line]:
    with line() as made:
        yield made


@contextlib.asynccontextmanager
async def board(wire: Line, label: str = "board") -> AsyncIterator[None]:
    async with busway.AsyncBus(ipc=False, leaf=True, label=label) as bus:
        bus.serve(f"{label}/echo", lambda request: request.payload)
        bus.attach(Uart(wire))
        yield


async def wait_for(found: Any, wire: Line, state: str) -> busway.Found:
    async with asyncio.timeout(60):
        async for each in found:
            if each.address.startswith(f"serial://{wire.device}") and each.state == state:
                assert isinstance(each, busway.Found)
                return each
    raise AssertionError


def test_a_board_that_is_plugged_in_joins_and_again_after_it_was_away(ports: Ports, wire: Line) -> None:
    async def main() -> None:
        async with busway.AsyncBus(ipc=False, label="gateway") as bus:
            link = await bus.connect("serial://*?baud=9600")
            assert (link.state, link.links, link.url) == ("connecting", [], "serial://*?baud=9600")
            found = bus.found()
            async with board(wire):
                info = ports.plug_in(wire)
                each = await wait_for(found, wire, "joined")
                assert (each.how, each.address, each.label) == (
                    "serial",
                    f"serial://{wire.device}?baud=9600",
                    "board",
                )
                assert each.node in {node.id for node in bus.nodes()}
                assert await bus.request("board/echo", "hello", ttl=30) == "hello"
                assert link.state == "connected"
                assert [one.label for one in link.links] == ["board"]
                ports.unplug(info)
                await wait_for(found, wire, "gone")
                assert (link.state, link.links) == ("reconnecting", [])
            with line() as other:
                async with board(other):
                    ports.plug_in(other)
                    await wait_for(found, other, "joined")
                    await link.close()
                    await until(lambda: not bus.links())
                assert link.state == "closed"

    aio.run(main())


def test_a_port_without_a_board_is_opened_once(ports: Ports, wire: Line) -> None:
    async def main() -> None:
        async with busway.AsyncBus(ipc=False) as bus:
            info = ports.plug_in(wire)
            link = await bus.connect("serial://*")
            found = bus.found()
            each = await wait_for(found, wire, "ignored")
            assert "left alone" in each.reason
            await asyncio.sleep(1)  # some looks later
            assert ports.opened == [wire.device]
            assert link.state == "connecting"
            ports.unplug(info)
            await wait_for(found, wire, "gone")
            ports.plug_in(wire)
            await wait_for(found, wire, "ignored")
            assert ports.opened == [wire.device] * 2

    aio.run(main())


def test_what_is_not_meant_is_not_opened(ports: Ports, wire: Line) -> None:
    async def main() -> None:
        with line() as other, line() as third:
            ports.plug_in(wire, vid=None)
            ports.plug_in(other, serial_number="E66")
            ports.plug_in(third, serial_number="F77")
            async with busway.AsyncBus(ipc=False) as bus:
                bus_found = bus.found()
                await bus.connect("serial://*?serial=E66")
                await wait_for(bus_found, other, "dialling")
                assert ports.opened in ([], [other.device])
                await bus.connect("serial://*")
                assert "not on USB" in (await wait_for(bus_found, wire, "ignored")).reason
                await wait_for(bus_found, third, "dialling")
                assert wire.device not in ports.opened

    aio.run(main())


def test_a_port_that_has_a_link_already_is_left_to_it(ports: Ports, wire: Line) -> None:
    async def main() -> None:
        async with busway.AsyncBus(ipc=False) as bus, board(wire):
            own = await bus.connect(wire.url)
            ports.plug_in(wire)
            link = await bus.connect("serial://*")
            assert await bus.connect("serial://*") is link
            each = await wait_for(bus.found(), wire, "ignored")
            assert "another link" in each.reason
            assert own.state == "connected"
            assert own.links == [own]
            assert ports.opened == [wire.device]

    aio.run(main())


def test_a_port_that_another_program_has_open_is_left_to_it(ports: Ports, wire: Line) -> None:
    async def main(pid: int) -> None:
        async with busway.AsyncBus(ipc=False) as bus:
            await bus.connect("serial://*")
            each = await wait_for(bus.found(), wire, "ignored")
            assert f"in use by pid {pid}" in each.reason
            assert ports.opened == []

    ports.plug_in(wire)
    command = [sys.executable, "-c", _HOLD, wire.device]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline()
        aio.run(main(program.pid))
        program.kill()


def test_with_threads(ports: Ports, wire: Line) -> None:
    async def main() -> None:
        async with board(wire):
            ports.plug_in(wire)
            await asyncio.to_thread(in_threads)

    def in_threads() -> None:
        with Bus(ipc=False) as bus:
            link = bus.connect("serial://*")
            with bus.found() as found:
                for each in found:
                    if each.state == "joined":
                        break
            assert bus.request("board/echo", 1, ttl=30) == 1
            assert link.links[0].label == "board"
            link.close()
            assert link.state == "closed"

    aio.run(main())


@pytest.mark.parametrize(
    ("url", "options", "fault"),
    [
        ("serial://*", {"retry": None}, "goes on looking"),
        ("serial://*x", {}, "alone"),
        ("serial://*?baud=1", {}, "baud="),
        ("serial://*?speed=1", {}, "no option 'speed'"),
        ("serial://*?vid=zz", {}, "vid="),
        ("ble://*x", {}, "alone"),
        ("ble://*?a=b", {}, "no options"),
    ],
)
def test_what_makes_no_sense_is_said(url: str, options: dict[str, Any], fault: str) -> None:
    async def main() -> None:
        async with busway.AsyncBus(ipc=False) as bus:
            with pytest.raises(ValueError, match=fault):
                await bus.connect(url, **options)
            assert bus.links() == []

    aio.run(main())


def test_all_boards_in_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "SCAN_S", 1.0)
    monkeypatch.setattr(boards, "LOOK_BLE_S", 0.5)

    async def main() -> None:
        async with busway.AsyncBus(ipc=False) as bus:
            link = await bus.connect("ble://*")
            joined = set[str]()
            async with asyncio.timeout(60):
                async for each in bus.found():
                    if each.state == "joined":
                        assert each.how == "ble"
                        joined.add(each.address)
                        if len(joined) == 1:
                            radio.peripheral("Two", place=1, module="tests.rigs.ble.board")
                        else:
                            break
            assert len(link.links) == 2
            assert {one.state for one in link.links} == {"connected"}

    with VirtualRadio(peripherals=2) as radio:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", radio.buses[0])
        radio.peripheral("One", place=0, module="tests.rigs.ble.board")
        aio.run(main())
