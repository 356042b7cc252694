"""Both type checkers, at their strictest, over files that stand anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.rigs.tree import ROOT

TIMEOUT_S = 300


def mypy(folder: Path, files: Sequence[Path]) -> str:
    """The complaints of `mypy --strict` about the files; "" for nothing."""
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
    return run.stdout + run.stderr


def basedpyright(folder: Path, files: Sequence[Path], **rules: object) -> str:
    """The complaints of basedpyright in strict mode about the files; "" for nothing. Leaves its settings
    there.
    """
    settings = folder / "pyrightconfig.json"
    wanted = {
        "include": list(map(str, files)),
        "extraPaths": [str(ROOT / "src"), str(ROOT)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        **rules,
    }
    settings.write_text(json.dumps(wanted))
    run = subprocess.run(
        [sys.executable, "-m", "basedpyright", "-p", str(settings), "--pythonpath", sys.executable],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return "" if run.returncode == 0 else run.stdout + run.stderr
