"""The last hop of what is forwarded, and the rare turns."""

from __future__ import annotations

import pytest

from busway.protocol import Limits, LocalError, codes, events
from busway.protocol.routing.advertising import adverts
from busway.protocol.wire.fields import varint
from busway.protocol.wire.messages import TreeFrame

from .helpers import assert_settled, verdicts
from .nets import (
    ANYCAST,
    BROADCAST,
    LOCALNET,
    UNICAST,
    Liar,
    Mesh,
    alias,
    bind,
    chain,
    directory,
    entry,
    id_of,
    key,
    message,
    parent,
    retract,
    ring,
    routes,
    signal,
    u16,
    update,
)
from .pairs import E, F

# The last hop


@pytest.mark.parametrize("kind", [codes.SEND, codes.CONFIRM, codes.REQUEST, codes.REPLY, codes.PART])
def test_a_message_without_hops_is_answered_in_the_name_of_its_destination(kind: int) -> None:
    net = chain("abc")
    liar = Liar(net, net["b"])
    liar.hear()
    c = bind(3, net["c"].me.key)
    fields = {
        codes.SEND: alias(1, E) + u16(7),
        codes.CONFIRM: alias(1, E) + u16(7) + b"\x05" + b"\x64",
        codes.REQUEST: alias(1, E) + u16(7) + b"\x05" + b"\x64",
        codes.REPLY: b"\x05",
        codes.PART: b"\x05" + u16(0),
    }[kind]
    liar.say(message(kind, 4, 0, c, fields))
    net.pump()
    answers = liar.hear()
    if kind >= codes.REPLY:
        assert answers == []
        assert net["c"].origin.counters["unknown_reply"] == 1
        return
    [answer] = [body for body in answers if body[0] in (0xF8, 0xE8)]
    assert answer[1:4] == bytes((LOCALNET | 8, 255, liar.connection.outbox.nodes.numbers[net["c"].me.key]))
    assert answer[-1] == codes.NO_ROUTE
    assert net["b"].forwarder.counters["unroutable"] == 1


# Rare turns


def test_what_is_too_much_to_wait_for_another_way_fails_at_once() -> None:
    net = chain("abcd")
    net["d"].register(E, UNICAST)
    net.pump()
    net.cable["cd"].cut()
    net.cable["ab"].block(net["a"])
    tokens = [net["a"].send(E, b"x" * 600_000, net.now, confirm=True) for _ in range(2)]
    own = [net["c"].send(E, b"x" * 600_000, net.now, confirm=True) for _ in range(2)]
    net.cable["bc"].block(net["c"])
    net.cable["ab"].block(net["a"], False)
    net.pump()
    net.cable["bc"].block(net["c"], False)
    net.advance(60_000)
    assert all(len(verdicts(net, net["a"], token)) == 1 for token in tokens)
    assert all(len(verdicts(net, net["c"], token)) == 1 for token in own)
    assert net["c"].forwarder._held == 0
    assert_settled(net)


def test_a_broadcast_whose_next_link_ends_is_forgotten() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, BROADCAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    net["a"].publish(E, b"lost", net.now)
    net.pump()
    net.cable["bc"].cut()
    net.join("bc")
    net.pump()
    net["a"].publish(E, b"found", net.now)
    net.pump()
    assert net.payloads("c", receiver) == [b"found"]


def test_our_own_message_that_comes_back_and_fails_is_told_to_us() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    far = bind(3, key("f"))
    liar.say(routes(update(far, 1, 1)), directory(varint(3), LOCALNET, 0, 1, entry(UNICAST, E)))
    net["b"].send(E, b"x", net.now)
    token = net["b"].request(E, b"x", net.now)
    liar.hear()
    liar.say(message(codes.SEND, 12, 0, b"\x03\x02", alias(1, E) + u16(1)))
    liar.say(message(codes.REQUEST, 12, 0, b"\x03\x02", b"\x01" + u16(2) + varint(token) + b"\x64"))
    net.pump()
    assert net.undelivered("b") == [codes.NO_ROUTE]
    assert verdicts(net, net["b"], token) == [(events.UNDELIVERED, codes.NO_ROUTE)]


def test_a_trace_of_nobody_is_not_answered() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    liar.hear()
    liar.say(message(codes.SIGNAL, 8, 9, bind(3, b"n" * 20), bytes((codes.TRACE, 1))))
    assert liar.hear() == []


def test_a_trace_of_one_that_is_gone_is_not_answered() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    trace = message(codes.SIGNAL, 8, 9, b"\x03", bytes((codes.TRACE, 1)))
    liar.say(routes(update(bind(3, key("f")), 1, 1)))
    liar.hear()
    liar.say(trace)
    assert len(liar.hear()) == 1
    liar.say(routes(retract(b"\x03")))
    liar.hear()
    liar.say(trace)  # it was on its way
    assert (liar.hear(), liar.error) == ([], -1)
    assert net["b"].forwarder.counters["unbelieved"] == 0


