"""The directory lines of the nodes within reach: our own as endpoints come and go, those of others as their
parents tell them (section 4).

Whose word counts and what becomes of it; the bytes are advertising.py's, the nodes mesh.py's.
"""

from busway.protocol.routing.advertising import adverts
from busway.protocol.routing.peers import Entry, Line, Peer
from busway.protocol.routing.router import NOTHING, PARENT, Neighbour, Route
from busway.protocol.routing.topology import LineReader, Topology
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.link.face import LinkFace

_AGAIN: "Final" = -3  # told: PARENT, but it must be said once more


class Lines(LineReader):
    """Changes of the nodes' lines, and the news of them."""

    __slots__ = ("_mesh",)

    def __init__(self, mesh: Topology) -> None:
        self._mesh = mesh

    def put_own(self, entry: Entry) -> None:
        """One of our own endpoints came, or (kind 0) went."""
        line = self._mesh.me.lines[entry.realm]
        line.version += 1
        entry.version = line.version
        line.put(entry)
        self.changed(self._mesh.me)

    def changed(self, peer: Peer) -> None:
        """Tell the neighbours that reach the node through us."""
        route = peer.route
        if route is None:
            return
        for connection in self._mesh.connections:
            if route in adverts(connection).neighbour.children:
                adverts(connection).note_lines(route)

    def relabelled(self, peer: Peer) -> None:
        """Tell its label again: those who reach it through us may have a former one."""
        route = peer.route
        for connection in self._mesh.connections:
            child = adverts(connection).neighbour.children.get(route) if route is not None else None
            if child is not None:
                child.knows_label = False
        self.changed(peer)

    def accepts_line_from(self, connection: "LinkFace", key: bytes) -> "Peer | None":
        """The node whose line a neighbour may tell us: itself, or one that it leads to (section 4)."""
        peer = self._mesh.routes.find(key)
        if peer is None or not peer.reachable:
            return None
        if peer is adverts(connection).peer:
            return peer if peer.leaf or not connection.lookups else None
        if connection.lookups:
            return None
        route = peer.route
        neighbour = adverts(connection).neighbour
        if route is not None and route.via is neighbour:
            return peer
        if route is not None and neighbour.told.get(route, NOTHING) == PARENT:
            self._forget_told(neighbour, route)  # it is no longer, but may be again before it hears of that
        return None

    def open_line(
        self,
        connection: "LinkFace",
        peer: Peer,
        realm: int,
        base: int,
        version: int,
        now: int,
    ) -> "Line | None":
        """The line that a frame changes; None if it is not to be taken."""
        line = peer.lines[realm]
        if realm < connection.realm:
            self._mesh.counters["narrow_entry"] += 1
            return None
        if realm < peer.metric >> 14:
            return None  # on its way here it crosses a wider one
        if base > line.version:
            self.say_again(peer)
            return None
        return line if version > line.version else None

    def say_again(self, peer: Peer) -> None:
        """PARENT once more, with the versions that we have: now, or when a former parent is it again."""
        route = peer.route
        if route is not None:
            for neighbour in self._mesh.router.neighbours:
                if neighbour.told.get(route, NOTHING) == PARENT:
                    self._forget_told(neighbour, route)

    def _forget_told(self, neighbour: Neighbour, route: Route) -> None:
        neighbour.told[route] = _AGAIN
        neighbour.dirty[route] = True
        self._mesh.route_touched(neighbour)

    def close_line(self, peer: Peer, line: Line, base: int, version: int, now: int) -> None:
        """A change has come whole; if it held the whole line (`base` 0), what was not in it is gone."""
        if not base:
            for entry in list(line.entries.values()):
                if entry.version != version:
                    del line.entries[entry.uuid]
                    self._left(entry, now)
            line.gone = {}
            line.floor = version
        line.version = version
        self.changed(peer)

    def take_entry(self, entry: Entry, line: Line, now: int) -> None:
        """An endpoint of another node came, changed or was withdrawn."""
        if entry.kind and entry.uuid not in entry.peer.entries:
            self._mesh.directory.check_room(entry.peer)
        line.put(entry)
        if entry.kind:
            self._mesh.entry_announced(entry, now)
        else:
            self._left(entry, now)

    def _left(self, entry: Entry, now: int) -> None:
        """A line has an endpoint no longer. Another one, of another realm, may have told that it is there."""
        known = entry.peer.entries.get(entry.uuid)
        if known is not None and known.realm == entry.realm:
            self._mesh.entry_withdrawn(entry.peer, entry.uuid, now)

    def drop_lines(self, peer: Peer, realm: int, now: int) -> None:
        """Forget the lines narrower than `realm`."""
        dropped = False
        for narrow in range(codes.USERSPACE, min(realm, codes.GLOBAL + 1)):
            if peer.lines[narrow].version:
                self._drop_line(peer, narrow, now)
                dropped = True
        if dropped:
            self.say_again(peer)

    def _drop_line(self, peer: Peer, realm: int, now: int) -> None:
        line = peer.lines[realm]
        peer.lines[realm] = Line()
        for entry in line.entries.values():
            self._left(entry, now)
        if peer.route is not None:
            for neighbour in self._mesh.router.neighbours:
                child = neighbour.children.get(peer.route)
                if child is not None:
                    child.versions[realm] = 0
