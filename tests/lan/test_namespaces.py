"""Programs that find each other by real mDNS, on machines that are network namespaces."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.lan.program import TOKEN
from tests.lan.running import Line, environment, running
from tests.rigs.netns import Machine, block_multicast, machines, obstacle
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT

REASON = obstacle()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "namespaces work")


def remembered(machine: Machine) -> dict[str, list[object]]:
    (path,) = Path(machine.directory, "busway").glob("lan-*.json")
    found: dict[str, list[object]] = json.loads(path.read_text())
    return found


def links_of(said: list[Line]) -> int:
    """How many links the program had when it was told to end."""
    (found,) = [line["links"] for line in said if "links" in line]
    return int(found)


def test_programs_meet_without_an_address_and_leave_others_alone() -> None:
    with (
        machines(3) as (here, there, elsewhere),
        running(here, "one") as one,
        running(there, "two", "meadow", TOKEN, "threads") as two,
        running(elsewhere, "odd", "orchard") as odd,
        running(elsewhere, "stranger", "meadow", "not-the-same-h4k9w2x7q5m8z") as stranger,
    ):
        one.wait_found("joined", label="two", how="mdns")
        two.wait_found("joined", label="one", how="mdns")
        one.wait_found("other bus")
        two.wait_found("other bus")
        for program in (one, two):
            assert program.wait(lambda line: "node" in line and line["label"] in ("one", "two"))
        # Whoever dials the other is refused once, and does not try it again.
        stranger.wait(lambda line: line.get("found") in ("refused", "seen"))
        odd.wait(lambda line: line.get("found") == "other bus")
        two_said, one_said = two.end(), one.end()
        assert links_of(two_said) == 1
        assert all(line.get("label") not in ("odd", "stranger") for line in [*one_said, *two_said])
        for said in (one_said, two_said, stranger.end()):
            for address in {line["address"] for line in said if line.get("found") == "refused"}:
                refused = [line for line in said if line.get("address") == address]
                assert [line["found"] for line in refused].count("dialling") <= 1
        assert links_of(one_said) == 0  # the other has left


def test_without_mdns_they_meet_where_they_met_before() -> None:
    with machines(2) as (here, there):
        with running(here, "one") as one, running(there, "two") as two:
            one.wait_found("joined", label="two")
            two.wait_found("joined", label="one")
            two.end()
            one.end()
        assert len(remembered(here)["places"]) == len(remembered(there)["places"]) == 1
        block_multicast(0)
        block_multicast(1)
        with running(here, "one") as one, running(there, "two") as two:
            one.wait(lambda line: line.get("node") == "up")
            two.wait(lambda line: line.get("node") == "up")
            for program, other in ((one, "two"), (two, "one")):
                found = program.wait_found("joined", label=other)
                assert found["how"] in ("remembered", "incoming")
            two.end()
            one.end()


def test_a_network_card_that_goes_down_and_comes_up_again() -> None:
    with machines(2) as (here, there), running(here, "one") as one:
        there.set_link("down")
        with running(there, "two") as two:
            two.wait(lambda line: "open" in line)
            there.set_link("up")
            one.wait_found("joined", label="two")
            said = len(one.said)
            there.set_link("down")
            one.wait(lambda line: line.get("node") == "down", said)
            said = len(one.said)
            there.set_link("up")
            one.wait(lambda line: line.get("node") == "up", said)
            two.end()
        one.end()


_REFUSED = """
import busway
try:
    busway.AsyncBus(lan=True)
except ValueError as error:
    print(error)
"""


def test_nothing_listens_without_token_or_keys() -> None:
    with machines(1) as (here,):
        command = [*here.prefix(), sys.executable, "-c", _REFUSED]
        assert "token=" in output_of(command, cwd=ROOT, env=environment(here))
