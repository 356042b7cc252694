"""Deadlines in buckets of 64 ms: arming and disarming cost two dictionary operations, whatever their number.

A bucket is searched for its earliest deadline only when it is the next to fire, so a request that is answered
long before its timeout never pays for an ordered structure. Reads no clock.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Final

_BUCKET_BITS: "Final" = 6


class Timer:
    """Something that can be due. Subclasses say in `fire` what happens then."""

    __slots__ = ("deadline",)

    def __init__(self) -> None:
        self.deadline = -1  # not armed

    def fire(self, now: int) -> None:
        raise NotImplementedError


class Call(Timer):
    """Calls something with the time when it is due."""

    __slots__ = ("_action",)

    def __init__(self, action: "Callable[[int], None]") -> None:
        self.deadline = -1
        self._action = action

    def fire(self, now: int) -> None:
        self._action(now)


class Timers:
    """All armed timers of a node."""

    def __init__(self) -> None:
        self._buckets: "dict[int, dict[Timer, bool]]" = {}
        self._first = -1  # number of the earliest bucket, -1: to be found
        self.next = -1  # earliest deadline, -1: to be found (next_deadline)

    def arm(self, timer: Timer, deadline: int) -> None:
        """Set or move a timer to `deadline`, in ms of the caller's clock; never negative."""
        if timer.deadline >= 0:
            self.disarm(timer)
        timer.deadline = deadline
        number = deadline >> _BUCKET_BITS
        bucket = self._buckets.get(number)
        if bucket is None:
            self._buckets[number] = {timer: True}
            if number < self._first:
                self._first = self.next = -1
        else:
            bucket[timer] = True
            if number == self._first and deadline < self.next:
                self.next = deadline

    def call_at(self, deadline: int, action: "Callable[[int], None]") -> Timer:
        """Call `action` with the time at `deadline`, once; the timer returned moves or disarms it."""
        call = Call(action)
        self.arm(call, deadline)
        return call

    def disarm(self, timer: Timer) -> None:
        """Forget a timer; one that is not armed is left alone."""
        deadline = timer.deadline
        if deadline < 0:
            return
        timer.deadline = -1
        number = deadline >> _BUCKET_BITS
        bucket = self._buckets[number]
        del bucket[timer]
        if not bucket:
            del self._buckets[number]
        if number == self._first and (not bucket or deadline == self.next):
            self._first = self.next = -1

    def next_deadline(self) -> int:
        """The earliest deadline in ms, or -1."""
        if self.next < 0 and self._buckets:
            self._first = min(self._buckets)
            self.next = min([timer.deadline for timer in self._buckets[self._first]])
        return self.next

    def fire(self, now: int) -> None:
        """Fire everything that is due at `now`, earliest bucket first."""
        while 0 <= self.next_deadline() <= now:
            due = [timer for timer in self._buckets[self._first] if timer.deadline <= now]
            for timer in due:
                if 0 <= timer.deadline <= now:  # an earlier one may have disarmed or moved it
                    self.disarm(timer)
                    timer.fire(now)
