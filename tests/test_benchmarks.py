"""Benchmarks at their shortest: every row is measured."""

import re
import sys

import pytest

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


def test_the_growth_of_a_machine_is_measured_and_nobody_misses_a_goodbye() -> None:
    """All twelve leave at the same instant: every link ends by a goodbye at both of its ends."""
    command = [sys.executable, "-m", "benchmarks.growth", "--programs", "12", "--joins", "1"]
    printed = output_of([*command, "--messages", "300"], cwd=ROOT, timeout_s=120)
    assert re.findall(r"^(\d+) programs, (\d+) links$", printed, re.MULTILINE) == [("12", "66")]
    assert re.findall(r"one, us [\d.]+;  all in turn, us [\d.]+;  ratio [\d.]+$", printed, re.MULTILINE)
    assert re.findall(r"  leave all .* ends (\{.*\})$", printed, re.MULTILINE) == ["{'GOODBYE': 132}"]


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
