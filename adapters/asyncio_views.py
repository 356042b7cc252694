"""What a bus under asyncio can see: nodes, endpoints, links, routes, what comes and goes, and the way to a
node, hop by hop.
"""

from __future__ import annotations

import time
from uuid import UUID

from busway.adapters import facade
from busway.adapters.asyncio_ends import Changes
from busway.adapters.facade import EndpointInfo, Hop, LinkInfo, NodeInfo, RouteInfo
from busway.adapters.links import now_ms
from busway.errors import Undeliverable
from busway.names import endpoint_id
from busway.protocol import Node, codes, events


class Views:
    """The part of AsyncBus that looks around."""

    node: Node
    _changes: set[Changes]

    def check(self) -> None:
        """Raises BusClosed after `close`."""
        raise NotImplementedError

    async def outcome(self, token: int) -> events.Outcome:
        """Wait for the fate of `token`."""
        raise NotImplementedError

    def nodes(self) -> list[NodeInfo]:
        """This node first, then those that can be reached (a leaf: those it has asked for)."""
        return facade.all_nodes(self.node)

    def endpoints(self) -> list[EndpointInfo]:
        """This node's endpoints first, then the others' as far as their realms allow (a leaf: those it has
        asked for).
        """
        return facade.all_endpoints(self.node)

    def links(self) -> list[LinkInfo]:
        """This node's links."""
        return [facade.link_info(connection) for connection in self.node.connections]

    def routes(self) -> list[RouteInfo]:
        """The ways to all nodes that can be reached."""
        return facade.all_routes(self.node)

    def changes(self) -> Changes:
        """Links, nodes and endpoints as they come and go, from now on. A reader 1,024 behind loses the
        oldest.
        """
        self.check()
        changes = Changes(self._changes.discard)
        self._changes.add(changes)
        return changes

    async def trace(
        self, to: str | bytes | UUID | type, *, timeout: float = 5.0, node: bytes = b""
    ) -> list[Hop]:
        """The nodes on the way to whoever holds `to` (or to `node`), the nearest first, that one last.

        Each has `timeout` seconds to answer. Raises RequestTimeout, Undeliverable.
        """
        self.check()
        wanted = await self._locate(node or endpoint_id(to), timeout)
        hops: list[Hop] = []
        while wanted != self.node.node_id and not (hops and hops[-1].node == wanted):
            if len(hops) > codes.HOPS_MAX:
                raise Undeliverable(codes.NO_ROUTE, "the way has more than 256 hops")
            hops.append(await self._trace_one(wanted, len(hops), timeout))
        return hops

    async def _locate(self, wanted: bytes, timeout: float) -> bytes:
        """The node that a message to the endpoint `wanted` would go to, or that has this id."""
        token = self.node.locate(wanted, now_ms(), timeout_ms=facade.milliseconds("timeout", timeout))
        outcome = await self.outcome(token)
        if outcome.status != events.TRACED:
            raise facade.error_of(outcome)
        return outcome.node_id

    async def _trace_one(self, wanted: bytes, hops: int, timeout: float) -> Hop:
        """A node answers a trace whose hops end with it (docs/protocol.md, section 7)."""
        started = time.monotonic()
        timeout_ms = facade.milliseconds("timeout", timeout)
        outcome = await self.outcome(self.node.trace(wanted, hops, now_ms(), timeout_ms=timeout_ms))
        if outcome.status != events.TRACED:
            raise facade.error_of(outcome)
        return facade.hop_of(outcome, time.monotonic() - started)
