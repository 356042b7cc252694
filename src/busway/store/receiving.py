"""Receivers whose messages come from a store: mail that is taken once, and durable subscriptions.

A store sends them in numbered batches to the receiver's endpoint; what is taken is told to the store. The
Intake keeps count, whatever the adapter; the receiver asks it, and the loop that talks to the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from busway.adapters import asyncio_ends, threads_ends
from busway.adapters.arguments import types_of
from busway.adapters.literal import id_of_subscribed
from busway.adapters.results import decode_message
from busway.errors import BusClosed, BusError
from busway.names import endpoint_id, endpoint_name, uuid_text
from busway.protocol import codes
from busway.store import records
from busway.store.memory import FileMemory, Memory
from busway.store.records import AHEAD, TRIES, VISIBILITY_S, Batch, Delivered

if TYPE_CHECKING:
    import sqlite3

    from busway.store.finding import Found

_HEAD = b"\x93\xc4\x10"  # an array of three, of which the first has 16 bytes
_BATCH = msgspec.msgpack.Decoder(Batch)
_OLD_MAX = 8
_BEAT_S = records.LEASE_S / 3
_PAUSE_S = 0.2
_RUNS_MAX = 1024  # of acknowledgements in one question


class Once:
    """The way in which a receiver takes its mail.

    Args:
        path: the SQLite file in which it remembers what it has taken; None: in memory, as long as it runs.
        ahead: messages that may be on the way to it, or wait in it.
        explicit: each message is taken when its `ack()` is called; by default when the next is asked for.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, ahead: int = AHEAD, explicit: bool = False
    ) -> None:
        _check_ahead(ahead)
        self.path = path
        self.ahead = ahead
        self.explicit = explicit


class Durable:
    """A durable subscription, which a store keeps under a name. Consumers of one name share its messages.

    Args:
        name: 1 to 64 bytes.
        start: where a new one begins: "new", "first", a position (int), or a time (seconds since 1970, or a
            datetime with time zone).
        visibility: how many seconds a program may have for a message before it goes to another; 0: as long
            as its consumer is there.
        tries: after so many a message is dead, and waits for `busway jobs`.
        ahead: messages that may be on the way to this consumer, or wait in it; 1 for jobs.
        once: as `register`: a file in which this consumer remembers what it has taken.
        explicit: as of `Once`.
    """

    def __init__(
        self,
        name: str,
        *,
        start: Any = "new",
        visibility: float = VISIBILITY_S,
        tries: int = TRIES,
        ahead: int = AHEAD,
        once: str | os.PathLike[str] | None = None,
        explicit: bool = False,
    ) -> None:
        _check_ahead(ahead)
        if not isinstance(name, str) or not 1 <= len(name.encode()) <= records.NAME_SIZE_MAX:
            raise ValueError(f"a durable has a name of 1 to {records.NAME_SIZE_MAX} bytes, not {name!r}")
        if hasattr(start, "timestamp"):
            if start.tzinfo is None:
                raise ValueError("start must have a time zone: nobody knows which time it is else")
            start = float(start.timestamp())
        if start not in ("new", "first") and (isinstance(start, (str, bool)) or start < 0):
            raise ValueError(f'start must be "new", "first", a position or a time, not {start!r}')
        self.name = name
        self.start = start
        self.visibility = visibility
        self.tries = tries
        self.once = Once(once, ahead=ahead, explicit=explicit)


def _check_ahead(ahead: int) -> None:
    if not isinstance(ahead, int) or not 1 <= ahead <= records.AHEAD_MAX:
        raise ValueError(f"ahead must be 1 to {records.AHEAD_MAX}, not {ahead!r}")


