"""Bus: handlers that end their thread, fail by the thousand, or raise what has no text."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import busway
from busway import Bus
from tests.adapters.test_asyncio_services import MUTE
from tests.adapters.threads_tools import Task, buses, sees, until


@contextlib.contextmanager
def served(handler: Any, **options: Any) -> Iterator[tuple[Bus, Bus, Any]]:
    with buses() as (a, b):
        service = b.serve("it", handler, **options)
        until(lambda: sees(a, "it"))
        yield a, b, service


def test_a_handler_that_exits_is_an_error_and_costs_no_thread() -> None:
    def leaves(request: Any) -> object:
        if request.payload == "exit":
            sys.exit(3)
        return request.payload

    with served(leaves, limit=2) as (a, b, _):
        for _ in range(4):
            with pytest.raises(busway.RemoteError, match="SystemExit: 3"):
                a.request("it", "exit", timeout=60)
            assert a.request("it", "still here", timeout=60) == "still here"
        until(lambda: not b._host.handlers)


def test_a_handler_that_fails_by_the_thousand_is_logged_in_full_once_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(request: Any) -> object:
        raise ValueError(f"no {request.payload}")

    def ask(a: Bus) -> int:
        count = 0
        for number in range(500):
            try:
                a.request("it", number)
            except busway.RemoteError:
                count += 1
        return count

    caplog.set_level(logging.ERROR, "busway")
    with served(fails) as (a, _, service):
        tasks = [Task(lambda: ask(a)) for _ in range(4)]
        assert [task.result(60) for task in tasks] == [500] * 4
        assert service.failed == 2000
    full = [record for record in caplog.records if record.exc_info]
    counted = [record for record in caplog.records if not record.exc_info]
    assert [record.getMessage() for record in full] == ["a handler of it failed"]
    assert len(counted) < 10
    numbers: list[Any] = [record.args[1] for record in counted if isinstance(record.args, tuple)]
    assert 1 + sum(numbers) == 2000


@pytest.mark.parametrize("error", [MUTE, busway.RemoteError(300, MUTE)])
def test_an_exception_whose_text_fails_is_an_error_all_the_same(error: Exception) -> None:
    def fails(_: busway.Request) -> object:
        raise error

    with (
        served(fails) as (a, _, __),
        pytest.raises(busway.RemoteError, match="text cannot be shown"),
    ):
        a.request("it", timeout=60)


def test_streams_that_are_not_read_do_not_keep_a_service_from_others() -> None:
    def endless(request: Any) -> Iterator[int]:
        number = 0
        while request.payload:
            yield number
            number += 1

    with buses(3) as (a, b, other):
        b.serve("it", endless, limit=4)
        until(lambda: sees(a, "it") and sees(other, "it"))
        held = [a.request_stream("it", True, timeout=100_000, window=1) for _ in range(4)]
        assert [next(stream) for stream in held] == [0] * 4
        until(lambda: len(b._host.handlers) == 4)
        parts = other.request_stream("it", True, timeout=60)
        assert [next(parts) for _ in range(100)] == list(range(100))
        for stream in [parts, *held]:
            stream.close()
        until(lambda: not b._host.handlers)
