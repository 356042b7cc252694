"""`busway bridge serial:///…` and `busway monitor --log`: a board of another process's, seen by a third."""

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import busway as front
from tests.drivers.lines import Line, line
from tests.front.cli_rig import busway, busway_started, new_bus, python
from tests.rigs.micropython import MicroPython
from tests.rigs.uarts import Uart


async def live(wire: Line, bus: str, over: asyncio.Event) -> None:
    async with front.AsyncBus(bus, ipc=False, leaf=True, label="lab-board") as board:
        board.serve("lab/upper", lambda request: str(request.payload).upper())
        board.attach(Uart(wire))
        await over.wait()


@contextlib.contextmanager
def board(wire: Line, bus: str) -> Iterator[None]:
    """A board at the other end of the line, on the bus of that name."""
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    def run() -> None:
        loop.run_until_complete(live(wire, bus, over))
        loop.close()

    running = threading.Thread(target=run)
    running.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        running.join()


@pytest.fixture
def wire() -> Iterator[Line]:
    with line() as made:
        yield made


def test_a_bridged_board_is_as_any_other_node(wire: Line) -> None:
    bus = new_bus()
    with board(wire, bus), busway_started("bridge", f"{wire.url}?baud=9600", bus=bus) as bridge:
        while "lab-board" not in bridge.line():
            pass
        assert busway("request", "lab/upper", "pump", "--ttl", "30", bus=bus).ok().text == "PUMP\n"
        nodes = busway("nodes", "--json", bus=bus).ok().document
        (seen,) = [node for node in nodes if node["label"] == "lab-board"]
        assert (seen["answer"], seen["leaf"]) == ("beyond introspection's realm", True)
        with busway_started("monitor", "--log", "-c", "1", bus=bus) as log:
            # It hears what is said once the bridge knows of it: so the board says it until then.
            saying = threading.Event()
            repeating = threading.Thread(target=say_until, args=(wire, b"dry\x1b[31m\n", saying))
            repeating.start()
            first = log.line()
            assert first.endswith("  lab-board  dry\\u001b[31m")
            saying.set()
            repeating.join()
            assert log.status() == 0


def say_until(wire: Line, text: bytes, over: threading.Event) -> None:
    while not over.wait(0.2):
        wire.say(b"\0" + text)


def test_another_boards_log_is_left_out(wire: Line) -> None:
    bus = new_bus()
    with (
        board(wire, bus),
        busway_started("bridge", wire.url, bus=bus) as bridge,
    ):
        while "lab-board" not in bridge.line():
            pass
        with busway_started("monitor", "--log", "--json", "-n", "lab-b", "-c", "1", bus=bus) as log:
            saying = threading.Event()
            repeating = threading.Thread(target=say_until, args=(wire, b"hello\n", saying))
            repeating.start()
            told = log.line()
            saying.set()
            repeating.join()
            assert '"label":"lab-board"' in told
            assert '"text":"hello"' in told
            assert log.status() == 0


def test_what_boards_print_is_waited_for_as_long_as_asked() -> None:
    assert busway("monitor", "--log", "--timeout", "0.2", bus=new_bus()).status == 3
    assert busway("monitor", "--log", "-c", "1", "--timeout", "0.2", bus=new_bus()).status == 3


def test_lines_that_came_before_the_time_was_over_are_a_success(wire: Line) -> None:
    bus = new_bus()
    saying = threading.Event()
    with board(wire, bus), busway_started("bridge", wire.url, bus=bus) as bridge:
        while "lab-board" not in bridge.line():
            pass
        repeating = threading.Thread(target=say_until, args=(wire, b"dry\n", saying))
        repeating.start()
        log = busway("monitor", "--log", "--timeout", "10", bus=bus).ok()
        saying.set()
        repeating.join()
    assert {line.rpartition("  ")[2] for line in log.lines} == {"dry"}


