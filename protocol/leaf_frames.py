"""Message frames as a leaf reads and writes them (docs/protocol.md, section 5): what framing.py does for
routers, in a fifth of the memory.

Keeps the tables of numbers; knows no link and not what a message is for.
"""

from busway.protocol import codes
from busway.protocol.errors import Refusal
from busway.protocol.wire import Reader, varint


def u16(value: int) -> bytes:
    return bytes((value >> 8 & 0xFF, value & 0xFF))


def frame(body: bytes) -> bytes:
    """A body with its length before it."""
    return varint(len(body)) + body


class Numbers:
    """One table of numbers for ids of `size` bytes, to write with or to read with (section 5.1)."""

    def __init__(self, number_max: int, fixed: "tuple[bytes, ...]", size: int) -> None:
        self.ids: "list[bytes]" = [b""] + list(fixed)  # their places are the numbers
        self.first = len(self.ids)  # the ones before are never bound
        self.number_max = number_max
        self.size = size
        self._next = self.first

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
        if number or reader.pos > start + 1:
            id = self.ids[number] if number < len(self.ids) else b""
            if not id:
                raise Refusal(codes.UNKNOWN_ALIAS, "alias %d was never bound" % number)
            return id
        number = reader.varint()
        if not self.first <= number <= self.number_max:
            raise Refusal(codes.UNKNOWN_ALIAS, "alias %d is out of the agreed range" % number)
        id = reader.take(self.size)
        self._bind(number, id)
        return id

    def _bind(self, number: int, id: bytes) -> None:
        while len(self.ids) <= number:
            self.ids.append(b"")
        self.ids[number] = id


class Item:
    """One message or answer of ours, from the call that made it to its outcome."""

    def __init__(self, kind: int, endpoint: bytes, payload: bytes, format: int) -> None:
        self.kind = kind
        self.endpoint = endpoint
        self.payload = payload
        self.format = format
        self.key = b""  # node and incarnation it goes to; b"": the neighbour
        self.number = 0  # seq, index, limit, sent or parts
        self.id = 0
        self.code = 0  # ERROR: code; UNDELIVERABLE: reason; SIGNAL: which
        self.expires = -1  # ms; -1: never
        self.patience = 0  # ms: until when it waits for somebody to have the endpoint
        self.state = 0


def write_item(item: Item, aliases: Numbers, nodes: Numbers, direct: bytes, now: int, cut: bool) -> bytes:
    """The bytes before the payload; `direct` is the node that reads them."""
    kind = item.kind
    head = codes.MESSAGE | kind << 4 | item.format
    route = b""
    if item.key and item.key != direct:
        head |= codes.HEAD_ROUTED
        route = bytes((codes.HOW_DESTINATION, codes.HOPS_MAX)) + nodes.write(item.key)
    if cut:
        head |= codes.HEAD_OPTIONS
        size = len(item.payload)
        route += bytes((7, codes.OPTION_CUT, 5, 0)) + u16(size >> 16) + u16(size)
    return bytes((head,)) + route + _fields(item, aliases, now)


def _fields(item: Item, aliases: Numbers, now: int) -> bytes:
    kind = item.kind
    if kind == codes.SIGNAL:
        return _signal_fields(item, aliases)
    if kind <= codes.REQUEST:
        fields = aliases.write(item.endpoint) + u16(item.number)
        if kind >= codes.CONFIRM:
            fields += varint(item.id) + varint(max(1, item.expires - now))
        return fields
    if kind == codes.ERROR:
        return varint(item.id) + varint(item.code)
    return varint(item.id)


def _signal_fields(item: Item, aliases: Numbers) -> bytes:
    signal = item.code
    if item.endpoint:
        fields = bytes((signal,)) + aliases.write(item.endpoint)
        if signal == codes.WHO:
            return fields
        fields += u16(item.number)
        return fields + bytes((item.id,)) if signal == codes.UNDELIVERABLE else fields
    return bytes((signal,)) + varint(item.id)


class Header:
    """What stands before a payload that came. Fields that a kind does not have stay 0 or empty."""

    def __init__(self, kind: int, format: int) -> None:
        self.kind = kind
        self.format = format
        self.endpoint = b""
        self.number = 0
        self.id = 0
        self.timeout_ms = 0
        self.code = 0
        self.signal = 0
        self.type_id = b""
        self.window = 0
        self.partial = -1  # of a cut message
        self.size = 0
        self.routed = False
        self.realm = codes.PROCESS
        self.destination = b""
        self.source = b""


def read_header(head: int, reader: Reader, aliases: Numbers, nodes: Numbers) -> Header:
    """Everything up to the payload; of a SIGNAL up to its number. Raises Refusal."""
    header = Header(head >> 4 & 7, head & 3)
    kind = header.kind
    if head & codes.HEAD_ROUTED:
        _read_route(reader, header, nodes)
    if head & codes.HEAD_OPTIONS:
        _read_options(reader, header)
    if kind >= codes.ERROR and header.format != codes.RAW:
        raise Refusal(codes.MALFORMED, "an error or signal with a payload format")
    if kind == codes.SIGNAL:
        header.signal = reader.u8()
        return header
    if kind <= codes.REQUEST:
        header.endpoint = aliases.read(reader)
        header.number = reader.u16()
        if kind >= codes.CONFIRM:
            header.id = read_id(reader)
            header.timeout_ms = reader.varint()
            if not header.timeout_ms:
                raise Refusal(codes.MALFORMED, "a timeout of 0 ms")
    else:
        header.id = read_id(reader)
        if kind == codes.PART:
            header.number = reader.u16()
        elif kind == codes.ERROR:
            header.code = reader.varint()
    if header.format == codes.TYPED:
        header.type_id = aliases.read(reader)
    return header


def read_id(reader: Reader) -> int:
    id = reader.varint()
    if not id:
        raise Refusal(codes.MALFORMED, "an id of 0")
    return id


def _read_route(reader: Reader, header: Header, nodes: Numbers) -> None:
    how = reader.u8()
    if how & 0xF0:
        raise Refusal(codes.MALFORMED, "a routing header with an unknown layout")
    header.routed = True
    header.realm = how & 3
    reader.u8()  # hops: a leaf passes nothing on
    if how & codes.HOW_DESTINATION:
        header.destination = nodes.read(reader)
    if how & codes.HOW_SOURCE:
        header.source = nodes.read(reader)


def _read_options(reader: Reader, header: Header) -> None:
    size = reader.varint()
    if size > reader.left():
        raise Refusal(codes.MALFORMED, "options are longer than their frame")
    options = Reader(reader.data, reader.pos, reader.pos + size)
    reader.pos += size
    while options.left():
        which = options.u8()
        length = options.u8()
        value = Reader(options.data, options.pos, options.pos + length)
        options.take(length)
        if which == codes.OPTION_CUT and header.kind != codes.SIGNAL:
            if length != 5 or header.partial >= 0:
                raise Refusal(codes.MALFORMED, "option CUT has not 5 bytes, or comes twice")
            header.partial = value.u8()
            header.size = value.u32()
        elif which == codes.OPTION_STREAM and header.kind == codes.REQUEST:
            if length != 2 or header.window:
                raise Refusal(codes.MALFORMED, "option STREAM has not 2 bytes, or comes twice")
            header.window = value.u16()
            if not header.window:
                raise Refusal(codes.MALFORMED, "a stream window of 0")
