"""Whether a node that is gone has said goodbye, as others far away are told."""

from __future__ import annotations

import pytest

from busway.protocol import codes, events
from busway.protocol.routing.departures import Departures
from busway.protocol.routing.peers import Entry, Peer, PeerKeeper
from busway.protocol.timers import Timers

from .nets import (
    ANYCAST,
    BROADCAST,
    GLOBAL,
    LOCALNET,
    SELF,
    USERSPACE,
    Liar,
    Mesh,
    bind,
    chain,
    departed,
    id_of,
    retract,
    ring,
    routes,
    update,
)
from .pairs import E, F

DEPARTED, RETRACT = codes.DEPARTED, codes.RETRACT


def watched(net: Mesh, *letters: str) -> Mesh:
    for letter in letters:
        net[letter].watch_departures(True)
    return net


def downs(net: Mesh, letter: str, other: str = "a") -> list[bool]:
    """What one was told each time that another went: whether it had said goodbye."""
    seen = net.seen(net[letter], events.NODE_DOWN)
    return [event.goodbye for event in seen if event.peer.node_id == id_of(other)]


def pass_grace(net: Mesh) -> None:
    """Whoever may find another way has not found it."""
    net.pump()
    net.advance(codes.ROUTE_LOSS_GRACE_MS)


def verdicts(net: Mesh, letter: str, uuid: bytes = E) -> list[int]:
    """How an endpoint has gone at last."""
    seen = [event for event in net.seen(net[letter]) if isinstance(event, events.EndpointEvent)]
    seen = [event for event in seen if event.entry.uuid == uuid]
    final = [event for event in seen if event.kind == events.ENDPOINT_GONE]
    final += [event for event in seen if event.kind == events.ENDPOINT_DOWN and event.how != events.LOST]
    return [event.how for event in final]


def said(net: Mesh, letter: str, pair: str) -> list[int]:
    """The withdrawals that one node has written to another, of one source at a time."""
    kinds = [body[1] for body in net.frames(letter, pair, codes.ROUTES)]
    return [kind for kind in kinds if kind in (RETRACT, DEPARTED)]


def test_a_goodbye_travels_as_far_as_the_node_was_known() -> None:
    net = watched(chain("abcd"), "d")
    net["a"].register(E, ANYCAST)
    net.pump()
    net["a"].close(net.now)
    net.pump()
    assert [downs(net, letter) for letter in "bcd"] == [[True]] * 3
    assert verdicts(net, "d") == [events.SAID_GOODBYE]
    assert said(net, "b", "bc")[-1] == DEPARTED
    net.advance(codes.LOST_MS)
    assert downs(net, "d") == [True]


def test_a_program_of_the_machine_says_goodbye_with_all_that_it_has() -> None:
    net = watched(chain("abc", realm=USERSPACE, medium="ipc"), "c")
    net["a"].register(E, ANYCAST)
    net.pump()
    net["a"].close(net.now)
    net.pump()
    assert (downs(net, "c"), verdicts(net, "c")) == ([True], [events.SAID_GOODBYE])


def test_a_node_that_is_lost_has_said_none() -> None:
    net = watched(chain("abcd"), "b", "d")
    net["a"].register(E, ANYCAST)
    net.pump()
    net.cable["ab"].cut()
    pass_grace(net)
    assert [downs(net, letter) for letter in "bcd"] == [[False]] * 3
    assert said(net, "b", "bc")[-1] == RETRACT
    assert verdicts(net, "d") == verdicts(net, "b") == [], "it may come back"
    net.advance(codes.LOST_MS)
    assert verdicts(net, "d") == verdicts(net, "b") == [events.LOST]


def test_those_behind_a_node_that_says_goodbye_have_said_none() -> None:
    net = chain("abcd")
    net["b"].close(net.now)
    pass_grace(net)
    assert downs(net, "c", "b") == downs(net, "d", "b") == [True]
    assert downs(net, "c") == downs(net, "d") == [False]


def test_nobody_is_told_of_a_node_whose_link_was_closed_here() -> None:
    net = chain("abc")
    net.cable["ab"].b.close(net.now)
    net.pump()
    assert downs(net, "b") == downs(net, "c") == [False]


