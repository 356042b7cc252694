"""A real MicroPython beside a real bus: patterns, last values, selectors, and what holds of each."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from operator import sub
from pathlib import Path
from types import SimpleNamespace

import pytest

import busway
from busway import where
from busway.adapters.micropython import Loop
from busway.firmware import build

BOARD = """
import socket, sys, time
from busway.adapters.micropython import Loop
from busway.adapters.micropython_where import where

line = socket.socket()
line.connect(socket.getaddrinfo("127.0.0.1", int(sys.argv[1]))[0][-1])
loop = Loop(line, "board", sort="stream", node_id=b"b" * 16)
heard = []
told = []

@loop.subscribe("lab/**")
def lab(value):
    heard.append([loop.message.name, value, loop.message.retained])
    if value == "end":
        loop.stopped = True

@loop.serve("board/heard", labels=["ears"])
def give(value):
    return heard

@loop.serve("board/told")
def outcomes(value):
    return told

@loop.receive("board/send")
def send(value):
    which = where(value["label"]) & ~where("not") | where.name("none/*")
    def note(outcome):
        told.append([outcome.ok, outcome.code, outcome.payload, outcome.left, len(outcome.node)])
    if value["ask"]:
        loop.request(which, 20, note, to=value["to"])
    else:
        loop.send(which, b"data", True, note, to=value["to"])

for wrong in ("lab/*", "x" * 65):
    try:
        loop.publish(wrong, 1)
        raise SystemExit("published to " + wrong)
    except ValueError:
        pass

loop.publish("board/too/early", 1)
loop.stopped = False
count = [0]

@loop.every(20)
def tick():
    count[0] += 1
    loop.publish("board/%d/count" % (count[0] % 3), count[0])

end = time.ticks_add(time.ticks_ms(), 120000)
while not loop.stopped and time.ticks_diff(end, time.ticks_ms()) > 0:
    loop.step(1000)
loop.close()
print("closed", loop.last_error)
"""


@pytest.fixture(scope="module", params=["mpy", "py"])
def any_files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("any")
    build(out, compiled=request.param == "mpy")
    return out


@pytest.fixture
def bus() -> Iterator[busway.Bus]:
    with busway.Bus("default", ipc=False) as bus:
        yield bus


def test_a_board_in_patterns_last_values_and_selectors(
    bus: busway.Bus, interpreter: str, any_files: Path
) -> None:
    listener = bus.listen("tcp://127.0.0.1:0")
    counts = bus.subscribe("board/*/count")
    for name in ("lab/mode", "lab/x/limit", "hall/mode"):
        bus.publish(name, f"kept {name}", retain=True)
    bus.serve("load/1", lambda request: request.payload + 1, labels={"load"})
    bus.serve("load/2", lambda request: request.payload + 2, labels={"load"})
    bus.serve("load/3", lambda request: request.payload + 3, labels={"load", "not"})
    inbox = bus.register("sink", labels={"sink"})
    (any_files / "main.py").write_text(BOARD)
    command = [interpreter, "-X", "heapsize=256k", "main.py", listener.url.rsplit(":", 1)[1]]
    with subprocess.Popen(
        command, cwd=any_files, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as board:
        try:
            numbers = [counts.receive(timeout=60) for _ in range(9)]
            assert [message.name for message in numbers] == [
                f"board/{message.payload % 3}/count" for message in numbers
            ]
            values = [message.payload for message in numbers]
            assert values == list(range(values[0], values[0] + 9))  # in order, whatever their names
            bus.publish("lab/live", "now")
            wanted = [
                ["lab/mode", "kept lab/mode", True],
                ["lab/x/limit", "kept lab/x/limit", True],
                ["lab/live", "now", False],
            ]
            assert until(bus, "board/heard", 3) == wanted
            assert bus.request(where("ears"), ttl=30) == wanted
            for number, what in enumerate(("any", "all")):
                bus.send("board/send", {"label": "load", "to": what, "ask": True}, confirm=True)
                until(bus, "board/told", 1 + 2 * number)
            bus.send("board/send", {"label": "sink", "to": "all", "ask": False}, confirm=True)
            assert inbox.receive(timeout=60).payload == b"data"
            until(bus, "board/told", 4)
            bus.send("board/send", {"label": "nobody", "to": "all", "ask": False}, confirm=True)
            told = until(bus, "board/told", 5)
            assert told[0][0] is True
            assert told[0][2] in (21, 22)
            assert sorted(str(outcome[2]) for outcome in told[1:3]) == ["21", "22"]
            assert [outcome[3:] for outcome in told] == [[0, 16], [1, 16], [0, 16], [0, 16], [0, 0]]
            assert [outcome[:2] for outcome in told[3:]] == [[True, 0], [False, 1]]
            bus.publish("lab/live", "end")
            output, _ = board.communicate(timeout=60)
            assert output == "closed None\n"
        finally:
            board.kill()


def until(bus: busway.Bus, name: str, count: int) -> list[list[object]]:
    """What the board tells, once there are so many of them."""
    found: object = None
    for _ in range(200):
        found = bus.request(name, None, ttl=30)
        assert isinstance(found, list)
        if len(found) >= count:
            return found
    raise AssertionError(f"{found}: not {count}")


class Nothing:
    """A stream on which nothing comes."""

    def any(self) -> int:
        return 0

    def readinto(self, buffer: bytearray, size: int) -> int | None:
        return None

    def write(self, data: bytes) -> int:
        return len(data)


def test_misuse_of_names_on_a_board() -> None:
    clock = SimpleNamespace(ticks_ms=lambda: 0, ticks_diff=sub)
    loop = Loop(Nothing(), "board", sort="stream", node_id=b"b" * 16, clock=clock)
    for wrong in ("lab/*", "**"):
        for call in (loop.serve, loop.receive):
            with pytest.raises(ValueError, match="for subscribe"):
                call(wrong)
        for send in (loop.publish, loop.send, loop.request):
            with pytest.raises(ValueError, match="for subscribe"):
                send(wrong, 1)
    with pytest.raises(ValueError):
        loop.subscribe("lab/t*")
    with pytest.raises(ValueError):
        Loop(Nothing(), "board", sort="datagram", node_id=b"b" * 16)
