"""What a bus for threads can see: nodes, endpoints, links, routes, what comes and goes, and the way to a
node, hop by hop.
"""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from busway.adapters import facade
from busway.adapters.checks import ANY_NODE, check_node
from busway.adapters.dialled import links_of
from busway.adapters.links import now_ms
from busway.adapters.records import EndpointInfo, Hop, LinkInfo, NodeInfo, RouteInfo
from busway.adapters.threads_ends import Changes
from busway.adapters.threads_host import Host
from busway.protocol import Node


class Views:
    """The part of Bus that looks around."""

    node: Node
    _host: Host

    def nodes(self) -> list[NodeInfo]:
        """This node first, then those that can be reached (a leaf: those it has asked for)."""
        with self._host.engine.lock:
            return facade.all_nodes(self.node)

    def endpoints(self) -> list[EndpointInfo]:
        """This node's endpoints first, then the others' as far as their realms allow (a leaf: those it has
        asked for).
        """
        with self._host.engine.lock:
            return facade.all_endpoints(self.node)

    def links(self) -> list[LinkInfo]:
        """This node's links, and those that were dialled and are not connected now."""
        with self._host.engine.lock:
            return links_of(self.node, self._host.dialled)

    def routes(self) -> list[RouteInfo]:
        """The ways to all nodes that can be reached."""
        with self._host.engine.lock:
            return facade.all_routes(self.node)

    def changes(self) -> Changes:
        """Links, nodes and endpoints as they come and go, from now on. A reader 1,024 behind loses the
        oldest.
        """
        changes = Changes(self, self._host)
        with self._host.engine.lock:
            self._host.check()
            self._host.changes.add(changes)
        return changes

    def trace(
        self, to: str | bytes | UUID | type, *, timeout: float | None = 5.0, node: bytes | None = ANY_NODE
    ) -> list[Hop]:
        """The nodes on the way to whoever holds `to` (or to `node`), the nearest first, that one last.

        Each has `timeout` seconds to answer. Raises RequestTimeout, Undeliverable.
        """
        self._host.check_open()
        timeout_ms = facade.timeout_ms(timeout)
        steps = facade.tracing(self.node, check_node(node) or to, timeout_ms, now_ms)
        outcome: Any = None
        try:
            while True:
                token, promise = self._host.ask(steps.send, outcome)
                assert promise is not None
                outcome = self._host.outcome(token, promise)
        except StopIteration as found:
            return cast(list[Hop], found.value)
