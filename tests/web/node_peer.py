"""A Python program that a Node program is linked to: what test_node.py starts, stops and kills."""

import asyncio
import sys
from collections.abc import AsyncIterator

import busway


async def count(request: busway.Request[int]) -> AsyncIterator[int]:
    for number in range(request.payload):
        yield number


async def main(label: str) -> None:
    async with busway.AsyncBus(label=label) as bus:
        bus.serve("py/upper", lambda request: request.payload.upper())
        bus.serve("py/echo", lambda request: request.payload)
        bus.serve("py/slow", lambda request: asyncio.sleep(600))
        bus.serve("py/count", count)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
