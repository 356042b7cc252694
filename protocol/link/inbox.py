"""Large messages as they come in over one link in pieces, put together again.

The counterpart of outbox.py, which cut them; what a message means is the host's.
"""

from busway.protocol.errors import Refusal
from busway.protocol.link.face import LinkFace
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader
from busway.protocol.wire.messages import Frame, Options


class Assembly:
    """A large message whose pieces are coming in."""

    __slots__ = ("begun", "data", "frame", "left")

    def __init__(self, frame: Frame, size: int, first: bytes, now: int) -> None:
        self.frame = frame
        self.data = bytearray(first)  # not a list of pieces: tiny ones would cost many times their size
        self.left = size - len(first)
        self.begun = now


class Inbox:
    """The large messages of one link on their way in."""

    __slots__ = ("_link", "assemblies")

    def __init__(self, link: LinkFace) -> None:
        self._link = link
        self.assemblies: "dict[int, Assembly]" = {}

    def begin(self, frame: Frame, options: Options, first: bytes, now: int) -> None:
        """The first piece of a large message. Raises Refusal."""
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
            self._link.host.frame_came(self._link, frame, now)
