"""Buses that nobody closes: dropped, or left open when their loop ends; and closing without rights."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import busway
from busway import AsyncBus, Bus
from busway.drivers import ipc, unix
from tests.adapters import threads_tools
from tests.adapters.tools import Program, until

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def warned() -> Iterator[Callable[[], list[str]]]:
    """All ResourceWarnings so far that speak of a bus."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def so_far() -> list[str]:
            texts = [str(one.message) for one in caught if one.category is ResourceWarning]
            return [text for text in texts if "bus was" in text or "listener" in text]

        yield so_far


@needs_proc
async def test_a_dropped_bus_is_released_says_goodbye_and_warns(warned: Callable[[], list[str]]) -> None:
    async with AsyncBus() as other:
        changes = other.changes()
        gc.collect()
        before = descriptors()
        for _ in range(5):
            await AsyncBus().open()
        gc.collect()
        await until(lambda: descriptors() == before)
        assert [peer.node_id for peer in ipc.peers("default")] == [other.id]
        await until(lambda: len(other.nodes()) == 1)
        ends = [(await _end(changes)).text for _ in range(5)]
        assert ends == ["the node is closing"] * 5
    assert len(warned()) == 5
    assert all("left open" in text and "async with AsyncBus()" in text for text in warned())


async def _end(changes: AsyncIterator[busway.Change]) -> busway.Change:
    """The next link that ends."""
    while (change := await anext(changes)).what != "link-down":
        pass
    return change


async def test_what_is_held_keeps_the_bus(warned: Callable[[], list[str]]) -> None:
    inbox = (await AsyncBus(ipc=False).open()).register("inbox")
    changes = (await AsyncBus(ipc=False).open()).changes()
    gc.collect()
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await inbox.receive(timeout=0.01)
    assert warned() == []
    del inbox, changes
    gc.collect()
    await until(lambda: len(warned()) == 2)


async def test_a_bus_that_is_dropped_amid_its_handlers_cancels_them(warned: Callable[[], list[str]]) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(_: busway.Request) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with AsyncBus() as other:
        bus = await AsyncBus().open()
        bus.serve("it", handler)
        asking = asyncio.create_task(other.request("it", ttl=30))
        await begun.wait()
        del bus
        gc.collect()
        with pytest.raises(busway.BusError):
            await asking
        await cancelled.wait()
    assert len(warned()) == 1


@needs_proc
@pytest.mark.parametrize("dropped", [True, False])
def test_a_bus_that_is_open_when_its_loop_ends_is_closed(
    warned: Callable[[], list[str]], dropped: bool
) -> None:
    kept: list[AsyncBus] = []

    async def main() -> None:
        bus = AsyncBus()
        bus.serve("it", lambda request: bus)  # so that dropping it is not enough
        if not dropped:
            kept.append(bus)
        await bus.open()

    gc.collect()
    before = descriptors()
    asyncio.run(main())
    assert descriptors() == before
    assert ipc.peers("default") == []
    assert len(warned()) == 1
    assert "when its loop ended" in warned()[0]
    kept.clear()
    gc.collect()
    assert len(warned()) == 1


@needs_proc
def test_a_bus_whose_loop_was_just_closed_is_released_on_collection(
    warned: Callable[[], list[str]],
) -> None:
    gc.collect()
    before = descriptors()
    loop = asyncio.new_event_loop()
    bus: AsyncBus | None = loop.run_until_complete(AsyncBus().open())
    assert bus is not None
    loop.close()
    bus = None
    gc.collect()
    assert descriptors() == before
    assert ipc.peers("default") == []
    assert len(warned()) == 1


def collected() -> bool:
    gc.collect()
    return True


