"""Selectors asked for over links without a pushed directory: by leaves, and by routers behind slow links."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Limits, Node, codes, events
from busway.protocol.messaging.correspondent import talk
from busway.protocol.wire.address import expression_of
from busway.protocol.wire.holders import fit_have
from busway.protocol.wire.messages import HaveFrame, Holder, RoutingHeader, SelectedSignal, select_signal
from busway.protocol.wire.selectors import AND, NOT, OR

from .helpers import verdicts
from .nets import ANYCAST, BROADCAST, GLOBAL, LOCALNET, USERSPACE, Mesh, id_of
from .pairs import E, F
from .rules import Rules
from .test_guard_entries import SEE
from .test_lookups import asked, slow
from .test_selecting import RENDERER, renderers, taken, where


def nodes_of(node: Node, selector: bytes = RENDERER) -> str:
    return "".join(sorted(at[:1].decode() for _, at in node.matches(selector)))


def found(net: Mesh, letter: str, selector: bytes = RENDERER) -> str:
    """The nodes of all that a selector means, after those who know have been asked."""
    token = net[letter].locate(selector, net.now)
    net.pump()
    net.advance(3_000)
    ((status, _),) = verdicts(net, net[letter], token)
    assert (status == events.TRACED) == (nodes_of(net[letter], selector) != "")
    return nodes_of(net[letter], selector)


@pytest.mark.parametrize("confirm", [False, True])
def test_a_leaf_asks_its_router_and_sends_to_whom_that_knows(confirm: bool) -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab bc")
    leaf = net.leaf("x", "a")
    net.pump()
    receivers = renderers(net, "c")
    net["b"].register(F, ANYCAST, labels=["codec"])
    net.pump()
    assert nodes_of(leaf) == ""
    token = leaf.send(RENDERER, b"hello", net.now, confirm=confirm)
    net.pump()
    assert taken(net, receivers) == {"c": [b"hello"]}
    net.pump()
    assert verdicts(net, leaf, token) == [(events.TAKEN if confirm else events.ACCEPTED, 0)]
    assert asked(net, "x", "xa", codes.SELECT) == 1
    leaf.send(RENDERER, b"again", net.now)
    net.pump()
    assert taken(net, receivers) == {"c": [b"again"]}
    assert asked(net, "x", "xa", codes.SELECT) == 1


def test_a_leaf_hears_that_there_is_nobody() -> None:
    net = Mesh()
    net.add("a")
    leaf = net.leaf("x", "a")
    net.pump()
    token = leaf.send(RENDERER, b"x", net.now)
    net.pump()
    assert verdicts(net, leaf, token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    waits = leaf.send(RENDERER, b"y", net.now, ttl_ms=60_000)
    net.pump()
    net.cable["xa"].cut()
    net.advance(1_000)
    token = leaf.send(RENDERER, b"z", net.now)
    net.pump()
    assert verdicts(net, leaf, token) == [(events.UNDELIVERED, codes.NO_ROUTE)]
    assert verdicts(net, leaf, waits) == []


def test_behind_a_slow_link_all_are_found_over_any_number_of_hops() -> None:
    net = slow()
    renderers(net, "abcd")
    assert nodes_of(net["a"]) == "ab"
    assert found(net, "a") == "abcd"
    assert found(net, "b") == "abcd"
    assert found(net, "d") == "abcd"
    leaf = net.leaf("x", "a")
    net.pump()
    assert found(net, "x") == "abcd"
    assert leaf.matches(where("codec")) == []


def test_an_answer_counts_for_some_seconds_and_then_it_is_asked_again() -> None:
    net = slow("ab", "ab")
    receivers = renderers(net, "b")
    assert found(net, "a") == "b"
    assert found(net, "a") == "b"
    assert asked(net, "a", "ab", codes.SELECT) == 1
    net["b"].deregister(receivers["b"], net.now)
    net["b"].register(E, ANYCAST, labels=["codec"])
    net["b"].register(F, ANYCAST, labels=["renderer"])
    net.advance(codes.SELECT_MS)
    assert found(net, "a") == "b"
    assert net["a"].matches(RENDERER) == [(F, id_of("b"))]
    assert asked(net, "a", "ab", codes.SELECT) == 2
    assert net.holders("a", E) == ""


def test_who_sends_on_asks_again_now_and_then_and_waits_for_nothing() -> None:
    net = slow("ab", "ab")
    receivers = renderers(net, "b")
    net["a"].send(RENDERER, b"1", net.now)
    net.pump()
    renderers(net, "b", F)
    net.advance(codes.SELECT_MS)
    assert net["a"].send(RENDERER, b"2", net.now) == 0
    net.pump()
    assert asked(net, "a", "ab", codes.SELECT) == 2
    assert len(net["a"].matches(RENDERER)) == 2
    assert taken(net, receivers) == {"b": [b"1", b"2"]}


def test_a_holder_that_has_it_no_longer_is_asked_about_at_once() -> None:
    net = slow("ab", "ab")
    receivers = renderers(net, "b")
    assert found(net, "a") == "b"
    net["b"].deregister(receivers["b"], net.now)
    token = net["a"].send(RENDERER, b"1", net.now, confirm=True)
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert nodes_of(net["a"]) == ""
    renderers(net, "b", F)
    assert found(net, "a") == "b"


def test_nodes_that_go_are_no_matches_and_answer_nothing() -> None:
    net = slow()
    renderers(net, "cd")
    assert found(net, "a") == "cd"
    net.cable["cd"].cut()
    net.advance(1_000)
    assert nodes_of(net["a"]) == "c"
    net.cable["bc"].block(net["b"])
    net.advance(codes.SELECT_MS)
    token = net["a"].locate(where("codec"), net.now)
    net.pump()
    assert net["a"].mesh.selects.is_asking(where("codec"))
    net.cable["bc"].cut()
    net.cable["ab"].cut()
    net.advance(1_000)
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert not net["a"].mesh.selects.inquiries
    assert nodes_of(net["a"]) == ""
    assert not net["a"].mesh.selects._claims


def test_who_does_not_answer_is_waited_for_two_seconds() -> None:
    net = slow("abc", "ab")
    renderers(net, "bc")
    net.cable["ab"].block(net["b"])
    token = net["a"].locate(RENDERER, net.now)
    net.advance(1_900)
    assert verdicts(net, net["a"], token) == []
    net.advance(200)
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]


def test_who_does_not_know_the_question_is_not_asked() -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab", lookups=True, addressing=False)
    renderers(net, "b")
    assert found(net, "a") == ""
    assert asked(net, "a", "ab", codes.SELECT) == 0


def test_realms_hold_over_lookups() -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab", realm=GLOBAL, lookups=True)
    for number, realm in enumerate((USERSPACE, LOCALNET, GLOBAL)):
        net["b"].register(bytes((number + 1,)) * 16, ANYCAST, realm, labels=["renderer"])
    net["b"].register(E, BROADCAST, GLOBAL, labels=["renderer"])
    net.pump()
    assert found(net, "a") == "b"
    assert [uuid[0] for uuid, _ in net["a"].matches(RENDERER)] == [3]


def test_whom_a_policy_hides_is_not_told() -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab", lookups=True)
    net["b"].register(E, ANYCAST, name="hidden/1", labels=["renderer"])
    net["b"].register(F, ANYCAST, name="shown/1", labels=["renderer"])
    rules = Rules(net, "b")
    rules.deny = [(id_of("a"), SEE, b"hidden/1")]
    net.pump()
    assert found(net, "a") == "b"
    assert [uuid for uuid, _ in net["a"].matches(RENDERER)] == [F]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_many_are_told_in_several_frames_and_at_most_so_many() -> None:
    net = Mesh()
    net.add("ab", limits=Limits(frame_size_max=300))
    net.join("ab", lookups=True)
    net.pump()
    for number in range(300):
        uuid = number.to_bytes(2, "big") * 8
        net["b"].register(uuid, ANYCAST, name=f"render/{number}", labels=["renderer", "x" * 32])
    assert found(net, "a") == 256 * "b"
    assert asked(net, "b", "ba" if "ba" in net.cable else "ab", codes.SELECTED) > 100


def test_labels_that_find_no_room_in_a_small_frame_are_no_matter() -> None:
    net = Mesh()
    net.add("ab", limits=Limits(frame_size_max=128))
    net.join("ab", lookups=True)
    net.pump()
    net["b"].register(E, ANYCAST, name="n" * 64, labels=["renderer", "x" * 32])
    assert found(net, "a") == "b"
    (entry,) = net["a"].directory.known(E)
    assert entry.traits == b""
    net["b"].deregister(net["b"].endpoints()[-1].receivers[0], net.now)
    net["b"].register(E, ANYCAST, labels=["codec"])
    net.advance(codes.SELECT_MS)
    assert found(net, "a") == ""


def say(net: Mesh, letter: str, pair: str, signal: Any) -> None:
    """A node says something to the other end of a cable."""
    cable = net.cable[pair]
    connection = cable.a if pair[0] == letter else cable.b
    connection.answer(signal)
    net.pump()


def answers(net: Mesh, letter: str, pair: str) -> list[bytes]:
    """The SELECTED that a node wrote, behind their head and number."""
    return [body[2:] for body in net.frames(letter, pair, 0xF0) if body[1] == codes.SELECTED]


@pytest.mark.parametrize(
    "expression",
    [b"", b"\x09", b"\3", b"\1\0", b"\1\5a", b"\1\1a" + b"\5" * 64, b"\1\1a" * 255, b"\1\1\xff"],
)
def test_what_is_no_selector_is_answered_as_such_and_the_link_stands(expression: bytes) -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab")
    renderers(net, "b")
    say(net, "a", "ab", select_signal(net["b"].me.key, 7, expression))
    assert answers(net, "b", "ab") == [bytes((7, codes.REFUSED))]
    assert net.cable["ab"].a.state == codes.OPEN


def test_answers_that_nobody_asked_for_change_nothing() -> None:
    net = slow("ab", "ab")
    say(net, "b", "ab", SelectedSignal(net["a"].me.key, 1, 0, []))
    say(net, "b", "ab", SelectedSignal(net["a"].me.key, 99, codes.MORE_FOLLOW, []))
    assert not net["a"].mesh.selects.known
    assert found(net, "a") == ""


def test_too_much_work_in_a_second_is_refused() -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab cb")
    net.pump()
    net["b"].mesh.directory.size = 3_000  # as if others had told so many
    questions = [where(*(str(number + each) for each in range(4)), OR, OR, OR) for number in range(40)]
    for number, selector in enumerate(questions):
        say(net, "a", "ab", select_signal(net["b"].me.key, 1 + number, expression_of(selector)))
    told = [answer[1] for answer in answers(net, "b", "ab")]
    assert told == [0] + 39 * [codes.REFUSED]
    assert net["b"].lookups.counters["lookups_over"] == 39
    say(net, "c", "cb", select_signal(net["b"].me.key, 1, expression_of(where("other"))))
    assert answers(net, "b", "cb") == [bytes((1, 0))]  # which has a share of its own
    net.advance(1_000)
    say(net, "a", "ab", select_signal(net["b"].me.key, 100, expression_of(where("later"))))
    assert answers(net, "b", "ab")[-1] == bytes((100, 0))


def test_who_was_refused_asks_once_more_a_second_later() -> None:
    net = slow("ab", "ab")
    renderers(net, "b")
    net["b"].mesh.directory.size = codes.SELECT_WORK_MAX
    first = net["a"].locate(where("codec"), net.now)
    second = net["a"].locate(RENDERER, net.now)
    third = net["a"].locate(where("renderer", "x", OR), net.now)
    net.pump()
    assert verdicts(net, net["a"], first) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert verdicts(net, net["a"], second) == verdicts(net, net["a"], third) == []
    net.advance(1_000)
    told = [verdicts(net, net["a"], token) for token in (second, third)]
    assert [(events.TRACED, 0)] in told


def test_so_many_questions_of_a_link_are_answered_in_a_second() -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab")
    renderers(net, "b")
    for number in range(100):
        say(net, "a", "ab", select_signal(net["b"].me.key, 1 + number, expression_of(RENDERER)))
    told = [answer[1] for answer in answers(net, "b", "ab")]
    assert told == codes.SELECTS_SECOND_MAX * [0] + (100 - codes.SELECTS_SECOND_MAX) * [codes.REFUSED]


def test_the_same_question_asked_again_costs_no_work() -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab")
    renderers(net, "b")
    for number in range(10):
        say(net, "a", "ab", select_signal(net["b"].me.key, 1 + number, expression_of(RENDERER)))
    assert [answer[1] for answer in answers(net, "b", "ab")] == 10 * [0]
    assert len(net["b"].mesh.selections.asked) == 1


def test_what_is_remembered_of_selectors_is_bounded() -> None:
    net = slow("ab", "ab")
    renderers(net, "b")
    for number in range(codes.SELECTIONS_MAX + 10):
        net.advance(50)
        token = net["a"].locate(where("renderer", f"{number}", NOT, AND), net.now)
        net.pump()
        assert verdicts(net, net["a"], token) == [(events.TRACED, 0)]
    selects = net["a"].mesh.selects
    assert len(selects.known) == codes.SELECTIONS_MAX
    assert list(selects._claims.values()) == [codes.SELECTIONS_MAX]
    assert len(net["a"].mesh.selections._told) == codes.SELECTIONS_MAX
    assert len(net["b"].mesh.selections.asked) == codes.SELECTIONS_MAX


def test_of_two_routers_that_ask_each_other_none_waits_for_the_other() -> None:
    net = slow("ab", "ab")
    renderers(net, "ab")
    tokens = {letter: net[letter].locate(RENDERER, net.now) for letter in "ab"}
    net.pump()
    for letter in "ab":
        assert verdicts(net, net[letter], tokens[letter]) == [(events.TRACED, 0)]
        assert nodes_of(net[letter]) == "ab"


def test_a_router_asks_on_for_so_many_selectors_of_one_link() -> None:
    net = slow("abc", "bc")
    net.cable["bc"].block(net["c"])
    for number in range(codes.SELECTS_LINK_MAX + 3):
        say(net, "a", "ab", select_signal(net["b"].me.key, 1 + number, expression_of(where(str(number)))))
    assert len(net["b"].mesh.selects.inquiries) == codes.SELECTS_LINK_MAX
    assert len(answers(net, "b", "ab")) == 3
    net.advance(codes.SYNC_MS)
    assert len(answers(net, "b", "ab")) == codes.SELECTS_LINK_MAX + 3


def test_a_question_that_fits_a_small_frame_is_asked_and_another_is_not() -> None:
    net = Mesh()
    net.add("ab", limits=Limits(frame_size_max=128))
    net.join("ab", lookups=True)
    net.pump()
    net["b"].register(E, ANYCAST, labels=["r" * 32])
    assert found(net, "a", where("r" * 32)) == "b"
    assert found(net, "a", where("r" * 32, "s" * 32, "t" * 32, OR, OR)) == ""
    assert net["a"].origin.counters["signals_dropped"] == 1


def test_an_answer_in_parts_counts_when_it_is_whole() -> None:
    net = slow("ab", "ab")
    token = net["a"].locate(RENDERER, net.now)
    selects = net["a"].mesh.selects
    (inquiry,) = selects.inquiries.values()
    b = net["a"].routes.peers[id_of("b")]
    holder = Holder(b.key, ANYCAST, LOCALNET, 0)
    holder.endpoint = E
    cast = Holder(b.key, BROADCAST, LOCALNET, 0)
    cast.endpoint = F
    link = net.cable["ab"].a
    first = SelectedSignal(net["a"].me.key, inquiry.id, codes.MORE_FOLLOW, [holder, cast])
    selects.selected(link, talk(b), first, net.now)
    assert selects.is_asking(RENDERER)
    selects.selected(link, talk(b), SelectedSignal(net["a"].me.key, inquiry.id, 0, []), net.now)
    selects.conclude(inquiry, net.now)  # twice is once
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.TRACED, 0)]
    assert net["a"].matches(RENDERER) == [(E, id_of("b"))]


def test_of_several_who_are_asked_one_that_is_gone_is_not_waited_for() -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab ac", lookups=True)
    net.pump()
    renderers(net, "c")
    net.cable["ab"].block(net["b"])
    token = net["a"].locate(RENDERER, net.now)
    net.pump()
    assert verdicts(net, net["a"], token) == []
    net.cable["ab"].cut()
    net.advance(1_000)
    assert verdicts(net, net["a"], token) == [(events.TRACED, 0)]
    assert nodes_of(net["a"]) == "c"


def test_an_answer_for_what_has_been_forgotten_since_is_no_matter() -> None:
    net = slow("ab", "ab")
    renderers(net, "b")
    token = net["a"].locate(RENDERER, net.now)
    selects = net["a"].mesh.selects
    selects._forget(RENDERER)
    net.pump()
    assert len(verdicts(net, net["a"], token)) == 1
    assert not selects.known


def test_what_two_ways_tell_of_is_there_until_neither_does() -> None:
    net = slow("ab", "ab")
    receivers = renderers(net, "b")
    net["a"].send(E, b"x", net.now)  # asked by its uuid, too
    net.pump()
    assert found(net, "a") == "b"
    assert taken(net, receivers) == {"b": [b"x"]}
    net["b"].deregister(receivers["b"], net.now)
    net["b"].register(E, ANYCAST, labels=["codec"])
    net.advance(codes.SELECT_MS)
    assert found(net, "a") == ""
    assert net.holders("a", E) == "b"
    other = where("codec")
    assert found(net, "a", other) == "b"
    b = net["a"].routes.peers[id_of("b")]
    net["a"].lookups.refused(b, E, net.now)
    net["a"].lookups.refused(b, F, net.now)
    assert net.holders("a", E) == ""


def test_who_cannot_be_answered_any_more_is_not() -> None:
    net = slow("abc", "bc")
    net.cable["bc"].block(net["c"])
    say(net, "a", "ab", select_signal(net["b"].me.key, 1, expression_of(RENDERER)))
    say(net, "a", "ab", select_signal(net["b"].me.key, 2, expression_of(RENDERER)))
    a = net["b"].routes.peers[id_of("a")]
    a.hop = None
    net["b"].mesh.selects.asked(net.cable["ab"].b, talk(a), select_signal(b"", 3, b"\x09"), net.now)
    net.advance(codes.SYNC_MS)
    assert answers(net, "b", "ab") == []


def test_a_question_over_a_wider_link_than_the_way_back_is_answered_from_what_is_known() -> None:
    net = slow("abc", "bc")
    renderers(net, "bc")
    net["b"].register(F, ANYCAST, GLOBAL, labels=["renderer"])
    net.pump()
    question = select_signal(net["b"].me.key, 1, expression_of(RENDERER))
    question.route = RoutingHeader(b"", GLOBAL, 10)
    net["b"].mesh.selects.asked(net.cable["ab"].b, talk(net["b"].routes.peers[id_of("a")]), question, net.now)
    net.pump()
    assert asked(net, "b", "bc", codes.SELECT) == 0
    (answer,) = answers(net, "b", "ab")
    assert F in answer
    assert E not in answer


def test_a_full_table_of_questions_is_full() -> None:
    net = slow("ab", "ab")
    net.cable["ab"].block(net["b"])
    for number in range(codes.SELECTIONS_MAX):
        net["a"].locate(where(str(number)), net.now)
    token = net["a"].locate(RENDERER, net.now)
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]


def test_when_there_is_somebody_new_to_ask_an_answer_counts_no_more() -> None:
    net = slow("ab", "ab")
    renderers(net, "b")
    assert found(net, "a") == "b"
    net.add("c")
    renderers(net, "c")
    net.join("ac", lookups=True)
    net.pump()
    assert found(net, "a") == "bc"


def test_who_refused_and_cannot_be_reached_then_is_not_asked_again() -> None:
    net = slow("ab", "ab")
    renderers(net, "b")
    net["b"].mesh.directory.size = codes.SELECT_WORK_MAX
    net["a"].locate(where("codec"), net.now)
    token = net["a"].locate(RENDERER, net.now)
    net.pump()
    b = net["a"].routes.peers[id_of("b")]
    hop, b.hop = b.hop, None
    net.advance(1_000)
    b.hop = hop
    assert asked(net, "a", "ab", codes.SELECT) == 2
    net.advance(1_000)
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]


def test_a_have_that_fits_no_frame_leaves_out_names() -> None:
    have = HaveFrame(b"n" * 20, E, [Holder(b"m" * 20, ANYCAST, LOCALNET, 1, name="n" * 64)])
    fit_have(have, 128, True)
    assert [(holder.name, holder.traits) for holder in have.holders] == [("", b"")]
