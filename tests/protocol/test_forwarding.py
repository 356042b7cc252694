"""Messages over several hops: each call's promise, and what each way of failing tells its origin."""

from __future__ import annotations

import pytest

from busway.protocol import Limits, LocalError, codes, events
from busway.protocol.messaging.correspondent import talk
from busway.protocol.routing.advertising import adverts
from busway.protocol.wire.fields import varint
from busway.protocol.wire.messages import TreeFrame

from .helpers import assert_settled, fill, parts_of, verdicts
from .nets import (
    ANYCAST,
    BROADCAST,
    GLOBAL,
    LOCALNET,
    UNICAST,
    USERSPACE,
    Liar,
    Mesh,
    alias,
    bind,
    chain,
    directory,
    entry,
    grid,
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

# Each call over several hops


@pytest.mark.parametrize("letters", ["abc", "abcdefgh"])
def test_a_send_arrives_over_several_hops(letters: str) -> None:
    net = chain(letters)
    last = letters[-1]
    receiver = net[last].register(E, UNICAST)
    net.pump()
    for number in range(300):
        net["a"].send(E, b"%d" % number, net.now)
    got = []
    for _ in range(300):
        net.pump()
        got += net.payloads(last, receiver)
    assert got == [b"%d" % number for number in range(300)]
    assert net["b"].forwarder.counters["forwarded"] > 0
    assert net.undelivered("a") == []


def test_a_message_names_its_source_over_several_hops() -> None:
    net = chain("abcd")
    receiver = net["d"].register(E, UNICAST)
    net.pump()
    net["a"].send(E, b"x", net.now)
    net.pump()
    message = net.drain(net["d"], receiver)[0]
    assert (message.source, message.payload) == (id_of("a"), b"x")


def test_a_confirmed_send_is_taken_over_several_hops() -> None:
    net = chain("abcd")
    receiver = net["d"].register(E, UNICAST)
    net.pump()
    token = net["a"].send(E, b"x", net.now, confirm=True)
    net.pump()
    assert verdicts(net, net["a"], token) == []
    assert len(net.payloads("d", receiver)) == 1
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.TAKEN, 0)]
    assert_settled(net)


def test_a_request_is_answered_over_several_hops() -> None:
    net = chain("abcd")
    receiver = net["d"].register(E, ANYCAST)
    net.pump()
    token = net["a"].request(E, b"ask", net.now)
    net.pump()
    asked = net.asked("d", receiver)
    net["d"].respond(asked, b"answer", net.now)
    net.pump()
    assert [o.payload for o in net.outcomes(net["a"], token)] == [b"answer"]
    assert_settled(net)


def test_an_error_and_a_time_out_travel_over_several_hops() -> None:
    net = chain("abcd")
    receiver = net["d"].register(E, ANYCAST)
    net.pump()
    failed = net["a"].request(E, b"1", net.now)
    late = net["a"].request(E, b"2", net.now, timeout_ms=300)
    net.pump()
    asked = net.drain(net["d"], receiver)
    net["d"].respond_error(asked[0], 300, "no", net.now)
    net.advance(400)
    assert verdicts(net, net["a"], failed) == [(events.FAILED, 300)]
    assert verdicts(net, net["a"], late) == [(events.TIMED_OUT, codes.EXPIRED)]
    assert len(net.seen(net["d"], events.REQUEST_CANCELLED)) == 1
    assert_settled(net)


def test_the_time_that_is_left_is_counted_at_each_hop() -> None:
    net = chain("abc")
    net["c"].register(E, ANYCAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    token = net["a"].request(E, b"x", net.now, timeout_ms=1000)
    net.pump()
    net.advance(400)
    net.cable["bc"].block(net["b"], False)
    net.pump()
    [request] = list(talk(net.see("c", "a")).serving.values())
    assert request.timeout_ms == 600
    assert verdicts(net, net["a"], token) == []


def test_what_expired_on_its_way_is_passed_on_no_more() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    token = net["a"].request(E, b"x", net.now, timeout_ms=1000)
    net.pump()  # to b
    net.advance(1500)
    net.cable["bc"].block(net["b"], False)
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.TIMED_OUT, codes.EXPIRED)]
    assert net.drain(net["c"], receiver) == []
    assert_settled(net)


