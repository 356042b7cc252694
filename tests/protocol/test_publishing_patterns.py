"""Publishing to those who have subscribed by a pattern: a copy for each receiver, with the name it has."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busway.protocol import FullError, Guard, Node, Receiver, codes, events
from busway.protocol.wire.patterns import matches
from tests.protocol.nets import BROADCAST, GLOBAL, LOCALNET, USERSPACE, Liar, Mesh, alias, chain, ring
from tests.protocol.pairs import Net
from tests.rigs.effort import calls_of

NAMES: dict[bytes, str] = {}


def id_of(name: str) -> bytes:
    found = uuid.uuid5(uuid.NAMESPACE_DNS, name).bytes
    NAMES[found] = name
    return found


def knows_names(*nodes: Node) -> None:
    """Each node's program has called the endpoints by their names."""
    for node in nodes:
        node.supplements.name_of = lambda endpoint: NAMES.get(endpoint, "")


def subscribe(node: Node, name: str, realm: int = LOCALNET, **options: Any) -> Receiver:
    return node.register(id_of(name), BROADCAST, realm, name=name, **options)


def publish(net: Net, node: Node, name: str, payload: bytes = b"x", **options: Any) -> int:
    return node.publish(id_of(name), payload, net.now, **options)


def got(net: Net, node: Node, receiver: Receiver) -> list[tuple[str, bytes]]:
    return [(message.name, message.payload) for message in net.drain(node, receiver)]


def line() -> tuple[Mesh, Node, Node, Node]:
    net = chain("abc")
    knows_names(net["a"], net["b"], net["c"])
    return net, net["a"], net["b"], net["c"]


def test_a_pattern_gets_what_is_published_to_the_names_that_it_means() -> None:
    net, a, b, c = line()
    far = subscribe(c, "lab/*")
    near = subscribe(b, "**/temperature")
    own = [subscribe(a, "lab/**"), subscribe(a, "lab/**")]
    named = subscribe(c, "lab/temperature")
    other = subscribe(c, "hall/*")
    net.pump()
    for name in ("lab/temperature", "lab/pressure", "lab/1/temperature", "hall"):
        assert publish(net, a, name, name.encode()) == 0
    net.pump()
    temperature, pressure = ("lab/temperature", b"lab/temperature"), ("lab/pressure", b"lab/pressure")
    deep = ("lab/1/temperature", b"lab/1/temperature")
    assert got(net, c, far) == [temperature, pressure]
    assert got(net, b, near) == [temperature, deep]
    for receiver in own:
        assert got(net, a, receiver) == [temperature, pressure, deep]
    assert got(net, c, named) == [temperature]
    assert got(net, c, other) == []


def test_its_messages_count_by_themselves_and_keep_their_order() -> None:
    net, a, _, c = line()
    receiver = subscribe(c, "lab/*")
    net.pump()
    for number in range(6):
        publish(net, a, f"lab/{number % 2}", b"%d" % number)
    publish(net, a, "hall", b"other")
    publish(net, a, "lab/0", b"6")
    net.pump()
    messages = net.drain(c, receiver)
    assert [(each.name, each.payload, each.seq, each.missed) for each in messages] == [
        (f"lab/{number % 2}", b"%d" % number, number + 1, 0) for number in range(7)
    ]
    assert (messages[0].endpoint_name, messages[0].retained, messages[0].last_word) == ("lab/*", False, False)
    plain = subscribe(a, "lab/0")
    publish(net, a, "lab/0")
    [message] = net.drain(a, plain)
    assert (message.name, message.retained, message.last_word) == ("lab/0", False, False)
    assert repr(messages[0]) == "<message 1 to 'lab/0' from 'A': b'0'>"


def test_what_is_typed_as_its_endpoint_is_told_of_which_type_it_is() -> None:
    net, a, _, c = line()
    receiver = subscribe(c, "lab/*")
    net.pump()
    publish(net, a, "lab/x", b"\x01", format=codes.TYPED_AS_ENDPOINT)
    net.pump()
    [message] = net.drain(c, receiver)
    assert (message.format, message.type_id) == (codes.TYPED, id_of("lab/x"))


