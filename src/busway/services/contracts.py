"""Contracts: what a class that is declared as a service says of its methods, signals and errors."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import threading
import typing
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

from busway.classes import label_of
from busway.names import check_name, endpoint_id, endpoint_name
from busway.services.attaching import Attaching, value_of
from busway.services.faults import Fault, ServiceError
from busway.services.signals import Signal
from busway.services.values import Shape, Single

if TYPE_CHECKING:
    import uuid
    from types import TracebackType
    from typing import Unpack

    from busway.adapters.typed import StreamOptions

C = TypeVar("C", bound=type)

DESCRIBE = "busway.describe"
"""The method that every service has: it gives the contract in plain values."""
HOOKS = frozenset({"on_start", "on_run", "on_stop"})
"""Methods that whoever hosts the object calls, and no client."""
HOOK_MARK = "__busway_hook__"
"""An attribute of functions that are no methods of a contract: who hosts the object calls them."""

_STREAMS = {
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
    collections.abc.Iterator,
    collections.abc.Generator,
}
_DECLARED = "__busway_service__"


class Contract(Protocol):
    """A base for contracts that lets type checkers see what every client has besides the contract's own
    methods: `pump.using(timeout=2.0)`, and `async with` or `with`. It does nothing else, and a class need not
    have it to be a contract.
    """

    def using(self, **options: Unpack[StreamOptions]) -> Self:
        """A client of the same service whose calls have these options, which are those of `request` and
        `request_stream`: `timeout`, `ttl`, `node`, `priority` and so on.
        """
        raise _no_client(self)

    async def __aenter__(self) -> Self:
        raise _no_client(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise _no_client(self)

    def __enter__(self) -> Self:
        raise _no_client(self)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise _no_client(self)


def _no_client(found: object) -> TypeError:
    return TypeError(f"this {type(found).__qualname__} is no client: `bus.client` makes one")


def service(name: str | uuid.UUID, *, version: int = 1) -> Callable[[C], C]:
    """Declares a class as a service: its public methods are what clients may call, its annotations
    `busway.Signal[...]` what the server publishes, the nested subclasses of `busway.ServiceError` the errors
    that arrive as themselves. The class may be the server as well, or its base, or only say what there is.

    Args:
        name: the endpoint at which it is hosted unless another is given there, or its UUID.
        version: a whole number, at least 1, that goes up whenever the contract changes; errors that come of
            different versions name both.

    Returns:
        The class itself.

    Raises:
        ValueError: an improper name or version, or one that leaves no room for those of the signals.
        TypeError: no class, nothing in it to call, or an annotation that cannot be checked on arrival.
    """
    if isinstance(cast(Any, name), type):
        raise TypeError(
            'service takes a name first: write @busway.service("lab/it", version=1) above the class'
        )
    check_service_name(name)
    if not isinstance(version, int) or isinstance(version, bool):
        raise TypeError(f"version must be a whole number (int), not {version!r}")
    if version < 1:
        raise ValueError(f"version must be at least 1, not {version}")

    def declare(cls: C) -> C:
        if not isinstance(cls, type):
            raise TypeError(f"service declares a class, got {type(cls).__name__}")
        outline = Outline(cls, name, version)
        setattr(cls, _DECLARED, outline)
        try:
            outline.resolve()
        except NameError:
            pass  # an annotation refers forward: it is looked at when the class is used
        return cls

    return declare


def check_service_name(name: Any) -> None:
    """Raises ValueError, TypeError for what is no name or UUID of one endpoint."""
    endpoint_id(name)
    text = endpoint_name(name)
    if text:
        check_name(text, "a service's name")
        if "*" in text:
            raise ValueError(f"a service's name stands for one endpoint, not for several: {text!r}")


class Method:
    """A method of a contract."""

    def __init__(self, name: str, function: Any, hints: dict[str, Any], label: str) -> None:
        self.name = name
        self.function = function
        self.doc = inspect.getdoc(function) or ""
        own = list(inspect.signature(function).parameters.values())[1:]
        for each in own:
            if each.kind not in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
                raise TypeError(
                    f"{label}.{name}: arguments travel by name, so there is no place for {str(each)!r}"
                )
        self.positional = tuple(each.name for each in own if each.kind is each.POSITIONAL_OR_KEYWORD)
        self.parameters = own
        self.hints = {each.name: hints.get(each.name, Any) for each in own}
        self.is_stream, result = _result_of(function, hints.get("return", Any))
        gives, self.result = value_of(result)
        carrying = self._carrying(label)
        self.attaching = Attaching(self, carrying, gives) if carrying or gives else None
        self.arguments = _named(
            f"{label}.{name}",
            lambda: Shape(name, [(each.name, self.hints[each.name], _default(each)) for each in own]),
        )
        self.value = _named(f"{label}.{name}", lambda: Single(f"the result of {name}", self.result))
        self.pack = self.value.pack if self.attaching is None else self.attaching.pack
        self.bind = _binder(name, own)

    def question(self, arguments: dict[str, Any]) -> list[Any]:
        """The payload of a call with those arguments. Raises TypeError for one that does not fit."""
        return [self.name, self.arguments.pack(arguments)]

    def _carrying(self, label: str) -> str:
        """The name of the argument that brings files and regions, "" if none does; its hint is that of its
        value from now on. Raises TypeError.
        """
        found = [each for each in self.parameters if value_of(self.hints[each.name])[0]]
        if len(found) > 1:
            names = " and ".join(each.name for each in found)
            raise TypeError(f"{label}.{self.name}: one argument brings files, so not both {names}")
        for each in found:
            if _may_lack(each):
                raise TypeError(
                    f"{label}.{self.name}: {each.name} brings files, so it has no default: who has none gives"
                    " busway.Attached(value)"
                )
            self.hints[each.name] = value_of(self.hints[each.name])[1]
        return "".join(each.name for each in found)


def _binder(name: str, parameters: list[inspect.Parameter]) -> Callable[..., dict[str, Any]]:
    """A function of those parameters that returns the arguments by name, those that were given. Written as a
    function, for nothing else is as quick, and says what is wrong as Python does.
    """
    given, absent = (
        f"{word}{'_' * _longest(parameters)}" for word in ("given", "absent")
    )  # names of no other
    own = [each.replace(annotation=each.empty) for each in parameters]
    head = [each.replace(default=_Written(absent)) if _may_lack(each) else each for each in own]
    needed = ", ".join(f"{each.name!r}: {each.name}" for each in own if not _may_lack(each))
    title = name.rpartition(".")[2]
    lines = [f"def {title}{inspect.Signature(head)}:", f"    {given} = {{{needed}}}"]
    for each in own:
        if _may_lack(each):
            lines += [f"    if {each.name} is not {absent}:", f"        {given}[{each.name!r}] = {each.name}"]
    known: dict[str, Any] = {absent: object()}
    exec("\n".join([*lines, f"    return {given}"]), known)
    found: Callable[..., dict[str, Any]] = known[title]
    return found


class _Written(str):
    """A default as it stands in the text of a function."""

    __slots__ = ()

    __repr__ = str.__str__


def _longest(parameters: list[inspect.Parameter]) -> int:
    return max((len(each.name) for each in parameters), default=0)


def _may_lack(parameter: inspect.Parameter) -> bool:
    return parameter.default is not parameter.empty


Made = TypeVar("Made")


def _named(label: str, make: Callable[[], Made]) -> Made:
    """The thing that `make` makes; errors of annotations begin with the label."""
    try:
        return make()
    except TypeError as error:
        raise TypeError(f"{label}: {error}") from None


def _default(parameter: inspect.Parameter) -> Callable[[], Any] | None:
    return None if parameter.default is parameter.empty else lambda: parameter.default


def _result_of(function: Any, annotation: Any) -> tuple[bool, Any]:
    """Whether a method answers in parts, and the annotation of its result or of a part."""
    origin = typing.get_origin(annotation) or annotation
    if origin in _STREAMS:
        return True, (typing.get_args(annotation) or (Any,))[0]
    return inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function), annotation


class Outline:
    """The contract that a class declares. Hangs on it as `__busway_service__`."""

    def __init__(self, cls: type, name: Any, version: int) -> None:
        self.cls = cls
        self.name = name
        self.version = version
        self.label = cls.__qualname__
        self.doc = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
        self.methods: dict[str, Method] = {}
        self.signals: dict[str, Single] = {}
        self.faults: dict[str, Fault] = {}
        self.clients: dict[bool, type] = {}  # that were made of it, by whether they block
        self._resolved = False
        self._lock = threading.Lock()

    def resolve(self) -> None:
        """Looks at the annotations, once. Raises NameError while one refers forward, TypeError for one that
        cannot be checked on arrival, or where there is nothing to call.
        """
        with self._lock:
            if self._resolved:
                return
            signals = dict(self._signals())
            for name in signals:
                signal_target(self.name, name)
            self.signals = signals
            self.faults = {name: Fault(name, error, self._hints) for name, error in self._errors()}
            self.methods = {name: self._method(name, function) for name, function in self._functions()}
            if not self.methods and not self.signals:
                raise TypeError(f"{self.label} has no public method to call, and no signal")
            for name in signals:
                if not isinstance(getattr(self.cls, name, None), Signal):
                    setattr(self.cls, name, Signal())
            self._resolved = True

    def _functions(self) -> Iterator[tuple[str, Any]]:
        found: dict[str, Any] = {}
        for cls in reversed(self.cls.__mro__):
            if cls in (object, Contract, Protocol, typing.Generic):
                continue
            for name, value in vars(cls).items():
                found.pop(name, None)
                is_ours = not name.startswith("_") and name not in HOOKS and not hasattr(value, HOOK_MARK)
                if is_ours and inspect.isfunction(value):
                    found[name] = value
        yield from found.items()

    def _method(self, name: str, function: Any) -> Method:
        return Method(name, function, self._hints(function), self.label)

    def _signals(self) -> Iterator[tuple[str, Single]]:
        for cls in reversed(self.cls.__mro__):
            hints: dict[str, Any] = _typed_signals(cls)
            for name, hint in inspect.get_annotations(cls).items():
                if not isinstance(hint, str):
                    hints[name] = hint
                elif "Signal" in hint:  # what else the class mentions need not be known at run time
                    hints[name] = self._hints(_annotated(cls, name, hint))[name]
            for name, hint in hints.items():
                origin: Any = typing.get_origin(hint)
                if origin is Signal:
                    (kind,) = typing.get_args(hint)
                    make = functools.partial(Single, name, kind)
                    yield name, _named(f"{self.label}.{name}", make)

    def _errors(self) -> Iterator[tuple[str, type[ServiceError]]]:
        for cls in reversed(self.cls.__mro__):
            for name, value in vars(cls).items():
                if isinstance(value, type) and issubclass(value, ServiceError):
                    yield name, value

    def _hints(self, found: Any) -> dict[str, Any]:
        names: dict[str, Any] = {}
        for cls in reversed(self.cls.__mro__):
            names |= {name: value for name, value in vars(cls).items() if isinstance(value, type)}
        names[self.cls.__name__] = self.cls
        return typing.get_type_hints(found, localns=names, include_extras=True)


def _typed_signals(cls: type) -> dict[str, Any]:
    """The types of what stands in a class as `Signal[T]()`."""
    signals = {name: value for name, value in vars(cls).items() if isinstance(value, Signal)}
    return {name: value.__orig_class__ for name, value in signals.items() if hasattr(value, "__orig_class__")}


def _annotated(cls: type, name: str, hint: str) -> type:
    """A class with that annotation alone, in the module of the other."""
    return type("Annotated", (), {"__module__": cls.__module__, "__annotations__": {name: hint}})


def signal_target(name: Any, signal: str) -> Any:
    """The endpoint of a signal of a service of that name or UUID. Raises ValueError for too long a name."""
    text = endpoint_name(name)
    if text:
        return check_name(f"{text}/{signal}", "the name of a signal, behind that of its service,")
    import uuid

    return uuid.uuid5(uuid.UUID(bytes=endpoint_id(name)), signal)


def outline_of(cls: Any) -> Outline | None:
    """The contract that a class, or one above it, declares; None if there is none. Raises TypeError for one
    whose annotations cannot be resolved.
    """
    found: Outline | None = getattr(cls, _DECLARED, None)
    if found is None:
        return None
    try:
        found.resolve()
    except NameError as error:
        raise TypeError(
            f"an annotation of {found.label} cannot be resolved: {error}; define what it mentions at the top"
            " level of the module"
        ) from error
    return found


def needed_outline(cls: Any) -> Outline:
    """The contract of a class. Raises TypeError if it is none."""
    found = outline_of(cls) if isinstance(cls, type) else None
    if found is None:
        label = label_of(cls) if isinstance(cls, type) else repr(cls)
        raise TypeError(f'{label} is no service: put @busway.service("lab/it", version=1) above the class')
    return found
