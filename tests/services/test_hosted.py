"""Hosted objects of an AsyncBus: hooks, turns, errors, lives, states, and how they end."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import busway
from busway import AsyncBus
from tests.adapters.tools import until

pytestmark = pytest.mark.jumps

QUICK = busway.Retry(first=1.0, factor=2.0, cap=4.0, jitter=0.0)


class Log:
    """An object that notes what happens to it."""

    def __init__(self) -> None:
        self.said: list[Any] = []


class Recorder(Log):
    def on_start(self, bus: AsyncBus) -> None:
        self.said.append("start")

    async def on_stop(self) -> None:
        self.said.append("stop")

    @busway.on("lab/temperature")
    def temperature(self, message: busway.Message[float]) -> None:
        self.said.append(message.payload)

    @busway.on("lab/door/**")
    async def door(self, message: busway.Message[Any]) -> None:
        await asyncio.sleep(0.1)
        self.said.append((message.name, message.payload))

    @busway.on("lab/log", kind="unicast")
    async def log(self, message: busway.Message[Any]) -> None:
        self.said.append(("log", message.payload))

    @busway.on("lab/sum", kind="anycast")
    def sum(self, request: busway.Request[list[int]]) -> int:
        return sum(request.payload)

    @busway.on("lab/count", kind="anycast")
    def count(self, request: busway.Request[int]) -> Iterator[int]:
        yield from range(request.payload)


def alone(**options: Any) -> AsyncBus:
    return AsyncBus(ipc=False, **options)


# Messages


async def test_its_methods_get_what_is_published_sent_and_asked() -> None:
    async with alone() as bus:
        recorder = Recorder()
        hosted = bus.host(recorder)
        assert recorder.said == ["start"]
        await bus.publish("lab/temperature", 21.5)
        await bus.publish("lab/door/1", "open")
        await bus.send("lab/log", "hello", confirm=True)
        assert await bus.request("lab/sum", [1, 2, 3]) == 6
        assert [part async for part in bus.request_stream("lab/count", 3)] == [0, 1, 2]
        await asyncio.sleep(1)
        assert set(recorder.said[1:]) == {21.5, ("lab/door/1", "open"), ("log", "hello")}
        assert (hosted.handled, hosted.errors, hosted.state) == (5, 0, "running")
        assert hosted.name == "Recorder"
        assert bus.hosted() == [hosted]
    assert recorder.said[-1] == "stop"
    assert hosted.state == "stopped"


async def test_the_messages_of_one_endpoint_come_in_order_unless_it_has_a_limit() -> None:
    class Both:
        def __init__(self) -> None:
            self.ordered: list[int] = []
            self.mixed: list[int] = []

        @busway.on("lab/ordered")
        async def one_by_one(self, message: busway.Message[int]) -> None:
            await asyncio.sleep(1 / (1 + message.payload))
            self.ordered.append(message.payload)

        @busway.on("lab/mixed", limit=8)
        async def at_once(self, message: busway.Message[int]) -> None:
            await asyncio.sleep(1 / (1 + message.payload))
            self.mixed.append(message.payload)

    async with alone() as bus:
        both = Both()
        bus.host(both)
        for number in range(4):
            await bus.publish("lab/ordered", number)
            await bus.publish("lab/mixed", number)
        await asyncio.sleep(10)
        assert both.ordered == [0, 1, 2, 3]
        assert both.mixed == [3, 2, 1, 0]


class Busy:
    """Notes how many of its methods are at work."""

    def __init__(self) -> None:
        self.now = self.most = self.done = 0

    async def work(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.5)
        self.now -= 1
        self.done += 1

    @busway.on("lab/a")
    async def a(self, message: busway.Message[Any]) -> None:
        await self.work()

    @busway.on("lab/b", kind="anycast", limit=4)
    async def b(self, request: busway.Request[Any]) -> AsyncIterator[int]:
        await self.work()
        yield 1

    @busway.every(1.0)
    async def c(self) -> None:
        await self.work()


@pytest.mark.parametrize(("serial", "most"), [(True, 1), (False, 4)])
async def test_one_thing_at_a_time_if_serial(serial: bool, most: int) -> None:
    async with alone() as bus:
        busy = Busy()
        bus.host(busy, serial=serial)

        async def ask() -> list[int]:
            return [part async for part in bus.request_stream("lab/b")]

        asking = [asyncio.create_task(ask()) for _ in range(2)]
        await asyncio.sleep(0.9)
        await bus.publish("lab/a")
        assert await asyncio.gather(*asking, ask(), ask()) == [[1]] * 4
        await asyncio.sleep(5)
        assert busy.done > 8
        assert busy.most == most if serial else busy.most >= 2


async def test_a_serial_object_works_in_the_order_in_which_it_was_asked() -> None:
    class Actor(Log):
        @busway.on("lab/a", kind="anycast", limit=4)
        async def a(self, request: busway.Request[int]) -> None:
            await asyncio.sleep(0.1)
            self.said.append(request.payload)

        @busway.on("lab/b", kind="anycast", limit=4)
        def b(self, request: busway.Request[int]) -> None:
            self.said.append(request.payload)

    async with alone() as bus:
        actor = Actor()
        bus.host(actor, serial=True)
        asking = []
        for number in range(6):
            asking.append(asyncio.create_task(bus.request(f"lab/{'ab'[number % 2]}", number)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*asking)
        assert actor.said == [0, 1, 2, 3, 4, 5]


async def test_endpoints_below_its_name() -> None:
    class Room(Log):
        @busway.on("./light", kind="anycast")
        def light(self, request: busway.Request[bool]) -> str:
            return f"{request.endpoint_name} {request.payload}"

        @busway.on("./*/alarm")
        def alarm(self, message: busway.Message[None]) -> None:
            self.said.append(message.name)

    async with alone() as bus:
        kitchen = Room()
        bus.host(kitchen, name="home/kitchen")
        bus.host(Room(), name="home/hall")
        await bus.request("home/kitchen/light", True)
        await bus.request("home/hall/light", True)
        await bus.publish("home/kitchen/smoke/alarm")
        await until(lambda: kitchen.said)
        assert kitchen.said == ["home/kitchen/smoke/alarm"]
        with pytest.raises(ValueError, match="give that to host, as name="):
            bus.host(Room())


async def test_an_endpoint_is_reached_as_far_as_its_object_unless_it_says_otherwise() -> None:
    class Near:
        @busway.on("lab/near")
        def near(self, message: busway.Message[Any]) -> None: ...

        @busway.on("lab/far", realm="global")
        def far(self, message: busway.Message[Any]) -> None: ...

    async with alone() as bus:
        for realm in ("localnet", "userspace"):
            async with bus.host(Near(), realm=realm):
                realms = {each.name: each.realm for each in bus.endpoints()}
                assert (realms["lab/near"], realms["lab/far"]) == (realm, "global")
        with pytest.raises(ValueError, match="realm must be one of"):
            bus.host(Near(), realm="wide")  # type: ignore[arg-type]


# Timers


class Clock(Log):
    def __init__(self, lasts: float = 0.0) -> None:
        super().__init__()
        self.lasts = lasts

    @busway.every(1.0)
    async def tick(self) -> None:
        self.said.append(round(asyncio.get_running_loop().time() - self.began, 6))
        await asyncio.sleep(self.lasts)

    def on_start(self, bus: AsyncBus) -> None:
        self.began = asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    ("lasts", "times", "skipped", "handled"),
    [
        (0.0, [1, 2, 3, 4], 0, 4),
        (0.3, [1, 2, 3, 4], 0, 4),
        (1.0, [1, 2, 3, 4], 0, 3),
        (1.5, [1, 3], 2, 2),
        (2.0, [1, 3], 1, 1),
    ],
)
async def test_timers_neither_drift_nor_pile_up(
    lasts: float, times: list[int], skipped: int, handled: int
) -> None:
    async with alone() as bus:
        clock = Clock(lasts)
        hosted = bus.host(clock)
        await asyncio.sleep(4.6)
        assert clock.said == times
        assert (hosted.skipped, hosted.handled) == (skipped, handled)


async def test_a_timer_begins_at_once_if_told_and_goes_on_after_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Poll(Log):
        @busway.every(1.0, at_once=True)
        def poll(self) -> None:
            self.said.append(len(self.said))
            raise OSError("no such line") if len(self.said) % 2 else busway.RemoteError(300, "not now")

    async with alone() as bus:
        poll = Poll()
        hosted = bus.host(poll)
        await asyncio.sleep(2.5)
        assert poll.said == [0, 1, 2]
        assert (hosted.errors, hosted.state) == (3, "running")
        assert str(hosted.last_error) == "no such line"
    assert "poll of Poll failed" in caplog.text


# Errors


async def test_an_error_harms_nobody_else_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Fragile(Log):
        @busway.on("lab/ask", kind="anycast", limit=2)
        async def ask(self, request: busway.Request[str]) -> str:
            if request.payload == "refuse":
                raise busway.RemoteError(300, "not today")
            return {"good": "yes"}[request.payload]

        @busway.on("lab/plain")
        def plain(self, message: busway.Message[int]) -> None:
            self.said.append(10 / message.payload)

    async with alone() as bus:
        fragile = Fragile()
        hosted = bus.host(fragile)
        with pytest.raises(busway.RemoteError, match="bad"):
            await bus.request("lab/ask", "bad")
        with pytest.raises(busway.RemoteError, match="not today"):
            await bus.request("lab/ask", "refuse")
        assert await bus.request("lab/ask", "good") == "yes"
        for number in (1, 0, 2):
            await bus.publish("lab/plain", number)
        await until(lambda: len(fragile.said) == 2)
        assert fragile.said == [10.0, 5.0]
        assert (hosted.errors, hosted.handled, hosted.restarts) == (2, 6, 0)
        assert isinstance(hosted.last_error, ZeroDivisionError)
        assert hosted.state == "running"
    assert "a handler of lab/ask failed" in caplog.text
    assert "a handler of lab/plain failed" in caplog.text


# Lives


class Failing(Log):
    """Its first `times` starts fail."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def on_start(self, bus: AsyncBus) -> None:
        self.said.append(round(asyncio.get_running_loop().time(), 3))
        if len(self.said) <= self.times:
            raise OSError("no such line")

    @busway.on("lab/it", kind="anycast")
    def it(self, request: busway.Request[Any]) -> str:
        return "here"


