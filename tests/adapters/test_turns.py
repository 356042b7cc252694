"""A link that floods has of the loop one turn after another, each bounded in bytes and frames."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import busway
from busway import AsyncBus, Limits
from busway.adapters import links, threads_engine
from busway.adapters.links import LinkRunner
from busway.drivers import websocket, websocket_frames
from busway.drivers.sockets import SocketChannel
from busway.drivers.upgrades import SUBPROTOCOL
from busway.drivers.websocket_frames import Frames
from tests.adapters.tools import channels, until

LOOPBACK = "ws://127.0.0.1:0"
SIZE = links._TURN_SIZE


class Turns:
    """Counts what is taken in: frames of WebSockets and bytes, in a turn of a link and of the whole loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames_max = self.size_max = self.frames = 0  # the most of one turn of a link, and all
        self.turns: Counter[LinkRunner] = Counter()  # since the loop's last turn
        self.turns_max = 0
        self.counting = False
        self._size = 0
        begin, read, on_readable = Frames._begin, LinkRunner._read, LinkRunner.on_readable

        def counted_begin(frames: Frames, head: bytes) -> None:
            self.frames += 1
            begin(frames, head)

        def counted_read(link: LinkRunner, *size_max: int) -> int:
            size = read(link, *size_max)
            self._size += size or 0
            return size

        def counted_turn(link: LinkRunner) -> None:
            frames, self._size = self.frames, 0
            on_readable(link)
            self.frames_max = max(self.frames_max, self.frames - frames)
            self.size_max = max(self.size_max, self._size)
            if self.counting:
                self.turns[link] += 1
                self.turns_max = max(self.turns_max, *self.turns.values())

        monkeypatch.setattr(Frames, "_begin", counted_begin)
        monkeypatch.setattr(LinkRunner, "_read", counted_read)
        monkeypatch.setattr(LinkRunner, "on_readable", counted_turn)

    @contextlib.contextmanager
    def of_loop(self) -> Iterator[None]:
        """Tells turns of asyncio's loop apart, while inside; what comes later is not counted."""
        loop = asyncio.get_running_loop()
        going = self.counting = True

        def turn() -> None:
            self.turns.clear()
            if going:
                loop.call_soon(turn)

        loop.call_soon(turn)
        try:
            yield
        finally:
            going = self.counting = False


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    monkeypatch.setattr(websocket, "SEND_SIZE_MAX", 1)  # of who sends: each byte is a frame
    monkeypatch.delattr(websocket.WebSocketChannel, "write_buffers")
    return Turns(monkeypatch)


async def test_frames_of_one_byte_take_no_more_than_a_turn(turns: Turns) -> None:
    async with AsyncBus(ipc=False) as here, AsyncBus(ipc=False) as there:
        receiver = here.register("it", realm="global")
        listener = await here.listen(LOOPBACK)
        link = await there.connect(listener.url)
        with turns.of_loop():
            await there.send("it", bytes(60_000))
            assert len((await receiver.receive()).payload) == 60_000
        assert link.state == "connected"
    assert turns.frames > 60_000
    assert turns.frames_max <= links._TURN_READS * websocket_frames.FRAMES_MAX
    assert turns.turns_max <= 4  # the turn that was set, and what the socket told


