"""Message frames (docs/protocol.md, section 5): one record for a message or signal, and its bytes up to the
payload in both directions. Keeps no state but the alias tables that it is given.
"""

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.aliases import AliasReader, AliasWriter
from busway.protocol.wire.fields import Reader, text8, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class RoutingHeader:
    """The routing header of a message, if that is more than its destination."""

    __slots__ = ("hops", "realm", "source")

    def __init__(self, source: bytes, realm: int, hops: int) -> None:
        self.source = source  # node and incarnation; b"": the node that writes it
        self.realm = realm  # the widest that it has crossed
        self.hops = hops


class Options:
    """The optional fields of a header: each has a row in `_OPTIONS`."""

    __slots__ = ("best_effort", "partial", "size", "window")

    def __init__(self) -> None:
        self.best_effort = False
        self.window = 0  # parts of a stream that the origin has room for; 0: it wants no stream
        self.partial = -1  # of a cut message: which of those under way
        self.size = 0  # ... and the bytes of its whole payload


class Frame:
    """One message or signal: as it was read, or as it will be written.

    What a kind does not have stays 0 or empty. `number` is a sequence number, index, limit, sent or parts, of
    which the low 16 bits are on the wire.
    """

    __slots__ = (
        "cancelled",
        "code",
        "destination",
        "endpoint",
        "expires",
        "format",
        "id",
        "kind",
        "number",
        "options",
        "payload",
        "route",
        "signal",
        "type_id",
    )

    def __init__(
        self,
        kind: int,
        destination: bytes,
        endpoint: bytes,
        number: int,
        payload: object,
        format: int,
        type_id: bytes,
    ) -> None:
        self.kind = kind
        self.destination = destination  # node and incarnation; b"": whoever reads it. Of a PUBLISH: the root
        self.endpoint = endpoint  # of its tree, where that is not the source
        self.number = number
        self.payload: "Any" = payload
        self.format = format
        self.type_id = type_id
        self.route: "RoutingHeader | None" = None
        self.options: "Options | None" = None
        self.id = 0
        self.expires = 0  # ms; 0: never
        self.code = 0  # of an ERROR, or why something is UNDELIVERABLE
        self.signal = 0
        self.cancelled = False  # its origin does not want it any more: it is not written

    def is_best_effort(self) -> bool:
        """Whether it may be lost rather than keep others waiting."""
        return self.options is not None and self.options.best_effort

    def source(self) -> bytes:
        """Node and incarnation of the origin; b"": who writes it."""
        return b"" if self.route is None else self.route.source

    def root(self) -> bytes:
        """Of a broadcast: the node whose tree it follows; b"": who writes it."""
        return self.destination or self.source()

    def realm(self) -> int:
        """The widest realm that it had crossed before this link."""
        return codes.PROCESS if self.route is None else self.route.realm

    def hops(self) -> int:
        """How many nodes it may still pass."""
        return codes.HOPS_MAX if self.route is None else self.route.hops


class TreeFrame(Frame):
    """PRUNE, GRAFT: about the broadcasts of `node`, node and incarnation, to an endpoint."""

    __slots__ = ("node",)

    def __init__(self, signal: int, destination: bytes, endpoint: bytes, node: bytes) -> None:
        super().__init__(codes.SIGNAL, destination, endpoint, 0, b"", codes.RAW, b"")
        self.signal = signal
        self.node = node


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


class HaveFrame(Frame):
    """HAVE: who has an endpoint."""

    __slots__ = ("holders", "written")

    def __init__(self, destination: bytes, endpoint: bytes, holders: "list[Holder]") -> None:
        super().__init__(codes.SIGNAL, destination, endpoint, 0, b"", codes.RAW, b"")
        self.signal = codes.HAVE
        self.holders = holders
        self.written = False  # what is new from then on needs another


def signal(which: int, destination: bytes, endpoint: bytes = b"", number: int = 0, id: int = 0) -> Frame:
    """A signal of one of the common sorts, still to be written."""
    frame = Frame(codes.SIGNAL, destination, endpoint, number, b"", codes.RAW, b"")
    frame.signal = which
    frame.id = id
    return frame


# Reading


def read_frame(head: int, reader: Reader, aliases: AliasReader, nodes: AliasReader, now: int) -> Frame:
    """Everything up to the payload. Raises Refusal for what breaks the format."""
    kind = head >> 4 & 7
    format = head & 3
    route: "RoutingHeader | None" = None
    destination = b""
    if head & codes.HEAD_ROUTED:
        how = reader.u8()
        if how & 0xF0:
            raise Refusal(codes.MALFORMED, "a routing header with an unknown layout")
        route = RoutingHeader(b"", how & 3, reader.u8())
        if how & codes.HOW_DESTINATION:
            destination = nodes.read(reader)
        if how & codes.HOW_SOURCE:
            route.source = nodes.read(reader)
    options = _read_options(reader, kind) if head & codes.HEAD_OPTIONS else None
    if kind >= codes.ERROR and format != codes.RAW:
        raise Refusal(codes.MALFORMED, "an error or signal with a payload format")
    if kind == codes.SIGNAL:
        frame = _read_signal(reader, destination, aliases, nodes)
    else:
        frame = Frame(kind, destination, b"", 0, b"", format, b"")
        _read_fields(frame, reader, aliases, now)
    frame.route = route
    frame.options = options
    return frame


