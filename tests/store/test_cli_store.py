"""`busway store`, `send --store`, `jobs` and `history`, as processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from busway import Bus, Durable
from tests.front.cli_rig import Running, busway, busway_started, new_bus


@pytest.fixture
def kept(place: Path, tmp_path: Path) -> Iterator[tuple[str, Running]]:
    """A bus with a store."""
    bus = new_bus()
    with busway_started(
        "store", "--at", str(tmp_path / "kept"), "--keep", "lab/**", "--json", bus=bus
    ) as store:
        assert json.loads(store.line())["what"] == "keeping"
        yield bus, store


def test_a_store_at_a_shell(kept: tuple[str, Running], tmp_path: Path) -> None:
    bus, _ = kept
    assert busway("send", "lab/pump", '{"rpm": 300}', "--store", bus=bus).output == b""
    assert busway("send", "lab/pump", "two", "--store", "--json", bus=bus).document["verdict"] == "kept"
    assert busway("publish", "lab/level", "7.5", "--store", bus=bus).status == 0
    (queue,) = busway("jobs", "--json", bus=bus).document
    assert (queue["queue"], queue["sort"], queue["waiting"]) == ("lab/pump", "mail", 2)
    table = busway("jobs", bus=bus).lines
    assert table[0].split() == ["QUEUE", "SORT", "OF", "WAITING", "DEAD", "CONSUMERS", "OLDEST"]
    (first, second) = busway("jobs", "lab/pump", "--json", bus=bus).document
    assert busway("jobs", "lab/pump", "--drop", "-p", str(first["position"]), bus=bus).status == 0
    (left,) = busway("jobs", "lab/pump", "--json", bus=bus).document
    assert left["position"] == second["position"]
    (row,) = busway("history", "lab/**", "--since", "1h", "--json", bus=bus).documents
    assert (row["endpoint"], row["format"], row["payload"]) == ("lab/level", "cbor", 7.5)
    assert first["source"].count("-") == 4
    assert row["time"] - 60 < first["stored"] < row["time"]  # both in seconds
    assert (first["endpoint"], first["due"]) == ("lab/pump", None)
    assert "lab/level" in busway("history", "lab/level", "-c", "5", bus=bus).text
    got = busway("listen", "lab/pump", "--kind", "unicast", "-c", "1", "--timeout", "60", "--json", bus=bus)
    assert got.document["payload"] == "two"
    assert (
        "keeps lab/**: 0 messages for who is away, 1 of what was published" in busway("doctor", bus=bus).text
    )
    refused = busway("store", "--at", str(tmp_path / "kept"), bus=bus)
    assert refused.status == 1
    assert "another store has" in refused.stderr
    refused = busway("store", "--at", str(tmp_path / "other"), bus=bus)
    assert "a name has one store" in refused.stderr


def test_what_is_wrong_is_told(kept: tuple[str, Running]) -> None:
    bus, _ = kept
    refused = busway("send", "hall/pump", "1", "--store", "--json", bus=bus)
    assert (refused.status, refused.document["error"]["name"]) == (1, "NOT_KEPT")
    assert busway("jobs", "nothing", "--json", bus=bus).document["error"]["name"] == "NO_SUCH"
    assert busway("history", "lab/x", "--since", "soon", bus=bus).status == 2
    assert "--ttl is for --store" in busway("publish", "lab/x", "1", "--ttl", "5", bus=bus).stderr
    assert busway("jobs", "--retry", bus=bus).status == 2
    assert busway("jobs", "a", "--retry", "--drop", bus=bus).status == 2
    assert busway("send", "lab/pump", "1", "--store", "--confirm", bus=bus).status == 2
    elsewhere = busway("history", "hall/x", "--json", bus=bus)
    assert (elsewhere.status, elsewhere.document["error"]["name"]) == (1, "NOT_KEPT")
    alone = busway("history", "lab/x", bus=new_bus())
    assert (alone.status, "start `busway store`" in alone.stderr) == (1, True)


def test_a_request_by_way_of_a_store(kept: tuple[str, Running]) -> None:
    bus, _ = kept
    with (
        busway_started("request", "lab/upper", "hello", "--store", "--json", bus=bus) as asking,
        busway_started("serve", "lab/upper", "--", "tr", "a-z", "A-Z", bus=bus),
    ):
        assert "HELLO" in bytes.fromhex(json.loads(asking.line())["payload"]).decode()
    assert busway("request", "lab/upper", "x", "--store", "--stream", bus=bus).status == 2


def test_that_there_is_no_store_is_soon_told(place: Path) -> None:
    """And not when the time for the message to be kept is over."""
    refused = busway("send", "lab/pump", "1", "--store", "--json", bus=new_bus())
    assert (refused.status, refused.document["error"]["name"]) == (1, "NO_ENDPOINT")
    assert "no store within reach" in refused.stderr


def test_places_that_are_none(place: Path, tmp_path: Path) -> None:
    bus = new_bus()
    assert busway("store", "--nats", "tcp://127.0.0.1", bus=bus).status == 2
    assert busway("store", "--nats", "nats://127.0.0.1/a.b", bus=bus).status == 2
    assert busway("store", "--nats", "nats://127.0.0.1?replicas=many", bus=bus).status == 2
    (tmp_path / "file").write_text("")
    refused = busway("store", "--at", str(tmp_path / "file"), bus=bus)
    assert (refused.status, "cannot keep anything in" in refused.stderr) == (1, True)


def test_what_is_done_with_queues_of_several_stores(kept: tuple[str, Running], tmp_path: Path) -> None:
    bus, _ = kept
    with busway_started(
        "store", "--at", str(tmp_path / "two"), "--keep", "hall/**", "--json", bus=bus
    ) as two:
        assert json.loads(two.line())["keep"] == ["hall/**"]
        busway("send", "lab/pump", "1", "--store", bus=bus)
        busway("send", "hall/pump", "1", "--store", bus=bus)
        queues = busway("jobs", "--json", bus=bus).document
        assert {queue["queue"] for queue in queues} == {"lab/pump", "hall/pump"}
        for name in ("lab/pump", "hall/pump"):
            assert len(busway("jobs", name, "--json", bus=bus).document) == 1
        refused = busway("jobs", "hall/pump", "--forget", "--json", bus=bus)
        assert (refused.status, refused.document["error"]["name"]) == (1, "MALFORMED")
        assert "is mail" in refused.stderr
        with Bus(bus) as program:
            program.publish("hall/level", 1, store=True)
            program.subscribe("hall/level", durable=Durable("panel", start="first")).receive(60)
        forgotten = busway("jobs", "panel", "--forget", bus=bus)
        assert (forgotten.status, "panel is removed" in forgotten.stderr) == (0, True)
        assert len(busway("jobs", "--json", bus=bus).document) == 2
