"""The long tests: `python -m tests.soak --seed N --duration S`. Prints bounds, progress and a verdict.

Twenty-one stages share the time: random campaigns, millions of messages to a slow receiver, two hundred
senders to a slow receiver, fuzzing of what a connection reads, routing (random lives of the control
plane, and every order of events in small networks), random lives of a whole mesh, the same with all of
addressing, a mesh and a listener beside hostile peers, a server of named clients among thieves and a
crowd, open files among plain messages over two hops, every kind of message over slow, lossy and stopped
links, crowds of machines that find each other (simulated ones, then fifty real ones that start at once),
confirmed messages over bad serial lines whose boards reset, sessions over packets, read by CPython and by
MicroPython, sessions of the three leaves side by side, a million messages through a leaf on MicroPython,
the same leaf in an image for a Cortex-M3, a thousand kills of programs that write a nano file, kills
of stores, senders and receivers, two sites on NATS servers that are killed, kills of programs that share
memory and open files, and every way to install on every Python that is here. Exit status 0 only if each kept
all its bounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import busway
from tests import (
    arm_soak,
    backbone_soak,
    board_soak,
    clients_soak,
    files_soak,
    hostile_soak,
    install_soak,
    lan_soak,
    shared_soak,
    store_soak,
)
from tests.adapters.campaign import Campaign
from tests.protocol import campaign as core
from tests.protocol import streams
from tests.rigs import alike, session_fuzz
from tests.rigs.micropython import MicroPython
from tests.rigs.micropython import find as find_micropython
from tests.rigs.micropython import stage as stage_micropython
from tests.rigs.tree import ROOT
from tests.simulation import addressed, everyone, life, order, visitors
from tests.simulation.lines import Trouble, radio, uart
from tests.simulation.model import CASES
from tests.simulation.stations import Talk

MIB = 1 << 20
MESSAGES = 20_000_000
RSS_MAX = 80 * MIB  # of each process of the runs under pressure
RSS_GROWTH_MAX = 12 * MIB  # from a tenth of the run to its end
SENDERS = 200
SENDER_PROCESSES = 4
CROWD_QUEUE = 1024  # messages: the budget of the receiver that 200 senders share
STARVED = 0.25  # of the mean: who got less has starved
CAMPAIGN_S = 20.0
STATES_MAX = 400_000  # of one network in the exhaustive check: less than 1 GiB
KILLS = 1000  # of programs that write a nano file, if there is time
LIVES = 0.4  # of the time for routing
EVENTS = 1_000_000  # of the lives with all of addressing


class Result(NamedTuple):
    """The result of a stage."""

    passed: bool
    text: str


def say(*words: object) -> None:
    print(*words, flush=True)


def rss_of(pid: int) -> int:
    """Resident memory of a process, bytes; 0 once it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


