"""Machine instructions that the core spends on a message, counted by valgrind: the same on a busy machine.

Usage: python -m benchmarks.instructions [ROOT ...]       one column for each
       python -m benchmarks.instructions --growth [...]   many endpoints and many nodes, sent to in turn, and
                                                          a publish to one name beside many patterns
       python -m benchmarks.instructions --record [ROOT]  renew benchmarks/instructions.json for this Python

Each ROOT is a checkout or a folder with an installed, compiled package (default: this checkout), so that a
change can be held beside what it changes. What is counted is said in benchmarks/counted.py: `send` and
`request` from a node to its neighbour, `burst` of a hundred sends before anything is carried, `transit` over
the neighbour to the next, `publish` to the neighbour. The count begins after some messages of the same way:
starting and joining do not count. Valgrind must be installed (Debian: apt-get install valgrind).

The record is what `make test` compares with (tests/test_instructions.py and, with the core compiled as tests
do it, tests/test_compiled.py). Counts repeat exactly with one build of Python: there a way may move by
TOLERANCE. Another build of the same version (other compiler, other options) is compared by the ratio to the
program `reference`: there it may move by TOLERANCE_ELSEWHERE. A version that is not on record is compared
with nothing. Less is reported as well as more, or what was gained could be lost again unseen.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WAYS = ("send", "burst", "request", "transit", "publish")
GROWTH = (
    *("endpoints:1", "endpoints:1000", "endpoints:10000"),
    *("nodes:1", "nodes:250"),
    *("patterns:0", "patterns:10000"),
)
HERE = Path(__file__).resolve().parents[1]
RECORD = Path(__file__).with_suffix(".json")

# With the build that was recorded counts are exact, and smaller changes are not worth a stop. Two builds of
# 3.11 (Debian's, and python.org's source built plainly) differ by 3 % in their ratio to `reference`.
TOLERANCE = 0.03
TOLERANCE_ELSEWHERE = 0.08


def installed() -> bool:
    """True if valgrind is there to count."""
    return shutil.which("valgrind") is not None


class Counts:
    """Counts of what lies below `root`: `kind`, "pure" or "compiled"; `of`, the instructions for a message of
    each way, and for a turn of the program `reference`.

    Raises:
        RuntimeError: valgrind or the program failed; the text holds what they said.
    """

    def __init__(self, root: Path, ways: tuple[str, ...] = WAYS, python: str = sys.executable) -> None:
        ways = ("reference", *ways)
        with tempfile.TemporaryDirectory(prefix="busway-counted-") as scratch:
            printed = _count(python, root, ways, scratch)
            # A part is written as it ends. The first is all before the first mark; then come in turn what was
            # counted and what prepared the next.
            totals = [_total(Path(scratch, f"out.{2 * place + 2}")) for place in range(len(ways))]
        *lines, self.kind = printed.splitlines()
        self.of: dict[str, float] = {}
        for line, total in zip(lines, totals, strict=True):
            way, messages = line.split(" ")
            self.of[way] = total / int(messages)

    @property
    def sort(self) -> str:
        """Version of Python and kind: under this it is recorded."""
        return f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]}, {self.kind}"


def _count(python: str, root: Path, ways: tuple[str, ...], scratch: str) -> str:
    """Runs the program that is counted; returns what it printed. Totals are below `scratch` then."""
    tool = ["valgrind", "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={scratch}/out"]
    done = subprocess.run(
        [*tool, python, "-S", str(HERE / "benchmarks" / "counted.py"), str(root), *ways],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    if done.returncode:
        raise RuntimeError(f"{root}: {done.stdout}{done.stderr}")
    return done.stdout


def _total(dump: Path) -> int:
    found = re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"valgrind wrote no total: {dump.read_text()[:1000]}")
    return int(found[1])


class Recorded:
    """Record of one sort: the build of Python, and the instructions for a message of each way."""

    def __init__(self, build: str, of: dict[str, float]) -> None:
        self.build = build
        self.of = of

    def moved(self, now: dict[str, float], build: str = sys.version) -> list[str]:
        """A sentence for each way that moved further than it may, counted with `build`."""
        scale, allowed = 1.0, TOLERANCE
        if build != self.build:
            scale, allowed = self.of["reference"] / now["reference"], TOLERANCE_ELSEWHERE
        found = []
        for way, then in self.of.items():
            if way == "reference" or way not in now:
                continue
            change = now[way] * scale / then - 1
            if abs(change) > allowed:
                which = "more" if change > 0 else "less"
                found.append(
                    f"{way} takes {now[way] * scale:,.0f} instructions a message, {abs(change):.1%} {which} "
                    f"than the {then:,.0f} on record (allowed: {allowed:.0%})"
                )
        return found


def recorded(sort: str) -> Recorded | None:
    """Record of a sort; None: there is none."""
    kept = json.loads(RECORD.read_text()).get(sort)
    return Recorded(kept["build"], kept["instructions"]) if kept else None


def record(counts: Counts) -> None:
    """Replaces what is on record for the sort of these."""
    kept = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    found = {way: round(count) for way, count in counts.of.items()}
    kept[counts.sort] = {"build": sys.version, "instructions": found}
    RECORD.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def main() -> None:
    options = [one for one in sys.argv[1:] if one.startswith("-")]
    roots = [Path(one).resolve() for one in sys.argv[1:] if not one.startswith("-")] or [HERE]
    if options == ["--record"]:
        for root in roots:
            record(Counts(root))
        print(RECORD.read_text(), end="")
        return
    if options not in ([], ["--growth"]):
        sys.exit(__doc__)
    ways = GROWTH if options else WAYS
    print("instructions per message", *[root.name for root in roots], sep="\t")
    found = [Counts(root, ways).of for root in roots]
    for way in ("reference", *ways):
        print(way, *[f"{each[way]:,.0f}" for each in found], sep="\t", flush=True)


if __name__ == "__main__":
    main()
