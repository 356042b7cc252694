"""Large messages over real links, however little the system takes of them at a time."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from busway import AsyncBus, Limits
from busway.adapters.links import LinkRunner
from busway.drivers.sockets import SocketChannel

SIZES = (3_000_000, 17, 65_536, 65_537, 20_000, 1 << 20, 0, 700_000)
TOKEN = "a token of more than twenty letters"


@pytest.fixture(params=["whole", "in part"])
def sendmsg(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system takes at once: all, or anything between nothing and all."""
    if request.param == "whole":
        return
    rng = random.Random(5)
    write = SocketChannel.write_buffers

    def some(channel: SocketChannel, buffers: list[Any]) -> int:
        data = b"".join(buffers)
        return write(channel, [data[: rng.choice((0, 1, len(buffers[0]), rng.randint(0, len(data))))]])

    monkeypatch.setattr(SocketChannel, "write_buffers", some)


@pytest.mark.parametrize(
    ("url", "listening"),
    [
        ("tcp://127.0.0.1:0", {}),
        ("tcp://127.0.0.1:0", {"token": TOKEN}),
        ("ws://127.0.0.1:0", {}),
        ("ws://127.0.0.1:0", {"token": TOKEN}),
    ],
    ids=["tcp", "tcp protected", "ws", "ws protected"],
)
@pytest.mark.usefixtures("sendmsg")
async def test_they_come_whole_and_in_order_both_ways(url: str, listening: dict[str, Any]) -> None:
    async with AsyncBus(ipc=False) as here, AsyncBus(ipc=False) as there:
        listener = await here.listen(url, **listening)
        await there.connect(listener.url, **listening)
        await exchange(here, there)


@pytest.mark.usefixtures("sendmsg")
async def test_they_come_whole_and_in_order_by_ipc() -> None:
    async with AsyncBus() as here, AsyncBus() as there:
        await exchange(here, there)


async def exchange(here: AsyncBus, there: AsyncBus) -> None:
    payloads = [random.Random(seed).randbytes(size) for seed, size in enumerate(SIZES)]
    receivers = [bus.register(name, realm="global") for bus, name in ((here, "here"), (there, "there"))]

    async def pour(bus: AsyncBus, name: str) -> None:
        for payload in payloads:
            await bus.send(name, payload, ttl=10)

    pouring = asyncio.gather(pour(here, "there"), pour(there, "here"))
    for receiver in receivers:
        for payload in payloads:
            assert (await receiver.receive(timeout=60)).payload == payload
    await pouring


async def test_what_is_read_at_once_is_more_amid_a_large_message(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    read = LinkRunner._read

    def counted(runner: LinkRunner, size_max: int = 0) -> int:
        asked.append(size_max)
        return read(runner, size_max)

    monkeypatch.setattr(LinkRunner, "_read", counted)
    pieces = Limits(shared_memory=False)  # else it is no more on this link than what says where it lies
    async with AsyncBus() as here, AsyncBus(limits=pieces) as there:
        receiver = here.register("here")
        for _ in range(5):
            await there.send("here", b"small", ttl=10)
            await receiver.receive()
        assert max(asked) <= 65536
        await there.send("here", bytes(3_000_000))
        await receiver.receive()
        assert max(asked) == 262144
        async with here.subscribe("news"):  # small ones might come now, and nothing slows who publishes
            asked.clear()
            await there.send("here", b"small")
            await receiver.receive()
            assert max(asked) <= 65536
            await there.send("here", bytes(3_000_000))
            await receiver.receive()
            assert max(asked) == 262144
        asked.clear()
        await there.send("here", b"small")
        await receiver.receive()
        assert max(asked) > 65536
