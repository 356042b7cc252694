"""Messages per second of nano applications and their buses, beside what Python has for it and pyzmq.

Usage: python -m benchmarks.nano [--rounds N] [--seconds S] [--json FILE]

Each system sends messages of 16 B and 1 KiB from one side to the other as fast as it goes: in one thread,
between two threads, between two processes. Rounds of all follow each other in turn; a figure is the median of
its rounds, a ratio the median of the ratios of rounds that were next to each other. `nano bus` is the bus
alone, a block of up to 64 KiB at a time; `nano app` is a handler that emits and one that takes, each in a
worker of its own. Every message is counted where it arrives, and none may be missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import queue
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import zmq

from benchmarks.bench import machine
from busway import nano
from busway.nano.blocks import MESSAGE
from busway.nano.log import Log, packed

SIZES = (16, 1024)
RING = "1 MiB"
WAIT_S = 60.0
CHUNK = 64  # messages between two looks at the clock
context = multiprocessing.get_context("fork")


class Round(NamedTuple):
    """The result of a round: messages, and seconds from the first to the last where they arrived."""

    messages: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.messages / self.seconds


class Clock:
    """Where they arrive: the time of the first and the last."""

    def __init__(self) -> None:
        self.count = 0
        self.began = self.ended = 0.0

    def mark(self, count: int) -> None:
        if not self.count:
            self.began = time.perf_counter()
        self.count += count

    def end(self) -> Round:
        self.ended = time.perf_counter()
        return Round(self.count, self.ended - self.began)


def until(seconds: float) -> Iterator[None]:
    """Turns until the time is over: one at least, for others may run meanwhile."""
    end = time.perf_counter() + seconds
    yield
    while time.perf_counter() < end:
        yield


# ---- the two sides of each system


def put_all(put: Callable[[Any], object], payload: bytes, seconds: float) -> int:
    count = 0
    for _ in until(seconds):
        for _ in range(CHUNK):
            put(payload)
        count += CHUNK
    put(None)
    return count


def get_all(get: Callable[[], Any]) -> Round:
    clock = Clock()
    clock.mark(0)
    clock.began = time.perf_counter() if get() is not None else 0.0
    count = 1
    while get() is not None:
        count += 1
    clock.count = count
    return clock.end()


def beside(sending: Callable[[], object], taking: Callable[[], Round], *, processes: bool) -> Round:
    """Runs one side in a thread or process of its own, the other here."""
    kind: Any = context.Process if processes else threading.Thread
    other = kind(target=sending, daemon=True)
    other.start()
    found = taking()
    other.join(WAIT_S)
    return found


def plain_queue(size: int, seconds: float) -> Round:
    line: queue.Queue[Any] = queue.Queue(10_000)
    return beside(lambda: put_all(line.put, bytes(size), seconds), lambda: get_all(line.get), processes=False)


def process_queue(size: int, seconds: float) -> Round:
    line = context.Queue(10_000)
    return beside(lambda: put_all(line.put, bytes(size), seconds), lambda: get_all(line.get), processes=True)


def process_pipe(size: int, seconds: float) -> Round:
    near, far = context.Pipe(duplex=False)

    def send() -> None:
        put_all(lambda one: far.send_bytes(one or b""), bytes(size), seconds)

    return beside(send, lambda: get_all(lambda: near.recv_bytes() or None), processes=True)


@contextlib.contextmanager
def zmq_sends(context: Any, address: str, size: int, seconds: float) -> Iterator[None]:
    with context.socket(zmq.PUSH) as far:
        far.setsockopt(zmq.RECONNECT_IVL, 1)  # ms: it may come before the other has bound
        far.connect(address)
        put_all(lambda one: far.send(one or b""), bytes(size), seconds)
        yield


def zmq_takes(context: Any, address: str) -> Round:
    with context.socket(zmq.PULL) as near:
        near.bind(address)
        return get_all(lambda: near.recv() or None)


def zmq_inproc(size: int, seconds: float) -> Round:
    at = "inproc://nano"
    with zmq.Context() as shared:

        def send() -> None:
            with zmq_sends(shared, at, size, seconds):
                pass

        return beside(send, lambda: zmq_takes(shared, at), processes=False)


def zmq_ipc(size: int, seconds: float) -> Round:
    """Each side makes its context after the fork: a context has threads, and a fork may find them at work."""
    with tempfile.TemporaryDirectory(prefix="bw-") as folder:
        at = f"ipc://{folder}/line"
        taken = context.Event()  # what waits for a full receiver is lost when the sender closes

        def send() -> None:
            with zmq.Context() as there, zmq_sends(there, at, size, seconds):
                taken.wait(WAIT_S)

        def take() -> Round:
            with zmq.Context() as here:
                found = zmq_takes(here, at)
                taken.set()
                return found

        return beside(send, take, processes=True)


# ---- nano


def write_bus(bus: Log, size: int, seconds: float) -> None:
    """Each message is packed by itself, as an application does."""
    pieces = max(1, (60 << 10) // (size + 16))
    payload = bytes(size)
    for _ in until(seconds):
        bus.commit(*packed([(0, payload) for _ in range(pieces)]))
    bus.commit(*packed([(1, b"")]))


def read_bus(reader: Any) -> Round:
    clock, through = Clock(), False
    unpack = MESSAGE.unpack_from
    while not through:
        assert reader.wait(WAIT_S), "nothing more comes"
        for block in reader.take():
            body, at, count = block.body, 0, 0
            for _ in range(block.messages):
                size, key = unpack(body, at)
                data = body[at + 8 : at + 8 + size]
                at += 8 + size + -size % 8
                through = key == 1
                count += len(data) == size
            clock.mark(count - through)
    return clock.end()


def nano_bus(size: int, seconds: float, *, processes: bool) -> Round:
    with nano.BlockingBus(RING, patience=60.0) as bus:
        if processes:
            bus.share()
        reader = bus.attach("near")
        found = beside(lambda: write_bus(bus, size, seconds), lambda: read_bus(reader), processes=processes)
        reader.close()
    return found


class Source(nano.Handler):
    """Emits until its time is over."""

    def __init__(self, size: int, seconds: float) -> None:
        self._payload = bytes(size)
        self._seconds = seconds
        self._end = 0.0

    def on_start(self) -> None:
        self._end = time.perf_counter() + self._seconds

    def on_loop(self, out: nano.Emit[bytes]) -> float:
        payload = self._payload
        for _ in range(CHUNK):
            out(payload)
        if time.perf_counter() < self._end:
            return 0.0
        out(b"")
        return 1e9


class Sink(nano.Handler):
    """Counts until the last one has come."""

    def __init__(self) -> None:
        self._shared = context.Array("d", 3)
        self._count = 0
        self._began = 0.0

    def handle(self, message: bytes) -> None:
        if message:
            self._count += 1
            if self._count == 1:
                self._began = time.perf_counter()
            return
        self._shared[:] = [self._count, self._began, time.perf_counter()]
        raise nano.Finished

    @property
    def found(self) -> Round:
        count, began, ended = self._shared[:]
        return Round(int(count), ended - began)


def nano_app(size: int, seconds: float, bus: Log, *, processes: bool, together: bool = False) -> Round:
    sink = Sink()
    source = Source(size, seconds)
    workers: dict[str, list[object]] = (
        {"one": [source, sink]} if together else {"far": [source], "near": [sink]}
    )
    how: Any = "fork" if processes else False
    with bus:
        app = nano.App(bus=bus, workers=workers, routes=[Source >> bytes >> Sink], processes=how)
        with app as running:
            assert running.join(seconds + 60), running.workers()
            counters, missed = running.counters(), [one.missed for one in running.workers().values()]
        found = sink.found
        assert not any(missed), missed
        assert counters["Source"].emitted - 1 == found.messages, counters
        return found


def blocking() -> Log:
    return nano.BlockingBus(RING, patience=60.0)


def app_in_file(size: int, seconds: float) -> Round:
    with tempfile.TemporaryDirectory(prefix="bw-") as folder:
        bus = nano.FileBus(Path(folder) / "run.log", "64 MiB", growable=True)
        return nano_app(size, seconds, bus, processes=True)


GROUPS: dict[str, dict[str, Callable[[int, float], Round]]] = {
    "one thread": {
        "nano app": lambda size, seconds: nano_app(size, seconds, blocking(), processes=False, together=True),
    },
    "two threads": {
        "nano app": lambda size, seconds: nano_app(size, seconds, blocking(), processes=False),
        "nano bus": lambda size, seconds: nano_bus(size, seconds, processes=False),
        "queue.Queue": plain_queue,
        "pyzmq inproc": zmq_inproc,
    },
    "two processes": {
        "nano app": lambda size, seconds: nano_app(size, seconds, blocking(), processes=True),
        "nano app, FileBus": app_in_file,
        "nano bus": lambda size, seconds: nano_bus(size, seconds, processes=True),
        "multiprocessing.Queue": process_queue,
        "multiprocessing.Pipe": process_pipe,
        "pyzmq ipc": zmq_ipc,
    },
}


# ---- rounds, and what is printed


class Line(NamedTuple):
    """A system in one group with messages of one size."""

    group: str
    size: int
    system: str
    rounds: list[Round]

    @property
    def rate(self) -> float:
        return statistics.median(one.rate for one in self.rounds)

    def over(self, other: Line) -> float:
        """How many times as fast: the median of rounds that were next to each other."""
        return statistics.median(
            mine.rate / theirs.rate for mine, theirs in zip(self.rounds, other.rounds, strict=True)
        )


def stalled(*_: object) -> None:
    raise TimeoutError("a round stands still")


def measure(rounds: int, seconds: float) -> list[Line]:
    """All systems in turn, so often."""
    lines = [
        Line(group, size, system, [])
        for group, systems in GROUPS.items()
        for size in SIZES
        for system in systems
    ]
    for number in range(rounds):
        for line in lines:
            doing = f"round {number + 1}: {line.group}, {line.system}, {line.size} B"
            print(f"\r{doing:<78}", end="", file=sys.stderr)
            signal.alarm(int(seconds + WAIT_S))
            found = GROUPS[line.group][line.system](line.size, seconds)
            signal.alarm(0)
            assert found.messages > 0, line
            line.rounds.append(found)
    print("\r".ljust(80), end="\r", file=sys.stderr)
    return lines


def table(lines: list[Line]) -> str:
    """As Markdown: a row for each system, with how many times as fast the application is in its group."""
    texts = ["| | System | 16 B | nano app is | 1 KiB | nano app is |", "|---|---|---|---|---|---|"]
    by = {(line.group, line.size, line.system): line for line in lines}
    for group, systems in GROUPS.items():
        for system in systems:
            cells = [group, system]
            for size in SIZES:
                line, app = by[group, size, system], by[group, size, "nano app"]
                cells.append(f"{rounded(line.rate):,}/s")
                cells.append(f"{app.over(line):.2f} times as fast" if system != "nano app" else "")
            texts.append(f"| {' | '.join(cells)} |")
    return "\n".join(texts)


def rounded(rate: float) -> int:
    """To three digits."""
    return int(float(f"{rate:.3g}"))


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="benchmarks.nano", description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=5, help="of each system (default 5)")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each round (default 0.3)")
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    if options.rounds < 1 or not 0 < options.seconds <= 60:
        parser.error("--rounds is 1 or more, --seconds more than 0 and at most 60")
    return options


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGALRM, stalled)
    found = measure(options.rounds, options.seconds)
    print(table(found))
    if options.json is not None:
        rows = [{**line._asdict(), "rounds": [one._asdict() for one in line.rounds]} for line in found]
        result = {"environment": machine.environment(), "lines": rows}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
