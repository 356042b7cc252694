"""Names with several addresses, of which the first is silent, somebody else's, or a black hole."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import busway
from busway import AsyncBus, Bus
from busway.adapters import opening
from busway.drivers import tcp
from busway.protocol import codes
from tests.adapters import threads_tools
from tests.adapters.test_healing import QUICK
from tests.adapters.tools import until

FIRST = "127.0.0.2"  # of the name `lab`; the second is 127.0.0.1, where the bus listens
both = pytest.mark.parametrize("style", ["asyncio", "threads"])
schemes = pytest.mark.parametrize("scheme", ["tcp", "ws"])


class Stranger:
    """A program at the first address: says `answer` to each client and nothing more."""

    def __init__(self, port: int, answer: bytes) -> None:
        self._server = socket.create_server((FIRST, port))
        self._answer = answer
        self._open: list[socket.socket] = []
        self.clients = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self._open.append(client)
                self.clients += 1
                client.sendall(self._answer)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()
        for client in self._open:
            client.close()


@contextlib.contextmanager
def black_hole(port: int) -> Iterator[None]:
    """A first address from which a caller hears nothing at all: its backlog is full."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(socket.create_server((FIRST, port), backlog=0))
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect((FIRST, port))
        yield


async def listen(server: AsyncBus, scheme: str) -> Any:
    """A listener whose port is free at the first address, too."""
    while True:
        listener = await server.listen(f"{scheme}://127.0.0.1:0")
        try:
            socket.create_server((FIRST, at_lab(listener.url)[1])).close()
        except OSError:
            listener.close()
        else:
            return listener


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    real = tcp.look_up

    def look_up(host: str, port: int) -> list[tcp.Address]:
        return [(FIRST, port), ("127.0.0.1", port)] if host == "lab" else real(host, port)

    monkeypatch.setattr(tcp, "look_up", look_up)


@contextlib.asynccontextmanager
async def joined(style: str, url: str, **options: Any) -> Any:
    """The link to `url` of a bus in that style."""
    if style == "asyncio":
        async with AsyncBus(ipc=False) as bus, asyncio.timeout(60):
            yield await bus.connect(url, **options)
    else:
        blocking = Bus(ipc=False)
        await asyncio.to_thread(blocking.open)
        try:
            yield await asyncio.to_thread(
                threads_tools.Task(lambda: blocking.connect(url, **options)).result, 30
            )
        finally:
            await asyncio.to_thread(blocking.close)


def at_lab(url: str) -> tuple[str, int]:
    return url.replace("127.0.0.1", "lab"), int(url.rpartition(":")[2])


@both
@schemes
async def test_another_program_at_the_first_address(style: str, scheme: str, lab: None) -> None:
    async with AsyncBus(ipc=False) as server:
        listener = await listen(server, scheme)
        url, port = at_lab(listener.url)
        lost: Any = server.node
        answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" if scheme == "ws" else b"220 mail\r\n"
        with contextlib.closing(Stranger(port, answer)) as stranger:
            async with joined(style, url, retry=QUICK) as link:
                assert link.peer == server.id
                clients = stranger.clients
                assert clients == 1
                for connection in list(lost.connections):
                    connection.tag.close()  # the line is cut
                await until(lambda: link.state == "connected" and link.losses == 1)
                assert stranger.clients == clients, "the address that was good is tried first"


@pytest.mark.parametrize(("style", "scheme"), [("threads", "tcp"), ("asyncio", "ws"), ("threads", "ws")])
async def test_a_silent_program_at_the_first_address(style: str, scheme: str, lab: None) -> None:
    async with AsyncBus(ipc=False) as server:
        listener = await listen(server, scheme)
        url, port = at_lab(listener.url)
        with contextlib.closing(Stranger(port, b"")):
            async with joined(style, url, retry=None) as link:
                assert link.peer == server.id


@both
@schemes
async def test_a_black_hole_at_the_first_address_holds_up_nobody(
    style: str, scheme: str, lab: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "CONNECT_S", 3600.0)
    async with AsyncBus(ipc=False) as server:
        listener = await listen(server, scheme)
        url, port = at_lab(listener.url)
        with black_hole(port):
            async with joined(style, url, retry=None) as link:
                assert link.peer == server.id


@both
async def test_who_refuses_is_told_rather_than_who_does_not_listen(style: str, lab: None) -> None:
    """In whatever order they come: nobody is at one of the two."""
    async with AsyncBus(ipc=False) as server:
        for place in ("127.0.0.1", FIRST):
            listener = await server.listen(f"tcp://{place}:0", token="sesame-h4k9w2x7q5m8z3t6r1v0")
            url = listener.url.replace(place, "lab")
            with pytest.raises(busway.LinkRefused) as caught:
                async with joined(style, url, wait=3600):
                    pass
            assert caught.value.code == codes.TOKEN


async def test_closing_ends_all_that_are_under_way(lab: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    real: Callable[..., Any] = tcp.dial

    def dial(*words: Any, **options: Any) -> Any:
        seen.append(real(*words, **options))
        return seen[-1]

    monkeypatch.setattr(tcp, "dial", dial)
    with socket.socket() as free:
        free.bind((FIRST, 0))
        port = free.getsockname()[1]
    with black_hole(port):
        monkeypatch.setattr(tcp, "look_up", lambda host, port: [(FIRST, port)] * 2)
        async with AsyncBus(ipc=False) as bus:
            connecting = asyncio.create_task(bus.connect(f"tcp://lab:{port}"))
            await until(lambda: len(seen) == 2)
            assert all(channel.fileno() >= 0 for channel in seen)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            assert all(channel.fileno() < 0 for channel in seen)


def test_the_families_alternate(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*_: Any, **__: Any) -> list[Any]:
        six = [(f"2001:db8::{number}", 1, 0, 0) for number in range(1, 4)]
        return [(socket.AF_INET6, 1, 6, "", one) for one in six] + [
            (socket.AF_INET, 1, 6, "", ("192.0.2.1", 1))
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    hosts = [address[0] for address in tcp.look_up("lab", 1)]
    assert hosts == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"]
