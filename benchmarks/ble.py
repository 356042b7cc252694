"""Two centrals and a board over the virtual radio: confirmed messages under loss and lost connections, rates,
and a board that dies without a word; beside that, goodput as connection intervals limit it (virtual time).

Usage: python -m benchmarks.ble [--messages N] [--model]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from typing import Any

import busway
from benchmarks.ble_interval import Case, measure
from tests.rigs.ble.radio import Program, VirtualRadio

NAME = "Board"
LOSS = 0.05
DROPS = 3
IN_FLIGHT = 32
PAYLOAD = 32
TTL_S = 60.0
CHUNK = 65536


# The central's program --------------------


async def connect(bus: busway.AsyncBus) -> None:
    """A new link to the board; returns when it has told its endpoints. Raises OSError, BusError."""
    await bus.connect(f"ble://{NAME}", retry=None)


async def keep(bus: busway.AsyncBus, ends: list[tuple[str, float]]) -> None:
    """Connects again whenever the link has ended, and notes why and when it ended."""
    while True:
        changes = bus.changes()
        try:
            await connect(bus)
        except (OSError, busway.BusError):
            continue
        async for change in changes:
            if change.what == "link-down":
                ends.append((change.text, time.time()))
                break


async def confirmed(bus: busway.AsyncBus, number: int, count: int) -> dict[str, list[int]]:
    """The fate of each message, by outcome."""
    outcomes: dict[str, list[int]] = {"taken": [], "unknown": [], "undeliverable": []}
    places = asyncio.Semaphore(IN_FLIGHT)

    async def one(step: int) -> None:
        try:
            message = [number, step, bytes(PAYLOAD)]
            await bus.send("board/log", message, confirm=True, ttl=TTL_S, timeout=TTL_S)
            outcomes["taken"].append(step)
        except busway.DeliveryUnknown:
            outcomes["unknown"].append(step)
        except busway.Undeliverable:
            outcomes["undeliverable"].append(step)
        finally:
            places.release()
        if step % 100 == 0:
            print("step", step, flush=True)

    tasks = []
    for step in range(count):
        await places.acquire()
        tasks.append(asyncio.create_task(one(step)))
    await asyncio.gather(*tasks)
    return outcomes


async def speeds(bus: busway.AsyncBus) -> dict[str, float]:
    """Round trips, and a large message there and back."""
    trips = []
    for step in range(200):
        begun = time.perf_counter()
        await bus.request("board/echo", b"%d" % step)
        trips.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    data = os.urandom(CHUNK)
    assert await bus.request("board/echo", data, timeout=300.0) == data
    return {"rtt_ms": statistics.median(trips) * 1000, "bytes_s": 2 * CHUNK / (time.perf_counter() - begun)}


async def central(number: int, count: int) -> None:
    ends: list[tuple[str, float]] = []
    async with busway.AsyncBus(ipc=False, label=f"central {number}") as bus:
        keeper = asyncio.create_task(keep(bus, ends))
        await bus.request("board/echo", b"", ttl=30.0)
        result: dict[str, Any] = await speeds(bus)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        begun = time.perf_counter()
        result["outcomes"] = await confirmed(bus, number, count)
        result["seconds"] = time.perf_counter() - begun
        result["report"] = await bus.request("board/report", number, ttl=30.0, timeout=60.0)
        print("result", json.dumps(result), flush=True)
        await asyncio.to_thread(sys.stdin.readline)  # the board is killed meanwhile
        before = len(ends)
        while len(ends) == before:  # noqa: ASYNC110 - a list tells nobody that it grows
            await asyncio.sleep(0.01)
        print(json.dumps(ends[before]), flush=True)
        keeper.cancel()


# The benchmark --------------------


def follow(radio: VirtualRadio, programs: list[Program], count: int) -> list[dict[str, Any]]:
    """Drops all connections DROPS times on the way; the results."""
    due = [count * (turn + 1) // (DROPS + 1) // 100 * 100 for turn in range(DROPS)]
    results = []
    while len(results) < len(programs):
        word, _, rest = programs[len(results)].line(300).partition(" ")
        if word == "result":
            results.append(json.loads(rest))
        elif due and int(rest) >= due[0] and not results:
            del due[0]
            radio.tell("drop")
    assert not due
    return results


def check(result: dict[str, Any]) -> str:
    """The row of one central. AssertionError if the promises were not kept."""
    outcomes, report = result["outcomes"], result["report"]
    taken, there = set(outcomes["taken"]), set(report["taken"])
    assert not taken - there, "a message that was confirmed never came"
    assert not there & set(outcomes["undeliverable"]), "a message that was called undelivered came"
    assert report["twice"] == report["disordered"] == 0, report
    return (
        f"{len(taken):>7}{len(outcomes['unknown']):>9}{len(outcomes['undeliverable']):>15}"
        f"{report['twice']:>7}{report['disordered']:>13}{result['seconds']:>8.1f}"
        f"{len(taken) / result['seconds']:>8.0f}{result['rtt_ms']:>8.1f}{result['bytes_s'] / 1000:>8.0f}"
    )


def run(att_mtu: int, messages: int) -> None:
    with VirtualRadio(centrals=2) as radio:
        board = radio.peripheral(NAME, att_mtu=att_mtu, module="tests.rigs.ble.board")
        words = ("--central", str(messages // 2))
        programs = [radio.program("benchmarks.ble", *words, str(each), central=each) for each in (0, 1)]
        for program in programs:
            assert program.line() == "ready"
        radio.tell(f"loss {LOSS}")
        for program in programs:
            program.tell("go")
        results = follow(radio, programs, messages // 2)
        for number, result in enumerate(results):
            print(f"{att_mtu:>5}{number:>9}{check(result)}")
        board.kill()
        killed = time.time()
        for program in programs:
            program.tell("wait")
        for program in programs:
            text, at = json.loads(program.line(60))
            print(f"      the board was killed: {text!r} {at - killed:.1f} s later")


def model() -> None:
    print("\nGoodput of 64-byte messages in virtual time, 1 minute each; capacity is packets times MTU")
    print("  ATT_MTU  interval  packets   loss   bytes/s  of capacity")
    for att_mtu in (23, 247):
        for interval_ms, per_event in ((15, 1), (15, 4), (50, 4)):
            for loss in (0.0, 0.01, LOSS):
                result = measure(Case(att_mtu, interval_ms, per_event, loss, 64))
                print(
                    f"{att_mtu:>9}{interval_ms:>7} ms{per_event:>9}{loss:>7.0%}{result.bytes_s:>10.0f}"
                    f"{result.fraction:>13.0%}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=10_000, help="confirmed, of both centrals together")
    parser.add_argument("--model", action="store_true", help="only what runs in virtual time")
    parser.add_argument("--central", nargs=2, type=int, metavar=("COUNT", "NUMBER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.central:
        asyncio.run(central(options.central[1], options.central[0]))
        return
    if not options.model:
        print(f"{options.messages} confirmed messages, {LOSS:.0%} of packets lost, {DROPS} lost connections")
        print(
            "  MTU  central  taken  unknown  undeliverable  twice  out of order       s   per s  rtt ms"
            "    kB/s"
        )
        for att_mtu in (247, 23):
            run(att_mtu, options.messages)
    model()


if __name__ == "__main__":
    main()