def test_one_that_comes_or_goes_counts_from_the_next_publish_on() -> None:
    net, a, _, c = line()
    named = subscribe(c, "lab/x")
    net.pump()
    publish(net, a, "lab/x", b"1")
    net.pump()
    first = subscribe(c, "lab/*")
    net.pump()
    publish(net, a, "lab/x", b"2")
    net.pump()
    assert got(net, c, first) == [("lab/x", b"2")]
    c.deregister(first, net.now)
    net.pump()
    publish(net, a, "lab/x", b"3")
    net.pump()
    assert [payload for _, payload in got(net, c, named)] == [b"1", b"2", b"3"]
    assert a.directory.patterns.size == 0
    assert a.origin.publisher._patterns_of(id_of("lab/x")) == []


def test_a_burst_that_links_share_reaches_the_patterns_too() -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab ac")
    knows_names(net["a"])
    receivers = [(net[letter], subscribe(net[letter], "lab/x")) for letter in "bc"]
    pattern = subscribe(net["c"], "lab/*")
    net.pump()
    for number in range(100):
        publish(net, net["a"], "lab/x", b"%d" % number)
    assert id_of("lab/x") in net["a"].origin.publisher.growing
    net.pump()
    wanted = [("lab/x", b"%d" % number) for number in range(100)]
    for node, receiver in [*receivers, (net["c"], pattern)]:
        assert got(net, node, receiver) == wanted


def test_a_name_that_nobody_has_called_reaches_no_pattern() -> None:
    net, a, _, c = line()
    receiver = subscribe(c, "**")
    net.pump()
    a.publish(b"uuid-of-no-name!", b"x", net.now)
    net.pump()
    assert got(net, c, receiver) == []
    assert a.origin.publisher.counts() == {b"uuid-of-no-name!": 1}


@pytest.mark.parametrize(("realm", "reach", "comes"), [
    (LOCALNET, LOCALNET, True),
    (USERSPACE, LOCALNET, False),
    (GLOBAL, USERSPACE, False),
    (GLOBAL, GLOBAL, True),
])  # fmt: skip
def test_realms_hold_as_for_names(realm: int, reach: int, comes: bool) -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab", realm=LOCALNET)
    knows_names(net["a"])
    receiver = subscribe(net["b"], "lab/*", realm)
    net.pump()
    publish(net, net["a"], "lab/x", realm=reach)
    net.pump()
    assert got(net, net["b"], receiver) == [("lab/x", b"x")] * comes


@pytest.mark.parametrize("called", ["lab/*", "lab/x"])
def test_the_reach_that_a_publisher_has_said_is_known_to_who_subscribes(called: str) -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab", realm=USERSPACE)
    knows_names(net["a"])
    receivers = [subscribe(net["b"], called, LOCALNET) for _ in range(2)]
    net.pump()
    publish(net, net["a"], "lab/x", b"far")
    publish(net, net["a"], "lab/x", b"near", realm=USERSPACE)
    net.pump()
    for receiver in receivers:
        found = net.drain(net["b"], receiver)
        assert [(m.name, m.payload, getattr(m, "reach", 0)) for m in found] == [
            ("lab/x", b"far", 0),
            ("lab/x", b"near", USERSPACE),
        ]


def test_objects_of_this_process_reach_its_own_patterns_only() -> None:
    net, a, _, c = line()
    far = subscribe(c, "lab/*")
    within = subscribe(a, "**", codes.PROCESS)
    beyond = subscribe(a, "lab/**")
    named = subscribe(a, "lab/x", codes.PROCESS)
    net.pump()
    thing = object()
    a.publish(id_of("lab/x"), thing, net.now, codes.OBJECT)
    net.pump()
    for receiver in (within, named):
        assert [message.payload for message in net.drain(a, receiver)] == [thing]
    assert got(net, a, beyond) == []
    assert got(net, c, far) == []
    publish(net, a, "lab/y", b"bytes")
    net.pump()
    for node, receiver in ((a, within), (a, beyond), (c, far)):
        assert got(net, node, receiver) == [("lab/y", b"bytes")]


