"""A random run of programs that join, leave, stop and are killed, and what must be true of it afterwards.

Every worker notes what it does, in a file of its own, before it can be heard of elsewhere; so the notes of
one killed with kill -9 count, too. `Campaign` runs the workers and `judge` reads all notes. A worker's life
is one process; message ids are "LIFE.STREAM.NUMBER" with numbers that count up for each stream.

As a program, `python -m tests.adapters.campaign DIRECTORY SLOT LIFE SEED` is a worker; it leaves at SIGTERM.
Its standard input ends when whoever started it is gone, and so does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import busway
from busway.protocol import codes
from tests.rigs.tree import ROOT

SLOTS = 5
OUTSTANDING = 80  # requests and sends under way in one worker
OUTCOME_S = 3.0  # longest timeout that a worker asks for
SLACK_S = 60.0  # what a busy machine, and a stop of its peer, may add before an outcome counts as missing
NOT_RUN = {
    codes.NO_ENDPOINT,
    codes.QUEUE_FULL,
    codes.NO_ROUTE,
    codes.RECEIVER_CLOSED,
    codes.MESSAGE_TOO_LARGE,
}


class Worker:
    """One program: serves, receives, and asks at random until it is told to leave."""

    def __init__(self, directory: Path, slot: int, life: str, seed: int) -> None:
        self.random = random.Random(f"{seed} {life}")
        self.slot = slot
        self.life = life
        self.counts: Counter[str] = Counter()
        self.tasks: set[asyncio.Task[None]] = set()
        self.leaving = asyncio.Event()
        self.path = directory / f"{life}.notes"
        self.notes = -1

    def note(self, *words: object) -> None:
        os.write(self.notes, (" ".join(map(str, words)) + "\n").encode())

    def next_id(self, stream: str) -> str:
        self.counts[stream] += 1
        return f"{self.life}.{stream}.{self.counts[stream]}"

    # What it answers

    async def pool(self, request: busway.Request) -> object:
        self.note("ran", request.payload)
        chance = self.random.random()
        if chance < 0.1:
            raise busway.RemoteError(300, "on purpose")
        if chance < 0.4:
            await asyncio.sleep(self.random.random() * 0.05)
        elif chance < 0.6:
            await asyncio.sleep(self.random.random() * 0.5)
        elif chance < 0.61:
            await asyncio.sleep(OUTCOME_S)
        return request.payload

    async def parts(self, request: busway.Request) -> AsyncIterator[int]:
        assert isinstance(request.payload, int)
        for number in range(request.payload):
            if self.random.random() < 0.02:
                await asyncio.sleep(0.01)
            yield number

    async def receive(self, name: str, messages: AsyncIterator[busway.Message]) -> None:
        try:
            async for message in messages:
                self.note("got", name, message.payload)
                if self.random.random() < 0.005:
                    await asyncio.sleep(0.05)
        except busway.EndpointTaken:
            self.note("taken")  # the slot's predecessor was stopped or is not yet known to be dead

    # What it asks

    async def ask(self, bus: busway.AsyncBus) -> None:
        timeout = self.random.choice((0.02, 0.2, OUTCOME_S))
        words = self.next_id("pool")
        self.note("asked", words)
        ttl, node = self.random.choice((0, 0.5)), self.holder(bus, "pool")
        await self.outcome(lambda: words, bus.request("pool", words, timeout=timeout, ttl=ttl, node=node))

    def holder(self, bus: busway.AsyncBus, name: str) -> bytes:
        """Any node that has the endpoint, mostly: left to itself a node asks the nearest, which is itself."""
        nodes = [found.node for found in bus.endpoints() if found.name == name]
        return self.random.choice(nodes) if nodes and self.random.random() < 0.9 else b""

    async def confirm(self, bus: busway.AsyncBus) -> None:
        stream = f"inbox{self.random.randrange(SLOTS)}"
        words = ""

        async def call() -> None:
            nonlocal words
            words = self.next_id(stream)  # in the step that sends it: a task begun later may run first
            self.note("asked", words)
            await bus.send(stream, words, confirm=True, timeout=OUTCOME_S)

        await self.outcome(lambda: words, call())

    async def send(self, bus: busway.AsyncBus) -> None:
        stream = f"inbox{self.random.randrange(SLOTS)}"
        for _ in range(self.random.choice((1, 1, 20))):
            with contextlib.suppress(busway.BusError):
                await bus.send(stream, self.next_id(stream), ttl=self.random.choice((0, 0.1)))

    async def publish(self, bus: busway.AsyncBus) -> None:
        with contextlib.suppress(busway.BusError):
            await bus.publish("news", self.next_id("news"))

    async def stream(self, bus: busway.AsyncBus) -> None:
        words, length, expected = self.next_id("parts"), self.random.randrange(200), 0
        self.note("asked", words)

        async def read() -> None:
            nonlocal expected
            node = self.holder(bus, "parts")
            async for part in bus.request_stream("parts", length, timeout=OUTCOME_S, node=node):
                assert part == expected, f"part {part} instead of {expected}"
                expected += 1
            assert expected == length, f"{expected} parts instead of {length}"

        await self.outcome(lambda: words, read())

    async def outcome(self, words: Callable[[], str], call: Coroutine[Any, Any, object]) -> None:
        """Note the one outcome of a call, which is cancelled now and then; none at all is a fault."""
        task = asyncio.create_task(call)
        if self.random.random() < 0.1:
            await asyncio.wait([task], timeout=self.random.random() * 0.02)
            task.cancel()
        done, _ = await asyncio.wait([task], timeout=OUTCOME_S * 3 + SLACK_S)
        if not done:
            self.note("fault", words(), "no outcome")
            task.cancel()
            return
        self.note("outcome", words(), describe(task))

    def begin(self, bus: busway.AsyncBus) -> None:
        kinds = (self.ask, self.ask, self.confirm, self.send, self.publish, self.stream)
        task = asyncio.create_task(self.random.choice(kinds)(bus))
        self.tasks.add(task)
        task.add_done_callback(self.ended)

    def ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.note("fault", self.life, repr(task.exception()))

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.leaving.set)
        loop.add_reader(sys.stdin.fileno(), os._exit, 1)  # nothing is ever written to it
        self.notes = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        async with busway.AsyncBus(label=f"slot {self.slot}") as bus:
            bus.serve("pool", self.pool, limit=32)
            bus.serve("parts", self.parts)
            receiving = [asyncio.create_task(self.receive("news", bus.subscribe("news")))]
            with contextlib.suppress(busway.EndpointTaken):
                inbox = bus.register(f"inbox{self.slot}")
                receiving.append(asyncio.create_task(self.receive("inbox", inbox)))
            while not self.leaving.is_set():
                if len(self.tasks) < OUTSTANDING:
                    self.begin(bus)
                await asyncio.sleep(self.random.random() * 0.004)
            if self.random.random() < 0.5 and self.tasks:
                await asyncio.wait(self.tasks)
        await asyncio.gather(*receiving)
        if self.tasks:
            await asyncio.wait(self.tasks)
        if bus.node.origin.pending:
            self.note("fault", self.life, "outcomes are missing after close")
        self.note("end")


def describe(task: asyncio.Task[object]) -> str:
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    if error is None:
        return "done"
    if isinstance(error, busway.Undeliverable):
        return f"undeliverable {error.reason}"
    if isinstance(error, busway.BusError):
        return type(error).__name__
    return f"fault {error!r}"


# ---- the controller


@dataclass
class Verdict:
    """The result of a campaign."""

    lives: int = 0
    killed: int = 0
    asked: int = 0
    delivered: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.outcomes.most_common())
        return (
            f"{self.lives} lives ({self.killed} killed), {self.asked} requests and confirmed sends: {kinds}; "
            f"{self.delivered} messages delivered; {len(self.faults)} faults"
        )


class Campaign:
    """Starts, stops, ends and kills workers at random."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.seed = seed
        self.random = random.Random(seed)
        self.lives = 0
        self.killed: set[str] = set()
        self.faults: list[str] = []
        self.running: dict[int, tuple[str, asyncio.subprocess.Process]] = {}
        self.lifeline = -1  # a pipe that ends with this process, however it ends

    async def start(self, slot: int) -> None:
        self.lives += 1
        life = f"{self.lives}x{slot}"
        (self.directory / "bus").mkdir(mode=0o700, exist_ok=True)
        paths = [os.environ.get("PYTHONPATH", ""), str(ROOT / "src"), str(ROOT)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.adapters.campaign", str(self.directory), str(slot), life, str(self.seed)),
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "BUSWAY_DIR": str(self.directory / "bus"),
            },
            stdin=self.lifeline,
            stderr=asyncio.subprocess.PIPE,
        )
        self.running[slot] = (life, process)

    async def leave(self, slot: int) -> None:
        life, process = self.running.pop(slot)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            async with asyncio.timeout(OUTCOME_S * 3 + SLACK_S * 2):
                _, said = await process.communicate()
        except TimeoutError:
            process.kill()
            _, said = await process.communicate()
            self.faults.append(f"{life} did not leave")
        begun = f"{life}.notes" in os.listdir(self.directory)
        if process.returncode == -signal.SIGTERM and not begun:
            self.killed.add(life)
        elif process.returncode:
            self.faults.append(f"{life} ended with {process.returncode}: {said.decode()[-1500:]}")

    async def kill(self, slot: int) -> None:
        life, process = self.running.pop(slot)
        self.killed.add(life)
        process.kill()
        await process.communicate()

    async def stop_for_a_while(self, slot: int) -> None:
        _, process = self.running[slot]
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self.random.random() * 0.5)
        process.send_signal(signal.SIGCONT)

    async def step(self) -> None:
        slot = self.random.randrange(SLOTS)
        if slot not in self.running:
            await self.start(slot)
            return
        if not self.begun(slot) and self.random.random() < 0.9:
            return  # most come to do something, however long a busy machine takes to start them
        chance = self.random.random()
        if chance < 0.35:
            await self.kill(slot)
        elif chance < 0.6:
            await self.leave(slot)
        elif chance < 0.75:
            await self.stop_for_a_while(slot)

    def begun(self, slot: int) -> bool:
        """Whether the slot's program has come so far as to note something."""
        life, _ = self.running[slot]
        return (self.directory / f"{life}.notes").exists()

    def enough(self, lives: int, killed: int, asked: int) -> bool:
        """Whether so many have lived and were killed, and more than so much was asked and delivered."""
        if self.lives < lives or len(self.killed) < killed:
            return False
        kinds = Counter(
            line.split(" ", 1)[0]
            for path in self.directory.glob("*.notes")
            for line in path.read_text().splitlines()
        )
        return kinds["asked"] > asked and kinds["got"] > asked

    async def run(self, duration_s: float, lives: int = 0, killed: int = 0, asked: int = -1) -> Verdict:
        """For that long, and on a busy machine as long as it takes until it is `enough`."""
        until = time.monotonic() + duration_s
        self.lifeline, held = os.pipe()
        try:
            for slot in range(SLOTS):
                await self.start(slot)
            while time.monotonic() < until or not self.enough(lives, killed, asked):
                await asyncio.sleep(self.random.random() * 0.4)
                await self.step()
            await asyncio.gather(*(self.leave(slot) for slot in list(self.running)))
        finally:
            for _, process in self.running.values():
                process.kill()
                await process.communicate()
            os.close(self.lifeline)
            os.close(held)
        return judge(self.directory, self.lives, self.killed, self.faults)


