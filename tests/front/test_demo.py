"""The main job, run for real: it shows what it should, judges itself, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import busway
from busway.demo.figures import Figures, RoundTrips
from busway.demo.messages import Readings
from busway.demo.report import missing, plain_line, summary
from busway.demo.watcher import Watcher
from busway.drivers import unix
from busway.testing import Network
from tests.rigs import forks

READINGS = Readings(cpu_percent=12.0, load=[0.5, 0.4, 0.3], memory_percent=40.0, memory_size=2**33)
DEMO = (sys.executable, "-m", "busway.demo")


# However busy the machine is: nothing below waits longer than it has to.
PATIENCE_S = 120.0
pytestmark = pytest.mark.timeout(4 * PATIENCE_S)


def wait_for(condition: Callable[[], object], what: str, bound_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < deadline, f"after {bound_s:.0f} s still not: {what}"
        time.sleep(0.02)


def bus_of(name: str) -> str:
    """A bus of this run's own: other runs of these tests may be under way."""
    return f"demo-{name}-{os.getpid()}"


def programs(bus: str) -> list[psutil.Process]:
    """The processes of a demo on this bus."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()  # none once it has ended
            if words[1:2] == ["-m"] and words[-1] == bus:
                found.append(process)
    return found


def sockets(bus: str) -> list[str]:
    return os.listdir(unix.bus_directory(bus))


def refused(*words: str, **environment: str) -> tuple[int, str]:
    """The exit status of a demo that does not begin, and its words about that."""
    program = forks.Program(["-m", "busway.demo", *words], os.environ | environment)
    status, _, complaint = program.communicate(b"", PATIENCE_S)
    return status, complaint.decode()


class Demo:
    """A demo that runs on a bus of its own; its output grows in a file."""

    def __init__(self, bus: str, output: Path) -> None:
        self.bus = bus
        self.output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [*DEMO, "--bus", bus], stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            )

    def printed(self) -> str:
        return self.output.read_text()

    def stands(self) -> bool:
        assert self.process.poll() is None, self.printed()
        return " replied" in self.printed() and len(programs(self.bus)) >= 5

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def demo(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Demo]:
    running = Demo(bus_of(request.node.name[-20:]), tmp_path / "output")
    try:
        wait_for(running.stands, "the demo stands")
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        for program in programs(running.bus):
            with contextlib.suppress(psutil.Error):
                program.kill()


# The real thing


def test_a_run_of_six_seconds() -> None:
    bus = bus_of("six")
    run = subprocess.run(
        [*DEMO, "--duration", "6", "--bus", bus],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    assert f"busway nodes --bus {bus}" in run.stdout
    assert len(lines_of(run.stdout)) >= 3, run.stdout
    asked, outcomes = figures_after("requests", run.stdout)[:2]
    assert asked == outcomes >= 10
    assert figures_after("messages", run.stdout)[0] >= 10
    assert figures_after("visitor", run.stdout)[1] >= 1
    assert figures_after("victim", run.stdout)[1] >= 1
    assert figures_after("board", run.stdout)[0] >= 1, "MicroPython, a pty, a bridge"
    assert re.search(r"lab/pump +min \d+\.\d\d ms", run.stdout)
    assert min(figures_after("WebSocket", run.stdout)) >= 1
    assert re.search(r"^In a browser: http://127\.0\.0\.1:\d+/$", run.stdout, re.MULTILINE)
    assert re.search(r"demo/sum +min \d+\.\d\d ms  median \d+\.\d\d ms  p99 \d+\.\d\d ms", run.stdout)
    assert programs(bus) == []
    assert sockets(bus) == []


def test_who_holds_what_is_the_demos_is_told_as_another_demo() -> None:
    """As a demo that is seen late, by the endpoint that both want."""
    bus = bus_of("held")
    with busway.Bus(bus) as other:
        other.register("demo/guestbook")
        status, complaint = refused("--bus", bus)
    assert status == 1
    assert f'a demo runs on bus "{bus}" already' in complaint


def test_it_goes_on_until_it_is_ended_and_another_on_the_same_bus_is_refused(demo: Demo) -> None:
    """As many requests and messages as a slow machine needs time for."""
    status, complaint = refused("--bus", demo.bus)
    assert status == 1
    assert "runs on bus" in complaint
    assert "--bus" in complaint

    def replied() -> int:
        counts = re.findall(r" ([\d,]+) replied", demo.printed())
        return int(counts[-1].replace(",", "")) if counts else 0

    def taken() -> int:
        rates = re.findall(r"([\d,]+) messages/s", demo.printed())
        return sum(int(rate.replace(",", "")) for rate in rates)

    wait_for(lambda: len(lines_of(demo.printed())) >= 5, "five lines")
    wait_for(lambda: replied() >= 100 and taken() >= 200, "a hundred answers, and messages")
    demo.process.terminate()
    assert demo.wait() == 128 + signal.SIGTERM, demo.printed()
    asked, outcomes = figures_after("requests", demo.printed())[:2]
    assert asked == outcomes >= 100
    assert figures_after("messages", demo.printed())[0] >= 100
    assert programs(demo.bus) == []
    assert sockets(demo.bus) == []


def lines_of(output: str) -> list[str]:
    """The lines that say once a second where the run stands."""
    return re.findall(r"^ *\d+\.\d s  \d+ nodes", output, re.MULTILINE)


def figures_after(word: str, output: str) -> list[int]:
    """The whole numbers in that line of the summary."""
    line = re.search(rf"^  {word} (.*)$", output, re.MULTILINE)
    assert line, output
    return [int(number.replace(",", "")) for number in re.findall(r"\b\d[\d,]*(?![\d.]*\.)", line[1])]


def test_live_view_and_ctrl_c(tmp_path: Path) -> None:
    bus = bus_of("live")
    ours, its = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            [*DEMO, "--bus", bus], stdin=its, stdout=its, stderr=errors, env=environment
        )
    os.close(its)
    screen = Terminal(ours)
    try:
        for word in (
            "Nodes",
            "victim",
            "lab/pump",
            "demo/heartbeat",
            "load",
            "demo/sum",
            "http://127.0.0.1:",
        ):
            wait_for(lambda word=word: word in screen.text(), f"the view shows {word}")  # type: ignore[misc]
        process.send_signal(signal.SIGINT)
        wait_for(lambda: "victim      killed" in screen.text(), "the summary")
        assert "\x1b[?1049l" in screen.text(), "the terminal has its own screen back"
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert (tmp_path / "errors").read_text() == ""
    assert programs(bus) == []
    assert sockets(bus) == []


class Terminal:
    """The master side of a terminal: all that was printed so far."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._printed = b""

    def text(self) -> str:
        with contextlib.suppress(BlockingIOError, OSError):  # nothing now; the other side has left
            while data := os.read(self._fd, 65536):
                self._printed += data
        return self._printed.decode(errors="replace")


