"""Sealed messages between buses: whom they are for, whose they are, and a router between that does what it
likes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import busway
from busway import AsyncBus, Key, RemoteError, RequestTimeout, SealError, Undeliverable, sealing
from busway.adapters import sealed as layer
from busway.protocol import codes
from busway.protocol.wire.messages import Frame
from busway.sealing import Offer
from busway.testing import Network
from busway.trust import Trusted, append
from tests.adapters.hostile_router import Hostile, copy
from tests.adapters.tools import sockets, until

pytestmark = pytest.mark.jumps(needed=True)

ALICE, BOB, CAROL, EVE = (Key.new() for _ in range(4))
ALL = [ALICE.text, BOB.text, CAROL.text]
SECRET = b"the valve's code is 1234"


@busway.message(name="test/sealed-order")
@dataclass
class Order:
    what: str


@contextlib.asynccontextmanager
async def around(
    *others: Key | None, seal: Iterable[str] = ALL
) -> AsyncIterator[tuple[Network, Hostile, list[AsyncBus]]]:
    """Alice, Bob and the others, each with a link to a router that is hostile, and to nobody else."""
    async with Network() as network:
        router = await network.bus("router", transit=True)
        hostile = Hostile(router)
        made: list[AsyncBus] = []
        for key in (ALICE, BOB, *others):
            options: dict[str, Any] = {} if key is None else {"key": key, "seal": list(seal)}
            bus = await network.bus(f"bus {len(made)}", **options)
            await network.link(bus, router)
            made.append(bus)
        yield network, hostile, made


async def got(receiver: busway.Receiver[Any]) -> list[Any]:
    """Payloads of what has come."""
    found = []
    with contextlib.suppress(TimeoutError):
        while True:
            found.append((await receiver.receive(timeout=1)).payload)
    return found


async def said(bus: AsyncBus, *args: Any, **options: Any) -> None:
    """Send, and let it arrive."""
    await bus.send(*args, **options)
    await asyncio.sleep(0.1)


# What arrives


@pytest.mark.parametrize("value", [SECRET, {"code": 1234}, None, Order("open"), "x" * 200_000])
async def test_message_arrives_as_what_was_sent_and_nobody_on_the_way_reads_it(value: Any) -> None:
    async with around() as (_, hostile, (alice, bob)):
        receiver = bob.register("valve")
        await alice.send("valve", value, sealed=True, ttl=1)
        message = await receiver.receive()
        assert (message.payload, message.verified, message.error) == (value, ALICE.text, None)
        assert b"1234" not in hostile.said()
        assert b"open" not in hostile.said()
        await alice.send("valve", value, ttl=1)
        plain = await receiver.receive()
        assert (plain.payload, plain.verified) == (value, None)


async def test_name_of_the_trust_file_says_who_it_was(tmp_path: Path) -> None:
    path = tmp_path / "trust.toml"
    for name, key in (("panel", ALICE), ("pump", BOB)):
        append(path, Trusted(name, key.public, "leaf"))
    async with Network() as network:
        alice = await network.bus("a", key=ALICE, seal=path)
        bob = await network.bus("b", key=BOB, seal=str(path))
        await network.link(alice, bob)
        receiver = bob.register("valve", sealed=True)
        await alice.send("valve", 1, sealed="pump", ttl=1)
        assert (await receiver.receive()).verified == "panel"
        for name in ("pumps", EVE.text):
            with pytest.raises(
                SealError, match=r"there is no .* in the trust file .*trust\.toml: enter its key"
            ):
                await alice.send("valve", 1, sealed=name)
        path.write_text(path.read_text().replace(ALICE.text, CAROL.text))
        await alice.send("valve", 2, sealed="pump")  # alice knows bob as before
        assert await got(receiver) == []
        assert receiver.refused == 1


async def test_who_is_not_trusted_any_more_is_told_so_and_no_path(tmp_path: Path) -> None:
    path = tmp_path / "trust.toml"
    append(path, Trusted("panel", ALICE.public, "leaf"))
    async with Network() as network:
        alice = await network.bus("a", key=ALICE, seal=ALL)
        bob = await network.bus("b", key=BOB, seal=path)
        await network.link(alice, bob)
        bob.serve("valve", lambda request: request.payload, sealed=True)
        assert await alice.request("valve", 1, sealed=True, ttl=1) == 1
        path.write_text("")
        with pytest.raises(Undeliverable, match="not among those of seal=") as failed:
            await alice.request("valve", 1, sealed=True)
        assert "trust.toml" not in str(failed.value)


async def test_what_is_wrong_in_the_trust_file_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "trust.toml"
    append(path, Trusted("panel", ALICE.public, "leaf"))
    async with Network() as network:
        alice = await network.bus("a", key=ALICE, seal=ALL)
        bob = await network.bus("b", key=BOB, seal=path)
        await network.link(alice, bob)
        receiver = bob.register("valve", sealed=True)
        await alice.send("valve", 1, sealed=True, ttl=1)
        path.write_text("panel = 7\n")
        for _ in range(2):
            await alice.send("valve", 2, sealed=True)
        assert await got(receiver) == [1, 2, 2]
        told = [each.getMessage() for each in caplog.records if "what it said before holds" in each.message]
        assert len(told) == 1
        assert "trust.toml" in told[0]


async def test_request_and_reply_are_sealed() -> None:
    async with around() as (_, hostile, (alice, bob)):
        seen = []

        @bob.serve("valve")
        def valve(request: busway.Request[Any]) -> Any:
            seen.append(request.verified)
            return {"answer": SECRET, "to": request.payload}

        assert await alice.request("valve", 7, sealed=True, ttl=1) == {"answer": SECRET, "to": 7}
        assert await alice.request("valve", 8, sealed=BOB.text, node=bob.id) == {"answer": SECRET, "to": 8}
        assert await alice.request("valve", 9, sealed=True, node=bob.id, reply=dict[str, Any])
        assert seen == [ALICE.text] * 3
        assert b"answer" not in hostile.said()
        assert SECRET not in hostile.said()
        assert await alice.request("valve", 10) == {"answer": SECRET, "to": 10}
        assert seen[-1] is None
        assert SECRET in hostile.said()


async def test_errors_of_a_handler_are_sealed_too(caplog: pytest.LogCaptureFixture) -> None:
    async with around() as (_, hostile, (alice, bob)):

        def fails(request: busway.Request[Any]) -> None:
            raise (RemoteError(300, "no water 1234") if request.payload else KeyError("key 1234"))

        bob.serve("valve", fails, sealed=True)
        bob.serve(Order, lambda request: request.payload.what)
        with pytest.raises(RemoteError, match="no water 1234") as caught:
            await alice.request("valve", 1, sealed=True, ttl=1)
        assert caught.value.code == 300
        with pytest.raises(RemoteError, match="KeyError: 'key 1234'"):
            await alice.request("valve", 0, sealed=True)
        with pytest.raises(Undeliverable, match="expected Order, got bytes") as unread:
            await alice.request("test/sealed-order", SECRET, sealed=True, ttl=1)
        assert unread.value.reason == codes.UNREADABLE
        assert b"1234" not in hostile.said()
        assert b"expected" not in hostile.said()


async def test_parts_are_sealed() -> None:
    async with around() as (_, hostile, (alice, bob)):

        async def scan(request: busway.Request[Any]) -> AsyncIterator[bytes]:
            for number in range(40):
                yield SECRET + bytes((number,))
            if request.payload:
                raise RemoteError(301, "1234 is wrong")

        bob.serve("scan", scan, sealed=True)
        found = [part async for part in alice.request_stream("scan", sealed=True, ttl=1, window=4)]
        assert found == [SECRET + bytes((number,)) for number in range(40)]
        with pytest.raises(RemoteError, match="1234 is wrong"):
            await anext(part async for part in alice.request_stream("scan", 1, sealed=True) if part == 99)
        with pytest.raises(Undeliverable, match="answers in parts"):
            await alice.request("scan", sealed=True)
        bob.serve("one", lambda request: SECRET)
        assert [part async for part in alice.request_stream("one", sealed=True, ttl=1)] == [SECRET]
        assert b"1234" not in hostile.said()


async def test_confirmed_send_is_sealed() -> None:
    async with around() as (_, hostile, (alice, bob)):
        receiver = bob.register("valve", sealed=True)
        sending = asyncio.ensure_future(alice.send("valve", SECRET, sealed=True, confirm=True, ttl=1))
        assert (await receiver.receive()).payload == SECRET
        await sending
        assert SECRET not in hostile.said()


async def test_to_oneself() -> None:
    async with around() as (_, _, (alice, _)):
        alice.serve("mirror", lambda request: (request.verified, request.payload), sealed=True)
        assert await alice.request("mirror", 5, sealed=True) == [ALICE.text, 5]


# For whom


async def test_it_goes_to_trusted_holders_only_and_says_who_is_none() -> None:
    async with around(EVE, None) as (_, hostile, (alice, bob, eve, nobody)):
        for bus in (eve, nobody):
            bus.serve("pump", lambda request: "not me", cost=0)
        await until(lambda: len(alice.node.directory.holders(busway.endpoint_id("pump"))) == 2)
        with pytest.raises(SealError, match=r"pump: node \w{32} \(bus [23]\) has"):
            await alice.request("pump", sealed=True)
        with pytest.raises(SealError, match="has a key that is not in this program's seal=: enter it"):
            await alice.request("pump", sealed=True, node=eve.id)
        with pytest.raises(SealError, match="if it has none to keep, give its bus key= and seal= first"):
            await alice.request("pump", sealed=True, node=nobody.id)
        with pytest.raises(SealError, match="has no key of its own"):
            await alice.request("pump", sealed=True, node=bytes(16))
        bob.serve("pump", lambda request: "me", cost=1000)
        await until(lambda: len(alice.node.directory.holders(busway.endpoint_id("pump"))) == 3)
        assert [await alice.request("pump", sealed=True, ttl=1) for _ in range(8)] == ["me"] * 8
        assert not [frame for frame in hostile.seen if frame.destination[:16] == eve.id]


async def test_equally_near_ones_take_turns() -> None:
    async with around(CAROL) as (_, _, (alice, *others)):
        for bus in others:
            bus.serve("pump", partial(identity, bus.id))
        await until(lambda: len(alice.node.directory.holders(busway.endpoint_id("pump"))) == 2)
        found = [await alice.request("pump", sealed=True) for _ in range(6)]
        assert sorted(found[:2]) == sorted(bus.id for bus in others)
        assert found == found[:2] * 3


def identity(of: bytes, request: busway.Request[Any]) -> bytes:
    return of


async def test_it_waits_for_a_holder_to_appear_and_for_one_node() -> None:
    async with around() as (network, _, (alice, bob)):
        sending = asyncio.ensure_future(alice.request("late", sealed=True, ttl=60, timeout=90))
        await asyncio.sleep(20)
        bob.serve("late", lambda request: "bob")
        assert await sending == "bob"
        sending = asyncio.ensure_future(alice.request("late", sealed=CAROL.text, ttl=60, timeout=90))
        await asyncio.sleep(20)
        carol = await network.bus("c", key=CAROL, seal=ALL)
        carol.serve("late", lambda request: "carol")
        await network.link(carol, network.buses[0])
        assert await sending == "carol"
        with pytest.raises(Undeliverable, match="NO_ENDPOINT"):
            await alice.send("nobody", sealed=True)
        await carol.close()
        await until(lambda: carol.id not in [node.id for node in alice.nodes()])
        with pytest.raises(Undeliverable, match="NO_ROUTE"):
            await alice.send("late", sealed=CAROL.text)


async def test_leaves_seal_as_well() -> None:
    async with Network() as network:
        router = await network.bus("router", transit=True)
        alice, bob = [await network.bus(key.text[:12], key=key, seal=ALL, leaf=True) for key in (ALICE, BOB)]
        for bus in (alice, bob):
            await network.link(bus, router)
        asking = asyncio.ensure_future(alice.request("valve", 1, sealed=True, ttl=9))
        await asyncio.sleep(2)
        bob.serve("valve", lambda request: request.verified, sealed=True)
        assert await asking == ALICE.text
        assert await alice.request("valve", 1, sealed=BOB.text) == ALICE.text


async def test_who_takes_no_sealed_messages_is_named_with_what_to_do() -> None:
    async with around() as (network, _, (alice, _bob)):
        carol = await network.bus("c", key=CAROL)
        carol.register("carol's")
        await network.link(carol, network.buses[0])
        with pytest.raises(SealError, match="takes no sealed messages: give its bus seal="):
            await alice.send("carol's", sealed=True, ttl=1)
        one = await network.bus("d", key=EVE, seal=[BOB.text])
        await network.link(one, network.buses[0])
        with pytest.raises(SealError, match="is not among those whose sealed messages are taken"):
            await one.send("valve", sealed=BOB.text, ttl=1)


async def test_sealed_message_to_who_can_open_none_is_refused_in_words() -> None:
    """As of a bus that was started anew, without seal=."""
    async with around() as (network, _, (alice, _bob)):
        carol = await network.bus("c", key=CAROL)
        await network.link(carol, network.buses[0])
        receiver = carol.register("carol's")
        carol.serve("asked", lambda request: request.payload)
        sealing = alice._host.sealing
        other = sealing.other(sealing.circle.named(CAROL.text))
        offer = Offer(bytes(16), 0, b"")
        sealing._offers[carol.id] = layer._Known(offer, carol.node.me.incarnation, alice._host.now_ms())
        assert other.id == carol.id
        await until(lambda: carol.id in [node.id for node in alice.nodes()])
        with pytest.raises(Undeliverable, match="sealed, and this bus can open nothing: give it key= and"):
            await alice.request("asked", SECRET, sealed=CAROL.text, ttl=1)
        sealing._offers[carol.id] = layer._Known(offer, carol.node.me.incarnation, alice._host.now_ms())
        await alice.send("carol's", SECRET, sealed=CAROL.text)
        message = await receiver.receive()
        assert message.verified is None
        assert "can open nothing" in str(message.error)


# What is asked for


@pytest.mark.parametrize("seal", [ALICE.text, 5, [5], ["nobody"], b"x", "no-such-file.toml"], ids=range(6))
def test_seal_that_is_none_is_refused_at_once(seal: Any) -> None:
    with pytest.raises((TypeError, ValueError, busway.TrustFileError)):
        AsyncBus(ipc=False, key=ALICE, seal=seal)


def test_seal_needs_a_key_that_makes_the_id() -> None:
    without: list[dict[str, Any]] = [{}, {"key": ALICE, "node_id": bytes(16)}]
    for options in without:
        with pytest.raises(ValueError, match="seal= needs key="):
            AsyncBus(ipc=False, seal=ALL, **options)


async def test_sealed_needs_seal() -> None:
    async with AsyncBus(ipc=False, key=ALICE) as bus:
        for call in (
            lambda: bus.send("x", sealed=True),
            lambda: bus.request("x", sealed="bob"),
            lambda: anext(bus.request_stream("x", sealed=True)),
        ):
            with pytest.raises(ValueError, match="needs a bus with seal= and key="):
                await call()
        with pytest.raises(ValueError, match="needs a bus with seal= and key="):
            bus.register("x", sealed=True)
        with pytest.raises(ValueError, match="needs a bus with seal= and key="):
            bus.serve("x", print, sealed=True)


async def test_bad_arguments() -> None:
    async with AsyncBus(ipc=False, key=ALICE, seal=ALL) as bus:
        bus.register("here", realm="process")
        with pytest.raises(ValueError, match="of realm process"):
            await bus.send("here", SECRET, sealed=True)
        with pytest.raises(TypeError, match="sealed must be True, or the name or key"):
            await bus.send("x", sealed=1)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="sealed must be True or False"):
            bus.register("y", sealed="bob")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="another node than that of"):
            await bus.send("x", sealed=BOB.text, node=CAROL.id)


# A router that does what it likes


def strip(payload: bytes) -> Any:
    """Plain messages in place of sealed ones."""
    return lambda frame, _: [
        copy(frame, payload=payload, format=codes.RAW, type_id=b"") if frame.format == codes.TYPED else frame
    ]


async def test_what_is_changed_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with around() as (_, hostile, (alice, bob)):
        receiver = bob.register("valve")
        await said(alice, "valve", SECRET, sealed=True, ttl=1)

        def flipped(frame: Frame, _: bytes) -> list[Frame]:
            if frame.kind != codes.SEND:
                return [frame]
            return [copy(frame, payload=frame.payload[:-1] + bytes((frame.payload[-1] ^ 1,)))]

        hostile.tamper = flipped
        await said(alice, "valve", SECRET, sealed=True)
        hostile.tamper = lambda frame, _: [copy(frame, payload=frame.payload[:40])]
        await said(alice, "valve", SECRET, sealed=True)
        hostile.tamper = lambda frame, _: [copy(frame, payload=b"")]
        await said(alice, "valve", SECRET, sealed=True)
        hostile.tamper = lambda frame, _: [frame]
        await said(alice, "valve", b"the last", sealed=True)
        assert await got(receiver) == [SECRET, b"the last"]
        assert receiver.refused == 3
        assert "a message to valve that says it comes from node" in caplog.text


async def test_what_is_repeated_is_taken_once() -> None:
    async with around() as (_, hostile, (alice, bob)):
        receiver = bob.register("valve")
        hostile.tamper = lambda frame, _: [
            copy(frame, number=3 * frame.number + step) if frame.kind == codes.SEND else frame
            for step in range(3)
        ][: 3 if frame.kind == codes.SEND else 1]
        for number in range(3):
            await said(alice, "valve", number, sealed=True, ttl=1)
        assert await got(receiver) == [0, 1, 2]
        assert receiver.refused == 6


async def test_what_is_repeated_is_decrypted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "_RECENT_MAX", 8)
    async with around() as (_, hostile, (alice, bob)):
        receiver = bob.register("valve")
        hostile.tamper = lambda frame, _: (
            [copy(frame, number=5 * frame.number + again) for again in range(5)]
            if frame.kind == codes.SEND
            else [frame]
        )
        opened, opens = [], sealing.Own.open

        def counted(*args: Any) -> Any:
            opened.append(args)
            return opens(*args)

        monkeypatch.setattr(sealing.Own, "open", counted)
        for number in range(20):
            await said(alice, "valve", number, sealed=True, ttl=1)
        assert await got(receiver) == list(range(20))
        assert receiver.refused == 80
        assert len(opened) == 20
        assert len(bob._host.sealing._recent) == 8


async def test_a_request_that_is_repeated_runs_once() -> None:
    async with around() as (_, hostile, (alice, bob)):
        ran: list[Any] = []
        bob.serve("valve", lambda request: ran.append(request.payload), sealed=True)
        await alice.request("valve", 0, sealed=True, ttl=1)
        hostile.tamper = lambda frame, _: (
            [copy(frame), copy(frame, number=frame.number + 1, id=77)]
            if frame.kind == codes.REQUEST
            else [frame]
        )
        await alice.request("valve", 1, sealed=True)
        await asyncio.sleep(1)
        assert ran == [0, 1]


async def test_an_old_one_is_not_taken_by_the_next_run() -> None:
    async with around() as (network, hostile, (alice, bob)):
        receiver = bob.register("valve")
        await said(alice, "valve", SECRET, sealed=True, ttl=1)
        await said(alice, "valve", SECRET, sealed=True)
        assert await got(receiver) == [SECRET] * 2
        (recorded, _) = [frame for frame in hostile.seen if frame.kind == codes.SEND]
        await bob.close()
        again = await network.bus("bob again", key=BOB, seal=ALL)
        receiver = again.register("valve")
        await network.link(again, network.buses[0])
        hostile.tamper = lambda frame, _: (
            [copy(frame, payload=recorded.payload)] if frame.kind == codes.SEND else [frame]
        )
        await said(alice, "valve", SECRET, sealed=True, ttl=1)  # it asks anew, for another run
        assert await got(receiver) == []
        assert receiver.refused == 1
        hostile.tamper = lambda frame, _: [frame]
        await said(alice, "valve", SECRET, sealed=True)
        assert await got(receiver) == [SECRET]


async def test_what_is_put_in_another_order_is_not_taken() -> None:
    async with around() as (_, hostile, (alice, bob)):
        receiver = bob.register("valve")
        held: list[Frame] = []

        def swap(frame: Frame, _: bytes) -> list[Frame]:
            if frame.kind != codes.SEND:
                return [frame]
            held.append(copy(frame))
            if len(held) % 2:
                return []
            first, second = held[-2:]
            return [
                copy(second, number=first.number, route=frame.route),
                copy(first, number=second.number, route=frame.route),
            ]

        hostile.tamper = swap
        for number in range(4):
            await said(alice, "valve", number, sealed=True, ttl=1)
        assert await got(receiver) == [1, 3]
        assert receiver.refused == 2


async def test_it_goes_nowhere_else() -> None:
    async with around(CAROL) as (_, hostile, (alice, bob, carol)):
        there = [bus.register(name) for bus, name in ((bob, "open"), (bob, "close"), (carol, "open-too"))]
        await said(alice, "open", 0, sealed=True, ttl=1)
        await said(alice, "open-too", 0, sealed=True, ttl=1)
        hostile.tamper = lambda frame, _: [copy(frame, endpoint=busway.endpoint_id("close"))]
        await said(alice, "open", 1, sealed=True)
        key = hostile.seen[-1]
        hostile.tamper = lambda frame, _: [
            copy(frame, endpoint=busway.endpoint_id("open-too"), destination=carol.node.me.key)
        ]
        await said(alice, "open", 2, sealed=True)
        assert key.endpoint == busway.endpoint_id("open")
        assert [await got(receiver) for receiver in there] == [[0], [], [0]]
        assert [receiver.refused for receiver in there] == [0, 1, 1]


async def test_it_comes_from_nobody_else() -> None:
    """What Carol, whom Bob trusts as well, sends is not Alice's."""
    async with around(CAROL) as (_, hostile, (alice, bob, carol)):
        receiver = bob.register("valve")
        await said(alice, "valve", 0, sealed=True, ttl=1)
        await said(carol, "valve", 1, sealed=True, ttl=1)
        (_, hers) = [frame for frame in hostile.seen if frame.kind == codes.SEND]
        hostile.tamper = lambda frame, _: [copy(frame, payload=hers.payload)]
        await said(alice, "valve", 2, sealed=True)
        assert await got(receiver) == [0, 1]
        assert receiver.refused == 1


