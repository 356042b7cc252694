"""request, request_stream and serve: every outcome, limits, cancellation, and handlers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

import busway
from busway import AsyncBus
from busway.protocol import codes
from tests.adapters.tools import buses, join, sees, until

pytestmark = pytest.mark.jumps


@contextlib.asynccontextmanager
async def served(handler: Any, **options: Any) -> AsyncIterator[tuple[AsyncBus, AsyncBus, Any]]:
    """A caller, a server, and the server's service "it"."""
    async with buses() as (a, b):
        service = b.serve("it", handler, **options)
        await until(lambda: sees(a, "it"))
        yield a, b, service


def echo(request: busway.Request) -> object:
    return request.payload


async def slow_echo(request: busway.Request) -> object:
    await asyncio.sleep(0)
    return request.payload


async def count(request: busway.Request) -> AsyncIterator[int]:
    for number in range(request.payload):
        yield number


# Handlers


@pytest.mark.parametrize("handler", [echo, slow_echo])
async def test_functions_and_coroutine_functions_answer(handler: Any) -> None:
    async with served(handler) as (a, b, _):
        for bus in (a, b):
            assert await bus.request("it", {"x": [1, 2.5, None, "ü"]}) == {"x": [1, 2.5, None, "ü"]}
            assert await bus.request("it", b"\x00raw") == b"\x00raw"
            assert await bus.request("it") is None


async def test_serve_is_a_decorator_that_leaves_the_function_as_it_is() -> None:
    async with buses(1) as (a,):

        @a.serve("double", kind="unicast")
        def double(request: busway.Request) -> int:
            return 2 * request.payload  # type: ignore[no-any-return]

        assert await a.request("double", 21) == 42
        assert double.__name__ == "double"
        assert [found.kind for found in a.endpoints()] == ["unicast"]


async def test_handlers_run_at_once_up_to_the_limit() -> None:
    running = most = 0
    release = asyncio.Event()

    async def handler(_: busway.Request) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1

    async with served(handler, limit=3) as (a, _, _):
        asking = [asyncio.create_task(a.request("it")) for _ in range(10)]
        await until(lambda: running == 3)
        assert await a.request(codes.INTROSPECTION) is not None  # nothing else is held up
        assert running == 3
        release.set()
        assert await asyncio.gather(*asking) == [None] * 10
        assert most == 3


async def test_messages_reach_a_handler_too_and_nobody_is_answered() -> None:
    seen = []
    async with served(lambda request: seen.append(request.payload)) as (a, _, _):
        await a.send("it", 1)
        await a.send("it", 2, confirm=True)
        await until(lambda: seen == [1, 2])


async def test_an_exception_is_the_callers_error_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: busway.Request) -> object:
        if request.payload == "bad":
            raise KeyError("no such pump")
        return request.payload

    async with served(handler) as (a, _, service):
        asking = [a.request("it", payload) for payload in ("good", "bad", "good")]
        first, second, third = await asyncio.gather(*asking, return_exceptions=True)
        assert (first, third) == ("good", "good")
        assert isinstance(second, busway.RemoteError)
        assert (second.code, second.message) == (codes.HANDLER_FAILED, "KeyError: 'no such pump'")
        assert service.failed == 1
        assert "no such pump" in caplog.text  # the traceback, where the handler ran
        await a.send("it", "bad")
        await until(lambda: service.failed == 2)


def coded(code: Any, message: str) -> busway.RemoteError:
    """One whose code was changed to something that its maker would have refused."""
    error = busway.RemoteError(300, message)
    error.code = code
    return error


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (busway.RemoteError(256, "empty tank"), 256, "empty tank"),
        (busway.RemoteError(0xFFFFFFFF, "last"), 0xFFFFFFFF, "last"),
        (coded(5, "one of the bus's own"), codes.HANDLER_FAILED, "one of the bus's own"),
        (coded(-1, "negative"), codes.HANDLER_FAILED, "negative"),
        (coded(1 << 32, "large"), codes.HANDLER_FAILED, "large"),
        (coded("text", "words"), codes.HANDLER_FAILED, "words"),
        (busway.Undeliverable(4), codes.HANDLER_FAILED, "Undeliverable: not delivered: "),
        (OSError("surrogate \udcff"), codes.HANDLER_FAILED, "OSError: surrogate \\udcff"),
        (asyncio.CancelledError(), codes.HANDLER_FAILED, "the handler was cancelled"),
        (TimeoutError(), codes.HANDLER_FAILED, "TimeoutError: "),
        (StopIteration(), codes.HANDLER_FAILED, "RuntimeError: "),
        (ValueError("x" * 200_000), codes.HANDLER_FAILED, "ValueError: xxx"),
    ],
    ids=lambda value: ascii(value)[:40],
)
async def test_whatever_a_handler_raises_the_caller_hears(
    raised: BaseException, code: int, text: str
) -> None:
    async def handler(_: busway.Request) -> None:
        raise raised

    async with served(handler) as (a, _, _):
        with pytest.raises(busway.RemoteError) as caught:
            await a.request("it", timeout=60)
        assert caught.value.code == code
        assert caught.value.message.startswith(text)


