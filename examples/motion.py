"""Looks at the frames of webcam.py, where they lie, and says where the square is."""

import asyncio

import numpy
from webcam import Frame, square_of

import busway

FRAMES = 60
STEP = 8  # it looks at each eighth row and column


async def main() -> None:
    seen = found = 0
    async with busway.AsyncBus(label="motion") as bus:
        async for message in bus.subscribe(Frame, policy="latest"):
            frame = message.payload
            rows, columns = numpy.nonzero(frame.pixels[::STEP, ::STEP, 0] == 255)
            seen += 1
            found += square_of(frame.number) == (STEP * rows.min(), STEP * columns.min())
            if seen == FRAMES:
                height, width, _ = frame.pixels.shape
                print(f"{seen} frames of {width} x {height}, {found} with the square where it was")
                break


if __name__ == "__main__":
    asyncio.run(main())
