"""Holds counted instructions beside the record."""

import os
from pathlib import Path

import pytest

from benchmarks import instructions


def check(counts: instructions.Counts, root: Path) -> None:
    """Fails if a message below `root` costs another number of instructions than is on record.

    What is not on record is skipped. Pure, it fails on the CI machine: that has one Python, and its record is
    never without it; compiled, what it costs depends on the compiler, too.
    """
    command = f"python -m benchmarks.instructions --record {os.path.relpath(root, instructions.HERE)}"
    then = instructions.recorded(counts.sort)
    if then is None:
        unknown = f"{counts.sort} is not on record: `{command}` adds it"
        if os.environ.get("CI") and counts.kind == "pure":
            pytest.fail(unknown)
        pytest.skip(unknown)
    found = then.moved(counts.of)
    if found:
        pytest.fail("; ".join(found) + f". If that is meant, `{command}` renews the record", pytrace=False)
