"""Both type checkers see a contract's own methods at its clients, and the mistakes of callers."""

from pathlib import Path

import pytest

from tests.rigs import typing_tools

pytestmark = pytest.mark.timeout(2 * typing_tools.TIMEOUT_S)

CONTRACT = """
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Protocol, assert_type

import busway


@dataclass
class Status:
    rpm: int


@busway.service("lab/pump", version=1)
class Pump:
    class TooFast(busway.ServiceError):
        limit: int
        said: str = ""

    overheated: busway.Signal[float]

    async def set_speed(self, rpm: int, *, ramp: float = 0.0) -> Status:
        if rpm > 3000:
            raise self.TooFast(3000)
        await self.overheated.publish(98.5)
        return Status(rpm)

    async def scan(self, step: float) -> AsyncIterator[float]:
        yield step


@busway.service("lab/lamp")
class Lamp(busway.Contract, Protocol):
    switched: busway.Signal[bool] = busway.Signal()

    async def switch(self, on: bool) -> str: ...

    def blink(self, times: int) -> AsyncIterator[bool]: ...


class RealLamp(Lamp):
    async def switch(self, on: bool) -> str:
        return "on" if on else "off"

    async def blink(self, times: int) -> AsyncIterator[bool]:
        yield True


@busway.service("lab/drill")
class Drill:
    def turn(self, times: int) -> int:
        return times

    def count(self, to: int) -> Iterator[int]:
        yield to
"""

FITS = """

async def use(bus: busway.AsyncBus) -> None:
    async with bus.host(Pump()) as hosted, bus.host(RealLamp(), name="lab/lamp/2", limit=4):
        assert_type(hosted.version, int)
    pump = bus.client(Pump)
    assert_type(pump, Pump)
    assert_type(await pump.set_speed(300, ramp=0.5), Status)
    async for angle in pump.scan(1.5):
        assert_type(angle, float)
    async for celsius in pump.overheated:
        assert_type(celsius, float)
    with pump.overheated.subscribe(queue=2, policy="latest") as values:
        assert_type(await values.receive(1.0), float)
    try:
        await busway.using(pump, timeout=2.0, ttl=5.0, priority="high").set_speed(300)
    except Pump.TooFast as error:
        assert_type(error.limit, int)
    async with bus.client(Lamp, name="lab/lamp/2") as lamp:
        assert_type(await lamp.using(ttl=5.0).switch(True), str)
        async for on in lamp.blink(2):
            assert_type(on, bool)


def block(bus: busway.Bus) -> None:
    bus.host(Drill())
    drill = bus.client(Drill)
    assert_type(drill.turn(3), int)
    for number in drill.count(3):
        assert_type(number, int)
"""

MISTAKES = """

async def wrong(bus: busway.AsyncBus, other: busway.Bus) -> None:
    pump = bus.client(Pump)
    await pump.set_speed("fast")
    await pump.set_speed(300, 0.5)
    await pump.halt()
    print((await pump.set_speed(300)).turns)
    await busway.using(pump, timeouts=2.0).set_speed(300)
    await pump.overheated.publish("hot")
    print(Pump.TooFast("much").limit)
    await bus.client(Lamp).using(speed=1).switch(True)
    print(other.client(Drill).turn("x"))
    print(other.client(Pump).set_speed(300).rpm)
"""


def test_both_checkers(tmp_path: Path) -> None:
    fits, wrong = tmp_path / "fits.py", tmp_path / "wrong.py"
    fits.write_text(CONTRACT + FITS)
    wrong.write_text(CONTRACT + MISTAKES)
    lines = (CONTRACT + MISTAKES).splitlines()
    first = len(CONTRACT.splitlines()) + 5
    for said in (
        typing_tools.mypy(tmp_path, [fits, wrong]),
        typing_tools.basedpyright(tmp_path, [fits, wrong]),
    ):
        assert said.get(fits, []) == []
        complained = {int(each.partition(":")[0]) for each in said[wrong]}
        assert set(range(first, len(lines) + 1)) <= complained, said[wrong]
