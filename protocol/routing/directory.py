"""The endpoints of all nodes by uuid, and the rule for conflicts between holders of one name. No links, no
messages.
"""

from busway.protocol.link.face import LinkFace
from busway.protocol.routing.patterns import PatternIndex
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


class Directory:
    """Entries by uuid; a uuid has one entry for each node that has it."""

    __slots__ = ("_counts", "_only", "_order", "_several", "far", "patterns", "size", "told", "told_max")

    def __init__(self, patterns_over: "Callable[[object, int], None] | None" = None) -> None:
        # Nearly all have one holder, and a list for each would take as much room as half of the entry.
        self._only: "dict[bytes, Entry]" = {}
        self._several: "dict[bytes, list[Entry]]" = {}
        self.size = 0
        self.patterns = PatternIndex(patterns_over)  # of broadcast endpoints, this node's own among them
        self.told: "dict[LinkFace, int]" = {}  # how many each link has told
        self.told_max: "dict[LinkFace, int]" = {}  # ... and may, where a guard bounds it
        self.far = 0  # ... those that leave this machine together
        self._order = 0
        # Of a uuid that several have how many there are of each kind, and behind these broadcast ones of each
        # realm.
        self._counts: "dict[bytes, list[int]]" = {}

    def add(self, entry: Entry) -> None:
        """Take an entry in; it replaces the same node's former one, and has been known for as long."""
        known = entry.peer.entries.get(entry.uuid)
        entry.peer.entries[entry.uuid] = entry
        self._charge(entry, 1)
        if entry.kind == codes.BROADCAST and "*" in entry.name:
            self.patterns.add(entry.uuid, entry.name, entry.link)
        if known is not None:
            if known.kind == codes.BROADCAST and "*" in known.name:
                self.patterns.remove(known.uuid, known.name, known.link)
            self._count(entry, 1)
            self._count(known, -1)
            self._charge(known, -1)
            entry.order = known.order
            entry.place = known.place
            if entry.uuid in self._only:
                self._only[entry.uuid] = entry
            else:
                self._several[entry.uuid][entry.place] = entry
            return
        if not entry.order:
            entry.order = self.next_order()
        self.size += 1
        entries = self._several.get(entry.uuid)
        if entries is None:
            only = self._only.get(entry.uuid)
            if only is None:
                self._only[entry.uuid] = entry
                entry.place = 0
                return
            entries = self._share(only)
        entry.place = len(entries)
        entries.append(entry)
        self._count(entry, 1)

    def _share(self, only: Entry) -> "list[Entry]":
        """There is to be another of its uuid."""
        entries = [only]
        del self._only[only.uuid]
        self._several[only.uuid] = entries
        self._counts[only.uuid] = [0] * 8
        self._count(only, 1)
        return entries

    def hold(self, entry: Entry, step: int) -> None:
        """One that is kept, but does not count (1), or no longer (-1): it takes room like others."""
        self.size += step
        self._charge(entry, step)

    def next_order(self) -> int:
        """The place of the next entry that comes to be known."""
        self._order += 1
        return self._order

    def remove(self, peer: Peer, uuid: bytes) -> "Entry | None":
        """Take an entry out and return it; None if there was none. The last takes its place: there may be
        thousands of one uuid.
        """
        entry = peer.entries.pop(uuid, None)
        if entry is not None:
            entries = self._several.get(uuid)
            if entries is None:
                del self._only[uuid]
            else:
                self._part(entry, entries)
            self._charge(entry, -1)
            self.size -= 1
            if entry.kind == codes.BROADCAST and "*" in entry.name:
                self.patterns.remove(uuid, entry.name, entry.link)
        return entry

    def _part(self, entry: Entry, entries: "list[Entry]") -> None:
        """One of several of its uuid goes."""
        last = entries.pop()
        if last is not entry:
            entries[entry.place] = last
            last.place = entry.place
        self._count(entry, -1)
        if len(entries) == 1:
            self._only[entry.uuid] = entries[0]
            del self._several[entry.uuid]
            del self._counts[entry.uuid]

    def _count(self, entry: Entry, step: int) -> None:
        counts = self._counts.get(entry.uuid)
        if counts is not None:
            counts[entry.kind] += step
            if entry.kind == codes.BROADCAST:
                counts[4 + entry.realm] += step

    def are_one(self, uuid: bytes) -> bool:
        """Whether no holders of a uuid, which has some, can be in conflict: they are of one kind."""
        counts = self._counts.get(uuid)
        if counts is None:
            return True
        kinds = counts[codes.UNICAST : codes.BROADCAST + 1]
        return max(kinds) == sum(kinds) and counts[codes.UNICAST] < 2

    def widest(self, uuid: bytes, but: Peer) -> int:
        """The widest realm of a subscriber, other than that node; PROCESS if there is none."""
        counts = self._counts.get(uuid)
        if counts is None:
            only = self._only.get(uuid)
            if only is None or only.peer is but or only.kind != codes.BROADCAST:
                return codes.PROCESS
            return only.realm
        own = but.entries.get(uuid)
        for realm in (codes.GLOBAL, codes.LOCALNET, codes.USERSPACE):
            count = counts[4 + realm]
            if own is not None and own.kind == codes.BROADCAST and own.realm == realm:
                count -= 1
            if count:
                return realm
        return codes.PROCESS

    def has_room(self, entry: Entry) -> bool:
        """Whether an entry is a change of one that is known, or there is room for one more: of its node, and
        of what its link has told. Links that leave this machine leave room for the programs on it.
        """
        peer = entry.peer
        if entry.uuid in peer.entries:
            return True
        denied = sum([len(line.denied) for line in peer.lines])
        if len(peer.entries) + denied >= codes.ENTRIES_MAX or self.size >= codes.DIRECTORY_MAX:
            return False
        link = entry.link
        if link is None or self.told.get(link, 0) < self.told_max.get(link, codes.ENTRIES_LINK_MAX):
            return link is None or link.realm == codes.USERSPACE or self.far < codes.ENTRIES_FAR_MAX
        return False

    def _charge(self, entry: Entry, step: int) -> None:
        """To the link that told it."""
        link = entry.link
        if link is not None:
            count = self.told.get(link, 0) + step
            if count:
                self.told[link] = count
            else:
                del self.told[link]
            self.far += step if link.realm > codes.USERSPACE else 0

    def holders(self, address: Address) -> "list[Entry]":
        """The entries that an address means, and that count."""
        only = self._only.get(address)
        if only is not None:
            return [only]
        entries = self._several.get(address)
        return [] if entries is None else counting(entries)

    def known(self, uuid: bytes) -> "list[Entry]":
        """All entries of a uuid, also those that do not count."""
        only = self._only.get(uuid)
        return self._several.get(uuid, []) if only is None else [only]

    def is_known(self, uuid: bytes) -> bool:
        """Whether somebody has it."""
        return uuid in self._only or uuid in self._several

    def all(self) -> "list[Entry]":
        """Every entry of every uuid."""
        return list(self._only.values()) + [entry for entries in self._several.values() for entry in entries]

    def rival(self, uuid: bytes, kind: int, realm: int) -> "Entry | None":
        """An entry that another of that kind and realm would be in conflict with."""
        for entry in self.known(uuid):
            if entry.realm == realm and conflict(kind, entry.kind):
                return entry
        return None


