"""A board beside the computer: MicroPython in a process of its own at the other end of a real pty.

Messages a second each way, round trips, and the processor time of both processes for each message, over the
whole packet layer (COBS, CRC, window), first to a UART of the board's, then to its own USB. A pty has no
rate, so this is what both ends can do at most.

Usage: python -m benchmarks.board [--scale FACTOR]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import busway
from busway import firmware

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "tests" / "rigs" / "board"
MICROPYTHON = Path(sys.prefix, "bin", "micropython")
PROGRAM = """
from machine import UART
from busway.adapters.micropython import Loop, Usb

loop = Loop(%s, "bench-board", bus="bench")
count = 0
left = 0

@loop.serve("bench/echo")
def echo(payload):
    return payload

@loop.receive("bench/sink")
def sink(payload):
    global count
    count += 1

@loop.serve("bench/count")
def tell(_):
    return count

@loop.serve("bench/flood")
def flood(number):
    global left
    left = number

while True:
    loop.step(100 if not left else 0)
    while left and loop.publish("bench/flow", b"x" * 64):
        left -= 1
"""


@dataclass
class Figure:
    """The result of one measurement: seconds, and of these each processor's."""

    count: int
    seconds: float
    ours: float
    boards: float

    def line(self, title: str) -> str:
        rate = f"{self.count / self.seconds:>9,.0f}/s"
        shares = [f"{used / self.count * 1e6:>8,.0f} us" for used in (self.ours, self.boards)]
        return f"{title:<38} {rate}   {shares[0]} {shares[1]}"


class Bench:
    """A bus with the board on it."""

    def __init__(self, bus: busway.AsyncBus, pid: int) -> None:
        self.bus = bus
        self._pid = pid
        self._started = (0.0, 0.0, 0.0)

    def start(self) -> None:
        self._started = self._clocks()

    def stop(self, count: int) -> Figure:
        seconds, ours, boards = (b - a for a, b in zip(self._started, self._clocks(), strict=True))
        return Figure(count, seconds, ours, boards)

    def bytes_written(self) -> int:
        """Bytes that have left for the board."""
        return self.bus.links()[0].bytes_out

    def _clocks(self) -> tuple[float, float, float]:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        board = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), time.process_time(), board


LINES = {"a UART": "UART(0, rxbuf=1024)", "its own USB": "Usb()"}
"""The line, as the board's program makes it."""


@contextlib.contextmanager
def board(line: str) -> Iterator[tuple[str, int]]:
    """A running board: the URL of its line, and its process."""
    with tempfile.TemporaryDirectory(prefix="bw-") as folder:
        os.environ["BUSWAY_DIR"] = folder
        firmware.build(Path(folder), compiled=False)
        script = Path(folder, "main.py")
        script.write_text(PROGRAM % LINES[line])
        ours, theirs = os.openpty()
        os.set_blocking(ours, line == "its own USB")  # as there: a read waits for all that it is asked for
        tty.setraw(theirs)  # a serial line echoes nothing
        environment = {"MICROPYPATH": f"{folder}:{PINS}", "BOARD": folder, "BOARD_UART": str(ours)}
        process = subprocess.Popen(
            [str(MICROPYTHON), "-X", "heapsize=256k", str(script)],
            pass_fds=[ours],
            env=environment,
            stdin=ours,
            stdout=ours,
        )
        try:
            yield f"serial://{os.ttyname(theirs)}?baud=2000000", process.pid
        finally:
            process.kill()
            process.wait()
            os.close(ours)
            os.close(theirs)


async def round_trips(found: Bench, count: int, size: int) -> None:
    payload = b"x" * size
    times = []
    found.start()
    for _ in range(count):
        began = time.perf_counter()
        await found.bus.request("bench/echo", payload)
        times.append(time.perf_counter() - began)
    figure = found.stop(count)
    times.sort()
    print(figure.line(f"request and reply, {size} bytes"))
    median, p99 = statistics.median(times), times[int(0.99 * len(times))]
    print(f"{'':<38} median {median * 1e6:,.0f} us, p99 {p99 * 1e6:,.0f} us, least {times[0] * 1e6:,.0f} us")


async def to_the_board(found: Bench, count: int) -> None:
    before = await found.bus.request("bench/count")
    assert isinstance(before, int)
    written = found.bytes_written()
    found.start()
    for _ in range(count):
        await found.bus.send("bench/sink", b"x" * 64)
    while await found.bus.request("bench/count") != before + count:
        pass
    figure = found.stop(count)
    written = found.bytes_written() - written
    print(figure.line("to the board, 64 bytes"))
    print(f"{'':<38} {figure.boards / written * 1e6:.2f} us of MicroPython for each byte on the line")


async def from_the_board(found: Bench, count: int) -> None:
    async with found.bus.subscribe("bench/flow", queue=count) as flow:
        await found.bus.request("bench/flood", 8)  # the board knows by then that somebody listens
        for _ in range(8):
            await flow.receive(timeout=10)
        found.start()
        asking = asyncio.create_task(found.bus.request("bench/flood", count, timeout=60))
        taken = missed = 0
        while taken + missed < count:
            message = await flow.receive(timeout=10)
            taken += 1
            missed += message.missed
        await asking
    print(found.stop(taken).line("from the board, 64 bytes") + (f"   {missed} missed" if missed else ""))


async def main(url: str, pid: int, scale: float, line: str) -> None:
    async with busway.AsyncBus("bench", label="bench") as bus:
        await bus.connect(url)
        found = Bench(bus, pid)
        await bus.request("bench/echo", b"", ttl=10.0)
        print(f"{'over a pty, to the board ' + line:<38} {'rate':>11}   {'CPython':>11} {'MicroPython':>11}")
        for size in (0, 16, 64):
            await round_trips(found, int(500 * scale), size)
        await to_the_board(found, int(2000 * scale))
        await from_the_board(found, int(2000 * scale))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    for name in LINES:
        with board(name) as running:
            asyncio.run(main(*running, arguments.scale, name))
