"""Records what is published to the names that a store keeps, and gives live subscribers what was put into the
store to be published.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from busway.adapters.asyncio_ends import Receiver
from busway.names import endpoint_id
from busway.payloads import SEALED
from busway.protocol.wire.patterns import matches
from busway.store.queues import DurableSource
from busway.store.records import OVERHEAD, PUBLISHED, StoreError
from busway.store.tables import Entry, now_ms

if TYPE_CHECKING:
    from busway.store.service import Service

log = logging.getLogger("busway")
QUEUE = 65_536  # messages that wait to be recorded, of each pattern
_TOGETHER = 512


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
            await self._make_room(sum(entry.size for entry in entries))
            if service.usage.size + sum(entry.size for entry in entries) > service.limits.size:
                self._refuse(len(entries), "it has no room")
                continue
            try:
                ((places,)) = await service.commit([("put", b"", 0, 0, entries)])
            except StoreError as error:
                self._refuse(len(entries), str(error))
                await asyncio.sleep(0.1)  # a disk that is full is not asked at every message
                continue
            for entry in entries:
                service.usage.came(entry)
            service.counts["recorded"] += len(entries)
            service.arrived([entry._replace(pos=pos) for entry, pos in zip(entries, places, strict=True)])

    def _wants(self, message: Any, before: tuple[str, ...]) -> bool:
        """Whether to record it: not its own, nor what is sealed, nor what another pattern has."""
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
            1,
            0,
            format,
            type_id,
            payload,
            len(payload) + OVERHEAD,
        )

    # Retention

    async def _make_room(self, size: int) -> None:
        service = self._service
        if service.usage.published_size + size > service.limits.history:
            await self.trim(size)

    async def trim(self, size: int = 0) -> None:
        """Let go of the oldest that was published, as far as it is more than is kept and no durable that has
        not had it means it; `size` bytes more are to come.
        """

        service, limits = self._service, self._service.limits
        floors = self._floors()
        while True:
            usage = service.usage
            too_old = now_ms() - limits.age
            over = usage.published_size + size - limits.history
            more = usage.published - limits.count
            doomed: list[Entry] = []
            needed = 0
            rows = service.tables.oldest_published(1000)
            for pos, bytes_of, stored in rows:
                if over <= 0 and more <= 0 and stored >= too_old:
                    break
                over -= bytes_of
                more -= 1
                entry = service.tables.entry(pos)
                if entry is None or self._is_needed(entry, floors):
                    needed += 1
                    continue
                doomed.append(entry)
            if doomed:
                await service.remove(doomed, "retired")
            if len(doomed) + needed < 1000 or not doomed:
                return

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
