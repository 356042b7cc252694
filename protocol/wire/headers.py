"""The fields in the header of a message behind its way and its options (docs/protocol.md, sections 5 and 7):
the same for all sides that read and write it.

Knows no queue and no table but that of the endpoints.
"""

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader, u16, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.wire.aliases import AliasTable

# The signals with an id: CANCEL, PART_CREDIT, END, TRACE, TRACED, SELECT, SELECTED.
_ABOUT_A_MESSAGE = b"\1\4\6\x0b\x0c\x0d\x0e"


class Header:
    """The fields of one message or signal. What a kind does not have is 0 or empty. `number` is a sequence
    number, index, limit, sent or parts, of which the low 16 bits are on the wire.
    """

    __slots__ = ("code", "endpoint", "expires", "format", "id", "kind", "number", "signal", "type_id")

    kind: int
    signal: int
    endpoint: bytes
    number: int
    id: int
    expires: int  # ms; 0: never
    code: int  # of an ERROR, or why something is UNDELIVERABLE
    format: int
    type_id: bytes


def read_fields(message: Header, reader: Reader, aliases: "AliasTable") -> int:
    """All of a message that is no signal, up to its payload; kind and format are known. Returns the ms that
    are left for an answer, 0 if it wants none. Raises Refusal.
    """
    kind = message.kind
    left_ms = 0
    if kind <= codes.REQUEST:
        message.endpoint = aliases.read(reader)
        message.number = reader.u16()
        if kind >= codes.CONFIRM:
            message.id = _read_id(reader)
            left_ms = reader.varint()
            if not left_ms:
                raise Refusal(codes.MALFORMED, "a timeout of 0 ms")
    else:
        message.id = _read_id(reader)
        if kind == codes.PART:
            message.number = reader.u16()
        elif kind == codes.ERROR:
            message.code = reader.varint()
    if message.format == codes.TYPED:
        message.type_id = aliases.read(reader)
    return left_ms


def read_signal(message: Header, reader: Reader, aliases: "AliasTable") -> None:
    """The fields of a signal whose number is known: of HAVE its endpoint, of PRUNE and GRAFT as well. Raises
    Refusal.
    """
    which = message.signal
    if which in _ABOUT_A_MESSAGE:
        message.id = _read_id(reader)
    else:
        message.endpoint = aliases.read(reader)
    if which <= codes.END and which != codes.CANCEL:
        message.number = reader.u16()
        if which == codes.UNDELIVERABLE:
            message.code = reader.u8()
    elif which == codes.SELECTED:
        message.code = reader.u8()


def _read_id(reader: Reader) -> int:
    id = reader.varint()
    if not id:
        raise Refusal(codes.MALFORMED, "an id of 0")
    return id


def write_fields(message: Header, aliases: "AliasTable", now: int) -> bytes:
    """The bytes that `read_fields` reads."""
    kind = message.kind
    if kind <= codes.REQUEST:
        fields = aliases.write(message.endpoint) + u16(message.number)
        if kind >= codes.CONFIRM:
            fields += varint(message.id) + varint(max(1, message.expires - now))
    else:
        fields = varint(message.id)
        if kind == codes.PART:
            fields += u16(message.number)
        elif kind == codes.ERROR:
            fields += varint(message.code)
    if message.format == codes.TYPED:
        fields += aliases.write(message.type_id)
    return fields


def write_signal(message: Header, aliases: "AliasTable") -> bytes:
    """The bytes that `read_signal` reads, and the signal's number before it."""
    which = message.signal
    fields = bytes((which,))
    if which in _ABOUT_A_MESSAGE:
        fields += varint(message.id)
    else:
        fields += aliases.write(message.endpoint)
    if which <= codes.END and which != codes.CANCEL:
        fields += u16(message.number)
        if which == codes.UNDELIVERABLE:
            fields += bytes((message.code,))
    elif which == codes.SELECTED:
        fields += bytes((message.code,))
    return fields
