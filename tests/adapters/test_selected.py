"""Messages to what selectors mean, as programs send them: to one, to all, and asked of all."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

import busway
from busway import AsyncBus, Bus, RequestTimeout, Undeliverable, where
from busway.protocol import Node
from busway.protocol.routing.peers import Entry
from tests.adapters.tools import buses, until

pytestmark = pytest.mark.jumps

RENDERER = where("renderer")


async def answering(bus: AsyncBus, name: str, *labels: str, seconds: float = 0.0) -> None:
    async def answer(request: busway.Request) -> object:
        await asyncio.sleep(seconds)
        if request.payload == "fail":
            raise busway.RemoteError(300, "no paper")
        return [bus.label, request.payload]

    bus.serve(name, answer, labels=labels)


async def known(bus: AsyncBus, count: int) -> None:
    """Until the bus sees so many endpoints of others."""
    await until(lambda: sum(found.node != bus.id for found in bus.endpoints()) >= count)


async def test_any_is_the_cheapest_in_turn() -> None:
    async with buses(3) as (a, b, c):
        boxes = [bus.register("box/" + bus.label, labels=["renderer"]) for bus in (b, c)]
        await known(a, 2)
        for number in range(4):
            await a.send(RENDERER, number)
        got = [[(await box.receive()).payload for _ in range(2)] for box in boxes]
        assert sorted(got[0] + got[1]) == [0, 1, 2, 3]


async def test_all_get_a_copy_and_the_result_says_whom_it_went_to() -> None:
    async with buses(3) as (a, b, c):
        boxes = [bus.register("box/" + bus.label, labels=["renderer"]) for bus in (a, b, c)]
        await known(a, 2)
        told = await a.send(RENDERER, {"page": 1}, to="all")
        assert [(each.node, each.name, each.ok) for each in told] == [
            (a.id, "box/a", True),
            (b.id, "box/b", True),
            (c.id, "box/c", True),
        ]
        assert [each.endpoint for each in told] == [busway.endpoint_id("box/" + letter) for letter in "abc"]
        for box in boxes:
            assert (await box.receive()).payload == {"page": 1}
        others = await a.send(RENDERER, b"x", to="all", others_only=True)
        assert [each.node for each in others] == [b.id, c.id]


async def test_with_confirm_each_has_its_verdict_and_a_slow_one_keeps_nobody_waiting() -> None:
    async with buses(3) as (a, b, c):
        box = b.register("box/b", labels=["renderer"])
        slow = c.register("box/c", labels=["renderer"])
        await known(a, 2)
        sending = asyncio.ensure_future(a.send(RENDERER, b"x", to="all", confirm=True, timeout=2.0))
        assert (await box.receive()).payload == b"x"
        told = await sending
        assert told[0].ok
        assert isinstance(told[1].error, busway.DeliveryUnknown)
        assert not told[1].ok
        slow.close()


async def test_nobody_there_is_an_error_and_ttl_waits() -> None:
    async with buses() as (a, b):
        with pytest.raises(
            Undeliverable,
            match="not delivered to renderer and not codec: this selector means nobody within reach",
        ):
            await a.send(RENDERER & ~where("codec"), b"x")
        with pytest.raises(Undeliverable):
            await a.send(RENDERER, b"x", to="all")
        with pytest.raises(Undeliverable):
            await a.request(RENDERER, b"x")
        with pytest.raises(Undeliverable):
            async for _ in a.request_all(RENDERER, b"x"):
                pass
        waiting = [
            asyncio.ensure_future(a.send(RENDERER, b"any", ttl=60.0)),
            asyncio.ensure_future(a.send(RENDERER, b"all", to="all", ttl=60.0)),
        ]
        await asyncio.sleep(5.0)
        box = b.register("box", labels=["renderer"])
        assert {(await box.receive()).payload for _ in range(2)} == {b"any", b"all"}
        assert await waiting[0] is None
        told = await waiting[1]
        assert told is not None
        assert [each.node for each in told] == [b.id]


async def test_request_asks_one_and_request_all_each() -> None:
    async with buses(3) as (a, b, c):
        for bus, seconds in ((a, 0.0), (b, 2.0), (c, 1.0)):
            await answering(bus, "work/" + bus.label, "renderer", seconds=seconds)
        await known(a, 2)
        assert await a.request(RENDERER, 1) == ["a", 1]
        assert (await a.request(RENDERER, 1, others_only=True))[0] in "bc"
        answers = [answer async for answer in a.request_all(RENDERER, 2)]
        assert answers == [(a.id, ["a", 2]), (c.id, ["c", 2]), (b.id, ["b", 2])]
        answers = [answer async for answer in a.request_all(RENDERER, 2, others_only=True, timeout=1.5)]
        assert answers[0] == (c.id, ["c", 2])
        node, error = answers[1]
        assert node == b.id
        assert isinstance(error, RequestTimeout)


@pytest.mark.jumps(needed=True)
async def test_request_all_tells_failures_beside_replies() -> None:
    async with buses() as (a, b):
        await answering(a, "work/a", "renderer")
        await answering(b, "work/b", "renderer")
        b.register("box/b", labels=["renderer"])  # answers nothing
        await known(a, 2)
        told = [answer async for answer in a.request_all(RENDERER, "fail")]
        assert len(told) == 3
        assert sorted(error.code for _, error in told if isinstance(error, busway.RemoteError))[:2] == [
            300,
            300,
        ]
        typed = [answer async for answer in a.request_all(RENDERER, "x", reply=int)]
        assert sum(isinstance(error, busway.PayloadError) for _, error in typed) == 2


async def test_who_leaves_the_iteration_cancels_the_others() -> None:
    async with buses(3) as (a, b, c):
        cancelled: list[str] = []

        def slow(bus: AsyncBus, seconds: float) -> None:
            async def answer(request: busway.Request) -> str:
                try:
                    await asyncio.sleep(seconds)
                except asyncio.CancelledError:
                    cancelled.append(bus.label)
                    raise
                return bus.label

            bus.serve("work/" + bus.label, answer, labels=["renderer"])

        slow(b, 1.0)
        slow(c, 100.0)
        await known(a, 2)
        async with contextlib.aclosing(a.request_all(RENDERER)) as answers:
            async for node, reply in answers:
                assert (node, reply) == (b.id, "b")
                break
        await until(lambda: cancelled == ["c"])
        assert not a.node.origin.pending


async def test_a_stream_of_one_that_is_meant() -> None:
    async with buses() as (a, b):

        def count(request: busway.Request) -> Any:
            yield from range(3)

        b.serve("count", count, labels=["renderer"])
        await known(a, 1)
        assert [part async for part in a.request_stream(RENDERER)] == [0, 1, 2]


async def test_an_endpoint_of_realm_process_gets_the_object_itself() -> None:
    async with AsyncBus(ipc=False) as bus:
        box = bus.register("box", realm="process", labels=["renderer"])
        payload = {"key": "value"}
        await bus.send(RENDERER, payload, to="all")
        assert (await box.receive()).payload is payload
        await bus.send(RENDERER, payload)
        assert (await box.receive()).payload == payload


async def test_who_is_gone_in_the_meantime_is_told_as_such() -> None:
    async with buses(3) as (a, b, c):
        boxes = [bus.register("box/" + bus.label, labels=["renderer"], queue=8) for bus in (b, c)]
        await known(a, 2)
        first = asyncio.ensure_future(asyncio.gather(*(a.send(RENDERER, n, to="all") for n in range(40))))
        await asyncio.sleep(0.1)
        boxes[1].close()
        for _ in range(40):
            await boxes[0].receive()
        told = await first
        assert all(each[0].ok for each in told)
        assert isinstance(told[-1][1].error, Undeliverable)
        assert [each.node for each in await a.send(RENDERER, 1, to="all")] == [b.id]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda bus: bus.send("box", 1, to="all"), ValueError, 'to="all" goes with a selector'),
        (lambda bus: bus.send("box", 1, others_only=True), ValueError, "others_only goes with a selector"),
        (lambda bus: bus.request("box", 1, others_only=True), ValueError, "others_only goes with"),
        (lambda bus: bus.send(RENDERER, 1, to="each"), ValueError, 'to must be "any" or "all"'),
        (lambda bus: bus.send(RENDERER, 1, others_only=1), TypeError, "True or False"),
        (lambda bus: bus.send(RENDERER, 1, to="all", node=b"n" * 16), ValueError, "leave it out"),
        (lambda bus: bus.send(RENDERER, 1, to="all", sealed=True), ValueError, "with node=each.node"),
        (lambda bus: bus.send(RENDERER, 1, sealed=True), ValueError, "with node=each.node"),
        (lambda bus: bus.request(RENDERER, 1, sealed="door"), ValueError, "with node=each.node"),
        (lambda bus: anext(bus.request_stream(RENDERER, 1, sealed=True)), ValueError, "with node=each.node"),
        (lambda bus: anext(bus.request_all(RENDERER, 1, sealed=True)), ValueError, "with node=each.node"),
        (lambda bus: bus.send(RENDERER, 1, node=b"n" * 16), ValueError, "picks the node itself"),
        (lambda bus: bus.publish(RENDERER, 1), ValueError, "goes with send and request"),
        (lambda bus: anext(bus.request_all("box", 1)), TypeError, "a selector was expected"),
        (lambda bus: bus.send(RENDERER, object(), to="all"), TypeError, "cannot send"),
        (lambda bus: bus.send(RENDERER, 1, to="all", confirm=1), TypeError, "True or False"),
    ],
)
async def test_misuse_is_told_at_once(call: Any, error: type[Exception], text: str) -> None:
    async with AsyncBus(ipc=False) as bus:
        with pytest.raises(error, match=text):
            await call(bus)
        with pytest.raises((TypeError, ValueError)):
            bus.register(RENDERER)  # type: ignore[call-overload]


async def test_sending_again_to_all_looks_at_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, each one made a table of all endpoints that there are."""
    looked: list[Node] = []
    all_of = Node.entries

    def entries(node: Node) -> list[Entry]:
        looked.append(node)
        return all_of(node)

    async with buses(2) as (a, b):
        b.register("far", labels={"renderer"})
        a.register("near", labels={"renderer"})
        await until(lambda: len(a.node.matches(RENDERER.address())) == 2)
        monkeypatch.setattr(Node, "entries", entries)
        told = await a.send(RENDERER, 1, to="all")
        assert sorted(each.name for each in told) == ["far", "near"]
        assert looked == []


