"""One link's state machine: handshake, framing, keepalive, orderly end. Sans-IO: bytes and times in, events
and bytes out.

What messages mean is not known here: they go to the host, and come from outbox.py.
"""

from busway.protocol.errors import LocalError, Refusal
from busway.protocol.link.face import LinkHost, Waiter
from busway.protocol.link.fast import FastReader
from busway.protocol.link.greeting import (
    agree_aside,
    agree_features,
    check_leaf,
    check_who,
    hello_of,
    refuse_handshake,
)
from busway.protocol.link.inbox import Assembly, Inbox
from busway.protocol.link.keepalive import Keepalive, token_of
from busway.protocol.link.link import Link
from busway.protocol.link.sending import SendingLink
from busway.protocol.link.states import AGREED, ENDED, LEAVING, NEXT, SECURED
from busway.protocol.wire import codes
from busway.protocol.wire.aliases import AliasTable
from busway.protocol.wire.control import length_end, read_close, refuse_length, write_close
from busway.protocol.wire.fields import Reader, frame, varint
from busway.protocol.wire.hello import Hello, Limits, agree_keepalive, agree_limits, read_hello
from busway.protocol.wire.messages import Frame, Options, read_frame
from busway.protocol.wire.strangers import check_stranger, stranger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from busway.protocol.outcomes import Event
    from busway.protocol.secure.channel import Channel
    from busway.protocol.secure.security import Security

_LIVE: "Final" = 1 << codes.OPEN | 1 << codes.CLOSING
_PIECE_MIN: "Final" = 4096  # bytes of a piece from which on it is handed on as it comes
_JOINED_MAX: "Final" = 2048  # bytes of a buffer, on the average, below which they are joined
_RESUME_BURST: "Final" = 16  # messages that one flow may send before the next that waits for the same link


