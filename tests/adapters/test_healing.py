"""Links that heal: over real sockets, with servers that are killed, stopped and replaced; over lines."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import busway
from busway import AsyncBus, Bus, Retry
from busway.adapters import making, opening
from busway.protocol import codes
from tests.adapters import line_driver, threads_tools
from tests.adapters.tools import Program, knows, until

LOOPBACK = "tcp://127.0.0.1:0"
QUICK = Retry(first=0.02, factor=1.5, cap=0.2, jitter=0.5)

SERVER = """
async def main():
    url = sys.argv[1]
    node_id = bytes.fromhex(sys.argv[2]) if len(sys.argv) > 2 else None
    async with busway.AsyncBus(ipc=False, node_id=node_id, label="server") as bus:
        @bus.serve("echo")
        async def echo(request):
            return request.payload
        @bus.serve("sleep")
        async def sleep(request):
            say("asleep")
            await asyncio.sleep(60)
        log = bus.register("log")
        async def read():
            async for message in log:
                say("got", message.payload)
        reading = asyncio.create_task(read())
        say((await bus.listen(url)).url)
        await heard()
        reading.cancel()
asyncio.run(main())
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def client(**options: Any) -> Any:
    async with AsyncBus(ipc=False, label="client", **options) as bus:
        yield bus


def is_up(link: busway.DialledLink, losses: int) -> bool:
    return link.state == "connected" and link.losses == losses


# What is told


async def test_a_killed_server_comes_back_and_all_goes_on() -> None:
    url = f"tcp://127.0.0.1:{free_port()}"
    async with client() as bus:
        changes = bus.changes()
        async with Program(SERVER, url) as server:
            await server.line()
            link = await bus.connect(url, retry=QUICK)
            assert (link.state, link.url, link.attempt, link.error) == ("connected", url, 1, "")
            assert await bus.request("echo", 1) == 1
            first = link.peer
            asking = asyncio.create_task(bus.request("sleep", None))
            await server.expect("asleep")
            await server.kill()
            with pytest.raises(busway.Undeliverable) as caught:
                await asking
            assert caught.value.reason == codes.LOST_AFTER_SENDING
            await until(lambda: link.state == "reconnecting" and link.attempt > 1)
            assert "refused" in link.error
            assert [found.state for found in bus.links()] == ["reconnecting"]
            assert bus.links()[0].url == url
            row = bus.node.report(0)["dialled"][0]
            assert (row["state"], row["peer"], row["losses"]) == ("reconnecting", first, 1)
            with pytest.raises(busway.Undeliverable):
                await bus.send("log", "nobody is there", confirm=True)
        waiting = asyncio.create_task(bus.send("log", "patience", confirm=True, ttl=30))
        async with Program(SERVER, url) as server:
            await server.line()
            await waiting
            await server.expect("got patience")
            await until(lambda: link.state == "connected")
            assert await bus.request("echo", 2) == 2
            assert link.peer != first
            assert (link.losses, link.error) == (1, "")
        states: list[str] = []
        while not states or states[-1] != "connected" or states.count("connected") < 2:
            change = await anext(changes)
            if change.what == "link-state":
                states.append(change.subject.state)
        seen = [states[0], *(now for before, now in itertools.pairwise(states) if before != now)]
        assert seen == ["connecting", "connected", "reconnecting", "connected"]


# Waiting for the first opening


@pytest.mark.parametrize("wait", [None, math.inf])
async def test_what_another_try_cannot_mend_is_raised_however_patient(wait: float | None) -> None:
    async with client() as bus, AsyncBus("red", ipc=False) as red, AsyncBus(ipc=False) as locked:
        with pytest.raises(busway.LinkRefused) as caught:
            await bus.connect((await red.listen(LOOPBACK)).url, wait=wait)
        assert caught.value.code == codes.BUS_NAME
        with pytest.raises(busway.LinkRefused) as caught:
            await bus.connect(
                (await locked.listen(LOOPBACK, token="right-h4k9w2x7q5m8z3t6r1v0")).url,
                token="wrong-h4k9w2x7q5m8z3t6r1v0",
                wait=wait,
            )
        assert caught.value.code == codes.TOKEN
        assert not bus._host.dialled


