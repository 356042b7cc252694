"""Receivers whose messages come from a store: mail that is taken once, and durable subscriptions.

A store sends them in numbered batches to the receiver's endpoint; what is taken is told to the store. Each
receiver has an Intake, which it asks for messages, and a loop that talks to the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from functools import partial
from typing import Any

from busway.adapters import asyncio_ends, threads_ends
from busway.adapters.arguments import types_of
from busway.adapters.literal import id_of_subscribed
from busway.adapters.results import decode_message
from busway.errors import BusClosed, BusError
from busway.names import endpoint_id, endpoint_name, uuid_text
from busway.store import records
from busway.store.intake import PAUSE_S, Durable, Intake, Once
from busway.store.memory import FileMemory, Memory

_BEAT_S = records.LEASE_S / 3


class Taker:
    """In place of the core's way to take a message: batches of the store become messages."""

    def __init__(self, take: Any, intake: Intake, arrivals: Any) -> None:
        self._take = take
        self._intake = intake
        self._arrivals = arrivals
        self.refused = 0

    def __call__(self, core: Any) -> Any:
        intake = self._intake
        while not intake.waits:
            message = self._take(core)
            if message is None:
                return None
            if not intake.unpack(message):
                return intake.direct(message)
        found = intake.give()
        if intake.waits and self._arrivals.waiting:
            self._arrivals._wake()  # another who waits gets the next
        return found


class _Mailbox:
    """The part that both sorts of receivers have."""

    _intake: Intake
    _core: Any
    _types: Any
    _taken: Any
    _arrivals: Any
    unknown: int

    def _begin(self, intake: Intake) -> None:
        self._intake = intake
        self._taken = Taker(self._taken, intake, self._arrivals)

    def _accept(self, message: Any) -> bool:
        known = decode_message(message, self._types)
        if not known:
            self.unknown += 1
            message.ack()
        return known

    @property
    def store(self) -> bytes:
        """The node of the store that it is attached to, 16 bytes; b"" while there is none."""
        found = self._intake.store
        return b"" if found is None else found.node

    def _end(self) -> None:
        if not self._intake.closed:
            self._intake.closed = True
            self._intake.kick()


class AsyncMailbox(_Mailbox, asyncio_ends.Receiver[Any]):
    """Of an AsyncBus."""

    def __init__(self, keep: object, host: Any, core: Any, types: Any, sealed: bool = False) -> None:
        super().__init__(keep, host, core, types, sealed)
        self._receiving = None
        self._is_any = False

    async def receive(self, timeout: Any = None) -> Any:
        """As of any receiver; what was received before is taken then."""
        self._intake.next()
        return await super().receive(timeout)

    async def receive_many(self, most: Any = 1024, timeout: Any = None) -> Any:
        """As of any receiver; what was received before is taken then."""
        self._intake.next()
        return await super().receive_many(most, timeout)

    async def __anext__(self) -> Any:
        self._intake.next()
        return await super().__anext__()

    def _close(self) -> None:
        super()._close()
        self._end()


class BlockingMailbox(_Mailbox, threads_ends.Receiver[Any]):
    """Of a Bus."""

    def receive(self, timeout: float | None = None) -> Any:
        """As of any receiver; what was received before is taken then."""
        self._intake.next()
        return super().receive(timeout)

    def receive_many(self, most: int = 1024, timeout: float | None = None) -> Any:
        """As of any receiver; what was received before is taken then."""
        self._intake.next()
        return super().receive_many(most, timeout)

    def _take_many(self, most: int) -> list[Any]:
        found: list[Any] = []
        while len(found) < most:
            message = self._host.call(self._taken, self._core)
            if message is None:
                break
            if self._accept(message):
                found.append(message)
        return found

    def deliver(self, callback: Any, call_soon: Any = None) -> Any:
        """As of any receiver; each message is taken when its `ack()` is called."""
        self._intake.explicit = True
        return super().deliver(callback, call_soon)

    def _close(self) -> None:
        super()._close()
        self._end()


class Talk:
    """The things that the loop of a receiver says to the store, whatever waits for the answers: a step is a
    question to be asked, a pause, or a look for stores.
    """

    def __init__(self, intake: Intake, text: str, client: Any) -> None:
        self.intake = intake
        self.text = text
        self.client = client
        self.attached = False
        self._beat = 0.0
        self._held = 0  # as the store knows it: from there on its program has nothing
        self._held_at = 0.0

    def due(self) -> bool:
        """Whether there is something to be said now."""
        intake = self.intake
        if intake.lost:
            intake.lost = self.attached = False
        if not self.attached or intake.closed:
            return True
        ack = intake.report()
        if ack.done or ack.again or ack.wanted >= 0 or time.monotonic() >= self._beat:
            return True
        return ack.held != self._held and time.monotonic() >= self._held_at

    @property
    def pause(self) -> float:
        """The longest until something may be due."""
        visibility = self.intake.attach.get("visibility", 0.0)
        return min(_BEAT_S, visibility / 4) if visibility else _BEAT_S

    def question(self) -> tuple[Any, Any]:
        """The store, and what it is asked; no store: look for one."""
        intake = self.intake
        if not self.attached:
            store = self.client.stores.keeping(self.text)
            intake.store = store
            return store, None if store is None else intake.begin()
        ack = intake.report()
        if intake.closed and not (ack.done or ack.again):
            return intake.store, records.Detach(intake.session)
        return intake.store, ack

    def answered(self, question: Any) -> None:
        self._beat = time.monotonic() + _BEAT_S
        if isinstance(question, records.Attach):
            self.attached = True
            self.intake.failure = None
            self._held = 0
        elif isinstance(question, records.Ack):
            self.intake.reported(question)
            self._held = question.held
        self._held_at = time.monotonic() + self.pause

    def failed(self, error: BusError) -> float:
        """The pause before the next question. Raises BusClosed."""
        if isinstance(error, BusClosed):
            raise error
        from busway.store.client import store_error

        error = store_error(error)
        code = getattr(error, "code", 0)
        self.attached = False
        if code == records.NO_SESSION:
            return 0.0
        if code not in (records.NOT_ALLOWED, records.MALFORMED, records.TOO_MANY, records.DISK_FULL):
            self.client.stores.take([])
            return PAUSE_S
        if self.intake.failure is None:
            import logging

            logging.getLogger("busway").warning("the store refuses %s: %s", self.text, error)
        self.intake.failure = error
        return 5.0