@needs_proc
def test_a_dropped_bus_of_threads_is_released_says_goodbye_and_warns(
    warned: Callable[[], list[str]],
) -> None:
    with Bus() as other:
        changes = other.changes()
        gc.collect()
        before, threads = descriptors(), threading.active_count()
        for _ in range(5):
            Bus().open()
        # Its threads may be in the midst of something and hold it: then the next collection finds it.
        threads_tools.until(lambda: collected() and descriptors() == before)
        threads_tools.until(lambda: threading.active_count() == threads)
        assert [peer.node_id for peer in ipc.peers("default")] == [other.id]
        threads_tools.until(lambda: len(other.nodes()) == 1)
        ends: list[str] = []
        while len(ends) < 5:
            change = next(changes)
            ends += [change.text] if change.what == "link-down" else []
        assert ends == ["the node is closing"] * 5
    assert len(warned()) == 5
    assert all("left open" in text and "with Bus()" in text for text in warned())


def test_what_is_held_keeps_the_bus_of_threads(warned: Callable[[], list[str]]) -> None:
    inbox = Bus(ipc=False).open().register("inbox")
    gc.collect()
    with pytest.raises(TimeoutError):
        inbox.receive(timeout=0.01)
    assert warned() == []
    del inbox
    gc.collect()
    threads_tools.until(lambda: collected() and len(warned()) == 1)


@pytest.mark.parametrize("kind", [AsyncBus, Bus])
def test_a_bus_that_was_registered_with_and_never_opened_warns(
    warned: Callable[[], list[str]], kind: Any
) -> None:
    kind(ipc=False)
    gc.collect()
    assert warned() == []
    kind(ipc=False).serve("it", print)
    gc.collect()
    assert len(warned()) == 1
    assert "never opened" in warned()[0]


@needs_proc
def test_a_dropped_listener_gives_back_its_descriptors_and_its_lock(
    warned: Callable[[], list[str]], place: Path
) -> None:
    gc.collect()
    before = descriptors()
    listener: unix.UnixListener | None = unix.UnixListener.open("default", b"n" * 16)
    path = listener.path if listener is not None else ""
    assert not unix.is_dead(path)
    listener = None
    gc.collect()
    assert [text.partition(" ipc")[0] for text in warned()] == ["unclosed listener"]
    assert descriptors() == before
    assert unix.is_dead(path)


POWERLESS = """
import gc, logging
logging.basicConfig(stream=sys.stdout, format="logged: %(message)s")

def descriptors():
    return len(os.listdir("/proc/self/fd"))

def lose_rights():
    if os.geteuid() == 0:
        os.seteuid(65534)
    else:
        for path, _, _ in os.walk(os.environ["BUSWAY_DIR"], topdown=False):
            os.chmod(path, 0)

async def main():
    before = descriptors()
    bus = await busway.AsyncBus().open()
    await heard()
    lose_rights()
    await bus.close()
    say("left open:", descriptors() - before)

def threads():
    before = descriptors()
    bus = busway.Bus().open()
    sys.stdin.readline()
    lose_rights()
    bus.close()
    say("left open:", descriptors() - before)

asyncio.run(main()) if sys.argv[1] == "AsyncBus" else threads()
"""


@needs_proc
@pytest.mark.parametrize("kind", ["AsyncBus", "Bus"])
async def test_a_program_without_rights_to_its_files_closes_all_the_same(kind: str, place: Path) -> None:
    async with AsyncBus() as other, Program(POWERLESS, kind) as program:
        await until(lambda: len(other.nodes()) == 2)
        changes = other.changes()
        await program.tell()
        line = await program.line()
        assert line.startswith("logged: closing the bus: PermissionError")
        await program.expect("left open: 0")
        assert (await _end(changes)).text == "the node is closing"
        await program.ended()
        for path, _, __ in os.walk(place):
            os.chmod(path, 0o700)


def test_logging_is_quiet_about_what_went_well(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "busway")
    with Bus():
        pass
    asyncio.run(_open_and_close())
    assert caplog.records == []


async def _open_and_close() -> None:
    async with AsyncBus():
        pass
