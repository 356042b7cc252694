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
from busway.protocol.wire.ascending import write_ascending
from busway.protocol.wire.fields import text8, varint
from busway.protocol.wire.hello import ADDRESSING
from tests.protocol.nets import BROADCAST, LOCALNET, SELF, USERSPACE, Liar, alias, chain, directory, u16
from tests.protocol.pairs import Net
from tests.protocol.test_publishing_patterns import got, guarded, id_of, knows_names, publish, subscribe
from tests.rigs.effort import calls_of, effort


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
        monkeypatch.setattr(lasts, "SIZE_MIN", lasts.SIZE_MAX // most)
        kept = Lasts()

        numbers = itertools.count()

        def come(count: int, kept: Lasts = kept, numbers: Iterator[int] = numbers) -> None:
            for number in itertools.islice(numbers, count):
                kept.note("a link", u16(number), id_of("x"), "", Last(1, b"1", codes.RAW, b"", 0))

        come(most)
        costs.append(calls_of(lambda come=come: come(16)))  # type: ignore[misc]
        assert kept.count == most
    assert costs[0] == costs[1]


def _patterns(count: int, first: int = 0) -> list[bytes]:
    """Entries of so many subscribers, each by a pattern that means every name of two levels."""
    head = bytes((BROADCAST | 0x40,))
    return [head + (first + number).to_bytes(16, "big") + text8("**/*") for number in range(count)]


def _keeper(count: int) -> tuple[Net, Node, Liar]:
    net = Net()
    node = net.node("a")
    knows_names(node)
    liar = Liar(net, node, features=ADDRESSING)
    for number in range(count):
        node.retain(id_of(f"lab/{number}"), b"v", net.now)
    liar.hear()
    return net, node, liar


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_many_subscriptions_by_pattern_cost_little_before_others_have_a_turn() -> None:
    """Each subscriber means each of a thousand values: a million matches, and as many messages."""
    net, node, liar = _keeper(1000)
    retained = node.origin.retained
    entries = _patterns(1000)

    def tell() -> None:
        liar.say(directory(SELF, LOCALNET, 0, 1, *entries))

    assert effort(tell) < 1
    assert sum(map(len, retained._replays.values())) > 900
    net.advance(2 * 2000)  # what was published close to the change is looked at once more
    assert len(retained._turns_of) == 1
    came = len(liar.hear())
    for _ in range(3):
        net.advance(1)
        came += len(liar.hear())
    assert came > 4 * 4000
    liar.say(directory(SELF, LOCALNET, 1, 2, *[b"\0" + each[1:17] for each in entries]))
    assert retained._replays == {}
    assert not any(turns.replays for turns in retained._turns_of.values())
    liar.leave()
    assert retained._turns_of == {}
    assert liar.error != codes.MALFORMED


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_all_of_many_subscribers_get_every_value_in_the_end() -> None:
    net, node, liar = _keeper(100)
    liar.say(directory(SELF, LOCALNET, 0, 1, *_patterns(100)))
    came = 0
    for _ in range(20):
        net.advance(1)
        came += len([body for body in liar.hear() if body[0] & codes.MESSAGE])
    assert came == 100 * 100
    assert not node.origin.retained._replays
    assert not node.origin.retained._turns_of


def test_values_that_were_replaced_again_and_again_take_no_room() -> None:
    net, node, liar = _keeper(3)
    for _ in range(1000):
        node.retain(id_of("lab/1"), b"w", net.now)
    assert len(node.origin.retained.log) < 100
    liar.say(directory(SELF, LOCALNET, 0, 1, *_patterns(1)))
    assert len([body for body in liar.hear() if body[0] & codes.MESSAGE]) == 3


def test_values_that_wait_for_room_follow_the_way_to_their_subscriber() -> None:
    net = chain("abc")
    a = net["a"]
    retained = a.origin.retained
    knows_names(a)
    for number in range(300):
        a.retain(id_of(f"lab/{number}"), bytes(16384), net.now)
    a.retain(id_of("hall"), b"x", net.now)
    net.cable["ab"].block(net["b"])
    receiver = subscribe(net["c"], "lab/*")
    subscribe(net["c"], "nothing of that name")
    named = subscribe(net["c"], "hall")
    net.cable["ab"].block(net["b"], False)
    for _ in range(12):
        net.step(size=16384)
    [turns] = retained._turns_of.values()
    assert turns.replays
    [entry] = a.directory.known(id_of("lab/*"))
    retained.subscribed(entry, net.now)  # its way has become narrower
    a.clear(id_of("hall"), net.now)
    hop, entry.peer.hop = entry.peer.hop, None  # its way is lost, and there may be another
    net.pump(size=16384)
    retained.subscribed(entry, net.now)
    assert not retained._turns_of
    entry.peer.hop = hop
    retained.way_changed(entry.peer, net.now)
    net.pump(size=16384)
    net.advance(5000)
    found = [name for name, _ in got(net, net["c"], receiver)]
    assert len(found) == len(set(found)) == 300
    assert got(net, net["c"], named) == []
    assert not retained._replays
    assert not retained._turns_of


def test_who_refuses_the_same_values_again_and_again_gets_them_less_and_less_often() -> None:
    """A few bytes of it would bring all of them each time."""
    net, node, liar = _keeper(16)
    liar.say(directory(SELF, LOCALNET, 0, 1, *_patterns(1)))
    liar.hear()
    came = 0
    lacking = write_ascending(list(range(1, 17)))
    for _ in range(600):  # ten minutes
        for body in liar.hear():
            came += body[0] == codes.MESSAGE | codes.HEAD_OPTIONS
        for id in list(node.origin.retained._asked):
            liar.say(bytes((codes.MESSAGE | codes.REPLY << 4,)) + varint(id) + lacking)
        net.advance(1000)
    assert 16 * 4 < came < 16 * 12


def test_who_says_that_a_name_is_a_pattern_ends_no_publishing() -> None:
    """The uuid of one endpoint with a pattern as its name: what means a name leads to that very name."""
    net = chain("ab")
    knows_names(net["a"], net["b"])
    names = [f"lab/{number}" for number in range(4)]
    receivers = [subscribe(net["b"], name) for name in names]
    head = bytes((BROADCAST | 0x40,))
    entries = [head + id_of(name) + text8("lab/**") for name in names]
    liar = Liar(net, net["a"], features=ADDRESSING)
    liar.say(directory(SELF, LOCALNET, 0, 1, *entries))
    for _ in range(2):
        for name in names:
            publish(net, net["a"], name, name.encode())
            net.pump()
    assert [got(net, net["b"], receiver) for receiver in receivers] == [
        [(name, name.encode())] * 2 for name in names
    ]
    assert liar.error == -1
    heard = len(liar.heard(codes.MESSAGE | codes.PUBLISH << 4))
    assert heard <= 2 * len(names) * len(names)


def test_who_says_so_to_the_router_of_a_leaf_doubles_nothing() -> None:
    net = chain("rb")
    leaf = net.leaf("l", "r")
    knows_names(leaf, net["b"])
    receiver = subscribe(net["b"], "lab/1")
    net.pump()
    liar = Liar(net, net["r"], features=ADDRESSING)
    liar.say(directory(SELF, LOCALNET, 0, 1, bytes((BROADCAST | 0x40,)) + id_of("lab/1") + text8("lab/**")))
    before = len(net.sent_by("r", "rb"))
    for number in range(3):
        publish(net, leaf, "lab/1", b"%d" % number)
    net.pump()
    assert net.sent_by("r", "rb")[before:].count(b"lab/1") == 0  # as in the copies for a pattern
    assert got(net, net["b"], receiver) == [("lab/1", b"%d" % number) for number in range(3)]
    assert net["b"].receiving.counters["no_endpoint"] == 0
    assert sum(flow.missed for flow in net.see("b", "l").in_flows.values()) == 0
