"""A policy for tests of what a guard denies."""

from __future__ import annotations

from typing import Any

from busway.protocol import Guard
from busway.protocol.link.face import LinkFace

from .nets import Mesh


class Rules:
    """A policy for tests: whatever is in `deny` is denied, b"" and -1 for any; asked about is noted."""

    def __init__(self, net: Any = None, letter: str = "") -> None:
        self.deny: list[tuple[bytes, int, bytes]] = []  # node id, what, uuid or name
        self.quotas: dict[int, int] = {}
        self.asked: list[tuple[bytes, int, bytes, str, int]] = []
        self.guard = Guard(self.may, self.quota)
        if net is not None:
            (net[letter] if isinstance(net, Mesh) else getattr(net, letter)).guard = self.guard

    def may(self, link: LinkFace, node_id: bytes, what: int, uuid: bytes, name: str, realm: int) -> bool:
        self.asked.append((node_id, what, uuid, name, realm))
        return not any(
            node in (node_id, b"") and action in (what, -1) and endpoint in (uuid, name.encode(), b"")
            for node, action, endpoint in self.deny
        )

    def quota(self, link: LinkFace, which: int) -> int:
        return self.quotas.get(which, -1)

    def about(self, *actions: int) -> list[tuple[bytes, int, bytes, str, int]]:
        """What was asked about these."""
        return [what for what in self.asked if what[1] in actions]
