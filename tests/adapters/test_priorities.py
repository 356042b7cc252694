"""Priorities as programs use them, with asyncio and with threads, between nodes and within one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, get_args

import pytest

import busway
from busway import AsyncBus, Bus
from busway.adapters.typed import Priority
from busway.protocol import codes
from busway.testing import Network
from tests.adapters import threads_tools
from tests.adapters.test_sealed import ALICE, BOB, around
from tests.adapters.tools import buses, sees, until

pytestmark = pytest.mark.jumps

ALL: tuple[Priority, ...] = ("low", "normal", "high", "urgent")


def test_they_are_those_of_the_core() -> None:
    assert get_args(Priority) == codes.PRIORITY_NAMES == ALL


async def sent(bus: AsyncBus, to: str, **options: Any) -> None:
    """One of each priority, the lowest first."""
    for priority in ALL:
        await bus.send(to, priority, priority=priority, **options)


@pytest.mark.parametrize("count", [1, 2])
async def test_higher_ones_are_received_first(count: int) -> None:
    async with buses(count) as made:
        receiver = made[-1].register("log")
        await until(lambda: count == 1 or sees(made[0], "log"))
        await sent(made[0], "log")
        await asyncio.sleep(0.1)
        found = [await receiver.receive(60) for _ in ALL]
        assert [(message.priority, message.payload) for message in found] == [(p, p) for p in ALL[::-1]]


async def test_also_through_another_and_when_confirmed() -> None:
    async with Network() as network:
        a, b, c = [await network.bus(name, transit=True) for name in "abc"]
        await network.link(a, b)
        await network.link(b, c, realm="localnet")
        receiver = c.register("log")
        await until(lambda: sees(a, "log"))
        sending = [asyncio.create_task(a.send("log", p, confirm=True, priority=p)) for p in ALL]
        await asyncio.sleep(1)
        assert [(await receiver.receive(60)).priority for _ in ALL] == [*ALL[::-1]]
        await asyncio.gather(*sending)


async def test_published_ones_too() -> None:
    async with buses() as (a, b):
        receiver = b.subscribe("log")
        mine = a.subscribe("log")
        await until(lambda: sees(a, "log"))
        for priority in ALL:
            await a.publish("log", priority, priority=priority)
        await asyncio.sleep(0.1)
        for each in (receiver, mine):
            assert [(await each.receive(60)).payload for _ in ALL] == [*ALL[::-1]]


async def test_requests_say_theirs_and_higher_ones_are_served_first() -> None:
    served = []

    async def work(request: busway.Request[Any]) -> str:
        served.append(request.priority)
        await asyncio.sleep(1)
        return request.priority

    async with buses() as (a, b):
        b.serve("work", work, limit=1)
        await until(lambda: sees(a, "work"))
        first = asyncio.create_task(a.request("work", None))
        await asyncio.sleep(0.5)
        asked = [asyncio.create_task(a.request("work", None, priority=p)) for p in ALL]
        await asyncio.sleep(0.1)
        assert await asyncio.gather(first, *asked) == ["normal", *ALL]
        assert served[0] == "normal"
        assert served.index("urgent") < served.index("low")


async def test_parts_have_it_too() -> None:
    async def count(request: busway.Request[Any]) -> Any:
        for number in range(10):
            yield f"{request.priority} {number}"

    async with buses() as (a, b):
        b.serve("count", count)
        await until(lambda: sees(a, "count"))
        for priority in ALL:
            parts = [part async for part in a.request_stream("count", None, window=2, priority=priority)]
            assert parts == [f"{priority} {number}" for number in range(10)]


async def test_a_cancelled_urgent_request_is_called_off() -> None:
    ended = asyncio.Event()

    async def never(_: busway.Request[Any]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with buses() as (a, b):
        b.serve("never", never)
        await until(lambda: sees(a, "never"))
        asking = asyncio.create_task(a.request("never", None, priority="urgent"))
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.wait_for(ended.wait(), 30)


@pytest.mark.parametrize("word", ["Urgent", "", "lowest", 3, None, True])
async def test_other_words_are_refused_with_those_there_are(word: Any) -> None:
    async with AsyncBus(ipc=False) as bus:
        bus.register("log")
        calls = [bus.send("log", 1, priority=word), bus.publish("x", 1, priority=word)]
        calls += [bus.request("log", 1, priority=word), anext(bus.request_stream("log", priority=word))]
        for call in calls:
            with pytest.raises(ValueError, match="priority must be one of low, normal, high, urgent, not "):
                await call


async def test_sealed_ones_too_and_nobody_on_the_way_can_change_it() -> None:
    async with around() as (_, hostile, (alice, bob)):
        receiver = bob.register("log", realm="global")
        await until(lambda: sees(alice, "log"))
        await sent(alice, "log", sealed=True)
        await asyncio.sleep(1)
        found = [await receiver.receive(60) for _ in ALL]
        assert [(message.priority, message.payload) for message in found] == [(p, p) for p in ALL[::-1]]
        assert {message.verified is not None for message in found} == {True}
        bob.serve("ask", lambda request: request.priority, realm="global")
        await until(lambda: sees(alice, "ask"))
        assert await alice.request("ask", None, sealed=True, priority="high") == "high"
        with pytest.raises(ValueError, match="normal priority"):
            await alice.publish("news", 1, sealed=True, priority="high")
        assert hostile is not None
    assert ALICE.text != BOB.text


def in_parts(request: busway.Request[Any]) -> Iterator[str]:
    yield from [request.priority] * 3


def test_threads_have_them_too() -> None:
    with threads_tools.buses() as (a, b):
        receiver = b.register("log")
        b.serve("ask", lambda request: request.priority)
        b.serve("parts", in_parts)
        threads_tools.until(lambda: threads_tools.sees(a, "parts"))
        for priority in ALL:
            a.send("log", priority, priority=priority)
        threads_tools.until(lambda: len(receiver._core.queue) == 4)
        assert [receiver.receive(60).priority for _ in ALL] == [*ALL[::-1]]
        for priority in ALL:
            assert a.request("ask", None, priority=priority) == priority
            assert a.request_future("ask", None, priority=priority).result(60) == priority
            assert [*a.request_stream("parts", None, priority=priority)] == [priority] * 3
        news = b.subscribe("news")
        threads_tools.until(lambda: threads_tools.sees(a, "news"))
        a.publish("news", 1, priority="high")
        assert news.receive(60).priority == "high"
        wrong: Any = "top"
        for call in (a.send, a.publish, a.request, a.request_future):
            with pytest.raises(ValueError, match="priority must be one of low, normal, high, urgent"):
                call("log", 1, priority=wrong)


def test_within_one_program_of_threads() -> None:
    with Bus(ipc=False) as bus:
        receiver = bus.register("log", realm="process")
        for priority in ALL:
            bus.send("log", [priority], priority=priority)
        assert [receiver.receive(60).payload for _ in ALL] == [[priority] for priority in ALL[::-1]]
