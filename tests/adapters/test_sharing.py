"""Large payloads between programs of one machine: they lie in memory that both sides see, and everything but
the time it takes is as if their bytes had been sent.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import fcntl
import gc
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest

import busway
from busway import AsyncBus, Bus, Limits
from busway.adapters.sharing import Sharing, Unread, most_of
from busway.adapters.tap import PAYLOAD_MAX, TAP_NAME, Tapped
from busway.drivers import Pair
from busway.drivers.descriptors import Descriptor
from busway.drivers.unix import UnixChannel
from busway.memory import memfd
from busway.memory.large import DESCRIPTORS_MAX
from busway.memory.mapping import place_of
from busway.memory.pool import Pool
from busway.protocol import Link, Node, codes
from busway.protocol.wire.things import SHARED_MIN
from tests.adapters.tools import Program, buses, sees, until
from tests.rigs import held

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only there memory is shared by itself"),
    pytest.mark.usefixtures("patient"),
]

SIZE = 1 << 20
LARGE = bytes(range(256)) * (SIZE // 256)
OFF = Limits(shared_memory=False)


@busway.message(name="test/frame")
@dataclass
class Frame:
    """A picture."""

    number: int
    pixels: numpy.ndarray


def report(bus: AsyncBus | Bus) -> Any:
    return bus.node.report(0)


def memory(bus: AsyncBus | Bus) -> Any:
    """The part of a node's report about it."""
    return report(bus)["memory"]


def pool_of(bus: AsyncBus) -> Pool:
    assert bus._host.sharing is not None
    large = bus._host.sharing._memory()
    assert large is not None
    return large.pool


def pair() -> tuple[UnixChannel, UnixChannel]:
    one, other = socket.socketpair()
    for each in (one, other):
        each.setblocking(False)
    return UnixChannel(one, "ipc:pair", dialled=True), UnixChannel(other, "ipc:pair", dialled=False)


@contextlib.asynccontextmanager
async def two(one: Limits | None = None, other: Limits | None = None) -> AsyncIterator[list[AsyncBus]]:
    """Two buses of this process, over a real socket."""
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for name, limits in (("a", one), ("b", other)):
            bus = AsyncBus(ipc=False, node_id=name.encode() * 16, label=name, limits=limits)
            made.append(await stack.enter_async_context(bus))
        ours, theirs = pair()
        await asyncio.gather(made[0].attach(ours).ready, made[1].attach(theirs).ready)
        yield made


@contextlib.asynccontextmanager
async def crowd(count: int) -> AsyncIterator[list[AsyncBus]]:
    """The first bus has a real socket to each of `count` others."""
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for name in range(count + 1):
            bus = AsyncBus(ipc=False, node_id=bytes([name + 1] * 16), label=f"{name}")
            made.append(await stack.enter_async_context(bus))
        for other in made[1:]:
            ours, theirs = pair()
            await asyncio.gather(made[0].attach(ours).ready, other.attach(theirs).ready)
        yield made


# What arrives


async def test_bytes_arrive_as_bytes_and_can_be_looked_at_without_a_copy() -> None:
    async with two() as (a, b), b.register("lab/large") as receiver:
        await a.send("lab/large", LARGE, ttl=10)
        message = await receiver.receive()
        view = message.view
        assert (type(view), view.readonly, view == LARGE) == (memoryview, True, True)
        payload = message.payload
        assert (type(payload), payload == LARGE) == (bytes, True)
        assert message.payload is payload
        assert (memory(a)["given"], memory(b)["taken"]) == (1, 1)
        assert memory(a)["size"] == SIZE


@pytest.mark.parametrize(
    ("payload", "kind"), [("text", "str"), ({"a": 1}, "dict"), (None, "NoneType"), ("x" * 100_000, "str")]
)
async def test_what_has_no_view_says_so(payload: Any, kind: str) -> None:
    async with two() as (a, b), b.register("lab/large") as receiver:
        await a.send("lab/large", payload, ttl=10)
        message = await receiver.receive()
        with pytest.raises(TypeError, match=f"^only bytes and arrays have a view, not .* of type {kind}$"):
            _ = message.view
        assert message.payload == payload


@pytest.mark.parametrize(
    "payload",
    [
        bytearray(LARGE),
        memoryview(LARGE)[5:],
        memoryview(bytearray(LARGE))[::2],
        array.array("d", range(100_000)),
        numpy.arange(300_000, dtype="f4").reshape(3, 100, 1000),
        numpy.zeros((1080, 1920, 3), dtype="u1"),
        {"frame": numpy.ones((600, 700)), "number": 7, "text": "x" * 100_000},
        ["many", b"x" * 300_000],
        "text" * 50_000,
        Frame(3, numpy.full((300, 400), 7, dtype="u2")),
    ],
    ids=lambda payload: type(payload).__name__,
)
async def test_all_sorts_of_payloads_arrive_as_ever(payload: Any) -> None:
    async with two() as (a, b), b.register("lab/large") as receiver:
        await a.send("lab/large", payload, ttl=10)
        shared = (await receiver.receive()).payload
        assert memory(b)["taken"] == 1
    async with two(OFF, OFF) as (a, b), b.register("lab/large") as receiver:
        await a.send("lab/large", payload, ttl=10)
        plain = (await receiver.receive()).payload
        assert memory(b)["taken"] == 0
    assert type(shared) is type(plain)
    assert same(shared, plain)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, numpy.ndarray):
        return one.dtype == other.dtype and bool(numpy.array_equal(one, other)) and not one.flags.writeable
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, Frame):
        return one.number == other.number and same(one.pixels, other.pixels)
    return bool(one == other)


