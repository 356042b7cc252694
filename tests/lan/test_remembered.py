"""The file of what worked."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from busway.lan.remembered import (
    FORGOTTEN_S,
    PLACES_MAX,
    PORTS_MAX,
    SIZE_MAX,
    DamagedFile,
    Memory,
    Place,
    load,
    merged,
    path_of,
    state_directory,
    worked,
)

NOW = 1_800_000_000.0


def place(number: int, at: float = NOW) -> Place:
    return Place(number.to_bytes(16, "big"), (f"192.0.2.{number % 250 + 1}",), 7000 + number, at)


def test_the_file_is_one_for_each_bus_in_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert path_of("meadow").parent == state_directory() == tmp_path / "busway"
    assert path_of("meadow") != path_of("orchard")
    assert "meadow" not in path_of("meadow").name
    monkeypatch.setenv("HOME", str(tmp_path))
    for none in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", none)
        assert state_directory() == tmp_path / ".local" / "state" / "busway"


def test_what_worked_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lan.json"
    assert load(path, NOW) == Memory()
    first = Place(b"a" * 16, ("192.0.2.1", "fe80::1%eth0"), 4711, NOW)
    worked(path, [first], [5000], NOW)
    worked(path, [place(2, NOW + 1)], [5001], NOW + 1)
    assert load(path, NOW + 2) == Memory((place(2, NOW + 1), first), (5001, 5000))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700
    assert not list(path.parent.glob(".lan-*"))


def test_what_is_old_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "lan.json"
    worked(path, [place(1)], [], NOW)
    assert load(path, NOW + FORGOTTEN_S - 1).places == (place(1),)
    assert load(path, NOW + FORGOTTEN_S).places == ()
    assert load(path, NOW - 100_000).places == ()  # from a clock that was wrong by days


def test_a_program_at_the_place_of_another_takes_it() -> None:
    old, new = place(1, NOW), place(1, NOW + 1)._replace(node_id=b"n" * 16)
    assert merged(Memory((old,)), [new], []).places == (new,)
    moved = place(1, NOW + 1)._replace(addresses=("192.0.2.99",))
    assert merged(Memory((old,)), [moved], []).places == (moved,)


def test_places_and_ports_are_bounded_and_the_latest_kept(tmp_path: Path) -> None:
    path = tmp_path / "lan.json"
    worked(
        path,
        [place(number, NOW + number) for number in range(PLACES_MAX)],
        list(range(1, PORTS_MAX + 1)),
        NOW,
    )
    assert len(load(path, NOW).places) == PLACES_MAX
    worked(path, [place(100, NOW + 100)], [9999], NOW)
    found = load(path, NOW)
    assert len(found.places) == PLACES_MAX
    assert found.places[0] == place(100, NOW + 100)
    assert place(0, NOW) not in found.places
    assert found.ports == (9999, *range(1, PORTS_MAX))
    assert path.stat().st_size < SIZE_MAX


GOOD = {
    "version": 1,
    "ports": [1],
    "places": [{"node": "00" * 16, "addresses": ["192.0.2.1"], "port": 1, "worked": NOW}],
}


def changed(**words: object) -> str:
    return json.dumps({**GOOD, "places": [{**GOOD["places"][0], **words}]})  # type: ignore[index]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 20000,
        json.dumps({**GOOD, "version": 2}),
        json.dumps({**GOOD, "places": {}}),
        json.dumps({**GOOD, "ports": [0]}),
        json.dumps({**GOOD, "ports": [True]}),
        json.dumps({**GOOD, "ports": [1] * (PORTS_MAX + 1)}),
        json.dumps({**GOOD, "places": [1]}),
        changed(node="00"),
        changed(node="zz" * 16),
        changed(node=1),
        changed(addresses=[]),
        changed(addresses="192.0.2.1"),
        changed(addresses=["127.0.0.1"]),
        changed(addresses=["pump.example"]),
        changed(addresses=[1]),
        changed(addresses=["192.0.2.1"] * 9),
        changed(port=0),
        changed(port="1"),
        changed(worked="now"),
        changed(worked=True),
        " " * (SIZE_MAX + 1),
    ],
)
def test_a_damaged_file_is_told_once_and_put_aside(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lan.json"
    path.write_text(text)
    with pytest.raises(DamagedFile, match=r"lan\.damaged"):
        load(path, NOW)
    assert load(path, NOW) == Memory()
    assert (tmp_path / "lan.damaged").read_text() == text


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "lan.json"
    for address in ("fe80::1", "127.0.0.1", "pump.example"):
        worked(path, [place(1)._replace(addresses=(address,))], [], NOW)
    worked(path, [place(1)._replace(addresses=())], [], NOW)
    assert load(path, NOW) == Memory()


def test_a_file_as_it_should_be_is_not_damaged(tmp_path: Path) -> None:
    path = tmp_path / "lan.json"
    path.write_text(json.dumps(GOOD))
    assert len(load(path, NOW).places) == 1


def test_nothing_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lan.json"
    worked(path, [place(1)], [], NOW)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        worked(path, [place(2)], [], NOW)
    assert load(path, NOW).places == (place(1),)
    assert not list(tmp_path.glob(".lan-*"))


def test_programs_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lan.json"
    threads = [
        threading.Thread(target=worked, args=(path, [place(number)], [number + 1], NOW))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = load(path, NOW)
    assert {each.port for each in found.places} == {7000 + number for number in range(12)}
    assert len(found.ports) == 12
