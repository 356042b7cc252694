"""What was found, as a stream; and what a bus asks for before it looks on the network."""

from __future__ import annotations

import asyncio
import threading

import pytest

import busway
from busway import AsyncBus, Bus, Key
from busway.lan.found import FOUND_MAX, STATES, Found, read_rows
from busway.lan.hub import hub_of
from tests.rigs import aio

TOKEN = "meadow-h4k9w2x7q5m8z3t6r1v0"
PUMP = Found("mdns", "tcp://192.0.2.1:7000", b"p" * 16, "pump", "joined", "")
FAR = Found("remembered", "tcp://192.0.2.9:7000", b"", "", "unreachable", "nobody answers")


def test_all_that_there_is_comes_first_then_what_changes_and_it_ends_with_the_bus() -> None:
    async def main() -> None:
        async with AsyncBus(ipc=False) as bus:
            finds = hub_of(bus).finds
            finds.tell("pump", PUMP)
            async with bus.found() as found, bus.found() as slow:
                assert await anext(found) == PUMP
                finds.tell("far", FAR)
                finds.tell("far", FAR)  # nothing new
                assert await anext(found) == FAR
                finds.gone("pump", "it left")
                finds.gone("pump")
                assert (await anext(found)).state == "gone"
                assert (await anext(slow)).state == "gone"  # of what changed meanwhile the last is told
                assert await anext(slow) == FAR
                assert repr(slow) == "<found: 0 to be read>"
            with pytest.raises(StopAsyncIteration):
                await anext(found)
            last = bus.found()
            assert await anext(last) == FAR
            waiting = asyncio.ensure_future(anext(last, None))
            await asyncio.sleep(0)
        assert await waiting is None
        with pytest.raises(busway.BusClosed):
            bus.found()

    aio.run(main())


def test_the_same_with_threads() -> None:
    told: list[Found] = []
    with Bus(ipc=False) as bus:
        finds = hub_of(bus).finds
        found = bus.found()
        reader = threading.Thread(target=lambda: told.extend(found))
        reader.start()
        bus._host.call(finds.tell, "pump", PUMP)
        with bus.found() as other:
            assert next(other) == PUMP
        with pytest.raises(StopIteration):
            next(other)
    reader.join()
    assert told == [PUMP]


def test_a_slow_reader_loses_the_oldest_of_very_many() -> None:
    async def main() -> None:
        async with AsyncBus(ipc=False) as bus:
            finds = hub_of(bus).finds
            found = bus.found()
            for number in range(FOUND_MAX + 2):
                finds.tell(number, Found("mdns", str(number), b"", "", "seen", ""))
                finds.gone(number)
                assert found.missed == max(0, number + 1 - FOUND_MAX)
            assert len(found._waiting) == len(found._items.queue) == FOUND_MAX
            assert ((await anext(found)).address, found.missed) == ("2", 2)

    aio.run(main())


def test_of_what_changes_a_slow_reader_has_the_last() -> None:
    async def main() -> None:
        async with AsyncBus(ipc=False) as bus:
            finds = hub_of(bus).finds
            found = bus.found()
            for number in range(1000):
                finds.tell("pump", Found("mdns", str(number), b"", "", "seen", ""))
            assert len(found._waiting) == len(found._items.queue) == 1
            assert (await anext(found)).address == "999"

    aio.run(main())


def test_other_programs_of_the_user_are_told() -> None:
    async def main() -> None:
        async with AsyncBus(ipc=False) as bus:
            hub_of(bus).finds.tell("far", Found("mdns", "tcp://x\n", b"", "", "refused", "\x1b[31m"))
            (row,) = read_rows(await bus.request("busway/found"))
            assert row["address"] == "tcp://x\\n"
            assert row["reason"] == "\\x1b[31m"
            (endpoint,) = [each for each in bus.endpoints() if each.name == "busway/found"]
            assert endpoint.realm == "userspace"

    aio.run(main())


@pytest.mark.parametrize("rows", [None, {}, [1], [{}], [{"node": b""}], [{"node": "", "how": "mdns"}]])
def test_what_is_no_answer_is_refused(rows: object) -> None:
    with pytest.raises(ValueError, match="the answer"):
        list(read_rows(rows))


def test_a_record_prints_well() -> None:
    assert repr(PUMP) == "<found by mdns at tcp://192.0.2.1:7000 'pump' 70707070, joined>"
    assert repr(FAR) == "<found by remembered at tcp://192.0.2.9:7000, unreachable: nobody answers>"
    assert {PUMP.state, FAR.state} <= set(STATES)


# The arguments --------------------


@pytest.mark.parametrize("kind", [AsyncBus, Bus])
@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({}, "busway token"),
        ({"token": "short"}, "can be guessed"),
        ({"token": ""}, "empty"),
        ({"token": TOKEN, "leaf": True}, "leaf=True"),
        ({"token": TOKEN, "transit": False}, "transit=False"),
        ({"trust": {}}, "key="),
    ],
)
def test_nothing_listens_without_a_token_or_keys(
    kind: type, options: dict[str, object], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BUSWAY_TOKEN", "BUSWAY_TOKEN_FILE", "BUSWAY_TRUST", "BUSWAY_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=fault):
        kind(lan=True, **options)


def test_a_token_without_lan_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="lan=True"):
        AsyncBus(token=TOKEN)
    with pytest.raises(TypeError, match="lan must be True or False"):
        AsyncBus(lan=1)  # type: ignore[arg-type]


def test_what_will_do_makes_a_router(monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ({"token": TOKEN}, {"key": Key.new(), "trust": {}}):
        bus = AsyncBus(lan=True, **options)
        assert bus.node.mesh.transit
    monkeypatch.setenv("BUSWAY_TOKEN", TOKEN)
    assert AsyncBus(lan=True).node.mesh.transit


def test_the_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("busway.lan.asked.find_spec", lambda name: None)
    with pytest.raises(busway.MissingLibrary, match="lan"):
        AsyncBus(lan=True, token=TOKEN)
