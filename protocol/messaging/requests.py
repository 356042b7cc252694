"""Requests as the program takes them out of a receiver's queue. Data, no rules."""

from busway.protocol.messaging.endpoints import InFlow, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from busway.protocol.messaging.flows import OutFlow
    from busway.protocol.timers import Timer

# States of a request at the node that serves it.
QUEUED: "Final" = 0
TAKEN: "Final" = 1
DONE: "Final" = 2


class Request(Message):
    """A message that wants an answer: a request, or a confirmed send (`confirm`), which `take` answers by
    itself.
    """

    __slots__ = ("confirm", "expires", "id", "moved_at", "state", "stream", "timer", "timeout_ms")

    def __init__(
        self, flow: InFlow, seq: int, payload: object, format: int, type_id: bytes, missed: int, now: int
    ) -> None:
        self.flow = flow
        self.seq = seq
        self.payload = payload
        self.format = format
        self.type_id = type_id
        self.missed = missed
        self.arrived = now
        self.error = None
        self.confirm = False
        self.id = 0
        self.timeout_ms = 0
        self.expires = 0  # ms
        self.moved_at = now  # when its origin last took some of the answer, or there was the first
        self.timer: "Timer | None" = None
        self.state = QUEUED
        self.stream: "OutFlow | None" = None  # None: the origin wants one reply, not a stream

    def _noun(self) -> str:
        return "confirmed message" if self.confirm else "request"