async def test_plain_ones_are_left_out_where_sealed_ones_are_wanted() -> None:
    async with around() as (_, hostile, (alice, bob)):
        receiver = bob.register("valve", sealed=True)
        ran: list[Any] = []
        bob.serve("pump", lambda request: ran.append(request.payload), sealed=True)
        await said(alice, "valve", 0, sealed=True, ttl=1)
        await alice.request("pump", 0, sealed=True, ttl=1)
        hostile.tamper = strip(b"instead of it")
        await said(alice, "valve", 1, sealed=True)
        with pytest.raises(Undeliverable, match="takes sealed messages only"):
            await alice.request("pump", 1, sealed=True)
        assert await got(receiver) == [0]
        assert ran == [0]
        assert receiver.refused == 1


def other_end(payload: bytes) -> bytes:
    return payload[:-1] + bytes((payload[-1] ^ 1,))


async def test_answers_are_the_receivers_or_none() -> None:
    async with around() as (_, hostile, (alice, bob)):
        service = bob.serve("valve", lambda request: request.payload)
        assert await alice.request("valve", 0, sealed=True, ttl=1) == 0
        former = hostile.seen[-1]
        changes: list[tuple[Any, str]] = [
            (lambda frame: [copy(frame, payload=b"forged", format=codes.RAW, type_id=b"")], "not sealed"),
            (lambda frame: [copy(frame, payload=other_end(frame.payload))], "an answer was changed"),
            (lambda frame: [copy(frame, payload=former.payload)], "an answer was changed"),
            (
                lambda frame: [
                    copy(frame, kind=codes.ERROR, code=300, payload=b"forged", format=codes.RAW, type_id=b"")
                ],
                "forged .error 300., but that was not sealed",
            ),
        ]
        for change, text in changes:
            hostile.tamper = lambda frame, _, change=change: (  # type: ignore[misc]
                change(frame) if frame.kind == codes.REPLY else [frame]
            )
            with pytest.raises(SealError, match=f"valve: .*{text}"):
                await alice.request("valve", 1, sealed=True)
        assert service.refused == 0


