"""`busway doctor` on one machine: programs of other versions, bus names, directories and users; the dead."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from busway.drivers import unix_census
from tests.front.cli_rig import Running, busway, new_bus, peer, python
from tests.rigs.tree import ROOT

NOBODY = 65534
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run programs as another user")
LINUX = pytest.mark.skipif(not Path("/proc/net/unix").exists(), reason="the kernel does not tell who listens")


@pytest.fixture
def place() -> Iterator[str]:
    """A socket directory of the test's own."""
    directory = tempfile.mkdtemp(prefix="bw-")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def of_another_version(bus: str) -> Iterator[str]:
    """The node id, in hexadecimal, of a program that speaks the next version."""
    with python("-m", "tests.front.other_version", bus) as running:
        word, node_id = running.line().split()
        assert word == "ready"
        yield node_id


class TestAnotherVersion:
    """A neighbour of another protocol version is not one that does not answer."""

    def test_doctor_says_so_beside_one_that_can_be_joined(self) -> None:
        bus = new_bus()
        with peer(bus), of_another_version(bus) as node_id:
            ended = busway("doctor", bus=bus)
            assert ended.status == 1
            finding = f"{node_id[:8]} speaks protocol version 3, and this command 2: update the older one"
            assert finding in ended.text
            assert "does not answer" not in ended.text

    def test_doctor_says_so_of_the_only_one(self) -> None:
        bus = new_bus()
        with of_another_version(bus) as node_id:
            ended = busway("doctor", "--json", bus=bus)
            assert ended.status == 1
            (found,) = ended.document["findings"]
            assert found["finding"].startswith(f"{node_id[:8]} speaks protocol version 3")
            (row,) = busway("nodes", "--json", bus=bus).document
            assert row["answer"] == "other version"
            assert "speaks protocol version 3" in busway("request", "no/such", "1", bus=bus).failed(1)

    def test_other_commands_do_too(self) -> None:
        bus = new_bus()
        with peer(bus), of_another_version(bus) as node_id:
            ended = busway("nodes", "--json", bus=bus)
            assert ended.status == 3
            assert (node_id, "other version") in {
                (row["id"].replace("-", ""), row["answer"]) for row in ended.document
            }
            assert f"node {node_id[:8]} speaks protocol version 3" in ended.stderr
            assert "speaks protocol version 3" in busway("ping", node_id[:8], bus=bus).failed(3)
            assert "speaks protocol version 3" in busway("request", "no/such", "1", bus=bus).failed(1)

    @pytest.mark.parametrize("kind", ["threads", "asyncio"])
    @pytest.mark.parametrize("first", [True, False])
    def test_programs_tell_it(self, kind: str, first: bool) -> None:
        """In the log and as an event, whoever comes first."""
        bus = new_bus()
        command = ("-m", "tests.front.changes_program", kind, bus)
        if first:
            with python(*command) as program, of_another_version(bus):
                check_told(program)
        else:
            with of_another_version(bus), python(*command) as program:
                check_told(program)


def check_told(program: Running) -> None:
    sentence = "this side speaks protocol version 2, the other 3: update the older one"
    while program.line() != f"link-down 2 {sentence}":
        pass
    said = program.complaint()
    if "cannot join: it speaks another version" in said:  # it has come here first, which is told once
        said = program.complaint()
    assert said.startswith(f"WARNING a program on this machine cannot be joined: {sentence}")


class TestOtherNames:
    def test_are_named_even_if_somebody_is_here(self, place: str) -> None:
        with peer_in(place, "plant"), peer_in(place, "office"), peer_in(place, "plant", "second"):
            ended = busway("doctor", bus="office", BUSWAY_DIR=place).ok()
            assert re.search(
                r"^ok +2 programs of this user on the other bus 'plant': programs meet only", ended.text, re.M
            )

    def test_are_a_finding_if_nobody_is_here(self, place: str) -> None:
        with peer_in(place, "plant"):
            ended = busway("doctor", bus="office", BUSWAY_DIR=place)
            assert ended.status == 1
            assert (
                "nobody is on bus 'office', but 1 program of this user on the other bus 'plant'" in ended.text
            )

    def test_the_dead_are_no_programs(self, place: str) -> None:
        with peer_in(place, "plant") as dead:
            dead.tell(signal.SIGKILL)
            dead.status()
        assert list(Path(place).glob("*/*.sock"))
        ended = busway("doctor", bus="office", BUSWAY_DIR=place).ok()
        assert "plant" not in ended.text
        assert "another bus" not in ended.text


@contextmanager
def peer_in(place: str, bus: str, label: str = "answers") -> Iterator[Running]:
    with python("-m", "tests.front.cli_peer", bus, label, BUSWAY_DIR=place) as running:
        assert running.line() == "ready"
        yield running


