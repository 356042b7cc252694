"""A reader of nothing but `changes()` knows what `nodes()`, `endpoints()` and `links()` say: at every turn of
the loop, in random lives of a few buses over memory and TCP; and with threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

import busway
from busway import AsyncBus
from busway.adapters import host, links
from busway.adapters.records import Change, EndpointInfo, LinkInfo, NodeInfo
from busway.adapters.typed import Kind, Realm
from busway.testing import Network
from tests.adapters.threads_tools import until
from tests.adapters.tools import buses, join, sees
from tests.adapters.tools import until as until_async

STEPS = 200
NAMES = [f"lab/{number}" for number in range(6)]
REALMS: tuple[Realm, ...] = ("process", "userspace", "localnet", "global")
KINDS: tuple[Kind, ...] = ("anycast", "broadcast")


def still(link: LinkInfo) -> LinkInfo:
    """A link without what moves by itself."""
    return replace(link, rtt=None, bytes_in=0, bytes_out=0, next_try=None)


class Observer:
    """The state that the changes so far have told, after what there was before the first."""

    def __init__(self, bus: Any) -> None:
        self.bus = bus
        self.changes = bus.changes()
        self.nodes = {node.id: node for node in bus.nodes()}
        self.endpoints = {(each.node, each.id): each for each in bus.endpoints()}
        self.links = {link.id: still(link) for link in bus.links()}
        self.told: list[str] = []

    def take(self, change: Change) -> None:
        self.told.append(change.what)
        subject = change.subject
        if isinstance(subject, LinkInfo):
            self.links[subject.id] = still(subject)
            if subject.state == "closed":
                self.links.pop(subject.id)
        elif isinstance(subject, EndpointInfo):
            if change.what in ("endpoint-up", "endpoint-changed"):
                assert ((subject.node, subject.id) in self.endpoints) == (change.what == "endpoint-changed")
                self.endpoints[subject.node, subject.id] = subject
            else:
                del self.endpoints[subject.node, subject.id]
        elif change.what in ("node-up", "node-changed"):
            self.nodes[subject.id] = subject
        elif change.what == "node-down":
            del self.nodes[subject.id]

    def take_all(self) -> None:
        """Changes that can be read without waiting."""
        while True:
            step = self.changes.__anext__()
            try:
                step.send(None)
            except StopIteration as change:
                self.take(change.value)
            else:
                step.close()
                return

    def check(self) -> None:
        assert sorted_by_id(self.nodes.values()) == sorted_by_id(self.bus.nodes())
        assert set(self.endpoints.values()) == set(self.bus.endpoints())
        assert sorted_by_id(self.links.values()) == sorted_by_id(still(link) for link in self.bus.links())


def sorted_by_id(infos: Iterable[Any]) -> list[Any]:
    return sorted(infos, key=lambda info: info.id)


class Life:
    """Buses to which things happen, drawn from one seed."""

    def __init__(self, network: Network, stack: contextlib.AsyncExitStack, seed: int) -> None:
        self.random = random.Random(seed)
        self.stack = stack
        self.network = network
        self.buses: list[AsyncBus] = []
        self.observers: list[Observer] = []
        self.receivers: list[Any] = []
        self.listener: Any = None
        self.dialled: list[Any] = []
        self.pairs: list[tuple[AsyncBus, AsyncBus]] = []
        self.tasks: set[asyncio.Task[Any]] = set()

    async def begin(self) -> None:
        for number in range(5):
            options: dict[str, Any] = {"leaf": True} if number == 4 else {"transit": True}
            label = self.random.choice(("", f"bus {number}"))
            bus = AsyncBus(ipc=False, label=label, **options)
            self.buses.append(await self.stack.enter_async_context(bus))
            self.observers.append(Observer(bus))
        self.listener = await self.buses[0].listen("tcp://127.0.0.1:0")

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(self.random.choice((0, 0, 0, 0.001)))
            for observer in self.observers:
                observer.take_all()
                observer.check()

    def later(self, job: Any) -> None:
        task = asyncio.ensure_future(job)
        self.tasks.add(task)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    # What happens

    def link(self) -> None:
        one, other = self.random.sample(self.buses, 2)
        leaf = self.buses[4]
        if leaf not in (one, other) or not leaf.links():
            realm = self.random.choice(REALMS[1:])
            self.pairs.append((one, other))
            self.later(self.network.link(one, other, realm=realm, delay=self.random.choice((0.0, 0.002))))

    def cut(self) -> None:
        if self.pairs:
            one, other = self.pairs.pop(self.random.randrange(len(self.pairs)))
            with contextlib.suppress(ValueError):  # it is not there yet
                self.network.cut(one, other)

    def connect(self) -> None:
        bus = self.random.choice(self.buses[1:4])
        retry = busway.Retry(first=0.01, cap=0.05)

        async def job() -> None:
            self.dialled.append(await bus.connect(self.listener.url, retry=retry, wait=5.0))

        self.later(job())

    def drop(self) -> None:
        """The other side ends a link that was dialled, or who dialled it does."""
        if self.dialled and self.random.random() < 0.3:
            self.dialled.pop(self.random.randrange(len(self.dialled))).close()
        else:
            for runner in list(self.buses[0]._host.runners):
                if runner.channel.fileno() >= 0:
                    runner.close()
                    return

    def register(self) -> None:
        bus = self.random.choice(self.buses)
        kind, realm = self.random.choice(KINDS), self.random.choice(REALMS)
        with contextlib.suppress(busway.EndpointTaken, ValueError):  # it is there, in another way
            self.receivers.append(bus.register(self.random.choice(NAMES), kind, realm=realm))

    def deregister(self) -> None:
        if self.receivers:
            self.receivers.pop(self.random.randrange(len(self.receivers))).close()

    def ask(self) -> None:
        """A leaf is told of what it asks for."""
        self.later(self.buses[4].send(self.random.choice(NAMES), 1))

    async def play(self) -> None:
        await self.begin()
        acts: tuple[Callable[[], None], ...] = (
            *(self.link,) * 4,
            *(self.cut,) * 3,
            *(self.connect,) * 2,
            self.drop,
            *(self.register,) * 4,
            *(self.deregister,) * 3,
            self.ask,
        )
        for _ in range(STEPS):
            self.random.choice(acts)()
            await self.turns(self.random.randrange(1, 12))
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.turns(50)


@pytest.mark.parametrize("seed", range(4))
async def test_who_reads_the_changes_knows_what_there_is_at_every_turn(seed: int) -> None:
    async with Network() as network, contextlib.AsyncExitStack() as stack:
        life = Life(network, stack, seed)
        await life.play()
        told = {what for observer in life.observers for what in observer.told}
    assert told >= {
        *("link-up", "link-state", "link-down"),
        *("node-up", "node-down", "endpoint-up", "endpoint-down"),
    }


@pytest.mark.jumps
async def test_who_is_beyond_another_node_is_told_when_it_is_known() -> None:
    async with Network() as network:
        here, door = [await network.bus(label, transit=True) for label in ("here", "door")]
        leaf = await network.bus("leaf", leaf=True)
        await network.link(here, door, delay=0.005)
        changes = here.changes()
        await network.link(door, leaf)
        told = []
        async with asyncio.timeout(60):
            async for change in changes:
                assert isinstance(change.subject, NodeInfo)
                told.append((change.what, change.subject.label, change.subject.leaf))
                if change.what == "node-changed":
                    break
        assert told == [("node-up", "", False), ("node-changed", "leaf", True)]
        assert [(node.label, node.leaf) for node in here.nodes()] == [
            *(("here", False), ("door", False), ("leaf", True)),
        ]


def test_threads_read_the_same() -> None:
    with (
        busway.Bus(ipc=False, label="a", transit=True) as a,
        busway.Bus(ipc=False, label="b", transit=True) as b,
        busway.Bus(ipc=False, label="c", leaf=True) as c,
    ):
        observer = Observer(a)
        seen: list[Change] = []

        def read() -> None:
            for change in observer.changes:
                observer.take(change)
                seen.append(change)

        reader = threading.Thread(target=read)
        reader.start()

        def agrees() -> bool:
            try:
                observer.check()
            except (AssertionError, RuntimeError):  # it reads just now
                return False
            return True

        link = a.connect(b.listen("tcp://127.0.0.1:0").url)
        until(agrees)
        c.connect(b.listen("tcp://127.0.0.1:0").url)
        until(lambda: any(node.label == "c" and node.leaf for node in a.nodes()))
        until(agrees)
        receiver = b.register("lab/x", realm="localnet")
        own = a.register("lab/y", realm="process")
        until(lambda: len(a.endpoints()) == 2)
        until(agrees)
        receiver.close()
        own.close()
        until(lambda: not a.endpoints())
        until(agrees)
        link.close()
        until(lambda: len(a.nodes()) == 1 and not a.links())
        until(agrees)
        a.close()
        reader.join(60)
        assert {"link-state", "link-up", "link-down", "node-changed"} <= {change.what for change in seen}


@pytest.mark.jumps
async def test_a_reader_that_was_too_slow_can_see_it() -> None:
    async with Network() as network:
        bus = await network.bus("a")
        changes = bus.changes()
        for number in range(1100):
            bus.register(str(number))
        await asyncio.sleep(0)
        assert changes.missed == 1100 - 1024


async def test_nothing_is_made_of_changes_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each link, node and endpoint of hundreds of programs would be described to nobody."""

    def described(*_: object) -> Change:
        raise AssertionError("a change that nobody reads")

    async with buses() as (one, two):
        for module in (host, links):
            monkeypatch.setattr(module, "change_of" if module is host else "link_info", described)
        async with AsyncBus(ipc=False) as third:
            third.register("third")
            await join(third, two)
            await until_async(lambda: sees(two, "third"))
        monkeypatch.undo()
        changes = one.changes()
        async with AsyncBus(ipc=False) as fourth:
            await join(fourth, one)
            assert (await anext(changes)).what == "link-state"