async def test_streams_are_whole_or_an_error() -> None:
    async with around() as (_, hostile, (alice, bob)):

        def scan(request: busway.Request[Any]) -> Any:
            yield from range(5)

        bob.serve("scan", scan)

        async def read() -> list[Any]:
            return [part async for part in alice.request_stream("scan", sealed=True, ttl=1)]

        assert await read() == [0, 1, 2, 3, 4]
        parts: list[Frame] = []

        def cut(frame: Frame, _: bytes) -> list[Frame]:
            """The last part and the sealed end are left out; END says that it was all."""
            if frame.kind == codes.PART:
                parts.append(frame)
                return [] if frame.number >= 4 else [frame]
            if frame.kind == codes.SIGNAL and frame.signal == codes.END:
                return [copy(frame, number=4)]
            return [frame]

        hostile.tamper = cut
        with pytest.raises(SealError, match="cut off"):
            await read()

        def swap(frame: Frame, _: bytes) -> list[Frame]:
            if frame.kind == codes.PART and frame.number < 2:
                parts.append(copy(frame))
                return [copy(parts[-1], number=0), copy(parts[-2], number=1)] if frame.number == 1 else []
            return [frame]

        hostile.tamper = swap
        with pytest.raises(SealError, match="an answer was changed, left out"):
            await read()


