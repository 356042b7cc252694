"""Parts of streaming replies that bring things (docs/protocol.md, section 5.8): how many are under way, as
the server counts them, and wait for the program, at the origin. Knows no link and no request.
"""

from busway.protocol.fifo import Fifo
from busway.protocol.messaging.carried import Carried, Holder
from busway.protocol.messaging.flows import UNLIMITED, OutFlow
from busway.protocol.wire.things import STREAM_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class GoingParts:
    """The parts of one stream, at its server: while their things are as many as may be, no other goes."""

    __slots__ = ("_going", "_stream", "told")

    def __init__(self, stream: OutFlow) -> None:
        self._stream = stream
        self._going = Fifo()  # (index, things) of those that the origin has not said it has read
        self.told = stream.limit  # by the origin

    def add(self, count: int) -> None:
        """The part that is submitted next brings so many things."""
        stream = self._stream
        self._going.push((stream.sent + len(stream.waiting), count))
        stream.limit = min(stream.limit, self._bound())

    def raise_limit(self, gain: int) -> None:
        """The origin takes so many parts more."""
        self.told += gain
        read = self.told - self._stream.opening
        while len(self._going) and self._going.peek()[0] < read:
            self._going.pop()
        self._stream.limit = min(self.told, self._bound())

    def _bound(self) -> int:
        things = 0
        for index, count in self._going.items[self._going.head :]:
            things += count
            if things >= STREAM_MAX:
                bound: int = index + 1
                return bound
        return UNLIMITED


class WaitingParts(Holder):
    """The parts of one stream that the program at the origin has not read yet: their things count as those of
    messages in receivers' queues.
    """

    __slots__ = ("_read", "_waiting")

    def __init__(self, read: int) -> None:
        self.holding = 0
        self._read = read
        self._waiting = Fifo()  # (index, Carried)

    def add(self, index: int, brought: Carried) -> None:
        """A part has come."""
        self._waiting.push((index, brought))

    def read(self) -> bool:
        """The program has read one more; whether that had brought some."""
        self._read += 1
        found = False
        while len(self._waiting) and self._waiting.peek()[0] < self._read:
            self._waiting.pop()[1].release()
            found = True
        return found

    def drop(self) -> None:
        """Nobody reads them any more."""
        rest: "list[Any]" = self._waiting.drain()
        for _, brought in rest:
            brought.release()
