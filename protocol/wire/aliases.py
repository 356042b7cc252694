"""Small numbers for endpoints and nodes that one link names again and again (docs/protocol.md, section 5.1).

A table for each direction: the writer binds, the reader looks up. Knows no frame.
"""

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader, varint


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
            return bytes((number,)) if number < 0x80 else varint(number)
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
        pos = reader.pos
        if pos < reader.end and reader.data[pos]:
            number = reader.data[pos]
            if number < 0x80:
                reader.pos = pos + 1
            else:
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
