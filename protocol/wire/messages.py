"""Message frames: fields to bytes and back (docs/protocol.md, section 5). Keeps the alias tables, and no
other state.
"""

from busway.protocol.errors import Refusal
from busway.protocol.messaging.flows import Outgoing
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader, text8, varint


class AliasWriter:
    """Small numbers for ids in our direction: endpoints, or nodes. When all are used, the oldest binding
    gives its number away.
    """

    __slots__ = ("_first", "_max", "_next", "_owners", "_pinned", "epoch", "numbers")

    def __init__(self, number_max: int, first: int = 1) -> None:
        self.numbers: "dict[bytes, int]" = {}
        self._first = first
        self._max = number_max
        self._next = first
        self._owners: "list[bytes]" = [b""] * first
        self._pinned: "dict[bytes, bool]" = {}
        self.epoch = 0  # counts the numbers that were given to another id

    def pin(self, id: bytes) -> bool:
        """Keep the number of an id for ever. False if half of the numbers are kept already."""
        if id not in self._pinned:
            if len(self._pinned) * 2 + 2 > self._max - self._first + 1:
                return False
            self._pinned[id] = True
        return True

    def write(self, id: bytes) -> bytes:
        """The alias field for an id, with the binding if it is new."""
        number = self.numbers.get(id)
        if number is not None:
            return varint(number)
        number = self._next
        while self._pinned and number < len(self._owners) and self._owners[number] in self._pinned:
            number = number + 1 if number < self._max else self._first
        self._next = number + 1 if number < self._max else self._first
        if number == len(self._owners):
            self._owners.append(id)
        else:
            self.epoch += 1
            del self.numbers[self._owners[number]]
            self._owners[number] = id
        self.numbers[id] = number
        return b"\x00" + varint(number) + id


class AliasReader:
    """The ids that the peer's numbers stand for: uuids of 16 bytes, or nodes of 20."""

    __slots__ = ("_first", "_max", "_size", "epoch", "uuids")

    def __init__(self, number_max: int, first: int = 1, size: int = codes.ID_SIZE) -> None:
        self._first = first
        self._max = number_max
        self._size = size
        self.uuids: "list[bytes]" = [b""] * first
        self.epoch = 0  # counts the numbers that were given to another id

    def read(self, reader: Reader) -> bytes:
        if reader.left() and reader.data[reader.pos]:
            number = reader.varint()
            uuid = self.uuids[number] if number < len(self.uuids) else b""
            if not uuid:
                raise Refusal(codes.UNKNOWN_ALIAS, "alias %d was never bound" % number)
            return uuid
        reader.u8()
        number = reader.varint()
        if not self._first <= number <= self._max:
            raise Refusal(codes.UNKNOWN_ALIAS, "alias %d is out of the agreed range" % number)
        uuid = reader.take(self._size)
        while number >= len(self.uuids):
            self.uuids.append(b"")
        if self.uuids[number]:
            self.epoch += 1
        self.uuids[number] = uuid
        return uuid


def node_writer(me: bytes, peer: bytes, number_max: int) -> AliasWriter:
    """Numbers of nodes in our direction: 1 is this node, 2 the one that reads them."""
    writer = AliasWriter(number_max, codes.RECEIVER + 1)
    writer.numbers[me] = codes.SENDER
    writer.numbers[peer] = codes.RECEIVER
    return writer


def node_reader(me: bytes, peer: bytes, number_max: int) -> AliasReader:
    """The counterpart of the peer's `node_writer`."""
    reader = AliasReader(number_max, codes.RECEIVER + 1, codes.ID_SIZE + codes.INCARNATION_SIZE)
    reader.uuids[codes.SENDER] = peer
    reader.uuids[codes.RECEIVER] = me
    return reader


class Holder:
    """One holder of an endpoint in a HAVE (section 7). `kind` 0: the uuid is this node's id."""

    __slots__ = ("cost", "credit", "key", "kind", "metric", "name", "realm")

    def __init__(self, key: bytes, kind: int, realm: int, metric: int) -> None:
        self.key = key
        self.kind = kind
        self.realm = realm
        self.metric = metric
        self.credit = codes.OPENING_CREDIT
        self.cost = 0
        self.name = ""


class Header:
    """What stands before a message's payload. Fields that a kind does not have stay 0 or empty."""

    __slots__ = (
        "best_effort",
        "code",
        "cut",
        "destination",
        "endpoint",
        "format",
        "holders",
        "hops",
        "id",
        "kind",
        "node",
        "number",
        "partial",
        "realm",
        "routed",
        "signal",
        "size",
        "source",
        "timeout_ms",
        "type_id",
        "window",
    )

    def __init__(self, kind: int, format: int) -> None:
        self.kind = kind
        self.format = format
        self.endpoint = b""
        self.number = 0  # seq, index, limit, sent or parts: low 16 bits
        self.id = 0
        self.timeout_ms = 0
        self.code = 0
        self.signal = 0
        self.type_id = b""
        self.window = 0
        self.best_effort = False
        self.cut = False
        self.partial = 0
        self.size = 0
        self.routed = False
        self.realm = codes.PROCESS  # the widest that it had crossed before this link
        self.hops = codes.HOPS_MAX
        self.destination = b""  # node and incarnation; b"": who reads it
        self.source = b""  # b"": who wrote it
        self.node = b""  # of PRUNE and GRAFT: the source that they are about
        self.holders: "list[Holder]" = []


