"""`busway bridge`, `routes`, `trace`, `nodes --tree` and `doctor`, between machines that are directories."""

import os
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator

import pytest

from tests.drivers.lines import crossed
from tests.front.cli_rig import Running, busway, busway_started, new_bus, peer, until


@pytest.fixture
def machines() -> Iterator[tuple[str, str]]:
    """Two socket directories: programs find each other in the same one only."""
    made = [tempfile.mkdtemp(prefix="bw-") for _ in range(2)]
    yield made[0], made[1]
    for directory in made:
        shutil.rmtree(directory, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def line_with(running: Running, text: str) -> str:
    while text not in (line := running.line()):
        pass
    return line


class TestBridge:
    def test_makes_two_machines_one_bus(self, machines: tuple[str, str]) -> None:
        here, there = machines
        bus, url = new_bus(), f"tcp://127.0.0.1:{free_port()}"
        with (
            busway_started("bridge", url, "--every", "0.2", bus=bus, BUSWAY_DIR=here) as near,
            busway_started("serve", "lab/upper", "--", "tr", "a-z", "A-Z", bus=bus, BUSWAY_DIR=there),
        ):
            line_with(near, "trying again")  # nobody listens yet
            with busway_started("bridge", "--listen", url, "--json", bus=bus, BUSWAY_DIR=there) as far:
                assert '"what":"listening"' in far.line()
                line_with(near, "link-up")
                asked = busway("request", "lab/upper", "--raw", "hello", bus=bus, BUSWAY_DIR=here).ok()
                assert asked.text == "HELLO"

                _, *hops = busway("trace", "lab/upper", bus=bus, BUSWAY_DIR=here).ok().lines
                assert [line.split()[0] for line in hops] == ["1", "2", "3"]
                assert [line.split()[-6:-3] for line in hops] == [
                    [hop.split()[-6], medium, realm]
                    for hop, medium, realm in zip(
                        hops, ("ipc", "tcp", "ipc"), ("userspace", "localnet", "userspace"), strict=True
                    )
                ]
                ways = busway("routes", "--json", bus=bus, BUSWAY_DIR=here).ok().document
                way = next(row for row in ways if row["to_label"].startswith("busway serve"))
                assert (way["realm"], way["cost"]) == ("localnet", 17)
                assert way["via_label"].startswith("busway bridge")

                tree = busway("nodes", "--tree", bus=bus, BUSWAY_DIR=here).ok().lines
                assert [re.match(r"[ └─]*busway (bridge|serve)", line) is not None for line in tree] == [
                    True
                ] * 3
                assert tree[2].startswith("   └─ busway serve")
                document = busway("nodes", "--tree", "--json", bus=bus, BUSWAY_DIR=here).ok().document
                assert document["children"][0]["children"][0]["label"].startswith("busway serve")

                line_with(near, "forwarded")
                far.tell(signal.SIGINT)
                assert far.status() == 0
            line_with(near, "link-down")
            near.tell(signal.SIGINT)
            assert near.status() == 0
            assert re.search(r"forwarded [1-9]", line_with(near, "forwarded"))

    def test_two_that_have_links_over_networks_meet_on_a_line(self, machines: tuple[str, str]) -> None:
        """Each has the id of a key, that of its run, and proves it there."""
        bus = new_bus()
        here, there = machines
        with (
            crossed() as (one, two),
            busway_started("serve", "lab/upper", "--", "tr", "a-z", "A-Z", bus=bus, BUSWAY_DIR=there),
            busway_started("bridge", one.url, "--listen", "tcp://127.0.0.1:0", bus=bus, BUSWAY_DIR=here),
            busway_started("bridge", two.url, "--listen", "tcp://127.0.0.1:0", bus=bus, BUSWAY_DIR=there),
        ):
            asking = ("request", "lab/upper", "--raw", "hello", "--ttl", "60", "--timeout", "60")
            assert busway(*asking, bus=bus, BUSWAY_DIR=here).ok().text == "HELLO"

    def test_wants_something_to_do(self) -> None:
        assert "--listen" in busway("bridge").failed(2)

    def test_an_address_that_is_none(self) -> None:
        assert "tcp://host:port" in busway("bridge", "nonsense://there", bus=new_bus()).failed(2)

    def test_beyond_loopback_it_wants_a_token(self) -> None:
        assert "token" in busway("bridge", "--listen", "tcp://0.0.0.0:0", bus=new_bus()).failed(4)

    @pytest.mark.parametrize("scheme", ["tcp", "ws"])
    def test_a_wrong_token_ends_it_at_the_start_and_is_told_later(
        self, machines: tuple[str, str], scheme: str
    ) -> None:
        bus, url = new_bus(), f"{scheme}://127.0.0.1:{free_port()}"
        here, there = ({"BUSWAY_DIR": directory} for directory in machines)
        with busway_started(
            "bridge", "--listen", url, "--token", "right-h4k9w2x7q5m8z3t6r1v0", bus=bus, **there
        ) as one:
            line_with(one, "listening")
            for command in ("bridge", "connect"):
                told = busway(
                    command, url, "--token", "wrong-h4k9w2x7q5m8z3t6r1v0", bus=bus, BUSWAY_DIR=machines[0]
                )
                assert told.status == 4
                assert "token" in told.stderr
                assert "error 7" in told.stderr
            with busway_started(
                "bridge", url, "--token", "right-h4k9w2x7q5m8z3t6r1v0", bus=bus, **here
            ) as other:
                until(lambda: '"open"' in busway("links", "--json", bus=bus, BUSWAY_DIR=machines[0]).text)
                one.end()
                line_with(other, "link-down")
                with busway_started(
                    "bridge", "--listen", url, "--token", "new-h4k9w2x7q5m8z3t6r1v0", bus=bus, **there
                ):
                    assert "trying again" in line_with(other, "token")


class TestRoutesAndTrace:
    def test_neighbours_are_direct(self) -> None:
        bus = new_bus()
        with peer(bus), peer(bus, "second"):
            lines = busway("routes", bus=bus).ok().lines
            assert lines[0].split() == ["FROM", "TO", "VIA", "REALM", "COST", "OFFERS"]
            assert sum("direct" in line for line in lines) == 2
            assert len(busway("routes", "-n", "second", bus=bus).ok().lines) == 2

    def test_commands_that_have_ended_are_not_listed(self, machines: tuple[str, str]) -> None:
        bus, url = new_bus(), f"tcp://127.0.0.1:{free_port()}"
        with (
            busway_started("bridge", "--listen", url, bus=bus, BUSWAY_DIR=machines[1]) as far,
            busway_started("listen", "lab/a", bus=bus, BUSWAY_DIR=machines[0]),
        ):
            line_with(far, "listening")
            with busway_started("bridge", url, bus=bus, BUSWAY_DIR=machines[0]) as near:
                line_with(near, "link-up")
                for _ in range(10):  # each joins through either, and leaves
                    ways = busway("routes", "--json", bus=bus, BUSWAY_DIR=machines[0]).ok().document
                    assert not [way for way in ways if way["to_label"].startswith("busway routes")]

    def test_of_a_node(self) -> None:
        bus = new_bus()
        with peer(bus):
            ident = busway("nodes", "--json", bus=bus).ok().document[0]["id"]
            (hop,) = busway("trace", ident[:8], "--json", bus=bus).ok().document
            assert (hop["node"], hop["medium"], hop["realm"], hop["cost"]) == (ident, "ipc", "userspace", 1)
            assert hop["rtt_ms"] > 0

    def test_of_nobody(self) -> None:
        bus = new_bus()
        with peer(bus):
            assert "nobody has the endpoint" in busway("trace", "lab/nothing", bus=bus).failed(1)
        assert "nobody has the endpoint" in busway("trace", "lab/nothing", bus=new_bus()).failed(1)


class TestDoctor:
    def test_all_is_well(self) -> None:
        bus = new_bus()
        with peer(bus), peer(bus, "second"):
            ended = busway("doctor", bus=bus).ok()
            assert ended.lines[0].removeprefix("ok ").strip() == busway("--version").ok().text.strip()
            assert ended.lines[-1] == "nothing is wrong as far as can be seen from here"
            assert busway("doctor", "--json", bus=bus).ok().document["findings"] == []

    def test_an_unsafe_directory(self, machines: tuple[str, str]) -> None:
        os.chmod(machines[0], 0o755)
        ended = busway("doctor", bus=new_bus(), BUSWAY_DIR=machines[0])
        assert ended.status == 4
        assert "chmod 700" in ended.text

    def test_another_bus_name(self, machines: tuple[str, str]) -> None:
        one, other = new_bus(), new_bus()
        with busway_started("listen", "lab/a", bus=one, BUSWAY_DIR=machines[0]):
            ended = busway("doctor", bus=other, BUSWAY_DIR=machines[0])
            assert ended.status == 1
            assert "other bus" in ended.text
            assert "--bus" in ended.text

    def test_a_dead_socket(self, machines: tuple[str, str]) -> None:
        bus = new_bus()
        with busway_started("listen", "lab/a", bus=bus, BUSWAY_DIR=machines[0]) as program:
            program.tell(signal.SIGKILL)
            program.status()
        told = busway("doctor", bus=bus, BUSWAY_DIR=machines[0]).ok().lines
        (line,) = [each for each in told if "left over from a program that died" in each]
        assert line.startswith("ok"), "there is nothing to do"

    @pytest.mark.parametrize("fault", ["bus name", "token", "nobody", "not busway"])
    def test_a_link_that_cannot_be(self, fault: str, machines: tuple[str, str]) -> None:
        bus, url = new_bus(), f"tcp://127.0.0.1:{free_port()}"
        there = new_bus() if fault == "bus name" else bus
        words = ["--token", "right-h4k9w2x7q5m8z3t6r1v0"] if fault == "token" else []
        if fault == "nobody":
            ended = busway("doctor", url, bus=bus, BUSWAY_DIR=machines[0])
            assert "is a node listening there" in ended.text
        elif fault == "not busway":
            with socket.create_server(("127.0.0.1", 0)) as server:
                server.settimeout(10)
                with busway_started(
                    "doctor", f"tcp://127.0.0.1:{server.getsockname()[1]}", bus=bus, BUSWAY_DIR=machines[0]
                ) as running:
                    channel, _ = server.accept()
                    with channel:
                        channel.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 10)
                        line_with(running, "something else listens there")
                        assert running.status() == 1
            return
        else:
            with busway_started("bridge", "--listen", url, *words, bus=there, BUSWAY_DIR=machines[1]) as far:
                line_with(far, "listening")
                ended = busway("doctor", url, bus=bus, BUSWAY_DIR=machines[0])
            assert "give both" in ended.text
        assert ended.status == 1

    def test_a_realm_that_ends_before(self, machines: tuple[str, str]) -> None:
        bus, url = new_bus(), f"tcp://127.0.0.1:{free_port()}"
        with busway_started("bridge", "--listen", url, bus=bus, BUSWAY_DIR=machines[1]) as far:
            line_with(far, "listening")
            text = busway("doctor", url, bus=bus, BUSWAY_DIR=machines[0]).ok().text
            assert "only endpoints of realm localnet or wider can be seen" in text

    def test_a_node_that_speaks_another_version(self, machines: tuple[str, str]) -> None:
        close = bytes((0x03, 2)) + b"versions differ"
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(10)
            url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
            with busway_started("doctor", url, bus=new_bus(), BUSWAY_DIR=machines[0]) as running:
                channel, _ = server.accept()
                with channel:
                    channel.sendall(bytes((len(close),)) + close)
                    line_with(running, "update the older of both programs")
                    assert running.status() == 1

    def test_a_node_that_only_the_doctor_reaches(self, machines: tuple[str, str]) -> None:
        bus, url = new_bus(), f"tcp://127.0.0.1:{free_port()}"
        with (
            busway_started("bridge", "--listen", url, bus=bus, BUSWAY_DIR=machines[1]) as far,
            busway_started("listen", "lab/a", bus=bus, BUSWAY_DIR=machines[0]),
        ):
            line_with(far, "listening")
            ended = busway("doctor", url, bus=bus, BUSWAY_DIR=machines[0])
            assert ended.status == 1
            assert f"run `busway bridge {url}`" in ended.text
            with busway_started("bridge", url, bus=bus, BUSWAY_DIR=machines[0]) as near:
                line_with(near, "link-up")
                text = busway("doctor", url, bus=bus, BUSWAY_DIR=machines[0]).ok().text
            assert f"the programs here have a way to {url}" in text
            assert "or a policy there hides it (each a possible cause, not visible from here)" in text

    def test_a_program_that_is_stopped(self) -> None:
        bus = new_bus()
        with peer(bus) as program, peer(bus, "second"):
            program.tell(signal.SIGSTOP)
            ended = busway("doctor", "--timeout", "0.5", bus=bus)
            assert ended.status == 1
            assert "does not answer" in ended.text

    def test_an_address_without_a_scheme(self, machines: tuple[str, str]) -> None:
        ended = busway("doctor", "127.0.0.1:1", bus=new_bus(), BUSWAY_DIR=machines[0])
        assert ended.status == 1
        assert "127.0.0.1:1: Connection refused" in ended.text

    def test_a_node_that_nobody_knows(self) -> None:
        bus = new_bus()
        with peer(bus):
            ended = busway("doctor", "nix", "answers", bus=bus)
            assert ended.status == 1
            assert "no node matches 'nix'" in ended.text
            assert "the way from here to answers" in ended.text
