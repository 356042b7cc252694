"""The order among messages of different priorities that wait for one thing: the highest goes first, but what
is lower is never passed for ever.

While all wait, urgent, high, normal and low ones share what there is as 16 : 4 : 2 : 1, in bytes or messages,
whatever is counted. Nobody pays for a share that is not used: a lower one goes only when nothing higher
waits, or so much that is higher has passed it.

Why these are the shares: one of normal priority goes when ten times its size has passed it, so of all that is
not low it gets 1 of 11, which is 2 of 22; so a low one gets 1 of 23, a high one 4 of 20. Strict priority with
a bound on what may pass is what users of an urgent message want: it waits for at most one message of each
lower priority, however large it is itself; with fair queueing by weights alone a large one would wait for
many small ones.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PRIORITIES: "Final" = 4
# Of each priority, lowest first: how many times its own size may pass it. Nothing passes an urgent one.
PASSED_MAX = (22, 10, 4, 0)


class Turns:
    """Bytes that have passed each priority since its last turn; below 0 those that have yet to."""

    __slots__ = ("_passed",)

    def __init__(self) -> None:
        self._passed = [0] * PRIORITIES

    def choose(self, sizes: "list[int]") -> int:
        """The priority whose turn it is; `sizes` has of each, lowest first, the size of its next message, 0
        if there is none. -1: there is none at all.
        """
        top = PRIORITIES - 1
        while top >= 0 and not sizes[top]:
            top -= 1
        for lower in range(top - 1, -1, -1):
            if sizes[lower] and self._passed[lower] >= PASSED_MAX[lower] * sizes[lower]:
                return lower
        return top

    def went(self, priority: int, size: int, sizes: "list[int]") -> None:
        """So much of it went, while these waited, as `choose` had them."""
        passed = self._passed
        if any(sizes[priority + 1 :]):
            passed[priority] -= PASSED_MAX[priority] * size
        else:
            passed[priority] = 0
        for lower in range(priority):
            passed[lower] += size
        for other in range(PRIORITIES):
            if not sizes[other]:
                passed[other] = min(0, passed[other])
