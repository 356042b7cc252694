"""AsyncBus: opening, closing, what it shows, and what it says before and after its life."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

import busway
from busway import AsyncBus
from busway.drivers import memory
from busway.protocol import codes
from busway.testing import JumpingLoop
from tests.adapters.tools import buses, channels, join, sees, until

pytestmark = pytest.mark.jumps

Call = Callable[[AsyncBus], Awaitable[object]]


async def _iterate(stream: AsyncIterator[object]) -> None:
    async for _ in stream:
        pass


SENDING: dict[str, Call] = {
    "send bytes": lambda bus: bus.send("x", b""),
    "send a value": lambda bus: bus.send("x", {"a": 1}),
    "send confirmed": lambda bus: bus.send("x", b"", confirm=True),
    "send many": lambda bus: bus.send_many("x", [b""]),
    "try to send": lambda bus: _now(lambda: bus.try_send("x", b"")),
    "publish": lambda bus: bus.publish("x", b""),
    "request": lambda bus: bus.request("x", b""),
    "request_stream": lambda bus: _iterate(bus.request_stream("x")),
    "connect": lambda bus: bus.connect("tcp://127.0.0.1:1"),
    "listen": lambda bus: bus.listen("tcp://127.0.0.1:0"),
}


async def _now(call: Callable[[], object]) -> None:
    call()


REGISTERING: dict[str, Call] = {
    "register": lambda bus: _now(lambda: bus.register("x")),
    "subscribe": lambda bus: _now(lambda: bus.subscribe("x")),
    "serve": lambda bus: _now(lambda: bus.serve("x", print)),
    "changes": lambda bus: _now(bus.changes),
}


@pytest.mark.parametrize("name", SENDING)
async def test_before_open_sending_is_an_error_that_says_how_to_open(name: str) -> None:
    with pytest.raises(busway.BusError, match="async with AsyncBus"):
        await SENDING[name](AsyncBus(ipc=False))


@pytest.mark.parametrize("name", [*SENDING, *REGISTERING])
async def test_after_close_everything_is_closed(name: str) -> None:
    async with AsyncBus(ipc=False) as bus:
        pass
    with pytest.raises(busway.BusClosed):
        await {**SENDING, **REGISTERING}[name](bus)


async def test_after_close_a_channel_is_not_taken() -> None:
    async with AsyncBus(ipc=False) as bus:
        pass
    with contextlib.ExitStack() as stack:
        for end in (ends := channels()):
            stack.callback(end.close)
        with pytest.raises(busway.BusClosed):
            bus.attach(ends[0])


async def test_after_close_errors_do_not_pile_up_tracebacks() -> None:
    async with AsyncBus(ipc=False) as bus:
        pass
    depths = []
    for _ in range(5):
        with pytest.raises(busway.BusClosed) as caught:
            await bus.send("x", b"")
        depths.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert depths[0] == depths[-1]


async def test_a_bus_is_opened_once() -> None:
    async with AsyncBus(ipc=False) as bus:
        with pytest.raises(busway.BusError, match="open already"):
            await bus.open()
    with pytest.raises(busway.BusClosed):
        await bus.open()


async def test_what_is_registered_before_opening_counts() -> None:
    bus = AsyncBus(ipc=False)

    @bus.serve("early")
    def early(request: busway.Request) -> object:
        return request.payload

    async with bus, AsyncBus(ipc=False) as other:
        await join(bus, other)
        assert await other.request("early", 5) == 5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": ""}, "bus name"),
        ({"name": "x" * 65}, "64"),
        ({"node_id": b"short"}, "16 bytes"),
        ({"label": "x" * 65}, "64 bytes"),
    ],
)
def test_bad_arguments_raise_at_once(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        AsyncBus(ipc=False, **options)  # type: ignore[arg-type]


async def test_unknown_words_are_refused_with_the_known_ones() -> None:
    async with AsyncBus(ipc=False) as bus:
        with pytest.raises(ValueError, match="unicast, anycast, broadcast"):
            bus.register("x", kind="multicast")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="process, userspace, localnet, global"):
            bus.register("x", realm="galaxy")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="refuse, drop_oldest, drop_newest"):
            bus.register("x", policy="shrug")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="limit must be at least 1"):
            bus.serve("x", print, limit=0)
        with pytest.raises(ValueError, match="expected tcp://host:port"):
            await bus.connect("carrier-pigeon://loft")
        with pytest.raises(ValueError, match="expected tcp://host:port"):
            await bus.listen("ipc:///somewhere")
        for seconds in (-1, float("nan"), 1e10, "2"):
            with pytest.raises(ValueError, match="timeout must be 0 to"):
                await bus.request("x", timeout=seconds)  # type: ignore[arg-type]
        assert bus.endpoints() == []


# Closing


async def test_close_ends_who_waits_for_messages() -> None:
    async with buses() as (a, b):
        mine, iterated = a.register("x"), a.subscribe("y")
        receiving = asyncio.create_task(mine.receive())
        iterating = asyncio.create_task(_iterate(iterated))
        changing = asyncio.create_task(_iterate(a.changes()))
        await until(lambda: sees(b, "x") and sees(b, "y"))
        await a.close()
        with pytest.raises(busway.BusClosed):
            await receiving
        await iterating  # an iteration just ends
        await changing
        with pytest.raises(busway.BusClosed):
            await mine.receive()


async def test_close_ends_who_waits_for_an_outcome() -> None:
    async with buses() as (a, b):
        b.serve("mute", lambda _: asyncio.Event().wait())
        b.register("full", queue=2)
        await until(lambda: sees(a, "mute") and sees(a, "full"))

        async def fill() -> None:
            while True:
                await a.send("full", b"")

        waiting = [
            asyncio.create_task(call)
            for call in (
                a.request("mute"),
                _iterate(a.request_stream("mute")),
                a.send("full", b"", confirm=True),
                a.send("nobody", b"", ttl=30),
                fill(),
            )
        ]
        await until(lambda: len(a.node.origin.pending) == len(waiting))
        await a.close()
        for task in waiting:
            with pytest.raises(busway.BusClosed):
                await task


async def test_close_writes_what_was_sent_before() -> None:
    async with buses() as (a, b):
        receiver = b.register("x")
        await until(lambda: sees(a, "x"))
        for number in range(1000):
            await a.send("x", number.to_bytes(2, "big"))
        await a.close()
        got = [(await receiver.receive(60)).payload for _ in range(1000)]
        assert got == [number.to_bytes(2, "big") for number in range(1000)]


async def closing_s(bus: AsyncBus, timeout: float) -> float:
    """What closing a bus takes in the loop's time; where that is everybody's, what it may take."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await bus.close(timeout)
    return loop.time() - began if isinstance(loop, JumpingLoop) else timeout


