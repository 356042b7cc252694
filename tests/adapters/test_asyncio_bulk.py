"""AsyncBus: many messages in one call, and what is sent only if it need not wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import busway
from busway import AsyncBus
from busway.adapters import asyncio_calls
from busway.adapters.asyncio_pump import TURN
from busway.payloads import encode, encode_shared
from busway.testing import Network
from tests.adapters.tools import buses, join, sees, until
from tests.rigs.effort import calls_of

pytestmark = pytest.mark.jumps


@busway.message(name="bulk/reading")
@dataclass
class Reading:
    number: int


@busway.message(name="bulk/other")
@dataclass
class Other:
    number: int


@contextlib.asynccontextmanager
async def joined(**options: Any) -> AsyncIterator[tuple[AsyncBus, AsyncBus, busway.Receiver[Any]]]:
    async with buses() as (a, b):
        receiver = b.register("it", **options)
        await until(lambda: sees(a, "it"))
        yield a, b, receiver


async def taken(receiver: busway.Receiver[Any], count: int) -> list[Any]:
    """The payloads of so many messages."""
    found: list[Any] = []
    while len(found) < count:
        found += [message.payload for message in await receiver.receive_many(timeout=60)]
    return found


# send_many and receive_many


@pytest.mark.parametrize("count", [0, 1, 5, 3000])
async def test_all_arrive_in_order(count: int) -> None:
    payloads = [b"%d" % number for number in range(count)]
    async with joined() as (a, _, receiver):
        sending = asyncio.create_task(a.send_many("it", iter(payloads)))
        assert await taken(receiver, count) == payloads
        assert await sending == count


async def test_values_of_all_sorts_arrive_in_order() -> None:
    payloads: list[Any] = [b"raw", 1, "text", {"a": [1, 2]}, Reading(3), Reading(4), None, b"raw again", 2.5]
    async with joined() as (a, _, receiver):
        assert await a.send_many("it", payloads) == len(payloads)
        found = await taken(receiver, len(payloads))
        assert found == payloads


async def test_single_and_many_keep_their_order() -> None:
    async with joined() as (a, _, receiver):
        await a.send("it", 0)
        await a.send_many("it", [1, 2])
        await a.send("it", 3)
        assert await taken(receiver, 4) == [0, 1, 2, 3]


async def test_a_message_class_takes_its_own() -> None:
    async with buses() as (a, b):
        inbox = b.register(Reading)
        await until(lambda: any(found.node == b.id for found in a.endpoints()))
        await a.send_many(Reading, [Reading(number) for number in range(600)])
        assert await taken(inbox, 600) == [Reading(number) for number in range(600)]
        with pytest.raises(TypeError, match="endpoint Reading takes Reading, not int"):
            await a.send_many(Reading, [Reading(1), Reading(2), 3, Reading(4)])
        assert await taken(inbox, 2) == [Reading(1), Reading(2)]


@pytest.mark.parametrize("wrong", [b"bytes", "text", {"a": 1}, 7, None])
async def test_what_is_not_several_is_refused_with_how_to_write_it(wrong: Any) -> None:
    async with joined() as (a, _, __):
        with pytest.raises(TypeError, match=r"write \[payload\]"):
            await a.send_many("it", wrong)


async def test_an_error_in_the_midst_tells_how_many_were_accepted() -> None:
    async with joined() as (a, _, receiver):
        payloads: list[Any] = [*range(TURN + 44), object(), 1]
        with pytest.raises(TypeError) as caught:
            await a.send_many("it", payloads)
        assert vars(caught.value)["accepted"] == TURN + 44
        assert await taken(receiver, TURN + 44) == payloads[: TURN + 44]


async def test_what_its_iterator_raises_leaves_all_unsent() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("the file is gone")

    async with joined() as (a, _, receiver):
        with pytest.raises(OSError, match="file is gone") as caught:
            await a.send_many("it", broken())
        assert vars(caught.value)["accepted"] == 0
        await a.send("it", 2)
        assert await taken(receiver, 1) == [2]


async def test_a_caller_cancelled_at_any_moment_hears_how_many_were_accepted() -> None:
    """Also if the one that waited was accepted just then."""
    async with joined(queue=4) as (a, _, receiver):
        for turns in range(40):
            sending = asyncio.create_task(a.send_many("it", [(turns, number) for number in range(60)]))
            found: list[Any] = []
            for _ in range(turns):
                if len(receiver._core.queue):
                    found += [message.payload for message in await receiver.receive_many()]
                await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await sending
            last = asyncio.create_task(a.send("it", None))
            while None not in found:
                found += [message.payload for message in await receiver.receive_many(timeout=60)]
            await last
            assert len(found) - 1 == vars(caught.value).get("accepted", 0), turns


async def test_nobody_there_is_told_as_by_send() -> None:
    async with joined() as (a, _, __):
        with pytest.raises(busway.Undeliverable) as caught:
            await a.send_many("nobody", [b"x", b"y"])
        assert vars(caught.value)["accepted"] == 0


async def test_cancelled_in_the_midst_what_was_accepted_stays_so_and_no_more_is_sent() -> None:
    async with joined(queue=16) as (a, _, receiver):
        sending = asyncio.create_task(a.send_many("it", list(range(5000))))
        await asyncio.sleep(1)  # it waits for credit
        sending.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await sending
        accepted = vars(caught.value)["accepted"]
        assert 0 < accepted < 5000
        after = asyncio.create_task(a.send("it", "after"))
        assert await taken(receiver, accepted + 1) == [*range(accepted), "after"]
        await after


async def test_a_timeout_tells_how_many_were_accepted() -> None:
    async with joined(queue=16) as (a, _, receiver):
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(1):
                await a.send_many("it", [b"x"] * 5000)
        accepted = vars(caught.value.__cause__)["accepted"]
        assert accepted > 0
        assert await taken(receiver, accepted) == [b"x"] * accepted


async def test_closed_in_the_midst_it_ends() -> None:
    async with joined(queue=16) as (a, _, __):
        sending = asyncio.create_task(a.send_many("it", [b"x"] * 5000))
        await asyncio.sleep(1)
        await a.close()
        with pytest.raises(busway.BusClosed) as caught:
            await sending
        assert 0 < vars(caught.value)["accepted"] < 5000


async def test_two_at_once_are_each_in_order_and_both_counted() -> None:
    async with joined(queue=64) as (a, _, receiver):
        one = asyncio.create_task(a.send_many("it", [("one", number) for number in range(1000)]))
        two = asyncio.create_task(a.send_many("it", [("two", number) for number in range(1000)]))
        found = await taken(receiver, 2000)
        assert await one == await two == 1000
        for name in ("one", "two"):
            assert [number for who, number in found if who == name] == list(range(1000))


async def test_within_one_program_objects_stay_objects() -> None:
    async with AsyncBus(ipc=False) as bus:
        receiver = bus.register("here", realm="process")
        objects = [object(), b"bytes", object()]
        await bus.send_many("here", objects)
        found = [message.payload for message in await receiver.receive_many()]
        assert [id(each) for each in found] == [id(each) for each in objects]
        assert bus.try_send("here", objects)
        assert (await receiver.receive()).payload is objects


async def test_sealed_messages_are_received_many_at_once() -> None:
    keys = [busway.Key.new(), busway.Key.new()]
    seal = [key.text for key in keys]
    async with Network() as network:
        a, b = [await network.bus(name, key=key, seal=seal) for name, key in zip("ab", keys, strict=True)]
        await network.link(a, b)
        receiver = b.register("it", sealed=True)
        for payload in (0, 1, "plain", 2):
            await a.send("it", payload, ttl=1, sealed=payload != "plain")
        assert await taken(receiver, 3) == [0, 1, 2]
        assert receiver.refused == 1


async def test_at_most_so_many_are_taken() -> None:
    async with joined() as (a, _, receiver):
        await a.send_many("it", list(range(10)))
        await until(lambda: len(receiver._core.queue) == 10)
        assert [len(await receiver.receive_many(most)) for most in (1, 4, 100)] == [1, 4, 5]
        for wrong in (0, -1):
            with pytest.raises(ValueError, match="most must be at least 1 message"):
                await receiver.receive_many(wrong)
            with pytest.raises(ValueError, match="most must be at least 1 message"):
                receiver.batches(wrong)
        for odd in ("3", 2.5, True, None):
            with pytest.raises(TypeError, match="most must be the messages to take at once"):
                await receiver.receive_many(odd)
        await a.send("it", b"kept")
        await until(lambda: len(receiver._core.queue) == 1)
        with pytest.raises(ValueError, match="timeout must be"):
            await receiver.receive_many(timeout=-1)
        assert [message.payload for message in await receiver.receive_many()] == [b"kept"]


async def test_unknown_types_are_skipped_and_counted_and_what_does_not_fit_is_marked() -> None:
    async with joined(types=(Reading,)) as (a, _, receiver):
        await a.send_many("it", [Reading(1), Other(2), 3, Reading(4)])
        first, odd, last = [await receiver.receive_many(1) for _ in range(3)]
        assert [first[0].payload, last[0].payload] == [Reading(1), Reading(4)]
        assert isinstance(odd[0].error, busway.PayloadError)
        await a.send_many("it", [Other(5), Other(6)])
        with pytest.raises(TimeoutError, match="nothing came to 'it' within 1 s"):
            await receiver.receive_many(timeout=1)
        assert receiver.unknown == 3


async def test_a_receiver_that_waits_gets_all_that_comes_together() -> None:
    async with joined() as (a, _, receiver):
        waiting = asyncio.create_task(receiver.receive_many())
        await asyncio.sleep(0)
        await a.send_many("it", [1, 2, 3])
        assert [message.payload for message in await waiting] == [1, 2, 3]


async def test_batches_end_with_the_receiver() -> None:
    async with joined() as (a, _, receiver):
        sending = asyncio.create_task(a.send_many("it", list(range(2000))))
        found: list[Any] = []
        async for batch in receiver.batches(most=600):
            assert 1 <= len(batch) <= 600
            found += [message.payload for message in batch]
            if len(found) == 2000:
                receiver.close()
        assert found == list(range(await sending))
        with pytest.raises(busway.BusClosed):
            await receiver.receive_many()


async def test_who_sends_and_receives_by_the_list_starves_nobody() -> None:
    async with AsyncBus(ipc=False) as bus:
        receiver = bus.register("mine", queue=100_000)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        await bus.send_many("mine", [b"x"] * 10_000)
        assert turns >= 10_000 // TURN - 1
        turns, got = 0, 0
        while got < 10_000:
            got += len(await receiver.receive_many(100))
        assert turns >= 10_000 // (TURN + 100) - 1
        counting.cancel()


# try_send


async def test_it_is_sent_if_it_need_not_wait() -> None:
    async with joined(queue=16) as (a, _, receiver):
        sent = 0
        while a.try_send("it", sent):
            sent += 1
            assert sent < 5000
        assert sent > 0
        assert not a.try_send("it", b"x")
        assert await taken(receiver, sent) == list(range(sent))
        await until(lambda: a.try_send("it", "again"))
        assert await taken(receiver, 1) == ["again"]


async def test_what_would_fail_at_once_raises() -> None:
    async with joined() as (a, b, _):
        news = b.subscribe("news")
        await until(lambda: sees(a, "news"))
        with pytest.raises(busway.Undeliverable, match="nobody"):
            a.try_send("nobody", b"x")
        with pytest.raises(ValueError, match="publish"):
            a.try_send("news", b"x")
        with pytest.raises(TypeError):
            a.try_send("it", object())
        with pytest.raises(TypeError, match="takes Reading"):
            a.try_send(Reading, 3)
        news.close()


async def test_it_costs_no_more_than_send_and_of_many_values_little_more_than_to_encode_them() -> None:
    async with flowing() as (a, receiver):
        one = calls_of(lambda: run(a.send("it", 1.5)))
        assert calls_of(lambda: a.try_send("it", 1.5)) <= one
        encoded = calls_of(lambda: encode(1.5, bytes(16)))
        assert calls_of(lambda: run(a.send_many("it", [1.5] * 50))) < 50 * (encoded + 5)
        await taken(receiver, 12 * 10)


@contextlib.asynccontextmanager
async def flowing() -> AsyncIterator[tuple[AsyncBus, busway.Receiver[Any]]]:
    """One who sends, and who takes from him: with credit for a thousand messages at least."""
    async with joined() as (a, _, receiver):
        sending = asyncio.create_task(a.send_many("it", [b"x"] * 6000))
        await taken(receiver, 6000)
        await sending
        yield a, receiver


def run(call: Coroutine[Any, Any, Any]) -> None:
    """What has to await nothing."""
    with contextlib.suppress(StopIteration):
        call.send(None)


async def test_what_is_sent_so_counts_towards_the_turn_of_the_loop() -> None:
    async with flowing() as (a, receiver):
        await asyncio.sleep(0.1)
        for _ in range(a._host.turn_sends):
            assert a.try_send("it", b"x")
        turns: list[int] = []
        asyncio.get_running_loop().call_soon(turns.append, 1)
        await a.send("it", b"x")
        assert turns
        await taken(receiver, a._host.turn_sends + 1)


async def test_where_it_has_to_be_asked_for_first_nothing_is_sent() -> None:
    async with joined() as (_, b, receiver):
        leaf = AsyncBus(ipc=False, leaf=True)
        async with leaf:
            await join(leaf, b)
            tries = 0
            while not leaf.try_send("it", b"x"):
                tries += 1
                await asyncio.sleep(0.01)
            assert await taken(receiver, 1) == [b"x"]
        assert not leaf._host.waiters


async def test_a_value_is_encoded_once_also_where_the_short_way_does_not_take_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not to endpoints of this very node."""
    encoded: list[Any] = []

    def counted(payload: Any, endpoint: bytes, joiner: Any) -> Any:
        encoded.append(payload)
        return encode_shared(payload, endpoint, joiner)

    monkeypatch.setattr(asyncio_calls, "encode_shared", counted)
    async with AsyncBus() as bus:
        sent, published = bus.register("it"), bus.subscribe("news")
        await bus.send("it", {"by": "send"})
        assert bus.try_send("it", {"by": "try_send"})
        await bus.publish("news", {"by": "publish"})
        found = [(await receiver.receive()).payload for receiver in (sent, sent, published)]
    assert found == encoded == [{"by": "send"}, {"by": "try_send"}, {"by": "publish"}]
