"""send, publish and receivers: what arrives, what waits for whom, and every way not to arrive."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

import busway
from busway import AsyncBus
from busway.adapters.asyncio_ends import Receiver
from busway.protocol import codes
from tests.adapters.tools import buses, join, sees, until

pytestmark = pytest.mark.jumps


async def payloads(receiver: Receiver, count: int) -> list[object]:
    return [(await receiver.receive(60)).payload for _ in range(count)]


async def fill(bus: AsyncBus, endpoint: str) -> tuple[asyncio.Task[None], int]:
    """Send numbers until a send has to wait. Returns the one that waits, and its number."""
    for number in range(10_000):
        waiting = asyncio.create_task(bus.send(endpoint, number))
        done, _ = await asyncio.wait([waiting], timeout=0.2)  # credit on its way arrives within that
        if not done:
            return waiting, number
    raise AssertionError("10,000 messages to a receiver that does not read")


# send


async def test_messages_arrive_once_in_order_and_say_where_from() -> None:
    async with buses() as (a, b):
        receiver = b.register("log")
        await until(lambda: sees(a, "log"))
        for number in range(1000):
            await a.send("log", b"%d" % number)
        got = [await receiver.receive(60) for _ in range(1000)]
        assert [message.payload for message in got] == [b"%d" % number for number in range(1000)]
        assert {message.source for message in got} == {a.id}
        assert {message.endpoint for message in got} == {busway.endpoint_id("log")}
        assert {message.missed for message in got} == {0}


async def test_a_message_to_the_own_node_needs_no_link() -> None:
    async with AsyncBus(ipc=False) as bus:
        receiver = bus.register("self")
        await bus.send("self", {"n": 1})
        await bus.send("self", b"raw", confirm=False)
        confirmed = asyncio.create_task(bus.send("self", b"sure", confirm=True))
        assert await payloads(receiver, 3) == [{"n": 1}, b"raw", b"sure"]
        await confirmed


@pytest.mark.parametrize("confirm", [False, True])
async def test_nobody_there_is_undeliverable(confirm: bool) -> None:
    async with buses() as (a, _):
        with pytest.raises(busway.Undeliverable) as caught:
            await a.send("nowhere", b"", confirm=confirm)
        assert caught.value.reason == codes.NO_ENDPOINT
        with pytest.raises(busway.Undeliverable) as caught:
            await a.send("nowhere", b"", confirm=confirm, node=b"?" * 16)
        assert caught.value.reason == codes.NO_ROUTE


async def test_ttl_waits_for_an_endpoint_to_appear() -> None:
    async with buses() as (a, b):
        sending = asyncio.create_task(a.send("late", 1, ttl=30))
        asking = asyncio.create_task(a.request("late", 2, ttl=30))
        await until(lambda: len(a.node.origin.pending) == 2)
        async with b.register("late") as receiver:
            await sending
            assert await payloads(receiver, 2) == [1, 2]
        asking.cancel()


async def test_ttl_waits_for_a_node_to_appear() -> None:
    async with buses(1) as (a,), AsyncBus(ipc=False) as late:
        receiver = late.register("late")
        sending = asyncio.create_task(a.send("late", 1, ttl=30))
        await join(a, late)
        await sending
        assert await payloads(receiver, 1) == [1]


async def test_ttl_ends() -> None:
    async with buses() as (a, _):
        started = a._host.loop.time()
        with pytest.raises(busway.Undeliverable):
            await a.send("never", b"", ttl=0.1)
        assert 0.09 < a._host.loop.time() - started < 2


async def test_confirm_returns_when_the_program_has_taken_the_message() -> None:
    async with buses() as (a, b):
        receiver = b.register("log")
        await until(lambda: sees(a, "log"))
        sending = asyncio.create_task(a.send("log", "sure", confirm=True))
        await until(lambda: len(receiver._core.queue))
        assert not sending.done()  # it has arrived, and nobody has taken it
        assert await payloads(receiver, 1) == ["sure"]
        await sending


async def test_confirm_fails_when_the_receiver_closes_first() -> None:
    async with buses() as (a, b):
        receiver = b.register("log")
        await until(lambda: sees(a, "log"))
        sending = asyncio.create_task(a.send("log", "sure", confirm=True))
        await until(lambda: len(receiver._core.queue))
        receiver.close()
        with pytest.raises(busway.Undeliverable) as caught:
            await sending
        assert caught.value.reason == codes.RECEIVER_CLOSED


@pytest.mark.parametrize("how", ["time", "link"])
async def test_confirm_is_unknown_when_no_verdict_comes(how: str) -> None:
    async with buses() as (a, b):
        receiver = b.register("log")
        await until(lambda: sees(a, "log"))
        sending = asyncio.create_task(
            a.send("log", "sure", confirm=True, timeout=0.1 if how == "time" else 9)
        )
        await until(lambda: len(receiver._core.queue))
        if how == "link":
            for runner in list(b._host.runners):
                runner.close()  # without a goodbye, as if the program had been killed
        with pytest.raises(busway.DeliveryUnknown):
            await sending


async def test_a_later_failure_of_a_plain_send_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with buses() as (a, b):
        receiver = b.register("log")
        await until(lambda: sees(a, "log"))
        await a.send("log", b"1")
        await a.send("log", b"2")
        await until(lambda: len(receiver._core.queue) == 2)
        with caplog.at_level(logging.WARNING, "busway"):
            receiver.close()
            await until(lambda: len(a.undeliverable) == 2)
        assert [(event.seq, event.reason) for event in a.undeliverable] == [
            (1, codes.RECEIVER_CLOSED),
            (2, codes.RECEIVER_CLOSED),
        ]
        assert "not delivered" in caplog.text
        lost = a.undeliverable[0]
        assert (lost.name, lost.node, lost.label, lost.reason_name) == ("log", b.id, "b", "RECEIVER_CLOSED")
        assert lost.endpoint == busway.endpoint_id("log")
        assert repr(lost) == (
            f"<not delivered to 'log' {lost.endpoint.hex()[:8]} at 'b' {b.id.hex()[:8]}: RECEIVER_CLOSED>"
        )


async def test_the_wrong_kind_of_endpoint_is_the_callers_error() -> None:
    async with buses() as (a, b):
        b.register("one")
        b.subscribe("all")
        await until(lambda: sees(a, "one") and sees(a, "all"))
        for bus in (a, b):
            for call in (bus.send("all", b""), bus.send("all", {}), bus.request("all")):
                with pytest.raises(ValueError, match="use publish"):
                    await call
            with pytest.raises(ValueError, match="use send or request"):
                await bus.publish("one", b"")


async def test_node_picks_one_of_several_holders() -> None:
    async with buses(3) as (a, b, c):
        receivers = {bus.id: bus.register("any", "anycast") for bus in (b, c)}
        await until(lambda: len(a.endpoints()) == 2)
        for node, receiver in receivers.items():
            await a.send("any", node, node=node)
            assert await payloads(receiver, 1) == [node]


async def test_anycast_goes_to_the_cheapest_and_in_turn_among_equals() -> None:
    async with buses(4) as (a, b, c, d):
        equal = [bus.register("any", "anycast") for bus in (b, c)]
        d.register("any", "anycast", cost=100)
        await until(lambda: len(a.endpoints()) == 3)
        for number in range(4):
            await a.send("any", number)
        assert [sorted(await payloads(receiver, 2), key=str) for receiver in equal] == [[0, 2], [1, 3]]


async def test_a_payload_beyond_the_limit_is_refused_at_once() -> None:
    async with buses(limits=busway.Limits(message_size_max=100_000)) as (a, b):
        receiver = b.register("log")
        await until(lambda: sees(a, "log"))
        await a.send("log", bytes(100_000))
        assert await payloads(receiver, 1) == [bytes(100_000)]
        with pytest.raises(ValueError, match="message_size_max"):
            await a.send("log", bytes(100_001))


# Backpressure


async def test_a_slow_receiver_slows_its_sender_and_nobody_else() -> None:
    async with buses(3) as (a, b, c):
        slow = b.register("slow", queue=16)
        quick = b.register("quick")
        await until(lambda: sees(a, "slow") and sees(a, "quick") and sees(c, "slow"))
        waiting, _ = await fill(a, "slow")
        for number in range(500):  # over the same link, meanwhile
            await a.send("quick", number)
            assert (await quick.receive(60)).payload == number
        assert not waiting.done()
        await c.send("slow", b"of another node", confirm=False)
        assert len(slow._core.queue) <= 16
        while not waiting.done():
            await slow.receive(60)
        assert slow._core.refused == 0
        assert not a.undeliverable


async def test_all_of_a_slow_receivers_messages_arrive_in_order() -> None:
    async with buses() as (a, b):
        receiver = b.register("slow", queue=8)
        await until(lambda: sees(a, "slow"))

        async def send_all() -> None:
            for number in range(300):
                await a.send("slow", number)

        sending = asyncio.create_task(send_all())
        for number in range(300):
            await asyncio.sleep(0)
            assert (await receiver.receive(60)).payload == number
        await sending
        assert not a.undeliverable


async def test_a_cancelled_send_that_waits_is_not_sent() -> None:
    async with buses() as (a, b):
        receiver = b.register("slow", queue=8)
        await until(lambda: sees(a, "slow"))
        waiting, number = await fill(a, "slow")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not a.node.origin.pending
        last = asyncio.create_task(a.send("slow", b"last"))
        got: list[object] = []
        while not got or got[-1] != b"last":
            got.append((await receiver.receive(60)).payload)
        await last
        assert got == [*range(number), b"last"]


@pytest.mark.parametrize(
    ("policy", "kept"),
    [("drop_oldest", [6, 7, 8, 9]), ("drop_newest", [0, 1, 2, 3]), ("refuse", [0, 1, 2, 3])],
)
async def test_queue_policies_drop_and_count(policy: busway.adapters.typed.Policy, kept: list[int]) -> None:
    async with buses() as (a, b):
        receiver = b.subscribe("all", queue=4, policy=policy)
        await until(lambda: sees(a, "all"))
        for number in range(10):
            await a.publish("all", number)
        await until(lambda: receiver.dropped == 6)
        assert await payloads(receiver, 4) == kept
        assert receiver.missed == (0 if policy == "drop_oldest" else 6)  # seen without a next one
        await a.publish("all", 10)
        missed = await receiver.receive(60)
        assert missed.missed == (0 if policy == "drop_oldest" else 6)
        assert receiver.missed == 0


async def test_latest_is_the_newest_of_each_origin() -> None:
    async with buses(3) as (a, b, c):
        receiver = c.subscribe("level", policy="latest")
        await until(lambda: sees(a, "level") and sees(b, "level"))
        for number in range(1000):
            await a.publish("level", number)
            await b.publish("level", -number)
        await until(lambda: receiver.dropped == 1998)
        got = {
            message.source: message for message in [await receiver.receive(60), await receiver.receive(60)]
        }
        assert (got[a.id].payload, got[b.id].payload) == (999, -999)
        assert got[a.id].missed == got[b.id].missed == 999
        with pytest.raises(ValueError, match="LATEST is for broadcast"):
            a.register("level/one", policy="latest")


# publish


async def test_every_subscriber_gets_a_copy_and_nobody_listening_is_no_error() -> None:
    async with buses(3) as (a, b, c):
        await a.publish("news", 0)
        receivers = [bus.subscribe("news") for bus in (a, b, b, c)]
        await until(lambda: len(a.endpoints()) == 3)
        for number in range(1, 51):
            await a.publish("news", number)
        for receiver in receivers:
            assert await payloads(receiver, 50) == list(range(1, 51))


async def test_readings_that_may_be_lost_arrive_where_nothing_gets_lost() -> None:
    async with buses() as (a, b):
        receiver = b.subscribe("news")
        await until(lambda: sees(a, "news"))
        for number in range(20):
            await a.publish("news", number, best_effort=True)
        assert await payloads(receiver, 20) == list(range(20))


async def test_a_subscriber_that_does_not_read_does_not_stall_the_publisher() -> None:
    async with buses() as (a, b):
        idle, keen = b.subscribe("news", queue=8), b.subscribe("news")
        await until(lambda: sees(a, "news"))
        for number in range(2000):
            await a.publish("news", number)
            assert (await keen.receive(60)).payload == number
        assert idle.dropped == 1992
        first = await idle.receive(60)
        assert (first.payload, first.missed) == (1992, 1992)


async def test_a_full_speed_publish_reaches_all_who_keep_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 MB in 1 kB copies to three subscribers, through queues of 1 MiB."""
    # On a busy machine this very program may stand still for longer than a publish waits.
    monkeypatch.setattr("busway.adapters.arguments._PUBLISH_PATIENCE_MS", 60_000)
    async with buses(4) as (a, *others):
        receivers = [bus.subscribe("news", queue=30_000) for bus in others]
        await until(lambda: len(a.endpoints()) == 3)
        for number in range(20_000):
            await a.publish("news", b"%05d" % number + bytes(1000))
        for receiver in receivers:
            got = [await receiver.receive(60) for _ in range(20_000)]
            assert [message.missed for message in got] == [0] * 20_000
            assert str(got[-1].payload)[2:7] == "19999"
        assert a.node.origin.counters["broadcast_dropped"] == 0