def test_a_cancel_follows_its_request() -> None:
    net = chain("abcd")
    receiver = net["d"].register(E, ANYCAST)
    net.pump()
    behind = net["a"].request(E, b"not wanted at once", net.now)
    token = net["a"].request(E, b"x", net.now)
    net["a"].cancel(behind, net.now)
    net.pump()
    assert net.payloads("d", receiver) == [b"x"]
    net["a"].cancel(token, net.now)
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.CANCELLED, 0)]
    assert len(net.seen(net["d"], events.REQUEST_CANCELLED)) == 1
    assert_settled(net)


def test_a_stream_comes_whole_and_bounded_over_several_hops() -> None:
    net = chain("abcd")
    receiver = net["d"].register(E, ANYCAST)
    net.pump()
    token = net["a"].request(E, b"x", net.now, window=4)
    net.pump()
    asked = net.asked("d", receiver)
    for number in range(20):
        net["d"].respond_part(asked, b"%d" % number, net.now)
    net.pump()
    assert len(parts_of(net, token)) == 4
    for _ in range(14):
        net["a"].consume_part(token, net.now)
        net.pump()
    net.cable["cd"].block(net["d"])
    for _ in range(2):
        net["a"].consume_part(token, net.now)
    net.pump()
    net["d"].respond_end(asked, net.now)  # right behind the last parts
    net.cable["cd"].block(net["d"], False)
    net.pump()
    assert parts_of(net, token) == [b"%d" % number for number in range(20)]
    assert verdicts(net, net["a"], token)[-1] == (events.ENDED, 0)
    assert_settled(net)


def test_credit_travels_so_that_a_slow_receiver_slows_its_origin_only() -> None:
    net = chain("abcd")
    receiver = net["d"].register(E, UNICAST, queue_max=16)
    other = net["c"].register(F, UNICAST)
    net.pump()
    tokens = fill(net, net["a"], E, 40)
    net.pump()
    assert any(tokens)
    assert len(receiver.queue) <= 16
    net["a"].send(F, b"past", net.now)
    net.pump()
    assert net.payloads("c", other) == [b"past"]
    got: list[object] = []
    for _ in range(60):
        got += net.payloads("d", receiver)
        net.pump()
    assert got == [b"%d" % number for number in range(40)]
    assert net.undelivered("a") == []


def test_a_message_with_ttl_waits_until_a_far_endpoint_appears() -> None:
    net = chain("abcd")
    token = net["a"].send(E, b"x", net.now, ttl_ms=5000)
    net.advance(1000)
    receiver = net["d"].register(E, UNICAST)
    net.pump()
    assert net.payloads("d", receiver) == [b"x"]
    assert [o.status for o in net.outcomes(net["a"], token)] == [events.ACCEPTED]


