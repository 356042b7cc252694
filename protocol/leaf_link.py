"""The one link of a leaf: handshake, framing, keepalive, orderly end. Sans-IO, as connection.py is for
routers.

What messages mean is not known here: they go to the `Leaf` (leaf.py) and come from it.
"""

from busway.protocol import codes
from busway.protocol.errors import Refusal
from busway.protocol.leaf_frames import Header, Item, Numbers, frame, read_header, write_item
from busway.protocol.link import Link
from busway.protocol.wire import Reader, clip_text, text8, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.leaf import Leaf
    from busway.protocol.leaf_state import Event

_KEY_SIZE = codes.ID_SIZE + codes.INCARNATION_SIZE


class Assembly:
    """A cut message whose pieces are coming in."""

    def __init__(self, header: Header, first: bytes) -> None:
        self.header = header
        self.data = bytearray(first)


class LeafConnection:
    """The state machine of a leaf's link. Made by `Leaf.connection`; same face as `Connection`."""

    def __init__(self, leaf: "Leaf", link: Link, nonce: bytes, now: int) -> None:
        self.leaf = leaf
        self.link = link
        self.state = codes.GREETING
        self.realm = link.realm
        self.frame_size_max, self.message_size_max, _, self._partials_max = leaf.limits
        self.peer_key = b""  # node and incarnation at the other end, once that is known
        self.peer_label = ""
        self.keepalive_ms = 0
        self.rtt_ms = -1  # of the last keepalive, -1 before the first
        self.number = 0  # counts the sessions of this leaf
        self.skipped_frames = 0
        self.close_code = -1  # the error the link ended with, -1 while it lives
        self.close_text = ""
        self.deadline = now + codes.HELLO_TIMEOUT_MS  # ms; -1: none
        self.aliases_in = Numbers(0, (), codes.ID_SIZE)
        self.aliases_out = self.aliases_in
        self.nodes_in = self.aliases_in
        self.nodes_out = self.aliases_in
        self._my_hello = self._hello(nonce)
        self._their_hello = b""
        self._frame_max = codes.HELLO_SIZE_MAX
        self._in = b""  # the beginning of a frame whose end has not come
        self._out = frame(self._my_hello)  # bytes to be written before anything else
        self._goodbye = b""  # CLOSE or SLEEP, behind all messages
        self.sleeping = b""  # SLEEP: said again behind whatever is written after it
        self._partial: "Item | None" = None  # a cut message of ours under way
        self._written = 0  # of its payload, bytes
        self._assemblies: "dict[int, Assembly]" = {}
        self._last_read = now
        self._ping_sent = -1
        self._pong = -1  # token of a PING to answer
        self._suspect = False

    def _hello(self, nonce: bytes) -> bytes:
        """The body of our HELLO (section 3.1)."""
        leaf = self.leaf
        link = self.link
        flags = 0x01 | link.realm << 1
        if link.dialled:
            flags |= 0x08
        if link.prove is not None:
            flags |= 0x10
        body = bytes((codes.HELLO,)) + codes.MAGIC + bytes((codes.VERSION, flags)) + leaf.key + nonce + b"\0"
        for limit in leaf.limits:
            body += varint(limit)
        return body + varint(link.keepalive_ms) + text8(leaf.bus) + text8(leaf.label) + text8(link.via)

    # The caller's side

    @property
    def done(self) -> bool:
        """True when nothing will be read or written any more: close the link."""
        return self.state == codes.CLOSED and not self._out

    @property
    def wants_write(self) -> bool:
        """Whether `data_to_send` may have something now."""
        return self.has_stream()

    def has_stream(self) -> bool:
        """Whether our stream may have bytes now."""
        if self._out:
            return True
        if self.state == codes.OPEN or self._goodbye:
            return self.leaf.stirred or self._partial is not None or bool(self._goodbye) or self._pong >= 0
        return False

    def receive_data(self, data: "bytes | bytearray | memoryview", now: int) -> "list[Event]":
        """Take in bytes, cut anywhere, at time `now` in ms. Never raises for what they are."""
        if self.state != codes.CLOSED:
            self._last_read = now
            self._suspect = False
            self.take_in(bytes(data), now)
        return self.leaf.take_events()

    def take_in(self, data: bytes, now: int) -> None:
        """The next bytes of the peer's stream."""
        try:
            self._parse(self._in + data if self._in else data, now)
        except Refusal as refusal:
            self._fail(refusal.code, refusal.text, now)

    def receive_eof(self, now: int, text: str = "the connection ended without a goodbye") -> "list[Event]":
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

    def next_deadline(self) -> int:
        """When `fire` is due, in ms; -1: never."""
        return self.deadline

    def data_to_send(self, size_max: int, now: int) -> bytes:
        """At most `size_max` bytes to write now; b"" if there is nothing. Ask when the link can take them."""
        return self.stream_to_send(size_max, now)

    def stream_to_send(self, size_max: int, now: int) -> bytes:
        """At most `size_max` bytes of our stream."""
        data = self._out
        if self.state == codes.OPEN or self._goodbye:
            while len(data) < size_max:
                more = self._next(now)
                if not more:
                    break
                data += more
                if more is not self.sleeping and self.state == codes.OPEN:
                    self._goodbye = self.sleeping
        self._out = data[size_max:]
        return data[:size_max] if self._out else data

    def _next(self, now: int) -> bytes:
        """The next frame, late: what it says and whose numbers it uses is settled here."""
        if self._pong >= 0:
            pong = frame(bytes((codes.PONG,)) + varint(self._pong))
            self._pong = -1
            return pong
        if self._partial is not None:
            return self._write_piece(self._partial)
        lines = self.leaf.write_lines(self)
        if lines:
            return lines
        item = self.leaf.next_item(self, now)
        if item is not None:
            return self._write(item, now)
        goodbye = self._goodbye
        if goodbye:
            self._goodbye = b""
            if self.state == codes.CLOSING:
                self.deadline = now + codes.CLOSING_MS
        return goodbye

    def _write(self, item: Item, now: int) -> bytes:
        whole = len(item.payload) <= self.frame_size_max - codes.HEADER_SIZE_MAX
        body = write_item(item, self.aliases_out, self.nodes_out, self.peer_key, now, not whole)
        if whole:
            return frame(body + item.payload)
        # The bound above is for the longest header: what a shorter one would let fit is cut all the same.
        self._written = min(self.frame_size_max - len(body), len(item.payload) - 1)
        self._partial = item
        return frame(body + item.payload[: self._written])

    def _write_piece(self, item: Item) -> bytes:
        """Between the pieces of a cut message a leaf sends nothing else."""
        at = self._written
        self._written = at + self.frame_size_max - 2
        if self._written >= len(item.payload):
            self._partial = None
        return frame(bytes((codes.MORE, 0)) + item.payload[at : self._written])

    def sleep(self, ms: int, now: int) -> None:
        """Announce, behind all that waits, that this board neither reads nor writes for the next `ms`, at
        most a day; until `sleeping` is emptied it is said again behind whatever else is written. 0: awake."""
        if self.state == codes.OPEN:
            data = frame(bytes((codes.SLEEP,)) + varint(min(ms, codes.SLEEP_MAX_MS)))
            self._goodbye = data
            self.sleeping = data if ms else b""
            self._last_read = now + ms  # nor is the router's silence one meanwhile
            if self.keepalive_ms:
                self.deadline = self._last_read + self.keepalive_ms

    def append(self, body: bytes) -> None:
        """A control frame, before all messages that have not been written."""
        self._out += frame(body)

    def close(self, now: int, code: int = codes.GOODBYE, text: str = "") -> None:
        """End the link in order: everything queued is written first."""
        if self.state == codes.OPEN:
            self.state = codes.CLOSING
            self.close_code = code
            self.close_text = text
            self._goodbye = frame(_close_body(code, text))
            self.deadline = now + codes.CLOSING_MS
        elif self.state < codes.OPEN:
            self._fail(code, text, now)

    def _fail(self, code: int, text: str, now: int) -> None:
        """End the link now, telling the peer why."""
        if self.state != codes.CLOSING or self._goodbye:
            self.append(_close_body(code, text))
        self._end(code, text, False, now)

    def cut_off(self, now: int) -> None:
        """The peer asks for more than it reads."""
        if self.state != codes.CLOSED:
            self._fail(codes.NOT_READING, "the peer does not read what it asked for", now)

    def _end(self, code: int, text: str, by_peer: bool, now: int) -> None:
        """Into CLOSED: the one place where a link ends."""
        opened = self.state >= codes.OPEN
        self.state = codes.CLOSED
        self.close_code = code
        self.close_text = text
        self.deadline = -1
        self._in = self._goodbye = b""
        self._assemblies = {}
        self._partial = None
        self.leaf.link_closed(self, opened, by_peer, now)

    # Reading

    def _parse(self, data: bytes, now: int) -> None:
        """All whole frames in `data`; the rest is kept. A length is judged before its frame is waited for."""
        pos = 0
        end = len(data)
        while pos < end and self.state != codes.CLOSED:
            at = pos
            while at < end and at < pos + 4 and data[at] >= 0x80:
                at += 1
            if at == end:
                break
            reader = Reader(data, pos, at + 1)
            length = reader.varint()
            start = at + 1
            if not length:
                raise Refusal(codes.MALFORMED, "a frame of length 0")
            if length > self._frame_max:
                raise Refusal(
                    codes.TOO_LARGE, "a frame of %d bytes, but %d were agreed" % (length, self._frame_max)
                )
            if start + length > end:
                if self.state == codes.GREETING:
                    _check_stranger(data, start, end)
                break
            self._frame(data[start], Reader(data, start + 1, start + length), now)
            pos = start + length
        self._in = data[pos:] if self.state != codes.CLOSED else b""

    def _frame(self, head: int, reader: Reader, now: int) -> None:
        state = self.state
        if head >= codes.MESSAGE:
            if state < codes.OPEN:
                raise Refusal(codes.BAD_STATE, "a message before the handshake was over")
            self._message(head, reader, now)
        elif head == codes.CLOSE:
            self._close_read(reader, now)
        elif head == codes.HELLO and state == codes.GREETING:
            self._hello_read(reader, now)
        elif head == codes.AUTH and state == codes.AUTHENTICATING:
            self._auth_read(reader, now)
        elif codes.HELLO <= head <= codes.SYNC:
            if state < codes.OPEN or head <= codes.AUTH:
                raise Refusal(codes.BAD_STATE, "a frame of kind %d in state %d" % (head, state))
            self._control(head, reader, now)
        elif state == codes.GREETING:
            raise Refusal(codes.NOT_BUSWAY, "the other side does not speak Busway")
        elif head >= codes.IGNORABLE:
            self.skipped_frames += 1
        else:
            raise Refusal(codes.UNKNOWN_FRAME, "a frame of kind 0x%02x, which must be known" % head)

    def _control(self, head: int, reader: Reader, now: int) -> None:
        if head == codes.PING:
            token = reader.varint()
            self._pong = token  # of several that come together the last is answered
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
        else:
            self.skipped_frames += 1  # DIRECTORY: a leaf is sent none
            return
        if reader.left():
            raise Refusal(codes.MALFORMED, "bytes behind a frame's last field")

    def _routes(self, reader: Reader, now: int) -> None:
        """A router tells a leaf one thing: RETRACT. The rest is read for its numbers."""
        while reader.left():
            kind = reader.u8()
            if kind == codes.ACK:
                if reader.u16():
                    raise Refusal(codes.MALFORMED, "more acknowledged than was sent")
                continue
            if kind > codes.ACK:
                raise Refusal(codes.MALFORMED, "an entry of ROUTES with an unknown layout")
            key = self.nodes_in.read(reader)
            if kind == codes.RETRACT:
                self.leaf.node_gone(key, now)
            elif kind == codes.PARENT_WITH:
                reader.varint()
                reader.varint()
                reader.varint()
            elif kind != codes.PARENT:
                reader.take(4 if kind == codes.UPDATE else 2)

    # Handshake

    def _hello_read(self, reader: Reader, now: int) -> None:
        body = reader.data[reader.pos - 1 : reader.end]
        if reader.left() < 4 or reader.take(4) != codes.MAGIC:
            raise Refusal(codes.NOT_BUSWAY, "the other side does not speak Busway")
        version = reader.u8()
        if version != codes.VERSION:
            raise Refusal(
                codes.BAD_VERSION,
                "this side speaks protocol version 1, the other %d: update the older one" % version,
            )
        flags = reader.u8()
        realm = flags >> 1 & 3
        if not realm:
            raise Refusal(codes.MALFORMED, "a link's realm cannot be PROCESS")
        self.peer_key = reader.take(_KEY_SIZE)
        reader.take(codes.NONCE_SIZE)
        reader.varint()  # features: none is known
        self.frame_size_max, self.message_size_max, aliases_max, self._partials_max = [
            min(limit, reader.varint()) for limit in self.leaf.limits
        ]
        theirs = reader.varint()
        mine = self.link.keepalive_ms
        self.keepalive_ms = min(mine, theirs) if mine and theirs else mine or theirs
        bus = reader.text8()
        self.peer_label = reader.text8()
        reader.text8()
        while reader.left():
            reader.u8()  # no option is defined yet: skipped
            reader.take(reader.u8())
        if bus != self.leaf.bus:
            raise Refusal(codes.BUS_NAME, "this side is on bus %r, the other on %r" % (self.leaf.bus, bus))
        if self.peer_key == self.leaf.key:
            raise Refusal(codes.SELF, "a node was connected to itself")
        if self.frame_size_max < codes.FRAME_SIZE_MIN or not (
            self.message_size_max and aliases_max and self._partials_max
        ):
            raise Refusal(codes.LIMITS, "a limit is below its minimum: frames of 128 bytes, 1 of the others")
        self.realm = max(self.realm, realm)
        self.aliases_in = Numbers(aliases_max, (), codes.ID_SIZE)
        self.aliases_out = Numbers(aliases_max, (), codes.ID_SIZE)
        nodes_max = max(3, aliases_max)
        self.nodes_in = Numbers(nodes_max, (self.peer_key, self.leaf.key), _KEY_SIZE)
        self.nodes_out = Numbers(nodes_max, (self.leaf.key, self.peer_key), _KEY_SIZE)
        self._frame_max = self.frame_size_max
        prove = self.link.prove
        if prove is None and not flags & 0x10:
            self._open(now)
            return
        if prove is None:
            raise Refusal(codes.TOKEN, "the other side demands a token and this side was given none")
        self.state = codes.AUTHENTICATING
        self._their_hello = body
        self.append(bytes((codes.AUTH,)) + prove(codes.AUTH_CONTEXT + self._my_hello + body))

    def _auth_read(self, reader: Reader, now: int) -> None:
        prove = self.link.prove
        assert prove is not None
        if reader.left() != codes.PROOF_SIZE:
            raise Refusal(codes.MALFORMED, "a proof has 32 bytes")
        wanted = prove(codes.AUTH_CONTEXT + self._their_hello + self._my_hello)
        difference = 0
        for byte in wanted:  # all of them, so that the time tells nothing
            difference |= byte ^ reader.u8()
        if difference:
            raise Refusal(codes.TOKEN, "the token is wrong: give both sides the same")
        self._open(now)

    def _open(self, now: int) -> None:
        self.state = codes.OPEN
        self.deadline = now + self.keepalive_ms if self.keepalive_ms else -1
        self._my_hello = self._their_hello = b""
        self.leaf.link_opened(self, now)

    # The end

    def _close_read(self, reader: Reader, now: int) -> None:
        code = reader.varint()
        text = clip_text(lenient_text(reader.rest()), codes.CLOSE_TEXT_SIZE_MAX)
        if self.state != codes.CLOSING:
            self.append(_close_body(code, ""))
            self._end(code, text, True, now)
            return
        self._out += self._goodbye
        self._end(self.close_code, self.close_text, False, now)

    # Time

    def fire(self, now: int) -> None:
        """The deadline has come: for HELLO, for the peer's CLOSE, or for silence, by state."""
        interval = self.keepalive_ms
        silent = now - self._last_read
        if self.state < codes.OPEN:
            self._fail(codes.HELLO_TIMEOUT, "no HELLO within 5 seconds", now)
        elif self.state == codes.CLOSING:
            self._end(self.close_code, self.close_text, False, now)
        elif silent < interval:
            self.deadline = self._last_read + interval
        elif silent < interval * codes.SILENT_INTERVALS or not self._suspect:
            # A board may have been busy meanwhile: it reads what has arrived before it judges.
            self._suspect = silent >= interval * codes.SILENT_INTERVALS
            self._ping_sent = now
            self.append(bytes((codes.PING,)) + varint(now & 0x0FFFFFFF))
            self.deadline = now + (max(1, interval // 4) if self._suspect else interval)
        else:
            self._fail(codes.SILENT, "nothing was heard for %d ms" % silent, now)

    # Messages

    def _message(self, head: int, reader: Reader, now: int) -> None:
        header = read_header(head, reader, self.aliases_in, self.nodes_in)
        if header.partial < 0:
            self.leaf.arrive(self, header, reader, now)
            return
        if header.size > self.message_size_max:
            raise Refusal(
                codes.TOO_LARGE,
                "a message of %d bytes, but %d were agreed" % (header.size, self.message_size_max),
            )
        if header.partial >= self._partials_max or header.partial in self._assemblies:
            raise Refusal(codes.TOO_MANY, "more large messages at once than were agreed")
        if reader.left() >= header.size:
            raise Refusal(codes.MALFORMED, "a cut message that is none")
        self._assemblies[header.partial] = Assembly(header, reader.rest())

    def _more(self, reader: Reader, now: int) -> None:
        number = reader.u8()
        assembly = self._assemblies.get(number)
        if assembly is None:
            raise Refusal(codes.TOO_MANY, "a piece of no message under way")
        left = assembly.header.size - len(assembly.data)
        if not 0 < reader.left() <= left:
            raise Refusal(codes.MALFORMED, "a piece that is empty or more than was announced")
        assembly.data.extend(reader.rest())
        if len(assembly.data) == assembly.header.size:
            del self._assemblies[number]
            whole = bytes(assembly.data)
            self.leaf.arrive(self, assembly.header, Reader(whole, 0, len(whole)), now)


def lenient_text(raw: bytes) -> str:
    """Text for people, from a peer: bytes that are not UTF-8 are shown as question marks."""
    try:
        return raw.decode()
    except (UnicodeError, ValueError):
        return "".join([chr(byte) if 32 <= byte < 127 else "?" for byte in raw])


def _close_body(code: int, text: str) -> bytes:
    return bytes((codes.CLOSE,)) + varint(code) + clip_text(text, codes.CLOSE_TEXT_SIZE_MAX).encode()


def _check_stranger(data: bytes, start: int, end: int) -> None:
    """A first frame that is not all there yet: a stranger is refused now, not when its time is up."""
    if start == end or data[start] >= codes.MESSAGE:
        return
    magic = data[start + 1 : min(end, start + 1 + len(codes.MAGIC))]
    if not codes.HELLO <= data[start] <= codes.SYNC or (
        data[start] == codes.HELLO and not codes.MAGIC.startswith(magic)
    ):
        raise Refusal(codes.NOT_BUSWAY, "the other side does not speak Busway")
