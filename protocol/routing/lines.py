"""The nodes' directory lines: our own as endpoints come and go, those of others as their parents tell them
(section 4), and whom that is news for.

How lines become bytes, and bytes lines, is in advertising.py; what becomes of nodes and entries in mesh.py.
"""

from busway.protocol.link.face import LinkFace, News
from busway.protocol.routing.children import Child
from busway.protocol.routing.damping import CALM_MS, FREE, Damper
from busway.protocol.routing.peers import ALTERED, AS_BEFORE, NO_LINE, NOT_ANEW, Entry, Line, Peer
from busway.protocol.routing.router import NOTHING, PARENT, Neighbour, Route
from busway.protocol.routing.topology import Topology
from busway.protocol.timers import Call
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_TURNS_MAX: "Final" = 32  # changes of an endpoint in a second, behind the first, that are told at once
_MOVES_MAX: "Final" = 2  # neighbours that lead to a node, one after the other, and tell all of its lines
_JUDGED_MIN: "Final" = 256  # endpoints of a node that a guard looks at within a second in any case
_LONG: "Final" = 64  # endpoints of a node
_NOBODYS: "Final" = (b"",)  # who says what is in a line, though no neighbour does
_AGAIN: "Final" = -3  # told: PARENT, but it must be said once more
PARTIAL: "Final" = 0x40  # of a DIRECTORY frame's head


def _way(peer: Peer) -> int:
    """The link that leads to a node, and from how far it comes: by both a guard goes; below 0 without one."""
    return -1 if peer.hop is None else peer.hop.number << 2 | peer.metric >> 14


def _says_goodbye_at_once(neighbour: Neighbour) -> bool:
    """Whether nothing is written before the goodbye, which ends all endpoints: then they are not withdrawn
    one by one before it, for a machine may have hundreds of programs that leave together.
    """
    link: LinkFace = neighbour.link
    return neighbour.realm == codes.USERSPACE and not link.queue.size


def _size(peer: Peer) -> int:
    return sum([len(line.entries) + len(line.denied) for line in peer.lines])


def _judged_max(peer: Peer) -> int:
    """The endpoints of a node that a guard looks at within a second because its way has changed."""
    return max(FREE * _size(peer), _JUDGED_MIN)


class Telling(News):
    """News of one link, which hears of the lines that are news for its peer."""

    __slots__ = ("long", "long_at", "neighbour", "peer")

    peer: "Peer | None"  # once the handshake is over
    neighbour: Neighbour
    long: "dict[Route, bool]"  # sources whose long lines were asked for in the second that began then
    long_at: int

    def note_lines(self, route: Route) -> None:
        """A source's lines have changed, or its child asked for them."""
        raise NotImplementedError

    def take_kept(self, now: int) -> None:
        """The link leads to the leaf at its other end now: what that has told of itself counts."""
        raise NotImplementedError


def telling(link: LinkFace) -> Telling:
    """The news of a link."""
    news = link.news
    assert isinstance(news, Telling)
    return news


