"""Small numbers for endpoints and nodes that one link names again and again (docs/protocol.md, section 5.1).

A table for each direction: the writer binds, the reader looks up. Knows no frame.
"""

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader, varint


class AliasTable:
    """The ids that the numbers of one direction stand for: those of `size` bytes, the `fixed` ones from 1 on.
    When all numbers are used, the oldest binding gives its own away.
    """

    __slots__ = ("_first", "_max", "_next", "_size", "epoch", "ids")

    def __init__(self, number_max: int, fixed: "tuple[bytes, ...]" = (), size: int = codes.ID_SIZE) -> None:
        self.ids: "list[bytes]" = [b""] + list(fixed)  # their places are the numbers
        self._first = self._next = len(self.ids)  # the ones before are never bound
        self._max = number_max
        self._size = size
        self.epoch = 0  # counts the numbers that were given to another id

    def read(self, reader: Reader) -> bytes:
        """The id that the next field stands for. Raises Refusal."""
        pos = reader.pos
        if pos < reader.end and reader.data[pos]:
            number = reader.data[pos]
            if number < 0x80:
                reader.pos = pos + 1
            else:
                number = reader.varint()
            id = self.ids[number] if number < len(self.ids) else b""
            if not id:
                raise Refusal(codes.UNKNOWN_ALIAS, "alias %d was never bound" % number)
            return id
        reader.u8()
        number = reader.varint()
        if not self._first <= number <= self._max:
            raise Refusal(codes.UNKNOWN_ALIAS, "alias %d is out of the agreed range" % number)
        id = reader.take(self._size)
        self._bind(number, id)
        return id

    def write(self, id: bytes) -> bytes:
        """The field for an id, with the binding if it is new."""
        if id in self.ids:
            return varint(self.ids.index(id))
        return self._assign(id)

    def _assign(self, id: bytes) -> bytes:
        number = self._next
        self._next = number + 1 if number < self._max else self._first
        self._bind(number, id)
        return b"\x00" + varint(number) + id

    def _bind(self, number: int, id: bytes) -> None:
        while number >= len(self.ids):
            self.ids.append(b"")
        self.epoch += self.ids[number] != b""
        self.ids[number] = id


_NONE: "dict[bytes, bool]" = {}  # never changed: there are many tables, and few that pin or name


class AliasWriter(AliasTable):
    """One to write with that holds many: it finds a number by a dict, and can keep some for ever."""

    __slots__ = ("_pinned", "named", "numbers")

    def __init__(self, number_max: int, fixed: "tuple[bytes, ...]" = ()) -> None:
        super().__init__(number_max, fixed)
        self.numbers: "dict[bytes, int]" = {}
        for number in range(1, self._first):
            self.numbers[self.ids[number]] = number
        self._pinned = _NONE
        self.named = _NONE  # with a name behind them, while they have a number

    def note_named(self, id: bytes) -> None:
        """A field for an id is being written together with a name."""
        if id not in self.named:
            if not self.named:
                self.named = {}
            self.named[id] = True

    def pin(self, id: bytes) -> bool:
        """Keep the number of an id for ever. False if half of the numbers are kept already."""
        if id not in self._pinned:
            if len(self._pinned) * 2 + 2 > self._max - self._first + 1:
                return False
            if not self._pinned:
                self._pinned = {}
            self._pinned[id] = True
        return True

    def write(self, id: bytes) -> bytes:
        number = self.numbers.get(id)
        if number is not None:
            return bytes((number,)) if number < 0x80 else varint(number)
        if len(id) == codes.ID_SIZE + 1:
            return self.write(id[: codes.ID_SIZE])  # of an address, option LANE has the rest
        while self._pinned and self._next < len(self.ids) and self.ids[self._next] in self._pinned:
            self._next = self._next + 1 if self._next < self._max else self._first
        number = self._next
        if number < len(self.ids):
            former = self.ids[number]
            del self.numbers[former]
            if self.named:
                self.named.pop(former, None)
        self.numbers[id] = number
        return self._assign(id)


def node_writer(me: bytes, peer: bytes, number_max: int) -> AliasWriter:
    """Numbers of nodes in our direction: 1 is this node, 2 the one that reads them."""
    return AliasWriter(number_max, (me, peer))


def node_reader(me: bytes, peer: bytes, number_max: int) -> AliasTable:
    """The counterpart of the peer's `node_writer`."""
    return AliasTable(number_max, (peer, me), codes.KEY_SIZE)
