"""The store beside JetStream alone and Redis streams: confirmed messages a second, and how long one takes.

Usage: python -m benchmarks.store [--rounds N] [--count N] [--json FILE]

A sender and a receiver, each a process of its own, and what keeps the messages between them as a third;
rounds of all systems follow each other in turn, and the medians are shown. Each system flushes to the disk
before it confirms: SQLite with synchronous=FULL, JetStream with sync_interval: always, Redis with appendfsync
always and an append-only file. Messages have 128 bytes.

- together: 256 messages are on their way at the same time; "kept" counts until the last was confirmed,
  "taken" until the receiver has acknowledged the last, with the receiver there all the time.
- alone: the next is sent when the one before was confirmed.

The receiver of JetStream pulls by a durable consumer and acknowledges each; that of Redis reads as a group
and acknowledges by batches; that of the store takes each once, with its ids in memory or in a file (flushed
as well).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import busway
from tests.rigs.nats_servers import free_ports, server_program

WINDOW = 256
PAYLOAD = bytes(128)
NAME = "bench/mail"


class Busway:
    """Args: `place` is the folder of a round's receivers; `memory`: on the disk."""

    memory = False

    def __init__(self, place: str) -> None:
        self.place = place
        self.bus = busway.AsyncBus(label="bench")
        self.mail: Any = None

    async def open(self, receives: bool) -> None:
        await self.bus.open()
        if receives:
            self.mail = self.bus.register(NAME, once=f"{self.place}/taken.db" if self.memory else True)
            while not self.mail.store:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        else:
            await self.bus.send("bench/first", b"", store=True)

    async def send(self) -> None:
        await self.bus.send(NAME, PAYLOAD, store=True)

    async def send_many(self, count: int) -> None:
        await asyncio.gather(*(self.send() for _ in range(count)))

    async def take(self, count: int) -> None:
        while count:
            batch = await self.mail.receive_many(min(WINDOW, count))
            count -= len(batch)
        self.mail._intake.next()
        while self.mail._intake.report().done:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class BuswayOnDisk(Busway):
    """The same, with ids in a file."""

    memory = True


class JetStream:
    """Plain nats-py."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.js: Any = None
        self.consumer: Any = None

    async def open(self, receives: bool) -> None:
        import nats

        self.js = (await nats.connect(self.place)).jetstream()
        with contextlib.suppress(Exception):
            await self.js.add_stream(name="bench", subjects=["bench.mail"])
        if receives:
            self.consumer = await self.js.pull_subscribe("bench.mail", "taker")

    async def send(self) -> None:
        await self.js.publish("bench.mail", PAYLOAD)

    async def send_many(self, count: int) -> None:
        await asyncio.gather(*(self.send() for _ in range(count)))

    async def take(self, count: int) -> None:
        while count:
            batch = await self.consumer.fetch(min(WINDOW, count), timeout=30)
            await asyncio.gather(*(message.ack_sync() for message in batch))
            count -= len(batch)


class Redis:
    """redis-py."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.client: Any = None

    async def open(self, receives: bool) -> None:
        from redis import asyncio as redis

        self.client = redis.Redis(port=int(self.place))
        if receives:
            with contextlib.suppress(Exception):
                await self.client.xgroup_create("bench", "taker", mkstream=True)

    async def send(self) -> None:
        await self.client.xadd("bench", {"p": PAYLOAD})

    async def send_many(self, count: int) -> None:
        async with self.client.pipeline(transaction=False) as pipe:
            for _ in range(count):
                pipe.xadd("bench", {"p": PAYLOAD})
            await pipe.execute()

    async def take(self, count: int) -> None:
        while count:
            found = await self.client.xreadgroup(
                "taker", "one", {"bench": ">"}, count=min(WINDOW, count), block=30_000
            )
            ids = [ident for ident, _ in found[0][1]]
            await self.client.xack("bench", "taker", *ids)
            count -= len(ids)


SYSTEMS: dict[str, Any] = {
    "busway": Busway,
    "busway, ids on disk": BuswayOnDisk,
    "JetStream": JetStream,
    "Redis streams": Redis,
}


# ---- the processes


