"""A small leaf and selectors: it asks its router, and sends to one that is meant, or a copy to each."""

from __future__ import annotations

import random
from typing import Any

import pytest

from busway.adapters.micropython_where import Selector, where
from busway.protocol import FullError, LocalError, Node, Receiver, codes, events
from busway.protocol.leaf.selecting import SELECTIONS_MAX, submit_selected
from busway.protocol.leaf.state import Event

from .leaves import LeafNet

BOTH = where("renderer") | where("codec")


def uuid(number: int) -> bytes:
    return bytes((0x40 + number,)) * 16


def serve(net: LeafNet, node: Node, number: int, *labels: str, **options: Any) -> Receiver:
    options = {"name": f"render/{number}", **options}
    receiver = node.register(uuid(number), options.pop("kind", codes.ANYCAST), labels=labels, **options)
    net.settle()
    return receiver


def ask(net: LeafNet, selector: Selector, kind: int = codes.CONFIRM, to: str = "any", **options: int) -> int:
    token = submit_selected(
        net.leaf,
        kind,
        selector.expression,
        b"payload",
        net.now,
        codes.RAW,
        options.get("ttl_ms", 0),
        options.get("timeout_ms", 30_000),
        options.get("priority", codes.NORMAL),
        to,
    )
    net.settle()
    return token


def outcomes(net: LeafNet, token: int) -> list[Event]:
    return [event for event in net.heard(events.OUTCOME) if event.token == token]


def verdicts(net: LeafNet, token: int) -> list[tuple[int, int]]:
    return [(event.status, event.code) for event in outcomes(net, token)]


def got(net: LeafNet, *receivers: Receiver) -> list[int]:
    """How many messages each has."""
    counts = [
        sum(len(net.drain(node, receiver)) for node in net.nodes if has(node, receiver))
        for receiver in receivers
    ]
    net.settle()
    return counts


def has(node: Node, receiver: Receiver) -> bool:
    return node.receiving.endpoints.get(receiver.endpoint.uuid) is receiver.endpoint


@pytest.mark.parametrize("nodes", ["a", "ab", "abc"])
def test_it_sends_to_one_that_is_meant(nodes: str) -> None:
    net = LeafNet(nodes)
    far = net.nodes[-1]
    plain, both = serve(net, far, 1, "renderer"), serve(net, far, 2, "renderer", "codec")
    token = ask(net, where("renderer") & ~where("codec"))
    assert got(net, plain, both) == [1, 0]
    assert verdicts(net, token) == [(events.TAKEN, 0)]
    [outcome] = outcomes(net, token)
    assert (outcome.node[:16], outcome.endpoint, outcome.left) == (far.node_id, uuid(1), 0)
    token = ask(net, where.name("render/2"), codes.SEND)
    assert verdicts(net, token) == [(events.ACCEPTED, 0)]
    assert got(net, plain, both) == [0, 1]


def test_of_several_the_cheapest_and_equally_cheap_ones_in_turn() -> None:
    net = LeafNet("ab")
    near = [serve(net, net.router, number, "renderer") for number in (1, 2)]
    dear = serve(net, net.router, 3, "renderer", cost=9)
    far = serve(net, net.nodes[1], 4, "renderer")
    for _ in range(4):
        ask(net, where("renderer"))
    assert got(net, *near, dear, far) == [2, 2, 0, 0]


def test_who_takes_nothing_is_passed_over() -> None:
    net = LeafNet()
    slow = serve(net, net.router, 1, "renderer", queue_max=4)
    quick = serve(net, net.router, 2, "renderer")
    total = 0
    for _ in range(24):
        ask(net, where("renderer"), codes.SEND)
        total += got(net, quick)[0]
    assert total == 20  # beyond the opening credit of the other
    assert got(net, slow)[0] == 4


def test_while_all_take_nothing_it_waits_and_goes_on() -> None:
    net = LeafNet()
    receiver = serve(net, net.router, 1, "renderer", queue_max=4)
    tokens = [ask(net, where("renderer"), codes.SEND) for _ in range(8)]
    net.pass_time(6_000)
    waiting = [token for token in tokens if not verdicts(net, token)]
    assert waiting
    for _ in range(5):
        got(net, receiver)
        net.pass_time(2_000)
    assert all(verdicts(net, token) == [(events.ACCEPTED, 0)] for token in tokens)


