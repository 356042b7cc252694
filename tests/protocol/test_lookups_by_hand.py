"""Questions and answers about endpoints, written by hand, and the rare turns."""

from __future__ import annotations

import pytest

from busway.protocol import Limits, codes, events
from busway.protocol.errors import LocalError
from tests.rigs.uncounted import uncounted

from .helpers import verdicts
from .nets import (
    ANYCAST,
    BROADCAST,
    GLOBAL,
    LOCALNET,
    SELF,
    YOU,
    Liar,
    Mesh,
    alias,
    bind,
    chain,
    directory,
    entry,
    id_of,
    key,
    parent,
    retract,
    routes,
    signal,
    u16,
    update,
)
from .pairs import E, F
from .test_lookups import NOBODY, crowd_out

# By hand


def haves(liar: Liar) -> list[bytes]:
    return [body[2:] for body in liar.hear() if body[:2] == bytes((0xF0, codes.HAVE))]


def test_holders_come_nearest_first_with_all_that_is_known_of_them() -> None:
    net = chain("bc", cost=9)
    net["c"].register(E, ANYCAST, name="far")
    net["b"].register(E, ANYCAST, cost=300)
    net.pump()
    liar = Liar(net, net["b"], lookups=True)
    liar.say(signal(codes.WHO, alias(1, E)))
    [answer] = haves(liar)
    mine = b"\x2a" + SELF + u16(0) + b"\xac\x02"
    assert answer.startswith(alias(1, E) + mine)
    assert answer[len(alias(1, E) + mine)] == 0x4A
    assert answer.endswith(u16(LOCALNET << 14 | 9) + b"\x03far")


def test_what_is_written_to_a_watcher_is_the_latest_only() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)
    liar.say(signal(codes.WHO, alias(1, E)))
    liar.hear()
    for _ in range(50):
        net["b"].deregister(net["b"].register(E, ANYCAST), net.now)
    net["b"].register(E, ANYCAST)
    [answer] = haves(liar)
    assert answer == alias(1, E) + b"\x0a" + SELF + u16(0) or answer == b"\x01\x0a" + SELF + u16(0)
    net["b"].register(F, ANYCAST)
    assert haves(liar) == []


def test_an_asker_is_not_told_of_itself() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    liar.say(routes(parent(YOU)), directory(SELF, LOCALNET, 0, 1, entry(2, E)))
    liar.hear()
    liar.say(signal(codes.WHO, alias(1, E)), signal(codes.WHO, alias(2, id_of("z"))))
    assert haves(liar) == [alias(1, E), alias(2, id_of("z"))]


def test_the_answer_names_the_asker_s_own_endpoint_in_vain() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)
    token = net["b"].send(E, b"", net.now, confirm=True)
    liar.hear()
    liar.say(signal(codes.HAVE, alias(1, E) + b"\x0e" + YOU + u16(0) + b"\x0e" + bind(3, key("n")) + u16(0)))
    assert verdicts(net, net["b"], token) == NOBODY
    assert net.holders("b", E) == ""


def test_a_holder_whose_line_is_known_is_left_as_its_line_says() -> None:
    net = chain("abc")
    net["c"].register(E, ANYCAST, cost=3)
    net.pump()
    liar = Liar(net, net["b"], lookups=True)
    net["b"].lookups.ask(E, net.now)
    liar.hear()
    c = bind(3, net["c"].me.key)
    liar.say(signal(codes.HAVE, alias(1, E) + b"\x0a" + c + u16(0)))
    assert net["b"].directory.known(E)[0].cost == 3
    liar.say(signal(codes.HAVE, b"\x01"))
    assert net.holders("b", E) == "c"


def test_a_second_answer_takes_back_what_the_first_said() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)
    liar.say(routes(update(bind(3, key("x")), 0, 1)))
    net["b"].send(E, b"", net.now, ttl_ms=9000)
    liar.hear()
    liar.say(signal(codes.HAVE, alias(1, E) + b"\x0a\x03" + u16(1)))
    assert net.holders("b", E) == "x"
    liar.say(signal(codes.HAVE, b"\x01"))
    assert net.holders("b", E) == ""


