"""The cost of sealing: microseconds and bytes for a message, with each suite, and a whole round trip between
two buses in memory, sealed and plain in turn. `python -m benchmarks.sealed [seconds]`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

from busway import Key, sealing
from busway.sealing import Answers, Content, Opened, Other, Own
from busway.testing import Network

SIZES = (32, 1024, 16384)
E = b"an-endpoint-16-b"
TURNS = 4


def us(function: Callable[[], Any], seconds: float) -> float:
    """Microseconds of a call, in the best of many runs of 8: others use the machine as well."""
    best = float("inf")
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        for _ in range(8):
            function()
        best = min(best, time.perf_counter() - start)
    return best / 8 * 1e6


def crypto(seconds: float) -> None:
    print("suite", "payload", "seal us", "open us", "bytes more", sep="\t")
    sender, receiver = (Own(*Key.new().pair) for _ in range(2))
    to, source = Other(sender, receiver.public), Other(receiver, sender.public)
    both = receiver.itself(0)
    for name, offer in (("x25519", both._replace(mlkem=b"")), ("hybrid", both)):
        for size in SIZES:
            said = Opened(
                sealing.REQUEST, sender.session, 1, 1, sealing.new_secret(2), Content(bytes(size), 0, b"")
            )
            sealed = to.seal(sender, offer, E, said)
            costs = [
                us(lambda offer=offer, said=said: to.seal(sender, offer, E, said), seconds),  # type: ignore[misc]
                us(lambda sealed=sealed: receiver.open(source, E, sealed), seconds),  # type: ignore[misc]
            ]
            print(name, size, *(f"{cost:.0f}" for cost in costs), len(sealed) - size, sep="\t")
    for size in SIZES:
        answers(size, seconds / 4)


def answers(size: int, seconds: float) -> None:
    writing, reading = Answers(bytes(32), bytes(32)), Answers(bytes(32), bytes(32))
    data = Content(bytes(size), 0, b"").pack()
    parts: list[bytes] = []
    sealing_us = us(lambda: parts.append(writing.seal(sealing.VALUE, data)), seconds)
    spent = []
    for part in parts:
        start = time.perf_counter()
        reading.open(part)
        spent.append(time.perf_counter() - start)
    opening_us = min(spent) * 1e6
    print("answer", size, f"{sealing_us:.1f}", f"{opening_us:.1f}", len(parts[0]) - size, sep="\t")


async def round_trips(seconds: float) -> None:
    print("round trip, us", "plain", "sealed", sep="\t")
    keys = [Key.new(), Key.new()]
    seal = [key.text for key in keys]
    async with Network() as network:
        one, two = [await network.bus(key.text[:12], key=key, seal=seal) for key in keys]
        await network.link(one, two)
        two.serve("echo", lambda request: request.payload)
        await one.request("echo", sealed=True, ttl=5)
        for size in SIZES:
            best: dict[bool, float] = {}
            for sealed in (False, True) * TURNS:
                end = time.perf_counter() + seconds / TURNS
                while (start := time.perf_counter()) < end:
                    await one.request("echo", bytes(size), sealed=sealed)
                    spent = (time.perf_counter() - start) * 1e6
                    best[sealed] = min(spent, best.get(sealed, spent))
            print(size, f"{best[False]:.0f}", f"{best[True]:.0f}", sep="\t", flush=True)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
    crypto(seconds)
    asyncio.run(round_trips(seconds))


if __name__ == "__main__":
    main()
