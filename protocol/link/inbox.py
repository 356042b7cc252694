"""Message frames as they come in over one link: read, and put together where they were cut.

The counterpart of outbox.py: knows frames and aliases; what a message means is the host's.
"""

from busway.protocol.errors import Refusal
from busway.protocol.link.face import LinkFace, LinkHost, News
from busway.protocol.link.fast import FastReader
from busway.protocol.wire import codes
from busway.protocol.wire.aliases import AliasReader
from busway.protocol.wire.fields import Reader
from busway.protocol.wire.messages import Frame, Options, read_frame

_LIVE = 1 << codes.OPEN | 1 << codes.CLOSING
_PREFIX_MAX = 9  # bytes of a header that binds nothing, up to the number


class Assembly:
    """A large message whose pieces are coming in."""

    __slots__ = ("begun", "data", "frame", "left")

    def __init__(self, frame: Frame, size: int, first: bytes, now: int) -> None:
        self.frame = frame
        self.data = bytearray(first)  # not a list of pieces: tiny ones would cost many times their size
        self.left = size - len(first)
        self.begun = now


class Inbox:
    """The messages of one link on their way in."""

    __slots__ = ("_fast", "_host", "_link", "_news", "aliases", "assemblies", "best_effort")

    def __init__(self, link: LinkFace, host: LinkHost, news: News, aliases_max: int) -> None:
        self._link = link
        self._host = host
        self._news = news
        self._fast = FastReader(link)
        self.aliases = AliasReader(aliases_max)
        self.assemblies: "dict[int, Assembly]" = {}
        self.best_effort = False  # what is read now came in a packet that is not repeated

    def run(self, head: int, data: bytes, pos: int, start: int, stop: int, end: int, now: int) -> int:
        """The short ways (fast.py) for a frame from `start` to `stop` of `data`, its length at `pos`, and for
        those like it behind. Returns where it got to; `pos`: go the long way.
        """
        link = self._link
        if head & 0xEC == 0x80:
            if not 1 << link.state & _LIVE or (head & 0x10 and self._host.spreads(link)):
                return pos
            return self._fast.run(self.aliases, head, data, pos, start, end, now)
        if head & 0xFC == 0x88 and stop - start > 8:
            epoch = self.aliases.epoch + self._news.reader.epoch
            return self._fast.switched(epoch, data, pos, start, stop, end, now)
        return pos

    def message(self, head: int, reader: Reader, now: int) -> None:
        """A message frame, its head read. Raises Refusal."""
        start = reader.pos - 1
        frame = read_frame(head, reader, self.aliases, self._news.reader, now)
        if self.best_effort:
            frame.options = frame.options or Options()
            frame.options.best_effort = True
        options = frame.options
        if options is not None and options.partial >= 0:
            self._begin(frame, options, reader.rest(), now)
            return
        size = reader.pos - 2 - start
        route = frame.route
        frame.payload = reader.rest()
        self._host.frame_came(self._link, frame, now)
        if head & 0xFC == 0x88 and frame.format != codes.TYPED and size <= _PREFIX_MAX:
            assert route is not None
            meaning = self._host.meaning_of(self._link, frame, route)
            self._fast.learn(reader.data[start : start + size], meaning)

    def _begin(self, frame: Frame, options: Options, first: bytes, now: int) -> None:
        """The first piece of a large message."""
        limits = self._link.limits
        number = options.partial
        options.partial = -1
        if options.size > limits.message_size_max:
            text = "a message of %d bytes, but %d were agreed"
            raise Refusal(codes.TOO_LARGE, text % (options.size, limits.message_size_max))
        if number >= limits.partials_max or number in self.assemblies:
            raise Refusal(codes.TOO_MANY, "more large messages at once than were agreed")
        if len(first) >= options.size:
            raise Refusal(codes.MALFORMED, "a cut message that is none")
        self.assemblies[number] = Assembly(frame, options.size, first, now)

    def more(self, reader: Reader, now: int) -> None:
        """MORE came. Raises Refusal."""
        number = reader.u8()
        piece = reader.rest()
        assembly = self.assemblies.get(number)
        if assembly is None:
            raise Refusal(codes.TOO_MANY, "a piece of no message under way")
        if not piece or len(piece) > assembly.left:
            raise Refusal(codes.MALFORMED, "a piece that is empty or more than was announced")
        assembly.data.extend(piece)
        assembly.left -= len(piece)
        if not assembly.left:
            del self.assemblies[number]
            frame = assembly.frame
            frame.payload = bytes(assembly.data)
            if frame.expires:
                frame.expires += now - assembly.begun  # its time counts from its last piece
            self._host.frame_came(self._link, frame, now)
