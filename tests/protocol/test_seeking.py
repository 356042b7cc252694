"""Holders of an endpoint that a program watches, where nobody tells without being asked."""

from __future__ import annotations

from busway.protocol import codes, events

from .nets import ANYCAST, Mesh, chain
from .pairs import E, F
from .test_selecting import where

WET = where("wet")


def with_leaf() -> Mesh:
    net = chain("ab")
    net.leaf("z", "a")
    net.pump()
    net["z"].watch_departures(True)
    return net


def test_who_seeks_is_told_who_has_it_and_of_changes() -> None:
    net = with_leaf()
    receiver = net["b"].register(E, ANYCAST)
    net.pump()
    leaf = net["z"]
    assert leaf.knows_all(E)
    leaf.seek(E, net.now)
    assert not leaf.knows_all(E)
    assert leaf.knows_all()
    net.pump()
    assert net.holders("z", E) == "b"
    assert leaf.knows_all(E)
    assert [event.kind for event in net.seen(leaf, events.SYNCED)] == [events.SYNCED]
    net["b"].deregister(receiver, net.now)
    net.pump()
    assert net.holders("z", E) == ""
    net["a"].register(E, ANYCAST)
    net.pump()
    assert net.holders("z", E) == "a"


def wet(net: Mesh, letter: str, uuid: bytes) -> None:
    net[letter].register(uuid, ANYCAST, labels=["wet"])


def test_what_a_selector_means_is_asked_again_and_again() -> None:
    net = with_leaf()
    leaf = net["z"]
    leaf.seek(WET, net.now)
    assert not leaf.knows_all(WET)
    net.pump()
    assert (leaf.knows_all(WET), len(net.seen(leaf, events.SYNCED))) == (True, 1)
    wet(net, "b", E)
    net.pump()
    assert net.holders("z", E) == ""  # nobody tells of changes
    net.advance(codes.SELECT_MS)
    assert net.holders("z", E) == "b"
    net.cable["za"].cut()
    net.advance(3 * codes.SELECT_MS)
    wet(net, "a", F)
    net.join("zb")
    net.pump()
    assert (net.holders("z", E), net.holders("z", F)) == ("b", "a")
    leaf.seek_only([])
    asked = leaf.lookups.counters["lookups"]
    net.advance(5 * codes.SELECT_MS)
    assert leaf.lookups.counters["lookups"] == asked


def test_each_selector_has_its_time_and_who_is_new_is_asked_at_once() -> None:
    net = Mesh()
    net.add("ab")
    dry = where("dry")
    net["a"].seek(WET, net.now)
    net.join("ab", lookups=True)
    net.pump()
    net.advance(2000)
    net["a"].seek(dry, net.now)
    net.pump()
    wet(net, "b", E)
    net["b"].register(F, ANYCAST, labels=["dry"])
    net.pump()
    net.advance(codes.SELECT_MS - 2000)
    assert (net.holders("a", E), net.holders("a", F)) == ("b", "")
    net.advance(2000)
    assert net.holders("a", F) == "b"
    net.add("c")
    net["c"].register(b"c" * 16, ANYCAST, labels=["dry"])
    net.join("ac", lookups=True)
    net.pump()
    assert net.holders("a", b"c" * 16) == "c"


def test_a_line_that_takes_long_to_answer_is_asked_less_often() -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab", lookups=True)
    net.pump()
    net.cable["ab"].block(net["b"])
    net["a"].seek(WET, net.now)
    net.pump()
    net.advance(codes.SYNC_MS)
    net.cable["ab"].block(net["b"], False)
    asked = net["a"].lookups.counters["lookups"]
    net.advance(15 * codes.SYNC_MS)
    assert net["a"].lookups.counters["lookups"] == asked
    net.advance(2 * codes.SYNC_MS)
    assert net["a"].lookups.counters["lookups"] == asked + 1


def test_each_selector_is_asked_again_in_its_time_and_at_once_of_whoever_is_new() -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab", lookups=True)
    net.pump()
    asker = net["a"]
    asker.seek(WET, net.now)
    net.pump()
    net.advance(codes.SELECT_MS // 2)
    asker.seek(where("dry"), net.now)
    net.pump()
    asked = asker.lookups.counters["lookups"]
    net.advance(codes.SELECT_MS // 2)
    assert asker.lookups.counters["lookups"] == asked + 1
    net.advance(codes.SELECT_MS // 2)
    assert asker.lookups.counters["lookups"] == asked + 2
    wet(net, "c", E)
    net.join("ac", lookups=True)
    net.pump()
    assert net.holders("a", E) == "c"


def test_another_router_is_asked_again() -> None:
    net = with_leaf()
    net["z"].seek(E, net.now)
    net["z"].seek(F, net.now)
    net["z"].seek_only([E])
    net.pump()
    net.cable["za"].cut()
    net.join("zb")
    net.pump()
    for uuid in (E, F):
        net["a"].register(uuid, ANYCAST)
    net.pump()
    assert (net.holders("z", E), net.holders("z", F)) == ("a", "")


def test_a_router_that_seeks_asks_behind_slow_links() -> None:
    net = Mesh()
    net.add("ab")
    net["a"].seek(E, net.now)
    net["b"].register(E, ANYCAST)
    net.join("ab", lookups=True)
    net.pump()
    assert net.holders("a", E) == "b"


def test_who_looks_hears_that_the_first_exchange_is_over() -> None:
    net = Mesh()
    net.add("ab")
    net["a"].watch_departures(True)
    net.join("ab")
    assert net["a"].origin.syncing
    assert not net["a"].knows_all()
    net.pump()
    assert net["a"].knows_all()
    assert len(net.seen(net["a"], events.SYNCED)) == 1
    assert net.seen(net["b"], events.SYNCED) == []
    assert codes.LOST_MS == 2000
