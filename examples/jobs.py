"""Hands jobs to whatever workers there are, and tries again what went wrong or was lost with its worker."""

import asyncio
import random
import sys

import busway
from worker import Worker

ATTEMPTS = 8
AT_ONCE = asyncio.Semaphore(6)


async def done(work: Worker, number: int) -> int | None:
    """The result of one job, None if it is given up. Squaring twice does no harm, so a job that may have run
    is sent again.
    """
    for attempt in range(ATTEMPTS):
        try:
            async with AT_ONCE:
                return await work.square(number)
        except busway.Undeliverable as error:
            print(f"job {number} again: {error.reason_name}", flush=True)
        except Worker.Slipped:
            print(f"job {number} again: it went wrong", flush=True)
        await asyncio.sleep(0.05 * 2**attempt * random.random())
    print(f"job {number} is given up", flush=True)
    return None


async def main(count: int) -> None:
    async with busway.AsyncBus(label="jobs") as bus:
        work = busway.using(bus.client(Worker), ttl=30.0)  # so long it waits for a worker to be there
        results = await asyncio.gather(*(done(work, number) for number in range(count)))
        squares = [result for result in results if result is not None]
        print(f"{len(squares)} jobs, sum {sum(squares)}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