def read_header(head: int, reader: Reader, aliases: AliasReader, nodes: AliasReader) -> Header:
    """Everything up to the payload. Raises Refusal for what breaks the format."""
    header = Header(head >> 4 & 7, head & 3)
    if head & codes.HEAD_ROUTED:
        _read_route(reader, header, nodes)
    if head & codes.HEAD_OPTIONS:
        _read_options(reader, header)
    kind = header.kind
    if kind >= codes.ERROR and header.format != codes.RAW:
        raise Refusal(codes.MALFORMED, "an error or signal with a payload format")
    if kind <= codes.REQUEST:
        header.endpoint = aliases.read(reader)
        header.number = reader.u16()
        if kind >= codes.CONFIRM:
            header.id = _read_id(reader)
            header.timeout_ms = reader.varint()
            if not header.timeout_ms:
                raise Refusal(codes.MALFORMED, "a timeout of 0 ms")
    elif kind == codes.SIGNAL:
        _read_signal(reader, header, aliases, nodes)
        return header
    else:
        header.id = _read_id(reader)
        if kind == codes.PART:
            header.number = reader.u16()
        elif kind == codes.ERROR:
            header.code = reader.varint()
    if header.format == codes.TYPED:
        header.type_id = aliases.read(reader)
    return header


def _read_route(reader: Reader, header: Header, nodes: AliasReader) -> None:
    how = reader.u8()
    if how & 0xF0:
        raise Refusal(codes.MALFORMED, "a routing header with an unknown layout")
    header.routed = True
    header.realm = how & 3
    header.hops = reader.u8()
    if how & codes.HOW_DESTINATION:
        header.destination = nodes.read(reader)
    if how & codes.HOW_SOURCE:
        header.source = nodes.read(reader)


def _read_id(reader: Reader) -> int:
    id = reader.varint()
    if not id:
        raise Refusal(codes.MALFORMED, "an id of 0")
    return id


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
            _read_cut(value, header)
        elif which == codes.OPTION_STREAM and header.kind == codes.REQUEST:
            _read_stream(value, header)
        elif which == codes.OPTION_BEST_EFFORT and header.kind <= codes.PUBLISH:
            header.best_effort = True


def _read_cut(value: Reader, header: Header) -> None:
    if value.left() != 5 or header.cut:
        raise Refusal(codes.MALFORMED, "option CUT has not 5 bytes, or comes twice")
    header.cut = True
    header.partial = value.u8()
    header.size = value.u32()


def _read_stream(value: Reader, header: Header) -> None:
    if value.left() != 2 or header.window:
        raise Refusal(codes.MALFORMED, "option STREAM has not 2 bytes, or comes twice")
    header.window = value.u16()
    if not header.window:
        raise Refusal(codes.MALFORMED, "a stream window of 0")


def _read_signal(reader: Reader, header: Header, aliases: AliasReader, nodes: AliasReader) -> None:
    signal = reader.u8()
    header.signal = signal
    if signal in (codes.CANCEL, codes.TRACE, codes.PART_CREDIT, codes.END):
        header.id = _read_id(reader)
        if signal in (codes.PART_CREDIT, codes.END):
            header.number = reader.u16()
    elif signal in (codes.WHO, codes.HAVE, codes.PRUNE, codes.GRAFT):
        header.endpoint = aliases.read(reader)
        if signal == codes.HAVE:
            _read_holders(reader, header, nodes)
        elif signal != codes.WHO:
            header.node = nodes.read(reader)
    elif signal == codes.TRACED:
        header.id = _read_id(reader)
        return  # the rest is its payload
    elif signal in (codes.CREDIT, codes.PROBE, codes.UNDELIVERABLE):
        header.endpoint = aliases.read(reader)
        header.number = reader.u16()
        if signal == codes.UNDELIVERABLE:
            header.code = reader.u8()
    else:
        return  # unknown: skipped, with all that follows
    if reader.left():
        raise Refusal(codes.MALFORMED, "bytes behind a signal")


def _read_holders(reader: Reader, header: Header, nodes: AliasReader) -> None:
    while reader.left():
        head = reader.u8()
        if head & 0x80 or len(header.holders) == codes.HOLDERS_MAX:
            raise Refusal(codes.MALFORMED, "a holder with an unknown layout, or more than 16")
        holder = Holder(nodes.read(reader), head & 3, head >> 2 & 3, reader.u16())
        if head & 0x10:
            holder.credit = reader.varint()
        if head & 0x20:
            holder.cost = min(reader.varint(), 0x3FFF)
        if head & 0x40:
            holder.name = reader.text8()
        header.holders.append(holder)