def test_programs_end_when_the_demo_is_killed(demo: Demo) -> None:
    demo.process.kill()
    demo.wait()
    wait_for(lambda: not programs(demo.bus), "all programs have ended")


def test_the_board_is_gone_with_its_bridge_even_by_kill_9() -> None:
    bridge = subprocess.Popen([sys.executable, "-m", "busway.demo.board", "--bus", bus_of("board")])
    try:
        parent = psutil.Process(bridge.pid)
        wait_for(parent.children, "MicroPython runs")
        (firmware,) = parent.children()
    finally:
        bridge.kill()
        bridge.wait()
    wait_for(lambda: not firmware.is_running() or firmware.status() == psutil.STATUS_ZOMBIE, "it has ended")


def test_a_program_that_dies_fails_the_demo(demo: Demo) -> None:
    (answers,) = [found for found in programs(demo.bus) if "busway.demo.answers" in found.cmdline()]
    answers.kill()
    assert demo.wait() == 1
    assert "answers ended by itself with status -9" in demo.printed()
    assert programs(demo.bus) == []
    assert sockets(demo.bus) == []


@pytest.mark.parametrize("library", ["psutil", "h11", "wsproto"])
def test_without_a_library_it_names_what_to_install(library: str) -> None:
    blocked = f"import sys; sys.modules[{library!r}] = None; import runpy"
    blocked += "; runpy.run_module('busway.demo', None, '__main__')"
    run = subprocess.run(
        [sys.executable, "-c", blocked], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert run.returncode == 1
    assert "-m pip install psutil h11 wsproto" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("duration", ["0", "-1", "nan", "soon"])
def test_a_bad_duration_is_refused(duration: str) -> None:
    status, complaint = refused("--duration", duration)
    assert status == 2
    assert "--duration" in complaint


@pytest.mark.parametrize(
    ("bus", "directory", "sentence"), [("", "", "1 to 64"), ("x", "/tmp/" + "x" * 100, "BUSWAY_DIR")]
)
def test_what_keeps_it_from_joining_is_one_sentence(bus: str, directory: str, sentence: str) -> None:
    status, complaint = refused("--bus", bus, **({"BUSWAY_DIR": directory} if directory else {}))
    assert status == 1
    assert re.fullmatch(rf"busway\.demo: .*{sentence}.*\n", complaint)


# What it judges by


def good_figures() -> Figures:
    """The lines of a run that showed everything."""
    figures = Figures()
    figures.node_up(b"v", "visitor")
    figures.node_down(b"v")
    with figures.request("demo/sum"):
        pass
    figures.readings, figures.readings_count, figures.visits = READINGS, 1, 1
    figures.kills = figures.returns = figures.remote_readings = figures.remote_answers = 1
    return figures


def test_a_program_counts_as_what_it_turns_out_to_be() -> None:
    figures = Figures()
    figures.node_up(b"v", "")
    assert figures.came["victim"] == 0
    figures.node_changed(b"v", "victim")
    assert (figures.came["victim"], figures.came.total()) == (1, 1)
    assert figures.nodes[b"v"].label == "victim"
    figures.node_down(b"v")
    assert figures.went == {"victim": 1}


def test_the_watcher_waits_for_who_a_node_is() -> None:
    """Another node tells of it first, and then without its label."""

    async def watch() -> None:
        async with Network() as network:
            here, door = [await network.bus(label, transit=True) for label in ("watcher", "door")]
            victim = await network.bus("victim", leaf=True)
            await network.link(here, door, delay=0.005)
            figures = Figures()
            watcher = Watcher(here, figures)
            listening = [asyncio.create_task(each) for each in watcher.listeners()]
            await network.link(door, victim)
            await watcher.until(lambda: figures.came["victim"] == 1, PATIENCE_S)
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)

    asyncio.run(watch())


