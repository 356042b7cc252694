"""A program with labels, for the tests of the command line. It says "ready", then what it takes."""

import asyncio
import sys

import busway


async def main(bus_name: str, label: str, *labels: str) -> None:
    async with busway.AsyncBus(bus_name, label=label, labels=["fleet"]) as bus:

        @bus.serve("work/" + label, labels=labels)
        async def answer(request: busway.Request) -> object:
            return label

        box = bus.register("box/" + label, labels=labels)
        print("ready", flush=True)
        async for message in box:
            print(message.payload, flush=True)


asyncio.run(main(*sys.argv[1:]))
