"""What an asyncio program holds in its hand: receivers, services with their handlers, parts of a streaming
reply.

They take from the core's queues and wake tasks. Knows nothing of links.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from asyncio import _get_running_loop  # documented for those who run loops; a few ns
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, cast

from busway.adapters import facade, typed
from busway.adapters.checks import check_seconds
from busway.adapters.closing import Done
from busway.adapters.links import now_ms
from busway.adapters.records import Change
from busway.adapters.typed import Handler, T_co
from busway.errors import BusClosed, EndpointTaken, RemoteError
from busway.names import ascii_safe
from busway.protocol import Message, Request, codes, errors, events
from busway.protocol import Receiver as CoreReceiver

if TYPE_CHECKING:
    from busway.adapters.asyncio_host import Host

_log = logging.getLogger("busway")
# After 256 calls of send, publish or receive without a wait the loop gets a turn: else a busy task starves
# all
# others, and what it has queued, or the credit for what it has taken, would not leave before it has to wait.
YIELD_MASK = 255
_CHANGES_MAX = 1024  # changes that a slow reader of `changes()` may be behind


class Arrivals:
    """Who waits for the messages of one registration. The core knows it, and it knows nothing of the bus."""

    def __init__(self, core: CoreReceiver) -> None:
        self.core = core
        self.lost = False  # another node keeps the name
        self.waiting: deque[asyncio.Future[None]] = deque()
        core.tag = self
        core.decline = facade.NO_ANSWERS

    def forget(self, future: asyncio.Future[None]) -> None:
        """One waiter is served or gives up; what came in the meantime is the next one's."""
        if future in self.waiting:
            self.waiting.remove(future)
        if self.waiting and len(self.core.queue):
            self._wake()

    def _wake(self) -> None:
        """There is a message, or there will be none any more."""
        while self.waiting:
            future = self.waiting.popleft()
            if not future.done():
                future.set_result(None)
                if not self.core.closed:
                    return

    def _taken(self) -> None:
        """Another node keeps the name: what is queued can still be read."""
        self.lost = True
        self._wake()

    def _asked(self) -> None:
        """Somebody waits for an answer, which only a service gives."""
        _log.warning("%s", facade.log_asked(self.core))


