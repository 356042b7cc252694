"""Calls of a hosted contract, on both sorts of bus: results, streams, declared errors, options, scopes."""

import asyncio
import contextlib
import inspect
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import busway
from busway.testing import Network
from tests.services.pumps import AsyncPump, Elsewhere, Pump, Status, ThreadPump

pytestmark = pytest.mark.jumps


@contextlib.asynccontextmanager
async def joined(*hosted: Any, **options: Any) -> AsyncIterator[tuple[busway.AsyncBus, busway.AsyncBus]]:
    """Two buses that are joined, the first with what it hosts."""
    async with Network() as network:
        one, two = await network.bus("server"), await network.bus("client")
        for each in hosted:
            one.host(each, **options)
        await network.link(one, two)
        yield one, two


@pytest.fixture
def blocking() -> Iterator[tuple[ThreadPump, Any]]:
    """A server for threads, and a client of it on a bus of its own, as no type checker sees it."""
    pump = ThreadPump()
    with busway.Bus("threads") as one, busway.Bus("threads") as two:
        one.host(pump, Pump)
        yield pump, two.client(Pump, name="lab/pump").using(ttl=30.0)


async def test_a_call_is_a_call() -> None:
    async with joined(AsyncPump()) as (_, bus):
        pump = bus.client(Pump)
        assert await pump.set_speed(300) == Status(300, 0.0)
        assert await pump.set_speed(rpm=300, ramp=0.5) == Status(300, 0.5)
        assert await pump.set_speed(300, ramp=1) == Status(300, 1.0)
        assert [part async for part in pump.scan(1.5)] == [0.0, 1.5, 3.0]


def test_a_call_blocks_on_a_bus_for_threads(blocking: tuple[ThreadPump, Any]) -> None:
    server, pump = blocking
    assert pump.set_speed(300) == Status(300, 0.0)
    assert pump.set_speed(300, ramp=0.5) == Status(300, 0.5)
    assert list(pump.scan(1.5, count=2)) == [0.0, 1.5]
    assert server.closed == 1


@pytest.mark.jumps(False)
async def test_one_contract_serves_both_sorts_of_bus(patient: None) -> None:
    """A client that blocks, of a server on asyncio, and the other way round."""
    async with busway.AsyncBus("mixed") as bus:
        bus.host(AsyncPump())

        def ask() -> tuple[Any, list[float]]:
            with busway.Bus("mixed") as other:
                other.host(ThreadPump(), Pump, name="lab/other")
                pump: Any = other.client(Pump).using(ttl=30.0)
                found = pump.set_speed(1), list(pump.scan(2.0))
                ready.set()
                done.wait(60)
                return found

        ready, done = threading.Event(), threading.Event()
        asking = asyncio.create_task(asyncio.to_thread(ask))
        await asyncio.to_thread(ready.wait, 60)
        pump = bus.client(Pump, name="lab/other").using(ttl=30.0)
        assert await pump.set_speed(2) == Status(2, 0.0)
        assert [part async for part in pump.scan(2.0)] == [0.0, 2.0, 4.0]
        done.set()
        assert await asking == (Status(1, 0.0), [0.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda pump: pump.set_speed("fast"), "set_speed.rpm: expected int, got str"),
        (lambda pump: pump.set_speed(True), "set_speed.rpm: expected int, got bool"),
        (lambda pump: pump.set_speed(1, ramp="x"), "set_speed.ramp: expected float, got str"),
        (lambda pump: pump.set_speed(), "missing 1 required positional argument: 'rpm'"),
        (lambda pump: pump.set_speed(1, 2), "takes 1 positional argument but 2 were given"),
        (lambda pump: pump.set_speed(1, rpm=2), "got multiple values for argument 'rpm'"),
        (lambda pump: pump.set_speed(1, ramps=2), "got an unexpected keyword argument 'ramps'"),
        (lambda pump: pump.scan("x"), "scan.step: expected float, got str"),
    ],
)
async def test_arguments_are_checked_before_anything_is_sent(call: Any, sentence: str) -> None:
    async with Network() as network:
        pump = (await network.bus()).client(Pump)
        with pytest.raises(TypeError) as error:
            await call(pump)
        assert sentence in str(error.value)