async def test_it_is_begun_anew_with_growing_waits_until_it_starts(caplog: pytest.LogCaptureFixture) -> None:
    async with alone() as bus:
        failing = Failing(4)
        hosted = bus.host(failing, restart="on-error", backoff=QUICK)
        await asyncio.sleep(0.5)
        assert hosted.state == "restarting"
        with pytest.raises(busway.Undeliverable):
            await bus.request("lab/it")
        await hosted.ready()
        begun = failing.said[0]
        assert [at - begun for at in failing.said] == [0, 1, 3, 7, 11]
        assert (hosted.restarts, hosted.errors, hosted.state) == (4, 4, "running")
        assert await bus.request("lab/it") == "here"
    assert "Failing failed" in caplog.text


async def test_without_a_restart_it_has_failed() -> None:
    async with alone() as bus:
        hosted = bus.host(Failing(1))
        with pytest.raises(OSError, match="no such line"):
            await hosted.ready()
        with pytest.raises(OSError, match="no such line"):
            await hosted.ended()
        assert (hosted.state, hosted.restarts, bus.hosted()) == ("failed", 0, [hosted])
        with pytest.raises(OSError, match="no such line"):
            async with bus.host(Failing(1)):
                pass


async def test_what_fails_at_once_is_raised_by_host() -> None:
    class Plain(Log):
        def on_start(self, bus: AsyncBus) -> None:
            raise OSError("no such line")

        def on_stop(self) -> None:
            self.said.append("stop")

    async with alone() as bus:
        plain = Plain()
        with pytest.raises(OSError, match="no such line"):
            bus.host(plain)
        assert (plain.said, bus.hosted()) == ([], [])
        again = bus.host(plain, restart="on-error", backoff=QUICK)
        await asyncio.sleep(2)
        assert (again.state, again.errors) == ("restarting", 2)


