"""A worker of the job queue, as an object that the bus runs: start as many as you like, here or elsewhere.

busway host worker:Worker --serial                  or: python worker.py
busway host worker:Worker --serial slips=0.2        one whose jobs fail now and then
"""

import asyncio
import random

import busway


@busway.service("lab/work", version=1)
class Worker:
    """It does one job at a time. Whoever has one calls `square`, and a worker that is free does it."""

    class Slipped(busway.ServiceError):
        """It went wrong, and may be tried again."""

        number: int

    def __init__(self, slips: float = 0.0) -> None:
        self.slips = slips

    async def square(self, number: int) -> int:
        """The job."""
        print(f"job {number}", flush=True)
        await asyncio.sleep(0.05)  # stands for something that takes its time
        if random.random() < self.slips:
            raise Worker.Slipped(number)
        return number**2


async def main() -> None:
    async with busway.AsyncBus(label="worker") as bus:
        hosted = bus.host(Worker(), serial=True)
        print("ready", flush=True)
        await hosted.ended()


if __name__ == "__main__":
    asyncio.run(main())
