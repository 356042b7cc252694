"""Servers of named clients: who has which name, who may take whose place, hooks, rates, counters."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

import busway
from busway import AsyncBus, Bus, Client, ClientMessage, where
from busway.adapters import clients as module
from busway.adapters.bus import host_of
from busway.protocol import codes
from tests.adapters.tools import until

LOOPBACK = "ws://127.0.0.1:0"
TOKEN = "secret-h4k9w2x7q5m8z3t6r1v0"


@contextlib.asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[AsyncBus, str]]:
    """A server of named clients, and its address."""
    options = options or {"max_connections": 100}
    async with AsyncBus(ipc=False, label="server") as bus:
        bus.serve("echo", lambda request: request.payload, realm="global")
        listener = await bus.listen(options.pop("url", LOOPBACK), **options)
        yield bus, listener.url


@contextlib.asynccontextmanager
async def client(url: str, name: str, **options: Any) -> AsyncIterator[AsyncBus]:
    """A client that shows what it is sent."""
    token = options.pop("token", None)
    async with AsyncBus(ipc=False, label=name, **options) as bus:
        bus.serve("who", lambda request: name, kind="anycast", realm="global", labels=["panel"])
        await bus.connect(url, token=token, retry=None)
        yield bus


async def refused(url: str, name: str, **options: Any) -> busway.LinkRefused:
    with pytest.raises(busway.LinkRefused) as caught:
        async with client(url, name, **options):
            pass
    return caught.value


def names(bus: AsyncBus | Bus) -> list[str]:
    return [each.name for each in bus.clients()]


async def test_each_client_is_reached_by_its_name() -> None:
    async with served() as (bus, url), client(url, "one"), client(f"{url}/?name=two", "x") as two:
        assert names(bus) == ["one", "two"]
        assert await bus.node("one").request("who") == "one"
        assert await bus.node("two").request("who") == "x"
        assert bus.node("two").id == two.id
        assert repr(bus.node("two")) == "<whoever is called 'two'>"
        await bus.node("two").send("who", 1, confirm=True)
        assert [each.label for each in bus.nodes(where("panel"))] == ["one", "two"]
        assert [each.label for each in bus.nodes()] == ["server", "one", "two"]
        deliveries = await bus.send(where("panel"), 1, to="all", confirm=True)
        assert [each.ok for each in deliveries] == [True, True]
        with pytest.raises(busway.Undeliverable, match="nobody who can be reached is called 'three'"):
            await bus.node("three").request("who")
        with pytest.raises(TypeError):
            bus.node(b"one")  # type: ignore[arg-type]


async def test_what_is_published_comes_to_all() -> None:
    async with served() as (bus, url), client(url, "one") as one, client(url, "two") as two:
        receivers = [each.subscribe("news", realm="global") for each in (one, two)]
        await until(lambda: len(bus.node.directory.holders(busway.endpoint_id("news"))) == 2)
        await bus.publish("news", "today", realm="global")
        assert [(await each.receive(5)).payload for each in receivers] == ["today", "today"]


async def test_what_passes_is_counted() -> None:
    async with served() as (bus, url):
        async with client(url, "one") as one:
            (found,) = bus.clients()
            for _ in range(3):
                await one.request("echo", bytes(1000))
            await bus.node("one").request("who")
            assert (found.messages_in, found.messages_out) == (4, 4)
            assert found.bytes_in > 3000 < found.bytes_out
            assert (found.connected, found.node, found.proved) == (True, one.id, "open")
            assert found.key.startswith("busway1")
            report: Any = bus.node.report(0)
            row = report["links"][0]["client"]
            assert (row["name"], row["messages_in"], row["dropped"]) == ("one", 4, 0)
        await until(lambda: not bus.clients())
        assert (found.connected, found.messages_in) == (False, 4)
        assert "gone" in repr(found)


# Names


async def test_nobody_takes_the_name_of_another() -> None:
    async with served() as (bus, url), client(url, "one") as one:
        error = await refused(url, "one")
        assert error.code == codes.NAME_TAKEN
        assert "called 'one'" in str(error)
        assert (await refused(f"{url}/?name=one", "two")).code == codes.NAME_TAKEN
        (found,) = bus.clients()
        assert (found.node, found.refused) == (one.id, 2)
        assert await bus.node("one").request("who") == "one"
        assert (await refused(url, "server")).code == codes.NAME_TAKEN  # nor that of a program


async def test_nobody_takes_the_node_id_of_another() -> None:
    """Where nothing is proved, the newer session of a node would take the place of the former."""
    async with served() as (bus, url), client(url, "one", node_id=bytes(16)):
        error = await refused(url, "two", node_id=bytes(16))
        assert error.code == codes.NAME_TAKEN
        assert "node id" in str(error)
        assert await bus.node("one").request("who") == "one"


async def test_who_proves_the_same_key_takes_its_place(tmp_path: Any) -> None:
    mine, other = busway.Key.new(), busway.Key.new()
    gone: list[Client] = []
    async with served(on_disconnect=gone.append) as (bus, url), client(url, "one", key=mine):
        assert (await refused(url, "one", key=other)).code == codes.NAME_TAKEN
        assert (await refused(url, "one")).code == codes.NAME_TAKEN
        (former,) = bus.clients()
        async with client(url, "one", key=mine):
            await until(lambda: gone == [former])
            assert names(bus) == ["one"]
            assert await bus.node("one").request("who") == "one"


async def test_who_proves_the_token_takes_its_place_unless_that_has_a_key() -> None:
    async with served(token=TOKEN, max_connections=2) as (bus, url):
        async with client(url, "one", token=TOKEN) as first, client(url, "one", token=TOKEN) as second:
            assert [each.node for each in bus.clients()] == [second.id]
            await until(lambda: not first.links())
        async with client(url, "two", token=TOKEN, key=busway.Key.new()):
            assert (await refused(url, "two", token=TOKEN)).code == codes.NAME_TAKEN


async def test_another_listeners_token_is_another_proof() -> None:
    other = TOKEN[::-1]
    async with served(token=TOKEN, max_connections=5) as (bus, url):
        more = await bus.listen(LOOPBACK, token=other, max_connections=5)
        async with client(url, "one", token=TOKEN):
            assert (await refused(more.url, "one", token=other)).code == codes.NAME_TAKEN


async def test_a_client_may_have_two_links() -> None:
    """Each heals: if one took the other's place they would do so for ever."""
    async with served() as (bus, url), client(url, "one") as one:
        other = await one.connect(f"{url}/?again=1")
        assert names(bus) == ["one", "one"]
        await other.close()
        await until(lambda: len(bus.clients()) == 1)
        assert bus.node("one").id == one.id
        assert await bus.node("one").request("who") == "one"


