"""Messages over several hops: each call's promise, and what each way of failing tells its origin."""

from __future__ import annotations

import pytest

from busway.protocol import Limits, codes, events
from busway.protocol.messaging.correspondent import talk

from .helpers import assert_settled, fill, parts_of, verdicts
from .nets import (
    ANYCAST,
    UNICAST,
    USERSPACE,
    Mesh,
    chain,
    id_of,
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


@pytest.mark.parametrize("size", [65_536, 65_537])
def test_64_kib_travel_in_one_frame_and_more_in_pieces(size: int) -> None:
    net = chain("abc")
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    net["a"].request(E, bytes(size), net.now, codes.TYPED, F, ttl_ms=1000)
    net.pump()
    assert len(net.asked("c", receiver).payload) == size
    assert [len(net.frames(*way, codes.MORE)) for way in (("a", "ab"), ("b", "bc"))] == [size > 65_536] * 2
