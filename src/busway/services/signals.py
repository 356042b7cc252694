"""Signals: values that a service publishes and its clients subscribe to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from busway.adapters.closing import Done
from busway.classes import Mismatch
from busway.errors import PayloadError
from busway.services.values import Single

if TYPE_CHECKING:
    from typing import Unpack

    from busway.adapters.typed import PublishOptions

T = TypeVar("T")


class Signal(Generic[T]):
    """A value of a service that comes again and again, declared as `overheated: busway.Signal[float]`.

    The server publishes, `await self.overheated.publish(98.5)`, once it is hosted; a client subscribes,
    `async for celsius in pump.overheated`. On a `Bus` both block: `publish` returns when it is done, and the
    loop is a plain `for`.
    """

    def __repr__(self) -> str:
        return "<Signal that is not bound to a bus>"

    def publish(self, value: T, **options: Unpack[PublishOptions]) -> Awaitable[None]:
        """Give every subscriber a copy; on an AsyncBus await it. Options are those of `publish` of the bus.

        Raises TypeError for a value that is not of the signal's type, BusError on a client, which only
        subscribes, and before the object is hosted.
        """
        raise _unbound()

    def __aiter__(self) -> AsyncIterator[T]:
        raise _unbound()

    def __iter__(self) -> Iterator[T]:
        raise _unbound()


def _unbound() -> Exception:
    from busway.errors import BusError

    return BusError("this signal is of no bus yet: the object has to be hosted first, with bus.host(it)")


class Published(Signal[T]):
    """The server's side of one."""

    def __init__(self, bus: Any, name: str, where: Any, realm: str, shape: Single) -> None:
        self._bus = bus
        self._name = name
        self._where = where
        self._realm = realm
        self._shape = shape

    def __repr__(self) -> str:
        return f"<Signal {self._name}, published>"

    def publish(self, value: T, **options: Unpack[PublishOptions]) -> Awaitable[None]:
        options.setdefault("realm", self._realm)  # type: ignore[typeddict-item]
        done = self._bus.publish(self._where, self._shape.pack(value), **options)
        return Done() if done is None else done


class Subscribed(Signal[T]):
    """The client's side of one."""

    def __init__(self, bus: Any, name: str, where: Any, realm: str, shape: Single) -> None:
        self._bus = bus
        self._name = name
        self._where = where
        self._realm = realm
        self._shape = shape

    def __repr__(self) -> str:
        return f"<Signal {self._name}, subscribed to>"

    async def __aiter__(self) -> AsyncIterator[T]:
        async with self._bus.subscribe(self._where, realm=self._realm) as messages:
            async for message in messages:
                yield self._value(message)

    def __iter__(self) -> Iterator[T]:
        with self._bus.subscribe(self._where, realm=self._realm) as messages:
            for message in messages:
                yield self._value(message)

    def _value(self, message: Any) -> Any:
        if message.error is not None:
            raise message.error
        try:
            return self._shape.unpack(message.payload)
        except Mismatch as mismatch:
            raise PayloadError(self._shape.complaint(mismatch)) from None
