"""A driver of lines for test_healing.py: the next dial gets the end that the test has put here."""

from __future__ import annotations

from tests.adapters.tools import PairChannel


class LineChannel(PairChannel):
    """One end of a line that may lose: packets without boundaries, as on a serial line."""

    __slots__ = ()

    sort = "packet"


ends: list[LineChannel] = []


def candidates(url: str) -> list[str]:
    return [url]


def dial(candidate: str, url: str, *, token: str | None = None) -> LineChannel:
    if not ends:
        raise FileNotFoundError(f"{url}: no such line")
    return ends.pop()
