"""Errors of services: those that a contract declares, which arrive as themselves with their fields, and the
one that says that two versions of a contract do not fit.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, dataclass_transform

from busway.errors import BusError, RemoteError
from busway.messages import converter_of
from busway.names import ascii_safe
from busway.payloads import CBOR, decode, encode, plain
from busway.services.values import Shape, default_of

DECLARED = 0xFFFF0001
"""The code of an error that the contract declares; its text is its name and its fields as JSON."""
NO_METHOD = 0xFFFF0002
"""... of a call of a method that the server's contract has not."""
MISFIT = 0xFFFF0003
"""... of a call whose arguments do not fit the server's contract."""

_CBOR = "$cbor"  # what JSON does not carry stands as {"$cbor": base64}
_RESERVED = ("args", "code")


class _Message:
    """The sentence of a ServiceError, where it has no field of that name."""

    def __get__(self, error: Any, owner: type) -> Any:
        return self if error is None else _sentence(error)


@dataclass_transform(eq_default=False)
class ServiceError(RemoteError):
    """The base of errors that a contract declares: nested in its class, with annotated fields, as
    `class TooFast(busway.ServiceError): limit: int`. A subclass is a dataclass; what the server raises
    arrives at the caller as the same class with the same fields. Elsewhere it is a RemoteError.
    """

    code = DECLARED
    message = _Message()

    def __init_subclass__(cls, **words: Any) -> None:
        super().__init_subclass__(**words)
        dataclasses.dataclass(eq=False)(cls)
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            if field.name in _RESERVED:
                raise TypeError(
                    f"{cls.__qualname__}.{field.name}: an exception has an attribute of that name"
                )

    def __init__(self) -> None:
        pass

    def __str__(self) -> str:
        return ascii_safe(_sentence(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return _revived, (type(self), self.__dict__)


def _sentence(error: Any) -> str:
    shown = ", ".join(f"{field.name}={getattr(error, field.name)!r}" for field in _fields(type(error)))
    return f"{type(error).__qualname__}: {shown}" if shown else type(error).__qualname__


def _fields(cls: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()


def _revived(cls: type[ServiceError], state: dict[str, Any]) -> ServiceError:
    error = cls.__new__(cls)
    error.__dict__.update(state)
    return error


class ContractError(BusError):
    """A call does not fit the contract of the server: one of both sides has a version of it that lacks
    something, or wants more.

    Args:
        message: what does not fit.
        service: what the service is called.
        ours: the version that the client was written for.
        theirs: the server's version; None if it could not be told.
    """

    def __init__(self, message: str, service: str, ours: int, theirs: int | None) -> None:
        super().__init__(message, service, ours, theirs)
        self.message = message
        self.service = service
        self.ours = ours
        self.theirs = theirs

    def __str__(self) -> str:
        theirs = "of unknown version" if self.theirs is None else f"version {self.theirs}"
        return ascii_safe(
            f"{self.message}; the server of {self.service} is {theirs}, this client was written for version"
            f" {self.ours}"
        )


class Fault:
    """A declared error and how it travels."""

    def __init__(self, name: str, cls: type[ServiceError], hint: Callable[[Any], dict[str, Any]]) -> None:
        self.name = name
        self.cls = cls
        hints = hint(cls)
        fields = [(field.name, hints[field.name], default_of(field)) for field in _fields(cls)]
        self.shape = Shape(name, fields)
        self._converter = converter_of(cls)

    def text(self, error: RemoteError) -> str:
        """It as the text of an error. Raises TypeError for fields that do not fit."""
        packed = self.shape.pack({field.name: getattr(error, field.name) for field in _fields(self.cls)})
        return f"{self.name} {json.dumps(_jsonable(plain(packed)))}"

    def revive(self, fields: Any) -> ServiceError:
        """An instance of its fields, of which others are left out. Raises ValueError."""
        found: ServiceError = self._converter.convert(_from_json(fields))
        return found


def parted(text: str) -> tuple[str, Any]:
    """Name and fields in the text of a declared error. Raises ValueError."""
    name, _, fields = text.partition(" ")
    return name, json.loads(fields or "{}")


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [_jsonable(member) for member in value]
    if isinstance(value, Mapping) and all(type(key) is str for key in value) and _CBOR not in value:
        return {key: _jsonable(member) for key, member in value.items()}
    return {_CBOR: base64.b64encode(_cbor_of(value)).decode()}


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(member) for member in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {_CBOR}:
        return _of_cbor(base64.b64decode(value[_CBOR]))
    return {key: _from_json(member) for key, member in value.items()}


def _cbor_of(value: Any) -> bytes:
    return encode([value], b"")[0]


def _of_cbor(data: bytes) -> Any:
    return decode(data, CBOR, b"", b"", None)[0]