# ---- the judge


class Notes:
    """All that all lives noted."""

    def __init__(self, directory: Path) -> None:
        self.asked: dict[str, str] = {}  # id -> life
        self.outcomes: dict[str, str] = {}
        self.ran: Counter[str] = Counter()
        self.got: dict[tuple[str, str], list[str]] = {}  # (life, stream) -> ids in order
        self.ended: set[str] = set()
        self.faults: list[str] = []
        for path in sorted(directory.glob("*.notes")):
            for line in path.read_text().splitlines():
                self.read(path.stem, line.split(" "))

    def read(self, life: str, words: list[str]) -> None:
        kind, rest = words[0], words[1:]
        if kind == "asked":
            self.asked[rest[0]] = life
        elif kind == "outcome":
            if rest[0] in self.outcomes:
                self.faults.append(f"two outcomes: {rest}")
            self.outcomes[rest[0]] = " ".join(rest[1:])
        elif kind == "ran":
            self.ran[rest[0]] += 1
        elif kind == "got":
            self.got.setdefault((life, rest[0]), []).append(rest[1])
        elif kind == "end":
            self.ended.add(life)
        elif kind == "fault":
            self.faults.append(f"{life}: {' '.join(rest)}")


def judge(directory: Path, lives: int, killed: set[str], faults: list[str]) -> Verdict:
    """Read the notes; whatever should not have happened is a fault."""
    notes = Notes(directory)
    verdict = Verdict(lives, len(killed), len(notes.asked))
    verdict.faults = faults + notes.faults
    verdict.delivered = sum(map(len, notes.got.values()))
    verdict.outcomes = Counter(text.split(" ")[0] for text in notes.outcomes.values())
    verdict.faults += _judge_outcomes(notes, killed)
    verdict.faults += _judge_deliveries(notes)
    return verdict