@pytest.mark.parametrize("reply", [object(), {"deep": object()}, "\udcff"])
async def test_a_reply_that_cannot_be_sent_is_an_error_of_the_handler(reply: object) -> None:
    async with served(lambda _: reply) as (a, _, service):
        with pytest.raises(busway.RemoteError, match="cannot"):
            await a.request("it")
        assert service.failed == 1


async def test_a_reply_beyond_the_limit_is_an_error_that_says_so() -> None:
    async with buses(limits=busway.Limits(message_size_max=5000)) as (a, b):
        b.serve("it", lambda request: bytes(request.payload))
        await until(lambda: sees(a, "it"))
        assert len(await a.request("it", 5000)) == 5000
        with pytest.raises(busway.BusError, match="message_size_max"):
            await a.request("it", 5001)


async def test_closing_a_service_ends_what_waits_and_lets_finish_what_runs() -> None:
    release = asyncio.Event()

    async def handler(_: busway.Request) -> str:
        await release.wait()
        return "done"

    async with served(handler, limit=1) as (a, b, service):
        running, queued = (asyncio.create_task(a.request("it")) for _ in range(2))
        await until(lambda: len(service._core.queue) == 1)
        service.close()
        service.close()
        with pytest.raises(busway.Undeliverable) as caught:
            await queued
        assert caught.value.reason == codes.RECEIVER_CLOSED
        release.set()
        assert await running == "done"
        await until(lambda: not sees(a, "it"))
        b.serve("it", echo)


async def test_a_server_whose_name_is_taken_serves_what_it_has() -> None:
    async with AsyncBus(ipc=False, node_id=b"a" * 16) as a, AsyncBus(ipc=False, node_id=b"b" * 16) as b:
        a.serve("one", lambda _: "a", kind="unicast")
        b.serve("one", lambda _: "b", kind="unicast")
        assert await a.request("one") == "a"
        await join(a, b)  # who comes yields what it brought
        await until(lambda: sees(a, "one"))
        assert await a.request("one") == "b"


# Outcomes of a request


async def test_timeout_is_a_timeout_error_and_cancels_the_handler() -> None:
    cancelled = asyncio.Event()

    async def handler(_: busway.Request) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with served(handler) as (a, b, _):
        with pytest.raises(busway.RequestTimeout) as caught:
            await a.request("it", timeout=0.05)
        assert isinstance(caught.value, TimeoutError)
        await cancelled.wait()
        await until(lambda: not b._host.handlers)


async def test_cancelling_the_caller_cancels_the_handler() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(_: busway.Request) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with served(handler) as (a, b, _):
        asking = asyncio.create_task(a.request("it"))
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await cancelled.wait()
        await until(lambda: not b._host.handlers)
        assert not a.node.origin.pending
        assert not a._host.waiters


async def test_a_caller_cancelled_just_before_its_reply_arrives_harms_nobody() -> None:
    async with served(echo) as (a, _, _):
        outcomes: dict[str, int] = {}
        for turns in range(60):  # some are cancelled before, some in the very turn, some after
            asking = asyncio.create_task(a.request("it", turns))
            for _ in range(turns % 12):
                await asyncio.sleep(0)
            asking.cancel()
            try:
                assert await asking == turns
                outcomes["reply"] = outcomes.get("reply", 0) + 1
            except asyncio.CancelledError:
                outcomes["cancelled"] = outcomes.get("cancelled", 0) + 1
            assert await a.request("it", "next") == "next"
        assert not a.node.origin.pending
        assert not a._host.waiters
        assert set(outcomes) == {"reply", "cancelled"}


