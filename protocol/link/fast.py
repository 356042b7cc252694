"""The short ways for the commonest messages: plain ones in runs, to this node, from it, or through it; and
requests with their replies, and credit, between neighbours.

Only what needs no decision goes here: the same bytes before the number, aliases of one or two bytes that are
bound, room. The first frame that differs in anything is left to the long way (connection.py, outbox.py): it
means the same (docs/protocol.md, section 5). What it finds out about a frame's beginning is remembered here.
"""

from struct import pack

from busway.protocol.link.batch import Branch
from busway.protocol.link.face import Intake, LinkFace, Remote
from busway.protocol.link.queue import OVERHEAD, Bundle, Run, SendQueue, Together, is_behind
from busway.protocol.wire import codes
from busway.protocol.wire.aliases import AliasTable, AliasWriter
from busway.protocol.wire.fields import Reader, varint
from busway.protocol.wire.messages import Frame, RoutingHeader, read_run, signal, write_header
from busway.protocol.wire.runs import LEAST, RUN, count_run, payload_bytes, single_tails, write_together

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_CONFIRM: "Final" = codes.MESSAGE | codes.CONFIRM << 4
_REPLY: "Final" = codes.MESSAGE | codes.REPLY << 4
_PART: "Final" = codes.MESSAGE | codes.PART << 4
_SIGNAL: "Final" = codes.MESSAGE | codes.SIGNAL << 4
_LIVE: "Final" = 1 << codes.OPEN | 1 << codes.CLOSING
_PREFIX_MAX: "Final" = 9  # bytes of a header that binds nothing, up to the number
_KNOWN_MAX: "Final" = 1024  # prefixes that are remembered for one link
_ONE: "Final" = [bytes((value,)) for value in range(256)]


class Path(Bundle):
    """Messages of one origin to one endpoint that pass through here: behind it stand, from the number on,
    those that wait for their next link.
    """

    __slots__ = ("endpoint", "format", "hop", "route", "to")

    def __init__(self, to: Remote, hop: LinkFace, frame: Frame, route: RoutingHeader) -> None:
        self.to = to
        self.hop = hop
        self.endpoint = frame.endpoint
        self.format = frame.format
        self.route = route  # on the next link
        self.epoch = -1

    def message(self, rest: bytes) -> Frame:
        number = rest[0] << 8 | rest[1]
        frame = Frame(codes.SEND, self.to.key, self.endpoint, number, rest[2:], self.format, b"")
        frame.route = self.route
        return frame

    def payload_size(self, rest: bytes) -> int:
        return len(rest) - 2


# Reading


