"""Large messages as they come in over one link in pieces, put together again.

The counterpart of outbox.py, which cut them; what a message means is the host's.
"""

from busway.protocol.errors import Refusal
from busway.protocol.link.face import LinkFace
from busway.protocol.link.unfinished import Pile
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader
from busway.protocol.wire.messages import Frame, Options

_OVERHEAD = 512  # what an unfinished message costs besides its bytes


class Assembly:
    """A large message whose pieces are coming in."""

    __slots__ = ("begun", "data", "dropped", "frame", "grown_at", "left")

    def __init__(self, frame: Frame, size: int, first: bytes, now: int) -> None:
        self.frame = frame
        self.data = bytearray(first)  # not a list of pieces: tiny ones would cost many times their size
        self.left = size - len(first)
        self.begun = self.grown_at = now
        self.dropped = False  # what is still to come is read, and not kept


class Inbox(Pile):
    """The large messages of one link on their way in."""

    __slots__ = ("_link", "assemblies")

    def __init__(self, link: LinkFace) -> None:
        self.size = 0
        self.size_max = 0x7FFFFFFF
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
        self._link.host.unfinished.grown(self, len(first) + _OVERHEAD, now)

    def more(self, reader: Reader, now: int) -> None:
        """MORE came. Raises Refusal."""
        number = reader.u8()
        piece = reader.rest()
        assembly = self.assemblies.get(number)
        if assembly is None:
            raise Refusal(codes.TOO_MANY, "a piece of no message under way")
        if not piece or len(piece) > assembly.left:
            raise Refusal(codes.MALFORMED, "a piece that is empty or more than was announced")
        assembly.left -= len(piece)
        if not assembly.left:
            del self.assemblies[number]
        if assembly.dropped:
            return
        assembly.data.extend(piece)
        assembly.grown_at = now
        if assembly.left:
            self._link.host.unfinished.grown(self, len(piece), now)
            return
        frame = assembly.frame
        frame.payload = bytes(assembly.data)
        self._link.host.unfinished.grown(self, len(piece) - len(frame.payload) - _OVERHEAD, now)
        if frame.expires:
            frame.expires += now - assembly.begun  # its time counts from its last piece
        self._link.host.frame_came(self._link, frame, now)

    def clear(self, now: int) -> None:
        """The link has ended."""
        self.assemblies = {}
        self._link.host.unfinished.grown(self, -self.size, now)

    def drop_stalest(self, now: int) -> None:
        stalest: "Assembly | None" = None
        for assembly in self.assemblies.values():
            if not assembly.dropped and (stalest is None or assembly.grown_at < stalest.grown_at):
                stalest = assembly
        assert stalest is not None
        self._drop(stalest, now)

    def drop_stale(self, before: int, now: int) -> None:
        for assembly in list(self.assemblies.values()):
            if not assembly.dropped and assembly.grown_at <= before:
                self._drop(assembly, now)

    def _drop(self, assembly: Assembly, now: int) -> None:
        """Keep nothing of it; whoever sent it hears so."""
        assembly.dropped = True
        size = len(assembly.data)
        assembly.data = bytearray()
        self._link.host.unfinished.grown(self, -size - _OVERHEAD, now)
        self._link.host.frame_given_up(self._link, assembly.frame, now)
