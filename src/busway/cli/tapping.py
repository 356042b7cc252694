"""`busway listen --all`: what the programs of this user send, publish, ask and answer, as it goes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

import click

from busway.adapters.asyncio import AsyncBus
from busway.adapters.tap import PAYLOAD_MAX, TAP_NAME
from busway.cli import output, session
from busway.errors import PayloadError
from busway.payloads import decode
from busway.protocol import Message, codes

_SHAPE = {
    "what": str,
    "endpoint": bytes,
    "name": str,
    "from_label": str,
    "to": bytes,
    "to_label": str,
    "size": int,
    "format": int,
    "type": bytes,
    "payload": bytes,
    "lost": int,
}
_FORMATS = ("bytes", "cbor", "typed", "typed")


async def follow(bus: AsyncBus, count: int | None, timeout: float | None, as_json: bool) -> int:
    """Show what is told, until `count` lines or `timeout` seconds."""
    return await session.follow(_records(bus), lambda told: _show(*told, as_json), count, timeout)


async def _records(bus: AsyncBus) -> AsyncGenerator[tuple[Message, dict[str, Any]], None]:
    async for message in bus.register(TAP_NAME, "anycast", "userspace"):
        record: Any = message.payload
        if message.error or not isinstance(record, dict):
            continue
        if not all(isinstance(record.get(name), kind) for name, kind in _SHAPE.items()):
            continue  # of a program that says it otherwise
        if not record["to"] and record["what"] != "publish":
            _name_target(bus, record)
        yield message, record


def _show(message: Message, record: dict[str, Any], as_json: bool) -> None:
    value = _value(record)
    if as_json:
        output.say_json(_document(message, record, value))
        return
    unknown = "all" if record["what"] == "publish" else "?"  # of several the core chooses, or a leaf's router
    to = output.node_text(record["to"], record["to_label"]) if record["to"] else unknown
    priority = str(record.get("priority", "normal"))  # older programs say none
    remarks = [] if priority == "normal" else [output.printable(priority)]
    remarks += [f"{record['lost']} not shown"] if record["lost"] else []
    remarks += [f"of {record['size']} bytes"] if record["size"] > PAYLOAD_MAX else []
    cells = (
        click.style(output.clock_text(), dim=True),
        click.style(output.printable(_name(record)), fg="cyan"),
        output.printable(record["what"]),
        click.style(output.node_text(message.source, record["from_label"]), fg="green"),
        "->",
        click.style(to, fg="green"),
        f"{record['size']} B",
        output.value_text(value),
        *(click.style(f"({remark})", fg="yellow") for remark in remarks),
    )
    output.say("  ".join(cells))


def _name_target(bus: AsyncBus, record: dict[str, Any]) -> None:
    """Name whom it goes to, where its origin, a leaf, does not know: the only one who has the endpoint."""
    holders = {found.node for found in bus.endpoints() if found.id == record["endpoint"]}
    if len(holders) == 1:
        record["to"] = holders.pop()
        record["to_label"] = next((node.label for node in bus.nodes() if node.id == record["to"]), "")


def _name(record: dict[str, Any]) -> str:
    return record["name"] or output.uuid_text(record["endpoint"])


def _value(record: dict[str, Any]) -> object:
    """The payload as it was sent; its first bytes, if it is large, or cannot be read."""
    payload = record["payload"]
    if record["format"] == codes.RAW or record["size"] > PAYLOAD_MAX:
        return payload
    try:
        return decode(payload, codes.CBOR, b"", record["endpoint"], None)
    except PayloadError:
        return payload


def _document(message: Message, record: dict[str, Any], value: object) -> dict[str, object]:
    return {
        "time": round(time.time(), 3),
        "what": record["what"],
        "endpoint": _name(record),
        "endpoint_id": output.uuid_text(record["endpoint"]),
        "source": output.uuid_text(message.source),
        "source_label": record["from_label"],
        "to": output.uuid_text(record["to"]) if record["to"] else "",
        "to_label": record["to_label"],
        "size": record["size"],
        "format": _FORMATS[record["format"] & 3],
        "payload": value,
        "lost": record["lost"],
        "priority": record.get("priority", "normal"),
    }
