"""Typed clients as Python text, made of the description of a service (describing.py), for who has no access
to its class.

A description comes from another program: whatever should be a name and is none is refused, and all else
stands in the text as a literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from busway.services.wording import BUILTINS, StubError, Unwritten, Wording, literal, name_in

_MODULES = ("array", "datetime", "decimal", "fractions", "ipaddress", "uuid")
_BODIES = 4 * " "
_WIDTH_MAX = 100
_ENUMS = ("Enum", "IntFlag")
_TOO_DEEP = (RecursionError, SyntaxError, MemoryError)  # for the compiler
_TYPING = ("Any", "Literal", "Protocol", "cast")


def stub(told: Mapping[str, Any], *, blocking: bool = False) -> str:
    """The text of a module with a contract that `bus.client` takes.

    Args:
        told: the description of a service.
        blocking: for `Bus`, whose calls block; by default for `AsyncBus`, whose calls are awaited.

    Raises:
        StubError: the description has something that has no place in a program.
    """
    try:
        text = _Writer(told, blocking).text()
        compile(text, "stub", "exec", dont_inherit=True)  # names may be there twice, or be Python's own
    except StubError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, *_TOO_DEEP) as error:
        raise StubError(f"the description is not what a service gives: {error!r}") from error
    return text


_IMPORTED = {"busway", "dataclass", "field", "AsyncIterator", "Iterator"}


class _Writer:
    def __init__(self, told: Mapping[str, Any], blocking: bool) -> None:
        self._told = told
        self._blocking = blocking
        self._taken = {*_IMPORTED, *BUILTINS, *_TYPING, *_ENUMS, *_MODULES}
        self._classes = {name: self._class_name(name) for name in told["types"]}
        self._contract = self._class_name(told["contract"])
        self._words = Wording(told["types"], self._classes)
        self._told_apart = set(_told_apart(told))

    def _class_name(self, name: Any) -> str:
        """A name of its own in the module for a class."""
        found = name_in(name)
        while found in self._taken:
            found += "_"
        self._taken.add(found)
        return found

    def text(self) -> str:
        parts = [self._type(name, schema) for name, schema in self._told["types"].items()]
        parts.append(self._service())
        body = "\n\n\n".join(parts)
        return f"{self._head(body)}\n\n\n{body}\n"

    def _head(self, body: str) -> str:
        told = self._told
        version = _whole(told["version"])
        first = f"A client of {told['service']}, version {version}, as `busway stub` has written it."
        lines = [_doc(first, ""), "", "from __future__ import annotations", ""]
        lines += [f"import {module}" for module in _MODULES if f"{module}." in body]
        iterator = "Iterator" if self._blocking else "AsyncIterator"
        if f"{iterator}[" in body:
            lines.append(f"from collections.abc import {iterator}")
        if "@dataclass" in body:
            wanted = "dataclass, field" if "= field(" in body else "dataclass"
            lines.append(f"from dataclasses import {wanted}")
        enums = [name for name in _ENUMS if f"({name}):" in body]
        if enums:
            lines.append(f"from enum import {', '.join(enums)}")
        words = [word for word in _TYPING if _has_word(body, word)]
        lines += [f"from typing import {', '.join(words)}", "", "import busway"]
        return "\n".join(lines)

    # Classes

    def _type(self, name: str, schema: Mapping[str, Any]) -> str:
        lines = self._enum(name, schema) if "x-names" in schema else self._record(name, schema)
        return "\n".join(lines)

    def _enum(self, name: str, schema: Mapping[str, Any]) -> list[str]:
        flag = schema.get("x-python") == "flag"
        lines = [f"class {self._classes[name]}({'IntFlag' if flag else 'Enum'}):"]
        lines += _documented(schema)
        values = schema["x-values"] if flag else schema["enum"]
        members = [
            f"{_BODIES}{name_in(member)} = {literal(value)}"
            for member, value in zip(schema["x-names"], values, strict=True)
        ]
        return lines + (members or [f"{_BODIES}pass"])

    def _record(self, name: str, schema: Mapping[str, Any]) -> list[str]:
        lines = ["@dataclass(kw_only=True)", f"class {self._classes[name]}:"]
        if name in self._told_apart and "x-message" in schema:
            lines.insert(0, f"@busway.message({literal(schema['x-message'])})")
        return lines + self._fields(schema, _BODIES)

    def _fields(self, schema: Mapping[str, Any], indent: str) -> list[str]:
        lines = _documented(schema, indent)
        required = frozenset(schema.get("required", ()))
        for name, of in schema["properties"].items():
            line = f"{indent}{name_in(name)}: {self._words.annotation(of)}"
            if name not in required:
                line += self._field_default(of)
            lines.append(line)
        return lines if schema["properties"] else [*lines, f"{indent}pass"]

    def _field_default(self, schema: Mapping[str, Any]) -> str:
        """Nothing where it cannot be written: what stood there would be sent."""
        try:
            text = self._words.value(schema, schema["default"])
        except (Unwritten, KeyError):
            return ""
        plain = schema["default"] is None or isinstance(schema["default"], (bool, int, float, str, bytes))
        return f" = {text}" if plain and "$ref" not in schema else f" = field(default_factory=lambda: {text})"

    # The contract

    def _service(self) -> str:
        told = self._told
        lines = [
            f"@busway.service({literal(told['service'])}, version={_whole(told['version'])})",
            f"class {self._contract}(busway.Contract, Protocol):",
        ]
        parts = [_doc(told["doc"], _BODIES)] if told["doc"] else []
        for name, schema in told["errors"].items():
            head = f"{_BODIES}class {name_in(name)}(busway.ServiceError):"
            parts.append("\n".join([head, *self._fields(schema, 2 * _BODIES)]))
        for name, signal in told["signals"].items():
            annotation = self._words.annotation(signal["schema"])
            parts.append(f"{_BODIES}{name_in(name)}: busway.Signal[{annotation}] = busway.Signal()")
        parts += [self._method(name, method) for name, method in told["methods"].items()]
        return "\n".join(lines) + "\n" + "\n\n".join(parts)

    def _method(self, name: str, method: Mapping[str, Any]) -> str:
        words = ["self", *self._words.arguments(method)]
        result = self._words.annotation(method["result"])
        if method["stream"]:
            result = f"{'Iterator' if self._blocking else 'AsyncIterator'}[{result}]"
        head = "def" if self._blocking or method["stream"] else "async def"
        text = f"{_BODIES}{head} {name_in(name)}({', '.join(words)}) -> {result}:"
        if len(text) > _WIDTH_MAX:
            lines = "".join(f"{2 * _BODIES}{word},\n" for word in words)
            text = f"{_BODIES}{head} {name_in(name)}(\n{lines}{_BODIES}) -> {result}:"
        if not method["doc"]:
            return f"{text} ..."
        return "\n".join([text, _doc(method["doc"], 2 * _BODIES), f"{2 * _BODIES}..."])


def _told_apart(part: Any) -> Iterator[str]:
    """Classes that stand in a union with another one: they travel with their types (values.py)."""
    if isinstance(part, Mapping):
        members = [member["$ref"] for member in part.get("anyOf", ()) if "$ref" in member]
        if len(members) > 1:
            yield from (member.removeprefix("#/types/") for member in members)
        for member in part.values():
            yield from _told_apart(member)
    elif isinstance(part, list):
        for member in part:
            yield from _told_apart(member)


def _whole(number: Any) -> int:
    if type(number) is not int:
        raise StubError(f"a version is a whole number, not {number!r}")
    return number


def _documented(schema: Mapping[str, Any], indent: str = _BODIES) -> list[str]:
    return [_doc(schema["description"], indent) + "\n"] if "description" in schema else []


def _doc(text: Any, indent: str) -> str:
    """A docstring with that text, whatever it is."""
    lines = [_escaped(line) for line in str(text).splitlines()] or [""]
    body = "\n".join([lines[0], *(f"{indent}{line}".rstrip() for line in lines[1:])])
    if '"""' in body or body.endswith('"'):
        body = body.replace('"', r"\"")
    return f'{indent}"""{body}"""' if len(lines) == 1 else f'{indent}"""{body}\n{indent}"""'


def _escaped(line: str) -> str:
    return line.replace("\\", "\\\\") if line.isprintable() else ascii(line)[1:-1]


def _has_word(body: str, word: str) -> bool:
    return re.search(rf"\b{word}\b", body) is not None
