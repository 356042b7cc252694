"""Puts what was measured into docs/performance.md and README.md: tables and plots, from recorded results.

Usage: python -m benchmarks.document [FILE...]

FILEs are what `make bench` and `make bench-full` wrote (.benchmarks/bench.json, .benchmarks/bench-full.json);
they are copied to benchmarks/results/ first. Without any the recorded ones are rendered anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bench import tables
from benchmarks.bench.workers import ROOT

RESULTS = ROOT / "benchmarks" / "results"
NAMES = ("bench.json", "bench-full.json")
DOCUMENTS = ("docs/performance.md", "README.md")
PLOTS = ROOT / "docs"
PARTS = ("environment", "settings", "took_s", "absent", "failed")  # of a run, beside what it measured
BLOCK = re.compile(r"(<!-- begin: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def recorded(folder: Path = RESULTS) -> dict[str, Any]:
    """Both results as one: what both have is taken from the short one."""
    found: dict[str, Any] = {"cases": {}, "values": {}, "runs": []}
    for name in NAMES:
        if not (folder / name).exists():
            continue
        result = json.loads((folder / name).read_text())
        run = {key: result[key] for key in PARTS}
        arms = [arm for case in result["cases"].values() for arm in case["arms"].values()]
        calm = [one["calm"] for arm in arms for one in arm["rounds"]]
        found["runs"].append({**run, "rounds": len(calm), "slow": calm.count(False)})
        found.setdefault("about", {}).update(result["about"])
        for part in ("cases", "values"):
            found[part] = {**result[part], **found[part]}
    return found


def rendered(text: str, result: dict[str, Any]) -> str:
    """The document with each block made anew. Raises KeyError for a block that nobody makes."""

    def made(match: re.Match[str]) -> str:
        table: Callable[[dict[str, Any]], str] = tables.BLOCKS[match[2]]
        return f"{match[1]}{table(result)}\n{match[3]}"

    return BLOCK.sub(made, text)


def fingerprint(result: dict[str, Any]) -> str:
    """Stands in each plot: which figures it shows."""
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()[:16]


def measured(file: Path) -> str:
    """The text of a file of a run. Raises ValueError if it is none, OSError if it cannot be read."""
    text = file.read_text()
    try:
        result = json.loads(text)
        missing = [key for key in (*PARTS, "cases", "values", "about") if key not in result]
    except (ValueError, TypeError):
        missing = ["JSON"]
    if missing:
        raise ValueError(f"{file} was not written by a whole `make bench`: it has no {', '.join(missing)}")
    return text


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="benchmarks.document", description=__doc__, formatter_class=raw)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--no-plots", action="store_true", help="tables only: needs no matplotlib")
    options = parser.parse_args()
    if wrong := [file for file in options.files if file.name not in NAMES]:
        parser.error(f"{wrong[0]} is none of {', '.join(NAMES)}")
    try:
        texts = {file.name: measured(file) for file in options.files}
    except (ValueError, OSError) as error:
        parser.error(str(error))
    RESULTS.mkdir(exist_ok=True)
    for name, text in texts.items():
        (RESULTS / name).write_text(text)
    result = recorded()
    if not result["runs"]:
        sys.exit("error: nothing is recorded yet; give .benchmarks/bench.json, which `make bench` writes")
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(rendered(path.read_text(), result))
    if not options.no_plots:
        from benchmarks.bench import plots

        for made in plots.draw(result, PLOTS, fingerprint(result)):
            print(made.relative_to(ROOT))
    print(*DOCUMENTS, sep="\n")


if __name__ == "__main__":
    main()
