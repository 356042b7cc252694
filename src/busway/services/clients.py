"""Clients of services: objects whose methods are the contract's, and call the server. One class of them for
asyncio and one for threads is made of each contract.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, Self, TypeVar

from busway.adapters.threads import Bus
from busway.classes import Mismatch
from busway.errors import BusError, PayloadError, RemoteError
from busway.services.contracts import DESCRIBE, Method, Outline, needed_outline, signal_target
from busway.services.faults import DECLARED, MISFIT, NO_METHOD, ContractError, parted
from busway.services.signals import Subscribed

if TYPE_CHECKING:
    from typing import Unpack

    from busway.adapters.typed import StreamOptions

T = TypeVar("T")

_STREAM_ONLY = ("window",)
_OPTIONS = frozenset({"timeout", "ttl", "node", "priority", "sealed", "others_only", "window"})
_ASK_S = 2.0  # for the server's version, once something did not fit


def client(bus: Any, contract: Any, name: Any, realm: str) -> Any:
    """A client; `AsyncBus.client` and `Bus.client` say what is what."""
    outline = needed_outline(contract)
    blocking = isinstance(bus, Bus)
    made = outline.clients.get(blocking)
    if made is None:
        made = outline.clients[blocking] = _class_of(outline, BlockingClient if blocking else AsyncClient)
    return made(bus, outline.name if name is None else name, realm, {})


def using(client: T, **options: Unpack[StreamOptions]) -> T:
    """A client of the same service whose calls have these options: `pump.using(...)` for type checkers, where
    the contract is not derived from `busway.Contract`, or has a method of that name.

    Raises TypeError for what is no client, or no option of `request` or `request_stream`.
    """
    if not isinstance(client, BaseClient):
        raise TypeError(f"using takes a client, as bus.client makes it, not {client!r}")
    return client._using(options)


class BaseClient:
    """What clients for asyncio and for threads have alike."""

    __slots__ = ("__dict__", "_bus", "_name", "_options", "_realm", "_stream_options", "_where")

    _outline: Outline

    def __init__(self, bus: Any, name: Any, realm: str, options: dict[str, Any]) -> None:
        self._bus = bus
        self._name = self._where = name
        self._realm = realm
        self._stream_options = options
        self._options = {key: value for key, value in options.items() if key not in _STREAM_ONLY}
        for signal, shape in self._outline.signals.items():
            where = signal_target(name, signal)
            self.__dict__[signal] = Subscribed(bus, f"{name}/{signal}", where, realm, shape)

    def __repr__(self) -> str:
        return f"<client of {self._name}, {self._outline.label} version {self._outline.version}>"

    def _using(self, options: Any) -> Self:
        unknown = options.keys() - _OPTIONS
        if unknown:
            raise TypeError(f"using takes {', '.join(sorted(_OPTIONS))}, not {', '.join(sorted(unknown))}")
        return type(self)(self._bus, self._name, self._realm, {**self._stream_options, **options})

    def _asking(self) -> dict[str, Any]:
        """Options of asking for the server's version."""
        return {**self._options, "timeout": _ASK_S}

    def _failure(self, method: Method, error: RemoteError) -> BusError:
        """The exception for what the server answered instead."""
        if error.code == DECLARED:
            with contextlib.suppress(ValueError, Mismatch):
                name, fields = parted(error.message)
                fault = self._outline.faults.get(name)
                if fault is not None:
                    return fault.revive(fields)
        return error