async def test_the_policy_and_the_server_bound_together() -> None:
    rules = {"who": "*", "call": ["echo"], "quota": {"messages": 50, "links": 1}}
    async with AsyncBus(ipc=False, label="server", policy={"default": "open", "rule": [rules]}) as bus:
        bus.serve("echo", lambda request: request.payload, realm="global")
        url = (await bus.listen(LOOPBACK, rate={"messages": 100, "bytes": 4096})).url
        async with AsyncBus(ipc=False, label="one") as one:
            await one.connect(url)
            assert await one.request("echo", 1, ttl=5) == 1
            (runner,) = bus._host.runners
            assert runner._paced == (50, 4096)  # type: ignore[attr-defined]
            assert (await refused(url, "two")).code == codes.MESH_FULL


# Who comes


async def test_admit_says_who_comes() -> None:
    seen: list[dict[str, Any]] = []

    async def admit(found: Client) -> str | bool | None:
        seen.append({"query": dict(found.query), "host": "host" in found.headers, "name": found.name})
        await asyncio.sleep(0)
        if found.name == "no":
            raise PermissionError("not on Mondays")
        if found.name == "fails":
            raise KeyError("internal")
        if found.name == "odd":
            return 7  # type: ignore[return-value]
        if found.name == "renamed":
            found.name = "another"
        return found.name != "false"

    async with served(admit=admit) as (bus, url), client(f"{url}/?a=b", "one"), client(url, "renamed"):
        assert names(bus) == ["one", "another"]
        assert await bus.node("another").request("who") == "renamed"
        error = await refused(url, "no")
        assert (error.code, "not on Mondays" in str(error)) == (codes.NOT_ADMITTED, True)
        for name in ("fails", "odd", "false"):
            error = await refused(url, name)
            assert error.code == codes.NOT_ADMITTED
            assert "does not let this client in" in str(error)
            assert "internal" not in str(error)
        assert seen[0] == {"query": {"a": "b"}, "host": True, "name": "one"}
        assert not any(each.headers for each in bus.clients())


