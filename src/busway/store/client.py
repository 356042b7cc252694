"""The side of a store that is in other programs: finds the one that keeps a name, and brings it messages.

One Client is to a bus. The asyncio and the blocking one differ in how they wait only.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
import threading
import time
from typing import Any

import msgspec

from busway.adapters.arguments import TIMEOUT_S, check_flag, check_seconds, priority_of, wanted_reply
from busway.adapters.results import replied
from busway.errors import BusClosed, BusError, RemoteError, RequestTimeout, Undeliverable
from busway.names import endpoint_name, uuid_text
from busway.protocol import codes, events
from busway.replies import ReplyType
from busway.store import records
from busway.store.finding import Found, stores, stores_blocking
from busway.store.outbox import Moved, Outbox, late_error
from busway.store.records import StoreError

_QUESTION_S = 10.0  # after which it is asked whether the store is still the same
_LOOK_S = 0.2
_NEW_S = 2.0  # how long a program that has seen no store waits for one, unless it says how long
_POLL_S = 25.0
_NOBODY = "no store within reach keeps names: start `busway store`, or busway.Store in a program"
_PASSING = frozenset({records.NOT_ACTIVE})
_ENCODER = msgspec.msgpack.Encoder()


def client_of(bus: Any) -> Any:
    """The client of a bus, which is made at its first use."""
    found = bus._store_client
    if found is None:
        from busway.adapters.asyncio import AsyncBus

        found = bus._store_client = AsyncClient(bus) if isinstance(bus, AsyncBus) else BlockingClient(bus)
    return found


def item_of(
    bus: Any, kind: int, to: Any, payload: Any, ttl: float, timeout: float | None, priority: Any
) -> records.Item:
    """A message in the store's words. Raises ValueError, TypeError as `send`."""
    endpoint, data, _, format, type_id = bus._message(to, payload)
    if format == codes.OBJECT or len(endpoint) != 16:
        raise ValueError(
            "what is stored goes to a name or UUID that other programs can reach, not to a selector"
        )
    wait = 0 if ttl == 0 else records.milliseconds(check_seconds("ttl", ttl))
    limit = 0 if timeout is None else records.milliseconds(timeout)
    if kind == records.REQUEST and not wait:
        wait = limit
    name = endpoint_name(to)
    number = priority_of(priority)
    return records.Item(kind, name, endpoint, format, type_id, bytes(data), number, wait, limit)


def text_of(item: records.Item) -> str:
    """The text that patterns are compared with."""
    return item.name or uuid_text(item.endpoint)


def check_plain(sealed: Any, node: Any, copies: bool) -> None:
    """Raises ValueError for what a store cannot do."""
    if sealed is not False:
        raise ValueError(
            "a sealed message cannot be stored: who may open it has to be there when it is sealed"
        )
    if node or copies:
        raise ValueError("store=True is for whoever has the name then: leave node=, to= and others_only= out")


class Stores:
    """The stores that a program knows of."""

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.seen = False

    def take(self, found: list[Found]) -> None:
        self.found = found
        self.seen = self.seen or bool(found)

    def keeping(self, text: str) -> Found | None:
        return next((each for each in self.found if each.keeps(text)), None)

    def keep(self, item: records.Item) -> bool:
        """Whether one of them keeps it."""
        return self.keeping(text_of(item)) is not None

    def with_id(self, ident: bytes) -> Found | None:
        return next((each for each in self.found if each.id == ident), None)

    def refusal(self, text: str) -> BusError:
        """Why there is none for a name."""
        if self.found:
            return StoreError(records.NOT_KEPT, f"no store within reach keeps {text!r}")
        return Undeliverable(codes.NO_ENDPOINT, _NOBODY)


def asked_again(error: BusError) -> bool:
    """Whether the same question may be answered by a store that is there now, or later."""
    if isinstance(error, RemoteError):
        return error.code in _PASSING
    return not isinstance(error, BusClosed)


def is_unsure(error: BusError) -> bool:
    """Whether the question may have been read."""
    return not isinstance(error, Undeliverable) or error.reason == codes.LOST_AFTER_SENDING


def store_error(error: BusError) -> BusError:
    """A refusal in the store's words, as its client is told."""
    if isinstance(error, RemoteError) and error.code in records.NAMES:
        return StoreError(error.code, error.message)
    return error


def noted(client: Any, change: Any) -> None:
    """A node or endpoint has come or gone: receivers whose store that is begin anew."""
    subject = change.subject
    gone = b""
    if change.what == "node-down":
        gone = subject.id
    elif getattr(subject, "name", "") != records.STORE_NAME:
        return
    elif change.what == "endpoint-down":  # its node may stay
        gone = subject.node
    elif change.what != "endpoint-up":
        return
    if gone:
        client.stores.take([each for each in client.stores.found if each.node != gone])
    for intake in [*client.intakes]:
        if gone and (intake.store is None or intake.store.node != gone):
            continue
        intake.lost = intake.lost or bool(gone)
        intake.kick()


