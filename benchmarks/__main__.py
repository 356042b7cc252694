"""Busway's asyncio API beside pyzmq's blocking API: two processes, in turn in one run; medians and ratios.

Usage: python -m benchmarks [--rounds N] [--seconds S]

A first short run of each finds how many messages fill the time of a round, so that the whole takes as long
on a slow machine as on a fast one: two minutes. What it is at stands on stderr.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from busway import about

ONE_WAY = ((16, 20_000), (1024, 10_000), (16_384, 2_000))  # payload bytes, messages of the first run
ROUND_TRIP = (16, 500)
MOST = 100  # times the first run's count: what is very fast does not take more memory for that
TIMEOUT_S = 120


def run_pair(kind: str, first: str, second: str, count: int, size: int) -> float:
    """Seconds that the first role measured."""
    with tempfile.TemporaryDirectory(prefix="bw") as folder:
        place = "bench" if kind == "busway" else os.path.join(folder, "z")
        environment = dict(os.environ, BUSWAY_DIR=os.path.join(folder, "b"))
        command = [sys.executable, "-m", "benchmarks.peer"]
        tail = [place, str(count), str(size)]
        with subprocess.Popen(
            [*command, f"{kind}-{first}", *tail], env=environment, stdout=subprocess.PIPE, text=True
        ) as one:
            assert one.stdout is not None
            one.stdout.readline()
            with subprocess.Popen(
                [*command, f"{kind}-{second}", *tail],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            ) as two:
                try:
                    seconds = float(one.stdout.readline())
                    assert two.stdin is not None
                    two.stdin.close()
                    two.wait(TIMEOUT_S)
                finally:
                    one.kill()
                    two.kill()
        return seconds


def filling(kind: str, first: str, second: str, count: int, size: int, seconds: float) -> int:
    """How many messages take about that long."""
    took = run_pair(kind, first, second, count, size)
    return max(count // 10, min(count * MOST, int(count * seconds / took)))


class Progress:
    """Says on stderr what is being measured: one line that is overwritten, or lines in a log."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.done = 0
        self.began = time.monotonic()
        self.live = sys.stderr.isatty()

    def say(self, what: str) -> None:
        self.done += 1
        text = f"{self.done}/{self.steps}  {time.monotonic() - self.began:4.0f} s  {what}"
        sys.stderr.write(f"\r\x1b[K{text}" if self.live else f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        if self.live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def compare(
    title: str,
    first: str,
    second: str,
    count: int,
    size: int,
    rounds: int,
    seconds: float,
    progress: Progress,
) -> None:
    """Both systems in turn, and the ratio round by round."""
    counts: dict[str, int] = {}
    times: dict[str, list[float]] = {"busway": [], "zmq": []}
    for kind in times:
        progress.say(f"{title}: {kind}, how many fill {seconds:g} s")
        counts[kind] = filling(kind, first, second, count, size, seconds)
    for number in range(rounds):
        for kind, mine in times.items():
            progress.say(f"{title}: {kind}, round {number + 1} of {rounds}, {counts[kind]:,} messages")
            mine.append(run_pair(kind, first, second, counts[kind], size) / counts[kind])
    progress.clear()
    ratios = [b / a for a, b in zip(times["busway"], times["zmq"], strict=True)]
    ours, theirs = statistics.median(times["busway"]), statistics.median(times["zmq"])
    if first == "sink":
        figures = f"{1 / ours:>12,.0f}/s {1 / theirs:>12,.0f}/s"
    else:
        figures = f"{ours * 1e6:>11.1f} us {theirs * 1e6:>11.1f} us"
    print(
        f"{title:<22} {figures}   {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
        flush=True,
    )


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=7, help="runs of each, in turn (default 7)")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each takes, about (default 1)")
    options = parser.parse_args()
    if options.rounds < 1 or not 0 < options.seconds <= 60:
        parser.error("--rounds is 1 or more, --seconds more than 0 and at most 60")
    print(about.line())
    print(f"{'':<22} {'busway':>14} {'pyzmq':>14}   times pyzmq's speed: median (min-max)")
    progress = Progress((len(ONE_WAY) + 1) * 2 * (options.rounds + 1))
    rest = (options.rounds, options.seconds, progress)
    for size, count in ONE_WAY:
        compare(f"one way, {size} B", "sink", "source", count, size, *rest)
    size, count = ROUND_TRIP
    compare(f"round trip, {size} B", "client", "server", count, size, *rest)


if __name__ == "__main__":
    main()