def test_a_router_that_asks_back_is_answered_at_once() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)
    net["b"].send(E, b"", net.now, ttl_ms=9000)
    liar.hear()
    liar.say(signal(codes.WHO, alias(1, E)))
    assert haves(liar) == [b"\x01"]  # the number that was bound by the question


# Rare turns


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_what_a_far_router_said_is_dropped_when_the_holder_says_otherwise() -> None:
    net = Mesh()
    net.add("ambc")
    net.join("am mb")
    net.add("de")
    net.join("md")
    net.join("bc de", lookups=True)
    net.pump()
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    net["a"].send(E, b"1", net.now)
    net.pump()
    assert net.holders("a", E) == "c"
    crowd_out(net, "a")
    net["c"].deregister(receiver, net.now)
    net.pump()
    assert net.holders("a", E) == "c"
    token = net["a"].send(E, b"2", net.now, confirm=True)
    net.pump()
    assert [status for status, _ in verdicts(net, net["a"], token)] == [events.UNDELIVERED]
    assert net.holders("a", E) == ""
    assert net["a"].lookups.told[E] == {net["b"].me.key: {}, net["d"].me.key: {}}


def test_the_lookup_endpoint_itself_is_asked_of_nobody_far() -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab")
    slow_one = Liar(net, net["b"], lookups=True)
    net.pump()
    assert slow_one.error == -1
    assert not net["a"].lookups.ask(codes.LOOKUP, net.now)
    assert net["a"].lookups.ask(E, net.now)


def test_a_holder_narrower_than_its_way_is_not_taken() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True, realm=GLOBAL)
    net["b"].send(E, b"", net.now, ttl_ms=9000)
    liar.hear()
    liar.say(signal(codes.HAVE, alias(1, E) + b"\x0a" + SELF + u16(0)))
    assert net.holders("b", E) == ""


def test_news_of_a_holder_that_is_forgotten_is_no_harm() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)
    liar.say(routes(update(bind(3, key("x")), 0, 1)))
    net["b"].lookups.ask(E, net.now)
    liar.say(signal(codes.HAVE, alias(1, E) + b"\x0a\x03" + u16(1)))
    assert net.holders("b", E) == "x"
    liar.say(routes(update(b"\x03", 0, 0xFFFF)))
    net.advance(300_000)
    assert net["b"].routes.find(key("x")) is None
    liar.say(signal(codes.HAVE, b"\x01"))
    assert net["b"].lookups.told[E] == {liar.key: {}}


def test_of_two_that_were_asked_one_may_be_lost() -> None:
    net = chain("ab")
    one, other = Liar(net, net["b"], "y", lookups=True), Liar(net, net["b"], "z", lookups=True)
    token = net["b"].send(E, b"", net.now, confirm=True)
    one.leave()
    net.advance(codes.ROUTE_LOSS_GRACE_MS)
    assert verdicts(net, net["b"], token) == []
    other.say(signal(codes.HAVE, alias(1, E)))
    assert verdicts(net, net["b"], token) == NOBODY


def test_what_was_asked_for_is_remembered_within_bounds() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)

    def ask(first: int, end: int) -> None:
        for number in range(first, end):
            uuid = b"%016d" % number
            if number % codes.QUERIES_MAX == 0:
                net.advance(codes.SYNC_MS)
                liar.hear()
            assert net["b"].lookups.ask(uuid, net.now)

    with uncounted():
        ask(0, codes.ENTRIES_MAX)
    ask(codes.ENTRIES_MAX, codes.ENTRIES_MAX + 50)
    assert len(net["b"].lookups.told) == codes.ENTRIES_MAX