def outcome_of(answer: list[Any]) -> events.Outcome:
    """The outcome of a stored request."""
    state, code, text, format, type_id, payload = answer
    status = events.REPLIED if state == 0 else events.FAILED if state == 1 else events.UNDELIVERED
    outcome = events.Outcome(0, status, code, text)
    outcome.payload, outcome.format, outcome.type_id = payload, format, type_id
    return outcome


def send_stored(
    bus: Any,
    to: Any,
    payload: Any,
    store: Any,
    ttl: Any,
    timeout: Any,
    node: Any,
    sealed: Any,
    priority: Any,
    copies: bool,
) -> Any:
    """`send` with store=True: of an AsyncBus to be awaited. Raises as that."""
    check_flag("store", store)
    check_plain(sealed, node, copies)
    patient = timeout is not TIMEOUT_S
    return client_of(bus).send(records.MAIL, to, payload, ttl, timeout, priority, patient)


def publish_stored(bus: Any, to: Any, payload: Any, store: Any, others: bool, priority: Any, ttl: Any) -> Any:
    """`publish` with store=True."""
    check_flag("store", store)
    if others:
        raise ValueError("a stored publish has no retain=, wait=, best_effort=, realm= or sealed=")
    return client_of(bus).send(records.PUBLISHED, to, payload, ttl, TIMEOUT_S, priority, False)


def request_stored(
    bus: Any,
    to: Any,
    payload: Any,
    store: Any,
    timeout: Any,
    ttl: Any,
    node: Any,
    reply: Any,
    sealed: Any,
    priority: Any,
    others_only: Any,
) -> Any:
    """`request` with store=True."""
    check_flag("store", store)
    check_plain(sealed, node, others_only is not False)
    wanted = None if reply is None else wanted_reply(reply)
    return client_of(bus).request(to, payload, ttl, timeout, wanted, priority)


