"""Whose mail is given next: nobody's receivers that take nothing hold up others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import busway
from busway.store import pushing
from busway.store.turns import DOUBTFUL, OF_ONE, PLACES, Turns
from tests.store.lab import lab, taken, until


def given(turns: Turns) -> list[bytes]:
    names = []
    while (name := turns.take()) is not None:
        names.append(name)
    return names


def test_nodes_take_turns_whatever_the_number_of_their_names() -> None:
    turns = Turns()
    for number in range(1000):
        turns.add(b"a%d" % number, b"A", False)
    for name in (b"b0", b"b1"):
        turns.add(name, b"B", False)
    turns.add(b"c0", b"C", False)
    assert given(turns)[:6] == [b"a0", b"b0", b"c0", b"a1", b"b1", b"a2"]


def test_one_node_has_a_share_of_the_places_and_gives_them_back() -> None:
    turns = Turns()
    for number in range(OF_ONE + 1):
        turns.add(b"a%d" % number, b"A", False)
    assert given(turns) == [b"a%d" % number for number in range(OF_ONE)]
    turns.done(b"a3")
    turns.done(b"a3")
    turns.done(b"unheard of")
    assert given(turns) == [b"a%d" % OF_ONE]
    assert b"a3" not in turns
    assert b"a4" in turns


def test_doubtful_names_leave_places_to_others_and_are_not_passed_for_ever() -> None:
    turns = Turns()
    for number in range(2 * PLACES):
        turns.add(b"doubtful%d" % number, b"D%d" % number, True)
    assert len(given(turns)) == DOUBTFUL
    for number in range(2 * PLACES):
        turns.add(b"good%d" % number, b"G%d" % number, False)
    assert given(turns) == [b"good%d" % number for number in range(PLACES - DOUBTFUL)]
    for number in range(8):
        turns.done(b"doubtful%d" % number)
    assert sum(name.startswith(b"doubtful") for name in given(turns)) == 4


def test_a_name_waits_once_and_moves_when_there_is_news_of_it() -> None:
    turns = Turns()
    turns.add(b"x", b"A", True)
    turns.add(b"x", b"A", True)
    turns.add(b"x", b"B", False)
    assert given(turns) == [b"x"]
    turns.add(b"x", b"A", True)
    assert given(turns) == []


async def test_names_that_take_nothing_hold_up_nobody_elses_mail(tmp_path: Path) -> None:
    """More of them than there are places, at several programs. Each would hold its place for 30 s."""
    async with lab(tmp_path) as it:
        silent = [await it.other(f"silent{number}") for number in range(5)]
        names = [(bus, f"silent/{bus.label}/{number}") for number in range(60) for bus in silent]
        kept = [bus.register(name) for bus, name in names]
        await asyncio.gather(*(it.sender.send(name, b"x", store=True) for _, name in names))
        receiver = it.receiver.register("lab/pump")
        for number in range(3):
            await it.sender.send("lab/pump", number, store=True)
        assert await taken(receiver, 3) == [0, 1, 2]
        assert [(await each.receive(20)).payload for each in kept] == [b"x"] * len(kept)
        await until(lambda: it.service.usage.mail == 0)


async def test_of_large_messages_few_are_read_at_a_time(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        for number in range(12):
            await it.sender.send("lab/pump", bytes(400_000 + number), store=True)
        work = it.service.pushing
        sizes = []
        receiver = it.receiver.register("lab/pump")
        for number in range(12):
            assert len((await receiver.receive(20)).payload) == 400_000 + number
            sizes.append(max(work._sizes.values()))
        assert max(sizes) < 2_000_000


async def test_those_that_are_waited_for_are_bounded_in_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "SLOW_MAX", 2)
    async with lab(tmp_path) as it:
        kept = [it.receiver.register(f"silent/{number}") for number in range(4)]
        for number in range(4):
            for payload in (1, 2):
                await it.sender.send(f"silent/{number}", payload, store=True)
        work = it.service.pushing
        await until(lambda: (len(work._slow), len(work._since)) == (2, 2))
        since = dict(work._since)  # until they were looked at again
        await until(lambda: all(work._since[name] > began for name, began in since.items()))
        assert (len(work._slow), len(work._since)) == (2, 2)
        for each in kept:
            assert await taken(each, 2) == [1, 2]
        await until(lambda: it.service.usage.mail == 0 and not work._working)
        assert [work._slow, work._since, work._sizes, work._asked] == [{}, {}, {}, {}]


async def test_those_that_are_waited_for_are_bounded_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "SLOW_SIZE", 250)
    async with lab(tmp_path) as it:
        kept = [it.receiver.register(f"silent/{number}") for number in range(4)]
        for number in range(4):
            await it.sender.send(f"silent/{number}", bytes(100), store=True)
        work = it.service.pushing
        await until(lambda: (len(work._slow), len(work._since)) == (2, 2))
        since = dict(work._since)  # until they were looked at again
        await until(lambda: all(work._since[name] > began for name, began in since.items()))
        assert (len(work._slow), len(work._since)) == (2, 2)
        assert [await taken(each, 1) for each in kept] == [[bytes(100)]] * 4


async def test_beyond_the_bound_the_requests_of_one_name_are_called_off_and_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "SLOW_MAX", 1)
    async with lab(tmp_path) as it:
        goes = asyncio.Event()
        begun: list[int] = []

        async def slow(request: busway.Request) -> int:
            begun.append(request.payload)
            await goes.wait()
            return int(request.payload) * 2

        it.receiver.serve("lab/slow0")(slow)
        it.receiver.serve("lab/slow1")(slow)
        asked = [
            asyncio.ensure_future(it.sender.request(f"lab/slow{number}", number, store=True))
            for number in range(2)
        ]
        await until(lambda: len(begun) >= 3)  # the first, the second, and the first again
        goes.set()
        assert [await each for each in asked] == [0, 2]


async def test_requests_that_take_long_are_answered_all_the_same(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        goes = asyncio.Event()

        @it.receiver.serve("lab/slow")
        async def slow(request: busway.Request) -> int:
            await goes.wait()
            return int(request.payload) * 2

        asked = [
            asyncio.ensure_future(it.sender.request("lab/slow", number, store=True)) for number in range(20)
        ]
        work = it.service.pushing
        await until(lambda: bool(work._slow))
        goes.set()
        assert [await each for each in asked] == [number * 2 for number in range(20)]
        await until(lambda: not (work._slow or work._asked))
