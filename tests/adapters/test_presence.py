"""Who is there, and who comes, goes or changes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from dataclasses import dataclass
from typing import Any

import pytest

import busway
from busway import AsyncBus, Sighting
from busway.adapters.records import EndpointInfo
from busway.adapters.typed import Realm
from busway.protocol import codes
from tests.adapters.tools import buses, join, sees, until

pytestmark = pytest.mark.jumps


def words(sighting: Sighting) -> str:
    """What a person would say of it."""
    endpoint = sighting.endpoint
    name = "" if endpoint is None else f" {endpoint.name}"
    return f"{sighting.what}{name}{' ' * bool(sighting.reason)}{sighting.reason}"


async def some(presence: Any, count: int) -> list[str]:
    return [words(await anext(presence)) for _ in range(count)]


def ready(presence: Any) -> list[Sighting]:
    """What can be read without waiting."""
    found: list[Sighting] = []
    while True:
        step = presence.__anext__()
        try:
            step.send(None)
        except StopIteration as sighting:
            found.append(sighting.value)
        else:
            step.close()
            return found


def lose(bus: AsyncBus) -> None:
    """It is gone without a goodbye, as if killed."""
    for runner in list(bus._host.runners):
        runner.channel.close()


async def test_first_who_is_there_then_who_comes_and_goes() -> None:
    async with buses(2) as (a, b), a.presence("lab/*") as presence:
        assert await some(presence, 1) == ["complete"]
        receiver = b.register("lab/pump")
        b.register("far/pump")
        assert await some(presence, 1) == ["arrived lab/pump"]
        async with a.presence("lab/**") as other:
            assert await some(other, 2) == ["present lab/pump", "complete"]
            await receiver.close()
            assert await some(presence, 1) == await some(other, 1) == ["departed lab/pump withdrawn"]
        a.register("lab/own")
        sighting = await anext(presence)
        assert (words(sighting), sighting.node) == (
            "arrived lab/own",
            busway.NodeInfo(a.id, "a", False, True),
        )


async def test_a_goodbye_is_told_at_once_and_a_loss_when_it_is_sure() -> None:
    async with buses(1) as (a,):
        presence = a.presence("lab/pump")
        assert await some(presence, 1) == ["complete"]
        async with AsyncBus(ipc=False, label="b") as b:
            await join(a, b)
            b.register("lab/pump")
            assert await some(presence, 1) == ["arrived lab/pump"]
        now = asyncio.get_running_loop().time()
        assert await some(presence, 1) in (["departed lab/pump goodbye"], ["departed lab/pump withdrawn"])
        assert asyncio.get_running_loop().time() - now < 1
        async with AsyncBus(ipc=False, label="c") as c:
            await join(a, c)
            c.register("lab/pump")
            assert await some(presence, 1) == ["arrived lab/pump"]
            now = asyncio.get_running_loop().time()
            lose(c)
            sighting = await anext(presence)
            assert (words(sighting), sighting.lost) == ("departed lab/pump lost", True)
            assert asyncio.get_running_loop().time() - now >= 2


@pytest.mark.jumps(needed=True)
async def test_who_comes_back_in_time_was_there_all_the_time() -> None:
    async with buses(2) as (a, b):
        b.register("lab/pump")
        presence = a.presence("lab/**")
        assert await some(presence, 2) in (["present lab/pump", "complete"], ["complete", "arrived lab/pump"])
        lose(b)
        await until(lambda: not a.endpoints())
        await asyncio.sleep(1)
        await join(a, b)
        await asyncio.sleep(10)
        assert ready(presence) == []


async def test_a_selector_goes_by_labels_and_an_endpoint_that_loses_one_departs() -> None:
    async with buses(2) as (a, b):
        b.register("lab/one", labels={"spare"})
        await until(lambda: a.endpoints())
        presence = a.presence(busway.where("spare") & ~busway.where("codec"))
        assert await some(presence, 2) == ["present lab/one", "complete"]
        two = b.register("lab/two", labels={"spare"})
        b.register("lab/three", labels={"spare", "codec"})
        assert await some(presence, 1) == ["arrived lab/two"]
        await two.close()
        b.register("lab/two", labels={"codec"})
        assert await some(presence, 1) == ["departed lab/two withdrawn"]
        await asyncio.sleep(5)
        assert ready(presence) == []


async def test_a_last_word_is_given_to_subscribers_and_told_with_the_departure() -> None:
    async with buses(2) as (a, b):
        b.register("lab/pump", gone={"state": "off"})
        b.register("lab/box", "broadcast", gone="aaargh")
        await until(lambda: len(a.endpoints()) == 2)
        box, all_of_it = a.subscribe("lab/box"), a.subscribe("lab/**")
        presence = a.presence("lab/pump")
        assert await some(presence, 2) == ["present lab/pump", "complete"]
        await until(lambda: sees(b, "lab/box") and sees(b, "lab/**"))
        await b.publish("lab/box", "alive")
        alive = await box.receive(timeout=5)
        lose(b)
        departed = await anext(presence)
        assert (departed.lost, departed.last_word) == (True, {"state": "off"})
        word = await box.receive(timeout=5)
        assert [(each.payload, each.last_word, each.source) for each in (alive, word)] == [
            ("alive", False, b.id),
            ("aaargh", True, b.id),
        ]
        words = [await all_of_it.receive(timeout=5) for _ in range(3)]
        assert sorted((each.name, str(each.payload), each.last_word) for each in words) == [
            ("lab/box", "aaargh", True),
            ("lab/box", "alive", False),
            ("lab/pump", "{'state': 'off'}", True),
        ]


@busway.message("b2b4e3b0-8a38-4a5b-9d47-3e3f5f7b6c01")
@dataclass
class State:
    on: bool


async def test_a_last_word_may_be_a_message_of_a_type() -> None:
    async with buses(2) as (a, b):
        b.register(State, "broadcast", gone=State(False))
        b.register("lab/pump", gone=State(False))
        await until(lambda: len(a.endpoints()) == 2)
        by_type, by_pattern = a.subscribe(State), a.subscribe("lab/*", types=(State,))
        await asyncio.sleep(1)
        lose(b)
        assert (await by_type.receive(timeout=5)).payload == State(False)
        assert (await by_pattern.receive(timeout=5)).payload == State(False)


async def test_a_last_word_that_is_no_value_is_told_as_bytes() -> None:
    async with buses(2) as (a, b):
        b._host.call(lambda: b.node.register(bytes(16), codes.ANYCAST, gone=b"\1\xff"))
        await until(lambda: a.endpoints())
        presence = a.presence(bytes(16))
        assert (await anext(presence)).what == "present"
        assert (await anext(presence)).what == "complete"
        lose(b)
        assert (await anext(presence)).last_word == b"\xff"


async def test_what_becomes_known_later_is_a_change() -> None:
    async with buses(2) as (a, b):
        b.register("lab/pump", labels={"spare"})
        await until(lambda: a.endpoints())
        presence = a.presence("lab/**")
        assert [words(each) for each in ready(presence)] == ["present lab/pump", "complete"]
        peer = a.node.routes.peers[b.id]
        a._host.call(a.node.mesh.learn, peer, "another", True, a._host.now_ms())
        changed = await anext(presence)
        assert (changed.what, changed.node) == ("changed", busway.NodeInfo(b.id, "another", True))
        assert changed.former == changed.endpoint


@pytest.mark.parametrize("wanted", ["lab/**", busway.where("wet")])
async def test_a_leaf_asks_its_router_for_a_pattern_or_a_selector(wanted: Any) -> None:
    async with buses(2) as (a, b), AsyncBus(ipc=False, leaf=True, label="leaf") as leaf:
        first = b.register("lab/pump", labels=["wet"])
        b.register("hall/pump", labels=["dry"])
        await join(leaf, a)
        presence = leaf.presence(wanted)
        assert await some(presence, 2) == ["present lab/pump", "complete"]
        b.register("lab/valve", labels=["wet"])
        assert await some(presence, 1) == ["arrived lab/valve"]
        first.close()
        assert await some(presence, 1) == ["departed lab/pump withdrawn"]
        async with AsyncBus(ipc=False, label="another") as c:
            c.register("lab/door", labels=["wet"])
            await join(c, a)
            assert await some(presence, 1) == ["arrived lab/door"]
        assert await some(presence, 1) == ["departed lab/door goodbye"]
        presence.close()
        await until(lambda: leaf._host.presences is None or not list(leaf._host.presences))
        assert list(leaf.node.sought) == []


async def test_a_leaf_is_told_of_a_name_by_its_router() -> None:
    async with buses(2) as (a, b), AsyncBus(ipc=False, leaf=True, label="leaf") as leaf:
        await join(leaf, a)
        receiver = b.register("lab/pump")
        presence = leaf.presence("lab/pump")
        assert await some(presence, 2) == ["present lab/pump", "complete"]
        assert await some(leaf.presence("lab/nobody"), 1) == ["complete"]
        await receiver.close()
        assert await some(presence, 1) == ["departed lab/pump withdrawn"]
        b.register("lab/pump")
        assert await some(presence, 1) == ["arrived lab/pump"]
        presence.close()
        assert list(leaf.node.sought) == []


async def test_it_ends_with_the_bus_and_leaves_nothing_behind() -> None:
    async with buses(2) as (a, b):
        presence = a.presence("lab/**")
        assert "Presence of 'lab/**', 0 there" in repr(presence)
        await presence.close()
        presence.close()
        assert [each async for each in presence] == []
        assert repr(presence).endswith("closed>")
        b.register("lab/pump")
        async for _ in a.presence("lab/pump"):
            break
        gc.collect()
        b.register("lab/other")
        await until(lambda: len(a.endpoints()) == 2)
        assert (a._host.presences, a.node.departures.watched, a.node.sought) == (None, False, {})
        last = a.presence("**")
        await asyncio.sleep(0)
        async with contextlib.aclosing(a.presence("lab/x")) as one:
            assert await some(one, 1) == ["complete"]
    assert [words(each) async for each in last][-1] == "complete"
    with pytest.raises(busway.BusClosed):
        a.presence("lab/**")


async def test_what_is_no_pattern_is_refused() -> None:
    async with buses(1) as (a,):
        for wrong, error in (("lab/*x", ValueError), ("x" * 65 + "*", ValueError), (5, TypeError)):
            with pytest.raises(error):
                a.presence(wrong)  # type: ignore[arg-type]


async def test_neither_busways_own_endpoints_nor_patterns_are_shown_unless_asked_for() -> None:
    async with buses(1) as (a,):
        a.register("busway/mine")
        a.register("lab/here")
        assert [words(each) for each in ready(a.presence("**"))] == ["present lab/here", "complete"]
        assert [words(each) for each in ready(a.presence("busway/**"))] == ["present busway/mine", "complete"]


class Reader:
    """What a program knows that takes in all that it is told."""

    def __init__(self, bus: AsyncBus, wanted: str) -> None:
        self.bus = bus
        self.presence = bus.presence(wanted)
        self.seen: dict[tuple[bytes, bytes], EndpointInfo] = {}
        self.complete = 0

    def take_all(self) -> None:
        for sighting in ready(self.presence):
            endpoint = sighting.endpoint
            if endpoint is None:
                self.complete += 1
                continue
            key = (endpoint.node, endpoint.id)
            if sighting.what == "departed":
                assert self.seen.pop(key).id == endpoint.id
                continue
            assert (key in self.seen) == (sighting.what == "changed"), sighting
            self.seen[key] = endpoint


REALMS: tuple[Realm, ...] = ("process", "userspace", "localnet", "global")


@pytest.mark.jumps(needed=True)
@pytest.mark.parametrize("seed", range(12))
async def test_what_it_adds_up_to_is_what_there_is(seed: int) -> None:
    """Random lives: programs that come, go and are lost, endpoints that come, change and go."""
    rng = random.Random(seed)
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(AsyncBus(ipc=False, label="hub", transit=True))
        far = await stack.enter_async_context(AsyncBus(ipc=False, label="far"))
        await join(hub, far, "localnet")
        readers = [Reader(bus, wanted) for bus in (hub, far) for wanted in ("lab/**", "**", "lab/*", "lab/1")]
        others: list[AsyncBus] = []
        for _ in range(60):
            choice = rng.random()
            if choice < 0.25 and len(others) < 4:
                bus = AsyncBus(ipc=False, label=f"bus {rng.randrange(100)}")
                others.append(await stack.enter_async_context(bus))
                await join(bus, hub, rng.choice(("userspace", "localnet")))
            elif choice < 0.35 and others:
                leaving = others.pop(rng.randrange(len(others)))
                if rng.random() < 0.5:
                    lose(leaving)
                await leaving.close()
            elif choice < 0.45 and others:
                bus = rng.choice(others)
                lose(bus)
                await asyncio.sleep(rng.choice((0, 0.1, 1.9, 3)))
                await join(bus, hub, "userspace")
            elif others:
                change(rng, rng.choice(others))
            await asyncio.sleep(rng.choice((0, 0, 0.05, 1)))
            if rng.random() < 0.3:
                rng.choice(readers).take_all()
        await asyncio.sleep(30)
        for reader in readers:
            reader.take_all()
            shown = {(each.node, each.id): each for each in reader.bus.endpoints()}
            meant = reader.presence._meaning
            known = {(e.peer.node_id, e.uuid) for e in reader.bus.node.entries() if meant.fits(e)}
            known |= {(e.peer.node_id, e.uuid) for e in reader.bus.node.own_entries() if meant.fits(e)}
            assert reader.seen == {key: shown[key] for key in known}
            assert reader.complete == 1


def change(rng: random.Random, bus: AsyncBus) -> None:
    """A receiver of a bus goes, or one comes, perhaps as another than before."""
    cores = bus._host._receivers()
    if cores and rng.random() < 0.5:
        bus._host.call(bus.node.deregister, rng.choice(cores), bus._host.now_ms())
        return
    name = rng.choice(("lab/1", "lab/2", "lab/2/deep", "other"))
    with contextlib.suppress(busway.EndpointTaken, ValueError):  # another has it, or is of another kind
        labels = rng.choice(((), ("x",)))
        bus.register(name, rng.choice(("anycast", "broadcast")), rng.choice(REALMS), labels=labels)
