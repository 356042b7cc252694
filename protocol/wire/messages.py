"""Message frames (docs/protocol.md, section 5): one record for a message or signal, and its bytes up to the
payload in both directions. Keeps no state but the alias tables that it is given.
"""

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address, address_of, lane_at
from busway.protocol.wire.aliases import AliasTable, AliasWriter
from busway.protocol.wire.entries import read_holder, write_entry
from busway.protocol.wire.fields import Reader, text, u16
from busway.protocol.wire.headers import Header, read_fields, read_signal, write_fields, write_signal
from busway.protocol.wire.runs import count_run, run_payloads
from busway.protocol.wire.things import (
    OPTION_SHARED,
    OPTION_SIZE,
    OPTION_THINGS,
    Things,
    described,
    read_counts,
    read_shared,
    write_counts,
    write_shared,
)
from busway.protocol.wire.traits import read_traits, write_traits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_NAMED_SIZE: "Final" = 8  # of options NAME and RETAIN, besides the name

_OF_ADDRESSES = (codes.CREDIT, codes.PROBE, codes.UNDELIVERABLE)


class RoutingHeader:
    """The routing header of a message, if that is more than its destination."""

    __slots__ = ("hops", "realm", "source")

    def __init__(self, source: bytes, realm: int, hops: int) -> None:
        self.source = source  # node and incarnation; b"": the node that writes it
        self.realm = realm  # the widest that it has crossed
        self.hops = hops


class Options:
    """The optional fields of a header: each has a row in `_OPTIONS`."""

    __slots__ = ("best_effort", "lane", "name", "partial", "reach", "retain", "size", "things", "window")

    def __init__(self) -> None:
        self.best_effort = False
        self.lane = codes.NORMAL  # priority, and REPLAY
        self.reach = 0  # the widest realm that a broadcast may get to; 0: LOCALNET
        self.name = ""  # under which it was published, where that is not the endpoint's own
        # Its number among the retained ones of its node, CLEARED aside; 0: it is none. Of a REQUEST: up to
        # which it asks what has come.
        self.retain = 0
        self.window = 0  # parts of a stream that the origin has room for; 0: it wants no stream
        self.partial = -1  # of a cut message: which of those under way
        self.size = 0  # ... and the bytes of its whole payload
        self.things: "Things | None" = None  # that go beside it, where its payload may lie in shared memory

    def named_size(self) -> int:
        """Bytes of a header that HEADER_SIZE_MAX does not count."""
        size = len(self.name.encode()) + _NAMED_SIZE if self.name or self.retain else 0
        return size if self.things is None or not self.things.count else size + OPTION_SIZE


class Frame(Header):
    """One message or signal: as it was read, or as it will be written."""

    __slots__ = ("cancelled", "destination", "options", "payload", "route")

    def __init__(
        self,
        kind: int,
        destination: bytes,
        endpoint: bytes,
        number: int,
        payload: object,
        format: int,
        type_id: bytes,
    ) -> None:
        self.kind = kind
        self.destination = destination  # node and incarnation; b"": whoever reads it. Of a PUBLISH: the root
        self.endpoint = endpoint  # of its tree, where that is not the source
        self.number = number
        self.payload: "Any" = payload
        self.format = format
        self.type_id = type_id
        self.route: "RoutingHeader | None" = None
        self.options: "Options | None" = None
        self.id = 0
        self.expires = 0  # ms; 0: never
        self.code = 0  # of an ERROR, or why something is UNDELIVERABLE
        self.signal = 0
        self.cancelled = False  # its origin does not want it any more: it is not written

    def is_best_effort(self) -> bool:
        """Whether it may be lost rather than keep others waiting."""
        return self.options is not None and self.options.best_effort

    def things(self) -> "Things | None":
        """All that goes beside it, or may."""
        return None if self.options is None else self.options.things

    def lane(self) -> int:
        """Its lane byte."""
        return codes.NORMAL if self.options is None else self.options.lane

    def mark(self, lane: int) -> None:
        """Give it that lane byte; its endpoint is left as it is."""
        if self.options is None:
            self.options = Options()
        self.options.lane = lane

    def source(self) -> bytes:
        """Node and incarnation of the origin; b"": who writes it."""
        return b"" if self.route is None else self.route.source

    def root(self) -> bytes:
        """Of a broadcast: the node whose tree it follows; b"": who writes it."""
        return self.destination or self.source()

    def realm(self) -> int:
        """The widest realm that it had crossed before this link."""
        return codes.PROCESS if self.route is None else self.route.realm

    def reach(self) -> int:
        """Of a broadcast: the widest realm that it may get to. One that says nothing may get on to those that
        it has crossed, as its origin has no other.
        """
        options = self.options
        if options is not None and options.reach:
            return options.reach
        return max(codes.LOCALNET, self.realm())

    def hops(self) -> int:
        """How many nodes it may still pass."""
        return codes.HOPS_MAX if self.route is None else self.route.hops


