"""A program on the local network: `python program.py LABEL [BUS [TOKEN [asyncio|threads]]]`. Says what it
finds, and who is on the bus, as JSON lines with the time since it began; ends when its input does, and says
then, and at each line of it, how many links it has. An empty token: keys decide, as the environment says.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import busway
from busway.adapters import making

BUS = "meadow"
TOKEN = "meadow-h4k9w2x7q5m8z3t6r1v0"
BEGUN = time.monotonic()
SAYING = threading.Lock()


def say(**words: object) -> None:
    now = time.monotonic()
    with SAYING:  # a line of each thread
        print(json.dumps({"at": round(now - BEGUN, 3), "now": now, **words}), flush=True)


def tell(found: busway.Found) -> None:
    say(found=found.state, how=found.how, address=found.address, label=found.label, reason=found.reason)


def tell_change(change: busway.Change) -> None:
    if change.what in ("node-up", "node-down", "node-changed"):
        assert isinstance(change.subject, busway.NodeInfo)
        say(node=change.what.removeprefix("node-"), label=change.subject.label)


def say_links(links: list[busway.LinkInfo]) -> None:
    """Those of which the other side has proved that it may join: of the network, not of the machine."""
    say(links=sum(link.state == "connected" for link in links))


def for_each(found: Iterable[Any], function: Callable[[Any], object]) -> None:
    for each in found:
        function(each)


async def in_asyncio(label: str, bus_name: str, token: str) -> None:
    async def tell_all() -> None:
        async for found in bus.found():
            tell(found)

    async def tell_nodes() -> None:
        async for change in bus.changes():
            tell_change(change)

    async with busway.AsyncBus(bus_name, lan=True, token=token or None, label=label) as bus:
        say(open=label)
        ending = asyncio.Event()

        def told() -> None:
            if os.read(0, 100):
                say_links(bus.links())
            else:
                asyncio.get_running_loop().remove_reader(0)
                ending.set()

        asyncio.get_running_loop().add_reader(0, told)
        tasks = [asyncio.create_task(each()) for each in (tell_all, tell_nodes)]
        await ending.wait()
        say_links(bus.links())
        for task in tasks:
            task.cancel()


def in_threads(label: str, bus_name: str, token: str) -> None:
    with busway.Bus(bus_name, lan=True, token=token or None, label=label) as bus:
        say(open=label)
        found, changes = bus.found(), bus.changes()
        threads = [
            threading.Thread(target=for_each, args=(found, tell)),
            threading.Thread(target=for_each, args=(changes, tell_change)),
        ]
        for thread in threads:
            thread.start()
        for _ in sys.stdin:
            say_links(bus.links())
        say_links(bus.links())
    for thread in threads:  # both iterators end with the bus
        thread.join()


def main(label: str, bus_name: str = BUS, token: str = TOKEN, style: str = "asyncio") -> None:
    if style == "threads":
        in_threads(label, bus_name, token)
    else:
        asyncio.run(in_asyncio(label, bus_name, token))


if __name__ == "__main__":
    cost, _ = making._LINK_DEFAULTS["tcp"]
    making._LINK_DEFAULTS["tcp"] = (cost, 1000)  # silence is noticed after three seconds
    main(*sys.argv[1:])