class Lines:
    """Changes of the nodes' lines, and the news of them."""

    def __init__(self, mesh: Topology) -> None:
        self._mesh = mesh
        self._shapes = 0
        self._doubts: "dict[Peer, int]" = {}  # nodes that another neighbour leads to: since when, ms
        self._doubt_timer = Call(self._settle)
        self.damper = Damper(mesh.timers, _TURNS_MAX, self._release)  # nodes whose lines come and go
        self.shut = Damper(mesh.timers, 0, self._reopen)  # nodes of which a guard lets nothing in now
        self.late = Damper(
            mesh.timers, 0, self._tell_late
        )  # who asked for long lines again, and of which node

    def _reshape(self, line: Line) -> None:
        self._shapes += 1
        line.shape = self._shapes

    def put_own(self, entry: Entry) -> None:
        """One of our own endpoints came, or (kind 0) went."""
        line = self._mesh.me.line(entry.realm)
        line.version += 1
        entry.version = line.version
        line.put(entry, self._mesh.gate.guard is not None)
        self._reshape(line)
        self.changed(self._mesh.me)

    def changed(self, peer: Peer) -> None:
        """Tell the neighbours that reach the node through us."""
        route = peer.route
        if route is None or peer in self.damper.held:
            return
        mesh = self._mesh
        if mesh.leaf:
            for connection in mesh.connections:
                if route in telling(connection).neighbour.children:
                    telling(connection).note_lines(route)
            return
        for neighbour in mesh.router.neighbours:
            if route in neighbour.children and not (mesh.leaving and _says_goodbye_at_once(neighbour)):
                telling(neighbour.link).note_lines(route)

    def asked(self, peer: Peer, route: Route, news: Telling, now: int) -> None:
        """A neighbour reaches a node through us, and is told what it lacks of its lines. Long ones cost far
        more than to ask for them, also where it may see nothing of them: again within a second they wait.
        """
        if now - news.long_at >= CALM_MS:
            news.long_at = now
            news.long = {}
        child = news.neighbour.children.get(route)
        if child is None:
            return  # nobody else offered it, and it is forgotten
        for realm in range(codes.USERSPACE, codes.GLOBAL + 1):
            if child.versions[realm] < peer.lines[realm].floor:
                child.versions[realm] = 0
        if self._lacks_much(peer, child):
            if route in news.long:
                self.late.hold((news, route), now)
                return
            news.long[route] = True
        news.note_lines(route)

    def _lacks_much(self, peer: Peer, child: Child) -> bool:
        count = 0
        for realm in range(codes.USERSPACE, codes.GLOBAL + 1):
            line = peer.lines[realm]
            knows = child.versions[realm] == line.version
            if not knows or self._mesh.gate.guard is not None:
                count += len(line.entries)
        return count > _LONG

    def _tell_late(self, what: "tuple[Telling, Route]", now: int) -> None:
        news, route = what
        if route in news.neighbour.children:
            news.note_lines(route)

    def _turn(self, peer: Peer, turns: int, now: int) -> None:
        """Something of a node's lines has changed again, so many times within a second."""
        if turns > FREE and self.damper.turn(peer, turns, len(self._mesh.routes.peers), now):
            self._mesh.counters["lines_held"] += 1

    def _release(self, peer: Peer, now: int) -> None:
        self.changed(peer)

    def relabelled(self, peer: Peer, now: int) -> None:
        """Tell its label again: those who reach it through us may have a former one."""
        if now - peer.turned_at >= CALM_MS:
            peer.turned_at = now
            peer.turns = 0
        else:
            peer.turns += 1
            self._turn(peer, peer.turns, now)
        route = peer.route
        if route is None:
            return
        for neighbour in self._mesh.router.neighbours:
            child = neighbour.children.get(route)
            if child is not None:
                child.knows_label = False
        self.changed(peer)

    def accepts_line_from(self, connection: LinkFace, key: bytes) -> "Peer | None":
        """The node whose line a neighbour may tell us: itself, unless a nearer way leads there, or one that
        it leads to (section 4).
        """
        peer = self._mesh.routes.find(key)
        if peer is None or not peer.reachable:
            return None
        if peer is telling(connection).peer and connection.realm <= peer.metric >> 14:
            return peer if telling(connection).neighbour.leaf or not connection.lookups else None
        if connection.lookups:
            return None
        route = peer.route
        neighbour = telling(connection).neighbour
        if route is not None and route.via is neighbour:
            return peer
        if route is not None and neighbour.told.get(route, NOTHING) == PARENT:
            self._forget_told(neighbour, route)  # it is no longer, but may be again before it hears of that
        return None

    def open_line(
        self,
        connection: LinkFace,
        peer: Peer,
        head: int,
        base: int,
        version: int,
    ) -> "Line | None":
        """The line that a frame changes; None if it is not to be taken."""
        realm = head & 3
        if realm < connection.realm:
            self._mesh.counters["narrow_entry"] += 1
            return None
        if realm < peer.metric >> 14:
            return None  # on its way here it crosses a wider one
        line = peer.line(realm)
        if not version:
            return None  # it came for the label
        if base > line.version:
            self.say_again(peer)
            return None
        if not base and version < line.version:
            self._begin_again(line)
            self._forget_children(peer, realm)
        elif not base and version and (version == line.version or line.is_cut(connection)):
            self._begin_again(line)
            line.altered = AS_BEFORE
        if not base:
            line.whole_from = connection
        return line if version > line.version else None

    def _begin_again(self, line: Line) -> None:
        """Begin a line anew: who leads to the node tells the whole of it, with a version below that which we
        have: that one was a lie. What was told with it goes when all has come, here and at those who have it
        from us. Or with the version that we have, because we may see more of it now, or less, or what we have
        is a lie.
        """
        line.version = line.floor = 0
        line.altered = NOT_ANEW
        line.gone = {}
        for entry in list(line.entries.values()) + list(line.denied.values()):
            entry.version = 0
            entry.former = None

    def say_again(self, peer: Peer) -> None:
        """PARENT once more, with the versions that we have: now, or when a former parent is it again."""
        route = peer.route
        if route is not None:
            for neighbour in self._mesh.router.neighbours:
                if neighbour.told.get(route, NOTHING) == PARENT:
                    self._forget_told(neighbour, route)

    def say_anew(self, peer: Peer, now: int) -> None:
        """Another neighbour leads to the node now. If it has been told so before, and of nothing since, it
        does not know what others have said of the node's lines meanwhile. Over a slow link nobody tells
        lines: what others have told, true or not, would never change again, and answers would not count.
        """
        route = peer.route
        if route is None:
            return
        if route.via is not None and route.via.leaf:
            telling(route.via.link).take_kept(now)
            return
        if self._is_slow(peer):
            self._empty_all(peer, now)
        elif route.via is not None and route.via.told.get(route, NOTHING) == PARENT:
            self._forget_told(route.via, route)

    def _is_slow(self, peer: Peer) -> bool:
        """Whether all links that lead to a node, and would tell its lines, are slow ones."""
        way = peer.metric >> 14
        via = None if peer.route is None else peer.route.via
        links = [] if via is None else [via]
        for link in peer.connections:
            neighbour = telling(link).neighbour
            if neighbour.leaf or link.realm <= way:  # else it tells nothing that counts
                links.append(neighbour)
        return bool(links) and all([neighbour.slow and not neighbour.leaf for neighbour in links])

    def _empty_all(self, peer: Peer, now: int) -> None:
        """Nobody tells its lines here any more; those who have them from us are told so."""
        for realm in range(codes.USERSPACE, codes.GLOBAL + 1):
            if not peer.lines[realm].is_empty():
                self._empty(peer, realm, _NOBODYS, now)
        self._mesh.lines_left(peer, now)

    def doubt(self, peer: Peer, now: int) -> None:
        """Another neighbour leads to the node now, and tells all that there is in its lines. It tells nothing
        of those in which there has never been anything; so what it does not tell goes, for that is nobody's
        word any more, and may have been a lie.
        """
        if not all([line.is_empty() for line in peer.lines]):
            if now - peer.moved_at >= codes.BELIEF_MS:
                peer.moved_at = now
                peer.moves = 0
            peer.moves += 1
            if peer not in self._doubts or not self.moves_much(peer):  # else it might be put off for ever
                self._doubts[peer] = now
            if self._doubt_timer.deadline < 0:
                self._mesh.timers.arm(self._doubt_timer, now + codes.BELIEF_MS)

    def moves_much(self, peer: Peer) -> bool:
        """Whether the way to it is so restless that nobody is to tell all of its lines anew: that waits until
        it has been the same for a while.
        """
        return peer.moves > _MOVES_MAX

    def _settle(self, now: int) -> None:
        """Empty the lines that were to be told anew and were not."""
        again = -1
        for peer, since in list(self._doubts.items()):
            if now - since < codes.BELIEF_MS:
                again = since if again < 0 else min(again, since)
                continue
            del self._doubts[peer]
            via = None if peer.route is None else peer.route.via
            if self._is_slow(peer):
                self._empty_all(peer, now)
            elif via is None:
                continue
            elif self.moves_much(peer):
                peer.moves = 0
                self.say_again(peer)
                self._doubts[peer] = now
                again = now if again < 0 else again
            else:
                self._empty_untold(peer, via, now)
                self._mesh.lines_left(peer, now)
        if again >= 0:
            self._mesh.timers.arm(self._doubt_timer, again + codes.BELIEF_MS)

    def _empty_untold(self, peer: Peer, via: Neighbour, now: int) -> None:
        advertiser = telling(via.link).peer
        assert advertiser is not None
        for realm in range(codes.USERSPACE, codes.GLOBAL + 1):
            line = peer.lines[realm]
            if not line.is_empty() and advertiser.key not in line.advertisers:
                self._empty(peer, realm, (advertiser.key,), now)

    def _empty(self, peer: Peer, realm: int, advertisers: "tuple[bytes, ...]", now: int) -> None:
        """Nothing is left in a line, of the version that it has: that is the word of `advertisers`."""
        line = peer.lines[realm]
        for entry in list(line.entries.values()):
            del line.entries[entry.uuid]
            self._left(entry, now)
        for uuid in list(line.denied):
            self._unhold(line, uuid)
        line.gone = {}
        line.floor = line.version + 1  # who has that version has another
        line.advertisers = advertisers
        self._reshape(line)
        self._forget_children(peer, realm)
        self.changed(peer)

    def _forget_told(self, neighbour: Neighbour, route: Route) -> None:
        self._mesh.router.tell_again(neighbour, route, _AGAIN)

    def close_line(self, peer: Peer, line: Line, head: int, base: int, version: int, now: int) -> None:
        """A change has come whole; if it held the whole line (`base` 0), what was not in it is gone, and who
        told it is the only one whose word it is.
        """
        altered = line.altered == ALTERED
        if not base:
            for entry in list(line.entries.values()):
                if entry.version != version:
                    del line.entries[entry.uuid]
                    self._left(entry, now)
                    altered = True
            for entry in list(line.denied.values()):
                if entry.version != version:
                    self._unhold(line, entry.uuid)
            line.gone = {}
            line.floor = version
            line.advertisers = line.advertisers[-1:]
            line.whole_from = None
        if line.partial != (head & PARTIAL != 0):
            line.partial = not line.partial
            altered = True
        if altered and line.altered != NOT_ANEW:
            self._forget_children(peer, head & 3)  # they have that version
            line.floor = version + 1
        line.altered = NOT_ANEW
        line.version = version
        self._reshape(line)
        self.changed(peer)

    def take_entry(self, entry: Entry, line: Line, link: LinkFace, now: int) -> None:
        """An endpoint of another node came, changed or was withdrawn. What there is no room for is left out,
        as if it had not been told; so is what a guard does not let in, but it is remembered.
        """
        entry.link = link
        denied = self._unhold(line, entry.uuid)
        known = line.entries.get(entry.uuid)
        former = line.gone.get(entry.uuid) if known is None else known
        if former is None:
            entry.turned = now << 8
        else:
            self._turn(entry.peer, entry.follow(former, now), now)
        guarded = self._mesh.gate.guard is not None
        if not entry.kind:
            line.put(entry, guarded)  # also what was denied: a child may have heard of it from another
            self._left(entry, now)
            return
        if not self._mesh.directory.has_room(entry):
            self._mesh.counters["entries_over"] += 1
            telling(link).neighbour.over += 1
            self._mesh.gate.exceeded(link, codes.QUOTA_ENTRIES)
            return
        if line.altered and denied is None and (known is None or known.is_other(entry)):
            line.altered = ALTERED
        if guarded:
            self._reshape(line)
        if not guarded or self._lets_in(entry, link):
            line.put(entry, guarded)
            self._mesh.entry_announced(entry, now)
            return
        if known is not None:
            gone = Entry(entry.peer, entry.uuid, 0, entry.realm)
            gone.version = entry.version
            line.put(gone, guarded)
            self._left(gone, now)
        self._deny(entry, line)

    def _deny(self, entry: Entry, line: Line) -> None:
        line.deny(entry)
        self._mesh.directory.hold(entry, 1)
        self._mesh.counters["entries_denied"] += 1

    def _unhold(self, line: Line, uuid: bytes) -> "Entry | None":
        """One that was denied, if there is one, is not remembered any more."""
        entry = line.denied.pop(uuid, None)
        if entry is not None:
            self._mesh.directory.hold(entry, -1)
        return entry

    def _lets_in(self, entry: Entry, link: "LinkFace | None", denied: bool = False) -> bool:
        return entry.peer not in self.shut.held and self._mesh.gate.lets_in(entry, link, denied)

    def judge_way(self, peer: Peer, now: int) -> bool:
        """Another link leads to a node now, and the guard may say something else of its endpoints there. Who
        has two may make them change places with every few bytes: so what was found of a way holds as long as
        nothing else changes, and of many endpoints, beyond a few times in a second, none is let in until the
        next. Returns whether to look at what was looked up, too.
        """
        if peer in self.shut.held or self._is_judged(peer):
            return False
        if now - peer.judged_at >= CALM_MS:
            peer.judged_at = now
            peer.judged = 0
        peer.judged += _size(peer)
        if peer.judged > _judged_max(peer):
            self.shut.hold(peer, now)
        self.judge(peer, now)
        return True

    def _reopen(self, peer: Peer, now: int) -> None:
        peer.judged_at = now
        peer.judged = _judged_max(peer)
        self.judge(peer, now, False)

    def _is_judged(self, peer: Peer) -> bool:
        """Whether the guard has said all that it can of the lines by this way."""
        count = 0
        for line in peer.lines:
            count += len(line.entries)
            if (line.entries or line.denied) and not self._has_judged(peer, line):
                return False
        return 0 < count >= len(peer.entries)  # else some were looked up

    def _has_judged(self, peer: Peer, line: Line) -> bool:
        return line.judged.get(_way(peer)) == (self._mesh.gate.changes, line.shape)

    def judge(self, peer: Peer, now: int, denied: bool = True) -> None:
        """The guard may say something else of a node's endpoints than when they came: it has changed, or they
        come over another link now; `denied` whether it has been asked of those that are not let in.
        """
        told = False
        for realm in range(codes.USERSPACE, codes.GLOBAL + 1):
            line = peer.lines[realm]
            if not line.is_empty() and (not self._has_judged(peer, line) or peer in self.shut.held):
                told = self._judge_line(peer, line, now, denied) or told
        if told:
            self.changed(peer)

    def _judge_line(self, peer: Peer, line: Line, now: int, denied: bool) -> bool:
        """Returns whether it has changed."""
        out = [entry for entry in line.entries.values() if not self._lets_in(entry, peer.hop)]
        back = [entry for entry in line.denied.values() if self._lets_in(entry, peer.hop, denied)]
        for entry in out:
            del line.entries[entry.uuid]
            self._left(entry, now)
            self._deny(entry, line)
        for entry in back:
            self._unhold(line, entry.uuid)
            line.gone.pop(entry.uuid, None)
            line.let_in(entry)
            self._mesh.entry_announced(entry, now)
        if back:
            ordered = sorted(line.entries.values(), key=lambda entry: entry.version)
            line.entries = {entry.uuid: entry for entry in ordered}
        if out or back:
            self._reshape(line)
            self._forget_children(peer, (out or back)[0].realm)
        if peer.hop is not None and peer not in self.shut.held:
            line.judge(_way(peer), (self._mesh.gate.changes, line.shape))
        return bool(out or back)

    def look_again(self) -> None:
        """The guard has changed: neighbours may see more, or less."""
        for neighbour in self._mesh.router.neighbours:
            for route, child in neighbour.children.items():
                child.judged = False
                telling(neighbour.link).note_lines(route)

    def _left(self, entry: Entry, now: int) -> None:
        """A line has an endpoint no longer. Another one, of another realm, may have told that it is there."""
        peer = entry.peer
        known = peer.entries.get(entry.uuid)
        if known is None or known.realm != entry.realm:
            return
        for line in peer.lines:
            other = line.entries.get(entry.uuid)
            if other is not None:  # which the one that has gone had taken the place of
                self._mesh.entry_announced(other, now)
                return
        self._mesh.entry_withdrawn(peer, entry.uuid, now)

    def lost(self, peer: Peer, now: int) -> None:
        """A node is gone: nothing of it is kept for later, for anybody may invent any number of them."""
        for waiting in (self._doubts, self.damper.held, self.shut.held):
            waiting.pop(peer, None)
        self.drop_lines(peer, codes.GLOBAL + 1, now)

    def drop_lines(self, peer: Peer, realm: int, now: int) -> None:
        """Forget the lines narrower than `realm`."""
        dropped = False
        for narrow in range(codes.USERSPACE, min(realm, codes.GLOBAL + 1)):
            if not peer.lines[narrow].is_empty():
                self._drop_line(peer, narrow, now)
                dropped = True
        if dropped:
            self.say_again(peer)

    def _drop_line(self, peer: Peer, realm: int, now: int) -> None:
        line = peer.lines[realm]
        peer.lines[realm] = NO_LINE
        for entry in line.entries.values():
            self._left(entry, now)
        for uuid in list(line.denied):
            self._unhold(line, uuid)
        self._forget_children(peer, realm)

    def _forget_children(self, peer: Peer, realm: int) -> None:
        """Note that those who reach the node through us have nothing of that line."""
        if peer.route is not None:
            for neighbour in self._mesh.router.neighbours:
                child = neighbour.children.get(peer.route)
                if child is not None:
                    child.versions[realm] = 0