class TestADirectoryThatOthersUse:
    def test_nobody_is_told_to_change_it(self, place: str) -> None:
        os.chmod(place, 0o1777)
        for word, status in (("nodes", 4), ("doctor", 4)):
            ended = busway(word, BUSWAY_DIR=place)
            said = ended.text + ended.stderr
            assert ended.status == status
            assert "chmod" not in said
            assert f"set BUSWAY_DIR to a directory of your own, for example {place}/busway-" in said

    def test_one_that_cannot_be_is_no_riddle(self) -> None:
        said = busway("listen", "lab/a", BUSWAY_DIR="/sys/busway").failed(4)
        assert said.startswith("busway: cannot join the bus 'default': /sys/busway cannot be made (")
        assert "set BUSWAY_DIR to a directory of your own" in said


@LINUX
class TestElsewhere:
    def test_a_program_of_another_directory_is_found(self, place: str) -> None:
        bus = new_bus()
        with peer_in(place, bus):
            ended = busway("doctor", bus=bus)
            assert ended.status == 1
            assert f"1 program of this user on this bus, found only in {place}" in ended.text
            assert "BUSWAY_DIR" in ended.text
            with peer(bus):
                assert f"ok   1 program of this user on this bus, found only in {place}" in (
                    busway("doctor", bus=bus).ok().text
                )

    @ROOT_ONLY
    def test_another_users_program_is_named(self) -> None:
        bus = new_bus()
        theirs = Path(tempfile.mkdtemp(prefix="bw-"))
        os.chown(theirs, NOBODY, NOBODY)
        try:
            with program_of(NOBODY, theirs, bus):
                ended = busway("doctor", bus=bus)
                assert ended.status == 1
                assert re.search(
                    rf"1 program of user \w+ \({NOBODY}\) on a bus of this name on this machine", ended.text
                )
                assert "busway listen-on" in ended.text
                ended = busway("doctor", bus=new_bus())
                assert re.search(rf"ok .* of user \w+ \({NOBODY}\) on buses of other names", ended.text)
        finally:
            shutil.rmtree(theirs, ignore_errors=True)

    def test_one_whose_socket_is_hidden(self, place: str) -> None:
        """As if it had a /tmp of its own."""
        bus = new_bus()
        with peer_in(place, bus) as program:
            (socket,) = Path(place).glob("*/*.sock")
            program.tell(signal.SIGSTOP)  # or it would put it back
            os.rename(socket.parent, Path(place) / "aside")
            ended = busway("doctor", bus=bus, BUSWAY_DIR=place)
            assert ended.status == 1
            assert f"a program listens at {socket}, and that is not there" in ended.text


@contextmanager
def program_of(uid: int, place: Path, bus: str) -> Iterator[None]:
    """A program of another user. It may not be able to read this checkout, so it has read all before."""
    text = (
        "import os, sys, busway, busway.drivers.ipc\n"
        "with busway.Bus(ipc=False): pass\n"
        f"os.setgid({uid}); os.setuid({uid})\n"
        f"with busway.Bus({bus!r}): print('ready', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", text],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "BUSWAY_DIR": str(place)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        yield
        assert program.stdin is not None
        program.stdin.close()
        program.wait(60)


def test_the_kernels_table_is_read_as_it_is(tmp_path: Path) -> None:
    bus, node = "37a8eec1ce19687d", "ab" * 16
    head = "Num       RefCount Protocol Flags    Type St Inode Path"
    lines = [
        head,
        f"0000: 00000002 00000000 00010000 0001 01 1 /run/user/1234/busway/{bus}/{node}.tmp",
        f"0000: 00000002 00000000 00010000 0001 01 2 /tmp/busway-77/{bus}/{node}.tmp",
        f"0000: 00000002 00000000 00010000 0001 01 3 {tmp_path}/a b/{bus}/{node}.tmp",
        f"0000: 00000003 00000000 00000000 0001 03 4 /tmp/busway-78/{bus}/{node}.tmp",  # a connection
        "0000: 00000003 00000000 00010000 0001 01 5 /run/dbus/socket",
        "0000: 00000003 00000000 00010000 0001 01 6",
        f"0000: 00000002 00000000 00010000 0001 01 7 @/tmp/busway-79/{bus}/{node}.tmp",
        f"0000: 00000002 00000000 00010000 0001 01 8 /no/such/{bus}/{node}.tmp",
    ]
    table = tmp_path / "unix"
    table.write_text("\n".join(lines) + "\n")
    ident = bytes.fromhex(node)
    (tmp_path / "a b").mkdir()
    assert unix_census.sightings(str(table)) == sorted(
        [
            unix_census.Sighting(-1, "/no/such", bus, ident),
            unix_census.Sighting(77, "/tmp/busway-77", bus, ident),
            unix_census.Sighting(1234, "/run/user/1234/busway", bus, ident),
            unix_census.Sighting(os.geteuid(), f"{tmp_path}/a b", bus, ident),
        ]
    )
    assert unix_census.sightings(str(tmp_path / "none")) == []
