"""Several hops on real sockets: machines with IPC of their own, joined over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import busway
from busway import AsyncBus
from busway.adapters.links import LinkRunner
from busway.protocol import codes
from tests.adapters.tools import knows, sees, until


class Machine:
    """Buses that find each other over IPC, and nobody else's."""

    def __init__(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, stack: contextlib.AsyncExitStack
    ) -> None:
        self._directory = directory
        self._monkeypatch = monkeypatch
        self._stack = stack

    async def bus(self, label: str, transit: bool | None = None) -> AsyncBus:
        self._monkeypatch.setenv("BUSWAY_DIR", str(self._directory))
        return await self._stack.enter_async_context(AsyncBus(label=label, transit=transit))


@contextlib.asynccontextmanager
async def machines(count: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Machine]]:
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            directory = Path(tempfile.mkdtemp(prefix="bw-"))
            stack.callback(shutil.rmtree, directory, True)
            made.append(Machine(directory, monkeypatch, stack))
        yield made


async def test_one_link_makes_two_machines_one_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    async with machines(2, monkeypatch) as (here, there):
        a, a2 = await here.bus("a"), await here.bus("a2")
        b, b2 = await there.bus("b"), await there.bus("b2")
        listener = await a.listen("tcp://127.0.0.1:0")
        await b.connect(listener.url)
        await until(lambda: knows(a2, a.id, b.id, b2.id) and knows(b2, a.id, b.id, a2.id))

        b2.serve("far/echo", lambda request: request.payload)
        b2.serve("far/secret", lambda _: 1, realm="userspace")
        log = b2.register("far/log")
        news = b2.subscribe("news")
        await until(lambda: sees(a2, "far/echo") and sees(a2, "far/log") and sees(a2, "news"))
        assert await a2.request("far/echo", {"x": [1, 2]}) == {"x": [1, 2]}
        assert await a2.request("far/echo", b"x" * 3_000_000) == b"x" * 3_000_000

        async def send() -> None:
            for number in range(5000):
                await a2.send("far/log", number)

        sending = asyncio.create_task(send())
        assert [(await log.receive(60)).payload for _ in range(5000)] == list(range(5000))
        await sending
        await asyncio.gather(a2.send("far/log", "sure", confirm=True, timeout=60), log.receive(60))
        await a2.publish("news", "once")
        assert (await news.receive(60)).payload == "once"
        with pytest.raises(TimeoutError):
            await news.receive(0.05)
        with pytest.raises(busway.Undeliverable):
            await a2.request("far/secret")
        with pytest.raises(busway.Undeliverable):
            await a2.request("far/secret", node=b2.id)

        hops = await a2.trace("far/echo", timeout=60)
        assert [(hop.node, hop.label, hop.realm, hop.medium) for hop in hops] == [
            (a.id, "a", "userspace", "ipc"),
            (b.id, "b", "localnet", "tcp"),
            (b2.id, "b2", "userspace", "ipc"),
        ]
        assert all(0 < hop.rtt < 5 for hop in hops)
        way = next(route for route in a2.routes() if route.node == b2.id)
        assert (way.via, way.realm, way.cost) == (a.id, "localnet", 18)


async def test_a_way_that_ends_is_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    async with machines(3, monkeypatch) as (one, two, three):
        a, b, c = (
            await one.bus("a", transit=True),
            await two.bus("b", transit=True),
            await three.bus("c", transit=True),
        )
        c2 = await three.bus("c2")
        urls = [(await bus.listen("tcp://127.0.0.1:0")).url for bus in (a, b, c)]
        await b.connect(urls[0])
        await c.connect(urls[1])
        await a.connect(urls[2])
        c2.serve("echo", lambda request: request.payload)
        await until(lambda: sees(a, "echo"))
        assert [hop.label for hop in await a.trace("echo", timeout=60)] == ["c", "c2"]
        direct = a.node.routes.peers[c.id].connections[0].tag
        assert isinstance(direct, LinkRunner)
        direct.close()
        assert await a.request("echo", 1, ttl=30) == 1
        assert [hop.label for hop in await a.trace("echo", timeout=60)] == ["b", "c", "c2"]


async def test_a_program_that_goes_is_gone_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async with machines(2, monkeypatch) as (here, there):
        a, a2 = await here.bus("a"), await here.bus("a2")
        b = await there.bus("b")
        await b.connect((await a.listen("tcp://127.0.0.1:0")).url)
        async with AsyncBus(label="b2") as b2:
            b2.serve("echo", lambda request: request.payload)
            await until(lambda: sees(a2, "echo"))
        await until(lambda: knows(a2, a.id, b.id))
        with pytest.raises(busway.Undeliverable) as caught:
            await a2.request("echo")
        assert caught.value.reason in (codes.NO_ENDPOINT, codes.NO_ROUTE)


async def test_without_transit_nobody_is_reached_through_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    async with machines(2, monkeypatch) as (here, there):
        a, a2 = await here.bus("a", transit=False), await here.bus("a2")
        b = await there.bus("b")
        a2.serve("echo", lambda request: request.payload)
        await b.connect((await a.listen("tcp://127.0.0.1:0")).url)
        await until(lambda: knows(a, a2.id, b.id))
        await asyncio.sleep(0)
        assert knows(b, a.id)
        with pytest.raises(busway.Undeliverable):
            await b.request("echo")