def test_best_effort_and_reach_hold_for_the_copies() -> None:
    net, a, _, c = line()
    receiver = subscribe(c, "lab/*", GLOBAL)
    net.pump()
    publish(net, a, "lab/x", best_effort=True, realm=GLOBAL)
    [cable] = [each for each in net.cables if a in (each.a.host, each.b.host)]
    link = cable.a if cable.a.host is a else cable.b
    options = link.broadcasts.peek().options
    assert (options.best_effort, options.reach, options.name) == (True, GLOBAL, "lab/x")
    net.pump()
    assert got(net, c, receiver) == [("lab/x", b"x")]


def full_link(net: Mesh) -> None:
    """Nothing is written, and there is no more room."""
    for _ in range(10_000):
        try:
            publish(net, net["a"], "lab/x", bytes(16384), wait=False)
        except FullError:
            return
    raise AssertionError("the link never fills")


def test_a_publish_waits_for_the_links_of_patterns() -> None:
    net = chain("ab")
    knows_names(net["a"])
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    full_link(net)
    token = publish(net, net["a"], "lab/x", b"waits", patience_ms=-1)
    assert token
    net.pump()
    [outcome] = net.outcomes(net["a"], token)
    assert isinstance(outcome, events.Outcome)
    assert outcome.status == events.ACCEPTED
    assert got(net, net["b"], receiver)[-1] == ("lab/x", b"waits")


def test_a_link_that_a_pattern_was_waited_for_in_vain_is_waited_for_no_more() -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab ac")
    knows_names(net["a"])
    slow = subscribe(net["b"], "lab/*")
    subscribe(net["c"], "lab/x")
    net.pump()
    net.cables[0].block(net["a"])
    tokens: list[int] = []
    while not tokens:
        token = publish(net, net["a"], "lab/x", bytes(16384), patience_ms=500)
        tokens += [token] * bool(token)
        net.pump()
    net.advance(500)
    assert net.outcomes(net["a"], tokens[0])
    assert publish(net, net["a"], "lab/x", b"last", patience_ms=500) == 0
    net.pump()
    net.cables[0].block(net["a"], False)
    net.pump()
    last = net.drain(net["b"], slow)[-1]
    assert (last.payload, last.missed) == (b"last", 1)


def test_what_is_misnamed_is_counted_and_nobodys() -> None:
    net = Net()
    node = net.node("a")
    pattern = subscribe(node, "lab/*")
    named = subscribe(node, "lab/x")
    liar = Liar(net, node)

    def say(endpoint: bytes, number: int, name: bytes) -> None:
        options = bytes((2 + len(name), codes.OPTION_NAME, len(name))) + name if name else b""
        head = 0x80 | codes.PUBLISH << 4 | (codes.HEAD_OPTIONS if name else 0)
        liar.say(bytes((head,)) + options + alias(number, endpoint) + b"\0\1x")

    say(id_of("lab/*"), 1, b"hall/x")
    say(id_of("lab/*"), 1, b"lab/*")
    say(id_of("lab/*"), 1, b"")
    say(id_of("lab/x"), 2, b"lab/x")
    net.pump()
    assert got(net, node, pattern) == got(net, node, named) == []
    assert node.receiving.counters["misnamed"] == 4
    say(id_of("lab/*"), 1, b"lab/y")
    say(id_of("lab/x"), 2, b"")
    net.pump()
    assert got(net, node, pattern) == [("lab/y", b"x")]
    assert got(net, node, named) == [("lab/x", b"x")]
    say(id_of("lab/*"), 1, b"n" * 65)
    assert liar.error == codes.MALFORMED


