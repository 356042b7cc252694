"""All that is found, to be waited for by any thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from busway.lan.found import BaseFoundStream, Found

if TYPE_CHECKING:
    from busway.adapters.threads_ends import Items
    from busway.adapters.threads_host import Host


class FoundStream(BaseFoundStream):
    """Programs and boards that were found, then what becomes of each: an iterator that blocks. Made by
    `found`; `close()`, from any thread, or leaving its `with`, ends it.
    """

    _host: Host
    _items: Items

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Found:
        key = self._items.next()
        found = self._host.look(self._take, key)
        if found is None:
            raise StopIteration
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