class AsyncClient:
    """Of an AsyncBus."""

    def __init__(self, bus: Any) -> None:
        self.bus = bus
        self.stores = Stores()
        self.outboxes: dict[bytes, Outbox] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        self.intakes: set[Any] = set()  # of receivers that fetch mail
        self.talks: set[asyncio.Task[Any]] = set()  # of these
        self._watching = False
        self._running: set[bytes] = set()
        self._looking: asyncio.Task[list[Found]] | None = None

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def watch(self, intake: Any) -> None:
        """Tell a receiver's intake of stores that come and go."""
        self.intakes.add(intake)
        if not self._watching:
            self._watching = True
            self.spawn(self._watch())

    async def finish(self, limit: float) -> None:
        """Tell stores what receivers have taken, before the bus is closed."""
        for intake in [*self.intakes]:
            intake.closed = True
            intake.kick()
        if self.talks:
            await asyncio.wait(self.talks, timeout=limit)

    async def _watch(self) -> None:
        async for change in self.bus.changes():
            noted(self, change)
        for intake in self.intakes:
            intake.kick()

    async def look(self) -> None:
        """Look for stores anew."""
        if self._looking is None or self._looking.done():
            self._looking = self.spawn(stores(self.bus))
        self.stores.take(await asyncio.shield(self._looking))

    async def find(self, text: str, until: float, patient: bool) -> Found:
        """The store that keeps a name. Raises StoreError, Undeliverable."""
        begun = time.monotonic()
        while True:
            found = self.stores.keeping(text)
            if found is not None:
                return found
            await self.look()
            found = self.stores.keeping(text)
            if found is not None:
                return found
            now = time.monotonic()
            limit = until if patient or self.stores.seen else min(until, begun + _NEW_S)
            if self.stores.found:  # they may have met just now, and tell of each other soon
                limit = min(until, begun + 2 * _LOOK_S)
            if now >= limit:
                raise self.stores.refusal(text)
            await asyncio.sleep(_LOOK_S)

    async def ask(self, store: Found, question: Any, timeout: float, name: str = records.STORE_NAME) -> Any:
        """One question to one store. Raises BusError."""
        return await self.bus.request(name, _ENCODER.encode(question), node=store.node, timeout=timeout)

    async def put(self, item: records.Item, limit: float, patient: bool) -> bytes:
        """Bring a message into the store; returns its id when it is kept. Raises BusError."""
        until = time.monotonic() + limit
        while True:
            store = await self.find(text_of(item), until, patient)
            with contextlib.suppress(Moved):
                return await self._put(item, store, until)

    async def _put(self, item: records.Item, store: Found, until: float) -> bytes:
        outbox = self.outboxes.setdefault(store.id, Outbox())
        waiting = outbox.add(item, until, asyncio.get_running_loop().create_future())
        if store.id not in self._running:
            self._running.add(store.id)
            self.spawn(self._bring(store.id, outbox))
        try:
            async with asyncio.timeout_at(
                asyncio.get_running_loop().time() + max(0.0, until - time.monotonic())
            ):
                await waiting.future
        except TimeoutError:
            waiting.future.cancel()
            raise late_error(outbox.is_unsure(waiting)) from None
        return outbox.id_of(waiting)

    async def _bring(self, ident: bytes, outbox: Outbox) -> None:
        try:
            while True:
                batch = outbox.batch(time.monotonic())
                if batch is None:
                    return
                await self._bring_batch(ident, outbox, *batch)
        except BusClosed as error:
            outbox.fail(error)
        except BaseException:
            outbox.fail(BusError("the store's client was ended"))
            raise
        finally:
            self._running.discard(ident)

    async def _bring_batch(self, ident: bytes, outbox: Outbox, question: bytes, left: float) -> None:
        store = self.stores.with_id(ident)
        try:
            if store is None:
                await self.look()
                store = self.stores.with_id(ident)
            if store is None:
                outbox.move(self.stores.keep)
                await asyncio.sleep(_LOOK_S)
                outbox.retry(time.monotonic(), False)
                return
            limit = max(0.1, min(left, _QUESTION_S))
            outbox.asked = True
            reply = await self.bus.request(records.STORE_NAME, question, node=store.node, timeout=limit)
        except BusError as error:
            if isinstance(error, BusClosed):
                raise
            if not asked_again(error):
                outbox.refused(store_error(error))
                return
            self.stores.take([each for each in self.stores.found if each.id != ident])
            outbox.retry(time.monotonic(), is_unsure(error))
            await asyncio.sleep(_LOOK_S / 4)
            return
        outbox.settle(reply)

    async def send(
        self,
        kind: int,
        to: Any,
        payload: Any,
        ttl: float,
        timeout: float | None,
        priority: Any,
        patient: bool,
    ) -> None:
        """As `send` and `publish` with store=True."""
        item = item_of(self.bus, kind, to, payload, ttl, None, priority)
        await self.put(item, math.inf if timeout is None else check_seconds("timeout", timeout), patient)

    async def request(
        self,
        to: Any,
        payload: Any,
        ttl: float,
        timeout: float | None,
        wanted: ReplyType | None,
        priority: Any,
    ) -> Any:
        """As `request` with store=True."""
        limit = math.inf if timeout is None else check_seconds("timeout", timeout)
        until = time.monotonic() + limit
        item = item_of(self.bus, records.REQUEST, to, payload, ttl, timeout, priority)
        ident = await self.put(item, limit, False)
        while (left := until - time.monotonic()) > 0:
            try:
                store = await self.find(text_of(item), until, True)
                question = records.Answer(ident)
                reply = await self.ask(store, question, min(left, _POLL_S), records.ANSWERS_NAME)
            except BusError as error:
                if not asked_again(error):
                    raise store_error(error) from None
                self.stores.take([])
                await asyncio.sleep(min(_LOOK_S, max(0.0, left)))
                continue
            answer = msgspec.msgpack.decode(reply)
            if answer:
                self.spawn(self._forget(store, ident))
                return replied(outcome_of(answer), wanted, to)
        raise RequestTimeout(f"{to}: no reply within the timeout; the request may have run")

    async def _forget(self, store: Found, ident: bytes) -> None:
        try:
            await self.ask(store, records.Answer(ident, over=True), _QUESTION_S, records.ANSWERS_NAME)
        except BusError:
            pass  # it expires


