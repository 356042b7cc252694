"""Queues of what waits to be written on a link, with the bytes that it counts for, and the lanes in them
(docs/protocol.md, section 5.5): within a lane nothing passes anything, else anything may.

Each lane lies in one queue, which keeps its order by itself: it is asked for only where that could be lost.
"""

from busway.protocol.fifo import Fifo
from busway.protocol.wire import codes
from busway.protocol.wire.fields import varint
from busway.protocol.wire.messages import Frame
from busway.protocol.wire.runs import payload_bytes, single_tails
from busway.protocol.wire.things import SHARED_MIN, TRANSIT_WEIGHT, WEIGHT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

OVERHEAD: "Final" = 32  # what a queued message counts for besides its payload, bytes
_ANNOUNCED: "Final" = 3  # what is only announced counts for its bytes shifted by this
_ENDS_MAX: "Final" = codes.ANSWERS_MAX >> 1  # errors and signals that wait among the messages of others


def weight_of(frame: Frame) -> int:
    """Bytes that a message counts for in a queue."""
    size = len(frame.payload) + OVERHEAD
    things = frame.things()
    return size if things is None else size + things.count * WEIGHT


class Bundle:
    """All that plain messages have in common which stand behind it in a queue, as bytes."""

    __slots__ = ("epoch", "prefix")

    kind = -1  # so that it is told from any Frame
    prefix: bytes  # what stands before their numbers on the link
    epoch: int  # of the link's numbers, when that was so; -1: never

    def message(self, rest: bytes) -> Frame:
        """The next one in the general form; `rest` is what stands in the queue."""
        raise NotImplementedError

    def payload_size(self, rest: bytes) -> int:
        """Bytes of its payload."""
        raise NotImplementedError


class Run(Bundle):
    """Plain messages of one flow of ours: behind it stand their payloads. It may stand in a queue several
    times, with others in between, as long as their numbers go on from one time to the next.
    """

    __slots__ = ("destination", "endpoint", "flow", "format", "high", "length", "number", "start")

    number: int  # of the next one

    def __init__(self, flow: object, destination: bytes, endpoint: bytes, number: int, format: int) -> None:
        self.flow = flow  # whose they are: who sends, and nobody else, compares it
        self.destination = destination
        self.endpoint = endpoint
        self.number = number
        self.format = format
        self.epoch = -1
        self.length = self.high = -1  # of the last one that was written, and what stood before it
        self.start = b""

    def message(self, rest: bytes) -> Frame:
        number = self.number
        self.number = number + 1
        return Frame(codes.SEND, self.destination, self.endpoint, number, rest, self.format, b"")

    def payload_size(self, rest: bytes) -> int:
        return len(rest)


class Together:
    """Messages of others that came in one frame, and may leave in one: `data` is what stood there from the
    first one's number on. It stands behind its Bundle in the place of `count` of them.
    """

    __slots__ = ("count", "data", "weight")

    def __init__(self, data: bytes, count: int) -> None:
        self.data = data
        self.count = count
        self.weight = payload_bytes(data, 2, len(data), count) + count * OVERHEAD

    def tails(self) -> "list[bytes]":
        """Each of them by itself."""
        return single_tails(self.data, 0, len(self.data), self.count)


