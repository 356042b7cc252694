"""Nodes that are gone and have not said goodbye: for a while they may only have lost their way.

What they had is kept until it is known whether they are lost, have said goodbye after all, or are there
again. Knows no routes.
"""

from busway.protocol.outcomes import LOST, SAID_GOODBYE, WITHDRAWN
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.timers import Timer, Timers
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


class Missing(Timer):
    """A node that is gone, and its endpoints."""

    __slots__ = ("departures", "entries", "is_back", "key", "realm", "seen")

    def __init__(self, departures: "Departures", peer: Peer, seen: bool) -> None:
        self.deadline = -1
        self.departures = departures
        self.key = peer.key
        self.realm = peer.metric >> 14  # of the last way to it
        self.seen = seen  # the end of a link with it has shown that it is lost
        self.entries: "dict[bytes, Entry]" = {}
        self.is_back = False  # it can be reached again, and tells anew what it has

    def fire(self, now: int) -> None:
        self.departures.conclude(self, WITHDRAWN if self.is_back else LOST, now)


class Departures:
    """The nodes that are missing, by node id.

    Args: `told` is called for each endpoint of a node once it is known how that has gone (WITHDRAWN,
    SAID_GOODBYE or LOST), with the time.
    """

    __slots__ = ("_missing", "_timers", "_told", "size", "watched")

    def __init__(self, timers: Timers, told: "Callable[[Entry, int, int], None]") -> None:
        self._timers = timers
        self._told = told
        self._missing: "dict[bytes, Missing]" = {}
        self.size = 0  # endpoints of all of them
        self.watched = False  # somebody wants to know it of every endpoint

    def lost(self, peer: Peer, seen: bool, now: int) -> None:
        """A node is gone without a goodbye; `seen`: the end of a link with it has shown that. Of too many the
        one that is missing longest counts as lost.
        """
        self.replaced(peer, now)
        missing = Missing(self, peer, seen)
        former = self._missing.get(peer.node_id)
        if former is not None:
            self._timers.disarm(former)
            missing.entries = former.entries
        elif len(self._missing) >= codes.DEPARTED_MAX:
            self.conclude(next(iter(self._missing.values())), LOST, now)
        self._missing[peer.node_id] = missing
        self._timers.arm(missing, now + codes.LOST_MS)

    def keep(self, entry: Entry, now: int) -> None:
        """An endpoint of a node that is missing; of more than there is room for it is said at once. Without
        labels and a last word it matters only to who watches.
        """
        if not self.watched and not entry.traits:
            return
        missing = self._missing.get(entry.peer.node_id)
        if missing is None or missing.key != entry.peer.key or self.size >= codes.DIRECTORY_MAX:
            self._told(entry, LOST, now)
            return
        self.size += entry.uuid not in missing.entries
        missing.entries[entry.uuid] = entry

    def replaced(self, peer: Peer, now: int) -> None:
        """There is news of a node: another incarnation of it that is missing is lost."""
        missing = self._missing.get(peer.node_id)
        if missing is not None and missing.key != peer.key:
            self.conclude(missing, LOST, now)

    def returned(self, peer: Peer, now: int) -> None:
        """A node can be reached: if it was missing it has as long again to tell what it has."""
        self.replaced(peer, now)
        missing = self._missing.get(peer.node_id)
        if missing is not None:
            missing.is_back = True
            missing.seen = False
            self._timers.arm(missing, now + codes.LOST_MS)

    def announced(self, entry: Entry) -> None:
        """A node has that endpoint, so it is not missing."""
        missing = self._missing.get(entry.peer.node_id)
        if missing is not None and missing.entries.pop(entry.uuid, None) is not None:
            self.size -= 1

    def parted(self, key: bytes, realm: int, now: int) -> bool:
        """A node has said goodbye, says somebody behind a link of that realm. Returns whether it was missing,
        and this counts: not where the node was lost before our eyes, or the way to it was narrower.
        """
        missing = self._missing.get(key[: codes.ID_SIZE])
        if missing is None or missing.key != key:
            return False
        if missing.seen or realm > missing.realm:
            return False
        self.conclude(missing, SAID_GOODBYE, now)
        return True

    def end(self) -> None:
        """This node itself goes: nobody is told any more."""
        for missing in self._missing.values():
            self._timers.disarm(missing)
        self._missing = {}

    def conclude(self, missing: Missing, how: int, now: int) -> None:
        """It is known how a node has gone."""
        del self._missing[missing.key[: codes.ID_SIZE]]
        self._timers.disarm(missing)
        self.size -= len(missing.entries)
        for entry in missing.entries.values():
            self._told(entry, how, now)
