"""Links that are dialled and heal, in memory: when they are tried again, what becomes of what was sent."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from functools import partial
from typing import cast

import pytest

import busway
from busway import AsyncBus, Retry
from busway.adapters import making, opening
from tests.adapters import memory_driver
from tests.adapters.test_healing import QUICK
from tests.adapters.tools import knows, sees, until

pytestmark = pytest.mark.jumps

URL, OTHER = "tcp://lab:1", "tcp://lab:2"


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Joins in memory whoever dials a tcp:// URL."""
    row = opening.Driver("tests.adapters.memory_driver", "", URL)
    monkeypatch.setitem(opening.DRIVERS, "tcp", row)
    for name in ("places", "names"):
        monkeypatch.setattr(memory_driver, name, {})
    monkeypatch.setattr(memory_driver, "lines", [])


@contextlib.asynccontextmanager
async def server(url: str = URL) -> AsyncIterator[AsyncBus]:
    """A bus that can be dialled at `url`, until it closes."""
    async with AsyncBus(ipc=False, label="server") as bus:
        memory_driver.places[url] = bus.attach
        try:
            yield bus
        finally:
            del memory_driver.places[url]


def client() -> AsyncBus:
    return AsyncBus(ipc=False, label="client")


def now() -> float:
    return asyncio.get_running_loop().time()


# What is told


async def test_the_next_try_is_announced() -> None:
    async with client() as bus:
        async with server():
            link = await bus.connect(URL, retry=Retry(first=50, cap=60, jitter=0.5))
            assert bus.links()[0].next_try is None
        await until(lambda: link.state == "reconnecting")
        next_try = link.next_try
        assert next_try is not None
        assert 20 < next_try <= 50
        assert link.attempt == 0
        link.close()
        assert str(link) == f"<link to {URL}: closed>"
        assert bus.links() == []


async def test_an_orderly_end_of_the_other_side_is_healed_too() -> None:
    async with client() as bus:
        async with server():
            link = await bus.connect(URL, retry=QUICK)
        await until(lambda: link.state == "reconnecting")
        async with server() as again:
            again.register("log")
            await until(lambda: link.state == "connected" and sees(bus, "log"))


# Waiting for the first opening


async def test_nobody_there_is_told_at_once_by_default() -> None:
    async with client() as bus:
        with pytest.raises(ConnectionRefusedError):
            await bus.connect(URL)
        assert not bus._host.dialled
        assert bus.links() == []


async def test_with_wait_it_goes_on_trying() -> None:
    async with client() as bus:
        connecting = asyncio.create_task(bus.connect(URL, retry=QUICK, wait=math.inf))
        await until(lambda: bus.links() and bus.links()[0].attempt > 2)
        assert bus.links()[0].state == "connecting"
        async with server() as there:
            assert (await connecting).peer == there.id


async def test_wait_ends() -> None:
    async with client() as bus:
        began = now()
        with pytest.raises(ConnectionRefusedError):
            await bus.connect(URL, retry=QUICK, wait=0.3)
        waited = round(now() - began, 6)  # a float of many seconds has no more digits
        assert 0.3 <= waited < 5


async def test_a_silent_program_at_the_first_address_holds_the_second_up_for_a_while() -> None:
    memory_driver.names["tcp://lab:3"] = [OTHER, URL]
    memory_driver.places[OTHER] = lambda end: None
    async with client() as bus, server() as there:
        began = now()
        link = await bus.connect("tcp://lab:3", retry=None)
        assert link.peer == there.id
        assert now() - began < opening.CONNECT_S


# One link for one URL


async def test_the_same_connect_twice_is_one_link() -> None:
    async with client() as bus, server() as there:
        one, two = await asyncio.gather(bus.connect(URL), bus.connect(URL))
        assert one is two
        assert await bus.connect(URL) is one
        assert len(bus.links()) == 1
        dear = await bus.connect(URL, cost=500)
        assert dear is not one
        assert one.state == "closed"
        await until(lambda: len(bus.links()) == len(there.links()) == 1)
        assert knows(bus, there.id)
        assert dear.state == "connected"


async def test_without_retry_a_loss_is_the_end() -> None:
    async with client() as bus:
        async with server():
            link = await bus.connect(URL, retry=False)
        await until(lambda: link.state == "closed")
        assert bus.links() == []


