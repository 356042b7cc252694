"""Sends to many at once beside as many single sends: time, processor time, bytes and system calls.

Usage: python -m benchmarks.addressing [--programs N] [--rounds N] [--json FILE]

N programs (default 100), processes with a bus of their own each, have three endpoints with 20 labels between
them; every second one has an endpoint with the label "half". One more program sends 16 bytes to
`where("half")` with `to="all"`, and beside it a send to each of the same endpoints by name, in turn, plain
and confirmed. Times are of the sender, from the call until the last has returned; processor time is its own,
until all is written; bytes are those that its links have written; system calls are those of its process, as
`strace -c` counts them in rounds of their own, where there is a strace, less those of the quietest rounds in
which nothing was sent. Medians of interleaved rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import busway
from busway import AsyncBus

BUS = "addressing"
PAYLOAD = b"0123456789abcdef"
PROGRAMS_MAX = 250
JOIN_GAP_S = 0.02  # between programs that start one after the other
READY_S = 60.0  # until all know all
SIZES = (8, 8, 4)  # labels of a program's endpoints, 20 in all
POOL = 40  # labels that there are besides "half"
BATCHES = 4  # of rounds whose system calls are counted
IDLE = "idle"


def name_of(number: int, place: int = 0) -> str:
    """An endpoint of a program; the first may have the label "half"."""
    return f"lab/{number}/{place}"


def labels_of(number: int, place: int) -> set[str]:
    """The labels of an endpoint."""
    first = sum(SIZES[:place])
    labels = {f"kind-{(3 * number + each) % POOL}" for each in range(first, first + SIZES[place])}
    if place == 0 and number % 2 == 0:
        labels.remove(f"kind-{3 * number % POOL}")
        labels.add("half")
    return labels


# The programs that are sent to --------------------


async def hold(number: int) -> None:
    """Take what comes, for ever."""
    async with AsyncBus(BUS, label=f"program {number}") as bus:
        inboxes = [
            bus.register(name_of(number, place), labels=labels_of(number, place))
            for place in range(len(SIZES))
        ]
        await asyncio.gather(*map(drain, inboxes))


async def drain(inbox: Any) -> None:
    """Throw away what comes."""
    async for _ in inbox:
        pass


@contextmanager
def programs(count: int) -> Iterator[None]:
    """So many processes, until the block ends."""
    running = []
    try:
        for number in range(count):
            process = os.fork()
            if process == 0:
                _run(number)
            running.append(process)
            time.sleep(JOIN_GAP_S)
        yield
    finally:
        for process in running:
            os.kill(process, signal.SIGKILL)
        for process in running:
            os.waitpid(process, 0)


def _run(number: int) -> None:
    """The life of a forked process."""
    try:
        asyncio.run(hold(number))
    finally:
        os._exit(1)


# The program that sends --------------------

Way = Callable[[AsyncBus, list[str]], Awaitable[None]]


async def to_all(bus: AsyncBus, names: list[str]) -> None:
    """One send to all that have the label."""
    _check(await bus.send(busway.where("half"), PAYLOAD, to="all"), names)


async def to_each(bus: AsyncBus, names: list[str]) -> None:
    """A send to each."""
    for name in names:
        await bus.send(name, PAYLOAD)


async def to_all_confirmed(bus: AsyncBus, names: list[str]) -> None:
    """One send to all that have the label, and their verdicts."""
    _check(await bus.send(busway.where("half"), PAYLOAD, to="all", confirm=True), names)


async def to_each_confirmed(bus: AsyncBus, names: list[str]) -> None:
    """A send to each, and their verdicts."""
    await asyncio.gather(*(bus.send(name, PAYLOAD, confirm=True) for name in names))


def _check(told: Any, names: list[str]) -> None:
    if len(told) != len(names):
        raise RuntimeError(f"{len(told)} were sent to, and not {len(names)}")


WAYS: dict[str, Way] = {
    'to="all"': to_all,
    "single sends": to_each,
    'to="all", confirmed': to_all_confirmed,
    "single sends, confirmed": to_each_confirmed,
}


def written(bus: AsyncBus) -> int:
    """Bytes that all links have written."""
    return sum(link.bytes_out for link in bus.links())


async def all_known(bus: AsyncBus, count: int) -> None:
    """Wait until every endpoint is known, and nothing has been written for a while."""
    until, before = time.monotonic() + READY_S, -1
    while len([each for each in bus.endpoints() if each.name.startswith("lab/")]) < count * len(SIZES) or (
        before != written(bus)
    ):
        before = written(bus)
        if time.monotonic() > until:
            raise RuntimeError(f"the programs did not find each other within {READY_S:g} s")
        await asyncio.sleep(0.5)


async def timed(bus: AsyncBus, names: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """For each way medians: seconds, seconds of processor time, and bytes of a round."""
    found: dict[str, list[tuple[float, float, int]]] = {way: [] for way in WAYS}
    for count in range(rounds + 3):
        for way, send in WAYS.items():
            before, cpu, start = written(bus), time.process_time(), time.perf_counter()
            await send(bus, names)
            took = time.perf_counter() - start
            await asyncio.sleep(0.02)  # what was accepted is written, and credit comes back
            cpu = time.process_time() - cpu
            if count >= 3:  # until then credit grows
                found[way].append((took, cpu, written(bus) - before))
    medians = {}
    for way, each in found.items():
        took, cpu, size = (statistics.median(column) for column in zip(*each, strict=True))
        medians[way] = {"seconds": took, "processor": cpu, "bytes": size}
    return medians


class Calls:
    """System calls of this process, while strace looks on."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.output = Path(self.folder.name, "calls")
        words = ["strace", "-c", "-f", "-p", str(os.getpid()), "-o", str(self.output)]
        self.strace = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)

    def begin(self) -> None:
        """Wait until it looks on; in a thread, for it stops each in turn."""
        assert self.strace.stderr is not None
        line = self.strace.stderr.readline()
        if "attached" not in line:
            raise RuntimeError(f"strace cannot look on: {line.strip()}")

    def end(self) -> int:
        """How many there were."""
        self.strace.send_signal(signal.SIGINT)
        self.strace.wait()
        lines = self.output.read_text().splitlines()
        self.folder.cleanup()
        # "100.00    0.012345          12      1000        10 total"; errors only where there are any
        return next((int(line.split()[3]) for line in lines if line.endswith(" total")), 0)


