"""Who claims the id of another node, or an incarnation of it that never was: the links, ways and lines of the
real one stand.
"""

from __future__ import annotations

import pytest

from busway.protocol import codes, events
from busway.protocol.routing.advertising import adverts

from .nets import (
    ANYCAST,
    GLOBAL,
    LOCALNET,
    SELF,
    UNICAST,
    USERSPACE,
    Liar,
    Mesh,
    bind,
    chain,
    directory,
    entry,
    id_of,
    key,
    parent,
    routes,
    update,
)
from .pairs import E, F

VERSION_MAX = 0xFFFFFFFF


def local() -> Mesh:
    """Two programs of one machine, and what they have."""
    net = Mesh()
    net.add("av")
    net.join("va", realm=USERSPACE, via="ipc", medium="ipc")
    net.pump()
    net["v"].register(E, UNICAST, USERSPACE)
    net["v"].register(F, ANYCAST, GLOBAL)
    net.pump()
    assert net.see("a", "v").metric >> 14 == USERSPACE
    return net


def assert_unharmed(net: Mesh) -> None:
    assert net.cable["va"].a.state == net.cable["va"].b.state == codes.OPEN
    assert net.see("a", "v").key == net["v"].me.key
    assert net.hop("a", "v") == "v"
    assert net.holders("a", E) == net.holders("a", F) == "v"
    assert (net.see("a", "v").label, net.see("a", "v").leaf) == ("V", False)


# A HELLO with another's id


@pytest.mark.parametrize("realm", [LOCALNET, GLOBAL])
@pytest.mark.parametrize("leaf", [False, True])
def test_another_incarnation_from_afar_displaces_no_local_program(realm: int, leaf: bool) -> None:
    net = local()
    liar = Liar(net, net["a"], "v", realm=realm, incarnation=7, leaf=leaf, hears=False)
    assert liar.error == codes.REPLACED
    assert_unharmed(net)
    assert net["a"].counters["links_refused"] == 1
    assert net["a"].counters["links_opened"] == 1
    assert [event.kind for event in net.seen(net["a"]) if isinstance(event, events.LinkEvent)] == [
        events.LINK_OPEN,
        events.LINK_CLOSED,
    ]


def test_nor_one_that_another_program_here_leads_to() -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab", realm=USERSPACE)
    net.leaf("v", "b", realm=USERSPACE)
    net.pump()
    liar = Liar(net, net["a"], "v", incarnation=7, hears=False)
    assert liar.error == codes.REPLACED
    assert net.see("a", "v").key == net["v"].me.key
    assert net.hop("a", "v") == "b"


def test_one_of_the_same_realm_takes_the_place_of_a_former_life() -> None:
    net = chain("ab")
    first = Liar(net, net["a"], "v", incarnation=1)
    Liar(net, net["a"], "v", incarnation=2)
    assert first.error == codes.REPLACED
    assert net.see("a", "v").key == key("v", 2)


@pytest.mark.parametrize("dialled", [False, True])
@pytest.mark.parametrize("leaf", [False, True])
def test_the_very_same_incarnation_from_afar_changes_nothing(dialled: bool, leaf: bool) -> None:
    """Both are public; it even says that it came by the same address."""
    net = local()
    options = {"incarnation": net["v"].me.incarnation, "via": "ipc", "dialled": dialled, "label": "evil"}
    liar = Liar(net, net["a"], "v", realm=LOCALNET, leaf=leaf, hears=False, **options)
    liar.say(directory(SELF, GLOBAL, 0, VERSION_MAX, label="evil", flags=0x10))
    liar.say(directory(SELF, LOCALNET, 0, VERSION_MAX, entry(2, E)))
    net.advance(2 * codes.CLOSING_MS)
    assert_unharmed(net)
    other = net["v"].register(b"another endpoint", UNICAST, LOCALNET)
    net.pump()
    net["a"].send(b"another endpoint", b"x", net.now)
    net.pump()
    assert net.payloads("v", other) == [b"x"]


def test_a_local_link_that_comes_after_it_stands_beside_it() -> None:
    net = Mesh()
    net.add("va")
    options = {"incarnation": net["v"].me.incarnation, "via": "ipc", "dialled": True, "label": "evil"}
    Liar(net, net["a"], "v", realm=LOCALNET, **options)
    net.join("va", realm=USERSPACE, via="ipc")
    net.pump()
    net.advance(2 * codes.CLOSING_MS)
    assert net.cable["va"].b.state == codes.OPEN
    assert net.hop("a", "v") == "v"
    assert net.see("a", "v").metric >> 14 == USERSPACE


