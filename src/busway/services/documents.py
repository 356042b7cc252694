"""Documents about a service for other tools: JSON Schema (draft 2020-12) and AsyncAPI 3.0, made of its
description (describing.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DIALECT = "https://json-schema.org/draft/2020-12/schema"
CBOR = "application/cbor"
_ANSWERS_MAX = 100_000  # that the operations of an AsyncAPI document refer to: any method may raise any error


def json_schema(told: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON Schema that any call of the service fits: a list of the method's name and its arguments. Its
    `$defs` have the schemas of arguments, results, signals and errors by name, and those of all classes.
    """
    definitions = {name: _moved(schema, "#/$defs/") for name, schema in told["types"].items()}
    calls = []
    for name, method in told["methods"].items():
        definitions[f"{name}.arguments"] = _moved(arguments_of(method), "#/$defs/")
        definitions[f"{name}.result"] = _moved(method["result"], "#/$defs/")
        given = {"$ref": f"#/$defs/{name}.arguments"}
        calls.append({"prefixItems": [{"const": name}, given], "items": False, "minItems": 2})
    for kind in ("signals", "errors"):
        for name, found in told[kind].items():
            schema = found["schema"] if kind == "signals" else found
            definitions[f"{kind[:-1]}.{name}"] = _moved(schema, "#/$defs/")
    return {
        "$schema": DIALECT,
        "title": f"{told['contract']}, version {told['version']}",
        **({"description": told["doc"]} if told["doc"] else {}),
        "type": "array",
        **({"anyOf": calls} if calls else {}),
        "$defs": definitions,
    }


def arguments_of(method: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a method's arguments, a map."""
    properties = {each["name"]: each["schema"] for each in method["arguments"]}
    required = [each["name"] for each in method["arguments"] if each["required"]]
    found = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": required} if required else found


def asyncapi(told: Mapping[str, Any]) -> dict[str, Any]:
    """An AsyncAPI 3.0 document: methods are operations that the service receives and replies to, signals are
    operations that it sends. Raises ValueError if it would be too large.
    """
    if len(told["methods"]) * len(told["errors"]) > _ANSWERS_MAX:
        raise ValueError(f"{len(told['methods'])} methods with {len(told['errors'])} errors are too many")
    calls, answers, operations = {}, {}, {}
    for name, method in told["methods"].items():
        calls[name] = _message(name, _call_of(name, method), method["doc"])
        answers[name] = _message(f"{name}.result", method["result"], _RESULTS[bool(method["stream"])])
        operations[name] = _method(name, method, list(told["errors"]))
    for name, schema in told["errors"].items():
        answers[name] = _message(name, schema, schema.get("description", ""))
    channels = {
        "calls": {"address": told["service"], "messages": calls},
        # Replies come to where the call was made: nobody knows that address beforehand.
        "answers": {"address": None, "messages": answers},
    }
    for name, signal in told["signals"].items():
        message = _message(name, signal["schema"], "")
        channels[name] = {"address": signal["endpoint"], "messages": {name: message}}
        operations[name] = {"action": "send", "channel": {"$ref": f"#/channels/{name}"}}
    info = {"title": told["contract"], "version": str(told["version"])}
    schemas = {name: _old(_moved(schema, _COMPONENTS)) for name, schema in told["types"].items()}
    return {
        "asyncapi": "3.0.0",
        "info": {**info, **({"description": told["doc"]} if told["doc"] else {})},
        "defaultContentType": CBOR,
        "channels": channels,
        "operations": operations,
        "components": {"schemas": schemas},
    }


_COMPONENTS = "#/components/schemas/"
_RESULTS = {False: "The result.", True: "A part of the result, of which there may be any number."}


def _call_of(name: str, method: Mapping[str, Any]) -> dict[str, Any]:
    members = [{"type": "string", "const": name}, arguments_of(method)]
    return {"type": "array", "prefixItems": members, "minItems": 2, "maxItems": 2}


def _message(name: str, schema: Any, text: str) -> dict[str, Any]:
    found = {"name": name, "contentType": CBOR, "payload": _old(_moved(schema, _COMPONENTS))}
    return {**found, "description": text} if text else found


def _method(name: str, method: Mapping[str, Any], errors: list[str]) -> dict[str, Any]:
    answers = [{"$ref": f"#/channels/answers/messages/{each}"} for each in (name, *errors)]
    found = {
        "action": "receive",
        "channel": {"$ref": "#/channels/calls"},
        "messages": [{"$ref": f"#/channels/calls/messages/{name}"}],
        "reply": {"channel": {"$ref": "#/channels/answers"}, "messages": answers},
    }
    return {**found, "description": method["doc"]} if method["doc"] else found


def _moved(schema: Any, place: str) -> Any:
    """With the classes that it refers to at another place."""
    if isinstance(schema, Mapping):
        found = {key: _moved(member, place) for key, member in schema.items()}
        if isinstance(found.get("$ref"), str):
            found["$ref"] = found["$ref"].replace("#/types/", place, 1)
        return found
    return [_moved(member, place) for member in schema] if isinstance(schema, list) else schema


def _old(schema: Any) -> Any:
    """In the words of draft 7, which AsyncAPI goes by: lists of members have another name there."""
    if isinstance(schema, Mapping):
        found = {key: _old(member) for key, member in schema.items()}
        if "prefixItems" in found:
            found["items"] = found.pop("prefixItems")
        return found
    return [_old(member) for member in schema] if isinstance(schema, list) else schema