def _read_fields(frame: Frame, reader: Reader, aliases: AliasReader, now: int) -> None:
    kind = frame.kind
    if kind <= codes.REQUEST:
        frame.endpoint = aliases.read(reader)
        frame.number = reader.u16()
        if kind >= codes.CONFIRM:
            frame.id = _read_id(reader)
            timeout_ms = reader.varint()
            if not timeout_ms:
                raise Refusal(codes.MALFORMED, "a timeout of 0 ms")
            frame.expires = now + timeout_ms
    else:
        frame.id = _read_id(reader)
        if kind == codes.PART:
            frame.number = reader.u16()
        elif kind == codes.ERROR:
            frame.code = reader.varint()
    if frame.format == codes.TYPED:
        frame.type_id = aliases.read(reader)


def _read_id(reader: Reader) -> int:
    id = reader.varint()
    if not id:
        raise Refusal(codes.MALFORMED, "an id of 0")
    return id


def _read_signal(reader: Reader, destination: bytes, aliases: AliasReader, nodes: AliasReader) -> Frame:
    which = reader.u8()
    frame = signal(which, destination)
    if which in (codes.CANCEL, codes.TRACE, codes.PART_CREDIT, codes.END):
        frame.id = _read_id(reader)
        if which in (codes.PART_CREDIT, codes.END):
            frame.number = reader.u16()
    elif which == codes.WHO:
        frame.endpoint = aliases.read(reader)
    elif which == codes.HAVE:
        frame = HaveFrame(destination, aliases.read(reader), _read_holders(reader, nodes))
    elif which in (codes.PRUNE, codes.GRAFT):
        endpoint = aliases.read(reader)
        frame = TreeFrame(which, destination, endpoint, nodes.read(reader))
    elif which == codes.TRACED:
        frame.id = _read_id(reader)
        return frame  # the rest is its payload
    elif which in (codes.CREDIT, codes.PROBE, codes.UNDELIVERABLE):
        frame.endpoint = aliases.read(reader)
        frame.number = reader.u16()
        if which == codes.UNDELIVERABLE:
            frame.code = reader.u8()
    else:
        return frame  # unknown: skipped, with all that follows
    if reader.left():
        raise Refusal(codes.MALFORMED, "bytes behind a signal")
    return frame


def _read_holders(reader: Reader, nodes: AliasReader) -> "list[Holder]":
    holders: "list[Holder]" = []
    while reader.left():
        head = reader.u8()
        if head & 0x80 or len(holders) == codes.HOLDERS_MAX:
            raise Refusal(codes.MALFORMED, "a holder with an unknown layout, or more than 16")
        holder = Holder(nodes.read(reader), head & 3, head >> 2 & 3, reader.u16())
        if head & 0x10:
            holder.credit = reader.varint()
        if head & 0x20:
            holder.cost = min(reader.varint(), 0x3FFF)
        if head & 0x40:
            holder.name = reader.text8()
        holders.append(holder)
    return holders


# Writing


def write_header(frame: Frame, aliases: AliasWriter, nodes: AliasWriter, direct: bytes, now: int) -> bytes:
    """The bytes before the payload; `direct` is the node that reads them."""
    head = codes.MESSAGE | frame.kind << 4 | frame.format
    route = b""
    if frame.route is not None or (frame.destination and frame.destination != direct):
        route = _write_route(frame, nodes, direct)
        head |= codes.HEAD_ROUTED
    options = b"" if frame.options is None else _write_options(frame.options, frame.kind)
    if options:
        head |= codes.HEAD_OPTIONS
        start = bytes((head,)) + route + bytes((len(options),)) + options
    else:
        start = bytes((head,)) + route
    fields = _write_fields(frame, aliases, nodes, now)
    if frame.format == codes.TYPED:
        return start + fields + aliases.write(frame.type_id)
    return start + fields


def _write_route(frame: Frame, nodes: AliasWriter, direct: bytes) -> bytes:
    how = 0
    hops = codes.HOPS_MAX
    source = b""
    if frame.route is not None:
        how = frame.route.realm
        hops = frame.route.hops
        source = frame.route.source
    tail = b""
    if frame.destination and frame.destination != direct:
        how |= codes.HOW_DESTINATION
        tail = nodes.write(frame.destination)
    if source:
        how |= codes.HOW_SOURCE
        tail += nodes.write(source)
    return bytes((how, hops)) + tail


