"""The last retained values that came to this node, by endpoint, publisher and name: so that none is given to
the program twice, and who subscribes here later gets them, too.

Bounded: beyond it the publisher that has most loses its oldest. Knows numbers, and nothing of links.
"""

from busway.protocol.messaging.marked import Last
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

COUNT_MAX: "Final" = 4096
SIZE_MAX: "Final" = 16777216  # bytes of their payloads, in all


class Lasts:
    """The values, and what they take."""

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        # By publisher, node and incarnation: its values by endpoint and name.
        self._of: "dict[bytes, dict[bytes, Last]]" = {}
        # The publishers by how many there are of each, so that none need be looked for.
        self._by_count: "dict[int, dict[bytes, bool]]" = {}
        self._most = 0

    def is_news(self, source: bytes, endpoint: bytes, name: str, number: int) -> bool:
        """Whether a value is newer than what came of that publisher to the endpoint under that name."""
        known = self._of.get(source, _NONE).get(endpoint + name.encode())
        return known is None or number & ~codes.CLEARED > known.number

    def doubt(self, source: bytes) -> None:
        """A publisher is away: what it has still when it comes back it sends anew."""
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

    def note(self, source: bytes, endpoint: bytes, name: str, last: Last) -> None:
        """It is the newest now."""
        key = endpoint + name.encode()
        if source in self._of:
            self._drop(source, key)
        values = self._of.setdefault(source, {})
        values[key] = last
        self._counted(source, len(values) - 1, len(values))
        self.count += 1
        self.size += last.size
        while self.count > COUNT_MAX or (self.size > SIZE_MAX and self.count > 1):
            self._make_room()

    def _make_room(self) -> None:
        """Drop the oldest of who has most: a flood pushes out its own."""
        most = next(iter(self._by_count[self._most]))
        self._drop(most, next(iter(self._of[most])))

    def _drop(self, source: bytes, key: bytes) -> None:
        values = self._of[source]
        last = values.pop(key, None)
        if last is None:
            return
        self._counted(source, len(values) + 1, len(values))
        self.count -= 1
        self.size -= last.size
        if not values:
            del self._of[source]

    def _counted(self, source: bytes, before: int, count: int) -> None:
        """A publisher has another number of values than before, by one."""
        if count:
            self._by_count.setdefault(count, {})[source] = True
        if before:
            del self._by_count[before][source]
            if not self._by_count[before]:
                del self._by_count[before]
        if count > self._most or (before == self._most and before not in self._by_count):
            self._most = count

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
        for source, values in list(self._of.items()):
            for key in list(values):
                if key.startswith(endpoint):
                    self._drop(source, key)


_NONE: "dict[bytes, Last]" = {}
