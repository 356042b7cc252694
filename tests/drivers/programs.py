"""Other processes that use the drivers: started from a script, spoken to line by line, killed for real."""

from __future__ import annotations

import os
import select
from types import TracebackType

from tests.rigs import forks

_BOUND_S = 60


class Program:
    """A Python process. As a context manager it is killed at the end, whatever it was doing."""

    def __init__(self, script: str, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": forks.PATH}
        self._process = forks.Program(["-c", script, *arguments], environment, complaints=2)
        self._heard = b""

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def say(self, line: str) -> None:
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        """Its next line. AssertionError if it says nothing within 30 s, or ends."""
        while b"\n" not in self._heard:  # several lines may come at once
            ready = select.select([self._process.stdout], [], [], _BOUND_S)[0]
            assert ready, f"the program said nothing within {_BOUND_S} s"
            data = os.read(self._process.stdout.fileno(), 4096)
            assert data, f"the program ended with status {self._process.wait(_BOUND_S)}"
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def kill(self) -> None:
        """kill -9."""
        self._process.close()

    def status(self) -> int:
        """Waits for its own end."""
        return self._process.wait(_BOUND_S)
