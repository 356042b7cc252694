"""Gives mail to receivers that know nothing of stores, and stored requests to who serves them: as messages
like any other, confirmed by the receiving program, one after the other.

A receiver that fetches its mail itself has a label that says so, and is left alone.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, Any

from busway.protocol import codes, events
from busway.protocol.errors import LocalError
from busway.store.records import (
    BUILT_IN,
    MAIL,
    ONCE_LABEL,
    REQUEST,
    TIMEOUT_MAX_MS,
    StoreError,
    pause_ms,
)
from busway.store.tables import Entry, now_ms

if TYPE_CHECKING:
    from busway.store.service import Service

AT_ONCE = 128  # names whose mail is on its way at the same time
REQUESTS = 16  # of one name
_READ = 64
_CONFIRM_MS = 30_000
_REQUEST_MS = 30_000
_LOOK_S = 30.0  # the longest pause before it is looked whether somebody is there now
# The receiver is away, or has no room: that is no fault of the message.
_AWAY = frozenset(
    {
        codes.NO_ENDPOINT,
        codes.NO_ROUTE,
        codes.RECEIVER_CLOSED,
        codes.BUS_CLOSED,
        codes.QUEUE_FULL,
        codes.EXPIRED,
        codes.OVERTAKEN,
        codes.DROPPED,
    }
)
DONE, AWAY, FAILED = 0, 1, 2
_MORE, _SOMEBODY = 1, 2


class Pushing:
    """The mail of names that no consumer fetches."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._holders: dict[bytes, dict[bytes, Any]] = {}  # by endpoint and node
        self._due: list[tuple[float, bytes]] = []
        self._next: dict[bytes, float] = {}  # when each is looked at
        self._pause: dict[bytes, float] = {}
        self._working: dict[bytes, int] = {}  # and what came meanwhile: more of it, or somebody
        self._wake = asyncio.Event()

    # Who is there

    def appeared(self, info: Any) -> None:
        """An endpoint is there, or has changed."""
        holders = self._holders.setdefault(info.id, {})
        holders[info.node] = info
        if info.id in self._working:
            self._working[info.id] = _SOMEBODY
        elif info.id in self._next:
            self._pause.pop(info.id, None)
            self._at(info.id, 0.0)

    def vanished(self, info: Any) -> None:
        holders = self._holders.get(info.id, {})
        holders.pop(info.node, None)
        if not holders:
            self._holders.pop(info.id, None)

    def _is_fetched(self, endpoint: bytes) -> bool:
        queue = self._service.queues.get(("mail", endpoint))
        return queue is not None or any(
            ONCE_LABEL in info.labels for info in self._holders.get(endpoint, {}).values()
        )

    def _receiver(self, entry: Entry) -> bytes | None:
        """The node that is to get a message, b"" for whoever has the endpoint, None for nobody: what is
        narrower than the store, or the bus's own, is not reached by way of it.
        """
        holders = self._holders.get(entry.endpoint, {})
        narrowest = codes.REALM_NAMES.index(self._service.realm)
        good = [
            node
            for node, info in holders.items()
            if codes.REALM_NAMES.index(info.realm) >= narrowest and not info.name.startswith(BUILT_IN)
        ]
        if len(good) == len(holders):
            return b"" if good or entry.name else None
        return good[0] if good else None

    # What is to be done when

    def arrived(self, endpoint: bytes) -> None:
        """There is mail for it."""
        if endpoint in self._working:
            self._working[endpoint] = max(self._working[endpoint], _MORE)
        elif endpoint not in self._next or not self._pause.get(endpoint):
            self._at(endpoint, 0.0)

    def _at(self, endpoint: bytes, pause: float) -> None:
        when = asyncio.get_running_loop().time() + pause
        self._next[endpoint] = when
        heapq.heappush(self._due, (when, endpoint))
        self._wake.set()

    async def run(self, settle: float) -> None:
        """Until it is cancelled; begins after a while in which consumers may come."""
        await asyncio.sleep(settle)
        for endpoint, _ in self._service.tables.addressees():
            self.arrived(bytes(endpoint))
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            while self._due and self._due[0][0] <= loop.time() and len(self._working) < AT_ONCE:
                when, endpoint = heapq.heappop(self._due)
                if self._next.get(endpoint) == when and endpoint not in self._working:
                    self._working[endpoint] = 0
                    self._service.spawn(self._work(endpoint))
            pause = self._due[0][0] - loop.time() if self._due else _LOOK_S
            if len(self._working) >= AT_ONCE:
                pause = _LOOK_S
            try:
                async with asyncio.timeout(max(pause, 0.0)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _work(self, endpoint: bytes) -> None:
        """All mail of a name, until there is none, or nobody takes it."""
        again = True  # also if something goes wrong
        try:
            again = await self._deliver(endpoint)
        finally:
            more = self._working.pop(endpoint)
            if again and more == _SOMEBODY:
                self._at(endpoint, 0.0)
            elif again:
                pause = min(_LOOK_S, 2 * self._pause.get(endpoint, 0.25))
                self._pause[endpoint] = pause
                self._at(endpoint, pause)
            else:
                self._pause.pop(endpoint, None)
                self._next.pop(endpoint, None)
                if more:
                    self._at(endpoint, 0.0)
            self._wake.set()

    async def _deliver(self, endpoint: bytes) -> bool:
        """Whether there is some left that is to be tried again."""
        service = self._service
        after = 0
        requests: set[asyncio.Task[int]] = set()
        try:
            while True:
                kinds = (REQUEST, REQUEST) if self._is_fetched(endpoint) else (MAIL, REQUEST)
                entries = service.tables.mail(endpoint, kinds, after, _READ)
                if not entries:
                    return not all([await task == DONE for task in requests])
                for entry in entries:
                    if entry.due > now_ms():
                        return True
                    if entry.is_over(now_ms()):
                        after = entry.pos  # it is removed soon
                        continue
                    while len(requests) >= REQUESTS:
                        done, requests = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
                        if any(task.result() != DONE for task in done):
                            return True
                    if entry.kind == REQUEST:
                        requests.add(service.spawn(self._request(entry)))
                    elif await self._send(entry) != DONE:
                        return True
                    after = entry.pos
        finally:
            if requests:
                await asyncio.wait(requests)

    async def _send(self, entry: Entry) -> int:
        node = self._receiver(entry)
        if node is None:
            return AWAY
        outcome = await self._ask(self._service.bus.node.send, entry, _CONFIRM_MS, confirm=True, node_id=node)
        if outcome is not None and outcome.status == events.TAKEN:
            await self._done(entry)
            return DONE
        return await self._failed(entry, outcome)

    async def _request(self, entry: Entry) -> int:
        node = self._receiver(entry)
        if node is None:
            return AWAY
        limit = min(entry.timeout or _REQUEST_MS, TIMEOUT_MAX_MS)
        outcome = await self._ask(self._service.bus.node.request, entry, limit, node_id=node)
        if outcome is None or outcome.status not in (events.REPLIED, events.FAILED):
            return await self._failed(entry, outcome)
        failed = outcome.status == events.FAILED
        await self._service.outcome(
            entry,
            int(failed),
            outcome.code,
            outcome.text,
            outcome.format,
            outcome.type_id,
            bytes(outcome.payload),
        )
        await self._done(entry)
        return DONE

    async def _ask(self, function: Any, entry: Entry, limit_ms: int, **options: Any) -> Any:
        """The outcome; None if it is no message that this bus sends, such as one that is too large for it."""
        host = self._service.bus._host
        try:
            token, future = host.ask(
                function,
                entry.endpoint,
                entry.payload,
                host.now_ms(),
                entry.format,
                entry.type_id,
                timeout_ms=limit_ms,
                priority=entry.priority,
                **options,
            )
        except (LocalError, ValueError):
            return None
        return await host.outcome(token, future) if token else None

    async def _done(self, entry: Entry) -> None:
        self._service.counts["delivered"] += 1
        await self._service.commit([("remove", [entry.pos])])

    async def _failed(self, entry: Entry, outcome: Any) -> int:

        code = outcome.code if outcome is not None else 0
        if code in _AWAY:
            return AWAY
        tries = entry.tries + 1
        name = codes.REASON_NAMES.get(code, "no verdict") if code else "no verdict"
        dead = f"{name}, tried {tries} times" if tries >= self._service.limits.tries else ""
        try:
            await self._service.commit([("trouble", entry.pos, tries, now_ms() + pause_ms(tries), dead)])
            if dead and entry.kind == REQUEST:
                await self._service.outcome(entry, 2, code or codes.EXPIRED, "", codes.RAW, b"", b"")
        except StoreError:
            return AWAY
        return DONE if dead else FAILED
