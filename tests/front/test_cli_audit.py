"""`busway audit`: what running programs have noted, and note from now on."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from busway.adapters.audit import KEPT_MAX
from busway.cli.auditing import Filter, _well_formed, _when
from tests.front.cli_rig import busway, busway_started, new_bus, peer


@pytest.fixture(scope="module")
def bus() -> Iterator[str]:
    """A bus with two programs: "answers" and a `busway listen`."""
    name = new_bus()
    with peer(name), busway_started("listen", "lab/numbers", "--json", bus=name):
        yield name


def joins_of(rows: list[dict[str, Any]], label: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["what"] == "join" and row["peer_label"].startswith(label)]


def test_what_all_programs_keep(bus: str) -> None:
    rows = busway("audit", "--json", bus=bus).ok().document
    times = [row["time"] for row in rows]
    assert times == sorted(times)
    (joined,) = joins_of([row for row in rows if row["label"] == "answers"], "busway listen")
    assert (joined["protection"], joined["role"], joined["dialled"]) == ("local", "router", False)
    assert joins_of(rows, "answers")
    of_one = busway("audit", "-n", "answers", "--json", bus=bus).ok().document
    assert {row["label"] for row in of_one} == {"answers"}


def test_lines_for_people(bus: str) -> None:
    lines = busway("audit", "-n", "answers", bus=bus).ok().lines
    assert any(
        re.fullmatch(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  answers [0-9a-f]{8}  join link=\d+ address=ipc:\S+ dialled=no"
            r' peer=[0-9a-f-]{36} peer_label="busway listen \(\d+\)" realm=userspace protection=local'
            r" role=router",
            line,
        )
        for line in lines
    ), lines


def test_what_happens_from_now_on(bus: str) -> None:
    with busway_started("audit", "--follow", "-n", "answers", "-c", "1", "--json", bus=bus) as following:
        assert "following all programs" in following.complaint()
        while following.process.poll() is None:  # until its subscription is known, and a command has come
            busway("nodes", bus=bus).ok()
        row = json.loads(following.line())
        assert (row["label"], row["what"] in ("join", "leave")) == ("answers", True)
        assert following.status() == 0


def test_only_what_is_asked_for(bus: str) -> None:
    rows = busway("audit", "--what", "join", "--who", "busway listen", "--json", bus=bus).ok().document
    assert rows
    assert all(row["what"] == "join" and row["peer_label"].startswith("busway listen") for row in rows)
    id = rows[0]["peer"].replace("-", "")
    assert busway("audit", "--who", id[:6], "--since", "3600", "--json", bus=bus).ok().document
    for words in (["--what", "denial", "--what", "quota"], ["--who", "nobody"]):
        ended = busway("audit", *words, bus=bus)
        assert (ended.status, ended.output, "has anything to tell of that" in ended.stderr) == (0, b"", True)
    early = Filter((), "", 2.0)
    assert [early.takes({"time": at, "what": "join", "fields": {}}) for at in (1.9, 2.0)] == [False, True]
    assert "--since is for what was kept" in busway("audit", "--follow", "--since", "1", bus=bus).failed(2)


def test_commands_fill_none_of_it(bus: str) -> None:
    for _ in range(2):
        busway("nodes", bus=bus).ok()
    rows = busway("audit", "-n", "answers", "--json", bus=bus).ok().document
    came = [row for row in rows if row["what"] == "join" and row["role"] == "leaf"]
    assert len(came) <= 1  # the one that asks
    assert next(row["visits"] for row in rows if row["what"] == "leave" and "visits" in row) >= 1


def test_count_is_for_following(bus: str) -> None:
    assert "--follow" in busway("audit", "-c", "1", bus=bus).failed(2)
    assert "no node matches" in busway("audit", "-n", "nobody", bus=bus).failed(1)


def test_nobody_has_anything_to_tell() -> None:
    ended = busway("audit", bus=new_bus())
    assert (ended.status, ended.output) == (0, b"")
    assert "has anything to tell" in ended.stderr


def test_times_that_are_none_are_shown_as_they_come() -> None:
    assert [_when(seconds) for seconds in (float("inf"), float("nan"), 1e300)] == ["inf", "nan", "1e+300"]


@pytest.mark.parametrize(
    "record",
    [
        None,
        {},
        {"time": "now", "what": "join", "fields": {}},
        {"time": 1.5, "what": 3, "fields": {}},
        {"time": 1.5, "what": "join", "fields": []},
        {"time": 1.5, "what": "join", "fields": {"a": [1]}},
        {"time": 1.5, "what": "join", "fields": {b"a": 1}},
    ],
)
def test_what_is_no_record_is_not_shown(record: Any) -> None:
    assert not _well_formed(record)
    assert _well_formed({"time": 1.5, "what": "join", "fields": {"a": "b", "c": True}})
    assert KEPT_MAX == 64  # as --help has it
