"""`busway nodes`, `endpoints`, `links`, `ping` and `monitor`, on running programs."""

import re
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.front.cli_rig import busway, busway_started, new_bus, peer, python


@pytest.fixture(scope="module")
def bus() -> Iterator[str]:
    """A bus with two programs: "answers" and a `busway listen`."""
    name = new_bus()
    with peer(name), busway_started("listen", "lab/numbers", "--json", bus=name):
        yield name


@pytest.fixture(scope="module")
def stopped() -> Iterator[str]:
    """A bus with two programs, of which "answers" is stopped."""
    name = new_bus()
    with peer(name) as program, peer(name, "second"):
        program.tell(signal.SIGSTOP)
        yield name


def by_label(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {document["label"].partition(" (")[0]: document for document in documents}


class TestNodes:
    def test_lists_the_programs_and_not_itself(self, bus: str) -> None:
        lines = busway("nodes", bus=bus).ok().lines
        assert lines[0].split() == ["NODE", "ID", "ROLE", "LINKS", "ENDPOINTS", "MISSED", "RTT", "ANSWER"]
        assert [line.split()[0] for line in lines[1:]] == ["answers", "busway"]
        assert re.fullmatch(r"answers +[0-9a-f]{8}  router +1 +7 +0 +[0-9.]+ ms  ok", lines[1])

    def test_json(self, bus: str) -> None:
        nodes = by_label(busway("nodes", "--json", bus=bus).ok().document)
        assert set(nodes) == {"answers", "busway listen"}
        answers = nodes["answers"]
        assert str(uuid.UUID(answers["id"])) == answers["id"]
        assert (answers["answer"], answers["links"], answers["endpoints"]) == ("ok", 1, 7)
        assert answers["counters"]["links_opened"] >= 1

    def test_memory_that_is_shared_is_shown_where_there_is_some(self) -> None:
        name = new_bus()
        with peer(name):
            text = "x" * 70_000
            assert (
                busway("request", "lab/echo", text, "--text", bus=name).ok().text.strip().strip('"') == text
            )
            heading, line = busway("nodes", bus=name).ok().lines
            assert heading.split()[-3:] == ["ANSWER", "SHARED", "HELD"]
            assert re.search(r"ok +131\.1 kB +0$", line)
            (answers,) = busway("nodes", "--json", bus=name).ok().document
            memory = answers["memory"]
            assert (memory["size"], memory["regions"], memory["given"], memory["taken"]) == (131072, 1, 1, 1)
            assert answers["things"] == 0

    def test_memory_of_registries_counts_too(self) -> None:
        name = new_bus()
        with python("-c", WITH_A_REGISTRY, name) as program:
            assert program.line() == "1"
            heading, *lines = busway("nodes", bus=name).ok().lines
            assert heading.split()[-3:] == ["ANSWER", "SHARED", "HELD"]
            assert [re.search(r"ok +1\.1 MB +1$", line) is not None for line in lines] == [True, True]
            for row in busway("nodes", "--json", bus=name).ok().document:
                memory = row["memory"]
                told = [memory[each] for each in ("size", "held", "registries", "registries_held")]
                assert told == [0, 0, (1 << 20) + 8192, 1]

    def test_node_by_label_and_by_id(self, bus: str) -> None:
        (answers,) = busway("nodes", "--json", "-n", "answers", bus=bus).ok().document
        (same,) = busway("nodes", "--json", "-n", answers["id"][:6], bus=bus).ok().document
        assert same["id"] == answers["id"]

    def test_no_such_node(self, bus: str) -> None:
        assert re.search(
            "no node matches 'nix'; there are: answers ", busway("nodes", "-n", "nix", bus=bus).failed(1)
        )

    def test_nobody_there(self) -> None:
        ended = busway("nodes", "--bus", new_bus())
        assert "no programs on bus" in ended.failed(0)
        assert ended.text == ""
        assert busway("nodes", "--json", bus=new_bus()).ok().document == []

    def test_a_stopped_program_is_listed_as_silent(self, stopped: str) -> None:
        ended = busway("nodes", "--json", "--timeout", "3", bus=stopped)
        assert "no answer within 3 s from answers" in ended.failed(3)
        assert [(node["label"], node["answer"]) for node in ended.document] == [
            ("answers", "no answer"),
            ("second", "ok"),
        ]

    def test_a_program_that_wakes_within_the_timeout_answers(self) -> None:
        bus = new_bus()
        with peer(bus) as program:
            program.tell(signal.SIGSTOP)
            with busway_started("nodes", "--json", "--timeout", "20", bus=bus) as nodes:
                # By the time that this one has given up, the first is through with joining.
                assert busway("nodes", "--timeout", "0", bus=bus).status == 3
                program.tell(signal.SIGCONT)
                assert '"label":"answers","leaf":false,"answer":"ok"' in nodes.line()
                assert nodes.status() == 0

    def test_a_program_that_others_reach(self) -> None:
        bus = new_bus()
        with peer(bus) as program, busway_started("request", "lab/slow", bus=bus):
            assert program.line() == "asked"
            asking = by_label(busway("nodes", "--json", bus=bus).ok().document)["busway request"]
            assert (asking["leaf"], asking["answer"], asking["links"]) == (True, "ok", 1)


class TestEndpoints:
    def test_table(self, bus: str) -> None:
        lines = busway("endpoints", bus=bus).ok().lines
        assert re.fullmatch(r"lab/log +unicast +localnet +answers [0-9a-f]{8} +1 +0 +0 +0", lines[3])
        assert not any("introspection" in line for line in lines)

    def test_what_is_only_published_is_listed_with_its_publisher(self, bus: str) -> None:
        rows = busway("endpoints", "--json", bus=bus).ok().document
        published = [row for row in rows if row["kind"] == "publisher"]
        assert [(row["name"], row["label"]) for row in published] == [("lab/numbers", "answers")]
        assert published[0]["sent"] > 0
        lines = busway("endpoints", bus=bus).ok().lines
        assert any(
            re.fullmatch(r"lab/numbers +publisher +- +answers [0-9a-f]{8}( +-){4}", line) for line in lines
        )

    def test_json_counts(self, bus: str) -> None:
        busway("request", "lab/echo", "1", bus=bus).ok()
        rows = busway("endpoints", "--json", "-n", "answers", bus=bus).ok().document
        echo = next(row for row in rows if row["name"] == "lab/echo")
        assert (echo["kind"], echo["receivers"]) == ("anycast", 1)
        assert echo["taken"] >= 1
        assert echo["label"] == "answers"

    def test_those_of_a_stopped_program_are_known_from_others(self, stopped: str) -> None:
        ended = busway("endpoints", "--json", "--timeout", "3", bus=stopped)
        ended.failed(3)
        log = next(row for row in ended.document if row["name"] == "lab/log")
        assert log["label"] == "answers"
        assert "taken" not in log


class TestLinks:
    def test_once_for_each_link(self, bus: str) -> None:
        (link,) = busway("links", "--json", bus=bus).ok().document
        assert {link["label"].split()[0], link["peer_label"].split()[0]} == {"answers", "busway"}
        assert (link["state"], link["realm"], link["via"], link["dialled"]) == (
            "open",
            "userspace",
            "ipc",
            True,
        )

    def test_both_ends(self, bus: str) -> None:
        both = busway("links", "--all", "--json", bus=bus).ok().document
        assert sorted(link["dialled"] for link in both) == [False, True]
        (mine,) = busway("links", "-n", "answers", "--json", bus=bus).ok().document
        assert mine["label"] == "answers"

    def test_table(self, bus: str) -> None:
        _, line = busway("links", bus=bus).ok().lines
        assert re.search(
            r"  open +userspace +local +ipc +- +\d+ (?:m?s|min) +[0-9.]+ k?M?B +[0-9.]+ k?M?B +0 B +yes +0$",
            line,
        )

    def test_what_each_end_sends_beside_bytes(self) -> None:
        name = new_bus()
        with peer(name), python("-c", FILES_ONLY, name) as other:
            assert other.line() == "ready"
            rows = busway("links", "--all", "--json", bus=name).ok().document
            shared = {row["label"]: (row["aside"], row["shared"]) for row in rows}
            assert shared == {"answers": (True, "yes"), "files only": (True, "files")}
            heading, first, second = busway("links", "--all", bus=name).ok().lines
            assert heading.split()[-2:] == ["SHARED", "THINGS"]
            assert (first.split()[-2:], second.split()[-2:]) == (["yes", "0"], ["files", "0"])
            assert second.startswith("files only")

    def test_a_link_that_leaves_the_machine_carries_bytes_alone(self) -> None:
        name = new_bus()
        with python("-c", OVER_TCP, name) as other:
            assert other.line() == "ready"
            (row,) = busway("links", "--json", "-n", "over tcp", bus=name).ok().document
            assert (row["aside"], row["shared"]) == (False, "no")


WITH_A_REGISTRY = """
import busway, sys, time
registry = busway.Registry()
with busway.Bus(sys.argv[1], label="one") as bus, busway.Bus(sys.argv[1], label="two") as other:
    regions = other.register("lab/region")
    registry.take(5000)
    bus.send("lab/region", regions=[registry.take(1 << 20)], ttl=10)
    kept = regions.receive().regions
    print(registry.held, flush=True)
    time.sleep(600)
"""
FILES_ONLY = """
import busway, sys, time
bus = busway.Bus(sys.argv[1], label="files only", limits=busway.Limits(shared_memory=False))
with bus:
    print("ready", flush=True)
    time.sleep(600)
"""
OVER_TCP = """
import busway, sys, time
with busway.Bus(sys.argv[1], label="over tcp") as bus, busway.Bus(sys.argv[1], ipc=False) as far:
    listener = far.listen("tcp://127.0.0.1:0", token="a-token-of-the-tests-of-16")
    bus.connect(listener.url, token="a-token-of-the-tests-of-16")
    print("ready", flush=True)
    time.sleep(600)
"""


class TestPing:
    def test_statistics(self, bus: str) -> None:
        lines = busway("ping", "answers", "-c", "3", "-i", "0.01", bus=bus).ok().lines
        assert re.fullmatch(r"PING answers \(answers [0-9a-f]{8}\) on bus .*", lines[0])
        assert [re.sub(r"=[0-9.]+ ms", "=T", line.partition("seq=")[2]) for line in lines[1:4]] == [
            "1 time=T",
            "2 time=T",
            "3 time=T",
        ]
        assert lines[-2].startswith("3 requests, 3 replies, 0 % lost, time ")
        assert re.fullmatch(r"round trip min/avg/max/mdev = ([0-9.]+/){3}[0-9.]+ ms", lines[-1])

    def test_json_and_an_endpoint(self, bus: str) -> None:
        *replies, total = busway("ping", "lab/echo", "-c", "2", "-i", "0", "--json", bus=bus).ok().documents
        assert [(reply["seq"], reply["label"]) for reply in replies] == [(1, "answers"), (2, "answers")]
        assert (total["asked"], total["replied"], total["lost_percent"]) == (2, 2, 0.0)
        assert 0 < total["min_ms"] <= total["avg_ms"] <= total["max_ms"]

    def test_nobody_of_that_name(self, bus: str) -> None:
        assert "no node or endpoint matches 'nix'" in busway("ping", "nix", bus=bus).failed(1)

    def test_several_of_that_name(self, bus: str) -> None:
        with peer(bus, "answers too"):
            assert "several nodes match 'answ'" in busway("ping", "answ", bus=bus).failed(2)

    def test_a_stopped_program_that_others_reach(self, stopped: str) -> None:
        ended = busway("ping", "answers", "-c", "2", "-i", "0", "--timeout", "0.3", bus=stopped)
        assert ended.status == 3
        assert "no answer" in ended.text

    def test_a_stopped_program_alone(self) -> None:
        bus = new_bus()
        with peer(bus) as program:
            program.tell(signal.SIGSTOP)
            ident = busway("nodes", "--json", bus=bus).document[0]["id"]
            assert "is its program stopped" in busway("ping", ident[:8], bus=bus).failed(3)

    def test_interrupted_it_concludes(self, bus: str) -> None:
        with busway_started("ping", "answers", "-i", "0.01", bus=bus) as ping:
            while "seq=2" not in ping.line():
                pass
            ping.tell(signal.SIGINT)
            assert ping.status() == 0
            while "round trip" not in ping.line():
                pass
            assert ping.rest() == []

    def test_a_node_that_leaves(self) -> None:
        bus = new_bus()
        with peer(bus) as program, busway_started("ping", "answers", "-i", "0.01", bus=bus) as ping:
            while "seq=1" not in ping.line():
                pass
            program.tell(signal.SIGKILL)
            assert ping.status() == 1
            assert ping.rest()[-1].endswith("has left the bus")


class TestMonitor:
    def test_rates_as_json(self, bus: str) -> None:
        first, second = busway("monitor", "-i", "4", "-c", "2", "--json", bus=bus).ok().documents
        assert first["messages_per_s"] == 0
        assert 1 < second["messages_per_s"] < 80  # one each 20 ms, and fewer on a busy machine
        assert set(by_label(second["nodes"])) == {"answers", "busway listen"}
        numbers = next(row for row in second["endpoints"] if row["name"] == "lab/numbers")
        assert 1 < numbers["rate"] < 100
        assert numbers["holders"][0].startswith("busway listen")

    def test_lines(self, bus: str) -> None:
        lines = busway("monitor", "-i", "0.2", "-c", "2", bus=bus).ok().lines
        assert re.search(r"  2 nodes  8 endpoints  0 messages/s$", lines[0])
        assert re.search(
            r"  2 nodes  8 endpoints  \d+ published/s  \d+ messages/s  lab/numbers \d+/s$", lines[1]
        )

    def test_sees_who_comes_and_goes(self) -> None:
        bus = new_bus()
        with busway_started("monitor", "-i", "0.1", bus=bus) as monitor:
            assert "  0 nodes  " in monitor.line()
            with peer(bus):
                while "  1 node  " not in monitor.line():
                    pass
            while "  0 nodes  " not in monitor.line():
                pass
            monitor.tell(signal.SIGTERM)
            assert monitor.status() == 0
            assert monitor.rest() == []
