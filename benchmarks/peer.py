"""One process of a benchmark: `python -m benchmarks.peer ROLE PLACE COUNT SIZE`.

Roles come in pairs, the first of which prints seconds. busway-sink and busway-source: one-way messages;
busway-client and busway-server: round trips; likewise for zmq (its blocking API).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import busway

NAME = "bench/endpoint"


async def busway_sink(place: str, count: int, size: int) -> float:
    async with busway.AsyncBus(place) as bus:
        receiver = bus.register(NAME)
        print("ready", flush=True)
        await receiver.receive()
        start = time.perf_counter()
        for _ in range(count - 1):
            await receiver.receive()
        return time.perf_counter() - start


async def busway_source(place: str, count: int, size: int) -> float:
    payload = bytes(size)
    async with busway.AsyncBus(place) as bus:
        await bus.send(NAME, payload, ttl=5)
        for _ in range(count - 1):
            await bus.send(NAME, payload)
        await bus.close(30)
    return 0.0


async def busway_client(place: str, count: int, size: int) -> float:
    payload = bytes(size)
    async with busway.AsyncBus(place) as bus:
        print("ready", flush=True)
        for _ in range(100):
            await bus.request(NAME, payload, ttl=5)
        start = time.perf_counter()
        for _ in range(count):
            await bus.request(NAME, payload)
        return time.perf_counter() - start


async def busway_server(place: str, count: int, size: int) -> float:
    async with busway.AsyncBus(place) as bus:
        left = asyncio.Event()

        async def answer(request: busway.Request) -> object:
            return request.payload

        bus.serve(NAME, answer)
        async for change in bus.changes():
            if change.what == "node-down":
                left.set()
                break
    return 0.0


def zmq_sink(place: str, count: int, size: int) -> float:
    import zmq

    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.bind(f"ipc://{place}")
        print("ready", flush=True)
        socket.recv()
        start = time.perf_counter()
        for _ in range(count - 1):
            socket.recv()
        return time.perf_counter() - start


def zmq_source(place: str, count: int, size: int) -> float:
    import zmq

    payload = bytes(size)
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.connect(f"ipc://{place}")
        for _ in range(count):
            socket.send(payload)
        # Until the sink has all: one that reads slowly would lose what a closed connection still holds.
        sys.stdin.read()
    return 0.0


def zmq_client(place: str, count: int, size: int) -> float:
    import zmq

    payload = bytes(size)
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.bind(f"ipc://{place}")
        print("ready", flush=True)
        for step in range(count + 100):
            if step == 100:
                start = time.perf_counter()
            socket.send(payload)
            socket.recv()
        return time.perf_counter() - start


def zmq_server(place: str, count: int, size: int) -> float:
    import zmq

    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        socket.connect(f"ipc://{place}")
        for _ in range(count + 100):
            socket.send(socket.recv())
    return 0.0


ASYNC = {
    "busway-sink": busway_sink,
    "busway-source": busway_source,
    "busway-client": busway_client,
    "busway-server": busway_server,
}
BLOCKING: dict[str, Callable[[str, int, int], float]] = {
    "zmq-sink": zmq_sink,
    "zmq-source": zmq_source,
    "zmq-client": zmq_client,
    "zmq-server": zmq_server,
}


def main() -> None:
    role, place, count, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if role in ASYNC:
        seconds = asyncio.run(ASYNC[role](place, count, size))
    else:
        seconds = BLOCKING[role](place, count, size)
    print(seconds, flush=True)


if __name__ == "__main__":
    main()
