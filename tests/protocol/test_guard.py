"""What a guard is asked about the messages that arrive, and what becomes of those that it denies."""

from __future__ import annotations

from typing import Any, cast

import pytest

from busway.protocol import Guard, LocalError, Request, codes, events
from busway.protocol.link.face import LinkFace
from busway.protocol.messaging.correspondent import talk

from .helpers import payloads, verdicts
from .leaves import LeafNet
from .nets import Liar, Mesh, alias, chain, id_of, signal, u16
from .nets import message as routed
from .pairs import E, F, G, Pair
from .rules import Rules


def test_only_a_guard_guards() -> None:
    net = Pair()
    assert net.a.guard is None
    with pytest.raises(LocalError, match="must be a Guard or None"):
        net.a.guard = Rules()  # type: ignore[assignment]
    rules = Rules(net, "a")
    assert net.a.guard is rules.guard


def test_a_denial_is_counted_each_time_and_told_once() -> None:
    net = Pair()
    rules = Rules(net, "a")
    rules.deny = [(b"", codes.MAY_CALL, b"")]
    gate = net.a.mesh.gate

    def ask(number: int) -> bool:
        return gate.allows(net.ca, id_of("b"), codes.MAY_CALL, b"%016d" % number, "lab/x", codes.LOCALNET)

    assert not ask(0)
    assert not ask(0)
    [event] = net.a.take_events()
    assert isinstance(event, events.DeniedEvent)
    assert (event.kind, event.link, event.node_id, event.what) == (
        events.DENIED,
        net.ca,
        b"b" * 16,
        codes.MAY_CALL,
    )
    assert (event.uuid, event.name, event.realm) == (b"%016d" % 0, "lab/x", codes.LOCALNET)
    assert net.a.counters["denied"] == 2
    for number in range(1, codes.DENIALS_LINK_MAX + 1):
        ask(number)
    assert len(net.a.take_events()) == codes.DENIALS_LINK_MAX
    ask(codes.DENIALS_LINK_MAX)
    assert net.a.take_events() == []
    ask(0)  # forgotten for the others
    assert len(net.a.take_events()) == 1
    net.cable.cut()
    assert gate._told == {}


def test_a_denial_is_told_again_once_it_was_none() -> None:
    net = Pair()
    rules = Rules(net, "a")
    rules.deny = [(b"", codes.MAY_CALL, b"one"), (b"b" * 16, codes.MAY_CALL, F)]

    def told() -> list[tuple[bytes, str]]:
        for uuid, name in ((E, "one"), (F, "two")):
            net.a.mesh.gate.allows(net.ca, id_of("b"), codes.MAY_CALL, uuid, name, codes.LOCALNET)
        return [(each.uuid, each.name) for each in cast(list[events.DeniedEvent], net.a.take_events())]

    assert told() == [(E, "one"), (F, "two")]
    net.a.guard_changed(net.now)
    assert told() == []  # nothing has changed about either
    rules.deny.pop()
    net.a.guard_changed(net.now)
    rules.deny.append((b"b" * 16, codes.MAY_CALL, F))
    net.a.guard_changed(net.now)
    assert told() == [(F, "two")]


# Messages, at their destination


def sent(net: Any, *payloads: bytes) -> None:
    for payload in payloads:
        net.a.send(E, payload, net.now)
    net.pump()


def taken(net: Any, receiver: Any) -> list[Any]:
    return [(message.payload, message.missed) for message in net.drain(net.b, receiver)]


