"""Queues of what waits to be written on one link, and how it becomes bytes: late, when the link can take
them.

Control frames first, then the directory's changes, credit, answers; then messages, in turn with broadcasts
and messages of others, and large messages piece by piece. Each lane (queue.py) lies in one queue, and so
keeps its order. Every queue here has a bound. Knows frames, but no state of the link but "open". Messages of
other priorities than normal have an outbox of their own each, a row of queues (lanes.py).
"""

from busway.protocol.fifo import Fifo
from busway.protocol.link.batch import Batch
from busway.protocol.link.face import Intake, LinkFace
from busway.protocol.link.fast import write_answerable, write_passing, write_plain, write_run
from busway.protocol.link.link import Unrepeated
from busway.protocol.link.partial import Partial, held_of
from busway.protocol.link.queue import OVERHEAD, SendQueue, TransitQueue, is_express, lane_of
from busway.protocol.link.rows import Rows
from busway.protocol.wire import codes
from busway.protocol.wire.aliases import AliasWriter, node_writer
from busway.protocol.wire.fields import varint
from busway.protocol.wire.hello import Limits
from busway.protocol.wire.holders import cut_have, cut_selected
from busway.protocol.wire.messages import Frame, HaveFrame, SelectedSignal, cut, share, write_header
from busway.protocol.wire.things import SHARED_MIN, Things

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from busway.protocol.link.aside import Beside

ENDED: "Final" = 1 << 40  # added to a size: as many things as go with one write belong to it
_SHARING_MIN: "Final" = 512  # bytes of a frame, from which on the header of a shared payload has room in it
_NOWHERE: "Final" = 1 << 62  # in a stream
_SIGNAL_SIZE: "Final" = 60  # of a signal besides its payload, with both nodes bound in it


class Roots:
    """The roots of the broadcasts that wait, as they were when so many did, and that one was the last.

    An object of its own: CPython has a quick way to the attributes of an instance with few of them.
    """

    __slots__ = ("last", "looked", "roots")

    def __init__(self) -> None:
        self.roots = _NO_KEYS
        self.last: "Frame | None" = None
        self.looked = -1


# As long as there is nothing in them: an empty dict takes 64 bytes, and there are many. Never changed.
_NO_KEYS: "dict[bytes, bool]" = {}
_NONE_FRESH: "list[bytes]" = []
_NOT_REPEATED: "dict[bytes, int]" = {}