async def test_arguments_are_checked_by_the_server_too() -> None:
    async with joined(AsyncPump()) as (_, bus):
        for payload, sentence in [
            (["set_speed", {"rpm": "fast"}], "set_speed of lab/pump version 3: set_speed.rpm: expected int"),
            (["set_speed", {}], "set_speed.rpm: the field is missing and has no default"),
            (["set_speed", {"rpm": 1, "rpms": 2}], "set_speed of lab/pump version 3 has no argument 'rpms'"),
            (["halt", {}], "lab/pump version 3 has no method 'halt'"),
            ("halt", "lab/pump version 3 has no method 'halt'"),
            ([7, {}], "a call of lab/pump version 3 is a list of a method's name and a map"),
            ([["x"], {}], "a call of lab/pump version 3 is a list of a method's name and a map"),
            (["set_speed", [300]], "a call of lab/pump version 3 is a list of a method's name and a map"),
            ({"rpm": 300}, "a call of lab/pump version 3 is a list of a method's name and a map"),
            (b"\xff", "a call of lab/pump version 3 is a list of a method's name and a map"),
        ]:
            with pytest.raises(busway.RemoteError) as error:
                await bus.request("lab/pump", payload)
            assert sentence in str(error.value)
        assert await bus.request("lab/pump", ["set_speed", {"rpm": 1}]) == {"rpm": 1, "ramp": 0.0}
        assert (await bus.request("lab/pump", "busway.describe"))["version"] == 3  # the name alone


async def test_a_result_is_checked_by_the_server(caplog: pytest.LogCaptureFixture) -> None:
    class Liar(AsyncPump):
        async def nap(self, seconds: float) -> str:
            return seconds  # type: ignore[return-value]

    async with joined(Liar()) as (_, bus):
        with pytest.raises(busway.RemoteError) as error:
            await bus.client(Pump).nap(1.0)
        assert error.value.code == 64
        assert "the result of nap: expected str, got float" in str(error.value)
    assert "the result of nap" in caplog.text


async def test_declared_errors_arrive_as_themselves() -> None:
    async with joined(AsyncPump()) as (_, bus):
        pump = bus.client(Pump)
        with pytest.raises(Pump.TooFast) as error:
            await pump.set_speed(4000)
        assert (error.value.limit, error.value.said) == (3000, b"\xff")
        assert str(error.value) == "Pump.TooFast: limit=3000, said=b'\\xff'"
        assert isinstance(error.value, busway.RemoteError)
        with pytest.raises(busway.RemoteError) as plain:
            await bus.request("lab/pump", ["set_speed", {"rpm": 4000}])
        assert plain.value.message == 'TooFast {"limit": 3000, "said": {"$cbor": "gUH/"}}'
        parts = pump.scan(1.0, 13)
        assert [await anext(parts) for _ in range(13)] == [float(number) for number in range(13)]
        with pytest.raises(Pump.TooFast, match="limit=13"):
            await anext(parts)


def test_declared_errors_arrive_as_themselves_in_threads(blocking: tuple[ThreadPump, Any]) -> None:
    _, pump = blocking
    with pytest.raises(Pump.TooFast) as error:
        pump.set_speed(4000)
    assert (error.value.limit, error.value.said) == (3000, b"\xff")
    with pytest.raises(Pump.TooFast, match="limit=13"):
        list(pump.scan(1.0, 13))


@pytest.mark.parametrize(
    ("how", "code", "sentence"),
    [
        ("own", 64, "ValueError: the valve is stuck"),
        ("coded", 300, "no water"),
        ("elsewhere", 64, "Elsewhere: place='the cellar'"),
    ],
)
async def test_other_errors_are_remote_errors(how: str, code: int, sentence: str) -> None:
    async with joined(AsyncPump()) as (_, bus):
        with pytest.raises(busway.RemoteError) as error:
            await bus.client(Pump).fail(how)
        assert type(error.value) is busway.RemoteError
        assert (error.value.code, error.value.message) == (code, sentence)