def test_nor_in_threads(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    serve = threads_engine.Engine._serve

    def counted(engine: threads_engine.Engine, ready: Any) -> None:
        turns.turns.clear()
        serve(engine, ready)

    monkeypatch.setattr(threads_engine.Engine, "_serve", counted)
    turns.counting = True
    with busway.Bus(ipc=False) as here, busway.Bus(ipc=False) as there:
        receiver = here.register("it", realm="global")
        listener = here.listen(LOOPBACK)
        there.connect(listener.url)
        there.send("it", bytes(40_000))
        assert len(receiver.receive(timeout=60).payload) == 40_000
    assert turns.frames > 40_000
    assert turns.frames_max <= links._TURN_READS * websocket_frames.FRAMES_MAX
    assert turns.turns_max <= 4


async def test_pings_and_empty_messages_are_frames_like_others(turns: Turns) -> None:
    """They bring no bytes: whoever counts bytes only is held by them."""
    async with AsyncBus(ipc=False) as here, AsyncBus(ipc=False) as there:
        here.serve("echo", lambda request: request.payload, realm="global")
        await here.listen(LOOPBACK)
        url = (await here.listen(LOOPBACK)).url
        quick = await here.listen("tcp://127.0.0.1:0")
        await there.connect(quick.url)
        flood = await asyncio.to_thread(opened, url)
        frames = (b"\x89\x80" + bytes(4) + b"\x82\x80" + bytes(4)) * 8_000
        sender = threading.Thread(target=lambda: _send(flood, frames))
        sender.start()
        answers = 0
        with turns.of_loop():
            while turns.frames < 16_000:
                before = turns.frames
                assert await there.request("echo", answers) == answers
                answers += 1
                # Others have their turn, however many frames wait: a request takes a dozen turns of the loop.
                assert turns.frames - before <= 40 * websocket_frames.FRAMES_MAX
        sender.join()
        flood.close()
    assert turns.frames_max <= websocket_frames.FRAMES_MAX
    assert turns.turns_max <= 4


def _send(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # it ends when the test does
        sock.sendall(data)


def opened(url: str) -> socket.socket:
    """A socket whose WebSocket is open, as any program may have one."""
    host, _, port = url.removeprefix("ws://").partition(":")
    sock = socket.create_connection((host, int(port)), timeout=60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = (
        f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    )
    sock.sendall(request.encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return sock


@pytest.mark.parametrize("sort", ["unix", "tcp", "memory", "ws"])
async def test_a_turn_takes_so_many_bytes_of_any_link(sort: str, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(monkeypatch)
    pieces = Limits(shared_memory=False)  # else it is no more in memory than what says where it lies
    async with AsyncBus(ipc=False) as here, AsyncBus(ipc=False, limits=pieces) as there:
        receiver = here.register("it", realm="global")
        if sort in ("tcp", "ws"):
            await there.connect((await here.listen(f"{sort}://127.0.0.1:0")).url)
        elif sort == "memory":
            one, two = channels()
            await asyncio.gather(here.attach(one).ready, there.attach(two).ready)
        else:
            pair = [SocketChannel(sock, "pair", via="ipc", dialled=False) for sock in socket.socketpair()]
            pair[0].dialled = True
            await asyncio.gather(
                *(bus.attach(end).ready for bus, end in zip((here, there), pair, strict=True))
            )
        await until(lambda: any(found.name == "it" for found in there.endpoints()))
        for _ in range(4):
            await there.send("it", bytes(2_000_000))
        for _ in range(4):
            assert len((await receiver.receive()).payload) == 2_000_000
    most = SIZE if sort == "ws" else links._READ_SIZE_LARGE  # amid a large message, which is little work
    assert SIZE / 2 < turns.size_max <= max(most, SIZE * 3 / 2)


async def test_a_turn_takes_no_more_of_small_messages_than_of_other_links() -> None:
    with pytest.MonkeyPatch.context() as patch:
        turns = Turns(patch)
        async with AsyncBus() as here, AsyncBus() as there:
            receiver = here.register("it")
            await until(lambda: any(found.name == "it" for found in there.endpoints()))

            async def pour() -> None:
                for _ in range(4000):
                    await there.send("it", bytes(200))

            pouring = asyncio.create_task(pour())
            for _ in range(4000):
                await receiver.receive()
            await pouring
        assert 1000 < turns.size_max <= SIZE


async def test_a_read_brings_as_many_messages_as_a_turn_takes() -> None:
    """More of them would only lie about; of large ones it is as many bytes as ever."""
    found: list[tuple[int, int]] = []  # bytes and messages of each read
    fit = links.LinkRunner._fit

    def noted(link: LinkRunner, size: int, count: int) -> None:
        fit(link, size, count)
        if count:
            found.append((size, count))

    asked: list[int] = []
    read = links.LinkRunner._read

    def asking(link: LinkRunner, size_max: int) -> int:
        asked.append(size_max)
        return read(link, size_max)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(links.LinkRunner, "_fit", noted)
        patch.setattr(links.LinkRunner, "_read", asking)
        async with AsyncBus() as here, AsyncBus() as there:
            receiver = here.register("it")
            await until(lambda: any(each.name == "it" for each in there.endpoints()))

            async def carry(size: int, count: int) -> None:
                sending = asyncio.create_task(there.send_many("it", [bytes(size)] * count))
                for _ in range(count):
                    await receiver.receive()
                await sending

            await carry(16, 20_000)
            small = [count for _, count in found]
            assert max(small[len(small) // 2 :]) <= 2 * links._READ_COUNT  # it may end a run that was begun
            assert max(asked) <= links._READ_SIZE_FIRST  # of copies of a byte more would overrun a queue
            found.clear()
            await carry(4096, 2_000)
            [link] = here._host.runners
            sizes = []
            reads = (
                (16384, 1024),
                (4096, 1024),
                (4096, 128),
                (4096, 127),
                (8192, 0),
                (16384, 1),
                (32768, 1),
                (SIZE, 1),
                (9, 0),
            )
            for size, count in reads:
                fit(link, size, count)
                sizes.append(link._read_size)
    assert max(size for size, _ in found) >= SIZE
    assert sizes == [4096, 4096, 4096, 8192, 16384, 32768, SIZE, 2 * SIZE, SIZE]


class Dying(SocketChannel):
    """A socket whose other end takes nothing more, with much that has come before."""

    def __init__(self, sock: socket.socket, waiting: int) -> None:
        super().__init__(sock, "dying", via="ipc", dialled=True)
        self.left = waiting
        self.dead = False
        self.reads = 0

    def read(self, size_max: int = SIZE) -> bytes | None:
        if not self.dead:
            return super().read(size_max)
        self.reads += 1
        self.left -= 1
        return None if self.left < 0 else b"\x02\x03\x01" * 20_000  # PINGs

    def write(self, data: bytes | bytearray | memoryview) -> int:
        if self.dead:
            raise BrokenPipeError(32, os.strerror(32))
        return super().write(data)

    def write_buffers(self, buffers: list[bytes | memoryview]) -> int:
        return self.write(b"".join(buffers))


async def test_what_had_come_before_a_link_broke_is_read_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncBus(ipc=False) as here, AsyncBus(ipc=False) as there:
        one, two = socket.socketpair()
        dying = Dying(one, 100)
        await asyncio.gather(here.attach(dying).ready, there.attach(links_channel(two)).ready)
        dying.dead = True
        before: list[int] = []
        runner = next(iter(here._host.runners))
        runner._fail(BrokenPipeError())
        while dying.left >= 0:
            before.append(dying.reads)
            await asyncio.sleep(0)
        assert max(b - a for a, b in itertools.pairwise(before)) == 1
        assert dying.reads == 101
        await until(lambda: not here.links())


async def test_a_link_that_broke_keeps_nothing_of_what_it_was_writing() -> None:
    async with AsyncBus(ipc=False) as here, AsyncBus(ipc=False) as there:
        one, two = socket.socketpair()
        dying = Dying(one, 0)
        there.register("x")
        await asyncio.gather(here.attach(dying).ready, there.attach(links_channel(two)).ready)
        runner = next(iter(here._host.runners))
        dying.dead = True
        await here.send("x", b"which the frames of a traceback would keep")
        await until(lambda: runner.failure is not None)
        assert isinstance(runner.failure, BrokenPipeError)
        assert runner.failure.__traceback__ is None


def links_channel(sock: socket.socket) -> SocketChannel:
    return SocketChannel(sock, "dying", via="ipc", dialled=False)
