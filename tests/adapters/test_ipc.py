"""IPC without a master, by Unix sockets and real processes: joining, leaving, dying, starting together."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import busway
from busway import AsyncBus
from busway.drivers import unix
from busway.protocol import Connection, Link, Node, codes
from tests.adapters.tools import Program, knows, sees, until

SERVER = """
async def main():
    async with busway.AsyncBus(label="server") as bus:
        taken = []
        @bus.serve("echo")
        async def echo(request):
            return request.payload
        @bus.serve("hang")
        async def hang(request):
            await asyncio.Event().wait()
        log = bus.register("log")
        say("ready", bus.id.hex())
        while await heard() != "leave":
            pass
    say("left")
asyncio.run(main())
"""


def found(place: Path, ending: str = "") -> list[Path]:
    """The files and sockets of all buses whose names end so."""
    return sorted(path for path in place.glob(f"*/*{ending}"))


def sockets(place: Path) -> list[str]:
    """Node ids, in hex, of the sockets there are, of any bus."""
    return [path.stem for path in found(place, ".sock")]


async def ready(program: Program, bus: AsyncBus | None = None) -> bytes:
    """The node id of a program that has opened its bus; `bus` sees its endpoints."""
    word, node_id = (await program.line()).split()
    assert word == "ready"
    if bus is not None:
        await until(lambda: sees(bus, "log"))
    return bytes.fromhex(node_id)


# Joining and leaving


@pytest.mark.usefixtures("patient")
async def test_buses_find_each_other_and_leave_nothing_behind(place: Path) -> None:
    async with AsyncBus() as one:
        one.serve("echo", lambda request: request.payload)
        async with AsyncBus() as two:  # joined: no waiting, no ttl
            assert await two.request("echo", 1) == 1
            assert knows(two, one.id)
            assert knows(one, two.id)
            assert [link.realm for link in one.links()] == ["userspace"]
            assert sockets(place) == sorted([one.id.hex(), two.id.hex()])
        await until(lambda: knows(one))
        assert sockets(place) == [one.id.hex()]
    assert found(place) == []


async def test_a_program_joins_serves_and_leaves() -> None:
    async with AsyncBus() as bus:
        changes = bus.changes()
        async with Program(SERVER) as server:
            await ready(server, bus)
            assert await bus.request("echo", "hello") == "hello"
            await server.tell("leave")
            await server.expect("left")
            await server.ended()
        await until(lambda: knows(bus))
        while (change := await anext(changes)).what != "link-down":
            pass
        assert change.code == codes.GOODBYE


async def test_a_program_whose_link_was_replaced_is_joined_again() -> None:
    """As one that claims its id may bring about: the word of the link's end is orderly, and not believed."""
    async with AsyncBus() as a, AsyncBus() as b:
        await until(lambda: knows(a, b.id) and knows(b, a.id))
        [former] = a.node.routes.peers[b.id].connections
        former.close(a._host.now_ms(), codes.REPLACED, "a newer incarnation of this node took over")
        await until(lambda: former not in a.node.connections)
        await until(lambda: knows(a, b.id) and knows(b, a.id))
        await until(lambda: len(a.node.routes.peers[b.id].connections) == 1)  # both may have dialled
        [link] = a.node.routes.peers[b.id].connections
        assert (link.via, link.realm) == ("ipc", codes.USERSPACE)


async def test_two_buses_side_by_side_never_meet() -> None:
    async with AsyncBus("red") as red, AsyncBus("blue") as blue, AsyncBus("red") as red2:
        red.serve("echo", lambda _: "red")
        blue.serve("echo", lambda _: "blue")
        await until(lambda: sees(red2, "echo") and knows(red, red2.id))
        assert knows(blue)
        assert await red2.request("echo") == "red"
        assert await blue.request("echo") == "blue"


async def test_without_ipc_a_bus_is_alone(place: Path) -> None:
    async with AsyncBus(), AsyncBus(ipc=False) as alone:
        assert knows(alone)
        assert len(sockets(place)) == 1


