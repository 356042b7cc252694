"""Tools of the tests of adapters: bounded waiting, buses joined in memory, and processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

from busway import AsyncBus
from busway.drivers import memory
from busway.drivers.sockets import SocketChannel
from tests.rigs.tree import ROOT

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

    def __init__(self, text: str, *arguments: object, preamble: str = PREAMBLE) -> None:
        self._text = preamble + textwrap.dedent(text)
        self._arguments = [str(argument) for argument in arguments]
        self.process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        paths = [os.environ.get("PYTHONPATH", ""), str(ROOT / "src"), str(ROOT)]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-W", "error", "-c", self._text),
            *self._arguments,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return self

    @property
    def pid(self) -> int:
        return self.process.pid

    async def line(self, within_s: float = WAIT_S) -> str:
        """The next line it prints. AssertionError if it ended instead, TimeoutError after `within_s`."""
        assert self.process.stdout is not None
        async with asyncio.timeout(within_s):
            found = await self.process.stdout.readline()
        assert found, "the program ended without another line"
        return found.decode().rstrip("\n")

    async def expect(self, wanted: str, within_s: float = WAIT_S) -> None:
        found = await self.line(within_s)
        assert found == wanted

    async def tell(self, line: str = "") -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        await self.process.stdin.drain()

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.process.wait()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self, within_s: float = WAIT_S) -> None:
        """It ends by itself, with status 0."""
        async with asyncio.timeout(within_s):
            status = await self.process.wait()
        assert status == 0

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.process.communicate()
