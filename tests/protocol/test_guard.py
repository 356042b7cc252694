"""What a policy denies: at the destination, where entries are taken, and where they are told; and what
changes when it does.
"""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Guard, LocalError, codes, events
from busway.protocol.link.face import LinkFace

from .nets import Mesh, id_of
from .pairs import Pair


class Rules:
    """A policy for tests: whatever is in `deny` is denied, b"" and -1 for any; asked about is noted."""

    def __init__(self, net: Any = None, letter: str = "") -> None:
        self.deny: list[tuple[bytes, int, bytes]] = []  # node id, what, uuid
        self.quotas: dict[int, int] = {}
        self.asked: list[tuple[bytes, int, bytes, str, int]] = []
        self.guard = Guard(self.may, self.quota)
        if net is not None:
            (net[letter] if isinstance(net, Mesh) else getattr(net, letter)).guard = self.guard

    def may(self, link: LinkFace, node_id: bytes, what: int, uuid: bytes, name: str, realm: int) -> bool:
        self.asked.append((node_id, what, uuid, name, realm))
        return not any(
            node in (node_id, b"") and action in (what, -1) and endpoint in (uuid, b"")
            for node, action, endpoint in self.deny
        )

    def quota(self, link: LinkFace, which: int) -> int:
        return self.quotas.get(which, -1)


def test_only_a_guard_guards() -> None:
    net = Pair()
    assert net.a.guard is None
    with pytest.raises(LocalError, match="must be a Guard or None"):
        net.a.guard = Rules()  # type: ignore[assignment]
    rules = Rules(net, "a")
    assert net.a.guard is rules.guard


def test_a_denial_is_counted_each_time_and_told_once() -> None:
    net = Pair()
    rules = Rules(net, "a")
    rules.deny = [(b"", codes.MAY_CALL, b"")]
    gate = net.a.mesh.gate

    def ask(number: int) -> bool:
        return gate.allows(net.ca, id_of("b"), codes.MAY_CALL, b"%016d" % number, "lab/x", codes.LOCALNET)

    assert not ask(0)
    assert not ask(0)
    [event] = net.a.take_events()
    assert isinstance(event, events.DeniedEvent)
    assert (event.kind, event.link, event.node_id, event.what) == (
        events.DENIED,
        net.ca,
        b"b" * 16,
        codes.MAY_CALL,
    )
    assert (event.uuid, event.name, event.realm) == (b"%016d" % 0, "lab/x", codes.LOCALNET)
    assert net.a.counters["denied"] == 2
    for number in range(1, codes.DENIALS_LINK_MAX + 1):
        ask(number)
    assert len(net.a.take_events()) == codes.DENIALS_LINK_MAX
    ask(codes.DENIALS_LINK_MAX)
    assert net.a.take_events() == []
    ask(0)  # forgotten for the others
    assert len(net.a.take_events()) == 1
    net.a.guard_changed(net.now)
    ask(0)
    assert len(net.a.take_events()) == 1
    net.cable.cut()
    assert gate._told == {}