@pytest.mark.usefixtures("patient")
async def test_a_leaf_joins_one_and_reaches_all(place: Path) -> None:
    async with AsyncBus() as router, AsyncBus(leaf=True) as leaf, AsyncBus() as later:
        assert knows(leaf, router.id)
        await until(lambda: knows(later, router.id, leaf.id) and knows(router, leaf.id, later.id))
        assert leaf.id.hex() not in sockets(place)
        assert len(leaf.links()) == 1
        later.serve("echo", lambda request: request.payload)
        assert await leaf.request("echo", 1, ttl=30) == 1
        leaf.serve("leaf/echo", lambda request: request.payload)
        assert await later.request("leaf/echo", 2, ttl=30) == 2


async def test_a_leaf_passes_over_a_node_that_does_not_answer(place: Path) -> None:
    async with AsyncBus() as router:
        stopped = sorted((place / os.listdir(place)[0]).glob("*.sock"))[0].with_name("00" * 16 + ".sock")
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(stopped))
            silent.listen()
            lock = os.open(stopped.with_suffix(".lock"), os.O_CREAT | os.O_WRONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)  # its owner lives
            for _ in range(4):  # the order is random
                async with AsyncBus(leaf=True) as leaf:
                    await until(lambda: knows(leaf, router.id))
            os.close(lock)


async def test_an_unsafe_directory_is_refused_and_nothing_stays_open(place: Path) -> None:
    os.chmod(place, 0o755)
    bus = AsyncBus()
    with pytest.raises(PermissionError, match="chmod 700"):
        await bus.open()
    await bus.close()
    bus = AsyncBus()
    with pytest.raises(PermissionError):
        async with bus:
            pytest.fail("it must not open")
    with pytest.raises(busway.BusClosed):
        bus._host.check()


async def test_a_node_id_is_used_once_at_a_time() -> None:
    async with AsyncBus(node_id=b"n" * 16):
        other = AsyncBus(node_id=b"n" * 16)
        with pytest.raises(OSError, match=(b"n" * 16).hex()):
            async with other:
                pytest.fail("it must not open")


async def test_a_stranger_at_the_socket_harms_nobody(place: Path) -> None:
    async with AsyncBus() as bus:
        (path,) = found(place, ".sock")
        refused = bus.node.counters
        for number, words in enumerate((b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100, b"\xff" * 1000, b"")):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
                stranger.setblocking(False)
                stranger.connect(str(path))
                stranger.sendall(words)
            await until(lambda: refused["links_refused"] == number + 1)  # noqa: B023 - called here
        assert bus.links() == []
        async with AsyncBus() as friend:
            await until(lambda: knows(friend, bus.id))


# Dying


@pytest.mark.parametrize("leaf", [False, True])
async def test_a_socket_that_nobody_has_any_more_keeps_nobody_from_joining(place: Path, leaf: bool) -> None:
    """Without its lock file nobody can tell that it is dead, so it stays."""
    async with AsyncBus() as server:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(found(place, ".sock")[0].with_name(f"{'0' * 32}.sock")))
        async with AsyncBus(leaf=leaf) as bus:
            await until(lambda: knows(bus, server.id))
        [left] = [path for path in found(place, ".sock") if path.stem == "0" * 32]
        left.unlink()


async def test_kill_9_is_heard_at_once_and_every_request_has_one_outcome(place: Path) -> None:
    async with AsyncBus() as bus, Program(SERVER) as server:
        node_id = await ready(server, bus)
        hanging = [asyncio.create_task(bus.request("hang", number, timeout=600)) for number in range(20)]
        hanging += [
            asyncio.create_task(bus.send("log", number, confirm=True, timeout=600)) for number in range(20)
        ]
        await asyncio.wait(hanging, timeout=0.05)
        assert await bus.request("echo", 1) == 1
        await server.kill()
        outcomes = await asyncio.gather(*hanging, return_exceptions=True)
        await until(lambda: knows(bus))
        assert {type(outcome) for outcome in outcomes} <= {busway.Undeliverable, busway.DeliveryUnknown}
        with pytest.raises(busway.Undeliverable):
            await bus.request("echo", 1)
        assert not bus.node.origin.pending
        await until(lambda: node_id.hex() not in sockets(place))  # those who stay sweep, too