def test_latest_keeps_the_newest_of_each_origin_and_name() -> None:
    net, a, b, c = line()
    receiver = subscribe(c, "lab/*", policy=codes.LATEST)
    net.pump()
    for number in range(4):
        for node in (a, b):
            for name in ("lab/x", "lab/y"):
                publish(net, node, name, b"%d" % number)
        net.pump()
    assert sorted((m.source[:1], m.name, m.payload, m.missed) for m in net.drain(c, receiver)) == [
        (letter, name, b"3", 3) for letter in (b"a", b"b") for name in ("lab/x", "lab/y")
    ]
    for name in ("lab/x", "lab/z", "lab/y"):  # one more while others wait
        publish(net, a, name, b"4")
        net.pump()
    assert [(m.name, m.payload) for m in net.drain(c, receiver)] == [
        ("lab/x", b"4"),
        ("lab/z", b"4"),
        ("lab/y", b"4"),
    ]
    for name in ("lab/x", "lab/y", "lab/z"):
        publish(net, a, name, b"5")
    net.pump()
    assert c.take(receiver, net.now).payload == b"5"  # type: ignore[union-attr]
    for name in ("lab/w", "lab/y"):  # who is new while some have been taken leaves those that wait
        publish(net, a, name, b"6")
        net.pump()
    assert got(net, c, receiver) == [("lab/y", b"6"), ("lab/z", b"5"), ("lab/w", b"6")]
    for number in range(300):  # names without end take no room without end
        publish(net, a, f"lab/{number}")
        net.pump()
        net.drain(c, receiver)
    assert receiver.latest is not None
    assert all(len(names) <= 2 for names in receiver.latest.places.values())


def test_a_pattern_that_another_node_keeps_comes_back() -> None:
    net = chain("ab")
    knows_names(net["a"])
    receiver = subscribe(net["b"], "lab/*")
    receiving = net["b"].receiving
    net.pump()
    receiving.yield_name(id_of("lab/*"), net.now)
    assert receiving.patterns == {}
    receiving.regain_name(id_of("lab/*"), net.now)
    net.pump()
    publish(net, net["a"], "lab/x")
    net.pump()
    assert got(net, net["b"], receiver) == [("lab/x", b"x")]


def test_an_entry_that_changes_its_name_is_another_pattern_or_none() -> None:
    net = chain("ab")
    directory = net["a"].directory
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    assert directory.patterns.find("lab/x") == [id_of("lab/*")]
    net["b"].deregister(receiver, net.now)
    again = net["b"].register(id_of("lab/*"), BROADCAST, name="hall/*")
    net.pump()
    assert directory.patterns.find("lab/x") == []
    assert directory.patterns.find("hall/x") == [id_of("lab/*")]
    net["b"].deregister(again, net.now)
    net["b"].register(id_of("lab/*"), BROADCAST, name="hall")
    net.pump()
    assert directory.patterns.size == 0


def test_the_names_that_a_publisher_remembers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "ENTRIES_MAX", 8)
    net = chain("ab")
    knows_names(net["a"])
    receiver = subscribe(net["b"], "*/*")
    net.pump()
    for number in range(20):
        publish(net, net["a"], f"lab/{number}")
    net.pump()
    assert len(got(net, net["b"], receiver)) == 20
    assert len(net["a"].origin.publisher._meant) <= 8


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_ten_thousand_patterns_change_nothing_for_a_name_that_none_of_them_means() -> None:
    counts = []
    for number in (0, 10_000):
        net = chain("ab")
        knows_names(net["a"])
        subscribe(net["b"], "lab/temperature")
        for each in range(number):
            name = f"hall/{each}/*"
            net["b"].register(b"%16d" % each, BROADCAST, name=name)
        net.pump()
        publish(net, net["a"], "lab/temperature")
        net.pump()

        def once(net: Mesh = net) -> None:
            publish(net, net["a"], "lab/temperature")

        counts.append(calls_of(once))
        assert net["a"].directory.patterns.size == number
    assert counts[0] == counts[1]


# What a guard says


def guarded(*allowed: tuple[str, int, str]) -> Guard:
    """Whoever is asked about may do what is said here with these names, and see everything; of a pattern, if
    it means any of them.
    """

    def may(link: Any, node_id: bytes, what: int, endpoint: bytes, name: str, realm: int) -> bool:
        letter = chr(node_id[0])
        if what == codes.MAY_SEE:
            return True
        return any(
            (letter, what) == (who, which) and (name == text or matches(name, text))
            for who, which, text in allowed
        )

    return Guard(may, lambda link, which: -1)