def test_subscribers_are_looked_for_seldom_and_within_bounds() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)
    for number in range(codes.WATCHES_MAX + 50):
        net["b"].publish(b"%016d" % number, b"x", net.now)
        net["b"].publish(b"%016d" % number, b"y", net.now)
    questions = [body for body in liar.hear() if body[:2] == bytes((0xF0, codes.WHO))]
    assert len(questions) == codes.WATCHES_MAX + 50
    assert len(net["b"].lookups._asked) <= codes.WATCHES_MAX


def test_one_may_locate_oneself_and_the_holder_of_an_endpoint() -> None:
    net = chain("abc")
    net["c"].register(E, ANYCAST)
    net["c"].register(F, BROADCAST)
    net["a"].register(b"mine-mine-mine-m", BROADCAST)
    net.pump()
    for wanted, found in ((id_of("a"), "a"), (E, "c"), (F, "c"), (b"mine-mine-mine-m", "a")):
        token = net["a"].locate(wanted, net.now)
        net.note(net["a"], net["a"].take_events())
        assert [o.node_id for o in net.outcomes(net["a"], token)] == [id_of(found)]


def test_one_may_wait_for_what_is_to_be_located_to_appear() -> None:
    net = chain("abc")
    net.pump()
    tokens = [net["a"].locate(E, net.now, timeout_ms=9000, ttl_ms=ttl) for ttl in (3000, 8000)]
    net.advance(5000)
    assert [verdicts(net, net["a"], token) for token in tokens] == [
        [(events.UNDELIVERED, codes.NO_ENDPOINT)],
        [],
    ]
    net["c"].register(E, ANYCAST)
    net.pump()
    net.note(net["a"], net["a"].take_events())
    assert [o.node_id for o in net.outcomes(net["a"], tokens[1])] == [id_of("c")]
    with pytest.raises(LocalError, match="ttl_ms must be"):
        net["a"].locate(E, net.now, ttl_ms=-1)


@pytest.mark.parametrize(("size", "named"), [(codes.FRAME_SIZE_MIN, False), (176, True), (422, True)])
def test_an_answer_fits_the_frame_however_long_its_names(size: int, named: bool) -> None:
    """All that can be bound is bound in it, and all numbers are long: still no byte too much."""
    net = Mesh()
    net.add("a", limits=Limits(frame_size_max=size))
    net.add("bcdef")
    net.join("ab", lookups=True, realm=GLOBAL)
    net.join("bc bd be bf", realm=GLOBAL, cost=16000)
    for letter in "cdef":
        net[letter].register(E, ANYCAST, name=letter * 64, realm=GLOBAL, cost=16383)
    net.pump()
    token = net["a"].send(E, b"x", net.now, confirm=True, timeout_ms=700)
    net.advance(800)
    assert verdicts(net, net["a"], token)[0][0] in (events.TAKEN, events.UNKNOWN, events.UNDELIVERED)
    found = net["a"].directory.holders(E)
    assert 1 <= len(found) <= 4
    assert all(bool(entry.name) == named for entry in found)
    assert net.reaches("a") == "bcdef"


def test_who_cannot_be_reached_is_not_asked() -> None:
    net = chain("ab")
    peer = net.see("a", "b")
    peer.hop = None
    before = net.cable["ab"].a.queued_bytes()
    net["a"].lookups.send_who(peer, E)
    assert not net.cable["ab"].a.wants_write
    assert net.cable["ab"].a.queued_bytes() == before


def test_news_of_one_that_has_answered_does_not_end_the_wait_for_another() -> None:
    net = chain("ab")
    one, other = Liar(net, net["b"], "y", lookups=True), Liar(net, net["b"], "z", lookups=True)
    token = net["b"].send(E, b"", net.now, confirm=True)
    one.say(signal(codes.HAVE, alias(1, E)))
    one.say(signal(codes.HAVE, b"\x01"))
    assert verdicts(net, net["b"], token) == []
    assert list(net["b"].lookups.queries[E].waiting) == [other.key]
    other.say(signal(codes.HAVE, alias(1, E)))
    assert verdicts(net, net["b"], token) == NOBODY


