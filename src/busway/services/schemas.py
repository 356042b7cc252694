"""JSON Schemas of annotations, as a description of a service has them: of draft 2020-12, with references to
"#/types/NAME", and `x-python` where JSON has no such type. Knows annotations, and no bus.
"""

from __future__ import annotations

import array
import collections.abc
import contextlib
import dataclasses
import datetime
import decimal
import enum
import functools
import inspect
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any

from busway.classes import aliased, field_names, is_ndarray, is_own_dataclass, is_struct
from busway.messages import declaration_of
from busway.names import uuid_text
from busway.payloads import plain
from busway.services.values import default_of

Schema = dict[str, Any]

_STRING = {"type": "string"}
_PLAIN: dict[Any, Schema] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: _STRING,
    bool: {"type": "boolean"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    Any: {},
    object: {},
    bytes: {**_STRING, "contentEncoding": "base16", "x-python": "bytes"},
    complex: {"x-python": "complex"},
    array.array: {"type": "array", "items": {"type": "number"}, "x-python": "array.array"},
    datetime.datetime: {**_STRING, "format": "date-time", "x-python": "datetime.datetime"},
    datetime.date: {**_STRING, "format": "date", "x-python": "datetime.date"},
    datetime.timedelta: {"x-python": "datetime.timedelta"},
    uuid.UUID: {**_STRING, "format": "uuid", "x-python": "uuid.UUID"},
    decimal.Decimal: {**_STRING, "x-python": "decimal.Decimal"},
}
_LISTS = (list, collections.abc.Sequence, collections.abc.MutableSequence)
_SETS = (set, frozenset, collections.abc.Set, collections.abc.MutableSet)
_MAPS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Schemas:
    """Schemas of annotations; `types` collects those of classes, by their names."""

    def __init__(self) -> None:
        self.types: dict[str, Schema] = {}
        self._names: dict[type, str] = {}

    def of(self, annotation: Any) -> Schema:
        """The schema of an annotation that can be checked on arrival (busway.convert)."""
        origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
        if origin in (typing.Annotated, typing.Final):
            return self.of((arguments or (Any,))[0])
        if origin is typing.Union or origin is types.UnionType:
            return {"anyOf": [self.of(member) for member in arguments]}
        if origin is typing.Literal:
            return {"enum": [plain(_value(member)) for member in arguments]}
        if origin is tuple:
            return self._tuple(annotation, arguments)
        if origin in _LISTS or origin in _SETS:
            return self._several(origin, arguments)
        if origin in _MAPS:
            return self._map(arguments)
        if is_ndarray(origin):
            return {"type": "array", "x-python": "numpy.ndarray"}
        inner = aliased(annotation)
        return self.of(inner) if inner is not None else self._single(annotation)

    def _single(self, annotation: Any) -> Schema:
        if isinstance(annotation, type):
            if issubclass(annotation, enum.Enum) or is_own_dataclass(annotation) or is_struct(annotation):
                return {"$ref": f"#/types/{self._name_of(annotation)}"}
            if annotation not in _PLAIN:
                return {**_STRING, "x-python": f"{annotation.__module__}.{annotation.__qualname__}"}
        return dict(_PLAIN[annotation])

    def _several(self, origin: Any, arguments: tuple[Any, ...]) -> Schema:
        found: Schema = {"type": "array"}
        if arguments:
            found["items"] = self.of(arguments[0])
        if origin in _SETS:
            found["uniqueItems"] = True
            found["x-python"] = "frozenset" if origin is frozenset else "set"
        return found

    def _tuple(self, annotation: Any, arguments: tuple[Any, ...]) -> Schema:
        found: Schema = {"type": "array", "x-python": "tuple"}
        if annotation is tuple:
            return found
        if len(arguments) == 2 and arguments[1] is ...:
            return {**found, "items": self.of(arguments[0])}
        members = [self.of(member) for member in arguments]
        size = {"minItems": len(members), "maxItems": len(members)}
        return {**found, "prefixItems": members, **size} if members else {**found, **size}

    def _map(self, arguments: tuple[Any, ...]) -> Schema:
        found: Schema = {"type": "object"}
        if arguments:
            found["additionalProperties"] = self.of(arguments[1])
            if arguments[0] is not str:
                found["x-keys"] = self.of(arguments[0])
        return found

    def _name_of(self, cls: type) -> str:
        """The name of a class in `types`, where it is put at the first time."""
        if cls in self._names:
            return self._names[cls]
        name, number = cls.__name__, 1
        while name in self.types:
            number += 1
            name = f"{cls.__name__}_{number}"
        self._names[cls] = name
        self.types[name] = {}  # its own fields may be of it
        self.types[name] = self._enum(cls) if issubclass(cls, enum.Enum) else self.record(cls)
        return name

    def _enum(self, cls: Any) -> Schema:
        members = [member.value for member in cls]
        found: Schema = {"x-names": [member.name for member in cls]}
        if issubclass(cls, enum.Flag):
            found |= {"type": "integer", "x-values": members, "x-python": "flag"}
        else:
            found["enum"] = members
        return _told(cls, found)

    def record(self, cls: Any) -> Schema:
        """The schema of a dataclass or Struct, itself."""
        hints = typing.get_type_hints(cls, localns={cls.__name__: cls}, include_extras=True)
        names = cls.__struct_fields__ if is_struct(cls) else field_names(cls)
        defaults = _struct_defaults(cls) if is_struct(cls) else _dataclass_defaults(cls)
        properties = {}
        for name in names:
            properties[name] = self.of(hints[name])
            if name in defaults:
                put_default(properties[name], defaults[name])
        required = [name for name in names if name not in defaults]
        found: Schema = {"type": "object", "properties": properties}
        declaration = declaration_of(cls)
        if declaration is not None:
            found["x-message"] = uuid_text(declaration.type_id)
        return _told(cls, {**found, "required": required} if required else found)


def put_default(schema: Schema, make: Callable[[], Any]) -> None:
    """Notes a default beside a schema, if it can travel."""
    with contextlib.suppress(Exception):  # what makes it is the program's own
        schema["default"] = plain([make()])[0]


def _dataclass_defaults(cls: Any) -> dict[str, Callable[[], Any]]:
    found = {each.name: default_of(each) for each in dataclasses.fields(cls)}
    return {name: make for name, make in found.items() if make is not None}


def _struct_defaults(cls: Any) -> dict[str, Callable[[], Any]]:
    import msgspec

    found: dict[str, Callable[[], Any]] = {}
    for each in msgspec.structs.fields(cls):
        if each.default is not msgspec.NODEFAULT:
            found[each.name] = functools.partial(_itself, each.default)
        elif each.default_factory is not msgspec.NODEFAULT:
            found[each.name] = each.default_factory
    return found


def _itself(value: Any) -> Any:
    return value


def _told(cls: type, schema: Schema) -> Schema:
    """With what people wrote above a class; not what a decorator did."""
    text = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    if text and not text.startswith(f"{cls.__name__}("):
        return {"description": text, **schema}
    return schema


def _value(member: Any) -> Any:
    return member.value if isinstance(member, enum.Enum) else member
