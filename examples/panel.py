"""A panel: shows readings, and calibrates the sensor once."""

import asyncio

import busway
from lab import Calibrate, Calibrated, Reading


async def main() -> None:
    async with busway.AsyncBus(label="panel") as bus:
        readings = bus.subscribe(Reading)
        answer = await bus.request(Calibrate, Calibrate(25.0), reply=Calibrated, ttl=30.0)
        print(f"calibrated: {answer.offset:+.1f}", flush=True)
        async for message in readings:
            if message.error:
                print(f"from {message.source_label}: {message.error}", flush=True)
            else:
                print(f"{message.payload.place}: {message.payload.celsius:.1f}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
