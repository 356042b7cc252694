"""The objects that an asyncio program is given: receivers and changes to be awaited, handlers in tasks.

Knows nothing of links.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from asyncio import _get_running_loop  # documented for those who run loops; a few ns
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast

from busway.adapters import ends, typed
from busway.adapters.arguments import check_seconds
from busway.adapters.ends import BaseChanges, BaseReceiver
from busway.adapters.records import Change
from busway.adapters.results import answer_error, answer_failure, wants_answer
from busway.adapters.typed import T_co
from busway.errors import BusClosed
from busway.protocol import Message, Request, codes
from busway.protocol import Receiver as CoreReceiver

if TYPE_CHECKING:
    from busway.adapters.asyncio_host import Host

# After 256 calls of send, publish or receive without a wait the loop gets a turn: else a busy task starves
# all others, and what it has queued, or the credit for what it has taken, would not leave before it has to
# wait.
YIELD_MASK = 255


class Receiver(BaseReceiver[T_co]):
    """Messages for one registration: an async iterable. Made by `register` and `subscribe`."""

    _host: Host

    def __init__(
        self,
        keep: object,
        host: Host,
        core: CoreReceiver,
        types: tuple[type, ...] | None,
        sealed: bool = False,
    ) -> None:
        super().__init__(keep, host, core, types, sealed)
        self._take = cast("Callable[[CoreReceiver], typed.Message[T_co] | None]", self._taken)
        self._calls = 0

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
        TimeoutError, BusClosed after `close()`, EndpointTaken while another node keeps the name.
        """
        self._calls += 1
        if self._calls & YIELD_MASK == 0:
            await asyncio.sleep(0)
        host = self._host
        if host.failure is not None or _get_running_loop() is not host._loop:
            host.check()
        while message := self._take(self._core):
            if (message.format == codes.RAW and self._types is None) or self._accept(message):
                return message
        self._check_more()
        if timeout is not None:
            check_seconds("timeout", timeout, endless=True)
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await self._wait()
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._nothing_came(timeout) from None

    async def _wait(self) -> typed.Message[T_co]:
        while True:
            future: asyncio.Future[None] = self._host.loop.create_future()
            self._arrivals.waiting.append(future)
            try:
                await future
            finally:
                self._arrivals.forget(future)
            self._host.check()
            while message := self._take(self._core):
                if self._accept(message):
                    return message
            self._check_more()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class Service(ends.Service):
    """A handler at an endpoint, run in tasks. Made by `serve`; `close()` ends it."""

    _host: Host

    def _start(self, message: Message) -> None:
        """Counts up here what is counted down when the task is done: one that is cancelled before its
        first step runs nothing of its own, and an eager one may have ended already.
        """
        if not self._accept(message):
            return
        self._crew.began(message)
        try:
            task = self._host.loop.create_task(self._run(message))
        except BaseException:
            self._crew.ended(message)
            raise
        self._host.handlers[message] = task
        task.add_done_callback(partial(self._ended, message))

    def _ended(self, message: Message, task: asyncio.Task[None]) -> None:
        self._crew.ended(message)
        del self._host.handlers[message]
        if task.cancelled():
            code = codes.HANDLER_FAILED if self._host.failure is None else codes.BUS_CLOSED
            why = ": its node is closing" if self._host.failure is not None else ""
            answer_error(
                self._host.node, message, code, f"the handler was cancelled{why}", self._host.now_ms()
            )
        elif (error := task.exception()) is not None:  # SystemExit, KeyboardInterrupt: the loop has raised it
            answer_failure(self._host.node, message, error, self._host.now_ms())
        self._wake()

    def _pressed(self) -> None:
        self._host.wake()

    async def _run(self, message: Message) -> None:
        try:
            await self._answer(message)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's to know
            self._raised(message, error)

    async def _answer(self, message: Message) -> None:
        result: Any = self._handler(cast("typed.Request[Any]", message))
        asked = wants_answer(message)
        if inspect.isawaitable(result):
            result = await result
        elif inspect.isgenerator(result):
            result = self._each(result)
        if inspect.isasyncgen(result):
            async with contextlib.aclosing(result):
                await self._answer_parts(asked, result)
        elif asked is not None:
            await self._respond(self._host.node.respond, asked, result)

    async def _each(self, parts: Generator[Any, Any, Any]) -> AsyncGenerator[Any, None]:
        """A plain generator's parts; others have their turn in between."""
        with contextlib.closing(parts):
            for part in parts:
                yield part
                await asyncio.sleep(0)

    async def _answer_parts(self, asked: Request | None, parts: AsyncIterator[Any]) -> None:
        if asked is not None and not self._gave_parts(asked):
            return
        async for part in parts:
            if asked is not None:
                await self._respond(self._host.node.respond_part, asked, part)
        if asked is not None:
            if self._host.sealing is not None and self._host.sealing.is_sealed(asked):
                await self._respond(self._host.node.respond_part, asked, self._host.sealing.end)
            await self._host.settled(self._host.node.respond_end, asked, self._host.now_ms())

    async def _respond(self, function: Callable[..., int], asked: Request, value: Any) -> None:
        payload, format, type_id = self._encode(asked, value)
        await self._host.settled(function, asked, payload, self._host.now_ms(), format, type_id)


class Items(ends.Items):
    """Items that come one by one, to be awaited."""

    def __init__(self, most: int | None = None) -> None:
        super().__init__(most)
        self._arrived = asyncio.Event()

    def rouse(self) -> None:
        self._arrived.set()

    async def next(self) -> Any:
        """The next; None if no more will come."""
        while not self.queue:
            if self.ended:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        return self.queue.popleft()


class Changes(BaseChanges):
    """All that comes and goes: an async iterator. Made by `changes`; `close()` ends it."""

    _host: Host
    _items: Items

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        self._host.check_here()
        change: Change | None = await self._items.next()
        if change is None:
            raise StopAsyncIteration
        return change

    async def aclose(self) -> None:
        """As `close`, for `contextlib.aclosing`."""
        self.close()
