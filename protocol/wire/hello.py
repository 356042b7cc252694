"""HELLO: what each side of a link says of itself, and what both agree on. Pure functions over one frame."""

from busway.protocol.errors import LocalError, Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader, text8, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Sequence

FLAG_LEAF: "Final" = 0x01
FLAG_DIALLED: "Final" = 0x08
FLAG_LOOKUPS: "Final" = 0x20

ADDRESSING: "Final" = 0x04  # of the features: labels, and what else came with them, are understood


class Limits:
    """The limits of what one side of a link takes.

    Args: `frame_size_max` bytes of a frame's body, `message_size_max` bytes of a payload, `aliases_max`
    slots, `partials_max` cut messages under way at once, `shared_memory` bytes of memory that this program
    shares with others of its machine (True: as many as by default; False: none), of which those are not told.
    Raises LocalError for one below its minimum or beyond a varint.
    """

    __slots__ = ("aliases_max", "frame_size_max", "message_size_max", "partials_max", "shared_memory")

    def __init__(
        self,
        frame_size_max: int = 65652,  # 64 KiB of payload and HEADER_SIZE_MAX
        message_size_max: int = 16777216,
        aliases_max: int = codes.ALIASES_MAX,
        partials_max: int = 4,
        shared_memory: int = 1073741824,
    ) -> None:
        self.frame_size_max = frame_size_max
        self.message_size_max = message_size_max
        self.aliases_max = aliases_max
        self.partials_max = partials_max
        if not isinstance(shared_memory, (int, bool)) or shared_memory < 0:  # not compiled, anything may come
            raise LocalError("shared_memory must be True, False or a number of bytes")
        self.shared_memory = 1073741824 if shared_memory == 1 else shared_memory + 0  # of True and False
        if frame_size_max < codes.FRAME_SIZE_MIN:
            raise LocalError("frame_size_max must be at least 128 bytes")
        if message_size_max < 1 or aliases_max < 1 or partials_max < 1:
            raise LocalError("message_size_max, aliases_max and partials_max must be at least 1")
        if partials_max > 255 or aliases_max > codes.ALIASES_MAX:
            raise LocalError("partials_max must be at most 255 and aliases_max at most 16383")
        if frame_size_max > 0xFFFFFFFF or message_size_max > 0xFFFFFFFF:
            raise LocalError("frame_size_max and message_size_max must be below 2^32 bytes")

    def __repr__(self) -> str:
        names = "frame_size_max=%d, message_size_max=%d, aliases_max=%d, partials_max=%d, shared_memory=%d"
        return "Limits(%s)" % (names % (self.values() + (self.shared_memory,)))

    def values(self) -> "tuple[int, int, int, int]":
        """In the order in which they are told."""
        return self.frame_size_max, self.message_size_max, self.aliases_max, self.partials_max


class Hello:
    """All that the other side says of itself; texts are at most 64 bytes of UTF-8."""

    __slots__ = (
        "bus",
        "dialled",
        "features",
        "keepalive_ms",
        "key",
        "label",
        "leaf",
        "limits",
        "lookups",
        "realm",
        "via",
    )

    def __init__(
        self,
        flags: int,
        key: bytes,
        features: int,
        limits: "Sequence[int]",
        keepalive_ms: int,
        bus: str,
        label: str,
        via: str,
    ) -> None:
        self.leaf = flags & FLAG_LEAF != 0
        self.realm = flags >> 1 & 3
        self.dialled = flags & FLAG_DIALLED != 0
        self.lookups = flags & FLAG_LOOKUPS != 0
        self.key = key  # node and incarnation
        self.features = features
        self.limits = limits  # in the order of `Limits`
        self.keepalive_ms = keepalive_ms
        self.bus = bus
        self.label = label
        self.via = via


