"""What a program with threads holds in its hand: receivers, services with their handlers, changes, and parts
of a streaming reply.

They take from the core's queues and wake threads. Knows nothing of links.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, cast

from busway.adapters import facade, typed
from busway.adapters.checks import check_seconds
from busway.adapters.links import now_ms
from busway.adapters.records import Change
from busway.adapters.threads_callbacks import CallSoon, deliver
from busway.adapters.threads_engine import Engine, Promise
from busway.adapters.threads_signals import shielded
from busway.adapters.typed import Handler, T_co
from busway.errors import BusClosed, BusError, EndpointTaken, RemoteError
from busway.names import ascii_safe
from busway.protocol import Message, Request, codes, errors, events
from busway.protocol import Receiver as CoreReceiver

if TYPE_CHECKING:
    from busway.adapters.threads_host import Host

_log = logging.getLogger("busway")
_CHANGES_MAX = 1024  # changes that a slow reader of `changes()` may be behind


class Arrivals:
    """Who waits for the messages of one registration. The core knows it, and it knows nothing of the bus."""

    def __init__(self, core: CoreReceiver) -> None:
        self.core = core
        self.lost = False  # another node keeps the name
        self.waiting: deque[Promise] = deque()
        core.tag = self
        core.decline = facade.NO_ANSWERS

    def forget(self, promise: Promise) -> None:
        """One who waited is served or gives up; what came in the meantime is the next one's."""
        if promise in self.waiting:
            self.waiting.remove(promise)
        if self.waiting and len(self.core.queue):
            self._wake()

    def _wake(self) -> None:
        """There is a message, or there will be none any more."""
        while self.waiting:
            promise = self.waiting.popleft()
            if not promise.resolved:
                promise.set_result(None)
                if not self.core.closed:
                    return

    def _taken(self) -> None:
        """Another node keeps the name: what is queued can still be read."""
        self.lost = True
        self._wake()

    def _asked(self, host: Host) -> None:
        """Somebody waits for an answer, which only a service gives."""
        host.engine.remarks.append(partial(_log.warning, "%s", facade.log_asked(self.core)))


