"""Decides whom of the programs seen on a network this one dials, and which links it gives up. Pure: no clock,
no socket, no chance; all programs decide by the same rules, each by what it sees.

Every program has a place in each of RINGS circles, by a hash of its node id with the circle's number, and
dials the next one in each: one link for each pair that follow each other. So a program has a neighbour before
and one behind it in each circle, NEIGHBOURS_MAX at the most, and for each pair one side that dials.

Why it is connected. One circle alone joins all whom all see. Several circles in orders that have nothing to
do with each other are an expander (Law and Siu, Distributed Construction of Random Expander Networks, 2003):
200 programs are 4 links apart at the most, and stay in one piece when several leave at once, before anything
is mended. Fingers at distances 1, 2, 4, 8 in one circle would have the same number of links, and a diameter
of 13. Who comes or goes moves one link in each circle, wherever the others are.

Where not all see all, as when announcements are lost, circles may be open. Then a second rule holds: a
program that is seen, and to which no way leads for BRIDGE_S, is dialled, whatever its place is. So in the end
a way leads to everybody who is seen by anybody in reach: the mesh is in as few pieces as what is seen.

Links beyond NEIGHBOURS_MAX, and such as no circle needs any more, are given up, one at a time, by whom no
circle of what it sees has beside the other. One after which the other is out of reach is made again, and kept
for a time that doubles.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

RINGS: Final = 4
NEIGHBOURS_MAX: Final = 2 * RINGS
TURN_S: Final = (
    2.0  # of two that are each other's next the one with the smaller id dials; then the other, too
)
BRIDGE_S: Final = 4.0
SETTLED_S: Final = 5.0  # a link that no circle needs is given up when that has been so for as long
SOON_S: Final = 1.0  # of one that was in reach while the link stood
ENOUGH_S: Final = 600.0
HOLD_S: Final = 60.0
HOLD_MAX_S: Final = 3600.0
_SPACE: Final = 1 << 64


class Candidate(NamedTuple):
    """A program that is seen, or that there is a link with.

    Args: `linked` whether there is one, `mine` whether this side dialled it, `reachable` whether a way of any
    sort leads to it, `may_dial` whether it has an address that may be tried now, `given` whether the link is
    there anyway, as with a program of this machine: it joins, is not counted, and not ended; `eager` that it
    is dialled without waiting for its turn, as its id may be another one by now.
    """

    node_id: bytes
    linked: bool = False
    mine: bool = False
    reachable: bool = False
    may_dial: bool = True
    given: bool = False
    eager: bool = False


class Plan(NamedTuple):
    """The decision: whom to dial, and whose links to end."""

    dial: tuple[bytes, ...]
    close: tuple[bytes, ...]


@lru_cache(4096)
def places(node_id: bytes) -> tuple[int, ...]:
    """The place of a program in each circle."""
    return tuple(
        int.from_bytes(blake2b(node_id, digest_size=8, salt=bytes((ring,))).digest(), "big")
        for ring in range(RINGS)
    )


def successors(me: bytes, others: Collection[bytes]) -> list[bytes]:
    """The next one in each circle, each once."""
    return _nearest(me, others, 1)


def predecessors(me: bytes, others: Collection[bytes]) -> list[bytes]:
    """The one before in each circle, each once."""
    return _nearest(me, others, -1)


def _nearest(me: bytes, others: Collection[bytes], way: int) -> list[bytes]:
    if not others:
        return []
    mine = places(me)
    all_places = [(places(other), other) for other in others]
    found = [
        min(((where[ring] - mine[ring]) * way % _SPACE, other) for where, other in all_places)[1]
        for ring in range(RINGS)
    ]
    return list(dict.fromkeys(found))


class _Circles:
    """The ones beside this one among those who are there: worked out anew only when that changes."""

    def __init__(self, me: bytes) -> None:
        self._me = me
        self._there: frozenset[bytes] = frozenset()
        self.after: list[bytes] = []
        self.before: list[bytes] = []

    def update(self, there: Iterable[bytes]) -> None:
        """Take in who is there now."""
        now = frozenset(there)
        if now != self._there:
            self._there = now
            self.after, self.before = successors(self._me, now), predecessors(self._me, now)


class Neighbours:
    """The decisions of one program over time. Args: `me` its node id."""

    def __init__(self, me: bytes) -> None:
        self.me = me
        self._all, self._to_dial = _Circles(me), _Circles(me)
        self._seen: dict[bytes, float] = {}  # since when
        self._out_of_reach: dict[bytes, float] = {}  # since when
        self._needless: dict[bytes, float] = {}  # links that no circle needs, since when
        self._given_up: dict[bytes, float] = {}  # whose link was ended here, until when that may prove wrong
        self._enough: dict[bytes, float] = {}  # who gave up the link with this one: not to be dialled until
        self._holds: dict[bytes, tuple[float, float]] = {}  # kept until, and for how long that was

    def decide(self, candidates: Iterable[Candidate], now: float) -> Plan:
        """Args: `candidates` all that are seen or linked, `now` in seconds of any origin."""
        known = {each.node_id: each for each in candidates if each.node_id != self.me}
        self._look(known, now)
        self._all.update(other for other, each in known.items() if each.may_dial or each.linked)
        enough = {other for other, each in known.items() if each.reachable and self.has_enough(other, now)}
        # The place of one that has enough stays empty: to try one after the other would have links come and
        # go for minutes where many cannot be dialled, and so all others have too many. Not with few links.
        passed_over = enough if sum(each.linked for each in known.values()) < RINGS else set[bytes]()
        self._to_dial.update(
            other
            for other, each in known.items()
            if each.linked or (each.may_dial and other not in passed_over)
        )
        lacking = [other for other in self._to_dial.after if not known[other].linked and other not in enough]
        dial = [other for other in lacking if known[other].eager or self._is_my_turn(other, now)]
        if not lacking:
            dial = self._bridge(known, now)
        return Plan(tuple(dial), self._to_close(known, bool(lacking), now))

    def given_up_by(self, node_id: bytes, now: float) -> None:
        """That one has ended the link, as it has enough: it is not dialled while others lead to it."""
        self._enough[node_id] = now + ENOUGH_S

    def has_enough(self, node_id: bytes, now: float) -> bool:
        """Whether that one said so of late."""
        return self._enough.get(node_id, now) > now

    def _look(self, known: dict[bytes, Candidate], now: float) -> None:
        """Keep account of since when something is so."""
        of_each: tuple[dict[bytes, Any], ...] = (
            *(self._seen, self._out_of_reach, self._needless),
            *(self._given_up, self._enough, self._holds),
        )
        for times in of_each:
            for gone in times.keys() - known.keys():
                del times[gone]
        for node_id, each in known.items():
            self._seen.setdefault(node_id, now)
            if each.reachable or each.linked:
                self._out_of_reach.pop(node_id, None)
            else:
                self._out_of_reach.setdefault(node_id, now)
            if node_id in self._given_up:
                self._judge(each, now)

    def _judge(self, each: Candidate, now: float) -> None:
        """Whether it was right to give up the link with this one."""
        if each.linked or not each.reachable:
            length = min(self._holds.get(each.node_id, (0.0, HOLD_S / 2))[1] * 2, HOLD_MAX_S)
            self._holds[each.node_id] = (now + length, length)
        if each.linked or now >= self._given_up[each.node_id]:
            del self._given_up[each.node_id]

    def _is_my_turn(self, other: bytes, now: float) -> bool:
        return other not in self._all.before or self.me < other or now - self._seen[other] >= TURN_S

    def _bridge(self, known: dict[bytes, Candidate], now: float) -> list[bytes]:
        """One that nothing leads to: the first in the first circle, so that others begin with another."""
        lost = [
            other
            for other, since in self._out_of_reach.items()
            if known[other].may_dial
            and (now - since >= BRIDGE_S or (other in self._given_up and now - since >= SOON_S))
        ]
        if not lost:
            return []
        found = successors(self.me, lost)[0]
        length = max(HOLD_S, self._holds.get(found, (0.0, 0.0))[1])
        self._holds[found] = (now + length, length)
        return [found]

    def _to_close(self, known: dict[bytes, Candidate], lacking: bool, now: float) -> tuple[bytes, ...]:
        linked = {each.node_id: each for each in known.values() if each.linked and not each.given}
        beside = {*self._all.after, *self._all.before, *self._to_dial.after}
        for other in beside & self._needless.keys() | self._needless.keys() - linked.keys():
            del self._needless[other]
        for other in linked.keys() - beside:
            self._needless.setdefault(other, now)
        if lacking or len(linked) <= 1:
            return ()  # the new ones come first
        over = len(linked) > NEIGHBOURS_MAX
        ripe = [
            other
            for other, since in self._needless.items()
            if now - since >= SETTLED_S
            and (over or linked[other].mine)
            and (other not in self._holds or (over and now >= self._holds[other][0]))
        ]
        if not ripe:
            return ()
        chosen = min(ripe, key=lambda other: (not linked[other].mine, self._needless[other], other))
        self._given_up[chosen] = now + HOLD_S
        return (chosen,)
