"""Nodes whose way is a slow link from some moment on, over which nobody tells lines: what was told of them
before goes, whoever told it.
"""

from __future__ import annotations

from busway.protocol import Receiver, events

from .helpers import verdicts
from .nets import ANYCAST, LOCALNET, UNICAST, USERSPACE, Liar, Mesh, bind, directory, entry, routes, update
from .pairs import E, F


def beside_slow() -> Mesh:
    """g leads to i over b, and after that over d, by a slow link."""
    net = Mesh()
    net.add("gbdi")
    net.join("gb bi di")
    net.join("gd", lookups=True, cost=512)
    net.pump()
    return net


def answered(net: Mesh, letter: str, uuid: bytes, receiver: Receiver) -> bool:
    token = net[letter].request(uuid, b"?", net.now, timeout_ms=3000)
    net.pump()
    for request in net.drain(net["i"], receiver):
        net["i"].respond(request, b"!", net.now)
    net.pump()
    net.advance(4000)
    return verdicts(net, net[letter], token) == [(events.REPLIED, 0)]


def test_whose_way_is_a_slow_link_now_is_asked_about_again() -> None:
    net = beside_slow()
    former = net["i"].register(E, UNICAST)
    net.pump()
    assert net.holders("g", E) == "i"
    net.cable["gb"].cut()
    net.advance(5000)
    assert (net.hop("g", "i"), net.holders("g", E)) == ("d", "")
    newer = net["i"].register(F, UNICAST)
    net.pump()
    assert answered(net, "g", F, newer)
    assert answered(net, "g", E, former)
    net["i"].deregister(former, net.now)
    net.join("gb")
    net.pump()
    net.advance(5000)
    assert (net.hop("g", "i"), net.holders("g", E), net.holders("g", F)) == ("b", "", "i")


def test_what_a_liar_told_of_a_node_is_gone_with_it_over_a_slow_link_too() -> None:
    net = beside_slow()
    net.cable["gb"].cut()
    receiver = net["i"].register(E, UNICAST)
    net.advance(5000)
    liar = Liar(net, net["g"])
    liar.say(routes(update(bind(3, net["i"].me.key), 9, 0)))
    liar.say(directory(b"\x03", LOCALNET, 0, 1, entry(ANYCAST, F)))
    assert (net.hop("g", "i"), net.holders("g", F)) == ("z", "i")
    liar.leave()
    net.advance(5000)
    assert (net.hop("g", "i"), net.holders("g", F)) == ("d", "")
    assert answered(net, "g", E, receiver)


def test_what_a_leaf_has_told_over_its_own_link_stays_whoever_else_leads_to_it() -> None:
    net = Mesh()
    net.add("g")
    leaf = net.leaf("y", "g")
    leaf.register(E, UNICAST)
    net.pump()
    liar = Liar(net, net["g"], realm=USERSPACE, lookups=True)
    liar.say(routes(update(bind(3, leaf.me.key), 9, 0)))
    net.pump()
    assert (net.hop("g", "y"), net.holders("g", E)) == ("z", "y")
    liar.leave()
    net.advance(5000)
    assert (net.hop("g", "y"), net.holders("g", E)) == ("y", "y")
