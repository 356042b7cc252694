"""Priorities: whatever waits where, on any number of hops, messages of one priority of a pair keep their
order, and none is lost but those that their sender hears of.
"""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from busway.protocol import Limits, Receiver, codes

from .nets import UNICAST, Mesh
from .pairs import E, F

PRIORITIES = range(codes.LOW, codes.URGENT + 1)
PAIRS = [(sender, uuid) for sender in range(2) for uuid in (E, F)]
ACTS = st.one_of(
    st.tuples(
        st.just("send"),
        st.sampled_from(PAIRS),
        st.sampled_from(PRIORITIES),
        st.sampled_from([0, 40, 200, 900, 3000]),
    ),
    st.tuples(st.just("hold"), st.integers(0, 3)),
    st.tuples(st.just("go"), st.integers(0, 3)),
    st.tuples(st.just("step"), st.sampled_from([64, 300, 2000])),
    st.tuples(st.just("read"), st.sampled_from([E, F])),
)


@settings(max_examples=150, deadline=None)
@given(
    hops=st.integers(1, 4),
    queue_max=st.sampled_from([2, 5, 64]),
    acts=st.lists(ACTS, min_size=20, max_size=120),
)
def test_order_holds_within_one_priority_of_a_pair(
    hops: int, queue_max: int, acts: list[tuple[Any, ...]]
) -> None:
    letters = "abcde"[: hops + 1]
    net = Mesh()
    net.add(letters, limits=Limits(frame_size_max=256, message_size_max=10_000))
    net.join(" ".join(a + b for a, b in itertools.pairwise(letters)))
    net.pump()
    last = net[letters[-1]]
    senders = [net[letters[0]], net[letters[(hops - 1) // 2]]]
    receivers: dict[bytes, Receiver] = {
        uuid: last.register(uuid, UNICAST, queue_max=queue_max) for uuid in (E, F)
    }
    net.pump()
    cables = [(net.cable[a + b], net[a]) for a, b in itertools.pairwise(letters)]
    sent: dict[tuple[int, bytes, int], list[int]] = {}
    came: dict[tuple[int, bytes, int], list[int]] = {}

    def read(uuid: bytes) -> None:
        for message in net.drain(last, receivers[uuid]):
            who, number = message.payload[0], int.from_bytes(message.payload[1:4], "big")
            priority = codes.PRIORITY_NAMES.index(message.priority)
            came.setdefault((who, uuid, priority), []).append(number)

    for number, (what, *rest) in enumerate(acts):
        if what == "send":
            (who, uuid), priority, size = rest
            who = who if senders[1] is not senders[0] else 0
            payload = bytes((who,)) + number.to_bytes(3, "big") + b"-" * size
            senders[who].send(uuid, payload, net.now, priority=priority)
            sent.setdefault((who, uuid, priority), []).append(number)
        elif what in ("hold", "go"):
            cable, node = cables[rest[0] % hops]
            cable.block(node, what == "hold")
        elif what == "step":
            net.step(rest[0])
        else:
            read(rest[0])
    for cable, node in cables:
        cable.block(node, False)
    for _ in range(100):
        net.pump()
        before = sum(map(len, came.values()))
        for uuid in receivers:
            read(uuid)
        if sum(map(len, came.values())) == before:
            break
    refused = sum(len(net.undelivered(letter)) for letter in {letters[0], letters[(hops - 1) // 2]})
    assert sum(map(len, came.values())) + refused == sum(map(len, sent.values()))
    for pair, numbers in came.items():
        assert numbers == sorted(set(numbers))
        assert set(numbers) <= set(sent[pair])
    if queue_max == 64:
        assert came == sent
