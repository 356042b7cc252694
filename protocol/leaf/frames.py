"""Message frames as a leaf reads and writes them (docs/protocol.md, section 5): what wire/messages.py does
for routers, in less memory. All but the routing header and the options is wire/headers.py's for both.

With the routers' table of options a board's heap would hold 720 bytes more, its flash 370; with one reader of
routing headers routers would make a tuple for each message. tests/protocol/test_leaf_alike.py holds both to
the same. Keeps the tables of numbers; knows no link and not what a message is for.
"""

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader, text, u16
from busway.protocol.wire.headers import Header, read_fields, read_signal, write_fields, write_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from busway.protocol.wire.aliases import AliasTable

NEVER: "Final" = 1 << 62  # ms: when what has no deadline is due

# States of a message of ours, and of one that wants an answer.
WAITING: "Final" = 0
SENT: "Final" = 1  # or taken
OVER: "Final" = 2


class Message(Header):
    """One message or answer, ours from the call that made it to its outcome, or one that came: with
    `wants_answer` a request that `Leaf.respond` and its sisters end. What a kind does not have stays empty.
    """

    key = b""  # node and incarnation it goes to or came from; b"": the neighbour
    number = 0  # seq, index, limit, sent or parts
    id = 0
    code = 0  # ERROR: code; UNDELIVERABLE: reason
    signal = 0
    expires = NEVER  # ms
    patience = NEVER  # ms: until when it waits for somebody to have the endpoint
    has_ttl = False  # then it waits, though it is known that nobody has it
    state = OVER
    lost = False  # it waited for somebody who has gone
    lane = codes.NORMAL  # its priority, and REPLAY
    where: "Any" = None  # of one to a selector, whom it is for: selecting.py
    passed = 0  # how many of higher priority have gone before it
    best_effort = False  # may be lost rather than keep others waiting
    name = ""  # of what is published, told with the endpoint's number; of one that came, also by a pattern
    # Of one that came
    type_id = b""
    retain = 0  # its number among the retained ones of its node
    retained = False  # the last value of its name, from before this leaf had subscribed
    window = 0  # of a stream: the parts that its origin has room for, from the first on
    parts = 0  # of these, sent
    moved_at = 0  # when there was room for more the last time, ms
    partial = -1  # of a cut message
    size = 0
    routed = False
    realm = 0  # PROCESS; of one of ours that is published, how far it may get
    destination = b""
    timeout_ms = 0
    missed = 0  # messages before it that were lost
    seq = 0  # its number, unwrapped
    receiver: "Any" = None  # the Receiver, and the Flow it came by
    flow: "Any" = None

    def __init__(
        self, kind: int, endpoint: bytes = b"", payload: bytes = b"", format: "int | bytes" = codes.RAW
    ) -> None:
        if isinstance(format, bytes):  # the uuid of a message type
            self.type_id = format
            format = codes.TYPED_AS_ENDPOINT if format == endpoint else codes.TYPED
        self.kind = kind
        self.endpoint = endpoint  # 16 bytes
        self.payload = payload
        self.format = format

    @property
    def source(self) -> bytes:
        """The sending node's id, 16 bytes."""
        return self.key[: codes.ID_SIZE]

    def address(self) -> bytes:
        """Name its pair: its endpoint, and its lane byte behind it."""
        return self.endpoint if self.lane == codes.NORMAL else self.endpoint + bytes((self.lane,))

    @property
    def wants_answer(self) -> bool:
        """A request that nobody has answered yet."""
        return self.state != OVER and self.kind == codes.REQUEST


