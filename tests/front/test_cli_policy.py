"""`busway policy`: files that are right and wrong, and what they say of whom."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from busway.keys import public_text
from busway.trust import Trusted, append
from tests.front.cli_rig import Ended, busway, busway_started, new_bus, until
from tests.front.test_cli_mesh import line_with, machines
from tests.rigs.tree import ROOT

__all__ = ["machines"]

KEY = public_text(bytes([1]) * 32)
TEXT = """\
default = "closed"

[[rule]]
who = { key = "pump" }
call = ["lab/*"]

[[rule]]
who = { key = "pump", link = "tcp" }
serve = ["pump/**"]
realm = "userspace"
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = tmp_path / "policy.toml"
    path.write_text(TEXT)
    return str(path)


@pytest.fixture
def trusted(tmp_path: Path) -> str:
    append(tmp_path / "trust.toml", Trusted("pump", bytes([1]) * 32, "leaf"))
    return str(tmp_path / "trust.toml")


def test_check(path: str, trusted: str) -> None:
    right = f"{path} is right: 2 rules, default closed"
    blind = busway("policy", "check", path).ok().text
    assert blind == f"{right}; its names were looked up nowhere: say --trust FILE\n"
    assert busway("policy", "check", path, "--trust", trusted).ok().text == f"{right}\n"
    nobody = Path(trusted).with_name("nobody.toml")
    nobody.touch()
    assert "'pump' is in no entry" in busway("policy", "check", path, "--trust", str(nobody)).stderr
    Path(path).write_text(TEXT + '[[rule]]\nwho = { key = "pmup" }\nsee = "**"\n')
    told = busway("policy", "check", path, BUSWAY_TRUST=trusted)
    assert (told.status, "'pmup' is in no entry of the trust file" in told.stderr) == (0, True)
    found = busway("policy", "check", path, "--trust", trusted, "--json").ok().document
    assert found == {"file": path, "rules": 3, "unknown": ["pmup"]}
    nearer = os.path.relpath(path, ROOT)  # where the commands run
    told = busway("policy", "check", nearer, "--trust", trusted)
    assert told.text == f"{nearer} is right: 3 rules, default closed\n"
    assert f"{nearer}:12: 'pmup' is in no entry" in told.stderr
    explained = busway("policy", "explain", nearer, "pump", "call", "lab/light").ok().text
    assert explained.startswith(f"allowed: {nearer}:3: ")
    Path(path).write_text(TEXT + "[[rule]]\n")
    assert f": policy {nearer}: line 11: a rule needs" in busway("policy", "check", nearer).failed(1)
    assert "line 11: a rule needs who" in busway("policy", "check", path).failed(1)
    assert "line 11: a rule needs who" in busway("policy", "explain", path, "a", "see", "b").failed(2)
    assert "No such file" in busway("policy", "check", path + "x").failed(1)


def test_explain(path: str, trusted: str) -> None:
    allowed = busway("policy", "explain", path, "pump", "call", "lab/light").ok().lines
    assert allowed[0] == f"allowed: {path}:3: rule 1 (line 3) lets them call lab/*"
    assert allowed[1] == "rule 2 (line 7) may be for them, too: say --link"
    by_key = busway("policy", "explain", path, KEY, "call", "lab/light", "--trust", trusted)
    assert by_key.ok().text.startswith("allowed")
    denied = busway("policy", "explain", path, KEY, "call", "lab/light")
    assert denied.status == 1
    assert denied.text == f"denied: {path}: no rule is for them, and the default is closed\n"
    serving = ["policy", "explain", path, "pump", "serve", "pump/state", "--link", "tcp"]
    narrow = busway(*serving)
    assert narrow.status == 1
    assert (
        "line 7) lets them serve pump/** up to realm userspace, and this is of realm localnet" in narrow.text
    )
    assert busway(*serving, "--realm", "userspace").ok().text.startswith("allowed")
    found = busway(*serving, "--json")
    assert found.status == 1
    assert (found.document["allowed"], found.document["rule"], found.document["line"]) == (False, 2, 7)
    undecided = busway("policy", "explain", path, "pump", "see", "x", "--json").document["undecided"]
    assert undecided == [{"rule": 2, "line": 7, "needs": ["link"]}]


def test_what_no_policy_is_asked_about(path: str) -> None:
    for name in ("busway/seal", "busway/introspection", "busway/audit", "busway/lookup"):
        told = busway("policy", "explain", path, "pump", "call", name)
        assert told.ok().text == f"allowed: {path}: nodes work together by it: no rule is asked\n"


def test_somebody_whom_the_trust_file_does_not_know(path: str, trusted: str) -> None:
    words = ["policy", "explain", path, "pmup", "call", "lab/light"]
    told = busway(*words, "--trust", trusted)
    assert (told.status, "'pmup' is in no entry of the trust file" in told.stderr) == (1, True)
    assert not busway("policy", "explain", path, "pump", "call", "lab/light", "--trust", trusted).stderr
    assert "'pmup' is not named in the policy, and was looked up nowhere" in busway(*words).stderr


