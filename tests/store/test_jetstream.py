"""A store whose state is in JetStream: one is active, another takes over, and nothing confirmed is lost."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import busway
from busway.names import endpoint_id
from busway.store.jetstream import JetStreamBackend
from busway.testing import Network
from tests.rigs import nats_servers
from tests.store import crash
from tests.store.lab import lab, taken, until

pytestmark = pytest.mark.skipif(not nats_servers.server_program(), reason="there is no nats-server")


@pytest.fixture
def server() -> Iterator[nats_servers.Server]:
    with (
        tempfile.TemporaryDirectory() as folder,
        nats_servers.one(f'jetstream {{ store_dir: "{folder}" }}') as found,
    ):
        yield found


class Two:
    """Two stores at one place, a sender and a receiver, all with links to each other."""

    def __init__(self, network: Network, buses: list[busway.AsyncBus], stores: list[busway.Store]) -> None:
        self.network = network
        self.sender, self.receiver = buses[:2]
        self.buses = buses
        self.stores = stores

    @property
    def active(self) -> busway.Store:
        (found,) = [store for store in self.stores if store.active]
        return found


@contextlib.asynccontextmanager
async def two(server: nats_servers.Server, **options: Any) -> AsyncIterator[Two]:
    async with Network() as network:
        buses = [await network.bus(label, transit=True) for label in ("sender", "receiver", "one", "two")]
        for middle in buses[2:]:
            for other in buses[:2]:
                await network.link(other, middle)
        stores = [busway.Store(bus, f"{server.url}/lab", **options) for bus in buses[2:]]
        try:
            for store in stores:
                await store.open()
            await until(lambda: any(store.active for store in stores))
            yield Two(network, buses, stores)
        finally:
            for store in stores:
                await store.aclose()


async def test_another_takes_over_with_all_that_was_confirmed(server: nats_servers.Server) -> None:
    async with two(server) as it:
        for number in range(20):
            await it.sender.send("lab/pump", number, store=True)
            await it.sender.publish("lab/level", number, store=True)
        mail: Any = it.receiver.register("lab/pump", once=True)
        panel: Any = it.receiver.subscribe("lab/*", durable=busway.Durable("panel", start="first"))
        assert await taken(mail, 5) == [0, 1, 2, 3, 4]
        assert await taken(panel, 5) == [0, 1, 2, 3, 4]
        first = it.active
        await until(lambda: first._service is not None and first._service.usage.mail <= 16)
        await first.aclose()
        await it.sender.send("lab/pump", 20, store=True)
        await it.sender.publish("lab/level", 20, store=True)
        assert it.active is not first
        assert await taken(mail, 16) == [*range(5, 21)]
        assert await taken(panel, 16) == [*range(5, 21)]


async def test_who_loses_its_lease_writes_no_more(server: nats_servers.Server) -> None:
    async with two(server) as it:
        await it.sender.send("lab/pump", 1, store=True)
        store = it.active
        backend = store._backend
        other = crash.entry(7)._replace(endpoint=endpoint_id("lab/pump"), payload=b"other", id=b"o" * 24)
        row = msgspec.msgpack.encode([0, *other[1:]])
        await backend._js.publish("busway-store.lab.e", row)  # as another that is active would write
        service = store._service
        assert service is not None
        await it.sender.send("lab/pump", 2, store=True)  # refused, read anew, and asked again
        assert store._service is not service
        assert await taken(it.receiver.register("lab/pump"), 3) == [1, b"other", 2]


async def test_what_the_stream_has_and_a_store_has_not_read_is_read_before_it_counts(
    server: nats_servers.Server,
) -> None:
    async with two(server) as it:
        await it.sender.send("lab/pump", 1, store=True)
        store, service = it.active, it.active._service
        (outbox,) = it.sender._store_client.outboxes.values()
        late = crash.entry(1)._replace(
            endpoint=endpoint_id("lab/pump"), id=outbox.stream + (1).to_bytes(8, "big")
        )
        row = msgspec.msgpack.encode([0, *late[1:]])
        headers = {"Nats-Msg-Id": late.id.hex()}
        await store._backend._js.publish("busway-store.lab.e", row, headers=headers)
        await it.sender.send("lab/pump", 2, store=True)  # the one that the stream has: as it was told before
        assert store._service is not service
        assert await taken(it.receiver.register("lab/pump"), 2) == [1, late.payload]


async def test_a_write_that_drops_a_cancellation_keeps_it_from_nothing(
    server: nats_servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asyncio.wait_for of Python before 3.12 does, if what it waits for comes at that moment."""
    async with two(server) as it:
        backend: Any = it.active._backend
        write, begun = backend._write, asyncio.Event()

        async def drop(jobs: Any) -> None:
            begun.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            await write(jobs)

        monkeypatch.setattr(backend, "_write", drop)
        sending = asyncio.ensure_future(it.sender.send("lab/pump", 1, store=True))
        await begun.wait()
        async with asyncio.timeout(20):
            await it.active.aclose()
        await sending
        await until(lambda: any(store.active for store in it.stores))  # the other


