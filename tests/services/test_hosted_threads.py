"""Hosted objects of a Bus: the same hooks, turns, lives and ends, in threads."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import busway
from busway import Bus
from busway.services.lives_threads import Turns

QUICK = busway.Retry(first=0.01, factor=1.0, cap=0.01, jitter=0.0)
PATIENCE_S = 60.0


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def bus() -> Iterator[Bus]:
    with Bus(ipc=False) as opened:
        yield opened


class Log:
    """An object that notes what happens to it."""

    def __init__(self) -> None:
        self.said: list[Any] = []


class Recorder(Log):
    def on_start(self, bus: Bus) -> None:
        self.said.append("start")

    def on_stop(self) -> None:
        self.said.append("stop")

    @busway.on("lab/temperature")
    def temperature(self, message: busway.Message[float]) -> None:
        self.said.append(message.payload)

    @busway.on("lab/sum", kind="anycast")
    def sum(self, request: busway.Request[list[int]]) -> int:
        return sum(request.payload)

    @busway.on("lab/count", kind="anycast")
    def count(self, request: busway.Request[int]) -> Iterator[int]:
        yield from range(request.payload)

    @busway.on("./bad", kind="anycast")
    def bad(self, request: busway.Request[int]) -> float:
        if not request.payload:
            raise busway.RemoteError(300, "no number")
        return 1 / (request.payload - 1)


def test_its_methods_get_what_is_published_and_asked(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    hosted = bus.host(recorder, name="lab/recorder")
    assert recorder.said == ["start"]
    for number in range(20):
        bus.publish("lab/temperature", number)
    assert bus.request("lab/sum", [1, 2, 3]) == 6
    assert list(bus.request_stream("lab/count", 3)) == [0, 1, 2]
    for number in (0, 1):
        with pytest.raises(busway.RemoteError):
            bus.request("lab/recorder/bad", number)
    until(lambda: len(recorder.said) == 21)
    assert recorder.said[1:] == list(range(20))
    until(lambda: hosted.handled == 24)
    assert (hosted.errors, hosted.state, type(hosted.last_error)) == (1, "running", ZeroDivisionError)
    assert bus.hosted() == [hosted]
    hosted.ready()
    with hosted as same:
        assert same is hosted
    hosted.ended()
    assert recorder.said[-1] == "stop"
    assert hosted.state == "stopped"
    with pytest.raises(busway.Undeliverable):
        bus.request("lab/sum", [])


class Busy:
    def __init__(self) -> None:
        self.now = self.most = self.done = 0
        self.guard = threading.Lock()

    def work(self) -> None:
        with self.guard:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self.guard:
            self.now -= 1
            self.done += 1

    @busway.on("lab/a", kind="anycast", limit=4)
    def a(self, request: busway.Request[Any]) -> None:
        self.work()

    @busway.on("lab/b", kind="anycast", limit=4)
    def b(self, request: busway.Request[Any]) -> Iterator[int]:
        self.work()
        yield 1

    @busway.every(0.01)
    def c(self) -> None:
        self.work()


def test_one_thing_at_a_time_if_serial(bus: Bus) -> None:
    busy = Busy()
    bus.host(busy, serial=True)
    asked = [bus.request_future("lab/a") for _ in range(8)]
    assert list(bus.request_stream("lab/b")) == [1]
    for each in asked:
        each.result(PATIENCE_S)
    until(lambda: busy.done > 12)
    assert busy.most == 1


def test_several_at_once_if_not(bus: Bus) -> None:
    class Pair:
        def __init__(self) -> None:
            self.met = threading.Barrier(2)

        @busway.on("lab/meet", kind="anycast", limit=2)
        def meet(self, request: busway.Request[Any]) -> int:
            return self.met.wait(PATIENCE_S)

    bus.host(Pair())
    asked = [bus.request_future("lab/meet") for _ in range(2)]
    assert sorted(each.result(PATIENCE_S) for each in asked) == [0, 1]


def test_turns_are_had_in_the_order_in_which_they_were_asked_for() -> None:
    turns, had = Turns(), []

    def take(number: int) -> None:
        with turns:
            had.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    with turns:
        for thread in threads:
            thread.start()
            until(lambda: len(turns._waiting) == sum(each.ident is not None for each in threads))
    for thread in threads:
        thread.join()
    assert had == list(range(8))
    with turns:
        assert not turns._waiting


def test_timers_go_on_after_an_error_and_pass_over_what_they_miss(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    class Poll(Log):
        @busway.every(0.02, at_once=True)
        def poll(self) -> None:
            self.said.append(time.monotonic())
            time.sleep(0.05)
            raise OSError("no such line") if len(self.said) % 2 else busway.RemoteError(300, "not now")

    poll = Poll()
    hosted = bus.host(poll)
    until(lambda: hosted.errors >= 4)
    hosted.close()
    assert hosted.errors == len(poll.said)
    assert hosted.skipped >= 2 * (len(poll.said) - 1)
    assert "poll of Poll failed" in caplog.text


class Once(Log):
    def on_start(self, bus: Bus) -> None:
        self.said.append("start")

    def on_run(self, bus: Bus) -> None:
        if len(self.said) < 6:
            raise OSError("no such line")

    def on_stop(self) -> None:
        self.said.append("stop")


@pytest.mark.parametrize(("restart", "lives"), [("never", 1), ("on-error", 4)])
def test_it_is_begun_anew_after_an_error(
    bus: Bus, restart: Any, lives: int, caplog: pytest.LogCaptureFixture
) -> None:
    once = Once()
    hosted = bus.host(once, restart=restart, backoff=QUICK)
    if restart == "never":
        with pytest.raises(OSError, match="no such line"):
            hosted.ended()
    else:
        hosted.ended()
    assert once.said == ["start", "stop"] * lives
    assert (hosted.restarts, hosted.errors) == (lives - 1, min(lives, 3))
    assert hosted.state == ("failed" if restart == "never" else "stopped")
    assert "Once failed" in caplog.text


def test_always_is_always_until_it_is_closed(bus: Bus) -> None:
    class Brief:
        def on_run(self, bus: Bus) -> None:
            pass

    hosted = bus.host(Brief, restart="always", backoff=QUICK)
    until(lambda: hosted.restarts >= 3)
    hosted.close()
    assert (hosted.state, hosted.errors) == ("stopped", 0)


def test_what_fails_at_once_is_raised_by_host(bus: Bus) -> None:
    class Plain(Log):
        def __init__(self, times: int) -> None:
            super().__init__()
            self.times = times

        def on_start(self, bus: Bus) -> None:
            self.said.append("start")
            if len(self.said) <= self.times:
                raise OSError("no such line")

    plain = Plain(1)
    with pytest.raises(OSError, match="no such line"):
        bus.host(plain)
    assert (plain.said, bus.hosted()) == (["start"], [])
    again = bus.host(Plain(3), restart="on-error", backoff=QUICK)
    again.ready()
    assert (again.state, again.errors, again.restarts) == ("running", 3, 3)
    recorder = Recorder()
    with bus.register("lab/sum"), pytest.raises(busway.EndpointTaken):
        bus.host(recorder, name="lab/recorder")
    assert recorder.said == ["start", "stop"]


def test_a_fatal_error_ends_a_life(bus: Bus) -> None:
    class Line(Log):
        def on_start(self, bus: Bus) -> None:
            self.said.append("start")

        @busway.on("lab/write", kind="anycast")
        def write(self, request: busway.Request[bool]) -> None:
            raise ConnectionError("the line is gone") if request.payload else ValueError("no such pin")

    line = Line()
    hosted = bus.host(line, restart="on-error", backoff=QUICK, fatal=OSError)
    for is_fatal in (False, True):
        with pytest.raises(busway.RemoteError):
            bus.request("lab/write", is_fatal)
    until(lambda: hosted.restarts == 1 and hosted.state == "running")
    assert (line.said, hosted.errors) == (["start", "start"], 2)


class Slow(Log):
    def __init__(self) -> None:
        super().__init__()
        self.begun, self.free = threading.Event(), threading.Event()

    @busway.on("lab/slow", kind="anycast")
    def slow(self, request: busway.Request[float]) -> str:
        self.begun.set()
        self.free.wait(PATIENCE_S)
        self.said.append("done")
        return "done"

    def on_run(self, bus: Bus) -> None:
        self.free.wait(PATIENCE_S)
        self.said.append("ran")

    def on_stop(self) -> None:
        self.said.append("stop")


def test_what_is_at_work_may_end(bus: Bus) -> None:
    class Patient(Slow):
        def on_run(self, bus: Bus) -> None:
            self.free.wait(PATIENCE_S)

        def on_stop(self) -> None:
            super().on_stop()

    slow = Patient()
    hosted = bus.host(slow, stop_timeout=PATIENCE_S)
    asked = bus.request_future("lab/slow")
    slow.begun.wait(PATIENCE_S)
    threading.Timer(0.05, slow.free.set).start()
    hosted.close()
    assert slow.said == ["done", "stop"]
    assert asked.result(PATIENCE_S) == "done"


@pytest.mark.parametrize("of_bus", [False, True])
def test_whatever_it_does_its_end_is_bounded(of_bus: bool, caplog: pytest.LogCaptureFixture) -> None:
    slow = Slow()
    with Bus(ipc=False) as bus:
        hosted = bus.host(slow, stop_timeout=PATIENCE_S if of_bus else 0.5)
        bus.request_future("lab/slow").add_done_callback(lambda _: None)
        slow.begun.wait(PATIENCE_S)
        if of_bus:
            bus.close(4.0)
            assert slow.said == ["stop"]
        else:
            hosted.close()
        until(lambda: hosted.state == "stopped")
        assert slow.said == ["stop"]
        assert "2 methods of Slow did not end in time" in str(hosted.last_error)
        slow.free.set()


def test_a_method_that_waited_for_its_turn_is_not_called_after_the_end(bus: Bus) -> None:
    class Actor(Slow):
        @busway.on("lab/other", kind="anycast", limit=2)
        def other(self, request: busway.Request[Any]) -> None:
            self.said.append("too late")

        on_run = None  # type: ignore[assignment]

    actor = Actor()
    hosted: Any = bus.host(actor, serial=True, stop_timeout=0.2)
    first = bus.request_future("lab/slow")
    actor.begun.wait(PATIENCE_S)
    others = [bus.request_future("lab/other") for _ in range(2)]
    until(lambda: len(hosted._turns._waiting) == 2)
    hosted.close()
    actor.free.set()
    assert first.result(PATIENCE_S) == "done"
    for each in others:
        with pytest.raises(busway.RemoteError, match="Actor has ended"):
            each.result(PATIENCE_S)
    assert actor.said == ["stop", "done"]


def test_on_stop_tells_on_run(bus: Bus) -> None:
    class Pump(Log):
        def __init__(self) -> None:
            super().__init__()
            self.ended = threading.Event()

        def on_run(self, bus: Bus) -> None:
            self.ended.wait(PATIENCE_S)
            self.said.append("ran")

        def on_stop(self) -> None:
            self.ended.set()

    pump = Pump()
    hosted = bus.host(pump)
    hosted.close()
    assert (pump.said, hosted.state, hosted.errors) == (["ran"], "stopped", 0)


def test_it_may_end_itself(bus: Bus) -> None:
    class Leaver(Log):
        hosted: Any

        @busway.on("lab/leave", kind="anycast")
        def leave(self, request: busway.Request[Any]) -> str:
            self.hosted.close()
            return "left"

        @busway.every(0.01)
        def tick(self) -> None:
            if self.said:
                self.hosted.close()

        def on_stop(self) -> None:
            self.hosted.close()

    for way in ("message", "timer"):
        leaver = Leaver()
        leaver.hosted = bus.host(leaver)
        if way == "message":
            assert bus.request("lab/leave") == "left"
        leaver.said.append("go")
        leaver.hosted.ended()
        assert (leaver.hosted.state, leaver.hosted.errors) == ("stopped", 0)


def test_an_error_of_on_stop_or_late_of_on_run_is_counted(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    class Careless:
        def __init__(self) -> None:
            self.ended = threading.Event()

        def on_run(self, bus: Bus) -> None:
            self.ended.wait(PATIENCE_S)
            raise OSError("no such line")

        def on_stop(self) -> None:
            self.ended.set()
            raise OSError("no such pin")

    hosted = bus.host(Careless())
    hosted.close()
    assert (hosted.state, hosted.errors) == ("stopped", 2)


def test_what_was_taken_is_done_before_on_stop(bus: Bus) -> None:
    class Logger(Log):
        @busway.on("lab/log", kind="unicast", limit=8)
        def log(self, message: busway.Message[int]) -> None:
            self.said.append(message.payload)

        def on_stop(self) -> None:
            self.said.append("stop")

    for number in range(40):
        logger = Logger()
        with bus.host(logger) as hosted:
            bus.send("lab/log", number, confirm=True)
        assert (logger.said, hosted.errors) == ([number, "stop"], 0)


class Ledger(Log):
    """Notes each message once, and what comes after its end; every 50th is fatal."""

    def __init__(self) -> None:
        super().__init__()
        self.late: list[int] = []
        self.is_over = True

    def on_start(self, bus: Bus) -> None:
        self.is_over = False

    @busway.on("lab/ledger", kind="unicast", limit=4)
    def note(self, message: busway.Message[int]) -> None:
        (self.late if self.is_over else self.said).append(message.payload)
        if message.payload % 50 == 49:
            raise OSError("no such line")

    def on_stop(self) -> None:
        self.is_over = True


@pytest.mark.parametrize("serial", [False, True])
def test_over_many_lives_all_that_was_taken_is_handled_once(bus: Bus, serial: bool) -> None:
    ledger, over = Ledger(), threading.Event()
    taken: list[int] = []

    def send(number: int) -> None:
        while not over.is_set():
            with contextlib.suppress(busway.Undeliverable):
                bus.send("lab/ledger", number, confirm=True, ttl=1.0)
                taken.append(number)
            number += 3

    senders = [threading.Thread(target=send, args=(number,)) for number in range(3)]
    for sender in senders:
        sender.start()
    lives = 0
    for number in range(20):
        hosted = bus.host(ledger, serial=serial, restart="on-error", fatal=OSError, backoff=QUICK)
        time.sleep(0.001 * (number % 7))
        hosted.close()
        lives += 1 + hosted.restarts
    over.set()
    for sender in senders:
        sender.join()
    assert sorted(taken) == sorted(ledger.said)
    assert (ledger.late, len(set(taken))) == ([], len(taken))
    assert lives >= 20


def test_closed_while_it_waits_for_its_next_life(bus: Bus) -> None:
    class Failing:
        def on_start(self, bus: Bus) -> None:
            raise OSError("no such line")

    hosted = bus.host(Failing(), restart="on-error", backoff=busway.Retry(first=1000.0, cap=1000.0))
    until(lambda: hosted.errors == 1 and hosted.state == "restarting")
    hosted.close()
    assert (hosted.state, hosted.restarts) == ("stopped", 0)


@busway.service("lab/valve", version=1)
class Valve:
    turned: busway.Signal[int]

    def __init__(self) -> None:
        self.at = 0

    def on_start(self, bus: Bus) -> None:
        self.turned.publish(0)

    def turn(self, by: int) -> int:
        time.sleep(0.001)
        self.at += by
        if by < 0:
            raise OSError("it is stuck")
        return self.at

    def on_stop(self) -> None:
        self.turned.publish(-1)


def test_an_object_with_a_contract(bus: Bus) -> None:
    valve, told = Valve(), bus.subscribe("lab/valve/turned")
    for number in range(2):
        with bus.host(valve, serial=True, fatal=OSError, restart="on-error", backoff=QUICK) as hosted:
            client: Any = bus.client(Valve)
            assert client.turn(1) == 2 * number + 1
            with pytest.raises(busway.RemoteError, match="stuck"):
                client.turn(-1)
            until(lambda hosted=hosted: hosted.restarts == 1 and hosted.state == "running")  # type: ignore[misc]
            assert client.turn(2) == 2 * number + 2
            valve.at = 2 * number + 2
    assert [told.receive(PATIENCE_S).payload for _ in range(8)] == [0, -1] * 4


def test_coroutines_are_for_an_async_bus(bus: Bus) -> None:
    class Mixed:
        @busway.on("lab/it")
        async def it(self, message: busway.Message[Any]) -> None: ...

    with pytest.raises(TypeError, match=r"Mixed\.it: a handler of a Bus must be a plain function"):
        bus.host(Mixed())


def test_leaving_the_bus_ends_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    recorders = [Recorder(), Recorder()]
    with Bus(ipc=False) as bus:
        hosted = [bus.host(each, name=f"lab/{number}") for number, each in enumerate(recorders)]
    assert [each.said[-1] for each in recorders] == ["stop", "stop"]
    assert [each.state for each in hosted] == ["stopped", "stopped"]
    with pytest.raises(busway.BusClosed):
        bus.host(Recorder())
    assert caplog.text == ""