class Memory:
    """Samples of a process's resident memory."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.samples: list[int] = []

    def sample(self) -> None:
        if found := rss_of(self.pid):
            self.samples.append(found)

    @property
    def peak(self) -> int:
        return max(self.samples, default=0)

    @property
    def growth(self) -> int:
        """The peak against the state after a tenth of the run."""
        return self.peak - self.samples[len(self.samples) // 10] if self.samples else 0

    @property
    def within(self) -> bool:
        return 0 < self.peak <= RSS_MAX and self.growth <= RSS_GROWTH_MAX

    def __str__(self) -> str:
        return f"{self.peak / MIB:.1f} MiB at most, grown by {self.growth / MIB:.1f}"


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A short directory, kept if the stage raises."""
    directory = Path(tempfile.mkdtemp(prefix="bw-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@contextlib.asynccontextmanager
async def role(directory: Path, name: str, *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """One process of a stage: this very file with `--role`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.soak", "--role", name, *map(str, arguments)),
        cwd=ROOT,
        env={**os.environ, "BUSWAY_DIR": str(directory)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        limit=MIB,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def line_of(process: asyncio.subprocess.Process, within_s: float) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(within_s):
        return (await process.stdout.readline()).decode().strip()


async def sample_until(task: asyncio.Task[str], memories: list[Memory], what: str) -> str:
    """Sample memory until a task ends; say so now and then."""
    started = said = time.monotonic()
    while not task.done():
        for memory in memories:
            memory.sample()
        if time.monotonic() - said > 10:
            said = time.monotonic()
            now = ", ".join(f"{memory.samples[-1] / MIB:.1f}" for memory in memories if memory.samples)
            say(f"   {what}: {said - started:.0f} s, now {now} MiB")
        await asyncio.wait([task], timeout=0.1)
    return await task


# ---- campaigns


def core_campaign(seed: int, seconds: float) -> Result:
    """The core's own campaign over its deterministic net, seed after seed."""
    runs, until = 0, time.monotonic() + seconds
    while runs == 0 or time.monotonic() < until:
        try:
            core.run(seed + runs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            return Result(False, f"the core's campaign, seed {seed + runs}: {type(error).__name__}: {error}")
        runs += 1
    return Result(True, f"the core's campaign: {runs} lives of a few nodes without a fault")


def campaigns(seed: int, seconds: float) -> Result:
    """Programs that come and go at random: one outcome each, nothing twice, in order."""
    until = time.monotonic() + seconds
    inner = core_campaign(seed, seconds / 3)
    say(f"   {inner.text}")
    runs = 0
    while inner.passed and (runs == 0 or time.monotonic() + CAMPAIGN_S < until):
        left = until - time.monotonic()
        with scratch() as directory:
            verdict = asyncio.run(Campaign(directory, seed + runs).run(min(CAMPAIGN_S, max(2.0, left))))
        say(f"   seed {seed + runs}: {verdict}")
        if verdict.faults:
            return Result(False, "\n".join(verdict.faults[:20]))
        runs += 1
    return Result(inner.passed, f"{runs} campaigns without a fault")


# ---- millions of messages to a slow receiver


async def sink() -> None:
    """Takes numbered messages, slower than they could come; an empty one is the last."""
    async with busway.AsyncBus() as bus:
        receiver = bus.register("soak/sink")
        say("ready")
        expected = 0
        while payload := (await receiver.receive(60)).payload:
            assert isinstance(payload, bytes)
            number = int.from_bytes(payload[:8], "big")
            if number != expected:
                say(f"message {number} instead of {expected}")
                return
            expected += 1
            if expected % 5000 == 0:
                await asyncio.sleep(0.02)
        say(expected)


async def source(count: int, seconds: float) -> None:
    """Sends as many numbered messages of 16 bytes as it may, for at most so many seconds."""
    async with busway.AsyncBus() as bus:
        until = time.monotonic() + seconds
        await bus.send("soak/sink", bytes(16), ttl=10)
        say("ready")
        number = 1
        while number < count and (number & 4095 or time.monotonic() < until):
            await bus.send("soak/sink", number.to_bytes(8, "big") + bytes(8))
            number += 1
        await bus.send("soak/sink", b"", confirm=True)
        say(number, len(bus.undeliverable))


async def pressure(seed: int, seconds: float, count: int = MESSAGES) -> Result:
    say(
        f"   bound: {RSS_MAX // MIB} MiB in each of two processes, growth {RSS_GROWTH_MAX // MIB} MiB at most"
    )
    with scratch() as directory:
        async with role(directory, "sink") as taker:
            assert await line_of(taker, 20) == "ready"
            started = time.monotonic()
            async with role(directory, "source", count, seconds) as giver:
                assert await line_of(giver, 20) == "ready"  # starting is no growth
                memories = [Memory(giver.pid), Memory(taker.pid)]
                ending = asyncio.create_task(line_of(giver, seconds + 60))
                sent, undeliverable = map(int, (await sample_until(ending, memories, "messages")).split())
                taken = await line_of(taker, 60)
    took = time.monotonic() - started
    text = (
        f"{sent:,} messages sent, {taken} taken in order, {undeliverable} undeliverable, "
        f"{sent / took:,.0f}/s; sender {memories[0]}, receiver {memories[1]}"
    )
    kept = all(memory.within for memory in memories)
    return Result(taken == str(sent) and not undeliverable and kept, text)


# ---- two hundred senders to a slow receiver


async def crowd_sink() -> None:
    """Takes from all, slowly, until told to end and nothing more comes; then tells what it saw."""
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    last: Counter[str] = Counter()
    queued = faults = 0
    async with busway.AsyncBus() as bus:
        receiver = bus.register("soak/crowd", queue=CROWD_QUEUE)
        core = receiver._core
        say("ready")
        count = 0
        while True:
            try:
                message = await receiver.receive(1.0)
            except TimeoutError:
                if leaving.is_set():
                    break
                continue
            assert isinstance(message.payload, bytes)
            queued = max(queued, len(core.queue) + 1)
            source_id = message.source.hex()
            number = int.from_bytes(message.payload[:8], "big")
            faults += number != last[source_id] + 1
            last[source_id] = number
            count += 1
            if count % 20 == 0 and not leaving.is_set():
                await asyncio.sleep(0.001)
        say(json.dumps({"last": last, "queued": queued, "faults": faults, "refused": core.refused}))


async def crowd(nodes: int) -> None:
    """Many nodes in one process, each of which sends numbers for as long as it may."""
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    sent: dict[str, int] = {}

    async def send(bus: busway.AsyncBus) -> None:
        number = 0
        while not leaving.is_set():
            await bus.send("soak/crowd", (number + 1).to_bytes(8, "big") + bytes(248), ttl=10)
            number += 1
        sent[bus.id.hex()] = number

    async with contextlib.AsyncExitStack() as stack:
        buses = [await stack.enter_async_context(busway.AsyncBus(leaf=True)) for _ in range(nodes)]
        say("ready")
        await asyncio.gather(*map(send, buses))
    say(json.dumps(sent))


async def many(seed: int, seconds: float) -> Result:
    say(
        f"   bound: {CROWD_QUEUE} messages queued, {RSS_MAX // MIB} MiB, nothing refused or lost, "
        f"each sender at least {STARVED:.0%} of the mean"
    )
    with scratch() as directory:
        async with contextlib.AsyncExitStack() as stack:
            taker = await stack.enter_async_context(role(directory, "crowd-sink"))
            assert await line_of(taker, 20) == "ready"
            share = SENDERS // SENDER_PROCESSES
            givers = [
                await stack.enter_async_context(role(directory, "crowd", share))
                for _ in range(SENDER_PROCESSES)
            ]
            for giver in givers:
                assert await line_of(giver, 60) == "ready"
            memory = Memory(taker.pid)
            resting = asyncio.create_task(asyncio.sleep(seconds, ""))
            await sample_until(resting, [memory], "senders")
            for giver in givers:
                giver.send_signal(signal.SIGTERM)
            sent: dict[str, int] = {}
            for giver in givers:
                sent.update(json.loads(await line_of(giver, 60)))
            taker.send_signal(signal.SIGTERM)
            seen = json.loads(await line_of(taker, 120))
    return judge_crowd(sent, seen, memory)


def judge_crowd(sent: dict[str, int], seen: dict[str, object], memory: Memory) -> Result:
    assert isinstance(seen["queued"], int)
    mean = sum(sent.values()) / len(sent)
    least, most = min(sent.values()), max(sent.values())
    text = (
        f"{sum(sent.values()):,} messages of {len(sent)} senders, {least} to {most} each (mean {mean:.0f}); "
        f"{seen['queued']} queued at most, {seen['refused']} refused, {seen['faults']} out of order; "
        f"receiver {memory}"
    )
    whole = seen["last"] == {node: count for node, count in sent.items() if count}
    fair = least >= STARVED * mean
    calm = seen["queued"] <= CROWD_QUEUE and not seen["refused"] and not seen["faults"]
    if not whole:
        text += "; what was taken is not what was sent"
    return Result(whole and fair and calm and memory.within and len(sent) == SENDERS, text)


# ---- fuzzing


def damaged(rng: random.Random, data: bytes) -> bytes:
    """A valid stream after an accident or two."""
    pieces = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 5, 20))):
        if not pieces:
            break
        at = rng.randrange(len(pieces))
        until = min(len(pieces), at + rng.choice((1, 1, 2, 8, 64)))
        how = rng.randrange(5)
        if how == 0:
            pieces[at] = rng.randrange(256)
        elif how == 1:
            pieces[at] ^= 1 << rng.randrange(8)
        elif how == 2:
            pieces[at:until] = b""
        elif how == 3:
            pieces[at:at] = pieces[at:until]
        else:
            pieces[at:until] = rng.randbytes(until - at)
    return bytes(pieces)


def fuzz_once(rng: random.Random) -> int:
    """One listener in one state, and bytes cut anywhere. Returns what its link ended with, -1: it lives."""
    make = streams.STATES[rng.choice(list(streams.STATES))]
    listener = make()
    before = listener.connection.state
    chance = rng.random()
    if chance < 0.1:
        data = rng.randbytes(rng.randrange(400))
    elif chance < 0.5:
        data = damaged(rng, b"".join(streams.RECORD))
    else:
        data = damaged(rng, streams.RECORD[1])
    listener.feed(streams.at_random(rng.getrandbits(32))(data))
    streams.check_outcome(listener, before)
    return listener.connection.close_code


def fuzz(seed: int, seconds: float) -> Result:
    """Anything into `Connection.receive_data`: no exception, no growth past the named limits."""
    say(f"   bound: {RSS_GROWTH_MAX // MIB} MiB of growth in this process")
    until, said = time.monotonic() + seconds, time.monotonic()
    ends: Counter[int] = Counter()
    memory = Memory(os.getpid())
    number = 0
    while time.monotonic() < until:
        try:
            ends[fuzz_once(random.Random(f"{seed} {number}"))] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            return Result(False, f"run {number} of seed {seed}: {type(error).__name__}: {error}")
        number += 1
        if number % 500 == 0:
            memory.sample()
        if time.monotonic() - said > 10:
            said = time.monotonic()
            say(f"   fuzzing: {number:,} runs")
    memory.sample()
    names = busway.protocol.codes.LINK_ERROR_NAMES
    kinds = ", ".join(
        f"{count} {names.get(code, f'error {code}' if code >= 0 else 'alive')}"
        for code, count in ends.most_common()
    )
    return Result(memory.growth <= RSS_GROWTH_MAX, f"{number:,} runs: {kinds}; this process {memory}")


# ---- routing


def lives(seed: int, seconds: float) -> Result:
    """Random lives of the control plane, seed after seed."""
    runs = instants = 0
    until = said = time.monotonic()
    until += seconds
    while runs == 0 or time.monotonic() < until:
        events = 60 if runs % 10 else 600
        try:
            instants += life.play(seed + runs, events=events).instants
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            text = f"life {seed + runs} of {events} changes: {type(error).__name__}: {error}"
            return Result(False, text)
        runs += 1
        if time.monotonic() - said > 10:
            said = time.monotonic()
            say(f"   lives: {runs:,}, {instants:,} instants")
    return Result(True, f"{runs:,} lives, {instants:,} instants: no loop, all at the fixed point at rest")


def routing(seed: int, seconds: float) -> Result:
    """Lives of the control plane; then every order of events, one small network after the other."""
    until = time.monotonic() + seconds
    inner = lives(seed, seconds * LIVES)
    say(f"   {inner.text}")
    if not inner.passed:
        return inner
    say(f"   bound: each network to its end, or {STATES_MAX:,} states")
    whole = states = begun = 0
    for case in CASES:
        if (left := until - time.monotonic()) <= 0:
            break
        begun += 1
        try:
            result = case.model().explore(STATES_MAX, left)
        except AssertionError as error:
            return Result(False, f"{case}: {error}")
        say(f"   {case}: {result}")
        whole += result.whole
        states += result.states
    text = (
        f"{inner.text}; {whole} of {len(CASES)} small networks to their end, {begun} begun, {states:,} states"
    )
    return Result(True, text)


# ---- a whole mesh


def mesh(seed: int, seconds: float) -> Result:
    """Random lives of whole nodes, judged at every step and at rest."""
    runs, counts = 0, Counter[str]()
    until = said = time.monotonic()
    until += seconds
    while runs == 0 or time.monotonic() < until:
        verdict = (visitors if (seed + runs) % 4 == 3 else everyone).run(seed + runs)
        if verdict.faults:
            return Result(False, f"a mesh, seed {seed + runs}: {'; '.join(verdict.faults[:3])}")
        runs, counts = runs + 1, counts + verdict.counts
        if time.monotonic() - said > 10:
            said = time.monotonic()
            say(f"   meshes: {runs:,}")
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    return Result(True, f"{runs:,} lives of a mesh of 13 nodes without a fault: {kinds}")


# ---- addressing


def addressing(seed: int, seconds: float) -> Result:
    """The same with labels, patterns, last values, last words, priorities, goodbyes and presence: as many
    lives as it takes for a million events, if there is time.
    """
    say(f"   bound: all holds as on a mesh, and presence adds up; {EVENTS:,} events, {seconds:.0f} s")
    runs, counts = 0, Counter[str]()
    until = said = time.monotonic()
    until += seconds
    while runs == 0 or (counts["events"] < EVENTS and time.monotonic() < until):
        verdict = addressed.run(seed + runs)
        if verdict.faults:
            return Result(False, f"addressing, seed {seed + runs}: {'; '.join(verdict.faults[:3])}")
        runs, counts = runs + 1, counts + verdict.counts
        if time.monotonic() - said > 10:
            said = time.monotonic()
            say(f"   lives: {runs:,}, events: {counts['events']:,}")
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    return Result(True, f"{runs:,} lives with all of addressing without a fault: {kinds}")


# ---- order


def in_order(seed: int, seconds: float) -> Result:
    """Every kind of message and signal over slow, lossy and stopped links, and several hops."""
    say("   bound: nothing lost, late, refused or out of order")
    runs, counts = 0, Counter[str]()
    until = said = time.monotonic()
    until += seconds
    while runs == 0 or time.monotonic() < until:
        verdict = order.run(seed + runs, order.STEPS if runs % 2 else 15)
        if verdict.faults:
            return Result(False, f"order, seed {seed + runs}: {'; '.join(verdict.faults[:3])}")
        runs, counts = runs + 1, counts + verdict.counts
        if time.monotonic() - said > 10:
            said = time.monotonic()
            say(f"   lives: {runs:,}")
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    return Result(True, f"{runs:,} lives of 3 to 7 nodes, nothing lost and nothing overtaken: {kinds}")


# ---- bad lines

SORTS = (
    uart(9600, Trouble(ber=1e-4, burst=2e-5, noise=2e-5, double=5e-4, cut=5e-4)),
    uart(115200, Trouble(ber=1e-4, burst=2e-5, noise=2e-5, double=5e-4, cut=5e-4)),
    radio(20, Trouble(loss=0.05, double=0.02, late=0.1)),
)


def bad_lines(seed: int, seconds: float) -> Result:
    """Confirmed messages both ways while boards reset: a verdict for each, in order, none twice."""
    counts: Counter[str] = Counter()
    until, runs = time.monotonic() + seconds, 0
    while runs < len(SORTS) or time.monotonic() < until:
        talk = Talk(seed + runs, SORTS[runs % len(SORTS)], both=True)
        talk.play(1000, reset_every_ms=5000)
        if talk.faults:
            return Result(False, f"line {runs % len(SORTS)}: {'; '.join(talk.faults[:3])}")
        counts.update(talk.tally())
        counts["resets"] += talk.resets
        runs += 1
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    return Result(True, f"{runs} lines, {2000 * runs:,} messages without a fault: {kinds}")


# ---- nano files


def kills(seed: int, seconds: float) -> Result:
    """Writers and workers of a FileBus, killed at random instants: in a program of its own, which forks."""
    say(f"   bound: nothing committed is lost, nothing torn is seen, no cursor is ahead; {KILLS:,} kills")
    words = ["--seed", str(seed), "--kills", str(KILLS), "--seconds", str(seconds)]
    command = [sys.executable, "-m", "tests.nano.crash", *words]
    run = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    return Result(run.returncode == 0, (run.stdout + run.stderr).strip().rpartition("\n")[2])


# ---- two Pythons


def two_pythons(seed: int, seconds: float) -> Result:
    """The same sessions, mutated in the same way, on CPython and on MicroPython: the same events."""
    command = find_micropython()
    if command is None:
        return Result(False, "there is no MicroPython: make setup fetches one")
    until, number = time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory() as name:
        board = MicroPython(command, Path(name))
        stage_micropython(board.directory)
        shutil.copy(session_fuzz.__file__, board.directory / "session_fuzz.py")
        while time.monotonic() < until:
            first = seed * 1_000_000 + number
            printed = board.run(session_fuzz.PROGRAM, str(first), str(first + 50), heap="16m", timeout_s=300)
            for at, line in enumerate(printed.splitlines(), first):
                here = session_fuzz.run(at)
                if line != here:
                    return Result(False, f"corpus {at}: MicroPython says {line}, CPython {here}")
            number += 50
    return Result(True, f"{number:,} corpora, each with the same events")


def leaves(seed: int, seconds: float) -> Result:
    """The three leaves in the same sessions: each must make the same of every one."""
    say("   bound: core, small leaf and JavaScript see and say the same")
    until = time.monotonic() + seconds
    script = alike.ScriptLeaf()
    number = 0
    try:
        while time.monotonic() < until:
            steps = alike.Sessions(random.Random(f"{seed} {number}")).draw()
            (_, core), *others = alike.compare(steps, script)
            for name, other in others:
                if other != core:
                    return Result(False, f"session {number} of seed {seed}: the {name} differs from the core")
            number += 1
    finally:
        script.close()
    return Result(True, f"{number:,} sessions")


# ---- all together

STAGES: list[tuple[str, float, Callable[[int, float], Result]]] = [
    ("campaigns", 0.1, campaigns),
    ("routing", 0.1, routing),
    ("mesh", 0.05, mesh),
    ("addressing", 0.1, addressing),
    ("hostile", 0.1, lambda seed, seconds: Result(*hostile_soak.hostile_peers(seed, seconds))),
    ("clients", 0.05, lambda seed, seconds: Result(*clients_soak.servers(seed, seconds))),
    ("files", 0.03, lambda seed, seconds: Result(*files_soak.files(seed, seconds))),
    ("order", 0.1, in_order),
    ("pressure", 0.05, lambda seed, seconds: asyncio.run(pressure(seed, seconds))),
    ("many senders", 0.05, lambda seed, seconds: asyncio.run(many(seed, seconds))),
    ("lines", 0.1, bad_lines),
    ("lan", 0.1, lambda seed, seconds: Result(*lan_soak.crowds(seed, seconds))),
    ("fuzzing", 0.1, fuzz),
    ("two Pythons", 0.05, two_pythons),
    ("leaves", 0.05, leaves),
    ("boards", 0.05, lambda seed, seconds: Result(*board_soak.boards(seed, seconds))),
    ("arm", 0.02, lambda seed, seconds: Result(*arm_soak.arm(seed, seconds))),
    ("kills", 0.1, kills),
    ("backbone", 0.03, lambda seed, seconds: Result(*backbone_soak.backbone(seed, seconds))),
    ("store", 0.1, lambda seed, seconds: Result(*store_soak.stored(seed, seconds))),
    ("shared", 0.1, lambda seed, seconds: Result(*shared_soak.shared(seed, seconds))),
    ("installs", 0.0, lambda seed, seconds: Result(*install_soak.installs(seed, seconds))),
]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--duration", type=float, default=600, help="seconds, about (default 600)")
    parser.add_argument(
        "--only", choices=[name for name, _, _ in STAGES], help="one stage, with all the time"
    )
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


def play(words: list[str]) -> None:
    """One of a stage's processes."""
    name, *rest = words
    if name == "sink":
        asyncio.run(sink())
    elif name == "source":
        asyncio.run(source(int(rest[0]), float(rest[1])))
    elif name == "crowd-sink":
        asyncio.run(crowd_sink())
    else:
        asyncio.run(crowd(int(rest[0])))


def main() -> int:
    options = arguments()
    if options.role:
        play(options.role)
        return 0
    say(f"soak: seed {options.seed}, {options.duration:g} s")
    failed = []
    for name, share, stage in STAGES:
        if options.only not in (None, name):
            continue
        seconds = options.duration * (share if options.only is None else 1.0)
        say(f"-- {name}, {seconds:.0f} s")
        result = stage(options.seed, seconds)
        say(f"   {'kept' if result.passed else 'BROKEN'}: {result.text}")
        failed += [] if result.passed else [name]
    verdict = "every bound was kept" if not failed else "BROKEN: " + ", ".join(failed)
    say(f"soak: {verdict} (seed {options.seed})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
