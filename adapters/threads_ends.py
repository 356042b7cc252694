"""The objects that a program with threads is given: receivers and changes that block, handlers in a pool.

Knows nothing of links.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast

from busway.adapters import ends, typed
from busway.adapters.arguments import MOST, check_most, check_seconds
from busway.adapters.carrying import answering
from busway.adapters.ends import BaseChanges, BaseReceiver
from busway.adapters.records import Change
from busway.adapters.results import answer_error, answer_failure, wants_answer
from busway.adapters.threads_callbacks import CallSoon, deliver
from busway.adapters.threads_engine import Engine
from busway.adapters.threads_pace import pace_of
from busway.adapters.threads_promises import Promise
from busway.adapters.threads_signals import interrupt, raise_pending, shielded
from busway.adapters.typed import T_co
from busway.errors import BusClosed, BusError
from busway.protocol import Message, Request, codes
from busway.protocol import Receiver as CoreReceiver

if TYPE_CHECKING:
    from busway.adapters.threads_host import Host


class Receiver(BaseReceiver[T_co]):
    """Messages for one registration: an iterable. Made by `register` and `subscribe`. Several threads may
    share one: each message goes to one of them.
    """

    _host: Host
    _delivering = False  # to a callback

    def __init__(
        self, keep: object, host: Host, core: CoreReceiver, types: tuple[type, ...] | None, sealed: bool
    ) -> None:
        super().__init__(keep, host, core, types, sealed)
        self._pace = pace_of(core)
        if self._pace is not None:
            host.paces.add(self._pace)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> typed.Message[T_co]:
        try:
            return self.receive()
        except BusClosed:
            raise StopIteration from None

    def _each(self) -> Iterator[typed.Message[T_co]]:
        host = self._host
        with contextlib.suppress(BusClosed):
            while True:
                message = None if host.failure is not None else host.take_now(self._taken, self._core)
                yield message if message is not None and self._accept(message) else self._receive(None)

    def receive(self, timeout: float | None = None) -> typed.Message[T_co]:
        """The next message; `timeout` in seconds.

        `message.error` is set, and the payload left as bytes, where it doesn't fit what was declared. Raises
        TimeoutError, BusClosed after `close()`, EndpointTaken while another node keeps the name, BusError
        after `deliver`.
        """
        if self._delivering:
            raise BusError(
                "this receiver's messages go to the callback of deliver: register another for receive"
            )
        if timeout is not None:
            check_seconds("timeout", timeout, endless=True)
        host = self._host
        if host.failure is None:
            try:
                message: typed.Message[T_co] | None = host.take_now(self._taken, self._core)
            finally:
                if interrupt.pending:
                    raise_pending()
            if message is not None and (
                (message.format == codes.RAW and self._types is None) or self._accept(message)
            ):
                return message
        return self._receive(timeout)

    def receive_many(self, most: int = MOST, timeout: float | None = None) -> list[typed.Message[T_co]]:
        """All that waits, in order: one message at least, and `most` at the most; much quicker than one by
        one where many small ones come. Arguments and errors as `receive`.
        """
        if most is not MOST:
            check_most(most)
        if timeout is not None:
            check_seconds("timeout", timeout, endless=True)
        found = [] if self._delivering or self._host.failure is not None else self._take_many(most)
        if not found:
            found = [self.receive(timeout)]
            if most > 1:
                found += self._take_many(most - 1)
        return found

    def _take_many(self, most: int) -> list[typed.Message[T_co]]:
        """All that is there now; [] if there is nothing."""
        found: list[typed.Message[T_co]] = []
        try:
            while not found:
                if self._host.sealing is None:
                    found = self._host.take_many(self._core, most)
                else:
                    while (
                        len(found) < most
                        and (one := self._host.take_now(self._taken, self._core)) is not None
                    ):
                        found.append(one)
                if not found:
                    break
                if self._types is not None or any(message.format != codes.RAW for message in found):
                    found = [message for message in found if self._accept(message)]
        finally:
            if interrupt.pending:
                raise_pending()
        return found

    def batches(self, most: int = MOST) -> Iterator[list[typed.Message[T_co]]]:
        """`for batch in receiver.batches()`: lists as of `receive_many`, until the receiver or its bus is
        closed.
        """
        check_most(most)
        return self._batches(most)

    def _batches(self, most: int) -> Iterator[list[typed.Message[T_co]]]:
        with contextlib.suppress(BusClosed):
            while True:
                yield self.receive_many(most)

    @shielded
    def _receive(self, timeout: float | None) -> typed.Message[T_co]:
        self._host.check_open()
        end = None if timeout is None else time.monotonic() + timeout
        message: typed.Message[T_co] | None
        while True:
            message, promise = self._host.engine.call(self._take)
            if message is not None:
                if self._accept(message):
                    return message
            elif not self._wait(promise, end):
                raise self._nothing_came(timeout)

    def _take(self) -> tuple[Any, Any]:
        """The next, or what to wait for."""
        self._host.check()
        message = self._taken(self._core)
        if message is not None:
            return message, None
        self._check_more()
        if self._pace is not None:
            self._host.paces.add(self._pace)
        promise = Promise(self._host.engine)
        self._arrivals.waiting.append(promise)
        return None, promise

    def _wait(self, promise: Promise, end: float | None) -> bool:
        left = None if end is None else max(0.0, end - time.monotonic())
        try:
            return self._host.engine.wait(promise, left)
        finally:
            with self._host.engine.lock:
                self._arrivals.forget(promise)

    def _close(self) -> None:
        super()._close()
        if self._pace is not None:
            self._host.paces.discard(self._pace)

    def deliver(
        self, callback: Callable[[typed.Message[T_co]], object], call_soon: CallSoon | None = None
    ) -> Self:
        """Give each message to `callback` from now on, instead of `receive`; for programs with a window.

        It is called in a thread of the bus, or where `call_soon(function, argument)` takes it: Tkinter
        `lambda *call: root.after(0, *call)`, asyncio `loop.call_soon_threadsafe`, Qt a signal's `emit`. At
        most 256 are on that way. What it raises is logged. Ends with the receiver or its bus, which it keeps
        until then. Raises TypeError, BusClosed; BusError if there is a callback already.
        """
        name = self._core.endpoint.name or "a receiver"
        self._waits_on = True
        self._delivering = deliver(self._host, name, self._each(), callback, call_soon, self._delivering)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Job:
    """A handler at work."""

    __slots__ = ("cancelled", "ended", "thread")

    def __init__(self) -> None:
        self.ended = False
        self.cancelled = False  # nobody wants the answer any more
        self.thread = 0  # the ident of the thread that runs it, once one does

    def cancel(self) -> None:
        self.cancelled = True


_QUICK_NS = 200_000  # a handler that takes no longer may run where the links are watched
_OFTEN_NS = 2_000_000  # ... if its messages follow each other so closely
_SLOW_RUNS = 16  # quick ones that make up for one that was slow


class Service(ends.Service):
    """A handler at an endpoint, run in the bus's pool. Made by `serve`; `close()` ends it."""

    _host: Host
    _slow = 1  # quick runs to come before it counts as quick
    _began_ns = 0  # when the last one began

    def _start(self, message: Message) -> None:
        job = Job()
        self._crew.began(message)
        self._host.handlers[message] = job
        try:
            self._host.engine.do(partial(self._run, message, job), not self._slow)
        except RuntimeError as error:  # the system gives no more threads
            self._ended(message)
            answer_failure(self._host.node, message, error, self._host.now_ms())

    def _ended(self, message: Message) -> None:
        del self._host.handlers[message]
        self._crew.ended(message)
        self._host.handler_ended()

    def _next(self, message: Message) -> None:
        self._ended(message)
        self._wake()

    def _run(self, message: Message, job: Job) -> bool:
        """In a thread of the pool: from the message to its answer. Whether it may watch the links then: its
        tasks are quick, and follow each other closely.
        """
        began = time.monotonic_ns()
        job.thread = threading.get_ident()
        try:
            if self._accept(message):
                self._answer(message, job)
        except BaseException as error:  # noqa: BLE001 - also SystemExit: it is the caller's to know
            self._host.engine.call(self._raised, message, error)
        finally:
            if not job.ended:
                self._host.engine.call(self._next, message)
        return self._was_quick(began)

    def _was_quick(self, began_ns: int) -> bool:
        often = began_ns - self._began_ns < _OFTEN_NS
        self._began_ns = began_ns
        if time.monotonic_ns() - began_ns > _QUICK_NS:
            self._slow = _SLOW_RUNS
        elif self._slow:
            self._slow -= 1
        return often and not self._slow

    def _raised(self, message: Message, error: BaseException) -> None:
        if self._host.failure is not None and isinstance(error, BusClosed):
            why = "the handler was cancelled: its node is closing"
            answer_error(self._host.node, message, codes.BUS_CLOSED, why, self._host.now_ms())
        else:
            super()._raised(message, error)

    def _answer(self, message: Message, job: Job) -> None:
        result = self._handler(cast("typed.Request[Any]", message))
        asked = wants_answer(message)
        if type(result) not in ends.VALUES:
            if inspect.isgenerator(result):
                with contextlib.closing(result):
                    self._answer_parts(asked, result, job)
                return
            if inspect.isawaitable(result):
                if inspect.iscoroutine(result):
                    result.close()
                raise TypeError(PLAIN_ONLY)
        if asked is not None:
            respond = self._host.node.respond
            if type(result) not in ends.VALUES:
                respond, result = answering(asked, respond, result)
            payload, format, type_id = self._encode(asked, result)
            words = (asked, payload, format, type_id)
            job.ended = self._host.replied(respond, *words, partial(self._next, message))

    def _answer_parts(self, asked: Request | None, parts: Iterator[Any], job: Job) -> None:
        if asked is not None and not self._gave_parts(asked):
            return
        for part in parts:
            if job.cancelled:
                return
            if asked is not None:
                self._respond(self._host.node.respond_part, asked, part)
        if asked is not None:
            if self._host.sealing is not None and self._host.sealing.is_sealed(asked):
                self._respond(self._host.node.respond_part, asked, self._host.sealing.end)
            self._host.settled(self._host.node.respond_end, asked, self._host.now_ms())

    def _respond(self, function: Callable[..., int], asked: Request, value: Any) -> None:
        if type(value) not in ends.VALUES:
            function, value = answering(asked, function, value)
        payload, format, type_id = self._encode(asked, value)
        self._host.settled(function, asked, payload, self._host.now_ms(), format, type_id)


