"""Two stores for the same names, which meet when two parts of a bus become one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

import busway
from busway.names import endpoint_id
from busway.protocol import codes
from busway.store import receiving, records, service
from busway.store.finding import Found, stores_at
from busway.store.outbox import Moved, Outbox
from busway.testing import Network
from tests.front.cli_rig import new_bus
from tests.store.lab import lab, taken, until


async def other_part(network: Network, folder: Path) -> tuple[busway.AsyncBus, busway.AsyncBus, busway.Store]:
    """A router with a store, and a program beside it, linked with nobody else."""
    middle = await network.bus("store2", transit=True)
    program = await network.bus("sender2")
    await network.link(program, middle)
    store = busway.Store(middle, folder)
    await store.open()
    return middle, program, store


async def test_the_younger_stands_by_and_goes_on_when_the_older_has_ended(tmp_path: Path) -> None:
    async with lab(tmp_path / "older") as it:
        middle, program, store = await other_part(it.network, tmp_path / "younger")
        await program.send("lab/pump", "kept by the younger", store=True)
        await it.network.link(it.middle, middle)
        await until(lambda: not store.active)
        assert it.store.active
        await program.send("lab/pump", "kept by the older", store=True)
        receiver = it.receiver.register("lab/pump", once=True)
        assert await taken(receiver, 1) == ["kept by the older"]
        await it.store.aclose()
        await until(lambda: store.active)
        assert await taken(receiver, 1) == ["kept by the younger"]
        await program.send("lab/pump", "later", store=True)
        assert await taken(receiver, 1) == ["later"]
        await store.aclose()


async def test_stores_of_other_names_do_not_mind_each_other(tmp_path: Path) -> None:
    async with lab(tmp_path / "older", keep=["lab/**"]) as it:
        middle = await it.network.bus("store2", transit=True)
        async with busway.Store(middle, tmp_path / "younger", keep=["home/**"]) as store:
            await it.network.link(it.middle, middle)
            service = store._service
            assert service is not None
            await until(lambda: it.middle.id in service.others)
            await it.sender.send("home/pump", 1, store=True)
            assert await taken(it.receiver.register("home/pump"), 1) == [1]
            assert store.active


async def test_a_store_that_stands_by_is_closed_as_any_other(tmp_path: Path) -> None:
    async with lab(tmp_path / "older") as it:
        middle, _, store = await other_part(it.network, tmp_path / "younger")
        await it.network.link(it.middle, middle)
        await until(lambda: not store.active)
        await store.aclose()
        await it.store.aclose()
        async with busway.Store(middle, tmp_path / "younger") as again:
            assert again.active


async def test_a_store_that_did_not_answer_at_first_is_met_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_SEEK_S", 0.2)
    async with lab(tmp_path / "older") as it:
        middle, _, store = await other_part(it.network, tmp_path / "younger")
        asked = []

        async def silent(bus: busway.AsyncBus, nodes: list[bytes]) -> list[Found]:
            asked.append(bus.id)
            return [] if asked.count(bus.id) < 2 else await stores_at(bus, nodes)

        monkeypatch.setattr(service, "stores_at", silent)
        await it.network.link(it.middle, middle)
        await until(lambda: not store.active)
        assert it.store.active
        await store.aclose()


async def test_a_store_that_begins_while_another_looks_around_is_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_SEEK_S", 1e9)
    async with lab(tmp_path / "older") as it:
        middle = await it.network.bus("store2", transit=True)
        await it.network.link(it.middle, middle)
        check = service.Service._check_alone

        async def earlier(self: service.Service) -> None:
            """As if it had come to that before the other one was there."""
            monkeypatch.setattr(service.Service, "_check_alone", check)

        monkeypatch.setattr(service.Service, "_check_alone", earlier)
        store = busway.Store(middle, tmp_path / "younger")
        await store.open()
        await until(lambda: not store.active)
        assert it.store.active
        await store.aclose()


async def test_what_was_being_written_is_given_out_when_it_is_active_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(tmp_path / "older") as it:
        middle, program, store = await other_part(it.network, tmp_path / "younger")
        backend, writes, written = store._backend, asyncio.Event(), asyncio.Event()
        commit = backend.commit

        async def slow(changes: Any) -> Any:
            if any(change[0] == "put" for change in changes):
                writes.set()
                await written.wait()
            return await commit(changes)

        monkeypatch.setattr(backend, "commit", slow)
        sent = asyncio.ensure_future(program.send("lab/pump", "amid it", store=True, timeout=2.0))
        await writes.wait()
        await it.network.link(it.middle, middle)
        await until(lambda: not store.active)
        await it.store.aclose()
        await asyncio.sleep(2.5)
        assert not store.active
        written.set()
        await asyncio.gather(sent, return_exceptions=True)
        await until(lambda: store.active)
        assert await taken(program.register("lab/pump"), 1) == ["amid it"]
        await store.aclose()


async def test_one_that_cannot_read_its_file_when_it_is_its_turn_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(tmp_path / "older") as it:
        middle, _, store = await other_part(it.network, tmp_path / "younger")
        await it.network.link(it.middle, middle)
        await until(lambda: not store.active)
        tables = store._backend.tables
        whole, tables.db = tables.db, sqlite3.connect("")
        await it.store.aclose()
        await asyncio.sleep(2.5)
        assert not store.active
        tables.db.close()
        tables.db = whole
        await until(lambda: store.active)
        await store.aclose()


async def test_receivers_leave_a_store_that_stands_by_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "_BEAT_S", 1e6)
    async with lab(tmp_path / "older") as it:
        middle, program, store = await other_part(it.network, tmp_path / "younger")
        receiver = program.register("lab/pump", once=True)
        assert isinstance(receiver, receiving.AsyncMailbox)
        await until(lambda: receiver.store == middle.id)
        await it.network.link(it.middle, middle)
        await until(lambda: receiver.store == it.middle.id)
        await it.store.aclose()
        await until(lambda: receiver.store == middle.id)
        await store.aclose()


async def test_senders_go_on_with_another_store_when_theirs_is_gone(tmp_path: Path) -> None:
    async with lab(tmp_path / "first") as it:
        await it.sender.send("lab/pump", 1, store=True)
        await it.store.aclose()
        async with busway.Store(it.middle, tmp_path / "second"):
            await it.sender.send("lab/pump", 2, store=True)
            assert await taken(it.receiver.register("lab/pump"), 1) == [2]


def test_so_do_those_with_threads(place: Path, tmp_path: Path) -> None:
    with busway.Bus(new_bus(), label="sender") as sender:
        with busway.Store(sender, tmp_path / "first"):
            sender.send("lab/pump", 1, store=True)
        with busway.Store(sender, tmp_path / "second"):
            sender.send("lab/pump", 2, store=True)
            assert sender.register("lab/pump").receive(20).payload == 2


def test_what_a_store_may_have_stays_with_it_and_so_does_all_behind_it() -> None:
    outbox = Outbox()
    waiting = [outbox.add(item(name), 9.0, concurrent.futures.Future()) for name in ("a", "b")]
    assert outbox.batch(0.0)
    outbox.retry(0.0, True)
    outbox.move(lambda item: True)
    assert [each.done() for each in waiting] == [False, False]


def test_what_no_other_store_keeps_waits_for_its_own() -> None:
    outbox = Outbox()
    waiting = [outbox.add(item(name), 9.0, concurrent.futures.Future()) for name in ("a", "b")]
    assert outbox.batch(0.0)
    outbox.move(lambda item: item.name == "a")
    outbox.retry(0.0, False)
    assert [each.done() for each in waiting] == [True, False]
    with pytest.raises(Moved):
        waiting[0].future.result()
    question, _ = outbox.batch(0.0) or (b"", 0.0)
    assert [each.name for each in msgspec.msgpack.decode(question, type=records.Put).items] == ["b"]


def item(name: str) -> records.Item:
    return records.Item(records.MAIL, name, endpoint_id(name), codes.RAW, b"", b"x", codes.NORMAL, 0, 0)
