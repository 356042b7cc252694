"""The names of a bus, and what it sees: itself, other nodes, endpoints, links, routes and clients. Waits for
nothing.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from busway.adapters import views
from busway.adapters.host import BusHost
from busway.adapters.records import EndpointInfo, LinkInfo, NodeInfo, RouteInfo, Undelivered

if TYPE_CHECKING:
    from busway.adapters.client_records import Client
    from busway.adapters.remotes import NodeFace
    from busway.selectors import Selector


class Sight:
    """The part of a bus that looks."""

    _host: BusHost

    @property
    def node(self) -> NodeFace:
        """Called, `bus.node("panel-7")`, the program of that name, a `Remote`: a client of this bus's
        servers, or whoever has that label.

        Else it is the protocol core's own node, or what stands before it while `busway listen --all` watches:
        for tools and tests, with no promises (docs/guarantees.md).
        """
        from busway.adapters.remotes import NodeFace

        return NodeFace(self)

    @property
    def id(self) -> bytes:
        """This node's id, 16 bytes."""
        return self._host.node.node_id

    @property
    def name(self) -> str:
        """The bus's name: nodes with another one are on another bus."""
        return self._host.node.bus

    @property
    def label(self) -> str:
        """The text that tells people which program this is."""
        return self._host.node.label

    @property
    def undeliverable(self) -> deque[Undelivered]:
        """Messages sent without `confirm` that could not be delivered, with the reason: the last 1,024."""
        return self._host.undeliverable

    # What it sees

    def nodes(self, where: Selector | None = None) -> list[NodeInfo]:
        """This node first, then those that can be reached (a leaf: those it has asked for). With a selector
        (`busway.where`) those of them that have an endpoint which it means.
        """
        from busway.adapters.remotes import nodes_of

        return nodes_of(self, where)

    def clients(self) -> list[Client]:
        """The clients of this bus's servers (`listen`, `busway.asgi`), in the order in which they came."""
        registry = self._host.registry
        return [] if registry is None else self._host.look(registry.clients)

    def endpoints(self) -> list[EndpointInfo]:
        """This node's endpoints, then the others' as their realms allow (a leaf: those it has asked for)."""
        return self._host.look(views.all_endpoints, self._host.node)

    def links(self) -> list[LinkInfo]:
        """This node's links, and those that were dialled and are not connected now."""
        from busway.adapters.dialled import links_of

        return self._host.look(links_of, self._host.node, self._host.dialled)

    def routes(self) -> list[RouteInfo]:
        """The ways to all nodes that can be reached."""
        return self._host.look(views.all_routes, self._host.node)
