"""Gateways of several sides, which are linked when one has something that the other asks for."""

from __future__ import annotations

import pytest

from busway.names import endpoint_id
from busway.protocol import Node, codes, events
from busway.protocol.routing.advertising import show
from busway.protocol.wire.patterns import matches

from .helpers import assert_settled, verdicts
from .nets import (
    ANYCAST,
    BROADCAST,
    GLOBAL,
    LOCALNET,
    UNICAST,
    Liar,
    Mesh,
    alias,
    bind,
    id_of,
    key,
    update,
)
from .pairs import E, F


class Fabric(Mesh):
    """Sides of which the first node of each is the gateway; the fabric is this object."""

    def __init__(self, *sides: str) -> None:
        super().__init__()
        self.gates = [side[0] for side in sides]
        self.questions: list[tuple[str, bytes]] = []
        self._told = 0
        for side in sides:
            self.add(side)
            self.join(" ".join(side[0] + other for other in side[1:]))
        self.pump()
        for gate in self.gates:
            self[gate].mesh.set_fabric(True, self.now)
        self.settle()

    def settle(self) -> None:
        """Pump, and answer what is asked, until all is quiet."""
        self.pump()
        while self._answer():
            self.pump()

    def _answer(self) -> bool:
        log = self.log[self._told :]
        self._told = len(self.log)
        questions = [(who, event) for who, event in log if event.kind == events.FABRIC_ASKED]
        for who, event in questions:
            assert isinstance(event, events.FabricEvent)
            gate = next(letter for letter in self.gates if self[letter] is who)
            self.questions.append((gate, event.uuid))
            for other in self.gates:
                if other != gate and self[other].lookups.held(event.uuid):
                    self.meet(gate, other, event.uuid)
                if other != gate and self.means(other, event.name):
                    self.meet(gate, other, codes.PATTERNS)
            who.lookups.done(event.uuid, self.now)
        return bool(questions)

    def means(self, gate: str, name: str) -> bool:
        """Whether somebody on that side has subscribed by a pattern that means a name."""
        entries = [*self[gate].own_entries(), *self[gate].entries()]
        held = [entry for entry in entries if self[gate].lookups.held(entry.uuid)]
        return any("*" in entry.name and matches(entry.name, name) for entry in held)

    def meet(self, gate: str, other: str, uuid: bytes) -> None:
        """A gateway is told that another has something: it sees to a link, and asks."""
        if self[gate].lookups.is_inside(id_of(other)):
            return
        if not any(
            pair in self.cable and self.cable[pair].ends[0].connection.state == codes.OPEN
            for pair in (gate + other, other + gate)
        ):
            self.join(gate + other, realm=GLOBAL, medium="nats", via="nats", fabric=True)
            self.pump()
        assert self[gate].lookups.found(id_of(other), uuid, self.now)

    def known(self, letter: str) -> str:
        """The nodes that one has a route to."""
        found = [key for key, route in self[letter].mesh.router.routes.items() if route.via is not None]
        return "".join(sorted(key[:1].decode() for key in found))


def name_it(node: Node, name: str) -> bytes:
    """The node's program publishes by that name."""
    uuid = endpoint_id(name)
    node.supplements.name_of = lambda asked: name if asked == uuid else ""
    return uuid


def test_an_endpoint_of_another_side_is_found_and_used() -> None:
    net = Fabric("gab", "hcd", "ie")
    receiver = net["c"].register(E, UNICAST, name="pump", realm=GLOBAL)
    net.settle()
    token = net["a"].send(E, b"x", net.now, confirm=True)
    net.settle()
    assert net.payloads("c", receiver) == [b"x"]
    net.settle()
    assert verdicts(net, net["a"], token) == [(events.TAKEN, 0)]
    assert net.questions == [("g", E)]
    assert_settled(net)


