"""A driver of tcp:// without sockets, for tests on one loop: joins who dials in memory to who is there."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Any

from busway.drivers import memory

Take = Callable[[memory.MemoryChannel], object]  # a bus's `attach`, or whatever becomes of who comes

places: dict[str, Take] = {}  # by URL: who is there
names: dict[str, list[str]] = {}  # the URLs that one leads to, if it is not itself
lines: list[memory.Pair] = []  # all that were dialled


def candidates(url: str) -> list[str]:
    return names.get(url, [url])


def dial(candidate: str, url: str, *, token: str | None = None) -> memory.MemoryChannel:
    if candidate not in places:
        raise ConnectionRefusedError(errno.ECONNREFUSED, f"{candidate}: refused")
    line = memory.pair(realm="localnet", delay_ms=1, clock=asyncio.get_running_loop())
    for end in line:
        end.address = candidate
    line.a.via = candidate
    lines.append(line)
    places[candidate](line.b)
    return line.a


def forget(line: memory.Pair) -> None:
    """Leave both ends connected, and let them hear nothing more, ever: not even that the other is closed."""
    ends: tuple[Any, ...] = (line.a, line.b)
    for end in ends:
        end.on_readable = end.on_writable = None