@pytest.mark.parametrize("size", [65000, 65536, 300_000])
def test_a_large_message_is_cut_and_put_together_at_each_hop(size: int) -> None:
    net = Mesh()
    net.add("abcd", limits=Limits(frame_size_max=1024))
    net.join("ab bc cd")
    net.pump()
    receiver = net["d"].register(E, UNICAST)
    net.pump()
    payload = bytes(range(256)) * (size // 256 + 1)
    net["a"].send(E, payload[:size], net.now)
    net["a"].send(E, b"behind", net.now)
    net.pump(size=5000, split=700)
    assert net.payloads("d", receiver) == [payload[:size], b"behind"]
    assert len(net.frames("b", "bc", codes.MORE)) >= size // 1024


def test_many_large_messages_of_several_origins_pass_one_link() -> None:
    net = Mesh()
    net.add("abcdefgz", limits=Limits(frame_size_max=512, partials_max=2))
    net.join("az bz cz dz ez fz zg")
    net.pump()
    receiver = net["g"].register(E, UNICAST)
    net.pump()
    for letter in "abcdef":
        for number in range(3):
            net[letter].send(E, letter.encode() * (2000 + number), net.now)
    net.pump(size=1000)
    got = net.payloads("g", receiver)
    assert sorted(got) == sorted(c.encode() * (2000 + n) for c in "abcdef" for n in range(3))


def test_in_transit_a_message_costs_twelve_bytes_at_the_most() -> None:
    net = chain("abcd")
    receiver = net["d"].register(E, UNICAST)
    net.pump()
    net["a"].send(E, b"first", net.now)
    net.pump()
    before = len(net.sent_by("b", "bc"))
    net["a"].send(E, b"p" * 200, net.now)
    net.pump()
    assert len(net.sent_by("b", "bc")) - before - 200 <= 12
    assert len(net.payloads("d", receiver)) == 2


# What fails on the way: one outcome at the origin


def ask_all(net: Mesh, payload: bytes) -> tuple[int, int]:
    """A send, a confirmed send and a request from a to the holder of E."""
    net["a"].send(E, payload, net.now)
    confirm = net["a"].send(E, payload, net.now, confirm=True)
    request = net["a"].request(E, payload, net.now)
    net.pump()
    return confirm, request


def check_all(net: Mesh, tokens: tuple[int, int], reason: int) -> None:
    assert net.undelivered("a") == [reason]
    for token in tokens:
        assert [code for _, code in verdicts(net, net["a"], token)] == [reason]
    net.advance(60_000)
    for token in tokens:
        assert len(verdicts(net, net["a"], token)) == 1
    assert net.undelivered("a") == [reason]
    assert_settled(net)


def test_where_there_is_no_way_any_more_the_origin_hears_it_once() -> None:
    net = chain("abc")
    net["c"].register(E, UNICAST)
    net.pump()
    net.cable["ab"].block(net["a"])
    tokens = ask_all(net, b"x")
    net.cable["ab"].block(net["b"])
    net.cable["bc"].cut()
    net.cable["ab"].block(net["a"], False)
    net.pump()
    net.cable["ab"].block(net["b"], False)
    net.advance(codes.ROUTE_LOSS_GRACE_MS)
    assert net.undelivered("a") == [codes.NO_ROUTE]
    for token in tokens:
        assert len(verdicts(net, net["a"], token)) == 1
    net.advance(60_000)
    assert net.undelivered("a") == [codes.NO_ROUTE]
    for token in tokens:
        assert len(verdicts(net, net["a"], token)) == 1
    assert_settled(net)


def test_what_waited_for_a_link_that_ends_fails_in_the_name_of_its_destination() -> None:
    net = chain("abc")
    net["c"].register(E, UNICAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    tokens = ask_all(net, b"x")
    net.pump()
    assert net.undelivered("a") == []
    net.cable["ab"].block(net["b"])
    net.cable["bc"].cut()
    net.pump()
    net.cable["ab"].block(net["b"], False)
    net.advance(codes.ROUTE_LOSS_GRACE_MS)
    assert net.undelivered("a") == [codes.NO_ROUTE]
    assert [len(verdicts(net, net["a"], token)) for token in tokens] == [1, 1]
    assert_settled(net)


def test_a_message_too_large_for_a_later_link_is_refused_there() -> None:
    net = Mesh()
    net.add("ab")
    net.add("c", limits=Limits(message_size_max=1000))
    net.join("ab bc")
    net.pump()
    net["c"].register(E, UNICAST)
    net.pump()
    check_all(net, ask_all(net, b"x" * 2000), codes.MESSAGE_TOO_LARGE)


def test_a_reply_too_large_for_a_later_link_ends_its_request() -> None:
    net = Mesh()
    net.add("a", limits=Limits(message_size_max=1000))
    net.add("bc")
    net.join("ab bc")
    net.pump()
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    for window in (0, 4):
        token = net["a"].request(E, b"x", net.now, window=window)
        net.pump()
        [asked] = net.drain(net["c"], receiver)
        if window:
            net["c"].respond_part(asked, b"y" * 2000, net.now)
        else:
            net["c"].respond(asked, b"y" * 2000, net.now)
        net.pump()
        assert [code for _, code in verdicts(net, net["a"], token)] == [codes.MESSAGE_TOO_LARGE]
        if window:
            net["c"].respond_end(asked, net.now)
    net.advance(60_000)
    assert_settled(net)


def test_where_the_queue_of_the_next_link_is_full_the_origin_hears_it() -> None:
    net = chain("abc")
    net["c"].register(E, UNICAST, queue_max=30000)
    net.pump()
    net.cable["bc"].block(net["b"])
    tokens = [net["a"].send(E, b"x" * 4_000_000, net.now, confirm=True, timeout_ms=90_000) for _ in range(4)]
    for _ in range(100):
        net.pump()
    got = [verdicts(net, net["a"], token) for token in tokens]
    assert got.count([(events.UNDELIVERED, codes.QUEUE_FULL)]) >= 1
    net.cable["bc"].cut()
    net.advance(100_000)
    assert all(len(verdicts(net, net["a"], token)) == 1 for token in tokens)
    assert_settled(net)


def test_where_no_hop_is_left_a_trace_is_answered() -> None:
    net = Mesh()
    net.add("ab")
    net.add("c")
    net.join("ab bc")
    net.pump()
    # A trace is the message whose hops a caller may choose.
    for hops, found in ((0, "b"), (1, "c"), (255, "c")):
        token = net["a"].trace(id_of("c"), hops, net.now)
        net.pump()
        [outcome] = net.outcomes(net["a"], token)
        assert (outcome.status, outcome.node_id) == (events.TRACED, id_of(found))


def test_a_trace_tells_the_links_on_the_way() -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab", cost=5, medium="ipc", realm=USERSPACE)
    net.join("bc", cost=700)
    net.pump()
    found = []
    for hops in (0, 1):
        token = net["a"].trace(id_of("c"), hops, net.now)
        net.pump()
        found.append(net.outcomes(net["a"], token)[0].payload)
    assert found == [b"\x01\x05\x03ipc\x01B", b"\x02\xbc\x05\x03tcp\x01C"]
    token = net["a"].trace(id_of("x"), 3, net.now)
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_ROUTE)]
    assert_settled(net)


