"""The messages of one receiver on their way from a store to its program: what has come, what the program has,
and what is done. Knows no adapter, and nobody who asks.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from busway.errors import BusError
from busway.protocol import codes
from busway.store import records
from busway.store.memory import Memory
from busway.store.records import AHEAD, TRIES, VISIBILITY_S, Batch, Delivered

if TYPE_CHECKING:
    import sqlite3

    from busway.store.finding import Found

_HEAD = b"\x93\xc4\x10"  # an array of three, of which the first has 16 bytes
_BATCH = msgspec.msgpack.Decoder(Batch)
_OLD_MAX = 8
PAUSE_S = 0.2


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
        if not 0 <= visibility <= records.VISIBILITY_MAX_S:
            raise ValueError(f"visibility is 0 to {records.VISIBILITY_MAX_S} seconds, not {visibility!r}")
        if isinstance(tries, bool) or not isinstance(tries, int) or not 1 <= tries <= records.TRIES_MAX:
            raise ValueError(f"tries is 1 to {records.TRIES_MAX}, not {tries!r}")
        self.name = name
        self.start = start
        self.visibility = visibility
        self.tries = tries
        self.once = Once(once, ahead=ahead, explicit=explicit)


def _check_ahead(ahead: int) -> None:
    if not isinstance(ahead, int) or not 1 <= ahead <= records.AHEAD_MAX:
        raise ValueError(f"ahead must be 1 to {records.AHEAD_MAX}, not {ahead!r}")


def _pause_of(seconds: float) -> int:
    """In ms; less than none is none."""
    return records.milliseconds(seconds) if seconds > 0 else 0


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

    def retry(self, pause: float | None = None) -> None:
        """It could not be done: it is delivered again, to whoever is free, after `pause` seconds. None: of a
        durable 0.5 s after the first time, then twice as long each time, a minute at the most; mail at once,
        which keeps the order.
        """
        self._intake.again(self, self._intake.pause_ms(self) if pause is None else _pause_of(pause))

    def give_up(self) -> None:
        """It can never be done: it is dead, and waits for `busway jobs`."""
        self._intake.again(self, -1)

    def once(self, *others: StoredMessage) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction in the file of `once=`, at whose end the message is taken, and `others` with it: what
        the program writes in it is written once, whatever is killed when. What is raised in it undoes it;
        then they are tried again. Raises ValueError where there is no file.
        """
        return self._intake.taking([self, *others])


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
                elif len(runs) < records.RUNS_MAX:
                    runs.append((number, number))
                else:
                    break
            held = min((m.numbers[0] for m in self._queue if m.numbers), default=self._expected)
            again = [*self._again.items()][: records.RUNS_MAX]
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
        payload = message.payload
        found = Delivered(
            b"",
            message.name,
            message.endpoint,
            message.source,
            message.source_label,
            message.format,
            message.type_id,
            bytes(payload) if isinstance(payload, memoryview) else payload,
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

    def pause_ms(self, message: StoredMessage) -> int:
        """The pause before a message is tried again, unless its program says which."""
        return records.pause_ms(message.tries + 1) if "durable" in self.attach else 0

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
    def taking(self, messages: list[StoredMessage]) -> Iterator[sqlite3.Connection]:
        fresh = [message for message in messages if message.id and message.state == "open"]
        try:
            with self.memory.taking([message.id for message in fresh]) as db:
                yield db
        except BaseException:
            for message in fresh:
                self.again(message, max(self.pause_ms(message), records.milliseconds(PAUSE_S)))
            raise
        self._settled(fresh)