class FastReader:
    """The short ways of what comes in over one link."""

    __slots__ = ("_epoch", "_known", "_link")

    def __init__(self, link: LinkFace) -> None:
        self._link = link
        self._known: "dict[bytes, object]" = {}
        self._epoch = 0

    def run(self, head: int, data: bytes, pos: int, start: int, stop: int, end: int, now: int) -> int:
        """A frame from `start` to `stop` of `data`, its length at `pos`, and those like it behind. Returns
        where it got to; `pos`: go the long way.
        """
        link = self._link
        if head & 0xEC != 0x80:
            if head & 0xEC == 0x88:
                return self._switched(data, pos, start, stop, end, now)
            return self._answerable(head, data, pos, start, stop, now)
        if end - start < 4 or head & 3 == codes.TYPED or not 1 << link.state & _LIVE:
            return pos
        number = data[start + 1]
        at = start + 2
        if number >= 0x80:
            number = number & 0x7F | data[at] << 7  # beyond all that may be bound if a third byte follows
            at += 1
        uuids = link.aliases.ids
        if number >= len(uuids):
            return pos
        intake = link.intakes.get(uuids[number])
        if intake is None:
            known = self._meaning(data[start:at]) if head & 0x10 else None
            if isinstance(known, Branch):
                return known.take_run(data, pos, end, link.frame_max, data[start:at])
            return pos
        return intake.take_run(link, data, pos, at, stop, end, data[start:at], now)

    def together(self, data: bytes, start: int, stop: int, now: int) -> bool:
        """The messages of a RUN, whose head stands at `start`. False: go the long way. Raises Refusal."""
        link = self._link
        head = data[start] if stop - start >= 8 else codes.TYPED
        if head & 3 == codes.TYPED or not 1 << link.state & _LIVE:
            return False
        known: object = None
        if head & 0xEC == 0x80:
            number = data[start + 1]
            at = start + 2
            if number >= 0x80:
                number = number & 0x7F | data[at] << 7
                at += 1
            uuids = link.aliases.ids
            if number >= len(uuids):
                return False
            known = link.intakes.get(uuids[number])
        else:
            at = _prefix_end(data, start, stop) if head & 0xEC == 0x88 else 0
            if at + 4 > stop or not at:
                return False
        prefix = data[start:at]
        if known is None:
            known = self._meaning(prefix)
        if isinstance(known, Intake):
            return known.take_together(link, data, at, stop, prefix, now)
        if isinstance(known, Path):
            return _pass_together(known, data, at, stop)
        return isinstance(known, Branch) and known.take_together(data, at, stop)

    def take_apart(self, reader: Reader, now: int) -> None:
        """The messages of a RUN, each as if it had come alone. Raises Refusal."""
        link = self._link
        start = reader.pos
        frame, payloads, behind = read_run(reader, link.aliases, link.news.reader, now)
        route = frame.route
        number = frame.number
        for payload in payloads:
            one = Frame(frame.kind, frame.destination, frame.endpoint, number, payload, frame.format, b"")
            one.route = route
            link.host.frame_came(link, one, now)
            number = number + 1 & 0xFFFF
        if route is not None or frame.kind == codes.PUBLISH:
            self.learn(reader.data[start:behind], frame, route)

    def _answerable(self, head: int, data: bytes, pos: int, start: int, stop: int, now: int) -> int:
        """A request and its like, alone, or credit. Returns as `run`."""
        link = self._link
        if head < _CONFIRM or head & codes.HEAD_ROUTED or not 1 << link.state & _LIVE:
            return pos
        if head < _PART:
            frame = read_answerable(head, data, start + 1, stop, link.aliases, now)
        elif head == _SIGNAL and stop - start > 1 and data[start + 1] == codes.CREDIT:
            frame = read_credit(data, start + 2, stop, link.aliases)
        else:
            frame = None
        if frame is None:
            return pos
        link.host.frame_came(link, frame, now)
        return stop

    def _switched(self, data: bytes, pos: int, start: int, stop: int, end: int, now: int) -> int:
        """Plain messages with a routing header. Returns as `run`."""
        link = self._link
        at = _prefix_end(data, start, stop) if stop - start > 8 else 0
        if not at:
            return pos
        prefix = data[start:at]
        known = self._meaning(prefix)
        if isinstance(known, Path):
            return _pass_run(known, prefix, data, pos, end, link.frame_max)
        if isinstance(known, Branch):
            return known.take_run(data, pos, end, link.frame_max, prefix)
        if isinstance(known, Intake):
            return known.take_run(link, data, pos, at, stop, end, prefix, now)
        return pos

    def _meaning(self, prefix: bytes) -> object:
        """A Path, a Branch or an Intake, if it is known."""
        link = self._link
        epoch = link.aliases.epoch + link.news.reader.epoch  # counts the numbers that have changed hands
        if self._epoch != epoch:
            self._epoch = epoch
            self._known = {}
        return self._known.get(prefix)

    def learn(self, prefix: bytes, frame: Frame, route: "RoutingHeader | None") -> None:
        """A message went the long way: those with this prefix are of a Path, a Branch, an Intake, or none."""
        if len(prefix) > _PREFIX_MAX:
            return
        meaning = self._link.host.meaning_of(self._link, frame, route)
        if meaning is None:
            return
        if len(self._known) >= _KNOWN_MAX:
            self._known = {}
        self._known[prefix] = meaning


