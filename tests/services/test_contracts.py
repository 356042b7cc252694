"""Declaring contracts and hosting objects: what is wrong is said at once, with all that is wrong."""

import inspect
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

import busway
from busway.testing import Network
from tests.services.pumps import AsyncPump, Pump, Status, ThreadPump

pytestmark = pytest.mark.jumps


def declared(name: Any = "lab/it", version: Any = 1, **body: Any) -> Any:
    """A class with that body, declared."""
    return busway.service(name, version=version)(type("It", (), body))


async def plain(self: Any) -> int:
    return 1


async def unchecked(self: Any, what: object, when: range) -> None: ...


async def many(self: Any, *what: int) -> None: ...


async def named(self: Any, **what: int) -> None: ...


async def unnamed(self: Any, what: int, /) -> None: ...


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: declared("", run=plain), ValueError, "1 to 64 UTF-8 bytes"),
        (
            lambda: declared("lab/*", run=plain),
            ValueError,
            "stands for one endpoint, not for several: 'lab/*'",
        ),
        (lambda: declared(7, run=plain), TypeError, "an endpoint is a name"),
        (
            lambda: busway.service(Pump),  # type: ignore[arg-type]
            TypeError,
            'write @busway.service("lab/it", version=1) above the class',
        ),
        (lambda: declared(version=0, run=plain), ValueError, "version must be at least 1, not 0"),
        (
            lambda: declared(version="2", run=plain),
            TypeError,
            "version must be a whole number (int)",
        ),
        (lambda: declared(version=True, run=plain), TypeError, "version must be a whole number"),
        (lambda: declared(), TypeError, "It has no public method to call, and no signal"),
        (lambda: declared(_run=plain), TypeError, "It has no public method to call"),
        (lambda: declared(run=unchecked), TypeError, "It.run: run.when: range cannot be checked on arrival"),
        (
            lambda: declared(run=many),
            TypeError,
            "arguments travel by name, so there is no place for '*what",
        ),
        (lambda: declared(run=named), TypeError, "no place for '**what"),
        (lambda: declared(run=unnamed), TypeError, "no place for 'what"),
        (
            lambda: declared("x" * 60, __annotations__={"heated": busway.Signal[int]}),
            ValueError,
            "the name of a signal, behind that of its service, must have 1 to 64 UTF-8 bytes",
        ),
        (
            lambda: declared(__annotations__={"heated": busway.Signal[range]}),
            TypeError,
            "It.heated: heated.value: range cannot be checked",
        ),
        (lambda: busway.service("lab/it")(plain), TypeError, "service declares a class, got function"),  # type: ignore[type-var]
    ],
)
def test_what_is_no_contract_is_refused(make: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error) as raised:
        make()
    assert sentence in str(raised.value)


def test_a_class_that_refers_forward_is_looked_at_when_it_is_used() -> None:
    async def run(self: Any, what: "Later") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    late = declared(run=run)
    bus = busway.AsyncBus(ipc=False)
    with pytest.raises(TypeError, match="an annotation of It cannot be resolved: name 'Later'"):
        bus.client(late)


async def test_what_is_hosted_is_an_object_that_implements_a_contract() -> None:
    class Half:
        closed = 0

        async def set_speed(self, rpm: int) -> None: ...

        async def scan(self, step: float, count: int, more: int) -> AsyncIterator[float]:
            yield step

        fail = 3

    class Slots:
        __slots__ = ()

        async def run(self) -> None: ...

    heated: Any = {"heated": busway.Signal[int]}
    async with Network() as network:
        bus = await network.bus()
        for obj, contract, sentences in [
            (
                Half(),
                Pump,
                [
                    "Half does not implement Pump: set_speed takes no argument 'ramp'",
                    "scan needs the argument 'count', which callers may leave out",
                    "scan needs an argument 'more', which the contract does not have",
                    "fail is no method",
                    "it has no method nap(seconds)",
                ],
            ),
            (Half(), None, ["Half has nothing to run or to serve", "no service: derive it from a contract"]),
            (Half(), Half, ["Half is no service: put @busway.service("]),
            (Half(), 7, ["7 is no service"]),
            (
                Slots(),
                declared(run=plain, __annotations__=heated),
                ["Slots.heated: the signal cannot"],
            ),
        ]:
            with pytest.raises(TypeError) as error:
                bus.host(obj, contract)
            for sentence in sentences:
                assert sentence in str(error.value)
        with pytest.raises(TypeError, match="Half is no service"):
            bus.client(Half)
        with pytest.raises(ValueError, match="not for several"):
            bus.client(Pump, name="lab/*")
        with pytest.raises(ValueError, match="not for several"):
            bus.host(AsyncPump(), name="lab/*")
        assert not bus.endpoints() or all(each.name != "lab/pump" for each in bus.endpoints())


