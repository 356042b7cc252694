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

    def add(self, entry: Entry) -> None:
        """Take an entry in; it replaces the same node's former one."""
        self.remove(entry.peer, entry.uuid)
        entry.peer.entries[entry.uuid] = entry
        self.by_uuid.setdefault(entry.uuid, []).append(entry)
        self.size += 1

    def remove(self, peer: Peer, uuid: bytes) -> "Entry | None":
        """Take an entry out and return it; None if there was none."""
        entry = peer.entries.pop(uuid, None)
        if entry is not None:
            entries = self.by_uuid[uuid]
            entries.remove(entry)
            if not entries:
                del self.by_uuid[uuid]
            self.size -= 1
        return entry

    def check_room(self, peer: Peer) -> None:
        """Raises Refusal if there is no room for one more entry of a node."""
        if len(peer.entries) >= codes.ENTRIES_MAX or self.size >= codes.DIRECTORY_MAX:
            raise Refusal(codes.TOO_MANY, "more than 16384 directory entries of a node, or 65536 in all")

    def holders(self, address: Address) -> "list[Entry]":
        """The entries that an address means, and that count: where holders are in conflict, only those on the
        side of the smallest node id.
        """
        entries = self.by_uuid.get(address)
        if entries is None:
            return []
        if len(entries) == 1:
            return entries
        first = entries[0]
        for entry in entries:
            if entry.peer.node_id < first.peer.node_id:
                first = entry
        if first.kind == codes.UNICAST:
            return [first]
        return [entry for entry in entries if entry.kind == first.kind]


def conflict(kind: int, other: int) -> bool:
    """Whether two holders of one uuid exclude each other (section 4)."""
    return kind != other or kind == codes.UNICAST