async def test_a_name_that_is_taken_ends_what_had_started() -> None:
    async with alone() as bus:
        recorder = Recorder()
        async with bus.register("lab/log"):
            with pytest.raises(busway.EndpointTaken):
                bus.host(recorder)
        (failed,) = bus.hosted()
        await failed.close()
        assert (recorder.said, failed.state) == (["start", "stop"], "failed")
        with pytest.raises(busway.Undeliverable):
            await bus.request("lab/sum", [])


class Once(Log):
    """It runs for a second."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error

    def on_start(self, bus: AsyncBus) -> None:
        self.said.append("start")

    async def on_run(self, bus: AsyncBus) -> None:
        await asyncio.sleep(1)
        if self.error is not None:
            raise self.error

    def on_stop(self) -> None:
        self.said.append("stop")


@pytest.mark.parametrize(
    ("restart", "error", "lives", "state"),
    [
        ("never", None, 1, "stopped"),
        ("never", OSError(), 1, "failed"),
        ("on-error", None, 1, "stopped"),
        ("on-error", OSError(), 3, "restarting"),
        ("always", None, 3, "restarting"),
        ("always", OSError(), 3, "restarting"),
    ],
)
async def test_what_follows_the_end_of_on_run(
    restart: Any, error: Exception | None, lives: int, state: str
) -> None:
    async with alone() as bus:
        once = Once(error)
        hosted = bus.host(once, restart=restart, backoff=QUICK)
        await asyncio.sleep(6.5)  # runs 0 to 1, 2 to 3, 5 to 6
        assert once.said == ["start", "stop"] * lives
        assert (hosted.state, hosted.restarts) == (state, lives - 1)
        assert hosted.errors == (0 if error is None else lives)


async def test_the_wait_is_short_again_after_a_long_life() -> None:
    class Long(Log):
        async def on_run(self, bus: AsyncBus) -> None:
            self.said.append(asyncio.get_running_loop().time())
            await asyncio.sleep(10)

    async with alone() as bus:
        long = Long()
        bus.host(long, restart="always", backoff=QUICK)
        await asyncio.sleep(50)
        first = long.said[0]
        assert [round(at - first) for at in long.said] == [0, 11, 22, 33, 44]


async def test_the_waits_grow_also_after_a_long_life() -> None:
    class Lost(Log):
        def on_start(self, bus: AsyncBus) -> None:
            self.said.append(asyncio.get_running_loop().time())
            if len(self.said) > 1:
                raise OSError("no such line")

        async def on_run(self, bus: AsyncBus) -> None:
            await asyncio.sleep(10)
            raise OSError("no such line")

    async with alone() as bus:
        lost = Lost()
        bus.host(lost, restart="on-error", backoff=QUICK)
        await asyncio.sleep(22)
        assert [round(at - lost.said[0]) for at in lost.said] == [0, 11, 13, 17, 21]


@pytest.mark.parametrize("way", ["message", "plain message", "timer"])
async def test_a_fatal_error_ends_a_life_and_others_do_not(way: str) -> None:
    class Line(Log):
        def on_start(self, bus: AsyncBus) -> None:
            self.said.append("start")

        @busway.on("lab/write", kind="anycast")
        async def write(self, request: busway.Request[bool]) -> None:
            raise ConnectionError("the line is gone") if request.payload else ValueError("no such pin")

        @busway.on("lab/plain")
        def plain(self, message: busway.Message[bool]) -> None:
            raise ConnectionError("the line is gone") if message.payload else ValueError("no such pin")

        @busway.every(1.5)
        def poll(self) -> None:
            if way == "timer":
                raise ConnectionError("the line is gone")

    async with alone() as bus:
        line = Line()
        hosted = bus.host(line, restart="on-error", backoff=QUICK, fatal=(OSError,))
        for is_fatal in (False, True):
            if way == "message":
                with pytest.raises(busway.RemoteError):
                    await bus.request("lab/write", is_fatal)
            elif way == "plain message":
                await bus.publish("lab/plain", is_fatal)
            else:
                await asyncio.sleep(0.5 + is_fatal)
            await asyncio.sleep(0.01)
            assert hosted.state == ("restarting" if is_fatal else "running")
        await asyncio.sleep(1.2)
        assert (line.said, hosted.state, hosted.restarts) == (["start", "start"], "running", 1)
        assert isinstance(hosted.last_error, ConnectionError)


async def test_a_class_is_made_anew_for_each_life() -> None:
    made: list[Any] = []

    class Fresh:
        def __init__(self, place: str) -> None:
            self.place = place
            made.append(self)

        async def on_run(self, bus: AsyncBus) -> None:
            raise OSError(self.place)

    async with alone() as bus:
        hosted = bus.host(
            functools.partial(Fresh, "cellar"), restart="on-error", backoff=QUICK, name="lab/fresh"
        )
        await asyncio.sleep(1.5)
        assert len(made) == 2
        assert (hosted.object, hosted.name) == (made[1], "lab/fresh")
        with pytest.raises(TypeError, match="place"):
            bus.host(Fresh)


async def test_its_names_are_free_between_two_lives() -> None:
    class Unlucky:
        @busway.on("lab/it", kind="unicast")
        def it(self, request: busway.Request[Any]) -> None:
            raise OSError("no such line")

    async with alone() as bus:
        hosted = bus.host(Unlucky(), restart="on-error", backoff=QUICK, fatal=OSError)
        with pytest.raises(busway.RemoteError, match="no such line"):
            await bus.request("lab/it")
        await asyncio.sleep(0.1)
        with pytest.raises(busway.Undeliverable):
            await bus.send("lab/it", confirm=True)
        await bus.send("lab/it", confirm=True, ttl=5)
        assert hosted.restarts == 1


# Its end


class Slow(Log):
    """One of its methods takes as long as it is told, and notes when it is cancelled."""

    @busway.on("lab/slow", kind="anycast")
    async def slow(self, request: busway.Request[float]) -> str:
        try:
            await asyncio.sleep(request.payload)
        except asyncio.CancelledError:
            self.said.append("cancelled")
            raise
        self.said.append("done")
        return "done"

    async def on_run(self, bus: AsyncBus) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            self.said.append("ran")

    def on_stop(self) -> None:
        self.said.append("stop")


async def test_what_is_at_work_may_end() -> None:
    async with alone() as bus:
        slow = Slow()
        hosted = bus.host(slow)
        asking = asyncio.create_task(bus.request("lab/slow", 1.0))
        await asyncio.sleep(0.5)
        await hosted.close()
        assert slow.said == ["ran", "done", "stop"]
        assert await asking == "done"
        assert hosted.state == "stopped"
        with pytest.raises(busway.Undeliverable):
            await bus.request("lab/slow", 0)
        await hosted.close()
        await hosted.ended()


async def test_what_takes_too_long_is_cancelled_and_the_end_is_bounded() -> None:
    async with alone() as bus:
        slow = Slow()
        hosted = bus.host(slow, stop_timeout=10.0)
        asking = asyncio.create_task(bus.request("lab/slow", 100.0))
        await asyncio.sleep(0.5)
        began = asyncio.get_running_loop().time()
        await hosted.close()
        assert asyncio.get_running_loop().time() - began == pytest.approx(4.0)
        assert slow.said == ["ran", "cancelled", "stop"]
        with pytest.raises(busway.RemoteError, match="cancelled"):
            await asking


class Stubborn:
    """Nothing of it ends, whatever one does."""

    def __init__(self) -> None:
        self.free = asyncio.Event()

    async def hold(self) -> None:
        while not self.free.is_set():
            try:
                await self.free.wait()
            except asyncio.CancelledError:
                pass

    @busway.on("lab/it")
    async def it(self, message: busway.Message[Any]) -> None:
        await self.hold()

    async def on_run(self, bus: AsyncBus) -> None:
        await self.hold()

    async def on_stop(self) -> None:
        await self.hold()


@pytest.mark.parametrize("of_bus", [False, True])
async def test_whatever_it_does_its_end_is_bounded(of_bus: bool, caplog: pytest.LogCaptureFixture) -> None:
    time = asyncio.get_running_loop().time
    bus = await alone().open()
    stubborn = Stubborn()
    hosted = bus.host(stubborn)
    await bus.publish("lab/it")
    await asyncio.sleep(0.1)
    began = time()
    await (bus.close(5.0) if of_bus else hosted.close())
    assert time() - began <= 5.0
    assert hosted.state == "stopped"
    assert "2 methods of Stubborn did not end in time" in caplog.text
    assert "1 method of Stubborn did not end in time" in str(hosted.last_error)
    stubborn.free.set()
    await bus.close()


async def test_what_was_taken_is_done_before_on_stop() -> None:
    class Logger(Log):
        @busway.on("lab/log", kind="unicast", limit=8)
        async def log(self, message: busway.Message[str]) -> None:
            self.said.append(message.payload)
            if message.payload == "fatal":
                raise OSError("no such line")

        def on_stop(self) -> None:
            self.said.append("stop")

    async with alone() as bus:
        for text in ("hello", "fatal"):
            logger = Logger()
            hosted = bus.host(logger, fatal=OSError)
            for each in (text, "last"):
                await bus.send("lab/log", each)
            await asyncio.wait([asyncio.create_task(bus.send("lab/log", "taken", confirm=True))])
            await hosted.close()
            taken = [each for each in logger.said if each in ("last", "taken")]
            assert logger.said == [text, *taken, "stop"]
            assert text == "fatal" or len(taken) == 2


async def test_from_close_on_nothing_is_taken() -> None:
    async with alone() as bus:
        hosted = bus.host(Slow())
        hosted.close()
        assert hosted.state == "stopping"
        with pytest.raises(busway.Undeliverable):
            await bus.request("lab/slow", 0)


async def test_a_timer_and_a_stream_may_end_and_no_longer() -> None:
    class Lasting(Log):
        @busway.every(1.0)
        async def tick(self) -> None:
            await asyncio.sleep(0.5)
            self.said.append("tick")

        @busway.on("lab/count", kind="anycast")
        async def count(self, request: busway.Request[int]) -> AsyncIterator[int]:
            for number in range(request.payload):
                await asyncio.sleep(0.1)
                yield number
            raise ValueError("no more")

    async with alone() as bus:
        lasting = Lasting()
        hosted = bus.host(lasting)
        await asyncio.sleep(0.8)

        async def read() -> list[Any]:
            found: list[Any] = []
            try:
                async for part in bus.request_stream("lab/count", 5):
                    found.append(part)  # noqa: PERF401 - what came before the error counts
            except busway.RemoteError as error:
                found.append(str(error))
            return found

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.3)
        began = asyncio.get_running_loop().time()
        await hosted.close()
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.4)  # at 1.5 the tick is over
        assert await reading == [0, 1, 2, 3, 4, "ValueError: no more (error 64)"]
        assert (lasting.said, hosted.errors, hosted.handled) == (["tick"], 1, 2)


async def test_what_was_left_alone_is_not_waited_for_again() -> None:
    class Twice(Stubborn):
        starts = 0

        def on_start(self, bus: AsyncBus) -> None:
            self.starts += 1
            if self.starts == 2:
                raise OSError("no such line")

        async def on_run(self, bus: AsyncBus) -> None:
            if self.starts == 1:
                await self.hold()
            await asyncio.sleep(1000)

        @busway.every(3.0)
        def fail(self) -> None:
            if self.starts == 1:
                raise OSError("no such line")

        on_stop = None  # type: ignore[assignment]

    async with alone() as bus:
        twice = Twice()
        hosted = bus.host(twice, restart="on-error", fatal=OSError, backoff=QUICK, stop_timeout=10.0)
        await bus.publish("lab/it")
        await asyncio.sleep(3.5)
        assert hosted.state == "restarting"
        await asyncio.sleep(4.9)  # it ended at 8, with a wait of 1 s
        assert hosted.state == "restarting"
        await asyncio.sleep(0.7)
        assert (twice.starts, hosted.state) == (2, "restarting")
        await asyncio.sleep(2)
        assert (twice.starts, hosted.state) == (3, "running")
        began = asyncio.get_running_loop().time()
        await hosted.close()
        assert asyncio.get_running_loop().time() == began
        twice.free.set()


async def test_a_bus_ends_in_time_though_an_object_was_given_more() -> None:
    bus = await alone().open()
    stubborn = Stubborn()
    hosted = bus.host(stubborn)
    await asyncio.sleep(0.1)
    hosted.close(1000.0)
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    await bus.close(5.0)
    assert asyncio.get_running_loop().time() - began <= 5.0
    await asyncio.sleep(0.1)
    assert hosted.state == "stopped"
    stubborn.free.set()
    await asyncio.sleep(0.1)


async def test_closed_while_it_starts_it_may_start_and_stops() -> None:
    class Starting(Log):
        async def on_start(self, bus: AsyncBus) -> None:
            await asyncio.sleep(2)
            self.said.append("start")

        @busway.every(1.0, at_once=True)
        def tick(self) -> None:
            self.said.append("tick")

        def on_stop(self) -> None:
            self.said.append("stop")

    async with alone() as bus:
        starting = Starting()
        hosted = bus.host(starting)
        await asyncio.sleep(1)
        await hosted.close()
        assert (starting.said, hosted.state) == (["start", "stop"], "stopped")


async def test_what_on_run_raises_when_it_is_cancelled_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Careless:
        async def on_run(self, bus: AsyncBus) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                raise OSError("no such line")

    async with alone() as bus:
        hosted = bus.host(Careless())
        await asyncio.sleep(1)
    assert (hosted.state, hosted.errors) == ("stopped", 1)
    assert "Careless failed" in caplog.text


async def test_it_may_end_itself_and_its_bus() -> None:
    class Leaver(Log):
        hosted: Any

        @busway.on("lab/leave", kind="anycast")
        async def leave(self, request: busway.Request[str]) -> str:
            await (self.hosted.close() if request.payload == "object" else bus.close())
            return "left"

        def on_stop(self) -> None:
            self.said.append("stop")

    for what in ("object", "bus"):
        async with alone() as bus:
            leaver = Leaver()
            leaver.hosted = bus.host(leaver)
            if what == "object":
                assert await bus.request("lab/leave", what) == "left"
            else:
                with pytest.raises(busway.BusClosed):
                    await bus.request("lab/leave", what)
            await leaver.hosted.ended()
            assert (leaver.said, leaver.hosted.state) == (["stop"], "stopped")


async def test_closed_while_it_starts_or_waits_for_its_next_life() -> None:
    class Starting(Log):
        async def on_start(self, bus: AsyncBus) -> None:
            try:
                await asyncio.sleep(100)
            finally:
                self.said.append("broken off")

        def on_stop(self) -> None:
            self.said.append("stop")

    async with alone() as bus:
        starting = Starting()
        hosted = bus.host(starting)
        assert hosted.state == "starting"
        await asyncio.sleep(1)
        await hosted.close()
        assert (starting.said, hosted.state) == (["broken off"], "stopped")
        waiting = bus.host(Failing(9), restart="on-error", backoff=QUICK)
        await asyncio.sleep(0.5)
        assert (waiting.state, waiting.errors) == ("restarting", 1)
        began = asyncio.get_running_loop().time()
        await waiting.close()
        assert asyncio.get_running_loop().time() == began
        assert waiting.state == "stopped"


async def test_an_error_of_on_stop_is_told_and_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    class Careless(Log):
        @busway.every(1.0)
        def tick(self) -> None:
            pass

        def on_stop(self) -> None:
            raise OSError("no such line")

    async with alone() as bus:
        hosted = bus.host(Careless())
    assert (hosted.state, hosted.errors) == ("stopped", 1)
    assert "Careless failed" in caplog.text


async def test_on_stop_may_use_the_bus() -> None:
    class Polite:
        async def on_start(self, bus: AsyncBus) -> None:
            self.bus = bus

        async def on_stop(self) -> None:
            await self.bus.publish("lab/state", "off", retain=True)

    async with alone() as bus:
        states = bus.subscribe("lab/state")
        async with bus.host(Polite()) as hosted:
            assert hosted.state == "running"
        assert (await states.receive()).payload == "off"
        assert [each.state for each in bus.hosted()] == ["stopped"]


async def test_of_those_that_are_over_the_last_ones_stay_listed() -> None:
    async with alone() as bus:
        stays = bus.host(Recorder())
        for number in range(70):
            await bus.host(Clock(), name=f"lab/clock{number}").close()
        crowd: Any = bus._crowd
        assert len(crowd._members) <= 66  # also of who never asks
        names = [each.name for each in bus.hosted()]
        assert names == ["Recorder", *(f"lab/clock{number}" for number in range(6, 70))]
        assert stays.state == "running"
        assert repr(stays) == "<Hosted Recorder, running, 0 handled, 0 errors, 0 restarts>"


# With a contract


@busway.service("lab/oven", version=2)
class Oven:
    """A contract with hooks: none of these is one of its methods."""

    hot: busway.Signal[float]

    class Broken(busway.ServiceError):
        part: str

    def __init__(self) -> None:
        self.celsius = 20.0
        self.now = self.most = 0

    async def on_start(self, bus: AsyncBus) -> None:
        await self.hot.publish(0.0)  # it has its signals by now

    async def heat(self, by: float) -> float:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.1)
        self.now -= 1
        if by < 0:
            raise self.Broken("door")
        if by > 1000:
            raise OSError("the fuse is blown")
        self.celsius += by
        return self.celsius

    async def steps(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.1)
            self.now -= 1
            yield number

    @busway.on("./door")
    async def door(self, message: busway.Message[bool]) -> None:
        self.celsius -= 5

    @busway.every(1.0)
    async def report(self) -> None:
        await self.hot.publish(self.celsius)

    async def on_stop(self) -> None:
        await self.hot.publish(-1.0)


@pytest.mark.parametrize("serial", [False, True])
async def test_an_object_with_a_contract_and_hooks(serial: bool) -> None:
    async with alone() as bus:
        oven = bus.client(Oven)
        heard = bus.subscribe("lab/oven/hot")
        hosted = bus.host(Oven(), serial=serial, restart="on-error", fatal=OSError, backoff=QUICK)
        assert hosted.state == "starting"
        await hosted.ready()
        assert (hosted.name, hosted.version) == ("lab/oven", 2)
        found = await asyncio.gather(*(oven.heat(10) for _ in range(4)))
        assert (sorted(found), hosted.handled) == ([30, 40, 50, 60], 4)
        assert [part async for part in oven.steps(3)] == [0, 1, 2]
        assert hosted.handled == 5
        await bus.publish("lab/oven/door", True)
        with pytest.raises(Oven.Broken, match="door"):
            await oven.heat(-1)
        assert (hosted.errors, hosted.object.most) == (0, 1 if serial else 4)
        with pytest.raises(busway.RemoteError, match="fuse"):
            await oven.heat(2000)
        await until(lambda: hosted.state == "restarting")
        with pytest.raises(busway.Undeliverable):
            await oven.heat(1)
        assert await busway.using(oven, ttl=5.0).heat(1) == 56
        assert (hosted.errors, hosted.restarts) == (1, 1)
        await asyncio.sleep(1)
        await hosted.close()
        values = [(await heard.receive()).payload for _ in range(len(heard._core.queue))]
        assert [value for value in values if value <= 0] == [0.0, -1.0, 0.0, -1.0]
        assert [value for value in values if value > 0] == [56]


async def test_it_may_be_hosted_elsewhere_once_it_has_ended() -> None:
    async with alone() as bus:
        oven = Oven()
        for _ in range(2):
            async with bus.host(oven, name="lab/oven/2"):
                assert await bus.client(Oven, name="lab/oven/2").heat(0) == 20
        with pytest.raises(TypeError, match="does not implement"):
            bus.host(Recorder(), Oven, restart="always")


# What cannot be hosted


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"restart": "sometimes"}, ValueError, "restart must be one of never, on-error, always"),
        ({"backoff": 3.0}, TypeError, "backoff must be a busway.Retry"),
        ({"fatal": "OSError"}, TypeError, "fatal must be one exception class"),
        ({"fatal": (OSError, KeyboardInterrupt)}, TypeError, "fatal must be one exception class"),
        ({"serial": 1}, TypeError, "serial must be True or False"),
        ({"stop_timeout": -1}, ValueError, "stop_timeout must be 0 to"),
        ({"limit": 3}, TypeError, "limit: Recorder serves no contract"),
        ({"version": 3}, TypeError, "version: Recorder serves no contract"),
        ({"colour": 3}, TypeError, "colour"),
        ({"name": "lab/*"}, ValueError, "one endpoint"),
    ],
)
async def test_options_that_are_none(options: Any, error: type[Exception], text: str) -> None:
    async with alone() as bus:
        with pytest.raises(error, match=text):
            bus.host(Recorder(), **options)
        assert bus.hosted() == []


async def test_objects_that_cannot_be_hosted() -> None:
    class Plain:
        def on_run(self, bus: AsyncBus) -> None: ...

    class Odd:
        on_start = 5

    async with alone() as bus:
        with pytest.raises(TypeError, match="object has nothing to run or to serve"):
            bus.host(object())
        with pytest.raises(TypeError, match="on_run must be a coroutine function"):
            bus.host(Plain(), restart="always")
        with pytest.raises(TypeError, match="on_start must be a method, not 5"):
            bus.host(Odd())
    with pytest.raises(busway.BusError):
        bus.host(Recorder())
