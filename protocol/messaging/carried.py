"""Things that a message has brought (docs/protocol.md, section 5.8), and how many of them wait in receivers'
queues: of each link and of all together so many at the most. Knows no queue.
"""

from busway.protocol.link.aside import Beside
from busway.protocol.wire.things import FAR_MAX, LINK_MAX, NODE_MAX, Things

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

# One for the process at the most: it makes of things, and the number of those that are regions, what a
# program sees, which is a list of files and one of regions.
_openers: "Final[list[Any]]" = []


def open_with(opener: "Any") -> None:
    """Have things that come opened by `opener(items, region_count)`, when the program asks for them; what it
    raises, who asks gets.
    """
    _openers[:] = [opener]


class Pool:
    """All that wait in receivers' queues of one node."""

    __slots__ = ("held", "most")

    def __init__(self) -> None:
        self.held = 0
        self.most = NODE_MAX  # an adapter may know that its process can keep no more than so many

    def has_room(self, count: int, beside: "Beside | None") -> bool:
        """Whether so many more may wait that came over that link; None: that are of this node itself."""
        return self.held + count <= self.most and (beside is None or beside.held + count <= LINK_MAX)


class Holder:
    """A queue that things may wait in, with their messages."""

    __slots__ = ("holding",)

    holding: int  # messages that have brought some


class Carried:
    """The things of one message that has come: regions first, then files."""

    __slots__ = ("_beside", "_count", "_holder", "_opened", "_pool", "items", "region_count")

    def __init__(self, things: "Things | None") -> None:
        self.items: "tuple[Any, ...]" = () if things is None else things.items
        self.region_count = 0 if things is None else things.region_count
        self._count = 0
        self._holder: "Holder | None" = None
        self._pool: "Pool | None" = None
        self._beside: "Beside | None" = None
        self._opened: "Any" = None

    def hold(self, count: int, holder: Holder, pool: Pool, beside: "Beside | None") -> None:
        """Its message waits in a queue now, and counts for so many things there."""
        self._count = count
        self._holder = holder
        self._pool = pool
        self._beside = beside
        holder.holding += 1
        pool.held += count
        if beside is not None:
            beside.held += count

    def release(self) -> None:
        """It waits there no longer. Twice is once."""
        if self._holder is not None and self._pool is not None:
            self._holder.holding -= 1
            self._pool.held -= self._count
            if self._beside is not None:
                self._beside.held -= self._count
            self._holder = self._pool = self._beside = None

    @property
    def files(self) -> "list[Any]":
        """The open files among them, the same each time."""
        return self._open()[0]  # type: ignore[no-any-return]

    @property
    def regions(self) -> "list[Any]":
        """The memory among them, the same each time."""
        return self._open()[1]  # type: ignore[no-any-return]

    def _open(self) -> "Any":
        if self._opened is None:
            count = self.region_count
            if _openers:
                self._opened = _openers[0](self.items, count)
                self.items = ()  # they are the program's now
            else:
                self._opened = (list(self.items[count:]), list(self.items[:count]))
        return self._opened


class Brought:
    """An endpoint as somebody to whom messages with things come."""

    __slots__ = ("things",)

    things: int  # of a recent message that brought many, in 1/256 of a thing: up at once, down slowly

    def note_things(self, count: int) -> None:
        """A message has come with so many."""
        self.things = max(self.things, count << 8)

    def waiting_max(self) -> int:
        """Messages that may wait, if each brings as many as recent ones."""
        return LINK_MAX // (self.things + 255 >> 8)

    def far_max(self) -> int:
        """... that a pair may have under way over several hops."""
        return FAR_MAX // (self.things + 255 >> 8)


class Carrier:
    """A message as somebody that has brought a payload, and perhaps things."""

    __slots__ = ("beside", "payload")

    payload: "Any"  # of a ViewedMessage only once somebody has asked for it

    beside: "Any"  # a Carried; most have none, and pay nothing for that

    @property
    def view(self) -> memoryview:
        """The payload, bytes or an array, as a memoryview that cannot be written, and without a copy. Raises
        TypeError for other values.
        """
        payload = self.payload
        try:
            return memoryview(payload).toreadonly()
        except TypeError:
            kind = type(payload).__name__
            raise TypeError(f"only bytes and arrays have a view, not a payload of type {kind}") from None

    @property
    def things(self) -> "tuple[Any, ...]":
        """All that it has brought, as they came: regions first, then files; () once they have been opened."""
        carried = getattr(self, "beside", None)
        return () if carried is None else carried.items

    @property
    def files(self) -> "list[Any]":
        """The open files and sockets that came with it, each a `busway.File`."""
        carried = getattr(self, "beside", None)
        return [] if carried is None else carried.files

    @property
    def regions(self) -> "list[Any]":
        """The memory that came with it, each a `busway.Region`."""
        carried = getattr(self, "beside", None)
        return [] if carried is None else carried.regions


def released(message: Carrier) -> None:
    """A message has left the queue that it waited in, or was never in one."""
    carried = getattr(message, "beside", None)
    if isinstance(carried, Carried):
        carried.release()


def dropped(message: Carrier) -> None:
    """Nobody wants a message any more that waits in a queue: its files and regions are free at once."""
    carried = getattr(message, "beside", None)
    if isinstance(carried, Carried):
        carried.items = ()