def _write_fields(frame: Frame, aliases: AliasWriter, nodes: AliasWriter, now: int) -> bytes:
    kind = frame.kind
    if kind == codes.SIGNAL:
        return bytes((frame.signal,)) + _write_signal(frame, aliases, nodes)
    if kind <= codes.REQUEST:
        fields = aliases.write(frame.endpoint) + _u16(frame.number)
        if kind >= codes.CONFIRM:
            fields += varint(frame.id) + varint(max(1, frame.expires - now))
        return fields
    if kind == codes.PART:
        return varint(frame.id) + _u16(frame.number)
    if kind == codes.ERROR:
        return varint(frame.id) + varint(frame.code)
    return varint(frame.id)


def _write_signal(frame: Frame, aliases: AliasWriter, nodes: AliasWriter) -> bytes:
    which = frame.signal
    if which in (codes.CANCEL, codes.TRACE, codes.TRACED):
        return varint(frame.id)
    if which in (codes.PART_CREDIT, codes.END):
        return varint(frame.id) + _u16(frame.number)
    endpoint = aliases.write(frame.endpoint)
    if which == codes.WHO:
        return endpoint
    if isinstance(frame, HaveFrame):
        return endpoint + _write_holders(frame.holders, nodes)
    if isinstance(frame, TreeFrame):
        return endpoint + nodes.write(frame.node)
    fields = endpoint + _u16(frame.number)
    return fields + bytes((frame.code,)) if which == codes.UNDELIVERABLE else fields


def _write_holders(holders: "list[Holder]", nodes: AliasWriter) -> bytes:
    data = b""
    for holder in holders:
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


# Options


def cut(options: "Options | None", partial: int, size: int) -> Options:
    """The same with what says that only the first piece follows, of `size` bytes."""
    more = Options()
    if options is not None:
        more.best_effort = options.best_effort
        more.window = options.window
    more.partial = partial
    more.size = size
    return more


def _read_options(reader: Reader, kind: int) -> "Options | None":
    size = reader.varint()
    if size > reader.left():
        raise Refusal(codes.MALFORMED, "options are longer than their frame")
    found: "Options | None" = None
    within = Reader(reader.data, reader.pos, reader.pos + size)
    reader.pos += size
    while within.left():
        which = within.u8()
        length = within.u8()
        value = Reader(within.data, within.pos, within.pos + length)
        within.take(length)
        for number, kinds, read, _ in _OPTIONS:
            if number == which and kinds >> kind & 1:
                if found is None:
                    found = Options()
                read(value, found)
    return found


def _write_options(options: Options, kind: int) -> bytes:
    data = b""
    for which, kinds, _, write in _OPTIONS:
        value = write(options) if kinds >> kind & 1 else None
        if value is not None:
            data += bytes((which, len(value))) + value
    return data


def _read_cut(value: Reader, options: Options) -> None:
    if value.left() != 5 or options.partial >= 0:
        raise Refusal(codes.MALFORMED, "option CUT has not 5 bytes, or comes twice")
    options.partial = value.u8()
    options.size = value.u32()


def _write_cut(options: Options) -> "bytes | None":
    return None if options.partial < 0 else bytes((options.partial,)) + _u32(options.size)


def _read_stream(value: Reader, options: Options) -> None:
    if value.left() != 2 or options.window:
        raise Refusal(codes.MALFORMED, "option STREAM has not 2 bytes, or comes twice")
    options.window = value.u16()
    if not options.window:
        raise Refusal(codes.MALFORMED, "a stream window of 0")


def _write_stream(options: Options) -> "bytes | None":
    return _u16(options.window) if options.window else None


def _read_best_effort(value: Reader, options: Options) -> None:
    options.best_effort = True


def _write_best_effort(options: Options) -> "bytes | None":
    return b"" if options.best_effort else None


# Each optional field of a header, in the order in which they are written: its number, the kinds that may have
# it, as bits, how it is read and how it is written.
_OPTIONS = (
    (codes.OPTION_STREAM, 1 << codes.REQUEST, _read_stream, _write_stream),
    (codes.OPTION_BEST_EFFORT, 1 << codes.SEND | 1 << codes.PUBLISH, _read_best_effort, _write_best_effort),
    (codes.OPTION_CUT, ~(1 << codes.SIGNAL), _read_cut, _write_cut),
)


def _u16(value: int) -> bytes:
    return bytes((value >> 8 & 0xFF, value & 0xFF))


def _u32(value: int) -> bytes:
    return bytes((value >> 24 & 0xFF, value >> 16 & 0xFF, value >> 8 & 0xFF, value & 0xFF))