@pytest.mark.parametrize("what", [codes.MAY_SEND, codes.MAY_CALL])
def test_who_may_not_send_or_call_hears_so_each_time(what: int) -> None:
    """A send, a confirmed one and a request: the first two are sends."""
    net = Pair()
    rules = Rules(net, "b")
    receiver = net.b.register(E, codes.UNICAST, name="lab/x")
    net.pump()
    rules.deny = [(id_of("a"), what, E)]
    for _ in range(20):  # more than the opening credit, at once and without a probe
        sent(net, b"x")
    confirmed = net.a.send(E, b"y", net.now, confirm=True)
    asked = net.a.request(E, b"z", net.now)
    net.pump()
    refused = [event.reason for event in net.seen(net.a, events.UNDELIVERABLE)]
    got = net.drain(net.b, receiver)
    net.pump()
    if what == codes.MAY_SEND:
        assert refused == [codes.NO_PERMISSION] * 20
        assert verdicts(net, net.a, confirmed) == [(events.UNDELIVERED, codes.NO_PERMISSION)]
        assert payloads(got) == [b"z"]
        assert got[0].missed == 0
    else:
        assert refused == []
        assert verdicts(net, net.a, confirmed) == [(events.TAKEN, 0)]
        assert verdicts(net, net.a, asked) == [(events.UNDELIVERED, codes.NO_PERMISSION)]
        assert payloads(got) == [b"x"] * 20 + [b"y"]
    [event] = net.seen(net.b, events.DENIED)
    assert (event.link, event.node_id, event.what, event.uuid) == (net.cb, id_of("a"), what, E)
    assert (event.name, event.realm) == ("lab/x", codes.LOCALNET)
    assert net.b.counters["denied"] == len(refused) + 1


def test_who_may_is_asked_about_once_and_then_runs_take_the_short_way() -> None:
    net = Pair()
    rules = Rules(net, "b")
    receiver = net.b.register(E, codes.UNICAST, name="lab/x")
    net.pump()
    for _ in range(30):
        sent(net, b"1", b"2", b"3")
        net.drain(net.b, receiver)
    messages = (codes.MAY_SEND, codes.MAY_CALL)
    assert rules.about(*messages) == [(id_of("a"), codes.MAY_SEND, E, "lab/x", codes.LOCALNET)]
    flow = talk(net.b.routes.peers[id_of("a")]).in_flows[E]
    assert flow.short is net.cb
    net.a.request(E, b"?", net.now)
    net.pump()
    net.drain(net.b, receiver)
    assert rules.about(*messages)[1:] == [(id_of("a"), codes.MAY_CALL, E, "lab/x", codes.LOCALNET)]
    assert flow.short is net.cb


def test_who_may_only_call_gets_no_message_in_by_the_short_way() -> None:
    net = Pair()
    rules = Rules(net, "b")
    rules.deny = [(b"", codes.MAY_SEND, b"")]
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    net.a.request(E, b"?", net.now)
    net.pump()
    sent(net, *[b"%d" % number for number in range(3)])
    assert taken(net, receiver) == [(b"?", 0)]
    assert len(net.seen(net.a, events.UNDELIVERABLE)) == 3


def test_a_published_value_that_is_denied_is_missed_by_nobody() -> None:
    net = Pair(realm=codes.LOCALNET)
    rules = Rules(net, "b")
    receiver = net.b.register(E, codes.BROADCAST, codes.GLOBAL, name="lab/x")
    net.pump()

    def publish(payload: bytes, realm: int = codes.LOCALNET) -> None:
        net.a.publish(E, payload, net.now, realm=realm)
        net.pump()

    publish(b"1")
    rules.deny = [(b"", codes.MAY_PUBLISH, b"")]
    publish(b"2")  # was let in before, as far as it is remembered
    net.b.guard_changed(net.now)
    publish(b"3")
    publish(b"4")
    rules.deny = []
    publish(b"x", codes.GLOBAL)  # how far it goes is a matter of each
    publish(b"5")
    publish(b"6", codes.GLOBAL)
    publish(b"7", codes.GLOBAL)
    publish(b"8")
    assert taken(net, receiver) == [(payload, 0) for payload in (b"1", b"2", b"x", b"5", b"6", b"7", b"8")]
    one = (id_of("a"), codes.MAY_PUBLISH, E, "lab/x", codes.LOCALNET)
    far = (*one[:4], codes.GLOBAL)
    assert rules.about(codes.MAY_PUBLISH) == [one, one, one, far, one, far, far]
    assert net.b.receiving.counters["missed"] == 0
    assert net.seen(net.a, events.UNDELIVERABLE) == []


