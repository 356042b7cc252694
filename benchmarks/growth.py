"""The cost of a program more on a machine that has many: joining, leaving, messages to all in turn.

Usage: python -m benchmarks.growth [--programs 20,64,100,250] [--joins N] [--messages N] [--json FILE]

Every program is a process with a bus and sockets of its own; they are forked from one that has imported what
they need, started once, and told by a socket what to do. CPU is that of all programs together, as the kernel
counts it (/proc/PID/schedstat), so it hardly depends on what else the machine does; times do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import signal
import socket
import statistics
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import busway
from busway.adapters.asyncio import AsyncBus
from busway.protocol import codes

BUS = "growth"
NAME = "growth/%d"
ANSWER_S = 120.0  # most for one step of one program
QUIET_S = 0.25  # without more than QUIET_CPU_S in it all are at rest
QUIET_CPU_S = 0.02
JOIN_GAP_S = 0.02  # between programs that start one after the other: two processors keep up with no less
PROGRAMS_MAX = 255  # with the one that joins them as many as one machine takes


# A program: a process that does what it is told --------------------


class Program:
    """Inside a process: a bus, and what it is told to do with it by lines of JSON."""

    def __init__(self, number: int, orders: socket.socket) -> None:
        self.number = number
        self.orders = orders
        self.bus: AsyncBus | None = None
        self.receiver: Any = None
        self.ends: Counter[int] = Counter()

    async def run(self) -> None:
        reader, writer = await asyncio.open_connection(sock=self.orders)
        while line := await reader.readline():
            word, *arguments = json.loads(line)
            answer = await getattr(self, word)(*arguments)
            writer.write(json.dumps(answer).encode() + b"\n")

    async def open(self) -> dict[str, float]:
        cpu, start = time.process_time(), time.monotonic()
        self.bus = AsyncBus(BUS, label=f"program {self.number}")
        self.receiver = self.bus.register(NAME % self.number)
        self._count_ends(self.bus)
        await self.bus.open()
        opened = time.monotonic() - start
        return {"seconds": opened, "cpu": time.process_time() - cpu}

    def _count_ends(self, bus: AsyncBus) -> None:
        """By code: how the links of this program ended."""
        host: Any = bus._host
        told = host._on_link_closed

        def counted(connection: Any) -> None:
            self.ends[connection.close_code] += connection.opened_at >= 0
            told(connection)

        host._on_link_closed = counted

    async def close(self) -> dict[str, Any]:
        assert self.bus is not None
        cpu, start = time.process_time(), time.monotonic()
        await self.bus.close()
        took = time.monotonic() - start
        ends = {codes.LINK_ERROR_NAMES.get(code, str(code)): count for code, count in self.ends.items()}
        self.bus = None
        return {"seconds": took, "cpu": time.process_time() - cpu, "ends": ends}

    async def look(self) -> dict[str, int]:
        """All that it knows, and has said."""
        assert self.bus is not None
        links = self.bus.links()
        return {
            "nodes": len(self.bus.nodes()),
            "names": sum(each.name.startswith("growth/") for each in self.bus.endpoints()),
            "links": len(links),
            "bytes": sum(each.bytes_out for each in links),
        }

    async def known(self, nodes: int, names: int) -> float:
        """Wait until it knows so many; the instant of the machine's clock."""
        assert self.bus is not None
        node = self.bus.node
        # To be told of every change would cost more than to look now and then.

        def seen() -> int:
            return len({entry.uuid for entry in node.directory.all()})

        while len(node.routes.peers) + 1 < nodes or seen() + 1 < names:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return time.monotonic()

    async def send(self, numbers: list[int], messages: int) -> float:
        """Seconds of this process's CPU for messages to these in turn."""
        assert self.bus is not None
        targets = [NAME % number for number in numbers]
        start = time.process_time()
        for count in range(messages):
            await self.bus.send(targets[count % len(targets)], b"0123456789abcdef")
        await self.bus.send(targets[0], b"", confirm=True)
        return time.process_time() - start

    async def drain(self) -> None:
        """Throw away what has come, and from now on at once."""

        async def forever() -> None:
            with suppress(busway.BusClosed):
                while True:
                    await self.receiver.receive()

        self.drainer = asyncio.create_task(forever())

    async def forget_ends(self) -> None:
        """Count the ends of links from now on."""
        self.ends.clear()

    async def memory(self) -> list[int]:
        return sizes()


