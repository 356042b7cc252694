"""Clients of services: objects whose methods are the contract's, and call the server. One class of them for
asyncio and one for threads is made of each contract.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar
from weakref import WeakSet

from busway.adapters.threads import Bus
from busway.classes import Mismatch
from busway.errors import BusError, PayloadError, RemoteError
from busway.services.contracts import (
    DESCRIBE,
    Contract,
    Method,
    Outline,
    check_service_name,
    needed_outline,
    signal_target,
)
from busway.services.faults import DECLARED, MISFIT, NO_METHOD, ContractError, parted
from busway.services.signals import Subscribed, Subscription

if TYPE_CHECKING:
    from typing import Unpack

    from busway.adapters.typed import StreamOptions

T = TypeVar("T")

_STREAM_ONLY = ("window",)
_OPTIONS = frozenset({"timeout", "ttl", "node", "priority", "sealed", "others_only", "window"})
_MALFORMED = (ValueError, TypeError, LookupError, RecursionError)  # of what a server says of an error
_OTHERS = (RemoteError, Mismatch, PayloadError)  # what there may be in place of a result
_ASK_S = 2.0  # for the server's contract, once something did not fit


def client(bus: Any, contract: Any, name: Any, realm: str) -> Any:
    """A client; `AsyncBus.client` and `Bus.client` say what is what."""
    outline = needed_outline(contract)
    if name is not None:
        check_service_name(name)
    blocking = isinstance(bus, Bus)
    made = outline.clients.get(blocking)
    if made is None:
        made = outline.clients[blocking] = _class_of(outline, BlockingClient if blocking else AsyncClient)
    return made(bus, outline.name if name is None else name, realm, {}, None)


def using(client: T, **options: Unpack[StreamOptions]) -> T:
    """A client of the same service whose calls have these options: as `client.using(...)`, for contracts that
    are not derived from `busway.Contract`, which type checkers need for that, or have a method of that name.

    Raises TypeError for what is no client, or no option of `request` or `request_stream`.
    """
    if not isinstance(client, BaseClient):
        raise TypeError(f"using takes a client, as bus.client makes it, not {client!r}")
    return client._using(options)


class BaseClient:
    """The common part of clients for asyncio and for threads."""

    __slots__ = ("__dict__", "_bus", "_name", "_opened", "_options", "_realm", "_stream_options")

    _outline: Outline

    def __init__(self, bus: Any, name: Any, realm: str, options: dict[str, Any], opened: Any) -> None:
        self._bus = bus
        self._name = name
        self._realm = realm
        self._opened: WeakSet[Any] | None = opened  # what leaving `with` closes
        self._stream_options = options
        self._options = {key: value for key, value in options.items() if key not in _STREAM_ONLY}
        for signal, shape in self._outline.signals.items():
            check = functools.partial(self._look_for, signal)
            where = signal_target(name, signal)
            self.__dict__[signal] = _Scoped(self, bus, f"{name}/{signal}", where, realm, shape, check)

    def __repr__(self) -> str:
        return f"<client of {self._name}, {self._outline.label} version {self._outline.version}>"

    def __getattr__(self, name: str) -> NoReturn:
        outline = self._outline
        raise AttributeError(
            f"{outline.label} version {outline.version} has no public method, signal or error {name!r}",
            name=name,
            obj=self,
        )

    def _using(self, options: Any) -> Self:
        unknown = options.keys() - _OPTIONS
        if unknown:
            raise TypeError(f"using takes {', '.join(sorted(_OPTIONS))}, not {', '.join(sorted(unknown))}")
        merged = {**self._stream_options, **options}
        return type(self)(self._bus, self._name, self._realm, merged, self._opened)

    def _look_for(self, signal: str) -> Any:
        """Raises ContractError if the server has no such signal."""
        raise NotImplementedError

    def _asking(self) -> dict[str, Any]:
        """Options of asking for the server's contract."""
        return {**self._options, "timeout": _ASK_S, "ttl": 0.0}

    def _missing(self, signal: str, told: Any) -> ContractError | None:
        """The error that a server's contract, as it has described it, does not have the signal."""
        try:
            if signal in told["signals"]:
                return None
            text = f"{self._name} version {told['version']} has no signal {signal!r}"
            return self._misfit(text, told)
        except (TypeError, KeyError):
            return None

    def _misfit(self, text: str, told: Any) -> ContractError:
        version = told.get("version") if isinstance(told, dict) else None
        theirs = version if isinstance(version, int) else None
        return ContractError(text, str(self._name), self._outline.version, theirs)

    def _failure(self, error: Exception, complaint: Callable[[Mismatch], str]) -> BusError | str:
        """The exception for what came in place of a result; or in words what does not fit the contract."""
        if isinstance(error, Mismatch):
            return complaint(error)
        if isinstance(error, PayloadError):
            return error.reason
        assert isinstance(error, RemoteError)
        if error.code == NO_METHOD or error.code == MISFIT:
            return error.message
        if error.code == DECLARED:
            with contextlib.suppress(*_MALFORMED):
                name, fields = parted(error.message)
                fault = self._outline.faults.get(name)
                if fault is not None:
                    return fault.revive(fields)
        return error

    def _opening(self) -> Self:
        if self._opened is None:
            self._opened = WeakSet()
        return self

    def _ends(self) -> list[Any]:
        """Streams and subscriptions that may be open."""
        found, self._opened = list(self._opened or ()), None
        return found