def _prefix_end(data: bytes, start: int, stop: int) -> int:
    """Where the number of a plain SEND with a routing header stands; 0 if its header binds anything or is
    longer than usual.
    """
    how = data[start + 1]
    at = start + 3
    count = 1 + (how >> 2 & 1) + (how >> 3 & 1)
    while count:
        if at + 3 > stop or not data[at]:
            return 0
        if data[at] >= 0x80:
            at += 1
            if data[at] >= 0x80:
                return 0
        at += 1
        count -= 1
    return at if at + 2 <= stop else 0


def _pass_run(path: Path, prefix: bytes, data: bytes, pos: int, end: int, frame_max: int) -> int:
    """To the next hop with all that have this prefix, as long as that is the way and takes them whole."""
    hop = path.hop
    if path.to.hop is not hop or hop.state != codes.OPEN:
        return pos
    queue = hop.transit
    size = len(prefix)
    room = min(hop.limits.frame_size_max - codes.HEADER_SIZE_MAX, hop.limits.message_size_max)
    space = codes.TRANSIT_SIZE_MAX - queue.size
    total = count = 0
    items = queue.items
    follows = queue.path is path and bool(items) and is_behind(items[-1])
    while pos + 5 < end:
        length = data[pos]
        start = pos + 1
        if length >= 0x80:
            length = length & 0x7F | (data[start] & 0x7F) << 7
            if data[start] >= 0x80:
                start += 1
                if data[start] >= 0x80:
                    break
                length |= data[start] << 14
            start += 1
        stop = start + length
        at = start + size
        if stop > end or length > frame_max or length < size + 2 or stop - at - 2 > room:
            break
        weight = stop - at - 2 + OVERHEAD
        if data[start:at] != prefix or total + weight > space:
            break
        if not follows:
            follows = True
            queue.path = path
            items.append(path)
        items.append(data[at:stop])
        total += weight
        count += 1
        pos = stop
    if count:
        queue.size += total
        queue.passed += count
        hop.touch()
    return pos


def _pass_together(path: Path, data: bytes, at: int, stop: int) -> bool:
    """To the next hop with the messages of a RUN, as they stand where it takes that. False: nothing is done.
    Raises Refusal.
    """
    hop = path.hop
    if path.to.hop is not hop or hop.state != codes.OPEN:
        return False
    queue = hop.transit
    count = count_run(data, at + 2, stop)
    weight = payload_bytes(data, at + 2, stop, count) + count * OVERHEAD
    if queue.size + weight > codes.TRANSIT_SIZE_MAX:
        return False
    room = min(hop.limits.frame_size_max - codes.HEADER_SIZE_MAX, hop.limits.message_size_max)
    rest: "list[Any]" = []
    if hop.runs and stop - at <= room:
        rest.append(Together(data[at:stop], count))
    else:
        rest.extend(single_tails(data, at, stop, count))
        if max([len(tail) for tail in rest]) - 2 > room:
            return False
    items = queue.items
    if queue.path is not path or not items or not is_behind(items[-1]):
        queue.path = path
        items.append(path)
    items.extend(rest)
    queue.size += weight
    queue.passed += count
    hop.touch()
    return True


def read_credit(data: bytes, pos: int, stop: int, aliases: AliasTable) -> "Frame | None":
    """CREDIT of a neighbour, from its endpoint at `pos` on. None: go the long way."""
    size = stop - pos
    if size == 3:
        alias = data[pos]
        if alias >= 0x80:
            return None
    elif size == 4 and data[pos] >= 0x80 and data[pos + 1] < 0x80:
        alias = data[pos] & 0x7F | data[pos + 1] << 7
        if alias < 0x80:
            return None
    else:
        return None
    uuids = aliases.ids
    if alias >= len(uuids) or not uuids[alias]:
        return None
    return signal(codes.CREDIT, b"", uuids[alias], data[stop - 2] << 8 | data[stop - 1])


