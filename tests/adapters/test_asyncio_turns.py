"""AsyncBus: what leaves in which turn of the loop, and plain handlers, which the loop calls itself."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

import busway
from busway import AsyncBus
from busway.adapters.asyncio_ends import Receiver
from busway.adapters.asyncio_pump import TURN, TURN_EACH
from busway.protocol import Link, Node
from tests.adapters.test_asyncio_services import served
from tests.adapters.tools import buses, channels, sees, until

pytestmark = pytest.mark.jumps


async def turns_until(done: asyncio.Future[Any]) -> int:
    """How often the loop comes round before that."""
    turns = 0
    while not done.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


def written(bus: AsyncBus) -> int:
    return sum(link.bytes_out for link in bus.links())


# What leaves at once


async def test_a_request_leaves_in_the_call_itself_and_those_behind_it_together() -> None:
    async with served(lambda request: request.payload) as (a, _, __):
        await asyncio.sleep(1)  # nothing has left a moment ago
        before = written(a)
        writes = a._host.core.connections[0]
        clock, now = a._host.clock, a._host.clock()
        a._host.clock = lambda: now  # however long the calls take
        first = asyncio.create_task(a.request("it", b"1"))
        second = asyncio.create_task(a.request("it", b"2"))
        if asyncio.get_running_loop().get_task_factory() is None:  # else they have begun already
            await asyncio.sleep(0)
        alone = written(a) - before
        a._host.clock = clock
        assert 0 < alone < 40  # the second waits for the loop to come round: more may follow
        assert [await first, await second] == [b"1", b"2"]
        assert writes.bytes_out > before + alone


async def test_a_request_that_fails_at_once_tells_it_and_nothing_else_amid_the_call() -> None:
    """What happens while it is written is told when the loop comes round, not inside the caller's call."""
    async with buses() as (a, b):
        inside = False
        ran_inside = []
        a.serve("mine", lambda request: ran_inside.append(inside))
        await until(lambda: sees(b, "mine"))
        with pytest.raises(busway.Undeliverable):
            await a.request("nobody")
        await a.send("mine", b"x")  # waits for the pump
        inside = True
        asking = a.request("mine", b"y")
        asking.send(None)  # up to where it waits
        inside = False
        await until(lambda: len(ran_inside) == 2)
        assert ran_inside == [False, False]
        asking.close()


async def test_sends_of_one_turn_leave_together() -> None:
    async with served(lambda request: None) as (a, _, __):
        before = written(a)
        for number in range(3):
            await a.send("it", number)
        assert written(a) == before
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert written(a) > before


# Plain handlers


async def test_a_plain_function_is_called_without_a_task() -> None:
    tasks: list[Any] = []

    def handler(request: Any) -> object:
        tasks.append(asyncio.current_task())
        return request.payload

    async with served(handler) as (a, b, _):
        asked = asyncio.create_task(a.request("it", b"x"))
        while not tasks:
            assert not b._host.handlers
            await asyncio.sleep(0)
        assert await asked == b"x"
        assert tasks == [None]


async def test_plain_handlers_let_the_loop_have_a_turn_in_between() -> None:
    counts: list[int] = []
    turn = 0

    def handler(request: Any) -> object:
        counts.append(turn)
        return None

    async with served(handler, queue=4096) as (a, _, __):
        asked = [asyncio.create_task(a.request("it", b"x")) for _ in range(1000)]
        while not all(task.done() for task in asked):
            turn += 1
            await asyncio.sleep(0)
        assert max(counts.count(each) for each in set(counts)) <= 2 * 64
        assert len(counts) == 1000


async def test_each_plain_handler_has_a_context_of_its_own() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    def handler(request: Any) -> object:
        found = variable.get()
        variable.set(found + 1)
        return found

    async with served(handler) as (a, _, __):
        assert [await a.request("it") for _ in range(3)] == [0, 0, 0]
        assert variable.get() == 0