async def test_cancelled_in_the_turn_in_which_the_outcome_was_set() -> None:
    async with served(echo) as (a, _, _):
        (runner,) = a._host.runners
        asking = asyncio.create_task(a.request("it", 1))
        await asyncio.sleep(0)
        runner.channel.on_readable = None
        await until(lambda: runner.channel._lane_in.items)
        runner.on_readable()  # the reply is here and its caller told,
        assert not a._host.waiters
        asking.cancel()  # who is cancelled before having run
        runner.channel.on_readable = runner.on_readable
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await a.request("it", 2) == 2


async def test_a_request_cancelled_while_it_waits_for_credit_is_never_sent() -> None:
    seen = []
    release = asyncio.Event()

    async def handler(request: busway.Request) -> None:
        seen.append(request.payload)
        await release.wait()

    async with served(handler, limit=1, queue=8) as (a, _, _):
        asking = [asyncio.create_task(a.request("it", number)) for number in range(10)]
        await until(lambda: len(a.node.origin.pending) == 10 and seen == [0])
        asking[9].cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking[9]
        release.set()
        assert await asyncio.gather(*asking[:9]) == [None] * 9
        assert seen == list(range(9))


async def test_the_server_lost_after_sending_is_told_apart_from_never_sent() -> None:
    async with served(lambda _: asyncio.Event().wait()) as (a, b, _):
        asking = asyncio.create_task(a.request("it"))
        await until(lambda: b._host.handlers)
        for runner in list(b._host.runners):
            runner.close()
        with pytest.raises(busway.Undeliverable) as caught:
            await asking
        assert caught.value.reason == codes.LOST_AFTER_SENDING
        with pytest.raises(busway.Undeliverable) as caught:
            await a.request("it")
        assert caught.value.reason == codes.NO_ENDPOINT
        await until(lambda: not b._host.handlers)  # nobody waits for it any more


async def test_an_unread_request_has_its_one_outcome_when_its_receiver_is_a_plain_one() -> None:
    async with buses() as (a, b):
        receiver = b.register("plain")
        await until(lambda: sees(a, "plain"))
        asking = asyncio.create_task(a.request("plain", 1, timeout=60))
        message = await receiver.receive(60)
        assert isinstance(message, busway.Request)
        with pytest.raises(busway.Undeliverable, match="answers no requests"):
            await asking


# Streams


async def test_a_stream_arrives_in_order_and_ends() -> None:
    async with served(count) as (a, b, _):
        for bus in (a, b):
            for length in (0, 1, 64, 1000):
                assert [part async for part in bus.request_stream("it", length)] == list(range(length))


async def test_a_plain_reply_is_a_stream_of_one_and_a_stream_is_no_plain_reply() -> None:
    async with buses() as (a, b):
        b.serve("echo", echo)
        b.serve("count", count)
        await until(lambda: sees(a, "echo") and sees(a, "count"))
        assert [part async for part in a.request_stream("echo", "one")] == ["one"]
        with pytest.raises(busway.Undeliverable, match="request_stream") as caught:
            await a.request("count", 3)
        assert caught.value.reason == codes.NOT_A_STREAM
        assert await a.request("echo", "fine") == "fine"


async def test_a_stream_is_bounded_by_who_reads_it() -> None:
    made = 0

    async def endless(_: busway.Request) -> AsyncIterator[int]:
        nonlocal made
        while True:
            made += 1
            yield made

    async with served(endless) as (a, b, _):
        stream = a.request_stream("it", window=8)
        async with contextlib.aclosing(stream):
            for expected in range(1, 101):
                assert await anext(stream) == expected
                assert made <= expected + 8 + 1  # what is under way, and the one that waits
        await until(lambda: not b._host.handlers)  # leaving cancels the handler
        assert not a._host.waiters
        assert not a.node.origin.pending


async def test_an_exception_in_the_midst_of_a_stream_follows_the_parts_before_it() -> None:
    async def broken(_: busway.Request) -> AsyncIterator[int]:
        yield 1
        yield 2
        raise busway.RemoteError(300, "out of paper")

    async with served(broken) as (a, _, _):
        stream = a.request_stream("it")
        assert [await anext(stream), await anext(stream)] == [1, 2]
        with pytest.raises(busway.RemoteError, match="out of paper") as caught:
            await anext(stream)
        assert caught.value.code == 300


