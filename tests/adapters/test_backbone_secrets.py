"""What NATS has for who may use it, with real servers: TLS over a cluster, users, keys, credentials files."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from busway import AsyncBus, Bus, Undeliverable
from tests.adapters.tools import until
from tests.front.cli_rig import busway, new_bus
from tests.rigs import nats_servers
from tests.rigs.nats_servers import Server

LATER: Any = {"ttl": 20.0, "timeout": 30.0}

nkeys = pytest.importorskip("nkeys")
trustme = pytest.importorskip("trustme")
pytestmark = pytest.mark.skipif(not nats_servers.server_program(), reason="there is no nats-server")


class Secured(NamedTuple):
    """Servers with TLS, and the file of the authority that made their certificate."""

    servers: list[Server]
    cafile: str

    @property
    def url(self) -> str:
        return nats_servers.url_of(self.servers).replace("nats://", "tls://site:secret@")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    made.private_key_pem.write_to_path(folder / "key.pem")
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    text = f"""
        tls {{ cert_file: "{folder}/cert.pem", key_file: "{folder}/key.pem" }}
        authorization {{ users: [{{ user: site, password: secret }}] }}
    """
    with nats_servers.cluster(3, text) as servers:
        yield Secured(servers, str(folder / "authority.pem"))


async def test_sites_meet_on_a_cluster_with_tls_and_go_on_when_a_server_dies(secured: Secured) -> None:
    async with AsyncBus("tls", ipc=False) as here, AsyncBus("tls", ipc=False) as there:
        link = await here.connect(secured.url, cafile=secured.cafile)
        await there.connect(secured.url, cafile=secured.cafile, realm="global")
        there.serve("pump", realm="global")(lambda request: request.payload)
        assert await here.request("pump", 1, **LATER) == 1
        victim = secured.servers[0]
        victim.kill()
        try:
            with contextlib.suppress(Undeliverable):  # it was on its way when the server fell
                assert await here.request("pump", 2, ttl=60.0, timeout=90.0) == 2
            assert await here.request("pump", 3, ttl=60.0, timeout=90.0) == 3
            await until(lambda: link.state == "connected")
        finally:
            victim.start()
            victim.await_ready()
        assert "secret" not in repr(here.links())


async def test_a_certificate_of_another_authority_is_refused(secured: Secured, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    async with AsyncBus("tls", ipc=False) as bus:
        for cafile in (None, str(tmp_path / "other.pem")):
            with pytest.raises(OSError, match=r"(?i)certificate"):
                await bus.connect(secured.url, cafile=cafile)
        with pytest.raises(ConnectionRefusedError, match=r"(?i)authorization"):
            await bus.connect(secured.url.replace("secret", "wrong"), cafile=secured.cafile)


def test_threads_and_doctor_use_tls_too(secured: Secured) -> None:
    with Bus("tls", ipc=False) as bus:
        assert bus.connect(secured.url, cafile=secured.cafile).state == "connected"
    done = busway("doctor", secured.url, "--cafile", secured.cafile, bus=new_bus())
    assert done.status == 0, done.text
    refused = busway("doctor", secured.url, bus=new_bus())
    assert refused.status == 1
    assert "the authority that made the server's certificate" in refused.text


class Person:
    """A key of NATS's, and what it signs."""

    def __init__(self, number: int, prefix: int) -> None:
        self.seed: bytes = nkeys.encode_seed(bytes([number]) * 32, prefix)
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public: str = self._pair.public_key.decode()

    def signed(self, subject: str, name: str, said: dict[str, Any]) -> str:
        """A token (JWT) of that name about a key."""
        claims = {"iat": 0, "iss": self.public, "name": name, "sub": subject, "nats": {"version": 2, **said}}
        digest = hashlib.new("sha512_256", json.dumps(claims).encode()).digest()
        claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
        parts = [
            _base64(json.dumps(each).encode()) for each in ({"typ": "JWT", "alg": "ed25519-nkey"}, claims)
        ]
        text = ".".join(parts)
        return f"{text}.{_base64(self._pair.sign(text.encode()))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _credentials(token: str, seed: bytes) -> str:
    """A file of credentials, as NATS writes it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed.decode()}\n------END USER NKEY SEED------\n"
    )


async def test_credentials_files_of_an_operator(tmp_path: Path) -> None:
    operator, account = Person(1, nkeys.PREFIX_BYTE_OPERATOR), Person(2, nkeys.PREFIX_BYTE_ACCOUNT)
    user, strange = Person(3, nkeys.PREFIX_BYTE_USER), Person(4, nkeys.PREFIX_BYTE_USER)
    every = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    limits = {"subs": -1, "data": -1, "payload": -1}
    config = f"""
        operator: "{operator.signed(operator.public, "operator", {"type": "operator"})}"
        resolver: MEMORY
        resolver_preload: {{
            {account.public}: "{
        operator.signed(account.public, "plant", {"type": "account", "limits": {**every, "wildcards": True}})
    }"
        }}
    """
    for who, by in ((user, account), (strange, strange)):
        allowed = {"pub": {"allow": ["busway.>"]}, "sub": {"allow": ["busway.>"]}}
        token = by.signed(who.public, "site", {"type": "user", **allowed, **limits})
        (tmp_path / f"{who.public}.creds").write_text(_credentials(token, who.seed))
    file, other = (str(tmp_path / f"{who.public}.creds") for who in (user, strange))
    with nats_servers.one(config) as server:
        async with AsyncBus("jwt", ipc=False) as here, AsyncBus("jwt", ipc=False) as there:
            await here.connect(server.url, credentials=file)
            await there.connect(server.url, credentials=file)
            there.serve("pump", realm="global")(lambda request: request.payload)
            assert await here.request("pump", 1, **LATER) == 1
            async with AsyncBus("jwt", ipc=False) as bus:
                refused: list[dict[str, Any]] = [{}, {"credentials": other}]
                for given in refused:
                    with pytest.raises(ConnectionRefusedError, match=r"(?i)authorization"):
                        await bus.connect(server.url, **given)
        done = busway("doctor", server.url, "--credentials", file, bus=new_bus())
        assert done.status == 0, done.text


def test_the_environment_names_the_authority(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUSWAY_CAFILE", secured.cafile)
    with Bus("tls", ipc=False) as bus:
        assert bus.connect(secured.url).state == "connected"
