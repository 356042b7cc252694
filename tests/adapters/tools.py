"""Tools of the tests of adapters: bounded waiting, buses joined in memory, and processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import textwrap
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

from busway import AsyncBus
from busway.drivers import memory
from busway.drivers.sockets import SocketChannel
from tests.rigs import forks

WAIT_S = 60.0


async def until(condition: Callable[[], object], within_s: float = WAIT_S) -> None:
    """Returns once `condition()` is true. AssertionError with its source line after `within_s` seconds."""
    time = asyncio.get_running_loop().time
    deadline = time() + within_s
    pause = 0.002
    while not condition():
        assert time() < deadline, f"not within {within_s} s"
        await asyncio.sleep(pause)
        pause = min(0.05, 1.1 * pause)  # who waits for long is in no hurry


class PairChannel(SocketChannel):
    """One end of a socket pair, of any realm."""

    __slots__ = ("realm",)

    def __init__(self, sock: socket.socket, realm: str, via: str, dialled: bool) -> None:
        super().__init__(sock, f"pair:{via}", via=via, dialled=dialled)
        self.realm = realm


def channels(
    realm: str = "userspace", name: str = "pair"
) -> tuple[memory.MemoryChannel, memory.MemoryChannel]:
    """Both ends of a pair in memory, the first as if it had dialled."""
    pair = memory.pair(realm=realm, name=name, clock=asyncio.get_running_loop())
    return pair.a, pair.b


def sockets(realm: str = "userspace", via: str = "pair") -> tuple[PairChannel, PairChannel]:
    """Both ends of a socket pair, the first as if it had dialled: for threads."""
    one, two = socket.socketpair()
    return PairChannel(one, realm, via, True), PairChannel(two, realm, via, False)


async def join(one: AsyncBus, two: AsyncBus, realm: str = "userspace") -> None:
    """Link two buses of this process; returns when both know the other's endpoints."""
    here, there = channels(realm)
    await asyncio.gather(one.attach(here).ready, two.attach(there).ready)


@contextlib.asynccontextmanager
async def buses(count: int = 2, *, realm: str = "userspace", **options: Any) -> AsyncIterator[list[AsyncBus]]:
    """Buses of this process, each joined to each in memory; the first has the smallest node id."""
    async with contextlib.AsyncExitStack() as stack:
        made: list[AsyncBus] = []
        for number in range(count):
            name = chr(ord("a") + number)
            bus = AsyncBus(ipc=False, node_id=name.encode() * 16, label=name, **options)
            made.append(await stack.enter_async_context(bus))
            for other in made[:-1]:
                await join(made[-1], other, realm)
        yield made


def sees(bus: AsyncBus, endpoint: str) -> bool:
    """Whether a bus knows another node's endpoint of that name."""
    return any(found.name == endpoint and found.node != bus.id for found in bus.endpoints())


def knows(bus: AsyncBus, *nodes: bytes) -> bool:
    """Whether a bus reaches exactly these other nodes."""
    return {node.id for node in bus.nodes() if not node.me} == set(nodes)


PREAMBLE = """
import asyncio, os, signal, sys, time
import busway

def say(*words):
    print(*words, flush=True)

async def heard():
    loop = asyncio.get_running_loop()
    line = await loop.run_in_executor(None, sys.stdin.readline)
    return line.strip()
"""


class Program:
    """A Python program in a process of its own, spoken to line by line. Ends with its `async with`.

    Its text may use `say(...)`, which prints a line, `await heard()`, which reads one, and the usual imports.
    """

    def __init__(self, text: str, *arguments: object) -> None:
        self._words = ["-c", PREAMBLE + textwrap.dedent(text), *map(str, arguments)]
        self._process: forks.Program
        self._lines: asyncio.StreamReader

    @classmethod
    def of_module(cls, *words: str) -> Self:
        """`python -m` and these words."""
        made = cls("")
        made._words = ["-m", *words]
        return made

    async def __aenter__(self) -> Self:
        environment = {**os.environ, "PYTHONPATH": forks.PATH}
        self._process = forks.Program(self._words, environment, complaints=2)
        self._lines = asyncio.StreamReader()
        asyncio.get_running_loop().add_reader(self._process.stdout, self._read)
        return self

    def _read(self) -> None:
        if data := os.read(self._process.stdout.fileno(), 65536):
            self._lines.feed_data(data)
        else:
            self._stop_reading()
            self._lines.feed_eof()

    def _stop_reading(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.stdout)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def line(self, within_s: float = WAIT_S) -> str:
        """The next line it prints. AssertionError if it ended instead, TimeoutError after `within_s`."""
        async with asyncio.timeout(within_s):
            found = await self._lines.readline()
        assert found, "the program ended without another line"
        return found.decode().rstrip("\n")

    async def expect(self, wanted: str, within_s: float = WAIT_S) -> None:
        found = await self.line(within_s)
        assert found == wanted

    async def tell(self, line: str = "") -> None:
        """Write a line to its standard input."""
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self._process.kill()
        await self._status()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self, within_s: float = WAIT_S) -> None:
        """It ends by itself, with status 0."""
        async with asyncio.timeout(within_s):
            assert await self._status() == 0

    async def _status(self) -> int:
        """The exit status, once it has ended."""
        if self._process.poll() is None:
            over, loop = asyncio.Event(), asyncio.get_running_loop()
            loop.add_reader(self._process, over.set)
            try:
                await over.wait()
            finally:
                loop.remove_reader(self._process)
        return self._process.wait(WAIT_S)

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        self._stop_reading()
        self._process.close()