async def test_a_part_is_not_taken_for_all_of_the_answer_nor_a_reply_for_a_part() -> None:
    async with around() as (_, hostile, (alice, bob)):

        def scan(request: busway.Request[Any]) -> Any:
            yield from range(5)

        bob.serve("scan", scan)
        bob.serve("valve", lambda request: request.payload)

        async def read(name: str) -> list[Any]:
            return [part async for part in alice.request_stream(name, 7, sealed=True, ttl=1)]

        assert await read("valve") == [7]

        def first_is_all(frame: Frame, _: bytes) -> list[Frame]:
            if frame.kind == codes.PART:
                return [copy(frame, kind=codes.REPLY)] if frame.number == 0 else []
            return [] if frame.kind == codes.SIGNAL and frame.signal == codes.END else [frame]

        hostile.tamper = first_is_all
        with pytest.raises(SealError, match="another sort of answer"):
            await read("scan")
        hostile.tamper = lambda frame, _: (
            [copy(frame, kind=codes.PART, number=0)] if frame.kind == codes.REPLY else [frame]
        )
        with pytest.raises(SealError, match="another sort of answer"):
            await read("valve")


async def test_a_request_is_not_taken_for_another_sort_of_message() -> None:
    async with around() as (_, hostile, (alice, bob)):
        ran: list[Any] = []
        service = bob.serve("valve", lambda request: ran.append(request.payload))
        await alice.request("valve", 0, sealed=True, ttl=1)
        hostile.tamper = lambda frame, _: (
            [copy(frame, kind=codes.SEND, id=0)] if frame.kind == codes.REQUEST else [frame]
        )
        with pytest.raises(RequestTimeout):
            await alice.request("valve", 1, sealed=True, timeout=1)
        assert ran == [0]
        assert service.refused == 1


