"""Programs on machines that are network namespaces, and what they say."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.rigs.netns import Machine
from tests.rigs.tree import ROOT

PATIENCE_S = 60.0  # of a busy machine
PROGRAM = ROOT / "tests" / "lan" / "program.py"

Line = dict[str, Any]


class Running:
    """A program that says JSON lines; `said` are those so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[Line] = []
        self.begun = time.monotonic()
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.said.append(json.loads(line))
                self._changed.notify_all()

    def wait(self, wanted: Callable[[Line], object], after: int = 0) -> Line:
        """The first line that is wanted, of those from number `after` on."""

        def found() -> list[Line]:
            return [line for line in self.said[after:] if wanted(line)]

        with self._changed:
            assert self._changed.wait_for(found, PATIENCE_S), self.said
            return found()[0]

    def wait_found(self, state: str, after: int = 0, **words: str) -> Line:
        """The line that says that something was found which is in this state."""
        return self.wait(
            lambda line: (
                line.get("found") == state and all(line.get(name) == word for name, word in words.items())
            ),
            after,
        )

    def ask_links(self) -> int:
        """How many links it has now."""
        assert self.process.stdin is not None
        after = len(self.said)
        self.process.stdin.write("links\n")
        self.process.stdin.flush()
        return int(self.wait(lambda line: "links" in line, after)["links"])

    def knows(self, count: int) -> float:
        """Waits until it knows so many others; when that was."""
        known = 0
        for line in self._each():
            known += {"up": 1, "down": -1}.get(line.get("node", ""), 0)
            if known == count:
                return float(line["now"])
        raise AssertionError(f"it ended and knew {known}, not {count}")

    def _each(self) -> Iterator[Line]:
        """All that it says, as it comes."""
        number = 0
        end = time.monotonic() + PATIENCE_S
        while True:
            with self._changed:
                while len(self.said) <= number and time.monotonic() < end:
                    self._changed.wait(1.0)
            if len(self.said) <= number:
                return
            yield self.said[number]
            number += 1

    def end(self) -> list[Line]:
        """Its end, in order; all that it has said."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE_S) == 0
        self._reader.join()
        return self.said


def environment(machine: Machine) -> dict[str, str]:
    """That of programs on a machine: with a folder for what they remember."""
    return {
        **os.environ,
        **machine.environment(),
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "XDG_STATE_HOME": machine.directory,
    }


@contextlib.contextmanager
def running(
    machine: Machine, *words: str, program: Path = PROGRAM, extra: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A program on a machine, which is ended in any case."""
    with subprocess.Popen(
        [*machine.prefix(), sys.executable, "-W", "error", str(program), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(machine) | dict(extra or {}),
        text=True,
    ) as process:
        found = Running(process)
        try:
            yield found
        finally:
            process.kill()
            process.wait()
            found._reader.join()


def pause(seconds: float) -> None:
    """For what must not happen."""
    time.sleep(seconds)
