"""Other nodes' endpoints: who counts where several hold one name, what is told, and when it is taken back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.protocol import Node, codes, events
from busway.protocol.routing.directory import Directory, conflict
from busway.protocol.routing.peers import Entry, Peer, PeerKeeper
from busway.protocol.wire.fields import frame
from tests.protocol.helpers import B
from tests.protocol.pairs import E, F, G, Net, Pair

UNICAST, ANYCAST, BROADCAST = codes.UNICAST, codes.ANYCAST, codes.BROADCAST


def peer(letter: str) -> Peer:
    return Peer(PeerKeeper(), letter.encode() * 16, b"inca", letter, False)


def entry(of: Peer, kind: int, uuid: bytes = E) -> Entry:
    return Entry(of, uuid, kind, codes.USERSPACE)


@pytest.mark.parametrize(
    ("kind", "other", "excluded"),
    [
        (UNICAST, UNICAST, True),
        (UNICAST, ANYCAST, True),
        (ANYCAST, BROADCAST, True),
        (ANYCAST, ANYCAST, False),
        (BROADCAST, BROADCAST, False),
    ],
)
def test_which_holders_exclude_each_other(kind: int, other: int, excluded: bool) -> None:
    assert conflict(kind, other) is excluded
    assert conflict(other, kind) is excluded


def test_an_entry_is_replaced_and_removed() -> None:
    directory, a = Directory(), peer("a")
    first, second = entry(a, ANYCAST), entry(a, BROADCAST)
    directory.add(first)
    directory.add(second)
    assert directory.holders(E) == [second]
    assert directory.remove(a, E) is second
    assert directory.remove(a, E) is None
    assert directory.holders(E) == []
    assert directory.all() == []
    assert a.entries == {}


@pytest.mark.parametrize(
    ("kinds", "counting"),
    [
        ([ANYCAST, ANYCAST, ANYCAST], "123"),
        ([UNICAST, UNICAST, ANYCAST], "1"),
        ([ANYCAST, UNICAST, ANYCAST], "13"),
        ([BROADCAST, ANYCAST, BROADCAST], "13"),
    ],
)
def test_of_holders_in_conflict_the_one_known_longest_counts(kinds: list[int], counting: str) -> None:
    for names in ("abc", "cba", "bca"):
        directory = Directory()
        peers = [peer(letter) for letter in names]
        for one, kind in zip(peers, kinds, strict=True):
            directory.add(entry(one, kind))
        for one, kind in zip(peers, kinds, strict=True):
            directory.add(entry(one, kind))  # told again, it has not become younger
        assert {one.peer.label for one in directory.holders(E)} == {names[int(at) - 1] for at in counting}


@pytest.mark.parametrize("kind", [UNICAST, ANYCAST, BROADCAST])
@pytest.mark.parametrize("other", [UNICAST, ANYCAST, BROADCAST])
def test_the_narrower_realm_counts_whoever_was_first(kind: int, other: int) -> None:
    directory = Directory()
    wide = Entry(peer("a"), E, kind, codes.LOCALNET)
    narrow = Entry(peer("b"), E, other, codes.USERSPACE)
    directory.add(wide)
    directory.add(narrow)
    alike = kind == other != UNICAST
    assert directory.holders(E) == ([wide, narrow] if alike else [narrow])
    assert directory.rival(E, other, codes.USERSPACE) is (narrow if other == UNICAST else None)


def test_of_one_realm_the_one_with_the_narrower_way_counts() -> None:
    directory = Directory()
    far, near = peer("a"), peer("b")
    far.metric, near.metric = codes.LOCALNET << 14, codes.USERSPACE << 14 | 99
    for one in (far, near):
        directory.add(Entry(one, E, UNICAST, codes.LOCALNET))
    assert [one.peer for one in directory.holders(E)] == [near]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([E, F]), st.integers(0, 3)), max_size=30))
def test_both_views_of_the_directory_agree(steps: list[tuple[str, bytes, int]]) -> None:
    directory = Directory()
    peers = {letter: peer(letter) for letter in "abcd"}
    for letter, uuid, kind in steps:
        if kind:
            directory.add(entry(peers[letter], kind, uuid))
        else:
            directory.remove(peers[letter], uuid)
        for one in peers.values():
            for known, item in one.entries.items():
                assert item in directory.known(known)
        assert len(directory.all()) == sum(len(one.entries) for one in peers.values())


# Told from node to node


def change(realm: int, base: int, version: int, kind: int, uuid: bytes) -> bytes:
    """A frame in which a node tells one change of its own line."""
    return frame(bytes((codes.DIRECTORY, realm, 1, base, version, kind)) + uuid)


def names(node: Node) -> list[str]:
    return sorted(one.name for one in node.entries())


def test_names_kinds_realms_and_costs_are_told() -> None:
    net = Pair()
    net.b.register(E, ANYCAST, codes.GLOBAL, name="lab/übung", cost=300)
    net.b.register(F, BROADCAST, codes.USERSPACE)
    net.pump()
    first, second = sorted(net.a.entries(), key=lambda one: one.uuid)
    assert (first.uuid, first.kind, first.realm, first.name, first.cost) == (
        E,
        ANYCAST,
        codes.GLOBAL,
        "lab/übung",
        300,
    )
    assert (second.uuid, second.kind, second.realm, second.name, second.cost) == (
        F,
        BROADCAST,
        codes.USERSPACE,
        "",
        0,
    )
    assert [one.peer.node_id for one in net.a.entries()] == [B, B]
    assert [event.entry.uuid for event in net.seen(net.a, events.ENDPOINT_UP)] == [F, E]


def test_endpoints_there_before_the_link_and_after_it_are_told_alike() -> None:
    net = Net()
    a, b = net.node("a"), net.node("b")
    early = b.register(E, UNICAST, name="early")
    net.link(a, b)
    net.pump()
    assert names(a) == ["early"]
    b.register(F, UNICAST, name="late")
    net.pump()
    assert names(a) == ["early", "late"]
    b.deregister(early, net.now)
    net.pump()
    assert names(a) == ["late"]


def test_what_comes_and_goes_between_two_writes_is_not_told() -> None:
    net = Pair()
    receiver = net.b.register(E, UNICAST)
    net.b.deregister(receiver, net.now)
    net.pump()
    assert net.seen(net.a, events.ENDPOINT_UP) == []
    kept = net.b.register(F, UNICAST)
    net.pump()
    net.b.deregister(kept, net.now)
    net.b.register(F, UNICAST)
    net.pump()
    assert len(net.seen(net.a, events.ENDPOINT_UP)) == 1  # nothing changed for a
    assert net.seen(net.a, events.ENDPOINT_DOWN) == []


@pytest.mark.parametrize("change", ["kind", "realm", "cost"])
def test_a_change_is_told_once(change: str) -> None:
    net = Pair()
    receiver = net.b.register(E, ANYCAST)
    net.pump()
    net.b.deregister(receiver, net.now)
    options = {"kind": ANYCAST, "realm": codes.LOCALNET, "cost": 0}
    options.update({"kind": BROADCAST} if change == "kind" else {change: codes.GLOBAL})
    net.b.register(E, options["kind"], options["realm"], cost=options["cost"])
    net.pump()
    up = net.seen(net.a, events.ENDPOINT_UP)
    assert len(up) == 2
    assert getattr(up[-1].entry, change) == options[change]


def test_a_withdrawal_of_what_was_not_announced_is_ignored() -> None:
    net = Pair()
    net.a.mesh.entry_withdrawn(net.a.routes.peers[B], E, net.now)
    assert net.seen(net.a, events.ENDPOINT_DOWN) == []


@pytest.mark.parametrize("first_to_go", ["older", "younger"])
def test_everything_of_a_node_is_withdrawn_with_its_last_link(first_to_go: str) -> None:
    net = Pair()
    other = net.link(net.a, net.b, via="tcp://h:1")
    if first_to_go == "younger":
        net.cable, other = other, net.cable
    for uuid in (E, F, G):
        net.b.register(uuid, UNICAST)
    net.pump()
    net.cable.cut()
    assert len(net.a.entries()) == 3
    assert net.seen(net.a, events.NODE_DOWN) == []
    other.cut()
    assert net.a.entries() == []
    assert net.a.directory.all() == []
    assert [event.entry.uuid for event in net.seen(net.a, events.ENDPOINT_DOWN)] == [E, F, G]
    assert [event.peer.node_id for event in net.seen(net.a, events.NODE_DOWN)] == [B]
    assert net.a.peers() == []


def test_an_entry_narrower_than_its_link_is_ignored_and_counted() -> None:
    net = Pair(realm=codes.LOCALNET)
    net.note(net.a, net.ca.receive_data(change(codes.USERSPACE, 0, 1, UNICAST, E), net.now))
    assert net.a.entries() == []
    assert net.a.counters["narrow_entry"] == 1
    assert net.ca.state == codes.OPEN


def test_a_neighbours_entries_are_bounded() -> None:
    net = Pair()
    of = net.a.routes.peers[B]
    for number in range(codes.ENTRIES_MAX):
        net.a.directory.add(entry(of, UNICAST, number.to_bytes(16, "big")))
    net.note(net.a, net.ca.receive_data(change(codes.GLOBAL, 0, 1, ANYCAST, bytes(16)), net.now))
    assert net.ca.state == codes.OPEN
    assert of.entries[bytes(16)].kind == ANYCAST  # a change of one it knows is no more than before
    net.note(net.a, net.ca.receive_data(change(codes.GLOBAL, 1, 2, ANYCAST, E), net.now))
    assert net.closings(net.ca) == []
    assert (len(of.entries), E in of.entries) == (codes.ENTRIES_MAX, False)
    assert net.a.counters["entries_over"] == 1


def test_what_closes_while_its_link_is_replaced_is_not_kept() -> None:
    net = Pair()
    going = net.b.register(E, UNICAST)
    net.b.register(F, UNICAST)
    net.pump()
    net.cable.block(net.b)
    net.link(net.a, net.b)
    net.step()
    net.b.deregister(going, net.now)
    net.cable.block(net.b, False)
    net.pump()
    net.advance(5000)
    assert [one.uuid for one in net.a.entries()] == [F]
    assert len(net.seen(net.a, events.ENDPOINT_DOWN)) == 1
