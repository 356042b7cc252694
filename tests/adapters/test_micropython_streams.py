"""Boards that answer in parts, with asyncio and without, and handlers beside other tasks: bounded, timed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

import busway
from busway.protocol import codes
from tests.adapters.test_micropython_station import DIAL, port_of, running
from tests.adapters.threads_tools import until

PLAIN = (
    DIAL
    + """
loop = Loop(dial, "plain", sort="stream")
@loop.serve("lab/scan")
def scan(count):
    for number in range(count):
        if number == 50:
            raise RemoteError(300, "too far")
        yield number
        yield  # nothing yet
@loop.serve("lab/alive")
def alive(value):
    return value
loop.run()
"""
)

TASKS = DIAL.replace("import Loop, RemoteError", "import RemoteError").replace(
    "import socket, sys",
    "import asyncio, socket, sys\nfrom busway.adapters.micropython_asyncio import AsyncLoop",
) + (
    """
loop = AsyncLoop(dial, "tasks", sort="stream")
at_work = most = ticks = 0

@loop.serve("lab/scan")
async def scan(count):
    for number in range(count):
        if number == 50:
            raise RemoteError(300, "too far")
        yield number
        await asyncio.sleep(0)

@loop.serve("lab/slow")
async def slow(value):
    global at_work, most
    at_work += 1
    most = max(most, at_work)
    await asyncio.sleep(0.02)
    at_work -= 1
    return value

@loop.every(10)
async def tick():
    global ticks
    await asyncio.sleep(0.001)
    ticks += 1
    if ticks == 3:
        raise ValueError("third")

begun = 0

@loop.every(10)
async def long():
    global begun
    begun += 1
    await asyncio.sleep(1000)

@loop.serve("lab/alive")
async def alive(value):
    return [value, most, ticks, begun, repr(loop.last_error)]

told = []

async def tell(outcome):
    await asyncio.sleep(0.2)
    told.append(outcome.payload)

@loop.serve("lab/ask")
async def ask(count):
    for number in range(count):
        loop.request("lab/question", number, tell)

@loop.serve("lab/told")
def tell_all(value):
    return told

asyncio.run(loop.run())
"""
)

SCANT = DIAL.replace("import Loop, RemoteError", "import RemoteError").replace(
    "import socket, sys",
    "import asyncio, socket, sys\nfrom busway.adapters.micropython_asyncio import AsyncLoop",
) + (
    """
loop = AsyncLoop(dial, "scant", sort="stream")
make, failures = asyncio.create_task, 6

def create_task(running):
    global failures
    if failures:
        failures -= 1
        raise MemoryError("no room for a task")
    return make(running)

@loop.serve("lab/alive")
async def alive(value):
    return value

asyncio.create_task = create_task
asyncio.run(loop.run())
"""
)


@pytest.fixture
def bus() -> Iterator[busway.Bus]:
    with busway.Bus("default", ipc=False) as bus:
        yield bus


@pytest.mark.parametrize("program", [PLAIN, TASKS], ids=["plain", "asyncio"])
def test_a_board_replies_in_parts(bus: busway.Bus, interpreter: str, board_files: Path, program: str) -> None:
    with running(interpreter, board_files, program, port_of(bus)):
        bus.request("lab/alive", ttl=30, timeout=60)
        assert list(bus.request_stream("lab/scan", 40)) == list(range(40))
        assert list(bus.request_stream("lab/scan", 40, window=2)) == list(range(40))
        parts = bus.request_stream("lab/scan", 60)
        assert list(itertools.islice(parts, 50)) == list(range(50))
        with pytest.raises(busway.RemoteError, match="too far"):
            next(parts)
        with pytest.raises(busway.BusError) as caught:
            bus.request("lab/scan", 2)
        assert codes.NOT_A_STREAM in (getattr(caught.value, "reason", 0), getattr(caught.value, "code", 0))
        given_up = bus.request_stream("lab/scan", 40)
        assert next(given_up) == 0
        given_up.close()
        assert bus.request("lab/alive", 1)


def test_handlers_that_are_tasks_are_bounded_and_timed_ones_run(
    bus: busway.Bus, interpreter: str, board_files: Path
) -> None:
    """Sixty requests at once within 72 KiB: four are at work, the rest waits in order."""
    with (
        running(interpreter, board_files, TASKS, port_of(bus), heap="144k") as board,
        ThreadPoolExecutor(60) as pool,
    ):
        bus.request("lab/alive", ttl=30, timeout=60)
        asked = [pool.submit(bus.request, "lab/slow", number) for number in range(60)]
        assert [one.result(timeout=60) for one in asked] == list(range(60))
        _, most, ticks, begun, error = bus.request("lab/alive")
        assert board.poll() is None
    assert most == 4
    assert ticks > 3
    assert begun == 1  # it takes longer than its interval
    assert error == "ValueError('third',)"


def test_a_handler_for_whose_task_there_is_no_memory_takes_no_place(
    bus: busway.Bus, interpreter: str, board_files: Path
) -> None:
    """The link ends with each, for the core may have stopped half-way, and is made again."""
    with running(interpreter, board_files, SCANT, port_of(bus)):
        for _ in range(6):  # more than there are places
            with pytest.raises(busway.BusError):
                bus.request("lab/alive", 1, ttl=30, timeout=60)
        assert bus.request("lab/alive", 2, ttl=30, timeout=60) == 2


def test_outcomes_that_come_while_the_one_before_is_still_told_are_not_lost(
    bus: busway.Bus, interpreter: str, board_files: Path
) -> None:
    """One coroutine is told of five requests, which are all answered at once."""
    bus.serve("lab/question", lambda request: request.payload)
    with running(interpreter, board_files, TASKS, port_of(bus)):
        bus.request("lab/ask", 5, ttl=30, timeout=60)
        until(lambda: sorted(cast("list[int]", bus.request("lab/told"))) == list(range(5)))
