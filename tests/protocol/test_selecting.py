"""Messages to selectors: who gets them, in which order, and what becomes of them when holders come and go."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import LocalError, Node, Receiver, codes, events
from busway.protocol.wire.address import Address, selector_address
from busway.protocol.wire.selectors import AND, LABEL, NAME, NOT, OR, write_operand

from .helpers import verdicts
from .nets import ANYCAST, BROADCAST, GLOBAL, LOCALNET, UNICAST, USERSPACE, Mesh
from .pairs import E, F, G

PROCESS = codes.PROCESS


def where(*terms: str | int, without_own: bool = False) -> Address:
    """The address of a selector in postfix: labels, names ("=..."), and operators."""
    data = b""
    for term in terms:
        if isinstance(term, int):
            data += bytes((term,))
        elif term.startswith("="):
            data += write_operand(NAME, term[1:])
        else:
            data += write_operand(LABEL, term)
    return selector_address(data, without_own)


RENDERER = where("renderer")


def star(*letters: str) -> Mesh:
    """Nodes, each joined with "a"."""
    net = Mesh()
    net.add("a" + "".join(letters))
    for letter in letters:
        net.join("a" + letter)
    net.pump()
    return net


def renderers(net: Mesh, letters: str, uuid: bytes = E, **options: Any) -> dict[str, Receiver]:
    made = {letter: net[letter].register(uuid, ANYCAST, labels=["renderer"], **options) for letter in letters}
    net.pump()
    return made


def taken(net: Mesh, receivers: dict[str, Receiver]) -> dict[str, list[Any]]:
    return {letter: net.payloads(letter, receiver) for letter, receiver in receivers.items()}


@pytest.mark.parametrize("confirm", [False, True])
def test_equally_cheap_matches_get_messages_in_turn(confirm: bool) -> None:
    net = star("b", "c", "d")
    receivers = renderers(net, "bcd")
    tokens = [net["a"].send(RENDERER, b"%d" % number, net.now, confirm=confirm) for number in range(6)]
    net.pump()
    assert sorted(len(found) for found in taken(net, receivers).values()) == [2, 2, 2]
    net.pump()
    if confirm:
        assert [verdicts(net, net["a"], token) for token in tokens] == 6 * [[(events.TAKEN, 0)]]
    else:
        assert tokens == 6 * [0]


def test_matches_of_different_names_are_shared_and_the_cheapest_get_all() -> None:
    net = star("b", "c", "d")
    receivers = renderers(net, "b", E) | renderers(net, "c", F)
    costly = renderers(net, "d", G, cost=5)
    for number in range(4):
        net["a"].send(RENDERER, b"%d" % number, net.now)
    net.pump()
    assert sorted(map(len, taken(net, receivers).values())) == [2, 2]
    assert taken(net, costly) == {"d": []}


def test_own_endpoints_are_the_cheapest_unless_they_are_left_out() -> None:
    net = star("b")
    receivers = renderers(net, "ab")
    net["a"].send(RENDERER, b"own", net.now)
    net["a"].send(where("renderer", without_own=True), b"other", net.now)
    net.pump()
    assert taken(net, receivers) == {"a": [b"own"], "b": [b"other"]}


def test_a_request_is_answered_by_a_match() -> None:
    net = star("b")
    receivers = renderers(net, "b")
    token = net["a"].request(RENDERER, b"ask", net.now)
    net.pump()
    request = net["b"].take(receivers["b"], net.now)
    net["b"].respond(request, b"answer", net.now)  # type: ignore[arg-type]
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.REPLIED, 0)]


def test_without_a_match_it_fails_and_with_ttl_it_waits_for_the_first() -> None:
    net = star("b")
    token = net["a"].send(RENDERER, b"x", net.now)
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    waits = net["a"].send(RENDERER, b"y", net.now, ttl_ms=60_000, confirm=True, timeout_ms=120_000)
    over = net["a"].send(RENDERER, b"z", net.now, ttl_ms=5_000)
    net.advance(10_000)
    assert verdicts(net, net["a"], over) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    other = net["b"].register(F, ANYCAST, labels=["codec"])
    net.pump()
    receivers = renderers(net, "b")
    net.pump()
    assert taken(net, receivers) == {"b": [b"y"]}
    assert net.payloads("b", other) == []
    net.pump()
    assert verdicts(net, net["a"], waits) == [(events.TAKEN, 0)]


def test_an_endpoint_of_this_node_ends_the_wait_too() -> None:
    net = star("b")
    net["a"].send(RENDERER, b"x", net.now, ttl_ms=60_000)
    net["a"].send(where("codec"), b"y", net.now, ttl_ms=60_000)
    receivers = renderers(net, "a")
    net.advance(0)
    assert taken(net, receivers) == {"a": [b"x"]}
    assert len(net["a"].origin.pending) == 1


def test_what_was_not_written_to_a_node_that_is_gone_goes_to_the_next() -> None:
    net = star("b", "c")
    receivers = renderers(net, "b") | renderers(net, "c", cost=9)
    cable = net.cable["ab"]
    cable.block(net["a"])
    plain = net["a"].send(RENDERER, b"plain", net.now)
    confirmed = net["a"].send(RENDERER, b"confirmed", net.now, confirm=True)
    asked = net["a"].request(RENDERER, b"asked", net.now)
    net.pump()
    assert taken(net, receivers) == {"b": [], "c": []}
    cable.cut()
    net.advance(1_000)
    assert plain == 0
    (first,) = [net["c"].take(receivers["c"], net.now)]
    second, third = [net["c"].take(receivers["c"], net.now) for _ in range(2)]
    assert [message.payload for message in (first, second, third) if message is not None] == [
        b"plain",
        b"confirmed",
        b"asked",
    ]
    net["c"].respond(third, b"answer", net.now)  # type: ignore[arg-type]
    net.pump()
    assert verdicts(net, net["a"], confirmed) == [(events.TAKEN, 0)]
    assert verdicts(net, net["a"], asked) == [(events.REPLIED, 0)]


def test_what_waits_for_credit_goes_to_the_next_when_its_holder_goes() -> None:
    net = star("b", "c")
    slow = net["b"].register(E, ANYCAST, labels=["renderer"], queue_max=2)
    net.pump()
    tokens = [net["a"].send(RENDERER, b"%d" % number, net.now, confirm=True) for number in range(8)]
    net.pump()
    receivers = renderers(net, "c", F)
    net["b"].deregister(slow, net.now)
    net.advance(2_000)
    got = taken(net, receivers)["c"]
    net.pump()
    told = [verdicts(net, net["a"], token) for token in tokens]
    assert all(len(each) == 1 for each in told)
    assert len(got) == sum(each[0][0] == events.TAKEN for each in told)
    assert len(got) >= 4


def test_one_that_reads_nothing_does_not_keep_the_others_waiting() -> None:
    net = star("b", "c")
    stuck = net["b"].register(E, ANYCAST, labels=["renderer"], queue_max=2)
    receivers = renderers(net, "c", F)
    for number in range(200):
        net["a"].send(RENDERER, b"%d" % number, net.now)
    got: list[Any] = []
    for _ in range(400):
        net.advance(20)
        got += taken(net, receivers)["c"]
    assert len(got) + len(net.payloads("b", stuck)) >= 198
    assert len(got) >= 190


def test_broadcast_endpoints_and_busways_own_are_no_matches() -> None:
    net = star("b")
    net["b"].register(E, BROADCAST, labels=["renderer"])
    net["b"].register(F, ANYCAST, name="busway/seal", labels=["renderer"])
    net.pump()
    assert net["a"].matches(RENDERER) == []
    assert net["a"].matches(where("none", NOT)) == []


@pytest.mark.parametrize(
    ("terms", "meant"),
    [
        (("renderer",), "12"),
        (("renderer", "codec", NOT, AND), "1"),
        (("renderer", "codec", NOT, AND, "spare", OR), "13"),
        (("=render/*",), "12"),
        (("=render/2",), "2"),
        (("=**",), "123"),
        (("=**", NOT), "4"),
        (("renderer", "renderer", NOT, AND), ""),
    ],
)
def test_what_expressions_mean(terms: tuple[str | int, ...], meant: str) -> None:
    net = star("b")
    net["b"].register(b"1" * 16, ANYCAST, name="render/1", labels=["renderer"])
    net["b"].register(b"2" * 16, ANYCAST, name="render/2", labels=["renderer", "codec"])
    net["b"].register(b"3" * 16, UNICAST, name="x", labels=["spare"])
    net["b"].register(b"4" * 16, UNICAST)
    net.pump()
    assert "".join(sorted(uuid[:1].decode() for uuid, _ in net["a"].matches(where(*terms)))) == meant


def test_matches_are_kept_up_with_what_comes_and_goes_and_changes() -> None:
    net = star("b", "c")
    a = net["a"]
    receivers = renderers(net, "bc")
    assert [node for _, node in a.matches(RENDERER)] == [b"b" * 16, b"c" * 16]
    net["b"].deregister(receivers["b"], net.now)
    net["b"].register(E, ANYCAST, labels=["codec"])
    own = a.register(F, ANYCAST, PROCESS, labels=["renderer"])
    net.pump()
    assert a.matches(RENDERER) == [(F, b"a" * 16), (E, b"c" * 16)]
    a.deregister(own, net.now)
    net.cable["ac"].cut()
    net.advance(1_000)
    assert a.matches(RENDERER) == []


def test_realms_hold_for_selectors() -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab", realm=LOCALNET)
    net.join("bc", realm=GLOBAL)
    for letter in "bc":
        for number, realm in enumerate((USERSPACE, LOCALNET, GLOBAL)):
            net[letter].register(bytes((number,)) * 16, ANYCAST, realm, labels=["renderer"])
    net.pump()
    seen = [(uuid[0], node[:1]) for uuid, node in net["a"].matches(RENDERER)]
    assert seen == [(1, b"b"), (2, b"b"), (2, b"c")]


def test_to_find_all_it_waits_until_what_there_is_has_been_told() -> None:
    net = Mesh()
    net.add("ab")
    renderers(net, "b")
    net.join("ab")
    token = net["a"].locate(RENDERER, net.now)
    assert verdicts(net, net["a"], token) == []
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.TRACED, 0)]
    assert net["a"].matches(RENDERER) == [(E, b"b" * 16)]
    nobody = net["a"].locate(where("codec"), net.now)
    net.pump()
    assert verdicts(net, net["a"], nobody) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    late = net["a"].locate(where("codec"), net.now, ttl_ms=5_000, timeout_ms=10_000)
    net["b"].register(F, ANYCAST, labels=["codec"])
    net.pump()
    assert verdicts(net, net["a"], late) == [(events.TRACED, 0)]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x09", "operator that nobody knows: 9"),
        (b"\x03", "lacks what an operator joins"),
        (b"\1\1a\1\1b", "one expression"),
        (b"\1\0", "1 to 32 bytes"),
        (b"\1\x21" + b"a" * 33, "1 to 32 bytes"),
        (b"\2\0", "a name of 1 to 64"),
        (b"\1\1\xff", "not UTF-8"),
        (b"\1\5a", "ends inside a field"),
        (b"\1\1a" + b"\5" * 64, "at most 64 terms"),
        (b"\1\1a" * 64 + b"\3" * 63, "at most 64 terms"),
        (b"\2\x40" + b"a" * 64 + (b"\2\x40" + b"a" * 64 + b"\4") * 7, "512 bytes, not 535"),
    ],
)
def test_what_is_no_selector_is_refused(data: bytes, text: str) -> None:
    net = star("b")
    for call in (net["a"].send, net["a"].request):
        with pytest.raises(LocalError, match=text):
            call(selector_address(data, False), b"x", net.now)
    with pytest.raises(LocalError, match=text):
        net["a"].locate(selector_address(data, False), net.now)


def test_as_many_selectors_are_kept_as_there_is_room_for() -> None:
    net = star("b")
    renderers(net, "b")
    for number in range(codes.SELECTIONS_MAX + 5):
        net["a"].matches(where("renderer", str(number), NOT, AND))
    known = net["a"].mesh.selections.known
    assert len(known) == codes.SELECTIONS_MAX
    assert where("renderer", "4", NOT, AND)[18:] not in known
    assert [node for _, node in net["a"].matches(where("renderer", "4", NOT, AND))] == [b"b" * 16]


def test_a_program_may_use_any_number_of_selectors() -> None:
    """As if it made them of what it reads: what is remembered of them stays the same."""
    net = star("bc")
    receivers = renderers(net, "bc")
    origin = net["a"].origin
    count = codes.SELECTIONS_MAX + 5
    for number in range(count):
        net["a"].request(where("renderer", str(number), NOT, AND), b"x", net.now, timeout_ms=1000)
        net.pump()
    assert len(origin.targets) == len(origin.selecting.used) == codes.SELECTIONS_MAX
    assert sum(len(payloads) for payloads in taken(net, receivers).values()) == count


def judged(node: Node, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The endpoints that any selector is held against from now on."""
    from busway.protocol.routing.selections import Selection

    found: list[Any] = []
    real = Selection.judge

    def judge(self: Selection, entry: Any) -> None:
        found.append(entry)
        real(self, entry)

    monkeypatch.setattr(Selection, "judge", judge)
    return found


