"""Serving a contract: calls that arrive become calls of the object's methods, and what these give or raise
becomes the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NoReturn

from busway.adapters.threads import Bus
from busway.classes import Mismatch
from busway.errors import RemoteError
from busway.services import describing
from busway.services.contracts import DESCRIBE, Method, Outline, signal_target
from busway.services.faults import DECLARED, MISFIT, NO_METHOD
from busway.services.signals import Published

if TYPE_CHECKING:
    from busway.adapters.typed import Request


class Server:
    """An object that serves a contract on a bus: `answer` is the handler of its endpoint."""

    def __init__(self, bus: Any, obj: Any, outline: Outline, name: Any, version: int, realm: str) -> None:
        """Raises TypeError for an object that does not implement the contract."""
        self.outline = outline
        self.name = name
        self.version = version
        self.title = f"{describing.text_of(name)} version {version}"
        check_implements(obj, outline, blocking=isinstance(bus, Bus))
        self._calls: dict[str, tuple[Method, Any]] = {
            each.name: (each, getattr(obj, each.name)) for each in outline.methods.values()
        }
        hints = {"brief": bool, "return": dict[str, Any]}
        self._calls[DESCRIBE] = (Method(DESCRIBE, Server.describe, hints, outline.label), self.describe)
        self._has_coroutines = not isinstance(bus, Bus) and any(
            not _is_plain(function) for _, function in self._calls.values()
        )
        self._object = obj
        _check_free(obj, outline)
        for signal, shape in outline.signals.items():
            where = signal_target(name, signal)
            _attach(obj, signal, Published(bus, f"{describing.text_of(name)}/{signal}", where, realm, shape))

    def detach(self) -> None:
        """Takes the signals out of the object: it may be hosted elsewhere."""
        for signal in self.outline.signals:
            with contextlib.suppress(AttributeError):  # a second time
                delattr(self._object, signal)

    @property
    def handler(self) -> Callable[[Request[Any]], Any]:
        """The handler of the endpoint."""
        return self._answer_in_task if self._has_coroutines else self._answer

    async def _answer_in_task(self, request: Request[Any]) -> Any:
        """The answer to a call, of an object with coroutine functions."""
        method, function, arguments = self._call(request)
        try:
            result = function(**arguments)
            if type(result) is CoroutineType or inspect.isawaitable(result):
                result = await result
        except RemoteError as error:
            raise self._passed_on(error) from error
        return self._parts(method, result) if method.is_stream else method.pack(result)

    def _answer(self, request: Request[Any]) -> Any:
        """The answer to a call, of an object whose methods are plain functions."""
        method, function, arguments = self._call(request)
        try:
            result = function(**arguments)
        except RemoteError as error:
            raise self._passed_on(error) from error
        if type(result) is CoroutineType:
            return self._awaited(method, result)
        return self._each(method, result) if method.is_stream else method.pack(result)

    async def _awaited(self, method: Method, result: Any) -> Any:
        """The answer, of a plain function that has called a coroutine function."""
        try:
            value = await result
        except RemoteError as error:
            raise self._passed_on(error) from error
        return self._parts(method, value) if method.is_stream else method.pack(value)

    def _call(self, request: Request[Any]) -> tuple[Method, Any, dict[str, Any]]:
        """The method that is called, the function that is the object's, and its arguments."""
        payload = request.payload
        name, given = payload if type(payload) is list and len(payload) == 2 else (payload, {})
        if type(name) is not str or type(given) is not dict:
            text = f"a call of {self.title} is a list of a method's name and a map of its arguments"
            raise RemoteError(MISFIT, text)
        method, function = self._calls.get(name) or self._unknown(name)
        shape = method.arguments
        try:
            arguments = shape.unpack(given)
            if method.attaching is not None:
                method.attaching.take(request, arguments)
            return method, function, arguments
        except KeyError:
            others = itertools.islice((each for each in given if each not in shape.names), _FEW)
            unknown = ", ".join(map(_shortened, others))
            text = f"{name} of {self.title} has no argument {unknown}"
        except Mismatch as mismatch:
            text = f"{name} of {self.title}: {shape.complaint(mismatch)}"
        raise RemoteError(MISFIT, text)

    def describe(self, brief: bool = False) -> dict[str, Any]:
        """The contract in plain values; if `brief`, names alone."""
        make = describing.brief if brief else describing.describe
        return make(self.outline, self.name, self.version)

    def _unknown(self, name: Any) -> NoReturn:
        raise RemoteError(NO_METHOD, f"{self.title} has no method {_shortened(name)}")

    async def _parts(self, method: Method, parts: Any) -> AsyncIterator[Any]:
        if not hasattr(parts, "__aiter__"):
            parts = _taking_turns(parts)
        pack = method.pack
        try:
            async for part in parts:
                yield pack(part)
        except RemoteError as error:
            raise self._passed_on(error) from error
        finally:
            if hasattr(parts, "aclose"):
                await parts.aclose()

    def _each(self, method: Method, parts: Any) -> Iterator[Any]:
        pack = method.pack
        try:
            for part in parts:
                yield pack(part)
        except RemoteError as error:
            raise self._passed_on(error) from error
        finally:
            if hasattr(parts, "close"):
                parts.close()

    def _passed_on(self, error: RemoteError) -> RemoteError:
        """An error as it travels. One that another service has declared, or of a call of another that did not
        fit, says nothing of this one: the method has failed.
        """
        for fault in self.outline.faults.values():
            if fault.cls is type(error):
                return RemoteError(DECLARED, fault.text(error))
        if error.code in (DECLARED, NO_METHOD, MISFIT):
            return RemoteError(_FAILED, str(error))
        return RemoteError(error.code if error.code >= _OWN else _FAILED, error.message)


