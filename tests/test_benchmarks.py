"""Benchmarks at their shortest: every row is measured."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import addressing, backbone, growth, nano, shared, shares
from benchmarks.instructions import installed
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT


def test_open_links_beside_protected_ones_are_measured_in_every_way() -> None:
    command = [sys.executable, "-m", "benchmarks.protected", "--seconds", "0.01", "--turns", "1"]
    printed = output_of(command, cwd=ROOT, timeout_s=120)
    rows = dict(re.findall(r"^([a-z].*?)  +(open .*)$", printed, re.MULTILINE))
    sizes = ("32 B", "1,024 B", "16,384 B")
    ways = [f"{way}, {size}" for way in ("memory", "one way", "round trip") for size in sizes]
    assert sorted(rows) == sorted([*ways, "memory, handshake", "until a link is open"])
    for title, row in rows.items():
        links = ["open", "protected"] if title.startswith("memory") else ["open", "tcp", "ws", "wss"]
        assert re.findall(r"([a-z]+) +[\d,.]+(?:/s| us) +\d+\.\d\d", row) == links


def test_servers_of_named_clients_are_measured_by_each_road() -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.clients",
        "--clients",
        "4",
        "--rounds",
        "1",
        "--messages",
        "2",
    ]
    printed = output_of([*command, "--roads", "listen,wsproto"], cwd=ROOT, timeout_s=120)
    assert re.findall(r"^([a-z-]+): 4 clients, joined in", printed, re.MULTILINE) == ["listen", "wsproto"]
    rows = re.findall(r"^  (.*?)  +[\d,]+  \d+\.\d\d times listen's$", printed, re.MULTILINE)
    assert rows == ["messages/s", "copies/s", "round trip, us"] * 2


def test_the_growth_of_a_machine_is_measured_and_nobody_misses_a_goodbye() -> None:
    """All twelve leave at the same instant: every link ends by a goodbye at both of its ends."""
    command = [sys.executable, "-m", "benchmarks.growth", "--programs", "12", "--joins", "1"]
    printed = output_of([*command, "--messages", "300"], cwd=ROOT, timeout_s=120)
    assert re.findall(r"^(\d+) programs, (\d+) links$", printed, re.MULTILINE) == [("12", "66")]
    assert re.findall(r"one, us [\d.]+;  all in turn, us [\d.]+;  ratio [\d.]+$", printed, re.MULTILINE)
    assert re.findall(r"  leave all .* ends (\{.*\})$", printed, re.MULTILINE) == ["{'GOODBYE': 132}"]


def test_sends_to_all_of_a_label_are_measured_beside_single_ones() -> None:
    command = [sys.executable, "-m", "benchmarks.addressing", "--programs", "6", "--rounds", "3"]
    printed = output_of(command, cwd=ROOT, timeout_s=120)
    rows = re.findall(r"^\| (.*?) \| [\d.]+ ms \| [\d.]+ ms \| (\d+) \| (\d*) \|$", printed, re.MULTILINE)
    assert [way for way, _, _ in rows] == list(addressing.WAYS)
    assert all(int(size) >= 3 * len(addressing.PAYLOAD) for _, size, _ in rows)  # half of them are three


def test_system_calls_are_never_fewer_than_none() -> None:
    found = addressing.beyond(9.0, {"to all": [8.0, 12.0, 11.0], "single sends": [8.0, 7.0, 30.0]})
    assert found == {"to all": 2.0, "single sends": 0.0}


@pytest.mark.parametrize("words", [(), ("--threads",)])
def test_a_call_of_a_service_is_measured_beside_a_request(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "benchmarks.services", *words, "--rounds", "2", "--calls", "10"]
    printed = output_of(command, cwd=ROOT, timeout_s=120)
    assert re.findall(r"^(request|call)(?:\t[\d.]+){3}$", printed, re.MULTILINE) == ["request", "call"]
    assert re.search(r"^call over request\t[\d.]+\t\([\d.]+ to [\d.]+\)$", printed, re.MULTILINE)


def test_nano_applications_are_measured_beside_queues_and_pipes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.nano", "--rounds", "1", "--seconds", "0.02"]
    printed = output_of([*command, "--json", tmp_path / "nano.json"], cwd=ROOT, timeout_s=120)
    rows = re.findall(r"^\| ([a-z ]+) \| (.*?) \| [\d,]+/s \| (.*?) \| [\d,]+/s \|", printed, re.MULTILINE)
    assert [(group, system) for group, system, _ in rows] == [
        (group, system) for group, systems in nano.GROUPS.items() for system in systems
    ]
    assert all(("times as fast" in ratio) == (system != "nano app") for _, system, ratio in rows)
    lines = json.loads((tmp_path / "nano.json").read_text())["lines"]
    assert len(lines) == 2 * len(rows)


def test_large_messages_within_one_machine_are_measured_beside_others_ways(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.shared", "--rounds", "1", "--share", "0.01"]
    command += ["--core", str(ROOT / "src")]  # to be compiled takes minutes
    command += [
        "--systems",
        "/".join(shared.SYSTEMS),
        "--sizes",
        "65536",
        "--subscribers",
        "2",
        "--json",
        str(tmp_path / "shared.json"),
    ]
    printed = output_of(command, cwd=ROOT, timeout_s=120)
    rows = re.findall(
        r"^\| 2 \| (.*?) \| (\d+\.\d\d) \| [\d,]+ \| [\d,]+ \| ([\d.]*) \|$", printed, re.MULTILINE
    )
    both = {
        system: ["compiled", "pure"] if system.startswith("busway") else [""] for system in shared.SYSTEMS
    }
    wanted = [(system, core) for system, cores in both.items() for core in cores]
    assert [system for system, _, _ in rows] == [
        f"{system}, pure" if core == "pure" else system for system, core in wanted
    ]
    assert all(bool(ratio) == (system != shared.BASE) for system, _, ratio in rows)
    lines = json.loads((tmp_path / "shared.json").read_text())["lines"]
    assert [(line["system"], line["core"]) for line in lines] == wanted


def test_a_round_begins_when_all_take_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """For nine of 8 MiB are more than fit into the queue of one who is late: the first were lost."""
    receiving, job_from = shared.receiving, shared.job_from
    late = []  # in a process that receives

    async def received(*given: Any) -> None:
        late.append(True)
        await receiving(*given)

    async def begun(parent: Any) -> Any:
        job = await job_from(parent)
        await asyncio.sleep(0.5 * len(late))
        return job

    monkeypatch.setattr(shared, "receiving", received)
    monkeypatch.setattr(shared, "job_from", begun)
    assert list(shared.ran("busway, array", 1, [1 << 23], 0.2)) == [1 << 23]


@pytest.mark.parametrize(
    ("main", "wrong", "reason"),
    [
        (shared.main, ["--systems", "pyzmq/pigeons"], r"no system \['pigeons'\]"),
        (shared.main, ["--share", "0"], "--share more than 0"),
        (shared.main, ["--sizes", "100"], "a message has 4096 bytes or more"),
        (growth.main, ["--programs", "many"], "'many' are no numbers with commas between, such as 20,64"),
        (growth.main, ["--programs", "1,12"], "each is 2 to 255"),
        (growth.main, ["--programs", "256"], "each is 2 to 255"),
        (growth.main, ["--joins", "0"], "--joins is 1 or more"),
        (growth.main, ["--messages", "-1"], "--messages 0 or more"),
        (growth.main, ["--json", "nowhere/it.json"], "there is no folder .*nowhere"),
        (addressing.main, ["--programs", "1"], "--programs must be 2 to 250, not 1"),
        (addressing.main, ["--rounds", "0"], "--rounds must be at least 1, not 0"),
        (nano.main, ["--rounds", "0"], "--rounds is 1 or more"),
        (nano.main, ["--seconds", "61"], "at most 60"),
        (shares.main, ["nonsense"], "'nonsense' is no case; expected some of way, bulk"),
        (shares.main, ["--count", "0"], "--count 10 or more"),
        (shares.main, ["--top", "0"], "--top is 1 or more"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, list) else "",
)
def test_options_that_will_not_do_are_refused(
    main: Callable[[], None],
    wrong: list[str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["it", *wrong])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert re.search(reason, capsys.readouterr().err)


@pytest.mark.parametrize("words", [["growth", "--programs", "4"], ["shares", "--count", "1000000"]])
def test_ctrl_c_ends_them_without_a_traceback(words: list[str]) -> None:
    """And what they have started: nobody else holds their output then."""
    command = [sys.executable, "-u", "-m", f"benchmarks.{words[0]}", *words[1:]]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        deadline = threading.Timer(30, run.kill)
        deadline.start()
        if words[0] == "growth":
            assert run.stdout is not None
            run.stdout.readline()  # the first step has begun
        else:
            while not Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text():
                time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        printed, _ = run.communicate()
        deadline.cancel()
    assert run.returncode == 130
    assert "Traceback" not in printed


@pytest.mark.parametrize("case", ["way", "bulk", "feed", "trip"])
def test_where_the_time_of_a_message_goes_is_found_for_both_programs(case: str) -> None:
    """By bytecode; the case of one call a message by machine instructions, too, which look into no Python."""
    command = [sys.executable, "-m", "benchmarks.shares", case, "--count", "1000", "--top", "200"]
    printed = output_of(command, cwd=ROOT, timeout_s=120)
    assert re.findall(r"^(.*): [\d.]+ us .*, [\d.]+ us in the kernel;$", printed, re.MULTILINE) == [
        f"{case}, far",
        f"{case}, near",
    ]
    for part, function in zip(printed.split(", near:"), ("write", "read"), strict=True):
        shares = re.findall(r"^ +([\d.]+)%  (\S+)$", part, re.MULTILINE)
        assert sum(float(share) for share, _ in shares) > 98
        assert any(function in name for _, name in shares)


@pytest.mark.skipif(not installed(), reason="valgrind is not there to count")
def test_where_the_time_goes_is_found_by_machine_instructions() -> None:
    command = [sys.executable, "-m", "benchmarks.shares", "way", "--count", "1000", "--core", "src"]
    printed = output_of(command, cwd=ROOT, timeout_s=120)
    assert len(re.findall(r"^[\d,]{5,7} instructions a message, of which$", printed, re.MULTILINE)) == 2
    for part in printed.split("way, near"):
        groups = re.findall(r"^ +([\d.]+)%  ([a-zC ,]+)$", part.partition("and by function")[0], re.MULTILINE)
        assert abs(sum(float(share) for share, _ in groups) - 100) < 1
        assert max(groups, key=lambda group: float(group[0]))[1] == "interpreter and calls"


# Rows of docs/attacks.md whose figures are the same on every machine; the number of a row, and how it is now.
ATTACKS = {
    1: ["0 of 2"],
    3: ["10, 0 of 10"],
    4: ["0 of 4", "0 of 4", "0 of 10", "0 of 10"],
    9: ["yes"],
    11: ["10, 0 of 10", "10 of 10"],
    13: ["0 bytes, none of its label, bus and id"],
    16: ["10, 0 of 10"],
    17: ["no"],
    21: ["10 of 10"],
}


def test_what_hostile_peers_reach_is_measured() -> None:
    rows = ",".join(str(number) for number in [*ATTACKS, 6, 20])
    command = [sys.executable, "-m", "benchmarks.hostile", "--seconds", "0.2", "--rows", rows]
    printed = output_of(command, cwd=ROOT, timeout_s=120)
    found: dict[int, list[str]] = {}
    for number, figure in re.findall(r"^ ?(\d+)  .{84} (.*)$", printed, re.MULTILINE):
        found.setdefault(int(number), []).append(figure)
    assert [re.sub(r"[\d.,]+", "N", figure) for figure in found.pop(6) + found.pop(20)] == [
        "N ms",
        "N KB",
        "N ms",
    ]
    assert found == ATTACKS


def test_how_a_backbone_grows_is_simulated(capsys: pytest.CaptureFixture[str]) -> None:
    backbone.grow((2, 10))
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| 2 |", "| 10 |"))]
    assert [row.split("|")[2].strip() for row in rows] == ["601, 1,202", "601, 6,010"]
    assert "136 bytes" in backbone.question_sizes()