def test_nothing_is_missing_from_a_good_run() -> None:
    assert missing(good_figures(), 10.0) == []


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("readings_count", 0, "no readings arrived"),
        ("requests", {}, "no request was answered"),
        ("remote_readings", 0, "no readings arrived over the WebSocket"),
        ("remote_answers", 0, "no request was answered over the WebSocket"),
        ("went", {"visitor": 0}, "the visitor did not come and go"),
        ("visits", 0, "no report of the visitor came"),
        ("kills", 0, "the victim was not killed"),
        ("returns", 0, "the victim did not come back after kill -9"),
        ("complaints", ["victim left with status 1"], "victim left with status 1"),
    ],
)
def test_what_is_missing_is_said(name: str, value: object, sentence: str) -> None:
    figures = good_figures()
    setattr(figures, name, value)
    assert missing(figures, 10.0) == [sentence]


def test_a_short_run_need_not_see_the_victim_come_back() -> None:
    figures = good_figures()
    figures.kills = figures.returns = 0
    assert missing(figures, 4.0) == []


@pytest.mark.parametrize(
    ("change", "sentence"), [(1, "1 requests had no outcome"), (-1, "1 requests had more than one outcome")]
)
def test_each_request_has_one_outcome(change: int, sentence: str) -> None:
    figures = good_figures()
    figures.requests["demo/sum"].asked += change
    assert missing(figures, 10.0) == [sentence]


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (busway.RemoteError(256, "no"), "error"),
        (busway.Undeliverable(1), "undelivered"),
        (busway.RequestTimeout(), "timeout"),
        (busway.BusClosed(), "cancelled"),
    ],
)
def test_an_error_is_an_outcome(error: Exception, outcome: str) -> None:
    figures = Figures()
    with figures.request("x"):
        fail(error)
    assert figures.outcomes() == {outcome: 1}
    assert figures.requests["x"].round_trips.count == 0


def test_a_cancelled_request_has_its_outcome_and_stays_cancelled() -> None:
    figures = Figures()
    with pytest.raises(asyncio.CancelledError), figures.request("x"):
        raise asyncio.CancelledError
    assert figures.outcomes() == {"cancelled": 1}


def test_any_other_error_is_not_swallowed() -> None:
    with pytest.raises(busway.DeliveryUnknown), Figures().request("x"):
        raise busway.DeliveryUnknown


def test_a_round_trip_during_which_the_screen_was_drawn_is_not_measured() -> None:
    figures = Figures()
    with figures.request("x"):
        figures.draws += 1
    assert figures.outcomes() == {"replied": 1}
    assert figures.requests["x"].round_trips.count == 0


def test_quantiles() -> None:
    times = RoundTrips()
    assert times.quantiles(0.5, 0.99) == [0.0, 0.0]
    for number in range(200, 0, -1):
        times.add(float(number))
    assert (times.least, *times.quantiles(0.0, 0.5, 0.99, 1.0)) == (1.0, 1.0, 101.0, 199.0, 200.0)


def report(node: bytes, taken: int) -> dict[str, object]:
    endpoint = {"endpoint": bytes(16), "name": "demo/echo", "kind": "anycast", "taken": taken}
    return {"node": node, "label": node.decode(), "links": [{}, {}], "endpoints": [endpoint]}


def test_survey_adds_up_what_nodes_took_across_restarts() -> None:
    figures = Figures()
    for node in (b"a", b"b"):
        figures.node_up(node, node.decode())
    figures.survey([report(b"a", 10), report(b"b", 1)])
    assert (figures.traffic["demo/echo"].total, figures.traffic["demo/echo"].holders) == (11, ["a", "b"])
    figures.survey([report(b"a", 12)])  # b was too busy to answer
    figures.survey([report(b"a", 12), report(b"b", 4)])
    assert figures.traffic["demo/echo"].total == 16
    figures.node_down(b"b")
    figures.survey([report(b"a", 12)])
    figures.node_up(b"b", "b")
    figures.survey([report(b"a", 12), report(b"b", 2)])  # started again: it counts from 0
    assert figures.traffic["demo/echo"].total == 18
    assert figures.nodes[b"a"].links == 2


def test_texts_with_and_without_readings_and_temperatures() -> None:
    figures = good_figures()
    assert "no sensors" in plain_line(figures)
    figures.readings = replace(READINGS, celsius={"cpu": 41.6, "disk": 30.0})
    assert "42 °C" in plain_line(figures)
    assert "no readings yet" in plain_line(Figures())
    assert "came back 0 times" in summary(Figures(), "x")
