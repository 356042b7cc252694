"""Where a stranger looks for its user's programs, and where it is found: before and after login."""

from __future__ import annotations

import sys

import pytest

from tests.rigs import login_session
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT

BEFORE_AND_AFTER_LOGIN = """
import os, subprocess, sys
from pathlib import Path
from tests.rigs import login_session
from tests.stranger import carriers, places
from tests.stranger.leaf import Leaf

def neighbour():
    command = [sys.executable, "-m", "tests.stranger.neighbour", "unix", ""]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    program.stdout.readline()
    return program

def ask_them(count):
    found = places.others("default", seat.node)
    assert len(found) == count, found
    for path in found:
        leaf = Leaf("stranger")
        leaf.join(carriers.unix(path))
        assert leaf.request("near/double", 4) == 8
        leaf.close()

os.environ.pop("BUSWAY_DIR", None)
boot = neighbour()
seat = places.Seat("default", "ab" * 16)
assert seat.stem.is_relative_to(f"/tmp/busway-{os.geteuid()}")
ask_them(1)
login_session.log_in()
seat.close()
seat = places.Seat("default", "ab" * 16)
assert seat.stem.is_relative_to(login_session.runtime())
session = neighbour()
assert {path.parents[1] for path in places.others("default", seat.node)} == set(places.places())
ask_them(2)
login_session.log_out()
assert seat.look_after()
assert seat.stem.is_relative_to(f"/tmp/busway-{os.geteuid()}")
for program in (boot, session):
    program.communicate()
    assert program.returncode == 0
seat.close()
assert places.others("default", "") == []
print("all of it")
"""


def test_before_login_and_after_it() -> None:
    if obstacle := login_session.obstacle():
        pytest.skip(obstacle)
    command = login_session.command(sys.executable, "-c", BEFORE_AND_AFTER_LOGIN)
    assert output_of(command, cwd=ROOT, timeout_s=120).strip() == "all of it"


def test_the_dead_are_told_from_the_living_in_the_other_place() -> None:
    """A node that runs in one place cannot be started in the other."""
    if obstacle := login_session.obstacle():
        pytest.skip(obstacle)
    program = (
        "import os\nfrom tests.rigs import login_session\nfrom tests.stranger import places\n"
        "os.environ.pop('BUSWAY_DIR', None)\nseat = places.Seat('default', 'ab' * 16)\n"
        "login_session.log_in()\n"
        "try:\n    places.Seat('default', 'ab' * 16)\nexcept FileExistsError as error:\n    print(error)\n"
    )
    shown = output_of(login_session.command(sys.executable, "-c", program), cwd=ROOT)
    assert "runs already in /tmp/busway-" in shown
