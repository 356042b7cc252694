"""busway.Bus beside pyzmq's blocking interface: round trips between two processes, in turn in one run.

Then many threads at once: 32 threads of one process ask another process 10,000 times each.

Usage: python -m benchmarks.threads [--rounds N] [--scale FACTOR]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

import busway

NAME = "bench/echo"
ROUND_TRIPS = 5_000
THREADS = 32
REQUESTS = 10_000
WARM_UP = 200
TIMEOUT_S = 600


def busway_server(place: str, count: int) -> None:
    """Answers with a handler, until its standard input ends."""
    with busway.Bus(place) as bus:
        bus.serve(NAME, lambda request: request.payload)
        print("ready", flush=True)
        sys.stdin.read()


def busway_client(place: str, count: int) -> float:
    with busway.Bus(place) as bus:
        for _ in range(WARM_UP):
            bus.request(NAME, b"x" * 16, ttl=5)
        start = time.perf_counter()
        for _ in range(count):
            bus.request(NAME, b"x" * 16)
        return time.perf_counter() - start


def busway_crowd(place: str, count: int) -> float:
    """32 threads; each answer is checked to be that of its own question."""
    wrong: list[object] = []

    def ask(number: int) -> None:
        for step in range(count):
            question = b"%d %d" % (number, step)
            answer = bus.request(NAME, question, ttl=5, timeout=TIMEOUT_S)
            if answer != question:
                wrong.append((question, answer))

    with busway.Bus(place) as bus:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(THREADS)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT_S)
        seconds = time.perf_counter() - start
        assert not wrong, wrong[:5]
        assert not any(thread.is_alive() for thread in threads)
        assert not bus.node.origin.pending
    return seconds


def zmq_server(place: str, count: int) -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        socket.bind(f"ipc://{place}")
        print("ready", flush=True)
        for _ in range(WARM_UP + count):
            socket.send(socket.recv())
        sys.stdin.read()


def zmq_client(place: str, count: int) -> float:
    import zmq

    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.connect(f"ipc://{place}")
        for step in range(WARM_UP + count):
            if step == WARM_UP:
                start = time.perf_counter()
            socket.send(b"x" * 16)
            socket.recv()
        return time.perf_counter() - start


SERVERS: dict[str, Callable[[str, int], None]] = {"busway": busway_server, "zmq": zmq_server}
CLIENTS: dict[str, Callable[[str, int], float]] = {
    "busway": busway_client,
    "crowd": busway_crowd,
    "zmq": zmq_client,
}


def run_pair(server: str, client: str, count: int) -> float:
    """Seconds that the client measured; each of the two is a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bw") as folder:
        place = "bench" if server == "busway" else os.path.join(folder, "z")
        environment = dict(os.environ, BUSWAY_DIR=os.path.join(folder, "b"))
        command = [sys.executable, "-m", "benchmarks.threads", "--role"]
        with subprocess.Popen(
            [*command, f"{server}-server", place, str(count)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as serving:
            assert serving.stdout is not None
            serving.stdout.readline()
            try:
                asked = [*command, f"{client}-client", place, str(count)]
                run = subprocess.run(
                    asked, env=environment, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=True
                )
                return float(run.stdout)
            finally:
                serving.kill()


def measure(rounds: int, scale: float) -> None:
    count = max(1, int(ROUND_TRIPS * scale))
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(run_pair("busway", "busway", count) / count)
        theirs.append(run_pair("zmq", "zmq", count) / count)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    print(f"round trip, 16 B, median of {rounds} rounds of {count:,}, in turn:")
    print(f"  busway.Bus  {statistics.median(ours) * 1e6:8.1f} us")
    print(f"  pyzmq       {statistics.median(theirs) * 1e6:8.1f} us")
    shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    print(f"  times pyzmq's speed: {shown}", flush=True)
    each = max(1, int(REQUESTS * scale))
    seconds = run_pair("busway", "crowd", each)
    total = THREADS * each
    print(f"{THREADS} threads of {each:,} requests: {seconds:.1f} s, {total / seconds:,.0f}/s,", end=" ")
    print("every answer that of its own question, nothing outstanding")


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turn (default 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the counts")
    parser.add_argument("--role", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.role:
        measure(options.rounds, options.scale)
        return
    kind, _, role = options.role[0].partition("-")
    place, count = options.role[1], int(options.role[2])
    if role == "server":
        SERVERS[kind](place, count)
    else:
        print(CLIENTS[kind](place, count), flush=True)


if __name__ == "__main__":
    main()