def test_gateways_know_of_other_sides_only_what_is_in_touch_with_theirs() -> None:
    net = Fabric("gab", "hcd", "ie")
    net["c"].register(E, UNICAST, realm=GLOBAL)
    net.settle()
    net["a"].send(E, b"x", net.now)
    net.settle()
    assert net.known("g") == "abch"
    assert net.known("h") == "acdg"
    assert net.known("i") == "e"
    assert net.known("a") == "bcgh"
    assert net.known("d") == "acgh"


def test_what_came_from_beyond_goes_to_nobody_beyond() -> None:
    net = Fabric("gab", "hcd", "ie")
    net["c"].register(E, UNICAST, realm=GLOBAL)
    net["e"].register(F, UNICAST, realm=GLOBAL)
    net.settle()
    for letter, uuid in (("a", E), ("b", F), ("d", F)):
        net[letter].send(uuid, b"x", net.now)
        net.settle()
    assert (
        net.known("g") == "abcehi"
    )  # of the other sides the gateways, and those that a and b have asked for
    assert net.known("i") == "bdegh"
    assert "c" not in net.known("i")
    assert "a" not in net.known("i")


def test_a_gateway_asks_in_its_own_name_too() -> None:
    net = Fabric("g", "h")
    receiver = net["h"].register(E, ANYCAST, realm=GLOBAL)
    net.settle()
    token = net["g"].request(E, b"x", net.now)
    net.settle()
    [request] = net.drain(net["h"], receiver)
    net["h"].respond(request, b"y", net.now)
    net.settle()
    assert verdicts(net, net["g"], token) == [(events.REPLIED, 0)]


def test_nobody_anywhere_has_it() -> None:
    net = Fabric("ga", "h")
    token = net["a"].send(E, b"x", net.now, confirm=True)
    net.settle()
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert net.questions == [("g", E)]


def test_a_fabric_that_says_nothing_is_waited_for_as_others_are() -> None:
    net = Fabric("ga")
    token = net["a"].send(E, b"x", net.now, confirm=True)
    net.pump()
    assert verdicts(net, net["a"], token) == []
    net.advance(codes.SYNC_MS)
    net.pump()
    net.advance(codes.SYNC_MS)
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    net["g"].lookups.done(E, net.now)  # too late


def test_what_is_not_global_stays_on_its_side() -> None:
    net = Fabric("ga", "hb")
    net["b"].register(E, UNICAST, realm=LOCALNET)
    net["h"].register(F, UNICAST, realm=LOCALNET)
    net["h"].register(b"G" * 16, UNICAST, realm=GLOBAL)
    net.settle()
    held = net["h"].lookups.held
    assert [held(E), held(F), held(b"G" * 16)] == [0, 0, UNICAST]
    net["a"].send(b"G" * 16, b"", net.now)
    net.settle()
    assert net["g"].lookups.found(id_of("h"), E, net.now)
    net.settle()
    assert net.holders("g", E) == ""


def test_subscribers_of_other_sides_get_what_is_published() -> None:
    net = Fabric("ga", "hb", "ic", "jd")
    receivers = {letter: net[letter].register(E, BROADCAST, realm=GLOBAL) for letter in "bc"}
    net.settle()
    net["a"].publish(E, b"0", net.now, realm=GLOBAL)  # finds out who there is
    net.settle()
    for number in (b"1", b"2"):
        net["a"].publish(E, number, net.now, realm=GLOBAL)
        net.settle()
    assert {letter: net.payloads(letter, receiver) for letter, receiver in receivers.items()} == {
        "b": [b"1", b"2"],
        "c": [b"1", b"2"],
    }
    assert "gj" not in net.cable


def test_who_has_subscribers_on_its_own_side_asks_for_those_beyond() -> None:
    net = Fabric("gab", "hc")
    near = net["b"].register(E, BROADCAST, realm=GLOBAL)
    far = net["c"].register(E, BROADCAST, realm=GLOBAL)
    net.settle()
    net["a"].publish(E, b"0", net.now, realm=GLOBAL)
    net.settle()
    net["a"].publish(E, b"1", net.now, realm=GLOBAL)
    net.settle()
    assert net.payloads("b", near) == [b"0", b"1"]
    assert net.payloads("c", far) == [b"1"]


