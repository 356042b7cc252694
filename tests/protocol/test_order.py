"""Order in transit: nothing passes anything within a lane, whatever waits, and flow control everything."""

from __future__ import annotations

import pytest

from busway.protocol import Limits, codes, events
from busway.protocol.link.queue import EXPRESS, OVERHEAD, is_express, lane_of
from busway.protocol.messaging.correspondent import talk
from busway.protocol.wire.messages import Frame, RoutingHeader, signal

from .helpers import assert_settled, fill, parts_of, verdicts
from .nets import ANYCAST, BROADCAST, UNICAST, Mesh, chain
from .pairs import E, F, bodies

SMALL = Limits(frame_size_max=256)


def stream(net: Mesh, parts: int, size: int, *, failed: bool) -> tuple[int, list[bytes]]:
    """The first node asks the last; the answer in parts and its end are said at once, while nothing moves."""
    last = net.nodes[-1]
    receiver = last.register(E, ANYCAST)
    net.pump()
    token = net.nodes[0].request(E, b"ask", net.now, window=parts)
    net.pump()
    [request] = net.drain(last, receiver)
    payloads = [b"%d" % number + bytes(size) for number in range(parts)]
    for payload in payloads:
        assert last.respond_part(request, payload, net.now) == 0
    if failed:
        last.respond_error(request, 300, "broken", net.now)
    else:
        last.respond_end(request, net.now)
    return token, payloads


def check_stream(net: Mesh, token: int, payloads: list[bytes], *, failed: bool) -> None:
    assert parts_of(net, token) == payloads
    assert verdicts(net, net.nodes[0], token)[-1] == ((events.FAILED, 300) if failed else (events.ENDED, 0))
    assert_settled(net)


# A stream, and what ends it


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("parts", [1, 3, 100])
@pytest.mark.parametrize("letters", ["ab", "abc", "abcdefgh"])
def test_the_end_of_a_stream_stays_behind_its_parts(letters: str, parts: int, failed: bool) -> None:
    net = chain(letters)
    token, payloads = stream(net, parts, 0, failed=failed)
    net.pump()
    check_stream(net, token, payloads, failed=failed)


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("partials", [1, 3])
def test_also_where_the_parts_go_in_pieces(partials: int, failed: bool) -> None:
    net = Mesh()
    net.add("abcd", limits=Limits(frame_size_max=256, partials_max=partials))
    net.join("ab bc cd")
    token, payloads = stream(net, 10, 1000, failed=failed)
    net.pump(size=300, split=100)
    check_stream(net, token, payloads, failed=failed)


@pytest.mark.parametrize("failed", [False, True])
def test_also_for_a_leaf_that_sleeps_meanwhile(failed: bool) -> None:
    net = Mesh()
    net.named["z"] = net.node("z", leaf=True)
    net.add("bc")
    net.join("zb bc")
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    token = net["z"].request(E, b"ask", net.now, window=8)
    net.pump()
    request = net.asked("c", receiver)
    net.cable["zb"].a.sleep(60_000, net.now)
    net.pump()
    for number in range(8):
        net["c"].respond_part(request, b"%d" % number, net.now)
    net.pump()
    if failed:
        net["c"].respond_error(request, 300, "broken", net.now)
    else:
        net["c"].respond_end(request, net.now)
    net.pump()
    assert parts_of(net, token) == []
    net.cable["zb"].a.sleep(0, net.now)
    net.pump()
    check_stream(net, token, [b"%d" % number for number in range(8)], failed=failed)


@pytest.mark.parametrize("failed", [False, True])
def test_also_where_the_link_that_they_wait_for_ends(failed: bool) -> None:
    net = chain("abc")
    net.join("ab", via="tcp:another", cost=100)
    net.pump()
    [first] = [cable for cable in net.cables if cable.a.via == "tcp:ab"]
    token, payloads = stream(net, 20, 0, failed=failed)
    first.block(net["b"])
    net.pump()
    assert parts_of(net, token) == []
    first.cut()
    net.pump()
    check_stream(net, token, payloads, failed=failed)