def test_a_neighbour_that_does_not_know_goodbyes_is_told_that_the_way_is_gone() -> None:
    net = chain("ab")
    net.add("cd")
    net.join("bc", b_options={"addressing": False})
    net.join("cd")
    net.pump()
    net["a"].close(net.now)
    pass_grace(net)
    assert [downs(net, letter) for letter in "bcd"] == [[True], [False], [False]]
    assert DEPARTED not in said(net, "b", "bc") + said(net, "c", "cd")


def diamond() -> Mesh:
    """a is reached from d by b and by c."""
    net = Mesh()
    net.add("abcd")
    net.join("ab ac bd cd")
    net.pump()
    return watched(net, *"bcd")


@pytest.mark.parametrize("first", "bc")
def test_one_goodbye_is_enough_whoever_tells_it_first(first: str) -> None:
    """To b it says goodbye; its link with c breaks before that is read there."""
    net = diamond()
    net["a"].register(E, ANYCAST)
    net.pump()
    ab, ac = net.cable["ab"], net.cable["ac"]
    ac.block(net["a"])
    net["a"].close(net.now)
    if first == "b":
        net.pump()
    net.cable["ac"].cut()
    net.pump()
    net.advance(codes.LOST_MS)
    assert ab.b.close_code == codes.GOODBYE
    assert downs(net, "b") == [True]
    assert verdicts(net, "d")[-1:] in ([events.SAID_GOODBYE], [events.WITHDRAWN])
    assert events.LOST not in verdicts(net, "d") + verdicts(net, "b")


def test_what_a_node_has_seen_itself_counts_more_than_what_is_told() -> None:
    net = watched(chain("ab"), "b")
    net["a"].register(E, BROADCAST)
    net.pump()
    liar = Liar(net, net["b"])
    a = bind(8, net["a"].me.key)
    liar.say(routes(departed(a)))
    net.cable["ab"].cut()
    net.pump()
    liar.say(routes(departed(b"\x08")))
    net.advance(codes.LOST_MS)
    assert downs(net, "b") == [False]
    assert verdicts(net, "b") == [events.LOST]


def test_a_goodbye_counts_where_the_node_was_no_neighbour_any_more() -> None:
    """Its link with b has ended, which had a nearer way to it."""
    net = chain("acb", realm=USERSPACE, medium="ipc")
    net.join("ab")
    net.pump()
    assert net.hop("b", "a") == "c"
    net.cable["ab"].cut()
    net.pump()
    net["a"].close(net.now)
    net.pump()
    assert downs(net, "b") == [True]


def test_the_end_of_a_link_that_was_not_its_way_says_nothing_of_a_node() -> None:
    net = chain("acb", realm=USERSPACE, medium="ipc")
    liar = Liar(net, net["b"], "a", incarnation=net["a"].me.incarnation)
    liar.say(routes(retract(SELF)))
    liar.leave()
    net.pump()
    assert net.hop("b", "a") == "c"
    net["a"].close(net.now)
    net.pump()
    assert downs(net, "b") == [True]


def test_a_node_that_was_lost_and_is_found_by_another_way_may_say_goodbye_there() -> None:
    net = diamond()
    net.cable["ab"].cut()
    net.pump()
    net.advance(3000)
    assert net.hop("b", "a") == "d"
    net["a"].close(net.now)
    net.pump()
    net.advance(codes.LOST_MS)
    assert downs(net, "b")[-1:] == [True]


def test_a_neighbour_beyond_the_realm_of_the_way_says_nothing_of_it() -> None:
    net = chain("abc", realm=USERSPACE, medium="ipc")
    liar = Liar(net, net["c"], realm=GLOBAL)
    liar.say(routes(update(bind(8, net["a"].me.key), 0, GLOBAL << 14 | 5)))
    liar.say(routes(departed(b"\x08")))
    net.cable["ab"].cut()
    net.pump()
    net.advance(codes.LOST_MS)
    assert downs(net, "c") == [False]


