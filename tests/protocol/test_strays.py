"""Messages that stay on their link though a nearer way has come, where that link comes to lead back."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import codes, events

from .helpers import verdicts
from .nets import UNICAST, Mesh, chain, id_of
from .pairs import E, F


def asked(net: Mesh, receiver: Any) -> list[tuple[int, int]]:
    """The outcome of a request of a's to d."""
    token = net["a"].request(E, b"?", net.now, node_id=id_of("d"))
    net.pump()
    for request in net.drain(net["d"], receiver):
        net["d"].respond(request, b"!", net.now)
    net.pump()
    return verdicts(net, net["a"], token)


def detour(**last: Any) -> tuple[Mesh, Any]:
    """From a by b to d; then d is a's neighbour, too, and what goes on stays on b's link."""
    net = chain("ab", cost=100)
    net.add("cd")
    net.join("bd", **last)
    net.pump()
    receiver = net["d"].register(E, UNICAST)
    net.pump()
    assert asked(net, receiver) == [(events.REPLIED, 0)]
    net.join("ad", cost=10)
    net.advance(codes.BELIEF_MS)  # the former way does not count any more
    assert asked(net, receiver) == [(events.REPLIED, 0)]
    assert flow_of(net).hop is net.cable["ab"].a
    return net, receiver


def lead_back(net: Mesh) -> None:
    """From b to d it goes by c and a from now on, at a cost of 30."""
    net.join("ac cb", cost=10)
    net.pump()
    assert net.hop("b", "d") == "d"
    net.cable["bd"].cut()
    net.pump()
    assert net.hop("b", "d") == "c"


def flow_of(net: Mesh) -> Any:
    return net.see("a", "d").out_flows[E]


def test_what_goes_by_a_link_leaves_it_when_its_neighbour_takes_a_way_through_us() -> None:
    net, receiver = detour(cost=50)
    lead_back(net)
    assert flow_of(net).hop is None
    assert asked(net, receiver) == [(events.REPLIED, 0)]


def test_it_leaves_all_links_to_a_neighbour_that_reaches_the_other_end_through_us() -> None:
    net, receiver = detour(cost=20)
    net.cable["beside"] = net.link(net["a"], net["b"], realm=codes.LOCALNET, via="tcp:beside", cost=10)
    net.pump()
    net.cable["bd"].cut()
    net.pump()
    assert net.hop("b", "d") == "a"
    assert flow_of(net).hop is None
    assert asked(net, receiver) == [(events.REPLIED, 0)]


def test_a_session_with_the_node_itself_never_leads_back() -> None:
    net, receiver = detour(cost=50)
    flow_of(net).hop = None
    assert asked(net, receiver) == [(events.REPLIED, 0)]
    net.add("e")
    net.join("ae ed", realm=codes.USERSPACE)
    net.pump()
    assert net.hop("a", "d") == "e"
    net.see("a", "d").leave(net.cable["ad"].a)
    assert flow_of(net).hop is net.cable["ad"].a
    assert asked(net, receiver) == [(events.REPLIED, 0)]


def strayed() -> tuple[Mesh, Any]:
    """What comes from a by b comes back by c: b has lost its way and found one that is as long."""
    net, receiver = detour(cost=30)
    lead_back(net)
    assert flow_of(net).hop is net.cable["ab"].a
    return net, receiver


def test_a_request_that_comes_back_ends_and_the_next_one_takes_another_way() -> None:
    net, receiver = strayed()
    assert asked(net, receiver) == [(events.UNDELIVERED, codes.NO_ROUTE)]
    assert asked(net, receiver) == [(events.REPLIED, 0)]


def test_of_requests_that_come_back_each_ends() -> None:
    net, _ = strayed()
    tokens = [net["a"].request(E, b"?", net.now, node_id=id_of("d")) for _ in range(2)]
    net.pump()
    assert [verdicts(net, net["a"], token) for token in tokens] == [
        [(events.UNDELIVERED, codes.NO_ROUTE)]
    ] * 2


def test_a_message_that_comes_back_is_told_and_the_next_one_arrives() -> None:
    net, receiver = strayed()
    net["a"].send(E, b"1", net.now)
    net.pump()
    assert net.undelivered("a") == [codes.NO_ROUTE]
    net["a"].send(E, b"2", net.now)
    net.pump()
    assert net.payloads("d", receiver) == [b"2"]


def test_a_pair_without_messages_for_a_while_takes_the_nearest_way() -> None:
    net, receiver = detour(cost=50)
    net.advance(codes.SWEEP_MS + codes.BELIEF_MS)
    assert flow_of(net).hop is None
    assert asked(net, receiver) == [(events.REPLIED, 0)]
    assert flow_of(net).hop is net.cable["ad"].a


@pytest.mark.parametrize("confirm", [False, True])
def test_what_is_not_answered_in_time_makes_room_for_another_way(confirm: bool) -> None:
    net, receiver = detour(cost=50)
    net.cable["bd"].block(net["b"])
    if confirm:
        token = net["a"].send(E, b"?", net.now, confirm=True, timeout_ms=500)
    else:
        token = net["a"].request(E, b"?", net.now, timeout_ms=500)
    net.advance(500)
    assert verdicts(net, net["a"], token) == [(events.UNKNOWN if confirm else events.TIMED_OUT, 3)]
    assert asked(net, receiver) == [(events.REPLIED, 0)]


def test_a_pair_whose_probe_is_not_answered_asks_by_another_way() -> None:
    net, receiver = detour(cost=50)
    net.cable["bd"].block(net["b"])
    for number in range(20):
        net["a"].send(E, b"%d" % number, net.now)
    net.advance(4 * codes.PROBE_MS)
    assert net.payloads("d", receiver)[-1:] == [b"19"]


def test_parts_leave_a_link_that_leads_back_as_messages_do() -> None:
    net, _ = detour(cost=50)
    receiver = net["a"].register(F, UNICAST)
    net.pump()
    net["d"].request(F, b"?", net.now, window=4)
    net.pump()
    request = net.asked("a", receiver)
    net["a"].respond_part(request, b"1", net.now)
    net.pump()
    assert request.stream is not None
    request.stream.hop = net.cable["ab"].a  # as if it had begun there
    lead_back(net)
    assert request.stream.hop is None
