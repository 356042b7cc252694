"""Runs the real command line, and programs beside it, as processes of their own."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.rigs import forks

PATIENCE_S = 120  # for what hangs: a busy machine takes as long as it needs


def new_bus() -> str:
    """A bus of its own for a test."""
    return f"test-{uuid.uuid4()}"


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """That of a program of this checkout, in which warnings are errors."""
    return {**os.environ, "PYTHONPATH": forks.PATH, "PYTHONWARNINGS": "error", **extra}


def busway(*words: str, bus: str = "", stdin: bytes = b"", **extra: str) -> "Ended":
    """Runs `busway` to its end. `extra` goes to its environment."""
    if bus:
        extra["BUSWAY_BUS"] = bus
    program = forks.Program(["-m", "busway", *words], environment(extra))
    return Ended(*program.communicate(stdin, PATIENCE_S))


def busway_anew(*words: str) -> "Ended":
    """The same in an interpreter of its own, as users start it."""
    run = subprocess.run(
        [sys.executable, "-m", "busway", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment({}),
        timeout=PATIENCE_S,
        check=False,
    )
    return Ended(run.returncode, run.stdout, run.stderr)


class Ended:
    """The remains of a command: exit status, output, complaints."""

    def __init__(self, status: int, output: bytes, stderr: bytes) -> None:
        self.status = status
        self.output = output
        self.stderr = stderr.decode()
        assert "Traceback" not in self.stderr, self.stderr

    @property
    def text(self) -> str:
        return self.output.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def document(self) -> Any:
        """The one JSON document that was printed."""
        (line,) = self.lines
        return json.loads(line)

    @property
    def documents(self) -> list[Any]:
        """JSON lines."""
        return [json.loads(line) for line in self.lines]

    def ok(self) -> "Ended":
        """Itself, if it worked and said nothing on stderr."""
        assert (self.status, self.stderr) == (0, "")
        return self

    def failed(self, status: int) -> str:
        """The one line on stderr, if it ended with this status."""
        assert self.status == status, (self.status, self.stderr)
        (line,) = self.stderr.splitlines()
        assert line.startswith("busway: ")
        return line


class Running:
    """A process that runs: its lines on stdout and stderr as they come."""

    def __init__(self, process: forks.Program | subprocess.Popen[bytes]) -> None:
        self.process = process
        self._readers: list[threading.Thread] = []
        self._out = self._follow(process.stdout)
        self._err = self._follow(process.stderr)

    def _follow(self, stream: IO[bytes] | None) -> "queue.Queue[str]":
        lines: queue.Queue[str] = queue.Queue()

        def read() -> None:
            assert stream is not None
            with stream:
                for line in stream:
                    lines.put(line.decode().rstrip("\n"))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        self._readers.append(reader)
        return lines

    def line(self) -> str:
        """The next line on stdout."""
        return self._out.get(timeout=PATIENCE_S)

    def complaint(self) -> str:
        """The next line on stderr."""
        return self._err.get(timeout=PATIENCE_S)

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def status(self) -> int:
        """Its exit status, once it has ended."""
        return self.process.wait(PATIENCE_S)

    def rest(self) -> list[str]:
        """The rest of what it said on stderr, once it has ended."""
        self.status()
        for reader in self._readers:
            reader.join(PATIENCE_S)
        found = []
        while not self._err.empty():
            found.append(self._err.get())
        return found

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(PATIENCE_S)


@contextmanager
def started(*command: str, **extra: str) -> Iterator[Running]:
    """A process; killed at the end if it still runs."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(extra),
    )
    with ended(Running(process)) as running:
        yield running


@contextmanager
def python(*words: str, **extra: str) -> Iterator[Running]:
    """A Python program: -m and a module, or -c and a text, and arguments."""
    program = forks.Program(words, environment(extra))
    program.stdin.close()
    with ended(Running(program)) as running:
        yield running


@contextmanager
def ended(running: Running) -> Iterator[Running]:
    """It is killed at the end if it still runs."""
    try:
        yield running
    finally:
        running.end()


@contextmanager
def busway_started(*words: str, bus: str, **extra: str) -> Iterator[Running]:
    """`busway` in the background. `listen` and `serve` have said that they are ready."""
    with python("-m", "busway", *words, BUSWAY_BUS=bus, **extra) as running:
        if words[0] in ("listen", "serve"):
            assert running.complaint().startswith(f"busway: {words[0].rstrip('e')}")
        yield running


@contextmanager
def peer(bus: str, label: str = "answers") -> Iterator[Running]:
    """The program of cli_peer.py, ready."""
    with python("-m", "tests.front.cli_peer", bus, label) as running:
        assert running.line() == "ready"
        yield running


def until(condition: Callable[[], bool]) -> None:
    """Waits until it holds. AssertionError if it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody waits for any more counts."""
    try:
        return b"State:\tZ" in Path(f"/proc/{pid}/status").read_bytes()
    except FileNotFoundError:
        return True
