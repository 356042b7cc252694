"""`busway connect`, `listen-on`, `links --watch` and `bench`, between machines that are directories."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.drivers.connect_proxy import ConnectProxy
from tests.front.cli_rig import Running, busway, busway_started, environment, new_bus, python, until
from tests.front.test_cli_mesh import free_port, line_with, machines
from tests.rigs import forks, terminal

__all__ = ["machines"]

SESAME, WRONG = "sesame-h4k9w2x7q5m8z3t6r1v0", "wrong-h4k9w2x7q5m8z3t6r1v0"


@contextmanager
def listening(
    bus: str, directory: str, *words: str, url: str = "tcp://127.0.0.1:0"
) -> Iterator[tuple[Running, str]]:
    with busway_started("listen-on", url, *words, "--json", bus=bus, BUSWAY_DIR=directory) as running:
        yield running, json.loads(line_with(running, "listening"))["url"]


def is_shown(screen: terminal.Terminal, text: str) -> bool:
    return text in screen.text


def doctor(directory: str, bus: str, *words: str) -> str:
    """The findings about a realm."""
    found = busway("doctor", *words, "--json", bus=bus, BUSWAY_DIR=directory)
    assert found.status == 1
    findings = [each for each in found.document["findings"] if "realm global" in each["finding"]]
    assert "--realm localnet" in findings[0]["advice"]
    return str(findings[0]["finding"])


class TestConnectAndListenOn:
    def test_they_make_two_machines_one_bus(self, machines: tuple[str, str]) -> None:
        here, there = machines
        bus = new_bus()
        with (
            listening(bus, there, "--token", SESAME) as (_, url),
            busway_started("serve", "lab/upper", "--", "tr", "a-z", "A-Z", bus=bus, BUSWAY_DIR=there),
            busway_started("connect", url, "--token", SESAME, bus=bus, BUSWAY_DIR=here) as near,
        ):
            line_with(near, "link-up")
            asked = busway("request", "lab/upper", "--raw", "hello", bus=bus, BUSWAY_DIR=here).ok()
            assert asked.text.strip() == "HELLO"
            near.tell(signal.SIGINT)
            assert near.status() == 0

    @pytest.mark.parametrize("command", ["connect", "bridge"])
    def test_it_gives_up_when_told_to(self, command: str, machines: tuple[str, str]) -> None:
        url = f"tcp://127.0.0.1:{free_port()}"
        with busway_started(command, url, "--wait", "0.5", bus=new_bus(), BUSWAY_DIR=machines[0]) as running:
            assert "is a node listening there?; trying again" in line_with(running, "trying again")
            assert running.status() == 4
            assert "is a node listening there?" in running.rest()[-1]

    def test_who_waits_at_a_terminal_is_told_for_what(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent, contextlib.ExitStack() as stack:
            url = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
            files = ("--key", str(tmp_path / "k.pem"), "--trust", str(tmp_path / "t.toml"))
            busway("key", "new", str(tmp_path / "k.pem"))
            screens = [
                stack.enter_context(
                    terminal.forked(
                        "-m", "busway", *words, env=environment({"BUSWAY_BUS": new_bus()}), ready=forks.READY
                    )
                )
                for words in (("nodes", "--connect", url), ("connect", url), ("pair", url, *files))
            ]
            for each in screens:
                each.until(functools.partial(is_shown, each, f"busway: waiting for {url} to answer"))

    def test_the_real_url_is_printed(self, machines: tuple[str, str]) -> None:
        with busway_started(
            "listen-on", "ws://127.0.0.1:0", bus=new_bus(), BUSWAY_DIR=machines[0]
        ) as running:
            url = line_with(running, "listening").split()[-1]
            assert url.startswith("ws://127.0.0.1:")
            assert not url.endswith(":0")

    def test_beyond_loopback_it_wants_a_token(self) -> None:
        for url in ("tcp://0.0.0.0:0", "ws://0.0.0.0:0"):
            told = busway("listen-on", url, bus=new_bus()).failed(4)
            assert "--token" in told
            assert "--open" in told
            assert "token=" not in told

    def test_through_tls(self, machines: tuple[str, str], tmp_path: Path) -> None:
        here, there = machines
        bus = new_bus()
        files = busway("certificate", "--out", str(tmp_path), "--json").ok().document
        shown = ("--certificate", files["chain"], "--certificate-key", files["key"])
        with (
            listening(bus, there, *shown, url="wss://127.0.0.1:0") as (_, url),
            busway_started("connect", url, "--cafile", files["ca"], bus=bus, BUSWAY_DIR=here) as near,
        ):
            line_with(near, "link-up")
            told = busway("bench", url, bus=bus).failed(4)
            assert "not trusted" in told
            assert "--cafile" in told
            measured = busway(
                "bench", url, "--cafile", files["ca"], "--seconds", "0.1", "--json", bus=bus
            ).ok()
            assert measured.document["url"] == url
        assert "wss://" in busway("listen-on", "ws://127.0.0.1:0", *shown, bus=bus).failed(2)
        assert "--certificate" in busway("listen-on", "wss://127.0.0.1:0", bus=bus).failed(4)

    def test_what_is_wrong_is_said_once(self, machines: tuple[str, str]) -> None:
        bus = new_bus()
        with listening(bus, machines[1], "--token", SESAME, url="ws://127.0.0.1:0") as (_, url):
            for words, told in {
                (): "one side has none",
                ("--token", WRONG): "the token is wrong",
            }.items():
                found = busway("bench", url, *words, bus=bus).failed(4)
                assert told in found
                assert found.count(url) == 1
            assert "ws://" in busway("bench", url.replace("ws:", "tcp:"), bus=bus).failed(4)
            told = busway("listen-on", url, bus=bus).failed(4)
            assert "in use" in told
            assert told.count(url) == 1
        wrong = busway("connect", "ws://lab/x y", bus=bus)
        assert (wrong.status, wrong.text) == (2, ""), "no attempt is promised"
        assert "missing.pem" in busway("connect", "wss://lab", "--cafile", "missing.pem", bus=bus).failed(2)
        closed = f"tcp://127.0.0.1:{free_port()}"
        assert "is a node listening there?" in busway("bench", closed, bus=bus).failed(4)

    @pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "ws://127.0.0.1:0"])
    def test_a_client_with_a_wrong_token_is_told_and_counted(
        self, machines: tuple[str, str], url: str
    ) -> None:
        bus = new_bus()
        with listening(bus, machines[1], "--token", SESAME, url=url) as (running, place):
            busway("bench", place, "--token", WRONG, bus=bus).failed(4)
            told = json.loads(line_with(running, '"refused"'))
            assert told["code"] == 7
            assert "its token is wrong" in told["text"]
            found = busway("doctor", "--json", bus=bus, BUSWAY_DIR=machines[1])
            (finding,) = found.document["findings"]
            assert re.search(r"has refused 1 client since it started, the last \d+ m?s ago: ", str(finding))
            assert found.status == 1

    def test_a_link_that_lets_nothing_pass_says_so(self, machines: tuple[str, str]) -> None:
        here, there = machines
        bus = new_bus()
        with (
            busway_started("serve", "lab/upper", "--", "tr", "a-z", "A-Z", bus=bus, BUSWAY_DIR=there),
            busway_started("listen-on", "ws://127.0.0.1:0", bus=bus, BUSWAY_DIR=there) as far,
        ):
            url = line_with(far, "listening").split()[-1]
            with busway_started("connect", url, bus=bus, BUSWAY_DIR=here) as near:
                for side in (near, far):
                    line_with(side, "link-up")
                    assert "--realm localnet" in side.line()
                assert "lab/upper" in doctor(there, bus), "the realm is named as the barrier"
                assert "lab/upper" in doctor(there, bus, url)
                asked = busway("request", "lab/upper", "--raw", "hello", bus=bus, BUSWAY_DIR=here)
                assert asked.status == 1

    def test_a_link_that_lets_only_others_pass_says_so(self, machines: tuple[str, str]) -> None:
        here, there = machines
        bus = new_bus()
        with (
            busway_started("serve", "lab/upper", "--", "tr", "a-z", "A-Z", bus=bus, BUSWAY_DIR=there),
            busway_started("serve", "lab/far", "--realm", "global", "--", "cat", bus=bus, BUSWAY_DIR=there),
            busway_started("listen-on", "ws://127.0.0.1:0", bus=bus, BUSWAY_DIR=there) as far,
        ):
            url = line_with(far, "listening").split()[-1]
            with busway_started("connect", url, bus=bus, BUSWAY_DIR=here) as near:
                line_with(near, "link-up")
                line_with(far, "link-up")
                assert "1 of the 2 endpoints here does not pass" in far.line()
                found = busway("doctor", "--json", bus=bus, BUSWAY_DIR=there).ok().document
                (remark,) = found["remarks"]
                assert (
                    "has realm global, and of the endpoints here these do not pass: lab/upper"
                    in remark["remark"]
                )
                assert "--realm localnet" in remark["advice"]
                told = busway("doctor", bus=bus, BUSWAY_DIR=there).ok().lines
                assert any(line.startswith("!  ") and "lab/upper" in line for line in told)

    def test_who_sees_nothing_behind_a_link_hears_why(self, machines: tuple[str, str]) -> None:
        here, there = machines
        bus = new_bus()
        with (
            busway_started("serve", "lab/upper", "--", "tr", "a-z", "A-Z", bus=bus, BUSWAY_DIR=there),
            listening(bus, there, url="ws://127.0.0.1:0") as (_, url),
            busway_started("connect", url, bus=bus, BUSWAY_DIR=here) as near,
        ):
            line_with(near, "link-up")
            (remark,) = busway("doctor", "--json", bus=bus, BUSWAY_DIR=here).ok().document["remarks"]
            assert "has realm global, and nothing is seen behind it" in remark["remark"]
            asked = busway("request", "lab/upper", "--raw", "hello", bus=bus, BUSWAY_DIR=here)
            assert "a link on the way there has realm global" in asked.failed(1)

    def test_with_a_realm_at_both_sides_it_passes(self, machines: tuple[str, str]) -> None:
        here, there = machines
        bus = new_bus()
        realm = ("--realm", "localnet")
        with (
            busway_started("serve", "lab/upper", "--", "tr", "a-z", "A-Z", bus=bus, BUSWAY_DIR=there),
            listening(bus, there, *realm, url="ws://127.0.0.1:0") as (far, url),
            busway_started("bridge", url, *realm, "--every", "0.2", bus=bus, BUSWAY_DIR=here) as near,
        ):
            line_with(near, "link-up")
            assert "forwarded" in near.line(), "there is nothing to hint at"
            line_with(far, "link-up")
            asked = busway("request", "lab/upper", "--raw", "hello", bus=bus, BUSWAY_DIR=here).ok()
            assert asked.text.strip() == "HELLO"
            assert "realm global" not in busway("doctor", bus=bus, BUSWAY_DIR=there).text

    def test_through_a_proxy_and_with_headers(self, machines: tuple[str, str]) -> None:
        bus = new_bus()
        with listening(bus, machines[1], url="ws://127.0.0.1:0") as (_, url):
            port = int(url.rpartition(":")[2])
            with ConnectProxy({"lab.example:8080": port}, password="pass") as proxy:
                place = f"lab:pass@{proxy.address}"
                words = ("bench", "ws://lab.example:8080", "--seconds", "0.1", "--header", "X-Lab: 7")
                busway(*words, "--proxy", f"http://{place}", bus=bus).ok()
                busway(*words, bus=bus, http_proxy=f"http://{place}").ok()
                assert "give --proxy 'http://" in busway(*words, "--proxy", proxy.url, bus=bus).failed(4)
                assert proxy.asked == ["lab.example:8080"] * 3
                assert "no address" in busway(*words, "--proxy", "none", bus=bus, http_proxy=place).failed(4)
        assert "NAME:VALUE" in busway("bench", url, "--header", "X-Lab", bus=bus).failed(2)
        assert "leave it out" in busway("bench", url, "--header", "Host: x", bus=bus).failed(2)

    def test_what_is_no_address(self) -> None:
        assert "tcp://host:port" in busway("connect", "pigeon://loft", bus=new_bus()).failed(2)


class TestLinksWatch:
    def test_a_link_that_is_lost_and_comes_back_is_seen(self, machines: tuple[str, str]) -> None:
        here, there = machines
        bus, url = new_bus(), f"tcp://127.0.0.1:{free_port()}"
        with busway_started("connect", url, bus=bus, BUSWAY_DIR=here):
            with busway_started("links", "--watch", "--json", bus=bus, BUSWAY_DIR=here) as watch:
                seen = json.loads(line_with(watch, url))
                assert seen["state"] == "connecting"
                assert "refused" in seen["error"] or not seen["error"]
                with listening(bus, there, url=url):
                    while json.loads(line_with(watch, url))["state"] != "open":
                        pass
                while json.loads(line_with(watch, url))["state"] != "reconnecting":
                    pass
            shown: list[str] = []

            def look() -> bool:
                shown.append(busway("links", bus=bus, BUSWAY_DIR=here).ok().text)
                return "attempt" in shown[-1]

            until(look)
            assert "reconnecting" in shown[-1]
            rows = busway("links", "--json", bus=bus, BUSWAY_DIR=here).ok().document
            (row,) = [row for row in rows if row["address"] == url]
            assert row["state"] == "reconnecting"
            assert row["losses"] == 1


class TestBench:
    @pytest.mark.parametrize("scheme", ["tcp", "ws"])
    def test_sizes_and_rates(self, scheme: str) -> None:
        bus = new_bus()
        with busway_started("bench", "--serve", f"{scheme}://127.0.0.1:0", "--json", bus=bus) as far:
            url = json.loads(far.line())["url"]
            words = ("bench", url, "--seconds", "1", "--size", "16", "--size", "5000")
            found = busway(*words, "--json", bus=bus).ok().document
            assert [row["size"] for row in found["sizes"]] == [16, 5000]
            for row in found["sizes"]:
                assert 0 < row["rtt_us"] <= row["rtt_99_us"]
                assert row["round_trips"] > 10
                assert row["bytes_per_second"] == pytest.approx(row["per_second"] * row["size"], rel=0.01)
            table = busway(*words, bus=bus).ok().lines
            assert table[1].split()[0] == "SIZE"
            assert len(table) == 4

    def test_a_program_that_does_not_serve_it_still_answers(self) -> None:
        bus = new_bus()
        with listening_here(bus) as url:
            (row,) = busway("bench", url, "--seconds", "1", "--json", bus=bus).ok().document["sizes"]
            assert row["size"] == 0
            assert row["round_trips"] > 10

    def test_nobody_there(self) -> None:
        complaint = busway("bench", f"tcp://127.0.0.1:{free_port()}", bus=new_bus()).failed(4)
        assert "is a node listening there?" in complaint


@contextmanager
def listening_here(bus: str) -> Iterator[str]:
    with busway_started("listen-on", "tcp://127.0.0.1:0", "--json", bus=bus) as running:
        yield json.loads(line_with(running, "listening"))["url"]


class TestALibraryThatIsMissing:
    def test_each_command_ends_alike(self, tmp_path: Path) -> None:
        for name in ("h11", "trustme", "bleak", "serial", "textual"):
            (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name}', name={name!r})")
        front = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from busway.cli import main; main()"
        bus = new_bus()
        for words in (
            ("connect", "ws://lab.example"),
            ("bridge", "ws://lab.example"),
            ("listen-on", "ws://127.0.0.1:0"),
            ("bench", "ws://127.0.0.1:1"),
            ("bench", "--serve", "ws://127.0.0.1:0"),
            ("doctor", "ws://lab.example"),
            ("nodes", "--connect", "ws://lab.example"),
            ("send", "x", "1", "--connect", "ble://x"),
            ("connect", "serial:///dev/ttyS0"),
            ("scan",),
            ("ports",),
            ("certificate", "--out", str(tmp_path)),
        ):
            with python("-c", front, *words, BUSWAY_BUS=bus) as running:
                assert running.status() == 5, words
                assert "-m pip install" in running.rest()[-1], words
