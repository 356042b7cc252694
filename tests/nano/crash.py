"""Kills writers and workers of a FileBus at random instants: nothing that was committed is lost.

`python -m tests.nano.crash --seed N --kills K` plays lives one after the other, on a file that is begun anew
now and then. Each life is a process that goes on where the last one was killed: every other one writes blocks
and notes what it has committed; the others run an application whose handler answers each number by its
double. After each kill the file is looked at:

- all numbers that were noted are there, in order and whole, and nothing that was not written;
- each number has its answer at most once, without a gap;
- no cursor is ahead of what was handled.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from busway import nano
from busway.nano import blocks
from busway.nano.log import packed

LIVES = 25  # on one file
SEGMENT = "64 KiB"
READY, TRYING, NOTED, HANDLED = 0, 8, 16, 24
_WORD = struct.Struct("Q")


class Number(nano.Layout):
    """A number, and bytes that follow from it."""

    value: nano.u64
    check: nano.u64


class Double(nano.Layout):
    """The answer to a number."""

    value: nano.u64


def check_of(value: int) -> int:
    return value * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF


class Page:
    """What parent and child both see, whoever is killed."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, mmap.PAGESIZE)

    def __getitem__(self, at: int) -> int:
        (value,) = _WORD.unpack_from(self._map, at)
        return int(value)

    def __setitem__(self, at: int, value: int) -> None:
        _WORD.pack_into(self._map, at, value)


# ---- the two sorts of lives


def payload_of(value: int) -> bytes:
    """What a writer writes: of a size from 8 to 4000 bytes that follows from the number."""
    return _WORD.pack(value) + random.Random(value).randbytes(
        check_of(value) % 4000 if value % 7 == 0 else 16
    )


def write(path: Path, page: Page, seed: int) -> None:
    """Writes blocks of one or more numbers for ever."""
    rng = random.Random(seed)
    bus = nano.FileBus(path, SEGMENT, growable=True)
    bus.declare([("Blob", "bytes")], ["writer"])
    value = page[NOTED]
    if value != page[TRYING] and count_of(bus, "Blob") == page[TRYING]:
        # The block was committed, and the writer killed before it noted that.
        value = page[NOTED] = page[TRYING]
    page[READY] = 1
    while True:
        count = rng.choice((1, 1, 2, 5))
        page[TRYING] = value + count
        bus.commit(*packed([(0, payload_of(value + n)) for n in range(count)]))
        value += count
        page[NOTED] = value


def count_of(bus: nano.FileBus, kind: str) -> int:
    return sum(entry.kind == kind for entry in bus.entries())


class Source(nano.Handler):
    """Emits numbers, going on behind the last in the file."""

    def __init__(self, first: int, rng: random.Random) -> None:
        self._next = first
        self._rng = rng

    def on_loop(self, out: nano.Emit[Number]) -> float:
        for _ in range(self._rng.choice((1, 3, 20))):
            out(Number(self._next, check_of(self._next)))
            self._next += 1
        return self._rng.choice((0.0, 0.0, 0.0005))


