"""Buses over a pty as their serial line: joining, noise, what a board prints, and a board that is reset."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import busway
from busway.adapters import board_logs
from busway.drivers import serial
from tests.adapters.tools import until
from tests.drivers.lines import Line, line
from tests.rigs import aio
from tests.rigs.uarts import Uart


def silence(runner: Any) -> None:
    """The board is gone without a word, as after a reset."""
    loop = asyncio.get_running_loop()
    loop.remove_reader(runner.channel.fileno())
    loop.remove_writer(runner.channel.fileno())
    runner.channel.close()


def times(factor: int, request: Any) -> Any:
    return factor * request.payload


@pytest.fixture
def wire() -> Iterator[Line]:
    with line() as made:
        yield made


@contextlib.asynccontextmanager
async def gateway(wire: Line, query: str = "") -> AsyncIterator[busway.AsyncBus]:
    async with busway.AsyncBus(ipc=False, label="gateway") as bus:
        bus.attach(serial.dial(wire.device, wire.url + query))
        yield bus


@contextlib.asynccontextmanager
async def board(wire: Line, flip: float = 0.0) -> AsyncIterator[tuple[busway.AsyncBus, Any]]:
    """A leaf at the other end: its bus and its link."""
    async with busway.AsyncBus(ipc=False, leaf=True, label="board") as bus:
        bus.serve("lab/double", lambda request: times(2, request))
        runner = bus.attach(Uart(wire, flip))
        yield bus, runner


def test_requests_both_ways(wire: Line) -> None:
    async def main() -> None:
        async with gateway(wire) as here, board(wire) as (there, runner):
            here.serve("lab/triple", lambda request: times(3, request))
            await runner.ready
            assert await here.request("lab/double", 4, ttl=30) == 8
            assert await there.request("lab/triple", 4, ttl=30) == 12

    aio.run(main())


def test_a_pattern_beyond_a_line_between_routers_gets_what_is_published(wire: Line) -> None:
    async def main() -> None:
        async with gateway(wire, "?baud=9600") as here, busway.AsyncBus(ipc=False, label="far") as there:
            runner = there.attach(Uart(wire, 0.0))
            await runner.ready
            assert not there.node.leaf
            await here.publish("lab/1/mode", "first", retain=True)
            readings = there.subscribe("lab/*/mode")
            message = await readings.receive(timeout=30)
            assert (message.name, message.payload, message.retained) == ("lab/1/mode", "first", True)
            await here.publish("lab/2/mode", "second")
            message = await readings.receive(timeout=30)
            assert (message.name, message.payload, message.retained) == ("lab/2/mode", "second", False)

    aio.run(main())


def test_the_rate_decides_what_the_link_costs(wire: Line) -> None:
    async def main() -> None:
        async with gateway(wire, "?baud=9600") as here:
            (connection,) = here.node.connections
            link = connection.link
            assert (link.cost, link.lookups, link.sort, link.mtu) == (512, True, "packet", 0)
            assert link.medium == "serial"

    aio.run(main())


def test_on_a_slow_line_an_urgent_message_passes_a_log(wire: Line) -> None:
    async def main() -> None:
        async with gateway(wire, "?baud=19200") as here, board(wire) as (there, runner):
            log = there.register("lab/log")
            stop = there.register("lab/stop")
            await runner.ready
            await here.send("lab/stop", b"first", ttl=30, priority="urgent")
            assert (await stop.receive(timeout=30)).payload == b"first"
            await here.send("lab/log", bytes(4096), ttl=30)
            await here.send("lab/stop", b"now", priority="urgent")
            taken = [asyncio.create_task(each.receive(timeout=60)) for each in (log, stop)]
            done, _ = await asyncio.wait(taken, return_when=asyncio.FIRST_COMPLETED)
            assert [task.result().payload for task in done] == [b"now"]
            assert len((await taken[0]).payload) == 4096

    aio.run(main(), timeout_s=60)


def test_nothing_is_lost_on_a_noisy_line(wire: Line) -> None:
    async def main() -> None:
        async with gateway(wire) as here, board(wire, flip=1e-3) as (there, runner):
            received = there.register("lab/data")
            await runner.ready
            sending = [asyncio.create_task(here.send("lab/data", n, ttl=30)) for n in range(300)]
            taken = [(await received.receive(timeout=60)).payload for _ in range(300)]
            await asyncio.gather(*sending)
            assert taken == list(range(300))
            link: Any = here.node.connections[0]
            assert link._layer.resent > 0, "it was noisy"

    aio.run(main(), timeout_s=60)


def test_what_a_board_prints_is_heard_by_all_and_harms_nothing(wire: Line) -> None:
    async def main() -> None:
        async with gateway(wire) as here, board(wire) as (_, runner):
            heard = here.subscribe(board_logs.LOG_NAME)
            await runner.ready
            wire.say(b"rst:0x1 (POWERON_RESET)\r\nentry 0x400\r\n")
            assert await here.request("lab/double", 1, timeout=60) == 2
            wire.say(b"\xff\x00Traceback\n")
            assert await here.request("lab/double", 2, timeout=60) == 4
            texts: list[str] = []
            while not texts or "Traceback" not in texts[-1]:
                message = await heard.receive(timeout=60)
                told: Any = message.payload
                assert told["label"] == "board"
                assert told["address"] == wire.url
                texts.append(told["text"])
            assert "rst:0x1 (POWERON_RESET)" in texts
            assert "entry 0x400" in texts

    aio.run(main())


def test_a_board_that_starts_anew_is_served_on_the_same_open_port(wire: Line) -> None:
    async def main() -> None:
        async with gateway(wire) as here:
            channels = set()
            for number in range(4):
                async with board(wire) as (there, runner):
                    await runner.ready
                    assert await here.request("lab/double", number, ttl=30, timeout=60) == 2 * number
                    channels.add(id(here.node.connections[0].tag))
                    silence(runner)
                    there.node.connections.clear()
            assert len(channels) == 1

    aio.run(main(), timeout_s=60)


def test_a_line_that_is_pulled_ends_the_link(wire: Line) -> None:
    async def main() -> None:
        async with gateway(wire) as here, board(wire) as (_, runner):
            await runner.ready
            await until(lambda: len(here.nodes()) == 2)
            silence(runner)
            wire.unplug()
            await until(lambda: here.links() == [])
            with pytest.raises(busway.Undeliverable):
                await here.request("lab/double", 1)

    aio.run(main())


def test_a_board_that_comes_back_at_another_port_is_found_again(tmp_path: Path) -> None:
    """By a name that stays, as udev gives it; a USB id is looked up in the same way at each attempt."""
    port = tmp_path / "busway-E66"

    async def main() -> None:
        async with busway.AsyncBus(ipc=False, label="gateway") as here:
            connecting = asyncio.create_task(
                here.connect(f"serial://{port}", wait=60.0, retry=busway.Retry(first=0.02, cap=0.1))
            )
            for number in range(3):
                with line() as wire:
                    port.symlink_to(wire.device)
                    async with board(wire) as (_, runner):
                        link = await connecting
                        answer = await here.request("lab/double", number, ttl=30, timeout=60)
                        assert answer == 2 * number
                        assert link.losses == number
                        port.unlink()
                        silence(runner)
                        wire.unplug()
                await until(lambda: link.state == "reconnecting")  # noqa: B023 - at once
                assert "is gone" in link.error or "no serial port" in link.error

    aio.run(main(), timeout_s=60)


def test_a_thread_talks_to_a_board(wire: Line) -> None:
    async def main() -> None:
        async with board(wire):
            await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    running = threading.Thread(target=run_until_cancelled, args=(loop, main()))
    running.start()
    try:
        with busway.Bus(ipc=False) as bus:
            bus.connect(wire.url)
            assert bus.request("lab/double", 21, ttl=30) == 42
    finally:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        running.join()


def run_until_cancelled(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None]) -> None:
    asyncio.set_event_loop(loop)
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(main)
    loop.close()


def test_lines_of_what_comes_in_pieces() -> None:
    lines = board_logs.Lines()
    assert lines.feed(b"one\r\ntw") == ["one"]
    assert lines.feed(b"o\n\n\nthree") == ["two"]
    assert lines.feed(b"\n") == ["three"]
    assert lines.feed(b"x" * 600) == ["x" * 256, "x" * 256]
    assert lines.feed(b"\n") == ["x" * 88]
    assert lines.feed(b"y" * 300 + b"\n") == ["y" * 256, "y" * 44]
    assert lines.feed(b"\xff\n") == ["\ufffd"]
