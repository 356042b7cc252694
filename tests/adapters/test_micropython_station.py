"""A board that publishes under many names, what its stream may return, and what goes wrong and is shown."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import subprocess
import threading
import time
import tty
from collections.abc import Iterator
from operator import add, sub
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

import busway
from busway.adapters import making
from busway.adapters.micropython import Loop
from busway.protocol.leaf.state import Event
from tests.adapters.threads_tools import until


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
                assert receiver.receive(timeout=60).payload == number
        assert bus.request("lab/trouble", ttl=30) == ["None", 0]


def test_a_name_too_many_is_an_error_that_is_shown_and_loop_takes_more(
    bus: busway.Bus, interpreter: str, board_files: Path
) -> None:
    last = bus.subscribe("lab/17")
    with running(interpreter, board_files, STATION, port_of(bus), "18"):
        bus.request("lab/trouble", ttl=30)
        error, refused = bus.request("lab/trouble", ttl=30)
        assert (error, refused) == ("LocalError('peers_max',)", 0)
    until(lambda: len(bus.nodes()) == 1)  # else a request may still go to the board that has just been killed
    with running(interpreter, board_files, STATION, port_of(bus), "18", "20"):
        assert last.receive(timeout=60).payload == 17
        assert bus.request("lab/trouble", ttl=30) == ["None", 0]


@pytest.mark.parametrize("first", ["00", "7f"])
def test_a_name_that_another_node_keeps_is_told_to_the_board(
    first: str, bus: busway.Bus, interpreter: str, board_files: Path
) -> None:
    """Both hold it before they meet; whose node id is smaller does not matter."""
    program = STATION.replace('"station", sort', f'"station", node_id=b"\\x{first}" * 16, sort').replace(
        "loop.run()", 'loop.receive("lab/valve")(print)\nloop.run()'
    )
    valve = bus.register("lab/valve")
    with running(interpreter, board_files, program, port_of(bus), "0"):
        until(lambda: "lab/valve" in str(bus.request("lab/trouble", ttl=30)))
        bus.send("lab/valve", "open")
        assert valve.receive(timeout=60).payload == "open"


def test_with_larger_sizes_none_is_refused(bus: busway.Bus, interpreter: str, board_files: Path) -> None:
    program = BURST.replace('sort="stream", **sizes', 'sort="stream", pending_max=12')
    heard = bus.subscribe("lab/burst")
    with running(interpreter, board_files, program, port_of(bus), "12"):
        assert [heard.receive(timeout=60).missed for _ in range(60)] == [0] * 60
        assert bus.request("lab/trouble", ttl=30) == ["None", 0]


BURST = STATION.replace(
    "for number in range(count):\n    sensor(number)\n",
    """
@loop.every(50)
def burst():
    for number in range(count):
        loop.publish("lab/burst", number)
""",
)


def test_publishes_that_are_refused_are_told_on_the_board_and_missed_at_subscribers(
    bus: busway.Bus, interpreter: str, board_files: Path
) -> None:
    """Twelve of one name in one turn: eight find a place."""
    heard = bus.subscribe("lab/burst")
    with running(interpreter, board_files, BURST, port_of(bus), "12"):
        while heard.receive(timeout=60).missed != 4:
            pass
        error, refused = bus.request("lab/trouble", ttl=30)
        assert re.match(
            r"FullError\(\"publish of 'lab/burst' refused \(10*\): pending_max=8 are waiting;"
            r" Loop\(pending_max=16\)\",?\)",
            error,
        )
        assert refused >= 4


ODD = (
    DIAL
    + """
class Odd:
    # A stream that has and takes nothing each third time, and says so in one of the ways there are.

    def __init__(self, line):
        self.polled = line
        self.calls = 0

    def nothing(self):
        self.calls += 1
        if self.calls % 3:
            return False
        said = sys.argv[2]
        if said.lstrip("-").isdigit():
            raise OSError(int(said))
        return True

    def close(self):
        self.polled.close()

class Socket(Odd):
    def setblocking(self, flag):
        self.polled.setblocking(flag)

    def read(self, size):
        return None if self.nothing() else self.polled.read(min(size, 100))

    def write(self, data):
        return None if self.nothing() else self.polled.write(data[:50])