def _judge_outcomes(notes: Notes, killed: set[str]) -> list[str]:
    faults = [f"{words} ran {count} times" for words, count in notes.ran.items() if count > 1]
    taken = {words for ids in notes.got.values() for words in ids} | set(notes.ran)
    for words, life in notes.asked.items():
        outcome = notes.outcomes.get(words)
        checked = ".parts." not in words
        if outcome is None:
            faults += [] if life in killed else [f"{words} has no outcome"]
        elif outcome.startswith("fault"):
            faults.append(f"{words}: {outcome}")
        elif checked and outcome == "done" and words not in taken:
            faults.append(f"{words} succeeded, and nobody took it")
        elif checked and words in taken and outcome in {f"undeliverable {reason}" for reason in NOT_RUN}:
            faults.append(f"{words} was taken, and its sender was told: {outcome}")
    return faults


def _judge_deliveries(notes: Notes) -> list[str]:
    faults = []
    inbox: Counter[str] = Counter()
    for (life, stream), ids in notes.got.items():
        last: dict[str, int] = {}
        for words in ids:
            source, _, number = words.rpartition(".")
            if int(number) <= last.get(source, 0):
                faults.append(f"{life} got {words} after {source}.{last[source]}")
            last[source] = int(number)
        if stream == "inbox":
            inbox.update(ids)
    return faults + [f"{words} was delivered {count} times" for words, count in inbox.items() if count > 1]


async def _main() -> None:
    directory, slot, life, seed = sys.argv[1:]
    await Worker(Path(directory), int(slot), life, int(seed)).run()


if __name__ == "__main__":
    asyncio.run(_main())