@pytest.mark.parametrize("fits", [True, False])
def test_an_answer_of_a_trace_is_never_cut(fits: bool) -> None:
    """It says less where its own link is narrow; where a later one is, it is lost, and no link ends."""
    small = Limits(frame_size_max=codes.FRAME_SIZE_MIN)
    net = Mesh()
    net.add("a", limits=None if fits else small)
    net.add("b")
    net.add("c", label="ö" * 32, limits=small if fits else None)
    net.join("ab bc", medium="m" * 64)
    net.pump()
    token = net["a"].trace(id_of("c"), 9, net.now, timeout_ms=700)
    net.pump()
    net.advance(800)
    [outcome] = net.outcomes(net["a"], token)
    assert (outcome.status == events.TRACED) == fits
    if fits:
        assert outcome.payload == b"\x02\x01\x07" + b"m" * 7 + b"\x00"
    assert net["b"].origin.counters["signals_dropped"] == (0 if fits else 1)
    assert net.reaches("a") == "bc"


def test_without_transit_a_neighbour_that_names_a_node_behind_us_is_refused() -> None:
    net = Mesh()
    net.add("b", transit=False)
    net.add("c")
    net.join("bc")
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    liar = Liar(net, net["b"])
    liar.hear()
    liar.say(message(codes.SEND, 4, 9, bind(3, net["c"].me.key), alias(1, E) + u16(1)))
    net.pump()
    assert net["b"].forwarder.counters["unroutable"] == 1
    assert net.payloads("c", receiver) == []


def test_a_trace_may_be_called_off() -> None:
    net = chain("abc")
    token = net["a"].trace(id_of("c"), 9, net.now)
    net["a"].cancel(token, net.now)
    net.pump()
    assert [status for status, _ in verdicts(net, net["a"], token)] == [events.CANCELLED]
    assert_settled(net)


def test_hops_beyond_one_byte_are_refused() -> None:
    net = chain("ab")
    with pytest.raises(LocalError, match="hops must be 0 to 255"):
        net["a"].trace(id_of("b"), 256, net.now)


def test_a_parent_that_is_left_is_told_that_its_prune_is_over() -> None:
    net = ring("abcd")
    for letter in "bd":
        net[letter].register(E, BROADCAST)
    net.pump()
    net["a"].publish(E, b"1", net.now)
    net.pump()
    assert net.see("c", "a").hop is not None
    first = net.hop("c", "a")
    link = net.see("c", first).connections[0]
    there = net.see(first, "c").connections[0]
    assert len(adverts(there).pruned.keys) == 1
    link.set_cost(50, net.now)
    net.pump()
    net.advance(3000)
    assert net.hop("c", "a") != first
    net["a"].publish(E, b"2", net.now)
    net.pump()
    assert adverts(there).pruned.keys == {}
    assert [key[1] for key in net["c"].forwarder._pruned.values()] == [0]


def test_a_child_that_says_so_again_is_no_longer_pruned() -> None:
    net = chain("ab")
    net["a"].register(E, BROADCAST)
    net.pump()
    liar = Liar(net, net["b"])
    liar.say(bytes((codes.SYNC, 5)), routes(parent(b"\x02")))
    liar.say(signal(codes.PRUNE, alias(1, E) + b"\x02"), signal(codes.PRUNE, alias(2, F) + b"\x01"))
    assert len(adverts(liar.connection).pruned.keys) == 2
    liar.say(routes(parent(b"\x02")))
    assert list(adverts(liar.connection).pruned.keys) == [liar.key + F]
    liar.say(signal(codes.GRAFT, b"\x02\x01"))
    assert adverts(liar.connection).pruned.keys == {}


def test_a_new_child_of_a_pruned_tree_gets_copies() -> None:
    net = chain("abc")
    net["b"].register(F, BROADCAST)
    net.pump()
    liar = Liar(net, net["c"])
    keeper = net["c"].register(E, BROADCAST)
    net.pump()
    net["a"].publish(E, b"1", net.now)
    net.pump()
    assert net.payloads("c", keeper) == [b"1"]
    net["c"].deregister(keeper, net.now)
    a = net["a"].me
    net["c"].forwarder._prune(net.cable["bc"].b, net.see("c", "a"), E)
    assert (a.key + E) in net["c"].forwarder._pruned
    liar.say(routes(parent(bind(3, a.key))))
    assert net["c"].forwarder._pruned == {}