@pytest.mark.usefixtures("patient")
async def test_the_next_node_removes_a_dead_socket(place: Path) -> None:
    async with Program(SERVER) as server:
        node_id = await ready(server)
        await server.kill()
    assert sockets(place) == [node_id.hex()]
    async with asyncio.timeout(30), AsyncBus() as bus:  # nobody is there to be patient with
        assert sockets(place) == [bus.id.hex()]
        assert knows(bus)
    assert sockets(place) == []


async def test_restarted_under_the_same_node_id_it_is_the_same_node_anew() -> None:
    program = """
    async def main():
        async with busway.AsyncBus(node_id=b"r" * 16) as bus:
            log = bus.register("log")
            say("ready", bus.id.hex())
            async for message in log:
                say(message.payload, message.seq)
    asyncio.run(main())
    """
    async with AsyncBus() as bus:
        for _ in range(3):
            async with Program(program) as server:
                assert await ready(server, bus) == b"r" * 16
                for number in range(5):
                    await bus.send("log", number)
                    await server.expect(f"{number} {number + 1}")
                await server.kill()
            await until(lambda: knows(bus))


async def test_a_link_that_breaks_between_living_nodes_comes_back() -> None:
    async with AsyncBus() as one, AsyncBus() as two:
        receiver = two.register("log")
        await until(lambda: sees(one, "log"))
        await one.send("log", 1)
        assert (await receiver.receive(60)).payload == 1
        (runner,) = one._host.runners
        runner.close()  # no goodbye
        await until(lambda: knows(one))
        await until(lambda: sees(one, "log"))
        await one.send("log", 2)
        assert (await receiver.receive(60)).payload == 2
        await until(lambda: len(one.links()) == len(two.links()) == 1)


