"""What waits to be written on one link, and how it becomes bytes: late, when the link can take them.

Control frames first, then the directory's changes, credit, answers; then messages, in turn with broadcasts
and messages of others, and large messages piece by piece. Each lane (lanes.py) lies in one queue, and so
keeps its order. Every queue here has a bound. Knows frames, but no state of the link but "open".
"""

from struct import pack

from busway.protocol.fifo import Fifo
from busway.protocol.link.lanes import is_express, lane_of
from busway.protocol.link.switching import Parcel, Path
from busway.protocol.messaging.sender import Origin
from busway.protocol.wire import codes
from busway.protocol.wire.aliases import AliasWriter, node_writer
from busway.protocol.wire.fields import varint
from busway.protocol.wire.hello import Limits
from busway.protocol.wire.messages import Frame, HaveFrame, cut, signal, write_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.messaging.endpoints import InFlow
    from busway.protocol.packet.packets import PacketLayer
    from busway.protocol.routing.advertising import Advertiser

_NOWHERE = 1 << 62  # in a stream
_HAVE_SIZE = 72  # of a HAVE besides its holders, with both nodes and the endpoint bound in it
_HOLDER_SIZE = 104  # of one, with its node bound, a name of 64 bytes, and all numbers as long as they get
OVERHEAD = 32  # what a queued message counts for besides its payload, bytes
_ENDS_MAX = codes.ANSWERS_MAX >> 1  # errors and signals that wait among the messages of others


def frame(body: bytes) -> bytes:
    """A body with its length before it."""
    return varint(len(body)) + body


class Partial:
    """A large message under way in pieces; what follows in its lane waits in `held`."""

    __slots__ = ("held", "lane", "number", "out", "payload", "pos")

    def __init__(self, number: int, out: Frame, payload: bytes) -> None:
        self.number = number
        self.out = out
        self.lane = lane_of(out)
        self.payload = payload
        self.pos = 0
        self.held: "list[Frame]" = []


