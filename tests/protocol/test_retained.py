"""Last values: whoever subscribes later gets them, once, and before newer ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from busway.protocol import FullError, Limits, LocalError, Node, Receiver, WrongKindError, codes, events
from busway.protocol.messaging import lasts
from busway.protocol.wire.messages import Frame, Options
from busway.protocol.wire.patterns import matches
from tests.protocol.nets import GLOBAL, LOCALNET, USERSPACE, Mesh, chain, ring
from tests.protocol.pairs import Net, node_of
from tests.protocol.test_publishing_patterns import guarded, id_of, knows_names, publish, subscribe


def retain(net: Net, node: Node, name: str, payload: bytes, **options: Any) -> int:
    return node.retain(id_of(name), payload, net.now, **options)


def got(net: Net, node: Node, receiver: Receiver) -> list[tuple[bytes, str, bytes, bool]]:
    """Whose, its name, the value, and whether it was there before."""
    return [(m.source[:1], m.name, m.payload, m.retained) for m in net.drain(node, receiver)]


def line(letters: str = "abc") -> Mesh:
    net = chain(letters)
    knows_names(*[net[letter] for letter in letters])
    return net


def test_who_subscribes_later_gets_the_last_value_and_then_newer_ones() -> None:
    net = line()
    before = subscribe(net["b"], "lab/x")
    net.pump()
    for value in (b"1", b"2"):
        assert retain(net, net["a"], "lab/x", value) == 0
    net.pump()
    assert got(net, net["b"], before) == [(b"a", "lab/x", b"1", False), (b"a", "lab/x", b"2", False)]
    late = subscribe(net["c"], "lab/x")
    family = subscribe(net["c"], "lab/*")
    net.pump()
    retain(net, net["a"], "lab/x", b"3")
    net.pump()
    for receiver in (late, family):
        assert got(net, net["c"], receiver) == [(b"a", "lab/x", b"2", True), (b"a", "lab/x", b"3", False)]
    assert got(net, net["b"], before) == [(b"a", "lab/x", b"3", False)]


def test_a_value_of_its_type_comes_by_a_pattern_with_that_type() -> None:
    net = line()
    own = subscribe(net["a"], "*/x")
    retain(net, net["a"], "lab/x", b"\1", format=codes.TYPED_AS_ENDPOINT)
    receiver = subscribe(net["c"], "lab/*")
    late = subscribe(net["a"], "*/*")
    named = subscribe(net["c"], "lab/x")
    net.pump()
    for node, each in (("c", receiver), ("a", own), ("a", late)):
        [message] = net.drain(net[node], each)
        assert (message.format, message.type_id) == (codes.TYPED, id_of("lab/x"))
    [message] = net.drain(net["c"], named)
    assert message.format == codes.TYPED_AS_ENDPOINT


def test_two_publishers_of_a_name_both_have_a_last_value() -> None:
    net = line()
    retain(net, net["a"], "lab/x", b"of a")
    retain(net, net["b"], "lab/x", b"of b")
    receiver = subscribe(net["c"], "lab/x")
    net.pump()
    assert sorted(got(net, net["c"], receiver)) == [
        (b"a", "lab/x", b"of a", True),
        (b"b", "lab/x", b"of b", True),
    ]


def test_receivers_of_one_node_each_get_them() -> None:
    net = line("ab")
    own = subscribe(net["a"], "lab/x")
    retain(net, net["a"], "lab/x", b"1")
    second = subscribe(net["a"], "lab/x")
    first = subscribe(net["b"], "lab/x")
    net.pump()
    another = subscribe(net["b"], "lab/x")
    net.pump()
    assert got(net, net["a"], own) == [(b"a", "lab/x", b"1", False)]
    for node, receiver in (("a", second), ("b", first), ("b", another)):
        assert got(net, net[node], receiver) == [(b"a", "lab/x", b"1", True)]


@pytest.mark.parametrize("wanted", ["lab/x", "lab/*"])
def test_who_closes_and_subscribes_again_at_once_gets_it_again(wanted: str) -> None:
    net = line()
    retain(net, net["a"], "lab/x", b"1")
    for _ in range(5):
        receiver = subscribe(net["c"], wanted)
        net.pump()
        assert got(net, net["c"], receiver) == [(b"a", "lab/x", b"1", True)]
        net["c"].deregister(receiver, net.now)  # told in one word with what comes next: it is there
        receiver = subscribe(net["c"], wanted)
        net.pump()
        net.advance(1000)
        assert got(net, net["c"], receiver) == [(b"a", "lab/x", b"1", True)]
        net["c"].deregister(receiver, net.now)


def test_a_pattern_gets_those_of_its_own_node_that_it_means() -> None:
    net = line("ab")
    for name in ("hall", "lab/x"):
        retain(net, net["a"], name, name.encode())
    assert got(net, net["a"], subscribe(net["a"], "lab/*")) == [(b"a", "lab/x", b"lab/x", True)]


def test_one_who_closes_forgets_nothing_of_another() -> None:
    net = line("ab")
    named, family = subscribe(net["b"], "lab/x"), subscribe(net["b"], "lab/*")
    retain(net, net["a"], "lab/x", b"1")
    net.pump()
    assert got(net, net["b"], named) == got(net, net["b"], family) != []
    assert net["b"].receiving.lasts.count == 2
    net["b"].deregister(named, net.now)
    assert net["b"].receiving.lasts.count == 1
    assert got(net, net["b"], subscribe(net["b"], "lab/*")) == [(b"a", "lab/x", b"1", True)]


@pytest.mark.parametrize(("wanted", "name"), [("lab/x", "hall"), ("lab/*", "hall"), ("lab/*", "")])
def test_one_under_a_name_that_is_not_meant_is_nobodys(wanted: str, name: str) -> None:
    net = line("ab")
    receiver = subscribe(net["b"], wanted)
    net.pump()
    peer = net.see("a", "b")
    out = Frame(codes.SEND, peer.key, id_of(wanted), 1, b"x", codes.RAW, b"")
    out.options = Options()
    out.options.retain, out.options.name = 1, name
    peer.hop.enqueue(out)
    net.pump()
    assert got(net, net["b"], receiver) == []
    assert net["b"].receiving.counters["misnamed"] == 1
    assert net["b"].receiving.counters["wrong_kind"] == 0


def test_who_comes_back_is_not_given_what_it_has() -> None:
    net = line("ab")
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    retain(net, net["a"], "lab/x", b"1")
    retain(net, net["a"], "lab/y", b"1")
    net.pump()
    assert len(got(net, net["b"], receiver)) == 2
    net.cables[0].cut()
    net.advance(1000)
    retain(net, net["a"], "lab/y", b"2")
    net.join("ab")
    net.pump()
    assert got(net, net["b"], receiver) == [(b"a", "lab/y", b"2", True)]


def test_a_value_that_is_cleared_is_nobodys() -> None:
    net = line()
    early = subscribe(net["b"], "lab/x")
    own = subscribe(net["a"], "lab/*")
    retain(net, net["a"], "lab/x", b"1")
    net.pump()
    assert net["a"].clear(id_of("lab/x"), net.now) == 0
    assert net["a"].clear(id_of("lab/x"), net.now) == 0  # there is none
    net.pump()
    assert got(net, net["b"], early) == [(b"a", "lab/x", b"1", True)]
    assert got(net, net["a"], own) == [(b"a", "lab/x", b"1", False)]
    assert got(net, net["b"], subscribe(net["b"], "lab/x")) == []
    late = subscribe(net["c"], "lab/x")
    net.pump()
    assert got(net, net["c"], late) == []
    assert net["a"].origin.retained.size == 0
    retain(net, net["a"], "lab/x", b"2")
    net.pump()
    assert got(net, net["b"], early) == [(b"a", "lab/x", b"2", False)]


def test_what_is_cleared_while_its_publisher_is_away_is_given_to_nobody_more() -> None:
    net = line("ab")
    first = subscribe(net["b"], "lab/*")
    for name in ("lab/x", "lab/y"):
        retain(net, net["a"], name, b"1")
    net.pump()
    assert len(got(net, net["b"], first)) == 2
    net.cables[0].cut()
    net.advance(1000)
    net["a"].clear(id_of("lab/x"), net.now)
    away = subscribe(net["b"], "lab/*")
    closed = subscribe(net["b"], "lab/*")
    net["b"].deregister(closed, net.now)
    another = subscribe(net["b"], "lab/*")
    assert got(net, net["b"], away) == []
    net.join("ab")
    net.pump()
    net.cables[-1].cut()  # it is away again before anybody has looked what it has not sent
    net.advance(3000)
    net.join("ab")
    net.pump()
    net.advance(20_000)
    late = subscribe(net["b"], "lab/*")
    for receiver in (away, another, late):
        assert got(net, net["b"], receiver) == [(b"a", "lab/y", b"1", True)]
    assert got(net, net["b"], first) == got(net, net["b"], closed) == []


def test_a_publisher_that_does_not_know_that_it_was_away_is_asked() -> None:
    """Only one side had lost the way for a moment, as happens where there are several."""
    net = line()
    first = subscribe(net["c"], "lab/*")
    net.pump()
    for name in ("lab/x", "lab/y"):
        retain(net, net["a"], name, b"1")
    net.pump()
    net.advance(20_000)
    assert len(got(net, net["c"], first)) == 2
    peer = net.see("c", "a")
    net["c"].node_down(peer, [], net.now)
    second = subscribe(net["c"], "lab/*")
    net["c"].node_up(peer, net.now)
    net.advance(1000)
    assert got(net, net["c"], second) == []
    net.advance(2000)
    expected = [(b"a", name, b"1", True) for name in ("lab/x", "lab/y")]
    assert got(net, net["c"], second) == expected
    assert got(net, net["c"], subscribe(net["c"], "lab/*")) == expected
    assert got(net, net["c"], first) == []


def test_what_was_published_close_to_a_change_is_sent_once_more() -> None:
    """As if the copy had been lost where the tree was another."""
    net = line()
    receiver = subscribe(net["c"], "lab/*")
    net.pump()
    net.advance(10_000)
    net["b"].forwarder.links_for = lambda *_: []  # type: ignore[method-assign]
    retain(net, net["a"], "lab/x", b"1")
    net["a"].mesh.epoch += 1
    net.pump()
    assert got(net, net["c"], receiver) == []
    net.advance(10_000)
    assert got(net, net["c"], receiver) == [(b"a", "lab/x", b"1", True)]


def test_a_restless_network_is_waited_for_so_long_and_no_longer() -> None:
    net = line()
    receiver = subscribe(net["c"], "lab/*")
    net.pump()
    net["b"].forwarder.links_for = lambda *_: []  # type: ignore[method-assign]
    retain(net, net["a"], "lab/x", b"1")
    for _ in range(20):
        net["a"].mesh.epoch += 1
        net.advance(1000)
    assert got(net, net["c"], receiver) == [(b"a", "lab/x", b"1", True)]


@pytest.mark.parametrize(("reach", "comes"), [(USERSPACE, False), (LOCALNET, True), (GLOBAL, True)])
def test_realms_hold_for_them(reach: int, comes: bool) -> None:
    net = line("ab")
    retain(net, net["a"], "lab/x", b"1", realm=reach)
    receiver = subscribe(net["b"], "lab/x", GLOBAL)
    net.pump()
    assert (got(net, net["b"], receiver) != []) == comes


def test_what_may_not_go_farther_comes_when_there_is_a_nearer_way() -> None:
    net = line("ab")
    retain(net, net["a"], "lab/x", b"1", realm=USERSPACE)
    receiver = subscribe(net["b"], "lab/x", GLOBAL)
    net["b"].register(id_of("lab/log"), codes.ANYCAST, GLOBAL)
    net.pump()
    assert got(net, net["b"], receiver) == []
    net.join("ab", realm=USERSPACE, medium="ipc", via="ipc")
    net.pump()
    assert got(net, net["b"], receiver) == [(b"a", "lab/x", b"1", True)]


def test_one_that_the_link_does_not_take_is_left_out() -> None:
    net = Mesh()
    net.add("a")
    net.add("b", limits=Limits(frame_size_max=1024, message_size_max=1000))
    net.join("ab")
    knows_names(net["a"])
    for name, size in (("lab/x", 1000), ("lab/y", 1001), ("lab/z", 0)):
        retain(net, net["a"], name, bytes(size))
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    net.advance(10_000)
    assert [(m.name, len(m.payload)) for m in net.drain(net["b"], receiver)] == [
        ("lab/x", 1000),
        ("lab/z", 0),
    ]


def test_a_guard_is_asked_for_each_name() -> None:
    net = line("ab")
    net["a"].guard = guarded(("b", codes.MAY_SUBSCRIBE, "lab/x"))
    net["b"].guard = guarded(
        ("a", codes.MAY_PUBLISH, "lab/x"), ("a", codes.MAY_PUBLISH, "lab/y"), ("a", codes.MAY_SEE, "")
    )
    for node in (net["a"], net["b"]):
        node.guard_changed(net.now)
    for name in ("lab/x", "lab/y"):
        retain(net, net["a"], name, b"1")
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    assert got(net, net["b"], receiver) == [(b"a", "lab/x", b"1", True)]
    net["b"].guard = guarded()  # a may publish nothing any more
    net["b"].guard_changed(net.now)
    again = subscribe(net["b"], "*/x")
    net.pump()
    retain(net, net["a"], "lab/x", b"2")
    net.pump()
    assert got(net, net["b"], again) == got(net, net["b"], receiver) == []


def test_objects_stay_in_their_process() -> None:
    net = line("ab")
    subscribe(net["a"], "lab/x", codes.PROCESS)
    far = subscribe(net["b"], "lab/*")
    net.pump()
    thing = object()
    net["a"].retain(id_of("lab/x"), thing, net.now, codes.OBJECT)
    late = [subscribe(net["a"], "lab/x", codes.PROCESS), subscribe(net["a"], "lab/*", codes.PROCESS)]
    beyond = subscribe(net["a"], "*/x")
    net.advance(10_000)
    for receiver in late:
        assert [m.payload for m in net.drain(net["a"], receiver)] == [thing]
    assert got(net, net["a"], beyond) == got(net, net["b"], far) == []


def test_as_many_are_kept_as_may_be_and_what_is_over_is_refused() -> None:
    net = line("ab")
    retained = net["a"].origin.retained
    retained.count_max = 2
    for name in ("lab/1", "lab/2", "lab/1"):
        retain(net, net["a"], name, b"x")
    with pytest.raises(FullError, match="keeps 2 last values"):
        retain(net, net["a"], "lab/3", b"x")
    retained.size_max = retained.size
    with pytest.raises(FullError):
        retain(net, net["a"], "lab/2", b"xx")
    receiver = subscribe(net["b"], "lab/*")
    net.pump()
    assert [name for _, name, _, _ in got(net, net["b"], receiver)] == ["lab/2", "lab/1"]


def test_values_that_are_kept_no_longer_take_no_room() -> None:
    """However large they were: they are not counted any more."""
    net = line("a")
    retained = net["a"].origin.retained
    for _ in range(20):
        retain(net, net["a"], "lab/1", bytes(10_000))
        retain(net, net["a"], "lab/2", bytes(10_000))
        net["a"].clear(id_of("lab/2"), net.now)
    assert retained.size < 11_000
    assert sum(len(kept.payload) for kept in retained.log) == 10_000


def test_arguments_and_kinds_are_checked() -> None:
    net = line("ab")
    net["b"].register(id_of("lab/log"), codes.UNICAST)
    net.pump()
    with pytest.raises(WrongKindError):
        retain(net, net["a"], "lab/log", b"x")
    with pytest.raises(LocalError, match="patience_ms"):
        retain(net, net["a"], "lab/x", b"x", patience_ms=-2)
    with pytest.raises(LocalError, match="realm"):
        retain(net, net["a"], "lab/x", b"x", realm=4)
    assert net["a"].origin.retained.values == {}


def test_priorities_have_one_last_value() -> None:
    net = line("ab")
    receiver = subscribe(net["b"], "lab/x")
    net.pump()
    retain(net, net["a"], "lab/x", b"1")
    retain(net, net["a"], "lab/x", b"2", priority=codes.URGENT)
    net.pump()
    assert sorted(got(net, net["b"], receiver))[-1] == (b"a", "lab/x", b"2", False)
    late = subscribe(net["b"], "lab/*")
    net.pump()
    assert got(net, net["b"], late) == [(b"a", "lab/x", b"2", True)]


def test_many_values_go_as_the_link_has_room() -> None:
    net = line()
    count = 300
    for number in range(count):
        retain(net, net["a"], f"lab/{number}", bytes(16384))
    receiver = subscribe(net["c"], "lab/*")
    net.pump(size=16384)
    assert len(got(net, net["c"], receiver)) == count
    assert net["a"].origin.retained._replays == {}


def test_what_a_node_on_the_way_had_no_room_for_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "TRANSIT_SIZE_MAX", 65536)
    net = line()
    names = [f"lab/{number}" for number in range(40)]
    for name in names:
        retain(net, net["a"], name, bytes(16384))
    net.pump()
    net.advance(20_000)
    near = subscribe(net["b"], "lab/0")
    net.pump()
    assert len(got(net, net["b"], near)) == 1
    net.cables[1].block(net["b"])
    receiver = subscribe(net["c"], "lab/*")
    net.pump()
    net.advance(3000)  # again in vain
    net.cables[1].block(net["b"], False)
    net.advance(20_000)
    assert sorted(name for _, name, _, _ in got(net, net["c"], receiver)) == sorted(names)
    assert net.fresh(net["a"], events.UNDELIVERABLE) == []
    assert net["a"].origin.counters["unknown_reply"] == 0


def test_what_its_node_does_not_take_is_not_sent_again() -> None:
    net = line()
    retain(net, net["a"], "lab/x", b"1")
    receiver = subscribe(net["c"], "lab/x")
    net.pump()
    assert len(got(net, net["c"], receiver)) == 1
    retained = net["a"].origin.retained
    peer, uuid = net.see("a", "c"), id_of("lab/x")
    assert retained.undelivered(peer, uuid, 1, codes.NO_PERMISSION)
    assert not retained.undelivered(peer, id_of("lab/y"), 1, codes.QUEUE_FULL)
    lasts = net["c"].receiving.lasts
    lasts.forget(uuid)
    net.advance(60_000)
    assert got(net, net["c"], receiver) == []
    retain(net, net["a"], "lab/x", b"2")
    net.pump()
    lasts.forget(uuid)
    net.advance(60_000)
    assert [value for _, _, value, _ in got(net, net["c"], receiver)] == [b"2", b"2"]


def test_who_has_closed_meanwhile_is_not_sent_it_again() -> None:
    net = line()
    retain(net, net["a"], "lab/x", b"1")
    receiver = subscribe(net["c"], "lab/x")
    net.pump()
    retained = net["a"].origin.retained
    peer, uuid = net.see("a", "c"), id_of("lab/x")
    for seq in (1, 2):  # 2 was none
        assert retained.undelivered(peer, uuid, seq, codes.QUEUE_FULL)
    net["c"].deregister(receiver, net.now)
    net.pump()
    net.advance(3000)
    assert retained._subscribers == {}
    assert retained._replays == {}


def test_a_link_that_is_lost_amid_them_leaves_nothing_behind() -> None:
    net = line("ab")
    for number in range(300):
        retain(net, net["a"], f"lab/{number}", bytes(16384))
    receiver = subscribe(net["b"], "lab/*")
    net.cables[0].block(net["a"])
    net.pump()
    net["a"].directory  # noqa: B018
    net.cables[0].block(net["a"], False)
    for _ in range(8):
        net.step(size=65536)
    net.cables[0].cut()
    net.advance(2000)
    assert net["a"].origin.retained._replays == {}
    assert net.fresh(net["a"], events.UNDELIVERABLE) == []
    net.join("ab")
    net.pump()
    found = [name for _, name, _, _ in got(net, net["b"], receiver)]
    assert len(found) == len(set(found)) == 300


def test_floods_push_out_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasts, "SIZE_MIN", lasts.SIZE_MAX // 8)
    net = line()
    receiver = subscribe(net["b"], "**")
    net.pump()
    retain(net, net["c"], "hall", b"honest")
    for number in range(50):
        retain(net, net["a"], f"lab/{number}", b"x")
    net.pump()
    assert len(got(net, net["b"], receiver)) == 51
    assert net["b"].receiving.lasts.count == 8
    second = subscribe(net["b"], "**")
    found = got(net, net["b"], second)
    assert (b"c", "hall", b"honest", True) in found
    assert len(found) == 8
    net["b"].deregister(receiver, net.now)
    net["b"].deregister(second, net.now)
    assert (net["b"].receiving.lasts.count, net["b"].receiving.lasts.size) == (0, 0)


def test_bytes_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasts, "SIZE_MAX", 1000)
    monkeypatch.setattr(lasts, "SIZE_MIN", 0)
    net = line("ab")
    receiver = subscribe(net["b"], "**")
    net.pump()
    for number in range(5):
        retain(net, net["a"], f"lab/{number}", bytes(300))
    net.pump()
    assert len(got(net, net["b"], receiver)) == 5
    assert 0 < net["b"].receiving.lasts.size <= 1000


# At random

LETTERS = "abcde"
SHAPES = {"chain": line, "ring": ring}
NAMES = ["x", "y", "x/y"]
WANTED = ["x", "x/*", "**", "*"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("retain"), st.sampled_from(LETTERS), st.sampled_from(NAMES)),
        st.tuples(st.just("clear"), st.sampled_from(LETTERS), st.sampled_from(NAMES)),
        st.tuples(st.just("subscribe"), st.sampled_from(LETTERS), st.sampled_from(WANTED)),
        st.tuples(st.just("cut"), st.integers(0, 4), st.integers(0, 3000)),
        st.tuples(st.just("wait"), st.integers(0, 5), st.integers(0, 3000)),
    ),
    max_size=14,
)


def heal(net: Mesh) -> None:
    """Make links anew, as programs do, that ended as nothing moved on them for so long."""
    net.pump()
    ends = [(node_of(cable.a), node_of(cable.b), cable.a.state == codes.OPEN) for cable in net.cables]
    joined = {frozenset((a, b)) for a, b, is_open in ends if is_open}
    for a, b, _ in ends:
        if frozenset((a, b)) not in joined:
            net.link(a, b, realm=LOCALNET)
            joined.add(frozenset((a, b)))
    net.pump()


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(SHAPES)), STEPS)
@example("chain", [("retain", "a", "x"), ("subscribe", "b", "x"), ("cut", 0, 0), ("wait", 0, 2500)])
@example("ring", [("retain", "a", "x"), ("subscribe", "b", "**"), ("cut", 0, 0), *[("wait", 0, 3000)] * 2])
def test_after_the_last_change_each_subscriber_has_each_last_value_once(
    shape: str, steps: list[tuple[str, Any, Any]]
) -> None:
    net = SHAPES[shape](LETTERS)
    knows_names(*[net[letter] for letter in LETTERS])
    receivers: list[tuple[str, str, Receiver]] = []
    values: dict[tuple[str, str], bytes] = {}
    for number, (what, one, two) in enumerate(steps):
        if what == "retain":
            values[one, two] = b"%d" % number
            retain(net, net[one], two, b"%d" % number)
        elif what == "clear":
            values.pop((one, two), None)
            net[one].clear(id_of(two), net.now)
        elif what == "subscribe":
            receivers.append((one, two, subscribe(net[one], two)))
        elif what == "cut":
            cable = net.cables[one % len(net.cables)]
            a, b = node_of(cable.a), node_of(cable.b)
            cable.cut()
            net.advance(two)
            net.link(a, b, realm=LOCALNET)
        else:
            for _ in range(one):
                net.step()
            net.advance(two, pump=bool(one))
    heal(net)
    net.advance(15_000)
    for letter, wanted, receiver in receivers:
        found: dict[tuple[str, str], bytes] = {}
        for message in net.drain(net[letter], receiver):
            key = chr(message.source[0]), message.name
            assert found.get(key) != message.payload, "a value came twice"
            assert key not in found or int(found[key]) < int(message.payload), "an older one came later"
            found[key] = message.payload
        for (source, name), value in values.items():
            if matches(wanted, name):
                assert found.get((source, name)) == value


def test_other_publishes_of_a_name_are_not_kept() -> None:
    net = line("ab")
    retain(net, net["a"], "lab/x", b"kept")
    publish(net, net["a"], "lab/x", b"gone")
    receiver = subscribe(net["b"], "lab/x")
    net.pump()
    assert got(net, net["b"], receiver) == [(b"a", "lab/x", b"kept", True)]