def test_a_part_for_which_there_is_no_room_ends_the_stream_behind_those_before_it() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    token = net["a"].request(E, b"ask", net.now, window=12)
    net.pump()
    request = net.asked("c", receiver)
    net.cable["ab"].block(net["b"])
    for number in range(12):
        net["c"].respond_part(request, b"%02d" % number + bytes(900_000), net.now)
        net.pump()
    net["c"].respond_end(request, net.now)
    net.pump()
    assert net["b"].forwarder.counters["unroutable"] > 0
    net.cable["ab"].block(net["b"], False)
    net.pump()
    found = [outcome.payload for outcome in net.outcomes(net["a"], token)[:-1]]
    assert [int(part[:2]) for part in found if isinstance(part, bytes)] == list(range(9))
    assert verdicts(net, net["a"], token)[-1] == (events.UNDELIVERED, codes.QUEUE_FULL)


# What is said of messages that are under way


def test_a_cancel_catches_its_request_where_that_waits() -> None:
    net = chain("abcd")
    receiver = net["d"].register(E, ANYCAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    tokens = [net["a"].request(E, b"%d" % number, net.now) for number in range(3)]
    net.pump()
    net["a"].cancel(tokens[1], net.now)
    net.pump()
    net.cable["bc"].block(net["b"], False)
    net.pump()
    assert net.payloads("d", receiver) == [b"0", b"2"]
    assert net.seen(net["d"], events.REQUEST_CANCELLED) == []


def test_a_cancel_waits_for_the_last_piece_of_its_request_and_of_one_before_it() -> None:
    net = Mesh()
    net.add("abc", limits=Limits(frame_size_max=256, partials_max=4))
    net.join("ab bc")
    receivers = [net["c"].register(uuid, ANYCAST) for uuid in (E, F)]
    net.pump()
    kept = net["a"].request(E, bytes(3000), net.now)
    large = net["a"].request(F, bytes(4000), net.now)
    small = net["a"].request(E, b"small", net.now)
    for _ in range(5):  # on the way
        net.step(500)
    for token in (large, small):
        net["a"].cancel(token, net.now)
    net.pump(size=500)
    assert [len(payload) for payload in net.payloads("c", receivers[0])] == [3000]
    assert net.payloads("c", receivers[1]) == []
    assert verdicts(net, net["a"], kept) == []
    assert net.seen(net["c"], events.REQUEST_CANCELLED) == []
    [left] = talk(net.see("c", "a")).serving.values()
    assert left.id == kept


@pytest.mark.parametrize("call", ["send", "confirm", "request"])
def test_a_probe_stays_behind_the_messages_that_it_counts(call: str) -> None:
    net = chain("abc")
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    for number in range(40):
        if call == "request":
            net["a"].request(E, b"%d" % number, net.now, timeout_ms=60_000)
        else:
            net["a"].send(E, b"%d" % number, net.now, confirm=call == "confirm", timeout_ms=60_000)
    net.advance(3500)
    assert net["a"].origin.counters["probes"] > 1
    net.cable["bc"].block(net["b"], False)
    got = []
    for _ in range(40):
        net.advance(1000)
        got += net.payloads("c", receiver)
    assert got == [b"%d" % number for number in range(40)]
    assert net["c"].receiving.counters["late"] == net["c"].receiving.counters["missed"] == 0


def test_a_blocked_origin_whose_way_is_lost_does_not_probe_itself() -> None:
    net = chain("abc")
    net["c"].register(E, ANYCAST)
    net.pump()
    net["a"].register(E, ANYCAST)  # of its own, to which these do not go
    for number in range(10):
        net["a"].send(E, b"%d" % number, net.now, node_id=net["c"].node_id)
    [flow] = talk(net.see("a", "c")).out_flows.values()
    assert len(flow.waiting)
    flow.peer.hop = flow.hop = None
    net["a"].origin.probe(flow, net.now)
    assert talk(net["a"].me).in_flows == {}


# What passes


def test_flow_control_and_news_wait_for_nobody_and_nothing_else_is_so_free() -> None:
    net = chain("ab")
    peer = net.see("a", "b")
    found = []
    for which in range(1, codes.HAVE_PART + 1):
        out = signal(which, peer.key, E, 1)
        found += [which] if is_express(out) else []
    assert sorted(EXPRESS) == found
    assert set(range(1, codes.HAVE_PART + 1)) - set(found) == {codes.CANCEL, codes.PROBE, codes.END}


def test_credit_overtakes_the_messages_that_wait() -> None:
    net = chain("abc")
    towards_a = net["a"].register(E, UNICAST)
    receiver = net["c"].register(F, UNICAST, queue_max=8)
    net.pump()
    fill(net, net["a"], F, 12)
    net.pump()
    net.cable["ab"].block(net["b"])
    for number in range(4):
        net["c"].send(E, b"%d" % number + bytes(100_000), net.now)
    assert len(net.payloads("c", receiver)) == 4
    net.pump()
    net.cable["ab"].block(net["b"], False)
    net.pump(size=2000)
    heads = [body[0] & 0xF0 for body in bodies(net.sent_by("b", "ab"))]
    message = codes.MESSAGE | codes.SEND << 4
    assert codes.MESSAGE | codes.SIGNAL << 4 in heads[: heads.index(message)]
    assert len(net.payloads("a", towards_a)) == 4


def test_between_the_pieces_of_one_origin_another_passes_to_the_same_endpoint() -> None:
    net = Mesh()
    net.add("abcz", limits=SMALL)
    net.join("ab zb bc")
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    net["a"].send(E, bytes(20_000), net.now)
    while not net.cable["bc"].a.outbox.in_pieces():
        net.step(300)
    net["z"].send(E, b"small", net.now)
    net.pump(size=300)
    assert [len(payload) for payload in net.payloads("c", receiver)] == [5, 20_000]


# Bounds


def waiting(net: Mesh, kind: int, payload: bytes, number: int = 1) -> Frame:
    """A message of a that b has for c."""
    out = Frame(kind, net.see("b", "c").key, E, number, payload, codes.RAW, b"")
    out.route = RoutingHeader(net["a"].me.key, 0, 9)
    return out


def test_what_is_held_behind_a_large_message_counts_as_what_waits() -> None:
    net = chain("abc")
    hop = net.cable["bc"].a
    outbox = hop.outbox
    assert hop.forward(waiting(net, codes.SEND, bytes(1 << 20)))
    hop.data_to_send(1000, net.now)
    taken = 0
    for number in range(40):
        taken += hop.forward(waiting(net, codes.SEND, bytes(1 << 20), number))
        hop.data_to_send(70_000, net.now)
    assert outbox.in_pieces()
    assert outbox.transit.size <= codes.TRANSIT_SIZE_MAX
    assert 7 <= taken <= 8 + 2


def test_one_message_larger_than_the_queue_passes_alone() -> None:
    net = chain("abc")
    hop = net.cable["bc"].a
    assert hop.forward(waiting(net, codes.SEND, bytes(codes.TRANSIT_SIZE_MAX)))
    assert not hop.forward(waiting(net, codes.SEND, b""))


def test_ends_find_room_beside_a_full_queue_and_are_bounded_by_their_number() -> None:
    net = chain("abc")
    hop = net.cable["bc"].a
    outbox = hop.outbox
    assert hop.forward(waiting(net, codes.SEND, bytes(codes.TRANSIT_SIZE_MAX - OVERHEAD)))
    failed = waiting(net, codes.ERROR, b"why")
    assert hop.forward(failed)
    assert failed.payload == b""
    for _ in range(codes.ANSWERS_MAX // 2 - 1):
        assert hop.forward(waiting(net, codes.ERROR, b""))
    assert not hop.forward(waiting(net, codes.ERROR, b"why"))
    assert not hop.forward(waiting(net, codes.SEND, b""))
    net.pump()
    assert outbox.transit.size == 0
    assert hop.forward(waiting(net, codes.ERROR, b"why"))
    assert len(outbox.leftovers()) == 1
    assert hop.forward(waiting(net, codes.SEND, bytes(codes.TRANSIT_SIZE_MAX)))


def test_a_lane_is_of_its_source_its_destination_and_what_it_is_about() -> None:
    net = chain("abc")
    send, other = waiting(net, codes.SEND, b""), waiting(net, codes.REQUEST, b"")
    other.id = 7
    assert lane_of(send) == lane_of(other)
    cancel = waiting(net, codes.SIGNAL, b"")
    cancel.signal, cancel.id, cancel.endpoint = codes.CANCEL, 7, b""
    assert lane_of(send).startswith(lane_of(cancel))
    part, end = waiting(net, codes.PART, b""), waiting(net, codes.SIGNAL, b"")
    end.signal = codes.END
    part.id = end.id = 7
    assert lane_of(part) == lane_of(end) != lane_of(send)
    ours = Frame(codes.SEND, net.see("b", "c").key, E, 1, b"", codes.RAW, b"")
    assert not lane_of(send).startswith(lane_of(ours))


# Another way that takes less


def detour() -> Mesh:
    """b reaches c at once, or by way of d, which takes no large messages."""
    net = Mesh()
    net.add("abc", limits=Limits(frame_size_max=1024))
    net.add("d", limits=Limits(frame_size_max=1024, message_size_max=1000))
    net.join("ab")
    net.join("bc", cost=50)
    net.join("bd dc", cost=30)
    net.pump()
    assert net.hop("b", "c") == "c"
    return net


def lose(net: Mesh) -> None:
    net.cable["bc"].cut()
    net.advance(3000)
    assert net.cable["bd"].a.state == net.cable["dc"].a.state == codes.OPEN


def test_what_is_too_large_for_the_way_that_is_left_fails_and_the_link_stays() -> None:
    net = detour()
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    confirm = net["a"].send(E, bytes(5000), net.now, confirm=True)
    request = net["b"].request(E, bytes(5000), net.now)
    net["b"].send(E, bytes(5001), net.now)
    net["a"].send(E, b"small", net.now)
    net.pump()
    lose(net)
    assert verdicts(net, net["a"], confirm) == [(events.UNDELIVERED, codes.MESSAGE_TOO_LARGE)]
    assert verdicts(net, net["b"], request) == [(events.UNDELIVERED, codes.MESSAGE_TOO_LARGE)]
    assert net.undelivered("b") == [codes.MESSAGE_TOO_LARGE]
    assert net.payloads("c", receiver) == [b"small"]


@pytest.mark.parametrize("priority", [codes.NORMAL, codes.URGENT])
@pytest.mark.parametrize("asker", ["a", "b"])
def test_an_answer_too_large_for_the_way_that_is_left_is_an_error_to_who_asked(
    asker: str, priority: int
) -> None:
    net = detour()
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    token = net[asker].request(E, b"ask", net.now, priority=priority)
    net.pump()
    request = net.asked("c", receiver)
    net.cable["bc"].block(net["c"])
    net["c"].respond(request, bytes(5000), net.now)
    net.pump()
    lose(net)
    assert verdicts(net, net[asker], token) == [(events.UNDELIVERED, codes.MESSAGE_TOO_LARGE)]


def test_the_sentence_of_an_error_is_left_out_where_it_does_not_fit() -> None:
    net = Mesh()
    net.add("bc")
    net.named["a"] = net.node("a", transit=True, limits=Limits(message_size_max=10))
    net.join("ab bc")
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    token = net["a"].request(E, b"ask", net.now)
    net.pump()
    net["c"].respond_error(net.asked("c", receiver), 300, "a long sentence", net.now)
    net.pump()
    [outcome] = net.outcomes(net["a"], token)
    assert (outcome.status, outcome.code, outcome.text) == (events.FAILED, 300, "")


# Broadcasts


def test_news_of_one_origin_keep_their_order_in_pieces_too() -> None:
    net = Mesh()
    net.add("abcd", limits=SMALL)
    net.join("ab bc cd")
    receiver = net["d"].register(E, BROADCAST)
    net.pump()
    sizes = [0, 3000, 10, 5000, 0]
    for size in sizes:
        net["a"].publish(E, bytes(size), net.now)
    net.pump(size=300)
    assert [len(payload) for payload in net.payloads("d", receiver)] == sizes