class TreeFrame(Frame):
    """PRUNE, GRAFT: about the broadcasts of `node`, node and incarnation, to an endpoint."""

    __slots__ = ("node",)

    def __init__(self, signal: int, destination: bytes, endpoint: bytes, node: bytes) -> None:
        super().__init__(codes.SIGNAL, destination, endpoint, 0, b"", codes.RAW, b"")
        self.signal = signal
        self.node = node


class Holder:
    """One holder of an endpoint in a HAVE (section 7), or of that `endpoint` in a SELECTED. `kind` 0: the
    uuid is this node's id.
    """

    __slots__ = ("cost", "credit", "endpoint", "key", "kind", "metric", "name", "order", "realm", "traits")

    def __init__(
        self,
        key: bytes,
        kind: int,
        realm: int,
        metric: int,
        credit: int = codes.OPENING_CREDIT,
        cost: int = 0,
        name: str = "",
        traits: bytes = b"",
    ) -> None:
        self.key = key
        self.kind = kind
        self.realm = realm
        self.metric = metric
        self.credit = credit
        self.cost = cost
        self.name = name
        self.traits = traits
        self.endpoint = b""
        self.order = 0  # the reader's: among all that it knows


class HaveFrame(Frame):
    """HAVE: who has an endpoint; or HAVE_PART: the first of these, and more follow."""

    __slots__ = ("holders", "in_parts", "written")

    def __init__(self, destination: bytes, endpoint: bytes, holders: "list[Holder]") -> None:
        super().__init__(codes.SIGNAL, destination, endpoint, 0, b"", codes.RAW, b"")
        self.signal = codes.HAVE
        self.holders = holders
        self.in_parts = True  # more subscribers than one frame takes may go in several
        self.written = False  # what is new from then on needs another

    def refresh(self) -> None:
        """It is about to be written."""


class SelectedSignal(Frame):
    """SELECTED: the endpoints that a selector means; `code` are its flags."""

    __slots__ = ("holders",)

    def __init__(self, destination: bytes, id: int, flags: int, holders: "list[Holder]") -> None:
        super().__init__(codes.SIGNAL, destination, b"", 0, b"", codes.RAW, b"")
        self.signal = codes.SELECTED
        self.id = id
        self.code = flags
        self.holders = holders


def select_signal(destination: bytes, id: int, expression: bytes) -> Frame:
    """SELECT: the question which endpoints a selector means."""
    frame = signal(codes.SELECT, destination, b"", 0, id)
    frame.payload = expression
    return frame


def signal(which: int, destination: bytes, endpoint: bytes = b"", number: int = 0, id: int = 0) -> Frame:
    """A signal of one of the common sorts, still to be written."""
    frame = Frame(codes.SIGNAL, destination, endpoint, number, b"", codes.RAW, b"")
    frame.signal = which
    frame.id = id
    return frame


def has_things(frame: Frame) -> bool:
    """Whether files or regions go beside it."""
    return frame.options is not None and frame.options.things is not None and frame.options.things.count > 0


def note_several(frame: Frame) -> None:
    """More than one gets what goes beside it."""
    things = frame.things()
    if things is not None:
        things.several = True


def signal_about(which: int, destination: bytes, address: Address, number: int) -> Frame:
    """One about the messages to an address, which it names."""
    frame = signal(which, destination, address, number)
    if len(address) > codes.ID_SIZE:
        frame.mark(lane_at(address))
    return frame


# Reading


