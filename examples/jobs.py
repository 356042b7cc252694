"""Hands jobs to whatever workers there are, and repeats those whose worker died."""

import asyncio
import sys

import busway

AT_ONCE = asyncio.Semaphore(6)


async def done(bus: busway.AsyncBus, number: int) -> int:
    """The result of one job. Squaring twice does no harm, so a job that may have run is sent again."""
    while True:
        try:
            async with AT_ONCE:
                return await bus.request("lab/square", number, reply=int, ttl=30.0)
        except busway.Undeliverable as error:
            print(f"job {number} again: {error.reason_name}", flush=True)


async def main(count: int) -> None:
    async with busway.AsyncBus(label="jobs") as bus:
        results = await asyncio.gather(*(done(bus, number) for number in range(count)))
        print(f"{len(results)} jobs, sum {sum(results)}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
