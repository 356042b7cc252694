"""Subscribing by pattern, as programs do it: both buses, typed messages, and what is no pattern."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import busway
from tests.adapters.threads_tools import buses as blocking_buses
from tests.adapters.threads_tools import sees as blocking_sees
from tests.adapters.threads_tools import until as blocking_until
from tests.adapters.tools import buses, sees, until

pytestmark = pytest.mark.jumps


@busway.message(name="hall/1/level")
@dataclass
class Level:
    """A message type."""

    metres: float


async def test_a_pattern_gets_what_is_published_to_any_name_that_it_means() -> None:
    async with buses(3) as (a, _, c):
        temperatures = c.subscribe("lab/*/temperature")
        everything = a.subscribe("lab/**")
        await until(lambda: sees(a, "lab/*/temperature"))
        for name, value in (("lab/1/temperature", 20.5), ("lab/1/door", "open"), ("lab/2/temperature", 3)):
            await a.publish(name, value)
        got = [await temperatures.receive(60) for _ in range(2)]
        assert [(each.name, each.payload) for each in got] == [
            ("lab/1/temperature", 20.5),
            ("lab/2/temperature", 3),
        ]
        assert [(await everything.receive(60)).name for _ in range(3)] == [
            "lab/1/temperature",
            "lab/1/door",
            "lab/2/temperature",
        ]
        assert got[0].endpoint_name == "lab/*/temperature"
        assert (got[0].retained, got[0].last_word) == (False, False)


async def test_typed_messages_come_as_their_types() -> None:
    async with buses(2) as (a, b):
        levels = b.subscribe("hall/**", types=(Level,))
        await until(lambda: sees(a, "hall/**"))
        await a.publish(Level, Level(1.5))
        await a.publish("hall/2/level", Level(2.5))
        got = [await levels.receive(60) for _ in range(2)]
        assert [(each.name, each.payload) for each in got] == [
            ("hall/1/level", Level(1.5)),
            ("hall/2/level", Level(2.5)),
        ]


@pytest.mark.parametrize("name", ["lab/*", "**", "lab/*/t"])
async def test_nothing_but_a_subscription_goes_to_a_pattern(name: str) -> None:
    async with buses(1) as (bus,):
        bus.subscribe(name)
        for call in (bus.publish, bus.send, bus.request):
            with pytest.raises(ValueError, match="is a pattern, which stands for many names"):
                await call(name, 1)
        for register in (bus.register, lambda name: bus.serve(name, print)):
            with pytest.raises(ValueError, match="is a pattern, which stands for many names"):
                register(name)
        with pytest.raises(ValueError, match="is a pattern"):
            await bus.trace(name)
        with pytest.raises(ValueError, match="is a pattern"):
            bus.try_send(name)


@pytest.mark.parametrize("name", ["lab/t*", "***", "lab/*x/**"])
async def test_a_star_stands_for_a_whole_level(name: str) -> None:
    async with buses(1) as (bus,):
        for call in (bus.subscribe, bus.register):
            with pytest.raises(ValueError, match=r"a \* stands for a whole level"):
                call(name)
        with pytest.raises(ValueError, match=r"a \* stands for a whole level"):
            await bus.publish(name, 1)


def test_a_message_type_is_of_one_name() -> None:
    with pytest.raises(ValueError, match="stands for one endpoint"):
        busway.message(name="lab/*")


def test_the_blocking_bus_alike() -> None:
    with blocking_buses(2) as (a, b):
        receiver = b.subscribe("lab/**")
        blocking_until(lambda: blocking_sees(a, "lab/**"))
        a.publish("lab/1/temperature", 20.5)
        message = receiver.receive(60)
        assert (message.name, message.payload) == ("lab/1/temperature", 20.5)
        with pytest.raises(ValueError, match="is a pattern"):
            a.publish("lab/**", 1)
