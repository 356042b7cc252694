"""Endpoints of other nodes, as they told us, and the rule for conflicts between holders of one name. No
links, no messages.
"""

from busway.protocol import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.connection import Connection
    from busway.protocol.routes import Peer


class Entry:
    """One endpoint of one other node."""

    __slots__ = ("cost", "credit", "kind", "links", "name", "peer", "realm", "uuid")

    def __init__(self, peer: "Peer", uuid: bytes) -> None:
        self.peer = peer
        self.uuid = uuid
        self.kind = codes.UNICAST
        self.realm = codes.USERSPACE
        self.credit = codes.OPENING_CREDIT
        self.cost = 0
        self.name = ""
        self.links: "list[Connection]" = []  # that told it, each for itself


class Directory:
    """Entries by uuid; a uuid has one entry for each node that has it."""

    __slots__ = ("by_uuid",)

    def __init__(self) -> None:
        self.by_uuid: "dict[bytes, list[Entry]]" = {}

    def add(self, entry: Entry) -> None:
        """Take an entry in; it replaces the same node's former one."""
        self.remove(entry.peer, entry.uuid)
        entry.peer.entries[entry.uuid] = entry
        self.by_uuid.setdefault(entry.uuid, []).append(entry)

    def remove(self, peer: "Peer", uuid: bytes) -> "Entry | None":
        """Take an entry out and return it; None if there was none."""
        entry = peer.entries.pop(uuid, None)
        if entry is not None:
            entries = self.by_uuid[uuid]
            entries.remove(entry)
            if not entries:
                del self.by_uuid[uuid]
        return entry

    def holders(self, uuid: bytes) -> "list[Entry]":
        """The entries that count: where holders are in conflict, only those on the side of the smallest node
        id.
        """
        entries = self.by_uuid.get(uuid)
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
