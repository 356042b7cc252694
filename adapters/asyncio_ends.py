"""The objects that an asyncio program is given: receivers and changes to be awaited, handlers in tasks.

Knows nothing of links.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import TYPE_CHECKING, Any, Self

from busway.adapters import ends
from busway.adapters.asyncio_serving import Serving
from busway.adapters.asyncio_taking import Taking
from busway.adapters.carrying import answering
from busway.adapters.compiling import warn_of_forgotten
from busway.adapters.ends import BaseChanges, BaseReceiver
from busway.adapters.records import Change
from busway.adapters.typed import Handler, T_co
from busway.protocol import Receiver as CoreReceiver
from busway.protocol import Request

if TYPE_CHECKING:
    from busway.adapters.asyncio_host import Host


class Receiver(Taking[T_co], BaseReceiver[T_co]):
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
        BaseReceiver.__init__(self, keep, host, core, types, sealed)
        self._receiving = host.core.receiving if host.sealing is None else None
        if host.sealing is None:  # the sealed ones' keys are asked for as they come
            self._arrivals.always = core.told = False
        self._is_any = types is None


class Service(Serving, ends.Service):
    """A handler at an endpoint, run by the loop or in tasks. Made by `serve`; `close()` ends it."""

    _host: Host

    def __init__(
        self,
        handler: Handler,
        limit: int,
        host: Host,
        core: CoreReceiver,
        types: tuple[type, ...] | None,
        sealed: bool,
    ) -> None:
        ends.Service.__init__(self, handler, limit, host, core, types, sealed)
        self._look_at_handler()

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
                await self._say_part(asked, part)
        if asked is not None:
            if self._host.sealing is not None and self._host.sealing.is_sealed(asked):
                await self._say_part(asked, self._host.sealing.end)
            await self._host.settled(self._host.node.respond_end, asked, self._host.now_ms())

    async def _say_part(self, asked: Request, value: Any) -> None:
        respond, value = answering(asked, self._host.node.respond_part, value)
        payload, format, type_id = self._encode(asked, value)
        await self._host.settled(respond, asked, payload, self._host.now_ms(), format, type_id)


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


warn_of_forgotten(Receiver, "receive", "receive_many")
