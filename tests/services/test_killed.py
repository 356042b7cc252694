"""The client of a killed server ends each call with one outcome, on both sorts of bus."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import busway
from tests.rigs import forks
from tests.services.pumps import Pump

CALLS = 40
OUTCOMES = (busway.Undeliverable, busway.RequestTimeout, busway.DeliveryUnknown)
SORTS = ("asyncio", "threads")


@contextlib.contextmanager
def server(sort: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "tests.services.pump_program", name, sort]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, env=environment(), **pipes) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": forks.PATH}


@pytest.mark.parametrize("sort", SORTS)
async def test_on_asyncio(sort: str, patient: None) -> None:
    async with busway.AsyncBus("killed") as bus:
        pump = bus.client(Pump).using(ttl=60.0, timeout=240.0)
        with server(sort, "killed") as process:
            await pump.set_speed(1)
            calls = [asyncio.ensure_future(pump.nap(600.0)) for _ in range(CALLS)]
            stream = pump.scan(1.0, 10_000_000)
            assert await anext(stream) == 0.0
            await pump.set_speed(2)
            process.kill()
            found = await asyncio.gather(*calls, return_exceptions=True)
            with pytest.raises(OUTCOMES):
                async for _ in stream:
                    pass
        assert [type(each) in OUTCOMES for each in found] == [True] * CALLS, found
        with pytest.raises(busway.Undeliverable):
            await busway.using(pump, ttl=0.0).set_speed(3)
        with server(sort, "killed"):
            assert (await pump.set_speed(4)).rpm == 4


@pytest.mark.parametrize("sort", SORTS)
def test_in_threads(sort: str, patient: None) -> None:
    with busway.Bus("killed") as bus, ThreadPoolExecutor(CALLS + 1) as pool:
        pump: Any = bus.client(Pump).using(ttl=60.0, timeout=240.0)
        begun = threading.Semaphore(0)

        def nap() -> Any:
            begun.release()
            return outcome(lambda: pump.nap(600.0))

        def scan() -> Any:
            begun.release()
            return outcome(lambda: [None for _ in pump.scan(1.0, 10_000_000)])

        with server(sort, "killed") as process:
            pump.set_speed(1)
            calls = [pool.submit(nap) for _ in range(CALLS)] + [pool.submit(scan)]
            for _ in calls:
                begun.acquire()
            process.kill()
            found = [call.result(timeout=120) for call in calls]
        assert [type(each) in OUTCOMES for each in found] == [True] * (CALLS + 1), found
        with pytest.raises(busway.Undeliverable):
            pump.using(ttl=0.0).set_speed(3)


def outcome(call: Any) -> Any:
    """What it returns or raises."""
    try:
        return call()
    except busway.BusError as error:
        return error
