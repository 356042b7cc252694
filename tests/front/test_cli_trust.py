"""--key and --trust: two machines, which are directories, from their first meeting to a bus of both."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from busway.keys import Key
from busway.trust import Trusted, append
from tests.drivers.lines import crossed
from tests.front.cli_rig import Running, busway, busway_started, new_bus
from tests.front.test_cli_mesh import line_with, machines
from tests.front.test_pairing import files, key_in, screen

__all__ = ["machines"]

LOOPBACK = "tcp://127.0.0.1:0"


@contextmanager
def bridge(bus: str, directory: str, *words: str) -> Iterator[tuple[Running, str]]:
    """One that listens, and its URL."""
    with busway_started(
        "bridge", "--listen", LOOPBACK, *words, "--json", bus=bus, BUSWAY_DIR=directory
    ) as running:
        yield running, json.loads(line_with(running, "listening"))["url"]


def test_from_strangers_to_one_bus(machines: tuple[str, str], tmp_path: Path) -> None:
    """The bridge runs all the while, and reads its trust file again."""
    bus = new_bus()
    here, there = machines
    key_in(tmp_path, "here")
    theirs = key_in(tmp_path, "there")
    (tmp_path / "here.toml").write_text("# nobody yet\n")
    with (
        bridge(bus, here, *files(tmp_path, "here")) as (near, url),
        busway_started("serve", "lab/upper", "--", "tr", "a-z", "A-Z", bus=bus, BUSWAY_DIR=here),
    ):
        far = ["connect", url, "--key", str(tmp_path / "there.pem")]
        refused = busway(*far, bus=bus, BUSWAY_DIR=there).failed(4)
        assert f"the key {theirs.text} is not trusted: run `busway pair` at both" in refused
        assert theirs.text in line_with(near, "refused")
        with (
            screen("--listen", LOOPBACK, *files(tmp_path, "here"), "--name", "there") as listening,
            screen(listening.url(), *files(tmp_path, "there"), "--name", "here") as dialling,
        ):
            assert listening.words() == dialling.words()
            listening.say("yes")
            dialling.say("yes")
            assert (listening.status(), dialling.status()) == (0, 0)
        with busway_started(
            *far, "--trust", str(tmp_path / "there.toml"), bus=bus, BUSWAY_DIR=there
        ) as running:
            line_with(running, "link-up")
            asked = busway("request", "lab/upper", "--raw", "hello", bus=bus, BUSWAY_DIR=there).ok()
            assert asked.text.strip() == "HELLO"
            row = json.loads(line_with(near, "link-up"))
            assert row["peer"].replace("-", "") == theirs.id.hex()


def test_bridges_prove_their_keys_over_a_line(machines: tuple[str, str], tmp_path: Path) -> None:
    bus = new_bus()
    here, there = machines
    for name, other in (("here", "there"), ("there", "here")):
        append(tmp_path / f"{other}.toml", Trusted(name, key_in(tmp_path, name).public, "router"))
    with (
        crossed() as (one, two),
        busway_started(
            "bridge", one.url, *files(tmp_path, "here"), "--json", bus=bus, BUSWAY_DIR=here
        ) as near,
        busway_started("bridge", two.url, *files(tmp_path, "there"), bus=bus, BUSWAY_DIR=there),
    ):
        row = json.loads(line_with(near, "link-up"))
        assert row["peer"].replace("-", "") == Key.load(tmp_path / "there.pem").id.hex()


def test_leaf_may_ask_and_not_bridge(machines: tuple[str, str], tmp_path: Path) -> None:
    bus = new_bus()
    here, there = machines
    key_in(tmp_path, "here")
    append(tmp_path / "here.toml", Trusted("there", key_in(tmp_path, "there").public, "leaf"))
    with bridge(bus, here, *files(tmp_path, "here")) as (near, url):
        refused = busway("connect", url, "--key", str(tmp_path / "there.pem"), bus=bus, BUSWAY_DIR=there)
        assert "this command is no leaf; have it let in there as a router" in refused.failed(4)
        assert "link-" not in refused.text  # it never was one
        assert "would forward for others" in line_with(near, "refused")


def test_bridge_that_may_only_be_a_leaf_now_says_so_once(machines: tuple[str, str], tmp_path: Path) -> None:
    """With what has to change; not of each try, and no links that come and go."""
    bus = new_bus()
    here, there = machines
    policy = tmp_path / "policy.toml"
    policy.write_text('default = "open"\n')
    token = str(tmp_path / "token.txt")
    Path(token).write_text(busway("token").ok().text)
    os.chmod(token, 0o600)
    listening = ["--listen", "tcp://127.0.0.1:0", "--token-file", token, "--policy", str(policy), "--json"]
    with busway_started("bridge", *listening, bus=bus, BUSWAY_DIR=here) as near:
        url = json.loads(line_with(near, "listening"))["url"]
        joining = ["bridge", url, "--token-file", token, "--every", "600"]
        with busway_started(*joining, bus=bus, BUSWAY_DIR=there) as far:
            line_with(far, "link-up")
            policy.write_text('[[rule]]\nwho = "*"\nrole = "leaf"\n')
            told = line_with(far, "link-down")
            assert "this command is no leaf; have it let in there as a router (" in told
            line_with(near, "refused")  # of the next try
            policy.write_text("[[rule]]\n")
            assert "line 1: a rule needs who" in line_with(near, "policy")
            far.tell(signal.SIGINT)
            assert far.status() == 0
            assert "forwarded" in far.line()  # nothing else


def test_short_commands_share_the_bridges_key(machines: tuple[str, str], tmp_path: Path) -> None:
    bus = new_bus()
    here, there = machines
    key_in(tmp_path, "here")
    key = key_in(tmp_path, "there")
    append(tmp_path / "here.toml", Trusted("there", key.public, "router"))
    used = str(tmp_path / "there.pem")
    with (
        bridge(bus, here, *files(tmp_path, "here")) as (_, url),
        busway_started("connect", url, bus=bus, BUSWAY_KEY=used, BUSWAY_DIR=there) as running,
    ):
        line_with(running, "link-up")
        assert "in use by another bus" in busway(
            "connect", url, bus=bus, BUSWAY_KEY=used, BUSWAY_DIR=there
        ).failed(1)
        assert (
            busway("bench", url, "--seconds", "0.1", "--json", bus=bus, BUSWAY_KEY=used, BUSWAY_DIR=there)
            .ok()
            .document["url"]
            == url
        )
        assert busway("nodes", bus=bus, BUSWAY_KEY=used, BUSWAY_DIR=there).ok().text


def test_stranger_without_a_key_is_told_that_its_key_is_of_one_run(
    machines: tuple[str, str], tmp_path: Path
) -> None:
    here, there = machines
    bus = new_bus()
    key_in(tmp_path, "here")
    (tmp_path / "here.toml").write_text("# nobody yet\n")
    trust = str(tmp_path / "here.toml")
    hint = "a key of one run is not trusted: give its program one to keep (--key FILE)"
    with bridge(bus, here, *files(tmp_path, "here")) as (_, url):
        for words in (["connect", url], ["nodes", "--connect", url], ["connect", url, "--trust", trust]):
            refused = busway(*words, bus=bus, BUSWAY_DIR=there).failed(4)
            assert (hint in refused) == ("--trust" not in words)
        key_in(tmp_path, "there")
        own = ["--key", str(tmp_path / "there.pem")]
        assert hint not in busway("connect", url, *own, bus=bus, BUSWAY_DIR=there).failed(4)


def test_bridge_tells_what_is_wrong_with_its_trust_file(machines: tuple[str, str], tmp_path: Path) -> None:
    key_in(tmp_path, "here")
    trust = tmp_path / "here.toml"
    trust.write_text("# nobody yet\n")
    with bridge(new_bus(), machines[0], *files(tmp_path, "here")) as (near, _):
        trust.write_text("# nobody yet\nnonsense\n")
        text = json.loads(line_with(near, "holds until that is mended"))["text"]
        assert f"{trust}:2" in text or "line 2" in text


def test_open_bridge_takes_routers_only_on_purpose(machines: tuple[str, str]) -> None:
    bus = new_bus()
    here, there = machines
    with bridge(bus, here, "--open") as (_, url):
        refused = busway("connect", url, bus=bus, BUSWAY_DIR=there).failed(4)
        assert "this command is no leaf" in refused
        assert "--routers" in refused
    with (
        bridge(bus, here, "--open", "--routers") as (_, url),
        busway_started("connect", url, bus=bus, BUSWAY_DIR=there) as running,
    ):
        line_with(running, "link-up")
    assert "--routers is for --open" in busway("listen-on", LOOPBACK, "--routers", bus=bus).failed(2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nodes", "--key", "{key}"], "--key is for links that leave this machine"),
        (["endpoints", "--trust", "{trust}"], "--trust is for links that leave this machine"),
    ],
)
def test_options_that_would_do_nothing_are_refused(tmp_path: Path, words: list[str], sentence: str) -> None:
    key_in(tmp_path, "one")
    (tmp_path / "one.toml").write_text("")
    filled = [word.format(key=tmp_path / "one.pem", trust=tmp_path / "one.toml") for word in words]
    assert sentence in busway(*filled, bus=new_bus()).failed(2)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    key_in(tmp_path, "one")
    (tmp_path / "one.toml").write_text("[a]\nkey = 1\n")
    bus = new_bus()
    listen = ["listen-on", LOOPBACK]
    assert "line 2: a needs key" in busway(*listen, *files(tmp_path, "one"), bus=bus).failed(1)
    assert "busway key new" in busway(*listen, "--key", str(tmp_path / "two.pem"), bus=bus).failed(1)
    made = busway("certificate", "--out", str(tmp_path), "--json").ok().document
    told = busway(*listen, "--key", made["key"], bus=bus).failed(1)
    assert "--certificate-key" in told
    Key.new().save(tmp_path / "locked.pem", "sesame")
    assert "is encrypted" in busway(*listen, "--key", str(tmp_path / "locked.pem"), bus=bus).failed(1)