PLAIN_ONLY = "a handler of a Bus must be a plain function: use AsyncBus for coroutines"


class Items(ends.Items):
    """Items that come one by one, to be waited for by any thread."""

    def __init__(self, engine: Engine, most: int | None = None) -> None:
        super().__init__(most)
        self._engine = engine
        self._waiting: list[Promise] = []

    def rouse(self) -> None:
        waiting, self._waiting = self._waiting, []
        for promise in waiting:
            promise.set_result(None)

    def next(self) -> Any:
        """The next; None if no more will come."""
        while True:
            with self._engine.lock:
                if self.queue:
                    return self.queue.popleft()
                if self.ended:
                    return None
                promise = Promise(self._engine)
                self._waiting.append(promise)
            self._engine.wait(promise)


class Changes(BaseChanges):
    """All that comes and goes: an iterator. Made by `changes`; `close()` ends it."""

    _host: Host
    _items: Items
    _delivering = False  # to a callback

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        if self._delivering:
            raise BusError("these changes go to the callback of deliver: ask bus.changes() for others")
        change = self._next()
        if change is None:
            raise StopIteration
        return change

    def _next(self) -> Change | None:
        change: Change | None = self._items.next()
        return change

    def deliver(self, callback: Callable[[Change], object], call_soon: CallSoon | None = None) -> Self:
        """Give each change to `callback` from now on; arguments and errors as `Receiver.deliver`."""
        each = iter(self._next, None)  # which keeps this alive
        self._delivering = deliver(self._host, "changes", each, callback, call_soon, self._delivering)
        return self
