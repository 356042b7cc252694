"""The programs in examples/, run as users run them: in processes of their own, on a bus of their own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.tools import until
from tests.front.cli_rig import busway
from tests.rigs import forks, terminal
from tests.rigs.processes import output_of
from tests.rigs.terminal import Terminal
from tests.rigs.tree import ROOT
from tests.test_docs import DOCUMENTS, text_of

EXAMPLES = ROOT / "examples"
SHOWN = "docs/howto/examples.md"
WAIT_S = 60.0
READING = re.compile(r"cellar: -?\d+\.\d")

pytestmark = pytest.mark.timeout(600)

TOKEN = "gx7q5m8z3t6r1v0h4k9w2eyb4a"


class Program:
    """One example at work, and what it prints."""

    def __init__(self, environment: dict[str, str], *words: str | Path) -> None:
        read, write = os.pipe()
        self.process = forks.Program([*map(str, words)], environment, terminal=write, directory=EXAMPLES)
        os.close(write)
        self._output = os.fdopen(read)
        self.printed: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._output:
            self._lines.put(line.rstrip())
        self._lines.put(None)

    def line(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """The next line that the pattern finds something in."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, "\n".join([f"{pattern} was not printed, but:", *self.printed])
            self.printed.append(line)
            if found := re.search(pattern, line):
                return found

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(WAIT_S)
        self._output.close()


class Machine:
    """A place where examples run: the programs of one `BUSWAY_DIR` find each other."""

    def __init__(self, directory: str) -> None:
        self.environment = os.environ | {"BUSWAY_DIR": directory, "PYTHONUNBUFFERED": "1"}
        self.programs: list[Program] = []

    def start(self, *words: str | Path, **environment: str) -> Program:
        self.programs.append(Program(self.environment | environment, *words))
        return self.programs[-1]


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="bw-") as directory:
        made = Machine(directory)
        try:
            yield made
        finally:
            for program in made.programs:
                program.end()


def test_a_panel_shows_readings_and_calibrates() -> None:
    with machine() as here:
        here.start("sensor.py")
        panel = here.start("panel.py")
        panel.line(r"^calibrated: [+-]\d+\.\d$")
        assert 20 < float(panel.line(READING)[0].split()[1]) < 30


def test_what_a_sensor_publishes_by_class_is_seen_by_name() -> None:
    """Nobody subscribes: what is known of it comes from the publisher alone."""
    with machine() as here:
        here.start("sensor.py")

        def published() -> list[str]:
            rows = busway("endpoints", "--json", BUSWAY_DIR=place).ok().document
            return [row["name"] for row in rows if row["kind"] == "publisher"]

        place = here.environment["BUSWAY_DIR"]
        deadline = time.monotonic() + WAIT_S
        while not (names := published()):
            assert time.monotonic() < deadline
        assert names == ["lab/reading"]
        told = busway("listen", "--all", "--json", "-c", "1", "--timeout", str(WAIT_S), BUSWAY_DIR=place)
        assert told.document["endpoint"] == "lab/reading"
        *_, view = busway("monitor", "--json", "-i", "3", "-c", "2", BUSWAY_DIR=place).ok().documents
        (line,) = [row for row in view["endpoints"] if row["kind"] == "publisher"]
        assert (line["name"], line["holders"]) == ("lab/reading", ["sensor"])
        assert 0 < line["sent_rate"] < 50
        assert line["sent"] > 0


HOST = ("-m", "busway", "host")


def test_jobs_are_done_although_a_worker_slips_and_one_is_killed() -> None:
    with machine() as here:
        workers = [here.start("worker.py"), here.start(*HOST, "worker:Worker", "--serial", "slips=0.3")]
        workers.append(here.start(*HOST, "worker:Worker", "--serial"))
        for worker in workers:
            worker.line("ready|hosting lab/work")
        jobs = here.start("jobs.py", "120")
        workers[0].line(r"^job \d+$")
        workers[0].process.send_signal(signal.SIGKILL)  # it has this one or the next, and one that waits
        jobs.line(r"^job \d+ again: LOST_AFTER_SENDING$")
        assert jobs.line(r"^(\d+) jobs, sum (\d+)$").groups() == ("120", str(sum(n * n for n in range(120))))
        assert any(line.endswith(" again: it went wrong") for line in jobs.printed)


