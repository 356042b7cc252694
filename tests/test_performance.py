"""docs/performance.md and the README's table: made from what is recorded in benchmarks/results."""

from __future__ import annotations

import json
import re
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from benchmarks import document
from benchmarks.bench.bars import BARS, LIMITS, hold, judge
from benchmarks.bench.cases import full, short
from benchmarks.bench.tables import BLOCKS, NOTHING, table
from benchmarks.bench.variants import VARIANTS
from tests.rigs.tree import ROOT


def texts_in(png: bytes) -> dict[str, str]:
    """The texts that a PNG holds besides its picture."""
    found, place = {}, 8
    while place < len(png):
        (size,) = struct.unpack_from("!I", png, place)
        kind, body = png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        assert zlib.crc32(kind + body) == struct.unpack_from("!I", png, place + 8 + size)[0]
        if kind == b"tEXt":
            key, _, text = body.partition(b"\0")
            found[key.decode("latin-1")] = text.decode("latin-1")
        place += 12 + size
    return found


@pytest.mark.parametrize("name", document.DOCUMENTS)
def test_tables_are_those_of_the_recorded_results(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    again = "run `python -m benchmarks.document`"
    assert document.BLOCK.search(text)
    assert document.rendered(text, document.recorded()) == text, again


def test_plots_show_the_recorded_results() -> None:
    fingerprint = document.fingerprint(document.recorded())
    text = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    plots = sorted((ROOT / "docs").glob("performance-*.png"))
    assert len(plots) == 3
    for plot in plots:
        assert f"({plot.name})" in text
        assert texts_in(plot.read_bytes())["Comment"] == fingerprint


def arm(wall: float, cpu: float = 1.0) -> dict[str, Any]:
    one = {"wall": wall, "far": cpu, "near": cpu, "other": 0.0, "calm": True}
    return {"variant": "x", "label": "", "count": 1, "rounds": [one, {**one, "wall": wall * 2}, one]}


def test_a_bar_is_judged_by_the_best_of_the_others() -> None:
    arms = {
        "busway-asyncio-compiled": arm(1.0),
        "busway-asyncio-pure": arm(4.0),
        "pyzmq": arm(1.5),
        "zenoh": arm(1.1),
    }
    result = {"cases": {"way-16": {"arms": arms}}}
    compiled, pure = judge(result)
    assert (compiled.core, compiled.reference, pure.core, pure.reference) == (
        "compiled",
        "zenoh",
        "pure",
        "zenoh",
    )
    assert compiled.ratio == pytest.approx(1.1)
    assert compiled.reached is False, "1.2 is wanted"
    assert pure.ratio == pytest.approx(1.1 / 4)
    assert pure.reached is False, "0.45 is wanted"
    arms["busway-asyncio-pure"] = arm(2.0)
    arms["busway-asyncio-compiled"] = arm(0.9)
    assert [one.reached for one in judge(result)] == [True, True]


def test_times_costs_and_limits_are_judged_by_less() -> None:
    trip = {"busway-asyncio-compiled": arm(0.5), "pyzmq-asyncio": arm(1.0)}
    turns = {"busway-asyncio-pure@1": arm(1.0, 1.0), "busway-asyncio-pure@10000": arm(1.0, 1.6)}
    result = {
        "cases": {"trip-asyncio": {"arms": trip}, "endpoints": {"arms": turns}},
        "values": {"import": {"compiled": [13.0, 11.0, 12.0], "pure": [12.5]}},
    }
    assert [(one.bar.case, one.core, one.ratio, one.reached) for one in judge(result)] == [
        ("trip-asyncio", "compiled", 0.5, True),
        ("endpoints", "pure", 1.6, False),
    ]
    assert [(one.core, one.value, one.reached) for one in hold(result)] == [
        ("compiled", 12.0, True),
        ("pure", 12.5, False),
    ]


def test_every_bar_can_be_measured() -> None:
    arms = {case.key: {one.key for one in case.arms} for case in (*full(), *short())}
    for bar in BARS:
        for core in ("compiled", "pure"):
            if bar.bars[core] is not None:
                assert {name.format(core=core) for name in (bar.arm, *bar.against)} <= arms[bar.case], (
                    bar.title
                )
    assert {one.variant for case in (*full(), *short()) for one in case.arms} <= set(VARIANTS)
    assert len({limit.key for limit in LIMITS}) == len(LIMITS)


def test_blocks_of_a_document_are_made_anew_and_nothing_else(tmp_path: Path) -> None:
    text = "before\n<!-- begin: cpu -->\nold\n<!-- end -->\nafter\n"
    made = document.rendered(text, {"cases": {}, "values": {}, "runs": []})
    head, _, rest = made.partition("<!-- begin: cpu -->\n")
    assert head == "before\n"
    assert rest.endswith("<!-- end -->\nafter\n")
    assert "old" not in made
    with pytest.raises(KeyError):
        document.rendered("<!-- begin: gone -->\n<!-- end -->", {})
    for block in BLOCKS.values():
        block({"cases": {}, "values": {}, "runs": []})
    assert table(["a", "b"], [["3", ""]]) == NOTHING
    assert table(["a", "b"], [["1", "2"], ["3", ""]]) == "| a | b |\n|---|---|\n| 1 | 2 |"


def test_the_short_run_is_taken_where_both_have_a_figure(tmp_path: Path) -> None:
    for name, value in zip(document.NAMES, ("short", "full"), strict=True):
        rest: dict[str, Any] = {"environment": {}, "settings": {}, "took_s": 1, "absent": {}, "failed": {}}
        case = {"title": value, "arms": {"x": arm(1.0)}}
        found = {**rest, "about": {}, "cases": {"both": case, value: case}, "values": {}}
        (tmp_path / name).write_text(json.dumps(found))
    result = document.recorded(tmp_path)
    titles = {key: case["title"] for key, case in result["cases"].items()}
    assert titles == {"both": "short", "short": "short", "full": "full"}
    assert [(run["rounds"], run["slow"]) for run in result["runs"]] == [(6, 0), (6, 0)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no JSON"),
        ("7", "has no JSON"),
        ('{"cases": {}}', "has no environment, .*, values, about"),
        (None, "No such file"),
    ],
)
def test_what_no_run_wrote_is_not_recorded(
    text: str | None,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good, wrong = tmp_path / "bench.json", tmp_path / "bench-full.json"
    empty: dict[str, Any] = {key: {} for key in (*document.PARTS, "cases", "values", "about")}
    good.write_text(json.dumps(empty))
    if text is not None:
        wrong.write_text(text)
    monkeypatch.setattr(document, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["benchmarks.document", "--no-plots", str(good), str(wrong)])
    with pytest.raises(SystemExit, match="2"):
        document.main()
    assert re.search(reason, capsys.readouterr().err)
    assert not (tmp_path / "results").exists()