def read_frame(head: int, reader: Reader, aliases: AliasTable, nodes: AliasTable, now: int) -> Frame:
    """Everything up to the payload. Raises Refusal for what breaks the format."""
    kind = head >> 4 & 7
    format = head & 3
    route: "RoutingHeader | None" = None
    destination = b""
    if head & codes.HEAD_ROUTED:
        how = reader.u8()
        if how & 0xF0:
            raise Refusal(codes.MALFORMED, "a routing header with an unknown layout")
        route = RoutingHeader(b"", how & 3, reader.u8())
        if how & codes.HOW_DESTINATION:
            destination = nodes.read(reader)
        if how & codes.HOW_SOURCE:
            route.source = nodes.read(reader)
    options = _read_options(reader, kind) if head & codes.HEAD_OPTIONS else None
    if kind >= codes.ERROR and format != codes.RAW:
        raise Refusal(codes.MALFORMED, "an error or signal with a payload format")
    if kind == codes.SIGNAL:
        frame = _read_signal(reader, destination, aliases, nodes)
    else:
        frame = Frame(kind, destination, b"", 0, b"", format, b"")
        left_ms = read_fields(frame, reader, aliases)
        if left_ms:
            frame.expires = now + left_ms
    frame.route = route
    frame.options = options
    if options is not None and options.lane != codes.NORMAL and _names_address(frame):
        frame.endpoint = address_of(frame.endpoint, options.lane)
    return frame


def _names_address(frame: Frame) -> bool:
    """Whether its endpoint, with the lane byte if it has one, is what its pair is known by."""
    return frame.kind <= codes.REQUEST or (frame.kind == codes.SIGNAL and frame.signal in _OF_ADDRESSES)


def read_run(
    reader: Reader, aliases: AliasTable, nodes: AliasTable, now: int
) -> "tuple[Frame, list[bytes], int]":
    """A RUN, its head read: the first message without its payload, the payloads of all, and where what stands
    before the number ends. Raises Refusal.
    """
    head = reader.u8()
    if head & 0xE4 != codes.MESSAGE or head & 3 == codes.TYPED:
        raise Refusal(codes.MALFORMED, "a run of what is no plain message")
    frame = read_frame(head, reader, aliases, nodes, now)
    pos = reader.pos
    count = count_run(reader.data, pos, reader.end)
    return frame, run_payloads(reader.data, pos, reader.end, count), pos - 2


def _read_signal(reader: Reader, destination: bytes, aliases: AliasTable, nodes: AliasTable) -> Frame:
    which = reader.u8()
    if which == codes.HAVE or which == codes.HAVE_PART:
        frame: Frame = HaveFrame(destination, b"", [])
        frame.signal = which
    elif which == codes.SELECTED:
        frame = SelectedSignal(destination, 0, 0, [])
    elif which in (codes.PRUNE, codes.GRAFT):
        frame = TreeFrame(which, destination, b"", b"")
    else:
        frame = signal(which, destination)
    if not 0 < which <= codes.HAVE_PART:
        return frame  # unknown: skipped, with all that follows
    read_signal(frame, reader, aliases)
    if which == codes.TRACED or which == codes.SELECT:
        return frame  # the rest is its payload
    if isinstance(frame, HaveFrame):
        frame.holders = _read_holders(reader, nodes, None)
    elif isinstance(frame, SelectedSignal):
        frame.holders = _read_holders(reader, nodes, aliases)
    elif isinstance(frame, TreeFrame):
        frame.node = nodes.read(reader)
    if reader.left():
        raise Refusal(codes.MALFORMED, "bytes behind a signal")
    return frame


def _read_holders(reader: Reader, nodes: AliasTable, aliases: "AliasTable | None") -> "list[Holder]":
    """Of a SELECTED with the `aliases` of their endpoints."""
    holders: "list[Holder]" = []
    while reader.left():
        if len(holders) == codes.HOLDERS_MAX:
            raise Refusal(codes.MALFORMED, "more than 16 holders")
        key, uuid, kind, realm, metric, credit, cost, name, extension = read_holder(reader, nodes, aliases)
        holder = Holder(key, kind, realm, metric, credit, cost, name, read_traits(extension))
        holder.endpoint = uuid
        holders.append(holder)
    return holders


# Writing


