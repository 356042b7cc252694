"""`busway monitor --log`: what boards print, as the nodes at the other end of their links publish it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

from busway.adapters.asyncio import AsyncBus
from busway.adapters.board_logs import LOG_NAME
from busway.cli import output, session


async def follow(bus: AsyncBus, wanted: str, count: int | None, timeout: float | None, as_json: bool) -> int:
    """Print a line for each line, until `count` of them or `timeout` seconds; `wanted` is the beginning of a
    board's label or id. Returns the exit status.
    """
    return await session.follow(_lines(bus, wanted), lambda told: show(told, as_json), count, timeout)


async def _lines(bus: AsyncBus, wanted: str) -> AsyncGenerator[dict[str, Any], None]:
    async for message in bus.subscribe(LOG_NAME):
        told: Any = message.payload
        if _well_formed(told) and _is_wanted(told, wanted):
            yield told


def _well_formed(told: Any) -> bool:
    kinds = {"node": bytes, "label": str, "address": str, "text": str}
    return isinstance(told, dict) and all(isinstance(told.get(name), kind) for name, kind in kinds.items())


def _is_wanted(told: dict[str, Any], wanted: str) -> bool:
    digits = wanted.replace("-", "").lower()
    return told["label"].startswith(wanted) or (bool(digits) and told["node"].hex().startswith(digits))


def show(told: dict[str, Any], as_json: bool) -> None:
    """One line that a board has printed."""
    if as_json:
        fields = {name: told[name] for name in ("label", "address", "text")}
        output.say_json({"time": round(time.time(), 3), "node": output.uuid_text(told["node"])} | fields)
        return
    who = told["label"] or told["address"]  # before its HELLO a board has no name yet
    output.say(f"{output.clock_text()}  {output.printable(who)}  {output.printable(told['text'])}")