def test_a_trace_that_nobody_answers_times_out() -> None:
    net = chain("abc")
    net.cable["bc"].block(net["c"])
    token = net["a"].trace(id_of("c"), 5, net.now, timeout_ms=700)
    net.advance(800)
    assert [status for status, _ in verdicts(net, net["a"], token)] == [events.TIMED_OUT]
    net.cable["bc"].block(net["c"], False)
    net.pump()
    assert len(net.outcomes(net["a"], token)) == 1
    assert net["a"].origin.counters["unknown_reply"] == 1


def test_what_waits_in_the_middle_for_another_way_is_answered_once_when_there_is_none() -> None:
    """b has lost its way and hopes for another: what comes meanwhile waits there, and fails in the end."""
    net = chain("abcd")
    net["d"].register(E, UNICAST)
    net.pump()
    net.cable["ab"].block(net["b"])
    net.cable["cd"].cut()
    confirm = net["a"].send(E, b"x", net.now, confirm=True)
    net["a"].send(E, b"y", net.now)
    net.pump()
    net.advance(codes.ROUTE_LOSS_GRACE_MS)
    net.cable["ab"].block(net["b"], False)
    net.pump()
    assert [code for _, code in verdicts(net, net["a"], confirm)] in (
        [codes.NO_ROUTE],
        [codes.LOST_AFTER_SENDING],
    )
    assert net.undelivered("a") == [codes.NO_ROUTE]
    net.advance(60_000)
    assert len(verdicts(net, net["a"], confirm)) == 1
    assert_settled(net)


