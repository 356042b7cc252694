"""Attacks on nodes and programs: who is let in and still answered, which message arrives where, processor
time, memory, how long it keeps others waiting.

Usage: python -m benchmarks.hostile [--rows N[,N...]] [--seconds S] [--bytes N]

Each row is an attack of docs/attacks.md, by its number there; how it went before these holes were closed
stands beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

import cbor2

from benchmarks import hostile_core, hostile_news, hostile_programs
from busway import AsyncBus, Undeliverable
from busway.payloads import CBOR, PayloadError, decode
from tests.adapters.test_turns import opened

ELSEWHERE = b"e" * 16
MERSENNE = (1 << 61) - 1  # Python's hash of an integer is the rest of a division by it
PINGS = b"\x89\x80" + bytes(4) + b"\x82\x80" + bytes(4)  # and an empty message
FLOOD = 300_000  # of both

Row = tuple[str, str]  # what is looked at, and how it is


def payload(data: bytes) -> None:
    with contextlib.suppress(PayloadError):
        decode(data, CBOR, b"", ELSEWHERE, None)


def payloads() -> list[Row]:
    """CBOR whose keys meet in one place of a table; and of millions of empty maps."""
    keys = b"".join(cbor2.dumps(MERSENNE * 8 * (number + 1)) + b"\0" for number in range(20_000))
    started = time.process_time()
    payload(b"\xb9" + (20_000).to_bytes(2, "big") + keys)
    spent = time.process_time() - started
    count = (1 << 24) - 5
    maps = b"\x9a" + count.to_bytes(4, "big") + b"\xa0" * count
    tracemalloc.start()
    payload(maps)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return [
        ("CBOR, 260 KB of keys of one hash, processor time", f"{1000 * spent:.1f} ms"),
        ("CBOR, 16 MiB of empty maps, memory besides it", f"{peak / 1000:,.0f} KB"),
    ]


async def silent_stranger() -> list[Row]:
    """A call to a name that nobody has, while somebody is connected who says nothing."""
    async with AsyncBus(ipc=False) as bus:
        port = int((await bus.listen("tcp://127.0.0.1:0")).url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)):
            await asyncio.sleep(0.2)
            started = time.perf_counter()
            with contextlib.suppress(Undeliverable):
                await bus.request("nobody/has/this")
            spent = 1000 * (time.perf_counter() - started)
    return [("a call to a missing name beside a silent stranger", f"{spent:.1f} ms")]


async def flood(seconds: float) -> list[Row]:
    """The longest that a WebSocket full of the smallest frames has the loop to itself."""
    async with AsyncBus(ipc=False) as bus:
        flooding = await asyncio.to_thread(opened, (await bus.listen("ws://127.0.0.1:0")).url)

        def send() -> None:
            with contextlib.suppress(OSError):
                flooding.sendall(PINGS * FLOOD)

        sender = threading.Thread(target=send)
        sender.start()
        longest, until = 0.0, time.monotonic() + seconds
        while time.monotonic() < until:
            started = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - started)
        flooding.close()
        sender.join()
    title = "a WebSocket of pings, longest turn of the loop, processor time"
    return [(title, f"{1000 * longest:.1f} ms")]


Attack = Callable[[], Coroutine[Any, Any, list[Row]] | list[Row]]


def attacks(seconds: float) -> list[tuple[int, Attack]]:
    """All of them, by the numbers of docs/attacks.md."""
    own: list[tuple[int, Attack]] = [
        (6, payloads),
        (15, silent_stranger),
        (20, lambda: flood(seconds)),
    ]
    return sorted([*hostile_core.ROWS, *hostile_programs.ROWS, *own], key=lambda each: each[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of the flood (default 3)")
    parser.add_argument("--rows", default="", help="of the table, by number, with commas between")
    parser.add_argument("--bytes", type=int, default=14000, help="of news that is taken back (default 14000)")
    options = parser.parse_args()
    chosen = {int(number) for number in options.rows.split(",") if number}
    for number, attack in attacks(options.seconds):
        if chosen and number not in chosen:
            continue
        found = attack()
        for title, figure in found if isinstance(found, list) else asyncio.run(found):
            print(f"{number:>2}  {title:<84} {figure}", flush=True)
    if not chosen or 8 in chosen:
        hostile_news.news(options.bytes)


if __name__ == "__main__":
    main()