class BlockingClient:
    """Of a Bus. Of the threads that wait one asks for all."""

    def __init__(self, bus: Any) -> None:
        self.bus = bus
        self.stores = Stores()
        self.outboxes: dict[bytes, Outbox] = {}
        self.intakes: set[Any] = set()
        self.talks: set[threading.Thread] = set()
        self._watching = False
        self._turns: dict[bytes, threading.Lock] = {}
        self._lock = threading.Lock()

    def watch(self, intake: Any) -> None:
        """As AsyncClient.watch."""
        with self._lock:
            self.intakes.add(intake)
            begin, self._watching = not self._watching, True
        if begin:
            changes = self.bus.changes()
            threading.Thread(target=self._watch, args=(changes,), name="busway stores", daemon=True).start()

    def finish(self, limit: float) -> None:
        """As AsyncClient.finish."""
        until = time.monotonic() + limit
        for intake in [*self.intakes]:
            intake.closed = True
            intake.kick()
        for talk in [*self.talks]:
            talk.join(max(0.0, until - time.monotonic()))

    def _watch(self, changes: Any) -> None:
        try:
            for change in changes:
                noted(self, change)
        except BusError:
            pass
        for intake in [*self.intakes]:
            intake.kick()

    def look(self) -> None:
        """Look for stores anew."""
        self.stores.take(stores_blocking(self.bus))

    def find(self, text: str, until: float, patient: bool) -> Found:
        """As AsyncClient.find."""
        begun = time.monotonic()
        while True:
            found = self.stores.keeping(text)
            if found is not None:
                return found
            self.look()
            found = self.stores.keeping(text)
            if found is not None:
                return found
            now = time.monotonic()
            limit = until if patient or self.stores.seen else min(until, begun + _NEW_S)
            if self.stores.found:  # they may have met just now, and tell of each other soon
                limit = min(until, begun + 2 * _LOOK_S)
            if now >= limit:
                raise self.stores.refusal(text)
            time.sleep(_LOOK_S)

    def ask(self, store: Found, question: Any, timeout: float, name: str = records.STORE_NAME) -> Any:
        """One question to one store. Raises BusError."""
        return self.bus.request(name, _ENCODER.encode(question), node=store.node, timeout=timeout)

    def put(self, item: records.Item, limit: float, patient: bool) -> bytes:
        """As AsyncClient.put."""
        until = time.monotonic() + limit
        while True:
            store = self.find(text_of(item), until, patient)
            with contextlib.suppress(Moved):
                return self._put(item, store, until)

    def _put(self, item: records.Item, store: Found, until: float) -> bytes:
        with self._lock:
            outbox = self.outboxes.setdefault(store.id, Outbox())
            turn = self._turns.setdefault(store.id, threading.Lock())
        waiting = outbox.add(item, until, concurrent.futures.Future())
        while not waiting.done():
            with turn:  # who has the turn asks for all that wait
                if waiting.done():
                    break
                self._bring(store.id, outbox)
        waiting.future.result()
        return outbox.id_of(waiting)

    def _bring(self, ident: bytes, outbox: Outbox) -> None:
        batch = outbox.batch(time.monotonic())
        if batch is None:
            return
        question, left = batch
        try:
            store = self.stores.with_id(ident)
            if store is None:
                self.look()
                store = self.stores.with_id(ident)
            if store is None:
                outbox.move(self.stores.keep)
                time.sleep(_LOOK_S)
                outbox.retry(time.monotonic(), False)
                return
            limit = max(0.1, min(left, _QUESTION_S))
            outbox.asked = True
            reply = self.bus.request(records.STORE_NAME, question, node=store.node, timeout=limit)
        except BusClosed as error:
            outbox.fail(error)
            return
        except BusError as error:
            if not asked_again(error):
                outbox.refused(store_error(error))
                return
            self.stores.take([each for each in self.stores.found if each.id != ident])
            outbox.retry(time.monotonic(), is_unsure(error))
            time.sleep(_LOOK_S / 4)
            return
        except BaseException:
            outbox.retry(time.monotonic(), True)
            raise
        outbox.settle(reply)

    def send(
        self,
        kind: int,
        to: Any,
        payload: Any,
        ttl: float,
        timeout: float | None,
        priority: Any,
        patient: bool,
    ) -> None:
        """As `send` and `publish` with store=True."""
        item = item_of(self.bus, kind, to, payload, ttl, None, priority)
        self.put(item, math.inf if timeout is None else check_seconds("timeout", timeout), patient)

    def request(
        self,
        to: Any,
        payload: Any,
        ttl: float,
        timeout: float | None,
        wanted: ReplyType | None,
        priority: Any,
    ) -> Any:
        """As `request` with store=True."""
        limit = math.inf if timeout is None else check_seconds("timeout", timeout)
        until = time.monotonic() + limit
        item = item_of(self.bus, records.REQUEST, to, payload, ttl, timeout, priority)
        ident = self.put(item, limit, False)
        while (left := until - time.monotonic()) > 0:
            try:
                store = self.find(text_of(item), until, True)
                reply = self.ask(store, records.Answer(ident), min(left, _POLL_S), records.ANSWERS_NAME)
            except BusError as error:
                if not asked_again(error):
                    raise store_error(error) from None
                self.stores.take([])
                time.sleep(min(_LOOK_S, max(0.0, left)))
                continue
            answer = msgspec.msgpack.decode(reply)
            if answer:
                try:
                    self.ask(store, records.Answer(ident, over=True), _QUESTION_S, records.ANSWERS_NAME)
                except BusError:
                    pass  # it expires
                return replied(outcome_of(answer), wanted, to)
        raise RequestTimeout(f"{to}: no reply within the timeout; the request may have run")
