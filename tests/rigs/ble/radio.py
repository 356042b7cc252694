"""Starts and ends the programs of the virtual radio. What they need is Debian's dbus-daemon and bumble."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.rigs import forks
from tests.rigs.tree import ROOT

_BOUND_S = 60.0
_READY = (
    "busway.adapters.asyncio",
    "bumble.controller",
    "bumble.device",
    "bumble.transport",
    "dbus_fast.aio",
)
_CONFIGURATION = """\
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/><allow user="*"/></policy>
</busconfig>
"""
# A daemon that ends when its parent does, even by kill -9: its standard input ends then.
_KEEPER = ("sh", "-c", '"$@" & daemon=$!; read _; kill "$daemon"', "keeper")


def _started(words: list[str], environment: dict[str, str]) -> forks.Program | subprocess.Popen[bytes]:
    """A program that leads a session; one of this Python's is a fork."""
    command, *rest = words
    if command == sys.executable:
        return forks.Program(rest, environment, complaints=2, ready=_READY, apart=True, directory=ROOT)
    return subprocess.Popen(
        words,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


class Program:
    """A child whose lines are read with a bound, and which is told things by lines. It leads a session,
    so that whatever it started ends with it.
    """

    def __init__(self, *words: str | Path, env: dict[str, str] | None = None) -> None:
        self._words = [str(word) for word in words]
        self.process = _started(self._words, {**os.environ, "PYTHONPATH": forks.PATH, **(env or {})})
        self._killed = False
        self._lines: queue.Queue[str] = queue.Queue()
        assert self.process.stdout is not None
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._lines.put(line.decode().rstrip("\n"))
        self._lines.put("")

    def line(self, bound_s: float = _BOUND_S) -> str:
        """The line that it prints next. AssertionError if it printed nothing, or ended."""
        try:
            line = self._lines.get(timeout=bound_s)
        except queue.Empty:
            raise AssertionError(f"nothing within {bound_s} s from {self._words!r}") from None
        assert line, f"ended instead of saying something: {self._words!r}"
        return line

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def kill(self) -> None:
        """As a power cut does. Twice is once."""
        if self._killed:
            return
        self._killed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_BOUND_S)
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


class VirtualRadio:
    """An air with `centrals` adapters, each an org.bluez on a D-Bus of its own, and places for peripherals.

    All its programs end with its `with`, or at once if one of them does not come up.
    Raises AssertionError where a tool is missing, with its name.
    """

    def __init__(self, centrals: int = 1, peripherals: int = 1) -> None:
        assert shutil.which("dbus-daemon"), "dbus-daemon is missing: apt-get install dbus-daemon (or dbus)"
        self._stack = contextlib.ExitStack()
        with self._stack:
            directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bw-")))
            self.buses = [self._start_bus(directory, number) for number in range(centrals)]
            words = (sys.executable, "-m", "tests.rigs.ble.bluez", str(peripherals), *self.buses)
            self._air = self._start(*words)
            self.ports = [int(port) for port in self._air.line().split()]
            self._stack = self._stack.pop_all()

    def _start(self, *words: str | Path, env: dict[str, str] | None = None) -> Program:
        program = Program(*words, env=env)
        self._stack.callback(program.kill)
        return program

    def _start_bus(self, directory: Path, number: int) -> str:
        path = directory / f"{number}.conf"
        path.write_text(_CONFIGURATION.format(socket=directory / f"{number}.bus"))
        words = ("dbus-daemon", f"--config-file={path}", "--nofork", "--nopidfile", "--print-address")
        return self._start(*_KEEPER, *words).line()

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
        self._stack.close()