def read_answerable(
    head: int, data: bytes, pos: int, stop: int, aliases: AliasTable, now: int
) -> "Frame | None":
    """A CONFIRM, REQUEST or REPLY between neighbours, its head before `pos`. None: go the long way."""
    endpoint = b""
    number = 0
    if head < _REPLY:
        if pos + 9 > stop:
            return None
        alias = data[pos]
        if alias >= 0x80:
            pos += 1
            alias = alias & 0x7F | data[pos] << 7  # beyond all that may be bound if a third byte follows
        uuids = aliases.ids
        if alias >= len(uuids) or not uuids[alias] or pos + 9 > stop:
            return None
        endpoint = uuids[alias]
        number = data[pos + 1] << 8 | data[pos + 2]
        pos += 3
    elif pos + 4 > stop:
        return None
    high = data[pos + 3]
    if not 0 < high < 0x80 or data[pos] & data[pos + 1] & data[pos + 2] < 0x80 or head & 3 == codes.TYPED:
        return None
    id = data[pos] & 0x7F | (data[pos + 1] & 0x7F) << 7 | (data[pos + 2] & 0x7F) << 14 | high << 21
    pos += 4
    expires = 0
    if head < _REPLY:
        left = data[pos]
        if left >= 0x80 and data[pos + 1] < 0x80:
            left = left & 0x7F | data[pos + 1] << 7
            pos += 1
        elif left >= 0x80 and pos + 2 < stop and data[pos + 2] < 0x80:
            left = left & 0x7F | (data[pos + 1] & 0x7F) << 7 | data[pos + 2] << 14
            pos += 2
        elif left >= 0x80:
            return None
        if not left:  # also where it has more bytes than it needs
            return None
        pos += 1
        expires = now + left
    frame = Frame(head >> 4 & 7, b"", endpoint, number, data[pos:stop], head & 3, b"")
    frame.id = id
    frame.expires = expires
    return frame


# Writing


def write_answerable(out: Frame, aliases: AliasWriter, direct: bytes, now: int) -> bytes:
    """All that stands before the payload of what `read_answerable` reads; b"": go the long way."""
    kind = out.kind
    if out.route is not None or out.options is not None or out.format == codes.TYPED:
        return b""
    if not codes.CONFIRM <= kind <= codes.REPLY or (out.destination and out.destination != direct):
        return b""
    id = out.id
    if not 0x200000 <= id <= codes.ID_MAX:
        return b""
    head = codes.MESSAGE | kind << 4 | out.format
    a = id & 0x7F | 0x80
    b = id >> 7 & 0x7F | 0x80
    c = id >> 14 & 0x7F | 0x80
    if kind == codes.REPLY:
        start = bytes((head, a, b, c, id >> 21))
    else:
        alias = aliases.numbers.get(out.endpoint, 0)
        left = out.expires - now
        if not alias or not 0x80 <= left < 0x200000:
            return b""
        high = out.number >> 8 & 0xFF
        low = out.number & 0xFF
        if left < 0x4000:
            start = bytes((high, low, a, b, c, id >> 21, left & 0x7F | 0x80, left >> 7))
        else:
            middle = left >> 7 & 0x7F | 0x80
            start = bytes((high, low, a, b, c, id >> 21, left & 0x7F | 0x80, middle, left >> 14))
        if alias < 0x80:
            start = bytes((head, alias)) + start
        else:
            start = bytes((head, alias & 0x7F | 0x80, alias >> 7)) + start
    length = len(start) + len(out.payload)
    return (bytes((length,)) if length < 0x80 else varint(length)) + start


