"""The last retained values that came to this node, by endpoint, publisher and name: so that none is given to
the program twice, and who subscribes here later gets them, too.

Bounded: beyond it the link that brought most loses some, and of that the publisher that has most its oldest.
Knows numbers, and a link only as who brings them.
"""

from busway.protocol.messaging.marked import Last
from busway.protocol.messaging.weights import Weights
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SIZE_MAX: "Final" = 16777216  # bytes, in all
SIZE_MIN: "Final" = 4096  # that each counts with at least


class Lasts:
    """The values, and what they take."""

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        # By publisher, node and incarnation: its values by endpoint and name.
        self._of: "dict[bytes, dict[bytes, Last]]" = {}
        self._links = Weights()
        self._sources: "dict[object, Weights]" = {}  # by link, None: one that is gone
        self._link_of: "dict[bytes, object]" = {}  # that brought the newest of a publisher
        # By publisher and endpoint: the number up to which some have been dropped for want of room.
        self._floors: "dict[bytes, int]" = {}

    def is_news(self, source: bytes, endpoint: bytes, name: str, number: int) -> bool:
        """Whether a value is newer than what came of that publisher to the endpoint under that name."""
        known = self._of.get(source, _NONE).get(endpoint + name.encode())
        return known is None or number & ~codes.CLEARED > known.number

    def doubt(self, source: bytes) -> None:
        """A publisher is away: which of its values still hold it says when it is back."""
        for last in self._of.get(source, _NONE).values():
            last.asked = False
            if last.lacking is None:
                last.lacking = []

    def take_doubted(self, source: bytes) -> "list[bytes]":
        """The endpoints of the values that are in doubt, and for which nobody has been asked yet."""
        found: "dict[bytes, bool]" = {}
        for key, last in self._of.get(source, _NONE).items():
            if last.lacking is not None and not last.asked:
                last.asked = True
                found[key[: codes.ID_SIZE]] = True
        return list(found)

    def confirm(self, source: bytes, endpoint: bytes, name: str, number: int) -> "Last | None":
        """A value has come once more: it, if that had been in doubt."""
        known = self._of.get(source, _NONE).get(endpoint + name.encode())
        return None if known is None or known.number != number or known.lacking is None else known

    def compare(
        self, source: bytes, endpoint: bytes, after: int, through: int, numbers: "list[int]"
    ) -> "tuple[list[int], list[tuple[str, Last]]]":
        """A publisher says which of its values, of those behind `after` and up to `through`, it keeps for
        this node: others are no more. Returns those of the numbers that are lacking here, and the values that
        were in doubt.
        """
        lacking = dict.fromkeys(numbers)
        doubted: "list[tuple[str, Last]]" = []
        for key, last in self._of.get(source, _NONE).items():
            number = last.number
            if not after < number <= through or not key.startswith(endpoint):
                continue
            if number in lacking:
                del lacking[number]
                if last.lacking is not None:
                    doubted.append((key[codes.ID_SIZE :].decode(), last))
            elif last.lacking is None:
                last.lacking = []  # it is nobody's more, unless it is said to be there again
                last.asked = True
        floor = self._floors.get(source + endpoint, 0)
        return [number for number in lacking if number > floor], doubted

    def note(self, link: object, source: bytes, endpoint: bytes, name: str, last: Last) -> None:
        """It is the newest now."""
        key = endpoint + name.encode()
        if source in self._of:
            self._drop(source, key)
        self._came_by(link, source)
        self._of.setdefault(source, {})[key] = last
        self.count += 1
        self.size += last.size
        self._weigh(source, _weight(last))
        while self._links.total > SIZE_MAX and self.count > 1:
            self._make_room()

    def _came_by(self, link: object, source: bytes) -> None:
        """The values of a publisher count for the link by which its newest came."""
        former = self._link_of.get(source)
        if former is not link and source in self._of:
            weight = self._sources[former].of(source)
            self._weigh(source, -weight)
            self._link_of[source] = link
            self._weigh(source, weight)
        self._link_of[source] = link

    def _weigh(self, source: bytes, weight: int) -> None:
        link = self._link_of[source]
        sources = self._sources.get(link)
        if sources is None:
            sources = self._sources[link] = Weights()
        sources.add(source, weight)
        self._links.add(link, weight)
        if not sources.total:
            del self._sources[link]

    def link_ended(self, link: object) -> None:
        """The values that it brought count together with those of other links that are gone."""
        sources = self._sources.get(link)
        for source in [] if sources is None else sources.parties():
            assert isinstance(source, bytes)
            self._came_by(None, source)

    def _make_room(self) -> None:
        """Drop the oldest of who has most of the link that brought most: a flood pushes out its own."""
        most = self._sources[self._links.heaviest()].heaviest()
        assert isinstance(most, bytes)
        key = next(iter(self._of[most]))
        place = most + key[: codes.ID_SIZE]
        floor = max(self._floors.pop(place, 0), self._of[most][key].number)
        if len(self._floors) >= codes.ENTRIES_MAX:
            del self._floors[next(iter(self._floors))]
        self._floors[place] = floor
        self._drop(most, key)

    def _drop(self, source: bytes, key: bytes) -> None:
        values = self._of[source]
        last = values.pop(key, None)
        if last is None:
            return
        self.count -= 1
        self.size -= last.size
        self._weigh(source, -_weight(last))
        if not values:
            del self._of[source]
            del self._link_of[source]

    def count_of(self, source: bytes) -> int:
        """How many there are of a publisher."""
        return len(self._of.get(source, _NONE))

    def sources(self) -> "list[bytes]":
        """The publishers of which there are some."""
        return list(self._of)

    def of(self, source: bytes, endpoint: bytes) -> "list[tuple[str, Last]]":
        """A publisher's values for an endpoint, with their names, in the order in which they came; not those
        that are no more.
        """
        found: "list[tuple[str, Last]]" = []
        for key, last in self._of.get(source, _NONE).items():
            if key.startswith(endpoint) and not last.cleared:
                found.append((key[codes.ID_SIZE :].decode(), last))
        return found

    def forget(self, endpoint: bytes) -> None:
        """Nobody here has subscribed to it any more."""
        for place in [place for place in self._floors if place.endswith(endpoint)]:
            del self._floors[place]
        for source, values in list(self._of.items()):
            for key in list(values):
                if key.startswith(endpoint):
                    self._drop(source, key)


_NONE: "dict[bytes, Last]" = {}


def _weight(last: Last) -> int:
    return max(last.size, SIZE_MIN)
