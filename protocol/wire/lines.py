"""DIRECTORY frames as they are read (docs/protocol.md, section 4). Records out as tuples; what becomes of
them is not known here.
"""

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.entries import read_rest
from busway.protocol.wire.fields import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.wire.aliases import AliasTable

LABEL: "Final" = 0x04  # of a line: it has the node's label


def read_line(reader: Reader, nodes: "AliasTable") -> "tuple[int, bytes, str, int, int]":
    """The beginning of a DIRECTORY frame, before its entries: head, node and incarnation, label, the version
    that it starts from and the one that it leads to. Raises Refusal.
    """
    head = reader.u8()
    key = nodes.read(reader)
    label = reader.text8() if head & LABEL else ""
    base = reader.varint()
    version = reader.varint()
    if not head & 3:
        raise Refusal(codes.MALFORMED, "a line of realm PROCESS")
    return head, key, label, base, version


def read_entry(reader: Reader) -> "tuple[int, bytes, int, int, str, bytes]":
    """An entry of DIRECTORY: kind (0: withdrawn), uuid, opening credit, cost, name, extension
    (traits.py). Raises Refusal.
    """
    head = reader.u8()
    if head & 0x0C or (head and not head & 3):
        raise Refusal(codes.MALFORMED, "an entry with an unknown layout")
    uuid = reader.take(codes.ID_SIZE)
    credit, cost, name, extension = read_rest(head, reader)
    return head & 3, uuid, credit, cost, name, extension
