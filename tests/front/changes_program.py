"""A program that prints each change of its bus, and logs. Arguments: "threads" or "asyncio", the bus."""

import asyncio
import logging
import sys

import busway


def tell(change: busway.Change) -> None:
    print(change.what, change.code, change.text, flush=True)


async def follow(bus: busway.AsyncBus) -> None:
    changes = bus.changes()
    async with bus:
        async for change in changes:
            tell(change)


def main(kind: str, name: str) -> None:
    logging.basicConfig(format="%(levelname)s %(message)s")
    if kind == "asyncio":
        asyncio.run(follow(busway.AsyncBus(name)))
    bus = busway.Bus(name)
    changes = bus.changes()
    with bus:
        for change in changes:
            tell(change)


if __name__ == "__main__":
    main(*sys.argv[1:])
