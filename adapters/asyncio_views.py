"""What a bus under asyncio can see: nodes, endpoints, links, routes, what comes and goes, and the way to a
node, hop by hop.
"""

from __future__ import annotations

from typing import cast
from uuid import UUID

from busway.adapters import facade
from busway.adapters.asyncio_ends import Changes
from busway.adapters.dialled import DialledLink, links_of
from busway.adapters.facade import EndpointInfo, Hop, LinkInfo, NodeInfo, RouteInfo
from busway.adapters.links import now_ms
from busway.names import endpoint_id
from busway.protocol import Node, events


class Views:
    """The part of AsyncBus that looks around."""

    node: Node
    dialled: set[DialledLink]
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
        """This node's links, and those that were dialled and are not connected now."""
        return links_of(self.node, self.dialled)

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
        timeout_ms = facade.milliseconds("timeout", timeout)
        steps = facade.tracing(self.node, node or endpoint_id(to), timeout_ms, now_ms)
        try:
            token = next(steps)
            while True:
                token = steps.send(await self.outcome(token))
        except StopIteration as found:
            return cast(list[Hop], found.value)
