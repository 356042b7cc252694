"""The pump of an asyncio program: carries what the core has to write to the links, and what happened to who
waits for it. Compiled with the core where that is.

Knows nothing of how links are made, and of the loop only `call_soon`, `call_later` and futures.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from threading import get_ident
from time import monotonic_ns
from typing import Any, Final, cast

from busway.adapters.compiling import mypyc_attr
from busway.adapters.ends import Items
from busway.errors import BusError
from busway.protocol import Connection, Message, Node, events

_log = logging.getLogger("busway")
_MESSAGES: Final = events.MESSAGES
_OUTCOME: Final = events.OUTCOME
# After so many messages sent, published or received without a wait the loop gets a turn: else a busy task
# starves all others, and what it has queued, or the credit for what it has taken, would not leave before it
# has to wait.
TURN: Final = 256
# Who sends to many nodes has a turn only after more: each of them has a link of its own, whose writing costs
# as much as ten messages do. So many for each link that was written in the last turn, and at most.
TURN_EACH: Final = 16
TURN_MOST: Final = 4096
GET_IDENT: Final = get_ident  # of the thread: what is not compiled is looked up by name at each call
# A request or reply leaves at once, unless something left so short a time ago that more is likely to come:
# then all of that leaves together, when the loop comes round.
_CLOSE_NS: Final = 20_000


@mypyc_attr(allow_interpreted_subclasses=True)
class Pump:
    """The busy part of an asyncio bus's host."""

    core: Node  # the bus's own; given before anything else is called

    def __init__(self) -> None:
        self.node: Any = None  # the same, or what stands before it (tap.py)
        self.failure: BusError | None = None  # why it can no longer be used
        self.clock: Callable[[], int] = monotonic_ns
        self.handlers: dict[Message, Any] = {}  # at work, by the message they answer
        self.waiters: dict[int, Any] = {}  # futures and Items, by token
        self.turn_sends = TURN  # messages that may be sent to others without a wait
        self.taken = 0  # messages, from whichever receivers, since the loop had a turn
        self.until_ns = 0  # that turn is put off until then at most; 0: it is not
        self.turn_ms = 0  # the time of this turn of the loop, while there is something to pump
        self._loop: Any = None  # that the bus was opened on
        self._ident = 0  # of the thread that it was opened in
        self._pumping = False  # the pump is called when the loop comes round
        self._held = False  # who calls the core sees to what comes of it
        self._urgent = False  # somebody waits for what was said meanwhile
        self._left_ns = 0  # when something was last written at once
        self._unflushed: list[Connection] = []
        self._deferring = False  # no events now: amid a call of the user's
        self._deferred: list[events.Event] = []
        self._timer: asyncio.TimerHandle | None = None
        self._armed = -1

    def now_ms(self) -> int:
        """The node's clock."""
        return self.clock() // 1_000_000

    # To the links

    def wake(self) -> None:
        """There is something to write, to tell, or to time: once, when the loop comes round."""
        if not self._pumping and not self._held and self._loop is not None:
            self._pumping = True
            self.turn_ms = self.clock() // 1_000_000
            self._loop.call_soon(self.pump)

    def pump(self) -> None:
        self._pumping = False
        flush = self.core.connections_to_flush()
        if self._unflushed:
            flush = self._unflushed + flush
            self._unflushed = []
        self.turn_sends = max(TURN, min(TURN_EACH * len(flush), TURN_MOST))
        for connection in flush:
            if connection.tag is not None:
                cast(Any, connection.tag).flush()
        self.dispatch(self.core.take_events())

    def hold(self) -> bool:
        """From now on the core wakes nobody, until `leave`; what is to be given to that."""
        held = self._held
        self._held = True
        return held

    def leave(self, held: bool, urgent: bool = True) -> None:
        """Let leave whatever was said since `hold`: at once if somebody waits for it, unless something left a
        moment ago.
        """
        self._held = held
        if held:
            self._urgent = self._urgent or urgent
            return
        if urgent and not self._pumping:
            now = self.clock()
            if now - self._left_ns >= _CLOSE_NS:
                self._left_ns = now
                self._write()
        self._see_to_rest()

    def _see_to_rest(self) -> None:
        """Leave to the pump whatever has not left, or has happened."""
        flush = self.core.connections_to_flush()
        if flush:
            self._unflushed = self._unflushed + flush
        happened = self.core.take_events()
        if happened:
            self._deferred = self._deferred + happened
        if self._unflushed or self._deferred:
            self.wake()
        self._arm()

    def _write(self) -> None:
        """Amid a call of the user's nothing is told: that comes later."""
        self._deferring = True
        try:
            for connection in self.core.connections_to_flush():
                if connection.tag is not None:
                    cast(Any, connection.tag).flush()
        finally:
            self._deferring = False

    def settle_now(self, token: int) -> list[events.Outcome]:
        """The outcome of `token`, if it is known at once; else it is given up, and there is none."""
        found: list[events.Outcome] = []
        rest: list[events.Event] = []
        for event in self.core.take_events():
            if event.kind == _OUTCOME and cast(events.Outcome, event).token == token:
                found.append(cast(events.Outcome, event))
            else:
                rest.append(event)
        self._deferred = self._deferred + rest
        if not found:
            self.core.cancel(token, self.now_ms())
        self.wake()
        return found

    def give_up(self, token: int, future: Any) -> bool:
        """Cancel `token`, whose waiter is cancelled, though its future is not. True if it was accepted all
        the same, just before.
        """
        if future.done():
            return future.exception() is None and bool(future.result().status == events.ACCEPTED)
        cast(Any, self).cancel(token)
        self._deferred = self._deferred + self.core.take_events()
        self.wake()
        for event in self._deferred:
            if event.kind == _OUTCOME and cast(events.Outcome, event).token == token:
                return cast(events.Outcome, event).status == events.ACCEPTED
        return False

    # From the links

    def take_in(self, connection: Connection, data: Any) -> None:
        """The events are told at once, so that the loop need not come round for them; nor for what
        a link answers that is being made.
        """
        held = self.hold()
        try:
            self.dispatch(connection.receive_data(data, self.now_ms()))
        finally:
            urgent = self._urgent
            self._urgent = False
            self.leave(held, urgent or not connection.synced)

    def dispatch(self, happened: list[events.Event]) -> None:
        """Hand events to those who wait for them."""
        if self._deferring:
            self._deferred = self._deferred + happened
            return
        if self._deferred:
            happened = self._deferred + happened
            self._deferred = []
        for event in happened:
            kind = event.kind
            if kind == _MESSAGES:
                cast(Any, cast(events.MessagesEvent, event).receiver.tag)._wake()
            elif kind == _OUTCOME:
                self._on_outcome(cast(events.Outcome, event))
            else:
                cast(Any, self)._on_event(event)
        if not self._held:
            self._arm()

    def _on_outcome(self, outcome: events.Outcome) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            cast(Any, self)._remark_outcome(outcome)
        waiter = self.waiters.get(outcome.token)
        if isinstance(waiter, Items):
            waiter.put(outcome)
        elif waiter is not None:
            del self.waiters[outcome.token]
            if not waiter.done():
                waiter.set_result(outcome)

    # Time

    def _arm(self) -> None:
        """One timer, for the node's next deadline.

        One that is set too early stays: firing for nothing once is cheaper than moving it with every answer.
        """
        deadline = self.core.next_deadline()
        if deadline is None or 0 <= self._armed <= deadline:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed = deadline
        loop = cast(Any, self).loop
        self._timer = loop.call_later(max(0, deadline - self.now_ms()) / 1000, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._armed = -1
        self.dispatch(self.core.handle_timer(self.now_ms()))
        self.wake()