async def test_a_streams_timeout_counts_from_its_last_part() -> None:
    async def halting(_: busway.Request) -> AsyncIterator[int]:
        for number in range(6):
            await asyncio.sleep(0.4)
            yield number
        await asyncio.Event().wait()

    async with served(halting) as (a, b, _):
        stream = a.request_stream("it", timeout=2.0)
        assert [await anext(stream) for _ in range(6)] == list(range(6))
        with pytest.raises(busway.RequestTimeout):
            await anext(stream)
        await until(lambda: not b._host.handlers)


async def test_cancelling_who_reads_a_stream_cancels_its_handler() -> None:
    async def halting(_: busway.Request) -> AsyncIterator[int]:
        yield 0
        await asyncio.Event().wait()

    async with served(halting) as (a, b, _):
        got = []

        async def read() -> None:
            async for part in a.request_stream("it"):
                got.append(part)  # noqa: PERF401

        reading = asyncio.create_task(read())
        await until(lambda: got == [0])
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until(lambda: not b._host.handlers)


async def test_many_requests_at_once_each_get_their_own_reply() -> None:
    async def handler(request: busway.Request) -> object:
        for _ in range(request.payload % 7):
            await asyncio.sleep(0)
        return request.payload

    async with served(handler, limit=32) as (a, _, _):
        replies = await asyncio.gather(*(a.request("it", number) for number in range(2000)))
        assert replies == list(range(2000))


async def test_every_node_answers_introspection() -> None:
    async with buses() as (a, b):
        b.register("x")
        found = await a.request("busway/introspection", node=b.id)
        assert found["node"] == b.id
        assert [endpoint["name"] for endpoint in found["endpoints"]] == ["busway/introspection", "x"]


async def test_workers_that_do_one_job_at_a_time_get_the_next_when_they_are_free() -> None:
    """The worker that never ends its first job has got that one; the others do the rest."""
    async with buses(4) as (a, *workers):
        done = []

        async def job(request: busway.Request) -> None:
            done.append(request.payload)

        for worker in workers[:2]:
            worker.serve("job", job, limit=1)
        workers[2].serve("job", lambda request: asyncio.Event().wait(), limit=1)
        await until(lambda: len(a.endpoints()) == 3)
        asked = [asyncio.create_task(a.request("job", number)) for number in range(100)]
        await until(lambda: len([task for task in asked if task.done()]) == 99)
        assert len(done) == 99
        for task in asked:
            task.cancel()


@busway.message("0ddba11e-5d0d-4a53-9a2e-0d6a4c9b7f10")
@dataclass
class Stray:
    """Nobody takes it."""


@pytest.mark.parametrize(
    ("to", "text"),
    [
        ("lab/nobody", "lab/nobody"),
        (busway.endpoint_id("lab/nobody-2"), "1100e0d1"),
        (uuid.UUID(int=0xABCDEF << 104), "abcdef00"),
        (Stray, "Stray"),
    ],
)
async def test_errors_name_the_endpoint(to: Any, text: str) -> None:
    async with buses(1) as (a,):
        said = Stray() if to is Stray else b"x"
        calls = (a.send(to, said), a.send(to, said, confirm=True), a.request(to, said))
        for call in calls:
            with pytest.raises(busway.Undeliverable, match=f"^not delivered to {text}: nobody has") as caught:
                await call
            assert caught.value.endpoint == text
        with pytest.raises(busway.Undeliverable, match=f"^not delivered to {text}: "):
            async for _ in a.request_stream(to, said):
                pass
        with pytest.raises(busway.Undeliverable, match=f"^not delivered to {text}: "):
            await a.trace(to)


async def test_what_was_not_answered_in_time_is_named() -> None:
    async with buses(1) as (a,):
        held = a.register("lab/held")
        with pytest.raises(busway.RequestTimeout, match=r"^lab/held: no reply within"):
            await a.request("lab/held", timeout=0.05)
        with pytest.raises(busway.DeliveryUnknown, match=r"^lab/held: no verdict came"):
            await a.send("lab/held", confirm=True, timeout=0.05)
        held.close()
