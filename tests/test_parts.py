"""The parts of `make test` leave no test out: what runs on each sort of loop, and what runs first."""

from __future__ import annotations

import ast
import subprocess
import sys

from tests import conftest
from tests.rigs import loops
from tests.rigs.tree import ROOT


def coroutine_tests() -> set[str]:
    """`file::name` of each test of the asyncio adapter's folder that runs on a loop."""
    return {
        f"{path.relative_to(ROOT)}::{node.name}"
        for path in (ROOT / loops.FOLDER).glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_each_coroutine_test_of_the_adapters_runs_on_each_sort_of_loop() -> None:
    words = loops.command(sys.executable, loops.UVLOOP, "--collect-only")
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    collected = {
        "::".join([file, name.split("[")[0].rsplit("::")[-1]])
        for file, _, name in (line.partition("::") for line in printed.splitlines())
        if name
    }
    left_out = {test for test in coroutine_tests() if test.split("::")[0].rsplit("/")[-1] in loops.LEFT_OUT}
    assert collected == coroutine_tests() - left_out
    assert len({test.split("::")[0] for test in left_out}) == len(loops.LEFT_OUT) == 1


def test_the_files_to_be_run_first_are_there() -> None:
    names = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(conftest.SLOWEST) <= names
    assert len(set(conftest.SLOWEST)) == len(conftest.SLOWEST)