@pytest.mark.parametrize("kind", [codes.SEND, codes.CONFIRM, codes.REQUEST])
def test_all_that_are_meant_get_a_copy_and_each_has_a_verdict(kind: int) -> None:
    net = LeafNet("ab")
    receivers = [serve(net, node, number, "renderer") for number, node in enumerate((*net.nodes, *net.nodes))]
    other = serve(net, net.router, 9, "codec")
    token = ask(net, where("renderer"), kind, "all", priority=codes.HIGH)
    for node, receiver in zip((*net.nodes, *net.nodes), receivers, strict=True):
        message = node.take(receiver, net.now)
        assert message is not None
        if kind == codes.REQUEST:
            node.respond(message, b"answer", net.now)  # type: ignore[arg-type]
    net.settle()
    assert got(net, *receivers, other) == [0, 0, 0, 0, 0]
    status = {codes.SEND: events.ACCEPTED, codes.CONFIRM: events.TAKEN, codes.REQUEST: events.REPLIED}[kind]
    found = outcomes(net, token)
    assert [event.status for event in found] == [status] * 4
    assert [event.left for event in found] == [3, 2, 1, 0]
    assert {(event.node[:16], event.endpoint) for event in found} == {
        (node.node_id, uuid(number)) for number, node in enumerate((*net.nodes, *net.nodes))
    }


def test_one_that_answers_slowly_keeps_no_other_waiting() -> None:
    net = LeafNet()
    full = serve(net, net.router, 1, "renderer", queue_max=4)
    quick = serve(net, net.router, 2, "renderer")
    tokens = [ask(net, where("renderer"), codes.SEND, "all") for _ in range(8)]
    assert [len(verdicts(net, token)) for token in tokens] == [2] * 4 + [1] * 4
    assert got(net, quick) == [8]
    for _ in range(6):
        got(net, full)
        net.pass_time(2_000)
    assert all(len(verdicts(net, token)) == 2 for token in tokens)


def test_copies_keep_their_place_among_the_messages_of_the_leaf() -> None:
    net = LeafNet()
    receiver = serve(net, net.router, 1, "renderer")
    net.leaf.send(uuid(1), b"first", net.now)
    net.settle()
    net.cord.blocked = True
    for to in ("any", "all"):
        submit_selected(
            net.leaf, codes.SEND, where("renderer").expression, b"second", net.now, 0, 0, 0, codes.NORMAL, to
        )
        net.leaf.send(uuid(1), b"third", net.now)
    net.cord.blocked = False
    net.settle()
    assert len(net.drain(net.router, receiver)) >= 4


def test_nobody_meant_is_an_error_at_once_and_with_ttl_it_waits() -> None:
    net = LeafNet()
    nobody = [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert verdicts(net, ask(net, where("renderer"))) == nobody
    assert verdicts(net, ask(net, where("renderer"), to="all")) == nobody
    token, everyone = (ask(net, where("renderer"), ttl_ms=20_000, to=to) for to in ("any", "all"))
    late = ask(net, where("never"), ttl_ms=5_000)
    net.pass_time(7_000)
    assert verdicts(net, late) == nobody
    assert verdicts(net, token) == verdicts(net, everyone) == []
    receiver = serve(net, net.router, 1, "renderer")
    net.pass_time(5_000)
    assert got(net, receiver) == [2]
    assert verdicts(net, token) == verdicts(net, everyone) == [(events.TAKEN, 0)]


def test_what_has_waited_long_enough_ends_though_it_is_for_all() -> None:
    net = LeafNet()
    net.cord.cut()
    tokens = [ask(net, where("renderer"), to=to) for to in ("any", "all")]
    net.pass_time(3_000)
    for token in tokens:
        assert verdicts(net, token) == [(events.UNDELIVERED, codes.NO_ROUTE)]
    assert net.leaf.next_deadline() is None


def test_more_than_there_are_places_for_are_refused_whole() -> None:
    net = LeafNet(pending_max=4)
    receivers = [serve(net, net.router, number, "renderer") for number in range(5)]
    token = ask(net, where("renderer"), to="all")
    assert verdicts(net, token) == [(events.UNDELIVERED, codes.QUEUE_FULL)]
    assert got(net, *receivers) == [0] * 5
    net.router.deregister(receivers.pop(), net.now)
    net.settle()
    net.pass_time(codes.SELECT_MS)
    token = ask(net, where("renderer"), to="all")
    assert got(net, *receivers) == [1] * 4
    assert len(verdicts(net, token)) == 4


def test_its_own_endpoints_and_subscriptions_are_not_meant() -> None:
    net = LeafNet()
    net.leaf.register(uuid(1), codes.ANYCAST, name="render/1", labels=["renderer"])
    serve(net, net.router, 2, "renderer", kind=codes.BROADCAST)
    assert verdicts(net, ask(net, where("renderer"))) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]