async def test_close_takes_no_longer_than_asked_when_the_peer_takes_nothing() -> None:
    pair = memory.pair(clock=asyncio.get_running_loop())
    async with AsyncBus(ipc=False) as a, AsyncBus(ipc=False) as b:
        b.register("x")
        await asyncio.gather(a.attach(pair.a).ready, b.attach(pair.b).ready)
        pair.delay_ms = 3_600_000
        await a.send("x", bytes(200_000))
        assert await closing_s(a, 0.4) == pytest.approx(0.4)
        await b.close(0)


async def test_close_takes_no_longer_than_asked_when_a_handler_ignores_cancellation() -> None:
    release = asyncio.Event()
    begun = asyncio.Event()

    async def stubborn(_: busway.Request) -> None:
        begun.set()
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    async with buses() as (a, b):
        b.serve("stubborn", stubborn)
        await until(lambda: sees(a, "stubborn"))
        asking = asyncio.create_task(a.request("stubborn"))
        await begun.wait()
        assert await closing_s(b, 0.3) == pytest.approx(0.3)
        with pytest.raises(busway.Undeliverable):
            await asking
        release.set()
        await until(lambda: not b._host.handlers)


async def test_close_cancels_handlers_and_tells_their_callers_that_this_node_closes() -> None:
    async with buses() as (a, b):
        begun = asyncio.Event()

        async def slow(_: busway.Request) -> None:
            begun.set()
            await asyncio.Event().wait()

        b.serve("slow", slow)
        await until(lambda: sees(a, "slow"))
        asking = asyncio.create_task(a.request("slow"))
        await begun.wait()
        await b.close()
        with pytest.raises(busway.Undeliverable) as caught:  # not BusClosed: the caller's own bus is open
            await asking
        assert caught.value.reason == codes.BUS_CLOSED
        assert [node.me for node in a.nodes()] == [True]


