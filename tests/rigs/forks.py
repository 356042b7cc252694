"""Starts Python programs by a fork of one that has imported what most of them import, at a fifth of the cost.

Each is a process of its own as ever, with arguments, environment, streams, signals and exit status; only the
interpreter is not begun anew. What belongs to the start itself, as variables PYTHON... and libraries that
are hidden, wants `subprocess` instead.

`python -m tests.rigs.forks FD MODULE...` is the one that forks, once it has imported the modules: it has no
threads, and ends when the socket FD does.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib.util
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from tests.rigs.tree import ROOT

# Nothing of busway.cli: that is imported as programs import it.
READY = (
    *("asyncio", "cbor2", "click.shell_completion", "rich.table"),
    *("busway.adapters.asyncio", "busway.adapters.threads"),
)


def _package() -> Path:
    """Where the tests themselves have busway from: src, or what was compiled (tests/rigs/compiled.py)."""
    found = importlib.util.find_spec("busway")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent.parent


PATH = os.pathsep.join((str(_package()), str(ROOT)))
TOGETHER, APART = b"1", b"2"  # in the session of the one that forks; in one of its own


class Program:
    """A program that was started, as `subprocess.Popen` with pipes, as far as tests need it.

    Args: `words` are what stands behind `python`: -m and a module, -c and a text, or a file; and arguments.
    `complaints` is the descriptor that it has as standard error, None for the pipe `stderr`; `terminal` is
    that of all three of its streams. `ready` names modules that are imported beforehand; `apart` makes it the
    leader of a session.
    """

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        *,
        complaints: int | None = None,
        terminal: int | None = None,
        ready: tuple[str, ...] = READY,
        apart: bool = False,
        directory: str | Path | None = None,
    ) -> None:
        self.returncode: int | None = None
        with ExitStack() as theirs:
            self.stdin, read = _stream(theirs, 0, terminal)
            self.stdout, write = _stream(theirs, 1, terminal)
            self.stderr, complain = _stream(theirs, 1, complaints if terminal is None else terminal)
            told, telling = _pipe(theirs, 1)
            self._told: BinaryIO = os.fdopen(told, "rb", buffering=0)
            asked, asking = _pipe(theirs, 0)
            word = APART if apart else TOGETHER
            socket.send_fds(_server(ready), [word], [asked, read, write, complain, telling])
            with os.fdopen(asking, "w") as request:
                place = str(directory or os.getcwd())
                json.dump([list(words), dict(environment), place], request)
        self.pid = int(self._told.readline())

    def fileno(self) -> int:
        """A descriptor that is readable once it has ended."""
        return self._told.fileno()

    def communicate(self, data: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        """Its exit status and what it wrote to both streams, of `data` as what it reads.

        Raises subprocess.TimeoutExpired; then it has been killed.
        """
        with ThreadPoolExecutor(3) as pool:
            pool.submit(self._feed, data)
            output, complaints = pool.submit(_rest, self.stdout), pool.submit(_rest, self.stderr)
            try:
                status = self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return status, output.result(), complaints.result()

    def _feed(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError), self.stdin:
            self.stdin.write(data)

    def poll(self) -> int | None:
        """The exit status, if it has ended; negative is the signal that ended it."""
        return self._status(0)

    def wait(self, timeout: float) -> int:
        """The exit status, once it has ended. Raises subprocess.TimeoutExpired."""
        status = self._status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(f"program {self.pid}", timeout)
        return status

    def _status(self, timeout: float) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            with self._told:
                self.returncode = int(self._told.readline())
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Kills it, if it still runs, and closes its streams."""
        self.kill()
        self.wait(60)
        for stream in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(BrokenPipeError):  # it had not read all
                stream.close()


def _rest(stream: BinaryIO) -> bytes:
    with stream:
        return stream.read()


def _stream(stack: ExitStack, theirs: int, given: int | None) -> tuple[BinaryIO, int]:
    """Our end of a stream and the descriptor of the program's; what is given has no end of ours."""
    if given is not None:
        return io.BytesIO(), given
    ends = _pipe(stack, theirs)
    return os.fdopen(ends[1 - theirs], "rb" if theirs else "wb"), ends[theirs]


def _pipe(stack: ExitStack, theirs: int) -> tuple[int, int]:
    ends = os.pipe()
    stack.callback(os.close, ends[theirs])
    return ends


@functools.cache
def _server(ready: tuple[str, ...]) -> socket.socket:
    """The socket of the process that forks; one for all tests of this process that want the same modules."""
    ours, theirs = socket.socketpair()
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.rigs.forks", str(theirs.fileno()), *ready],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": PATH, "PYTHONWARNINGS": "error"},
        )

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


# The other side


def main(control: socket.socket) -> list[int]:
    """Forks for each request, and tells how what was forked ends. Returns in each of those what came with the
    request, and in the server, once nobody can ask any more, nothing.
    """
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    telling: dict[int, int] = {}
    with control, woken, wake:
        while True:
            ready, _, _ = select.select([control, woken], [], [])
            if woken in ready:
                woken.recv(4096)
                _tell_ends(telling)
            if control in ready:
                word, descriptors, _, _ = socket.recv_fds(control, 1, 5)
                if not word:
                    return []
                pid = os.fork()
                if not pid:
                    if word == APART:
                        os.setsid()
                    os.write(descriptors[-1], b"%d\n" % os.getpid())
                    signal.set_wakeup_fd(-1)
                    return descriptors
                *others, tell = descriptors
                telling[pid] = tell
                for descriptor in others:
                    os.close(descriptor)


def _tell_ends(telling: dict[int, int]) -> None:
    for pid, descriptor in list(telling.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with contextlib.suppress(BrokenPipeError):
                os.write(descriptor, b"%d\n" % os.waitstatus_to_exitcode(status))
            os.close(telling.pop(pid))


def become(request: int, *streams: int) -> None:
    """Goes on as the program that is asked for, with these as its standard streams."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with os.fdopen(request) as file:
        words, environment, directory = json.load(file)
    for standard, descriptor in enumerate(streams):
        os.dup2(descriptor, standard)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    by_line = 1 if environment.get("PYTHONUNBUFFERED") else -1
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", by_line, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    if words[0] == "-m":
        sys.argv[1:], sys.path[0] = words[2:], directory
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv, sys.path[0] = ["-c", *words[2:]], ""
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(words[1], vars(sys.modules["__main__"]))
    else:
        sys.argv, sys.path[0] = words, os.path.dirname(os.path.abspath(words[0]))
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.freeze()  # what is never touched is never copied
    if asked := main(socket.socket(fileno=int(sys.argv[1]))):
        become(*asked[:4])
