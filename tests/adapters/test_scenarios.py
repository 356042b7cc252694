"""One script, whatever the link and whoever runs it: register, send, confirm, request, stream, cancel, death.

LINKS is the one table of sorts of link. A row says how a server can be reached in it: a context manager that
yields the URL to listen on (the server, in a process of its own, says the real one), options for `listen` and
options for `connect`. Every row runs under asyncio and threads.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

import busway
from busway import AsyncBus, Bus, Retry
from busway.adapters import making
from busway.adapters.dialled import DialledLink
from tests.adapters import inside, threads_tools
from tests.adapters.tools import Program, knows, sees, until
from tests.drivers import lines
from tests.drivers.test_websocket import Certificates
from tests.rigs.ble.radio import VirtualRadio

MEMORY = "memory://pair"
QUICK = Retry(first=0.05, factor=1.5, cap=0.5, jitter=0.5)


class Way(NamedTuple):
    """How client and server are joined: `listen` None for what needs no call (Unix sockets), MEMORY for one
    that is a thread of this process; else the server is a process of its own.
    """

    listen: str | None
    listen_options: Mapping[str, Any] = MappingProxyType({})
    connect_options: Mapping[str, Any] = MappingProxyType({})
    realm: str = "localnet"
    large: int = 300_000  # bytes, many frames in any case


@contextlib.contextmanager
def unix(_: Path) -> Iterator[Way]:
    yield Way(None, realm="userspace")


@contextlib.contextmanager
def tcp(_: Path) -> Iterator[Way]:
    yield Way(
        "tcp://127.0.0.1:0",
        {"token": "sesame-h4k9w2x7q5m8z3t6r1v0"},
        {"token": "sesame-h4k9w2x7q5m8z3t6r1v0"},
    )


@contextlib.contextmanager
def ws(_: Path) -> Iterator[Way]:
    yield Way(
        "ws://127.0.0.1:0",
        {"token": "sesame-h4k9w2x7q5m8z3t6r1v0"},
        {"token": "sesame-h4k9w2x7q5m8z3t6r1v0"},
        realm="global",
    )


@contextlib.contextmanager
def wss(place: Path) -> Iterator[Way]:
    found = Certificates(place)
    yield Way(
        "wss://127.0.0.1:0",
        {"certificate": found.chain, "key": found.key},
        {"cafile": found.ca},
        realm="global",
    )


@contextlib.contextmanager
def ble(_: Path) -> Iterator[Way]:
    with pytest.MonkeyPatch.context() as patch, VirtualRadio() as radio:
        patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", radio.buses[0])
        # The virtual radio tells nobody that a peripheral has died: keepalive does, here sooner than in 16 s.
        patch.setitem(making._LINK_DEFAULTS, "ble", (256, 1000))
        yield Way("ble://Board", {"port": radio.ports[0]}, large=60_000)


@contextlib.contextmanager
def in_memory(_: Path) -> Iterator[Way]:
    yield Way(MEMORY, realm="userspace")


@contextlib.contextmanager
def serial(_: Path) -> Iterator[Way]:
    with pytest.MonkeyPatch.context() as patch, lines.crossed() as (near, far):
        patch.setitem(making._LINK_DEFAULTS, "serial", (64, 1000))  # a line does not tell who has died
        yield Way(near.url, {"device": far.url})


LINKS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Way]]] = {
    "memory": in_memory,
    "unix": unix,
    "tcp": tcp,
    "ws": ws,
    "wss": wss,
    "serial": serial,
    "ble": ble,
}

ARGUMENTS = "arguments = sys.argv[1:]\n"
SERVER = """
async def main():
    way = eval(arguments[0])
    async with busway.AsyncBus(ipc=way["listen"] is None, label="server") as bus:
        async def echo(request):
            return request.payload
        async def scan(request):
            for part in range(request.payload):
                yield part
        async def slow(request):
            say("slow begun")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                say("slow cancelled")
                raise
        async def sulk(request):
            raise busway.RemoteError(300, "no")
        async def drip(request):
            yield 1
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                say("drip cancelled")
                raise
        for name, handler in {"echo": echo, "scan": scan, "slow": slow, "sulk": sulk, "drip": drip}.items():
            bus.serve(name, handler, realm=way["realm"])
        log = bus.register("log", realm=way["realm"])
        async def read():
            async for message in log:
                say("got", message.payload, message.missed)
        reading = asyncio.create_task(read())
        if way["listen"] is None:
            say("ipc")
        elif way["listen"].startswith("memory://"):
            bus.attach(here(asyncio.get_running_loop().call_soon_threadsafe))
            say(way["listen"])
        elif way["listen"].startswith("serial://"):
            from busway.drivers import serial
            (device,) = serial.candidates(way["options"]["device"])
            bus.attach(serial.dial(device, way["options"]["device"]))
            say(way["listen"])
        elif way["listen"].startswith("ble://"):
            from tests.rigs.ble.board import advertise
            radio = await advertise(bus, way["options"]["port"], way["listen"].removeprefix("ble://"))
            say(way["listen"])
        else:
            say((await bus.listen(way["listen"], **way["options"])).url)
        await heard()
        reading.cancel()
