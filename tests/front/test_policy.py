"""Policies: what a file may say, errors that name the line, who may do what, files that change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import busway as front
from busway import policy
from busway.keys import id_of_public, public_text
from busway.names import endpoint_id
from busway.policy import ACTIONS, PATTERNS_MAX, PolicyFile, PolicyTable, Who, parse, policy_of, text_of
from tests.rigs.effort import effort

ONE, TWO = (bytes([number]) * 32 for number in (1, 2))
KEY = public_text(ONE)
BOARD = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
PROCESS, USERSPACE, LOCALNET, GLOBAL = range(4)

TEXT = f"""\
# who may do what in the plant
default = "closed"

[groups]
plant = ["pump", "{KEY}"]
boards = [
    "{BOARD}",     # the one at the door
]

[[rule]]
who = {{ link = "ipc" }}
serve = ["**"]
call = "**"

[[rule]]
who = {{ group = "plant" }}
call = ["lab/*", "lab/alarm/**"]
serve = ["plant/**"]
realm = "localnet"
quota = {{ links = 2, messages = 1000 }}

[[rule]]
who = {{ group = ["plant", "boards"], link = ["tcp", "ws"] }}
publish = ["plant/level"]

[[rule]]
who = "*"
role = "leaf"
[rule.quota]
links = 4
"""


def known(*ids: bytes, names: tuple[str, ...] = (), link: str = "tcp", **more: Any) -> Who:
    return Who(frozenset(ids), frozenset(names), link, **more)


PUMP = known(names=("pump",))
KEYED = known(id_of_public(ONE), link="serial")
OTHER = known(id_of_public(TWO))
DOOR = known(bytes.fromhex(BOARD.replace("-", "")), link="ws")
HERE = known(link="ipc", uid=1000)


def may(who: Who, action: str, name: str, realm: int = LOCALNET, text: str = TEXT) -> bool:
    ruleset = parse(text, "F")
    what = ACTIONS.index(action)
    allowed = ruleset.rights(who).allow(what, name, realm)
    assert ruleset.explain(who, what, name, realm).allowed == allowed
    return allowed


# Who may do what


def test_rights_of_all_rules_add_up_and_nothing_else_is_allowed() -> None:
    assert may(PUMP, "call", "lab/light")
    assert may(PUMP, "call", "lab/alarm/fire/off")
    assert not may(PUMP, "call", "lab/light/off")
    assert not may(PUMP, "call", "office/light")
    assert not may(PUMP, "send", "lab/light")
    assert may(PUMP, "publish", "plant/level")  # by the third rule, for it comes by tcp
    assert not may(KEYED, "publish", "plant/level")
    assert may(KEYED, "serve", "plant/pump")
    assert may(DOOR, "publish", "plant/level")
    assert not may(DOOR, "call", "lab/light")


def test_default_is_for_whom_no_rule_names_an_action() -> None:
    for action in ACTIONS:
        assert not may(OTHER, action, "lab/light")
        assert may(OTHER, action, "lab/light", text=TEXT.replace("closed", "open"))
        assert may(OTHER, action, "lab/light", text="")
    assert not may(PUMP, "call", "office/light", text=TEXT.replace("closed", "open"))


def test_whom_one_may_use_one_may_see() -> None:
    assert may(PUMP, "see", "lab/light")
    assert may(PUMP, "see", "plant/level")
    assert not may(PUMP, "see", "office/light")
    assert may(
        PUMP, "see", "office/light", text=TEXT + '[[rule]]\nwho = { key = "pump" }\nsee = ["office/*"]\n'
    )


def test_an_empty_list_allows_nothing() -> None:
    text = '[[rule]]\nwho = "*"\ncall = []\n'
    assert not any(may(OTHER, action, "lab/light", text=text) for action in ACTIONS)


def test_realm_bounds_what_is_announced_and_published() -> None:
    assert may(PUMP, "serve", "plant/pump", LOCALNET)
    assert may(PUMP, "serve", "plant/pump", USERSPACE)
    assert not may(PUMP, "serve", "plant/pump", GLOBAL)
    assert may(PUMP, "call", "lab/light", GLOBAL)
    assert may(HERE, "serve", "anything", GLOBAL)


def test_roles_and_quotas_take_no_rights_away() -> None:
    text = '[[rule]]\nwho = "*"\nrole = "router"\nquota = { links = 3, bytes = 4096 }\n'
    assert all(may(OTHER, action, "x", text=text) for action in ACTIONS)
    rights = parse(TEXT, "F").rights(PUMP)
    assert (rights.role, dict(rights.quota)) == ("leaf", {"links": 2, "messages": 1000})
    assert dict(parse(TEXT, "F").rights(HERE).quota) == {"links": 4}
    assert parse(text, "F").rights(OTHER).role == "router"


def test_all_that_is_said_of_whom_must_hold() -> None:
    text = '[[rule]]\nwho = { uid = 1000, link = "ipc" }\ncall = ["a"]\n'
    text += '[[rule]]\nwho = { key = "pump", listener = "tcp://0.0.0.0:*" }\ncall = ["b"]\n'
    text = 'default = "closed"\n' + text
    assert may(HERE, "call", "a", text=text)
    assert not may(known(link="ipc", uid=1001), "call", "a", text=text)
    assert not may(known(link="tcp", uid=1000), "call", "a", text=text)
    there = known(names=("pump",), listeners=("tcp://0.0.0.0:0", "tcp://0.0.0.0:7000"))
    assert may(there, "call", "b", text=text)
    assert not may(there._replace(listeners=("tcp://127.0.0.1:7000",)), "call", "b", text=text)
    assert not may(there._replace(names=frozenset()), "call", "b", text=text)


def test_uuids_in_any_case() -> None:
    text = f'[[rule]]\nwho = "*"\ncall = ["{BOARD.upper()}"]\n'
    assert may(OTHER, "call", BOARD, text=text)


def test_only_the_name_of_an_endpoint_counts() -> None:
    """Names come from peers: an endpoint of another id would pass by that of an innocent one."""
    assert text_of(endpoint_id("lab/light"), "lab/light") == "lab/light"
    assert text_of(endpoint_id("lab/door"), "lab/light") == str(UUID(bytes=endpoint_id("lab/door")))
    assert text_of(bytes(16), "") == "00000000-0000-0000-0000-000000000000"
    assert text_of(bytes(16), "x" * 65).count("-") == 4
    assert text_of(bytes(16), "\udc80").count("-") == 4


# Why


@pytest.mark.parametrize(
    ("who", "action", "name", "realm", "line", "why"),
    [
        (PUMP, "call", "lab/light", 2, 15, "rule 2 (line 15) lets them call lab/*"),
        (PUMP, "see", "lab/alarm/fire", 2, 15, "rule 2 (line 15) lets them call lab/alarm/**"),
        (PUMP, "publish", "plant/level", 2, 22, "rule 3 (line 22) lets them publish plant/level"),
        (PUMP, "serve", "plant/x", 3, 15, "up to realm localnet, and this is of realm global"),
        (PUMP, "send", "x", 2, 15, "rule 2 (line 15) and rule 3 (line 22) say what they may do, and send x"),
        (KEYED, "send", "x", 2, 15, "rule 2 (line 15) says what they may do, and send x is not among it"),
        (
            OTHER,
            "send",
            "x",
            2,
            0,
            "none of the rules for them says what they may do, and the default is closed",
        ),
    ],
)
def test_why(who: Who, action: str, name: str, realm: int, line: int, why: str) -> None:
    decision = parse(TEXT, "F").explain(who, ACTIONS.index(action), name, realm)
    assert why in decision.why
    assert (decision.rule.line if decision.rule else 0) == line


def test_why_of_many_patterns_costs_little_but_for_the_first_time() -> None:
    """It is asked for each denial that is told. Before, all patterns were made anew each time: 0.55 of these
    units."""
    patterns = [f"plant {number}/" + "hall ?/*valve/" * 6 for number in range(PATTERNS_MAX)]
    ruleset = PolicyTable({"rule": [{"who": "*", "call": patterns}]}).ruleset
    name = "plant 7/" + "hall 1/valve/" * 6 + "no"

    def why() -> str:
        return ruleset.explain(OTHER, ACTIONS.index("call"), name, 0).why

    assert why().startswith("rule 1 says what they may do")
    assert effort(why) < 0.15


def test_why_without_a_rule() -> None:
    assert parse("", "F").explain(OTHER, 0, "x", 0).why == "no rule is for them, and the default is open"


def test_what_would_have_to_be_known() -> None:
    rules = parse(TEXT, "F").rules
    assert rules[2].whom.lacks(PUMP._replace(link="")) == ["link"]
    assert rules[2].whom.lacks(OTHER._replace(link="")) == []
    assert rules[1].whom.lacks(PUMP) == []
    text = '[[rule]]\nwho = { uid = 1, listener = "x" }\nsee = []\n'
    assert parse(text, "F").rules[0].whom.lacks(Who()) == ["uid", "listener"]


# What stands in a file


RULE = '[[rule]]\nwho = "*"\n'


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ('\ndefault = "shut"\n', 2, 'default must be "open" or "closed", not \'shut\''),
        ("[rules]\n", 1, "expected default, [groups] and [[rule]], not 'rules'"),
        ("[rule]\n", 1, "in double brackets"),
        ("groups = 1\n", 1, "expected [groups]"),
        ("[groups]\na = 1\n", 2, "expected names of the trust file"),
        ('[groups]\na = [\n  "pump",\n  "busway1abc",\n]\n', 4, "is no whole public key"),
        ('[groups]\na = ["x", "a\\u001b"]\n', 2, "is no name"),
        (f'{RULE}call = "x"\n[[rule]]\ncall = "x"\n', 4, 'a rule needs who = "*"'),
        (f"{RULE}\ncalls = []\n", 4, "a rule has who, serve, call"),
        (RULE, 1, "the rule says nothing"),
        ('[[rule]]\nwho = "all"\ncall = []\n', 2, 'expected "*" for everybody'),
        ("[[rule]]\nwho = {}\ncall = []\n", 2, 'expected "*" for everybody'),
        ('[[rule]]\ncall = []\n[rule.who]\nname = "x"\n', 4, "who has key, group, uid, link, listener"),
        (
            '[[rule]]\nwho = { group = "x" }\ncall = []\n',
            2,
            "there is no group 'x': say in [groups] who is in it",
        ),
        ('[[rule]]\nwho = { uid = "me" }\ncall = []\n', 2, "expected the number of a user"),
        ("[[rule]]\nwho = { uid = true }\ncall = []\n", 2, "expected the number of a user"),
        ('[[rule]]\nwho = { link = "udp" }\ncall = []\n', 2, "the sorts of links are ipc, pipe, tcp"),
        (f'{RULE}call = [\n "a", # b\n "",\n]\n', 5, "'' is no pattern"),
        (f"{RULE}call = [\n \"a\",\n '{'x' * 129}',\n]\n", 5, "is no pattern"),
        (f"{RULE}call = [1]\n", 3, "expected patterns of names"),
        (f'{RULE}serve = []\nrealm = "lan"\n', 4, "realm must be one of"),
        (f'{RULE}call = []\nrealm = "global"\n', 4, "realm does nothing without serve, publish or subscribe"),
        (f'{RULE}role = "king"\n', 3, 'role must be one of "leaf", "router"; not \'king\''),
        (f"{RULE}quota = 3\n", 3, "expected quota = { … }"),
        (f"{RULE}quota = {{ link = 3 }}\n", 3, "a quota has links, routes"),
        (f"{RULE}[rule.quota]\nlinks = -1\n", 4, "links must be a whole number from 0 on, not -1"),
        (f"{RULE}quota.messages = 0\n", 3, "messages must be a whole number from 1 on, not 0"),
        (f"{RULE}quota.bytes = 1000\n", 3, "bytes must be a whole number from 4096 on, not 1000"),
        (f"{RULE}quota.bytes = true\n", 3, "bytes must be a whole number"),
        ('x = """\n"""\n[[rule]\n', 3, "no TOML"),
        (f"{RULE}call = []\n" * 257, 769, "257 rules, and 256 are the most"),
        ("[groups]\n" + "".join(f"g{n} = []\n" for n in range(257)), 1, "257 groups"),
        (f"[groups]\ng = {['n'] * 4097}\n", 2, "4097 members"),
        (f"{RULE}call = {['n'] * 1025}\n", 1, "1025 patterns in all rules, and 1024 are the most"),
        (f"{RULE}call = {['n'] * 1000}\n" * 2, 4, "2000 patterns in all rules, and 1024 are the most"),
        (
            '[groups]\na = []\nb = []\n[[rule]]\nwho = { group = "x" }\ncall = []\n',
            5,
            "there is no group 'x': there are a, b",
        ),
    ],
)
def test_errors_name_the_line(text: str, line: int, sentence: str) -> None:
    with pytest.raises(front.PolicyFileError) as caught:
        parse(text, "F")
    assert sentence in str(caught.value)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"policy F: line {line}: " if line else "policy F: ")


def test_lines_in_what_is_written_in_other_ways() -> None:
    text = """\