def write_header(
    out: Outgoing,
    aliases: AliasWriter,
    nodes: AliasWriter,
    direct: bytes,
    now: int,
    cut_partial: int,
    cut_size: int,
) -> bytes:
    """The bytes before the payload; `direct` is the node that reads them, `cut_partial` -1 for a message that
    travels whole.
    """
    head = codes.MESSAGE | out.kind << 4 | out.format
    route = b""
    if out.transit is not None or (out.peer.key != direct and not _is_cast(out, nodes)):
        route = _write_route(out, nodes, direct)
        head |= codes.HEAD_ROUTED
    options = b""
    if out.kind == codes.REQUEST and out.extra:
        options = bytes((codes.OPTION_STREAM, 2, out.extra >> 8, out.extra & 0xFF))
    elif out.kind <= codes.PUBLISH and out.extra:
        options = bytes((codes.OPTION_BEST_EFFORT, 0))
    if cut_partial >= 0:
        options += bytes((codes.OPTION_CUT, 5, cut_partial)) + _u32(cut_size)
    if options:
        head |= codes.HEAD_OPTIONS
        options = bytes((head,)) + route + bytes((len(options),)) + options
    else:
        options = bytes((head,)) + route
    fields = _write_fields(out, aliases, nodes, now)
    if out.format == codes.TYPED:
        return options + fields + aliases.write(out.type_id)
    return options + fields


def _is_cast(out: Outgoing, nodes: AliasWriter) -> bool:
    """A broadcast, or a probe before one of ours, is for whoever reads it."""
    return out.kind == codes.PUBLISH or nodes.numbers.get(out.peer.key) == codes.SENDER


def _write_route(out: Outgoing, nodes: AliasWriter, direct: bytes) -> bytes:
    how = 0
    hops = codes.HOPS_MAX
    source = b""
    destination = b"" if _is_cast(out, nodes) else out.peer.key
    transit = out.transit
    if transit is not None and out.kind == codes.PUBLISH and out.peer.key != transit.source:
        destination = out.peer.key  # the root of the tree, where that is not the source
    if transit is not None:
        how = transit.realm
        hops = transit.hops
        source = transit.source
    tail = b""
    if destination and destination != direct:
        how |= codes.HOW_DESTINATION
        tail = nodes.write(destination)
    if source:
        how |= codes.HOW_SOURCE
        tail += nodes.write(source)
    return bytes((how, hops)) + tail


def _write_fields(out: Outgoing, aliases: AliasWriter, nodes: AliasWriter, now: int) -> bytes:
    kind = out.kind
    if kind == codes.SIGNAL:
        return _write_signal(out, aliases, nodes)
    if kind <= codes.REQUEST:
        fields = aliases.write(out.endpoint) + _u16(out.seq)
        if kind >= codes.CONFIRM:
            fields += varint(out.id) + varint(max(1, out.expires - now))
        return fields
    if kind == codes.PART:
        return varint(out.id) + _u16(out.seq)
    if kind == codes.ERROR:
        return varint(out.id) + varint(out.extra)
    return varint(out.id)


def _write_signal(out: Outgoing, aliases: AliasWriter, nodes: AliasWriter) -> bytes:
    signal = out.extra
    if signal in (codes.CANCEL, codes.TRACE, codes.TRACED):
        return bytes((signal,)) + varint(out.id)
    if signal == codes.HAVE:
        return bytes((signal,)) + aliases.write(out.endpoint) + _write_holders(out, nodes)
    if signal == codes.WHO:
        return bytes((signal,)) + aliases.write(out.endpoint)
    if signal in (codes.PRUNE, codes.GRAFT):
        return bytes((signal,)) + aliases.write(out.endpoint) + nodes.write(out.type_id)
    if signal in (codes.PART_CREDIT, codes.END):
        return bytes((signal,)) + varint(out.id) + _u16(out.seq)
    fields = bytes((signal,)) + aliases.write(out.endpoint) + _u16(out.seq)
    if signal == codes.UNDELIVERABLE:
        return fields + bytes((out.id,))  # for this signal, `id` holds the reason
    return fields


def _write_holders(out: Outgoing, nodes: AliasWriter) -> bytes:
    data = b""
    for holder in out.payload:
        head = holder.kind | holder.realm << 2
        tail = b""
        if holder.credit != codes.OPENING_CREDIT:
            head |= 0x10
            tail = varint(holder.credit)
        if holder.cost:
            head |= 0x20
            tail += varint(holder.cost)
        if holder.name:
            head |= 0x40
            tail += text8(holder.name)
        data += bytes((head,)) + nodes.write(holder.key) + _u16(holder.metric) + tail
    return data


def _u16(value: int) -> bytes:
    return bytes((value >> 8 & 0xFF, value & 0xFF))


def _u32(value: int) -> bytes:
    return bytes((value >> 24 & 0xFF, value >> 16 & 0xFF, value >> 8 & 0xFF, value & 0xFF))