def write_hello(
    flags: int,
    key: bytes,
    features: int,
    limits: "Sequence[int]",
    keepalive_ms: int,
    bus: str,
    label: str,
    via: str,
) -> bytes:
    """The body of a HELLO frame; the realm stands in bits 2-1 of `flags`."""
    body = b"\1" + codes.MAGIC + bytes((codes.VERSION, flags)) + key + varint(features)
    for limit in limits:
        body += varint(limit)
    return body + varint(keepalive_ms) + text8(bus) + text8(label) + text8(via)


def read_hello(reader: Reader) -> "tuple[int, bytes, int, Sequence[int], int, str, str, str]":
    """The arguments of `Hello`, from behind the frame's head. Raises Refusal for another protocol, version or
    format.
    """
    check_version(reader)
    flags = reader.u8()
    if not flags & 6:
        raise Refusal(codes.MALFORMED, "a link's realm cannot be PROCESS")
    key = reader.take(codes.KEY_SIZE)
    features = reader.varint()
    limits = [reader.varint(), reader.varint(), reader.varint(), reader.varint()]
    keepalive_ms = reader.varint()
    bus = reader.text8()
    label = reader.text8()
    via = reader.text8()
    while reader.left():
        reader.u8()  # no option is defined yet: skipped
        reader.take(reader.u8())
    return flags, key, features, limits, keepalive_ms, bus, label, via


def check_version(reader: Reader) -> None:
    """Read what HELLO and the first HANDSHAKE begin with. Raises Refusal for another protocol or version."""
    if reader.left() < 4 or reader.take(4) != codes.MAGIC:
        raise Refusal(codes.NOT_BUSWAY, "the other side does not speak Busway")
    version = reader.u8()
    if version != codes.VERSION:
        raise Refusal(
            codes.BAD_VERSION,
            "this side speaks protocol version %d, the other %d: update the older one"
            % (codes.VERSION, version),
        )


def agree_limits(mine: "Sequence[int]", theirs: "Sequence[int]") -> "list[int]":
    """The limits that hold on a link: of each the smaller. Raises Refusal."""
    agreed: "list[int]" = []
    for pair in zip(mine, theirs):
        agreed.append(min(pair))
    if agreed[0] < codes.FRAME_SIZE_MIN or 0 in agreed:
        raise Refusal(
            codes.LIMITS,
            "frame_size_max must be at least 128 bytes, message_size_max, aliases_max and partials_max 1",
        )
    return agreed


def agree_keepalive(mine: int, theirs: int) -> int:
    """The interval in ms: the smaller one that is not 0, or 0."""
    return min(mine or theirs, theirs or mine)


def check_identity(bus: str, key: bytes, their_bus: str, their_key: bytes) -> None:
    """Raise Refusal if two nodes are of different buses, or the same."""
    if their_bus != bus:
        raise Refusal(codes.BUS_NAME, "this side is on bus %r, the other on %r" % (bus, their_bus))
    if their_key == key:
        raise Refusal(codes.SELF, "a node was connected to itself")


def check_role(dialled: bool, theirs: bool) -> None:
    """Raise Refusal if both sides of a stream say that they dialled, or both that they were."""
    if dialled == theirs:
        how = "dialled" if dialled else "were dialled"
        raise Refusal(codes.SAME_ROLE, "both sides say that they %s: somebody stands between them" % how)


def check_bound(node_id: bytes, proved: bytes) -> None:
    """Raise Refusal if a node has the id of a key that it has not proved. `proved` is the id of the key that
    it has, b"": none.
    """
    if node_id[0] & codes.BOUND and node_id != proved:
        raise Refusal(
            codes.IDENTITY,
            "a node id that belongs to a key, which was not proved: use a link with keys on both sides",
        )


def check_board(node_id: bytes, proved: bytes) -> None:
    """Raise Refusal if a board has another id than that of its key."""
    if node_id != proved:
        raise Refusal(codes.IDENTITY, "this board's node id is not that of its key: leave it out")