async def test_an_array_is_a_view_of_the_memory_that_was_shared() -> None:
    async with two() as (a, b), b.register("lab/large") as receiver:
        await a.send("lab/large", numpy.full((500, 500), 3, dtype="u2"), ttl=10)
        message = await receiver.receive()
        frame = message.payload
        assert (message.view.shape, message.view.readonly) == ((500, 500), True)
        del message
        await until(lambda: (memory(b)["leases"], memory(a)["held"]) == (1, 1))
        assert frame.sum() == 750_000
        with pytest.raises(ValueError, match="read-only"):
            frame[0, 0] = 1
        del frame
        gc.collect()
        assert (memory(b)["leases"], memory(a)["held"]) == (0, 0)


async def test_what_its_sender_changes_afterwards_is_not_seen() -> None:
    async with two() as (a, b), b.register("lab/large") as receiver:
        mine = bytearray(LARGE)
        pixels = numpy.ones((500, 500), dtype="u2")
        await a.send("lab/large", mine, ttl=10)
        await a.send("lab/large", pixels)
        mine[:] = bytes(SIZE)
        pixels[:] = 0
        first, second = await receiver.receive(), await receiver.receive()
        assert first.view == LARGE
        assert second.payload.all()


async def test_answers_and_parts_too() -> None:
    async with two() as (a, b):
        b.serve("lab/echo", lambda request: request.payload)

        async def parts(request: Any) -> AsyncIterator[Any]:
            for number in range(3):
                yield numpy.full(100_000, number)
                yield LARGE

        b.serve("lab/parts", parts)
        for payload in (LARGE, bytearray(LARGE), numpy.arange(200_000)):
            answer = await a.request("lab/echo", payload, ttl=10)
            assert same(answer, payload)
            assert type(answer) in (bytes, numpy.ndarray)
        found = [part async for part in a.request_stream("lab/parts", ttl=10)]
        assert [part[5] for part in found] == [0, LARGE[5], 1, LARGE[5], 2, LARGE[5]]
        assert memory(a)["given"] == memory(b)["taken"] == 3
        assert memory(b)["given"] == memory(a)["taken"] == 9


async def test_confirmed_ones_and_those_with_a_priority_a_name_or_files() -> None:
    async with two() as (a, b), b.subscribe("lab/*") as receiver, b.register("one") as one:
        await until(lambda: sees(a, "lab/*"))
        await a.publish("lab/1", LARGE, priority="high")
        await a.publish("lab/2", LARGE, realm="userspace")
        await a.publish("lab/3", LARGE, files=[2])
        messages = [await receiver.receive() for _ in range(3)]
        assert [message.name for message in messages] == ["lab/1", "lab/2", "lab/3"]
        assert all(message.payload == message.view == LARGE for message in messages)
        messages[2].files[0].close()
        sent = asyncio.create_task(a.send("one", LARGE, confirm=True))
        assert (await one.receive()).payload == LARGE
        await sent
        assert memory(b)["taken"] == 4


async def test_last_values_are_bytes_which_stay_without_holding_memory() -> None:
    async with two() as (a, b):
        await a.publish("lab/last", bytearray(LARGE), retain=True)
        async with b.subscribe("lab/last") as receiver:
            message = await receiver.receive()
            assert message.retained
            assert message.payload == LARGE
        del message
        await until(lambda: memory(a)["held"] == 0)


async def test_within_one_program_it_is_as_ever() -> None:
    async with two() as (a, _), a.register("own") as receiver:
        for payload in (LARGE, bytearray(LARGE), bytearray(b"small")):
            await a.send("own", payload)
            message = await receiver.receive()
            assert (type(message.payload), message.payload) == (bytes, bytes(payload))
            assert bytes(message.view) == payload


# One copy, however many get it


async def test_many_subscribers_look_at_one_copy() -> None:
    async with contextlib.AsyncExitStack() as stack:
        a = await stack.enter_async_context(AsyncBus(ipc=False, label="a"))
        others = []
        for number in range(5):
            b = await stack.enter_async_context(AsyncBus(ipc=False, label=f"b{number}"))
            ours, theirs = pair()
            await asyncio.gather(a.attach(ours).ready, b.attach(theirs).ready)
            others.append((b, b.subscribe("lab/frames")))
        await until(lambda: sum(found.name == "lab/frames" for found in a.endpoints()) == 5)
        for payload in (LARGE, bytearray(LARGE)):
            await a.publish("lab/frames", payload)
            messages = [await receiver.receive() for _, receiver in others]
            assert [message.view == LARGE for message in messages] == [True] * 5
            await until(lambda: memory(a)["held"] == 1)
            assert (memory(a)["regions"], memory(a)["size"]) == (1, SIZE)
            messages.clear()
        assert [memory(b)["taken"] for b, _ in others] == [2] * 5


async def test_a_router_hands_on_what_it_does_not_copy() -> None:
    async with contextlib.AsyncExitStack() as stack:
        a, r, b = [
            await stack.enter_async_context(AsyncBus(ipc=False, transit=True, label=label)) for label in "arb"
        ]
        for one, other in ((a, r), (r, b)):
            ours, theirs = pair()
            await asyncio.gather(one.attach(ours).ready, other.attach(theirs).ready)
        async with b.register("lab/large") as receiver, b.subscribe("lab/frames") as frames:
            await a.send("lab/large", LARGE, ttl=10)
            await until(lambda: sees(a, "lab/frames"))
            await a.publish("lab/frames", numpy.ones(100_000))
            assert (await receiver.receive()).view == LARGE
            assert (await frames.receive()).payload.sum() == 100_000
        assert (memory(r)["given"], memory(r)["size"], memory(r)["taken"]) == (0, 0, 2)
        gc.collect()
        await until(lambda: memory(a)["held"] == 0)


