"""Figures that are not rounds: imports, memory, set-up, and what many programs cost (benchmarks.growth)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import first_contact
from benchmarks.bench import imports, memory
from benchmarks.bench.progress import Progress
from benchmarks.bench.workers import ROOT

Values = dict[str, dict[str, list[float]]]  # by what, then by core
GROWTH_S = 1_800


@contextmanager
def imported_from(package: Path, folder: str) -> Iterator[None]:
    """Programs that are started meanwhile import this package, and meet in that folder."""
    kept = {name: os.environ.get(name) for name in ("PYTHONPATH", "BUSWAY_DIR")}
    os.environ.update(PYTHONPATH=os.pathsep.join((str(package), str(ROOT))), BUSWAY_DIR=folder)
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def short(packages: dict[str, Path], turns: int, progress: Progress) -> Values:
    """Imports, in milliseconds: all that `make bench` measures besides its cases."""
    found: Values = {}
    for core, package in packages.items():
        progress.step(f"import busway, {core}")
        for key, values in imports.measure(package, turns).items():
            found.setdefault(key, {})[core] = values
    return found


def full(packages: dict[str, Path], turns: int, programs: tuple[int, ...], progress: Progress) -> Values:
    """All that `make bench-full` adds, in as many steps as `full_steps` says."""
    found: Values = {}

    def put(key: str, core: str, *values: float) -> None:
        found.setdefault(key, {}).setdefault(core, []).extend(values)

    for core, package in packages.items():
        progress.step(f"memory of links and endpoints, {core}")
        sizes = memory.measure(package)
        put("memory-link", core, sizes["link"] / 1024)
        put("memory-endpoint", core, sizes["endpoint"])
        put("memory-endpoint-own", core, sizes["endpoint-own"])
        progress.step(f"first contact, {core}")
        with tempfile.TemporaryDirectory(prefix="bw") as folder, imported_from(package, folder):
            put("first-contact", core, *(first_contact.measure() * 1000 for _ in range(turns)))
        progress.step(f"{programs[-1]} programs join and leave, {core}: minutes")
        for row in growth(package, programs):
            count = row["programs"]
            put(f"join-all-{count}", core, row["join all"]["all know all, s"])
            put(f"join-one-{count}", core, row["join one"]["open, ms"])
            put(f"join-one-cpu-{count}", core, row["join one"]["all cpu, ms"])
            put(f"programs-turn-{count}", core, row["messages"]["ratio"])
            put(f"memory-program-{count}", core, row["memory, MB"])
            if "leave all" in row:
                put(f"leave-all-{count}", core, row["leave all"]["all, s"])
    return found


def full_steps(packages: dict[str, Path]) -> int:
    return 3 * len(packages)


def growth(package: Path, programs: tuple[int, ...]) -> list[dict[str, Any]]:
    """The rows of `benchmarks.growth`."""
    with tempfile.TemporaryDirectory(prefix="bw") as folder, imported_from(package, folder):
        file = Path(folder, "growth.json")
        counts = ",".join(str(count) for count in programs)
        words = [sys.executable, "-m", "benchmarks.growth", "--programs", counts, "--json", str(file)]
        run = subprocess.run(words, cwd=folder, timeout=GROWTH_S, capture_output=True, text=True, check=False)
        if run.returncode:
            raise RuntimeError(f"benchmarks.growth ended with {run.returncode}:\n{run.stderr[-3000:]}")
        rows: list[dict[str, Any]] = json.loads(file.read_text())
        return rows
