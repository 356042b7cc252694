"""The message of a test's time-out: which test it was, wherever pytest is when the time is over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.rigs.tree import ROOT

BUSY = """
import time

def pytest_runtest_logreport(report):
    if report.when == "call":
        time.sleep(6)  # as on a machine that is busy: longer than a test may take
"""
TESTS = """
import time

def test_quick():
    pass

def test_hanging():
    time.sleep(240)
"""


def test_a_time_out_names_its_test_and_strikes_no_other(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(BUSY)
    (tmp_path / "test_it.py").write_text(TESTS)
    settings = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *settings, "--timeout=5", "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "1 failed, 1 passed" in run.stdout
    assert "FAILED test_it.py::test_hanging - Failed: Timeout" in run.stdout
    assert "INTERNALERROR" not in run.stdout + run.stderr