async def test_a_region_of_a_registry_is_not_copied_at_all() -> None:
    registry = busway.Registry()
    async with two() as (a, b), b.register("lab/large") as receiver:
        await until(lambda: sees(a, "lab/large"))
        for number in range(10):
            with registry.take(SIZE) as region:
                view = region.view[:SIZE]
                view[:5] = b"%05d" % number
                await a.send("lab/large", view)
                del view
            message = await receiver.receive()
            assert message.view[:5] == b"%05d" % number
            del message, region
        assert memory(a)["size"] == 0
        assert registry.size == SIZE


async def test_arrays_on_pages_that_others_see_go_as_they_are() -> None:
    """Alone where they came so; an array on a region as its bytes, for what stands before it in a payload
    does not stand before it there.
    """
    async with two() as (a, b), b.register("lab/large") as there, a.register("lab/back") as back:
        for value in (
            numpy.ones((300, 400), "u2"),
            Frame(3, numpy.ones((300, 400))),
            {"number": 1, "pixels": numpy.ones(70_000)},
        ):
            await a.send("lab/large", value, ttl=10)
            came = (await there.receive()).payload
            await b.send("lab/back", came, ttl=10)
            again = (await back.receive()).payload
            assert same(came, again)
            assert (memory(b)["regions"], memory(b)["size"]) == (0, 0)
        region = busway.Region(SIZE)
        pixels = numpy.ndarray((512, 1024), "u2", region.view)
        await a.send("lab/large", pixels[:256].view("u1").data.cast("B"))
        message = await there.receive()
        pixels[0, 0] = 7
        assert bytes(message.view[:2]) == b"\7\0"
        size = memory(a)["size"]
        await a.send("lab/large", pixels)
        message = await there.receive()
        pixels[0, 0] = 8
        assert message.payload[0, 0] == 7  # copied
        assert memory(a)["size"] > size


async def test_an_array_of_a_registry_is_not_copied_whatever_it_is_sent_in() -> None:
    registry = busway.Registry()
    async with two() as (a, b), b.register("lab/large") as receiver:
        await until(lambda: sees(a, "lab/large"))
        for number in range(5):
            for form in (lambda pixels: pixels, lambda pixels: {"a": 1, "p": pixels, "z": 2}, as_frame):
                pixels = registry.array((400, 300), "f4")
                pixels[:] = number
                await a.send("lab/large", form(pixels))
                message = await receiver.receive()
                found = message.payload
                assert same(found, form(shown(pixels)))
                pixels[0, 0] = 7
                assert array_in(found)[0, 0] == 7
                assert array_in(found).flags.aligned
                del message, found, pixels
        assert memory(a)["size"] == 0
        assert registry.size == 1 << 19


def as_frame(pixels: Any) -> Frame:
    return Frame(3, pixels)


def shown(pixels: Any) -> Any:
    """The same as it comes to others: it cannot be written."""
    found = pixels.copy()
    found.flags.writeable = False
    return found


def array_in(value: Any) -> Any:
    return value["p"] if isinstance(value, dict) else getattr(value, "pixels", value)


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
async def test_other_links_carry_what_lies_in_memory_as_bytes(scheme: str) -> None:
    """Sealed, protected or plain; the sender has a link that shares, so its payloads lie in memory."""
    async with two() as (a, b), AsyncBus(ipc=False, label="far") as far:
        listener = await far.listen(f"{scheme}://127.0.0.1:0", token="a-token-of-the-tests-of-16")
        await a.connect(listener.url, token="a-token-of-the-tests-of-16")
        async with far.register("far", realm="global") as mail, b.register("near") as near:
            own = busway.Registry().array(100_000, "u4")
            own[:] = 5
            for payload in (bytearray(LARGE), numpy.arange(400_000), {"x": numpy.ones(100_000)}, {"y": own}):
                await a.send("far", payload, ttl=10)
                await a.send("near", payload, ttl=10)
                there, here = await mail.receive(), await near.receive()
                assert same(there.payload, here.payload)
                assert type(there.payload) is type(here.payload)
            assert (memory(far), memory(b)["taken"]) == ({}, 4)


async def test_sealed_ones_are_shared_and_opened_from_a_copy() -> None:
    keys = [busway.Key.new() for _ in range(2)]
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for key in keys:
            bus = AsyncBus(ipc=False, key=key, seal=[each.text for each in keys])
            made.append(await stack.enter_async_context(bus))
        a, b = made
        ours, theirs = pair()
        await asyncio.gather(a.attach(ours).ready, b.attach(theirs).ready)
        b.serve("lab/echo", lambda request: request.payload, sealed=True)
        async with b.register("mail", sealed=True) as mail, b.subscribe("news", sealed=True) as news:
            pixels = numpy.arange(200_000)
            await a.send("mail", pixels, sealed=True, ttl=10)
            assert numpy.array_equal((await mail.receive()).payload, pixels)
            await a.send("mail", bytearray(LARGE), sealed=True)
            assert (await mail.receive()).payload == LARGE
            assert await a.request("lab/echo", LARGE, sealed=True) == LARGE
            await until(lambda: sees(a, "news"))
            await a.publish("news", bytearray(LARGE), sealed=True)
            assert (await news.receive()).payload == LARGE
        assert memory(b)["taken"] == 4