class Connection(SendingLink):
    """The state machine of one link. Made by `Node.connection`.

    Feed it with `receive_data` and `receive_eof`, write what `data_to_send` gives, and close the link when
    `done`.
    """

    def __init__(self, host: LinkHost, link: Link, limits: Limits, now: int) -> None:
        super().__init__(host, link, limits, now)
        self.channel: "Channel | None" = None
        self.role = codes.ROLE_ROUTER  # in which the other side may come
        self._held: "list[bytes]" = []  # what came while a link that lost to this one is read
        self._held_size = 0
        self._more = False  # the last write did not take all that there was
        self.fast = FastReader(self)
        self.inbox = Inbox(self)
        self.best_effort = False  # what is read now came in a packet that is not repeated
        self._to_leaf = False  # as its HELLO says
        self._my_hello = hello_of(host, link, limits)
        self._goodbye = b""  # CLOSE frame to be written when the outbox allows
        self._drains_first = False  # ... only after all queued messages
        self._chunks: "list[bytes]" = []  # an incomplete frame, as it came
        self._have = 0
        self._need = 0
        self._assembly: "Assembly | None" = None  # of which a piece is coming in
        self.piece_left = 0  # bytes of it that are to come
        self.keepalive = Keepalive(self, now)
        self._pong = -1  # token of a PING to answer
        if link.security is None:
            self._say_hello()
        else:
            self.state = codes.SECURING
            if link.sort != "packet":  # else it is chosen once somebody is there
                self._protect(link.security, link.dialled)
        host.timers.arm(self, now + codes.HELLO_TIMEOUT_MS)
        self.touch()

    def __repr__(self) -> str:
        return "<link over %s to %r, %s>" % (
            self.link.address or self.link.medium or self.link.sort,
            self.peer,
            codes.STATE_NAMES[self.state],
        )

    def _protect(self, security: "Security", begins: bool) -> None:
        """Begin the handshake of what protects the link; `begins`: this side is the initiator."""
        self.channel = security.channel(self.link.sort == "packet", self.host.bus)
        if begins:
            self.channel.begin()

    # The caller's side

    @property
    def done(self) -> bool:
        """True when nothing will be read or written any more: close the link."""
        return self.state == codes.CLOSED and not self._has_bytes()

    def _has_bytes(self, opened: bool = False) -> bool:
        """Whether there is something that waits for nothing but the link, or messages if that is `opened`."""
        return self.outbox.has_bytes(opened) or (self.channel is not None and bool(self.channel.out))

    @property
    def wants_write(self) -> bool:
        """Whether `data_to_send` has something now."""
        if self.asleep_until >= 0 or not (self.flush_wanted or self._more):
            return False
        return (self.flush_wanted and self.state == codes.OPEN) or self.stream_wants_write()

    def stream_wants_write(self) -> bool:
        """Whether the stream may have bytes now."""
        if self.state == codes.OPEN:
            return self._has_bytes(True) or self._pong >= 0
        return self._has_bytes() or (self.state == codes.CLOSING and bool(self._goodbye))

    @property
    def takes_things(self) -> bool:
        """Whether things may come beside the bytes, so that who reads has to take them: from the first byte
        on, as long as both sides may do so.
        """
        return self.beside is not None

    def receive_things(self, things: "list[Any]", now: int) -> None:
        """These came beside the bytes that the next `receive_data` gets, at `now` in ms. Never raises for
        what a peer sent; what it means, that call returns.
        """
        beside = self.beside
        if not things or self.state == codes.CLOSED:
            return
        if beside is None:
            self.fail(codes.MALFORMED, "files or regions on a link that takes none", now)
        else:
            beside.came(things)
            if beside.is_flooded() and self.waits_for is not None:
                self.catch_up(now)  # as in `_hold`: the frames that they belong to are there
            if beside.is_flooded():
                self.fail(codes.TOO_MANY, "more files and regions than the frames say", now)

    def things_to_send(self) -> "list[Any]":
        """All that goes beside what `data_to_send` or `buffers_to_send` has just given, with its first byte:
        at most 190, [] if there is nothing.
        """
        return [] if self.beside is None else self.beside.leave()

    def receive_data(self, data: "bytes | bytearray | memoryview", now: int) -> "list[Event]":
        """Take in bytes, cut anywhere, at `now` in ms. Never raises for them; returns what happened."""
        if self.state == codes.CLOSED:
            return self.host.take_events()
        raw = data if isinstance(data, bytes) else bytes(data)
        self.last_read = now
        self.bytes_in += len(raw)
        if self.asleep_until >= 0 and raw:  # no bytes are nothing that it sent
            self.asleep_until = -1
            self.touch()
        if self.channel is not None:
            self._take_protected(self.channel, raw, now)
        elif self.waits_for is not None:
            self._hold(raw, now)
        else:
            self._take_in(raw, now)
        return self.host.take_events()

    def _take_protected(self, channel: "Channel", data: bytes, now: int) -> None:
        """Read from a link that has a handshake, then records."""
        more = True
        while more and self.state != codes.CLOSED:
            plaintext = channel.receive(data)
            data = b""
            more = channel.more
            if self.state < codes.OPEN:
                try:
                    self._secure(channel)
                except Refusal as refusal:
                    self.fail(refusal.code, refusal.text, now)
                    return
            if plaintext:
                if self.waits_for is not None:
                    self._hold(plaintext, now)
                else:
                    self._take_in(plaintext, now)
            failure = channel.refusal
            if failure is not None:
                self.fail(failure.code, failure.text, now)

    def _secure(self, channel: "Channel") -> None:
        """Go on where the handshake has got to. Raises Refusal."""
        if self.state == codes.SECURING and (channel.secured or channel.plain):
            self._go(SECURED)
            self.role = channel.security.admit(channel.handshake)
            self.host.link_state_changed(self)
            if channel.plain:
                self.channel = None
                self._say_hello()
        if channel.ready and self._my_hello:
            channel.say(frame(self._my_hello))
            self._my_hello = b""
        if channel.out:
            self.touch()

    def _say_hello(self) -> None:
        self.outbox.control.append(frame(self._my_hello))
        self._my_hello = b""
        self.touch()

    def _take_in(self, data: bytes, now: int) -> None:
        """Joins what completes a frame with what there was of it, and no more of `data`: most of a large read
        is not copied once more.
        """
        pos = 0
        end = len(data)
        try:
            if self._assembly is not None:
                pos = self._go_on_with(self._assembly, data, now)
            while self._chunks and pos < end:
                stop = end if self.state == codes.GREETING else min(end, pos + self._need - self._have)
                self._chunks.append(data[pos:stop])
                self._have += stop - pos
                pos = stop
                if self._have < self._need:
                    return
                first = b"".join(self._chunks)
                self._chunks = []
                self._parse(first, 0, now)
            if pos < end and self.state != codes.CLOSED:
                self.asleep_until = -1  # whatever follows ends a sleep
                self._parse(data, pos, now)
        except Refusal as refusal:
            self.fail(refusal.code, refusal.text, now)

    def _go_on_with(self, assembly: Assembly, data: bytes, now: int) -> int:
        """More of a piece; returns where it ends. Raises Refusal."""
        stop = min(len(data), self.piece_left)
        self.piece_left -= stop
        if not self.piece_left:
            self._assembly = None
        self.inbox.add(assembly, data, 0, stop, now)
        return stop

    def _hold(self, data: bytes, now: int) -> None:
        """Keep what came while the link that lost has not been read to its end; a peer that floods gives up
        its order.
        """
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size > codes.QUEUE_SIZE_MAX:
            self.catch_up(now)

    def catch_up(self, now: int) -> None:
        """The link that lost to this one has ended, or is not waited for any more."""
        self.waits_for = None
        data = b"".join(self._held)
        self._held = []
        self._held_size = 0
        if data:
            self._take_in(data, now)

    def receive_eof(self, now: int, text: str = "the connection ended without a goodbye") -> "list[Event]":
        """The link ended; `text` says how if it was a failure."""
        self.catch_up(now)
        if self.state != codes.CLOSED:
            if self.state == codes.CLOSING:
                self._end(self.close_code, self.close_text, False, now)
            else:
                self._end(codes.LOST, text, False, now)
        self._drop_bytes(now)
        return self.host.take_events()

    def _drop_bytes(self, now: int) -> None:
        """Nothing more leaves."""
        if self.channel is not None:
            self.channel.out = b""
        self.outbox.control = []
        self.outbox.write(0x7FFFFFFF, False, False, now)

    def data_to_send(self, size_max: int, now: int) -> bytes:
        """At most `size_max` bytes to write now; b"" if there is nothing. Ask when the link can take them."""
        if self.flush_wanted:
            self.flush_wanted = False
        elif not self._more:
            return b""
        if self.asleep_until >= 0:
            return b""
        if self.channel is None:
            parts = self._stream_parts(size_max, now)
            data = b"".join(parts) if self.outbox.size <= size_max else self.outbox.joined(parts, size_max)
        else:
            data = self.channel.write(self._stream_to_send, size_max, now)
        self._more = len(data) == size_max or bool(self.broadcasts.items)
        self.bytes_out += len(data)
        return data

    def buffers_to_send(self, size_max: int, now: int) -> "list[Any]":
        """As `data_to_send`, for those who write several buffers at once (writev): bytes and views of bytes
        to be written in order, BUFFERS_MAX at the most, [] if there is nothing. So what is large is not
        copied, nor is the last frame cut: all together they may exceed `size_max` by one.
        """
        if self.flush_wanted:
            self.flush_wanted = False
        elif not self._more:
            return []
        if self.asleep_until >= 0:
            return []
        if self.channel is None:
            self.outbox.views = True
            parts = self._stream_parts(size_max, now)
            size = self.outbox.size
        else:
            size_max = min(size_max, self.channel.record_size)  # several would only lie about in memory
            parts = self.channel.write_buffers(self._stream_to_send, size_max, now)
            size = sum([len(part) for part in parts])
        self._more = size >= size_max or bool(self.broadcasts.items)
        self.bytes_out += size
        if size < len(parts) * _JOINED_MAX or len(parts) > codes.BUFFERS_MAX:
            return [b"".join(parts)] if size else []
        return parts

    def _stream_to_send(self, size_max: int, now: int) -> bytes:
        return self.outbox.joined(self._stream_parts(size_max, now), size_max)

    def _stream_parts(self, size_max: int, now: int) -> "list[Any]":
        """The bytes to be written, `outbox.size` of them."""
        said_goodbye = self.state == codes.CLOSING and not self._goodbye
        if self._pong >= 0 and not said_goodbye:  # CLOSE is the last frame of a direction
            self.outbox.control.append(frame(bytes((codes.PONG,)) + varint(self._pong)))
            self._pong = -1
        opened = self.state == codes.OPEN or bool(self._goodbye)
        parts = self.outbox.take(
            size_max, opened, self.state == codes.CLOSING and not self._drains_first, now
        )
        if self._goodbye and self.outbox.size < size_max and not self._is_cut_short():
            parts.append(self._say_goodbye(now))
        if self._room_waiters.items and self.queue.size <= codes.QUEUE_LOW:
            self._resume(now)
        if self._broadcast_waiters or self.lagging or self.backlog.kept or self.backlog.skipped:
            self.backlog.catch_up(now)
        return parts

    def _is_cut_short(self) -> bool:
        """Whether messages wait for nothing but that things which belong to others are handed over."""
        return self.beside is not None and self.beside.is_full()

    def _resume(self, now: int) -> None:
        """There is room: those who wait for it go on, in turn."""
        waiters = self._room_waiters
        waiters.items = waiters.drain()
        while len(waiters) and self.has_room():
            waiter: Waiter = waiters.pop()
            waiter.resume(now, _RESUME_BURST)

    def _say_goodbye(self, now: int) -> bytes:
        # There is room left, so all that goes before it has been written.
        assert not self.outbox.in_pieces() and not (self._drains_first and self.outbox.has_messages())
        goodbye = self._goodbye
        self._goodbye = b""
        self.outbox.size += len(goodbye)
        self.host.timers.arm(self, now + codes.CLOSING_MS)
        return goodbye

    def close(self, now: int, code: int = codes.GOODBYE, text: str = "", drain: bool = True) -> None:
        """End the link in order: with `drain` everything queued is written first, else it is left to the
        node. Nobody waits for a sleeper: that link ends at once.
        """
        if self.state < codes.OPEN or self.asleep_until >= 0:
            self.fail(code, text, now)
        elif self.state == codes.OPEN:
            self._go(LEAVING)
            self.host.link_state_changed(self)
            self.close_code = code
            self.close_text = text
            self._goodbye = write_close(code, text)
            self._drains_first = drain
            if not drain:
                self.host.timers.arm(self, now + codes.CLOSING_MS)
            self.touch()

    def fail(self, code: int, text: str, now: int) -> None:
        """End the link now, telling the peer why."""
        if self.state == codes.CLOSED:
            return
        if self.state != codes.CLOSING or self._goodbye:
            self.outbox.control.append(write_close(code, text))
        self._end(code, text, False, now)

    def _go(self, what: int) -> None:
        """The one place where the state changes: by the table (states.py)."""
        self.state = NEXT[self.state, what]

    def set_cost(self, cost: int, now: int) -> None:
        """The link costs something else now, 1 to 16382, as seen from this side. Raises LocalError."""
        if not 1 <= cost <= 16382:
            raise LocalError("a link's cost must be 1 to 16382, not %r" % cost)
        self.cost = cost
        if self.opened_at >= 0 and self.state != codes.CLOSED:
            self.host.cost_changed(self, now)

    def measured(self, cost: int, now: int) -> None:
        """A measurement says that the link costs that: taken over only if it is half or twice what held, so
        that small changes disturb nobody.
        """
        if cost * 2 <= self.cost or cost >= self.cost * 2:
            self.set_cost(cost, now)

    # For the rooms above

    def bound_unfinished(self, size_max: int) -> None:
        self.inbox.size_max = size_max

    def nodes_max(self) -> int:
        if self.host.identity.leaf or self._to_leaf:
            return max(3, self.limits.aliases_max)
        return codes.ROUTES_MAX

    # Reading

    def _parse(self, data: bytes, pos: int, now: int) -> None:
        """All whole frames in `data` from `pos` on; the rest is kept. One loop over offsets (style: 331 ns a
        frame).
        """
        end = len(data)
        need = 1
        while pos < end:
            length = data[pos]
            start = pos + 1
            if length >= 0x80:
                start = length_end(data, pos, end)
                if not start:
                    need = end - pos + 1
                    break
                if start - pos == 3:
                    length = length & 0x7F | (data[pos + 1] & 0x7F) << 7 | data[pos + 2] << 14
                else:
                    length = Reader(data, pos, start).varint()
            if length > self.frame_max or not length:
                refuse_length(length, self.frame_max)
            stop = start + length
            if stop > end:
                need = stop - pos
                if self.state == codes.GREETING:
                    check_stranger(data, start, end)
                    need = end - pos + 1  # 512 bytes at the most: looked at again with each that comes
                elif length > _PIECE_MIN and start + 2 < end and data[start] == codes.MORE:
                    self._assembly = self.inbox.piece(data[start + 1], length - 2)
                    self.piece_left = stop - end
                    self.inbox.add(self._assembly, data, start + 2, end, now)
                    return
                break
            head = data[start]
            if head >= codes.MESSAGE and not head & codes.HEAD_OPTIONS:  # might go a short way
                after = self.fast.run(head, data, pos, start, stop, end, now)
                if after > pos:
                    pos = after
                    continue
            elif head == codes.MORE and length > _PIECE_MIN and 1 << self.state & _LIVE:
                self.inbox.add(self.inbox.piece(data[start + 1], length - 2), data, start + 2, stop, now)
                pos = stop
                continue
            elif head == codes.RUN and self.runs and self.fast.together(data, start + 1, stop, now):
                pos = stop
                continue
            self._frame(head, data, start + 1, stop, now)
            if self.state == codes.CLOSED:
                return
            pos = stop
            if self.waits_for is not None:  # since this frame, a HELLO
                if pos < end:
                    self._hold(data[pos:], now)
                return
        if pos < end:
            self._chunks = [data[pos:] if pos else data]
            self._have = end - pos
            self._need = need

    def _frame(self, head: int, data: bytes, pos: int, stop: int, now: int) -> None:
        """Any frame, by the table."""
        reader = Reader(data, pos, stop)
        if head >= codes.MESSAGE:
            if not 1 << self.state & _LIVE:
                raise Refusal(codes.BAD_STATE, "a message before the handshake was over")
            self._message(head, reader, now)
            return
        row = _FRAMES.get(head)
        if row is None or (head == codes.RUN and not self.runs):
            if head >= codes.IGNORABLE and self.state != codes.GREETING:
                self.skipped_frames += 1
                return
            if self.state == codes.GREETING:
                raise stranger(data, pos - 1)
            raise Refusal(codes.UNKNOWN_FRAME, "a frame of kind 0x%02x, which must be known" % head)
        handler, states = row
        if not 1 << self.state & states:
            raise Refusal(
                codes.BAD_STATE, "a frame of kind %d in state %s" % (head, codes.STATE_NAMES[self.state])
            )
        handler(self, reader, now)

    def _message(self, head: int, reader: Reader, now: int) -> None:
        """A message frame, its head read."""
        start = reader.pos - 1
        frame = read_frame(head, reader, self.aliases, self.news.reader, now)
        if self.best_effort:
            frame.options = frame.options or Options()
            frame.options.best_effort = True
        options = frame.options
        if options is not None and options.partial >= 0:
            self._attach(frame, options)
            self.inbox.begin(frame, options, reader, now)
            return
        pos = reader.pos
        frame.payload = reader.data[pos : reader.end]
        if options is not None:
            self._attach(frame, options)
        route = frame.route  # as it was read: what is passed on gets another
        self.host.frame_came(self, frame, now)
        if (head & 0xEC == 0x88 or head & 0xFC == 0x90) and frame.format != codes.TYPED:
            self.fast.learn(reader.data[start : pos - 2], frame, route)

    def _attach(self, frame: Frame, options: Options) -> None:
        """Give a frame what came beside it. Raises Refusal."""
        things = options.things
        if things is None:
            return
        if self.beside is None:
            raise Refusal(codes.MALFORMED, "files or regions on a link that takes none")
        if things.description and options.partial >= 0:
            raise Refusal(codes.MALFORMED, "a cut message in shared memory")
        self.beside.attach(frame, things, self.limits.message_size_max)

    # Handshake

    def _handle_handshake(self, reader: Reader, now: int) -> None:
        refuse_handshake(reader)

    def _handle_hello(self, reader: Reader, now: int) -> None:
        host = self.host
        theirs = Hello(*read_hello(reader))
        self._check_who(theirs)
        self._to_leaf = theirs.leaf
        limits = self.limits = Limits(*agree_limits(self.limits.values(), theirs.limits))
        self.realm = max(self.realm, theirs.realm)
        self.keepalive_ms = agree_keepalive(self.link.keepalive_ms, theirs.keepalive_ms)
        self.via = self.link.via or theirs.via
        self.frame_max = limits.frame_size_max
        if self.channel is not None:
            self.channel.agreed(limits.frame_size_max, theirs.features & self.link.security.features)
            self.outbox.cuts = False  # what is sealed is a copy anyway
        self.aliases = AliasTable(limits.aliases_max)
        self.lookups = self.link.lookups or theirs.lookups or host.identity.leaf or theirs.leaf
        self.runs, self.addressing = agree_features(self.link, theirs)
        self._agree_aside(theirs)
        both = (self.runs, self.addressing)
        self.outbox.agreed(limits, host.identity.key, theirs.key, self.nodes_max(), both)
        self.nodes = self.outbox.nodes
        self._go(AGREED)
        self.opened_at = now
        host.timers.disarm(self)
        if self.keepalive_ms:
            host.timers.arm(self, now + self.keepalive_ms)
        self.touch()
        host.link_opened(self, theirs, now)

    def _agree_aside(self, theirs: Hello) -> None:
        """Whether things go beside the bytes from now on. Raises Refusal."""
        beside = self.beside
        self.aside_on = agree_aside(self.link, theirs)
        if self.aside_on:
            self.outbox.beside = beside
            self.queue.announces = self.broadcasts.announces = True
        elif beside is not None:
            self.beside = None
            if beside.waiting():
                raise Refusal(codes.MALFORMED, "files or regions on a link that takes none")

    def _check_who(self, theirs: Hello) -> None:
        """Whether the other side may be who it says, and may be here. Raises Refusal."""
        handshake = None if self.channel is None else self.channel.handshake
        check_who(self.host, self.link, self.realm, handshake, theirs)
        self.check_role(theirs)

    def check_role(self, theirs: Hello) -> None:
        """Whether the other side is what it may be. Raises Refusal."""
        if self.role == codes.ROLE_LEAF:
            check_leaf(theirs.leaf)

    # The end

    def _handle_close(self, reader: Reader, now: int) -> None:
        code, text = read_close(reader)
        if self.state == codes.CLOSING:
            if self._goodbye:
                self.outbox.control.append(self._goodbye)
                self._goodbye = b""
            self._end(self.close_code, self.close_text, False, now)
        else:
            self.outbox.control.append(write_close(code, ""))
            self._end(code, text, True, now)

    def _end(self, code: int, text: str, by_peer: bool, now: int) -> None:
        """Into CLOSED: the one place where a link ends."""
        opened = self.opened_at >= 0
        self._go(ENDED)
        self.close_code = code
        self.close_text = text
        self._goodbye = b""
        self._pong = -1
        self.asleep_until = -1
        self._chunks = []
        self._assembly = None
        self.inbox.clear(now)
        if self.beside is not None:
            self.beside.clear()
        self.waits_for = None
        self._held = []
        self.host.timers.disarm(self)
        self.touch()
        self.host.link_closed(self, opened, by_peer, now)

    # Keepalive

    def fire(self, now: int) -> None:
        """The link's timer: for HELLO, for the peer's CLOSE, or for silence, by state."""
        if self.state < codes.OPEN:
            self.fail(codes.HELLO_TIMEOUT, "no HELLO within 5 seconds", now)
        elif self.state == codes.OPEN or (self._goodbye and self._drains_first):
            self.say(self.keepalive.look(now))
        else:
            self._end(self.close_code, self.close_text, False, now)

    def say(self, control: bytes) -> None:
        """Write a control frame, if it is one, before all else."""
        if control:
            self.outbox.control.append(control)
            self.touch()

    def _handle_ping(self, reader: Reader, now: int) -> None:
        self._pong = token_of(reader)
        self.touch()

    def _handle_pong(self, reader: Reader, now: int) -> None:
        self.keepalive.answered(token_of(reader), now)

    def sleep(self, ms: int, now: int) -> None:
        """Announce that this side neither reads nor writes for the next `ms`, at most a day: the peer keeps
        what it has for us. 0, or anything that is written later, takes it back: announce when nothing waits.
        Raises LocalError.
        """
        if not 0 <= ms <= codes.SLEEP_MAX_MS:
            raise LocalError("ms must be 0 to 86400000, not %r" % ms)
        if self.state == codes.OPEN:
            self.outbox.control.append(frame(bytes((codes.SLEEP,)) + varint(ms)))
            self.last_read = max(self.last_read, now + ms)  # nor is the peer's silence one meanwhile
            self.touch()

    def _handle_sleep(self, reader: Reader, now: int) -> None:
        ms = min(token_of(reader), codes.SLEEP_MAX_MS)
        last = reader.end == len(reader.data)  # whatever follows of the stream ends the sleep
        self.asleep_until = now + ms if ms and last else -1

    def log(self, text: bytes) -> None:
        """Show `text` to people at the other end of a packet link; on others nothing happens."""

    # Directory and messages

    def _handle_more(self, reader: Reader, now: int) -> None:
        self.inbox.more(reader, now)

    def _handle_run(self, reader: Reader, now: int) -> None:
        self.fast.take_apart(reader, now)

    def _handle_directory(self, reader: Reader, now: int) -> None:
        self.news.read_directory(reader, now)

    def _handle_routes(self, reader: Reader, now: int) -> None:
        self.news.read_routes(reader, now)

    def _handle_sync(self, reader: Reader, now: int) -> None:
        self.news.read_sync(reader, now)


# Control frames: kind -> (handler, states that allow it, as bits).
_FRAMES = {
    codes.HELLO: (Connection._handle_hello, 1 << codes.GREETING),
    codes.HANDSHAKE: (Connection._handle_handshake, 1 << codes.GREETING),
    codes.CLOSE: (Connection._handle_close, 1 << codes.SECURING | 1 << codes.GREETING | _LIVE),
    codes.PING: (Connection._handle_ping, _LIVE),
    codes.PONG: (Connection._handle_pong, _LIVE),
    codes.DIRECTORY: (Connection._handle_directory, _LIVE),
    codes.MORE: (Connection._handle_more, _LIVE),
    codes.ROUTES: (Connection._handle_routes, _LIVE),
    codes.SYNC: (Connection._handle_sync, _LIVE),
    codes.RUN: (Connection._handle_run, _LIVE),
    codes.SLEEP: (Connection._handle_sleep, _LIVE),
}
