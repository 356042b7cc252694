"""A bus in web applications: real uvicorn, Starlette and FastAPI, with clients in Python and JavaScript."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

import busway
from busway.drivers.upgrades import SUBPROTOCOL
from busway.protocol import codes
from tests.adapters.tools import until
from tests.rigs import aio
from tests.rigs.tree import ROOT
from tests.test_docs import programs
from tests.web.test_live import node

BOUND_S = 60.0
EVE = {"x-user": "eve"}


class Server(NamedTuple):
    """A uvicorn process."""

    process: subprocess.Popen[bytes]
    url: str  # of the bus
    refusal: int  # the status with which the application refuses


def uvicorn(app: str, ws: str, folder: Path, refusal: int) -> contextlib.AbstractContextManager[Server]:
    return running(["uvicorn", app, "--port", "0", "--ws", ws, "--no-access-log"], folder, refusal)


@contextlib.contextmanager
def running(words: list[str], folder: Path, refusal: int) -> Iterator[Server]:
    """A server in a process of its own, in which nothing is raised out of the application."""
    command = [sys.executable, "-m", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), str(ROOT / "src")])}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=folder, stderr=log, env=environment)
        try:
            yield Server(process, f"ws://{address_in(log, process)}/bus/", refusal)
        finally:
            process.terminate()
            try:
                process.wait(BOUND_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        said = text_of(log)
        assert "Finished server process" in said or words[0] != "uvicorn"
        assert "Exception in ASGI" not in said  # as uvicorn has it
        assert "Error in ASGI" not in said  # ... and hypercorn
        assert "never awaited" not in said
        assert "never retrieved" not in said


def text_of(log: IO[str]) -> str:
    log.seek(0)
    return log.read()


def address_in(log: IO[str], process: subprocess.Popen[bytes]) -> str:
    """The address that the server has, once it says so."""
    end = time.monotonic() + BOUND_S
    while True:
        if found := re.search(r"[Rr]unning on http://(\S+)", text_of(log)):
            return found[1]
        assert process.poll() is None, text_of(log)
        assert time.monotonic() < end, text_of(log)
        time.sleep(0.02)


@pytest.fixture(
    scope="module",
    params=[
        ("starlette_app", "websockets", 403),
        ("fastapi_app", "wsproto", 401),
    ],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    app, ws, refusal = request.param
    with uvicorn(f"tests.web.asgi_site:{app}", ws, ROOT, refusal) as found:
        yield found


@contextlib.asynccontextmanager
async def joined(url: str, name: str, **options: Any) -> Any:
    async with busway.AsyncBus(ipc=False, label=name) as bus:
        bus.serve("who", lambda request: name, kind="anycast", realm="global")
        await bus.connect(url, headers=options.pop("headers", EVE), retry=None, **options)
        yield bus


async def refused(url: str, name: str, **options: Any) -> busway.LinkRefused:
    with pytest.raises(busway.LinkRefused) as caught:
        async with joined(url, name, **options):
            pass
    return caught.value


async def programs_meet(url: str) -> None:
    async with joined(url, "one") as one, joined(url, "two", headers={"x-user": "bob"}) as two:
        assert await one.request("t/echo", {"x": 1}) == {"x": 1}
        assert await two.request("t/echo", bytes(3_000_000)) == bytes(3_000_000)
        assert await asyncio.gather(*(one.request("t/echo", number) for number in range(300))) == list(
            range(300)
        )
        names = await one.request("t/names")
        assert {"one", "two"} <= set(names)
        assert {"one as eve", "two as bob"} <= set(await one.request("t/seen"))


def test_programs_meet(server: Server) -> None:
    aio.run(programs_meet(server.url))


async def without_a_slash(url: str) -> None:
    async with joined(url.replace("/bus/", "/straight"), "straight") as straight:
        assert await straight.request("t/echo", 1) == 1


def test_a_route_needs_no_slash(server: Server) -> None:
    aio.run(without_a_slash(server.url))


async def who_is_refused(url: str, status: int) -> None:
    assert f"HTTP status {status}" in str(await refused(url, "one", headers={}))
    error = await refused(url, "one", headers={"x-user": "mallory"})
    assert (error.code, "mallory may not" in str(error)) == (codes.NOT_ADMITTED, True)
    error = await refused(url, "one", headers={"x-user": "odd"})
    assert (error.code, "'odd'" in str(error)) == (codes.NOT_ADMITTED, False)
    assert "is reached at /bus/" in str(await refused(url.rstrip("/"), "one", headers=EVE)) or status == 401
    error = await refused(url, "one", headers={**EVE, "Origin": "https://evil.example"})
    assert "origins=['https://evil.example']" in str(error)
    async with joined(url, "one", headers={**EVE, "Origin": "https://lab.example"}):
        assert (await refused(url, "one", headers={"x-user": "bob"})).code == codes.NAME_TAKEN
        async with joined(url, "one") as again:  # the same user, says the application
            assert (await again.request("t/names")).count("one") == 1


def test_who_is_refused(server: Server) -> None:
    aio.run(who_is_refused(server.url, server.refusal))


async def messages_are_told(url: str) -> None:
    async with joined(url, "told") as told:
        await told.request("t/echo", bytes(10))
        found: list[str] = []
        for _ in range(100):
            found = await told.request("t/seen")
            if "request t/echo 10" in found:
                break
            await asyncio.sleep(0.02)
        assert "request t/echo 10" in found


def test_the_program_is_told_of_messages(server: Server) -> None:
    aio.run(messages_are_told(server.url))


@contextlib.asynccontextmanager
async def plain(url: str, **options: Any) -> Any:
    """A WebSocket of another make."""
    protocols = [Subprotocol(options.pop("subprotocol", SUBPROTOCOL))]
    async with connect(
        url, subprotocols=protocols, additional_headers=EVE, max_size=None, close_timeout=1, **options
    ) as found:
        yield found


async def closed(peer: ClientConnection) -> tuple[int, str]:
    async for _ in peer:
        pass
    assert peer.close_code is not None
    return peer.close_code, peer.close_reason or ""


async def whatever_comes(url: str) -> None:
    async with plain(url) as peer:
        await peer.send("text")
        with contextlib.suppress(ConnectionClosed):
            assert await closed(peer) == (1003, "expected binary messages, not text")
        assert peer.close_code == 1003
    async with plain(url) as peer:
        await peer.send(b"GET / HTTP/1.1\r\n\r\n" * 100)
        assert (await closed(peer))[0] == 1000  # the bus has said why: link error 1
    async with plain(url) as peer:
        with contextlib.suppress(ConnectionClosed):
            await peer.send(bytes((16 << 20) + 1))
            await closed(peer)
        assert peer.close_code in (1009, 1000)
    async with plain(url) as peer:
        for number in range(20):
            await peer.ping(bytes((number,)) * 100)
        await peer.send(b"")
        await (await peer.ping())
    rng = random.Random(15)
    for _ in range(30):
        async with plain(url) as peer:
            with contextlib.suppress(ConnectionClosed):
                for _ in range(rng.randrange(4)):
                    await peer.send(rng.randbytes(rng.randrange(300)))
    for options, status in (
        ({"subprotocol": "other"}, 400),
        ({"origin": Origin("https://evil.example")}, 403),
    ):
        with pytest.raises(InvalidStatus) as caught:
            async with plain(url, **options):
                pass
        assert caught.value.response.status_code == status
    async with joined(url, "after") as after:  # and it goes on
        assert await after.request("t/echo", 1) == 1


def test_whatever_comes_ends_no_more_than_its_own_connection(server: Server) -> None:
    aio.run(whatever_comes(server.url))


async def who_does_not_read(url: str) -> None:
    """Somebody who asks for much and reads nothing."""
    async with joined(url, "lazy") as lazy, joined(url, "one") as one:
        (runner,) = lazy._host.runners
        lazy._host.loop.remove_reader(runner.channel.fileno())
        asking = [asyncio.create_task(lazy.request("t/echo", bytes(1_000_000))) for _ in range(8)]
        for number in range(100):
            assert await one.request("t/echo", number) == number
        for task in asking:
            task.cancel()
        await lazy.close(0)


def test_who_does_not_read_holds_up_nobody_else(server: Server) -> None:
    aio.run(who_does_not_read(server.url))


def test_pages_are_handed_out(server: Server) -> None:
    place = server.url.replace("ws://", "http://")
    with urllib.request.urlopen(f"{place}busway.js", timeout=BOUND_S) as answer:
        assert answer.headers["content-type"].startswith("text/javascript")
        assert b"export class Bus" in answer.read()
    for path, method, status in (("", "GET", 426), ("none", "GET", 404), ("", "POST", 405)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(place + path, method=method), timeout=BOUND_S)
        assert caught.value.code == status
        caught.value.close()


async def a_page_asks(url: str) -> None:
    async with node("asks", f"{url}?user=eve&name=page"):
        pass


def test_a_page_joins(server: Server) -> None:
    """The JavaScript client, under node."""
    aio.run(a_page_asks(server.url))


async def the_end(server: Server) -> None:
    async with joined(server.url, "last") as last:
        server.process.send_signal(signal.SIGTERM)
        await until(lambda: not last.links())
    assert server.process.wait(BOUND_S) in (0, -signal.SIGTERM)


def test_a_server_that_ends_ends_its_links(server: Server) -> None:
    """The last of this file: it is asked to end with a client still there."""
    aio.run(the_end(server))


async def in_the_hall(url: str) -> None:
    cookie = {"Cookie": "user=eve"}
    async with busway.AsyncBus(ipc=False, label="panel-1", leaf=True) as panel:
        await panel.connect(url, headers=cookie)
        request = urllib.request.Request(
            url.replace("ws", "http").replace("/bus/", "/panels"), headers=cookie
        )
        assert await asyncio.to_thread(lambda: urllib.request.urlopen(request).read()) == b"panel-1"
        with pytest.raises(busway.LinkRefused, match="HTTP status 401 instead of a WebSocket: log in first"):
            await panel.connect(f"{url}?b", retry=None)


@pytest.mark.parametrize(
    "words",
    [
        ["uvicorn", "hall_app:app", "--port", "0", "--ws", "websockets-sansio"],
        ["hypercorn", "hall_app:app", "--bind", "127.0.0.1:0"],
    ],
    ids=lambda words: words[0],
)
def test_the_program_of_the_document(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "hall_app.py").write_text(programs("docs/howto/clients.md")["hall_app.py"])
    with running(words, tmp_path, 401) as server:
        aio.run(in_the_hall(server.url))
