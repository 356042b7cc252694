"""Which subscribers of a Bus catch up before more is read: a publisher has no credit, and whoever watches the
links would read on while they take.

Only who keeps up is waited for. Who takes nothing, or little, misses what its queue has no room for, and
holds nobody else up. Knows nothing of links and threads; called with the engine's lock held.
"""

from __future__ import annotations

from time import process_time_ns

from busway.protocol import Receiver, codes

_PART = 4  # of a queue: so much of it may wait, and more is read all the same
_TAKEN = 16  # who has taken less than this part of its queue in a window does not keep up
_WINDOW_NS = 50_000_000
_RUN_NS = 5_000_000  # the processor time of a window: who does not run because others do is not slow
_WINDOW_MAX_NS = 200_000_000
_QUEUE_MIN = 1024  # a shorter queue is overrun by a single read, however quick its taker
_MOST = 64


class Pace:
    """How one subscriber takes what waits for it."""

    __slots__ = ("_began_ns", "_keeps_up", "_ran_ns", "_receiver", "_taken")

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._keeps_up = True
        self._began_ns = 0  # the window; 0: little waits
        self._ran_ns = 0  # of the processor time before it
        self._taken = 0  # messages before it

    def is_behind(self, now_ns: int) -> bool:
        """Whether much waits, and it is about to be taken."""
        receiver = self._receiver
        waiting, size = len(receiver.queue), receiver.size
        if waiting * _PART < receiver.queue_max and size * _PART < receiver.size_max:
            self._began_ns = 0
            return False
        # Messages that it takes, if all are as large as those that wait.
        room = min(receiver.queue_max, receiver.size_max * waiting // size) if size else receiver.queue_max
        lasted_ns = now_ns - self._began_ns
        if not self._began_ns:
            self._begin(now_ns, True)
        elif lasted_ns >= _WINDOW_NS and (
            lasted_ns >= _WINDOW_MAX_NS or process_time_ns() - self._ran_ns >= _RUN_NS
        ):
            self._begin(now_ns, (receiver.taken - self._taken) * _TAKEN >= room)
        return self._keeps_up

    def _begin(self, now_ns: int, keeps_up: bool) -> None:
        self._keeps_up = keeps_up
        self._began_ns = now_ns
        self._ran_ns = process_time_ns()
        self._taken = self._receiver.taken


def pace_of(receiver: Receiver) -> Pace | None:
    """None if it is never waited for: what is sent has credit, and who wants the latest wants it soon."""
    waits = receiver.endpoint.kind == codes.BROADCAST and receiver.policy != codes.LATEST
    return Pace(receiver) if waits and receiver.queue_max >= _QUEUE_MIN else None


class Paces:
    """The paces of a bus's subscribers: of the last that waited for messages, or were made."""

    def __init__(self) -> None:
        self._known: dict[Pace, None] = {}

    def add(self, pace: Pace) -> None:
        if pace not in self._known:
            if len(self._known) >= _MOST:
                del self._known[next(iter(self._known))]
            self._known[pace] = None

    def discard(self, pace: Pace) -> None:
        self._known.pop(pace, None)

    def is_behind(self, now_ns: int) -> bool:
        """Whether one of them is."""
        behind = False
        for pace in self._known:
            behind = pace.is_behind(now_ns) or behind
        return behind