def _shortened(name: Any) -> str:
    """A name that a caller gave; it may be anything, and of any length."""
    text = repr(name[:_SHOWN_MAX] if isinstance(name, (str, bytes)) else name)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


_SHOWN_MAX = 64  # characters of a name that a caller gave
_FEW = 8  # of these in one sentence
_FAILED = 64  # the code of a handler that failed
_OWN = 256  # the first code that is the programs' own


async def _taking_turns(parts: Iterable[Any]) -> AsyncIterator[Any]:
    """The parts of a plain generator; others have their turn in between."""
    try:
        for part in parts:
            yield part
            await asyncio.sleep(0)
    finally:
        if isinstance(parts, Generator):
            parts.close()


def _is_plain(function: Any) -> bool:
    """Whether it is sure to give its result at once."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return False
    return inspect.isfunction(function) or inspect.ismethod(function)


def _check_free(obj: Any, outline: Outline) -> None:
    """Raises ValueError for an object that publishes signals elsewhere."""
    for signal in outline.signals:
        held = getattr(obj, signal, None)
        if isinstance(held, Published) and held.is_open:
            raise ValueError(f"this {type(obj).__qualname__} object is hosted already, as {held.service}")


def _attach(obj: Any, name: str, signal: Published[Any]) -> None:
    try:
        setattr(obj, name, signal)
    except AttributeError as error:  # its class has __slots__, or is frozen
        raise TypeError(f"{type(obj).__qualname__}.{name}: the signal cannot be put there: {error}") from None


def check_implements(obj: Any, outline: Outline, *, blocking: bool) -> None:
    """Raises TypeError that names all that the object lacks, or has otherwise."""
    wrong = [text for method in outline.methods.values() for text in _lacks(obj, method, blocking)]
    if wrong:
        raise TypeError(f"{type(obj).__qualname__} does not implement {outline.label}: {'; '.join(wrong)}")


def _lacks(obj: Any, method: Method, blocking: bool) -> Iterator[str]:
    function = getattr(obj, method.name, None)
    if function is None:
        yield f"it has no method {method.name}{_shown(method)}"
        return
    if not callable(function):
        yield f"{method.name} is no method"
        return
    if blocking and (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
        yield f"{method.name} is a coroutine function, and a Bus runs plain ones: use AsyncBus for it"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    own = signature.parameters
    if any(each.kind is each.VAR_KEYWORD for each in own.values()):
        return
    for each in method.parameters:
        has = own.get(each.name)
        if has is None or has.kind in (has.POSITIONAL_ONLY, has.VAR_POSITIONAL):
            yield f"{method.name} takes no argument {each.name!r}"
        elif has.default is has.empty and each.default is not each.empty:
            yield f"{method.name} needs the argument {each.name!r}, which callers may leave out"
    for name, each in own.items():
        is_needed = each.default is each.empty and each.kind is not each.VAR_POSITIONAL
        if is_needed and name not in method.hints:
            yield f"{method.name} needs an argument {name!r}, which the contract does not have"


def _shown(method: Method) -> str:
    return "(" + ", ".join(each.name for each in method.parameters) + ")"