async def test_who_listens_to_all_sees_the_beginning_of_what_is_shared() -> None:
    async with two() as (a, b), b.register("lab/large") as receiver:
        watch = b.register(TAP_NAME, "anycast", "userspace")
        await until(lambda: isinstance(a._host.node, Tapped))
        await a.send("lab/large", bytearray(LARGE[:100_000]), ttl=10)
        assert (await receiver.receive()).view == LARGE[:100_000]
        record = (await watch.receive()).payload
        assert (record["size"], record["payload"]) == (100_000, LARGE[:PAYLOAD_MAX])


# Bounds


@pytest.mark.parametrize(("one", "other"), [(OFF, None), (None, OFF), (OFF, OFF)])
async def test_turned_off_all_is_as_before(one: Limits | None, other: Limits | None) -> None:
    async with two(one, other) as (a, b), b.register("lab/large") as receiver:
        for payload in (LARGE, bytearray(LARGE)):
            await a.send("lab/large", payload, ttl=10)
            assert (await receiver.receive()).view == LARGE
        for bus in (a, b):
            found = memory(bus)
            if bus.node.limits.shared_memory == 0:
                assert [found[name] for name in ("size", "given", "mapped", "leases")] == [0] * 4


async def test_where_the_system_has_no_such_memory_all_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    from busway.memory import large

    monkeypatch.setattr(large, "missing", lambda: "none here")
    async with two() as (a, b), b.register("lab/large") as receiver:
        for payload in (LARGE, numpy.frombuffer(LARGE, "u1")):
            await a.send("lab/large", payload, ttl=10)
            assert bytes((await receiver.receive()).payload) == LARGE
        assert [memory(a)[name] for name in ("size", "size_max", "given")] == [0] * 3
        assert memory(b)["taken"] == 0


async def test_a_system_without_such_memory_is_told_before_anything_was_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with two() as (a, _):
        assert memory(a)["size_max"] > 0
        with none_left():
            assert memory(a)["size_max"] > 0  # as yet nobody knows
        monkeypatch.delattr(os, "memfd_create")
        assert memory(a)["size_max"] == 0


async def test_beyond_the_bound_bytes_go_as_bytes_in_the_same_order() -> None:
    async with two(Limits(shared_memory=3 * SIZE)) as (a, b), b.register("lab/large") as receiver:
        await until(lambda: sees(a, "lab/large"))
        for number in range(12):
            await a.send("lab/large", bytes([number]) * SIZE)
        await until(lambda: report(b)["counters"]["received"] >= 12)
        found = [await receiver.receive() for _ in range(12)]
        assert [message.view[-1] for message in found] == list(range(12))
        assert (memory(a)["given"], memory(a)["size"], memory(a)["held"]) == (3, 3 * SIZE, 3)
        assert memory(b)["taken"] == 3
        found.clear()
        await a.send("lab/large", LARGE)
        assert (await receiver.receive()).view == LARGE
        assert (memory(a)["given"], memory(a)["size"]) == (4, 3 * SIZE)


async def test_the_bound_counts_blocks_whose_sizes_are_powers_of_two() -> None:
    """As docs/howto/shared-memory.md says of frames."""
    frame = numpy.zeros((1080, 1920, 3), "u1")
    for room, count in ((24 << 20, 3), ((24 << 20) - 1, 2)):
        async with two(Limits(shared_memory=room)) as (a, b), b.register("lab/large") as receiver:
            kept = []
            for _ in range(4):
                await a.send("lab/large", frame, ttl=10)
                kept.append(await receiver.receive())
            assert (memory(a)["regions"], memory(a)["size"]) == (count, count * (8 << 20))
            kept.clear()


async def test_a_slow_subscriber_holds_back_what_waits_for_it_and_nobody_else() -> None:
    async with contextlib.AsyncExitStack() as stack:
        a, slow, quick = [
            await stack.enter_async_context(AsyncBus(ipc=False, label=label))
            for label in ("a", "slow", "quick")
        ]
        receivers = []
        for b in (slow, quick):
            ours, theirs = pair()
            await asyncio.gather(a.attach(ours).ready, b.attach(theirs).ready)
            receivers.append(b.subscribe("lab/frames", queue=4))
        await until(lambda: sum(found.name == "lab/frames" for found in a.endpoints()) == 2)
        for number in range(40):
            await a.publish("lab/frames", bytes([number]) * SIZE)
            assert (await receivers[1].receive()).view[7] == number
        await until(lambda: report(slow)["counters"]["received"] == 40)
        assert receivers[1].dropped == 0
        assert receivers[0].dropped == 36
        assert memory(a)["held"] == 4
        assert memory(a)["size"] <= 8 * SIZE
        kept = [await receivers[0].receive() for _ in range(4)]
        assert [message.view[7] for message in kept] == [36, 37, 38, 39]
        kept.clear()
        assert memory(a)["held"] == 0


def test_by_default_a_quarter_of_the_memory_is_shared_and_at_most_a_gigabyte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert most_of(Limits(shared_memory=5)) == 5
    assert most_of(OFF) == 0
    monkeypatch.setattr(os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 100_000)
    assert most_of(Limits()) == most_of(Limits(shared_memory=True)) == 102_400_000
    monkeypatch.setattr(os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 100_000_000)
    assert most_of(Limits()) == 1 << 30
    monkeypatch.setattr(sys, "platform", "darwin")  # there it is not known when memory can be used again
    assert most_of(Limits()) == most_of(Limits(shared_memory=5)) == 0


