"""Attacks on a store, each of which once succeeded: what was confirmed is delivered all the same."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import busway
from busway.names import endpoint_id
from busway.store import records
from busway.testing import Network
from tests.store.lab import lab, taken, until
from tests.store.test_hostile import code_of, item, put


async def test_a_sender_s_numbers_are_nobody_else_s(tmp_path: Path) -> None:
    """Receivers know the stream of a sender, and could have used up its numbers."""
    async with lab(tmp_path) as it:
        await it.sender.send("lab/pump", 1, store=True)
        receiver: Any = it.receiver.register("lab/pump", once=True)
        stream = (await receiver.receive(20)).id[:16]
        other = await it.other("other")
        (outbox,) = it.sender._store_client.outboxes.values()
        for known in (stream, outbox.stream):
            forged = put(item(), stream=known, numbers=[1 << 40])
            await other.request(records.STORE_NAME, msgspec.msgpack.encode(forged), ttl=9)
        assert await taken(receiver, 2) == [b"x", b"x"]
        await it.sender.send("lab/pump", 2, store=True)
        assert await taken(receiver, 1) == [2]


async def test_a_receiver_that_attaches_anew_gets_what_comes_later(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        await it.sender.send("lab/pump", 1, store=True)
        receiver: Any = it.receiver.register("lab/pump", once=busway.Once(explicit=True))
        assert await taken(receiver, 1) == [1]
        (first,) = it.service.sessions
        receiver._intake.lost = True
        receiver._intake.kick()
        await until(lambda: it.service.sessions and first not in it.service.sessions)
        await it.sender.send("lab/pump", 2, store=True)
        assert await taken(receiver, 1) == [2]


async def test_what_was_written_for_a_sender_that_gave_up_is_delivered(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        receiver = it.receiver.register("lab/pump")
        await it.sender.send("lab/pump", 0, store=True)
        assert await taken(receiver, 1) == [0]  # the store has looked at what it had as it began
        await until(lambda: it.service.usage.size == 0)
        commit = it.service.backend.commit
        written = asyncio.Event()
        go = asyncio.Event()

        async def slow(changes: Any) -> Any:
            found = await commit(changes)
            if changes[0][0] == "put":
                written.set()
                await go.wait()
            return found

        it.service.backend.commit = slow  # type: ignore[method-assign]
        question = msgspec.msgpack.encode(put(item()))
        asking = asyncio.ensure_future(it.sender.request(records.STORE_NAME, question, ttl=9))
        await written.wait()
        (handler,) = it.middle._host.handlers.values()
        handler.cancel()  # as of who has more than its share of those that wait
        with pytest.raises(busway.RemoteError):
            await asking
        go.set()
        assert await code_of(it, put(item())) == 0  # confirmed, when it is asked again
        assert await taken(receiver, 1) == [b"x"]
        await until(lambda: not it.service.tables.addressees())
        assert it.service.usage.size == 0


async def test_what_is_for_programs_of_this_machine_is_not_reached_by_way_of_a_store(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        got = []
        it.middle.serve("lab/secret", lambda request: got.append(request.payload), realm="userspace")
        it.middle.register("lab/private", realm="userspace")
        with pytest.raises(busway.BusError):
            await it.sender.request("lab/secret", 1, timeout=2, store=True)
        await it.sender.send("lab/private", 1, store=True)
        await asyncio.sleep(1.5)
        assert got == []
        assert it.service.usage.mail >= 1


async def test_what_is_the_bus_s_own_is_no_name_for_mail(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        for name in ("busway/store", "busway/store/answers"):
            hidden = item(kind=1, name="", endpoint=endpoint_id(name), payload=b"\x81\xa2op\xa6status")
            assert await code_of(it, put(hidden, stream=name[-16:].encode().rjust(16))) == 0
        await asyncio.sleep(1.5)
        assert it.service.usage.mail == 2  # nobody is asked


HUGE: list[object] = [
    put(item(), numbers=[1 << 63]),
    put(item(), numbers=[(1 << 64) - 1]),
    put(item(wait_ms=1 << 63)),
    put(item(kind=2, wait_ms=(1 << 63) - 1)),
    put(item(kind=1, timeout_ms=1 << 63)),
    put(item(kind=1, timeout_ms=1 << 50)),
    put(*[item()] * 513),
    records.Attach(b"short", bytes(16)),
    records.Attach(bytes(16), bytes(16), durable="a", pattern="lab/*", start=1 << 63),
    records.Attach(bytes(16), bytes(16), durable="a", pattern="lab/*", start=float("nan")),
    records.Attach(bytes(16), bytes(16), durable="a", pattern="lab/*", start=float("inf")),
    records.Attach(bytes(16), bytes(16), durable="a", pattern="lab/*", start=1e300),
    records.History("lab/*", after=1 << 63),
    records.History("lab/*", since=1 << 63),
    records.History("lab/*", until=-(1 << 63)),
    records.Last("x" * 10_000),
    records.Last(""),
    records.Answer(b"x"),
    records.Ack(bytes(16), [(0, 0)] * 5000),
    records.Ack(bytes(16), [(0, 1 << 63)]),
    records.Jobs("x", count=1 << 63),
]


@pytest.mark.parametrize("question", HUGE, ids=lambda q: repr(q)[:60])
async def test_numbers_that_are_too_large_are_refused(tmp_path: Path, question: object) -> None:
    async with lab(tmp_path) as it:
        assert await code_of(it, question) == records.MALFORMED
        assert it.service.trouble == ""


async def test_what_came_of_requests_takes_room_as_well(tmp_path: Path) -> None:
    async with lab(tmp_path, size=1_000_000) as it:
        it.receiver.serve("lab/pump", lambda request: bytes(200_000))
        for number in range(12):
            await it.sender.request(
                records.STORE_NAME,
                msgspec.msgpack.encode(put(item(kind=1, wait_ms=60_000), numbers=[number])),
                ttl=9,
            )
        await until(lambda: it.service.usage.mail == 0)
        held = it.service.tables.db.execute("SELECT sum(length(payload)) FROM answers").fetchone()[0]
        assert held <= 250_000  # a sender's share
        assert it.service.usage.size == held + 12 * 256
        await it.again()
        assert it.service.usage.size == held + 12 * 256
        assert it.service.usage.mail == 0


async def test_an_answer_that_is_too_large_is_an_error_of_its_own(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        it.receiver.serve("lab/pump", lambda request: bytes(5 << 20))
        with pytest.raises(busway.Undeliverable) as caught:
            await it.sender.request("lab/pump", 1, timeout=20, store=True)
        assert caught.value.reason_name == "TOO_LARGE"
        await until(lambda: it.service.usage.size == 0)


async def test_questions_that_come_together_keep_within_the_bounds(tmp_path: Path) -> None:
    async with lab(tmp_path, size=100_000, share=1.0) as it:
        asked = [
            it.sender.request(
                records.STORE_NAME,
                msgspec.msgpack.encode(put(item(payload=bytes(40_000)), stream=bytes([n]) * 16)),
                ttl=9,
            )
            for n in range(20)
        ]
        replies = await asyncio.gather(*asked)
        assert sum(msgspec.msgpack.decode(each)[0] for each in replies) == 2


def test_a_place_is_shown_without_its_password() -> None:
    store = busway.Store(busway.Bus(ipc=False), "nats://user:secret@10.0.0.5:4222,10.0.0.6/plant", keep=["a"])
    assert "secret" not in repr(store)
    assert "10.0.0.5:4222" in repr(store)


@pytest.mark.parametrize("reply", [b"", b"\xc1", msgspec.msgpack.encode(["x"]), {"a": 1}, None])
async def test_what_is_no_answer_of_a_store_ends_the_wait(reply: Any) -> None:
    async with Network() as network:
        liar, sender = await network.bus("liar"), await network.bus("sender")
        await network.link(liar, sender)
        hello = msgspec.msgpack.encode([(liar.id, bytes(16), ["**"])])
        asked = msgspec.msgpack.encode(records.Hello())
        liar.serve(records.STORE_NAME, lambda request: hello if request.payload == asked else reply)
        with pytest.raises(busway.BusError, match="something else"):
            await sender.send("lab/pump", 1, store=True, timeout=20)


@pytest.mark.parametrize("damage", ["schema", "table", "header"])
async def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, damage: str) -> None:
    async with lab(tmp_path / "one") as it:
        await it.sender.send("lab/pump", 1, store=True)
    file = tmp_path / "one" / "store.db"
    if damage == "table":
        with contextlib.closing(sqlite3.connect(file)) as db:
            db.execute("DROP TABLE durables")
    else:
        data = file.read_bytes()
        assert b"CREATE TABLE durables" in data
        data = data.replace(b"CREATE TABLE durables", b"CREAT\xdd TABLE durables")
        file.write_bytes(data if damage == "schema" else b"x" * 100 + data[100:])
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    async with Network() as network:
        bus = await network.bus("store")
        for _ in range(2):
            with pytest.raises(busway.StoreError, match="cannot be used"):
                await busway.Store(bus, tmp_path / "one").open()
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) <= before


async def test_what_is_published_leaves_room_for_mail(tmp_path: Path) -> None:
    async with lab(tmp_path, size=100_000, history=20_000) as it:
        for _ in range(40):  # the oldest goes at once, and not when it is tidied
            await it.sender.publish("lab/level", bytes(4_000), store=True)
        assert it.service.usage.published_size <= 20_000
        it.receiver.subscribe("lab/level", durable=busway.Durable("idle", start="first", ahead=1))
        await until(lambda: it.service.sessions)

        async def publish_all() -> None:
            for _ in range(40):
                await it.sender.publish("lab/level", bytes(4_000), store=True)

        with pytest.raises(busway.StoreError) as caught:  # what a durable has not had stays
            await publish_all()
        assert caught.value.reason_name == "STORE_FULL"
        await it.sender.publish("lab/level", bytes(4_000))
        await until(lambda: it.service.recording.refused)
        await it.sender.send("lab/pump", bytes(20_000), store=True)


@pytest.mark.parametrize("keep", ["**", "lab/level"])
async def test_what_is_published_for_this_machine_is_not_read_from_another(tmp_path: Path, keep: str) -> None:
    async with lab(tmp_path, keep=[keep]) as it:

        def recorded() -> list[bytes]:
            return [entry.payload for entry in it.service.tables.published("lab/level", 0, 1000)[0]]

        while not recorded():  # the sender has to hear of the store first
            await it.sender.publish("lab/level", 0)
            await asyncio.sleep(0.05)
        await it.sender.publish("lab/level", 1, realm="userspace")
        await it.sender.publish("lab/level", 2)
        await until(lambda: b"\x02" in recorded())
        assert b"\x01" not in recorded()
