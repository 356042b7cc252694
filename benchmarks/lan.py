"""Programs that find each other on the local network: how long two need, by mDNS, and by what they remember
where mDNS is blocked; how long many need that start at once, how many links they have, and how soon one is
back whose network card was down.

Usage: python -m benchmarks.lan [--rounds N] [--machines N]

The machines are network namespaces, which needs root and `ip`. All run on this one machine, so with many the
start of so many Pythons takes most of the time.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from tests.lan.meetings import Meeting, gather, meet_anew
from tests.rigs.netns import obstacle


def main(words: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=5, help="meetings of two new machines (default 5)")
    parser.add_argument(
        "--machines", type=int, default=50, help="that start at once, 0 for none (default 50)"
    )
    options = parser.parse_args(words)
    if reason := obstacle():
        print(reason, file=sys.stderr)
        return 1
    found = list(meet_anew(options.rounds))
    show("two meet by mDNS", [first for first, _ in found])
    show("two meet without it, remembered", [second for _, second in found])
    if options.machines:
        crowd = gather(options.machines)
        print(
            f"{options.machines} machines at once: the last bus open after {crowd.opened:.1f} s, all known to"
            f" all after {crowd.complete:.1f} s, at rest after {crowd.settled:.0f} s;"
            f" {crowd.links[0]} to {crowd.links[-1]} links each;"
            f" back {crowd.back:.1f} s after its network card"
        )
    return 0


def show(what: str, meetings: list[Meeting]) -> None:
    """Both times of each, as median and range."""
    for name, times in (
        ("from the start of the later program", [each.since_start for each in meetings]),
        ("from when its bus was open", [each.since_open for each in meetings]),
    ):
        print(f"{what}, {name}: {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})")


if __name__ == "__main__":
    sys.exit(main())
