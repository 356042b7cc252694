"""The weights of some parties that share a bounded room, so that one that takes most can be found at once."""


class Weights:
    """The weights, in ranks of powers of two: of those in the highest rank any counts as the heaviest."""

    __slots__ = ("_ranks", "_weights", "total")

    def __init__(self) -> None:
        self.total = 0
        self._weights: "dict[object, int]" = {}
        self._ranks: "dict[int, dict[object, bool]]" = {}

    def add(self, who: object, weight: int) -> None:
        """It takes so much more, or less; who takes nothing is forgotten."""
        self.total += weight
        before = self._weights.get(who, 0)
        after = before + weight
        former, rank = _rank(before), _rank(after)
        if former != rank:
            if before:
                del self._ranks[former][who]
                if not self._ranks[former]:
                    del self._ranks[former]
            if after:
                self._ranks.setdefault(rank, {})[who] = True
        if after:
            self._weights[who] = after
        else:
            self._weights.pop(who, None)

    def of(self, who: object) -> int:
        """How much it takes."""
        return self._weights.get(who, 0)

    def parties(self) -> "list[object]":
        """All that take something."""
        return list(self._weights)

    def heaviest(self) -> object:
        """One of those that take most; there is one."""
        return next(iter(self._ranks[max(self._ranks)]))


def _rank(weight: int) -> int:
    rank = 0
    while weight:
        weight >>= 1
        rank += 1
    return rank
