"""Shows single values of a frame to people. Knows numbers and their names, not frames or streams."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from busway import payloads
from busway.names import ascii_safe as ascii_safe
from busway.wire_names import (
    CONTROL_NAMES,
    ENDPOINT_KIND_NAMES,
    ERROR_NAMES,
    FORMAT_NAMES,
    KIND_NAMES,
    OPTION_NAMES,
    REALM_NAMES,
    REASON_NAMES,
    ROUTE_NAMES,
    SIGNAL_NAMES,
    SYNC_NAMES,
)

__all__ = ["bytes_text", "cbor_text", "endpoint_text", "error_text", "named", "reason_text", "value_text"]

_BYTES_SHOWN_MAX = 32
_VALUE_SHOWN_MAX = 2000  # characters of a CBOR value
_APPLICATION_CODES = 256
_INFINITE = 0xFFFF


def named(number: int, names: Mapping[int, str], unknown: str = "unknown") -> str:
    """The name of a number with the number behind it, such as "SILENT (15)"."""
    return f"{names.get(number, unknown)} ({number})"


def error_text(code: int) -> str:
    return named(code, ERROR_NAMES)


def reason_text(code: int) -> str:
    return named(code, REASON_NAMES, "the application's" if code >= _APPLICATION_CODES else "unknown")


def bytes_text(data: bytes) -> str:
    """Hex, with the text if it is text; long ones cut, with their size."""
    if not data:
        return "empty"
    if len(data) > _BYTES_SHOWN_MAX:
        return f"{data[:_BYTES_SHOWN_MAX].hex()}... ({len(data)} bytes)"
    text = _printable(data)
    return f"{data.hex()} {text!r}" if text else data.hex()


def _printable(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""


def cbor_text(data: bytes) -> str:
    """The decoded value as Python writes it, or why there is none and the bytes."""
    try:
        value = payloads.decode(data, payloads.CBOR, b"", b"", None)
    except payloads.PayloadError as error:
        return f"no readable CBOR ({error}): {bytes_text(data)}"
    text = ascii_safe(repr(value))
    return text if len(text) <= _VALUE_SHOWN_MAX else f"{text[:_VALUE_SHOWN_MAX]}..."


def endpoint_text(id: bytes, names: Mapping[bytes, str]) -> str:
    """The uuid in its usual form, with the human name if one is known."""
    text = str(uuid.UUID(bytes=id))
    return f"{text} {names[id]!r}" if id in names else text


def _head(head: int) -> str:
    if head < 0x80:
        return f"0x{head:02x} {CONTROL_NAMES.get(head, 'unknown, may be ignored')}"
    options = (", routed" if head & 8 else "") + (", options" if head & 4 else "")
    return f"0x{head:02x} {KIND_NAMES[head >> 4 & 7]}{options}, format {head & 3} ({FORMAT_NAMES[head & 3]})"


def _flags(flags: int) -> str:
    role = "leaf" if flags & 0x01 else "router"
    dialled = "dialled" if flags & 0x08 else "was dialled"
    token = "token demanded" if flags & 0x10 else "no token demanded"
    lookups = ", lookups" if flags & 0x20 else ""
    return f"{role}, {named(flags >> 1 & 3, REALM_NAMES)}, {dialled}, {token}{lookups}"


_TRAITS = {0x10: "with credit", 0x20: "with cost", 0x40: "with name", 0x80: "with an extension"}
_LINE = {0x04: "with label", 0x10: "a leaf", 0x20: "more follows", 0x40: "told in part"}
_NODES = {0x04: "with destination", 0x08: "with source"}


def _with(text: str, head: int, parts: Mapping[int, str] = _TRAITS) -> str:
    """A head in words, with what its bits announce."""
    return ", ".join([f"0x{head:02x} {text}", *(name for bit, name in parts.items() if head & bit)])


def _entry(head: int) -> str:
    return _with(ENDPOINT_KIND_NAMES[head & 3], head)


def _holder(head: int) -> str:
    kind = ENDPOINT_KIND_NAMES[head & 3] if head & 3 else "the node itself"
    return _with(f"{kind}, {named(head >> 2 & 3, REALM_NAMES, 'no realm')}", head)


def _line(head: int) -> str:
    return _with(named(head & 3, REALM_NAMES), head, _LINE)


def _how(how: int) -> str:
    return _with(f"has crossed {named(how & 3, REALM_NAMES, 'nothing')}", how, _NODES)


def _metric(metric: int) -> str:
    if metric == _INFINITE:
        return f"0x{metric:04x}: no way"
    if metric == 0:
        return "0x0000: the node itself"
    return f"0x{metric:04x}: {named(metric >> 14, REALM_NAMES, 'no realm')}, cost {metric & 0x3FFF}"


def _milliseconds(value: int) -> str:
    return f"{value} ms"


def _keepalive(value: int) -> str:
    return _milliseconds(value) if value else "0 ms: relies on the end of the connection"


def _size(value: int) -> str:
    return "1 byte" if value == 1 else f"{value} bytes"


def _expression(data: bytes) -> str:
    from busway.selectors import read_expression

    try:
        return f"{bytes_text(data)}: {read_expression(data)}"
    except ValueError as error:
        return f"{bytes_text(data)}: {error}"


def _selected(flags: int) -> str:
    words = {1: "more follow", 2: "refused"}
    return ", ".join([f"0x{flags:02x}", *(word for bit, word in words.items() if flags & bit)])


_TEXTS: dict[str, Callable[[Any], str]] = {
    "head": _head,
    "message_head": _head,
    "magic": lambda value: repr(value.decode()),
    "flags": _flags,
    "node": bytes.hex,
    "incarnation": bytes.hex,
    "features": hex,
    "frame_size_max": _size,
    "message_size_max": _size,
    "keepalive_ms": _keepalive,
    "timeout_ms": _milliseconds,
    "bus": repr,
    "label": repr,
    "via": repr,
    "name": repr,
    "medium": repr,
    "text": repr,
    "realm": lambda value: named(value, REALM_NAMES),
    "line": _line,
    "stage": lambda value: named(value, SYNC_NAMES),
    "route": lambda value: named(value, ROUTE_NAMES),
    "metric": _metric,
    "how": _how,
    "holder": _holder,
    "entry": _entry,
    "signal": lambda value: named(value, SIGNAL_NAMES),
    "reason": reason_text,
    "option": lambda value: named(value, OPTION_NAMES),
    "expression": _expression,
    "selected_flags": _selected,
    "extension_length": _size,
    "item": lambda value: named(value, {1: "LABEL", 2: "GONE"}),
    "item_length": _size,
    "item_value": bytes_text,
    "endpoint_label": repr,
    "last_word_format": lambda value: named(value, FORMAT_NAMES),
    "last_word_type": bytes.hex,
    "last_word": bytes_text,
    "option_length": _size,
    "options_length": _size,
    "option_value": bytes_text,
    "size": _size,
    "payload_size": _size,
    "payload": bytes_text,
    "message": bytes_text,
}


def value_text(name: str, value: Any) -> str:
    """A field's value for people.

    Args:
        name: the field's, as `busway.decode_frames` calls it.
        value: as it was parsed. Plain numbers, and fields without a way of their own, as `str` shows them.
    """
    return _TEXTS.get(name, str)(value)
