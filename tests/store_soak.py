"""The store under kills, for `python -m tests.soak`: in a program of its own, which forks."""

from __future__ import annotations

import subprocess
import sys

from tests.rigs.tree import ROOT

KILLS = 100
CUTS = 40
MESSAGES = 100_000


def stored(seed: int, seconds: float) -> tuple[bool, str]:
    """Kills of a writer, files that were cut short, a full disk, then senders, stores and receivers."""
    words = ["--seed", str(seed), "--kills", str(KILLS), "--cuts", str(CUTS), "--disk"]
    words += ["--messages", str(MESSAGES), "--seconds", str(seconds)]
    command = [sys.executable, "-m", "tests.store.crash", *words]
    run = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    told = run.stdout if run.returncode == 0 else run.stdout + run.stderr[-2000:]
    return run.returncode == 0, "; ".join(told.strip().splitlines())