async def test_a_handler_may_close_its_own_bus() -> None:
    async with buses() as (a, b):
        b.serve("goodbye", lambda _: b.close())
        await until(lambda: sees(a, "goodbye"))
        with pytest.raises(busway.Undeliverable):
            await a.request("goodbye")


async def test_close_twice_is_once_and_a_close_that_is_cancelled_still_releases() -> None:
    async with buses() as (a, b):
        begun = asyncio.Event()

        async def stubborn(_: busway.Request) -> None:
            begun.set()
            for pause in (0.2, 0.2, 0.2):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(pause)

        b.serve("stubborn", stubborn)
        await until(lambda: sees(a, "stubborn"))
        asking = asyncio.create_task(a.request("stubborn"))
        await begun.wait()
        closing = asyncio.create_task(b.close(10))
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await until(lambda: not b.links() and not a.links())
        with pytest.raises(busway.Undeliverable):
            await asking
        await b.close()
        await b.close()
        await until(lambda: not b._host.handlers)


async def test_a_bus_that_was_never_opened_closes_quietly_and_leaves_no_cycle_behind() -> None:
    bus = AsyncBus(ipc=False)
    await bus.close()
    with pytest.raises(busway.BusClosed):
        await bus.open()
    gc.collect()


async def test_the_goodbye_is_heard_as_such() -> None:
    async with buses() as (a, b):
        changes = a.changes()
        await b.close()
        seen = [await anext(changes) for _ in range(2)]
        assert [change.what for change in seen] == ["link-down", "node-down"]
        assert (seen[0].code, seen[0].text) == (codes.GOODBYE, "the node is closing")


# What is there


async def test_nodes_endpoints_and_links_are_shown() -> None:
    async with buses() as (a, b):
        b.register("lab/log", realm="userspace")
        b.subscribe(b"sixteen byte id!")
        await until(lambda: len(a.endpoints()) == 2)
        assert [(node.id, node.label, node.leaf, node.me) for node in a.nodes()] == [
            (b"a" * 16, "a", False, True),
            (b"b" * 16, "b", False, False),
        ]
        found = {endpoint.id: endpoint for endpoint in a.endpoints()}
        log = found[busway.endpoint_id("lab/log")]
        assert (log.name, log.kind, log.realm, log.node) == ("lab/log", "unicast", "userspace", b"b" * 16)
        bare = found[b"sixteen byte id!"]
        assert (bare.name, bare.kind, bare.realm) == ("", "broadcast", "localnet")
        assert sorted(endpoint.id for endpoint in b.endpoints()) == sorted(found)
        (link,) = a.links()
        assert (link.peer, link.label, link.state, link.realm) == (b.id, "b", "connected", "userspace")
        assert link.bytes_in > 0
        assert link.bytes_out > 0


async def test_changes_tell_what_comes_and_goes_from_the_call_on() -> None:
    async with buses(1) as (a,):
        changes = a.changes()  # from here on, not from the first step of the iteration
        async with AsyncBus(ipc=False, node_id=b"z" * 16, label="zed") as other:
            await join(a, other)
            receiver = other.register("lab/pump", "anycast")
            await until(lambda: sees(a, "lab/pump"))
            receiver.close()
            await until(lambda: not sees(a, "lab/pump"))
        seen = [await anext(changes) for _ in range(7)]
        assert [change.what for change in seen] == [
            *("link-state", "link-up", "node-up", "endpoint-up", "endpoint-down", "link-down", "node-down"),
        ]
        nodes = [change.subject for change in seen if isinstance(change.subject, busway.NodeInfo)]
        assert {node.label for node in nodes} == {"zed"}


