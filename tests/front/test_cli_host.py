"""`busway host`: an object of a module is run, ends cleanly, is begun anew when a file changes; what is wrong
with it is said in a sentence.
"""

from __future__ import annotations

import configparser
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from busway.cli.app import commands, group
from busway.cli.session import LEAVE_S
from busway.cli.targets import given_as, target_of
from tests.front.cli_rig import Ended, Running, busway, ended, environment, new_bus
from tests.rigs import forks
from tests.rigs.tree import ROOT
from tests.test_docs import blocks

PUMPS = """
import busway


@busway.service("lab/pump", version=2)
class Pump:
    def __init__(self, pin: int = 1, colour: str = "red") -> None:
        self.pin, self.colour = pin, colour

    async def on_start(self, bus: busway.AsyncBus) -> None:
        print("start", self.pin, self.colour, flush=True)

    def on_stop(self) -> None:
        print("stop", flush=True)

    async def set_speed(self, rpm: int) -> list[int]:
        return [self.pin, rpm]

    @busway.on("./colour", kind="anycast")
    def colour_of(self, request: busway.Request[str]) -> str:
        return self.colour


class Lines:
    lives = 0

    async def on_run(self, bus: busway.AsyncBus) -> None:
        Lines.lives += 1
        print("life", Lines.lives, flush=True)
        if Lines.lives == 1:
            raise OSError("no such line")


class Failing:
    async def on_start(self, bus: busway.AsyncBus) -> None:
        raise OSError("no such line")


class Plain:
    def on_start(self, bus: busway.AsyncBus) -> None:
        raise TypeError("no such pin")


class Nothing:
    pass


def made(pin: int) -> Pump:
    return Pump(pin, "green")


one = Pump(9)
"""


