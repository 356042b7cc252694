"""TCP links through connect and listen: who is let in, what the others are told, several links at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator

import pytest

import busway
from busway import AsyncBus
from busway.protocol import codes
from tests.adapters.tools import knows, sees, until

LOOPBACK = "tcp://127.0.0.1:0"


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


def url_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()
    return f"tcp://{host}:{port}"


@contextlib.asynccontextmanager
async def two(one: str = "default", other: str = "default") -> AsyncIterator[tuple[AsyncBus, AsyncBus]]:
    async with AsyncBus(one, ipc=False, label="a") as a, AsyncBus(other, ipc=False, label="b") as b:
        yield a, b


async def refused(bus: AsyncBus, url: str, token: str | None = None) -> busway.LinkRefused:
    with pytest.raises(busway.LinkRefused) as caught:
        await bus.connect(url, token=token)
    return caught.value


async def test_connect_returns_when_the_other_side_has_told_its_endpoints() -> None:
    async with two() as (a, b):
        a.serve("echo", lambda request: request.payload)
        listener = await a.listen(LOOPBACK)
        assert listener.url.startswith("tcp://127.0.0.1:")
        link = await b.connect(listener.url)
        assert (link.peer, link.state, link.realm, link.address) == (
            a.id,
            "connected",
            "localnet",
            listener.url,
        )
        assert await b.request("echo", bytes(3_000_000)) == bytes(3_000_000)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
async def test_ipv6() -> None:
    async with two() as (a, b):
        listener = await a.listen("tcp://[::1]:0")
        assert listener.url.startswith("tcp://[::1]:")
        link = await b.connect(listener.url)
        assert link.address == listener.url


async def test_each_address_of_a_name_is_tried() -> None:
    async with two() as (a, b):
        listener = await a.listen(LOOPBACK)
        port = listener.url.rpartition(":")[2]
        assert (await b.connect(f"tcp://localhost:{port}")).peer == a.id  # ::1 first, where there is one


async def test_another_bus_name_is_refused_with_a_sentence() -> None:
    async with two("red", "blue") as (a, b):
        listener = await a.listen(LOOPBACK)
        error = await refused(b, listener.url)
        assert error.code == codes.BUS_NAME
        assert "bus" in str(error)
        await until(lambda: not a.links())
        assert knows(a)
        assert knows(b)


async def test_nobody_listening_is_an_os_error() -> None:
    async with two() as (a, b):
        listener = await a.listen(LOOPBACK)
        listener.close()
        listener.close()
        with pytest.raises(OSError, match="refused"):
            await b.connect(listener.url)
        assert b.links() == []


@pytest.mark.parametrize("url", ["tcp://:5", "tcp://127.0.0.1:0", "tcp://127.0.0.1:99999"])
async def test_a_url_that_is_none_is_a_value_error(url: str) -> None:
    async with AsyncBus(ipc=False) as bus:
        with pytest.raises(ValueError, match="tcp"):
            await bus.connect(url)


# Tokens


async def test_the_same_token_opens() -> None:
    async with two() as (a, b):
        listener = await a.listen("tcp://0.0.0.0:0", token="sesame-h4k9w2x7q5m8z3t6r1v0")
        port = listener.url.rpartition(":")[2]
        assert (
            await b.connect(f"tcp://127.0.0.1:{port}", token="sesame-h4k9w2x7q5m8z3t6r1v0")
        ).state == "connected"


@pytest.mark.parametrize("token", ["wrong-h4k9w2x7q5m8z3t6r1v0", None])
async def test_a_wrong_or_missing_token_is_refused(token: str | None) -> None:
    async with two() as (a, b):
        a.register("secret")
        listener = await a.listen(LOOPBACK, token="sesame-h4k9w2x7q5m8z3t6r1v0")
        error = await refused(b, listener.url, token)
        assert error.code == codes.TOKEN
        assert "token" in error.message
        await until(lambda: not a.links())
        assert knows(b)
        assert not sees(b, "secret")


@pytest.mark.parametrize("token", ["wrong-h4k9w2x7q5m8z3t6r1v0", None])
@pytest.mark.parametrize("place", [LOOPBACK, "ws://127.0.0.1:0"])
async def test_a_refused_client_is_told_to_the_listener_once(
    token: str | None, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with two() as (a, b):
        listener = await a.listen(place, token="sesame-h4k9w2x7q5m8z3t6r1v0")
        changes = a.changes()
        for _ in range(3):
            await refused(b, listener.url, token)
        while (change := await anext(changes)).what != "link-refused":
            pass
        assert change.code == codes.TOKEN
        await until(lambda: a.node.counters.get("incoming_refused") == 3)
        told = [record.getMessage() for record in caplog.records if "cannot join" in record.getMessage()]
        assert len(told) == 1
        assert told[0].startswith(listener.url)


async def test_who_demands_a_token_does_not_join_one_that_has_none() -> None:
    async with two() as (a, b):
        listener = await a.listen(LOOPBACK)
        assert (await refused(b, listener.url, "sesame-h4k9w2x7q5m8z3t6r1v0")).code == codes.TOKEN


async def test_an_empty_token_is_the_callers_error() -> None:
    async with two() as (a, b):
        with pytest.raises(ValueError, match="token"):
            await a.listen(LOOPBACK, token="")
        listener = await a.listen(LOOPBACK)
        with pytest.raises(ValueError, match="token"):
            await b.connect(listener.url, token="")
        await until(lambda: not a.links() and not b.links())


async def test_beyond_loopback_only_on_purpose() -> None:
    async with AsyncBus(ipc=False) as bus:
        for url in ("tcp://0.0.0.0:0", "tcp://[::]:0"):
            with pytest.raises(ValueError, match=r"token=.*open=True"):
                await bus.listen(url)
        listener = await bus.listen("tcp://0.0.0.0:0", open=True)
        url = f"tcp://127.0.0.1:{listener.url.rpartition(':')[2]}"
        async with AsyncBus(ipc=False) as other, AsyncBus(ipc=False, leaf=True) as leaf:
            assert (await refused(other, url)).code == codes.NOT_A_ROUTER
            await leaf.connect(url)


async def test_routers_come_to_an_open_listener_only_on_purpose() -> None:
    async with two() as (a, b):
        with pytest.raises(ValueError, match="open=True"):
            await a.listen(LOOPBACK, routers=True)
        await b.connect((await a.listen(LOOPBACK, open=True, routers=True)).url)
        assert knows(a, b.id)


# Several links


async def test_ipc_and_tcp_between_the_same_nodes_stand_side_by_side() -> None:
    async with AsyncBus() as a, AsyncBus() as b:
        receiver = a.register("log", realm="userspace")
        await until(lambda: sees(b, "log"))
        listener = await a.listen(LOOPBACK)
        await b.connect(listener.url)
        await until(lambda: len(a.links()) == len(b.links()) == 2)
        for number in range(100):
            await b.send("log", number)
        assert [(await receiver.receive(60)).payload for _ in range(100)] == list(range(100))
        assert receiver._core.taken == 100
        ipc = next(runner for runner in b._host.runners if runner.connection.via == "ipc")
        ipc.connection.close(int(time.monotonic() * 1000))
        await until(lambda: len(a.links()) == 1)
        assert knows(b, a.id)  # the other way is still there
        with pytest.raises(busway.Undeliverable):  # and too wide for this endpoint
            await b.send("log", 100, confirm=True)


async def test_of_two_links_over_one_address_the_newer_stays_and_nothing_is_lost() -> None:
    async with two() as (a, b):
        receiver = a.register("log")
        listener = await a.listen(LOOPBACK)
        await b.connect(listener.url, retry=None)

        async def send() -> None:
            for number in range(3000):
                await b.send("log", number)
                if number % 50 == 0:
                    await asyncio.sleep(0)

        sending = asyncio.create_task(send())
        async with asyncio.timeout(60):
            for _ in range(5):  # each returns although nobody reads what is queued
                await b.connect(listener.url, retry=None)
        for number in range(3000):
            assert (await receiver.receive(60)).payload == number
        await sending
        await until(lambda: len(a.links()) == len(b.links()) == 1)
        assert not b.undeliverable


async def test_a_node_does_not_join_itself() -> None:
    async with AsyncBus(ipc=False) as bus:
        listener = await bus.listen(LOOPBACK)
        assert (await refused(bus, listener.url)).code == codes.SELF
        await until(lambda: not bus.links())


async def test_a_closed_listener_lets_nobody_in_and_keeps_who_is() -> None:
    async with two() as (a, b):
        b.serve("echo", lambda request: request.payload)
        listener = await a.listen(LOOPBACK)
        await b.connect(listener.url)
        listener.close()
        await until(lambda: sees(a, "echo"))
        assert await a.request("echo", 1) == 1


# Misfortunes


async def test_a_cancelled_connect_leaves_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and says nothing
        async with AsyncBus(ipc=False) as bus:
            connecting = asyncio.create_task(bus.connect(url_of(silent)))
            await until(lambda: bus.links())
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await until(lambda: not bus.links() and not bus._host.runners)


async def test_closing_while_connecting_and_listening() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with AsyncBus(ipc=False) as bus:
            connecting = asyncio.create_task(bus.connect(url_of(silent)))
            await until(lambda: bus.links())
            listening = asyncio.create_task(bus.listen(LOOPBACK))
            await asyncio.sleep(0)
            await bus.close(1)
            with pytest.raises(busway.BusClosed):
                await connecting
            with pytest.raises(busway.BusClosed):
                await listening


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(160),  # TLS
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n" + bytes(60),
        bytes(4),
    ],
    ids=["HTTP", "TLS", "SSH", "zeros"],
)
async def test_what_speaks_something_else_is_turned_away(words: bytes) -> None:
    async with AsyncBus(ipc=False) as bus:
        listener = await bus.listen(LOOPBACK)
        host, port = listener.url.removeprefix("tcp://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(words)
        async with asyncio.timeout(60):
            await reader.read()  # it is closed on us
        writer.close()
        await until(lambda: not bus.links())
