"""Publishing: a copy for each subscriber, drops with a count, waits when all links are full."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import FullError, Limits, LocalError, Receiver, WrongKindError, codes, events
from busway.protocol.messaging.correspondent import talk
from busway.protocol.wire.fields import varint
from tests.protocol.helpers import A, B, assert_settled, payloads
from tests.protocol.nets import BROADCAST, GLOBAL, LOCALNET, USERSPACE, Liar, Mesh, alias, chain, u16
from tests.protocol.pairs import E, F, G, Net, Pair


def test_publish_gives_every_subscriber_one_copy_and_nobody_is_no_error() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    assert a.publish(E, b"nobody", net.now) == 0
    mine = [a.register(E, codes.BROADCAST) for _ in range(2)]
    theirs = [(b, b.register(E, codes.BROADCAST)), (c, c.register(E, codes.BROADCAST))]
    net.pump()
    for number in range(3):
        assert a.publish(E, b"%d" % number, net.now) == 0
    net.pump()
    for node, receiver in [(a, mine[0]), (a, mine[1]), *theirs]:
        assert payloads(net.drain(node, receiver)) == [b"0", b"1", b"2"]


def test_a_node_that_only_publishes_looks_after_what_falls_idle() -> None:
    net = Net()
    alone = net.node("a")
    alone.register(E, codes.BROADCAST)
    assert alone.next_deadline() is None
    assert alone.publish(E, b"x", net.now) == 0
    assert alone.next_deadline() == net.now + codes.SWEEP_MS


def test_publish_and_send_know_each_others_kind() -> None:
    net = Pair()
    net.a.register(E, codes.BROADCAST)
    net.b.register(F, codes.BROADCAST)
    net.b.register(G, codes.UNICAST)
    net.pump()
    for endpoint, node_id in ((E, b""), (E, A), (F, b""), (F, B)):
        with pytest.raises(WrongKindError):
            net.a.send(endpoint, b"x", net.now, node_id=node_id)
        with pytest.raises(WrongKindError):
            net.a.request(endpoint, b"x", net.now, node_id=node_id)
    with pytest.raises(WrongKindError):
        net.a.publish(G, b"x", net.now)
    assert net.a.origin.pending == {}


def test_a_full_link_loses_broadcasts_with_a_count_and_the_others_get_theirs() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    slow = b.register(E, codes.BROADCAST)
    quick = c.register(E, codes.BROADCAST)
    net.pump()
    net.cables[0].block(a)
    big = b"x" * 100_000
    for _ in range(15):
        assert a.publish(E, big, net.now) == 0
        net.pump()
    assert len(net.drain(c, quick)) == 15
    assert a.origin.counters["broadcast_dropped"] == 3  # one MiB holds 11, and the newest is kept
    net.cables[0].block(a, False)
    net.pump()
    a.publish(E, b"last", net.now)
    net.pump()
    got = net.drain(b, slow)
    assert [message.missed for message in got] == [0] * 11 + [3, 0]
    assert got[-1].payload == b"last"


def test_publish_waits_only_when_all_links_are_full() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    receivers = [(node, node.register(E, codes.BROADCAST)) for node in (b, c)]
    net.pump()
    for cable in net.cables[:2]:
        cable.block(a)
    big = b"x" * 100_000
    accepted = 0
    while a.publish(E, big, net.now, wait=False) == 0:
        accepted += 1
        if accepted == 11:
            break
    with pytest.raises(FullError):
        a.publish(E, big, net.now, wait=False)
    tokens = [a.publish(E, b"%d" % number, net.now) for number in range(3)]
    assert all(tokens)
    net.cables[0].block(a, False)
    net.pump()
    assert [[o.status for o in net.outcomes(a, token)] for token in tokens] == [[events.ACCEPTED]] * 3
    assert payloads(net.drain(*receivers[0])[-3:]) == [b"0", b"1", b"2"]
    net.cables[1].block(a, False)
    net.pump()
    assert payloads(net.drain(*receivers[1]))[11:] == [b"2"]
    assert a.origin.counters["broadcast_dropped"] == 2
    assert_settled(net)


def test_a_publish_that_waits_ends_with_its_link_or_its_caller() -> None:
    net = Pair()
    net.b.register(E, codes.BROADCAST)
    net.pump()
    net.cable.block(net.a)
    for _ in range(11):
        net.a.publish(E, b"x" * 100_000, net.now)
    cancelled = net.a.publish(E, b"x", net.now)
    waits = net.a.publish(E, b"x", net.now)
    net.a.cancel(cancelled, net.now)
    net.cable.cut()
    assert [o.status for o in net.outcomes(net.a, cancelled)] == [events.CANCELLED]
    assert [o.status for o in net.outcomes(net.a, waits)] == [events.ACCEPTED]  # nobody is left to miss it
    assert_settled(net)


def test_a_publish_still_waiting_waits_on_when_there_is_room_for_but_one_more() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.BROADCAST, size_max=1 << 30)
    net.pump()
    net.cable.block(net.a)
    huge = b"x" * 1_100_000
    tokens = [net.a.publish(E, huge, net.now) for _ in range(4)]
    assert tokens[0] == 0
    assert all(tokens[1:])
    net.cable.block(net.a, False)
    net.pump()
    assert len(net.drain(net.b, receiver)) == 4
    assert [o.token for o in net.seen(net.a, events.OUTCOME)] == tokens[1:]


def test_our_own_subscriber_gets_what_the_links_have_no_room_for() -> None:
    net = Pair()
    mine = net.a.register(E, codes.BROADCAST)
    net.b.register(E, codes.BROADCAST)
    net.pump()
    net.cable.block(net.a)
    for _ in range(20):
        assert net.a.publish(E, b"x" * 100_000, net.now) == 0
    assert len(net.drain(net.a, mine)) == 20
    assert net.a.origin.counters["broadcast_dropped"] == 8


def test_a_publish_too_large_for_a_link_is_dropped_there_with_a_count() -> None:
    net = Pair(b_node={"limits": Limits(message_size_max=100)})
    mine = net.a.register(E, codes.BROADCAST)
    theirs = net.b.register(E, codes.BROADCAST)
    net.pump()
    net.a.publish(E, b"x" * 101, net.now)
    net.pump()
    assert len(net.drain(net.a, mine)) == 1
    assert net.drain(net.b, theirs) == []
    assert net.a.origin.counters["broadcast_dropped"] == 1


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_more_drops_in_a_row_than_numbers_tell_apart() -> None:
    """A subscriber that was stopped while 50,000 went by, which looks like 15,536 back, hears the next."""
    net = Net()
    a, b, c = net.mesh("abc")
    slow = b.register(E, codes.BROADCAST, queue_max=100)
    quick = c.register(E, codes.BROADCAST)
    net.pump()
    a.publish(E, b"first", net.now)
    net.pump()
    net.cables[0].block(a)
    for number in range(50_000):
        a.publish(E, bytes(1_100_000 if not number else 0), net.now)
        if number % 1000 == 0:
            net.cables[1].a.outbox.leftovers()  # c's copies interest nobody
    net.cables[0].block(a, False)
    net.pump()
    for number in range(3):
        a.publish(E, b"%d" % number, net.now)
    net.pump()
    got = net.drain(b, slow)
    assert [len(message.payload) for message in got] == [5, 1_100_000, 0, 1, 1, 1]
    assert [message.missed for message in got] == [0, 0, 49_998, 0, 0, 0]
    assert [message.seq for message in got] == [1, 2, 50_001, 50_002, 50_003, 50_004]
    assert b.receiving.counters["late"] == 0
    assert b.receiving.counters["missed"] == 49_998
    assert b.origin.counters["broadcast_dropped"] == 0
    assert a.origin.counters["broadcast_dropped"] == 49_998
    net.drain(c, quick)


@pytest.mark.parametrize("way", ["held", "moved"])
def test_the_bridge_over_a_gap_keeps_its_place(way: str) -> None:
    """Behind a large message in pieces, or on another link: always right before what it is for."""
    net = Pair(limits=Limits(frame_size_max=1000))
    receiver = net.b.register(E, codes.BROADCAST)
    net.link(net.a, net.b, via="tcp://h:1", realm=codes.LOCALNET)
    net.pump()
    net.a.publish(E, b"first", net.now)
    net.pump()
    net.cable.block(net.a)
    net.a.publish(E, bytes(1_000_000), net.now)
    net.a.origin.publisher.flows[E].sent += 40_000  # as many went by while there was no room
    net.ca.backlog.skipped[E] = 40_000
    net.a.publish(E, b"last", net.now)
    if way == "moved":
        net.cable.cut()
    net.cable.block(net.a, False)
    net.pump()
    got = [(len(message.payload), message.missed) for message in net.drain(net.b, receiver)]
    assert got == [(5, 0), (1_000_000, 0), (4, 40_000)]


def test_a_few_drops_need_no_bridge() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.BROADCAST)
    net.pump()
    net.a.publish(E, b"first", net.now)
    for count in (codes.BRIDGE_MIN - 1, codes.BRIDGE_MIN):
        net.pump()
        net.ca.backlog.skipped[E] = count
        net.a.publish(E, b"x", net.now)
        waiting = [out.kind for out in net.ca.outbox.broadcasts.items]
        assert waiting == ([codes.PUBLISH] if count < codes.BRIDGE_MIN else [codes.SIGNAL, codes.PUBLISH])
        assert net.ca.backlog.skipped == {}
    net.pump()
    assert len(net.drain(net.b, receiver)) == 3


def test_what_ends_here_is_read_in_runs_until_somebody_farther_off_wants_it() -> None:
    net = chain("abc")
    receiver = net["b"].register(E, codes.BROADCAST)
    net.pump()

    def takes_runs(*payloads: bytes) -> bool:
        """Whether b does after these, which all arrive."""
        for payload in payloads:
            net["a"].publish(E, payload, net.now)
            net.pump()
        assert net.payloads("b", receiver) == list(payloads)
        return bool(talk(net.see("b", "a")).in_flows[E].ends_here == net["b"].mesh.epoch)

    assert takes_runs(b"1")
    assert takes_runs(b"2", b"3")
    farther = net["c"].register(E, codes.BROADCAST)
    net.pump()
    assert not takes_runs()
    assert not takes_runs(b"4", b"5")
    assert net.payloads("c", farther) == [b"4", b"5"]
    net["c"].deregister(farther, net.now)
    net.pump()
    assert not takes_runs()
    assert takes_runs(b"6")
    net.leaf("l", "b")
    net.pump()
    farther = net["l"].register(E, codes.BROADCAST)
    net.pump()
    assert not takes_runs(b"9", b"10")
    assert net.payloads("l", farther) == [b"9", b"10"]


# How far a broadcast gets


def far_apart() -> tuple[Mesh, dict[str, Receiver]]:
    """p publishes; i is on its machine, t beyond it, g and h beyond all; each passes on what it may."""
    net = Mesh()
    net.add("pitgh")
    net.join("pi", realm=USERSPACE, medium="ipc")
    net.join("it", realm=LOCALNET)
    net.join("tg gh", realm=GLOBAL, medium="ws")
    net.pump()
    receivers = {letter: net[letter].register(E, BROADCAST, GLOBAL) for letter in "itgh"}
    net.pump()
    return net, receivers


def heard(net: Mesh, receivers: dict[str, Receiver], turns: int = 1, **options: Any) -> str:
    """Those who get what p publishes."""
    for _ in range(turns):
        net["p"].publish(E, b"x", net.now, **options)
        net.pump()
    return "".join(letter for letter in receivers if net.payloads(letter, receivers[letter]))


def test_a_broadcast_stays_in_the_realm_that_it_was_published_in() -> None:
    net, receivers = far_apart()
    own = net["p"].register(E, BROADCAST, GLOBAL)
    for _ in range(2):  # whichever came before
        assert heard(net, receivers) == "it"
        assert heard(net, receivers, realm=codes.PROCESS) == ""
        assert heard(net, receivers, realm=USERSPACE) == "i"
        assert heard(net, receivers, realm=LOCALNET) == "it"
        assert heard(net, receivers, realm=GLOBAL) == "itgh"
        assert heard(net, receivers, realm=GLOBAL, best_effort=True) == "itgh"
    assert len(net.payloads("p", own)) == 12
    with pytest.raises(LocalError, match="realm must be"):
        net["p"].publish(E, b"x", net.now, realm=4)


def test_a_default_broadcast_that_nobody_here_may_have_does_not_turn_off_those_for_all() -> None:
    net, receivers = far_apart()
    for letter in "it":
        net[letter].deregister(receivers.pop(letter), net.now)
    net.pump()
    assert heard(net, receivers, turns=200) == ""
    assert heard(net, receivers, realm=GLOBAL) == "gh"


def test_what_has_come_from_afar_may_go_on_as_far() -> None:
    net = Mesh()
    net.add("gh")
    leaf = net.leaf("l", "g", realm=GLOBAL)
    net.join("gh", realm=GLOBAL, medium="ws")
    net.pump()
    receiver = net["h"].register(E, BROADCAST, GLOBAL)
    net.pump()
    leaf.publish(E, b"not mine to say", net.now)
    net.pump()
    assert net.payloads("h", receiver) == []
    page = Liar(net, net["g"], "p", leaf=True, realm=GLOBAL)  # as pages do, which know no other realm
    page.say(bytes((codes.MESSAGE | codes.PUBLISH << 4,)) + alias(1, E) + u16(1) + b"x")
    net.pump()
    assert net.payloads("h", receiver) == [b"x"]


def test_a_broadcast_that_has_left_its_realm_is_not_taken() -> None:
    net = chain("ab")
    receiver = net["a"].register(E, BROADCAST, GLOBAL)
    net.pump()
    liar = Liar(net, net["a"])
    head = bytes((codes.MESSAGE | codes.HEAD_OPTIONS | codes.PUBLISH << 4, 3, codes.OPTION_REACH, 1))
    liar.say(head + bytes((USERSPACE,)) + alias(1, E) + u16(1) + b"x")
    assert net.payloads("a", receiver) == []
    assert net["a"].counters["beyond_realm"] == 1
    liar.say(head + bytes((LOCALNET,)) + varint(1) + u16(2) + b"y")
    assert net.payloads("a", receiver) == [b"y"]


@pytest.mark.parametrize("ends", [False, True])
def test_what_waits_on_a_link_does_not_go_on_over_a_wider_one(ends: bool) -> None:
    """Because that has taken its place, or because it is the nearer way now."""
    net = Mesh()
    net.add("ab")
    net.join("ab", cost=200)
    net.pump()
    receiver = net["b"].register(E, BROADCAST, GLOBAL)
    net.pump()
    net.cable["ab"].block(net["a"])
    for text in (b"near", b"far"):
        net["a"].publish(E, text, net.now, realm=GLOBAL if text == b"far" else LOCALNET)
    net.join("ba", realm=GLOBAL, medium="ws")
    net.pump()
    if ends:
        net.cable["ab"].cut()
        net.pump()
        assert net.payloads("b", receiver) == [b"far"]
    else:
        net.cable["ab"].block(net["a"], False)
        net.pump()
        assert net.payloads("b", receiver) == [b"near", b"far"]