def write_header(frame: Frame, aliases: AliasWriter, nodes: AliasWriter, direct: bytes, now: int) -> bytes:
    """The bytes before the payload; `direct` is the node that reads them."""
    head = codes.MESSAGE | frame.kind << 4 | frame.format
    route = b""
    if frame.route is not None or (frame.destination and frame.destination != direct):
        route = _write_route(frame, nodes, direct)
        head |= codes.HEAD_ROUTED
    options = b"" if frame.options is None else _write_options(frame.options, frame.kind)
    if options:
        head |= codes.HEAD_OPTIONS
        start = bytes((head,)) + route + bytes((len(options),)) + options
        if frame.options is not None and frame.options.name and frame.kind != codes.SIGNAL:
            aliases.note_named(frame.endpoint[: codes.ID_SIZE])
    else:
        start = bytes((head,)) + route
    if frame.kind != codes.SIGNAL:
        return start + write_fields(frame, aliases, now)
    start += write_signal(frame, aliases)
    if isinstance(frame, HaveFrame):
        return start + _write_holders(frame.holders, nodes, None)
    if isinstance(frame, SelectedSignal):
        return start + _write_holders(frame.holders, nodes, aliases)
    return start + nodes.write(frame.node) if isinstance(frame, TreeFrame) else start


def _write_route(frame: Frame, nodes: AliasWriter, direct: bytes) -> bytes:
    how = 0
    hops = codes.HOPS_MAX
    source = b""
    if frame.route is not None:
        how = frame.route.realm
        hops = frame.route.hops
        source = frame.route.source
    tail = b""
    if frame.destination and frame.destination != direct:
        how |= codes.HOW_DESTINATION
        tail = nodes.write(frame.destination)
    if source:
        how |= codes.HOW_SOURCE
        tail += nodes.write(source)
    return bytes((how, hops)) + tail


def _write_holders(holders: "list[Holder]", nodes: AliasWriter, aliases: "AliasWriter | None") -> bytes:
    data = b""
    for holder in holders:
        place = nodes.write(holder.key)
        if aliases is not None:
            place += aliases.write(holder.endpoint)
        place += u16(holder.metric)
        head = holder.kind | holder.realm << 2
        extension = write_traits(holder.traits)
        data += write_entry(head, place, holder.credit, holder.cost, holder.name, extension)
    return data


# Options


def cut(options: "Options | None", partial: int, size: int) -> Options:
    """The same with what says that only the first piece follows, of `size` bytes."""
    more = Options()
    if options is not None:
        more.best_effort = options.best_effort
        more.reach = options.reach
        more.name = options.name
        more.retain = options.retain
        more.window = options.window
        more.lane = options.lane
        more.things = options.things
    more.partial = partial
    more.size = size
    return more


def share(options: "Options | None", description: bytes) -> Options:
    """The same of a frame whose payload lies where that says."""
    more = cut(options, -1, 0)
    more.things = described(more.things, description)
    return more


def with_name(options: "Options | None", name: str) -> Options:
    """The same of a broadcast for who has subscribed by a pattern."""
    named = cut(options, -1, 0)
    named.name = name
    return named


def _read_options(reader: Reader, kind: int) -> "Options | None":
    size = reader.varint()
    if size > reader.left():
        raise Refusal(codes.MALFORMED, "options are longer than their frame")
    found: "Options | None" = None
    within = Reader(reader.data, reader.pos, reader.pos + size)
    reader.pos += size
    while within.left():
        which = within.u8()
        length = within.u8()
        value = Reader(within.data, within.pos, within.pos + length)
        within.take(length)
        for number, kinds, read, _ in _OPTIONS:
            if number == which and kinds >> kind & 1:
                if found is None:
                    found = Options()
                read(value, found)
    return found


def _write_options(options: Options, kind: int) -> bytes:
    data = b""
    for which, kinds, _, write in _OPTIONS:
        value = write(options) if kinds >> kind & 1 else None
        if value is not None:
            data += bytes((which, len(value))) + value
    return data


def _read_cut(value: Reader, options: Options) -> None:
    if value.left() != 5 or options.partial >= 0:
        raise Refusal(codes.MALFORMED, "option CUT has not 5 bytes, or comes twice")
    options.partial = value.u8()
    options.size = value.u16() << 16 | value.u16()


def _write_cut(options: Options) -> "bytes | None":
    if options.partial < 0:
        return None
    return bytes((options.partial,)) + u16(options.size >> 16) + u16(options.size)


