"""A stage of the soak: each way to install of docs/howto/install.md, on each Python that is here, as a table.

From a checkout, from the sdist and from the wheels that `make wheels` makes; compiled as it comes, and pure.
What was installed then runs the README's first example. Each build is a whole one, so this takes some
minutes: a Python whose turn comes after the time given is left out, and said to be.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.rigs.install import PYTHONS, Environment, check_two_terminals, checkout, python_of
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT

WAYS = ("checkout", "sdist", "wheel")


def made(scratch: Path, python: str) -> dict[str, Path]:
    """The places to install from: a checkout, and what `make wheels` makes in it for this Python."""
    tree = checkout(scratch / "tree")
    (tree / ".venv").symlink_to(ROOT / ".venv")
    command = ["make", "-o", "setup", "wheels", f"PYTHONS={python}"]
    output_of(command, cwd=tree, timeout_s=1800)
    (sdist,) = (tree / "dist").glob("*.tar.gz")
    (compiled,) = (path for path in (tree / "dist").glob("*.whl") if "-none-any" not in path.name)
    return {"checkout": tree, "sdist": sdist, "wheel": compiled}


def one(scratch: Path, version: str, python: str) -> list[tuple[str, str, str]]:
    """Rows of version, way and what came of it."""
    rows = []
    sources = made(scratch, python)
    (pure,) = (scratch / "tree" / "dist").glob("*-none-any.whl")
    for way, source, variables in [
        *((way, sources[way], {}) for way in WAYS),
        ("checkout, BUSWAY_COMPILE=0", sources["checkout"], {"BUSWAY_COMPILE": "0"}),
        ("pure wheel", pure, {}),
    ]:
        directory = Path(tempfile.mkdtemp(dir=scratch))
        environment = Environment(directory / "venv", python)
        try:
            environment.install(source, cwd=directory, **variables)
            said = environment.version(directory)
            check_two_terminals(environment, directory)
            expected = "pure Python" if variables or way == "pure wheel" else "compiled"
            good = f", {expected} core, " in said
            rows.append((version, way, said if good else f"BROKEN: {said}"))
        except AssertionError as error:
            rows.append((version, way, f"BROKEN: {error}"))
        print(f"   {version:<6} {way:<28} {rows[-1][2]}", flush=True)
    return rows


def installs(seed: int, seconds: float) -> tuple[bool, str]:
    """Every way on every Python. Nothing of it is random."""
    end = time.monotonic() + seconds
    rows: list[tuple[str, str, str]] = []
    left_out = []
    for version in PYTHONS:
        python = python_of(version)
        if python is None or (rows and time.monotonic() > end):
            left_out.append(version)
            continue
        with tempfile.TemporaryDirectory(prefix="bw-") as scratch:
            rows += one(Path(scratch), version, python)
    broken = [row for row in rows if row[2].startswith("BROKEN")]
    text = f"{len(rows) - len(broken)} of {len(rows)} ways to install work"
    return not broken, text + (f"; not tried: Python {', '.join(left_out)}" if left_out else "")
