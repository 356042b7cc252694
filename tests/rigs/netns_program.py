"""One program of the machines in namespaces: `python netns_program.py ROLE …`. Says on its output how far it
is, and ends when its input does, so that none outlives its test.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine

import busway
from busway.adapters import making

TOKEN = "triangle-h4k9w2x7q5m8z3t6r1v0"
ENOUGH = 10  # replies for each request that is under way at once, before the client says what it saw
KEEPALIVE_MS = 60_000  # far away: nothing that the traffic sees is due to it
SERVICE_S = 0.002  # how long a request is at work, so that a death finds some there


def say(*words: object) -> None:
    print(*words, flush=True)


async def told_to_end() -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, told.set)
    await told.wait()
    asyncio.get_running_loop().remove_reader(0)


async def gateway(port: str, *others: str) -> None:
    async with busway.AsyncBus(label="gateway", transit=True) as bus:
        await bus.listen(f"tcp://0.0.0.0:{port}", token=TOKEN)
        for url in others:
            await bus.connect(url, token=TOKEN)
        say("joined")
        await told_to_end()


async def server(name: str) -> None:
    async def echo(request: busway.Request) -> object:
        await asyncio.sleep(SERVICE_S)
        return request.payload

    async with busway.AsyncBus(label=name) as bus:
        bus.serve(name, echo, limit=256)
        say("serving")
        await told_to_end()


class Load:
    """Requests without a pause, and what became of them."""

    def __init__(self, bus: busway.AsyncBus, name: str, timeout: float, ttl: float) -> None:
        self.bus = bus
        self.name = name
        self.timeout = timeout
        self.ttl = ttl
        self.asked = 0
        self.outcomes: Counter[str] = Counter()
        self.gap = 0.0  # longest time without an answer, in seconds
        self.last_good = time.monotonic()
        self.ended = False
        self.replied = asyncio.Condition()

    async def ask_on(self) -> None:
        while not self.ended:
            self.asked += 1
            outcome = await self.ask(self.asked)
            self.outcomes[outcome] += 1
            if outcome == "replied":
                now = time.monotonic()
                self.gap, self.last_good = max(self.gap, now - self.last_good), now
                async with self.replied:
                    self.replied.notify_all()
            else:
                await asyncio.sleep(0.01)

    async def answered(self, count: int) -> None:
        """Until there were more answers than so many, and one from now on: so the last outage is over."""
        count = max(count, self.outcomes["replied"])
        async with self.replied:
            await self.replied.wait_for(lambda: self.outcomes["replied"] > count)

    async def ask(self, number: int) -> str:
        try:
            payload = await self.bus.request(self.name, number, timeout=self.timeout, ttl=self.ttl)
        except busway.Undeliverable as error:
            return f"undeliverable {error.reason_name}"
        except busway.BusError as error:
            return type(error).__name__
        return "replied" if payload == number else "another's answer"


async def client(name: str, load: str, timeout: str, ttl: str) -> None:
    async with busway.AsyncBus(label="client") as bus:
        await bus.request(name, 0, ttl=60, timeout=60)
        say("way", *[hop.label for hop in await bus.trace(name, timeout=60)])
        work = Load(bus, name, float(timeout), float(ttl))
        askers = [asyncio.create_task(work.ask_on()) for _ in range(int(load))]
        await told_to_end()
        await work.answered(ENOUGH * len(askers))
        work.ended = True
        await asyncio.gather(*askers)
        say("way", *[hop.label for hop in await bus.trace(name, timeout=60)])
        say("asked", work.asked, round(work.gap, 3), json.dumps(work.outcomes))


if __name__ == "__main__":
    roles: dict[str, Callable[..., Coroutine[object, object, None]]]
    roles = {"gateway": gateway, "server": server, "client": client}
    making._LINK_DEFAULTS["tcp"] = (making._LINK_DEFAULTS["tcp"][0], KEEPALIVE_MS)
    asyncio.run(roles[sys.argv[1]](*sys.argv[2:]))
