"""The introspection endpoint: what a node tells of itself, and to whom."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import ClosedError, codes, events
from tests.protocol.helpers import A, B, fill, verdicts
from tests.protocol.pairs import E, F, G, Net, Pair


class Encoder:
    """Keeps what it was asked to encode."""

    def __init__(self) -> None:
        self.reports: list[Any] = []

    def __call__(self, report: object) -> bytes:
        self.reports.append(report)
        return b"encoded %d" % len(self.reports)


def test_a_report_says_what_is_there() -> None:
    net = Pair(limits=None, a_options={"address": "ipc://x"})
    net.a.register(E, codes.ANYCAST, name="lab/x", cost=3, queue_max=2)
    net.b.register(F, codes.BROADCAST, codes.GLOBAL, name="lab/y")
    net.pump()
    fill(net, net.b, E, 4)
    net.a.request(E, b"q", net.now)
    net.pump()
    report: Any = net.a.report(net.now + 7)
    assert (report["node"], report["label"], report["bus"], report["leaf"]) == (A, "A", "default", False)
    assert report["incarnation"] == net.a.me.incarnation
    (link,) = report["links"]
    assert {key: link[key] for key in ("peer", "label", "state", "realm", "address", "via", "dialled")} == {
        "peer": B,
        "label": "B",
        "state": "open",
        "realm": "userspace",
        "address": "ipc://x",
        "via": "ipc",
        "dialled": True,
    }
    assert (link["age_ms"], link["silent_ms"], link["rtt_ms"], link["cost"]) == (7, 7, -1, 1)
    assert link["bytes_in"] == net.cb.bytes_out
    assert link["bytes_out"] == net.cb.bytes_in
    (endpoint,) = report["endpoints"]
    assert endpoint == {
        "endpoint": E,
        "name": "lab/x",
        "kind": "anycast",
        "realm": "localnet",
        "cost": 3,
        "receivers": 1,
        "origins": 2,
        "queued": 2,
        "taken": 0,
        "dropped": 0,
        "refused": 3,
    }
    assert report["seen"] == [
        {"endpoint": F, "name": "lab/y", "kind": "broadcast", "realm": "global", "node": B}
    ]
    assert report["nodes"] == [
        {
            "node": B,
            "incarnation": net.b.me.incarnation,
            "label": "B",
            "leaf": False,
            "via": B,
            "realm": "userspace",
            "cost": 1,
            "seqno": 0,
            "offers": 1,
            "children": [],
            "missed": 0,
            "versions": [0, 0, 1],
        }
    ]
    assert report["counters"]["refused"] == 3
    assert report["outstanding"] == 1
    assert set(report["counters"]) >= {"late", "unknown_reply", "links_opened"}


def test_what_is_published_is_shown_heard_or_not() -> None:
    net = Pair()
    net.b.register(F, codes.BROADCAST, name="lab/heard")
    net.a.register(G, codes.BROADCAST, name="lab/own")
    net.pump()
    for endpoint in (E, E, F, G):
        net.a.publish(endpoint, b"x", net.now)
    report: Any = net.a.report(net.now)
    assert report["published"] == [
        {"endpoint": E, "name": "", "sent": 2},
        {"endpoint": F, "name": "lab/heard", "sent": 1},
        {"endpoint": G, "name": "lab/own", "sent": 1},
    ]
    net.a.supplements.name_of = {E: "lab/unheard"}.__getitem__
    net.b.register(E, codes.BROADCAST)
    net.pump()
    net.a.publish(E, b"x", net.now)
    report = net.a.report(net.now)
    assert report["published"][0] == {"endpoint": E, "name": "lab/unheard", "sent": 3}
    net.advance(codes.FLOW_FORGET_OUT_MS + 2 * codes.SWEEP_MS)
    assert net.a.origin.publisher.unheard.keys() <= {E}


def test_what_nobody_hears_is_counted_within_bounds() -> None:
    net = Pair()
    for number in range(codes.PRUNES_MAX + 1):
        net.a.publish(b"topic-%010d" % number, b"", net.now)
    assert len(net.a.origin.publisher.unheard) == codes.PRUNES_MAX
    net.advance(codes.FLOW_FORGET_OUT_MS + 2 * codes.SWEEP_MS)
    assert net.a.origin.publisher.unheard == {}


def test_what_the_adapter_dials_again_is_reported_as_it_says() -> None:
    net = Pair()
    report: Any = net.a.report(net.now)
    assert report["dialled"] == []
    net.a.supplements.dialled = lambda: [{"url": "tcp://b:1", "state": "reconnecting"}]
    report = net.a.report(net.now)
    assert report["dialled"] == [{"url": "tcp://b:1", "state": "reconnecting"}]


def test_what_the_other_side_has_proved_is_reported_as_the_adapter_says() -> None:
    net = Pair()
    report: Any = net.a.report(net.now)
    assert "protection" not in report["links"][0]
    net.a.supplements.protection_of = lambda link: {"protection": "key", "trusted": link.peer.label}  # type: ignore[union-attr]
    report = net.a.report(net.now)
    (link,) = report["links"]
    assert (link["protection"], link["trusted"], link["peer"]) == ("key", "B", B)


def test_a_link_that_is_not_open_yet_is_shown_too() -> None:
    net = Pair(opened=False)
    report: Any = net.a.report(net.now)
    (link,) = report["links"]
    assert (link["peer"], link["label"], link["state"], link["age_ms"]) == (b"", "", "greeting", -1)


def test_a_neighbour_is_asked_over_the_bus() -> None:
    encoder = Encoder()
    net = Pair(b_node={"encode": encoder})
    tokens = [net.a.request(codes.INTROSPECTION, b"whatever", net.now, node_id=B) for _ in range(20)]
    net.pump()
    assert {o.format for token in tokens for o in net.outcomes(net.a, token)} == {codes.CBOR}
    assert [net.outcomes(net.a, token)[0].payload for token in tokens] == [
        b"encoded %d" % (number + 1) for number in range(20)
    ]
    assert encoder.reports[0]["node"] == B
    assert net.seen(net.b, events.MESSAGES) == []
    assert net.a.entries() == []  # it is never announced


def test_the_audit_trail_is_told_to_who_asks_for_it() -> None:
    encoder = Encoder()
    net = Pair(b_node={"encode": encoder})
    for ask in (b"audit", b""):
        net.a.request(codes.INTROSPECTION, ask, net.now, node_id=B)
        net.pump()
    assert all("audit" not in report for report in encoder.reports)
    net.b.supplements.audit = lambda: [{"what": "join"}]
    for ask in (b"audit", b"", b"audit "):
        net.a.request(codes.INTROSPECTION, ask, net.now, node_id=B)
        net.pump()
    assert [report.get("audit") for report in encoder.reports[2:]] == [[{"what": "join"}], None, None]


def test_a_node_answers_itself() -> None:
    net = Net()
    node = net.node("a", encode=Encoder())
    token = node.request(codes.INTROSPECTION, b"", net.now)
    net.pump()
    assert net.outcomes(node, token)[0].payload == b"encoded 1"
    assert node.endpoints()[0].name == "busway/introspection"


def test_without_an_encoder_nobody_answers() -> None:
    net = Pair()
    here = net.a.request(codes.INTROSPECTION, b"", net.now)
    there = net.a.request(codes.INTROSPECTION, b"", net.now, node_id=B)
    net.pump()
    assert verdicts(net, net.a, here) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert verdicts(net, net.a, there) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]


def test_it_takes_anything_that_is_sent_to_it() -> None:
    net = Pair(b_node={"encode": Encoder()})
    for _ in range(30):
        net.a.send(codes.INTROSPECTION, b"plain", net.now, node_id=B)
        net.pump()
    confirm = net.a.send(codes.INTROSPECTION, b"sure", net.now, node_id=B, confirm=True)
    net.pump()
    assert verdicts(net, net.a, confirm) == [(events.TAKEN, 0)]
    assert net.b.receiving.builtin is not None
    assert len(net.b.receiving.builtin.queue) == 0
    assert net.seen(net.a, events.UNDELIVERABLE) == []


def test_it_stays_among_the_programs_of_one_user() -> None:
    encoder = Encoder()
    net = Pair(realm=codes.LOCALNET, b_node={"encode": encoder})
    token = net.a.request(codes.INTROSPECTION, b"", net.now, node_id=B)
    net.pump()
    assert verdicts(net, net.a, token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert encoder.reports == []


def test_a_closed_node_no_longer_answers() -> None:
    encoder = Encoder()
    net = Net()
    node = net.node("a", encode=encoder)
    node.close(net.now)
    assert node.endpoints() == []
    with pytest.raises(ClosedError):
        node.request(codes.INTROSPECTION, b"", net.now)


def test_when_an_incoming_link_was_refused_last_is_told() -> None:
    net = Pair()
    report: Any = net.a.report(net.now)
    assert (report["incoming_refused_ms"], "incoming_refused" in report["counters"]) == (-1, False)
    for _ in range(2):
        net.a.note_refused(net.now)
    report = net.a.report(net.now + 7000)
    assert (report["incoming_refused_ms"], report["counters"]["incoming_refused"]) == (7000, 2)