async def test_a_leaf_finds_another_node_when_its_own_goes() -> None:
    async with AsyncBus("alone", leaf=True) as leaf:
        first, second = AsyncBus("alone", label="first"), AsyncBus("alone", label="second")
        assert leaf.links() == []
        async with first:
            await until(lambda: knows(leaf, first.id))  # it looks again by itself
            async with second:
                second.serve("echo", lambda request: request.payload)
                assert await leaf.request("echo", 1, ttl=30) == 1
                await first.close()
                assert await leaf.request("echo", 2, ttl=30) == 2
                assert [link.peer for link in leaf.links()] == [second.id]


async def test_what_a_leaf_publishes_at_once_reaches_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async with machines(2, monkeypatch) as (here, there):
        a, a2 = await here.bus("a"), await here.bus("a2")
        b = await there.bus("b")
        await b.connect((await a.listen("tcp://127.0.0.1:0")).url)
        inboxes = [bus.subscribe("news") for bus in (a, a2, b)]
        await until(lambda: len([one for one in a.endpoints() if one.name == "news"]) == 3)
        for number in range(5):
            async with AsyncBus(ipc=False, leaf=True) as leaf:
                await leaf.connect((await a.listen("tcp://127.0.0.1:0")).url)
                await leaf.publish("news", number)
        for inbox in inboxes:
            assert [(await inbox.receive(60)).payload for _ in range(5)] == list(range(5))


async def test_a_way_within_the_realm_is_preferred_whatever_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    async with machines(2, monkeypatch) as (here, there):
        a, b = await here.bus("a"), await there.bus("b")
        a.serve("near", lambda _: "answer")
        a.serve("wide", lambda _: "answer", realm="global")
        cheap = await a.listen("tcp://127.0.0.1:0", realm="global", cost=1)
        await b.connect(cheap.url, cost=1)
        await until(lambda: sees(b, "wide"))
        assert not sees(b, "near")
        assert b.routes()[0].realm == "global"
        dear = await a.listen("tcp://127.0.0.1:0", cost=500)
        await b.connect(dear.url, cost=500)
        await until(lambda: sees(b, "near"))
        assert await b.request("near") == "answer"
        assert [(route.realm, route.cost) for route in b.routes()] == [("localnet", 500)]
        assert [(hop.realm, hop.cost) for hop in await b.trace("wide", timeout=60)] == [("localnet", 500)]


async def test_a_trace_tells_a_leaf_next_door_as_this_side_reckons() -> None:
    async with AsyncBus(ipc=False, leaf=True) as leaf, AsyncBus(ipc=False) as bus:
        leaf.serve("leaf/echo", lambda _: "answer")
        listener = await leaf.listen("tcp://127.0.0.1:0")
        await bus.connect(listener.url, cost=77)
        await until(lambda: sees(bus, "leaf/echo"))
        assert [(hop.medium, hop.realm, hop.cost) for hop in await bus.trace("leaf/echo", timeout=60)] == [
            ("tcp", "localnet", 77)
        ]


async def test_links_of_a_wrong_realm_or_cost_are_refused_at_once() -> None:
    async with AsyncBus(ipc=False) as bus:
        with pytest.raises(ValueError, match="realm must be one of"):
            await bus.listen("tcp://127.0.0.1:0", realm="nearby")  # type: ignore[arg-type]
        listener = await bus.listen("tcp://127.0.0.1:0")
        async with AsyncBus(ipc=False) as other:
            with pytest.raises(ValueError, match="1 to 16382"):
                await other.connect(listener.url, cost=0)
            assert other.links() == []


async def test_a_trace_of_nobody_says_so() -> None:
    async with AsyncBus(ipc=False) as bus:
        with pytest.raises(busway.Undeliverable):
            await bus.trace("nobody/has/it")
        with pytest.raises(busway.Undeliverable):
            await bus.trace("", node=b"n" * 16)
        bus.serve("mine", lambda _: None)
        assert await bus.trace("mine") == []


async def test_two_machines_with_one_id_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "DUPLICATE_MS", 0)
    async with (
        AsyncBus(ipc=False, transit=True) as hub,
        AsyncBus(ipc=False, transit=True) as hub2,
        AsyncBus(ipc=False, node_id=b"c" * 16) as one,
        AsyncBus(ipc=False, node_id=b"c" * 16) as copy,
    ):
        await hub2.connect((await hub.listen("tcp://127.0.0.1:0")).url)
        await one.connect((await hub.listen("tcp://127.0.0.1:0")).url)
        await copy.connect((await hub2.listen("tcp://127.0.0.1:0")).url)
        changes = hub.changes()
        await until(lambda: len(hub.node.mesh.router.routes) == 4)
        for _ in range(2):
            hub.node.sweep(hub._host.now_ms())
            hub._host.dispatch(hub.node.take_events())
        async with asyncio.timeout(60):
            while (change := await anext(changes)).what != "duplicate-node":
                pass
        assert isinstance(change.subject, busway.NodeInfo)
        assert change.subject.id == b"c" * 16