def test_who_subscribes_later_is_told_of_over_the_link_that_was_asked() -> None:
    net = Fabric("ga", "hbc")
    net["b"].register(E, BROADCAST, realm=GLOBAL)
    net.settle()
    net["a"].publish(E, b"0", net.now, realm=GLOBAL)
    net.settle()
    late = net["c"].register(E, BROADCAST, realm=GLOBAL)
    net.settle()
    net["a"].publish(E, b"1", net.now, realm=GLOBAL)
    net.settle()
    assert net.payloads("c", late) == [b"1"]


def test_a_pattern_beyond_is_found_by_the_name_that_is_published() -> None:
    net = Fabric("ga", "hb", "ic")
    uuid = name_it(net["a"], "hall/lamp")
    means = net["b"].register(endpoint_id("hall/*"), BROADCAST, name="hall/*", realm=GLOBAL)
    net["c"].register(endpoint_id("yard/*"), BROADCAST, name="yard/*", realm=GLOBAL)
    net.settle()
    net["a"].publish(uuid, b"0", net.now, realm=GLOBAL)
    net.settle()
    net["a"].publish(uuid, b"1", net.now, realm=GLOBAL)
    net.settle()
    assert net.payloads("b", means) == [b"1"]
    assert "gi" not in net.cable


def test_a_gateway_publishes_for_patterns_beyond() -> None:
    net = Fabric("g", "h")
    uuid = name_it(net["g"], "hall/lamp")
    means = net["h"].register(endpoint_id("hall/*"), BROADCAST, name="hall/*", realm=GLOBAL)
    net.settle()
    for _ in range(2):
        net["g"].publish(uuid, b"x", net.now, realm=GLOBAL)
        net.settle()
    assert net.payloads("h", means) == [b"x"]


def test_names_that_are_called_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Fabric("ga")
    monkeypatch.setattr(codes, "ENTRIES_MAX", 2)
    lookups = net["g"].lookups
    link = net.cable["ga"].ends[0].connection
    for number in range(3):
        lookups.who(link, net.see("g", "a"), bytes((number,)) * 16, LOCALNET, net.now, str(number))
    assert list(lookups._called.values()) == ["1", "2"]


def test_a_leaf_of_a_gateway_is_in_touch_too() -> None:
    net = Fabric("g", "h")
    net.leaf("l", "g")
    net.leaf("m", "h")
    receiver = net["m"].register(E, UNICAST, realm=GLOBAL)
    net.settle()
    token = net["l"].request(E, b"x", net.now)
    net.settle()
    net["m"].respond(
        net.questions_of("m", receiver) if False else net.drain(net["m"], receiver)[0], b"y", net.now
    )
    net.settle()
    assert verdicts(net, net["l"], token) == [(events.REPLIED, 0)]


@pytest.mark.parametrize("router", ["g", "a"])
def test_subscribers_of_other_sides_get_what_leaves_publish(router: str) -> None:
    net = Fabric("ga", "hb")
    net.leaf("l", router)
    receiver = net["b"].register(E, BROADCAST, realm=GLOBAL)
    net.settle()
    for number in (b"0", b"1", b"2"):  # the first finds out who there is
        net["l"].publish(E, number, net.now, realm=GLOBAL)
        net.settle()
    assert net.payloads("b", receiver) == [b"1", b"2"]


@pytest.mark.parametrize("router", ["g", "a"])
def test_patterns_of_other_sides_get_what_leaves_publish_by_name(router: str) -> None:
    net = Fabric("ga", "hb")
    leaf = net.leaf("l", router)
    uuid = name_it(leaf, "hall/lamp")
    means = net["b"].register(endpoint_id("hall/*"), BROADCAST, name="hall/*", realm=GLOBAL)
    net.settle()
    for number in (b"0", b"1", b"2"):
        net["l"].publish(uuid, number, net.now, realm=GLOBAL)
        net.settle()
    assert net.payloads("b", means)[-1:] == [b"2"]