async def test_what_is_idle_is_given_back_and_no_descriptor_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from busway.adapters import sharing
    from busway.memory import cache

    monkeypatch.setattr(sharing, "SWEEP_S", 0.01)
    monkeypatch.setattr(cache, "IDLE_S", 0.01)
    async with two() as (a, b), b.register("lab/large") as receiver:
        await until(lambda: sees(a, "lab/large"))
        before = held.count()
        for _ in range(2):
            await a.send("lab/large", LARGE)
            assert (await receiver.receive()).payload == LARGE
            pool_of(a).idle_s = 0.01
            await until(lambda: memory(a)["size"] == memory(b)["mapped"] == 0)
            assert held.count() == before


async def test_what_was_made_for_nobody_but_this_program_is_given_back_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from busway.adapters import sharing

    monkeypatch.setattr(sharing, "SWEEP_S", 0.01)
    async with two() as (a, _), a.register("own") as receiver:
        await a.send("own", bytearray(LARGE))
        assert (await receiver.receive()).payload == LARGE
        assert (memory(a)["given"], memory(a)["size"]) == (0, SIZE)
        pool_of(a).idle_s = 0.01
        await until(lambda: memory(a)["size"] == 0)


# Programs

OTHER = """
import busway, numpy
async def main():
    async with busway.AsyncBus(label="other") as bus:
        kept = []
        async with bus.subscribe("frames") as frames, bus.register("mail") as mail:
            say("ready")
            while (line := await heard()) != "leave":
                if line == "keep":
                    kept.append((await frames.receive()).payload)
                elif line == "mail":
                    kept.append((await mail.receive()).view)
                elif line == "publish":
                    await bus.publish("back", numpy.full(200_000, 5, dtype="u4"))
                say(*(int(each[0]) for each in kept), bus.node.report(0)["memory"]["taken"])
asyncio.run(main())
"""


def memfds() -> int:
    """Descriptors of shared memory that this process has open."""
    return sum("memfd:busway" in each for each in held.descriptors().values())


async def test_who_is_killed_leaves_nothing() -> None:
    before = memfds()  # of tests before, whose programs hang on purpose
    async with AsyncBus(label="tester") as bus, bus.subscribe("back") as back:
        async with Program(OTHER) as other:
            await other.expect("ready")
            await until(lambda: sees(bus, "frames") and sees(bus, "mail"))
            for number in range(3):
                await bus.publish("frames", numpy.full(200_000, number, dtype="u4"))
                await other.tell("keep")
                await other.line()
            await bus.send("mail", LARGE)
            await bus.send("mail", LARGE[1:])  # waits there
            await other.tell("mail")
            while (found := await other.line()) != "0 1 2 0 5":
                assert found == "0 1 2 0 4"  # the second is on its way
                await other.tell("look")
            await until(lambda: memory(bus)["held"] == 5)
            await until(lambda: sees(bus, "mail"))
            await other.tell("publish")
            await other.line()
            came = (await back.receive()).payload
            assert memory(bus)["mapped"] == 1 << 20
            await other.kill()
            await until(lambda: memory(bus)["held"] == 0)
            await until(lambda: not sees(bus, "mail"))
        assert (came == 5).all()  # what a killed program has sent stays
        assert memory(bus)["mapped"] == 1 << 20  # and is told of
        del came
        gc.collect()
        assert memory(bus)["leases"] == memory(bus)["mapped"] == 0  # nothing more of that one is kept
        assert memfds() - before == memory(bus)["regions"]
    assert not [name for name in os.listdir("/dev/shm") if "busway" in name]