def test_other_errors_are_remote_errors_in_threads(blocking: tuple[ThreadPump, Any]) -> None:
    _, pump = blocking
    for how, code in [("own", 64), ("coded", 300), ("elsewhere", 64)]:
        with pytest.raises(busway.RemoteError) as error:
            pump.fail(how)
        assert (type(error.value), error.value.code) == (busway.RemoteError, code)


def test_a_declared_error_is_an_exception_like_others() -> None:
    error = Pump.TooFast(limit=3)
    assert repr(error) == "Pump.TooFast(limit=3, said=b'')"
    assert {error: 1}[error] == 1
    again = pickle.loads(pickle.dumps(Elsewhere("here")))
    assert (type(again), again.place, again.code) == (Elsewhere, "here", error.code)
    with pytest.raises(TypeError, match="args"):
        type("Wrong", (busway.ServiceError,), {"__annotations__": {"args": int}})


async def test_options_of_a_call() -> None:
    async with joined() as (one, bus):
        pump = bus.client(Pump)
        with pytest.raises(busway.Undeliverable):
            await pump.set_speed(1)
        waiting = asyncio.create_task(pump.using(ttl=60.0).set_speed(1))
        await asyncio.sleep(1.0)
        server = AsyncPump()
        one.host(server)
        assert await waiting == Status(1, 0.0)
        with pytest.raises(busway.RequestTimeout):
            await pump.using(timeout=0.5).nap(20.0)
        await server.cancelled.wait()  # its deadline has come, too
        assert await busway.using(pump, priority="urgent", node=one.id).set_speed(1) == Status(1, 0.0)
        assert [part async for part in pump.using(window=1).scan(1.0)] == [0.0, 1.0, 2.0]
        with pytest.raises(busway.Undeliverable):
            await pump.using(node=bus.id).set_speed(1)
        with pytest.raises(TypeError, match=r"using takes .*, not speed"):
            pump.using(speed=1)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="using takes a client"):
            busway.using(server, ttl=1.0)


async def test_errors_of_another_service_are_not_this_ones() -> None:
    """A method that calls a service, and passes its errors on, has failed, as with any other exception."""

    @busway.service("lab/panel")
    class Panel:
        class TooFast(busway.ServiceError):
            limit: int

        def __init__(self, pump: Any) -> None:
            self.pump = pump

        async def faster(self, payload: Any) -> None:
            await self.pump.request("lab/pump", payload)

        def later(self) -> Any:
            return self.faster(["set_speed", {"rpm": 4000}])

    async with joined(AsyncPump()) as (_, bus):
        bus.host(Panel(bus))
        panel = bus.client(Panel)
        for payload in (["set_speed", {"rpm": 4000}], ["halt", {}], ["set_speed", {}]):
            with pytest.raises(busway.RemoteError) as error:
                await panel.faster(payload)
            assert (type(error.value), error.value.code) == (busway.RemoteError, 64)
        with pytest.raises(busway.RemoteError) as error:
            await panel.later()
        assert error.value.code == 64
        with pytest.raises(busway.RemoteError) as error:
            await panel.faster(["fail", {"how": "coded"}])
        assert error.value.code == 300


@pytest.mark.parametrize(
    "text",
    [
        *("TooFast", "TooFast {", "TooFast [3]", 'TooFast {"limit": "x"}', "TooFast " + "[" * 100_000),
        *(
            'TooFast {"limit": {"$cbor": "x"}}',
            'TooFast {"limit": {"$cbor": "oA=="}}',
            "Unknown {}",
            "",
            "\x00",
        ),
    ],
)
async def test_a_malformed_error_is_a_plain_one(text: str) -> None:
    async with Network() as network:
        bus = await network.bus()

        @bus.serve("lab/pump")
        def answer(request: busway.Request) -> None:
            raise busway.RemoteError(4294901761, text)

        with pytest.raises(busway.RemoteError) as error:
            await bus.client(Pump).set_speed(1)
        assert type(error.value) is busway.RemoteError


