"""A small leaf that has subscribed by a pattern: it gets what is published to every name that it means."""

from __future__ import annotations

import pytest

from busway.protocol import codes

from .leaves import LeafNet
from .test_publishing_patterns import id_of, knows_names


@pytest.mark.parametrize("nodes", ["a", "ab"])
def test_it_gets_each_once_with_its_name(nodes: str) -> None:
    net = LeafNet(nodes)
    here = net.leaf.register(id_of("lab/*"), codes.BROADCAST, name="lab/*")
    net.settle()
    origin = net.nodes[-1]
    knows_names(origin)
    for number, name in enumerate(("lab/x", "hall", "lab/y", "lab/x/z", "lab/x")):
        origin.publish(id_of(name), b"%d" % number, net.now)
        net.settle()
    taken = []
    while (message := net.leaf.take(here, net.now)) is not None:
        taken.append((message.name, message.payload, message.missed))
    assert taken == [("lab/x", b"0", 0), ("lab/y", b"2", 0), ("lab/x", b"4", 0)]
