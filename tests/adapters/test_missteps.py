"""Mistakes of newcomers are told at once, by both adapters, in words that name the remedy."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest

import busway
from busway.protocol import codes
from tests.adapters import threads_tools
from tests.adapters.tools import buses, sees, until

pytestmark = pytest.mark.jumps

NO_ANSWERS = "answers no requests: its program made it with register, not serve"


async def fill(bus: busway.AsyncBus, name: str) -> None:
    while True:
        await bus.send(name, b"filling", timeout=0.3)


def fill_from_thread(bus: busway.Bus, name: str) -> None:
    while True:
        bus.send(name, b"filling", timeout=0.3)


@contextlib.asynccontextmanager
async def one_that_does_not_read(name: str = "slow") -> AsyncIterator[tuple[Any, Any]]:
    """Two buses, the second with a receiver whose credit the first has used up."""
    async with buses() as (a, b):
        receiver = b.register(name, queue=2)
        await until(lambda: sees(a, name))
        with pytest.raises(busway.Undeliverable):
            await fill(a, name)
        yield a, receiver


# A plain send with a timeout


async def test_a_plain_send_that_is_given_a_timeout_waits_no_longer() -> None:
    async with one_that_does_not_read() as (a, receiver):
        with pytest.raises(busway.Undeliverable) as caught:
            await a.send("slow", b"too late", timeout=0.05)
        assert (caught.value.reason, caught.value.endpoint) == (codes.EXPIRED, "slow")
        assert not a.node.origin.pending
        sending = asyncio.create_task(a.send("slow", b"patient"))  # which waits as long as it takes
        got: list[Any] = []
        while not got or got[-1] != b"patient":
            got.append((await receiver.receive(60)).payload)
        await sending
        assert set(got) == {b"filling", b"patient"}


@pytest.mark.parametrize("timeout", [30, 30.0, None])
async def test_a_plain_send_takes_any_timeout(timeout: float | None) -> None:
    async with buses(1) as (bus,):
        receiver = bus.register("log")
        await bus.send("log", b"in time", timeout=timeout)
        assert (await receiver.receive(60)).payload == b"in time"
        with pytest.raises(ValueError, match="timeout must be 0 to"):
            await bus.send("log", b"x", timeout=-1)


def test_a_plain_send_of_a_thread_that_is_given_a_timeout_waits_no_longer() -> None:
    with threads_tools.buses() as (a, b):
        receiver = b.register("slow", queue=2)
        threads_tools.until(lambda: threads_tools.sees(a, "slow"))
        with pytest.raises(busway.Undeliverable) as caught:
            fill_from_thread(a, "slow")
        assert caught.value.reason == codes.EXPIRED
        sending = threads_tools.Task(lambda: a.send("slow", b"patient", timeout=None))
        while receiver.receive(60).payload != b"patient":
            pass
        sending.result()
        with pytest.raises(ValueError, match="timeout must be 0 to"):
            a.send("slow", b"x", timeout=-1)


# A request to what answers none


async def test_a_request_to_a_receiver_is_declined_when_it_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    async with buses() as (a, b):
        receiver = b.register("log")
        await until(lambda: sees(a, "log"))
        for number in range(2):
            asking = asyncio.create_task(a.request("log", number, timeout=60))
            assert (await receiver.receive(60)).payload == number  # the program sees what came
            with pytest.raises(busway.Undeliverable, match=NO_ANSWERS) as caught:
                await asking
            assert (caught.value.reason, caught.value.endpoint) == (codes.WRONG_KIND, "log")
        asking = asyncio.create_task(anext(a.request_stream("log", 3, timeout=60)))
        await receiver.receive(60)
        with pytest.raises(busway.Undeliverable, match=NO_ANSWERS):
            await asking
        confirmed = asyncio.create_task(a.send("log", 4, confirm=True))
        await receiver.receive(60)
        await confirmed
        said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert said == [
            "a request came to log, which was made with register: only what serve makes answers requests"
        ]


async def test_a_request_to_a_receiver_of_the_own_node_is_declined() -> None:
    async with buses(1) as (bus,):
        receiver = bus.register("log")
        asking = asyncio.create_task(bus.request("log", timeout=60))
        await receiver.receive(60)
        with pytest.raises(busway.Undeliverable, match=NO_ANSWERS):
            await asking


def test_a_request_to_a_receiver_of_a_thread_is_declined(caplog: pytest.LogCaptureFixture) -> None:
    with threads_tools.buses() as (a, b):
        receiver = b.register("log")
        threads_tools.until(lambda: threads_tools.sees(a, "log"))
        asking = a.request_future("log", 1, timeout=60)
        assert receiver.receive(60).payload == 1
        with pytest.raises(busway.Undeliverable, match=NO_ANSWERS):
            asking.result(60)
        threads_tools.until(lambda: "only what serve makes answers requests" in caplog.text)


# `await` before a close that is over at once


async def test_a_close_may_be_awaited_and_need_not() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with busway.AsyncBus(ipc=False) as a, busway.AsyncBus(ipc=False) as b:
            for _ in range(2):
                listener = await a.listen("tcp://127.0.0.1:0")
                link = await b.connect(listener.url)
                ends: list[Any] = [b.register("log"), b.serve("it", print), b.changes(), link, listener]
                for end in ends:
                    await end.close()
                assert link.state == "closed"
                for end in ends:
                    end.close()
                del end, ends
                gc.collect()


# Texts


async def test_a_receive_that_runs_out_says_of_what_and_when() -> None:
    async with buses(1) as (bus,):
        receiver = bus.register("lab/log")
        with pytest.raises(TimeoutError, match=r"^nothing came to 'lab/log' within 0\.02 s$"):
            await receiver.receive(timeout=0.02)
        with pytest.raises(TimeoutError, match=r"^nothing came to 'lab/log' within 0 s$"):
            await receiver.receive(timeout=0)
        bare = bus.register(b"0123456789abcdef")
        with pytest.raises(TimeoutError, match="nothing came to '30313233343536373839616263646566'"):
            await bare.receive(timeout=0)


async def test_an_outer_timeout_of_the_programs_own_stays_its_own() -> None:
    async with buses(1) as (bus,):
        receiver = bus.register("lab/log")
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.02):
                await receiver.receive(timeout=60)
        assert str(caught.value) == ""


def test_a_receive_of_a_thread_that_runs_out_says_of_what_and_when() -> None:
    with busway.Bus(ipc=False) as bus:
        receiver = bus.register("lab/log")
        with pytest.raises(TimeoutError, match=r"^nothing came to 'lab/log' within 0\.02 s$"):
            receiver.receive(timeout=0.02)
