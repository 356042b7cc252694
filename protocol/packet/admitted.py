"""Links of clients whom the program lets in itself: who comes may have to wait for that, and what passes is
counted in both directions and may be heard. Other links load none of it.
"""

from busway.protocol.link.connection import Connection
from busway.protocol.link.face import LinkHost
from busway.protocol.link.fast import FastReader
from busway.protocol.link.inbox import Inbox
from busway.protocol.link.link import Link
from busway.protocol.link.meter import Meter
from busway.protocol.packet.guarded import GuardedConnection
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader
from busway.protocol.wire.hello import Hello, Limits
from busway.protocol.wire.messages import Frame, read_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from busway.protocol.outcomes import Event

    # Whether the one who says that of itself is let in now; False: it waits. Raises Refusal.
    Greet = Callable[[Hello], bool]
    Hear = Callable[[Frame], object]


class Waiting(Exception):
    """Amid a HELLO: its sender has to wait."""


class Door:
    """The door of one link. `greet` and `hear` are its keeper's; None: nobody asks, nobody hears."""

    __slots__ = ("greet", "hear", "hello", "rest", "written")

    def __init__(self) -> None:
        self.greet: "Greet | None" = None
        self.hear: "Hear | None" = None
        self.hello: "bytes | None" = None  # of who waits, with what came right behind it
        self.rest: "list[bytes]" = []  # of the link's bytes, as they came meanwhile
        self.written = Meter()


class LongWay(FastReader):
    """No message goes a short way, for each is heard."""

    __slots__ = ()

    def run(self, head: int, data: bytes, pos: int, start: int, stop: int, end: int, now: int) -> int:
        return pos


class HeardInbox(Inbox):
    """Large messages that are heard once they are whole."""

    __slots__ = ("_door",)

    def __init__(self, link: "AdmittedConnection") -> None:
        super().__init__(link)
        self._door = link.door

    def whole(self, frame: Frame, now: int) -> None:
        if self._door.hear is not None:
            self._door.hear(frame)
        super().whole(frame, now)


class AdmittedConnection(GuardedConnection):
    """As `GuardedConnection`, with a door."""

    def __init__(self, host: LinkHost, link: Link, limits: Limits, now: int) -> None:
        self.door = Door()
        super().__init__(host, link, limits, now)
        self.count()

    def listen(self, hear: "Hear") -> None:
        """Have `hear` called with each message that comes, before anybody gets it. Before the first byte."""
        self.door.hear = hear
        self.fast = LongWay(self)
        self.inbox = HeardInbox(self)

    # Who comes

    def receive_data(self, data: "bytes | bytearray | memoryview", now: int) -> "list[Event]":
        door = self.door
        if door.hello is not None:
            door.rest.append(bytes(data))
            return self.host.take_events()
        try:
            return super().receive_data(data, now)
        except Waiting:
            return self.host.take_events()

    def go_on(self, now: int) -> "list[Event]":
        """Ask about who waits once more, and read on."""
        door = self.door
        hello = door.hello
        if hello is not None and self.state == codes.GREETING:
            rest = door.rest
            door.hello = None
            door.rest = []
            try:
                self._take_in(hello, now)
                if self.channel is not None:
                    self._take_protected(self.channel, b"", now)
            except Waiting:
                pass
            for data in rest:
                self.receive_data(data, now)
        return self.host.take_events()

    def _check_who(self, theirs: Hello) -> None:
        super()._check_who(theirs)
        greet = self.door.greet
        if greet is not None and not greet(theirs):
            raise Waiting

    def _take_in(self, data: bytes, now: int) -> None:
        if self.state != codes.GREETING:
            super()._take_in(data, now)
            return
        whole = b"".join(self._chunks) + data
        try:
            super()._take_in(data, now)
        except Waiting:
            self.door.hello = whole
            self._chunks = []
            self.count().give_back(whole)
            self.host.timers.disarm(self)  # it has said HELLO: how long it waits is its keeper's to say
            raise

    # What passes

    def _message(self, head: int, reader: Reader, now: int) -> None:
        hear = self.door.hear
        if hear is None:
            super()._message(head, reader, now)
            return
        frame = read_frame(head, reader, self.aliases, self.news.reader, now)
        options = frame.options
        if options is not None and options.partial >= 0:
            self.inbox.begin(frame, options, reader, now)
            return
        frame.payload = reader.data[reader.pos : reader.end]
        hear(frame)
        self.host.frame_came(self, frame, now)

    def data_to_send(self, size_max: int, now: int) -> bytes:
        data = super().data_to_send(size_max, now)
        if self.channel is None:
            self.door.written.take(data)
        return data

    def buffers_to_send(self, size_max: int, now: int) -> "list[Any]":
        parts = super().buffers_to_send(size_max, now)
        if self.channel is None:
            for part in parts:
                self.door.written.take(part)
        return parts

    def _stream_to_send(self, size_max: int, now: int) -> bytes:
        data = super()._stream_to_send(size_max, now)
        self.door.written.take(data if len(data) <= size_max else data[:size_max])  # what is more comes again
        return data


def admitted(host: LinkHost, link: Link, nonce: bytes, limits: Limits, now: int) -> Connection:
    """A state machine for a new link of this sort, a stream: for `Node.connection`."""
    link.runs = False  # messages are counted one by one
    return AdmittedConnection(host, link, limits, now)
