"""Machines in virtual time that choose neighbours by what each of them sees: links come and go at once, ways
follow them. Deterministic by its seed.
"""

from __future__ import annotations

import random
from collections import deque

from busway.lan.neighbours import Candidate, Neighbours

TICK_S = 1.0
REST_S = 10.0
DELAY_TICKS = 3  # within which a dial has an answer


class Crowd:
    """Args: `unseen` the share of pairs of which the one does not hear the other's announcements."""

    def __init__(self, seed: int, unseen: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.unseen = unseen
        self.now = 0.0
        self.machines: dict[bytes, Neighbours] = {}
        self.sees: dict[bytes, set[bytes]] = {}
        self.links: dict[frozenset[bytes], bytes] = {}  # by both, who dialled
        self.dials: list[tuple[float, bytes, bytes]] = []
        self.deaf: set[bytes] = set()  # whom nobody can dial, as behind a firewall
        self.refused: dict[tuple[bytes, bytes], float] = {}
        self.changes = 0
        self._before: dict[bytes, tuple[set[Candidate], float]] = {}

    def join(self, count: int = 1) -> None:
        for _ in range(count):
            me = self.random.randbytes(16)
            self.sees[me] = set()
            for other in self.machines:
                for one, two in ((me, other), (other, me)):
                    if self.random.random() >= self.unseen:
                        self.sees[one].add(two)
            self.machines[me] = Neighbours(me)

    def leave(self, count: int = 1) -> None:
        for gone in self.random.sample(sorted(self.machines), count):
            del self.machines[gone], self.sees[gone]
            for pair in [pair for pair in self.links if gone in pair]:
                del self.links[pair]
            for seen in self.sees.values():
                seen.discard(gone)

    def others(self) -> dict[bytes, set[bytes]]:
        found: dict[bytes, set[bytes]] = {me: set() for me in self.machines}
        for one, two in map(tuple, self.links):
            found[one].add(two)
            found[two].add(one)
        return found

    def piece(self, start: bytes, others: dict[bytes, set[bytes]]) -> dict[bytes, int]:
        """All whom links lead to from `start`, and over how many."""
        far, waiting = {start: 0}, deque([start])
        while waiting:
            here = waiting.popleft()
            for other in others[here] - far.keys():
                far[other] = far[here] + 1
                waiting.append(other)
        return far

    def pieces(self) -> list[set[bytes]]:
        others, found, left = self.others(), list[set[bytes]](), set(self.machines)
        while left:
            found.append(set(self.piece(min(left), others)))
            left -= found[-1]
        return found

    def seen_pieces(self) -> int:
        """How many pieces there are at least: of those who see, and can dial, each other."""
        others: dict[bytes, set[bytes]] = {me: set() for me in self.machines}
        for me, seen in self.sees.items():
            for other in seen - self.deaf:
                others[me].add(other)
                others[other].add(me)
        left, count = set(self.machines), 0
        while left:
            left -= self.piece(min(left), others).keys()
            count += 1
        return count

    def degrees(self) -> list[int]:
        return sorted(map(len, self.others().values()))

    def diameter(self) -> int:
        others = self.others()
        return max(max(self.piece(me, others).values()) for me in self.machines)

    def tick(self) -> None:
        self.now += TICK_S
        for due, one, two in [dial for dial in self.dials if dial[0] <= self.now]:
            self.dials.remove((due, one, two))
            self._answered(one, two)
        others = self.others()
        reach = {me: piece for piece in self.pieces() for me in piece}
        dialling = {(one, two) for _, one, two in self.dials}
        for me in self.random.sample(sorted(self.machines), len(self.machines)):
            candidates = self._candidates(me, others[me], reach[me], dialling)
            if self._is_at_rest(me, candidates):
                continue
            plan = self.machines[me].decide(candidates, self.now)
            for other in plan.dial:
                if (me, other) not in dialling:
                    wait = self.random.randrange(DELAY_TICKS) * TICK_S
                    self.dials.append((self.now + wait, me, other))
            for other in plan.close:
                if self.links.pop(frozenset((me, other)), None) is not None:
                    self.changes += 1
                    self.machines[other].given_up_by(me, self.now)

    def _is_at_rest(self, me: bytes, candidates: set[Candidate]) -> bool:
        """Nothing has changed for longer than any rule waits, but for the one that holds links: every ten
        seconds it is looked at all the same.
        """
        known, since = self._before.get(me, (set(), 0.0))
        if known != candidates:
            self._before[me] = (candidates, self.now)
            return False
        return self.now - since > REST_S and self.now % REST_S != 0

    def _candidates(
        self, me: bytes, linked: set[bytes], reach: set[bytes], dialling: set[tuple[bytes, bytes]]
    ) -> set[Candidate]:
        return {
            Candidate(
                other,
                other in linked,
                other in linked and self.links.get(frozenset((me, other))) == me,
                other in reach,
                other in self.sees[me]
                and (self.refused.get((me, other), -1.0) <= self.now or (me, other) in dialling),
            )
            for other in self.sees[me] | linked
        }

    def _answered(self, one: bytes, two: bytes) -> None:
        if one not in self.machines:
            return
        if two not in self.machines or two in self.deaf:
            self.refused[one, two] = self.now + 30
            return
        pair = frozenset((one, two))
        if pair not in self.links:
            self.links[pair] = one
            self.changes += 1

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds / TICK_S)):
            self.tick()
