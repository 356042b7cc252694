"""A worker of the job queue: start as many as you like, on one machine or several."""

import asyncio

import busway


async def work(request: busway.Request[int]) -> int:
    print(f"job {request.payload}", flush=True)
    await asyncio.sleep(0.05)  # stands for something that takes its time
    return request.payload**2


async def main() -> None:
    async with busway.AsyncBus(label="worker") as bus:
        bus.serve("lab/square", work, limit=1)  # one job at a time; anycast: who is free gets the next
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
