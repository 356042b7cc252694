"""Schemas of a description (schemas.py) as Python writes them: annotations and values.

A description comes from another program: whatever should be a name and is none is refused, and all else
stands in the text as a literal.
"""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Mapping
from typing import Any, NoReturn

_BASES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
BUILTINS = {*_BASES.values(), "bytes", "complex", "list", "tuple", "set", "frozenset", "dict"}
_KNOWN = {
    *("bytes", "complex", "datetime.datetime", "datetime.date", "datetime.timedelta"),
    *("uuid.UUID", "decimal.Decimal", "fractions.Fraction"),
    *(f"ipaddress.IPv{version}{kind}" for version in (4, 6) for kind in ("Address", "Network", "Interface")),
}
_ARRAYS = ("array.array", "numpy.ndarray")  # nobody else has to have what they come from

_STEPS_MAX = 100_000  # of writing the defaults of one description: unions in records could take for ever


class StubError(ValueError):
    """A description that is none, or has something that has no place in a program; the sentence says why."""


class Unwritten(Exception):
    """A value that cannot be written."""


class Wording:
    """The words for the types of a description; `classes` has the names of those in its `types`."""

    def __init__(self, types: Mapping[str, Any], classes: Mapping[str, str]) -> None:
        self._types = types
        self._classes = classes
        self._steps = 0

    def arguments(self, method: Mapping[str, Any]) -> list[str]:
        """The arguments of a method as they stand in its parentheses."""
        words: list[str] = []
        are_keywords = False
        for each in method["arguments"]:
            if each["keyword"] and not are_keywords:
                are_keywords = True
                words.append("*")
            word = f"{name_in(each['name'])}: {self.annotation(each['schema'])}"
            words.append(word if each["required"] else f"{word} = {self.default(each['schema'])}")
        return words

    def default(self, schema: Mapping[str, Any]) -> str:
        """The default of an argument, for readers: who leaves it out sends none."""
        try:
            return self.value(schema, schema["default"])
        except (Unwritten, KeyError):
            return "cast(Any, ...)"

    def annotation(self, schema: Mapping[str, Any]) -> str:
        """The annotation of a schema."""
        if schema.get("x-attached"):
            return f"busway.Attached[{self.annotation({**schema, 'x-attached': False})}]"
        if "$ref" in schema:
            return self._classes[schema["$ref"].removeprefix("#/types/")]
        if "anyOf" in schema:
            return " | ".join(dict.fromkeys(self.annotation(member) for member in schema["anyOf"]))
        if "enum" in schema:
            return f"Literal[{', '.join(map(literal, schema['enum']))}]"
        hint = schema.get("x-python", "")
        if schema.get("type") == "array" and hint in ("", "tuple", "set", "frozenset"):
            return self._several(schema, hint or "list")
        if schema.get("type") == "object":
            return self._map(schema)
        if hint:
            if hint not in _KNOWN and hint not in _ARRAYS:
                raise StubError(f"{hint!r} is no type that a service may have")
            return "Any" if hint in _ARRAYS else str(hint)
        return _BASES[schema["type"]] if "type" in schema else "Any"

    def _several(self, schema: Mapping[str, Any], kind: str) -> str:
        if "prefixItems" in schema:
            return f"tuple[{', '.join(map(self.annotation, schema['prefixItems']))}]"
        if schema.get("maxItems") == 0:
            return "tuple[()]"
        member = self.annotation(schema.get("items", {}))
        return f"tuple[{member}, ...]" if kind == "tuple" else f"{kind}[{member}]"

    def _map(self, schema: Mapping[str, Any]) -> str:
        key = self.annotation(schema["x-keys"]) if "x-keys" in schema else "str"
        if "additionalProperties" not in schema:
            return "dict[Any, Any]"
        return f"dict[{key}, {self.annotation(schema['additionalProperties'])}]"

    def value(self, schema: Mapping[str, Any], value: Any) -> str:
        """A plain value as the schema's type has it. Raises Unwritten, StubError if it takes too long."""
        self._steps += 1 + len(schema.get("enum", ()))
        if self._steps > _STEPS_MAX:
            raise StubError("the defaults in it are too many, or take too long to write")
        if "$ref" in schema:
            return self._instance(schema["$ref"].removeprefix("#/types/"), value)
        if "anyOf" in schema:
            return self._first(schema["anyOf"], value)
        if "enum" in schema:
            return literal(value) if value in schema["enum"] else _unwritten(value)
        hint = schema.get("x-python", "")
        if schema.get("type") == "array" and hint in ("", "tuple", "set", "frozenset"):
            return self._members(schema, hint, value)
        if schema.get("type") == "object":
            return self._pairs(schema, value)
        if hint:
            return _other(hint, value)
        kinds = _KINDS[schema["type"]] if "type" in schema else _LITERALS
        return literal(value) if type(value) in kinds else _unwritten(value)

    def _first(self, schemas: list[Any], value: Any) -> str:
        for schema in schemas:
            try:
                return self.value(schema, value)
            except Unwritten:
                continue
        return _unwritten(value)

    def _instance(self, name: str, value: Any) -> str:
        schema, title = self._types[name], self._classes[name]
        if "x-names" in schema:
            return f"{title}({literal(value)})" if _is_member(schema, value) else _unwritten(value)
        if not isinstance(value, Mapping):
            return _unwritten(value)
        words = [f"{name_in(key)}={self.value(schema['properties'][key], of)}" for key, of in value.items()]
        return f"{title}({', '.join(words)})"

    def _members(self, schema: Mapping[str, Any], hint: str, value: Any) -> str:
        if not isinstance(value, (list, tuple, set, frozenset)):
            return _unwritten(value)
        of = schema.get("prefixItems") or [schema.get("items", {})] * len(value)
        text = ", ".join(self.value(each, member) for each, member in zip(of, value, strict=False))
        if hint == "tuple":
            return f"({text},)" if len(value) == 1 else f"({text})"
        if hint:
            return f"{hint}([{text}])" if text else f"{hint}()"
        return f"[{text}]"

    def _pairs(self, schema: Mapping[str, Any], value: Any) -> str:
        if not isinstance(value, Mapping):
            return _unwritten(value)
        keys, of = schema.get("x-keys", {}), schema.get("additionalProperties", {})
        pairs = [f"{self.value(keys, key)}: {self.value(of, each)}" for key, each in value.items()]
        return f"{{{', '.join(pairs)}}}"


