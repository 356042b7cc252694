"""Packet links on bad serial lines, beside a stop-and-wait and a go-back-N link, in one simulation.

Usage: python -m benchmarks.lines [--seed S] [--seconds V] [--runs N]
       python -m benchmarks.lines --confirmed N [--seed S]

The first measures, in virtual time, goodput of 64-byte payloads on a clean line and at a bit error rate of
1e-4, 9600 and 115200 baud, as a fraction of what the rate leaves when 78 bytes on the line carry 64 (the
design's budget), the bytes on the line for each message, both ways, and how long after a burst of lost bytes
the stream goes on. All three links carry the same stream of 69 bytes for each message (docs/protocol.md, 5)
in packets of the same size, with the same delimiter, checksums and timeout, over the same driver with 256
bytes in its buffer. Then whole Nodes. The second sends confirmed messages over a line that flips, drops,
inserts, doubles and cuts while boards reset, and judges each verdict; its exit status is 1 if a promise was
broken. The two textbook links are tests/simulation/arq.py, for PyPI has none that could take part in virtual
time: hdlcontroller and serial-packets run by threads or asyncio and the real clock, pySerialTransfer repeats
nothing, arqsim moves no bytes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable

from busway.protocol.packet.packets import PacketLayer
from tests.simulation.arq import GoBackN, StopAndWait
from tests.simulation.lines import Line, Trouble, uart
from tests.simulation.stations import Layer, LayerStation, Talk

PAYLOAD, BUDGET, RECORD = 64, 78, 69  # bytes
BER = 1e-4
BURSTS = Trouble(burst=1e-4)
BAD = Trouble(ber=BER, burst=2e-5, noise=2e-5, double=5e-4, cut=5e-4)
BAUDS = (9600, 115200)
PARTS = 10  # of the confirmed messages, each with a seed of its own

LINKS: dict[str, Callable[[bytes], Layer]] = {
    "stop-and-wait": lambda nonce: StopAndWait(),
    "go-back-N": lambda nonce: GoBackN(),
    "busway": lambda nonce: PacketLayer(nonce, 0, 31, 1_000_000),
}


def streaming(name: str, seed: int, baud: int, trouble: Trouble, seconds: int) -> tuple[Line, LayerStation]:
    """A line on which one side has something to send for `seconds`."""
    line = Line(seed, uart(baud, trouble))
    ours = LayerStation(LINKS[name](b"aaaa"), RECORD)
    theirs = LayerStation(LINKS[name](b"bbbb"), RECORD, 0)
    line.attach(0, ours)
    line.attach(1, theirs)
    line.run(seconds * 1000)
    assert not theirs.faults, f"{name}, seed {seed}: the stream is damaged"
    return line, theirs


def fraction(messages: float, baud: int, seconds: float) -> float:
    return messages * BUDGET / (baud / 10 * seconds)


def goodput(name: str, seeds: range, baud: int, ber: float, seconds: int) -> str:
    shares, there, back, messages = [], 0, 0, 0.0
    for seed in seeds:
        line, theirs = streaming(name, seed, baud, Trouble(ber=ber), seconds)
        shares.append(fraction(theirs.got / RECORD, baud, seconds))
        there, back = there + line.ways[0].bytes, back + line.ways[1].bytes
        messages += theirs.got / RECORD
    spread = f"({min(shares):4.0%} to {max(shares):4.0%})"
    return f"{statistics.mean(shares):5.1%} {spread}  {there / messages:6.1f} {back / messages:6.1f}"


def recovery(name: str, seeds: range, baud: int, seconds: int) -> str:
    """From the end of a burst until the next bytes of the stream come."""
    times: list[int] = []
    for seed in seeds:
        line, theirs = streaming(name, seed, baud, BURSTS, seconds)
        arrivals = iter([*theirs.arrivals, (1 << 60, 0)])
        when = 0
        for end in line.ways[0].burst_ended_ms:
            while when <= end:
                when, _ = next(arrivals)
            if when < 1 << 60:
                times.append(when - end)
    times.sort()
    places = (0.5, 0.9, 0.99)
    found = "  ".join(f"{times[int(len(times) * place)]:6,}" for place in places)
    return f"{found}  {times[-1]:6,} ms  ({len(times)} bursts)"


def nodes(seed: int, baud: int, ber: float, count: int) -> str:
    """Confirmed messages between two Nodes: the verdicts travel as well."""
    talk = Talk(seed, uart(baud, Trouble(ber=ber)))
    talk.line.run(3000)
    started, before = talk.line.us, [way.bytes for way in talk.line.ways]
    talk.play(count)
    seconds = (talk.line.us - started) / 1e6
    there, back = (way.bytes - old for way, old in zip(talk.line.ways, before, strict=True))
    share = fraction(count, baud, seconds)
    assert talk.faults == []
    return f"{share:5.1%}                {there / count:6.1f} {back / count:6.1f}"


def measure(seed: int, seconds: int, runs: int) -> None:
    seeds = range(seed, seed + runs)
    print(f"{'line':22} {'link':16} goodput                bytes for a message, there and back")
    for baud in BAUDS:
        length = seconds if baud > 9600 else seconds * 5
        for ber in (0.0, BER):
            title = f"{baud:6} baud, {'BER 1e-4' if ber else 'clean'}"
            for name in LINKS:
                print(f"{title:22} {name:16} {goodput(name, seeds, baud, ber, length)}", flush=True)
            print(f"{title:22} {'Nodes, confirmed':16} {nodes(seed, baud, ber, baud // 6)}", flush=True)
    print(f"\n{'after a burst':22} {'link':16} {'median':>6}  {'90 %':>6}  {'99 %':>6}  {'worst':>6}")
    for baud in BAUDS:
        length = seconds if baud > 9600 else seconds * 5
        for name in LINKS:
            print(f"{baud:6} baud            {name:16} {recovery(name, seeds, baud, length)}", flush=True)


def confirm(seed: int, baud: int, count: int) -> tuple[list[str], Counter[str], str]:
    """Confirmed messages, both ways, on the worst line; boards reset every minute on average."""
    counts: Counter[str] = Counter()
    faults: list[str] = []
    resets, started, virtual = 0, time.monotonic(), 0.0
    for part in range(PARTS):
        talk = Talk(seed + part, uart(baud, BAD), both=True)
        begun = talk.line.us
        talk.play(count // PARTS // 2, reset_every_ms=60_000 if baud <= 9600 else 10_000)
        counts.update(talk.tally())
        faults += talk.faults
        resets += talk.resets
        virtual += (talk.line.us - begun) / 1e6
        counts["damages"] += sum(way.damages for way in talk.line.ways)
    took = f"{resets} resets, {virtual:,.0f} s virtual, {time.monotonic() - started:.0f} s real"
    return faults, counts, took


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--seconds", type=int, default=60, help="virtual, of each run at 115200 baud; 9600: five times"
    )
    parser.add_argument("--runs", type=int, default=3, help="seeds of each figure")
    parser.add_argument(
        "--confirmed", type=int, default=0, help="so many confirmed messages at each rate instead"
    )
    options = parser.parse_args()
    if not options.confirmed:
        measure(options.seed, options.seconds, options.runs)
        return 0
    broken = False
    for baud in BAUDS:
        faults, counts, took = confirm(options.seed, baud, options.confirmed)
        verdicts = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        print(f"{baud} baud: {verdicts}; {took}; {len(faults)} faults", *faults[:10], sep="\n   ", flush=True)
        broken = broken or bool(faults)
    return broken


if __name__ == "__main__":
    sys.exit(main())
