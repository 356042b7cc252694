"""Chaos on one machine: publishers, subscribers and a router between them are killed at random instants, as
large payloads, open files and regions of memory go around. `python -m tests.chaos.run --seed N --seconds S`.

Held: each send and request has one verdict; each file and each region comes with its own message; what a
program holds does not change while it holds it, whoever is killed; those who live on leave no descriptor and
no mapping behind, and nobody a file in /dev/shm. Prints what happened, and each fault; exit status 0 without.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from busway.drivers import unix
from tests.chaos.programs import SINKS, VERDICT_S
from tests.rigs import forks

ROUTER: Final = 200  # its number, which is each byte of its node id
PAUSE_S: Final = (0.02, 0.6)  # between two kills
AWAY_S: Final = 0.3  # how long at most one that was killed is gone
# Those that live through it all, and those that are killed: role, number, whether behind the router.
LIVING: Final = (
    ("source", 0, False),
    ("source", 1, True),
    ("sink", 0, False),
    ("sink", 1, True),
    ("reader", SINKS, False),
)
MORTAL: Final = (
    ("source", 2, False),
    ("source", 3, True),
    ("sink", 2, False),
    ("sink", 3, True),
    ("sink", SINKS - 1, False),
    ("router", ROUTER, False),
)


class Running:
    """A program, which may be begun anew, and what it has said."""

    def __init__(self, role: str, number: int, far: bool, seed: int, router: str) -> None:
        self.name = f"{role} {number}"
        self.words = ["-m", "tests.chaos.programs", role, str(number), str(seed), router if far else ""]
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self.lives = 0
        self.begin()

    def begin(self) -> None:
        self.lives += 1
        self.program = forks.Program(self.words, os.environ, complaints=2)
        self.ready = threading.Event()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        for raw in self.program.stdout:
            line = raw.decode(errors="replace").strip()
            if line == "ready":
                self.ready.set()
            elif line.startswith("{"):
                self.counts.update(json.loads(line))
            elif raw.endswith(b"\n"):
                self.faults.append(line)

    def kill(self) -> None:
        self.program.close()
        self.reader.join()

    def end(self) -> None:
        """Let it end by itself, in order."""
        with contextlib.suppress(BrokenPipeError):
            self.program.stdin.write(b"end\n")
            self.program.stdin.flush()

    def await_end(self, until: float) -> None:
        try:
            status = self.program.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            status = None
        if status != 0:
            self.faults.append(f"{self.name} ended with status {status}")
        self.kill()


def chaos(seed: int, seconds: float) -> tuple[Counter[str], list[str]]:
    """What those who lived through it counted, and all faults."""
    draw = random.Random(seed)
    shared = set(os.listdir("/dev/shm"))
    with home():
        router = f"ipc://{unix.bus_directory('default')}/{bytes([ROUTER] * 16).hex()}.sock"
        living = [Running(*each, seed, router) for each in LIVING]
        mortal = [Running(*each, seed, router) for each in MORTAL]
        everybody = living + mortal
        try:
            for each in everybody:
                if not each.ready.wait(60.0):
                    return Counter(), [f"{each.name} did not begin"]
            kills = _kill(mortal, draw, seconds)
            counts = _end(living, mortal)
        finally:
            for each in everybody:
                each.kill()
    faults = [fault for each in everybody for fault in each.faults]
    left = set(os.listdir("/dev/shm")) - shared
    faults += [f"left behind: /dev/shm/{name}" for name in left if "busway" in name]
    return counts + Counter({"kills": kills}), faults


def _kill(mortal: list[Running], draw: random.Random, seconds: float) -> int:
    """Kill one after the other, and begin it anew; how many."""
    kills = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(draw.uniform(*PAUSE_S))
        victim = draw.choice(mortal)
        victim.kill()
        kills += 1
        time.sleep(draw.random() * AWAY_S)
        victim.begin()
    return kills


def _end(living: list[Running], mortal: list[Running]) -> Counter[str]:
    """The mortal are killed at work; the others end in order, senders first."""
    for each in mortal:
        each.kill()
    counts: Counter[str] = Counter()
    for roles in (("source",), ("sink", "reader")):
        some = [each for each in living if each.name.startswith(roles)]
        for each in some:
            each.end()
        until = time.monotonic() + 2 * VERDICT_S + 60.0
        for each in some:
            each.await_end(until)
            counts += each.counts
    return counts


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """A directory for their sockets, and nobody else's."""
    former = os.environ.get("BUSWAY_DIR")
    with tempfile.TemporaryDirectory(prefix="bw-") as directory:
        os.environ["BUSWAY_DIR"] = directory
        try:
            yield Path(directory)
        finally:
            os.environ.pop("BUSWAY_DIR")
            if former is not None:
                os.environ["BUSWAY_DIR"] = former


def told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    counts, faults = chaos(options.seed, options.seconds)
    print(told(counts))
    for fault in faults[:50]:
        print(fault)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
