"""A first-in first-out queue on a list. `collections.deque` is not the same thing on MicroPython."""

_COMPACT = 64


class Fifo:
    """Append at the end, pop at the front; both in amortised constant time."""

    __slots__ = ("head", "items")

    def __init__(self) -> None:
        self.items: "list[object]" = []
        self.head = 0

    def __len__(self) -> int:
        return len(self.items) - self.head

    def push(self, item: object) -> None:
        self.items.append(item)

    def peek(self) -> object:
        return self.items[self.head]

    def pop(self) -> object:
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

    def remove(self, item: object) -> None:
        """Take one item out of the middle; one that is not there is ignored."""
        rest = self.drain()
        if item in rest:
            rest.remove(item)
        self.items = rest

    def drain(self) -> "list[object]":
        """Empty the queue and return what it held, in order."""
        items = self.items[self.head :]
        self.items = []
        self.head = 0
        return items
