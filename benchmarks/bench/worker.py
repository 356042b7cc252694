"""A process of the harness: `python -m benchmarks.bench.worker MODULE:CLASS PLACE`.

It does what lines of JSON on its standard input say, one method of the class for each, and answers with a
line that holds when it began and ended, and the processor time so far; or what it found wrong.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.bench.proof import Job


class Commands:
    """Lines from standard input, for a loop that must go on meanwhile."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        asyncio.get_running_loop().add_reader(0, self._read)

    def _read(self) -> None:
        data = os.read(0, 65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines or ([] if data else [b""]):
            self._lines.put_nowait(line)
        if not data:
            asyncio.get_running_loop().remove_reader(0)

    async def next(self) -> bytes:
        return await self._lines.get()


def say(**words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def job_of(line: bytes) -> tuple[str, Job]:
    told = json.loads(line)
    return told.pop("do"), Job(**{"count": 0, **told})


def answer(began: float, result: dict[str, Any] | None) -> None:
    say(began=began, ended=time.perf_counter(), cpu=time.process_time(), **(result or {}))


def run_blocking(make: Callable[[str], Any], place: str) -> None:
    with make(place) as role:
        say(ready=role.about())
        while line := sys.stdin.buffer.readline():
            name, job = job_of(line)
            began = time.perf_counter()
            try:
                answer(began, getattr(role, name)(job) if name != "cpu" else None)
            except ValueError as error:
                say(failed=str(error))


async def run_async(make: Callable[[str], Any], place: str) -> None:
    commands = Commands()
    async with make(place) as role:
        say(ready=role.about())
        while line := await commands.next():
            name, job = job_of(line)
            began = time.perf_counter()
            try:
                answer(began, await getattr(role, name)(job) if name != "cpu" else None)
            except ValueError as error:
                say(failed=str(error))


def main() -> None:
    module, _, name = sys.argv[1].partition(":")
    make = getattr(importlib.import_module(module), name)
    if hasattr(make, "__aenter__"):
        if os.environ.get("BENCH_LOOP") == "uvloop":
            import uvloop

            uvloop.run(run_async(make, sys.argv[2]))
        else:
            asyncio.run(run_async(make, sys.argv[2]))
    else:
        run_blocking(make, sys.argv[2])


if __name__ == "__main__":
    main()
