"""The command line on a NATS cluster: joining by it, and what `busway doctor` says of its servers."""

from __future__ import annotations

import pytest

from busway import Bus
from busway.cli.doctor_backbone import advice_for
from tests.front.cli_rig import busway, new_bus
from tests.rigs import nats_servers

pytestmark = pytest.mark.skipif(not nats_servers.server_program(), reason="there is no nats-server")


def test_doctor_says_whether_gateways_can_meet() -> None:
    with nats_servers.one() as server:
        done = busway("doctor", server.url, bus=new_bus())
    assert done.status == 0
    assert f"{server.url} answers: nats-server 2." in done.text
    assert f"{server.url} lets gateways ask and answer" in done.text


def test_what_a_command_publishes_gets_to_other_sites() -> None:
    name = new_bus()
    with (
        nats_servers.one() as server,
        Bus(name, label="gateway") as gateway,
        Bus(name, ipc=False, label="elsewhere") as elsewhere,
    ):
        for bus in (gateway, elsewhere):
            bus.connect(server.url)
        lamp = elsewhere.subscribe("hall/lamp", realm="global")
        for _ in range(2):  # the first finds out who there is
            assert busway("publish", "hall/lamp", "1", "--realm", "global", bus=name).status == 0
        assert lamp.receive(60).payload == 1


def test_doctor_understands_what_servers_refuse() -> None:
    text = """max_payload: 1024
        authorization { users: [{ user: me, password: secret, permissions: {
            subscribe: "elsewhere.>", publish: "elsewhere.>" } }] }"""
    with nats_servers.one(text) as server:
        done = busway("doctor", server.url, bus=new_bus())
        granted = busway("doctor", server.url.replace("//", "//me:secret@"), bus=new_bus())
    assert done.status == granted.status == 1
    assert "Authorization Violation" in done.text
    assert "give its user and password" in done.text
    assert "1024 bytes at most" in granted.text
    assert granted.text.count('let this user publish and subscribe to "busway.>"') == 2
    assert "secret" not in granted.text


def test_doctor_where_nobody_is() -> None:
    port = nats_servers.free_ports(1)[0]
    done = busway("doctor", f"nats://127.0.0.1:{port}", "nats://", bus=new_bus())
    assert done.status == 1
    assert "start a server (nats-server)" in done.text
    assert "give a URL such as nats://host:4222" in done.text


def test_who_is_not_there_is_named_without_the_password() -> None:
    port = nats_servers.free_ports(1)[0]
    url = f"nats://joe:xyzzy@127.0.0.1:{port}"
    for words in (("connect", url, "--wait", "0.1"), ("bridge", f"{url}/x"), ("doctor", url)):
        done = busway(*words, bus=new_bus())
        assert done.status != 0
        assert "127.0.0.1" in done.text + done.stderr
        assert "xyzzy" not in done.text + done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nats: maximum connections exceeded", "max_connections"),
        ("certificate verify failed", "cafile="),
        ("nats: secure connection required", "tls://"),
        ("the server offers no TLS, so it was not told who this is", "configure TLS"),
    ],
)
def test_each_refusal_has_its_advice(text: str, words: str) -> None:
    assert words in advice_for(text)