def test_a_leaf_of_a_router_inside_is_in_touch_too() -> None:
    net = Fabric("ga", "hb")
    net.leaf("l", "a")
    receiver = net["b"].register(E, UNICAST, realm=GLOBAL)
    net.settle()
    for _ in range(3):
        token = net["l"].request(E, b"x", net.now)
        net.settle()
        net["b"].respond(net.drain(net["b"], receiver)[0], b"y", net.now)
        net.settle()
        assert verdicts(net, net["l"], token) == [(events.REPLIED, 0)]
    assert "l" in net.known("h")


def test_a_leaf_that_waits_is_asked_for_once_there_is_a_fabric() -> None:
    net = Mesh()
    net.add("g")
    net.leaf("l", "g")
    net.pump()
    net["l"].send(E, b"x", net.now, ttl_ms=60000)
    net["g"].send(F, b"x", net.now, ttl_ms=60000)
    net.pump()
    net["g"].mesh.set_fabric(True, net.now)
    net.pump()
    asked = [event.uuid for event in net.seen(net["g"], events.FABRIC_ASKED)]
    assert sorted(asked) == sorted([E, F])
    net["g"].mesh.set_fabric(False, net.now)
    assert codes.LOOKUP not in net["g"].me.lines[GLOBAL].entries


def test_a_node_is_found_by_its_id() -> None:
    net = Fabric("ga", "hb")
    net["b"].register(E, UNICAST, realm=GLOBAL)
    net.settle()
    net["a"].send(E, b"x", net.now)
    net.settle()
    link = net.cable["gh"]
    token = net["a"].locate(id_of("b"), net.now)
    net.settle()
    assert len(net.outcomes(net["a"], token)) == 1
    assert link.ends[0].connection.state == codes.OPEN
    assert net["g"].lookups.is_inside(id_of("a"))
    assert net["g"].lookups.is_inside(id_of("g"))
    assert not net["g"].lookups.is_inside(id_of("h"))
    assert not net["g"].lookups.is_inside(id_of("z"))


def test_a_link_that_is_lost_takes_with_it_what_came_over_it() -> None:
    net = Fabric("ga", "hb")
    receiver = net["b"].register(E, UNICAST, realm=GLOBAL)
    net.settle()
    token = net["a"].request(E, b"x", net.now)
    net.settle()
    assert len(net.drain(net["b"], receiver)) == 1
    net.cable["gh"].cut()
    net.settle()
    net.advance(codes.ROUTE_LOSS_GRACE_MS)
    net.settle()
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.LOST_AFTER_SENDING)]
    assert net.known("a") == "g"
    del net.cable["gh"]
    token = net["a"].request(E, b"y", net.now)
    net.settle()
    [request] = net.drain(net["b"], receiver)
    net["b"].respond(request, b"z", net.now)
    net.settle()
    assert verdicts(net, net["a"], token) == [(events.REPLIED, 0)]


def test_a_question_from_beyond_is_asked_of_nobody_and_answered_at_once() -> None:
    net = Fabric("ga", "hb")
    net["b"].register(E, UNICAST, realm=GLOBAL)
    net.settle()
    net["a"].send(E, b"x", net.now)
    net.settle()
    net["h"].send(F, b"x", net.now, ttl_ms=60000)  # h asks for that itself, and has no answer yet
    assert F in net["h"].lookups.queries
    net["g"].lookups.ask_one(net.see("g", "h"), F, net.now)
    net["g"].lookups.ask_one(net.see("g", "h"), b"N" * 16, net.now)
    net["g"].lookups.ask_one(net.see("g", "h"), codes.PATTERNS, net.now)
    net.pump()
    assert net["g"].lookups.queries == {}
    assert [gate for gate, uuid in net.questions if uuid == F] == []
    net.settle()