def conflict(kind: int, other: int) -> bool:
    """Whether two holders of one uuid and realm exclude each other (section 4.3)."""
    return kind != other or kind == codes.UNICAST


def counting(entries: "list[Entry]") -> "list[Entry]":
    """Of entries of one uuid those that count: the first, and what is not in conflict with it. The first is
    the one to which the way is narrowest; of those on this machine that of the narrowest realm, for what is
    private is no other's; of these the one known longest. Beyond this machine realms are what a node says.
    """
    first = entries[0]
    best = _place(first)
    for entry in entries:
        place = _place(entry)
        if place < best or (place == best and entry.order < first.order):
            first = entry
            best = place
    if first.kind == codes.UNICAST:
        return [first]
    return [entry for entry in entries if entry.kind == first.kind]


def _place(entry: Entry) -> int:
    way = entry.peer.metric >> 14
    return way << 2 | (entry.realm if way <= codes.USERSPACE else 0)


def may_announce(uuid: bytes, kind: int) -> bool:
    """Whether a node may say that it has that endpoint. Each has its introspection endpoint, and none tells;
    nobody has that of patterns, which is only asked for; that of lookups is of one kind.
    """
    return uuid not in (codes.INTROSPECTION, codes.PATTERNS) and (
        uuid != codes.LOOKUP or kind == codes.ANYCAST
    )
