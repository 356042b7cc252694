"""Writes what of docs/architecture.md follows from the code: `python -m tests.rigs.architecture`.

The rooms of the core and their arrows come from tests/test_layers.py, each module's job from its first
sentence, and the ways of messages from messages that are really sent.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import os
import random
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import FrameType
from unittest import mock

import busway
import busway.testing
from tests.rigs.tree import ROOT, SOURCE
from tests.test_layers import ROOMS, core_imports

PAGE = ROOT / "docs" / "architecture.md"
DRAWING = ROOT / "docs" / "architecture.svg"
_PART = re.compile(r"<!-- (\w+) -->\n.*?<!-- end -->", re.DOTALL)

_HOLDS = {
    "wire": "bytes to records and back: numbers, fields, message frames, HELLO, entries, aliases",
    "secure": "protected links: Noise, the boards' handshake, records; what computes is injected",
    "link": "one connection: handshake, keepalive, what waits to be written, what comes in",
    "packet": "links that lose packets: COBS, checksums, sessions, repetition, noise",
    "routing": "ways to nodes: Babel's rules, advertising, the directory, lookups, forwarding",
    "messaging": "endpoints, senders and receivers, replies, publishing, flow control",
    "leaf": "a node for boards: one link, no routes",
}


_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 560 {height}" width="560" height="{height}"
  font-family="sans-serif" font-size="15" text-anchor="middle">
<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0L8 4L0 8z" fill="#777"/></marker></defs>"""


# Rooms --------------------


def _sentence(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[.]) (?=[A-Z])", paragraph, maxsplit=1)[0]


def arrows() -> dict[str, set[str]]:
    """Which rooms each room really imports."""
    found: dict[str, set[str]] = {room: set() for room in ROOMS}
    for name, targets in core_imports().items():
        if (room := name.partition(".")[0]) in ROOMS:
            found[room] |= {target.partition(".")[0] for target in targets} & set(ROOMS) - {room}
    return found


def _rooms() -> Iterator[str]:
    yield "| Room | Holds | Imports |\n|---|---|---|\n"
    found = arrows()
    for room in sorted(ROOMS, key=lambda room: (len(_below(room, found)), room)):
        imports = ", ".join(f"`{other}`" for other in sorted(found[room]))
        yield f"| `protocol/{room}/` | {_HOLDS[room]} | {imports} |\n"


def _modules() -> Iterator[str]:
    for room in ("", *ROOMS):
        yield f"\n**`protocol/{room + '/' if room else ''}`**\n\n| Module | Its job |\n|---|---|\n"
        for path in sorted((ROOT / "protocol" / room).glob("*.py")):
            if sentence := _sentence(path):
                yield f"| `{path.name}` | {sentence} |\n"


def _below(room: str, found: dict[str, set[str]]) -> set[str]:
    """All rooms that one leads to."""
    return found[room].union(*(_below(other, found) for other in found[room]))


