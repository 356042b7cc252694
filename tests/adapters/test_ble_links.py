"""The bus over Bluetooth LE: a node behind a virtual peripheral, with bleak's own BlueZ backend at the other
end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from benchmarks.ble_interval import Case, measure
from busway import AsyncBus, LinkRefused, Retry, Undeliverable, tokens
from busway.adapters import making
from busway.drivers.ble import BleChannel
from busway.drivers.channel import READ_SIZE
from tests.adapters.tools import until
from tests.rigs.ble.radio import VirtualRadio

BOARD = "tests.rigs.ble.board"


@pytest.fixture(scope="module")
def radio() -> Iterator[VirtualRadio]:
    """One air with two boards, one with a large MTU and one with the least, each a node of the bus."""
    with pytest.MonkeyPatch.context() as patch, VirtualRadio(peripherals=3) as found:
        patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", found.buses[0])
        found.peripheral("Board", place=0, module=BOARD)
        found.peripheral("Small", place=1, att_mtu=23, module=BOARD)
        yield found


@contextlib.asynccontextmanager
async def joined(name: str) -> AsyncIterator[AsyncBus]:
    async with AsyncBus(ipc=False, label="central") as bus:
        await bus.connect(f"ble://{name}", wait=30)  # a HELLO may be late on a busy machine, or be lost
        yield bus


BOARDS = pytest.mark.parametrize("name", ["Board", "Small"])


@BOARDS
async def test_requests_of_any_size(radio: VirtualRadio, name: str) -> None:
    async with joined(name) as bus:
        for size in (0, 1, 20, 244, 5000):
            data = os.urandom(size)
            assert await bus.request("board/echo", data) == data
        (hop,) = await bus.trace("board/echo", timeout=60)
        assert (hop.medium, hop.cost) == ("ble", 256)
        (info,) = bus.links()
        assert (info.realm, info.state, info.address[:6]) == ("localnet", "connected", "ble://")


@BOARDS
async def test_confirmed_sends_under_loss_arrive_once_and_in_order(radio: VirtualRadio, name: str) -> None:
    radio.tell("loss 0.1")
    try:
        async with joined(name) as bus:
            central = id(bus)
            await asyncio.gather(
                *(bus.send("board/log", [central, step], confirm=True, timeout=60.0) for step in range(200))
            )
            report = await bus.request("board/report", central)
    finally:
        radio.tell("loss 0")
    assert report == {"taken": list(range(200)), "twice": 0, "disordered": 0}


async def test_a_link_lost_in_the_midst_of_a_message_leaves_no_doubt(radio: VirtualRadio) -> None:
    """Its end was never sent, so it cannot have run."""
    async with joined("Small") as bus:
        asking = asyncio.create_task(bus.request("board/echo", bytes(100_000)))
        await until(lambda: bus.links()[0].bytes_out > 2000)
        radio.tell("drop")
        with pytest.raises(Undeliverable, match="NO_ROUTE"):
            await asking
        await bus.connect("ble://Small")  # the same link, once it is back
        assert await bus.request("board/echo", b"again", ttl=30) == b"again"


async def test_a_board_that_dies_is_found_by_keepalive(
    monkeypatch: pytest.MonkeyPatch, radio: VirtualRadio
) -> None:
    """The virtual link, like a supervision timeout that is long, says nothing."""
    monkeypatch.setitem(making._LINK_DEFAULTS, "ble", (256, 200))
    board = radio.peripheral("Mortal", place=2, module=BOARD)
    async with joined("Mortal") as bus:
        changes = bus.changes()
        board.kill()
        async with asyncio.timeout(60):
            async for change in changes:
                if change.what == "link-down":
                    assert change.text.startswith("nothing was heard for")
                    break


async def test_a_board_that_was_without_power_is_found_again(
    monkeypatch: pytest.MonkeyPatch, radio: VirtualRadio
) -> None:
    monkeypatch.setitem(making._LINK_DEFAULTS, "ble", (256, 1000))  # one that only waits is no death
    board = radio.peripheral("Phoenix", place=2, module=BOARD)
    async with AsyncBus(ipc=False, label="central") as bus:
        link = await bus.connect("ble://Phoenix", retry=Retry(first=0.1, cap=0.5))
        board.kill()
        await until(lambda: link.state == "reconnecting")
        board = await asyncio.to_thread(radio.peripheral, "Phoenix", place=2, module=BOARD)
        assert await bus.request("board/echo", b"again", ttl=30.0, timeout=40.0) == b"again"
        assert link.losses == 1
    board.kill()


async def test_with_a_token_nothing_can_be_read_in_the_air(
    monkeypatch: pytest.MonkeyPatch, radio: VirtualRadio
) -> None:
    """And who does not know it is refused."""
    token, secret = tokens.make(), b"what nobody else is to read"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUSWAY_TOKEN", token)
        board = radio.peripheral("Guarded", place=2, module=BOARD)
    packets: list[bytes] = []
    write, read = BleChannel.write, BleChannel.read

    def written(channel: BleChannel, data: bytes | memoryview) -> int:
        packets.append(bytes(data))
        return write(channel, data)

    def came(channel: BleChannel, size_max: int = READ_SIZE) -> bytes | None:
        packets.append(read(channel, size_max) or b"")
        return packets[-1] or None

    monkeypatch.setattr(BleChannel, "write", written)
    monkeypatch.setattr(BleChannel, "read", came)
    async with AsyncBus(ipc=False, label="central") as bus:
        await bus.connect("ble://Guarded", token=token, wait=30)
        assert [link.protection for link in bus.links()] == ["token"]
        assert await bus.request("board/echo", secret, timeout=30) == secret
    assert len(packets) > 4
    assert not any(secret[:8] in packet or b"central" in packet for packet in packets)
    async with AsyncBus(ipc=False) as stranger:
        with pytest.raises(LinkRefused, match="token"):
            await stranger.connect("ble://Guarded", token=tokens.make(), wait=30)
    board.kill()


@pytest.mark.parametrize(("att_mtu", "fraction"), [(23, 0.7), (247, 0.85)])
def test_goodput_within_the_connection_interval(att_mtu: int, fraction: float) -> None:
    """Of what the packets have room for: 64-byte messages, 30 ms, and one packet of a hundred lost."""
    assert measure(Case(att_mtu, 30, 2, 0.01, 64)).fraction > fraction
