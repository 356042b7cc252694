"""Stores at NATS servers that let in only whom they know, over TLS: a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import busway
from busway.testing import Network
from tests.rigs import nats_servers

trustme = pytest.importorskip("trustme")
pytestmark = pytest.mark.skipif(not nats_servers.server_program(), reason="there is no nats-server")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[str]:
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    text = f"""
        jetstream {{ store_dir: "{tmp_path}/js" }}
        tls {{ cert_file: "{tmp_path}/cert.pem", key_file: "{tmp_path}/key.pem" }}
        authorization {{ users: [{{ user: store, password: secret }}] }}
    """
    with nats_servers.one(text) as server:
        yield f"tls://store:secret@127.0.0.1:{server.port}/lab"


async def test_a_store_is_kept_there_and_refusals_are_told(place: str, tmp_path: Path) -> None:
    cafile = str(tmp_path / "authority.pem")
    async with Network() as network:
        bus = await network.bus("one", transit=True)
        async with busway.Store(bus, place, cafile=cafile) as store:
            await bus.send("lab/pump", 1, store=True, timeout=20)
            assert (await bus.register("lab/pump").receive(20)).payload == 1
            assert "secret" not in repr(store._backend.place)
        with pytest.raises(busway.StoreError, match=r"(?i)certificate"):
            await busway.Store(bus, place).open()
        with pytest.raises(busway.StoreError, match=r"(?i)authorization"):
            await busway.Store(bus, place.replace("secret", "wrong"), cafile=cafile).open()


@pytest.mark.parametrize(
    ("where", "words", "error", "told"),
    [
        ("sqlite:///nowhere", {"cafile": "ca.pem"}, ValueError, "for a store at nats://"),
        ("nats://127.0.0.1", {"password": "secret"}, TypeError, "no argument 'password'"),
    ],
)
def test_what_has_no_place_there(
    where: str, words: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        busway.Store(busway.AsyncBus(ipc=False), where, **words)