class AsyncClient(BaseClient):
    """The base of clients for asyncio."""

    __slots__ = ()

    async def _mismatch(self, text: str) -> ContractError:
        theirs = None
        with contextlib.suppress(BusError, TypeError, KeyError):
            told = await self._bus.request(
                self._where, [DESCRIBE, {}], **{**self._options, "timeout": _ASK_S}
            )
            theirs = told["version"]
        return ContractError(text, str(self._name), self._outline.version, theirs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class BlockingClient(BaseClient):
    """The base of clients for threads."""

    __slots__ = ()

    def _mismatch(self, text: str) -> ContractError:
        theirs = None
        with contextlib.suppress(BusError, TypeError, KeyError):
            told = self._bus.request(self._where, [DESCRIBE, {}], **self._asking())
            theirs = told["version"]
        return ContractError(text, str(self._name), self._outline.version, theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _class_of(outline: Outline, base: type[BaseClient]) -> type:
    """The class of the clients of a contract."""
    body: dict[str, Any] = {"__slots__": (), "__doc__": outline.doc, "_outline": outline}
    for name, method in outline.methods.items():
        if base is AsyncClient:
            call = _async_stream(method) if method.is_stream else _async_call(method)
        else:
            call = _blocking_stream(method) if method.is_stream else _blocking_call(method)
        body[name] = functools.wraps(method.function)(call)
    for name in outline.faults:
        body[name] = outline.faults[name].cls
    if "using" not in body:
        body["using"] = lambda self, **options: self._using(options)
    return type(f"{outline.cls.__name__}Client", (base,), body)


def _words(method: Method) -> tuple[Any, ...]:
    """The words of a call that every one of it has."""
    value = method.value
    return method.name, method.bind, method.arguments.pack, value.reply, value.unpack


def _async_call(method: Method) -> Callable[..., Any]:
    name, bind, pack, reply, unpack = _words(method)

    async def call(self: AsyncClient, *args: Any, **kwargs: Any) -> Any:
        payload = [name, pack(bind(*args, **kwargs))]
        try:
            value = await self._bus.request(self._where, payload, reply=reply, **self._options)
            return unpack(value)
        except RemoteError as error:
            if error.code == NO_METHOD or error.code == MISFIT:
                raise await self._mismatch(error.message) from None
            raise self._failure(method, error) from None
        except PayloadError as error:
            raise await self._mismatch(error.reason) from None
        except Mismatch as mismatch:
            raise await self._mismatch(method.value.complaint(mismatch)) from None

    return call


def _async_stream(method: Method) -> Callable[..., Any]:
    name, bind, pack, reply, unpack = _words(method)

    async def parts(self: AsyncClient, payload: Any) -> AsyncGenerator[Any, None]:
        try:
            asked = self._bus.request_stream(self._where, payload, reply=reply, **self._stream_options)
            async with contextlib.aclosing(asked):
                async for part in asked:
                    yield unpack(part)
        except RemoteError as error:
            if error.code == NO_METHOD or error.code == MISFIT:
                raise await self._mismatch(error.message) from None
            raise self._failure(method, error) from None
        except PayloadError as error:
            raise await self._mismatch(error.reason) from None
        except Mismatch as mismatch:
            raise await self._mismatch(method.value.complaint(mismatch)) from None

    def call(self: AsyncClient, *args: Any, **kwargs: Any) -> Any:
        return parts(self, [name, pack(bind(*args, **kwargs))])

    return call


def _blocking_call(method: Method) -> Callable[..., Any]:
    name, bind, pack, reply, unpack = _words(method)

    def call(self: BlockingClient, *args: Any, **kwargs: Any) -> Any:
        payload = [name, pack(bind(*args, **kwargs))]
        try:
            return unpack(self._bus.request(self._where, payload, reply=reply, **self._options))
        except RemoteError as error:
            if error.code == NO_METHOD or error.code == MISFIT:
                raise self._mismatch(error.message) from None
            raise self._failure(method, error) from None
        except PayloadError as error:
            raise self._mismatch(error.reason) from None
        except Mismatch as mismatch:
            raise self._mismatch(method.value.complaint(mismatch)) from None

    return call


def _blocking_stream(method: Method) -> Callable[..., Any]:
    name, bind, pack, reply, unpack = _words(method)

    def parts(self: BlockingClient, payload: Any) -> Generator[Any, None, None]:
        try:
            asked = self._bus.request_stream(self._where, payload, reply=reply, **self._stream_options)
            with contextlib.closing(asked):
                for part in asked:
                    yield unpack(part)
        except RemoteError as error:
            if error.code == NO_METHOD or error.code == MISFIT:
                raise self._mismatch(error.message) from None
            raise self._failure(method, error) from None
        except PayloadError as error:
            raise self._mismatch(error.reason) from None
        except Mismatch as mismatch:
            raise self._mismatch(method.value.complaint(mismatch)) from None

    def call(self: BlockingClient, *args: Any, **kwargs: Any) -> Any:
        return parts(self, [name, pack(bind(*args, **kwargs))])

    return call