def test_what_is_still_unwanted_stays_pruned() -> None:
    net = chain("abc")
    liar = Liar(net, net["c"])
    forwarder, link = net["c"].forwarder, net.cable["bc"].b
    a, b = net["a"].me, net["b"].me
    for node, endpoint in (("a", E), ("a", F), ("b", E), ("b", F)):
        forwarder._prune(link, net.see("c", node), endpoint)
    net["c"].register(E, BROADCAST)
    net.pump()
    assert set(forwarder._pruned) == {a.key + F, b.key + F}
    liar.say(routes(parent(bind(3, a.key))))
    assert set(forwarder._pruned) == {b.key + F}
    graft = TreeFrame(codes.GRAFT, liar.key, F, net["c"].me.key)
    forwarder.tree_signal_came(liar.connection, graft)  # only what a leaf of ours publishes goes that way
    assert set(forwarder._pruned) == {b.key + F}


def test_subscribers_that_only_the_asker_knows_get_their_copies_over_those_who_do_not() -> None:
    net = Mesh()
    net.add("abcd")
    net.join("ab bc")
    net.join("cd", lookups=True)
    net.pump()
    receiver = net["d"].register(E, BROADCAST)
    net.pump()
    for number in range(3):
        net["a"].publish(E, b"%d" % number, net.now)
        net.advance(6000)
    assert net.holders("b", E) == ""
    assert net.payloads("d", receiver)[-1] == b"2"


def test_a_request_may_be_called_off_while_its_way_is_lost() -> None:
    net = chain("abc")
    net["c"].register(E, ANYCAST)
    net.pump()
    tokens = [net["b"].request(E, b"x", net.now, window=window) for window in (0, 4)]
    net.pump()
    net.cable["bc"].cut()
    assert net.hop("b", "c") == ""
    net["b"].origin.answers.tell_window(net["b"].origin.pending[tokens[1]], net.now)
    for token in tokens:
        net["b"].cancel(token, net.now)
    net.advance(60_000)
    for token in tokens:
        assert [status for status, _ in verdicts(net, net["b"], token)] == [events.CANCELLED]
    assert_settled(net)


def test_more_than_may_wait_of_our_own_for_another_way_fails_at_once() -> None:
    net = chain("abc")
    net["c"].register(E, UNICAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    tokens = [net["b"].send(E, b"x" * 700_000, net.now, confirm=True) for _ in range(2)]
    net.cable["bc"].cut()
    net.note(net["b"], net["b"].take_events())
    assert [len(verdicts(net, net["b"], token)) for token in tokens] == [0, 1]
    net.advance(60_000)
    assert [len(verdicts(net, net["b"], token)) for token in tokens] == [1, 1]
    assert_settled(net)


def test_only_the_broadcasts_of_one_tree_are_taken_from_a_link() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, BROADCAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    for number in range(3):
        net["a"].publish(E, b"a%d" % number, net.now)
        net["b"].publish(E, b"b%d" % number, net.now)
    net.step()
    outbox = net.cable["bc"].a.outbox
    taken = outbox.take_broadcasts(net.see("b", "a").key)
    assert [out.payload for out in taken] == [b"a0", b"a1", b"a2"]
    net.cable["bc"].block(net["b"], False)
    net.pump()
    assert net.payloads("c", receiver) == [b"b0", b"b1", b"b2"]
    assert outbox.broadcasts.size == 0


def test_broadcasts_and_messages_of_others_take_turns_where_there_are_none_of_ours() -> None:
    net = chain("abc")
    heard, passed = net["c"].register(E, BROADCAST), net["c"].register(F, UNICAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    texts = [b"%d" % number for number in range(3)]
    for text in texts:
        net["b"].publish(E, text, net.now)
        net["a"].send(F, text, net.now)
    net.pump()
    net.cable["bc"].block(net["b"], False)
    net.pump()
    assert net.payloads("c", heard) == net.payloads("c", passed) == texts


def test_broadcasts_of_another_tree_stay_behind_a_large_one_and_count() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, BROADCAST)
    net.pump()
    link = net.cable["bc"].a
    net["b"].publish(E, bytes(300_000), net.now)
    cable = net.cable["bc"].ends[1]
    cable.inbox += link.data_to_send(1000, net.now)
    for number in range(3):
        net["b"].publish(E, b"b%d" % number, net.now)
    for _ in range(2):
        cable.inbox += link.data_to_send(70_000, net.now)
    assert not len(link.broadcasts)
    net["a"].publish(E, b"a", net.now)
    net.cable["bc"].block(net["b"])
    net.pump()
    size = link.broadcasts.size
    taken = link.take_broadcasts(net.see("b", "a").key)
    assert [out.payload for out in taken] == [b"a"]
    assert link.broadcasts.size == size - 33 == 3 * 34
    net.cable["bc"].block(net["b"], False)
    net.pump()
    assert net.payloads("c", receiver) == [bytes(300_000), b"b0", b"b1", b"b2"]
    assert link.broadcasts.size == 0
