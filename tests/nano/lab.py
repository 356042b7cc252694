"""Handlers and messages that the tests of applications share; spawned processes import them."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import time
from dataclasses import dataclass

import numpy

import busway
from busway import nano


@dataclass
class Switched:
    """The lamp is to be on or off."""

    on: bool


@dataclass
class Failed:
    """The lamp did not."""

    why: str


@busway.message(name="lab/nano/reading")
@dataclass
class Reading:
    """Travels over the bus as itself."""

    celsius: float


@dataclass
class Count:
    """A number."""

    value: int


class Celsius(nano.Layout):
    """Lies in memory."""

    sensor: nano.u16
    value: nano.f64


class Point(ctypes.Structure):
    """Lies in memory."""

    _fields_ = (("x", ctypes.c_int32), ("y", ctypes.c_int32))


class Frame(nano.Array):
    """Lies in memory."""

    dtype = "uint8"
    shape = (-1, 4)


class Table(nano.Array):
    """Lies in memory."""

    dtype = numpy.dtype([("x", "<f4"), ("n", "<i4")])
    shape = (3,)


class Counter(nano.Handler):
    """Emits so many numbers, some at a time."""

    def __init__(self, count: int, at_once: int = 7) -> None:
        self.count = count
        self.at_once = at_once
        self.next = 0

    def on_loop(self, out: nano.Emit[Count]) -> float:
        for _ in range(min(self.at_once, self.count - self.next)):
            out(Count(self.next))
            self.next += 1
        return 0.0 if self.next < self.count else math.inf


class Keeper(nano.Handler):
    """Writes each number into a file as it comes; so a test in another process sees it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def handle(self, message: Count) -> None:
        with open(self.path, "a", encoding="ascii") as file:
            print(message.value, file=file)


class Adder(nano.Handler):
    """Emits each number plus one."""

    def handle(self, message: Count, out: nano.Emit[Count]) -> None:
        out(Count(message.value + 1))


class Last(nano.Handler):
    """Ends the application with the last number."""

    def __init__(self, value: int) -> None:
        self.value = value

    def handle(self, message: Count) -> None:
        if message.value == self.value:
            raise nano.Finished


class Deadly(nano.Handler):
    """Kills its process at a number."""

    def __init__(self, value: int) -> None:
        self.value = value

    def handle(self, message: Count) -> None:
        if message.value == self.value:
            os.kill(os.getpid(), signal.SIGKILL)


class Sleeper(nano.Handler):
    """Never comes back from a message."""

    def __init__(self, path: str) -> None:
        self.path = path

    def handle(self, message: Count) -> None:
        with open(self.path, "w", encoding="ascii") as file:
            print("asleep", file=file)
        time.sleep(3600)


FRAME = numpy.arange(16, dtype="uint8").reshape(4, 4)
