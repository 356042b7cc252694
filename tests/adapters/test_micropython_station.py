"""A board that publishes under many names, what its stream may return, and what goes wrong and is shown."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import busway


@contextlib.contextmanager
def running(
    interpreter: str, folder: Path, program: str, *arguments: str, heap: str = "256k"
) -> Iterator[subprocess.Popen[str]]:
    """A board that runs a program given as text, for the duration of a with statement."""
    script = folder / "station.py"
    script.write_text(program)
    command = [interpreter, "-X", f"heapsize={heap}", script.name, *arguments]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as board:
        try:
            yield board
        finally:
            board.kill()


@pytest.fixture
def bus() -> Iterator[busway.Bus]:
    with busway.Bus("default", ipc=False) as bus:
        yield bus


def port_of(bus: busway.Bus, **options: str) -> str:
    return bus.listen("tcp://127.0.0.1:0", **options).url.rsplit(":", 1)[1]  # type: ignore[arg-type]


DIAL = """
import socket, sys
from busway.adapters.micropython import Loop, RemoteError

def dial():
    line = socket.socket()
    line.connect(socket.getaddrinfo("127.0.0.1", int(sys.argv[1]))[0][-1])
    return line
"""

STATION = (
    DIAL
    + """
count = int(sys.argv[2])
sizes = {"peers_max": int(sys.argv[3])} if len(sys.argv) > 3 else {}
loop = Loop(dial, "station", sort="stream", **sizes)

def sensor(number):
    @loop.every(50)
    def measure():
        loop.publish("lab/%d" % number, number)

for number in range(count):
    sensor(number)

@loop.serve("lab/trouble")
def trouble(value):
    return [repr(loop.last_error), loop.refused]

loop.run()
"""
)


def test_each_of_ten_publishers_is_heard(bus: busway.Bus, interpreter: str, board_files: Path) -> None:
    """All ten are due in one turn, in the same order each time, with room for eight messages."""
    heard = [bus.subscribe(f"lab/{number}") for number in range(10)]
    with running(interpreter, board_files, STATION, port_of(bus), "10"):
        for _ in range(3):
            for number, receiver in enumerate(heard):
                assert receiver.receive(timeout=20.0).payload == number
        assert bus.request("lab/trouble", ttl=10.0) == ["None", 0]


def test_a_name_too_many_is_an_error_that_is_shown_and_loop_takes_more(
    bus: busway.Bus, interpreter: str, board_files: Path
) -> None:
    last = bus.subscribe("lab/17")
    with running(interpreter, board_files, STATION, port_of(bus), "18"):
        bus.request("lab/trouble", ttl=10.0)
        error, refused = bus.request("lab/trouble", ttl=10.0)
        assert (error, refused) == ("LocalError('peers_max',)", 0)
    with running(interpreter, board_files, STATION, port_of(bus), "18", "20"):
        assert last.receive(timeout=20.0).payload == 17
        assert bus.request("lab/trouble", ttl=10.0) == ["None", 0]
