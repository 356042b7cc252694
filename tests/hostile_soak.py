"""The hostile stage of the long tests (tests/soak.py): lives of a simulated mesh, then hostile peers that
come to a real listener over TCP, with the token, beside a program of the same machine and one that came over
TCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
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
CPU_MAX = 20e-6  # s of all that is here for each hostile byte, saying it included; besides one in ten


class Wire:
    """One hostile peer at the end of a real connection."""

    def __init__(self, rng: random.Random, spy: Spy) -> None:
        self.random = rng
        self.spy = spy
        self.said = 0
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
                self._write(writer, channel, body)
            await writer.drain()
            await asyncio.sleep(self.random.choice((0, 0, 0.01)))


def serve(bus: busway.AsyncBus, name: str, realm: Literal["userspace", "localnet"]) -> None:
    """A service that answers with its name."""

    async def answer(_: object) -> str:
        return name

    bus.serve(name, answer, kind="unicast", realm=realm)


async def besieged(seed: int, seconds: float) -> tuple[bool, str]:
    """Three programs that call each other while hostile peers come to the listener of the first."""
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
        buses = {"first": first, "second": second, "third": third}
        for name, bus in buses.items():
            serve(bus, f"soak/{name}/userspace", "userspace")
            serve(bus, f"soak/{name}/localnet", "localnet")
        await asyncio.sleep(0.5)
        spy.keys = [bus._host.node.me.key for bus in buses.values()]
        spy.uuids = [uuid for bus in buses.values() for uuid in bus._host.node.receiving.endpoints]
        until = time.monotonic() + seconds
        attacks = asyncio.create_task(attack(rng, spy, port, until, counts))
        started, used = time.monotonic(), cpu()
        while not attacks.done():
            for caller, holder, realm in (
                (first, "second", "userspace"),
                (second, "first", "userspace"),
                (third, "first", "localnet"),
                (first, "third", "localnet"),
            ):
                await call(caller, f"soak/{holder}/{realm}", counts, faults)
            await asyncio.sleep(0.05)
        await attacks
        spent = cpu() - used - (time.monotonic() - started) / 10
        links = [len(bus._host.node.connections) for bus in buses.values()]
        lost = [bus._host.node.counters["links_lost"] for bus in (second, third)]
        if lost != [0, 0]:
            faults.append(f"links between innocent programs ended: {lost}")
    if spent > CPU_MAX * counts["bytes"]:
        faults.append(f"{counts['bytes']} hostile bytes cost {spent:.1f} s")
    text = (
        f"{counts['peers']} hostile peers at a listener, {counts['bytes']:,} bytes, "
        f"{1e6 * spent / max(1, counts['bytes']):.1f} us each; {counts['calls']} calls answered, "
        f"links {links}"
    )
    return not faults, "; ".join([text, *faults[:5]])


def cpu() -> float:
    """Processor time of this process, s."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


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

    await asyncio.gather(*[one(number) for number in range(PEERS)])


def hostile_peers(seed: int, seconds: float) -> tuple[bool, str]:
    """Lives of a simulated mesh, one seed after the other, then a real listener."""
    runs, counts = 0, Counter[str]()
    until = said = time.monotonic()
    until += seconds * (1 - LISTENED)
    while runs == 0 or time.monotonic() < until:
        verdict = hostile.run(seed + runs, watched=0.005)
        if verdict.faults:
            return False, f"hostile peers, seed {seed + runs}: {'; '.join(verdict.faults[:3])}"
        runs, counts = runs + 1, counts + verdict.counts
        if time.monotonic() - said > 10:
            said = time.monotonic()
            print(f"   lives: {runs:,}", flush=True)
    per = max(1, counts["said"])
    lines = counts["lines"] / max(1, counts["lines' bytes"])
    text = (
        f"{runs:,} lives of 13 nodes with {counts['hostile links']:,} hostile links: for each of their "
        f"{per:,} bytes {lines:.0f} lines of code, "
        f"{counts['memory'] / per:.0f} bytes kept and {counts['spread'] / per:.1f} sent on, "
        "in all nodes together"
    )
    with tempfile.TemporaryDirectory(prefix="bw-") as place:
        before = os.environ.get("BUSWAY_DIR")
        os.environ["BUSWAY_DIR"] = str(Path(place))
        try:
            held, more = asyncio.run(besieged(seed, max(3.0, seconds * LISTENED)))
        finally:
            if before is None:
                del os.environ["BUSWAY_DIR"]
            else:
                os.environ["BUSWAY_DIR"] = before
    return held, f"{text}; {more}"