async def test_a_publish_waits_a_little_for_a_subscriber_that_is_behind() -> None:
    """One of two reads again as soon as its queue has filled up: without patience it would miss the rest."""
    async with buses(3) as (a, b, c):
        slow, keen = b.subscribe("news", queue=5000), c.subscribe("news", queue=5000)
        await until(lambda: len(a.endpoints()) == 2)
        [link] = [runner for runner in b._host.runners if runner.connection.peer is b.node.routes.peers[a.id]]
        link.channel.on_readable = None

        async def publish() -> None:
            for number in range(3000):
                await a.publish("news", b"%05d" % number + bytes(1000))

        publishing = asyncio.create_task(publish())
        await until(lambda: a.node.origin.pending or publishing.done())
        link.channel.on_readable = link.on_readable
        await publishing
        for receiver in (slow, keen):
            assert [(await receiver.receive(60)).missed for _ in range(3000)] == [0] * 3000
        assert a.node.origin.counters["broadcast_dropped"] == 0


async def test_publish_waits_for_room_everywhere_only_if_it_is_asked_to() -> None:
    async with buses(3) as (a, b, c):
        stuck, keen = b.subscribe("news"), c.subscribe("news")
        await until(lambda: len(a.endpoints()) == 2)
        [link] = [runner for runner in b._host.runners if runner.connection.peer is b.node.routes.peers[a.id]]
        link.channel.on_readable = None  # it is busy with something else
        count = 0
        while not a.node.origin.counters["broadcast_dropped"]:
            await a.publish("news", bytes(100_000))  # a little patience, once
            count += 1
        for _ in range(count):
            await keen.receive(60)
        sure = asyncio.create_task(a.publish("news", b"sure", wait=True))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not sure.done()
        link.channel.on_readable = link.on_readable
        await asyncio.wait_for(sure, 10)
        assert (await keen.receive(60)).payload == b"sure"
        got = [await stuck.receive(60)]
        while got[-1].payload != b"sure":
            got.append(await stuck.receive(60))
        assert sum(message.missed for message in got) + len(got) == count + 1  # every one is accounted for


