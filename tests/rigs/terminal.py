"""A terminal that programs run in: a pty whose screen can be read, and keys that can be pressed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import pyte

from tests.rigs import forks

PATIENCE_S = 60.0
_END = b"\0\0\0"  # written behind a program's last words: a terminal shows nothing of it

Start = Callable[[int], "forks.Program | subprocess.Popen[bytes]"]
"""Starts a program whose streams are all the terminal of that descriptor."""


class Terminal:
    """A program at a terminal of `columns` by `lines`; from `opened()` or `forked()`."""

    def __init__(self, start: Start, columns: int, lines: int) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self.said = b""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs  # stays open, so that its state can be asked for when the program has ended
        self._rows: list[str] | None = None
        self.process = start(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._ours, 65536):
                with self._lock:
                    self.said += data
                    self._stream.feed(data)
                    self._rows = None

    @property
    def rows(self) -> list[str]:
        """The text on the screen."""
        with self._lock:
            if self._rows is None:
                self._rows = [row.rstrip() for row in self._screen.display]
            return self._rows

    @property
    def text(self) -> str:
        return "\n".join(self.rows)

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, condition: Callable[[], object]) -> None:
        """Waits until it holds. AssertionError with the screen if it takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"it has ended:\n{self.text}"
            assert time.monotonic() < deadline, self.text
            time.sleep(0.02)

    def ends(self) -> int:
        """Its exit status, once all that it has said is on the screen. The terminal has to be as it was."""
        status = self.process.wait(PATIENCE_S)
        assert termios.tcgetattr(self._theirs) == self.before
        os.write(self._theirs, _END)
        deadline = time.monotonic() + PATIENCE_S
        while not self.said.endswith(_END):
            assert time.monotonic() < deadline, self.text
            time.sleep(0.001)
        with self._lock:
            self.said = self.said.removesuffix(_END)
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(PATIENCE_S)
        os.close(self._theirs)
        self._reader.join(PATIENCE_S)  # the last end of their side is closed
        os.close(self._ours)


@contextlib.contextmanager
def opened(*command: str, env: Mapping[str, str], columns: int = 80, lines: int = 24) -> Iterator[Terminal]:
    """A command at a terminal."""
    env = {**env, "TERM": "xterm-256color"}

    def start(end: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=env, start_new_session=True)

    with contextlib.closing(Terminal(start, columns, lines)) as terminal:
        yield terminal


@contextlib.contextmanager
def forked(
    *words: str, env: Mapping[str, str], ready: tuple[str, ...], columns: int = 80, lines: int = 24
) -> Iterator[Terminal]:
    """The same for what stands behind `python`, as a fork of one that has imported `ready`."""
    env = {**env, "TERM": "xterm-256color"}

    def start(end: int) -> forks.Program:
        return forks.Program(words, env, terminal=end, ready=ready, apart=True)

    with contextlib.closing(Terminal(start, columns, lines)) as terminal:
        yield terminal