def test_words_that_mean_nothing(path: str) -> None:
    explain = ["policy", "explain", path]
    assert "explain FILE WHO ACTION NAME" in busway(*explain, "pump").failed(2)
    assert "the actions are serve, call" in busway(*explain, "pump", "eat", "x").failed(2)
    assert "is no whole public key" in busway(*explain, KEY[:-1], "call", "x").failed(2)
    assert "1 to 64 UTF-8 bytes" in busway(*explain, "*", "call", "x" * 65).failed(2)
    assert "check takes the file only" in busway("policy", "check", path, "pump").failed(2)
    assert "or set BUSWAY_POLICY" in busway("policy", "check").failed(2)


def test_the_file_that_programs_go_by(path: str) -> None:
    checked = busway("policy", "check", BUSWAY_POLICY=path).ok().text
    assert checked.startswith(f"{path} is right: 2 rules, default closed")
    told = busway("policy", "explain", "pump", "call", "lab/light", BUSWAY_POLICY=path).ok().text
    assert told.startswith(f"allowed: {path}:3: rule 1 (line 3) lets them call lab/*\n")
    assert busway("policy", "explain", path, "pump", "call", "x", BUSWAY_POLICY="nowhere").status == 1


def test_example_of_the_document(tmp_path: Path) -> None:
    """What docs/howto/policy.md shows is a policy, and said of it is what is printed."""
    text = (ROOT / "docs" / "howto" / "policy.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    (tmp_path / "policy.toml").write_text(example)
    append(tmp_path / "trust.toml", Trusted("pump", bytes([1]) * 32, "leaf"))
    said = ""
    for line in shown.splitlines():
        if line.startswith("$ busway "):
            said += line + "\n"
            words = [
                str(tmp_path / word) if word.endswith(".toml") else word for word in shlex.split(line)[2:]
            ]
            said += busway(*words).text.replace(f"{tmp_path}/", "")
    assert said == shown


def test_commands_tell_of_names_that_nobody_has(path: str, trusted: str) -> None:
    text = Path(path).read_text() + '[[rule]]\nwho = { key = "pmup" }\nsee = "**"\n'
    Path(path).write_text(text)
    listening = ["bridge", "--listen", "tcp://127.0.0.1:0", "--policy", path, "--trust", trusted]
    with busway_started(*listening, bus=new_bus()) as bridge:
        told = bridge.complaint()
        assert told.startswith(f"busway: {path}:12: what the policy says of 'pmup' is for nobody: no board")
        assert trusted in told


def test_who_sees_a_name_in_the_list_alone_is_told_what_hides_it(tmp_path: Path) -> None:
    path, bus = tmp_path / "policy.toml", new_bus()
    path.write_text('[[rule]]\nwho = "*"\ncall = ["lab/else"]\n')
    with busway_started("serve", "lab/door", "--policy", str(path), "--", "cat", bus=bus):
        assert "lab/door" in busway("endpoints", bus=bus).ok().text
        complaint = busway("request", "lab/door", bus=bus).failed(1)
        assert "lists it, but it is not there for this command: its realm or a policy says so" in complaint
        assert "known similar" not in complaint


POLICY = """\
default = "closed"

[[rule]]
who = { link = "ipc" }
call = ["**"]
serve = ["**"]

[[rule]]
who = { link = ["beyond", "tcp"] }
call = ["lab/upper"]
see = ["lab/*"]
"""


def test_what_comes_over_a_bridge_is_judged_by_both(machines: tuple[str, str], tmp_path: Path) -> None:
    """The bridge shows what may be seen, the service answers what may be asked; as the files say now."""
    bus = new_bus()
    here, there = machines
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    serving = ["--policy", str(path), "--", "tr", "a-z", "A-Z"]
    listening = ["bridge", "--listen", "tcp://127.0.0.1:0", "--policy", str(path), "--json"]
    with (
        busway_started(*listening, bus=bus, BUSWAY_DIR=here) as bridge,
        busway_started("serve", "lab/upper", *serving, bus=bus, BUSWAY_DIR=here),
        busway_started("serve", "lab/lower", *serving, bus=bus, BUSWAY_DIR=here),
        busway_started(
            "connect", json.loads(line_with(bridge, "listening"))["url"], bus=bus, BUSWAY_DIR=there
        ) as far,
    ):
        line_with(far, "link-up")

        def ask(name: str, directory: str = there) -> Ended:
            return busway("request", name, "--raw", "hello", "--ttl", "20", bus=bus, BUSWAY_DIR=directory)

        assert ask("lab/upper").ok().text.strip() == "HELLO"
        assert ask("lab/lower").failed(1).endswith("(NO_PERMISSION)")
        assert ask("lab/lower", here).ok().text.strip() == "HELLO"
        assert "a policy may hide it" in busway("request", "lab/none", bus=bus, BUSWAY_DIR=here).failed(1)
        told = busway("doctor", bus=bus, BUSWAY_DIR=here)
        assert "has denied what others tried, 1 time" in told.text
        assert "may not call lab/lower, for rule 2 (line 8) says what they may do" in told.text
        path.write_text(POLICY.replace("lab/upper", "lab/lower"))
        until(lambda: ask("lab/lower").status == 0)
        until(lambda: "NO_PERMISSION" in ask("lab/upper").stderr)