class Receiver(Generic[T_co]):
    """Messages for one registration: an iterable. Made by `register` and `subscribe`. Several threads may
    share one: each message goes to one of them.
    """

    def __init__(self, keep: object, host: Host, core: CoreReceiver, types: tuple[type, ...] | None) -> None:
        self.unknown = 0  # messages of a type that was not declared: skipped
        self._keep = keep  # the bus: it is not dropped while this is held
        self._host = host
        self._core = core
        self._types = types
        self._delivering = False  # to a callback
        self._arrivals = Arrivals(core)

    def __repr__(self) -> str:
        return facade.describe_receiver(self, self._core)

    @property
    def dropped(self) -> int:
        """Messages that the queue policy threw out."""
        return self._core.dropped

    @property
    def missed(self) -> int:
        """Messages that are lost and that no message has shown yet as its `missed`."""
        return cast(int, self._host.engine.call(self._core.missed))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> typed.Message[T_co]:
        try:
            return self.receive()
        except BusClosed:
            raise StopIteration from None

    def _each(self) -> Iterator[typed.Message[T_co]]:
        with contextlib.suppress(BusClosed):
            while True:
                yield self._receive(None)

    @shielded
    def receive(self, timeout: float | None = None) -> typed.Message[T_co]:
        """The next message; `timeout` in seconds.

        `message.error` is set, and the payload left as bytes, where it doesn't fit what was declared. Raises
        TimeoutError, BusClosed after `close()`, EndpointTaken when another node keeps the name, BusError
        after `deliver`.
        """
        if self._delivering:
            raise BusError(
                "this receiver's messages go to the callback of deliver: register another for receive"
            )
        return self._receive(timeout)

    def _receive(self, timeout: float | None) -> typed.Message[T_co]:
        self._host.check_open()
        if timeout is not None:
            check_seconds("timeout", timeout, endless=True)
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            message, promise = self._host.engine.call(self._take)
            if message is not None:
                if self._accept(message):
                    return cast(typed.Message[T_co], message)
            elif not self._wait(promise, end):
                raise TimeoutError(facade.nothing_came(self._core, timeout))

    def _take(self) -> tuple[Message | None, Promise | None]:
        """The next, or what to wait for."""
        self._host.check()
        message = self._host.node.receiving.take(self._core)
        if message is not None:
            return message, None
        if self._core.closed:
            raise EndpointTaken() if self._arrivals.lost else BusClosed("this receiver is closed")
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

    def _accept(self, message: Message) -> bool:
        """Decode a message; one of an unknown type is counted, and skipped."""
        known = facade.decode_message(message, self._types)
        self.unknown += not known
        return known

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
        self._delivering = deliver(self._host, name, self._each(), callback, call_soon, self._delivering)
        return self

    def _close(self) -> None:
        self._host.node.deregister(self._core, now_ms())
        self._arrivals._wake()

    def close(self) -> None:
        """Deregister. What was not read is answered as not taken. Twice is once."""
        self._host.engine.call(self._close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Job:
    """A handler at work."""

    __slots__ = ("cancelled", "thread")

    def __init__(self) -> None:
        self.cancelled = False  # nobody wants the answer any more
        self.thread = 0  # the ident of the thread that runs it, once one does


class Service:
    """A handler at an endpoint, run in the bus's pool. Made by `serve`; `close()` ends it."""

    def __init__(
        self, host: Host, core: CoreReceiver, handler: Handler, limit: int, types: tuple[type, ...] | None
    ) -> None:
        self.unknown = 0
        self.failed = 0  # handlers that raised
        self._host = host
        self._core = core
        self._handler = handler
        self._limit = limit
        self._types = types
        self._running = 0
        core.tag = self

    def __repr__(self) -> str:
        return facade.describe_receiver(self, self._core)

    def _wake(self) -> None:
        """Start handlers for what is queued, as far as the limit allows."""
        while self._running < self._limit:
            try:
                message = self._host.node.take(self._core, 0)
            except errors.ClosedError:
                return
            if message is None:
                return
            job = Job()
            self._running += 1
            self._host.handlers[message] = job
            try:
                self._host.pool.submit(partial(self._run, message, job))
            except RuntimeError as error:  # the system gives no more threads
                self._ended(message)
                facade.answer_failure(self._host.node, message, error, now_ms())

    def _ended(self, message: Message) -> None:
        del self._host.handlers[message]
        self._running -= 1
        self._host.handler_ended()

    def _next(self, message: Message) -> None:
        self._ended(message)
        self._wake()

    def _run(self, message: Message, job: Job) -> None:
        """In a thread of the pool: from the message to its answer."""
        call = self._host.engine.call
        job.thread = threading.get_ident()
        try:
            if self._accept(message):
                self._answer(message, job)
        except BaseException as error:  # noqa: BLE001 - also SystemExit: it is the caller's to know
            call(self._failed, message, error)
        finally:
            call(self._next, message)

    def _failed(self, message: Message, error: BaseException) -> None:
        if self._host.failure is not None and isinstance(error, BusClosed):
            why = "the handler was cancelled: its node is closing"
            facade.answer_error(self._host.node, message, codes.BUS_CLOSED, why, now_ms())
            return
        if not isinstance(error, RemoteError):
            self.failed += 1
            name = self._core.endpoint.name or message.endpoint.hex()
            self._host.failures.add(f"a handler of {name}", error)
        facade.answer_failure(self._host.node, message, error, now_ms())

    def _accept(self, message: Message) -> bool:
        known = facade.decode_message(message, self._types)
        if known and message.error is None:
            return True
        self.unknown += not known
        if message.error is not None:
            self._host.engine.call(self._host.failures.add, *facade.unreadable(self._core, message.error))
        self._host.engine.call(facade.answer_unreadable, self._host.node, message, now_ms())
        return False

    def _answer(self, message: Message, job: Job) -> None:
        result = self._handler(cast(typed.Request[Any], message))
        asked = facade.wants_answer(message)
        if inspect.isgenerator(result):
            with contextlib.closing(result):
                self._answer_parts(asked, result, job)
        elif inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise TypeError("a handler of a Bus must be a plain function: use AsyncBus for coroutines")
        elif asked is not None:
            self._respond(self._host.node.respond, asked, result)

    def _answer_parts(self, asked: Request | None, parts: Iterator[Any], job: Job) -> None:
        if asked is not None and asked.stream is None:
            text = "this handler answers in parts: use request_stream"
            respond = self._host.node.respond_error
            self._host.engine.call(respond, asked, codes.NOT_A_STREAM, text, now_ms())
            return
        for part in parts:
            if job.cancelled:
                return
            if asked is not None:
                self._respond(self._host.node.respond_part, asked, part)
        if asked is not None:
            self._host.settled(self._host.node.respond_end, asked, now_ms())

    def _respond(self, function: Callable[..., int], asked: Request, value: Any) -> None:
        payload, format, type_id = facade.encode_answer(asked, value)
        self._host.settled(function, asked, payload, now_ms(), format, type_id)

    def _taken(self) -> None:
        """Another node keeps the name: what is queued is still served."""
        name = ascii_safe(self._core.endpoint.name or "")
        remark = partial(_log.warning, "another node keeps the endpoint %s", name)
        self._host.engine.remarks.append(remark)

    def close(self) -> None:
        """Deregister. Handlers at work go on; what is queued is answered as not taken. Twice is once."""
        self._host.engine.call(self._host.node.deregister, self._core, now_ms())


class Changes:
    """What comes and goes: an iterator. Made by `changes`; `close()` ends it."""

    def __init__(self, keep: object, host: Host) -> None:
        self._keep = keep  # the bus: it is not dropped while this is held
        self._host = host
        self._engine = host.engine
        self._queue: deque[Change] = deque(maxlen=_CHANGES_MAX)
        self._waiting: list[Promise] = []
        self._ended = False
        self._delivering = False  # to a callback
        self.missed = 0  # that were lost so far, for this reader was too slow: look around anew

    def __repr__(self) -> str:
        return facade.describe_changes(len(self._queue), self.missed, self._ended)

    def _put(self, change: Change) -> None:
        """One more; a full queue loses its oldest."""
        self.missed += len(self._queue) == _CHANGES_MAX
        self._queue.append(change)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for promise in waiting:
            promise.set_result(None)

    def _finish(self) -> None:
        """No more will come: what is queued can still be read."""
        self._ended = True
        self._host.changes.discard(self)
        self._wake()

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
        """The next; None if no more will come."""
        while True:
            with self._engine.lock:
                if self._queue:
                    return self._queue.popleft()
                if self._ended:
                    return None
                promise = Promise(self._engine)
                self._waiting.append(promise)
            self._engine.wait(promise)

    def deliver(self, callback: Callable[[Change], object], call_soon: CallSoon | None = None) -> Self:
        """Give each change to `callback` from now on; arguments and errors as `Receiver.deliver`."""
        each = iter(self._next, None)
        self._delivering = deliver(self._host, "changes", each, callback, call_soon, self._delivering)
        return self

    def close(self) -> None:
        """Read no more. Twice is once."""
        with self._engine.lock:
            self._queue.clear()
            self._finish()


class Parts:
    """The outcomes of a streaming reply, until they are read; the window bounds them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._outcomes: deque[events.Outcome] = deque()
        self._waiting: Promise | None = None

    def put(self, outcome: events.Outcome) -> None:
        self._outcomes.append(outcome)
        if self._waiting is not None and not self._waiting.resolved:
            self._waiting.set_result(None)

    def get(self) -> events.Outcome:
        while True:
            with self._engine.lock:
                if self._outcomes:
                    return self._outcomes.popleft()
                promise = self._waiting = Promise(self._engine)
            self._engine.wait(promise)
