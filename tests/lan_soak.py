"""The stage of the long tests (tests/soak.py) about programs that find each other: simulated crowds of
machines that come, go, and do not hear each other; then, where there are namespaces, fifty real ones at once.
"""

from __future__ import annotations

import random
import time

from busway.lan.neighbours import HOLD_S, NEIGHBOURS_MAX
from tests.lan.crowd import Crowd
from tests.lan.meetings import gather
from tests.rigs.netns import obstacle

MACHINES = 50
COMPLETE_MAX_S = 120.0  # of a machine with two processors, on which fifty Pythons start
LINKS_OVER = 2  # a link that was the only way to somebody is held for a minute or more
DIAMETER_MAX = 6


def crowds(seed: int, seconds: float) -> tuple[bool, str]:
    """Whether all bounds were kept, and what was seen."""
    until = time.monotonic() + seconds / 2
    lives, far = 0, 0
    while lives == 0 or time.monotonic() < until:
        fault, diameter = life(seed + lives)
        if fault:
            return False, f"seed {seed + lives}: {fault}"
        lives, far = lives + 1, max(far, diameter)
    most = NEIGHBOURS_MAX + LINKS_OVER
    text = f"{lives} lives of crowds, each in one piece, at most {most} links, {far} apart"
    if reason := obstacle():
        return True, f"{text}; no real ones: {reason}"
    found = gather(MACHINES)
    real = (
        f"{MACHINES} real machines at once: the last open after {found.opened:.1f} s, all known to all after"
        f" {found.complete:.1f} s, at rest after {found.settled:.0f} s,"
        f" {found.links[0]} to {found.links[-1]} links, back {found.back:.1f} s after"
        " a network card"
    )
    kept = found.complete <= COMPLETE_MAX_S and found.links[-1] <= NEIGHBOURS_MAX + LINKS_OVER
    return kept, f"{text}; {real}"


def life(seed: int) -> tuple[str, int]:
    """Machines that come and go, of which some cannot be dialled and not all hear all: what is wrong once
    they are at rest, "" if nothing is; and over how many links the farthest are apart.
    """
    rng = random.Random(seed)
    crowd = Crowd(seed, unseen=rng.choice((0.0, 0.0, 0.1, 0.3, 0.8)))
    crowd.join(rng.randrange(2, 200))
    crowd.deaf = set(rng.sample(sorted(crowd.machines), rng.choice((0, 0, len(crowd.machines) // 4))))
    for _ in range(rng.randrange(1, 6)):
        crowd.run(rng.randrange(1, 20))
        if rng.random() < 0.5 and len(crowd.machines) > 2:
            crowd.leave(rng.randrange(1, max(2, len(crowd.machines) // 2)))
        else:
            crowd.join(rng.randrange(1, 20))
    crowd.run(30)
    expected = crowd.seen_pieces()
    if len(crowd.pieces()) != expected:
        return f"{len(crowd.pieces())} pieces, not {expected}", 0
    crowd.run(2 * HOLD_S)
    if len(crowd.pieces()) != expected:
        return f"{len(crowd.pieces())} pieces later, not {expected}", 0
    if crowd.degrees()[-1] > NEIGHBOURS_MAX + LINKS_OVER:
        return f"{crowd.degrees()[-1]} links", 0
    far = crowd.diameter()
    return (f"{far} links apart" if far > DIAMETER_MAX else ""), far
