"""Protected links beside open ones, in one run: the core alone in memory, then buses of one process over TCP,
WebSocket and WebSocket with TLS on loopback.

Usage: python -m benchmarks.protected [--seconds S] [--turns N] [--core ROOT]

All are measured in turn, so that the machine's moods hit all alike, and of each the best turn counts. What
both sides of a link do is in one process, so the figures are the work of both; rates are of processor time,
which other programs change little, round trips and openings of the clock's. "open" is a link without
handshake, which only who has no `cryptography` makes. `--core` takes the package from another folder: one
with a compiled core, as `pip install --target ROOT .` makes it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

E = b"an-endpoint-16-b"
SIZES = (32, 1024, 16384)
WINDOW = 16  # messages under way in memory
ROUND_TRIPS = 200  # of one turn
HANDSHAKES = 20  # of one turn
LINKS = ("open", "tcp", "ws", "wss")

Found = dict[str, list[float]]  # what the turns of each sort of link gave


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.3, help="of each turn of a rate (default 0.3)")
    parser.add_argument("--turns", type=int, default=7, help="of each sort of link (default 7)")
    parser.add_argument("--core", type=Path, metavar="ROOT", help="a folder with the package busway")
    return parser.parse_args()


def report(title: str, found: Found, unit: str, least: bool) -> None:
    """One row: the best of each, and how fast that is beside the first."""
    best = {name: (min if least else max)(each) for name, each in found.items()}
    first = next(iter(best.values()))
    cells = [
        f"{name} {value:11,.1f}{unit} {first / value if least else value / first:5.2f}"
        for name, value in best.items()
    ]
    print(f"{title:<24}" + "   ".join(cells), flush=True)


# ---- the core, in memory


def joined(protected: bool) -> tuple[Any, Any, Any, Any]:
    """Two nodes in memory, and what moves the bytes between them; the receiver of E at the second."""
    from busway.adapters.protecting import Guard, security_of
    from busway.protocol import Link, Node, codes

    a, b = (Node(letter * 16, entropy=os.urandom) for letter in (b"a", b"b"))
    ends = []
    for node, dialled in ((a, True), (b, False)):
        security = security_of(Guard("a token of some length"), "tcp", dialled, False) if protected else None
        ends.append(node.connection(Link(codes.LOCALNET, dialled, security=security), 0))

    def move() -> None:
        moved = True
        while moved:
            moved = False
            for here, there in (ends, ends[::-1]):
                while data := here.data_to_send(65536, 0):
                    there.receive_data(data, 0)
                    moved = True

    receiver = b.register(E, codes.UNICAST, queue_max=65536, size_max=1 << 30)
    move()
    return a, b, receiver, move


def handshake_us(protected: bool, count: int = 50) -> float:
    start = time.process_time()
    for _ in range(count):
        joined(protected)
    return (time.process_time() - start) / count * 1e6


def core_us(made: Any, size: int, seconds: float) -> float:
    """Microseconds for a message, both sides together."""
    a, b, receiver, move = made
    payload = bytes(size)
    count = 0
    start = time.process_time()
    while time.process_time() - start < seconds:
        for _ in range(WINDOW):
            a.send(E, payload, 0)
        move()
        while b.take(receiver, 0) is not None:
            count += 1
    return (time.process_time() - start) / count * 1e6


def in_memory(seconds: float, turns: int) -> None:
    sorts = {"open": False, "protected": True}
    found: Found = {name: [handshake_us(sort) for _ in range(turns)] for name, sort in sorts.items()}
    report("memory, handshake", found, " us", True)
    for size in SIZES:
        made = {name: joined(sort) for name, sort in sorts.items()}
        found = {name: [] for name in sorts}
        for _ in range(turns):
            for name, pair in made.items():
                found[name].append(core_us(pair, size, seconds))
        report(f"memory, {size:,} B", found, " us", True)


# ---- buses


class Place:
    """A bus that listens in each way, and one that is joined with it by each of LINKS."""

    def __init__(self, stack: AsyncExitStack, folder: str) -> None:
        self._stack = stack
        self._folder = Path(folder)
        self.urls: dict[str, str] = {}
        self.options: dict[str, dict[str, Any]] = {name: {} for name in LINKS}
        self.buses: dict[str, Any] = {}
        self.sinks: list[Any] = []

    def certify(self) -> dict[str, str]:
        """Write a certificate of 127.0.0.1 for the listener; returns its options."""
        import trustme

        authority = trustme.CA()
        leaf = authority.issue_cert("127.0.0.1")
        paths = {name: str(self._folder / f"{name}.pem") for name in ("cafile", "certificate", "key")}
        authority.cert_pem.write_to_path(paths["cafile"])
        leaf.cert_chain_pems[0].write_to_path(paths["certificate"])
        leaf.private_key_pem.write_to_path(paths["key"])
        self.options["wss"]["cafile"] = paths.pop("cafile")
        return paths

    async def open(self) -> None:
        server = await self._stack.enter_async_context(new_bus("tcp"))
        server.serve("echo", lambda request: request.payload, realm="global")
        # One for each: who is idle keeps the credit it has had for a while, and the others had less.
        self.sinks = [server.register(f"sink/{name}", queue=4096, realm="global") for name in LINKS]
        for name in LINKS[1:]:
            options = self.certify() if name == "wss" else {}
            self.urls[name] = (await server.listen(f"{name}://127.0.0.1:0", **options)).url
        self.urls["open"] = self.urls["tcp"]
        for name in LINKS:
            self.buses[name] = await self._stack.enter_async_context(new_bus(name))
            await self.dial(name)

    async def dial(self, name: str) -> Any:
        """A link of that sort."""
        from busway.adapters import making

        real, any_id = making.security_of, making.any_id
        if name == "open":  # as a dialler does that has no cryptography
            making.security_of = lambda *given: None if given[2] else real(*given)
            making.any_id = lambda *given: True
        try:
            return await self.buses[name].connect(self.urls[name], **self.options[name])
        finally:
            making.security_of, making.any_id = real, any_id


def new_bus(name: str) -> Any:
    """One for links of that sort: without cryptography it would have the id of no key."""
    from busway import AsyncBus
    from busway.adapters.identity import unbound_id

    return AsyncBus(ipc=False, node_id=unbound_id() if name == "open" else None)


async def drain(sink: Any) -> None:
    async for _ in sink:
        pass


async def rate(place: Place, name: str, size: int, seconds: float) -> float:
    """Messages a second of processor time."""
    bus, sink = place.buses[name], f"sink/{name}"
    payload = bytes(size)
    count = 0
    start = time.process_time()
    while time.process_time() - start < seconds:
        for _ in range(8):
            await bus.send(sink, payload)
        count += 8
    return count / (time.process_time() - start)


async def round_trip_us(bus: Any, size: int) -> float:
    """The median."""
    payload = bytes(size)
    taken = []
    for _ in range(ROUND_TRIPS):
        start = time.perf_counter()
        await bus.request("echo", payload)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6


async def joining_us(place: Place, name: str) -> float:
    """The median of what it takes until a link is open, from the address on."""
    taken = []
    for _ in range(HANDSHAKES):
        async with new_bus(name) as bus:
            place.buses[name], kept = bus, place.buses[name]
            try:
                start = time.perf_counter()
                await place.dial(name)
                taken.append(time.perf_counter() - start)
            finally:
                place.buses[name] = kept
    return statistics.median(taken) * 1e6


async def over_networks(seconds: float, turns: int) -> None:
    async with AsyncExitStack() as stack:
        place = Place(stack, stack.enter_context(tempfile.TemporaryDirectory()))
        await place.open()
        loop = asyncio.get_running_loop()
        readers = [loop.create_task(drain(sink)) for sink in place.sinks]
        for size in SIZES:
            found: Found = {name: [] for name in LINKS}
            for _ in range(turns):
                for name in LINKS:
                    found[name].append(await rate(place, name, size, seconds))
            report(f"one way, {size:,} B", found, "/s", False)
        for size in SIZES:
            found = {name: [] for name in LINKS}
            for _ in range(turns):
                for name in LINKS:
                    found[name].append(await round_trip_us(place.buses[name], size))
            report(f"round trip, {size:,} B", found, " us", True)
        found = {name: [] for name in LINKS}
        for _ in range(turns):
            for name in LINKS:
                found[name].append(await joining_us(place, name))
        report("until a link is open", found, " us", True)
        for reader in readers:
            reader.cancel()


def main() -> None:
    given = arguments()
    if given.core is not None:
        sys.path.insert(0, str(given.core.resolve()))
    from busway import about

    print(about.line())
    in_memory(given.seconds, given.turns)
    asyncio.run(over_networks(given.seconds, given.turns))


if __name__ == "__main__":
    main()
