"""Serving a contract: calls that arrive become calls of the object's methods, and what these give or raise
becomes the answer.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from busway.adapters.threads import Bus
from busway.classes import Mismatch
from busway.errors import RemoteError
from busway.services.contracts import DESCRIBE, Method, Outline, signal_target
from busway.services.faults import DECLARED, MISFIT, NO_METHOD, ServiceError
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
        self.title = f"{name} version {version}"
        check_implements(obj, outline, blocking=isinstance(bus, Bus))
        self._calls = {each.name: (each, getattr(obj, each.name)) for each in outline.methods.values()}
        for signal, shape in outline.signals.items():
            where = signal_target(name, signal)
            _attach(obj, signal, Published(bus, f"{name}/{signal}", where, realm, shape))

    def answer(self, request: Request[Any]) -> Any:
        """The answer to a call, or what gives it."""
        name, given = self._call_in(request.payload)
        found = self._calls.get(name)
        if found is None:
            if name == DESCRIBE:
                return self.describe()
            raise RemoteError(NO_METHOD, f"{self.title} has no method {name!r}")
        method, function = found
        arguments = self._arguments(method, given)
        try:
            result = function(**arguments)
        except ServiceError as error:
            raise self._declared(error) from error
        if inspect.iscoroutine(result) or inspect.isawaitable(result):
            return self._awaited(method, result)
        if method.is_stream:
            return self._parts(method, result) if hasattr(result, "__anext__") else self._each(method, result)
        return method.value.pack_one(result)

    def describe(self) -> dict[str, Any]:
        """The contract in plain values."""
        return {"service": str(self.name), "version": self.version}

    def _call_in(self, payload: Any) -> tuple[str, Any]:
        if type(payload) is list and payload and type(payload[0]) is str and len(payload) <= 2:
            return payload[0], payload[1] if len(payload) == 2 else {}
        raise RemoteError(
            MISFIT, f"a call of {self.title} is a list of a method's name and a map of its arguments"
        )

    def _arguments(self, method: Method, given: Any) -> dict[str, Any]:
        shape = method.arguments
        if not isinstance(given, dict):
            raise RemoteError(MISFIT, f"{method.name} of {self.title} takes a map of arguments")
        if not shape.names.issuperset(given):
            unknown = ", ".join(repr(name) for name in given if name not in shape.names)
            raise RemoteError(MISFIT, f"{method.name} of {self.title} has no argument {unknown}")
        try:
            return shape.unpack(given)
        except Mismatch as mismatch:
            text = f"{method.name} of {self.title}: {shape.complaint(mismatch)}"
            raise RemoteError(MISFIT, text) from None

    async def _awaited(self, method: Method, result: Any) -> Any:
        try:
            value = await result
        except ServiceError as error:
            raise self._declared(error) from error
        return method.value.pack_one(value)

    async def _parts(self, method: Method, parts: Any) -> AsyncIterator[Any]:
        pack = method.value.pack_one
        try:
            async with contextlib.aclosing(parts):
                async for part in parts:
                    yield pack(part)
        except ServiceError as error:
            raise self._declared(error) from error

    def _each(self, method: Method, parts: Any) -> Iterator[Any]:
        pack = method.value.pack_one
        try:
            with contextlib.closing(parts):
                for part in parts:
                    yield pack(part)
        except ServiceError as error:
            raise self._declared(error) from error

    def _declared(self, error: ServiceError) -> RemoteError:
        """A declared error as it travels; one that the contract does not name is like any other."""
        for fault in self.outline.faults.values():
            if fault.cls is type(error):
                return RemoteError(DECLARED, fault.text(error))
        return RemoteError(64, str(error))


def _attach(obj: Any, name: str, signal: Published[Any]) -> None:
    try:
        setattr(obj, name, signal)
    except AttributeError:
        raise TypeError(
            f"{type(obj).__qualname__}.{name}: the signal cannot be put there; give __slots__ that name"
        ) from None


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
