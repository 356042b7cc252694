"""Last values, as programs keep, get and ask for them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import busway
from tests.adapters.threads_tools import buses as blocking_buses
from tests.adapters.tools import buses, sees, until

pytestmark = pytest.mark.jumps


@busway.message(name="lasts/level")
@dataclass
class Level:
    """A message type."""

    metres: float


async def test_who_subscribes_later_gets_the_last_value() -> None:
    async with buses(3) as (a, b, c):
        await a.publish("lab/mode", "idle", retain=True)
        await a.publish("lab/mode", "busy", retain=True)
        receiver = c.subscribe("lab/*")
        message = await receiver.receive(60)
        assert (message.name, message.payload, message.retained) == ("lab/mode", "busy", True)
        assert message.source == a.id
        assert (await b.last("lab/mode")).payload == "busy"
        assert (await a.last("lab/mode")).payload == "busy"
        for _ in range(3):  # as often as one likes
            assert (await c.last("lab/mode", timeout=None)).retained
        await until(lambda: not sees(b, "lab/mode"))  # who has asked is gone
        await a.publish("lab/mode", retain=None)
        await until(lambda: a.node.origin.retained.values == {})
        with pytest.raises(TimeoutError, match=r"no last value of lab/mode came within 0\.5 s"):
            await b.last("lab/mode", timeout=0.5)


async def test_typed_values_and_one_asked_for_by_its_class() -> None:
    async with buses(2) as (a, b):
        await a.publish(Level, Level(1.5), retain=True)
        found = await b.last(Level)
        assert found.payload == Level(1.5)
        family = b.subscribe("lasts/*", types=(Level,))
        assert (await family.receive(60)).payload == Level(1.5)


async def test_who_subscribes_itself_asks_in_its_own_realm() -> None:
    async with buses(2) as (a, b):
        await a.publish("lab/mode", 1, retain=True)
        mine = b.subscribe("lab/mode", realm="userspace")
        assert (await mine.receive(60)).payload == 1
        assert (await b.last("lab/mode")).payload == 1


async def test_so_many_are_kept() -> None:
    async with busway.AsyncBus(ipc=False, retained=(2, 10_000)) as bus:
        for name in ("lab/1", "lab/2"):
            await bus.publish(name, 1, retain=True)
        with pytest.raises(busway.BusError, match="keeps 2 last values"):
            await bus.publish("lab/3", 1, retain=True)
        await bus.publish("lab/1", retain=None)
        await bus.publish("lab/3", b"x" * 5000, retain=True)
        with pytest.raises(busway.BusError, match="clear some first"):
            await bus.publish("lab/2", b"x" * 6000, retain=True)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"retain": 1}, TypeError, "retain must be True, False, or None"),
        ({"retain": None}, ValueError, "takes no payload"),
        ({"retain": True, "best_effort": True}, ValueError, "leave best_effort out"),
        ({"retain": True, "sealed": True}, ValueError, "cannot be retained"),
        ({"retain": True, "realm": "moon"}, ValueError, "realm must be"),
        ({"retain": True, "priority": "top"}, ValueError, "priority must be"),
    ],
)
async def test_what_does_not_go_together_is_refused(
    options: dict[str, object], error: type[Exception], sentence: str
) -> None:
    async with buses(1) as (bus,):
        with pytest.raises(error, match=sentence):
            await bus.publish("lab/mode", 1, **options)  # type: ignore[call-overload]
        assert bus.node.origin.retained.values == {}
        with pytest.raises(ValueError, match="is a pattern"):
            await bus.publish("lab/*", 1, retain=True)
        with pytest.raises(ValueError, match="is a pattern"):
            await bus.last("lab/*")


@pytest.mark.parametrize("retained", [5, (1,), (1, "2"), (-1, 0)])
def test_bounds_that_are_none(retained: object) -> None:
    with pytest.raises((TypeError, ValueError), match="retained"):
        busway.AsyncBus(ipc=False, retained=retained)  # type: ignore[arg-type]


def test_the_blocking_bus_alike() -> None:
    with blocking_buses(2) as (a, b):
        a.publish("lab/mode", "idle", retain=True)
        assert b.last("lab/mode").payload == "idle"
        with b.subscribe("lab/**") as receiver:
            assert receiver.receive(60).retained
        a.publish("lab/mode", retain=None)
        with pytest.raises(TimeoutError, match="no last value"):
            b.last("lab/mode", timeout=0.2)


async def test_one_who_leaves_takes_its_values_along() -> None:
    async with buses(2) as (a, b):
        await a.publish("lab/mode", 1, retain=True)
        receiver = b.subscribe("lab/mode")
        assert (await receiver.receive(60)).payload == 1
        await a.close()
        await until(lambda: not sees(b, "lab/mode") and len(b.nodes()) == 1)
        second = b.subscribe("lab/mode")
        with pytest.raises(TimeoutError):
            await second.receive(1)
