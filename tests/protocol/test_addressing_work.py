"""What a peer cannot make others work by selectors that are slow."""

from __future__ import annotations

from busway.protocol import codes
from busway.protocol.wire import selectors
from busway.protocol.wire.fields import varint
from busway.protocol.wire.hello import ADDRESSING
from tests.protocol.nets import LOCALNET, SELF, Liar, directory, signal
from tests.protocol.pairs import Net
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
