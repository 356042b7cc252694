"""Message frames: fields to bytes and back (docs/protocol.md, section 5). Keeps the alias tables, and no
other state.
"""

from busway.protocol import codes
from busway.protocol.errors import Refusal
from busway.protocol.flows import Outgoing
from busway.protocol.wire import Reader, varint


class AliasWriter:
    """Small numbers for uuids in our direction. When all are used, the oldest binding gives its number
    away.
    """

    __slots__ = ("_next", "_owners", "numbers")

    def __init__(self, aliases_max: int) -> None:
        self.numbers: "dict[bytes, int]" = {}
        self._owners: "list[bytes]" = [b""] * (aliases_max + 1)
        self._next = 1

    def write(self, uuid: bytes) -> bytes:
        """The alias field for a uuid, with the binding if it is new."""
        number = self.numbers.get(uuid)
        if number is not None:
            return varint(number)
        number = self._next
        self._next = number + 1 if number + 1 < len(self._owners) else 1
        old = self._owners[number]
        if old:
            del self.numbers[old]
        self._owners[number] = uuid
        self.numbers[uuid] = number
        return b"\x00" + varint(number) + uuid


class AliasReader:
    """The uuids that the peer's numbers stand for."""

    __slots__ = ("uuids",)

    def __init__(self, aliases_max: int) -> None:
        self.uuids: "list[bytes]" = [b""] * (aliases_max + 1)

    def read(self, reader: Reader) -> bytes:
        if reader.left() and reader.data[reader.pos]:
            number = reader.varint()
            uuid = self.uuids[number] if number < len(self.uuids) else b""
            if not uuid:
                raise Refusal(codes.UNKNOWN_ALIAS, "alias %d was never bound" % number)
            return uuid
        reader.u8()
        number = reader.varint()
        if not 0 < number < len(self.uuids):
            raise Refusal(codes.UNKNOWN_ALIAS, "alias %d is out of the agreed range" % number)
        uuid = reader.take(codes.ID_SIZE)
        self.uuids[number] = uuid
        return uuid


class Header:
    """What stands before a message's payload. Fields that a kind does not have stay 0 or empty."""

    __slots__ = (
        "code",
        "cut",
        "endpoint",
        "format",
        "id",
        "kind",
        "number",
        "partial",
        "signal",
        "size",
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
        self.cut = False
        self.partial = 0
        self.size = 0


def read_header(head: int, reader: Reader, aliases: AliasReader) -> Header:
    """Everything up to the payload. Raises Refusal for what breaks the format."""
    if head & codes.HEAD_RESERVED:
        raise Refusal(codes.MALFORMED, "a routing header, which version 1 does not have")
    header = Header(head >> 4 & 7, head & 3)
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
        _read_signal(reader, header, aliases)
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


def _read_signal(reader: Reader, header: Header, aliases: AliasReader) -> None:
    signal = reader.u8()
    header.signal = signal
    if signal in (codes.CANCEL, codes.PART_CREDIT, codes.END):
        header.id = _read_id(reader)
        if signal != codes.CANCEL:
            header.number = reader.u16()
    elif signal in (codes.CREDIT, codes.PROBE, codes.UNDELIVERABLE):
        header.endpoint = aliases.read(reader)
        header.number = reader.u16()
        if signal == codes.UNDELIVERABLE:
            header.code = reader.u8()
    else:
        return  # unknown: skipped, with all that follows
    if reader.left():
        raise Refusal(codes.MALFORMED, "bytes behind a signal")


def write_header(out: Outgoing, aliases: AliasWriter, now: int, cut_partial: int, cut_size: int) -> bytes:
    """The bytes before the payload; `cut_partial` is -1 for a message that travels whole."""
    head = codes.MESSAGE | out.kind << 4 | out.format
    options = b""
    if out.kind == codes.REQUEST and out.extra:
        options = bytes((codes.OPTION_STREAM, 2, out.extra >> 8, out.extra & 0xFF))
    if cut_partial >= 0:
        options += bytes((codes.OPTION_CUT, 5, cut_partial)) + _u32(cut_size)
    if options:
        head |= codes.HEAD_OPTIONS
        options = bytes((head, len(options))) + options
    else:
        options = bytes((head,))
    fields = _write_fields(out, aliases, now)
    if out.format == codes.TYPED:
        return options + fields + aliases.write(out.type_id)
    return options + fields


def _write_fields(out: Outgoing, aliases: AliasWriter, now: int) -> bytes:
    kind = out.kind
    if kind == codes.SIGNAL:
        return _write_signal(out, aliases)
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


def _write_signal(out: Outgoing, aliases: AliasWriter) -> bytes:
    signal = out.extra
    if signal == codes.CANCEL:
        return bytes((signal,)) + varint(out.id)
    if signal in (codes.PART_CREDIT, codes.END):
        return bytes((signal,)) + varint(out.id) + _u16(out.seq)
    fields = bytes((signal,)) + aliases.write(out.endpoint) + _u16(out.seq)
    if signal == codes.UNDELIVERABLE:
        return fields + bytes((out.id,))  # for this signal, `id` holds the reason
    return fields


def _u16(value: int) -> bytes:
    return bytes((value >> 8 & 0xFF, value & 0xFF))


def _u32(value: int) -> bytes:
    return bytes((value >> 24 & 0xFF, value >> 16 & 0xFF, value >> 8 & 0xFF, value & 0xFF))