async def test_a_stopped_program_delays_nobody_and_joins_when_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with AsyncBus() as early, Program(SERVER) as server:
        node_id = await ready(server, early)
        assert await early.request("echo", 1) == 1
        server.signal(signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr(codes, "HELLO_TIMEOUT_MS", 600_000)  # it does not wait for this
            async with asyncio.timeout(30):
                late = await AsyncBus().open()
        asking = asyncio.create_task(early.request("echo", 2))
        assert await late.request(codes.INTROSPECTION, node=early.id)
        assert not asking.done()
        server.signal(signal.SIGCONT)
        assert await asking == 2
        await until(lambda: knows(late, early.id, node_id))
        assert await late.request("echo", 3) == 3
        await late.close()


async def test_closing_is_bounded_when_the_peer_is_stopped() -> None:
    async with Program(SERVER) as server:
        await ready(server)
        async with AsyncBus() as bus:
            assert await bus.request("echo", 1) == 1
            server.signal(signal.SIGSTOP)
            sending = asyncio.create_task(bus.send("log", bytes(8_000_000)))
            await sending
            asking = asyncio.create_task(bus.request("echo", 1))
            await asyncio.sleep(0)
            async with asyncio.timeout(30):  # it would wait for ever
                await bus.close(0.5)
            with pytest.raises(busway.BusClosed):
                await asking


# Starting together


async def meet(name: str, number: int, both: Callable[[], Awaitable[object]]) -> tuple[list[object], int]:
    """One of two nodes that start together: sends and receives twenty messages. Returns them and its links.

    `both` returns when both nodes have come there.
    """
    async with AsyncBus(name) as bus:
        mine = bus.register(f"node/{number}")
        for count in range(20):
            await bus.send(f"node/{1 - number}", count, ttl=30)
        got = [(await mine.receive(60)).payload for _ in range(20)]
        await both()
        await until(lambda: [link.state for link in bus.links()] == ["connected"])
        links = len(bus.links())
        await both()
    assert not bus.undeliverable
    return got, links


async def test_two_that_open_in_the_same_turn_have_one_link_and_lose_nothing() -> None:
    for number in range(40):
        both = asyncio.Barrier(2).wait
        both_ends = (meet(f"round{number}", end, both) for end in range(2))
        for got, links in await asyncio.gather(*both_ends):
            assert got == list(range(20))
            assert links == 1


async def test_two_processes_that_start_at_the_same_instant_have_one_link_and_lose_nothing() -> None:
    program = """
    from tests.adapters.test_ipc import meet
    async def main():
        say("up")
        while (words := (await heard()).split()):
            name, when = words
            while time.monotonic() < float(when):
                pass
            async def both():
                say("here")
                assert await heard() == "on"
            got, links = await meet(name, int(sys.argv[1]), both)
            say(got == list(range(20)), links)
    asyncio.run(main())
    """
    async with Program(program, 0) as one, Program(program, 1) as two:
        await one.expect("up")
        await two.expect("up")
        for number in range(30):
            start = time.monotonic() + 0.01
            for end in (one, two):
                await end.tell(f"round{number} {start}")
            for _ in range(2):
                for end in (one, two):
                    await end.expect("here")
                for end in (one, two):
                    await end.tell("on")
            for end in (one, two):
                await end.expect("True 1")


JOINERS = """
from tests.rigs.effort import effort

async def until(condition):
    pause = 0.002
    while not condition():
        await asyncio.sleep(pause)
        pause = min(0.1, 1.2 * pause)

async def main():
    count, nodes = int(sys.argv[1]), int(sys.argv[2])
    buses = [busway.AsyncBus() for _ in range(nodes)]
    say("up")
    start = float(await heard())
    while time.monotonic() < start:
        pass
    await asyncio.gather(*(bus.open() for bus in buses))
    await until(lambda: all(len(bus.nodes()) == count for bus in buses))
    say(time.monotonic() - start)
    links = ["connected"] * (count - 1)
    await until(lambda: all([link.state for link in bus.links()] == links for bus in buses))
    say("meshed")
    await heard()
    await asyncio.gather(*(bus.close() for bus in buses))
    say("left")

say(effort(lambda: asyncio.run(main())))
"""
# What a program's ten nodes may cost from their joining to their leaving, in millions of small calls.
JOINERS_EFFORT = 10


async def test_fifty_nodes_join_at_once(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        programs = [await stack.enter_async_context(Program(JOINERS, 50, 10)) for _ in range(5)]
        for program in programs:
            await program.expect("up")
        start = time.monotonic() + 0.05
        for program in programs:
            await program.tell(str(start))
        seconds = max([float(await program.line()) for program in programs])
        with capsys.disabled():
            print(f" [50 nodes in 5 processes knew each other after {seconds:.2f} s]", end="")
        for program in programs:
            await program.expect("meshed")
        for program in programs:
            await program.tell()
        for program in programs:
            await program.expect("left")
        efforts = [float(await program.line()) for program in programs]
        assert max(efforts) < JOINERS_EFFORT, efforts
        for program in programs:
            await program.ended()
    assert sockets(place) == []


def stranger() -> tuple[Connection, bytes]:
    """The core's side of a link to a bus of this name, as who dials it, and what it says first."""
    link = Link(codes.USERSPACE, True, via="ipc", medium="ipc")
    connection = Node(b"s" * 16, entropy=os.urandom, bus="crowd").connection(link, 0)
    return connection, connection.data_to_send(1 << 16, 0)


@pytest.mark.parametrize("said", [True, False])
async def test_who_comes_is_answered_before_the_loop_comes_round(said: bool) -> None:
    """At once if it has said HELLO by the time it is accepted, else when that is read: with hundreds of
    programs each turn of the loop counts.
    """
    async with AsyncBus("crowd", node_id=b"b" * 16) as bus:
        mesh = bus._host._mesh
        assert mesh is not None
        assert mesh.listener is not None
        await asyncio.sleep(0.01)  # all is written that came of its opening
        channel = unix.dial(mesh.listener.listener.path)
        connection, hello = stranger()
        if said:
            channel.write(hello)
        mesh.listener._on_readable()
        (runner,) = bus._host.runners
        if not said:
            await asyncio.sleep(0.01)
            channel.write(hello)
            runner.on_readable()
        answer = channel.read()
        assert answer is not None
        assert len(answer) > 1 + answer[0]  # more than its own HELLO
        connection.receive_data(answer, 0)
        assert connection.state == codes.OPEN
        assert connection.peer is not None
        assert connection.peer.node_id == bus.id
        connection.receive_eof(0)
        channel.close()