def test_a_home_is_lit_heated_and_guarded() -> None:
    with machine() as here:
        home = here.start(*HOST, "home:Home", "--serial", "linger=1")
        home.line("hosting home ")
        switched = here.start("-m", "busway", "listen", "home/*/lamp", "home/*/heater", "-q")
        alarms = here.start("-m", "busway", "listen", "home/alarm")
        alarms.line("listening to home/alarm")

        def does(*words: str) -> Any:
            return busway(*words, BUSWAY_DIR=here.environment["BUSWAY_DIR"]).ok().text.strip()

        does("publish", "home/kitchen/celsius", "17.5")
        does("publish", "home/kitchen/motion")
        switched.line(r"home/kitchen/heater .*true$")
        switched.line(r"home/kitchen/lamp .*true$")
        assert does("last", "home/kitchen/heater") == "true"
        assert does("call", "home.lit") in ('["kitchen"]', "[]")
        switched.line(r"home/kitchen/lamp .*false$")
        does("call", "home.set_mode", "mode=away")
        does("publish", "home/kitchen/celsius", "17.5")
        switched.line(r"home/kitchen/heater .*false$")
        does("publish", "home/hall/motion")
        alarms.line("hall")
        does("call", "home.set_mode", "mode=present")
        does("publish", "home/hall/motion")
        switched.line(r"home/hall/lamp .*true$")
        home.process.send_signal(signal.SIGINT)  # on_stop makes it dark
        switched.line(r"home/hall/lamp .*false$")
        assert home.process.wait(WAIT_S) == 0


def shows(chat: Any, text: str) -> bool:
    """Whether a chat of this process has that line."""
    return any(text in line.text for line in chat.query_one("#said").lines)


async def chatting(module: Any) -> None:
    """Two chats, each at a screen of textual's pilot, the second over a WebSocket."""
    ann = module.Chat("ann", listen="ws://127.0.0.1:0")
    async with ann.run_test() as first:
        await until(lambda: shows(ann, "others come to ws://127.0.0.1:"))
        url = ann.query_one("#said").lines[0].text.split()[-1]
        bob = module.Chat("bob[red]", ws=url)
        async with bob.run_test() as second:
            await until(lambda: len(ann.there) == len(bob.there) == 2)
            await first.press(*"hi", "enter")
            await until(lambda: shows(ann, "ann: hi") and shows(bob, "ann: hi"))
            await second.press(*"yes", "enter", "enter")
            await until(lambda: shows(ann, "bob[red]: yes"))
            assert ann.query_one("Input").value == ""
            assert str(ann.query_one("#who").content) == "ann\nbob[red]"
            await ann.bus.publish("chat/line", {"by": "x", "text": 1}, realm="global")  # no Line
            await ann.bus.publish(module.Line, module.Line("eve", "\x1b[2Jboo"), realm="global")
            await until(lambda: shows(bob, "eve: [2Jboo"))
            assert [len(each.query_one("#said").lines) for each in (ann, bob)] == [4, 3]
        await until(lambda: len(ann.there) == 1)


def test_a_chat_at_the_pilot_of_textual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    with tempfile.TemporaryDirectory(prefix="bw-") as directory:
        monkeypatch.setenv("BUSWAY_DIR", directory)
        asyncio.run(chatting(importlib.import_module("chat")))


def until_all(screens: tuple[Terminal, ...], *patterns: str) -> None:
    """Wait until each screen shows all of these."""

    def show() -> bool:
        return all(re.search(pattern, screen.text, re.M) for screen in screens for pattern in patterns)

    screens[0].until(show)


def test_a_chat_of_three_programs_over_ipc_and_a_websocket() -> None:
    with machine() as here, contextlib.ExitStack() as stack:

        def chat(*words: str) -> Terminal:
            ready = ("busway.adapters.asyncio", "textual.app", "textual.widgets")
            command = (str(EXAMPLES / "chat.py"), *words)
            return stack.enter_context(terminal.forked(*command, env=here.environment, ready=ready))

        ann = chat("ann", "--listen", "ws://127.0.0.1:0")
        ann.until(lambda: "others come to ws://" in ann.text)
        (url,) = re.findall(r"ws://127\.0\.0\.1:\d+", ann.text)
        bob, cid = chat("bob", "--ws", url), chat("cid")
        everyone = (ann, bob, cid)
        until_all(everyone, *(rf"│ *{name} *$" for name in ("ann", "bob", "cid")))
        for number, each in enumerate(everyone):
            each.press(f"hello {number}\r")
        until_all(everyone, "ann: hello 0", "bob: hello 1", "cid: hello 2")
        bob.press("\x03")
        assert bob.ends() == 0
        ann.until(lambda: not re.search(r"│ *bob *$", ann.text, re.M))


