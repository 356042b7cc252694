"""The keeper of a name that two nodes hold (section 4.3): the one that held it first; of two that took it at
the same time the one with the smaller node id. A name that was lost comes back when it is free.

What must hold: no node beyond this machine takes a name from one that has joined. Nobody can be told which of
two was first, so a holder goes by what it knows itself. What it hears while it joins was there before; what
comes to be known later is later. Only the programs of one user, which do not harm each other, may have taken
a name at the same time.
"""

from busway.protocol.routing.directory import conflict
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.routing.topology import Topology
from busway.protocol.timers import Call
from busway.protocol.wire import codes


class Names:
    """Our own names, as far as others may hold them, too."""

    def __init__(self, mesh: Topology) -> None:
        self._mesh = mesh
        self.asked: "dict[bytes, bool]" = {}  # a leaf's: its router has not said yet who has them
        self._fresh: "dict[bytes, int]" = {}  # until then another may have taken it at the same time
        self._timer = Call(self._settle)

    def registered(self, uuid: bytes) -> None:
        """A name is ours from now on. Nobody says what time it is: the timer does, at the next turn, or
        `opened` with the first link.
        """
        if not self._mesh.leaf:
            self._fresh[uuid] = -1
            if self._mesh.connections:
                self._mesh.timers.arm(self._timer, 0)

    def withdrawn(self, uuid: bytes) -> None:
        """A name is ours no longer."""
        self.asked.pop(uuid, None)
        self._fresh.pop(uuid, None)
        if not self._fresh:
            self._mesh.timers.disarm(self._timer)

    def opened(self, now: int) -> None:
        """A link is open: from now on others hear of our names."""
        if self._timer.deadline < 0:
            self._settle(now)

    def joined(self, now: int) -> None:
        """The first link is open, which we dialled: what others have was theirs before we came."""
        for line in self._mesh.me.lines:
            for uuid in line.entries:
                self._fresh[uuid] = now + codes.RACE_MS
        self._settle(now)

    def _settle(self, now: int) -> None:
        """Names that have been held for a while are held for good."""
        for uuid, until in list(self._fresh.items()):
            if until < 0:
                self._fresh[uuid] = now + codes.RACE_MS
            elif until <= now:
                del self._fresh[uuid]
        if self._fresh:
            self._mesh.timers.arm(self._timer, min(self._fresh.values()))

    def contest(self, mine: Entry, entry: Entry, known: "Entry | None", now: int) -> None:
        """Another node has an endpoint of ours: of the two one keeps it, if they are in conflict."""
        if mine.realm != entry.realm or not conflict(mine.kind, entry.kind):
            return
        if self._yields(entry.uuid, entry.peer):
            self._mesh.host.name_lost(entry.uuid, now)
        elif known is None or known.differs(entry):
            self._mesh.counters["name_conflicts"] += 1

    def _yields(self, uuid: bytes, peer: Peer) -> bool:
        """A leaf is told who was there before it; a router knows that of those it has just come to."""
        mesh = self._mesh
        if mesh.leaf:
            return uuid in self.asked
        if uuid not in self._fresh:
            return False
        hop = peer.hop
        if hop is not None and not hop.synced:  # who dials joins those who are there
            return hop.link.dialled and (hop.realm == codes.USERSPACE or hop.number == 1)
        return peer.metric >> 14 == codes.USERSPACE and peer.node_id < mesh.me.node_id
