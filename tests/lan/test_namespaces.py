"""Programs that find each other by real mDNS, on machines that are network namespaces."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import lan
from busway import Key
from busway.lan.announced import bus_hash
from tests.lan.program import BUS, TOKEN
from tests.lan.running import Line, environment, running
from tests.rigs.netns import SUBNET, Machine, block_multicast, ip, machines, obstacle
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT

REASON = obstacle()
ATTACKER = ROOT / "tests" / "lan" / "attacker.py"
STRANGERS = 100  # programs that one attacker announces
DIALS_MAX = (
    24  # that they bring about, however long it lasts within a test: 16 at once, at one address then few
)
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "namespaces work")


def remembered(machine: Machine) -> dict[str, list[Any]]:
    (path,) = Path(machine.directory, "busway").glob("lan-*.json")
    found: dict[str, list[Any]] = json.loads(path.read_text())
    return found


def links_of(said: list[Line]) -> int:
    """How many links the program had when it was told to end."""
    return int([line["links"] for line in said if "links" in line][-1])


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


def test_a_stranger_who_announces_himself_gains_nothing_and_keeps_nobody_away() -> None:
    with machines(3) as (here, there, elsewhere):
        words = (str(STRANGERS), there.address, "9")  # where nobody listens
        with running(elsewhere, *words, program=ATTACKER) as attacker:
            attacker.wait(lambda line: "open" in line)
            with running(here, "one") as one:
                one.wait(lambda line: line.get("found") in ("refused", "unreachable"))
                with running(there, "two") as two:
                    one.wait_found("joined", label="two")
                    two.end()
                beyond = one.wait(lambda line: "203.0.113.5" in line.get("address", ""))
                assert beyond["found"] == "ignored"
                said = one.end()
            (told,) = [line for line in attacker.end() if "dials" in line]
    assert 1 <= told["dials"] <= DIALS_MAX
    assert TOKEN.encode() not in bytes.fromhex(told["heard"])
    assert not [line for line in said if line.get("found") == "dialling" and "203.0.113.5" in line["address"]]


def test_keys_decide_where_there_is_no_token(tmp_path: Path) -> None:
    """Two that trust each other meet; the third, whom nobody trusts, is asked by each once and left alone."""
    keys = {name: Key.new() for name in ("one", "two", "odd")}
    for name, key in keys.items():
        key.save(tmp_path / f"{name}.pem")
    trusted = [f'[{name}]\nkey = "{keys[name].text}"\nrole = "router"\n' for name in ("one", "two")]
    (tmp_path / "trust.toml").write_text("\n".join(trusted))

    def words(name: str) -> dict[str, str]:
        return {"BUSWAY_KEY": str(tmp_path / f"{name}.pem"), "BUSWAY_TRUST": str(tmp_path / "trust.toml")}

    with (
        machines(3) as (here, there, elsewhere),
        running(elsewhere, "odd", "meadow", "", extra=words("odd")) as odd,
        running(here, "one", "meadow", "", extra=words("one")) as one,
        running(there, "two", "meadow", "", extra=words("two")) as two,
    ):
        one.wait_found("joined", label="two")
        two.wait_found("joined", label="one")
        odd.wait(lambda line: line.get("found") in ("refused", "seen"))
        said = odd.end()
        assert not [line for line in said if line.get("found") in ("joined", "enough")]
        assert links_of(said) == 0
        two.end()
        one.end()


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


def test_link_local_addresses_of_ipv6_are_enough_and_remembered_with_their_zone() -> None:
    with machines(2, ipv4=False) as (here, there):
        for _ in range(2):
            with running(here, "one") as one, running(there, "two") as two:
                one.wait(lambda line: line.get("node") == "up")
                assert "[fe80::" in one.wait_found("joined", label="two")["address"]
                two.wait_found("joined", label="one")
                two.end()
                one.end()
            (place,) = remembered(here)["places"]
            (address,) = place["addresses"]
            assert address.startswith("fe80::")
            assert address.endswith("%eth0")


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


def test_a_machine_that_sleeps_and_wakes_with_another_address() -> None:
    with machines(2) as (here, there):
        memory = Path(there.directory, "busway", f"lan-{bus_hash(BUS)}.json")
        memory.parent.mkdir()
        memory.write_text("{")  # what is damaged keeps nobody away
        with running(here, "one") as one, running(there, "two") as two:
            one.wait_found("joined", label="two")
            two.wait_found("joined", label="one")
            said = len(one.said), len(two.said)
            two.process.send_signal(signal.SIGSTOP)
            one.wait(lambda line: line.get("node") == "down", said[0])
            ip("-n", there.name, "addr", "flush", "dev", "eth0", "scope", "global")
            ip("-n", there.name, "addr", "add", f"{SUBNET}.99/24", "dev", "eth0")
            two.process.send_signal(signal.SIGCONT)
            one.wait_found("joined", after=said[0], label="two")
            two.wait_found("joined", after=said[1] + 1, label="one")
            two.end()
            one.end()
        assert memory.with_suffix(".damaged").read_text() == "{"
        assert len(remembered(there)["places"]) == 1


def test_bridges_join_the_programs_of_two_machines(tmp_path: Path) -> None:
    token = tmp_path / "token.txt"
    token.write_text(TOKEN)
    token.chmod(0o600)
    words = [sys.executable, "-m", "busway", "bridge", "--lan", "--token-file", str(token)]
    with machines(2) as there, contextlib.ExitStack() as stack:
        for machine in there:
            command = [*machine.prefix(), *words]
            bridge = subprocess.Popen(command, env=environment(machine), stdout=subprocess.DEVNULL)
            stack.callback(bridge.wait)
            stack.callback(bridge.kill)
        words = ["busway", "serve", "lab/upper", "--", "tr", "a-z", "A-Z"]
        served = [*there[0].prefix(), sys.executable, "-m", *words]
        server = subprocess.Popen(served, env=environment(there[0]), stdout=subprocess.DEVNULL)
        stack.callback(server.wait)
        stack.callback(server.kill)
        asked = ["busway", "request", "lab/upper", "--raw", "hello", "--ttl", "60", "--timeout", "60"]
        command = [*there[1].prefix(), sys.executable, "-m", *asked]
        assert "HELLO" in output_of(command, cwd=ROOT, env=environment(there[1]))
        listed = [*there[1].prefix(), sys.executable, "-m", "busway", "found", "--json"]
        (found,) = json.loads(output_of(listed, cwd=ROOT, env=environment(there[1])))
        assert (found["how"], found["state"]) in (("mdns", "joined"), ("incoming", "joined"))


def test_the_times_that_it_takes_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert lan.main(["--rounds", "1", "--machines", "0"]) == 0
    printed = capsys.readouterr().out
    assert len(re.findall(r"^two meet .*: [\d.]+ s \([\d.]+ to [\d.]+\)$", printed, re.MULTILINE)) == 4
