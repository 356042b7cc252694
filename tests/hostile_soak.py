"""The hostile stage of the long tests (tests/soak.py): lives of a simulated mesh, then hostile peers that
come to a real listener over TCP, with the token, beside a program of the same machine and one that came over
TCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Literal

import busway
from busway.primitives import Primitives
from busway.protocol import codes
from busway.protocol.secure.channel import Channel
from busway.protocol.secure.security import Security
from busway.protocol.wire.fields import frame
from busway.protocol.wire.hello import FLAG_DIALLED, FLAG_LEAF, FLAG_LOOKUPS, write_hello
from tests.simulation import hostile
from tests.simulation.mouth import Mouth, Spy

TOKEN = "hostile-soak-token-of-128-bits-0123456789"
LISTENED = 0.3  # of the time, for the real listener
PEERS = 3
CALL_S = 10.0
CALM = 0.25  # of the time before, in which only the three programs talk
# What each hostile byte may cost the three programs together; so much is free.
CPU_MAX, CPU_FREE = 0.6e-6, 0.2  # s of processor time
FRAME_MAX = 40e-6  # ... and for each frame, as there are bytes that cost next to nothing
MEMORY_MAX, MEMORY_FREE = 10, 4 << 20  # bytes
LOOKED_S = 1.0
# And the eleven nodes of a simulated mesh together, over all lives.
LIVES_CPU_MAX, LIVES_CPU_FREE = 5e-6, 1.0  # s
LIVES_MEMORY_MAX, LIVES_MEMORY_FREE = 150, 10_000_000  # bytes
LIVES_SPREAD_MAX, LIVES_SPREAD_FREE = 6, 400_000  # bytes


class Wire:
    """One hostile peer at the end of a real connection."""

    def __init__(self, rng: random.Random, spy: Spy) -> None:
        self.random = rng
        self.spy = spy
        self.said = 0
        self.frames = 0
        self.ready = asyncio.Event()  # the handshake is over

    async def play(self, port: int, until: float) -> None:
        """Join, speak until the link ends or the time is up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        security = Security(Primitives(), os.urandom, token=TOKEN.encode())
        channel = security.channel(False, "default")
        channel.begin()
        listening = asyncio.create_task(self._listen(reader, writer, channel))
        try:
            await self._speak(writer, channel, until)
        except OSError:
            pass  # it was shown the door
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await listening
            writer.close()

    async def _listen(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, channel: Channel
    ) -> None:
        self._flush(writer, channel)
        while data := await reader.read(65536):
            channel.receive(data)
            while channel.more:
                channel.receive(b"")
            self._flush(writer, channel)
            if channel.ready:
                self.ready.set()
        writer.close()

    def _flush(self, writer: asyncio.StreamWriter, channel: Channel) -> None:
        data, channel.out = channel.out, b""
        if data:
            writer.write(data)

    def _write(self, writer: asyncio.StreamWriter, channel: Channel, body: bytes) -> None:
        channel.say(frame(body))
        self._flush(writer, channel)

    async def _speak(self, writer: asyncio.StreamWriter, channel: Channel, until: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self.ready.wait()
        except TimeoutError:
            return
        leaf, lookups = self.random.random() < 0.4, self.random.random() < 0.2
        me = bytes((self.random.randrange(0x80),)) + self.random.randbytes(19)
        flags = FLAG_DIALLED | codes.LOCALNET << 1 | (FLAG_LEAF if leaf else 0)
        flags |= FLAG_LOOKUPS if lookups else 0
        hello = write_hello(flags, me, 0, (65536, 1 << 24, 127, 4), 0, "default", "evil", "tcp://evil:1")
        self._write(writer, channel, hello)
        channel.agreed(65536)
        mouth = Mouth(self.random, self.spy, me, self.spy.keys[0], leaf, b"evil2")
        while time.monotonic() < until and not writer.is_closing():
            for body in mouth.batch():
                if writer.is_closing():
                    return
                self.said += len(body) + 2
                self.frames += 1
                self._write(writer, channel, body)
            await writer.drain()
            await asyncio.sleep(self.random.choice((0, 0, 0.01)))


def serve(bus: busway.AsyncBus, name: str, realm: Literal["userspace", "localnet"]) -> None:
    """A service that answers with its name."""

    async def answer(_: object) -> str:
        return name

    bus.serve(name, answer, kind="unicast", realm=realm)


class Cost:
    """What the programs of this thread use of the processor and of memory, from one moment on."""

    def __init__(self, buses: list[busway.AsyncBus], counts: Counter[str]) -> None:
        self.nodes = [bus._host.node for bus in buses]
        self.counts = counts
        self.rounds = counts["rounds"]
        self.kept = 0  # bytes, the most
        self.weight = hostile.weigh(self.nodes)
        self.weighed_at = time.monotonic()
        self.started = time.thread_time()

    def look(self) -> None:
        """See, now and then, how much the nodes keep; this itself costs nothing."""
        if time.monotonic() - self.weighed_at < LOOKED_S:
            return
        started = time.thread_time()
        self.kept = max(self.kept, hostile.weigh(self.nodes) - self.weight)
        self.started += time.thread_time() - started
        self.weighed_at = time.monotonic()

    def cpu(self) -> float:
        """Processor time until now, s: that of this thread alone, so nothing that hostile peers use."""
        return time.thread_time() - self.started

    def of_rounds(self) -> float:
        """... for each round of calls."""
        return self.cpu() / max(1, self.counts["rounds"] - self.rounds)


async def besieged(seed: int, seconds: float) -> tuple[bool, str]:
    """Three programs that call each other while hostile peers, in a thread of their own, come to the listener
    of the first.
    """
    rng, spy, counts = random.Random(seed), Spy(), Counter[str]()
    faults: list[str] = []
    async with (
        busway.AsyncBus(label="first", transit=True) as first,
        busway.AsyncBus(label="second") as second,
        busway.AsyncBus(label="third", ipc=False) as third,
    ):
        listener = await first.listen("tcp://127.0.0.1:0", token=TOKEN)
        port = int(listener.url.rsplit(":", 1)[1])
        await third.connect(listener.url, token=TOKEN)
        buses = [first, second, third]
        for bus in buses:
            serve(bus, f"soak/{bus.label}/userspace", "userspace")
            serve(bus, f"soak/{bus.label}/localnet", "localnet")
        await asyncio.sleep(0.5)
        spy.keys = [bus._host.node.me.key for bus in buses]
        spy.uuids = [uuid for bus in buses for uuid in bus._host.node.receiving.endpoints]
        calm, calm_until = Cost(buses, counts), time.monotonic() + CALM * seconds
        while time.monotonic() < calm_until:
            await calls(buses, counts, faults)
        usual, loud = calm.of_rounds(), Cost(buses, counts)
        until = time.monotonic() + seconds
        attacks = asyncio.create_task(asyncio.to_thread(besiege, rng, spy, port, until, counts))
        while not attacks.done():
            await calls(buses, counts, faults)
            loud.look()
        await attacks
        spent = loud.cpu() - usual * (counts["rounds"] - loud.rounds)
        links = [len(bus._host.node.connections) for bus in buses]
        lost = [bus._host.node.counters["links_lost"] for bus in (second, third)]
        if lost != [0, 0]:
            faults.append(f"links between innocent programs ended: {lost}")
    said = counts["bytes"]
    if spent > min(CPU_MAX * said, FRAME_MAX * counts["frames"]) + CPU_FREE:
        faults.append(
            f"{said} hostile bytes in {counts['frames']} frames cost {spent:.2f} s of processor time"
        )
    if loud.kept > MEMORY_MAX * said + MEMORY_FREE:
        faults.append(f"{said} hostile bytes made the programs larger by {loud.kept}")
    text = (
        f"{counts['peers']} hostile peers at a listener, {said:,} bytes, "
        f"{1e6 * spent / max(1, said):.2f} us each ({1e6 * spent / max(1, counts['frames']):.0f} "
        f"for each of {counts['frames']:,} frames) and {loud.kept / max(1, said):.2f} bytes "
        f"kept; {counts['calls']} calls answered, links {links}"
    )
    return not faults, "; ".join([text, *faults[:5]])


async def calls(buses: list[busway.AsyncBus], counts: Counter[str], faults: list[str]) -> None:
    """One round of calls, each of which must be answered by the right one."""
    first, second, third = buses
    for caller, holder, realm in (
        (first, "second", "userspace"),
        (second, "first", "userspace"),
        (third, "first", "localnet"),
        (first, "third", "localnet"),
    ):
        await call(caller, f"soak/{holder}/{realm}", counts, faults)
    counts["rounds"] += 1
    await asyncio.sleep(0.05)


def besiege(rng: random.Random, spy: Spy, port: int, until: float, counts: Counter[str]) -> None:
    """All hostile peers, on a loop of their own."""
    asyncio.run(attack(rng, spy, port, until, counts))


async def call(caller: busway.AsyncBus, name: str, counts: Counter[str], faults: list[str]) -> None:
    try:
        answer = await caller.request(name, None, timeout=CALL_S)
    except (busway.BusError, TimeoutError) as error:
        faults.append(f"{name}: {type(error).__name__}: {error}")
        return
    counts["calls"] += 1
    if answer != name:
        faults.append(f"{name} answers {answer!r}")


async def attack(rng: random.Random, spy: Spy, port: int, until: float, counts: Counter[str]) -> None:
    """So many hostile peers at a time, one after the other."""

    async def one(number: int) -> None:
        while time.monotonic() < until:
            peer = Wire(random.Random(f"{rng.random()} {number}"), spy)
            with contextlib.suppress(OSError):
                await peer.play(port, min(until, time.monotonic() + 5))
            counts["peers"] += 1
            counts["bytes"] += peer.said
            counts["frames"] += peer.frames

    await asyncio.gather(*[one(number) for number in range(PEERS)])


def hostile_peers(seed: int, seconds: float) -> tuple[bool, str]:
    """Lives of a simulated mesh, one seed after the other, then a real listener."""
    runs, counts, cpu = 0, Counter[str](), 0.0
    until = told = time.monotonic()
    until += seconds * (1 - LISTENED)
    while runs == 0 or time.monotonic() < until:
        verdict = hostile.run(seed + runs, watched=0.005)
        if verdict.faults:
            return False, f"hostile peers, seed {seed + runs}: {'; '.join(verdict.faults[:3])}"
        runs, counts, cpu = runs + 1, counts + verdict.counts, cpu + verdict.cpu
        if time.monotonic() - told > 10:
            told = time.monotonic()
            print(f"   lives: {runs:,}", flush=True)
    held, text = judged(runs, counts, cpu)
    with tempfile.TemporaryDirectory(prefix="bw-") as place:
        before = os.environ.get("BUSWAY_DIR")
        os.environ["BUSWAY_DIR"] = str(Path(place))
        try:
            stands, more = asyncio.run(besieged(seed, max(3.0, seconds * LISTENED)))
        finally:
            if before is None:
                del os.environ["BUSWAY_DIR"]
            else:
                os.environ["BUSWAY_DIR"] = before
    return held and stands, f"{text}; {more}"


def judged(runs: int, counts: Counter[str], cpu: float) -> tuple[bool, str]:
    """What the bytes of all lives have cost, held against the bounds."""
    said = max(1, counts["said"])
    memory, spread = counts["memory"] / said, counts["spread"] / said
    held = (
        cpu <= LIVES_CPU_MAX * said + LIVES_CPU_FREE
        and counts["memory"] <= LIVES_MEMORY_MAX * said + LIVES_MEMORY_FREE
        and counts["spread"] <= LIVES_SPREAD_MAX * said + LIVES_SPREAD_FREE
    )
    return held, (
        f"{runs:,} lives of 11 nodes with {counts['hostile links']:,} hostile links: for each of their "
        f"{said:,} bytes {1e6 * cpu / said:.1f} us of processor time, {memory:.0f} bytes kept and "
        f"{spread:.1f} sent on, in all nodes together{'' if held else ', which is too much'}"
    )
