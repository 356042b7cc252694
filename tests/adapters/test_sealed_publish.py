"""What is published sealed: who reads it, from when on and for how long, and a router between that does what
it likes.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

import busway
from busway import AsyncBus, Key, RemoteError, SealError, sealing
from busway.adapters import sealed_groups
from busway.protocol import codes
from busway.protocol.wire.messages import Frame
from busway.sealing import GroupKey, published
from busway.testing import Network
from busway.trust import Trusted, append
from tests.adapters.hostile_router import Hostile, copy
from tests.adapters.test_sealed import ALICE, ALL, BOB, CAROL, EVE, SECRET, Order, around, got
from tests.adapters.tools import sockets, until

pytestmark = pytest.mark.jumps(needed=True)

E = busway.endpoint_id("news")


async def seen(bus: AsyncBus, count: int = 1) -> None:
    """Wait until that many others are known to subscribe."""
    await until(lambda: len(bus.node.directory.holders(E)) == count)


async def told(bus: AsyncBus, payload: Any) -> None:
    """Publish, and let it arrive."""
    await bus.publish("news", payload, sealed=True)
    await asyncio.sleep(0.1)


def key_ids(bus: AsyncBus) -> Any:
    """Of the key that a bus publishes with: its id and generation."""
    key = bus._host.sealing.groups._groups[E].key
    return key.id, key.generation


async def test_trusted_subscribers_read_it_and_nobody_else() -> None:
    async with around(CAROL, EVE) as (_, hostile, (alice, bob, carol, eve)):
        readers = [bus.subscribe("news", sealed=sealed) for bus, sealed in ((bob, True), (carol, False))]
        strangers = [eve.subscribe("news")]
        await seen(alice, 3)
        for value in (SECRET, {"code": 1234}, Order("open")):
            await told(alice, value)
        for receiver in readers:
            first = await receiver.receive()
            assert (first.payload, first.verified, first.missed) == (SECRET, ALICE.text, 0)
            assert await got(receiver) == [{"code": 1234}, Order("open")]
        assert await got(strangers[0]) == []
        assert strangers[0].refused == 3
        assert b"1234" not in hostile.said()
        await bob.publish("news", b"plain")
        assert [(await readers[1].receive()).verified] == [None]


async def test_several_receivers_of_a_program_and_its_own_have_a_copy_each() -> None:
    async with around() as (_, _, (alice, bob)):
        receivers = [bus.subscribe("news", sealed=True) for bus in (alice, bob, bob)]
        await seen(alice)
        for number in range(3):
            await told(alice, number)
        assert [await got(receiver) for receiver in receivers] == [[0, 1, 2]] * 3


async def test_a_service_gets_it_though_its_queue_is_empty_when_the_key_comes() -> None:
    async with around() as (_, _, (alice, bob)):
        found: list[Any] = []
        bob.serve("news", lambda request: found.append(request.payload), kind="broadcast", sealed=True)
        await seen(alice)
        for number in range(3):
            await alice.publish("news", number, sealed=True)
        await asyncio.sleep(1)
        assert found == [0, 1, 2]


async def test_who_joins_late_reads_nothing_of_before() -> None:
    """Though it has recorded all, and has the key of now."""
    async with around(CAROL) as (_, hostile, (alice, bob, carol)):
        first = bob.subscribe("news")
        await seen(alice)
        await told(alice, SECRET)
        recorded = [copy(frame) for frame in hostile.seen if frame.kind == codes.PUBLISH]
        late = carol.subscribe("news")
        await seen(alice, 2)
        await told(alice, b"now")
        assert await got(first) == [SECRET, b"now"]
        assert await got(late) == [b"now"]
        assert key_ids(alice)[1] == 1  # the same key, one step on
        key = carol._host.sealing.keyring._keys[alice.id, E].keys[key_ids(alice)[0]].first
        with pytest.raises(SealError, match="before this node was a reader"):
            key.at(published(recorded[0].payload).generation)


async def test_who_leaves_reads_nothing_of_after() -> None:
    async with around(CAROL) as (_, _hostile, (alice, bob, carol)):
        stays, leaves = bob.subscribe("news"), carol.subscribe("news")
        await seen(alice, 2)
        await told(alice, 0)
        before = key_ids(alice)
        assert [await got(stays), await got(leaves)] == [[0], [0]]
        leaves.close()
        await seen(alice, 1)
        await told(alice, SECRET)
        assert key_ids(alice)[0] != before[0]
        assert await got(stays) == [SECRET]
        hers = carol._host.sealing.keyring._keys[alice.id, E].keys
        assert list(hers) == [before[0]]


def last(hostile: Hostile) -> Frame:
    """What was published last."""
    return copy([frame for frame in hostile.seen if frame.kind == codes.PUBLISH][-1])


async def asked(reader: AsyncBus, publisher: AsyncBus, frame: Frame) -> Any:
    """What a trusted node reads that asks for the key of something that it has got hold of; None: nothing."""
    wanted = E + published(frame.payload).key_id
    try:
        key = GroupKey.unpack(await reader.request("busway/seal", wanted, sealed=True, node=publisher.id))
        return key.at(published(frame.payload).generation).open(ALICE.public, E, frame.payload).payload
    except (RemoteError, SealError):
        return None


async def test_who_asks_for_the_key_reads_nothing_of_before_it_subscribed() -> None:
    async with around(CAROL) as (_, hostile, (alice, bob, carol)):
        first = bob.subscribe("news")
        await seen(alice)
        await told(alice, b"early")
        early = last(hostile)
        assert await asked(carol, alice, early) is None
        await told(alice, b"then")
        assert await asked(carol, alice, last(hostile)) == b"then"
        late = carol.subscribe("news")
        await seen(alice, 2)
        assert await asked(carol, alice, early) is None
        first.close()
        await seen(alice)
        await told(alice, b"other key")
        assert await asked(carol, alice, early) is None
        assert await asked(bob, alice, early) == b"early"  # it had it
        assert await got(late) == [b"other key"]


async def test_who_has_subscribed_and_asks_before_the_next_message_has_the_key_of_that() -> None:
    async with around(CAROL) as (_, hostile, (alice, bob, carol)):
        first = bob.subscribe("news")
        await seen(alice)
        await told(alice, b"early")
        early = last(hostile)
        late = carol.subscribe("news")
        await seen(alice, 2)
        assert await asked(carol, alice, early) is None
        assert key_ids(alice)[1] == 1
        await told(alice, b"then")
        assert key_ids(alice)[1] == 1
        assert await got(late) == [b"then"]
        late.close()
        await seen(alice)
        await told(alice, b"one")
        one = last(hostile)
        first.close()
        carol.subscribe("news")
        await seen(alice)
        assert await asked(carol, alice, one) is None  # bob has left: there will be another key


async def test_a_flood_of_keys_that_there_are_not_pushes_out_none_that_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sealed_groups, "KEYS_MAX", 3)
    async with around() as (_, hostile, (alice, bob)):
        receivers = [bob.subscribe(name) for name in ("news", "b", "c", "d", "e")]
        await seen(alice)
        await told(alice, 0)
        hostile.tamper = lambda frame, _: [
            copy(frame, payload=b"?") if frame.kind == codes.REQUEST else frame
        ]  # no key comes
        for name in "bcde":
            await alice.publish(name, 1, sealed=True)
            await asyncio.sleep(2)
        await told(alice, 2)
        assert await got(receivers[0]) == [0, 2]
        assert len(bob._host.sealing.keyring._keys) == 3


async def test_who_is_not_seen_to_subscribe_loses_nothing_when_the_key_changes() -> None:
    async with around(CAROL) as (_, hostile, (alice, bob, carol)):
        others = bob.subscribe("news")
        await seen(alice)
        await told(alice, b"early")
        assert await asked(carol, alice, last(hostile)) is None
        others.close()
        await seen(alice, 0)
        await told(alice, b"unheard")
        bob.subscribe("news")
        await seen(alice)
        await told(alice, b"other key")
        assert await asked(carol, alice, last(hostile)) == b"other key"


async def test_who_has_left_and_asks_for_the_key_reads_nothing_of_after() -> None:
    async with around(CAROL) as (_, hostile, (alice, bob, carol)):
        stays, leaves = bob.subscribe("news"), carol.subscribe("news")
        await seen(alice, 2)
        await told(alice, b"both")
        leaves.close()
        await seen(alice)
        for _ in range(2):
            await told(alice, b"one")
            assert await asked(carol, alice, last(hostile)) is None
        again = carol.subscribe("news")
        await seen(alice, 2)
        await told(alice, b"again")
        assert await got(stays) == [b"both", b"one", b"one", b"again"]
        assert (await got(again))[-1:] == [b"again"]


async def test_trust_that_ends_ends_the_key(tmp_path: Path) -> None:
    path = tmp_path / "trust.toml"
    for name, key in (("pump", BOB), ("panel", CAROL)):
        append(path, Trusted(name, key.public, "leaf"))
    async with Network() as network:
        alice = await network.bus("a", key=ALICE, seal=path)
        bob, carol = [await network.bus(key.text[:12], key=key, seal=ALL) for key in (BOB, CAROL)]
        for bus in (bob, carol):
            await network.link(bus, alice)
        receivers = [bus.subscribe("news", sealed=True) for bus in (bob, carol)]
        await seen(alice, 2)
        await told(alice, 0)
        path.write_text(path.read_text().replace(CAROL.text, EVE.text))
        await told(alice, 1)
        assert [await got(receiver) for receiver in receivers] == [[0, 1], [0]]
        assert receivers[1].refused == 1


async def test_a_leaf_that_publishes_renews_its_key() -> None:
    async with Network() as network:
        router = await network.bus("router", transit=True)
        alice, bob = [
            await network.bus(key.text[:12], key=key, seal=ALL, leaf=leaf)
            for key, leaf in ((ALICE, True), (BOB, False))
        ]
        for bus in (alice, bob):
            await network.link(bus, router)
        receiver = bob.subscribe("news", sealed=True)
        await asyncio.sleep(1)
        found = []
        for number in range(4):
            await told(alice, number)
            found.append(key_ids(alice)[0])
            assert (await receiver.receive()).payload == number
            await asyncio.sleep(sealed_groups.RENEW_MS / 2000 + 1)
        assert found[0] == found[1] != found[2] == found[3]


async def test_a_publisher_that_starts_anew_is_read() -> None:
    async with around() as (network, _, (alice, bob)):
        receiver = bob.subscribe("news", sealed=True)
        await seen(alice)
        for number in range(3):
            await told(alice, number)
        await alice.close()
        again = await network.bus("alice again", key=ALICE, seal=ALL)
        await network.link(again, network.buses[0])
        await seen(again)
        await told(again, 3)
        assert await got(receiver) == [0, 1, 2, 3]


async def test_a_key_has_no_more_generations_than_readers_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_groups, "STEPS_MAX", 2)
    keys = [Key.new() for _ in range(4)]
    seal = [*ALL, *(key.text for key in keys)]
    async with around(*keys, seal=seal) as (_, _, (alice, bob, *others)):
        receiver = bob.subscribe("news")
        await seen(alice)
        found = []
        for number, bus in enumerate(others):
            await told(alice, number)
            found.append(key_ids(alice))
            bus.subscribe("news")
            await seen(alice, number + 2)
        assert await got(receiver) == [0, 1, 2, 3]
        assert [generation for _, generation in found] == [0, 1, 2, 0]
        assert len({id for id, _ in found}) == 2


async def test_trust_that_ends_ends_the_key_of_a_leaf_too(tmp_path: Path) -> None:
    path = tmp_path / "trust.toml"
    append(path, Trusted("pump", BOB.public, "leaf"))
    async with Network() as network:
        alice = await network.bus("a", key=ALICE, seal=path, leaf=True)
        bob = await network.bus("b", key=BOB, seal=ALL)
        await network.link(alice, bob)
        receiver = bob.subscribe("news", sealed=True)
        await asyncio.sleep(1)
        for number in range(2):
            await told(alice, number)
        assert await got(receiver) == [0, 1]
        path.write_text(path.read_text().replace(BOB.text, EVE.text))
        await told(alice, 2)
        assert await got(receiver) == []
        assert receiver.refused == 1


# A router that does what it likes


async def test_it_is_not_changed_repeated_put_in_order_or_elsewhere() -> None:
    async with around(CAROL) as (_, hostile, (alice, bob, _carol)):
        receiver = bob.subscribe("news", sealed=True)
        other = bob.subscribe("other", sealed=True)
        await seen(alice)
        await told(alice, 0)
        kept: list[Frame] = []

        def flipped(frame: Frame, _: bytes) -> list[Frame]:
            return [copy(frame, payload=frame.payload[:-1] + bytes((frame.payload[-1] ^ 1,)))]

        def head_flipped(frame: Frame, _: bytes) -> list[Frame]:
            return [copy(frame, payload=frame.payload[:-40] + b"?" + frame.payload[-39:])]

        def plain(frame: Frame, _: bytes) -> list[Frame]:
            return [copy(frame, payload=b"instead", format=codes.RAW, type_id=b"")]

        def twice(frame: Frame, _: bytes) -> list[Frame]:
            kept.append(copy(frame))
            return [copy(frame), copy(frame, number=frame.number + 1)]

        def former(frame: Frame, _: bytes) -> list[Frame]:
            return [copy(frame, payload=kept[0].payload)]

        def elsewhere(frame: Frame, _: bytes) -> list[Frame]:
            return [copy(frame, endpoint=busway.endpoint_id("other"), number=9)]

        for number, tamper in enumerate((flipped, plain, twice), 1):
            hostile.tamper = only_published(tamper)
            await told(alice, number)
        hostile.tamper = only_published(lambda frame, _: [copy(frame, number=frame.number + 50)])
        await told(alice, 4)
        for tamper in (former, elsewhere):
            hostile.tamper = only_published(tamper)
            await told(alice, 5)
        assert await got(receiver) == [0, 3, 4]
        assert await got(other) == []
        assert receiver.refused >= 3
        assert other.refused == 1


def only_published(tamper: Any) -> Any:
    """What is done to broadcasts; all else passes."""
    return lambda frame, source: tamper(frame, source) if frame.kind == codes.PUBLISH else [frame]


def instead(frame: Frame) -> Any:
    """Whatever is published, this arrives."""
    return only_published(lambda new, _: [copy(frame, number=new.number, route=new.route)])


async def test_who_subscribes_again_gets_nothing_twice() -> None:
    async with around() as (_, hostile, (alice, bob)):
        first = bob.subscribe("news")
        await seen(alice)
        await told(alice, b"fire")
        assert await got(first) == [b"fire"]
        former = last(hostile)
        first.close()
        again = bob.subscribe("news")
        await asyncio.sleep(1)
        hostile.tamper = instead(former)
        await told(alice, b"out")
        hostile.tamper = lambda frame, _: [frame]
        await told(alice, b"all clear")
        assert await got(again) == [b"all clear"]
        assert again.refused == 1


async def test_who_starts_anew_gets_nothing_of_before() -> None:
    async with around() as (network, hostile, (alice, bob)):
        receiver = bob.subscribe("news")
        await seen(alice)
        await told(alice, b"fire")
        assert await got(receiver) == [b"fire"]
        former = last(hostile)
        await bob.close()
        again = await network.bus("bob again", key=BOB, seal=ALL)
        await network.link(again, network.buses[0])
        receiver = again.subscribe("news")
        await seen(alice)
        hostile.tamper = instead(former)
        await told(alice, b"out")
        hostile.tamper = lambda frame, _: [frame]
        await asyncio.sleep(2)
        await told(alice, b"all clear")
        assert await got(receiver) == [b"all clear"]


async def test_nothing_of_a_publishers_former_run_comes_again() -> None:
    async with around() as (network, hostile, (alice, bob)):
        receiver = bob.subscribe("news")
        await seen(alice)
        await told(alice, b"fire")
        former = last(hostile)
        await alice.close()
        again = await network.bus("alice again", key=ALICE, seal=ALL)
        await network.link(again, network.buses[0])
        await seen(again)
        await told(again, b"all clear")
        later = last(hostile)
        assert await got(receiver) == [b"fire", b"all clear"]
        for frame in (former, later):
            hostile.tamper = instead(frame)
            await told(again, b"out")
        assert await got(receiver) == []
        assert receiver.refused == 2


async def test_runs_of_a_publisher_are_forgotten_with_their_keys() -> None:
    async with around() as (network, _hostile, (alice, bob)):
        receiver = bob.subscribe("news")
        for number in range(sealed_groups.FORMER_MAX + 4):
            await seen(alice)
            await told(alice, number)
            assert await got(receiver) == [number]
            await alice.close()
            alice = await network.bus("alice again", key=ALICE, seal=ALL)
            await network.link(alice, network.buses[0])
        held = bob._host.sealing.keyring._keys[alice.id, E]
        assert len(held.taken) == len(held.keys) == sealed_groups.FORMER_MAX + 1


async def test_a_generation_that_a_router_makes_up_costs_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    async with around() as (_, hostile, (alice, bob)):
        receiver = bob.subscribe("news")
        await seen(alice)
        await told(alice, 0)
        assert await got(receiver) == [0]
        claimed = [1024, 5, 2**32 - 1, 1000, 1025, 512, *range(1024, 960, -1)]
        steps, mac = [], sealing._mac

        def counted(key: bytes, data: bytes, size: int) -> bytes:
            steps.extend([1] * (data == b"next"))
            return mac(key, data, size)

        def jumped(frame: Frame, _: bytes) -> list[Frame]:
            head, rest = frame.payload[:13], frame.payload[17:]
            made = [head + generation.to_bytes(4, "big") + rest for generation in claimed]
            return [copy(frame, payload=each, number=frame.number + n) for n, each in enumerate(made)]

        monkeypatch.setattr(sealing, "_mac", counted)
        hostile.tamper = only_published(jumped)
        await told(alice, 1)
        assert await got(receiver) == []
        assert receiver.refused == len(claimed)
        assert len(steps) <= 1024 + 31 * len(claimed)
        hostile.tamper = only_published(lambda frame, _: [copy(frame, number=frame.number + len(claimed))])
        await told(alice, 2)
        assert await got(receiver) == [2]


async def test_little_waits_for_a_key() -> None:
    async with around() as (_, hostile, (alice, bob)):
        receiver = bob.subscribe("news")
        await seen(alice)
        big = bytes(sealed_groups.HELD_SIZE_MAX // 3)

        def grown(frame: Frame, _: bytes) -> list[Frame]:
            if frame.kind == codes.PUBLISH:
                return [copy(frame, payload=frame.payload + big)]
            return [] if frame.kind == codes.REQUEST else [frame]

        hostile.tamper = grown
        reading = asyncio.ensure_future(got(receiver))
        for number in range(5):
            await told(alice, number)
        assert receiver.refused == 3
        assert await reading == []


async def test_a_key_that_is_not_to_be_had_is_asked_for_now_and_then() -> None:
    async with around() as (_, hostile, (alice, bob)):
        receiver = bob.subscribe("news", sealed=True)
        await seen(alice)
        asked = []

        def no_key(frame: Frame, _: bytes) -> list[Frame]:
            if frame.kind == codes.REQUEST:
                asked.append(frame)
                return [copy(frame, payload=b"?")]
            return [frame]

        hostile.tamper = no_key
        reading = asyncio.ensure_future(receiver.receive())
        for number in range(40):
            await told(alice, number)
        assert not reading.done()
        assert receiver.refused >= 29
        assert 2 <= len(asked) <= 6
        hostile.tamper = lambda frame, _: [frame]
        await told(alice, 40)
        assert (await reading).payload >= 29  # what came since it was asked for last
        assert (await got(receiver))[-1] == 40


async def test_keys_that_a_router_makes_up_keep_no_real_one_away() -> None:
    async with around(CAROL) as (_, hostile, (alice, bob, carol)):
        receiver = bob.subscribe("news")
        await seen(alice)
        asked = []

        def made_up(frame: Frame, _: bytes) -> list[Frame]:
            if frame.kind == codes.REQUEST:
                asked.append(frame)
            if frame.kind != codes.PUBLISH:
                return [frame]
            forged = frame.payload[:9] + os.urandom(4) + frame.payload[13:]
            return [
                copy(frame, payload=forged, number=2 * frame.number),
                copy(frame, number=2 * frame.number + 1),
            ]

        hostile.tamper = made_up
        for number in range(6):
            other = carol.subscribe("news")
            await seen(alice, 2)
            await told(alice, number)  # with another key
            other.close()
            await seen(alice)
        assert await got(receiver) == [0, 1, 2, 3, 4, 5]
        await asyncio.sleep(20)
        assert receiver.refused == 6
        assert len(asked) <= 20


async def test_few_messages_wait_for_a_key() -> None:
    async with around() as (_, hostile, (alice, bob)):
        receiver = bob.subscribe("news", sealed=True)
        await seen(alice)
        hostile.tamper = lambda frame, _: [] if frame.kind == codes.REQUEST else [frame]
        for number in range(sealed_groups.HELD_MAX + 9):
            await alice.publish("news", number, sealed=True)
        reading = asyncio.ensure_future(got(receiver))
        await asyncio.sleep(0.5)
        assert receiver.refused == 9
        await asyncio.sleep(30)
        assert await reading == await got(receiver) == []
        assert receiver.refused == sealed_groups.HELD_MAX + 9


async def test_what_is_for_one_is_not_published_and_the_other_way_round() -> None:
    async with around() as (_, hostile, (alice, bob)):
        news, valve = bob.subscribe("news"), bob.register("valve")
        await seen(alice)
        await told(alice, 0)
        await alice.send("valve", 0, sealed=True, ttl=1)
        await asyncio.sleep(0.1)
        told_before = next(frame for frame in hostile.seen if frame.kind == codes.PUBLISH)
        sent = next(frame for frame in hostile.seen if frame.kind == codes.SEND)
        hostile.tamper = lambda frame, _: (
            [copy(frame, payload=told_before.payload)]
            if frame.kind == codes.SEND
            else [copy(frame, payload=sent.payload)]
            if frame.kind == codes.PUBLISH
            else [frame]
        )
        await told(alice, 1)
        await alice.send("valve", 1, sealed=True)
        await asyncio.sleep(0.1)
        assert [await got(news), await got(valve)] == [[0], [0]]
        assert [news.refused, valve.refused] == [1, 1]


async def test_sealed_publish_needs_seal() -> None:
    async with AsyncBus(ipc=False, key=Key.new()) as bus:
        with pytest.raises(ValueError, match="needs a bus with seal= and key="):
            await bus.publish("news", 1, sealed=True)
        with pytest.raises(ValueError, match="needs a bus with seal= and key="):
            bus.subscribe("news", sealed=True)
        with pytest.raises(TypeError, match="sealed must be True or False"):
            await bus.publish("news", 1, sealed="bob")  # type: ignore[call-overload]


def test_a_bus_with_threads_publishes_and_reads() -> None:
    with (
        busway.Bus(ipc=False, key=ALICE, seal=ALL) as alice,
        busway.Bus(ipc=False, key=BOB, seal=ALL) as bob,
    ):
        here, there = sockets()
        receiver = bob.subscribe("news", sealed=True)
        served: list[Any] = []
        bob.serve("news", lambda request: served.append(request.payload), kind="broadcast")
        bob.attach(there)
        alice.attach(here).ready.result()
        while not any(found.name == "news" for found in alice.endpoints()):
            time.sleep(0.002)
        for number in range(5):
            alice.publish("news", number, sealed=True)
        assert [receiver.receive(20).payload for _ in range(5)] == [0, 1, 2, 3, 4]


async def lost(bus: AsyncBus, hostile: Hostile, caplog: pytest.LogCaptureFixture, to_do: Any) -> str:
    """What the reader's log says of a message whose key nobody gives."""
    hostile.tamper = lambda frame, _: [] if frame.kind == codes.REQUEST else [frame]
    receiver = bus.subscribe("news", sealed=True)
    await to_do()
    while not receiver.refused:
        assert await got(receiver) == []
    return next(text for each in caplog.records if "was refused" in (text := each.getMessage()))


async def test_publisher_that_has_ended_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async with around() as (_, hostile, (alice, bob)):

        async def say_and_end() -> None:
            await seen(alice)
            await told(alice, 1)
            await alice.close()

        text = await lost(bob, hostile, caplog, say_and_end)
        assert f"node {ALICE.id.hex()} ({ALICE.text}) was refused: its key is not to be had: " in text
        assert text.endswith(f"{ALICE.text}, who published it, has ended, or there is no way to it any more")


@pytest.mark.parametrize("forgets", [False, True])
async def test_why_a_publisher_gives_no_key_is_told(caplog: pytest.LogCaptureFixture, forgets: bool) -> None:
    async with around() as (_, hostile, (alice, bob)):

        async def say_and_forget() -> None:
            await seen(alice)
            await alice.publish("news", 1, sealed=True)
            if forgets:
                alice._host.sealing.groups._groups.clear()
                hostile.tamper = lambda frame, _: [frame]

        text = await lost(bob, hostile, caplog, say_and_forget)
        assert f"its key is not to be had: {ALICE.text}, who published it, " in text
        assert ("says: there is no such key any more" if forgets else "was asked in vain: ") in text