def test_a_reload_holds_for_flows_in_both_directions() -> None:
    net = Pair()
    rules = Rules(net, "b")
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    sent(net, b"1", b"2")
    rules.deny = [(id_of("a"), codes.MAY_SEND, E)]
    net.b.guard_changed(net.now)
    sent(net, b"3", b"4")
    rules.deny = []
    net.b.guard_changed(net.now)
    sent(net, b"5", b"6")
    net.b.guard = None
    net.b.guard_changed(net.now)
    asked = len(rules.about(codes.MAY_SEND))
    sent(net, b"7", b"8")
    net.b.guard = rules.guard
    rules.deny = [(id_of("a"), codes.MAY_SEND, E)]
    net.b.guard_changed(net.now)
    sent(net, b"9")
    assert taken(net, receiver) == [(b"%d" % number, 0) for number in (1, 2, 5, 6, 7, 8)]
    assert len(rules.about(codes.MAY_SEND)) == asked + 1
    reasons = [event.reason for event in net.seen(net.a, events.UNDELIVERABLE)]
    assert reasons == [codes.NO_PERMISSION] * 3


def test_a_flow_whose_link_changes_is_asked_about_again() -> None:
    """The second link may be of another sort, of which the policy says something else."""
    net = Pair(realm=codes.LOCALNET, via="first", medium="tcp")
    receiver = net.b.register(E, codes.UNICAST)
    rules = Rules()
    allowed = net.cb

    def may(link: LinkFace, node_id: bytes, what: int, uuid: bytes, name: str, realm: int) -> bool:
        return rules.may(link, node_id, what, uuid, name, realm) and (
            what == codes.MAY_SEE or link is allowed
        )

    net.b.guard = Guard(may, rules.quota)
    net.pump()
    sent(net, b"1", b"2")
    other = net.link(net.a, net.b, realm=codes.LOCALNET, via="second", medium="serial")
    net.pump()
    net.cable.cut()
    net.pump()
    sent(net, b"3", b"4")
    assert taken(net, receiver) == [(b"1", 0), (b"2", 0)]
    assert [event.reason for event in net.seen(net.a, events.UNDELIVERABLE)] == [codes.NO_PERMISSION] * 2
    allowed = other.b
    sent(net, b"5")
    assert taken(net, receiver) == [(b"5", 0)]
    rules.deny = [(b"", codes.MAY_SEND, b"")]
    allowed = net.link(net.a, net.b, realm=codes.LOCALNET, via="third", medium="ble").b
    net.pump()
    other.cut()
    net.pump()
    net.a.request(E, b"?", net.now)
    net.pump()
    sent(net, b"6")  # that it may call says nothing of that
    assert taken(net, receiver) == [(b"?", 0)]


def test_an_origin_that_has_forgotten_the_pair_hears_of_denials_too() -> None:
    net = Pair(realm=codes.LOCALNET, via="first", medium="tcp")
    rules = Rules(net, "b")
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    sent(net, b"1", b"2", b"3")
    net.cable.cut()
    net.link(net.a, net.b, realm=codes.LOCALNET, via="first", medium="tcp")
    net.pump()
    talk(net.a.routes.peers[id_of("b")]).out_flows.clear()
    net.a.origin.targets.clear()
    net.a.origin.direct.clear()
    rules.deny = [(b"", codes.MAY_SEND, b"")]
    sent(net, b"4")
    rules.deny = []
    sent(net, b"5")
    assert taken(net, receiver) == [(b"1", 0), (b"2", 0), (b"3", 0), (b"5", 0)]
    assert [event.reason for event in net.seen(net.a, events.UNDELIVERABLE)] == [codes.NO_PERMISSION]


def test_a_denied_message_that_comes_late_changes_nothing() -> None:
    net = Mesh()
    net.add("b")
    receiver = net["b"].register(E, codes.UNICAST)
    liar = Liar(net, net["b"])
    rules = Rules(net, "b")

    def say(number: int) -> None:
        liar.say(bytes((0x80,)) + alias(1, E) + number.to_bytes(2, "big") + b"x")

    say(5)
    rules.deny = [(b"", codes.MAY_SEND, b"")]
    net["b"].guard_changed(net.now)
    say(4)
    rules.deny = []
    say(6)
    assert [message.missed for message in net.drain(net["b"], receiver)] == [0, 0]
    assert net["b"].receiving.counters["late"] == 0


