"""Descriptions of contracts in plain values: what a server answers who asks for its contract, and what
documents, stubs and the command line are made of.
"""

from __future__ import annotations

import functools
from typing import Any

from busway.names import endpoint_id, endpoint_name, uuid_text
from busway.services.contracts import Method, Outline, signal_target
from busway.services.schemas import Schemas, put_default


def describe(outline: Outline, name: Any, version: int) -> dict[str, Any]:
    """A contract as it is hosted under that name or UUID, and version.

    Returns:
        Plain values: `service` (its name, or its UUID as text), `id` (16 bytes), `version`, `contract` (the
        class's name), `doc`; `methods`, by their names, each with `doc`, `arguments` (a list of `name`,
        `schema`, `required` and `keyword`), `result` (a schema) and `stream`; `signals` with `schema` and
        `endpoint`; `errors` and `types`, whose schemas others refer to.
    """
    schemas = Schemas()
    signals = {
        signal: {"schema": schemas.of(shape.annotation), "endpoint": text_of(signal_target(name, signal))}
        for signal, shape in outline.signals.items()
    }
    return {
        **brief(outline, name, version),
        "id": endpoint_id(name),
        "contract": outline.label.rpartition(".")[2],
        "doc": outline.doc,
        "methods": {each.name: _method(each, schemas) for each in outline.methods.values()},
        "signals": signals,
        "errors": {fault: schemas.record(each.cls) for fault, each in outline.faults.items()},
        "types": schemas.types,
    }


def brief(outline: Outline, name: Any, version: int) -> dict[str, Any]:
    """The same with the names of methods, signals and errors alone."""
    return {
        "service": text_of(name),
        "version": version,
        "methods": list(outline.methods),
        "signals": list(outline.signals),
        "errors": list(outline.faults),
    }


def text_of(name: Any) -> str:
    """A name, or a UUID as text."""
    return endpoint_name(name) or uuid_text(endpoint_id(name))


def _method(method: Method, schemas: Schemas) -> dict[str, Any]:
    arguments = []
    for each in method.parameters:
        schema = schemas.of(method.hints[each.name])
        if method.attaching is not None and method.attaching.argument == each.name:
            schema["x-attached"] = True
        is_needed = each.default is each.empty
        if not is_needed:
            put_default(schema, functools.partial(getattr, each, "default"))
        is_keyword = each.kind is each.KEYWORD_ONLY
        arguments.append({"name": each.name, "schema": schema, "required": is_needed, "keyword": is_keyword})
    result = schemas.of(method.result)
    if method.attaching is not None and method.attaching.gives:
        result["x-attached"] = True
    return {
        "doc": method.doc,
        "arguments": arguments,
        "result": result,
        "stream": method.is_stream,
    }


def is_description(told: Any) -> bool:
    """Whether it has the form of a description; what came from elsewhere may be anything."""
    return (
        isinstance(told, dict)
        and isinstance(told.get("version"), int)
        and all(isinstance(told.get(part), str) for part in ("service", "contract", "doc"))
        and isinstance(told.get("id"), bytes)
        and all(_are_parts(told.get(part)) for part in ("methods", "signals", "errors", "types"))
        and all(map(_is_method, told["methods"].values()))
        and all(isinstance(each.get("schema"), dict) for each in told["signals"].values())
        and all(isinstance(each.get("endpoint"), str) for each in told["signals"].values())
    )


def _are_parts(found: Any) -> bool:
    return isinstance(found, dict) and all(
        isinstance(name, str) and isinstance(each, dict) for name, each in found.items()
    )


def _is_method(method: dict[str, Any]) -> bool:
    arguments = method.get("arguments")
    return (
        isinstance(arguments, list)
        and all(map(_is_argument, arguments))
        and isinstance(method.get("doc"), str)
        and isinstance(method.get("result"), dict)
        and isinstance(method.get("stream"), bool)
    )


def _is_argument(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and isinstance(found.get("name"), str)
        and isinstance(found.get("schema"), dict)
        and all(isinstance(found.get(word), bool) for word in ("required", "keyword"))
    )
