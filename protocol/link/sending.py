"""Hand-over of what a link is to write, from the rooms above: which queue it waits in, whether there is room.

The lower half of Connection (connection.py), which knows the other side; how it becomes bytes is in
outbox.py.
"""

from busway.protocol.link.backlog import Backlog
from busway.protocol.link.face import Intake, LinkFace, LinkHost, Waiter
from busway.protocol.link.lanes import Lanes
from busway.protocol.link.link import Link
from busway.protocol.link.outbox import Outbox
from busway.protocol.link.queue import OVERHEAD, is_express
from busway.protocol.wire import codes
from busway.protocol.wire.hello import Limits
from busway.protocol.wire.messages import Frame, HaveFrame


class SendingLink(LinkFace):
    """A link with its queues."""

    def __init__(self, host: LinkHost, link: Link, limits: Limits, now: int) -> None:
        super().__init__(host, link, limits, now)
        self.outbox = Outbox(self, self.queue, self.broadcasts, self.transit)
        self.backlog = Backlog(self, self.outbox)

    def is_busy(self) -> bool:
        """Whether the link has no time for what may be lost."""
        return False

    def broadcast(self, frame: Frame) -> None:
        queue = self.broadcasts
        backlog = self.backlog
        size = len(frame.payload)
        room = queue.size < self.broadcast_size_max and size <= self.limits.message_size_max
        if room and frame.options is None and not (backlog.kept or backlog.skipped):
            queue.items.append(frame)
            queue.size += size + OVERHEAD
        else:
            backlog.take(frame, self.is_busy())
        if not self.flush_wanted:
            self.touch()

    def takes_batches(self) -> bool:
        return self.backlog.takes_batches()

    def answer(self, frame: Frame) -> None:
        """A peer that asks and asks but never reads is cut off; what is for nodes behind it, or for a
        sleeper, is dropped before that, for it may not be its fault.
        """
        direct = self.peer is not None and frame.destination == self.peer.key
        blameless = not direct or self.asleep_until >= 0
        answers = self.outbox.answers
        if blameless and len(answers) >= codes.ANSWERS_MAX >> 1:
            self.host.count("unroutable")
            self.dropped_answers += 1
            if isinstance(frame, HaveFrame):
                frame.written = True  # whoever waits for that makes another
            return
        if len(answers) >= codes.ANSWERS_MAX:
            self.host.cut_off(self)
            return
        answers.push(frame)
        self.touch()

    def _lanes(self) -> Lanes:
        """The messages of other priorities than normal."""
        rows = self.outbox.rows
        if rows is None:
            rows = self.outbox.rows = self.outbox.whole = Lanes(self, self.outbox)
        assert isinstance(rows, Lanes)
        return rows

    def has_named(self, uuid: bytes) -> bool:
        return uuid in self.outbox.aliases.named

    def has_room_for(self, lane: int) -> bool:
        return self.has_room() or (lane & 3 > codes.NORMAL and self._lanes().has_room())

    def has_broadcast_room_for(self, frame: Frame) -> bool:
        higher = frame.lane() & 3 > codes.NORMAL
        return self.has_broadcast_room() or (higher and self._lanes().has_broadcast_room())

    def await_room_for(self, lane: int, waiter: Waiter) -> None:
        if lane & 3 <= codes.NORMAL:
            self.await_room(waiter)
        else:
            self._lanes().await_room(waiter)

    def waiters(self) -> "list[Waiter]":
        waiters = super().waiters()
        if self.outbox.rows is not None:
            waiters.extend(self._lanes().take_waiters())
        return waiters

    def enqueue_marked(self, frame: Frame) -> None:
        if not self.addressing:
            self.host.undeliverable(frame, codes.NO_PRIORITIES)
            return
        self._lanes().enqueue(frame)
        self.touch()

    def make_room(self, frame: Frame) -> bool:
        return self.backlog.has_room(frame)

    def queue_broadcast(self, frame: Frame) -> None:
        """A broadcast that has found room."""
        if frame.lane() & 3 == codes.NORMAL:
            self.broadcasts.add(frame)
        else:
            self._lanes().enqueue_broadcast(frame)
            self.touch()

    def give_way(self, frame: Frame) -> "Frame | None":
        """Take out a broadcast that is lower than this one, for which there is no room."""
        return None if self.outbox.rows is None else self._lanes().give_way(frame.lane() & 3)

    def credit(self, intake: Intake) -> None:
        self.outbox.push_credit(intake)
        self.touch()

    def forward(self, frame: Frame) -> bool:
        if is_express(frame):
            self.answer(frame)
            return True
        if frame.kind == codes.SIGNAL and frame.signal == codes.PROBE and self.asleep_until >= 0:
            return True  # who probes a sleeper will do so again
        if not self._offer(frame):
            if frame.kind != codes.ERROR or not frame.payload:
                if frame.kind >= codes.ERROR:
                    self.dropped_answers += 1
                return False
            frame.payload = b""  # the code counts, the sentence is for people
            return self.forward(frame)
        self.touch()
        return True

    def _offer(self, frame: Frame) -> bool:
        if frame.options is None or frame.options.lane & 3 == codes.NORMAL:
            return self.transit.offer(frame)
        return self._lanes().forward(frame)

    def take_broadcasts(self, root: bytes) -> "list[Frame]":
        return self.outbox.take_broadcasts(root) + self.backlog.take_all(root)

    def leftovers(self) -> "list[Frame]":
        return self.outbox.leftovers()

    def backlogged(self) -> "list[Frame]":
        return self.backlog.take_all(None)

    def credits(self) -> "list[Intake]":
        return self.outbox.credits()