class Later:
    """Something to call that gives what has to be awaited, and does not look like it."""

    async def __call__(self, request: Any) -> object:
        await asyncio.sleep(0.01)
        return request.payload


async def test_what_a_plain_function_gives_to_be_awaited_is_awaited() -> None:
    async with served(Later()) as (a, _, __):
        assert await asyncio.gather(*(a.request("it", number) for number in range(5))) == list(range(5))


async def test_parts_of_a_function_that_gives_a_generator() -> None:
    def handler(request: Any) -> object:
        return (number for number in range(request.payload))

    async with served(handler) as (a, _, __):
        assert [part async for part in a.request_stream("it", 3)] == [0, 1, 2]


async def test_a_plain_handler_is_overtaken_by_none() -> None:
    order: list[Any] = []
    first = asyncio.Event()

    def handler(request: Any) -> Any:
        async def later() -> None:
            await first.wait()
            order.append(request.payload)

        if request.payload == 0:
            return later()
        order.append(request.payload)
        return None

    async with served(handler) as (a, _, __):
        for number in range(5):
            await a.send("it", number)
        await until(lambda: len(order) == 4)
        first.set()
        await until(lambda: len(order) == 5)
        assert order == [1, 2, 3, 4, 0]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit("gone")])
async def test_whatever_a_plain_handler_raises_is_answered(error: BaseException) -> None:
    def handler(request: Any) -> object:
        raise error

    async with served(handler) as (a, _, __):
        with pytest.raises(busway.RemoteError):
            await a.request("it", timeout=60)


async def test_an_exit_of_a_plain_handler_ends_the_loop_and_is_answered() -> None:
    def handler(request: Any) -> object:
        raise SystemExit("enough")

    loop = asyncio.get_running_loop()
    raised: list[BaseException] = []

    def call_soon(function: Any, *args: Any, **options: Any) -> Any:
        if args and isinstance(args[0], SystemExit):
            raised.append(args[0])
            return None
        return real(function, *args, **options)

    async with served(handler) as (a, _, __):
        real = loop.call_soon
        loop.call_soon = call_soon  # type: ignore[method-assign, assignment]
        try:
            with pytest.raises(busway.RemoteError, match="enough"):
                await a.request("it", timeout=60)
        finally:
            loop.call_soon = real  # type: ignore[method-assign]
        assert [str(error) for error in raised] == ["enough"]


async def test_an_answer_that_no_link_takes_yet_waits_and_keeps_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "busway")
    async with served(lambda request: bytes(4_000_000), limit=2) as (a, b, _):
        asked = [asyncio.create_task(a.request("it", timeout=60)) for _ in range(6)]
        answers = await asyncio.gather(*asked)
        assert [len(answer) for answer in answers] == [4_000_000] * 6
        await until(lambda: not b._host.handlers)


async def test_a_request_from_another_thread_takes_nothing_from_the_loop() -> None:
    async with served(lambda request: request.payload) as (a, _, __):
        assert await a.request("it", b"1") == b"1"
        await a.send("it", b"waits for the loop to come round")
        errors: list[BaseException] = []

        def ask() -> None:
            try:
                asyncio.run(a.request("it", b"2"))
            except BaseException as error:  # noqa: BLE001 - whatever it is
                errors.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()  # the loop has had no turn
        assert [type(error) for error in errors] == [busway.BusError]
        assert not a._host._unflushed
        assert await a.request("it", b"3") == b"3"


# What wakes whom


def told(receiver: Receiver[Any]) -> bool:
    return receiver._core.told


