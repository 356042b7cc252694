"""The harness of `make bench`: every case of every system at its shortest, and workers that lie."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import arguments, main
from benchmarks.bench.bars import LIMITS
from benchmarks.bench.cases import Arm, Case
from benchmarks.bench.core import PURE
from benchmarks.bench.progress import Progress
from benchmarks.bench.proof import Job, Reader, digest_of
from benchmarks.bench.rounds import Bench, Settings
from benchmarks.bench.teams import TEAMS, Bridged, Many, Team, Turns, fan_out
from benchmarks.bench.values import many_programs
from benchmarks.bench.variants import VARIANTS, Variant
from benchmarks.bench.workers import WorkerFailed
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT


def test_cases_are_measured_and_checked_and_written(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    which = ["--cases", "^way-(16|1048576)$|^trip-asyncio$", "--systems", "^(busway-asyncio|pyzmq|socket)"]
    short = ["--pure", "--check", "--rounds", "1", "--seconds", "0.01", "--patience", "0"]
    command = [sys.executable, "-m", "benchmarks", *which, *short, "--json", str(file)]
    printed = output_of(command, cwd=ROOT, timeout_s=120)
    result = json.loads(file.read_text())
    ways = {"busway-asyncio-pure", "pyzmq", "socket"}
    assert {key: set(case["arms"]) for key, case in result["cases"].items()} == {
        "way-16": {*ways, "busway-asyncio-pure@in bulk", "socket@in bulk"},
        "way-1048576": ways,
        "trip-asyncio": {"busway-asyncio-pure", "pyzmq-asyncio", "pyzmq-uvloop", "socket-asyncio"},
    }
    for case in result["cases"].values():
        assert case["title"] in printed
        for arm in case["arms"].values():
            [found] = arm["rounds"]
            assert found["wall"] > 0
            assert found["near"] > 0
            assert found["far"] > 0
    steps = [(int(a), int(b)) for a, b in re.findall(r"^ *\d+ s  (\d+)/(\d+) ", printed, re.MULTILINE)]
    assert steps == [(step, 24) for step in range(1, 25)], "says how far it is"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (["--cases", "nonsense"], r"--cases 'nonsense' is none of way-16, .*, values; with --full"),
        (["--cases", "way-("], "unterminated subpattern"),
        (["--systems", "nonsense"], r"--systems 'nonsense' is none of busway-asyncio-compiled, "),
        (["--core", "src"], "--core src has no compiled busway"),
        (["--core", "src", "--pure"], "not allowed with"),
        (["--json", "src"], "Is a directory"),
        (["--rounds", "0"], "--rounds is 1 or more"),
        (["--patience", "-1"], "--patience 0 or more"),
    ],
    ids=lambda value: value[0] + value[1] if isinstance(value, list) else "",
)
def test_what_is_wrong_is_told_before_anything_is_measured(
    wrong: list[str], reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["benchmarks", *wrong])
    with pytest.raises(SystemExit, match="2"):
        arguments()
    assert re.search(reason, capsys.readouterr().err)


def test_what_there_is_to_choose_from_is_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--list"])
    main()
    said = capsys.readouterr().out
    assert re.search(r"^  way-1024 +one way, 1 KiB$", said, re.MULTILINE)
    assert all(f"  {key} " in said for key in VARIANTS)


LIARS = Variant("liars", "liars", "tests.rigs.liars")


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("count", "not all 50 messages came"),
        ("loss", r"a message is \+2 after the one before"),
        ("order", r"a message is \+2 after the one before"),
    ],
)
def test_a_worker_that_lies_is_found_out(lie: str, reason: str) -> None:
    with Team(LIARS, {"pure": PURE}) as team:
        team.check("way", {"count": 50, "size": 16})
        with pytest.raises(WorkerFailed, match=reason):
            team.check("way", {"count": 50, "size": 16, "lie": lie})


class TwoSend(Many):
    senders = 2


class FewEndpoints(Turns):
    """Five of them."""

    def ask(self, do: str, job: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return super().ask(do, {**job, "others": 5})


@pytest.mark.parametrize(
    ("kind", "key", "do"),
    [
        (TwoSend, "pyzmq", "way"),
        (fan_out(2), "pyzmq", "feed"),
        (fan_out(2), "busway-asyncio-pure", "feed"),
        (Bridged, "busway-asyncio-pure", "way"),
        (FewEndpoints, "busway-asyncio-pure", "turn"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_kind_of_team_proves_what_came(kind: type[Team], key: str, do: str) -> None:
    with kind(VARIANTS[key], {"pure": PURE}) as team:
        team.prepare({"others": 5})
        team.pin("one")
        told = team.check(do, {"count": 40, "size": 64})
        team.pin("")
        assert len(told["near"]) == len(team.near)
        assert (told["cpu"]["other"] > 0) == (kind is Bridged)
        team.digest = lambda seed, count: -1  # type: ignore[method-assign]
        with pytest.raises(WorkerFailed, match="not all"):
            team.check(do, {"count": 40, "size": 64})


def test_a_core_that_is_not_what_it_is_called_is_not_measured() -> None:
    variant = Variant("busway-threads-compiled", "not compiled", "busway_threads", core="compiled")
    with (
        pytest.raises(WorkerFailed, match="pure Python core"),
        Team(variant, {"pure": PURE, "compiled": PURE}),
    ):
        pass


def test_the_digest_is_that_of_all_numbers_in_order() -> None:
    job = Job(20, 24, seed=7)
    reader = Reader(24)
    for payload in job.payloads():
        reader(payload)
    assert reader.digest == digest_of(7, 20)
    assert digest_of(7, 19) != digest_of(7, 20) != digest_of(8, 20)
    with pytest.raises(ValueError, match="23 bytes, expected 24"):
        reader(bytes(23))


def test_an_arm_that_fails_keeps_no_other_of_the_same_workers_from_its_rounds() -> None:
    arms = (Arm("socket", "fails", do="nothing"), "socket", Arm("socket", "fails, too", do="nothing"))
    case = Case("way", "one way", "way", "rate", arms, count=20)
    settings = Settings(rounds=2, seconds=0.01, patience=0)
    with Bench(VARIANTS, TEAMS, {"pure": PURE}, settings, Progress()) as bench:
        found = bench.measure(case)
        bench.retire([])
    assert {key: len(arm["rounds"]) for key, arm in found.items()} == {"socket": 2}
    assert "has no attribute 'nothing'" in bench.failed["socket"]


def test_what_many_programs_cost_is_what_the_limits_ask_for() -> None:
    found = many_programs(PURE, (2,), joins=1, messages=100)
    asked = {limit.key.rpartition("-")[0] for limit in LIMITS if limit.key.rpartition("-")[2].isdecimal()}
    assert asked == {key.rpartition("-")[0] for key in found}
    assert {key.rpartition("-")[2] for key in found} == {"2"}
    assert all(value > 0 for values in found.values() for value in values)