def sizes() -> list[int]:
    """Bytes in memory, and this process's share of them where processes share pages (PSS)."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        found = {line.split()[0]: line.split()[1] for line in file if line.endswith("kB\n")}
    return [int(found["Rss:"]) * 1024, int(found["Pss:"]) * 1024]


# Those who tell them --------------------


class Handle:
    """From outside: a program's process, and the socket by which it is told. Made by `started`; `mask` has
    the signals that the process is to block.
    """

    def __init__(self, number: int, mask: set[Any]) -> None:
        ours, theirs = socket.socketpair()
        self.number = number
        self.orders = ours
        self.pid = os.fork()
        if not self.pid:
            try:
                ours.close()
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                asyncio.run(Program(number, theirs).run())
            except Exception:  # noqa: BLE001 - whoever waits for its answer sees it end
                traceback.print_exc()
            finally:
                os._exit(0)
        theirs.close()
        self._lines = ours.makefile("rb")

    @classmethod
    def started(cls, number: int, stack: ExitStack) -> Handle:
        """One that ends with `stack`. A Ctrl-C waits for that: amid a fork it would be raised in what Python
        calls there, and lost.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        try:
            made = cls(number, before)
            stack.callback(made.end)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return made

    def tell(self, word: str, *arguments: Any) -> None:
        self.orders.sendall(json.dumps([word, *arguments]).encode() + b"\n")

    def answer(self) -> Any:
        if not select.select([self.orders], [], [], ANSWER_S)[0]:
            raise TimeoutError(f"program {self.number} has not answered for {ANSWER_S:.0f} s")
        line = self._lines.readline()
        if not line:
            raise RuntimeError(f"program {self.number} has ended")
        return json.loads(line)

    def ask(self, word: str, *arguments: Any) -> Any:
        self.tell(word, *arguments)
        return self.answer()

    def cpu(self) -> float:
        """Seconds of CPU that it has had."""
        with open(f"/proc/{self.pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0]) / 1e9

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.orders.close()


class Crowd:
    """All programs."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.programs: list[Handle] = []

    def fork(self, count: int) -> list[Handle]:
        made = []
        for _ in range(count):
            made.append(Handle.started(len(self.programs), self._stack))
            self.programs.append(made[-1])
        return made

    def cpu(self) -> float:
        return sum(each.cpu() for each in self.programs)

    def rest(self, limit_s: float = ANSWER_S) -> float:
        """Wait until nobody does anything any more. Returns the CPU of all until then."""
        end = time.monotonic() + limit_s
        before = self.cpu()
        while time.monotonic() < end:
            time.sleep(QUIET_S)
            now = self.cpu()
            if now - before < QUIET_CPU_S:
                return now
            before = now
        return before

    def ask_all(self, word: str, *arguments: Any) -> list[Any]:
        for each in self.programs:
            each.tell(word, *arguments)
        return [each.answer() for each in self.programs]


def join_all(crowd: Crowd, programs: int) -> dict[str, Any]:
    """Programs join one close behind the other, until there are so many and all know all."""
    start = time.monotonic()
    fresh = crowd.fork(programs - len(crowd.programs))
    before = crowd.cpu()
    for each in fresh:
        each.tell("open")
        time.sleep(JOIN_GAP_S)
    opened = [each.answer() for each in fresh]
    all_open = time.monotonic() - start
    known = crowd.ask_all("known", programs, programs)
    return {
        "all open, s": all_open,
        "all know all, s": max(known) - start,
        "cpu, s": crowd.rest() - before,
        "slowest, s": max(each["seconds"] for each in opened),
    }


def join_one(crowd: Crowd) -> dict[str, float]:
    """One more joins those who are at rest."""
    before = crowd.rest()
    (one,) = crowd.fork(1)
    count = len(crowd.programs)
    opened = one.ask("open")
    one.ask("known", count, count)
    after = crowd.rest()
    return {
        "open, ms": opened["seconds"] * 1e3,
        "own cpu, ms": opened["cpu"] * 1e3,
        "all cpu, ms": (after - before) * 1e3,
    }


def leave_one(crowd: Crowd) -> float:
    """The last leaves: CPU of all, ms."""
    before = crowd.rest()
    one = crowd.programs[-1]
    one.ask("close")
    after = crowd.rest()
    crowd.programs.pop()
    return (after - before) * 1e3


def leave_all(crowd: Crowd) -> dict[str, Any]:
    """All leave at once. A link that ended otherwise than by a goodbye is one whose goodbye was lost."""
    crowd.ask_all("forget_ends")
    before, start = crowd.rest(), time.monotonic()
    answers = crowd.ask_all("close")
    took = time.monotonic() - start
    ends: Counter[str] = Counter()
    for each in answers:
        ends.update(each["ends"])
    seconds = sorted(each["seconds"] for each in answers)
    return {
        "all, s": took,
        "slowest, s": seconds[-1],
        "median, s": statistics.median(seconds),
        "cpu, s": crowd.cpu() - before,
        "ends": dict(ends),
    }


def send_in_turn(crowd: Crowd, messages: int) -> dict[str, float]:
    """CPU of one sender for each message, to one and to all in turn, in alternation: the median."""
    crowd.ask_all("drain")
    sender, *others = crowd.programs
    numbers = [each.number for each in others]
    for turn in (numbers, numbers[:1]):
        sender.ask("send", turn, len(turn) * 4)
    found: dict[int, list[float]] = {}
    for _ in range(3):
        for turn in (numbers[:1], numbers):
            crowd.rest(5.0)
            found.setdefault(len(turn), []).append(sender.ask("send", turn, messages) / messages * 1e6)
    one, many = (statistics.median(found[count]) for count in (1, len(numbers)))
    return {"one, us": one, "all in turn, us": many, "ratio": many / one}


def step(crowd: Crowd, count: int, joins: int, messages: int, say: Callable[[str], None]) -> dict[str, Any]:
    """So many programs: how they joined, what one more costs, and what all of them are."""
    row: dict[str, Any] = {"programs": count}
    say(f"{count} programs join")
    row["join all"] = join_all(crowd, count)
    looks = crowd.ask_all("look")
    row["links"] = sum(each["links"] for each in looks) // 2
    row["kB sent by all"] = sum(each["bytes"] for each in looks) // 1000
    pairs = []
    for number in range(joins):
        say(f"one more joins and leaves, {number + 1} of {joins}")
        pairs.append(join_one(crowd) | {"leave, all cpu, ms": leave_one(crowd)})
    row["one more"] = {key: statistics.median(each[key] for each in pairs) for key in pairs[0]}
    memory = zip(*crowd.ask_all("memory"), strict=True)
    row["memory, MB"], row["share, MB"] = (statistics.median(each) / 1e6 for each in memory)
    if messages:
        say(f"{messages} messages to one, and to all in turn")
        row["messages"] = send_in_turn(crowd, messages)
    return row


def measure(
    programs: Sequence[int], joins: int, messages: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="bw") as folder, ExitStack() as stack:
        os.environ["BUSWAY_DIR"] = folder
        crowd = Crowd(stack)
        rows = [step(crowd, count, joins, messages, say) for count in programs]
        say("all leave at once")
        rows[-1]["leave all"] = leave_all(crowd)
    return rows


def show(row: dict[str, Any]) -> None:
    """A row for people."""
    print(f"{row['programs']} programs, {row['links']:,} links")
    for title, figures in row.items():
        if isinstance(figures, dict):
            words = [
                f"{key} {value:,.1f}" if isinstance(value, float) else f"{key} {value}"
                for key, value in figures.items()
            ]
            print(f"  {title:12} {';  '.join(words)}")
    print(f"  {'memory':12} {row['memory, MB']:.1f} MB, of it its own or shared {row['share, MB']:.1f} MB")


def counts_of(text: str) -> list[int]:
    """How many programs there are to be, step by step. Raises ArgumentTypeError."""
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} are no numbers with commas between, such as 20,64")
    counts = sorted({int(word) for word in words})
    if counts[0] < 2 or counts[-1] > PROGRAMS_MAX:
        raise argparse.ArgumentTypeError(
            f"each is 2 to {PROGRAMS_MAX}, for one more joins these, and a machine takes {PROGRAMS_MAX + 1}"
        )
    return counts


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--programs", type=counts_of, default="20,64,100,250", help="how many, in steps (default %(default)s)"
    )
    parser.add_argument(
        "--joins", type=int, default=5, help="joins of one that are measured in each step (default 5)"
    )
    parser.add_argument(
        "--messages", type=int, default=10_000, help="messages of one round (default 10000); 0: none"
    )
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    if options.joins < 1 or options.messages < 0:
        parser.error("--joins is 1 or more, --messages 0 or more")
    if options.json is not None and not options.json.resolve().parent.is_dir():
        parser.error(f"--json {options.json}: there is no folder {options.json.resolve().parent}")
    return options


def main() -> None:
    options = arguments()
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - start:6.1f} s  {text}", flush=True)

    try:
        rows = measure(options.programs, options.joins, options.messages, say)
    except KeyboardInterrupt:
        sys.exit(130)
    for row in rows:
        show(row)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"busway": busway.__file__, "python": sys.version, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