@pytest.mark.parametrize(("ms", "goodbye"), [(codes.BELIEF_MS - 1000, True), (codes.BELIEF_MS + 1000, False)])
def test_a_goodbye_of_long_ago_meant_one_link_only(ms: int, goodbye: bool) -> None:
    net = chain("abc")
    liar = Liar(net, net["c"])
    liar.say(routes(departed(bind(8, net["a"].me.key))))
    net.advance(ms)
    net.cable["ab"].cut()
    net.pump()
    net.advance(codes.LOST_MS)
    assert downs(net, "c") == [goodbye]


def test_who_was_told_only_that_the_way_is_gone_is_told_of_the_goodbye_when_it_comes() -> None:
    net = watched(chain("abcd"), "c", "d")
    net["a"].register(E, ANYCAST)
    net.pump()
    liar = Liar(net, net["c"])
    liar.say(routes(update(bind(8, net["a"].me.key), 0, LOCALNET << 14 | 500)))
    net.cable["ab"].cut()
    pass_grace(net)
    assert downs(net, "d") == [False]
    liar.say(routes(departed(b"\x08")))
    net.pump()
    assert said(net, "c", "cd")[-2:] == [RETRACT, DEPARTED]
    assert verdicts(net, "d") == [events.SAID_GOODBYE]
    net.advance(codes.LOST_MS)
    assert verdicts(net, "c") == [events.SAID_GOODBYE]


def test_who_comes_back_in_time_was_never_lost() -> None:
    net = watched(ring("abcd"), "c")
    net["a"].register(E, ANYCAST)
    receiver = net["a"].register(F, ANYCAST)
    net.pump()
    net.cable["ab"].cut()
    net.cable["da"].cut()
    net.pump()
    assert downs(net, "c") == [False]
    net["a"].deregister(receiver, net.now)
    net.advance(codes.LOST_MS - 500)
    net.join("ac")
    net.pump()
    assert net.holders("c", E) == "a"
    net.advance(2 * codes.LOST_MS)
    assert verdicts(net, "c") == []
    assert verdicts(net, "c", F) == [events.WITHDRAWN]


def test_a_node_that_starts_anew_was_lost_before() -> None:
    net = watched(chain("abc"), "c")
    net["a"].register(E, ANYCAST)
    net.pump()
    net.cable["ab"].cut()
    net.pump()
    assert verdicts(net, "c") == []
    net.named["a"] = net.node("a", transit=True)
    net.cable.pop("ab")
    net.join("ab")
    net.pump()
    assert verdicts(net, "c") == [events.LOST]
    assert net.reaches("c") == "ab"


def test_a_node_that_said_goodbye_and_starts_anew_was_not_lost_though_some_still_offer_a_way() -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab ac bc")
    net["a"].register(E, ANYCAST)
    net.pump()
    watched(net, "b")
    net.cable["bc"].block(net["c"])
    net["a"].close(net.now)
    net.pump()
    assert downs(net, "b") == []
    net.named["a"] = net.node("a", transit=True)
    net.join("ab", via="tcp:anew")
    net.pump()
    assert downs(net, "b") == [True]
    assert events.LOST not in verdicts(net, "b")
    assert net.reaches("b") == "ac"


def test_a_leaf_is_told_of_goodbyes_too() -> None:
    net = chain("ab")
    leaf = net.leaf("z", "b")
    net["a"].register(E, ANYCAST)
    net.pump()
    leaf.send(E, b"hello", net.now, ttl_ms=1000)
    net.pump()
    assert net.holders("z", E) == "a"
    watched(net, "z")
    net["a"].close(net.now)
    net.pump()
    assert downs(net, "z") == [True]
    assert said(net, "b", "zb")[-1] == DEPARTED


def test_a_leaf_that_was_told_too_early_is_told_again() -> None:
    """c may still have a way when b loses its own, so d and its leaf hear of the goodbye last."""
    net = Mesh()
    net.add("abcd")
    net.join("ab ac bc bd")
    leaf = net.leaf("z", "d")
    net["a"].register(E, ANYCAST)
    net.pump()
    leaf.send(E, b"hello", net.now, ttl_ms=1000)
    net.pump()
    watched(net, "z")
    net.cable["bc"].block(net["c"])
    net["a"].close(net.now)
    net.pump()
    assert downs(net, "z") == [False]
    net.cable["bc"].block(net["c"], False)
    net.pump()
    assert verdicts(net, "z") == [events.SAID_GOODBYE]
    assert said(net, "b", "bd")[-2:] == said(net, "d", "zd")[-2:] == [RETRACT, DEPARTED]