async def test_offer_is_the_nodes_own_and_not_weaker_than_it_said() -> None:
    async with around(CAROL) as (_, hostile, (alice, bob, carol)):
        bob.register("valve")
        await until(lambda: alice.node.directory.holders(busway.endpoint_id("valve")))
        await said(carol, "valve", SECRET, sealed=True)
        hers = next(frame for frame in hostile.seen if frame.kind == codes.REPLY)
        for change in (
            lambda frame: hers.payload,  # of another asker
            lambda frame: frame.payload[:1] + b"\x01" + frame.payload[2:26] + frame.payload[-32:],
            lambda frame: b"",
        ):
            hostile.tamper = lambda frame, _, change=change: (  # type: ignore[misc]
                [copy(frame, payload=change(frame))] if frame.kind == codes.REPLY else [frame]
            )
            with pytest.raises(SealError, match="somebody on the way changes messages"):
                await said(alice, "valve", SECRET, sealed=True)


async def test_its_deadline_holds_at_the_receiver() -> None:
    async with around() as (_network, hostile, (alice, bob)):
        receiver = bob.register("valve")
        await said(alice, "valve", 0, sealed=True, ttl=1)
        held: list[Frame] = []
        hostile.tamper = lambda frame, _: held.append(copy(frame)) or []  # type: ignore[func-returns-value]
        await said(alice, "valve", 1, sealed=True, timeout=10)
        (late,) = held
        await asyncio.sleep(20)
        hostile.tamper = lambda frame, _: (
            [copy(late, route=frame.route)] if frame.kind == codes.SEND else [frame]
        )
        await said(alice, "valve", 2, sealed=True)
        assert await got(receiver) == [0]
        assert receiver.refused == 1


