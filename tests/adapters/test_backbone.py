"""Sites whose gateways are on a NATS cluster: real servers, on the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nats
import pytest

import busway
from busway import AsyncBus, Bus, Undeliverable
from busway.drivers import nats_session
from busway.drivers.nats import parse, token_of
from busway.protocol import codes
from tests.adapters import threads_tools
from tests.adapters.tools import Program, join, until
from tests.rigs import nats_servers
from tests.rigs.nats_servers import Server

TOKEN = "sesame-h4k9w2x7q5m8z3t6r1v0"
LATER: Any = {"ttl": 20.0, "timeout": 30.0}

pytestmark = pytest.mark.skipif(not nats_servers.server_program(), reason="there is no nats-server")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with nats_servers.one() as made:
        yield made


@contextlib.asynccontextmanager
async def sites(
    url: str, name: str, count: int = 2, **options: Any
) -> AsyncIterator[list[tuple[AsyncBus, AsyncBus]]]:
    """Sites of a gateway and a program behind it, on a bus of that name."""
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for number in range(count):
            gate = await stack.enter_async_context(AsyncBus(name, ipc=False, label=f"gate {number}"))
            inner = await stack.enter_async_context(AsyncBus(name, ipc=False, label=f"inner {number}"))
            await join(gate, inner)
            await gate.connect(url, **options)
            made.append((gate, inner))
        yield made


def more_than(outcomes: Counter[str], count: int) -> bool:
    return outcomes["replied"] > count


async def serve(bus: AsyncBus, name: str = "pump") -> None:
    @bus.serve(name, realm="global")
    async def answer(request: Any) -> Any:
        return [request.payload, bus.label]


async def test_a_program_behind_one_gateway_calls_one_behind_another(server: Server) -> None:
    async with sites(server.url, "call") as [(gate, here), (far_gate, there)]:
        await serve(there)
        assert await here.request("pump", 1, **LATER) == [1, "inner 1"]
        assert await gate.request("pump", 2) == [2, "inner 1"]
        assert await far_gate.request("pump", 3) == [3, "inner 1"]
        await here.send("pump", 4, confirm=True)
        assert {node.id for node in here.nodes()} == {each.id for each in (here, gate, far_gate, there)}


async def test_subscribers_elsewhere_get_what_leaves_publish(server: Server) -> None:
    async with (
        sites(server.url, "leaves") as [(gate, _), (_, there)],
        AsyncBus("leaves", ipc=False, leaf=True) as leaf,
    ):
        await join(gate, leaf)
        by_name = there.subscribe("hall/lamp", realm="global")
        by_pattern = there.subscribe("hall/*", realm="global")
        waiting = [asyncio.ensure_future(each.receive()) for each in (by_name, by_pattern)]
        while not all(each.done() for each in waiting):
            await leaf.publish("hall/lamp", 1, realm="global")
            await asyncio.sleep(0.05)
        assert [each.result().payload for each in waiting] == [1, 1]


async def test_streams_and_large_messages_go_through(server: Server) -> None:
    async with sites(server.url, "large") as [(_, here), (_, there)]:

        @there.serve("parts", realm="global")
        async def parts(request: Any) -> Any:
            for number in range(request.payload):
                yield bytes(20_000) + b"%d" % number

        @there.serve("echo", realm="global")
        async def echo(request: Any) -> Any:
            return request.payload

        data = bytes(range(256)) * 8192
        assert await here.request("echo", data, **LATER) == data
        got = [part[20_000:] async for part in here.request_stream("parts", 100)]
        assert got == [b"%d" % number for number in range(100)]


async def test_subscribers_of_other_sites_get_what_is_published(server: Server) -> None:
    async with (
        sites(server.url, "publish", 3) as [(_, here), (_, there), (_, other)],
        there.subscribe("hall/lamp", realm="global") as exact,
        other.subscribe("hall/**", realm="global") as means,
    ):
        got: list[list[Any]] = [[], []]

        async def read(subscriber: Any, into: list[Any]) -> None:
            while True:
                into.append((await anext(subscriber)).payload)

        readers = [asyncio.create_task(read(exact, got[0])), asyncio.create_task(read(means, got[1]))]
        number = 0
        while not (got[0] and got[1]):
            await here.publish("hall/lamp", number, realm="global")
            number += 1
            await asyncio.sleep(0.02)
        last = number + 100
        for later in range(number, last):
            await here.publish("hall/lamp", later, realm="global")
        await until(lambda: got[0][-1] == got[1][-1] == last - 1)
        assert all(each == list(range(each[0], last)) for each in got)
        for reader in readers:
            reader.cancel()


async def test_who_comes_later_is_found_by_who_waits(server: Server) -> None:
    async with sites(server.url, "later") as [(_, here), (_, there)]:
        with pytest.raises(Undeliverable, match="NO_ENDPOINT"):
            await here.request("pump", 1)
        waiting = asyncio.create_task(here.request("pump", 2, **LATER))
        await asyncio.sleep(0.1)
        await serve(there)
        assert await waiting == [2, "inner 1"]


async def test_a_subscriber_by_pattern_that_comes_later_is_found(server: Server) -> None:
    async with sites(server.url, "later pattern") as [(_, here), (_, there)]:
        await here.publish("hall/lamp", 0, realm="global")
        await asyncio.sleep(0.1)
        async with there.subscribe("*/lamp", realm="global") as means:
            first = asyncio.create_task(anext(aiter(means)))
            while not first.done():
                await here.publish("hall/lamp", 1, realm="global")
                await asyncio.sleep(0.02)
            assert (await first).payload == 1


async def test_a_last_value_gets_to_who_subscribes_later_at_another_site(server: Server) -> None:
    async with sites(server.url, "lasts", 3) as [(_, here), (_, there), (_, other)]:
        await here.publish("hall/mode", "night", realm="global", retain=True)
        async with (
            there.subscribe("hall/mode", realm="global") as exact,
            other.subscribe("hall/*", realm="global") as means,
        ):
            for subscriber in (exact, means):
                message = await asyncio.wait_for(anext(aiter(subscriber)), 30)
                assert (message.payload, message.name) == ("night", "hall/mode")


async def test_what_is_not_global_is_not_found(server: Server) -> None:
    async with sites(server.url, "realms") as [(_, here), (_, there)]:
        there.serve("pump", realm="localnet")(lambda request: request.payload)
        with pytest.raises(Undeliverable, match="NO_ENDPOINT"):
            await here.request("pump", 1)


async def test_other_buses_and_other_tokens_are_apart(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with (
        sites(server.url, "apart", token=TOKEN) as [(_, here), (_, there)],
        sites(server.url, "another") as [(_, strange), _],
        AsyncBus("apart", ipc=False) as without,
    ):
        await without.connect(server.url)
        await serve(there)
        assert await here.request("pump", 1, **LATER) == [1, "inner 1"]
        for bus in (strange, without):
            with pytest.raises(Undeliverable, match="NO_ENDPOINT"):
                await bus.request("pump", 1, timeout=10)
        assert "token" in caplog.text


async def test_a_gateway_that_dies_leaves_nobody_waiting(server: Server) -> None:
    text = """
        async def main():
            async with busway.AsyncBus("dies", ipc=False) as bus:
                await bus.connect(sys.argv[1])
                @bus.serve("pump", realm="global")
                async def pump(request):
                    say("asked")
                    await asyncio.sleep(1000)
                say("ready")
                await heard()
        asyncio.run(main())
    """
    async with Program(text, server.url) as far, AsyncBus("dies", ipc=False) as bus:
        assert await far.line() == "ready"
        await bus.connect(server.url)
        asked = asyncio.create_task(bus.request("pump", 1, ttl=20.0, timeout=100.0))
        assert await far.line() == "asked"
        await far.kill()
        with pytest.raises(Undeliverable, match="LOST_AFTER_SENDING"):
            await asked
        with pytest.raises(Undeliverable, match="NO_ENDPOINT"):
            await bus.request("pump", 2)


async def is_answered(bus: AsyncBus, name: str) -> bool:
    """False: it was under way when it was seen that the link had lost something."""
    try:
        await bus.request(name, 2, ttl=40.0, timeout=60.0)
    except Undeliverable as error:
        if error.reason != codes.LOST_AFTER_SENDING:
            raise
        return False
    return True


async def test_a_server_that_is_lost_and_comes_back() -> None:
    with nats_servers.one() as server:
        async with sites(server.url, "back") as [(gate, here), (_, there)]:
            await serve(there)
            await serve(here, "valve")
            assert await here.request("pump", 1, **LATER) == [1, "inner 1"]
            assert await there.request("valve", 1, **LATER) == [1, "inner 0"]
            link = await gate.connect(server.url)
            server.kill()
            await until(lambda: link.state == "reconnecting")
            asked = asyncio.create_task(here.request("pump", 2, ttl=40.0, timeout=60.0))
            server.start()
            await until(lambda: link.state == "connected")
            with contextlib.suppress(Undeliverable):  # it was on its way when the server fell
                assert await asked == [2, "inner 1"]
            for bus, name in ((here, "pump"), (there, "valve")):  # each direction's first shows what was lost
                while not await is_answered(bus, name):
                    pass
            assert await here.request("pump", 3, ttl=40.0, timeout=60.0) == [3, "inner 1"]
            assert await there.request("valve", 3, ttl=40.0, timeout=60.0) == [3, "inner 0"]
            assert link.losses == 1


async def test_a_server_of_three_dies_under_load_and_every_request_has_one_outcome() -> None:
    with nats_servers.cluster(3) as servers:
        async with sites(nats_servers.url_of(servers), "cluster") as [(gate, here), (_, there)]:
            taken: Counter[int] = Counter()

            @there.serve("count", realm="global")
            async def count(request: Any) -> Any:
                taken[request.payload] += 1
                return request.payload

            assert await here.request("count", -1, **LATER) == -1
            outcomes: Counter[str] = Counter()
            over = False

            async def ask(first: int) -> None:
                number = first
                while not over:
                    number += 8
                    try:
                        assert await here.request("count", number, timeout=30.0) == number
                        outcomes["replied"] += 1
                    except (busway.BusError, TimeoutError) as error:
                        outcomes[type(error).__name__] += 1
                        await asyncio.sleep(0.01)

            tasks = [asyncio.create_task(ask(first)) for first in range(8)]
            await until(lambda: outcomes["replied"] > 100)
            link = await gate.connect(nats_servers.url_of(servers))
            for victim in servers[:2]:  # one of them is the gateway's, or the other's
                victim.kill()
                await until(partial(more_than, outcomes, outcomes["replied"] + 100))
            over = True
            await asyncio.gather(*tasks)
            assert link.state == "connected"
            assert max(taken.values()) == 1
            assert outcomes["replied"] <= len(taken)


def test_threads_are_gateways_too(server: Server) -> None:
    with Bus("threads", ipc=False, label="here") as here, Bus("threads", ipc=False, label="there") as there:
        link = here.connect(server.url)
        there.connect(server.url)

        @there.serve("pump", realm="global")
        def pump(request: Any) -> Any:
            return [request.payload]

        assert here.request("pump", 1, **LATER) == [1]
        assert here.request("pump", b"x" * 1_000_000) == [b"x" * 1_000_000]
        assert link.state == "connected"
        assert here.connect(server.url) is link
        with pytest.raises(ValueError, match="close it first"):
            here.connect("nats://127.0.0.1:1")
        link.close()
        assert link.state == "closed"
        threads_tools.until(lambda: not here.links())
        with pytest.raises(Undeliverable, match="NO_ENDPOINT"):
            here.request("pump", 1)
        here.connect(server.url)
        assert here.request("pump", 2, **LATER) == [2]


async def test_somebody_on_the_cluster_without_the_token_is_a_nuisance_at_most() -> None:
    with nats_servers.one() as server:
        async with sites(server.url, "hostile", token=TOKEN) as [(gate, here), (_, there)]:
            await serve(there)
            evil = await nats.connect(server.url)
            heard: list[Any] = []

            async def hear(message: Any) -> None:
                heard.append(message)

            await evil.subscribe("busway.>", cb=hear)
            await nats_servers.subscribed(evil)
            assert await here.request("pump", 1, **LATER) == [1, "inner 1"]
            await until(lambda: any(".who." in message.subject for message in heard))
            question = next(message for message in heard if ".who." in message.subject)
            root = question.subject.partition("who.")[0]
            for _ in range(300):  # made-up gateways that say they have it, and that come
                uuid = bytes.fromhex(question.subject.rpartition(".")[2])
                await evil.publish(question.reply, os.urandom(16) + uuid)
                await evil.publish(root + "new." + uuid.hex(), os.urandom(16))
                await evil.publish(root + "pattern", os.urandom(16) + b"**")
                to = question.reply.rpartition(".")[0]
                opening = bytes((1, 0, 0, 0, 0, 0, 0, 0, 0, 1)) + os.urandom(16)
                await evil.publish(f"{to}.{token_of(os.urandom(8))}", opening, reply="busway.evil")
                await evil.publish(to, b"")
            for message in heard:  # every link's messages once more, and others in their place
                if ".to." in message.subject:
                    await evil.publish(message.subject, message.data, reply=message.reply)
                    await evil.publish(message.subject, os.urandom(40), reply=message.reply)
            await evil.flush()
            await evil.close()
            answers: list[Any] = []
            while not answers:  # links that it broke were lost, and their requests say so
                with contextlib.suppress(Undeliverable):
                    answers.append(await here.request("pump", 2, ttl=40.0, timeout=60.0))
            assert answers == [[2, "inner 1"]]
            assert len(gate.links()) < 512
            assert {node.id for node in gate.nodes()} <= {each.id for each in (here, gate, there)} | {
                link.peer for link in gate.links()
            }
            await until(lambda: len(gate.links()) == 3, 30)


async def test_who_has_an_endpoint_is_believed_though_another_says_that_nobody_has(server: Server) -> None:
    async with sites(server.url, "nobody", token=TOKEN) as [(_, here), (far_gate, there)]:
        await serve(there)
        far: Any = far_gate._host.backbone
        answer = far._answer
        far._answer = lambda reply, what: far._after(0.3, partial(answer, reply, what))
        evil = await nats.connect(server.url)
        said: list[str] = []

        async def deny(message: Any) -> None:
            said.append(message.reply)
            await evil.publish(message.reply, b"", headers={"Status": "503"})

        await evil.subscribe("busway.*.who.>", cb=deny)
        await nats_servers.subscribed(evil)
        assert await here.request("pump", 1, ttl=8.0, timeout=9.0) == [1, "inner 1"]
        assert said
        await evil.close()


async def test_a_name_that_is_none_is_compared_with_no_pattern(server: Server) -> None:
    async with sites(server.url, "levels", token=TOKEN) as [(_, here), (far_gate, there)]:
        got = there.subscribe("**/pump", realm="global")
        await until(lambda: far_gate._host.backbone._patterns)
        far: Any = far_gate._host.backbone
        asked = far.counters["answered"]
        for data in (b"lab/pump", b"a/" * 40 + b"pump", b"\xff" * 500_000):
            far.heard("name.x.$", os.urandom(16) + data, far._hub._inbox + "=1")
        assert far.counters["answered"] == asked + 1
        await here.publish("lab/pump", 1, realm="global")
        got.close()


async def test_passwords_of_servers_stand_in_no_log_and_no_view(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    there = server.url.partition("://")[2]
    url = f"nats://joe:xyzzy-1@{there}"
    async with AsyncBus("secret", ipc=False) as bus:
        link = await bus.connect(url)
        assert await bus.connect(url) is link
        with pytest.raises(ValueError, match="has a backbone"):
            await bus.connect(f"nats://joe:xyzzy-2@{there}")
        shown = [repr(link), link.url, *(repr(each) + each.url for each in bus.links())]
        for wrong in (f"{url}/x", "nats://joe:xyzzy-3@host:99999", f"{url},ftp://ann:xyzzy-4@b"):
            with pytest.raises(ValueError) as caught:
                await bus.connect(wrong)
            shown.append(str(caught.value))
    assert "xyzzy" not in caplog.text + " ".join(shown)
    assert f"nats://{there} to" in caplog.text


async def test_a_leaf_and_other_realms_are_refused(server: Server) -> None:
    async with AsyncBus("refused", ipc=False) as bus:
        with pytest.raises(ValueError, match="of realm"):
            await bus.connect(server.url, realm="localnet")
        with pytest.raises(ValueError, match="expected nats"):
            await bus.connect("nats://")
        with pytest.raises(ValueError, match="cannot be listened on"):
            await bus.listen(server.url)
    async with AsyncBus("refused", ipc=False, leaf=True) as leaf:
        with pytest.raises(ValueError, match="leaf"):
            await leaf.connect(server.url)


async def test_without_nats_py_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("busway.backbone.gateway", "busway.backbone.asking", "busway.backbone.cluster"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delitem(sys.modules, "busway.drivers.nats_session", raising=False)
    for name in [*sys.modules]:
        if name.partition(".")[0] == "nats":
            monkeypatch.setitem(sys.modules, name, None)
    async with AsyncBus("missing", ipc=False) as bus:
        with pytest.raises(busway.MissingLibrary, match=r"pip install 'nats-py\[nkeys\]'"):
            await bus.connect("nats://127.0.0.1:4222")


async def test_no_server_is_there() -> None:
    port = nats_servers.free_ports(1)[0]
    async with AsyncBus("nobody", ipc=False) as bus:
        with pytest.raises(OSError, match=r"[Cc]onnect"):
            await bus.connect(f"nats://127.0.0.1:{port}")
        assert bus.links() == []


async def test_a_server_that_comes_later_is_waited_for() -> None:
    with nats_servers.one() as server:
        server.kill()
        async with AsyncBus("waits", ipc=False) as bus:
            connecting = asyncio.create_task(bus.connect(server.url, wait=60))
            await asyncio.sleep(0.1)
            server.start()
            assert (await connecting).state == "connected"


async def test_a_server_without_tls_is_told_nothing_where_it_was_asked_for(server: Server) -> None:
    """nats-py leaves it to the server, and to who is between: they would hear the password."""
    url = f"tls://site:secret@127.0.0.1:{server.port}"
    async with AsyncBus("plain", ipc=False) as bus:
        with pytest.raises(ConnectionRefusedError, match="offers no TLS"):
            await bus.connect(url)
        with pytest.raises(busway.StoreError, match="offers no TLS"):
            await busway.Store(bus, url).open()
    with pytest.raises(ConnectionRefusedError, match="offers no TLS"):
        await nats_session.look(parse(url))


async def test_servers_that_refuse_are_told_of_and_not_asked_again() -> None:
    with nats_servers.one('authorization { user: "me", password: "secret" }') as server:
        async with AsyncBus("refused", ipc=False) as bus:
            for user in ("", "me:wrong@"):
                url = f"nats://{user}127.0.0.1:{server.port}"
                with pytest.raises(ConnectionRefusedError, match=r"(?i)authorization"):
                    await bus.connect(url, wait=60)
            link = await bus.connect(f"nats://me:secret@127.0.0.1:{server.port}")
            assert "secret" not in repr(bus.links())
            assert "secret" not in link.url + repr(link)


async def test_subjects_that_may_not_be_used_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    text = """authorization {
        users: [{ user: me, password: secret, permissions: { subscribe: "elsewhere.>" } }]
    }"""
    with nats_servers.one(text) as server:
        async with AsyncBus("permits", ipc=False) as bus:
            await bus.connect(f"nats://me:secret@127.0.0.1:{server.port}")
            await until(lambda: "permissions violation for subscription" in caplog.text.lower())


async def test_keys_and_credentials_of_nats(tmp_path: Path) -> None:
    nkeys = pytest.importorskip("nkeys")
    seed, public = _user_key(nkeys)
    file = tmp_path / "user.nk"
    file.write_bytes(seed)
    with nats_servers.one(f"authorization {{ users: [{{ nkey: {public} }}] }}") as server:
        async with AsyncBus("nkeys", ipc=False) as bus:
            link = await bus.connect(server.url, nkey=str(file))
            assert link.state == "connected"
            await link.close()
            with pytest.raises(FileNotFoundError):
                await bus.connect(server.url, credentials=str(tmp_path / "none.creds"))
            with pytest.raises(ValueError, match="not both"):
                await bus.connect(server.url, nkey=str(file), credentials=str(file))


def _user_key(nkeys: Any) -> tuple[bytes, str]:
    seed = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER)
    pair = nkeys.from_seed(bytearray(seed))
    return bytes(seed), pair.public_key.decode()
