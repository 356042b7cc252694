"""The faces of AsyncBus and Bus: the same public names, the environment they read, and who may call them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import busway
from busway import AsyncBus, Bus
from tests.adapters.test_asyncio import REGISTERING, SENDING
from tests.adapters.tools import buses, channels, sees, until
from tests.rigs.tree import ROOT

# What docs/guarantees.md and the docstrings speak of. Whatever else a bus needs is its host's.
PUBLIC = {
    *("id", "name", "label", "node", "undeliverable"),
    *("open", "close"),
    *("register", "subscribe", "serve"),
    *("host", "hosted", "client"),
    *("send", "send_many", "try_send", "publish", "request", "request_all", "request_stream"),
    "last",
    *("connect", "listen", "attach"),
    *("nodes", "clients", "endpoints", "links", "routes", "changes", "found", "presence", "trace"),
}


def public_names(bus: object) -> set[str]:
    return {name for name in dir(bus) if not name.startswith("_")}


def test_all_public_names_are_documented_and_the_same() -> None:
    assert public_names(AsyncBus(ipc=False)) == PUBLIC
    assert public_names(Bus(ipc=False)) == PUBLIC | {"request_future"}  # who can await needs none
    for kind in (AsyncBus, Bus):
        for name in public_names(kind):
            assert getattr(kind, name).__doc__, f"{kind.__name__}.{name}"


def test_the_documents_speak_of_every_public_name() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    told = "".join(document.read_text() for document in documents)
    names = PUBLIC | {"request_future"}
    assert {name for name in names if not re.search(rf"\bbus\.{name}\b|`{name}[`(]", told)} == set()


def test_a_link_shows_what_users_read_of_it_and_nothing_else() -> None:
    """Not what the bus calls, nor the token that it was given."""
    with Bus(ipc=False) as server, Bus(ipc=False) as client:
        link = client.connect(
            server.listen("tcp://127.0.0.1:0", token="secret-h4k9w2x7q5m8z3t6r1v0").url,
            token="secret-h4k9w2x7q5m8z3t6r1v0",
        )
        assert public_names(link) == {
            *("url", "id", "state", "attempt", "next_try", "error", "losses"),
            *("info", "links", "peer", "label", "realm", "address", "rtt", "close"),
        }
        for name in public_names(link):
            assert getattr(type(link), name).__doc__, name
        assert client.links()[0].id == link.id == link.info.id
        assert (link.info.url, link.info.state, link.info.peer) == (link.url, "connected", server.id)


async def test_hosted_objects_have_the_same_names_on_both_sorts_of_bus() -> None:
    class Logger:
        @busway.on("lab/log")
        def log(self, message: busway.Message[str]) -> None: ...

    async with AsyncBus(ipc=False) as here:
        with Bus(ipc=False) as there:
            for hosted in (here.host(Logger()), there.host(Logger())):
                assert public_names(hosted) == {
                    *("name", "version", "object", "state", "handled", "errors", "last_error"),
                    *("skipped", "restarts", "ready", "ended", "close"),
                }


async def test_what_a_bus_hands_out_has_the_same_names_and_no_others() -> None:
    async with AsyncBus(ipc=False) as here:
        with Bus(ipc=False) as there:
            mine = (here.register("it"), here.serve("served", print), here.changes())
            theirs = (there.register("it"), there.serve("served", print), there.changes())
            names = [public_names(each) for each in mine]
            assert names == [
                {"batches", "close", "receive", "receive_many", "dropped", "missed", "refused", "unknown"},
                {"at_work", "close", "failed", "refused", "unknown"},
                {"close", "aclose", "missed"},
            ]
            assert [public_names(each) for each in theirs] == [
                names[0] | {"deliver"},
                names[1],
                {"close", "deliver", "missed"},
            ]
            for changes in (mine[2], theirs[2]):
                assert repr(changes) == "<Changes, 0 to be read, 0 missed>"
                changes.close()
                changes.close()  # twice is once
                assert repr(changes) == "<Changes, 0 to be read, 0 missed, closed>"
            assert [change async for change in mine[2]] == list(theirs[2]) == []


@pytest.mark.parametrize("kind", [AsyncBus, Bus])
def test_name_and_label(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUSWAY_BUS", raising=False)
    assert kind(ipc=False).name == "default"
    assert kind("lab", ipc=False, label="me").label == "me"
    monkeypatch.setenv("BUSWAY_BUS", "workshop")
    assert kind(ipc=False).name == "workshop"
    assert kind("lab", ipc=False).name == "lab"
    monkeypatch.setenv("BUSWAY_BUS", "")
    assert kind(ipc=False).name == "default"


async def test_links_take_the_token_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncBus(ipc=False) as server, AsyncBus(ipc=False) as client:
        monkeypatch.setenv("BUSWAY_TOKEN", "secret-h4k9w2x7q5m8z3t6r1v0")
        listener = await server.listen("tcp://127.0.0.1:0")
        with pytest.raises(busway.LinkRefused, match="token"):
            await client.connect(listener.url, token="another-h4k9w2x7q5m8z3t6r1v0", retry=None)
        assert (await client.connect(listener.url)).state == "connected"


def test_threads_take_the_token_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with Bus(ipc=False) as server, Bus(ipc=False) as client:
        monkeypatch.setenv("BUSWAY_TOKEN", "secret-h4k9w2x7q5m8z3t6r1v0")
        listener = server.listen("tcp://127.0.0.1:0")
        with pytest.raises(busway.LinkRefused, match="token"):
            client.connect(listener.url, token="another-h4k9w2x7q5m8z3t6r1v0", retry=None)
        assert client.connect(listener.url).state == "connected"


async def test_the_cafile_of_the_environment_counts_for_wss_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUSWAY_CAFILE", "/there/is/none.pem")
    async with AsyncBus(ipc=False) as server, AsyncBus(ipc=False) as client:
        listener = await server.listen("tcp://127.0.0.1:0")
        await client.connect(listener.url)
        with pytest.raises(OSError, match="none"):
            await client.connect(listener.url.replace("tcp", "wss"), retry=None)


async def test_no_timeout_is_no_limit_everywhere() -> None:
    async with buses() as (a, b):
        b.serve("it", lambda request: request.payload)
        inbox = b.register("inbox")
        await until(lambda: sees(a, "it") and sees(a, "inbox"))
        assert await a.request("it", 1, timeout=None) == 1
        assert [part async for part in a.request_stream("it", 1, timeout=None)] == [1]
        sending = asyncio.create_task(a.send("inbox", 2, confirm=True, timeout=None))
        assert (await inbox.receive(timeout=None)).payload == 2
        await sending
        assert len(await a.trace("it", timeout=None)) == 1
        for payload in (2, b"2"):
            with pytest.raises(ValueError, match="ttl"):
                await a.send("inbox", payload, ttl=None)  # type: ignore[call-overload]
        await a.close(timeout=None)


def test_no_timeout_is_no_limit_in_threads() -> None:
    with Bus(ipc=False) as bus:
        bus.serve("it", lambda request: request.payload)
        assert bus.request("it", 1, timeout=None) == 1
        assert list(bus.request_stream("it", 1, timeout=None)) == [1]
        assert bus.request_future("it", 2, timeout=None).result(60) == 2
        assert bus.trace("it", timeout=None) == []
        inbox = bus.register("inbox")
        receiving = threading.Thread(target=lambda: inbox.receive(timeout=None))
        receiving.start()
        bus.send("inbox", 3, confirm=True, timeout=None)
        receiving.join(60)
        assert not receiving.is_alive()
        with pytest.raises(ValueError, match="ttl"):
            bus.send("inbox", 2, ttl=None)  # type: ignore[call-overload]
        bus.close(timeout=None)


# Who may call


CALLS: dict[str, Callable[[AsyncBus], Any]] = {
    **SENDING,
    **REGISTERING,
    "nodes": lambda bus: bus.nodes(),
    "endpoints": lambda bus: bus.endpoints(),
    "links": lambda bus: bus.links(),
    "routes": lambda bus: bus.routes(),
    "trace": lambda bus: bus.trace("x"),
    "close": lambda bus: bus.close(),
    "open": lambda bus: bus.open(),
}


@contextlib.contextmanager
def another_loop(bus: AsyncBus) -> Iterator[Callable[[Callable[[], Any]], object]]:
    """Runs a call, or what it gives to await, in a thread with a loop of its own; its result."""

    async def main(call: Callable[[], Any]) -> object:
        found = call()
        return await found if asyncio.iscoroutine(found) else found

    with concurrent.futures.ThreadPoolExecutor(1, "stranger") as pool:
        yield lambda call: pool.submit(lambda: asyncio.run(main(call))).result(60)


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_in_another_thread_is_an_error_that_names_both(name: str) -> None:
    async with AsyncBus(ipc=False) as bus:
        with another_loop(bus) as run, pytest.raises(busway.BusError) as caught:
            run(lambda: CALLS[name](bus))
        for word in ("'MainThread'", "'stranger", "run_coroutine_threadsafe", "busway.Bus"):
            assert word in str(caught.value)
        assert repr(asyncio.get_running_loop())[:20] in str(caught.value)
        assert await asyncio.wait_for(_serves(bus), 10)


async def test_a_channel_is_not_taken_from_another_thread() -> None:
    async with AsyncBus(ipc=False) as bus:
        for end in (ends := channels()):
            end.close()
        with another_loop(bus) as run, pytest.raises(busway.BusError, match="opened in thread"):
            run(lambda: bus.attach(ends[0]))


async def _serves(bus: AsyncBus) -> bool:
    service = bus.serve("it", lambda request: request.payload)
    answer = await bus.request("it", True)
    service.close()
    return answer is True


async def test_what_a_bus_gave_is_no_other_threads_either() -> None:
    async with AsyncBus(ipc=False) as bus:
        inbox, changes = bus.register("inbox"), bus.changes()
        service = bus.serve("it", print)
        listener = await bus.listen("tcp://127.0.0.1:0")
        calls: list[Callable[[], Any]] = [
            inbox.receive,
            inbox.close,
            service.close,
            changes.__anext__,
            changes.aclose,
            listener.close,
        ]
        with another_loop(bus) as run:
            for call in calls:
                with pytest.raises(busway.BusError, match="run_coroutine_threadsafe"):
                    run(call)
        await bus.send("inbox", 1)
        assert (await inbox.receive(60)).payload == 1


async def test_the_advice_works() -> None:
    async with AsyncBus(ipc=False) as bus:
        bus.serve("it", lambda request: request.payload)
        loop = asyncio.get_running_loop()
        results: list[object] = []

        def elsewhere() -> None:
            asked = asyncio.run_coroutine_threadsafe(bus.request("it", 5), loop)
            results.append(asked.result(60))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await until(lambda: results)
        thread.join()
        assert results == [5]


def test_on_another_loop_of_the_same_thread() -> None:
    one, two = asyncio.new_event_loop(), asyncio.new_event_loop()
    bus = one.run_until_complete(AsyncBus(ipc=False).open())

    async def ask() -> None:
        await bus.send("x", b"")

    with pytest.raises(busway.BusError, match="opened in thread"):
        two.run_until_complete(ask())
    bus.register("x")  # between two runs of its own loop is no other place
    one.run_until_complete(ask())
    one.run_until_complete(bus.close())
    one.close()
    two.close()
