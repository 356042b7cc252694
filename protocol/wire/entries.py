"""The parts of HAVE and ROUTES frames, and entries as DIRECTORY has them as well (docs/protocol.md, sections
4, 7 and 10): endpoints with what is said of them, and nodes. Records in and out as tuples; what becomes of
them is not known here.
"""

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader, text8, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.wire.aliases import AliasTable

_COST_MAX: "Final" = 0x3FFF


def write_entry(head: int, place: bytes, credit: int, cost: int, name: str, extension: bytes = b"") -> bytes:
    """An endpoint: of DIRECTORY with its uuid in `place`, of HAVE with its node and metric; the
    `extension` as traits.py writes it.
    """
    tail = b""
    if credit != codes.OPENING_CREDIT:
        head |= 0x10
        tail = varint(credit)
    if cost:
        head |= 0x20
        tail += varint(cost)
    if name:
        head |= 0x40
        tail += text8(name)
    if extension:
        head |= 0x80
        tail += extension
    return bytes((head,)) + place + tail


def read_rest(head: int, reader: Reader) -> "tuple[int, int, str, bytes]":
    """Opening credit, cost, name and extension of an endpoint, which stand behind its place."""
    credit = reader.varint() if head & 0x10 else codes.OPENING_CREDIT
    cost = min(reader.varint(), _COST_MAX) if head & 0x20 else 0
    name = reader.text8() if head & 0x40 else ""
    return credit, cost, name, reader.take(reader.varint()) if head & 0x80 else b""


def read_holder(
    reader: Reader, nodes: "AliasTable", aliases: "AliasTable | None" = None
) -> "tuple[bytes, bytes, int, int, int, int, int, str, bytes]":
    """One holder of HAVE, or with the `aliases` of endpoints of SELECTED: node and incarnation, endpoint (of
    HAVE b""), kind, realm, metric, opening credit, cost, name, extension (traits.py). Raises Refusal.
    """
    head = reader.u8()
    key = nodes.read(reader)
    uuid = b"" if aliases is None else aliases.read(reader)
    metric = reader.u16()
    credit, cost, name, extension = read_rest(head, reader)
    return key, uuid, head & 3, head >> 2 & 3, metric, credit, cost, name, extension


def read_route(reader: Reader, nodes: "AliasTable") -> "tuple[int, bytes, int, int, list[int]]":
    """An entry of ROUTES: which, node and incarnation, number, metric, the versions of three realms. What
    it does not have is empty. Raises Refusal.
    """
    which = reader.u8()
    if which > codes.DEPARTED:
        raise Refusal(codes.MALFORMED, "an entry of ROUTES with an unknown layout")
    key = b"" if which == codes.ACK else nodes.read(reader)
    number = metric = 0
    versions: "list[int]" = []
    if which == codes.UPDATE or codes.SEQREQ <= which <= codes.ACK:
        number = reader.u16()
    if which == codes.UPDATE:
        metric = reader.u16()
    elif which == codes.PARENT_WITH:
        versions = [reader.varint(), reader.varint(), reader.varint()]
    return which, key, number, metric, versions
