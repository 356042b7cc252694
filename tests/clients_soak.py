"""The stage of the long tests (tests/soak.py) about servers of named clients: honest ones with keys come, ask
and go; beside them thieves try their names, some send more than they may, hooks raise and hang, and a crowd
connects and says nothing, little, or nonsense.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import busway
from busway.adapters.bus import host_of
from busway.protocol import codes

HONEST = 12
THIEVES = 3
CROWD = 64  # connections at a time
CALL_S = 20.0
HOOK_S = 0.3
RATE = 200
# What a connection that comes to nothing may cost this process, both sides of it: so much is free.
CPU_MAX, CPU_FREE = 0.0015, 2.0  # s of processor time
MEMORY_MAX = 96 << 20  # bytes, those of the clients, too, which are in this process
NONSENSE = (
    b"",
    b"G",
    b"GET / HTTP/1.1\r\nHost: x\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
    b"\x00" * 600,
    b"BSWY" * 8,
)
UPGRADE = (
    "GET /?name={name} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: busway.2\r\n\r\n"
)


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Stage:
    """One run."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.random = random.Random(seed)
        self.until = time.monotonic() + seconds
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.keys = {f"honest-{number}": busway.Key.new() for number in range(HONEST)}
        self.there: set[str] = set()  # honest ones that are connected, and mean to be

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.until or bool(self.faults)

    async def admit(self, client: busway.Client) -> None:
        if client.name.startswith("honest"):
            await asyncio.sleep(self.random.choice((0, 0, 0.01)))
            return
        chance = self.random.random()
        if chance < 0.1:
            await asyncio.sleep(3600)
        elif chance < 0.2:
            raise KeyError("a fault of the hook")
        elif chance < 0.3:
            raise PermissionError("not you")

    async def on_message(self, client: busway.Client, message: busway.ClientMessage) -> None:
        self.counts["told"] += 1
        if not client.name.startswith("honest"):
            if self.random.random() < 0.05:
                raise ValueError("a fault of the hook")
            if self.random.random() < 0.002:
                await asyncio.sleep(3600)

    async def honest(self, url: str, name: str) -> None:
        """Come, ask, be asked, go; come back."""
        while not self.is_over:
            async with busway.AsyncBus(ipc=False, label=name, key=self.keys[name]) as bus:
                bus.serve("who", lambda request: name, kind="anycast", realm="global")
                try:
                    link = await bus.connect(url, wait=CALL_S)
                    self.there.add(name)
                    for number in range(self.random.randrange(5, 60)):
                        if await bus.request("echo", [name, number], timeout=CALL_S) != [name, number]:
                            self.faults.append(f"{name} had another's answer")
                        await asyncio.sleep(self.random.random() * 0.02)
                    if link.losses:
                        self.faults.append(f"{name} lost its link: {link.info.error}")
                except busway.BusError as error:
                    self.faults.append(f"{name}: {error!r}")
                self.there.discard(name)
            self.counts["visits"] += 1

    async def asking(self, bus: busway.AsyncBus) -> None:
        """The server asks who is there."""
        while not self.is_over:
            await asyncio.sleep(0.01)
            for client in bus.clients():
                if client.name not in self.there:
                    continue
                with contextlib.suppress(busway.Undeliverable, busway.DeliveryUnknown):  # it goes just now
                    if await bus.node(client.name).request("who", timeout=CALL_S) != client.name:
                        self.faults.append(f"another answered for {client.name}")
                    self.counts["asked"] += 1

    async def thief(self, url: str) -> None:
        """Come under the name of one who is there: refused, or let in if that has gone meanwhile."""
        while not self.is_over:
            name = self.random.choice(list(self.keys))
            was_there = name in self.there
            async with busway.AsyncBus(ipc=False, label=name) as bus:
                try:
                    await bus.connect(url, retry=None)
                    self.counts["names that were free"] += 1
                    if was_there and name in self.there:
                        self.faults.append(f"somebody else became {name}")
                except busway.LinkRefused as error:
                    self.counts["thefts refused"] += error.code == codes.NAME_TAKEN
                except OSError:
                    self.counts["turned away"] += 1
            await asyncio.sleep(0.02)

    async def greedy(self, url: str) -> None:
        """Send more than it may, for as long as it is let in."""
        while not self.is_over:
            async with busway.AsyncBus(ipc=False, label=f"greedy-{self.random.random()}") as bus:
                with contextlib.suppress(busway.BusError, OSError):
                    await bus.connect(url, retry=None)
                    for _ in range(2 * RATE):
                        await bus.send("sink", b"", ttl=1)
                        self.counts["sent in a hurry"] += 1
                await bus.close(0)

    async def crowd(self, host: str, port: int) -> None:
        """Connect and be of no use."""
        while not self.is_over:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(host, port)
                if self.random.random() < 0.2:
                    name = self.random.choice(list(self.keys))
                    writer.write(UPGRADE.format(name=name).encode() + self.random.randbytes(40))
                else:
                    said = self.random.choice(NONSENSE)
                    writer.write(said[: self.random.randrange(len(said) + 1)])
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(100), self.random.random() * 0.2)
                writer.close()
                self.counts["of no use"] += 1

    async def run(self) -> str:
        """What happened, in words."""
        options: dict[str, Any] = {
            "admit": self.admit,
            "on_message": self.on_message,
            "hook_timeout": HOOK_S,
            "rate": {"messages": RATE, "bytes": 1_000_000},
        }
        async with busway.AsyncBus(ipc=False, label="server") as bus:
            bus.serve("echo", lambda request: request.payload, realm="global")
            sink = bus.register("sink", realm="global", policy="drop_oldest")
            listener = await bus.listen("ws://127.0.0.1:0", max_connections=100, **options)
            host, _, port = listener.url.removeprefix("ws://").partition(":")
            began, before = time.process_time(), _rss()
            async with asyncio.TaskGroup() as group:
                for name in self.keys:
                    group.create_task(self.honest(listener.url, name))
                for _ in range(THIEVES):
                    group.create_task(self.thief(listener.url))
                for _ in range(CROWD):
                    group.create_task(self.crowd(host, int(port)))
                group.create_task(self.greedy(listener.url))
                group.create_task(self.asking(bus))
            spent, grown = time.process_time() - began, _rss() - before
            self.counts["dropped"] = sink.dropped
            await self._rest(bus)
        if grown > MEMORY_MAX:
            self.faults.append(f"grown by {grown >> 20} MiB")
        useful = self.counts["visits"] * 0.1 + self.counts["asked"] * 0.002 + self.counts["told"] * 0.002
        most = CPU_FREE + useful + CPU_MAX * self.counts["of no use"]
        if spent > most:
            self.faults.append(f"{spent:.1f} s of processor time, and at most {most:.1f} were awaited")
        shown = ", ".join(f"{count:,} {what}" for what, count in self.counts.items())
        return f"{shown}; {spent:.1f} s of processor time, {grown >> 20} MiB more"

    async def _rest(self, bus: busway.AsyncBus) -> None:
        """Nothing is left over, a little later."""
        host = host_of(bus)
        for _ in range(200):
            if not bus.clients() and not host.runners and not host._hooks:
                return
            await asyncio.sleep(0.05)
        self.faults.append(f"left over: {bus.clients()}, {host.runners}, {host._hooks}")


def servers(seed: int, seconds: float) -> tuple[bool, str]:
    """Whether all bounds were kept, and what happened."""
    logging.disable(logging.CRITICAL)  # of all that is provoked here
    stage = Stage(seed, seconds)
    try:
        text = asyncio.run(stage.run())
    finally:
        logging.disable(logging.NOTSET)
    return not stage.faults, "; ".join([text, *stage.faults[:3]])
