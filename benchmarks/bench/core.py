"""The package with its core compiled, as `pip install .` builds it: kept in .benchmarks/core."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from benchmarks.bench.progress import Progress
from tests.rigs import compiled
from tests.rigs.tree import ROOT

KEPT = ROOT / ".benchmarks" / "core"
OPTIMISE = "3"  # as pip does it for users
PURE = ROOT / "src"


def compiled_package(progress: Progress) -> Path:
    """The folder for PYTHONPATH. Raises AssertionError with what pip said if it cannot be built."""
    KEPT.mkdir(parents=True, exist_ok=True)
    if (KEPT / compiled.fingerprint(OPTIMISE)).exists():
        return compiled.build(KEPT, optimise=OPTIMISE)
    done, began = threading.Event(), time.monotonic()

    def say() -> None:
        while not done.wait(1 if progress.live else 15):
            progress.note(f"compiling the core once, a minute or two: {time.monotonic() - began:.0f} s")

    progress.note("compiling the core once, a minute or two; it is kept in .benchmarks/core")
    saying = threading.Thread(target=say, daemon=True)
    saying.start()
    try:
        return compiled.build(KEPT, optimise=OPTIMISE)
    finally:
        done.set()
        saying.join()
