"""The one link of a leaf: handshake, framing, keepalive, orderly end. Sans-IO, as connection.py is for
routers.

What messages mean is not known here: they go to the `Leaf` (leaf.py) and come from it.
"""

from busway.protocol.errors import Refusal
from busway.protocol.leaf.frames import Message, read_message, write_message
from busway.protocol.wire import codes
from busway.protocol.wire.aliases import AliasTable
from busway.protocol.wire.control import (
    is_strange,
    is_unknown,
    length_end,
    read_close,
    refuse_length,
    write_close,
)
from busway.protocol.wire.entries import read_route
from busway.protocol.wire.fields import Reader, frame, varint
from busway.protocol.wire.hello import (
    ADDRESSING,
    FLAG_DIALLED,
    FLAG_LEAF,
    agree_keepalive,
    agree_limits,
    check_identity,
    check_role,
    check_version,
    read_hello,
    write_hello,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from busway.protocol.leaf.state import Event


class LeafHost:
    """The face of a leaf towards its connection."""

    bus: str
    label: str
    limits: "tuple[int, int, int, int]"
    key: bytes  # node and incarnation
    link: "LeafConnection | None"
    write_pending: bool  # there may be something to write
    ranked: bool  # a message of another priority than normal has come, or was to go

    def take_events(self) -> "list[Event]":
        """All that happened since the last call."""
        raise NotImplementedError

    def write_lines(self, link: "LeafConnection") -> bytes:
        """DIRECTORY frames that the router has not had yet."""
        raise NotImplementedError

    def next_item(self, link: "LeafConnection", now: int) -> "Message | None":
        """The message to be written next."""
        raise NotImplementedError

    def link_opened(self, link: "LeafConnection", now: int) -> None:
        """The handshake is over."""
        raise NotImplementedError

    def link_closed(self, link: "LeafConnection", by_peer: bool, now: int) -> None:
        """The link has ended."""
        raise NotImplementedError

    def node_gone(self, key: bytes, now: int) -> None:
        """A node cannot be reached any more."""
        raise NotImplementedError

    def arrive(self, link: "LeafConnection", message: Message, reader: Reader, now: int) -> None:
        """A message came, whole. Raises Refusal."""
        raise NotImplementedError


class LeafConnection:
    """The state machine of a leaf's link. Made by `Leaf.connection`; same face as `Connection`."""

    peer_leaf = False
    rtt_ms = -1  # of the last keepalive, -1 before the first
    skipped_frames = 0
    close_code = -1  # the error the link ended with, -1 while it lives
    close_text = ""
    sleeping = b""  # SLEEP: said again behind whatever is written after it
    aliases_in: AliasTable  # all four are there from HELLO on
    aliases_out: AliasTable
    nodes_in: AliasTable
    nodes_out: AliasTable
    _suspect = False
    _asleep = False  # the router neither reads nor writes: nothing is written

    def __init__(self, leaf: LeafHost, link: "Any", now: int) -> None:
        self.leaf = leaf
        # Now: the values of an object lie in one piece, for which a board may have no room later.
        self.peer_key = b""  # node and incarnation at the other end, once that is known
        self.keepalive_ms = 0
        self.number = 0  # counts the sessions of this leaf
        self.state = codes.GREETING
        self.frame_size_max = codes.HELLO_SIZE_MAX  # bytes of a frame's body; from HELLO on what both agreed
        self._in = b""  # the beginning of a frame whose end has not come
        self._goodbye = b""  # CLOSE or SLEEP, behind all messages
        self._partial: "Message | None" = None  # a cut message of ours under way
        self._written = 0  # of its payload, bytes
        self._ping_sent = -1
        self._pong = -1  # token of a PING to answer
        self._my_hello = b""  # it waits for the handshake of a protected link
        self._partials_max = 1
        self.addressing = False  # the router knows labels
        self.link = link  # a Link, or what has its attributes
        self.realm: int = link.realm
        self.message_size_max = leaf.limits[1]
        self.deadline = now + codes.HELLO_TIMEOUT_MS  # ms; -1: none
        flags = FLAG_LEAF | self.realm << 1
        if link.dialled:
            flags |= FLAG_DIALLED
        features = ADDRESSING if link.addressing else 0
        hello = frame(
            write_hello(
                flags, leaf.key, features, leaf.limits, link.keepalive_ms, leaf.bus, leaf.label, link.via
            )
        )
        self._out = b""  # bytes of our stream to be written before anything else
        self.channel: "Any" = None  # of a protected link (secure/channel.py)
        if link.security is None:
            self._out = hello
        else:
            self.state = codes.SECURING
            self._my_hello = hello
            self.channel = link.security.channel(link.sort == "packet", leaf.bus)
            if link.dialled and link.sort != "packet":
                self.channel.begin()
        self.named: "dict[bytes, int]" = {}  # endpoints whose name the router was told
        self._assemblies: "dict[int, Message]" = {}  # cut messages whose pieces are coming in
        self._last_read = now

    # The caller's side

    @property
    def done(self) -> bool:
        """True when nothing will be read or written any more: close the link."""
        return self.state == codes.CLOSED and not self.has_bytes()

    def has_bytes(self) -> bool:
        """Whether there is something that waits for nothing but the link."""
        return bool(self._out or (self.channel is not None and self.channel.out))

    @property
    def wants_write(self) -> bool:
        """Whether `data_to_send` may have something now."""
        return self.has_stream()

    def has_stream(self) -> bool:
        """Whether our stream may have bytes now."""
        if self._asleep:
            return False
        if self.has_bytes():
            return True
        if self.state == codes.OPEN or self._goodbye:
            return bool(self.leaf.write_pending or self._partial or self._goodbye or self._pong >= 0)
        return False

    def receive_data(self, data: "bytes | bytearray | memoryview", now: int) -> "list[Event]":
        """Take in bytes, cut anywhere, at time `now` in ms. Never raises for what they are."""
        if self.state != codes.CLOSED:
            self._last_read = now
            if self._suspect:
                self._suspect = False
            self.take_stream(bytes(data), now)
        return self.leaf.take_events()

    def receive_eof(self, now: int, text: str = "no goodbye") -> "list[Event]":
        """The link ended; `text` says how if it was a failure."""
        if self.state == codes.CLOSING:
            self._end(self.close_code, self.close_text, False, now)
        elif self.state != codes.CLOSED:
            self._end(codes.LOST, text, False, now)
        self.stop()
        return self.leaf.take_events()

    def stop(self) -> None:
        """Nothing more leaves."""
        self._out = b""
        if self.channel is not None:
            self.channel.out = b""

    def next_deadline(self) -> int:
        """When `fire` is due, in ms; -1: never."""
        return self.deadline

    def data_to_send(self, size_max: int, now: int) -> bytes:
        """At most `size_max` bytes to write now; b"" if there is nothing. Ask when the link can take them."""
        return self.bytes_to_send(size_max, now)

    def bytes_to_send(self, size_max: int, now: int) -> bytes:
        """Our stream, in records where the link is protected."""
        if self.channel is None:
            return self.stream_to_send(size_max, now)
        data: bytes = self.channel.write(self.stream_to_send, size_max, now)
        return data

    def stream_to_send(self, size_max: int, now: int) -> bytes:
        """At most `size_max` bytes of our stream."""
        if self._asleep:
            return b""
        data = self._out
        if self.state == codes.OPEN or self._goodbye:
            while len(data) < size_max:
                more = self._next(now)
                if not more:
                    break
                data += more
                if more is not self.sleeping and self.state == codes.OPEN:
                    self._goodbye = self.sleeping
        if len(data) > size_max:
            head = data[:size_max]  # first: without memory for it nothing has left
            self._out = data[size_max:]
            return head
        self._out = b""
        return data

    def _next(self, now: int) -> bytes:
        """The next frame, late: what it says and whose numbers it uses is settled here."""
        if self._pong >= 0:
            body = bytes((codes.PONG,)) + varint(self._pong)
            self._pong = -1
            return frame(body)
        item = self._partial
        tables = (self.aliases_out, self.nodes_out, self.named)
        at = self._written
        whole_max = self.frame_size_max - codes.HEADER_SIZE_MAX
        if item is not None:  # between the pieces of a cut message a leaf sends only what is more urgent
            other = None
            if self.leaf.ranked:
                from busway.protocol.leaf.priorities import passing

                other = passing(self.leaf, self, now, item, whole_max)
            if other is not None:
                body = write_message(other, tables, self.peer_key, now, False)
                return frame(body + other.payload)
            body = bytes((codes.MORE, 0))
        else:
            body = self.leaf.write_lines(self)
            if body:
                return body
            item = self.leaf.next_item(self, now)
            if item is None:
                body = self._goodbye
                self._goodbye = b""
                if body and self.state == codes.CLOSING:
                    self.deadline = now + codes.CLOSING_MS
                return body
            # This bound is for the longest header, with a name: what a shorter one would let fit is cut, too.
            cut = len(item.payload) > whole_max
            body = write_message(item, tables, self.peer_key, now, cut)
            if not cut:
                return frame(body + item.payload)
            at = 0
        stop = at + self.frame_size_max - len(body)
        if self.frame_size_max <= codes.PACKET_FRAME_SIZE_SLOW:  # a packet each, so that others may pass
            stop = min(stop, at + (codes.PACKET_PIECE_SIZE_SLOW if at else whole_max))
        if not at:
            stop = min(stop, len(item.payload) - 1)
        self._written = stop
        self._partial = item if stop < len(item.payload) else None
        return frame(body + item.payload[at:stop])

    def close(self, now: int, code: int = codes.GOODBYE, text: str = "") -> None:
        """End the link in order: everything queued is written first, unless the router sleeps."""
        from busway.protocol.leaf.closing import close_link

        close_link(self, now, code, text)

    def _fail(self, code: int, text: str, now: int) -> None:
        """End the link now, telling the peer why."""
        if self.state != codes.CLOSING or self._goodbye:
            self._out += write_close(code, text)
        self._end(code, text, False, now)

    def cut_off(self, now: int, code: int, text: str) -> None:
        """End the link though the peer does nothing wrong in form. If memory ran out meanwhile, call it
        again."""
        self._in = b""
        self._assemblies.clear()
        if self.state != codes.CLOSED:
            self._fail(code, text, now)
        elif self.leaf.link is self:
            self._end(code, text, False, now)  # it was interrupted

    def _end(self, code: int, text: str, by_peer: bool, now: int) -> None:
        """Into CLOSED: the one place where a link ends."""
        self.state = codes.CLOSED
        self.close_code = code
        self.close_text = text
        self.deadline = -1
        self._asleep = False
        self._in = self._goodbye = b""
        self._assemblies = {}
        self._partial = None
        self.leaf.link_closed(self, by_peer, now)

    # Reading

    def take_stream(self, data: bytes, now: int) -> None:
        """The next bytes that came: of the peer's stream, or of the handshake and records that hold it."""
        channel = self.channel
        if channel is None:
            self.take_in(data, now)
            return
        more = True
        while more and self.state != codes.CLOSED:
            plaintext = channel.receive(data)
            data = b""
            more = channel.more
            if self.state == codes.SECURING and channel.secured:
                self.state = codes.GREETING
            if channel.ready and self._my_hello:
                channel.say(self._my_hello)
                self._my_hello = b""
            self.take_in(plaintext, now)
            failure = channel.refusal
            if failure is not None and self.state != codes.CLOSED:
                self._fail(failure.code, failure.text, now)

    def take_in(self, data: bytes, now: int) -> None:
        """The next bytes of the peer's stream: all whole frames in it; the rest is kept. A length is judged
        before its frame is waited for."""
        if data and self._asleep:
            self._asleep = False
        if self._in:
            data = self._in + data
            self._in = b""  # a board has no room for it twice
        try:
            pos = 0
            while self.state != codes.CLOSED:
                at = length_end(data, pos, len(data))
                if not at:
                    break
                reader = Reader(data, pos, at)
                length = reader.varint()
                if not 0 < length <= self.frame_size_max:
                    refuse_length(length, self.frame_size_max)
                if self.state == codes.GREETING and is_strange(data[at : at + 5]):
                    raise Refusal(codes.NOT_BUSWAY, "the other side does not speak Busway")
                reader.end = at + length
                if reader.end > len(data):
                    break
                pos = reader.end
                self._frame(reader.u8(), reader, now)
            if self.state != codes.CLOSED:
                self._in = data[pos:]
        except Refusal as refusal:
            self._fail(refusal.code, refusal.text, now)

    def _frame(self, head: int, reader: Reader, now: int) -> None:
        state = self.state
        if head == codes.CLOSE:
            self._close_read(reader, now)
            return
        if head == codes.HELLO and state == codes.GREETING:
            self._hello_read(reader, now)
            return
        if head == codes.HANDSHAKE and state == codes.GREETING:
            check_version(reader)
            raise Refusal(codes.TOKEN, "the other side protects this link: give this side the token or a key")
        if is_unknown(head):
            if head < codes.IGNORABLE:
                raise Refusal(codes.UNKNOWN_FRAME, "a frame of kind 0x%02x, which must be known" % head)
            self.skipped_frames += 1
            return
        if state < codes.OPEN or head <= codes.HANDSHAKE:
            raise Refusal(codes.BAD_STATE, "a frame of kind %d in state %d" % (head, state))
        if head >= codes.MESSAGE:
            self._message(head, reader, now)
            return
        if head == codes.PING:
            self._pong = reader.varint()  # of several that come together the last is answered
        elif head == codes.PONG:
            if reader.varint() == self._ping_sent & 0x0FFFFFFF and self._ping_sent >= 0:
                self.rtt_ms = now - self._ping_sent
                self._ping_sent = -1
        elif head == codes.MORE:
            self._more(reader, now)
        elif head == codes.ROUTES:
            self._routes(reader, now)
        elif head == codes.SYNC:
            reader.u8()  # a leaf has nothing to wait for: it asks
        elif head == codes.SLEEP:
            ms = min(reader.varint(), codes.SLEEP_MAX_MS)
            self._last_read = now + ms  # silence counts from then on
            self._asleep = ms > 0 and reader.end == len(reader.data)  # what follows ends it
        else:
            self._directory(reader)
        if reader.left():
            raise Refusal(codes.MALFORMED, "bytes behind a frame's last field")

    def _directory(self, reader: Reader) -> None:
        """A leaf is sent none: what comes all the same is read for its numbers and its faults."""
        from busway.protocol.wire.lines import read_entry, read_line

        self.skipped_frames += 1
        read_line(reader, self.nodes_in)
        while reader.left():
            read_entry(reader)

    def _routes(self, reader: Reader, now: int) -> None:
        """A router tells a leaf one thing: that a node is gone. The rest is read for its numbers."""
        while reader.left():
            kind, key, number, _, _ = read_route(reader, self.nodes_in)
            if kind == codes.RETRACT or kind == codes.DEPARTED:
                self.leaf.node_gone(key, now)
            elif kind == codes.ACK and number:
                raise Refusal(codes.MALFORMED, "more acknowledged than was sent")

    # Handshake

    def _hello_read(self, reader: Reader, now: int) -> None:
        leaf = self.leaf
        flags, self.peer_key, features, limits, keepalive_ms, bus, _, _ = read_hello(reader)
        self.addressing = self.link.addressing and features & ADDRESSING != 0
        check_identity(leaf.bus, leaf.key, bus, self.peer_key)
        if self.link.sort != "packet":
            check_role(self.link.dialled, flags & FLAG_DIALLED != 0)
        limits = agree_limits(leaf.limits, limits)
        self.frame_size_max, self.message_size_max, aliases_max, self._partials_max = limits
        self.keepalive_ms = agree_keepalive(self.link.keepalive_ms, keepalive_ms)
        if flags & FLAG_LEAF:
            self.peer_leaf = True
        self.realm = max(self.realm, flags >> 1 & 3)
        self.aliases_in = AliasTable(aliases_max)
        self.aliases_out = AliasTable(aliases_max)
        aliases_max = max(3, aliases_max)
        self.nodes_in = AliasTable(aliases_max, (self.peer_key, leaf.key), codes.KEY_SIZE)
        self.nodes_out = AliasTable(aliases_max, (leaf.key, self.peer_key), codes.KEY_SIZE)
        if self.channel is not None:
            self.channel.agreed(self.frame_size_max)
        self.state = codes.OPEN
        self.deadline = now + self.keepalive_ms if self.keepalive_ms else -1
        leaf.link_opened(self, now)

    # The end

    def _close_read(self, reader: Reader, now: int) -> None:
        code, text = read_close(reader)
        if self.state == codes.CLOSING:
            self._out += self._goodbye
            self._end(self.close_code, self.close_text, False, now)
        else:
            self._out += write_close(code, "")
            self._end(code, text, True, now)

    # Time

    def fire(self, now: int) -> None:
        """The deadline has come: for HELLO, for the peer's CLOSE, or for silence, by state."""
        interval = self.keepalive_ms
        silent = now - self._last_read
        if self.state < codes.OPEN:
            self._fail(codes.HELLO_TIMEOUT, "no HELLO", now)
        elif self.state == codes.CLOSING:
            self._end(self.close_code, self.close_text, False, now)
        elif silent < interval:
            self.deadline = self._last_read + interval
        elif silent < interval * codes.SILENT_INTERVALS or not self._suspect:
            # A board may have been busy meanwhile: it reads what has arrived before it judges.
            if not self._suspect and silent >= interval * codes.SILENT_INTERVALS:
                self._suspect = True
            self._ping_sent = now
            self._out += frame(bytes((codes.PING,)) + varint(now & 0x0FFFFFFF))
            self.deadline = now + (max(1, interval // 4) if self._suspect else interval)
        else:
            self._fail(codes.SILENT, "silent for %d ms" % silent, now)

    # Messages

    def _message(self, head: int, reader: Reader, now: int) -> None:
        message = read_message(head, reader, self.aliases_in, self.nodes_in)
        number = message.partial
        if number < 0:
            self.leaf.arrive(self, message, reader, now)
            return
        if message.size > self.message_size_max:
            raise Refusal(
                codes.TOO_LARGE,
                "a message of %d bytes, but %d were agreed" % (message.size, self.message_size_max),
            )
        if number >= self._partials_max or number in self._assemblies:
            raise Refusal(codes.TOO_MANY, "more large messages at once than were agreed")
        if reader.left() >= message.size:
            raise Refusal(codes.MALFORMED, "a cut message that is none")
        message.payload = reader.rest()
        self._assemblies[number] = message

    def _more(self, reader: Reader, now: int) -> None:
        number = reader.u8()
        message = self._assemblies.get(number)
        if message is None:
            raise Refusal(codes.TOO_MANY, "a piece of no message under way")
        piece = reader.rest()
        payload = message.payload + piece
        if not piece or len(payload) > message.size:
            raise Refusal(codes.MALFORMED, "a piece that is empty or more than was announced")
        message.payload = payload
        if len(payload) == message.size:
            del self._assemblies[number]
            self.leaf.arrive(self, message, Reader(payload, 0, len(payload)), now)
