"""The programs of the chaos campaign (run.py), one process each: `python -m tests.chaos.programs ROLE ...`.

Each prints what is wrong as a line `fault ...` at once, and its counts, as JSON, once it was told to end by a
line on its standard input. Those that are killed say only the former.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import math
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

import busway
from tests.chaos import stamps

SINKS: Final = 5
MEMORY: Final = 32 << 20  # that a program may share, in bytes
ANSWERS: Final = 16 << 20  # of others, that it has not read
RETRY: Final = busway.Retry(first=0.05, cap=0.5)
PATIENCE_S: Final = 5.0  # for a verdict
VERDICT_S: Final = 60.0  # after which none has come
IDLE_S: Final = 40.0  # within which memory that nobody has is given back: 10 s, looked for every 5 s


def descriptors() -> Counter[str]:
    """What this process has open, by sort; memory that is shared as "memfd"."""
    found: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            found["memfd" if target.startswith("/memfd:busway") else target.partition(":")[0]] += 1
    return found


def mappings() -> int:
    """Pieces of shared memory that this process sees."""
    with open("/proc/self/maps", encoding="ascii", errors="replace") as file:
        return sum("/memfd:busway" in line for line in file)


def memory() -> int:
    """Bytes of all shared memory that this process has open."""
    sizes = {}
    for name in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{name}"
        with contextlib.suppress(OSError):
            if os.readlink(path).startswith("/memfd:busway"):
                found = os.stat(path)
                sizes[found.st_ino] = found.st_size
    return sum(sizes.values())


class Program:
    """What all of them have: a bus, near the others or behind the router, and counts."""

    def __init__(self, number: int, seed: int, router: str) -> None:
        self.number = number
        self.router = router
        self.draw = random.Random(f"{seed} {number} {os.getpid()}")
        self.counts: Counter[str] = Counter()
        self.ending = asyncio.Event()
        self.bus: Any

    def fault(self, *words: object) -> None:
        self.counts["faults"] += 1
        print("fault", type(self).__name__, self.number, *words, flush=True)

    async def run(self) -> None:
        before = descriptors()
        limits = busway.Limits(shared_memory=MEMORY)
        async with busway.AsyncBus(ipc=not self.router, limits=limits, label=f"{self.number}") as self.bus:
            if self.router:
                await self.bus.connect(self.router, wait=math.inf, retry=RETRY)
            told = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
            told.add_done_callback(lambda _: self.ending.set())
            async with self.work():
                print("ready", flush=True)
                await self.ending.wait()
            await self.quiet()
        self.over(before)

    def over(self, before: Counter[str]) -> None:
        """Its bus is closed: nothing is open that was not before."""
        gc.collect()
        left = descriptors() - before
        if left:
            self.fault("left open after its bus was closed:", dict(left))
        print(json.dumps(self.counts), flush=True)

    def work(self) -> contextlib.AbstractAsyncContextManager[None]:
        raise NotImplementedError

    async def quiet(self) -> None:
        """Nothing is under way: within a while no shared memory is left here."""
        await asyncio.to_thread(self.rest)

    def rest(self) -> None:
        until = time.monotonic() + IDLE_S
        while time.monotonic() < until:
            gc.collect()
            if not descriptors()["memfd"] and not mappings():
                return
            time.sleep(0.5)
        memory = f"{descriptors()['memfd']} descriptors and {mappings()} mappings of shared memory"
        report = self.bus.node.supplements.memory
        self.fault(f"has {memory} at rest: {report and report()}")


class Source(Program):
    """Publishes, sends and asks, with files and regions. Each send and request must have its verdict."""

    def __init__(self, number: int, seed: int, router: str) -> None:
        super().__init__(number, seed, router)
        self.sent = 0
        self.registry = busway.Registry(MEMORY, idle=5.0)

    @contextlib.asynccontextmanager
    async def work(self) -> AsyncIterator[None]:
        loops = [self.publish(), self.send(), self.send(), self.ask(), self.ask(), self.watch()]
        tasks = [asyncio.create_task(self.again(loop)) for loop in loops]
        try:
            yield
        finally:
            done, late = await asyncio.wait(tasks, timeout=VERDICT_S)
            for task in late:
                self.fault("no verdict within", VERDICT_S, "s:", task)
                task.cancel()
            for task in done:
                if task.exception() is not None:
                    self.fault(repr(task.exception()))

    async def again(self, steps: AsyncIterator[None]) -> None:
        async for _ in steps:
            if self.ending.is_set():
                return
            await asyncio.sleep(self.draw.expovariate(50.0))

    def payload(self, least: int = stamps.SIZE_MIN) -> bytes:
        self.sent += 1
        size = self.draw.choice((100, 70_000, 300_000, 1_000_000, stamps.SIZE_MAX))
        return stamps.make(self.draw.randint(max(least, size // 2), size), self.number, self.sent)

    async def publish(self) -> AsyncIterator[None]:
        while True:
            await self.bus.publish("chaos/frames", self.payload(), wait=self.draw.random() < 0.5)
            self.counts["published"] += 1
            yield

    async def send(self) -> AsyncIterator[None]:
        while True:
            with contextlib.ExitStack() as ours:
                payload, options = self.payload(), self.attached(ours) | self.patience()
                where = f"chaos/take/{self.draw.randrange(SINKS)}"
                sending = self.bus.send(where, payload, confirm=True, timeout=PATIENCE_S, **options)
                await self.verdict("send", sending)
            yield

    def attached(self, ours: contextlib.ExitStack) -> dict[str, Any]:
        """Files that say whose they are, and regions."""
        files = []
        for at in range(self.draw.choice((0, 0, 1, 2, 60))):
            file = os.memfd_create("chaos")
            ours.callback(os.close, file)
            os.write(file, f"{self.number} {self.sent} {at}".encode())
            files.append(file)
        regions = []
        for _ in range(self.draw.choice((0, 0, 1, 3))):
            region = ours.enter_context(self.registry.take(self.draw.randint(stamps.SIZE_MIN, 200_000)))
            with region.view as view:
                stamps.write(view, self.number, self.sent)
            regions.append(region)
        return {"files": files, "regions": regions}

    async def ask(self) -> AsyncIterator[None]:
        while True:
            payload = self.payload()
            where = f"chaos/ask/{self.draw.randrange(SINKS)}"
            asking = self.bus.request(where, payload, timeout=PATIENCE_S, **self.patience())
            answer = await self.verdict("request", asking)
            if answer is not None and answer != payload:
                self.fault("another answer than was asked for")
            yield

    def patience(self) -> dict[str, float]:
        """Some wait for who is not there."""
        return {"ttl": self.draw.choice((0.0, 0.0, 2.0))}

    async def verdict(self, what: str, outcome: Any) -> Any:
        """One there must be, unless it is called off, as some are."""
        self.counts[what] += 1
        try:
            async with asyncio.timeout(0.05 if self.draw.random() < 0.1 else None):
                answer = await outcome
        except TimeoutError as error:
            called_off = not isinstance(error, busway.BusError)
            self.counts[f"{what}: {'called off' if called_off else 'timeout'}"] += 1
            return None
        except busway.BusError as error:
            self.counts[f"{what}: {getattr(error, 'reason_name', type(error).__name__)}"] += 1
            return None
        self.counts[f"{what}: good"] += 1
        return answer

    async def watch(self) -> AsyncIterator[None]:
        """What it shares stays within its bounds."""
        while True:
            size = memory()
            self.counts["memory"] = max(self.counts["memory"], size)
            self.counts["descriptors"] = max(self.counts["descriptors"], descriptors().total())
            if size > 2 * MEMORY + ANSWERS:
                self.fault(f"has {size:,} bytes of shared memory")
            yield
            await asyncio.sleep(0.5)


class Sink(Program):
    """Takes all that, holds some of it for a while, and looks whether it stays what it was."""

    def __init__(self, number: int, seed: int, router: str) -> None:
        super().__init__(number, seed, router)
        self.held: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def work(self) -> AsyncIterator[None]:
        frames = self.bus.subscribe("chaos/frames", queue=20)
        taken = self.bus.register(f"chaos/take/{self.number}", queue=20)
        self.bus.serve(f"chaos/ask/{self.number}", self.answer)
        tasks = [asyncio.create_task(each) for each in (self.watch_frames(frames), self.take(taken))]
        try:
            yield
        finally:
            for receiver in (frames, taken):
                receiver.close()
            await asyncio.gather(*tasks)
            await asyncio.gather(*self.held)

    async def answer(self, request: busway.Request[bytes]) -> bytes:
        self.look(request.view, "request")
        if self.draw.random() < 0.2:
            await asyncio.sleep(self.draw.random() * 0.3)
        return request.payload

    async def watch_frames(self, frames: busway.Receiver[bytes]) -> None:
        async for message in frames:
            self.look(message.view, "frame")
            if self.draw.random() < 0.05:
                await asyncio.sleep(self.draw.random())  # so slow that its queue gets full
            del message  # or the last one is held until the next comes

    async def take(self, taken: busway.Receiver[bytes]) -> None:
        async for message in taken:
            self.look(message.view, "message")
            try:
                if self.draw.random() < 0.9:  # whoever looks at nothing closes it all the same
                    self.open(message)
            except (OSError, ValueError) as error:
                self.fault("what came along:", repr(error))
            del message

    def open(self, message: busway.Message[bytes]) -> None:
        source, number = stamps.read(message.view)
        for at, file in enumerate(message.files):
            self.counts["files"] += 1
            with file.open("rb") as opened:
                opened.seek(0)
                text = opened.read().decode()
            if text != f"{source} {number} {at}":
                self.fault(f"file {at} of message {number} of source {source} is {text!r}")
        for region in message.regions:
            self.counts["regions"] += 1
            if stamps.read(region.view) != (source, number):
                self.fault(f"a region of message {number} of source {source} is another's")
            self.look(region.view, "region")

    def look(self, view: memoryview, what: str) -> None:
        """Whole it must be, and stay so while it is held."""
        self.counts[what] += 1
        try:
            stamp = stamps.read(view)
        except ValueError as error:
            self.fault(f"a {what} came:", error)
            return
        if self.draw.random() < 0.3:
            task = asyncio.create_task(self.hold(view, stamp, what))
            self.held.add(task)
            task.add_done_callback(self.held.discard)

    async def hold(self, view: memoryview, stamp: tuple[int, int], what: str) -> None:
        self.counts["held"] += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ending.wait(), self.draw.random() * 2.0)
        try:
            now: object = stamps.read(view)
        except ValueError as error:
            now = error
        if now != stamp:
            self.fault(f"a {what} that is held changed: {stamp} is now {now}")


class Reader(Program):
    """Takes what is published, with a Bus, in a thread of its own."""

    async def run(self) -> None:
        await asyncio.to_thread(self.read)

    def read(self) -> None:
        before = descriptors()
        limits = busway.Limits(shared_memory=MEMORY)
        with busway.Bus(limits=limits, label=f"{self.number}") as self.bus:
            frames = self.bus.subscribe("chaos/frames", queue=20)
            told = threading.Thread(target=lambda: (sys.stdin.readline(), frames.close()))
            told.start()
            print("ready", flush=True)
            self.hold_on(frames)
            told.join()
            self.rest()
        self.over(before)

    def hold_on(self, frames: Any) -> None:
        """Hold each for a while."""
        held: list[tuple[float, memoryview, tuple[int, int]]] = []
        while True:
            try:
                view = frames.receive(0.2).view
            except TimeoutError:
                pass
            except busway.BusClosed:
                break
            else:
                self.counts["read"] += 1
                held.append((time.monotonic() + self.draw.random(), view, stamps.read(view)))
                del view
            held = [each for each in held if not self.is_over(*each)]
        for _, view, stamp in held:
            self.is_over(0.0, view, stamp)

    def is_over(self, until: float, view: memoryview, stamp: tuple[int, int]) -> bool:
        """Whether it need not be held any longer; it must be what it was."""
        if time.monotonic() < until:
            return False
        if stamps.read(view) != stamp:
            self.fault(f"what is held changed: {stamp}")
        return True


class Router(Program):
    """Stands between those who are near and those behind it."""

    async def run(self) -> None:
        async with busway.AsyncBus(
            transit=True, node_id=bytes(16 * [self.number]), label="router"
        ) as self.bus:
            print("ready", flush=True)
            await asyncio.Event().wait()


ROLES: Final = {"source": Source, "sink": Sink, "reader": Reader, "router": Router}


def main(role: str, number: str, seed: str, router: str = "") -> None:
    logging.getLogger("busway").setLevel(logging.ERROR)  # each router that is killed is told of
    asyncio.run(ROLES[role](int(number), int(seed), router).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