# Receivers


async def test_a_receiver_is_an_iterable_and_its_context_deregisters() -> None:
    async with buses() as (a, b):
        async with b.register("log") as receiver:
            await until(lambda: sees(a, "log"))
            for number in range(3):
                await a.send("log", number)
            got = []
            async for message in receiver:
                got.append(message.payload)
                if len(got) == 3:
                    break
            assert got == [0, 1, 2]
        await until(lambda: not sees(a, "log"))
        with pytest.raises(busway.BusClosed, match="receiver"):
            await receiver.receive()
        async for _ in receiver:
            pytest.fail("it is closed")
        receiver.close()


async def test_closing_a_receiver_ends_all_who_wait_for_it() -> None:
    async with buses(1) as (a,):
        receiver = a.register("log")
        waiting = [asyncio.create_task(receiver.receive()) for _ in range(3)]
        await until(lambda: len(receiver._arrivals.waiting) == 3)
        receiver.close()
        for task in waiting:
            with pytest.raises(busway.BusClosed):
                await task


async def test_receive_times_out_and_loses_nothing() -> None:
    async with buses(1) as (a,):
        receiver = a.register("log")
        with pytest.raises(TimeoutError):
            await receiver.receive(0.02)
        await a.send("log", 1)
        assert (await receiver.receive(0)).payload == 1
        with pytest.raises(TimeoutError):
            await receiver.receive(0)


