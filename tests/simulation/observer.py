"""A reader of nothing but events knows what there is: held against the nodes themselves, after every single
event.

Knows the core's faces only: what it tells, and what it shows when asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from busway.protocol import Node, codes, events
from tests.protocol.pairs import Net

_LINKS = (events.LINK_OPEN, events.LINK_STATE, events.LINK_CLOSED)


class Observer:
    """The state that the events of one node have told so far, as it was at each event."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, tuple[str, bool]] = {}
        self.endpoints: dict[tuple[bytes, bytes], tuple[int, int, str]] = {}
        self.links: dict[Any, int] = {}

    def take(self, event: Any) -> None:
        if event.kind in (events.NODE_UP, events.NODE_CHANGED):
            self.nodes[event.peer.node_id] = (event.peer.label, event.peer.leaf)
        elif event.kind == events.NODE_DOWN:
            del self.nodes[event.peer.node_id]
        elif event.kind == events.ENDPOINT_UP:
            entry = event.entry
            self.endpoints[entry.peer.node_id, entry.uuid] = (entry.kind, entry.realm, entry.name)
        elif event.kind == events.ENDPOINT_DOWN:
            del self.endpoints[event.entry.peer.node_id, event.entry.uuid]
        elif event.kind in _LINKS:
            self.links[event.connection] = event.connection.state
            if event.kind == events.LINK_CLOSED:
                del self.links[event.connection]

    def differs(self, node: Node) -> str:
        """A difference between what it knows and what is so; "" if all is well."""
        nodes = {peer.node_id: (peer.label, peer.leaf) for peer in node.peers()}
        endpoints = {
            (node.node_id, each.uuid): (each.kind, each.realm, each.name)
            for each in node.endpoints()
            if each.uuid != codes.INTROSPECTION
        }
        for entry in node.entries():
            endpoints[entry.peer.node_id, entry.uuid] = (entry.kind, entry.realm, entry.name)
        # That a link is being made is known to who makes it.
        links = {each: each.state for each in node.connections if each.state != codes.GREETING}
        for what, is_so, told in (
            ("nodes", nodes, self.nodes),
            ("endpoints", endpoints, self.endpoints),
            ("links", links, self.links),
        ):
            if is_so != told:
                return f"{node.label}: its events tell of {what} {told}, and there are {is_so}"
        return ""


def observe(net: Net, fault: Callable[[str], None]) -> dict[Node, Observer]:
    """Watch all nodes of a net from here on: each fault is told once."""
    observers: dict[Node, Observer] = {}
    note = net.note

    def noted(node: Node, happened: list[events.Event]) -> None:
        note(node, happened)
        observer = observers.setdefault(node, Observer())
        for event in happened:
            observer.take(event)
        if wrong := observer.differs(node):
            fault(wrong)

    net.note = noted  # type: ignore[method-assign]
    return observers
