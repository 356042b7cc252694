"""Records what is published to the names that a store keeps, and gives live subscribers what was put into the
store to be published.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any

from busway.adapters.asyncio_ends import Receiver
from busway.names import endpoint_id
from busway.payloads import SEALED
from busway.protocol import codes
from busway.protocol.wire.patterns import matches
from busway.store.queues import DurableSource
from busway.store.records import OVERHEAD, PUBLISHED, StoreError
from busway.store.tables import Entry, now_ms

if TYPE_CHECKING:
    from busway.store.service import Service

log = logging.getLogger("busway")
QUEUE = 65_536  # messages that wait to be recorded, of each pattern
_TOGETHER = 512
_PAGE = 1000  # messages that are looked at together, for what may go
_PAGES = 4  # ... and how many times, before it is somebody else's turn


class RawReceiver(Receiver[Any]):
    """Messages whose payloads stay as they came."""

    def _accept(self, message: Any) -> bool:
        return True


class Recording:
    """The subscriptions of a store."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._receivers: list[RawReceiver] = []
        self._number = 0
        self.refused = 0  # that were not recorded, for want of room
        # The place up to which all that is left is needed, as far as was looked, and how much that is.
        self._passed_to = self._passed = self._passed_size = 0
        self._trimming = asyncio.Lock()

    @property
    def missed(self) -> int:
        """Publications that did not get here."""
        return sum(receiver.dropped + receiver.missed for receiver in self._receivers)

    def start(self) -> None:
        service = self._service
        for index, pattern in enumerate(service.keep):
            make = partial(RawReceiver, service.bus)
            words = ("broadcast", service.realm, QUEUE, "drop_oldest", 0)
            receiver = service.bus._register(make, pattern, None, *words, labels=(), gone=None, sealed=False)
            self._receivers.append(receiver)
            service.spawn(self._record(receiver, service.keep[:index]))

    def close(self) -> None:
        for receiver in self._receivers:
            receiver.close()

    async def _record(self, receiver: RawReceiver, before: tuple[str, ...]) -> None:
        service = self._service
        while True:
            messages = await receiver.receive_many(_TOGETHER)
            entries = [self._entry(message) for message in messages if self._wants(message, before)]
            if not entries:
                continue
            size = sum(entry.size for entry in entries)
            try:
                await self.make_room(size)
                if not service.usage.has_room_for_published(size):
                    self._refuse(len(entries), "it has no room")
                    continue
                ((places,)) = await service.commit([("put", b"", 0, 0, entries)])
            except (StoreError, sqlite3.Error) as error:
                self._refuse(len(entries), str(error))
                await asyncio.sleep(0.1)  # a disk that is full is not asked at every message
                continue
            for entry in entries:
                service.usage.came(entry)
            service.counts["recorded"] += len(entries)
            service.arrived([entry._replace(pos=pos) for entry, pos in zip(entries, places, strict=True)])

    def _wants(self, message: Any, before: tuple[str, ...]) -> bool:
        """Whether to record it: not its own, nor what is sealed, nor what another pattern has, nor what is
        for a narrower realm than the store, from beyond which it would be read.
        """
        narrowest = codes.REALM_NAMES.index(self._service.realm)
        if 0 < getattr(message, "reach", 0) < narrowest:
            return False
        if message.source == self._service.bus.id or message.type_id == SEALED or message.retained:
            return False
        name = message.name
        return self._service.keeps(name) and not any(matches(each, name) for each in before)

    def _refuse(self, count: int, why: str) -> None:
        if not self.refused:
            log.warning("the store does not record what is published: %s", why)
        self.refused += count

    def _entry(self, message: Any) -> Entry:
        service = self._service
        self._number += 1
        payload = bytes(message.payload)
        format, type_id = message.format, message.type_id
        return Entry(
            0,
            PUBLISHED,
            message.name,
            endpoint_id(message.name),
            message.source,
            message.source_label[:64],
            service.stream + self._number.to_bytes(8, "big"),
            now_ms(),
            0,
            codes.PRIORITY_NAMES.index(message.priority),
            0,
            format,
            type_id,
            payload,
            len(payload) + OVERHEAD,
        )

    # Retention

    async def make_room(self, size: int) -> None:
        """Let go of the oldest where so many bytes more would be too much."""
        service = self._service
        if size and service.usage.published_size + size > service.limits.history:
            await self.trim(size)

    async def trim(self, size: int = 0) -> None:
        """Let go of the oldest that was published, as far as it is more than is kept and no durable that has
        not had it means it; `size` bytes more are to come. What is needed is passed over, a part each time.
        """
        async with self._trimming:  # what one removes, another must not count once more
            await self._trim(size)

    async def _trim(self, size: int) -> None:
        usage, limits = self._service.usage, self._service.limits
        floors = self._floors()
        for _ in range(_PAGES):
            over = usage.published_size + size - limits.history - self._passed_size
            more = usage.published - limits.count - self._passed
            rows = self._service.tables.oldest_published(_PAGE, self._passed_to)
            doomed, whole = self._doomed(rows, over, more, floors)
            if doomed:
                await self._service.remove(doomed, "retired")
            if not whole or len(rows) < _PAGE:
                self._passed_to = self._passed = self._passed_size = 0
                return

    def _doomed(
        self, rows: list[tuple[int, int, int]], over: int, more: int, floors: list[tuple[str, int]]
    ) -> tuple[list[Entry], bool]:
        """Of these what is to go, and whether all of them were more than is kept."""
        too_old = now_ms() - self._service.limits.age
        doomed: list[Entry] = []
        for pos, bytes_of, stored in rows:
            if over <= 0 and more <= 0 and stored >= too_old:
                return doomed, False
            over, more = over - bytes_of, more - 1
            self._passed_to = pos
            entry = self._service.tables.entry(pos)
            if entry is None or self._is_needed(entry, floors):
                self._passed, self._passed_size = self._passed + 1, self._passed_size + bytes_of
            else:
                doomed.append(entry)
        return doomed, True

    def _floors(self) -> list[tuple[str, int]]:
        """The pattern of each durable, and up to where it is done."""
        found = {
            durable.name: (durable.pattern, durable.floor) for durable in self._service.tables.durables()
        }
        for queue in self._service.queues.values():
            if isinstance(queue.source, DurableSource):
                found[queue.source.title] = (queue.source.durable.pattern, queue.floor())
        return [*found.values()]

    def _is_needed(self, entry: Entry, floors: list[tuple[str, int]]) -> bool:
        return self._service.lasting.is_newest(entry) or any(
            entry.pos > floor and matches(pattern, entry.name) for pattern, floor in floors
        )


async def republish(service: Service, entry: Entry) -> None:
    """Give live subscribers what was put into the store to be published."""
    host = service.bus._host
    with contextlib.suppress(Exception):
        token, future = host.ask(
            service.bus.node.publish,
            entry.endpoint,
            entry.payload,
            host.now_ms(),
            entry.format,
            entry.type_id,
            patience_ms=500,
        )
        if token:
            await host.outcome(token, future)