async def test_what_admit_returns_is_who_it_is() -> None:
    def admit(found: Client) -> str:
        return found.query["user"]

    async with served(admit=admit) as (bus, url), client(f"{url}/?user=eve", "one"):
        assert (await refused(f"{url}/?user=bob", "one")).code == codes.NAME_TAKEN
        async with client(f"{url}/?user=eve", "one") as second:
            assert [(each.node, each.identity) for each in bus.clients()] == [(second.id, "eve")]


async def test_a_hook_that_hangs_holds_up_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    async def admit(found: Client) -> None:
        if found.name == "slow":
            await asyncio.Event().wait()

    async with served(admit=admit, hook_timeout=0.3) as (bus, url):
        slow = asyncio.create_task(refused(url, "slow"))
        async with client(url, "one"):
            assert await bus.node("one").request("who") == "one"
        error = await slow
        assert (error.code, "in time" in str(error)) == (codes.MESH_FULL, True)
        assert "the hook admit failed" in caplog.text
        assert "the hook did not end within 0.3 s" in caplog.text


async def test_who_leaves_while_it_waits_is_nobody() -> None:
    going_on = asyncio.Event()
    asked: list[Client] = []

    async def admit(found: Client) -> None:
        asked.append(found)
        await going_on.wait()

    async with served(admit=admit) as (bus, url):
        async with AsyncBus(ipc=False, label="one") as one:
            task = asyncio.create_task(one.connect(url, retry=None))
            await until(lambda: bool(asked))
            task.cancel()
        going_on.set()
        await asyncio.sleep(0.1)
        assert not bus.clients()
        assert not bus.node.connections


async def test_so_many_may_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 1)
    going_on = asyncio.Event()

    async def admit(found: Client) -> None:
        await going_on.wait()

    async with served(admit=admit) as (bus, url):
        first = asyncio.create_task(refused(url, "one"))
        await until(lambda: any(runner._seat for runner in bus._host.runners))  # type: ignore[attr-defined]
        error = await refused(url, "two")
        assert (error.code, "too many clients come at once" in str(error)) == (codes.MESH_FULL, True)
        first.cancel()


async def test_more_than_there_may_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARE_MAX", 1)
    async with served(max_connections=1, token=TOKEN) as (bus, url), client(url, "one", token=TOKEN):
        error = await refused(url, "two", token=TOKEN)
        assert (error.code, "max_connections" in str(error)) == (codes.MESH_FULL, True)
        async with client(url, "one", token=TOKEN):  # who takes its own place may come
            assert names(bus) == ["one"]
        held = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        also = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        third = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        assert b"503 Service Unavailable" in await third[0].read(100)
        for _, writer in (held, also, third):
            writer.close()


async def test_who_was_admitted_at_the_same_time_may_be_one_too_many() -> None:
    going_on = asyncio.Event()
    asked: list[Client] = []

    async def admit(found: Client) -> None:
        asked.append(found)
        await going_on.wait()

    async with (
        served(max_connections=1, admit=admit) as (bus, url),
        AsyncBus(ipc=False, label="one") as one,
        AsyncBus(ipc=False, label="two") as two,
    ):
        tasks = [asyncio.create_task(each.connect(url, retry=None)) for each in (one, two)]
        await until(lambda: len(asked) == 2)
        going_on.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(getattr(each, "code", 0) for each in found) == [0, codes.MESH_FULL]
        assert len(bus.clients()) == 1


@pytest.mark.parametrize("name", ["x" * 65, "a\tb"])
async def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    async with served() as (_, url):
        error = await refused(f"{url}/?name={name.replace(chr(9), '%09')}", "one")
        assert error.code == codes.NOT_ADMITTED


