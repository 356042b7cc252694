"""The part of `busway doctor` that looks at stores: whether they keep what they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from busway.adapters.asyncio import AsyncBus
from busway.cli import output
from busway.errors import BusError
from busway.store import records

if TYPE_CHECKING:
    from busway.cli.doctor import Report

_FULL = 0.9
_ASK = msgspec.msgpack.encode(records.Status())


async def check_stores(report: Report, bus: AsyncBus, nodes: list[bytes], timeout: float) -> None:
    """Ask the stores at these nodes how they are."""
    for node in nodes:
        name = f"the store at node {node.hex()[:8]}"
        try:
            reply = await bus.request(records.STORE_NAME, _ASK, node=node, timeout=timeout)
            status: dict[str, Any] = msgspec.msgpack.decode(reply, type=dict)
        except (BusError, msgspec.MsgspecError) as error:
            report.find(
                f"{name} does not answer: {error}", "is its program stopped, or does its policy forbid it?"
            )
            continue
        _judge(report, name, status)


def _judge(report: Report, name: str, status: dict[str, Any]) -> None:
    if status["trouble"]:
        report.find(f"{name} refuses: {status['trouble']}", f"see to {status['place']}")
    else:
        kept = f"{status['mail']:,} messages for who is away, {status['published']:,} of what was published"
        report.well(f"{name} keeps {', '.join(status['keep'])}: {kept}")
    if status["bytes"] > _FULL * status["bytes_max"]:
        sizes = f"{output.size_text(status['bytes'])} of {output.size_text(status['bytes_max'])}"
        report.remark(
            f"{name} is nearly full: {sizes}", "raise --size; `busway jobs` says what waits, and for whom"
        )
    if status["missed"] or status["refused"]:
        lost = f"{status['missed']:,} publications did not get there, {status['refused']:,} had no room"
        report.remark(f"{name} has not recorded all: {lost}", "publish what must be kept with store=True")