def test_sending_again_looks_at_no_endpoint_and_a_change_at_one(monkeypatch: pytest.MonkeyPatch) -> None:
    net = star("b")
    for number in range(200):
        net["b"].register(bytes((number,)) * 16, ANYCAST, labels=["codec"])
    renderers(net, "b")
    looked_at = judged(net["a"], monkeypatch)
    for _ in range(3):
        net["a"].send(RENDERER, b"x", net.now)
        net.pump()
    assert len(looked_at) == 201
    net["b"].register(F, ANYCAST, labels=["renderer"])
    net.pump()
    net["a"].send(RENDERER, b"x", net.now)
    assert len(looked_at) == 202


@pytest.mark.parametrize("priority", [codes.LOW, codes.NORMAL, codes.URGENT])
def test_a_message_to_a_selector_has_its_priority(priority: int) -> None:
    net = star("b", "c")
    receivers = renderers(net, "bc")
    for number in range(4):
        net["a"].send(RENDERER, b"%d" % number, net.now, priority=priority)
    net.pump()
    found = [net[letter].take(receivers[letter], net.now) for letter in "bc" for _ in range(2)]
    assert {message.priority for message in found if message is not None} == {codes.PRIORITY_NAMES[priority]}
    assert len([message for message in found if message is not None]) == 4


