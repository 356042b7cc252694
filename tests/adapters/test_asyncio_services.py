"""AsyncBus: handlers that are cancelled before they begin, fail by the thousand, or are generators."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import busway
from busway import AsyncBus
from tests.adapters.tools import buses, sees, until

pytestmark = pytest.mark.jumps


class Mute(Exception):
    """An exception whose text fails."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


MUTE: Any = Mute()


@contextlib.asynccontextmanager
async def served(handler: Any, **options: Any) -> AsyncIterator[tuple[AsyncBus, AsyncBus, Any]]:
    async with buses() as (a, b):
        service = b.serve("it", handler, **options)
        await until(lambda: sees(a, "it"))
        yield a, b, service


async def slowly(request: Any) -> object:
    await asyncio.sleep(request.payload)
    return request.payload


async def test_a_burst_of_requests_that_time_out_leaves_the_service_alive() -> None:
    async with served(slowly) as (a, b, _):
        for pause in (
            0.006,
            0.008,
            0.01,
            0.01,
            0.01,
            0.012,
        ):  # handlers end, and others begin, at the deadline
            asked = [a.request("it", pause, timeout=0.02) for _ in range(400)]
            await asyncio.gather(*asked, return_exceptions=True)
        assert await a.request("it", 0, timeout=60) == 0
        await until(lambda: not b._host.handlers)


async def test_a_burst_of_requests_that_are_cancelled_leaves_the_service_alive() -> None:
    async with served(slowly) as (a, b, _):
        for pause in (0.0, 0.005, 0.01):
            asking = [asyncio.create_task(a.request("it", 0.01)) for _ in range(400)]
            await asyncio.sleep(pause)
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        assert await a.request("it", 0, timeout=60) == 0
        await until(lambda: not b._host.handlers)


async def test_a_task_cancelled_before_its_first_step_gives_its_place_back_and_answers() -> None:
    async def echo(request: Any) -> object:
        return request.payload

    async with served(echo, limit=1) as (a, b, _):
        handlers = b._host.handlers
        cancelled = 0
        asking = [asyncio.create_task(a.request("it", number)) for number in range(3)]
        while cancelled < 1 and not all(task.done() for task in asking):
            for task in handlers.values():  # made in this turn, to run in the next
                cancelled += task.cancel()
            await asyncio.sleep(0)
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert await a.request("it", 9) == 9
        assert not handlers
        eager = asyncio.get_running_loop().get_task_factory() is not None
        assert cancelled or eager  # an eager task has its first step at once
        errors = [answer for answer in answers if isinstance(answer, busway.RemoteError)]
        assert len(errors) == cancelled
        assert all("cancelled" in error.message for error in errors)


async def test_more_requests_than_places_are_answered_by_a_plain_function() -> None:
    async with served(lambda request: request.payload) as (a, b, _):
        answers = await asyncio.gather(*(a.request("it", number) for number in range(300)))
        assert answers == list(range(300))
        await until(lambda: not b._host.handlers)


async def test_a_handler_that_fails_8000_times_is_logged_in_full_once_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(request: Any) -> object:
        raise ValueError(f"no {request.payload}")

    caplog.set_level(logging.ERROR, "busway")
    async with served(fails) as (a, _, service):
        for _ in range(8):
            asked = [a.request("it", number) for number in range(1000)]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(outcome, busway.RemoteError) for outcome in outcomes)
        assert service.failed == 8000
    full = [record for record in caplog.records if record.exc_info]
    counted = [record for record in caplog.records if not record.exc_info]
    assert [record.getMessage() for record in full] == ["a handler of it failed"]
    assert len(counted) < 10  # once a second at first, then ever less often
    numbers: list[Any] = [record.args[1] for record in counted if isinstance(record.args, tuple)]
    assert 1 + sum(numbers) == 8000
    assert "ValueError: no 999" in counted[-1].getMessage()


async def test_another_kind_of_failure_is_news(caplog: pytest.LogCaptureFixture) -> None:
    def fails(request: Any) -> object:
        raise {1: ValueError, 2: TypeError}[request.payload](request.payload)

    async with served(fails) as (a, _, __):
        for number in (1, 2, 1, 2):
            with pytest.raises(busway.RemoteError):
                await a.request("it", number)
        assert len([record for record in caplog.records if record.exc_info]) == 2


@pytest.mark.parametrize("error", [Mute(), busway.RemoteError(300, MUTE)])
async def test_an_exception_whose_text_fails_is_an_error_all_the_same(error: Exception) -> None:
    def fails(_: busway.Request) -> object:
        raise error

    async with served(fails) as (a, _, __):
        with pytest.raises(busway.RemoteError, match="text cannot be shown"):
            await a.request("it", timeout=60)


async def test_a_plain_generator_streams_lets_others_run_and_is_closed() -> None:
    closed = []

    def count(request: Any) -> Iterator[int]:
        try:
            yield from range(request.payload)
        finally:
            closed.append(request.payload)

    async with served(count) as (a, _, __):
        assert [part async for part in a.request_stream("it", 100)] == list(range(100))
        async with contextlib.aclosing(a.request_stream("it", 10**9)) as parts:
            assert await anext(parts) == 0
        await until(lambda: closed == [100, 10**9])
        with pytest.raises(busway.Undeliverable, match="request_stream"):
            await a.request("it", 3)


async def endless(request: Any) -> AsyncIterator[int]:
    number = 0
    while request.payload:
        yield number
        number += 1


async def test_streams_that_are_not_read_do_not_keep_a_service_from_others() -> None:
    """As many as it has handlers, and each asks for a thousand parts with a window of one."""
    async with buses(3) as (a, b, other):
        b.serve("it", endless, limit=8)
        await until(lambda: sees(a, "it") and sees(other, "it"))
        held = [a.request_stream("it", True, timeout=100_000, window=1) for _ in range(8)]
        assert [await anext(stream) for stream in held] == [0] * 8
        await until(lambda: len(b._host.handlers) == 8)
        start = other._host.now_ms()
        parts = other.request_stream("it", True, timeout=60)
        assert [await anext(parts) for _ in range(100)] == list(range(100))
        assert other._host.now_ms() - start < 10_000
        with pytest.raises(busway.Undeliverable) as failed:
            async for _ in held[0]:
                pass
        assert failed.value.reason_name == "QUEUE_FULL"
        for stream in [parts, *held]:
            await stream.aclose()


async def test_callers_take_turns_at_a_busy_service() -> None:
    served_by: list[str] = []

    async def handle(request: Any) -> None:
        served_by.append(request.source_label)
        await asyncio.sleep(1)

    async with buses(3) as (a, b, other):
        b.serve("it", handle, limit=1)
        await until(lambda: sees(a, "it") and sees(other, "it"))
        first = [asyncio.create_task(a.request("it", None, timeout=600)) for _ in range(20)]
        await asyncio.sleep(2.5)
        late = [asyncio.create_task(other.request("it", None, timeout=600)) for _ in range(3)]
        await asyncio.gather(*late)
        assert served_by.count("a") < 10
        await asyncio.gather(*first)
        assert len(served_by) == 23