async def test_who_is_stopped_holds_a_quarter_of_what_may_be_shared_and_no_more() -> None:
    """Its socket has room for all announcements; the others get what is announced as before."""
    async with AsyncBus(label="tester") as bus, AsyncBus(label="viewer") as viewer, Program(OTHER) as other:
        await other.expect("ready")
        async with viewer.subscribe("frames") as frames:
            await until(lambda: sum(found.name == "frames" for found in bus.endpoints()) == 2)
            os.kill(other.pid, signal.SIGSTOP)
            for number in range(300):
                await bus.publish("frames", number.to_bytes(2, "big") * (SHARED_MIN // 2))
                assert (await frames.receive()).view[:2] == number.to_bytes(2, "big")
            link = max(bus.node.connections, key=lambda each: len(each.broadcasts))
            waits = len(link.broadcasts) + 1  # and the newest that has found no room
            await until(lambda: memory(bus)["held"] == DESCRIPTORS_MAX // 4 + waits)
            assert waits < 20
            assert memory(bus)["given"] == memory(viewer)["taken"] == 300
            os.kill(other.pid, signal.SIGCONT)
            await other.tell("keep")
            await other.line()  # it goes on as if nothing had been


def test_what_has_not_been_read_is_known_by_the_writes_it_went_with() -> None:
    ours, theirs = pair()
    with contextlib.closing(ours), contextlib.closing(theirs):
        going: list[Descriptor] = []
        ours.carry(lambda came: None, lambda: [going.pop()] if going else [])
        theirs.carry(lambda came: None, list)

        def announced(unread: Unread, sizes: list[int]) -> list[bool]:
            """Which of them are, 4 and 1,000 bytes at the most."""
            said = []
            for size in sizes:
                said.append(not unread.lags(size, 4, 1000))
                if said[-1]:
                    going.append(Descriptor(os.dup(1)))
                    assert ours.write(b"x") == 1
            return said

        def read(count: int) -> None:
            for _ in range(count):
                assert theirs.read() == b"x"

        many = Unread(ours)
        assert announced(many, [100] * 6) == [True] * 4 + [False] * 2
        read(3)  # they may be less: how much of the room one takes is not known exactly
        assert announced(many, [100]) == [True]
        read(2)
        found = announced(many, [100] * 4)
        assert found[:2] == [True] * 2
        read(sum(found))
        large = Unread(ours)
        assert announced(large, [10_000, 1]) == [True, False]  # the first one always
        read(1)
        assert announced(large, [999, 1, 1]) == [True, True, False]
        large.take_back()
        assert announced(large, [1]) == [True]
        late = Unread(ours)
        assert announced(late, [1000]) == [True]
        # What lies before more than a socket holds has been read.
        assert announced(late, [1 << 20, 1 << 20, 5, 1 << 20, 1]) == [False, False, True, True, False]


async def test_what_others_have_sent_stays_mapped_when_a_link_ends() -> None:
    """It would have to be mapped anew, at the cost of a fault of the processor for each page."""
    async with contextlib.AsyncExitStack() as stack:
        a, b, c = [await stack.enter_async_context(AsyncBus(ipc=False, label=label)) for label in "abc"]
        links = []
        for other in (b, c):
            ours, theirs = pair()
            links.append(a.attach(ours))
            await asyncio.gather(links[-1].ready, other.attach(theirs).ready)
        async with a.register("lab/large") as receiver:
            await b.send("lab/large", LARGE, ttl=10)
            await receiver.receive()
            await c.send("lab/large", LARGE[: SIZE // 2], ttl=10)
            await receiver.receive()
            assert memory(a)["mapped"] == SIZE + SIZE // 2
            async with AsyncBus(ipc=False, label="tool") as tool:  # as `busway nodes` comes and goes
                ours, theirs = pair()
                await asyncio.gather(a.attach(ours).ready, tool.attach(theirs).ready)
            await until(lambda: len(report(a)["links"]) == 2)
            assert memory(a)["mapped"] == SIZE + SIZE // 2
            links[0].close()
            await until(lambda: memory(a)["mapped"] == SIZE // 2)
            await c.send("lab/large", LARGE[: SIZE // 2], ttl=10)
            await receiver.receive()
            links[1].close()
            await until(lambda: memory(a)["mapped"] == 0)


BARE = """
sys.modules["_ctypes"] = None  # as where Python was built without libffi
import busway
async def main():
    async with busway.AsyncBus(label="bare") as bus:
        async def echo(request):
            return request.payload[::-1]
        bus.serve("echo", echo)
        say("ready")
        await heard()
        memory = bus.node.report(0)["memory"]
        say(memory["size_max"], memory["given"], memory["taken"])
asyncio.run(main())
"""


async def test_a_python_without_ctypes_copies_what_comes_and_sends_bytes() -> None:
    async with AsyncBus(label="tester") as bus, Program(BARE) as other:
        await other.expect("ready")
        await until(lambda: sees(bus, "echo"))
        for _ in range(3):
            assert await bus.request("echo", LARGE) == LARGE[::-1]
        assert (memory(bus)["given"], memory(bus)["taken"]) == (3, 0)
        await other.tell("leave")
        assert await other.line() == "0 0 3"


class NoneLeft:
    """Finds no module of shared memory, as where no descriptor is left to open its file."""

    def find_spec(self, name: str, *_: object) -> None:
        if name.startswith("busway.memory."):
            raise OSError(errno.EMFILE, "no descriptor is left")


@contextlib.contextmanager
def none_left() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.startswith("busway.memory.")]:
            patch.delitem(sys.modules, name)
        patch.setattr(sys, "meta_path", [NoneLeft(), *sys.meta_path])
        yield


async def test_without_a_descriptor_to_load_it_nothing_is_shared_for_now() -> None:
    async with two() as (a, b), b.register("lab/large") as receiver:
        with none_left():
            await a.send("lab/large", LARGE, ttl=10)
            assert (await receiver.receive()).payload == LARGE
        assert (memory(a)["given"], memory(b)["taken"]) == (0, 0)
        await a.send("lab/large", LARGE)
        assert (await receiver.receive()).payload == LARGE
        assert (memory(a)["given"], memory(b)["taken"]) == (1, 1)


async def test_what_cannot_be_looked_at_for_want_of_descriptors_ends_the_link() -> None:
    async with two() as (a, b), b.register("lab/large"):
        pool_of(a)  # that one has it loaded
        await until(lambda: sees(a, "lab/large"))
        (link,) = b.node.connections
        with none_left():
            await a.send("lab/large", LARGE)
            await until(lambda: link.state == codes.CLOSED)
        assert "what looks at it cannot be loaded: [Errno 24]" in link.close_text


MIDDLE = """
import busway
async def main():
    async with busway.AsyncBus(label="middle") as bus, bus.register("region") as regions:
        say("ready")
        message = await regions.receive()
        (region,) = message.regions
        view = region.view
        say("writable" if not view.readonly else "read only")
        await heard()
        await bus.send("third", view, ttl=30)
        await heard()
asyncio.run(main())
"""
THIRD = """
import busway, fcntl, mmap
from tests.rigs import held
async def main():
    async with busway.AsyncBus(label="third") as bus, bus.register("third") as mail:
        say("ready")
        message = await mail.receive()
        view = message.view
        for fd, path in held.descriptors().items():
            if "memfd:busway" in path:
                say("descriptor", fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY)
                for way in (lambda: os.pwrite(fd, b"x", 0), lambda: mmap.mmap(fd, 0)):
                    try:
                        way()
                    except OSError as error:
                        say(error.strerror)
        say(view.readonly, bytes(view[:5]).decode())
        await heard()
        say(bytes(view[:5]).decode())
asyncio.run(main())
"""


async def test_a_view_that_somebody_passes_on_can_only_be_read_by_who_gets_it() -> None:
    """Also of a region that its maker has not frozen, in which the one who passes it on may write."""
    async with AsyncBus(label="tester") as bus, Program(MIDDLE) as middle, Program(THIRD) as third:
        await middle.expect("ready")
        await third.expect("ready")
        region = busway.Region(SIZE)
        region.view[:5] = b"first"
        await bus.send("region", regions=[region], ttl=30)
        await middle.expect("writable")
        await middle.tell()
        await third.expect("descriptor True")
        await third.expect("Bad file descriptor")
        await third.expect("Permission denied")
        await third.expect("True first")
        region.view[:5] = b"later"
        await third.tell()
        await third.expect("later")  # the same pages


async def test_programs_share_as_buses_do() -> None:
    async with AsyncBus(label="tester") as bus, Program(OTHER) as other:
        await other.expect("ready")
        await until(lambda: sees(bus, "mail"))
        for number in range(20):
            await bus.send("mail", bytes([number]) * (SIZE - number))
            await other.tell("mail")
            found = (await other.line()).split()
            assert found[-2:] == [str(number), str(number + 1)]


def test_threads_share_as_well() -> None:
    with Bus(ipc=False, label="a") as a, Bus(ipc=False, label="b") as b:
        ours, theirs = pair()
        waits = [a.attach(ours).ready, b.attach(theirs).ready]
        for each in waits:
            each.result()
        with b.register("lab/large") as receiver:
            b.serve("lab/echo", lambda request: request.payload)
            a.send("lab/large", b"", ttl=30)
            receiver.receive()

            def work() -> None:
                for number in range(10):
                    a.send("lab/large", numpy.full(100_000, number))
                    assert same(a.request("lab/echo", LARGE), LARGE)

            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            sums = [receiver.receive(timeout=60).payload[0] for _ in range(30)]
            for thread in threads:
                thread.join()
            assert sorted(sums) == sorted([*range(10)] * 3)
            assert memory(b)["taken"] == 60


# Who means harm


def give_up(fd: int) -> None:
    """The lease that this descriptor is: F_OFD_SETLK with F_UNLCK."""
    fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))


async def test_a_reader_cannot_give_up_what_others_see() -> None:
    """Nobody's own lease is in another's hands: not that of a payload, nor of a region."""
    registry = busway.Registry()
    async with contextlib.AsyncExitStack() as stack:
        a, b, c = [await stack.enter_async_context(AsyncBus(ipc=False, label=label)) for label in "abc"]
        for other in (b, c):
            ours, theirs = pair()
            await asyncio.gather(a.attach(ours).ready, other.attach(theirs).ready)
        frames = [each.subscribe("frames") for each in (b, c)]
        await until(lambda: sum(found.name == "frames" for found in a.endpoints()) == 2)
        with registry.take(SIZE) as region:
            await a.publish("frames", LARGE, regions=[region])
        del region
        hostile, honest = [await each.receive() for each in frames]
        place = place_of(hostile.view)
        assert place is not None
        assert isinstance(place.keep, Descriptor)
        give_up(place.keep.fd)
        give_up(hostile.regions[0]._fd)
        assert (memory(a)["held"], registry.held) == (1, 1)
        for _ in range(5):
            await a.publish("frames", bytes(SIZE))
            registry.take(SIZE).view[:] = bytes(SIZE)
        assert bytes(honest.view) == LARGE
        del hostile, honest, place
        gc.collect()
        assert registry.held == 0


async def test_a_reader_cannot_give_up_what_it_was_sent_on_by() -> None:
    async with contextlib.AsyncExitStack() as stack:
        a, b, c = [await stack.enter_async_context(AsyncBus(ipc=False, label=label)) for label in "abc"]
        for one, other in ((a, b), (b, c)):
            ours, theirs = pair()
            await asyncio.gather(one.attach(ours).ready, other.attach(theirs).ready)
        near, far = b.register("near"), c.register("far")
        await a.send("near", LARGE, ttl=5.0)
        honest = await near.receive()
        await b.send("far", honest.view, ttl=5.0)
        hostile = await far.receive()
        place = place_of(hostile.view)
        assert place is not None
        assert isinstance(place.keep, Descriptor)
        give_up(place.keep.fd)
        for _ in range(5):
            await a.send("near", bytes(SIZE))
            await near.receive()
        assert bytes(honest.view) == LARGE


class Liar:
    """One who says of what lies beside a link what the test wants."""

    def __init__(self, description: bytes, fd: int) -> None:
        self.said = description, Descriptor(fd)

    def lags(self, size: int) -> bool:
        return False

    def give(self, payload: Any) -> tuple[bytes, Any]:
        return self.said

    def again(self, thing: Any) -> Any:
        return thing

    def take(self, description: bytes, thing: Any) -> Any:
        raise AssertionError("nothing comes here")


def short() -> int:
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 4096)
    return fd


def sparse(size: int) -> int:
    """Sealed as it should be, and of no memory at all."""
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, 1033, 0x02 | 0x04)
    return fd


LIES = {
    "memory that can be cut short": (b"\x01\x00\x80\x20", short),
    "less memory than is said": (b"\x01\x00\x80\x80\x08", lambda: memfd.make(100_000)),
    "memory from its end on": (b"\x01\xa0\x8d\x06\x01", lambda: memfd.make(100_000)),
    "a description of nothing": (b"?", lambda: memfd.make(100_000)),
    "a pipe": (b"\x01\x00\x80\x80\x04", lambda: os.pipe()[0]),
    "a file": (b"\x01\x00\x80\x80\x04", lambda: os.open(__file__, os.O_RDONLY)),
    "a message that is too large": (b"\x01\x00\x81\x80\x80\x08", lambda: memfd.make(1 << 25)),
    "more than there is of memory": (b"\x01\x00\x80\x80\x80\x80\x80\x80\x04", lambda: sparse(1 << 45)),
}


@pytest.mark.parametrize("limits", [None, OFF])
@pytest.mark.parametrize("lie", LIES)
async def test_who_says_what_is_not_so_loses_its_link_and_nothing_else_happens(
    lie: str, limits: Limits | None
) -> None:
    description, make = LIES[lie]
    async with (
        AsyncBus(ipc=False, label="victim", limits=limits) as bus,
        bus.register("lab/large") as receiver,
    ):
        ours, theirs = pair()
        runner = bus.attach(ours)
        liar = Node(b"l" * 16, entropy=os.urandom)
        link = Link(codes.USERSPACE, False, via="ipc", address="liar", aside=Liar(description, make()))
        await asyncio.to_thread(lie_to, liar, liar.connection(link, 0), theirs)
        await until(lambda: runner.connection.state == codes.CLOSED)
        large = lie in ("a message that is too large", "more than there is of memory")
        wanted = codes.TOO_LARGE if large else codes.MALFORMED
        assert runner.connection.close_code == wanted, runner.connection.close_text
        assert memory(bus)["leases"] == 0
        with pytest.raises(TimeoutError):
            await receiver.receive(timeout=0)


def lie_to(liar: Node, connection: Any, channel: UnixChannel) -> None:
    """Open a link, and send one large message over it."""
    from busway.names import endpoint_id

    channel.carry(lambda came: connection.receive_things(came, 0), connection.things_to_send)
    sent = False
    while connection.state != codes.CLOSED:
        while data := connection.data_to_send(65536, 0):
            channel.write(data)
        found = channel.read(65536)
        if found == b"":
            connection.receive_eof(0)
        elif found:
            connection.receive_data(found, 0)
        if not sent and sees_it(liar, endpoint_id("lab/large")):
            liar.send(endpoint_id("lab/large"), LARGE, 0)
            sent = True
    channel.close()


def sees_it(node: Node, endpoint: bytes) -> bool:
    return bool(node.directory.holders(endpoint))


def test_nothing_is_left_in_any_folder() -> None:
    assert not [path for path in Path("/dev/shm").iterdir() if "busway" in path.name]


async def test_buses_in_memory_share_as_well() -> None:
    async with buses() as (a, b), b.register("lab/large") as receiver:
        await a.send("lab/large", LARGE, ttl=10)
        assert (await receiver.receive()).view == LARGE
        assert memory(b)["taken"] == 1


# Many publishers


async def test_who_keeps_up_misses_nothing_of_what_many_announce_at_once() -> None:
    """Each neighbour announces 8 MiB with one write, and the queue of a subscriber takes 64."""
    publishers, count, size = 12, 8, 1 << 20
    registry = busway.Registry(size)
    async with crowd(publishers) as (reader, *others), reader.subscribe("lab/large") as receiver:
        await until(lambda: all(sees(each, "lab/large") for each in others))

        async def take() -> list[int]:
            return [(await receiver.receive()).missed for _ in range(publishers * count)]

        taking = asyncio.create_task(take())
        await asyncio.sleep(0)
        with registry.take(size) as region:
            for each in others:
                for _ in range(count):
                    await each.publish("lab/large", region.view)
        assert await asyncio.wait_for(taking, 30) == [0] * (publishers * count)
        assert receiver.dropped == 0
        assert memory(reader)["taken"] == publishers * count


async def test_a_link_that_announces_nothing_does_not_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its channel may say only once that there is something (a server's, asgi.py)."""
    async with contextlib.AsyncExitStack() as stack:
        reader, other = await stack.enter_async_context(crowd(1))
        far = await stack.enter_async_context(AsyncBus(ipc=False, label="far"))
        near = await stack.enter_async_context(reader.subscribe("lab/near"))
        ours, theirs = Pair(realm="localnet", clock=asyncio.get_running_loop())
        await asyncio.gather(reader.attach(ours).ready, far.attach(theirs).ready)
        await until(lambda: sees(other, "lab/near"))
        await other.publish("lab/near", LARGE)
        assert (await near.receive()).view == LARGE
        monkeypatch.setattr(Sharing, "wants_rest", lambda _: True)
        async with reader.register("lab/far") as receiver:
            await until(lambda: sees(far, "lab/far"))
            await far.send("lab/far", 1, ttl=20)
            assert (await receiver.receive(20)).payload == 1


async def test_who_takes_nothing_keeps_no_link_from_being_read() -> None:
    async with crowd(3) as (reader, *others), reader.subscribe("lab/large") as receiver:
        await until(lambda: all(sees(each, "lab/large") for each in others))
        registry = busway.Registry(SIZE)
        with registry.take(SIZE) as region:
            for _ in range(50):
                for each in others:
                    await each.publish("lab/large", region.view, wait=True)
        async with reader.register("lab/other") as other:
            await until(lambda: all(sees(each, "lab/other") for each in others))
            for each in others:
                await each.send("lab/other", b"it", ttl=30)
                assert (await other.receive(30)).payload == b"it"
        assert receiver.dropped > 0
