"""Numbers for requests, which nobody can guess who does not read them. Knows nothing of requests."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Final

_SIZE: "Final" = 4  # of the random bytes of one
_DRAWN: "Final" = 64  # numbers at a time: to ask for each would cost more than all the rest


class Ids:
    """Draws numbers of 28 random bits. `entropy` gives so many random bytes."""

    __slots__ = ("_at", "_entropy", "_random")

    def __init__(self, entropy: "Callable[[int], bytes]") -> None:
        self._entropy = entropy
        self._random = b""
        self._at = 0

    def draw(self) -> int:
        """The next number, 0 to 2^28 - 1."""
        at = self._at
        if at == len(self._random):
            self._random = self._entropy(_DRAWN * _SIZE)
            at = 0
        self._at = at + _SIZE
        random = self._random
        return (random[at] & 0x0F) << 24 | random[at + 1] << 16 | random[at + 2] << 8 | random[at + 3]