_SMALL = """
import asyncio, operator, socket, sys, time, types
import busway
from busway.adapters.micropython import Loop

ticks = lambda: time.monotonic_ns() // 1000000
clock = types.SimpleNamespace(ticks_ms=ticks, ticks_diff=operator.sub, ticks_add=operator.add)

async def main(name):
    async with busway.AsyncBus(name, label="router") as bus:
        listener = await bus.listen("tcp://127.0.0.1:0", realm="userspace")
        address = ("127.0.0.1", int(listener.url.rpartition(":")[2]))
        dial = lambda: socket.create_connection(address)
        loop = Loop(dial, "small", bus=name, sort="stream", realm=1, node_id=b"b" * 16, clock=clock)
        loop.serve("lab/pump")(lambda value: value)
        while True:
            await asyncio.to_thread(loop.step, 50)
            print(len(bus.nodes()), flush=True)

asyncio.run(main(sys.argv[1]))
"""


_TOO_MUCH = _SMALL.replace(
    "        while True:\n",
    """        bus.subscribe("lab/burst", policy="latest")
        loop.every(50)(lambda: [loop.publish("lab/burst", number) for number in range(12)])
        while True:
""",
).replace("len(bus.nodes())", "loop.refused")


def test_what_a_board_could_not_publish_is_shown() -> None:
    """Twelve at a time, of which eight find a place."""
    bus = new_bus()
    with python("-c", _TOO_MUCH, bus) as router:
        while int(router.line()) < 8:
            pass
        nodes = {"small": 0}
        for _ in range(20):  # it is told with the next that comes
            nodes = {
                node["label"]: node["missed"] for node in busway("nodes", "--json", bus=bus).ok().document
            }
            assert nodes["router"] == 0
            if nodes["small"] >= 4:
                break
        assert nodes["small"] >= 4
        (row,) = [
            row for row in busway("nodes", "-n", "small", bus=bus).ok().lines if row.startswith("small")
        ]
        assert int(row.split()[5]) >= 4
        assert row.split()[3:5] == ["-", "-"]


def test_a_board_that_a_command_reaches_answers_no_introspection() -> None:
    bus = new_bus()
    with python("-c", _SMALL, bus) as router:
        while router.line() != "2":
            pass
        (board, _) = sorted(
            busway("nodes", "--json", bus=bus).ok().document, key=lambda node: not node["leaf"]
        )
        assert (board["label"], board["answer"]) == ("small", "leaf, answers no introspection")
        rows = busway("nodes", bus=bus).ok().text.splitlines()
        assert any(row.startswith("small") and row.endswith("leaf, answers no introspection") for row in rows)


KEYED = """
import sys
from busway.adapters.micropython import Loop

loop = Loop(open(int(sys.argv[1]), "r+b"), "keyed-board", bus=sys.argv[2], key="board.key")

@loop.serve("lab/upper")
def upper(value):
    return value.upper()

loop.run()
"""


def test_a_board_that_was_given_a_key_is_bridged_by_it_and_by_nothing_else(
    wire: Line, tmp_path: Path, real_micropython: MicroPython
) -> None:
    """As docs/embedded.md says: `busway firmware --key`, then `busway bridge --boards`."""
    bus, keys, out = new_bus(), tmp_path / "keys", tmp_path / "board"
    keys.mkdir()
    made = busway("firmware", "--out", str(out), "--key", str(keys / "pump.key"), "--json").ok().document
    (out / "main.py").write_text(KEYED)
    command = [real_micropython.command, "-X", "heapsize=128k", "main.py", str(wire.board), bus]
    with subprocess.Popen(command, cwd=out, pass_fds=[wire.board]) as board:
        try:
            assert "error 7" in busway("bridge", wire.url, "--wait", "30", bus=bus).failed(4)
            with busway_started("bridge", wire.url, "--boards", str(keys), bus=bus) as bridge:
                while "keyed-board" not in bridge.line():
                    pass
                assert busway("request", "lab/upper", "pump", "--ttl", "30", bus=bus).ok().text == "PUMP\n"
                nodes = busway("nodes", "--json", bus=bus).ok().document
                (seen,) = [node for node in nodes if node["label"] == "keyed-board"]
                assert seen["id"] == made["id"]
        finally:
            board.kill()
    ended = busway("bridge", wire.url, "--boards", str(keys / "none.key"), bus=bus)
    assert "busway firmware --out DIR --key" in ended.failed(1)
