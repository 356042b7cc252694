"""What the buses for asyncio and threads have alike: who they are, and what becomes of a dropped one."""

from __future__ import annotations

from collections import deque
from typing import Any

from busway.adapters import closing, facade
from busway.adapters.records import Undelivered
from busway.protocol import Node


class Face:
    """The part of a bus that needs neither loop nor thread."""

    node: Node
    """The protocol core's own node, or what stands before it while `busway listen --all` watches: for tools
    and tests, with no promises (docs/guarantees.md).
    """
    _host: Any
    _way: str  # how such a bus is used

    def __repr__(self) -> str:
        return facade.describe_bus(self, self.node, self._host.state)

    def __del__(self) -> None:
        host = self.__dict__.get("_host")
        if host is not None:
            closing.dropped(self, host, self._way)

    @property
    def id(self) -> bytes:
        """This node's id, 16 bytes."""
        return self.node.node_id

    @property
    def name(self) -> str:
        """The bus's name: nodes with another one are on another bus."""
        return self.node.bus

    @property
    def label(self) -> str:
        """What tells people which program this is."""
        return self.node.label

    @property
    def undeliverable(self) -> deque[Undelivered]:
        """What was sent without `confirm` and could not be delivered, with the reason: the last 1,024."""
        found: deque[Undelivered] = self._host.undeliverable
        return found
