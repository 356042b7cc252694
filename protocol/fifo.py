"""A first-in first-out queue on a list. `collections.deque` is not the same thing on MicroPython."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_COMPACT: "Final" = 64


class Fifo:
    """Append at the end, pop at the front; both in amortised constant time."""

    __slots__ = ("head", "items")

    def __init__(self) -> None:
        self.items: "list[Any]" = []
        self.head = 0

    def __len__(self) -> int:
        return len(self.items) - self.head

    def push(self, item: object) -> None:
        self.items.append(item)

    def peek(self) -> "Any":
        return self.items[self.head]

    def pop(self) -> "Any":
        head = self.head
        items = self.items
        item = items[head]
        items[head] = None
        head += 1
        if head == len(items):
            self.items = []
            head = 0
        elif head >= _COMPACT and head * 2 >= len(items):
            items[:head] = []
            head = 0
        self.head = head
        return item

    def pop_last(self) -> "Any":
        """Take the item at the end; there is one."""
        item = self.items.pop()
        if self.head == len(self.items):
            self.items = []
            self.head = 0
        return item

    def pop_many(self, count: int) -> "list[Any]":
        """As `pop`, `count` items at once, in order; so many are there."""
        head = self.head
        items = self.items
        stop = head + count
        if stop == len(items):
            self.items = []
            self.head = 0
            return items[head:] if head else items
        taken = items[head:stop]
        if stop >= _COMPACT and stop * 2 >= len(items):
            items[:stop] = []
            stop = 0
        else:
            items[head:stop] = [None] * count
        self.head = stop
        return taken

    def skip(self, head: int) -> None:
        """Drop everything before the index `head` of `items`, which the caller has read there; some are
        left.
        """
        if head < _COMPACT or head * 2 < len(self.items):
            self.items[self.head : head] = [None] * (head - self.head)
        else:
            self.items[:head] = []
            head = 0
        self.head = head

    def remove(self, item: object) -> None:
        """Take one item out of the middle; one that is not there is ignored."""
        rest = self.drain()
        if item in rest:
            rest.remove(item)
        self.items = rest

    def drain(self) -> "list[Any]":
        """Empty the queue and return what it held, in order."""
        items = self.items[self.head :]
        self.items = []
        self.head = 0
        return items