async def test_clocks_that_part_are_set_anew() -> None:
    async with around() as (_, hostile, (alice, bob)):
        receiver = bob.register("valve")
        for number in range(4):
            await alice.send("valve", number, sealed=True, timeout=5, ttl=1)
            await asyncio.sleep(1 + layer.OFFER_AGE_MS / 1000)
        assert await got(receiver) == [0, 1, 2, 3]
        assert len([frame for frame in hostile.seen if frame.kind == codes.REQUEST]) == 4


async def test_a_node_that_was_waited_for_is_asked_for_its_clock_again() -> None:
    """Half of that wait would be added to every deadline."""
    async with around() as (network, hostile, (alice, _)):
        sending = asyncio.ensure_future(alice.request("late", sealed=CAROL.text, ttl=50, timeout=60))
        await asyncio.sleep(40)
        carol = await network.bus("c", key=CAROL, seal=ALL)
        carol.serve("late", lambda request: "carol")
        await network.link(carol, network.buses[0])
        assert await sending == "carol"
        assert len([frame for frame in hostile.seen if frame.kind == codes.REQUEST]) == 3
        known = alice._host.sealing._offers[carol.id]
        theirs = carol._host.sealing.now()
        assert abs(known.offer.time + alice._host.now_ms() - known.at - theirs) < 1000