async def test_one_message_goes_to_one_of_those_who_wait_and_a_cancelled_one_passes_it_on() -> None:
    async with buses(1) as (a,):
        receiver = a.register("log")
        first, second = (asyncio.create_task(receiver.receive()) for _ in range(2))
        await until(lambda: len(receiver._arrivals.waiting) == 2)
        await a.send("log", 1)
        a._host.dispatch(a.node.take_events())  # the first waiter is told now, and runs later
        first.cancel()
        assert (await second).payload == 1
        with pytest.raises(asyncio.CancelledError):
            await first


# Names that are taken


async def test_a_name_that_is_known_to_be_taken_is_refused_at_once() -> None:
    async with buses() as (a, b):
        b.register("one")
        b.register("many", "anycast")
        await until(lambda: sees(a, "one") and sees(a, "many"))
        for bus in (a, b):
            with pytest.raises(busway.EndpointTaken, match="has that endpoint"):
                bus.register("one")
            with pytest.raises(busway.EndpointTaken, match="kind anycast"):
                bus.register("many", "unicast")
        a.register("many", "anycast").close()
        with pytest.raises(ValueError, match="localnet"):
            b.register("many", "anycast", realm="global")


async def test_who_joins_gives_up_a_name_that_is_there_until_it_is_free() -> None:
    async with AsyncBus(ipc=False) as a, AsyncBus(ipc=False) as b:
        receivers = {a: a.register("one"), b: b.register("one")}
        await join(a, b)
        await until(lambda: any(each._core.endpoint.yielded for each in receivers.values()))
        joined, joins = (b, a) if receivers[a]._core.endpoint.yielded else (a, b)
        kept, lost = receivers[joined], receivers[joins]
        await until(lambda: sees(joins, "one"))
        await joins.send("one", b"to the other")
        assert (await kept.receive()).payload == b"to the other"
        for _ in range(2):
            with pytest.raises(busway.EndpointTaken):
                await lost.receive()
        with pytest.raises(busway.EndpointTaken):
            await anext(lost)
        kept.close()
        await until(lambda: not lost._core.endpoint.yielded)
        await until(lambda: sees(joined, "one"))
        await joined.send("one", b"to whom it is again")
        assert (await lost.receive()).payload == b"to whom it is again"


