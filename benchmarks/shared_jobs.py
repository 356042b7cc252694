"""Jobs and messages shared by several programs that hold one anycast name: who is free gets the next.

Three workers, each a program that does one job after the other, of 50 ms, 50 ms and 1 s, share 60 requests
that are made at once; the best that is possible is 1.5 s. Then two equal receivers share 300 sends.

Usage: python -m benchmarks.shared_jobs
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator

import busway
from benchmarks.first_contact import environment

WORKER = """
import asyncio, sys, busway
async def main():
    async with busway.AsyncBus(label=sys.argv[1]) as bus:
        async def job(request):
            await asyncio.sleep(float(sys.argv[2]))
            return sys.argv[1]
        bus.serve("load/job", job, limit=1)
        print("up", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""

HOLDER = """
import asyncio, sys, busway
async def main():
    async with busway.AsyncBus(label=sys.argv[1]) as bus:
        got = bus.register("load/item", "anycast")
        bus.serve("load/count/" + sys.argv[1], lambda request: count)
        print("up", flush=True)
        count = 0
        async for _ in got:
            count += 1
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def programs(text: str, arguments: list[list[str]], directory: str) -> AsyncIterator[None]:
    """Programs on a bus of their own, until the block ends."""
    running = []
    try:
        for words in arguments:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                text,
                *words,
                env=environment() | {"BUSWAY_DIR": directory},
                stdout=asyncio.subprocess.PIPE,
            )
            running.append(process)
            assert process.stdout is not None
            assert await process.stdout.readline() == b"up\n"
        yield
    finally:
        for process in running:
            process.kill()
            await process.wait()


async def share_jobs(bus: busway.AsyncBus) -> str:
    """60 requests at once."""
    began = time.perf_counter()
    done = await asyncio.gather(*(bus.request("load/job", number) for number in range(60)))
    took = time.perf_counter() - began
    shares = ", ".join(f"{name} {count}" for name, count in sorted(collections.Counter(done).items()))
    return f"60 jobs: {took:.2f} s ({shares})"


async def share_sends(bus: busway.AsyncBus) -> str:
    """300 sends, one after the other, as fast as it goes."""
    began = time.perf_counter()
    for number in range(300):
        await bus.send("load/item", number)
    took = time.perf_counter() - began
    await asyncio.sleep(0.5)  # until all have been counted
    shares = [await bus.request(f"load/count/{name}") for name in ("one", "two")]
    return f"300 sends: {took * 1000:.0f} ms ({' and '.join(map(str, shares))})"


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.environ["BUSWAY_DIR"] = directory
        workers = [["a quick one", "0.05"], ["another", "0.05"], ["the slow one", "1.0"]]
        async with programs(WORKER, workers, directory), busway.AsyncBus() as bus:
            print(await share_jobs(bus))
        async with programs(HOLDER, [["one"], ["two"]], directory), busway.AsyncBus() as bus:
            for _ in range(3):
                print(await share_sends(bus))


if __name__ == "__main__":
    asyncio.run(main())
