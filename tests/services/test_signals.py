"""Signals: what a server publishes comes to the clients that subscribe."""

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from typing import Any

import pytest

import busway
from busway.testing import Network
from tests.services.pumps import AsyncPump, Pump, ThreadPump

pytestmark = pytest.mark.jumps


@busway.message(name="lab/hot")
@dataclass
class Hot:
    celsius: float


@busway.message(name="lab/cold")
@dataclass
class Cold:
    celsius: float


@busway.service("lab/oven", version=2)
class Oven:
    told: busway.Signal[Hot | Cold]
    heated = busway.Signal[Hot]()

    async def heat(self) -> None: ...


async def test_each_client_gets_what_is_published_from_then_on() -> None:
    async with Network() as network:
        one, two = await network.bus(), await network.bus()
        pump = AsyncPump()
        one.host(pump)
        await network.link(one, two)
        await pump.overheated.publish(97.0)
        async with two.client(Pump) as client:
            first, second = client.overheated.subscribe(), client.overheated.subscribe(queue=2)
            await network.settle()
            for celsius in (98, 99.0, 100.0):
                await pump.overheated.publish(celsius)
            await network.settle()
            assert [await first.receive(1.0) for _ in range(3)] == [98.0, 99.0, 100.0]
            assert [await anext(second) for _ in range(2)] == [99.0, 100.0]
            assert (first.missed, second.missed) == (0, 1)
            with pytest.raises(TimeoutError):
                await first.receive(0.5)
        with pytest.raises(busway.BusClosed):
            await first.receive()
        assert [value async for value in second] == []


async def test_a_loop_over_a_signal_subscribes_and_leaves() -> None:
    async with Network() as network:
        bus = await network.bus()
        pump = AsyncPump()
        bus.host(pump)
        client = bus.client(Pump)
        values = aiter(client.overheated)
        waiting = asyncio.ensure_future(anext(values))
        await network.settle()
        await pump.overheated.publish(99.0, priority="high")
        assert await waiting == 99.0
        assert any(each.name == "lab/pump/overheated" for each in bus.endpoints())
        await values.aclose()  # type: ignore[attr-defined]
        assert not any(each.name == "lab/pump/overheated" for each in bus.endpoints())


async def test_retained_values_and_names() -> None:
    """They have names of their own, which patterns mean and any program may subscribe to."""
    async with Network() as network:
        bus = await network.bus()
        pump = AsyncPump()
        bus.host(pump, name="lab/pump/7")
        await pump.overheated.publish(99.0, retain=True)
        assert await bus.client(Pump, name="lab/pump/7").overheated.subscribe().receive(5.0) == 99.0
        async with bus.subscribe("lab/pump/*/overheated") as plain:
            message = await plain.receive(5.0)
            assert (message.payload, message.name) == (99.0, "lab/pump/7/overheated")


async def test_message_types_are_told_apart() -> None:
    async with Network() as network:
        one, two = await network.bus(), await network.bus()
        oven = Oven()
        one.host(oven)
        await network.link(one, two)
        client = two.client(Oven)
        with client.told.subscribe() as told, client.heated.subscribe() as heated:
            await network.settle()
            await oven.told.publish(Hot(200.0))
            await oven.told.publish(Cold(20.0))
            await oven.heated.publish(Hot(210.0))
            assert [await told.receive(1.0) for _ in range(2)] == [Hot(200.0), Cold(20.0)]
            assert await heated.receive(1.0) == Hot(210.0)
            with pytest.raises(TypeError, match="heated: expected Hot, got Cold"):
                await oven.heated.publish(Cold(1.0))  # type: ignore[arg-type]


async def test_what_is_no_value_of_the_signal() -> None:
    async with Network() as network:
        bus = await network.bus()
        pump = AsyncPump()
        bus.host(pump)
        client = bus.client(Pump)
        with pytest.raises(TypeError, match="overheated: expected float, got str"):
            pump.overheated.publish("hot")  # type: ignore[arg-type]
        with client.overheated.subscribe() as values:
            await bus.publish("lab/pump/overheated", "hot")
            with pytest.raises(busway.PayloadError, match="overheated: expected float, got str"):
                await values.receive(5.0)
            await pump.overheated.publish(99.0)
            assert await values.receive(5.0) == 99.0


async def test_each_side_has_its_own() -> None:
    async with Network() as network:
        bus = await network.bus()
        pump = AsyncPump()
        with pytest.raises(busway.BusError, match="host the object first"):
            pump.overheated.publish(1.0)
        with pytest.raises(busway.BusError, match="makes what subscribes"):
            aiter(pump.overheated)
        bus.host(pump)
        with pytest.raises(busway.BusError, match="lab/pump/overheated is published here"):
            pump.overheated.subscribe()
        with pytest.raises(busway.BusError, match="lab/pump/overheated is for the server to publish"):
            bus.client(Pump).overheated.publish(1.0)


async def test_a_subscription_waits_for_a_server_that_is_not_there_yet() -> None:
    async with Network() as network:
        bus = await network.bus()
        with bus.client(Pump).overheated.subscribe() as values:
            waiting = asyncio.ensure_future(values.receive())
            await asyncio.sleep(5.0)
            pump = AsyncPump()
            bus.host(pump)
            await pump.overheated.publish(99.0)
            assert await waiting == 99.0


def test_signals_of_threads() -> None:
    pump = ThreadPump()
    found: list[float] = []
    heard = threading.Event()

    def listen(client: Any) -> None:
        for celsius in client.overheated:
            found.append(celsius)
            heard.set()

    with busway.Bus("signals") as one, busway.Bus("signals") as two:
        one.host(pump, Pump)
        client: Any = two.client(Pump).using(ttl=30.0)
        client.set_speed(1)
        with client:
            listener = threading.Thread(target=listen, args=(client,))
            listener.start()
            while not heard.wait(0.05):
                client.set_speed(-7)
        listener.join(60)
        assert not listener.is_alive()
        with client.overheated.subscribe() as values, contextlib.suppress(TimeoutError):
            values.receive(0.01)
    assert set(found) == {-7.0}
