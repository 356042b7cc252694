"""The stage of the long tests (tests/soak.py) about open files: messages with 1 to 64 of them among many
plain ones, from one program through another to a third, as fast as they go. Each file has to come with its
own message, and be the right one; messages have to come in order; afterwards no program has a descriptor
more.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from tests.adapters.tools import Program
from tests.rigs import held

FLOWS = 3  # endpoints that are sent to side by side
PLAIN = 100_000  # messages of a round, and of those with files
CARRYING = 1_000
FILES_MAX = 64
BOUND_S = 300.0  # of a round

ROUTER = """
async def main():
    async with busway.AsyncBus(label="router", transit=True) as bus:
        say("ready")
        await heard()
asyncio.run(main())
"""

RECEIVER = """
async def take(receiver, total, wrong):
    files = 0
    for number in range(total):
        message = await receiver.receive()
        if type(message.payload) is bytes:
            if message.payload != number.to_bytes(4, "big") or message.files or message.missed:
                wrong.append((message.payload, number))
            continue
        wanted, count = message.payload
        found = []
        for file in message.files:
            with file:
                found.append(os.pread(file.fileno(), 64, 0).decode())
        if wanted != number or found != [f"{message.name} {number} {at}" for at in range(count)]:
            wrong.append((wanted, number, found))
        files += count
    return files

async def main():
    async with busway.AsyncBus(label="receiver", leaf=True) as bus:
        receivers = [bus.register(f"mix/{number}") for number in range(int(sys.argv[1]))]
        say("ready")
        while (line := await heard()) != "leave":
            totals = list(map(int, line.split()))
            wrong = []
            taking = [take(*each, wrong) for each in zip(receivers, totals)]
            files = await asyncio.gather(*taking)
            say(sum(files), len(wrong), *wrong[:1])
asyncio.run(main())
"""

SENDER = """
import random

async def give(bus, name, total, carrying):
    files = 0
    for number in range(total):
        if number not in carrying:
            await bus.send(name, number.to_bytes(4, "big"))
            continue
        made = []
        for at in range(carrying[number]):
            made.append(os.memfd_create("busway-soak"))
            os.write(made[-1], f"{name} {number} {at}".encode())
        await bus.send(name, [number, len(made)], files=made)
        for fd in made:
            os.close(fd)
        files += len(made)
    return files

async def main():
    async with busway.AsyncBus(label="sender", leaf=True) as bus:
        say("ready")
        while (line := await heard()) != "leave":
            seed, most, *numbers = map(int, line.split())
            rng = random.Random(seed)
            giving = []
            for flow in range(len(numbers) // 2):
                total, count = numbers[2 * flow : 2 * flow + 2]
                chosen = {number: rng.randint(1, most) for number in rng.sample(range(total), count)}
                giving.append(give(bus, f"mix/{flow}", total, chosen))
            say(sum(await asyncio.gather(*giving)))
asyncio.run(main())
"""


class Fault(Exception):
    """A bound that was not kept."""


async def mixed(seed: int, plain: int, carrying: int, seconds: float = 0.0) -> str:
    """Rounds of so many messages, one at least, for `seconds`; what there was. Raises Fault."""
    rng = random.Random(seed)
    until = time.monotonic() + seconds
    rounds = files = 0
    async with AsyncExitStack() as stack:
        programs = []
        for text in (ROUTER, RECEIVER, SENDER):
            programs.append(await stack.enter_async_context(Program(text, FLOWS)))
            await programs[-1].expect("ready")
        _, receiver, sender = programs
        before: list[int] = []
        while not rounds or time.monotonic() < until:
            shares = [(carrying + flow) // FLOWS for flow in range(FLOWS)]
            totals = [(plain + flow) // FLOWS + share for flow, share in enumerate(shares)]
            await receiver.tell(" ".join(map(str, totals)))
            words = [part for pair in zip(totals, shares, strict=True) for part in pair]
            await sender.tell(" ".join(map(str, (rng.randrange(1 << 30), FILES_MAX, *words))))
            sent = int(await sender.line(BOUND_S))
            came, wrong, *what = (await receiver.line(BOUND_S)).split(" ", 2)
            if int(wrong) or int(came) != sent:
                raise Fault(
                    f"round {rounds}: {sent} files were sent, {came} came, {wrong} were wrong: {what}"
                )
            rounds += 1
            files += sent
            before = before or await _settled(programs, [])
            after = await _settled(programs, before)
            if after != before:
                raise Fault(f"round {rounds}: descriptors were {before}, and are {after}")
        for program in (sender, receiver):
            await program.tell("leave")
            await program.ended()
    return f"{rounds} rounds of {plain} plain messages and {carrying} with files: {files} files, all right"


async def _settled(programs: list[Program], wanted: list[int]) -> list[int]:
    """How many descriptors each has, once these are as many as before, or after a while."""
    counts: list[int] = []
    for _ in range(100):
        former, counts = counts, [held.count(program.pid) for program in programs]
        if counts == (wanted or former):
            break
        await asyncio.sleep(0.05)
    return counts


@contextmanager
def _own_place() -> Iterator[Path]:
    """A socket directory of its own."""
    with tempfile.TemporaryDirectory(prefix="bw-") as directory:
        former = os.environ.get("BUSWAY_DIR")
        os.environ["BUSWAY_DIR"] = directory
        try:
            yield Path(directory)
        finally:
            if former is None:
                del os.environ["BUSWAY_DIR"]
            else:
                os.environ["BUSWAY_DIR"] = former


def files(seed: int, seconds: float) -> tuple[bool, str]:
    """Whether all bounds were kept, and what there was."""
    with _own_place():
        try:
            return True, asyncio.run(mixed(seed, PLAIN, CARRYING, seconds))
        except (Fault, AssertionError, TimeoutError) as error:
            return False, f"{type(error).__name__}: {error}"
