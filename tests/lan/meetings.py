"""Meetings of programs on machines that are network namespaces, with the times that they take: shared by the
long tests and the benchmark. Judges nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from busway.lan.neighbours import NEIGHBOURS_MAX
from tests.lan.running import Running, running
from tests.rigs.netns import Machine, block_multicast, machines

SETTLED_S = 90.0  # within which links that are too many are given up
LOOK_S = 3.0


@dataclass
class Meeting:
    """The seconds from the start of the later program, and from when its bus was open, until each saw the
    other.
    """

    since_start: float
    since_open: float


def meet(here: Machine, there: Machine) -> Meeting:
    """Two programs, started at once, until both know each other; then they end."""
    with running(here, "one") as one, running(there, "two") as two:
        pair = (one, two)
        up = [program.wait(lambda line: line.get("node") == "up")["now"] for program in pair]
        opened = [program.wait(lambda line: "open" in line)["now"] for program in pair]
        found = Meeting(max(up) - max(program.begun for program in pair), max(0.0, max(up) - max(opened)))
        for program in pair:
            program.wait(lambda line: line.get("found") == "joined")
        two.end()
        one.end()
    return found


def meet_anew(rounds: int) -> Iterator[tuple[Meeting, Meeting]]:
    """Of two new machines each time: how long it takes by mDNS, then by what is remembered, with mDNS
    blocked.
    """
    for _ in range(rounds):
        with machines(2) as (here, there):
            first = meet(here, there)
            block_multicast(0)
            block_multicast(1)
            yield first, meet(here, there)


@dataclass
class Gathering:
    """The seconds from the start of the last program: until the last bus was open, until all knew all, and
    until none had too many links, give or take LOOK_S; how many each has; and how long it took one that was
    away to know somebody again.
    """

    opened: float
    complete: float
    settled: float
    links: list[int]
    back: float


def gather(count: int) -> Gathering:
    """So many machines whose programs start at once, then one whose network card goes down and up."""
    with machines(count) as there, contextlib.ExitStack() as stack:
        programs = [stack.enter_context(running(each, f"p{number}")) for number, each in enumerate(there)]
        begun = max(program.begun for program in programs)
        opened = max(program.wait(lambda line: "open" in line)["now"] for program in programs)
        known = max(program.knows(count - 1) for program in programs)
        links = [len(programs)]
        while max(links) > NEIGHBOURS_MAX and time.monotonic() - known < SETTLED_S:
            time.sleep(LOOK_S)
            links = sorted(program.ask_links() for program in programs)
        settled = time.monotonic() - begun
        back = _away(there[0], programs[0], programs[1])
        return Gathering(opened - begun, known - begun, settled, links, back)


def _away(machine: Machine, program: Running, other: Running) -> float:
    """The seconds from when a network card is up again until its program knows somebody, whom it had lost."""
    said = len(program.said)
    machine.set_link("down")
    program.wait(lambda line: line.get("node") == "down" and line["label"] == "p1", said)
    other.wait(lambda line: line.get("node") == "down" and line["label"] == "p0")
    said = len(program.said)
    machine.set_link("up")
    up = time.monotonic()
    return float(program.wait(lambda line: line.get("node") == "up", said)["now"]) - up