class SendQueue(Fifo):
    """Messages in order: Frames, or Bundles with what is theirs behind them. Its parts are looked at directly
    where every message passes.
    """

    __slots__ = ("announces", "growing", "run", "size")

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self.announces = False  # on its link a payload in shared memory is only announced
        self.growing = 0  # batches (batch.py) that count as full, and may not be
        self.run: "Run | None" = None  # the last that came: if bytes stand at the end they are of it

    def extend(
        self,
        flow: object,
        destination: bytes,
        endpoint: bytes,
        number: int,
        format: int,
        payloads: "list[object]",
        size: int,
    ) -> None:
        """Plain messages of one flow, numbered from `number` on; `payloads` are bytes, `size` together with
        the overhead, and there is one.
        """
        items = self.items
        run = self.run
        follows = run is not None and run.flow is flow and run.format == format
        if not (follows and items and type(items[-1]) is bytes):
            self.run = run = Run(flow, destination, endpoint, number, format)
            items.append(run)
        items.extend(payloads)
        self.size += size

    def add(self, frame: Frame) -> None:
        """One more."""
        self.items.append(frame)
        self.size += self.weigh(frame)

    def weigh(self, frame: Frame) -> int:
        """Bytes that a message counts for here. What is only announced counts for an eighth, for its memory
        has a bound of its own: so several leave together, and not more than a receiver's queue takes.
        """
        size = weight_of(frame)
        if self.announces and type(frame.payload) is memoryview:
            whole = len(frame.payload)
            if whole > SHARED_MIN:
                size -= whole - max(SHARED_MIN, whole >> _ANNOUNCED)
        return size

    def weight(self) -> int:
        """Bytes that the first message counts for; of several together those of a small one."""
        item = self.items[self.head]
        return OVERHEAD + (len(item.payload) if isinstance(item, Frame) else 0)

    def next(self) -> Frame:
        """Take out the next message of the Bundle that stands first, in the general form. Call `next_size`
        before.
        """
        head = self.head
        items = self.items
        bundle: Bundle = items[head]
        out = bundle.message(items[head + 1])
        if head + 2 < len(items) and is_behind(items[head + 2]):
            items[head + 1] = bundle
            self.skip(head + 1)
        else:
            self.pop()
            self.pop()
        return out

    def next_size(self) -> int:
        """Bytes of its payload. What came together is each by itself afterwards."""
        items = self.items
        at = self.head + 1
        together = items[at]
        if isinstance(together, Together):
            items[at : at + 1] = together.tails()
        bundle: Bundle = items[at - 1]
        return bundle.payload_size(items[at])

    def drain_frames(self) -> "list[Frame]":
        """Empty the queue and return all messages, in order and in the general form."""
        frames: "list[Frame]" = []
        bundle: "Bundle | None" = None
        for item in self.drain():
            if isinstance(item, Bundle):
                bundle = item
            elif type(item) is bytes:
                assert bundle is not None
                frames.append(bundle.message(item))
            elif isinstance(item, Together):
                assert bundle is not None
                frames.extend([bundle.message(tail) for tail in item.tails()])
            else:
                frames.append(item)
        return frames


class TransitQueue(SendQueue):
    """Messages of others, and what ends them: Frames, and Paths (fast.py)."""

    __slots__ = ("ends", "passed", "path")

    def __init__(self) -> None:
        super().__init__()
        self.ends = 0  # errors and signals in it
        self.passed = 0  # all that were ever queued here
        self.path: "Bundle | None" = None  # as `run`

    def offer(self, out: Frame) -> bool:
        """A message, or what is said of those before it. False if there is no room; what has no payload finds
        room beside the messages, for it ends what they began.
        """
        if not self.has_room(out):
            return False
        self.count(out, 1)
        self.items.append(out)
        self.passed += 1
        return True

    def has_room(self, out: Frame) -> bool:
        """Whether `offer` takes it."""
        full = self.size + _transit_weight(out) > codes.TRANSIT_SIZE_MAX
        if out.kind < codes.ERROR:
            full = full and self.size > 0
        elif not out.payload or not full:
            full = self.ends >= _ENDS_MAX
        return not full

    def count(self, out: Frame, sign: int) -> None:
        """One more that waits here, or elsewhere in its place; or, with `sign` -1, one less."""
        self.size += sign * _transit_weight(out)
        if out.kind >= codes.ERROR:
            self.ends += sign

    def clear(self) -> None:
        """Nothing is counted any more."""
        self.size = self.ends = 0


def _transit_weight(frame: Frame) -> int:
    """Bytes that a message of others counts for."""
    size = len(frame.payload) + OVERHEAD
    things = None if frame.options is None else frame.options.things
    return size if things is None else size + things.count * TRANSIT_WEIGHT


def is_behind(item: object) -> bool:
    """Whether that belongs to the Bundle before it in its queue."""
    return type(item) is bytes or type(item) is Together


# Lanes

# Signals that hold whatever comes before or after them: an absolute number, a question, its answer, news of
# one message. They wait for nobody, so that no queue that is full ever keeps the credit that would empty it.
EXPRESS = (
    codes.CREDIT,
    codes.PART_CREDIT,
    codes.UNDELIVERABLE,
    codes.WHO,
    codes.HAVE,
    codes.PRUNE,
    codes.GRAFT,
    codes.TRACE,
    codes.TRACED,
    codes.SELECT,
    codes.SELECTED,
    codes.HAVE_PART,
)


def is_express(frame: Frame) -> bool:
    """Whether it goes before all messages. What is not, is said of the messages before it."""
    return frame.kind == codes.SIGNAL and frame.signal in EXPRESS


def lane_of(frame: Frame) -> bytes:
    """Names the lane: source, destination, and the endpoint or the request that is answered. That of a CANCEL
    that is passed on, which names no endpoint, is the beginning of all from its source to its destination.
    """
    ends = frame.source() + (frame.destination or frame.source())
    ends_stream = frame.kind == codes.SIGNAL and frame.signal == codes.END
    if frame.kind in (codes.REPLY, codes.PART, codes.ERROR) or ends_stream:
        return ends + varint(frame.id)
    return ends + frame.endpoint
