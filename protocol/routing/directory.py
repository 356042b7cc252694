"""Endpoints of the nodes: who has what, in versioned lines, and the rule for conflicts between holders of one
name. No links, no messages.
"""

from busway.protocol.wire import codes
from busway.protocol.wire.fields import text8, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.routing.peers import Peer


class Entry:
    """One endpoint of one node; kind 0 in a line's memory of what was withdrawn."""

    __slots__ = ("cost", "credit", "kind", "name", "peer", "realm", "uuid", "version")

    def __init__(self, peer: "Peer", uuid: bytes, kind: int, realm: int) -> None:
        self.peer = peer
        self.uuid = uuid
        self.kind = kind
        self.realm = realm
        self.credit = codes.OPENING_CREDIT
        self.cost = 0
        self.name = ""
        self.version = 0

    def __repr__(self) -> str:
        return "<endpoint %s, %s, %s, at %r>" % (
            repr(self.name) if self.name else self.uuid.hex(),
            codes.KIND_NAMES[self.kind] or "withdrawn",
            codes.REALM_NAMES[self.realm],
            self.peer.label,
        )

    def encode(self) -> bytes:
        """As it stands in a DIRECTORY frame (section 4)."""
        head = self.kind
        tail = b""
        if head and self.credit != codes.OPENING_CREDIT:
            head |= 0x10
            tail = varint(self.credit)
        if head and self.cost:
            head |= 0x20
            tail += varint(self.cost)
        if head and self.name:
            head |= 0x40
            tail += text8(self.name)
        return bytes((head,)) + self.uuid + tail


class Line:
    """The endpoints of one node in one realm, with the version of each: what came after a version can be told
    by itself.
    """

    __slots__ = ("entries", "floor", "gone", "version")

    def __init__(self) -> None:
        self.version = 0
        self.entries: "dict[bytes, Entry]" = {}
        self.gone: "dict[bytes, Entry]" = {}  # withdrawn of late
        self.floor = 0  # from before this version withdrawals have been forgotten

    def put(self, entry: Entry) -> None:
        """Add, replace or (kind 0) withdraw an endpoint."""
        self.gone.pop(entry.uuid, None)
        self.entries.pop(entry.uuid, None)
        if entry.kind:
            self.entries[entry.uuid] = entry
            return
        self.gone[entry.uuid] = entry
        if len(self.gone) > codes.TOMBSTONES_MAX:
            oldest = entry
            for other in self.gone.values():
                if other.version < oldest.version:
                    oldest = other
            self.floor = oldest.version
            del self.gone[oldest.uuid]

    def since(self, base: int) -> "list[Entry]":
        """What has changed after version `base`, in order; everything there is, if that is not known any
        more.
        """
        changed = list(self.entries.values())
        if 0 < base and base >= self.floor:
            changed = [entry for entry in changed if entry.version > base]
            changed += [entry for entry in self.gone.values() if entry.version > base]
        changed.sort(key=_version_of)
        return changed


def _version_of(entry: Entry) -> int:
    return entry.version


class Directory:
    """Entries by uuid; a uuid has one entry for each node that has it."""

    __slots__ = ("by_uuid", "size")

    def __init__(self) -> None:
        self.by_uuid: "dict[bytes, list[Entry]]" = {}
        self.size = 0

    def add(self, entry: Entry) -> None:
        """Take an entry in; it replaces the same node's former one."""
        self.remove(entry.peer, entry.uuid)
        entry.peer.entries[entry.uuid] = entry
        self.by_uuid.setdefault(entry.uuid, []).append(entry)
        self.size += 1

    def remove(self, peer: "Peer", uuid: bytes) -> "Entry | None":
        """Take an entry out and return it; None if there was none."""
        entry = peer.entries.pop(uuid, None)
        if entry is not None:
            entries = self.by_uuid[uuid]
            entries.remove(entry)
            if not entries:
                del self.by_uuid[uuid]
            self.size -= 1
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