def write_run(
    queue: SendQueue,
    parts: "list[bytes]",
    size: int,
    size_max: int,
    whole_max: int,
    aliases: AliasWriter,
    nodes: AliasWriter,
    direct: bytes,
    together: bool,
) -> int:
    """Runs from the front of a queue, as far as their numbers are bound, without a call for each message;
    several in one frame if they may travel `together`. Returns `size` with their bytes added.
    """
    items = queue.items
    at = queue.head
    count = len(items)
    epoch = aliases.epoch + nodes.epoch
    ones = _ONE
    add = parts.append
    while at < count and size < size_max:
        run: "Any" = items[at]
        if type(run) is not Run or (run.epoch != epoch and not _prepare_run(run, aliases, nodes, direct)):
            break
        prefix = run.prefix
        seq = run.number
        before = len(prefix) + 2
        least = before + LEAST
        # Of the one before, often long ago: what stood before its number's low byte.
        as_length, as_high, start = run.length, run.high, run.start
        total = 0
        at = first = at + 1
        while at < count and size < size_max:
            payload: "Any" = items[at]
            if type(payload) is not bytes or len(payload) > whole_max:
                break
            length = len(payload) + before
            if together and at + 1 < count and length >= least and type(items[at + 1]) is bytes:
                taken = write_together(items, at, size_max - size, whole_max, prefix, seq, parts)
                if taken:
                    size += len(parts[-2]) + len(parts[-1])
                    total += len(parts[-1]) + taken * before
                    seq += taken
                    at += taken
                    continue
            high = seq >> 8 & 0xFF
            if length != as_length or high != as_high:
                as_length, as_high = length, high
                start = (ones[length] if length < 0x80 else varint(length)) + prefix + ones[high]
                run.length = length
                run.high = high
                run.start = start
            add(start)
            add(ones[seq & 0xFF])
            add(payload)
            size += len(start) + length - before + 1
            total += length
            seq += 1
            at += 1
        queue.size -= total + (at - first) * (OVERHEAD - before)
        run.number = seq
        if at < count and type(items[at]) is bytes:
            at -= 1
            items[at] = run
            break
    if at == count:
        queue.items, queue.head = [], 0
    elif at > queue.head:
        queue.skip(at)
    return size


def _prepare_run(run: Run, aliases: AliasWriter, nodes: AliasWriter, direct: bytes) -> bool:
    """Note what stands before the number. False: something is not bound yet."""
    number = aliases.numbers.get(run.endpoint, 0)
    if not number:
        return False
    head = codes.MESSAGE | run.format
    if run.destination == direct:
        start = bytes((head,))
    else:
        node = nodes.numbers.get(run.destination, 0)
        if not node:
            return False
        start = bytes((head | codes.HEAD_ROUTED, codes.HOW_DESTINATION, codes.HOPS_MAX)) + varint(node)
    run.prefix = start + varint(number)
    run.length = -1
    run.epoch = aliases.epoch + nodes.epoch
    return True