def test_a_holder_that_was_asked_for_has_no_place_in_a_full_directory() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"], lookups=True)
    for uuid, size in ((E, codes.DIRECTORY_MAX - 1), (F, codes.DIRECTORY_MAX)):
        net["b"].lookups.ask(uuid, net.now)
        net["b"].directory.size = size
        liar.say(signal(codes.HAVE, alias(1, uuid) + b"\x0a" + SELF + u16(0)))
    assert (net.holders("b", E), net.holders("b", F)) == ("z", "")
    assert net["b"].counters["entries_over"] == 1
    assert len(net.seen(net["b"], events.EXCEEDED)) == 1
    assert net["b"].lookups.told[F] == {liar.key: {}}


def asks_as_far(uuid: bytes) -> bytes:
    """WHO of the node that a Liar has bound to 3."""
    return bytes((0xF8, 8, 9, 3, codes.WHO)) + alias(1, uuid)


def far_haves(liar: Liar) -> list[bytes]:
    """What was written as HAVE to that node, by whatever way."""
    return [body for body in liar.hear() if body[:2] == b"\xf8\x04" and body[4] == codes.HAVE]


def test_who_is_gone_when_its_question_comes_is_not_answered() -> None:
    net = chain("ab")
    net["b"].register(E, ANYCAST)
    liar = Liar(net, net["b"])
    liar.say(routes(update(bind(3, key("f")), 1, 1)))
    liar.say(routes(retract(b"\x03")))
    liar.hear()
    liar.say(asks_as_far(E))
    assert (far_haves(liar), liar.error) == ([], -1)
    assert net["b"].forwarder.counters["unbelieved"] == 0
    assert net["b"].lookups.counters["lookups_answered"] == 0


def test_whose_way_is_lost_for_a_while_is_neither_answered_nor_told_of_changes() -> None:
    net = chain("ab")
    first, second = Liar(net, net["b"], "y"), Liar(net, net["b"], "z")
    for liar in (first, second):
        liar.say(routes(update(bind(3, key("f")), 1, 1 if liar is first else 9)))
    second.say(routes(parent(b"\x03")))
    first.say(routes(retract(b"\x03")))
    assert net.see("b", "f").hop is None
    net["b"].register(E, ANYCAST)
    first.hear()
    second.hear()
    second.say(asks_as_far(E))
    assert (far_haves(first), far_haves(second), second.error) == ([], [], -1)
    assert net["b"].lookups.counters["lookups_answered"] == 1
    first.say(routes(update(b"\x03", 2, 1)))
    assert net.see("b", "f").hop is first.connection
    net["b"].register(E, ANYCAST, cost=9)
    assert (net["b"].lookups._far, far_haves(first)) == ({}, [])
    first.say(asks_as_far(E))
    assert len(far_haves(first)) == 1


def test_a_far_asker_that_asks_again_is_answered_again_and_remembered_once() -> None:
    net = chain("ab")
    receiver = net["b"].register(E, ANYCAST)
    liar = Liar(net, net["b"])
    liar.say(routes(update(bind(3, key("f")), 1, 1)))
    liar.hear()
    for _ in range(2):
        liar.say(asks_as_far(E))
        assert len(far_haves(liar)) == 1
    assert net["b"].lookups._far_size == 1
    net["b"].deregister(receiver, net.now)
    assert len(far_haves(liar)) == 1


def test_where_no_more_far_askers_can_be_remembered_the_next_is_only_answered() -> None:
    net = chain("ab")
    receivers = [net["b"].register(uuid, ANYCAST) for uuid in (E, F)]
    liar = Liar(net, net["b"])
    liar.say(routes(update(bind(3, key("f")), 1, 1)))
    net["b"].lookups._far_size = codes.ENTRIES_MAX - 1
    liar.hear()
    for uuid in (E, F):
        liar.say(asks_as_far(uuid))
        assert len(far_haves(liar)) == 1
    assert net["b"].lookups._far_size == codes.ENTRIES_MAX
    for receiver, told in zip(receivers, (1, 0), strict=True):
        net["b"].deregister(receiver, net.now)
        assert len(far_haves(liar)) == told
