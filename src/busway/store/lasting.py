"""Last values that outlive their publishers: when the node that published the newest value of a name is
gone, the store keeps it for who subscribes later, until somebody publishes another.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from busway.protocol import codes
from busway.protocol.wire.patterns import matches
from busway.store.tables import Entry

if TYPE_CHECKING:
    from busway.store.service import Service

NAMES_MAX = 1024  # as many as a bus keeps last values of


class Lasting:
    """Args: `patterns` are the names whose last values stay."""

    def __init__(self, service: Service, patterns: tuple[str, ...]) -> None:
        self._service = service
        self.patterns = patterns
        self._newest: dict[str, tuple[int, bytes]] = {}  # by name: its place, and the publisher's node
        self._kept: set[str] = set()  # those that this store publishes
        self.refused = 0  # names beyond the most

    def means(self, name: str) -> bool:
        return any(matches(pattern, name) for pattern in self.patterns)

    def is_newest(self, entry: Entry) -> bool:
        """Whether an entry is the last value of its name, which is not let go of."""
        found = self._newest.get(entry.name)
        return found is not None and found[0] == entry.pos

    async def run(self, settle: float) -> None:
        """Begin with what is there, once it is known who is there."""
        if not self.patterns:
            return
        for entry in self._service.tables.newest_of_each(NAMES_MAX, self.means):
            if entry.name not in self._newest:
                self._newest[entry.name] = (entry.pos, entry.source)
        await asyncio.sleep(settle)
        there = {info.id for info in self._service.bus.nodes()}
        for source in {source for _, source in self._newest.values()} - there:
            await self.departed(source)

    async def came(self, entry: Entry) -> None:
        """A newer value."""
        if not self.patterns or not self.means(entry.name):
            return
        if entry.name not in self._newest and len(self._newest) >= NAMES_MAX:
            self.refused += 1
            return
        self._newest[entry.name] = (entry.pos, entry.source)
        if entry.name in self._kept:
            self._kept.discard(entry.name)
            await self._say("clear", entry.endpoint)

    async def departed(self, node: bytes) -> None:
        """A node is gone: what it has published last stays here."""
        for name, (pos, source) in list(self._newest.items()):
            entry = self._service.tables.entry(pos) if source == node and name not in self._kept else None
            if entry is not None:
                self._kept.add(name)
                await self._say("retain", entry.endpoint, entry)

    async def _say(self, call: str, endpoint: bytes, entry: Entry | None = None) -> None:
        bus = self._service.bus
        host: Any = bus._host
        words: tuple[Any, ...] = (endpoint, host.now_ms())
        if entry is not None:
            words = (endpoint, entry.payload, host.now_ms(), entry.format, entry.type_id)
        options = {"patience_ms": 500, "realm": codes.LOCALNET}
        token, future = host.ask(getattr(bus.node, call), *words, **options)
        if token:
            await host.outcome(token, future)
