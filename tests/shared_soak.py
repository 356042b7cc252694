"""Shared memory and open files under kills, for `python -m tests.soak`: in a program that forks others."""

from __future__ import annotations

import subprocess
import sys

from tests.rigs.tree import ROOT


def shared(seed: int, seconds: float) -> tuple[bool, str]:
    """Publishers, subscribers and a router between them, killed at random instants."""
    command = [sys.executable, "-m", "tests.chaos.run", "--seed", str(seed), "--seconds", str(seconds)]
    run = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    told = run.stdout if run.returncode == 0 else run.stdout + run.stderr[-2000:]
    return run.returncode == 0, "; ".join(told.strip().splitlines())