@pytest.mark.parametrize(
    "wrong",
    [
        {"wait": -1},
        {"wait": math.nan},
        {"wait": "1"},
        {"wait": 1, "retry": None},
        {"cost": 0},
        {"realm": "x"},
    ],
)
async def test_bad_arguments_raise_at_once(wrong: dict[str, Any]) -> None:
    async with client() as bus:
        with pytest.raises(ValueError):
            await bus.connect("tcp://127.0.0.1:1", **wrong)
        with pytest.raises(TypeError, match=r"busway\.Retry"):
            await bus.connect("tcp://127.0.0.1:1", retry=5)
        assert not bus._host.dialled


# One link for one URL


@pytest.mark.parametrize("spelt", ["", "/", "upper"])
async def test_one_place_under_two_names_is_one_link(spelt: str) -> None:
    async with client() as bus, AsyncBus(ipc=False) as server:
        url = (await server.listen("ws://localhost:0")).url
        link = await bus.connect(url, retry=QUICK)
        assert await bus.connect(url.upper() if spelt == "upper" else url + spelt, retry=QUICK) is link


async def test_one_place_under_names_that_only_the_driver_knows_has_the_newer_link() -> None:
    async with client() as bus, AsyncBus(ipc=False) as server:
        url = (await server.listen("ws://127.0.0.1:0/é")).url
        one = await bus.connect(url, retry=QUICK)
        two = await bus.connect(url.replace("%C3%A9", "é"), retry=QUICK)
        assert one is not two
        await until(lambda: one.state == "closed")  # else each would take the other's place again and again
        assert "same place" in one.error
        assert (two.state, two.losses, len(bus.links())) == ("connected", 0, 1)


# Half-open links, replaced connections


async def test_a_stopped_server_is_found_silent_and_the_link_is_back_when_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(making._LINK_DEFAULTS, "tcp", (16, 1500))  # far longer than a busy machine stalls
    async with client() as bus, Program(SERVER, LOOPBACK) as server:
        url = await server.line()
        link = await bus.connect(url, retry=QUICK)
        assert await bus.request("echo", 1) == 1
        asking = asyncio.create_task(bus.request("sleep", None))
        await server.expect("asleep")
        server.signal(signal.SIGSTOP)
        with pytest.raises(busway.Undeliverable) as caught:
            await asking
        assert caught.value.reason == codes.LOST_AFTER_SENDING
        assert link.losses
        server.signal(signal.SIGCONT)
        await until(lambda: link.state == "connected")
        assert await bus.request("echo", 2) == 2
        assert len(bus.links()) == 1


async def test_a_server_that_restarts_with_its_node_id_is_the_newer_incarnation() -> None:
    """Its former incarnation's connection, ended by the core, does not take the new one down."""
    url, ident = f"tcp://127.0.0.1:{free_port()}", "5e" * 16
    async with client() as bus:
        for round in range(3):
            async with Program(SERVER, url, ident) as server:
                await server.line()
                link = await bus.connect(url, retry=QUICK, wait=5)
                await until(partial(is_up, link, round))
                assert knows(bus, bytes.fromhex(ident))
                assert await bus.request("echo", round, timeout=60) == round
                await server.kill()
        assert len(bus._host.dialled) == 1


# Threads


def test_threads_heal_alike() -> None:
    url = f"tcp://127.0.0.1:{free_port()}"
    with Bus(ipc=False, label="client") as bus:
        with pytest.raises(ConnectionRefusedError):
            bus.connect(url)
        waiting = threads_tools.Task(lambda: bus.connect(url, retry=QUICK, wait=math.inf))
        also = threads_tools.Task(lambda: bus.connect(url, retry=QUICK, wait=math.inf))
        threads_tools.until(lambda: bus.links() and bus.links()[0].attempt > 2)
        with Bus(ipc=False) as server:
            server.serve("echo", lambda request: request.payload)
            server.listen(url)
            link = waiting.result()
            assert also.result() is link
            assert bus.request("echo", 1) == 1
        threads_tools.until(lambda: link.state == "reconnecting" and link.attempt > 1)
        assert [found.state for found in bus.links()] == ["reconnecting"]
        with Bus(ipc=False) as server:
            server.serve("echo", lambda request: request.payload)
            server.listen(url)
            threads_tools.until(lambda: link.state == "connected")
            assert bus.request("echo", 2, ttl=30) == 2
            link.close()
            assert link.state == "closed"
            threads_tools.until(lambda: not bus.links())
        trying = threads_tools.Task(lambda: bus.connect(url, retry=QUICK, wait=math.inf))
        threads_tools.until(lambda: bus._host.dialled)
        bus.close()
        with pytest.raises(busway.BusClosed):
            trying.result()


