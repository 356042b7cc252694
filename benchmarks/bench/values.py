"""Figures that are not rounds: imports, memory, set-up, and what many programs cost (benchmarks.growth)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import first_contact
from benchmarks.bench import imports, memory
from benchmarks.bench.progress import Progress
from benchmarks.bench.workers import ROOT, WorkerFailed

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


def full(
    packages: dict[str, Path],
    turns: int,
    programs: tuple[int, ...],
    progress: Progress,
    failed: dict[str, str],
) -> Values:
    """All that `make bench-full` adds, in as many steps as `full_steps` says. Why something could not be
    measured is put into `failed`.
    """
    found: Values = {}
    for core, package in packages.items():
        for what, measure in (
            ("memory of links and endpoints", _memory),
            ("first contact", partial(_contacts, turns=turns)),
            (f"{programs[-1]} programs that join and leave", partial(many_programs, programs=programs)),
        ):
            progress.step(f"{what}, {core}")
            try:
                for key, values in measure(package).items():
                    found.setdefault(key, {})[core] = values
            except (WorkerFailed, RuntimeError, OSError, KeyError, subprocess.SubprocessError) as error:
                failed[f"{what}, {core}"] = str(error)
    return found


def _memory(package: Path) -> dict[str, list[float]]:
    sizes = memory.measure(package)
    return {
        "memory-link": [sizes["link"] / 1024],
        "memory-endpoint": [sizes["endpoint"]],
        "memory-endpoint-own": [sizes["endpoint-own"]],
    }


def _contacts(package: Path, turns: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory(prefix="bw") as folder, imported_from(package, folder):
        return {"first-contact": [first_contact.measure() * 1000 for _ in range(turns)]}


def many_programs(
    package: Path, programs: tuple[int, ...], joins: int = 5, messages: int = 10_000
) -> dict[str, list[float]]:
    """Joins, leaving, memory and messages in turn, by what and how many programs."""
    found = {}
    for row in growth(package, programs, joins, messages):
        count = row["programs"]
        found[f"join-all-{count}"] = [row["join all"]["all know all, s"]]
        found[f"join-one-{count}"] = [row["one more"]["open, ms"]]
        found[f"join-one-cpu-{count}"] = [row["one more"]["all cpu, ms"]]
        found[f"programs-turn-{count}"] = [row["messages"]["ratio"]]
        found[f"memory-program-{count}"] = [row["memory, MB"]]
        if "leave all" in row:
            found[f"leave-all-{count}"] = [row["leave all"]["all, s"]]
    return found


def full_steps(packages: dict[str, Path]) -> int:
    return 3 * len(packages)


def growth(package: Path, programs: tuple[int, ...], joins: int, messages: int) -> list[dict[str, Any]]:
    """The rows of `benchmarks.growth`."""
    with tempfile.TemporaryDirectory(prefix="bw") as folder, imported_from(package, folder):
        file = Path(folder, "growth.json")
        counts = ",".join(str(count) for count in programs)
        options = ["--programs", counts, "--joins", str(joins), "--messages", str(messages)]
        words = [sys.executable, "-m", "benchmarks.growth", *options, "--json", str(file)]
        run = subprocess.run(words, cwd=folder, timeout=GROWTH_S, capture_output=True, text=True, check=False)
        if run.returncode:
            raise RuntimeError(f"benchmarks.growth ended with {run.returncode}:\n{run.stderr[-3000:]}")
        rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"]
        return rows
