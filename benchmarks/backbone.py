"""Sites on a NATS backbone beside plain nats-py, in one run; a cluster whose servers are killed under load; a
hundred gateways on one server; and how it grows, by a simulation.

Usage: python -m benchmarks.backbone [--speed] [--failover] [--hundred] [--grow] [--rounds N] [--seconds S]

Without a choice all four. Servers and programs are processes of this machine, on the loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import nats

import busway
from busway.backbone import subjects
from busway.backbone.gateway import LINKS_MAX
from busway.names import endpoint_id
from tests.backbone_soak import failover
from tests.rigs import nats_servers

READY_S = 60
ROUND_TRIPS = 500
ONE_WAY = ((16, 20_000), (1024, 5_000))  # payload bytes, messages
TOKEN = "bench-h4k9w2x7q5m8z3t6r1v0"
OPTIONS: dict[str, Any] = {"ttl": 60.0, "timeout": 90.0}

# Programs. Each reads commands line by line, and answers each with one line.


async def commands() -> AsyncIterator[list[str]]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().split()


def say(*words: object) -> None:
    print(*words, flush=True)


async def plain(url: str, role: str) -> None:
    """One of two programs that use nats-py and nothing else."""
    client = await nats.connect(url)
    counted = asyncio.Event()
    left = 0

    async def answer(message: Any) -> None:
        await message.respond(message.data)

    async def count(message: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            counted.set()

    if role == "far":
        await client.subscribe("bench.echo", cb=answer)
        await client.subscribe("bench.count", cb=count, pending_msgs_limit=0, pending_bytes_limit=0)
        await client.flush()
        await client.flush()  # its first PING may be before what is to be written
    say("ready")
    async for words in commands():
        if words[0] == "rounds":
            start = time.perf_counter()
            for _ in range(int(words[1])):
                await client.request("bench.echo", b"0123456789abcdef", timeout=60)
            say(time.perf_counter() - start)
        elif words[0] == "send":
            payload = bytes(int(words[1]))
            for _ in range(int(words[2])):
                await client.publish("bench.count", payload)
            await client.flush(60)
            say("sent")
        elif words[0] == "expect":
            left = int(words[1])
            counted.clear()
            say("expects")
            await counted.wait()
            say("counted")
    await client.close()


async def program(url: str, role: str, gate: str) -> None:
    """One of two programs that use Busway: gateways themselves, or behind one that listens (`gate`). Both
    pairs have the same names, each on a bus of its own.
    """
    async with busway.AsyncBus("behind" if gate else "direct", ipc=False) as bus:
        if gate:
            await bus.connect(gate, token=TOKEN)
        else:
            await bus.connect(url, token=TOKEN)
        receiver = None
        if role == "far":
            bus.serve("bench/echo", lambda request: request.payload, realm="global")
            receiver = bus.register("bench/count", realm="global", queue=4096)
        else:
            await bus.request("bench/echo", b"x", **OPTIONS)
        say("ready")
        async for words in commands():
            if words[0] == "rounds":
                start = time.perf_counter()
                for _ in range(int(words[1])):
                    await bus.request("bench/echo", b"0123456789abcdef")
                say(time.perf_counter() - start)
            elif words[0] == "send":
                payload = bytes(int(words[1]))
                for _ in range(int(words[2])):
                    await bus.send("bench/count", payload)
                say("sent")
            elif words[0] == "expect":
                say("expects")
                assert receiver is not None
                for _ in range(int(words[1])):
                    await receiver.receive()
                say("counted")


async def gateway(url: str) -> None:
    """A gateway of its own, for a program behind it."""
    async with busway.AsyncBus("behind", ipc=False, transit=True) as bus:
        await bus.connect(url, token=TOKEN)
        listener = await bus.listen("tcp://127.0.0.1:0", token=TOKEN)
        say(listener.url)
        await asyncio.Event().wait()


class Child:
    """A process of this module."""

    def __init__(self, stack: ExitStack, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.backbone", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        stack.callback(self._end)

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            raise SystemExit("a program of the benchmark has ended")
        return line


Pair = tuple[Child, Child]


def pairs(stack: ExitStack, url: str) -> dict[str, Pair]:
    """All pairs of programs that are compared, ready."""

    def ready(*words: str) -> Child:
        child = Child(stack, "--run", *words)
        assert child.line() == "ready"
        return child

    plain = ready("plain", url, "far"), ready("plain", url, "near")
    programs = ready("program", url, "far", ""), ready("program", url, "near", "")
    there, here = [Child(stack, "--run", "gateway", url).line() for _ in range(2)]
    behind = ready("program-behind", url, "far", there), ready("program-behind", url, "near", here)
    return {"plain nats-py": plain, "two gateways": programs, "programs behind two gateways": behind}


def speed(rounds: int) -> None:
    """Round trips and one way, in turn."""
    times: dict[tuple[str, str], list[float]] = {}
    with nats_servers.one() as server, ExitStack() as stack:
        compared = pairs(stack, server.url)
        for number in range(rounds + 1):  # the first warms up
            for name, (far, near) in compared.items():
                near.ask("rounds", ROUND_TRIPS)
                took = {"round trip, µs": float(near.line()) / ROUND_TRIPS * 1e6}
                for size, count in ONE_WAY:
                    took[f"one way, {size} B, messages/s"] = count / _one_way(far, near, size, count)
                for what, value in took.items() if number else ():
                    times.setdefault((what, name), []).append(value)
    what_all = dict.fromkeys(what for what, _ in times)
    print(f"\nMedians of {rounds} interleaved rounds; core {_core()}\n")
    print("| | " + " | ".join(compared) + " |\n|---|" + "---|" * len(compared))
    for what in what_all:
        base = statistics.median(times[what, "plain nats-py"])
        cells = []
        for name in compared:
            median = statistics.median(times[what, name])
            ratio = median / base if "µs" in what else base / median
            cells.append(f"{median:,.0f} ({ratio:.2f})")
        print(f"| {what} | " + " | ".join(cells) + " |")
    print("\nIn brackets: how many times as long as plain nats-py.")


def _one_way(far: Child, near: Child, size: int, count: int) -> float:
    far.ask("expect", count)
    assert far.line() == "expects"
    start = time.perf_counter()
    near.ask("send", size, count)
    assert near.line() == "sent"
    assert far.line() == "counted"
    return time.perf_counter() - start


def _core() -> str:
    from busway.protocol import node

    return "compiled" if not str(node.__file__).endswith(".py") else "not compiled"


# A hundred gateways


async def many(url: str, first: int, count: int, all_of_them: int) -> None:
    """Some of the gateways, each with endpoints of its own."""
    rng = random.Random(first)
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for number in range(first, first + count):
            bus = await stack.enter_async_context(busway.AsyncBus("many", ipc=False, label=f"gate {number}"))
            for each in range(10):
                bus.serve(f"site/{number}/{each}", lambda request: request.payload, realm="global")
            await bus.connect(url, token=TOKEN)
            made.append(bus)
        say("ready")
        async for words in commands():
            if words[0] == "ask":
                times: list[float] = []
                for bus in made:
                    for _ in range(int(words[1])):
                        name = f"site/{rng.randrange(all_of_them)}/{rng.randrange(10)}"
                        start = time.perf_counter()
                        await bus.request(name, b"x", **OPTIONS)
                        times.append(time.perf_counter() - start)
                links = [len(bus.links()) - 1 for bus in made]
                say(json.dumps({"times": times, "links": links, "rss": _rss()}))


def _rss() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def hundred(gateways: int = 100, processes: int = 4) -> None:
    """Each asks others at random for what they have."""
    monitor = nats_servers.free_ports(1)[0]
    with nats_servers.one(f'http: "127.0.0.1:{monitor}"') as server, ExitStack() as stack:
        each = gateways // processes
        children = [
            Child(stack, "--run", "many", server.url, str(number * each), str(each), str(gateways))
            for number in range(processes)
        ]
        for child in children:
            assert child.line() == "ready"
        first = _figures(monitor)
        results = []
        for child in children:  # one after the other: they share two processors
            child.ask("ask", 5)
            results.append(json.loads(child.line()))
        last = _figures(monitor)
        times = sorted(value for result in results for value in result["times"])
        links = [value for result in results for value in result["links"]]
        print(f"\n{gateways} gateways in {processes} processes on one nats-server; core {_core()}")
        print(f"subscriptions {first['subscriptions']}, of the server's memory {first['mem'] >> 20} MiB")
        print(f"after {len(times)} requests to endpoints of others, most of them new:")
        print(f"links of a gateway: mean {statistics.mean(links):.1f}, most {max(links)}")
        print(
            f"a request that had to find its way: median {times[len(times) // 2] * 1000:.1f} ms, "
            f"most {times[-1] * 1000:.0f} ms"
        )
        print(
            f"messages that NATS took for one: {(last['in_msgs'] - first['in_msgs']) / len(times):.1f}, "
            f"bytes {(last['in_bytes'] - first['in_bytes']) / len(times):,.0f}"
        )
        print(f"memory of a process of {each} gateways: {max(r['rss'] for r in results) >> 20} MiB")


def _figures(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/varz", timeout=READY_S) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


# How it grows: a simulation of what gateways keep and send

PROGRAMS = 200
ENDPOINTS = 2  # of each program that others may call
USES = 4  # endpoints of other sites that a program calls again and again
CALLS = 100  # of each program to them
_SILENT = 0.02  # of the calls are to names that nobody has
_CALL_EVERY_S = 60.0
SKEW = 1.1  # of how unevenly sites are called (Zipf)


class Site:
    """The memory of a gateway, as the model has it."""

    __slots__ = ("links", "silent")

    def __init__(self) -> None:
        self.links: OrderedDict[int, set[int]] = OrderedDict()  # by site: programs in touch, ours and theirs
        self.silent: dict[int, float] = {}


def grow(sizes: tuple[int, ...] = (10, 100, 1000, 10_000)) -> None:
    """Print a row for each number of sites. Up to 100 of the sites are followed call by call; the others are
    alike, and answer.
    """
    print(
        f"\n{PROGRAMS} programs at each site, with {ENDPOINTS} endpoints each; each program calls {USES}"
        f" endpoints of other sites {CALLS} times, sites as Zipf with {SKEW}, and in {_SILENT:.0%} names that"
        " nobody has\n"
    )
    print(
        "| sites | subscriptions of a gateway, of all | links of a gateway: mean, most |"
        " routes beyond: mean | questions for a call | a question reaches; would, if all gateways heard it |"
        " a mesh of all with all: links of a gateway, routes |"
    )
    print("|---|---|---|---|---|---|---|")
    for sites in sizes:
        print(_row(sites))


def _row(sites: int) -> str:
    rng = random.Random(1)
    weights = [1 / (rank + 1) ** SKEW for rank in range(sites)]
    order = list(range(sites))
    rng.shuffle(order)
    followed = min(sites, 100)
    asked = calls = 0
    links: list[int] = []
    routes: list[int] = []
    for number in rng.sample(range(sites), followed):
        site = Site()
        uses = [
            [(other, rng.randrange(PROGRAMS)) for other in rng.choices(order, weights, k=USES)]
            for _ in range(PROGRAMS)
        ]
        now = 0.0
        for _ in range(CALLS):
            for caller in range(PROGRAMS):
                now += _CALL_EVERY_S / PROGRAMS
                calls += 1
                asked += _call(site, number, rng.choice(uses[caller]), caller, rng, now)
        links.append(len(site.links))
        routes.append(sum(sum(1 for each in touched if each >= 0) for touched in site.links.values()))
    offered = PROGRAMS * (ENDPOINTS + 1) + 1
    return (
        f"| {sites:,} | {offered:,}, {offered * sites:,} | {statistics.mean(links):.0f}, {max(links)} | "
        f"{statistics.mean(routes):.0f} | {asked / calls:.4f} | 1, {sites - 1:,} | "
        f"{sites - 1:,}, {(sites - 1) * PROGRAMS:,} |"
    )


def _call(site: Site, number: int, whom: tuple[int, int], caller: int, rng: random.Random, now: float) -> int:
    """One call; how many questions it took."""
    if rng.random() < _SILENT:
        name = rng.randrange(50)
        if site.silent.get(name, 0.0) > now:
            return 0
        site.silent[name] = now + 10.0
        return 1
    other, target = whom
    if other == number:
        return 0
    questions = 0
    touched = site.links.get(other)
    if touched is None:
        if len(site.links) >= LINKS_MAX:
            site.links.popitem(last=False)
        touched = site.links[other] = set()
    site.links.move_to_end(other)
    if target not in touched:
        questions = 1
        touched.add(target)
    touched.add(-1 - caller)  # the other side knows the way to who calls
    return questions


NAMES = 20  # that each site publishes by


def grow_publishing(sizes: tuple[int, ...] = (10, 100, 1000, 10_000)) -> None:
    """Print a row for each number of sites: expected values, of all sites."""
    print(
        f"\n{NAMES} names that each site publishes by; each of its {PROGRAMS} programs has subscribed to"
        f" {USES} names of other sites, sites as Zipf with {SKEW}, names of a site alike\n"
    )
    print(
        "| sites | copies of a publish: median site, mean of all, most | sites of which a name has"
        " subscribers at more than 1,024 others | links of a gateway, to publish and to be published to:"
        " median, most |"
    )
    print("|---|---|---|---|")
    for sites in sizes:
        print(_publishing_row(sites))


def _publishing_row(sites: int) -> str:
    weights = [1 / (rank + 1) ** SKEW for rank in range(sites)]
    total = sum(weights)
    picks = PROGRAMS * USES
    copies = [(sites - 1) * (1 - (1 - weight / total / NAMES) ** picks) for weight in weights]
    heard = [1 - (1 - weight / total) ** picks for weight in weights]  # that one site hears another at all
    hears = sum(heard)
    links = [(sites - 1) * (each + (1 - each) * hears / sites) for each in heard]
    over = sum(count > LINKS_MAX for count in copies)
    return (
        f"| {sites:,} | {statistics.median(copies):,.1f}, {statistics.mean(copies):,.1f},"
        f" {max(copies):,.0f} | {over:,} | {statistics.median(links):,.0f}, {max(links):,.0f} |"
    )


def question_sizes() -> str:
    """Bytes of a question and an answer, as NATS carries them."""
    from busway.drivers.nats import token_of

    root = f"busway.{token_of(bytes(9))}."
    who = root + subjects.who(endpoint_id("plant/pump"))
    reply = f"{root}to.{token_of(bytes(16))}.=12345"
    asked = len(f"PUB {who} {reply} 16\r\n") + 16 + 2
    answer = len(f"PUB {reply} 32\r\n") + 32 + 2
    stream = f"{root}to.{token_of(bytes(16))}.{token_of(bytes(8))}"
    data = len(f"PUB {stream} {stream} 1000\r\n") + 9 + 2
    return f"A question takes {asked} bytes, an answer {answer}, a link's message {data} and what it carries."


# The command


def _run(words: list[str]) -> None:
    what, *rest = words
    if what == "plain":
        asyncio.run(plain(*rest))
    elif what == "gateway":
        asyncio.run(gateway(*rest))
    elif what == "many":
        asyncio.run(many(rest[0], *map(int, rest[1:])))
    else:
        asyncio.run(program(*rest))


def _print_failover(seconds: float, seed: int) -> Iterator[str]:
    outcomes, faults = asyncio.run(failover(seconds, seed))
    yield f"\nA cluster of three, servers killed with kill -9 for {seconds:g} s (seed {seed}):\n"
    for name, count in sorted(outcomes.items()):
        yield f"{name}: {count:,}"
    for name, count in faults.items():
        yield f"{name}: {count}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", nargs="+")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--failover", action="store_true")
    parser.add_argument("--hundred", action="store_true")
    parser.add_argument("--grow", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    if chosen.run:
        _run(chosen.run)
        return
    everything = not (chosen.speed or chosen.failover or chosen.hundred or chosen.grow)
    if chosen.grow or everything:
        grow()
        grow_publishing()
        print("\n" + question_sizes())
    if chosen.speed or everything:
        speed(chosen.rounds)
    if chosen.failover or everything:
        print("\n".join(_print_failover(chosen.seconds, chosen.seed)))
    if chosen.hundred or everything:
        hundred()


if __name__ == "__main__":
    main()