async def calls_of(bus: AsyncBus, names: list[str], rounds: int, way: Way) -> float:
    """System calls of a round, with those of looking on and of whatever the bus does meanwhile."""
    calls = Calls()
    try:
        await asyncio.to_thread(calls.begin)
        for _ in range(rounds):
            await way(bus, names)
            await asyncio.sleep(0.02)
    finally:
        total = await asyncio.to_thread(calls.end)
    return total / rounds


async def counted(bus: AsyncBus, names: list[str], rounds: int) -> dict[str, float]:
    """For each way the system calls of a round beyond those of a round in which nothing is sent."""
    batches = min(BATCHES, rounds)
    found: dict[str, list[float]] = {way: [] for way in (IDLE, *WAYS)}
    for _ in range(batches):
        for way in found:
            send = WAYS.get(way, _nothing)
            found[way].append(await calls_of(bus, names, rounds // batches, send))
    return beyond(min(found.pop(IDLE)), found)


def beyond(idle: float, found: dict[str, list[float]]) -> dict[str, float]:
    """The medians less what is there without them; on a busy machine that may be more: then 0."""
    return {way: max(0.0, statistics.median(each) - idle) for way, each in found.items()}


async def measure(count: int, rounds: int) -> dict[str, dict[str, float]]:
    """All figures, by way."""
    names = [name_of(number) for number in range(0, count, 2)]
    async with AsyncBus(BUS, label="sender") as bus:
        await all_known(bus, count)
        found = await timed(bus, names, rounds)
        if shutil.which("strace"):
            for way, calls in (await counted(bus, names, rounds)).items():
                found[way]["calls"] = calls
    return found


async def _nothing(bus: AsyncBus, names: list[str]) -> None:
    """Nothing: for what looking on costs by itself."""


# What is shown --------------------


def table(found: dict[str, dict[str, float]], count: int) -> Iterator[str]:
    """As Markdown."""
    yield f"| To {len(range(0, count, 2))} of {count} programs | Time | Processor | Bytes | System calls |"
    yield "|---|---|---|---|---|"
    for way, each in found.items():
        cells = [way, f"{each['seconds'] * 1000:.2f} ms", f"{each['processor'] * 1000:.2f} ms"]
        cells += [f"{each['bytes']:,.0f}", f"{each['calls']:,.0f}" if "calls" in each else ""]
        yield f"| {' | '.join(cells)} |"


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.addressing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--programs", type=int, default=100, help=f"2 to {PROGRAMS_MAX}, default 100")
    parser.add_argument("--rounds", type=int, default=100, help="of each way, default 100")
    parser.add_argument("--json", type=Path, help="a file that gets the figures")
    given = parser.parse_args(words)
    if not 2 <= given.programs <= PROGRAMS_MAX:
        parser.error(f"--programs must be 2 to {PROGRAMS_MAX}, not {given.programs}")
    if given.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {given.rounds}")
    return given


def main() -> None:
    given = arguments(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="bw-") as directory:
        os.environ["BUSWAY_DIR"] = directory
        with programs(given.programs), suppress(KeyboardInterrupt):
            found = asyncio.run(measure(given.programs, given.rounds))
            print(*table(found, given.programs), sep="\n")
            if given.json is not None:
                given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