def test_a_bus_of_threads_seals_for_no_selector_either() -> None:
    with Bus(ipc=False) as bus:
        for call in (bus.send, bus.request):
            with pytest.raises(ValueError, match=r"with node=each\.node"):
                call(RENDERER, 1, sealed=True)
        with pytest.raises(ValueError, match=r"with node=each\.node"):
            next(bus.request_all(RENDERER, 1, sealed=True))


def test_with_threads_it_is_the_same() -> None:
    with Bus(ipc=False, label="here") as bus:
        bus.serve("work", lambda request: [request.payload], labels=["renderer"])
        box = bus.register("box", labels=["codec"])
        bus.send(where("codec"), b"any")
        told = bus.send(where("codec"), b"all", to="all")
        assert [(each.name, each.ok) for each in told] == [("box", True)]
        assert [box.receive().payload for _ in range(2)] == [b"any", b"all"]
        assert bus.request(RENDERER, 1) == [1]
        assert bus.request_future(RENDERER, 1).result() == [1]
        assert list(bus.request_all(RENDERER, 2)) == [(bus.id, [2])]
        with pytest.raises(Undeliverable):
            bus.send(where("codec"), b"x", to="all", others_only=True)
        with pytest.raises(Undeliverable):
            bus.request(RENDERER, 1, others_only=True)
        with pytest.raises(ValueError, match="goes with a selector"):
            bus.send("box", 1, to="all")  # type: ignore[call-overload]
        answers = bus.request_all(where("renderer"), 3)
        next(answers)
        answers.close()
        assert not bus.node.origin.pending
