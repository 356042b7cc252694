"""Words of people as the values that the schemas of a description want: `rpm=300`, `when=2026-01-31`."""

from __future__ import annotations

import datetime
import decimal
import fractions
import ipaddress
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

Schema = Mapping[str, Any]
Types = Mapping[str, Any]


class Unfit(ValueError):
    """A word that the schema does not take; the sentence says what was expected."""


def parsed(word: str, schema: Schema, types: Types) -> Any:
    """The value that a word stands for: what it is in JSON; text where the schema wants that, or it is no
    JSON. Times are written in ISO 8601, bytes in hexadecimal, spans of time in seconds.

    Raises:
        Unfit: it is no value of a type that JSON has not.
    """
    try:
        value = json.loads(word)
    except ValueError:
        value = word
    for member in schema.get("anyOf", ()):
        if not _is_ref_or_hint(member) and _is_of(value, member):
            return fitted(value, member, types)
    for member in schema.get("anyOf", ()):
        try:
            return _read(word, value, member, types, strict=True)
        except Unfit:
            continue
    return _read(word, value, schema, types)


def _read(word: str, value: Any, schema: Schema, types: Types, *, strict: bool = False) -> Any:
    """A word that is that value in JSON."""
    if schema.get("x-python", "") in _SCALARS:
        return _scalar(value if isinstance(value, str) else word, schema["x-python"])
    if schema.get("type") == "string" and "enum" not in schema:
        return value if isinstance(value, str) else word
    return fitted(value, schema, types, strict=strict)


def _is_ref_or_hint(schema: Schema) -> bool:
    return "$ref" in schema or "x-python" in schema


def fitted(value: Any, schema: Schema, types: Types, *, strict: bool = False) -> Any:
    """A value of JSON as the schema wants it; what it does not want is left for the server to refuse, or with
    `strict` raised as Unfit.
    """
    if "$ref" in schema:
        return _of_class(value, types[schema["$ref"].removeprefix("#/types/")], types)
    if "anyOf" in schema:
        return _first(value, schema["anyOf"], types)
    hint = schema.get("x-python", "")
    if hint in _SCALARS:
        return _scalar(value, hint)
    if isinstance(value, list):
        return _members(value, schema, hint, types)
    if isinstance(value, dict) and schema.get("type") == "object":
        keys, of = schema.get("x-keys", {}), schema.get("additionalProperties", {})
        return {parsed(key, keys, types): fitted(member, of, types) for key, member in value.items()}
    if strict and not _is_of(value, schema):
        raise Unfit(f"{value!r} is none of it")
    return value


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def _is_of(value: Any, schema: Schema) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    return "type" not in schema or type(value) in _TYPES.get(schema["type"], ())


def _first(value: Any, schemas: list[Any], types: Mapping[str, Any]) -> Any:
    for schema in schemas:
        try:
            return fitted(value, schema, types, strict=True)
        except Unfit:
            continue
    return value


def _members(value: list[Any], schema: Mapping[str, Any], hint: str, types: Mapping[str, Any]) -> Any:
    of = schema.get("prefixItems") or [schema.get("items", {})] * len(value)
    found = [fitted(member, each, types) for member, each in zip(value, of, strict=False)]
    found += value[len(found) :]
    return set(found) if hint in ("set", "frozenset") else found


def _of_class(value: Any, schema: Schema, types: Types) -> Any:
    if "x-names" in schema:
        named = dict(zip(schema["x-names"], schema.get("enum") or schema.get("x-values", ()), strict=True))
        return named.get(value, value) if isinstance(value, str) else value
    if not isinstance(value, dict):
        return value
    properties = schema["properties"]
    return {
        name: fitted(member, properties[name], types) if name in properties else member
        for name, member in value.items()
    }


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "bytes": bytes.fromhex,
    "complex": complex,
    "datetime.datetime": datetime.datetime.fromisoformat,
    "datetime.date": datetime.date.fromisoformat,
    "datetime.timedelta": lambda value: datetime.timedelta(seconds=float(value)),
    "uuid.UUID": uuid.UUID,
    "decimal.Decimal": lambda value: decimal.Decimal(str(value)),
    "fractions.Fraction": fractions.Fraction,
    **{
        f"ipaddress.{kind.__name__}": kind
        for kind in (
            *(ipaddress.IPv4Address, ipaddress.IPv4Network, ipaddress.IPv4Interface),
            *(ipaddress.IPv6Address, ipaddress.IPv6Network, ipaddress.IPv6Interface),
        )
    },
}


def _scalar(value: Any, hint: str) -> Any:
    try:
        return _SCALARS[hint](value)
    except (ValueError, TypeError, AttributeError, ArithmeticError):
        raise Unfit(f"expected {hint.rpartition('.')[2]}, got {value!r}") from None
