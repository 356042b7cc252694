"""Labels at a shell, on running programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from busway import endpoint_id
from tests.front.cli_rig import Running, busway, new_bus, peer, python

PROGRAMS: dict[str, list[Running]] = {}


@contextmanager
def labelled(bus: str, label: str, *labels: str) -> Iterator[Running]:
    """The program of labelled_program.py, ready."""
    with python("-m", "tests.front.labelled_program", bus, label, *labels) as running:
        assert running.line() == "ready"
        yield running


@pytest.fixture(scope="module")
def bus() -> Iterator[str]:
    """A bus with two programs with labels, "one" and "two"."""
    name = new_bus()
    with labelled(name, "one", "renderer") as one, labelled(name, "two", "renderer", "codec") as two:
        PROGRAMS[name] = [one, two]
        yield name


@pytest.fixture
def programs(bus: str) -> list[Running]:
    return PROGRAMS[bus]


def test_endpoints_lists_labels_where_there_are_any(bus: str) -> None:
    lines = busway("endpoints", bus=bus).ok().lines
    assert lines[0].split()[-1] == "LABELS"
    assert [line.split()[0] for line in lines[1:]] == ["box/one", "box/two", "work/one", "work/two"]
    assert lines[2].endswith("codec, fleet, renderer")
    rows = busway("endpoints", "--json", bus=bus).ok().document
    assert [row["labels"] for row in rows] == 2 * [["fleet", "renderer"], ["codec", "fleet", "renderer"]]


def test_endpoints_without_labels_are_listed_as_ever() -> None:
    name = new_bus()
    with peer(name):
        assert "LABELS" not in busway("endpoints", bus=name).ok().lines[0]
        assert not any("labels" in row for row in busway("endpoints", "--json", bus=name).ok().document)


def test_endpoints_where(bus: str) -> None:
    rows = busway("endpoints", "--json", "--where", "codec", bus=bus).ok().document
    assert [row["name"] for row in rows] == ["box/two", "work/two"]
    rows = busway("endpoints", "--json", "--where", "name:box/* and not codec", bus=bus).ok().document
    assert [row["name"] for row in rows] == ["box/one"]
    assert "no endpoints are known that 'nix' means" in busway("endpoints", "--where", "nix", bus=bus).stderr


def test_send_where(bus: str, programs: list[Running]) -> None:
    busway("send", "--where", "name:box/* and codec", '"to two"', bus=bus).ok()
    assert programs[1].line() == "to two"
    told = busway("send", "--where", "name:box/*", '"to all"', "--to", "all", "--confirm", "--json", bus=bus)
    copies = {copy["endpoint"]: copy for copy in told.ok().document["copies"]}
    assert set(copies) == {"box/one", "box/two"}
    assert all(copy["ok"] and copy["verdict"] == "taken" for copy in copies.values())
    assert [program.line() for program in programs] == ["to all", "to all"]
    busway("send", "--where", "name:box/*", "--to", "all", bus=bus).ok()
    assert [program.line() for program in programs] == ["None", "None"]
    one = busway("send", "--where", "name:box/one", "1", "--json", bus=bus).ok().document
    assert one == {"where": "name:box/one", "verdict": "accepted"}
    assert programs[0].line() == "1"


def test_send_to_all_tells_of_those_that_it_did_not_reach(bus: str, programs: list[Running]) -> None:
    told = busway("send", "--where", "fleet", "1", "--to", "all", "--confirm", "--timeout", "5", bus=bus)
    assert told.status == 0 or "work/" in told.stderr
    assert [program.line() for program in programs] == ["1", "1"]


def test_request_where(bus: str) -> None:
    assert busway("request", "--where", "name:work/one", bus=bus).ok().output == b"one\n"
    told = busway("request", "--where", "name:work/*", "--all", bus=bus).ok().lines
    assert sorted(line.split()[-1] for line in told) == ['"one"', '"two"']
    told = busway("request", "--where", "name:work/*", "--all", "--json", bus=bus).ok().lines
    documents = [json.loads(line) for line in told]
    assert sorted((each["endpoint"], each["payload"]) for each in documents) == [
        ("work/one", "one"),
        ("work/two", "two"),
    ]
    assert all(each["ok"] and each["node_label"] for each in documents)
    for each in documents:
        assert each["endpoint_id"].replace("-", "") == endpoint_id(each["endpoint"]).hex()
    document = busway("request", "--where", "name:work/two", "--json", bus=bus).ok().document
    assert (document["where"], document["payload"]) == ("name:work/two", "two")


def test_failures_of_all_are_told_one_by_one(bus: str) -> None:
    told = busway("request", "--where", "name:box/one or name:work/one", "--all", bus=bus)
    assert told.status == 1
    assert "one" in told.stderr
    told = busway("request", "--where", "name:box/one", "--all", "--json", bus=bus)
    assert '"ok":false' in told.lines[0]


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("send", "--where", "nix", "1"), 1, "nobody is meant by 'nix'"),
        (("send", "--where", "renderer and", "1"), 2, "name: with a pattern, was expected (see"),
        (("send", "--where", "renderer", "lab/log", "1"), 2, "stands in place of NAME"),
        (("send", "--where", "renderer", "1", "-n", "one"), 2, "does nothing with --where"),
        (("send", "lab/log", "1", "--to", "all"), 2, "does nothing with NAME: give --where in its place"),
        (("send",), 2, "or give --where"),
        (("request", "lab/log", "--all"), 2, "does nothing with NAME: give --where in its place"),
        (("request", "--where", "renderer", "--all", "--stream"), 2, "does nothing with --all"),
        (("request", "--where", "nix", "--all"), 1, "nobody is meant by 'nix'"),
    ],
)
def test_what_goes_wrong_is_told(bus: str, words: tuple[str, ...], status: int, text: str) -> None:
    assert text in busway(*words, bus=bus).failed(status)


@pytest.mark.parametrize("words", [("send", "--where", "renderer", "1"), ("request", "--where", "renderer")])
def test_without_any_program_nobody_is_meant(words: tuple[str, ...]) -> None:
    assert "nobody is meant by 'renderer'" in busway(*words, bus=new_bus()).failed(1)
