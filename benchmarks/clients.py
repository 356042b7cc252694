"""A server with many named clients: what each costs, and how much passes, by `listen` and by ASGI.

    python -m benchmarks.clients [--clients 200] [--rounds 5] [--roads plain,listen,websockets-sansio,wsproto]

Each road is a server in a process of its own, with its clients in two others: "plain" is `listen` as ever,
"listen" the same with named clients, the others are `busway.asgi` in a Starlette application under uvicorn,
with that implementation of WebSocket. All are there at the same time and have their turns one after the
other, round by round. Shown are medians, and how many times as much as by "listen": a client's memory at the
server, messages a second from all clients, copies a second of what is published to all, and the round trip of
a request of one of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import busway
from busway import AsyncBus

_PROCESSES = 2
_AT_ONCE = 24  # that connect: of one address 64 may be waiting
_WAIT_S = 120.0
_SIZE = 16
_ROADS = ("plain", "listen", "websockets-sansio", "wsproto")


def rss() -> int:
    """Resident memory of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def commands() -> Any:
    """The words of each line of stdin."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        yield line.split()


def say(value: object) -> None:
    print(json.dumps(value), flush=True)


# The server


async def serve(road: str, clients: int) -> None:
    async with AsyncBus(ipc=False, label="server") as bus:
        bus.serve("b/echo", lambda request: request.payload, realm="global", limit=1024)
        sink = bus.register("b/sink", realm="global", queue=65536)
        if road in ("plain", "listen"):
            options = {} if road == "plain" else {"max_connections": clients, "admit": lambda client: None}
            url = (await bus.listen("ws://127.0.0.1:0", **options)).url
        else:
            url = await _uvicorn(bus, road, clients)
        say(url)
        async for words in commands():
            if words[0] == "rss":
                say(rss())
            elif words[0] == "take":
                await _receive(sink, int(words[1]))
                say(True)
            elif words[0] == "publish":
                for number in range(int(words[1])):
                    await bus.publish("b/all", number.to_bytes(_SIZE, "big"), realm="global")
                say(True)


async def _uvicorn(bus: AsyncBus, ws: str, clients: int) -> str:
    import uvicorn
    from starlette.applications import Starlette

    app = Starlette()
    app.mount("/bus", busway.asgi(bus, max_connections=clients, admit=lambda client: None))
    config = uvicorn.Config(app, port=0, ws=ws, log_level="error", lifespan="off")  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    asyncio.get_running_loop().create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it has no event for that
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    return f"ws://127.0.0.1:{port}/bus/"


# The clients


async def run_clients(url: str, first: int, count: int) -> None:
    buses = [AsyncBus(ipc=False, leaf=True, label=f"client-{first + number}") for number in range(count)]
    turn = asyncio.Semaphore(_AT_ONCE)
    receivers = []

    async def join(bus: AsyncBus) -> None:
        async with turn:
            await bus.open()
            receivers.append(bus.subscribe("b/all", realm="global", queue=65536))
            await bus.connect(url, wait=_WAIT_S)
            await bus.send("b/sink", b"", ttl=_WAIT_S)

    async with asyncio.TaskGroup() as group:
        for bus in buses:
            group.create_task(join(bus))
    say(True)
    async for words in commands():
        number = int(words[1])
        if words[0] == "send":
            await asyncio.gather(*(bus.send_many("b/sink", [bytes(_SIZE)] * number) for bus in buses))
        elif words[0] == "receive":
            await asyncio.gather(*(_receive(receiver, number) for receiver in receivers))
        elif words[0] == "ask":
            began = time.perf_counter()
            for _ in range(number):
                await buses[0].request("b/echo", bytes(_SIZE))
            say((time.perf_counter() - began) / number * 1e6)
            continue
        say(True)


async def _receive(receiver: Any, number: int) -> None:
    while number > 0:
        number -= len(await receiver.receive_many(timeout=_WAIT_S))


# Both


class Program:
    """One of the processes."""

    started: list[Program] = []  # noqa: RUF012 - all of them, to be ended

    def __init__(self, *words: object) -> None:
        command = [sys.executable, "-m", "benchmarks.clients", *map(str, words)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.started.append(self)

    def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)

    def said(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, *words: object) -> Any:
        self.tell(*words)
        return self.said()


class Road:
    """A server with its clients."""

    def __init__(self, name: str, clients: int) -> None:
        self.name = name
        self.clients = clients
        self.server = Program("--serve", name, "--clients", clients)
        url = self.server.said()
        before = self.server.ask("rss")
        each = clients // _PROCESSES
        began = time.perf_counter()
        self.programs = [
            Program("--join", url, "--first", number * each, "--clients", each)
            for number in range(_PROCESSES)
        ]
        for program in self.programs:
            program.said()
        self.server.ask("take", clients)
        self.joined_s = time.perf_counter() - began
        self.memory = (self.server.ask("rss") - before) / clients / 1024

    def all(self, *words: object) -> None:
        for program in self.programs:
            program.tell(*words)

    def send(self, number: int) -> float:
        """Messages a second from all clients, until the server has taken them."""
        began = time.perf_counter()
        self.all("send", number)
        self.server.ask("take", number * self.clients)
        took = time.perf_counter() - began
        for program in self.programs:
            program.said()
        return number * self.clients / took

    def publish(self, number: int) -> float:
        """Copies a second, until each client has had its."""
        self.all("receive", number)
        began = time.perf_counter()
        self.server.tell("publish", number)
        for program in self.programs:
            program.said()
        took = time.perf_counter() - began
        self.server.said()
        return number * self.clients / took

    def trip(self, number: int) -> float:
        """Microseconds of a request and its reply."""
        found: float = self.programs[0].ask("ask", number)
        return found


def measure(roads: list[str], clients: int, rounds: int, number: int) -> None:
    try:
        running = [Road(name, clients) for name in roads]
        found: dict[str, dict[str, list[float]]] = {
            road.name: {"messages/s": [], "copies/s": [], "round trip, us": []} for road in running
        }
        for _ in range(rounds):
            for road in running:
                rows = found[road.name]
                rows["messages/s"].append(road.send(number))
                rows["copies/s"].append(road.publish(number))
                rows["round trip, us"].append(road.trip(20 * number))
        show(running, found)
    finally:
        for program in reversed(Program.started):  # the clients first
            program.process.kill()
            program.process.communicate()


def show(running: list[Road], found: dict[str, dict[str, list[float]]]) -> None:
    base = found.get("listen", next(iter(found.values())))
    for road in running:
        joined = f"{road.clients} clients, joined in {road.joined_s:.1f} s"
        print(f"{road.name}: {joined}, {road.memory:.1f} KiB each")
        for title, values in found[road.name].items():
            ratios = [value / other for value, other in zip(values, base[title], strict=True)]
            middle = statistics.median(values)
            print(f"  {title:15} {middle:12,.0f}  {statistics.median(ratios):.2f} times listen's")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=20, help="of each client in a round")
    parser.add_argument("--roads", default=",".join(_ROADS))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--join", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve, given.clients))
    elif given.join:
        asyncio.run(run_clients(given.join, given.first, given.clients))
    else:
        measure(given.roads.split(","), given.clients, given.rounds, given.messages)


if __name__ == "__main__":
    main()