def test_a_bus_for_threads_runs_plain_functions() -> None:
    with busway.Bus(ipc=False) as bus:
        with pytest.raises(TypeError) as error:
            bus.host(AsyncPump())
        assert "set_speed is a coroutine function, and a Bus runs plain ones" in str(error.value)
        bus.host(ThreadPump(), Pump)


async def test_options_that_host_has_not_are_named_with_those_it_has() -> None:
    async with Network() as network:
        bus = await network.bus("a")
        with pytest.raises(TypeError, match=r"^host takes backoff, .*serial.*version, not seral$"):
            bus.host(AsyncPump(), seral=True)  # type: ignore[call-arg]


async def test_an_object_is_hosted_once() -> None:
    async with Network() as network:
        one, two = await network.bus(), await network.bus()
        pump = AsyncPump()
        async with one.host(pump):
            with pytest.raises(ValueError, match="AsyncPump object is hosted already, as lab/pump"):
                two.host(pump)
        two.host(pump)
        assert await two.client(Pump).set_speed(1) == Status(1, 0.0)
    async with Network() as network:  # the bus was closed, and what it hosted with it
        (await network.bus()).host(pump)


async def test_a_uuid_may_stand_for_the_name() -> None:
    ident = uuid.UUID("5d5a5bb0-7a50-4a0c-8f3c-0f1f4c5b7f11")

    @busway.service(ident)
    class Lamp:
        switched: busway.Signal[bool]

        async def switch(self, on: bool) -> str:
            await self.switched.publish(on)
            return "on" if on else "off"

    async with Network() as network:
        one, two = await network.bus(), await network.bus()
        one.host(Lamp())
        await network.link(one, two)
        lamp = two.client(Lamp)
        with lamp.switched.subscribe() as switched:
            await network.settle()
            assert await lamp.switch(True) == "on"
            assert await switched.receive(5.0) is True
        told = await two.request(ident, ["busway.describe", {}])
        assert told["service"] == str(ident)
        assert told["signals"]["switched"]["endpoint"] == str(uuid.uuid5(ident, "switched"))


async def test_methods_come_from_the_bases_and_hooks_are_none() -> None:
    def marked(self: Any) -> None: ...

    marked.__busway_hook__ = True  # type: ignore[attr-defined]

    class Base:
        async def stop(self) -> str:
            return "stopped"

        async def gone(self) -> None: ...

    @busway.service("lab/drill")
    class Drill(Base):
        gone = None  # type: ignore[assignment]
        tick = marked

        def on_start(self, bus: Any) -> None: ...

        @property
        def speed(self) -> int:
            return 1

        @staticmethod
        def make() -> "Drill":
            return Drill()

        def turn(self, by: int = 1) -> int:
            return by

    async with Network() as network:
        bus = await network.bus()
        bus.host(Drill())
        drill: Any = bus.client(Drill)
        assert await drill.stop() == "stopped"
        assert await drill.turn() == 1  # a plain function, which is awaited all the same
        told = await bus.request("lab/drill", ["busway.describe", {"brief": True}])
        assert sorted(told["methods"]) == ["stop", "turn"]


async def test_a_server_may_be_derived_from_a_client_less_contract() -> None:
    """What `busway.Contract` has for clients is not for servers."""
    pump = AsyncPump()
    with pytest.raises(TypeError, match="this AsyncPump is no client"):
        pump.using(timeout=1.0)
    with pytest.raises(TypeError, match="is no client"):
        async with pump:
            pass
    with pytest.raises(TypeError, match="is no client"), pump:
        pass


def test_nothing_of_services_is_imported_before_it_is_used() -> None:
    program = """
import sys, busway
assert "busway.services" not in sys.modules
busway.AsyncBus, busway.Bus, busway.RemoteError
print([name for name in sys.modules if name.startswith("busway.services")])
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_the_class_is_as_it_was() -> None:
    assert inspect.isclass(Pump)
    assert AsyncPump().closed.is_set() is False


async def test_annotations_may_be_texts() -> None:
    from tests.services.late import Late

    async with Network() as network:
        bus = await network.bus()
        late = Late()
        bus.host(late)
        client = bus.client(Late)
        assert await client.list(3) == [3]
        assert await client.int() == 1
        with client.opened.subscribe() as opened:
            await late.opened.publish([1, 2])
            assert await opened.receive(5.0) == [1, 2]