async def test_a_cancelled_connect_leaves_nothing_and_another_waiter_its_link() -> None:
    async with client() as bus:
        mine = asyncio.create_task(bus.connect(URL, retry=QUICK, wait=math.inf))
        await until(lambda: bus._host.dialled)
        second = asyncio.create_task(bus.connect(URL, retry=QUICK, wait=math.inf))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert bus._host.dialled
        mine.cancel()
        with pytest.raises(asyncio.CancelledError):
            await mine
        assert not bus._host.dialled
        assert bus.links() == []


# Half-open links, replaced connections


async def test_a_line_that_drops_in_silence_is_noticed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server keeps the dead connection for a while: the new one takes its place, at both ends."""
    monkeypatch.setitem(making._LINK_DEFAULTS, "tcp", (16, 100))
    async with client() as bus, server() as there:
        there.serve("echo", lambda request: request.payload)
        link = await bus.connect(URL, retry=QUICK)
        assert await bus.request("echo", 1) == 1
        memory_driver.forget(memory_driver.lines[0])
        await until(lambda: link.losses == 1)
        assert "nothing was heard" in link.error or link.state == "connected"
        await until(lambda: link.state == "connected")
        assert await bus.request("echo", 2) == 2
        await until(lambda: len(there.links()) == 1)
        await until(lambda: link.rtt is not None)  # the keepalive's
        assert knows(bus, there.id)
        assert await bus.request("echo", 3) == 3
        assert (link.state, link.losses, len(memory_driver.lines)) == ("connected", 1, 2)


async def test_a_reset_line_is_dialled_again_though_the_server_has_not_noticed() -> None:
    """No keepalive at all: what is half open at the server ends by the rule for two links of one dialler."""
    async with client() as bus, server() as there:
        log = there.register("log")
        link = await bus.connect(URL, retry=QUICK)
        await bus.send("log", 0)
        await until(lambda: len(log._core.queue))
        old = next(iter(bus._host.runners))
        memory_driver.forget(memory_driver.lines[0])  # the server hears nothing of what follows
        old.channel.close()
        old.close()
        await until(lambda: link.losses == 1 and link.state == "connected")
        assert len(there.links()) <= 2
        for number in range(1, 20):
            await bus.send("log", number, confirm=False)
        for number in range(20):
            assert (await log.receive(60)).payload == number
        await until(lambda: len(there.links()) == 1)
        assert (await bus.connect(URL, retry=QUICK)) is link
        assert link.state == "connected"


async def test_both_dial_each_other_and_both_links_heal() -> None:
    """Their addresses differ, so both links stand, and each dialler looks after its own."""
    async with server() as a, server(OTHER) as b:
        a.serve("echo", lambda request: request.payload)
        there = await b.connect(URL, retry=QUICK)
        back = await a.connect(OTHER, retry=QUICK)
        assert len(a.links()) == len(b.links()) == 2
        for runner in list(b._host.runners):
            runner.close()
        await until(lambda: there.losses == back.losses == 1)
        await until(lambda: there.state == back.state == "connected")
        await until(lambda: len(a.links()) == len(b.links()) == 2)
        assert await b.request("echo", 1) == 1


async def test_confirmed_sends_over_a_line_that_is_cut_again_and_again() -> None:
    """Each has one verdict, what was confirmed arrived, nothing arrives twice, and the order stands."""
    async with client() as bus, server() as there:
        log = there.register("log")
        link = await bus.connect(URL, retry=QUICK)
        got: list[int] = []

        async def read() -> None:
            async for message in log:
                got.append(cast(int, message.payload))  # noqa: PERF401 - it is read meanwhile

        reading = asyncio.create_task(read())
        verdicts: dict[int, str] = {}

        async def send(number: int) -> None:
            try:
                await bus.send("log", number, confirm=True, ttl=30, timeout=60)
                verdicts[number] = "taken"
            except (busway.Undeliverable, busway.DeliveryUnknown) as error:
                verdicts[number] = type(error).__name__

        for round in range(6):
            begun = round * 30
            sending = [asyncio.create_task(send(begun + number)) for number in range(30)]
            await until(partial(lambda begun: len(verdicts) > begun + 10, begun))
            memory_driver.lines[-1].fail()
            await until(partial(lambda round: link.losses == round + 1, round))
            await asyncio.gather(*sending)
            await until(lambda: link.state == "connected")
        assert sorted(verdicts) == list(range(180))
        taken = {number for number, verdict in verdicts.items() if verdict == "taken"}
        await until(lambda: taken <= set(got))
        assert got == sorted(set(got))
        assert len(taken) > 60
        reading.cancel()
