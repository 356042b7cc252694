"""`busway firmware`: what it writes, what it says of it, and what it says when it cannot."""

import json
from pathlib import Path

from tests.front.cli_rig import busway
from tests.rigs.micropython import MicroPython

WHOLE = "adapters/micropython.py"


def test_what_a_board_carries(tmp_path: Path, real_micropython: MicroPython) -> None:
    words = ("firmware", "--out", str(tmp_path), "--micropython", real_micropython.command)
    text = busway(*words).ok().text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert rows["module"] == ["flash", "RAM"]
    assert int(rows[WHOLE][0]) == (tmp_path / "busway" / "adapters" / "micropython.mpy").stat().st_size
    assert 1000 < int(rows[WHOLE][1]) < 40_000
    assert "_retry_ms" in json.loads((tmp_path / "names.json").read_text())


def test_sources_and_json(tmp_path: Path) -> None:
    found = busway("firmware", "--out", str(tmp_path), "--py", "--json").ok().document
    assert found[WHOLE] == {"flash": (tmp_path / "busway" / WHOLE).stat().st_size, "ram": None}


def test_what_cannot_be(tmp_path: Path) -> None:
    assert busway("firmware").status == 2
    ended = busway("firmware", "--out", str(tmp_path), "--py", "--micropython", "/no/such")
    assert (ended.status, "/no/such" in ended.stderr) == (2, True)
    ended = busway("firmware", "--out", str(tmp_path), "--py", "--micropython", "/bin/false")
    assert (ended.status, "cannot import" in ended.stderr) == (1, True)
