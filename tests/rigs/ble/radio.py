"""Starts and ends the programs of the virtual radio. What they need is Debian's dbus-daemon and bumble."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.rigs.tree import ROOT

_BOUND_S = 30.0
_CONFIGURATION = """\
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/><allow user="*"/></policy>
</busconfig>
"""


class Program:
    """A child whose lines are read with a bound, and which is told things by lines."""

    def __init__(self, *words: str | Path, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [str(word) for word in words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        assert self.process.stdout is not None
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._lines.put(line.rstrip("\n"))
        self._lines.put("")

    def line(self, bound_s: float = _BOUND_S) -> str:
        """What it prints next. AssertionError if it printed nothing, or ended."""
        try:
            line = self._lines.get(timeout=bound_s)
        except queue.Empty:
            raise AssertionError(f"nothing within {bound_s} s from {self.process.args!r}") from None
        assert line, f"ended instead of saying something: {self.process.args!r}"
        return line

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """As a power cut does."""
        self.process.kill()
        self.process.wait(_BOUND_S)
        assert self.process.stdin is not None
        self.process.stdin.close()


class VirtualRadio:
    """An air with `centrals` adapters, each an org.bluez on a D-Bus of its own, and places for peripherals.

    Raises AssertionError where a tool is missing, with its name.
    """

    def __init__(self, centrals: int = 1, peripherals: int = 1) -> None:
        assert shutil.which("dbus-daemon"), "dbus-daemon is missing: apt-get install dbus-daemon (or dbus)"
        self._directory = tempfile.TemporaryDirectory(prefix="bw-")
        self._programs: list[Program] = []
        self.buses = [self._start_bus(number) for number in range(centrals)]
        self._air = self._start(sys.executable, "-m", "tests.rigs.ble.bluez", str(peripherals), *self.buses)
        self.ports = [int(port) for port in self._air.line().split()]

    def _start(self, *words: str | Path, env: dict[str, str] | None = None) -> Program:
        self._programs.append(Program(*words, env=env))
        return self._programs[-1]

    def _start_bus(self, number: int) -> str:
        directory = Path(self._directory.name)
        path = directory / f"{number}.conf"
        path.write_text(_CONFIGURATION.format(socket=directory / f"{number}.bus"))
        words = ("dbus-daemon", f"--config-file={path}", "--nofork", "--nopidfile", "--print-address")
        return self._start(*words).line()

    def peripheral(self, name: str, *, att_mtu: int = 247, place: int = 0, module: str = "") -> Program:
        """Starts a board, the echoing one or that of another module, which takes the same arguments."""
        program = self._start(
            sys.executable,
            "-m",
            module or "tests.rigs.ble.peripheral",
            str(self.ports[place]),
            name,
            str(att_mtu),
        )
        assert program.line() == "up"
        return program

    def program(self, module: str, *words: str, central: int) -> Program:
        """Starts a program whose Bluetooth is that of one of the adapters."""
        return self._start(sys.executable, "-m", module, *words, env=self.environment(central))

    def environment(self, central: int = 0) -> dict[str, str]:
        return {"DBUS_SYSTEM_BUS_ADDRESS": self.buses[central]}

    def tell(self, line: str) -> None:
        """Changes the air (see bluez.py), and waits until it has changed."""
        self._air.tell(line)
        assert self._air.line() == "done"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in reversed(self._programs):
            program.kill()
        self._directory.cleanup()
