"""The cost of the mesh to a message: one bridge beside a direct link, between real processes; and what a
board on a slow line pays, in virtual time.

Usage: python -m benchmarks.mesh [--rounds N] [--scale FACTOR]

A source, a sink and a bridge are three processes joined by TCP on the loopback; both ways are measured in
turn in one run. The slow line carries one byte each millisecond (9600 baud: 960 a second).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import pairwise

import busway
from busway.protocol import Node, codes
from busway.protocol.wire.fields import varint
from tests.protocol.pairs import Cable, Entropy
from tests.simulation.nodes import Pace, Timed, Wire

ONE_WAY = ((16, 100_000), (1024, 50_000), (16_384, 10_000))  # payload bytes, messages
ROUND_TRIP = (16, 3_000)
NAME = "bench/endpoint"
READY_S = 10
SLOW = Pace(0, 0, 1, 0.0)
FAST = Pace(1, 0, 10_000, 0.0)


# One bridge beside a direct link: a process each --------------------


async def sink(rounds: bool, count: int) -> None:
    async with busway.AsyncBus("bench", ipc=False) as bus:
        listener = await bus.listen("tcp://127.0.0.1:0")
        if rounds:
            bus.serve(NAME, lambda request: request.payload)
        receiver = None if rounds else bus.register(NAME)
        print(listener.url, flush=True)
        if receiver is not None:
            await receiver.receive()
            start = time.perf_counter()
            for _ in range(count - 1):
                await receiver.receive()
            print(time.perf_counter() - start, flush=True)
        await asyncio.Event().wait()


async def bridge(url: str) -> None:
    async with busway.AsyncBus("bench", ipc=False, transit=True) as bus:
        await bus.connect(url)
        listener = await bus.listen("tcp://127.0.0.1:0")
        print(listener.url, flush=True)
        await asyncio.Event().wait()


async def source(rounds: bool, url: str, count: int, size: int) -> None:
    payload = bytes(size)
    async with busway.AsyncBus("bench", ipc=False) as bus:
        await bus.connect(url)
        if rounds:
            for _ in range(100):
                await bus.request(NAME, payload, ttl=READY_S)
            start = time.perf_counter()
            for _ in range(count):
                await bus.request(NAME, payload)
            print(time.perf_counter() - start, flush=True)
        else:
            await bus.send(NAME, payload, ttl=READY_S)
            for _ in range(count - 1):
                await bus.send(NAME, payload)
            await bus.close(30)


def run_once(bridged: bool, rounds: bool, count: int, size: int) -> float:
    """Seconds that the sink measured, or for round trips the source."""
    with tempfile.TemporaryDirectory(prefix="bw") as folder, ExitStack() as stack:
        environment = dict(os.environ, BUSWAY_DIR=folder)

        def start(*words: object) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "benchmarks.mesh", "--role", *map(str, words)]
            one = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            stack.callback(one.wait, 30)
            stack.callback(one.kill)
            return one

        def line(one: subprocess.Popen[str]) -> str:
            assert one.stdout is not None
            return one.stdout.readline().strip()

        kind = "rounds" if rounds else "way"
        last = start("sink", kind, count)
        url = line(last)
        if bridged:
            url = line(start("bridge", url))
        first = start("source", kind, url, count, size)
        return float(line(first if rounds else last))


def play(role: str, *words: str) -> None:
    if role == "bridge":
        asyncio.run(bridge(words[0]))
    elif role == "sink":
        asyncio.run(sink(words[0] == "rounds", int(words[1])))
    else:
        asyncio.run(source(words[0] == "rounds", words[1], int(words[2]), int(words[3])))


def compare(title: str, through: bool, count: int, size: int, rounds: int) -> None:
    direct, bridged = [], []
    for _ in range(rounds):
        direct.append(run_once(False, through, count, size) / count)
        bridged.append(run_once(True, through, count, size) / count)
    ratios = [one / two for one, two in zip(direct, bridged, strict=True)]
    near, far = statistics.median(direct), statistics.median(bridged)
    if through:
        figures = f"{near * 1e6:>11.1f} us {far * 1e6:>11.1f} us"
    else:
        figures = f"{1 / near:>12,.0f}/s {1 / far:>12,.0f}/s"
    print(
        f"{title:<22} {figures}   {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
        flush=True,
    )


# A board on a slow line --------------------


class Line(Timed):
    """A chain of nodes whose first link is the slow one."""

    def __init__(self) -> None:
        super().__init__(random.Random(1))
        self.calm = True

    def add(self, number: int, leaf: bool = False) -> Node:
        node = Node(
            number.to_bytes(16, "big"), leaf=leaf, entropy=Entropy(number), transit=None if leaf else True
        )
        self.nodes.append(node)
        return node

    def join(self, one: Node, other: Node, slow: bool = False) -> Cable:
        cost = 512 if slow else 16
        cable = self.link(
            one, other, realm=codes.LOCALNET, via=f"{len(self.cables)}", cost=cost, lookups=slow, medium="tcp"
        )
        for end in cable.ends:
            self.wires[end] = Wire(SLOW if slow else FAST, self.random)
        return cable


def moved(cable: Cable) -> int:
    """Bytes that both ends have written."""
    return sum(end.connection.bytes_out for end in cable.ends)


def hello_size(cable: Cable) -> int:
    sizes = [len(end.connection._my_hello) for end in cable.ends]
    return sum(size + len(varint(size)) for size in sizes)


def slow_line() -> None:
    for endpoints in (0, 1, 4):
        net = Line()
        leaf, router = net.add(1, leaf=True), net.add(2)
        for number in range(endpoints):
            leaf.register(bytes([number]) * 16, codes.ANYCAST)
        cable = net.join(leaf, router, slow=True)
        start = net.now
        net.pump()
        rest = moved(cable) - hello_size(cable)
        print(
            f"a leaf with {endpoints} endpoints joins: {rest} bytes both ways besides the {hello_size(cable)}"
            f" of both HELLOs, {net.now - start} ms"
        )
    net = Line()
    leaf, routers = net.add(1, leaf=True), [net.add(number) for number in (2, 3, 4)]
    cable = net.join(leaf, routers[0], slow=True)
    for one, other in pairwise(routers):
        net.join(one, other)
    target = bytes([9]) * 16
    receiver = routers[2].register(target, codes.ANYCAST)
    net.pump()
    net.advance(3000)
    report_call(net, leaf, cable, routers[2], receiver, target, "first")
    report_call(net, leaf, cable, routers[2], receiver, target, "second")
    two = Line()
    near, far = two.add(1), two.add(2)
    cable = two.join(near, far, slow=True)
    two.pump()
    before = moved(cable)
    beyond = two.join(far, two.add(3))
    two.pump()
    print(f"a router behind the slow line hears of a new node: {moved(cable) - before} bytes both ways")
    before = moved(cable)
    beyond.ends[0].connection.set_cost(64, two.now)
    two.pump()
    print(f"... and of its new cost: {moved(cable) - before} bytes both ways")


def report_call(
    net: Line, leaf: Node, cable: Cable, server: Node, receiver: object, target: bytes, which: str
) -> None:
    before, start = moved(cable), net.now
    token = leaf.request(target, bytes(16), net.now)
    net.pump()
    [request] = net.drain(server, receiver)  # type: ignore[arg-type]
    server.respond(request, bytes(16), net.now)
    net.pump()
    [outcome] = net.outcomes(leaf, token)
    assert outcome.payload == bytes(16), outcome
    print(
        f"... its {which} call of an endpoint three hops away, 16 bytes each way:"
        f" {moved(cable) - before} bytes, {net.now - start} ms"
    )


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turn (default 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the message counts")
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        play(*options.role)
        return
    slow_line()
    print(f"\n{'':<22} {'direct':>14} {'one bridge':>14}   of the direct speed: median (min-max)")
    for size, count in ONE_WAY:
        compare(f"one way, {size} B", False, int(count * options.scale), size, options.rounds)
    size, count = ROUND_TRIP
    compare(f"round trip, {size} B", True, int(count * options.scale), size, options.rounds)


if __name__ == "__main__":
    main()
