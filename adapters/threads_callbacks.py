"""Replies and messages for programs that must not wait, such as those with a window: futures and callbacks.

User's code runs here in a thread of the pool, or where its `call_soon` takes it; never with the engine's lock
held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from busway.adapters.carrying import attached_to
from busway.adapters.results import replied
from busway.errors import BusError
from busway.protocol import events
from busway.replies import ReplyType

if TYPE_CHECKING:
    from busway.adapters.threads_host import Host

CallSoon = Callable[..., object]
_PLACES = 256  # messages that are with `call_soon` and not yet with the callback
_LOOK_S = 0.5  # whether the bus is closed, while there is no place


class FutureReply:
    """The waiter for the outcome of a request, for a future's sake."""

    def __init__(self, host: Host, to: Any, wanted: ReplyType | None, attached: bool) -> None:
        self.future: Future[Any] = Future()
        self._host = host
        self._to = to
        self._wanted = wanted
        self._attached = attached

    def watch(self, token: int) -> None:
        """From now on cancelling the future cancels the request."""

        def ended(future: Future[Any]) -> None:
            if future.cancelled():
                self._host.engine.finish(self._host.cancel, token)

        self.future.add_done_callback(ended)

    def done(self) -> bool:
        """It takes what comes, whether the future is cancelled or not."""
        return False

    def set_result(self, outcome: events.Outcome) -> None:
        """With the lock held: what the future's own callbacks do is done elsewhere."""
        resolve = partial(self._resolve, outcome)
        try:
            self._host.pool.submit(resolve)
        except RuntimeError:  # the system gives no more threads
            self._host.engine.remarks.append(resolve)

    def _resolve(self, outcome: events.Outcome) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            value = replied(outcome, self._wanted, self._to)
            if self._attached:
                value = attached_to(outcome, value)
        except Exception as error:  # noqa: BLE001 - the future's to tell
            self.future.set_exception(error)
        else:
            self.future.set_result(value)


def deliver(
    host: Host,
    name: str,
    items: Iterable[Any],
    callback: Callable[[Any], object],
    call_soon: CallSoon | None,
    already: bool,
) -> bool:
    """Give each of `items` to `callback`, until they end; True. Raises BusError if they are delivered
    `already`, RuntimeError if there is no thread.
    """
    if not callable(callback):
        raise TypeError(f"callback must be a function of one argument, not {callback!r}")
    if call_soon is not None and not callable(call_soon):
        raise TypeError(f"call_soon must be a function of (callback, argument), not {call_soon!r}")
    host.check_open()
    if already:
        raise BusError(f"{name} is delivered to a callback already: let that one call both")
    host.pool.submit(_Delivery(host, name, items, callback, call_soon).run)
    return True


@dataclass
class _Delivery:
    _host: Host
    _name: str
    _items: Iterable[Any]
    _callback: Callable[[Any], object]
    _call_soon: CallSoon | None
    _places: threading.Semaphore = field(default_factory=partial(threading.Semaphore, _PLACES))

    def run(self) -> None:
        """In a thread of the pool, until the items end."""
        try:
            for item in self._items:
                if self._call_soon is None:
                    self._call(item)
                elif self._got_place():
                    self._hand_over(item, self._call_soon)
                else:
                    return
        except BusError as error:  # another node has taken the name
            self._failed("the delivery to", error)

    def _got_place(self) -> bool:
        """Wait for one; False if the bus is closed meanwhile."""
        while not self._places.acquire(timeout=_LOOK_S):
            if self._host.failure is not None:
                return False
        return True

    def _hand_over(self, item: Any, call_soon: CallSoon) -> None:
        try:
            call_soon(self._call_placed, item)
        except Exception as error:  # noqa: BLE001 - the window may be gone
            self._places.release()
            self._failed("call_soon for", error)

    def _call(self, item: Any) -> None:
        """Call back, where the program wants it."""
        try:
            self._callback(item)
        except Exception as error:  # noqa: BLE001 - as a handler's
            self._failed("the callback of", error)

    def _call_placed(self, item: Any) -> None:
        try:
            self._call(item)
        finally:
            self._places.release()

    def _failed(self, what: str, error: Exception) -> None:
        self._host.engine.call(self._host.failures.add, f"{what} {self._name}", error)
