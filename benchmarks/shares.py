"""Where the time of a message goes in each of two programs, function by function.

Usage: python -m benchmarks.shares [CASE ...] [--core DIR] [--top N] [--count N]

A CASE is `way` (send and receive, one call a message; the default), `bulk` (256 a call), `feed` (publish,
and a subscriber), `trip` (request and reply), of 16 B each, or `large` (as `way`, of 1 MiB), between two
programs over a Unix socket. The package is this checkout's, in pure Python, or below DIR, compiled (`make
bench` keeps one in .benchmarks/core).

Compiled, machine instructions are counted by valgrind, which sees all but the kernel, in each program in turn
while the other runs as usual. In pure Python, where valgrind would only see the interpreter, the bytecode's
instructions are counted, each call of a C function as one. Beside it stands what each takes when nothing
counts: microseconds of processor time a message, in the program and in the kernel.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import gc
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

import busway

HERE = Path(__file__).resolve().parents[1]
CASES = ("way", "bulk", "feed", "trip", "large")
COUNTS = {
    "way": 200_000,
    "bulk": 400_000,
    "feed": 200_000,
    "trip": 10_000,
    "large": 2_000,
}  # messages when nothing looks
COUNTED = 0.1  # of these, for then they run 50 times as slow
LEAST = 10  # messages: at least one is counted
BATCH = 256
FOUND_S = 60.0
PAYLOAD = bytes(16)
LARGE = 1 << 20

# In which group a function of the compiled program belongs: the first pattern that its name, or its object,
# fits.
GROUPS = (
    (
        "memory, and looking for garbage",
        r"alloc|Alloc|free|Free|GC_|gc_|traverse|visit_|_clear$|NewRef",
    ),
    ("adapters, compiled", r"(CPyDef|CPyPy|CPyDunder)_asyncio_|^asyncio_(calls|pump|taking|serving|links)"),
    ("core, compiled", r"CPyDef_|CPyPy_|CPyDunder_|^(endpoints|fast|batch|queue|node|receiving)__"),
    ("helpers of compiled code", r"^CPy|busway__mypyc"),
    ("lookups by name or key", r"[dD]ict|unicodekeys|PyType_Lookup|find_name|GetAttr|_PyObject_GetMethod"),
    ("interpreter and calls", r"libpython"),
    ("asyncio, selectors and sockets in C", r"_asyncio|select\.|_socket|uvloop"),
    ("C library", r"libc|ld-linux|vdso|libpthread"),
)


async def program(side: str, case: str, count: int) -> None:
    """One of the two: `near` takes and answers, `far` sends and asks."""
    async with busway.AsyncBus("shares") as bus:
        run = await _near(bus, case) if side == "near" else await _far(bus, case)
        await run(count // 4)  # warms up
        with Watched() as watched:
            await run(count)
        print(*watched.lines(count), sep="\n", flush=True)
        await asyncio.sleep(1)  # so that neither leaves while the other is watched


async def _near(bus: busway.AsyncBus, case: str) -> Callable[[int], Awaitable[None]]:
    receiver = bus.register("shares/way") if case != "feed" else bus.subscribe("shares/feed")
    ended = asyncio.Semaphore(0)
    bus.serve("shares/trip", lambda request: request.payload)
    bus.serve("shares/ended", lambda _: ended.release())
    print("ready", flush=True)

    async def run(count: int) -> None:
        if case == "bulk":
            while count:
                count -= len(await receiver.receive_many(min(BATCH, count)))
        elif case != "trip":
            for _ in range(count):
                await receiver.receive()
        await ended.acquire()

    return run


async def _far(bus: busway.AsyncBus, case: str) -> Callable[[int], Awaitable[None]]:
    payload = bytes(LARGE) if case == "large" else PAYLOAD
    await bus.request("shares/trip", PAYLOAD, ttl=FOUND_S, timeout=FOUND_S)

    async def run(count: int) -> None:
        if case == "bulk":
            for _ in range(count // BATCH):
                await bus.send_many("shares/way", [PAYLOAD] * BATCH)
            await bus.send_many("shares/way", [PAYLOAD] * (count % BATCH))
        elif case in ("way", "large"):
            for _ in range(count):
                await bus.send("shares/way", payload)
        elif case == "feed":
            for _ in range(count):
                await bus.publish("shares/feed", PAYLOAD)
        else:
            for _ in range(count):
                await bus.request("shares/trip", PAYLOAD)
        await bus.request("shares/ended", b"", timeout=FOUND_S)

    return run


class Watched:
    """Between its marks the processor's time is taken, and instructions are counted: the machine's if this
    runs under valgrind, those of bytecode if BUSWAY_COUNTED is set.
    """

    def __init__(self) -> None:
        self.counts: collections.Counter[CodeType] = collections.Counter()

    def __enter__(self) -> Self:
        gc.collect()
        os.getppid()  # parts the counts
        self.began = resource.getrusage(resource.RUSAGE_SELF)
        if "BUSWAY_COUNTED" in os.environ:
            sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        self.ended = resource.getrusage(resource.RUSAGE_SELF)
        os.getppid()

    def _enter(self, frame: FrameType, _event: str, _argument: object) -> Callable[..., Any]:
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        if event == "opcode":
            self.counts[frame.f_code] += 1
        return self._step

    def lines(self, count: int) -> list[str]:
        """Lines that say it: microseconds a message in the program and in the kernel; counts of functions."""
        user = self.ended.ru_utime - self.began.ru_utime
        kernel = self.ended.ru_stime - self.began.ru_stime
        found = [f"time {user / count * 1e6:.2f} {kernel / count * 1e6:.2f}"]
        for code, number in self.counts.most_common():
            found.append(f"counted {number} {Path(code.co_filename).stem}.{code.co_qualname}")
        return found


def pair(case: str, count: int, package: Path, watched: str, scratch: str, steps: bool) -> list[str]:
    """Runs both; `watched` ("near", "far", or "" for none) under valgrind. Returns what both have printed,
    each line after its side.
    """
    base = {name: value for name, value in os.environ.items() if name != "BUSWAY_COUNTED"}
    base |= {"PYTHONPATH": f"{package}{os.pathsep}{HERE}", "XDG_RUNTIME_DIR": scratch, "PYTHONHASHSEED": "0"}
    if steps:
        base["BUSWAY_COUNTED"] = "1"
    programs: dict[str, subprocess.Popen[str]] = {}
    with ExitStack() as ends:
        for side in ("near", "far"):
            tool = [
                "valgrind",
                "--tool=callgrind",
                "--dump-before=getppid",
                f"--callgrind-out-file={scratch}/out",
            ]
            command = [sys.executable, "-m", "benchmarks.shares", "--side", side, case, "--count", str(count)]
            with open(f"{scratch}/{side}.err", "w") as said:
                one = subprocess.Popen(
                    (tool if side == watched else []) + command,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    text=True,
                    env=base,
                )
            ends.enter_context(one)
            ends.callback(one.kill)
            programs[side] = one
            if side == "near":
                assert one.stdout is not None
                if one.stdout.readline() != "ready\n":
                    raise RuntimeError(f"near failed:\n{Path(scratch, 'near.err').read_text()[-3000:]}")
        found = []
        for side in ("far", "near"):  # the former ends if the latter does
            printed, _ = programs[side].communicate(timeout=600)
            if programs[side].returncode:
                raise RuntimeError(f"{side} failed:\n{Path(scratch, f'{side}.err').read_text()[-3000:]}")
            found += [f"{side} {line}" for line in printed.splitlines()]
    return found


def counted(scratch: str) -> dict[tuple[str, str], int]:
    """Instructions of each function itself, by object and name, between the marks."""
    names: dict[str, str] = {}
    objects: dict[str, str] = {}
    costs: dict[tuple[str, str], int] = collections.Counter()
    place, skip = ("", ""), False
    for line in Path(scratch, "out.2").read_text().splitlines():
        named = re.match(r"(ob|fn)=\((\d+)\)(?: (.*))?", line)
        if named:
            table = objects if named[1] == "ob" else names
            text = table.setdefault(named[2], named[3] or "")
            place = (text, place[1]) if named[1] == "ob" else (place[0], text)
        elif re.match(r"c(fn|ob)=", line):
            called = re.match(r"c(fn|ob)=\((\d+)\)(?: (.*))?", line)
            if called is not None and called[3]:
                (names if called[1] == "fn" else objects)[called[2]] = called[3]
        elif line.startswith("calls="):
            skip = True  # the next line is what was spent there
        elif re.match(r"[+*\d-]", line):
            if not skip:
                costs[place] += int(line.split()[-1])
            skip = False
    return costs


def report(case: str, all: int, package: Path, compiled: bool, top: int) -> Iterable[str]:
    """The lines of one case, with `all` messages when nothing counts."""
    with tempfile.TemporaryDirectory(prefix="busway-shares-") as scratch:
        plain = pair(case, all, package, "", scratch, steps=False)
    for side in ("far", "near"):
        user, kernel = next(line.split()[2:] for line in plain if line.startswith(f"{side} time"))
        yield f"\n{case}, {side}: {user} us a message in the program, {kernel} us in the kernel;"
        with tempfile.TemporaryDirectory(prefix="busway-shares-") as scratch:
            count = int(all * COUNTED)
            if compiled:
                pair(case, count, package, side, scratch, steps=False)
                costs = counted(scratch)
                whole = sum(costs.values())
                yield f"{whole / count:,.0f} instructions a message, of which"
                yield from _table(_grouped(costs), whole, len(GROUPS))
                yield "and by function"
                yield from _table({name: cost for (_, name), cost in costs.items()}, whole, top)
            else:
                lines = pair(case, count, package, "", scratch, steps=True)
                noted = [line.split(" ", 3)[2:] for line in lines if line.startswith(f"{side} counted")]
                found = {name: int(number) for number, name in noted}
                whole = sum(found.values())
                yield f"{whole / count:,.0f} instructions of bytecode a message, of which by function"
                yield from _table(found, whole, top)


def _grouped(costs: dict[tuple[str, str], int]) -> dict[str, int]:
    found: dict[str, int] = collections.Counter()
    for (where, name), cost in costs.items():
        text = f"{name} {where}"
        found[next((group for group, pattern in GROUPS if re.search(pattern, text)), "other")] += cost
    return found


def _table(costs: dict[str, int], whole: int, most: int) -> Iterable[str]:
    for name, cost in sorted(costs.items(), key=lambda one: -one[1])[:most]:
        yield f"  {cost / whole:6.1%}  {name}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.shares", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)} (default way)")
    parser.add_argument("--core", type=Path, help="folder with a compiled package, for PYTHONPATH")
    parser.add_argument("--top", type=int, default=15, help="functions of each program (default 15)")
    parser.add_argument("--side", choices=("near", "far"), help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help="messages; a tenth of them when they are counted")
    given = parser.parse_args()
    cases = given.cases or ["way"]
    for case in cases:
        if case not in CASES:
            parser.error(f"{case!r} is no case; expected some of {', '.join(CASES)}")
    if given.top < 1 or (given.count is not None and given.count < LEAST):
        parser.error(f"--top is 1 or more, --count {LEAST} or more")
    if given.side:
        asyncio.run(program(given.side, cases[0], given.count))
        return
    if given.core is not None and shutil.which("valgrind") is None:
        parser.error("--core needs valgrind (Debian: apt-get install valgrind)")
    package = HERE / "src" if given.core is None else given.core.resolve()
    if not (package / "busway").is_dir():
        parser.error(f"--core: there is no package busway in {package}")
    try:
        for case in cases:
            for line in report(case, given.count or COUNTS[case], package, given.core is not None, given.top):
                print(line, flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except RuntimeError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