class StoredMessage:
    """A message from a store, with all that a `busway.Message` has: `source` and `name` are those of who sent
    it, and where.

    Besides: `id` (24 bytes; b"" for one that came past the store), `position` in the store, `tries` that
    failed before, `stored_at` in seconds since 1970, and what says that it is done: `ack`, `once`, `retry`,
    `give_up`.
    """

    __slots__ = (
        "_intake",
        "arrived",
        "endpoint",
        "endpoint_name",
        "error",
        "format",
        "id",
        "missed",
        "name",
        "numbers",
        "payload",
        "position",
        "priority",
        "seq",
        "source",
        "source_label",
        "state",
        "stored_at",
        "tries",
        "type_id",
    )

    retained = False
    last_word = False
    verified = None

    def __init__(self, intake: Intake, found: Delivered, number: int) -> None:
        self._intake = intake
        self.numbers = [number]  # of its deliveries, in the session
        self.state = "open"
        self.error: Any = None
        self.id = found.id
        self.name = self.endpoint_name = found.name
        self.endpoint = found.endpoint
        self.source = found.source
        self.source_label = found.label
        self.format = found.format
        self.type_id = found.type_id
        self.payload: Any = found.payload
        self.priority = codes.PRIORITY_NAMES[found.priority & 3]
        self.position = found.position
        self.tries = found.tries
        self.stored_at = found.stored / 1000
        self.seq = found.position & 0xFFFF
        self.missed = 0
        self.arrived = time.monotonic_ns() // 1_000_000

    def __repr__(self) -> str:
        who = repr(self.source_label) if self.source_label else self.source.hex()
        return f"<stored message {self.position} to {self.name or self.endpoint.hex()} from {who}>"

    @property
    def received_at(self) -> float:
        """As of any message."""
        return self.arrived / 1000

    def ack(self) -> None:
        """It is done: remembered as taken, and never delivered again. Twice is once."""
        self._intake.finish([self])

    def retry(self, pause: float = 0.0) -> None:
        """It could not be done: it is delivered again, to whoever is free, after `pause` seconds."""
        self._intake.again(self, round(pause * 1000))

    def give_up(self) -> None:
        """It can never be done: it is dead, and waits for `busway jobs`."""
        self._intake.again(self, -1)

    def once(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction in the file of `once=`, at whose end the message is taken: what the program writes in
        it is written once, whatever is killed when. What is raised in it undoes it; then the message is
        tried again. Raises ValueError where there is no file.
        """
        return self._intake.taking(self)


class Intake:
    """The messages of one receiver, from the store to the program. Any thread may call it."""

    def __init__(self, attach: dict[str, Any], memory: Memory, explicit: bool) -> None:
        self.attach = attach
        self.memory = memory
        self.explicit = explicit
        self.session = b""
        self.store: Found | None = None
        self.closed = False
        self.lost = False  # its store is gone
        self.kick: Any = lambda: None  # wakes the loop that talks to the store
        self._lock = threading.RLock()
        self._old: deque[bytes] = deque(maxlen=_OLD_MAX)
        self._expected = 0
        self._lacking = False
        self._queue: deque[StoredMessage] = deque()
        self._open: dict[bytes, StoredMessage] = {}  # by id: all that are not done
        self._given: dict[bytes, StoredMessage] = {}  # of these, what the program has
        self._done: set[int] = set()
        self._again: dict[int, int] = {}
        self.failure: BusError | None = None

    # The session

    def begin(self) -> records.Attach:
        """A new session: the question that begins it."""
        with self._lock:
            if self.session:
                self._old.append(self.session)
            self.session = os.urandom(16)
            self._expected = 0
            self._lacking = False
            self._done.clear()
            self._again.clear()
            for message in self._queue:  # they come again, here or elsewhere
                self._open.pop(message.id, None)
            self._queue.clear()
            for message in self._open.values():
                message.numbers.clear()
            return records.Attach(self.session, **self.attach)

    def report(self) -> records.Ack:
        """The next that is to be told to the store."""
        with self._lock:
            runs: list[tuple[int, int]] = []
            for number in sorted(self._done):
                if runs and runs[-1][1] + 1 == number:
                    runs[-1] = (runs[-1][0], number)
                elif len(runs) < _RUNS_MAX:
                    runs.append((number, number))
                else:
                    break
            held = min((m.numbers[0] for m in self._queue if m.numbers), default=self._expected)
            again = [*self._again.items()][:_RUNS_MAX]
            return records.Ack(self.session, runs, again, held, self._expected if self._lacking else -1)

    def reported(self, ack: records.Ack) -> bool:
        """The store has heard that; whether there is more by now."""
        with self._lock:
            if ack.session == self.session:
                for first, last in ack.done:
                    self._done.difference_update(range(first, last + 1))
                for number, _ in ack.again:
                    self._again.pop(number, None)
                if ack.wanted >= 0:
                    self._lacking = False
            return bool(self._done or self._again or self._lacking)

    # From the store

    def unpack(self, message: Any) -> bool:
        """Take in a batch of the store; False for a message that is none."""
        payload = message.payload
        if type(payload) is not bytes or payload[:3] != _HEAD or message.format != codes.RAW:
            return False
        with self._lock:
            session = payload[3:19]
            if session != self.session:
                return session in self._old
            if self.store is not None and message.source != self.store.node:
                return False
            try:
                batch = _BATCH.decode(payload)
            except msgspec.MsgspecError:
                return False
            if batch.first > self._expected:
                self._lacking = True
                self.kick()
                return True
            for number, found in enumerate(batch.messages, batch.first):
                if number >= self._expected:
                    self._expected = number + 1
                    self._take_in(number, found)
        return True

    def _take_in(self, number: int, found: Delivered) -> None:
        known = self._open.get(found.id)
        if known is not None:
            known.numbers.append(number)
        elif self.memory.has(found.id):
            self._done.add(number)
            self.kick()
        else:
            message = StoredMessage(self, found, number)
            self._open[found.id] = message
            self._queue.append(message)

    def direct(self, message: Any) -> StoredMessage:
        """A message that came past the store."""
        found = Delivered(
            b"",
            message.name,
            message.endpoint,
            message.source,
            message.source_label,
            message.format,
            message.type_id,
            message.payload,
            codes.PRIORITY_NAMES.index(message.priority),
            0,
            0,
            0,
        )
        made = StoredMessage(self, found, -1)
        made.numbers.clear()
        made.missed = message.missed
        made.seq = message.seq
        made.arrived = message.arrived
        return made

    # To the program

    def give(self) -> StoredMessage | None:
        with self._lock:
            if not self._queue:
                return None
            message = self._queue.popleft()
            self._given[message.id] = message
            return message

    @property
    def waits(self) -> bool:
        """Whether there is a message for who asks."""
        return bool(self._queue)

    def next(self) -> None:
        """The program asks for more: what it has is done, unless it says so itself."""
        if not self.explicit:
            with self._lock:
                given = [*self._given.values()]
            if given:
                self.finish(given)

    def finish(self, messages: list[StoredMessage]) -> None:
        """These are done."""
        fresh = [message for message in messages if message.id and message.state == "open"]
        if fresh:
            self.memory.add([message.id for message in fresh])
            self._settled(fresh)

    def _settled(self, messages: list[StoredMessage]) -> None:
        with self._lock:
            for message in messages:
                message.state = "done"
                self._given.pop(message.id, None)
                self._open.pop(message.id, None)
                self._done.update(message.numbers)
        self.kick()

    def again(self, message: StoredMessage, pause: int) -> None:
        if not message.id or message.state != "open":
            return
        with self._lock:
            message.state = "again"
            self._given.pop(message.id, None)
            self._open.pop(message.id, None)
            for number in message.numbers:
                self._again[number] = pause
        self.kick()

    @contextmanager
    def taking(self, message: StoredMessage) -> Iterator[sqlite3.Connection]:
        open_now = bool(message.id) and message.state == "open"
        try:
            with self.memory.taking([message.id] if open_now else []) as db:
                yield db
        except BaseException:
            self.again(message, records.milliseconds(_PAUSE_S))
            raise
        if open_now:
            self._settled([message])


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
            return _PAUSE_S
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
                        await asyncio.sleep(_PAUSE_S)
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
                        event.wait(_PAUSE_S)
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
        client.intakes.discard(intake)
        intake.memory.close()


def mailbox(
    bus: Any,
    endpoint: Any,
    types: Any,
    words: tuple[Any, ...],
    labels: Any,
    gone: Any,
    sealed: Any,
    once: Any,
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
        client.spawn(talk(client, intake, text))
    else:
        words = (client, intake, text)
        threading.Thread(target=talk_blocking, args=words, name="busway mail", daemon=True).start()
    return receiver
