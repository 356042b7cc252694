"""Messages on their way into a store: those of one program go in order, many in one question, and again until
they are kept. Sans-IO.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from busway.errors import BusError, DeliveryUnknown, Undeliverable
from busway.protocol import codes
from busway.store.records import BATCH_MAX, BATCH_SIZE, Item, Put, PutReply, StoreError

_ENCODER = msgspec.msgpack.Encoder()
_REPLY = msgspec.msgpack.Decoder(PutReply)


class Moved(BusError):
    """Another store is to keep the message."""


class Waiting:
    """A message that is not kept yet. `until` is when its sender waits no longer."""

    __slots__ = ("future", "item", "number", "unsure", "until")

    def __init__(self, item: Item, number: int, until: float, future: Any) -> None:
        self.item = item
        self.number = number
        self.until = until
        self.future = future
        self.unsure = False  # a store may have it

    def done(self) -> bool:
        return bool(self.future.done())

    def settle(self, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)


class Outbox:
    """The messages of one program to one store. Any thread may call it."""

    def __init__(self) -> None:
        self.stream = os.urandom(16)
        self._number = 0
        self._queue: deque[Waiting] = deque()
        self._batch: list[Waiting] = []
        self._lock = threading.Lock()
        self.asked = False  # the question is on its way

    def add(self, item: Item, until: float, future: Any) -> Waiting:
        with self._lock:
            waiting = Waiting(item, self._number, until, future)
            self._number += 1
            self._queue.append(waiting)
        return waiting

    def id_of(self, waiting: Waiting) -> bytes:
        return self.stream + waiting.number.to_bytes(8, "big")

    def batch(self, now: float) -> tuple[bytes, float] | None:
        """The next question, and how many seconds are left for it; None if there is nothing to be sent."""
        with self._lock:
            size = 0
            self.asked = False
            self._batch = []
            while self._queue:
                waiting = self._queue[0]
                size += len(waiting.item.payload)
                if self._batch and (size > BATCH_SIZE or len(self._batch) >= BATCH_MAX):
                    break
                self._queue.popleft()
                if not waiting.done():
                    self._batch.append(waiting)
            if not self._batch:
                return None
            numbers = [waiting.number for waiting in self._batch]
            put = Put(self.stream, numbers, [waiting.item for waiting in self._batch])
            return _ENCODER.encode(put), max(waiting.until for waiting in self._batch) - now

    def settle(self, reply: Any) -> None:
        """The store has answered."""
        try:
            found = _REPLY.decode(reply)
        except (msgspec.MsgspecError, TypeError, ValueError):
            self.refused(BusError("the store answered with something else than a store does"))
            return
        batch, self._batch = self._batch, []
        for waiting in batch[: found.stored]:
            waiting.settle(None)
        rest = batch[found.stored :]
        if found.code and rest:
            rest.pop(0).settle(StoreError(found.code, found.text))
        self._put_back(rest)

    def refused(self, error: BaseException) -> None:
        """None of the last question is kept."""
        batch, self._batch = self._batch, []
        for waiting in batch:
            waiting.settle(error)

    def retry(self, now: float, unsure: bool) -> None:
        """The last question was not answered: it is asked again for those who still wait. `unsure`: a store
        may have got it.
        """
        batch, self._batch = self._batch, []
        for waiting in batch:
            waiting.unsure = waiting.unsure or unsure
        self._put_back(batch)
        self.expire(now)

    def move(self, kept: Callable[[Item], bool]) -> None:
        """The store is not there: what another one keeps goes there, unless this one may have something of it
        all, which would then come twice, or out of order.
        """
        with self._lock:
            all_of_them = [*self._batch, *self._queue]
            if any(waiting.unsure for waiting in all_of_them):
                return
            moved = {id(waiting) for waiting in all_of_them if kept(waiting.item)}
            self._batch = [waiting for waiting in self._batch if id(waiting) not in moved]
            self._queue = deque(waiting for waiting in self._queue if id(waiting) not in moved)
        for waiting in all_of_them:
            if id(waiting) in moved:
                waiting.settle(Moved())

    def _put_back(self, rest: list[Waiting]) -> None:
        with self._lock:
            self._queue.extendleft(reversed(rest))

    def expire(self, now: float) -> None:
        """Tell those whose time is up."""
        with self._lock:
            late = [waiting for waiting in self._queue if waiting.until <= now]
        for waiting in late:
            waiting.settle(late_error(waiting.unsure))

    def is_unsure(self, waiting: Waiting) -> bool:
        """Whether a store may have it."""
        return waiting.unsure or (self.asked and waiting in self._batch)

    def fail(self, error: BusError) -> None:
        """The bus is closed."""
        with self._lock:
            rest = [*self._batch, *self._queue]
            self._batch = []
            self._queue.clear()
        for waiting in rest:
            waiting.settle(error)


def late_error(unsure: bool) -> BusError:
    """The error when the time is up."""
    if unsure:
        return DeliveryUnknown("the store did not confirm in time; the message may or may not be kept")
    return Undeliverable(codes.EXPIRED, "no store was there in time")
