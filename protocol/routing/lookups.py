"""Holders of endpoints, asked for where no directory is pushed: WHO and HAVE (section 4.3).

A leaf asks its router for everything that it does not have itself; a router asks over its slow links. Knows
nothing of messages.
"""

from busway.protocol.routing.advertising import adverts, is_leaf
from busway.protocol.routing.directory import counting, may_announce
from busway.protocol.routing.distances import INFINITE
from busway.protocol.routing.have_parts import HaveParts, Pace, mix, named_to, subscribers
from busway.protocol.routing.hearsay import Hearsay, Word
from busway.protocol.routing.names import Names
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.routing.questions import PatternQuestions, SelectorQuestions
from busway.protocol.routing.topology import Topology
from busway.protocol.timers import Timer
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, is_selector
from busway.protocol.wire.messages import HaveFrame, Holder, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.link.face import LinkFace

    Watched = dict[bytes, HaveFrame | None]
_SPARED_MAX: "Final" = 1024  # patterns, in place of which something else is forgotten


class Query(Timer):
    """One address that is being asked for."""

    __slots__ = ("address", "askers", "link", "lookups", "news", "waiting")

    def __init__(self, lookups: "Lookups", address: Address) -> None:
        self.deadline = -1
        self.lookups = lookups
        self.address = address
        self.link: "LinkFace | None" = None  # over which it was asked for; None: by this node
        self.waiting: "dict[bytes, bool]" = {}  # nodes that have not answered, by key
        self.askers: "list[Peer]" = []  # whom to answer then
        self.news = False  # its holders have changed meanwhile

    def fire(self, now: int) -> None:
        self.lookups.conclude(self, now)


class Answer(HaveFrame):
    """HAVE of this node: it says what is known when it is written."""

    __slots__ = ("lookups", "peer")

    def __init__(self, lookups: "Lookups", peer: Peer, uuid: bytes) -> None:
        super().__init__(peer.key, uuid, [])
        self.lookups = lookups
        self.peer = peer

    def refresh(self) -> None:
        self.in_parts = not self.peer.leaf
        self.holders = self.lookups.holders(self.peer, self.endpoint)


