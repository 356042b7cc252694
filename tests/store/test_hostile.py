"""Bounds of a store: who is hostile, greedy or wrong gets a number, and harms nobody; policies are asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

import busway
from busway.cli.doctor import Report
from busway.cli.doctor_store import check_stores
from busway.names import endpoint_id
from busway.store import records
from busway.store.limits import Keep
from busway.testing import Network
from tests.store import crash
from tests.store.lab import Lab, lab, taken, until

PUMP = endpoint_id("lab/pump")


async def code_of(it: Lab, question: object) -> int:
    """The number of the error that a question is answered with; 0 for none."""
    payload = question if isinstance(question, (bytes, dict, str, list)) else msgspec.msgpack.encode(question)
    try:
        reply = await it.sender.request(records.STORE_NAME, payload, ttl=9)
    except busway.RemoteError as error:
        return error.code
    if isinstance(question, records.Put):
        return int(msgspec.msgpack.decode(reply)[1])
    return 0


def item(**words: Any) -> records.Item:
    made: dict[str, Any] = {
        "kind": 0,
        "name": "lab/pump",
        "endpoint": PUMP,
        "format": 0,
        "type_id": b"",
        "payload": b"x",
    }
    return records.Item(**(made | words))


def put(*items: records.Item, stream: bytes = bytes(16), numbers: list[int] | None = None) -> records.Put:
    return records.Put(stream, [*range(len(items))] if numbers is None else numbers, [*items])


WRONG: list[object] = [
    b"",
    b"\xc1",
    b"\x81\xa2op\xa4none",
    os.urandom(300),
    "text",
    [1, 2],
    {"op": "put"},
    {"op": "hello", "op2": 1} | {"op": 7},
    put(),
    put(item(), stream=b"short"),
    put(item(), numbers=[1, 2]),
    put(item(), item(), numbers=[2, 1]),
    put(item(), numbers=[-1]),
    put(item(kind=7)),
    put(item(priority=9)),
    put(item(wait_ms=-1)),
    put(item(wait_ms=1 << 62)),
    put(item(), numbers=[1 << 63]),
    records.Ack(bytes(16), again=[(0, 1 << 60)]),
    records.History("lab/*", since=(1 << 64) - 1),
    records.Attach(bytes(16), bytes(16), durable="a", pattern="lab/*", start=1 << 63),
    put(item(format=9)),
    put(item(format=3, type_id=b"x")),
    put(item(endpoint=b"x")),
    put(item(name="lab/other")),
    put(item(name="lab/*", endpoint=endpoint_id("lab/x"))),
    records.Attach(b"short", bytes(16)),
    records.Attach(bytes(16), bytes(16), ahead=0),
    records.Attach(bytes(16), bytes(16), name="lab/pump", endpoint=bytes(16)),
    records.Attach(bytes(16), bytes(16), durable="x" * 65, pattern="lab/*"),
    records.Attach(bytes(16), bytes(16), durable="a", pattern="lab*"),
    records.Attach(bytes(16), bytes(16), durable="a", pattern="lab/*", start="never"),
    records.Attach(bytes(16), bytes(16), durable="a", pattern="lab/*", start=-1),
    records.Attach(bytes(16), bytes(16), durable="a", pattern="lab/*", tries=0),
    records.Attach(bytes(16), bytes(16), durable="a", pattern="lab/*", visibility=-1),
    records.History("lab*"),
    records.Last("lab/*"),
]


async def test_wrong_questions_get_numbers_and_change_nothing(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        for question in WRONG:
            assert await code_of(it, question) == records.MALFORMED, question
        assert await code_of(it, records.Ack(bytes(16))) == records.NO_SESSION
        assert await code_of(it, records.Jobs("nothing")) == records.NO_SUCH
        assert it.service.usage.size == 0
        assert it.service.counts["malformed"] >= 8
        assert it.service.tables.durables() == []


async def test_a_put_of_which_one_is_refused_keeps_those_before_it(tmp_path: Path) -> None:
    async with lab(tmp_path, keep=["lab/**"]) as it:
        other = item(name="other/x", endpoint=endpoint_id("other/x"))
        reply = await it.sender.request(
            records.STORE_NAME, msgspec.msgpack.encode(put(item(), other, item())), ttl=9
        )
        assert msgspec.msgpack.decode(reply)[:2] == [1, records.NOT_KEPT]
        own = item(name="busway/store", endpoint=endpoint_id("busway/store"))
        assert await code_of(it, put(own, stream=b"1" * 16)) == records.NOT_KEPT


async def test_questions_may_be_values_as_well(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        question = {
            "op": "put",
            "stream": bytes(16),
            "numbers": [0],
            "items": [[0, "lab/pump", PUMP, 1, b"", b"\x07"]],
        }
        assert await it.sender.request(records.STORE_NAME, question, ttl=9) == [1, 0, ""]
        assert await taken(it.receiver.register("lab/pump"), 1) == [7]


async def test_a_store_takes_what_it_is_to_take_and_no_more(tmp_path: Path) -> None:
    async with lab(tmp_path, size=40_000, share=0.5, mail=100) as it:

        async def send_all() -> None:
            for _ in range(100):
                await it.sender.send("lab/pump", bytes(1000), store=True)

        with pytest.raises(busway.StoreError) as caught:
            await send_all()
        assert caught.value.code == records.STORE_FULL
        assert it.service.usage.size <= 20_000
        other = await it.other("other")
        await other.send("lab/pump", bytes(1000), store=True)  # whose share is its own
        with pytest.raises(busway.StoreError, match="payloads of"):
            await it.sender.send("lab/big", bytes(5 << 20), store=True)
        receiver = it.receiver.register("lab/pump")
        await taken(receiver, 16)
        await it.sender.send("lab/pump", bytes(1000), store=True)


async def test_mail_is_counted_anew_when_a_store_begins(tmp_path: Path) -> None:
    async with lab(tmp_path, mail=3) as it:
        for number in range(3):
            await it.sender.send("lab/pump", number, store=True)
        await it.again()
        with pytest.raises(busway.StoreError, match="3 messages"):
            await it.sender.send("lab/pump", 3, store=True)


async def test_a_consumer_of_another_node_has_no_say(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        receiver: Any = it.receiver.register("lab/pump", once=True)
        await until(lambda: it.service.sessions)
        (session,) = it.service.sessions
        assert await code_of(it, records.Ack(session, [(0, 9)])) == records.NO_SESSION
        assert await code_of(it, records.Detach(session)) == records.NO_SESSION
        forged = msgspec.msgpack.encode(records.Batch(session, 0, []))
        await it.sender.send("lab/pump", forged, ttl=9)  # only the store's node is believed
        message = await receiver.receive(20)
        assert message.payload == forged
        assert message.id == b""


async def test_acknowledging_what_was_never_given_costs_nothing(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        for number in range(5):
            await it.sender.send("lab/pump", number, store=True)
        it.sender.register(b"e" * 16)
        attach = records.Attach(b"s" * 16, b"e" * 16, name="lab/pump", endpoint=PUMP)
        assert await code_of(it, attach) == 0
        runs = [(9, 2), (5, 1 << 60)] * 500
        assert await code_of(it, records.Ack(b"s" * 16, runs)) == 0
        assert it.service.usage.mail == 5
        assert await code_of(it, records.Ack(b"s" * 16, [(0, 1 << 60)])) == 0
        assert it.service.usage.mail == 0


async def test_two_stores_do_not_keep_the_same_names(tmp_path: Path) -> None:
    async with lab(tmp_path / "one", keep=["lab/**", "hall/*"]) as it:
        other = await it.other("other")
        with pytest.raises(busway.StoreError, match="keeps 'lab/\\*\\*' already") as caught:
            await busway.Store(other, tmp_path / "two", keep=["*/pump"]).open()
        assert caught.value.code == records.NOT_ACTIVE
        with pytest.raises(busway.StoreError, match="another store has"):
            await busway.Store(other, tmp_path / "one", keep=["else"]).open()
        async with busway.Store(other, tmp_path / "two", keep=["else/**"]):
            await it.sender.send("else/x", 1, store=True)
            await it.sender.send("lab/x", 2, store=True)
            assert await taken(it.receiver.register("else/x"), 1) == [1]
            assert await taken(it.receiver.register("lab/x"), 1) == [2]


async def test_a_policy_says_who_may_store_and_read(tmp_path: Path) -> None:
    rules = [
        {
            "who": "*",
            "serve": ["lab/mine"],
            "send": ["lab/pump"],
            "publish": ["lab/level"],
            "subscribe": ["lab/level"],
            "call": ["busway/store", "busway/store/answers"],
        }
    ]
    async with Network() as network:
        middle = await network.bus("store", policy={"default": "closed", "rule": rules})
        it = Lab(network, tmp_path)
        it.sender = await network.bus("sender")
        await network.link(it.sender, middle)
        async with busway.Store(middle, tmp_path) as it.store:
            await it.sender.send("lab/pump", 1, store=True)
            await it.sender.publish("lab/level", 1, store=True)
            for call, name in ((it.sender.send, "lab/door"), (it.sender.publish, "lab/pump")):
                with pytest.raises(busway.StoreError) as caught:
                    await call(name, 1, store=True)
                assert caught.value.reason_name == "NOT_ALLOWED"
            to = b"\1" * 16
            session = iter(bytes([number]) * 16 for number in range(1, 9))
            mine = records.Attach(next(session), to, name="lab/mine", endpoint=endpoint_id("lab/mine"))
            assert await code_of(it, mine) == 0
            theirs = records.Attach(next(session), to, name="lab/pump", endpoint=PUMP)
            assert await code_of(it, theirs) == records.NOT_ALLOWED
            level = records.Attach(next(session), to, durable="a", pattern="lab/level")
            assert await code_of(it, level) == 0
            secret = records.Attach(next(session), to, durable="b", pattern="hall/level")
            assert await code_of(it, secret) == records.NOT_ALLOWED
            assert await code_of(it, records.History("lab/level")) == 0
            assert await code_of(it, records.History("hall/*")) == records.NOT_ALLOWED
            assert await code_of(it, records.Last("hall/level")) == records.NOT_ALLOWED
            assert await code_of(it, records.Jobs("lab/pump", "drop")) == records.NO_SUCH


async def test_a_full_disk_is_told_and_goes_on_by_itself(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        await it.sender.send("lab/pump", 1, store=True)
        backend: Any = it.service.backend
        reserve, backend._reserve = backend._reserve, 1 << 60  # more than any disk has free
        with pytest.raises(busway.StoreError, match="disk of the store is full") as caught:
            await it.sender.send("lab/pump", 2, store=True)
        assert caught.value.code == records.DISK_FULL
        report = Report()
        await check_stores(report, it.sender, [it.middle.id], 20.0)
        assert [text for text, _ in report.findings] == [
            f"the store at node {it.middle.id.hex()[:8]} refuses: {caught.value.message}"
        ]
        receiver: Any = it.receiver.register("lab/pump", once=True)
        message = await receiver.receive(20)  # what is done with can go all the same
        message.ack()
        await until(lambda: it.service.usage.mail == 0)
        backend._reserve = reserve
        await it.sender.send("lab/pump", 3, store=True)
        report = Report()
        await check_stores(report, it.sender, [it.middle.id], 20.0)
        assert report.findings == []
        assert "keeps **" in report.facts[0]
        it.service.limits = it.service.usage._keep = Keep(size=280)
        report = Report()
        await check_stores(report, it.sender, [it.middle.id, bytes(16)], 1.0)
        assert "nearly full" in report.remarks[0][0]
        assert "does not answer" in report.findings[0][0]


# The file


def test_a_writer_that_is_killed_loses_nothing_that_it_told(tmp_path: Path) -> None:
    assert "none lost" in crash.kills(7, 6, tmp_path / "store")


def test_files_that_were_cut_short_are_refused_or_begin_with_what_is_left(tmp_path: Path) -> None:
    assert "cuts" in crash.cuts(7, 6, tmp_path)


def test_a_full_disk_refuses(tmp_path: Path) -> None:
    told = crash.disk(tmp_path)
    if "only root" in told:
        pytest.skip(told)
    assert "a full disk refused" in told


def test_the_folder_is_its_owners_only(tmp_path: Path) -> None:
    crash.kills(1, 1, tmp_path / "store")
    assert (tmp_path / "store").stat().st_mode & 0o077 == 0
    assert (tmp_path / "store" / "store.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("place", "keep", "words"),
    [
        ("redis://x", ["a"], "a store is at"),
        ("sqlite://", ["a"], "needs a path"),
        ("x", [], "at least one name"),
        ("x", "lab", "write \\['lab'\\]"),
        ("x", ["lab*"], "stands for a whole level"),
    ],
)
async def test_what_a_store_cannot_be(place: str, keep: Any, words: str) -> None:
    async with busway.AsyncBus(ipc=False) as bus:
        with pytest.raises((ValueError, TypeError), match=words):
            await busway.Store(bus, place, keep=keep).open()
