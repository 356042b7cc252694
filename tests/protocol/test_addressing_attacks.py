"""What a peer cannot gain by patterns, last values and priorities: values past a policy or a realm, the work
or the memory of others, the place of others' subscriptions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from busway.protocol import Node, codes
from busway.protocol.messaging import lasts
from busway.protocol.messaging.lasts import Lasts
from busway.protocol.messaging.marked import Last
from tests.protocol.nets import USERSPACE, Liar, alias, chain, u16
from tests.protocol.pairs import Net
from tests.protocol.test_publishing_patterns import got, guarded, id_of, knows_names, publish, subscribe
from tests.rigs.effort import calls_of


def say(
    liar: Liar, endpoint: bytes, number: int, payload: bytes, *, name: bytes = b"", retain: int = 0
) -> None:
    """A broadcast with options by hand; the endpoint is bound anew each time."""
    options = bytes((codes.OPTION_NAME, len(name))) + name if name else b""
    if retain:
        options += bytes((codes.OPTION_RETAIN, 4)) + retain.to_bytes(4, "big")
    head = codes.MESSAGE | codes.PUBLISH << 4 | codes.HEAD_OPTIONS
    at = alias(1, endpoint)
    liar.say(bytes((head, len(options))) + options + at + u16(number) + payload)


def victim(*allowed: tuple[str, int, str]) -> tuple[Net, Node]:
    net = Net()
    node = net.node("a")
    if allowed:
        node.guard = guarded(*allowed)
    return net, node


def values(net: Net, node: Node, receiver: Any) -> list[tuple[str, bytes]]:
    return [(message.name, message.payload) for message in net.drain(node, receiver)]


def test_what_a_policy_denies_is_no_last_value_either() -> None:
    net, node = victim(("z", codes.MAY_PUBLISH, "lab/x"))
    receiver = subscribe(node, "lab/*")
    liar = Liar(net, node)
    say(liar, id_of("lab/*"), 1, b"may", name=b"lab/x", retain=1)
    for number in (1, 2, 2):
        say(liar, id_of("lab/*"), number, b"may not", name=b"lab/secret", retain=2)
    assert liar.error == -1
    assert values(net, node, receiver) == [("lab/x", b"may")]
    assert values(net, node, subscribe(node, "lab/*")) == [("lab/x", b"may")]
    assert node.receiving.lasts.count == 1


def test_who_is_beyond_the_realm_leaves_no_last_value() -> None:
    net, node = victim()
    receiver = subscribe(node, "lab/x", USERSPACE)
    liar = Liar(net, node)
    say(liar, id_of("lab/x"), 1, b"", retain=codes.CLEARED | 1)
    say(liar, id_of("lab/x"), 1, b"from afar", retain=2)
    assert node.receiving.counters["no_endpoint"] == 2
    assert values(net, node, receiver) == values(net, node, subscribe(node, "lab/x", USERSPACE)) == []
    assert node.receiving.lasts.count == 0


def test_priorities_pass_by_a_pattern_where_a_node_on_the_way_has_a_policy() -> None:
    net = chain("abcd")
    knows_names(net["a"])
    net["b"].guard = guarded(("c", codes.MAY_SUBSCRIBE, "lab/x"), ("d", codes.MAY_SUBSCRIBE, "lab/x"))
    net["b"].guard_changed(net.now)
    far, near = subscribe(net["d"], "lab/*"), subscribe(net["c"], "lab/*")
    net.pump()
    for name in ("lab/x", "lab/y"):
        for priority in (codes.URGENT, codes.NORMAL, codes.LOW):
            publish(net, net["a"], name, bytes((priority,)), priority=priority)
    net.pump()
    for node, receiver in ((net["d"], far), (net["c"], near)):
        assert sorted(got(net, node, receiver)) == [("lab/x", bytes((each,))) for each in (0, 1, 3)]


def test_a_last_value_of_one_of_many_publishers_costs_what_it_costs_of_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costs = []
    for most in (32, 1024):
        monkeypatch.setattr(lasts, "COUNT_MAX", most)
        kept = Lasts()

        numbers = itertools.count()

        def come(count: int, kept: Lasts = kept, numbers: Iterator[int] = numbers) -> None:
            for number in itertools.islice(numbers, count):
                kept.note(u16(number), id_of("x"), "", Last(1, b"1", codes.RAW, b"", 0))

        come(most)
        costs.append(calls_of(lambda come=come: come(16)))  # type: ignore[misc]
        assert kept.count == most
    assert costs[0] == costs[1]
