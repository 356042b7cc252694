"""Message frames as a leaf reads and writes them (docs/protocol.md, section 5): what framing.py does for
routers, in a fifth of the memory.

Keeps the tables of numbers; knows no link and not what a message is for.
"""

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

NEVER = 1 << 62  # ms: when what has no deadline is due

# States of a message of ours, and of one that wants an answer.
WAITING: "Final" = 0
SENT: "Final" = 1  # or taken
OVER: "Final" = 2


def u16(value: int) -> bytes:
    return bytes((value >> 8 & 0xFF, value & 0xFF))


def frame(body: bytes) -> bytes:
    """A body with its length before it."""
    return varint(len(body)) + body


class Numbers:
    """One table of numbers for ids of `size` bytes, to write with or to read with (section 5.1)."""

    def __init__(self, number_max: int, fixed: "tuple[bytes, ...]", size: int) -> None:
        self.ids: "list[bytes]" = [b""] + list(fixed)  # their places are the numbers
        self.first = self._next = len(self.ids)  # the ones before are never bound
        self.number_max = number_max
        self.size = size

    def write(self, id: bytes) -> bytes:
        """The field for an id; when all numbers are used, the oldest binding gives its own away."""
        if id in self.ids:
            return varint(self.ids.index(id))
        number = self._next
        self._next = number + 1 if number < self.number_max else self.first
        self._bind(number, id)
        return b"\x00" + varint(number) + id

    def read(self, reader: Reader) -> bytes:
        """The id that the next field stands for."""
        start = reader.pos
        number = reader.varint()
        id = b""
        if number or reader.pos > start + 1:
            if number < len(self.ids):
                id = self.ids[number]
        else:
            number = reader.varint()
            if self.first <= number <= self.number_max:
                id = reader.take(self.size)
                self._bind(number, id)
        if not id:
            raise Refusal(codes.UNKNOWN_ALIAS, "alias %d was never bound, or is out of range" % number)
        return id

    def _bind(self, number: int, id: bytes) -> None:
        while len(self.ids) <= number:
            self.ids.append(b"")
        self.ids[number] = id


class Message:
    """One message or answer, ours from the call that made it to its outcome, or one that came: with
    `wants_answer` a request that `Leaf.respond` and its sisters end. What a kind does not have stays empty.
    """

    key = b""  # node and incarnation it goes to or came from; b"": the neighbour
    number = 0  # seq, index, limit, sent or parts
    id = 0
    code = 0  # ERROR: code; UNDELIVERABLE: reason; unsent: its time to live
    signal = 0
    expires = NEVER  # ms
    patience = NEVER  # ms: until when it waits for somebody to have the endpoint
    state = OVER
    lost = False  # it waited for somebody who has gone
    best_effort = False  # may be lost rather than keep others waiting
    # Of one that came
    type_id = b""
    window = 0  # of a stream: the parts that its origin has room for, from the first on
    parts = 0  # of these, sent
    partial = -1  # of a cut message
    size = 0
    routed = False
    realm = 0  # PROCESS
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

    @property
    def wants_answer(self) -> bool:
        """A request that nobody has answered yet."""
        return self.state != OVER and self.kind == codes.REQUEST


def write_message(
    item: Message, aliases: Numbers, nodes: Numbers, direct: bytes, now: int, cut: bool
) -> bytes:
    """The bytes before the payload; `direct` is the node that reads them."""
    kind = item.kind
    head = codes.MESSAGE | kind << 4 | item.format
    data = b""
    if item.key and item.key != direct:
        head |= codes.HEAD_ROUTED
        data = bytes((codes.HOW_DESTINATION, codes.HOPS_MAX)) + nodes.write(item.key)
    options = bytes((codes.OPTION_BEST_EFFORT, 0)) if item.best_effort else b""
    if cut:
        size = len(item.payload)
        options += bytes((codes.OPTION_CUT, 5, 0)) + u16(size >> 16) + u16(size)
    if options:
        head |= codes.HEAD_OPTIONS
        data += bytes((len(options),)) + options
    data = bytes((head,)) + data
    if kind == codes.SIGNAL:
        data += bytes((item.signal,))
    if item.endpoint:
        data += aliases.write(item.endpoint)
        if kind <= codes.REQUEST or item.signal < codes.WHO:
            data += u16(item.number)
        if item.signal == codes.UNDELIVERABLE:
            return data + bytes((item.code,))
    if item.id and kind != codes.SEND:
        data += varint(item.id)
        if kind <= codes.REQUEST:
            data += varint(max(1, item.expires - now))
    if kind == codes.ERROR:
        data += varint(item.code)
    elif kind == codes.PART or item.signal == codes.END:
        data += u16(item.number)
    if item.format == codes.TYPED:
        data += aliases.write(item.type_id)
    return data


def read_message(head: int, reader: Reader, aliases: Numbers, nodes: Numbers) -> Message:
    """Everything up to the payload; of a SIGNAL up to its number. Raises Refusal."""
    kind = head >> 4 & 7
    message = Message(kind, b"", b"", head & 3)
    if head & codes.HEAD_ROUTED:
        how = reader.u8()
        if how & 0xF0:
            _malformed()
        message.routed = True
        message.realm = how & 3
        reader.u8()  # hops: a leaf passes nothing on
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
                if size != 5 or message.partial >= 0:
                    _malformed()
                message.partial = reader.u8()
                message.size = reader.u32()
            elif which == codes.OPTION_STREAM and kind == codes.REQUEST:
                if size != 2 or message.window:
                    _malformed()
                message.window = reader.u16()
                if not message.window:
                    _malformed()
            reader.pos = stop
        if reader.pos != end or end > reader.end:
            _malformed()
    if kind >= codes.ERROR and message.format != codes.RAW:
        _malformed()
    if kind == codes.SIGNAL:
        message.signal = reader.u8()
    elif kind <= codes.REQUEST:
        message.endpoint = aliases.read(reader)
        message.number = reader.u16()
        if kind >= codes.CONFIRM:
            message.id = read_id(reader)
            message.timeout_ms = reader.varint()
            if not message.timeout_ms:
                _malformed()
    else:
        message.id = read_id(reader)
        if kind == codes.PART:
            message.number = reader.u16()
        elif kind == codes.ERROR:
            message.code = reader.varint()
    if message.format == codes.TYPED:
        message.type_id = aliases.read(reader)
    return message


def _malformed() -> None:
    raise Refusal(codes.MALFORMED, "a message whose header breaks the format")


def read_id(reader: Reader) -> int:
    id = reader.varint()
    if not id:
        raise Refusal(codes.MALFORMED, "an id of 0")
    return id
