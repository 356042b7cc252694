"""Runs a program to its end and shows all it printed if it failed."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def output_of(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 120,
) -> str:
    """Returns what the program wrote, both streams together.

    Raises:
        AssertionError: it ended with another status than 0.
        subprocess.TimeoutExpired: it took longer than `timeout_s`.
    """
    run = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    shown = " ".join(str(word) for word in command)[:200]
    assert run.returncode == 0, f"status {run.returncode} of: {shown}\n{run.stdout}"
    return run.stdout