def _read_stream(value: Reader, options: Options) -> None:
    if value.left() != 2 or options.window:
        raise Refusal(codes.MALFORMED, "option STREAM has not 2 bytes, or comes twice")
    options.window = value.u16()
    if not options.window:
        raise Refusal(codes.MALFORMED, "a stream window of 0")


def _write_stream(options: Options) -> "bytes | None":
    return u16(options.window) if options.window else None


def _read_best_effort(value: Reader, options: Options) -> None:
    options.best_effort = True


def _write_best_effort(options: Options) -> "bytes | None":
    return b"" if options.best_effort else None


def _read_reach(value: Reader, options: Options) -> None:
    """Read a realm; what is none, or unclear, is the narrowest: never an error, so that who passes nothing on
    need not know this.
    """
    reach = value.u8() if value.left() == 1 else codes.USERSPACE
    if not codes.USERSPACE <= reach <= codes.GLOBAL:
        reach = codes.USERSPACE
    options.reach = min(reach, options.reach or codes.GLOBAL)


def _write_reach(options: Options) -> "bytes | None":
    return bytes((options.reach,)) if options.reach else None


def _read_name(value: Reader, options: Options) -> None:
    if not 1 <= value.left() <= codes.TEXT_SIZE_MAX or options.name:
        raise Refusal(codes.MALFORMED, "option NAME has not 1 to 64 bytes, or comes twice")
    options.name = text(value.rest())


def _write_name(options: Options) -> "bytes | None":
    return options.name.encode() if options.name else None


def _read_retain(value: Reader, options: Options) -> None:
    if value.left() != 4 or options.retain:
        raise Refusal(codes.MALFORMED, "option RETAIN has not 4 bytes, or comes twice")
    options.retain = value.u16() << 16 | value.u16()
    if not options.retain & ~codes.CLEARED:
        raise Refusal(codes.MALFORMED, "a retained message of number 0")


def _write_retain(options: Options) -> "bytes | None":
    return u16(options.retain >> 16) + u16(options.retain) if options.retain else None


def _read_lane(value: Reader, options: Options) -> None:
    lane = value.u8() if value.left() == 1 else codes.NORMAL
    if lane == codes.NORMAL or lane > codes.LANE_MAX or options.lane != codes.NORMAL:
        raise Refusal(codes.MALFORMED, "option LANE is not one byte 0 or 2 to 7, or comes twice")
    options.lane = lane


def _write_lane(options: Options) -> "bytes | None":
    return bytes((options.lane,)) if options.lane != codes.NORMAL else None


_BESIDE = 0x3F  # the kinds that may have things: all but ERROR and SIGNAL


def _read_things(value: Reader, options: Options) -> None:
    options.things = read_counts(value, options.things)


def _write_things(options: Options) -> "bytes | None":
    return write_counts(options.things)


def _read_shared(value: Reader, options: Options) -> None:
    options.things = read_shared(value, options.things)


def _write_shared(options: Options) -> "bytes | None":
    return write_shared(options.things)


# Each optional field of a header, in the order in which they are written: its number, the kinds that may have
# it, as bits, how it is read and how it is written.
_OPTIONS = (
    (codes.OPTION_STREAM, 1 << codes.REQUEST, _read_stream, _write_stream),
    (codes.OPTION_BEST_EFFORT, 1 << codes.SEND | 1 << codes.PUBLISH, _read_best_effort, _write_best_effort),
    (codes.OPTION_REACH, 1 << codes.PUBLISH, _read_reach, _write_reach),
    (
        codes.OPTION_NAME,
        1 << codes.SEND | 1 << codes.PUBLISH | 1 << codes.SIGNAL,
        _read_name,
        _write_name,
    ),
    (
        codes.OPTION_RETAIN,
        1 << codes.SEND | 1 << codes.PUBLISH | 1 << codes.REQUEST,
        _read_retain,
        _write_retain,
    ),
    (codes.OPTION_CUT, ~(1 << codes.SIGNAL), _read_cut, _write_cut),
    (codes.OPTION_LANE, -1, _read_lane, _write_lane),
    (OPTION_THINGS, _BESIDE, _read_things, _write_things),
    (OPTION_SHARED, _BESIDE, _read_shared, _write_shared),
)
