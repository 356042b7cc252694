"""Both type checkers, at their strictest, over files that stand anywhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.rigs.tree import ROOT

TIMEOUT_S = 300

Said = Mapping[Path, list[str]]
"""Complaints, "line: text" each, by file; none of a file without."""


def mypy(folder: Path, files: Sequence[Path]) -> Said:
    """The complaints of `mypy --strict` about the files."""
    words = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file="]
    run = subprocess.run(
        [*words, "--cache-dir", str(ROOT / ".mypy_cache" / "documents"), *map(str, files)],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert run.stderr == ""
    found = defaultdict(list)
    for line in run.stdout.splitlines():
        place = re.fullmatch(r"(\S+\.py):(\d+: .*)", line)
        assert place, run.stdout
        found[folder / place[1]].append(place[2])
    assert run.returncode == bool(found), run.stdout
    return found


def basedpyright(
    folder: Path, files: Sequence[Path], *, imports: Mapping[Path, Sequence[Path]] | None = None
) -> Said:
    """The complaints of basedpyright in strict mode about the files. Leaves its settings in the folder.

    Args: `imports` are the folders, besides the sources, from which files of certain folders may import.
    """
    settings = folder / "pyrightconfig.json"
    paths = [str(ROOT / "src"), str(ROOT)]
    wanted = {
        "include": list(map(str, files)),
        "extraPaths": paths,
        "executionEnvironments": [
            {"root": str(root), "extraPaths": [*paths, *map(str, others)]}
            for root, others in (imports or {}).items()
        ],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    settings.write_text(json.dumps(wanted))
    words = ["--outputjson", "-p", str(settings), "--pythonpath", sys.executable]
    run = subprocess.run(
        [sys.executable, "-m", "basedpyright", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    told = json.loads(run.stdout)
    assert told["summary"]["filesAnalyzed"] == len(files), run.stdout
    found = defaultdict(list)
    for each in told["generalDiagnostics"]:
        if each["severity"] == "error":
            found[Path(each["file"])].append(f"{each['range']['start']['line'] + 1}: {each['message']}")
    assert run.returncode == bool(found), run.stdout
    return found
