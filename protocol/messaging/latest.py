"""Of a receiver that wants nothing older than the newest: where the message of an origin and name waits.

Knows neither messages nor queues, only how many came out of one before.
"""


class Latest:
    """Places of what waits, by origin and name: each is how many must have been taken before it."""

    __slots__ = ("places",)

    def __init__(self) -> None:
        self.places: "dict[object, dict[str, int]]" = {}

    def find(self, origin: object, name: str, taken: int) -> int:
        """How many have to be taken still before the one of that origin and name; -1: none waits."""
        names = self.places.get(origin)
        place = -1 if names is None else names.get(name, -1)
        return place - taken if place >= taken else -1

    def note(self, origin: object, name: str, taken: int, queued: int) -> None:
        """One is about to be queued behind so many. By a pattern there may be any number of names: those of
        which none waits are forgotten.
        """
        names = self.places.get(origin)
        if names is None:
            names = self.places[origin] = {}
        elif len(names) > queued:
            for other, place in list(names.items()):
                if place < taken:
                    del names[other]
        names[name] = taken + queued

    def forget(self, origin: object) -> None:
        """It is idle or gone."""
        self.places.pop(origin, None)