# Lines


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Callable[[], socket.socket]:
    """Plugs a line in for the next dial of serial://line; the far end's socket."""
    row = opening.Driver("tests.adapters.line_driver", "serial", "serial:///dev/ttyUSB0")
    monkeypatch.setitem(opening.DRIVERS, "serial", row)

    def plug() -> socket.socket:
        near, far = socket.socketpair()
        line_driver.ends.append(line_driver.LineChannel(near, "localnet", "line", True))
        return far

    return plug


def at(far: socket.socket) -> line_driver.LineChannel:
    return line_driver.LineChannel(far.dup(), "localnet", "", False)


async def test_a_board_that_is_reset_goes_on_over_the_same_line(line: Callable[[], socket.socket]) -> None:
    async with client() as bus:
        with line() as far:
            for round in range(3):
                board = AsyncBus(ipc=False, label=f"board {round}")
                await board.open()
                board.serve("echo", lambda request: request.payload)
                runner = board.attach(at(far))
                link = await bus.connect("serial://line", retry=QUICK)
                await until(partial(is_up, link, round))
                assert await bus.request("echo", round, ttl=30) == round
                assert link.label == f"board {round}"
                board._host.loop.remove_reader(runner.channel.fileno())  # its power is cut
                board._host.loop.remove_writer(runner.channel.fileno())
                runner.abandon()
                await board.close(0)
            (link,) = (each.link for each in bus._host.dialled)
            assert (link.losses, len(bus.links())) == (2, 1)


async def test_a_line_that_is_unplugged_is_dialled_again(line: Callable[[], socket.socket]) -> None:
    async with client() as bus, AsyncBus(ipc=False) as board:
        with line() as far:
            board.attach(at(far))
            link = await bus.connect("serial://line", retry=QUICK)
            far.shutdown(socket.SHUT_RDWR)
        await until(lambda: link.state == "reconnecting" and link.attempt > 1)
        assert "no such line" in link.error
        with line() as far:
            board.attach(at(far))
            await until(lambda: link.state == "connected")
            assert knows(bus, board.id)


async def test_a_line_with_nobody_at_its_end_is_not_waited_for_for_ever(
    line: Callable[[], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "CONNECT_S", 0.1)
    async with client() as bus:
        with line():
            with pytest.raises(TimeoutError, match="nobody answers"):
                await bus.connect("serial://line")
            assert bus.links() == []


async def test_of_several_devices_the_one_that_answers_is_taken_and_remembered(
    line: Callable[[], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with ble:// for any device: the strongest is another bus's, or asleep."""
    monkeypatch.setattr(opening, "CONNECT_S", 0.3)
    monkeypatch.setattr(line_driver, "candidates", lambda url: ["one", "two"])
    asked: list[str] = []
    real = line_driver.dial

    def dial(candidate: str, url: str, *, token: str | None = None) -> line_driver.LineChannel:
        asked.append(candidate)
        return real(candidate, url, token=token)

    monkeypatch.setattr(line_driver, "dial", dial)
    async with client() as bus, AsyncBus(ipc=False, label="board") as board:
        with line() as good, line() as silent:  # the last that was plugged in is dialled first
            board.attach(at(good))
            link = await bus.connect("serial://line", retry=QUICK, wait=math.inf)
            assert (link.peer, asked) == (board.id, ["one", "two"])
            assert silent.recv(1)
            with line() as again:
                board.attach(at(again))
                good.shutdown(socket.SHUT_RDWR)
                await until(lambda: link.losses == 1 and link.state == "connected")
                assert asked[2:] == ["two"], "the one that was good is tried first"