def test_an_answer_counts_for_a_while() -> None:
    net = LeafNet()
    receiver = serve(net, net.router, 1, "renderer")
    ask(net, where("renderer"))
    mark = len(net.cord.sent)
    ask(net, where("renderer"))
    assert where("renderer").expression not in net.cord.sent[mark:]
    net.pass_time(codes.SELECT_MS)
    ask(net, where("renderer"))
    assert where("renderer").expression in net.cord.sent[mark:]
    assert got(net, receiver) == [3]


def test_so_many_selectors_are_remembered() -> None:
    net = LeafNet()
    net.leaf.send(uuid(9), b"waits", net.now, ttl_ms=30_000)
    for number in range(SELECTIONS_MAX + 3):
        ask(net, where(f"label-{number}"))
    assert len(net.leaf.selections) == SELECTIONS_MAX


def test_when_the_one_is_gone_another_gets_it() -> None:
    net = LeafNet("abc")
    first, second = serve(net, net.nodes[1], 1, "renderer"), serve(net, net.nodes[2], 2, "renderer", cost=9)
    ask(net, where("renderer"))
    assert got(net, first, second) == [1, 0]
    net.nodes[1].deregister(first, net.now)
    net.settle()
    token = ask(net, where("renderer"))  # the leaf does not know yet: it is refused there
    assert verdicts(net, token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    token = ask(net, where("renderer"))
    assert got(net, second) == [1]
    assert verdicts(net, token) == [(events.TAKEN, 0)]


@pytest.mark.parametrize("to", ["any", "all"])
def test_what_has_not_been_written_when_a_node_goes(to: str) -> None:
    """It goes to another, or its copy ends with NO_ROUTE."""
    net = LeafNet("ab")
    serve(net, net.nodes[1], 1, "renderer", queue_max=4)
    tokens = [ask(net, where("renderer"), codes.SEND, to) for _ in range(6)]
    assert [len(verdicts(net, token)) for token in tokens] == [1] * 4 + [0] * 2
    near = serve(net, net.router, 2, "renderer")
    net.cables[0].cut()
    net.settle()
    net.pass_time(3_000)
    found = [verdicts(net, token) for token in tokens[4:]]
    if to == "any":
        assert found == [[(events.ACCEPTED, 0)]] * 2
        assert got(net, near) == [2]
    else:
        assert found == [[(events.UNDELIVERED, codes.NO_ROUTE)]] * 2


@pytest.mark.parametrize("gone", [True, False])
def test_what_waits_for_credit_ends_when_the_router_refuses_to_say_whom_else(
    monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """Its receiver is gone, or it is asked anew for another message."""
    net = LeafNet("ab")
    other = net.leaf.send(uuid(9), b"waits for its own", net.now, ttl_ms=60_000)
    serve(net, net.nodes[1], 1, "renderer", queue_max=4)
    tokens = [ask(net, where("renderer"), codes.SEND) for _ in range(6)]
    net.pass_time(3_000)
    assert [len(verdicts(net, token)) for token in tokens] == [1] * 4 + [0] * 2
    monkeypatch.setattr(codes, "SELECTS_SECOND_MAX", 0)
    if gone:
        net.cables[0].cut()
        net.settle()
    else:
        net.pass_time(codes.SELECT_MS)
        tokens.append(ask(net, where("renderer"), codes.SEND))
    net.pass_time(3_000)
    lost = [[(events.UNDELIVERED, codes.NO_ROUTE)]]
    assert [verdicts(net, token) for token in tokens[4:]] == lost * len(tokens[4:])
    assert verdicts(net, other) == []


@pytest.mark.parametrize("to", ["any", "all"])
def test_after_another_link_the_router_is_asked_anew(to: str) -> None:
    net = LeafNet()
    receiver = serve(net, net.router, 1, "renderer", queue_max=4)
    tokens = [ask(net, where("renderer"), codes.SEND, to) for _ in range(6)]
    net.cord.cut()
    net.cord = net.plug(net.leaf, net.router)
    net.settle()
    for _ in range(6):
        got(net, receiver)
        net.pass_time(2_000)
    assert [status for token in tokens for status, _ in verdicts(net, token)] == [events.ACCEPTED] * 6


def test_a_copy_whose_receiver_is_meant_no_more_ends() -> None:
    net = LeafNet()
    receiver = serve(net, net.router, 1, "renderer", queue_max=4)
    tokens = [ask(net, where("renderer"), codes.SEND, "all") for _ in range(6)]
    net.cord.cut()
    net.router.deregister(receiver, net.now)
    serve(net, net.router, 2, "renderer")
    net.cord = net.plug(net.leaf, net.router)
    net.pass_time(3_000)
    found = [verdicts(net, token) for token in tokens]
    assert found == [[(events.ACCEPTED, 0)]] * 4 + [[(events.UNDELIVERED, codes.NO_ROUTE)]] * 2


def test_a_copy_ends_when_an_answer_names_its_receiver_no_more() -> None:
    """The receiver is busy and has lost its label, and the same selector is used again."""
    net = LeafNet("ab")
    receiver = serve(net, net.nodes[1], 1, "renderer", queue_max=4)
    tokens = [ask(net, where("renderer"), codes.SEND, "all") for _ in range(6)]
    assert [len(verdicts(net, token)) for token in tokens] == [1] * 4 + [0] * 2
    net.nodes[1].deregister(receiver, net.now)
    serve(net, net.nodes[1], 1, "codec")
    net.now += codes.SELECT_MS  # before it asks for credit
    assert verdicts(net, ask(net, where("renderer"))) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert [verdicts(net, token) for token in tokens[4:]] == [[(events.UNDELIVERED, codes.NO_ROUTE)]] * 2


def test_copies_go_on_to_their_receivers_when_an_answer_names_them_again() -> None:
    net = LeafNet("ab")
    receivers = [serve(net, net.nodes[1], number, "renderer", queue_max=4) for number in (1, 2)]
    tokens = [ask(net, where("renderer"), codes.SEND, "all") for _ in range(6)]
    assert [len(verdicts(net, token)) for token in tokens] == [2] * 4 + [0] * 2
    net.now += codes.SELECT_MS  # before it asks for credit
    ask(net, where("renderer"), codes.SEND)
    for _ in range(5):
        got(net, *receivers)
        net.pass_time(2_000)
    assert [verdicts(net, token) for token in tokens] == [[(events.ACCEPTED, 0)] * 2] * 6


def test_a_copy_for_which_no_link_comes_back_ends() -> None:
    net = LeafNet()
    serve(net, net.router, 1, "renderer", queue_max=4)
    tokens = [ask(net, where("renderer"), codes.SEND, "all") for _ in range(6)]
    net.cord.cut()
    net.pass_time(3_000)
    assert verdicts(net, tokens[-1]) == [(events.UNDELIVERED, codes.NO_ROUTE)]


def test_an_older_router_is_not_asked() -> None:
    net = LeafNet()
    net.cord.cut()
    cord = net.plug(net.leaf, net.router, addressing=False)
    net.settle()
    token = ask(net, where("renderer"))
    net.pass_time(3_000)
    assert verdicts(net, token) == [(events.UNDELIVERED, codes.NO_ROUTE)]
    assert where("renderer").expression not in cord.sent


def test_a_selector_that_the_router_does_not_take_is_asked_again_and_ends() -> None:
    net = LeafNet()
    token = ask(net, Selector(b"\x09\x09", 1))
    net.pass_time(3_000)
    assert verdicts(net, token) == [(events.UNDELIVERED, codes.NO_ROUTE)]


def test_one_that_fits_no_frame_of_the_link_ends() -> None:
    net = LeafNet()
    net.cord.cut()
    net.plug(net.leaf, net.router)
    net.settle()
    assert net.leaf.link is not None
    net.leaf.link.frame_size_max = 120
    token = ask(net, where("renderer"))
    net.pass_time(3_000)
    assert verdicts(net, token) == [(events.UNDELIVERED, codes.NO_ROUTE)]


def test_misuse_raises_and_sends_nothing() -> None:
    net = LeafNet(pending_max=1)
    for selector, options in (
        (Selector(b"", 0), {}),
        (where(*("x" * 30 for _ in range(5))), {}),
        (where("x"), {"ttl_ms": -1}),
        (where("x"), {"timeout_ms": -1}),
        (where("x"), {"to": "none"}),
        (where("x"), {"priority": 9}),
    ):
        with pytest.raises(LocalError):
            ask(net, selector, **options)
    ask(net, where("x"), ttl_ms=5_000)
    with pytest.raises(FullError):
        ask(net, where("x"))
    assert len(net.leaf._pending) == 1


def test_an_answer_in_many_frames_is_read_to_its_end() -> None:
    net = LeafNet("abcd", pending_max=8)
    receivers = [serve(net, net.nodes[number % 4], number, "renderer", "codec") for number in range(20)]
    token = ask(net, BOTH)
    assert sum(got(net, *receivers)) == 1
    assert verdicts(net, token) == [(events.TAKEN, 0)]
    assert net.leaf.selections[0].count == 20
    assert len(net.leaf.selections[0].matches) == 8
    token = ask(net, BOTH, to="all")
    assert verdicts(net, token) == [(events.UNDELIVERED, codes.QUEUE_FULL)]


def test_answers_that_nobody_has_asked_for() -> None:
    net = LeafNet()
    answer = bytes((codes.MESSAGE | codes.SIGNAL << 4, codes.SELECTED, 5, 0))
    holder = b"\x0a\1\0\1" + uuid(1) + b"\0\1"
    feed(net, answer + holder)  # before it has asked for anything it is skipped
    assert net.cord.connection.skipped_frames == 1
    ask(net, where("renderer"))
    feed(net, answer + b"\x0a\1\0\2" + uuid(2) + b"\0\1")
    assert net.leaf.selections[0].matches == []
    assert net.cord.connection.aliases_in.ids[2] == uuid(2)
    feed(net, answer + (b"\x0a\1\2\0\1") * 17)
    assert net.cord.connection.close_code == codes.MALFORMED


def feed(net: LeafNet, body: bytes) -> None:
    net.hear(net.leaf, net.cord.connection.receive_data(bytes((len(body),)) + body, net.now))


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("seed", range(6))
def test_random_selectors_have_the_receivers_of_a_naive_evaluation(seed: int) -> None:
    chance = random.Random(seed)
    net = LeafNet("abc", pending_max=16)
    labels: dict[bytes, set[str]] = {}
    receivers: dict[bytes, Receiver] = {}
    for number in range(12):
        own = {label for label in "pqrs" if chance.random() < 0.5}
        receivers[uuid(number)] = serve(net, chance.choice(net.nodes), number, *own)
        labels[uuid(number)] = own
    for _ in range(10):
        selector, means = grown(chance, 3)
        wanted = {place for place, own in labels.items() if means(own)}
        token = ask(net, selector, to="all")
        counts = dict(zip(receivers, got(net, *receivers.values()), strict=True))
        assert {place for place, count in counts.items() if count} == wanted
        assert max(counts.values()) <= 1
        assert len(verdicts(net, token)) == max(1, len(wanted))
        net.pass_time(1_000)


def grown(chance: random.Random, depth: int) -> tuple[Selector, Any]:
    if not depth or chance.random() < 0.2:
        label = chance.choice("pqrs")
        return where(label), lambda own: label in own
    one, means = grown(chance, depth - 1)
    if chance.random() < 0.3:
        return ~one, lambda own: not means(own)
    two, others = grown(chance, depth - 1)
    if chance.random() < 0.5:
        return one & two, lambda own: means(own) and others(own)
    return one | two, lambda own: means(own) or others(own)
