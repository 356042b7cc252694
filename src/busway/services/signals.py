"""Signals: values that a service publishes and its clients subscribe to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from busway.adapters.bus import host_of
from busway.adapters.closing import Done
from busway.classes import Mismatch
from busway.errors import BusClosed, BusError, PayloadError
from busway.services.values import Single

if TYPE_CHECKING:
    from typing import Unpack

    from busway.adapters.typed import PublishOptions, SubscribeOptions

T = TypeVar("T")


class Signal(Generic[T]):
    """A value of a service that comes again and again, declared as `overheated: busway.Signal[float]`.

    The server publishes, `await self.overheated.publish(98.5)`, once it is hosted; a client subscribes,
    `async for celsius in pump.overheated`. On a `Bus` both block: `publish` returns when it is done, and the
    loop is a plain `for`.
    """

    def publish(self, value: T, **options: Unpack[PublishOptions]) -> Awaitable[None]:
        """Give every subscriber a copy; of an AsyncBus await it. Options as for `publish` of the bus; the
        realm is that of the service.

        Raises TypeError for a value that is not of the signal's type, BusError on a client, which only
        subscribes, and before the object is hosted.
        """
        raise BusError("this signal is of no bus yet: host the object first, with bus.host(it)")

    def subscribe(self, **options: Unpack[SubscribeOptions]) -> Subscription[T]:
        """Receive its values from now on; the loop over the signal itself does so from its first step on.
        Options as for `subscribe` of the bus. Raises BusError on the server, and without a bus.
        """
        raise BusError("this signal is of no bus yet: `bus.client` makes what subscribes to it")

    def __aiter__(self) -> AsyncIterator[T]:
        return self._each_awaited(self.subscribe())

    def __iter__(self) -> Iterator[T]:
        return self._each(self.subscribe())

    async def _each_awaited(self, subscription: Subscription[T]) -> AsyncGenerator[T, None]:
        """Async generators are closed by the loop when they are dropped, and this closes what it reads."""
        async with subscription:
            async for value in subscription:
                yield value

    def _each(self, subscription: Subscription[T]) -> Iterator[T]:
        with subscription:
            yield from subscription


class Published(Signal[T]):
    """The server's side of one: `name` is for people, `where` the endpoint."""

    def __init__(self, bus: Any, name: str, where: Any, realm: str, shape: Single) -> None:
        self._bus = bus
        self._name = name
        self._where = where
        self._realm = realm
        self._shape = shape

    def __repr__(self) -> str:
        return f"<Signal {self._name}, published>"

    @property
    def is_open(self) -> bool:
        """Whether its bus can still publish."""
        return host_of(self._bus).failure is None

    @property
    def service(self) -> str:
        """The name under which its object is hosted."""
        return self._name.rpartition("/")[0]

    def publish(self, value: T, **options: Unpack[PublishOptions]) -> Awaitable[None]:
        words: dict[str, Any] = {"realm": self._realm, **options}
        done: Awaitable[None] | None = self._bus.publish(self._where, self._shape.pack(value), **words)
        return Done() if done is None else done

    def subscribe(self, **options: Unpack[SubscribeOptions]) -> Subscription[T]:
        raise BusError(f"{self._name} is published here: `bus.client` makes what subscribes to it")


class Subscribed(Signal[T]):
    """The client's side of one: `check` finds out whether the server has it."""

    def __init__(self, bus: Any, name: str, where: Any, realm: str, shape: Single, check: Callable[[], Any]):
        self._bus = bus
        self._name = name
        self._where = where
        self._realm = realm
        self._shape = shape
        self._check = check

    def __repr__(self) -> str:
        return f"<Signal {self._name}, subscribed to>"

    def publish(self, value: T, **options: Unpack[PublishOptions]) -> Awaitable[None]:
        raise BusError(f"{self._name} is for the server to publish, and this is a client")

    def subscribe(self, **options: Unpack[SubscribeOptions]) -> Subscription[T]:
        words: dict[str, Any] = {"realm": self._realm, **options}
        return Subscription(self._bus.subscribe(self._where, **words), self._shape, self._check)


class Subscription(Generic[T]):
    """The values of one signal, from when it was made on: an iterable, of an AsyncBus an async one. Made by
    `subscribe` of a client's signal; `close()` ends it, as leaving its `async with` or `with` does.
    """

    def __init__(self, receiver: Any, shape: Single, check: Callable[[], Any]) -> None:
        self._receiver = receiver
        self._shape = shape
        self._check: Callable[[], Any] | None = check

    def __repr__(self) -> str:
        return f"<Subscription by {self._receiver!r}>"

    @property
    def missed(self) -> int:
        """Values that are lost: the queue was full, or a link was."""
        found: int = self._receiver.dropped + self._receiver.missed
        return found

    def receive(self, timeout: float | None = None) -> Awaitable[T]:
        """The next value, within `timeout` seconds; of an AsyncBus await it.

        Raises TimeoutError, BusClosed after `close()`, PayloadError for a value that is not of the signal's
        type, ContractError if the server's contract has no such signal.
        """
        return self._receive(timeout) if hasattr(self._receiver, "__aiter__") else self._next(timeout)

    async def _receive(self, timeout: float | None) -> T:
        if self._check is not None:
            check, self._check = self._check, None
            await check()
        found: T = self._value(await self._receiver.receive(timeout))
        return found

    def _next(self, timeout: float | None) -> Any:
        if self._check is not None:
            check, self._check = self._check, None
            check()
        return self._value(self._receiver.receive(timeout))

    def _value(self, message: Any) -> Any:
        if message.error is not None:
            raise message.error
        try:
            return self._shape.unpack(message.payload)
        except Mismatch as mismatch:
            raise PayloadError(self._shape.complaint(mismatch)) from None

    def close(self) -> Done:
        """Receive no more. Twice is once. Of an AsyncBus it may be awaited."""
        self._receiver.close()
        return Done()

    async def aclose(self) -> None:
        """As `close`, for `contextlib.aclosing`."""
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self._receive(None)
        except BusClosed:
            raise StopAsyncIteration from None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            found: T = self._next(None)
        except BusClosed:
            raise StopIteration from None
        return found

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