class _Scoped(Subscribed[Any]):
    """A signal whose subscriptions end with the client's `with`."""

    def __init__(self, owner: BaseClient, *words: Any) -> None:
        super().__init__(*words)
        self.owner = owner

    def subscribe(self, **options: Any) -> Subscription[Any]:
        made = super().subscribe(**options)
        if self.owner._opened is not None:
            self.owner._opened.add(made)
        return made


class AsyncClient(BaseClient):
    """The base of clients for asyncio."""

    __slots__ = ()

    async def _described(self) -> Any:
        """The server's contract, in short; None if it does not tell."""
        with contextlib.suppress(BusError):
            return await self._bus.request(self._name, [DESCRIBE, {"brief": True}], **self._asking())
        return None

    async def _look_for(self, signal: str) -> None:
        error = self._missing(signal, await self._described())
        if error is not None:
            raise error

    async def _told(self, error: Exception, complaint: Callable[[Mismatch], str]) -> BusError:
        found = self._failure(error, complaint)
        return self._misfit(found, await self._described()) if isinstance(found, str) else found

    async def __aenter__(self) -> Self:
        return self._opening()

    async def __aexit__(self, *_: object) -> None:
        for each in self._ends():
            with contextlib.suppress(RuntimeError):  # another task reads it, and ends it
                await each.aclose()


class BlockingClient(BaseClient):
    """The base of clients for threads."""

    __slots__ = ()

    def _described(self) -> Any:
        with contextlib.suppress(BusError):
            return self._bus.request(self._name, [DESCRIBE, {"brief": True}], **self._asking())
        return None

    def _look_for(self, signal: str) -> None:
        error = self._missing(signal, self._described())
        if error is not None:
            raise error

    def _told(self, error: Exception, complaint: Callable[[Mismatch], str]) -> BusError:
        found = self._failure(error, complaint)
        return self._misfit(found, self._described()) if isinstance(found, str) else found

    def __enter__(self) -> Self:
        return self._opening()

    def __exit__(self, *_: object) -> None:
        for each in self._ends():
            with contextlib.suppress(ValueError):  # another thread reads it, and ends it
                each.close()


