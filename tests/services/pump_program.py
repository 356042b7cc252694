"""A server as a program of its own, for tests that kill it. It says "ready" when it is hosted."""

import asyncio
import sys

import busway
from tests.services.pumps import AsyncPump, Pump, ThreadPump


async def on_asyncio(name: str) -> None:
    async with busway.AsyncBus(name) as bus:
        bus.host(AsyncPump())
        print("ready", flush=True)
        await asyncio.Event().wait()


def in_threads(name: str) -> None:
    with busway.Bus(name) as bus:
        bus.host(ThreadPump(), Pump, limit=64)
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[2] == "asyncio":
        asyncio.run(on_asyncio(sys.argv[1]))
    else:
        in_threads(sys.argv[1])