class Outbox:
    """The queues of one link, and their serialisation."""

    __slots__ = (
        "_answers",
        "_credits",
        "_ends",
        "_fresh",
        "_partials",
        "_pins",
        "_repeated",
        "_spill",
        "_turn",
        "advertiser",
        "aliases",
        "broadcast_size",
        "broadcasts",
        "control",
        "direct",
        "forwarded",
        "layer",
        "limits",
        "nodes",
        "origin",
        "queue",
        "queued_size",
        "transit",
        "transit_size",
    )

    def __init__(self, limits: Limits, origin: Origin, advertiser: "Advertiser") -> None:
        self.origin = origin
        self.advertiser = advertiser
        self.control: "list[bytes]" = []
        self.queue = Fifo()
        self.queued_size = 0  # bytes in `queue` and held behind partial messages, overhead included
        self.broadcasts = Fifo()
        self.broadcast_size = 0
        self.transit = Fifo()  # messages of others
        self.transit_size = 0
        self._ends = 0  # those in it that are errors or signals
        self.forwarded = 0  # messages of others that were queued here, all in all
        self._credits: "list[InFlow]" = []
        self._answers = Fifo()
        self._partials: "list[Partial]" = []
        self._spill = b""
        self._turn = 0
        self.layer: "PacketLayer | None" = None  # of a packet link: takes what may be lost
        self._pins: "dict[bytes, bool]" = {}  # lanes, with a message type: their aliases are kept
        self._repeated: "dict[bytes, int]" = {}  # of those lanes, where the last that is repeated ends
        self._fresh: "list[bytes]" = []  # the lanes of those that are being written
        self.agreed(limits, b"", b"", codes.ROUTES_MAX)

    def agreed(self, limits: Limits, me: bytes, direct: bytes, nodes_max: int) -> None:
        """The handshake has settled the limits, and who is at the other end."""
        self.limits = limits
        self.direct = direct
        self.aliases = AliasWriter(limits.aliases_max)
        self.nodes = node_writer(me, direct, nodes_max)

    # Taking in

    def push(self, out: Frame, size: int) -> None:
        self.queue.items.append(out)
        self.queued_size += size + OVERHEAD

    def push_broadcast(self, out: Frame, size: int) -> None:
        self.broadcasts.push(out)
        self.broadcast_size += size + OVERHEAD

    def push_transit(self, out: Frame) -> bool:
        """A message of another node, or what is said of those before it. False if the queue is full; what has
        no payload finds room beside the messages, for it ends what they began.
        """
        payload = out.payload
        full = self.transit_size + len(payload) + OVERHEAD > codes.TRANSIT_SIZE_MAX
        if out.kind < codes.ERROR:
            full = full and self.transit_size > 0
        elif not payload or not full:
            full = self._ends >= _ENDS_MAX
        if full:
            return False
        self.transit.push(out)
        self._count_transit(out, 1)
        self.forwarded += 1
        return True

    def push_parcel(self, path: Path, tail: bytes) -> bool:
        """The same by the short way (switching.py)."""
        size = len(tail) + OVERHEAD - 2
        if self.transit_size + size > codes.TRANSIT_SIZE_MAX:
            return False
        self.transit.items.append(Parcel(path, tail))
        self.transit_size += size
        self.forwarded += 1
        return True

    def push_answer(self, out: Frame) -> bool:
        """False if the peer has not read so many answers that it must be cut off."""
        self._answers.push(out)
        return len(self._answers) <= codes.ANSWERS_MAX

    def answers(self) -> int:
        return len(self._answers)

    def push_credit(self, flow: "InFlow") -> None:
        if not flow.credit_due:
            flow.credit_due = True
            self._credits.append(flow)

    def has_bytes(self) -> bool:
        return bool(self.control or self._spill)

    def has_messages(self) -> bool:
        return bool(
            self.queue.items
            or self.broadcasts.items
            or self._partials
            or self._answers.items
            or self._credits
            or self.transit.items
            or self.advertiser.has_news()
        )

    def in_pieces(self) -> bool:
        return bool(self._partials)

    def leftovers(self) -> "list[Frame]":
        """All messages that were not written whole, in order; the outbox is empty afterwards."""
        rest: "list[Frame]" = []
        for partial in self._partials:
            rest.append(partial.out)
            rest.extend(partial.held)
        for fifo in (self.queue, self._answers, self.broadcasts, self.transit):
            for item in fifo.drain():
                rest.append(item.path.message(item.tail) if type(item) is Parcel else item)
        self._partials = []
        self.queued_size = self.broadcast_size = self.transit_size = self._ends = 0
        return rest

    def credits(self) -> "list[InFlow]":
        """Flows whose limit was to be told; none are due afterwards."""
        flows = self._credits
        self._credits = []
        for flow in flows:
            flow.credit_due = False
        return flows

    def take_broadcasts(self, root: bytes) -> "list[Frame]":
        """The broadcasts along the tree of `root`, b"" for our own, that nothing has been written of."""
        taken: "list[Frame]" = []
        for out in self.broadcasts.drain():
            if (out.destination or out.source()) == root:
                taken.append(out)
                self.broadcast_size -= len(out.payload) + OVERHEAD
            else:
                self.broadcasts.push(out)
        return taken

    # Writing

    def write(self, size_max: int, opened: bool, closing: bool, now: int) -> bytes:
        """At most `size_max` bytes; what of a frame exceeds them is kept for the next call."""
        parts = [self._spill]
        parts.extend(self.control)
        self.control = []
        size = sum([len(part) for part in parts])
        if opened and size < size_max:
            size = self._write_open(parts, size, size_max, closing, now)
        data = b"".join(parts) if len(parts) > 1 else parts[0]
        if self._fresh:
            self._note_pins(len(data))
        self._spill = data[size_max:]
        return data[:size_max] if self._spill else data

    def _write_open(self, parts: "list[bytes]", size: int, size_max: int, closing: bool, now: int) -> int:
        if closing:
            while self._partials and size < size_max:
                size = self._write_piece(parts, size)
            return size
        if self.advertiser.has_news():
            size = self.advertiser.write(parts, size, size_max)
        for flow in self.credits():
            size += self._write_credit(flow, parts, now)
        while size < size_max and self._answers.items:
            size = self._write_one(self._answers.pop(), parts, size, now)
        idle = 0
        while idle < 4 and size < size_max:
            before = size
            size = self._write_turn(parts, size, size_max, now)
            idle = 0 if size > before else idle + 1
        return size

    def _write_turn(self, parts: "list[bytes]", size: int, size_max: int, now: int) -> int:
        """A piece of a large message, messages, broadcasts, messages of others: in turn, also where one call
        has no room for all.
        """
        turn = self._turn
        self._turn = (turn + 1) % 4
        if turn == 0:
            return self._write_piece(parts, size) if self._partials else size
        if self._partials or self.broadcasts.items or self.transit.items:
            size_max = min(size_max, size + self.limits.frame_size_max)
        if turn == 3:
            return self._write_transit(parts, size, size_max, now)
        fifo = self.queue if turn == 1 else self.broadcasts
        return self._write_queue(fifo, parts, size, size_max, now)

    def _write_transit(self, parts: "list[bytes]", size: int, size_max: int, now: int) -> int:
        """Messages of others; those by the short way with what stood before the one before."""
        fifo = self.transit
        while size < size_max and fifo.items:
            item: "Frame | Parcel" = fifo.peek()
            if type(item) is Parcel and not self._partials and not self._pins:
                size = self._write_parcels(parts, size, size_max, now)
                continue
            out = item.path.message(item.tail) if isinstance(item, Parcel) else item
            body = len(out.payload)
            whole_max = self.limits.frame_size_max - codes.HEADER_SIZE_MAX
            if body > whole_max and len(self._partials) >= self.limits.partials_max:
                break
            fifo.pop()
            self._count_transit(out, -1)
            size = self._write_one(out, parts, size, now)
        return size

    def _write_parcels(self, parts: "list[bytes]", size: int, size_max: int, now: int) -> int:
        fifo = self.transit
        items = fifo.items
        first = at = fifo.head
        count = len(items)
        total = 0
        epoch = self.aliases.epoch + self.nodes.epoch
        while at < count and size < size_max:
            item = items[at]
            if type(item) is not Parcel:
                break
            path = item.path
            if path.epoch != epoch:
                self._prepare(path, now)
                epoch = self.aliases.epoch + self.nodes.epoch
            tail = item.tail
            body = len(tail)
            total += body
            length = varint(len(path.prefix) + body)
            parts.append(length + path.prefix)
            parts.append(tail)
            size += len(length) + len(path.prefix) + body
            at += 1
        fifo.skip(at)
        self.transit_size -= total + (at - first) * (OVERHEAD - 2)
        return size

    def _prepare(self, path: Path, now: int) -> None:
        """What stands before the number; used again once it binds nothing any more."""
        nodes = self.nodes.numbers
        bound = path.endpoint in self.aliases.numbers and path.route.source in nodes
        bound = bound and path.peer.key in nodes
        header = write_header(path.message(b"\0\0"), self.aliases, self.nodes, self.direct, now)
        path.prefix = header[:-2]
        path.epoch = self.aliases.epoch + self.nodes.epoch if bound else -1

    def _write_queue(self, fifo: Fifo, parts: "list[bytes]", size: int, size_max: int, now: int) -> int:
        """Messages up to `size_max` bytes; runs of plain ones by the short way."""
        whole_max = self.limits.frame_size_max - codes.HEADER_SIZE_MAX
        size = self._write_run(fifo, parts, size, size_max, whole_max)
        while size < size_max and fifo.items:
            out: Frame = fifo.peek()
            body = len(out.payload)
            if body > whole_max and len(self._partials) >= self.limits.partials_max:
                break
            fifo.pop()
            self._count_out(fifo, body + OVERHEAD)
            size = self._write_one(out, parts, size, now)
            size = self._write_run(fifo, parts, size, size_max, whole_max)
        return size

    def _write_run(self, fifo: Fifo, parts: "list[bytes]", size: int, size_max: int, whole_max: int) -> int:
        """The commonest thing on a busy link: plain messages whose alias is bound and short, without a call
        for each.
        """
        if self._partials or self._pins:
            return size
        numbers = self.aliases.numbers
        far = self.nodes.numbers
        direct = self.direct
        items = fifo.items
        first = at = fifo.head
        count = len(items)
        add = parts.append
        total = 0
        while at < count and size < size_max:
            out: Frame = items[at]
            payload: bytes = out.payload
            body = len(payload)
            number = numbers.get(out.endpoint, 0)
            if (
                out.kind > codes.PUBLISH
                or out.route is not None
                or out.options is not None
                or body > whole_max
                or out.format >= codes.TYPED
                or not 0 < number < 0x80
            ):
                break
            total += body
            if out.destination != direct and out.kind == codes.SEND:
                node = far.get(out.destination, 0)
                if not 0 < node < 0x80:
                    total -= body
                    break
                head = pack(
                    ">BBBBBH",
                    codes.MESSAGE | codes.HEAD_ROUTED | out.format,
                    codes.HOW_DESTINATION,
                    codes.HOPS_MAX,
                    node,
                    number,
                    out.number & 0xFFFF,
                )
                head = varint(body + 7) + head
                add(head)
                add(payload)
                size += len(head) + body
                at += 1
                continue
            body += 4
            if body < 0x80:
                add(
                    pack(
                        ">BBBH", body, codes.MESSAGE | out.kind << 4 | out.format, number, out.number & 0xFFFF
                    )
                )
                size += body + 1
            else:
                head = pack(">BBH", codes.MESSAGE | out.kind << 4 | out.format, number, out.number & 0xFFFF)
                head = varint(body) + head
                add(head)
                size += len(head) + body - 4
            add(payload)
            at += 1
        if at > first:
            fifo.skip(at)
            self._count_out(fifo, total + (at - first) * OVERHEAD)
        return size

    def _fifo_of(self, out: Frame) -> Fifo:
        """Which of the three it came from: a broadcast, or a probe before one, is for no single node."""
        if out.route is not None and out.kind != codes.PUBLISH:
            return self.transit
        return self.broadcasts if out.kind == codes.PUBLISH or not out.destination else self.queue

    def _count_out(self, fifo: Fifo, size: int) -> None:
        if fifo is self.queue:
            self.queued_size -= size
        else:
            self.broadcast_size -= size

    def _count_transit(self, out: Frame, sign: int) -> None:
        self.transit_size += sign * (len(out.payload) + OVERHEAD)
        if out.kind >= codes.ERROR:
            self._ends += sign

    def _write_one(self, out: Frame, parts: "list[bytes]", size: int, now: int) -> int:
        """Any message: whole, or its first piece; or held back behind a partial one of its pair, or
        expired.
        """
        if isinstance(out, HaveFrame):
            return size + self._write_have(out, parts, now)
        payload: bytes = out.payload
        if out.cancelled:
            return size
        if out.expires and out.expires <= now:
            if out.route is None:  # else its origin counts the time itself
                self.origin.undeliverable(out, codes.EXPIRED)
            return size
        if self.layer is not None and out.kind <= codes.REQUEST:
            if out.is_best_effort():
                if self._write_best_effort(self.layer, out, payload, now):
                    return size
            self._repeats(out)
        if self._partials and self._is_held(out):
            return size
        if len(payload) > self.limits.frame_size_max - codes.HEADER_SIZE_MAX:
            if out.kind == codes.SIGNAL:  # a signal is never cut (section 7)
                self.origin.counters["signals_dropped"] += 1
                return size
            return self._write_first_piece(out, payload, parts, size, now)
        header = write_header(out, self.aliases, self.nodes, self.direct, now)
        length = varint(len(header) + len(payload))
        parts.append(length + header)
        parts.append(payload)
        return size + len(length) + len(header) + len(payload)

    def _is_held(self, out: Frame) -> bool:
        """Whether a large message of its lane is under way, behind which it now waits."""
        if is_express(out):
            return False
        lane = lane_of(out)
        for partial in self._partials:
            if partial.lane.startswith(lane):
                partial.held.append(out)
                fifo = self._fifo_of(out)
                if fifo is self.transit:
                    self._count_transit(out, 1)
                else:
                    self._count_out(fifo, -len(out.payload) - OVERHEAD)
                return True
        return False

    # Best effort

    def _write_best_effort(self, layer: "PacketLayer", out: Frame, payload: bytes, now: int) -> bool:
        """Into a packet of its own that is not repeated. False: the message goes the way of all, because it
        is too large, the other side may not know its aliases yet, or it would overtake one of its lane.
        """
        lane = lane_of(out)
        if lane + out.type_id not in self._pins:
            self._pin(lane, out)
            return False
        if self._repeated[lane] > layer.acked:
            return False
        options = out.options
        out.options = None  # the packet says it
        header = write_header(out, self.aliases, self.nodes, self.direct, now)
        out.options = options
        if len(header) + len(payload) > layer.body_max():
            return False
        layer.offer(header + payload)
        return True

    def _pin(self, lane: bytes, out: Frame) -> None:
        """From its first message on the numbers of a lane are kept: a late packet is never misread."""
        if len(self._pins) == codes.PINS_MAX or not self.aliases.pin(out.endpoint):
            return
        if out.format == codes.TYPED and not self.aliases.pin(out.type_id):
            return
        for node in (out.source(), out.destination):
            if node and self.nodes.numbers.get(node, 0) not in (codes.SENDER, codes.RECEIVER):
                if not self.nodes.pin(node):
                    return
        self._pins[lane + out.type_id] = True
        self._repeated[lane] = _NOWHERE

    def _repeats(self, out: Frame) -> None:
        """A message that is repeated, perhaps of a lane whose others are not: these wait for it."""
        lane = lane_of(out)
        if lane in self._repeated:
            self._repeated[lane] = _NOWHERE
            self._fresh.append(lane)

    def _note_pins(self, size: int) -> None:
        """What was written just now ends `size` bytes from where the stream has been taken to; what of a
        large message is still to come counts when it has been.
        """
        assert self.layer is not None
        going = [partial.lane for partial in self._partials]
        for lane in self._fresh:
            self._repeated[lane] = _NOWHERE if lane in going else self.layer.pulled + size
        self._fresh = []

    def _write_credit(self, flow: "InFlow", parts: "list[bytes]", now: int) -> int:
        out = signal(codes.CREDIT, flow.peer.key, flow.endpoint.uuid, flow.limit)
        data = frame(write_header(out, self.aliases, self.nodes, self.direct, now))
        parts.append(data)
        return len(data)

    def _write_have(self, out: HaveFrame, parts: "list[bytes]", now: int) -> int:
        """As many holders as the frame takes, whatever their names; the nearest come first."""
        out.written = True
        fitting = (self.limits.frame_size_max - _HAVE_SIZE) // _HOLDER_SIZE
        if not fitting:
            for holder in out.holders:
                holder.name = ""
        out.holders = out.holders[: max(1, fitting)]
        data = frame(write_header(out, self.aliases, self.nodes, self.direct, now))
        parts.append(data)
        return len(data)

    # Large messages

    def _write_first_piece(
        self, out: Frame, payload: bytes, parts: "list[bytes]", size: int, now: int
    ) -> int:
        used = [partial.number for partial in self._partials]
        number = 0
        while number in used:
            number += 1
        partial = Partial(number, out, payload)
        options = out.options  # of a broadcast, others are about to write it as well
        out.options = cut(options, number, len(payload))
        header = write_header(out, self.aliases, self.nodes, self.direct, now)
        out.options = options
        # Never the whole payload, however short the header turned out: a cut message has a second piece.
        partial.pos = self.limits.frame_size_max - codes.HEADER_SIZE_MAX
        self._partials.append(partial)
        data = frame(header + payload[: partial.pos])
        parts.append(data)
        return size + len(data)

    def _write_piece(self, parts: "list[bytes]", size: int) -> int:
        """One more piece of the large message whose turn it is."""
        partial = self._partials.pop(0)
        stop = partial.pos + self.limits.frame_size_max - 2
        data = frame(bytes((codes.MORE, partial.number)) + partial.payload[partial.pos : stop])
        parts.append(data)
        partial.pos = stop
        if stop < len(partial.payload):
            self._partials.append(partial)
        else:
            self._end_partial(partial)
        return size + len(data)

    def _end_partial(self, partial: Partial) -> None:
        """The last piece is written: what waited behind it is next in the queue."""
        self._repeats(partial.out)
        for fifo in (self.queue, self.broadcasts, self.transit):
            held = [out for out in partial.held if self._fifo_of(out) is fifo]
            if held:
                rest: "list[object]" = list(held)
                rest.extend(fifo.drain())
                fifo.items = rest
