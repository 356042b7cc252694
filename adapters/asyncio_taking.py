"""Taking the messages of a registration, in an asyncio program. Compiled with the core where that is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Generic, cast

from busway.adapters.arguments import MOST, check_most, check_seconds
from busway.adapters.asyncio_pump import GET_IDENT, TURN, Pump
from busway.adapters.compiling import mypyc_attr
from busway.adapters.typed import Message, T_co
from busway.errors import BusClosed
from busway.protocol import Message as CoreMessage
from busway.protocol import Receiver as CoreReceiver
from busway.protocol import codes
from busway.protocol.messaging.receiving import Receiving

if TYPE_CHECKING:
    from typing import Self

_get_ident: Final[Any] = GET_IDENT
_RAW: Final = codes.RAW
_BROADCAST: Final = codes.BROADCAST
_LATE: Final = 4096  # messages after which the loop gets its turn in any case
_LATE_NS: Final = 100_000_000  # ... and the time


@mypyc_attr(allow_interpreted_subclasses=True)
class Taking(Generic[T_co]):
    """The busy part of a Receiver."""

    _host: Pump
    _core: CoreReceiver
    _receiving: Receiving | None  # takes its messages; None: what opens sealed ones does
    _is_any: bool  # no types are declared

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message[T_co]:
        found: Message[T_co] | None = _take(self)
        if found is not None:
            return found
        try:
            return cast("Message[T_co]", await self._next_in_turn(None))
        except BusClosed:
            pass
        raise StopAsyncIteration

    async def receive(self, timeout: Any = None) -> Message[T_co]:
        """The next message; `timeout` in seconds.

        `message.error` is set, and the payload left as bytes, where it doesn't fit what was declared. Raises
        TimeoutError, BusClosed after `close()`, EndpointTaken while another node keeps the name.
        """
        found: Message[T_co] | None = _take(self)
        if found is not None:
            return found
        return cast("Message[T_co]", await self._next_in_turn(timeout))

    async def receive_many(self, most: Any = MOST, timeout: Any = None) -> list[Message[T_co]]:
        """All that waits, in order: one message at least, and `most` at the most; much quicker than one by
        one where many small ones come. Arguments and errors as `receive`.
        """
        if most is not MOST:
            check_most(most)
        if timeout is not None:
            check_seconds("timeout", timeout, endless=True)
        host = self._host
        if host.taken >= TURN and _is_turn(self):
            host.taken = 0
            host.until_ns = 0
            await asyncio.sleep(0)
        found = self._take_many(most)
        if not found:
            found = [await self._next(timeout)]
            if most > 1:
                found += self._take_many(most - 1)
        host.taken += len(found)
        return found

    def batches(self, most: Any = MOST) -> Batches[T_co]:
        """`async for batch in receiver.batches()`: lists as of `receive_many`, until the receiver or its bus
        is closed.
        """
        check_most(most)
        return Batches(self, most)

    def _take_one(self) -> Any:
        receiving = self._receiving
        return cast(Any, self)._taken(self._core) if receiving is None else receiving.take(self._core)

    def _take_many(self, most: int) -> list[Any]:
        """All that waits and is accepted; [] if there is nothing."""
        host = self._host
        cast(Any, host).check()
        found: list[Any] = []
        receiving = self._receiving
        while not found:
            if receiving is not None:
                found = cast(list[Any], receiving.take_many(self._core, most))
            else:
                while len(found) < most and (message := self._take_one()) is not None:
                    found.append(message)
            if not found:
                break
            if not (self._is_any and _are_raw(found)):
                found = [message for message in found if cast(Any, self)._accept(message)]
        return found

    async def _next_in_turn(self, timeout: Any) -> Any:
        """The next message, when the loop has had its turn if that is due."""
        host = self._host
        host.taken += 1
        if host.taken >= TURN and _is_turn(self):
            host.taken = 0
            host.until_ns = 0
            await asyncio.sleep(0)
        return await self._next(timeout)

    async def _next(self, timeout: Any) -> Any:
        """The next message, which may have to be awaited."""
        host = cast(Any, self._host)
        own = cast(Any, self)
        host.check()
        while True:
            while (message := self._take_one()) is not None:
                if own._accept(message):
                    return message
            own._check_more()
            if timeout is not None:
                break
            future = host.loop.create_future()
            own._arrivals.waiting.append(future)
            self._core.told = True
            try:
                await future
            finally:
                own._arrivals.forget(future)
            host.check()
        check_seconds("timeout", timeout, endless=True)
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await self._next(None)
        except TimeoutError:
            if not limit.expired():
                raise
        raise own._nothing_came(timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        cast(Any, self).close()


def _take(taking: Taking[Any]) -> Any:
    """The next message, if it is there and nothing has to be decided; outside of the coroutine that gives it,
    for what a coroutine knows lies in memory of its own, which is made and freed with each call.

    Who runs which loop costs a system call in Python 3.11: that is asked where there is nothing to take, and
    once in a turn; the thread, each time.
    """
    host = taking._host
    receiving = taking._receiving
    ident: int = _get_ident()
    if receiving is None or host.failure is not None or ident != host._ident:
        return None
    if host.taken >= TURN and _is_turn(taking):
        return None
    message = receiving.take(taking._core)
    if message is None or not (
        (message.format == _RAW and taking._is_any) or cast(Any, taking)._accept(message)
    ):
        return None
    host.taken += 1
    return message


def _are_raw(messages: list[Any]) -> bool:
    """Whether their payloads are bytes, as they came."""
    for one in messages:
        message: CoreMessage = one
        if message.format != _RAW:
            return False
    return True


def _is_turn(taking: Taking[Any]) -> bool:
    """Whether the loop gets its turn: not yet where so many copies wait that the next read might bring more
    than the queue holds, for nothing slows their publisher down; but in time, or who takes long over each of
    them keeps all others waiting.
    """
    host = taking._host
    core = taking._core
    if host.taken >= _LATE or core.endpoint.kind != _BROADCAST or len(core.queue) * 4 < core.queue_max:
        return True
    now = host.clock()
    if not host.until_ns:
        host.until_ns = now + _LATE_NS
    return now >= host.until_ns


class Batches(Generic[T_co]):
    """Lists of messages, an async iterable. Made by `Receiver.batches`."""

    def __init__(self, receiver: Taking[T_co], most: int) -> None:
        self._receiver = receiver
        self._most = most

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Message[T_co]]:
        try:
            return await self._receiver.receive_many(self._most)
        except BusClosed:
            pass
        raise StopAsyncIteration