class Outbox:
    """The queues of one link, and their serialisation."""

    # On slow lines, where each packet takes its time:
    hasty = False  # what is of high priority ends its packet
    ends_early = False  # its end is in what is kept for the next call
    piece_max = 0x7FFFFFFF  # bytes of a large message between which others may pass

    def __init__(
        self, link: LinkFace, queue: SendQueue, broadcasts: SendQueue, transit: TransitQueue
    ) -> None:
        self._link = link
        self._news = link.news
        self.control: "list[bytes]" = []
        self.queue = queue
        self.broadcasts = broadcasts
        self.transit = transit
        self.rows: "Rows | None" = None  # of other priorities, if there are any
        self.whole: "Rows | None" = None  # of each row: all of them, if there are several
        self._credits: "list[Intake]" = []
        self.answers = Fifo()  # small, and before all messages
        self._partials: "list[Partial]" = []
        self._blocked = False  # a large message waits until another is written
        self._spill = b""
        self.size = 0  # of what `take` gave last
        self.views = False  # whether large messages may be given as views of them
        self.cuts = True  # False: what `write` returns may be longer, and what exceeds `size_max` comes again
        self._turn = 0
        self.layer: "Unrepeated | None" = None  # of a packet link
        self._pins = _NO_KEYS  # lanes, with a message type: their aliases are kept
        self._repeated = _NOT_REPEATED  # of those lanes, where the last that is repeated ends
        self._fresh = _NONE_FRESH  # the lanes of those that are being written
        self._roots: "Roots | None" = None
        self.beside: "Beside | None" = None  # if things go beside the bytes
        self.agreed(link.limits, b"", b"", codes.ROUTES_MAX, (False, False))

    def agreed(
        self, limits: Limits, me: bytes, direct: bytes, nodes_max: int, both: "tuple[bool, bool]"
    ) -> None:
        """The handshake has settled the limits, who is at the other end, and whether `both` take RUN, and
        know labels.
        """
        self._runs, self._addressing = both
        self.limits = limits
        self.direct = direct
        self.aliases = AliasWriter(limits.aliases_max)
        self.nodes = node_writer(me, direct, nodes_max)

    def share(self, main: "Outbox") -> None:
        """Write on the same link as `main`, with its numbers; nothing in packets that are not repeated."""
        self._runs = main._runs
        self._addressing = main._addressing
        self.limits = main.limits
        self.direct = main.direct
        self.aliases = main.aliases
        self.nodes = main.nodes
        if main.hasty:
            self.piece_max = main.piece_max

    # Taking in

    def push_credit(self, intake: Intake) -> None:
        """Its limit is to be told."""
        if not intake.credit_due:
            intake.credit_due = True
            self._credits.append(intake)

    def has_bytes(self, opened: bool) -> bool:
        """Whether there is something that waits for nothing but the link, or, if that is open, messages."""
        return bool(self.control or self._spill) or (opened and self.has_messages())

    def has_messages(self) -> bool:
        """Whether an open link would write more than what others have not been told of the link itself."""
        return bool(
            self.queue.items
            or self.broadcasts.items
            or self._partials
            or self.answers.items
            or self._credits
            or self.transit.items
            or self._news.due
            or (self.rows is not None and self.rows.has_messages())
        )

    def in_pieces(self) -> bool:
        """Whether a large message is under way."""
        return bool(self._partials) or (self.rows is not None and self.rows.in_pieces())

    def leftovers(self) -> "list[Frame]":
        """All messages that were not written whole, in order; the outbox is empty afterwards."""
        rest: "list[Frame]" = []
        for partial in self._partials:
            if not partial.is_written():
                rest.append(partial.out)
            rest.extend([out for _, out in partial.held.drain()])
        rest.extend(self.queue.drain_frames())
        rest.extend(self.answers.drain())
        rest.extend(self._drain_broadcasts())
        rest.extend(self.transit.drain_frames())
        self._partials = []
        self.queue.size = 0
        self.transit.clear()
        if self.rows is not None:
            rest.extend(self.rows.leftovers())
        self.broadcasts.size = 0
        return rest

    def credits(self) -> "list[Intake]":
        """The intakes whose limit was to be told; none are due afterwards."""
        due = self._credits
        self._credits = []
        for intake in due:
            intake.credit_due = False
        return due

    def take_broadcasts(self, root: bytes) -> "list[Frame]":
        """The broadcasts along the tree of `root`, b"" for our own, that nothing has been written of. While
        nothing comes or goes, asking in vain costs little.
        """
        taken = self._take_own(root)
        if self.rows is not None:
            taken.extend(self.rows.take_broadcasts(root))
        return taken

    def _take_own(self, root: bytes) -> "list[Frame]":
        queue = self.broadcasts
        known = self._roots
        if known is None:
            known = self._roots = Roots()
        last = queue.items[-1] if queue.items else None
        if last is not known.last or len(queue) != known.looked:
            known.last = last
            known.looked = len(queue)
            waiting = queue.items[queue.head :] + held_of(queue, self._partials)
            known.roots = {out.root(): True for out in waiting}
        if root not in known.roots:
            return []
        taken: "list[Frame]" = []
        for partial in self._partials:
            taken.extend(partial.take(queue, root, self._is_large))
        for out in self._drain_broadcasts():
            if out.root() == root:
                taken.append(out)
            else:
                queue.add(out)
        return taken

    def _drain_broadcasts(self) -> "list[Frame]":
        """All that wait in the queue, each by itself; what is held counts there all the same."""
        waiting: "list[Frame]" = []
        for item in self.broadcasts.drain():
            if isinstance(item, Batch):
                item.close()
                waiting.extend(item.frames())
            else:
                waiting.append(item)
        size = sum([self.broadcasts.weigh(out) for out in held_of(self.broadcasts, self._partials)])
        self.broadcasts.size = size if self.rows is None else size + self.rows.broadcasts_size()
        return waiting

    # Writing

    def write(self, size_max: int, opened: bool, closing: bool, now: int) -> bytes:
        """At most `size_max` bytes; what of a frame exceeds them is kept for the next call."""
        return self.joined(self.take(size_max, opened, closing, now), size_max)

    def joined(self, parts: "list[Any]", size_max: int) -> bytes:
        """All that `take` has given, as `write` gives it."""
        data: bytes = b"".join(parts) if len(parts) != 1 else parts[0]
        self._spill = data[size_max:]
        return data[:size_max] if self._spill and self.cuts else data

    def take(self, size_max: int, opened: bool, closing: bool, now: int) -> "list[Any]":
        """Buffers to be written in order, `size` bytes, none of them cut: the last frame may exceed
        `size_max`.
        """
        parts: "list[Any]" = []
        size = 0
        if self._spill:
            parts.append(self._spill)
            size = len(self._spill)
            self._spill = b""
            if self.ends_early:
                self.ends_early = opened = False
        if self.control:
            parts.extend(self.control)
            size += sum([len(part) for part in self.control])
            self.control = []
        if opened and size < size_max:
            size = self._write_open(parts, size, size_max, closing, now)
        if self._fresh:
            self._note_pins(size)
        if size >= ENDED:
            size -= ENDED
            self._link.touch()  # to be asked for more
        self.size = size
        return parts

    def _write_open(self, parts: "list[Any]", size: int, size_max: int, closing: bool, now: int) -> int:
        if closing:
            size = self.finish_pieces(parts, size, size_max, now)
            return size if self.rows is None else self.rows.finish(parts, size, size_max, now)
        if self._news.due:
            size = self._news.write(self.nodes, parts, size, size_max)
        if self._credits:
            for intake in self.credits():
                credit = intake.short_credit(self.aliases, self.direct)
                if credit:
                    parts.append(credit)
                    size += len(credit)
                else:
                    size = self._put(intake.credit(), b"", parts, size, now)
        while size < size_max and self.answers.items:
            size = self._write_one(self.answers.pop(), self.queue, parts, size, now)
        if self.rows is not None:
            return self.rows.write(parts, size, size_max, now)
        return self.write_turns(parts, size, size_max, now)

    def write_turns(self, parts: "list[Any]", size: int, size_max: int, now: int) -> int:
        """Messages of ours, broadcasts, messages of others, a piece of a large message: in turn, also where
        one call has no room for all. Ends when none of them has anything, or may write it.
        """
        if not self._partials and not self.broadcasts.items and not self.transit.items:
            if self.queue.items:
                self._turn = 1  # of the others, when something comes
                size = self._write_queue(self.queue, parts, size, size_max, now)
            if not self._partials:
                return size
        queues = (self.queue, self.broadcasts, self.transit)
        if not self._partials and not self.queue.items:
            alone = 1 if self.broadcasts.items else 2
            if not queues[3 - alone].items:
                self._turn = alone + 1
                size = self._write_queue(queues[alone], parts, size, size_max, now)
                if not self._partials:
                    return size
        idle = 0
        while idle < 4 and size < size_max:
            turn = self._turn
            if not self.queue.items and not self.broadcasts.items and not self.transit.items:
                turn = 3  # nothing else has anything
            self._turn = turn + 1 if turn < 3 else 0
            before = size
            under_way = len(self._partials)
            if turn == 3:
                if self._partials:
                    size = self._write_piece(parts, size, now, False)
            elif queues[turn].items:
                most = size_max
                if self._partials or self.broadcasts.items or self.transit.items:
                    most = min(size_max, size + self.limits.frame_size_max)
                size = self._write_queue(queues[turn], parts, size, most, now)
            # One that has made room for others counts, too, if it had nothing more to write itself.
            idle = 0 if size > before or len(self._partials) < under_way else idle + 1
        return size

    def _write_queue(self, queue: SendQueue, parts: "list[Any]", size: int, size_max: int, now: int) -> int:
        """Messages up to `size_max` bytes, as far as they may go; by the short way where there is one."""
        whole_max = self.limits.frame_size_max - codes.HEADER_SIZE_MAX
        own = queue is not self.transit
        if self.beside is not None:
            whole_max = min(whole_max, SHARED_MIN - 1)
        while queue.items and size < size_max:
            item = queue.items[queue.head]
            kind: int = item.kind
            if kind > codes.SIGNAL:
                batch: Batch = item
                size = self._write_batch(batch, queue, parts, size, now)
                continue
            if kind <= codes.PUBLISH and not self._partials and not self._pins:
                if not own:
                    size = write_passing(
                        queue, parts, size, size_max, self.aliases, self.nodes, self.direct, now
                    )
                elif kind < 0:
                    size = write_run(
                        queue,
                        parts,
                        size,
                        size_max,
                        whole_max,
                        self.aliases,
                        self.nodes,
                        self.direct,
                        self._runs,
                    )
                else:
                    size = write_plain(
                        queue, parts, size, size_max, whole_max, self.aliases, self.nodes, self.direct
                    )
                if not queue.items or size >= size_max:
                    break
                if queue.items[queue.head] is not item:
                    continue
            large = kind < 0 and queue.next_size() > whole_max
            full = len(self._partials) >= self.limits.partials_max if self.whole is None else self._is_full()
            if full and (large or (kind >= 0 and self._is_large(item))):
                self._blocked = True
                break
            out: Frame = queue.next() if kind < 0 else queue.pop()
            self._count(queue, out, -1)
            size = self._write_one(out, queue, parts, size, now)
        return size

    def _write_batch(self, batch: Batch, queue: SendQueue, parts: "list[Any]", size: int, now: int) -> int:
        """The batch at the front of a queue, as the bytes that other links have, too; or it is made into
        frames there, of which each goes its own way.
        """
        batch.close()
        prefix = b"" if self._partials else batch.prefix(self.aliases, self.nodes, self.direct, now)
        if not prefix:
            queue.items[queue.head : queue.head + 1] = batch.frames()
            return size
        queue.pop()
        queue.size -= batch.size
        data = batch.encoded(prefix, self._runs)
        parts.append(data)
        return size + len(data)

    def _count(self, queue: SendQueue, out: Frame, sign: int) -> None:
        if queue is self.transit:
            self.transit.count(out, sign)
        elif out.options is None:
            queue.size += sign * (len(out.payload) + OVERHEAD)
        else:
            queue.size += sign * queue.weigh(out)

    def _write_one(self, out: Frame, queue: SendQueue, parts: "list[Any]", size: int, now: int) -> int:
        """Any message: whole, or its first piece; or held back behind a partial one of its lane, or
        expired.
        """
        if isinstance(out, HaveFrame):
            return self._write_have(out, parts, size, now)
        if isinstance(out, SelectedSignal):
            return self._write_selected(out, parts, size, now)
        payload: "Any" = out.payload
        if out.cancelled:
            return size
        if out.expires and out.expires <= now:
            if out.route is None:  # else its origin counts the time itself
                self._link.host.undeliverable(out, codes.EXPIRED)
            return size
        if self.layer is not None and out.kind <= codes.REQUEST:
            if out.is_best_effort():
                if self._write_best_effort(self.layer, out, payload, now):
                    return size
            self._repeats(out)
        if self._partials and self._is_held(out, queue):
            return size
        if self.beside is not None and out.kind < codes.ERROR:
            if len(payload) >= SHARED_MIN or (out.options is not None and out.options.things is not None):
                return self._write_beside(self.beside, out, payload, parts, size, now)
        if self._is_large(out):
            return self._write_large(out, payload, parts, size, now)
        return self._put(out, payload, parts, size, now)

    def _write_large(self, out: Frame, payload: "Any", parts: "list[Any]", size: int, now: int) -> int:
        """The first piece of a message, where it may be cut."""
        if out.kind == codes.SIGNAL:  # a signal is never cut (section 7)
            if len(payload) <= self.limits.frame_size_max - _SIGNAL_SIZE:
                return self._put(out, payload, parts, size, now)
            self._link.host.count("signals_dropped")
            return size
        if self._room(out) < 1:  # of a last value, whose name takes all: as a publication
            self._link.host.count("broadcast_dropped")
            return size
        return self._write_first_piece(out, payload, parts, size, now)

    def _write_beside(
        self, beside: "Beside", out: Frame, payload: "Any", parts: "list[Any]", size: int, now: int
    ) -> int:
        """A message with things, or that need not go as bytes."""
        options = out.options
        things = None if options is None else options.things
        shared: "tuple[bytes, Any] | None" = None
        if len(payload) >= SHARED_MIN and self.limits.frame_size_max >= _SHARING_MIN:
            shared = beside.share(payload, things)
        large = shared is None and self._is_large(out)
        if large:
            size = self._write_large(out, payload, parts, size, now)
        elif shared is None:
            size = self._put(out, payload, parts, size, now)
        else:
            out.options = share(options, shared[0])
            beside.leaving.append(shared[1])
            size = self._put(out, b"", parts, size, now)
            out.options = options  # of a broadcast, others are about to write it as well
        if things is not None:
            beside.hand_over(things)
            if not large:
                _let_go(out, things)
        return size + ENDED if beside.is_full() else size

    def _put(self, out: Frame, payload: "Any", parts: "list[Any]", size: int, now: int) -> int:
        """A frame that fits."""
        header = write_answerable(out, self.aliases, self.direct, now)
        if not header:
            if not self._addressing and out.lane() != codes.NORMAL:
                return size  # news of a pair that the other side does not know
            header = write_header(out, self.aliases, self.nodes, self.direct, now)
            header = varint(len(header) + len(payload)) + header
        parts.append(header)
        parts.append(payload)
        return size + len(header) + len(payload)

    def _write_have(self, out: HaveFrame, parts: "list[Any]", size: int, now: int) -> int:
        """As many holders as the frame takes, or all subscribers in several; the nearest come first."""
        out.refresh()
        out.written = True
        for piece in cut_have(out, self.limits.frame_size_max, self._addressing):
            size = self._put(piece, b"", parts, size, now)
        return size

    def _write_selected(self, out: SelectedSignal, parts: "list[Any]", size: int, now: int) -> int:
        """All endpoints, in as many frames as they take."""
        for piece in cut_selected(out, self.limits.frame_size_max):
            size = self._put(piece, b"", parts, size, now)
        return size

    def _is_large(self, out: Frame) -> bool:
        room = self.limits.frame_size_max - codes.HEADER_SIZE_MAX
        return len(out.payload) > room if out.options is None else len(out.payload) > self._room(out)

    def _room(self, out: Frame) -> int:
        """Bytes of a message that one frame has room for in any case."""
        room = self.limits.frame_size_max - codes.HEADER_SIZE_MAX
        return room if out.options is None else room - out.options.named_size()

    def _is_held(self, out: Frame, queue: SendQueue) -> bool:
        """Whether a large message of its lane is under way, behind which it now waits."""
        if is_express(out):
            return False
        lane = lane_of(out)
        for partial in self._partials:
            if partial.lane.startswith(lane):
                partial.held.push((queue, out))
                partial.large += self._is_large(out)
                self._count(queue, out, 1)
                if queue is self.broadcasts:
                    self._roots = None  # one more waits, though the queue may look as before
                return True
        return False

    # Best effort

    def _write_best_effort(self, layer: Unrepeated, out: Frame, payload: "Any", now: int) -> bool:
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
        if options is not None and not options.reach:
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
        if not self._pins:
            self._pins = {}
            self._repeated = {}
        self._pins[lane + out.type_id] = True
        self._repeated[lane] = _NOWHERE

    def _repeats(self, out: Frame) -> None:
        """A message that is repeated, perhaps of a lane whose others are not: these wait for it."""
        lane = lane_of(out)
        if lane in self._repeated:
            self._repeated[lane] = _NOWHERE
            if not self._fresh:
                self._fresh = []
            self._fresh.append(lane)

    def _note_pins(self, size: int) -> None:
        """Note that what was written just now ends `size` bytes from where the stream has been taken to; what
        of a large message is still to come counts when it has been.
        """
        assert self.layer is not None
        going = [partial.lane for partial in self._partials]
        for lane in self._fresh:
            self._repeated[lane] = _NOWHERE if lane in going else self.layer.pulled + size
        self._fresh = _NONE_FRESH

    # Large messages

    def _write_first_piece(self, out: Frame, payload: "Any", parts: "list[Any]", size: int, now: int) -> int:
        used = self._used()
        number = 0
        while number in used:
            number += 1
        partial = Partial(number, out, payload)
        options = out.options  # of a broadcast, others are about to write it as well
        out.options = cut(options, number, len(payload))
        header = write_header(out, self.aliases, self.nodes, self.direct, now)
        out.options = options
        # Never the whole payload, however short the header turned out: a cut message has a second piece.
        partial.pos = self._room(out)
        self._partials.append(partial)
        return self._put_piece(header, payload, 0, partial.pos, parts, size)

    def own_numbers(self) -> "list[int]":
        """The numbers of the large messages under way here."""
        return [partial.number for partial in self._partials]

    def _used(self) -> "list[int]":
        """... and of those of other priorities."""
        return self.own_numbers() if self.whole is None else self.whole.numbers()

    def _is_full(self) -> bool:
        """Whether as many large messages are under way as may be."""
        return len(self._used()) >= self.limits.partials_max

    def _put_piece(
        self, header: bytes, payload: "Any", pos: int, stop: int, parts: "list[Any]", size: int
    ) -> int:
        """A frame with the payload from `pos` to `stop`."""
        header = varint(len(header) + stop - pos) + header
        parts.append(header)
        parts.append(memoryview(payload)[pos:stop] if self.views else payload[pos:stop])
        return size + len(header) + stop - pos

    def _write_piece(self, parts: "list[Any]", size: int, now: int, closing: bool) -> int:
        """One more piece of the large message whose turn it is, or some of what waited behind it."""
        partial = self._partials.pop(0)
        last = partial.is_written()
        if not last:
            payload = partial.payload
            stop = min(len(payload), partial.pos + min(self.limits.frame_size_max - 2, self.piece_max))
            header = bytes((codes.MORE, partial.number))
            size = self._put_piece(header, payload, partial.pos, stop, parts, size)
            partial.pos = stop
        if partial.is_written() and (closing or self._blocked or not partial.large):
            self._end_partial(partial)
        elif last:
            size = self._write_held(partial, parts, size, now)
        else:
            self._partials.append(partial)
        return size

    def finish_pieces(self, parts: "list[Any]", size: int, size_max: int, now: int) -> int:
        """The rest of the large messages under way, and nothing else."""
        while self._partials and size < size_max:
            size = self._write_piece(parts, size, now, True)
        return size

    def _write_held(self, partial: Partial, parts: "list[Any]", size: int, now: int) -> int:
        """Write what waited behind a large message that is written: a frame's worth, or to the next large
        one.
        """
        held = partial.held
        others = len(self._partials)
        stop = size + self.limits.frame_size_max
        while len(held) and size < stop:
            queue, out = held.pop()
            partial.large -= self._is_large(out)
            self._count(queue, out, -1)
            size = self._write_one(out, queue, parts, size, now)
            if len(self._partials) > others:
                heir = self._partials[-1]
                heir.held = held
                heir.large = partial.large
                heir.lane = partial.lane  # which names the lanes of all that waits
                return size
        if partial.large:
            self._partials.append(partial)
        else:
            self._end_partial(partial)
        return size

    def _end_partial(self, partial: Partial) -> None:
        """It is written, and what waited behind it is next in its queue."""
        self._blocked = False
        self._repeats(partial.out)
        things = partial.out.things()
        if things is not None:
            _let_go(partial.out, things)
        rest = partial.held.drain()
        for queue in (self.queue, self.broadcasts, self.transit):
            held: "list[object]" = [out for which, out in rest if which is queue]
            if held:
                held.extend(queue.drain())
                queue.items = held

    # As a row of one priority (lanes.py)

    def queues(self) -> "tuple[SendQueue, SendQueue, SendQueue]":
        """Messages of ours, broadcasts, messages of others."""
        return self.queue, self.broadcasts, self.transit

    def has_partials(self) -> bool:
        """Whether a large message is under way here."""
        return bool(self._partials)

    def holds_messages(self) -> bool:
        """Whether a message is, or waits to be written, here."""
        return bool(self._partials or self.queue.items or self.broadcasts.items or self.transit.items)

    def load(self) -> int:
        """How many wait, or are under way: writing leaves fewer, or gives bytes."""
        held = sum([1 + len(partial.held) for partial in self._partials])
        return held + len(self.queue) + len(self.broadcasts) + len(self.transit)

    def least(self) -> int:
        """Bytes of the smallest of those that may be written next, 0 if there is none."""
        least = self.limits.frame_size_max if self._partials else 0
        for queue in self.queues():
            if queue.items:
                size = min(self.limits.frame_size_max, queue.weight())
                least = min(size, least or size)
        return least

    def hurry(self, parts: "list[Any]", size: int, now: int) -> int:
        """A piece of a large message, whose place is wanted for one of another priority."""
        self._blocked = True
        return self._write_piece(parts, size, now, False)


def _let_go(out: Frame, things: Things) -> None:
    """Its things have been handed over; whoever still waits for an answer to it does not keep them. Those of
    a broadcast go over other links as well.
    """
    if out.kind != codes.PUBLISH:
        things.drop()