def write_message(
    item: Message,
    tables: "tuple[AliasTable, AliasTable, dict[bytes, int]]",
    direct: bytes,
    now: int,
    cut: bool,
) -> bytes:
    """The bytes before the payload; `direct` is the node that reads them. `tables`: of endpoints, of nodes,
    and the endpoints whose name it was told, each with what the epoch of the first was then: it may forget
    a name when a number is given away.
    """
    aliases, nodes, named = tables
    kind = item.kind
    head = codes.MESSAGE | kind << 4 | item.format
    data = b""
    if item.key and item.key != direct:
        head |= codes.HEAD_ROUTED
        data = bytes((codes.HOW_DESTINATION, codes.HOPS_MAX)) + nodes.write(item.key)
    options = bytes((codes.OPTION_BEST_EFFORT, 0)) if item.best_effort else b""
    if kind == codes.PUBLISH and item.realm != codes.LOCALNET:
        options += bytes((codes.OPTION_REACH, 1, item.realm))
    told = item.name and named.get(item.endpoint, -1) != aliases.epoch
    if told:
        name = item.name.encode()
        options += bytes((codes.OPTION_NAME, len(name))) + name
    if cut:
        size = len(item.payload)
        options += bytes((codes.OPTION_CUT, 5, 0)) + u16(size >> 16) + u16(size)
    if item.lane != codes.NORMAL:
        options += bytes((codes.OPTION_LANE, 1, item.lane))
    if options:
        head |= codes.HEAD_OPTIONS
        data += bytes((len(options),)) + options
    data = bytes((head,)) + data
    if kind == codes.SIGNAL:
        return data + write_signal(item, aliases)
    data += write_fields(item, aliases, now)
    if told:
        named[item.endpoint] = aliases.epoch
    return data


def read_message(head: int, reader: Reader, aliases: "AliasTable", nodes: "AliasTable") -> Message:
    """Everything up to the payload; of a SIGNAL up to its number. Raises Refusal."""
    kind = head >> 4 & 7
    message = Message(kind, b"", b"", head & 3)
    wrong = False
    if head & codes.HEAD_ROUTED:
        how = reader.u8()
        message.routed = True
        message.realm = how & 3
        reader.u8()  # hops: a leaf passes nothing on
        if how & 0xF0:
            raise Refusal(codes.MALFORMED, "a routing header with an unknown layout")
        if how & codes.HOW_DESTINATION:
            message.destination = nodes.read(reader)
        if how & codes.HOW_SOURCE:
            message.key = nodes.read(reader)
    if head & codes.HEAD_OPTIONS:
        end = reader.varint() + reader.pos
        while reader.pos < end:
            which = reader.u8()
            size = reader.u8()
            stop = reader.pos + size
            if which == codes.OPTION_CUT and kind != codes.SIGNAL:
                wrong = wrong or size != 5 or message.partial >= 0
                message.partial = reader.u8()
                message.size = reader.u16() << 16 | reader.u16()
            elif which == codes.OPTION_STREAM and kind == codes.REQUEST:
                wrong = wrong or size != 2 or message.window > 0
                message.window = reader.u16()
                wrong = wrong or not message.window
            elif which == codes.OPTION_NAME and kind <= codes.PUBLISH:
                wrong = wrong or not 0 < size <= codes.TEXT_SIZE_MAX or message.name != ""
                message.name = text(reader.take(size))
            elif which == codes.OPTION_RETAIN and (kind <= codes.PUBLISH or kind == codes.REQUEST):
                wrong = wrong or size != 4 or message.retain > 0
                message.retain = reader.u16() << 16 | reader.u16()
                wrong = wrong or not message.retain & ~codes.CLEARED
            elif which == codes.OPTION_LANE:
                wrong = wrong or size != 1 or message.lane != codes.NORMAL
                message.lane = reader.u8()
                wrong = wrong or message.lane == codes.NORMAL or message.lane > codes.LANE_MAX
            reader.pos = stop
        wrong = wrong or reader.pos != end or end > reader.end
    if wrong or (kind >= codes.ERROR and message.format != codes.RAW):
        raise Refusal(codes.MALFORMED, "options that break the format, or an error with a payload format")
    if kind == codes.SIGNAL:
        message.signal = reader.u8()
        if 0 < message.signal <= codes.TRACED or message.signal == codes.SELECTED:
            read_signal(message, reader, aliases)
    else:
        message.timeout_ms = read_fields(message, reader, aliases)
    return message
