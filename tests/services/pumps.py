"""A contract that most tests of services use, with a server for asyncio and one for threads."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Protocol

import busway


@dataclass
class Status:
    """What the pump does."""

    rpm: int
    ramp: float


@busway.service("lab/pump", version=3)
class Pump(busway.Contract, Protocol):
    """A pump."""

    class TooFast(busway.ServiceError):
        """More than it can do."""

        limit: int
        said: bytes = b""

    overheated: busway.Signal[float] = busway.Signal()

    async def set_speed(self, rpm: int, *, ramp: float = 0.0) -> Status:
        """Sets the speed."""
        ...

    def scan(self, step: float, count: int = 3) -> AsyncIterator[float]: ...

    async def fail(self, how: str) -> None: ...

    async def nap(self, seconds: float) -> str: ...


class AsyncPump(Pump):
    """The server for asyncio."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def set_speed(self, rpm: int, *, ramp: float = 0.0) -> Status:
        if rpm > 3000:
            raise Pump.TooFast(3000, said=b"\xff")
        if rpm < 0:
            await self.overheated.publish(float(rpm))
        return Status(rpm, ramp)

    async def scan(self, step: float, count: int = 3) -> AsyncIterator[float]:
        try:
            for number in range(count):
                yield number * step
            if count == 13:
                raise Pump.TooFast(13)
        finally:
            self.closed.set()

    async def fail(self, how: str) -> None:
        raise failure(how)

    async def nap(self, seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "slept"


class ThreadPump:
    """The server for threads. It implements the contract, and is not derived from it."""

    overheated: busway.Signal[float]

    def __init__(self) -> None:
        self.closed = 0

    def set_speed(self, rpm: int, *, ramp: float = 0.0) -> Status:
        if rpm > 3000:
            raise Pump.TooFast(3000, said=b"\xff")
        if rpm < 0:
            self.overheated.publish(float(rpm))
        return Status(rpm, ramp)

    def scan(self, step: float, count: int = 3) -> Iterator[float]:
        try:
            for number in range(count):
                yield number * step
            if count == 13:
                raise Pump.TooFast(13)
        finally:
            self.closed += 1

    def fail(self, how: str) -> None:
        raise failure(how)

    def nap(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"


class Elsewhere(busway.ServiceError):
    """An error that the contract does not declare."""

    place: str


def failure(how: str) -> Exception:
    """The exception of a method that fails in that way."""
    ways = {
        "own": ValueError("the valve is stuck"),
        "coded": busway.RemoteError(300, "no water"),
        "elsewhere": Elsewhere("the cellar"),
    }
    return ways[how]
