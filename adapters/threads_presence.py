"""Presence, to be waited for by any thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from busway.adapters.presence import BasePresence
from busway.adapters.records import Sighting

if TYPE_CHECKING:
    from busway.adapters.threads_ends import Items
    from busway.adapters.threads_host import Host


class Presence(BasePresence):
    """Endpoints that are there, then those that come, go or change: an iterator that blocks. Made by
    `presence`; `close()`, from any thread, or leaving its `with`, ends it.
    """

    _host: Host
    _items: Items

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Sighting:
        sighting: Sighting | None = self._items.next()
        if sighting is None:
            raise StopIteration
        return sighting

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