def test_the_endpoint_that_every_node_answers_is_no_match() -> None:
    net = Mesh()
    net.add("ab", encode=lambda report: b"")
    net.join("ab")
    renderers(net, "ab")
    assert net["a"].matches(where("other", NOT)) == [(E, b"a" * 16), (E, b"b" * 16)]


def test_two_names_in_one_selector() -> None:
    net = star("b")
    net["b"].register(E, ANYCAST, name="render/1")
    net.pump()
    assert net["a"].matches(where("=codec/*", "=render/*", OR)) == [(E, b"b" * 16)]


@pytest.mark.parametrize("call", ["send", "publish"])
def test_a_selector_goes_with_send_and_request_alone(call: str) -> None:
    net = star("b")
    options = {"node_id": b"b" * 16} if call == "send" else {}
    with pytest.raises(LocalError, match="picks the node itself"):
        getattr(net["a"], call)(RENDERER, b"x", net.now, **options)


def test_the_first_message_of_a_node_may_be_to_a_selector() -> None:
    net = Mesh()
    net.add("a")
    receivers = renderers(net, "a")
    net["a"].send(RENDERER, b"x", net.now)
    assert taken(net, receivers) == {"a": [b"x"]}
    assert net["a"].next_deadline() is not None


def test_what_is_known_is_told_though_a_link_never_tells_all() -> None:
    net = star("b")
    renderers(net, "b")
    net.add("c")
    net.join("ac")
    net.cable["ac"].block(net["c"])
    net.advance(0)
    token = net["a"].locate(RENDERER, net.now)
    net.pump()
    assert verdicts(net, net["a"], token) == []
    net.advance(codes.SYNC_MS)
    assert verdicts(net, net["a"], token) == [(events.TRACED, 0)]


def test_a_plain_send_that_nobody_else_may_get_at_once_is_told_as_lost() -> None:
    net = star("b", "c")
    renderers(net, "b")
    others = renderers(net, "c", cost=9, queue_max=2)
    net["c"].receiving.endpoints[E].opening = 1
    for number in range(8):
        net["a"].send(E, b"%d" % number, net.now, node_id=b"c" * 16)
    net.pump()
    net.cable["ab"].block(net["a"])
    assert net["a"].send(RENDERER, b"lost", net.now) == 0
    net.cable["ab"].cut()
    net.advance(1_000)
    assert codes.NO_ROUTE in net.undelivered("a")
    assert b"lost" not in taken(net, others)["c"]


def test_what_waits_for_one_of_several_hears_of_those_that_come() -> None:
    net = star("b", "c", "d")
    for letter in "bc":
        net[letter].register(E, ANYCAST, labels=["renderer"], queue_max=2)
    net.pump()
    for number in range(12):
        net["a"].send(RENDERER, b"%d" % number, net.now)
    net.pump()
    receivers = renderers(net, "d", F, cost=0)
    got = taken(net, receivers)["d"]
    net.advance(1_000)
    got += taken(net, receivers)["d"]
    assert got