# An incarnation that somebody tells of


@pytest.mark.parametrize("metric", [0, 1])
def test_an_incarnation_that_was_made_up_takes_no_way(metric: int) -> None:
    net = chain("abc")
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    liar = Liar(net, net["a"])
    liar.say(routes(update(bind(3, key("c", 7)), 40_000, metric)))
    net.pump()
    assert net.see("a", "c").key == net["c"].me.key
    token = net["a"].request(E, b"x", net.now)
    net.pump()
    net["c"].respond(net.asked("c", receiver), b"y", net.now)
    net.pump()
    assert [outcome.status for outcome in net.outcomes(net["a"], token)] == [events.REPLIED]


def test_when_the_known_one_is_gone_the_other_is_believed() -> None:
    net = chain("abc")
    liar = Liar(net, net["a"])
    liar.say(routes(update(bind(3, key("c", 7)), 0, 1)))
    net.cable["bc"].cut()
    net.advance(2 * codes.ROUTE_LOSS_GRACE_MS)
    assert net.see("a", "c").key == key("c", 7)


def test_a_session_takes_the_place_of_what_is_told() -> None:
    net = chain("ab")
    liar = Liar(net, net["a"])
    liar.say(routes(update(bind(3, key("c", 7)), 0, 1)))
    assert net.see("a", "c").key == key("c", 7)
    net.add("c")
    net.join("ac")
    net.pump()
    assert net.see("a", "c").key == net["c"].me.key


def test_a_board_behind_a_dear_link_is_not_reached_through_who_claims_to_be_nearer() -> None:
    net = Mesh()
    net.add("a")
    board = net.leaf("x", "a", cost=512)
    receiver = board.register(E, UNICAST)
    net.pump()
    liar = Liar(net, net["a"])
    liar.say(routes(update(bind(3, board.me.key), 9, 0)))
    net.pump()
    net["a"].send(E, b"private", net.now)
    net.pump()
    assert net.payloads("x", receiver) == [b"private"]
    assert liar.heard(0x80) == []


# Versions that never were


def test_a_version_that_was_made_up_is_forgotten_with_who_made_it_up() -> None:
    """c is behind b. z says that it leads there, for less, and that c has a line of a version beyond all."""
    net = chain("abc", cost=100)
    net["c"].register(E, ANYCAST)
    net.pump()
    assert net.holders("a", E) == "c"
    c = net["c"].me.key
    liar = Liar(net, net["a"])
    liar.say(routes(update(bind(3, c), 1, 0)))
    assert net.hop("a", "c") == "z"
    three = b"\x03"
    liar.say(directory(three, LOCALNET, 0, VERSION_MAX, entry(2, F)))
    assert (net.holders("a", E), net.holders("a", F)) == ("", "c")
    liar.leave()
    net.advance(3000)
    assert net.hop("a", "c") == "b"
    assert (net.holders("a", E), net.holders("a", F)) == ("c", "")
    net["c"].register(F, ANYCAST)
    net.pump()
    assert net.holders("a", F) == "c"


def test_those_further_on_hear_it_too() -> None:
    net = chain("dabc", cost=100)
    net["c"].register(E, ANYCAST)
    net.pump()
    liar = Liar(net, net["a"])
    liar.say(routes(update(bind(3, net["c"].me.key), 0, 0)))
    liar.say(directory(b"\x03", LOCALNET, 0, VERSION_MAX, entry(2, F)))
    net.pump()
    assert (net.holders("d", E), net.holders("d", F)) == ("", "c")
    liar.leave()
    net.advance(3000)
    for letter in "da":
        assert (net.holders(letter, E), net.holders(letter, F)) == ("c", "")
        assert net.see(letter, "c").lines[LOCALNET].version == 1


def test_a_child_that_has_a_version_of_ours_which_is_not_is_told_all() -> None:
    net = chain("ab")
    net["b"].register(E, ANYCAST)
    net.pump()
    liar = Liar(net, net["b"])
    liar.hear()
    liar.say(routes(parent(bytes((codes.RECEIVER,)), 0, VERSION_MAX, 0)))
    [told] = liar.heard(codes.DIRECTORY)
    assert told[:3] == bytes((codes.DIRECTORY, LOCALNET, codes.SENDER))
    assert told[3:5] == b"\x00\x01"
    assert adverts(liar.connection).neighbour.children[net["b"].mesh.router.me].versions[LOCALNET] == 1
    assert id_of("z") in net["b"].routes.peers
