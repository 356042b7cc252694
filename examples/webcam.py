"""A camera of 1080p: publishes 30 frames a second, which are not copied for who looks at them. Needs numpy.

The picture is made up: a white square goes across a grey wall.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

import busway

SIDE = 64
ROWS, COLUMNS = 1080, 1920


@busway.message(name="lab/frame")
@dataclass
class Frame:
    """A picture: rows, columns, and red, green and blue of each place."""

    number: int
    pixels: NDArray[numpy.uint8]


def square_of(number: int) -> tuple[int, int]:
    """Row and column at which the square of a frame is."""
    return number * 8 % (ROWS - SIDE), number * 16 % (COLUMNS - SIDE)


def draw(pixels: NDArray[Any], number: int, colour: int) -> None:
    row, column = square_of(number)
    pixels[row : row + SIDE, column : column + SIDE] = colour


async def main() -> None:
    pixels = numpy.full((ROWS, COLUMNS, 3), 90, numpy.uint8)
    number = 0
    async with busway.AsyncBus(label="webcam") as bus:
        while True:
            draw(pixels, number, 255)
            await bus.publish(Frame, Frame(number, pixels))
            draw(pixels, number, 90)  # the frame has been taken: the array may be used for the next one
            number += 1
            await asyncio.sleep(1 / 30)


if __name__ == "__main__":
    asyncio.run(main())
