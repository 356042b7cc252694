"""Protected links beside plain ones, in one run: in memory, the core alone, and over TCP on loopback between
buses of one process. `python -m benchmarks.protected [seconds]`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

from busway import AsyncBus
from busway.adapters import making
from busway.adapters.protecting import Guard, security_of
from busway.protocol import Link, Node, codes

E = b"an-endpoint-16-b"
SIZES = (32, 1024, 16384)
TURNS = 6  # both in turn, so that the machine's moods hit both


def joined(protected: bool) -> tuple[Node, Any, Any, Any]:
    """Two nodes in memory, and what moves the bytes between them; the receiver of E at the second."""
    security = security_of(Guard("a token of some length"), "tcp", True) if protected else None
    a, b = (Node(letter * 16, entropy=os.urandom) for letter in (b"a", b"b"))
    ends = [
        a.connection(Link(codes.LOCALNET, True, security=security), 0),
        b.connection(Link(codes.LOCALNET, security=security), 0),
    ]

    def move() -> None:
        moved = True
        while moved:
            moved = False
            for here, there in (ends, ends[::-1]):
                while data := here.data_to_send(65536, 0):
                    there.receive_data(data, 0)
                    moved = True

    receiver = b.register(E, codes.UNICAST, queue_max=65536, size_max=1 << 30)
    move()
    return a, b, receiver, move


def handshake_us(protected: bool, count: int = 100) -> float:
    start = time.perf_counter()
    for _ in range(count):
        joined(protected)
    return (time.perf_counter() - start) / count * 1e6


def core_us(made: Any, size: int, seconds: float) -> float:
    """Microseconds for a message, 16 under way at a time, both sides together."""
    a, b, receiver, move = made
    payload = bytes(size)
    count = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(16):
            a.send(E, payload, 0)
        move()
        while b.take(receiver, 0) is not None:
            count += 1
    return (time.perf_counter() - start) / count * 1e6


async def over_tcp(seconds: float) -> None:
    async with AsyncBus(ipc=False) as server, AsyncBus(ipc=False) as plain, AsyncBus(ipc=False) as ours:
        server.serve("echo", lambda request: request.payload)
        sink = server.register("sink", queue=4096)
        listener = await server.listen("tcp://127.0.0.1:0")
        real = making.security_of  # a dialler without cryptography says HELLO at once
        making.security_of = lambda guard, scheme, dialled: None if dialled else real(guard, scheme, dialled)
        await plain.connect(listener.url)
        making.security_of = real
        await ours.connect(listener.url)

        async def drain() -> None:
            async for _ in sink:
                pass

        reader = asyncio.get_running_loop().create_task(drain())
        buses = {"plain": plain, "protected": ours}
        for size in SIZES:
            told = {}
            for _ in range(TURNS):
                for name, bus in buses.items():
                    payload, count, start = bytes(size), 0, time.perf_counter()
                    while time.perf_counter() - start < seconds:
                        await bus.send("sink", payload)
                        count += 1
                    told.setdefault(name, []).append(count / (time.perf_counter() - start))
            rates = {name: max(each) for name, each in told.items()}
            print(f"tcp send {size:6} B: " + ratio(rates, "/s"))
        told = {}
        for _ in range(TURNS):
            for name, bus in buses.items():
                times = []
                for _ in range(300):
                    start = time.perf_counter()
                    await bus.request("echo", b"x" * 64)
                    times.append((time.perf_counter() - start) * 1e6)
                told.setdefault(name, []).append(sorted(times)[150])
        print("tcp request 64 B:  " + ratio({name: min(each) for name, each in told.items()}, " us"))
        reader.cancel()


def ratio(found: dict[str, float], unit: str) -> str:
    plain, ours = found["plain"], found["protected"]
    return f"plain {plain:10.1f}{unit}  protected {ours:10.1f}{unit}  {ours / plain:.2f}"


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.3
    print(f"core {codes.__file__}")
    print(
        "handshake of both sides: "
        + ratio({"plain": handshake_us(False), "protected": handshake_us(True)}, " us")
    )
    for size in SIZES:
        made = {"plain": joined(False), "protected": joined(True)}
        told: dict[str, list[float]] = {name: [] for name in made}
        for _ in range(TURNS):
            for name, pair in made.items():
                told[name].append(core_us(pair, size, seconds))
        print(f"core message {size:6} B: " + ratio({name: min(each) for name, each in told.items()}, " us"))
    asyncio.run(over_tcp(seconds))


if __name__ == "__main__":
    main()
