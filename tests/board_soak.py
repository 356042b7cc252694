"""A stage of the soak: a million messages through a leaf on a real MicroPython, in a heap that is bounded.

Both ways at once, at random from a seed: requests, messages, publications to the board, and its own requests
and publications; over a stream, then over packets. Nothing may be lost, wrong or out of order, and what the
board holds may not grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import busway
from busway import firmware
from tests.drivers.lines import line
from tests.rigs import micropython

MESSAGES = 1_000_000
HEAP_KIB = 56
GROWTH_MAX = 512  # bytes, from the first samples of the board's memory to the last
SAMPLES = 10
QUIET_S = 30.0  # without a word from the board: it has failed

BOARD = """
import gc, socket, sys
from busway.adapters.micropython import Loop
sort, place = sys.argv[1], int(sys.argv[2])
if sort == "stream":
    line = socket.socket()
    line.connect(socket.getaddrinfo("127.0.0.1", place)[0][-1])
    line.setsockopt(6, 1, 1)  # TCP_NODELAY: what is written in pieces does not wait for 40 ms
else:
    line = open(place, "r+b")
loop = Loop(line, "soak", sort=sort, node_id=b"b" * 16)
count = faults = asked = taken = heard = 0
sampled = 0
stop = False

def counted(of=1):
    global count, sampled
    count += of
    if count >= sampled + 5000:
        sampled = count
        gc.collect()
        print(count, gc.mem_alloc(), faults, taken)

@loop.serve("soak/echo")
def echo(value):
    global stop
    stop = value is None
    counted(2)
    return value

@loop.receive("soak/sink")
def sink(value):
    global taken, faults
    faults += value[0] != taken
    taken = value[0] + 1
    counted()

@loop.subscribe("soak/news")
def news(value):
    counted()

def ask():
    global asked
    asked += 1
    loop.request("soak/double", asked, replied, 30000, 30000)
    if asked % 4 == 0 and loop.publish("soak/flow", asked):
        counted()

def replied(outcome):
    global faults
    faults += not outcome.ok or outcome.payload != 2 * asked
    counted(2)
    ask()

ask()
while not stop:
    loop.step(1000)
for _ in range(50):
    loop.step(1)
gc.collect()
print(count, gc.mem_alloc(), faults, taken)
"""


class Board:
    """The board's process and what it printed: messages so far, bytes held, faults, messages taken."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.count = self.faults = self.taken = 0
        self.held: list[int] = []
        self.heard = time.monotonic()

    async def listen(self) -> None:
        assert self.process.stdout is not None
        while words := (await self.process.stdout.readline()).split():
            self.count, held, self.faults, self.taken = map(int, words)
            self.held.append(held)
            self.heard = time.monotonic()

    @property
    def growth(self) -> float:
        """From the middle of the first samples to that of the last; what is in hand comes and goes."""
        whole = self.held[:-1]  # the last one is of a board at rest
        if len(whole) < 2:
            return 0.0
        return statistics.median(whole[-SAMPLES:]) - statistics.median(whole[1 : SAMPLES + 1])


async def talk(bus: busway.AsyncBus, board: Board, rng: random.Random, messages: int, seconds: float) -> int:
    """Does what programs do with a board, until it has its messages. Returns how many went to its sink."""
    until = time.monotonic() + seconds
    sent = 0
    while board.count < messages and time.monotonic() < until:
        if board.process.returncode is not None or time.monotonic() - board.heard > QUIET_S:
            raise AssertionError(f"the board has ended or is silent after {board.count:,} messages")
        chance = rng.random()
        text = "x" * rng.choice((0, 5, 20, 60, 100, 180))  # all within a frame
        if chance < 0.6:
            value = [rng.randrange(1 << 16), text]
            if await bus.request("soak/echo", value, ttl=10) != value:
                raise AssertionError("an echo that is not what was sent")
        elif chance < 0.9:
            await bus.send("soak/sink", [sent, text], ttl=10)
            sent += 1
        else:
            await bus.publish("soak/news", text)
    await bus.request("soak/echo", None)
    return sent


async def life(seed: int, sort: str, messages: int, seconds: float) -> tuple[bool, str]:
    """One board's life."""
    command = micropython.find_32() or micropython.find()
    assert command is not None, "make setup fetches a MicroPython"
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bw-")))
        firmware.build(folder)
        (folder / "main.py").write_text(BOARD)
        bus = await stack.enter_async_context(busway.AsyncBus(ipc=False))
        cable = stack.enter_context(line())
        place = str(cable.board)
        if sort == "stream":
            place = (await bus.listen("tcp://127.0.0.1:0")).url.rsplit(":", 1)[1]

        @bus.serve("soak/double")
        async def double(request: busway.Request) -> object:
            assert isinstance(request.payload, int)
            return request.payload * 2

        flow = bus.subscribe("soak/flow")
        process = await asyncio.create_subprocess_exec(
            *(command, "-X", f"heapsize={HEAP_KIB}k", "main.py", sort, place),
            cwd=folder,
            stdout=subprocess.PIPE,
            pass_fds=[cable.board],
        )
        stack.callback(lambda: process.kill() if process.returncode is None else None)
        board = Board(process)
        listening = asyncio.create_task(board.listen())
        if sort == "packet":
            await bus.connect(cable.url)
        started = time.monotonic()
        try:
            sent = await talk(bus, board, random.Random(f"{seed} {sort}"), messages, seconds)
            await asyncio.wait_for(listening, 20)
            await asyncio.wait_for(process.wait(), 20)
        except (AssertionError, busway.BusError, TimeoutError) as error:
            return False, f"{sort} link: {type(error).__name__}: {error}"
        took = time.monotonic() - started
        flow.close()
    text = (
        f"{sort} link: {board.count:,} messages in {took:.0f} s, {board.count / took:,.0f}/s, "
        f"{board.faults} faults; {board.held[-1]} bytes held of {HEAP_KIB} KiB, grown by {board.growth:.0f}"
    )
    return not board.faults and board.taken == sent and board.growth <= GROWTH_MAX, text


def boards(seed: int, seconds: float, messages: int = MESSAGES) -> tuple[bool, str]:
    """Both sorts of links, half of the time each, or `messages`. Returns whether all bounds were kept."""
    found = [asyncio.run(life(seed, sort, messages, seconds / 2)) for sort in ("stream", "packet")]
    return all(kept for kept, _ in found), "; ".join(text for _, text in found)
