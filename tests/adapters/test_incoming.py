"""Strangers who come to a listener and say nothing: they take no place from those who belong there."""

from __future__ import annotations

import asyncio
import math
import socket

import pytest

import busway
from busway import AsyncBus
from busway.adapters import incoming
from busway.adapters.incoming import INCOMING_MAX, INCOMING_OF_ADDRESS_MAX, Incoming, IncomingLinks, origin_of
from tests.adapters.tools import until

TOKEN = "k8ZrjV0pQ3m5wX1cT6yB9u"


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("tcp://192.0.2.1:5000", "192.0.2.1"),
        ("tcp://[2001:db8:1:2:3:4:5:6]:5000", "2001:db8:1:2::/64"),
        ("wss://[2001:db8:1:2::9]:5000", "2001:db8:1:2::/64"),
        ("tcp://[::ffff:192.0.2.1]:5000", "192.0.2.1"),
        ("tcp://[fe80::1%eth0]:5000", "fe80::/64"),
        ("pipe://some", "pipe://some"),
        ("odd", "odd"),
    ],
)
def test_the_origin_of_an_address(address: str, origin: str) -> None:
    assert origin_of(address) == origin


class Crowd:
    """IncomingLinks of made addresses; `gone` are those who have been turned away."""

    def __init__(self) -> None:
        self.incoming = IncomingLinks()
        self.gone: list[Incoming] = []
        self.waiting: list[Incoming] = []

    def come(self, origin: str, now_s: float) -> Incoming | None:
        incoming = self.incoming.admit(f"tcp://{origin}:1", now_s)
        if incoming is not None:
            self.waiting.append(incoming)
            incoming.waits = lambda: incoming in self.waiting
            incoming.turn_away = lambda: self.gone.append(incoming)
        return incoming


def test_as_many_of_one_address_as_may_wait_and_no_more() -> None:
    crowd = Crowd()
    assert all(crowd.come("192.0.2.1", 0.0) for _ in range(INCOMING_OF_ADDRESS_MAX))
    assert crowd.come("192.0.2.1", 0.99) is None
    assert crowd.come("192.0.2.2", 0.99) is not None
    assert (crowd.incoming.turned_away, crowd.gone) == (1, [])


def test_who_has_been_silent_for_a_second_makes_room() -> None:
    crowd = Crowd()
    first, second, *_ = [crowd.come("192.0.2.1", n / 100) for n in range(INCOMING_OF_ADDRESS_MAX)]
    assert crowd.come("192.0.2.1", 1.0) is not None
    assert crowd.gone == [first]
    assert crowd.come("192.0.2.1", 1.0) is None
    assert crowd.come("192.0.2.1", 1.02) is not None
    assert crowd.gone == [first, second]


def test_who_has_proved_itself_counts_no_more() -> None:
    crowd = Crowd()
    for _ in range(INCOMING_OF_ADDRESS_MAX):
        crowd.come("192.0.2.1", 0.0)
    crowd.waiting.clear()
    assert all(crowd.come("192.0.2.1", 0.0) for _ in range(INCOMING_OF_ADDRESS_MAX))
    assert crowd.come("192.0.2.1", 0.0) is None


def test_as_many_of_all_addresses_as_may_wait_and_no_more() -> None:
    crowd = Crowd()
    for number in range(INCOMING_MAX):
        assert crowd.come(f"192.0.2.{number}", 0.0)
    assert crowd.come("198.51.100.1", 0.5) is None
    assert crowd.come("198.51.100.1", 1.0) is not None
    assert [incoming.origin for incoming in crowd.gone] == ["192.0.2.0"]


# Real listeners --------------------


class Strangers:
    """Sockets that connect from one address and say nothing."""

    def __init__(self, url: str) -> None:
        host, _, port = url.partition("://")[2].rpartition(":")
        self.place = (host, int(port))
        self.sockets: list[socket.socket] = []

    async def come(self, count: int, source: str, says: bytes = b"") -> None:
        for _ in range(count):
            sock = socket.create_connection(self.place, 10, source_address=(source, 0))
            sock.sendall(says)
            sock.setblocking(False)
            self.sockets.append(sock)
            if len(self.sockets) % 16 == 0:
                await asyncio.sleep(0)

    def still_in(self, source: str) -> int:
        def is_open(sock: socket.socket) -> bool:
            try:
                return bool(sock.recv(4096))
            except BlockingIOError:
                return True
            except OSError:
                return False

        mine = [sock for sock in self.sockets if sock.getsockname()[0] == source]
        return sum(map(is_open, mine))

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
async def test_strangers_of_one_address_take_no_more_than_its_places(
    scheme: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "PATIENCE_S", 100.0)
    async with AsyncBus(ipc=False, label="hub") as hub:
        listener = await hub.listen(f"{scheme}://127.0.0.1:0", token=TOKEN)
        strangers = Strangers(listener.url)
        try:
            await strangers.come(3 * INCOMING_OF_ADDRESS_MAX, "127.0.0.2")
            await until(lambda: hub._host.incoming.turned_away == 2 * INCOMING_OF_ADDRESS_MAX)
            await until(lambda: strangers.still_in("127.0.0.2") == INCOMING_OF_ADDRESS_MAX)
            assert len(hub._host.runners) <= INCOMING_OF_ADDRESS_MAX
            async with AsyncBus(ipc=False) as one:
                assert (await one.connect(listener.url, token=TOKEN)).state == "connected"
            assert hub.node.counters["incoming_turned_away"] == 2 * INCOMING_OF_ADDRESS_MAX
            told = [record.message for record in caplog.records if "too many come at once" in record.message]
            assert len(told) == 1
        finally:
            strangers.close()


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
async def test_who_shares_the_strangers_address_gets_in_all_the_same(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "PATIENCE_S", 0.1)
    async with AsyncBus(ipc=False, label="hub") as hub:
        listener = await hub.listen(f"{scheme}://127.0.0.1:0", token=TOKEN)
        strangers = Strangers(listener.url)
        try:
            await strangers.come(INCOMING_OF_ADDRESS_MAX, "127.0.0.1")
            await until(lambda: len(hub._host.incoming._waiting) == INCOMING_OF_ADDRESS_MAX)
            async with AsyncBus(ipc=False) as one:
                link = await one.connect(listener.url, token=TOKEN, wait=math.inf)
                assert link.state == "connected"
            assert hub._host.incoming.turned_away >= 1
        finally:
            strangers.close()


async def test_a_crowd_of_our_own_gets_in_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "INCOMING_OF_ADDRESS_MAX", 2)
    async with AsyncBus(ipc=False, label="hub") as hub:
        listener = await hub.listen("tcp://127.0.0.1:0", token=TOKEN)
        crowd = [AsyncBus(ipc=False, leaf=True) for _ in range(8)]
        for bus in crowd:
            await bus.open()
        try:
            retry = busway.Retry(first=0.01, cap=0.05)
            links = await asyncio.gather(
                *(bus.connect(listener.url, token=TOKEN, wait=math.inf, retry=retry) for bus in crowd)
            )
            assert [link.state for link in links] == ["connected"] * len(crowd)
        finally:
            for bus in crowd:
                await bus.close()


async def test_programs_of_this_machine_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "INCOMING_MAX", 0)
    monkeypatch.setattr(incoming, "INCOMING_OF_ADDRESS_MAX", 0)
    async with AsyncBus() as one, AsyncBus() as two:
        await until(lambda: {node.id for node in one.nodes()} == {one.id, two.id})
