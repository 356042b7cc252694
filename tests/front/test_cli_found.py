"""`busway found`: what running programs have found by themselves."""

from __future__ import annotations

import json
import uuid

import pytest

import busway
from busway.lan.found import Found
from busway.lan.hub import hub_of
from tests.front.cli_rig import busway as command
from tests.front.cli_rig import busway_started, new_bus

NODE = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
PUMP = Found("mdns", "tcp://192.0.2.1:7000", NODE.bytes, "pump", "joined", "")
FAR = Found("remembered", "tcp://192.0.2.9:7000", b"", "", "unreachable", "nobody\x1b[31m answers")


def test_what_a_program_has_found_and_why_not() -> None:
    bus = new_bus()
    with busway.Bus(bus, label="finder") as finder:
        hub = hub_of(finder)
        finder._host.call(hub.finds.tell, "pump", PUMP)
        finder._host.call(hub.finds.tell, "far", FAR)
        lines = command("found", bus=bus).ok().lines
        assert lines[0].split() == ["PROGRAM", "HOW", "ADDRESS", "NODE", "STATE", "WHY"]
        assert f"mdns        tcp://192.0.2.1:7000  pump {NODE.hex[:8]}  joined" in lines[1]
        assert lines[1].startswith(f"finder {finder.id.hex()[:8]}")
        assert "unreachable  nobody" in lines[2]
        assert "\x1b" not in "".join(lines)
        (first, second) = command("found", "-n", "finder", "--json", bus=bus).ok().document
        assert first == {
            "program": f"finder {finder.id.hex()[:8]}",
            "how": "mdns",
            "address": "tcp://192.0.2.1:7000",
            "label": "pump",
            "state": "joined",
            "reason": "",
            "node": str(NODE),
        }
        assert second["node"] == ""
        assert "no node matches" in command("found", "-n", "nobody", bus=bus).failed(1)


def test_what_changes_is_told_with_watch() -> None:
    bus = new_bus()
    with busway.Bus(bus, label="finder") as finder:
        hub = hub_of(finder)
        finder._host.call(hub.finds.tell, "pump", PUMP)
        with busway_started("found", "--watch", "--json", bus=bus) as watching:
            assert json.loads(watching.line())["state"] == "joined"
            finder._host.call(hub.finds.gone, "pump")
            assert json.loads(watching.line())["state"] == "gone"
            finder._host.call(hub.finds.tell, "far", FAR)
            assert json.loads(watching.line())["state"] == "unreachable"


def test_where_nobody_looks_that_is_said() -> None:
    bus = new_bus()
    with busway.Bus(bus):
        ended = command("found", bus=bus)
        assert (ended.status, ended.output) == (0, b"")
        assert "lan=True" in ended.stderr
        assert command("found", "--json", bus=bus).ok().document == []


def test_a_bridge_to_the_local_network_needs_a_token_or_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BUSWAY_TOKEN", "BUSWAY_TOKEN_FILE", "BUSWAY_TRUST", "BUSWAY_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert "token" in command("bridge", "--lan", bus=new_bus()).failed(2)
    assert "guessed" in command("bridge", "--lan", bus=new_bus(), BUSWAY_TOKEN="x").failed(2)


def test_who_watches_where_nobody_looks_is_told() -> None:
    with busway_started("found", "--watch", bus=new_bus()) as watching:
        assert "waiting for one" in watching.complaint()
