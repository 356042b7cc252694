"""Tools of the tests of the bus for threads: buses over socket pairs, threads with results, programs."""

from __future__ import annotations

import contextlib
import os
import signal
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

from busway import Bus
from tests.adapters.tools import sockets
from tests.rigs import forks

WAIT_S = 60.0


def until(condition: Callable[[], object], within_s: float = WAIT_S) -> None:
    """Returns once `condition()` is true. AssertionError after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.002)


def join(one: Bus, two: Bus, realm: str = "userspace", via: str = "pair") -> None:
    """Link two buses of this process; returns when both know the other's endpoints."""
    here, there = sockets(realm, via)
    ready = [one.attach(here).ready, two.attach(there).ready]
    for side in ready:
        side.result(WAIT_S)


@contextlib.contextmanager
def buses(count: int = 2, **options: Any) -> Iterator[list[Bus]]:
    """Buses of this process, each joined to each over socket pairs; the first has the smallest node id."""
    with contextlib.ExitStack() as stack:
        made: list[Bus] = []
        for number in range(count):
            name = chr(ord("a") + number)
            bus = Bus(ipc=False, node_id=name.encode() * 16, label=name, **options)
            made.append(stack.enter_context(bus))
            for other in made[:-1]:
                join(made[-1], other)
        yield made


def sees(bus: Bus, endpoint: str) -> bool:
    """Whether a bus knows another node's endpoint of that name."""
    return any(found.name == endpoint and found.node != bus.id for found in bus.endpoints())


class Task(threading.Thread):
    """A call in a thread of its own, started at once; `result()` is what it returned or raised."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._value: object = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._error = error

    def result(self, within_s: float = WAIT_S) -> Any:
        self.join(within_s)
        assert not self.is_alive(), f"still waiting after {within_s} s"
        if self._error is not None:
            raise self._error
        return self._value


PREAMBLE = """
import os, signal, sys, threading, time
import busway

def say(*words):
    print(*words, flush=True)
"""


class Program:
    """A Python program in a process of its own, which prints lines. Ends with its `with`."""

    def __init__(self, text: str, *arguments: object) -> None:
        self.process = forks.Program(
            ["-c", PREAMBLE + textwrap.dedent(text), *map(str, arguments)],
            {**os.environ, "PYTHONPATH": forks.PATH},
        )

    def line(self) -> str:
        """The next line it prints; the test's own time limit bounds the wait."""
        found = self.process.stdout.readline()
        assert found, f"the program ended without another line: {self.errors()}"
        return found.decode().rstrip("\n")

    def errors(self) -> str:
        """All that it wrote to standard error, once it has ended."""
        return self.process.stderr.read().decode()

    def expect(self, wanted: str) -> None:
        assert self.line() == wanted

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(WAIT_S)

    def ended(self, within_s: float = WAIT_S, status: int = 0) -> str:
        """It ends by itself, with that status; what it wrote to standard error."""
        assert self.process.wait(within_s) == status, self.errors()
        return self.errors()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.close()
