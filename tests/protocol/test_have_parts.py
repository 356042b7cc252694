"""All subscribers are named to who asks for them, in as many frames as it takes (section 4.3)."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Limits, Receiver, codes
from busway.protocol.routing.have_parts import HaveParts, Pace
from busway.protocol.routing.pattern_lookups import PatternLookups
from busway.protocol.wire.holders import cut_have
from busway.protocol.wire.messages import HaveFrame, Holder
from tests.protocol.nets import ANYCAST, BROADCAST, GLOBAL, LOCALNET, Liar, Mesh, alias, signal, u16
from tests.protocol.pairs import E, F
from tests.protocol.test_publishing_patterns import id_of, knows_names, subscribe

FAR = "cdefghijklmnopqrstuv"


def slow(far: str = FAR, limits: Limits | None = None, **options: Any) -> Mesh:
    """a and b, joined by a link with lookups, and behind b all the others."""
    net = Mesh()
    net.add("ab" + far, limits=limits)
    net.join("ab", lookups=True, **options)
    net.join(" ".join("b" + letter for letter in far))
    net.pump()
    knows_names(*net.named.values())
    return net


def have(net: Mesh, pair: str = "ab") -> list[int]:
    """The signals HAVE and HAVE_PART that the second node has written."""
    found = net.frames(pair[1], pair, codes.MESSAGE | codes.SIGNAL << 4)
    return [body[1] for body in found if body[1] in (codes.HAVE, codes.HAVE_PART)]


def retained(net: Mesh, receivers: dict[str, Receiver]) -> list[list[bytes]]:
    return [[each.payload for each in net.drain(net[at], receiver)] for at, receiver in receivers.items()]


@pytest.mark.parametrize(
    ("size", "wanted"), [(128, "lab/1"), (256, "lab/1"), (256, "lab/*"), (65652, "lab/1"), (65652, "lab/*")]
)
def test_all_subscribers_behind_a_slow_link_get_the_last_value(size: int, wanted: str) -> None:
    net = slow(limits=Limits(frame_size_max=size))
    net["a"].retain(id_of("lab/1"), b"kept", net.now)
    net.pump()
    receivers = {letter: subscribe(net[letter], wanted) for letter in FAR}
    net.pump()
    net.advance(20_000)
    assert retained(net, receivers) == [[b"kept"]] * len(FAR)
    assert codes.HAVE_PART in have(net)
    late = subscribe(net["b"], wanted)
    net.pump()
    net.advance(20_000)
    assert retained(net, {"b": late}) == [[b"kept"]]


def test_a_value_whose_name_leaves_no_room_in_a_frame_is_dropped_and_the_link_lives() -> None:
    net = slow(limits=Limits(frame_size_max=128))
    net["a"].retain(id_of("lab/1"), b"kept", net.now)
    net.pump()
    receivers = {letter: subscribe(net[letter], "lab/*") for letter in FAR}
    net.pump()
    net.advance(20_000)
    assert retained(net, receivers) == [[]] * len(FAR)
    assert net.cable["ab"].a.state == net.cable["ab"].b.state == codes.OPEN
    assert net["a"].origin.counters["broadcast_dropped"] > 0


@pytest.mark.parametrize("wanted", ["lab/1", "lab/*"])
def test_however_often_subscribers_change_large_answers_are_given_now_and_then_only(wanted: str) -> None:
    net = slow()
    net["a"].retain(id_of("lab/1"), b"kept", net.now)
    for letter in FAR:
        subscribe(net[letter], wanted)
    net.pump()
    net.advance(20_000)
    told = len(have(net))
    for _ in range(100):
        receiver = subscribe(net["b"], wanted)
        net.pump()
        net["b"].deregister(receiver, net.now)
        net.pump()
        net.advance(100)
    assert 2 <= len(have(net)) - told <= 2 * 4


def test_who_asks_again_and_again_is_told_now_and_then_only() -> None:
    net = slow()
    for letter in FAR:
        net[letter].register(E, BROADCAST)
    net.pump()
    for _ in range(100):
        net["a"].lookups.send_who(net.see("a", "b"), E)
        net.pump()
        net.advance(100)
    assert len(have(net)) <= 2 * (3 + 10_000 // 4000)
    assert net.holders("a", E) == FAR


def test_so_many_answers_are_remembered_and_those_that_wait_go_with_them() -> None:
    net = slow()
    told: list[bytes] = []
    pace = Pace(lambda peer, uuid, now: told.append(uuid), net["a"].timers)
    peer = net.see("a", "b")
    uuids = [b"%016d" % number for number in range(1025)]
    assert all(pace.lets(peer, uuid, 17, net.now) for uuid in uuids[:1024])
    assert not pace.lets(peer, uuids[0], 17, net.now)
    assert not pace.lets(peer, uuids[1], 17, net.now)
    assert pace.lets(peer, uuids[1024], 17, net.now)
    assert len(pace._due) == 1024
    net.advance(5000)
    assert told == [uuids[1]]


def test_who_has_gone_is_told_nothing_later() -> None:
    net = slow()
    net["a"].retain(id_of("lab/1"), b"kept", net.now)
    for letter in FAR:
        subscribe(net[letter], "lab/*")
    net.pump()
    net.advance(20_000)
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    net["b"].deregister(receiver, net.now)
    net.advance(1)
    subscribe(net["b"], "lab/*")  # too soon after that: to be told later
    net.pump()
    patterns = net["b"].lookups.patterns
    assert isinstance(patterns, PatternLookups)
    assert patterns.askers
    told = len(have(net))
    net.cable["ab"].cut()
    net.advance(60_000)
    assert not patterns.askers
    assert len(have(net)) == told


def test_whoever_unsubscribes_is_named_no_more() -> None:
    net = slow(limits=Limits(frame_size_max=256))
    receivers = {letter: net[letter].register(E, BROADCAST) for letter in FAR}
    net["a"].lookups.ask_for_subscribers(E, net.now)
    net.pump()
    assert net.holders("a", E) == FAR
    net[FAR[0]].deregister(receivers[FAR[0]], net.now)
    net.pump()
    net.advance(5000)
    assert net.holders("a", E) == FAR[1:]


def test_over_two_slow_links_with_frames_of_two_sizes() -> None:
    net = Mesh()
    net.add("x", limits=Limits(frame_size_max=256))
    net.add("ab" + FAR)
    net.join("xa ab", lookups=True)
    net.join(" ".join("b" + letter for letter in FAR))
    net.pump()
    for letter in FAR:
        net[letter].register(E, BROADCAST)
    net.pump()
    net["x"].lookups.ask_for_subscribers(E, net.now)
    net.pump()
    net.advance(5000)
    assert net.holders("x", E) == FAR


@pytest.mark.parametrize("kind", [ANYCAST, BROADCAST])
def test_others_are_named_in_one_frame_and_so_are_they_to_a_leaf(kind: int) -> None:
    net = Mesh()
    net.add("b" + FAR)
    net.add("z", leaf=True, transit=None)
    net.join("zb")
    net.join(" ".join("b" + letter for letter in FAR))
    net.pump()
    for letter in FAR:
        net[letter].register(E, kind)
    net.pump()
    net["z"].lookups.ask(E, net.now)
    net.pump()
    assert set(have(net, "zb")) == {codes.HAVE}
    assert len(net.holders("z", E)) == codes.HOLDERS_MAX


def test_who_knows_no_parts_is_sent_one_frame() -> None:
    net = slow(addressing=False)
    for letter in FAR:
        net[letter].register(E, BROADCAST)
    net.pump()
    net["a"].lookups.ask_for_subscribers(E, net.now)
    net.pump()
    assert set(have(net)) == {codes.HAVE}
    assert len(net.holders("a", E)) == codes.HOLDERS_MAX


def holder(number: int, kind: int = codes.BROADCAST, name: str = "", traits: bytes = b"") -> Holder:
    return Holder(bytes((number,)) * codes.KEY_SIZE, kind, LOCALNET, 1, name=name, traits=traits)


def test_names_and_labels_have_what_room_there_is() -> None:
    label = b"\x01\x20" + b"l" * 32
    whole = HaveFrame(b"", E, [holder(number, name="n" * 64, traits=label) for number in range(40)])
    for size, named, labelled in ((128, 0, 0), (177, 40, 0), (1024, 40, 40), (65652, 40, 40)):
        frame = HaveFrame(b"", E, [holder(n, name="n" * 64, traits=label) for n in range(40)])
        pieces = cut_have(frame, size, True)
        assert [piece.signal for piece in pieces] == [codes.HAVE_PART] * (len(pieces) - 1) + [codes.HAVE]
        found = [each for piece in pieces for each in piece.holders]
        assert [each.key for each in found] == [each.key for each in whole.holders]
        assert max(len(piece.holders) for piece in pieces) <= codes.HOLDERS_MAX
        assert sum(each.name != "" for each in found) == named
        assert (sum(each.traits != b"" for each in found) > 0) == (labelled > 0)


def test_only_parts_of_who_was_asked_are_kept_and_go_with_it() -> None:
    net = Mesh()
    net.add("a")
    other = Liar(net, net["a"], lookups=True)
    lookups = net["a"].lookups
    one = b"\x0b\x01" + u16(1)
    other.say(signal(codes.HAVE_PART, alias(1, E) + one))
    assert lookups.parts._kept == {}
    lookups.ask_for_subscribers(E, net.now)
    other.say(signal(codes.HAVE_PART, b"\x01" + one))
    assert list(lookups.parts._kept) == [other.key]
    assert net.holders("a", E) == ""
    net.note(net["a"], other.connection.receive_eof(net.now))
    net.advance(60_000)
    assert lookups.parts._kept == {}


def test_parts_that_never_end_are_bounded() -> None:
    parts = HaveParts()
    for number in range(200):
        name = bytes((number,)) * codes.KEY_SIZE
        for _ in range(40):
            parts.keep(name, HaveFrame(b"", E, [holder(each) for each in range(16)]), LOCALNET)
    assert len(parts._kept) == 64
    assert {len(frame.holders) for frame in parts._kept.values()} == {codes.HOLDERS_SEEN_MAX}


def test_an_answer_counts_by_the_widest_realm_that_a_part_has_crossed() -> None:
    parts = HaveParts()
    parts.keep(b"name", HaveFrame(b"", E, [holder(1)]), GLOBAL)
    parts.keep(b"name", HaveFrame(b"", E, [holder(2)]), LOCALNET)
    holders, realm = parts.whole(b"name", HaveFrame(b"", E, [holder(3)]), LOCALNET)
    assert ([each.key[0] for each in holders], realm) == ([1, 2, 3], GLOBAL)
    assert parts.whole(b"name", HaveFrame(b"", E, []), LOCALNET) == ([], LOCALNET)


def test_a_part_of_another_answer_takes_its_place() -> None:
    parts = HaveParts()
    parts.keep(b"name", HaveFrame(b"", E, [holder(1)]), LOCALNET)
    parts.keep(b"name", HaveFrame(b"", F, [holder(2)]), LOCALNET)
    assert parts.whole(b"other", HaveFrame(b"", F, []), LOCALNET) == ([], LOCALNET)
    holders, _ = parts.whole(b"name", HaveFrame(b"", F, []), LOCALNET)
    assert [each.key[0] for each in holders] == [2]
