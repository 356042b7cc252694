"""The order of service in a receiver's queue that holds messages of several priorities: higher ones first,
and now and then a lower one (turns.py). Within one priority nothing passes anything.

Made with the first that is not normal, gone with the last. They stand in the one queue in the order in which
they will be taken, so that whoever looks at that, or counts it, need not know.
"""

from busway.protocol.fifo import Fifo
from busway.protocol.turns import PRIORITIES, Turns
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Ranks:
    """How many of each priority stand in a queue, highest first, and whether one stands before them all."""

    __slots__ = ("_counts", "_first", "_queue", "_turns")

    def __init__(self, queue: Fifo) -> None:
        self._queue = queue  # in which so far all are normal
        self._counts = [0] * PRIORITIES
        self._counts[codes.NORMAL] = len(queue)
        self._first = -1  # the priority of the one whose turn has come before that of higher ones
        self._turns = Turns()

    def are_plain(self) -> bool:
        """Whether there are only normal ones."""
        return len(self._queue) == self._counts[codes.NORMAL] + (self._first == codes.NORMAL)

    def _start(self, priority: int) -> int:
        """Where those of a priority begin."""
        return self._queue.head + (self._first >= 0) + sum(self._counts[priority + 1 :])

    def add(self, message: object, priority: int) -> None:
        """One more, behind those that are not lower."""
        self._counts[priority] += 1
        self._queue.items.insert(self._start(priority - 1) - 1, message)

    def took(self) -> None:
        """The message at the front was taken: the next one goes there."""
        counts = self._counts
        sizes = [1 if count else 0 for count in counts]
        priority = self._first
        if priority < 0:
            priority = self._highest()
            counts[priority] -= 1
        else:
            sizes[priority] = 1
            self._first = -1
        self._turns.went(priority, 1, sizes)
        following = self._turns.choose([1 if count else 0 for count in counts])
        if following != self._highest():
            self._put_first(self._start(following), following)

    def _highest(self) -> int:
        priority = codes.URGENT
        while priority >= 0 and not self._counts[priority]:
            priority -= 1
        return priority

    def _put_first(self, at: int, priority: int) -> None:
        items = self._queue.items
        items.insert(self._queue.head, items.pop(at))
        self._counts[priority] -= 1
        self._first = priority

    # Room for others

    def lowest(self) -> int:
        """The lowest priority that waits; one does."""
        priority = codes.LOW
        while not self._counts[priority] and self._first != priority:
            priority += 1
        return priority

    def remove(self, priority: int, newest: bool) -> "Any":
        """Take out the oldest or the newest message of a priority, of which there is one."""
        items = self._queue.items
        count = self._counts[priority]
        if self._first == priority and (not count or not newest):
            self._first = -1
            return self._queue.pop()
        at = self._start(priority)
        if newest:
            at += count - 1
        self._counts[priority] -= 1
        message = items[at]
        items[at : at + 1] = []
        if self._queue.head == len(items):
            self._queue.drain()
        return message

    # The order among those of one priority

    def groups(self) -> "list[tuple[int, int]]":
        """Where those of each priority begin and end, as they are to be served."""
        found: "list[tuple[int, int]]" = []
        if self._first >= 0:
            found.append((self._queue.head, self._queue.head + 1))
        for priority in range(codes.URGENT, -1, -1):
            if self._counts[priority]:
                start = self._start(priority)
                found.append((start, start + self._counts[priority]))
        return found

    def bring(self, at: int) -> None:
        """Put the message that stands there before all others."""
        queue = self._queue
        items = queue.items
        message = items[at]
        if at == queue.head:
            return
        if self._first >= 0:  # which goes back before those of its own
            first = items[queue.head]
            items[queue.head : queue.head + 1] = []
            priority = self._first
            self._first = -1
            items.insert(self._start(priority), first)
            self._counts[priority] += 1
            at = items.index(message, queue.head)
        priority = codes.URGENT
        while at >= self._start(priority - 1):
            priority -= 1
        if self._start(priority) == queue.head:
            items.insert(queue.head, items.pop(at))
        else:
            self._put_first(at, priority)
