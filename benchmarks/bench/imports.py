"""The cost of `import busway`: processor time of whole processes that import it, less that of empty ones."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

NOTHING = "pass"
IMPORTS = {"import": "import busway", "import-asyncbus": "import busway; busway.AsyncBus"}


def spent() -> float:
    """Processor seconds of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def seconds(package: Path, program: str) -> float:
    """Processor time of one process."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = spent()
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, cwd=package)
    return spent() - before


def measure(package: Path, turns: int) -> dict[str, list[float]]:
    """Milliseconds of each import, turn by turn. Before the first turn all is imported once, which writes
    what Python keeps compiled.
    """
    found: dict[str, list[float]] = {key: [] for key in IMPORTS}
    for program in IMPORTS.values():
        seconds(package, program)
    for _ in range(turns):
        empty = statistics.median([seconds(package, NOTHING) for _ in range(3)])
        for key, program in IMPORTS.items():
            found[key].append((seconds(package, program) - empty) * 1000)
    return found
