"""Gives mail to receivers that know nothing of stores, and stored requests to who serves them: as messages
like any other, confirmed by the receiving program, one after the other.

A receiver that fetches its mail itself has a label that says so, and is left alone. A name whose receiver
takes nothing for a while gives its place to others (turns.py) and is waited for beside them.
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
from busway.store.turns import Turns

if TYPE_CHECKING:
    from busway.store.service import Service

REQUESTS = 16  # of one name, at the same time
_SOON_S = 1.0  # a name that has taken nothing for so long has no place any more
SLOW_MAX = 1024  # such names; beyond that requests to one of them are called off, or one keeps its place
SLOW_SIZE = 64 << 20  # bytes of their messages, likewise
_READ = 64
_READ_SIZE = 1 << 20  # bytes, of one name; one message may be larger
_CONFIRM_MS = 30_000
_CONFIRM_SHORT_MS = 5_000  # where many are waited for
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
DONE, AWAY, FAILED, _MORE_NOW = 0, 1, 2, 3
_MORE, _SOMEBODY = 1, 2
# In place of an outcome: others are to be tried.
_GIVEN_UP = events.Outcome(0, events.UNDELIVERED, codes.EXPIRED)


class Pushing:
    """The mail of names that no consumer fetches."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._holders: dict[bytes, dict[bytes, Any]] = {}  # by endpoint and node
        self._due: list[tuple[float, bytes]] = []
        self._next: dict[bytes, float] = {}  # when each is looked at
        self._pause: dict[bytes, float] = {}
        self._working: dict[bytes, int] = {}  # and what came meanwhile: more of it, or somebody
        self._turns = Turns()
        self._since: dict[bytes, float] = {}  # those with a place: when they began, or took something last
        self._slow: dict[bytes, None] = {}  # those without
        self._sizes: dict[bytes, int] = {}  # bytes of the messages that are read for each
        self._asked: dict[bytes, set[asyncio.Task[Any]]] = {}  # waiters for answers to requests
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

    async def _receiver(self, entry: Entry) -> bytes | None:
        """The node that is to get a message, b"" for any of several that have the endpoint, None for nobody:
        what is narrower than the store, or the bus's own, is not reached by way of it.
        """
        holders = self._holders.get(entry.endpoint, {})
        if not holders and entry.name:
            holders = await self._located(entry.endpoint)
        narrowest = codes.REALM_NAMES.index(self._service.realm)
        good = [
            node
            for node, info in holders.items()
            if codes.REALM_NAMES.index(info.realm) >= narrowest and not info.name.startswith(BUILT_IN)
        ]
        if len(good) == len(holders) > 1:
            return b""
        return good[0] if good else None

    async def _located(self, endpoint: bytes) -> dict[bytes, Any]:
        """The holders of an endpoint that nobody was heard of to have: behind a slow line, or just come. Who
        fetches its mail itself does not count.
        """
        host = self._service.bus._host
        token, future = host.ask(self._service.bus.node.locate, endpoint, host.now_ms())
        outcome = await host.outcome(token, future)
        if outcome.status != events.TRACED:
            return {}
        found = [info for info in self._service.bus.endpoints() if info.id == endpoint]
        return {info.node: info for info in found if ONCE_LABEL not in info.labels}

    # What is to be done when

    def arrived(self, endpoint: bytes) -> None:
        """There is mail for it."""
        if endpoint in self._working:
            self._working[endpoint] = max(self._working[endpoint], _MORE)
        elif endpoint in self._turns:
            pass
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
        while True:
            self._wake.clear()
            pause = self._begin_due()
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _begin_due(self) -> float:
        """Begin what is due, as far as there are places. Returns how long nothing else is to be done, s."""
        now = asyncio.get_running_loop().time()
        while self._due and self._due[0][0] <= now:
            when, endpoint = heapq.heappop(self._due)
            if self._next.get(endpoint) == when and endpoint not in self._working:
                holder = next(iter(self._holders.get(endpoint, ())), b"")
                self._turns.add(endpoint, holder, endpoint in self._pause)
        while self._since and now - next(iter(self._since.values())) >= _SOON_S:
            self._is_slow(next(iter(self._since)))
        while (begun := self._turns.take()) is not None:
            self._working[begun] = 0
            self._since[begun] = now
            self._service.spawn(self._work(begun))
        times = [now + _LOOK_S] + [when for when, _ in self._due[:1]]
        times += [since + _SOON_S for since in list(self._since.values())[:1]]
        return max(0.0, min(times) - now)

    def _is_slow(self, endpoint: bytes) -> None:
        """It has taken nothing for a while: another may have its place."""
        began = self._since.pop(endpoint)
        if self._has_room(endpoint):
            self._turns.done(endpoint)
            self._slow[endpoint] = None
        else:
            self._since[endpoint] = began + _SOON_S

    def _has_room(self, endpoint: bytes) -> bool:
        """Whether one more may be waited for without a place. A message cannot be called off, a request can:
        the name that has answered none for longest is tried again later.
        """
        size = sum(self._sizes.get(name, 0) for name in [endpoint, *self._slow])
        if len(self._slow) < SLOW_MAX and size <= SLOW_SIZE:
            return True
        for name in self._slow:
            if name in self._asked:
                del self._slow[name]
                for waiter in self._asked[name]:
                    waiter.cancel()
                return True
        return False

    def _took(self, endpoint: bytes) -> None:
        """It has taken something."""
        self._pause.pop(endpoint, None)
        if self._since.pop(endpoint, None) is not None:
            self._since[endpoint] = asyncio.get_running_loop().time()

    async def _work(self, endpoint: bytes) -> None:
        """All mail of a name, until there is none, or nobody takes it."""
        left = AWAY  # also if something goes wrong
        try:
            left = await self._deliver(endpoint)
        finally:
            self._turns.done(endpoint)
            self._since.pop(endpoint, None)
            self._slow.pop(endpoint, None)
            self._sizes.pop(endpoint, None)
            more = self._working.pop(endpoint)
            if left == _MORE_NOW or (left and more == _SOMEBODY):
                self._at(endpoint, 0.0)
            elif left:
                pause = min(_LOOK_S, 2 * self._pause.get(endpoint, 0.25))
                self._pause[endpoint] = pause
                self._at(endpoint, pause)
            else:
                self._pause.pop(endpoint, None)
                self._next.pop(endpoint, None)
                if more:
                    self._at(endpoint, 0.0)
            self._wake.set()

    async def _deliver(self, endpoint: bytes) -> int:
        """DONE if nothing is left; what is left is tried again soon, or at once (_MORE_NOW)."""
        service = self._service
        after = 0
        count = 1  # who takes nothing has one message in memory, no more
        requests: set[asyncio.Task[int]] = set()
        try:
            while True:
                kinds = (REQUEST, REQUEST) if self._is_fetched(endpoint) else (MAIL, REQUEST)
                entries = service.tables.mail(endpoint, kinds, after, count, _READ_SIZE)
                self._sizes[endpoint] = sum(len(entry.payload) for entry in entries)
                count = min(4 * count, _READ)
                if not entries:
                    return max([await task for task in requests], default=DONE)
                for entry in entries:
                    if entry.due > now_ms():
                        return AWAY
                    if entry.is_over(now_ms()):
                        after = entry.pos  # it is removed soon
                        continue
                    while len(requests) >= REQUESTS:
                        done, requests = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
                        if any(task.result() != DONE for task in done):
                            return AWAY
                    if entry.kind == REQUEST:
                        requests.add(service.spawn(self._request(entry)))
                    elif await self._send(entry) != DONE:
                        return AWAY
                    after = entry.pos
                    if endpoint not in self._since:  # the rest when it has a place again
                        return max([await task for task in requests], default=DONE) or _MORE_NOW
        finally:
            if requests:
                await asyncio.wait(requests)

    async def _send(self, entry: Entry) -> int:
        node = await self._receiver(entry)
        if node is None:
            return AWAY
        limit = _CONFIRM_MS if len(self._slow) < SLOW_MAX // 2 else _CONFIRM_SHORT_MS
        outcome = await self._ask(self._service.bus.node.send, entry, limit, confirm=True, node_id=node)
        if outcome is not None and outcome.status == events.TAKEN:
            await self._done(entry)
            return DONE
        return await self._failed(entry, outcome)

    async def _request(self, entry: Entry) -> int:
        node = await self._receiver(entry)
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
        if not token:
            return None
        waiting = host.outcome(token, future)
        return await (waiting if entry.kind == MAIL else self._answer(entry.endpoint, waiting, future))

    async def _answer(self, endpoint: bytes, waiting: Any, future: asyncio.Future[Any]) -> Any:
        """The outcome of a request; _GIVEN_UP if it took so long that others are to be tried."""
        waiter = asyncio.ensure_future(waiting)
        asked = self._asked.setdefault(endpoint, set())
        asked.add(waiter)
        try:
            await asyncio.wait((waiter,))
        finally:
            waiter.cancel()
            asked.discard(waiter)
            if not asked:
                self._asked.pop(endpoint, None)
        return future.result() if future.done() and not future.cancelled() else _GIVEN_UP

    async def _done(self, entry: Entry) -> None:
        self._service.counts["delivered"] += 1
        self._took(entry.endpoint)
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