def fetched(url: str, method: str = "GET") -> Any:
    """The answer of a web server, JSON as a value; None for 503."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=WAIT_S) as response:
            body, kind = response.read().decode(), response.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise
        return None
    return json.loads(body) if kind.startswith("application/json") else body


def until_fetched(url: str, method: str = "GET") -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := fetched(url, method)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


SERVERS = {
    "FastAPI": ("-m", "uvicorn", "web_fastapi:app", "--port", "0", "--no-access-log"),
    "Flask": ("-m", "flask", "--app", "web_flask", "run", "--port", "0"),
}


@pytest.mark.parametrize("server", SERVERS)
def test_a_page_shows_readings_and_calibrates(server: str) -> None:
    with machine() as here:
        web = here.start(*SERVERS[server])
        url = web.line(r"http://127\.0\.0\.1:\d+")[0]
        assert "<title>Lab</title>" in fetched(f"{url}/")
        assert fetched(f"{url}/readings") == []
        assert fetched(f"{url}/calibrate?celsius=25", "POST") is None  # nobody is there yet
        here.start("sensor.py")
        ((reading),) = until_fetched(f"{url}/readings")
        assert set(reading) == {"place", "celsius"}
        assert set(until_fetched(f"{url}/calibrate?celsius=25", "POST")) == {"offset"}


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A display of its own; skipped where there is none to be had."""
    pytest.importorskip("tkinter")
    server = shutil.which("Xvfb")
    if server is None:
        pytest.skip("Xvfb is not installed (Debian and Ubuntu: apt-get install xvfb)")
    with subprocess.Popen(
        [server, "-displayfd", "1", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield f":{process.stdout.readline().strip()}"
        process.terminate()


def test_a_window_stays_alive_while_it_asks(display: str) -> None:
    with machine() as here:
        here.start("sensor.py")
        window = here.start("window.py", "--press", DISPLAY=display)
        window.line(r"^(…|cellar: \d+\.\d °C), calibrated: [+-]\d+\.\d$")


def across(*listening: str | Path, cafile: str = "") -> None:
    """A sensor on one machine, and who asks on another; each machine has programs of its own."""
    with machine() as near, machine() as far:
        near.start("sensor.py")
        gateway = near.start("gateway.py", *listening, BUSWAY_TOKEN=TOKEN)
        url = gateway.line(r"^\w+://\S+$")[0]
        away = url.replace("127.0.0.1", "localhost")
        asking = far.start("far.py", away, *([cafile] if cafile else []), BUSWAY_TOKEN=TOKEN)
        asking.line(r"^calibrated: [+-]\d+\.\d$")
        for _ in range(3):
            asking.line(READING)


def test_two_machines_over_tcp() -> None:
    across("tcp://127.0.0.1:0")


def test_two_machines_over_wss(tmp_path: Path) -> None:
    output_of([sys.executable, "-m", "busway", "certificate", "--out", tmp_path], cwd=tmp_path)
    across("wss://127.0.0.1:0", tmp_path, cafile=str(tmp_path / "ca.pem"))


def test_every_example_is_run_here_and_shown_in_the_documents() -> None:
    mine, shown = Path(__file__).read_text(), text_of(SHOWN)
    for file in EXAMPLES.glob("*.py"):
        assert f"](../../examples/{file.name})" in shown, file.name
        if file.name != "lab.py":  # which the others import
            run_as = (f'"{file.name}"', f"{file.stem}:", f'"{file.stem}"')
            assert any(words in mine for words in run_as), file.name


def test_what_the_documents_quote_is_what_the_files_say() -> None:
    pages = "\n".join(map(text_of, DOCUMENTS))
    quoted = re.findall(r"^```python\n# examples/(\w+\.py)\n(.*?)^```$", pages, re.M | re.S)
    wanted = {"lab.py", "sensor.py", "panel.py", "worker.py", "jobs.py", "home.py", "chat.py", "camera.py"}
    wanted |= {"webcam.py", "motion.py"}
    assert wanted == {name for name, _ in quoted}
    for name, body in quoted:
        assert body == (EXAMPLES / name).read_text(), name


def test_a_pipeline_of_processes_finds_what_moves() -> None:
    with machine() as here:
        camera = here.start("camera.py")
        camera.line(r"^120 frames, 120 with the square found where it was$")


def test_frames_of_a_camera_are_looked_at_where_they_lie() -> None:
    """By two programs at once."""
    with machine() as here:
        watchers = [here.start("motion.py") for _ in range(2)]
        here.start("webcam.py")
        for watcher in watchers:
            watcher.line(r"^60 frames of 1920 x 1080, 60 with the square where it was$")