def drawing() -> str:
    """The rooms as SVG, each above those that it imports; an arrow that others imply is left out."""
    found = {"node, events": set(ROOMS) - {"leaf"}} | arrows()
    nearest = {
        room: others - set().union(*(_below(one, found) for one in others)) for room, others in found.items()
    }
    levels: dict[str, int] = {}
    for room in sorted(found, key=lambda room: len(_below(room, found))):
        levels[room] = 1 + max((levels[other] for other in found[room]), default=-1)
    height = 90 * (max(levels.values()) + 1) + 10
    place: dict[str, tuple[int, int]] = {}
    for level in range(max(levels.values()) + 1):
        row = [room for room in found if levels[room] == level]
        row.sort(key=lambda room: (sum(place[other][0] for other in nearest[room]), room))
        for index, room in enumerate(row):
            place[room] = (560 * (2 * index + 1) // (2 * len(row)), height - 60 - 90 * level)
    parts = [_SVG.format(height=height)]
    for room, others in nearest.items():
        for other in sorted(others):
            (x, y), (to_x, to_y) = place[room], place[other]
            parts.append(
                f'<path d="M{x} {y + 40}L{to_x} {to_y}" stroke="#777" fill="none" marker-end="url(#a)"/>'
            )
    for room, (x, y) in place.items():
        parts.append(
            f'<rect x="{x - 65}" y="{y}" width="130" height="40" rx="6" fill="#e8ebf7" stroke="#3f51b5"/>'
            f'<text x="{x}" y="{y + 25}" fill="#222">{room}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


# Ways --------------------


@dataclass
class Way:
    """The way of one message: each turn that begins outside of busway, as (file, function) in order."""

    turns: list[list[tuple[str, str]]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)  # of the core, each time it is entered or come back to

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """For sys.setprofile."""
        if event not in ("call", "return") or not (file := _file_of(frame)):
            return
        before = _file_of(frame.f_back) if frame.f_back else ""
        if event == "return":
            self.places += [before] if before else []
        elif not frame.f_code.co_name.startswith(
            "<"
        ):  # comprehensions, which later Pythons have no frames for
            self.places.append(file)
            if not before:
                self.turns.append([])
            if before != file or not file.startswith("drivers/"):  # of a driver, what is asked of it
                self.turns[-1].append((file, frame.f_code.co_qualname))

    def counts(self) -> tuple[int, int, int]:
        """Functions, files and changes of file, in the core alone."""
        core = [place for place in self.places if place.startswith("protocol/")]
        functions = {step for turn in self.turns for step in turn if step[0].startswith("protocol/")}
        changes = sum(one != other for one, other in pairwise(core))
        return len(functions), len(set(core)), changes


def _file_of(frame: FrameType) -> str:
    """A file of Busway as the repository calls it; empty for others."""
    path = frame.f_code.co_filename
    if not path.startswith(f"{SOURCE}/"):
        return ""
    name = path.removeprefix(f"{SOURCE}/")
    return name if name.startswith(("protocol/", "adapters/", "drivers/")) else f"src/busway/{name}"


async def _ways() -> dict[str, Way]:
    async with busway.testing.Network() as network:
        a, b, c = await network.bus("a"), await network.bus("b", transit=True), await network.bus("c")
        await network.link(a, b)
        await network.link(b, c)
        near, far = b.register("near"), c.register("far")
        b.serve("service", lambda request: b"16 bytes of data")
        await network.settle()

        async def send() -> None:
            await a.send("near", b"16 bytes of data")
            await near.receive()

        async def request() -> None:
            await a.request("service", b"16 bytes of data")

        async def transit() -> None:
            await a.send("far", b"16 bytes of data")
            await far.receive()

        return {
            "A message to a neighbour": await _recorded(network, send),
            "A request to a neighbour, and its reply": await _recorded(network, request),
            "A message in transit": await _recorded(network, transit),
        }


async def _recorded(network: busway.testing.Network, act: Callable[[], Awaitable[None]]) -> Way:
    for _ in range(8):  # aliases are bound, credit has grown: the common case
        await act()
    await network.settle()
    way = Way()
    sys.setprofile(way.note)
    try:
        await act()
    finally:
        sys.setprofile(None)
    await network.settle()
    return way


def ways() -> dict[str, Way]:
    """By title, what messages pass in a network in memory. The same each time: of the numbers that are drawn
    for requests, one in 128 is short and takes a longer way.
    """
    gc.disable()  # what is collected meanwhile would be seen passing
    try:
        with mock.patch.object(os, "urandom", random.Random(7).randbytes):
            return asyncio.run(_ways())
    finally:
        gc.enable()


def _listed(way: Way) -> Iterator[str]:
    yield "```text\n"
    turns = [turn for turn in way.turns if not all(file.startswith("drivers/") for file, _ in turn)]
    for number, turn in enumerate(turns, 1):  # without timers of the driver that came too early
        files: dict[str, dict[str, None]] = {}
        for file, function in turn:
            files.setdefault(file, {})[function] = None
        for index, (file, functions) in enumerate(files.items()):
            yield f"{number if not index else '':>2}  {file:<34} {', '.join(functions)}\n"
    yield "```\n"


# The page --------------------


def page() -> str:
    """The text of docs/architecture.md: as it stands, with what is between its marks written anew."""
    found = ways()
    counts = (f"| {title} | {' | '.join(map(str, way.counts()))} |\n" for title, way in found.items())
    parts = {
        "rooms": "".join(_rooms()),
        "modules": "".join(_modules()),
        "counts": "| | Functions | Files | Changes of file |\n|---|---|---|---|\n" + "".join(counts),
        "ways": "".join(f"\n### {title}\n\n{''.join(_listed(way))}" for title, way in found.items()),
    }

    def written(mark: re.Match[str]) -> str:
        return f"<!-- {mark[1]} -->\n\n{parts.pop(mark[1]).strip()}\n\n<!-- end -->"

    text = _PART.sub(written, PAGE.read_text(encoding="utf-8"))
    assert not parts, f"{PAGE.name} has no mark for {', '.join(parts)}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    DRAWING.write_text(drawing(), encoding="utf-8")