PLAIN = """
import time

import busway


class Pump:
    def on_start(self, bus: busway.Bus) -> None:
        print("start", type(bus).__name__, flush=True)

    @busway.on("./speed", kind="anycast")
    def speed(self, request: busway.Request[int]) -> int:
        time.sleep(0.01)
        return 2 * request.payload

    def on_stop(self) -> None:
        print("stop", flush=True)


class Failing:
    def __init__(self, how: str = "run") -> None:
        self.how = how

    def on_start(self, bus: busway.Bus) -> None:
        if self.how == "start":
            raise OSError("no such line")

    def on_run(self, bus: busway.Bus) -> None:
        if self.how == "run":
            raise OSError("no such line")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").touch()
    (tmp_path / "lab" / "pumps.py").write_text(PUMPS)
    (tmp_path / "broken.py").write_text("import busway\n\nnowhere.to_be_found()\n")
    (tmp_path / "wrong.py").write_text("class Pump\n")
    (tmp_path / "lacking.py").write_text("import no_such_library\n")
    return tmp_path


@contextmanager
def hosting(folder: Path, bus: str, *words: str, **extra: str) -> Iterator[Running]:
    env = environment({"BUSWAY_BUS": bus, "PYTHONUNBUFFERED": "1", **extra})
    program = forks.Program(["-m", "busway", "host", *words], env, directory=folder)
    program.stdin.close()
    with ended(Running(program)) as running:
        yield running


def hosted_raw(folder: Path, *words: str) -> tuple[int, bytes, bytes]:
    env = environment({"BUSWAY_BUS": new_bus()})
    return forks.Program(["-m", "busway", "host", *words], env, directory=folder).communicate(b"", 120)


def hosted(folder: Path, *words: str) -> tuple[int, str, str]:
    """Exit status, output and complaints of one that ends by itself."""
    status, output, complaints = hosted_raw(folder, *words)
    return status, output.decode(), complaints.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_object_is_run_until_a_signal_comes(folder: Path, number: signal.Signals) -> None:
    bus = new_bus()
    with hosting(
        folder, bus, "lab.pumps:Pump", "pin=4", "colour=dark blue", "--name", "lab/pump/4"
    ) as running:
        assert running.line() == "start 4 dark blue"
        assert running.complaint() == f"busway: hosting lab/pump/4 on bus {bus!r}"
        assert busway("request", "lab/pump/4/colour", bus=bus).ok().text == "dark blue\n"
        assert busway("request", "lab/pump/4", '["set_speed", {"rpm": 300}]', bus=bus).ok().document == [
            4,
            300,
        ]
        running.tell(number)
        assert running.line() == "stop"
        assert running.status() == 0
        assert running.rest() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lab.pumps:Pump"], "start 1 red"),
        (["lab.pumps:made", "pin=3"], "start 3 green"),
        (["lab.pumps:one"], "start 9 red"),
    ],
)
def test_a_class_a_function_or_an_object(folder: Path, words: list[str], said: str) -> None:
    bus = new_bus()
    with hosting(folder, bus, *words, "--json", "-q") as running:
        assert running.line() == said
        assert json.loads(running.line()) == {"hosting": "lab/pump", "version": 2, "bus": bus}
        running.tell(signal.SIGTERM)
        assert running.line() == "stop"
        assert running.rest() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_object_that_blocks_is_run_in_threads(folder: Path, number: signal.Signals) -> None:
    (folder / "plain.py").write_text(PLAIN)
    bus = new_bus()
    with hosting(folder, bus, "plain:Pump", "--threads", "--json", "--name", "lab/pump") as running:
        assert running.line() == "start Bus"
        assert json.loads(running.line()) == {"hosting": "lab/pump", "version": 0, "bus": bus}
        assert running.complaint() == f"busway: hosting lab/pump on bus {bus!r}"
        assert busway("request", "lab/pump/speed", "5", bus=bus).ok().text == "10\n"
        running.tell(number)
        assert running.line() == "stop"
        assert running.status() == 0
        assert running.rest() == []


def test_one_in_threads_that_fails_or_ends(folder: Path) -> None:
    (folder / "plain.py").write_text(PLAIN)
    status, _, complaints = hosted(folder, "plain:Failing", "--threads")
    assert (status, complaints.splitlines()[-1]) == (1, "busway: Failing has failed: OSError: no such line")
    status, _, complaints = hosted(folder, "plain:Failing", "--threads", "how=start")
    last = "busway: plain:Failing has failed: OSError: no such line"
    assert (status, complaints.splitlines()[-1]) == (1, last)
    assert hosted(folder, "plain:Failing", "--threads", "-q", "how=no") == (0, "", "")
    ended = Ended(*hosted_raw(folder, "lab.pumps:Pump", "--threads"))
    assert "Pump.on_start: a handler of a Bus must be a plain function" in ended.failed(2)
    ended = Ended(*hosted_raw(folder, "plain:Pump", "--threads", "--connect", "tcp://127.0.0.1:1"))
    assert "tcp://127.0.0.1:1" in ended.failed(4)


def test_it_begins_anew_if_told_and_ends_by_itself(folder: Path) -> None:
    status, output, complaints = hosted(folder, "lab.pumps:Lines", "--restart", "on-error")
    assert (status, output) == (0, "life 1\nlife 2\n")
    assert "Lines failed" in complaints
    assert "OSError: no such line" in complaints


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Failing", "busway: Failing has failed: OSError: no such line"),
        ("Plain", "busway: lab.pumps:Plain has failed: TypeError: no such pin"),
        ("Lines", "busway: Lines has failed: OSError: no such line"),
    ],
)
def test_one_that_fails(folder: Path, name: str, sentence: str) -> None:
    status, _, complaints = hosted(folder, f"lab.pumps:{name}")
    assert status == 1
    assert complaints.splitlines()[-1] == sentence
    assert f'lab{os.sep}pumps.py", line' in complaints


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lab.pumps"], "'lab.pumps' is no MODULE:NAME: write it as in lab.pumps:Pump"),
        (["lab/pumps.py:Pump"], "name the module, not its file: lab.pumps:Pump"),
        (["lab.pumps:Pmup"], "lab.pumps has no 'Pmup'; did you mean Pump?"),
        (["lab.pumps:Pump.zzz"], "Pump has no 'zzz'"),
        (["lab.pumsp:Pump"], "there is no module 'lab.pumsp', neither in "),
        (["lacking:Pump"], "lacking.py line 1: ModuleNotFoundError: No module named 'no_such_library'"),
        (["broken:Pump"], "module broken cannot be imported: broken.py line 3: NameError: name 'nowhere'"),
        (["wrong:Pump"], "module wrong cannot be imported: wrong.py line 1: SyntaxError: expected ':'"),
        (["lab.pumps:Pump", "pins=4"], "lab.pumps:Pump: got an unexpected keyword argument 'pins'"),
        (["lab.pumps:made"], "lab.pumps:made: missing a required argument: 'pin'"),
        (["lab.pumps:Pump", "pin"], "'pin' is no argument: give NAME=VALUE, as in pin=4"),
        (["lab.pumps:Pump", "pin=4", "pin=5"], "pin is given twice"),
        (["lab.pumps:one", "pin=4"], "lab.pumps:one is an object already, and takes no arguments (pin)"),
        (["lab.pumps:Nothing"], "lab.pumps:Nothing cannot be hosted: Nothing has nothing to run or to serve"),
        (["lab.pumps:Pump", "--name", "lab/*"], "lab.pumps:Pump cannot be hosted: "),
        (["lab.pumps:Pump", "--restart", "often"], "'often' is not one of 'never', 'on-error', 'always'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(folder: Path, words: list[str], sentence: str) -> None:
    status, output, complaints = hosted(folder, *words)
    assert sentence in Ended(status, output.encode(), complaints.encode()).failed(2)


def test_a_name_that_is_taken(folder: Path) -> None:
    source = (folder / "lab" / "pumps.py").read_text().replace('kind="anycast"', 'kind="unicast"')
    (folder / "lab" / "pumps.py").write_text(source)
    bus = new_bus()
    with hosting(folder, bus, "lab.pumps:Pump") as running:
        running.complaint()
        with hosting(folder, bus, "lab.pumps:Pump") as second:
            assert second.status() == 1
            assert second.rest()[-1].startswith("busway: lab/pump has failed: EndpointTaken: lab/pump/colour")


def test_systemd_is_told_when_it_runs_and_when_it_ends(folder: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="bw-") as place,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told,
    ):
        told.bind(f"{place}/notify")
        told.settimeout(120)
        with hosting(folder, new_bus(), "lab.pumps:Pump", NOTIFY_SOCKET=f"{place}/notify") as running:
            assert running.line() == "start 1 red"
            assert told.recv(100) == b"READY=1"
            running.tell(signal.SIGTERM)
            assert told.recv(100) == b"STOPPING=1"
            assert running.status() == 0
    with hosting(folder, new_bus(), "lab.pumps:Pump", NOTIFY_SOCKET="@no-such-socket") as running:
        assert running.complaint().startswith("busway: hosting")
        assert running.complaint().startswith("busway: cannot tell systemd at @no-such-socket: ")


def test_it_begins_anew_when_a_file_changes(folder: Path) -> None:
    file = folder / "lab" / "pumps.py"
    (folder / "venv").mkdir()
    (folder / "venv" / "pyvenv.cfg").touch()
    with hosting(folder, new_bus(), "lab.pumps:Pump", "--reload", "--name", "lab/pump") as running:
        assert running.line() == "start 1 red"
        assert running.complaint().startswith("busway: hosting lab/pump")
        (folder / "venv" / "passed_over.py").touch()
        file.write_text(PUMPS.replace('"red"', '"tan"'))
        assert running.line() == "stop"
        assert running.line() == "start 1 tan"
        assert running.complaint() == f"busway: lab{os.sep}pumps.py changed: beginning anew"
        file.write_text(PUMPS.replace("class Pump:", "class Pump"))
        assert running.line() == "stop"
        said = [running.complaint() for _ in range(4)]
        assert "cannot be imported" in said[2]
        assert said[3] == "busway: it has ended, and begins anew when a file changes"
        file.write_text(PUMPS)
        assert running.line() == "start 1 red"
        running.tell(signal.SIGINT)
        assert running.line() == "stop"
        assert running.status() == 0


def test_with_reload_it_ends_with_the_object(folder: Path) -> None:
    (folder / "lab" / "pumps.py").write_text(PUMPS.replace("Lines.lives == 1", "False"))
    status, output, _ = hosted(folder, "lab.pumps:Lines", "--reload")
    assert (status, output) == (0, "life 1\n")


def test_reload_looks_at_so_many_files_and_no_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from busway.cli import reloading
    from busway.cli.failures import Failure

    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "passed_over.py").touch()
    found = reloading.versions_in(folder)
    assert len(found) == 5
    monkeypatch.setattr(reloading, "FILES_MAX", 5)
    assert reloading.versions_in(folder) == found
    monkeypatch.setattr(reloading, "FILES_MAX", 4)
    with pytest.raises(Failure, match="more than 4"):
        reloading.versions_in(folder)


def unit() -> str:
    """The unit for systemd in the documents."""
    (found,) = blocks("docs/howto/hosting.md", "ini")
    return found


def test_the_unit_of_the_documents_runs_a_command_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "examples")
    monkeypatch.setattr(sys, "path", [*sys.path])
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(unit())
    program, command, *arguments = shlex.split(parser["Service"]["ExecStart"])
    assert program.startswith("/opt/home/")
    assert command == "host"
    with click.Context(group) as parent:
        given = commands()[command].make_context(command, arguments, parent=parent)
    assert target_of(given.params["target"], given_as(given.params["given"])).text == "home:Home"
    assert float(parser["Service"]["TimeoutStopSec"]) > LEAVE_S


def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    text = unit().replace("/opt/home/venv/bin/busway", sys.executable).replace("=/opt/home", f"={tmp_path}")
    file = tmp_path / "home.service"
    for wrong in ("", "Restrat=no\n"):
        file.write_text(text.replace("Restart=", f"{wrong}Restart="))
        said = subprocess.run(
            [analyze, "verify", file], capture_output=True, text=True, timeout=120, check=False
        )
        assert bool(said.stderr.strip()) == bool(wrong), said.stderr
