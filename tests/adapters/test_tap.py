"""The tap: who watches sees what programs of the same user say, and nobody is slowed down or spied upon."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any, cast

import pytest

import busway
from busway import AsyncBus
from busway.adapters.tap import PAYLOAD_MAX, TAP, TAP_NAME, Tapped
from busway.protocol import codes
from tests.adapters import threads_tools
from tests.adapters.tools import buses, join, sees, until

pytestmark = pytest.mark.jumps


async def watch(bus: AsyncBus, *others: AsyncBus, queue: int = 4096) -> Any:
    """A watcher at `bus`, once the others know of it."""
    receiver = bus.register(TAP_NAME, "anycast", "userspace", queue=queue)
    await until(lambda: all(isinstance(other._host.node, Tapped) for other in others))
    return receiver


async def seen(receiver: Any, count: int) -> list[tuple[object, ...]]:
    """The next records: what, name, to whom, how large, the bytes."""
    records = [(await receiver.receive(60)).payload for _ in range(count)]
    return [
        (record["what"], record["name"], record["to_label"], record["size"], record["payload"])
        for record in records
    ]


async def test_all_that_is_said_is_seen() -> None:
    async with buses(3) as (watcher, a, b):
        log = b.register("lab/log")

        async def parts(request: busway.Request) -> Any:
            yield b"p"

        def fail(request: busway.Request) -> None:
            raise busway.RemoteError(300, "dry")

        b.serve("lab/echo", lambda request: request.payload)
        b.serve("lab/parts", parts)
        b.serve("lab/failing", fail)
        await until(
            lambda: all(sees(a, name) for name in ("lab/log", "lab/echo", "lab/parts", "lab/failing"))
        )
        receiver = await watch(watcher, a, b)
        await a.send("lab/log", b"plain")
        await a.publish("lab/only published", b"news")
        await asyncio.gather(a.send("lab/log", b"sure", confirm=True), log.receive(), log.receive())
        assert await a.request("lab/echo", b"ask") == b"ask"
        assert [part async for part in a.request_stream("lab/parts", b"")] == [b"p"]
        with pytest.raises(busway.RemoteError):
            await a.request("lab/failing", b"")
        told = await seen(receiver, 10)
        assert [line for line in told if line[2] != "c"] == [
            ("publish", "lab/only published", "", 4, b"news"),
            ("reply", "lab/echo", "b", 3, b"ask"),
            ("part", "lab/parts", "b", 1, b"p"),
            ("end", "lab/parts", "b", 0, b""),
            ("error 300", "lab/failing", "b", 3, b"dry"),
        ]
        assert [line for line in told if line[2] == "c"] == [
            ("send", "lab/log", "c", 5, b"plain"),
            ("confirmed send", "lab/log", "c", 4, b"sure"),
            ("request", "lab/echo", "c", 3, b"ask"),
            ("request", "lab/parts", "c", 0, b""),
            ("request", "lab/failing", "c", 0, b""),
        ]


async def test_without_a_watcher_the_core_is_called_itself() -> None:
    async with buses(2) as (watcher, a):
        core = a._host.node
        assert not isinstance(core, Tapped)
        receiver = await watch(watcher, a)
        assert a._host.node is not core
        receiver.close()
        await until(lambda: a._host.node is core)
        await a.publish("lab/x", 1)


async def test_a_program_can_decline(monkeypatch: pytest.MonkeyPatch) -> None:
    async with buses(1) as (watcher,), AsyncBus(ipc=False, tap=False) as shy:
        monkeypatch.setenv("BUSWAY_TAP", "0")
        async with AsyncBus(ipc=False) as told, AsyncBus(ipc=False, tap=True) as open_one:
            for bus in (shy, told, open_one):
                await join(watcher, bus)
            receiver = await watch(watcher, open_one)
            for bus in (shy, told, open_one):
                await until(lambda bus=bus: sees(bus, TAP_NAME))  # type: ignore[misc]
                await bus.publish("lab/x", bus.label)
            message = await receiver.receive(60)
            assert message.source == open_one.id
            assert not isinstance(shy._host.node, Tapped)
            assert not isinstance(told._host.node, Tapped)


async def test_nothing_is_told_beyond_this_users_programs() -> None:
    """Neither to one who asks from afar, nor to one who asks for it with a wider realm or another kind."""
    async with buses(2, realm="localnet") as (far, a):
        far.register(TAP_NAME, "anycast", "localnet")
        far.register("lab/x")
        await until(lambda: sees(a, TAP_NAME) and sees(a, "lab/x"))
        assert not isinstance(a._host.node, Tapped)
    async with buses(2) as (near, a):
        near.subscribe(TAP_NAME, realm="userspace")
        await until(lambda: sees(a, TAP_NAME))
        assert not isinstance(a._host.node, Tapped)


async def test_a_slow_watcher_slows_nobody_down_and_hears_what_it_missed() -> None:
    async with buses(2) as (watcher, a):
        receiver = await watch(watcher, a, queue=8)
        for number in range(200):
            await a.publish("lab/x", number)
        assert a.node.origin.pending == {}
        shown = 0
        lost = 0
        for _ in range(200):
            try:
                lost += (await receiver.receive(0.2)).payload["lost"]
                shown += 1
            except TimeoutError:
                break
        await a.publish("lab/x", "last")
        lost += (await receiver.receive(60)).payload["lost"]
        assert shown + lost == 200
        assert lost > 0
        assert not a.undeliverable


async def test_large_payloads_are_cut_and_objects_kept() -> None:
    async with buses(2) as (watcher, a):
        own = a.register("lab/own", realm="process")
        receiver = await watch(watcher, a)
        await a.send("lab/own", object())
        await own.receive(60)
        await a.publish("lab/large", bytes(100_000))
        [(what, name, _, size, payload)] = await seen(receiver, 1)
        assert (what, name, size) == ("publish", "lab/large", 100_000)
        assert payload == bytes(PAYLOAD_MAX)


async def test_a_watcher_that_goes_leaves_no_complaint() -> None:
    async with buses(2) as (watcher, a):
        receiver = await watch(watcher, a)
        for number in range(4):
            await a.publish("lab/x", number)
        await until(lambda: len(receiver._core.queue) == 4)
        receiver.close()
        await until(lambda: not isinstance(a._host.node, Tapped))
        assert not a.undeliverable


def test_the_blocking_bus_is_seen_too() -> None:
    with threads_tools.buses(2) as (watcher, a):
        receiver = watcher.register(TAP_NAME, "anycast", "userspace")
        threads_tools.until(lambda: isinstance(a._host.node, Tapped))
        a.serve("lab/echo", lambda request: request.payload)
        a.publish("lab/x", b"1")
        assert a.request("lab/echo", b"2") == b"2"
        told = [receiver.receive(60).payload for _ in range(3)]
        assert [record["what"] for record in told] == ["publish", "request", "reply"]
        receiver.close()
        threads_tools.until(lambda: not isinstance(a._host.node, Tapped))


async def test_a_leaf_that_asks_who_watches_is_seen() -> None:
    async with AsyncBus(ipc=False) as watcher, AsyncBus(ipc=False, leaf=True, label="small") as leaf:
        await join(leaf, watcher)
        receiver = watcher.register(TAP_NAME, "anycast", "userspace")
        await leaf._host.outcome(*leaf._host.ask(leaf.node.locate, TAP, 0))
        await until(lambda: isinstance(leaf._host.node, Tapped))
        await leaf.publish("lab/x", b"1")
        record = (await receiver.receive(60)).payload
        assert (record["what"], record["from_label"]) == ("publish", "small")


async def test_what_a_program_publishes_is_in_its_report() -> None:
    async with buses(2) as (a, b):
        await a.publish("lab/only", 1)
        await a.publish("lab/only", 2)
        report = await b.request(codes.INTROSPECTION, node=a.id)
        assert [(row["name"], row["sent"]) for row in report["published"]] == [("lab/only", 2)]


# The log


async def test_the_log_says_what_joins_waits_and_comes_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "busway")
    async with buses(2) as (a, b):
        waiting = asyncio.create_task(a.send("lab/late", 1, ttl=30))
        await until(lambda: "nobody is known to have the endpoint yet" in caplog.text)
        receiver = b.register("lab/late")
        await waiting
        asked = asyncio.create_task(a.request("lab/late", 2))
        await until(lambda: f"is on its way to b {b.id.hex()[:8]}" in caplog.text)
        await receiver.receive(60)
        receiver.close()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
    for words in (
        "node-up: b",
        "link-up: memory://pair",
        "endpoint-up: lab/late (unicast",
        "accepted",
        "cancelled",
    ):
        assert words in caplog.text, words


async def test_the_log_says_what_an_address_leads_to_and_when_it_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "busway")

    def attempts() -> list[str]:
        tried = re.compile(r"attempt (\d+), next in \d+\.\d s: .*refused$")
        return [found[1] for record in caplog.records if (found := tried.search(record.getMessage()))]

    async with AsyncBus(ipc=False) as bus:
        with pytest.raises(OSError, match="refused"):  # in 2 s a name is looked up on a busy machine, too
            await bus.connect("tcp://localhost:1", wait=2, retry=busway.Retry(first=0.02))
    texts = [record.getMessage() for record in caplog.records]
    assert any(re.match(r"tcp://localhost:1 leads to .*127\.0\.0\.1 port 1", text) for text in texts), texts
    assert attempts()[:2] == ["1", "2"], texts


def test_threads_log_it_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "busway")
    with busway.Bus(ipc=False) as bus, pytest.raises(OSError, match="refused"):
        bus.connect("tcp://localhost:1", wait=2, retry=busway.Retry(first=0.02))
    assert "tcp://localhost:1 leads to " in caplog.text
    assert re.search(r"attempt 2, next in \d+\.\d s: .*refused$", caplog.text, re.M), caplog.text


def test_the_blocking_bus_logs_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "busway")
    with threads_tools.buses(2) as (a, b):
        b.serve("lab/echo", lambda request: request.payload)
        threads_tools.until(lambda: threads_tools.sees(a, "lab/echo"))
        assert a.request("lab/echo", 1) == 1
    for words in ("node-up: b", "endpoint-up: lab/echo (anycast", "is on its way to b", "answered"):
        assert words in caplog.text, words


async def test_what_watchers_missed_is_forgotten_when_they_leave() -> None:
    async with buses(4) as (watcher, a, *others):
        kept = await watch(watcher, a)
        leaving = [await watch(other, a, queue=2) for other in others]
        await until(lambda: len(a.node.directory.holders(TAP)) == 3)
        for number in range(50):
            await a.publish("lab/x", number)
            await kept.receive(60)
        assert {other.id for other in others} <= set(cast(Tapped, a._host.node)._lost)
        for receiver in leaving:
            receiver.close()
        await until(lambda: len(a.node.directory.holders(TAP)) == 1)
        await a.publish("lab/x", "last")
        await kept.receive(60)
        assert not set(cast(Tapped, a._host.node)._lost) - {watcher.id}


@pytest.mark.parametrize("serve", [[], ["busway/tap"]])
async def test_a_policy_says_who_may_read_all(serve: list[str]) -> None:
    """It is told payloads, unlike who asks for the state: nobody may by being of this machine alone."""
    policy = {"default": "closed", "rule": [{"who": "*", "serve": serve, "call": ["lab/*"]}]}
    async with AsyncBus(ipc=False, policy=policy) as here, AsyncBus(ipc=False) as there:
        here.register("lab/log")
        await join(here, there)
        there.register(TAP_NAME, "anycast", "userspace")
        await until(lambda: isinstance(here._host.node, Tapped) or here.node.counters["denied"])
        assert isinstance(here._host.node, Tapped) == bool(serve)
