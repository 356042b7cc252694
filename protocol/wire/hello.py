"""HELLO: what each side of a link says of itself, and what both agree on. Pure functions over one frame."""

from busway.protocol.errors import LocalError, Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader, text8, varint

_FLAG_LEAF = 0x01
_FLAG_DIALLED = 0x08
_FLAG_TOKEN = 0x10
_FLAG_LOOKUPS = 0x20


class Limits:
    """The limits of what one side of a link takes.

    Args: `frame_size_max` bytes of a frame's body, `message_size_max` bytes of a payload, `aliases_max`
    slots, `partials_max` cut messages under way at once. Raises LocalError for one below its minimum or
    beyond a varint.
    """

    __slots__ = ("aliases_max", "frame_size_max", "message_size_max", "partials_max")

    def __init__(
        self,
        frame_size_max: int = 65536,
        message_size_max: int = 16777216,
        aliases_max: int = 127,
        partials_max: int = 4,
    ) -> None:
        self.frame_size_max = frame_size_max
        self.message_size_max = message_size_max
        self.aliases_max = aliases_max
        self.partials_max = partials_max
        wrong = self.fault()
        if wrong:
            raise LocalError(wrong)

    def __repr__(self) -> str:
        return "Limits(frame_size_max=%d, message_size_max=%d, aliases_max=%d, partials_max=%d)" % (
            self.frame_size_max,
            self.message_size_max,
            self.aliases_max,
            self.partials_max,
        )

    def fault(self) -> str:
        """The complaint about these limits, "" if there is none."""
        if self.frame_size_max < codes.FRAME_SIZE_MIN:
            return "frame_size_max must be at least 128 bytes"
        if self.message_size_max < 1 or self.aliases_max < 1 or self.partials_max < 1:
            return "message_size_max, aliases_max and partials_max must be at least 1"
        if self.partials_max > 255 or self.aliases_max > 16383:
            return "partials_max must be at most 255 and aliases_max at most 16383"
        if self.frame_size_max > 0xFFFFFFFF or self.message_size_max > 0xFFFFFFFF:
            return "frame_size_max and message_size_max must be below 2^32 bytes"
        return ""


class Hello:
    """The fields of one HELLO; texts are at most 64 bytes of UTF-8."""

    __slots__ = (
        "aliases_max",
        "bus",
        "dialled",
        "features",
        "frame_size_max",
        "incarnation",
        "keepalive_ms",
        "label",
        "leaf",
        "lookups",
        "message_size_max",
        "node_id",
        "nonce",
        "partials_max",
        "realm",
        "token_wanted",
        "version",
        "via",
    )

    def __init__(self) -> None:
        self.version = codes.VERSION
        self.leaf = False
        self.realm = codes.USERSPACE
        self.dialled = False
        self.token_wanted = False
        self.lookups = False
        self.node_id = b""
        self.incarnation = b""
        self.nonce = b""
        self.features = 0
        self.frame_size_max = 0
        self.message_size_max = 0
        self.aliases_max = 0
        self.partials_max = 0
        self.keepalive_ms = 0
        self.bus = ""
        self.label = ""
        self.via = ""


def encode_hello(hello: Hello) -> bytes:
    """The body of a HELLO frame."""
    flags = (
        (_FLAG_LEAF if hello.leaf else 0)
        | hello.realm << 1
        | (_FLAG_DIALLED if hello.dialled else 0)
        | (_FLAG_TOKEN if hello.token_wanted else 0)
        | (_FLAG_LOOKUPS if hello.lookups else 0)
    )
    return b"".join(
        [
            bytes((codes.HELLO,)) + codes.MAGIC + bytes((hello.version, flags)),
            hello.node_id + hello.incarnation + hello.nonce,
            varint(hello.features),
            varint(hello.frame_size_max),
            varint(hello.message_size_max),
            varint(hello.aliases_max),
            varint(hello.partials_max),
            varint(hello.keepalive_ms),
            text8(hello.bus),
            text8(hello.label),
            text8(hello.via),
        ]
    )


def decode_hello(reader: Reader) -> Hello:
    """Read a HELLO behind its head. Raises Refusal for another protocol, version or format."""
    hello = Hello()
    if reader.left() < len(codes.MAGIC) or reader.take(len(codes.MAGIC)) != codes.MAGIC:
        raise Refusal(codes.NOT_BUSWAY, "the other side does not speak Busway")
    hello.version = reader.u8()
    if hello.version != codes.VERSION:
        raise Refusal(
            codes.BAD_VERSION,
            "this side speaks protocol version %d, the other %d: update the older one"
            % (codes.VERSION, hello.version),
        )
    _decode_identity(reader, hello)
    _decode_limits(reader, hello)
    hello.bus = reader.text8()
    hello.label = reader.text8()
    hello.via = reader.text8()
    while reader.left():
        reader.u8()  # no option is defined yet: skipped
        reader.take(reader.u8())
    return hello


def _decode_identity(reader: Reader, hello: Hello) -> None:
    flags = reader.u8()
    hello.leaf = flags & _FLAG_LEAF != 0
    hello.realm = flags >> 1 & 3
    if hello.realm == codes.PROCESS:
        raise Refusal(codes.MALFORMED, "a link's realm cannot be PROCESS")
    hello.dialled = flags & _FLAG_DIALLED != 0
    hello.token_wanted = flags & _FLAG_TOKEN != 0
    hello.lookups = flags & _FLAG_LOOKUPS != 0
    hello.node_id = reader.take(codes.ID_SIZE)
    hello.incarnation = reader.take(codes.INCARNATION_SIZE)
    hello.nonce = reader.take(codes.NONCE_SIZE)


def _decode_limits(reader: Reader, hello: Hello) -> None:
    hello.features = reader.varint()
    hello.frame_size_max = reader.varint()
    hello.message_size_max = reader.varint()
    hello.aliases_max = reader.varint()
    hello.partials_max = reader.varint()
    hello.keepalive_ms = reader.varint()


def agree(mine: Hello, theirs: Hello) -> Limits:
    """The limits that hold on a link: of each the smaller. Raises Refusal if bus, identity or a limit does
    not fit.
    """
    if theirs.bus != mine.bus:
        raise Refusal(codes.BUS_NAME, "this side is on bus %r, the other on %r" % (mine.bus, theirs.bus))
    if theirs.node_id == mine.node_id and theirs.incarnation == mine.incarnation:
        raise Refusal(codes.SELF, "a node was connected to itself")
    try:
        return Limits(
            min(mine.frame_size_max, theirs.frame_size_max),
            min(mine.message_size_max, theirs.message_size_max),
            min(mine.aliases_max, theirs.aliases_max),
            min(mine.partials_max, theirs.partials_max),
        )
    except LocalError as error:
        raise Refusal(codes.LIMITS, str(error)) from None


def keepalive(mine: Hello, theirs: Hello) -> int:
    """The agreed interval in ms: the smaller one that is not 0, or 0."""
    if not mine.keepalive_ms or not theirs.keepalive_ms:
        return mine.keepalive_ms or theirs.keepalive_ms
    return min(mine.keepalive_ms, theirs.keepalive_ms)