def test_patterns_that_are_asked_for_amid_a_question_are_told() -> None:
    net = Fabric("g", "h")
    net["h"].register(E, UNICAST, realm=GLOBAL)
    net.settle()
    net["g"].send(E, b"x", net.now)
    net.settle()
    lookups = net["h"].lookups
    lookups.begin_query(codes.PATTERNS, None, net.now)
    link = net.cable["gh"].ends[1].connection
    lookups.who(link, net.see("h", "g"), codes.PATTERNS, GLOBAL, net.now)
    assert net["g"].me.key in net["h"].mesh.lookups.patterns.askers  # type: ignore[attr-defined]


def test_only_what_is_a_gateway_is_asked_on_the_fabric() -> None:
    net = Fabric("ga", "hb")
    assert not net["g"].lookups.found(id_of("a"), E, net.now)
    assert not net["g"].lookups.found(id_of("z"), E, net.now)


def test_too_many_questions_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Fabric("g")
    monkeypatch.setattr(codes, "QUERIES_MAX", 1)
    net["g"].send(E, b"x", net.now, ttl_ms=60000)
    net["g"].send(F, b"x", net.now, ttl_ms=60000)
    net.pump()
    assert [event.uuid for event in net.seen(net["g"], events.FABRIC_ASKED)] == [E]


def test_subscribers_are_asked_for_now_and_then_and_those_times_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Fabric("ga")
    monkeypatch.setattr(codes, "WATCHES_MAX", 1)
    for uuid in (E, E, F):
        net["a"].publish(uuid, b"x", net.now, realm=GLOBAL)
        net.settle()
    assert net.questions == [("g", E), ("g", F)]
    assert list(net["a"].lookups._asked) == [F]


def test_two_gateways_of_one_side_ask_each_other_nothing() -> None:
    net = Fabric("gab", "hc")
    net.gates.append("b")
    net["b"].mesh.set_fabric(True, net.now)
    receiver = net["a"].register(E, BROADCAST, realm=GLOBAL)
    net.settle()
    net["a"].publish(E, b"0", net.now, realm=GLOBAL)
    net["g"].publish(E, b"1", net.now, realm=GLOBAL)
    net.settle()
    assert net.payloads("a", receiver) == [b"0", b"1"]
    assert net["g"].lookups.is_inside(id_of("b"))
    assert sum(cable.ends[0].connection.link.fabric for cable in net.cable.values()) == 0


def test_a_gateway_beyond_that_claims_more_is_not_passed_on() -> None:
    net = Fabric("ga", "hb")
    liar = Liar(net, net["g"], "z", realm=GLOBAL, medium="nats", fabric=True)
    liar.say(bytes((codes.ROUTES,)) + update(bind(16, key("y")), 0, 1))
    net["b"].register(E, UNICAST, realm=GLOBAL)
    net.settle()
    net["a"].send(E, b"x", net.now)
    net.settle()
    assert "y" in net.known("g")
    assert "y" not in net.known("h")


def test_routes_that_are_gone_are_shown_to_nobody() -> None:
    net = Fabric("gab", "hc")
    net["c"].register(E, UNICAST, realm=GLOBAL)
    net.settle()
    for letter in "ab":
        net[letter].send(E, b"x", net.now)
        net.settle()
    [neighbour] = [each for each in net["g"].mesh.router.neighbours if each.shown is not None]
    assert neighbour.shown is not None
    assert len(neighbour.shown) == 2
    net.cable["gb"].cut()
    net.settle()
    net.advance(30000)
    net.settle()
    assert len(neighbour.shown) == 1
    assert net.known("h") == "acg"


def test_in_transit_who_is_in_touch_is_shown_before_its_first_message() -> None:
    """Also where a message takes the short way through a gateway."""
    net = Fabric("ga", "hb")
    receiver = net["b"].register(E, UNICAST, queue_max=64, realm=GLOBAL)
    net.settle()
    for number in range(20):
        net["a"].send(E, b"%d" % number, net.now)
        net.settle()
        assert net.payloads("b", receiver) == [b"%d" % number]
    assert net["h"].forwarder.counters["unbelieved"] == 0


