"""What a peer cannot make others work by selectors that are slow, nor take of others by many patterns."""

from __future__ import annotations

from busway.protocol import codes, events
from busway.protocol.routing.patterns import MATCHES_MAX
from busway.protocol.wire import selectors
from busway.protocol.wire.fields import text8, varint
from busway.protocol.wire.hello import ADDRESSING
from tests.protocol.nets import BROADCAST, LOCALNET, SELF, YOU, Liar, chain, directory, parent, routes, signal
from tests.protocol.pairs import Net
from tests.protocol.test_publishing_patterns import got, knows_names, publish, subscribe
from tests.rigs.effort import effort


def test_selectors_that_others_ask_for_cost_little_with_each_change() -> None:
    """Of those with a name that is slow to match few are kept up with what comes and goes."""
    net = Net()
    node = net.node("a")
    liar = Liar(net, node, features=ADDRESSING)
    for number in range(codes.SELECTIONS_MAX):
        slow = b"**/" + b"a/" * 29 + b"%02d" % number
        operand = bytes((selectors.NAME, len(slow))) + slow
        expression = operand * 6 + bytes((selectors.OR,)) * 5
        liar.say(signal(codes.SELECT, varint(number + 1) + expression))
        net.advance(1000)
    selections = node.mesh.selections
    assert sum(each.selector.work() for each in selections.asked.values()) <= 2 * codes.SELECTIONS_WORK_MAX
    name = b"a/" * 31 + b"c"
    entry = bytes((codes.UNICAST | 0x40,)) + bytes(16) + bytes((len(name),)) + name
    assert effort(lambda: liar.say(directory(SELF, LOCALNET, 0, 1, entry))) < 0.1
    assert liar.error == -1
    for number in range(300):  # and others have their place again
        quick = bytes((selectors.LABEL, 3)) + b"%03d" % number
        liar.say(signal(codes.SELECT, varint(number + 1) + quick))
        net.advance(1000)
    assert len(selections.asked) == codes.SELECTIONS_MAX
    assert selections._asked_work == sum(each.selector.work() for each in selections.asked.values())


def test_who_tells_of_many_patterns_takes_nobodys_place() -> None:
    net = chain("abc")
    knows_names(net["a"])
    liar = Liar(net, net["a"], features=ADDRESSING)
    head = bytes((BROADCAST | 0x40,))
    entries = [head + number.to_bytes(16, "big") + text8("lab/*") for number in range(300)]
    liar.say(routes(parent(YOU)), directory(SELF, LOCALNET, 0, 1, *entries))
    receiver = subscribe(net["c"], "lab/*")
    net.pump()
    publish(net, net["a"], "lab/x")
    net.pump()
    assert got(net, net["c"], receiver) == [("lab/x", b"x")]
    copies = [body for body in liar.hear() if body[0] & codes.MESSAGE]
    assert len(copies) == MATCHES_MAX + 1  # and that of the other, until it says that nobody there wants it
    assert net["a"].counters["patterns_over"] == 300 - MATCHES_MAX
    [told] = net.fresh(net["a"], events.EXCEEDED)
    assert isinstance(told, events.ExceededEvent)
    assert (told.link, told.which) == (liar.connection, codes.QUOTA_PATTERNS)


def test_what_a_node_leaves_out_of_its_own_patterns_is_counted() -> None:
    net = Net()
    node = net.node("a")
    knows_names(node)
    for number in range(1, 1 + MATCHES_MAX + 9):
        subscribe(node, "/".join("*" if number >> bit & 1 else "b" for bit in range(9)))
    publish(net, node, "/".join(["b"] * 9))
    assert node.counters["patterns_over"] == 9
    assert net.fresh(node, events.EXCEEDED) == []