# Broadcasts


def copies(net: Mesh, payload: bytes) -> dict[str, int]:
    """How many copies of a payload each cable has carried."""
    return {
        pair: sum(bytes(end.sent).count(payload) for end in cable.ends) for pair, cable in net.cable.items()
    }


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("shape", ["chain", "ring", "grid"])
def test_everyone_gets_one_copy_and_a_link_carries_one_at_the_most(shape: str) -> None:
    net = {"chain": chain("abcdef"), "ring": ring("abcdef"), "grid": grid(["abc", "def"])}[shape]
    receivers = {letter: net[letter].register(E, BROADCAST) for letter in "abcdef"}
    net.pump()
    for source in "acf":
        for number in range(3):
            payload = b"cast-%s-%d" % (source.encode(), number)
            net[source].publish(E, payload, net.now)
            net.pump()
            assert all(net.payloads(letter, r) == [payload] for letter, r in receivers.items())
            assert max(copies(net, payload).values()) == 1
            assert sum(copies(net, payload).values()) == 5
    assert all(node.forwarder.counters["misrouted"] == 0 for node in net.nodes)


def test_a_broadcast_crosses_no_link_wider_than_any_subscription() -> None:
    net = Mesh()
    net.add("abcd")
    net.join("ab")
    net.join("bc", realm=GLOBAL)
    net.join("cd")
    net.pump()
    inside = net["b"].register(E, BROADCAST, LOCALNET)
    outside = net["d"].register(E, BROADCAST, LOCALNET)
    net.pump()
    net["a"].publish(E, b"secret-1", net.now, realm=GLOBAL)
    net.pump()
    assert net.payloads("b", inside) == [b"secret-1"]
    assert copies(net, b"secret-1")["bc"] == 0
    wide = net["c"].register(E, BROADCAST, GLOBAL)
    net.pump()
    net["a"].publish(E, b"secret-2", net.now, realm=GLOBAL)
    net.pump()
    assert net.payloads("c", wide) == [b"secret-2"]
    assert net.payloads("d", outside) == []


def test_where_nobody_wants_it_the_tree_is_pruned_and_grafted_again() -> None:
    net = chain("abcdef")
    mine = net["b"].register(E, BROADCAST)
    net.pump()
    for number in range(4):
        net["a"].publish(E, b"number-%d" % number, net.now)
        net.pump()
    assert copies(net, b"number-0")["cd"] <= 1
    assert copies(net, b"number-3") == {"ab": 1, "bc": 0, "cd": 0, "de": 0, "ef": 0}
    receiver = net["f"].register(E, BROADCAST)
    net.pump()
    net["a"].publish(E, b"number-4", net.now)
    net.pump()
    assert net.payloads("f", receiver) == [b"number-4"]
    net["f"].deregister(receiver, net.now)
    net.pump()
    for number in range(5, 9):
        net["a"].publish(E, b"number-%d" % number, net.now)
        net.pump()
    assert copies(net, b"number-8") == {"ab": 1, "bc": 0, "cd": 0, "de": 0, "ef": 0}
    assert len(net.payloads("b", mine)) == 9


def test_with_no_subscriber_anywhere_nothing_is_written() -> None:
    net = chain("abc")
    net["a"].publish(E, b"to-nobody", net.now)
    net.pump()
    assert sum(copies(net, b"to-nobody").values()) == 0


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("round", range(3))
def test_broadcasts_follow_the_tree_when_it_changes(round: int) -> None:
    net = ring("abcdef")
    receivers = {letter: net[letter].register(E, BROADCAST) for letter in "bcdef"}
    net.pump()
    for pair in ("bc", "ef", "cd"):
        net["a"].publish(E, b"before-" + pair.encode(), net.now)
        net.pump()
        net.cable[pair].cut()
        net.advance(1000)
        net["a"].publish(E, b"broken-" + pair.encode(), net.now)
        net.pump()
        net.join(pair)
        net.advance(1000 * round)
        net["a"].publish(E, b"healed-" + pair.encode(), net.now)
        net.pump()
    net.advance(5000)
    net["a"].publish(E, b"at last", net.now)
    net.pump()
    for letter, receiver in receivers.items():
        got = net.payloads(letter, receiver)
        assert len(got) == len(set(got)), letter
        assert got[-1] == b"at last"
        assert sum(payload.startswith(b"broken") for payload in got) == 3, (letter, got)


