"""Serves and publishes until somebody kills it with kill -9, at any instant. Nothing here prepares for it."""

import asyncio

import busway
from busway.demo import program

PERIOD_S = 0.05


async def main(bus_name: str) -> None:
    async with busway.AsyncBus(bus_name, label="victim") as bus:

        @bus.serve("demo/echo")
        async def echo(request: busway.Request) -> object:
            return request.payload

        beat = 0
        while True:
            beat += 1
            await bus.publish("demo/heartbeat", {"beat": beat})
            await asyncio.sleep(PERIOD_S)


if __name__ == "__main__":
    program.run(main)
