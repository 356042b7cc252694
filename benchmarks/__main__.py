"""Busway's asyncio API beside pyzmq's blocking API: two processes, in turn in one run; medians and ratios.

Usage: python -m benchmarks [--rounds N] [--scale FACTOR]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

ONE_WAY = ((16, 200_000), (1024, 100_000), (16_384, 20_000))  # payload bytes, messages
ROUND_TRIP = (16, 5_000)
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
                [*command, f"{kind}-{second}", *tail], env=environment, stdout=subprocess.DEVNULL
            ) as two:
                try:
                    seconds = float(one.stdout.readline())
                    two.wait(TIMEOUT_S)
                finally:
                    one.kill()
                    two.kill()
        return seconds


def compare(title: str, first: str, second: str, count: int, size: int, rounds: int, rate: bool) -> None:
    """Both systems in turn, and the ratio round by round."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(run_pair("busway", first, second, count, size) / count)
        theirs.append(run_pair("zmq", first, second, count, size) / count)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    mine, zmq = statistics.median(ours), statistics.median(theirs)
    if rate:
        figures = f"{1 / mine:>12,.0f}/s {1 / zmq:>12,.0f}/s"
    else:
        figures = f"{mine * 1e6:>11.1f} us {zmq * 1e6:>11.1f} us"
    print(
        f"{title:<22} {figures}   {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
        flush=True,
    )


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turn (default 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the message counts")
    options = parser.parse_args()
    print(f"{'':<22} {'busway':>14} {'pyzmq':>14}   times pyzmq's speed: median (min-max)")
    for size, count in ONE_WAY:
        scaled = int(count * options.scale)
        compare(f"one way, {size} B", "sink", "source", scaled, size, options.rounds, True)
    size, count = ROUND_TRIP
    scaled = int(count * options.scale)
    compare(f"round trip, {size} B", "client", "server", scaled, size, options.rounds, False)


if __name__ == "__main__":
    main()
