"""A node in between: what belongs together stays in order, on every sort of link, however many parts."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

import busway
from busway import AsyncBus
from busway.testing import Network
from tests.adapters.tools import Program, sees, until

ENDS = tuple[AsyncBus, AsyncBus]


@contextlib.asynccontextmanager
async def in_memory() -> AsyncIterator[ENDS]:
    async with Network() as network:
        a, c = await network.bus("a"), await network.bus("c")
        b = await network.bus("b", transit=True)
        await network.link(a, b)
        await network.link(b, c)
        yield a, c


@contextlib.asynccontextmanager
async def over_sockets(url: str) -> AsyncIterator[ENDS]:
    async with (
        AsyncBus(ipc=False, label="a") as a,
        AsyncBus(ipc=False, label="b", transit=True) as b,
        AsyncBus(ipc=False, label="c") as c,
    ):
        listener = await b.listen(url)
        await a.connect(listener.url)
        await c.connect(listener.url)
        yield a, c


@contextlib.asynccontextmanager
async def over_bridges() -> AsyncIterator[ENDS]:
    """Two machines, each with IPC of its own and `busway bridge`."""
    async with contextlib.AsyncExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        ends, url = [], "tcp://127.0.0.1:0"
        for label, words in (("a", ["--listen"]), ("c", [])):
            directory = Path(tempfile.mkdtemp(prefix="bw-"))
            stack.callback(shutil.rmtree, directory, True)
            patch.setenv("BUSWAY_DIR", str(directory))
            ends.append(await stack.enter_async_context(AsyncBus(label=label)))
            bridge = await stack.enter_async_context(Program.of_module("busway", "bridge", *words, url))
            while "://" not in (line := await bridge.line()):
                pass
            url = next(word for word in line.split() if "://" in word)
        yield ends[0], ends[1]


WAYS: dict[str, Callable[[], AbstractAsyncContextManager[ENDS]]] = {
    "memory": in_memory,
    "tcp": lambda: over_sockets("tcp://127.0.0.1:0"),
    "websocket": lambda: over_sockets("ws://127.0.0.1:0"),
    "bridge": over_bridges,
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_streaming_reply_arrives_over_a_node_in_between(way: str) -> None:
    async def count(request: busway.Request[int]) -> AsyncIterator[int]:
        for number in range(request.payload):
            yield number

    async def fail(request: busway.Request[int]) -> AsyncIterator[int]:
        for number in range(request.payload):
            yield number
        raise busway.RemoteError(300, "that was all")

    async with WAYS[way]() as (asker, server):
        server.serve("count", count, realm="global")
        server.serve("fail", fail, realm="global")
        await until(lambda: sees(asker, "count") and sees(asker, "fail"))
        for parts in (1, 3, 100):
            assert [part async for part in asker.request_stream("count", parts)] == list(range(parts))
            failing = asker.request_stream("fail", parts)
            assert [await anext(failing) for _ in range(parts)] == list(range(parts))
            with pytest.raises(busway.RemoteError, match="that was all"):
                await anext(failing)


SERVER = """
async def main():
    async with busway.AsyncBus(label="server") as bus:
        ended = []
        held = asyncio.Event()
        async def echo(request):
            number, _ = request.payload
            ended.append(number)
            return number
        async def hold(request):
            if request.payload[0] >= int(sys.argv[1]):
                await held.wait()
            return await echo(request)
        bus.serve("echo", echo)
        bus.serve("hold", hold, limit=1000)
        say("ready")
        await heard()
        held.set()
        await heard()
        say(*ended)
        await heard()

asyncio.run(main())
"""
WARM_UP = 1000
REQUESTS = 743
CALLED_OFF = 200


def ask(bus: AsyncBus, name: str, numbers: Iterable[int], size: int) -> list[asyncio.Task[int]]:
    return [
        asyncio.create_task(bus.request(name, [number, bytes(size)], timeout=60, reply=int))
        for number in numbers
    ]


@contextlib.asynccontextmanager
async def stopped_server(name: str) -> AsyncIterator[tuple[AsyncBus, Program]]:
    """A node, and beyond two bridges a program that stands still, with a window that has grown."""
    async with over_bridges() as (a, _), Program(SERVER, WARM_UP) as server:
        await server.expect("ready")
        await until(lambda: sees(a, name))
        assert await asyncio.gather(*ask(a, name, range(WARM_UP), 0)) == list(range(WARM_UP))
        server.signal(signal.SIGSTOP)
        yield a, server


async def test_a_destination_that_stops_behind_a_bridge_misses_nothing() -> None:
    async with stopped_server("echo") as (a, server):
        numbers = range(WARM_UP, WARM_UP + REQUESTS)
        asking = ask(a, "echo", numbers, 8000)  # more than the kernel keeps for one that does not read
        await asyncio.sleep(3)  # a blocked origin probes after a second, and again
        server.signal(signal.SIGCONT)
        assert await asyncio.gather(*asking) == list(numbers)
        await server.tell()
        await server.tell()
        assert await server.line() == " ".join(map(str, range(WARM_UP + REQUESTS)))


async def test_requests_that_are_called_off_while_they_wait_at_a_bridge_run_no_longer() -> None:
    async with stopped_server("hold") as (a, server):
        asking = ask(a, "hold", range(WARM_UP, WARM_UP + CALLED_OFF), 8000)
        await asyncio.sleep(1)  # all are on their way, or wait at the bridge
        for task in asking[::2]:
            task.cancel()
        behind = ask(a, "echo", [0], 0)
        server.signal(signal.SIGCONT)
        assert await asyncio.gather(*behind) == [0]  # all of it has come there
        await server.tell()
        kept = list(range(WARM_UP + 1, WARM_UP + CALLED_OFF, 2))
        assert await asyncio.gather(*asking[1::2]) == kept
        await server.tell()
        ended = [int(word) for word in (await server.line()).split()]
        assert sorted(ended[WARM_UP:]) == [0, *kept]