async def talk(client: Any, intake: Intake, text: str) -> None:
    """Fetch mail until the receiver or its bus is closed."""
    steps = Talk(intake, text, client)
    client.watch(intake)
    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    def kick() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(event.set)

    intake.kick = kick
    try:
        while not (intake.closed and not steps.attached):
            if not steps.due():
                try:
                    async with asyncio.timeout(steps.pause):
                        await event.wait()
                except TimeoutError:
                    pass
                event.clear()
                continue
            store, question = steps.question()
            try:
                if store is None:
                    await client.look()
                    if client.stores.keeping(text) is None:
                        await asyncio.sleep(PAUSE_S)
                    continue
                await client.ask(store, question, _BEAT_S)
            except BusError as error:
                await asyncio.sleep(steps.failed(error))
                continue
            steps.answered(question)
            if isinstance(question, records.Detach):
                return
    except BusClosed:
        pass
    finally:
        client.intakes.discard(intake)
        intake.memory.close()


def talk_blocking(client: Any, intake: Intake, text: str) -> None:
    """The same in a thread."""
    steps = Talk(intake, text, client)
    client.watch(intake)
    event = threading.Event()
    intake.kick = event.set
    try:
        while not (intake.closed and not steps.attached):
            if not steps.due():
                event.wait(steps.pause)
                event.clear()
                continue
            store, question = steps.question()
            try:
                if store is None:
                    client.look()
                    if client.stores.keeping(text) is None:
                        event.wait(PAUSE_S)
                    continue
                client.ask(store, question, _BEAT_S)
            except BusError as error:
                pause = steps.failed(error)
                if pause:
                    event.wait(pause)
                continue
            steps.answered(question)
            if isinstance(question, records.Detach):
                return
    except BusClosed:
        pass
    finally:
        client.talks.discard(threading.current_thread())
        client.intakes.discard(intake)
        intake.memory.close()


def mailbox(
    bus: Any, once: Any, endpoint: Any, types: Any, *words: Any, labels: Any, gone: Any, sealed: Any
) -> Any:
    """`register` with once=: a receiver that takes its mail once. Raises as that; OSError, sqlite3.Error for
    its file.
    """
    if sealed is not False:
        raise ValueError("what a store keeps is not sealed: leave sealed= or once= out")
    if words[0] == "broadcast":
        raise ValueError("once= is for mail: to what is published subscribe with durable=")
    how = once if isinstance(once, Once) else Once(None if once is True else once)
    target, name = endpoint_id(endpoint), endpoint_name(endpoint)
    attach = {"to": target, "ahead": how.ahead, "name": name, "endpoint": target}
    attach["alone"] = words[0] == "unicast"
    labels = (*labels, records.ONCE_LABEL)
    return _begun(bus, endpoint, types, words, labels, gone, how, attach, name or uuid_text(target))


def subscription(
    bus: Any, pattern: Any, types: Any, realm: Any, queue: int, labels: Any, others: Any, durable: Any
) -> Any:
    """`subscribe` with durable=. Raises ValueError, TypeError."""
    if others != (None, None, False):
        raise ValueError("a durable subscription has no policy=, gone= or sealed=")
    how = durable if isinstance(durable, Durable) else Durable(durable)
    text = pattern if isinstance(pattern, str) else endpoint_name(pattern)
    if not text:
        raise ValueError("a durable subscribes to a name or a pattern: what has neither cannot be kept")
    id_of_subscribed(text)
    to = os.urandom(16)
    attach = {
        "to": to,
        "ahead": how.once.ahead,
        "durable": how.name,
        "pattern": text,
        "start": how.start,
        "visibility": how.visibility,
        "tries": how.tries,
    }
    types = types_of(pattern, types)
    words = ("unicast", realm, queue, None, 0)
    return _begun(bus, to, types, words, labels, None, how.once, attach, text)


def _begun(
    bus: Any,
    endpoint: Any,
    types: Any,
    words: tuple[Any, ...],
    labels: Any,
    gone: Any,
    how: Once,
    attach: dict[str, Any],
    text: str,
) -> Any:
    from busway.store.client import AsyncClient, client_of

    client = client_of(bus)
    memory = Memory() if how.path is None else FileMemory(how.path)
    intake = Intake(attach, memory, how.explicit)
    is_async = isinstance(client, AsyncClient)
    make = partial(AsyncMailbox if is_async else BlockingMailbox, bus)
    try:
        receiver = bus._register(make, endpoint, types, *words, labels=labels, gone=gone, sealed=False)
    except BaseException:
        memory.close()
        raise
    receiver._begin(intake)
    if is_async:
        task = client.spawn(talk(client, intake, text))
        client.talks.add(task)
        task.add_done_callback(client.talks.discard)
    else:
        words = (client, intake, text)
        thread = threading.Thread(target=talk_blocking, args=words, name="busway mail", daemon=True)
        client.talks.add(thread)
        thread.start()
    return receiver