async def test_messages_that_nobody_waits_for_wake_nobody_and_who_waits_is_woken() -> None:
    async with buses() as (a, b):
        receiver = a.register("it")
        assert not told(receiver)
        await until(lambda: sees(b, "it"))
        for number in range(3):
            await b.send("it", b"%d" % number)
        await until(lambda: len(receiver._core.queue) == 3)
        assert not told(receiver)
        assert [(await receiver.receive()).payload for _ in range(3)] == [b"0", b"1", b"2"]
        for text in (b"3", b"4"):
            tasks = [asyncio.create_task(receiver.receive()) for _ in range(2)]
            await asyncio.sleep(0)
            assert told(receiver)
            await b.send("it", text)
            await b.send("it", text)
            assert [(await task).payload for task in tasks] == [text, text]
        for _ in range(2):
            await b.send("it", b"5")
            assert (await receiver.receive()).payload == b"5"


async def test_the_loop_gets_its_turn_from_who_takes_of_many_receivers_in_turn() -> None:
    async with buses() as (a, b):
        receivers = [a.register(f"it/{number}", queue=256) for number in range(8)]
        await until(lambda: all(sees(b, f"it/{number}") for number in range(8)))
        for number in range(8):
            for _ in range(TURN // 4):
                await b.send(f"it/{number}", b"x")
        await until(lambda: all(len(receiver._core.queue) == TURN // 4 for receiver in receivers))
        came_round: list[int] = []
        asyncio.get_running_loop().call_soon(came_round.append, 1)
        for _ in range(TURN // 4):
            for receiver in receivers:
                await receiver.receive()
        assert came_round


async def test_who_sends_to_many_nodes_writes_several_messages_to_each_at_a_time() -> None:
    """Each has a link of its own: in turns of 256 messages 250 nodes would get one with each system call."""
    nodes, each = 40, 4 * TURN_EACH
    writes = 0
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(AsyncBus(ipc=False))
        for number in range(nodes):
            leaf = await stack.enter_async_context(AsyncBus(ipc=False, leaf=True))
            leaf.register(f"it/{number}")
            here, there = channels()

            def counted(data: bytes, write: Callable[[bytes], int] = there.write) -> int:
                nonlocal writes
                writes += 1
                return write(data)

            vars(there)["write"] = counted
            await asyncio.gather(leaf.attach(here).ready, hub.attach(there).ready)
        await until(lambda: all(sees(hub, f"it/{number}") for number in range(nodes)))
        for _ in range(2):  # in the second all have given credit
            writes = 0
            for _ in range(each):
                for number in range(nodes):
                    await hub.send(f"it/{number}", b"x")
            await asyncio.sleep(0.01)
        assert writes <= 1.5 * nodes * each / TURN_EACH


async def test_a_turn_of_who_sends_to_very_many_is_bounded() -> None:
    link = Node(b"n" * 16, entropy=os.urandom).connection(Link(), 0)  # stands for all of them
    async with AsyncBus(ipc=False) as bus:
        for links, messages in ((1, 256), (16, 256), (17, 272), (256, 4096), (257, 4096)):
            bus._host._unflushed = [link] * links
            bus._host.pump()
            assert bus._host.turn_sends == messages


async def test_who_takes_broadcasts_catches_up_before_more_is_read() -> None:
    """Else a read of the link brings more in each turn than is taken, until the queue drops copies."""
    async with AsyncBus(ipc=False) as bus:
        receiver = bus.subscribe("feed")
        for number in range(2000):
            await bus.publish("feed", number)
        await asyncio.sleep(0)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        assert [(await receiver.receive()).payload for _ in range(900)] == list(range(900))
        assert turns <= 1
        assert [(await receiver.receive()).payload for _ in range(1100)] == list(range(900, 2000))
        assert turns > 1
        counting.cancel()


async def test_who_takes_long_over_each_broadcast_gives_the_loop_its_turn_all_the_same() -> None:
    async with AsyncBus(ipc=False) as bus:
        receiver = bus.subscribe("feed")
        for number in range(3000):
            await bus.publish("feed", number)
        now = 10**12
        bus._host.clock = lambda: now
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        for number in range(1900):
            assert (await receiver.receive()).payload == number
            now += 1_000_000
        assert turns >= 1900 // (256 + 100)
        counting.cancel()
