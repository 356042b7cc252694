"""Workers as the harness sees them: started once, told by a pipe what to do, heard with a time limit."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
ROUND_S = 120.0
END_S = 5.0
BUSY_S = 0.1  # until a busy program has begun to be


class WorkerFailed(Exception):
    """A worker ended, said nothing in time, or what it says cannot be."""


class Worker:
    """One process, and what it says.

    Args:
        role: module:Class, what it plays.
        place: a folder that all workers of a team share.
        package: the folder that holds the `busway` to be measured.
        environment: more variables.
    """

    def __init__(self, role: str, place: str, package: Path, environment: Mapping[str, str]) -> None:
        self.role = role
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._heard = b""
        self.ready = ""
        paths = os.pathsep.join((str(package), str(ROOT)))
        variables = {**os.environ, "PYTHONPATH": paths, "BUSWAY_DIR": os.path.join(place, "b")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bench.worker", role, place],
            env={**variables, **environment},
            cwd=place,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self) -> None:
        self.ready = str(self.hear(START_S)["ready"])

    def tell(self, do: str, **job: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **job}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._failed("ended") from None

    def hear(self, timeout_s: float = ROUND_S) -> dict[str, Any]:
        """Its next line."""
        assert self._process.stdout is not None
        until = time.monotonic() + timeout_s
        while b"\n" not in self._heard:
            found, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            if not found:
                raise self._failed(f"said nothing for {timeout_s:g} s")
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                raise self._failed("ended")
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        try:
            told: dict[str, Any] = json.loads(line)
        except ValueError:
            raise self._failed(f"said {line[:200]!r}") from None
        if "failed" in told:
            raise self._failed(f"found that {told['failed']}")
        return told

    def ask(self, do: str, **job: object) -> dict[str, Any]:
        self.tell(do, **job)
        return self.hear()

    def _failed(self, how: str) -> WorkerFailed:
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        return WorkerFailed(f"{self.role} {how}" + (f":\n{said[-3000:]}" if said else ""))

    def let_go(self) -> None:
        """Closes its standard input, on which it leaves."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            pass

    def end(self) -> None:
        """Ends it, by force if it does not leave."""
        self.let_go()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()


def end_all(workers: Iterable[Worker]) -> None:
    """All leave at the same time."""
    listed = list(workers)
    for worker in listed:
        worker.let_go()
    for worker in listed:
        worker.end()


def cpu_seconds(pid: int) -> float:
    """Processor time of a process that is no worker, all its threads that live: Linux only, else 0."""
    total = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return total / 1e9


def pin(pid: int, cores: set[int]) -> None:
    """Lets all threads that the process has run on these cores only."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), cores)
        except ProcessLookupError:
            pass  # that thread has ended


class Busy:
    """So many programs that compute and do nothing else, as long as it lasts."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> None:
        words = [sys.executable, "-S", "-c", "while True: pass"]
        self._processes = [subprocess.Popen(words) for _ in range(self._count)]
        if self._processes:
            time.sleep(BUSY_S)

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
