"""Sightings that are due to a reader: they follow from what is there and what it has been told, so a
slow one makes nothing grow. Knows no bus.
"""

from __future__ import annotations

from typing import NamedTuple

from busway.adapters.records import EndpointInfo, NodeInfo, Sighting

Key = tuple[bytes, bytes]  # the holder's node id, the endpoint's uuid
_COMPLETE: Key = (b"", b"")


class Seen(NamedTuple):
    """An endpoint at a node, in one incarnation of that."""

    endpoint: EndpointInfo
    node: NodeInfo
    incarnation: bytes


class _Gone(NamedTuple):
    """How one has departed that the reader was told of."""

    seen: Seen
    reason: str
    last_word: object


class Sightings:
    """The sightings that are due to one reader, the oldest first: of each endpoint its departure, if the
    reader was told of it, and how it is now. What happened in between is not told.
    """

    def __init__(self) -> None:
        self.here: dict[Key, Seen] = {}
        self._told: dict[Key, Seen] = {}
        self._due: dict[Key, _Gone | None] = {}
        self._completed = False
        self._completing = False

    def __len__(self) -> int:
        return len(self._due)

    def put(self, key: Key, seen: Seen) -> None:
        """It is there, or there as another than before."""
        self.here[key] = seen
        if key in self._due:
            if self._due[key] is None and self._told.get(key) == seen:
                del self._due[key]  # it changed back
        elif self._told.get(key) != seen:
            self._due[key] = None

    def drop(self, key: Key, reason: str, last_word: object = None) -> None:
        """It is there no more."""
        seen = self.here.pop(key, None)
        if seen is None:
            return
        if key not in self._told:
            del self._due[key]  # it came and went unseen
        elif self._due.get(key) is None:
            self._due[key] = _Gone(seen, reason, last_word)

    def complete(self) -> None:
        """All that was there when one began to look is known now."""
        if not self._completing:
            self._completing = True
            self._due[_COMPLETE] = None

    def clear(self) -> None:
        """The reader wants nothing more."""
        self._due.clear()

    def popleft(self) -> Sighting:
        """The next; there is one."""
        key, gone = next(iter(self._due.items()))
        if key == _COMPLETE:
            del self._due[key]
            self._completed = True
            return Sighting("complete")
        if gone is not None:
            return self._depart(key, gone)
        del self._due[key]
        seen = self.here[key]
        former = self._told.get(key)
        self._told[key] = seen
        if former is not None:
            return Sighting("changed", seen.endpoint, seen.node, former=former.endpoint)
        return Sighting("arrived" if self._completed else "present", seen.endpoint, seen.node)

    def _depart(self, key: Key, gone: _Gone) -> Sighting:
        del self._told[key]
        if key in self.here:
            self._due[key] = None  # it has come again, which is told next
        else:
            del self._due[key]
        return Sighting("departed", gone.seen.endpoint, gone.seen.node, gone.reason, gone.last_word)
