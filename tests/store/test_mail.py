"""Mail for who is away: kept when confirmed, delivered in order, once where that is declared."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

import busway
from busway.names import endpoint_id
from busway.store import records
from busway.store.records import ONCE_LABEL
from tests.adapters.tools import channels
from tests.store.lab import lab, taken, until


@busway.message(name="store/reading")
@dataclass
class Reading:
    """A message type."""

    celsius: float


async def test_mail_outlives_the_store_and_comes_in_order(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        for number in range(5):
            await it.sender.send("lab/pump", {"number": number}, store=True)
        await it.again()
        await it.sender.send("lab/pump", {"number": 5}, store=True)
        receiver = it.receiver.register("lab/pump")
        assert await taken(receiver, 6) == [{"number": number} for number in range(6)]
        await until(lambda: it.service.usage.mail == 0)
        assert it.service.tables.mail_queues() == []


@pytest.mark.parametrize("payload", [b"bytes", {"a": [1, 2]}, "text", None, Reading(21.5)])
async def test_payloads_arrive_as_they_were_sent(tmp_path: Path, payload: object) -> None:
    async with lab(tmp_path) as it:
        target: Any = Reading if isinstance(payload, Reading) else "lab/any"
        await it.sender.send(target, payload, store=True)
        await it.sender.send(target, payload, store=True)
        plain = it.receiver.register(target)
        assert await taken(plain, 2) == [payload, payload]
        plain.close()
        await it.sender.send(target, payload, store=True)
        once = (await it.other("once")).register(target, once=True)
        message = await once.receive(20)
        assert message.payload == payload
        assert message.source == it.sender.id
        assert message.source_label == "sender"
        assert message.endpoint == endpoint_id(target)


async def test_what_is_acknowledged_is_gone_when_its_receivers_bus_is_closed(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        for number in range(3):
            await it.sender.send("lab/pump", number, store=True)
            await it.sender.publish("lab/level", number, store=True)
        mail = it.receiver.register("lab/pump", once=True)
        levels = it.receiver.subscribe("lab/*", durable=busway.Durable("panel", start="first"))
        for each in (mail, levels):
            (await each.receive(20)).ack()  # type: ignore[attr-defined]
        await it.receiver.close()
        other = await it.other("other")
        assert await taken(other.register("lab/pump", once=True), 2) == [1, 2]
        assert await taken(other.subscribe("lab/*", durable="panel"), 2) == [1, 2]


async def test_who_takes_once_drops_what_comes_again(tmp_path: Path) -> None:
    memory = tmp_path / "taken.db"
    async with lab(tmp_path / "store") as it:
        for number in range(4):
            await it.sender.send("lab/pump", number, store=True)
        receiver: Any = it.receiver.register("lab/pump", once=memory)
        messages = [await receiver.receive(20) for _ in range(4)]  # of which the last is not taken yet
        again = it.service.tables.mail(endpoint_id("lab/pump"), (0, 0), 0, 9)
        receiver.close()
        await it.end()
        with sqlite3.connect(memory) as db:
            known = [row[0] for row in db.execute("SELECT id FROM busway_taken ORDER BY number")]
        assert known == [message.id for message in messages[:3]]
        # A store that was set back to what it had: all four are there again.
        with sqlite3.connect(tmp_path / "store" / "store.db") as db:
            db.execute("DELETE FROM entries")
            for entry in again:
                row = list(entry)
                db.execute(f"INSERT INTO entries VALUES ({', '.join('?' * len(row))})", row)
        db.close()
        it.receiver = await it.network.bus("receiver again")
        await it.begin()
        receiver = it.receiver.register("lab/pump", once=busway.Once(memory))
        assert await taken(receiver, 1) == [3]
        await it.sender.send("lab/pump", 4, store=True)
        assert await taken(receiver, 1) == [4]


async def test_a_transaction_takes_the_message_with_what_came_of_it(tmp_path: Path) -> None:
    memory = tmp_path / "taken.db"
    async with lab(tmp_path / "store") as it:
        receiver: Any = it.receiver.register("lab/pump", once=memory)
        await it.sender.send("lab/pump", 7, store=True)
        message = await receiver.receive(20)
        with contextlib.suppress(ZeroDivisionError), message.once() as db:
            db.execute("CREATE TABLE results (value INTEGER)")
            raise ZeroDivisionError
        message = await receiver.receive(20)  # it comes again
        assert message.tries == 1
        with message.once() as db:
            db.execute("CREATE TABLE results (value INTEGER)")
            db.execute("INSERT INTO results VALUES (?)", (message.payload,))
        await until(lambda: it.service.usage.mail == 0)
        with sqlite3.connect(memory) as db:
            assert db.execute("SELECT value FROM results").fetchall() == [(7,)]
        db.close()


async def test_what_came_past_the_store_is_taken_as_well(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        receiver: Any = it.receiver.register("lab/pump", once=True)
        await it.sender.send("lab/pump", {"direct": 1}, ttl=5)
        message = await receiver.receive(20)
        assert message.payload == {"direct": 1}
        assert message.id == b""
        message.ack()
        await it.sender.send("lab/pump", {"stored": 1}, store=True)
        assert await taken(receiver, 1) == [{"stored": 1}]
        assert {endpoint.labels for endpoint in it.sender.endpoints() if endpoint.name == "lab/pump"} == {
            ("busway:once",)
        }


async def test_unknown_types_are_skipped_and_gone(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        await it.sender.send("lab/reading", Reading(1.0), store=True)
        await it.sender.send("lab/reading", "other", store=True)

        @busway.message(name="store/other")
        @dataclass
        class Other:
            text: str

        receiver: Any = it.receiver.register("lab/reading", once=True, types=(Other,))
        await it.sender.send("lab/reading", Other("x"), store=True)
        found = await receiver.receive(20)
        while found.error is not None:  # what has no type is given with the error
            found = await receiver.receive(20)
        assert found.payload == Other("x")
        assert receiver.unknown == 1
        found.ack()
        await until(lambda: it.service.usage.mail == 0)


async def test_a_message_that_fails_is_tried_again_and_dead_at_last(tmp_path: Path) -> None:
    async with lab(tmp_path, tries=3) as it:
        receiver: Any = it.receiver.register("lab/pump", once=True)
        await it.sender.send("lab/pump", "bad", store=True)
        await it.sender.send("lab/pump", "good", store=True)
        seen: list[tuple[object, int]] = []
        while len(seen) < 4:
            message = await receiver.receive(20)
            seen.append((message.payload, message.tries))
            if message.payload == "bad":
                message.retry()
            else:
                message.ack()
        assert sorted(seen) == [("bad", 0), ("bad", 1), ("bad", 2), ("good", 0)]
        await until(lambda: it.service.tables.dead(endpoint_id("lab/pump"), 9))
        (dead,) = it.service.tables.dead(endpoint_id("lab/pump"), 9)
        assert (dead.tries, dead.dead) == (3, "tried 3 times")


async def test_a_receiver_that_is_lost_leaves_its_mail_to_the_next(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        for number in range(20):
            await it.sender.send("lab/pump", number, store=True)
        first: Any = it.receiver.register("lab/pump", once=True)
        assert await taken(first, 6) == [0, 1, 2, 3, 4, 5]  # 5 is not taken yet
        await until(lambda: it.service.usage.mail == 15)
        it.network.cut(it.receiver, it.middle)
        second: Any = (await it.other("second")).register("lab/pump", once=True)
        assert await taken(second, 15) == list(range(5, 20))


async def test_who_has_a_name_alone_gets_what_the_one_before_had_first(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        for number in range(20):
            await it.sender.send("lab/pump", number, store=True)
        first: Any = it.receiver.register("lab/pump", once=busway.Once(ahead=10))
        assert await taken(first, 1) == [0]
        other = await it.other("other")  # the store has not heard that the first is gone
        (before,) = it.service.sessions
        to = other.register(b"e" * 16)
        endpoint = endpoint_id("lab/pump")
        attach = records.Attach(b"s" * 16, b"e" * 16, name="lab/pump", endpoint=endpoint, alone=True)
        first._intake.closed = True
        await other.request("busway/store", msgspec.msgpack.encode(attach), ttl=9)
        batch = msgspec.msgpack.decode((await to.receive(20)).payload, type=records.Batch)
        assert before not in it.service.sessions
        assert [each.payload[0] for each in batch.messages][:3] == [0, 1, 2]


async def test_a_message_expires(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        await it.sender.send("lab/pump", "old", store=True, ttl=0.01)
        await it.sender.send("lab/pump", "new", store=True)
        await asyncio.sleep(0.02)
        receiver = it.receiver.register("lab/pump")
        assert await taken(receiver, 1) == ["new"]
        once: Any = it.receiver.register("lab/once", once=True)
        await it.sender.send("lab/once", "late", store=True, ttl=0.001)
        await it.sender.send("lab/once", "new", store=True)
        assert (await taken(once, 1))[-1] in ("late", "new")
        await it.service._tidy()
        await until(lambda: it.service.counts["expired"] >= 1)


async def test_requests_are_answered_when_somebody_serves(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        asked = asyncio.ensure_future(
            it.sender.request("lab/pump", {"rpm": 300}, store=True, timeout=60, reply=dict)
        )
        await until(lambda: it.service.usage.mail == 1)
        await it.again()

        def answer(request: busway.Request[Any]) -> object:
            return {"rpm": request.payload["rpm"]}

        it.receiver.serve("lab/pump", answer)
        assert await asked == {"rpm": 300}

        def fail(_: object) -> None:
            raise busway.RemoteError(300, "no such pump")

        it.receiver.serve("lab/broken", fail)
        with pytest.raises(busway.RemoteError, match="no such pump") as caught:
            await it.sender.request("lab/broken", None, store=True)
        assert caught.value.code == 300
        with pytest.raises(busway.RequestTimeout):
            await it.sender.request("lab/nobody", None, store=True, timeout=0.3)


async def test_a_put_that_is_repeated_is_kept_once(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        item = records.Item(records.MAIL, "lab/pump", endpoint_id("lab/pump"), 0, b"", b"hello")
        put = msgspec.msgpack.encode(records.Put(bytes(16), [3, 4], [item, item]))
        for _ in range(3):
            assert msgspec.msgpack.decode(await it.sender.request("busway/store", put, ttl=9)) == [2, 0, ""]
        assert it.service.usage.mail == 2
        await it.again()
        assert msgspec.msgpack.decode(await it.sender.request("busway/store", put, ttl=9)) == [2, 0, ""]
        assert it.service.usage.mail == 2


async def test_without_a_store_it_says_so(tmp_path: Path) -> None:
    async with lab(tmp_path, keep=["lab/**"]) as it:
        with pytest.raises(busway.StoreError, match="no store within reach keeps 'other/name'") as caught:
            await it.sender.send("other/name", 1, store=True)
        assert caught.value.reason_name == "NOT_KEPT"
        await it.end()
        fresh = await it.network.bus("fresh")
        with pytest.raises(busway.Undeliverable, match="busway store"):
            await fresh.send("lab/pump", 1, store=True, timeout=0.1)
        with pytest.raises(busway.Undeliverable, match="no store was there in time"):
            await it.sender.send("lab/pump", 1, store=True, timeout=0.3)


async def test_a_store_that_comes_back_is_waited_for(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        await it.sender.send("lab/pump", 0, store=True)
        await it.end()
        sending = asyncio.ensure_future(it.sender.send("lab/pump", 1, store=True))
        await asyncio.sleep(0.05)
        await it.begin()
        await sending
        assert await taken(it.receiver.register("lab/pump"), 2) == [0, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sealed": True}, "sealed message cannot be stored"),
        ({"node": bytes(16)}, "leave node="),
        ({"to": "all"}, "leave node="),
        ({"ttl": -1}, "ttl must be"),
        ({"priority": "top"}, "priority"),
    ],
)
async def test_what_a_store_cannot_do_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    async with busway.AsyncBus(ipc=False) as bus:
        with pytest.raises(ValueError, match=words):
            await bus.send("lab/pump", 1, store=True, **options)
        with pytest.raises(ValueError, match="stored publish has no"):
            await bus.publish("lab/pump", 1, store=True, retain=True)
        with pytest.raises(TypeError, match="store must be True"):
            await bus.send("lab/pump", 1, store="yes")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="once= is for mail"):
            bus.register("lab/pump", "broadcast", once=True)


async def test_who_is_behind_a_slow_line_gets_its_mail_in_its_own_way(tmp_path: Path) -> None:
    """Who fetches its mail, if it had to be looked for, is not given any besides."""
    async with lab(tmp_path) as it:
        far = await it.network.bus("far")
        ends: Any = channels("localnet")
        for end in ends:
            end.lookups = True  # no directory is pushed over it
        await asyncio.gather(far.attach(ends[0]).ready, it.middle.attach(ends[1]).ready)
        plain = far.register("lab/plain")
        far.register("lab/fetched", labels={ONCE_LABEL: True})
        for number in range(5):
            for name in ("lab/plain", "lab/fetched"):
                await it.sender.send(name, number, store=True)
        assert await taken(plain, 5) == [0, 1, 2, 3, 4]
        located = it.service.pushing._located
        assert [*await located(endpoint_id("lab/plain"))] == [far.id]
        assert await located(endpoint_id("lab/fetched")) == {}
        assert await located(endpoint_id("lab/nobody")) == {}
        left = [(endpoint_id("lab/fetched"), "lab/fetched", 5)]
        await until(lambda: [row[:3] for row in it.service.tables.mail_queues()] == left)