def test_who_may_not_subscribe_to_a_name_does_not_get_it_by_a_pattern() -> None:
    net = chain("abcd")
    knows_names(net["a"])
    net["b"].guard = guarded(
        ("c", codes.MAY_SUBSCRIBE, "lab/x"),
        ("d", codes.MAY_SUBSCRIBE, "lab/x"),
        ("d", codes.MAY_SUBSCRIBE, "lab/y"),
    )
    net["b"].guard_changed(net.now)
    far = subscribe(net["d"], "lab/*")
    net.pump()
    for name in ("lab/x", "lab/y", "lab/z"):
        publish(net, net["a"], name)
    net.pump()
    assert got(net, net["d"], far) == [("lab/x", b"x"), ("lab/y", b"x")]
    hidden = subscribe(net["d"], "hall/*")  # of which it may have nothing
    net.pump()
    assert not net["a"].directory.is_known(id_of("hall/*"))
    publish(net, net["a"], "hall/x")
    net.pump()
    assert got(net, net["d"], hidden) == []


def test_a_neighbour_and_a_leaf_are_asked_for_themselves() -> None:
    net = chain("ab")
    net.leaf("l", "a")
    knows_names(net["a"])
    net["a"].guard = guarded(("b", codes.MAY_SUBSCRIBE, "lab/x"), ("l", codes.MAY_SUBSCRIBE, "lab/y"))
    net["a"].guard_changed(net.now)
    near, leaf = subscribe(net["b"], "lab/*"), subscribe(net["l"], "lab/*")
    net.pump()
    for name in ("lab/x", "lab/y"):
        publish(net, net["a"], name)
    net.pump()
    assert got(net, net["b"], near) == [("lab/x", b"x")]
    assert got(net, net["l"], leaf) == [("lab/y", b"x")]
    net["a"].guard = None
    net["a"].guard_changed(net.now)
    publish(net, net["a"], "lab/x")
    net.pump()
    assert got(net, net["l"], leaf) == [("lab/x", b"x")]


def test_who_may_not_publish_to_a_name_does_not_by_a_pattern() -> None:
    net, a, _, c = line()
    c.guard = guarded(("a", codes.MAY_PUBLISH, "lab/x"))
    receiver = subscribe(c, "lab/*")
    net.pump()
    for name in ("lab/x", "lab/y", "lab/x"):
        publish(net, a, name)
    net.pump()
    assert [(m.name, m.missed) for m in net.drain(c, receiver)] == [("lab/x", 0), ("lab/x", 0)]
    [denied] = net.fresh(c, events.DENIED)
    assert (denied.what, denied.name) == (codes.MAY_PUBLISH, "lab/y")


# At random

LETTERS = "abcde"
LEVELS = ["x", "y", "*", "**"]
PATTERNS = st.lists(st.sampled_from(LEVELS), min_size=1, max_size=3).map("/".join)
PUBLISHED = st.lists(st.sampled_from("xy"), min_size=1, max_size=3).map("/".join)
SHAPES = {"chain": chain, "ring": ring}
REALMS = st.sampled_from([USERSPACE, LOCALNET])


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(sorted(SHAPES)),
    st.dictionaries(st.tuples(st.sampled_from(LETTERS), PATTERNS), REALMS, max_size=8),
    st.lists(st.tuples(st.sampled_from(LETTERS), PUBLISHED), min_size=1, max_size=6),
)
def test_every_receiver_gets_what_its_name_means_once(
    shape: str,
    subscriptions: dict[tuple[str, str], int],
    published: list[tuple[str, str]],
) -> None:
    net = SHAPES[shape](LETTERS)
    knows_names(*[net[letter] for letter in LETTERS])
    receivers = {
        (letter, name): subscribe(net[letter], name, realm) for (letter, name), realm in subscriptions.items()
    }
    net.pump()
    for number, (letter, name) in enumerate(published):
        publish(net, net[letter], name, b"%d" % number)
    net.pump()
    for (letter, wanted), receiver in receivers.items():
        is_near = receiver.endpoint.realm < LOCALNET  # all links are
        expected = sorted(
            (name, b"%d" % number)
            for number, (source, name) in enumerate(published)
            if (source == letter or not is_near) and matches(wanted, name)
        )
        assert sorted(got(net, net[letter], receiver)) == expected