async def role(which: str, system: str, place: str) -> None:
    """Do as the lines of the standard input say, and tell when it is done."""
    made = SYSTEMS[system](place)
    await made.open(which == "receiver")
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        word, count = line[0], int(line[1])
        if word == "take":
            await made.take(count)
        elif word == "alone":
            for _ in range(count):
                await made.send()
        else:
            for first in range(0, count, WINDOW):
                await made.send_many(min(WINDOW, count - first))
        print("done", flush=True)


KEEPER = """
import asyncio, sys, busway
async def main():
    async with busway.AsyncBus(label="store") as bus, busway.Store(bus, sys.argv[1], keep=["bench/*"]):
        print("ready", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


class Worker:
    """A process that is told what to do."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.wait()

    def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)

    def wait(self) -> None:
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise RuntimeError("a worker has ended")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Bench:
    """One system: what keeps its messages, a sender and a receiver, which stay for all rounds."""

    def __init__(self, system: str, folder: Path, stack: contextlib.ExitStack) -> None:
        environment = {"BUSWAY_DIR": str(folder / "bus")}
        (folder / "bus").mkdir(parents=True, mode=0o700)
        place = str(folder)
        if system.startswith("busway"):
            keeper = Worker(["-c", KEEPER, str(folder / "store")], environment)
            stack.callback(keeper.end)
        elif system == "JetStream":
            place = stack.enter_context(nats_server(folder))
        else:
            place = stack.enter_context(redis_server(folder))
        words = ["-m", "benchmarks.store", "--role"]
        self.receiver = Worker([*words, "receiver", system, place], environment)
        stack.callback(self.receiver.end)
        self.sender = Worker([*words, "sender", system, place], environment)
        stack.callback(self.sender.end)

    def together(self, count: int) -> tuple[float, float]:
        """Messages a second: kept, and taken."""
        self.receiver.tell("take", count)
        began = time.monotonic()
        self.sender.tell("together", count)
        self.sender.wait()
        kept = time.monotonic() - began
        self.receiver.wait()
        return count / kept, count / (time.monotonic() - began)

    def alone(self, count: int) -> float:
        """Milliseconds of one."""
        self.receiver.tell("take", count)
        began = time.monotonic()
        self.sender.tell("alone", count)
        self.sender.wait()
        took = (time.monotonic() - began) / count * 1000
        self.receiver.wait()
        return took


@contextlib.contextmanager
def nats_server(folder: Path) -> Iterator[str]:
    port = free_ports(1)[0]
    config = folder / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}/js", sync_interval: always }}\n'
    )
    process = subprocess.Popen([server_program(), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.0)
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    port = free_ports(1)[0]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    options += ["--appendonly", "yes", "--appendfsync", "always"]
    process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        time.sleep(1.0)
        yield str(port)
    finally:
        process.kill()
        process.wait()


def there(system: str) -> bool:
    """Whether what it needs is installed."""
    if system == "JetStream":
        return bool(server_program())
    return system != "Redis streams" or shutil.which("redis-server") is not None


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.store", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=4096)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--role", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        asyncio.run(role(*options.role))
        return
    systems = [system for system in SYSTEMS if there(system)]
    kept: dict[str, list[float]] = {system: [] for system in systems}
    taken: dict[str, list[float]] = {system: [] for system in systems}
    alone: dict[str, list[float]] = {system: [] for system in systems}
    with tempfile.TemporaryDirectory(prefix="bw-") as place, contextlib.ExitStack() as stack:
        benches = {
            system: Bench(system, Path(place) / str(number), stack) for number, system in enumerate(systems)
        }
        for bench in benches.values():
            bench.together(WINDOW)
        for _ in range(options.rounds):
            for system, bench in benches.items():
                rates = bench.together(options.count)
                kept[system].append(rates[0])
                taken[system].append(rates[1])
                alone[system].append(bench.alone(100))
    print(f"{'':22}{'kept/s':>10}{'taken/s':>10}{'alone ms':>10}")
    rows = {}
    for system in systems:
        figures = [statistics.median(each[system]) for each in (kept, taken, alone)]
        rows[system] = dict(zip(("kept", "taken", "alone_ms"), figures, strict=True))
        print(f"{system:22}{figures[0]:>10,.0f}{figures[1]:>10,.0f}{figures[2]:>10.2f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
