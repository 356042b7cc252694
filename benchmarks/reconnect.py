"""A server restarts under load: when is each of its many clients back, and do they come all at once?

    python -m benchmarks.reconnect [--links 500] [--down 3] [--url tcp://127.0.0.1:0]

One process serves; clients are buses in other processes, each with a link of its own (500 links: 10 processes
with 50 buses). All clients send requests the whole time. The server is killed with kill -9 and started again
after `--down` seconds. Shown: when each client's first request after that was answered, counted from the
moment at which the new server listens, against the bound of `Retry.bound`; and the most clients that came in
any 100 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import busway
from busway import AsyncBus, Limits, Retry
from busway.adapters.bus import host_of

_EACH = 50  # buses in one process
_ASK_S = 0.5  # each client asks so often
_SLACK_S = 1.0  # for connecting, and for the machine, which all processes share


async def serve(url: str) -> None:
    """Answers until it is killed."""
    bus = AsyncBus(ipc=False, label="server", limits=Limits())
    await bus.open()
    bus.serve("echo", _echo, realm="global", limit=1024)
    listener = await bus.listen(url)
    print(listener.url, time.monotonic(), flush=True)
    await asyncio.Event().wait()


async def _echo(request: Any) -> Any:
    return request.payload


async def run_clients(url: str, count: int) -> None:
    """Says "up" when all are connected, then for each, when it is back."""
    buses = [AsyncBus(ipc=False, label=f"client {number}") for number in range(count)]
    for bus in buses:
        await bus.open()
        await bus.connect(url, wait=30)
    print("up", flush=True)
    async with asyncio.TaskGroup() as group:
        for bus in buses:
            group.create_task(ask(bus))


async def ask(bus: AsyncBus) -> None:
    """Ask again and again; tell of the first answer after the link was lost."""
    link = next(iter(host_of(bus).dialled)).link
    while not link.losses:
        await _once(bus)
        await asyncio.sleep(_ASK_S)
    changes = bus.changes()
    while link.state != "connected":
        await anext(changes)
    connected = time.monotonic()
    await bus.request("echo", 1, ttl=30, timeout=60)
    print("back", connected, time.monotonic(), link.attempt, flush=True)


async def _once(bus: AsyncBus) -> bool:
    try:
        return bool(await bus.request("echo", 1, timeout=5) == 1)
    except busway.BusError:
        return False


def _start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.reconnect", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _line(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "a process ended early"
    return line.split()


def measure(links: int, down: float, url: str) -> dict[str, Any]:
    """One restart. Returns the times back in seconds after the new server listened, sorted."""
    started = [_start("--serve", url)]
    try:
        url = _line(started[0])[0]
        each = min(links, _EACH)
        clients = [_start("--clients", each, "--url", url) for _ in range(links // each)]
        started += clients
        for client in clients:
            assert _line(client) == ["up"]
        time.sleep(1.0)  # under load
        started[0].kill()
        killed = time.monotonic()
        started[0].wait()
        time.sleep(max(0.0, killed + down - time.monotonic()))
        started.append(_start("--serve", url))
        listening = float(_line(started[-1])[1])
        rows = [_line(client)[1:] for client in clients for _ in range(each)]
        return {
            "links": len(rows),
            "away": listening - killed,
            "connected": sorted(float(row[0]) - listening for row in rows),
            "answered": sorted(float(row[1]) - listening for row in rows),
            "attempts": sorted(int(row[2]) for row in rows),
        }
    finally:
        for process in started:
            process.kill()
            process.communicate()


def _at(values: list[float], part: float) -> float:
    return values[min(len(values) - 1, int(len(values) * part))]


def show(found: dict[str, Any]) -> bool:
    """The distribution; whether all were back within the bound."""
    connected, answered = found["connected"], found["answered"]
    bound = Retry().bound(found["away"])
    away = f"the server away for {found['away']:.2f} s"
    print(f"{found['links']} links, {away}; bound {bound:.2f} s + {_SLACK_S:g} s")
    for name, values in (("connected", connected), ("answered", answered)):
        parts = "  ".join(f"{part:4.0%} {_at(values, part):6.2f} s" for part in (0.1, 0.5, 0.9, 0.99))
        print(f"  {name:9}  {parts}  last {values[-1]:6.2f} s")
    print(f"  attempts of one client: {found['attempts'][0]} to {found['attempts'][-1]}")
    slots = Counter(int(value // 0.5) for value in connected)
    for slot in range(max(slots) + 1):
        print(f"  {slot * 0.5:5.1f} s {slots[slot]:5}  {'#' * round(slots[slot] * 150 / found['links'])}")
    peak = max(Counter(int(value // 0.1) for value in connected).values())
    share = peak / found["links"]
    print(f"  the most in any 100 ms: {peak} ({share:.0%})")
    return bool(answered[-1] <= bound + _SLACK_S)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--links", type=int, default=500)
    parser.add_argument("--down", type=float, default=3.0, help="seconds between the kill and the new start")
    parser.add_argument("--url", default="tcp://127.0.0.1:0", help="where the server listens: tcp or ws")
    parser.add_argument("--serve", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--clients", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
    elif options.clients:
        asyncio.run(run_clients(options.url, options.clients))
    else:
        return 0 if show(measure(options.links, options.down, options.url)) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