async def test_a_start_that_drops_a_cancellation_keeps_it_from_nothing(
    server: nats_servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, begun = JetStreamBackend.start, asyncio.Event()

    async def drop(backend: JetStreamBackend) -> None:
        await start(backend)
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    monkeypatch.setattr(JetStreamBackend, "start", drop)
    async with busway.AsyncBus(ipc=False) as bus:
        store = await busway.Store(bus, f"{server.url}/lab").open()
        await begun.wait()
        async with asyncio.timeout(20):
            await store.aclose()


async def test_troubles_answers_and_forgetting_outlive_it(server: nats_servers.Server) -> None:
    async with two(server, tries=2) as it:
        receiver: Any = it.receiver.register("lab/pump", once=True)
        await it.sender.send("lab/pump", "bad", store=True)
        for _ in range(2):
            (await receiver.receive(20)).retry()
        endpoint = endpoint_id("lab/pump")
        first = it.active

        def dead() -> Any:
            service = it.active._service if any(store.active for store in it.stores) else None
            return service.tables.dead(endpoint, 9) if service is not None else []

        await until(dead)
        asked = asyncio.ensure_future(it.sender.request("lab/late", 7, store=True, timeout=60))
        await until(lambda: first._service is not None and first._service.usage.mail == 2)
        receiver.close()
        durable = it.receiver.subscribe("lab/*", durable="panel")
        await until(lambda: first._service is not None and first._service.tables.durables())
        await first.aclose()
        await until(dead)
        assert [row.dead for row in dead()] == ["tried 2 times"]
        assert [each.name for each in it.active._service.tables.durables()] == ["panel"]  # type: ignore[union-attr]
        durable.close()
        it.receiver.serve("lab/late", lambda request: request.payload + 1)
        assert await asked == 8


async def test_a_server_that_is_not_there_is_told() -> None:
    async with busway.AsyncBus(ipc=False) as bus:
        with pytest.raises(busway.StoreError, match="cannot be used"):
            await busway.Store(bus, f"nats://127.0.0.1:{nats_servers.free_ports(1)[0]}/lab").open()
        with pytest.raises(ValueError, match="letters, digits"):
            await busway.Store(bus, "nats://127.0.0.1/a.b").open()


async def test_it_gives_way_to_an_older_store_for_the_same_names(
    server: nats_servers.Server, tmp_path: Path
) -> None:
    async with lab(tmp_path) as it:
        middle = await it.network.bus("store2", transit=True)
        async with busway.Store(middle, f"{server.url}/lab") as store:
            await until(lambda: store.active)
            await it.network.link(it.middle, middle)
            await until(lambda: not store.active)
            assert it.store.active
            await it.sender.send("lab/pump", "kept by the older", store=True)
            await it.store.aclose()
            await until(lambda: store.active)
            await it.sender.send("lab/pump", "kept by the younger", store=True)
            assert await taken(it.receiver.register("lab/pump"), 1) == ["kept by the younger"]
