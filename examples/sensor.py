"""A sensor: publishes readings, and lets itself be calibrated."""

import asyncio
import random

import busway
from lab import Calibrate, Calibrated, Reading


async def main() -> None:
    celsius, offset = 21.0, 0.0
    async with busway.AsyncBus(label="sensor") as bus:

        @bus.serve(Calibrate, realm="global")
        def calibrate(request: busway.Request[Calibrate]) -> Calibrated:
            nonlocal offset
            offset = request.payload.celsius - celsius
            return Calibrated(offset)

        while True:
            celsius += random.uniform(-0.1, 0.1)
            await bus.publish(Reading, Reading("cellar", celsius + offset), realm="global")
            await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main())
