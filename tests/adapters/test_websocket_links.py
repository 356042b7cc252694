"""WebSocket links through connect and listen, under asyncio and in threads: goodbyes, tokens, dawdlers."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import math
import socket
import ssl
import threading
from collections.abc import AsyncIterator

import pytest
import trustme

import busway
from busway import AsyncBus
from busway.adapters import links
from busway.protocol import codes
from tests.adapters.tools import until

LOOPBACK = "ws://127.0.0.1:0"


@contextlib.asynccontextmanager
async def two() -> AsyncIterator[tuple[AsyncBus, AsyncBus]]:
    async with AsyncBus(ipc=False, label="a") as a, AsyncBus(ipc=False, label="b") as b:
        yield a, b


async def test_a_link_of_realm_global() -> None:
    async with two() as (a, b):
        a.serve("echo", lambda request: request.payload, realm="global")
        a.serve("near", lambda request: request.payload)
        listener = await a.listen(LOOPBACK)
        link = await b.connect(listener.url)
        assert (link.peer, link.state, link.realm, link.address) == (
            a.id,
            "connected",
            "global",
            listener.url,
        )
        assert await b.request("echo", bytes(3_000_000)) == bytes(3_000_000)
        with pytest.raises(busway.Undeliverable):
            await b.request("near", b"", ttl=0)


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
async def test_a_listener_with_tls_is_not_tried_for_ever_without(scheme: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    async with two() as (a, b):
        listener = await a.listen(LOOPBACK.replace("ws", "wss"), tls=context)
        with pytest.raises(busway.LinkRefused, match="wss://") as caught:
            await b.connect(listener.url.replace("wss", scheme), wait=math.inf)
        assert caught.value.code == codes.NOT_BUSWAY


async def test_threads_and_asyncio_meet() -> None:
    async with AsyncBus(ipc=False) as bus:
        bus.serve("echo", lambda request: request.payload, realm="global")
        listener = await bus.listen(LOOPBACK, token="secret-h4k9w2x7q5m8z3t6r1v0")

        def ask() -> bytes:
            with busway.Bus(ipc=False) as other:
                other.connect(listener.url, token="secret-h4k9w2x7q5m8z3t6r1v0")
                answer: bytes = other.request("echo", bytes(300_000))
                return answer

        assert await asyncio.to_thread(ask) == bytes(300_000)


def test_threads_listen() -> None:
    with busway.Bus(ipc=False) as a, busway.Bus(ipc=False) as b:
        a.serve("echo", lambda request: request.payload, realm="global")
        with pytest.raises(busway.LinkRefused, match="one side has none") as caught:
            b.connect(a.listen(LOOPBACK, token="secret-h4k9w2x7q5m8z3t6r1v0").url)
        assert caught.value.code == codes.TOKEN
        b.connect(a.listen(LOOPBACK).url)
        assert b.request("echo", "hello") == "hello"


async def test_leaving_says_goodbye_in_both_protocols() -> None:
    async with AsyncBus(ipc=False) as a:
        listener = await a.listen(LOOPBACK)
        watch = a.changes()
        async with AsyncBus(ipc=False) as b:
            await b.connect(listener.url)
        async for change in watch:
            if change.what == "link-down":
                assert "failed" not in change.text
                break
        await until(lambda: listener._runner.listener.connections == 0)


async def test_who_dawdles_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "INCOMING_S", 0.2)
    async with AsyncBus(ipc=False) as bus:
        listener = await bus.listen(LOOPBACK)
        host, _, port = listener.url.removeprefix("ws://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(1000):
            with contextlib.suppress(ConnectionError):
                writer.write(b"G")
                await writer.drain()
            if reader.at_eof():
                break
            with contextlib.suppress(TimeoutError):
                assert await asyncio.wait_for(reader.read(1), 0.01) == b""
        assert reader.at_eof()
        writer.close()
        assert listener._runner.listener.connections == 0


async def test_closing_the_listener_ends_who_is_still_opening_and_nobody_else() -> None:
    async with two() as (a, b):
        a.serve("echo", lambda request: request.payload, realm="global")
        listener = await a.listen(LOOPBACK)
        await b.connect(listener.url)
        host, _, port = listener.url.removeprefix("ws://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        await until(lambda: listener._runner.listener.connections == 2)
        listener.close()
        assert await reader.read() == b""
        writer.close()
        assert await b.request("echo", 1) == 1


def test_an_answer_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("busway.adapters.opening.CONNECT_S", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        busway.Bus(ipc=False) as bus,
        pytest.raises(TimeoutError, match="no answer within"),
    ):
        bus.connect(f"ws://127.0.0.1:{server.getsockname()[1]}")
    assert "busway-io" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(
    ("origin", "shared"),
    [("https://lab.example", True), ("https://other.example", False), ("", False)],
)
def test_a_page_of_an_allowed_origin_may_use_ours(origin: str, shared: bool) -> None:
    pages = {"/bus.js": ("text/javascript", b"export {}")}
    with busway.Bus(ipc=False) as bus:
        listener = bus.listen(LOOPBACK, pages=pages, origins=["https://lab.example"])
        asking = http.client.HTTPConnection(listener.url.removeprefix("ws://"), timeout=60)
        with contextlib.closing(asking):
            asking.request("GET", "/bus.js", headers={"Origin": origin} if origin else {})
            answer = asking.getresponse()
            assert (answer.status, answer.read()) == (200, b"export {}")
            assert answer.headers["Access-Control-Allow-Origin"] == (origin if shared else None)
            assert answer.headers["Vary"] == "Origin", "no cache hands it to another origin"