class Stream:
    """The parts of an answer as they come: an async iterator. It may be awaited first, for contracts that say
    `async def` without a `yield`. `aclose()` cancels it, as leaving its `async with` does.
    """

    __slots__ = ("__weakref__", "_parts")

    def __init__(self, parts: AsyncGenerator[Any, None]) -> None:
        self._parts = parts

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Any:
        return self._parts.__anext__()

    def __await__(self) -> Generator[Any, None, Self]:
        yield from ()
        return self

    async def aclose(self) -> None:
        """Cancel it. Twice is once."""
        await self._parts.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _class_of(outline: Outline, base: type[BaseClient]) -> type:
    """The class of the clients of a contract."""
    makers = (_async_call, _async_stream) if base is AsyncClient else (_blocking_call, _blocking_stream)
    body: dict[str, Any] = {"__slots__": (), "__doc__": outline.doc, "_outline": outline}
    body["using"] = _using
    for name, method in outline.methods.items():
        body[name] = functools.wraps(method.function)(makers[method.is_stream](method))
    for name, fault in outline.faults.items():
        body[name] = fault.cls
    return type(f"{outline.cls.__name__}Client", (base,), body)


def _using(self: BaseClient, **options: Unpack[StreamOptions]) -> BaseClient:
    return self._using(options)


_using.__doc__ = Contract.using.__doc__


def _words(method: Method) -> tuple[Any, ...]:
    """The words of a call that every one of it has: what makes a payload of arguments, and a result of the
    answer, what is said of one that does not fit, and options of the request.
    """
    complaint = method.value.complaint
    if method.attaching is not None:
        attaching = method.attaching
        return method.bind, attaching.question, attaching.unpack, complaint, {"attached": True}
    return method.bind, method.question, method.value.unpack, complaint, {}


def _async_call(method: Method) -> Callable[..., Any]:
    bind, question, unpack, complaint, options = _words(method)

    async def call(self: AsyncClient, *args: Any, **kwargs: Any) -> Any:
        payload = question(bind(*args, **kwargs))
        del args, kwargs  # which may have files
        try:
            return unpack(await self._bus.request(self._name, payload, **self._options, **options))
        except _OTHERS as error:
            raise await self._told(error, complaint) from None

    return call


def _async_stream(method: Method) -> Callable[..., Any]:
    bind, question, unpack, complaint, options = _words(method)

    async def parts(self: AsyncClient, payload: Any) -> AsyncGenerator[Any, None]:
        try:
            asked = self._bus.request_stream(self._name, payload, **self._stream_options, **options)
            async with contextlib.aclosing(asked):
                async for part in asked:
                    yield unpack(part)
        except _OTHERS as error:
            raise await self._told(error, complaint) from None

    def call(self: AsyncClient, *args: Any, **kwargs: Any) -> Any:
        found = Stream(parts(self, question(bind(*args, **kwargs))))
        if self._opened is not None:
            self._opened.add(found)
        return found

    return call


def _blocking_call(method: Method) -> Callable[..., Any]:
    bind, question, unpack, complaint, options = _words(method)

    def call(self: BlockingClient, *args: Any, **kwargs: Any) -> Any:
        payload = question(bind(*args, **kwargs))
        del args, kwargs  # which may have files
        try:
            return unpack(self._bus.request(self._name, payload, **self._options, **options))
        except _OTHERS as error:
            raise self._told(error, complaint) from None

    return call


def _blocking_stream(method: Method) -> Callable[..., Any]:
    bind, question, unpack, complaint, options = _words(method)

    def parts(self: BlockingClient, payload: Any) -> Generator[Any, None, None]:
        try:
            asked = self._bus.request_stream(self._name, payload, **self._stream_options, **options)
            with contextlib.closing(asked):
                for part in asked:
                    yield unpack(part)
        except _OTHERS as error:
            raise self._told(error, complaint) from None

    def call(self: BlockingClient, *args: Any, **kwargs: Any) -> Any:
        found = parts(self, question(bind(*args, **kwargs)))
        if self._opened is not None:
            self._opened.add(found)
        return found

    return call