# On real links


@pytest.mark.jumps(False)
async def test_over_tcp_through_a_router_that_is_trusted_to_forward_only() -> None:
    router_key = Key.new()
    trust = {key.text: "router" for key in (router_key, ALICE, BOB)}
    async with (
        AsyncBus(ipc=False, key=router_key, trust=trust, transit=True) as router,
        AsyncBus(ipc=False, key=ALICE, trust=trust, seal=ALL) as alice,
        AsyncBus(ipc=False, key=BOB, trust=trust, seal=ALL) as bob,
    ):
        listener = await router.listen("tcp://127.0.0.1:0")
        hostile = Hostile(router)
        for bus in (alice, bob):
            await bus.connect(listener.url)
        bob.serve("valve", lambda request: (request.verified, request.payload), sealed=True)
        assert await alice.request("valve", SECRET, sealed=BOB.text, ttl=9) == [ALICE.text, SECRET]
        assert hostile.seen
        assert SECRET not in hostile.said()


# Threads


def test_a_bus_with_threads_does_the_same() -> None:
    with (
        busway.Bus(ipc=False, key=ALICE, seal=ALL) as alice,
        busway.Bus(ipc=False, key=BOB, seal=ALL) as bob,
    ):
        here, there = sockets()
        bob.attach(there)
        alice.attach(here).ready.result()
        receiver = bob.register("valve", sealed=True)
        alice.send("valve", SECRET, sealed=True, ttl=9)
        message = receiver.receive(9)
        assert (message.payload, message.verified) == (SECRET, ALICE.text)

        def pump(request: busway.Request[Any]) -> Any:
            if request.payload is None:
                return iter_parts()
            if request.payload == 0:
                raise RemoteError(300, "no water")
            return request.verified, request.payload

        def iter_parts() -> Any:
            yield from range(20)

        service = bob.serve("pump", pump, sealed=True)
        assert alice.request("pump", 5, sealed=True, ttl=9) == [ALICE.text, 5]
        assert list(alice.request_stream("pump", sealed=True, window=3)) == list(range(20))
        with pytest.raises(RemoteError, match="no water"):
            alice.request("pump", 0, sealed=BOB.text)
        with pytest.raises(Undeliverable, match="takes sealed messages only"):
            alice.request("pump", 0)
        alice.send("valve", b"plain")
        alice.send("valve", b"the last", sealed=True, confirm=False)
        assert receiver.receive(9).payload == b"the last"
        assert (receiver.refused, service.refused) == (1, 1)


