"""The firmware examples at a serial line, on a real MicroPython, reached through a bridge as on a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import busway
from busway.protocol import codes
from tests.front.cli_rig import busway as run_busway
from tests.rigs import aio
from tests.rigs.boards import Board, board


@contextlib.asynccontextmanager
async def bridged(url: str) -> AsyncIterator[busway.AsyncBus]:
    """A program that knows nothing of the board, and a gateway that joins the board to its bus."""
    async with (
        busway.AsyncBus(label="gateway", transit=True) as gateway,
        busway.AsyncBus(label="program") as program,
    ):
        await gateway.connect(url)
        yield program


async def first(bus: busway.AsyncBus, name: str) -> Any:
    async for message in bus.subscribe(name):
        return message.payload
    raise AssertionError("the subscription ended")


def test_a_reading_comes_to_a_program_behind_the_gateway(tmp_path: Path) -> None:
    async def main(found: Board) -> None:
        async with bridged(found.url) as program:
            reading = await first(program, "lab/temperature")
            assert reading == {"celsius": pytest.approx(27.0, abs=10.0)}
            found.put("adc4", 13000)  # a lower voltage is a warmer chip
            async for message in program.subscribe("lab/temperature"):
                payload: Any = message.payload
                if payload["celsius"] > reading["celsius"] + 20:
                    return

    with board("uart_sensor.py", tmp_path) as found:
        aio.run(main(found))


def test_the_sensor_shows_which_board_it_is(tmp_path: Path) -> None:
    async def main(found: Board) -> None:
        async with bridged(found.url) as program:
            assert await program.request("lab/identify", 2, ttl=30) == {"blinks": 2}
            await asyncio.to_thread(found.until_pin, 25, 1)
            await asyncio.to_thread(found.until_pin, 25, 0)
            with pytest.raises(busway.RemoteError, match="1 to 20") as caught:
                await program.request("lab/identify", 0)
            assert caught.value.code == 256

    with board("uart_sensor.py", tmp_path) as found:
        aio.run(main(found))


def test_the_pump_obeys_and_its_rules_hold(tmp_path: Path) -> None:
    async def main(found: Board) -> None:
        found.put("pin14", 0)  # the float switch is closed: there is water
        async with bridged(found.url) as program:
            order = {"on": True, "seconds": 30}
            assert await program.request("lab/pump", order, ttl=30) == order
            assert found.pin(15) == 1
            off = {"on": False, "seconds": 0}
            assert await program.request("lab/pump", {"on": False}) == off
            assert found.pin(15) == 0

            assert await program.request("lab/pump", {"on": True, "seconds": 1})
            await asyncio.to_thread(found.until_pin, 15, 0)

            await program.request("lab/pump", order)
            found.put("pin14", 1)
            await asyncio.to_thread(found.until_pin, 15, 0)
            with pytest.raises(busway.RemoteError, match="no water") as caught:
                await program.request("lab/pump", order)
            assert caught.value.code == 256
            for nonsense in (None, {"on": 1}, {"on": True, "seconds": 61}, {"on": True, "seconds": "x"}):
                with pytest.raises(busway.RemoteError) as caught:
                    await program.request("lab/pump", nonsense)
                assert caught.value.code == 257
            state = await first(program, "lab/pump/state")
            assert (state["on"], state["water"]) == (False, False)

    with board("pump.py", tmp_path) as found:
        aio.run(main(found))


def test_what_a_board_logs_is_heard_at_every_node(tmp_path: Path) -> None:
    async def main(found: Board) -> None:
        async with bridged(found.url) as program:
            heard = program.subscribe("busway/log")
            told: Any = {}
            while told.get("text") != "blinking 1 times":
                # Again until it is heard: the gateway must know first that somebody listens.
                await program.request("lab/identify", 1, ttl=30)
                with contextlib.suppress(TimeoutError):
                    told = (await heard.receive(timeout=0.5)).payload
            assert told["label"] == "lab-pico"
            assert told["address"] == found.url

    with board("uart_sensor.py", tmp_path) as found:
        aio.run(main(found))


def test_a_command_to_a_board_that_sleeps_is_taken_when_it_wakes(tmp_path: Path) -> None:
    async def main(found: Board) -> None:
        async with bridged(found.url) as program:
            readings = program.subscribe("lab/battery")
            await asyncio.to_thread(found.until, "asleep", 60_000)
            seconds = [asyncio.create_task(order(program, number)) for number in (7, 8, 9)]
            gateway = next(node for node in program.nodes() if node.label == "gateway")
            await program.request(codes.INTROSPECTION, None, node=gateway.id)  # so they are there by now
            assert not any(task.done() for task in seconds)
            found.until("asleep", 60_000)
            shown = await asyncio.to_thread(run_busway, "links", bus="default")
            assert re.search(
                r"lab-battery .* asleep for \d+ s .* [1-9]\d* B +no +-$", shown.text, re.MULTILINE
            ), shown.text + shown.stderr
            found.put("wake", 1)
            await asyncio.gather(*seconds)
            await asyncio.to_thread(found.until, "asleep", 9000)
            found.put("wake", 1)
            assert (await readings.receive(timeout=60)).payload == {
                "volts": pytest.approx(2.1, abs=0.1),
                "celsius": pytest.approx(27.0, abs=10.0),
            }

    async def order(program: busway.AsyncBus, seconds: int) -> None:
        await program.send("lab/battery/period", seconds, confirm=True, ttl=30, timeout=60.0)

    with board("battery_sensor.py", tmp_path) as found:
        aio.run(main(found))


def test_the_pump_stops_when_the_link_is_lost(tmp_path: Path) -> None:
    async def main(found: Board) -> None:
        found.put("pin14", 0)
        async with bridged(found.url) as program:
            await program.request("lab/pump", {"on": True, "seconds": 60}, ttl=30)
            assert found.pin(15) == 1
        await asyncio.to_thread(found.until_pin, 15, 0)

    with board("pump.py", tmp_path) as found:
        aio.run(main(found))


def test_a_board_that_is_reset_is_back_on_the_same_line(tmp_path: Path) -> None:
    async def main(found: Board) -> None:
        async with bridged(found.url) as program:
            for _ in range(3):
                assert await program.request("lab/identify", 1, ttl=30, timeout=60) == {"blinks": 1}
                found.reset()
                with contextlib.suppress(busway.BusError):  # asked of the board that was: told, not silent
                    await program.request("lab/identify", 1, timeout=10)
            assert await program.request("lab/identify", 1, ttl=30, timeout=60) == {"blinks": 1}

    with board("uart_sensor.py", tmp_path) as found:
        aio.run(main(found))
