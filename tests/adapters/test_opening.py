"""Addresses as people write them, the table of drivers, and trying each address of one."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

import busway
from busway import AsyncBus, Bus
from busway.adapters import opening
from busway.adapters.opening import DRIVERS, driver_of, normalise
from busway.protocol import codes
from tests.adapters.tools import until


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("lab", "tcp://lab:7660"),
        ("Lab.Example:7000", "tcp://lab.example:7000"),
        ("192.0.2.1", "tcp://192.0.2.1:7660"),
        ("192.0.2.1:5", "tcp://192.0.2.1:5"),
        ("::1", "tcp://[::1]:7660"),
        ("2001:DB8::1", "tcp://[2001:db8::1]:7660"),
        ("[::1]", "tcp://[::1]:7660"),
        ("[::1]:7000", "tcp://[::1]:7000"),
        ("[fe80::1%eth0]:7000", "tcp://[fe80::1%eth0]:7000"),
        ("tcp://[FE80::1%enP8p1s0]", "tcp://[fe80::1%enP8p1s0]:7660"),
        ("tcp://[fe80::1%25enP8p1s0]:7", "tcp://[fe80::1%enP8p1s0]:7"),
        ("fe80::1%25enP8p1s0", "tcp://[fe80::1%enP8p1s0]:7660"),
        ("tcp://[fe80::1%25]:7", "tcp://[fe80::1%25]:7"),
        ("wss://[FE80::1%25enP8p1s0]:443/Bus", "wss://[fe80::1%enP8p1s0]/Bus"),
        ("ws://[fe80::1%enP8p1s0]:8765", "ws://[fe80::1%enP8p1s0]:8765"),
        ("tcp://lab", "tcp://lab:7660"),
        ("TCP://Lab:7000/", "tcp://lab:7000"),
        ("tcp://[::1]", "tcp://[::1]:7660"),
        ("tcp://[::1]:0", "tcp://[::1]:0"),
        ("  lab ", "tcp://lab:7660"),
        ("ipc:///run/x", "ipc:///run/x"),
        ("[0:0::0:1]:7000", "tcp://[::1]:7000"),
        ("WS://Lab:80/bus", "ws://lab/bus"),
        ("ws://lab/", "ws://lab"),
        ("ws://lab:443", "ws://lab:443"),
        ("wss://Lab:443/Bus?A=b", "wss://lab/Bus?A=b"),
        ("wss://lab?A=b", "wss://lab?A=b"),
        ("ws://[0:0::1]:80/x/", "ws://[::1]/x/"),
        ("ws://[::80]", "ws://[::80]"),
        ("ws://[::1]:8765", "ws://[::1]:8765"),
        ("serial:///dev/ttyUSB0?baud=9600", "serial:///dev/ttyUSB0?baud=9600"),
    ],
)
def test_an_address_becomes_a_url(written: str, url: str) -> None:
    assert normalise(written) == url
    assert normalise(url) == url


@pytest.mark.parametrize(
    "written",
    [
        "",
        "tcp://",
        "tcp://:7000",
        ":7000",
        "lab:",
        "tcp://::1:7000",
        "1:2:3",
        "[::1",
        "[::1]7000",
        "a b",
        "a@b:1",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(ValueError, match=r"expected .*tcp://"):
        normalise(written)


def test_an_unknown_scheme_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="carrier-pigeon") as caught:
        normalise("carrier-pigeon://loft")
    assert all(f"{scheme}://" in str(caught.value) for scheme in DRIVERS)


def test_an_address_is_text() -> None:
    with pytest.raises(TypeError, match="tcp://host:port"):
        normalise(7660)  # type: ignore[arg-type]


def test_a_library_that_is_missing_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    row = opening.Driver("tests.adapters.needs_what_is_not_there", "serial", "serial:///dev/ttyUSB0")
    monkeypatch.setitem(DRIVERS, "serial", row)
    with pytest.raises(busway.BusError, match=r"-m pip install pyserial"):
        driver_of("serial:///dev/ttyUSB0")


def test_a_driver_that_this_version_lacks_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DRIVERS, "pipe", opening.Driver("busway.drivers.no_such_driver", "", "pipe://name"))
    with pytest.raises(busway.BusError, match="no pipe:// links"):
        driver_of("pipe://name")


def test_what_can_only_be_dialled_is_not_listened_on() -> None:
    with pytest.raises(ValueError, match="cannot be listened on"):
        opening.listen("ipc:///somewhere", None, False, {})


async def test_each_address_is_tried_and_the_last_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncBus(ipc=False) as a, AsyncBus(ipc=False) as b:
        listener = await a.listen("tcp://127.0.0.1:0")
        port = int(listener.url.rpartition(":")[2])
        with socket.create_server(("127.0.0.1", 0)) as dead:
            gone = dead.getsockname()
        driver = driver_of(listener.url)
        monkeypatch.setattr(driver, "candidates", lambda url: [gone, gone, ("127.0.0.1", port)])
        link = await b.connect(f"tcp://lab:{port}", retry=None)
        assert (link.peer, link.address) == (a.id, listener.url)
        monkeypatch.setattr(driver, "candidates", lambda url: [("127.0.0.1", port), gone][1:])
        with pytest.raises(ConnectionRefusedError, match=str(gone[1])):
            await b.connect("tcp://lab:1", retry=None)
        monkeypatch.setattr(driver, "candidates", lambda url: [])
        with pytest.raises(OSError, match="no address"):
            await b.connect("tcp://lab:2", retry=None)


def full_backlog() -> tuple[socket.socket, list[socket.socket]]:
    """A listener that takes no more connections: what dials it gets no answer at all."""
    server = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect(server.getsockname())
        waiting.append(client)
    return server, waiting


async def test_an_address_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "CONNECT_S", 0.2)
    server, waiting = full_backlog()
    with contextlib.ExitStack() as stack:
        for sock in (server, *waiting):
            stack.enter_context(sock)
        host, port = server.getsockname()
        async with AsyncBus(ipc=False) as bus:
            with pytest.raises(TimeoutError, match="no answer within"):
                await bus.connect(f"tcp://{host}:{port}")
            connecting = asyncio.create_task(bus.connect(f"tcp://{host}:{port}", wait=60))
            await until(lambda: bus._host.dialled)
            await bus.close()
            with pytest.raises(busway.BusClosed):
                await connecting
        with Bus(ipc=False) as blocking, pytest.raises(TimeoutError, match="no answer within"):
            blocking.connect(f"tcp://{host}:{port}")


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_who_is_reached_and_silent_is_given_up_as_soon_as_over_tcp(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "CONNECT_S", 3600.0)
    monkeypatch.setattr(opening, "HANDSHAKE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        async with AsyncBus(ipc=False) as bus:
            with pytest.raises(TimeoutError, match=r"no answer within 0\.2 s"):
                await bus.connect(f"{scheme}://{host}:{port}")
        with Bus(ipc=False) as blocking, pytest.raises(TimeoutError, match=r"no answer within 0\.2 s"):
            blocking.connect(f"{scheme}://{host}:{port}")


async def test_the_handshake_does_not_lengthen_what_an_address_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "CONNECT_S", 0.2)
    monkeypatch.setattr(opening, "HANDSHAKE_S", 3600.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        async with AsyncBus(ipc=False) as bus:
            with pytest.raises(TimeoutError, match=r"no answer within 0\.2 s"):
                await bus.connect(f"ws://{host}:{port}")


def test_one_who_is_reached_gets_as_long_from_every_scheme() -> None:
    assert opening.HANDSHAKE_S == opening.INCOMING_S == codes.HELLO_TIMEOUT_MS / 1000