async def test_a_plain_function_may_give_a_coroutine() -> None:
    @busway.service("lab/it")
    class It:
        def twice(self, what: int) -> int:
            async def later() -> int:
                return 2 * what

            return later()  # type: ignore[return-value]

    async with Network() as network:
        bus = await network.bus()
        bus.host(It())
        assert await bus.client(It).twice(4) == 8  # type: ignore[misc]


async def test_a_cancelled_call_is_cancelled_at_the_server() -> None:
    server = AsyncPump()
    async with joined(server) as (_, bus):
        calling = asyncio.create_task(bus.client(Pump).nap(60.0))
        await asyncio.sleep(1.0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await server.cancelled.wait()


async def test_a_stream_that_is_left_is_closed_at_the_server() -> None:
    server = AsyncPump()
    async with joined(server) as (_, bus):
        pump = bus.client(Pump)
        async with contextlib.aclosing(pump.scan(1.0, 1_000_000)) as parts:  # type: ignore[type-var]
            async for part in parts:
                if part == 2.0:
                    break
        await server.closed.wait()
        server.closed.clear()
        async with pump:
            parts = pump.scan(1.0, 1_000_000)
            assert await anext(parts) == 0.0
        await server.closed.wait()
        server.closed.clear()
        async for _ in pump.scan(1.0, 1_000_000):
            break
        await server.closed.wait()
        assert [part async for part in parts] == []


def test_a_stream_that_is_left_is_closed_at_the_server_in_threads(blocking: tuple[ThreadPump, Any]) -> None:
    _, pump = blocking
    with pump:
        parts = pump.scan(1.0, 1_000_000)
        assert next(parts) == 0.0
    assert list(parts) == []
    pump.set_speed(1)
    with contextlib.closing(pump.scan(1.0, 1_000_000)) as parts:
        assert next(parts) == 0.0


async def test_a_stream_may_be_awaited_first() -> None:
    """So that a contract may say `async def` of it without a `yield`, as type checkers see it."""
    async with joined(AsyncPump()) as (_, bus):
        parts: Any = bus.client(Pump).scan(1.0)
        assert [part async for part in await parts] == [0.0, 1.0, 2.0]


async def test_one_client_for_each_of_several_servers() -> None:
    async with joined(AsyncPump(), name="lab/pump/2", version=4) as (one, bus):
        hosted = one.host(AsyncPump(), name="lab/pump/3")
        assert (hosted.name, hosted.version) == ("lab/pump/3", 3)
        two, three = (bus.client(Pump, name=f"lab/pump/{number}") for number in (2, 3))
        three = busway.using(three, ttl=5.0)
        found = await asyncio.gather(*(pump.set_speed(1) for pump in (two, three) for _ in range(50)))
        assert found == [Status(1, 0.0)] * 100
        await hosted.close()
        with pytest.raises(busway.Undeliverable):
            await busway.using(three, ttl=0.0).set_speed(1)
        assert repr(two) == "<client of lab/pump/2, Pump version 3>"
        assert repr(hosted) == ("<Hosted lab/pump/3 version 3, stopped, 50 handled, 0 errors, 0 restarts>")


async def test_a_client_has_what_the_contract_has_and_no_more() -> None:
    async with Network() as network:
        pump: Any = (await network.bus()).client(Pump)
        assert pump.TooFast is Pump.TooFast
        assert inspect.signature(pump.set_speed) == inspect.signature(AsyncPump().set_speed)
        assert pump.set_speed.__doc__ == "Sets the speed."
        with pytest.raises(
            AttributeError, match="Pump version 3 has no public method, signal or error 'halt'"
        ):
            _ = pump.halt


@pytest.mark.parametrize(
    ("call", "begins"),
    [
        (["\0" * 1_000_000, {}], "lab/pump version 3 has no method '\\x00"),
        (["set_speed", {"\0" * 1_000_000: 1}], "set_speed of lab/pump version 3 has no argument '\\x00"),
        (
            ["set_speed", dict.fromkeys(range(10_000))],
            "set_speed of lab/pump version 3 has no argument 0, 1,",
        ),
    ],
)
async def test_the_sentence_about_a_call_is_short_whatever_the_call(call: Any, begins: str) -> None:
    """Else a caller could have a server answer with four times what it was sent."""
    async with joined(AsyncPump()) as (_, bus):
        with pytest.raises(busway.RemoteError) as error:
            await bus.request("lab/pump", call, ttl=5.0)
        assert error.value.message.startswith(begins)
        assert len(error.value.message) < 200


async def test_within_one_process_objects_are_not_shared() -> None:
    """An endpoint of realm "process" is handed what was sent itself: a service gets values of its own."""

    @busway.service("lab/box")
    class Box:
        async def put(self, what: list[int]) -> list[int]:
            what.append(3)
            return what

    async with Network() as network:
        bus = await network.bus()
        bus.host(Box(), realm="process")
        mine = [1, 2]
        assert await bus.client(Box).put(mine) == [1, 2, 3]
        assert mine == [1, 2]


async def test_calls_may_be_sealed() -> None:
    """Results, parts, and errors with their fields, too; plain calls are refused where that is asked."""
    keys = [busway.Key.new(), busway.Key.new()]
    seal = [key.text for key in keys]
    async with Network() as network:
        one, two = [await network.bus(key.text[:12], key=key, seal=seal) for key in keys]
        one.host(AsyncPump(), sealed=True)
        await network.link(one, two)
        pump = two.client(Pump).using(sealed=True, ttl=5.0)
        assert await pump.set_speed(300) == Status(300, 0.0)
        assert [part async for part in pump.scan(1.5)] == [0.0, 1.5, 3.0]
        with pytest.raises(Pump.TooFast) as error:
            await pump.set_speed(4000)
        assert (error.value.limit, error.value.said) == (3000, b"\xff")
        with pytest.raises(busway.Undeliverable, match="takes sealed messages only"):
            await pump.using(sealed=False).set_speed(1)


async def test_a_contract_may_be_a_plain_class_with_nothing_in_it() -> None:
    """Which no type checker would take; a stream in it says `async def` without a `yield`."""

    @dataclass
    class Angle:
        degrees: float

    @busway.service("lab/arm", version=1)
    class Arm:
        async def turn(self, by: Angle, *, ramp: float = 0.0) -> Angle: ...  # type: ignore[empty-body]
        async def scan(self, step: float) -> AsyncIterator[Angle]: ...  # type: ignore[empty-body]

        stuck: busway.Signal[Angle]

        class TooFar(busway.ServiceError):
            limit: int

    class ArmOnGpio(Arm):
        def __init__(self, pin: int) -> None:
            self.pin = pin

        async def turn(self, by: Angle, *, ramp: float = 0.0) -> Angle:
            if by.degrees > 180:
                await self.stuck.publish(by)
                raise self.TooFar(180)
            return by

        async def scan(self, step: float) -> AsyncIterator[Angle]:  # type: ignore[misc, override]
            yield Angle(step)

    async with joined(ArmOnGpio(pin=4)) as (_, bus):
        arm: Any = bus.client(Arm)
        with arm.stuck.subscribe() as stuck:
            await arm.turn(Angle(1.0))
            assert [angle async for angle in arm.scan(1.5)] == [Angle(1.5)]
            with pytest.raises(Arm.TooFar) as error:
                await arm.turn(Angle(270.0), ramp=0.5)
            assert error.value.limit == 180
            assert await stuck.receive(5.0) == Angle(270.0)
