"""The endpoints of all nodes by uuid, and the rule for conflicts between holders of one name. No links, no
messages.
"""

from busway.protocol.errors import Refusal
from busway.protocol.routing.peers import Entry, Peer
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address


class Directory:
    """Entries by uuid; a uuid has one entry for each node that has it."""

    def __init__(self) -> None:
        self.by_uuid: "dict[bytes, list[Entry]]" = {}
        self.size = 0
        self._order = 0

    def add(self, entry: Entry) -> None:
        """Take an entry in; it replaces the same node's former one, and has been known for as long."""
        known = entry.peer.entries.get(entry.uuid)
        entry.peer.entries[entry.uuid] = entry
        if known is not None:
            entry.order = known.order
            entry.place = known.place
            self.by_uuid[entry.uuid][entry.place] = entry
            return
        entries = self.by_uuid.setdefault(entry.uuid, [])
        if not entry.order:
            entry.order = self.next_order()
        entry.place = len(entries)
        entries.append(entry)
        self.size += 1

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
            entries = self.by_uuid[uuid]
            last = entries.pop()
            if last is not entry:
                entries[entry.place] = last
                last.place = entry.place
            elif not entries:
                del self.by_uuid[uuid]
            self.size -= 1
        return entry

    def check_room(self, peer: Peer) -> None:
        """Raises Refusal if there is no room for one more entry of a node."""
        if len(peer.entries) >= codes.ENTRIES_MAX or self.size >= codes.DIRECTORY_MAX:
            raise Refusal(codes.TOO_MANY, "more than 16384 directory entries of a node, or 65536 in all")

    def holders(self, address: Address) -> "list[Entry]":
        """The entries that an address means, and that count."""
        entries = self.by_uuid.get(address)
        if entries is None:
            return []
        return entries if len(entries) == 1 else counting(entries)

    def rival(self, uuid: bytes, kind: int, realm: int) -> "Entry | None":
        """An entry that another of that kind and realm would be in conflict with."""
        for entry in self.by_uuid.get(uuid, []):
            if entry.realm == realm and conflict(kind, entry.kind):
                return entry
        return None


def conflict(kind: int, other: int) -> bool:
    """Whether two holders of one uuid and realm exclude each other (section 4.3)."""
    return kind != other or kind == codes.UNICAST


def counting(entries: "list[Entry]") -> "list[Entry]":
    """Of entries of one uuid those that count: the first, and what is not in conflict with it. The first is
    that of the narrowest realm, of these the one to which the way is narrowest, of these the one known
    longest.
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
    return entry.realm << 2 | entry.peer.metric >> 14


def may_announce(uuid: bytes, kind: int) -> bool:
    """Whether a node may say that it has that endpoint. Each has its introspection endpoint, and none tells;
    that of lookups is of one kind.
    """
    return uuid != codes.INTROSPECTION and (uuid != codes.LOOKUP or kind == codes.ANYCAST)
