"""What those who wish a node ill can make it do: processor time, memory, how long it keeps others waiting.

Usage: python -m benchmarks.hostile [--seconds S] [--bytes N]

Each is what an attack of that size did before the rules of docs/security.md; what it cost then stands there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator

import cbor2

from busway import AsyncBus, Undeliverable
from busway.payloads import CBOR, PayloadError, decode
from busway.protocol.wire.fields import frame, varint
from tests.adapters.test_turns import opened
from tests.protocol.flooding import CASES, LINKS, NODES, Flooded, way_moves
from tests.protocol.nets import ANYCAST, parent, routes
from tests.protocol.test_work import SOURCES, filled

ELSEWHERE = b"e" * 16
MERSENNE = (1 << 61) - 1  # Python's hash of an integer is the rest of a division by it
PINGS = b"\x89\x80" + bytes(4) + b"\x82\x80" + bytes(4)  # and an empty message
FLOOD = 300_000  # of both


@contextlib.contextmanager
def measured(title: str) -> Iterator[None]:
    started = time.process_time()
    yield
    print(f"{title:<62} {1000 * (time.process_time() - started):10.2f} ms", flush=True)


def one_frame() -> None:
    """A frame of 32 KB that asks for broadcasts of all sources again, for all of which they are off."""
    net, liar = filled()
    body = b"".join(parent(varint(3 + number % SOURCES)) for number in range(10_700))[:32_000]
    with measured("ROUTES of 32 KB, 4,096 prunes: processor time"):
        liar.connection.receive_data(frame(routes(body)), net.now)
    assert liar.error == -1


def payload(data: bytes) -> None:
    with contextlib.suppress(PayloadError):
        decode(data, CBOR, b"", ELSEWHERE, None)


def payloads() -> None:
    keys = b"".join(cbor2.dumps(MERSENNE * 8 * (number + 1)) + b"\0" for number in range(20_000))
    with measured("CBOR, 260 KB of keys of one hash: processor time"):
        payload(b"\xb9" + (20_000).to_bytes(2, "big") + keys)
    count = (1 << 24) - 5
    maps = b"\x9a" + count.to_bytes(4, "big") + b"\xa0" * count
    tracemalloc.start()
    payload(maps)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{'CBOR, 16 MiB of empty maps: memory besides it':<62} {peak / 1000:10.2f} KB", flush=True)


def undamped() -> Flooded:
    """A mesh that passes all news on at once, as before there was damping.py."""
    net = Flooded()
    for node in net.nodes:
        for damper in (node.mesh.router.damper, node.mesh.lines.damper):
            damper.calm_ms = 0
            damper.each_max = 1 << 30
    return net


def news(size: int) -> None:
    """What one neighbour takes back again and again, each time when all know what it said before."""
    print(f"\n{len(NODES)} nodes, {LINKS} links: KB on all for {size / 1000:g} KB, and on each for each byte")
    print(f"{'':<40}{'at once':>10}{'':>8}{'damped':>10}")
    for title, frames in CASES.items():
        before = undamped().hear_out(frames(), size)
        now = Flooded().hear_out(frames(), size)
        shares = [spent / size / LINKS for spent in (before, now)]
        print(
            f"{title:<40}{before / 1000:10.0f}{shares[0]:8.2f}{now / 1000:10.0f}{shares[1]:8.2f}", flush=True
        )
    many = []
    for net in (undamped(), Flooded()):
        with_endpoints(net)
        many.append(net.hear_out(way_moves(net[NODES[-1]].me.key), size // 10))
    print(
        f"{'... to one with 1000 endpoints, a tenth':<40}"
        + "".join(f"{spent / 1000:10.0f}{spent * 10 / size / LINKS:8.2f}" for spent in many)
    )
    print()


def with_endpoints(net: Flooded) -> None:
    for number in range(1000):
        net[NODES[-1]].register(number.to_bytes(16, "big"), ANYCAST)
    net.flow()


async def silent_stranger() -> None:
    """A call to a name that nobody has, while somebody is connected who says nothing."""
    async with AsyncBus(ipc=False) as bus:
        port = int((await bus.listen("tcp://127.0.0.1:0")).url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)):
            await asyncio.sleep(0.2)
            started = time.perf_counter()
            with contextlib.suppress(Undeliverable):
                await bus.request("nobody/has/this")
            spent = 1000 * (time.perf_counter() - started)
    print(f"{'a call to a missing name beside a silent stranger':<62} {spent:10.2f} ms", flush=True)


async def flood(seconds: float) -> None:
    """The longest that a WebSocket full of the smallest frames has the loop to itself."""
    async with AsyncBus(ipc=False) as bus:
        flooding = await asyncio.to_thread(opened, (await bus.listen("ws://127.0.0.1:0")).url)

        def send() -> None:
            with contextlib.suppress(OSError):
                flooding.sendall(PINGS * FLOOD)

        sender = threading.Thread(target=send)
        sender.start()
        longest, until = 0.0, time.monotonic() + seconds
        while time.monotonic() < until:
            started = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - started)
        flooding.close()
        sender.join()
    print(f"{'a WebSocket of pings: longest turn of the loop, processor time':<62} {1000 * longest:10.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of the flood (default 3)")
    parser.add_argument("--bytes", type=int, default=14000, help="of news that is taken back (default 14000)")
    options = parser.parse_args()
    one_frame()
    payloads()
    news(options.bytes)
    asyncio.run(silent_stranger())
    asyncio.run(flood(options.seconds))


if __name__ == "__main__":
    main()