async def test_a_waiting_receiver_hears_that_its_name_is_taken_and_a_service_serves_again() -> None:
    async with AsyncBus(ipc=False) as a, AsyncBus(ipc=False) as b:
        receivers = {bus: bus.register("one") for bus in (a, b)}
        services = {bus: bus.serve("two", lambda _: None, kind="unicast") for bus in (a, b)}
        waiting = {bus: [asyncio.create_task(receivers[bus].receive()) for _ in range(2)] for bus in (a, b)}
        await until(lambda: all(len(each._arrivals.waiting) == 2 for each in receivers.values()))
        await join(a, b)
        await until(lambda: any(each._core.endpoint.yielded for each in services.values()))
        joined, joins = (b, a) if services[a]._core.endpoint.yielded else (a, b)
        for task in waiting[joins]:
            with pytest.raises(busway.EndpointTaken):
                await task
        await joined.close()
        assert await joins.request("two", None, ttl=5.0) is None
        for task in waiting[joined]:
            with pytest.raises(busway.BusClosed):
                await task


async def test_a_name_is_free_again_when_its_holder_goes() -> None:
    async with buses() as (a, b):
        b.register("one")
        await until(lambda: sees(a, "one"))
        await b.close()
        receiver = a.register("one")
        await a.send("one", 1)
        assert await payloads(receiver, 1) == [1]


async def test_who_never_waits_still_lets_others_run() -> None:
    async with buses(1) as (a,):
        receiver = a.register("log")
        steps = 0

        async def count() -> None:
            nonlocal steps
            while True:
                steps += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        for number in range(3000):
            await a.send("log", b"")
            if number % 2:
                await receiver.receive()
                await receiver.receive()
        counting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await counting
        assert steps > 10
