"""Durable subscriptions, shared by several consumers as job queues; history, retention, what waits."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

import busway
from busway.store import records
from tests.store.lab import Lab, lab, taken, until


async def published(it: Lab, name: str, *values: object) -> None:
    """Put into the store, so that each is there when this returns."""
    for value in values:
        await it.sender.publish(name, value, store=True)


async def ask(it: Lab, question: Any) -> Any:
    reply = await it.sender.request(records.STORE_NAME, msgspec.msgpack.encode(question), ttl=9)
    return msgspec.msgpack.decode(reply)


async def test_what_was_missed_comes_first_and_then_what_is_published(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        first = it.receiver.subscribe("lab/*/level", durable="panel")
        await until(lambda: it.service.sessions)
        await it.sender.publish("lab/1/level", 1)
        await it.sender.publish("lab/1/other", 0)
        await published(it, "lab/2/level", 2)
        message = await first.receive(20)
        assert (message.name, message.payload, message.source) == ("lab/1/level", 1, it.sender.id)
        assert await taken(first, 1) == [2]
        first.close()  # the second is not taken: nobody has asked for more
        await until(lambda: not it.service.sessions)
        await published(it, "lab/3/level", 3)
        await it.again()
        await published(it, "lab/4/level", 4)
        second = it.receiver.subscribe("lab/*/level", durable="panel")
        assert await taken(second, 3) == [2, 3, 4]
        live = asyncio.ensure_future(second.receive(20))
        await published(it, "lab/5/level", 5)
        assert (await live).payload == 5


async def test_live_subscribers_get_what_goes_through_the_store(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        plain = it.receiver.subscribe("lab/level")
        await until(lambda: any(info.name == "lab/level" for info in it.middle.endpoints()))
        await published(it, "lab/level", 1, 2)
        assert await taken(plain, 2) == [1, 2]
        answer = await ask(it, records.History("lab/level"))
        assert len(answer["messages"]) == 2  # its own publishing is not recorded again


@pytest.mark.parametrize("start", ["first", 3, "time", "new"])
async def test_where_a_durable_begins(tmp_path: Path, start: Any) -> None:
    async with lab(tmp_path) as it:
        await published(it, "lab/level", 1, 2)
        await asyncio.sleep(0.01)
        if start == "time":
            start = datetime.datetime.now(datetime.UTC)
        await asyncio.sleep(0.01)
        await published(it, "lab/level", 3)
        durable = busway.Durable("panel", start=start)
        receiver = it.receiver.subscribe("lab/level", durable=durable)
        await until(lambda: it.service.sessions)
        await published(it, "lab/level", 4)
        expected = {"first": [1, 2, 3, 4], "new": [4]}.get(str(start), [3, 4])
        assert await taken(receiver, len(expected)) == expected


async def test_consumers_share_jobs_and_each_is_done_once(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        workers = [await it.other(f"worker {number}") for number in range(3)]
        done: list[tuple[str, int]] = []

        async def work(bus: busway.AsyncBus) -> None:
            durable = busway.Durable("work", ahead=1, start="first")
            async for message in bus.subscribe("jobs/*", durable=durable):
                done.append((bus.label, message.payload))
                await asyncio.sleep(0.001)

        tasks = [asyncio.ensure_future(work(bus)) for bus in workers]
        await until(lambda: len(it.service.sessions) == 3)
        await published(it, "jobs/square", *range(60))
        await until(lambda: len(done) == 60)
        assert sorted(number for _, number in done) == list(range(60))
        assert len({label for label, _ in done}) == 3
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_job_that_takes_too_long_goes_to_another(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        durable = busway.Durable("work", ahead=1, start="first", visibility=0.3)
        slow: Any = it.receiver.subscribe("jobs/*", durable=durable)
        await published(it, "jobs/a", "job")
        late = await slow.receive(20)
        quick: Any = (await it.other("quick")).subscribe("jobs/*", durable=durable)
        message = await quick.receive(20)
        assert (message.payload, message.tries) == ("job", 1)
        late.ack()  # who was too slow has done it all the same
        await until(lambda: not it.service.tables.durables()[0].floor < 1)
        message.ack()


async def test_higher_priorities_go_first(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        priorities: tuple[Any, ...] = ("low", "normal", "urgent", "high", "normal")
        for number, priority in enumerate(priorities):
            await it.sender.publish("jobs/a", number, store=True, priority=priority)
        durable = busway.Durable("work", ahead=1, start="first")
        receiver = it.receiver.subscribe("jobs/a", durable=durable)
        assert await taken(receiver, 5) == [2, 3, 1, 4, 0]


async def test_dead_jobs_are_listed_and_tried_again_or_dropped(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        durable = busway.Durable("work", start="first", tries=2)
        receiver: Any = it.receiver.subscribe("jobs/*", durable=durable)
        await published(it, "jobs/a", "bad", "worse", "good")
        seen = []
        for _ in range(4):
            message = await receiver.receive(20)
            seen.append(message.payload)
            if message.payload == "bad":
                message.retry()
            elif message.payload == "worse":
                message.give_up()
            else:
                message.ack()
        assert sorted(seen) == ["bad", "bad", "good", "worse"]

        async def rows(**words: Any) -> Any:
            return await ask(it, records.Jobs("work", **words))

        while len(dead := await rows(dead=True)) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert [row["dead"] for row in dead] == ["tried 2 times", "given up by its receiver"]
        (queue,) = await ask(it, records.Jobs())
        assert (queue["queue"], queue["waiting"], queue["dead"]) == ("work", 0, 2)
        await rows(action="drop", positions=[dead[1]["position"]])
        await rows(action="retry", positions=[dead[0]["position"]])
        message = await receiver.receive(20)
        assert (message.payload, message.tries) == ("bad", 0)
        receiver.close()  # and again behind a store that has begun anew
        await it.again()
        receiver = it.receiver.subscribe("jobs/*", durable=durable)
        message = await receiver.receive(20)
        assert message.payload == "bad"
        message.ack()
        await until(lambda: not it.service.tables.marks("work"))
        assert await rows() == []


async def test_what_a_store_has_is_not_given_twice_after_it_was_killed(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        receiver: Any = it.receiver.subscribe("lab/level", durable=busway.Durable("panel", start="first"))
        await published(it, "lab/level", *range(10))
        assert await taken(receiver, 4) == [0, 1, 2, 3]
        await it.again()
        assert await taken(receiver, 6) == [4, 5, 6, 7, 8, 9]
        with pytest.raises(TimeoutError):
            await receiver.receive(0.3)


async def test_a_program_that_ends_in_order_has_told_what_it_has_done(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        await published(it, "jobs/a", 1, 2, 3)
        durable = busway.Durable("work", start="first", explicit=True)
        worker = await it.other("worker")
        receiver: Any = worker.subscribe("jobs/*", durable=durable)
        for _ in range(2):
            (await receiver.receive(20)).ack()
        await worker.close()
        assert await taken(it.receiver.subscribe("jobs/*", durable=durable), 1) == [3]
        assert it.service.tables.durables()[0].floor == 2


async def test_history_in_order_by_time_and_newest(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        await published(it, "lab/1/level", 1, 2)
        await asyncio.sleep(0.01)
        await published(it, "lab/2/level", 3)
        await published(it, "lab/1/level", 4)

        async def rows(**words: Any) -> list[records.Delivered]:
            pattern = words.pop("pattern", "lab/*/level")
            answer = await ask(it, records.History(pattern, **words))
            return [msgspec.convert(row, records.Delivered) for row in answer["messages"]]

        async def values(**words: Any) -> list[int]:
            return [row.payload[0] for row in await rows(**words)]

        assert await values() == [1, 2, 3, 4]
        since = (await rows())[2].stored
        assert await values(since=since) == [3, 4]
        assert await values(until=since - 1) == [1, 2]
        assert await values(count=2) == [1, 2]
        assert await values(count=2, newest=True) == [3, 4]
        assert await values(after=2) == [3, 4]
        assert await values(pattern="lab/1/level") == [1, 2, 4]
        (last,) = await ask(it, records.Last("lab/1/level"))
        assert msgspec.convert(last, records.Delivered).payload == b"\x04"
        assert await ask(it, records.Last("lab/9/level")) == []


async def test_what_is_old_goes_unless_a_durable_has_not_had_it(tmp_path: Path) -> None:
    async with lab(tmp_path, count=3, history=1 << 20) as it:
        await published(it, "lab/level", *range(6))
        await it.service.recording.trim()
        assert len((await ask(it, records.History("lab/level")))["messages"]) == 3
        receiver = it.receiver.subscribe("lab/level", durable=busway.Durable("panel", start="first"))
        await until(lambda: it.service.sessions)
        receiver.close()
        await published(it, "lab/level", *range(6, 12))
        await it.service.recording.trim()
        assert it.service.usage.published == 9
        receiver = it.receiver.subscribe("lab/level", durable="panel")
        assert await taken(receiver, 9) == list(range(3, 12))
        receiver.close()


async def test_what_is_old_goes_once_though_two_look_at_it_together(tmp_path: Path) -> None:
    async with lab(tmp_path, count=3, history=1 << 20) as it:
        await published(it, "lab/level", *range(6))
        await asyncio.gather(*(it.service.recording.trim() for _ in range(3)))
        assert it.service.usage.published == 3


async def test_what_a_durable_has_not_had_keeps_nothing_else_from_going(tmp_path: Path) -> None:
    async with lab(tmp_path, count=10) as it:
        receiver = it.receiver.subscribe("rare/*", durable=busway.Durable("away", start="first"))
        await until(lambda: it.service.sessions)
        receiver.close()
        await until(lambda: not it.service.sessions)
        await asyncio.gather(*(it.sender.publish("rare/one", each, store=True) for each in range(1200)))
        await asyncio.gather(*(it.sender.publish("lab/level", each, store=True) for each in range(30)))
        for _ in range(2):
            await it.service.recording.trim()
            assert it.service.usage.published == 1210
        assert len((await ask(it, records.History("lab/level")))["messages"]) == 10
        receiver = it.receiver.subscribe("rare/*", durable="away")
        assert await taken(receiver, 1199) == list(range(1199))
        newest: Any = await receiver.receive(20)
        newest.ack()
        await until(lambda: it.service.tables.durables()[0].floor >= 1200)
        await it.service.recording.trim()
        assert it.service.usage.published == 10


async def test_what_was_published_with_a_priority_is_recorded_with_it(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        await until(lambda: [each for each in it.sender.endpoints() if each.name == "**"])
        await it.sender.publish("jobs/a", "later", priority="low")
        await it.sender.publish("jobs/a", "first", priority="urgent")
        await until(lambda: it.service.usage.published == 2)
        durable = busway.Durable("work", ahead=1, start="first")
        assert await taken(it.receiver.subscribe("jobs/a", durable=durable), 2) == ["first", "later"]


async def test_what_was_published_expires(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        durable = busway.Durable("work", start="first")
        await it.sender.publish("jobs/a", "too late", store=True, ttl=0.001)
        await it.sender.publish("jobs/a", "in time", store=True, ttl=1000)
        await asyncio.sleep(0.01)
        receiver: Any = it.receiver.subscribe("jobs/a", durable=durable)
        assert await taken(receiver, 1) == ["in time"]
        (left,) = (await ask(it, records.History("jobs/a")))["messages"]
        assert msgspec.convert(left, records.Delivered).position == 2
        with pytest.raises(ValueError, match="ttl= of publish is for store=True"):
            await it.sender.publish("jobs/a", "now", ttl=1)


async def test_a_durable_is_forgotten(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        receiver = it.receiver.subscribe("lab/level", durable="panel")
        await until(lambda: it.service.sessions)
        with pytest.raises(busway.RemoteError, match="has consumers"):
            await ask(it, records.Jobs("panel", "forget"))
        receiver.close()
        await until(lambda: not it.service.sessions)
        await ask(it, records.Jobs("panel", "forget"))
        assert await ask(it, records.Jobs()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"name": ""}, "1 to 64 bytes"),
        ({"name": "a", "start": "never"}, "start must be"),
        ({"name": "a", "start": -1}, "start must be"),
        ({"name": "a", "start": datetime.datetime(2026, 1, 1)}, "time zone"),
        ({"name": "a", "ahead": 0}, "ahead must be"),
    ],
)
def test_what_a_durable_cannot_be(words: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        busway.Durable(**words)


async def test_last_values_outlive_their_publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("busway.store.lasting.NAMES_MAX", 1)  # of those that stay, whatever else is newer
    async with lab(tmp_path, last=["lab/*/mode"], count=1) as it:
        oven = await it.other("oven")
        await oven.publish("lab/oven/mode", "idle", retain=True)
        await oven.publish("lab/oven/mode", "heating", retain=True)
        await oven.publish("lab/oven/level", 1)
        await until(lambda: it.service.usage.published == 3)
        await published(it, "lab/other", *range(5))
        await it.service.recording.trim()  # all but the newest, and that one
        newest = it.service.tables.newest_of_each(9, lambda name: name != "lab/oven/level")
        assert [row.name for row in newest] == ["lab/other", "lab/oven/mode"]
        await oven.close()
        await until(lambda: it.service.lasting._kept)
        assert (await it.receiver.last("lab/oven/mode", timeout=20)).payload == "heating"
        await it.again()
        message = await it.receiver.last("lab/oven/mode", timeout=20)
        assert (message.payload, message.source) == ("heating", it.middle.id)
        again = await it.other("oven again")
        await again.publish("lab/oven/mode", "off", retain=True)
        await until(lambda: not it.service.lasting._kept)
        assert (await it.receiver.last("lab/oven/mode", timeout=20)).payload == "off"


@pytest.mark.parametrize("wrong", [{"visibility": -1.0}, {"visibility": 1e6}, {"tries": 0}, {"tries": 1001}])
def test_durables_that_no_store_takes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        busway.Durable("panel", **wrong)


@pytest.mark.parametrize(
    "wrong", [{"size": -1}, {"share": 7.0}, {"tries": 0}, {"age": -1.0}, {"count": True}]
)
async def test_stores_that_cannot_be(tmp_path: Path, wrong: dict[str, Any]) -> None:
    async with busway.AsyncBus(ipc=False) as bus:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            busway.Store(bus, tmp_path, **wrong)
