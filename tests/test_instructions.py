"""Machine instructions that a message costs, beside what is on record: nobody makes it dearer unawares."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import instructions
from tests.rigs.counting import check
from tests.rigs.tree import PROTOCOL, ROOT, SOURCE


@pytest.fixture(scope="module", autouse=True)
def valgrind() -> None:
    """Counts instructions. None here: skips, but fails on the CI machine, where `.ci/run` installs it."""
    if not instructions.installed():
        missing = "no valgrind here to count instructions (Debian: apt-get install valgrind)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.fixture(scope="module")
def counts(valgrind: None) -> instructions.Counts:
    """Of this checkout."""
    return instructions.Counts(ROOT)


def test_messages_cost_what_is_on_record(counts: instructions.Counts) -> None:
    check(counts, ROOT)


def test_a_needless_loop_on_the_way_of_a_message_is_noticed(
    counts: instructions.Counts, tmp_path: Path
) -> None:
    package = tmp_path / "busway"
    package.mkdir()
    shutil.copy(SOURCE / "__init__.py", package)
    shutil.copytree(PROTOCOL, package / "protocol", ignore=shutil.ignore_patterns("__pycache__"))
    node = package / "protocol" / "node.py"
    text = node.read_text()
    first = "        if usual and type(payload) is bytes and 0 <= format < 3"  # of `send`
    assert text.count(first) == 1
    node.write_text(text.replace(first, "        for _ in range(100):\n            pass\n" + first))
    # Or valgrind would count how it is compiled, which takes longest.
    subprocess.run([sys.executable, "-m", "compileall", "-q", package], check=True)
    before, after = {"send": counts.of["send"]}, instructions.Counts(tmp_path, ("send",)).of
    [said] = instructions.Recorded(sys.version, before).moved(after)
    most = after["send"] / before["send"] - 1
    assert said.startswith(f"send takes {after['send']:,.0f} instructions a message, {most:.1%} more than")
    assert said.endswith("on record (allowed: 3%)")


ON_RECORD = instructions.Recorded("3.11", {"reference": 1000, "send": 5000, "publish": 5000})


def test_what_became_cheaper_is_noticed_too() -> None:
    """Or it could be lost again unseen."""
    assert ON_RECORD.moved({"reference": 1005, "send": 4500, "publish": 4900}, "3.11") == [
        "send takes 4,500 instructions a message, 10.0% less than the 5,000 on record (allowed: 3%)"
    ]


def test_another_build_of_python_is_compared_by_the_reference_program() -> None:
    assert ON_RECORD.moved({"reference": 1100, "send": 5300, "publish": 6000}, "3.11, Debian") == [
        "publish takes 5,455 instructions a message, 9.1% more than the 5,000 on record (allowed: 8%)"
    ]
