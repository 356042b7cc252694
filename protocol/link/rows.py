"""The face of the messages of other priorities that wait to be written on one link: lanes.py has them,
outbox.py asks for them.
"""

from busway.protocol.wire.messages import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Rows:
    """The messages of other priorities, as an outbox knows them."""

    __slots__ = ()

    def has_messages(self) -> bool:
        """Whether there are any."""
        raise NotImplementedError

    def in_pieces(self) -> bool:
        """Whether a large one is under way."""
        raise NotImplementedError

    def leftovers(self) -> "list[Frame]":
        """All that were not written whole, in order; none are here afterwards."""
        raise NotImplementedError

    def take_broadcasts(self, root: bytes) -> "list[Frame]":
        """The broadcasts along the tree of `root` that nothing has been written of."""
        raise NotImplementedError

    def broadcasts_size(self) -> int:
        """Bytes that broadcasts count for here."""
        raise NotImplementedError

    def numbers(self) -> "list[int]":
        """The numbers of all large messages under way, normal ones too."""
        raise NotImplementedError

    def finish(self, parts: "list[Any]", size: int, size_max: int, now: int) -> int:
        """Write no more than the rest of large ones under way."""
        raise NotImplementedError

    def write(self, parts: "list[Any]", size: int, size_max: int, now: int) -> int:
        """Write messages, normal ones too, in turn."""
        raise NotImplementedError
