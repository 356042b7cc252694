"""Nothing is lost between living nodes over standing links, and nothing of a pair overtakes: a few random
lives, and that the judge sees each kind of overtaking.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from busway.protocol import codes, events
from busway.protocol.link.outbox import Outbox
from busway.protocol.link.queue import is_express
from busway.protocol.wire.messages import Frame
from tests.simulation.nodes import Pace, Timed, Wire
from tests.simulation.order import run

STEPS = 15
E = b"endpoint-e-id-16"
SEEDS_MAX = 40


def signal(which: int) -> Callable[[Frame], bool]:
    return lambda out: out.kind == codes.SIGNAL and out.signal == which


# Each with a seed that is short and shows it, to be tried first.
EAGER: dict[str, tuple[Callable[[Frame], bool], int]] = {
    "an end": (signal(codes.END), 2),
    "a probe": (signal(codes.PROBE), 2),
    "a cancel": (signal(codes.CANCEL), 9),
    "an error": (lambda out: out.kind == codes.ERROR, 9),
}


def is_seen(first: int) -> bool:
    """Whether the judge finds fault with any of many lives."""
    return any(run(seed, STEPS).faults for seed in (first, *range(SEEDS_MAX)))


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_and_nothing_overtakes(seed: int) -> None:
    verdict = run(seed, STEPS)
    assert verdict.faults == [], f"seed {seed}"
    assert verdict.counts["messages"] > 0
    assert verdict.counts["instants"] < 50_000  # what is said once is not said for ever: 36,000 at most


@pytest.mark.parametrize("what", EAGER)
def test_the_judge_sees_what_overtakes_in_transit(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    overtakes, seed = EAGER[what]
    monkeypatch.setattr(
        "busway.protocol.link.sending.is_express", lambda out: is_express(out) or overtakes(out)
    )
    assert is_seen(seed)


def test_the_judge_sees_what_passes_a_large_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outbox, "_is_held", lambda self, out, queue: False)
    assert is_seen(2)


@pytest.mark.parametrize("call", ["send", "confirm", "request"])
def test_a_line_of_9600_baud_behind_a_bridge_loses_nothing(call: str) -> None:
    net = Timed(random.Random(1))
    a, b, c = (net.node(letter, transit=True) for letter in "abc")
    fast, slow = net.link(a, b, realm=codes.LOCALNET), net.link(b, c, realm=codes.LOCALNET, lookups=True)
    for cable, pace in ((fast, Pace(0, 0, 10_000, 0.0)), (slow, Pace(5, 0, 1, 0.0))):
        for end in cable.ends:
            net.wires[end] = Wire(pace, net.random)
    receiver = c.register(E, codes.ANYCAST)
    net.advance(10_000)
    for number in range(40):
        payload = b"%02d" % number + bytes(698)
        if call == "request":
            a.request(E, payload, net.now, timeout_ms=120_000)
        else:
            a.send(E, payload, net.now, confirm=call == "confirm", timeout_ms=120_000)
    got = []
    for _ in range(100):
        net.advance(1000)
        for message in net.drain(c, receiver):
            got.append(int(message.payload[:2]))
            if call == "request":
                c.respond(message, b"yes", net.now)
    assert got == list(range(40))
    wanted = {"send": events.ACCEPTED, "confirm": events.TAKEN, "request": events.REPLIED}[call]
    assert {outcome.status for outcome in net.seen(a, events.OUTCOME)} == {wanted}
    assert net.seen(a, events.UNDELIVERABLE) == []
    assert a.origin.counters["probes"] > 0
    assert c.receiving.counters["late"] == 0
