"""Messages of other priorities than normal that wait to be written on one link: a row of queues for each, as
there is for normal ones, and whose turn it is (turns.py).

Made with the first of them, gone with the last: a link that has only normal ones does without. What waits
here counts in the queues of the link itself, which normal messages look at; so their bounds hold for all
together. Beyond them high and urgent ones have a room of their own, so that others do not shut them out.
"""

from busway.protocol.link.face import LinkFace, Waiter
from busway.protocol.link.outbox import ENDED, Outbox
from busway.protocol.link.queue import SendQueue, TransitQueue
from busway.protocol.link.rows import Rows
from busway.protocol.turns import PRIORITIES, Turns
from busway.protocol.wire import codes
from busway.protocol.wire.messages import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _of(frame: Frame) -> int:
    return frame.lane() & 3


class Lanes(Rows):
    """The rows of one link, by priority; that of normal ones is the link's outbox itself."""

    __slots__ = ("_link", "_main", "_rows", "_turns", "_waiters")

    def __init__(self, link: LinkFace, main: Outbox) -> None:
        self._link = link
        self._main = main
        self._turns = Turns()
        self._rows: "list[Outbox | None]" = [None] * PRIORITIES
        self._rows[codes.NORMAL] = main
        self._waiters: "list[Waiter]" = []  # for the room of high and urgent ones

    def _row(self, priority: int) -> Outbox:
        row = self._rows[priority]
        if row is None:
            row = self._rows[priority] = Outbox(self._link, SendQueue(), SendQueue(), TransitQueue())
            row.whole = self
            row.share(self._main)
            row.queue.announces = row.broadcasts.announces = self._main.queue.announces
        return row

    def others(self) -> "list[Outbox]":
        """The rows but that of normal ones."""
        return [row for row in self._rows if row is not None and row is not self._main]

    def _reserved(self, which: int) -> int:
        """Bytes of high and urgent ones in one of the three queues: ours, broadcasts, others'."""
        size = 0
        for row in self._rows[codes.HIGH :]:
            if row is not None:
                size += row.queues()[which].size
        return size

    # Taking in

    def enqueue(self, frame: Frame) -> None:
        """A message of ours; the caller has seen that there is room."""
        self._row(_of(frame)).queue.add(frame)
        self._main.queue.size += self._main.queue.weigh(frame)

    def has_room(self) -> bool:
        """Whether a high or urgent message of ours has room though the link's queue is full."""
        return self._reserved(0) < codes.QUEUE_RESERVE

    def await_room(self, waiter: Waiter) -> None:
        """Call its `resume` when there is room for such."""
        if waiter not in self._waiters:
            self._waiters.append(waiter)

    def take_waiters(self) -> "list[Waiter]":
        """All who wait for that; none do afterwards."""
        waiters = self._waiters
        self._waiters = []
        return waiters

    def enqueue_broadcast(self, frame: Frame) -> None:
        """A broadcast that has found room."""
        self._row(_of(frame)).broadcasts.add(frame)
        self._main.broadcasts.size += self._main.broadcasts.weigh(frame)

    def has_broadcast_room(self) -> bool:
        """Whether a high or urgent broadcast has room though the link's queue of them is full."""
        return self._reserved(1) < self._link.broadcast_size_max >> 3

    def give_way(self, priority: int) -> "Frame | None":
        """Take out the newest of the broadcasts of low priority, if there is one and it is lower."""
        row = self._rows[codes.LOW]
        if row is None or priority == codes.LOW or not row.broadcasts.items:
            return None
        victim: Frame = row.broadcasts.pop_last()
        size = row.broadcasts.weigh(victim)
        row.broadcasts.size -= size
        self._main.broadcasts.size -= size
        return victim

    def forward(self, frame: Frame) -> bool:
        """A message of another node; False if there is no room."""
        priority = _of(frame)
        main = self._main.transit
        if not main.has_room(frame):
            size = self._reserved(2) + len(frame.payload)
            if frame.kind >= codes.ERROR or priority <= codes.NORMAL or size > codes.TRANSIT_RESERVE:
                return False
        row = self._row(priority).transit
        row.count(frame, 1)
        row.items.append(frame)
        main.count(frame, 1)
        main.passed += 1
        return True

    # What a link asks of its outbox

    def has_messages(self) -> bool:
        return any([row.holds_messages() for row in self.others()])

    def in_pieces(self) -> bool:
        return any([row.has_partials() for row in self.others()])

    def leftovers(self) -> "list[Frame]":
        rest: "list[Frame]" = []
        for row in self.others():
            rest.extend(row.leftovers())
        return rest

    def take_broadcasts(self, root: bytes) -> "list[Frame]":
        taken: "list[Frame]" = []
        before = self.broadcasts_size()
        for row in self.others():
            taken.extend(row.take_broadcasts(root))
        self._main.broadcasts.size += self.broadcasts_size() - before
        return taken

    def broadcasts_size(self) -> int:
        return sum([row.broadcasts.size for row in self.others()])

    def numbers(self) -> "list[int]":
        numbers: "list[int]" = []
        for row in self._rows:
            if row is not None:
                numbers.extend(row.own_numbers())
        return numbers

    # Writing

    def finish(self, parts: "list[Any]", size: int, size_max: int, now: int) -> int:
        for row in self.others():
            size = row.finish_pieces(parts, size, size_max, now)
        return size

    def write(self, parts: "list[Any]", size: int, size_max: int, now: int) -> int:
        """Frames up to `size_max`, in turn, as long as there are others than normal ones."""
        main = self._main
        higher = False  # something of high priority has been written
        while size < size_max:
            sizes = [0 if row is None else row.least() for row in self._rows]
            priority = self._turns.choose(sizes)
            if main.hasty and higher and priority <= codes.NORMAL:
                break
            if priority < 0 or (priority == codes.NORMAL and not any(sizes[:1] + sizes[2:])):
                break
            higher = priority > codes.NORMAL
            row = self._rows[priority]
            assert row is not None
            before = size
            load = row.load()
            size = self._write_row(row, parts, size, size + 1, now)
            if size == before and row.load() == load:  # a large one waits for another to be written
                size = self._helper(row).hurry(parts, size, now)
            self._turns.went(priority, (size - before) % ENDED, sizes)
        if main.hasty and higher:
            main.ends_early = size > size_max
        elif size < size_max:
            size = main.write_turns(parts, size, size_max, now)
        self._look_after(now)
        return size

    def _write_row(self, row: Outbox, parts: "list[Any]", size: int, size_max: int, now: int) -> int:
        """As `write_turns`; what has left a row does not count in the link's queues any more."""
        main = self._main
        if row is main:
            return main.write_turns(parts, size, size_max, now)
        row.views = main.views
        row.beside = main.beside
        queue, broadcasts, transit = row.queue.size, row.broadcasts.size, row.transit.size
        ends = row.transit.ends
        size = row.write_turns(parts, size, size_max, now)
        main.queue.size += row.queue.size - queue
        main.broadcasts.size += row.broadcasts.size - broadcasts
        main.transit.size += row.transit.size - transit
        main.transit.ends += row.transit.ends - ends
        return size

    def _helper(self, blocked: Outbox) -> Outbox:
        """The lowest row with a large message under way, whose place another waits for. There is one: that
        has none under way itself, or it would write it, and yet all places are taken.
        """
        return [row for row in self._rows if row is not None and row is not blocked and row.has_partials()][0]

    def _look_after(self, now: int) -> None:
        """Let those go on who waited for room; without any of these messages the link does without rows."""
        open = self._link.state == codes.OPEN
        if self._waiters and open and self._reserved(0) <= codes.QUEUE_RESERVE >> 1:
            for waiter in self.take_waiters():
                waiter.resume(now)
        if not self._waiters and not self.has_messages():
            self._main.rows = self._main.whole = None