def test_a_child_that_pruned_and_left_gets_copies_again_when_it_returns_as_a_subscriber() -> None:
    net = ring("abcd")
    keeper = {letter: net[letter].register(E, BROADCAST) for letter in "bd"}
    net.pump()
    for _ in range(2):
        net["a"].publish(E, b"x", net.now)
        net.pump()
    parent = net.hop("c", "a")
    pair = "bc" if parent == "b" else "cd"
    net.cable[pair].cut()
    net.advance(2000)
    receiver = net["c"].register(E, BROADCAST)
    net.join(pair)
    net.advance(2000)
    net["a"].publish(E, b"after", net.now)
    net.pump()
    assert net.payloads("c", receiver) == [b"after"]
    assert all(net.payloads(letter, r)[-1] == b"after" for letter, r in keeper.items())


def test_large_broadcasts_are_cut_at_each_hop() -> None:
    net = Mesh()
    net.add("abcd", limits=Limits(frame_size_max=512))
    net.join("ab bc cd")
    net.pump()
    receivers = {letter: net[letter].register(E, BROADCAST) for letter in "bcd"}
    net.pump()
    net["a"].publish(E, b"large" * 2000, net.now)
    net["a"].publish(E, b"small", net.now)
    net.pump(size=700)
    assert all(net.payloads(letter, r) == [b"large" * 2000, b"small"] for letter, r in receivers.items())


def test_a_subscriber_that_does_not_read_holds_up_nobody() -> None:
    net = Mesh()
    net.add("abcd")
    net.join("ab bc bd")
    net.pump()
    fast, slow = net["c"].register(E, BROADCAST, queue_max=10_000), net["d"].register(E, BROADCAST)
    net.pump()
    net.cable["bd"].block(net["b"])
    for number in range(60):
        net["a"].publish(E, bytes((number,)) * 100_000, net.now)
        net.pump()
    assert len(net.payloads("c", fast)) == 60
    assert net["b"].origin.counters["broadcast_dropped"] > 0
    net.cable["bd"].block(net["b"], False)
    net.pump()
    taken = net.drain(net["d"], slow)
    assert 0 < len(taken) < 60
    assert taken[-1].payload[:1] == bytes((59,))  # the newest is kept, and tells what is missing
    assert taken[-1].missed == 60 - len(taken)
    net["a"].publish(E, b"next", net.now)
    net.pump()
    assert [message.missed for message in net.drain(net["d"], slow)] == [0]


def test_a_prune_that_is_not_heeded_is_said_again() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    liar.hear()
    said = []
    for number in range(130):
        liar.say(message(codes.PUBLISH, 0, 9, b"", (b"\x01" if number else alias(1, E)) + u16(number + 1)))
        said.append(sum(body[:2] == bytes((0xF0, codes.PRUNE)) for body in liar.hear()))
    assert [number for number, count in enumerate(said) if count] == [0, 64, 128]


def test_a_broadcast_whose_hops_are_over_goes_no_further() -> None:
    net = chain("abc")
    receivers = {letter: net[letter].register(E, BROADCAST) for letter in "bc"}
    net.pump()
    liar = Liar(net, net["b"])
    net.pump()
    liar.say(message(codes.PUBLISH, 0, 0, b"", alias(1, E) + u16(1) + b"0"))
    liar.say(message(codes.PUBLISH, 0, 1, b"", b"\x01" + u16(2) + b"1"))
    net.pump()
    assert net.payloads("b", receivers["b"]) == [b"0", b"1"]
    assert net.payloads("c", receivers["c"]) == [b"1"]


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