def test_a_name_may_stand_in_a_question_and_nothing_is_made_of_it_elsewhere() -> None:
    net = Mesh()
    net.add("a")
    liar = Liar(net, net["a"])
    name = bytes((codes.OPTION_NAME, 1)) + b"n"
    head = codes.MESSAGE | codes.SIGNAL << 4 | codes.HEAD_OPTIONS
    liar.say(bytes((head, len(name))) + name + bytes((codes.WHO,)) + alias(16, E))
    assert liar.error == -1
    assert net["a"].lookups._called == {}


def test_who_is_inside_may_ask_a_gateway_for_what_it_has_itself() -> None:
    net = Fabric("ga")
    net["g"].register(E, UNICAST, realm=GLOBAL)
    net.settle()
    net["a"].lookups.ask_one(net.see("a", "g"), E, net.now)
    net.settle()
    assert net["a"].lookups.queries == {}
    assert net.questions == []


def test_a_gateway_that_is_found_amid_too_many_questions_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Fabric("g", "h")
    net["h"].register(E, UNICAST, realm=GLOBAL)
    net.settle()
    net["g"].send(E, b"x", net.now)
    net.settle()
    monkeypatch.setattr(codes, "QUERIES_MAX", 0)
    assert net["g"].lookups.found(id_of("h"), F, net.now)
    assert net["g"].lookups.queries == {}


def test_what_has_no_way_or_no_link_is_shown_to_nobody() -> None:
    net = Fabric("ga", "h")
    mesh = net["g"].mesh
    show(mesh, None, net["a"].me.key)
    net.meet("g", "h", E)
    link = net.cable["gh"].ends[0].connection
    show(mesh, link, key("z"))
    show(mesh, net.cable["ga"].ends[0].connection, net["a"].me.key)
    [shown] = [each.shown for each in mesh.router.neighbours if each.shown is not None]
    assert shown == {}


def test_a_way_that_changes_again_and_again_is_shown_when_it_is_told() -> None:
    net = Fabric("ga", "h")
    net.meet("g", "h", E)
    router = net["g"].mesh.router
    link = net.cable["gh"].ends[0].connection
    route = router.routes[net["a"].me.key]
    router.damper.hold(route, net.now)
    show(net["g"].mesh, link, route.key)
    net.pump()
    assert net.known("h") == "g"
    net.advance(2000)
    assert net.known("h") == "ag"


def test_a_side_with_two_gateways_gets_one_copy_and_goes_on_when_one_is_lost() -> None:
    net = Fabric("ga", "hbc")
    net.gates.append("c")
    net.join("bc")
    net["c"].mesh.set_fabric(True, net.now)
    receiver = net["b"].register(E, BROADCAST, realm=GLOBAL)
    served = net["b"].register(F, UNICAST, realm=GLOBAL)
    net.settle()
    net["a"].publish(E, b"0", net.now, realm=GLOBAL)
    net.settle()
    for number in (b"1", b"2"):
        net["a"].publish(E, number, net.now, realm=GLOBAL)
        net.settle()
    assert net.payloads("b", receiver) == [b"1", b"2"]
    assert {"gh", "gc"} <= net.cable.keys()
    net["a"].send(F, b"x", net.now)
    net.settle()
    net.cable["gh"].cut()
    net.cable["hb"].cut()
    net.cable["hc"].cut()
    net.settle()
    net.advance(codes.ROUTE_LOSS_GRACE_MS)
    net.settle()
    token = net["a"].send(F, b"y", net.now, confirm=True)
    net["a"].publish(E, b"3", net.now, realm=GLOBAL)
    net.settle()
    net["a"].publish(E, b"4", net.now, realm=GLOBAL)
    net.settle()
    assert net.payloads("b", served) == [b"x", b"y"]
    net.settle()
    assert verdicts(net, net["a"], token) == [(events.TAKEN, 0)]
    assert net.payloads("b", receiver)[-1:] == [b"4"]