_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (float, int),
    "boolean": (bool,),
    "null": (type(None),),
}
_LITERALS = (str, int, float, bool, bytes, type(None))


def _is_member(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether an enum has that value, or a flag may have it, and it can be written."""
    if "enum" not in schema:
        return type(value) is int
    same = (type(each) is type(value) and each == value for each in schema["enum"])
    return type(value) in _LITERALS and any(same)


def _unwritten(value: Any) -> NoReturn:
    raise Unwritten(repr(value))


def _other(hint: str, value: Any) -> str:
    """A value of a type that JSON has not."""
    if hint == "bytes" and type(value) is bytes:
        return literal(value)
    kind = type(value)
    if hint != f"{kind.__module__}.{kind.__qualname__}":
        return _unwritten(value)
    if hint == "datetime.timedelta":
        return f"datetime.timedelta({value.days}, {value.seconds}, {value.microseconds})"
    if hint in ("datetime.datetime", "datetime.date"):
        return f"{hint}.fromisoformat({literal(value.isoformat())})"
    if hint in _KNOWN:
        return f"{hint}({literal(str(value))})"
    return _unwritten(value)


def name_in(text: Any) -> str:
    """A text that may be a name in a program. Raises StubError for any other, also for one that Python takes
    for another name, which may be that of something else.
    """
    is_name = isinstance(text, str) and text.isidentifier() and not keyword.iskeyword(text)
    found = unicodedata.normalize("NFKC", text) if is_name else ""
    if not is_name or found != text:
        raise StubError(f"{text!r} cannot be a name in a program")
    return found


def literal(value: Any) -> str:
    """A number, text or bytes as a program has it."""
    text = ascii(value)
    if text in ("nan", "inf", "-inf"):
        return f'float("{text}")'
    head, quote, rest = text.partition("'")
    is_quoted = head in ("", "b") and quote and '"' not in text
    return f'{head}"{rest[:-1]}"' if is_quoted else text
