"""Presence, to be awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from busway.adapters.presence import BasePresence
from busway.adapters.records import Sighting

if TYPE_CHECKING:
    from busway.adapters.asyncio_ends import Items
    from busway.adapters.asyncio_host import Host


class Presence(BasePresence):
    """Endpoints that are there, then those that come, go or change: an async iterator. Made by `presence`;
    `close()`, or leaving its `async with`, ends it.
    """

    _host: Host
    _items: Items

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sighting:
        self._host.check_here()
        sighting: Sighting | None = await self._items.next()
        if sighting is None:
            raise StopAsyncIteration
        return sighting

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    async def aclose(self) -> None:
        """As `close`, for `contextlib.aclosing`."""
        self.close()