# What it does


async def test_on_message_is_told_of_all_that_a_client_sends() -> None:
    heard: list[tuple[str, str, str, Any]] = []

    async def on_message(found: Client, message: ClientMessage) -> None:
        heard.append((found.name, message.what, message.name, message.payload))

    async with served(on_message=on_message) as (bus, url), client(url, "one") as one:
        inbox = bus.register("inbox", realm="global")
        await one.request("echo", {"x": 1})
        await one.send("inbox", b"raw", ttl=5)
        await one.send("inbox", "text")
        await one.publish("news", 3, realm="global")
        assert [(await inbox.receive(5)).payload for _ in range(2)] == [b"raw", "text"]
        await until(lambda: len(heard) >= 3)
        assert heard[:3] == [
            ("one", "request", "echo", {"x": 1}),
            ("one", "send", "inbox", b"raw"),
            ("one", "send", "inbox", "text"),
        ]


async def test_hooks_that_fail_are_logged_and_end_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def on_message(found: Client, message: ClientMessage) -> None:
        raise KeyError("message")

    async def on_disconnect(found: Client) -> None:
        raise KeyError("gone")

    async with served(on_message=on_message, on_disconnect=on_disconnect) as (bus, url):
        async with client(url, "one") as one:
            for number in range(3):
                assert await one.request("echo", number) == number
        await until(lambda: "the hook on_disconnect failed" in caplog.text)
        assert caplog.text.count("the hook on_message failed") == 1
        async with client(url, "one"):
            assert names(bus) == ["one"]


async def test_a_hook_for_messages_that_hangs_slows_its_client_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLD_MAX", 4)
    going_on = asyncio.Event()
    told: list[int] = []

    async def on_message(found: Client, message: ClientMessage) -> None:
        if found.name == "one":
            await going_on.wait()
            told.append(message.payload)

    async with (
        served(on_message=on_message, hook_timeout=60) as (bus, url),
        client(url, "one") as one,
    ):
        inbox = bus.register("inbox", realm="global", queue=1000)

        async def send() -> None:
            for number in range(50):
                await one.send("inbox", number, ttl=5)
                await asyncio.sleep(0.001)

        sending = asyncio.create_task(send())
        async with client(url, "two") as two:
            assert await two.request("echo", 2) == 2
        (runner,) = (each for each in bus._host.runners if each.client.name == "one")  # type: ignore[attr-defined]
        await until(lambda: runner._resting)  # type: ignore[attr-defined]
        going_on.set()
        assert [(await inbox.receive(5)).payload for _ in range(50)] == list(range(50))
        await sending
        await until(lambda: len(told) == 50)
        assert told == list(range(50))


async def test_messages_are_not_told_to_a_hook_that_is_stuck() -> None:
    async def on_message(found: Client, message: ClientMessage) -> None:
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await stuck.wait()
                return

    stuck = asyncio.Event()
    async with served(on_message=on_message, hook_timeout=0.05) as (bus, url), client(url, "one") as one:
        (found,) = bus.clients()
        await one.request("echo", 1)
        (runner,) = host_of(bus).registry.seats
        await until(lambda: runner.server._lines[runner].stuck)
        for number in range(3):
            assert await one.request("echo", number) == number
        assert found.unheard == 3
        stuck.set()


async def test_who_sends_faster_than_it_may_is_slowed_and_loses_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(rate={"messages": 100, "bytes": 1_000_000}) as (bus, url), client(url, "one") as one:
        inbox = bus.register("inbox", realm="global")
        await one.send("inbox", -1, ttl=5)
        for number in range(150):
            await one.send("inbox", number)
        found = [(await inbox.receive(10)).payload for _ in range(151)]
        assert found == list(range(-1, 150))
        assert "one sends more than it may: it is read more slowly" in caplog.text


async def test_a_client_can_be_sent_away() -> None:
    async with served() as (bus, url), client(url, "one") as one:
        (found,) = bus.clients()
        assert await found.request("who") == "one"
        await found.send("who", 1)
        found.disconnect("enough")
        await until(lambda: not bus.clients())
        assert not one.links()
        found.disconnect()