title = [ # a comment with "quotes" and ]
]
"default" = "open"
rule = [ { who = "*", call = "x" },
         { who = "y", call = "x" } ]
"""
    with pytest.raises(front.PolicyFileError) as caught:
        parse(text.replace("title", "groups.x"), "F")
    assert caught.value.line == 5


# What a bus is given


def test_table() -> None:
    table = policy_of({"default": "closed", "rule": [{"who": "*", "see": ["**"]}]})
    assert isinstance(table, PolicyTable)
    assert table.ruleset.rights(OTHER).allow(policy.SEE, "x", LOCALNET)
    assert (table.version(), table.trouble) == (0, None)
    with pytest.raises(front.PolicyFileError, match=r"^policy policy=: rule\.0\.who: expected"):
        policy_of({"rule": [{"who": 1, "see": []}]})
    with pytest.raises(front.PolicyFileError, match=r"rule: a rule begins"):
        policy_of({"rule": {"who": "*"}})


def test_what_policy_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUSWAY_POLICY", raising=False)
    assert policy_of(None) is None
    path = tmp_path / "policy.toml"
    with pytest.raises(front.PolicyFileError, match=r"No such file or directory: write one"):
        policy_of(path)
    path.write_text(TEXT)
    monkeypatch.setenv("BUSWAY_POLICY", str(path))
    for given in (None, path, str(path), PolicyFile(path)):
        found = policy_of(given)
        assert found is not None
        assert len(found.ruleset.rules) == 4
    with pytest.raises(TypeError, match="not list"):
        policy_of([path])


def test_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(TEXT)
    file = PolicyFile(path)
    first = file.version()
    assert file.version() == first
    path.write_text(TEXT.replace("office", "lab").replace('call = "**"', 'call = "a"'))
    second = file.version()
    assert second != first
    assert not file.ruleset.rights(HERE).allow(policy.CALL, "x", LOCALNET)
    path.write_text("[[rule]\n")
    assert file.version() != second
    assert "line 1: no TOML" in str(file.trouble)
    assert not file.ruleset.is_open
    path.write_text('default = "open"')
    file.version()
    assert file.trouble is None
    assert file.ruleset.is_open


def test_file_that_is_emptied_to_be_written_again_denies_no_less(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nwho = "*"\ncall = ["a"]\n')
    file = PolicyFile(path)
    path.write_text("\n")
    assert file.version() == 1
    assert "it is empty" in str(file.trouble)
    assert not file.ruleset.rights(HERE).allow(policy.CALL, "x", LOCALNET)
    path.write_text('default = "open"\n')
    file.version()
    assert file.trouble is None
    assert file.ruleset.rights(HERE).allow(policy.CALL, "x", LOCALNET)


@pytest.mark.skipif(os.name != "posix", reason="named pipes of POSIX")
def test_pipe_in_place_of_the_file_holds_nobody_up_and_empties_nothing(tmp_path: Path) -> None:
    """Whoever reads it would wait for a writer; what has been read once is not there a second time."""
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nwho = "*"\ncall = ["a"]\n')
    file = PolicyFile(path)
    path.unlink()
    os.mkfifo(path, 0o600)
    file.version()
    assert "no regular file" in str(file.trouble)
    assert not file.ruleset.rights(HERE).allow(policy.CALL, "x", LOCALNET)
    with pytest.raises(front.PolicyFileError, match="no regular file"):
        PolicyFile(path)


def test_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(TEXT)
    path.chmod(0o666)
    with pytest.raises(front.PolicyFileError, match=r"others can write it .*, and let anybody do anything"):
        PolicyFile(path)
