"""Large messages as they come in over one link in pieces, put together again.

The counterpart of outbox.py, which cut them; what a message means is the host's.
"""

from busway.protocol.errors import Refusal
from busway.protocol.link.face import LinkFace
from busway.protocol.link.unfinished import Buffers, Pile
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader
from busway.protocol.wire.messages import Frame, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_OVERHEAD: "Final" = 512  # what an unfinished message costs besides its bytes


class Assembly:
    """A large message whose pieces are coming in. They are not kept one by one, for tiny ones would cost many
    times their size, nor is there room for more than a quarter besides what has come.
    """

    __slots__ = ("_taken", "begun", "buffer", "dropped", "frame", "grown_at", "have", "left", "number")

    def __init__(self, number: int, frame: Frame, size: int, buffer: bytearray, now: int) -> None:
        self.number = number
        self.frame = frame
        self.buffer = buffer
        self._taken = len(buffer)
        self.have = 0
        self.left = size
        self.begun = self.grown_at = now
        self.dropped = False  # what is still to come is read, and not kept

    def add(self, data: bytes, pos: int, stop: int) -> None:
        """More of it: `data` from `pos` to `stop`."""
        have = self.have
        end = have + stop - pos
        if end > len(self.buffer):
            larger = bytearray(min(end + (end >> 2), have + self.left))
            memoryview(larger)[:have] = memoryview(self.buffer)[:have]
            self.buffer = larger
        memoryview(self.buffer)[have:end] = memoryview(data)[pos:stop]
        self.have = end

    def let_go(self, buffers: Buffers) -> None:
        """Nothing of it is needed any more."""
        buffers.give(self.buffer, self._taken)
        self.buffer = bytearray()
        self.have = 0


class Inbox(Pile):
    """The large messages of one link on their way in."""

    __slots__ = ("_link", "assemblies")

    def __init__(self, link: LinkFace) -> None:
        self.size = 0
        self.size_max = 0x7FFFFFFF
        self._link = link
        self.assemblies: "dict[int, Assembly]" = {}

    def begin(self, frame: Frame, options: Options, reader: Reader, now: int) -> None:
        """The first piece of a large message, the rest of `reader`. Raises Refusal."""
        limits = self._link.limits
        number = options.partial
        options.partial = -1
        if options.size > limits.message_size_max:
            text = "a message of %d bytes, but %d were agreed"
            raise Refusal(codes.TOO_LARGE, text % (options.size, limits.message_size_max))
        if number >= limits.partials_max or number in self.assemblies:
            raise Refusal(codes.TOO_MANY, "more large messages at once than were agreed")
        if reader.left() >= options.size:
            raise Refusal(codes.MALFORMED, "a cut message that is none")
        unfinished = self._link.host.unfinished
        assembly = Assembly(number, frame, options.size, unfinished.buffers.take(), now)
        self.assemblies[number] = assembly
        unfinished.grown(self, _OVERHEAD, now)
        self.add(assembly, reader.data, reader.pos, reader.end, now)

    def more(self, reader: Reader, now: int) -> None:
        """MORE came. Raises Refusal."""
        assembly = self.piece(reader.u8(), reader.left())
        self.add(assembly, reader.data, reader.pos, reader.end, now)

    def piece(self, number: int, size: int) -> Assembly:
        """A piece of `size` bytes comes, of which message. Raises Refusal."""
        assembly = self.assemblies.get(number)
        if assembly is None:
            raise Refusal(codes.TOO_MANY, "a piece of no message under way")
        if not 0 < size <= assembly.left:
            raise Refusal(codes.MALFORMED, "a piece that is empty or more than was announced")
        return assembly

    def add(self, assembly: Assembly, data: bytes, pos: int, stop: int, now: int) -> None:
        """`data` from `pos` to `stop` is more of it; its last byte makes it a message. Raises Refusal."""
        size = stop - pos
        unfinished = self._link.host.unfinished
        if not assembly.dropped:
            assembly.add(data, pos, stop)
            assembly.grown_at = now
        assembly.left -= size
        if assembly.left:
            if not assembly.dropped:
                unfinished.grown(self, size, now)
            return
        del self.assemblies[assembly.number]
        if assembly.dropped:
            return
        frame = assembly.frame
        frame.payload = bytes(memoryview(assembly.buffer)[: assembly.have])
        assembly.let_go(unfinished.buffers)
        unfinished.grown(self, size - len(frame.payload) - _OVERHEAD, now)
        if frame.expires:
            frame.expires += now - assembly.begun  # its time counts from its last piece
        self.whole(frame, now)

    def whole(self, frame: Frame, now: int) -> None:
        """A large message has come."""
        self._link.host.frame_came(self._link, frame, now)

    def clear(self, now: int) -> None:
        """The link has ended."""
        unfinished = self._link.host.unfinished
        for assembly in self.assemblies.values():
            if not assembly.dropped:
                assembly.let_go(unfinished.buffers)
        self.assemblies = {}
        unfinished.grown(self, -self.size, now)

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
        unfinished = self._link.host.unfinished
        size = assembly.have
        things = assembly.frame.things()
        if things is not None:
            things.drop()
        assembly.let_go(unfinished.buffers)
        unfinished.grown(self, -size - _OVERHEAD, now)
        self._link.host.frame_given_up(self._link, assembly.frame, now)