def test_threads_have_the_same() -> None:
    asked: list[str] = []
    heard: list[Any] = []
    gone = threading.Event()

    def admit(found: Client) -> None:
        asked.append(found.name)
        if found.name == "no":
            raise PermissionError("not you")

    def on_message(found: Client, message: ClientMessage) -> None:
        heard.append((found.name, message.payload))

    def on_disconnect(found: Client) -> None:
        gone.set()

    with Bus(ipc=False, label="server") as bus:
        bus.serve("echo", lambda request: request.payload, realm="global")
        listener = bus.listen(LOOPBACK, admit=admit, on_message=on_message, on_disconnect=on_disconnect)
        with Bus(ipc=False, label="one") as one, Bus(ipc=False, label="no") as no:
            one.serve("who", lambda request: "one", kind="anycast", realm="global")
            one.connect(listener.url)
            assert one.request("echo", 5) == 5
            assert bus.node("one").request("who") == "one"
            with pytest.raises(busway.LinkRefused, match="not you"):
                no.connect(listener.url)
            (found,) = bus.clients()
            assert found.request("who") == "one"
        assert gone.wait(5)
        assert (asked, heard[:1]) == (["one", "no"], [("one", 5)])


def test_a_hook_in_a_thread_that_hangs_is_left_behind() -> None:
    stuck = threading.Event()

    def admit(found: Client) -> None:
        if found.name == "slow":
            stuck.wait()

    with Bus(ipc=False, label="server") as bus:
        listener = bus.listen(LOOPBACK, admit=admit, hook_timeout=0.2)
        with Bus(ipc=False, label="slow") as slow, Bus(ipc=False, label="one") as one:
            with pytest.raises(busway.LinkRefused, match="in time"):
                slow.connect(listener.url)
            one.connect(listener.url)
            assert names(bus) == ["one"]
        stuck.set()


# What is given


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_connections": 0}, ValueError),
        ({"max_connections": "5"}, TypeError),
        ({"admit": 5}, TypeError),
        ({"rate": 100}, TypeError),
        ({"rate": {}}, TypeError),
        ({"rate": {"miles": 5}}, TypeError),
        ({"rate": {"bytes": 100}}, ValueError),
        ({"rate": {"messages": 0}}, ValueError),
        ({"rate": {"messages": 1.5}}, TypeError),
        ({"hook_timeout": 0, "max_connections": 1}, ValueError),
    ],
)
async def test_what_makes_no_sense_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    async with AsyncBus(ipc=False) as bus:
        with pytest.raises(error):
            await bus.listen(LOOPBACK, **options)


def test_threads_take_no_coroutines_as_hooks() -> None:
    async def admit(found: Client) -> None:
        pass

    with Bus(ipc=False) as bus, pytest.raises(TypeError, match="plain function"):
        bus.listen(LOOPBACK, admit=admit)


async def test_by_tcp_as_well() -> None:
    async with served(url="tcp://127.0.0.1:0", max_connections=5) as (bus, url), client(url, "one"):
        assert names(bus) == ["one"]
        assert (await refused(url, "one")).code == codes.NAME_TAKEN


async def test_the_log_tells_of_who_comes_under_anothers_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with served() as (_, url), client(url, "one"):
        await refused(url, "one")
        await until(lambda: "another client has its name" in caplog.text)


async def test_what_is_behind_a_client_has_no_name_here() -> None:
    """A client that forwards can say of others what it likes."""
    async with (
        served() as (bus, url),
        AsyncBus(ipc=False, label="router", transit=True) as router,
        AsyncBus(ipc=False, label="panel") as behind,
    ):
        behind.serve("who", lambda request: "an impostor", realm="global")
        listener = await router.listen("tcp://127.0.0.1:0", realm="global")
        await behind.connect(listener.url)
        await router.connect(url)
        await until(lambda: "panel" in [each.label for each in bus.nodes()])
        with pytest.raises(busway.Undeliverable):
            await bus.node("panel").request("who")
        async with client(url, "panel"):
            assert await bus.node("panel").request("who") == "panel"
