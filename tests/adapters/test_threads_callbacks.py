"""Bus: futures and callbacks, for programs that must not wait."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest

import busway
from busway import Bus
from busway.adapters import threads_ends
from tests.adapters import tools
from tests.adapters.test_threads_services import served
from tests.adapters.threads_tools import WAIT_S, buses, join, sees, until


def test_a_request_as_a_future() -> None:
    with served(lambda request: request.payload * 2) as (a, _, __):
        futures = [a.request_future("it", number) for number in range(100)]
        assert [future.result(WAIT_S) for future in futures] == [number * 2 for number in range(100)]
        with pytest.raises(busway.PayloadError):
            a.request_future("it", "a", reply=float).result(WAIT_S)
        with pytest.raises(busway.Undeliverable):
            a.request_future("nobody").result(WAIT_S)
        with pytest.raises(ValueError, match="timeout"):
            a.request_future("it", timeout=-1)


def test_a_futures_callback_may_call_the_bus_and_wait() -> None:
    with served(lambda request: request.payload + 1) as (a, _, __):
        answers: queue.Queue[object] = queue.Queue()
        first = a.request_future("it", 1)
        first.add_done_callback(lambda future: answers.put(a.request("it", future.result())))
        assert answers.get(timeout=WAIT_S) == 3


def test_cancelling_a_future_cancels_the_request() -> None:
    begun, end = threading.Event(), threading.Event()

    def slow(_: busway.Request) -> None:
        begun.set()
        end.wait(WAIT_S)

    with served(slow) as (a, b, _):
        future = a.request_future("it", timeout=None)
        assert begun.wait(WAIT_S)
        assert future.cancel()
        until(lambda: all(job.cancelled for job in b._host.handlers.values()))
        end.set()
        assert not a.node.origin.pending
        assert not a._host.waiters
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(0)


def test_closing_the_bus_ends_its_futures() -> None:
    end = threading.Event()
    with served(lambda _: end.wait(WAIT_S)) as (a, _, __):
        future = a.request_future("it")
        a.close()
        with pytest.raises(busway.BusClosed):
            future.result(WAIT_S)
        end.set()


class Window:
    """A program's own loop, in a thread of its own."""

    def __init__(self) -> None:
        self._calls: queue.Queue[tuple[Callable[..., object], Any] | None] = queue.Queue()
        self.thread = threading.Thread(target=self._run, name="window")
        self.thread.start()

    def call_soon(self, function: Callable[..., object], argument: object) -> None:
        self._calls.put((function, argument))

    def _run(self) -> None:
        while call := self._calls.get():
            call[0](call[1])

    def close(self) -> None:
        self._calls.put(None)
        self.thread.join()


def test_messages_are_delivered_in_order_where_the_program_wants_them() -> None:
    window, found = Window(), list[tuple[object, str]]()
    with buses() as (a, b):

        def note(message: busway.Message) -> None:
            found.append((message.payload, threading.current_thread().name))

        b.subscribe("numbers").deliver(note, window.call_soon)
        until(lambda: sees(a, "numbers"))
        for number in range(1000):
            a.publish("numbers", number, wait=True)
        until(lambda: len(found) == 1000)
        assert found == [(number, "window") for number in range(1000)]
    window.close()


async def test_asyncios_own_call_soon_will_do() -> None:
    found: list[object] = []
    with Bus(ipc=False) as bus:
        loop = asyncio.get_running_loop()
        bus.register("it").deliver(lambda message: found.append(message.payload), loop.call_soon_threadsafe)
        bus.send("it", 7)
        await tools.until(lambda: found)
    assert found == [7]


def test_without_call_soon_a_thread_of_the_bus_calls_and_errors_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found: list[object] = []
    with Bus(ipc=False) as bus:

        def note(message: busway.Message) -> None:
            found.append(message.payload)
            raise ValueError(message.payload)

        inbox = bus.register("it").deliver(note)
        for number in range(5):
            bus.send("it", number)
        until(lambda: len(found) == 5)
        inbox.close()
        with pytest.raises(TypeError, match="callback"):
            inbox.deliver(None)  # type: ignore[arg-type]
    assert [record.getMessage() for record in caplog.records if record.exc_info] == [
        "the callback of it failed"
    ]


def test_changes_are_delivered_too() -> None:
    seen: list[str] = []
    with Bus(ipc=False) as bus:
        bus.changes().deliver(lambda change: seen.append(change.what))
        with Bus(ipc=False) as other:
            join(bus, other)
        until(lambda: "link-down" in seen)
    assert "link-up" in seen


def test_a_window_that_no_longer_runs_does_not_hold_up_close() -> None:
    before = set(threading.enumerate())
    with Bus(ipc=False) as bus:
        bus.register("it").deliver(print, lambda function, argument: None)
        for number in range(1000):
            bus.send("it", number)
        bus.close(10)
    assert not [thread for thread in threading.enumerate() if thread.name == "busway-io"]
    until(lambda: not set(threading.enumerate()) - before)  # nor does the thread that delivers go on for ever


def test_who_has_a_callback_takes_no_other_and_is_not_asked() -> None:
    with Bus(ipc=False) as bus:
        came: queue.Queue[object] = queue.Queue()
        receiver = bus.register("it")
        with pytest.raises(TypeError):
            receiver.deliver(5)  # type: ignore[arg-type]
        assert receiver.deliver(came.put) is receiver
        changes = bus.changes().deliver(came.put)
        for again in (receiver.deliver, changes.deliver):
            with pytest.raises(busway.BusError, match="is delivered to a callback already"):
                again(came.put)
        for asking in (receiver.receive, lambda: next(receiver), lambda: next(changes)):
            with pytest.raises(busway.BusError, match="callback of deliver"):
                asking()
        bus.send("it", b"x")
        message: Any = came.get(timeout=WAIT_S)
        while not isinstance(message, busway.Message):
            message = came.get(timeout=WAIT_S)
        assert message.payload == b"x"


def test_who_is_called_back_waits_only_where_nothing_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each message costs as much as one that was waited for, and a burst overruns the queue."""
    waits = 0
    real = threads_ends.Receiver._receive

    def receive(self: threads_ends.Receiver[Any], timeout: float | None) -> Any:
        nonlocal waits
        waits += 1
        return real(self, timeout)

    monkeypatch.setattr(threads_ends.Receiver, "_receive", receive)
    with buses(1) as (bus,):
        receiver = bus.subscribe("news")
        for number in range(1000):
            bus.publish("news", number)
        came: list[int] = []
        receiver.deliver(lambda message: came.append(message.payload))
        until(lambda: waits)
        assert came == list(range(1000))
        assert waits == 1
