"""Open files and regions in calls that send or ask several, or that may not wait: `request_all`, `send_many`
and `try_send`, of an AsyncBus and of a Bus.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import busway
from busway import AsyncBus, Bus, Undeliverable
from tests.adapters import threads_tools
from tests.adapters.test_files import Pipe, opened
from tests.adapters.tools import sees, until
from tests.rigs import held

pytestmark = pytest.mark.usefixtures("patient")


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[AsyncBus, AsyncBus]]:
    """Both see each other over a Unix socket; nothing is open any more once they have left."""
    before = held.count()
    async with AsyncBus(label="one") as one, AsyncBus(label="two") as two:
        yield one, two
    await until(lambda: held.count() <= before)


@pytest.fixture(name="threads")
def two_buses_for_threads() -> Iterator[tuple[Bus, Bus]]:
    before = held.count()
    with Bus(label="one") as one, Bus(label="two") as two:
        yield one, two
    threads_tools.until(lambda: held.count() <= before)


def text_of(file: busway.File) -> str:
    with file:
        return os.pread(file.fileno(), 100, 0).decode()


def upper(request: busway.Request) -> object:
    """The file of a request, and the beginning of its region if it has one, in capitals."""
    text = text_of(request.files[0])
    for region in request.regions:
        text += bytes(region.view[:4]).decode()
        region.close()
    with opened(text.upper()) as made:
        return busway.Attached(len(text), files=[made])


def editors_of(bus: AsyncBus | Bus) -> set[bytes]:
    """The nodes that have one, as far as this one knows."""
    return {found.node for found in bus.endpoints() if found.name == "upper"}


def answers_of(found: list[tuple[bytes, Any]]) -> set[tuple[bytes, int, str]]:
    return {(node, answer.payload, text_of(answer.files[0])) for node, answer in found}


async def test_all_who_are_asked_get_them_and_answer_with_some() -> None:
    async with pair() as (one, two):
        for bus in (one, two):
            bus.serve("upper", upper, labels=["editor"])
        await until(lambda: editors_of(one) == {one.id, two.id})
        editors = busway.where("editor")
        region = busway.Region(4096)
        region.view[:4] = b"more"
        with opened("text") as file:
            found = [
                each async for each in one.request_all(editors, files=[file], regions=[region], attached=True)
            ]
            assert answers_of(found) == {(one.id, 8, "TEXTMORE"), (two.id, 8, "TEXTMORE")}
            assert {answer async for _, answer in one.request_all(editors, files=[file])} == {4}
        region.close()


def test_so_it_is_for_threads(threads: tuple[Bus, Bus]) -> None:
    one, two = threads
    for bus in threads:
        bus.serve("upper", upper, labels=["editor"])
    threads_tools.until(lambda: editors_of(one) == {one.id, two.id})
    editors = busway.where("editor")
    with opened("text") as file:
        found = list(one.request_all(editors, files=[file], attached=True))
        assert answers_of(found) == {(one.id, 4, "TEXT"), (two.id, 4, "TEXT")}
        assert {answer for _, answer in one.request_all(editors, files=[file])} == {4}


async def test_of_all_who_are_asked_only_those_on_this_machine_get_them() -> None:
    async with AsyncBus(ipc=False) as one, AsyncBus(ipc=False) as two:
        listener = await one.listen("tcp://127.0.0.1:0")
        await two.connect(listener.url)
        for bus in (one, two):
            bus.serve("upper", upper, labels=["editor"], realm="global")
        await until(lambda: editors_of(two) == {one.id, two.id})
        with opened("text") as file:
            asked = two.request_all(busway.where("editor"), files=[file], attached=True)
            found = dict([each async for each in asked])
        assert isinstance(found[one.id], Undeliverable)
        assert "NO_FILES" in str(found[one.id])
        assert text_of(found[two.id].files[0]) == "TEXT"


async def test_of_many_each_goes_with_its_own() -> None:
    async with pair() as (one, two):
        log = two.register("log")
        await until(lambda: sees(one, "log"))

        def items() -> Iterator[object]:
            for number in range(40):
                with opened(f"{number}") as file:
                    few = busway.Attached(number, files=[file] * (number % 3))
                    yield few if number % 2 else [b"raw", number, {"n": number}][number % 3]

        sending = asyncio.ensure_future(one.send_many("log", items()))
        for number in range(40):
            message = await log.receive(timeout=30.0)
            texts = [text_of(file) for file in message.files]
            assert texts == [str(number)] * (number % 3 if number % 2 else 0)
            assert message.payload == (number if number % 2 else [b"raw", number, {"n": number}][number % 3])
            del message
        assert await sending == 40


def test_so_they_do_for_threads(threads: tuple[Bus, Bus]) -> None:
    one, two = threads
    log = two.register("log")
    threads_tools.until(lambda: any(found.name == "log" for found in one.endpoints()))
    region = busway.Region(4096)
    region.view[:4] = b"here"
    with opened("text") as file:
        attached = busway.Attached(b"both", files=[file], regions=[region])
    region.close()
    for _ in range(2):  # the same again: it is the program's
        assert one.send_many("log", [b"plain", attached, b"plain", "text"]) == 4
    for _ in range(2):
        for payload in (b"plain", b"both", b"plain", "text"):
            message = log.receive(timeout=30.0)
            assert message.payload == payload
            assert [text_of(each) for each in message.files] == ["text"] * (payload == b"both")
            assert [bytes(each.view[:4]) for each in message.regions] == [b"here"] * (payload == b"both")
            del message


async def test_what_was_sent_of_many_is_not_kept_open() -> None:
    async with pair() as (one, two):
        log = two.register("log")
        await until(lambda: sees(one, "log"))
        pipe = Pipe()
        await one.send_many("log", (busway.Attached(b"x", files=[pipe.writer]) for _ in range(3)))
        for _ in range(3):
            await log.receive(timeout=30.0)
        await pipe.ends()


async def test_one_of_many_that_cannot_go_is_told() -> None:
    async with pair() as (one, _):
        pipe = Pipe()
        attached = busway.Attached(b"x", files=[pipe.writer])
        with pytest.raises(Undeliverable, match="NO_ENDPOINT") as failed:
            await one.send_many("nobody", [attached, attached])
        assert failed.value.accepted == 0  # type: ignore[attr-defined]
        del attached, failed
        await pipe.ends()


async def test_one_is_sent_if_it_need_not_wait() -> None:
    async with pair() as (one, two):
        log = two.register("log", queue=2)
        await until(lambda: sees(one, "log"))
        region = busway.Region(4096)
        pipe = Pipe()
        with opened("text") as file:
            assert one.try_send("log", 1, files=[file], regions=[region])
        message = await log.receive(timeout=30.0)
        assert message.payload == 1
        assert [text_of(each) for each in message.files] == ["text"]
        assert [each.size for each in message.regions] == [4096]
        del message
        sent = 0
        while one.try_send("log", files=[pipe.writer]):
            sent += 1
            await asyncio.sleep(0)
        assert sent >= 2
        with pytest.raises(Undeliverable, match="NO_ENDPOINT"):
            one.try_send("nobody", files=[pipe.writer])
        for _ in range(2):
            await log.receive(timeout=30.0)
        log.close()
        await pipe.ends()
        region.close()


def test_so_it_is_if_threads_need_not_wait(threads: tuple[Bus, Bus]) -> None:
    one, two = threads
    log = two.register("log", queue=2)
    threads_tools.until(lambda: any(found.name == "log" for found in one.endpoints()))
    with opened("text") as file:
        assert one.try_send("log", 1, files=[file])
        message = log.receive(timeout=30.0)
        assert [text_of(each) for each in message.files] == ["text"]
        with pytest.raises(Undeliverable, match="NO_ENDPOINT"):
            one.try_send("nobody", files=[file])
        while one.try_send("log", files=[file]):
            pass


@pytest.mark.parametrize("files", [[None], [0] * 65])
async def test_what_cannot_be_sent_is_told_at_once(files: list[Any]) -> None:
    async with AsyncBus(ipc=False) as bus:
        with Bus(ipc=False) as blocking:
            before = held.count()
            where = busway.where("editor")
            for call in (bus.try_send, blocking.try_send):
                with pytest.raises((TypeError, ValueError), match=r"open file|at most 64"):
                    call("log", files=files)
            with pytest.raises((TypeError, ValueError), match=r"open file|at most 64"):
                await anext(bus.request_all(where, files=files))
            with pytest.raises((TypeError, ValueError), match=r"open file|at most 64"):
                next(blocking.request_all(where, files=files))
            with pytest.raises(ValueError, match="sealed"):
                await anext(bus.request_all(where, files=[0], sealed=True))
            assert held.count() == before


CALLS: dict[str, Any] = {
    "send": lambda bus, payload: bus.send("x", payload),
    "send, confirmed": lambda bus, payload: bus.send("x", payload, confirm=True),
    "send, with a priority": lambda bus, payload: bus.send("x", payload, priority="high"),
    "send to all": lambda bus, payload: bus.send(busway.where("x"), payload, to="all"),
    "publish": lambda bus, payload: bus.publish("y", payload),
    "publish, waiting": lambda bus, payload: bus.publish("y", payload, wait=True),
    "publish, retained": lambda bus, payload: bus.publish("y", payload, retain=True),
    "request": lambda bus, payload: bus.request("z", payload),
    "request, with a priority": lambda bus, payload: bus.request("z", payload, priority="high"),
    "request with an Attached": lambda bus, payload: bus.request("z", payload, attached=True),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_who_sends_an_attached_by_itself_is_told_what_to_send(call: Any) -> None:
    async with AsyncBus(ipc=False) as bus:
        bus.register("x"), bus.subscribe("y"), bus.serve("z", lambda request: None)
        with opened("file") as file:
            payload = busway.Attached("x", files=[file])
            with pytest.raises(TypeError, match="send its payload, with files= and regions="):
                await call(bus, payload)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_so_are_threads(call: Any) -> None:
    with Bus(ipc=False) as bus:
        bus.register("x"), bus.subscribe("y"), bus.serve("z", lambda request: None)
        with opened("file") as file:
            payload = busway.Attached("x", files=[file])
            with pytest.raises(TypeError, match="send its payload, with files= and regions="):
                call(bus, payload)