class Doubler(nano.Handler):
    """Answers, and notes how far it is."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def handle(self, message: Number, out: nano.Emit[Double]) -> None:
        out(Double(2 * message.value))
        self._page[HANDLED] = message.value + 1


class Sink(nano.Handler):
    def handle(self, message: Double) -> None:
        pass


def work(path: Path, page: Page, seed: int) -> None:
    """Runs the application for ever."""
    bus = nano.FileBus(path, SEGMENT, growable=True)
    source = Source(count_of(bus, "Number"), random.Random(seed))
    app = nano.App(
        bus=bus,
        workers={"source": [source], "doubler": [Doubler(page)], "sink": [Sink()]},
        routes=[Source >> Number >> Doubler, Doubler >> Double >> Sink],
    )
    running = app.run()
    page[READY] = 1
    running.join()


# ---- one life, and what is left of it


def life(sort: Callable[[Path, Page, int], None], path: Path, page: Page, rng: random.Random) -> None:
    """A process of that sort, killed after up to 15 ms, perhaps before it has opened the file."""
    page[READY] = 0
    seed, early = rng.getrandbits(32), rng.random() < 0.15
    child = os.fork()
    if not child:
        try:
            sort(path, page, seed)
        except BaseException:  # noqa: BLE001 - a child never comes back into the parent's code
            traceback.print_exc()
        finally:
            os._exit(1)
    try:
        deadline = time.monotonic() + 30
        while not early and not page[READY]:
            assert time.monotonic() < deadline, "a life did not begin"
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.003 if early else 0.015))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "a life ended by itself"


def judge_written(path: Path, page: Page) -> int:
    """Checks what the writer left. Returns how many numbers are there."""
    with nano.FileBus(path, SEGMENT, growable=True) as bus:
        report = bus.report
        values = [entry.data for entry in bus.entries()]
    assert not report.lost, report
    assert not report.gaps, report
    assert report.messages == len(values)
    assert len(values) in (page[NOTED], page[TRYING]), (len(values), page[NOTED], page[TRYING])
    for number, data in enumerate(values):
        assert data == payload_of(number), f"number {number} is not what was written"
    return len(values)


def judge_worked(path: Path, page: Page) -> int:
    """Checks what the application left. Returns how many answers are there."""
    with nano.FileBus(path, SEGMENT, growable=True) as bus:
        assert not bus.report.lost, bus.report
        assert not bus.report.gaps, bus.report
        cursor = cursor_of(bus, "doubler")
        numbers, answers, before = [], [], 0
        for entry in bus.entries():
            if entry.kind == "Number":
                found = Number.at(entry.data)
                assert found.check == check_of(found.value)
                numbers.append(found.value)
                before += place_of(bus, entry) < cursor
            else:
                answers.append(Double.at(entry.data).value)
    assert numbers == list(range(len(numbers)))
    assert answers == [2 * value for value in range(len(answers))]
    assert len(answers) <= page[HANDLED] <= len(numbers)
    assert before <= page[HANDLED], (before, page[HANDLED])
    assert before == len(answers), "the cursor is not where the answers end"
    return len(answers)


def cursor_of(bus: nano.FileBus, name: str) -> tuple[int, int]:
    """Block and message up to which a reader has handled all; (0, 0) before it first began."""
    for row, found, _ in bus.rows():
        if found == name.encode():
            cursor = blocks.cursor_of(bus.map, blocks.READERS_AT + blocks.READER_SIZE * row)
            assert cursor is not None
            return cursor.position, cursor.done
    return 0, 0


def place_of(bus: nano.FileBus, entry: nano.Entry) -> tuple[int, int]:
    """Block and message of an entry, to be compared with a cursor."""
    block = bus.read(entry.position, entry.position + bus.lap)
    assert block is not None
    return entry.position, entry.number - block.first


def campaign(seed: int, kills: int, seconds: float = float("inf")) -> tuple[int, int]:
    """Plays lives. Returns how many, and how many messages they left. AssertionError says what broke."""
    rng = random.Random(seed)
    until = time.monotonic() + seconds
    played = messages = 0
    while played < kills and time.monotonic() < until:
        with tempfile.TemporaryDirectory(prefix="bw-") as folder:
            worked = rng.random() < 0.5
            sort, judge = (work, judge_worked) if worked else (write, judge_written)
            path, page, left = Path(folder) / "run.log", Page(), 0
            for _ in range(min(LIVES, kills - played)):
                life(sort, path, page, rng)
                left = judge(path, page)
                played += 1
                if time.monotonic() > until:
                    break
            messages += left
    return played, messages


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no life begins after that")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    played, messages = campaign(options.seed, options.kills, options.seconds)
    print(f"{played:,} kills, {messages:,} messages: none lost, none torn, no cursor ahead")
    return 0


if __name__ == "__main__":
    sys.exit(main())
