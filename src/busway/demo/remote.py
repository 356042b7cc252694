"""Joins over a WebSocket, as a browser does, and reports the readings that it gets that way."""

import asyncio
import contextlib

import busway
from busway.demo import program
from busway.demo.messages import Readings

REPORT_S = 0.5


async def report(bus: busway.AsyncBus, counts: dict[str, int]) -> None:
    """How many readings came, and whether a request is answered, again and again."""
    while True:
        await asyncio.sleep(REPORT_S)
        with contextlib.suppress(busway.BusError):
            if await bus.request("demo/sum", [counts["readings"], 1], timeout=2.0) == counts["readings"] + 1:
                counts["answers"] += 1
            await bus.send("demo/remote", counts, confirm=True, timeout=2.0)


async def main(bus_name: str, url: str) -> None:
    counts = {"readings": 0, "answers": 0}
    async with busway.AsyncBus(bus_name, label="remote", ipc=False, leaf=True) as bus:
        await bus.connect(url)
        reporting = asyncio.create_task(report(bus, counts))
        try:
            # "global", because what comes over a WebSocket has crossed a realm as wide as that.
            async for message in bus.subscribe("demo/readings", types=(Readings,), realm="global"):
                counts["readings"] += isinstance(message.payload, Readings)
        finally:
            reporting.cancel()


if __name__ == "__main__":
    program.run(main, "--url")