class Lookups:
    """The questions of this node, and those that it is asked."""

    def __init__(self, mesh: Topology, names: Names) -> None:
        self._mesh = mesh
        self._names = names
        self.selects = SelectorQuestions()
        self.patterns = PatternQuestions()
        self.queries: "dict[Address, Query]" = {}
        self._waited: "dict[bytes, dict[Query, bool]]" = {}  # those for whose answers nodes are waited for
        self._of_links: "dict[LinkFace, int]" = {}  # how many were asked for over each link
        # Of what we asked for, and by whom we asked: the nodes that have it, as told, and how far from there.
        self.told: "dict[Address, dict[bytes, dict[bytes, int]]]" = {}
        self.parts = HaveParts()
        self._pace = Pace(self.answer, mesh.timers)
        self.hearsay = Hearsay()  # what of it did not count, and may later
        self.answered_by: "dict[bytes, dict[Address, bool]]" = {}  # the same by whom we asked
        # What nodes farther off, by key, have asked for: they are told of changes, too, by their last HAVE.
        self._far: "dict[bytes, Watched]" = {}
        self._far_size = 0
        self.watchers: "dict[LinkFace, bool]" = {}  # links whose peers have asked for something
        self._askers: "dict[bytes, dict[bytes, Peer]]" = {}  # the same by what they asked for
        self._met: "dict[bytes, int]" = {}  # when nodes were asked for all that waits here
        # By node what it was said to have, and a guard did not let in: it may let it in later.
        self._denied: "dict[bytes, dict[bytes, bool]]" = {}
        self._denied_size = 0
        self.counters = {"lookups": 0, "lookups_answered": 0, "lookups_over": 0}

    # Asking

    def ask(self, address: Address, now: int) -> bool:
        """Whether it is worth to wait for an answer: somebody is being asked."""
        if is_selector(address):
            return self.selects.ask(address, now)
        query = self.queries.get(address)
        if query is None:
            query = self.start(address, None, None, now)
        return query is not None

    def watch(self, uuid: bytes) -> None:
        """A leaf asks who else has a unicast name of its own: nobody pushes that to it."""
        for peer in self.targets(uuid, None):
            self._names.asked[uuid] = True
            self.send_who(peer, uuid)

    def watch_all(self) -> None:
        """There is a router, or another one, to ask about all of them."""
        for line in self._mesh.me.lines:
            for entry in line.entries.values():
                if entry.kind == codes.UNICAST:
                    self.watch(entry.uuid)

    def offline(self) -> bool:
        """A leaf without a router cannot know who has what."""
        return self._mesh.leaf and self._mesh.uplink is None

    def met(self, peer: "Peer", now: int) -> None:
        """There is somebody new to ask: for what waits here, and what we were asked for and did not find."""
        mesh = self._mesh
        if now - self._met.get(peer.key, now - codes.SYNC_MS) < codes.SYNC_MS:
            return
        self._met[peer.key] = now
        self.selects.met(now)
        # Else it is a router with such links, which those of our side ask themselves.
        slow = peer.direct() is not None
        wanted = dict.fromkeys(mesh.host.wanted())
        for connection in mesh.connections:
            other = adverts(connection).peer
            if (
                other is not None
                and other is not peer
                and (slow or is_leaf(connection) or connection.lookups)
            ):
                wanted.update(adverts(connection).watched)
        if slow:
            wanted.update(dict.fromkeys(self._askers))
        asked = 0
        if self.patterns.is_wanted_of(peer, slow):
            self.ask_one(peer, codes.PATTERNS, now)
        wanted.update(dict.fromkeys(mesh.host.kept()))
        for uuid in wanted:
            if not self._is_known(uuid) and uuid != codes.INTROSPECTION and asked < codes.WATCHES_MAX:
                asked += 1
                self.ask_one(peer, uuid, now)

    def start(
        self, address: Address, asker: "Peer | None", link: "LinkFace | None", now: int
    ) -> "Query | None":
        for peer in self.targets(address, asker):
            self._ask(peer, address, link, now)
        return self.queries.get(address)

    def ask_one(self, peer: "Peer", address: Address, now: int) -> None:
        """Ask one node, for this one."""
        self._ask(peer, address, None, now)

    def _ask(self, peer: "Peer", address: Address, link: "LinkFace | None", now: int) -> None:
        """Ask one node, as part of the query that is under way; `link` brought the question."""
        query = self.begin_query(address, link, now)
        if query is not None and self.waits_for(query, peer.key):
            self.send_who(peer, address)

    def begin_query(self, address: Address, link: "LinkFace | None", now: int) -> "Query | None":
        """The query for it that is under way, or a new one; None if there are too many."""
        query = self.queries.get(address)
        if query is None:
            if not self._may_ask(link):
                self.counters["lookups_over"] += 1
                if link is not None:
                    self._mesh.gate.exceeded(link, codes.QUOTA_LOOKUPS)
                return None
            query = self.queries[address] = Query(self, address)
            query.link = link
            if link is not None:
                self._of_links[link] = self._of_links.get(link, 0) + 1
            self.counters["lookups"] += 1
            self._mesh.timers.arm(query, now + codes.SYNC_MS)
        return query

    def waits_for(self, query: Query, key: bytes) -> bool:
        """A query waits for one more to answer; False: it did already."""
        if key in query.waiting:
            return False
        query.waiting[key] = True
        self._waited.setdefault(key, {})[query] = True
        return True

    def _may_ask(self, link: "LinkFace | None") -> bool:
        """Whether one more query fits: others leave half to this node, and each link some to the others."""
        if link is None:
            return len(self.queries) < codes.QUERIES_MAX
        room = len(self.queries) < codes.QUERIES_MAX >> 1
        return room and self._of_links.get(link, 0) < codes.QUERIES_LINK_MAX

    def is_over(self, query: Query, key: bytes) -> bool:
        """A node is not waited for any more; whether it was the last."""
        if not query.waiting.pop(key, False):
            return False
        waited = self._waited[key]
        del waited[query]
        if not waited:
            del self._waited[key]
        return not query.waiting

    def name_of(self, peer: "Peer") -> bytes:
        """The one whose word stands until the next: to a leaf all its routers are one."""
        return b"" if self._mesh.leaf and peer.connections else peer.key

    def targets(self, uuid: bytes, asker: "Peer | None") -> "list[Peer]":
        """A leaf asks its router; a router the neighbours behind its slow links, else the routers that have
        such links.
        """
        mesh = self._mesh
        if mesh.leaf:
            uplink = mesh.uplink if asker is None else None  # it asks for nobody else
            router = None if uplink is None else adverts(uplink).peer
            return [] if router is None else [router]
        found: "list[Peer]" = []
        for neighbour in mesh.router.neighbours:
            peer = adverts(neighbour.link).peer
            if neighbour.slow and not neighbour.leaf and peer is not asker and peer not in found:
                assert peer is not None
                found.append(peer)
        if asker is None or self._is_behind_slow_link(asker):
            for entry in mesh.directory.holders(codes.LOOKUP):
                if entry.peer is not asker and entry.peer not in found and uuid != codes.LOOKUP:
                    found.append(entry.peer)
        return found

    def _is_behind_slow_link(self, peer: "Peer") -> bool:
        """Another node of this side asks all such routers itself."""
        return any([connection.lookups for connection in peer.connections])

    def refused(self, peer: "Peer", uuid: bytes, now: int) -> None:
        """A node that was said to have an endpoint has it no longer."""
        refused = self.selects.tells(peer.key, uuid)
        self.selects.refused(peer, uuid)
        for keys in self.told.get(uuid, {}).values():
            if keys.pop(peer.key, None) is not None:
                refused = True
        if refused:
            self.drop(peer.key, uuid, now)

    def send_who(self, peer: "Peer", address: Address) -> None:
        name = self.name_of(peer)
        self.expect(name, address)
        if address == codes.PATTERNS:
            self.patterns.asked(name)
        if peer.hop is not None:
            peer.hop.answer(signal(codes.WHO, peer.key, address))

    def expect(self, name: bytes, address: Address) -> "dict[bytes, dict[bytes, int]]":
        """Whatever that one tells of it counts. Returns what has been told of it."""
        told = self.told.get(address)
        if told is None:
            if len(self.told) >= codes.ENTRIES_MAX:
                self._forget_oldest()
            told = self.told[address] = {}
        told.setdefault(name, {})
        self.answered_by.setdefault(name, {})[address] = True
        return told

    def _forget_oldest(self) -> None:
        """One of too many that were asked for; rather one that is no pattern that others tell of unasked."""
        address = next(iter(self.told))
        for _ in range(_SPARED_MAX):
            if not any([self.patterns.has_told(name, address) for name in self.told[address]]):
                break
            self.told[address] = self.told.pop(address)
            address = next(iter(self.told))
        for name in list(self.told[address]):
            self.patterns.untold(name, address)
            self._part(address, name)
            del self.answered_by[name][address]

    def have(self, link: "LinkFace", peer: "Peer", frame: HaveFrame, now: int) -> None:
        """HAVE came: an answer, or news about something that was asked for."""
        uuid = frame.endpoint
        name = self.name_of(peer)
        frame.holders, realm = self.parts.whole(name, frame, max(link.realm, frame.realm()))
        if not self.patterns.admits(name, frame, name in self.told.get(uuid, {})):
            return  # nobody asked it
        holders = frame.holders
        told = self.expect(name, uuid)
        former = told[name]
        told[name] = {}
        if self._mesh.leaf:
            self._sort(holders, uuid)
        self.hearsay.forget(name, uuid)
        for holder in holders:
            self._weigh(Word(name, uuid, holder, link, realm), now)
        self._names.asked.pop(uuid, None)
        self._drop_untold(former, uuid, now)
        if uuid == codes.PATTERNS:
            for pattern in self.patterns.not_told(name):
                self.forget(name, pattern, now)
        elif not holders and self.patterns.untold(name, uuid):
            self.forget(name, uuid, now)
        query = self.queries.get(uuid)
        if query is not None and self.is_over(query, peer.key):
            self.conclude(query, now)

    def forget(self, name: bytes, uuid: bytes, now: int) -> None:
        """Forget what that one has told of it."""
        del self.answered_by[name][uuid]
        self._drop_untold(self._part(uuid, name), uuid, now)

    def _weigh(self, word: Word, now: int) -> None:
        """Somebody has an endpoint, says one who was asked."""
        holder = word.holder
        keys = self.expect(word.name, word.uuid)[word.name]  # whom it brings to ask may be one too many
        if self.take(holder, word.uuid, word.link, word.realm, now):
            keys[holder.key] = holder.metric
        elif holder.key != self._mesh.me.key:
            self.hearsay.note(word)

    def reconsider(self, peer: "Peer", now: int) -> None:
        """There is a way to a node, or another, or its lines are told here no longer."""
        if self.hearsay.size:
            for word in self.hearsay.take(peer.key):
                self._weigh(word, now)

    def doubt(self, peer: "Peer") -> None:
        """A node is gone: what others have said of its endpoints may count when it is back."""
        for entry in peer.entries.values():
            self._set_aside(entry)

    def _set_aside(self, entry: Entry) -> None:
        """Keep what others have said of an endpoint for later: it does not count now."""
        for name, keys in self.told.get(entry.uuid, {}).items():
            metric = keys.pop(entry.peer.key, -1)
            link = entry.link
            if metric >= 0 and link is not None:
                self.hearsay.note(Word(name, entry.uuid, _holder(entry, metric), link, link.realm))

    def _sort(self, holders: "list[Holder]", uuid: bytes) -> None:
        """Sort holders as a leaf's router tells them: the first was first."""
        for holder in holders:
            holder.order = self._mesh.directory.next_order()
            peer = self._mesh.routes.find(holder.key)
            known = None if peer is None else peer.entries.get(uuid)
            if known is not None:
                known.order = holder.order

    def tells(self, key: bytes, uuid: bytes) -> bool:
        """Whether somebody was asked for an endpoint and says that a node has it."""
        return any([key in keys for keys in self.told.get(uuid, {}).values()])

    def is_asking(self, address: Address) -> bool:
        """Whether an answer is waited for."""
        return address in self.queries or self.selects.is_asking(address)

    def take(self, holder: Holder, uuid: bytes, link: "LinkFace", realm: int, now: int) -> bool:
        mesh = self._mesh
        if holder.key == mesh.me.key:
            return False
        peer = mesh.peer_of(holder.key, now)
        if not peer.reachable:
            return False
        if mesh.leaf:
            peer.metric = holder.metric
        elif holder.metric >= peer.metric or _has_lines(peer):
            return False  # who is nearer knows better: else those who asked each other believed it for ever
        if not holder.kind:
            return True
        if holder.realm < max(realm, peer.metric >> 14) or not may_announce(uuid, holder.kind):
            return False
        entry = Entry(
            peer,
            uuid,
            holder.kind,
            holder.realm,
            holder.credit,
            holder.cost,
            holder.name,
            holder.traits,
        )
        entry.order = holder.order
        entry.link = link
        if not mesh.gate.lets_in(entry, link):
            self._deny(peer, uuid)
            return False
        if not mesh.directory.has_room(entry):
            mesh.counters["entries_over"] += 1
            mesh.gate.exceeded(link, codes.QUOTA_ENTRIES)
            return False
        mesh.entry_announced(entry, now)
        return True

    def _part(self, address: Address, name: bytes) -> "dict[bytes, int]":
        """Nothing that one tells of it counts any more. Returns what it has told."""
        self.hearsay.forget(name, address)
        told = self.told[address]
        keys = told.pop(name)
        if not told:
            del self.told[address]
        return keys

    def _drop_untold(self, former: "dict[bytes, int]", uuid: bytes, now: int) -> None:
        """One of those who were asked does not say of these any more that they have it. Others may, who are
        nearer to them than we are.
        """
        told = self.told.get(uuid, {})
        for key in former:
            peer = self._mesh.routes.find(key)
            entry = None if peer is None else peer.entries.get(uuid)
            if peer is None or entry is None or self.selects.tells(key, uuid):
                continue
            nearest = min([keys.get(key, INFINITE) for keys in told.values()] + [INFINITE])
            if nearest == INFINITE or (nearest >= peer.metric and not self._mesh.leaf):
                self._set_aside(entry)
                self.drop(key, uuid, now)

    def drop(self, key: bytes, uuid: bytes, now: int) -> None:
        peer = self._mesh.routes.find(key)
        if peer is not None and not is_in_line(peer, uuid):
            self._mesh.entry_withdrawn(peer, uuid, now)

    # What a guard says

    def _deny(self, peer: "Peer", uuid: bytes) -> None:
        self._mesh.counters["entries_denied"] += 1
        if self._denied_size < codes.ENTRIES_MAX:
            denied = self._denied.setdefault(peer.key, {})
            self._denied_size += uuid not in denied
            denied[uuid] = True

    def _forget_denied(self, peer: "Peer") -> "dict[bytes, bool]":
        denied = self._denied.pop(peer.key, {})
        self._denied_size -= len(denied)
        return denied

    def judge(self, peer: "Peer", now: int) -> None:
        """The guard may say something else of the endpoints that a node is said to have."""
        for uuid in self._forget_denied(peer) if peer.hop is not None else ():  # else when its way is back
            for name in self.told.get(uuid, {}):
                self._ask_anew(name, uuid)
        for entry in list(peer.entries.values()):
            if not is_in_line(peer, entry.uuid) and not self._mesh.gate.lets_in(entry, peer.hop):
                self._deny(peer, entry.uuid)
                self._mesh.entry_withdrawn(peer, entry.uuid, now)

    def _ask_anew(self, name: bytes, uuid: bytes) -> None:
        """Ask one who was asked before: what it said was not taken."""
        uplink = self._mesh.uplink
        if name:
            asked = self._mesh.routes.find(name)
        else:
            asked = None if uplink is None else adverts(uplink).peer
        if asked is not None and asked.hop is not None:
            asked.hop.answer(signal(codes.WHO, asked.key, uuid))

    def look_again(self, now: int) -> None:
        """Look again at what askers may see: it may be more now, or less."""
        wanted = dict.fromkeys(self._askers)
        for connection in self.watchers:
            wanted.update(dict.fromkeys(adverts(connection).watched))
        for uuid in wanted:
            self._tell(uuid, [], now)

    def conclude(self, query: Query, now: int) -> None:
        """All have answered, or their time is up."""
        self.queries.pop(query.address, None)
        self._mesh.timers.disarm(query)
        for key in list(query.waiting):
            self.is_over(query, key)
        if query.link is not None:
            self._of_links[query.link] -= 1
            if not self._of_links[query.link]:
                del self._of_links[query.link]
        for asker in query.askers:
            self.answer(asker, query.address, now)
        if query.news:
            self._tell(query.address, query.askers, now)
        self._mesh.host.looked_up(query.address, now)

    # Answering

    def who(self, connection: "LinkFace", peer: "Peer", uuid: bytes, realm: int, now: int) -> None:
        """WHO came, and has crossed that realm: answer with what is known, or ask on first."""
        if realm > peer.metric >> 14:  # by another way than ours to it: what is nearer is not told there
            seen = [holder for holder in self.holders(peer, uuid) if holder.realm >= realm]
            if peer.hop is not None:
                peer.hop.answer(HaveFrame(peer.key, uuid, seen))
            return
        watched = self.watched_by(connection, peer, uuid)
        query = self.queries.get(uuid)
        found = self._finds(peer, uuid)
        if not found and query is None:
            query = self.start(uuid, peer, connection, now)
            if query is not None:
                query.askers.append(peer)
                return
        elif query is not None and peer.key not in query.waiting and peer not in query.askers:
            if not found and len(query.askers) < codes.WATCHES_MAX:
                query.askers.append(peer)
                return
        if watched is None:
            self.answer(peer, uuid, now)
        else:
            watched[uuid] = self.tell_one(peer, uuid, watched[uuid], now)

    def watched_by(self, connection: "LinkFace", peer: "Peer", uuid: bytes) -> "Watched | None":
        """It is told of changes from now on. Returns where the last HAVE for it is noted; None: nowhere."""
        told = adverts(connection)
        if uuid == codes.PATTERNS:
            self.patterns.watch(connection, peer)
            return None
        if told.peer is peer:
            if not told.watched:
                told.watched = {}
            watched = told.watched
            if uuid not in watched and len(watched) >= codes.WATCHES_MAX:
                del watched[next(iter(watched))]
            watched.setdefault(uuid, None)
            self.watchers[connection] = True
            return watched
        if peer.hop is None:
            return None
        key = peer.key + uuid
        if key not in told.asked and len(told.asked) >= codes.WATCHES_MAX:
            oldest = next(iter(told.asked))
            del told.asked[oldest]
            self._forget_far(oldest[: codes.KEY_SIZE], oldest[codes.KEY_SIZE :])
        if not told.asked:
            told.asked = {}
        told.asked[key] = True
        watched = self._far.setdefault(peer.key, {})
        if uuid not in watched and self._far_size < codes.ENTRIES_MAX:
            self._far_size += 1
            watched[uuid] = None
            self._askers.setdefault(uuid, {})[peer.key] = peer
        return watched if uuid in watched else None

    def _forget_far(self, key: bytes, uuid: bytes) -> None:
        """A node farther off is not told of that any more."""
        watched = self._far.get(key, {})
        if uuid in watched:
            del watched[uuid]
            self._far_size -= 1
            askers = self._askers[uuid]
            del askers[key]
            if not askers:
                del self._askers[uuid]
        if not watched:
            self._far.pop(key, None)

    def answer(self, peer: "Peer", uuid: bytes, now: int) -> "HaveFrame | None":
        """Send HAVE to one who has asked."""
        self.counters["lookups_answered"] += 1
        told = uuid != codes.PATTERNS or self.patterns.answer(peer, now)
        count = subscribers(self._mesh.directory.known(uuid))
        if peer.hop is None or not told or not self._pace.lets(peer, uuid, count, now):
            return None
        have = Answer(self, peer, uuid)
        peer.hop.answer(have)
        return have

    def _is_known(self, uuid: bytes) -> bool:
        """Whether somebody has it who is enough: of broadcast endpoints all are to be known."""
        entries = self._mesh.directory.holders(uuid)
        if entries:
            return entries[0].kind != codes.BROADCAST
        mine = self._mesh.own(uuid)
        return self._mesh.host.holds(uuid) and (mine is None or mine.kind != codes.BROADCAST)

    def _finds(self, asker: "Peer", uuid: bytes) -> bool:
        """Whether there is a holder that the asker may see, and that is enough."""
        mesh = self._mesh
        widest = asker.metric >> 14
        mine = mesh.own(uuid)
        if mine is not None and mine.realm >= widest and self.shows(asker, mine, True):
            if mine.kind != codes.BROADCAST:
                return True
        for entry in mesh.directory.known(uuid)[: codes.HOLDERS_SEEN_MAX]:
            if entry.peer is not asker and entry.realm >= max(widest, entry.peer.metric >> 14):
                if self.shows(asker, entry, True) and entry.kind != codes.BROADCAST:
                    return True
        return uuid == mesh.me.node_id or uuid in mesh.routes.peers

    def shows(self, asker: "Peer", entry: Entry, asked: bool) -> bool:
        """Whether who asks may see a holder; if it may not, that is told where it has `asked`."""
        gate = self._mesh.gate
        link = asker.hop
        if gate.guard is None or link is None or gate.shows(entry, link, asker):
            return True
        if asked:
            gate.deny(link, asker.node_id, codes.MAY_SEE, entry.uuid, entry.name, entry.realm)
        return False

    def holders(self, asker: "Peer", uuid: bytes, beyond: bool = False) -> "list[Holder]":
        """The holders that the asker may see, the nearest first; equally near ones in an order of the asker's
        own: small leaves take the first, and so share the holders. Of very many only some are looked at.
        With `beyond` only those that are not on the asker's side of this node.
        """
        mesh = self._mesh
        widest = asker.metric >> 14
        found: "list[tuple[int, int, Holder]]" = []
        mine = mesh.own(uuid)
        visible = [] if mine is None or mine.realm < widest else [mine]
        for entry in mesh.directory.known(uuid)[: codes.HOLDERS_SEEN_MAX]:
            if entry.realm >= max(widest, entry.peer.metric >> 14):
                visible.append(entry)
        if mesh.gate.guard is not None:
            visible = [entry for entry in visible if self.shows(asker, entry, False)]
        for entry in counting(visible) if len(visible) > 1 else visible:
            peer = entry.peer
            metric = peer.metric  # 0 of this node itself
            if peer is not asker and not (beyond and peer.hop is asker.hop and peer is not mesh.me):
                found.append((metric, mix(asker, peer.key), _holder(entry, metric)))
        self._add_node(asker, uuid, found)
        found.sort(key=lambda item: item[:2])
        return named_to(asker, [holder for _, _, holder in found])

    def _add_node(self, asker: "Peer", uuid: bytes, found: "list[tuple[int, int, Holder]]") -> None:
        """The uuid may be a node's id."""
        mesh = self._mesh
        peer = mesh.me if uuid == mesh.me.node_id else mesh.routes.peers.get(uuid)
        if peer is not None and peer is not asker:
            found.append((peer.metric, 0, Holder(peer.key, 0, codes.PROCESS, peer.metric)))

    def changed(self, uuid: bytes, now: int) -> None:
        """The holders of an endpoint are others now: tell those who asked for it."""
        query = self.queries.get(uuid)
        self.patterns.changed(uuid, now)
        if query is not None:
            query.news = True  # they are told when it is over
        else:
            self._tell(uuid, [], now)

    def _tell(self, uuid: bytes, but: "list[Peer]", now: int) -> None:
        """News for those who asked, `but` those."""
        for connection in self.watchers:
            peer = adverts(connection).peer
            watched = adverts(connection).watched
            if uuid in watched and peer is not None and connection.state == codes.OPEN:
                if peer not in but:
                    watched[uuid] = self.tell_one(peer, uuid, watched[uuid], now)
        for key, peer in self._askers.get(uuid, {}).items():
            if peer not in but:
                watched = self._far[key]
                watched[uuid] = self.tell_one(peer, uuid, watched[uuid], now)

    def tell_one(
        self, peer: "Peer", uuid: bytes, waiting: "HaveFrame | None", now: int
    ) -> "HaveFrame | None":
        return self.answer(peer, uuid, now) if waiting is None or waiting.written else waiting

    def peer_lost(self, peer: "Peer", now: int) -> None:
        """A node is gone: it answers no question any more, and asks none. What only it has told is not known
        any more.
        """
        self._met.pop(peer.key, None)
        self.parts.forget(peer.key)
        self.selects.peer_lost(peer, now)
        self.patterns.peer_lost(peer)
        self._forget_denied(peer)
        for uuid in list(self._far.get(peer.key, ())):
            self._forget_far(peer.key, uuid)
        for query in list(self._waited.get(peer.key, ())):
            if self.is_over(query, peer.key):
                self.conclude(query, now)
        for address in self.answered_by.pop(peer.key, {}):
            self._drop_untold(self._part(address, peer.key), address, now)


def _holder(entry: Entry, metric: int) -> Holder:
    """An endpoint, as an answer names it: its node is so far off."""
    return Holder(
        entry.peer.key,
        entry.kind,
        entry.realm,
        metric,
        entry.credit,
        entry.cost,
        entry.name,
        entry.traits,
    )


def _has_lines(peer: "Peer") -> bool:
    """Whether the node's own lines are pushed here. They are not any more where all have been emptied."""
    return any([line.entries or line.denied for line in peer.lines])


def is_in_line(peer: "Peer", uuid: bytes) -> bool:
    """Whether the node's own line, which is pushed, tells of the endpoint."""
    return any([uuid in line.entries or uuid in line.denied for line in peer.lines])