def write_plain(
    queue: SendQueue,
    parts: "list[bytes]",
    size: int,
    size_max: int,
    whole_max: int,
    aliases: AliasWriter,
    nodes: AliasWriter,
    direct: bytes,
) -> int:
    """The same of plain messages in the general form. Returns as `write_run`."""
    numbers = aliases.numbers
    far = nodes.numbers
    items = queue.items
    first = at = queue.head
    count = len(items)
    add = parts.append
    total = 0
    while at < count and size < size_max:
        item = items[at]
        if type(item) is Run:
            break
        frame: Frame = item
        if frame.options is not None:
            break
        kind = frame.kind
        payload: bytes = frame.payload
        body = len(payload)
        number = numbers.get(frame.endpoint, 0)
        if (
            kind > codes.PUBLISH
            or frame.route is not None
            or body > whole_max
            or frame.format >= codes.TYPED
            or not number
        ):
            break
        total += body
        if kind == codes.SEND and frame.destination != direct:
            node = far.get(frame.destination, 0)
            if not node:
                total -= body
                break
            head = codes.MESSAGE | codes.HEAD_ROUTED | frame.format
            seq = frame.number & 0xFFFF
            if node < 0x80 and number < 0x80:
                start = pack(">BBBBBH", head, codes.HOW_DESTINATION, codes.HOPS_MAX, node, number, seq)
            else:
                start = bytes((head, codes.HOW_DESTINATION, codes.HOPS_MAX))
                start += varint(node) + varint(number) + pack(">H", seq)
            length = body + len(start)
            start = (bytes((length,)) if length < 0x80 else varint(length)) + start
        else:
            head = codes.MESSAGE | kind << 4 | frame.format
            if number >= 0x80:
                low = number & 0x7F | 0x80
                start = varint(body + 5) + pack(">BBBH", head, low, number >> 7, frame.number & 0xFFFF)
            elif body < 0x7C:
                start = pack(">BBBH", body + 4, head, number, frame.number & 0xFFFF)
            else:
                start = varint(body + 4) + pack(">BBH", head, number, frame.number & 0xFFFF)
        add(start)
        add(payload)
        size += len(start) + body
        at += 1
    if at == count:
        queue.items, queue.head = [], 0
    elif at > first:
        queue.skip(at)
    queue.size -= total + (at - first) * OVERHEAD
    return size


def write_passing(
    queue: SendQueue,
    parts: "list[bytes]",
    size: int,
    size_max: int,
    aliases: AliasWriter,
    nodes: AliasWriter,
    direct: bytes,
    now: int,
) -> int:
    """Messages of others that came by the short way, with what stood before the one before. Returns as
    `write_run`.
    """
    items = queue.items
    at = queue.head
    count = len(items)
    add = parts.append
    while at < count and size < size_max:
        path: "Any" = items[at]
        if type(path) is not Path:
            break
        if path.epoch != aliases.epoch + nodes.epoch:
            _prepare(path, aliases, nodes, direct, now)
        prefix = path.prefix
        before = len(prefix)
        as_length = -1
        start = b""
        total = 0
        at = first = at + 1
        while at < count and size < size_max:
            tail: "Any" = items[at]
            if type(tail) is Together:
                size += _write_passed(tail, prefix, parts)
                queue.size -= tail.weight
                at += 1
                first += 1
                if path.epoch < 0:
                    break
                continue
            if type(tail) is not bytes:
                break
            length = before + len(tail)
            if length != as_length:
                as_length = length
                start = (_ONE[length] if length < 0x80 else varint(length)) + prefix
            add(start)
            add(tail)
            size += len(start) + length - before
            total += length
            at += 1
            if path.epoch < 0:
                break  # that bound something: the next one is written anew
        queue.size -= total + (at - first) * (OVERHEAD - 2 - before)
        if at < count and is_behind(items[at]):
            at -= 1
            items[at] = path
    if at == count:
        queue.items = []
        queue.head = 0
    elif at > queue.head:
        queue.skip(at)
    return size


def _write_passed(messages: Together, prefix: bytes, parts: "list[bytes]") -> int:
    """Write what came together as it came. Returns its bytes."""
    data = messages.data
    start = varint(1 + len(prefix) + len(data)) + RUN + prefix
    parts.append(start)
    parts.append(data)
    return len(start) + len(data)


def _prepare(path: Path, aliases: AliasWriter, nodes: AliasWriter, direct: bytes, now: int) -> None:
    """Write what stands before the number; used again once it binds nothing any more."""
    bound = path.endpoint in aliases.numbers and path.route.source in nodes.numbers
    bound = bound and path.to.key in nodes.numbers
    header = write_header(path.message(b"\0\0"), aliases, nodes, direct, now)
    path.prefix = header[:-2]
    path.epoch = aliases.epoch + nodes.epoch if bound else -1
