"""The order in which names get their mail: so that those whose receivers take nothing, or one program with
very many names, hold up nobody else's. Pure: knows neither time nor messages.
"""

from __future__ import annotations

from typing import Final

PLACES: Final = 128  # names whose mail is on its way at the same time
DOUBTFUL: Final = 64  # of these such as have taken nothing when they were last tried
OF_ONE: Final = 32  # and of one node


class Turns:
    """Names that wait for a place: in turn by the nodes that hold them, and doubtful ones with others."""

    def __init__(self) -> None:
        self._ranks: tuple[_Rank, _Rank] = ({}, {})  # the others, and doubtful ones
        self._last = True  # whether the last that was given a place was doubtful
        self._waiting: dict[bytes, tuple[bytes, bool]] = {}  # by name: its holder, whether it is doubtful
        self._busy: dict[bytes, tuple[bytes, bool]] = {}
        self._of: dict[bytes, int] = {}  # places, by holder
        self._doubtful = 0  # places of such

    def __contains__(self, name: bytes) -> bool:
        """Whether it waits, or has a place."""
        return name in self._waiting or name in self._busy

    def add(self, name: bytes, holder: bytes, doubtful: bool) -> None:
        """A name wants a place. One that has one is left alone."""
        if name in self._busy or self._waiting.get(name) == (holder, doubtful):
            return
        self._drop(name)
        self._waiting[name] = (holder, doubtful)
        self._ranks[doubtful].setdefault(holder, {})[name] = None

    def take(self) -> bytes | None:
        """The next name, which has a place from now on; None while there is none for any."""
        if len(self._busy) >= PLACES:
            return None
        for doubtful in (not self._last, self._last):
            if doubtful and self._doubtful >= DOUBTFUL:
                continue
            rank = self._ranks[doubtful]
            for holder in rank:
                if self._of.get(holder, 0) < OF_ONE:
                    return self._give(next(iter(rank[holder])))
        return None

    def _give(self, name: bytes) -> bytes:
        holder, doubtful = self._waiting[name]
        self._drop(name)
        rank = self._ranks[doubtful]
        if holder in rank:
            rank[holder] = rank.pop(holder)  # behind the others
        self._last = doubtful
        self._busy[name] = (holder, doubtful)
        self._of[holder] = self._of.get(holder, 0) + 1
        self._doubtful += doubtful
        return name

    def done(self, name: bytes) -> None:
        """Its place is free. One without a place is left alone."""
        if name in self._busy:
            holder, doubtful = self._busy.pop(name)
            self._doubtful -= doubtful
            self._of[holder] -= 1
            if not self._of[holder]:
                del self._of[holder]

    def _drop(self, name: bytes) -> None:
        if name in self._waiting:
            holder, doubtful = self._waiting.pop(name)
            rank = self._ranks[doubtful]
            del rank[holder][name]
            if not rank[holder]:
                del rank[holder]


_Rank = dict[bytes, dict[bytes, None]]  # names by holder, both in order
