"""WebSocket links beside TCP links and PyPI's websockets, in one run; then many clients of one node.

Pairs run in two processes: round trips of 16 bytes, then messages of several sizes one way until all have
arrived. The crowd: processes with many leaves each connect to one node, which publishes to all of them.

Usage: python -m benchmarks.websocket [--scale FACTOR] [--clients N]
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import busway

ROUND_TRIPS = 3_000
SIZES = ((64, 40_000), (1_024, 30_000), (65_536, 2_000))
CLIENTS = 1_000
CLIENTS_EACH = 250  # in one process
JOINING = 12  # of these at once: of one address a listener lets 64 wait
PUBLISHED = 100
ECHO, SINK, DONE, FEED = "bench/echo", "bench/sink", "bench/done", "bench/feed"
TIMEOUT_S = 300


def say(word: object) -> None:
    print(word, flush=True)


async def heard() -> str:
    return (await asyncio.to_thread(sys.stdin.readline)).strip()


def memory_kib() -> int:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


# ---- a pair of busway nodes


async def busway_server(scheme: str) -> None:
    async with busway.AsyncBus(ipc=False) as bus:
        bus.serve(ECHO, lambda request: request.payload, realm="global")
        sink = bus.register(SINK, realm="global")
        count = 0
        came = asyncio.Event()

        async def count_up() -> None:
            nonlocal count
            async for _ in sink:
                count += 1
                came.set()

        async def until(request: busway.Request) -> int:
            while count < request.payload:
                came.clear()
                await came.wait()
            return count

        bus.serve(DONE, until, realm="global")
        counting = asyncio.create_task(count_up())
        say((await bus.listen(f"{scheme}://127.0.0.1:0")).url)
        await heard()
        counting.cancel()


async def busway_client(url: str, scale: float) -> None:
    async with busway.AsyncBus(ipc=False) as bus:
        await bus.connect(url)

        async def ask() -> object:
            return await bus.request(ECHO, b"x" * 16)

        await report_round_trips(ask, scale)
        total = 0
        for size, count in SIZES:
            count = max(10, int(count * scale))
            payload = bytes(size)
            start = time.perf_counter()
            for _ in range(count):
                await bus.send(SINK, payload)
            total += count
            await bus.request(DONE, total, timeout=TIMEOUT_S)
            report_rate(size, count, time.perf_counter() - start)


# ---- the same with websockets alone: no bus, one WebSocket message for each


async def websockets_server() -> None:
    from websockets.asyncio.server import ServerConnection, serve

    async def handle(connection: ServerConnection) -> None:
        async for message in connection:
            if message[:1] != b"s":
                await connection.send(message)

    async with serve(handle, "127.0.0.1", 0, compression=None, max_size=None) as server:
        say(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await heard()


async def websockets_client(url: str, scale: float) -> None:
    from websockets.asyncio.client import connect

    async with connect(url, compression=None, max_size=None) as client:

        async def ask() -> object:
            await client.send(b"x" * 16)
            return await client.recv()

        await report_round_trips(ask, scale)
        for size, count in SIZES:
            count = max(10, int(count * scale))
            payload = b"s" * size
            start = time.perf_counter()
            for _ in range(count):
                await client.send(payload)
            await ask()
            report_rate(size, count, time.perf_counter() - start)


async def report_round_trips(ask: Callable[[], Awaitable[object]], scale: float) -> None:
    for _ in range(100):
        await ask()
    taken = []
    for _ in range(max(10, int(ROUND_TRIPS * scale))):
        start = time.perf_counter()
        await ask()
        taken.append(time.perf_counter() - start)
    taken.sort()
    median, late = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
    say(f"round trip {median * 1e6:7.0f} µs, 99th percentile {late * 1e6:7.0f} µs")


def report_rate(size: int, count: int, seconds: float) -> None:
    say(f"{size:6} bytes {count / seconds:9,.0f}/s {count * size / seconds / 1e6:8.1f} MB/s")


# ---- many clients of one node


async def crowd_server(clients: int) -> None:
    async with busway.AsyncBus(ipc=False) as bus:
        ready = asyncio.Event()
        here: set[bytes] = set()

        async def arrive(request: busway.Request) -> None:
            here.add(request.source)
            if len(here) == clients:
                ready.set()

        bus.serve("bench/arrive", arrive, realm="global")
        bus.register(FEED, kind="broadcast", realm="global")
        before_kib, start = memory_kib(), time.perf_counter()
        say((await bus.listen("ws://127.0.0.1:0")).url)
        await ready.wait()
        seconds = time.perf_counter() - start
        each_kib = (memory_kib() - before_kib) / clients
        say(f"{clients} clients: joined in {seconds:.1f} s, {each_kib:.0f} KiB of memory for each")
        for number in range(PUBLISHED):
            await bus.publish(FEED, b"%d" % number, realm="global")
            await asyncio.sleep(0)
        await heard()


async def crowd_clients(url: str, number: int) -> None:
    """Says "ready", then when the first and the last copy came, and how many."""
    came: list[float] = []
    joining = asyncio.Semaphore(JOINING)

    async def one() -> None:
        async with busway.AsyncBus(ipc=False, leaf=True) as bus:
            feed = bus.subscribe(FEED, realm="global")
            async with joining:
                await bus.connect(url, wait=TIMEOUT_S)
            await bus.request("bench/arrive", None, ttl=30, timeout=TIMEOUT_S)
            while True:
                message = await feed.receive(timeout=TIMEOUT_S)
                came.append(time.monotonic())
                if message.payload == b"%d" % (PUBLISHED - 1):
                    return

    await asyncio.gather(*(one() for _ in range(number)))
    say(f"{min(came)} {max(came)} {len(came)}")


# ---- running them


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.websocket", *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise RuntimeError(f"a part of the benchmark ended early with status {process.wait()}")
    return line


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=TIMEOUT_S)


def run_pair(kind: str, scheme: str, scale: float) -> None:
    print(f"{'busway over ' + scheme if kind == 'busway' else 'websockets alone, no bus'}:")
    server = start(f"{kind}-server", scheme)
    client = start(f"{kind}-client", line_of(server), scale)
    for _ in range(1 + len(SIZES)):
        print("   ", line_of(client), flush=True)
    end(client)
    end(server)


def run_crowd(clients: int) -> None:
    server = start("crowd-server", clients)
    url = line_of(server)
    counts = [min(CLIENTS_EACH, clients - begun) for begun in range(0, clients, CLIENTS_EACH)]
    processes = [start("crowd-clients", url, count) for count in counts]
    print(line_of(server), flush=True)
    found = [line_of(process).split() for process in processes]
    seconds = max(float(last) for _, last, _ in found) - min(float(first) for first, _, _ in found)
    copies = sum(int(count) for _, _, count in found)
    rate = f"{copies / seconds:,.0f} copies/s"
    print(f"    {PUBLISHED} messages to all: {copies:,} of {PUBLISHED * clients:,} copies came, {rate}")
    for process in [*processes, server]:
        end(process)


PARTS: dict[str, Callable[[list[str]], Awaitable[None]]] = {
    "busway-server": lambda words: busway_server(words[0]),
    "busway-client": lambda words: busway_client(words[0], float(words[1])),
    "websockets-server": lambda words: websockets_server(),
    "websockets-client": lambda words: websockets_client(words[0], float(words[1])),
    "crowd-server": lambda words: crowd_server(int(words[0])),
    "crowd-clients": lambda words: crowd_clients(words[0], int(words[1])),
}


async def part(name: str, words: list[str]) -> None:
    await PARTS[name](words)


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in PARTS:
        asyncio.run(part(sys.argv[1], sys.argv[2:]))
        return
    parser = argparse.ArgumentParser(description="WebSocket links beside TCP links and websockets.")
    parser.add_argument("--scale", type=float, default=1.0, help="of all counts; 0.1 for a quick look")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    given = parser.parse_args()
    for kind, scheme in (("busway", "tcp"), ("busway", "ws"), ("websockets", "ws")):
        run_pair(kind, scheme, given.scale)
    run_crowd(given.clients)


if __name__ == "__main__":
    main()
