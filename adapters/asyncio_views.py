"""What a bus under asyncio can see: nodes, endpoints, links, routes, what comes and goes, and the way to a
node, hop by hop.
"""

from __future__ import annotations

from typing import cast
from uuid import UUID

from busway.adapters import facade
from busway.adapters.asyncio_ends import Changes
from busway.adapters.asyncio_host import Host
from busway.adapters.checks import ANY_NODE, check_node
from busway.adapters.dialled import links_of
from busway.adapters.links import now_ms
from busway.adapters.records import EndpointInfo, Hop, LinkInfo, NodeInfo, RouteInfo
from busway.protocol import Node


class Views:
    """The part of AsyncBus that looks around."""

    _host: Host

    @property
    def _seen(self) -> Node:
        self._host.check_here()
        return self._host.node

    def nodes(self) -> list[NodeInfo]:
        """This node first, then those that can be reached (a leaf: those it has asked for)."""
        return facade.all_nodes(self._seen)

    def endpoints(self) -> list[EndpointInfo]:
        """This node's endpoints first, then the others' as far as their realms allow (a leaf: those it has
        asked for).
        """
        return facade.all_endpoints(self._seen)

    def links(self) -> list[LinkInfo]:
        """This node's links, and those that were dialled and are not connected now."""
        return links_of(self._seen, self._host.dialled)

    def routes(self) -> list[RouteInfo]:
        """The ways to all nodes that can be reached."""
        return facade.all_routes(self._seen)

    def changes(self) -> Changes:
        """Links, nodes and endpoints as they come and go, from now on. A reader 1,024 behind loses the
        oldest.
        """
        self._host.check()
        changes = Changes(self, self._host)
        self._host.changes.add(changes)
        return changes

    async def trace(
        self, to: str | bytes | UUID | type, *, timeout: float | None = 5.0, node: bytes | None = ANY_NODE
    ) -> list[Hop]:
        """The nodes on the way to whoever holds `to` (or to `node`), the nearest first, that one last.

        Each has `timeout` seconds to answer. Raises RequestTimeout, Undeliverable.
        """
        self._host.check_open()
        timeout_ms = facade.timeout_ms(timeout)
        steps = facade.tracing(self._seen, check_node(node) or to, timeout_ms, now_ms)
        try:
            token = next(steps)
            while True:
                token = steps.send(await self._host.outcome(token))
        except StopIteration as found:
            return cast(list[Hop], found.value)