class Receiver(Generic[T_co]):
    """Messages for one registration: an async iterable. Made by `register` and `subscribe`."""

    def __init__(self, keep: object, host: Host, core: CoreReceiver, types: tuple[type, ...] | None) -> None:
        self.unknown = 0  # messages of a type that was not declared: skipped
        self._keep = keep  # the bus: it is not dropped while this is held
        self._host = host
        self._core = core
        self._types = types
        self._take = host.node.receiving.take
        self._calls = 0
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
        return self._core.missed()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> typed.Message[T_co]:
        try:
            return await self.receive()
        except BusClosed:
            raise StopAsyncIteration from None

    async def receive(self, timeout: float | None = None) -> typed.Message[T_co]:
        """The next message; `timeout` in seconds.

        `message.error` is set, and the payload left as bytes, where it doesn't fit what was declared. Raises
        TimeoutError,
        BusClosed after `close()`, EndpointTaken when another node keeps the name.
        """
        self._calls += 1
        if self._calls & YIELD_MASK == 0:
            await asyncio.sleep(0)
        host = self._host
        if (
            self._types is None and host.failure is None and _get_running_loop() is host._loop
        ):  # the short way, for bytes
            first = self._take(self._core)
            if first is not None and (first.format == codes.RAW or self._accept(first)):
                return cast(typed.Message[T_co], first)
        message = self._next()
        if message is None:
            if timeout is not None:
                check_seconds("timeout", timeout, endless=True)
            limit = asyncio.timeout(timeout)
            try:
                async with limit:
                    message = await self._wait()
            except TimeoutError:
                if not limit.expired():
                    raise
                raise TimeoutError(facade.nothing_came(self._core, timeout)) from None
        return cast(typed.Message[T_co], message)

    def _accept(self, message: Message) -> bool:
        """Decode a message; one of an unknown type is counted, and skipped."""
        known = facade.decode_message(message, self._types)
        self.unknown += not known
        return known

    def _next(self) -> Message | None:
        self._host.check()
        while message := self._take(self._core):
            if self._accept(message):
                return message
        if self._core.closed:
            raise EndpointTaken() if self._arrivals.lost else BusClosed("this receiver is closed")
        return None

    async def _wait(self) -> Message:
        while True:
            future: asyncio.Future[None] = self._host.loop.create_future()
            self._arrivals.waiting.append(future)
            try:
                await future
            finally:
                self._arrivals.forget(future)
            message = self._next()
            if message is not None:
                return message

    def close(self) -> Done:
        """Deregister. What was not read is answered as not taken. Twice is once. It may be awaited."""
        self._host.check_here()
        self._host.node.deregister(self._core, now_ms())
        self._arrivals._wake()
        return Done()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class Service:
    """A handler at an endpoint. Made by `serve`; `close()` ends it."""

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
            if self._accept(message):
                self._start(message)

    def _start(self, message: Message) -> None:
        """What is counted up here is counted down when the task is done: one that is cancelled before its
        first step runs nothing of its own, and an eager one may have ended already.
        """
        self._running += 1
        try:
            task = self._host.loop.create_task(self._run(message))
        except BaseException:
            self._running -= 1
            raise
        self._host.handlers[message] = task
        task.add_done_callback(partial(self._ended, message))

    def _ended(self, message: Message, task: asyncio.Task[None]) -> None:
        self._running -= 1
        del self._host.handlers[message]
        if task.cancelled():
            code = codes.HANDLER_FAILED if self._host.failure is None else codes.BUS_CLOSED
            why = ": its node is closing" if self._host.failure is not None else ""
            text = f"the handler was cancelled{why}"
            facade.answer_error(self._host.node, message, code, text, now_ms())
        elif (error := task.exception()) is not None:  # SystemExit, KeyboardInterrupt: the loop has raised it
            facade.answer_failure(self._host.node, message, error, now_ms())
        self._wake()

    def _accept(self, message: Message) -> bool:
        known = facade.decode_message(message, self._types)
        if known and message.error is None:
            return True
        self.unknown += not known
        if message.error is not None:
            self._host.failures.add(*facade.unreadable(self._core, message.error))
        facade.answer_unreadable(self._host.node, message, now_ms())
        return False

    async def _run(self, message: Message) -> None:
        try:
            await self._answer(message)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's to know
            if not isinstance(error, RemoteError):
                self.failed += 1
                name = self._core.endpoint.name or message.endpoint.hex()
                self._host.failures.add(f"a handler of {name}", error)
            facade.answer_failure(self._host.node, message, error, now_ms())

    async def _answer(self, message: Message) -> None:
        result = self._handler(cast(typed.Request[Any], message))
        asked = facade.wants_answer(message)
        if inspect.isawaitable(result):
            result = await result
        elif inspect.isgenerator(result):
            result = self._each(result)
        if inspect.isasyncgen(result):
            async with contextlib.aclosing(result):
                await self._answer_parts(asked, result)
        elif asked is not None:
            payload, format, type_id = facade.encode_answer(asked, result)
            await self._host.settled(self._host.node.respond(asked, payload, now_ms(), format, type_id))

    async def _each(self, parts: Generator[Any, Any, Any]) -> AsyncGenerator[Any, None]:
        """A plain generator's parts; others have their turn in between."""
        with contextlib.closing(parts):
            for part in parts:
                yield part
                await asyncio.sleep(0)

    async def _answer_parts(self, asked: Request | None, parts: AsyncIterator[Any]) -> None:
        if asked is not None and asked.stream is None:
            text = "this handler answers in parts: use request_stream"
            self._host.node.respond_error(asked, codes.NOT_A_STREAM, text, now_ms())
            return
        async for part in parts:
            if asked is not None:
                payload, format, type_id = facade.encode_answer(asked, part)
                token = self._host.node.respond_part(asked, payload, now_ms(), format, type_id)
                await self._host.settled(token)
        if asked is not None:
            await self._host.settled(self._host.node.respond_end(asked, now_ms()))

    def _taken(self) -> None:
        """Another node keeps the name: what is queued is still served."""
        _log.warning("another node keeps the endpoint %s", ascii_safe(self._core.endpoint.name or ""))

    def close(self) -> Done:
        """Deregister. Handlers at work go on; what is queued is answered as not taken. Twice is once. It may
        be awaited.
        """
        self._host.check_here()
        self._host.node.deregister(self._core, now_ms())
        return Done()


class Changes:
    """What comes and goes: an async iterator. Made by `changes`; `close()` ends it."""

    def __init__(self, keep: object, host: Host) -> None:
        self._keep = keep  # the bus: it is not dropped while this is held
        self._host = host
        self._waiting: deque[Change] = deque(maxlen=_CHANGES_MAX)
        self._arrived = asyncio.Event()
        self._ended = False
        self.missed = 0  # that were lost so far, for this reader was too slow: look around anew

    def __repr__(self) -> str:
        return facade.describe_changes(len(self._waiting), self.missed, self._ended)

    def _put(self, change: Change) -> None:
        """One more; a full queue loses its oldest."""
        self.missed += len(self._waiting) == _CHANGES_MAX
        self._waiting.append(change)
        self._arrived.set()

    def _finish(self) -> None:
        """No more will come: what is queued can still be read."""
        self._ended = True
        self._arrived.set()
        self._host.changes.discard(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        self._host.check_here()
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()

    def close(self) -> Done:
        """Read no more. Twice is once. It may be awaited."""
        self._host.check_here()
        self._waiting.clear()
        self._finish()
        return Done()

    async def aclose(self) -> None:
        """As `close`, for `contextlib.aclosing`."""
        self.close()


class Parts:
    """The outcomes of a streaming reply, until they are read; the window bounds them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.outcomes: deque[events.Outcome] = deque()
        self.arrived = asyncio.Event()

    def put(self, outcome: events.Outcome) -> None:
        self.outcomes.append(outcome)
        self.arrived.set()

    async def get(self) -> events.Outcome:
        while not self.outcomes:
            self.arrived.clear()
            await self.arrived.wait()
        return self.outcomes.popleft()
