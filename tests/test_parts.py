"""The parts of `make test` leave no test out: what runs on each sort of loop, and what runs first."""

from __future__ import annotations

import ast
import functools
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


@functools.cache
def collected(sort: str) -> set[str]:
    """The tests that run on that sort of loop."""
    words = loops.command(sys.executable, sort, "--collect-only")
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {
        "::".join([file, name.split("[")[0].rsplit("::")[-1]])
        for file, _, name in (line.partition("::") for line in printed.splitlines())
        if name
    }


def test_each_coroutine_test_of_the_adapters_runs_on_each_sort_of_loop() -> None:
    places = {test: {test, test.split("::")[0]} for test in coroutine_tests()}
    named = {f"{loops.FOLDER}/{name}" for name in loops.LEFT_OUT}
    assert collected(loops.EAGER) == {test for test, place in places.items() if not place & named}
    assert named <= set().union(*places.values())
    assert len(named) == 4


def test_on_uvloop_only_those_are_left_out_that_wait_for_minutes() -> None:
    hours = collected(loops.EAGER) - collected(loops.UVLOOP)
    assert len(hours) > 9
    files = {test.split("::")[0] for test in hours}
    assert all("jumps(needed=True)" in (ROOT / file).read_text() for file in files)
    names = {file.rsplit("/")[-1] for file in files}
    assert names == {
        *("test_audit.py", "test_handler_quota.py", "test_policy.py", "test_presence.py", "test_selected.py"),
        *("test_sealed.py", "test_sealed_publish.py", "test_sealed_hostile.py"),
    }


def test_the_files_to_be_run_first_are_there() -> None:
    names = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(conftest.SLOWEST) <= names
    assert len(set(conftest.SLOWEST)) == len(conftest.SLOWEST)