class Both(Socket):
    def recv(self, size):
        return self.read(size)

    def send(self, data):
        return self.write(data)

class Uart(Odd):
    def __init__(self, line):
        line.setblocking(False)
        super().__init__(line)

    def any(self):
        return 1 if sys.argv[2] == "zero" else 100  # which is said to be possible even if more is there

    def readinto(self, buffer, size):
        if self.nothing():
            return 0 if sys.argv[2] == "zero" else None
        return self.polled.readinto(buffer, size)

    def write(self, data):
        if self.nothing():
            return 0 if sys.argv[2] == "zero" else None
        return self.polled.write(data[:50])

loop = Loop(lambda: {"socket": Socket, "both": Both, "uart": Uart}[sys.argv[3]](dial()), sort="stream")
loop.serve("lab/echo")(lambda value: value)
loop.run()
"""
)


@pytest.mark.parametrize("face", ["socket", "both", "uart"])
@pytest.mark.parametrize("said", ["None", "zero", "11", "-26880", "-26752"])
def test_whatever_a_stream_says_when_it_has_or_takes_nothing(
    bus: busway.Bus, interpreter: str, board_files: Path, face: str, said: str
) -> None:
    """None, OSError with EAGAIN, what TLS wants, 0 bytes written, and fewer than asked for."""
    with running(interpreter, board_files, ODD, port_of(bus), said, face) as board:
        for size in (1, 300, 1000):
            assert bus.request("lab/echo", b"x" * size, ttl=30, timeout=60) == b"x" * size
        assert board.poll() is None


SECURE = (
    DIAL
    + """
import tls

def secure():
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.verify_mode = tls.CERT_NONE
    return context.wrap_socket(dial())

loop = Loop(secure, "secure", sort="stream", keepalive_ms=600000)
loop.serve("lab/echo")(lambda value: value)
loop.run()
"""
)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(4096):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def secured(port: str, certificate: trustme.LeafCert) -> Iterator[str]:
    """A port that speaks TLS before another of this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as stack:

        def take() -> None:
            with contextlib.suppress(OSError):
                plain, _ = server.accept()
                inner = stack.enter_context(context.wrap_socket(plain, server_side=True))
                outer = stack.enter_context(socket.create_connection(("127.0.0.1", int(port))))
                threading.Thread(target=_pump, args=(inner, outer), daemon=True).start()
                _pump(outer, inner)

        threading.Thread(target=take, daemon=True).start()
        yield str(server.getsockname()[1])


def test_a_socket_with_tls(
    monkeypatch: pytest.MonkeyPatch, bus: busway.Bus, interpreter: str, board_files: Path
) -> None:
    """Its `recv` says None, and what it has decrypted already no poll shows; nor does a keepalive soon."""
    monkeypatch.setitem(making._LINK_DEFAULTS, "tcp", (16, 600_000))
    certificate = trustme.CA().issue_cert("127.0.0.1")
    with (
        secured(port_of(bus), certificate) as port,
        running(interpreter, board_files, SECURE, port) as board,
    ):
        for size in (1, 700, 1000):
            assert bus.request("lab/echo", b"x" * size, ttl=30, timeout=60) == b"x" * size
        assert board.poll() is None


def test_what_a_terminal_has_is_collected_before_it_is_taken_apart() -> None:
    """A read of more than there is would wait: byte by byte, but not each through the whole packet layer."""
    clock = SimpleNamespace(ticks_ms=lambda: time.monotonic_ns() // 1000000, ticks_diff=sub, ticks_add=add)
    far, near = os.openpty()
    tty.setraw(near)
    with open(far, "wb", buffering=0) as host, open(near, "r+b", buffering=0) as terminal:
        loop = Loop(terminal, node_id=b"b" * 16, clock=clock)
        loop.step()
        assert loop.connection is not None
        pieces: list[int] = []

        def receive(data: bytes, now: int) -> list[Event]:
            pieces.append(len(data))
            return []

        loop.connection.receive_data = receive  # type: ignore[assignment, method-assign]
        host.write(b"x" * 600)
        while sum(pieces) < 600:
            loop.step(1000)
    assert max(pieces) <= 256
    assert len(pieces) < 60  # as many as the kernel hands on at once
