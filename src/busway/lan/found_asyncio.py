"""All that is found, to be awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from busway.lan.found import BaseFoundStream, Found

if TYPE_CHECKING:
    from busway.adapters.asyncio_ends import Items
    from busway.adapters.asyncio_host import Host


class FoundStream(BaseFoundStream):
    """Programs and boards that were found, then what becomes of each: an async iterator. Made by `found`;
    `close()`, or leaving its `async with`, ends it.
    """

    _host: Host
    _items: Items

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Found:
        self._host.check_here()
        found = self._take(await self._items.next())
        if found is None:
            raise StopAsyncIteration
        return found

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    async def aclose(self) -> None:
        """As `close`, for `contextlib.aclosing`."""
        self.close()