def test_what_a_node_says_to_itself_and_what_answers_it_is_not_asked_about() -> None:
    net = Pair()
    rules = Rules(net, "a")
    rules.deny = [(b"", -1, b"")]
    here = net.a.register(F, codes.UNICAST)
    there = net.b.register(E, codes.UNICAST)
    net.a.guard = None
    net.pump()
    net.a.guard = rules.guard
    net.a.send(F, b"mine", net.now)
    mine = net.a.request(F, b"mine?", net.now)
    token = net.a.request(E, b"?", net.now)
    stream = net.a.request(E, b"??", net.now, window=4)
    net.pump()
    for message in net.drain(net.a, here):
        if isinstance(message, Request):
            net.a.respond(message, b"!", net.now)
    for message in net.drain(net.b, there):
        if message.stream is None:
            net.b.respond(message, b"!", net.now)
        else:
            net.b.respond_part(message, b"part", net.now)
            net.b.respond_end(message, net.now)
    net.pump()
    assert verdicts(net, net.a, token) == verdicts(net, net.a, mine) == [(events.REPLIED, 0)]
    assert [status for status, _ in verdicts(net, net.a, stream)] == [events.PARTIAL, events.ENDED]
    assert rules.about(codes.MAY_CALL, codes.MAY_SEND) == []


@pytest.mark.parametrize("kind", [codes.UNICAST, codes.BROADCAST])
def test_a_probe_of_who_is_denied_blocks_it_no_longer_and_takes_no_share(kind: int) -> None:
    net = Mesh()
    net.add("b")
    receiver = net["b"].register(E, kind, codes.GLOBAL)
    liar = Liar(net, net["b"])
    rules = Rules(net, "b")
    rules.deny = [(b"", codes.MAY_SEND, b""), (b"", codes.MAY_CALL, b""), (b"", codes.MAY_PUBLISH, b"")]
    liar.say(signal(codes.PROBE, alias(1, E) + (50).to_bytes(2, "big")))
    endpoint = receiver.endpoint
    assert endpoint.active == {}
    credit = [body for body in liar.hear() if body[:2] == bytes((0xF0, codes.CREDIT))]
    told = [body[-2:] for body in credit]
    assert told == ([(50 + codes.OPENING_CREDIT).to_bytes(2, "big")] if kind == codes.UNICAST else [])
    assert net.seen(net["b"], events.DENIED) == []  # nothing was tried
    realm = codes.LOCALNET if kind == codes.BROADCAST else codes.GLOBAL
    assert {what[4] for what in rules.asked if what[1] != codes.MAY_SEE} == {realm}
    rules.deny = [(b"", codes.MAY_SEND, b"")]
    liar.say(signal(codes.PROBE, b"\x01" + (51).to_bytes(2, "big")))
    assert len(endpoint.active) == 1


def test_a_denied_message_over_other_nodes_is_of_the_node_that_sent_it() -> None:
    net = chain("abc")
    rules = Rules(net, "c")
    rules.deny = [(id_of("a"), codes.MAY_SEND, b"")]
    receiver = net["c"].register(E, codes.UNICAST)
    net.pump()
    for letter in "ab":
        for _ in range(5):
            net[letter].send(E, letter.encode(), net.now)
            net.pump()
    assert net.payloads("c", receiver) == [b"b"] * 5
    assert net.undelivered("a") == [codes.NO_PERMISSION] * 5
    [event] = net.seen(net["c"], events.DENIED)
    assert (event.link, event.node_id) == (net.cable["bc"].b, id_of("a"))


