"""The links of a small leaf: how they end, and the handshake."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import (
    ClosedError,
    Link,
    codes,
    events,
)
from busway.protocol.leaf.keyed import Secret
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.leaf.link import LeafConnection
from busway.protocol.leaf.sleeping import announce

from .board_crypto import Crypto
from .leaves import LeafNet
from .pairs import E, Entropy, F, G, guard
from .test_small_leaf import UNICAST, holding, payloads, serving

# Links that end


def test_a_session_that_ends_settles_what_was_under_way() -> None:
    net = LeafNet("mn")
    receiver = serving(net)
    holding(net)
    request = net.leaf.request(F, b"1", net.now)
    confirmed = net.leaf.send(F, b"2", net.now, confirm=True)
    net.settle()
    served = net.router.request(E, b"3", net.now)
    net.settle()
    asked = net.leaf.take(receiver, net.now)
    assert asked is not None
    unsent = net.leaf.send(G, b"4", net.now)
    patient = net.leaf.send(F, b"5", net.now, ttl_ms=50_000)
    net.leaf.publish(b"P" * 16, b"gone", net.now)
    net.cord.cut()
    net.leaf.respond(asked, b"late", net.now)
    net.pass_time(3000)
    assert net.verdicts(request) == [(events.UNDELIVERED, codes.LOST_AFTER_SENDING)]
    assert net.verdicts(confirmed) == [(events.UNKNOWN, codes.NO_ROUTE)]
    assert net.verdicts(unsent) == [(events.UNDELIVERED, codes.NO_ROUTE)]
    assert net.verdicts(patient) == []
    assert [event.request for event in net.heard(events.REQUEST_CANCELLED)] == [asked]
    assert [o.code for o in net.outcomes(net.router, served)] == [codes.LOST_AFTER_SENDING]
    net.cord = net.plug(net.leaf, net.router)
    net.settle()
    assert net.verdicts(patient) == [(events.ACCEPTED, 0)]
    assert [event.kind for event in net.heard(events.LINK_CLOSED) + net.heard(events.LINK_OPEN)] == [2, 1, 1]
    token = net.router.request(E, b"again", net.now)
    net.settle()
    net.leaf.respond(net.taken(receiver)[0], b"yes", net.now)
    net.settle()
    assert [o.payload for o in net.outcomes(net.router, token)] == [b"yes"]


def test_a_node_that_goes_settles_what_it_had() -> None:
    net = LeafNet("m")
    far = net.node("n")
    cable = net.link(far, net.router)
    receiver = serving(net)
    far.register(F, UNICAST)
    net.settle()
    tokens = [net.leaf.request(F, b"", net.now), net.leaf.send(F, b"", net.now, confirm=True)]
    far.request(E, b"", net.now)
    net.settle()
    net.leaf.take(receiver, net.now)
    cable.cut()
    net.settle()
    net.pass_time(1000)
    assert [net.verdicts(token)[0][0] for token in tokens] == [events.UNDELIVERED, events.UNKNOWN]
    assert len(net.heard(events.REQUEST_CANCELLED)) == 1


def test_a_router_that_started_anew_is_another_node() -> None:
    net = LeafNet("m")
    holding(net)
    net.leaf.send(F, b"", net.now)
    net.settle()
    net.cord.cut()
    again = net.node("m")
    receiver = again.register(F, UNICAST)
    net.plug(net.leaf, again)
    net.settle()
    net.leaf.send(F, b"new", net.now)
    net.settle()
    assert payloads(net.drain(again, receiver)) == [b"new"]
    assert [flow.key for flow in net.leaf._out] == [again.me.key]


def test_closing_says_goodbye_behind_what_is_queued() -> None:
    net = LeafNet("m")
    receiver = holding(net)
    net.leaf.send(F, b"last", net.now)
    waiting = net.leaf.request(F, b"?", net.now)
    net.settle()
    unsent = net.leaf.send(G, b"", net.now, confirm=True)
    net.leaf.publish(b"P" * 16, b"", net.now)
    net.leaf.close(net.now)
    net.leaf.close(net.now)
    assert net.cord.connection.wants_write
    net.settle()
    assert payloads(net.drain(net.router, receiver))[0] == b"last"
    assert net.verdicts(waiting) == [(events.UNDELIVERED, codes.BUS_CLOSED)]
    assert net.verdicts(unsent) == [(events.UNDELIVERED, codes.BUS_CLOSED)]
    assert net.cord.connection.done
    assert [event.code for event in net.heard(events.LINK_CLOSED)] == [codes.GOODBYE]
    with pytest.raises(ClosedError):
        net.leaf.send(F, b"", net.now)


def test_without_a_link_nothing_is_written_and_close_is_quiet() -> None:
    leaf = Leaf(b"x" * 16, entropy=Entropy(1))
    leaf.publish(E, b"", 0)
    token = leaf.send(F, b"", 0)
    assert leaf.next_deadline() == codes.SYNC_MS
    leaf.handle_timer(1000)
    assert [(event.token, event.code) for event in leaf.handle_timer(2000)] == [(token, codes.NO_ROUTE)]
    leaf.close(2000)
    assert leaf.take_events() == []


def test_the_router_says_goodbye() -> None:
    net = LeafNet("m")
    net.router.close(net.now)
    net.settle()
    (event,) = net.heard(events.LINK_CLOSED)
    assert (event.code, event.by_peer, event.text) == (codes.GOODBYE, True, "the node is closing")
    assert net.cord.connection.done


def test_both_say_goodbye_at_once() -> None:
    net = LeafNet("m")
    net.cord.connection.close(net.now)
    net.hear(net.leaf, net.cord.connection.receive_data(b"\x02\x03\x00", net.now))
    assert net.cord.connection.data_to_send(99, net.now)[-3:] == b"\x02\x03\x00"
    assert net.cord.connection.done


def test_a_peer_that_does_not_answer_goodbye_is_left() -> None:
    for eof in (True, False):
        net = LeafNet("m")
        net.cord.blocked = True
        net.cord.connection.close(net.now, codes.REPLACED, "another")
        net.cord.connection.data_to_send(99, net.now)
        if eof:
            net.hear(net.leaf, net.cord.connection.receive_eof(net.now))
            net.hear(net.leaf, net.cord.connection.receive_eof(net.now))
        else:
            net.hear(net.leaf, net.leaf.handle_timer(net.now + 2000))
        assert [event.code for event in net.heard(events.LINK_CLOSED)] == [codes.REPLACED]


# The handshake


def lone(link: Link | None = None, **options: Any) -> LeafConnection:
    leaf = Leaf(b"x" * 16, entropy=Entropy(1), **options)
    return leaf.connection(link or Link(dialled=True, keepalive_ms=1000), 0)


def test_no_hello_in_time_and_close_before_hello() -> None:
    connection = lone()
    leaf = connection.leaf
    assert isinstance(leaf, Leaf)
    assert leaf.next_deadline() == codes.HELLO_TIMEOUT_MS
    leaf.handle_timer(codes.HELLO_TIMEOUT_MS)
    assert connection.close_code == codes.HELLO_TIMEOUT
    assert not connection.done
    assert connection.wants_write
    assert b"no HELLO" in connection.data_to_send(999, 5000)
    connection = lone()
    connection.close(0, codes.GOODBYE, "never mind")
    connection.close(0)
    assert connection.close_code == codes.GOODBYE
    connection.leaf.take_events()
    assert connection.receive_data(b"more", 0) == []


def keyed(token: str) -> Secret:
    return Secret(Crypto(), Entropy(9), b"", token.encode())


def test_tokens() -> None:
    for mine, theirs, code in (("a", "a", -1), ("a", "b", codes.TOKEN), (None, "a", codes.TOKEN)):
        net = LeafNet("m")
        net.cord.cut()
        security = keyed(mine) if mine else None
        cord = net.plug(net.leaf, net.router, leaf_options={"security": security}, security=guard(theirs))
        net.settle()
        if code < 0:
            assert cord.connection.state == codes.OPEN
        else:
            assert code in (cord.connection.close_code, cord.other.close_code)


def test_keepalive() -> None:
    net = LeafNet("m")
    net.cord.cut()
    cord = net.cord = net.plug(net.leaf, net.router, keepalive_ms=1000)
    net.settle()
    net.pass_time(5000)
    assert cord.connection.state == codes.OPEN
    assert cord.connection.rtt_ms == 0
    cord.connection.receive_data(b"\x02\x05\x09", net.now)  # a PONG that nobody waits for
    connection = cord.connection
    net.cords.remove(cord)
    for _ in range(9):
        net.now += 500
        net.leaf.handle_timer(net.now)
        connection.data_to_send(999, net.now)
    assert connection.close_code == codes.SILENT


def test_it_announces_its_sleep() -> None:
    net = LeafNet("m")
    announce(net.cord.connection, 60_000, net.now)
    net.settle()
    assert net.cord.other.asleep_until == net.now + 60_000
    net.cord.cut()
    announce(net.cord.connection, 1, net.now)
    assert not net.cord.connection.wants_write


def test_of_many_pings_the_last_is_answered() -> None:
    net = LeafNet("m")
    net.cord.connection.receive_data(b"\x02\x04\x01\x02\x04\x02", net.now)
    assert net.cord.connection.wants_write
    assert net.cord.connection.data_to_send(99, net.now) == b"\x02\x05\x02"
    net.cord.connection.close(net.now)
    net.cord.connection.data_to_send(99, net.now)
    net.cord.connection.receive_data(b"\x02\x04\x03", net.now)
    assert net.cord.connection.data_to_send(99, net.now) == b""  # CLOSE was the last
