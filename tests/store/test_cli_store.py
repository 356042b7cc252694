"""`busway store`, `send --store`, `jobs` and `history`, as processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    assert (row["name"], row["payload"]) == ("lab/level", 7.5)
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
    assert busway("jobs", "--retry", bus=bus).status == 2
    assert busway("jobs", "a", "--retry", "--drop", bus=bus).status == 2
    assert busway("send", "lab/pump", "1", "--store", "--confirm", bus=bus).status == 2
    alone = busway("history", "lab/x", bus=new_bus())
    assert (alone.status, "no store on bus" in alone.stderr) == (1, True)
