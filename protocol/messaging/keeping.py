"""The last values that this node keeps of what it publishes: numbered, bounded, in the order in which they
were published. Knows no subscriber.
"""

from busway.protocol.errors import FullError
from busway.protocol.link.queue import OVERHEAD
from busway.protocol.messaging.marked import Last
from busway.protocol.messaging.payload import size_of
from busway.protocol.wire import codes
from busway.protocol.wire.messages import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_NUMBER_MAX: "Final" = 0x7FFFFFFF
_CLEARINGS: "Final" = 1024  # for which there are numbers when there is none for a value any more
_LOG_MIN: "Final" = 64  # entries of the log before those that are kept no longer are taken out


class Kept(Last):
    """One of ours."""

    __slots__ = ("name", "realm", "uuid")

    def __init__(self, uuid: bytes, out: Frame, name: str, number: int, realm: int, now: int) -> None:
        super().__init__(number, out.payload, out.format, out.type_id, now)
        self.uuid = uuid
        self.name = name
        self.realm = realm  # as far as it may get

    def copy_for(self, uuid: bytes) -> Last:
        """The same for a pattern; `uuid` is that of the name."""
        if self.format != codes.TYPED_AS_ENDPOINT:
            return self
        return Last(self.number, self.payload, codes.TYPED, uuid, self.at)


class Keeping:
    """Keeps them. `count_max` values and `size_max` bytes at the most."""

    def __init__(self) -> None:
        self.count_max = 1024
        self.size_max = 16777216
        self.size = 0
        self.values: "dict[bytes, Kept]" = {}
        self.newest = 0  # number, of values and of what is no more
        self.log: "list[Kept]" = []  # by number; those that are kept no longer are still in it

    def number(self, uuid: bytes, payload: object) -> int:
        """The number of a value that is to be kept. Raises FullError."""
        former = self.values.get(uuid)
        count = len(self.values) + (former is None)
        size = size_of(payload) + OVERHEAD + self.size - (0 if former is None else former.size)
        if count > self.count_max or size > self.size_max:
            raise FullError(
                "this node keeps %d last values, %d bytes, and may keep %d, %d bytes: clear some first"
                % (len(self.values), self.size, self.count_max, self.size_max)
            )
        if self.newest >= _NUMBER_MAX - _CLEARINGS:
            raise FullError("this node has published 2147482623 last values: start it anew")
        self.newest += 1
        return self.newest

    def clearing(self) -> int:
        """The number of the word that a value is no more."""
        self.newest = min(self.newest + 1, _NUMBER_MAX)
        return self.newest | codes.CLEARED

    def keep(self, kept: Kept) -> None:
        """From now on it is the value of its name."""
        self.drop(kept.uuid)
        self.values[kept.uuid] = kept
        self.size += kept.size
        self.log.append(kept)
        if len(self.log) > _LOG_MIN + 2 * len(self.values):
            self.log = [kept for kept in self.log if self.is_kept(kept)]

    def drop(self, uuid: bytes) -> None:
        """There is none any more."""
        former = self.values.pop(uuid, None)
        if former is not None:
            self.size -= former.size
            former.payload = b""  # it is still in the log, whose room nobody counts

    def is_kept(self, kept: Kept) -> bool:
        """Whether it is still the value of its name."""
        return self.values.get(kept.uuid) is kept

    def place(self, after: int) -> int:
        """Where the values with greater numbers begin in the log."""
        low, high = 0, len(self.log)
        while low < high:
            middle = (low + high) >> 1
            if self.log[middle].number > after:
                high = middle
            else:
                low = middle + 1
        return low

    def find(self, number: int) -> "Kept | None":
        """The value of that number, if it is kept."""
        at = self.place(number - 1)
        if at < len(self.log) and self.log[at].number == number and self.is_kept(self.log[at]):
            return self.log[at]
        return None