asyncio.run(main())
"""


def words_for(way: Way, url: str | None = None) -> str:
    return repr({"listen": url or way.listen, "options": dict(way.listen_options), "realm": way.realm})


@pytest.fixture(params=LINKS)
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    with LINKS[request.param](tmp_path) as found:
        yield found


# asyncio


def program(way: Way, url: str | None = None) -> Any:
    if way.listen == MEMORY:
        return inside.AsyncProgram(SERVER, words_for(way))
    return Program(ARGUMENTS + SERVER, words_for(way, url))


async def join(bus: AsyncBus, way: Way, server: Any, url: str) -> DialledLink | None:
    """The link, if it is one that heals."""
    if way.listen is None:
        return None
    if way.listen == MEMORY:
        await bus.attach(server.channel()).ready
        return None
    link = await bus.connect(url, retry=QUICK, **way.connect_options)
    assert (link.state, link.realm) == ("connected", way.realm)
    return link


async def test_the_script_under_asyncio(way: Way) -> None:
    async with AsyncBus(ipc=way.listen is None, label="client") as bus:
        async with program(way) as server:
            url = await server.line()
            link = await join(bus, way, server, url)
            await until(lambda: sees(bus, "slow") and sees(bus, "log"))
            await talk(bus, server, way.large)
            asking = asyncio.create_task(bus.request("slow", None))
            await server.expect("slow begun")
            await server.kill()
            with pytest.raises(busway.Undeliverable):
                await asking
            await until(lambda: not sees(bus, "echo") and knows(bus))
            if link is not None:
                await until(lambda: link.state == "reconnecting")
        async with program(way, url if way.listen else None) as server:
            assert await server.line() == url
            if link is None:
                await join(bus, way, server, url)
            assert await bus.request("echo", "again", ttl=30) == "again"
            if link is not None:
                assert (link.state, link.losses) == ("connected", 1)
            await bus.close()  # a line with nobody at its other end would be told goodbye for 3 s


async def talk(bus: AsyncBus, server: Any, large: int) -> None:
    for number in range(100):
        await bus.send("log", number)
    for number in range(100):
        await server.expect(f"got {number} 0")
    await bus.send("log", "confirmed", confirm=True)
    await server.expect("got confirmed 0")
    with pytest.raises(busway.Undeliverable):
        await bus.send("nobody has it", 1, confirm=True)
    for value in (None, bytes(large), {"a": [1, 2.5, "x" * 1000]}):
        assert await bus.request("echo", value) == value
    answers = await asyncio.gather(*(bus.request("echo", number) for number in range(200)))
    assert answers == list(range(200))
    assert [part async for part in bus.request_stream("scan", 500)] == list(range(500))
    with pytest.raises(busway.RemoteError, match="no"):
        await bus.request("sulk", None)
    async with contextlib.aclosing(bus.request_stream("drip", None)) as parts:
        assert await anext(parts) == 1
    await server.expect("drip cancelled")
    asking = asyncio.create_task(bus.request("slow", None))
    await server.expect("slow begun")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await server.expect("slow cancelled")
    with pytest.raises(busway.RequestTimeout):
        await bus.request("slow", None, timeout=3)
    await server.expect("slow begun")
    await server.expect("slow cancelled")


# Threads


HEARD = """
import asyncio

async def heard():
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
"""


def program_blocking(way: Way, url: str | None = None) -> Any:
    if way.listen == MEMORY:
        return inside.Program(SERVER, words_for(way))
    return threads_tools.Program(HEARD + ARGUMENTS + SERVER, words_for(way, url))


def join_blocking(bus: Bus, way: Way, server: Any, url: str) -> DialledLink | None:
    if way.listen is None:
        return None
    if way.listen == MEMORY:
        bus.attach(server.channel(bus._host.engine.soon)).ready.result(60)
        return None
    link = bus.connect(url, retry=QUICK, **way.connect_options)
    assert (link.state, link.realm) == ("connected", way.realm)
    return link


def test_the_script_under_threads(way: Way) -> None:
    with Bus(ipc=way.listen is None, label="client") as bus:
        with program_blocking(way) as server:
            url = server.line()
            link = join_blocking(bus, way, server, url)
            threads_tools.until(lambda: threads_tools.sees(bus, "slow") and threads_tools.sees(bus, "log"))
            talk_blocking(bus, server, way.large)
            asking = threads_tools.Task(lambda: bus.request("slow", None))
            server.expect("slow begun")
            server.kill()
            with pytest.raises(busway.Undeliverable):
                asking.result()
            threads_tools.until(lambda: not threads_tools.sees(bus, "echo") and len(bus.nodes()) == 1)
            if link is not None:
                threads_tools.until(lambda: link.state == "reconnecting")
        with program_blocking(way, url if way.listen else None) as server:
            assert server.line() == url
            if link is None:
                join_blocking(bus, way, server, url)
            assert bus.request("echo", "again", ttl=30) == "again"
            if link is not None:
                assert (link.state, link.losses) == ("connected", 1)
            bus.close()


def talk_blocking(bus: Bus, server: Any, large: int) -> None:
    for number in range(100):
        bus.send("log", number)
    for number in range(100):
        server.expect(f"got {number} 0")
    bus.send("log", "confirmed", confirm=True)
    server.expect("got confirmed 0")
    with pytest.raises(busway.Undeliverable):
        bus.send("nobody has it", 1, confirm=True)
    for value in (None, bytes(large), {"a": [1, 2.5, "x" * 1000]}):
        assert bus.request("echo", value) == value
    tasks = [threads_tools.Task(lambda number=number: bus.request("echo", number)) for number in range(32)]  # type: ignore[misc]
    assert [task.result() for task in tasks] == list(range(32))
    assert list(bus.request_stream("scan", 500)) == list(range(500))
    with pytest.raises(busway.RemoteError, match="no"):
        bus.request("sulk", None)
    parts = bus.request_stream("drip", None)
    assert next(parts) == 1
    parts.close()
    server.expect("drip cancelled")
    with pytest.raises(busway.RequestTimeout):
        bus.request("slow", None, timeout=3)
    server.expect("slow begun")
    server.expect("slow cancelled")