def test_a_board_is_told_no_permission_and_goes_on() -> None:
    """And what it was not let in with counts as soon as it may: it tells its endpoints once."""
    net = LeafNet("m")
    rules = Rules()
    net.router.guard = rules.guard
    receiver = net.router.register(E, codes.UNICAST, name="lab/x")
    rules.deny = [(id_of("x"), codes.MAY_SEND, E), (id_of("x"), codes.MAY_CALL, E)]
    rules.deny += [(id_of("x"), codes.MAY_SUBSCRIBE, F)]
    news = net.leaf.register(F, codes.BROADCAST)
    net.settle()
    for _ in range(10):  # more than the opening credit
        net.leaf.send(E, b"x", net.now)
        net.settle()
    asked = net.leaf.request(E, b"?", net.now)
    net.settle()
    assert [event.code for event in net.heard(events.UNDELIVERABLE)] == [codes.NO_PERMISSION] * 10
    assert net.verdicts(asked) == [(events.UNDELIVERED, codes.NO_PERMISSION)]
    net.router.publish(F, b"1", net.now)
    net.settle()
    assert net.taken(news) == []
    rules.deny = []
    net.router.guard_changed(net.now)
    net.leaf.send(E, b"y", net.now)
    net.router.publish(F, b"2", net.now)
    net.settle()
    assert payloads(net.drain(net.router, receiver)) == [b"y"]
    assert [message.payload for message in net.taken(news)] == [b"2"]
    assert net.cord.connection.state == codes.OPEN


@pytest.mark.parametrize("hidden", [False, True])
def test_what_one_may_not_see_is_not_there_whatever_one_tries(hidden: bool) -> None:
    """Who guesses a name learns nothing: neither from the reason, nor from credit that only what is there
    gives.
    """
    net = Mesh()
    net.add("b")
    net["b"].register(E, codes.UNICAST, codes.GLOBAL)
    net["b"].register(F, codes.BROADCAST, codes.GLOBAL)
    rules = Rules(net, "b")
    rules.deny = [(b"", what, b"") for what in (codes.MAY_SEND, codes.MAY_CALL, codes.MAY_PUBLISH)]
    if hidden:
        rules.deny.append((b"", codes.MAY_SEE, b""))
    liar = Liar(net, net["b"])
    liar.hear()

    def reasons(number: int, uuid: bytes) -> list[int]:
        """What a probe, a send and a send to what would be a broadcast hear."""
        liar.say(signal(codes.PROBE, alias(number, uuid) + u16(0)))
        liar.say(bytes((codes.MESSAGE,)) + bytes((number,)) + u16(1) + b"x")
        heard = [body for body in liar.hear() if body[0] == codes.MESSAGE | codes.SIGNAL << 4]
        return [body[1] if body[1] != codes.UNDELIVERABLE else 0x100 | body[-1] for body in heard]

    none = [0x100 | codes.NO_ENDPOINT]
    assert reasons(3, G) == none
    assert reasons(1, E) == (none if hidden else [codes.CREDIT, 0x100 | codes.NO_PERMISSION])
    assert reasons(2, F) == (none if hidden else [0x100 | codes.WRONG_KIND])


def test_what_a_router_sees_those_behind_it_see() -> None:
    net = chain("abc")
    rules = Rules(net, "c")
    net["c"].register(E, codes.UNICAST)
    net.pump()
    rules.deny = [(id_of("a"), codes.MAY_SEND, b""), (id_of("a"), codes.MAY_SEE, b"")]
    net["a"].send(E, b"x", net.now)
    net.pump()
    assert net.undelivered("a") == [codes.NO_PERMISSION]
    rules.deny.append((id_of("b"), codes.MAY_SEE, b""))
    net["a"].send(E, b"x", net.now)
    net.pump()
    assert net.undelivered("a")[1:] == [codes.NO_ENDPOINT]


def test_a_broadcast_that_has_come_farther_is_asked_about_though_others_were_let_in() -> None:
    net = Mesh()
    net.add("b")
    receiver = net["b"].register(E, codes.BROADCAST, codes.GLOBAL)
    rules = Rules(net, "b")
    rules.guard.may = lambda link, node_id, what, uuid, name, realm: realm <= codes.LOCALNET
    liar = Liar(net, net["b"])
    for number, realm in enumerate((codes.LOCALNET, codes.GLOBAL, codes.LOCALNET), 1):
        rest = alias(1, E) + u16(number) + bytes((realm,))
        liar.say(routed(codes.PUBLISH, realm, 255, b"", rest))
    assert [each.payload[0] for each in net.drain(net["b"], receiver)] == [codes.LOCALNET] * 2