async def test_names_are_those_of_the_trust_that_the_bus_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before those of the user's file, which need not be there."""
    monkeypatch.delenv("BUSWAY_TRUST", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    trust = tmp_path / "lab.toml"
    append(trust, Trusted("pump", BOB.public, "leaf"))
    async with Network() as network:
        alice = await network.bus("a", key=ALICE, trust=trust, seal=["pump"])
        bob = await network.bus("b", key=BOB, seal=[ALICE.text])
        await network.link(alice, bob)
        receiver = bob.register("news", sealed=True)
        await alice.send("news", SECRET, sealed="pump")
        assert (await receiver.receive()).payload == SECRET
    here: dict[str, Any] = {"ipc": False, "key": ALICE, "trust": trust}
    with pytest.raises(busway.TrustFileError, match=rf"No such file.*'tap' is no key, and not in .*{trust}"):
        AsyncBus(seal=["pump", "tap"], **here)
    (tmp_path / "busway").mkdir()
    append(tmp_path / "busway" / "trust.toml", Trusted("tap", CAROL.public, "leaf"))
    AsyncBus(seal=["pump", "tap"], **here)
    with pytest.raises(ValueError, match=rf"'rap' is no key .* nor a name in .*{trust} or .*busway/trust"):
        AsyncBus(seal=["pump", "rap"], **here)
