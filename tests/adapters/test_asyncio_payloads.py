"""Payloads as they arrive: bytes, values, message types, misfits, objects by reference."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

import busway
from busway.payloads import encode
from busway.protocol import codes
from tests.adapters.test_checks import settled
from tests.adapters.tools import buses, sees, until

pytestmark = pytest.mark.jumps


@busway.message("5f8b1b57-3c5c-4a63-9b15-6f1a0d1d5c01", name="test/reading")
@dataclass
class Reading:
    celsius: float
    place: str = "lab"


@busway.message("5f8b1b57-3c5c-4a63-9b15-6f1a0d1d5c02")
class Level(msgspec.Struct):
    litres: int


@busway.message("5f8b1b57-3c5c-4a63-9b15-6f1a0d1d5c03")
@dataclass
class Stranger:
    text: str


@dataclass
class Undeclared:
    text: str


VALUES: list[Any] = [b"", b"\x00" * 70_000, None, True, -5, 1 << 70, 2.5, "ü", [1, [2]], {"a": {1: b"x"}}]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
async def test_bytes_and_values_arrive_as_they_are(value: Any) -> None:
    async with buses() as (a, b):
        receiver = b.register("any")
        b.serve("echo", lambda request: request.payload)
        await until(lambda: sees(a, "any") and sees(a, "echo"))
        await a.send("any", value)
        got = (await receiver.receive(60)).payload
        assert (type(got), got) == (type(value), value)
        assert await a.request("echo", value) == value


@pytest.mark.parametrize("value", [Reading(21.5), Reading(-1.0, "roof"), Level(7)], ids=str)
async def test_a_message_class_stands_for_its_endpoint(value: Any) -> None:
    async with buses() as (a, b):
        receiver = b.register(type(value))
        await until(lambda: len(a.endpoints()) == 1)
        await a.send(type(value), value)
        message = await receiver.receive(60)
        assert message.payload == value
        assert message.error is None
        assert a.endpoints()[0].name == ("test/reading" if type(value) is Reading else "")


async def test_one_receiver_takes_several_types_and_skips_others() -> None:
    async with buses() as (a, b):
        receiver = b.register("mixed", types=(Reading, Level))
        await until(lambda: sees(a, "mixed"))
        for value in (Reading(1.0), Stranger("?"), Level(2), Stranger("?"), Reading(3.0)):
            await a.send("mixed", value)
        assert [(await receiver.receive(60)).payload for _ in range(3)] == [
            Reading(1.0),
            Level(2),
            Reading(3.0),
        ]
        assert receiver.unknown == 2


@pytest.mark.parametrize("misfit", [{"celsius": 1.0}, b"bytes", None], ids=str)
async def test_what_does_not_fit_arrives_as_an_error_the_receiver_sees(misfit: Any) -> None:
    async with buses() as (a, b):
        receiver = b.register("typed", types=(Reading,))
        await until(lambda: sees(a, "typed"))
        await a.send("typed", misfit)
        await a.send("typed", Reading(1.0))
        message = await receiver.receive(60)
        assert isinstance(message.error, busway.PayloadError)
        assert isinstance(message.payload, bytes)
        assert (await receiver.receive(60)).payload == Reading(1.0)


async def test_a_field_of_the_wrong_type_is_named() -> None:
    async with buses() as (a, b):
        receiver = b.register("typed", types=(Reading,))
        await until(lambda: sees(a, "typed"))
        payload, _, _ = encode({"celsius": "hot"}, b"")  # as another program's class of that UUID may be
        a.node.send(busway.endpoint_id("typed"), payload, 1, codes.TYPED, encode(Reading(1.0), b"")[2])
        assert "Reading.celsius" in str((await receiver.receive(60)).error)


@pytest.mark.jumps(False)  # the threads of a Bus take the time they take
@pytest.mark.parametrize("make", [busway.AsyncBus, busway.Bus])
@pytest.mark.parametrize(
    ("misfit", "sentence"),
    [
        (Reading("hot"), r"cannot send Reading\.celsius: expected float, got str$"),  # type: ignore[arg-type]
        (Reading(1.0, None), r"cannot send Reading\.place: expected str, got None$"),  # type: ignore[arg-type]
        (Level("full"), r"cannot send Level\.litres: expected int, got str$"),  # type: ignore[arg-type]
    ],
)
async def test_a_misfit_is_the_error_of_who_made_it(
    make: Any, misfit: Any, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    bus = make(ipc=False)
    await settled(bus.open())
    try:
        receiver = bus.subscribe(type(misfit))
        for call in (bus.publish, bus.request, bus.send):
            with pytest.raises(TypeError, match=sentence):
                await settled(call(type(misfit), misfit))
        with pytest.raises(TimeoutError):
            await settled(receiver.receive(0))
        bus.serve("it", lambda _: misfit)
        with pytest.raises(busway.RemoteError, match=r"cannot send \w+\.\w+: expected"):
            await settled(bus.request("it", reply=type(misfit)))
        await until(lambda: "a handler of it failed" in caplog.text)
        assert "cannot send" in caplog.text
    finally:
        await settled(bus.close())


async def test_cbor_that_is_none_arrives_as_an_error() -> None:
    async with buses() as (a, b):
        receiver = b.register("any")
        await until(lambda: sees(a, "any"))
        a.node.send(busway.endpoint_id("any"), b"\xff\x00", 1, codes.CBOR)
        message = await receiver.receive(60)
        assert isinstance(message.error, busway.PayloadError)
        assert message.payload == b"\xff\x00"


async def test_a_handler_of_types_gets_these_and_callers_hear_of_the_rest() -> None:
    async with buses() as (a, b):

        def level(request: busway.Request) -> Level:
            assert isinstance(request.payload, Reading)
            return Level(int(request.payload.celsius))

        service = b.serve("typed", level, types=(Reading,))
        await until(lambda: sees(a, "typed"))
        assert await a.request("typed", Reading(3.7)) == Level(3)
        for misfit in (Stranger("?"), {"celsius": 1.0}, b"raw"):
            with pytest.raises(busway.Undeliverable) as caught:
                await a.request("typed", misfit)
            assert caught.value.reason == codes.UNREADABLE
            await a.send("typed", misfit)
            await a.send("typed", misfit, confirm=True)
        assert service.unknown == 3
        assert await a.request("typed", Reading(1.2)) == Level(1)


async def test_a_reply_that_does_not_fit_its_type_is_a_payload_error() -> None:
    async with buses() as (a, b):
        b.serve("it", lambda _: {"celsius": "hot"})
        await until(lambda: sees(a, "it"))
        with pytest.raises(busway.PayloadError, match=r"Reading\.celsius"):
            await a.request("it", reply=Reading)


async def test_bad_declarations_show_at_registration_and_register_nothing() -> None:
    async with buses(1) as (a,):
        for call in (
            lambda: a.register("x", types=(Undeclared,)),
            lambda: a.serve("x", print, types=(Undeclared,)),
            lambda: a.register(Undeclared),
        ):
            with pytest.raises(TypeError, match=r"busway\.message"):
                call()
        assert a.endpoints() == []


@pytest.mark.parametrize("payload", [object(), Undeclared("x"), {"a": {1, object()}}], ids=type)
async def test_what_cannot_be_sent_is_the_callers_error(payload: object) -> None:
    async with buses() as (a, b):
        b.register("any")
        await until(lambda: sees(a, "any"))
        for call in (a.send("any", payload), a.publish("other", payload), a.request("any", payload)):
            with pytest.raises(TypeError, match="cannot send"):
                await call
        assert not a.node.origin.pending


async def test_a_process_endpoint_gets_the_very_object_and_a_remote_one_a_copy() -> None:
    async with buses(1) as (a,):
        thing = object()
        inside = a.register("inside", realm="process")
        await a.send("inside", thing)
        assert (await inside.receive()).payload is thing
        raw = bytearray(b"not copied")
        await a.send("inside", raw)
        assert (await inside.receive()).payload is raw
        confirmed = asyncio.create_task(a.send("inside", thing, confirm=True))
        assert (await inside.receive()).payload is thing
        await confirmed

        outside = a.register("outside")
        value = {"list": [1, 2]}
        await a.send("outside", value)
        got = (await outside.receive()).payload
        assert got == value
        assert got is not value


async def test_a_process_endpoint_answers_with_the_very_object() -> None:
    async with buses(1) as (a,):
        things = [object(), object()]

        async def parts(_: busway.Request) -> Any:
            for thing in things:
                yield thing

        a.serve("one", lambda request: request.payload, realm="process")
        a.serve("parts", parts, realm="process")
        subscriber = a.subscribe("all", realm="process")
        assert await a.request("one", things[0]) is things[0]
        assert [part async for part in a.request_stream("parts")] == things
        await a.publish("all", things[1])
        assert (await subscriber.receive()).payload is things[1]


async def test_a_process_endpoint_never_leaves_its_node() -> None:
    async with buses() as (a, b):
        b.register("inside", realm="process")
        b.register("seen")
        await until(lambda: sees(a, "seen"))
        assert not sees(a, "inside")
        with pytest.raises(busway.Undeliverable) as caught:
            await a.send("inside", b"")
        assert caught.value.reason == codes.NO_ENDPOINT
        mine = a.register("inside", realm="process")  # each node may have its own
        await a.send("inside", 1)
        assert (await mine.receive()).payload == 1