# The table of those that are missing --------------------


class Told:
    def __init__(self) -> None:
        self.timers = Timers()
        self.departures = Departures(self.timers, lambda entry, how, now: self.log.append((entry.uuid, how)))
        self.departures.watched = True
        self.log: list[tuple[bytes, int]] = []

    def lose(self, number: int, count: int = 1, incarnation: int = 0) -> Peer:
        peer = Peer(PeerKeeper(), number.to_bytes(16, "big"), incarnation.to_bytes(4, "big"))
        self.departures.lost(peer, False, 0)
        for index in range(count):
            self.departures.keep(Entry(peer, (number << 32 | index).to_bytes(16, "big"), ANYCAST, GLOBAL), 0)
        return peer


def test_of_too_many_nodes_that_are_missing_the_first_are_lost() -> None:
    told = Told()
    for number in range(codes.DEPARTED_MAX):
        told.lose(number)
    assert told.log == []
    told.lose(codes.DEPARTED_MAX)
    assert told.log == [(bytes(16), events.LOST)]
    told.timers.fire(codes.LOST_MS)
    assert len(told.log) == codes.DEPARTED_MAX + 1
    assert told.departures.size == 0


def test_of_too_many_endpoints_the_last_are_lost_at_once() -> None:
    told = Told()
    told.lose(1, codes.DIRECTORY_MAX)
    assert told.log == []
    told.lose(2)
    assert told.log == [((2 << 32).to_bytes(16, "big"), events.LOST)]


def test_a_node_that_is_lost_again_while_it_is_missing_is_missing_for_longer() -> None:
    told = Told()
    peer = told.lose(1)
    told.departures.returned(peer, 100)
    told.departures.lost(peer, False, 200)
    told.timers.fire(codes.LOST_MS)
    assert told.log == []
    told.timers.fire(codes.LOST_MS + 200)
    assert told.log == [((1 << 32).to_bytes(16, "big"), events.LOST)]


def test_of_two_incarnations_the_former_is_lost() -> None:
    told = Told()
    told.lose(1)
    told.lose(1, 0, incarnation=1)
    assert told.log == [((1 << 32).to_bytes(16, "big"), events.LOST)]
    assert not told.departures.parted((1).to_bytes(16, "big") + bytes(4), 0, 0)


def test_a_node_that_closes_tells_nothing_of_others_any_more() -> None:
    net = watched(chain("abc"), "c")
    net["a"].register(E, ANYCAST)
    net.pump()
    net.cable["ab"].cut()
    net.pump()
    net["c"].close(net.now)
    net.advance(codes.LOST_MS)
    assert verdicts(net, "c") == []


def test_a_leaf_hears_of_the_goodbye_of_who_was_lost() -> None:
    net = chain("ab")
    leaf = net.leaf("z", "b")
    net["a"].register(E, ANYCAST)
    net.pump()
    leaf.send(E, b"hello", net.now, ttl_ms=1000)
    net.pump()
    watched(net, "z")
    net["b"].mesh._tell_leaves(net["a"].me.key, False)
    net.pump()
    net["b"].mesh._tell_leaves(net["a"].me.key, True)
    net.pump()
    assert (downs(net, "z"), verdicts(net, "z")) == ([False], [events.SAID_GOODBYE])


def test_nothing_is_kept_for_nobody() -> None:
    told = Told()
    told.departures.watched = False
    told.lose(1)
    told.timers.fire(codes.LOST_MS)
    assert told.log == []


def test_a_goodbye_on_one_link_counts_when_the_other_breaks_soon_after() -> None:
    net = chain("ab")
    net.join("ab", medium="ipc", via="ipc")
    net.pump()
    first, second = net.cables
    first.a.close(net.now)
    net.pump()
    second.cut()
    net.pump()
    assert downs(net, "b") == [True]
