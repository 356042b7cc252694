"""What other programs say, strangers too, in logs and errors: one line each, and not without end."""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
from collections.abc import Callable

import pytest

import busway
from busway import AsyncBus, Bus
from busway.adapters.links import LinkRunner
from busway.adapters.sampling import BURST, EVERY_MS, Sampler
from busway.names import ascii_safe
from busway.protocol import codes
from busway.protocol.wire.control import write_close
from tests.adapters.tools import buses, channels, until

NASTY = "all well\nERROR the disk is full\r\x1b[2J\x9b31m\u202eegassem\u2028\u200b\x00"
SHOWN = r"all well\nERROR the disk is full\r\x1b[2J\x9b31m\u202eegassem\u2028\u200b\x00"


def test_what_a_terminal_might_obey_is_escaped() -> None:
    assert ascii_safe(NASTY) == SHOWN
    assert ascii_safe("Füße 漢字 ✓") == "Füße 漢字 ✓"


ERRORS: list[Callable[[], busway.BusError]] = [
    lambda: busway.RemoteError(300, NASTY),
    lambda: busway.LinkRefused(7, NASTY),
    lambda: busway.Undeliverable(1, NASTY, "lab/x"),
    lambda: busway.Undeliverable(1, "", NASTY),
    lambda: busway.PayloadError(NASTY),
    lambda: busway.UnknownType(NASTY),
]


@pytest.mark.parametrize("make", ERRORS)
def test_the_text_of_an_error_is_one_line_and_its_attributes_are_as_they_came(
    make: Callable[[], busway.BusError],
) -> None:
    for error in (make(), pickle.loads(pickle.dumps(make()))):
        assert SHOWN in str(error)
        assert str(error).isprintable()
        assert NASTY in vars(error).values()


async def test_of_a_handler_that_fails_with_what_another_said() -> None:
    async with buses(2) as (here, there):
        here.serve("it", _refusing)
        with pytest.raises(busway.RemoteError) as caught:
            await there.request("it", ttl=30)
        assert caught.value.message == NASTY
        assert SHOWN in str(caught.value)


async def _refusing(request: busway.Request) -> None:
    raise busway.RemoteError(300, NASTY)


# Strangers --------------------


def say_and_go(url: str, said: bytes) -> None:
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), 30) as sock:
        sock.sendall(said)
        sock.shutdown(socket.SHUT_WR)
        try:
            while sock.recv(4096):
                pass
        except ConnectionError:
            pass


CLOSING = write_close(99, NASTY)


async def test_strangers_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "busway")
    async with AsyncBus(ipc=False) as bus:
        url = (await bus.listen("tcp://127.0.0.1:0")).url
        for _ in range(60):
            await asyncio.to_thread(say_and_go, url, CLOSING)
        await until(lambda: not bus.links())
    check_lines(caplog)


def test_nor_in_threads(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "busway")
    with Bus(ipc=False) as bus:
        url = bus.listen("tcp://127.0.0.1:0").url
        for _ in range(60):
            say_and_go(url, CLOSING)
    check_lines(caplog)


def check_lines(caplog: pytest.LogCaptureFixture) -> None:
    lines = [record.getMessage() for record in caplog.records]
    assert BURST <= len(lines) < 30
    assert all(line.isprintable() for line in lines), lines
    assert all(SHOWN in line for line in lines if "a link ended" in line)


async def test_machines_that_are_refused_fill_no_log_however_many_they_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with AsyncBus(ipc=False) as bus:
        await bus.listen("tcp://127.0.0.1:0")
        changes = bus.changes()
        (listener,) = bus._host.listeners
        for number in range(1000):
            listener._refused(f"tcp://192.0.2.{number % 256}.{number}:1", codes.TOKEN)
        told = [record for record in caplog.records if "cannot join" in record.message]
        assert BURST <= len(told) < 30
        assert bus.node.counters["incoming_refused"] == 1000
        assert len(changes._items.queue) < 30


async def test_the_text_of_a_link_that_ended_is_one_line_for_programs_too() -> None:
    async with AsyncBus(ipc=False) as bus:
        changes = bus.changes()
        here, there = channels()
        runner: LinkRunner = bus.attach(here)
        there.write(CLOSING)
        with pytest.raises(busway.LinkRefused) as caught:
            await runner.ready
        assert caught.value.message == NASTY
        async for change in changes:
            if change.what == "link-down":
                assert change.text == SHOWN
                break


# The sampler --------------------


def test_so_many_at_once_then_one_at_a_time_with_how_many_were_not_told() -> None:
    sampler = Sampler()
    assert [sampler.take(0) for _ in range(BURST + 5)] == [""] * BURST + [None] * 5
    assert sampler.take(EVERY_MS - 1) is None
    assert sampler.take(EVERY_MS) == " (6 more like it were not told)"
    assert sampler.take(EVERY_MS) is None
    assert sampler.take(2 * EVERY_MS) == " (1 more like it were not told)"


def test_who_has_been_quiet_may_say_as_much_again_and_no_more() -> None:
    sampler = Sampler()
    for _ in range(BURST):
        sampler.take(0)
    later = 1000 * EVERY_MS
    assert [sampler.take(later) for _ in range(BURST + 1)] == [""] * BURST + [None]
