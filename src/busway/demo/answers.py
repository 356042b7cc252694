"""Answers requests. Try: busway request demo/sum '[1, 2, 3]' --bus demo"""

import asyncio
import time
from collections.abc import AsyncIterator

import busway
from busway.demo import program

NOT_NUMBERS = 256  # the codes of our own errors start here


async def main(bus_name: str) -> None:
    async with busway.AsyncBus(bus_name, label="answers") as bus:
        # "global": what asks over a WebSocket, a browser's page for one, has crossed a realm as wide as that.
        @bus.serve("demo/clock", realm="global")
        async def clock(request: busway.Request) -> str:
            return time.strftime("%H:%M:%S")

        @bus.serve("demo/sum", realm="global")
        async def total(request: busway.Request) -> int:
            numbers = request.payload
            if not isinstance(numbers, list) or not all(isinstance(number, int) for number in numbers):
                raise busway.RemoteError(NOT_NUMBERS, "demo/sum takes a list of whole numbers")
            return sum(numbers)

        @bus.serve("demo/count")
        async def count(request: busway.Request) -> AsyncIterator[int]:
            for number in range(
                int(str(request.payload))
            ):  # each part leaves as soon as the caller has room for it
                yield number

        await asyncio.Future()  # for ever


if __name__ == "__main__":
    program.run(main)
