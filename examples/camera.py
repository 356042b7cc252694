"""A pipeline of processes: a camera, one that looks for motion, and one that counts. Needs numpy.

The frames are made up: a bright square wanders over noise. They lie on the bus, a ring in memory that all
three share; who takes one looks at it there.
"""

import math

import numpy

from busway import nano

FRAMES = 120
SIDE = 16


def place_of(number: int) -> tuple[int, int]:
    """Row and column at which the square of a frame is."""
    return 2 + number % 90, 3 + 2 * number % 130


class Frame(nano.Array):
    """The picture that the camera sees."""

    dtype = "uint8"
    shape = (120, 160)


class Motion(nano.Layout):
    """Where something moves."""

    number: nano.u32
    row: nano.i32
    column: nano.i32


class Camera(nano.Handler):
    """Makes a frame a hundred times a second."""

    def __init__(self) -> None:
        self.random = numpy.random.default_rng(7)
        self.number = 0

    def on_loop(self, out: nano.Emit[Frame]) -> float:
        pixels = self.random.integers(0, 60, Frame.shape, dtype=numpy.uint8)
        row, column = place_of(self.number)
        pixels[row : row + SIDE, column : column + SIDE] = 255
        out(Frame(pixels))
        self.number += 1
        return 0.01 if self.number < FRAMES else math.inf


class Detector(nano.Handler):
    """Looks for the square."""

    def __init__(self) -> None:
        self.number = 0

    def on_missed(self, count: int) -> None:
        self.number += count

    def handle(self, message: Frame, out: nano.Emit[Motion]) -> None:
        rows, columns = numpy.nonzero(message.array > 200)
        out(Motion(self.number, int(rows.min()), int(columns.min())))
        self.number += 1


class Counter(nano.Handler):
    """Says how many were found, at the end."""

    def __init__(self) -> None:
        self.count = 0
        self.right = 0

    def handle(self, message: Motion) -> None:
        self.count += 1
        self.right += place_of(message.number) == (message.row, message.column)
        if message.number == FRAMES - 1:
            print(f"{self.count} frames, {self.right} with the square found where it was")
            raise nano.Finished


def main() -> None:
    app = nano.App(
        bus=nano.BlockingBus("2 MiB"),
        workers={"camera": [Camera()], "detector": [Detector()], "counter": [Counter()]},
        routes=[Camera >> Frame >> Detector, Detector >> Motion >> Counter],
        processes=True,
    )
    with app as running:
        running.join()


if __name__ == "__main__":
    main()
