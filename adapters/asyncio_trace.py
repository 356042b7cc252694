"""The way to a node, hop by hop, under asyncio.

A node answers a trace whose hops end with it, so each hop is asked by itself (docs/protocol.md, section 7).
"""

from __future__ import annotations

import time
from typing import Protocol

from busway.adapters import facade
from busway.adapters.asyncio_links import now_ms
from busway.errors import Undeliverable
from busway.protocol import Node, codes, events


class Host(Protocol):
    """What a trace needs of its bus."""

    node: Node

    async def outcome(self, token: int) -> events.Outcome: ...


async def find_holder(host: Host, wanted: bytes, timeout: float) -> bytes:
    """The node that a message to the endpoint `wanted` would go to, or that has this id. Raises
    Undeliverable.
    """
    token = host.node.locate(wanted, now_ms(), timeout_ms=facade.milliseconds("timeout", timeout))
    outcome = await host.outcome(token)
    if outcome.status != events.TRACED:
        raise facade.error_of(outcome)
    return outcome.node_id


async def trace(host: Host, node_id: bytes, timeout: float) -> list[facade.Hop]:
    """All hops to a node, itself last. Raises Undeliverable, RequestTimeout."""
    hops: list[facade.Hop] = []
    while len(hops) <= codes.HOPS_MAX and node_id != host.node.node_id:
        started = time.monotonic()
        token = host.node.trace(
            node_id, len(hops), now_ms(), timeout_ms=facade.milliseconds("timeout", timeout)
        )
        outcome = await host.outcome(token)
        if outcome.status != events.TRACED:
            raise facade.error_of(outcome)
        hops.append(facade.hop_of(outcome, time.monotonic() - started))
        if outcome.node_id == node_id:
            return hops
    if node_id != host.node.node_id:
        raise Undeliverable(codes.NO_ROUTE, "the way has more than 256 hops")
    return hops