async def test_a_slow_reader_of_changes_loses_the_oldest_and_still_ends() -> None:
    async with buses(2) as (a, b):
        changes = a.changes()
        for number in range(1100):
            b.register(str(number))
        await until(lambda: sees(a, "1099"))
        await a.close()
        seen = [change async for change in changes]
        assert 1000 < len(seen) <= 1024
        assert seen[-1].what == "node-down"


async def test_changes_can_be_left_and_read_twice_at_once() -> None:
    async with buses(2) as (a, b):
        first, second = a.changes(), a.changes()
        b.register("x")
        assert (await anext(first)).what == (await anext(second)).what == "endpoint-up"
        await first.aclose()
        assert [change async for change in first] == []
        b.register("y")
        assert (await anext(second)).what == "endpoint-up"


# Leaves and realms


async def test_a_leaf_is_found_finds_others_and_says_that_it_is_one() -> None:
    async with buses(1) as (router,), AsyncBus(ipc=False, leaf=True, label="leaf") as leaf:
        await join(leaf, router)
        leaf.serve("leaf/echo", lambda request: request.payload)
        router.serve("router/echo", lambda request: request.payload)
        await until(lambda: sees(router, "leaf/echo"))
        assert await leaf.request("router/echo", 1) == 1
        assert await router.request("leaf/echo", 2) == 2
        assert [node.leaf for node in router.nodes()] == [False, True]


async def test_realms_bound_who_sees_and_reaches_an_endpoint() -> None:
    async with buses(1) as (home,), AsyncBus(ipc=False) as near, AsyncBus(ipc=False) as far:
        await join(near, home, realm="userspace")
        await join(far, home, realm="global")
        home.serve("local", lambda _: "local", realm="userspace")
        home.serve("usual", lambda _: "usual")
        home.serve("public", lambda _: "public", realm="global")
        home.serve("private", lambda _: "private", realm="process")
        await until(lambda: sees(near, "public") and sees(far, "public"))
        assert {endpoint.name for endpoint in near.endpoints()} == {"local", "usual", "public"}
        assert {endpoint.name for endpoint in far.endpoints()} == {"public"}
        assert await near.request("local") == "local"
        assert await far.request("public") == "public"
        assert await home.request("private") == "private"
        for bus, name in ((far, "local"), (far, "usual"), (near, "private"), (far, "private")):
            with pytest.raises(busway.Undeliverable) as caught:
                await bus.request(name)
            assert caught.value.reason == codes.NO_ENDPOINT


async def test_buses_of_different_names_refuse_each_other_with_a_sentence() -> None:
    async with AsyncBus("one", ipc=False) as one, AsyncBus("two", ipc=False) as two:
        here, there = channels()
        mine, theirs = one.attach(here).ready, two.attach(there).ready
        for ready in (mine, theirs):
            with pytest.raises(busway.LinkRefused, match="bus") as caught:
                await ready
            assert caught.value.code == codes.BUS_NAME
        assert len(one.nodes()) == len(two.nodes()) == 1


async def test_a_node_holds_its_links_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The idle ends say nothing: on a busy machine the first would be given up before the last has come."""
    monkeypatch.setattr(codes, "HELLO_TIMEOUT_MS", 600_000)
    async with buses(1) as (hub,), AsyncBus(ipc=False) as late:
        idle = []
        for _ in range(codes.LINKS_MAX):
            here, there = channels(name="idle")
            hub.attach(here)
            idle.append(there)
        try:
            here, there = channels()
            hub.attach(here)
            with pytest.raises(busway.LinkRefused, match=f"{codes.LINKS_MAX} links") as caught:
                await late.attach(there).ready
            assert caught.value.code == codes.MESH_FULL
            assert len(hub.links()) == codes.LINKS_MAX
        finally:
            for channel in idle:
                channel.close()
        await until(lambda: not hub.links())
        await join(late, hub)
