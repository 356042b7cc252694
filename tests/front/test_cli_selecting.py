"""Labels at a shell, on running programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.front.cli_rig import Running, busway, new_bus, peer, python


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
    with labelled(name, "one", "renderer"), labelled(name, "two", "renderer", "codec"):
        yield name


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
