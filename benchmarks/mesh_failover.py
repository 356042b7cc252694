"""Three machines, twelve programs, gateways joined by TCP in a triangle; the one that carries the traffic is
killed under load: how long until answers come again, and what became of the requests that were under way.

Usage: python -m benchmarks.mesh_failover [--rounds N] [--seconds S]

The machines are network namespaces, which needs root and `ip`.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from collections import Counter

from tests.rigs.netns import obstacle
from tests.rigs.netns_site import LOAD, run


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=5, help="times that a gateway is killed (default 5)")
    parser.add_argument("--seconds", type=float, default=6, help="of load in each round (default 6)")
    options = parser.parse_args()
    if reason := obstacle():
        print(reason, file=sys.stderr)
        return 1
    gaps, failed, silent = [], Counter[str](), 0
    for _ in range(options.rounds):
        outcome = asyncio.run(run(options.seconds))
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in outcome.kinds.most_common())
        print(
            f"{outcome.asked:>7,} requests, {LOAD} at once: {kinds}; {outcome.silent} without an outcome; "
            f"{outcome.gap_s * 1000:.0f} ms without an answer; by {' - '.join(outcome.way_before)}, "
            f"then {' - '.join(outcome.way_after)}",
            flush=True,
        )
        gaps.append(outcome.gap_s * 1000)
        failed += Counter({kind: count for kind, count in outcome.kinds.items() if kind != "replied"})
        silent += outcome.silent
    print(
        f"without an answer: median {statistics.median(gaps):.0f} ms ({min(gaps):.0f}-{max(gaps):.0f}); "
        f"not replied: {dict(failed)}; without an outcome: {silent}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
